//! Reads of ranges: which series, then their samples from the head and from the blobs that
//! overlap, a batch of series of one shelf at a time.
//!
//! A batch is read blob by blob, oldest first, straight into the columns it is given away in.
//! Large reads are shared with helpers, of which the store has one for each further core: one
//! large read goes faster for them, and the next one still has its caller's thread.
//!
//! Readers of one moment (`select`) copy what they need of the head first. Streams (`scan`) take
//! each batch as it is when its turn comes, so that neither memory nor locks are held for long.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use labstat_model::{Labels, Matcher, Series};

use crate::ReadError;
use crate::blob::{BlobMeta, Column, Directory};
use crate::head::{Head, HeadSeries};
use crate::read::{Blobs, Failed, Gathered, Keep, Piece};
use crate::state::State;
use crate::store::Store;

/// Columns that a blob is taken to have when it cannot be seen.
const COLUMNS_GUESS: usize = 1024;

/// The part of a read that lies in one shelf.
struct Shelf {
    shelf: u32,
    ids: Vec<u32>,
    labels: Vec<Labels>,
}

impl Shelf {
    /// Brings the series into another order.
    fn reorder(&mut self, order: &[usize]) {
        self.ids = order.iter().filter_map(|&at| self.ids.get(at).copied()).collect();
        self.labels = order.iter().filter_map(|&at| self.labels.get(at).cloned()).collect();
    }
}

/// Where the samples of some series of a shelf are, at one moment.
struct View {
    /// Blobs that overlap, by their first time.
    blobs: Vec<BlobMeta>,
    frozen: Option<Arc<Head>>,
    /// As many as there are series.
    active: Vec<Option<HeadSeries>>,
}

impl View {
    fn new(state: &State, shelf: u32, ids: &[u32], range: (i64, i64)) -> Self {
        let active = ids.iter().map(|&id| state.active.get(id).cloned()).collect();
        let frozen = state.frozen.as_ref().map(|frozen| Arc::clone(&frozen.head));
        Self { blobs: overlapping(state, shelf, range), frozen, active }
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

/// Some series of one shelf of a read, by position.
#[derive(Clone)]
struct Unit {
    shelf: usize,
    series: Range<usize>,
    /// Samples of each, as far as can be told.
    samples_each: usize,
}

/// What a read comes to.
struct Plan {
    shelves: Vec<Shelf>,
    units: Vec<Unit>,
    range: (i64, i64),
    samples: usize,
    keep: Keep,
    /// By shelf: where each of its series was before they were brought into the order in which
    /// they lie in parts of blobs. Of series in another order, each unit would need every part.
    orders: Vec<Option<Vec<usize>>>,
}

impl Plan {
    fn ids(&self, unit: &Unit) -> &[u32] {
        let ids = self.shelves.get(unit.shelf).map(|shelf| &*shelf.ids);
        ids.and_then(|ids| ids.get(unit.series.clone())).unwrap_or_default()
    }

    fn labels(&self, unit: &Unit) -> &[Labels] {
        let labels = self.shelves.get(unit.shelf).map(|shelf| &*shelf.labels);
        labels.and_then(|labels| labels.get(unit.series.clone())).unwrap_or_default()
    }
}

/// The columns of a unit's series, empty where a series has no sample in the range.
type Batch = Vec<Gathered>;

/// What reading a unit came to.
type Done = Result<(Unit, Batch), Failed>;

/// Reads a unit, by any thread.
type Read<'a> = dyn Fn(&Unit, &mut Batch) -> Result<(), Failed> + Sync + 'a;

/// Takes one series; `Break` when no more are wanted.
type Take<'a> = dyn FnMut(&Labels, &mut Piece) -> ControlFlow<()> + 'a;

/// What [`Store::scan`] gives series to: labels, times in milliseconds since the Unix epoch, and
/// values.
pub type Each<'a> = dyn FnMut(&Labels, &[i64], &[f64]) -> ControlFlow<()> + 'a;

/// A read that several threads share.
struct Job<'a> {
    plan: &'a Plan,
    read: &'a Read<'a>,
    next: AtomicUsize,
    stopped: AtomicBool,
    /// Batches that were given away, whose memory is used again.
    spare: Mutex<Vec<Batch>>,
}

impl Job<'_> {
    /// Reads the next unit; `None` when there is none.
    fn step(&self) -> Option<Done> {
        if self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        let unit = self.plan.units.get(self.next.fetch_add(1, Ordering::Relaxed))?;
        let mut batch = self.spare().pop().unwrap_or_default();
        Some((self.read)(unit, &mut batch).map(|()| (unit.clone(), batch)))
    }

