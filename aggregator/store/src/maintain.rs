//! What is done beside writing and reading: sealing the head into blobs, merging the small blobs of
//! a day into larger ones; and in which order all else is done: rolling up (`rollup`), dropping
//! (`retire`).
//!
//! The work is done on copies and beside the writers; only the commit of its result locks the
//! database. One thing is done at a time. Blobs never cross a day, so that retention drops whole
//! blobs, and merging has an end. A day is merged when no more samples of it come in, so that a
//! sample is encoded twice in its life: when it is sealed and when it is merged. What comes later
//! is merged into the slices of the day that it lies in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, MutexGuard, PoisonError, TryLockError};

use crate::blob::{Blob, BlobMeta};
use crate::catalog::ShelfRow;
use crate::days::{day_end, day_of, slice_range};
use crate::head::Head;
use crate::read::Piece;
use crate::retire::Due;
use crate::rewrite::{Form, Shelving};
use crate::rollup::Tier;
use crate::scrub::Scrub;
use crate::state::Frozen;
use crate::store::Store;
use crate::{MaintainError, Maintained};

/// A day is merged when nothing of it has been sealed for this long.
const SETTLE_MS: i64 = 3_600_000;

/// A day is merged before it has settled when a shelf has this many new blobs of it: a read of
/// the day opens all of them. The head of a large lab is sealed some fifty times a day.
const UNMERGED_MAX: usize = 96;

/// Merges of one call of [`Store::maintain`]: some seconds of work at the most.
const MERGES_MAX: usize = 32;

/// Days of a shelf that are rolled up by one call of [`Store::maintain`].
const ROLLED_MAX: usize = 32;

/// Stretches of days whose roll-ups are joined by one call of [`Store::maintain`].
const JOINED_MAX: usize = 8;

/// A shelf's part of a day: the day first, so that the oldest come first.
pub(crate) type ShelfDay = (i64, u32);

/// What maintenance remembers from call to call.
#[derive(Debug, Default)]
pub(crate) struct Maintenance {
    /// Of each part of a day with unmerged blobs: the newest of those, and since when it is.
    newest: HashMap<ShelfDay, (i64, i64)>,
    started: bool,
    scrub: Scrub,
}

impl Maintenance {
    pub(crate) fn scrub(&mut self) -> &mut Scrub {
        &mut self.scrub
    }

    /// Takes note of the unmerged blobs there are at `now_ms`.
    fn look(&mut self, fresh: &BTreeMap<ShelfDay, Vec<BlobMeta>>, now_ms: i64) {
        // What was there at the start came before it; nobody knows when.
        let since_ms = if self.started { now_ms } else { now_ms.saturating_sub(SETTLE_MS) };
        self.started = true;
        self.newest.retain(|key, _| fresh.contains_key(key));
        for (key, blobs) in fresh {
            let newest = blobs.iter().map(|meta| meta.id).max().unwrap_or(0);
            let known = self.newest.entry(*key).or_insert((newest, since_ms));
            if known.0 != newest {
                *known = (newest, now_ms);
            }
        }
    }

    /// Whether nothing of a shelf's day was sealed lately.
    fn has_settled(&self, key: ShelfDay, now_ms: i64) -> bool {
        let since = self.newest.get(&key);
        // A clock that was set back must not keep the day open until it has caught up.
        since.is_none_or(|(_, since_ms)| now_ms.abs_diff(*since_ms) >= SETTLE_MS.unsigned_abs())
    }
}

