//! The newest samples of all series of a blob, in the columns that blobs have, but not compressed:
//! what is asked of most series at once is how they are now, and a blob that was sealed lately has
//! that at the ends of columns of which all else would be unpacked for nothing.
//!
//! Who asks for a time before, and not once only, has a tail of that time.
//!
//! Of 50,000 series of all kinds it takes some 7 MB.

use std::collections::HashMap;
use std::ops::Range;

use crate::column::{self, Encoder, Lane, Shape};
use crate::read::Piece;
use crate::varint::Malformed;

/// How far back from the newest sample of its blob a tail reaches: ten minutes and a look-back.
pub(crate) const TAIL_MS: i64 = 15 * 60_000;

/// What lies further back comes in tails of the same length, one for each such step: each look-back
/// of five minutes lies within one of them.
pub(crate) const TAIL_STEP_MS: i64 = 10 * 60_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Ascending.
    ids: Vec<u32>,
    /// Where the columns of each series are.
    columns: Vec<Column>,
    /// Columns of times, one after the other, of which many series have the same one.
    times: Vec<i64>,
    /// Head and lane of one series after the other.
    bytes: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Column {
    times: Range<usize>,
    head: usize,
    lane: usize,
    shape: Shape,
}

/// Collects a tail.
#[derive(Debug)]
pub(crate) struct Collector {
    /// Samples after this time are in it.
    since_ms: i64,
    encoder: Encoder,
    known: HashMap<Vec<i64>, Range<usize>>,
    lane: Vec<u8>,
    tail: Tail,
}

impl Collector {
    pub(crate) fn new(since_ms: i64) -> Self {
        let tail =
            Tail { ids: Vec::new(), columns: Vec::new(), times: Vec::new(), bytes: Vec::new() };
        let (encoder, known, lane) = (Encoder::default(), HashMap::new(), Vec::new());
        Self { since_ms, encoder, known, lane, tail }
    }

    /// Adds a series, after those with lower ids: its samples since then.
    pub(crate) fn push(&mut self, id: u32, times: &[i64], values: &[f64]) {
        let from = times.partition_point(|&time_ms| time_ms <= self.since_ms);
        let (Some(times), Some(values)) = (times.get(from..), values.get(from..)) else { return };
        if times.is_empty() {
            return;
        }
        let times = self.times(times);
        let head = self.tail.bytes.len();
        self.lane.clear();
        let coded = self.encoder.push(values, &mut self.tail.bytes, &mut self.lane);
        let lane = self.tail.bytes.len();
        self.tail.bytes.append(&mut self.lane);
        self.tail.ids.push(id);
        self.tail.columns.push(Column { times, head, lane, shape: coded.shape });
    }

    /// Where these times are, which are added when no series had them so far.
    fn times(&mut self, times: &[i64]) -> Range<usize> {
        if let Some(known) = self.known.get(times) {
            return known.clone();
        }
        let start = self.tail.times.len();
        self.tail.times.extend_from_slice(times);
        let place = start..self.tail.times.len();
        self.known.insert(times.to_vec(), place.clone());
        place
    }

    pub(crate) fn finish(mut self) -> Tail {
        self.tail.ids.shrink_to_fit();
        self.tail.columns.shrink_to_fit();
        self.tail.times.shrink_to_fit();
        self.tail.bytes.shrink_to_fit();
        self.tail
    }
}

impl Tail {
    /// Adds to `out` the samples of a series from `start_ms` to `end_ms`, ascending. It may lie at
    /// `place`, which becomes where it does.
    pub(crate) fn read(
        &self,
        id: u32,
        place: &mut usize,
        (start_ms, end_ms): (i64, i64),
        out: &mut Piece,
    ) -> Result<(), Malformed> {
        let Some((column, times)) = self.column_near(id, place) else { return Ok(()) };
        let from = times.partition_point(|&time_ms| time_ms < start_ms);
        let to = times.partition_point(|&time_ms| time_ms <= end_ms);
        if let Some(wanted) = times.get(from..to).filter(|wanted| !wanted.is_empty()) {
            self.values(column, times.len(), from..to, &mut out.values)?;
            out.times.extend_from_slice(wanted);
        }
        Ok(())
    }

