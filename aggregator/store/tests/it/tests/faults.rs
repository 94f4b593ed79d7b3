//! Disks that fail while a store runs: full, read-only, or with I/O errors. Reads go on or say why
//! not, writes are refused, and when the disk is well again so is the store, without a restart.
//!
//! The test starts itself again with a library in front of the system's (`faults.c`), which lets
//! calls on the database's files fail.

use std::path::Path;
use std::process::Command;

use super::common::{NOW_MS, everything, labels, open_with, options, write};
use labstat_store::{Options, Store};

const DIR_ENV: &str = "LABSTAT_STORE_FAULTS_DIR";
const CONTROL_ENV: &str = "LABSTAT_FAULTS";

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

fn faulty_options() -> Options {
    Options { seal_after_ms: 0, cache_size_max_bytes: 0, ..options() }
}

/// A store, the faults of its disk, and what it has acknowledged.
struct Trial<'a> {
    store: Store,
    control: &'a Path,
    faults: usize,
    at: i64,
    acknowledged: Vec<i64>,
}

impl Trial<'_> {
    fn fault(&mut self, call: &str, code: i32, skip: usize, once: bool) {
        self.faults += 1;
        let text = format!("{} {call} {code} {skip} {}", self.faults, u8::from(once));
        std::fs::write(self.control, text).unwrap();
    }

    fn heal(&self) {
        std::fs::remove_file(self.control).unwrap();
    }

    fn append(&mut self) -> bool {
        self.at += 1;
        let value = |at: i64| (at as f64).sqrt();
        let series = (0..8).map(|series| {
            let name = format!("m{series}");
            (labels(&name, "a"), vec![(NOW_MS - 86_400_000 + self.at, value(self.at + series))])
        });
        let kept = self.store.append(&write(series)).is_ok();
        if kept {
            self.acknowledged.push(NOW_MS - 86_400_000 + self.at);
        }
        kept
    }

    /// All that was acknowledged is there; of what was refused nothing is required.
    fn check(&self, what: &str) {
        let all = everything(&self.store);
        assert_eq!(all.len(), 8, "{what}");
        for series in all {
            let lost =
                self.acknowledged.iter().filter(|at| series.times.binary_search(at).is_err());
            assert_eq!(lost.count(), 0, "{what}: {:?}", series.labels);
            assert!(series.times.windows(2).all(|two| two[0] < two[1]), "{what}: doubled");
        }
    }

    /// Every kind of work while the disk fails: it may fail, and must not panic or lose anything.
    fn work(&mut self) {
        for _ in 0..4 {
            self.append();
            let _ = self.store.maintain(NOW_MS);
        }
        let _ = self.store.document_put("state", b"new");
        let _ = self.store.compact();
    }
}

/// Does nothing when it is run as a test.
#[test]
#[expect(clippy::disallowed_methods, reason = "how the test talks to the process it starts")]
fn child() {
    let (Ok(dir), Ok(control)) = (std::env::var(DIR_ENV), std::env::var(CONTROL_ENV)) else {
        return;
    };
    let store = open_with(dir.as_ref(), faulty_options());
    let control = Path::new(&control);
    let mut trial = Trial { store, control, faults: 0, at: 0, acknowledged: Vec::new() };
    for _ in 0..10 {
        assert!(trial.append());
    }
    trial.store.compact().unwrap();
    assert!(trial.append());

    // A disk that takes nothing more: reads go on.
    for (call, code) in
        [("write", EROFS), ("write", ENOSPC), ("write", EIO), ("sync", EIO), ("truncate", EIO)]
    {
        let what = format!("{call} {code}");
        trial.fault(call, code, 0, false);
        let kept = trial.append();
        assert!(!kept || call == "truncate", "{what}: nothing can be on the disk");
        trial.check(&what);
        trial.work();
        trial.check(&what);
        trial.heal();
        assert!(trial.append(), "{what}: it goes on by itself");
        trial.store.maintain(NOW_MS).unwrap();
        trial.check(&what);
    }
    // One call fails, any of them.
    for (call, code) in [("write", ENOSPC), ("write", EIO), ("sync", EIO)] {
        for skip in 0..40 {
            let what = format!("{call} {code}, the {skip}th");
            trial.fault(call, code, skip, true);
            trial.work();
            trial.heal();
            assert!(trial.append(), "{what}: it goes on by itself");
            trial.check(&what);
        }
    }
    // What cannot be read is an error and no wrong answer, and nothing is damaged by it.
    for skip in 0..30 {
        trial.fault("read", EIO, skip, true);
        if let Ok(all) = trial.store.select(&[], i64::MIN, i64::MAX) {
            let lens: Vec<usize> = all.iter().map(labstat_model::Series::len).collect();
            let least = trial.acknowledged.len();
            let damaged = trial.store.stats().damaged_blobs;
            assert!(lens.iter().all(|len| *len >= least), "{skip}: {lens:?} of {least}, {damaged}");
        }
        trial.work();
        trial.heal();
        trial.check("a read failed");
        assert_eq!(trial.store.stats().damaged_blobs, 0);
    }
    assert!(trial.append());
    trial.store.close().unwrap();
    println!("acknowledged {}", trial.acknowledged.len());
}

#[test]
fn a_failing_disk_loses_nothing_and_heals() {
    let dir = tempfile::tempdir().unwrap();
    let library = dir.path().join("faults.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults.c");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(source)
        .output();
    if !compiled.as_ref().is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: no library can be compiled here: {compiled:?}");
        return;
    }
    let data = dir.path().join("data");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::faults::child", "--nocapture"])
        .env(DIR_ENV, &data)
        .env(CONTROL_ENV, dir.path().join("control"))
        .env("LD_PRELOAD", &library)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{errors}");
    let (_, count) = told.split_once("acknowledged ").expect("it came to its end");
    let count: usize = count.lines().next().unwrap().trim().parse().unwrap();
    assert!(count > 200, "{count}");
    let store = open_with(&data, faulty_options());
    assert!(everything(&store).iter().all(|series| series.len() >= count));
}
