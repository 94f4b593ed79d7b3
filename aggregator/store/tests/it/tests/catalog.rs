//! The series of a store outlive restarts, damage and each other.

use std::path::Path;
use std::sync::Arc;

use super::common::{NOW_MS, everything, open, open_with, options, write};
use labstat_model::{Labels, ManualClock, Matcher, Series, stale_marker};
use labstat_store::{NEVER, Options, Store};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Enough metrics for several shelves, on some nodes.
fn labels_of(at: usize) -> Labels {
    let (name, node) = (format!("metric_{}", at % 700), format!("node{}", at / 700));
    Labels::new([("__name__", &*name), ("instance", &node), ("unique", &*at.to_string())])
}

fn fill(store: &Store, series: std::ops::Range<usize>, time_ms: i64) {
    let value = |at: usize| f64::from(u32::try_from(at).unwrap()).sqrt();
    let request = write(series.map(|at| (labels_of(at), vec![(time_ms, value(at))])));
    let appended = store.append(&request).unwrap();
    assert_eq!(appended.refused, 0, "{appended:?}");
}

fn count(dir: &Path, table: &str) -> i64 {
    let db = rusqlite::Connection::open(dir.join("labstat.db")).unwrap();
    db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

/// All that a store says of its series.
fn catalog(store: &Store) -> (Vec<Labels>, Vec<String>, Vec<String>, usize) {
    let all = (i64::MIN, i64::MAX);
    (
        store.series(&[], all.0, all.1, NEVER).unwrap(),
        store.label_names(&[], all.0, all.1, NEVER).unwrap(),
        store.label_values("unique", &[], all.0, all.1, NEVER).unwrap(),
        store.stats().series,
    )
}

#[test]
fn series_move_into_their_shelves_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store, 0..900, NOW_MS - DAY_MS);
    assert_eq!((count(dir.path(), "series"), count(dir.path(), "shelves")), (900, 0));
    store.compact().unwrap();
    assert_eq!(count(dir.path(), "series"), 0);
    assert!(count(dir.path(), "shelves") > 1);
    // Some that are known and some that are new, sealed and not.
    fill(&store, 850..1000, NOW_MS - 2 * HOUR_MS);
    store.compact().unwrap();
    fill(&store, 950..1100, NOW_MS - HOUR_MS);
    assert_eq!(count(dir.path(), "series"), 100);
    let (before, samples) = (catalog(&store), everything(&store));
    assert_eq!((before.3, samples.len()), (1100, 1100));
    drop(store);
    let store = open(dir.path());
    assert_eq!((catalog(&store), everything(&store)), (before, samples.clone()));
    // Ids are not given twice: what is new now is something else.
    fill(&store, 1100..1200, NOW_MS);
    store.compact().unwrap();
    drop(store);
    let store = open(dir.path());
    let after = everything(&store);
    assert_eq!(after.len(), 1200);
    for series in samples {
        assert!(after.contains(&series), "{:?}", series.labels);
    }
}

#[test]
fn series_past_the_retention_leave_their_shelves() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let options = || Options {
        retention_ms: Some(10 * DAY_MS),
        rollups_ms: [Some(0); 2],
        ..Options::new(Arc::<ManualClock>::clone(&clock))
    };
    let store = open_with(dir.path(), options());
    fill(&store, 0..1400, NOW_MS - 9 * DAY_MS);
    store.compact().unwrap();
    fill(&store, 500..700, NOW_MS);
    fill(&store, 1400..1500, NOW_MS);
    // Nothing is sealed, so that the new ones have rows of their own while others go.
    clock.set_ms(NOW_MS + 5 * DAY_MS);
    fill(&store, 600..650, NOW_MS + 5 * DAY_MS);
    let mut dropped = 0;
    for _ in 0..3 {
        dropped += store.maintain(NOW_MS + 5 * DAY_MS).unwrap().dropped_series;
    }
    assert_eq!(dropped, 1200);
    let before = (catalog(&store), everything(&store));
    assert_eq!(before.0.3, 300);
    drop(store);
    let store = open_with(dir.path(), options());
    assert_eq!((catalog(&store), everything(&store)), before);
    // What comes back is a new series.
    fill(&store, 0..10, NOW_MS + 5 * DAY_MS);
    store.compact().unwrap();
    drop(store);
    assert_eq!(open_with(dir.path(), options()).stats().series, 310);
}