impl Store {
    pub(crate) fn maintain_due(&self, now_ms: i64) -> Result<Maintained, MaintainError> {
        let mut alone = self.alone();
        self.mend_when_broken()?;
        let mut done = Maintained::default();
        let mut due = self.due(now_ms);
        self.make_room(&mut due, &mut done)?;
        if self.seal_is_due(now_ms) {
            done.sealed_samples = self.seal()?;
        }
        let mut fresh = self.fresh();
        alone.look(&fresh, now_ms);
        fresh.retain(|key, blobs| {
            let settled = self.is_over(key.0, now_ms) && alone.has_settled(*key, now_ms);
            settled || blobs.len() >= UNMERGED_MAX
        });
        done.merged_blobs = self.merge(fresh.into_iter().take(MERGES_MAX))?;
        let unrolled = self.unrolled(|tier, key| {
            due.tiers(key.0) & tier.flag != 0
                && self.is_over(key.0, now_ms)
                && alone.has_settled(key, now_ms)
                && (tier.is_due(key.0, now_ms) || due.is_expired(key.0))
        });
        done.rolled_days += self.roll_up_all(unrolled.into_iter().take(ROLLED_MAX))?;
        let whole = |tier: &Tier, day| self.is_over(day, now_ms) && tier.is_due(day, now_ms);
        for stretch in self.unjoined(whole).into_iter().take(JOINED_MAX) {
            self.join(stretch)?;
        }
        self.retire_some(&due, &mut done)?;
        self.follow_policies()?;
        // A database with a bound stays as large as it is: its free pages are filled again.
        if self.options().size_max_bytes.is_none() {
            self.db().shrink(false).map_err(MaintainError::Write)?;
        }
        self.scrub(&mut alone, now_ms)?;
        Ok(done)
    }

    pub(crate) fn compact_all(&self) -> Result<Maintained, MaintainError> {
        let _alone = self.alone();
        self.mend_when_broken()?;
        let now_ms = self.options().clock.now_ms();
        let mut done = Maintained::default();
        let mut due = self.due(now_ms);
        self.make_room(&mut due, &mut done)?;
        done.sealed_samples = self.seal()?;
        // What was frozen by a seal that failed is sealed first; the rest comes with the second.
        done.sealed_samples += self.seal()?;
        done.merged_blobs = self.merge(self.fresh().into_iter())?;
        let due = self.due(now_ms);
        let whole = |tier: &Tier, day: i64| {
            day_end(day).saturating_add(SETTLE_MS) <= now_ms && tier.is_due(day, now_ms)
        };
        let unrolled = self.unrolled(|tier, (day, _)| {
            due.tiers(day) & tier.flag != 0 && (whole(tier, day) || due.is_expired(day))
        });
        done.rolled_days += self.roll_up_all(unrolled.into_iter())?;
        for stretch in self.unjoined(whole) {
            self.join(stretch)?;
        }
        self.follow_policies()?;
        self.retire(&due, None, &mut done)?;
        // Piece by piece, so that writers come in between.
        while self.db().shrink(true).map_err(MaintainError::Write)? {}
        self.db().checkpoint().map_err(MaintainError::Write)?;
        Ok(done)
    }

    fn roll_up_all(
        &self,
        unrolled: impl Iterator<Item = (ShelfDay, u32)>,
    ) -> Result<usize, MaintainError> {
        let mut rolled = 0;
        for (key, tiers) in unrolled {
            rolled += usize::from(self.roll_up(key, tiers)?);
        }
        Ok(rolled)
    }

    /// Seals the head when it has samples that are to go.
    pub(crate) fn seal_expired(
        &self,
        due: &Due,
        done: &mut Maintained,
    ) -> Result<(), MaintainError> {
        let oldest_ms = self.state().unsealed().into_values().min();
        if oldest_ms.is_some_and(|oldest_ms| due.is_expired(day_of(oldest_ms))) {
            done.sealed_samples += self.seal()?;
        }
        Ok(())
    }

    /// Rolls up what is to go and is not rolled up yet.
    pub(crate) fn roll_up_expired(
        &self,
        due: &Due,
        done: &mut Maintained,
    ) -> Result<(), MaintainError> {
        let expired = |tier: &Tier, (day, _): ShelfDay| {
            due.tiers(day) & tier.flag != 0 && due.is_expired(day)
        };
        done.rolled_days += self.roll_up_all(self.unrolled(expired).into_iter())?;
        Ok(())
    }

