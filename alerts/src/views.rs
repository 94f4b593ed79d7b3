//! What `/api/v1/rules` and `/api/v1/alerts` answer, in Prometheus' very shape: the `data` part of
//! its envelope. Times are RFC 3339, durations seconds, values Go's floats in text.

use std::collections::BTreeMap;

use jiff::Timestamp;
use labstat_model::number::format_e;
use serde::Serialize;

/// Which rules `/api/v1/rules` is asked for. Empty lists ask for all.
#[derive(Debug, Clone, Default)]
pub struct RulesFilter {
    /// `type=alert` or `type=record`.
    pub kind: Option<KindFilter>,
    /// `rule_name[]`.
    pub rule_names: Vec<String>,
    /// `rule_group[]`.
    pub rule_groups: Vec<String>,
    /// `file[]`.
    pub files: Vec<String>,
    /// `exclude_alerts=true`: leave the list of each rule's alerts empty.
    pub exclude_alerts: bool,
}

/// One kind of rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KindFilter {
    /// Alerting rules only.
    Alerting,
    /// Recording rules only.
    Recording,
}

/// The `data` of `/api/v1/rules`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RulesView {
    /// The groups, in the order of their files.
    pub groups: Vec<GroupView>,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupView {
    /// The group's name.
    pub name: String,
    /// The file it stands in.
    pub file: String,
    /// The rules, in the order of the file.
    pub rules: Vec<RuleView>,
    /// Seconds between evaluations.
    pub interval: f64,
    /// The most alerts or series one rule may have; 0 for no limit.
    pub limit: usize,
    /// Seconds the last evaluation took.
    pub evaluation_time: f64,
    /// When it was.
    pub last_evaluation: String,
}

/// One rule; `type` tells the kinds apart.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum RuleView {
    /// An alerting rule.
    Alerting(AlertingRuleView),
    /// A recording rule.
    Recording(RecordingRuleView),
}

/// An alerting rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertingRuleView {
    /// `firing`, `pending` or `inactive`: the most urgent state of its alerts.
    pub state: &'static str,
    /// The alert's name.
    pub name: String,
    /// The expression.
    pub query: String,
    /// `for`, in seconds.
    pub duration: f64,
    /// `keep_firing_for`, in seconds.
    pub keep_firing_for: f64,
    /// The labels, templates as written.
    pub labels: BTreeMap<String, String>,
    /// The annotations, templates as written.
    pub annotations: BTreeMap<String, String>,
    /// The pending and firing alerts.
    pub alerts: Vec<AlertView>,
    /// `ok`, `err` or `unknown` (not yet evaluated).
    pub health: &'static str,
    /// Why the last evaluation failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Seconds the last evaluation took.
    pub evaluation_time: f64,
    /// When it was.
    pub last_evaluation: String,
}

/// A recording rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordingRuleView {
    /// The name of the metric it makes.
    pub name: String,
    /// The expression.
    pub query: String,
    /// The labels it sets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `ok`, `err` or `unknown` (not yet evaluated).
    pub health: &'static str,
    /// Why the last evaluation failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Seconds the last evaluation took.
    pub evaluation_time: f64,
    /// When it was.
    pub last_evaluation: String,
}

/// The `data` of `/api/v1/alerts`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlertsView {
    /// All pending and firing alerts.
    pub alerts: Vec<AlertView>,
}

/// One pending or firing alert.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertView {
    /// All labels, with `alertname`.
    pub labels: BTreeMap<String, String>,
    /// The annotations, templates expanded.
    pub annotations: BTreeMap<String, String>,
    /// `pending` or `firing`.
    pub state: &'static str,
    /// When the condition was first seen to hold.
    pub active_at: String,
    /// Since when `keep_firing_for` holds it up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_firing_since: Option<String>,
    /// The last value, as `1e+00`.
    pub value: String,
}

/// The time Go prints for "never".
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

/// A time in milliseconds as RFC 3339 in UTC; one outside of the years 1 to 9999 as "never".
pub(crate) fn rfc3339(time_ms: i64) -> String {
    Timestamp::from_millisecond(time_ms).map_or_else(|_| NEVER.to_owned(), |time| time.to_string())
}

/// Seconds of a duration in milliseconds.
pub(crate) fn seconds(duration_ms: i64) -> f64 {
    // Durations are far below 2^53 ms, where this is exact to the last bit that matters.
    #[expect(clippy::cast_precision_loss, reason = "durations are far below 2^53 ms")]
    let ms = duration_ms as f64;
    ms / 1000.0
}

/// The value of an alert as the API gives it.
pub(crate) fn alert_value(value: f64) -> String {
    format_e(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_values_and_durations_are_gos() {
        assert_eq!(rfc3339(1_500), "1970-01-01T00:00:01.5Z");
        assert_eq!(rfc3339(i64::MAX), NEVER);
        assert!((seconds(1_500) - 1.5).abs() < 1e-9);
        assert_eq!(alert_value(1.0), "1e+00");
    }
}
