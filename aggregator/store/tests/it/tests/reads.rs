//! Scans, newest samples, and what reads share.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::mpsc;
use std::time::Duration;

use super::common::{NOW_MS, labels, live_options, one, open, open_with, options, write};
use labstat_model::{Labels, MatchOp, Matcher, Series, SeriesRef, is_stale, stale_marker};
use labstat_store::{Each, NEVER, Options, ReadError, Store};

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

/// Goes through all parts of a scan of everything.
fn scan(store: &Store, each: &mut Each<'_>) {
    let scan = store.scan(&[], i64::MIN, i64::MAX).unwrap();
    (0..scan.parts()).for_each(|part| scan.read(part, each).unwrap());
}

/// What a scan gives: the number of samples by label set.
fn scanned(store: &Store) -> BTreeMap<Labels, usize> {
    let mut all = BTreeMap::new();
    scan(store, &mut |SeriesRef { labels, times, values }| {
        assert_eq!(times.len(), values.len());
        assert!(all.insert(labels.clone(), times.len()).is_none(), "{labels} came twice");
        ControlFlow::Continue(())
    });
    all
}

/// Every series is a part.
fn small_parts() -> Options {
    Options { read_part_samples: 1, ..options() }
}

#[test]
fn a_scan_is_whole_though_its_blobs_are_replaced_while_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), Options { seal_after_ms: 0, ..small_parts() });
    for part in 0..3 {
        fill(&store, 20, part * STEPS);
        store.maintain(NOW_MS).unwrap();
    }
    assert_eq!(store.stats().blobs, 3);
    let mut lens = Vec::new();
    scan(&store, &mut |series| {
        store.compact().unwrap();
        lens.push(series.times.len());
        ControlFlow::Continue(())
    });
    assert_eq!(store.stats().blobs, 1, "they were merged");
    assert_eq!(lens, [150; 20]);
    assert_eq!(store.stats().damaged_blobs, 0, "a blob that is gone is not a damaged one");
}

#[test]
fn a_part_ends_when_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store, 20, 0);
    for _ in 0..2 {
        let scan = store.scan(&[], i64::MIN, i64::MAX).unwrap();
        assert_eq!(scan.parts(), 1);
        let mut given = 0;
        let each = &mut |_: SeriesRef<'_>| {
            given += 1;
            if given == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        scan.read(0, each).unwrap();
        assert_eq!(given, 3);
        assert!(scan.read(1, &mut |_| panic!("there is no such part")).is_ok());
        store.compact().unwrap();
    }
}

/// Parts may be read by any thread, in any order, and again.
#[test]
fn parts_are_read_by_several_threads() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), small_parts());
    fill(&store, 60, 0);
    store.compact().unwrap();
    fill(&store, 60, STEPS);
    let wanted = store.select(&[], i64::MIN, i64::MAX).unwrap();
    let scan = store.scan(&[], i64::MIN, i64::MAX).unwrap();
    assert!(scan.parts() == 60 && scan.is_sorted());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for (part, wanted) in wanted.iter().enumerate().rev() {
                    let mut found = Vec::new();
                    let each = &mut |series: SeriesRef<'_>| {
                        found.push((series.labels.clone(), series.values.to_vec()));
                        ControlFlow::Continue(())
                    };
                    scan.read(part, each).unwrap();
                    assert_eq!(found, [(wanted.labels.clone(), wanted.values.clone())]);
                }
            });
        }
    });
}

/// What comes in order while parts are read is in none of them.
#[test]
fn all_parts_see_one_state() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), Options { seal_after_ms: 0, ..small_parts() });
    fill(&store, 20, 0);
    let all = store.scan(&[], i64::MIN, i64::MAX).unwrap();
    let newest = store.scan_newest(&[], i64::MIN, i64::MAX).unwrap();
    let last_ms = NOW_MS + (STEPS - 1) * STEP_MS;
    for (part, seals) in (0..20).zip([false, true].into_iter().cycle()) {
        all.read(part, &mut |series| {
            assert_eq!((series.times.len(), series.times.last()), (50, Some(&last_ms)));
            ControlFlow::Continue(())
        })
        .unwrap();
        fill(&store, 20, STEPS + part as i64 * STEPS);
        if seals {
            store.maintain(NOW_MS).unwrap();
        }
    }
    let each = &mut |series: SeriesRef<'_>| {
        assert_eq!(series.times, [last_ms]);
        ControlFlow::Continue(())
    };
    (0..newest.parts()).for_each(|part| newest.read(part, each).unwrap());
    assert_eq!(scanned(&store).values().sum::<usize>(), 21 * 20 * 50);
}