    /// Gives the series of a batch away; `Break` when no more are wanted.
    fn give(&self, (unit, mut batch): (Unit, Batch), take: &mut Take<'_>) -> ControlFlow<()> {
        for (labels, gathered) in self.plan.labels(&unit).iter().zip(&mut batch) {
            if !gathered.piece.times.is_empty() && take(labels, &mut gathered.piece).is_break() {
                return ControlFlow::Break(());
            }
        }
        self.spare().push(batch);
        ControlFlow::Continue(())
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Batch>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a helper does: it reads units and tells what it found, until there is no more to do or
    /// nobody listens.
    fn help(&self, tell: &mpsc::SyncSender<Done>) {
        while let Some(done) = self.step() {
            if tell.send(done).is_err() {
                return;
            }
        }
    }

    fn run(&self, helpers: usize, take: &mut Take<'_>) -> Result<(), Failed> {
        thread::scope(|scope| {
            let (tell, told) = mpsc::sync_channel(helpers);
            for _ in 0..helpers {
                let tell = tell.clone();
                let builder = thread::Builder::new().name("store-read".to_owned());
                // Without the thread it takes longer, and that is all.
                let _ = builder.spawn_scoped(scope, move || self.help(&tell));
            }
            drop(tell);
            let result = self.gather(&told, take);
            // Helpers that wait to tell something learn that nobody listens.
            self.stopped.store(true, Ordering::Relaxed);
            drop(told);
            result
        })
    }

    /// The caller's part: what helpers have ready is given away first, and while there is none,
    /// the caller reads too.
    fn gather(&self, told: &mpsc::Receiver<Done>, take: &mut Take<'_>) -> Result<(), Failed> {
        loop {
            let done = match told.try_recv() {
                Ok(done) => Some(done),
                Err(_) => self.step().or_else(|| told.recv().ok()),
            };
            let Some(done) = done else { return Ok(()) };
            if self.give(done?, take).is_break() {
                return Ok(());
            }
        }
    }
}

/// Helpers that one read has for as long as this lives.
struct Helpers<'a> {
    free: &'a AtomicUsize,
    len: usize,
}

impl<'a> Helpers<'a> {
    /// At most `wanted` of those that are free.
    fn take(free: &'a AtomicUsize, wanted: usize) -> Self {
        let mut len = 0;
        let some = |now: usize| {
            len = now.min(wanted);
            Some(now - len)
        };
        let _ = free.fetch_update(Ordering::AcqRel, Ordering::Acquire, some);
        Self { free, len }
    }
}

impl Drop for Helpers<'_> {
    fn drop(&mut self) {
        self.free.fetch_add(self.len, Ordering::AcqRel);
    }
}

impl Store {
    pub(crate) fn select_series(
        &self,
        matchers: &[Matcher],
        range: (i64, i64),
    ) -> Result<Vec<Series>, ReadError> {
        let mut all = match self.select_once(matchers, range) {
            Err(Failed::Gone) => self.select_pinned(matchers, range),
            other => other,
        }
        .map_err(|failed| self.read_failed(failed))?;
        all.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        Ok(all)
    }

