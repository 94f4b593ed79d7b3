//! The newest samples, in memory: per series one growing run of bytes.
//!
//! A run is a sequence of items, each of one control byte and what belongs to it: its kind (two
//! bits), whether the step in time changes (one bit; by how much follows as a signed varint), and
//! five bits more:
//!
//! | Kind | The five bits | Then |
//! |---|---|---|
//! | same value | how often, less one | |
//! | integer | low four of the zigzagged change, and whether there are more | the others as a varint |
//! | other | zero bytes at the top (two bits) and at the end (three) of the change of the bits | the bytes between |
//!
//! So a series that does not change takes one byte for 32 samples, and a mixed load two bytes a
//! sample. A sample that comes late goes beside the run into a sorted map, which is larger; late
//! samples are few, and the next seal puts them in their place.
//!
//! Not here: what is on disk. The log holds all of this too, until it is sealed.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::log::{Entry, as_integer};
use crate::slots::Slots;
use crate::varint::{Malformed, Reader, VARINT_LEN_MAX, push, push_signed, unzigzag, zigzag};

/// Memory of one sample in a sorted map, roughly: key, value and its share of the nodes.
const LATE_LEN: usize = 24;

/// The least room a run gets at a time: what an allocator has of three or four lines of 16 bytes.
/// Beyond it a run grows by half. More would be memory for nothing; less, a copy more often.
const ROOM_MIN: usize = 40;

/// Kinds of items.
const SAME: u8 = 0;
const INTEGER: u8 = 1;
const OTHER: u8 = 2;
const KIND_MASK: u8 = 3;

/// The step in time changes.
const STEP: u8 = 4;

/// Where the five bits begin.
const PAYLOAD_SHIFT: u32 = 3;

/// One more [`SAME`] in the payload.
const SAME_ONE: u8 = 1 << PAYLOAD_SHIFT;

/// Samples that one item of the kind [`SAME`] can stand for.
const SAME_MAX: u8 = 32;

/// Bits of an integer's change that fit into its control byte, and what says that there are more.
const INTEGER_BITS: u32 = 4;
const INTEGER_MORE: u8 = 1 << INTEGER_BITS;

/// Zero bytes at the top of a change of bits that are left out.
const TOP_MAX: u32 = 3;

/// Samples by series id.
#[derive(Debug, Default)]
pub(crate) struct Head {
    series: Slots<HeadSeries>,
    samples: usize,
    opened_ms: Option<i64>,
}

/// The samples of one series. As large as a cache line, since adding a sample mostly waits for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeadSeries {
    run: Vec<u8>,
    last_ms: i64,
    last_step: i64,
    last_bits: u64,
    #[expect(clippy::box_collection, reason = "most have none, and it must fit into the line")]
    late: Option<Box<BTreeMap<i64, u64>>>,
    /// How many samples the last item stands for when it is of the kind [`SAME`]; else 0.
    same: u8,
}

impl Head {
    /// Adds samples that are known to be new. `now_ms` is when they came.
    pub(crate) fn add(&mut self, entries: &[Entry], now_ms: i64) {
        for run in entries.chunk_by(|a, b| a.series == b.series) {
            let Some(first) = run.first() else { continue };
            if self.series.get(first.series).is_none() {
                self.series.insert(first.series, HeadSeries::default());
            }
            let Some(series) = self.series.get_mut(first.series) else { continue };
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
        self.series.get(id)
    }

    /// All series that have samples, by ascending id.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> {
        self.series.iter().map(|(id, _)| id)
    }

    /// All series that have samples, by ascending id, each with its oldest one's time.
    pub(crate) fn oldest(&self) -> impl Iterator<Item = (u32, i64)> {
        self.series.iter().filter_map(|(id, series)| Some((id, series.oldest_ms()?)))
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
        self.series.iter().map(|(_, series)| series.size_bytes()).sum()
    }
}

impl HeadSeries {
    /// Adds a sample that is new.
    pub(crate) fn add(&mut self, time_ms: i64, bits: u64) {
        if !self.run.is_empty() && time_ms <= self.last_ms {
            self.late.get_or_insert_default().insert(time_ms, bits);
            return;
        }
        let step = time_ms.wrapping_sub(self.last_ms);
        let is_first = self.run.is_empty();
        self.push(step.wrapping_sub(self.last_step), bits);
        // The first step is from 0 and says nothing about the next one.
        self.last_step = if is_first { 0 } else { step };
        self.last_ms = time_ms;
        self.last_bits = bits;
    }

