//! Getting queued writes to another engine: in order, none lost that it may yet take.
//!
//! Several writes go out as one request. An answer that speaks about the samples (400, 413 and
//! their like) refuses them for good: the request is then taken apart until what is refused stands
//! alone, so that only that is dropped, counted and told; but nothing is where even an empty write
//! is refused, as the URL is wrong then. Any other failure keeps all and tries again, after a wait
//! that doubles up to a bound and varies. After a crash the last request may go out twice.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::{StatusCode, Uri};
use labstat_model::{TimeSeries, WriteRequest};
use labstat_store::{Queue, Queued};
use labstat_wire::remote_write;
use tokio::sync::{Notify, watch};

use super::http::{Ask, Http, HttpError};
use crate::storage::chain;

/// Writes in one request.
const REQUEST_WRITES_MAX: usize = 64;

/// Bytes of compressed writes in one request; they are some ten times as many uncompressed, and
/// held in memory while the request is made.
const REQUEST_BYTES_MAX: usize = 512 * 1024;

/// Parts of one write that may be refused one by one. What is refused after that is of one kind,
/// and is dropped as it comes: to look for each sample would take a request for each.
const REFUSED_PARTS_MAX: usize = 100;

/// The wait after the first failure, and the longest.
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Bytes of the answer to a request that was taken; there are none, but a connection whose answer
/// was read to its end can be used again.
const ANSWER_LEN_MAX: usize = 4096;

/// How long the end of that answer is waited for: what was sent is taken by then, and a connection
/// is soon made anew.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

const HEADERS: &[(&str, &str)] = &[
    ("content-type", remote_write::CONTENT_TYPE),
    ("content-encoding", remote_write::CONTENT_ENCODING),
    remote_write::VERSION_HEADER,
];

/// What became of writes since the start.
#[derive(Debug, Default)]
pub(super) struct Shipped {
    pub(super) delivered: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) failures: AtomicU64,
    /// Why the last request failed, until one works.
    away: Mutex<Option<String>>,
}

impl Shipped {
    /// Why the last request failed; `None` when it worked.
    pub(super) fn away(&self) -> Option<String> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_away(&self, away: Option<String>) {
        *self.away.lock().unwrap_or_else(PoisonError::into_inner) = away;
    }
}

/// The shipping task.
pub(super) struct Shipper {
    pub(super) queue: Arc<Queue>,
    pub(super) http: Arc<Http>,
    pub(super) uri: Uri,
    pub(super) shipped: Arc<Shipped>,
    /// Rung when something was queued.
    pub(super) news: Arc<Notify>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) failures: u32,
}

impl Shipper {
    /// Ships until it is told to stop; a request that is under way is waited for.
    pub(super) async fn run(mut self) {
        while !*self.stop.borrow() {
            let items = self.peek().await;
            if items.is_empty() {
                self.pause(None).await;
                continue;
            }
            let outcome = self.ship(&items).await;
            if let Err(error) = outcome {
                let wait = self.failed(&error);
                self.pause(Some(wait)).await;
            }
        }
    }

