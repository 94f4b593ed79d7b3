//! Another engine that speaks Prometheus' protocols, in the store's place: VictoriaMetrics,
//! Prometheus, Mimir, Thanos.
//!
//! ```text
//! append ─► queue (fsync) ─► 204        select, series, labels ─► its HTTP API
//!             └─► ship: remote write, in order, until it is taken
//! ```
//!
//! - `ship`: the task that delivers what is queued.
//! - `read`: raw samples by the best of the ways the engine has; `json`, `selector`: their texts.
//! - `http`: one request, and what its answer means.
//!
//! Documents (who is expected, the state of alerts) and what senders said of metric families stay
//! in the store of the data folder, which holds no samples then.
//!
//! What is queued and not delivered yet is not in any answer. As long as that is a matter of
//! seconds nobody notices; when the oldest write has waited for longer than [`LAG_MAX_MS`], rules
//! are not evaluated ([`Storage::settled`]), since they would take the gap for silence. When the
//! engine cannot be asked, queries fail with 503 and rules keep their state, in the same way.

mod http;
mod json;
mod read;
mod selector;
mod ship;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use labstat_model::{
    Clock, HistogramSample, HistogramsView, Labels, Matcher, Metadata, Series, WriteRequest,
    WriteView,
};
use labstat_store::{
    AppendError, Appended, Documents, Maintained, Notice, PushError, Queue, Refusal, Refused,
    Stats, Stop, Store,
};
use labstat_wire::remote_write::Message;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::{EngineConfig, EngineError};
use crate::storage::{Delivery, ErrorKind, Storage, StorageError, WriteFailed, chain};
use http::Http;
use read::{Reader, Times};
use ship::{Shipped, Shipper};

/// How long the oldest write may wait before rules are no longer evaluated: a fifth of the usual
/// look-back, and a hiccup of the engine fits.
const LAG_MAX_MS: i64 = 60_000;

/// How long a clean stop waits for the request that is under way.
const STOP_TIME_MAX: Duration = Duration::from_secs(5);

/// How long the engine's word on metric families is taken for true.
const FAMILIES_AGE_MAX: Duration = Duration::from_secs(300);

/// Bytes of an answer about families or cardinalities.
const SMALL_ANSWER_LEN_MAX: usize = 32 * 1024 * 1024;

/// What the engine said of metric families, and when.
type Families = Option<(Instant, BTreeMap<String, Metadata>)>;

/// The engine, with what is kept here for it.
#[derive(Debug)]
pub(super) struct RemoteEngine {
    local: Store,
    queue: Arc<Queue>,
    http: Arc<Http>,
    reader: Reader,
    clock: Arc<dyn Clock>,
    shipped: Arc<Shipped>,
    news: Arc<Notify>,
    stop: watch::Sender<bool>,
    shipper: Mutex<Option<JoinHandle<()>>>,
    closed: AtomicBool,
    appends: AtomicU64,
    families: Mutex<Families>,
}

impl RemoteEngine {
    /// Opens the queue in `dir`, which `local` holds, and starts to deliver what is in it. Within a
    /// tokio runtime, on a blocking thread. The engine need not be there yet.
    pub(super) fn open(
        dir: &Path,
        config: &EngineConfig,
        local: Store,
        samples_max: usize,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Vec<Notice>), EngineError> {
        let url = config.url.as_deref().unwrap_or_default();
        let http = Arc::new(Http::new(config)?);
        let uri = config.write_url().unwrap_or_default();
        let uri = uri.parse().map_err(|_| EngineError::Incomplete("its URL is none"))?;
        let (queue, notices) =
            Queue::open(dir, config.queue_max_bytes, clock.now_ms()).map_err(EngineError::Queue)?;
        let queue = Arc::new(queue);
        let (shipped, news) = (Arc::<Shipped>::default(), Arc::<Notify>::default());
        let (stop, stopped) = watch::channel(false);
        let shipper = Shipper {
            queue: Arc::clone(&queue),
            http: Arc::clone(&http),
            uri,
            shipped: Arc::clone(&shipped),
            news: Arc::clone(&news),
            stop: stopped,
            failures: 0,
        };
        let shipper = http.handle().spawn(shipper.run());
        let engine = Self {
            local,
            queue,
            reader: Reader::new(config, url, samples_max),
            http,
            clock,
            shipped,
            news,
            stop,
            shipper: Mutex::new(Some(shipper)),
            closed: AtomicBool::new(false),
            appends: AtomicU64::new(0),
            families: Mutex::default(),
        };
        Ok((engine, notices))
    }