    fn alone(&self) -> MutexGuard<'_, Maintenance> {
        self.maintenance().lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a day has been over for so long that all that came in time is sealed.
    fn is_over(&self, day: i64, now_ms: i64) -> bool {
        let seal_after_ms = self.options().seal_after_ms.max(0);
        day_end(day).saturating_add(seal_after_ms).saturating_add(SETTLE_MS) <= now_ms
    }

    /// Seals when writers fill the head faster than maintenance is called; so they wait for it.
    pub(crate) fn seal_when_large(&self) {
        let max = self.options().head_samples_max;
        let excess = || {
            let full = max.saturating_add(self.seal_backoff());
            self.state().active.samples_len().checked_sub(full)
        };
        let Some(excess_len) = excess() else { return };
        let _alone = match self.maintenance().try_lock() {
            Ok(alone) => alone,
            // A merge may take a while; until the head has twice its size, writers go on.
            Err(TryLockError::WouldBlock) if excess_len < max => return,
            Err(_) => self.alone(),
        };
        if excess().is_none() {
            return;
        }
        match self.seal() {
            Ok(_) => self.set_seal_backoff(0),
            Err(error) => {
                // The log holds everything; the head grows by another quarter until the next try.
                self.set_seal_backoff(self.seal_backoff().saturating_add(max / 4).max(1));
                tracing::warn!(error = &error as &dyn std::error::Error, "failed to seal the head");
            }
        }
    }

    fn seal_is_due(&self, now_ms: i64) -> bool {
        let options = self.options();
        let state = self.state();
        // A clock that was set back must not keep the head open until it has caught up.
        let old = |opened_ms: i64| {
            now_ms.abs_diff(opened_ms) >= options.seal_after_ms.max(0).unsigned_abs()
        };
        state.frozen.is_some()
            || state.active.samples_len() >= options.head_samples_max
            || state.active.opened_ms().is_some_and(old)
    }

    /// Moves the head into blobs: all of it, or what an earlier seal that failed had frozen.
    fn seal(&self) -> Result<usize, MaintainError> {
        let Some(frozen) = self.freeze() else { return Ok(0) };
        let (blobs, sealed) = self.blobs_of_head(&frozen.head);
        let (shelves, folded) = self.catalog(sealed);
        let mut db = self.db();
        db.seal(&blobs, &shelves, folded, frozen.log_last).map_err(MaintainError::Write)?;
        let mut state = self.state_mut();
        state.frozen = None;
        state.folded(folded);
        state.replace_blobs(blobs.iter().map(|blob| blob.meta), &[]);
        let live_since_ms = state.index.live_since(self.options().clock.now_ms());
        state.index.age(live_since_ms);
        Ok(frozen.head.samples_len())
    }

    fn freeze(&self) -> Option<Frozen> {
        // With the database locked, no group is between the log and the head.
        let db = self.db();
        let mut state = self.state_mut();
        if state.frozen.is_none() && state.active.samples_len() > 0 {
            let head = Arc::new(std::mem::take(&mut state.active));
            state.frozen = Some(Frozen { head, log_last: db.log_last() });
        }
        state.frozen.clone()
    }

    /// The rows of shelves with sealed samples or new series, and the last of the new series.
    fn catalog(&self, mut shelves: BTreeSet<u32>) -> (Vec<ShelfRow>, u32) {
        let (last, last_known, dirty) = {
            let state = self.state();
            let unfolded = state.unfolded();
            let shelf_of = |id: &u32| state.index.get(*id).map(|entry| entry.shelf);
            let dirty: BTreeSet<u32> = unfolded.iter().filter_map(shelf_of).collect();
            let last = unfolded.last().copied();
            // Without new ones, all there are were folded before.
            (last.unwrap_or(0), last.unwrap_or(u32::MAX), dirty)
        };
        shelves.extend(&dirty);
        // The state is locked for one shelf at a time, so that writers come in between.
        let row = |shelf: u32| {
            self.state().shelf_row(shelf, dirty.contains(&shelf), |id| id <= last_known)
        };
        (shelves.into_iter().map(row).collect(), last)
    }

