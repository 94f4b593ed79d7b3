//! Carries messages to receivers, each once: nothing is lost by a crash, and nothing told twice
//! that need not be.
//!
//! A message is kept in the ledger together with the record that somebody was told
//! ([`Delivery::stage`]), before anybody knows of it. Each receiver has a queue and a task of its
//! own, so that one that is down holds no other up. Before an attempt goes out, the ledger says that
//! it has begun; after it, how it ended. So what a crash leaves open is known, and the receiver is
//! asked whether it has the message ([`Carrier::was_delivered`]). Where it cannot say the
//! message goes out once more under the same name ([`Message::id`]), by which receivers that can
//! know a repetition: `Idempotency-Key` over HTTP, `Message-ID` in mail. When a receiver was there
//! and left the end open several times, it is taken to have the message.
//!
//! - `queue`: what goes out next, and when; pure. `rate`: how much may. `summary`: one message in
//!   place of many. `row`: what is kept.
//! - `carrier`: a configured receiver as one that messages are carried to. `before`: the state as
//!   older versions kept it. `caught`: a panic as an error.
//! - here: tasks, attempts, figures.

mod before;
mod carrier;
mod caught;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod queue;
mod rate;
mod row;
mod summary;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use labstat_model::Clock;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::ledger::{Entry, Keeper, LedgerError};
use crate::message::Message;
use crate::notification::Notification;
use crate::notify::{Arrival, Delivered, Refusal, SendError};
pub(crate) use before::take_over;
pub use carrier::{Carried, Drawn, Illustrator, Plain};
use caught::caught;
use queue::{Attempt, Failure, Next, Queue, Unreached, Waiting};
pub use rate::Rate;
use row::Queued;

/// Messages that wait for one receiver; of more, the older become one summary. More at a time than
/// anybody reads.
pub const QUEUE_LEN_MAX: usize = 1_000;

/// Bytes that the messages may take that wait for one receiver, about; of more, the older become one
/// summary. A thousand messages of the usual size take a thirtieth of it.
pub const QUEUE_WEIGHT_MAX: usize = 32 << 20;

/// How often a message goes out to a receiver that was there each time, did not say whether it took it
/// and cannot be asked. It probably has it then, as often.
const DOUBTS_MAX: u32 = 10;

/// The longest that a task which waits for a time sleeps: it follows a clock that was set.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// How long an attempt that runs may still take when everything is to end. What it comes to after
/// that is asked of the receiver at the next start.
const STOP_TIME_MAX: Duration = Duration::from_secs(5);

/// What carries messages to one place.
pub trait Carrier: Send + Sync + 'static {
    /// The receiver's name, as messages have it.
    fn name(&self) -> &str;

    /// The kind of receiver, in the words of Alertmanager's metrics: `email`, `webhook`.
    fn integration(&self) -> &'static str;

    /// How many messages it gets within a time.
    fn rate(&self) -> Rate {
        Rate::default()
    }

    /// What it is made of: one that is made of the same is the same, and what has failed with it
    /// fails with that one too. `None` is like no other.
    fn shape(&self) -> Option<u64> {
        None
    }

    /// Delivers once, within a bounded time; to these of its addresses `only`, since others have it,
    /// and with none of them to all.
    fn send<'a>(
        &'a self,
        message: &'a Message,
        only: &'a [String],
    ) -> Answer<'a, Result<Delivered, SendError>>;

    /// Says what fires now, to one that tells of it again and again; `mine` of it is for this one.
    /// Within a tokio runtime.
    fn repeat(&self, _mine: &[Notification], _all: &[Notification], _now_ms: i64) {}

    /// Whether it has `message`.
    fn was_delivered<'a>(&'a self, _message: &'a Message) -> Answer<'a, Arrival> {
        Box::pin(std::future::ready(Arrival::Unknowable))
    }
}

/// What a [`Carrier`] answers, later.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Hears of each attempt, for figures.
pub trait Observer: Send + Sync {
    /// An attempt to deliver to `receiver`, of the kind `integration`, took so long.
    fn attempted(&self, receiver: &str, integration: &'static str, took: Duration);
}

/// How delivery is tried.
#[derive(Clone)]
pub struct DeliveryOptions {
    /// The pause after the first failure; it doubles with each further one.
    pub retry_first: Duration,
    /// The longest pause.
    pub retry_max: Duration,
    /// How old a message may become before it is given up. A line that is down over night must not
    /// cost the message.
    pub retry_total: Duration,
    /// Who hears of attempts.
    pub observer: Option<Arc<dyn Observer>>,
}

impl fmt::Debug for DeliveryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { retry_first, retry_max, retry_total, observer: _ } = self;
        write!(f, "DeliveryOptions({retry_first:?}, {retry_max:?}, {retry_total:?})")
    }
}