    /// Time and bits of the newest sample of a series from `start_ms` to `end_ms`; `values` is
    /// room to decode into.
    pub(crate) fn newest_in(
        &self,
        id: u32,
        (start_ms, end_ms): (i64, i64),
        values: &mut Vec<f64>,
    ) -> Result<Option<(i64, u64)>, Malformed> {
        let Some((column, times)) = self.column_near(id, &mut 0) else { return Ok(None) };
        let at = times.partition_point(|&time_ms| time_ms <= end_ms).checked_sub(1);
        let newest = at.and_then(|at| Some((at, *times.get(at)?)));
        let Some((at, time_ms)) = newest.filter(|(_, time_ms)| *time_ms >= start_ms) else {
            return Ok(None);
        };
        values.clear();
        self.values(column, times.len(), at..at + 1, values)?;
        Ok(values.first().map(|value| (time_ms, value.to_bits())))
    }

    fn column_near(&self, id: u32, place: &mut usize) -> Option<(&Column, &[i64])> {
        if self.ids.get(*place) != Some(&id) {
            *place = self.ids.binary_search(&id).ok()?;
        }
        let column = self.columns.get(*place)?;
        Some((column, self.times.get(column.times.clone())?))
    }

    fn values(
        &self,
        column: &Column,
        count: usize,
        wanted: Range<usize>,
        out: &mut Vec<f64>,
    ) -> Result<(), Malformed> {
        let Column { head, lane, shape, .. } = *column;
        let (bytes, stride) = (self.bytes.as_slice(), shape.plane_len(count));
        let head = bytes.get(head..lane).ok_or(Malformed("tail"))?;
        column::values_into(head, Lane { bytes, start: lane, stride, shape }, count, wanted, out)
    }

    /// Memory it takes.
    pub(crate) fn size_bytes(&self) -> usize {
        size_of::<Self>()
            + self.ids.capacity() * size_of::<u32>()
            + self.columns.capacity() * size_of::<Column>()
            + self.times.capacity() * size_of::<i64>()
            + self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_has_the_samples_since_its_time_and_no_others() {
        let mut all = Collector::new(100);
        all.push(3, &[50, 100, 110, 120, 135], &[1.0, 2.0, 3.0, 0.1, f64::NAN]);
        all.push(5, &[20], &[1.0]);
        all.push(9, &[101], &[-0.0]);
        all.push(10, &[90, 110, 120, 135], &[4.0, 1e300, 1e-300, f64::INFINITY]);
        let tail = all.finish();
        let read = |id, range| {
            let mut piece = Piece::default();
            tail.read(id, &mut 0, range, &mut piece).unwrap();
            let bits = piece.values.iter().map(|value| value.to_bits());
            let all: Vec<(i64, u64)> = piece.times.iter().copied().zip(bits).collect();
            assert_eq!(tail.newest_in(id, range, &mut Vec::new()).unwrap(), all.last().copied());
            all
        };
        let bits = f64::to_bits;
        let all = (i64::MIN, i64::MAX);
        let third = [(110, bits(3.0)), (120, bits(0.1)), (135, bits(f64::NAN))];
        assert_eq!(read(3, all), third);
        assert_eq!(read(3, (111, 134)), third[1..2]);
        assert_eq!(read(3, (121, 134)), []);
        assert_eq!((read(5, all), read(4, all)), (vec![], vec![]));
        assert_eq!(read(9, all), [(101, bits(-0.0))]);
        let tenth = [(110, bits(1e300)), (120, bits(1e-300)), (135, bits(f64::INFINITY))];
        assert_eq!(read(10, all), tenth);
    }

    #[test]
    fn series_that_share_their_times_take_little_more_than_their_values() {
        let times: Vec<i64> = (0..60).map(|at| at * 15_000).collect();
        let mut all = Collector::new(-1);
        for id in 0..1_000 {
            let values: Vec<f64> = (0..60).map(|at| f64::from((at * id) % 7)).collect();
            all.push(id, &times, &values);
        }
        assert!(all.finish().size_bytes() < 1_000 * 120);
    }
}
