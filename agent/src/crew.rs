//! The collectors at work, on threads, so that whatever one of them waits for, the round goes out.
//!
//! Fast collectors run one after the other on one thread ([`Lap`]), which keeps memory small and
//! the times they take honest. One that has not returned in its time is left behind together with
//! the thread, and a new thread goes on with the next. Until it returns it counts as failed and is
//! not started again, so at most one thread per collector can be lost.
//!
//! Slow collectors run each on a thread of its own that ends with the run. Their last samples are
//! given again in every round until the next run has ended, so that queries, which look back five
//! minutes, never lose them between two runs. A run that fails ends them, as a failed scrape does.
//! One that keeps a schedule of its own ([`Pace::Aside`]) is run in the same way, only more often.
//!
//! One of these that looks for changes itself ([`Wake::Own`]) is run between rounds, too, and what it
//! finds goes out at once.
//!
//! A fast collector whose source tells of its changes ([`Wake`]) has a thread beside it that waits
//! for them, from the first round on which that source is there. From then on it runs apart from the
//! others, on a thread of its own, so that a round that takes its time does not hold up what cannot
//! wait: what has changed during a round is told at once, as far ahead of the rest as that takes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use labstat_collect::{Collector, Entry, Host, Options, Pace, Status, Told, Wake, Watch};
use labstat_model::{Batch, error_chain};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::findings::{Finding, Outcome};
use crate::lap::{self, Done, Job, Lap, Lapped};

/// How long a thread waits for a change before it looks whether there is still an agent, and
/// whether its source is still the same.
const WATCH_TIME_MAX: Duration = Duration::from_secs(60);

/// Time between two wake-ups by one source: a fault is told at once, a burst of changes as two.
const WAKE_EVERY: Duration = Duration::from_secs(1);

/// Stack of a thread that waits for changes; it does nothing else.
const WATCH_STACK_SIZE_BYTES: usize = 64 * 1024;

/// How long a run of a slow collector may take before it counts as hung. Its own deadlines, one
/// per device, are what should end it.
const SLOW_TIME_MAX: Duration = Duration::from_secs(600);

/// The collector of what others wrote, which may not tell what a collector of this job tells.
const TEXTFILE: (&str, &str) = ("textfile", "node");

/// Why a collector has nothing when the system gave no thread for it.
const NO_THREAD: &str = "no thread could be started for it";

/// How long a round may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// One fast collector.
    pub(crate) collector: Duration,
    /// All of them.
    pub(crate) round: Duration,
}

impl Limits {
    /// The limits of rounds that are `interval` apart: half of it for one collector, so that one
    /// that hangs leaves room for the others, and all done well before the next tick.
    pub(crate) fn of(interval: Duration) -> Self {
        Self { collector: interval / 2, round: interval * 3 / 4 }
    }
}

/// All collectors of an agent.
pub(crate) struct Crew {
    host: Arc<dyn Host>,
    options: Options,
    slots: Vec<Slot>,
    /// The thread of the fast collectors.
    worker: Option<Sender<Arc<Lap>>>,
    /// At most one result per slot is under way, so the channel is bounded by their number.
    done: mpsc::UnboundedReceiver<Done>,
    done_sender: mpsc::UnboundedSender<Done>,
    /// Slots whose source has changed. A watcher waits until there is room, and forgets nothing.
    woken: mpsc::Receiver<usize>,
    woken_sender: mpsc::Sender<usize>,
}

/// One collector and what came of it.
struct Slot {
    entry: Entry,
    /// Time between two runs, for a slow one.
    every: Option<Duration>,
    /// Absent while it runs.
    idle: Option<(Box<dyn Collector>, Batch)>,
    started: Instant,
    /// Whether a thread waits for changes of the source.
    watched: Arc<AtomicBool>,
    /// The thread of its own, for one that runs apart.
    worker: Option<Sender<Job>>,
    apart: Apart,
    /// Whether the run that is under way was given up.
    hung: bool,
    outcome: Outcome,
    took: Option<Duration>,
    /// The samples of the last run, when it was good.
    good: Batch,
    /// Whom they are about, if not the node.
    instance: Option<String>,
}

