//! Prometheus remote read, the asking side: how another server is asked for raw samples.
//!
//! Its query API leaves the markers of staleness out of what it gives; this protocol has them.
//! Samples are asked for as they are, not as encoded chunks.
//!
//! ```text
//! ReadRequest    1 queries*
//! Query          1 start_timestamp_ms int64   2 end_timestamp_ms int64   3 matchers*
//! LabelMatcher   1 type enum (= != =~ !~)     2 name                     3 value
//! ReadResponse   1 results*
//! QueryResult    1 timeseries* (those of a write request)
//! ```
//!
//! Source: `remote.proto` and `types.proto` of Prometheus. Not here: answering such requests.

use labstat_model::{Labels, MatchOp, Matcher, Series};
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

use crate::remote_write::{EncodeError, compress};

/// The header that names the protocol's version, and its value.
pub const VERSION_HEADER: (&str, &str) = ("x-prometheus-remote-read-version", "0.1.0");

/// Bytes that a sample takes in an answer at most: its key and length, and a key with each of its
/// two numbers.
const SAMPLE_LEN_MAX: usize = 24;

/// Bytes of an answer that are no samples: the labels of a hundred thousand series and more.
const LABELS_LEN_MAX: usize = 64 * 1024 * 1024;

/// Why an answer could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It has more samples than asked for.
    #[error("more than {max} samples (ask for fewer series or a shorter range)")]
    TooManySamples {
        /// The bound.
        max: usize,
    },
    /// It is no snappy block.
    #[error("the answer is not a valid snappy block")]
    Snappy(#[source] snap::Error),
    /// The message breaks off or is no protobuf.
    #[error("failed to parse the answer")]
    Protobuf(#[source] prost::DecodeError),
    /// A field claims to be longer than what holds it, or is of another type than it should be.
    #[error("{0} of the answer is malformed")]
    Malformed(&'static str),
}

/// The body that asks for the samples from `start_ms` to `end_ms`, both included, of the series
/// that fulfil all matchers.
pub fn encode(matchers: &[Matcher], start_ms: i64, end_ms: i64) -> Result<Vec<u8>, EncodeError> {
    let mut query = Vec::new();
    for (tag, time_ms) in [(1, start_ms), (2, end_ms)] {
        encode_key(tag, WireType::Varint, &mut query);
        encode_varint(time_ms.cast_unsigned(), &mut query);
    }
    for matcher in matchers {
        let mut fields = Vec::new();
        let op = match matcher.op() {
            MatchOp::Equal => 0,
            MatchOp::NotEqual => 1,
            MatchOp::Regex => 2,
            MatchOp::NotRegex => 3,
        };
        encode_key(1, WireType::Varint, &mut fields);
        encode_varint(op, &mut fields);
        push_bytes(&mut fields, 2, matcher.name().as_bytes());
        push_bytes(&mut fields, 3, matcher.value().as_bytes());
        push_bytes(&mut query, 3, &fields);
    }
    let mut request = Vec::new();
    push_bytes(&mut request, 1, &query);
    compress(&request)
}

/// The body that asks for nothing, to learn whether a server speaks the protocol.
pub fn encode_nothing() -> Result<Vec<u8>, EncodeError> {
    compress(&[])
}

/// The most bytes that an answer with `samples_max` samples can have, compressed or not.
pub fn body_len_max(samples_max: usize) -> usize {
    samples_max.saturating_mul(SAMPLE_LEN_MAX).saturating_add(LABELS_LEN_MAX)
}

/// The series of an answer, with their samples in the order they came, which a careless server may
/// have mixed up. Native histograms are left out.
pub fn decode(body: &[u8], samples_max: usize) -> Result<Vec<Series>, DecodeError> {
    let too_many = DecodeError::TooManySamples { max: samples_max };
    let claimed = snap::raw::decompress_len(body).map_err(DecodeError::Snappy)?;
    if claimed > body_len_max(samples_max) {
        return Err(too_many);
    }
    let message = snap::raw::Decoder::new().decompress_vec(body).map_err(DecodeError::Snappy)?;
    let mut all = Vec::new();
    let mut room = samples_max;
    let mut results = Fields(&message);
    while let Some((tag, value)) = results.next()? {
        let (1, Value::Bytes(result)) = (tag, value) else { continue };
        let mut fields = Fields(result);
        while let Some((tag, value)) = fields.next()? {
            let (1, Value::Bytes(fields)) = (tag, value) else { continue };
            let series = series(Fields(fields))?;
            room = match room.checked_sub(series.len()) {
                Some(room) => room,
                None => return Err(too_many),
            };
            if !series.is_empty() {
                all.push(series);
            }
        }
    }
    Ok(all)
}

fn series(mut fields: Fields<'_>) -> Result<Series, DecodeError> {
    let mut labels = Vec::new();
    let (mut times, mut values) = (Vec::new(), Vec::new());
    while let Some((tag, value)) = fields.next()? {
        match (tag, value) {
            (1, Value::Bytes(fields)) => labels.push(label(Fields(fields))?),
            (2, Value::Bytes(fields)) => {
                let (time_ms, value) = sample(Fields(fields))?;
                times.push(time_ms);
                values.push(value);
            }
            _ => {}
        }
    }
    Ok(Series { labels: Labels::new(labels), times, values })
}

fn label<'a>(mut fields: Fields<'a>) -> Result<(&'a str, &'a str), DecodeError> {
    let mut label = ("", "");
    while let Some((tag, value)) = fields.next()? {
        let Value::Bytes(bytes) = value else { continue };
        let text = || str::from_utf8(bytes).map_err(|_| DecodeError::Malformed("a label"));
        match tag {
            1 => label.0 = text()?,
            2 => label.1 = text()?,
            _ => {}
        }
    }
    Ok(label)
}

fn sample(mut fields: Fields<'_>) -> Result<(i64, f64), DecodeError> {
    let mut sample = (0, 0.0);
    while let Some((tag, value)) = fields.next()? {
        match (tag, value) {
            (1, Value::Fixed64(bits)) => sample.1 = f64::from_bits(bits),
            (2, Value::Varint(number)) => sample.0 = number.cast_signed(),
            (1 | 2, _) => return Err(DecodeError::Malformed("a sample")),
            _ => {}
        }
    }
    Ok(sample)
}

fn push_bytes(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// The value of a field.
#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    /// Of a type that no message here has.
    Other,
}

/// The fields of a message, one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, DecodeError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (tag, wire_type) = decode_key(&mut self.0).map_err(DecodeError::Protobuf)?;
        let value = match wire_type {
            WireType::Varint => {
                Value::Varint(decode_varint(&mut self.0).map_err(DecodeError::Protobuf)?)
            }
            WireType::SixtyFourBit => {
                let bytes = self.take(8)?.try_into();
                let bytes = bytes.map_err(|_| DecodeError::Malformed("a number"))?;
                Value::Fixed64(u64::from_le_bytes(bytes))
            }
            WireType::ThirtyTwoBit => {
                self.take(4)?;
                Value::Other
            }
            WireType::LengthDelimited => {
                let len = decode_varint(&mut self.0).map_err(DecodeError::Protobuf)?;
                Value::Bytes(self.take(usize::try_from(len).unwrap_or(usize::MAX))?)
            }
            WireType::StartGroup | WireType::EndGroup => {
                return Err(DecodeError::Malformed("a group"));
            }
        };
        Ok(Some((tag, value)))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let split = self.0.split_at_checked(len);
        let (taken, rest) = split.ok_or(DecodeError::Malformed("a length"))?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use labstat_model::{Sample, is_stale, stale_marker};
    use proptest::prelude::*;

    use super::*;
    use crate::remote_write::{Message, decompress};

    /// An answer with one result, whose series are made as those of a write request.
    fn answer(series: &Message) -> Vec<u8> {
        let mut response = Vec::new();
        push_bytes(&mut response, 1, series.as_bytes());
        compress(&response).unwrap()
    }

    #[test]
    fn series_come_with_their_markers() {
        let mut message = Message::new();
        let samples = [(-1, 1.5), (7, stale_marker())];
        let samples = samples.map(|(time_ms, value)| Sample { time_ms, value });
        message.series([("__name__", "up"), ("job", "a")], samples);
        message.series([("__name__", "empty")], []);
        let found = decode(&answer(&message), 2).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].labels, Labels::new([("__name__", "up"), ("job", "a")]));
        assert_eq!(found[0].times, [-1, 7]);
        assert!(found[0].values[0] == 1.5 && is_stale(found[0].values[1]));
        let error = decode(&answer(&message), 1).unwrap_err();
        assert!(error.to_string().starts_with("more than 1 samples"), "{error}");
    }

    #[test]
    fn a_request_names_times_and_matchers() {
        let matchers = [
            Matcher::equal("__name__", "up"),
            Matcher::new("job", MatchOp::NotRegex, "a|b").unwrap(),
        ];
        let body = decompress(&encode(&matchers, 5, 300).unwrap()).unwrap();
        let inner = b"\x08\x05\x10\xac\x02\x1a\x10\x08\x00\x12\x08__name__\x1a\x02up\x1a\x0c\x08\x03\x12\x03job\x1a\x03a|b";
        let mut wanted = vec![0x0a, u8::try_from(inner.len()).unwrap()];
        wanted.extend_from_slice(inner);
        assert_eq!(body, wanted);
        assert_eq!(decompress(&encode_nothing().unwrap()).unwrap(), b"");
    }

    #[test]
    fn a_block_that_claims_too_much_is_refused_before_memory_is_had_for_it() {
        // A snappy header that claims 4 GiB.
        let error = decode(b"\xff\xff\xff\xff\x0f", 10).unwrap_err();
        assert!(matches!(error, DecodeError::TooManySamples { .. }), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes, 100);
            let _ = decode(&compress(&bytes).unwrap(), 100);
        }
    }
}
