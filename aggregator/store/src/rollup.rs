//! Making roll-ups: buckets of the samples of a day, and larger blobs of the buckets of many days.
//!
//! A roll-up is as many blobs as it has columns, one blob of a shelf, a stretch of days, a tier and
//! a column each, whose times are the ends of the buckets. So a read takes in only the columns that
//! it needs. What another column says anyway is not stored (see [`implied_by`]); the blob of
//! [`BucketColumn::Count`] has every bucket.
//!
//! A blob of samples has a flag for each tier that says that its samples are in the roll-up. Where
//! one has not, the roll-up of its day is not looked at: buckets are made of the samples, until the
//! day is rolled up again. The roll-up of a single day (level 0) replaces what larger blobs have of
//! it.
//!
//! A series with few samples a bucket is not rolled up: its samples take no more room and say more.
//! They serve in place of buckets, and stay as long as those would.
//!
//! Not here: reading them (`rolled`), and how long they are kept (`retire`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use labstat_model::{BUCKET_WIDTHS_MS, BucketColumn, Buckets, Labels, Series};

use crate::MaintainError;
use crate::blob::{Blob, BlobMeta, Builder};
use crate::days::{DAY_MS, day_end, day_of, day_range};
use crate::maintain::ShelfDay;
use crate::read::{Piece, combine};
use crate::rewrite::{next_series, take};
use crate::state::State;
use crate::store::Store;

/// With fewer samples a bucket than this, a day of a series is not rolled up: a bucket has nine
/// numbers.
const SAMPLES_PER_BUCKET_MIN: usize = 10;

/// [`BlobMeta::kind`] of counts.
const COUNT: u32 = BucketColumn::Count as u32;

/// Buckets of one width.
#[derive(Debug)]
pub(crate) struct Tier {
    /// [`BlobMeta::tier`].
    pub(crate) number: u32,
    /// How wide its buckets are.
    pub(crate) width_ms: i64,
    /// Of how many days a blob is, by its level. A blob's days begin at a multiple of their number.
    pub(crate) days: &'static [i64],
    /// A day is rolled up when it is over for this long.
    after_ms: i64,
    /// Says of a blob of samples that they are in the roll-up.
    pub(crate) flag: u32,
}

/// The tiers there are, the narrowest first. Five minutes take half the room of the samples, so
/// they are made when few look at samples any more; an hour takes little and serves at once. Blobs
/// grow until their columns have one to two thousand numbers, as those of samples.
pub(crate) static TIERS: [Tier; BUCKET_WIDTHS_MS.len()] = [
    Tier {
        number: 1,
        width_ms: BUCKET_WIDTHS_MS[0],
        days: &[1, 4],
        after_ms: 14 * DAY_MS,
        flag: 1,
    },
    Tier { number: 2, width_ms: BUCKET_WIDTHS_MS[1], days: &[1, 8, 64], after_ms: 0, flag: 2 },
];

/// The days of one shelf that are to be rolled up, and for which tiers, by their flags.
pub(crate) type Unrolled = BTreeMap<ShelfDay, u32>;

/// The days of one blob of buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stretch {
    /// The position of the tier.
    tier: usize,
    shelf: u32,
    level: u32,
    /// The first day.
    first: i64,
}

impl Tier {
    /// The first and the last day of a blob of this level that has this day.
    pub(crate) fn period(&self, day: i64, level: u32) -> (i64, i64) {
        let days = self.days.get(level as usize).or(self.days.last()).copied().unwrap_or(1);
        let first = day.div_euclid(days).saturating_mul(days);
        (first, first.saturating_add(days - 1))
    }

    /// The first and the last day of a blob.
    pub(crate) fn days_of(&self, meta: &BlobMeta) -> (i64, i64) {
        self.period(day_of(meta.first_ms), meta.level)
    }

    /// Whether it is time to roll up a day that is over.
    pub(crate) fn is_due(&self, day: i64, now_ms: i64) -> bool {
        day_end(day).saturating_add(self.after_ms) <= now_ms
    }
}