/// How a collector stands that runs apart from the others, since its source tells of its changes.
#[derive(Default)]
struct Apart {
    /// Whether it does in the present round, or does now between two.
    is_so: bool,
    /// Whether what it gives next is to be told.
    changed: bool,
    /// Whether the source has changed since the run that is under way began.
    again: bool,
    /// Whether it has run, and whether what it gave was told: a moment has one truth.
    ran: bool,
    told: bool,
    /// Whether there is a change that is to be told after the round.
    later: bool,
    /// What was sent of it last.
    sent: Batch,
}

/// What a collector gave ahead of a round, or between two.
pub(crate) struct Event {
    /// The job its samples belong to.
    pub(crate) job: &'static str,
    /// Whom they are about, if not the node.
    pub(crate) instance: Option<String>,
    /// Its samples as they were sent last.
    pub(crate) before: Batch,
    /// Its samples now.
    pub(crate) now: Batch,
}

/// What happens between two rounds.
pub(crate) enum Woken {
    /// The source of this slot has changed.
    ToRun(usize),
    /// One that looks for changes itself has found one.
    Told(Box<Event>),
}

impl Drop for Crew {
    fn drop(&mut self) {
        // The threads are left to the end of the process; what they started is not.
        self.host.stop();
    }
}

impl Crew {
    /// The collectors of `entries`; a slow one runs every `slow`, when given.
    pub(crate) fn new(
        entries: &[Entry],
        mut options: Options,
        slow: Option<Duration>,
        host: Arc<dyn Host>,
    ) -> Self {
        options.textfile.told = Told::default();
        let slot = |entry: &Entry| Slot {
            entry: *entry,
            every: match entry.pace {
                Pace::Fast => None,
                Pace::Slow(every) => Some(slow.unwrap_or(every)),
                Pace::Aside(every) => Some(every),
            },
            idle: Some(((entry.make)(&options), Batch::new())),
            started: Instant::now(),
            watched: Arc::default(),
            worker: None,
            apart: Apart::default(),
            hung: false,
            outcome: Outcome::Pending,
            took: None,
            good: Batch::new(),
            instance: None,
        };
        let slots = entries.iter().map(slot).collect();
        let (done_sender, done) = mpsc::unbounded_channel();
        let (woken_sender, woken) = mpsc::channel(1);
        let worker = None;
        Self { host, options, slots, worker, done, done_sender, woken, woken_sender }
    }

    /// Starts the slow collectors that are due. Called ahead of the first round, so that what they
    /// find is not a round later than it must be.
    pub(crate) fn start_slow(&mut self, now: Instant) {
        self.start_due(now, |_| true);
    }

    /// Starts those that are due and look for changes themselves. Called between rounds.
    pub(crate) fn start_lookouts(&mut self, now: Instant) {
        self.start_due(now, |entry| entry.wake == Some(Wake::Own));
    }

    fn start_due(&mut self, now: Instant, is_meant: impl Fn(&Entry) -> bool) {
        for at in 0..self.slots.len() {
            let meant = self.slots.get_mut(at).filter(|slot| is_meant(&slot.entry));
            let Some(slot) = meant else { continue };
            let Some(every) = slot.every else { continue };
            // An outcome that is pending means that it never ran: it is due at once.
            if slot.outcome != Outcome::Pending && now < slot.started + every {
                continue;
            }
            if slot.idle.is_some() {
                self.start_apart(at, now);
                // The thread ends with the run.
                if let Some(slot) = self.slots.get_mut(at) {
                    slot.worker = None;
                }
            } else if now > slot.started + SLOW_TIME_MAX {
                slot.hang(now);
            }
        }
    }

