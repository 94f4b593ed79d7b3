//! Reads of ranges and of newest samples, in parts: which series, then part by part their samples
//! from the head and from the blobs that overlap, shelf by shelf.
//!
//! A part is a few hundred series at most, so that it is done within milliseconds, neither memory
//! nor locks are held for long, and several threads have something to do. What a part is read into
//! is used again for the next one.
//!
//! All parts see one state, as far as samples come in order: each series ends where it ended when
//! the scan was made. A sample that comes late may be in a part that is read after it came. Each
//! series is whole in any case.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex, PoisonError};

use labstat_model::{Labels, Matcher, Series, SeriesRef};

use crate::ReadError;
use crate::blob::{BlobMeta, Column, Directory};
use crate::cache::Cache;
use crate::head::HeadSeries;
use crate::index::{Which, unranked_len};
use crate::patience::{NEVER, Patience, Stop};
use crate::read::{Blobs, Failed, Gathered, Keep, Piece};
use crate::state::State;
use crate::store::Store;

/// Series of a part.
const PART_SERIES_MAX: usize = 256;

/// A scan of no more samples is in the order of labels throughout, and what it unpacks for one
/// part is still there for the next (some 32 MB). A larger one comes shelf by shelf in the order
/// in which columns lie, so that each part of a blob is unpacked once.
const ORDERED_SAMPLES_MAX: usize = 16 * 1024 * 1024;

/// A scan for the newest samples of more series comes shelf by shelf: each part of it then looks
/// into one or two shelves and not into all.
const ORDERED_NEWEST_MAX: usize = 2048;

/// A part that turns out to have this many times the samples it should is read in halves: how many
/// a series has is only told from how many all of its shelf have.
const PART_EXCESS: usize = 4;

/// Bytes of unpacked parts that an ordered scan keeps.
const ORDERED_CACHE_BYTES: usize = 64 * 1024 * 1024;

/// The same of a scan that reads parts as they lie: those of a few blobs at a time.
const LAID_CACHE_BYTES: usize = 4 * 1024 * 1024;

/// A scan of no more samples leaves what it unpacked for all reads.
const SHARED_SAMPLES_MAX: usize = 1024 * 1024;

/// Samples for which a series has room at once, where it seems to have as many or more.
const ROOM_SAMPLES_MAX: usize = 4096;

/// Series of a scan whose place among all is not known, with which all are put in order: it takes
/// as long as sorting so many a few times.
const UNRANKED_MAX: usize = 512;

/// What [`Scan::read`] gives series to; `Break` when no more are wanted.
pub type Each<'a> = dyn FnMut(SeriesRef<'_>) -> ControlFlow<()> + 'a;

/// A series that is read.
#[derive(Debug)]
struct Picked {
    labels: Labels,
    id: u32,
    shelf: u32,
    /// Its newest sample when the scan was made.
    last_ms: i64,
    /// The bits of that, when it is what is asked for.
    newest: Option<u64>,
}

/// What of the samples in the range is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    All,
    Newest,
}

/// Series that fulfil matchers, to be read part by part, in any order and by any threads. See
/// [`Store::scan`].
#[derive(Debug)]
pub struct Scan<'a> {
    store: &'a Store,
    range: (i64, i64),
    what: What,
    series: Vec<Picked>,
    /// Samples for which a series has room before any is read.
    room: usize,
    parts: Vec<Range<usize>>,
    is_sorted: bool,
    /// What large scans unpack.
    cache: Option<Cache>,
    /// What parts are read into.
    spare: Mutex<Vec<Room>>,
}

/// What the series of a part are read into.
#[derive(Debug, Default)]
struct Room {
    samples: Vec<Gathered>,
    newest: Vec<Option<(i64, u64)>>,
    order: Vec<usize>,
    /// How many samples it may still have.
    left: usize,
}

/// What the heads have of some series: whose samples, from where to where.
#[derive(Debug, Default)]
struct InHeads {
    samples: Piece,
    runs: Vec<(usize, Range<usize>)>,
}

