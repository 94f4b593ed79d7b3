//! The write path: requests are checked one after the other and join the group that waits for the
//! disk; one of the waiting callers leads and commits the group while the next one forms.
//!
//! A series that came before is known by the hash of its labels as they lie in the write; its
//! labels are not read again.
//!
//! What was staged becomes visible to readers when it is on disk and not before. When a commit
//! fails, so does every request that was checked against it: its duplicates may be duplicates of
//! samples that are now nowhere.

mod histograms;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError};

use labstat_model::{
    HISTOGRAM_LABEL, Labels, LabelsMemo, METRIC_NAME, Sample, SeriesError, SeriesView, WriteView,
    error_chain,
};

use crate::db::Group;
use crate::index::Index;
use crate::log::Entry;
use crate::slots::Slots;
use crate::store::Store;
use crate::{AppendError, Appended, BadLabels, Options, Refusal, Refused};

/// Series that are sealed together. More share their times better; fewer are read faster.
const SHELF_SERIES_MAX: u32 = 1024;

/// A shelf takes further metric names until it has this many series. The rest is room for the
/// same metrics of other nodes, so that one metric of a lab lies in few shelves.
const SHELF_NAMES_UNTIL: u32 = 128;

/// Metric families whose metadata is kept; a lab has a few thousand.
const METADATA_MAX: usize = 20_000;

/// Label sets known by their hash, 20 MB of memory at the most. A lab has a tenth of it; when
/// there are more, their labels are read again now and then.
const KNOWN_MAX: u32 = 512 * 1024;

/// Series of one write for which room is kept; agents send some thousand at the most.
const TARGETS_KEPT_MAX: usize = 16 * 1024;

/// Before the year 1 and after the year 9999, in milliseconds since the Unix epoch: no API can
/// write such times. What lies between is taken, the future too: a machine without a clock of its
/// own starts in 1970, and all its agents would seem to be decades ahead.
const TIMES_MS: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

/// Samples by series and time.
pub(crate) type Known = HashMap<(u32, i64), u64>;

/// How a group's commit ended.
#[derive(Debug, Default)]
pub(crate) struct Outcome(OnceLock<Result<(), AppendError>>);

/// A group that is being committed.
#[derive(Debug, Default)]
struct Staged {
    group: Group,
    outcome: Arc<Outcome>,
    /// The tips as they were, to go back to.
    undo: Vec<(u32, i64)>,
}

/// What writers share, under one lock.
#[derive(Debug)]
pub(crate) struct Writer {
    closed: bool,
    /// Why writes are refused for now.
    paused: Option<AppendError>,
    /// The newest time of every series by id, staged ones included. What is newer is new for
    /// sure; what is not is looked up.
    tips: Slots<i64>,
    /// The ids of label sets by their hash. An id without a tip is one of a series that was
    /// forgotten since.
    ids: LabelsMemo<u32>,
    /// Room for the targets of the next write.
    targets: Vec<Target>,
    staged: Staged,
    /// The group that is on its way to the disk.
    flying: Option<Arc<Staged>>,
    /// Series that are staged or flying, and so not in the index.
    pending: HashMap<Labels, u32>,
    next_series: u32,
    shelves: Shelves,
    series_len: usize,
    labels_size_bytes: usize,
}

/// What a series of a write is to the store.
#[derive(Debug)]
enum Target {
    /// One that is stored, staged or flying.
    Known(u32),
    /// A new one, unless an earlier series of this write has the same labels.
    New(Labels),
    /// One whose labels cannot be taken.
    Bad,
}

/// Which shelf a new series goes to. See [`SHELF_NAMES_UNTIL`].
#[derive(Debug, Default)]
struct Shelves {
    lens: Vec<u32>,
    of_name: HashMap<String, u32>,
    open: u32,
}

impl Shelves {
    fn note(&mut self, shelf: u32, name: &str) {
        let at = shelf as usize;
        if self.lens.len() <= at {
            self.lens.resize(at + 1, 0);
        }
        if let Some(len) = self.lens.get_mut(at) {
            *len += 1;
        }
        self.open = self.open.max(shelf);
        match self.of_name.get_mut(name) {
            Some(known) => *known = shelf.max(*known),
            None => drop(self.of_name.insert(name.to_owned(), shelf)),
        }
    }

    fn len(&self, shelf: u32) -> u32 {
        self.lens.get(shelf as usize).copied().unwrap_or(0)
    }

