//! The formats labstat speaks to the world: Prometheus remote write 1.0 in both directions, the
//! asking side of its remote read, and the text exposition format 0.0.4.
//!
//! Pure transformations between bytes and the values of `labstat-model`: no files, no network, no
//! runtime, no clock. What comes in is hostile until it is decoded, and decoding it costs bounded
//! memory whatever it says.
//!
//! Not here: who sends and who receives (`labstat-agent`, `labstat-aggregator`), reading text
//! exposition, and remote write 2.0.

pub mod exposition;
pub mod remote_read;
pub mod remote_write;
