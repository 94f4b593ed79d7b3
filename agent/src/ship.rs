//! Getting rounds to the receiver: in order, none lost that could be kept, none twice on purpose.
//!
//! Rounds come in through a bounded queue in memory. While the receiver answers, each goes out at
//! once. When it does not, all that waits goes to the spool, and stays ahead of what comes later.
//!
//! An answer that speaks about the samples (400, 413 and their like) refuses them for good. A
//! request of several rounds is then sent again round by round, so that only the one that is
//! refused is dropped, counted and told. Any other failure keeps the rounds and tries again, after
//! a wait that doubles up to a bound and varies, so that thirty agents do not come back in one
//! moment.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use labstat_model::{Clock, error_chain};
use labstat_wire::remote_write::{EncodeError, compress, decompress};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use crate::remote::{Remote, SendError};
use crate::round::Parcel;
use crate::spool::{Notice, Spool, SpoolError};
use crate::telemetry::{Dropped, Telemetry, add};

/// Bytes of rounds that wait in memory: about a quarter of an hour of ordinary rounds for agents
/// without a spool, and a small part of what an agent may use.
const QUEUE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Rounds in one request while catching up.
const REQUEST_ROUNDS_MAX: usize = 40;

/// Bytes of compressed rounds in one request; they are about eight times as many uncompressed,
/// and held in memory while the request is made.
const REQUEST_BYTES_MAX: usize = 96 * 1024;

/// How long a clean stop may take to deliver what waits; the rest goes to the spool.
pub(crate) const STOP_TIME_MAX: Duration = Duration::from_secs(5);

/// The waits between tries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    /// After the first failure.
    pub(crate) min: Duration,
    /// The longest.
    pub(crate) max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { min: Duration::from_secs(1), max: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// The wait after `failures` failures in a row: between half and all of the doubled wait.
    fn wait(self, failures: u32) -> Duration {
        let doubled = self.min.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let full = doubled.min(self.max);
        let random = RandomState::new().hash_one(failures) % 1024;
        full / 2 + (full / 2).mul_f64(f64::from(u32::try_from(random).unwrap_or(0)) / 1024.0)
    }
}

/// Rounds on their way to the shipping task, and what it should know.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    parcels: Mutex<VecDeque<Parcel>>,
    metadata: Mutex<Option<Vec<u8>>>,
    news: Notify,
}

impl Queue {
    /// Adds a round. The oldest are dropped when there are too many.
    pub(crate) fn push(&self, parcel: Parcel, telemetry: &Telemetry) {
        let mut parcels = self.lock();
        let mut bytes: usize = parcel.block.len();
        bytes += parcels.iter().map(|waiting| waiting.block.len()).sum::<usize>();
        while bytes > QUEUE_BYTES_MAX
            && let Some(oldest) = parcels.pop_front()
        {
            bytes -= oldest.block.len();
            telemetry.drop_samples(Dropped::Full, u64::from(oldest.samples));
        }
        parcels.push_back(parcel);
        drop(parcels);
        self.news.notify_one();
    }

    /// Sets what the receiver is told about the families.
    pub(crate) fn set_metadata(&self, body: Vec<u8>) {
        *self.metadata.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
    }

