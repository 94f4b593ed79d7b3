//! Records of the append log: what one group of writes accepted, by series id.
//!
//! One record is one row and stands on its own, so that a damaged one costs itself only. So there
//! is nothing to take a difference to but the record's other samples: ids and times nearly vanish
//! beside their neighbours, and values are written as decimals where they are some, which most
//! are, in as many bytes as they need. Columns of equal things are what zstd makes smaller still.
//! A record of few samples has no columns to speak of and is written row by row, as version 1.
//!
//! Pure; the layout is in `docs/formats/store.md`.

use std::fmt;

use crate::varint::{
    Malformed, Reader, VARINT_LEN_MAX, push, push_signed, seal, unseal, unzigzag, zigzag,
};

/// Samples row by row.
const VERSION_ROWS: u8 = 1;

/// Samples in columns, compressed.
const VERSION_COLUMNS: u8 = 2;

/// Samples of one record; a larger group has several. Bounds what reading one takes.
pub(crate) const ENTRIES_MAX: usize = 65_536;

/// Fewer samples than this are written row by row.
const COLUMNS_MIN: usize = 64;

/// Bytes of a record's columns for each sample at the most: id, time, class, value.
const ENTRY_LEN_MAX: usize = 5 + 10 + 1 + 8;

/// The fastest level that still finds repetitions; every write waits for it.
const ZSTD_LEVEL: i32 = 1;

/// Says in version 1 that eight raw bytes follow. Its lowest bit tells it from an integer.
const BITS: u64 = 1;

/// Integers below this are written as such; the bound leaves room for the bit that says so.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// The class of a value that is no decimal; eight raw bytes follow.
const CLASS_BITS: u8 = 0xff;

/// A class has the decimal places above these bits and the number of bytes in them.
const CLASS_SHIFT: u32 = 4;
const CLASS_LEN_MASK: u8 = 0xf;

/// Ten to the power of the decimal places that are tried: nanoseconds are the finest there are.
const POWERS: [f64; 10] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// One accepted sample: series, time in milliseconds, bits of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) series: u32,
    pub(crate) time_ms: i64,
    pub(crate) bits: u64,
}

