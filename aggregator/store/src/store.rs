//! The store as its callers see it, and what its parts share.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{
    Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

use labstat_model::{BucketColumns, Labels, Matcher, Metadata, Rolled, Series, Tiers, WriteView};
use rusqlite::Connection;

use crate::blob::BlobMeta;
use crate::cache::Cache;
use crate::db::{self, Db, FILE};
use crate::maintain::Maintenance;
use crate::patience::{NEVER, Patience, Stop};
use crate::read::is_structure;
use crate::rolled::BucketScan;
use crate::scan::Scan;
use crate::state::State;
use crate::varint::Malformed;
use crate::write::Writer;
use crate::{
    AppendError, Appended, Documents, MaintainError, Maintained, Notice, OpenError, Options,
    ReadError, Stats, salvage,
};

/// Names of the highest cardinalities that [`Stats`] has when nothing is said.
const CARDINALITIES_MAX: usize = 10;

/// Stands for all parts of a blob.
const WHOLE: u32 = u32::MAX;

/// The history of a lab in one directory. All methods may be called from many threads at once.
///
/// Locks are taken in this order and never the other way: maintenance, writer, database, state.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    options: Options,
    state: RwLock<State>,
    /// Dropped before the connection that writes, which tidies up when it is the last one.
    readers: Mutex<Vec<Connection>>,
    db: Mutex<Db>,
    writer: Mutex<Writer>,
    /// Whether one of the waiting writers commits.
    leading: Mutex<bool>,
    /// Rung when a commit has ended.
    landing: Condvar,
    cache: Cache,
    maintenance: Mutex<Maintenance>,
    /// Blobs and their parts that are left out of answers; [`WHOLE`] is all of a blob.
    damaged: Mutex<BTreeSet<(i64, u32)>>,
    next_blob: AtomicI64,
    /// Grows when another file takes the database's place, so that connections to the old one are
    /// not used again.
    generation: AtomicU64,
    /// Before this time, in milliseconds since the Unix epoch, no mending is tried again.
    mend_after_ms: AtomicI64,
    seal_backoff: AtomicUsize,
    appends: AtomicU64,
    commits: AtomicU64,
    /// Holds the directory for this process; the system lets go of it when the process ends,
    /// however it does.
    _lock: fs::File,
}

impl Store {
    /// Opens the store in `dir`, which is made when it is not there.
    ///
    /// A damaged database does not fail: it is set aside, what reads is kept, and the notices say
    /// so.
    pub fn open(dir: &Path, options: Options) -> Result<(Self, Vec<Notice>), OpenError> {
        let lock = lock(dir)?;
        let (opened, notices) = salvage::open(dir, &options)?;
        let salvage::Opened { db, state, next_series, next_blob } = opened;
        let writer = Writer::new(&state.index, next_series);
        let store = Self {
            path: dir.join(FILE),
            cache: Cache::new(options.cache_size_max_bytes),
            options,
            state: RwLock::new(state),
            db: Mutex::new(db),
            writer: Mutex::new(writer),
            leading: Mutex::new(false),
            landing: Condvar::new(),
            readers: Mutex::new(Vec::new()),
            maintenance: Mutex::new(Maintenance::default()),
            damaged: Mutex::new(BTreeSet::new()),
            next_blob: AtomicI64::new(next_blob),
            generation: AtomicU64::new(0),
            mend_after_ms: AtomicI64::new(i64::MIN),
            seal_backoff: AtomicUsize::new(0),
            appends: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            _lock: lock,
        };
        Ok((store, notices))
    }

    /// Keeps a write; on return all that was accepted is on disk. Writes that arrive together
    /// share one wait for the disk. Of one write, all accepted samples are kept or none.
    pub fn append(&self, write: &dyn WriteView) -> Result<Appended, AppendError> {
        let appended = self.append_grouped(write)?;
        self.appends.fetch_add(1, Ordering::Relaxed);
        Ok(appended)
    }

    /// The series that fulfil all matchers, with their samples from `start_ms` to `end_ms`, both
    /// included, sorted by labels. Series without a sample in the range are left out. Stale
    /// markers are among the samples, as they were sent.
    pub fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, ReadError> {
        self.select_series(matchers, (start_ms, end_ms))
    }