    /// A series that was noted was never stored.
    fn unnote(&mut self, shelf: u32) {
        if let Some(len) = self.lens.get_mut(shelf as usize) {
            *len = len.saturating_sub(1);
        }
    }

    fn assign(&mut self, name: &str) -> u32 {
        let known = self.of_name.get(name).copied();
        let shelf = match known {
            Some(shelf) if self.len(shelf) < SHELF_SERIES_MAX => shelf,
            _ if self.len(self.open) < SHELF_NAMES_UNTIL => self.open,
            _ => self.open.saturating_add(1),
        };
        self.note(shelf, name);
        shelf
    }
}

/// The times that are taken.
#[derive(Clone, Copy)]
struct Bounds {
    now_ms: i64,
    oldest_ms: Option<i64>,
}

impl Bounds {
    fn new(now_ms: i64, keep_ms: Option<i64>) -> Self {
        Self { now_ms, oldest_ms: keep_ms.map(|keep_ms| now_ms.saturating_sub(keep_ms)) }
    }

    /// Those of one series: a policy may keep it longer. That is looked at only where it matters.
    fn of(
        &self,
        options: &Options,
        mut times: impl Iterator<Item = i64>,
        labels: impl FnOnce() -> Result<Labels, SeriesError>,
    ) -> Self {
        let is_old = |time_ms: i64| self.oldest_ms.is_some_and(|oldest_ms| time_ms < oldest_ms);
        if options.keep.is_empty() || !times.any(is_old) {
            return *self;
        }
        let keep_ms = labels().map(|labels| options.keep_ms(&labels));
        keep_ms.map_or(*self, |keep_ms| Self::new(self.now_ms, keep_ms))
    }

    fn refusal(&self, time_ms: i64) -> Option<Refusal> {
        if !TIMES_MS.contains(&time_ms) {
            Some(Refusal::OutOfRange)
        } else if self.oldest_ms.is_some_and(|oldest_ms| time_ms < oldest_ms) {
            Some(Refusal::TooOld)
        } else {
            None
        }
    }
}

impl Writer {
    /// The writer of a store that holds the series of `index`.
    pub(crate) fn new(index: &Index, next_series: u32) -> Self {
        let mut writer = Self {
            closed: false,
            paused: None,
            tips: Slots::default(),
            ids: LabelsMemo::new(KNOWN_MAX),
            targets: Vec::new(),
            staged: Staged::default(),
            flying: None,
            pending: HashMap::new(),
            next_series,
            shelves: Shelves::default(),
            series_len: 0,
            labels_size_bytes: 0,
        };
        for (id, entry) in index.iter() {
            let mut named = false;
            index.each_label(id, |name, value| {
                writer.labels_size_bytes += name.len() + value.len();
                if name == METRIC_NAME {
                    named = true;
                    writer.shelves.note(entry.shelf, value);
                }
            });
            if !named {
                writer.shelves.note(entry.shelf, "");
            }
            writer.series_len += 1;
            writer.tips.insert(id, entry.last_ms);
        }
        writer
    }

    fn tip(&self, id: u32) -> i64 {
        self.tips.get(id).copied().unwrap_or(i64::MIN)
    }

    /// Whether all that is known of a series, staged samples too, is older than `cut_ms`.
    pub(crate) fn ended_before(&self, id: u32, cut_ms: i64) -> bool {
        self.tip(id) < cut_ms
    }

    /// Forgets a series.
    pub(crate) fn forget(&mut self, id: u32, labels: &Labels) {
        self.tips.remove(id);
        self.uncount(labels);
    }

    fn uncount(&mut self, labels: &Labels) {
        self.series_len = self.series_len.saturating_sub(1);
        self.labels_size_bytes = self.labels_size_bytes.saturating_sub(size_bytes(labels));
    }

    /// Refuses writes for now, with a reason, or takes them again. Those that wait to be committed
    /// are refused too.
    pub(crate) fn pause(&mut self, reason: Option<AppendError>) {
        if let Some(reason) = &reason {
            let waiting = self.crashed();
            let _ = waiting.0.set(Err(reason.clone()));
        }
        self.paused = reason;
    }

    /// Begins anew from what is stored, paused and closed as it was.
    pub(crate) fn renew(&mut self, fresh: Self) {
        let (closed, paused) = (self.closed, self.paused.take());
        *self = Self { closed, paused, ..fresh };
    }