/// Makes records, in buffers that it keeps.
pub(crate) struct Encoder {
    /// `None` when there was no memory for it.
    zstd: Option<zstd::bulk::Compressor<'static>>,
    columns: Vec<u8>,
    values: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Self {
        let zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok();
        Self { zstd, columns: Vec::new(), values: Vec::new() }
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Encoder {
    /// The record of `entries`, at most [`ENTRIES_MAX`], for the row `id`.
    pub(crate) fn encode(&mut self, id: i64, entries: &[Entry]) -> Vec<u8> {
        if entries.len() < COLUMNS_MIN {
            return encode_rows(id, entries);
        }
        self.lay_columns(entries);
        let packed = self.zstd.as_mut().and_then(|zstd| zstd.compress(&self.columns).ok());
        // Compression fails for want of memory only.
        let Some(packed) = packed else { return encode_rows(id, entries) };
        let mut out = Vec::with_capacity(packed.len() + 16);
        out.push(VERSION_COLUMNS);
        push(&mut out, self.columns.len() as u64);
        out.extend_from_slice(&packed);
        seal(id, &mut out);
        out
    }

    fn lay_columns(&mut self, entries: &[Entry]) {
        let columns = &mut self.columns;
        columns.clear();
        columns.reserve(entries.len() * 8);
        push(columns, entries.len() as u64);
        let mut last_series = 0_i64;
        for entry in entries {
            push_signed(columns, i64::from(entry.series) - last_series);
            last_series = i64::from(entry.series);
        }
        let mut last_ms = 0_i64;
        for entry in entries {
            push_signed(columns, entry.time_ms.wrapping_sub(last_ms));
            last_ms = entry.time_ms;
        }
        // All eight bytes are written, and those that are not needed overwritten by the next.
        self.values.clear();
        self.values.resize(entries.len() * 8, 0);
        let mut at = 0;
        for entry in entries {
            let (class, word) = classify(entry.bits);
            columns.push(class);
            if let Some(place) = self.values.get_mut(at..at + 8) {
                place.copy_from_slice(&word.to_le_bytes());
            }
            at += value_len(class);
        }
        columns.extend_from_slice(self.values.get(..at).unwrap_or_default());
    }
}

/// The class of a value, and the word whose lowest bytes tell it.
#[inline]
fn classify(bits: u64) -> (u8, u64) {
    if let Some(integer) = as_integer(bits) {
        return (class_of(0, zigzag(integer)), zigzag(integer));
    }
    match as_decimal(bits) {
        Some((places, integer)) => (class_of(places, zigzag(integer)), zigzag(integer)),
        None => (CLASS_BITS, bits),
    }
}

const fn class_of(places: u8, word: u64) -> u8 {
    let len = word_len(word);
    places << CLASS_SHIFT | len
}

/// The bytes that a word needs.
#[expect(clippy::cast_possible_truncation, reason = "eight at the most")]
const fn word_len(word: u64) -> u8 {
    (64 - word.leading_zeros()).div_ceil(8) as u8
}

/// The bytes that a value of this class has; more than eight when there is no such class.
const fn value_len(class: u8) -> usize {
    match class {
        CLASS_BITS => 8,
        _ => (class & CLASS_LEN_MASK) as usize,
    }
}

/// The fewest decimal places, of those in [`POWERS`], and the integer that make these very bits.
fn as_decimal(bits: u64) -> Option<(u8, i64)> {
    let value = f64::from_bits(bits);
    if value.is_nan() || value.abs() >= INTEGER_MAX {
        return None;
    }
    for (places, power) in (0_u8..).zip(POWERS) {
        let scaled = (value * power).round_ties_even();
        if scaled.abs() < INTEGER_MAX && (scaled / power).to_bits() == bits {
            // A -0 has other bits than the 0 that would come of its integer.
            let integer = as_integer(scaled.to_bits())?;
            return Some((places, integer));
        }
    }
    None
}

/// The entries of the record in row `id`.
pub(crate) fn decode(id: i64, record: &[u8]) -> Result<Vec<Entry>, Malformed> {
    let mut reader = Reader::new(unseal(id, record)?);
    match reader.byte()? {
        VERSION_ROWS => decode_rows(reader),
        VERSION_COLUMNS => {
            let len = reader.count(ENTRIES_MAX * ENTRY_LEN_MAX + VARINT_LEN_MAX)?;
            let columns = zstd::bulk::decompress(reader.rest(), len);
            let columns = columns.map_err(|_| Malformed("log frame"))?;
            if columns.len() == len {
                decode_columns(&columns)
            } else {
                Err(Malformed("log frame"))
            }
        }
        _ => Err(Malformed("log version")),
    }
}

/// A record whose content is anything at all: what decoders must stand.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn record_of(version: u8, id: i64, content: &[u8]) -> Vec<u8> {
    let mut out = vec![version];
    if version == VERSION_COLUMNS {
        push(&mut out, content.len() as u64);
        out.extend(zstd::bulk::compress(content, ZSTD_LEVEL).unwrap_or_default());
    } else {
        out.extend_from_slice(content);
    }
    seal(id, &mut out);
    out
}

fn decode_columns(columns: &[u8]) -> Result<Vec<Entry>, Malformed> {
    let mut reader = Reader::new(columns);
    // A sample has three bytes at the least, which bounds the count and what is had for it.
    let count = reader.count(columns.len() / 3)?;
    let mut entries = Vec::with_capacity(count);
    let mut series = 0_i64;
    for _ in 0..count {
        series = series.wrapping_add(reader.signed()?);
        let series = u32::try_from(series).map_err(|_| Malformed("series id"))?;
        entries.push(Entry { series, time_ms: 0, bits: 0 });
    }
    let mut time_ms = 0_i64;
    for entry in &mut entries {
        time_ms = time_ms.wrapping_add(reader.signed()?);
        entry.time_ms = time_ms;
    }
    let classes = reader.bytes(count)?;
    for (entry, &class) in entries.iter_mut().zip(classes) {
        entry.bits = value_of_class(class, reader.bytes(value_len(class))?)?;
    }
    if reader.is_empty() { Ok(entries) } else { Err(Malformed("log columns")) }
}

#[inline]
fn value_of_class(class: u8, bytes: &[u8]) -> Result<u64, Malformed> {
    let mut word = [0; 8];
    word.get_mut(..bytes.len()).ok_or(Malformed("value class"))?.copy_from_slice(bytes);
    let word = u64::from_le_bytes(word);
    if class == CLASS_BITS {
        return Ok(word);
    }
    let power = POWERS.get(usize::from(class >> CLASS_SHIFT)).ok_or(Malformed("value class"))?;
    #[expect(clippy::cast_precision_loss, reason = "encoders write integers below 2^53")]
    let integer = unzigzag(word) as f64;
    Ok((integer / power).to_bits())
}

/// The record of `entries` in version 1. Entries of one series that follow each other share its
/// id.
fn encode_rows(id: i64, entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + entries.len() * 6);
    out.push(VERSION_ROWS);
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

fn decode_rows(mut reader: Reader<'_>) -> Result<Vec<Entry>, Malformed> {
    let mut entries = Vec::new();
    let mut series = 0_i64;
    let mut time_ms = 0_i64;
    while !reader.is_empty() {
        let word = reader.varint()?;
        series = series.wrapping_add(unzigzag(word >> 1));
        let id = u32::try_from(series).map_err(|_| Malformed("series id"))?;
        // An entry has two bytes at the least, so the record bounds the count.
        let count = if word & 1 == 1 { reader.count(reader.rest().len())? } else { 1 };
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

    fn encode(id: i64, entries: &[Entry]) -> Vec<u8> {
        Encoder::default().encode(id, entries)
    }

    /// A round of some nodes: counters, sensors, byte counts, averages, zeros.
    fn round() -> Vec<Entry> {
        let value = |at: u32| match at % 5 {
            0 => 0.0,
            1 => f64::from(at) * 1234.0,
            2 => f64::from(at % 70) / 4.0,
            3 => f64::from(at) * 4096.0 * 1000.0,
            _ => f64::from(at).sqrt(),
        };
        let entry = |at| Entry {
            series: 100 + at,
            time_ms: 1_700_000_000_000 + i64::from(at / 500),
            bits: value(at).to_bits(),
        };
        (0..2000).map(entry).collect()
    }

    #[test]
    fn a_round_takes_few_bytes() {
        let entries = round();
        let record = encode(1, &entries);
        assert_eq!(decode(1, &record).unwrap(), entries);
        assert!(record.len() <= 4 * entries.len(), "{}", record.len());
        let rows = encode_rows(1, &entries);
        assert!(record.len() * 3 < rows.len() * 2, "{} of {}", record.len(), rows.len());
    }

    #[test]
    fn both_versions_are_read() {
        let entries = round();
        assert_eq!(encode(7, &entries)[0], VERSION_COLUMNS);
        assert_eq!(encode(7, &entries[..3])[0], VERSION_ROWS, "there are no columns to speak of");
        assert_eq!(decode(7, &encode_rows(7, &entries)), Ok(entries));
        assert!(
            decode(7, &{
                let mut other = vec![3];
                seal(7, &mut other);
                other
            })
            .is_err()
        );
    }

    /// As an earlier version wrote it, byte by byte.
    #[test]
    fn a_record_of_version_1_is_read() {
        // Series 2 has 0.5 at 123 ms; series 5 has 7 and -1 at 125 and 124 ms.
        let mut record = vec![1, 8, 246, 1, 1, 0, 0, 0, 0, 0, 0, 224, 63, 13, 2, 4, 28, 1, 2];
        seal(5, &mut record);
        let wanted = [(2, 123, 0.5_f64), (5, 125, 7.0), (5, 124, -1.0)];
        let wanted =
            wanted.map(|(series, time_ms, value)| Entry { series, time_ms, bits: value.to_bits() });
        assert_eq!(decode(5, &record).unwrap(), wanted);
        assert_eq!(encode(5, &wanted), record);
    }

    #[test]
    fn the_largest_record_is_read() {
        let entry = |at: u64| {
            let series = if at & 1 == 0 { 0 } else { u32::MAX };
            let time_ms = if at & 1 == 0 { i64::MIN } else { i64::MAX / 3 };
            Entry { series, time_ms, bits: at.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 62 }
        };
        let entries: Vec<Entry> = (0..ENTRIES_MAX as u64).map(entry).collect();
        assert_eq!(decode(1, &encode(1, &entries)), Ok(entries));
    }

    fn any_bits() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            any::<i16>().prop_map(|value| f64::from(value).to_bits()),
            (any::<i32>(), 0_usize..10)
                .prop_map(|(value, places)| (f64::from(value) / POWERS[places]).to_bits()),
            prop::sample::select(vec![-0.0_f64, f64::NAN, f64::INFINITY, 5e-324, INTEGER_MAX])
                .prop_map(f64::to_bits),
        ]
    }

