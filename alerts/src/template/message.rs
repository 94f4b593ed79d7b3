//! Templates of messages: Alertmanager's data and functions, in place of what a rule's template has.
//!
//! Functions beside those of rules: `toJson`, `join`, `trimSpace`, `urlUnescape`, `safeUrl`,
//! `stringSlice`, and our own `trunc N TEXT`. Methods: `.Alerts.Firing`, `.Alerts.Resolved`, and
//! `.SortedPairs`, `.Names`, `.Values` of labels and annotations.

use std::collections::BTreeMap;

use labstat_model::number;

use super::ast::Tree;
use super::value::Value;
use super::{Data, TemplateError, functions, parse, render};

const NAMES: [&str; 7] =
    ["join", "safeUrl", "stringSlice", "toJson", "trimSpace", "trunc", "urlUnescape"];

/// A template of a message's part: its URL, a header, its body.
#[derive(Debug, Clone)]
pub(crate) struct MessageTemplate {
    tree: Tree,
}

/// What a template of a message is rendered over: named values.
#[derive(Debug, Clone, Default)]
pub(crate) struct Object(BTreeMap<String, Value>);

impl Object {
    /// With a text.
    pub(crate) fn text(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.put(name, Value::Text(value.into()))
    }

    /// With a number.
    pub(crate) fn float(&mut self, name: &str, value: f64) -> &mut Self {
        self.put(name, Value::Float(value))
    }