    /// Ends the taking of writes.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// Checks a write and adds what it brings to the group that forms.
    fn stage(
        &mut self,
        store: &Store,
        write: &dyn WriteView,
    ) -> Result<(Appended, Arc<Outcome>), AppendError> {
        if self.closed {
            return Err(AppendError::Closed);
        }
        if let Some(reason) = &self.paused {
            return Err(reason.clone());
        }
        let options = store.options();
        let now_ms = options.clock.now_ms();
        let bounds = Bounds::new(now_ms, options.retention_ms);
        let mut run = Run {
            from: self.staged.group.entries.len(),
            local: None,
            stored: Known::new(),
            appended: Appended::default(),
        };
        let mut targets = std::mem::take(&mut self.targets);
        let late = self.resolve(store, write, &mut targets, &mut run.appended.bad_labels);
        let exploded = self.explode(store, write, &bounds, &mut run);
        let mut asked = Vec::new();
        exploded.asked(self, &mut asked);
        if late {
            self.asked(store, write, (&targets, &bounds), &mut asked);
        }
        if !asked.is_empty() {
            run.stored = self.stored(store, asked)?;
        }
        for (at, target) in targets.drain(..).enumerate() {
            self.stage_series(&mut run, write, at, target, &bounds, options);
        }
        self.stage_exploded(&mut run, write, &exploded, options);
        if targets.capacity() <= TARGETS_KEPT_MAX {
            self.targets = targets;
        }
        self.stage_metadata(store, write);
        Ok((run.appended, Arc::clone(&self.staged.outcome)))
    }

    /// Finds the series of a write. Says whether any known one has a sample that does not follow
    /// its newest.
    fn resolve(
        &mut self,
        store: &Store,
        write: &dyn WriteView,
        targets: &mut Vec<Target>,
        bad: &mut BadLabels,
    ) -> bool {
        let mut late = false;
        for at in 0..write.series_len() {
            let Some(SeriesView { hash, samples }) = write.series(at) else {
                targets.push(Target::Bad);
                continue;
            };
            let seen = self.ids.get(hash).filter(|id| self.tips.get(*id).is_some());
            let target = match seen {
                Some(id) => Target::Known(id),
                None => self.resolve_new(store, write, at, bad),
            };
            if let Target::Known(id) = target {
                let tip = self.tip(id);
                late = late || samples.iter().any(|sample| sample.time_ms <= tip);
                if seen.is_none() {
                    self.ids.insert(hash, id);
                }
            }
            targets.push(target);
        }
        late
    }

    /// What a series is whose hash is not known.
    fn resolve_new(
        &self,
        store: &Store,
        write: &dyn WriteView,
        at: usize,
        bad: &mut BadLabels,
    ) -> Target {
        match write.labels(at).and_then(refuse_reserved) {
            Ok(labels) => self.find(store, labels),
            Err(error) => {
                bad.series += 1;
                bad.samples += write.series(at).map_or(0, |series| series.samples.len());
                bad.first.get_or_insert(error);
                Target::Bad
            }
        }
    }

    /// The series with these labels.
    fn find(&self, store: &Store, labels: Labels) -> Target {
        let known = store.state().index.id(&labels);
        match known.or_else(|| self.pending.get(&labels).copied()) {
            Some(id) => Target::Known(id),
            None => Target::New(labels),
        }
    }

    /// Adds to `asked` the samples that do not follow their series' newest.
    fn asked(
        &self,
        store: &Store,
        write: &dyn WriteView,
        (targets, bounds): (&[Target], &Bounds),
        asked: &mut Vec<(u32, i64)>,
    ) {
        for (at, target) in targets.iter().enumerate() {
            let (Target::Known(id), Some(series)) = (target, write.series(at)) else { continue };
            let tip = self.tip(*id);
            let times = series.samples.iter().map(|sample| sample.time_ms);
            let bounds = bounds.of(store.options(), times, || write.labels(at));
            let late = |sample: &&Sample| {
                sample.time_ms <= tip && bounds.refusal(sample.time_ms).is_none()
            };
            asked.extend(series.samples.iter().filter(late).map(|sample| (*id, sample.time_ms)));
        }
    }

    /// What is stored, staged or flying of the asked series at the asked times.
    fn stored(&self, store: &Store, mut asked: Vec<(u32, i64)>) -> Result<Known, AppendError> {
        let mut known = Known::new();
        asked.sort_unstable();
        let flying = self.flying.iter().flat_map(|flying| &flying.group.entries);
        for entry in flying.chain(&self.staged.group.entries) {
            if asked.binary_search(&(entry.series, entry.time_ms)).is_ok() {
                known.insert((entry.series, entry.time_ms), entry.bits);
            }
        }
        store
            .look_up(&asked, &mut known)
            .map_err(|error| AppendError::Read { cause: error_chain(&error) })?;
        Ok(known)
    }

