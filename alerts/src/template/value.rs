//! The values a template works on, with Go's ideas of truth, printing and types.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use labstat_model::{Histogram, Labels, number};
use labstat_promql::{MixedValue, histogram_text};

use super::render::OUTPUT_LEN_MAX;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Histogram(Arc<Histogram>),
    Text(String),
    /// Milliseconds since the epoch.
    Time(i64),
    /// Nanoseconds.
    Duration(i64),
    /// A map of texts: a label set.
    Texts(BTreeMap<String, String>),
    /// A map of anything: what `args` gives.
    Map(BTreeMap<String, Value>),
    List(Vec<Value>),
    /// One result of `query`.
    Sample {
        labels: BTreeMap<String, String>,
        value: MixedValue,
    },
    /// What stands at the top: `.Labels`, `.Value`, …
    Root,
}

impl Value {
    /// The value of a rule's expression.
    pub(super) fn of(value: &MixedValue) -> Self {
        match value {
            MixedValue::Number(value) => Self::Float(*value),
            MixedValue::Histogram(histogram) => Self::Histogram(Arc::clone(histogram)),
        }
    }

    /// One result of a query.
    pub(super) fn sample(labels: &Labels, value: MixedValue) -> Self {
        let labels = labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        Self::Sample { labels, value }
    }

    /// What `if` and `with` take for true: all but zero and empty.
    pub(super) fn truth(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) | Self::Duration(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::Texts(map) => !map.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Histogram(_) | Self::Time(_) | Self::Sample { .. } | Self::Root => true,
        }
    }

    /// The name of Go's type, for messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Histogram(_) => "*histogram.FloatHistogram",
            Self::Text(_) => "string",
            Self::Time(_) => "*time.Time",
            Self::Duration(_) => "*time.Duration",
            Self::Texts(_) => "map[string]string",
            Self::Map(_) => "map[string]interface {}",
            Self::List(_) => "template.queryResult",
            Self::Sample { .. } => "*template.sample",
            Self::Root => "struct",
        }
    }

    /// What a copy of it takes, more or less: the bytes of its texts, and some for each value.
    pub(super) fn weight(&self) -> usize {
        let texts = |map: &BTreeMap<String, String>| -> usize {
            map.iter().map(|(name, text)| name.len() + text.len() + size_of::<[String; 2]>()).sum()
        };
        let inner = match self {
            Self::Text(text) => text.len(),
            Self::Texts(map) | Self::Sample { labels: map, .. } => texts(map),
            Self::Map(map) => map.iter().map(|(name, value)| name.len() + value.weight()).sum(),
            Self::List(list) => list.iter().map(Self::weight).sum(),
            Self::Nil
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Float(_)
            | Self::Histogram(_)
            | Self::Time(_)
            | Self::Duration(_)
            | Self::Root => 0,
        };
        inner + size_of::<Self>()
    }

    /// The number of elements or bytes.
    pub(super) fn len(&self) -> Option<usize> {
        match self {
            Self::Text(text) => Some(text.len()),
            Self::Texts(map) => Some(map.len()),
            Self::Map(map) => Some(map.len()),
            Self::List(list) => Some(list.len()),
            _ => None,
        }
    }

    /// Appends the value as an action prints it (Go's `%v`). It stops where the text is longer than any may
    /// be, so that nobody takes it for the whole.
    pub(super) fn print(&self, out: &mut String) {
        match self {
            Self::Nil => out.push_str("<no value>"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) => out.push_str(&value.to_string()),
            Self::Float(value) => number::push_g(out, *value),
            Self::Histogram(histogram) => out.push_str(&histogram_text(histogram)),
            Self::Text(text) => out.push_str(text),
            Self::Time(ms) => out.push_str(&time_text(*ms)),
            Self::Duration(ns) => out.push_str(&duration_text(*ns)),
            Self::Texts(map) => {
                print_map(out, map.iter(), |out, text: &String| out.push_str(text));
            }
            Self::Map(map) => {
                print_map(out, map.iter(), |out, value| out.push_str(&value.formatted()));
            }
            Self::List(list) => {
                out.push('[');
                for (at, value) in list.iter().enumerate() {
                    if out.len() > OUTPUT_LEN_MAX {
                        return;
                    }
                    if at > 0 {
                        out.push(' ');
                    }
                    value.print(out);
                }
                out.push(']');
            }
            Self::Sample { labels, value } => {
                out.push_str("&{");
                print_map(out, labels.iter(), |out, text: &String| out.push_str(text));
                out.push(' ');
                Self::of(value).print(out);
                out.push('}');
            }
            Self::Root => out.push_str("{}"),
        }
    }

    /// The value as `print` and `printf` have it: nothing is `<nil>` there.
    pub(super) fn formatted(&self) -> String {
        match self {
            Self::Nil => "<nil>".to_owned(),
            value => value.printed(),
        }
    }

    /// The value as an action prints it.
    pub(super) fn printed(&self) -> String {
        let mut text = String::new();
        self.print(&mut text);
        text
    }
}

fn print_map<'a, V: 'a>(
    out: &mut String,
    map: impl Iterator<Item = (&'a String, &'a V)>,
    print: impl Fn(&mut String, &V),
) {
    out.push_str("map[");
    for (at, (key, value)) in map.enumerate() {
        if out.len() > OUTPUT_LEN_MAX {
            return;
        }
        if at > 0 {
            out.push(' ');
        }
        out.push_str(key);
        out.push(':');
        print(out, value);
    }
    out.push(']');
}

/// A time as Go prints one in UTC: `2015-06-23 13:19:44.128 +0000 UTC`.
pub(super) fn time_text(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(
        |_| format!("{ms} ms"),
        |time| {
            let text = time.to_string();
            let text = text.trim_end_matches('Z').replace('T', " ");
            format!("{text} +0000 UTC")
        },
    )
}

/// A duration as Go prints one: `1h2m3.5s`, `250ms`, `0s`.
pub(super) fn duration_text(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    let fraction = |value: u64, unit: u64, name: &str| {
        let digits = format!("{:09}", (value % unit).saturating_mul(1_000_000_000 / unit));
        let digits = digits.trim_end_matches('0');
        let dot = if digits.is_empty() { "" } else { "." };
        format!("{}{dot}{digits}{name}", value / unit)
    };
    let seconds = ns / 1_000_000_000;
    let text = match ns {
        0 => "0s".to_owned(),
        1..1_000 => format!("{ns}ns"),
        1_000..1_000_000 => fraction(ns, 1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(ns, 1_000_000, "ms"),
        _ => {
            let rest = fraction(ns % 60_000_000_000, 1_000_000_000, "s");
            match (seconds / 3600, seconds / 60 % 60) {
                (0, 0) => rest,
                (0, minutes) => format!("{minutes}m{rest}"),
                (hours, minutes) => format!("{hours}h{minutes}m{rest}"),
            }
        }
    };
    format!("{sign}{text}")
}
