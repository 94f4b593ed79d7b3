//! Laying series into blobs, and blobs into other blobs. Here is how they are cut; when and which,
//! and how they get into the database, is `maintain`'s.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rusqlite::Connection;

use crate::MaintainError;
use crate::blob::{Blob, BlobMeta, Builder, Column};
use crate::column::COLUMN_LEN_MAX;
use crate::days::{HOURS, SLICES, hour_of, slice_range};
use crate::read::{BlobReader, Failed, Piece, combine};
use crate::store::Store;

/// A day is cut into as many slices as it takes for columns of at most this many samples: a read
/// of some minutes decodes whole columns, and 1,440 is a day at a sample a minute, or six hours
/// at four.
const COLUMN_AIM: u32 = 1_500;

/// Why a blob could not be read, and which.
pub(crate) type Fault = Box<(BlobMeta, Failed)>;

/// How blobs are rewritten.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    pub(crate) shelf: u32,
    /// Into how many slices a day is cut; 0 for one, as sealed.
    pub(crate) level: u32,
    /// What the new blobs say of themselves; see [`BlobMeta`].
    pub(crate) flags: u32,
    pub(crate) kept_ms: i64,
}

impl Form {
    /// What holds for the blobs that are made of `old`: what held for all of those.
    pub(crate) fn of(shelf: u32, level: u32, old: &[BlobMeta]) -> Self {
        let flags = old.iter().map(|meta| meta.flags).reduce(|a, b| a & b).unwrap_or(0);
        let kept_ms = old.iter().map(|meta| meta.kept_ms).min().unwrap_or(0);
        Self { shelf, level, flags, kept_ms }
    }
}

impl Store {
    /// Into how many slices the day of these blobs is to be cut, at least `least`, for the series
    /// that `keep` says; `None` when one of the blobs is damaged.
    pub(crate) fn slices_of(
        &self,
        old: &[BlobMeta],
        least: u32,
        keep: impl Fn(u32) -> bool,
    ) -> Result<Option<u32>, MaintainError> {
        self.with_sources(old, |sources| {
            let mut fullest = [0_u32; SLICES.len()];
            let mut hours_known = vec![HashMap::new(); sources.len()];
            while let Some(id) = next_series(sources) {
                let mut hours = [0_u32; HOURS];
                for (source, known) in sources.iter_mut().zip(&mut hours_known) {
                    if let Some(column) = source.pass(id).filter(|_| keep(id)) {
                        add(&mut hours, source.hours(&column, known)?);
                    }
                }
                for (fullest, slices) in fullest.iter_mut().zip(SLICES) {
                    let slices = hours.chunks(HOURS / slices as usize);
                    let most = slices.map(|slice| slice.iter().sum()).max().unwrap_or(0);
                    *fullest = most.max(*fullest);
                }
            }
            let mut enough = SLICES.into_iter().zip(fullest);
            let enough = enough.find(|(slices, most)| *slices >= least && *most <= COLUMN_AIM);
            Ok(enough.or(SLICES.last().copied().zip(Some(0))).map_or(1, |(slices, _)| slices))
        })
    }

    /// The blobs in place of `old` with the series that `keep` says; `None` when one of the old is
    /// damaged, so that all stay.
    pub(crate) fn rewritten(
        &self,
        old: &[BlobMeta],
        form: Form,
        keep: impl Fn(u32) -> bool,
    ) -> Result<Option<Vec<Blob>>, MaintainError> {
        self.with_sources(old, |sources| {
            let mut shelving = Shelving::new(self, form);
            while let Some(id) = next_series(sources) {
                let piece = take(sources, id, (i64::MIN, i64::MAX), keep(id))?;
                shelving.push(id, &piece);
            }
            Ok(shelving.finish())
        })
    }

    /// Runs `work` on readers of the blobs; `None` when one of them is damaged or gone.
    pub(crate) fn with_sources<T>(
        &self,
        metas: &[BlobMeta],
        work: impl FnOnce(&mut [Source<'_>]) -> Result<T, Fault>,
    ) -> Result<Option<T>, MaintainError> {
        let done = self.with_reader(|conn| {
            let done = sources(conn, metas).and_then(|mut sources| work(&mut sources));
            match done {
                Ok(done) => Ok(Some(done)),
                Err(fault) => self.give_up(*fault),
            }
        });
        done.map_err(|cause| self.read_error("read blobs", cause)).map_err(MaintainError::Read)
    }

    fn give_up<T>(&self, (meta, failed): (BlobMeta, Failed)) -> rusqlite::Result<Option<T>> {
        match failed {
            // Nothing is too many for maintenance.
            Failed::Gone | Failed::TooMany => Ok(None),
            Failed::Damaged(cause) => {
                self.set_damaged(&meta, cause);
                Ok(None)
            }
            Failed::Part(part, cause) => {
                self.set_part_damaged(&meta, part, cause);
                Ok(None)
            }
            Failed::Database(cause) => Err(cause),
        }
    }
}

fn sources<'a>(conn: &'a Connection, metas: &[BlobMeta]) -> Result<Vec<Source<'a>>, Fault> {
    let open = |meta: &BlobMeta| match BlobReader::open(conn, *meta) {
        Ok(blob) => Ok(Source { meta: *meta, blob, next: 0 }),
        Err(failed) => Err(Box::new((*meta, failed))),
    };
    metas.iter().map(open).collect()
}

