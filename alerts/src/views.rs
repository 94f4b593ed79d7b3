//! What `/api/v1/rules` and `/api/v1/alerts` answer, in Prometheus' very shape: the `data` part of
//! its envelope. Times are RFC 3339, durations seconds, values Go's floats in text.

use std::collections::BTreeMap;

use jiff::Timestamp;
use labstat_model::Matcher;
use labstat_model::number::format_e;
use serde::Serialize;

use crate::hash::fnv;

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
    /// `match[]`: one of these lists must fit the labels that the rule sets. A label whose value is
    /// a template is none.
    pub matchers: Vec<Vec<Matcher>>,
    /// `exclude_alerts=true`: leave the list of each rule's alerts empty.
    pub exclude_alerts: bool,
}

impl RulesFilter {
    /// Whether a rule with these labels is wanted.
    pub(crate) fn takes<'a>(&self, labels: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
        if self.matchers.is_empty() {
            return true;
        }
        let plain: BTreeMap<&str, &str> = labels.filter(|(_, v)| !v.contains("{{")).collect();
        let fits = |matcher: &Matcher| {
            matcher.matches(plain.get(matcher.name()).copied().unwrap_or_default())
        };
        self.matchers.iter().any(|all| all.iter().all(fits))
    }
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
    /// The groups, by file and then by name.
    pub groups: Vec<GroupView>,
    /// By what the next page is asked for, when this is not the last.
    #[serde(rename = "groupNextToken", skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

impl RulesView {
    /// Keeps one page: at most `max` groups, from the one that `token` names.
    ///
    /// # Errors
    ///
    /// When no group has that token, as when groups were changed since it was given.
    pub fn page(&mut self, max: usize, token: Option<&str>) -> Result<(), NoSuchGroup> {
        if let Some(token) = token {
            let first = self.groups.iter().position(|group| group.token() == token);
            self.groups.drain(..first.ok_or(NoSuchGroup)?);
        }
        self.next_token = self.groups.get(max).map(GroupView::token);
        self.groups.truncate(max);
        Ok(())
    }
}

/// No group has the token that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such group")]
pub struct NoSuchGroup;

impl GroupView {
    /// What names this group to whoever asks for it by page.
    fn token(&self) -> String {
        format!("{:016x}", fnv([self.file.as_str(), self.name.as_str()]))
    }
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

/// The same in milliseconds since the epoch.
pub(crate) const NEVER_MS: i64 = -62_135_596_800_000;

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
    fn groups_come_in_pages() {
        let group = |name: &str| GroupView {
            name: name.to_owned(),
            file: "f".to_owned(),
            rules: Vec::new(),
            interval: 60.0,
            limit: 0,
            evaluation_time: 0.0,
            last_evaluation: NEVER.to_owned(),
        };
        let all = RulesView { groups: ["a", "b", "c"].map(group).to_vec(), next_token: None };
        let mut first = all.clone();
        first.page(2, None).unwrap();
        assert_eq!(first.groups, all.groups[..2]);
        let mut second = all.clone();
        second.page(2, first.next_token.as_deref()).unwrap();
        assert_eq!((&second.groups[..], second.next_token), (&all.groups[2..], None));
        assert_eq!(all.clone().page(2, Some("abc")), Err(NoSuchGroup));
    }

    #[test]
    fn matchers_look_at_the_labels_that_are_no_templates() {
        let matchers = vec![vec![Matcher::equal("a", "b")], vec![Matcher::equal("c", "")]];
        let filter = RulesFilter { matchers, ..RulesFilter::default() };
        assert!(filter.takes([("a", "b"), ("c", "d")].into_iter()));
        assert!(filter.takes([("c", "{{ $value }}")].into_iter()));
        assert!(!filter.takes([("c", "d")].into_iter()));
        assert!(RulesFilter::default().takes(std::iter::empty()));
    }

    #[test]
    fn times_values_and_durations_are_gos() {
        assert_eq!(rfc3339(1_500), "1970-01-01T00:00:01.5Z");
        assert_eq!(rfc3339(i64::MAX), NEVER);
        assert_eq!(rfc3339(NEVER_MS), NEVER);
        assert!((seconds(1_500) - 1.5).abs() < 1e-9);
        assert_eq!(alert_value(1.0), "1e+00");
    }
}
