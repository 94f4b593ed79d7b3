//! Label matchers: `name="value"`, `!=`, `=~`, `!~`.

use std::fmt;

use regex::Regex;

use crate::Labels;

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

/// Why a matcher could not be made.
#[derive(Debug, Clone, thiserror::Error)]
#[error("invalid regular expression {pattern:?}: {cause}")]
pub struct MatcherError {
    /// The pattern as written.
    pub pattern: String,
    /// What the regex parser says, on one line.
    pub cause: String,
}

/// Bytes that a compiled pattern may take. Prometheus has no such bound; a pattern from outside
/// must not be able to take the machine's memory.
const REGEX_SIZE_MAX: usize = 4 * 1024 * 1024;

/// One condition on one label. A label that is not there compares as an empty value, as in
/// Prometheus; regular expressions match the whole value, and `.` matches line ends too.
#[derive(Debug, Clone)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    regex: Option<Regex>,
}

impl Matcher {
    /// A matcher; fails only for a pattern that is no regular expression.
    pub fn new(
        name: impl Into<String>,
        op: MatchOp,
        value: impl Into<String>,
    ) -> Result<Self, MatcherError> {
        let value = value.into();
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(compile(&value)?),
        };
        Ok(Self { name: name.into(), op, value, regex })
    }

    /// `name="value"`.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), regex: None }
    }

    /// The label's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The value or the pattern, as written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label of this value (empty for none) fulfils the condition.
    pub fn matches(&self, value: &str) -> bool {
        match (self.op, &self.regex) {
            (MatchOp::Equal, _) => value == self.value,
            (MatchOp::NotEqual, _) => value != self.value,
            (MatchOp::Regex, Some(regex)) => regex.is_match(value),
            (MatchOp::NotRegex, Some(regex)) => !regex.is_match(value),
            // A pattern is compiled when the matcher is made.
            (MatchOp::Regex | MatchOp::NotRegex, None) => false,
        }
    }

    /// Whether `labels` fulfils the condition.
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.get(&self.name).unwrap_or(""))
    }
}

fn compile(pattern: &str) -> Result<Regex, MatcherError> {
    let build = |text: &str| {
        regex::RegexBuilder::new(text)
            .size_limit(REGEX_SIZE_MAX)
            .build()
            .map_err(|error| MatcherError { pattern: pattern.to_owned(), cause: one_line(&error) })
    };
    // On its own first: `a)|(b` would close the group around it and slip its anchors.
    build(pattern)?;
    build(&format!("^(?s:{pattern})$"))
}

/// The regex crate draws its errors over several lines; the last one says what is wrong.
fn one_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        write!(f, "{}{op}{:?}", self.name, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_anchored_and_dot_takes_all() {
        let any = |op, value: &str| Matcher::new("a", op, value).unwrap();
        assert!(any(MatchOp::Regex, "x|y").matches("y"));
        assert!(!any(MatchOp::Regex, "x|y").matches("xy"));
        assert!(any(MatchOp::Regex, "a.c").matches("a\nc"));
        assert!(any(MatchOp::NotRegex, ".+").matches(""));
        assert!(any(MatchOp::NotEqual, "").matches("x"));
    }

    #[test]
    fn bad_pattern_is_named_on_one_line() {
        let error = Matcher::new("a", MatchOp::Regex, "a(").unwrap_err().to_string();
        assert_eq!(error, r#"invalid regular expression "a(": unclosed group"#);
        let slips_its_anchors = Matcher::new("a", MatchOp::Regex, "a)|(b").unwrap_err();
        assert_eq!(slips_its_anchors.cause, "unopened group");
    }
}
