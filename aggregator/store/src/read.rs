//! What all reads share: samples of a series piece by piece, blobs and their columns, and a state
//! of the database that does not change while it is read.
//!
//! Readers hold the lock of the state only while they take what they need of it. The database is
//! read in a transaction of its own, which no writer waits for and which begins when something is
//! read that is not in the cache. A blob that maintenance replaced
//! in between is missing then, and the read starts anew, the second time with the transaction
//! begun while nothing can be replaced.
//!
//! Not here: reads of ranges and newest samples (`scan`), of samples at given times (`lookup`).

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use rusqlite::Connection;

use crate::ReadError;
use crate::blob::{BlobMeta, Column, Directory, unpack_part};
use crate::cache::{Asked, Cache};
use crate::db;
use crate::store::Store;
use crate::tail::{Collector, TAIL_MS, TAIL_STEP_MS, Tail};
use crate::varint::Malformed;

/// Connections kept for the next reads; each holds up to a mebibyte of pages.
const CONNECTIONS_KEPT_MAX: usize = 4;

/// Times that one reader of a blob keeps ready (1 MiB). Where series share their times, one
/// column of them serves a whole blob.
const TIMES_READY_MAX: usize = 128 * 1024;

/// Series of a blob whose newest samples must have been asked for before those of all are kept at
/// hand: less than a part of a scan asks for. It takes some milliseconds to collect them.
const TAIL_SERIES_MIN: usize = 128;

/// What shows that not a row is damaged but the way to it.
const PAGE_BROKEN: Malformed = Malformed("database page");
const BLOB_MISSING: Malformed = Malformed("blob: its row is missing");
const PART_MISSING: Malformed = Malformed("blob: a part is missing");

/// Tries once more when the file seems broken: SQLite says so of a disk that does not answer, too,
/// and one that hiccuped does the next time.
fn again<T>(read: impl Fn() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    read().or_else(|cause| if db::is_damage(&cause) { read() } else { Err(cause) })
}

/// A row that should be there is not.
pub(crate) fn part_missing() -> Malformed {
    PART_MISSING
}

/// Whether the structure of the database is to blame, so that mending it may bring the row back.
pub(crate) fn is_structure(cause: Malformed) -> bool {
    [PAGE_BROKEN, BLOB_MISSING, PART_MISSING].contains(&cause)
}

/// Samples of one series in a stretch of time, ascending.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<f64>,
}

/// One piece of several: in order, each time once. Pieces mostly follow each other in time.
pub(crate) fn combine(mut pieces: Vec<Piece>) -> Piece {
    pieces.retain(|piece| !piece.times.is_empty());
    pieces.sort_by_key(|piece| piece.times.first().copied());
    let mut rest = pieces.into_iter();
    let mut all = Gathered { piece: rest.next().unwrap_or_default(), ..Gathered::default() };
    for piece in rest {
        let from = all.piece.times.len();
        all.piece.times.extend(piece.times);
        all.piece.values.extend(piece.values);
        all.joined(from);
    }
    all.settle();
    all.piece
}

/// Pieces of one series that were put one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) piece: Piece,
    /// Where the series was found in the last blob.
    pub(crate) place: usize,
    /// Whether a later piece did not follow the one before in time.
    unordered: bool,
}

impl Gathered {
    /// Empty, with room for so many samples.
    pub(crate) fn with_room(samples: usize) -> Self {
        let piece =
            Piece { times: Vec::with_capacity(samples), values: Vec::with_capacity(samples) };
        Self { piece, ..Self::default() }
    }

    /// Takes note of a piece that begins `at` this sample.
    pub(crate) fn joined(&mut self, at: usize) {
        let times = &self.piece.times;
        let before = at.checked_sub(1).and_then(|last| times.get(last));
        if let (Some(before), Some(first)) = (before, times.get(at)) {
            self.unordered |= before >= first;
        }
    }

    /// Puts the samples in order, each time once. Of two at one time, which only damaged files
    /// have, the one that came first stays.
    pub(crate) fn settle(&mut self) {
        if !self.unordered {
            return;
        }
        self.unordered = false;
        let Piece { times, values } = &mut self.piece;
        let mut samples: Vec<(i64, f64)> = times.drain(..).zip(values.drain(..)).collect();
        samples.sort_by_key(|(time_ms, _)| *time_ms);
        samples.dedup_by_key(|(time_ms, _)| *time_ms);
        for (time_ms, value) in samples {
            times.push(time_ms);
            values.push(value);
        }
    }