    /// A read of the state of one moment; it fails when a blob was replaced meanwhile.
    fn select_once(&self, matchers: &[Matcher], range: (i64, i64)) -> Result<Vec<Series>, Failed> {
        let (shelves, mut views) = self.views(matchers, range);
        let plan = self.plan(shelves, views.iter().map(|view| &*view.blobs), range)?;
        reorder(&mut views, &plan);
        let room = self.room();
        let read = |unit: &Unit, batch: &mut Batch| {
            let Some(view) = views.get(unit.shelf) else { return Ok(()) };
            self.reading(|conn| {
                let blobs = Blobs::new(self, conn, false);
                read_unit(&blobs, &plan, unit, (view, unit.series.start), &room, batch)
            })
        };
        self.collect(&plan, &read)
    }

    /// As [`Store::select_once`], on one connection whose transaction began at that moment, so
    /// that nothing is missing.
    fn select_pinned(
        &self,
        matchers: &[Matcher],
        range: (i64, i64),
    ) -> Result<Vec<Series>, Failed> {
        let copy = || self.views(matchers, range);
        self.pinned(copy, |(shelves, mut views), blobs| {
            let plan = self.plan(shelves, views.iter().map(|view| &*view.blobs), range)?;
            reorder(&mut views, &plan);
            let room = self.room();
            let mut all = Vec::new();
            for unit in &plan.units {
                let Some(view) = views.get(unit.shelf) else { continue };
                let mut batch = Batch::new();
                read_unit(blobs, &plan, unit, (view, unit.series.start), &room, &mut batch)?;
                for (labels, gathered) in plan.labels(unit).iter().zip(batch) {
                    all.extend(series(labels, gathered.piece));
                }
            }
            Ok(all)
        })
    }

    fn collect(&self, plan: &Plan, read: &Read<'_>) -> Result<Vec<Series>, Failed> {
        let mut all = Vec::new();
        self.run(plan, read, &mut |labels, piece| {
            all.extend(series(labels, std::mem::take(piece)));
            ControlFlow::Continue(())
        })?;
        Ok(all)
    }

    pub(crate) fn scan_series(
        &self,
        matchers: &[Matcher],
        range: (i64, i64),
        each: &mut Each<'_>,
    ) -> Result<(), ReadError> {
        let (shelves, blobs): (Vec<Shelf>, Vec<Vec<BlobMeta>>) = {
            let state = self.state();
            let shelves = shelves(&state, matchers, range).into_iter();
            shelves
                .map(|one| {
                    let blobs = overlapping(&state, one.shelf, range);
                    (one, blobs)
                })
                .unzip()
        };
        let scan = || {
            let plan = self.plan(shelves, blobs.iter().map(Vec::as_slice), range)?;
            let read = |unit: &Unit, batch: &mut Batch| {
                let Some(shelf) = plan.shelves.get(unit.shelf) else { return Ok(()) };
                let copy = || View::new(&self.state(), shelf.shelf, plan.ids(unit), range);
                self.settled(copy, |view, blobs| {
                    // Each batch by itself: what was given away is no longer in memory.
                    read_unit(blobs, &plan, unit, (&view, 0), &self.room(), batch)
                })
            };
            self.run(&plan, &read, &mut |labels, piece| each(labels, &piece.times, &piece.values))
        };
        scan().map_err(|failed| self.read_failed(failed))
    }

    /// Samples that a read may still return.
    fn room(&self) -> AtomicUsize {
        AtomicUsize::new(self.options().read_samples_max)
    }

    fn views(&self, matchers: &[Matcher], range: (i64, i64)) -> (Vec<Shelf>, Vec<View>) {
        let state = self.state();
        let shelves = shelves(&state, matchers, range);
        let view = |one: &Shelf| View::new(&state, one.shelf, &one.ids, range);
        let views = shelves.iter().map(view).collect();
        (shelves, views)
    }

