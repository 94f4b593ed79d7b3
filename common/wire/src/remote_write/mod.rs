//! Prometheus remote write 1.0: a protobuf `WriteRequest`, compressed as one snappy block.
//!
//! - A [`Decoder`] takes a request's body and gives what it carries with its labels unread, see
//!   [`Body`]; [`decode()`] reads them too, see [`Decoded`].
//! - [`encode()`] makes a body of a [`WriteRequest`](labstat_model::WriteRequest); [`Message`]
//!   makes one straight from batches, without an owned string per sample.
//!
//! ```text
//! WriteRequest   1 timeseries*   3 metadata*
//! TimeSeries     1 labels*       2 samples*    3 exemplars*    4 histograms*
//! Label          1 name          2 value
//! Sample         1 value double  2 timestamp int64 (ms)
//! Metadata       1 type enum     2 metric_family_name   4 help   5 unit
//! Histogram      1 count_int     2 count_float     3 sum     4 schema     5 zero_threshold
//!                6 zero_count_int     7 zero_count_float     8 negative_spans*
//!                9 negative_deltas*   10 negative_counts*    11 positive_spans*
//!                12 positive_deltas*  13 positive_counts*    14 reset_hint enum
//!                15 timestamp int64 (ms)     16 custom_values*
//! BucketSpan     1 offset        2 length
//! ```
//!
//! The message is read and written field by field with the wire primitives that code made by
//! prost uses, and not through derived structs: those would hold two owned strings per label, so
//! that a small body could cost a hundred times its size. The derived structs stand in the tests,
//! as an independent opinion.
//!
//! Source: the Prometheus Remote-Write 1.0 specification and its `types.proto`, `remote.proto`.

mod decode;
mod encode;
mod histogram;
#[cfg(test)]
mod tests;

pub use decode::{Body, DecodeError, Decoded, Decoder, Ignored, METADATA_MAX, Refused, decode};
pub use encode::{Compressor, EncodeError, Message, compress, decompress, encode};

/// The `Content-Type` of a request's body.
pub const CONTENT_TYPE: &str = "application/x-protobuf";

/// The `Content-Encoding` of a request's body.
pub const CONTENT_ENCODING: &str = "snappy";

/// The header that names the protocol's version, and its value.
pub const VERSION_HEADER: (&str, &str) = ("x-prometheus-remote-write-version", "0.1.0");

/// Field numbers, named after their message.
mod tag {
    pub(super) const REQUEST_SERIES: u32 = 1;
    pub(super) const REQUEST_METADATA: u32 = 3;
    /// Reserved in 1.0; the symbol table of a 2.0 request.
    pub(super) const REQUEST2_SYMBOLS: u32 = 4;
    /// Unused in 1.0; the series of a 2.0 request.
    pub(super) const REQUEST2_SERIES: u32 = 5;
    pub(super) const SERIES_LABELS: u32 = 1;
    pub(super) const SERIES_SAMPLES: u32 = 2;
    pub(super) const SERIES_EXEMPLARS: u32 = 3;
    pub(super) const SERIES_HISTOGRAMS: u32 = 4;
    pub(super) const LABEL_NAME: u32 = 1;
    pub(super) const LABEL_VALUE: u32 = 2;
    pub(super) const SAMPLE_VALUE: u32 = 1;
    pub(super) const SAMPLE_TIME: u32 = 2;
    pub(super) const HISTOGRAM_COUNT_INT: u32 = 1;
    pub(super) const HISTOGRAM_COUNT_FLOAT: u32 = 2;
    pub(super) const HISTOGRAM_SUM: u32 = 3;
    pub(super) const HISTOGRAM_SCHEMA: u32 = 4;
    pub(super) const HISTOGRAM_ZERO_THRESHOLD: u32 = 5;
    pub(super) const HISTOGRAM_ZERO_INT: u32 = 6;
    pub(super) const HISTOGRAM_ZERO_FLOAT: u32 = 7;
    pub(super) const HISTOGRAM_NEGATIVE_SPANS: u32 = 8;
    pub(super) const HISTOGRAM_NEGATIVE_DELTAS: u32 = 9;
    pub(super) const HISTOGRAM_NEGATIVE_COUNTS: u32 = 10;
    pub(super) const HISTOGRAM_POSITIVE_SPANS: u32 = 11;
    pub(super) const HISTOGRAM_POSITIVE_DELTAS: u32 = 12;
    pub(super) const HISTOGRAM_POSITIVE_COUNTS: u32 = 13;
    pub(super) const HISTOGRAM_RESET_HINT: u32 = 14;
    pub(super) const HISTOGRAM_TIME: u32 = 15;
    pub(super) const HISTOGRAM_BOUNDS: u32 = 16;
    pub(super) const SPAN_OFFSET: u32 = 1;
    pub(super) const SPAN_LEN: u32 = 2;
    pub(super) const METADATA_KIND: u32 = 1;
    pub(super) const METADATA_FAMILY: u32 = 2;
    pub(super) const METADATA_HELP: u32 = 4;
    pub(super) const METADATA_UNIT: u32 = 5;
}