/// The days of roll-ups of which a column was lost that the blob of counts says there is: something
/// else would be taken for what it said. Looks at all blobs of each kind: of a column that says
/// little, none may overlap what is asked for.
pub(crate) fn lacking<'a>(
    tier: &Tier,
    column: impl Fn(u32) -> &'a [BlobMeta],
) -> BTreeSet<(i64, i64)> {
    let mut kinds: HashMap<(i64, i64), u32> = HashMap::new();
    for (kind, _) in (0..).zip(BucketColumn::ALL) {
        for meta in column(kind) {
            *kinds.entry(tier.days_of(meta)).or_default() |= 1 << kind;
        }
    }
    let counts = column(COUNT).iter().map(|meta| (tier.days_of(meta), meta.flags));
    let lacks = |(days, flags): &((i64, i64), u32)| {
        flags & !kinds.get(days).copied().unwrap_or_default() != 0
    };
    counts.filter(lacks).map(|(days, _)| days).collect()
}

/// The days among these blobs that have a roll-up of their own, which goes before larger ones.
pub(crate) fn single_days(counts: &[BlobMeta]) -> BTreeSet<i64> {
    counts.iter().filter(|meta| meta.level == 0).map(|meta| day_of(meta.first_ms)).collect()
}

/// The column whose number a bucket has where this one has none. Of [`BucketColumn::Resets`] it is
/// that of the count in a way: no resets where there are samples.
pub(crate) const fn implied_by(column: BucketColumn) -> Option<BucketColumn> {
    match column {
        BucketColumn::Last | BucketColumn::Min => Some(BucketColumn::First),
        BucketColumn::Max => Some(BucketColumn::Last),
        BucketColumn::Resets => Some(BucketColumn::Count),
        _ => None,
    }
}

/// What a column says where another one implies it.
pub(crate) fn implied(column: BucketColumn, by: f64) -> f64 {
    match column {
        BucketColumn::Resets if by == 0.0 => f64::NAN,
        BucketColumn::Resets => 0.0,
        _ => by,
    }
}

fn is_implied(column: BucketColumn, buckets: &Buckets) -> bool {
    let Some(by) = implied_by(column) else { return false };
    let numbers = buckets.column(column).iter().map(|number| number.to_bits());
    let by = buckets.column(by).iter().map(|by| implied(column, *by).to_bits());
    numbers.eq(by)
}

/// The blobs of one tier and stretch of days while series are laid into them.
struct Rollup {
    tier: &'static Tier,
    /// Whether series with few samples are rolled up too.
    sparse_too: bool,
    columns: [Option<Builder>; BucketColumn::ALL.len()],
}

impl Rollup {
    fn new(tier: &'static Tier, sparse_too: bool) -> Self {
        Self { tier, sparse_too, columns: Default::default() }
    }

    /// Adds a series by its samples of the day, and buckets that are all that is left.
    fn push(&mut self, store: &Store, id: u32, samples: &Series, left: Option<&Buckets>) {
        let mut buckets = Buckets::roll_up(samples, self.tier.width_ms);
        let few = samples.times.len() < SAMPLES_PER_BUCKET_MIN * buckets.ends_ms.len();
        if few && !self.sparse_too && left.is_none() {
            return;
        }
        if let Some(left) = left {
            buckets = union(left, &buckets);
        }
        for column in BucketColumn::ALL {
            if !is_implied(column, &buckets) {
                self.push_column(store, column, id, &buckets.ends_ms, buckets.column(column));
            }
        }
    }

    fn push_column(
        &mut self,
        store: &Store,
        column: BucketColumn,
        id: u32,
        ends_ms: &[i64],
        numbers: &[f64],
    ) {
        if let Some(builder) = self.columns.get_mut(column as usize) {
            let builder = builder.get_or_insert_with(|| Builder::new(store.next_blob()));
            builder.push(id, ends_ms, numbers);
        }
    }

