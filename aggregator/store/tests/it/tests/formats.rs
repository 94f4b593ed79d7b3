//! Files that older versions wrote are read by this one, and give every bit back.
//!
//! `data/format-1.db` was written by the last version that wrote format 1: 24 series of 12 metrics
//! in three days of blobs, and a log with a late sample, one beyond all others and a new series.

use std::fs;
use std::path::Path;

use super::common::{NOW_MS, everything, labels, open, options, write};
use labstat_model::{Kind, Metadata, Series, stale_marker};
use labstat_store::Store;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const FORMAT_1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/format-1.db");

/// What the file has for the series `series` of the round's step `step`.
fn value(series: i64, step: i64) -> f64 {
    match series % 6 {
        0 => 1.0,
        1 => (step * series) as f64,
        2 => ((step * 7919 + series) % 977) as f64 / 10.0,
        3 => ((step + series) as f64).sqrt(),
        4 if step % 20 == 19 => stale_marker(),
        4 => -0.0,
        _ => f64::from_bits(0x7ff8_0000_0000_0000 + u64::try_from(step).unwrap()),
    }
}

/// What the file holds, sorted by labels.
fn wanted() -> Vec<Series> {
    let rounds = [
        (NOW_MS - 2 * DAY_MS, 40),
        (NOW_MS - DAY_MS, 40),
        (NOW_MS - DAY_MS + HOUR_MS, 40),
        (NOW_MS - 2 * HOUR_MS, 20),
    ];
    let mut all: Vec<Series> = (0..24_i64)
        .map(|at| {
            let name = format!("metric_{}", at % 12);
            let mut series = Series::new(labels(&name, if at < 12 { "a" } else { "ü\n" }));
            for (from_ms, steps) in rounds {
                let late = at == 1 && from_ms == NOW_MS - 2 * HOUR_MS;
                late.then(|| series.push(NOW_MS - 3 * HOUR_MS, 0.25));
                (0..steps).for_each(|step| series.push(from_ms + step * 60_000, value(at, step)));
            }
            (at == 1).then(|| series.push(NOW_MS, 1e300));
            series
        })
        .collect();
    let mut logged = Series::new(labels("logged", "b"));
    logged.push(NOW_MS, 7.0);
    all.push(logged);
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    all
}

fn check(store: &Store) {
    assert_eq!(everything(store), wanted());
    let metadata = Metadata {
        family: "metric_1".to_owned(),
        kind: Kind::Counter,
        help: "what it is".to_owned(),
        unit: "bytes".to_owned(),
    };
    assert_eq!(store.metadata(), [metadata]);
    assert_eq!(store.document_get("alerts").unwrap().as_deref(), Some(&b"state"[..]));
}

fn format_of(path: &Path) -> i64 {
    let db = rusqlite::Connection::open(path).unwrap();
    db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

#[test]
fn format_1_is_read_written_and_merged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("labstat.db");
    fs::copy(FORMAT_1, &path).unwrap();
    assert_eq!(format_of(&path), 1);
    let store = open(dir.path());
    check(&store);
    store.close().unwrap();
    drop(store);
    assert_eq!(format_of(&path), 2);

    // Once it is of the new format, everything goes on with it.
    let store = open(dir.path());
    check(&store);
    let last = labels("metric_0", "a");
    let request = write([(last.clone(), vec![(NOW_MS, 1.0), (NOW_MS + 1, 3.0)])]);
    assert_eq!(store.append(&request).unwrap().accepted, 2);
    assert_eq!(store.append(&request).unwrap().duplicates, 2);
    store.compact().unwrap();
    let late = write([(last, vec![(NOW_MS - 2 * DAY_MS + 7, 5.0)])]);
    assert_eq!(store.append(&late).unwrap().accepted, 1);
    store.compact().unwrap();
    let before = everything(&store);
    assert_eq!(before.iter().map(Series::len).sum::<usize>(), 3360 + 3 + 3);
    drop(store);
    assert_eq!(everything(&open(dir.path())), before);
}

/// A damaged file of an old format is saved as one of the new format.
#[test]
fn a_damaged_format_1_is_saved() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("labstat.db");
    fs::copy(FORMAT_1, &path).unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute("UPDATE series SET labels = x'00' WHERE id = 3", []).unwrap();
    drop(db);
    let (store, notices) = Store::open(dir.path(), options()).unwrap();
    assert_eq!(notices.len(), 1, "{notices:?}");
    let lost = labels("metric_2", "a");
    let kept: Vec<Series> = wanted().into_iter().filter(|s| s.labels != lost).collect();
    assert_eq!(everything(&store), kept);
    drop(store);
    assert_eq!(everything(&open(dir.path())), kept);
}

/// Of the old rows, those of the series read on in a file of the new format, where spans stand
/// elsewhere.
#[test]
fn samples_of_a_damaged_format_1_are_found_by_time_and_stay() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("labstat.db");
    fs::copy(FORMAT_1, &path).unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute("UPDATE series SET labels = x'00' WHERE id = 3", []).unwrap();
    drop(db);
    let (store, _) = Store::open(dir.path(), options()).unwrap();
    let lost = labels("metric_2", "a");
    let kept: Vec<Series> = wanted().into_iter().filter(|s| s.labels != lost).collect();
    let found = store.select(&[], NOW_MS - 30 * DAY_MS, NOW_MS).unwrap();
    assert_eq!(found, kept);
    assert_eq!(store.maintain(NOW_MS).unwrap().dropped_series, 0);
    assert_eq!(everything(&store), kept);
}