/// The lowest series that any of the sources has yet to give.
pub(crate) fn next_series(sources: &[Source<'_>]) -> Option<u32> {
    sources.iter().filter_map(Source::series).min()
}

/// What the sources have of a series that is their next one; nothing when it is not wanted.
pub(crate) fn take(
    sources: &mut [Source<'_>],
    id: u32,
    (start_ms, end_ms): (i64, i64),
    wanted: bool,
) -> Result<Piece, Fault> {
    let mut pieces = Vec::new();
    for source in sources {
        if let Some(column) = source.pass(id).filter(|_| wanted) {
            let piece = source.blob.piece(&column, start_ms, end_ms);
            pieces.push(piece.map_err(|failed| Box::new((source.meta, failed)))?);
        }
    }
    Ok(combine(pieces))
}

fn add(sum: &mut [u32; HOURS], hours: &[u32; HOURS]) {
    for (sum, hour) in sum.iter_mut().zip(hours) {
        *sum = sum.saturating_add(*hour);
    }
}

/// A blob that is read series by series.
pub(crate) struct Source<'a> {
    pub(crate) meta: BlobMeta,
    blob: BlobReader<'a>,
    next: usize,
}

impl Source<'_> {
    fn column(&self) -> Option<&Column> {
        self.blob.directory.columns.get(self.next)
    }

    fn series(&self) -> Option<u32> {
        self.column().map(|column| column.series)
    }

    /// Goes on behind a series; gives where it lies when it is there.
    pub(crate) fn pass(&mut self, id: u32) -> Option<Column> {
        let column = self.column().filter(|column| column.series == id).copied()?;
        self.next += 1;
        Some(column)
    }

    /// The next series, and goes on behind it.
    pub(crate) fn next_column(&mut self) -> Option<Column> {
        let column = self.column().copied()?;
        self.next += 1;
        Some(column)
    }

    /// All series, ascending.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> {
        self.blob.directory.columns.iter().map(|column| column.series)
    }

    /// The times of a column.
    pub(crate) fn times(&mut self, column: &Column) -> Result<Arc<Vec<i64>>, Fault> {
        self.blob.times(column).map_err(|failed| Box::new((self.meta, failed)))
    }

    /// How many samples of a column there are by the hour; many columns have the same times.
    fn hours<'k>(
        &mut self,
        column: &Column,
        known: &'k mut HashMap<usize, [u32; HOURS]>,
    ) -> Result<&'k [u32; HOURS], Fault> {
        let mut hours = [0_u32; HOURS];
        if !known.contains_key(&column.times) {
            for time_ms in self.times(column)?.iter() {
                if let Some(hour) = hours.get_mut(hour_of(*time_ms)) {
                    *hour += 1;
                }
            }
        }
        Ok(known.entry(column.times).or_insert(hours))
    }
}

/// Lays the series of one shelf, by ascending id, into blobs: one a slice, more when a series has
/// more samples than a column holds.
pub(crate) struct Shelving<'a> {
    store: &'a Store,
    form: Form,
    open: BTreeMap<(i64, usize), Builder>,
    done: Vec<Blob>,
}

impl<'a> Shelving<'a> {
    pub(crate) fn new(store: &'a Store, form: Form) -> Self {
        Self { store, form, open: BTreeMap::new(), done: Vec::new() }
    }

    pub(crate) fn push(&mut self, id: u32, piece: &Piece) {
        let mut rest = (piece.times.as_slice(), piece.values.as_slice());
        while let Some(&first_ms) = rest.0.first() {
            let (_, last_ms) = slice_range(first_ms, self.form.level);
            let len = rest.0.partition_point(|time_ms| *time_ms <= last_ms).max(1);
            let (times, times_rest) = rest.0.split_at(len);
            let (values, values_rest) = rest.1.split_at(len.min(rest.1.len()));
            let columns = times.chunks(COLUMN_LEN_MAX).zip(values.chunks(COLUMN_LEN_MAX));
            for (layer, (times, values)) in columns.enumerate() {
                self.push_column((last_ms, layer), id, times, values);
            }
            rest = (times_rest, values_rest);
        }
    }

    fn push_column(&mut self, key: (i64, usize), id: u32, times: &[i64], values: &[f64]) {
        if self.open.get(&key).is_some_and(Builder::is_full)
            && let Some(full) = self.open.remove(&key)
        {
            self.close(full);
        }
        let store = self.store;
        let builder = self.open.entry(key).or_insert_with(|| Builder::new(store.next_blob()));
        builder.push(id, times, values);
    }

    fn close(&mut self, builder: Builder) {
        if let Some(mut blob) = builder.finish(self.form.shelf, self.form.level) {
            (blob.meta.flags, blob.meta.kept_ms) = (self.form.flags, self.form.kept_ms);
            self.done.push(blob);
        }
    }

    pub(crate) fn finish(mut self) -> Vec<Blob> {
        for builder in std::mem::take(&mut self.open).into_values() {
            self.close(builder);
        }
        self.done
    }
}