impl Default for DeliveryOptions {
    fn default() -> Self {
        Self {
            retry_first: Duration::from_secs(2),
            retry_max: Duration::from_secs(5 * 60),
            retry_total: Duration::from_secs(24 * 60 * 60),
            observer: None,
        }
    }
}

/// What a receiver has done since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverMetrics {
    /// The receiver's name.
    pub receiver: String,
    /// Its kind, in the words of Alertmanager's metrics.
    pub integration: &'static str,
    /// Messages delivered.
    pub sent: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Messages given up because they were refused for good.
    pub refused: u64,
    /// Addresses that did not get a message that others of the receiver have: they refused it for
    /// good, or did not take it in time.
    pub refused_addresses: u64,
    /// Messages given up because they became too old.
    pub expired: u64,
    /// Messages that are probably delivered: the receiver was given them several times, and never said
    /// whether it has them.
    pub presumed: u64,
    /// Messages that became part of a summary.
    pub summarized: u64,
    /// Messages that wait.
    pub queued: usize,
    /// When the next of them is tried after a failure, in milliseconds since the epoch; not while one is tried.
    pub retry_ms: Option<i64>,
    /// Since when the rate holds some of them back, in milliseconds since the epoch.
    pub held_since_ms: Option<i64>,
    /// How long the oldest of them has waited, in milliseconds; 0 when there is none.
    pub oldest_age_ms: i64,
    /// For how long every attempt has failed, in milliseconds; 0 when the last one did not.
    pub failing_ms: i64,
    /// When a message was last delivered, in milliseconds since the epoch.
    pub last_sent_ms: Option<i64>,
    /// Why the last attempt failed, or whom it did not reach, until one succeeds whole.
    pub last_error: Option<String>,
}

/// Why a test message could not be delivered.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// There is no such receiver.
    #[error("no receiver is named {0:?}")]
    Unknown(String),
    /// It was tried and failed.
    #[error("receiver {0:?} failed")]
    Send(String, #[source] SendError),
}

/// Messages that are to be kept, and are sent once they are.
#[derive(Debug, Default)]
#[must_use = "messages are sent when they are released"]
pub struct Staged {
    /// The rows to commit with the step that the messages come from.
    pub entries: Vec<Entry>,
    queued: Vec<(u64, Queued)>,
}

/// Hands messages to receivers. Ends with [`Delivery::shutdown`]; what is undelivered is kept for
/// the next start.
#[derive(Debug)]
pub struct Delivery {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    lines: Mutex<Lines>,
    next_seq: AtomicU64,
    keeper: Arc<Keeper>,
    clock: Arc<dyn Clock>,
    options: DeliveryOptions,
}

/// The receivers: by name, and the names in the order of the configuration.
#[derive(Debug, Default)]
struct Lines {
    all: BTreeMap<String, Arc<Line>>,
    order: Vec<String>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("lines", &self.lines).finish_non_exhaustive()
    }
}