fn damage(dir: &Path, sql: &str) {
    let db = rusqlite::Connection::open(dir.join("labstat.db")).unwrap();
    assert_eq!(db.execute(sql, []).unwrap(), 1, "{sql}");
}

fn filled(dir: &Path) -> Vec<Series> {
    let store = open(dir);
    fill(&store, 0..900, NOW_MS - DAY_MS);
    store.compact().unwrap();
    fill(&store, 850..1000, NOW_MS);
    store.close().unwrap();
    everything(&store)
}

#[test]
fn a_damaged_catalog_costs_one_shelf() {
    for sql in [
        "UPDATE shelves SET series = substr(series, 1, length(series) - 1) || x'00' WHERE id = 1",
        "UPDATE shelves SET series = (SELECT series FROM shelves WHERE id = 2) WHERE id = 1",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let before = filled(dir.path());
        damage(dir.path(), sql);
        let (store, notices) = Store::open(dir.path(), options()).unwrap();
        assert_eq!(notices.len(), 1, "{notices:?}");
        assert!(notices[0].what.contains("1 shelves of them are lost"), "{notices:?}");
        let after = everything(&store);
        assert!(after.len() >= before.len() - 256, "{} of {}", after.len(), before.len());
        assert!(after.len() < before.len());
        assert!(after.iter().all(|series| before.contains(series)));
        // What was lost comes back as new.
        fill(&store, 0..1000, NOW_MS + 1);
        store.compact().unwrap();
        drop(store);
        assert_eq!(open(dir.path()).stats().series, 1000);
    }
}

#[test]
fn damaged_spans_cost_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let before = filled(dir.path());
    damage(dir.path(), "UPDATE shelves SET spans = x'00' WHERE id = 1");
    let (store, notices) = Store::open(dir.path(), options()).unwrap();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!(everything(&store), before);
    // Not by the range alone: what is older than all of them is not found.
    assert_eq!(store.series(&[], 0, NOW_MS - 2 * DAY_MS, NEVER).unwrap(), Vec::<Labels>::new());
    assert_eq!(newest(&store), last(&before));
}

fn newest(store: &Store) -> Vec<(Labels, i64, u64)> {
    last(&store.newest(&[], i64::MIN, i64::MAX, NEVER).unwrap())
}

fn last(series: &[Series]) -> Vec<(Labels, i64, u64)> {
    let last = |series: &Series| {
        let (time_ms, value) = (*series.times.last()?, series.values.last()?.to_bits());
        Some((series.labels.clone(), time_ms, value))
    };
    series.iter().filter_map(last).collect()
}

/// Whatever order samples come in, and wherever they lie when the store is opened again.
#[test]
fn the_newest_samples_are_known_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let series = |at: usize, samples: &[(i64, f64)]| (labels_of(at), samples.to_vec());
    let rounds = [
        write([
            series(0, &[(NOW_MS, 1.5)]),
            series(1, &[(NOW_MS, 7.0), (NOW_MS + 5, stale_marker())]),
            series(2, &[(NOW_MS - 30 * DAY_MS, 3.0)]),
        ]),
        // Late ones are not the newest; a marker may be.
        write([
            series(0, &[(NOW_MS - 5, 9.0), (NOW_MS + 1, -0.0), (NOW_MS - 7, 2.0)]),
            series(1, &[(NOW_MS + 2, 8.0)]),
            series(3, &[(NOW_MS + 1, f64::NAN)]),
        ]),
        write([series(2, &[(NOW_MS - 31 * DAY_MS, 4.0), (NOW_MS - 29 * DAY_MS, 5.0)])]),
    ];
    for (round, request) in rounds.iter().enumerate() {
        store.append(request).unwrap();
        for seal in [false, true] {
            if seal {
                store.compact().unwrap();
            }
            drop(store);
            store = open(dir.path());
            let wanted = last(&everything(&store));
            assert!(wanted.len() >= 3);
            assert_eq!(newest(&store), wanted, "round {round}, sealed {seal}");
        }
    }
    let marker = store.newest(&[Matcher::equal("unique", "1")], i64::MIN, i64::MAX, NEVER).unwrap();
    assert_eq!(marker[0].times, [NOW_MS + 5]);
    assert_eq!(marker[0].values[0].to_bits(), stale_marker().to_bits());
}
