//! Damaged files are set aside and said so; what is whole of them is kept.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::common::{NOW_MS, everything, labels, one, open, options, samples, write};
use labstat_model::Series;
use labstat_store::{Notice, OpenError, Store};

const FILE: &str = "labstat.db";

/// A store of two days in blobs and a little in the log, closed in good order.
fn fill(dir: &Path) -> Vec<Series> {
    let store = open(dir);
    for day in [2, 1] {
        let from_ms = NOW_MS - day * 86_400_000;
        store
            .append(&write((0..300_i64).map(|at| {
                let value = |step: i64| ((at * 7919 + day) as f64 + step as f64 * 1.37).sqrt();
                let samples = (0..100).map(|step| (from_ms + step * 15_000, value(step)));
                (labels(&format!("m{at}"), "a"), samples.collect())
            })))
            .unwrap();
        store.compact().unwrap();
    }
    store.document_put("alerts", b"state").unwrap();
    store.append(&one("logged", &[(NOW_MS, 1.0)])).unwrap();
    store.close().unwrap();
    everything(&store)
}

fn reopen(dir: &Path) -> (Store, Vec<Notice>) {
    Store::open(dir, options()).unwrap()
}

/// It was noticed, the damaged file is kept, and the store takes writes.
fn check_set_aside(dir: &Path) -> (Store, Notice) {
    let (store, notices) = reopen(dir);
    let [notice] = &notices[..] else { panic!("{notices:?}") };
    let aside: &PathBuf = notice.set_aside.as_ref().expect("a file was set aside");
    assert!(aside.exists());
    assert!(aside.to_string_lossy().contains("labstat.db.damaged-"), "{aside:?}");
    assert!(notice.to_string().contains("was damaged"), "{notice}");
    assert_eq!(store.append(&one("after", &[(NOW_MS, 1.0)])).unwrap().accepted, 1);
    (store, notice.clone())
}

fn overwrite(path: &Path, at: usize, bytes: &[u8]) {
    let mut file = fs::read(path).unwrap();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    fs::write(path, file).unwrap();
}

#[test]
fn something_else_in_place_of_the_database() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    fs::write(dir.path().join(FILE), "this is a shopping list\n".repeat(500)).unwrap();
    let (store, _) = check_set_aside(dir.path());
    assert_eq!(everything(&store).len(), 1);
    drop(store);
    open(dir.path());
}

#[test]
fn an_empty_file_and_a_lost_file_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    fs::write(dir.path().join(FILE), "").unwrap();
    check_set_aside(dir.path());

    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.append(&one("m", &[(1, 1.0)])).unwrap();
    // The process ends without closing, so that the write-ahead log stays.
    let wal = fs::read(dir.path().join("labstat.db-wal")).unwrap();
    drop(store);
    fs::write(dir.path().join("labstat.db-wal"), wal).unwrap();
    fs::remove_file(dir.path().join(FILE)).unwrap();
    let (_store, notices) = reopen(dir.path());
    assert!(notices[0].what.contains("it is missing"), "{notices:?}");
}

#[test]
fn another_programs_database_is_not_taken_for_ours() {
    let dir = tempfile::tempdir().unwrap();
    let other = rusqlite::Connection::open(dir.path().join(FILE)).unwrap();
    other.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1);").unwrap();
    drop(other);
    let (_, notice) = check_set_aside(dir.path());
    assert!(notice.what.contains("not a labstat database"), "{notice}");
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let newer = rusqlite::Connection::open(dir.path().join(FILE)).unwrap();
    newer.pragma_update(None, "user_version", 3).unwrap();
    drop(newer);
    let error = Store::open(dir.path(), options()).unwrap_err();
    assert!(matches!(error, OpenError::Version { found: 3, known: 2, .. }), "{error:?}");
    // Its own version may mend it; this one would leave out what it does not know.
    fs::write(dir.path().join(format!("{FILE}-broken")), []).unwrap();
    let error = Store::open(dir.path(), options()).unwrap_err();
    assert!(matches!(error, OpenError::Version { found: 3, known: 2, .. }), "{error:?}");
}