/// Who reads slowly keeps no lock, neither from writers nor from maintenance.
#[test]
fn nobody_waits_for_a_scan() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), Options { seal_after_ms: 0, ..live_options() });
    fill(&store, 20, 0);
    let (told, tells) = mpsc::channel();
    std::thread::scope(|threads| {
        scan(&store, &mut |_| {
            let (store, told) = (&store, told.clone());
            threads.spawn(move || {
                fill(store, 20, STEPS);
                store.maintain(NOW_MS).unwrap();
                let _ = told.send(());
            });
            assert!(tells.recv_timeout(Duration::from_secs(30)).is_ok(), "they wait");
            ControlFlow::Break(())
        });
    });
    assert_eq!(scanned(&store).values().sum::<usize>(), 2 * 20 * 50);
}

/// More series than are put in order one by one, of which some came after the others had a place
/// and some are gone.
#[test]
fn series_come_sorted_by_labels_whenever_they_came() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let add = |from: i64, to: i64| {
        let series = (from..to).map(|at| {
            let name = format!("i{:04}", at * 7919 % 3_000);
            (labels("m", &name), vec![(NOW_MS, at as f64)])
        });
        store.append(&write(series)).unwrap();
    };
    let mut len = 0;
    for to in [1, 600, 1_300, 1_310, 1_400, 3_000] {
        add(len, to);
        len = to;
        for _ in 0..2 {
            let all = store.select(&[], i64::MIN, i64::MAX).unwrap();
            assert_eq!(all.len() as i64, len);
            assert!(all.is_sorted_by(|a, b| a.labels < b.labels));
            assert_eq!(store.newest(&[], i64::MIN, i64::MAX, NEVER).unwrap(), all);
        }
    }
}

/// Newest samples of many series come shelf by shelf, of few in order, and are the same.
#[test]
fn newest_samples_of_many_series_are_all_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let add = |len: i64, time_ms: i64| {
        let series = (0..len).map(|at| {
            let name = format!("i{:04}", at * 7919 % 3_000);
            (labels("m", &name), vec![(time_ms, (at * time_ms) as f64)])
        });
        store.append(&write(series)).unwrap();
    };
    for (len, is_sorted) in [(2_000, true), (3_000, false)] {
        for step in 0..3 {
            add(len, NOW_MS + len + step);
        }
        // At the end, which is known of each, and before, which is looked for in head and blobs.
        for end_ms in [NOW_MS + len + 2, NOW_MS + len + 1] {
            for seal in [false, true] {
                let newest = store.newest(&[], i64::MIN, end_ms, NEVER).unwrap();
                let scan = store.scan_newest(&[], i64::MIN, end_ms).unwrap();
                assert_eq!(scan.is_sorted(), is_sorted);
                let mut scanned = Vec::new();
                for part in 0..scan.parts() {
                    let each = &mut |series: SeriesRef<'_>| {
                        scanned.push(series.to_series());
                        ControlFlow::Continue(())
                    };
                    scan.read(part, each).unwrap();
                }
                scanned.sort_by(|a, b| a.labels.cmp(&b.labels));
                assert_eq!(scanned.len() as i64, len);
                assert!(scanned.iter().all(|series| series.times == [end_ms]));
                assert!(scanned == newest);
                drop(scan);
                if seal {
                    store.compact().unwrap();
                }
            }
        }
    }
}

/// Newest samples of all that was sealed lately are kept at hand once they were asked for; they
/// are those of the columns.
#[test]
fn what_was_sealed_lately_reads_the_same_from_its_tail() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let steps = 150;
    let request = write((0..300).map(|at| {
        let value = |step: i64| if at % 3 == 0 { 7.5 } else { (at * step) as f64 / 10.0 };
        let sample = |step: i64| (NOW_MS + step * STEP_MS + at % 2, value(step));
        (labels("m", &format!("i{at:03}")), (0..steps).map(sample).collect())
    }));
    store.append(&request).unwrap();
    store.compact().unwrap();
    let whole = store.select(&[], i64::MIN, i64::MAX).unwrap();
    let last_ms = NOW_MS + steps * STEP_MS;
    for _ in 0..3 {
        let ranges = [(300_000, 0), (300_000, 60_000), (895_000, 500_000), (10, 0)];
        // Tails that lie further back, whole and to their edges.
        let earlier = [(1_490_000, 615_000), (1_000_000, 700_000), (2_000_000, 1_215_000)];
        for (from_ms, to_ms) in ranges.into_iter().chain(earlier) {
            let (start_ms, end_ms) = (last_ms - from_ms, last_ms - to_ms);
            let mut wanted = whole.clone();
            for series in &mut wanted {
                let in_range = |ms: &i64| (start_ms..=end_ms).contains(ms);
                let values = series.times.iter().zip(&series.values);
                series.values =
                    values.filter(|(ms, _)| in_range(ms)).map(|(_, value)| *value).collect();
                series.times.retain(in_range);
            }
            wanted.retain(|series| !series.is_empty());
            assert_eq!(store.select(&[], start_ms, end_ms).unwrap(), wanted);
            wanted.iter_mut().for_each(Series::keep_newest);
            assert_eq!(store.newest(&[], start_ms, end_ms, NEVER).unwrap(), wanted);
        }
    }
    let usage = |store: &Store| (store.stats().cache_misses, store.stats().cache_hits);
    let before = usage(&store);
    for back_ms in [0, 700_000, 1_300_000] {
        store.select(&[], last_ms - back_ms - 300_000, last_ms - back_ms).unwrap();
        assert_eq!(usage(&store), before, "nothing is unpacked any more");
    }
}

