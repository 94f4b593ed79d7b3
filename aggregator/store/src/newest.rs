//! Reads of single samples: the newest of each series, and what is stored at given times.
//!
//! Both look at times first and unpack values only where there is something to say.

use std::collections::BTreeMap;

use labstat_model::{Labels, Matcher, Series};

use crate::ReadError;
use crate::blob::{BlobMeta, Column};
use crate::read::{BlobReader, Blobs, Failed, Keep};
use crate::scan::overlapping;
use crate::state::State;
use crate::store::Store;
use crate::write::Known;

/// A series whose newest sample is asked for.
struct Asked {
    id: u32,
    labels: Labels,
    /// The newest sample of the range that is known so far: time and bits.
    newest: Option<(i64, u64)>,
}

/// The series of one shelf whose newest sample is not in memory, or may be older than one that
/// is stored.
#[derive(Default)]
struct Missing {
    series: Vec<Asked>,
    /// Blobs that overlap, the newest first.
    blobs: Vec<BlobMeta>,
}

/// What is known at once, and what must be read.
#[derive(Default)]
struct Found {
    ready: Vec<Series>,
    missing: BTreeMap<u32, Missing>,
}

/// Where the newest sample of a series lies: by position among series and blobs, and in its column.
struct Place {
    series: usize,
    blob: usize,
    column: Column,
    at: usize,
    time_ms: i64,
}

impl Store {
    pub(crate) fn newest_of(
        &self,
        matchers: &[Matcher],
        range: (i64, i64),
    ) -> Result<Vec<Series>, ReadError> {
        let copy = || found(&self.state(), matchers, range);
        let mut all = self
            .settled(copy, |mut found, blobs| {
                for missing in found.missing.into_values() {
                    read_back(blobs, missing, range, &mut found.ready)?;
                }
                Ok(found.ready)
            })
            .map_err(|failed| self.read_failed(failed))?;
        all.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        Ok(all)
    }

    /// Adds to `known` what is stored of the asked series at the asked times, which are sorted.
    pub(crate) fn look_up(&self, asked: &[(u32, i64)], known: &mut Known) -> Result<(), ReadError> {
        let copy = || {
            let mut in_head = Known::new();
            let places = places(&self.state(), asked, &mut in_head);
            (in_head, places)
        };
        let read = self.settled(copy, |(mut found, places), blobs| {
            for (meta, series) in &places {
                let mut look = |blob: &mut BlobReader<'_>| {
                    for asked in series {
                        find_in_blob(blob, asked, &mut found)?;
                    }
                    Ok(())
                };
                // A part that turns out to be damaged is left out when it is looked at again.
                while blobs.with(meta, Keep::All, &mut look)?.is_none()
                    && self.damaged_parts(meta.id).is_some()
                {}
            }
            Ok(found)
        });
        known.extend(read.map_err(|failed| self.read_failed(failed))?);
        Ok(())
    }
}

/// Adds what a blob has of one series.
fn find_in_blob(
    blob: &mut BlobReader<'_>,
    asked: &[(u32, i64)],
    found: &mut Known,
) -> Result<(), Failed> {
    let Some(column) = asked.first().and_then(|(id, _)| blob.column(*id)) else { return Ok(()) };
    let times = blob.times(&column)?;
    for &(id, time_ms) in asked {
        if let Ok(at) = times.binary_search(&time_ms) {
            let bits = blob.value(&column, at)?.to_bits();
            found.insert((id, time_ms), bits);
        }
    }
    Ok(())
}

/// What is asked of one series, sorted by time.
type AskedSeries<'a> = &'a [(u32, i64)];

/// The part of it that lies in a range.
fn within(asked: AskedSeries<'_>, first_ms: i64, last_ms: i64) -> AskedSeries<'_> {
    let from = asked.partition_point(|(_, time_ms)| *time_ms < first_ms);
    let to = asked.partition_point(|(_, time_ms)| *time_ms <= last_ms);
    asked.get(from..to).unwrap_or_default()
}

/// The blobs that may have samples at the asked times, each with what to look for. What the heads
/// have goes into `known`.
fn places<'a>(
    state: &State,
    asked: &'a [(u32, i64)],
    known: &mut Known,
) -> Vec<(BlobMeta, Vec<AskedSeries<'a>>)> {
    let mut shelves: BTreeMap<u32, Vec<AskedSeries<'a>>> = BTreeMap::new();
    for asked in asked.chunk_by(|a, b| a.0 == b.0) {
        let Some(&(id, _)) = asked.first() else { continue };
        for head in state.heads().filter_map(|head| head.get(id)) {
            let times = asked.iter().map(|(_, time_ms)| *time_ms);
            head.find(times, |time_ms, bits| {
                known.insert((id, time_ms), bits);
            });
        }
        if let Some(entry) = state.index.get(id) {
            shelves.entry(entry.shelf).or_default().push(asked);
        }
    }
    let mut places = Vec::new();
    for (shelf, series) in shelves {
        let first_ms = series.iter().filter_map(|asked| asked.first()).map(|(_, time)| *time).min();
        let last_ms = series.iter().filter_map(|asked| asked.last()).map(|(_, time)| *time).max();
        let (Some(first_ms), Some(last_ms)) = (first_ms, last_ms) else { continue };
        for meta in overlapping(state, shelf, (first_ms, last_ms)) {
            let part = |asked: &AskedSeries<'a>| within(asked, meta.first_ms, meta.last_ms);
            let parts = series.iter().map(part).filter(|part| !part.is_empty());
            let parts: Vec<AskedSeries<'a>> = parts.collect();
            if !parts.is_empty() {
                places.push((meta, parts));
            }
        }
    }
    places
}

