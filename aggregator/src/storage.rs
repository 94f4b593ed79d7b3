//! The one door to the history: a small trait, so that another engine can take the store's place.
//! The two there are stand in [`crate::engine`].
//!
//! The vocabulary (what a write came to, how much there is) is that of `labstat-store`; its errors
//! are narrowed to what a caller can do about them. All methods block: they are called from
//! blocking threads only.

use std::error::Error;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use labstat_alerts::manager::merged;
use labstat_alerts::{Database, Entry, Ledger, LedgerError};
pub(crate) use labstat_model::error_chain as chain;
use labstat_model::{
    BucketColumns, HistogramSeries, Labels, Matcher, Metadata, MixedRequest, Rolled, Series, Tiers,
    WriteView, bucket_range,
};
use labstat_promql::{BucketScan, Scan, Source, SourceError};
use labstat_store::{Appended, Documents, Maintained, NEVER, QueueStats, Stats, Stop};

use crate::unstored::Unstored;

/// What the keys of the ledger's rows have before them among the store's documents.
const LEDGER: &str = "alerts/";

/// Why samples or a document were not kept. The sender still has them and may try again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteFailed {
    /// There is no room; there may be later.
    #[error("the store is full")]
    Full(#[source] Box<dyn Error + Send + Sync>),
    /// The aggregator is being stopped.
    #[error("the store is closed")]
    Closed,
    /// Anything else; trying again may help.
    #[error("failed to write to the store")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

/// Why a read or a chore did not work.
#[derive(Debug, thiserror::Error)]
#[error("failed to {operation}")]
pub(crate) struct StorageError {
    operation: &'static str,
    #[source]
    cause: Box<dyn Error + Send + Sync>,
    kind: ErrorKind,
}

/// What a failed read or chore means for whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// It did not work, and trying again would not help.
    Failed,
    /// Whoever has the samples cannot be asked just now.
    Away,
    /// This engine does not do that.
    Unsupported,
    /// More samples than one read may have.
    TooMuch,
    /// Nobody waits for it any more.
    Stopped,
}

impl StorageError {
    /// `operation` failed because of `cause`, which means `kind` for whoever asked.
    pub(crate) fn new(
        kind: ErrorKind,
        operation: &'static str,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { operation, cause: cause.into(), kind }
    }

    /// As [`Self::new`], of the kind [`ErrorKind::Failed`].
    pub(crate) fn failed(
        operation: &'static str,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::new(ErrorKind::Failed, operation, cause)
    }

    /// What it means for whoever asked.
    pub(crate) fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// What another engine has taken so far, and what waits for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// What waits.
    pub(crate) queue: QueueStats,
    /// Samples it took since the start.
    pub(crate) delivered: u64,
    /// Samples it refused for good since the start.
    pub(crate) refused: u64,
    /// Requests that failed and were or will be made again.
    pub(crate) failures: u64,
    /// Whether the last request failed.
    pub(crate) away: bool,
}

