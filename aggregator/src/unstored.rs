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

/// Series: as many as one look of the aggregator at itself may have, and one for each node.
const SERIES_MAX: usize = own::SERIES_MAX + NODES_MAX;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Unstored(RwLock<BTreeMap<Labels, Series>>);

impl Unstored {
    /// Holds what a write says of the aggregator itself, and of who is up.
    pub(crate) fn hold(&self, write: &WriteRequest) {
        let mut held = self.write();
        let is_known_here = |labels: &Labels| {
            labels.get("instance") == Some(JOB) || labels.get(METRIC_NAME) == Some("up")
        };
        for given in write.series.iter().filter(|series| is_known_here(&series.labels)) {
            if held.len() >= SERIES_MAX && !held.contains_key(&given.labels) {
                continue;
            }
            let new = || Series::new(given.labels.clone());
            let series = held.entry(given.labels.clone()).or_insert_with(new);
            for sample in &given.samples {
                if series.times.last().is_none_or(|last_ms| *last_ms < sample.time_ms) {
                    series.push(sample.time_ms, sample.value);
                }
            }
            let surplus = series.times.len().saturating_sub(SAMPLES_MAX);
            series.times.drain(..surplus);
            series.values.drain(..surplus);
        }
    }

    /// Lets go of what no rule looks at any more.
    pub(crate) fn forget(&self, now_ms: i64) {
        if self.read().is_empty() {
            return;
        }
        let before_ms = now_ms.saturating_sub(HELD_FOR_MS);
        self.write().retain(|_, series| {
            let gone = series.times.partition_point(|time_ms| *time_ms < before_ms);
            series.times.drain(..gone);
            series.values.drain(..gone);
            !series.times.is_empty()
        });
    }

    /// The series that fulfil all matchers, with their samples of that time; sorted.
    pub(crate) fn select(&self, matchers: &[Matcher], start_ms: i64, end_ms: i64) -> Vec<Series> {
        let held = self.read();
        let meant = held.values().filter(|s| matchers.iter().all(|m| m.matches_labels(&s.labels)));
        let in_time = |series: &Series| {
            let mut found = Series::new(series.labels.clone());
            let samples = series.times.iter().zip(&series.values);
            for (time_ms, value) in samples.filter(|(ms, _)| (start_ms..=end_ms).contains(*ms)) {
                found.push(*time_ms, *value);
            }
            Some(found).filter(|found| !found.times.is_empty())
        };
        meant.filter_map(in_time).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Labels, Series>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<Labels, Series>> {
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
        assert!(unstored.read().is_empty());
    }

    #[test]
    fn what_is_held_is_bounded() {
        let unstored = Unstored::default();
        for at in 0..SAMPLES_MAX + 7 {
            unstored.hold(&write("full", JOB, i64::try_from(at).unwrap()));
        }
        assert_eq!(times(&unstored, "full", i64::MAX).len(), SAMPLES_MAX);
        assert_eq!(times(&unstored, "full", i64::MAX)[0], 7, "the newest");
        for at in 0..SERIES_MAX {
            unstored.hold(&write(&format!("m{at}"), JOB, 1));
        }
        assert_eq!(unstored.read().len(), SERIES_MAX);
    }
}
