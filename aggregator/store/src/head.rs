//! The newest samples, in memory: per series one growing run of bytes.
//!
//! A sample that follows the last one takes two to five bytes: the change of the step in time, and
//! the change of the value's bits. A sample that comes late goes beside the run into a sorted map,
//! which is larger; late samples are few, and the next seal puts them in their place.
//!
//! Not here: what is on disk. The log holds all of this too, until it is sealed.

use std::collections::{BTreeMap, HashMap};

use crate::log::Entry;
use crate::varint::{Malformed, Reader, push, push_signed};

/// Memory of one sample in a sorted map, roughly: key, value and its share of the nodes.
const LATE_LEN: usize = 24;

/// Samples by series id.
#[derive(Debug, Default)]
pub(crate) struct Head {
    series: HashMap<u32, HeadSeries>,
    samples: usize,
    opened_ms: Option<i64>,
}

/// The samples of one series.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeadSeries {
    run: Vec<u8>,
    run_len: usize,
    last_ms: i64,
    last_step: i64,
    last_bits: u64,
    late: BTreeMap<i64, u64>,
}

impl Head {
    /// Adds samples that are known to be new. `now_ms` is when they came.
    pub(crate) fn add(&mut self, entries: &[Entry], now_ms: i64) {
        for run in entries.chunk_by(|a, b| a.series == b.series) {
            let Some(first) = run.first() else { continue };
            let series = self.series.entry(first.series).or_default();
            for entry in run {
                series.add(entry.time_ms, entry.bits);
            }
        }
        self.samples += entries.len();
        if !entries.is_empty() {
            self.opened_ms.get_or_insert(now_ms);
        }
    }

    /// The samples of one series.
    pub(crate) fn get(&self, id: u32) -> Option<&HeadSeries> {
        self.series.get(&id)
    }

    /// All series that have samples, in no order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> {
        self.series.keys().copied()
    }

    /// The number of series.
    pub(crate) fn series_len(&self) -> usize {
        self.series.len()
    }

    /// The number of samples.
    pub(crate) fn samples_len(&self) -> usize {
        self.samples
    }

    /// When the first sample came.
    pub(crate) fn opened_ms(&self) -> Option<i64> {
        self.opened_ms
    }

    /// Memory of the samples.
    pub(crate) fn size_bytes(&self) -> usize {
        self.series.values().map(HeadSeries::size_bytes).sum()
    }
}

impl HeadSeries {
    fn add(&mut self, time_ms: i64, bits: u64) {
        if self.run_len > 0 && time_ms <= self.last_ms {
            self.late.insert(time_ms, bits);
            return;
        }
        let step = time_ms.wrapping_sub(self.last_ms);
        push_signed(&mut self.run, step.wrapping_sub(self.last_step));
        push(&mut self.run, (bits ^ self.last_bits).reverse_bits());
        // The first step is from 0 and says nothing about the next one.
        self.last_step = if self.run_len == 0 { 0 } else { step };
        self.last_ms = time_ms;
        self.last_bits = bits;
        self.run_len += 1;
    }

    fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.run.capacity() + self.late.len() * LATE_LEN
    }

    /// Calls `each` with time and bits of all samples, ascending, each time once: a log of damaged
    /// files may hold a sample twice, and no column can.
    pub(crate) fn for_each(&self, mut each: impl FnMut(i64, u64)) {
        let mut late = self.late.iter().peekable();
        // The run was written by `add`, so that it reads to its end.
        let _ = self.walk_run(|time_ms, bits| {
            while let Some((&late_ms, &bits)) = late.next_if(|(late_ms, _)| **late_ms <= time_ms) {
                if late_ms < time_ms {
                    each(late_ms, bits);
                }
            }
            each(time_ms, bits);
        });
        late.for_each(|(&time_ms, &bits)| each(time_ms, bits));
    }

    fn walk_run(&self, mut each: impl FnMut(i64, u64)) -> Result<(), Malformed> {
        let mut reader = Reader::new(&self.run);
        let (mut time_ms, mut step, mut bits) = (0_i64, 0_i64, 0_u64);
        for at in 0..self.run_len {
            let next = step.wrapping_add(reader.signed()?);
            bits ^= reader.varint()?.reverse_bits();
            time_ms = time_ms.wrapping_add(next);
            step = if at == 0 { 0 } else { next };
            each(time_ms, bits);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_steady_series_takes_few_bytes_a_sample() {
        let mut head = Head::default();
        for at in 0..1000 {
            let bits = f64::from(20 + at % 4).to_bits();
            head.add(
                &[Entry { series: 1, time_ms: 1_700_000_000_000 + i64::from(at) * 15_000, bits }],
                0,
            );
        }
        let run = head.get(1).unwrap().run.len();
        assert!(run < 4_100, "{run}");
    }

    #[test]
    fn a_sample_that_is_logged_twice_is_there_once() {
        let mut head = Head::default();
        for time_ms in [1, 2, 3, 2, 1, 0] {
            head.add(&[Entry { series: 1, time_ms, bits: 7 }], 0);
        }
        let mut times = Vec::new();
        head.get(1).unwrap().for_each(|time_ms, _| times.push(time_ms));
        assert_eq!(times, [0, 1, 2, 3]);
    }

    proptest! {
        #[test]
        fn samples_come_back_in_order(raw in prop::collection::hash_map(any::<i64>(), any::<u64>(), 0..100)) {
            let mut head = Head::default();
            let mut wanted: Vec<(i64, u64)> = raw.into_iter().collect();
            for &(time_ms, bits) in &wanted {
                head.add(&[Entry { series: 7, time_ms, bits }], 5);
            }
            wanted.sort_unstable();
            let mut found = Vec::new();
            if let Some(series) = head.get(7) {
                series.for_each(|time_ms, bits| found.push((time_ms, bits)));
            }
            prop_assert_eq!(found, wanted);
        }
    }
}
