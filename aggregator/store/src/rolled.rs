//! Reading buckets: from roll-ups where there are valid ones, made of samples elsewhere.
//!
//! Day by day it is one or the other. The samples serve where a day is not rolled up yet or got
//! more samples since, and where a series has none of the buckets of a day: it had few samples, or
//! none. Where samples ran out, what is left of the roll-up is all there is.
//!
//! Series come in parts, as samples do (`scan`), so that neither what a query holds nor how long it
//! goes on without asking whether to depends on how many there are.
//!
//! Columns are read one by one. Of those that are stored only where they say something of their
//! own, the rest is read where it is implied; see `rollup`.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use labstat_model::{
    BucketColumn, BucketColumns, Buckets, Labels, Matcher, Rolled, Series, Tiers, bucket_range,
};

use crate::ReadError;
use crate::blob::BlobMeta;
use crate::days::{day_end, day_of, day_range};
use crate::head::{Head, HeadSeries};
use crate::maintain::ShelfDay;
use crate::read::{Blobs, Failed, Gathered, Keep, Piece};
use crate::rollup::{TIERS, Tier, implied, implied_by, lacking, single_days};
use crate::scan::{Scan, overlapping, share};
use crate::state::State;
use crate::store::Store;

/// Series of a part: many, since what a part of a blob unpacks to serves all series of a shelf.
const PART_SERIES_MAX: usize = 1_024;

/// Numbers of a part, in samples of a part of a scan: these are read a column at a time, and the
/// fewer parts there are, the less often a blob is gone through.
const PART_SHARE: usize = 2;

/// A part that turns out to have this many times the numbers it should is read in halves.
const PART_EXCESS: usize = 4;

/// What [`BucketScan::read`] gives series to; `Break` when no more are wanted.
pub type EachRolled<'a> = dyn FnMut(Rolled) -> ControlFlow<()> + 'a;

/// Series in buckets, to be read part by part, in any order and by any threads. See
/// [`Store::scan_buckets`].
#[derive(Debug)]
pub struct BucketScan<'a>(Way<'a>);

#[derive(Debug)]
enum Way<'a> {
    /// As they are stored.
    Stored(Stored<'a>),
    /// Made of samples, in buckets of this width: none is stored.
    Made(Scan<'a>, i64, BucketColumns),
}

#[derive(Debug)]
struct Stored<'a> {
    store: &'a Store,
    asked: Asked,
    /// Sorted by labels, shelf by shelf or all together.
    series: Vec<Picked>,
    parts: Vec<Range<usize>>,
    is_sorted: bool,
}

/// What is asked for.
#[derive(Debug)]
struct Asked {
    tier: &'static Tier,
    columns: BucketColumns,
    /// The first and the last millisecond of the buckets.
    range: (i64, i64),
    /// Whether samples may be given in place of buckets, since there are not all of them.
    samples_too: bool,
}

/// A series that is read.
#[derive(Debug, Clone)]
struct Picked {
    id: u32,
    shelf: u32,
    labels: Labels,
    /// Its newest sample when it was asked for; later ones are not looked at.
    last_ms: i64,
}

/// The series of one shelf, and where what they have may be, at one moment.
struct View<'a> {
    series: Vec<&'a Picked>,
    samples: Vec<BlobMeta>,
    /// The blobs of each column.
    columns: Vec<Vec<BlobMeta>>,
    /// Days of which some column was lost.
    lacking: BTreeSet<(i64, i64)>,
    frozen: Option<Arc<Head>>,
    /// What of each series is in the head that grows.
    active: Vec<Piece>,
    /// Since when samples are whole.
    samples_ms: i64,
}

/// What is known of a series while its shelf is read.
#[derive(Default)]
struct Found {
    /// The ends of its buckets in the roll-up, and how many samples each has.
    counts: Piece,
    /// The days that samples are needed of, ascending.
    needed: Vec<i64>,
    samples: Gathered,
    /// As asked for, by their numbers; as long as the counts.
    columns: [Vec<f64>; BucketColumn::ALL.len()],
}

