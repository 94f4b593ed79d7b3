//! What a query gives.

use labstat_model::{Labels, Sample, Series};

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
