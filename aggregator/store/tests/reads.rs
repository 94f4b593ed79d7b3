//! Streams, newest samples, and what reads share.

#![expect(clippy::unwrap_used, reason = "a test that fails may stop")]

mod common;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::mpsc;
use std::time::Duration;

use common::{NOW_MS, labels, live_options, one, open, open_with, options, write};
use labstat_model::{Labels, Matcher, is_stale, stale_marker};
use labstat_store::{Options, ReadError, Store};

const STEP_MS: i64 = 15_000;
const STEPS: i64 = 50;

/// Series that share a shelf, in one blob each time this is called.
fn fill(store: &Store, series: i64, from_step: i64) {
    let request = write((0..series).map(|at| {
        let sample = |step: i64| (NOW_MS + (from_step + step) * STEP_MS, (at * step) as f64);
        (labels("m", &format!("i{at:03}")), (0..STEPS).map(sample).collect())
    }));
    store.append(&request).unwrap();
}

/// What a stream gives: the number of samples by label set.
fn scanned(store: &Store) -> BTreeMap<Labels, usize> {
    let mut all = BTreeMap::new();
    let each = &mut |labels: &Labels, times: &[i64], values: &[f64]| {
        assert_eq!(times.len(), values.len());
        assert!(all.insert(labels.clone(), times.len()).is_none(), "{labels} came twice");
        ControlFlow::Continue(())
    };
    store.scan(&[], i64::MIN, i64::MAX, each).unwrap();
    all
}

/// Every series is a batch.
fn small_batches() -> Options {
    Options { read_batch_samples: 1, ..options() }
}

#[test]
fn a_stream_is_whole_though_its_blobs_are_replaced_while_it_runs() {
    for read_helpers_max in [0, 2] {
        let dir = tempfile::tempdir().unwrap();
        let store = open_with(
            dir.path(),
            Options { seal_after_ms: 0, read_helpers_max, ..small_batches() },
        );
        for part in 0..3 {
            fill(&store, 20, part * STEPS);
            store.maintain(NOW_MS).unwrap();
        }
        assert_eq!(store.stats().blobs, 3);
        let mut lens = Vec::new();
        let each = &mut |_: &Labels, times: &[i64], _: &[f64]| {
            store.compact().unwrap();
            lens.push(times.len());
            ControlFlow::Continue(())
        };
        store.scan(&[], i64::MIN, i64::MAX, each).unwrap();
        assert_eq!(store.stats().blobs, 1, "they were merged");
        assert_eq!(lens, [150; 20]);
        assert_eq!(store.stats().damaged_blobs, 0, "a blob that is gone is not a damaged one");
    }
}

#[test]
fn a_stream_ends_when_it_is_told_to() {
    for read_helpers_max in [0, 2] {
        let dir = tempfile::tempdir().unwrap();
        let store = open_with(dir.path(), Options { read_helpers_max, ..small_batches() });
        fill(&store, 20, 0);
        store.compact().unwrap();
        let mut given = 0;
        let each = &mut |_: &Labels, _: &[i64], _: &[f64]| {
            given += 1;
            if given == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        store.scan(&[], i64::MIN, i64::MAX, each).unwrap();
        assert_eq!(given, 3);
    }
}

/// Whoever reads slowly keeps no lock, neither from writers nor from maintenance.
#[test]
fn nobody_waits_for_a_stream() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), Options { seal_after_ms: 0, ..live_options() });
    fill(&store, 20, 0);
    let (told, tells) = mpsc::channel();
    std::thread::scope(|scope| {
        let each = &mut |_: &Labels, _: &[i64], _: &[f64]| {
            let (store, told) = (&store, told.clone());
            scope.spawn(move || {
                fill(store, 20, STEPS);
                store.maintain(NOW_MS).unwrap();
                let _ = told.send(());
            });
            assert!(tells.recv_timeout(Duration::from_secs(30)).is_ok(), "they wait");
            ControlFlow::Break(())
        };
        store.scan(&[], i64::MIN, i64::MAX, each).unwrap();
    });
    assert_eq!(scanned(&store).values().sum::<usize>(), 2 * 20 * 50);
}