    /// Starts a collector on its own thread, unless it runs.
    fn start_apart(&mut self, at: usize, now: Instant) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        let Some((collector, batch)) = slot.idle.take() else { return };
        slot.started = now;
        let job = Job { slot: at, collector, batch };
        let Some(job) = send(slot.worker.as_ref(), job) else { return };
        let (host, done) = (Arc::clone(&self.host), self.done_sender.clone());
        let work = move |job| done.send(lap::run(&*host, job, Instant::now())).is_ok();
        slot.worker = lap::spawn(slot.entry.name, work);
        if let Some(job) = send(slot.worker.as_ref(), job) {
            self.give_back(job, NO_THREAD.to_owned());
        }
    }

    /// Starts to watch the sources that tell of their changes. Called ahead of each round, since
    /// one may come with a driver that is loaded later; and ahead of what is read, so that no
    /// change falls between the two.
    pub(crate) fn start_watches(&self) {
        for (at, slot) in self.slots.iter().enumerate() {
            let Some(Wake::Poll(path)) = slot.entry.wake else { continue };
            if !slot.watched.load(Ordering::Relaxed)
                && let Ok(watch) = self.host.watch(path)
            {
                let (woken, watched) = (self.woken_sender.clone(), Arc::clone(&slot.watched));
                slot.watched.store(true, Ordering::Relaxed);
                let work = move || {
                    keep_watch(watch, at, &woken);
                    watched.store(false, Ordering::Relaxed);
                };
                let thread = thread::Builder::new().name("labstat-watch".to_owned());
                if let Err(error) = thread.stack_size(WATCH_STACK_SIZE_BYTES).spawn(work) {
                    slot.watched.store(false, Ordering::Relaxed);
                    tracing::warn!(%error, path, "failed to start a thread that waits for changes");
                }
            }
        }
    }

    /// Waits until a source has changed, or one that looks for changes itself has found one.
    pub(crate) async fn woken(&mut self) -> Woken {
        let mut slots = self.slots.iter_mut();
        if let Some(at) = slots.position(|slot| std::mem::take(&mut slot.apart.later)) {
            return Woken::ToRun(at);
        }
        loop {
            tokio::select! {
                Some(slot) = self.woken.recv() => return Woken::ToRun(slot),
                Some(done) = self.done.recv() => {
                    if let Some(event) = self.take_news(done) {
                        return Woken::Told(Box::new(event));
                    }
                }
                // There are senders of both in `self`.
                else => std::future::pending().await,
            }
        }
    }

    /// Takes in what one gave between two rounds; an event when it is not to wait for the next.
    fn take_news(&mut self, done: Done) -> Option<Event> {
        let (at, is_good) = (done.slot, done.result.is_ok());
        let slot = self.slots.get(at)?;
        let is_news = done.has_news && is_good && slot.entry.wake == Some(Wake::Own);
        let before = is_news.then(|| slot.good.clone());
        self.take_in(done);
        let slot = self.slots.get(at)?;
        let (job, instance) = (slot.entry.job, slot.instance.clone());
        Some(Event { job, instance, before: before?, now: slot.good.clone() })
    }

    /// Runs the fast collector of a slot between two rounds, of which the next is due in `room`. Gives
    /// nothing when it gave nothing: the next round tells of that. And when it is not done by then: a
    /// round does not begin late for it, and tells of it ahead of the rest.
    pub(crate) async fn run_woken(
        &mut self,
        at: usize,
        limits: Limits,
        room: Duration,
    ) -> Option<Event> {
        self.begin_apart(at, true);
        let mut event = None;
        let now = Instant::now();
        let mut tell = |told| event = Some(told);
        let join = self.join_apart(limits.collector, now + limits.round, &mut tell);
        if timeout_at(now + room, join).await.is_err() {
            for slot in self.slots.iter_mut().filter(|slot| slot.runs_apart()) {
                (slot.apart.is_so, slot.apart.later) = (false, true);
            }
        }
        event
    }

    /// Runs all fast collectors once and takes in what slow ones have finished. What a source says
    /// that has changed meanwhile, or just before in the slot `woken`, is given to `tell` at once; the
    /// round has the same samples.
    pub(crate) async fn run_round(
        &mut self,
        limits: Limits,
        woken: Option<usize>,
        mut tell: impl FnMut(Event),
    ) {
        while let Ok(done) = self.done.try_recv() {
            self.take_in(done);
        }
        let now = Instant::now();
        self.start_slow(now);
        let deadline = now + limits.round;
        for at in 0..self.slots.len() {
            let is_apart = |slot: &Slot| slot.watched.load(Ordering::Relaxed);
            match self.slots.get_mut(at) {
                Some(slot) if is_apart(slot) => self.begin_apart(at, woken == Some(at)),
                Some(slot) => slot.apart.is_so = false,
                None => {}
            }
        }
        self.run_fast(deadline, limits.collector, &mut tell).await;
        self.join_apart(limits.collector, deadline, &mut tell).await;
        while let Ok(done) = self.done.try_recv() {
            self.take_in(done);
        }
    }

    /// Begins a run apart for a round, or for what has changed between two. One that is still under
    /// way will do, unless something has changed since.
    fn begin_apart(&mut self, at: usize, changed: bool) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        let Apart { mut sent, later, .. } = std::mem::take(&mut slot.apart);
        sent.clear();
        sent.append(&slot.good);
        let changed = changed || later;
        let again = changed && slot.idle.is_none();
        slot.apart = Apart { is_so: true, changed, again, sent, ..Apart::default() };
        if slot.hung {
            slot.hang(Instant::now());
        }
        self.start_apart(at, Instant::now());
    }

    /// Waits for those that run apart. One that takes too long is given up, unless it has run before in
    /// this round: then it may go on, and what it gives is told later.
    async fn join_apart(
        &mut self,
        limit: Duration,
        deadline: Instant,
        tell: &mut impl FnMut(Event),
    ) {
        loop {
            let running = self.slots.iter().filter(|slot| slot.runs_apart());
            let until = running.map(|slot| (slot.started + limit).min(deadline)).min();
            let Some(until) = until else { return };
            if timeout_at(until, self.attend(tell)).await.is_ok() {
                continue;
            }
            let now = Instant::now();
            for slot in self.slots.iter_mut().filter(|slot| slot.runs_apart()) {
                if slot.apart.ran {
                    (slot.apart.is_so, slot.apart.later) = (false, true);
                } else if now >= deadline || now >= slot.started + limit {
                    slot.hang(now);
                }
            }
        }
    }

    /// Sees to the next thing that happens to those that run apart, and takes in what slow ones give.
    async fn attend(&mut self, tell: &mut impl FnMut(Event)) {
        tokio::select! {
            Some(at) = self.woken.recv() => self.note_change(at),
            Some(done) = self.done.recv() => {
                let at = done.slot;
                self.take_in(done);
                self.go_on(at, tell);
            }
            // There are senders of both in `self`.
            else => std::future::pending().await,
        }
    }

    /// A source has changed during a round.
    fn note_change(&mut self, at: usize) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        if !slot.apart.is_so || slot.apart.told {
            slot.apart.later = true;
            return;
        }
        slot.apart.changed = true;
        // Whether the run that is under way saw it, nobody knows.
        slot.apart.again = slot.idle.is_none();
        self.start_apart(at, Instant::now());
    }

    /// What comes after a run apart: another one, or that what it gave is told.
    fn go_on(&mut self, at: usize, tell: &mut impl FnMut(Event)) {
        let Some(slot) = self.slots.get_mut(at).filter(|slot| slot.apart.is_so) else { return };
        slot.apart.ran = true;
        if std::mem::take(&mut slot.apart.again) {
            self.start_apart(at, Instant::now());
        } else if std::mem::take(&mut slot.apart.changed)
            && matches!(slot.outcome, Outcome::Collected { .. })
        {
            slot.apart.told = true;
            let (before, now) = (slot.apart.sent.clone(), slot.good.clone());
            tell(Event { job: slot.entry.job, instance: slot.instance.clone(), before, now });
        }
    }

    /// Runs every collector once, the slow ones too, waiting up to `limits.round` for all.
    pub(crate) async fn run_once(&mut self, limits: Limits) {
        let deadline = Instant::now() + limits.round;
        self.run_round(limits, None, drop).await;
        while self.slots.iter().any(|slot| slot.outcome == Outcome::Pending) {
            match timeout_at(deadline, self.done.recv()).await {
                Ok(Some(done)) => self.take_in(done),
                Ok(None) | Err(_) => break,
            }
        }
        let now = Instant::now();
        for slot in self.slots.iter_mut().filter(|slot| slot.outcome == Outcome::Pending) {
            slot.hang(now);
        }
        self.run_textfile_again(now + limits.collector).await;
    }

    /// Runs the collector of what others wrote once more, so that it sees what those that ran after it
    /// told of, as it would in the next round.
    async fn run_textfile_again(&mut self, deadline: Instant) {
        let Some(at) = self.slots.iter().position(|slot| slot.entry.name == TEXTFILE.0) else {
            return;
        };
        self.start_apart(at, Instant::now());
        while self.slots.get(at).is_some_and(|slot| slot.idle.is_none()) {
            match timeout_at(deadline, self.done.recv()).await {
                Ok(Some(done)) => self.take_in(done),
                Ok(None) | Err(_) => return,
            }
        }
        if let Some(slot) = self.slots.get_mut(at) {
            slot.worker = None;
        }
    }

    /// Runs the fast collectors but for those that run apart.
    async fn run_fast(&mut self, deadline: Instant, limit: Duration, tell: &mut impl FnMut(Event)) {
        let mut todo = self.begin();
        while !todo.is_empty() {
            if Instant::now() >= deadline {
                for job in todo {
                    let name = self.slots.get(job.slot).map_or("", |slot| slot.entry.name);
                    self.give_back(job, format!("no time was left in the round for {name}"));
                }
                return;
            }
            let lap = Lap::new(todo);
            if !self.start(&lap) {
                for job in lap.take_back() {
                    self.give_back(job, NO_THREAD.to_owned());
                }
                return;
            }
            let wait = lap.wait(limit, deadline);
            tokio::pin!(wait);
            let Lapped { done, hung, todo: rest } = loop {
                tokio::select! {
                    lapped = &mut wait => break lapped,
                    () = self.attend(tell) => {}
                }
            };
            for done in done {
                self.take_in(done);
            }
            if let Some((at, since)) = hung {
                // The thread ends by itself when the collector returns.
                self.worker = None;
                if let Some(slot) = self.slots.get_mut(at) {
                    slot.started = since;
                    slot.hang(Instant::now());
                }
            }
            todo = rest;
        }
    }

    /// The jobs of the fast collectors but for those that run apart. One that still runs has none.
    fn begin(&mut self) -> VecDeque<Job> {
        let now = Instant::now();
        let mut todo = VecDeque::new();
        for (at, slot) in self.slots.iter_mut().enumerate() {
            if slot.every.is_some() || slot.apart.is_so {
                continue;
            }
            match slot.idle.take() {
                Some((collector, batch)) => todo.push_back(Job { slot: at, collector, batch }),
                None => slot.hang(now),
            }
        }
        todo
    }

    /// Hands a lap to the thread, or to a new one when there is none.
    fn start(&mut self, lap: &Arc<Lap>) -> bool {
        if send(self.worker.as_ref(), Arc::clone(lap)).is_none() {
            return true;
        }
        let (host, late) = (Arc::clone(&self.host), self.done_sender.clone());
        // Nobody is there to take it in only when the agent has ended.
        let work = move |lap: Arc<Lap>| lap.run(&*host, |done| drop(late.send(done)));
        self.worker = lap::spawn("labstat-collect", work);
        send(self.worker.as_ref(), Arc::clone(lap)).is_none()
    }

    /// Takes a job back that was not begun.
    fn give_back(&mut self, job: Job, reason: String) {
        let Some(slot) = self.slots.get_mut(job.slot) else { return };
        slot.idle = Some((job.collector, job.batch));
        slot.took = None;
        slot.fail(reason);
    }

    fn take_in(&mut self, done: Done) {
        let Some(slot) = self.slots.get_mut(done.slot) else { return };
        let Done { collector, mut batch, instance, result, took, .. } = done;
        let late = std::mem::take(&mut slot.hung) && slot.every.is_none();
        match result {
            // What a fast collector read for an earlier tick is not true at this one.
            _ if late => batch.clear(),
            Ok(status) => {
                slot.took = Some(took);
                slot.outcome = match status {
                    Status::Collected => Outcome::Collected { samples: batch.len() },
                    Status::Absent => Outcome::Absent,
                };
                std::mem::swap(&mut slot.good, &mut batch);
                slot.instance = instance;
                if (slot.entry.name != TEXTFILE.0) && slot.entry.job == TEXTFILE.1 {
                    self.options.textfile.told.set(slot.entry.name, slot.good.families());
                }
            }
            Err(failure) => {
                slot.took = Some(took);
                slot.fail(error_chain(&failure));
            }
        }
        batch.clear();
        let collector = collector.unwrap_or_else(|| (slot.entry.make)(&self.options));
        slot.idle = Some((collector, batch));
    }

    /// Each collector's job, its samples for this round, and how it fares.
    pub(crate) fn results(&self) -> impl Iterator<Item = (&Batch, Finding)> {
        self.slots.iter().map(|slot| (&slot.good, slot.finding()))
    }
}

