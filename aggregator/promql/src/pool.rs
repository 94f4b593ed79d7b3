//! Turns: how the queries of an engine share the cores.
//!
//! A query that has much to do brings helping threads of its own, and takes its work in morsels,
//! each of a few milliseconds. Before a morsel it takes a turn, of which there are as many as
//! threads are allowed; turns are given in the order in which they were asked for, so of two
//! queries neither waits longer than for a morsel of the other's threads. A query of one morsel, or
//! of a few short ones, is done on the thread that asked and hands nothing over.
//!
//! What the morsels give is taken in their order, so that an answer does not depend on how many
//! threads there were. A thread that is far ahead of the others waits: what was not taken yet is
//! held in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::QueryError;
use crate::budget::Budget;

/// Less work than this is not worth a thread, which takes about a tenth of it to start.
const WORTH_A_THREAD: Duration = Duration::from_micros(500);

/// Morsels done ahead of the one that is to be taken next, for each thread.
const AHEAD: usize = 4;

/// How often one that waits for its turn looks whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The turns of an engine.
#[derive(Debug)]
pub(crate) struct Pool {
    threads: usize,
    turns: Mutex<Turns>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Turns {
    running: usize,
    waiting: VecDeque<u64>,
    next: u64,
}

/// The right to run on a core, until it is dropped.
struct Turn<'p>(&'p Pool);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.0.turns).running -= 1;
        self.0.freed.notify_all();
    }
}

/// A lock whose holder panicked is taken all the same: the panic itself goes on to the caller.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// A pool of so many threads, at least one.
    pub(crate) fn new(threads: usize) -> Self {
        Self { threads: threads.max(1), turns: Mutex::default(), freed: Condvar::new() }
    }

    fn turn(&self, budget: &Budget) -> Result<Turn<'_>, QueryError> {
        let mut turns = lock(&self.turns);
        if turns.running < self.threads && turns.waiting.is_empty() {
            turns.running += 1;
            return Ok(Turn(self));
        }
        let me = turns.next;
        turns.next += 1;
        turns.waiting.push_back(me);
        loop {
            let wait = self.freed.wait_timeout(turns, LOOK_EVERY);
            turns = wait.unwrap_or_else(PoisonError::into_inner).0;
            if turns.running < self.threads && turns.waiting.front() == Some(&me) {
                turns.waiting.pop_front();
                turns.running += 1;
                drop(turns);
                // There may be room for the next one too.
                self.freed.notify_all();
                return Ok(Turn(self));
            }
            if let Err(error) = budget.check_time() {
                turns.waiting.retain(|waiting| *waiting != me);
                drop(turns);
                self.freed.notify_all();
                return Err(error);
            }
        }
    }

    /// Does one morsel on the thread that asks.
    pub(crate) fn alone<T>(
        &self,
        budget: &Budget,
        work: impl FnOnce() -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let _turn = self.turn(budget)?;
        work()
    }

    /// Calls `work` for each of `parts` morsels, on several threads where that pays, and `take`
    /// with what each gave, in order. The first error ends it.
    pub(crate) fn in_order<T: Send>(
        &self,
        budget: &Budget,
        parts: usize,
        work: &(impl Fn(usize) -> Result<T, QueryError> + Sync),
        take: &mut impl FnMut(T) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let start = Instant::now();
        for part in 0..parts {
            let left = u32::try_from(parts - part).unwrap_or(u32::MAX);
            let done = u32::try_from(part).unwrap_or(u32::MAX);
            if self.threads > 1 && left > 1 && done > 0 {
                // As long as those that are done, the others will take.
                let expected = (start.elapsed() / done).saturating_mul(left);
                if expected > WORTH_A_THREAD {
                    return self.shared_out(budget, part..parts, work, take);
                }
            }
            budget.check_time()?;
            let turn = if parts > 1 { Some(self.turn(budget)?) } else { None };
            let outcome = work(part);
            drop(turn);
            take(outcome?)?;
        }
        Ok(())
    }

    fn shared_out<T: Send>(
        &self,
        budget: &Budget,
        parts: std::ops::Range<usize>,
        work: &(impl Fn(usize) -> Result<T, QueryError> + Sync),
        take: &mut impl FnMut(T) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let threads = self.threads.min(parts.len());
        let job = Job {
            pool: self,
            budget,
            end: parts.end,
            ahead: AHEAD * threads,
            state: Mutex::new(State { next: parts.start, taken: parts.start, ..State::default() }),
            changed: Condvar::new(),
        };
        thread::scope(|scope| {
            for _ in 1..threads {
                let help = || {
                    let _stop = StopOnPanic(&job);
                    while let Some(part) = job.claim_or_wait() {
                        job.run(part, work);
                    }
                };
                // Without threads to be had, the asker's own does it all.
                if thread::Builder::new()
                    .name("query".to_owned())
                    .spawn_scoped(scope, help)
                    .is_err()
                {
                    break;
                }
            }
            let outcome = job.lead(work, take);
            job.stop();
            outcome
        })
    }
}