    fn stage_series(
        &mut self,
        run: &mut Run,
        write: &dyn WriteView,
        at: usize,
        target: Target,
        bounds: &Bounds,
        options: &Options,
    ) {
        let Some(SeriesView { hash, samples }) = write.series(at) else { return };
        let (mut id, labels) = match target {
            Target::Known(id) => (Some(id), None),
            Target::New(labels) => (None, Some(labels)),
            Target::Bad => return,
        };
        let times = samples.iter().map(|sample| sample.time_ms);
        let bounds = bounds.of(options, times, || write.labels(at));
        for sample in samples {
            let mut refusal = bounds.refusal(sample.time_ms);
            if refusal.is_none() && id.is_none() {
                // A series is made by its first sample that is taken, so that none stays empty.
                id = labels.as_ref().and_then(|labels| self.create(labels, options));
                match id {
                    Some(id) => self.ids.insert(hash, id),
                    None => refusal = Some(Refusal::TooManySeries),
                }
            }
            let refusal = refusal.or_else(|| self.stage_sample(run, id?, sample));
            if let Some(reason) = refusal {
                run.refuse(reason, write, at, sample);
            }
        }
    }

    /// Takes a sample, or gives the reason why it is refused.
    fn stage_sample(&mut self, run: &mut Run, id: u32, sample: &Sample) -> Option<Refusal> {
        let entry = Entry { series: id, time_ms: sample.time_ms, bits: sample.value.to_bits() };
        let tip = self.tip(id);
        if sample.time_ms <= tip {
            match run.known(&self.staged.group.entries, id, sample.time_ms) {
                Some(bits) if bits == entry.bits => {
                    run.appended.duplicates += 1;
                    return None;
                }
                Some(_) => return Some(Refusal::Conflict),
                None => {}
            }
        } else {
            self.staged.undo.push((id, tip));
            match self.tips.get_mut(id) {
                Some(tip) => *tip = sample.time_ms,
                None => drop(self.tips.insert(id, sample.time_ms)),
            }
        }
        if let Some(local) = &mut run.local {
            local.insert((id, sample.time_ms), entry.bits);
        }
        self.staged.group.entries.push(entry);
        run.appended.accepted += 1;
        None
    }

    /// The id of a new series; `None` when there are as many, or as large ones, as may be.
    fn create(&mut self, labels: &Labels, options: &Options) -> Option<u32> {
        if let Some(&id) = self.pending.get(labels) {
            return Some(id);
        }
        let next_series = self.next_series.checked_add(1)?;
        let labels_size_bytes = self.labels_size_bytes + size_bytes(labels);
        if self.series_len >= options.series_max
            || labels_size_bytes > options.labels_size_max_bytes
        {
            return None;
        }
        let id = std::mem::replace(&mut self.next_series, next_series);
        let shelf = self.shelves.assign(labels.metric_name());
        self.series_len += 1;
        self.labels_size_bytes = labels_size_bytes;
        self.pending.insert(labels.clone(), id);
        self.tips.insert(id, i64::MIN);
        self.staged.group.series.push((id, shelf, labels.clone()));
        Some(id)
    }

    fn stage_metadata(&mut self, store: &Store, write: &dyn WriteView) {
        if write.metadata().is_empty() {
            return;
        }
        let state = store.state();
        let mut room = METADATA_MAX.saturating_sub(state.metadata.len());
        for metadata in write.metadata() {
            let known = state.metadata.get(&metadata.family);
            if known == Some(metadata) || (known.is_none() && room == 0) {
                continue;
            }
            room = room.saturating_sub(usize::from(known.is_none()));
            self.staged.group.metadata.push(metadata.clone());
        }
    }

    /// Sends the group that formed on its way.
    fn launch(&mut self) -> Arc<Staged> {
        let flying = Arc::new(std::mem::take(&mut self.staged));
        self.flying = Some(Arc::clone(&flying));
        flying
    }

    /// The flying group is on disk and visible.
    fn landed(&mut self) {
        if let Some(flying) = self.flying.take() {
            for (_, _, labels) in &flying.group.series {
                self.pending.remove(labels);
            }
        }
    }

