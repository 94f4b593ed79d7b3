//! Calls that may hang in the kernel, made on a thread that can be left behind.
//!
//! A read of a dying device or a `statvfs` of a server that is gone blocks and cannot be ended.
//! So such calls run on a worker; when the deadline passes, the worker is abandoned with the call
//! it hangs in, that call is not made again until the worker comes back, and a new worker serves
//! the next ones. One hand-over serves a whole list of calls, so patience costs little.
//!
//! Lists handed over at the same time run side by side, each on a worker of its own: a daemon that
//! takes its time never holds up the sensors.

use std::collections::HashSet;
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Calls that may hang at one time. Each holds a thread; a machine on which more of them hang has
/// other worries.
const HUNG_MAX: usize = 16;

/// Workers kept for the next list. Two sources are asked at once in the ordinary agent: those of
/// the round, and a slow one.
const IDLE_MAX: usize = 2;

type Job = Box<dyn FnOnce() + Send>;

/// Keeps idle workers and the list of calls that hang.
#[derive(Debug, Default)]
pub(super) struct Patience {
    idle: Mutex<Vec<Sender<Job>>>,
    hung: Arc<Mutex<HashSet<String>>>,
}

/// What the worker and the one who waits share.
struct Progress<T> {
    results: Vec<io::Result<T>>,
    finished: bool,
    abandoned: bool,
}

impl Patience {
    /// Calls `call` for each key in turn and gives the results in their order. What is not done
    /// by the deadline is [`io::ErrorKind::TimedOut`]; so is a key whose last call still hangs.
    pub(super) fn all<T: Send + 'static>(
        &self,
        keys: &[String],
        deadline: Duration,
        call: impl Fn(&str) -> io::Result<T> + Send + 'static,
    ) -> Vec<io::Result<T>> {
        let until = Instant::now() + deadline;
        let hung = lock(&self.hung);
        let todo: Vec<String> = keys.iter().filter(|key| !hung.contains(*key)).cloned().collect();
        let room = hung.len() < HUNG_MAX;
        let skipped = hung.clone();
        drop(hung);
        let mut done =
            if room { self.call_all(&todo, until, call) } else { Vec::new() }.into_iter();
        keys.iter()
            .map(|key| match skipped.contains(key) {
                true => Err(timed_out()),
                false => done.next().unwrap_or_else(|| Err(timed_out())),
            })
            .collect()
    }

    /// How many calls hang at this moment.
    pub(super) fn hung(&self) -> usize {
        lock(&self.hung).len()
    }

    fn call_all<T: Send + 'static>(
        &self,
        keys: &[String],
        until: Instant,
        call: impl Fn(&str) -> io::Result<T> + Send + 'static,
    ) -> Vec<io::Result<T>> {
        let empty = Progress {
            results: Vec::with_capacity(keys.len()),
            finished: keys.is_empty(),
            abandoned: false,
        };
        let shared = Arc::new((Mutex::new(empty), Condvar::new()));
        let job = work(Arc::clone(&shared), Arc::clone(&self.hung), keys.to_vec(), call);
        let idle = lock(&self.idle).pop();
        let worker = match give(idle, job) {
            Ok(worker) => worker,
            Err(cause) => return vec![Err(cause)],
        };
        let (progress, changed) = &*shared;
        let mut progress = lock(progress);
        while !progress.finished {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                progress.abandoned = true;
                if let Some(key) = keys.get(progress.results.len()) {
                    lock(&self.hung).insert(key.clone());
                }
                // Its line is cut: when the call comes back, the worker ends.
                return std::mem::take(&mut progress.results);
            }
            let (guard, _) =
                changed.wait_timeout(progress, left).unwrap_or_else(PoisonError::into_inner);
            progress = guard;
        }
        let results = std::mem::take(&mut progress.results);
        drop(progress);
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE_MAX {
            idle.push(worker);
        }
        results
    }
}

/// The job of the worker: all calls in turn, until it is abandoned.
fn work<T: Send + 'static>(
    shared: Arc<(Mutex<Progress<T>>, Condvar)>,
    hung: Arc<Mutex<HashSet<String>>>,
    keys: Vec<String>,
    call: impl Fn(&str) -> io::Result<T> + Send + 'static,
) -> Job {
    Box::new(move || {
        let (progress, changed) = &*shared;
        for key in &keys {
            let result = call(key);
            let mut progress = lock(progress);
            if progress.abandoned {
                lock(&hung).remove(key);
                return;
            }
            progress.results.push(result);
        }
        lock(progress).finished = true;
        changed.notify_one();
    })
}

