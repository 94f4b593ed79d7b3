//! A copy made while the store is written holds all that was acknowledged before, and a new store
//! starts from it.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::common::{NOW_MS, everything, labels, one, open, open_with, options, samples, write};
use labstat_store::{CopyError, Options, Snapshot, SnapshotError, Store};

const FILE: &str = "labstat.db";

/// Puts a copy of the store in `dir` into a folder of its own, as a restore does.
fn back_up(dir: &Path) -> tempfile::TempDir {
    let restored = tempfile::tempdir().unwrap();
    let draft = Snapshot::of_dir(dir).unwrap();
    let draft = draft.copy_to(&restored.path().join(FILE), &mut |_| {}).unwrap();
    let copy = Snapshot::of_file(draft.path()).unwrap();
    let checked = copy.check(&mut |_| {}).unwrap();
    assert_eq!(checked.damages, []);
    drop(copy);
    draft.finish().unwrap();
    restored
}

fn only_file(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

fn fill(store: &Store) {
    for day in 0..3 {
        let from_ms = NOW_MS - day * 86_400_000;
        let series = (0..50_i64).map(|at| {
            let samples = (0..60).map(|step| (from_ms - step * 15_000, (at * step) as f64 * 0.1));
            (labels(&format!("m{at}"), "a"), samples.collect())
        });
        store.append(&write(series)).unwrap();
        store.compact().unwrap();
    }
    store.document_put("alerts", b"state").unwrap();
    store.append(&one("logged", &[(NOW_MS, 1.0)])).unwrap();
}

#[test]
fn a_copy_is_a_store_whether_one_runs_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store);
    let wanted = everything(&store);
    let running = back_up(dir.path());
    store.append(&one("later", &[(NOW_MS, 1.0)])).unwrap();
    drop(store);
    let stopped = back_up(dir.path());
    for (copy, len) in [(running, wanted.len()), (stopped, wanted.len() + 1)] {
        assert_eq!(only_file(copy.path()), [FILE], "one file and nothing beside it");
        let store = open(copy.path());
        assert_eq!(everything(&store).len(), len);
        let known = everything(&store).into_iter().filter(|s| s.labels.metric_name() != "later");
        assert_eq!(known.collect::<Vec<_>>(), wanted);
        assert_eq!(store.document_get("alerts").unwrap().as_deref(), Some(&b"state"[..]));
        // Ids that were given are not given again.
        store.append(&one("new", &[(NOW_MS, 2.0)])).unwrap();
        store.compact().unwrap();
        assert_eq!(samples(&store, "new"), [(NOW_MS, 2.0)]);
    }
}

#[test]
fn a_copy_made_among_writes_and_merges_has_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let busy = || Options { seal_after_ms: 0, head_samples_max: 500, ..options() };
    let store = open_with(dir.path(), busy());
    fill(&store);
    let (acknowledged, stop) = (AtomicI64::new(-1), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for at in 0.. {
                let both = ["a", "b"].map(|end| (labels("live", end), vec![(at, at as f64)]));
                store.append(&write(both)).unwrap();
                acknowledged.store(at, Ordering::SeqCst);
                if at % 20 == 0 {
                    store.maintain(NOW_MS).unwrap();
                }
                if stop.load(Ordering::SeqCst) {
                    break;
                }
            }
        });
        for _ in 0..12 {
            let before = acknowledged.load(Ordering::SeqCst);
            let copy = back_up(dir.path());
            let copied = open_with(copy.path(), busy());
            let found = everything(&copied);
            let live: Vec<_> =
                found.iter().filter(|found| found.labels.metric_name() == "live").collect();
            assert!(live.len() == 2 || before < 0, "{}", live.len());
            for series in &live {
                let wanted: Vec<i64> = (0..series.times.len() as i64).collect();
                assert_eq!(series.times, wanted, "all up to a moment, once");
                assert!(series.times.len() as i64 > before, "{before} is lost");
                assert_eq!(series.times, live[0].times, "half a request");
            }
        }
        stop.store(true, Ordering::SeqCst);
    });
}

