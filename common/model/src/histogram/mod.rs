//! Native histograms: one sample that is a whole distribution.
//!
//! All counts are floats, as the engine needs them; those of integer histograms are exact up to
//! 2^53. Buckets are kept by their index, ascending, and not as the spans of the wire: an index
//! without an entry has no count, and an entry of zero is one that the sender sent.
//!
//! Here is what a histogram is, and which ones are taken ([`Histogram::check`]). Not here: how they
//! travel (`labstat-wire`), how they are kept (`labstat-store`), how they are calculated with
//! (`labstat-promql`).

mod check;

use std::sync::Arc;

use crate::{Labels, is_stale};

pub use check::{HISTOGRAM_BUCKETS_MAX, HistogramError};

/// Whether a histogram begins anew, as far as its sender says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum ResetHint {
    /// It is for the reader to find out.
    #[default]
    Unknown = 0,
    /// The counter began anew with this sample.
    Reset = 1,
    /// It goes on from the sample before.
    Continued = 2,
    /// It is no counter: counts may go down.
    Gauge = 3,
}

impl ResetHint {
    /// The hint of a number on the wire or in store; a number that is not known says nothing.
    pub const fn of_number(number: u64) -> Self {
        match number {
            1 => Self::Reset,
            2 => Self::Continued,
            3 => Self::Gauge,
            _ => Self::Unknown,
        }
    }
}

/// How many observations fell into one bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BucketCount {
    /// The bucket's number in its schema.
    pub index: i32,
    /// Observations in it, not cumulative.
    pub count: f64,
}

/// One sample of a native histogram.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    /// Whether it begins anew.
    pub hint: ResetHint,
    /// From -4 to 8, each bucket is 2^(2^-schema) times as wide as the one before;
    /// [`Histogram::CUSTOM_SCHEMA`] for buckets with bounds of their own.
    pub schema: i32,
    /// Observations up to this far from zero are in the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations.
    pub count: f64,
    /// The sum of all observations; [`stale_marker`](crate::stale_marker) ends the series.
    pub sum: f64,
    /// Buckets above zero, or those with bounds of their own; ascending by index.
    pub positive: Vec<BucketCount>,
    /// Buckets below zero, ascending by index, which is away from zero.
    pub negative: Vec<BucketCount>,
    /// Upper bounds of custom buckets, ascending; the last bucket, up to +Inf, has none here.
    pub bounds: Arc<[f64]>,
}

impl Histogram {
    /// The schema of histograms with bounds of their own.
    pub const CUSTOM_SCHEMA: i32 = -53;
    /// The schemas of exponential buckets.
    pub const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;

    /// Whether the buckets have bounds of their own.
    pub const fn is_custom(&self) -> bool {
        self.schema == Self::CUSTOM_SCHEMA
    }

    /// Whether it is the marker that ends a series.
    pub const fn is_stale(&self) -> bool {
        is_stale(self.sum)
    }

    /// How many numbers it is made of, for bounds on memory.
    pub fn numbers_len(&self) -> usize {
        /// Count, sum, zero bucket and what kind it is.
        const FIXED: usize = 5;
        FIXED + self.positive.len() + self.negative.len() + self.bounds.len()
    }
}

/// A native histogram at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramSample {
    /// Milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// The histogram, or why it cannot be taken.
    pub histogram: Result<Histogram, HistogramError>,
}

/// A series' native histograms, beside which it may have float samples ([`Series`](crate::Series)).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistogramSeries {
    /// The labels, with the metric name as `__name__`.
    pub labels: Labels,
    /// Milliseconds since the Unix epoch, strictly ascending.
    pub times: Vec<i64>,
    /// The histogram at each time; none of them is a marker of staleness.
    pub values: Vec<Arc<Histogram>>,
}

impl HistogramSeries {
    /// A series without samples.
    pub fn new(labels: Labels) -> Self {
        Self { labels, ..Self::default() }
    }

    /// Adds a sample after the last one.
    pub fn push(&mut self, time_ms: i64, histogram: Histogram) {
        debug_assert!(self.times.last().is_none_or(|last| *last < time_ms), "BUG: times ascend");
        self.times.push(time_ms);
        self.values.push(Arc::new(histogram));
    }

    /// The samples, one by one.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = (i64, &Arc<Histogram>)> {
        self.times.iter().copied().zip(&self.values)
    }
}