    proptest! {
        #[test]
        fn round_trip(
            raw in prop::collection::vec((any::<u32>(), any::<i64>(), any_bits()), 0..200),
        ) {
            let entry = |(series, time_ms, bits)| Entry { series, time_ms, bits };
            let entries: Vec<Entry> = raw.into_iter().map(entry).collect();
            prop_assert_eq!(decode(9, &encode(9, &entries)), Ok(entries.clone()));
            prop_assert_eq!(decode(9, &encode_rows(9, &entries)), Ok(entries));
        }

        #[test]
        fn every_float_has_a_class(bits in any_bits()) {
            let (class, word) = classify(bits);
            let bytes = word.to_le_bytes();
            prop_assert_eq!(value_of_class(class, &bytes[..value_len(class)]), Ok(bits));
        }

        #[test]
        fn a_flipped_bit_is_found(at in any::<prop::sample::Index>(), bit in 0..8_u32, many in any::<bool>()) {
            let count = if many { 100 } else { 5 };
            let mut record = encode(3, &vec![Entry { series: 1, time_ms: 2, bits: 3 }; count]);
            let at = at.index(record.len());
            record[at] ^= 1_u8 << bit;
            prop_assert!(decode(3, &record).is_err());
        }

        #[test]
        fn any_content_is_refused_or_read(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            version in prop::sample::select(vec![VERSION_ROWS, VERSION_COLUMNS]),
        ) {
            let _ = decode(1, &record_of(version, 1, &bytes));
            let mut bare = [&[version], &*bytes].concat();
            seal(1, &mut bare);
            let _ = decode(1, &bare);
        }
    }
}
