//! What people do about alerts: look at them, acknowledge them, silence them.
//!
//! Not here: what becomes of it, which the manners of `labstat-alerts` decide.

use std::collections::BTreeMap;

use labstat_alerts::Notification;
use labstat_alerts::manners::{
    AckError, AckTarget, AlertStatus, AlertsFilter, GroupView, Manners, Silence, SilenceMatcher,
    Step,
};

use super::Alerting;
use crate::links::{Deed, Permit};

/// Alerts that one button silences: a silence each. A message lists fewer.
const SILENCED_MAX: usize = 50;

/// What a button in a message says of what it made.
const BY_LINK: &str = "by a button in a message";

/// Somebody acknowledges alerts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Acknowledge {
    /// Names of alerts, or their fingerprints.
    pub(crate) alerts: Vec<String>,
    /// Who.
    pub(crate) who: String,
    /// What they say.
    pub(crate) comment: String,
    /// For how long, in milliseconds; without it, to the alert's end.
    pub(crate) for_ms: Option<i64>,
}

impl Alerting {
    /// The alerts of a thread of messages that still fire, one line each.
    pub(crate) fn thread(&self, thread: &str) -> Vec<String> {
        self.look(|manners, now_ms| {
            of_thread(manners, thread, now_ms).iter().map(|alert| line(&alert.alert)).collect()
        })
    }

    /// Does what a link is good for; gives the alerts, one line each, which are none when all are
    /// over.
    pub(crate) async fn act(&self, permit: &Permit) -> Result<Vec<String>, String> {
        let permit = permit.clone();
        let done = self.change(move |manners, now_ms| {
            let alerts = of_thread(manners, &permit.thread, now_ms);
            match permit.deed {
                _ if alerts.is_empty() => (Ok(Vec::new()), Step::default()),
                Deed::Acknowledge => {
                    let fingerprints =
                        alerts.iter().map(|alert| alert.alert.fingerprint.clone()).collect();
                    let target = AckTarget::Fingerprints(fingerprints);
                    match manners.acknowledge(&target, &permit.receiver, BY_LINK, None, now_ms) {
                        Ok((_, step)) => (Ok(lines(&alerts)), step),
                        Err(AckError::NotFound) => (Ok(Vec::new()), Step::default()),
                        Err(error) => (Err(error.to_string()), Step::default()),
                    }
                }
                Deed::Silence { minutes } => silence(manners, &alerts, &permit, minutes, now_ms),
            }
        });
        done.await?
    }

    /// Acknowledges alerts; gives their fingerprints.
    pub(crate) async fn acknowledge(
        &self,
        wanted: Acknowledge,
    ) -> Result<Result<Vec<String>, AckError>, String> {
        self.change(move |manners, now_ms| {
            let target = AckTarget::Fingerprints(named(manners, &wanted.alerts, now_ms));
            let until_ms = wanted.for_ms.map(|for_ms| now_ms.saturating_add(for_ms));
            let (who, comment) = (&wanted.who, &wanted.comment);
            match manners.acknowledge(&target, who, comment, until_ms, now_ms) {
                Ok((found, step)) => (Ok(found), step),
                Err(error) => (Err(error), Step::default()),
            }
        })
        .await
    }

    /// Takes acknowledgements back; gives the alerts' fingerprints.
    pub(crate) async fn unacknowledge(
        &self,
        alert: String,
    ) -> Result<Result<Vec<String>, AckError>, String> {
        self.change(move |manners, now_ms| {
            let target = AckTarget::Fingerprints(named(manners, &[alert], now_ms));
            match manners.unacknowledge(&target, now_ms) {
                Ok((found, step)) => (Ok(found), step),
                Err(error) => (Err(error), Step::default()),
            }
        })
        .await
    }
}

/// The fingerprints of the firing alerts that are called so, by name or by fingerprint.
fn named(manners: &Manners, names: &[String], now_ms: i64) -> Vec<String> {
    let alerts = manners.alerts(&AlertsFilter::default(), now_ms);
    let is_meant = |alert: &Notification| {
        names.iter().any(|name| *name == alert.fingerprint || name == alert.name())
    };
    let meant = alerts.into_iter().filter(|status| is_meant(&status.alert));
    meant.map(|status| status.alert.fingerprint).collect()
}

/// The groups whose messages belong to a thread.
fn groups_of(manners: &Manners, thread: &str, now_ms: i64) -> Vec<GroupView> {
    let mut groups = manners.groups(&AlertsFilter::default(), now_ms);
    groups.retain(|group| group.threads.values().any(|known| known == thread));
    groups
}

fn of_thread(manners: &Manners, thread: &str, now_ms: i64) -> Vec<AlertStatus> {
    let groups = groups_of(manners, thread, now_ms).into_iter();
    let alerts = groups.flat_map(|group| group.alerts);
    let alerts = alerts.map(|status| (status.alert.fingerprint.clone(), status));
    alerts.collect::<BTreeMap<_, _>>().into_values().collect()
}

fn silence(
    manners: &mut Manners,
    alerts: &[AlertStatus],
    permit: &Permit,
    minutes: u32,
    now_ms: i64,
) -> (Result<Vec<String>, String>, Step) {
    let mut step = Step::default();
    let mut silenced = Vec::new();
    for status in alerts.iter().take(SILENCED_MAX) {
        let matcher = |(name, value): (&String, &String)| SilenceMatcher {
            name: name.clone(),
            value: value.clone(),
            is_regex: false,
            is_equal: true,
        };
        let made = Silence {
            id: String::new(),
            matchers: status.alert.labels.iter().map(matcher).collect(),
            starts_at_ms: now_ms,
            ends_at_ms: now_ms.saturating_add(i64::from(minutes) * 60_000),
            updated_at_ms: now_ms,
            created_by: permit.receiver.clone(),
            comment: BY_LINK.to_owned(),
        };
        match manners.put_silence(made, now_ms) {
            Ok((_, more)) => step.extend(more),
            // What was silenced so far stays so.
            Err(error) => return (Err(error.to_string()), step),
        }
        silenced.push(line(&status.alert));
    }
    if let Some(more) = alerts.len().checked_sub(SILENCED_MAX).filter(|more| *more > 0) {
        silenced.push(format!("but not {more} more: use labstat silence add"));
    }
    (Ok(silenced), step)
}

fn lines(alerts: &[AlertStatus]) -> Vec<String> {
    alerts.iter().map(|status| line(&status.alert)).collect()
}

/// An alert in a line: what it says of itself, else its name and where it is.
fn line(alert: &Notification) -> String {
    let named = || {
        let instance = alert.labels.get("instance").map_or("", String::as_str);
        format!("{} {instance}", alert.name()).trim().to_owned()
    };
    alert.annotation("summary").map_or_else(named, str::to_owned)
}