    /// Cuts a read into units.
    fn plan<'a>(
        &self,
        shelves: Vec<Shelf>,
        blobs: impl Iterator<Item = &'a [BlobMeta]>,
        range: (i64, i64),
    ) -> Result<Plan, Failed> {
        let (units, orders) = (Vec::new(), Vec::new());
        let mut plan = Plan { shelves, units, range, samples: 0, keep: Keep::All, orders };
        let batch_samples = self.options().read_batch_samples;
        for (at, (shelf, blobs)) in plan.shelves.iter_mut().zip(blobs).enumerate() {
            let all = blobs.iter().fold(0_u64, |all, meta| all.saturating_add(share(meta, range)));
            let all = usize::try_from(all).unwrap_or(usize::MAX);
            // However few columns it is shared by, what is not much is one batch.
            let largest = if all > batch_samples { self.largest(blobs)? } else { None };
            let guess = if all > batch_samples { COLUMNS_GUESS } else { 1 };
            let columns = largest.as_ref().map_or(guess, |blob| blob.columns.len());
            let samples_each = all / columns.max(shelf.ids.len());
            plan.samples =
                plan.samples.saturating_add(samples_each.saturating_mul(shelf.ids.len()));
            let order = largest.map(|largest| layout(&largest, &shelf.ids));
            order.iter().for_each(|order| shelf.reorder(order));
            plan.orders.push(order);
            let len = (batch_samples / samples_each.max(1)).max(1);
            let starts = (0..shelf.ids.len()).step_by(len);
            plan.units.extend(starts.map(|start| {
                let series = start..shelf.ids.len().min(start + len);
                Unit { shelf: at, series, samples_each }
            }));
        }
        if plan.samples > batch_samples {
            plan.keep = Keep::NoParts;
        }
        Ok(plan)
    }

    /// What is in the largest of some blobs, when it can be seen.
    fn largest(&self, blobs: &[BlobMeta]) -> Result<Option<Arc<Directory>>, Failed> {
        let Some(largest) = blobs.iter().max_by_key(|meta| meta.samples) else { return Ok(None) };
        self.reading(|conn| {
            // A blob that was replaced since is missed when it is read.
            let seen = Blobs::new(self, conn, false)
                .with(largest, Keep::All, |blob| Ok(Arc::clone(&blob.directory)));
            match seen {
                Err(Failed::Gone) => Ok(None),
                other => other,
            }
        })
    }

    /// Reads all units, with helpers when it is much.
    fn run(&self, plan: &Plan, read: &Read<'_>, take: &mut Take<'_>) -> Result<(), Failed> {
        let alone = plan.samples <= self.options().read_batch_samples;
        let wanted = if alone { 0 } else { plan.units.len().saturating_sub(1) };
        let helpers = Helpers::take(self.helpers(), wanted);
        let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
        let job = Job { plan, read, next, stopped, spare: Mutex::default() };
        job.run(helpers.len, take)
    }
}

fn series(labels: &Labels, Piece { mut times, mut values }: Piece) -> Option<Series> {
    if times.is_empty() {
        return None;
    }
    // What was reserved is a guess. Whoever holds the series for long pays for what is left over.
    for (len, capacity) in [(times.len(), times.capacity()), (values.len(), values.capacity())] {
        if capacity > len + len / 4 {
            times.shrink_to_fit();
            values.shrink_to_fit();
        }
    }
    Some(Series { labels: labels.clone(), times, values })
}

/// In which order series lie in a blob, and so mostly in those before and after it. Those that are
/// not in it come last.
fn layout(directory: &Directory, ids: &[u32]) -> Vec<usize> {
    let columns = &directory.columns;
    let place = |id: u32| {
        let at = columns.binary_search_by_key(&id, |column| column.series).ok()?;
        columns.get(at).map(Column::place)
    };
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by_cached_key(|&at| {
        let place = ids.get(at).and_then(|&id| place(id));
        (place.is_none(), place)
    });
    order
}

