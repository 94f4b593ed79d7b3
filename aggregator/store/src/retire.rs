//! Dropping what is past its time, and the oldest when there is no room.
//!
//! Whole blobs go, all of a day together. When the samples of a day run out, its blobs are
//! *thinned*: those series stay that a policy keeps, and those that were not rolled up since they
//! have few samples, for as long as the buckets would. What was done to a blob is said by its flags
//! and [`BlobMeta::kept_ms`], so that it is done once. Nothing goes before it is rolled up.
//!
//! From when on there is all of a tier is kept as a document, before anything goes, so that it
//! never says too much.

use std::collections::{BTreeMap, BTreeSet};

use labstat_model::{BucketColumn, Labels};

use crate::blob::BlobMeta;
use crate::catalog::ShelfRow;
use crate::days::{DAY_MS, day_end, day_of, day_range};
use crate::maintain::ShelfDay;
use crate::rewrite::{Form, Source};
use crate::rollup::{TIERS, Tier, lacking, single_days};
use crate::store::Store;
use crate::{AppendError, MaintainError, Maintained};

/// The document that [`Horizons`] are kept in.
pub(crate) const DOCUMENT: &str = "store.horizons";

/// The document in which the policies stand that blobs were thinned by.
const POLICIES: &str = "store.policies";

/// What comes after this many days without any sample may have been written by a wrong clock.
const LEAP_DAYS: i64 = 30;

/// The clock is believed when there are samples of this many days since.
const LEAP_PROOF_DAYS: usize = 3;

/// Days of a shelf thinned by one call of [`Store::maintain`].
const THINNED_MAX: usize = 64;

/// Blobs dropped in one transaction, so that writers wait for milliseconds only.
const DROPS_MAX: usize = 64;

/// Shelves whose rows are rewritten by one call of [`Store::maintain`] to forget series: writers
/// wait for it.
const SHELVES_REWRITTEN_MAX: usize = 32;

/// Series forgotten by one call of [`Store::maintain`].
const SERIES_DROPS_MAX: usize = 10_000;

/// Days that go for want of room in one call of [`Store::maintain`].
const VICTIMS_MAX: usize = 32;

/// Of a database with a bound, this share is left free for the log and for what is sealed between
/// two calls of [`Store::maintain`].
const RESERVE_SHARE: u64 = 8;

/// The newest days keep their samples as long as there is anything else to drop.
const DAYS_SPARED: i64 = 2;

/// Flags of a blob of samples: those of series that nothing keeps are gone; those kept in place
/// of buckets of five minutes; and of an hour.
const GONE: [u32; 1 + TIERS.len()] = [1 << 2, 1 << 3, 1 << 4];

/// Since when there is what, in milliseconds since the Unix epoch; always the end of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Horizons {
    /// All samples.
    pub(crate) samples_ms: i64,
    /// All buckets, by the position of the tier.
    pub(crate) buckets_ms: [i64; TIERS.len()],
    /// The samples of series that a policy keeps for ever.
    pub(crate) kept_ms: i64,
}

impl Default for Horizons {
    fn default() -> Self {
        let all = i64::MIN;
        Self { samples_ms: all, buckets_ms: [all; TIERS.len()], kept_ms: all }
    }
}

impl Horizons {
    fn numbers(&self) -> [i64; 2 + TIERS.len()] {
        let [five_minutes, hour] = self.buckets_ms;
        [self.samples_ms, five_minutes, hour, self.kept_ms]
    }

    fn of([samples_ms, five_minutes, hour, kept_ms]: [i64; 2 + TIERS.len()]) -> Self {
        Self { samples_ms, buckets_ms: [five_minutes, hour], kept_ms }
    }

    /// As a document: numbers with blanks between them.
    fn document(&self) -> String {
        self.numbers().map(|number| number.to_string()).join(" ")
    }

    /// Reads [`Horizons::document`]; from what does not read, nothing is known to be gone.
    pub(crate) fn read(document: &[u8]) -> Self {
        let numbers = str::from_utf8(document).unwrap_or_default().split(' ').map(str::parse);
        let numbers: Result<Vec<i64>, _> = numbers.collect();
        let numbers = numbers.ok().and_then(|numbers| numbers.try_into().ok());
        numbers.map_or_else(Self::default, Self::of)
    }