    fn take_metadata(&self) -> Option<Vec<u8>> {
        self.metadata.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Parcel>> {
        self.parcels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The shipping task.
pub(crate) struct Shipper {
    pub(crate) remote: Remote,
    pub(crate) queue: Arc<Queue>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) backoff: Backoff,
    /// Absent without a state folder, and while its disk is being waited for.
    pub(crate) spool: Option<Spool>,
    /// Rounds of a request that failed, when there is no spool to hold them.
    pub(crate) kept: VecDeque<Parcel>,
    pub(crate) failures: u32,
    /// Until when requests may run, once the agent stops. A closed channel means now.
    pub(crate) stop: watch::Receiver<Option<Instant>>,
}

/// Where the rounds of a request came from.
enum Source {
    Memory,
    Spool,
}

impl Shipper {
    /// Ships until the agent stops, then delivers or spools what is left.
    pub(crate) async fn run(mut self) {
        let mut retry_at = Instant::now();
        while !self.stopping() {
            let now = Instant::now();
            if now < retry_at {
                // The receiver is away: what comes in meanwhile is safer on disk.
                self.spool_queue().await;
                self.wait_for_news(Some(retry_at)).await;
            } else if !self.has_work() {
                self.wait_for_news(None).await;
            } else if let Some(wait) = self.ship_some().await {
                // From the failure on: a request that ran into its deadline took longer than the
                // first waits, and would be followed by the next without any.
                retry_at = Instant::now() + wait;
            } else if let Some(body) = self.queue.take_metadata() {
                self.send_metadata(body).await;
            }
        }
        self.finish().await;
    }

    fn stopping(&self) -> bool {
        self.stop.borrow().is_some() || self.stop.has_changed().is_err()
    }

    async fn wait_for_news(&mut self, until: Option<Instant>) {
        let timer = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = timer => {}
            () = self.queue.news.notified() => {}
            _ = self.stop.changed() => {}
        }
    }

    fn has_work(&self) -> bool {
        let spooled = self.spool.as_ref().is_some_and(|spool| !spool.is_empty());
        spooled || !self.kept.is_empty() || !self.queue.lock().is_empty()
    }

    /// Sends the oldest rounds. Gives the time to wait when the receiver is away.
    async fn ship_some(&mut self) -> Option<Duration> {
        if self.spool.as_ref().is_some_and(|spool| !spool.is_empty()) {
            self.spool_queue().await;
        }
        let (parcels, source) = self.next_parcels().await;
        if parcels.is_empty() {
            return None;
        }
        let error = match self.send(&parcels).await {
            Ok(()) => {
                self.delivered(&parcels, &source);
                return None;
            }
            Err(error) => error,
        };
        match error {
            SendError::Rejected { .. } if parcels.len() > 1 => {
                self.send_singly(&parcels, &source).await
            }
            SendError::Rejected { .. } => {
                self.rejected(&parcels, &source, &error);
                None
            }
            SendError::Unavailable { .. } => Some(self.unavailable(&error).await),
        }
    }

    /// Sends the rounds of a refused request one by one, to find the one that is refused.
    async fn send_singly(&mut self, parcels: &[Parcel], source: &Source) -> Option<Duration> {
        for parcel in parcels {
            let one = std::slice::from_ref(parcel);
            match self.send(one).await {
                Ok(()) => self.delivered(one, source),
                Err(error @ SendError::Rejected { .. }) => self.rejected(one, source, &error),
                Err(error @ SendError::Unavailable { .. }) => {
                    return Some(self.unavailable(&error).await);
                }
            }
        }
        None
    }

    async fn next_parcels(&mut self) -> (Vec<Parcel>, Source) {
        let spooled = self.spool.as_ref().is_some_and(|spool| !spool.is_empty());
        if spooled {
            let peeked =
                self.with_spool(|spool| spool.peek(REQUEST_ROUNDS_MAX, REQUEST_BYTES_MAX)).await;
            match peeked {
                Some(Ok((parcels, notices))) => {
                    self.tell(notices);
                    return (parcels, Source::Spool);
                }
                Some(Err(error)) => {
                    tracing::warn!(error = error_chain(&error), "setting a spool segment aside");
                    let lost = self.with_spool(Spool::abandon).await.unwrap_or(0);
                    self.telemetry.drop_samples(Dropped::Damaged, lost);
                }
                None => {}
            }
            return (Vec::new(), Source::Spool);
        }
        // What is taken from the queue is kept here until it is delivered.
        let mut bytes: usize = self.kept.iter().map(|parcel| parcel.block.len()).sum();
        let mut queue = self.queue.lock();
        while self.kept.len() < REQUEST_ROUNDS_MAX
            && bytes < REQUEST_BYTES_MAX
            && let Some(parcel) = queue.pop_front()
        {
            bytes += parcel.block.len();
            self.kept.push_back(parcel);
        }
        drop(queue);
        (first_of(&self.kept, REQUEST_ROUNDS_MAX, REQUEST_BYTES_MAX), Source::Memory)
    }

    async fn send(&mut self, parcels: &[Parcel]) -> Result<(), SendError> {
        let body = match body(parcels) {
            Ok(body) => body,
            // The blocks are our own and their checksums fit: this is a bug, and waiting would
            // not mend it.
            Err(error) => {
                let status = hyper::StatusCode::BAD_REQUEST;
                return Err(SendError::Rejected { status, reason: error_chain(&error) });
            }
        };
        let cut = cut(self.stop.clone());
        tokio::select! {
            result = self.remote.send(body) => result,
            () = cut => {
                let what = "the agent stops".to_owned();
                Err(SendError::Unavailable { what, retry_after: None })
            }
        }
    }

    fn delivered(&mut self, parcels: &[Parcel], source: &Source) {
        let samples = parcels.iter().map(|parcel| u64::from(parcel.samples)).sum();
        add(&self.telemetry.sent, samples);
        self.telemetry.last_success_ms.store(self.clock.now_ms(), Ordering::Relaxed);
        self.forget(parcels.len(), source);
        self.answered();
    }

    /// The receiver is there, whatever it said about the samples.
    fn answered(&mut self) {
        self.telemetry.reach.answered();
        if self.failures > 0 {
            tracing::info!(uri = %self.remote.uri(), "the receiver answers again");
            self.failures = 0;
        }
    }

    fn rejected(&mut self, parcels: &[Parcel], source: &Source, error: &SendError) {
        let samples = parcels.iter().map(|parcel| u64::from(parcel.samples)).sum();
        add(&self.telemetry.rejected, 1);
        self.telemetry.drop_samples(Dropped::Rejected, samples);
        self.forget(parcels.len(), source);
        self.answered();
        tracing::error!(uri = %self.remote.uri(), samples, "dropped a round: {error}");
    }

    async fn unavailable(&mut self, error: &SendError) -> Duration {
        add(&self.telemetry.unavailable, 1);
        // What is cut short by our own stop is nobody's absence.
        if !self.stopping() {
            self.telemetry.reach.failed(&error.to_string(), self.clock.now_ms());
        }
        self.failures = self.failures.saturating_add(1);
        let mut wait = self.backoff.wait(self.failures);
        if let SendError::Unavailable { retry_after: Some(asked), .. } = error {
            wait = wait.max(*asked);
        }
        // The first failure is news; those that follow are the same story.
        if self.failures == 1 {
            tracing::warn!(uri = %self.remote.uri(), "samples wait, the receiver is away: {error}");
        } else {
            tracing::debug!(uri = %self.remote.uri(), failures = self.failures, "{error}");
        }
        self.spool_queue().await;
        wait
    }

    /// Forgets rounds that need not be sent again.
    fn forget(&mut self, rounds: usize, source: &Source) {
        match source {
            Source::Memory => drop(self.kept.drain(..rounds.min(self.kept.len()))),
            Source::Spool => {
                // Deleting one file, at most.
                if let Some(spool) = &mut self.spool {
                    spool.ack(rounds);
                }
                self.measure();
            }
        }
    }

    /// Moves all rounds in memory to the spool, when there is one.
    async fn spool_queue(&mut self) {
        if self.spool.is_none() {
            self.bound_kept();
            return;
        }
        let mut parcels: VecDeque<Parcel> = std::mem::take(&mut self.kept);
        parcels.append(&mut self.queue.lock());
        if parcels.is_empty() {
            return;
        }
        let now_ms = self.clock.now_ms();
        let pushed = self
            .with_spool(move |spool| {
                let mut notices = Vec::new();
                let mut failed = None;
                while let Some(parcel) = parcels.front() {
                    match spool.push(parcel, now_ms) {
                        Ok(more) => notices.extend(more),
                        Err(error) => {
                            failed = Some(error);
                            break;
                        }
                    }
                    parcels.pop_front();
                }
                (parcels, notices, failed)
            })
            .await;
        let Some((left, notices, failed)) = pushed else { return };
        self.tell(notices);
        if let Some(error) = failed {
            self.spool_failed(&error, left);
        }
        self.measure();
    }

    /// The disk is full or gone: what could not be written stays in memory, within its bound.
    fn spool_failed(&mut self, error: &SpoolError, left: VecDeque<Parcel>) {
        tracing::warn!(error = error_chain(error), rounds = left.len(), "rounds stay in memory");
        self.kept = left;
        self.bound_kept();
    }

    fn bound_kept(&mut self) {
        let mut bytes: usize = self.kept.iter().map(|parcel| parcel.block.len()).sum();
        while bytes > QUEUE_BYTES_MAX
            && let Some(oldest) = self.kept.pop_front()
        {
            bytes -= oldest.block.len();
            self.telemetry.drop_samples(Dropped::Full, u64::from(oldest.samples));
        }
    }

    /// Runs `work` on the spool on a thread that may block; nothing without a spool.
    async fn with_spool<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Spool) -> T + Send + 'static,
    ) -> Option<T> {
        let mut spool = self.spool.take()?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&mut spool);
            (spool, result)
        });
        match done.await {
            Ok((spool, result)) => {
                self.spool = Some(spool);
                Some(result)
            }
            Err(error) => {
                tracing::error!(%error, "the spool is lost, rounds wait in memory from now on");
                None
            }
        }
    }

    fn tell(&self, notices: Vec<Notice>) {
        for notice in notices {
            tell(&notice, &self.telemetry);
        }
    }

    fn measure(&self) {
        let Some(spool) = &self.spool else { return };
        self.telemetry.spool_bytes.store(spool.bytes(), Ordering::Relaxed);
        self.telemetry.spool_rounds.store(spool.rounds(), Ordering::Relaxed);
    }

    async fn send_metadata(&mut self, body: Vec<u8>) {
        // A stop does not wait for it: what is left of its time is for samples.
        tokio::select! {
            result = self.remote.send(body) => if let Err(error) = result {
                tracing::debug!("metadata was not taken: {error}");
            },
            _ = self.stop.changed() => {}
        }
    }

    async fn finish(&mut self) {
        while self.has_work() && self.failures == 0 {
            if self.ship_some().await.is_some() {
                break;
            }
        }
        self.spool_queue().await;
        let left: u64 = self.kept.iter().map(|parcel| u64::from(parcel.samples)).sum();
        if left > 0 {
            self.telemetry.drop_samples(Dropped::Full, left);
            tracing::warn!(samples = left, "stopped with samples that no spool could keep");
        }
    }
}