    /// The same series as [`Store::select`], to be read part by part. As far as samples come in
    /// order, all parts see the state of this call; a sample that comes late may be in a part that
    /// is read after it came. They are sorted by labels when the scan says so, which it does
    /// unless it is of many millions of samples.
    pub fn scan(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Scan<'_>, ReadError> {
        self.scan_all(matchers, (start_ms, end_ms))
    }

    /// As [`Store::newest`], to be read part by part.
    pub fn scan_newest(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Scan<'_>, ReadError> {
        self.scan_newest_of(matchers, (start_ms, end_ms))
    }

    /// The same series as [`Store::select`], each with its newest sample of the range alone, be
    /// it a stale marker or not. Answered from memory where the newest sample of all is in range.
    /// Ends early when `stop` says so.
    pub fn newest(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        stop: Stop<'_>,
    ) -> Result<Vec<Series>, ReadError> {
        self.newest_of(matchers, (start_ms, end_ms), stop)
    }

    /// Since when there is what: samples, and buckets of each width.
    pub fn tiers(&self) -> Tiers {
        self.tiers_now()
    }

    /// Of the series that fulfil all matchers, sorted by labels, the buckets of width `bucket_ms`
    /// that hold the times from `start_ms` to `end_ms`, those at both ends whole, with at least
    /// `columns`. The samples of a series come in place of its buckets where none of these are in
    /// store, and where samples have run out ([`Store::tiers`]) and those of the series have not,
    /// be it for a policy or since it has few.
    pub fn buckets(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        bucket_ms: i64,
        columns: BucketColumns,
    ) -> Result<Vec<Rolled>, ReadError> {
        self.buckets_of(matchers, (start_ms, end_ms), bucket_ms, columns)
    }

