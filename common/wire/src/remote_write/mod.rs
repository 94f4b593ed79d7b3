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
#[cfg(test)]
mod tests;

pub use decode::{Body, DecodeError, Decoded, Decoder, Ignored, METADATA_MAX, Refused, decode};
pub use encode::{EncodeError, Message, compress, decompress, encode};

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
    pub(super) const METADATA_KIND: u32 = 1;
    pub(super) const METADATA_FAMILY: u32 = 2;
    pub(super) const METADATA_HELP: u32 = 4;
    pub(super) const METADATA_UNIT: u32 = 5;
}
