//! Reading a request's body.

use std::borrow::Cow;
use std::fmt;

use labstat_model::limits::{
    LABELS_MAX, WRITE_BODY_LEN_MAX, WRITE_DECODED_LEN_MAX, WRITE_SAMPLES_MAX,
};
use labstat_model::{
    Histogram, HistogramSample, HistogramTimeSeries, HistogramsView, Kind, LabelError, Labels,
    LabelsHash, Layout, METRIC_NAME, Metadata, Sample, SeriesError, SeriesView, TimeSeries,
    WriteRequest, WriteView,
};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::{histogram, tag};

/// Families described in one request. Prometheus sends 2,000 at a time; far more than any host
/// has would only cost memory.
pub const METADATA_MAX: usize = 50_000;

/// Bytes of one help text or unit that are kept; the rest is cut off.
const TEXT_LEN_MAX: usize = 4096;

/// The most bytes that snappy can make of one byte: its densest element is a copy of 64 bytes
/// that takes 3. A header that claims more is a lie, refused before memory is had for it.
const SNAPPY_RATIO_MAX: usize = 22;

/// Bytes of the message buffer that a [`Decoder`] keeps: four times those of a usual request.
const MESSAGE_KEPT_LEN_MAX: usize = 1024 * 1024;

/// Samples, and series, for which a [`Decoder`] keeps room.
const SAMPLES_KEPT_MAX: usize = 16 * 1024;

/// The lowest bits of a field's key are its wire type, the others its number.
const WIRE_TYPE_MASK: u8 = 0x7;
const TAG_SHIFT: u32 = 3;

/// The keys of a sample's fields.
const SAMPLE_VALUE_KEY: u8 = key(tag::SAMPLE_VALUE, WireType::SixtyFourBit);
const SAMPLE_TIME_KEY: u8 = key(tag::SAMPLE_TIME, WireType::Varint);

#[expect(clippy::cast_possible_truncation, reason = "numbers below 16 fit into a byte")]
const fn key(tag: u32, wire_type: WireType) -> u8 {
    (tag << TAG_SHIFT) as u8 | wire_type as u8
}

/// How a stream in snappy's framing format begins; some senders take it for the block format.
const SNAPPY_FRAMED: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// What a request carried, with its labels read. See [`decode`].
#[derive(Debug, Default)]
pub struct Decoded {
    /// What is to be kept: series with at least one sample and a valid set of labels.
    pub request: WriteRequest,
    /// Native histograms, of series with a valid set of labels.
    pub histograms: Vec<HistogramTimeSeries>,
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

/// Parts of a request that are not kept. The samples beside them are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Ignored {
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

/// Reads bodies one after the other, in buffers that it keeps.
#[derive(Default)]
pub struct Decoder {
    snappy: snap::raw::Decoder,
    message: Vec<u8>,
    series: Vec<RawSeries>,
    samples: Vec<Sample>,
    /// Series with histograms; those of a series with both are in both lists.
    histogram_series: Vec<RawSeries>,
    histograms: Vec<HistogramSample>,
    /// Labels of a series whose samples stand between them.
    joined: Vec<u8>,
}

/// What the body of a request carries. Its labels stay unread until they are asked for.
pub struct Body<'a> {
    message: &'a [u8],
    series: &'a [RawSeries],
    samples: &'a [Sample],
    histogram_series: &'a [RawSeries],
    histograms: &'a [HistogramSample],
    metadata: Vec<Metadata>,
    /// What 1.0 senders may add and labstat does not keep.
    pub ignored: Ignored,
}

/// A series with at least one sample: where it lies in the message, and which samples are its own.
#[derive(Debug, Clone, Copy)]
struct RawSeries {
    hash: LabelsHash,
    at: u32,
    len: u32,
    samples_at: u32,
    samples_len: u32,
}

// Places in a message and in its samples fit into 32 bits.
const _: () = assert!(WRITE_DECODED_LEN_MAX <= 1 << 31 && WRITE_SAMPLES_MAX <= 1 << 31);

#[expect(clippy::cast_possible_truncation, reason = "within the limits above")]
const fn narrow(place: usize) -> u32 {
    place as u32
}

