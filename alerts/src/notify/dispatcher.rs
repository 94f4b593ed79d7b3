//! Carries changes to receivers: a bounded queue and a task for each, retries with backoff, and
//! one document that holds the alerts and the queues together.
//!
//! The document is why nothing is lost and nothing is told twice: the state of the alerts and the
//! messages that follow from it are saved in one write, before the first of them is sent. A message
//! leaves the document once its receiver has taken it. Only a crash between those two, while the
//! receiver says "taken", can repeat a message.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use labstat_model::Clock;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::{Receiver, SendError};
use crate::hash::fnv;
use crate::manager::Snapshot;
use crate::notification::Notification;

/// Undelivered messages kept per receiver; beyond it the oldest is dropped and counted. More at a
/// time than anybody reads.
pub const QUEUE_LEN_MAX: usize = 1_000;

/// The key of the document in the [`Journal`].
const DOCUMENT: &str = "alerts/state";

/// Where the document is kept; the aggregator's store implements it.
pub trait Journal: Send + Sync + 'static {
    /// The document, when there is one.
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, JournalError>;
    /// Keeps the document; returns when it is on disk.
    fn save(&self, key: &str, bytes: &[u8]) -> Result<(), JournalError>;
}

/// Why the document could not be read or kept.
#[derive(Debug, thiserror::Error)]
#[error("failed to keep the state of the alerts")]
pub struct JournalError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// How a dispatcher tries.
#[derive(Debug, Clone)]
pub struct DispatcherOptions {
    /// The pause after the first failure; it doubles with each further one.
    pub retry_first: Duration,
    /// The longest pause.
    pub retry_max: Duration,
    /// How old a message may become before it is given up. A line that is down over night must not
    /// cost the message.
    pub retry_total: Duration,
}