/// The folder of a restore may still have what belonged to the database before.
#[test]
fn a_log_of_another_database_is_not_applied_to_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store);
    let copy = back_up(dir.path());
    let wanted = everything(&store);
    for at in 0..30 {
        store.append(&one("later", &[(at, 1.0)])).unwrap();
    }
    let log = fs::read(dir.path().join("labstat.db-wal")).unwrap();
    assert!(log.len() > 10_000);
    fs::write(copy.path().join("labstat.db-wal"), log).unwrap();
    let (restored, notices) = Store::open(copy.path(), options()).unwrap();
    let [notice] = &notices[..] else { panic!("{notices:?}") };
    assert!(notice.what.contains("belonged to another database"), "{notice}");
    assert!(notice.set_aside.as_ref().is_some_and(|aside| aside.exists()));
    assert_eq!(everything(&restored), wanted);
    // Its own log is applied.
    restored.append(&one("own", &[(NOW_MS, 1.0)])).unwrap();
    drop(restored);
    assert_eq!(samples(&open(copy.path()), "own"), [(NOW_MS, 1.0)]);
}

#[test]
fn what_cannot_be_copied_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = Snapshot::of_dir(dir.path()).unwrap_err();
    assert!(matches!(error, SnapshotError::Missing { .. }), "{error:?}");
    let file = dir.path().join(FILE);
    fs::create_dir(&file).unwrap();
    let error = Snapshot::of_dir(dir.path()).unwrap_err();
    assert!(error.to_string().contains("not a file"), "{error}");
    fs::remove_dir(&file).unwrap();
    for text in ["", "this is a shopping list"] {
        fs::write(&file, text.repeat(300)).unwrap();
        let error = Snapshot::of_dir(dir.path()).unwrap_err();
        assert!(matches!(error, SnapshotError::Damaged { .. }), "{error:?}");
    }
    fs::remove_file(&file).unwrap();
    let store = open(dir.path());
    fill(&store);
    let snapshot = Snapshot::of_dir(dir.path()).unwrap();
    let nowhere = dir.path().join("not/there.db");
    let error = snapshot.copy_to(&nowhere, &mut |_| {}).unwrap_err();
    assert!(matches!(error, CopyError::Write { .. }), "{error:?}");
    let there = dir.path().join("copy.db");
    let draft = snapshot.copy_to(&there, &mut |_| {}).unwrap();
    let error = snapshot.copy_to(&there, &mut |_| {}).unwrap_err();
    assert!(matches!(error, CopyError::Busy { .. }), "{error:?}");
    drop(draft);
    assert!(!there.exists() && !dir.path().join("copy.db.partial").exists());
}

#[test]
fn progress_comes_to_an_end() {
    let dir = tempfile::tempdir().unwrap();
    fill(&open(dir.path()));
    let mut told = Vec::new();
    let snapshot = Snapshot::of_dir(dir.path()).unwrap();
    let draft = snapshot.copy_to(&dir.path().join("copy.db"), &mut |now| told.push(now)).unwrap();
    let last = told.last().unwrap();
    assert!(last.total > 5 && last.done == last.total, "{last:?}");
    let size = fs::metadata(draft.path()).unwrap().len();
    assert_eq!(size, snapshot.size_bytes().unwrap());
}

#[test]
fn a_store_says_what_its_bytes_are_spent_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store);
    let stats = store.stats();
    let blob_bytes = stats.sealed_bytes + stats.rolled_bytes;
    let found = Snapshot::of_dir(dir.path()).unwrap().inspect(&mut |_| {}).unwrap();
    assert_eq!(found.series, 51);
    assert_eq!(found.samples(), 3 * 50 * 60 + 1);
    assert_eq!((found.log_samples, found.log_bytes > 10), (1, true));
    assert_eq!(found.tiers.iter().map(|tier| tier.blobs).sum::<usize>(), stats.blobs);
    assert_eq!(found.tiers.iter().map(|tier| tier.bytes).sum::<u64>(), blob_bytes);
    assert_eq!((found.oldest_ms, found.newest_ms), (stats.oldest_ms, stats.newest_ms));
    assert_eq!(found.labels, [("__name__".to_owned(), 51), ("instance".to_owned(), 1)]);
    let shared: u64 = found.metrics.iter().map(|metric| metric.bytes).sum();
    assert!(shared.abs_diff(blob_bytes) < 60, "{shared} {blob_bytes}");
    assert_eq!(found.metrics.len(), 51);
    assert_eq!(found.days.iter().map(|day| day.samples).sum::<u64>(), 9000);
    assert!(found.growth_bytes_per_day.is_some_and(|bytes| bytes > 100.0));
    assert!(found.tables.iter().any(|table| table.name == "parts" && table.bytes > 1000));
    assert!(found.file_bytes >= found.tables.iter().map(|table| table.bytes).sum());
}
