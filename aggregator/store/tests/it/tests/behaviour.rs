//! What a store takes, what it refuses, and what it answers.

use std::sync::Arc;

use super::common::{NOW_MS, everything, labels, one, open, open_with, options, samples, write};
use labstat_model::{Kind, ManualClock, MatchOp, Matcher, Metadata};
use labstat_store::{AppendError, Keep, NEVER, OpenError, Options, ReadError, Refusal, Store};

const DAY_MS: i64 = 86_400_000;

#[test]
fn late_and_ancient_samples_are_merged_in() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.append(&one("m", &[(NOW_MS, 3.0)])).unwrap();
    store.compact().unwrap();
    store.append(&one("m", &[(0, 1.0), (NOW_MS - 5, 2.0), (-DAY_MS, 0.0)])).unwrap();
    let wanted = [(-DAY_MS, 0.0), (0, 1.0), (NOW_MS - 5, 2.0), (NOW_MS, 3.0)];
    assert_eq!(samples(&store, "m"), wanted);
    store.compact().unwrap();
    assert_eq!(samples(&store, "m"), wanted);
}

/// Prometheus drops what it has, and refuses another value at the same time; it makes no
/// difference how long ago the first one was stored.
#[test]
fn a_duplicate_is_dropped_and_a_conflict_refused_in_head_and_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.append(&one("m", &[(1_000, 1.0), (2_000, 2.0)])).unwrap();
    for _ in 0..2 {
        let again = store.append(&one("m", &[(1_000, 1.0), (2_000, 7.0), (1_500, 5.0)])).unwrap();
        assert_eq!((again.refused, again.duplicates + again.accepted), (1, 2));
        assert_eq!(again.refusals[0].reason, Refusal::Conflict);
        assert_eq!(
            again.refusals[0].to_string(),
            "duplicate sample for timestamp: m{instance=\"a\"} at 2000"
        );
        store.compact().unwrap();
    }
    assert_eq!(samples(&store, "m"), [(1_000, 1.0), (1_500, 5.0), (2_000, 2.0)]);
}

#[test]
fn times_out_of_bounds_are_refused_and_leave_no_series() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), Options { retention_ms: Some(DAY_MS), ..options() });
    let year_10000 = 253_402_300_800_000;
    let appended = store
        .append(&write([
            (labels("old", "a"), vec![(NOW_MS - DAY_MS - 1, 1.0)]),
            (labels("kept", "a"), vec![(NOW_MS - DAY_MS, 1.0), (NOW_MS + 40 * DAY_MS, 2.0)]),
            (labels("far", "a"), vec![(year_10000, 1.0), (i64::MIN, 1.0), (i64::MAX, 1.0)]),
        ]))
        .unwrap();
    assert_eq!((appended.accepted, appended.refused), (2, 4));
    let reasons: Vec<Refusal> = appended.refusals.iter().map(|refused| refused.reason).collect();
    assert_eq!(reasons[..2], [Refusal::TooOld, Refusal::OutOfRange]);
    assert_eq!(store.stats().series, 1, "a series is made by a sample that is taken");
}

#[test]
fn no_more_series_than_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), Options { series_max: 1, ..options() });
    let both =
        write([(labels("a", "a"), vec![(1, 1.0)]), (labels("b", "a"), vec![(1, 1.0), (2, 1.0)])]);
    let appended = store.append(&both).unwrap();
    assert_eq!((appended.accepted, appended.refused), (1, 2));
    assert_eq!(appended.refusals[0].reason, Refusal::TooManySeries);
}

/// A policy takes samples of its series from before the general retention.
#[test]
fn samples_are_taken_for_as_long_as_their_series_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let keep =
        |name: &str, keep_ms| Keep { matchers: vec![Matcher::equal("__name__", name)], keep_ms };
    let options = Options {
        retention_ms: Some(DAY_MS),
        keep: vec![keep("disk", None), keep("room", Some(9 * DAY_MS))],
        ..options()
    };
    let store = open_with(dir.path(), options);
    for name in ["disk", "room", "other"] {
        for _ in 0..2 {
            let times = [NOW_MS - 10 * DAY_MS, NOW_MS - 9 * DAY_MS, NOW_MS - DAY_MS, NOW_MS];
            let written = times.map(|time_ms| (time_ms, 1.0));
            store.append(&one(name, &written)).unwrap();
        }
    }
    let found = ["disk", "room", "other"].map(|name| samples(&store, name).len());
    assert_eq!(found, [4, 3, 2]);
    for _ in 0..2 {
        store.compact().unwrap();
        let found = ["disk", "room", "other"].map(|name| samples(&store, name).len());
        assert_eq!(found, [4, 3, 2]);
    }
}

