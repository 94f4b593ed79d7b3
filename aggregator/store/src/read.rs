//! The read path: which series, then their samples from the head and from the blobs that overlap.
//!
//! Readers hold the lock of the state only while they copy what they need of it. The database is
//! read in a transaction of its own, which no writer waits for. A blob that maintenance replaced
//! in between is missing then, and the read starts anew, the second time with the transaction
//! begun while nothing can be replaced.

use std::collections::{BTreeMap, HashMap};
use std::sync::PoisonError;

use labstat_model::{Labels, Matcher, Series};
use rusqlite::Connection;

use crate::ReadError;
use crate::blob::{BlobMeta, Column, Directory, unpack_part};
use crate::db;
use crate::head::{Head, HeadSeries};
use crate::store::Store;
use crate::varint::Malformed;
use crate::write::Known;

/// Connections kept for the next reads; each holds up to a mebibyte of pages.
const CONNECTIONS_KEPT_MAX: usize = 4;

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
    let follows = |pair: &[Piece]| match pair {
        [a, b] => a.times.last() < b.times.first(),
        _ => true,
    };
    if pieces.windows(2).all(follows) {
        let mut rest = pieces.into_iter();
        let mut all = rest.next().unwrap_or_default();
        for piece in rest {
            all.times.extend(piece.times);
            all.values.extend(piece.values);
        }
        return all;
    }
    let mut samples: Vec<(i64, f64)> =
        pieces.into_iter().flat_map(|piece| piece.times.into_iter().zip(piece.values)).collect();
    samples.sort_by_key(|(time_ms, _)| *time_ms);
    samples.dedup_by_key(|(time_ms, _)| *time_ms);
    let (times, values) = samples.into_iter().unzip();
    Piece { times, values }
}

/// What a read needs of the state, copied.
struct Snapshot {
    series: Vec<(u32, Labels, Vec<HeadSeries>)>,
    /// By shelf: the ids, sorted, and the blobs that overlap.
    shelves: BTreeMap<u32, (Vec<u32>, Vec<BlobMeta>)>,
}

/// Where asked samples may be: in heads, and in blobs with the series to look for.
#[derive(Default)]
struct Places {
    heads: Vec<(u32, HeadSeries)>,
    blobs: BTreeMap<i64, (BlobMeta, Vec<u32>)>,
}

/// The blobs as one transaction sees them.
struct Blobs<'a> {
    store: &'a Store,
    conn: &'a Connection,
    /// Whether no blob can have been replaced since its place was copied.
    pinned: bool,
}

impl Blobs<'_> {
    /// Calls `each` with what the blobs have of the sorted `ids`, until it fails. A damaged blob is
    /// left out, and said so once.
    fn read(
        &mut self,
        metas: &[BlobMeta],
        ids: &[u32],
        range: (i64, i64),
        each: &mut dyn FnMut(u32, Piece) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        for meta in metas.iter().filter(|meta| !self.store.is_damaged(meta.id)) {
            let read = BlobReader::open(self.conn, *meta)
                .and_then(|mut blob| blob.pieces(ids, range, &mut *each));
            match read {
                Ok(()) => {}
                Err(Failed::Damaged(cause)) => self.store.set_damaged(meta, cause),
                Err(Failed::Gone) if self.pinned => {
                    self.store.set_damaged(meta, Malformed("blob: its row is missing"));
                }
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }
}

/// Why a blob gave nothing.
pub(crate) enum Failed {
    /// It was replaced since.
    Gone,
    /// It is damaged.
    Damaged(Malformed),
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
            return Self::Damaged(Malformed("database page"));
        }
        Self::Database(cause)
    }
}

/// Reads single columns of a blob, and decompresses each part once when they come in order.
pub(crate) struct BlobReader<'a> {
    conn: &'a Connection,
    meta: BlobMeta,
    pub(crate) directory: Directory,
    part: Option<(u32, Vec<u8>)>,
}

impl<'a> BlobReader<'a> {
    pub(crate) fn open(conn: &'a Connection, meta: BlobMeta) -> Result<Self, Failed> {
        let row = db::directory(conn, meta.id)?.ok_or(Failed::Gone)?;
        let directory = Directory::read(meta.id, &row)?;
        Ok(Self { conn, meta, directory, part: None })
    }