fn found(state: &State, matchers: &[Matcher], range: (i64, i64)) -> Found {
    let (start_ms, end_ms) = range;
    let mut found = Found::default();
    let mut blobs: BTreeMap<u32, Vec<BlobMeta>> = BTreeMap::new();
    for id in state.index.select(matchers, start_ms, end_ms) {
        let (Some(entry), Some(labels)) = (state.index.get(id), state.index.labels(id)) else {
            continue;
        };
        let blobs =
            blobs.entry(entry.shelf).or_insert_with(|| overlapping(state, entry.shelf, range));
        // The index does not say whether it was let go since. A series comes without it then, as
        // it does from other reads. What is older than all that is whole is looked for.
        let stored = |time_ms: i64| {
            let is_in = |meta: &BlobMeta| (meta.first_ms..=meta.last_ms).contains(&time_ms);
            time_ms > state.horizons.samples_ms
                && (state.heads().any(|head| head.get(id).is_some()) || blobs.iter().any(is_in))
        };
        let newest = state.index.newest(id);
        if let Some((time_ms, bits)) = newest
            && time_ms <= end_ms
            && stored(time_ms)
        {
            found.ready.push(single(labels, time_ms, bits));
            continue;
        }
        let newest = newest_in_head(state, id, range);
        let missing = found.missing.entry(entry.shelf).or_default();
        missing.series.push(Asked { id, labels, newest });
    }
    for (shelf, missing) in &mut found.missing {
        missing.blobs = blobs.remove(shelf).unwrap_or_default();
        missing.blobs.sort_unstable_by_key(|meta| std::cmp::Reverse(meta.last_ms));
    }
    found
}

fn newest_in_head(state: &State, id: u32, range: (i64, i64)) -> Option<(i64, u64)> {
    let mut newest: Option<(i64, u64)> = None;
    for head in state.heads().filter_map(|head| head.get(id)) {
        head.each_in(range, |time_ms, bits| {
            if newest.is_none_or(|(newest_ms, _)| time_ms > newest_ms) {
                newest = Some((time_ms, bits));
            }
        });
    }
    newest
}

fn single(labels: Labels, time_ms: i64, bits: u64) -> Series {
    Series { labels, times: vec![time_ms], values: vec![f64::from_bits(bits)] }
}

/// Adds the newest sample of each series of a shelf.
fn read_back(
    blobs: &Blobs<'_>,
    mut missing: Missing,
    range: (i64, i64),
    ready: &mut Vec<Series>,
) -> Result<(), Failed> {
    loop {
        let places = newest_places(blobs, &missing, range)?;
        let mut whole = true;
        for places in places.chunk_by(|a, b| a.blob == b.blob) {
            let Some(meta) = places.first().and_then(|place| missing.blobs.get(place.blob)) else {
                continue;
            };
            let series = &mut missing.series;
            let read = blobs.with(meta, Keep::All, |blob| {
                for place in places {
                    let bits = blob.value(&place.column, place.at)?.to_bits();
                    if let Some(asked) = series.get_mut(place.series) {
                        asked.newest = Some((place.time_ms, bits));
                    }
                }
                Ok(())
            })?;
            whole &= read.is_some();
        }
        // A blob whose values turned out to be damaged is left out; what is older counts then.
        if whole {
            break;
        }
    }
    for Asked { labels, newest, .. } in missing.series {
        ready.extend(newest.map(|(time_ms, bits)| single(labels, time_ms, bits)));
    }
    Ok(())
}

/// Where the newest samples are that are newer than what is known, by blob and part.
fn newest_places(
    blobs: &Blobs<'_>,
    missing: &Missing,
    (start_ms, end_ms): (i64, i64),
) -> Result<Vec<Place>, Failed> {
    let mut best: Vec<Option<Place>> = missing.series.iter().map(|_| None).collect();
    for (number, meta) in missing.blobs.iter().enumerate() {
        let known_ms = |asked: &Asked, place: &Option<Place>| {
            let place_ms = place.as_ref().map(|place| place.time_ms);
            place_ms.max(asked.newest.map(|(time_ms, _)| time_ms))
        };
        // The blobs end ever earlier, so that all is found once nothing in this one can be newer.
        let newest_ms = meta.last_ms.min(end_ms);
        let may_have = |(asked, place): (&Asked, &Option<Place>)| {
            known_ms(asked, place).is_none_or(|known_ms| known_ms < newest_ms)
        };
        if !missing.series.iter().zip(&best).any(may_have) {
            break;
        }
        blobs.with(meta, Keep::All, |blob| {
            for (series, (asked, place)) in missing.series.iter().zip(&mut best).enumerate() {
                if !may_have((asked, place)) {
                    continue;
                }
                let Some(column) = blob.column(asked.id) else { continue };
                let times = blob.times(&column)?;
                let Some(at) = times.partition_point(|&time_ms| time_ms <= end_ms).checked_sub(1)
                else {
                    continue;
                };
                let Some(&time_ms) = times.get(at).filter(|&&time_ms| time_ms >= start_ms) else {
                    continue;
                };
                if known_ms(asked, place).is_none_or(|known_ms| known_ms < time_ms) {
                    *place = Some(Place { series, blob: number, column, at, time_ms });
                }
            }
            Ok(())
        })?;
    }
    let mut places: Vec<Place> = best.into_iter().flatten().collect();
    places.sort_unstable_by_key(|place| (place.blob, place.column.part, place.series));
    Ok(places)
}
