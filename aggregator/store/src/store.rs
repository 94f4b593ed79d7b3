//! The store as its callers see it.

use std::path::Path;

use labstat_model::{Labels, Matcher, Metadata, Series, WriteRequest};

use crate::{
    AppendError, Appended, MaintainError, Maintained, Notice, OpenError, Options, ReadError, Stats,
};

/// The history of a lab in one directory. All methods may be called from many threads at once.
#[derive(Debug)]
pub struct Store {}

impl Store {
    /// Opens the store in `dir`, which is made when it is not there.
    ///
    /// A damaged database does not fail: it is set aside, what reads is kept, and the notices say
    /// so.
    pub fn open(_dir: &Path, _options: Options) -> Result<(Self, Vec<Notice>), OpenError> {
        Ok((Self {}, Vec::new()))
    }

    /// Keeps a write; on return all that was accepted is on disk. Writes that arrive together
    /// share one wait for the disk. Of one write, all accepted samples are kept or none.
    pub fn append(&self, _request: &WriteRequest) -> Result<Appended, AppendError> {
        Err(AppendError::Closed)
    }

    /// The series that fulfil all matchers, with their samples from `start_ms` to `end_ms`, both
    /// included, sorted by labels. Series without a sample in the range are left out. Stale
    /// markers are among the samples, as they were sent.
    pub fn select(
        &self,
        _matchers: &[Matcher],
        _start_ms: i64,
        _end_ms: i64,
    ) -> Result<Vec<Series>, ReadError> {
        Ok(Vec::new())
    }

    /// The label sets, sorted, of the series that fulfil any of the matcher lists (all series
    /// when there is no list) and whose samples reach into the range.
    pub fn series(
        &self,
        _any: &[Vec<Matcher>],
        _start_ms: i64,
        _end_ms: i64,
    ) -> Result<Vec<Labels>, ReadError> {
        Ok(Vec::new())
    }

    /// The label names, sorted, of the same series as [`Store::series`].
    pub fn label_names(
        &self,
        _any: &[Vec<Matcher>],
        _start_ms: i64,
        _end_ms: i64,
    ) -> Result<Vec<String>, ReadError> {
        Ok(Vec::new())
    }

    /// The values of the label `name`, sorted, of the same series as [`Store::series`].
    pub fn label_values(
        &self,
        _name: &str,
        _any: &[Vec<Matcher>],
        _start_ms: i64,
        _end_ms: i64,
    ) -> Result<Vec<String>, ReadError> {
        Ok(Vec::new())
    }

    /// What senders said of metric families, sorted by name.
    pub fn metadata(&self) -> Vec<Metadata> {
        Vec::new()
    }

    /// How much there is.
    pub fn stats(&self) -> Stats {
        Stats::default()
    }

    /// A small document kept under `key`, as [`Store::document_put`] got it.
    pub fn document_get(&self, _key: &str) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(None)
    }

    /// Keeps a small document under `key`, in place of what was there; on return it is on disk.
    pub fn document_put(&self, _key: &str, _document: &[u8]) -> Result<(), AppendError> {
        Err(AppendError::Closed)
    }

    /// Does what is due: seals the head, merges small blobs, drops what is past the retention.
    /// To be called every minute or so; one call does a bounded amount of work.
    pub fn maintain(&self, _now_ms: i64) -> Result<Maintained, MaintainError> {
        Ok(Maintained::default())
    }

    /// Seals and merges all there is, and answers when it is on disk.
    pub fn compact(&self) -> Result<Maintained, MaintainError> {
        Ok(Maintained::default())
    }

    /// Ends the store: later writes are refused, and the files are left as small as they are.
    pub fn close(&self) -> Result<(), AppendError> {
        Ok(())
    }
}
