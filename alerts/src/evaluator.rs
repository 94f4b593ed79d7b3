//! Who evaluates which rules, and when: the schedule of the groups, on a few threads of its own.
//!
//! - A group is due once an interval, at a place in it that depends on its name, so that groups are
//!   spread; and a moment after its slot ([`SETTLE_MS`]), when the samples of the slot have come.
//! - A round is put aside after a [`SLICE`] of time, so that a group with much to do holds up no
//!   other. Groups with rules that are known to be slow never have all threads.
//! - Samples of what cannot wait (an array that lost a disk) have the alerts evaluated that name
//!   their metric, at once, but not more often than once a second, and not so that it takes more than a
//!   fifth of a thread's time.
//! - What rounds give is settled by one thread, with all that has come meanwhile: one write to the
//!   disk for many groups. A group is free again only when its round is settled.
//!
//! Not here: what a rule is and says ([`crate::manager`]), and what becomes of it ([`Work::settle`]).

use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use labstat_promql::{Engine, Source};

use crate::manager::{Evaluation, Manager, Means, Round};

/// Threads that evaluate, when nothing else is said: as many as a small machine has cores.
pub(crate) const THREADS_DEFAULT: usize = 2;

/// How long after its slot a group is evaluated. Agents take a few tenths of a second to collect and
/// send a round; a rule that compares two of its samples should have both or neither.
pub(crate) const SETTLE_MS: i64 = 500;

/// How long a round goes on before others get their turn.
const SLICE: Duration = Duration::from_millis(200);

/// A rule that takes longer is slow. Half a second is a hundred times what rules take.
const SLOW: Duration = Duration::from_millis(500);

/// The longest a thread sleeps: it follows a clock that was set within this time.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// The least time between two looks at which groups are due, in milliseconds: with thousands of
/// groups one nearly always is.
const LOOK_MIN_MS: i64 = 25;

/// The least time between two evaluations out of turn.
const WAKE_MIN: Duration = Duration::from_secs(1);

/// Evaluations out of turn wait this many times as long as the last took.
const WAKE_REST: u32 = 4;

/// How far ahead of our clock the samples that wake a group may be for it to look there.
const AHEAD_MAX_MS: i64 = 2_000;

/// What the evaluator works with.
pub(crate) trait Work: Send + Sync + 'static {
    /// The rules.
    fn manager(&self) -> &Manager;
    /// What evaluates them.
    fn engine(&self) -> &Engine;
    /// What they are evaluated over.
    fn source(&self) -> &dyn Source;
    /// The time.
    fn now_ms(&self) -> i64;
    /// The time since some moment, by a clock that nobody sets: durations are measured by it.
    fn elapsed(&self) -> Duration;
    /// Keeps what rounds gave, and sees that people are told.
    fn settle(&self, out: &Evaluation);
}

/// The threads that evaluate.
pub(crate) struct Evaluator {
    shared: Arc<Shared>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

struct Shared {
    work: Arc<dyn Work>,
    /// How many threads may be busy with slow groups.
    slow_max: usize,
    schedule: Mutex<Schedule>,
    /// Something is to be done, or has been.
    changed: Condvar,
}

#[derive(Default)]
struct Schedule {
    /// Rounds that can go on.
    ready: VecDeque<Round>,
    /// Rounds that somebody evaluates, and how many of them are slow.
    busy: usize,
    busy_slow: usize,
    /// Rounds that are done but for being settled.
    done: Vec<(Round, Evaluation)>,
    /// Rounds that are being settled.
    settling: usize,
    /// When groups may be due next.
    look_ms: i64,
    /// Nothing is evaluated before.
    begin_ms: i64,
    wakes: Wakes,
    stopped: bool,
}

/// Metrics of which samples came that cannot wait.
#[derive(Default)]
struct Wakes {
    metrics: BTreeSet<String>,
    newest_ms: i64,
    /// When groups were last woken, as [`Work::elapsed`] has it.
    last: Option<Duration>,
    /// How long the rounds took that were.
    took: Duration,
}

impl Wakes {
    /// How long to wait before groups may be woken again; `None` when none is to be.
    fn wait(&self, elapsed: Duration) -> Option<Duration> {
        if self.metrics.is_empty() {
            return None;
        }
        let rest = WAKE_MIN.max(self.took.saturating_mul(WAKE_REST));
        Some(
            self.last
                .map_or(Duration::ZERO, |last| last.saturating_add(rest).saturating_sub(elapsed)),
        )
    }
}

impl Evaluator {
    /// Starts so many threads. Groups are evaluated from `begin_ms` on.
    pub(crate) fn start(work: Arc<dyn Work>, threads: usize, begin_ms: i64) -> Self {
        let threads = if threads == 0 { THREADS_DEFAULT } else { threads };
        let shared = Arc::new(Shared {
            work,
            slow_max: threads.saturating_sub(1).max(1),
            schedule: Mutex::new(Schedule { look_ms: i64::MIN, begin_ms, ..Schedule::default() }),
            changed: Condvar::new(),
        });
        let mut started = Vec::new();
        for at in 0..=threads {
            let shared = shared.clone();
            let (name, run) = match at {
                0 => ("rules-settle", Shared::settle_all as fn(&Shared)),
                _ => ("rules", Shared::evaluate_all as fn(&Shared)),
            };
            let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || run(&shared));
            match spawned {
                Ok(thread) => started.push(thread),
                Err(error) => tracing::error!(%error, "a thread for rules could not be started"),
            }
        }
        Self { shared, threads: Mutex::new(started) }
    }