    fn finish(self, shelf: u32, level: u32) -> Vec<Blob> {
        let Self { tier, columns, .. } = self;
        let finish = |(kind, builder): (u32, Option<Builder>)| {
            let mut blob = builder?.finish(shelf, level)?;
            (blob.meta.tier, blob.meta.kind) = (tier.number, kind);
            Some(blob)
        };
        let mut blobs: Vec<Blob> = (0..).zip(columns).filter_map(finish).collect();
        let kinds = blobs.iter().fold(0, |kinds, blob| kinds | 1 << blob.meta.kind);
        if let Some(counts) = blobs.first_mut().filter(|blob| blob.meta.kind == COUNT) {
            counts.meta.flags = kinds;
        }
        blobs
    }
}

/// The buckets of both; where both have one, that of more samples: what is left where samples are
/// gone, the new one where all are there, with what came late.
fn union(left: &Buckets, new: &Buckets) -> Buckets {
    let mut ends: BTreeMap<i64, (&Buckets, usize)> = BTreeMap::new();
    let count =
        |(buckets, at): (&Buckets, usize)| buckets.column(BucketColumn::Count).get(at).copied();
    for buckets in [new, left] {
        for (at, end_ms) in buckets.ends_ms.iter().enumerate() {
            let known = ends.entry(*end_ms).or_insert((buckets, at));
            if count((buckets, at)) > count(*known) {
                *known = (buckets, at);
            }
        }
    }
    let mut both = Buckets::new(Labels::default(), left.bucket_ms);
    for (end_ms, (buckets, at)) in ends {
        both.ends_ms.push(end_ms);
        for (numbers, column) in both.columns.iter_mut().zip(BucketColumn::ALL) {
            numbers.push(buckets.column(column).get(at).copied().unwrap_or(f64::NAN));
        }
    }
    both
}

/// What a day is rolled up from, and in place of what.
struct Plan {
    samples: Vec<BlobMeta>,
    old: Vec<BlobMeta>,
    rollups: Vec<Rollup>,
    /// Whether samples of the day have run out, so that there is more in the old roll-up.
    thinned: bool,
}

impl Store {
    /// The days with samples that are in no roll-up of a tier for which `due` is true.
    pub(crate) fn unrolled(&self, due: impl Fn(&Tier, ShelfDay) -> bool) -> Unrolled {
        let mut unrolled = Unrolled::new();
        let mut crossed = BTreeSet::new();
        let state = self.state();
        for meta in state.blobs().filter(|meta| meta.tier == 0 && !self.is_damaged(meta.id)) {
            let key = (day_of(meta.last_ms), meta.shelf);
            if day_of(meta.first_ms) != key.0 {
                crossed.extend([key, (day_of(meta.first_ms), meta.shelf)]);
            }
            let due = |tier: &&Tier| meta.flags & tier.flag == 0 && due(tier, key);
            for tier in TIERS.iter().filter(due) {
                *unrolled.entry(key).or_default() |= tier.flag;
            }
        }
        // A blob that lies in two days is cut first.
        unrolled.retain(|key, _| !crossed.contains(key));
        unrolled
    }

    /// Rolls up a day of a shelf; says whether it did, which it does not when a blob turns out to
    /// be damaged.
    pub(crate) fn roll_up(&self, key: ShelfDay, tiers: u32) -> Result<bool, MaintainError> {
        let Plan { samples, old, mut rollups, thinned } = self.roll_up_plan(key, tiers);
        let mut left = Vec::new();
        for rollup in rollups.iter().filter(|_| thinned) {
            left.push(self.day_buckets(key, rollup.tier)?);
        }
        let rolled = self.with_sources(&samples, |sources| {
            let mut others: BTreeSet<u32> =
                left.iter().flat_map(|left| left.keys().copied()).collect();
            loop {
                let next = next_series(sources).into_iter().chain(others.first().copied()).min();
                let Some(id) = next else { break };
                others.remove(&id);
                // Series that were forgotten leave their last samples behind here.
                let known = self.state().index.get(id).is_some();
                let Piece { times, values } = take(sources, id, day_range(key.0), known)?;
                let series = Series { labels: Labels::default(), times, values };
                for (at, rollup) in rollups.iter_mut().enumerate() {
                    rollup.push(self, id, &series, left.get(at).and_then(|left| left.get(&id)));
                }
            }
            let blobs = std::mem::take(&mut rollups).into_iter();
            Ok(blobs.flat_map(|rollup| rollup.finish(key.1, 0)).collect::<Vec<Blob>>())
        })?;
        let Some(new) = rolled else { return Ok(false) };
        let mark = |meta: &BlobMeta| BlobMeta { flags: meta.flags | tiers, ..*meta };
        let marked: Vec<BlobMeta> = samples.iter().map(mark).collect();
        self.exchange(&new, &old, &marked)?;
        Ok(true)
    }