impl Decoder {
    /// What the body of a remote write request carries.
    ///
    /// Memory is bounded: the message by [`WRITE_DECODED_LEN_MAX`], the samples by
    /// [`WRITE_SAMPLES_MAX`], and since a series without samples is not kept, the series by the
    /// same number. A histogram counts for as many samples as it has numbers.
    pub fn decode(&mut self, body: &[u8]) -> Result<Body<'_>, DecodeError> {
        decompress(&mut self.snappy, body, &mut self.message)?;
        self.series.clear();
        self.samples.clear();
        self.histogram_series.clear();
        self.histograms.clear();
        let mut walk = Walk {
            message: &self.message,
            series: &mut self.series,
            samples: &mut self.samples,
            histogram_series: &mut self.histogram_series,
            histograms: &mut self.histograms,
            numbers: 0,
            joined: &mut self.joined,
            metadata: Vec::new(),
            ignored: Ignored::default(),
        };
        walk.request()?;
        let Walk { metadata, ignored, .. } = walk;
        let (message, series, samples) = (&*self.message, &*self.series, &*self.samples);
        let (histogram_series, histograms) = (&*self.histogram_series, &*self.histograms);
        Ok(Body { message, series, samples, histogram_series, histograms, metadata, ignored })
    }

    /// Gives back the memory of a body that was unusually large.
    pub fn trim(&mut self) {
        if self.message.capacity() > MESSAGE_KEPT_LEN_MAX {
            self.message = Vec::new();
        }
        if self.samples.capacity() > SAMPLES_KEPT_MAX || self.series.capacity() > SAMPLES_KEPT_MAX {
            (self.samples, self.series) = (Vec::new(), Vec::new());
        }
        // Histograms hold memory of their own.
        (self.histogram_series, self.histograms) = (Vec::new(), Vec::new());
        self.joined = Vec::new();
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("message_len", &self.message.len()).finish_non_exhaustive()
    }
}

impl WriteView for Body<'_> {
    fn series_len(&self) -> usize {
        self.series.len()
    }

    fn series(&self, at: usize) -> Option<SeriesView<'_>> {
        let raw = self.series.get(at)?;
        let samples = self.samples.get(raw.samples_at as usize..)?;
        Some(SeriesView { hash: raw.hash, samples: samples.get(..raw.samples_len as usize)? })
    }

    fn labels(&self, at: usize) -> Result<Labels, SeriesError> {
        self.labels_of(self.series.get(at))
    }

    fn metadata(&self) -> &[Metadata] {
        &self.metadata
    }

    fn histograms_len(&self) -> usize {
        self.histogram_series.len()
    }

    fn histograms(&self, at: usize) -> Option<HistogramsView<'_>> {
        let raw = self.histogram_series.get(at)?;
        let samples = self.histograms.get(raw.samples_at as usize..)?;
        Some(HistogramsView { hash: raw.hash, samples: samples.get(..raw.samples_len as usize)? })
    }

    fn histogram_labels(&self, at: usize) -> Result<Labels, SeriesError> {
        self.labels_of(self.histogram_series.get(at))
    }
}

impl Body<'_> {
    /// Labels need not be sorted, since sorting them takes nothing away; a label given twice is
    /// refused.
    fn labels_of(&self, raw: Option<&RawSeries>) -> Result<Labels, SeriesError> {
        let raw = raw.ok_or(SeriesError::Malformed)?;
        let (from, to) = (raw.at as usize, (raw.at + raw.len) as usize);
        let message = self.message.get(from..to).ok_or(SeriesError::Malformed)?;
        let mut fields = Fields::new("time series", message, from);
        let mut labels: [RawLabel<'_>; LABELS_MAX] = [(&[], &[]); LABELS_MAX];
        let mut len = 0;
        while let Ok(Some(field)) = fields.next() {
            if field.tag != tag::SERIES_LABELS {
                continue;
            }
            let label = fields.inner("label", &field).and_then(label);
            let label = label.map_err(|_| SeriesError::Malformed)?;
            // What is refused anyway is only counted.
            if let Some(place) = labels.get_mut(len) {
                *place = label;
            }
            len += 1;
        }
        label_set(labels.get(..len).unwrap_or(&labels), len)
    }
}

impl fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("series", &self.series.len())
            .field("samples", &self.samples.len())
            .field("histograms", &self.histograms.len())
            .field("metadata", &self.metadata.len())
            .field("ignored", &self.ignored)
            .finish()
    }
}