/// Ends when requests may no longer run.
async fn cut(mut stop: watch::Receiver<Option<Instant>>) {
    loop {
        let until = *stop.borrow_and_update();
        if let Some(until) = until {
            return sleep_until(until).await;
        }
        if stop.changed().await.is_err() {
            return;
        }
    }
}

/// Tells and counts what the spool lost.
pub(crate) fn tell(notice: &Notice, telemetry: &Telemetry) {
    match notice {
        Notice::Damaged { path, kept } => {
            tracing::warn!(path = %path.display(), kept, "set a damaged spool segment aside");
        }
        Notice::Full { rounds, samples } => {
            telemetry.drop_samples(Dropped::Full, *samples);
            tracing::warn!(rounds, samples, "dropped the oldest rounds: the spool is full");
        }
        Notice::Old { rounds, samples } => {
            telemetry.drop_samples(Dropped::Old, *samples);
            tracing::warn!(rounds, samples, "dropped rounds that were too old");
        }
    }
}

/// The first of `parcels`: at least one when there is any, and at most `rounds_max` or as many as
/// have `bytes_max` together.
pub(crate) fn first_of<'a>(
    parcels: impl IntoIterator<Item = &'a Parcel>,
    rounds_max: usize,
    bytes_max: usize,
) -> Vec<Parcel> {
    let mut bytes = 0;
    let fits = |parcel: &&Parcel| {
        let first = bytes == 0;
        bytes += parcel.block.len();
        first || bytes <= bytes_max
    };
    parcels.into_iter().take(rounds_max).take_while(fits).cloned().collect()
}