    fn max(self, other: Self) -> Self {
        let mut numbers = self.numbers();
        for (number, other) in numbers.iter_mut().zip(other.numbers()) {
            *number = other.max(*number);
        }
        Self::of(numbers)
    }

    fn buckets(&self, tier: usize) -> i64 {
        self.buckets_ms.get(tier).copied().unwrap_or(i64::MIN)
    }

    /// What is to be gone of a day.
    fn gone(&self, day: i64) -> u32 {
        let end_ms = day_end(day);
        if end_ms > self.samples_ms {
            return 0;
        }
        let tiers = self.buckets_ms.iter().zip(GONE.iter().skip(1));
        let tiers = tiers.filter(|(from_ms, _)| end_ms <= **from_ms).map(|(_, flag)| flag);
        tiers.fold(GONE[0], |flags, flag| flags | flag)
    }
}

/// What is to go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    /// By age, or for want of room.
    pub(crate) horizons: Horizons,
    /// The time that ages are counted from; `None` when nothing has an age.
    newest_ms: Option<i64>,
    /// Whether samples go although they could not be rolled up.
    unrolled_too: bool,
}

impl Due {
    /// Whether the samples of a day are to go.
    pub(crate) fn is_expired(&self, day: i64) -> bool {
        day_end(day) <= self.horizons.samples_ms
    }

    /// The tiers in which a day is still to be, by their flags.
    pub(crate) fn tiers(&self, day: i64) -> u32 {
        let wanted = TIERS.iter().zip(self.horizons.buckets_ms);
        let wanted = wanted.filter(|(_, from_ms)| day_end(day) > *from_ms);
        wanted.fold(0, |flags, (tier, _)| flags | tier.flag)
    }

    /// Whether a day is older than this.
    fn is_past(&self, day: i64, keep_ms: i64) -> bool {
        self.newest_ms.is_some_and(|newest_ms| day_end(day) <= cut(newest_ms, keep_ms))
    }
}

/// The last end of a day that is this long ago.
fn cut(newest_ms: i64, keep_ms: i64) -> i64 {
    newest_ms.saturating_sub(keep_ms).div_euclid(DAY_MS).saturating_mul(DAY_MS)
}

/// The newest of ascending days with samples, but for a few that came long after the rest.
fn believed(days: &[i64]) -> Option<i64> {
    let is_leap = |a: &i64, b: &i64| b.saturating_sub(*a) > LEAP_DAYS;
    let mut runs: Vec<&[i64]> = days.chunk_by(|a, b| !is_leap(a, b)).collect();
    while runs.len() > 1 && runs.last().is_some_and(|run| run.len() < LEAP_PROOF_DAYS) {
        runs.pop();
    }
    runs.last().and_then(|run| run.last()).copied()
}

impl Store {
    /// What is to go by its age.
    pub(crate) fn due(&self, now_ms: i64) -> Due {
        let newest_ms = self.believed_ms(now_ms);
        let options = self.options();
        let from = |keep_ms: Option<i64>| match (newest_ms, keep_ms) {
            (Some(newest_ms), Some(keep_ms)) => cut(newest_ms, keep_ms),
            _ => i64::MIN,
        };
        let mut horizons =
            Horizons { samples_ms: from(options.retention_ms), ..Horizons::default() };
        for (tier, from_ms) in horizons.buckets_ms.iter_mut().enumerate() {
            *from_ms = from(options.buckets_keep_ms(tier));
        }
        Due { horizons, newest_ms, unrolled_too: false }
    }

    /// The newest time that is believed. Never by the clock alone: one that jumps ahead would take
    /// the history with it. Nor by samples alone: they may be stamped by that clock.
    fn believed_ms(&self, now_ms: i64) -> Option<i64> {
        let state = self.state();
        let newest_ms = state.index.newest_ms()?.min(now_ms);
        let newest = day_of(newest_ms);
        let mut days: Vec<i64> = state.blobs().map(|meta| day_of(meta.last_ms)).collect();
        days.retain(|day| *day < newest);
        days.push(newest);
        days.sort_unstable();
        days.dedup();
        Some(newest_ms.min(day_end(believed(&days)?)))
    }