/// A blob of the roll-up turned out to be damaged: what is left must be looked at anew.
struct Broken;

/// What a read of a shelf came to.
type Read<T> = Result<Result<T, Broken>, Failed>;

impl Store {
    pub(crate) fn tiers_now(&self) -> Tiers {
        let horizons = self.state().horizons;
        let from_ms = |from_ms: i64| from_ms.min(horizons.samples_ms);
        let tiers = TIERS.iter().zip(horizons.buckets_ms);
        Tiers {
            samples_from_ms: next_ms(horizons.samples_ms),
            buckets: tiers.map(|(tier, ms)| (tier.width_ms, next_ms(from_ms(ms)))).collect(),
        }
    }

    pub(crate) fn buckets_of(
        &self,
        matchers: &[Matcher],
        range: (i64, i64),
        bucket_ms: i64,
        columns: BucketColumns,
    ) -> Result<Vec<Rolled>, ReadError> {
        let max = self.options().read_samples_max;
        let scan = self.scan_buckets_of(matchers, range, bucket_ms, columns)?;
        let mut room = Some(max);
        let mut all = Vec::new();
        for part in 0..scan.parts() {
            scan.read(part, &mut |rolled| {
                room = room.and_then(|room| room.checked_sub(numbers_of(&rolled)));
                all.push(rolled);
                if room.is_some() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            if room.is_none() {
                return Err(ReadError::TooManySamples { max });
            }
        }
        if !scan.is_sorted() {
            all.sort_unstable_by(|a, b| a.labels().cmp(b.labels()));
        }
        Ok(all)
    }

    pub(crate) fn scan_buckets_of(
        &self,
        matchers: &[Matcher],
        (start_ms, end_ms): (i64, i64),
        bucket_ms: i64,
        columns: BucketColumns,
    ) -> Result<BucketScan<'_>, ReadError> {
        let range = bucket_range(start_ms, end_ms, bucket_ms);
        let Some(tier) = TIERS.iter().find(|tier| tier.width_ms == bucket_ms) else {
            let scan = self.scan_all(matchers, range)?;
            return Ok(BucketScan(Way::Made(scan, bucket_ms, columns)));
        };
        let samples_too = start_ms < self.tiers_now().samples_from_ms;
        let asked = Asked { tier, columns, range, samples_too };
        let (mut series, each) = pick(&self.state(), matchers, &asked);
        let numbers = self.options().read_part_samples.saturating_mul(PART_SHARE);
        let len = (numbers / each.max(1)).clamp(1, PART_SERIES_MAX);
        let is_sorted = series.len() <= len;
        if is_sorted {
            series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        } else {
            series.sort_unstable_by(|a, b| (a.shelf, &a.labels).cmp(&(b.shelf, &b.labels)));
        }
        let starts = (0..series.len()).step_by(len);
        let parts = starts.map(|start| start..series.len().min(start + len)).collect();
        let store = self;
        Ok(BucketScan(Way::Stored(Stored { store, asked, series, parts, is_sorted })))
    }

    /// All buckets that the roll-up has of a day of a shelf, by series.
    pub(crate) fn day_buckets(
        &self,
        (day, shelf): ShelfDay,
        tier: &'static Tier,
    ) -> Result<BTreeMap<u32, Buckets>, crate::MaintainError> {
        let asked =
            Asked { tier, columns: BucketColumns::ALL, range: day_range(day), samples_too: false };
        let copy = || {
            let state = self.state();
            let picked = |id| Picked { id, shelf, labels: Labels::default(), last_ms: i64::MAX };
            let series: Vec<Picked> = state.index.shelf(shelf).map(picked).collect();
            let columns = columns(&state, shelf, &asked);
            let lacking = lacking(tier, |kind| state.rolled_of(shelf, tier.number, kind));
            (series, columns, lacking, state.horizons.samples_ms)
        };
        let read = self.settled(copy, |(series, columns, lacking, samples_ms), blobs| {
            let (samples, frozen, active) = (Vec::new(), None, Vec::new());
            let picked = series.iter().collect();
            let view =
                View { series: picked, samples, columns, lacking, frozen, active, samples_ms };
            let (found, _) = self.find(&view, &asked, blobs, usize::MAX)?;
            let found = series.iter().zip(found);
            let found = found.filter(|(_, found)| !found.counts.times.is_empty());
            Ok(found
                .map(|(one, found)| (one.id, found.buckets(Labels::default(), &asked)))
                .collect())
        });
        read.map_err(|failed| crate::MaintainError::Read(self.read_failed(failed)))
    }

    /// What the series of a view have, of no more than `left` numbers, and how many are left.
    fn find(
        &self,
        view: &View<'_>,
        asked: &Asked,
        blobs: &Blobs<'_>,
        left: usize,
    ) -> Result<(Vec<Found>, usize), Failed> {
        loop {
            let shelf = Shelf::new(self, view, asked, blobs, left);
            // Each time, one blob more is known to be damaged.
            if let Ok(found) = shelf.find()? {
                return Ok((found, shelf.left.get()));
            }
        }
    }
}

impl BucketScan<'_> {
    /// How many parts there are; none without series.
    pub fn parts(&self) -> usize {
        match &self.0 {
            Way::Stored(stored) => stored.parts.len(),
            Way::Made(scan, ..) => scan.parts(),
        }
    }