impl Default for DispatcherOptions {
    fn default() -> Self {
        Self {
            retry_first: Duration::from_secs(2),
            retry_max: Duration::from_secs(5 * 60),
            retry_total: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// What a receiver has done since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverMetrics {
    /// The receiver's name.
    pub receiver: String,
    /// Messages delivered.
    pub sent: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Messages given up: refused for good, too old, or pushed out of a full queue.
    pub dropped: u64,
    /// Messages that wait.
    pub queued: usize,
    /// Why the last attempt failed, until one succeeds.
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

/// What is kept across a restart.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Document {
    alerts: Snapshot,
    queues: BTreeMap<String, VecDeque<Pending>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Pending {
    id: u64,
    since_ms: i64,
    notification: Notification,
}

/// Hands changes to receivers. Stops with [`Dispatcher::shutdown`].
#[derive(Debug)]
pub struct Dispatcher {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    receivers: Vec<Line>,
    document: Mutex<Document>,
    /// Held while a document is made and saved, so that an older one never overwrites a newer.
    saving: Mutex<()>,
    /// Whether the document on disk is not the present one, since it could not be saved.
    is_unsaved: AtomicBool,
    next_id: AtomicU64,
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    options: DispatcherOptions,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("receivers", &self.receivers).finish_non_exhaustive()
    }
}

/// A receiver and what is counted of it.
#[derive(Debug)]
struct Line {
    receiver: Receiver,
    wake: Notify,
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Dispatcher {
    /// Starts a task per receiver, with what was undelivered when it was last stopped, and gives
    /// the state of the alerts as it was then. Must be called within a tokio runtime; reads the
    /// journal.
    pub fn start(
        receivers: Vec<Receiver>,
        options: DispatcherOptions,
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Snapshot), JournalError> {
        let mut document = load(journal.as_ref())?;
        let line = |receiver| Line {
            receiver,
            wake: Notify::new(),
            sent: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            last_error: Mutex::new(None),
        };
        let receivers: Vec<Line> = receivers.into_iter().map(line).collect();
        // Messages for a receiver that is no longer configured have nowhere to go.
        document.queues.retain(|name, _| receivers.iter().any(|r| r.receiver.name() == name));
        let ids = document.queues.values().flatten().map(|pending| pending.id);
        let next_id = AtomicU64::new(ids.max().map_or(0, |id| id + 1));
        let snapshot = document.alerts.clone();
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            receivers,
            document: Mutex::new(document),
            saving: Mutex::new(()),
            is_unsaved: AtomicBool::new(false),
            next_id,
            journal,
            clock,
            options,
        });
        let work = |at| tokio::spawn(work(shared.clone(), at, stopped.clone()));
        let tasks = Mutex::new((0..shared.receivers.len()).map(work).collect());
        Ok((Self { shared, stop, tasks }, snapshot))
    }

    /// Queues changes for every receiver that wants them and keeps them together with the state
    /// of the alerts they come from; then they are sent. Blocks until the document is on disk.
    ///
    /// When it cannot be kept the messages are sent all the same: told twice is better than not.
    pub fn submit(
        &self,
        notifications: &[Notification],
        alerts: Snapshot,
    ) -> Result<(), JournalError> {
        let shared = &self.shared;
        let mut changed = !notifications.is_empty() || shared.is_unsaved.load(Ordering::Relaxed);
        {
            let mut document = shared.lock();
            changed |= !document.alerts.is_as_far_as(&alerts);
            document.alerts = alerts;
            for notification in notifications {
                shared.enqueue(&mut document, notification);
            }
        }
        let saved = if changed { shared.save() } else { Ok(()) };
        if !notifications.is_empty() {
            shared.receivers.iter().for_each(|line| line.wake.notify_one());
        }
        saved
    }

    /// Sends a real test message to one receiver, at once and past the queue.
    pub async fn test(&self, name: &str) -> Result<(), TestError> {
        let line = self.shared.receivers.iter().find(|line| line.receiver.name() == name);
        let line = line.ok_or_else(|| TestError::Unknown(name.to_owned()))?;
        let outcome = line.receiver.test(self.shared.clock.now_ms()).await;
        outcome.map_err(|error| TestError::Send(name.to_owned(), error))
    }

    /// The receivers' names, in the order of the configuration.
    pub fn receivers(&self) -> Vec<String> {
        self.shared.receivers.iter().map(|line| line.receiver.name().to_owned()).collect()
    }

    /// What each receiver has done.
    pub fn metrics(&self) -> Vec<ReceiverMetrics> {
        let document = self.shared.lock();
        let metrics = |line: &Line| ReceiverMetrics {
            receiver: line.receiver.name().to_owned(),
            sent: line.sent.load(Ordering::Relaxed),
            failed: line.failed.load(Ordering::Relaxed),
            dropped: line.dropped.load(Ordering::Relaxed),
            queued: document.queues.get(line.receiver.name()).map_or(0, VecDeque::len),
            last_error: line.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        self.shared.receivers.iter().map(metrics).collect()
    }

    /// Stops the tasks. What is being sent is finished; what waits is kept for the next start.
    pub async fn shutdown(&self) {
        let _ = self.stop.send(true);
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            let _ = task.await;
        }
    }
}

/// The document as it was kept. One that cannot be understood is told and left behind: alerts that
/// still hold are then told again, which is better than not starting.
fn load(journal: &dyn Journal) -> Result<Document, JournalError> {
    let Some(bytes) = journal.load(DOCUMENT)? else { return Ok(Document::default()) };
    Ok(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::error!(%error, "the kept state of the alerts is damaged and was set aside");
        Document::default()
    }))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Document> {
        self.document.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enqueue(&self, document: &mut Document, notification: &Notification) {
        for line in &self.receivers {
            if !line.receiver.wants(notification) {
                continue;
            }
            let queue = document.queues.entry(line.receiver.name().to_owned()).or_default();
            if queue.len() >= QUEUE_LEN_MAX {
                queue.pop_front();
                line.dropped.fetch_add(1, Ordering::Relaxed);
            }
            queue.push_back(Pending {
                id: self.next_id.fetch_add(1, Ordering::Relaxed),
                since_ms: self.clock.now_ms(),
                notification: notification.clone(),
            });
        }
    }

    fn save(&self) -> Result<(), JournalError> {
        let _turn = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = serde_json::to_vec(&*self.lock());
        let bytes = bytes.map_err(|error| JournalError(Box::new(error)))?;
        let saved = self.journal.save(DOCUMENT, &bytes);
        self.is_unsaved.store(saved.is_err(), Ordering::Relaxed);
        saved
    }

    fn front(&self, line: &Line) -> Option<Pending> {
        self.lock().queues.get(line.receiver.name())?.front().cloned()
    }

    /// Takes a message out of its queue and keeps that.
    async fn remove(self: &Arc<Self>, line: &Line, id: u64) {
        if let Some(queue) = self.lock().queues.get_mut(line.receiver.name()) {
            queue.retain(|pending| pending.id != id);
        }
        let shared = self.clone();
        let saved = tokio::task::spawn_blocking(move || shared.save()).await;
        if let Ok(Err(error)) = saved {
            let error = crate::manager::error_chain(&error);
            tracing::error!(error, "a delivered message may be repeated after a restart");
        }
    }
}

