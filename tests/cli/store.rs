//! `backup` and `store`: the history's files, with no server.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use labstat_model::{Labels, ManualClock, Sample, TimeSeries, WriteRequest};
use labstat_store::{Options, Store};

use crate::support::command;

const NOW_MS: i64 = 1_763_703_836_000;

fn fill(dir: &Path) {
    let options = Options::new(Arc::new(ManualClock::new(NOW_MS)));
    let (store, _) = Store::open(dir, options).unwrap();
    for day in 0..3 {
        let series = (0..20).map(|at| TimeSeries {
            labels: Labels::new([("__name__", "node_load1"), ("instance", &format!("n{at}"))]),
            samples: (0..100)
                .map(|step| Sample {
                    time_ms: NOW_MS - day * 86_400_000 - step * 15_000,
                    value: (f64::from(at) + step as f64).sqrt(),
                })
                .collect(),
        });
        store.append(&WriteRequest { series: series.collect(), metadata: Vec::new() }).unwrap();
        store.compact().unwrap();
    }
    store.close().unwrap();
}

fn run(arguments: &[&str], dir: &Path) -> Output {
    let mut command = command(arguments);
    command.arg("--data").arg(dir).env("TZ", "UTC").output().expect("the binary runs")
}

fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_backup_is_made_restored_and_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fill(&data);
    let restored = dir.path().join("restored");
    fs::create_dir(&restored).unwrap();
    let file = restored.join("labstat.db");
    let name = file.to_str().unwrap();
    let (code, out, err) = told(&run(&["backup", name], &data));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(
        out.starts_with(&format!("{name}: ")) && out.ends_with(" 20 series, 6000 samples\n"),
        "{out}"
    );
    assert_eq!(fs::read_dir(&restored).unwrap().count(), 1);

    let (code, _, err) = told(&run(&["backup", name], &data));
    assert_eq!(code, Some(1));
    assert!(err.contains("exists") && err.contains("--force"), "{err}");
    let (code, out, _) = told(&run(&["backup", "--force", "--no-check", name], &data));
    assert_eq!(code, Some(0));
    assert!(out.ends_with(", not checked\n"), "{out}");
    let (code, out, _) = told(&run(&["store", "check"], &restored));
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("whole: 20 series, 6000 samples in "), "{out}");

    let (code, _, err) = told(&run(&["backup", dir.path().to_str().unwrap()], &data));
    assert_eq!(code, Some(1));
    assert!(err.contains("is a folder"), "{err}");
    // Its own files, under whatever name, and what is no file at all.
    let before = fs::read(data.join("labstat.db")).unwrap();
    for own in ["labstat.db", "labstat.db-wal", "../data/labstat-queue.db"] {
        let own = data.join(own);
        let (code, _, err) = told(&run(&["backup", "--force", own.to_str().unwrap()], &data));
        assert_eq!(code, Some(1), "{}", own.display());
        assert!(err.contains("is in the folder of the history itself"), "{err}");
    }
    assert!(fs::read(data.join("labstat.db")).unwrap() == before);
    let socket = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let (code, _, err) = told(&run(&["backup", "--force", socket.to_str().unwrap()], &data));
    assert_eq!(code, Some(1));
    assert!(err.contains("is not an ordinary file"), "{err}");
    let (code, _, err) = told(&run(&["backup", "/nowhere/at/all.db"], &data));
    assert_eq!(code, Some(1));
    assert!(err.contains("/nowhere/at/all.db"), "{err}");
}

#[test]
fn a_backup_of_an_older_history_says_that_nobody_looked() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let old = concat!(env!("CARGO_MANIFEST_DIR"), "/aggregator/store/tests/data/format-1.db");
    fs::copy(old, data.join("labstat.db")).unwrap();
    let copy = dir.path().join("copy.db");
    let (code, out, err) = told(&run(&["backup", copy.to_str().unwrap()], &data));
    assert_eq!(code, Some(0), "{err}");
    assert!(copy.exists() && out.ends_with(", not checked\n"), "{out}");
    assert!(err.contains("another version is copied, not checked"), "{err}");
    let (code, _, err) = told(&run(&["store", "check"], &data));
    assert_eq!(code, Some(2));
    assert!(err.contains("has format 1"), "{err}");
}