    /// Whether the series come sorted by labels, going through the parts in order.
    pub fn is_sorted(&self) -> bool {
        match &self.0 {
            Way::Stored(stored) => stored.is_sorted,
            Way::Made(scan, ..) => scan.is_sorted(),
        }
    }

    /// Gives the series of a part to `each` until it breaks. Those that have nothing in the range
    /// are left out. `each` may take its time, and write to the store: no lock is held.
    pub fn read(&self, part: usize, each: &mut EachRolled<'_>) -> Result<(), ReadError> {
        match &self.0 {
            Way::Stored(stored) => {
                let range = stored.parts.get(part).cloned().unwrap_or_default();
                let read = stored.read(stored.series.get(range).unwrap_or_default(), each);
                // Whoever breaks off has what it wants.
                read.map(drop).map_err(|failed| stored.store.read_failed(failed))
            }
            Way::Made(scan, bucket_ms, columns) => scan.read(part, &mut |series| {
                each(Rolled::of(&series.to_series(), *bucket_ms, *columns))
            }),
        }
    }
}

impl Stored<'_> {
    /// Reads some series, at once where they have not too many numbers.
    fn read(
        &self,
        series: &[Picked],
        each: &mut EachRolled<'_>,
    ) -> Result<ControlFlow<()>, Failed> {
        let options = self.store.options();
        // One series cannot be read in two.
        let left = match series {
            [_] => options.read_samples_max,
            _ => options.read_part_samples.saturating_mul(PART_SHARE * PART_EXCESS),
        };
        match self.read_at_once(series, left.min(options.read_samples_max)) {
            Ok(all) => Ok(all.into_iter().try_for_each(each)),
            Err(Failed::TooMany) if series.len() > 1 => {
                let (first, second) = series.split_at(series.len() / 2);
                match self.read(first, each)? {
                    ControlFlow::Continue(()) => self.read(second, each),
                    done => Ok(done),
                }
            }
            Err(failed) => Err(failed),
        }
    }

    /// Reads some series, shelf by shelf, and gives them in their order.
    fn read_at_once(&self, series: &[Picked], mut left: usize) -> Result<Vec<Rolled>, Failed> {
        let mut shelves: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (at, one) in series.iter().enumerate() {
            shelves.entry(one.shelf).or_default().push(at);
        }
        let mut all: Vec<(usize, Rolled)> = Vec::with_capacity(series.len());
        for (shelf, positions) in shelves {
            let picked: Vec<&Picked> = positions.iter().filter_map(|at| series.get(*at)).collect();
            let copy = || view(&self.store.state(), shelf, &picked, &self.asked, left);
            let read = |view: View<'_>, blobs: &Blobs<'_>| {
                self.store.find(&view, &self.asked, blobs, left)
            };
            let (found, rest) = self.store.settled(copy, read)?;
            left = rest;
            for ((at, one), found) in positions.iter().zip(picked).zip(found) {
                all.extend(found.rolled(one.labels.clone(), &self.asked).map(|one| (*at, one)));
            }
        }
        all.sort_unstable_by_key(|(at, _)| *at);
        Ok(all.into_iter().map(|(_, rolled)| rolled).collect())
    }
}

