//! The store in the data folder as an engine.

use std::error::Error;
use std::ops::ControlFlow;

use labstat_model::{
    BucketColumns, HistogramSeries, Labels, Matcher, Metadata, Rolled, Series, SeriesRef, Tiers,
    WriteView,
};
use labstat_promql::{BucketScan, Scan, SourceError};
use labstat_store::{AppendError, Appended, Documents, Maintained, ReadError, Stats, Stop, Store};

use crate::storage::{ErrorKind, Storage, StorageError, WriteFailed};

/// A read that gave nothing.
fn unread(operation: &'static str) -> impl FnOnce(ReadError) -> StorageError {
    move |cause| match cause {
        ReadError::TooManySamples { .. } => StorageError::new(ErrorKind::TooMuch, operation, cause),
        ReadError::Stopped => StorageError::new(ErrorKind::Stopped, operation, cause),
        ReadError::Database { .. } => StorageError::failed(operation, cause),
    }
}

fn failed<E: Error + Send + Sync + 'static>(
    operation: &'static str,
) -> impl FnOnce(E) -> StorageError {
    move |cause| StorageError::failed(operation, cause)
}

impl From<AppendError> for WriteFailed {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::StorageFull { .. } => Self::Full(Box::new(error)),
            AppendError::Closed => Self::Closed,
            other => Self::Failed(Box::new(other)),
        }
    }
}

/// A scan of the store, as queries read it.
struct LocalScan<'a>(labstat_store::Scan<'a>);

impl Scan for LocalScan<'_> {
    fn parts(&self) -> usize {
        self.0.parts()
    }

    fn is_sorted(&self) -> bool {
        self.0.is_sorted()
    }

    fn read(
        &self,
        part: usize,
        each: &mut dyn FnMut(SeriesRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let read = self.0.read(part, each).map_err(unread("read samples"));
        read.map_err(|error| SourceError(Box::new(error)))
    }
}

/// The same of buckets.
struct LocalBuckets<'a>(labstat_store::BucketScan<'a>);

impl BucketScan for LocalBuckets<'_> {
    fn parts(&self) -> usize {
        self.0.parts()
    }

    fn is_sorted(&self) -> bool {
        self.0.is_sorted()
    }

    fn read(
        &self,
        part: usize,
        each: &mut dyn FnMut(Rolled) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let read = self.0.read(part, each).map_err(unread("read buckets"));
        read.map_err(|error| SourceError(Box::new(error)))
    }
}

impl Storage for Store {
    fn append(&self, write: &dyn WriteView) -> Result<Appended, WriteFailed> {
        Ok(Self::append(self, write)?)
    }

    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, StorageError> {
        Self::select(self, matchers, start_ms, end_ms).map_err(unread("read samples"))
    }

    fn newest(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        stop: Stop<'_>,
    ) -> Result<Vec<Series>, StorageError> {
        Self::newest(self, matchers, start_ms, end_ms, stop).map_err(unread("read samples"))
    }

    fn scan(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Box<dyn Scan + '_>, StorageError> {
        let scan = Self::scan(self, matchers, start_ms, end_ms);
        Ok(Box::new(LocalScan(scan.map_err(unread("read samples"))?)))
    }

    fn scan_newest(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Box<dyn Scan + '_>, StorageError> {
        let scan = Self::scan_newest(self, matchers, start_ms, end_ms);
        Ok(Box::new(LocalScan(scan.map_err(unread("read samples"))?)))
    }

    fn histograms(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<HistogramSeries>, StorageError> {
        Self::histograms(self, matchers, start_ms, end_ms).map_err(unread("read histograms"))
    }

    fn tiers(&self) -> Tiers {
        Self::tiers(self)
    }

    fn buckets(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        bucket_ms: i64,
        columns: BucketColumns,
    ) -> Result<Vec<Rolled>, StorageError> {
        let read = Self::buckets(self, matchers, start_ms, end_ms, bucket_ms, columns);
        read.map_err(unread("read buckets"))
    }

    fn scan_buckets(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        bucket_ms: i64,
        columns: BucketColumns,
    ) -> Result<Box<dyn BucketScan + '_>, StorageError> {
        let scan = Self::scan_buckets(self, matchers, start_ms, end_ms, bucket_ms, columns);
        Ok(Box::new(LocalBuckets(scan.map_err(unread("read buckets"))?)))
    }

    fn series(
        &self,
        any: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
        stop: Stop<'_>,
    ) -> Result<Vec<Labels>, StorageError> {
        Self::series(self, any, start_ms, end_ms, stop).map_err(unread("read series"))
    }

    fn label_names(
        &self,
        any: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
        stop: Stop<'_>,
    ) -> Result<Vec<String>, StorageError> {
        Self::label_names(self, any, start_ms, end_ms, stop).map_err(unread("read label names"))
    }

    fn label_values(
        &self,
        name: &str,
        any: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
        stop: Stop<'_>,
    ) -> Result<Vec<String>, StorageError> {
        Self::label_values(self, name, any, start_ms, end_ms, stop)
            .map_err(unread("read label values"))
    }

    fn metadata(&self) -> Result<Vec<Metadata>, StorageError> {
        Ok(Self::metadata(self))
    }

    fn stats(&self) -> Stats {
        Self::stats(self)
    }

    fn cardinalities(&self, max: usize, stop: Stop<'_>) -> Result<Stats, StorageError> {
        self.stats_with(max, stop).map_err(unread("count series"))
    }

    fn document_get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        Self::document_get(self, key).map_err(failed("read a document"))
    }

    fn document_put(&self, key: &str, document: &[u8]) -> Result<(), WriteFailed> {
        Ok(Self::document_put(self, key, document)?)
    }

    fn documents(&self, prefix: &str) -> Result<Documents, StorageError> {
        Self::documents(self, prefix).map_err(failed("read documents"))
    }

    fn documents_put(&self, changes: &[(&str, Option<&[u8]>)]) -> Result<(), WriteFailed> {
        Ok(Self::documents_put(self, changes)?)
    }

    fn prepare(&self) {
        Self::prepare(self);
    }

    fn maintain(&self, now_ms: i64) -> Result<Maintained, StorageError> {
        Self::maintain(self, now_ms).map_err(failed("maintain the store"))
    }

    fn compact(&self) -> Result<Maintained, StorageError> {
        Self::compact(self).map_err(failed("compact the store"))
    }

    fn close(&self) -> Result<(), WriteFailed> {
        Ok(Self::close(self)?)
    }
}