impl Scan<'_> {
    /// How many parts there are; none without series.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Whether the series come sorted by labels, going through the parts in order.
    pub fn is_sorted(&self) -> bool {
        self.is_sorted
    }

    /// Gives the series of a part to `each` until it breaks. Those without a sample in the range
    /// are left out. `each` may take its time, and write to the store: no lock is held.
    pub fn read(&self, part: usize, each: &mut Each<'_>) -> Result<(), ReadError> {
        let range = self.parts.get(part).cloned().unwrap_or_default();
        let series = self.series.get(range).unwrap_or_default();
        let spare = || self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = spare().pop();
        let mut room = kept.unwrap_or_default();
        let read = self.read_series(series, &mut room, each);
        spare().push(room);
        // Whoever breaks off has what it wants.
        read.map(drop).map_err(|failed| self.store.read_failed(failed))
    }

    /// Reads some series, at once where they have not too many samples.
    fn read_series(
        &self,
        series: &[Picked],
        room: &mut Room,
        each: &mut Each<'_>,
    ) -> Result<ControlFlow<()>, Failed> {
        let options = self.store.options();
        // One series cannot be read in two.
        room.left = match series {
            [_] => options.read_samples_max,
            _ => {
                options.read_part_samples.saturating_mul(PART_EXCESS).min(options.read_samples_max)
            }
        };
        match self.fill(series, room) {
            Ok(()) => Ok(self.give(series, room, each)),
            Err(Failed::TooMany) if series.len() > 1 => {
                let (first, second) = series.split_at(series.len() / 2);
                match self.read_series(first, room, each)? {
                    ControlFlow::Continue(()) => self.read_series(second, room, each),
                    done => Ok(done),
                }
            }
            Err(failed) => Err(failed),
        }
    }

    fn give(&self, series: &[Picked], room: &Room, each: &mut Each<'_>) -> ControlFlow<()> {
        match self.what {
            What::All => {
                for (one, Gathered { piece, .. }) in series.iter().zip(&room.samples) {
                    if !piece.times.is_empty() {
                        let (times, values) = (piece.times.as_slice(), piece.values.as_slice());
                        each(SeriesRef { labels: &one.labels, times, values })?;
                    }
                }
            }
            What::Newest => {
                for (one, newest) in series.iter().zip(&room.newest) {
                    if let Some((time_ms, bits)) = *newest {
                        let (times, values) = (&[time_ms], &[f64::from_bits(bits)]);
                        each(SeriesRef { labels: &one.labels, times, values })?;
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Reads some series, shelf by shelf.
    fn fill(&self, series: &[Picked], room: &mut Room) -> Result<(), Failed> {
        let Room { samples, newest, order, left } = room;
        match self.what {
            What::All => {
                samples.iter_mut().for_each(Gathered::clear);
                samples.resize_with(series.len(), || Gathered::with_room(self.room));
            }
            What::Newest => {
                newest.clear();
                newest.extend(series.iter().map(|one| one.newest.map(|bits| (one.last_ms, bits))));
            }
        }
        order.clear();
        order.extend(
            (0..series.len()).filter(|at| {
                self.what == What::All || newest.get(*at).is_some_and(Option::is_none)
            }),
        );
        let shelf = |at: &usize| series.get(*at).map(|one| one.shelf);
        order.sort_by_key(shelf);
        for of_shelf in order.chunk_by(|a, b| shelf(a) == shelf(b)) {
            match self.what {
                What::All => *left = self.read_all(series, of_shelf, samples, *left)?,
                What::Newest => self.read_newest(series, of_shelf, newest)?,
            }
        }
        Ok(())
    }

    fn keep(&self) -> Keep<'_> {
        self.cache.as_ref().map_or(Keep::Shared, Keep::Apart)
    }

    /// The range, as far as the series went when the scan was made.
    fn range_of(&self, one: &Picked) -> (i64, i64) {
        (self.range.0, self.range.1.min(one.last_ms))
    }

    /// Reads all samples of some series of one shelf, by position, and says how many of `left`
    /// are still left.
    fn read_all(
        &self,
        series: &[Picked],
        positions: &[usize],
        out: &mut [Gathered],
        left: usize,
    ) -> Result<usize, Failed> {
        let Some(first) = positions.first().and_then(|at| series.get(*at)) else {
            return Ok(left);
        };
        let copy = || {
            let state = self.store.state();
            let mut heads = InHeads::default();
            for &at in positions {
                let Some(one) = series.get(at) else { continue };
                for head in state.heads().filter_map(|head| head.get(one.id)) {
                    heads.add(at, head, self.range_of(one));
                }
                if heads.samples.times.len() > left {
                    break;
                }
            }
            (overlapping(&state, first.shelf, self.range), heads)
        };
        self.store.settled(copy, |(blobs, heads), reader| {
            let mut left = take(left, heads.samples.times.len())?;
            for &at in positions {
                out.get_mut(at).into_iter().for_each(Gathered::clear);
            }
            for meta in &blobs {
                self.read_blob(reader, meta, (series, positions), out, &mut left)?;
            }
            for (at, run) in heads.runs {
                let Some(gathered) = out.get_mut(at) else { continue };
                let from = gathered.piece.times.len();
                let Piece { times, values } = &heads.samples;
                gathered.piece.times.extend_from_slice(times.get(run.clone()).unwrap_or_default());
                gathered.piece.values.extend_from_slice(values.get(run).unwrap_or_default());
                gathered.joined(from);
            }
            positions.iter().for_each(|at| out.get_mut(*at).into_iter().for_each(Gathered::settle));
            Ok(left)
        })
    }

    fn read_blob(
        &self,
        reader: &Blobs<'_>,
        meta: &BlobMeta,
        (series, positions): (&[Picked], &[usize]),
        out: &mut [Gathered],
        left: &mut usize,
    ) -> Result<(), Failed> {
        let tail = reader.tail(meta, self.range, positions.len())?;
        let mut each = |read: &mut dyn FnMut(&Picked, &mut Gathered) -> Result<(), Failed>| {
            for &at in positions {
                let (Some(one), Some(gathered)) = (series.get(at), out.get_mut(at)) else {
                    continue;
                };
                let from = gathered.piece.times.len();
                read(one, gathered)?;
                *left = take(*left, gathered.piece.times.len().saturating_sub(from))?;
                gathered.joined(from);
            }
            Ok(())
        };
        if let Some(tail) = tail {
            return each(&mut |one, Gathered { piece, place, .. }| {
                Ok(tail.read(one.id, place, self.range_of(one), piece)?)
            });
        }
        reader.with(meta, self.keep(), |blob| {
            each(&mut |one, Gathered { piece, place, .. }| match blob.column_near(one.id, place) {
                Some(column) => blob.read(&column, self.range_of(one), piece),
                None => Ok(()),
            })
        })?;
        Ok(())
    }

    /// Reads the newest samples of some series of one shelf, by position.
    fn read_newest(
        &self,
        series: &[Picked],
        positions: &[usize],
        out: &mut [Option<(i64, u64)>],
    ) -> Result<(), Failed> {
        let Some(first) = positions.first().and_then(|at| series.get(*at)) else { return Ok(()) };
        let copy = || {
            let state = self.store.state();
            let newest = |at: &usize| {
                let one = series.get(*at)?;
                let heads = state.heads().filter_map(|head| head.get(one.id));
                heads.filter_map(|head| head.newest_in(self.range_of(one))).max_by_key(|one| one.0)
            };
            let found: Vec<Option<(i64, u64)>> = positions.iter().map(newest).collect();
            (overlapping(&state, first.shelf, self.range), found)
        };
        self.store.settled(copy, |(mut blobs, mut found), reader| {
            // The blobs end ever earlier.
            blobs.sort_unstable_by_key(|meta| std::cmp::Reverse(meta.last_ms));
            for meta in &blobs {
                self.newest_of_blob(reader, meta, (series, positions), &mut found)?;
            }
            for (at, found) in positions.iter().zip(found) {
                if let Some(newest) = out.get_mut(*at) {
                    *newest = found;
                }
            }
            Ok(())
        })
    }

    /// Takes what a blob has that is newer than what was found.
    fn newest_of_blob(
        &self,
        reader: &Blobs<'_>,
        meta: &BlobMeta,
        (series, positions): (&[Picked], &[usize]),
        found: &mut [Option<(i64, u64)>],
    ) -> Result<(), Failed> {
        let newest_ms = meta.last_ms.min(self.range.1);
        let open = |found: &Option<(i64, u64)>| found.is_none_or(|(known, _)| known < newest_ms);
        let wanted = found.iter().filter(|found| open(found)).count();
        if wanted == 0 {
            return Ok(());
        }
        let tail = reader.tail(meta, self.range, wanted)?;
        let places = || positions.iter().filter_map(|at| series.get(*at));
        if let Some(tail) = tail {
            let mut values = Vec::new();
            for (one, found) in places().zip(found).filter(|(_, found)| open(found)) {
                let newest = tail.newest_in(one.id, self.range_of(one), &mut values)?;
                *found = newer(*found, newest);
            }
            return Ok(());
        }
        reader.with(meta, self.keep(), |blob| {
            for (one, found) in places().zip(found).filter(|(_, found)| open(found)) {
                if let Some(column) = blob.column(one.id) {
                    *found = newer(*found, blob.newest_in(&column, self.range_of(one))?);
                }
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// What is left of a number of samples when so many are taken.
fn take(left: usize, samples: usize) -> Result<usize, Failed> {
    left.checked_sub(samples).ok_or(Failed::TooMany)
}

/// The later of two samples.
fn newer(a: Option<(i64, u64)>, b: Option<(i64, u64)>) -> Option<(i64, u64)> {
    if b.map(|b| b.0) > a.map(|a| a.0) { b } else { a }
}

impl InHeads {
    fn add(&mut self, at: usize, head: &HeadSeries, range: (i64, i64)) {
        let from = self.samples.times.len();
        head.each_in(range, |time_ms, bits| {
            self.samples.times.push(time_ms);
            self.samples.values.push(f64::from_bits(bits));
        });
        let to = self.samples.times.len();
        if to > from {
            self.runs.push((at, from..to));
        }
    }
}

/// The blobs of a shelf that overlap a range, by their first time.
pub(crate) fn overlapping(
    state: &State,
    shelf: u32,
    (start_ms, end_ms): (i64, i64),
) -> Vec<BlobMeta> {
    let overlaps = |meta: &&BlobMeta| meta.first_ms <= end_ms && meta.last_ms >= start_ms;
    let mut blobs: Vec<BlobMeta> = state.blobs_of(shelf).iter().filter(overlaps).copied().collect();
    blobs.sort_unstable_by_key(|meta| (meta.first_ms, meta.id));
    blobs
}

impl Store {
    /// All series, as [`Store::select`] gives them.
    pub(crate) fn select_series(
        &self,
        matchers: &[Matcher],
        range: (i64, i64),
    ) -> Result<Vec<Series>, ReadError> {
        self.select_which(Which::Samples, matchers, range)
    }

    /// As [`Store::select`], of the series that `which` tells.
    pub(crate) fn select_which(
        &self,
        which: Which,
        matchers: &[Matcher],
        range: (i64, i64),
    ) -> Result<Vec<Series>, ReadError> {
        self.collect(&self.scan_of(which, matchers, range, What::All, NEVER)?, NEVER)
    }

    /// All series, as [`Store::newest`] gives them.
    pub(crate) fn newest_of(
        &self,
        matchers: &[Matcher],
        range: (i64, i64),
        stop: Stop<'_>,
    ) -> Result<Vec<Series>, ReadError> {
        let scan = self.scan_of(Which::Samples, matchers, range, What::Newest, stop)?;
        self.collect(&scan, stop)
    }

    pub(crate) fn scan_all(
        &self,
        matchers: &[Matcher],
        range: (i64, i64),
    ) -> Result<Scan<'_>, ReadError> {
        self.scan_of(Which::Samples, matchers, range, What::All, NEVER)
    }

    pub(crate) fn scan_newest_of(
        &self,
        matchers: &[Matcher],
        range: (i64, i64),
    ) -> Result<Scan<'_>, ReadError> {
        self.scan_of(Which::Samples, matchers, range, What::Newest, NEVER)
    }

    fn collect(&self, scan: &Scan<'_>, stop: Stop<'_>) -> Result<Vec<Series>, ReadError> {
        let max = self.options().read_samples_max;
        let mut found = 0_usize;
        let mut all = Vec::with_capacity(scan.series.len());
        for part in 0..scan.parts() {
            if stop() {
                return Err(ReadError::Stopped);
            }
            scan.read(part, &mut |SeriesRef { labels, times, values }| {
                found = found.saturating_add(times.len());
                if scan.what == What::All && found > max {
                    return ControlFlow::Break(());
                }
                let (times, values) = (times.to_vec(), values.to_vec());
                all.push(Series { labels: labels.clone(), times, values });
                ControlFlow::Continue(())
            })?;
            if scan.what == What::All && found > max {
                return Err(ReadError::TooManySamples { max });
            }
        }
        if !scan.is_sorted {
            all.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        }
        Ok(all)
    }

    fn scan_of(
        &self,
        which: Which,
        matchers: &[Matcher],
        range: (i64, i64),
        what: What,
        stop: Stop<'_>,
    ) -> Result<Scan<'_>, ReadError> {
        let patience = Patience::new(stop);
        let picks = pick(&self.state(), (which, matchers), range, what, &patience);
        let Picks { mut series, unranked, each, in_order } = patience.whole(picks)?;
        self.note_unranked(unranked);
        if unranked > 0 {
            // The sort is fast where some are in order already.
            series.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        // Of newest samples there is one each; what is unpacked for them is another matter.
        let samples = series.len().saturating_mul(each);
        let is_sorted = in_order && samples <= ORDERED_SAMPLES_MAX;
        if !in_order {
            series.sort_by_key(|one| one.shelf);
        } else if !is_sorted {
            self.lay_out(&mut series, range).map_err(|failed| self.read_failed(failed))?;
        }
        let cache = (samples > SHARED_SAMPLES_MAX)
            .then(|| Cache::new(if is_sorted { ORDERED_CACHE_BYTES } else { LAID_CACHE_BYTES }));
        let len = (self.options().read_part_samples / each.max(1)).clamp(1, PART_SERIES_MAX);
        let starts = (0..series.len()).step_by(len);
        let parts = starts.map(|start| start..series.len().min(start + len)).collect();
        let (spare, room) = (Mutex::default(), (each + each / 8).min(ROOM_SAMPLES_MAX));
        Ok(Scan { store: self, range, what, series, room, parts, is_sorted, cache, spare })
    }

    /// Puts all live series in order when a read had to order many, so that the next need not.
    pub(crate) fn note_unranked(&self, unranked: usize) {
        if unranked <= UNRANKED_MAX {
            return;
        }
        let mut all = self.state().index.live();
        all.sort_by(|a, b| a.1.cmp(&b.1));
        self.state_mut().index.rank(all.into_iter().map(|(id, _)| id));
    }

    /// Brings series into the order in which they lie in blobs.
    fn lay_out(&self, series: &mut [Picked], range: (i64, i64)) -> Result<(), Failed> {
        series.sort_by_key(|one| one.shelf);
        let shelves: BTreeMap<u32, Vec<BlobMeta>> = {
            let state = self.state();
            let of = |one: &Picked| (one.shelf, overlapping(&state, one.shelf, range));
            series
                .chunk_by(|a, b| a.shelf == b.shelf)
                .filter_map(|of_shelf| of_shelf.first())
                .map(of)
                .collect()
        };
        let mut directories = BTreeMap::new();
        for (shelf, blobs) in &shelves {
            if let Some(largest) = self.largest(blobs)? {
                directories.insert(*shelf, largest);
            }
        }
        series.sort_by_cached_key(|one| {
            let place = directories.get(&one.shelf).and_then(|largest| place(largest, one.id));
            (one.shelf, place.is_none(), place)
        });
        Ok(())
    }

    /// What is in the largest of some blobs, when it can be seen.
    fn largest(&self, blobs: &[BlobMeta]) -> Result<Option<Arc<Directory>>, Failed> {
        let Some(largest) = blobs.iter().max_by_key(|meta| meta.samples) else { return Ok(None) };
        self.settled(
            || (),
            |(), reader| {
                let seen =
                    reader.with(largest, Keep::Shared, |blob| Ok(Arc::clone(&blob.directory)));
                match seen {
                    // A blob that was replaced since is missed when it is read.
                    Err(Failed::Gone) => Ok(None),
                    other => other,
                }
            },
        )
    }
}

/// Where a series lies in a blob, and so mostly in those before and after it.
fn place(directory: &Directory, id: u32) -> Option<(u32, usize)> {
    let columns = &directory.columns;
    let at = columns.binary_search_by_key(&id, |column| column.series).ok()?;
    columns.get(at).map(Column::place)
}

/// The series that fulfil all matchers and reach into the range.
struct Picks {
    /// In the order of their labels but for those whose place is not known, which come last.
    series: Vec<Picked>,
    /// How many these are.
    unranked: usize,
    /// About how many samples each has to be looked at.
    each: usize,
    /// Else they come by their ids: there are too many to go from shelf to shelf for each.
    in_order: bool,
}

/// Not all of them when patience was lost.
fn pick(
    state: &State,
    (which, matchers): (Which, &[Matcher]),
    range: (i64, i64),
    what: What,
    patience: &Patience<'_>,
) -> Picks {
    let index = &state.index;
    let ids = index.select_which(which, matchers, range, patience);
    let in_order = what == What::All || ids.len() <= ORDERED_NEWEST_MAX;
    let keys =
        if in_order { index.ordered(ids) } else { ids.into_iter().map(|id| (0, id)).collect() };
    let unranked = unranked_len(&keys);
    let mut blobs: BTreeMap<u32, Vec<BlobMeta>> = BTreeMap::new();
    let mut series = Vec::with_capacity(keys.len());
    for (_, id) in keys.into_iter().take_while(|_| patience.lasts()) {
        let (Some(entry), Some(labels)) = (index.get(id), index.labels(id)) else { continue };
        let blobs =
            blobs.entry(entry.shelf).or_insert_with(|| overlapping(state, entry.shelf, range));
        // The index does not say whether it was let go since. A series comes without it then, as
        // it does from other reads. What is older than all that is whole is looked for.
        let stored = || {
            let is_in = |meta: &BlobMeta| (meta.first_ms..=meta.last_ms).contains(&entry.last_ms);
            entry.last_ms > state.horizons.samples_ms
                && (state.heads().any(|head| head.get(id).is_some()) || blobs.iter().any(is_in))
        };
        let known = entry.last_bits.filter(|_| what == What::Newest && entry.last_ms <= range.1);
        let newest = known.filter(|_| stored());
        series.push(Picked { labels, id, shelf: entry.shelf, last_ms: entry.last_ms, newest });
    }
    let each = if what == What::Newest { 1 } else { samples_each(state, &blobs, range) };
    Picks { series, unranked, each, in_order }
}

/// About how many samples a series has in a range.
fn samples_each(state: &State, blobs: &BTreeMap<u32, Vec<BlobMeta>>, range: (i64, i64)) -> usize {
    let of_shelf = |(shelf, blobs): (&u32, &Vec<BlobMeta>)| {
        let all = blobs.iter().fold(0_u64, |all, meta| all.saturating_add(share(meta, range)));
        all / state.index.shelf_len(*shelf).max(1)
    };
    let sealed = blobs.iter().map(of_shelf).max().unwrap_or(0);
    let in_head = state.heads().map(|head| head.samples_len() / head.series_len().max(1)).sum();
    usize::try_from(sealed).unwrap_or(usize::MAX).saturating_add(in_head)
}

/// The samples of a blob that lie in a range, taking them for evenly spread.
pub(crate) fn share(meta: &BlobMeta, (start_ms, end_ms): (i64, i64)) -> u64 {
    let span = u128::from(meta.last_ms.abs_diff(meta.first_ms)) + 1;
    let (from_ms, to_ms) = (meta.first_ms.max(start_ms), meta.last_ms.min(end_ms));
    let within = u128::from(to_ms.abs_diff(from_ms)) + 1;
    let samples = u128::from(meta.samples) * within.min(span) / span;
    u64::try_from(samples).unwrap_or(u64::MAX)
}