    /// Makes it empty; what memory it has stays.
    pub(crate) fn clear(&mut self) {
        self.piece.times.clear();
        self.piece.values.clear();
        self.unordered = false;
    }
}

/// Why a read gave nothing.
pub(crate) enum Failed {
    /// A blob was replaced since.
    Gone,
    /// A blob is damaged.
    Damaged(Malformed),
    /// One of its parts is; the columns in the others are whole.
    Part(u32, Malformed),
    /// The database could not be read.
    Database(rusqlite::Error),
    /// It is more than the caller may have.
    TooMany,
}

impl From<Malformed> for Failed {
    fn from(cause: Malformed) -> Self {
        Self::Damaged(cause)
    }
}

impl From<rusqlite::Error> for Failed {
    fn from(cause: rusqlite::Error) -> Self {
        if db::is_damage(&cause) {
            return Self::Damaged(PAGE_BROKEN);
        }
        Self::Database(cause)
    }
}

/// Where a reader of blobs leaves what it unpacked.
#[derive(Clone, Copy)]
pub(crate) enum Keep<'a> {
    /// Among what all reads share: it is little, and may be asked for again.
    Shared,
    /// Parts go here, so that one large read does not push out what all the small ones keep.
    Apart(&'a Cache),
    /// All is read once, one part after the other.
    Nowhere,
}

/// A connection to read with, which is taken when it is first needed: what was unpacked lately
/// needs none.
pub(crate) struct Reader<'a> {
    store: &'a Store,
    /// With the generation of the database that it is of.
    taken: OnceCell<(u64, Connection)>,
}

impl<'a> Reader<'a> {
    fn new(store: &'a Store) -> Self {
        Self { store, taken: OnceCell::new() }
    }

    fn get(&self) -> rusqlite::Result<&Connection> {
        if self.taken.get().is_none() {
            let (generation, conn) = self.store.take_reader()?;
            conn.execute_batch("BEGIN")?;
            let _ = self.taken.set((generation, conn));
        }
        self.taken.get().map(|(_, conn)| conn).ok_or(rusqlite::Error::InvalidQuery)
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if let Some((generation, conn)) = self.taken.take()
            && conn.execute_batch("COMMIT").is_ok()
        {
            self.store.keep_reader(generation, conn);
        }
    }
}

/// After when and until when the tail of a blob lies that is so far back.
fn tail_range(meta: &BlobMeta, back: u32) -> (i64, i64) {
    let newest_ms = meta.last_ms.saturating_sub(i64::from(back).saturating_mul(TAIL_STEP_MS));
    let until_ms = if back == 0 { i64::MAX } else { newest_ms };
    (newest_ms.saturating_sub(TAIL_MS), until_ms)
}

/// How far back the tail of a blob lies that has all of a range; `None` when none has.
fn back(meta: &BlobMeta, (start_ms, end_ms): (i64, i64)) -> Option<u32> {
    let back = meta.last_ms.saturating_sub(end_ms).max(0) / TAIL_STEP_MS;
    let back = u32::try_from(back).ok()?;
    (start_ms > tail_range(meta, back).0).then_some(back)
}

/// How blobs are reached.
#[derive(Clone, Copy)]
enum Way<'a> {
    Open(&'a Connection),
    WhenNeeded(&'a Reader<'a>),
}

impl<'a> Way<'a> {
    fn conn(self) -> rusqlite::Result<&'a Connection> {
        match self {
            Self::Open(conn) => Ok(conn),
            Self::WhenNeeded(reader) => reader.get(),
        }
    }
}

/// The blobs as one transaction sees them.
pub(crate) struct Blobs<'a> {
    store: &'a Store,
    way: Way<'a>,
    /// Whether no blob can have been replaced since its place was copied.
    pinned: bool,
}

impl<'a> Blobs<'a> {
    fn pinned(store: &'a Store, conn: &'a Connection) -> Self {
        Self { store, way: Way::Open(conn), pinned: true }
    }