    fn push(&mut self, step_change: i64, bits: u64) {
        let steady = step_change == 0;
        if bits == self.last_bits
            && steady
            && (1..SAME_MAX).contains(&self.same)
            && let Some(control) = self.run.last_mut()
        {
            *control += SAME_ONE;
            self.same += 1;
            return;
        }
        let need = if steady { ITEM_LEN_MAX } else { ITEM_LEN_MAX + VARINT_LEN_MAX };
        if self.run.capacity() - self.run.len() < need {
            self.run.reserve_exact(ROOM_MIN.max(self.run.len() / 2));
        }
        let at = self.run.len();
        self.run.push(0);
        if !steady {
            push_signed(&mut self.run, step_change);
        }
        let control = self.push_value(bits) | if steady { 0 } else { STEP };
        self.same = u8::from(control == SAME);
        if let Some(place) = self.run.get_mut(at) {
            *place = control;
        }
    }

    /// Appends what follows the control byte, which it gives.
    fn push_value(&mut self, bits: u64) -> u8 {
        if bits == self.last_bits {
            return SAME;
        }
        if let (Some(value), Some(last)) = (as_integer(bits), as_integer(self.last_bits)) {
            let change = zigzag(value - last);
            let more = change >> INTEGER_BITS;
            let mut payload = low_byte(change) & (INTEGER_MORE - 1);
            if more > 0 {
                payload |= INTEGER_MORE;
                push(&mut self.run, more);
            }
            return payload << PAYLOAD_SHIFT | INTEGER;
        }
        let change = bits ^ self.last_bits;
        let top = (change.leading_zeros() / 8).min(TOP_MAX);
        let end = change.trailing_zeros() / 8;
        let len = 8 - (top + end) as usize;
        let bytes = (change >> (8 * end)).to_le_bytes();
        self.run.extend_from_slice(bytes.get(..len).unwrap_or_default());
        low_byte(u64::from(end << 2 | top)) << PAYLOAD_SHIFT | OTHER
    }

    fn size_bytes(&self) -> usize {
        let late = self.late.as_ref().map_or(0, |late| late.len() * LATE_LEN);
        size_of::<Option<Self>>() + self.run.capacity() + late
    }

    /// Calls `each` with time and bits of all samples, ascending, each time once: a log of damaged
    /// files may hold a sample twice, and no column can.
    pub(crate) fn for_each(&self, each: impl FnMut(i64, u64)) {
        self.each_in((i64::MIN, i64::MAX), each);
    }

    /// As [`HeadSeries::for_each`], from `start_ms` to `end_ms`, both included.
    pub(crate) fn each_in(&self, (start_ms, end_ms): (i64, i64), mut each: impl FnMut(i64, u64)) {
        if start_ms > end_ms {
            return;
        }
        let late = self.late.iter().flat_map(|late| late.range(start_ms..=end_ms));
        let mut late = late.peekable();
        if self.first_ms().is_some_and(|first_ms| first_ms <= end_ms && self.last_ms >= start_ms) {
            walk_run(&self.run, |time_ms, bits| {
                if time_ms > end_ms {
                    return ControlFlow::Break(());
                }
                if time_ms >= start_ms {
                    while let Some((&late_ms, &bits)) =
                        late.next_if(|(late_ms, _)| **late_ms <= time_ms)
                    {
                        if late_ms < time_ms {
                            each(late_ms, bits);
                        }
                    }
                    each(time_ms, bits);
                }
                ControlFlow::Continue(())
            });
        }
        late.for_each(|(&time_ms, &bits)| each(time_ms, bits));
    }

    /// Time and bits of the newest sample from `start_ms` to `end_ms`, both included.
    pub(crate) fn newest_in(&self, (start_ms, end_ms): (i64, i64)) -> Option<(i64, u64)> {
        // What came late is older than the last one of the run.
        if !self.run.is_empty() && self.last_ms <= end_ms {
            return (self.last_ms >= start_ms).then_some((self.last_ms, self.last_bits));
        }
        let mut newest = None;
        self.each_in((start_ms, end_ms), |time_ms, bits| newest = Some((time_ms, bits)));
        newest
    }