    /// Has blobs thinned anew when policies changed since: some may keep less than they did.
    pub(crate) fn follow_policies(&self) -> Result<(), MaintainError> {
        let policies = self.options().policies();
        // One that does not read says as little as none.
        let known = self.db().document(POLICIES).ok().flatten().unwrap_or_default();
        if known == policies.as_bytes() {
            return Ok(());
        }
        let thick = |meta: &BlobMeta| BlobMeta { flags: meta.flags & !GONE[0], ..*meta };
        let is_thin = |meta: &&BlobMeta| meta.tier == 0 && meta.flags & GONE[0] != 0;
        let marked: Vec<BlobMeta> = self.state().blobs().filter(is_thin).map(thick).collect();
        for some in marked.chunks(DROPS_MAX) {
            self.exchange(&[], &[], some)?;
        }
        self.db().document_put(POLICIES, policies.as_bytes()).map_err(MaintainError::Write)
    }

    /// Drops what is due, at most `days_max` days of shelves of it, then series of which nothing is
    /// left.
    pub(crate) fn retire(
        &self,
        due: &Due,
        days_max: Option<usize>,
        done: &mut Maintained,
    ) -> Result<(), MaintainError> {
        let thin = self.thick(due);
        for (key, metas) in thin.into_iter().take(days_max.unwrap_or(usize::MAX)) {
            done.dropped_blobs += self.thin(key, &metas, due)?;
        }
        done.dropped_blobs += self.drop_buckets(due)?;
        done.dropped_series += self.retire_series(due)?;
        Ok(())
    }

    /// One call's share of [`Store::retire`].
    pub(crate) fn retire_some(
        &self,
        due: &Due,
        done: &mut Maintained,
    ) -> Result<(), MaintainError> {
        self.retire(due, Some(THINNED_MAX), done)
    }

    /// The days that are to be thinned and may be, since all there is of them is rolled up.
    fn thick(&self, due: &Due) -> BTreeMap<ShelfDay, Vec<BlobMeta>> {
        let mut thick: BTreeMap<ShelfDay, Vec<BlobMeta>> = BTreeMap::new();
        let mut held: BTreeSet<ShelfDay> = BTreeSet::new();
        let state = self.state();
        let samples = state.blobs().filter(|meta| meta.tier == 0);
        for meta in samples.filter(|meta| due.is_expired(day_of(meta.last_ms))) {
            let day = day_of(meta.last_ms);
            let is_rolled = meta.flags & due.tiers(day) == due.tiers(day);
            let is_thin = meta.flags & due.horizons.gone(day) == due.horizons.gone(day)
                && meta.kept_ms >= self.kept_ms(due, day);
            if self.is_damaged(meta.id) || !is_thin {
                thick.entry((day, meta.shelf)).or_default().push(*meta);
            }
            if !self.is_damaged(meta.id) && !is_rolled {
                held.extend((day_of(meta.first_ms)..=day).map(|day| (day, meta.shelf)));
            }
        }
        if due.unrolled_too {
            return thick;
        }
        // Once the rest of the day is gone, what came late cannot be rolled up with it.
        thick.retain(|key, _| !held.contains(key));
        if !thick.is_empty() {
            let unsealed = state.unsealed();
            let is_unsealed = |(day, shelf): &ShelfDay| {
                unsealed.get(shelf).is_some_and(|first_ms| *first_ms <= day_end(*day))
            };
            thick.retain(|key, _| !is_unsealed(key));
        }
        thick
    }

    /// The longest time of a policy that a day is older than.
    fn kept_ms(&self, due: &Due, day: i64) -> i64 {
        if day_end(day) <= due.horizons.kept_ms {
            return i64::MAX;
        }
        let limits = self.options().keep.iter().filter_map(|keep| keep.keep_ms);
        limits.filter(|keep_ms| due.is_past(day, *keep_ms)).max().unwrap_or(0)
    }