/// How many numbers it has; a sample is one.
fn numbers_of(rolled: &Rolled) -> usize {
    match rolled {
        Rolled::Samples(series) => series.times.len(),
        Rolled::Buckets(buckets) => buckets.columns.iter().map(Vec::len).sum(),
    }
}

/// The first time that is whole, when all up to an end of a day is not.
const fn next_ms(horizon_ms: i64) -> i64 {
    if horizon_ms == i64::MIN { horizon_ms } else { horizon_ms.saturating_add(1) }
}

/// The series that fulfil all matchers, and about how many numbers each has.
fn pick(state: &State, matchers: &[Matcher], asked: &Asked) -> (Vec<Picked>, usize) {
    let index = &state.index;
    let mut series = Vec::new();
    let mut unrolled: BTreeMap<u32, u64> = BTreeMap::new();
    for id in index.select(matchers, asked.range.0, asked.range.1) {
        let (Some(entry), Some(labels)) = (index.get(id), index.labels(id)) else { continue };
        let shelf = entry.shelf;
        unrolled.entry(shelf).or_insert_with(|| {
            let blobs = overlapping(state, shelf, asked.range);
            let blobs = blobs.iter().filter(|meta| meta.flags & asked.tier.flag == 0);
            let samples: u64 = blobs.map(|meta| share(meta, asked.range)).sum();
            samples / index.shelf_len(shelf).max(1)
        });
        series.push(Picked { id, shelf, labels, last_ms: entry.last_ms });
    }
    let first_ms = asked.range.0.max(index.oldest_ms().unwrap_or(i64::MAX));
    let last_ms = asked.range.1.min(index.newest_ms().unwrap_or(i64::MIN));
    let buckets = last_ms.saturating_sub(first_ms).max(0) / asked.tier.width_ms + 1;
    // One number more is their times.
    let columns = asked.columns.iter().count() + 2;
    let rolled = usize::try_from(buckets).unwrap_or(usize::MAX).saturating_mul(columns);
    let samples = unrolled.into_values().max().unwrap_or(0);
    (series, rolled.saturating_add(usize::try_from(samples).unwrap_or(usize::MAX)))
}

/// What some series of a shelf have, with no more than `max` samples of the head, and one more.
fn view<'a>(
    state: &State,
    shelf: u32,
    series: &[&'a Picked],
    asked: &Asked,
    max: usize,
) -> View<'a> {
    let mut taken = 0_usize;
    let mut active = Vec::with_capacity(series.len());
    for one in series {
        let mut piece = Piece::default();
        // What is too much is not needed: the whole part is not.
        if let Some(head) = state.active.get(one.id).filter(|_| taken <= max) {
            push_head(head, asked.range_of(one), &mut piece);
        }
        taken = taken.saturating_add(piece.times.len());
        active.push(piece);
    }
    View {
        series: series.to_vec(),
        samples: overlapping(state, shelf, asked.range),
        columns: columns(state, shelf, asked),
        lacking: lacking(asked.tier, |kind| state.rolled_of(shelf, asked.tier.number, kind)),
        frozen: state.frozen.as_ref().map(|frozen| Arc::clone(&frozen.head)),
        active,
        samples_ms: state.horizons.samples_ms,
    }
}

