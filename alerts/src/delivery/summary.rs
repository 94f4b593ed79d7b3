//! One message in place of many that were held back.

use std::collections::BTreeMap;

use super::row::Queued;
use crate::message::{Message, Reason};
use crate::notification::{Notification, Status};
use crate::notify::Severity;

/// Alerts that a summary names; of more it says how many there are. What fits on two screens.
pub(super) const ALERTS_MAX: usize = 20;

/// How urgent a message is: the smaller, the sooner it goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// Something critical, or nobody has acknowledged it.
    Urgent,
    /// What fires with another severity, or none.
    Usual,
    /// What is worth knowing.
    Low,
    /// What is over.
    Over,
}

impl Urgency {
    pub(super) fn of(message: &Message) -> Self {
        if message.reason == Reason::Escalation {
            return Self::Urgent;
        }
        message.alerts.iter().map(of_alert).min().unwrap_or(Self::Over)
    }
}

fn of_alert(alert: &Notification) -> Urgency {
    match (alert.status, Severity::parse(alert.severity())) {
        (Status::Resolved, _) => Urgency::Over,
        (Status::Firing, Some(Severity::Critical)) => Urgency::Urgent,
        (Status::Firing, Some(Severity::Info)) => Urgency::Low,
        (Status::Firing, _) => Urgency::Usual,
    }
}

/// The summary of `held`, which are in the order they were made. Of an alert that is in several of
/// them the last word counts.
pub(super) fn of(receiver: &str, seq: u64, now_ms: i64, held: &[Queued]) -> Queued {
    let mut alerts: BTreeMap<&str, &Notification> = BTreeMap::new();
    let mut threads: Vec<String> = Vec::new();
    let mut omitted = 0;
    for queued in held {
        omitted += queued.message.alerts_omitted;
        alerts.extend(queued.message.alerts.iter().map(|a| (a.fingerprint.as_str(), a)));
        threads.push(queued.message.thread.clone());
        threads.extend(queued.threads.iter().cloned());
    }
    threads.sort_unstable();
    threads.dedup();
    let mut alerts: Vec<&Notification> = alerts.into_values().collect();
    alerts.sort_by_key(|alert| (of_alert(alert), alert.starts_at_ms));
    let id = format!("summary.{receiver}.{now_ms}.{seq:x}");
    let message = Message {
        thread: id.clone(),
        id,
        receiver: receiver.to_owned(),
        group_key: "{}:{}".to_owned(),
        group_labels: BTreeMap::new(),
        reason: Reason::Summary,
        created_ms: now_ms,
        alerts_omitted: omitted + alerts.len().saturating_sub(ALERTS_MAX),
        alerts: alerts.into_iter().take(ALERTS_MAX).cloned().collect(),
        timeline: Vec::new(),
        told: Vec::new(),
    };
    // It has waited since the oldest that it stands for, and is given up no sooner than the newest.
    let since_ms = held.iter().map(|queued| queued.since_ms).min().unwrap_or(now_ms);
    let newest_ms = held.iter().map(Queued::fresh_ms).max();
    Queued { since_ms, message, threads, newest_ms }
}
