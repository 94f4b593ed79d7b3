//! Whatever is done to a store, it answers as a sorted map would.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use super::common::{NOW_MS, labels, open_with, options, write};
use labstat_model::{Labels, Matcher, Series, SeriesRef, stale_marker};
use labstat_store::{NEVER, Options, Snapshot, Store};
use proptest::prelude::*;

const HOUR_MS: i64 = 3_600_000;

#[derive(Debug, Clone)]
enum Step {
    /// One request: series, time in steps, value by number.
    Append(Vec<(usize, i64, usize)>),
    Maintain,
    Compact,
    Reopen,
    /// The process ends at once; its files are found elsewhere, the log with some bytes of a
    /// transaction that was not acknowledged.
    Crash(Vec<u8>),
    /// Goes on with a backup.
    Restore,
    Read(i64, i64),
}

fn values() -> Vec<f64> {
    vec![
        0.0,
        -0.0,
        1.0,
        2.5,
        f64::NAN,
        f64::INFINITY,
        stale_marker(),
        f64::MIN_POSITIVE / 4.0,
        0.1 + 0.2,
        1e300,
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sample = (0_usize..4, 0_i64..40, 0_usize..10);
    let step = prop_oneof![
        6 => prop::collection::vec(sample, 0..25).prop_map(Step::Append),
        2 => Just(Step::Maintain),
        1 => Just(Step::Compact),
        1 => Just(Step::Reopen),
        1 => prop::collection::vec(any::<u8>(), 0..6000).prop_map(Step::Crash),
        1 => Just(Step::Restore),
        2 => (-1_i64..41, 0_i64..41).prop_map(|(start, len)| Step::Read(start, start + len)),
    ];
    prop::collection::vec(step, 1..25)
}

/// Steps of an hour, over two days, so that blobs are cut by day and merged.
fn time_ms(step: i64) -> i64 {
    NOW_MS - 40 * HOUR_MS + step * HOUR_MS
}

fn series(at: usize) -> Labels {
    labels(["a", "b", "b", "c"][at], ["x", "x", "y", ""][at])
}

type Model = BTreeMap<Labels, BTreeMap<i64, u64>>;

fn append(store: &Store, model: &mut Model, samples: &[(usize, i64, usize)]) {
    let request = write(
        samples
            .iter()
            .map(|&(at, step, value)| (series(at), vec![(time_ms(step), values()[value])])),
    );
    let (mut accepted, mut duplicates, mut refused) = (0, 0, 0);
    for &(at, step, value) in samples {
        let column = model.entry(series(at)).or_default();
        let bits = values()[value].to_bits();
        match column.get(&time_ms(step)) {
            Some(known) if *known == bits => duplicates += 1,
            Some(_) => refused += 1,
            None => {
                column.insert(time_ms(step), bits);
                accepted += 1;
            }
        }
    }
    let appended = store.append(&request).unwrap();
    assert_eq!(
        (appended.accepted, appended.duplicates, appended.refused),
        (accepted, duplicates, refused)
    );
}

fn read(store: &Store, model: &Model, start_ms: i64, end_ms: i64) {
    let wanted: Vec<Series> = model
        .iter()
        .filter_map(|(labels, column)| {
            let mut series = Series::new(labels.clone());
            column.range(start_ms..=end_ms).for_each(|(&t, &b)| series.push(t, f64::from_bits(b)));
            (!series.is_empty()).then_some(series)
        })
        .collect();
    assert_eq!(store.select(&[], start_ms, end_ms).unwrap(), wanted);
    let b = [Matcher::equal("__name__", "b")];
    let wanted: Vec<Series> =
        wanted.into_iter().filter(|series| series.labels.metric_name() == "b").collect();
    assert_eq!(store.select(&b, start_ms, end_ms).unwrap(), wanted);
}

/// Streams and newest samples say the same as whole reads.
fn read_otherwise(store: &Store, start_ms: i64, end_ms: i64) {
    for matchers in [vec![], vec![Matcher::equal("__name__", "b")]] {
        let mut wanted = store.select(&matchers, start_ms, end_ms).unwrap();
        let mut scanned = Vec::new();
        let each = &mut |SeriesRef { labels, times, values }: SeriesRef<'_>| {
            let (labels, times, values) = (labels.clone(), times.to_vec(), values.to_vec());
            scanned.push(Series { labels, times, values });
            ControlFlow::Continue(())
        };
        let scan = store.scan(&matchers, start_ms, end_ms).unwrap();
        (0..scan.parts()).for_each(|part| scan.read(part, each).unwrap());
        assert_eq!(scanned, wanted);
        wanted.iter_mut().for_each(Series::keep_newest);
        assert_eq!(store.newest(&matchers, start_ms, end_ms, NEVER).unwrap(), wanted);
    }
}

/// A copy of the files as they are, in a folder of its own.
fn crashed(dir: &Path, torn: &[u8]) -> tempfile::TempDir {
    let fresh = tempfile::tempdir().unwrap();
    for name in ["labstat.db", "labstat.db-wal"] {
        let mut content = std::fs::read(dir.join(name)).unwrap();
        if name.ends_with("wal") && !content.is_empty() {
            content.extend_from_slice(torn);
        }
        std::fs::write(fresh.path().join(name), content).unwrap();
    }
    fresh
}

/// A backup of a store that runs, in a folder of its own.
fn restored(dir: &Path) -> tempfile::TempDir {
    let fresh = tempfile::tempdir().unwrap();
    let draft = Snapshot::of_dir(dir).unwrap();
    let draft = draft.copy_to(&fresh.path().join("labstat.db"), &mut |_| {}).unwrap();
    let checked = Snapshot::of_file(draft.path()).unwrap().check(&mut |_| {}).unwrap();
    assert_eq!(checked.damages, []);
    draft.finish().unwrap();
    fresh
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_equals_a_sorted_map(steps in steps()) {
        let mut dir = tempfile::tempdir().unwrap();
        // Everything that maintenance may find due is due.
        let options = || Options {
            seal_after_ms: 0,
            // Every series is a batch, large reads are shared, and the cache is always too small.
            read_part_samples: 1,
            cache_size_max_bytes: 1_000,
            ..options()
        };
        let mut store = open_with(dir.path(), options());
        let mut model = Model::new();
        let mut now_ms = NOW_MS;
        for step in steps {
            match step {
                Step::Append(samples) => append(&store, &mut model, &samples),
                Step::Maintain => {
                    // Between two calls, everything settles.
                    now_ms += 2 * HOUR_MS;
                    store.maintain(now_ms).unwrap();
                }
                Step::Compact => drop(store.compact().unwrap()),
                Step::Reopen => {
                    drop(store);
                    store = open_with(dir.path(), options());
                }
                Step::Crash(torn) => {
                    let fresh = crashed(dir.path(), &torn);
                    drop(store);
                    dir = fresh;
                    store = open_with(dir.path(), options());
                }
                Step::Restore => {
                    let fresh = restored(dir.path());
                    drop(store);
                    dir = fresh;
                    store = open_with(dir.path(), options());
                }
                Step::Read(start, end) => {
                    read(&store, &model, time_ms(start), time_ms(end));
                    read_otherwise(&store, time_ms(start), time_ms(end));
                }
            }
        }
        read(&store, &model, i64::MIN, i64::MAX);
        drop(store);
        let store = open_with(dir.path(), options());
        read(&store, &model, i64::MIN, i64::MAX);
        read_otherwise(&store, i64::MIN, i64::MAX);
    }
}