    fn roll_up_plan(&self, (day, shelf): ShelfDay, tiers: u32) -> Plan {
        let state = self.state();
        let mut plan = Plan {
            samples: samples_of(&state, day, shelf),
            old: Vec::new(),
            rollups: Vec::new(),
            thinned: day_end(day) <= state.horizons.samples_ms,
        };
        plan.samples.retain(|meta| !self.is_damaged(meta.id));
        for tier in TIERS.iter().filter(|tier| tiers & tier.flag != 0) {
            let counts = state.rolled_of(shelf, tier.number, BucketColumn::Count as u32);
            let holds = |meta: &BlobMeta| {
                let (first, last) = tier.days_of(meta);
                (first..=last).contains(&day)
            };
            // With a single series left out, what a larger blob has of it would show.
            let sparse_too = counts.iter().any(|meta| meta.level > 0 && holds(meta));
            plan.rollups.push(Rollup::new(tier, sparse_too));
            for column in BucketColumn::ALL {
                let blobs = state.rolled_of(shelf, tier.number, column as u32);
                plan.old.extend(blobs.iter().filter(|meta| meta.level == 0 && holds(meta)));
            }
        }
        plan
    }

    /// The stretches of days whose roll-ups lie in several blobs and can be put into one: those
    /// whose last day is `ready` and that have no samples that are not rolled up.
    pub(crate) fn unjoined(&self, ready: impl Fn(&Tier, i64) -> bool) -> Vec<Stretch> {
        let state = self.state();
        let mut unrolled: BTreeSet<(usize, u32, i64)> = BTreeSet::new();
        for (at, tier) in TIERS.iter().enumerate() {
            let missing =
                state.blobs().filter(|meta| meta.tier == 0 && meta.flags & tier.flag == 0);
            unrolled.extend(missing.map(|meta| (at, meta.shelf, day_of(meta.last_ms))));
        }
        let mut joined: BTreeMap<Stretch, usize> = BTreeMap::new();
        let counts = state.blobs().filter(|m| m.tier > 0 && m.kind == BucketColumn::Count as u32);
        let counts: Vec<(usize, &'static Tier, &BlobMeta)> = counts
            .filter_map(|meta| {
                let at = TIERS.iter().position(|tier| tier.number == meta.tier)?;
                Some((at, TIERS.get(at)?, meta))
            })
            .collect();
        let large: BTreeSet<(usize, u32, u32, i64)> = counts
            .iter()
            .map(|(at, tier, meta)| (*at, meta.shelf, meta.level, tier.days_of(meta).0))
            .collect();
        for (at, tier, meta) in counts {
            let day = day_of(meta.first_ms);
            let stretch = |level| Stretch {
                tier: at,
                shelf: meta.shelf,
                level,
                first: tier.period(day, level).0,
            };
            let levels = u32::try_from(tier.days.len()).unwrap_or(0);
            // The longest stretch that is whole, since it takes in all shorter ones. What lies
            // before a larger blob goes into that one or waits.
            let level = (1..levels).rev().find(|level| {
                let (first, last) = tier.period(day, *level);
                let range = (at, meta.shelf, first)..=(at, meta.shelf, last);
                ready(tier, last) && unrolled.range(range).next().is_none()
            });
            let Some(level) = level else { continue };
            let is_large =
                |level| large.contains(&(at, meta.shelf, level, tier.period(day, level).0));
            if !(level + 1..levels).any(is_large) {
                *joined.entry(stretch(level)).or_default() += 1;
            }
        }
        joined.into_iter().filter(|(_, blobs)| *blobs > 1).map(|(stretch, _)| stretch).collect()
    }

    /// Puts the roll-ups of a stretch of days into one blob a column.
    pub(crate) fn join(
        &self,
        Stretch { tier, shelf, level, first }: Stretch,
    ) -> Result<bool, MaintainError> {
        let Some(tier) = TIERS.get(tier) else { return Ok(false) };
        let (_, last) = tier.period(first, level);
        let mut kinds: Vec<Vec<BlobMeta>> = Vec::new();
        {
            let state = self.state();
            let within = |meta: &&BlobMeta| (first..=last).contains(&day_of(meta.first_ms));
            for column in BucketColumn::ALL {
                let blobs = state.rolled_of(shelf, tier.number, column as u32).iter();
                kinds.push(blobs.filter(within).copied().collect());
            }
        }
        let column = |kind: u32| kinds.get(kind as usize).map(Vec::as_slice).unwrap_or_default();
        if kinds.iter().flatten().any(|meta| self.is_damaged(meta.id))
            || !lacking(tier, column).is_empty()
        {
            return Ok(false);
        }
        let single = kinds.first().map(|counts| single_days(counts)).unwrap_or_default();
        let mut rollup = Rollup::new(tier, true);
        for (column, metas) in BucketColumn::ALL.into_iter().zip(&kinds) {
            if !self.join_column(&mut rollup, column, metas, &single)? {
                return Ok(false);
            }
        }
        self.exchange(&rollup.finish(shelf, level), &kinds.concat(), &[])?;
        Ok(true)
    }

    fn join_column(
        &self,
        rollup: &mut Rollup,
        column: BucketColumn,
        metas: &[BlobMeta],
        single: &BTreeSet<i64>,
    ) -> Result<bool, MaintainError> {
        let joined = self.with_sources(metas, |sources| {
            while let Some(id) = next_series(sources) {
                let mut pieces = Vec::new();
                for source in sources.iter_mut() {
                    let level = source.meta.level;
                    let mut piece =
                        take(std::slice::from_mut(source), id, (i64::MIN, i64::MAX), true)?;
                    if level > 0 {
                        leave_out(&mut piece, single);
                    }
                    pieces.push(piece);
                }
                let Piece { times, values } = combine(pieces);
                if !times.is_empty() && self.state().index.get(id).is_some() {
                    rollup.push_column(self, column, id, &times, &values);
                }
            }
            Ok(())
        })?;
        Ok(joined.is_some())
    }
}

/// The blobs of samples of a shelf's day.
pub(crate) fn samples_of(state: &State, day: i64, shelf: u32) -> Vec<BlobMeta> {
    let blobs = state.blobs_of(shelf).iter();
    blobs.filter(|meta| day_of(meta.last_ms) == day).copied().collect()
}

/// Takes the buckets of some days out.
pub(crate) fn leave_out(piece: &mut Piece, days: &BTreeSet<i64>) {
    if days.is_empty() {
        return;
    }
    let stays: Vec<bool> =
        piece.times.iter().map(|end_ms| !days.contains(&day_of(*end_ms))).collect();
    let mut stay = stays.iter().copied();
    piece.times.retain(|_| stay.next().unwrap_or(false));
    let mut stay = stays.iter().copied();
    piece.values.retain(|_| stay.next().unwrap_or(false));
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use labstat_model::{
        BucketColumns, ManualClock, Matcher, Rolled, Sample, TimeSeries, WriteRequest, bucket_range,
    };

    use super::*;
    use crate::db::tests::crash_after;
    use crate::{Keep, Options};

    const DAYS: i64 = 75;
    const NOW_MS: i64 = 19_100 * DAY_MS;

    fn open(dir: &Path, retention_ms: Option<i64>) -> Store {
        let options = Options {
            retention_ms,
            rollups_ms: [Some(30 * DAY_MS), Some(70 * DAY_MS)],
            keep: vec![Keep { matchers: vec![Matcher::equal("__name__", "kept")], keep_ms: None }],
            ..Options::new(Arc::new(ManualClock::new(NOW_MS)))
        };
        Store::open(dir, options).unwrap().0
    }

    /// Series with many samples, with few, and one that is kept.
    fn samples() -> Vec<Series> {
        let series = |(name, step_ms, len): (&str, i64, i64)| {
            let mut series = Series::new(Labels::new([("__name__", name)]));
            for day in 0..DAYS {
                let from_ms = NOW_MS - (DAYS - day) * DAY_MS + 7 * 3_600_000;
                for at in 0..len {
                    series.push(from_ms + at * step_ms, ((day * 31 + at * 7) % 45) as f64);
                }
            }
            series
        };
        [("dense", 15_000, 180), ("few", 60_000, 45), ("kept", 300_000, 9)].map(series).to_vec()
    }

    /// Whatever is still to be there says what it always said.
    fn check(store: &Store, all: &[Series], what: &str) {
        let tiers = store.tiers();
        for (width_ms, from_ms) in tiers.buckets {
            let from_ms = from_ms.max(NOW_MS - 2 * DAYS * DAY_MS);
            let range = bucket_range(from_ms, NOW_MS, width_ms);
            let found = store.buckets(&[], from_ms, NOW_MS, width_ms, BucketColumns::ALL).unwrap();
            assert_eq!(found.len(), all.len(), "{what} {width_ms}");
            for (found, series) in found.iter().zip(all) {
                let mut wanted = series.clone();
                let from = wanted.times.partition_point(|time_ms| *time_ms < range.0);
                wanted.times.drain(..from);
                wanted.values.drain(..from);
                let wanted = Buckets::roll_up(&wanted, width_ms);
                let found = match found {
                    Rolled::Samples(series) => Buckets::roll_up(series, width_ms),
                    Rolled::Buckets(buckets) => buckets.clone(),
                };
                assert_eq!(
                    found.ends_ms,
                    wanted.ends_ms,
                    "{what} {width_ms} {}",
                    series.labels.metric_name()
                );
                assert_eq!(found.columns, wanted.columns, "{what} {width_ms}");
            }
        }
        for (found, series) in store.select(&[], i64::MIN, i64::MAX).unwrap().iter().zip(all) {
            let is_kept = series.labels.metric_name() == "kept";
            let from_ms = if is_kept { i64::MIN } else { tiers.samples_from_ms };
            let since = |series: &Series| -> Vec<i64> {
                series.times.iter().copied().filter(|time_ms| *time_ms >= from_ms).collect()
            };
            assert_eq!(since(found), since(series), "{what}");
        }
    }

    /// Every step is one transaction, so that what a crash leaves is what some of them leave.
    #[test]
    fn a_crash_between_any_two_steps_loses_nothing() {
        let all = samples();
        let written = tempfile::tempdir().unwrap();
        let store = open(written.path(), None);
        for series in &all {
            let samples = series.samples().map(|s| Sample { time_ms: s.time_ms, value: s.value });
            let series = TimeSeries { labels: series.labels.clone(), samples: samples.collect() };
            store.append(&WriteRequest { series: vec![series], metadata: Vec::new() }).unwrap();
        }
        store.close().unwrap();
        drop(store);
        let (mut crashes, mut transactions) = (0, 0);
        loop {
            let dir = tempfile::tempdir().unwrap();
            std::fs::copy(written.path().join("labstat.db"), dir.path().join("labstat.db"))
                .unwrap();
            let store = open(dir.path(), Some(20 * DAY_MS));
            crash_after(transactions);
            let done = store.compact();
            crash_after(usize::MAX);
            drop(store);
            let store = open(dir.path(), Some(20 * DAY_MS));
            check(&store, &all, &format!("after {transactions}"));
            if done.is_ok() {
                assert!(crashes > 4, "{crashes} {transactions}");
                break;
            }
            store.compact().unwrap();
            check(&store, &all, &format!("after {transactions} and the rest"));
            crashes += 1;
            transactions += 41;
        }
    }
}
