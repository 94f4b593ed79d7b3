//! Days are cut into slices that small reads can decode, and merged when they are over, once.

use std::sync::Arc;

use super::common::{everything, labels, open_with, write};
use labstat_model::{ManualClock, Series};
use labstat_store::{Options, Store};

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// A midnight.
const START_MS: i64 = 19_000 * DAY_MS;

fn open(dir: &std::path::Path) -> (Store, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(START_MS));
    let store = open_with(dir, Options::new(clock.clone()));
    (store, clock)
}

/// Appends what two series have after `from_ms` up to `to_ms`.
fn append(store: &Store, from_ms: i64, to_ms: i64, step_ms: i64) {
    let samples = || {
        let times = (from_ms / step_ms + 1..=to_ms / step_ms).map(|at| at * step_ms);
        times.map(|time_ms| (time_ms, (time_ms % 1_000_003) as f64)).collect::<Vec<_>>()
    };
    let series = [(labels("a", "x"), samples()), (labels("b", "x"), samples())];
    let refused = store.append(&write(series)).unwrap().refused;
    assert_eq!(refused, 0);
}

fn check(store: &Store, from_ms: i64, to_ms: i64, step_ms: i64) {
    let all: Vec<Series> = everything(store);
    assert_eq!(all.len(), 2);
    let times: Vec<i64> =
        (from_ms / step_ms + 1..=to_ms / step_ms).map(|at| at * step_ms).collect();
    for series in all {
        assert_eq!(series.times, times);
        assert!(series.samples().all(|s| s.value == (s.time_ms % 1_000_003) as f64));
    }
}

/// Those that hold samples.
fn blobs(store: &Store) -> usize {
    let stats = store.stats();
    stats.blobs - stats.rolled_blobs
}

#[test]
fn a_day_is_merged_once_when_it_is_over_and_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clock) = open(dir.path());
    let mut merged = Vec::new();
    for minute in 0..(30 * 60) {
        let now_ms = START_MS + minute * 60_000;
        clock.set_ms(now_ms);
        append(&store, now_ms - 60_000, now_ms, 15_000);
        let done = store.maintain(now_ms).unwrap();
        if done.merged_blobs > 0 {
            merged.push((minute / 60, done.merged_blobs));
        }
    }
    // The first minute lies before midnight and is a day of its own; a blob alone is not merged.
    assert_eq!(merged, [(27, 12)], "all blobs of the day, three hours after it");
    assert_eq!(blobs(&store), 1 + 4 + 3, "yesterday in slices, today as sealed");
    check(&store, START_MS - 60_000, START_MS + (30 * 60 - 1) * 60_000, 15_000);
}

#[test]
fn the_more_samples_the_more_slices() {
    for (step_ms, slices) in [(60_000, 1), (15_000, 4), (10_000, 6), (5_000, 12), (1_000, 24)] {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = open(dir.path());
        append(&store, START_MS, START_MS + DAY_MS, step_ms);
        store.compact().unwrap();
        assert_eq!(blobs(&store), slices, "{step_ms}");
        check(&store, START_MS, START_MS + DAY_MS, step_ms);
        // There is nothing left to do.
        assert_eq!(store.compact().unwrap().merged_blobs, 0);
    }
}

#[test]
fn late_samples_are_merged_into_the_slices_they_lie_in() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clock) = open(dir.path());
    // From six to seven everything is missing.
    append(&store, START_MS, START_MS + 6 * HOUR_MS, 15_000);
    append(&store, START_MS + 7 * HOUR_MS, START_MS + DAY_MS, 15_000);
    store.compact().unwrap();
    assert_eq!(blobs(&store), 4);
    append(&store, START_MS + 6 * HOUR_MS, START_MS + 7 * HOUR_MS, 15_000);
    let mut now_ms = START_MS + 3 * DAY_MS;
    clock.set_ms(now_ms);
    let mut merged = Vec::new();
    for _ in 0..6 {
        merged.push(store.maintain(now_ms).unwrap().merged_blobs);
        now_ms += HOUR_MS / 2;
    }
    assert_eq!(merged.iter().filter(|blobs| **blobs > 0).collect::<Vec<_>>(), [&2]);
    assert_eq!(blobs(&store), 4);
    check(&store, START_MS, START_MS + DAY_MS, 15_000);
}