/// The body of a request with all of `parcels`.
fn body(parcels: &[Parcel]) -> Result<Vec<u8>, EncodeError> {
    if let [parcel] = parcels {
        return Ok(parcel.block.clone());
    }
    let mut message = Vec::new();
    for parcel in parcels {
        message.extend(decompress(&parcel.block)?);
    }
    compress(&message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_vary_and_end_at_the_longest() {
        let backoff = Backoff::default();
        for failures in 1..100 {
            let wait = backoff.wait(failures);
            let full = Duration::from_secs(1 << (failures - 1).min(10)).min(backoff.max);
            assert!(wait >= full / 2 && wait <= full, "{failures}: {wait:?}");
        }
    }

    #[test]
    fn the_queue_drops_the_oldest_and_counts_them() {
        let (queue, telemetry) = (Queue::default(), Telemetry::default());
        for tick_ms in 0..5 {
            let block = vec![0; QUEUE_BYTES_MAX / 3];
            queue.push(Parcel { tick_ms, samples: 7, block }, &telemetry);
        }
        let ticks: Vec<i64> = queue.lock().iter().map(|parcel| parcel.tick_ms).collect();
        assert_eq!(ticks, [2, 3, 4]);
        assert_eq!(telemetry.shipped().samples_dropped, 14);
    }
}