#[test]
fn a_read_of_too_much_is_refused_and_a_scan_of_it_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let bounded = Options { read_samples_max: 400, ..small_parts() };
    let store = open_with(dir.path(), bounded);
    fill(&store, 9, 0);
    for _ in 0..2 {
        let read = store.select(&[], i64::MIN, i64::MAX);
        assert!(matches!(read, Err(ReadError::TooManySamples { max: 400 })), "{read:?}");
        assert_eq!(scanned(&store).len(), 9);
        assert_eq!(store.newest(&[], i64::MIN, i64::MAX, NEVER).unwrap().len(), 9);
        store.compact().unwrap();
    }
}

/// Of a sealed series, a late sample in the head is not the newest; one sealed late may be.
#[test]
fn the_newest_sample_is_found_wherever_it_lies() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), Options { seal_after_ms: 0, ..options() });
    let newest = |start_ms: i64, end_ms: i64| {
        let matchers = [Matcher::equal("__name__", "m")];
        let found = store.newest(&matchers, NOW_MS + start_ms, NOW_MS + end_ms, NEVER).unwrap();
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

/// Nobody waits for the answer any more: it takes no longer, whatever there is.
#[test]
fn look_ups_end_when_they_are_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store, 20, 0);
    let (from_ms, to_ms) = (i64::MIN, i64::MAX);
    let any = [vec![Matcher::new("instance", MatchOp::Regex, ".*i.*1").unwrap()], Vec::new()];
    // The look-ups by number, each with the answer's length.
    let look_up = |which: usize, stop: &dyn Fn() -> bool| match which {
        0 => store.series(&any, from_ms, to_ms, stop).map(|found| found.len()),
        1 => store.label_names(&any, from_ms, to_ms, stop).map(|found| found.len()),
        2 => store.label_values("instance", &any, from_ms, to_ms, stop).map(|found| found.len()),
        3 => store.newest(&any[0], from_ms, to_ms, stop).map(|found| found.len()),
        _ => store.stats_with(30, stop).map(|stats| stats.pairs.len()),
    };
    for (which, wanted) in [20, 2, 20, 2, 21].into_iter().enumerate() {
        assert_eq!(look_up(which, &NEVER).unwrap(), wanted, "{which}");
        let asked = Cell::new(0);
        let counting = || {
            asked.set(asked.get() + 1);
            false
        };
        look_up(which, &counting).unwrap();
        for last in 1..=asked.get() {
            asked.set(0);
            let stop = || {
                asked.set(asked.get() + 1);
                asked.get() >= last
            };
            let stopped = look_up(which, &stop);
            assert!(matches!(stopped, Err(ReadError::Stopped)), "{which} at {last}: {stopped:?}");
        }
    }
}

/// How much of a scan a part is, is told from how many samples the series of a shelf have on the
/// average. Here the few that have most come one after the other.
#[test]
fn a_scan_takes_series_that_have_more_samples_than_others() {
    let options = |read_samples_max| Options {
        read_part_samples: 1_000,
        read_samples_max,
        ..super::common::options()
    };
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), options(600));
    let series = |at: i64| {
        let len = if (20..25).contains(&at) { 500 } else { 1 };
        (labels("m", &format!("i{at:03}")), (0..len).map(|step| (NOW_MS + step, 1.0)).collect())
    };
    store.append(&write((0..60).map(series))).unwrap();
    for _ in 0..2 {
        let scan = store.scan(&[], i64::MIN, i64::MAX).unwrap();
        let mut found = Vec::new();
        for part in 0..scan.parts() {
            scan.read(part, &mut |series: SeriesRef<'_>| {
                found.push((series.labels.get("instance").unwrap().to_owned(), series.times.len()));
                ControlFlow::Continue(())
            })
            .unwrap();
        }
        let wanted = (0..60).map(|at| (format!("i{at:03}"), if at / 5 == 4 { 500 } else { 1 }));
        assert_eq!(found, wanted.collect::<Vec<_>>());
        assert!(scan.parts() < 10);
        // Who breaks off among them gets no more.
        for part in 0..scan.parts() {
            let mut given = 0;
            scan.read(part, &mut |_| {
                given += 1;
                ControlFlow::Break(())
            })
            .unwrap();
            assert_eq!(given, 1);
        }
        store.compact().unwrap();
    }
    drop(store);
    let store = open_with(dir.path(), options(499));
    let scan = store.scan(&[], i64::MIN, i64::MAX).unwrap();
    let read: Result<(), ReadError> =
        (0..scan.parts()).try_for_each(|part| scan.read(part, &mut |_| ControlFlow::Continue(())));
    assert!(matches!(read, Err(ReadError::TooManySamples { max: 499 })), "{read:?}");
}
