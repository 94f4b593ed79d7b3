//! Columns as version 1 of the blobs has them: each by itself, its integers as varints.
//!
//! Nothing writes value columns like this any more; regular times are still written so. The layout is in `docs/formats/store.md`.

use super::{COLUMN_LEN_MAX, PLACES_MAX, POWERS};
use crate::varint::{Malformed, Reader};

/// All values have the same bits.
const CONSTANT: u8 = 0;
/// Scaled decimals as differences.
const DELTA: u8 = 1;
/// Scaled decimals as differences of differences.
const DELTA2: u8 = 2;
/// Bits, each exclusive-or the one before, mirrored so that the zeros at the end come first.
const XOR: u8 = 3;
/// Eight bytes each.
const RAW: u8 = 4;

/// Reads `count` times: the first, then runs of equal steps.
pub(crate) fn times(bytes: &[u8], count: usize) -> Result<Vec<i64>, Malformed> {
    if count > COLUMN_LEN_MAX {
        return Err(Malformed("times"));
    }
    let mut times = Vec::with_capacity(count);
    if count == 0 {
        return Ok(times);
    }
    let mut reader = Reader::new(bytes);
    let mut time = reader.signed()?;
    times.push(time);
    while times.len() < count {
        let step = reader.signed()?;
        let run = reader.count(count - times.len())?;
        if run == 0 || step <= 0 {
            return Err(Malformed("times"));
        }
        for _ in 0..run {
            time = time.checked_add(step).ok_or(Malformed("times"))?;
            times.push(time);
        }
    }
    if reader.is_empty() { Ok(times) } else { Err(Malformed("times")) }
}

/// Reads `count` values.
pub(crate) fn values(bytes: &[u8], count: usize) -> Result<Vec<f64>, Malformed> {
    if count > COLUMN_LEN_MAX {
        return Err(Malformed("values"));
    }
    if count == 0 {
        return Ok(Vec::new());
    }
    let mut reader = Reader::new(bytes);
    let codec = reader.byte()?;
    let values = match codec {
        CONSTANT => vec![f64::from_bits(reader.u64_le()?); count],
        DELTA => decimals(&mut reader, count, false)?,
        DELTA2 => decimals(&mut reader, count, true)?,
        XOR => {
            let mut bits = 0_u64;
            let next = |_| {
                bits ^= reader.varint()?.reverse_bits();
                Ok(f64::from_bits(bits))
            };
            (0..count).map(next).collect::<Result<_, _>>()?
        }
        RAW => (0..count).map(|_| reader.u64_le().map(f64::from_bits)).collect::<Result<_, _>>()?,
        _ => return Err(Malformed("codec")),
    };
    if reader.is_empty() { Ok(values) } else { Err(Malformed("values")) }
}

fn decimals(reader: &mut Reader<'_>, count: usize, second: bool) -> Result<Vec<f64>, Malformed> {
    let places = reader.count(PLACES_MAX)?;
    let power = *POWERS.get(places).ok_or(Malformed("places"))?;
    let mut exceptions = Vec::new();
    for _ in 0..reader.count(count)? {
        exceptions.push((reader.count(count)?, reader.u64_le()?));
    }
    let mut integer = reader.signed()?;
    let factor = reader.varint()?.cast_signed();
    let mut values = Vec::with_capacity(count);
    values.push(quotient(integer, power));
    let mut step = 0_i64;
    for _ in 1..count {
        let read = reader.signed()?;
        step = if second { step.wrapping_add(read) } else { read };
        integer = integer.wrapping_add(step.wrapping_mul(factor));
        values.push(quotient(integer, power));
    }
    for (at, bits) in exceptions {
        *values.get_mut(at).ok_or(Malformed("exception"))? = f64::from_bits(bits);
    }
    Ok(values)
}

#[expect(clippy::cast_precision_loss, reason = "encoders write integers below 2^53")]
fn quotient(integer: i64, power: f64) -> f64 {
    integer as f64 / power
}