    /// The flying group is lost, and with it what was staged behind it, whose outcome is given.
    fn crashed(&mut self) -> Arc<Outcome> {
        let staged = std::mem::take(&mut self.staged);
        let flying = self.flying.take();
        let undo = flying.iter().flat_map(|flying| &flying.undo).chain(&staged.undo);
        let undo: Vec<(u32, i64)> = undo.copied().collect();
        for (id, tip) in undo.into_iter().rev() {
            self.tips.insert(id, tip);
        }
        let lost = flying.iter().flat_map(|flying| &flying.group.series);
        for (_, shelf, _) in lost.chain(&staged.group.series) {
            self.shelves.unnote(*shelf);
        }
        for (labels, id) in std::mem::take(&mut self.pending) {
            self.uncount(&labels);
            self.tips.remove(id);
        }
        staged.outcome
    }
}

/// One request's way through [`Writer::stage`].
struct Run {
    /// Where its entries begin in the group.
    from: usize,
    /// Its own samples, once one of them is not newer than the one before.
    local: Option<Known>,
    stored: Known,
    appended: Appended,
}

impl Run {
    fn refuse(&mut self, reason: Refusal, write: &dyn WriteView, at: usize, sample: &Sample) {
        self.refuse_with(reason, sample.time_ms, || write.labels(at));
    }

    fn refuse_with(
        &mut self,
        reason: Refusal,
        time_ms: i64,
        labels: impl FnOnce() -> Result<Labels, SeriesError>,
    ) {
        self.appended.refused += 1;
        if self.appended.refusals.len() < Appended::REFUSALS_MAX {
            // They were read before, so that they read now.
            let labels = labels().unwrap_or_default();
            self.appended.refusals.push(Refused { reason, labels, time_ms });
        }
    }

    /// The bits that `id` has at `time_ms`, stored before or by this request.
    fn known(&mut self, entries: &[Entry], id: u32, time_ms: i64) -> Option<u64> {
        if let Some(&bits) = self.stored.get(&(id, time_ms)) {
            return Some(bits);
        }
        let local = self.local.get_or_insert_with(|| {
            let own = entries.get(self.from..).unwrap_or_default();
            own.iter().map(|entry| ((entry.series, entry.time_ms), entry.bits)).collect()
        });
        local.get(&(id, time_ms)).copied()
    }
}

impl Store {
    pub(crate) fn append_grouped(&self, write: &dyn WriteView) -> Result<Appended, AppendError> {
        let (appended, outcome) = self.writer().stage(self, write)?;
        let mut leading = self.leading().lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = outcome.0.get() {
                return result.clone().map(|()| appended);
            }
            if *leading {
                let woken = self.landing().wait(leading);
                leading = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            *leading = true;
            drop(leading);
            self.lead();
            // Only now, so that the others' commits go on while this writer waits for the seal.
            self.seal_when_large();
            leading = self.leading().lock().unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Commits the group that formed, and makes it visible.
    fn lead(&self) {
        let flying = self.writer().launch();
        let mut landing = Landing { store: self, flying, result: Err(AppendError::Interrupted) };
        landing.result = self.commit(&landing.flying.group);
    }

    fn commit(&self, group: &Group) -> Result<(), AppendError> {
        if group.is_empty() {
            return Ok(());
        }
        let now_ms = self.options().clock.now_ms();
        // The database stays locked until the group is visible, so that a seal never sees a log
        // record whose samples are not in the head yet.
        let mut db = self.db();
        db.commit(group)?;
        self.state_mut().apply(group, now_ms);
        self.count_commit();
        Ok(())
    }
}

/// Tells the writers of a group how its commit ended and lets the next one lead, even when the
/// commit panicked: nobody may wait for a leader that is gone.
struct Landing<'a> {
    store: &'a Store,
    flying: Arc<Staged>,
    result: Result<(), AppendError>,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        match &self.result {
            Ok(()) => self.store.writer().landed(),
            Err(error) => {
                let behind = self.store.writer().crashed();
                let _ = behind.0.set(Err(error.clone()));
            }
        }
        let _ = self.flying.outcome.0.set(self.result.clone());
        let leading = self.store.leading().lock();
        *leading.unwrap_or_else(PoisonError::into_inner) = false;
        self.store.landing().notify_all();
    }
}

/// Refuses labels that the store keeps for itself.
fn refuse_reserved(labels: Labels) -> Result<Labels, SeriesError> {
    if labels.get(HISTOGRAM_LABEL).is_some() {
        return Err(SeriesError::Reserved(labels.as_ref().to_string()));
    }
    Ok(labels)
}

/// Bytes of a label set's names and values.
fn size_bytes(labels: &Labels) -> usize {
    labels.iter().map(|(name, value)| name.len() + value.len()).sum()
}
