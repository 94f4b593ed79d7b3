//! Heads and lanes back to values.

use std::ops::Range;

use super::{
    COLUMN_LEN_MAX, CONSTANT, CURVES, LEVELS, POWERS, SPARSE, STEPS, Scale, Shape, order, quotient,
};
use crate::varint::{Malformed, Reader, unzigzag};

/// Values that are decoded at a time, so that what lies between lane and values stays near.
const CHUNK: usize = 128;

/// Where the lane of a column lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lane<'a> {
    pub(crate) bytes: &'a [u8],
    /// Where the highest plane of the column begins.
    pub(crate) start: usize,
    /// From one plane of the column to the next.
    pub(crate) stride: usize,
    pub(crate) shape: Shape,
}

impl Lane<'_> {
    /// Reads words from the one at `at` on; that is a multiple of [`CHUNK`], or words are bytes.
    #[inline]
    pub(super) fn words(&self, at: usize, out: &mut [u64]) -> Result<(), Malformed> {
        if let Some(bits) = self.shape.bits() {
            let in_byte = (8 / bits) as usize;
            let start = self.start + at / in_byte;
            let bytes = self.bytes.get(start..start + out.len().div_ceil(in_byte));
            for (words, &byte) in out.chunks_mut(in_byte).zip(bytes.ok_or(Malformed("lane"))?) {
                let mut rest = u64::from(byte);
                for word in words {
                    *word = rest & ((1 << bits) - 1);
                    rest >>= bits;
                }
            }
            return Ok(());
        }
        out.fill(0);
        for plane in 0..self.shape.planes() {
            let start = self.start + plane * self.stride + at;
            let bytes = self.bytes.get(start..start + out.len()).ok_or(Malformed("lane"))?;
            for (word, &byte) in out.iter_mut().zip(bytes) {
                *word = *word << 8 | u64::from(byte);
            }
        }
        Ok(())
    }

    /// The sum of the first `len` words, a multiple of [`CHUNK`], each unzigzagged.
    fn sum(&self, len: usize) -> Result<i128, Malformed> {
        if let Some(bits) = self.shape.bits() {
            let bytes = self.bytes.get(self.start..self.start + len * bits as usize / 8);
            let sums = if bits == 2 { &SUMS_OF_FOUR } else { &SUMS_OF_TWO };
            let sum = |byte: &u8| sums.get(usize::from(*byte)).copied().map_or(0, i128::from);
            return Ok(bytes.ok_or(Malformed("lane"))?.iter().map(sum).sum());
        }
        let plane = |plane: usize| {
            let start = self.start + plane * self.stride;
            self.bytes.get(start..start + len).ok_or(Malformed("lane"))
        };
        let planes = self.shape.planes();
        let lowest = plane(planes.checked_sub(1).ok_or(Malformed("shape"))?)?;
        // An odd word stands for half of it and of one more, negated; an even one for its half.
        // So twice the sum is that of even words, less that of odd ones, less the number of these.
        let mut twice = 0_i128;
        for at in 0..planes {
            twice = (twice << 8) + alternating_sum(plane(at)?, lowest);
        }
        let (chunks, _) = lowest.as_chunks::<CHUNK>();
        let odd: i128 = chunks.iter().map(|bytes| i128::from(odd_len(bytes))).sum();
        Ok((twice - odd) / 2)
    }
}

/// The sum of the bytes that belong to even words, less that of those of odd ones; of whole chunks.
fn alternating_sum(bytes: &[u8], lowest: &[u8]) -> i128 {
    let (bytes, _) = bytes.as_chunks::<CHUNK>();
    let (lowest, _) = lowest.as_chunks::<CHUNK>();
    let chunks = bytes.iter().zip(lowest).map(|(bytes, lowest)| {
        let all: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
        let odd = |(byte, lowest): (&u8, &u8)| u32::from(byte & 0_u8.wrapping_sub(lowest & 1));
        let odd: u32 = bytes.iter().zip(lowest).map(odd).sum();
        i64::from(all) - 2 * i64::from(odd)
    });
    i128::from(chunks.sum::<i64>())
}

fn odd_len(bytes: &[u8; CHUNK]) -> u32 {
    bytes.iter().map(|byte| u32::from(byte & 1)).sum()
}