/// SQLite keeps the last id of a table in a row that no checksum guards.
#[test]
fn ids_are_not_given_twice_though_the_last_one_is_forgotten() {
    for table in ["series", "blobs"] {
        for sql in ["UPDATE sqlite_sequence SET seq = 1", "DELETE FROM sqlite_sequence"] {
            let dir = tempfile::tempdir().unwrap();
            let wanted = fill(dir.path());
            let db = rusqlite::Connection::open(dir.path().join(FILE)).unwrap();
            db.execute(&format!("{sql} WHERE name = '{table}'"), []).unwrap();
            drop(db);
            let (store, _) = reopen(dir.path());
            for at in 0..10_i64 {
                store.append(&one(&format!("new{at}"), &[(NOW_MS + at, 1.0)])).unwrap();
            }
            store.compact().unwrap();
            let found = everything(&store);
            assert_eq!(found.len(), wanted.len() + 10, "{table}: {sql}");
            for series in &wanted {
                assert!(found.contains(series), "{table}: {sql}: {:?}", series.labels);
            }
        }
    }
}

/// Every page in turn is overwritten: the store opens, keeps at least the other pages' samples,
/// and gives no sample that was not written.
#[test]
fn any_damaged_page_costs_little_and_invents_nothing() {
    let pristine = tempfile::tempdir().unwrap();
    let wanted = fill(pristine.path());
    let file = fs::read(pristine.path().join(FILE)).unwrap();
    let pages = file.len() / 4096;
    assert!(pages > 20, "{pages}");
    let total: usize = wanted.iter().map(Series::len).sum();
    for page in (1..pages).step_by(3) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), &file).unwrap();
        overwrite(&dir.path().join(FILE), page * 4096, &[0xa5; 4096]);
        let (store, _) = reopen(dir.path());
        let mut found = 0;
        for series in everything(&store) {
            let right = wanted.iter().find(|wanted| wanted.labels == series.labels).unwrap();
            for sample in series.samples() {
                assert!(right.samples().any(|right| right == sample), "page {page}: {sample:?}");
                found += 1;
            }
        }
        // The root of a table takes the table with it; else a blob of six or so is the most.
        let roots = page < 12;
        assert!(roots || found * 3 >= total, "page {page}: {found} of {total}");
        assert_eq!(store.append(&one("after", &[(NOW_MS, 1.0)])).unwrap().accepted, 1);
    }
}

#[test]
fn a_truncated_file_keeps_what_is_left() {
    let pristine = tempfile::tempdir().unwrap();
    fill(pristine.path());
    let file = fs::read(pristine.path().join(FILE)).unwrap();
    for share in [1, 3, 7, 9] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), &file[..file.len() * share / 10]).unwrap();
        let (store, _) = check_set_aside(dir.path());
        everything(&store);
    }
}

/// A flipped bit in a blob is found when it is read; its samples are absent and not wrong, and
/// everything else is answered.
#[test]
fn a_flipped_bit_in_a_blob_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let path = dir.path().join(FILE);
    let db = rusqlite::Connection::open(&path).unwrap();
    let part: Vec<u8> =
        db.query_row("SELECT content FROM parts LIMIT 1", [], |row| row.get(0)).unwrap();
    drop(db);
    let file = fs::read(&path).unwrap();
    let piece = &part[part.len() - 600..part.len() - 500];
    let places = file.windows(piece.len()).enumerate().filter(|(_, window)| *window == piece);
    let places: Vec<usize> = places.map(|(at, _)| at).collect();
    let [at] = places[..] else { panic!("{places:?}") };
    overwrite(&path, at, &[piece[0] ^ 4]);

    let store = open(dir.path());
    // The background check finds it before anybody asks.
    store.maintain(NOW_MS).unwrap();
    assert_eq!(store.stats().damaged_blobs, 1);
    let lens: BTreeSet<usize> = everything(&store).iter().map(Series::len).collect();
    assert_eq!(lens.into_iter().collect::<Vec<_>>(), [1, 100, 200]);
    assert_eq!(store.stats().damaged_blobs, 1);
    assert_eq!(samples(&store, "logged"), [(NOW_MS, 1.0)]);
    store.compact().unwrap();
    assert_eq!(store.document_get("alerts").unwrap().as_deref(), Some(&b"state"[..]));
}

