//! Matchers as Alertmanager writes them: `foo="bar"`, `{a=b, c=~"d|e"}`, and with any name in
//! quotes, `{"µ name"!="x"}`.
//!
//! A text that Alertmanager's old grammar takes means what it meant there; only one that it refuses
//! is read by the newer grammar with UTF-8 names. Patterns match a whole value.

use std::collections::BTreeMap;
use std::fmt;

use labstat_model::{MatchOp, Matcher, PatternRoom};

/// The longest text that is read as matchers: a longer one is no person's.
const TEXT_LEN_MAX: usize = 16 * 1024;

/// The most matchers in one text.
const MATCHERS_MAX: usize = 128;

/// Conditions that must all hold, ordered by name, value and kind as Alertmanager orders them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Matchers(Vec<Matcher>);

/// Why a text is no list of matchers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad matcher format: {text}: {problem}")]
pub struct MatchersError {
    /// What was read.
    pub text: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Matchers {
    /// These matchers, put in order.
    pub fn new(mut list: Vec<Matcher>) -> Self {
        let kind = |op| match op {
            MatchOp::Equal => 0,
            MatchOp::NotEqual => 1,
            MatchOp::Regex => 2,
            MatchOp::NotRegex => 3,
        };
        list.sort_by(|a, b| {
            (a.name(), a.value(), kind(a.op())).cmp(&(b.name(), b.value(), kind(b.op())))
        });
        Self(list)
    }

    /// The matchers of a text, with or without braces around them.
    pub fn parse(text: &str) -> Result<Self, MatchersError> {
        let fail = |problem: String| MatchersError { text: text.to_owned(), problem };
        if text.len() > TEXT_LEN_MAX {
            let text = "…".to_owned();
            return Err(MatchersError { text, problem: format!("over {TEXT_LEN_MAX} bytes") });
        }
        let list = match classic(text) {
            Ok(list) => list,
            Err(problem) => utf8(text).map_err(|_| fail(problem))?,
        };
        if list.len() > MATCHERS_MAX {
            return Err(fail(format!("more than {MATCHERS_MAX} matchers")));
        }
        let mut room = PatternRoom::default();
        let made =
            list.into_iter().map(|(name, op, value)| Matcher::within(name, op, value, &mut room));
        let made = made.collect::<Result<Vec<_>, _>>().map_err(|error| fail(error.to_string()))?;
        Ok(Self::new(made))
    }

    /// The matchers of several texts, all of which must hold.
    pub fn parse_all<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, MatchersError> {
        let mut all = Vec::new();
        for text in texts {
            all.extend(Self::parse(text)?.0);
        }
        Ok(Self::new(all))
    }

    /// Whether all hold for `labels`; a label that is not there is an empty one.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|each| each.matches(labels.get(each.name()).map_or("", String::as_str)))
    }

    /// Whether there are none, which match everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Matcher> {
        self.0.iter()
    }

    /// A label and the values of which it must have one, where one of the matchers asks for that:
    /// by it the matchers can be looked up rather than tried.
    pub(super) fn handle(&self) -> Option<(&str, &[String])> {
        let fits = |matcher: &&Matcher| !matcher.is_negative() && !matcher.matches("");
        let known = self.0.iter().filter(fits);
        let mut known = known.filter_map(|m| m.alternatives().map(|values| (m.name(), values)));
        known.next()
    }
}

impl fmt::Display for Matchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, matcher) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            f.write_str(&matcher_text(matcher))?;
        }
        f.write_str("}")
    }
}

/// One matcher as Alertmanager writes it: `foo="bar"`.
pub fn matcher_text(matcher: &Matcher) -> String {
    let (name, op, value) = (matcher.name(), op_text(matcher.op()), escaped(matcher.value()));
    if is_classic_name(name) {
        format!("{name}{op}\"{value}\"")
    } else {
        format!("\"{}\"{op}\"{value}\"", escaped(name))
    }
}

fn op_text(op: MatchOp) -> &'static str {
    match op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('\n', r"\n").replace('"', "\\\"")
}

/// Whether Prometheus took this name for a label before it took all.
pub(super) fn is_classic_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = |b: u8| b.is_ascii_alphabetic() || b == b'_' || b == b':';
    bytes.next().is_some_and(first) && bytes.all(|b| first(b) || b.is_ascii_digit())
}

type Parts = (String, MatchOp, String);

/// The grammar up to 0.26: split at commas outside of quotes, one matcher each.
fn classic(text: &str) -> Result<Vec<Parts>, String> {
    let text = text.strip_prefix('{').unwrap_or(text);
    let text = text.strip_suffix('}').unwrap_or(text);
    let (mut tokens, mut token) = (Vec::new(), String::new());
    let (mut quoted, mut escape) = (false, false);
    for c in text.chars() {
        match c {
            ',' if !quoted => {
                tokens.push(std::mem::take(&mut token));
                continue;
            }
            '"' if escape => escape = false,
            '"' => quoted = !quoted,
            '\\' => escape = !escape,
            _ => escape = false,
        }
        token.push(c);
    }
    if !token.trim().is_empty() {
        tokens.push(token.trim().to_owned());
    }
    tokens.iter().map(|token| classic_one(token)).collect()
}

/// White space as Go's `\s` has it.
const GO_SPACE: [char; 5] = [' ', '\t', '\n', '\r', '\x0c'];