/// Adds what a head has of a series.
fn push_head(head: &HeadSeries, range: (i64, i64), piece: &mut Piece) {
    head.each_in(range, |time_ms, bits| {
        piece.times.push(time_ms);
        piece.values.push(f64::from_bits(bits));
    });
}

impl Asked {
    /// The range of samples, as far as the series went when it was asked for.
    fn range_of(&self, one: &Picked) -> (i64, i64) {
        (self.range.0, self.range.1.min(one.last_ms))
    }
}

/// The blobs of each column that overlap.
fn columns(state: &State, shelf: u32, asked: &Asked) -> Vec<Vec<BlobMeta>> {
    let overlaps =
        |meta: &&BlobMeta| meta.first_ms <= asked.range.1 && meta.last_ms >= asked.range.0;
    let column = |column: BucketColumn| {
        let blobs = state.rolled_of(shelf, asked.tier.number, column as u32).iter();
        let mut blobs: Vec<BlobMeta> = blobs.filter(overlaps).copied().collect();
        blobs.sort_unstable_by_key(|meta| (meta.first_ms, meta.id));
        blobs
    };
    BucketColumn::ALL.into_iter().map(column).collect()
}

/// A shelf while it is read.
struct Shelf<'a> {
    store: &'a Store,
    view: &'a View<'a>,
    asked: &'a Asked,
    blobs: &'a Blobs<'a>,
    /// How many numbers it may still take.
    left: Cell<usize>,
    /// Days that have a roll-up of their own, which goes before larger ones.
    single: BTreeSet<i64>,
    /// Days of which some column is damaged.
    broken: Vec<(i64, i64)>,
    /// Days with samples that are in no roll-up.
    unrolled: BTreeSet<i64>,
    /// Days with blobs of samples, ascending.
    sampled: Vec<i64>,
}

impl<'a> Shelf<'a> {
    fn new(
        store: &'a Store,
        view: &'a View<'a>,
        asked: &'a Asked,
        blobs: &'a Blobs<'a>,
        left: usize,
    ) -> Self {
        let damaged = |meta: &&BlobMeta| store.is_damaged(meta.id);
        let broken = view.columns.iter().flatten().filter(damaged);
        let broken = broken.map(|meta| asked.tier.days_of(meta));
        let broken = broken.chain(view.lacking.iter().copied()).collect();
        let mut unrolled = BTreeSet::new();
        let mut sampled = BTreeSet::new();
        for meta in view.samples.iter().filter(|meta| !store.is_damaged(meta.id)) {
            for day in days_of(meta, asked.range) {
                sampled.insert(day);
                if meta.flags & asked.tier.flag == 0 && day_end(day) > view.samples_ms {
                    unrolled.insert(day);
                }
            }
        }
        let single = view.columns.first().map(|counts| single_days(counts)).unwrap_or_default();
        let sampled = sampled.into_iter().collect();
        let left = Cell::new(left);
        Self { store, view, asked, blobs, left, single, broken, unrolled, sampled }
    }

    /// Takes note that so many numbers more were read.
    fn take(&self, numbers: usize) -> Result<(), Failed> {
        self.left.set(self.left.get().checked_sub(numbers).ok_or(Failed::TooMany)?);
        Ok(())
    }

    fn find(&self) -> Read<Vec<Found>> {
        let positions: Vec<usize> = (0..self.view.series.len()).collect();
        let Ok(counts) = self.read(BucketColumn::Count, &positions)? else {
            return Ok(Err(Broken));
        };
        let mut all = Vec::with_capacity(counts.len());
        for (at, counts) in counts.iter().enumerate() {
            all.push(self.sort_out(at, counts)?);
        }
        self.read_samples(&mut all)?;
        for column in self.asked.columns.iter() {
            let rolled = positions.iter().copied();
            let rolled = rolled
                .filter(|at| all.get(*at).is_some_and(|found| !found.counts.times.is_empty()));
            let Ok(numbers) = self.numbers(column, &rolled.collect::<Vec<_>>(), &all)? else {
                return Ok(Err(Broken));
            };
            for (at, numbers) in numbers {
                let found = all.get_mut(at);
                if let Some(slot) = found.and_then(|found| found.columns.get_mut(column as usize)) {
                    *slot = numbers;
                }
            }
        }
        Ok(Ok(all))
    }