    /// Has the alerts evaluated soon that name one of these metrics, of which samples came; the newest
    /// of them is of `newest_ms`.
    pub(crate) fn wake<'m>(&self, metrics: impl IntoIterator<Item = &'m str>, newest_ms: i64) {
        let mut schedule = self.shared.lock();
        let before = schedule.wakes.metrics.len();
        for metric in metrics {
            if !schedule.wakes.metrics.contains(metric) {
                schedule.wakes.metrics.insert(metric.to_owned());
            }
        }
        schedule.wakes.newest_ms = schedule.wakes.newest_ms.max(newest_ms);
        if schedule.wakes.metrics.len() > before {
            drop(schedule);
            self.shared.changed.notify_all();
        }
    }

    /// Evaluates and settles all that is due now. Blocks.
    pub(crate) fn flush(&self) {
        let shared = &self.shared;
        let mut schedule = shared.lock();
        schedule.begin_ms = i64::MIN;
        shared.look(&mut schedule, shared.work.now_ms());
        shared.changed.notify_all();
        shared.settled(schedule);
    }

    /// Ends the threads: rounds that are done are settled, others are left. Blocks.
    pub(crate) fn stop(&self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
        let threads = std::mem::take(&mut *unpoisoned(self.threads.lock()));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread for rules has failed");
            }
        }
        let left = std::mem::take(&mut self.shared.lock().ready);
        left.iter().for_each(|round| self.shared.work.manager().release(round));
    }
}