/// Morsels that several threads work on.
struct Job<'p, T> {
    pool: &'p Pool,
    budget: &'p Budget,
    end: usize,
    ahead: usize,
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    /// The next morsel that nobody works on.
    next: usize,
    /// The next one whose outcome is to be taken.
    taken: usize,
    done: BTreeMap<usize, Result<T, QueryError>>,
    stopped: bool,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self { next: 0, taken: 0, done: BTreeMap::new(), stopped: false }
    }
}

/// Lets nobody wait for a thread that is gone.
struct StopOnPanic<'j, 'p, T>(&'j Job<'p, T>);

impl<T> Drop for StopOnPanic<'_, '_, T> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop();
        }
    }
}

/// What the asker's own thread does next.
enum Next<T> {
    Take(Result<T, QueryError>),
    Work(usize),
    End,
}

impl<T: Send> Job<'_, T> {
    /// Runs morsels and takes outcomes until all are taken.
    fn lead(
        &self,
        work: &impl Fn(usize) -> Result<T, QueryError>,
        take: &mut impl FnMut(T) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let _stop = StopOnPanic(self);
        loop {
            match self.next() {
                Next::Take(outcome) => take(outcome?)?,
                Next::Work(part) => self.run(part, work),
                Next::End => return Ok(()),
            }
        }
    }

    fn next(&self) -> Next<T> {
        let mut state = lock(&self.state);
        loop {
            if state.stopped || state.taken >= self.end {
                return Next::End;
            }
            let taken = state.taken;
            if let Some(outcome) = state.done.remove(&taken) {
                state.taken += 1;
                self.changed.notify_all();
                return Next::Take(outcome);
            }
            if let Some(part) = self.claim(&mut state) {
                return Next::Work(part);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A morsel that nobody works on, unless it is too far ahead.
    fn claim(&self, state: &mut State<T>) -> Option<usize> {
        let part = state.next;
        (part < self.end && part < state.taken + self.ahead).then(|| {
            state.next += 1;
            part
        })
    }

    fn claim_or_wait(&self) -> Option<usize> {
        let mut state = lock(&self.state);
        loop {
            if state.stopped || state.next >= self.end {
                return None;
            }
            if let Some(part) = self.claim(&mut state) {
                return Some(part);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn run(&self, part: usize, work: &impl Fn(usize) -> Result<T, QueryError>) {
        let outcome = self.pool.turn(self.budget).and_then(|_turn| work(part));
        lock(&self.state).done.insert(part, outcome);
        self.changed.notify_all();
    }
}

impl<T> Job<'_, T> {
    fn stop(&self) {
        lock(&self.state).stopped = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;
    use crate::budget::Limits;

    /// Work that takes long enough to be shared out.
    fn long() {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn outcomes_come_in_order_from_any_number_of_threads() {
        for threads in [1, 2, 3, 8] {
            let (pool, mut taken) = (Pool::new(threads), Vec::new());
            let work = |part: usize| {
                long();
                Ok(part)
            };
            let mut take = |part| {
                taken.push(part);
                Ok(())
            };
            pool.in_order(&Budget::default(), 60, &work, &mut take).unwrap();
            assert_eq!(taken, (0..60).collect::<Vec<_>>(), "{threads} threads");
        }
    }

    #[test]
    fn no_more_run_at_a_time_than_are_allowed() {
        let pool = Pool::new(2);
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |_| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            long();
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    pool.in_order(&Budget::default(), 20, &work, &mut |()| Ok(())).unwrap();
                });
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), 2);
        assert_eq!(lock(&pool.turns).running, 0);
    }

    #[test]
    fn an_error_ends_it() {
        let (pool, done) = (Pool::new(3), AtomicUsize::new(0));
        let work = |part: usize| {
            long();
            done.fetch_add(1, Ordering::SeqCst);
            if part == 5 { Err(QueryError::Timeout) } else { Ok(()) }
        };
        let error = pool.in_order(&Budget::default(), 1_000, &work, &mut |()| Ok(()));
        assert!(matches!(error, Err(QueryError::Timeout)));
        assert!(done.load(Ordering::SeqCst) < 40);
    }

    #[test]
    fn one_that_waits_for_its_turn_can_be_called_off() {
        let pool = Pool::new(1);
        let cancel = std::sync::Arc::new(AtomicBool::new(false));
        let budget = Budget::new(Limits { cancel: Some(cancel.clone()), ..Limits::default() });
        let held = pool.turn(&budget).ok();
        cancel.store(true, Ordering::Relaxed);
        assert!(matches!(pool.turn(&budget).err(), Some(QueryError::Canceled)));
        drop(held);
        assert!(pool.turn(&Budget::default()).is_ok());
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_is_not_waited_for() {
        let pool = Pool::new(2);
        let asker = thread::current().id();
        let work = |part: usize| {
            long();
            assert!(part < 3 || thread::current().id() == asker, "a helper fails");
            Ok(())
        };
        let _ = pool.in_order(&Budget::default(), 100_000, &work, &mut |()| Ok(()));
    }
}