    /// Which buckets of a series are valid, and of which days samples are needed.
    fn sort_out(&self, at: usize, counts: &Piece) -> Result<Found, Failed> {
        let mut samples = Gathered::default();
        let head = self.head(at)?;
        let mut head_days: Vec<i64> = head.times.iter().map(|time_ms| day_of(*time_ms)).collect();
        head_days.dedup();
        let is_broken =
            |day| self.broken.iter().any(|(first, last)| (*first..=*last).contains(&day));
        let is_invalid = |day: i64| {
            let in_head =
                day_end(day) > self.view.samples_ms && head_days.binary_search(&day).is_ok();
            in_head || self.unrolled.contains(&day) || is_broken(day)
        };
        let mut valid = Piece::default();
        let mut rolled: Vec<i64> = Vec::new();
        let mut last = None;
        for (&end_ms, &count) in counts.times.iter().zip(&counts.values) {
            let day = day_of(end_ms);
            let (_, invalid) = *last
                .take_if(|(known, _)| *known == day)
                .get_or_insert_with(|| (day, is_invalid(day)));
            last = Some((day, invalid));
            if !invalid {
                valid.times.push(end_ms);
                valid.values.push(count);
                rolled.push(day);
            }
        }
        rolled.dedup();
        let keeps = |one: &&Picked| self.store.options().is_kept(&one.labels);
        let wants_all = self.asked.samples_too && self.view.series.get(at).is_some_and(keeps);
        let mut needed: Vec<i64> = self.sampled.iter().chain(&head_days).copied().collect();
        needed.sort_unstable();
        needed.dedup();
        needed.retain(|day| wants_all || rolled.binary_search(day).is_err());
        let in_needed = |time_ms: i64| needed.binary_search(&day_of(time_ms)).is_ok();
        for (time_ms, value) in head.times.into_iter().zip(head.values) {
            if in_needed(time_ms) {
                samples.piece.times.push(time_ms);
                samples.piece.values.push(value);
            }
        }
        Ok(Found { counts: valid, needed, samples, columns: Default::default() })
    }

    /// What the heads have of a series.
    fn head(&self, at: usize) -> Result<Piece, Failed> {
        let Some(one) = self.view.series.get(at) else { return Ok(Piece::default()) };
        let mut pieces = Vec::new();
        if let Some(head) = self.view.frozen.as_ref().and_then(|head| head.get(one.id)) {
            let mut piece = Piece::default();
            push_head(head, self.asked.range_of(one), &mut piece);
            pieces.push(piece);
        }
        if let Some(Piece { times, values }) = self.view.active.get(at) {
            pieces.push(Piece { times: times.clone(), values: values.clone() });
        }
        let all = crate::read::combine(pieces);
        self.take(all.times.len())?;
        Ok(all)
    }

    /// Adds the samples of the days that need them.
    fn read_samples(&self, all: &mut [Found]) -> Result<(), Failed> {
        for meta in &self.view.samples {
            let days = days_of(meta, self.asked.range);
            let range = |found: &Found| {
                let from = found.needed.partition_point(|day| day < days.start());
                from..found.needed.partition_point(|day| day <= days.end())
            };
            if all.iter().all(|found| range(found).is_empty()) {
                continue;
            }
            self.blobs.with(meta, Keep::Shared, |blob| {
                for (one, found) in self.view.series.iter().zip(all.iter_mut()) {
                    let wanted = range(found);
                    let Some(column) = blob.column(one.id).filter(|_| !wanted.is_empty()) else {
                        continue;
                    };
                    for day in found.needed.get(wanted).unwrap_or_default() {
                        let (first_ms, last_ms) = day_range(*day);
                        let (start_ms, end_ms) = self.asked.range_of(one);
                        let range = (first_ms.max(start_ms), last_ms.min(end_ms));
                        let from = found.samples.piece.times.len();
                        blob.read(&column, range, &mut found.samples.piece)?;
                        self.take(found.samples.piece.times.len().saturating_sub(from))?;
                        found.samples.joined(from);
                    }
                }
                Ok(())
            })?;
        }
        all.iter_mut().for_each(|found| found.samples.settle());
        Ok(())
    }

