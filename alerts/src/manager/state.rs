//! One alerting rule's alerts: from the results of one evaluation to the next state, with what
//! changed. Pure: a map and a time in, a map and a list out.

use std::collections::BTreeMap;

use labstat_model::Labels;
use serde::{Deserialize, Serialize};

use crate::hash::fingerprint;
use crate::notification::{Notification, Status, float_text};
use crate::rules::AlertRule;
use crate::views::{AlertView, alert_value, rfc3339};

/// How far an alert has come. One that is inactive is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The condition holds, but not yet for as long as the rule wants.
    Pending,
    /// It has held for long enough.
    Firing,
}

impl State {
    /// The word of the API and of the label `alertstate`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// One alert that is pending or firing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// How far it has come.
    pub state: State,
    /// All labels, with `alertname`.
    pub labels: BTreeMap<String, String>,
    /// The annotations as of the last evaluation that found it.
    pub annotations: BTreeMap<String, String>,
    /// When the condition was first seen to hold, in milliseconds.
    pub active_at_ms: i64,
    /// When it began to fire, in milliseconds.
    pub fired_at_ms: Option<i64>,
    /// Since when only `keep_firing_for` holds it up, in milliseconds.
    pub keep_firing_since_ms: Option<i64>,
    /// The value as of the last evaluation that found it.
    #[serde(with = "float_text")]
    pub value: f64,
}

/// One result of a rule's expression, labels and annotations made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    pub(crate) labels: Labels,
    /// `None` when they are what they were.
    pub(crate) annotations: Option<BTreeMap<String, String>>,
    pub(crate) value: f64,
}

/// A change of one alert.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub(crate) status: Status,
    pub(crate) alert: Alert,
}

impl Alert {
    /// Whether the two differ in nothing but what the next evaluation finds anew.
    pub(super) fn is_as_far_as(&self, other: &Self) -> bool {
        let stage = |alert: &Self| {
            (alert.state, alert.active_at_ms, alert.fired_at_ms, alert.keep_firing_since_ms)
        };
        stage(self) == stage(other) && self.labels == other.labels
    }

    /// What names it among all alerts, whatever rule it is of.
    pub(super) fn fingerprint(&self) -> String {
        fingerprint(self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    /// The set of its labels.
    pub(crate) fn label_set(&self) -> Labels {
        Labels::new(self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    /// What the API shows of it.
    pub(super) fn view(&self) -> AlertView {
        AlertView {
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            state: self.state.as_str(),
            active_at: rfc3339(self.active_at_ms),
            keep_firing_since: self.keep_firing_since_ms.map(rfc3339),
            value: alert_value(self.value),
        }
    }

    /// The message that it fires.
    pub(super) fn firing(self, generator_url: String) -> Notification {
        self.notification(Status::Firing, None, generator_url)
    }

    /// The message that it is over.
    pub(super) fn resolved(self, now_ms: i64, generator_url: String) -> Notification {
        self.notification(Status::Resolved, Some(now_ms), generator_url)
    }

    fn notification(
        self,
        status: Status,
        ends_at_ms: Option<i64>,
        generator_url: String,
    ) -> Notification {
        Notification {
            fingerprint: self.fingerprint(),
            status,
            active_at_ms: self.active_at_ms,
            starts_at_ms: self.fired_at_ms.unwrap_or(self.active_at_ms),
            ends_at_ms,
            value: self.value,
            generator_url,
            annotations: self.annotations,
            labels: self.labels,
        }
    }
}

/// What else decides on the next state.
pub(crate) struct Circumstances<'a> {
    /// The time of the evaluation.
    pub(crate) now_ms: i64,
    /// Whether something other than the rule's expression lets an alert go on as it is.
    pub(crate) goes_on: &'a dyn Fn(&Alert) -> bool,
    /// Whether an alert with these labels may not begin now.
    pub(crate) must_wait: &'a dyn Fn(&Labels) -> bool,
    /// Whether what an alert is about is gone for good, so that nothing is to be held up.
    pub(crate) is_gone: &'a dyn Fn(&Alert) -> bool,
}

/// The next state of a rule's alerts, and what changed.
pub(crate) fn step(
    rule: &AlertRule,
    alerts: &BTreeMap<Labels, Alert>,
    found: Vec<Found>,
    around: &Circumstances<'_>,
) -> (BTreeMap<Labels, Alert>, Vec<Change>) {
    let now_ms = around.now_ms;
    let mut next = BTreeMap::new();
    let mut changes = Vec::new();
    for found in found {
        let mut alert = match alerts.get(&found.labels) {
            Some(known) => known.clone(),
            None if (around.must_wait)(&found.labels) => continue,
            None => begin(&found.labels, now_ms),
        };
        alert.value = found.value;
        if let Some(annotations) = found.annotations {
            alert.annotations = annotations;
        }
        alert.keep_firing_since_ms = None;
        if alert.state == State::Pending && now_ms.saturating_sub(alert.active_at_ms) >= rule.for_ms
        {
            alert.state = State::Firing;
            alert.fired_at_ms = Some(now_ms);
            changes.push(Change { status: Status::Firing, alert: alert.clone() });
        }
        next.insert(found.labels, alert);
    }
    for (labels, alert) in alerts {
        if next.contains_key(labels) {
            continue;
        }
        if (around.goes_on)(alert) {
            next.insert(labels.clone(), Alert { keep_firing_since_ms: None, ..alert.clone() });
            continue;
        }
        // A pending alert that is not found again is forgotten without a word.
        if alert.state == State::Pending {
            continue;
        }
        let mut alert = alert.clone();
        let since_ms = *alert.keep_firing_since_ms.get_or_insert(now_ms);
        let is_held = rule.keep_firing_for_ms > 0
            && now_ms.saturating_sub(since_ms) < rule.keep_firing_for_ms;
        if is_held && !(around.is_gone)(&alert) {
            next.insert(labels.clone(), alert);
        } else {
            changes.push(Change { status: Status::Resolved, alert });
        }
    }
    (next, changes)
}

fn begin(labels: &Labels, now_ms: i64) -> Alert {
    Alert {
        state: State::Pending,
        labels: labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        annotations: BTreeMap::new(),
        active_at_ms: now_ms,
        fired_at_ms: None,
        keep_firing_since_ms: None,
        value: 0.0,
    }
}
