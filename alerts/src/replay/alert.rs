//! One alert over the time: which of its series are active, and what has fired. Pure.

use std::collections::BTreeMap;

use labstat_model::Labels;

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

/// What is known of one series of a rule's result.
struct Active {
    since_ms: i64,
    seen_ms: i64,
    fired_ms: Option<i64>,
}

/// One rule over the time.
pub(super) struct AlertReplay<'a> {
    rule: &'a AlertRule,
    active: BTreeMap<Labels, Active>,
    firings: Vec<Firing>,
}

impl<'a> AlertReplay<'a> {
    pub(super) fn new(rule: &'a AlertRule) -> Self {
        Self { rule, active: BTreeMap::new(), firings: Vec::new() }
    }

    /// The next evaluation, with the labels of all results, and of those of the rule's second expression,
    /// which keep what fires.
    pub(super) fn step(&mut self, time_ms: i64, found: &[Labels], keeping: &[Labels]) {
        for labels in found {
            let new = Active { since_ms: time_ms, seen_ms: time_ms, fired_ms: None };
            let active = match self.active.get_mut(labels) {
                Some(active) => active,
                None => self.active.entry(labels.clone()).or_insert(new),
            };
            active.seen_ms = time_ms;
            if active.fired_ms.is_none() && time_ms - active.since_ms >= self.rule.for_ms {
                active.fired_ms = Some(time_ms);
            }
        }
        let (rule, firings) = (self.rule, &mut self.firings);
        self.active.retain(|labels, active| {
            if active.seen_ms == time_ms {
                return true;
            }
            let Some(start_ms) = active.fired_ms else { return false };
            let keeps = |result: &Labels| rule.keeps(result.iter(), |name| labels.get(name));
            if keeping.iter().any(keeps) {
                active.seen_ms = time_ms;
                return true;
            }
            // It is missed for the first time one step after it was last seen.
            let keep_ms = rule.keep_firing_for_ms;
            let goes_on = keep_ms > 0 && time_ms - active.seen_ms <= keep_ms;
            if !goes_on {
                firings.push(Firing { labels: labels.clone(), start_ms, end_ms: Some(time_ms) });
            }
            goes_on
        });
    }

    /// What has fired, by the time it began.
    pub(super) fn finish(mut self) -> Vec<Firing> {
        for (labels, active) in self.active {
            if let Some(start_ms) = active.fired_ms {
                self.firings.push(Firing { labels, start_ms, end_ms: None });
            }
        }
        self.firings.sort_by_key(|firing| firing.start_ms);
        self.firings
    }
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
            let at = |times: &[i64]| {
                if times.contains(&time_ms) { vec![labels.clone()] } else { vec![] }
            };
            replay.step(time_ms, &at(seen), &at(kept));
        }
        replay.finish().iter().map(|firing| (firing.start_ms, firing.end_ms)).collect()
    }

    #[test]
    fn an_alert_waits_fires_and_is_kept() {
        assert_eq!(fired((0, 0), &[2, 3, 6], &[]), [(2, Some(4)), (6, Some(7))]);
        assert_eq!(fired((2, 0), &[1, 2, 3, 4, 8, 9], &[]), [(3, Some(5))]);
        assert_eq!(fired((0, 2), &[2, 4, 8], &[]), [(2, Some(7)), (8, None)]);
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