/// Where samples are kept. Ranges include both ends; answers are sorted.
pub(crate) trait Storage: fmt::Debug + Send + Sync {
    /// Keeps a write; on return what was accepted is on disk.
    fn append(&self, write: &dyn WriteView) -> Result<Appended, WriteFailed>;
    /// The series that fulfil all matchers, with their samples.
    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, StorageError>;
    /// The same series, each with at most its newest sample of the range. This and other look-ups
    /// end early when `stop` says so, with an error of the kind [`ErrorKind::Stopped`].
    fn newest(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        stop: Stop<'_>,
    ) -> Result<Vec<Series>, StorageError> {
        let _ = stop;
        let mut series = self.select(matchers, start_ms, end_ms)?;
        series.iter_mut().for_each(Series::keep_newest);
        Ok(series)
    }
    /// As [`Storage::select`], to be read in parts; see [`Source::scan`].
    fn scan(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Box<dyn Scan + '_>, StorageError> {
        Ok(Box::new(self.select(matchers, start_ms, end_ms)?))
    }
    /// As [`Storage::newest`], to be read in parts.
    fn scan_newest(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Box<dyn Scan + '_>, StorageError> {
        Ok(Box::new(self.newest(matchers, start_ms, end_ms, NEVER)?))
    }
    /// The native histograms of the same series; see [`Source::histograms`].
    fn histograms(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<HistogramSeries>, StorageError> {
        let _ = (matchers, start_ms, end_ms);
        Ok(Vec::new())
    }
    /// Since when there are samples, and which buckets can be asked for.
    fn tiers(&self) -> Tiers {
        Tiers::SAMPLES_ONLY
    }
    /// The same series, their samples rolled up; see [`Source::buckets`].
    fn buckets(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        bucket_ms: i64,
        columns: BucketColumns,
    ) -> Result<Vec<Rolled>, StorageError> {
        let (first_ms, last_ms) = bucket_range(start_ms, end_ms, bucket_ms);
        let series = self.select(matchers, first_ms, last_ms)?;
        Ok(series.iter().map(|series| Rolled::of(series, bucket_ms, columns)).collect())
    }
    /// As [`Storage::buckets`], to be read in parts.
    fn scan_buckets(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        bucket_ms: i64,
        columns: BucketColumns,
    ) -> Result<Box<dyn BucketScan + '_>, StorageError> {
        Ok(Box::new(self.buckets(matchers, start_ms, end_ms, bucket_ms, columns)?))
    }
    /// The label sets of the series that fulfil any of the lists, or of all without a list.
    fn series(
        &self,
        any: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
        stop: Stop<'_>,
    ) -> Result<Vec<Labels>, StorageError>;
    /// The label names of the same series.
    fn label_names(
        &self,
        any: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
        stop: Stop<'_>,
    ) -> Result<Vec<String>, StorageError>;
    /// The values of one label of the same series.
    fn label_values(
        &self,
        name: &str,
        any: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
        stop: Stop<'_>,
    ) -> Result<Vec<String>, StorageError>;
    /// What senders said of metric families, sorted by name.
    fn metadata(&self) -> Result<Vec<Metadata>, StorageError>;
    /// How much there is here. Asks nobody, so that `/metrics` always answers.
    fn stats(&self) -> Stats;
    /// How much there is wherever the samples are, with the `max` largest cardinalities of each
    /// kind.
    fn cardinalities(&self, max: usize, stop: Stop<'_>) -> Result<Stats, StorageError>;
    /// Whether what was written shows in what is read, near enough for rules: they would take a gap
    /// for silence. An error pauses them.
    fn settled(&self) -> Result<(), StorageError> {
        Ok(())
    }
    /// How far writes have come that another engine takes; `None` when they are kept here.
    fn delivery(&self) -> Option<Delivery> {
        None
    }
    /// A small durable document.
    fn document_get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError>;
    /// Keeps a small document; on return it is on disk.
    fn document_put(&self, key: &str, document: &[u8]) -> Result<(), WriteFailed>;
    /// The small durable documents whose keys begin with `prefix`, ascending by key.
    fn documents(&self, prefix: &str) -> Result<Documents, StorageError>;
    /// Keeps small documents and takes others away, all or nothing; on return it is on disk.
    fn documents_put(&self, changes: &[(&str, Option<&[u8]>)]) -> Result<(), WriteFailed>;
    /// Does what makes the first reads after the start as fast as the later ones.
    fn prepare(&self) {}
    /// Does what is due; a bounded amount of work.
    fn maintain(&self, now_ms: i64) -> Result<Maintained, StorageError>;
    /// Seals and compacts all there is.
    fn compact(&self) -> Result<Maintained, StorageError>;
    /// Ends it.
    fn close(&self) -> Result<(), WriteFailed>;
}

/// The store as requests, queries and rules share it.
#[derive(Debug, Clone)]
pub(crate) struct SharedStorage(Arc<dyn Storage>);

impl SharedStorage {
    pub(crate) fn new(storage: impl Storage + 'static) -> Self {
        Self(Arc::new(storage))
    }
}

impl Deref for SharedStorage {
    type Target = dyn Storage;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl Source for SharedStorage {
    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, SourceError> {
        let read = self.0.select(matchers, start_ms, end_ms);
        read.map_err(|error| SourceError(Box::new(error)))
    }

    fn newest(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, SourceError> {
        let read = self.0.newest(matchers, start_ms, end_ms, NEVER);
        read.map_err(|error| SourceError(Box::new(error)))
    }

    fn scan(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Box<dyn Scan + '_>, SourceError> {
        let scan = self.0.scan(matchers, start_ms, end_ms);
        scan.map_err(|error| SourceError(Box::new(error)))
    }

    fn scan_newest(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Box<dyn Scan + '_>, SourceError> {
        let scan = self.0.scan_newest(matchers, start_ms, end_ms);
        scan.map_err(|error| SourceError(Box::new(error)))
    }

    fn histograms(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<HistogramSeries>, SourceError> {
        let read = self.0.histograms(matchers, start_ms, end_ms);
        read.map_err(|error| SourceError(Box::new(error)))
    }

    fn tiers(&self) -> Tiers {
        self.0.tiers()
    }

    fn buckets(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        bucket_ms: i64,
        columns: BucketColumns,
    ) -> Result<Vec<Rolled>, SourceError> {
        let read = self.0.buckets(matchers, start_ms, end_ms, bucket_ms, columns);
        read.map_err(|error| SourceError(Box::new(error)))
    }

    fn scan_buckets(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        bucket_ms: i64,
        columns: BucketColumns,
    ) -> Result<Box<dyn BucketScan + '_>, SourceError> {
        let scan = self.0.scan_buckets(matchers, start_ms, end_ms, bucket_ms, columns);
        scan.map_err(|error| SourceError(Box::new(error)))
    }
}

/// The history as rules see it: they are not evaluated over one that lacks what was written, and see
/// what the aggregator says of itself, and of who is heard, though there is no room for it.
#[derive(Debug, Clone)]
pub(crate) struct Settled {
    pub(crate) storage: SharedStorage,
    pub(crate) unstored: Arc<Unstored>,
}

impl Settled {
    fn check(&self) -> Result<(), SourceError> {
        self.storage.settled().map_err(|error| SourceError(Box::new(error)))
    }
}

impl Source for Settled {
    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, SourceError> {
        self.check()?;
        let held = self.unstored.select(matchers, start_ms, end_ms);
        Ok(merged(Source::select(&self.storage, matchers, start_ms, end_ms)?, &held))
    }

    fn newest(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, SourceError> {
        self.check()?;
        let held = self.unstored.select(matchers, start_ms, end_ms);
        let stored = Source::newest(&self.storage, matchers, start_ms, end_ms)?;
        let mut all = merged(stored, &held);
        all.iter_mut().for_each(Series::keep_newest);
        Ok(all)
    }

    fn scan(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Box<dyn Scan + '_>, SourceError> {
        self.check()?;
        if self.unstored.select(matchers, start_ms, end_ms).is_empty() {
            return Source::scan(&self.storage, matchers, start_ms, end_ms);
        }
        Ok(Box::new(self.select(matchers, start_ms, end_ms)?))
    }

    fn scan_newest(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Box<dyn Scan + '_>, SourceError> {
        self.check()?;
        if self.unstored.select(matchers, start_ms, end_ms).is_empty() {
            return Source::scan_newest(&self.storage, matchers, start_ms, end_ms);
        }
        Ok(Box::new(self.newest(matchers, start_ms, end_ms)?))
    }

    fn histograms(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<HistogramSeries>, SourceError> {
        self.check()?;
        Source::histograms(&self.storage, matchers, start_ms, end_ms)
    }

    fn tiers(&self) -> Tiers {
        Source::tiers(&self.storage)
    }

    fn buckets(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        bucket_ms: i64,
        columns: BucketColumns,
    ) -> Result<Vec<Rolled>, SourceError> {
        self.check()?;
        Source::buckets(&self.storage, matchers, start_ms, end_ms, bucket_ms, columns)
    }

    fn scan_buckets(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        bucket_ms: i64,
        columns: BucketColumns,
    ) -> Result<Box<dyn BucketScan + '_>, SourceError> {
        self.check()?;
        Source::scan_buckets(&self.storage, matchers, start_ms, end_ms, bucket_ms, columns)
    }
}

impl Database for Settled {
    fn append(&self, request: &MixedRequest) -> Result<(), Box<dyn Error + Send + Sync>> {
        let appended = self.storage.append(request)?;
        if let Some(refused) = appended.refusals.first() {
            tracing::warn!(count = appended.refused, "samples of rules were refused: {refused}");
        }
        Ok(())
    }

    fn newest_ms(&self) -> Option<i64> {
        self.storage.stats().newest_ms
    }
}

/// The state of the alerts, as documents of the store: backups have it, checks read it, and it is
/// here too when another engine has the samples.
impl Ledger for SharedStorage {
    fn load(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, LedgerError> {
        let found = self.0.documents(&format!("{LEDGER}{prefix}"));
        let found = found.map_err(|error| LedgerError(Box::new(error)))?;
        for key in &found.damaged {
            tracing::error!(key, "a row of the state of the alerts is damaged and left out");
        }
        let short =
            |(key, value): (String, Vec<u8>)| Some((key.strip_prefix(LEDGER)?.to_owned(), value));
        Ok(found.whole.into_iter().filter_map(short).collect())
    }

    fn commit(&self, entries: &[Entry]) -> Result<(), LedgerError> {
        let keys: Vec<String> =
            entries.iter().map(|entry| format!("{LEDGER}{}", entry.key)).collect();
        let values = entries.iter().map(|entry| entry.value.as_deref());
        let changes: Vec<_> = keys.iter().map(String::as_str).zip(values).collect();
        self.0.documents_put(&changes).map_err(|error| LedgerError(Box::new(error)))
    }
}
