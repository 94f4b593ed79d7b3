//! The alerts as they are kept across a restart: only what cannot be worked out again.

use std::collections::HashMap;
use std::sync::Arc;

use labstat_model::{Labels, METRIC_NAME, Matcher};
use labstat_promql::{Source, SourceError};
use serde::{Deserialize, Serialize};

use super::evaluate::{ALERTS_FOR_STATE, alert_series, generator_url};
use super::state::{Alert, State};
use super::{Evaluation, ManagerOptions, Running, rule_key};

/// The version of [`Snapshot`]'s form; one of another version is not read.
pub const SNAPSHOT_VERSION: u32 = 1;

/// How long an absence may be for pending alerts to go on after it; Prometheus has the same.
const ABSENCE_MAX_MS: i64 = 3_600_000;

/// The state of all rules that have alerts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`SNAPSHOT_VERSION`] of the writer.
    pub version: u32,
    groups: Vec<GroupSnapshot>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct GroupSnapshot {
    file: String,
    name: String,
    rules: Vec<RuleSnapshot>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct RuleSnapshot {
    key: String,
    expr: String,
    alerts: Vec<Alert>,
}

impl Snapshot {
    /// Whether the two differ in nothing that is worth keeping. Values and texts change with nearly
    /// every evaluation, and the next one finds them anew.
    pub(crate) fn is_as_far_as(&self, other: &Self) -> bool {
        fn alerts(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &str, &RuleSnapshot)> {
            snapshot
                .groups
                .iter()
                .flat_map(|group| group.rules.iter().map(|rule| (&*group.file, &*group.name, rule)))
        }
        self.version == other.version
            && alerts(self).count() == alerts(other).count()
            && alerts(self).zip(alerts(other)).all(|(a, b)| {
                let rules = (a.0, a.1, &a.2.key, &a.2.expr) == (b.0, b.1, &b.2.key, &b.2.expr);
                let (a, b) = (&a.2.alerts, &b.2.alerts);
                rules && a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is_as_far_as(b))
            })
    }
}

pub(super) fn take(groups: &[Arc<Running>]) -> Snapshot {
    let group = |running: &Arc<Running>| {
        let state = running.lock();
        let rules = running.group.rules.iter().zip(&state.rules);
        let rules = rules.filter(|(_, state)| !state.alerts.is_empty());
        let rules = rules.map(|(rule, state)| RuleSnapshot {
            key: rule_key(rule),
            expr: rule.expr.clone(),
            alerts: state.alerts.values().cloned().collect(),
        });
        GroupSnapshot {
            file: running.group.file.clone(),
            name: running.group.name.clone(),
            rules: rules.collect(),
        }
    };
    let kept = groups.iter().map(group).filter(|group| !group.rules.is_empty()).collect();
    Snapshot { version: SNAPSHOT_VERSION, groups: kept }
}

pub(super) fn put(
    groups: &[Arc<Running>],
    snapshot: Snapshot,
    options: &ManagerOptions,
    now_ms: i64,
) -> Evaluation {
    let mut out = Evaluation::default();
    if snapshot.version != SNAPSHOT_VERSION {
        return out;
    }
    for kept in snapshot.groups {
        let running =
            groups.iter().find(|r| r.group.file == kept.file && r.group.name == kept.name);
        for rule in kept.rules {
            let left = match running {
                Some(running) => running.restore(rule),
                None => Some(rule),
            };
            let Some(gone) = left else { continue };
            for alert in gone.alerts {
                let (active, since) = alert_series(&alert);
                out.push(active, now_ms, labstat_model::stale_marker());
                out.push(since, now_ms, labstat_model::stale_marker());
                if alert.state == State::Firing {
                    let url = generator_url(options, &gone.expr);
                    out.notifications.push(alert.resolved(now_ms, url));
                }
            }
        }
    }
    out
}

/// See [`super::Manager::discount_absence`].
pub(super) fn discount(
    groups: &[Arc<Running>],
    source: &dyn Source,
    now_ms: i64,
) -> Result<(), SourceError> {
    let is_pending = |alert: &Alert| alert.state == State::Pending;
    let has_pending = |running: &Arc<Running>| {
        running.lock().rules.iter().any(|rule| rule.alerts.values().any(is_pending))
    };
    if !groups.iter().any(has_pending) {
        return Ok(());
    }
    let matcher = Matcher::equal(METRIC_NAME, ALERTS_FOR_STATE);
    let found = source.select(&[matcher], now_ms.saturating_sub(ABSENCE_MAX_MS), now_ms);
    let found = found.inspect_err(|_| {
        // To count a time that nobody knows would raise false alarms.
        for running in groups {
            for rule in &mut running.lock().rules {
                rule.alerts.retain(|_, alert| !is_pending(alert));
            }
        }
    })?;
    let seen_ms: HashMap<&Labels, i64> = found
        .iter()
        .filter_map(|series| Some((&series.labels, series.samples().last()?.time_ms)))
        .collect();
    for running in groups {
        for rule in &mut running.lock().rules {
            rule.alerts.retain(|_, alert| {
                if !is_pending(alert) {
                    return true;
                }
                let Some(seen_ms) = seen_ms.get(&alert_series(alert).1) else { return false };
                alert.active_at_ms += now_ms.saturating_sub(*seen_ms).max(0);
                true
            });
        }
    }
    Ok(())
}

impl Running {
    /// Gives the alerts to the rule they belong to; gives them back when there is none.
    fn restore(&self, kept: RuleSnapshot) -> Option<RuleSnapshot> {
        let mut state = self.lock();
        let free = |at: &usize| state.rules.get(*at).is_some_and(|rule| rule.alerts.is_empty());
        let same: Vec<usize> = (0_usize..)
            .zip(&self.group.rules)
            .filter_map(|(at, rule)| (rule_key(rule) == kept.key).then_some(at))
            .filter(free)
            .collect();
        // Of rules that share a name and labels, the one with the same expression.
        let expr_is_same =
            |at: &&usize| self.group.rules.get(**at).is_some_and(|rule| rule.expr == kept.expr);
        let at = same.iter().find(expr_is_same).or(same.first()).copied();
        let Some(target) = at.and_then(|at| state.rules.get_mut(at)) else { return Some(kept) };
        for alert in kept.alerts {
            let (active, since) = alert_series(&alert);
            target.series.extend([active, since]);
            target.alerts.insert(alert.label_set(), alert);
        }
        None
    }
}