impl Slot {
    /// Whether it runs apart at this moment, and was not given up.
    fn runs_apart(&self) -> bool {
        self.apart.is_so && self.idle.is_none() && !self.hung
    }

    fn finding(&self) -> Finding {
        Finding {
            collector: self.entry.name,
            job: self.entry.job,
            instance: self.instance.clone(),
            outcome: self.outcome.clone(),
            took: self.took,
        }
    }

    /// A failed run has no samples, and what an earlier one gave is no longer known to be true.
    fn fail(&mut self, reason: String) {
        self.outcome = Outcome::Failed { reason };
        self.good.clear();
    }

    fn hang(&mut self, now: Instant) {
        let took = now.saturating_duration_since(self.started);
        self.hung = true;
        self.took = Some(took);
        self.fail(format!(
            "no answer for {} s; it is not started again until then",
            took.as_secs()
        ));
    }
}

/// Gives work to a thread. When there is none or it has ended, the work comes back.
fn send<T>(worker: Option<&Sender<T>>, work: T) -> Option<T> {
    match worker {
        Some(worker) => worker.send(work).err().map(|error| error.0),
        None => Some(work),
    }
}

/// Tells of each change, until nobody listens or nothing can be watched any more.
fn keep_watch(mut watch: Box<dyn Watch>, slot: usize, woken: &mpsc::Sender<usize>) {
    while !woken.is_closed() {
        match watch.wait(WATCH_TIME_MAX) {
            Ok(false) => {}
            Ok(true) if woken.blocking_send(slot).is_ok() => thread::sleep(WAKE_EVERY),
            Ok(true) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use labstat_collect::{CollectError, RealHost};
    use labstat_model::{Family, SystemClock};

    use super::*;

    static VALUE: Family = Family::gauge("demo", "A value.");
    const EVERY: Duration = Duration::from_secs(300);

    /// Works while the test does not hold this.
    static DOOR: Mutex<()> = Mutex::new(());

    struct Slow;

    impl Collector for Slow {
        fn collect(&mut self, _: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
            let _open = DOOR.lock().unwrap();
            out.push(&VALUE, &[], 1.0);
            Ok(Status::Collected)
        }
    }

    static RUNS: AtomicUsize = AtomicUsize::new(0);

    /// Works, then fails, panics, has nothing, and works again.
    struct Moody;

    impl Collector for Moody {
        fn collect(&mut self, _: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
            out.push(&VALUE, &[], 1.0);
            match RUNS.fetch_add(1, Ordering::SeqCst) {
                1 => Err(CollectError::Limit { what: "moods", count: 2, max: 1 }),
                2 => panic!("out of moods"),
                3 => {
                    out.clear();
                    Ok(Status::Absent)
                }
                _ => Ok(Status::Collected),
            }
        }
    }

    #[tokio::test]
    async fn every_outcome_is_told_and_a_failed_run_gives_nothing() {
        for pace in [Pace::Fast, Pace::Slow(Duration::ZERO)] {
            RUNS.store(0, Ordering::SeqCst);
            check_outcomes(pace).await;
        }
    }

    async fn check_outcomes(pace: Pace) {
        let entry = Entry {
            name: "moody",
            job: "node",
            pace,
            is_on: true,
            wake: None,
            make: |_| Box::new(Moody),
        };
        let host = Arc::new(RealHost::new(Arc::new(SystemClock)));
        let mut crew = Crew::new(&[entry], Options::default(), None, host);
        let failed = |reason: &str| Outcome::Failed { reason: reason.to_owned() };
        for wanted in [
            (1, Outcome::Collected { samples: 1 }),
            (0, failed("moods: 2 is over the limit of 1")),
            (0, failed("the collector panicked: out of moods")),
            (0, Outcome::Absent),
            (1, Outcome::Collected { samples: 1 }),
        ] {
            if pace == Pace::Fast {
                crew.run_round(Limits { collector: EVERY, round: EVERY }, None, drop).await;
            } else {
                crew.start_slow(Instant::now());
                let done = crew.done.recv().await.unwrap();
                crew.take_in(done);
            }
            assert_eq!(result(&crew), wanted);
        }
    }

    fn result(crew: &Crew) -> (usize, Outcome) {
        let (samples, finding) = crew.results().next().unwrap();
        (samples.len(), finding.outcome)
    }

    #[tokio::test]
    async fn what_keeps_its_own_schedule_is_not_slowed_down() {
        let second = Duration::from_secs(1);
        let run = |pace| Entry {
            name: "slow",
            job: "node",
            pace,
            is_on: true,
            wake: None,
            make: |_| Box::new(Slow),
        };
        let entries = [run(Pace::Aside(5 * second)), run(Pace::Slow(5 * second))];
        let host = Arc::new(RealHost::new(Arc::new(SystemClock)));
        let mut crew = Crew::new(&entries, Options::default(), Some(EVERY), host);
        crew.run_once(Limits { collector: EVERY, round: EVERY }).await;
        let start = Instant::now();
        crew.start_slow(start + 6 * second);
        let running: Vec<bool> = crew.slots.iter().map(|slot| slot.idle.is_none()).collect();
        assert_eq!(running, [true, false]);
    }

    /// Has something to tell in each run but the first.
    struct Lookout(f64);

    impl Collector for Lookout {
        fn collect(&mut self, _: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
            self.0 += 1.0;
            out.push(&VALUE, &[], self.0);
            Ok(Status::Collected)
        }

        fn instance(&self) -> Option<String> {
            Some("cluster".to_owned())
        }

        fn has_news(&self) -> bool {
            self.0 > 1.0
        }
    }

    #[tokio::test]
    async fn one_that_looks_for_changes_itself_tells_of_them_between_rounds() {
        let run = |wake| Entry {
            name: "lookout",
            job: "ceph",
            pace: Pace::Aside(Duration::ZERO),
            is_on: true,
            wake,
            make: |_| Box::new(Lookout(0.0)),
        };
        let host = Arc::new(RealHost::new(Arc::new(SystemClock)));
        let entries = [run(None), run(Some(Wake::Own))];
        let mut crew = Crew::new(&entries, Options::default(), None, host);
        crew.run_once(Limits { collector: EVERY, round: EVERY }).await;
        crew.start_lookouts(Instant::now());
        assert!(crew.slots[0].idle.is_some(), "it waits for the next round");
        let Woken::Told(event) = crew.woken().await else { panic!("nothing was told") };
        assert_eq!((event.job, event.instance.as_deref()), ("ceph", Some("cluster")));
        assert_eq!(event.before.values().collect::<Vec<_>>(), [1.0]);
        assert_eq!(event.now.values().collect::<Vec<_>>(), [2.0]);
    }

    /// A test has it wait here.
    static WAITS: AtomicBool = AtomicBool::new(true);

    struct Waiting;

    impl Collector for Waiting {
        fn collect(&mut self, _: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
            while WAITS.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            out.push(&VALUE, &[], 1.0);
            Ok(Status::Collected)
        }
    }

    #[tokio::test]
    async fn what_was_woken_and_takes_long_does_not_hold_up_the_round_which_tells_of_it() {
        let entry = Entry {
            name: "waiting",
            job: "node",
            pace: Pace::Fast,
            is_on: true,
            wake: None,
            make: |_| Box::new(Waiting),
        };
        let host = Arc::new(RealHost::new(Arc::new(SystemClock)));
        let mut crew = Crew::new(&[entry], Options::default(), None, host);
        let limits = Limits { collector: EVERY, round: EVERY };
        assert!(crew.run_woken(0, limits, Duration::ZERO).await.is_none());
        assert_eq!(result(&crew), (0, Outcome::Pending), "it is not given up");
        WAITS.store(false, Ordering::SeqCst);
        crew.slots[0].watched.store(true, Ordering::Relaxed);
        let mut told = 0;
        crew.run_round(limits, None, |_| told += 1).await;
        assert_eq!((told, result(&crew)), (1, (1, Outcome::Collected { samples: 1 })));
    }

    #[tokio::test]
    async fn slow_samples_last_until_the_next_run_and_one_that_hangs_ends_them() {
        let entry = Entry {
            name: "slow",
            job: "node",
            pace: Pace::Slow(EVERY),
            is_on: true,
            wake: None,
            make: |_| Box::new(Slow),
        };
        let host = Arc::new(RealHost::new(Arc::new(SystemClock)));
        let mut crew = Crew::new(&[entry], Options::default(), None, host);
        let limits = Limits { collector: EVERY, round: EVERY };
        crew.run_once(limits).await;
        assert_eq!(result(&crew), (1, Outcome::Collected { samples: 1 }));

        let shut = DOOR.lock().unwrap();
        let start = Instant::now();
        let second = Duration::from_secs(1);
        crew.start_slow(start + EVERY - second);
        assert!(crew.slots[0].idle.is_some(), "not due yet");
        crew.start_slow(start + EVERY + second);
        assert!(crew.slots[0].idle.is_none(), "due");
        crew.start_slow(start + EVERY + SLOW_TIME_MAX);
        assert_eq!(result(&crew), (1, Outcome::Collected { samples: 1 }), "still patient");
        crew.start_slow(start + EVERY + SLOW_TIME_MAX + 2 * second);
        let reason = "no answer for 601 s; it is not started again until then".to_owned();
        assert_eq!(result(&crew), (0, Outcome::Failed { reason }));

        drop(shut);
        let done = crew.done.recv().await.unwrap();
        crew.take_in(done);
        assert_eq!(result(&crew), (1, Outcome::Collected { samples: 1 }), "taken back");
    }
}
