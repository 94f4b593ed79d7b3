//! Reading a request's body.

use std::borrow::Cow;

use labstat_model::limits::{
    LABELS_MAX, WRITE_BODY_LEN_MAX, WRITE_DECODED_LEN_MAX, WRITE_SAMPLES_MAX,
};
use labstat_model::{
    Kind, LabelError, Labels, METRIC_NAME, Metadata, Sample, TimeSeries, WriteRequest,
};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::tag;

/// Families described in one request. Prometheus sends 2,000 at a time; far more than any host
/// has would only cost memory.
pub const METADATA_MAX: usize = 50_000;

/// Bytes of one help text or unit that are kept; the rest is cut off.
const TEXT_LEN_MAX: usize = 4096;

/// The most bytes that snappy can make of one byte: its densest element is a copy of 64 bytes
/// that takes 3. A header that claims more is a lie, refused before memory is had for it.
const SNAPPY_RATIO_MAX: usize = 22;

/// How a stream in snappy's framing format begins; some senders take it for the block format.
const SNAPPY_FRAMED: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// What a request carried.
#[derive(Debug, Default)]
pub struct Decoded {
    /// What is to be kept: series with at least one sample and a valid set of labels.
    pub request: WriteRequest,
    /// Series that were left out because of their labels. A receiver keeps the rest and answers
    /// 400 with the reason, so that one bad series does not cost its neighbours.
    pub refused: Refused,
    /// What 1.0 senders may add and labstat does not keep.
    pub ignored: Ignored,
}

/// Series left out of a [`Decoded`] because of their labels.
#[derive(Debug, Default)]
pub struct Refused {
    /// How many series.
    pub series: usize,
    /// How many samples they had.
    pub samples: usize,
    /// What was wrong with the first.
    pub first: Option<SeriesError>,
}

/// Parts of a request that are not kept. The float samples beside them are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Ignored {
    /// Native histograms.
    pub histograms: usize,
    /// Exemplars.
    pub exemplars: usize,
}

/// Why a whole body was refused. [`DecodeError::is_too_large`] tells 413 from 400.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The compressed body is over [`WRITE_BODY_LEN_MAX`].
    #[error("body of {len} bytes, over the limit of {WRITE_BODY_LEN_MAX}")]
    BodyTooLarge {
        /// Its length.
        len: usize,
    },
    /// The message is over [`WRITE_DECODED_LEN_MAX`].
    #[error("body decompresses to {len} bytes, over the limit of {WRITE_DECODED_LEN_MAX}")]
    MessageTooLarge {
        /// The length that snappy's header states.
        len: usize,
    },
    /// The request has more than [`WRITE_SAMPLES_MAX`] samples.
    #[error("more than {WRITE_SAMPLES_MAX} samples in one request")]
    TooManySamples,
    /// The request describes more than [`METADATA_MAX`] families.
    #[error("more than {METADATA_MAX} metadata entries in one request")]
    TooMuchMetadata,
    /// The body is compressed, but in the other of snappy's two formats.
    #[error("body is in snappy's framing format, remote write takes the block format")]
    Framed,
    /// The body is not a snappy block.
    #[error("body is not a valid snappy block")]
    Snappy(#[source] snap::Error),
    /// The header states a length that the body cannot have.
    #[error("body of {len} bytes claims to decompress to {claimed}, which snappy cannot do")]
    Bomb {
        /// The body's length.
        len: usize,
        /// The length that its header states.
        claimed: usize,
    },
    /// The message is one of remote write 2.0, which a receiver of 1.0 would read as empty.
    #[error("message is remote write 2.0 (io.prometheus.write.v2.Request), only 1.0 is taken")]
    Version2,
    /// The message breaks off or is no protobuf.
    #[error("failed to parse {part} at byte {at} of the message")]
    Protobuf {
        /// What was being read.
        part: &'static str,
        /// The offset in the decompressed message.
        at: usize,
        /// What prost says.
        #[source]
        cause: prost::DecodeError,
    },
    /// A field says it is longer than what holds it.
    #[error("{part} at byte {at} of the message claims {len} bytes, {left} are left")]
    Length {
        /// What was being read.
        part: &'static str,
        /// The offset in the decompressed message.
        at: usize,
        /// The stated length.
        len: u64,
        /// The bytes that are there.
        left: usize,
    },
    /// A known field has another type than the protocol's.
    #[error("field {tag} of {part} at byte {at} of the message has wire type {found}")]
    WireType {
        /// What was being read.
        part: &'static str,
        /// The field's number.
        tag: u32,
        /// The offset in the decompressed message.
        at: usize,
        /// The type it has.
        found: &'static str,
    },
}

