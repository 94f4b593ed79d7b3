//! What a time in which nobody looked means for alerts that wait.

use std::collections::HashMap;
use std::sync::Arc;

use labstat_model::{Labels, METRIC_NAME, Matcher};
use labstat_promql::{Source, SourceError};

use super::awaited::Awaited;
use super::evaluate::{ALERTS_FOR_STATE, alert_series};
use super::group::Running;
use super::rows;
use super::state::{Alert, State};
use crate::ledger::Entry;

/// How long an absence may be for pending alerts to go on after it; Prometheus has the same.
const ABSENCE_MAX_MS: i64 = 3_600_000;

/// After an absence that is longer, what came before it is out of sight of instant selectors, and
/// those who deliver late are still at it.
const ABSENCE_LONG_MS: i64 = 5 * 60_000;

/// An alert of a rule that waits for as long or longer fires no sooner than so long after a long
/// absence, as in Prometheus.
const GRACE_MS: i64 = 10 * 60_000;

/// See [`super::Manager::discount_absence`].
pub(super) fn discount(
    groups: &[Arc<Running>],
    awaited: &mut [Awaited],
    source: &dyn Source,
    now_ms: i64,
) -> (Vec<Entry>, Option<SourceError>) {
    let has_pending = |running: &Arc<Running>| {
        running.lock().rules.iter().any(|rule| rule.alerts.values().any(is_pending))
    };
    let is_awaited = awaited.iter().any(|awaited| is_pending(awaited.alert()));
    if !is_awaited && !groups.iter().any(has_pending) {
        return (Vec::new(), None);
    }
    let matcher = Matcher::equal(METRIC_NAME, ALERTS_FOR_STATE);
    let found = source.select(&[matcher], now_ms.saturating_sub(ABSENCE_MAX_MS), now_ms);
    // To count a time that nobody knows would raise false alarms: then nothing was seen.
    let (found, failed) = match found {
        Ok(found) => (found, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let seen_ms: HashMap<&Labels, i64> = found
        .iter()
        .filter_map(|series| Some((&series.labels, series.samples().last()?.time_ms)))
        .collect();
    let seen_ms = |alert: &Alert| seen_ms.get(&alert_series(alert).1).copied();
    for awaited in awaited.iter_mut().filter(|awaited| is_pending(awaited.alert())) {
        awaited.set_seen(seen_ms(awaited.alert()));
    }
    let mut entries = Vec::new();
    for running in groups {
        let rules = running.group.rules.iter().zip(&running.prepared).enumerate();
        for ((at, (rule, prepared)), state) in rules.zip(&mut running.lock().rules) {
            let for_ms = running.for_ms(at);
            state.alerts.retain(|_, alert| {
                if !is_pending(alert) {
                    return true;
                }
                if !discount_one(alert, seen_ms(alert), for_ms, now_ms) {
                    entries.push(Entry::delete(rows::key(prepared, alert)));
                    return false;
                }
                entries.push(rows::put(&running.group, rule, prepared, alert));
                true
            });
        }
    }
    (entries, failed)
}

/// Takes the time since a pending alert was last seen off what it has waited; false when that is too
/// long ago, or not known, and it begins to wait anew.
pub(super) fn discount_one(
    alert: &mut Alert,
    seen_ms: Option<i64>,
    for_ms: i64,
    now_ms: i64,
) -> bool {
    let Some(seen_ms) = seen_ms else { return false };
    let absence_ms = now_ms.saturating_sub(seen_ms).max(0);
    if absence_ms > ABSENCE_MAX_MS {
        return false;
    }
    alert.active_at_ms = alert.active_at_ms.saturating_add(absence_ms);
    if absence_ms > ABSENCE_LONG_MS && for_ms >= GRACE_MS {
        alert.active_at_ms = alert.active_at_ms.max(now_ms + GRACE_MS - for_ms);
    }
    true
}

fn is_pending(alert: &Alert) -> bool {
    alert.state == State::Pending
}