fn classic_one(token: &str) -> Result<Parts, String> {
    let bad = || format!("{token:?} is not name, operator and value");
    let rest = token.trim_start_matches(GO_SPACE);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let len = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
    let (name, rest) = rest.split_at_checked(len).ok_or_else(bad)?;
    if !is_classic_name(name) {
        return Err(bad());
    }
    let (op, rest) = operator(rest.trim_start_matches(GO_SPACE)).ok_or_else(bad)?;
    Ok((name.to_owned(), op, classic_value(rest.trim_matches(GO_SPACE))?))
}

fn operator(text: &str) -> Option<(MatchOp, &str)> {
    const OPS: [(&str, MatchOp); 4] = [
        ("=~", MatchOp::Regex),
        ("!=", MatchOp::NotEqual),
        ("!~", MatchOp::NotRegex),
        ("=", MatchOp::Equal),
    ];
    OPS.iter().find_map(|(op, kind)| text.strip_prefix(op).map(|rest| (*kind, rest)))
}

fn classic_value(raw: &str) -> Result<String, String> {
    let unquoted = raw.strip_prefix('"');
    let mut wants_quote = unquoted.is_some();
    let raw = unquoted.unwrap_or(raw);
    let bare = || format!("matcher value contains unescaped double quote: {raw}");
    let mut value = String::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => value.push('\n'),
                Some(plain @ ('"' | '\\')) => value.push(plain),
                // Not an escape after all: the backslash stands for itself.
                Some(other) => value.extend(['\\', other]),
                None => value.push('\\'),
            },
            '"' if !wants_quote || chars.peek().is_some() => return Err(bare()),
            '"' => wants_quote = false,
            other => value.push(other),
        }
    }
    if wants_quote { Err(bare()) } else { Ok(value) }
}

/// The grammar from 0.27 on: names and values may be quoted, and unquoted ones may hold anything
/// but what the grammar needs.
fn utf8(text: &str) -> Result<Vec<Parts>, String> {
    let mut rest = text.trim();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner.strip_suffix('}').ok_or("a brace is not closed")?.trim();
    } else if rest.ends_with('}') {
        return Err("a brace is not opened".to_owned());
    }
    let mut list = Vec::new();
    while !rest.is_empty() {
        let (name, tail) = word(rest)?;
        if name.is_empty() {
            return Err("a name is empty".to_owned());
        }
        let (op, tail) = operator(tail.trim_start()).ok_or("an operator is missing")?;
        let (value, tail) = word(tail.trim_start())?;
        list.push((name, op, value));
        let tail = tail.trim_start();
        rest = match tail.strip_prefix(',') {
            Some(more) => more.trim_start(),
            None if tail.is_empty() => tail,
            None => return Err("a comma is missing".to_owned()),
        };
    }
    Ok(list)
}

/// A quoted or unquoted word and what comes after it.
fn word(text: &str) -> Result<(String, &str), String> {
    let Some(inner) = text.strip_prefix('"') else {
        let ends = |c: char| c.is_whitespace() || "{}!=~,\\\"'`".contains(c);
        let len = text.find(ends).unwrap_or(text.len());
        let (word, rest) = text.split_at_checked(len).unwrap_or((text, ""));
        return if word.is_empty() {
            Err("a name or value is missing".to_owned())
        } else {
            Ok((word.to_owned(), rest))
        };
    };
    let mut value = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, inner.get(at + 1..).unwrap_or_default())),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, plain @ ('"' | '\\'))) => value.push(plain),
                _ => return Err("an escape is not known".to_owned()),
            },
            other => value.push(other),
        }
    }
    Err("a quote is not closed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Matchers::parse(text).map_or_else(|error| format!("! {}", error.problem), |m| m.to_string())
    }

    #[test]
    fn both_grammars_are_read() {
        for (text, meant) in [
            ("foo=bar", r#"{foo="bar"}"#),
            (r#"{a=b, c=~"d|e"}"#, r#"{a="b",c=~"d|e"}"#),
            (r#"{c!~"x,y",a!=b,}"#, r#"{a!="b",c!~"x,y"}"#),
            ("foo=", r#"{foo=""}"#),
            ("foo==x", r#"{foo="=x"}"#),
            (r"path=C:\temp", r#"{path="C:\\temp"}"#),
            (r#"a="say \"hi\"""#, r#"{a="say \"hi\""}"#),
            (" { a = b } ", r#"{a="b"}"#),
            ("", "{}"),
            ("{}", "{}"),
            (r#"{"my name"="x y"}"#, r#"{"my name"="x y"}"#),
            ("µ=1", r#"{"µ"="1"}"#),
        ] {
            assert_eq!(shown(text), meant, "{text}");
        }
    }

    #[test]
    fn what_is_no_matcher_is_refused() {
        for text in ["foo", "=bar", "foo=\"bar", "foo=b\"ar", "foo=~\"(\"", "1a", ",", "{a=b,,c=d}"]
        {
            assert!(shown(text).starts_with("! "), "{text} gave {}", shown(text));
        }
    }

    #[test]
    fn a_handle_is_a_value_that_must_be_there() {
        let handle = |text: &str| {
            let matchers = Matchers::parse(text).unwrap();
            matchers.handle().map(|(name, values)| (name.to_owned(), values.to_vec()))
        };
        let values = |list: &[&str]| list.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
        assert_eq!(handle("a!=x,b=y"), Some(("b".to_owned(), values(&["y"]))));
        assert_eq!(handle("a=~\"x|y\""), Some(("a".to_owned(), values(&["x", "y"]))));
        assert_eq!(handle("a=,b!=y,c=~\".*\""), None);
    }
}