impl DecodeError {
    /// Whether the body was refused for its size (413) rather than its form (400).
    pub fn is_too_large(&self) -> bool {
        matches!(
            self,
            Self::BodyTooLarge { .. }
                | Self::MessageTooLarge { .. }
                | Self::TooManySamples
                | Self::TooMuchMetadata
        )
    }
}

/// Why one series was left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeriesError {
    /// A label's name is not UTF-8.
    #[error("label name {0:?} is not UTF-8")]
    NameNotUtf8(String),
    /// A label's value is not UTF-8.
    #[error("value of label {0:?} is not UTF-8")]
    ValueNotUtf8(String),
    /// The set breaks a rule or a limit.
    #[error("series {series}: {cause}")]
    Labels {
        /// The series, as far as it can be told.
        series: String,
        /// The rule it breaks.
        cause: LabelError,
    },
    /// The set has no `__name__`, or an empty one.
    #[error("series {0} has no metric name (label __name__)")]
    NoMetricName(String),
}

/// What the body of a remote write request carries.
///
/// Memory is bounded: the message by [`WRITE_DECODED_LEN_MAX`], the samples by
/// [`WRITE_SAMPLES_MAX`], and since a series without samples is not kept, the series by the same
/// number. Labels need not be sorted, since sorting them takes nothing away; a label given twice
/// is refused.
pub fn decode(body: &[u8]) -> Result<Decoded, DecodeError> {
    let message = decompress(body)?;
    let mut decoded = Decoded::default();
    let mut samples = 0;
    let mut fields = Fields::new("write request", &message, 0);
    let mut labels = Vec::with_capacity(LABELS_MAX);
    while let Some(field) = fields.next()? {
        match field.tag {
            tag::REQUEST_SERIES => {
                let fields = fields.inner("time series", &field)?;
                series(fields, &mut labels, &mut samples, &mut decoded)?;
            }
            tag::REQUEST_METADATA => {
                if decoded.request.metadata.len() == METADATA_MAX {
                    return Err(DecodeError::TooMuchMetadata);
                }
                let metadata = metadata(fields.inner("metadata", &field)?)?;
                decoded.request.metadata.extend(metadata);
            }
            tag::REQUEST2_SYMBOLS | tag::REQUEST2_SERIES => return Err(DecodeError::Version2),
            _ => {}
        }
    }
    Ok(decoded)
}

fn decompress(body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let len = body.len();
    if len > WRITE_BODY_LEN_MAX {
        return Err(DecodeError::BodyTooLarge { len });
    }
    if body.starts_with(SNAPPY_FRAMED) {
        return Err(DecodeError::Framed);
    }
    let claimed = snap::raw::decompress_len(body).map_err(DecodeError::Snappy)?;
    if claimed > WRITE_DECODED_LEN_MAX {
        return Err(DecodeError::MessageTooLarge { len: claimed });
    }
    if claimed > len.saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(DecodeError::Bomb { len, claimed });
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(DecodeError::Snappy)
}

/// A label as it lies in the message.
type RawLabel<'a> = (&'a [u8], &'a [u8]);

fn series<'a>(
    fields: Fields<'a>,
    labels: &mut Vec<RawLabel<'a>>,
    samples_all: &mut usize,
    decoded: &mut Decoded,
) -> Result<(), DecodeError> {
    labels.clear();
    // Counting first costs a pass over bytes that are in cache, and saves each of the many series
    // with one sample from holding room for four.
    let mut samples = Vec::with_capacity(count(fields.clone())?);
    let mut labels_len = 0;
    let mut fields = fields;
    while let Some(field) = fields.next()? {
        match field.tag {
            tag::SERIES_LABELS => {
                let label = label(fields.inner("label", &field)?)?;
                labels_len += 1;
                // A label of two bytes takes sixteen times as much here, so what is refused
                // anyway is only counted.
                if labels.len() < LABELS_MAX {
                    labels.push(label);
                }
            }
            tag::SERIES_SAMPLES => {
                *samples_all += 1;
                if *samples_all > WRITE_SAMPLES_MAX {
                    return Err(DecodeError::TooManySamples);
                }
                samples.push(sample(fields.inner("sample", &field)?)?);
            }
            tag::SERIES_EXEMPLARS => decoded.ignored.exemplars += 1,
            tag::SERIES_HISTOGRAMS => decoded.ignored.histograms += 1,
            _ => {}
        }
    }
    if samples.is_empty() {
        // A series of histograms only, or an empty one: there is nothing to keep. Looking no
        // further bounds the work by the number of samples, not by that of two-byte series.
        return Ok(());
    }
    match label_set(labels, labels_len) {
        Ok(labels) => decoded.request.series.push(TimeSeries { labels, samples }),
        Err(error) => {
            decoded.refused.series += 1;
            decoded.refused.samples += samples.len();
            decoded.refused.first.get_or_insert(error);
        }
    }
    Ok(())
}