    /// Thins blobs of a shelf's day; gives how many are dropped with nothing in their place.
    fn thin(
        &self,
        (day, shelf): ShelfDay,
        metas: &[BlobMeta],
        due: &Due,
    ) -> Result<usize, MaintainError> {
        let gone = due.horizons.gone(day);
        let end_ms = day_end(day);
        let buckets_ms = due
            .horizons
            .buckets_ms
            .map(|from_ms| if end_ms <= from_ms { end_ms } else { i64::MIN });
        self.raise(Horizons { samples_ms: end_ms, buckets_ms, ..Horizons::default() })?;
        let (damaged, metas): (Vec<BlobMeta>, Vec<BlobMeta>) =
            metas.iter().partition(|meta| self.is_damaged(meta.id));
        // What cannot be read cannot be thinned; it goes as a whole.
        self.exchange(&[], &damaged, &[])?;
        let mut rolled = Vec::new();
        for (tier, flag) in TIERS.iter().zip(GONE.iter().skip(1)) {
            if gone & flag == 0 {
                rolled.push(self.rolled_series(tier, (day, shelf))?);
            }
        }
        let stays = |id: u32| {
            let Some(labels) = self.state().index.labels(id) else { return false };
            self.is_kept_still(&labels, day, due)
                || rolled.iter().any(|rolled| !rolled.contains(&id))
        };
        let Some(columns) = self.columns(&metas)? else { return Ok(damaged.len()) };
        let ids: BTreeSet<u32> = columns.iter().copied().filter(|id| stays(*id)).collect();
        let kept_ms = self.kept_ms(due, day);
        let mark = |meta: &BlobMeta| BlobMeta { flags: meta.flags | gone, kept_ms, ..*meta };
        if columns.iter().all(|id| ids.contains(id)) {
            let marked: Vec<BlobMeta> = metas.iter().map(mark).collect();
            self.exchange(&[], &[], &marked)?;
            return Ok(damaged.len());
        }
        if ids.is_empty() {
            self.exchange(&[], &metas, &[])?;
            return Ok(damaged.len() + metas.len());
        }
        let keep = |id: u32| ids.contains(&id);
        let Some(slices) = self.slices_of(&metas, 1, keep)? else { return Ok(damaged.len()) };
        let form = Form::of(shelf, slices, &metas);
        let form = Form { flags: form.flags | gone, kept_ms, ..form };
        if let Some(new) = self.rewritten(&metas, form, keep)? {
            self.exchange(&new, &metas, &[])?;
        }
        Ok(damaged.len())
    }

    /// Whether a policy still keeps the samples that a series has of a day.
    fn is_kept_still(&self, labels: &Labels, day: i64, due: &Due) -> bool {
        let options = self.options();
        if day_end(day) <= due.horizons.kept_ms || !options.is_kept(labels) {
            return false;
        }
        options.keep_ms(labels).is_none_or(|keep_ms| !due.is_past(day, keep_ms))
    }

    /// The series in these blobs.
    fn columns(&self, metas: &[BlobMeta]) -> Result<Option<BTreeSet<u32>>, MaintainError> {
        self.with_sources(metas, |sources| Ok(sources.iter().flat_map(Source::ids).collect()))
    }

    /// The series that have buckets in a day.
    fn rolled_series(
        &self,
        tier: &'static Tier,
        (day, shelf): ShelfDay,
    ) -> Result<BTreeSet<u32>, MaintainError> {
        let (counts, single) = {
            let state = self.state();
            let counts = state.rolled_of(shelf, tier.number, BucketColumn::Count as u32);
            let lacking = lacking(tier, |kind| state.rolled_of(shelf, tier.number, kind));
            let holds = |meta: &&BlobMeta| {
                let (first, last) = tier.days_of(meta);
                (first..=last).contains(&day)
                    && !self.is_damaged(meta.id)
                    && !lacking.contains(&(first, last))
            };
            let counts: Vec<BlobMeta> = counts.iter().filter(holds).copied().collect();
            let single = single_days(&counts);
            (counts, single)
        };
        let (start_ms, end_ms) = day_range(day);
        let rolled = self.with_sources(&counts, |sources| {
            let mut rolled = BTreeSet::new();
            for source in sources {
                // A larger blob may have had this day before it was rolled up again.
                let is_old = source.meta.level > 0 && single.contains(&day);
                while let Some(column) = source.next_column().filter(|_| !is_old) {
                    let times = source.times(&column)?;
                    let at = times.partition_point(|end_ms| *end_ms < start_ms);
                    if times.get(at).is_some_and(|found_ms| *found_ms <= end_ms) {
                        rolled.insert(column.series);
                    }
                }
            }
            Ok(rolled)
        })?;
        // Where this cannot be read, samples stay.
        Ok(rolled.unwrap_or_default())
    }