    /// Calls `each` with time and bits of the samples at the asked times, which ascend. Reads no
    /// more than it must, as writes wait for it.
    pub(crate) fn find(&self, asked: impl Iterator<Item = i64>, mut each: impl FnMut(i64, u64)) {
        let first_ms = self.first_ms().unwrap_or(i64::MAX);
        let mut in_run = asked
            .filter(|time_ms| {
                if let Some(bits) = self.late.as_ref().and_then(|late| late.get(time_ms)) {
                    each(*time_ms, *bits);
                    return false;
                }
                (first_ms..=self.last_ms).contains(time_ms)
            })
            .collect::<Vec<i64>>()
            .into_iter()
            .peekable();
        // A request that is sent again mostly brings what came last.
        if in_run.peek() == Some(&self.last_ms) {
            return each(self.last_ms, self.last_bits);
        }
        if in_run.peek().is_none() {
            return;
        }
        walk_run(&self.run, |time_ms, bits| {
            while in_run.next_if(|asked_ms| *asked_ms < time_ms).is_some() {}
            if in_run.next_if_eq(&time_ms).is_some() {
                each(time_ms, bits);
            }
            match in_run.peek() {
                Some(_) => ControlFlow::Continue(()),
                None => ControlFlow::Break(()),
            }
        });
    }

    /// The time of the oldest sample.
    fn oldest_ms(&self) -> Option<i64> {
        let late = self.late.as_ref().and_then(|late| late.first_key_value());
        self.first_ms().into_iter().chain(late.map(|(time_ms, _)| *time_ms)).min()
    }

    /// The time of the first sample of the run.
    fn first_ms(&self) -> Option<i64> {
        let mut reader = Reader::new(&self.run);
        let control = reader.byte().ok()?;
        // The first step is from 0.
        if control & STEP == 0 { Some(0) } else { reader.signed().ok() }
    }
}

/// Goes through a run until it is told to break. What was added reads to its end.
fn walk_run(run: &[u8], each: impl FnMut(i64, u64) -> ControlFlow<()>) {
    let _ = try_walk_run(run, each);
}

fn try_walk_run(
    run: &[u8],
    mut each: impl FnMut(i64, u64) -> ControlFlow<()>,
) -> Result<(), Malformed> {
    let mut reader = Reader::new(run);
    let (mut time_ms, mut step, mut bits) = (0_i64, 0_i64, 0_u64);
    let mut is_first = true;
    while !reader.is_empty() {
        let control = reader.byte()?;
        let change = if control & STEP == 0 { 0 } else { reader.signed()? };
        let payload = control >> PAYLOAD_SHIFT;
        let count = match control & KIND_MASK {
            SAME => payload + 1,
            INTEGER => {
                bits = integer(&mut reader, payload, bits)?;
                1
            }
            OTHER => {
                bits ^= bits_change(&mut reader, payload)?;
                1
            }
            _ => return Err(Malformed("head item")),
        };
        step = step.wrapping_add(change);
        for _ in 0..count {
            time_ms = time_ms.wrapping_add(step);
            if each(time_ms, bits).is_break() {
                return Ok(());
            }
            step = if is_first { 0 } else { step };
            is_first = false;
        }
    }
    Ok(())
}

/// Bytes of the longest item in which the step does not change: a control byte and eight of a
/// value, be it its bits or the change of an integer below 2^54 without its lowest four.
const ITEM_LEN_MAX: usize = 1 + 8;

fn integer(reader: &mut Reader<'_>, payload: u8, last_bits: u64) -> Result<u64, Malformed> {
    let last = as_integer(last_bits).ok_or(Malformed("head integer"))?;
    let mut change = u64::from(payload & (INTEGER_MORE - 1));
    if payload & INTEGER_MORE != 0 {
        change |= reader.varint()? << INTEGER_BITS;
    }
    #[expect(clippy::cast_precision_loss, reason = "only integers below 2^53 are written")]
    Ok((last.wrapping_add(unzigzag(change)) as f64).to_bits())
}

fn bits_change(reader: &mut Reader<'_>, payload: u8) -> Result<u64, Malformed> {
    let (top, end) = (payload & 3, payload >> 2);
    let len = 8_u8.checked_sub(top + end).ok_or(Malformed("head value"))?;
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(reader.bytes(usize::from(len))?) {
        *to = *from;
    }
    Ok(u64::from_le_bytes(bytes) << (8 * end))
}

