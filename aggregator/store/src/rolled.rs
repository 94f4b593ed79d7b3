//! Reading buckets: from roll-ups where there are valid ones, made of samples elsewhere.
//!
//! Day by day it is one or the other. The samples serve where a day is not rolled up yet or got
//! more samples since, and where a series has none of the buckets of a day: it had few samples, or
//! none. Where samples ran out, what is left of the roll-up is all there is.
//!
//! Columns are read one by one. Of those that are stored only where they say something of their
//! own, the rest is read where it is implied; see `rollup`.

use std::collections::{BTreeMap, BTreeSet};
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
use crate::scan::overlapping;
use crate::state::State;
use crate::store::Store;

/// What is asked for.
struct Asked {
    tier: &'static Tier,
    columns: BucketColumns,
    /// The first and the last millisecond of the buckets.
    range: (i64, i64),
    /// Whether samples may be given in place of buckets, since there are not all of them.
    samples_too: bool,
}

/// The series of one shelf, and where what they have may be, at one moment.
struct View {
    series: Vec<(u32, Labels)>,
    samples: Vec<BlobMeta>,
    /// The blobs of each column.
    columns: Vec<Vec<BlobMeta>>,
    /// Days of which some column was lost.
    lacking: BTreeSet<(i64, i64)>,
    frozen: Option<Arc<Head>>,
    /// As many as there are series.
    active: Vec<Option<HeadSeries>>,
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
        (start_ms, end_ms): (i64, i64),
        bucket_ms: i64,
        columns: BucketColumns,
    ) -> Result<Vec<Rolled>, ReadError> {
        let range = bucket_range(start_ms, end_ms, bucket_ms);
        let Some(tier) = TIERS.iter().find(|tier| tier.width_ms == bucket_ms) else {
            let series = self.select_series(matchers, range)?;
            return Ok(series.iter().map(|one| Rolled::of(one, bucket_ms, columns)).collect());
        };
        let samples_too = start_ms < self.tiers_now().samples_from_ms;
        let asked = Asked { tier, columns, range, samples_too };
        let copy = || views(&self.state(), matchers, &asked);
        let read = self.settled(copy, |views, blobs| {
            let mut all = Vec::new();
            let mut room = self.options().read_samples_max;
            for view in views {
                self.read_view(view, &asked, blobs, &mut room, &mut all)?;
            }
            Ok(all)
        });
        let mut all = read.map_err(|failed| self.read_failed(failed))?;
        all.sort_unstable_by(|a, b| a.labels().cmp(b.labels()));
        Ok(all)
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
            let series = state.index.shelf(shelf).map(|id| (id, Labels::default())).collect();
            let columns = columns(&state, shelf, &asked);
            let lacking = lacking(tier, |kind| state.rolled_of(shelf, tier.number, kind));
            let (samples, frozen, active) = (Vec::new(), None, Vec::new());
            let samples_ms = state.horizons.samples_ms;
            View { series, samples, columns, lacking, frozen, active, samples_ms }
        };
        let read = self.settled(copy, |view, blobs| {
            let mut all = Vec::new();
            let ids: Vec<(u32, Labels)> = view.series.clone();
            let found = self.find(&view, &asked, blobs)?;
            for ((id, labels), found) in ids.into_iter().zip(found) {
                if !found.counts.times.is_empty() {
                    all.push((id, found.buckets(labels, &asked)));
                }
            }
            Ok(all)
        });
        let read = read.map_err(|failed| self.read_failed(failed));
        Ok(read.map_err(crate::MaintainError::Read)?.into_iter().collect())
    }

    fn read_view(
        &self,
        view: View,
        asked: &Asked,
        blobs: &Blobs<'_>,
        room: &mut usize,
        all: &mut Vec<Rolled>,
    ) -> Result<(), Failed> {
        let found = self.find(&view, asked, blobs)?;
        for ((_, labels), found) in view.series.into_iter().zip(found) {
            let numbers = found.counts.times.len().saturating_mul(asked.columns.iter().count());
            let numbers = numbers.saturating_add(found.samples.piece.times.len());
            *room = room.checked_sub(numbers).ok_or(Failed::TooMany)?;
            // Where nothing is in store, whoever asks makes the buckets that are wanted, if any.
            let is_unrolled = found.counts.times.is_empty();
            let rolled = if is_unrolled || (asked.samples_too && found.has_all_samples()) {
                let Piece { times, values } = found.samples.piece;
                Rolled::Samples(Series { labels, times, values })
            } else {
                Rolled::Buckets(found.buckets(labels, asked))
            };
            let is_empty = match &rolled {
                Rolled::Samples(series) => series.times.is_empty(),
                Rolled::Buckets(buckets) => buckets.ends_ms.is_empty(),
            };
            if !is_empty {
                all.push(rolled);
            }
        }
        Ok(())
    }

    /// What the series of a view have.
    fn find(&self, view: &View, asked: &Asked, blobs: &Blobs<'_>) -> Result<Vec<Found>, Failed> {
        loop {
            let shelf = Shelf::new(self, view, asked, blobs);
            // Each time, one blob more is known to be damaged.
            if let Ok(found) = shelf.find()? {
                return Ok(found);
            }
        }
    }
}

