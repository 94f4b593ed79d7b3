//! Native histograms of a request, to and from bytes.
//!
//! A sender has its counts as whole numbers, told as differences from bucket to bucket, or as
//! floats. Which of them is for the reader to see: a message of one kind leaves the fields of the
//! other out.

use labstat_model::{
    BucketCount, HISTOGRAM_BUCKETS_MAX, Histogram, HistogramError, HistogramSample, ResetHint,
};
use prost::encoding::{WireType, decode_varint, encode_key, encode_varint};

use super::decode::{DecodeError, Field, Fields, Value};
use super::encode::push_bytes;
use super::tag;

/// Numbers read of one list; one that has more is refused, however many these are.
const NUMBERS_MAX: usize = HISTOGRAM_BUCKETS_MAX + 1;

/// One side of zero as it is sent.
#[derive(Default)]
struct Side {
    spans: Vec<(i32, u32)>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
    is_too_long: bool,
}

impl Side {
    fn buckets(self) -> Result<Vec<BucketCount>, HistogramError> {
        if self.is_too_long {
            return Err(HistogramError::TooManyBuckets);
        }
        if self.deltas.is_empty() {
            return Histogram::spread(&self.spans, &self.counts);
        }
        let mut count = 0_i64;
        let mut counts = Vec::with_capacity(self.deltas.len());
        for delta in self.deltas {
            count = count.checked_add(delta).ok_or(HistogramError::Count)?;
            counts.push(whole(u64::try_from(count).map_err(|_| HistogramError::Count)?));
        }
        Histogram::spread(&self.spans, &counts)
    }

    fn span(&mut self, mut fields: Fields<'_>) -> Result<(), DecodeError> {
        let (mut offset, mut len) = (0, 0);
        while let Some(field) = fields.next()? {
            match (field.tag, field.value) {
                (tag::SPAN_OFFSET, Value::Varint(number)) => offset = zigzag(number),
                (tag::SPAN_LEN, Value::Varint(number)) => len = number,
                (tag::SPAN_OFFSET | tag::SPAN_LEN, _) => return Err(fields.wrong_type(&field)),
                _ => {}
            }
        }
        match (i32::try_from(offset), u32::try_from(len)) {
            (Ok(offset), Ok(len)) if self.spans.len() < NUMBERS_MAX => {
                self.spans.push((offset, len));
            }
            _ => self.is_too_long = true,
        }
        Ok(())
    }

    fn deltas(&mut self, fields: &Fields<'_>, field: &Field<'_>) -> Result<(), DecodeError> {
        let deltas = &mut self.deltas;
        self.is_too_long |= varints(fields, field, |number| {
            deltas.push(zigzag(number));
            deltas.len() < NUMBERS_MAX
        })?;
        Ok(())
    }

    fn counts(&mut self, fields: &Fields<'_>, field: &Field<'_>) -> Result<(), DecodeError> {
        self.is_too_long |= doubles(fields, field, &mut self.counts)?;
        Ok(())
    }
}

const fn zigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

#[expect(clippy::cast_precision_loss, reason = "as any reader of floats has it")]
const fn whole(number: u64) -> f64 {
    number as f64
}

