//! Records of the append log: what one group of writes accepted, by series id.
//!
//! One record is one row and stands on its own, so that a damaged one costs itself only. Pure;
//! the layout is in `docs/formats/store.md`.

use crate::varint::{Malformed, Reader, push, push_signed, seal, unseal, unzigzag, zigzag};

/// The only version there is.
const VERSION: u8 = 1;

/// Says that eight raw bytes follow. Its lowest bit tells it from an integer.
const BITS: u64 = 1;

/// Integers below this are written as such; the bound leaves room for the bit that says so.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// One accepted sample: series, time in milliseconds, bits of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) series: u32,
    pub(crate) time_ms: i64,
    pub(crate) bits: u64,
}

/// The record of `entries` for the row `id`. Entries of one series that follow each other share
/// its id.
pub(crate) fn encode(id: i64, entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + entries.len() * 6);
    out.push(VERSION);
    let mut last_series = 0_i64;
    let mut last_ms = 0_i64;
    for run in entries.chunk_by(|a, b| a.series == b.series) {
        let Some(first) = run.first() else { continue };
        // Nearly every run of a live write has one sample, so one bit says so.
        let many = run.len() > 1;
        push(&mut out, zigzag(i64::from(first.series) - last_series) << 1 | u64::from(many));
        last_series = i64::from(first.series);
        if many {
            push(&mut out, run.len() as u64);
        }
        for entry in run {
            push_signed(&mut out, entry.time_ms.wrapping_sub(last_ms));
            last_ms = entry.time_ms;
            push_value(&mut out, entry.bits);
        }
    }
    seal(id, &mut out);
    out
}

/// The entries of the record in row `id`.
pub(crate) fn decode(id: i64, record: &[u8]) -> Result<Vec<Entry>, Malformed> {
    let mut reader = Reader::new(unseal(id, record)?);
    if reader.byte()? != VERSION {
        return Err(Malformed("log version"));
    }
    let mut entries = Vec::new();
    let mut series = 0_i64;
    let mut time_ms = 0_i64;
    while !reader.is_empty() {
        let word = reader.varint()?;
        series = series.wrapping_add(unzigzag(word >> 1));
        let id = u32::try_from(series).map_err(|_| Malformed("series id"))?;
        // An entry has two bytes at the least, so the record bounds the count.
        let count = if word & 1 == 1 { reader.count(record.len())? } else { 1 };
        for _ in 0..count {
            time_ms = time_ms.wrapping_add(reader.signed()?);
            let bits = value(&mut reader)?;
            entries.push(Entry { series: id, time_ms, bits });
        }
    }
    Ok(entries)
}

/// The integer below 2^53 that these bits are of, if they are; -0 is none.
#[inline]
pub(crate) fn as_integer(bits: u64) -> Option<i64> {
    let value = f64::from_bits(bits);
    #[expect(clippy::cast_possible_truncation, reason = "what does not fit fails the comparison")]
    let integer = value as i64;
    #[expect(clippy::cast_precision_loss, reason = "what is not exact fails the comparison")]
    let back = integer as f64;
    // The comparison of bits keeps -0 apart from 0; a NaN fails both.
    (value.abs() < INTEGER_MAX && back.to_bits() == bits).then_some(integer)
}

fn push_value(out: &mut Vec<u8>, bits: u64) {
    let value = f64::from_bits(bits);
    // The comparison of bits keeps -0 apart from 0; a NaN fails both.
    if value.abs() < INTEGER_MAX && value.trunc().to_bits() == bits && bits != (-0.0_f64).to_bits()
    {
        #[expect(clippy::cast_possible_truncation, reason = "an integer below 2^53")]
        push(out, zigzag(value as i64) << 1);
    } else {
        push(out, BITS);
        out.extend_from_slice(&bits.to_le_bytes());
    }
}

fn value(reader: &mut Reader<'_>) -> Result<u64, Malformed> {
    let word = reader.varint()?;
    if word == BITS {
        return reader.u64_le();
    }
    if word & 1 == 1 {
        return Err(Malformed("value"));
    }
    #[expect(clippy::cast_precision_loss, reason = "encoders write integers below 2^53")]
    Ok((unzigzag(word >> 1) as f64).to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_round_of_integers_takes_few_bytes() {
        let entries: Vec<Entry> = (0..1000)
            .map(|at| Entry {
                series: 100 + at,
                time_ms: 1_700_000_000_000,
                bits: f64::from(at % 60).to_bits(),
            })
            .collect();
        let record = encode(1, &entries);
        assert_eq!(decode(1, &record).unwrap(), entries);
        assert!(record.len() <= 4 * entries.len() + 32, "{}", record.len());
    }

    proptest! {
        #[test]
        fn round_trip(
            raw in prop::collection::vec((any::<u32>(), any::<i64>(), any::<u64>(), any::<i16>()), 0..60),
        ) {
            let mut entries = Vec::new();
            for (series, time_ms, bits, small) in raw {
                entries.push(Entry { series, time_ms, bits });
                entries.push(Entry { series, time_ms, bits: f64::from(small).to_bits() });
                entries.push(Entry { series, time_ms: 5, bits: (-0.0_f64).to_bits() });
            }
            let record = encode(9, &entries);
            prop_assert_eq!(decode(9, &record), Ok(entries));
        }

        #[test]
        fn a_flipped_bit_is_found(at in any::<prop::sample::Index>(), bit in 0..8_u32) {
            let mut record = encode(3, &[Entry { series: 1, time_ms: 2, bits: 3 }; 5]);
            let at = at.index(record.len());
            record[at] ^= 1_u8 << bit;
            prop_assert!(decode(3, &record).is_err());
        }

        #[test]
        fn any_content_is_refused_or_read(mut bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            bytes.insert(0, VERSION);
            seal(1, &mut bytes);
            let _ = decode(1, &bytes);
        }
    }
}