    /// One column of some series, as it is stored.
    fn read(&self, column: BucketColumn, positions: &[usize]) -> Read<Vec<Piece>> {
        let mut pieces: Vec<Gathered> = Vec::new();
        pieces.resize_with(positions.len(), Gathered::default);
        let metas = self.view.columns.get(column as usize).map(Vec::as_slice).unwrap_or_default();
        for meta in metas.iter().filter(|meta| !self.store.is_damaged(meta.id)) {
            let read = self.blobs.with(meta, Keep::Shared, |blob| {
                for (&at, gathered) in positions.iter().zip(&mut pieces) {
                    let id = self.view.series.get(at).map(|one| one.id);
                    let Some(stored) = id.and_then(|id| blob.column(id)) else { continue };
                    let from = gathered.piece.times.len();
                    let mut piece = Piece::default();
                    blob.read(&stored, self.asked.range, &mut piece)?;
                    self.take(piece.times.len())?;
                    if meta.level > 0 {
                        crate::rollup::leave_out(&mut piece, &self.single);
                    }
                    gathered.piece.times.append(&mut piece.times);
                    gathered.piece.values.append(&mut piece.values);
                    gathered.joined(from);
                }
                Ok(())
            })?;
            if read.is_none() {
                return Ok(Err(Broken));
            }
        }
        pieces.iter_mut().for_each(Gathered::settle);
        Ok(Ok(pieces.into_iter().map(|gathered| gathered.piece).collect()))
    }

    /// The numbers of a column at the ends of the valid buckets, read or implied.
    fn numbers(
        &self,
        column: BucketColumn,
        positions: &[usize],
        all: &[Found],
    ) -> Read<Vec<(usize, Vec<f64>)>> {
        let counts = |at: usize| all.get(at).map(|found| &found.counts);
        if column == BucketColumn::Count {
            let values = positions.iter().filter_map(|&at| Some((at, counts(at)?.values.clone())));
            return Ok(Ok(values.collect()));
        }
        let Ok(pieces) = self.read(column, positions)? else { return Ok(Err(Broken)) };
        let mut found: Vec<(usize, Vec<Option<f64>>)> = Vec::with_capacity(positions.len());
        for (&at, piece) in positions.iter().zip(&pieces) {
            let ends_ms = counts(at).map(|counts| counts.times.as_slice()).unwrap_or_default();
            found.push((at, aligned(ends_ms, piece)));
        }
        let lacks = |(_, numbers): &&(usize, Vec<Option<f64>>)| numbers.contains(&None);
        let lacking: Vec<usize> = found.iter().filter(lacks).map(|(at, _)| *at).collect();
        let by = match implied_by(column) {
            Some(by) if !lacking.is_empty() => self.numbers(by, &lacking, all)?,
            _ => Ok(Vec::new()),
        };
        let Ok(by) = by else { return Ok(Err(Broken)) };
        let by: BTreeMap<usize, Vec<f64>> = by.into_iter().collect();
        let whole = found.into_iter().map(|(at, numbers)| {
            let by = by.get(&at).map(Vec::as_slice).unwrap_or_default();
            let number = |(place, number): (usize, Option<f64>)| {
                let implied = || by.get(place).map_or(f64::NAN, |by| implied(column, *by));
                number.unwrap_or_else(implied)
            };
            (at, numbers.into_iter().enumerate().map(number).collect())
        });
        Ok(Ok(whole.collect()))
    }
}

