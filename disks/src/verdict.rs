//! What is said of a disk: the verdict, its reasons, and their evidence.

use serde::{Deserialize, Serialize, Serializer};

/// What to think of a disk.
///
/// As text and in JSON it is the lower-case word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing that a careful administrator would mind.
    Ok,
    /// Attention; no replacement on this evidence alone.
    Watch,
    /// A careful administrator would replace or evacuate it now.
    Act,
    /// It does not answer, or gives no SMART data though it must.
    Dead,
    /// It sleeps, and was left alone.
    Asleep,
    /// It says nothing of its health, and that is no fault: rights, bridge, controller, virtual.
    Silent,
}

impl Verdict {
    /// All verdicts, in the order of their declaration.
    pub const ALL: [Self; 6] =
        [Self::Ok, Self::Watch, Self::Act, Self::Dead, Self::Asleep, Self::Silent];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Watch => "watch",
            Self::Act => "act",
            Self::Dead => "dead",
            Self::Asleep => "asleep",
            Self::Silent => "silent",
        }
    }

    /// How much it asks of the reader: `ok` 0, asleep and silent 1, watch 2, act 3, dead 4. For
    /// sorting and for the worst of many.
    pub const fn urgency(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Asleep | Self::Silent => 1,
            Self::Watch => 2,
            Self::Act => 3,
            Self::Dead => 4,
        }
    }

    /// Whether it asks for somebody's hand or eye: watch, act, dead.
    pub const fn is_urgent(self) -> bool {
        matches!(self, Self::Watch | Self::Act | Self::Dead)
    }

    /// The more urgent of two; `self` when they are alike.
    #[must_use]
    pub const fn worse(self, other: Self) -> Self {
        if other.urgency() > self.urgency() { other } else { self }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is said of one disk at one time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// What to think of it.
    pub verdict: Verdict,
    /// Why, the most urgent first. Never empty. Those of [`Verdict::Ok`] name what was looked at
    /// and excused.
    pub reasons: Vec<Reason>,
}

/// One reason of a verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    /// A short stable word for rules and machines, such as `pending_sectors`.
    pub code: &'static str,
    /// What this alone would make of the disk.
    pub verdict: Verdict,
    /// One sentence for people: what, what it means, what to do.
    pub text: String,
    /// The numbers behind it.
    pub evidence: Vec<Evidence>,
}

/// One number or word behind a reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// What it is, in the report's own words.
    pub name: String,
    /// What it is now.
    pub value: Value,
    /// What it was in the earlier report, or when it was acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// From where on it counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Value>,
    /// Who says that it means what is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'static str>,
}

/// A number or a word.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number; whole ones are written without a point.
    Number(f64),
    /// Text.
    Text(String),
}

/// Whole numbers below this are exact in a double.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

impl Value {
    fn whole(&self) -> Option<i64> {
        match self {
            #[expect(clippy::cast_possible_truncation, reason = "within the exact whole numbers")]
            Self::Number(number) if number.fract() == 0.0 && number.abs() < WHOLE_MAX => {
                Some(*number as i64)
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self, self.whole()) {
            (_, Some(whole)) => write!(f, "{whole}"),
            (Self::Number(number), None) => write!(f, "{number}"),
            (Self::Text(text), None) => f.write_str(text),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match (self, self.whole()) {
            (_, Some(whole)) => to.serialize_i64(whole),
            (Self::Number(number), None) => to.serialize_f64(*number),
            (Self::Text(text), None) => to.serialize_str(text),
        }
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number as f64)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Evidence {
    /// A number or word by its name, and nothing more.
    pub fn new(name: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { name: name.into(), value: value.into(), before: None, limit: None, source: None }
    }

    /// With what it was before.
    #[must_use]
    pub fn before(mut self, before: Option<impl Into<Value>>) -> Self {
        self.before = before.map(Into::into);
        self
    }

    /// With where it begins to count.
    #[must_use]
    pub fn limit(mut self, limit: Option<impl Into<Value>>) -> Self {
        self.limit = limit.map(Into::into);
        self
    }

    /// With who says so.
    #[must_use]
    pub fn source(mut self, source: Option<&'static str>) -> Self {
        self.source = source;
        self
    }
}

impl Reason {
    /// A reason without evidence.
    pub fn new(code: &'static str, verdict: Verdict, text: impl Into<String>) -> Self {
        Self { code, verdict, text: text.into(), evidence: Vec::new() }
    }

    /// With one more piece of evidence.
    #[must_use]
    pub fn with(mut self, evidence: Evidence) -> Self {
        self.evidence.push(evidence);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_write_them() {
        let json = |value: Value| serde_json::to_string(&value).unwrap();
        assert_eq!(json(Value::from(8_u64)), "8");
        assert_eq!(json(Value::from(0.5)), "0.5");
        assert_eq!(json(Value::from("Past")), "\"Past\"");
        assert_eq!(Value::from(8.0).to_string(), "8");
    }

    #[test]
    fn the_worse_of_two_verdicts() {
        assert_eq!(Verdict::Ok.worse(Verdict::Watch), Verdict::Watch);
        assert_eq!(Verdict::Act.worse(Verdict::Silent), Verdict::Act);
        assert_eq!(Verdict::Asleep.worse(Verdict::Silent), Verdict::Asleep);
        assert_eq!(serde_json::to_string(&Verdict::Asleep).unwrap(), "\"asleep\"");
        for verdict in Verdict::ALL {
            assert_eq!(format!("\"{verdict}\""), serde_json::to_string(&verdict).unwrap());
        }
    }
}