/// A receiver with its queue and what is counted of it.
struct Line {
    name: String,
    /// None while no receiver of the configuration has the name of messages that wait.
    carrier: Mutex<Option<Arc<dyn Carrier>>>,
    /// Held while the ledger writes: whoever may not wait for a disk looks at `waiting`.
    queue: Mutex<Queue>,
    /// What waited when the queue last changed.
    waiting: Mutex<Waiting>,
    wake: Notify,
    sent: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    refused_addresses: AtomicU64,
    expired: AtomicU64,
    presumed: AtomicU64,
    last_sent_ms: Mutex<Option<i64>>,
    last_error: Mutex<Option<String>>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("name", &self.name).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Delivery {
    /// Starts a task per receiver, with what was undelivered when it last ended. Must be called
    /// within a tokio runtime; reads the ledger, and blocks for it.
    pub fn start(
        carriers: Vec<Arc<dyn Carrier>>,
        options: DeliveryOptions,
        keeper: Arc<Keeper>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LedgerError> {
        let mut rows = row::read(keeper.load(row::PREFIX)?);
        let (stop, _) = watch::channel(false);
        let shared = Arc::new(Shared {
            lines: Mutex::default(),
            next_seq: AtomicU64::new(rows.last_seq + 1),
            keeper,
            clock,
            options,
        });
        let delivery = Self { shared, stop, tasks: Mutex::default() };
        for carrier in &carriers {
            delivery.line(carrier.name(), |queue| queue.restore(&mut rows));
        }
        // What waits for a receiver that is not configured may find it again after a reload.
        while let Some((_, (queued, _))) = rows.messages.first_key_value() {
            let name = queued.message.receiver.clone();
            tracing::warn!(receiver = name, "messages wait for a receiver that is not configured");
            delivery.line(&name, |queue| queue.restore(&mut rows));
        }
        let forgotten: Vec<Entry> = rows.sent.keys().map(|name| row::delete_sent(name)).collect();
        delivery.shared.keeper.keep(forgotten);
        delivery.set_carriers(carriers);
        Ok(delivery)
    }

    /// Puts `carriers` in place of the present ones; one that is made as before stays, with how it has
    /// failed. Messages that wait for one that is gone are kept until they are too old, in case it
    /// comes back. Blocks; within a tokio runtime.
    pub fn set_carriers(&self, carriers: Vec<Arc<dyn Carrier>>) {
        let order: Vec<String> = carriers.iter().map(|c| c.name().to_owned()).collect();
        for line in self.shared.lines() {
            if !order.contains(&line.name) && lock(&line.carrier).take().is_some() {
                let queued = lock(&line.waiting).len;
                if queued > 0 {
                    let receiver = &line.name;
                    tracing::warn!(
                        receiver,
                        queued,
                        "is gone; messages wait until they are too old"
                    );
                }
            }
        }
        for carrier in carriers {
            let line = self.line(carrier.name(), |_| {});
            let rate = carrier.rate();
            let mut present = lock(&line.carrier);
            let shape = present.as_ref().and_then(|present| present.shape());
            if shape.is_some() && shape == carrier.shape() {
                continue;
            }
            *present = Some(carrier);
            drop(present);
            self.shared.step(&line, |queue, _, _| {
                queue.set_rate(rate);
                queue.try_anew();
            });
        }
        let mut lines = lock(&self.shared.lines);
        lines.order = order;
        lines.all.values().for_each(|line| line.wake.notify_one());
    }

    /// Says to each receiver what fires, and what of it `mine` gives for its name; see
    /// [`Carrier::repeat`].
    pub fn repeat(&self, all: &[Notification], mine: impl Fn(&str) -> Vec<Notification>) {
        let now_ms = self.shared.clock.now_ms();
        for line in self.shared.lines() {
            let carrier = lock(&line.carrier).clone();
            if let Some(carrier) = carrier {
                let mine = mine(carrier.name());
                let repeat = AssertUnwindSafe(|| carrier.repeat(&mine, all, now_ms));
                if catch_unwind(repeat).is_err() {
                    tracing::error!(receiver = line.name, "panicked over what fires");
                }
            }
        }
    }

    /// The line of a receiver; a new one gets a task.
    fn line(&self, name: &str, fill: impl FnOnce(&mut Queue)) -> Arc<Line> {
        let mut lines = lock(&self.shared.lines);
        if let Some(line) = lines.all.get(name) {
            return line.clone();
        }
        let mut queue = Queue::new(name, Rate::default(), &self.shared.options);
        fill(&mut queue);
        let line = Arc::new(Line {
            name: name.to_owned(),
            carrier: Mutex::default(),
            waiting: Mutex::new(queue.waiting()),
            queue: Mutex::new(queue),
            wake: Notify::new(),
            sent: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            refused_addresses: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            presumed: AtomicU64::new(0),
            last_sent_ms: Mutex::default(),
            last_error: Mutex::default(),
        });
        lines.all.insert(name.to_owned(), line.clone());
        let task = work(self.shared.clone(), line.clone(), self.stop.subscribe());
        lock(&self.tasks).push(tokio::spawn(task));
        line
    }

    /// Makes the rows of messages, to be committed together with the step they come from. They are
    /// sent when they are released.
    pub fn stage(&self, messages: Vec<Message>) -> Staged {
        let now_ms = self.shared.clock.now_ms();
        let mut staged = Staged::default();
        for message in messages {
            let seq = self.shared.seq();
            let queued = Queued::new(message, now_ms);
            staged.entries.push(row::put_message(seq, &queued));
            staged.queued.push((seq, queued));
        }
        staged
    }

    /// Sends what was staged and is kept now. When it could not be kept it is released all the
    /// same: told twice is better than not.
    pub fn release(&self, staged: Staged) {
        for (seq, queued) in staged.queued {
            let line = self.line(&queued.message.receiver, |_| {});
            self.shared.step(&line, |queue, now_ms, entries| {
                queue.push(seq, queued);
                if queue.is_over_full() {
                    queue.fold_overflow(|| self.shared.seq(), now_ms, entries);
                }
            });
            line.wake.notify_one();
        }
    }

    /// Keeps messages and sends them: for those who keep nothing else with them. Blocks.
    pub fn submit(&self, messages: Vec<Message>) -> Result<(), LedgerError> {
        let mut staged = self.stage(messages);
        let kept = self.shared.keeper.commit(std::mem::take(&mut staged.entries));
        self.release(staged);
        kept
    }

    /// Sends a message to one receiver, at once and past the queue: to try it out.
    pub async fn test(&self, message: &Message) -> Result<Delivered, TestError> {
        let name = &message.receiver;
        let line = lock(&self.shared.lines).all.get(name).cloned();
        let carrier = line.and_then(|line| lock(&line.carrier).clone());
        let carrier = carrier.ok_or_else(|| TestError::Unknown(name.clone()))?;
        let sent = caught(|| carrier.send(message, &[])).await.unwrap_or_else(Err);
        sent.map_err(|error| TestError::Send(name.clone(), error))
    }

    /// The receivers' names, in the order of the configuration.
    pub fn receivers(&self) -> Vec<String> {
        lock(&self.shared.lines).order.clone()
    }

    /// What each receiver has done, those first that are configured.
    pub fn metrics(&self) -> Vec<ReceiverMetrics> {
        let now_ms = self.shared.clock.now_ms();
        let order = self.receivers();
        let place = |line: &Arc<Line>| order.iter().position(|name| *name == line.name);
        let mut lines = self.shared.lines();
        lines.sort_by_key(|line| place(line).unwrap_or(usize::MAX));
        let known = |line: &&Arc<Line>| place(line).is_some() || lock(&line.waiting).len > 0;
        lines.iter().filter(known).map(|line| line.metrics(now_ms)).collect()
    }

    /// Ends the tasks, soon. What waits is kept for the next start.
    pub async fn shutdown(&self) {
        let _ = self.stop.send(true);
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        for task in tasks {
            let _ = task.await;
        }
    }
}

impl Line {
    /// Tells of those who do not get what others have.
    fn tell_unreached(&self, Unreached { message, refusals }: &Unreached) {
        self.refused_addresses.fetch_add(refusals.len() as u64, Ordering::Relaxed);
        for Refusal { to, why } in refusals {
            let receiver = &self.name;
            tracing::error!(receiver, message, to, why, "given up for an address, others have it");
        }
        let said: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        *lock(&self.last_error) = Some(format!("not taken by {}", said.join("; ")));
    }

    fn metrics(&self, now_ms: i64) -> ReceiverMetrics {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let waiting = *lock(&self.waiting);
        let since =
            |at_ms: Option<i64>| at_ms.map_or(0, |at_ms| now_ms.saturating_sub(at_ms).max(0));
        ReceiverMetrics {
            receiver: self.name.clone(),
            integration: lock(&self.carrier).as_ref().map_or("", |carrier| carrier.integration()),
            sent: load(&self.sent),
            failed: load(&self.failed),
            refused: load(&self.refused),
            refused_addresses: load(&self.refused_addresses),
            expired: load(&self.expired),
            presumed: load(&self.presumed),
            summarized: waiting.summarized,
            queued: waiting.len,
            retry_ms: waiting.retry_ms,
            held_since_ms: waiting.held_since_ms,
            oldest_age_ms: since(waiting.oldest_ms),
            failing_ms: since(waiting.failing_since_ms),
            last_sent_ms: *lock(&self.last_sent_ms),
            last_error: lock(&self.last_error).clone(),
        }
    }
}

impl Shared {
    fn lines(&self) -> Vec<Arc<Line>> {
        lock(&self.lines).all.values().cloned().collect()
    }

    fn seq(&self) -> u64 {
        self.next_seq.fetch_add(1, Ordering::Relaxed)
    }

    /// Changes a queue and keeps what follows from it, before anybody else can change it.
    fn step<T>(&self, line: &Line, work: impl FnOnce(&mut Queue, i64, &mut Vec<Entry>) -> T) -> T {
        let mut queue = lock(&line.queue);
        let mut entries = Vec::new();
        let outcome = work(&mut queue, self.clock.now_ms(), &mut entries);
        *lock(&line.waiting) = queue.waiting();
        if !entries.is_empty() {
            self.keeper.keep(entries);
        }
        outcome
    }

    /// [`Shared::step`] on a thread that may block; `None` when it was cut short.
    async fn step_aside<T: Send + 'static>(
        self: &Arc<Self>,
        line: &Arc<Line>,
        work: impl FnOnce(&mut Queue, i64, &mut Vec<Entry>) -> T + Send + 'static,
    ) -> Option<T> {
        let (shared, line) = (self.clone(), line.clone());
        tokio::task::spawn_blocking(move || shared.step(&line, work)).await.ok()
    }
}

/// The task of one receiver.
async fn work(shared: Arc<Shared>, line: Arc<Line>, mut stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        let carrier = lock(&line.carrier).clone();
        let numbers = shared.clone();
        let there = carrier.is_some();
        let next = shared.step_aside(&line, move |queue, now_ms, entries| {
            if there { queue.next(now_ms, || numbers.seq(), entries) } else { Next::Idle }
        });
        match (next.await, carrier) {
            (Some(Next::Attempt(attempt)), Some(carrier)) => {
                let finished = shared.attempt(&line, carrier.as_ref(), *attempt);
                tokio::select! {
                    () = finished => {}
                    () = stop_time(&mut stopped) => {}
                }
                let is_replaced =
                    lock(&line.carrier).as_ref().is_some_and(|now| !Arc::ptr_eq(now, &carrier));
                if is_replaced {
                    // How the one before failed says nothing of this one.
                    shared.step_aside(&line, |queue, _, _| queue.try_anew()).await;
                }
            }
            (Some(Next::Wait(until_ms)), Some(_)) => {
                let wait_ms = until_ms.saturating_sub(shared.clock.now_ms());
                let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0).max(1));
                pause(&line, wait.min(SLEEP_MAX), &mut stopped).await;
            }
            (_, Some(_)) => idle(&line, &mut stopped).await,
            (_, None) => {
                shared.expire(&line).await;
                pause(&line, Duration::from_secs(60), &mut stopped).await;
            }
        }
    }
}

