//! Every bound that input from outside is held to, with the reason for its size.
//!
//! A limit that only one room knows stands in that room; these are the ones two rooms must agree
//! on, such as what an agent may send and an aggregator must take.

/// Labels on one series. Prometheus sees a few dozen at the very most.
pub const LABELS_MAX: usize = 64;

/// Bytes of one label name. The longest catalogued one has 27.
pub const LABEL_NAME_LEN_MAX: usize = 256;

/// Bytes of one label value: a mount point or a disk's text fits many times over.
pub const LABEL_VALUE_LEN_MAX: usize = 4096;

/// Bytes of a remote-write body before decompression. Prometheus sends well under 1 MiB.
pub const WRITE_BODY_LEN_MAX: usize = 16 * 1024 * 1024;

/// Bytes of a remote-write body after decompression; snappy can expand a body about 20-fold, and
/// a request of 2,000 samples with long labels has about 1 MiB.
pub const WRITE_DECODED_LEN_MAX: usize = 32 * 1024 * 1024;

/// Samples of one remote-write request.
pub const WRITE_SAMPLES_MAX: usize = 1_000_000;