/// Hands `job` to the idle worker, or to a new one when there is none, and gives the worker back.
fn give(idle: Option<Sender<Job>>, job: Job) -> io::Result<Sender<Job>> {
    let job = match idle {
        Some(sender) => match sender.send(job) {
            Ok(()) => return Ok(sender),
            // The worker ended, as by a panic in a call: the next one takes the job.
            Err(back) => back.0,
        },
        None => job,
    };
    let (sender, jobs) = channel::<Job>();
    std::thread::Builder::new().name("labstat-patience".to_owned()).spawn(move || {
        while let Ok(job) = jobs.recv() {
            job();
        }
    })?;
    // The receiver was made a moment ago and lives as long as its sender.
    let _ = sender.send(job);
    Ok(sender)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long enough for a busy test machine to start a thread, short enough to wait for.
    const SHORT: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_secs(20);

    fn keys(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_hung_call_is_left_behind_and_taken_up_again_when_it_returns() {
        let patience = Patience::default();
        let (release, gate) = channel::<()>();
        let gate = Mutex::new(gate);
        let call = move |key: &str| match key {
            "hangs" => lock(&gate).recv().map(|()| 0).map_err(io::Error::other),
            _ => Ok(key.len()),
        };
        let first = patience.all(&keys(&["a", "hangs", "bb"]), SHORT, call);
        assert_eq!(first[0].as_ref().unwrap(), &1, "what was done before it counts");
        assert_eq!(first[1].as_ref().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(first[2].as_ref().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(patience.hung(), 1);

        let again = patience.all(&keys(&["hangs", "bb"]), LONG, |key| Ok(key.len()));
        assert!(again[0].is_err(), "not called again while it hangs");
        assert_eq!(again[1].as_ref().unwrap(), &2, "the others go on");

        release.send(()).unwrap();
        let until = Instant::now() + LONG;
        while patience.hung() > 0 && Instant::now() < until {
            std::thread::yield_now();
        }
        let back = patience.all(&keys(&["hangs"]), LONG, |key| Ok(key.len()));
        assert_eq!(back[0].as_ref().unwrap(), &5);
    }

    #[test]
    fn a_slow_call_holds_up_nobody_else() {
        let patience = Patience::default();
        let (begun, begins) = channel::<()>();
        let (release, gate) = channel::<()>();
        let (begun, gate) = (Mutex::new(begun), Mutex::new(gate));
        std::thread::scope(|scope| {
            let slow = scope.spawn(|| {
                patience.all(&keys(&["slow"]), LONG, move |_| {
                    lock(&begun).send(()).map_err(io::Error::other)?;
                    lock(&gate).recv_timeout(LONG).map(|()| 1).map_err(io::Error::other)
                })
            });
            begins.recv_timeout(LONG).unwrap();
            let quick = patience.all(&keys(&["quick"]), LONG, |_| Ok(2));
            assert_eq!(quick[0].as_ref().unwrap(), &2);
            assert!(!slow.is_finished(), "the quick one did not wait for the slow one");
            release.send(()).unwrap();
            assert_eq!(slow.join().unwrap()[0].as_ref().unwrap(), &1);
        });
    }

    #[test]
    fn workers_are_taken_up_again() {
        let patience = Patience::default();
        for _ in 0..100 {
            let name = |_: &str| Ok(std::thread::current().id());
            let first = patience.all(&keys(&["a"]), LONG, name);
            let second = patience.all(&keys(&["a"]), LONG, name);
            assert_eq!(first[0].as_ref().unwrap(), second[0].as_ref().unwrap());
        }
        assert_eq!(lock(&patience.idle).len(), 1);
    }

    #[test]
    fn too_many_hung_calls_stop_new_ones() {
        let patience = Patience::default();
        for n in 0..HUNG_MAX {
            lock(&patience.hung).insert(n.to_string());
        }
        let result = patience.all(&keys(&["x"]), LONG, |_| Ok(1));
        assert!(result[0].is_err());
    }
}
