//! Reads of what is stored at given times: writes ask whether a sample is new.
//!
//! Times are looked at first, and values unpacked only where there is something to say.

use std::collections::BTreeMap;

use crate::ReadError;
use crate::blob::BlobMeta;
use crate::read::{BlobReader, Failed, Keep};
use crate::scan::overlapping;
use crate::state::State;
use crate::store::Store;
use crate::write::Known;

impl Store {
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
                while blobs.with(meta, Keep::Shared, &mut look)?.is_none()
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
