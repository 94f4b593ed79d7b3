//! What a write carries: the decoded form of a remote-write request, and what the store takes.

use crate::{Kind, Labels, Sample};

/// A batch of series to keep, with what is known about their families.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WriteRequest {
    /// The series, each with at least one sample.
    pub series: Vec<TimeSeries>,
    /// What the sender says of metric families; often empty.
    pub metadata: Vec<Metadata>,
}

impl WriteRequest {
    /// The number of samples of all series.
    pub fn samples_len(&self) -> usize {
        self.series.iter().map(|series| series.samples.len()).sum()
    }
}

/// One series of a write.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeSeries {
    /// The labels, with the metric name as `__name__`.
    pub labels: Labels,
    /// The samples, in the order they were sent.
    pub samples: Vec<Sample>,
}

/// What a sender says of a metric family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The family's name.
    pub family: String,
    /// What kind of number it is.
    pub kind: Kind,
    /// One sentence for people.
    pub help: String,
    /// The unit, or empty.
    pub unit: String,
}
