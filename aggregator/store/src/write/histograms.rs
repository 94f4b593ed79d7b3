//! Native histograms of a write: taken apart, checked and added to the group that forms.
//!
//! A histogram is kept whole or not at all. Its shape, the part that each has, says whether there
//! is one at that time already; only then are the other parts compared.

use std::ops::Range;

use labstat_model::{
    HistogramsView, Labels, LabelsHash, Sample, SeriesError, WriteView, stale_marker,
};

use super::{Bounds, Run, Target, Writer, refuse_reserved};
use crate::histogram::{part_labels, parts};
use crate::store::Store;
use crate::{Options, Refusal};

/// The histograms of a write, taken apart.
#[derive(Debug, Default)]
pub(super) struct Exploded {
    samples: Vec<One>,
    parts: Vec<OnePart>,
    /// Markers of staleness, which are kept as samples of the series itself.
    ends: Vec<End>,
}

/// A histogram.
#[derive(Debug)]
struct One {
    /// The place of its series in the write.
    at: usize,
    time_ms: i64,
    /// Its parts, the shape first.
    parts: Range<usize>,
}

#[derive(Debug)]
struct OnePart {
    hash: LabelsHash,
    target: Target,
    bits: u64,
}

#[derive(Debug)]
struct End {
    at: usize,
    time_ms: i64,
    hash: LabelsHash,
    target: Target,
}

/// The series of a histogram while it is taken apart. Its labels are read when they are needed.
struct Base<'a> {
    write: &'a dyn WriteView,
    at: usize,
    labels: Option<Result<Labels, SeriesError>>,
}

impl Base<'_> {
    fn labels(&mut self) -> Result<&Labels, &SeriesError> {
        let (write, at) = (self.write, self.at);
        let read = || write.histogram_labels(at).and_then(refuse_reserved);
        self.labels.get_or_insert_with(read).as_ref()
    }
}

impl Exploded {
    /// What has to be looked up: the parts of histograms that do not follow the newest of their
    /// series.
    pub(super) fn asked(&self, writer: &Writer, asked: &mut Vec<(u32, i64)>) {
        for One { time_ms, parts, .. } in &self.samples {
            let parts = self.parts.get(parts.clone()).unwrap_or_default();
            let known = |part: &OnePart| match part.target {
                Target::Known(id) => Some(id),
                Target::New(_) | Target::Bad => None,
            };
            let shape = parts.first().and_then(known);
            if shape.is_some_and(|id| *time_ms <= writer.tip(id)) {
                asked.extend(parts.iter().filter_map(known).map(|id| (id, *time_ms)));
            }
        }
        for End { time_ms, target, .. } in &self.ends {
            if let Target::Known(id) = target
                && *time_ms <= writer.tip(*id)
            {
                asked.push((*id, *time_ms));
            }
        }
    }
}

impl Writer {
    /// Takes the histograms of a write apart and finds the series of their parts.
    pub(super) fn explode(
        &mut self,
        store: &Store,
        write: &dyn WriteView,
        bounds: &Bounds,
        run: &mut Run,
    ) -> Exploded {
        let mut exploded = Exploded::default();
        for at in 0..write.histograms_len() {
            let Some(view) = write.histograms(at) else { continue };
            let mut base = Base { write, at, labels: None };
            if self.explode_series(store, (&view, bounds), &mut base, run, &mut exploded).is_err()
                && let Some(Err(error)) = base.labels
            {
                let bad = &mut run.appended.bad_labels;
                bad.series += 1;
                bad.samples += view.samples.len();
                bad.first.get_or_insert(error);
                exploded.samples.retain(|one| one.at != at);
                exploded.ends.retain(|end| end.at != at);
            }
        }
        exploded
    }