    /// The blobs of a head, and the shelves they are of.
    fn blobs_of_head(&self, head: &Head) -> (Vec<Blob>, BTreeSet<u32>) {
        let mut shelves: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        let state = self.state();
        for id in head.ids() {
            let Some(entry) = state.index.get(id) else { continue };
            shelves.entry(entry.shelf).or_default().insert(id);
        }
        drop(state);
        let sealed = shelves.keys().copied().collect();
        let mut blobs = Vec::new();
        for (shelf, ids) in shelves {
            let form = Form { shelf, level: 0, flags: 0, kept_ms: 0 };
            let mut shelving = Shelving::new(self, form);
            for id in ids {
                let Some(series) = head.get(id) else { continue };
                let mut piece = Piece::default();
                series.for_each(|time_ms, bits| {
                    piece.times.push(time_ms);
                    piece.values.push(f64::from_bits(bits));
                });
                shelving.push(id, &piece);
            }
            blobs.extend(shelving.finish());
        }
        (blobs, sealed)
    }

    /// The blobs of samples that are to be merged: as sealed, or cut by older rules.
    fn fresh(&self) -> BTreeMap<ShelfDay, Vec<BlobMeta>> {
        let mut fresh: BTreeMap<ShelfDay, Vec<BlobMeta>> = BTreeMap::new();
        let state = self.state();
        let is_fresh = |meta: &&BlobMeta| {
            let unmerged = meta.level == 0 || day_of(meta.first_ms) != day_of(meta.last_ms);
            meta.tier == 0 && unmerged && !self.is_damaged(meta.id)
        };
        for meta in state.blobs().filter(is_fresh) {
            fresh.entry((day_of(meta.last_ms), meta.shelf)).or_default().push(*meta);
        }
        fresh
    }

    fn merge(
        &self,
        due: impl Iterator<Item = (ShelfDay, Vec<BlobMeta>)>,
    ) -> Result<usize, MaintainError> {
        let mut merged = 0;
        for (key, fresh) in due {
            merged += self.merge_day(key, fresh)?;
        }
        Ok(merged)
    }

    /// Merges new blobs of a shelf's day with those of the slices that they reach into.
    fn merge_day(
        &self,
        (day, shelf): ShelfDay,
        fresh: Vec<BlobMeta>,
    ) -> Result<usize, MaintainError> {
        let (old, least) = self.touched(day, shelf, fresh);
        // Series that were forgotten leave their last samples behind here.
        let known = |id| self.state().index.get(id).is_some();
        let Some(slices) = self.slices_of(&old, least, known)? else { return Ok(0) };
        let form = Form::of(shelf, slices, &old);
        if let ([only], 1) = (&*old, slices)
            && day_of(only.first_ms) == day
        {
            // It is as it would be when merged.
            self.exchange(&[], &[], &[BlobMeta { level: slices, ..*only }])?;
            return Ok(0);
        }
        let Some(new) = self.rewritten(&old, form, known)? else { return Ok(0) };
        self.exchange(&new, &old, &[])?;
        Ok(old.len())
    }

    /// New blobs, and the merged ones whose slices they reach into; and into how many slices the
    /// day is cut so far.
    fn touched(&self, day: i64, shelf: u32, fresh: Vec<BlobMeta>) -> (Vec<BlobMeta>, u32) {
        let state = self.state();
        let is_new = |meta: &&BlobMeta| fresh.iter().any(|new| new.id == meta.id);
        let merged = state.blobs_of(shelf).iter().filter(|meta| {
            day_of(meta.last_ms) == day && !is_new(meta) && !self.is_damaged(meta.id)
        });
        let merged: Vec<BlobMeta> = merged.copied().collect();
        let slices = merged.iter().map(|meta| meta.level).max().unwrap_or(1);
        let reached = |meta: &&BlobMeta| {
            let (first_ms, last_ms) = slice_range(meta.last_ms, meta.level);
            fresh.iter().any(|new| {
                let (new_first_ms, _) = slice_range(new.first_ms, slices);
                let (_, new_last_ms) = slice_range(new.last_ms, slices);
                new_first_ms <= last_ms && new_last_ms >= first_ms
            })
        };
        let merged: Vec<BlobMeta> = merged.iter().filter(reached).copied().collect();
        ([fresh, merged].concat(), slices)
    }

