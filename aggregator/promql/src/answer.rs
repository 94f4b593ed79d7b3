//! What a query gives.

use std::sync::Arc;

use labstat_model::{Histogram, HistogramSeries, Labels, Sample, Series};

/// The value of a query and what there is to say about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The result.
    pub value: Value,
    /// What is probably wrong, worded as Prometheus words it (`PromQL warning: …`). Each once.
    pub warnings: Vec<String>,
    /// What may be worth a look (`PromQL info: …`). Each once.
    pub infos: Vec<String>,
}

/// The result of a query. A range query always gives a [`Value::Matrix`].
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// One number at the time of the query.
    Scalar(Sample),
    /// A text.
    String {
        /// The time of the query, in milliseconds.
        time_ms: i64,
        /// The text.
        text: String,
    },
    /// One sample per series at the time of the query; in no order unless the query sorts.
    Vector(Vec<VectorSample>),
    /// Samples over time, sorted by labels.
    Matrix(Vec<Series>),
    /// As `Vector`, where some are native histograms.
    MixedVector(Vec<MixedSample>),
    /// As `Matrix`, where some are native histograms.
    MixedMatrix(Vec<MixedSeries>),
}

/// One element of an instant vector, a number or a native histogram.
#[derive(Debug, Clone, PartialEq)]
pub struct MixedSample {
    /// The labels; empty for none.
    pub labels: Labels,
    /// The time of the query, in milliseconds.
    pub time_ms: i64,
    /// The value.
    pub value: MixedValue,
}

/// A number or a native histogram.
#[derive(Debug, Clone, PartialEq)]
pub enum MixedValue {
    /// A number.
    Number(f64),
    /// A histogram.
    Histogram(Arc<Histogram>),
}

impl From<f64> for MixedValue {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

/// A series' numbers and native histograms, each with times of their own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MixedSeries {
    /// The labels, and the numbers, perhaps none.
    pub numbers: Series,
    /// The histograms, perhaps none; of the same labels.
    pub histograms: HistogramSeries,
}

/// One element of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSample {
    /// The labels; empty for none.
    pub labels: Labels,
    /// The value, at the time of the query.
    pub sample: Sample,
}

/// The type of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// One number.
    Scalar,
    /// A text.
    String,
    /// A sample per series.
    Vector,
    /// A stretch of samples per series.
    Matrix,
}

impl ValueType {
    /// The name the API gives in `resultType`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }

    /// The name Prometheus uses in messages.
    pub(crate) fn described(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }
}
