//! What is done beside writing and reading: sealing the head into blobs, merging small blobs of a
//! day into one, dropping what is past the retention.
//!
//! The work is done on copies and beside the writers; only the commit of its result locks the
//! database. One thing is done at a time. Blobs never cross a day (UTC), so that retention drops
//! whole blobs, and merging has an end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, TryLockError};

use labstat_model::Labels;

use crate::blob::{Blob, BlobMeta, Builder, Column};
use crate::column::COLUMN_LEN_MAX;
use crate::head::Head;
use crate::read::{BlobReader, Failed, Piece, combine};
use crate::state::Frozen;
use crate::store::Store;
use crate::{MaintainError, Maintained};

/// What blobs are cut and merged by.
const DAY_MS: i64 = 86_400_000;

/// A day is merged when it has been over for this long, so that most late samples are in.
const SETTLE_MS: i64 = 3_600_000;

/// A day that is not over is merged when a shelf has this many blobs of it.
const UNMERGED_MAX: usize = 8;

/// Merges of one call of [`Store::maintain`]: some seconds of work at the most.
const MERGES_MAX: usize = 32;

/// Blobs dropped in one transaction, so that writers wait for milliseconds only.
const DROPS_MAX: usize = 64;

/// Series forgotten by one call of [`Store::maintain`].
const SERIES_DROPS_MAX: usize = 10_000;

impl Store {
    pub(crate) fn maintain_due(&self, now_ms: i64) -> Result<Maintained, MaintainError> {
        let _alone = self.maintenance().lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = Maintained::default();
        if self.seal_is_due(now_ms) {
            done.sealed_samples = self.seal()?;
        }
        let due = |blobs: &[BlobMeta], day: i64| {
            let over = day.saturating_add(1).saturating_mul(DAY_MS).saturating_add(SETTLE_MS);
            over <= now_ms || blobs.len() >= UNMERGED_MAX
        };
        done.merged_blobs = self.merge(MERGES_MAX, due)?;
        self.retire(now_ms, &mut done)?;
        self.db().shrink(false).map_err(MaintainError::Write)?;
        Ok(done)
    }

