//! Heads and lanes back to values.

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
}

/// Puts the first `len` of the `count` values of a column into `out`, in place of what is there.
pub(crate) fn values_into(
    head: &[u8],
    lane: Lane<'_>,
    count: usize,
    len: usize,
    out: &mut Vec<f64>,
) -> Result<(), Malformed> {
    out.clear();
    let len = len.min(count);
    if count > COLUMN_LEN_MAX {
        return Err(Malformed("values"));
    }
    if len == 0 {
        return Ok(());
    }
    let mut reader = Reader::new(head);
    let codec = reader.byte()?;
    if codec == CONSTANT {
        out.resize(len, f64::from_bits(reader.u64_le()?));
    } else {
        let scale = Scale::of_byte(reader.byte()?)?;
        let exceptions = exceptions(&mut reader, count)?;
        match codec {
            SPARSE => sparse(&mut reader, scale, count, len, out)?,
            _ => Walk::read(&mut reader, codec)?.values(lane, scale, count, len, out)?,
        }
        for (at, bits) in exceptions {
            if let Some(value) = out.get_mut(at) {
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
    len: usize,
    out: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let mut integer = reader.signed()?;
    let factor = reader.varint()?.cast_signed();
    let mut at = 0_usize;
    while !reader.is_empty() {
        at += reader.count(count)?;
        if at >= count {
            return Err(Malformed("values"));
        }
        out.resize(at.min(len), value(integer, scale)?);
        // A step is never 0, so that this is one less.
        let step = unzigzag(reader.varint()?.wrapping_add(1));
        integer = integer.wrapping_add(step.wrapping_mul(factor));
        at += 1;
        out.resize(at.min(len), value(integer, scale)?);
    }
    out.resize(len, value(integer, scale)?);
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
        len: usize,
        out: &mut Vec<f64>,
    ) -> Result<(), Malformed> {
        let corrected = matches!(scale, Scale::Corrected(_));
        if lane.shape.planes() == 0 || lane.shape.has_two_lanes() != corrected {
            return Err(Malformed("shape"));
        }
        out.reserve(len);
        let mut chunk = [0; CHUNK];
        let mut corrections = [0; CHUNK];
        for at in (0..len).step_by(CHUNK) {
            let (words, _) = chunk.split_at_mut(CHUNK.min(len - at));
            lane.words(at, words)?;
            self.integers(words, at == 0);
            let integers = words.iter().map(|word| word.cast_signed());
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
                    out.extend(integers.zip(&*further).map(|(integer, &further)| {
                        let near = order(quotient(integer, power).to_bits().cast_signed());
                        of_order(near.wrapping_add(unzigzag(further)))
                    }));
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
