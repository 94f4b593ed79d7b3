//! Making a request's body.

use std::fmt;
use std::ops::Range;

use labstat_model::{BatchSample, Histogram, Kind, METRIC_NAME, Metadata, Sample, WriteRequest};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::{histogram, tag};

/// Why a body could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Snappy takes blocks of up to 4 GiB.
    #[error("failed to compress a message of {len} bytes")]
    Compress {
        /// The message's length.
        len: usize,
        /// What snappy says.
        #[source]
        cause: snap::Error,
    },
    /// What was compressed once does not decompress.
    #[error("failed to decompress a block of {len} bytes")]
    Decompress {
        /// The block's length.
        len: usize,
        /// What snappy says.
        #[source]
        cause: snap::Error,
    },
}

/// A request that is being put together: the protobuf message, not yet compressed.
///
/// All fields of a `WriteRequest` are repeated ones, so two messages one after the other are one
/// message with the content of both. That is how rounds that wait for the receiver are put into
/// one request without being decoded.
///
/// The next round mostly has the series of the last: then only values and time are put in anew
/// ([`Message::refresh`]).
#[derive(Debug, Clone, Default)]
pub struct Message {
    bytes: Vec<u8>,
    samples: usize,
    /// Where value and time of each sample lie that [`Message::samples`] added.
    spots: Vec<Range<usize>>,
    scratch: Vec<u8>,
}

impl Message {
    /// An empty request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one series. `labels` stand ascending by name, with the metric name as `__name__`.
    pub fn series<'a>(
        &mut self,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        samples: impl IntoIterator<Item = Sample>,
    ) {
        self.scratch.clear();
        for (name, value) in labels {
            push_label(&mut self.scratch, name, value);
        }
        for sample in samples {
            push_sample(&mut self.scratch, sample);
            self.samples += 1;
        }
        push_bytes(&mut self.bytes, tag::REQUEST_SERIES, &self.scratch);
    }

    /// Adds the native histograms of one series, by time; its labels stand as in
    /// [`Message::series`].
    pub fn histograms<'a>(
        &mut self,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        histograms: impl IntoIterator<Item = (i64, &'a Histogram)>,
    ) {
        self.scratch.clear();
        for (name, value) in labels {
            push_label(&mut self.scratch, name, value);
        }
        for (time_ms, histogram) in histograms {
            histogram::push(&mut self.scratch, time_ms, histogram);
            self.samples += 1;
        }
        push_bytes(&mut self.bytes, tag::REQUEST_SERIES, &self.scratch);
    }

    /// Adds samples of one batch, all at `time_ms`, each with the labels `extra` (such as `job`
    /// and `instance`), which win over labels of the same name.
    pub fn samples<'a>(
        &mut self,
        samples: impl IntoIterator<Item = BatchSample<'a>>,
        extra: &[(&str, &str)],
        time_ms: i64,
    ) {
        let mut labels: Vec<(&str, &str)> = Vec::new();
        for sample in samples {
            labels.clear();
            labels.push((METRIC_NAME, &sample.family.name));
            let own = |name: &str| name != METRIC_NAME && extra.iter().all(|(e, _)| *e != name);
            labels.extend(sample.labels.iter().filter(|(name, _)| own(name)));
            labels.extend(extra.iter().filter(|(_, value)| !value.is_empty()));
            labels.sort_unstable_by_key(|(name, _)| *name);
            let sample = Sample { time_ms, value: sample.value };
            self.series(labels.iter().copied(), [sample]);
            // It is the end of the message.
            let end = self.bytes.len();
            self.spots.push(end - size_of::<f64>() - time_len(time_ms)..end);
        }
    }

    /// Puts other values and another time into a message whose samples all came by
    /// [`Message::samples`], in their order. `false` when that cannot be done, since there are not
    /// as many values or the time takes another number of bytes; the message is then of no use
    /// until it is cleared.
    #[must_use]
    pub fn refresh(&mut self, values: impl IntoIterator<Item = f64>, time_ms: i64) -> bool {
        let time = &mut self.scratch;
        time.clear();
        push_time(time, time_ms);
        let mut values = values.into_iter();
        for spot in &self.spots {
            let place = self.bytes.get_mut(spot.clone()).and_then(|p| p.split_first_chunk_mut());
            match (values.next(), place) {
                (Some(value), Some((value_place, time_place)))
                    if time_place.len() == time.len() =>
                {
                    *value_place = value.to_le_bytes();
                    time_place.copy_from_slice(time);
                }
                _ => return false,
            }
        }
        values.next().is_none() && self.spots.len() == self.samples
    }

    /// Adds what is known about a family.
    pub fn metadata(&mut self, family: &str, kind: Kind, help: &str, unit: &str) {
        self.scratch.clear();
        encode_key(tag::METADATA_KIND, WireType::Varint, &mut self.scratch);
        encode_varint(kind_number(kind), &mut self.scratch);
        push_bytes(&mut self.scratch, tag::METADATA_FAMILY, family.as_bytes());
        push_bytes(&mut self.scratch, tag::METADATA_HELP, help.as_bytes());
        push_bytes(&mut self.scratch, tag::METADATA_UNIT, unit.as_bytes());
        push_bytes(&mut self.bytes, tag::REQUEST_METADATA, &self.scratch);
    }

    /// The number of samples added.
    pub fn samples_len(&self) -> usize {
        self.samples
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The message, uncompressed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The request's body.
    pub fn to_body(&self) -> Result<Vec<u8>, EncodeError> {
        compress(&self.bytes)
    }

    /// Forgets what was added and keeps the buffers.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spots.clear();
        self.samples = 0;
    }
}