/// The task of one receiver: the oldest message first, until it is delivered or given up, so that
/// the end of an alert never overtakes its beginning.
async fn work(shared: Arc<Shared>, at: usize, mut stopped: watch::Receiver<bool>) {
    let Some(line) = shared.receivers.get(at) else { return };
    let mut attempts = 0_u32;
    while !*stopped.borrow() {
        let Some(pending) = shared.front(line) else {
            tokio::select! {
                () = line.wake.notified() => {}
                _ = stopped.changed() => {}
            }
            continue;
        };
        let Err(error) = line.receiver.send(&pending.notification).await else {
            attempts = 0;
            line.sent.fetch_add(1, Ordering::Relaxed);
            line.note(None);
            shared.remove(line, pending.id).await;
            continue;
        };
        attempts += 1;
        line.failed.fetch_add(1, Ordering::Relaxed);
        line.note(Some(error.to_string()));
        let pause = shared.pause(&pending, &error, attempts);
        let name = line.receiver.name();
        let status = pending.notification.status.as_str();
        let alert = pending.notification.name();
        let Some(pause) = pause else {
            tracing::error!(receiver = name, alert, status, %error, "message given up");
            attempts = 0;
            line.dropped.fetch_add(1, Ordering::Relaxed);
            shared.remove(line, pending.id).await;
            continue;
        };
        tracing::warn!(receiver = name, alert, status, %error, ?pause, "will be tried again");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopped.changed() => {}
        }
    }
}

impl Line {
    fn note(&self, error: Option<String>) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}

impl Shared {
    /// How long to wait before the next attempt; `None` when there is to be none.
    fn pause(&self, pending: &Pending, error: &SendError, attempts: u32) -> Option<Duration> {
        let SendError::Retry { after, .. } = error else { return None };
        let total_ms = i64::try_from(self.options.retry_total.as_millis()).unwrap_or(i64::MAX);
        if self.clock.now_ms().saturating_sub(pending.since_ms) >= total_ms {
            return None;
        }
        let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
        let pause = self.options.retry_first.saturating_mul(doubled).min(self.options.retry_max);
        // Between half and the whole pause, so that receivers of many senders are not hit at once.
        let text = format!("{} {attempts} {}", pending.id, self.clock.now_ms());
        let percent = 50 + u32::try_from(fnv([text.as_str()]) % 51).unwrap_or(0);
        let jittered = pause.saturating_mul(percent) / 100;
        Some(jittered.max(after.unwrap_or_default().min(self.options.retry_max)))
    }
}