    fn of(reader: &'a Reader<'a>) -> Self {
        Self { store: reader.store, way: Way::WhenNeeded(reader), pinned: false }
    }

    /// The newest samples of a blob, when the range lies among them and enough of its series were
    /// asked for to be worth it; `asked` are those of this time. Of times before, what is as long,
    /// when each series was asked for there more than once.
    pub(crate) fn tail(
        &self,
        meta: &BlobMeta,
        (start_ms, end_ms): (i64, i64),
        asked: usize,
    ) -> Result<Option<Arc<Tail>>, Failed> {
        let Some(back) = back(meta, (start_ms, end_ms)) else { return Ok(None) };
        let cache = self.store.cache();
        let asked = match cache.tail(meta.id, back) {
            Asked::Ready(tail) => return Ok(Some(tail)),
            Asked::For(before) => before.saturating_add(asked),
        };
        let min = match back {
            0 => Some(TAIL_SERIES_MIN),
            _ => self.with(meta, Keep::Nowhere, |blob| Ok(blob.directory.columns.len() + 1))?,
        };
        if min.is_none_or(|min| asked < min) {
            cache.ask_tail(meta.id, back, asked);
            return Ok(None);
        }
        let tail = self.with(meta, Keep::Nowhere, |blob| blob.collect_tail(back))?;
        // What of the blob is damaged is missing from it; a blob that is mended is whole again.
        let is_whole = self.store.damaged_parts(meta.id).is_some_and(|parts| parts.is_empty());
        if let Some(tail) = tail.as_ref().filter(|_| is_whole) {
            cache.keep_tail(meta.id, back, tail);
        }
        Ok(tail)
    }

