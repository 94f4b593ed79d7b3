//! What the store says of itself: what a write came to, what was set aside, how much there is.

use std::fmt;
use std::path::PathBuf;

use labstat_model::{HistogramError, Labels, SeriesError};
use serde::{Deserialize, Serialize};

/// What a write came to. All that was accepted is on disk.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Appended {
    /// Samples stored.
    pub accepted: usize,
    /// Samples left out because they were stored already, with the same value.
    pub duplicates: usize,
    /// Samples refused, for any reason.
    pub refused: usize,
    /// The first few refused samples, at most [`Appended::REFUSALS_MAX`].
    pub refusals: Vec<Refused>,
    /// Series left out because of their labels; their samples are not among the refused ones.
    pub bad_labels: BadLabels,
}

/// Series of a write that were left out because of their labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BadLabels {
    /// How many series.
    pub series: usize,
    /// How many samples they had.
    pub samples: usize,
    /// What was wrong with the first.
    pub first: Option<SeriesError>,
}

impl Appended {
    /// Refused samples that are named one by one: enough to find the cause.
    pub const REFUSALS_MAX: usize = 16;
}

/// A sample that was refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// Why.
    pub reason: Refusal,
    /// Its series.
    pub labels: Labels,
    /// Its time, in milliseconds since the Unix epoch.
    pub time_ms: i64,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} at {}", self.reason, self.labels.as_ref(), self.time_ms)
    }
}

/// Why a sample was refused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Refusal {
    /// The series has another value at that very time.
    Conflict,
    /// It is older than the retention.
    TooOld,
    /// Its time is before the year 1 or after the year 9999, which no API can write.
    OutOfRange,
    /// Its series is new, and there are as many series, or as long labels, as may be.
    TooManySeries,
    /// It is a native histogram that is none, or too large.
    Histogram(HistogramError),
}

impl Refusal {
    /// The reason in Prometheus' words where it has some.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "duplicate sample for timestamp",
            Self::TooOld => "too old sample",
            Self::OutOfRange => "out of bounds",
            Self::TooManySeries => "too many series",
            Self::Histogram(_) => "invalid native histogram",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Histogram(error) => error.fmt(f),
            other => f.write_str(other.as_str()),
        }
    }
}

/// Something the owner should know about the store's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What was found, and what was kept of it.
    pub what: String,
    /// Where the damaged file lies now, when there is one.
    pub set_aside: Option<PathBuf>,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(path) = &self.set_aside {
            write!(f, " (the old file is kept as {})", path.display())?;
        }
        Ok(())
    }
}

/// What maintenance did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Maintained {
    /// Samples that went from the head into blobs.
    pub sealed_samples: usize,
    /// Blobs that were merged into larger ones.
    pub merged_blobs: usize,
    /// Days, each of some hundred series, whose samples were rolled up into buckets.
    pub rolled_days: usize,
    /// Blobs that were dropped because all they held had been kept for long enough, or because
    /// there was no room.
    pub dropped_blobs: usize,
    /// Series forgotten because nothing of them is stored any more.
    pub dropped_series: usize,
}

/// Small documents, as [`Store::documents`](crate::Store::documents) finds them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Documents {
    /// Keys with what was kept under them, ascending by key.
    pub whole: Vec<(String, Vec<u8>)>,
    /// Keys of those whose checksum does not fit. They stay where they are until they are written
    /// or taken away; `labstat store check` names them too.
    pub damaged: Vec<String>,
}

/// How much there is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Series known.
    pub series: usize,
    /// Pairs of a label name and a value.
    pub label_pairs: usize,
    /// Series that have samples in the head.
    pub head_series: usize,
    /// Samples in the head.
    pub head_samples: usize,
    /// Bytes of memory the head's samples take.
    pub head_bytes: usize,
    /// Bytes of memory that unpacked blobs take, kept for the next reads.
    pub cache_bytes: usize,
    /// Directories, columns of times and parts that reads found unpacked since the store was
    /// opened.
    pub cache_hits: u64,
    /// Those that had to be unpacked.
    pub cache_misses: u64,
    /// Compressed blobs.
    pub blobs: usize,
    /// Samples in blobs.
    pub sealed_samples: u64,
    /// Bytes of samples in blobs, compressed.
    pub sealed_bytes: u64,
    /// Those of the blobs that hold roll-ups.
    pub rolled_blobs: usize,
    /// Bytes of roll-ups in blobs, compressed.
    pub rolled_bytes: u64,
    /// Bytes of all database files.
    pub file_bytes: u64,
    /// The oldest sample's time, in milliseconds since the Unix epoch.
    pub oldest_ms: Option<i64>,
    /// The newest sample's time, in milliseconds since the Unix epoch.
    pub newest_ms: Option<i64>,
    /// Writes acknowledged since the store was opened.
    pub appends: u64,
    /// Commits of groups of writes since the store was opened; each is one wait for the disk.
    pub commits: u64,
    /// Blobs that could not be read since the store was opened and are left out of answers.
    pub damaged_blobs: usize,
    /// Metric names with the most series, most first.
    pub metric_names: Vec<(String, usize)>,
    /// Label names with the most values, most first.
    pub label_names: Vec<(String, usize)>,
    /// Label names with the most bytes of values, counted in each series, most first.
    pub label_bytes: Vec<(String, usize)>,
    /// Label pairs with the most series, most first.
    pub pairs: Vec<((String, String), usize)>,
}