/// What the words in a byte come to, unzigzagged, by the byte: four of two bits, two of four.
const SUMS_OF_FOUR: [i8; 256] = sums(2);
const SUMS_OF_TWO: [i8; 256] = sums(4);

const fn sums(bits: u32) -> [i8; 256] {
    let mut sums = [0; 256];
    let mut byte = 0;
    while byte < sums.len() {
        let mut rest = byte;
        while rest > 0 {
            #[expect(clippy::cast_possible_truncation, reason = "words have at most four bits")]
            let word = (rest & ((1 << bits) - 1)) as i8;
            sums[byte] += word >> 1 ^ -(word & 1);
            rest >>= bits;
        }
        byte += 1;
    }
    sums
}

/// Appends those of the `count` values of a column to `out` that are `wanted`, by position. When it
/// fails, `out` may have some of them.
pub(crate) fn values_into(
    head: &[u8],
    lane: Lane<'_>,
    count: usize,
    wanted: Range<usize>,
    out: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let wanted = wanted.start..wanted.end.min(count);
    if count > COLUMN_LEN_MAX {
        return Err(Malformed("values"));
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let first = out.len();
    let mut reader = Reader::new(head);
    let codec = reader.byte()?;
    if codec == CONSTANT {
        out.resize(first + wanted.len(), f64::from_bits(reader.u64_le()?));
    } else {
        let scale = Scale::of_byte(reader.byte()?)?;
        let exceptions = exceptions(&mut reader, count)?;
        match codec {
            SPARSE => sparse(&mut reader, scale, count, wanted.clone(), out)?,
            _ => Walk::read(&mut reader, codec)?.values(lane, scale, count, wanted.clone(), out)?,
        }
        for (at, bits) in exceptions {
            let place = at.checked_sub(wanted.start).filter(|place| *place < wanted.len());
            if let Some(value) = place.and_then(|place| out.get_mut(first + place)) {
                *value = f64::from_bits(bits);
            }
        }
    }
    if reader.is_empty() { Ok(()) } else { Err(Malformed("values")) }
}

fn exceptions(reader: &mut Reader<'_>, count: usize) -> Result<Vec<(usize, u64)>, Malformed> {
    let mut exceptions = Vec::new();
    let mut at = 0_usize;
    for _ in 0..reader.count(count)? {
        at += reader.count(count)?;
        exceptions.push((at, reader.u64_le()?));
    }
    Ok(exceptions)
}

/// The value of an integer that needs no correction.
fn value(integer: i64, scale: Scale) -> Result<f64, Malformed> {
    match scale {
        Scale::Decimal(places) => Ok(quotient(integer, power(places)?)),
        Scale::Corrected(_) => Err(Malformed("scale")),
        Scale::Float => Ok(of_order(integer)),
    }
}

/// What wrapping arithmetic has of a sum.
#[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
const fn wrapped(sum: i128) -> i64 {
    sum as i64
}

fn power(places: usize) -> Result<f64, Malformed> {
    POWERS.get(places).copied().ok_or(Malformed("places"))
}

#[inline]
fn of_order(place: i64) -> f64 {
    f64::from_bits(order(place).cast_unsigned())
}

fn sparse(
    reader: &mut Reader<'_>,
    scale: Scale,
    count: usize,
    wanted: Range<usize>,
    out: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let mut integer = reader.signed()?;
    let factor = reader.varint()?.cast_signed();
    let first = out.len();
    // How long `out` is when it has what is wanted of the first `at` values.
    let len = |at: usize| first + at.clamp(wanted.start, wanted.end) - wanted.start;
    let mut at = 0_usize;
    while !reader.is_empty() {
        at += reader.count(count)?;
        if at >= count {
            return Err(Malformed("values"));
        }
        out.resize(len(at), value(integer, scale)?);
        // A step is never 0, so that this is one less.
        let step = unzigzag(reader.varint()?.wrapping_add(1));
        integer = integer.wrapping_add(step.wrapping_mul(factor));
        at += 1;
        out.resize(len(at), value(integer, scale)?);
    }
    out.resize(len(count), value(integer, scale)?);
    Ok(())
}

/// From word to word along a lane.
struct Walk {
    codec: u8,
    integer: i64,
    factor: i64,
    /// The step that is usual, or the one before.
    step: i64,
}

impl Walk {
    fn read(reader: &mut Reader<'_>, codec: u8) -> Result<Self, Malformed> {
        let integer = reader.signed()?;
        let factor = reader.varint()?.cast_signed();
        let step = match codec {
            LEVELS => 0,
            STEPS | CURVES => reader.signed()?,
            _ => return Err(Malformed("codec")),
        };
        Ok(Self { codec, integer, factor, step })
    }

    fn values(
        mut self,
        lane: Lane<'_>,
        scale: Scale,
        count: usize,
        wanted: Range<usize>,
        out: &mut Vec<f64>,
    ) -> Result<(), Malformed> {
        let corrected = matches!(scale, Scale::Corrected(_));
        if lane.shape.planes() == 0 || lane.shape.has_two_lanes() != corrected {
            return Err(Malformed("shape"));
        }
        out.reserve(wanted.len());
        let mut chunk = [0; CHUNK];
        let mut corrections = [0; CHUNK];
        let first = wanted.start - wanted.start % CHUNK;
        self.skip(lane, first)?;
        for at in (first..wanted.end).step_by(CHUNK) {
            let (words, _) = chunk.split_at_mut(CHUNK.min(wanted.end - at));
            lane.words(at, words)?;
            self.integers(words, at == 0);
            let unwanted = wanted.start.saturating_sub(at);
            let integers = words.iter().skip(unwanted).map(|word| word.cast_signed());
            match scale {
                // A division by one may be left out, a division by ten may not be a multiplication.
                Scale::Decimal(0) => out.extend(integers.map(|integer| quotient(integer, 1.0))),
                Scale::Decimal(places) => {
                    let power = power(places)?;
                    out.extend(integers.map(|integer| quotient(integer, power)));
                }
                Scale::Float => out.extend(integers.map(of_order)),
                Scale::Corrected(places) => {
                    let power = power(places)?;
                    let (further, _) = corrections.split_at_mut(words.len());
                    lane.words(count + at, further)?;
                    let further = further.iter().skip(unwanted);
                    out.extend(integers.zip(further).map(|(integer, &further)| {
                        let near = order(quotient(integer, power).to_bits().cast_signed());
                        of_order(near.wrapping_add(unzigzag(further)))
                    }));
                }
            }
        }
        Ok(())
    }

    /// Comes to the word at `to`, a multiple of [`CHUNK`], without making integers where it need
    /// not.
    fn skip(&mut self, lane: Lane<'_>, to: usize) -> Result<(), Malformed> {
        let Some(last) = to.checked_sub(1) else { return Ok(()) };
        match self.codec {
            LEVELS => {}
            STEPS => {
                // To the first integer no step leads.
                let usual = i128::from(self.step) * last as i128;
                let steps = wrapped(lane.sum(to)? + usual);
                self.integer = self.integer.wrapping_add(steps.wrapping_mul(self.factor));
            }
            _ => {
                let mut words = [0; CHUNK];
                for at in (0..to).step_by(CHUNK) {
                    lane.words(at, &mut words)?;
                    self.integers(&mut words, at == 0);
                }
            }
        }
        Ok(())
    }

    /// Makes words the integers they stand for, in place.
    #[inline]
    fn integers(&mut self, words: &mut [u64], first: bool) {
        let Self { codec, integer, factor, step } = self;
        match *codec {
            LEVELS => {
                for word in words {
                    let above = word.cast_signed().wrapping_mul(*factor);
                    *word = integer.wrapping_add(above).cast_unsigned();
                }
            }
            STEPS => {
                // The first word stands for the first integer, to which no step leads.
                let mut usual = if first { 0 } else { *step };
                for word in words {
                    let by = unzigzag(*word).wrapping_add(usual);
                    *integer = integer.wrapping_add(by.wrapping_mul(*factor));
                    *word = integer.cast_unsigned();
                    usual = *step;
                }
            }
            _ => {
                let mut words = words.iter_mut();
                if first && let Some(word) = words.next() {
                    *word = integer.cast_unsigned();
                }
                for word in words {
                    *step = step.wrapping_add(unzigzag(*word));
                    *integer = integer.wrapping_add(step.wrapping_mul(*factor));
                    *word = integer.cast_unsigned();
                }
            }
        }
    }
}