    /// Takes note, on disk first, that something is not whole before these times any more.
    fn raise(&self, horizons: Horizons) -> Result<(), MaintainError> {
        let known = self.state().horizons;
        let horizons = known.max(horizons);
        if horizons == known {
            return Ok(());
        }
        let mut db = self.db();
        db.document_put(DOCUMENT, horizons.document().as_bytes()).map_err(MaintainError::Write)?;
        self.state_mut().horizons = horizons;
        Ok(())
    }

    /// Drops the blobs of buckets all of which are due.
    fn drop_buckets(&self, due: &Due) -> Result<usize, MaintainError> {
        let mut old: BTreeMap<(usize, u32, i64), Vec<BlobMeta>> = BTreeMap::new();
        for meta in self.state().blobs().filter(|meta| meta.tier > 0) {
            let at = TIERS.iter().position(|tier| tier.number == meta.tier);
            let Some((at, tier)) = at.and_then(|at| Some((at, TIERS.get(at)?))) else { continue };
            let (first, last) = tier.days_of(meta);
            if day_end(last) <= due.horizons.buckets(at) {
                old.entry((at, meta.shelf, first)).or_default().push(*meta);
            }
        }
        let mut dropped = 0;
        let mut next = Vec::new();
        let mut old = old.into_values().peekable();
        while let Some(blobs) = old.next() {
            // The columns of one stretch of days go together: the rest would say something else.
            next.extend(blobs);
            if next.len() >= DROPS_MAX || old.peek().is_none() {
                self.raise(Horizons {
                    buckets_ms: due.horizons.buckets_ms,
                    ..Horizons::default()
                })?;
                self.exchange(&[], &next, &[])?;
                dropped += next.len();
                next.clear();
            }
        }
        Ok(dropped)
    }

    /// Forgets series of which nothing is stored any more.
    fn retire_series(&self, due: &Due) -> Result<usize, MaintainError> {
        // Writers wait, so that none adds to a series that is being forgotten.
        let mut writer = self.writer();
        let mut shelves = BTreeSet::new();
        let (ended, rows): (BTreeMap<u32, Labels>, Vec<ShelfRow>) = {
            let state = self.state();
            let gone = state.horizons.max(due.horizons);
            let [five_minutes, hour] = gone.buckets_ms;
            let cut_ms = gone.samples_ms.min(five_minutes).min(hour);
            let is_over = |id: u32, last_ms: i64| {
                last_ms <= cut_ms
                    && writer.ended_before(id, cut_ms.saturating_add(1))
                    && state.heads().all(|head| head.get(id).is_none())
            };
            let ended = state.index.iter().filter(|(id, entry)| is_over(*id, entry.last_ms));
            let ended = ended.filter_map(|(id, entry)| {
                let labels = state.index.labels(id)?;
                let kept = self.is_kept_still(&labels, day_of(entry.last_ms), due);
                // A shelf that is begun is gone through to its end.
                let room = shelves.len() < SHELVES_REWRITTEN_MAX || shelves.contains(&entry.shelf);
                (!kept && room).then(|| {
                    shelves.insert(entry.shelf);
                    (id, labels)
                })
            });
            let ended: BTreeMap<u32, Labels> = ended.take(SERIES_DROPS_MAX).collect();
            // New series have rows of their own.
            let folded = |id| state.unfolded().first().is_none_or(|first| id < *first);
            let left = |id| !ended.contains_key(&id) && folded(id);
            let rows = shelves.iter().map(|shelf| state.shelf_row(*shelf, true, left)).collect();
            (ended, rows)
        };
        if ended.is_empty() {
            return Ok(0);
        }
        let ids: BTreeSet<u32> = ended.keys().copied().collect();
        self.db().drop_series(&ids, &rows).map_err(MaintainError::Write)?;
        self.state_mut().forget(&ids);
        ended.iter().for_each(|(&id, labels)| writer.forget(id, labels));
        Ok(ids.len())
    }
}

/// What goes next for want of room, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    /// The samples of a day, but for those that policies keep or that serve in place of buckets.
    Samples(i64),
    /// The buckets up to a day, by the position of their tier.
    Buckets(usize, i64),
    /// The samples of a day that policies keep.
    Kept(i64),
    /// All samples of one of the newest days.
    Newest(i64),
}