async fn idle(line: &Line, stopped: &mut watch::Receiver<bool>) {
    tokio::select! {
        () = line.wake.notified() => {}
        _ = stopped.changed() => {}
    }
}

async fn pause(line: &Line, time: Duration, stopped: &mut watch::Receiver<bool>) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = line.wake.notified() => {}
        _ = stopped.changed() => {}
    }
}

/// Ends when an attempt has to be left behind.
async fn stop_time(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
    tokio::time::sleep(STOP_TIME_MAX).await;
}

impl Shared {
    /// Makes an attempt that the ledger says has begun, and keeps how it ended.
    async fn attempt(self: &Arc<Self>, line: &Arc<Line>, carrier: &dyn Carrier, attempt: Attempt) {
        let message = &attempt.message;
        let mut in_doubt = false;
        // One that panics over it does not answer.
        let arrival = match attempt.ask {
            true => caught(|| carrier.was_delivered(message)).await.unwrap_or(Arrival::Unanswered),
            false => Arrival::Missing,
        };
        match arrival {
            Arrival::There => {
                tracing::info!(receiver = line.name, message = message.id, "is there already");
                return self.delivered(line, &attempt, Delivered::default()).await;
            }
            Arrival::Missing => {}
            Arrival::Unanswered if attempt.send_unasked => in_doubt = true,
            Arrival::Unanswered => {
                let why = "does not say whether a message is there already".to_owned();
                let error = SendError::Retry { why, after: None };
                return self.failed(line, message, error, true).await;
            }
            Arrival::Unknowable if attempt.doubts >= DOUBTS_MAX => {
                return self.presumed(line, message).await;
            }
            Arrival::Unknowable => tracing::warn!(
                receiver = line.name,
                message = message.id,
                "may be there already, and goes out once more under the same name"
            ),
        }
        let begun = Instant::now();
        let outcome =
            caught(|| carrier.send(message, &attempt.only)).await.unwrap_or_else(|panic| {
                in_doubt = true;
                Err(panic)
            });
        if let Some(observer) = &self.options.observer {
            observer.attempted(&line.name, carrier.integration(), begun.elapsed());
        }
        match outcome {
            Ok(delivered) => self.delivered(line, &attempt, delivered).await,
            Err(error) => self.failed(line, message, error, in_doubt).await,
        }
    }

