//! The newest samples of all series of a blob, as the head has them: what is asked of most series
//! at once is how they are now, and a blob that was sealed lately has that at the ends of columns
//! of which all else would be unpacked for nothing.

use std::ops::ControlFlow;

use crate::head::{HeadSeries, walk_run};

/// How far back from the newest sample of its blob a tail reaches: ten minutes and a look-back.
pub(crate) const TAIL_MS: i64 = 15 * 60_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Samples after this time are in it.
    since_ms: i64,
    /// Ascending.
    ids: Vec<u32>,
    /// Where the run of each series ends.
    ends: Vec<u32>,
    runs: Vec<u8>,
}

impl Tail {
    pub(crate) const fn new(since_ms: i64) -> Self {
        Self { since_ms, ids: Vec::new(), ends: Vec::new(), runs: Vec::new() }
    }

    /// Adds a series, after those with lower ids: its samples since then.
    pub(crate) fn push(&mut self, id: u32, times: &[i64], values: &[f64]) {
        let mut series = HeadSeries::default();
        for (&time_ms, value) in times.iter().zip(values) {
            if time_ms > self.since_ms {
                series.add(time_ms, value.to_bits());
            }
        }
        self.runs.extend_from_slice(series.run());
        self.ids.push(id);
        self.ends.push(u32::try_from(self.runs.len()).unwrap_or(u32::MAX));
    }

    /// Calls `each` with time and bits of the samples of a series from `start_ms` to `end_ms`,
    /// ascending.
    pub(crate) fn each_in(
        &self,
        id: u32,
        (start_ms, end_ms): (i64, i64),
        mut each: impl FnMut(i64, u64),
    ) {
        walk_run(self.run(id), |time_ms, bits| {
            if time_ms > end_ms {
                return ControlFlow::Break(());
            }
            if time_ms >= start_ms {
                each(time_ms, bits);
            }
            ControlFlow::Continue(())
        });
    }

    fn run(&self, id: u32) -> &[u8] {
        let Ok(at) = self.ids.binary_search(&id) else { return &[] };
        let end = |at: usize| self.ends.get(at).map_or(0, |end| *end as usize);
        let start = at.checked_sub(1).map_or(0, end);
        self.runs.get(start..end(at)).unwrap_or_default()
    }

    /// Memory it takes.
    pub(crate) fn size_bytes(&self) -> usize {
        size_of::<Self>() + 4 * (self.ids.capacity() + self.ends.capacity()) + self.runs.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_has_the_samples_since_its_time_and_no_others() {
        let mut tail = Tail::new(100);
        tail.push(3, &[50, 100, 110, 120, 135], &[1.0, 2.0, 3.0, 0.1, f64::NAN]);
        tail.push(5, &[20], &[1.0]);
        tail.push(9, &[101], &[-0.0]);
        let read = |id, range| {
            let mut all = Vec::new();
            tail.each_in(id, range, |time_ms, bits| all.push((time_ms, bits)));
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
        assert!(tail.size_bytes() < 200);
    }
}