    /// The samples of a column from `start_ms` to `end_ms`.
    pub(crate) fn piece(
        &mut self,
        column: &Column,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Piece, Failed> {
        self.directory.decode_times(column)?;
        let times = self.directory.times(column);
        let from = times.partition_point(|&time_ms| time_ms < start_ms);
        let to = times.partition_point(|&time_ms| time_ms <= end_ms);
        let Some(wanted) = times.get(from..to).filter(|wanted| !wanted.is_empty()) else {
            return Ok(Piece::default());
        };
        let part = match self.part.take() {
            Some((part, content)) if part == column.part => content,
            _ => {
                // The directory was there in the same transaction, so a missing part is damage.
                let row = db::part(self.conn, self.meta.id, column.part)?;
                let row = row.ok_or(Malformed("blob: a part is missing"))?;
                unpack_part(self.meta.id, column.part, &row)?
            }
        };
        let values = column.values(&part, times.len());
        self.part = Some((column.part, part));
        let mut values = values?;
        values.truncate(to);
        values.drain(..from.min(values.len()));
        Ok(Piece { times: wanted.to_vec(), values })
    }

    /// Calls `each` with the samples of the sorted `ids` that are in this blob.
    fn pieces(
        &mut self,
        ids: &[u32],
        (start_ms, end_ms): (i64, i64),
        mut each: impl FnMut(u32, Piece) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let columns: Vec<Column> = self
            .directory
            .columns
            .iter()
            .filter(|column| ids.binary_search(&column.series).is_ok())
            .copied()
            .collect();
        for column in columns {
            each(column.series, self.piece(&column, start_ms, end_ms)?)?;
        }
        Ok(())
    }
}

impl Store {
    pub(crate) fn select_series(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, ReadError> {
        self.settled(
            || self.snapshot(matchers, start_ms, end_ms),
            |snapshot, blobs| self.read(snapshot, blobs, start_ms, end_ms),
        )
    }

    /// Copies what a read needs of the state by `copy`, and reads by `read` until no blob was
    /// replaced in between, which is the second time at the latest.
    fn settled<S, T>(
        &self,
        copy: impl Fn() -> S,
        mut read: impl FnMut(S, &mut Blobs<'_>) -> Result<T, Failed>,
    ) -> Result<T, ReadError> {
        let mut attempt = |conn: &Connection, pinned: bool| {
            let snapshot = if pinned {
                // What is in the database and what the state says change together under this lock.
                let _db = self.db();
                db::pin(conn)?;
                copy()
            } else {
                copy()
            };
            Ok(read(snapshot, &mut Blobs { store: self, conn, pinned }))
        };
        for pinned in [false, true] {
            let result = self.with_reader(|conn| attempt(conn, pinned));
            match result.map_err(|cause| self.read_error("read blobs", cause))? {
                Ok(done) => return Ok(done),
                Err(Failed::Database(cause)) => return Err(self.read_error("read blobs", cause)),
                Err(Failed::TooMany) => {
                    return Err(ReadError::TooManySamples { max: self.options().read_samples_max });
                }
                Err(Failed::Gone | Failed::Damaged(_)) => {}
            }
        }
        // A pinned read leaves out what it misses, so that this is not reached.
        Err(self.read_error("read blobs", rusqlite::Error::QueryReturnedNoRows))
    }

    fn snapshot(&self, matchers: &[Matcher], start_ms: i64, end_ms: i64) -> Snapshot {
        let state = self.state();
        let mut snapshot = Snapshot { series: Vec::new(), shelves: BTreeMap::new() };
        for id in state.index.select(matchers, start_ms, end_ms) {
            let Some(entry) = state.index.get(id) else { continue };
            let heads = state.heads().filter_map(|head: &Head| head.get(id));
            let heads = heads.cloned().collect();
            let Some(labels) = state.index.labels(id) else { continue };
            snapshot.series.push((id, labels, heads));
            let shelf = snapshot.shelves.entry(entry.shelf).or_insert_with(|| {
                let overlaps =
                    |meta: &&BlobMeta| meta.first_ms <= end_ms && meta.last_ms >= start_ms;
                let blobs = state.blobs_of(entry.shelf).iter().filter(overlaps);
                (Vec::new(), blobs.copied().collect())
            });
            shelf.0.push(id);
        }
        snapshot
    }

    fn read(
        &self,
        mut snapshot: Snapshot,
        blobs: &mut Blobs<'_>,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, Failed> {
        let mut room = self.options().read_samples_max;
        let mut take = |piece: &Piece| -> Result<(), Failed> {
            room = room.checked_sub(piece.times.len()).ok_or(Failed::TooMany)?;
            Ok(())
        };
        let mut pieces: HashMap<u32, Vec<Piece>> = HashMap::new();
        for (ids, metas) in snapshot.shelves.values() {
            blobs.read(metas, ids, (start_ms, end_ms), &mut |id, piece| {
                take(&piece)?;
                pieces.entry(id).or_default().push(piece);
                Ok(())
            })?;
        }
        snapshot.series.sort_by(|a, b| a.1.cmp(&b.1));
        let mut all = Vec::with_capacity(snapshot.series.len());
        for (id, labels, heads) in snapshot.series {
            let mut pieces = pieces.remove(&id).unwrap_or_default();
            for head in heads {
                let piece = head_piece(&head, start_ms, end_ms);
                take(&piece)?;
                pieces.push(piece);
            }
            let Piece { times, values } = combine(pieces);
            if !times.is_empty() {
                all.push(Series { labels, times, values });
            }
        }
        Ok(all)
    }

    /// Adds to `known` what is stored at the asked times, sorted by series.
    pub(crate) fn look_up(
        &self,
        asked: &HashMap<u32, Vec<i64>>,
        known: &mut Known,
    ) -> Result<(), ReadError> {
        self.settled(
            || self.places(asked),
            |places, blobs| {
                let mut keep = |id: u32, time_ms: i64, bits: u64| {
                    let times = asked.get(&id);
                    if times.is_some_and(|times| times.binary_search(&time_ms).is_ok()) {
                        known.insert((id, time_ms), bits);
                    }
                };
                for (id, head) in places.heads {
                    head.for_each(|time_ms, bits| keep(id, time_ms, bits));
                }
                for (meta, mut ids) in places.blobs.into_values() {
                    ids.sort_unstable();
                    blobs.read(&[meta], &ids, (i64::MIN, i64::MAX), &mut |id, piece| {
                        for (time_ms, value) in piece.times.into_iter().zip(piece.values) {
                            keep(id, time_ms, value.to_bits());
                        }
                        Ok(())
                    })?;
                }
                Ok(())
            },
        )
    }

    fn places(&self, asked: &HashMap<u32, Vec<i64>>) -> Places {
        let mut places = Places::default();
        let state = self.state();
        for (&id, times) in asked {
            let heads = state.heads().filter_map(|head| Some((id, head.get(id)?.clone())));
            places.heads.extend(heads);
            let Some(entry) = state.index.get(id) else { continue };
            for meta in state.blobs_of(entry.shelf) {
                let from = times.partition_point(|&time_ms| time_ms < meta.first_ms);
                if times.get(from).is_some_and(|&time_ms| time_ms <= meta.last_ms) {
                    places.blobs.entry(meta.id).or_insert((*meta, Vec::new())).1.push(id);
                }
            }
        }
        places
    }

    /// Runs `work` on a connection that sees one state of the database throughout.
    pub(crate) fn with_reader<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let kept = self.readers().lock().unwrap_or_else(PoisonError::into_inner).pop();
        let conn = match kept {
            Some(conn) => conn,
            None => db::reader(self.path())?,
        };
        let tx = conn.unchecked_transaction()?;
        let result = work(&tx);
        tx.finish()?;
        let mut readers = self.readers().lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < CONNECTIONS_KEPT_MAX {
            readers.push(conn);
        }
        result
    }

    pub(crate) fn read_error(&self, operation: &'static str, cause: rusqlite::Error) -> ReadError {
        ReadError::Database { operation, path: self.path().to_owned(), cause }
    }
}

fn head_piece(head: &HeadSeries, start_ms: i64, end_ms: i64) -> Piece {
    let mut piece = Piece::default();
    head.for_each(|time_ms, bits| {
        if (start_ms..=end_ms).contains(&time_ms) {
            piece.times.push(time_ms);
            piece.values.push(f64::from_bits(bits));
        }
    });
    piece
}
