//! Label matchers: `name="value"`, `!=`, `=~`, `!~`.

use std::fmt;

use crate::pattern::Pattern;
use crate::{Labels, PatternRoom};

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
#[error("error parsing regexp: {cause}")]
pub struct MatcherError {
    /// The pattern as written.
    pub pattern: String,
    /// What Go's parser would say, with the part that it is about.
    pub cause: String,
}

/// One condition on one label. A label that is not there compares as an empty value, as in
/// Prometheus; regular expressions match the whole value, and `.` matches line ends too.
#[derive(Debug, Clone)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    /// Of regular expressions alone.
    pattern: Option<Pattern>,
}

impl Matcher {
    /// A matcher by itself; fails only for a pattern that is no regular expression, or too large a
    /// one.
    pub fn new(
        name: impl Into<String>,
        op: MatchOp,
        value: impl Into<String>,
    ) -> Result<Self, MatcherError> {
        Self::within(name, op, value, &mut PatternRoom::default())
    }

    /// A matcher among others, whose patterns share `room`.
    pub fn within(
        name: impl Into<String>,
        op: MatchOp,
        value: impl Into<String>,
        room: &mut PatternRoom,
    ) -> Result<Self, MatcherError> {
        let value = value.into();
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Pattern::new(&value, room)?),
        };
        Ok(Self { name: name.into(), op, value, pattern })
    }

    /// `name="value"`.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), pattern: None }
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
        let is = match &self.pattern {
            Some(pattern) => pattern.matches(value),
            None => value == self.value,
        };
        is != self.is_negative()
    }

    /// Whether it takes what the value or the pattern is not: `!=` and `!~`.
    pub fn is_negative(&self) -> bool {
        matches!(self.op, MatchOp::NotEqual | MatchOp::NotRegex)
    }

    /// All values that equal the value or match the pattern, sorted, where these are few: `a|b`
    /// has two. A negative matcher takes all values but these.
    pub fn alternatives(&self) -> Option<&[String]> {
        match &self.pattern {
            Some(pattern) => pattern.alternatives(),
            None => Some(std::slice::from_ref(&self.value)),
        }
    }

    /// What all values begin with that equal the value or match the pattern; often nothing.
    pub fn prefix(&self) -> &str {
        match &self.pattern {
            Some(pattern) => pattern.prefix(),
            None => &self.value,
        }
    }

    /// Whether `labels` fulfils the condition.
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.get(&self.name).unwrap_or(""))
    }
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
        assert_eq!(error, "error parsing regexp: missing closing ): `a(`");
        let slips_its_anchors = Matcher::new("a", MatchOp::Regex, "a)|(b").unwrap_err();
        assert_eq!(slips_its_anchors.cause, "unexpected ): `a)|(b`");
        let unknown = Matcher::new("a", MatchOp::Regex, r"\p{Elvish}").unwrap_err().to_string();
        assert_eq!(unknown, r"error parsing regexp: Unicode property not found: `\p{Elvish}`");
        let huge = Matcher::new("a", MatchOp::Regex, r"(\pL{1000}){1000}").unwrap_err();
        assert!(huge.cause.contains("size"), "{huge}");
    }

    #[test]
    fn what_can_be_looked_up_is_told() {
        let any = |op, value: &str| Matcher::new("a", op, value).unwrap();
        let two = any(MatchOp::NotRegex, "b|a");
        assert_eq!(two.alternatives().unwrap(), ["a", "b"]);
        assert!(two.is_negative() && !two.matches("a") && two.matches("c"));
        let one = Matcher::equal("a", "x");
        assert_eq!((one.alternatives().unwrap(), one.prefix()), (&["x".to_owned()][..], "x"));
        assert_eq!(any(MatchOp::Regex, "node_.*").prefix(), "node_");
    }
}
