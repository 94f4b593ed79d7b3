//! What leaves the state machine: one alert that started or stopped to fire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// About how many bytes a text takes beside its own.
pub(crate) const TEXT_WEIGHT: usize = 32;

/// About how many bytes labels take.
pub(crate) fn weight_of(labels: &BTreeMap<String, String>) -> usize {
    labels.iter().map(|(name, value)| 2 * TEXT_WEIGHT + name.len() + value.len()).sum()
}

/// Which way an alert changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The condition held for long enough.
    Firing,
    /// The condition no longer holds.
    Resolved,
}

impl Status {
    /// The word Alertmanager uses: `firing` or `resolved`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// One change of one alert, with everything a receiver needs to tell a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// Alertmanager's fingerprint of `labels`: 16 hexadecimal digits.
    pub fingerprint: String,
    /// Which way it changed.
    pub status: Status,
    /// All labels, with `alertname`.
    pub labels: BTreeMap<String, String>,
    /// The annotations, templates expanded.
    pub annotations: BTreeMap<String, String>,
    /// When the condition was first seen to hold, in milliseconds since the epoch.
    pub active_at_ms: i64,
    /// When it began to fire (`active_at_ms` and the rule's `for`), in milliseconds.
    pub starts_at_ms: i64,
    /// When it was resolved, in milliseconds; only when it is.
    pub ends_at_ms: Option<i64>,
    /// The last value of the rule's expression.
    #[serde(with = "float_text")]
    pub value: f64,
    /// Where the expression can be looked at: the external URL with the query.
    pub generator_url: String,
}

impl Notification {
    /// About how many bytes it takes, in memory as on disk.
    pub(crate) fn weight(&self) -> usize {
        let texts = self.fingerprint.len() + self.generator_url.len();
        4 * TEXT_WEIGHT + texts + weight_of(&self.labels) + weight_of(&self.annotations)
    }

    /// The alert's name, or an empty string.
    pub fn name(&self) -> &str {
        self.labels.get("alertname").map_or("", String::as_str)
    }

    /// The label `severity`, or an empty string.
    pub fn severity(&self) -> &str {
        self.labels.get("severity").map_or("", String::as_str)
    }

    /// The annotation `name`, when there is one and it says something.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    /// What makes two notifications the same change: the alert, the time it began to hold, and
    /// the way it went. A change that is told again after a crash is known by it.
    pub fn change_id(&self) -> (&str, i64, Status) {
        (&self.fingerprint, self.active_at_ms, self.status)
    }
}

/// Floats as text: JSON has no NaN and no infinity, and an alert may have either as its value.
pub(crate) mod float_text {
    use labstat_model::number::format_g;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_g(*value))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}
