//! How a store is set up.

use std::sync::Arc;

use labstat_model::{BUCKET_WIDTHS_MS, Clock};

use crate::Keep;

/// Samples one read may return. Prometheus' default for one query, about 800 MB when reached.
const READ_SAMPLES_MAX: usize = 50_000_000;

/// Series one store keeps: far beyond any lab, and about the memory of a small machine.
const SERIES_MAX: usize = 2_000_000;

/// Bytes of label names and values of all series: some 250 for each of them. Without this bound,
/// series with labels of the greatest length would take a thousand times as much.
const LABELS_SIZE_MAX_BYTES: usize = 512 * 1024 * 1024;

/// The head is sealed when it spans this much: long enough that blobs compress well, short enough
/// that a start replays little.
const SEAL_AFTER_MS: i64 = 2 * 3_600_000;

/// The head is sealed early when it holds this many samples: about 13 MB of memory, 10 MB of log,
/// and a fifth of a second to read them at start.
const HEAD_SAMPLES_MAX: usize = 4_000_000;

/// Samples of one part of a scan (4 MiB), of a hundred series some ten hours. It takes a
/// millisecond or two to read them.
const READ_PART_SAMPLES: usize = 256 * 1024;

/// What reads unpacked lately: a few hundred blobs' directories, or the parts behind a page of
/// panels.
const CACHE_SIZE_MAX_BYTES: usize = 16 * 1024 * 1024;

/// How a store is set up. [`Options::new`] gives what suits a lab.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long samples are kept, in milliseconds; `None` is for ever. What is older when it
    /// arrives is refused; what grows older is dropped a day at a time, so it may stay up to a
    /// day longer.
    pub retention_ms: Option<i64>,
    /// How long the buckets of each of [`BUCKET_WIDTHS_MS`] are kept, in milliseconds; `None` is
    /// for ever. Less than the retention is the retention.
    pub rollups_ms: [Option<i64>; BUCKET_WIDTHS_MS.len()],
    /// Which series are kept as samples longer than the retention. The first that takes a series
    /// decides.
    pub keep: Vec<Keep>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// [`Store::maintain`](crate::Store::maintain) seals the head when it spans this many
    /// milliseconds.
    pub seal_after_ms: i64,
    /// [`Store::maintain`](crate::Store::maintain) seals the head when it holds this many samples.
    pub head_samples_max: usize,
    /// A read that would return more samples is refused, and so is a scan of which one series has
    /// more.
    pub read_samples_max: usize,
    /// Samples of one part of a scan, as far as can be told before it is read. What turns out to
    /// have a few times as many is read piece by piece.
    pub read_part_samples: usize,
    /// Bytes of unpacked blobs that are kept for the next reads.
    pub cache_size_max_bytes: usize,
    /// A series beyond this many is refused.
    pub series_max: usize,
    /// A series whose labels would make all labels larger than this is refused.
    pub labels_size_max_bytes: usize,
    /// Bytes the database file may grow to; `None` is for as much as the disk has. When it comes
    /// close, [`Store::maintain`](crate::Store::maintain) drops the oldest.
    pub size_max_bytes: Option<u64>,
}

impl Options {
    /// Options that suit a lab: everything is kept for ever.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            retention_ms: None,
            rollups_ms: [None; BUCKET_WIDTHS_MS.len()],
            keep: Vec::new(),
            clock,
            seal_after_ms: SEAL_AFTER_MS,
            head_samples_max: HEAD_SAMPLES_MAX,
            read_samples_max: READ_SAMPLES_MAX,
            read_part_samples: READ_PART_SAMPLES,
            cache_size_max_bytes: CACHE_SIZE_MAX_BYTES,
            series_max: SERIES_MAX,
            labels_size_max_bytes: LABELS_SIZE_MAX_BYTES,
            size_max_bytes: None,
        }
    }
}