#[test]
fn large_reads_find_the_same_with_helpers_as_without() {
    let dir = tempfile::tempdir().unwrap();
    let alone = Options { read_helpers_max: 0, ..options() };
    let store = open_with(dir.path(), alone);
    fill(&store, 300, 0);
    store.compact().unwrap();
    fill(&store, 300, STEPS);
    let wanted = store.select(&[], i64::MIN, i64::MAX).unwrap();
    assert_eq!(wanted.len(), 300);
    drop(store);
    let shared = Options { read_batch_samples: 500, read_helpers_max: 3, ..options() };
    let store = open_with(dir.path(), shared);
    for _ in 0..5 {
        assert_eq!(store.select(&[], i64::MIN, i64::MAX).unwrap(), wanted);
        assert_eq!(scanned(&store).len(), 300);
    }
}

#[test]
fn a_read_of_too_much_is_refused_and_a_stream_of_it_is_not() {
    for read_helpers_max in [0, 2] {
        let dir = tempfile::tempdir().unwrap();
        let bounded = Options { read_samples_max: 400, read_helpers_max, ..small_batches() };
        let store = open_with(dir.path(), bounded);
        fill(&store, 9, 0);
        for _ in 0..2 {
            let read = store.select(&[], i64::MIN, i64::MAX);
            assert!(matches!(read, Err(ReadError::TooManySamples { max: 400 })), "{read:?}");
            assert_eq!(scanned(&store).len(), 9);
            assert_eq!(store.newest(&[], i64::MIN, i64::MAX).unwrap().len(), 9);
            store.compact().unwrap();
        }
    }
}

/// Of a sealed series, a late sample in the head is not the newest; one sealed late may be.
#[test]
fn the_newest_sample_is_found_wherever_it_lies() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), Options { seal_after_ms: 0, ..options() });
    let newest = |start_ms: i64, end_ms: i64| {
        let matchers = [Matcher::equal("__name__", "m")];
        let found = store.newest(&matchers, NOW_MS + start_ms, NOW_MS + end_ms).unwrap();
        found.first().map(|series| (series.times[0] - NOW_MS, series.values[0], series.len()))
    };
    assert_eq!(newest(0, 1_000), None);
    for times in [[100, 300], [400, 500], [200, 250], [350, 360]] {
        let samples = times.map(|time_ms| (NOW_MS + time_ms, time_ms as f64));
        store.append(&one("m", &samples)).unwrap();
        if times[0] != 350 {
            store.maintain(NOW_MS).unwrap();
        }
    }
    assert_eq!(store.stats().blobs, 3);
    for (start_ms, end_ms, wanted) in [
        (0, 1_000, Some(500)),
        (0, 499, Some(400)),
        (0, 399, Some(360)),
        (0, 355, Some(350)),
        (0, 349, Some(300)),
        (0, 299, Some(250)),
        (210, 240, None),
        (0, 199, Some(100)),
        (0, 99, None),
        (501, 600, None),
    ] {
        let wanted = wanted.map(|time_ms: i64| (time_ms, time_ms as f64, 1));
        assert_eq!(newest(start_ms, end_ms), wanted, "{start_ms} to {end_ms}");
    }
    store.append(&one("m", &[(NOW_MS + 600, stale_marker())])).unwrap();
    assert!(is_stale(newest(0, 700).unwrap().1), "markers count");
}

#[test]
fn what_is_read_again_is_not_unpacked_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store, 50, 0);
    store.compact().unwrap();
    let read = || {
        assert_eq!(store.select(&[], i64::MIN, i64::MAX).unwrap().len(), 50);
        store.stats()
    };
    let first = read();
    assert!(first.cache_bytes > 0 && first.cache_misses > 0);
    let second = read();
    assert_eq!((second.cache_misses, second.cache_bytes), (first.cache_misses, first.cache_bytes));
    assert!(second.cache_hits > first.cache_hits);
    // What is replaced leaves.
    fill(&store, 50, STEPS);
    store.compact().unwrap();
    assert_eq!(store.stats().cache_bytes, 0);
    drop(store);
    let none = open_with(dir.path(), Options { cache_size_max_bytes: 0, ..options() });
    assert_eq!(none.select(&[], i64::MIN, i64::MAX).unwrap().len(), 50);
    assert_eq!(none.stats().cache_bytes, 0);
}

#[test]
fn a_large_read_pushes_out_no_parts() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), small_batches());
    fill(&store, 50, 0);
    store.compact().unwrap();
    assert_eq!(scanned(&store).len(), 50);
    let after = store.stats();
    assert_eq!(scanned(&store).len(), 50);
    assert_eq!(store.stats().cache_bytes, after.cache_bytes);
}