    async fn delivered(
        self: &Arc<Self>,
        line: &Arc<Line>,
        attempt: &Attempt,
        delivered: Delivered,
    ) {
        let Delivered { refused, later } = &delivered;
        let (receiver, message) = (&line.name, &attempt.message.id);
        line.sent.fetch_add(u64::from(attempt.only.is_empty()), Ordering::Relaxed);
        line.refused_addresses.fetch_add(refused.len() as u64, Ordering::Relaxed);
        for Refusal { to, why } in refused {
            tracing::error!(receiver, message, to, why, "address refused, others have the message");
        }
        for Refusal { to, why } in later {
            tracing::warn!(receiver, message, to, why, "address is tried again, others have it");
        }
        let said: Vec<String> = refused.iter().chain(later).map(ToString::to_string).collect();
        *lock(&line.last_error) = Some(said.join("; ")).filter(|said| !said.is_empty());
        if attempt.has_reached(&delivered) {
            *lock(&line.last_sent_ms) = Some(self.clock.now_ms());
        }
        let kept = self.step_aside(line, move |queue, now_ms, entries| {
            queue.delivered(now_ms, &delivered, entries)
        });
        kept.await.iter().flatten().for_each(|unreached| line.tell_unreached(unreached));
    }

    async fn presumed(self: &Arc<Self>, line: &Arc<Line>, message: &Message) {
        line.presumed.fetch_add(1, Ordering::Relaxed);
        let last = lock(&line.last_error).take().unwrap_or_default();
        let why =
            format!("probably delivered, after {DOUBTS_MAX} attempts that left it open: {last}");
        tracing::warn!(receiver = line.name, message = message.id, why, "is not sent again");
        *lock(&line.last_error) = Some(why);
        self.step_aside(line, Queue::presumed).await;
    }