/// The body that carries `request`.
pub fn encode(request: &WriteRequest) -> Result<Vec<u8>, EncodeError> {
    let mut message = Message::new();
    for series in &request.series {
        message.series(series.labels.iter(), series.samples.iter().copied());
    }
    for Metadata { family, kind, help, unit } in &request.metadata {
        message.metadata(family, *kind, help, unit);
    }
    message.to_body()
}

/// One snappy block of `bytes`.
pub fn compress(bytes: &[u8]) -> Result<Vec<u8>, EncodeError> {
    Ok(Compressor::default().compress(bytes)?.to_vec())
}

/// Makes snappy blocks one after the other, in buffers that it keeps.
pub struct Compressor {
    encoder: snap::raw::Encoder,
    block: Vec<u8>,
}

impl Default for Compressor {
    fn default() -> Self {
        Self { encoder: snap::raw::Encoder::new(), block: Vec::new() }
    }
}

impl Compressor {
    /// One snappy block of `bytes`.
    pub fn compress(&mut self, bytes: &[u8]) -> Result<&[u8], EncodeError> {
        let error = |cause| EncodeError::Compress { len: bytes.len(), cause };
        let len_max = snap::raw::max_compress_len(bytes.len());
        if self.block.len() < len_max {
            self.block.resize(len_max, 0);
        }
        let len = self.encoder.compress(bytes, &mut self.block).map_err(error)?;
        Ok(self.block.get(..len).unwrap_or_default())
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

/// The content of a snappy block that this program made itself, such as one kept on disk. For
/// blocks from outside see [`decode`](super::decode()), which bounds what they may cost.
pub fn decompress(block: &[u8]) -> Result<Vec<u8>, EncodeError> {
    snap::raw::Decoder::new()
        .decompress_vec(block)
        .map_err(|cause| EncodeError::Decompress { len: block.len(), cause })
}

fn push_label(out: &mut Vec<u8>, name: &str, value: &str) {
    let len = |text: &str| 1 + encoded_len_varint(text.len() as u64) + text.len();
    encode_key(tag::SERIES_LABELS, WireType::LengthDelimited, out);
    encode_varint((len(name) + len(value)) as u64, out);
    push_bytes(out, tag::LABEL_NAME, name.as_bytes());
    push_bytes(out, tag::LABEL_VALUE, value.as_bytes());
}

fn push_sample(out: &mut Vec<u8>, sample: Sample) {
    encode_key(tag::SERIES_SAMPLES, WireType::LengthDelimited, out);
    encode_varint((1 + size_of::<f64>() + time_len(sample.time_ms)) as u64, out);
    encode_key(tag::SAMPLE_VALUE, WireType::SixtyFourBit, out);
    out.extend_from_slice(&sample.value.to_le_bytes());
    push_time(out, sample.time_ms);
}

/// A sample's time with its key. An int64 travels as the varint of its two's complement.
fn push_time(out: &mut Vec<u8>, time_ms: i64) {
    encode_key(tag::SAMPLE_TIME, WireType::Varint, out);
    encode_varint(time_ms.cast_unsigned(), out);
}

/// The bytes that [`push_time`] takes.
fn time_len(time_ms: i64) -> usize {
    1 + encoded_len_varint(time_ms.cast_unsigned())
}

pub(super) fn push_bytes(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

const fn kind_number(kind: Kind) -> u64 {
    match kind {
        Kind::Untyped => 0,
        Kind::Counter => 1,
        Kind::Gauge => 2,
        Kind::Histogram => 3,
        Kind::Summary => 5,
    }
}