/// The number of samples in a series, never more than a request may have.
fn count(mut fields: Fields<'_>) -> Result<usize, DecodeError> {
    let mut count = 0;
    while let Some(field) = fields.next()? {
        count += usize::from(field.tag == tag::SERIES_SAMPLES);
    }
    Ok(count.min(WRITE_SAMPLES_MAX))
}

fn label<'a>(mut fields: Fields<'a>) -> Result<RawLabel<'a>, DecodeError> {
    let mut label: RawLabel<'a> = (&[], &[]);
    while let Some(field) = fields.next()? {
        match field.tag {
            tag::LABEL_NAME => label.0 = fields.bytes(&field)?,
            tag::LABEL_VALUE => label.1 = fields.bytes(&field)?,
            _ => {}
        }
    }
    Ok(label)
}

fn sample(mut fields: Fields<'_>) -> Result<Sample, DecodeError> {
    // Zero is what protobuf means by a field that is not there.
    let mut sample = Sample { time_ms: 0, value: 0.0 };
    while let Some(field) = fields.next()? {
        match (field.tag, field.value) {
            (tag::SAMPLE_VALUE, Value::Fixed64(bits)) => sample.value = f64::from_bits(bits),
            (tag::SAMPLE_TIME, Value::Varint(number)) => {
                sample.time_ms = i64::from_ne_bytes(number.to_ne_bytes());
            }
            (tag::SAMPLE_VALUE | tag::SAMPLE_TIME, _) => return Err(fields.wrong_type(&field)),
            _ => {}
        }
    }
    Ok(sample)
}

/// What an entry says of a family; `None` when it names none, or not in UTF-8.
fn metadata(mut fields: Fields<'_>) -> Result<Option<Metadata>, DecodeError> {
    let (mut kind, mut family, mut help, mut unit) = (0, &[][..], &[][..], &[][..]);
    while let Some(field) = fields.next()? {
        match (field.tag, field.value) {
            (tag::METADATA_KIND, Value::Varint(number)) => kind = number,
            (tag::METADATA_KIND, _) => return Err(fields.wrong_type(&field)),
            (tag::METADATA_FAMILY, _) => family = fields.bytes(&field)?,
            (tag::METADATA_HELP, _) => help = fields.bytes(&field)?,
            (tag::METADATA_UNIT, _) => unit = fields.bytes(&field)?,
            _ => {}
        }
    }
    let Ok(family) = str::from_utf8(family) else { return Ok(None) };
    if family.is_empty() || family.len() > TEXT_LEN_MAX {
        return Ok(None);
    }
    Ok(Some(Metadata {
        family: family.to_owned(),
        kind: kind_of(kind),
        help: text(help),
        unit: text(unit),
    }))
}

/// The kind of a number of `MetricMetadata.MetricType`. Gauge histograms are not known here; info
/// and state set are gauges wherever types are few.
fn kind_of(number: u64) -> Kind {
    match number {
        1 => Kind::Counter,
        2 | 6 | 7 => Kind::Gauge,
        3 => Kind::Histogram,
        5 => Kind::Summary,
        _ => Kind::Untyped,
    }
}

/// Text for people: cut to a bound, and what is not UTF-8 replaced.
fn text(bytes: &[u8]) -> String {
    let cut = bytes.get(..TEXT_LEN_MAX).unwrap_or(bytes);
    String::from_utf8_lossy(cut).into_owned()
}

