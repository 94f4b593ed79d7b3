//! What a collector must know after a restart.
//!
//! Whoever runs the collectors for long has a place for it ([`Memory`]) and gives it to them with the
//! options. It is no part of the watched machine, so it is not reached through
//! [`Host`](crate::Host): one run, and one on a captured machine, have none and leave nothing
//! behind.

use std::fmt::Debug;
use std::io;

/// Bytes of one document. What is known of five hundred disks has some 15 MB.
pub const DOCUMENT_LEN_MAX: usize = 24 * 1024 * 1024;

/// A few documents that outlive the process, each of at most [`DOCUMENT_LEN_MAX`] bytes.
pub trait Memory: Debug + Send + Sync {
    /// The document `name` as it was kept last; none when there is no such document. It may have been
    /// damaged or written by anybody: it is to be read with care.
    fn recall(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Keeps a document in place of the one of this `name` (lower case letters): after a crash there is
    /// the one or the other, whole.
    fn keep(&self, name: &str, document: &[u8]) -> io::Result<()>;
}