    /// As [`Store::buckets`], to be read part by part. They are sorted by labels when the scan says
    /// so, which it does when there is one part.
    pub fn scan_buckets(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        bucket_ms: i64,
        columns: BucketColumns,
    ) -> Result<BucketScan<'_>, ReadError> {
        self.scan_buckets_of(matchers, (start_ms, end_ms), bucket_ms, columns)
    }

    /// The label sets, sorted, of the series that fulfil any of the matcher lists (all series
    /// when there is no list) and whose first and last samples span a stretch of time that
    /// overlaps the range. It ends early, with [`ReadError::Stopped`], when `stop` says so.
    pub fn series(
        &self,
        any: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
        stop: Stop<'_>,
    ) -> Result<Vec<Labels>, ReadError> {
        let patience = Patience::new(stop);
        let found = self.state().index.series(any, (start_ms, end_ms), &patience);
        let (series, unranked) = found?;
        self.note_unranked(unranked);
        Ok(series)
    }

    /// The label names, sorted, of the same series as [`Store::series`].
    pub fn label_names(
        &self,
        any: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
        stop: Stop<'_>,
    ) -> Result<Vec<String>, ReadError> {
        self.state().index.label_names(any, (start_ms, end_ms), &Patience::new(stop))
    }

    /// The values of the label `name`, sorted, of the same series as [`Store::series`].
    pub fn label_values(
        &self,
        name: &str,
        any: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
        stop: Stop<'_>,
    ) -> Result<Vec<String>, ReadError> {
        self.state().index.label_values(name, any, (start_ms, end_ms), &Patience::new(stop))
    }

    /// What senders said of metric families, sorted by name.
    pub fn metadata(&self) -> Vec<Metadata> {
        self.state().metadata.values().cloned().collect()
    }

    /// How much there is.
    pub fn stats(&self) -> Stats {
        // Nobody stops it, so that it does not fail.
        self.stats_with(CARDINALITIES_MAX, NEVER).unwrap_or_default()
    }

    /// How much there is, with the `max` highest cardinalities of each kind. Ends early when
    /// `stop` says so.
    pub fn stats_with(&self, max: usize, stop: Stop<'_>) -> Result<Stats, ReadError> {
        let cache = self.cache.usage();
        let mut stats = Stats {
            cache_bytes: cache.size_bytes,
            cache_hits: cache.hits,
            cache_misses: cache.misses,
            file_bytes: self.file_bytes(),
            appends: self.appends.load(Ordering::Relaxed),
            commits: self.commits.load(Ordering::Relaxed),
            damaged_blobs: self.damaged_len(),
            ..Stats::default()
        };
        let state = self.state();
        stats.series = state.index.len();
        stats.label_pairs = state.index.pairs_len();
        for head in state.heads() {
            stats.head_series = stats.head_series.max(head.series_len());
            stats.head_samples += head.samples_len();
            stats.head_bytes += head.size_bytes();
        }
        for meta in state.blobs() {
            stats.blobs += 1;
            if meta.tier > 0 {
                stats.rolled_blobs += 1;
                stats.rolled_bytes += meta.size_bytes;
                continue;
            }
            stats.sealed_samples += meta.samples;
            stats.sealed_bytes += meta.size_bytes;
        }
        stats.oldest_ms = state.index.oldest_ms();
        stats.newest_ms = state.index.newest_ms();
        let most = state.index.cardinality(max, &Patience::new(stop))?;
        stats.metric_names = most.metric_names;
        stats.label_names = most.label_names;
        stats.label_bytes = most.label_bytes;
        stats.pairs = most.pairs;
        Ok(stats)
    }

    /// A small document kept under `key`, as [`Store::document_put`] got it.
    pub fn document_get(&self, key: &str) -> Result<Option<Vec<u8>>, ReadError> {
        self.with_reader(|conn| db::document(conn, key))
            .map_err(|cause| self.read_error("read a document", cause))
    }

    /// Keeps a small document under `key`, in place of what was there; on return it is on disk.
    pub fn document_put(&self, key: &str, document: &[u8]) -> Result<(), AppendError> {
        self.db().document_put(key, document)
    }

    /// The documents whose keys begin with `prefix`, ascending by key, and which of them are damaged.
    pub fn documents(&self, prefix: &str) -> Result<Documents, ReadError> {
        self.with_reader(|conn| db::documents(conn, prefix))
            .map_err(|cause| self.read_error("read documents", cause))
    }

    /// Keeps each document under its key, or takes it away where there is none any more, which one
    /// that is not there allows. All of it happens or nothing; on return it is on disk.
    pub fn documents_put(&self, changes: &[(&str, Option<&[u8]>)]) -> Result<(), AppendError> {
        self.db().documents_put(changes)
    }

    /// Puts all series in the order of their labels, which the first read of many would wait for
    /// otherwise. To be called once after the store was opened, beside everything else.
    pub fn prepare(&self) {
        let live = self.state().index.live_len();
        self.note_unranked(live);
    }

    /// Does what is due: seals the head, merges small blobs, drops what is past the retention.
    /// To be called every minute or so; one call does a bounded amount of work.
    pub fn maintain(&self, now_ms: i64) -> Result<Maintained, MaintainError> {
        self.maintain_due(now_ms)
    }

    /// Seals and merges all there is, and answers when it is on disk.
    pub fn compact(&self) -> Result<Maintained, MaintainError> {
        self.compact_all()
    }

    /// Ends the taking of writes, and moves SQLite's write-ahead log into the database. What is
    /// in the head stays in the log until the next start. Reads still work.
    pub fn close(&self) -> Result<(), AppendError> {
        self.writer().close();
        let _alone = self.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        self.db().checkpoint()
    }
}