fn unpoisoned<T>(lock: Result<T, PoisonError<T>>) -> T {
    lock.unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Schedule> {
        // A schedule is changed in whole steps only.
        unpoisoned(self.schedule.lock())
    }

    /// Waits until all that was begun is evaluated and settled.
    fn settled(&self, schedule: MutexGuard<'_, Schedule>) {
        let is_busy = |schedule: &mut Schedule| {
            let unsettled = schedule.done.len() + schedule.settling;
            !schedule.stopped && schedule.ready.len() + schedule.busy + unsettled > 0
        };
        drop(unpoisoned(self.changed.wait_while(schedule, is_busy)));
    }

    /// What an evaluating thread does until the end.
    fn evaluate_all(&self) {
        while let Some((mut round, is_slow)) = self.next() {
            let (manager, work) = (self.work.manager(), &self.work);
            let elapsed = || work.elapsed();
            let means = Means { engine: work.engine(), source: work.source(), elapsed: &elapsed };
            let go = AssertUnwindSafe(|| manager.proceed(&mut round, means, SLICE));
            let is_done = catch_unwind(go).unwrap_or_else(|_| {
                let group = &round.group().name;
                tracing::error!(group, "evaluating a rule was cut short");
                // The rules after it have their turn.
                false
            });
            let out = is_done.then(|| manager.finish(&mut round));
            let mut schedule = self.lock();
            schedule.busy -= 1;
            schedule.busy_slow -= usize::from(is_slow);
            match out {
                Some(out) => {
                    if round.is_woken() {
                        schedule.wakes.took += round.worked();
                    }
                    schedule.done.push((round, out));
                }
                None => schedule.ready.push_back(round),
            }
            drop(schedule);
            self.changed.notify_all();
        }
    }

    /// The next round to go on with, and whether it is slow; waits for one. `None` at the end.
    fn next(&self) -> Option<(Round, bool)> {
        let mut schedule = self.lock();
        loop {
            if schedule.stopped {
                return None;
            }
            let now_ms = self.work.now_ms();
            self.begin_rounds(&mut schedule, now_ms);
            if let Some(picked) = self.pick(&mut schedule) {
                return Some(picked);
            }
            let wait = self.wait(&schedule, now_ms);
            schedule = unpoisoned(self.changed.wait_timeout(schedule, wait)).0;
        }
    }

    /// How long nothing is to be begun, as far as a thread sleeps.
    fn wait(&self, schedule: &Schedule, now_ms: i64) -> Duration {
        let until_look_ms = schedule.look_ms.max(schedule.begin_ms).saturating_sub(now_ms);
        let look = Duration::from_millis(u64::try_from(until_look_ms).unwrap_or(0));
        let wake = schedule.wakes.wait(self.work.elapsed());
        let wake = wake.filter(|_| now_ms >= schedule.begin_ms);
        wake.map_or(look, |wake| look.min(wake)).clamp(Duration::from_millis(1), SLEEP_MAX)
    }

    /// Begins the rounds that are to be begun by now: those whose turn it is, and those out of turn.
    fn begin_rounds(&self, schedule: &mut Schedule, now_ms: i64) {
        if now_ms < schedule.begin_ms {
            return;
        }
        // A clock may have been set back.
        let is_time = now_ms >= schedule.look_ms
            || schedule.look_ms.saturating_sub(now_ms) > as_ms(SLEEP_MAX);
        if is_time {
            self.look(schedule, now_ms);
        }
        self.wake_groups(schedule, now_ms);
    }

    /// Begins rounds of all groups that are due.
    fn look(&self, schedule: &mut Schedule, now_ms: i64) {
        let (manager, settled_ms) = (self.work.manager(), now_ms.saturating_sub(SETTLE_MS));
        let due = manager.due(settled_ms);
        schedule.ready.extend(due.iter().filter_map(|due| manager.begin(due)));
        let next_ms = manager.next_due_ms(settled_ms).map_or(i64::MAX, |ms| ms + SETTLE_MS);
        let latest_ms = now_ms.saturating_add(as_ms(SLEEP_MAX));
        schedule.look_ms = next_ms.min(latest_ms).max(now_ms.saturating_add(LOOK_MIN_MS));
    }

    /// Begins rounds of the groups with alerts on metrics that cannot wait, when it is time.
    fn wake_groups(&self, schedule: &mut Schedule, now_ms: i64) {
        let elapsed = self.work.elapsed();
        if schedule.wakes.wait(elapsed).is_none_or(|wait| !wait.is_zero()) {
            return;
        }
        let wakes = std::mem::take(&mut schedule.wakes);
        let ahead_ms = now_ms.saturating_add(AHEAD_MAX_MS);
        let time_ms = now_ms.max(wakes.newest_ms.min(ahead_ms));
        let metrics = Arc::new(wakes.metrics);
        schedule.wakes.last = Some(elapsed);
        let manager = self.work.manager();
        for due in manager.woken(&metrics, time_ms) {
            match manager.begin(&due) {
                Some(round) => schedule.ready.push_front(round),
                // Its round goes on, and may have looked before the samples came.
                None => {
                    schedule.wakes.metrics.extend(due.metrics().cloned());
                    schedule.wakes.newest_ms = wakes.newest_ms;
                }
            }
        }
    }

    fn pick(&self, schedule: &mut Schedule) -> Option<(Round, bool)> {
        let is_free = |is_slow: bool| !is_slow || schedule.busy_slow < self.slow_max;
        let slow = schedule.ready.iter().map(|round| round.is_slow(SLOW));
        let (at, is_slow) = slow.enumerate().find(|(_, is_slow)| is_free(*is_slow))?;
        let round = schedule.ready.remove(at)?;
        schedule.busy += 1;
        schedule.busy_slow += usize::from(is_slow);
        Some((round, is_slow))
    }

    /// What the settling thread does until the end.
    fn settle_all(&self) {
        let mut schedule = self.lock();
        loop {
            let done = std::mem::take(&mut schedule.done);
            if done.is_empty() {
                if schedule.stopped && schedule.busy == 0 {
                    return;
                }
                let waited = self.changed.wait_timeout(schedule, SLEEP_MAX);
                schedule = unpoisoned(waited).0;
                continue;
            }
            schedule.settling = done.len();
            drop(schedule);
            self.settle(done);
            schedule = self.lock();
            schedule.settling = 0;
            self.changed.notify_all();
        }
    }

    fn settle(&self, done: Vec<(Round, Evaluation)>) {
        let mut all = Evaluation::default();
        let mut rounds = Vec::with_capacity(done.len());
        for (round, out) in done {
            all.append(out);
            rounds.push(round);
        }
        let settle = AssertUnwindSafe(|| self.work.settle(&all));
        if catch_unwind(settle).is_err() {
            tracing::error!("what rules said was not kept to the end");
        }
        rounds.iter().for_each(|round| self.work.manager().release(round));
    }
}

fn as_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