    async fn failed(
        self: &Arc<Self>,
        line: &Arc<Line>,
        message: &Message,
        error: SendError,
        in_doubt: bool,
    ) {
        line.failed.fetch_add(1, Ordering::Relaxed);
        let why = error.to_string();
        *lock(&line.last_error) = Some(why.clone());
        let outcome = self
            .step_aside(line, move |queue, now_ms, entries| {
                queue.failed(now_ms, &error, in_doubt, entries)
            })
            .await;
        let (receiver, id) = (&line.name, &message.id);
        match outcome {
            Some(Failure::Again(pause_ms)) => {
                tracing::warn!(receiver, message = id, error = why, pause_ms, "is tried again");
            }
            Some(Failure::Refused) => {
                line.refused.fetch_add(1, Ordering::Relaxed);
                tracing::error!(receiver, message = id, error = why, "message refused, given up");
            }
            Some(Failure::Expired) => {
                line.expired.fetch_add(1, Ordering::Relaxed);
                tracing::error!(receiver, message = id, error = why, "message too old, given up");
            }
            Some(Failure::Unreached(unreached)) => line.tell_unreached(&unreached),
            None => {}
        }
    }

    async fn expire(self: &Arc<Self>, line: &Arc<Line>) {
        let expired = self.step_aside(line, Queue::expire);
        let (expired, unreached) = expired.await.unwrap_or_default();
        unreached.iter().for_each(|unreached| line.tell_unreached(unreached));
        if expired > 0 {
            line.expired.fetch_add(expired as u64, Ordering::Relaxed);
            tracing::error!(receiver = line.name, expired, "messages without a receiver given up");
        }
    }
}
