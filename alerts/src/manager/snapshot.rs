//! The alerts as they are kept across a restart: only what cannot be worked out again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::evaluate::{alert_series, generator_url};
use super::state::{Alert, State};
use super::{Evaluation, ManagerOptions, Running, rule_key};

/// The version of [`Snapshot`]'s form; one of another version is not read.
pub const SNAPSHOT_VERSION: u32 = 1;

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

impl Running {
    /// Gives the alerts to the rule they belong to; gives them back when there is none.
    fn restore(&self, kept: RuleSnapshot) -> Option<RuleSnapshot> {
        let mut state = self.lock();
        let mut rules = self.group.rules.iter().zip(&mut state.rules);
        let target =
            rules.find(|(rule, state)| state.alerts.is_empty() && rule_key(rule) == kept.key);
        let Some((_, target)) = target else { return Some(kept) };
        for alert in kept.alerts {
            let (active, since) = alert_series(&alert);
            target.series.extend([active, since]);
            target.alerts.insert(alert.label_set(), alert);
        }
        None
    }
}