    /// Fails when the labels of the series cannot be taken.
    fn explode_series(
        &mut self,
        store: &Store,
        (view, bounds): (&HistogramsView<'_>, &Bounds),
        base: &mut Base<'_>,
        run: &mut Run,
        exploded: &mut Exploded,
    ) -> Result<(), ()> {
        let times = view.samples.iter().map(|sample| sample.time_ms);
        let bounds =
            bounds.of(store.options(), times, || base.labels().cloned().map_err(Clone::clone));
        for sample in view.samples {
            let time_ms = sample.time_ms;
            let refusal = bounds.refusal(time_ms);
            let histogram = match (&sample.histogram, refusal) {
                (Ok(histogram), None) => histogram,
                (Ok(_), Some(refusal)) => {
                    refuse(run, base, time_ms, refusal)?;
                    continue;
                }
                (Err(error), _) => {
                    refuse(run, base, time_ms, Refusal::Histogram(*error))?;
                    continue;
                }
            };
            if histogram.is_stale() {
                let hash = view.hash;
                let target = self.target(store, hash, || base.labels().cloned().map_err(drop))?;
                exploded.ends.push(End { at: base.at, time_ms, hash, target });
                continue;
            }
            let from = exploded.parts.len();
            for (part, value) in parts(histogram) {
                let hash = view.hash.part(part.to_string().as_bytes());
                let labels = || Ok(part_labels(base.labels().map_err(drop)?, part));
                let target = self.target(store, hash, labels)?;
                exploded.parts.push(OnePart { hash, target, bits: value.to_bits() });
            }
            let parts = from..exploded.parts.len();
            exploded.samples.push(One { at: base.at, time_ms, parts });
        }
        Ok(())
    }

    /// What a series is, whose labels are read when its hash is not known.
    fn target(
        &mut self,
        store: &Store,
        hash: LabelsHash,
        labels: impl FnOnce() -> Result<Labels, ()>,
    ) -> Result<Target, ()> {
        if let Some(id) = self.ids.get(hash).filter(|id| self.tips.get(*id).is_some()) {
            return Ok(Target::Known(id));
        }
        let target = self.find(store, labels()?);
        if let Target::Known(id) = target {
            self.ids.insert(hash, id);
        }
        Ok(target)
    }

    /// Adds what was taken apart to the group.
    pub(super) fn stage_exploded(
        &mut self,
        run: &mut Run,
        write: &dyn WriteView,
        exploded: &Exploded,
        options: &Options,
    ) {
        for One { at, time_ms, parts } in &exploded.samples {
            let parts = exploded.parts.get(parts.clone()).unwrap_or_default();
            if let Some(refusal) = self.stage_whole(run, *time_ms, parts, options) {
                run.refuse_with(refusal, *time_ms, || write.histogram_labels(*at));
            }
        }
        for End { at, time_ms, hash, target } in &exploded.ends {
            let sample = Sample { time_ms: *time_ms, value: stale_marker() };
            let refusal = match self.id_of(target, *hash, options) {
                Some(id) => self.stage_sample(run, id, &sample),
                None => Some(Refusal::TooManySeries),
            };
            if let Some(refusal) = refusal {
                run.refuse_with(refusal, *time_ms, || write.histogram_labels(*at));
            }
        }
    }

    /// Takes a histogram, or gives the reason why it is refused.
    fn stage_whole(
        &mut self,
        run: &mut Run,
        time_ms: i64,
        parts: &[OnePart],
        options: &Options,
    ) -> Option<Refusal> {
        let shape = parts.first()?;
        if let Some(id) = self.known_id(&shape.target)
            && time_ms <= self.tip(id)
            && run.known(&self.staged.group.entries, id, time_ms).is_some()
        {
            let mut is_stored = |part: &OnePart| {
                let id = self.known_id(&part.target);
                let bits = id.and_then(|id| run.known(&self.staged.group.entries, id, time_ms));
                bits == Some(part.bits)
            };
            if parts.iter().all(&mut is_stored) {
                run.appended.duplicates += 1;
                return None;
            }
            return Some(Refusal::Conflict);
        }
        if !self.has_room_for(parts, options) {
            return Some(Refusal::TooManySeries);
        }
        let accepted = run.appended.accepted;
        for part in parts {
            let Some(id) = self.id_of(&part.target, part.hash, options) else { continue };
            let sample = Sample { time_ms, value: f64::from_bits(part.bits) };
            // A part without its shape is what damaged files may have: it stays as it is.
            let _: Option<Refusal> = self.stage_sample(run, id, &sample);
        }
        run.appended.accepted = accepted + 1;
        None
    }

    /// Whether all series can be made that these parts need.
    fn has_room_for(&self, parts: &[OnePart], options: &Options) -> bool {
        let new = || {
            parts.iter().filter_map(|part| match &part.target {
                Target::New(labels) if !self.pending.contains_key(labels) => Some(labels),
                _ => None,
            })
        };
        let labels_size_bytes: usize = new().map(super::size_bytes).sum();
        let ids = u32::try_from(new().count()).ok();
        self.series_len.saturating_add(new().count()) <= options.series_max
            && self.labels_size_bytes.saturating_add(labels_size_bytes)
                <= options.labels_size_max_bytes
            && ids.is_some_and(|ids| self.next_series.checked_add(ids).is_some())
    }

    fn known_id(&self, target: &Target) -> Option<u32> {
        match target {
            Target::Known(id) => Some(*id),
            Target::New(labels) => self.pending.get(labels).copied(),
            Target::Bad => None,
        }
    }

    /// The id of a series, which is made when it is new and may be.
    fn id_of(&mut self, target: &Target, hash: LabelsHash, options: &Options) -> Option<u32> {
        if let Target::New(labels) = target {
            let id = self.create(labels, options)?;
            self.ids.insert(hash, id);
            return Some(id);
        }
        self.known_id(target)
    }
}

/// Refuses a histogram of a series; fails when the series' labels cannot be taken either.
fn refuse(run: &mut Run, base: &mut Base<'_>, time_ms: i64, reason: Refusal) -> Result<(), ()> {
    let labels = base.labels().map_err(drop)?.clone();
    run.refuse_with(reason, time_ms, || Ok(labels));
    Ok(())
}