/// What the parts of the store share.
impl Store {
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn db(&self) -> MutexGuard<'_, Db> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn leading(&self) -> &Mutex<bool> {
        &self.leading
    }

    pub(crate) fn landing(&self) -> &Condvar {
        &self.landing
    }

    pub(crate) fn readers(&self) -> &Mutex<Vec<Connection>> {
        &self.readers
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    pub(crate) fn maintenance(&self) -> &Mutex<Maintenance> {
        &self.maintenance
    }

    pub(crate) fn count_commit(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn seal_backoff(&self) -> usize {
        self.seal_backoff.load(Ordering::Relaxed)
    }

    pub(crate) fn set_seal_backoff(&self, samples: usize) {
        self.seal_backoff.store(samples, Ordering::Relaxed);
    }

    /// The id for a new blob.
    pub(crate) fn next_blob(&self) -> i64 {
        self.next_blob.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn generation(&self) -> &AtomicU64 {
        &self.generation
    }

    pub(crate) fn mend_after_ms(&self) -> &AtomicI64 {
        &self.mend_after_ms
    }

    /// Another file has taken the database's place.
    pub(crate) fn mended(&self, next_blob: i64) {
        self.next_blob.fetch_max(next_blob, Ordering::Relaxed);
        self.damaged().clear();
    }

    /// Whether a blob, or a part of it, is damaged.
    pub(crate) fn is_damaged(&self, blob: i64) -> bool {
        self.damaged().range((blob, 0)..=(blob, WHOLE)).next().is_some()
    }

    /// The damaged parts of a blob; `None` when all of it is.
    pub(crate) fn damaged_parts(&self, blob: i64) -> Option<Vec<u32>> {
        let damaged = self.damaged();
        if damaged.contains(&(blob, WHOLE)) {
            return None;
        }
        Some(damaged.range((blob, 0)..(blob, WHOLE)).map(|(_, part)| *part).collect())
    }

    fn damaged_len(&self) -> usize {
        let damaged = self.damaged();
        damaged.iter().map(|(blob, _)| blob).collect::<BTreeSet<_>>().len()
    }

    /// Leaves a damaged blob out of all answers from now on. It stays in the file.
    pub(crate) fn set_damaged(&self, meta: &BlobMeta, cause: Malformed) {
        self.set_part_damaged(meta, WHOLE, cause);
    }

    /// Leaves a damaged part of a blob out of all answers from now on.
    pub(crate) fn set_part_damaged(&self, meta: &BlobMeta, part: u32, cause: Malformed) {
        self.cache.forget(meta.id);
        if self.damaged().insert((meta.id, part)) {
            if is_structure(cause) {
                db::mark_broken(&self.path);
            }
            tracing::warn!(
                blob = meta.id,
                part = (part != WHOLE).then_some(part),
                first_ms = meta.first_ms,
                last_ms = meta.last_ms,
                samples = meta.samples,
                %cause,
                "a blob is damaged, and what does not read is left out of answers"
            );
        }
    }

    /// Lets go of what is kept of blobs that were replaced.
    pub(crate) fn forget(&self, old: &[BlobMeta]) {
        old.iter().for_each(|meta| self.cache.forget(meta.id));
    }

    fn damaged(&self) -> MutexGuard<'_, BTreeSet<(i64, u32)>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file_bytes(&self) -> u64 {
        let files = ["", "-wal", "-shm"].map(|suffix| {
            let mut name = self.path.clone().into_os_string();
            name.push(suffix);
            fs::metadata(name).map_or(0, |file| file.len())
        });
        files.iter().sum()
    }
}

/// Makes the directory and holds it for this process alone.
///
/// The lock is on the directory itself, so that nothing but SQLite's files lies in it.
fn lock(dir: &Path) -> Result<fs::File, OpenError> {
    let path = || dir.to_owned();
    make(dir).map_err(|cause| match cause.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::NotWritable { path: path(), cause }
        }
        _ => OpenError::CreateDir { path: path(), cause },
    })?;
    let file =
        fs::File::open(dir).map_err(|cause| OpenError::NotWritable { path: path(), cause })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(OpenError::InUse { path: path() }),
        Err(fs::TryLockError::Error(cause)) => Err(OpenError::NotWritable { path: path(), cause }),
    }
}

/// Makes a directory that is still there after a power loss: what is synced in it is of no use when
/// its own name was not.
fn make(dir: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
    fs::create_dir_all(dir)?;
    for parent in missing.into_iter().filter_map(Path::parent) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        // Some file systems sync no directories, and some parents may not be read.
        let _ = fs::File::open(parent).and_then(|parent| parent.sync_all());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use labstat_model::{ManualClock, Sample, TimeSeries, WriteRequest};

    use super::*;
    use crate::index::unranked_len;

    #[test]
    fn after_it_was_prepared_no_read_has_to_put_series_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let options = || Options::new(Arc::new(ManualClock::new(0)));
        let (store, _) = Store::open(dir.path(), options()).unwrap();
        let of = |at: i32| TimeSeries {
            labels: Labels::new([("__name__", "m"), ("i", &at.to_string())]),
            samples: vec![Sample { time_ms: 1, value: 1.0 }],
        };
        let series = (0..2_000).rev().map(of).collect();
        store.append(&WriteRequest { series, metadata: Vec::new() }).unwrap();
        store.close().unwrap();
        drop(store);
        let (store, _) = Store::open(dir.path(), options()).unwrap();
        let unranked = || {
            let index = &store.state().index;
            unranked_len(&index.ordered(index.live().into_iter().map(|(id, _)| id)))
        };
        assert_eq!(unranked(), 2_000);
        store.prepare();
        assert_eq!(unranked(), 0);
        let all = store.series(&[], 0, 1, crate::NEVER).unwrap();
        assert!(all.len() == 2_000 && all.is_sorted());
    }
}
