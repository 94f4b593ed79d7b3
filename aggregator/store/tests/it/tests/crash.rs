//! A process that is killed loses nothing it has acknowledged.
//!
//! The test starts itself again as the writer, kills it (SIGKILL) at a moment that differs by
//! trial, and opens what it left.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::common::{everything, labels, open_with, options, write};
use labstat_store::{Options, Store};

const DIR_ENV: &str = "LABSTAT_STORE_CRASH_DIR";
const TRIALS: usize = 6;
const THREADS: usize = 3;

fn crash_options() -> Options {
    // Small enough that every trial seals and merges many times.
    Options { head_samples_max: 200, seal_after_ms: 0, ..options() }
}

/// The writer: says every time that was acknowledged, and never ends by itself. Does nothing when
/// it is run as a test.
#[test]
#[expect(clippy::disallowed_methods, reason = "how the test talks to the process it starts")]
fn writer() {
    let Ok(dir) = std::env::var(DIR_ENV) else { return };
    let (store, _) = Store::open(dir.as_ref(), crash_options()).unwrap();
    let store = &store;
    let from: i64 = everything(store).iter().map(|series| series.len() as i64).max().unwrap_or(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for time_ms in from.. {
                    let name = format!("t{thread}");
                    let both = ["a", "b"].map(|at| (labels(&name, at), vec![(time_ms, 0.5)]));
                    store.append(&write(both)).unwrap();
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "ack {thread} {time_ms}").unwrap();
                    out.flush().unwrap();
                }
            });
        }
        scope.spawn(|| {
            loop {
                store.maintain(super::common::NOW_MS).unwrap();
            }
        });
    });
}

#[test]
fn a_killed_writer_loses_nothing_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(usize, i64)> = Vec::new();
    for trial in 0..TRIALS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::crash::writer", "--nocapture"])
            .env(DIR_ENV, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut acks = Vec::new();
        let mut note = |line: &str| {
            // The test harness writes on the same line before the first acknowledgement.
            let Some((_, ack)) = line.split_once("ack ") else { return };
            let Some((thread, time_ms)) = ack.split_once(' ') else { return };
            if let (Ok(thread), Ok(time_ms)) = (thread.parse(), time_ms.parse()) {
                acks.push((thread, time_ms));
            }
        };
        for line in lines.by_ref().take(100 + 37 * trial) {
            note(&line);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // A line that was cut off was not fully said; the ones before it were.
        let rest: Vec<String> = lines.collect();
        rest.iter().take(rest.len().saturating_sub(1)).for_each(|line| note(line));
        assert!(acks.len() >= 50, "the writer hardly wrote: {acks:?}");
        acknowledged.extend(acks);

        let store = open_with(dir.path(), crash_options());
        let all = everything(&store);
        for (thread, time_ms) in &acknowledged {
            for at in ["a", "b"] {
                let series = labels(&format!("t{thread}"), at);
                let found = all.iter().find(|found| found.labels == series).unwrap();
                let found = found.times.binary_search(time_ms);
                assert!(found.is_ok(), "trial {trial}: {series:?} at {time_ms} is lost");
            }
        }
        for pair in all.chunks(2) {
            assert_eq!(pair[0].times, pair[1].times, "half a request");
            assert!(pair[0].times.windows(2).all(|two| two[0] < two[1]), "a sample is doubled");
        }
    }
}