    /// Puts blobs in place of others, and changes what is said of some, in one transaction.
    pub(crate) fn exchange(
        &self,
        new: &[Blob],
        old: &[BlobMeta],
        marked: &[BlobMeta],
    ) -> Result<(), MaintainError> {
        let mut db = self.db();
        db.replace(new, old, marked).map_err(MaintainError::Write)?;
        let mut state = self.state_mut();
        state.replace_blobs([], old);
        let metas = new.iter().map(|blob| blob.meta).chain(marked.iter().copied());
        state.replace_blobs(metas, marked);
        self.forget(old);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use labstat_model::{Labels, ManualClock, Sample, TimeSeries, WriteRequest};

    use super::*;
    use crate::{Options, db};

    /// A merge of everything may take minutes, and agents wait for their answers meanwhile.
    #[test]
    fn writers_of_a_full_head_do_not_wait_for_a_merge() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(Arc::new(ManualClock::new(0)));
        let options = Options { head_samples_max: 10, ..options };
        let (store, _) = Store::open(dir.path(), options).unwrap();
        let append = |time_ms| {
            let labels = Labels::new([("__name__", "m")]);
            let samples = vec![Sample { time_ms, value: 1.0 }];
            let series = vec![TimeSeries { labels, samples }];
            store.append(&WriteRequest { series, metadata: Vec::new() }).unwrap().accepted
        };
        std::thread::scope(|scope| {
            let merging = store.maintenance().lock().unwrap();
            let (told, tells) = mpsc::channel();
            scope.spawn(move || {
                for at in 0..25 {
                    let _ = told.send(append(at));
                }
            });
            let wait = Duration::from_secs(10);
            // The twentieth waits, so that the head is bounded.
            let answered = (0..19).take_while(|_| tells.recv_timeout(wait).is_ok());
            assert_eq!(answered.count(), 19);
            drop(merging);
        });
        assert!(store.stats().sealed_samples >= 20);
    }

    /// A sender goes on and on while the disk is full.
    #[test]
    fn series_that_were_never_stored_take_no_room_on_shelves() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(Arc::new(ManualClock::new(0)));
        let (store, _) = Store::open(dir.path(), options).unwrap();
        let append = |name: &str| {
            let labels = Labels::new([("__name__", name)]);
            let series =
                vec![TimeSeries { labels, samples: vec![Sample { time_ms: 0, value: 1.0 }] }];
            store.append(&WriteRequest { series, metadata: Vec::new() })
        };
        db::tests::crash_after(0);
        for at in 0..300 {
            append(&format!("m{at}")).unwrap_err();
        }
        db::tests::crash_after(usize::MAX);
        append("m").unwrap();
        let state = store.state();
        let shelves: Vec<u32> = state.index.iter().map(|(_, entry)| entry.shelf).collect();
        assert_eq!(shelves, [0]);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_keep_the_head_open() {
        let dir = tempfile::tempdir().unwrap();
        let hour_ms = 3_600_000;
        let options = Options::new(Arc::new(ManualClock::new(1_000 * hour_ms)));
        let (store, _) = Store::open(dir.path(), options).unwrap();
        let labels = Labels::new([("__name__", "m")]);
        let series = vec![TimeSeries { labels, samples: vec![Sample { time_ms: 0, value: 1.0 }] }];
        store.append(&WriteRequest { series, metadata: Vec::new() }).unwrap();
        assert_eq!(store.maintain(999 * hour_ms).unwrap().sealed_samples, 0);
        assert_eq!(store.maintain(900 * hour_ms).unwrap().sealed_samples, 1);
    }
}