/// The days of a blob of samples that are in a range.
fn days_of(meta: &BlobMeta, range: (i64, i64)) -> std::ops::RangeInclusive<i64> {
    day_of(meta.first_ms.max(range.0))..=day_of(meta.last_ms.min(range.1))
}

/// The values of a piece at these times; `None` where it has none.
fn aligned(ends_ms: &[i64], piece: &Piece) -> Vec<Option<f64>> {
    let mut rest = piece.times.iter().zip(&piece.values).peekable();
    let at = |end_ms: &i64| {
        while rest.next_if(|(time_ms, _)| *time_ms < end_ms).is_some() {}
        rest.next_if(|(time_ms, _)| *time_ms == end_ms).map(|(_, value)| *value)
    };
    ends_ms.iter().map(at).collect()
}

impl Found {
    /// Whether there are samples in every day that has buckets, so that they say all there is. It
    /// is so where nothing was rolled up, and where a policy kept the samples.
    fn has_all_samples(&self) -> bool {
        let times = &self.samples.piece.times;
        let has_samples = |end_ms: &i64| {
            let (first_ms, last_ms) = day_range(day_of(*end_ms));
            let at = times.partition_point(|time_ms| *time_ms < first_ms);
            times.get(at).is_some_and(|time_ms| *time_ms <= last_ms)
        };
        self.counts.times.iter().all(has_samples)
    }

    /// What is given of a series, if anything.
    fn rolled(self, labels: Labels, asked: &Asked) -> Option<Rolled> {
        // Where nothing is in store, whoever asks makes the buckets that are wanted, if any.
        let is_unrolled = self.counts.times.is_empty();
        if is_unrolled || (asked.samples_too && self.has_all_samples()) {
            let Piece { times, values } = self.samples.piece;
            let has_some = !times.is_empty();
            return has_some.then_some(Rolled::Samples(Series { labels, times, values }));
        }
        let buckets = self.buckets(labels, asked);
        (!buckets.ends_ms.is_empty()).then_some(Rolled::Buckets(buckets))
    }

    fn buckets(self, labels: Labels, asked: &Asked) -> Buckets {
        let Self { counts, samples, columns, .. } = self;
        let mut rolled = Buckets::new(labels, asked.tier.width_ms);
        (rolled.ends_ms, rolled.columns) = (counts.times, columns);
        let days: BTreeSet<i64> = rolled.ends_ms.iter().map(|end_ms| day_of(*end_ms)).collect();
        let Piece { times, values } = samples.piece;
        let mut series = Series::new(Labels::default());
        for (time_ms, value) in times.into_iter().zip(values) {
            if !days.contains(&day_of(time_ms)) {
                series.push(time_ms, value);
            }
        }
        let mut made = Buckets::roll_up(&series, asked.tier.width_ms);
        made.keep_columns(asked.columns);
        if made.ends_ms.is_empty() {
            return rolled;
        }
        joined(&rolled, &made, asked.columns)
    }
}

/// The buckets of both, none of which is in both.
fn joined(rolled: &Buckets, made: &Buckets, columns: BucketColumns) -> Buckets {
    let mut places: Vec<(i64, bool, usize)> = Vec::new();
    for (is_made, buckets) in [(false, rolled), (true, made)] {
        places.extend(buckets.ends_ms.iter().zip(0..).map(|(end_ms, at)| (*end_ms, is_made, at)));
    }
    places.sort_unstable();
    let mut all = Buckets::new(rolled.labels.clone(), rolled.bucket_ms);
    all.ends_ms = places.iter().map(|(end_ms, _, _)| *end_ms).collect();
    for column in columns.iter() {
        let number = |(_, is_made, at): &(i64, bool, usize)| {
            let from = if *is_made { made } else { rolled };
            from.column(column).get(*at).copied().unwrap_or(f64::NAN)
        };
        if let Some(numbers) = all.columns.get_mut(column as usize) {
            *numbers = places.iter().map(number).collect();
        }
    }
    all
}