/// One rotten document costs itself, and its key is told; a new one in its place is whole.
#[test]
fn a_damaged_document_is_named_among_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let store = open(dir.path());
    let rows: Vec<(String, Vec<u8>)> = (0..5)
        .map(|at| (format!("row/{at}"), format!("content of row {at}").into_bytes()))
        .collect();
    let changes: Vec<(&str, Option<&[u8]>)> =
        rows.iter().map(|(key, row)| (key.as_str(), Some(row.as_slice()))).collect();
    store.documents_put(&changes).unwrap();
    store.close().unwrap();
    drop(store);
    let file = fs::read(&path).unwrap();
    let places = file.windows(16).enumerate().filter(|(_, piece)| piece == b"content of row 3");
    let places: Vec<usize> = places.map(|(at, _)| at).collect();
    let [at] = places[..] else { panic!("{places:?}") };
    overwrite(&path, at, b"C");

    let store = open(dir.path());
    let found = store.documents("row/").unwrap();
    assert_eq!(found.damaged, ["row/3"]);
    assert_eq!(found.whole.len(), 4);
    store.documents_put(&[("row/3", Some(b"new"))]).unwrap();
    let found = store.documents("row/").unwrap();
    assert_eq!((found.whole.len(), found.damaged.len()), (5, 0));
}

/// Part of the write-ahead log is lost when it is damaged, but not without a word.
#[test]
fn a_damaged_write_ahead_log_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for at in 0..20 {
        store.append(&one("m", &[(at, 1.0)])).unwrap();
    }
    let copy = tempfile::tempdir().unwrap();
    for name in [FILE, "labstat.db-wal"] {
        fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    let log = copy.path().join("labstat.db-wal");
    let middle = usize::try_from(fs::metadata(&log).unwrap().len()).unwrap() / 2;
    overwrite(&log, middle, &[0xa5; 64]);
    let (store, notices) = reopen(copy.path());
    assert!(notices[0].what.contains("write-ahead log"), "{notices:?}");
    assert!(notices[0].set_aside.as_ref().is_some_and(|aside| aside.exists()));
    let kept = samples(&store, "m");
    assert!(!kept.is_empty() && kept.len() < 20, "{}", kept.len());
}

/// A salvage that was cut off is done again, or taken as it is when it was complete.
#[test]
fn a_salvage_that_was_cut_off_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = fill(dir.path());
    let fresh = dir.path().join("labstat.db-salvage");
    fs::write(&fresh, "half of something").unwrap();
    assert_eq!(everything(&open(dir.path())), wanted, "the database itself is whole");
    assert!(!fresh.exists());

    // The damaged file is still there, without its log: what was saved of both counts.
    fs::rename(dir.path().join(FILE), dir.path().join("labstat.db-salvaged")).unwrap();
    for damaged in [None, Some("damaged, and its log has moved already")] {
        if let Some(damaged) = damaged {
            fs::copy(dir.path().join(FILE), dir.path().join("labstat.db-salvaged")).unwrap();
            fs::write(dir.path().join(FILE), damaged).unwrap();
        }
        let (store, notices) = reopen(dir.path());
        assert_eq!(everything(&store), wanted);
        assert!(notices[0].what.ends_with("ended a salvage that was cut off"), "{notices:?}");
        assert_eq!(notices[0].set_aside.is_some(), damaged.is_some(), "{notices:?}");
        store.close().unwrap();
    }
}