    fn push(&self, write: &dyn WriteView) -> Result<Appended, WriteFailed> {
        let mut message = Message::new();
        let mut appended = Appended::default();
        for at in 0..write.series_len() {
            let Some(series) = write.series(at) else { continue };
            match write.labels(at) {
                Ok(labels) => message.series(labels.iter(), series.samples.iter().copied()),
                Err(error) => {
                    appended.bad_labels.series += 1;
                    appended.bad_labels.samples += series.samples.len();
                    appended.bad_labels.first.get_or_insert(error);
                }
            }
        }
        push_histograms(write, &mut message, &mut appended);
        for Metadata { family, kind, help, unit } in write.metadata() {
            message.metadata(family, *kind, help, unit);
        }
        appended.accepted = message.samples_len();
        if !message.is_empty() {
            let body = message.to_body().map_err(|error| WriteFailed::Failed(Box::new(error)))?;
            self.queue.push(self.clock.now_ms(), appended.accepted as u64, body)?;
            self.news.notify_one();
        }
        self.appends.fetch_add(1, Ordering::Relaxed);
        Ok(appended)
    }

    /// What the engine says of families, asked for anew now and then. It is an extra: what senders
    /// said here is known without it.
    fn families(&self) -> BTreeMap<String, Metadata> {
        let mut known = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, families)) = &*known
            && since.elapsed() < FAMILIES_AGE_MAX
        {
            return families.clone();
        }
        let answer = self.reader.get(&self.http, "/api/v1/metadata", SMALL_ANSWER_LEN_MAX);
        let read = answer
            .map_err(|error| chain(&error))
            .and_then(|answer| json::families(answer).map_err(|error| chain(&error)));
        let families = read.unwrap_or_else(|error| {
            tracing::debug!(error, "the engine says nothing of metric families");
            known.take().map(|(_, families)| families).unwrap_or_default()
        });
        *known = Some((Instant::now(), families.clone()));
        families
    }
}

/// Adds the native histograms of a write. Those that are none the engine would refuse, and with
/// them perhaps their whole request.
fn push_histograms(write: &dyn WriteView, message: &mut Message, appended: &mut Appended) {
    for at in 0..write.histograms_len() {
        let Some(HistogramsView { samples, .. }) = write.histograms(at) else { continue };
        let labels = match write.histogram_labels(at) {
            Ok(labels) => labels,
            Err(error) => {
                appended.bad_labels.series += 1;
                appended.bad_labels.samples += samples.len();
                appended.bad_labels.first.get_or_insert(error);
                continue;
            }
        };
        let mut good = Vec::with_capacity(samples.len());
        for HistogramSample { time_ms, histogram } in samples {
            match histogram {
                Ok(histogram) => good.push((*time_ms, histogram)),
                Err(error) => {
                    appended.refused += 1;
                    if appended.refusals.len() < Appended::REFUSALS_MAX {
                        let (reason, labels) = (Refusal::Histogram(*error), labels.clone());
                        appended.refusals.push(Refused { reason, labels, time_ms: *time_ms });
                    }
                }
            }
        }
        if !good.is_empty() {
            message.histograms(labels.iter(), good);
        }
    }
}

impl From<PushError> for WriteFailed {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Full { .. } => Self::Full(Box::new(error)),
            PushError::Write(error) => error.into(),
        }
    }
}

impl Storage for RemoteEngine {
    fn append(&self, write: &dyn WriteView) -> Result<Appended, WriteFailed> {
        if self.closed.load(Ordering::Acquire) {
            return Err(WriteFailed::Closed);
        }
        if !write.metadata().is_empty() {
            let metadata = write.metadata().to_vec();
            self.local.append(&WriteRequest { series: Vec::new(), metadata })?;
        }
        self.push(write)
    }

    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, StorageError> {
        self.reader.select(&self.http, matchers, Times { start_ms, end_ms })
    }

    fn series(
        &self,
        any: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
        _stop: Stop<'_>,
    ) -> Result<Vec<Labels>, StorageError> {
        self.reader.series(&self.http, any, Times { start_ms, end_ms })
    }

