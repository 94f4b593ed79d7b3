//! What one receiver is told at one time: some alerts of one group, and why now.
//!
//! A message is made by the pure part (who is to hear what, and when), kept in the ledger, and put
//! into words only when it is sent. It knows no receiver's kind.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::notification::{Notification, Status, TEXT_WEIGHT, weight_of};

/// One message to one receiver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its name, the same at each attempt and after a crash, and of no other message: receivers
    /// that can, know a repetition by it.
    pub id: String,
    /// The receiver's name.
    pub receiver: String,
    /// The group, written as Alertmanager does: `{}/{severity="critical"}:{instance="vertex"}`.
    pub group_key: String,
    /// The labels that all alerts of the group share because they are grouped by them.
    pub group_labels: BTreeMap<String, String>,
    /// What ties together the messages from a group's first alert to its end: the `id` of the first.
    pub thread: String,
    /// Why it is sent.
    pub reason: Reason,
    /// When it was made, in milliseconds since the epoch.
    pub created_ms: i64,
    /// The alerts it tells of: those that fire before those that are over, the cause before what
    /// follows from it, the gravest first.
    pub alerts: Vec<Notification>,
    /// Alerts left out because there were too many.
    pub alerts_omitted: usize,
    /// What happened so far, oldest first; empty where it would say no more than `alerts`.
    pub timeline: Vec<Event>,
    /// Of an escalation: the receivers that were told before, and have not acknowledged it.
    #[serde(default)]
    pub told: Vec<String>,
}

/// Why a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The first of its group.
    New,
    /// Alerts have joined or left the group.
    Changed,
    /// Nothing has changed, and `repeat_interval` is over.
    Reminder,
    /// Nobody has acknowledged it in time.
    Escalation,
    /// All alerts of the group are over.
    Resolved,
    /// It stands for messages that were held back by a rate limit: `alerts_omitted` more.
    Summary,
    /// Somebody tries the receiver out.
    Test,
}

/// Something that happened to an alert of the group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in milliseconds since the epoch.
    pub time_ms: i64,
    /// The alert's fingerprint.
    pub fingerprint: String,
    /// What it was: a short sentence, such as the alert's summary.
    pub text: String,
    /// Whether it began or was over.
    pub status: Status,
}

impl Message {
    /// A message about one alert alone, which is its own group.
    pub fn about(alert: Notification, receiver: &str) -> Self {
        let (fingerprint, active_at_ms, status) = alert.change_id();
        let thread = format!("{fingerprint}.{active_at_ms}.{receiver}");
        let pairs: Vec<String> =
            alert.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let reason = match status {
            Status::Firing => Reason::New,
            Status::Resolved => Reason::Resolved,
        };
        Self {
            id: match status {
                Status::Firing => thread.clone(),
                Status::Resolved => format!("{thread}.{}", status.as_str()),
            },
            receiver: receiver.to_owned(),
            group_key: format!("{{}}:{{{}}}", pairs.join(", ")),
            group_labels: alert.labels.clone(),
            thread,
            reason,
            created_ms: alert.ends_at_ms.unwrap_or(alert.starts_at_ms),
            alerts: vec![alert],
            alerts_omitted: 0,
            timeline: Vec::new(),
            told: Vec::new(),
        }
    }

    /// About how many bytes it takes, in memory as on disk.
    pub(crate) fn weight(&self) -> usize {
        let event = |event: &Event| TEXT_WEIGHT + event.fingerprint.len() + event.text.len();
        weight_of(&self.group_labels)
            + self.group_key.len()
            + self.alerts.iter().map(Notification::weight).sum::<usize>()
            + self.timeline.iter().map(event).sum::<usize>()
            + self.told.iter().map(|told| TEXT_WEIGHT + told.len()).sum::<usize>()
    }

    /// Whether anything of it still fires.
    pub fn status(&self) -> Status {
        let fires = self.alerts.iter().any(|alert| alert.status == Status::Firing);
        if fires { Status::Firing } else { Status::Resolved }
    }

    /// The alert that stands for all: the cause, else the gravest.
    pub fn lead(&self) -> Option<&Notification> {
        self.alerts.first()
    }

    /// The labels that all of its alerts have with one value.
    pub fn common_labels(&self) -> BTreeMap<String, String> {
        common(self.alerts.iter().map(|alert| &alert.labels))
    }

    /// The annotations that all of its alerts have with one value.
    pub fn common_annotations(&self) -> BTreeMap<String, String> {
        common(self.alerts.iter().map(|alert| &alert.annotations))
    }
}

fn common<'a>(
    mut maps: impl Iterator<Item = &'a BTreeMap<String, String>>,
) -> BTreeMap<String, String> {
    let mut shared = maps.next().cloned().unwrap_or_default();
    for map in maps {
        shared.retain(|name, value| map.get(name) == Some(value));
    }
    shared
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn common_is_what_all_have_with_one_value() {
        let all = [labels("a=1 b=2 c=3"), labels("a=1 b=9"), labels("b=2 a=1 c=3")];
        assert_eq!(common(all.iter()), labels("a=1"));
        assert_eq!(common(all.iter().take(1)), labels("a=1 b=2 c=3"));
        assert!(common(std::iter::empty()).is_empty());
    }
}