/// The first time that is whole, when all up to an end of a day is not.
const fn next_ms(horizon_ms: i64) -> i64 {
    if horizon_ms == i64::MIN { horizon_ms } else { horizon_ms.saturating_add(1) }
}

fn views(state: &State, matchers: &[Matcher], asked: &Asked) -> Vec<View> {
    let mut shelves: BTreeMap<u32, Vec<(u32, Labels)>> = BTreeMap::new();
    for id in state.index.select(matchers, asked.range.0, asked.range.1) {
        if let (Some(entry), Some(labels)) = (state.index.get(id), state.index.labels(id)) {
            shelves.entry(entry.shelf).or_default().push((id, labels));
        }
    }
    let view = |(shelf, series): (u32, Vec<(u32, Labels)>)| View {
        samples: overlapping(state, shelf, asked.range),
        columns: columns(state, shelf, asked),
        lacking: lacking(asked.tier, |kind| state.rolled_of(shelf, asked.tier.number, kind)),
        frozen: state.frozen.as_ref().map(|frozen| Arc::clone(&frozen.head)),
        active: series.iter().map(|(id, _)| state.active.get(*id).cloned()).collect(),
        samples_ms: state.horizons.samples_ms,
        series,
    };
    shelves.into_iter().map(view).collect()
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
    view: &'a View,
    asked: &'a Asked,
    blobs: &'a Blobs<'a>,
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
    fn new(store: &'a Store, view: &'a View, asked: &'a Asked, blobs: &'a Blobs<'a>) -> Self {
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
        Self { store, view, asked, blobs, single, broken, unrolled, sampled }
    }

    fn find(&self) -> Read<Vec<Found>> {
        let positions: Vec<usize> = (0..self.view.series.len()).collect();
        let Ok(counts) = self.read(BucketColumn::Count, &positions)? else {
            return Ok(Err(Broken));
        };
        let mut all = Vec::with_capacity(counts.len());
        for (at, counts) in counts.iter().enumerate() {
            all.push(self.sort_out(at, counts));
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
    fn sort_out(&self, at: usize, counts: &Piece) -> Found {
        let mut samples = Gathered::default();
        let head = self.head(at);
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
        let keeps = |(_, labels): &(u32, Labels)| self.store.options().is_kept(labels);
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
        Found { counts: valid, needed, samples, columns: Default::default() }
    }

    /// What the heads have of a series.
    fn head(&self, at: usize) -> Piece {
        let mut pieces = Vec::new();
        let id = self.view.series.get(at).map(|(id, _)| *id);
        let frozen = self.view.frozen.as_ref().zip(id).and_then(|(head, id)| head.get(id));
        let active = self.view.active.get(at).and_then(Option::as_ref);
        for head in frozen.into_iter().chain(active) {
            let mut piece = Piece::default();
            head.for_each(|time_ms, bits| {
                if (self.asked.range.0..=self.asked.range.1).contains(&time_ms) {
                    piece.times.push(time_ms);
                    piece.values.push(f64::from_bits(bits));
                }
            });
            pieces.push(piece);
        }
        crate::read::combine(pieces)
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
                for ((id, _), found) in self.view.series.iter().zip(all.iter_mut()) {
                    let wanted = range(found);
                    let Some(column) = blob.column(*id).filter(|_| !wanted.is_empty()) else {
                        continue;
                    };
                    for day in found.needed.get(wanted).unwrap_or_default() {
                        let (first_ms, last_ms) = day_range(*day);
                        let (start_ms, end_ms) = self.asked.range;
                        let range = (first_ms.max(start_ms), last_ms.min(end_ms));
                        let from = found.samples.piece.times.len();
                        blob.read(&column, range, &mut found.samples.piece)?;
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
                    let id = self.view.series.get(at).map(|(id, _)| *id);
                    let Some(stored) = id.and_then(|id| blob.column(id)) else { continue };
                    let from = gathered.piece.times.len();
                    let mut piece = Piece::default();
                    blob.read(&stored, self.asked.range, &mut piece)?;
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