/// Few series with the longest labels would take all memory otherwise.
#[test]
fn no_more_labels_than_allowed_and_room_again_when_series_end() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let options = Options {
        labels_size_max_bytes: 100,
        retention_ms: Some(DAY_MS),
        rollups_ms: [Some(0); 2],
        ..Options::new(clock.clone())
    };
    let store = open_with(dir.path(), options.clone());
    let long = "x".repeat(60);
    assert_eq!(
        store.append(&write([(labels("m", &long), vec![(NOW_MS, 1.0)])])).unwrap().accepted,
        1
    );
    drop(store);
    let store = open_with(dir.path(), options);
    let other = "y".repeat(60);
    let later_ms = NOW_MS + 3 * DAY_MS;
    clock.set_ms(later_ms);
    let request = write([(labels("m", &other), vec![(later_ms, 1.0)])]);
    let refused = store.append(&request).unwrap();
    assert_eq!((refused.refused, refused.refusals[0].reason), (1, Refusal::TooManySeries));

    store.append(&write([(labels("m", ""), vec![(later_ms, 1.0)])])).unwrap();
    store.compact().unwrap();
    assert_eq!(store.append(&request).unwrap().accepted, 1, "the old one was forgotten");
}

#[test]
fn labels_are_answered_for_a_range() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store
        .append(&write([
            (labels("early", "a"), vec![(1_000, 1.0)]),
            (labels("late", "b"), vec![(9_000, 1.0)]),
        ]))
        .unwrap();
    let all = (i64::MIN, i64::MAX);
    assert_eq!(store.label_names(&[], all.0, all.1, NEVER).unwrap(), ["__name__", "instance"]);
    assert_eq!(store.label_values("instance", &[], all.0, all.1, NEVER).unwrap(), ["a", "b"]);
    assert_eq!(store.label_values("instance", &[], 0, 5_000, NEVER).unwrap(), ["a"]);
    assert_eq!(store.label_values("nope", &[], all.0, all.1, NEVER).unwrap(), Vec::<String>::new());
    let not_a = Matcher::new("instance", MatchOp::NotRegex, "a|x").unwrap();
    let early = Matcher::equal("__name__", "early");
    assert_eq!(
        store.series(&[vec![not_a.clone()], vec![early]], all.0, all.1, NEVER).unwrap(),
        [labels("early", "a"), labels("late", "b")]
    );
    assert_eq!(store.series(&[vec![not_a]], 0, 5_000, NEVER).unwrap(), []);
    let missing = Matcher::equal("nope", "");
    assert_eq!(store.select(&[missing], 0, 5_000).unwrap().len(), 1, "a missing label is empty");
}

/// What the state of the alerts is kept as: rows that are found by the beginning of their keys.
#[test]
fn documents_are_changed_together_and_found_by_their_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let keys = |store: &Store, prefix: &str| {
        let found = store.documents(prefix).unwrap();
        assert!(found.damaged.is_empty());
        found
            .whole
            .into_iter()
            .map(|(key, text)| (key, String::from_utf8(text).unwrap()))
            .collect::<Vec<_>>()
    };
    let pair = |key: &str, text: &str| (key.to_owned(), text.to_owned());
    {
        let store = open(dir.path());
        let put = |text: &'static str| Some(text.as_bytes());
        store
            .documents_put(&[
                ("queue/2", put("two")),
                ("queue/1", put("one")),
                ("queue", put("none of them")),
                ("queue0", put("nor this")),
                ("queue/ü", put("umlaut")),
                ("rule/1", put("rule")),
            ])
            .unwrap();
        store.documents_put(&[("queue/2", None), ("never", None), ("rule/1", put("new"))]).unwrap();
        store.documents_put(&[("queue/1", None), ("queue/1", put("again"))]).unwrap();
        store.documents_put(&[]).unwrap();
    }
    let store = open(dir.path());
    assert_eq!(keys(&store, "queue/"), [pair("queue/1", "again"), pair("queue/ü", "umlaut")]);
    assert_eq!(keys(&store, "rule/"), [pair("rule/1", "new")]);
    assert_eq!(keys(&store, "zzz"), []);
    assert_eq!(keys(&store, "").len(), 5);
}

#[test]
fn documents_and_metadata_outlive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = |help: &str| Metadata {
        family: "m".to_owned(),
        kind: Kind::Counter,
        help: help.to_owned(),
        unit: String::new(),
    };
    {
        let store = open(dir.path());
        for help in ["first", "second"] {
            let mut request = one("m", &[]);
            request.metadata.push(metadata(help));
            store.append(&request).unwrap();
        }
        store.document_put("alerts", b"old").unwrap();
        store.document_put("alerts", b"new").unwrap();
    }
    let store = open(dir.path());
    assert_eq!(store.metadata(), [metadata("second")]);
    assert_eq!(store.document_get("alerts").unwrap().as_deref(), Some(&b"new"[..]));
    assert_eq!(store.document_get("nope").unwrap(), None);
    assert_eq!(store.stats().series, 0, "a series without samples is not kept");
}