#[test]
fn a_folder_without_a_history_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for (arguments, wanted) in [
        (&["store", "check"][..], 2),
        (&["store", "stats"], 1),
        (&["store", "compact"], 1),
        (&["backup", "/tmp/not.db"], 1),
    ] {
        let (code, out, err) = told(&run(arguments, dir.path()));
        assert_eq!((code, out.as_str()), (Some(wanted), ""), "{arguments:?}");
        assert!(err.contains("there is no history in "), "{err}");
        assert!(err.contains("--data"), "{err}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "none is made");
    }
}

#[test]
fn damage_is_found_and_what_it_costs_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    fill(dir.path());
    let path = dir.path().join("labstat.db");
    let pristine = fs::read(&path).unwrap();
    // Pages of a blob are among the last; others may be in no use.
    let out = (1..12).find_map(|page| {
        let mut file = pristine.clone();
        let at = file.len() - page * 4096 + 2000;
        file[at] ^= 4;
        fs::write(&path, file).unwrap();
        let (code, out, _) = told(&run(&["store", "check"], dir.path()));
        (code == Some(1) && out.contains(" samples lost; ")).then_some(out)
    });
    let out = out.expect("some page is of a blob");
    assert!(out.contains("blob ") && out.contains("node_load1"), "{out}");
    assert!(out.contains("1 damage, 2000 samples lost; "), "{out}");
    let (code, out, _) = told(&run(&["store", "check", "--format", "json"], dir.path()));
    assert_eq!(code, Some(1), "{out}");
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found[0]["samples"], 2000.0, "{out}");

    let copy = elsewhere.path().join("copy.db");
    let (code, _, err) = told(&run(&["backup", copy.to_str().unwrap()], dir.path()));
    assert_eq!(code, Some(1));
    assert!(copy.exists() && err.contains("so has its backup"), "{err}");
}

#[test]
fn sizes_are_told_by_section() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let (code, out, _) = told(&run(&["store", "stats"], dir.path()));
    assert_eq!(code, Some(0), "{out}");
    for word in [
        "SECTION",
        "file",
        "free pages",
        "growth a day",
        "parts",
        "node_load1",
        "instance",
        "2025-11-21",
    ] {
        assert!(out.contains(word), "{word}: {out}");
    }
    let (_, out, _) = told(&run(&["store", "stats", "--by", "day", "--format", "csv"], dir.path()));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 4, "{out}");
    assert!(lines[1].starts_with("day,2025-11-21,") && lines[1].contains(",,2000,"), "{out}");
}

#[test]
fn a_history_that_nobody_has_is_compacted_here() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let output = run(&["store", "compact"], dir.path());
    let (code, out, err) = told(&output);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.starts_with("compressed 0 samples, merged "), "{out}");
    // With what retention an aggregator is run there, nobody knows here.
    let config = dir.path().join("aggregator.toml");
    fs::write(&config, "retention = \"1d\"\n[rollups]\nfive_minutes = \"1d\"\none_hour = \"1d\"\n")
        .unwrap();
    let compact = ["store", "compact", "--config", config.to_str().unwrap()];
    let (code, out, err) = told(&run(&compact, dir.path()));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.ends_with("dropped 0 blobs\n"), "{out}");
    let (_, out, _) = told(&run(&["store", "check"], dir.path()));
    assert!(out.contains("whole: 20 series, 6000 samples in "), "{out}");
    // Somebody has it, who answers nowhere.
    let options = Options::new(Arc::new(ManualClock::new(NOW_MS)));
    let _store = Store::open(dir.path(), options).unwrap();
    let (code, _, err) =
        told(&run(&["store", "compact", "--server", "http://127.0.0.1:9"], dir.path()));
    assert_eq!(code, Some(1));
    assert!(
        err.contains("is in use by another process: failed to reach http://127.0.0.1:9"),
        "{err}"
    );
}
