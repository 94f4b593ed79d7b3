//! Many writers and readers at once.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

use super::common::{NOW_MS, everything, labels, open, open_with, options, write};
use labstat_model::{Clock, Matcher};
use labstat_store::Options;

const WRITERS: usize = 8;
const ROUNDS: i64 = 40;

#[test]
fn writers_share_their_waits_for_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let start = Barrier::new(WRITERS);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (store, start) = (&store, &start);
            scope.spawn(move || {
                start.wait();
                for round in 0..ROUNDS {
                    let name = format!("w{writer}");
                    let request = write([(labels(&name, "a"), vec![(NOW_MS + round, 1.0)])]);
                    assert_eq!(store.append(&request).unwrap().accepted, 1);
                }
            });
        }
    });
    let stats = store.stats();
    assert_eq!(stats.appends, WRITERS as u64 * ROUNDS.cast_unsigned());
    assert!(stats.commits < stats.appends, "{} of {}", stats.commits, stats.appends);
    drop(store);
    let store = open(dir.path());
    let all = everything(&store);
    assert_eq!(all.len(), WRITERS);
    assert!(all.iter().all(|series| series.len() == 40));
}

/// All writers send the same, so that every sample but one of each is a duplicate of something
/// that is staged, on its way to the disk, in the head, being sealed, or in a blob.
#[test]
fn the_same_sample_from_many_writers_is_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), Options { head_samples_max: 64, ..options() });
    let accepted: usize = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                scope.spawn(|| {
                    let rounds = (0..ROUNDS).map(|round| {
                        let samples = vec![(round, 1.0), (round + 1, 1.0), (1_000 - round, 1.0)];
                        let appended = store.append(&write([(labels("m", "a"), samples)])).unwrap();
                        assert_eq!(appended.refused, 0);
                        appended.accepted
                    });
                    rounds.sum::<usize>()
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    });
    assert_eq!(accepted, 81);
    assert_eq!(everything(&store)[0].len(), 81);
}

/// A reader sees whole requests, each sample once, while samples move from log to head to blob to
/// larger blob.
#[test]
fn readers_see_whole_requests_while_everything_moves() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), Options { seal_after_ms: 0, ..options() });
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..150 {
                let time_ms = NOW_MS - 1_000_000 + round;
                let both = ["a", "b"].map(|at| (labels("m", at), vec![(time_ms, 1.0)]));
                store.append(&write(both)).unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                store.maintain(NOW_MS).unwrap();
                store.compact().unwrap();
            }
        });
        let mut last = 0;
        while !done.load(Ordering::SeqCst) {
            let all = store.select(&[Matcher::equal("__name__", "m")], 0, i64::MAX).unwrap();
            let Some(first) = all.first() else { continue };
            assert!(all.iter().all(|series| series.times == first.times), "half a request");
            assert!(first.len() >= last, "{} after {last}", first.len());
            last = first.len();
        }
    });
    assert_eq!(everything(&store)[0].len(), 150);
}

/// A clock that panics at the second look that is taken at it: that of the commit, which the first
/// writer makes for itself and for those behind it.
#[derive(Debug, Default)]
struct BrokenClock(AtomicI64);

impl Clock for BrokenClock {
    fn now_ms(&self) -> i64 {
        assert_ne!(self.0.fetch_add(1, Ordering::SeqCst), 1, "the panic that is tested");
        NOW_MS
    }
}

#[test]
fn nobody_waits_for_a_leader_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(BrokenClock(AtomicI64::new(2)));
    let store = Arc::new(open_with(dir.path(), Options::new(clock.clone())));
    clock.0.store(0, Ordering::SeqCst);
    let (told, tells) = mpsc::channel();
    for writer in 0..3 {
        let (store, told) = (store.clone(), told.clone());
        std::thread::spawn(move || {
            let request = write([(labels("m", &writer.to_string()), vec![(NOW_MS, 1.0)])]);
            // Taken down with the thread that panics; the other threads tell.
            let _ = told.send(store.append(&request));
        });
    }
    let told: Vec<_> = (0..2).map(|_| tells.recv_timeout(Duration::from_secs(10))).collect();
    let stored = told.iter().filter(|told| matches!(told, Ok(Ok(_)))).count();
    assert!(told.iter().all(Result::is_ok), "a writer waits: {told:?}");
    assert_eq!(everything(&store).len(), stored, "{told:?}");
    // What was lost may be sent again, and the store goes on.
    for writer in 0..3 {
        store.append(&write([(labels("m", &writer.to_string()), vec![(NOW_MS, 1.0)])])).unwrap();
    }
    assert_eq!(everything(&store).len(), 3);
}