#[test]
fn retention_drops_whole_blobs_and_ended_series() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let options = Options {
        retention_ms: Some(10 * DAY_MS),
        rollups_ms: [Some(0); 2],
        ..Options::new(clock.clone())
    };
    let store = open_with(dir.path(), options.clone());
    store.append(&write([(labels("ended", "a"), vec![(NOW_MS, 1.0)])])).unwrap();
    store.append(&one("m", &[(NOW_MS, 1.0)])).unwrap();
    store.compact().unwrap();

    // A clock that jumps ahead takes nothing with it.
    let done = store.maintain(NOW_MS + 9_000 * DAY_MS).unwrap();
    assert_eq!((done.dropped_blobs, done.dropped_series), (0, 0));

    clock.advance_ms(11 * DAY_MS);
    store.append(&one("m", &[(NOW_MS + 11 * DAY_MS, 2.0)])).unwrap();
    let done = store.maintain(NOW_MS + 11 * DAY_MS).unwrap();
    assert_eq!((done.dropped_blobs, done.dropped_series), (1, 1));
    assert_eq!(samples(&store, "m"), [(NOW_MS + 11 * DAY_MS, 2.0)]);
    assert_eq!(samples(&store, "ended"), []);

    // The id of the series that is gone is not given to another one.
    store.append(&one("new", &[(NOW_MS + 11 * DAY_MS, 3.0)])).unwrap();
    drop(store);
    let store = open_with(dir.path(), options);
    assert_eq!(everything(&store).len(), 2);
    assert_eq!(samples(&store, "new"), [(NOW_MS + 11 * DAY_MS, 3.0)]);
}

#[test]
fn a_read_beyond_the_bound_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), Options { read_samples_max: 3, ..options() });
    store.append(&one("m", &[(1, 1.0), (2, 1.0), (3, 1.0)])).unwrap();
    assert_eq!(everything(&store)[0].len(), 3);
    store.append(&one("m", &[(4, 1.0)])).unwrap();
    for _ in 0..2 {
        let error = store.select(&[], 0, 10).unwrap_err();
        assert!(matches!(error, ReadError::TooManySamples { max: 3 }), "{error}");
        store.compact().unwrap();
    }
}

#[test]
fn a_full_head_is_sealed_by_its_writers() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), Options { head_samples_max: 10, ..options() });
    for at in 1..=35 {
        store.append(&one("m", &[(at, 1.0)])).unwrap();
    }
    let stats = store.stats();
    assert_eq!((stats.head_samples, stats.sealed_samples, stats.blobs), (5, 30, 3));
    assert_eq!(samples(&store, "m").len(), 35);
}

#[test]
fn a_directory_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let error = Store::open(dir.path(), options()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(store);
    open(dir.path());
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Store::open(&file.join("data"), options()).unwrap_err();
    assert!(matches!(error, OpenError::CreateDir { .. }), "{error:?}");
    assert!(error.to_string().contains("file/data"), "{error}");
}

#[test]
fn a_closed_store_refuses_writes_and_still_reads() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.append(&one("m", &[(1, 1.0)])).unwrap();
    store.close().unwrap();
    let error = store.append(&one("m", &[(2, 1.0)])).unwrap_err();
    assert!(matches!(error, AppendError::Closed));
    assert_eq!(samples(&store, "m"), [(1, 1.0)]);
}

#[test]
fn only_sqlite_files_lie_in_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.append(&one("m", &[(1, 1.0)])).unwrap();
    let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["labstat.db", "labstat.db-shm", "labstat.db-wal"]);
    let stats = store.stats();
    assert_eq!((stats.series, stats.label_pairs, stats.oldest_ms), (1, 2, Some(1)));
    assert_eq!(stats.metric_names, [("m".to_owned(), 1)]);
}

/// What a user without rights is told. Root may write anywhere, so there it is not tested.
#[cfg(unix)]
#[test]
fn a_directory_without_rights_is_named_with_the_cure() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
    if std::fs::write(dir.path().join("probe"), "").is_ok() {
        println!("SKIPPED: this user may write anywhere");
        return;
    }
    let error = Store::open(dir.path(), options()).unwrap_err();
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error:?}");
    assert!(error.to_string().contains("give it to the user that runs labstat"), "{error}");
}

/// A group that is larger than a record of the log is written as several, and read again.
#[test]
fn a_large_write_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let written: Vec<(i64, f64)> =
        (0..150_000).map(|at| (NOW_MS + i64::from(at), f64::from(at) / 8.0)).collect();
    let store = open(dir.path());
    assert_eq!(store.append(&one("m", &written)).unwrap().accepted, written.len());
    store.append(&one("m", &[(NOW_MS + 150_000, 1.5)])).unwrap();
    drop(store);
    let store = open(dir.path());
    let mut wanted = written;
    wanted.push((NOW_MS + 150_000, 1.5));
    assert_eq!(samples(&store, "m"), wanted);
    store.compact().unwrap();
    drop(store);
    assert_eq!(samples(&open(dir.path()), "m"), wanted, "the log was emptied behind the seal");
}