    /// With a count.
    pub(crate) fn count(&mut self, name: &str, value: usize) -> &mut Self {
        self.put(name, Value::Int(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    /// With a time, in milliseconds.
    pub(crate) fn time(&mut self, name: &str, time_ms: i64) -> &mut Self {
        self.put(name, Value::Time(time_ms))
    }

    /// With labels, annotations or the like.
    pub(crate) fn texts(&mut self, name: &str, value: &BTreeMap<String, String>) -> &mut Self {
        self.put(name, Value::Texts(value.clone()))
    }

    /// With a list of objects.
    pub(crate) fn list(&mut self, name: &str, value: Vec<Object>) -> &mut Self {
        self.put(name, Value::List(value.into_iter().map(|object| Value::Map(object.0)).collect()))
    }

    fn put(&mut self, name: &str, value: Value) -> &mut Self {
        self.0.insert(name.to_owned(), value);
        self
    }
}

impl MessageTemplate {
    /// Takes a text apart. `name` is for messages.
    pub(crate) fn parse(name: &str, source: &str) -> Result<Self, TemplateError> {
        let exists = |name: &str| NAMES.contains(&name) || functions::exists(name);
        match parse::parse_with(source, exists) {
            Ok(tree) => Ok(Self { tree }),
            Err((line, message)) => Err(TemplateError { name: name.to_owned(), line, message }),
        }
    }

    /// The text over `object`; the error is what went wrong.
    pub(crate) fn render(&self, object: &Object) -> Result<String, String> {
        let data = Data {
            labels: BTreeMap::new(),
            external_labels: BTreeMap::new(),
            external_url: String::new(),
            value: f64::NAN.into(),
            now_ms: 0,
            query: None,
        };
        render::render_over(&self.tree, &data, &Value::Map(object.0.clone()))
    }
}

/// A field that Alertmanager's types work out.
pub(super) fn method(value: &Value, field: &str) -> Option<Value> {
    let texts = |list: Vec<String>| Value::List(list.into_iter().map(Value::Text).collect());
    match (value, field) {
        (Value::List(list), "Firing" | "Resolved") => {
            let wanted = Value::Text(field.to_ascii_lowercase());
            let has = |value: &&Value| match value {
                Value::Map(map) => map.get("Status") == Some(&wanted),
                _ => false,
            };
            Some(Value::List(list.iter().filter(has).cloned().collect()))
        }
        (Value::Texts(map), "SortedPairs") => {
            // Alertmanager puts the alert's name first.
            let first = map.iter().filter(|(name, _)| *name == "alertname");
            let rest = map.iter().filter(|(name, _)| *name != "alertname");
            let pair = |(name, value): (&String, &String)| {
                let fields = [("Name", name), ("Value", value)];
                let field =
                    |(key, text): (&str, &String)| (key.to_owned(), Value::Text(text.clone()));
                Value::Map(fields.into_iter().map(field).collect())
            };
            Some(Value::List(first.chain(rest).map(pair).collect()))
        }
        (Value::Texts(map), "Names") => Some(texts(map.keys().cloned().collect())),
        (Value::Texts(map), "Values") => Some(texts(map.values().cloned().collect())),
        (Value::List(list), "Names" | "Values") => {
            let key = field.trim_end_matches('s');
            let text = |value: &Value| match value {
                Value::Map(map) => map.get(key).cloned(),
                _ => None,
            };
            Some(Value::List(list.iter().filter_map(text).collect()))
        }
        _ => None,
    }
}

/// Calls one of the functions of messages; `None` for others.
pub(super) fn call(name: &str, args: &[Value]) -> Option<Result<Value, String>> {
    let outcome = match (name, args) {
        ("toJson", [value]) => Ok(Value::Text(json(value).to_string())),
        ("join", [Value::Text(by), Value::List(list)]) => {
            let texts: Vec<String> = list.iter().map(Value::printed).collect();
            Ok(Value::Text(texts.join(by)))
        }
        ("trimSpace", [Value::Text(text)]) => Ok(Value::Text(text.trim().to_owned())),
        ("safeUrl", [Value::Text(text)]) => Ok(Value::Text(text.clone())),
        ("urlUnescape", [Value::Text(text)]) => Ok(Value::Text(unescaped(text))),
        ("stringSlice", list) => Ok(Value::List(list.to_vec())),
        ("trunc", [Value::Int(len), Value::Text(text)]) => {
            let len = usize::try_from(*len).unwrap_or(0);
            Ok(Value::Text(if text.chars().count() <= len {
                text.clone()
            } else {
                text.chars().take(len.saturating_sub(1)).chain(['…']).collect()
            }))
        }
        _ if NAMES.contains(&name) => {
            let types: Vec<&str> = args.iter().map(Value::type_name).collect();
            Err(format!("wrong number or type of args for {name}: got ({})", types.join(", ")))
        }
        _ => return None,
    };
    Some(outcome)
}

fn unescaped(text: &str) -> String {
    // A pair whose name is empty: what stands after the first = is one value.
    let coded = format!("={}", text.replace('&', "%26"));
    let mut pairs = form_urlencoded::parse(coded.as_bytes());
    pairs.next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Nil | Value::Root => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) | Value::Duration(value) => (*value).into(),
        // What is no number in JSON is told as text.
        Value::Float(value) if value.is_finite() => (*value).into(),
        Value::Float(value) => number::format_g(*value).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Time(time_ms) => crate::views::rfc3339(*time_ms).into(),
        Value::Texts(map) => serde_json::json!(map),
        Value::Map(map) => map.iter().map(|(k, v)| (k.clone(), json(v))).collect(),
        Value::List(list) => list.iter().map(json).collect(),
        other => other.printed().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> Object {
        let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
        };
        let alert = |status: &str, name: &str| {
            let mut alert = Object::default();
            alert.text("Status", status).texts("Labels", &labels(&[("alertname", name)]));
            alert.float("Value", 1.5).time("StartsAt", 0);
            alert
        };
        let mut object = Object::default();
        object.text("Status", "firing").text("Odd", "a\"b\n<c> &é");
        object.texts("CommonLabels", &labels(&[("a", "1"), ("alertname", "X")]));
        object.list("Alerts", vec![alert("firing", "X"), alert("resolved", "Y")]);
        object
    }

    fn rendered(text: &str) -> Result<String, String> {
        MessageTemplate::parse("t", text).map_err(|error| error.to_string())?.render(&object())
    }

    #[test]
    fn messages_have_alertmanagers_data_and_functions() {
        for (text, wanted) in [
            ("{{ .Status | toUpper }}", "FIRING"),
            ("{{ len .Alerts }} {{ .Alerts.Firing | len }}", "2 1"),
            ("{{ range .Alerts.Resolved }}{{ .Labels.alertname }}{{ end }}", "Y"),
            (
                "{{ range .CommonLabels.SortedPairs }}{{ .Name }}={{ .Value }};{{ end }}",
                "alertname=X;a=1;",
            ),
            ("{{ .CommonLabels.SortedPairs.Values | join \", \" }}", "X, 1"),
            ("{{ .CommonLabels.Names | join \",\" }}", "a,alertname"),
            ("{{ toJson .Odd }}", r#""a\"b\n<c> &é""#),
            ("{{ toJson .CommonLabels }}", r#"{"a":"1","alertname":"X"}"#),
            ("{{ (index .Alerts 0).StartsAt | toJson }}", r#""1970-01-01T00:00:00Z""#),
            ("{{ toJson (index .Alerts 0).Value }}", "1.5"),
            ("{{ trunc 3 .Odd }}", "a\"…"),
            ("{{ urlquery .Odd }}", "a%22b%0A%3Cc%3E+%26%C3%A9"),
            ("{{ urlUnescape \"a%20b%26c\" }}", "a b&c"),
            ("{{ stringSlice \"a\" \"b\" | join \"-\" }}", "a-b"),
            ("{{ .Missing }}", "<no value>"),
        ] {
            assert_eq!(rendered(text).as_deref(), Ok(wanted), "{text}");
        }
        assert!(rendered("{{ toJson }}").unwrap_err().contains("wrong number"));
        assert!(rendered("{{ nothing }}").unwrap_err().contains("nothing"));
        assert!(super::super::Template::parse("t", "{{ toJson 1 }}").is_err(), "not in rules");
    }

    #[test]
    fn many_alerts_of_a_message_may_each_look_at_the_whole() {
        let mut alert = Object::default();
        alert.text("Note", "x".repeat(4_000));
        let mut object = Object::default();
        object.text("Status", "firing").list("Alerts", vec![alert; 400]);
        let text = "{{ range .Alerts }}{{ $.Status }}{{ end }}";
        let rendered = MessageTemplate::parse("t", text).unwrap().render(&object);
        assert_eq!(rendered, Ok("firing".repeat(400)));
    }
}