/// The set of the first labels of a series, which had `len` in all.
fn label_set(raw: &[RawLabel<'_>], len: usize) -> Result<Labels, SeriesError> {
    if len > LABELS_MAX {
        let cause = LabelError::TooMany(len);
        return Err(SeriesError::Labels { series: lossy(raw), cause });
    }
    let mut pairs = [("", ""); LABELS_MAX];
    for (pair, (name, value)) in pairs.iter_mut().zip(raw) {
        let name =
            str::from_utf8(name).map_err(|_| SeriesError::NameNotUtf8(shorten(name).into()))?;
        let value = str::from_utf8(value)
            .map_err(|_| SeriesError::ValueNotUtf8(shorten(name.as_bytes()).into()))?;
        *pair = (name, value);
    }
    let pairs = pairs.get(..raw.len()).unwrap_or_default();
    let labels = Labels::try_new(pairs)
        .map_err(|cause| SeriesError::Labels { series: lossy(raw), cause })?;
    if labels.get(METRIC_NAME).is_none() {
        return Err(SeriesError::NoMetricName(lossy(raw)));
    }
    Ok(labels)
}

/// A few labels of a series that is refused, enough to find it by.
fn lossy(raw: &[RawLabel<'_>]) -> String {
    const SHOWN_MAX: usize = 6;
    let shown = |(name, value): &RawLabel<'_>| format!("{}={:?}", shorten(name), shorten(value));
    let mut parts: Vec<String> = raw.iter().take(SHOWN_MAX).map(shown).collect();
    if raw.len() > SHOWN_MAX {
        parts.push("…".to_owned());
    }
    format!("{{{}}}", parts.join(", "))
}

/// The first bytes of a text, for a message.
fn shorten(bytes: &[u8]) -> Cow<'_, str> {
    const LEN_MAX: usize = 64;
    match bytes.get(..LEN_MAX) {
        Some(cut) if bytes.len() > LEN_MAX => {
            Cow::Owned(format!("{}…", String::from_utf8_lossy(cut)))
        }
        _ => String::from_utf8_lossy(bytes),
    }
}

/// The fields of one message, one after the other, as slices of the whole.
#[derive(Debug, Clone)]
struct Fields<'a> {
    part: &'static str,
    /// Where this message begins in the whole.
    base: usize,
    len: usize,
    rest: &'a [u8],
}

#[derive(Debug, Clone, Copy)]
struct Field<'a> {
    tag: u32,
    at: usize,
    value: Value<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    /// A type that no known field has.
    Other,
}

impl Value<'_> {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Varint(_) => "varint",
            Self::Fixed64(_) => "64-bit",
            Self::Bytes(_) => "length-delimited",
            Self::Other => "32-bit or group",
        }
    }
}

impl<'a> Fields<'a> {
    fn new(part: &'static str, bytes: &'a [u8], base: usize) -> Self {
        Self { part, base, len: bytes.len(), rest: bytes }
    }

    fn at(&self) -> usize {
        self.base + self.len - self.rest.len()
    }

    fn next(&mut self) -> Result<Option<Field<'a>>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (part, at) = (self.part, self.at());
        let malformed = |cause| DecodeError::Protobuf { part, at, cause };
        let (tag, wire_type) = decode_key(&mut self.rest).map_err(malformed)?;
        let value = match wire_type {
            WireType::Varint => Value::Varint(decode_varint(&mut self.rest).map_err(malformed)?),
            WireType::SixtyFourBit => match self.rest.split_first_chunk() {
                Some((bytes, rest)) => {
                    self.rest = rest;
                    Value::Fixed64(u64::from_le_bytes(*bytes))
                }
                None => {
                    let len = size_of::<u64>() as u64;
                    return Err(DecodeError::Length { part, at, len, left: self.rest.len() });
                }
            },
            WireType::LengthDelimited => {
                let len = decode_varint(&mut self.rest).map_err(malformed)?;
                let too_long = DecodeError::Length { part, at, len, left: self.rest.len() };
                let Some((bytes, rest)) =
                    usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len))
                else {
                    return Err(too_long);
                };
                self.rest = rest;
                Value::Bytes(bytes)
            }
            WireType::StartGroup | WireType::EndGroup | WireType::ThirtyTwoBit => {
                skip_field(wire_type, tag, &mut self.rest, DecodeContext::default())
                    .map_err(malformed)?;
                Value::Other
            }
        };
        Ok(Some(Field { tag, at, value }))
    }

    fn bytes(&self, field: &Field<'a>) -> Result<&'a [u8], DecodeError> {
        match field.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wrong_type(field)),
        }
    }

    fn inner(&self, part: &'static str, field: &Field<'a>) -> Result<Self, DecodeError> {
        let bytes = self.bytes(field)?;
        // The field that was just read ends where this message now stands.
        Ok(Self::new(part, bytes, self.at() - bytes.len()))
    }

    fn wrong_type(&self, field: &Field<'_>) -> DecodeError {
        let Field { tag, at, value } = *field;
        DecodeError::WireType { part: self.part, tag, at, found: value.as_str() }
    }
}
