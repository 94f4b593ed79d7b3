//! What the store has no room for and the aggregator alone knows: its figures about itself, and who is heard.
//! Rules see it all the same: else nobody is told that the disk is full while it is, and whoever sends what
//! cannot be kept is told to be down.
//!
//! Pure: writes and times come in, series go out. What else is about others is not held, since what these
//! send is refused meanwhile, and the silence would be taken for theirs.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use labstat_model::{Labels, METRIC_NAME, Matcher, Series, WriteRequest};

use crate::own::{self, JOB};
use crate::presence::NODES_MAX;

/// How long a sample is held: as far as the rules look back that tell of a full store, and more.
const HELD_FOR_MS: i64 = 30 * 60_000;

/// Samples of a series, the newest: half an hour of the usual interval, twice over.
const SAMPLES_MAX: usize = 120;

/// Series of `up`: one for each node in the mean, far beyond any lab though a node may have several jobs.
const UPS_MAX: usize = NODES_MAX;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Unstored(RwLock<Held>);

/// Apart, so that many nodes take no room from what tells of a full store.
#[derive(Debug, Default)]
struct Held {
    /// The aggregator's figures about itself, as many as one look at itself may have.
    own: BTreeMap<Labels, Series>,
    /// Who is up.
    ups: BTreeMap<Labels, Series>,
}

impl Held {
    /// Where series with these labels are held, and how many at the most; `None` for what is not held.
    fn place(&mut self, labels: &Labels) -> Option<(&mut BTreeMap<Labels, Series>, usize)> {
        if labels.get("instance") == Some(JOB) {
            Some((&mut self.own, own::SERIES_MAX))
        } else if labels.get(METRIC_NAME) == Some("up") {
            Some((&mut self.ups, UPS_MAX))
        } else {
            None
        }
    }
}

impl Unstored {
    /// Holds what a write says of the aggregator itself, and of who is up.
    pub(crate) fn hold(&self, write: &WriteRequest) {
        let mut held = self.write();
        for given in &write.series {
            let Some((series, len_max)) = held.place(&given.labels) else { continue };
            if series.len() >= len_max && !series.contains_key(&given.labels) {
                continue;
            }
            let new = || Series::new(given.labels.clone());
            let series = series.entry(given.labels.clone()).or_insert_with(new);
            for sample in &given.samples {
                // What is said now is the newest: later times are from before the clock was set back.
                let kept = series.times.partition_point(|time_ms| *time_ms < sample.time_ms);
                series.times.truncate(kept);
                series.values.truncate(kept);
                series.push(sample.time_ms, sample.value);
            }
            let surplus = series.times.len().saturating_sub(SAMPLES_MAX);
            series.times.drain(..surplus);
            series.values.drain(..surplus);
        }
    }

    /// Lets go of what no rule looks at any more.
    pub(crate) fn forget(&self, now_ms: i64) {
        if self.is_empty() {
            return;
        }
        let before_ms = now_ms.saturating_sub(HELD_FOR_MS);
        let is_needed = |_: &Labels, series: &mut Series| {
            let gone = series.times.partition_point(|time_ms| *time_ms < before_ms);
            series.times.drain(..gone);
            series.values.drain(..gone);
            !series.times.is_empty()
        };
        let mut held = self.write();
        held.own.retain(is_needed);
        held.ups.retain(is_needed);
    }

    /// The series that fulfil all matchers, with their samples of that time; sorted.
    pub(crate) fn select(&self, matchers: &[Matcher], start_ms: i64, end_ms: i64) -> Vec<Series> {
        let held = self.read();
        let all = held.own.values().chain(held.ups.values());
        let meant = all.filter(|s| matchers.iter().all(|m| m.matches_labels(&s.labels)));
        let in_time = |series: &Series| {
            let mut found = Series::new(series.labels.clone());
            let samples = series.times.iter().zip(&series.values);
            for (time_ms, value) in samples.filter(|(ms, _)| (start_ms..=end_ms).contains(*ms)) {
                found.push(*time_ms, *value);
            }
            Some(found).filter(|found| !found.times.is_empty())
        };
        let mut found: Vec<Series> = meant.filter_map(in_time).collect();
        found.sort_unstable_by(|one, other| one.labels.cmp(&other.labels));
        found
    }