impl Store {
    /// Drops the oldest until a database with a bound has room for what comes.
    pub(crate) fn make_room(
        &self,
        due: &mut Due,
        done: &mut Maintained,
    ) -> Result<(), MaintainError> {
        let Some(size_max) = self.options().size_max_bytes else { return Ok(()) };
        let limit = size_max.saturating_sub(size_max / RESERVE_SHARE);
        for _ in 0..VICTIMS_MAX {
            if self.db().used_bytes().map_err(MaintainError::Write)? <= limit {
                break;
            }
            let Some(victim) = self.victim() else { break };
            let horizons = match victim {
                Victim::Samples(day) => {
                    Horizons { samples_ms: day_end(day), ..Horizons::default() }
                }
                Victim::Buckets(tier, day) => {
                    let mut horizons = Horizons::default();
                    if let Some(from_ms) = horizons.buckets_ms.get_mut(tier) {
                        *from_ms = day_end(day);
                    }
                    horizons
                }
                Victim::Kept(day) => Horizons { kept_ms: day_end(day), ..Horizons::default() },
                Victim::Newest(day) => Horizons::of([day_end(day); 2 + TIERS.len()]),
            };
            due.horizons = due.horizons.max(horizons);
            self.raise(horizons)?;
            match self.seal_expired(due, done).and_then(|()| self.roll_up_expired(due, done)) {
                // There must be room before anything can be rolled up again.
                Err(MaintainError::Write(AppendError::StorageFull { .. })) => {
                    self.retire(&Due { unrolled_too: true, ..*due }, None, done)?;
                }
                rolled => rolled.and_then(|()| self.retire(due, None, done))?,
            }
        }
        Ok(())
    }

    fn victim(&self) -> Option<Victim> {
        let state = self.state();
        let samples = || state.blobs().filter(|meta| meta.tier == 0);
        let newest = samples().map(|meta| day_of(meta.last_ms)).max().unwrap_or(i64::MIN);
        let oldest_with = |have: u32, miss: u32| {
            let wanted =
                samples().filter(|meta| meta.flags & have == have && meta.flags & miss == 0);
            wanted.map(|meta| day_of(meta.last_ms)).min()
        };
        let spared = |day: &i64| *day > newest.saturating_sub(DAYS_SPARED);
        if let Some(day) = oldest_with(0, GONE[0]).filter(|day| !spared(day)) {
            return Some(Victim::Samples(day));
        }
        for (at, tier) in TIERS.iter().enumerate() {
            let buckets = state.blobs().filter(|meta| meta.tier == tier.number);
            let last = buckets.map(|meta| tier.days_of(meta).1).min();
            // What serves in place of buckets goes with the buckets of the same time.
            let sparse = oldest_with(GONE[0], GONE.get(at + 1).copied().unwrap_or(0));
            let oldest = last.into_iter().chain(sparse).filter(|day| !spared(day)).min();
            if let Some(day) = oldest {
                return Some(Victim::Buckets(at, day));
            }
        }
        if let Some(day) = oldest_with(GONE[0], 0) {
            return Some(Victim::Kept(day));
        }
        oldest_with(0, 0).map(Victim::Newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn horizons_come_back_from_their_document() {
        let horizons = Horizons::of([-5, 0, i64::MIN, i64::MAX]);
        assert_eq!(Horizons::read(horizons.document().as_bytes()), horizons);
        for document in [&b""[..], b"1 2 3", b"1 2 3 x", b"1 2 3 4 5", b"\xff"] {
            assert_eq!(Horizons::read(document), Horizons::default(), "{document:?}");
        }
    }

    #[test]
    fn days_long_after_the_rest_are_believed_when_there_are_some() {
        for (days, newest) in [
            (&[5][..], 5),
            (&[1, 31], 31),
            (&[1, 2, 3, 34, 35], 3),
            (&[1, 2, 3, 34, 35, 36], 36),
            (&[1, 40, 41, 42, 80], 42),
            (&[1, 40, 80], 1),
        ] {
            assert_eq!(believed(days), Some(newest), "{days:?}");
        }
    }

    #[test]
    fn what_goes_of_a_day_follows_its_age() {
        let horizons = Horizons::of([3 * DAY_MS, 2 * DAY_MS, DAY_MS, i64::MIN]);
        let gone: Vec<u32> = (0..4).map(|day| horizons.gone(day)).collect();
        let [samples, five_minutes, hour] = GONE;
        assert_eq!(gone, [samples | five_minutes | hour, samples | five_minutes, samples, 0]);
    }
}