#[expect(clippy::cast_possible_truncation, reason = "the lowest byte is meant")]
const fn low_byte(word: u64) -> u8 {
    word as u8
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
        assert!(run < 1_100, "{run}");
    }

    #[test]
    fn a_series_that_stands_still_takes_a_byte_for_many_samples() {
        let mut head = Head::default();
        let mut wanted = Vec::new();
        for at in 0..1000 {
            // One scrape comes late.
            let time_ms = 1_700_000_000_000 + at * 15_000 + i64::from(at == 500);
            head.add(&[Entry { series: 1, time_ms, bits: 0.1_f64.to_bits() }], 0);
            wanted.push((time_ms, 0.1_f64.to_bits()));
        }
        let series = head.get(1).unwrap();
        assert!(series.run.len() < 70, "{}", series.run.len());
        let mut found = Vec::new();
        series.for_each(|time_ms, bits| found.push((time_ms, bits)));
        assert_eq!(found, wanted);
    }

    #[test]
    fn what_is_asked_for_is_found_in_the_run_and_beside_it() {
        let mut head = Head::default();
        for time_ms in [100, 200, 210, 220, 400, 150, 50, 300] {
            head.add(&[Entry { series: 1, time_ms, bits: time_ms.cast_unsigned() % 3 }], 0);
        }
        let series = head.get(1).unwrap();
        let find = |asked: &[i64]| {
            let mut found = Vec::new();
            series.find(asked.iter().copied(), |time_ms, bits| {
                assert_eq!(bits, time_ms.cast_unsigned() % 3);
                found.push(time_ms);
            });
            found.sort_unstable();
            found
        };
        let all = [50, 100, 150, 200, 210, 220, 300, 400];
        assert_eq!(find(&all), all);
        assert_eq!(find(&[400]), [400]);
        assert_eq!(find(&[220, 400]), [220, 400]);
        assert_eq!(find(&[0, 49, 51, 101, 219, 299, 401]), [0; 0]);
        assert_eq!(find(&[50, 99, 150, 205, 210, 500]), [50, 150, 210]);
        assert_eq!(find(&[]), [0; 0]);
    }

    #[test]
    fn a_series_takes_one_cache_line() {
        assert_eq!(size_of::<Option<HeadSeries>>(), 64);
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

    /// Values as series have them, and what breaks every rule among them.
    fn any_bits() -> impl Strategy<Value = u64> {
        prop_oneof![
            4 => prop::sample::select(vec![0.0_f64, 1.0, -0.0, f64::NAN, 1e300]).prop_map(f64::to_bits),
            4 => (-40_i32..40).prop_map(|value| f64::from(value).to_bits()),
            2 => prop::sample::select(vec![9_007_199_254_740_991.0, -9_007_199_254_740_991.0, 9_007_199_254_740_992.0_f64])
                .prop_map(f64::to_bits),
            2 => (-1000_i32..1000).prop_map(|value| (f64::from(value) / 100.0).to_bits()),
            1 => any::<u64>(),
        ]
    }

    proptest! {
        #[test]
        fn samples_come_back_in_order(
            steps in prop::collection::vec((any_bits(), 1_usize..40, 1_i64..4), 0..60),
            start_ms in any::<i32>(),
            part_of in (-5_i64..150, -5_i64..150),
            swaps in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 0..4),
        ) {
            let mut wanted = Vec::new();
            let mut time_ms = i64::from(start_ms);
            for (bits, count, step) in steps {
                for _ in 0..count {
                    time_ms += step * 15_000;
                    wanted.push((time_ms, bits));
                }
            }
            let mut came = wanted.clone();
            for (a, b) in swaps {
                if !came.is_empty() {
                    let (a, b) = (a.index(came.len()), b.index(came.len()));
                    came.swap(a, b);
                }
            }
            let mut head = Head::default();
            for (time_ms, bits) in came {
                head.add(&[Entry { series: 7, time_ms, bits }], 5);
            }
            let mut found = Vec::new();
            let range = (
                i64::from(start_ms) + part_of.0 * 15_000,
                i64::from(start_ms) + part_of.1 * 15_000,
            );
            let mut part = Vec::new();
            if let Some(series) = head.get(7) {
                series.for_each(|time_ms, bits| found.push((time_ms, bits)));
                series.each_in(range, |time_ms, bits| part.push((time_ms, bits)));
            }
            prop_assert_eq!(&found, &wanted);
            wanted.retain(|(time_ms, _)| (range.0..=range.1).contains(time_ms));
            prop_assert_eq!(part, wanted);
        }

        #[test]
        fn any_samples_come_back_in_order(
            raw in prop::collection::hash_map(any::<i64>(), any::<u64>(), 0..100),
            range in any::<(i64, i64)>(),
        ) {
            let mut head = Head::default();
            let mut wanted: Vec<(i64, u64)> = raw.into_iter().collect();
            for &(time_ms, bits) in &wanted {
                head.add(&[Entry { series: 7, time_ms, bits }], 5);
            }
            wanted.sort_unstable();
            let mut found = Vec::new();
            let mut part = Vec::new();
            if let Some(series) = head.get(7) {
                series.for_each(|time_ms, bits| found.push((time_ms, bits)));
                series.each_in(range, |time_ms, bits| part.push((time_ms, bits)));
            }
            prop_assert_eq!(&found, &wanted);
            wanted.retain(|(time_ms, _)| (range.0..=range.1).contains(time_ms));
            prop_assert_eq!(part, wanted);
        }
    }
}