    pub(crate) fn compact_all(&self) -> Result<Maintained, MaintainError> {
        let _alone = self.maintenance().lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = Maintained { sealed_samples: self.seal()?, ..Maintained::default() };
        // What was frozen by a seal that failed is sealed first; the rest comes with the second.
        done.sealed_samples += self.seal()?;
        done.merged_blobs = self.merge(usize::MAX, |_, _| true)?;
        self.retire(self.options().clock.now_ms(), &mut done)?;
        // Piece by piece, so that writers come in between.
        while self.db().shrink(true).map_err(MaintainError::Write)? {}
        self.db().checkpoint().map_err(MaintainError::Write)?;
        Ok(done)
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
            Err(_) => self.maintenance().lock().unwrap_or_else(PoisonError::into_inner),
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
        let (blobs, spans) = self.blobs_of_head(&frozen.head);
        let mut db = self.db();
        db.seal(&blobs, &spans, frozen.log_last).map_err(MaintainError::Write)?;
        let mut state = self.state_mut();
        state.frozen = None;
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

    fn blobs_of_head(&self, head: &Head) -> (Vec<Blob>, Vec<(u32, i64, i64)>) {
        let mut shelves: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        let mut spans = Vec::with_capacity(head.series_len());
        let state = self.state();
        for id in head.ids() {
            let Some(entry) = state.index.get(id) else { continue };
            shelves.entry(entry.shelf).or_default().insert(id);
            spans.push((id, entry.first_ms, entry.last_ms));
        }
        drop(state);
        let mut blobs = Vec::new();
        for (shelf, ids) in shelves {
            let mut shelving = Shelving::new(self, shelf, 0);
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
        (blobs, spans)
    }

    /// Merges the blobs of one shelf and day into one, where there are new ones and it is due.
    fn merge(
        &self,
        merges_max: usize,
        due: impl Fn(&[BlobMeta], i64) -> bool,
    ) -> Result<usize, MaintainError> {
        let mut groups: BTreeMap<(i64, u32), Vec<BlobMeta>> = BTreeMap::new();
        let samples = |meta: &&BlobMeta| meta.tier == 0 && !self.is_damaged(meta.id);
        for meta in self.state().blobs().filter(samples) {
            let day = meta.first_ms.div_euclid(DAY_MS);
            groups.entry((day, meta.shelf)).or_default().push(*meta);
        }
        groups.retain(|(day, _), blobs| {
            blobs.len() > 1 && blobs.iter().any(|meta| meta.level == 0) && due(blobs, *day)
        });
        let mut merged = 0;
        for ((_, shelf), old) in groups.into_iter().take(merges_max) {
            let Some(new) = self.merged(shelf, &old)? else { continue };
            let mut db = self.db();
            db.replace(&new, &old).map_err(MaintainError::Write)?;
            self.state_mut().replace_blobs(new.iter().map(|blob| blob.meta), &old);
            merged += old.len();
        }
        Ok(merged)
    }

    /// The blobs in place of `old`; `None` when one of those is damaged, so that all stay.
    fn merged(&self, shelf: u32, old: &[BlobMeta]) -> Result<Option<Vec<Blob>>, MaintainError> {
        let merged = self.with_reader(|conn| {
            let mut sources = Vec::new();
            for meta in old {
                match BlobReader::open(conn, *meta) {
                    Ok(blob) => sources.push(Source { meta: *meta, blob, next: 0 }),
                    Err(failed) => return self.give_up(meta, failed),
                }
            }
            let mut shelving = Shelving::new(self, shelf, 1);
            while let Some(id) = sources.iter().filter_map(Source::series).min() {
                let mut pieces = Vec::new();
                for source in &mut sources {
                    match source.take(id) {
                        Ok(piece) => pieces.extend(piece),
                        Err(failed) => return self.give_up(&source.meta, failed),
                    }
                }
                // Series that were forgotten leave their last samples behind here.
                if self.state().index.get(id).is_some() {
                    shelving.push(id, &combine(pieces));
                }
            }
            Ok(Some(shelving.finish()))
        });
        merged.map_err(|cause| self.read_error("read blobs", cause)).map_err(MaintainError::Read)
    }

    fn give_up<T>(&self, meta: &BlobMeta, failed: Failed) -> rusqlite::Result<Option<T>> {
        match failed {
            // Nothing is too many for a merge.
            Failed::Gone | Failed::TooMany => Ok(None),
            Failed::Damaged(cause) => {
                self.set_damaged(meta, cause);
                Ok(None)
            }
            Failed::Database(cause) => Err(cause),
        }
    }

    /// Drops blobs that hold nothing within the retention, then series of which nothing is left.
    fn retire(&self, now_ms: i64, done: &mut Maintained) -> Result<(), MaintainError> {
        let Some(retention_ms) = self.options().retention_ms else { return Ok(()) };
        // Never by the clock alone: a clock that jumps ahead would take the history with it.
        let newest_ms = self.state().index.newest_ms();
        let cut_ms = now_ms.min(newest_ms.unwrap_or(i64::MIN)).saturating_sub(retention_ms);
        let old: Vec<BlobMeta> =
            self.state().blobs().filter(|meta| meta.last_ms < cut_ms).copied().collect();
        for old in old.chunks(DROPS_MAX) {
            let mut db = self.db();
            db.replace(&[], old).map_err(MaintainError::Write)?;
            self.state_mut().replace_blobs([], old);
            done.dropped_blobs += old.len();
        }
        done.dropped_series = self.retire_series(cut_ms)?;
        Ok(())
    }

    fn retire_series(&self, cut_ms: i64) -> Result<usize, MaintainError> {
        // Writers wait, so that none adds to a series that is being forgotten.
        let mut writer = self.writer();
        let ended: BTreeMap<u32, Labels> = {
            let state = self.state();
            let ended = state.index.iter().filter(|(id, entry)| {
                entry.last_ms < cut_ms
                    && writer.ended_before(*id, cut_ms)
                    && state.heads().all(|head| head.get(*id).is_none())
            });
            let ended = ended.filter_map(|(id, _)| Some((id, state.index.labels(id)?)));
            ended.take(SERIES_DROPS_MAX).collect()
        };
        if ended.is_empty() {
            return Ok(0);
        }
        let ids: Vec<u32> = ended.keys().copied().collect();
        self.db().drop_series(&ids).map_err(MaintainError::Write)?;
        self.state_mut().index.remove(&ids.iter().copied().collect());
        ended.iter().for_each(|(&id, labels)| writer.forget(id, labels));
        Ok(ids.len())
    }
}

/// A blob that is being merged, read series by series.
struct Source<'a> {
    meta: BlobMeta,
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

    fn take(&mut self, id: u32) -> Result<Option<Piece>, Failed> {
        let Some(column) = self.column().filter(|column| column.series == id).copied() else {
            return Ok(None);
        };
        self.next += 1;
        self.blob.piece(&column, i64::MIN, i64::MAX).map(Some)
    }
}

/// Lays the series of one shelf, by ascending id, into blobs: one a day, more when a series has
/// more samples than a column holds.
struct Shelving<'a> {
    store: &'a Store,
    shelf: u32,
    level: u32,
    open: BTreeMap<(i64, usize), Builder>,
    done: Vec<Blob>,
}

impl<'a> Shelving<'a> {
    fn new(store: &'a Store, shelf: u32, level: u32) -> Self {
        Self { store, shelf, level, open: BTreeMap::new(), done: Vec::new() }
    }

    fn push(&mut self, id: u32, piece: &Piece) {
        let day_of = |time_ms: &i64| time_ms.div_euclid(DAY_MS);
        let mut start = 0;
        for day in piece.times.chunk_by(|a, b| day_of(a) == day_of(b)) {
            let values = piece.values.get(start..start + day.len()).unwrap_or_default();
            start += day.len();
            let columns = day.chunks(COLUMN_LEN_MAX).zip(values.chunks(COLUMN_LEN_MAX));
            for (layer, (times, values)) in columns.enumerate() {
                let Some(first) = times.first() else { continue };
                self.push_column((day_of(first), layer), id, times, values);
            }
        }
    }

    fn push_column(&mut self, key: (i64, usize), id: u32, times: &[i64], values: &[f64]) {
        if self.open.get(&key).is_some_and(Builder::is_full)
            && let Some(full) = self.open.remove(&key)
        {
            self.done.extend(full.finish(self.shelf, self.level));
        }
        let store = self.store;
        let builder = self.open.entry(key).or_insert_with(|| Builder::new(store.next_blob()));
        builder.push(id, times, values);
    }

    fn finish(mut self) -> Vec<Blob> {
        for builder in self.open.into_values() {
            self.done.extend(builder.finish(self.shelf, self.level));
        }
        self.done
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use labstat_model::{ManualClock, Sample, TimeSeries, WriteRequest};

    use super::*;
    use crate::Options;

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