/// Varints, packed or one by one, until `take` has enough; says whether it had.
fn varints(
    fields: &Fields<'_>,
    field: &Field<'_>,
    mut take: impl FnMut(u64) -> bool,
) -> Result<bool, DecodeError> {
    let mut bytes = match field.value {
        Value::Varint(number) => return Ok(!take(number)),
        Value::Bytes(bytes) => bytes,
        _ => return Err(fields.wrong_type(field)),
    };
    while !bytes.is_empty() {
        let number = decode_varint(&mut bytes).map_err(|cause| fields.malformed(field, cause))?;
        if !take(number) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Doubles, packed or one by one; says whether there are too many.
fn doubles(
    fields: &Fields<'_>,
    field: &Field<'_>,
    out: &mut Vec<f64>,
) -> Result<bool, DecodeError> {
    match field.value {
        Value::Fixed64(bits) => out.push(f64::from_bits(bits)),
        Value::Bytes(bytes) => {
            let (numbers, rest) = bytes.as_chunks::<{ size_of::<f64>() }>();
            if !rest.is_empty() {
                return Err(fields.wrong_type(field));
            }
            let room = NUMBERS_MAX.saturating_sub(out.len());
            out.extend(numbers.iter().take(room).map(|bytes| f64::from_le_bytes(*bytes)));
        }
        _ => return Err(fields.wrong_type(field)),
    }
    Ok(out.len() >= NUMBERS_MAX)
}

/// A histogram as its message has it.
#[derive(Default)]
struct Raw {
    histogram: Histogram,
    schema: i64,
    is_float: bool,
    positive: Side,
    negative: Side,
    bounds: Vec<f64>,
    is_too_long: bool,
    time_ms: i64,
}

impl Raw {
    fn read(mut fields: Fields<'_>) -> Result<Self, DecodeError> {
        let mut raw = Self::default();
        while let Some(field) = fields.next()? {
            raw.field(&fields, &field)?;
        }
        Ok(raw)
    }

    fn field(&mut self, fields: &Fields<'_>, field: &Field<'_>) -> Result<(), DecodeError> {
        let histogram = &mut self.histogram;
        match (field.tag, field.value) {
            (tag::HISTOGRAM_COUNT_INT, Value::Varint(number)) => histogram.count = whole(number),
            (tag::HISTOGRAM_COUNT_FLOAT, Value::Fixed64(bits)) => {
                (histogram.count, self.is_float) = (f64::from_bits(bits), true);
            }
            (tag::HISTOGRAM_SUM, Value::Fixed64(bits)) => histogram.sum = f64::from_bits(bits),
            (tag::HISTOGRAM_SCHEMA, Value::Varint(number)) => self.schema = zigzag(number),
            (tag::HISTOGRAM_ZERO_THRESHOLD, Value::Fixed64(bits)) => {
                histogram.zero_threshold = f64::from_bits(bits);
            }
            (tag::HISTOGRAM_ZERO_INT, Value::Varint(number)) => {
                histogram.zero_count = whole(number);
            }
            (tag::HISTOGRAM_ZERO_FLOAT, Value::Fixed64(bits)) => {
                (histogram.zero_count, self.is_float) = (f64::from_bits(bits), true);
            }
            (tag::HISTOGRAM_RESET_HINT, Value::Varint(number)) => {
                histogram.hint = ResetHint::of_number(number);
            }
            (tag::HISTOGRAM_TIME, Value::Varint(number)) => self.time_ms = number.cast_signed(),
            (tag::HISTOGRAM_NEGATIVE_SPANS, _) => {
                self.negative.span(fields.inner("histogram span", field)?)?;
            }
            (tag::HISTOGRAM_NEGATIVE_DELTAS, _) => self.negative.deltas(fields, field)?,
            (tag::HISTOGRAM_NEGATIVE_COUNTS, _) => self.negative.counts(fields, field)?,
            (tag::HISTOGRAM_POSITIVE_SPANS, _) => {
                self.positive.span(fields.inner("histogram span", field)?)?;
            }
            (tag::HISTOGRAM_POSITIVE_DELTAS, _) => self.positive.deltas(fields, field)?,
            (tag::HISTOGRAM_POSITIVE_COUNTS, _) => self.positive.counts(fields, field)?,
            (tag::HISTOGRAM_BOUNDS, _) => {
                self.is_too_long |= doubles(fields, field, &mut self.bounds)?;
            }
            (tag::HISTOGRAM_COUNT_INT..=tag::HISTOGRAM_TIME, _) => {
                return Err(fields.wrong_type(field));
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Histogram, HistogramError> {
        if self.histogram.is_stale() {
            return Ok(self.histogram);
        }
        self.is_float |= !self.positive.counts.is_empty() || !self.negative.counts.is_empty();
        self.histogram.schema =
            i32::try_from(self.schema).map_err(|_| HistogramError::Schema(i32::MAX))?;
        if self.is_too_long {
            return Err(HistogramError::TooManyBuckets);
        }
        self.histogram.positive = self.positive.buckets()?;
        self.histogram.negative = self.negative.buckets()?;
        self.histogram.bounds = self.bounds.into();
        if self.is_float { self.histogram.check() } else { self.histogram.check_whole() }?;
        Ok(self.histogram)
    }
}

/// A histogram of a series. One that is well told and yet none is told why it cannot be taken.
pub(super) fn histogram(fields: Fields<'_>) -> Result<HistogramSample, DecodeError> {
    let raw = Raw::read(fields)?;
    Ok(HistogramSample { time_ms: raw.time_ms, histogram: raw.finish() })
}

/// Appends a histogram to a series, its counts as floats.
pub(super) fn push(out: &mut Vec<u8>, time_ms: i64, histogram: &Histogram) {
    let mut message = Vec::new();
    let double = |message: &mut Vec<u8>, tag: u32, value: f64| {
        encode_key(tag, WireType::SixtyFourBit, message);
        message.extend_from_slice(&value.to_bits().to_le_bytes());
    };
    let varint = |message: &mut Vec<u8>, tag: u32, number: u64| {
        encode_key(tag, WireType::Varint, message);
        encode_varint(number, message);
    };
    double(&mut message, tag::HISTOGRAM_COUNT_FLOAT, histogram.count);
    double(&mut message, tag::HISTOGRAM_SUM, histogram.sum);
    varint(&mut message, tag::HISTOGRAM_SCHEMA, unzigzag(histogram.schema));
    double(&mut message, tag::HISTOGRAM_ZERO_THRESHOLD, histogram.zero_threshold);
    double(&mut message, tag::HISTOGRAM_ZERO_FLOAT, histogram.zero_count);
    push_side(
        &mut message,
        (tag::HISTOGRAM_NEGATIVE_SPANS, tag::HISTOGRAM_NEGATIVE_COUNTS),
        &histogram.negative,
    );
    push_side(
        &mut message,
        (tag::HISTOGRAM_POSITIVE_SPANS, tag::HISTOGRAM_POSITIVE_COUNTS),
        &histogram.positive,
    );
    varint(&mut message, tag::HISTOGRAM_RESET_HINT, histogram.hint as u64);
    varint(&mut message, tag::HISTOGRAM_TIME, time_ms.cast_unsigned());
    push_doubles(&mut message, tag::HISTOGRAM_BOUNDS, histogram.bounds.iter().copied());
    push_bytes(out, tag::SERIES_HISTOGRAMS, &message);
}

fn push_side(message: &mut Vec<u8>, (spans, counts): (u32, u32), side: &[BucketCount]) {
    // Where the last span ended; the first one's offset is from index 0.
    let mut next = 0;
    for run in side.chunk_by(|a, b| a.index.checked_add(1) == Some(b.index)) {
        let Some(first) = run.first() else { continue };
        let mut span = Vec::new();
        encode_key(tag::SPAN_OFFSET, WireType::Varint, &mut span);
        encode_varint(unzigzag(first.index.saturating_sub(next)), &mut span);
        encode_key(tag::SPAN_LEN, WireType::Varint, &mut span);
        encode_varint(run.len() as u64, &mut span);
        push_bytes(message, spans, &span);
        next = run.last().map_or(next, |last| last.index.saturating_add(1));
    }
    push_doubles(message, counts, side.iter().map(|bucket| bucket.count));
}

fn push_doubles(message: &mut Vec<u8>, tag: u32, numbers: impl Iterator<Item = f64>) {
    let packed: Vec<u8> = numbers.flat_map(|number| number.to_bits().to_le_bytes()).collect();
    if !packed.is_empty() {
        push_bytes(message, tag, &packed);
    }
}

fn unzigzag(number: i32) -> u64 {
    let wide = i64::from(number);
    (wide << 1 ^ wide >> 63).cast_unsigned()
}
