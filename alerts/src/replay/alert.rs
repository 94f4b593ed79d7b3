//! One alert over the time: when it would have fired. Pure.

use std::collections::BTreeMap;

use labstat_model::Labels;

use crate::manager::Alert;
use crate::manager::state::{Circumstances, Found, step};
use crate::notification::Status;
use crate::rules::AlertRule;

/// One alert that fired.
#[derive(Debug, Clone, PartialEq)]
pub struct Firing {
    /// The labels of the result, without the metric's name and what the rule sets.
    pub labels: Labels,
    /// When it began to fire.
    pub start_ms: i64,
    /// None for one that goes on at the end.
    pub end_ms: Option<i64>,
}

/// One rule over the time.
pub(super) struct AlertReplay<'a> {
    rule: &'a AlertRule,
    alerts: BTreeMap<Labels, Alert>,
    firings: Vec<Firing>,
}

impl<'a> AlertReplay<'a> {
    pub(super) fn new(rule: &'a AlertRule) -> Self {
        Self { rule, alerts: BTreeMap::new(), firings: Vec::new() }
    }

    /// The next evaluation, with the labels of all results, and of those of the rule's second expression,
    /// which keep what fires.
    pub(super) fn step(&mut self, now_ms: i64, results: &[Labels], keeping: &[Labels]) {
        if results.is_empty() && self.alerts.is_empty() {
            return;
        }
        let found =
            |labels: &Labels| Found { labels: labels.clone(), annotations: None, value: 1.0 };
        let keeps = |alert: &Alert, result: &Labels| {
            self.rule.keeps(result.iter(), |name| alert.labels.get(name).map(String::as_str))
        };
        let goes_on = |alert: &Alert| {
            alert.fired_at_ms.is_some() && keeping.iter().any(|result| keeps(alert, result))
        };
        let around =
            Circumstances { now_ms, goes_on: &goes_on, must_wait: &|_| false, is_gone: &|_| false };
        let found = results.iter().map(found).collect();
        let (next, changes) = step(self.rule, &self.alerts, found, &around);
        self.alerts = next;
        for change in changes.into_iter().filter(|change| change.status == Status::Resolved) {
            self.firings.extend(firing(&change.alert, Some(now_ms)));
        }
    }

    /// What has fired, by the time it began.
    pub(super) fn finish(mut self) -> Vec<Firing> {
        self.firings.extend(self.alerts.values().filter_map(|alert| firing(alert, None)));
        self.firings.sort_by_key(|firing| firing.start_ms);
        self.firings
    }
}

fn firing(alert: &Alert, end_ms: Option<i64>) -> Option<Firing> {
    Some(Firing { labels: alert.label_set(), start_ms: alert.fired_at_ms?, end_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When it fires, where the first expression gives something at these times, and the second at those.
    fn fired(
        (for_ms, keep_firing_for_ms): (i64, i64),
        seen: &[i64],
        kept: &[i64],
    ) -> Vec<(i64, Option<i64>)> {
        let rule = AlertRule { for_ms, keep_firing_for_ms, ..AlertRule::default() };
        let mut replay = AlertReplay::new(&rule);
        let labels = Labels::new([("disk", "sda")]);
        for time_ms in 0..10 {
            let at = |times: &[i64]| times.contains(&time_ms).then(|| labels.clone());
            replay.step(time_ms, at(seen).as_slice(), at(kept).as_slice());
        }
        let firings = replay.finish();
        assert!(firings.iter().all(|firing| firing.labels == labels));
        firings.iter().map(|firing| (firing.start_ms, firing.end_ms)).collect()
    }

    #[test]
    fn an_alert_waits_fires_and_is_kept() {
        assert_eq!(fired((0, 0), &[2, 3, 6], &[]), [(2, Some(4)), (6, Some(7))]);
        assert_eq!(fired((2, 0), &[1, 2, 3, 4, 8, 9], &[]), [(3, Some(5))]);
        assert_eq!(fired((0, 2), &[2, 4, 8], &[]), [(2, Some(7)), (8, None)]);
        assert_eq!(fired((0, 1), &[2], &[]), [(2, Some(4))], "counted from when it was missed");
        assert!(fired((5, 0), &[1, 2, 3, 4], &[]).is_empty());
    }

    #[test]
    fn a_second_expression_keeps_what_fires_and_begins_nothing() {
        assert_eq!(fired((0, 0), &[2], &[0, 1, 3, 4, 7]), [(2, Some(5))]);
        assert_eq!(fired((0, 2), &[2], &[3, 4]), [(2, Some(7))]);
        // It waits yet: nothing is kept.
        assert!(fired((2, 0), &[2, 3], &[4, 5]).is_empty());
    }
}