    /// Opens a blob and does `work` with it. What of it is damaged is left out from then on, and
    /// said so once; the answer is `None`.
    pub(crate) fn with<T>(
        &self,
        meta: &BlobMeta,
        keep: Keep<'a>,
        work: impl FnOnce(&mut BlobReader<'a>) -> Result<T, Failed>,
    ) -> Result<Option<T>, Failed> {
        let Some(damaged) = self.store.damaged_parts(meta.id) else { return Ok(None) };
        let cache = Some((self.store.cache(), keep));
        let blob = BlobReader::new(self.way, *meta, cache).map(|blob| BlobReader {
            damaged,
            store: Some(self.store),
            ..blob
        });
        match blob.and_then(|mut blob| work(&mut blob)) {
            Ok(done) => Ok(Some(done)),
            Err(Failed::Damaged(cause)) => {
                self.store.set_damaged(meta, cause);
                Ok(None)
            }
            Err(Failed::Part(part, cause)) => {
                self.store.set_part_damaged(meta, part, cause);
                Ok(None)
            }
            Err(Failed::Gone) if self.pinned => {
                self.store.set_damaged(meta, BLOB_MISSING);
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }
}

/// A time column, and where in it a range lies that was asked for: many columns of values have the
/// same times, and are asked for the same range.
struct TimesReady {
    times: Arc<Vec<i64>>,
    asked: Option<(i64, i64)>,
    found: Range<usize>,
}

impl TimesReady {
    fn new(times: Arc<Vec<i64>>) -> Self {
        Self { times, asked: None, found: 0..0 }
    }

    /// Where the times from `start_ms` to `end_ms` lie.
    fn find(&mut self, (start_ms, end_ms): (i64, i64)) -> Range<usize> {
        if self.asked != Some((start_ms, end_ms)) {
            self.asked = Some((start_ms, end_ms));
            // Ranges mostly have all of a blob, or begin or end in it.
            self.found = match (self.times.first(), self.times.last()) {
                (Some(first), Some(last)) if start_ms <= *first && *last <= end_ms => {
                    0..self.times.len()
                }
                _ => {
                    let from = self.times.partition_point(|&time_ms| time_ms < start_ms);
                    from..self.times.partition_point(|&time_ms| time_ms <= end_ms)
                }
            };
        }
        self.found.clone()
    }
}

/// Reads single columns of a blob, and unpacks each part once: series that follow each other may
/// lie in any of its parts.
pub(crate) struct BlobReader<'a> {
    way: Way<'a>,
    meta: BlobMeta,
    cache: Option<(&'a Cache, Keep<'a>)>,
    pub(crate) directory: Arc<Directory>,
    /// Time columns that were asked for, by their number.
    times: BTreeMap<usize, TimesReady>,
    times_ready: usize,
    parts: BTreeMap<u32, Arc<Vec<u8>>>,
    /// Room to decode one value into.
    values: Vec<f64>,
    /// Parts that are known as damaged; their columns have no samples.
    damaged: Vec<u32>,
    /// Whom to tell of others. Without it, a damaged part ends the reading.
    store: Option<&'a Store>,
}

impl<'a> BlobReader<'a> {
    /// A reader that neither uses nor fills the cache: what maintenance reads, nobody asked for.
    pub(crate) fn open(conn: &'a Connection, meta: BlobMeta) -> Result<Self, Failed> {
        Self::new(Way::Open(conn), meta, None)
    }

    fn new(
        way: Way<'a>,
        meta: BlobMeta,
        cache: Option<(&'a Cache, Keep<'a>)>,
    ) -> Result<Self, Failed> {
        let directory = match cache.and_then(|(cache, _)| cache.directory(meta.id)) {
            Some(directory) => directory,
            None => {
                let conn = way.conn()?;
                let row = again(|| db::directory(conn, meta.id))?.ok_or(Failed::Gone)?;
                let directory = Arc::new(Directory::read(meta.id, &row)?);
                if let Some((cache, _)) = cache {
                    cache.keep_directory(meta.id, &directory);
                }
                directory
            }
        };
        Ok(Self {
            way,
            meta,
            cache,
            directory,
            times: BTreeMap::new(),
            times_ready: 0,
            parts: BTreeMap::new(),
            values: Vec::new(),
            damaged: Vec::new(),
            store: None,
        })
    }

    /// Where a series lies in this blob.
    pub(crate) fn column(&self, series: u32) -> Option<Column> {
        self.column_near(series, &mut 0)
    }

    /// The same where it may lie at `place`, which becomes where it does.
    pub(crate) fn column_near(&self, series: u32, place: &mut usize) -> Option<Column> {
        *place = self.directory.find(series, *place)?;
        self.directory.columns.get(*place).copied()
    }

    /// The times of a column; none when its values are known as damaged.
    pub(crate) fn times(&mut self, column: &Column) -> Result<Arc<Vec<i64>>, Failed> {
        Ok(self.times_of(column)?.map(|ready| Arc::clone(&ready.times)).unwrap_or_default())
    }

    fn times_of(&mut self, column: &Column) -> Result<Option<&mut TimesReady>, Failed> {
        if self.damaged.contains(&column.part) {
            return Ok(None);
        }
        if !self.times.contains_key(&column.times) {
            let times = self.unpacked_times(column)?;
            if self.times_ready + times.len() > TIMES_READY_MAX {
                self.times.clear();
                self.times_ready = 0;
            }
            self.times_ready += times.len();
            self.times.insert(column.times, TimesReady::new(times));
        }
        Ok(self.times.get_mut(&column.times))
    }

    fn unpacked_times(&self, column: &Column) -> Result<Arc<Vec<i64>>, Failed> {
        let cached = self.cache.and_then(|(cache, _)| cache.times(self.meta.id, column.times));
        if let Some(times) = cached {
            return Ok(times);
        }
        let times = Arc::new(self.directory.times(column.times)?);
        if let Some((cache, Keep::Shared | Keep::Apart(_))) = self.cache {
            cache.keep_times(self.meta.id, column.times, &times);
        }
        Ok(times)
    }

    fn part(&mut self, part: u32) -> Result<Arc<Vec<u8>>, Failed> {
        self.unpacked(part).map_err(|failed| match failed {
            Failed::Damaged(cause) => Failed::Part(part, cause),
            other => other,
        })
    }

    /// Appends those of the `count` values of a column that are wanted, by position. Says whether
    /// they are there: a part that is damaged is left out from then on.
    fn decode(
        &mut self,
        column: &Column,
        count: usize,
        wanted: Range<usize>,
        out: &mut Vec<f64>,
    ) -> Result<bool, Failed> {
        let len = out.len();
        let decoded = self.part(column.part).and_then(|part| {
            let decoded = column.values_into(&part, count, wanted, out);
            decoded.map_err(|cause| Failed::Part(column.part, cause))
        });
        if decoded.is_err() {
            out.truncate(len);
        }
        match (decoded, self.store) {
            (Ok(()), _) => Ok(true),
            (Err(Failed::Part(part, cause)), Some(store)) => {
                store.set_part_damaged(&self.meta, part, cause);
                self.damaged.push(part);
                Ok(false)
            }
            (Err(other), _) => Err(other),
        }
    }

    fn unpacked(&mut self, part: u32) -> Result<Arc<Vec<u8>>, Failed> {
        if let Some(ready) = self.parts.get(&part) {
            return Ok(Arc::clone(ready));
        }
        let cached = self.cache.and_then(|(cache, keep)| match keep {
            Keep::Shared | Keep::Nowhere => cache.part(self.meta.id, part),
            Keep::Apart(own) => {
                own.part(self.meta.id, part).or_else(|| cache.part(self.meta.id, part))
            }
        });
        let content = match cached {
            Some(content) => content,
            None => {
                // A part is missing because its blob was replaced when the directory came from the
                // cache, and because of damage when it was there in the same transaction.
                let conn = self.way.conn()?;
                let row = match again(|| db::part(conn, self.meta.id, part))? {
                    Some(row) => row,
                    None if db::directory(conn, self.meta.id)?.is_none() => {
                        return Err(Failed::Gone);
                    }
                    None => return Err(PART_MISSING.into()),
                };
                let content = Arc::new(unpack_part(self.meta.id, part, &row)?);
                match self.cache {
                    Some((cache, Keep::Shared) | (_, Keep::Apart(cache))) => {
                        cache.keep_part(self.meta.id, part, &content);
                    }
                    Some((_, Keep::Nowhere)) => self.parts.clear(),
                    None => {}
                }
                content
            }
        };
        self.parts.insert(part, Arc::clone(&content));
        Ok(content)
    }

    /// What the newest samples of this blob are, or those so far back, made once.
    fn collect_tail(&mut self, back: u32) -> Result<Arc<Tail>, Failed> {
        let (since_ms, until_ms) = tail_range(&self.meta, back);
        let columns = self.directory.columns.clone();
        let mut tail = Collector::new(since_ms);
        let mut order: Vec<usize> = (0..columns.len()).collect();
        order.sort_unstable_by_key(|at| columns.get(*at).map(Column::place));
        let mut pieces: Vec<Piece> = Vec::new();
        pieces.resize_with(columns.len(), Piece::default);
        for at in order {
            if let (Some(column), Some(piece)) = (columns.get(at), pieces.get_mut(at)) {
                self.read(column, (since_ms.saturating_add(1), until_ms), piece)?;
            }
        }
        for (column, piece) in columns.iter().zip(&pieces) {
            tail.push(column.series, &piece.times, &piece.values);
        }
        Ok(Arc::new(tail.finish()))
    }

    /// Adds to `out` the samples of a column in a range, both ends included; nothing when it fails.
    pub(crate) fn read(
        &mut self,
        column: &Column,
        range: (i64, i64),
        out: &mut Piece,
    ) -> Result<(), Failed> {
        let Some(ready) = self.times_of(column)? else { return Ok(()) };
        let found = ready.find(range);
        let times = Arc::clone(&ready.times);
        let Some(wanted) = times.get(found.clone()).filter(|wanted| !wanted.is_empty()) else {
            return Ok(());
        };
        if self.decode(column, times.len(), found, &mut out.values)? {
            out.times.extend_from_slice(wanted);
        }
        Ok(())
    }

    /// The value of a column at one of its times, by position.
    pub(crate) fn value(&mut self, column: &Column, at: usize) -> Result<f64, Failed> {
        let times = self.times(column)?;
        let part = self.part(column.part)?;
        self.values.clear();
        let decoded = column.values_into(&part, times.len(), at..at + 1, &mut self.values);
        let value = decoded.map(|()| self.values.first().copied());
        value
            .and_then(|value| value.ok_or(Malformed("values")))
            .map_err(|cause| Failed::Part(column.part, cause))
    }

    /// Time and bits of the newest sample of a column from `start_ms` to `end_ms`; none when it is
    /// damaged.
    pub(crate) fn newest_in(
        &mut self,
        column: &Column,
        (start_ms, end_ms): (i64, i64),
    ) -> Result<Option<(i64, u64)>, Failed> {
        let times = self.times(column)?;
        let at = times.partition_point(|&time_ms| time_ms <= end_ms).checked_sub(1);
        let newest = at.and_then(|at| Some((at, *times.get(at)?)));
        let Some((at, time_ms)) = newest.filter(|(_, time_ms)| *time_ms >= start_ms) else {
            return Ok(None);
        };
        let mut values = std::mem::take(&mut self.values);
        values.clear();
        let decoded = self.decode(column, times.len(), at..at + 1, &mut values)?;
        let value = values.first().copied().filter(|_| decoded);
        self.values = values;
        Ok(value.map(|value| (time_ms, value.to_bits())))
    }

    /// The samples of a column from `start_ms` to `end_ms`.
    pub(crate) fn piece(
        &mut self,
        column: &Column,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Piece, Failed> {
        let mut piece = Piece::default();
        self.read(column, (start_ms, end_ms), &mut piece)?;
        Ok(piece)
    }
}

impl Store {
    /// Copies what a read needs of the state by `copy`, and reads by `read` until no blob was
    /// replaced in between, which is the second time at the latest.
    pub(crate) fn settled<S, T>(
        &self,
        copy: impl Fn() -> S,
        mut read: impl FnMut(S, &Blobs<'_>) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        let reader = Reader::new(self);
        let done = read(copy(), &Blobs::of(&reader));
        drop(reader);
        match done {
            Err(Failed::Gone) => self.pinned(copy, read),
            other => other,
        }
    }

    /// As [`Store::settled`], with the copy made and the transaction begun at one moment.
    pub(crate) fn pinned<S, T>(
        &self,
        copy: impl Fn() -> S,
        mut read: impl FnMut(S, &Blobs<'_>) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        self.reading(|conn| {
            let snapshot = {
                // What is in the database and what the state says change together under this lock.
                let _db = self.db();
                db::pin(conn)?;
                copy()
            };
            read(snapshot, &Blobs::pinned(self, conn))
        })
    }

    /// Runs `work` on a connection that sees one state of the database throughout.
    pub(crate) fn reading<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        self.with_reader(|conn| Ok(work(conn)))?
    }

    /// What the caller of a read is told.
    pub(crate) fn read_failed(&self, failed: Failed) -> ReadError {
        match failed {
            Failed::TooMany => ReadError::TooManySamples { max: self.options().read_samples_max },
            Failed::Database(cause) => self.read_error("read blobs", cause),
            // A blob that is damaged or missing is left out, so that these are not reached.
            Failed::Gone | Failed::Damaged(_) | Failed::Part(..) => {
                self.read_error("read blobs", rusqlite::Error::QueryReturnedNoRows)
            }
        }
    }

    /// As [`Store::reading`], for what SQLite alone can fail.
    pub(crate) fn with_reader<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let (generation, conn) = self.take_reader()?;
        let tx = conn.unchecked_transaction()?;
        let result = work(&tx);
        tx.finish()?;
        self.keep_reader(generation, conn);
        result
    }

    /// A connection, and the generation of the database that it is of.
    fn take_reader(&self) -> rusqlite::Result<(u64, Connection)> {
        let generation = self.generation().load(Ordering::SeqCst);
        let kept = self.readers().lock().unwrap_or_else(PoisonError::into_inner).pop();
        let conn = match kept {
            Some(conn) => conn,
            None => db::reader(self.path())?,
        };
        Ok((generation, conn))
    }

    /// Keeps a connection for the next reads.
    fn keep_reader(&self, generation: u64, conn: Connection) {
        let mut readers = self.readers().lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = generation == self.generation().load(Ordering::SeqCst);
        if is_current && readers.len() < CONNECTIONS_KEPT_MAX {
            readers.push(conn);
        }
    }

    pub(crate) fn read_error(&self, operation: &'static str, cause: rusqlite::Error) -> ReadError {
        ReadError::Database { operation, path: self.path().to_owned(), cause }
    }
}