/// What the body of a remote write request carries, with all labels read. See [`Decoder`].
pub fn decode(body: &[u8]) -> Result<Decoded, DecodeError> {
    let mut decoder = Decoder::default();
    let body = decoder.decode(body)?;
    let mut decoded = Decoded { ignored: body.ignored, ..Decoded::default() };
    decoded.request.series.reserve_exact(body.series_len());
    for at in 0..body.series_len() {
        let Some(SeriesView { samples, .. }) = body.series(at) else { continue };
        match body.labels(at) {
            Ok(labels) => {
                let samples = samples.to_vec();
                decoded.request.series.push(TimeSeries { labels, samples });
            }
            Err(error) => {
                decoded.refused.series += 1;
                decoded.refused.samples += samples.len();
                decoded.refused.first.get_or_insert(error);
            }
        }
    }
    for at in 0..body.histograms_len() {
        let Some(HistogramsView { samples, .. }) = body.histograms(at) else { continue };
        match body.histogram_labels(at) {
            Ok(labels) => {
                let samples = samples.to_vec();
                decoded.histograms.push(HistogramTimeSeries { labels, samples });
            }
            Err(error) => {
                decoded.refused.series += 1;
                decoded.refused.samples += samples.len();
                decoded.refused.first.get_or_insert(error);
            }
        }
    }
    decoded.request.metadata = body.metadata;
    Ok(decoded)
}

fn decompress(
    snappy: &mut snap::raw::Decoder,
    body: &[u8],
    message: &mut Vec<u8>,
) -> Result<(), DecodeError> {
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
    // What the buffer holds of the body before is written over.
    message.resize(claimed, 0);
    let written = snappy.decompress(body, message).map_err(DecodeError::Snappy)?;
    message.truncate(written);
    Ok(())
}

/// One way through a message.
struct Walk<'a> {
    message: &'a [u8],
    series: &'a mut Vec<RawSeries>,
    samples: &'a mut Vec<Sample>,
    histogram_series: &'a mut Vec<RawSeries>,
    histograms: &'a mut Vec<HistogramSample>,
    /// Numbers that all histograms so far are made of.
    numbers: usize,
    joined: &'a mut Vec<u8>,
    metadata: Vec<Metadata>,
    ignored: Ignored,
}

impl<'a> Walk<'a> {
    fn request(&mut self) -> Result<(), DecodeError> {
        let mut fields = Fields::new("write request", self.message, 0);
        while let Some(field) = fields.next()? {
            match field.tag {
                tag::REQUEST_SERIES => self.series(fields.inner("time series", &field)?)?,
                tag::REQUEST_METADATA => {
                    if self.metadata.len() == METADATA_MAX {
                        return Err(DecodeError::TooMuchMetadata);
                    }
                    self.metadata.extend(metadata(fields.inner("metadata", &field)?)?);
                }
                tag::REQUEST2_SYMBOLS | tag::REQUEST2_SERIES => return Err(DecodeError::Version2),
                _ => {}
            }
        }
        Ok(())
    }

    fn series(&mut self, mut fields: Fields<'a>) -> Result<(), DecodeError> {
        let (at, len, samples_at) = (fields.base, fields.len, self.samples.len());
        let histograms_at = self.histograms.len();
        // The labels are one stretch of the message, unless samples stand between them.
        let (mut from, mut to) = (at, at);
        let mut is_split = false;
        while let Some(field) = fields.next()? {
            match field.tag {
                tag::SERIES_LABELS => {
                    fields.bytes(&field)?;
                    let end = fields.at();
                    if !is_split && (to == field.at || from == to) {
                        from = if from == to { field.at } else { from };
                        to = end;
                        continue;
                    }
                    if !is_split {
                        self.joined.clear();
                        self.joined.extend_from_slice(slice(self.message, from, to));
                        is_split = true;
                    }
                    self.joined.extend_from_slice(slice(self.message, field.at, end));
                }
                tag::SERIES_SAMPLES => {
                    if self.samples.len() + self.numbers >= WRITE_SAMPLES_MAX {
                        return Err(DecodeError::TooManySamples);
                    }
                    let sample = sample(fields.inner("sample", &field)?)?;
                    self.samples.push(sample);
                }
                tag::SERIES_EXEMPLARS => self.ignored.exemplars += 1,
                tag::SERIES_HISTOGRAMS => self.histogram(fields.inner("histogram", &field)?)?,
                _ => {}
            }
        }
        let samples_len = self.samples.len() - samples_at;
        let histograms_len = self.histograms.len() - histograms_at;
        // An empty series: there is nothing to keep. Looking no further bounds the work by the
        // number of samples, not by that of two-byte series.
        if samples_len + histograms_len == 0 {
            return Ok(());
        }
        let labels = if is_split { &*self.joined } else { slice(self.message, from, to) };
        let hash = LabelsHash::new(Layout::RemoteWrite1, labels);
        let (at, len) = (narrow(at), narrow(len));
        let raw = |samples_at, samples_len| {
            let (samples_at, samples_len) = (narrow(samples_at), narrow(samples_len));
            RawSeries { hash, at, len, samples_at, samples_len }
        };
        if samples_len > 0 {
            self.series.push(raw(samples_at, samples_len));
        }
        if histograms_len > 0 {
            self.histogram_series.push(raw(histograms_at, histograms_len));
        }
        Ok(())
    }