/// Brings what was copied of the head into the order of the plan.
fn reorder(views: &mut [View], plan: &Plan) {
    for (view, order) in views.iter_mut().zip(&plan.orders) {
        if let Some(order) = order {
            let mut take = |&at: &usize| view.active.get_mut(at).and_then(Option::take);
            view.active = order.iter().map(&mut take).collect();
        }
    }
}

/// The series that fulfil all matchers and reach into the range, by shelf.
fn shelves(state: &State, matchers: &[Matcher], (start_ms, end_ms): (i64, i64)) -> Vec<Shelf> {
    let mut found: Vec<(u32, u32, Labels)> = Vec::new();
    for id in state.index.select(matchers, start_ms, end_ms) {
        if let (Some(entry), Some(labels)) = (state.index.get(id), state.index.labels(id)) {
            found.push((entry.shelf, id, labels));
        }
    }
    found.sort_unstable_by_key(|(shelf, id, _)| (*shelf, *id));
    let mut shelves: Vec<Shelf> = Vec::new();
    for (shelf, id, labels) in found {
        match shelves.last_mut().filter(|last| last.shelf == shelf) {
            Some(last) => {
                last.ids.push(id);
                last.labels.push(labels);
            }
            None => shelves.push(Shelf { shelf, ids: vec![id], labels: vec![labels] }),
        }
    }
    shelves
}

/// The samples of a blob that lie in a range, taking them for evenly spread.
fn share(meta: &BlobMeta, (start_ms, end_ms): (i64, i64)) -> u64 {
    let span = u128::from(meta.last_ms.abs_diff(meta.first_ms)) + 1;
    let (from_ms, to_ms) = (meta.first_ms.max(start_ms), meta.last_ms.min(end_ms));
    let within = u128::from(to_ms.abs_diff(from_ms)) + 1;
    let samples = u128::from(meta.samples) * within.min(span) / span;
    u64::try_from(samples).unwrap_or(u64::MAX)
}

/// Reads the series of a unit. The series of the view begin with the one at `offset`.
fn read_unit(
    blobs: &Blobs<'_>,
    plan: &Plan,
    unit: &Unit,
    (view, offset): (&View, usize),
    room: &AtomicUsize,
    batch: &mut Batch,
) -> Result<(), Failed> {
    let ids = plan.ids(unit);
    batch.iter_mut().for_each(Gathered::clear);
    batch.resize_with(ids.len(), Gathered::default);
    for gathered in &mut *batch {
        gathered.reserve(unit.samples_each);
    }
    for meta in &view.blobs {
        blobs.with(meta, plan.keep, |blob| {
            for (&id, gathered) in ids.iter().zip(&mut *batch) {
                let Some(column) = blob.column(id) else { continue };
                let from = gathered.piece.times.len();
                blob.read(&column, plan.range, &mut gathered.piece)?;
                take(room, gathered.piece.times.len() - from)?;
                gathered.joined(from);
            }
            blob.hand_on();
            Ok(())
        })?;
    }
    let active = view.active.get(offset..).unwrap_or_default();
    for ((id, gathered), active) in ids.iter().zip(&mut *batch).zip(active) {
        let frozen = view.frozen.as_ref().and_then(|head| head.get(*id));
        for head in frozen.into_iter().chain(active) {
            let from = gathered.piece.times.len();
            read_head(head, plan.range, &mut gathered.piece);
            take(room, gathered.piece.times.len() - from)?;
            gathered.joined(from);
        }
        gathered.settle();
    }
    Ok(())
}

fn take(room: &AtomicUsize, samples: usize) -> Result<(), Failed> {
    let less = |room: usize| room.checked_sub(samples);
    match room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
        Ok(_) => Ok(()),
        Err(_) => Err(Failed::TooMany),
    }
}

fn read_head(head: &HeadSeries, range: (i64, i64), out: &mut Piece) {
    head.each_in(range, |time_ms, bits| {
        out.times.push(time_ms);
        out.values.push(f64::from_bits(bits));
    });
}