    async fn pause(&mut self, wait: Option<Duration>) {
        let news = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => self.news.notified().await,
            }
        };
        tokio::select! {
            () = news => {}
            stopped = self.stop.changed() => if stopped.is_err() {
                // Whoever could say so is gone: there is nothing to wait for.
                self.stop = watch::channel(true).1;
            }
        }
    }

    async fn peek(&self) -> Vec<Queued> {
        let queue = Arc::clone(&self.queue);
        let peek = move || queue.peek(REQUEST_WRITES_MAX, REQUEST_BYTES_MAX);
        match tokio::task::spawn_blocking(peek).await {
            Ok(Ok(items)) => items,
            Ok(Err(error)) => {
                tracing::error!(error = chain(&error), "the queue cannot be read");
                tokio::time::sleep(WAIT_MAX).await;
                self.news.notify_one();
                Vec::new()
            }
            Err(_) => Vec::new(),
        }
    }

    async fn ship(&mut self, items: &[Queued]) -> Result<(), HttpError> {
        let Some(last) = items.last() else { return Ok(()) };
        let samples = items.iter().map(|item| item.samples).sum();
        match self.send_all(items).await {
            Ok(()) => self.delivered(samples),
            Err(HttpError::Refused { .. }) => {
                for item in items {
                    self.ship_alone(item).await?;
                    self.ack(item.id).await;
                }
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        self.ack(last.id).await;
        Ok(())
    }

    /// Sends one write; what of it is refused is dropped.
    async fn ship_alone(&mut self, item: &Queued) -> Result<(), HttpError> {
        let error = match self.send(item.content.clone()).await {
            Ok(()) => {
                self.delivered(item.samples);
                return Ok(());
            }
            Err(error @ HttpError::Refused { .. }) => error,
            Err(error) => return Err(error),
        };
        self.check_place(&error).await?;
        let series = match remote_write::decode(&item.content) {
            Ok(decoded) => decoded.request.series,
            // It was made here and its checksum fits: a bug, and waiting would not mend it.
            Err(decode) => {
                self.refused(item.samples, "a write that does not read back", &decode.to_string());
                return Ok(());
            }
        };
        self.ship_parts(series).await
    }

    /// Whether it is the samples that were refused: VictoriaMetrics answers 400 at a path that it
    /// does not know, too. Where even a write without samples is refused, nothing is dropped.
    async fn check_place(&self, refusal: &HttpError) -> Result<(), HttpError> {
        let nothing = remote_write::compress(&[]).map_err(|error| bug(&error))?;
        match self.send(nothing).await {
            Err(HttpError::Refused { status, .. }) => {
                let refusal = chain(refusal);
                let what = format!("{refusal} (it refuses even an empty write: is the URL right?)");
                Err(HttpError::Away { what, status: Some(status), retry_after: None })
            }
            answer => answer,
        }
    }

    /// Sends what was refused once more, for who takes an empty write now may have begun to since,
    /// and then in smaller and smaller parts, in order.
    async fn ship_parts(&mut self, series: Vec<TimeSeries>) -> Result<(), HttpError> {
        let mut dropped = Dropped::default();
        let shipped = self.ship_halves(series, &mut dropped).await;
        if let Some((what, error)) = &dropped.first {
            self.refused(dropped.samples, what, error);
        }
        shipped
    }

    async fn ship_halves(
        &mut self,
        series: Vec<TimeSeries>,
        dropped: &mut Dropped,
    ) -> Result<(), HttpError> {
        // The parts that are left to be sent, the next one last. Earlier samples of a series go
        // before later ones, which many an engine insists on.
        let mut parts = vec![series];
        while let Some(part) = parts.pop() {
            match self.send_series(&part).await {
                Ok(()) => {}
                Err(error @ HttpError::Refused { .. }) => {
                    if let Some((first, second)) = dropped.halves(part, &error) {
                        parts.extend([second, first]);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn send_series(&self, series: &[TimeSeries]) -> Result<(), HttpError> {
        let request = WriteRequest { series: series.to_vec(), metadata: Vec::new() };
        let body = remote_write::encode(&request).map_err(|error| bug(&error))?;
        self.send(body).await?;
        self.delivered(request.samples_len() as u64);
        Ok(())
    }

    async fn send_all(&self, items: &[Queued]) -> Result<(), HttpError> {
        if let [item] = items {
            return self.send(item.content.clone()).await;
        }
        let mut message = Vec::new();
        for item in items {
            message.extend(remote_write::decompress(&item.content).map_err(|error| bug(&error))?);
        }
        self.send(remote_write::compress(&message).map_err(|error| bug(&error))?).await
    }

    async fn send(&self, body: Vec<u8>) -> Result<(), HttpError> {
        let ask = Ask { uri: self.uri.clone(), body: Some(Bytes::from(body)), headers: HEADERS };
        let answer = self.http.send(ask).await?;
        let rest = Limited::new(answer.into_body(), ANSWER_LEN_MAX).collect();
        let _ = tokio::time::timeout(ANSWER_TIME_MAX, rest).await;
        Ok(())
    }

    fn delivered(&self, samples: u64) {
        self.shipped.delivered.fetch_add(samples, Ordering::Relaxed);
        if self.shipped.away().is_some() {
            tracing::info!(uri = %self.uri, "the engine takes writes again");
            self.shipped.set_away(None);
        }
    }

    fn refused(&self, samples: u64, what: &str, error: &str) {
        self.shipped.refused.fetch_add(samples, Ordering::Relaxed);
        tracing::error!(samples, first = what, error, "the engine refused samples for good");
        self.shipped.set_away(None);
    }

    /// Takes note of a failure; gives how long to wait.
    fn failed(&mut self, error: &HttpError) -> Duration {
        let text = chain(error);
        self.shipped.failures.fetch_add(1, Ordering::Relaxed);
        // The first failure is news; those that follow are the same story.
        if self.shipped.away().is_none() {
            self.failures = 0;
            tracing::warn!(uri = %self.uri, "writes wait, the engine does not take them: {text}");
        } else {
            tracing::debug!(uri = %self.uri, failures = self.failures, "{text}");
        }
        self.shipped.set_away(Some(text));
        let wait = wait(self.failures);
        self.failures = self.failures.saturating_add(1);
        match error {
            HttpError::Away { retry_after: Some(asked), .. } => wait.max(*asked),
            _ => wait,
        }
    }

    async fn ack(&self, id: i64) {
        let queue = Arc::clone(&self.queue);
        let acked = tokio::task::spawn_blocking(move || queue.ack(id)).await;
        if let Ok(Err(error)) = acked {
            // Not forgotten on disk: after a restart it would be sent again, which does no harm.
            tracing::warn!(error = chain(&error), "what was delivered stays in the queue's file");
        }
    }
}

/// What of one write was refused for good.
#[derive(Debug, Default)]
struct Dropped {
    parts: usize,
    samples: u64,
    /// The first of it, and what the engine said.
    first: Option<(String, String)>,
}

impl Dropped {
    /// A part of a refused write in two halves, by series or by samples. What cannot or need not
    /// be halved is dropped.
    fn halves(
        &mut self,
        mut part: Vec<TimeSeries>,
        error: &HttpError,
    ) -> Option<(Vec<TimeSeries>, Vec<TimeSeries>)> {
        let samples: usize = part.iter().map(|series| series.samples.len()).sum();
        if samples > 1 && self.parts < REFUSED_PARTS_MAX {
            if part.len() > 1 {
                let second = part.split_off(part.len() / 2);
                return Some((part, second));
            }
            let mut first = part.pop()?;
            let later = first.samples.split_off(first.samples.len() / 2);
            let second = TimeSeries { labels: first.labels.clone(), samples: later };
            return Some((vec![first], vec![second]));
        }
        self.parts += 1;
        self.samples += samples as u64;
        let first = part.iter().find_map(|series| Some((series, series.samples.first()?)));
        if let (None, Some((series, sample))) = (&self.first, first) {
            self.first = Some((format!("{} at {}", series.labels, sample.time_ms), chain(error)));
        }
        None
    }
}

/// What was made here cannot be sent: a bug, and trying again would not mend it.
fn bug(error: &dyn std::error::Error) -> HttpError {
    let reason = chain(error);
    HttpError::Refused { place: "labstat".to_owned(), status: StatusCode::BAD_REQUEST, reason }
}

/// The wait after `failures` failures before this one: between half and all of the doubled wait.
fn wait(failures: u32) -> Duration {
    let full = WAIT_MIN.saturating_mul(1 << failures.min(16)).min(WAIT_MAX);
    let random = u32::try_from(RandomState::new().hash_one(failures) % 1024).unwrap_or(0);
    full / 2 + (full / 2).mul_f64(f64::from(random) / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_vary() {
        for (failures, full) in [(0, 500), (1, 1_000), (3, 4_000), (7, 30_000), (99, 30_000)] {
            let wait = wait(failures);
            let full = Duration::from_millis(full);
            assert!((full / 2..=full).contains(&wait), "{failures}: {wait:?}");
        }
    }
}
