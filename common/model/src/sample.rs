//! Samples, the series they form, and the marker that says a series has ended.

use crate::Labels;

/// The bit pattern of the NaN with which Prometheus marks the end of a series. An ordinary NaN is
/// a value; only these very bits are a marker, so they are stored and sent unchanged.
pub const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The value that ends a series.
pub const fn stale_marker() -> f64 {
    f64::from_bits(STALE_BITS)
}

/// Whether `value` is the marker that ends a series.
#[inline]
pub const fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

/// One value at one time.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// The value; may be a NaN, an infinity or [`stale_marker`].
    pub value: f64,
}

/// Two samples are equal when their bits are, so that a NaN equals itself.
impl PartialEq for Sample {
    fn eq(&self, other: &Self) -> bool {
        self.time_ms == other.time_ms && self.value.to_bits() == other.value.to_bits()
    }
}

/// A series and a stretch of its samples, in two columns of equal length, times ascending and
/// each time once.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// The labels, with the metric name as `__name__`.
    pub labels: Labels,
    /// Milliseconds since the Unix epoch, strictly ascending.
    pub times: Vec<i64>,
    /// The value at each time.
    pub values: Vec<f64>,
}

/// A [`Series`] that someone else holds.
#[derive(Debug, Clone, Copy)]
pub struct SeriesRef<'a> {
    /// The labels, with the metric name as `__name__`.
    pub labels: &'a Labels,
    /// Milliseconds since the Unix epoch, strictly ascending.
    pub times: &'a [i64],
    /// The value at each time.
    pub values: &'a [f64],
}

impl SeriesRef<'_> {
    /// The series, owned.
    pub fn to_series(self) -> Series {
        let (times, values) = (self.times.to_vec(), self.values.to_vec());
        Series { labels: self.labels.clone(), times, values }
    }
}

impl Series {
    /// A series without samples.
    pub fn new(labels: Labels) -> Self {
        Self { labels, times: Vec::new(), values: Vec::new() }
    }

    /// The series, borrowed.
    pub fn as_ref(&self) -> SeriesRef<'_> {
        SeriesRef { labels: &self.labels, times: &self.times, values: &self.values }
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Adds a sample after the last one.
    pub fn push(&mut self, time_ms: i64, value: f64) {
        debug_assert!(self.times.last().is_none_or(|last| *last < time_ms), "BUG: times ascend");
        self.times.push(time_ms);
        self.values.push(value);
    }

    /// Drops all samples but the newest.
    pub fn keep_newest(&mut self) {
        let older = self.times.len().saturating_sub(1);
        self.times.drain(..older);
        self.values.drain(..older.min(self.values.len()));
    }

    /// The samples, one by one.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = Sample> + '_ {
        self.times.iter().zip(&self.values).map(|(&time_ms, &value)| Sample { time_ms, value })
    }
}

impl PartialEq for Series {
    fn eq(&self, other: &Self) -> bool {
        self.labels == other.labels && self.samples().eq(other.samples())
    }
}