    #[cold]
    fn histogram(&mut self, fields: Fields<'a>) -> Result<(), DecodeError> {
        let sample = histogram::histogram(fields)?;
        let refused = || Histogram::default().numbers_len();
        let numbers_len = sample.histogram.as_ref().map(Histogram::numbers_len);
        self.numbers += numbers_len.unwrap_or_else(|_| refused());
        if self.samples.len() + self.numbers > WRITE_SAMPLES_MAX {
            return Err(DecodeError::TooManySamples);
        }
        self.histograms.push(sample);
        Ok(())
    }
}

fn slice(bytes: &[u8], from: usize, to: usize) -> &[u8] {
    bytes.get(from..to).unwrap_or_default()
}

/// A label as it lies in the message.
type RawLabel<'a> = (&'a [u8], &'a [u8]);

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

#[inline]
fn sample(fields: Fields<'_>) -> Result<Sample, DecodeError> {
    // As every sender lays it out: the value, then the time, both with keys of one byte.
    if let Some((&SAMPLE_VALUE_KEY, rest)) = fields.rest.split_first()
        && let Some((bits, rest)) = rest.split_first_chunk()
        && let Some((&SAMPLE_TIME_KEY, rest)) = rest.split_first()
        && let Some((time, [])) = short_varint(rest)
    {
        let time_ms = i64::from_ne_bytes(time.to_ne_bytes());
        return Ok(Sample { time_ms, value: f64::from_le_bytes(*bits) });
    }
    any_sample(fields)
}

/// A sample in any order of its fields, with fields that are left out or not known.
fn any_sample(mut fields: Fields<'_>) -> Result<Sample, DecodeError> {
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

/// A varint of at most eight bytes, and what follows it; `None` for any other.
#[inline]
fn short_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return Some((value, bytes.get(at + 1..)?));
        }
    }
    None
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

/// A length of one or two bytes, and what follows it.
#[inline]
fn short_len(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [a, rest @ ..] if *a < 0x80 => Some((usize::from(*a), rest)),
        [a, b, rest @ ..] if *b < 0x80 => {
            Some((usize::from(*a & 0x7f) | usize::from(*b) << 7, rest))
        }
        _ => None,
    }
}

/// The fields of one message, one after the other, as slices of the whole.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    part: &'static str,
    /// Where this message begins in the whole.
    base: usize,
    len: usize,
    rest: &'a [u8],
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) tag: u32,
    at: usize,
    pub(super) value: Value<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
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

    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, DecodeError> {
        // Nearly all there is has a key of one byte and a length of one or two.
        if let Some((&key, rest)) = self.rest.split_first()
            && key < 0x80
            && key >> TAG_SHIFT > 0
            && key & WIRE_TYPE_MASK == WireType::LengthDelimited as u8
            && let Some((len, rest)) = short_len(rest)
            && let Some((bytes, rest)) = rest.split_at_checked(len)
        {
            let at = self.at();
            self.rest = rest;
            let tag = u32::from(key >> TAG_SHIFT);
            return Ok(Some(Field { tag, at, value: Value::Bytes(bytes) }));
        }
        self.next_any()
    }

    fn next_any(&mut self) -> Result<Option<Field<'a>>, DecodeError> {
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

    pub(super) fn inner(&self, part: &'static str, field: &Field<'a>) -> Result<Self, DecodeError> {
        let bytes = self.bytes(field)?;
        // The field that was just read ends where this message now stands.
        Ok(Self::new(part, bytes, self.at() - bytes.len()))
    }

    pub(super) fn malformed(&self, field: &Field<'_>, cause: prost::DecodeError) -> DecodeError {
        DecodeError::Protobuf { part: self.part, at: field.at, cause }
    }

    pub(super) fn wrong_type(&self, field: &Field<'_>) -> DecodeError {
        let Field { tag, at, value } = *field;
        DecodeError::WireType { part: self.part, tag, at, found: value.as_str() }
    }
}