    fn label_names(
        &self,
        any: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
        _stop: Stop<'_>,
    ) -> Result<Vec<String>, StorageError> {
        let times = Times { start_ms, end_ms };
        if let Some(names) = self.reader.label_names(&self.http, any, times)? {
            return Ok(names);
        }
        let series = self.reader.series(&self.http, any, times)?;
        Ok(sorted(series.iter().flat_map(|labels| labels.iter().map(|(name, _)| name))))
    }

    fn label_values(
        &self,
        name: &str,
        any: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
        _stop: Stop<'_>,
    ) -> Result<Vec<String>, StorageError> {
        let times = Times { start_ms, end_ms };
        if let Some(values) = self.reader.label_values(&self.http, name, any, times)? {
            return Ok(values);
        }
        let series = self.reader.series(&self.http, any, times)?;
        Ok(sorted(series.iter().filter_map(|labels| labels.get(name))))
    }

    fn metadata(&self) -> Result<Vec<Metadata>, StorageError> {
        let mut families = self.families();
        families.extend(self.local.metadata().into_iter().map(|own| (own.family.clone(), own)));
        Ok(families.into_values().collect())
    }

    fn stats(&self) -> Stats {
        Stats { appends: self.appends.load(Ordering::Relaxed), ..self.local.stats() }
    }

    fn cardinalities(&self, max: usize, _stop: Stop<'_>) -> Result<Stats, StorageError> {
        // The two names that engines have for the same parameter.
        let path = format!("/api/v1/status/tsdb?limit={max}&topN={max}");
        let answer = self.reader.get(&self.http, &path, SMALL_ANSWER_LEN_MAX)?;
        json::cardinalities(answer)
            .map_err(|error| StorageError::failed("read the engine's cardinalities", error))
    }

    fn settled(&self) -> Result<(), StorageError> {
        let Some(oldest_ms) = self.queue.stats().oldest_ms else { return Ok(()) };
        let lag_ms = self.clock.now_ms().saturating_sub(oldest_ms);
        if lag_ms <= LAG_MAX_MS {
            return Ok(());
        }
        let why = self.shipped.away().unwrap_or_else(|| "they are on their way".to_owned());
        let what = format!("writes of the last {} s are not there yet: {why}", lag_ms / 1000);
        Err(StorageError::new(ErrorKind::Away, "read from the engine", what))
    }

    fn delivery(&self) -> Option<Delivery> {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Some(Delivery {
            queue: self.queue.stats(),
            delivered: load(&self.shipped.delivered),
            refused: load(&self.shipped.refused),
            failures: load(&self.shipped.failures),
            away: self.shipped.away().is_some(),
        })
    }

    fn document_get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        Storage::document_get(&self.local, key)
    }

    fn document_put(&self, key: &str, document: &[u8]) -> Result<(), WriteFailed> {
        Storage::document_put(&self.local, key, document)
    }

    fn documents(&self, prefix: &str) -> Result<Documents, StorageError> {
        Storage::documents(&self.local, prefix)
    }

    fn documents_put(&self, changes: &[(&str, Option<&[u8]>)]) -> Result<(), WriteFailed> {
        Storage::documents_put(&self.local, changes)
    }

    fn maintain(&self, now_ms: i64) -> Result<Maintained, StorageError> {
        Storage::maintain(&self.local, now_ms)
    }

    fn compact(&self) -> Result<Maintained, StorageError> {
        let what = "the samples are another engine's, which does so itself";
        Err(StorageError::new(ErrorKind::Unsupported, "compact the store", what))
    }

    fn close(&self) -> Result<(), WriteFailed> {
        self.closed.store(true, Ordering::Release);
        let _ = self.stop.send(true);
        let shipper = self.shipper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut shipper) = shipper {
            self.http.handle().block_on(async {
                if tokio::time::timeout(STOP_TIME_MAX, &mut shipper).await.is_err() {
                    shipper.abort();
                }
            });
        }
        let queue = self.queue.close().map_err(AppendError::into);
        let local = Storage::close(&self.local);
        queue.and(local)
    }
}

fn sorted<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let all: std::collections::BTreeSet<&str> = texts.collect();
    all.into_iter().map(str::to_owned).collect()
}