    fn is_empty(&self) -> bool {
        let held = self.read();
        held.own.is_empty() && held.ups.is_empty()
    }

    fn read(&self) -> RwLockReadGuard<'_, Held> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Held> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use labstat_model::{Sample, TimeSeries};

    use super::*;

    fn write(name: &str, instance: &str, time_ms: i64) -> WriteRequest {
        let labels = Labels::new([("__name__", name), ("instance", instance)]);
        let samples = vec![Sample { time_ms, value: 1.0 }];
        WriteRequest { series: vec![TimeSeries { labels, samples }], metadata: Vec::new() }
    }

    fn times(unstored: &Unstored, selector: &str, end_ms: i64) -> Vec<i64> {
        let matchers = labstat_promql::selector(selector).unwrap();
        let found = unstored.select(&matchers, 0, end_ms);
        found.into_iter().flat_map(|series| series.times).collect()
    }

    #[test]
    fn what_the_aggregator_alone_knows_is_held_for_a_while() {
        let unstored = Unstored::default();
        for time_ms in [1, 2, 2, 10] {
            unstored.hold(&write("full", JOB, time_ms));
        }
        unstored.hold(&write("missing", "nas", 5));
        unstored.hold(&write("up", "nas", 7));
        assert_eq!(times(&unstored, "full", 9), [1, 2]);
        assert_eq!(times(&unstored, "up", 99), [7]);
        let rest = "{instance=~'.+', __name__!='up'}";
        assert_eq!(times(&unstored, rest, 99), [1, 2, 10], "nothing else of others");
        unstored.forget(HELD_FOR_MS + 8);
        assert_eq!(times(&unstored, "full", 99), [10]);
        unstored.forget(HELD_FOR_MS + 11);
        assert!(unstored.is_empty());
    }

    #[test]
    fn what_is_said_after_a_clock_was_set_back_is_the_newest() {
        let unstored = Unstored::default();
        for time_ms in [10, 5_000, 6_000, 1_000, 1_100] {
            unstored.hold(&write("up", "nas", time_ms));
        }
        assert_eq!(times(&unstored, "up", i64::MAX), [10, 1_000, 1_100]);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let unstored = Unstored::default();
        for at in 0..SAMPLES_MAX + 7 {
            unstored.hold(&write("full", JOB, i64::try_from(at).unwrap()));
        }
        assert_eq!(times(&unstored, "full", i64::MAX).len(), SAMPLES_MAX);
        assert_eq!(times(&unstored, "full", i64::MAX)[0], 7, "the newest");
        for at in 0..own::SERIES_MAX {
            unstored.hold(&write(&format!("m{at}"), JOB, 1));
        }
        assert_eq!(unstored.read().own.len(), own::SERIES_MAX);
    }

    #[test]
    fn whoever_is_up_takes_no_room_from_what_tells_of_a_full_store() {
        let unstored = Unstored::default();
        for at in 0..2 * (UPS_MAX + own::SERIES_MAX) {
            unstored.hold(&write("up", &at.to_string(), 1));
        }
        assert_eq!(unstored.read().ups.len(), UPS_MAX);
        unstored.hold(&write("full", JOB, 1));
        assert_eq!(times(&unstored, "full", 1), [1]);
        let of_both = labstat_promql::selector("{instance=~'labstat|7|70'}").unwrap();
        let found = unstored.select(&of_both, 0, 1);
        assert_eq!(found.len(), 3);
        assert!(found.is_sorted_by_key(|series| &series.labels));
    }
}
