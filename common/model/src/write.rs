//! What a write carries: the decoded form of a remote-write request, and what the store takes.
//!
//! A store takes any [`WriteView`]: series by the hash of their labels, which are read only when
//! that hash is new. A [`WriteRequest`] is one with the labels at hand; the body of a remote-write
//! request is one that never makes them.

use crate::{HistogramSample, Kind, LabelError, Labels, LabelsHash, Layout, Sample};

/// A write as it is stored.
pub trait WriteView {
    /// The number of series.
    fn series_len(&self) -> usize;

    /// The series at a place below [`WriteView::series_len`].
    fn series(&self, at: usize) -> Option<SeriesView<'_>>;

    /// The labels of the series at that place, or why they cannot be taken.
    fn labels(&self, at: usize) -> Result<Labels, SeriesError>;

    /// What the sender says of metric families; often empty.
    fn metadata(&self) -> &[Metadata];

    /// The number of series with native histograms. They are counted apart from those with float
    /// samples: a series that has both is among both.
    fn histograms_len(&self) -> usize {
        0
    }

    /// The native histograms of the series at a place below [`WriteView::histograms_len`].
    fn histograms(&self, at: usize) -> Option<HistogramsView<'_>> {
        let _ = at;
        None
    }

    /// The labels of the series at that place, or why they cannot be taken.
    fn histogram_labels(&self, at: usize) -> Result<Labels, SeriesError> {
        let _ = at;
        Err(SeriesError::Malformed)
    }
}

/// The native histograms of a series of a [`WriteView`].
#[derive(Debug, Clone, Copy)]
pub struct HistogramsView<'a> {
    /// The hash of its labels as they came: equal ones mean equal labels.
    pub hash: LabelsHash,
    /// At least one, in the order they were sent.
    pub samples: &'a [HistogramSample],
}

/// The label of the series that a store makes of the parts of native histograms. It is the store's
/// own: no sender may use it, and no reader sees it.
pub const HISTOGRAM_LABEL: &str = "__labstat_histogram__";

/// A series of a [`WriteView`].
#[derive(Debug, Clone, Copy)]
pub struct SeriesView<'a> {
    /// The hash of its labels as they came: equal ones mean equal labels.
    pub hash: LabelsHash,
    /// Its samples, at least one, in the order they were sent.
    pub samples: &'a [Sample],
}

/// Why the labels of one series of a write cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeriesError {
    /// A label is no message of a name and a value, or the series is not there.
    #[error("malformed label")]
    Malformed,
    /// A label's name is not UTF-8.
    #[error("label name {0:?} is not UTF-8")]
    NameNotUtf8(String),
    /// A label's value is not UTF-8.
    #[error("value of label {0:?} is not UTF-8")]
    ValueNotUtf8(String),
    /// The set breaks a rule or a limit.
    #[error("series {series}: {cause}")]
    Labels {
        /// The series, as far as it can be told.
        series: String,
        /// The rule it breaks.
        cause: LabelError,
    },
    /// The set has the label that stores keep for themselves.
    #[error("series {0} has the label {HISTOGRAM_LABEL}, which is reserved")]
    Reserved(String),
    /// The set has no `__name__`, or an empty one.
    #[error("series {0} has no metric name (label __name__)")]
    NoMetricName(String),
}

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

impl WriteView for WriteRequest {
    fn series_len(&self) -> usize {
        self.series.len()
    }

    fn series(&self, at: usize) -> Option<SeriesView<'_>> {
        let TimeSeries { labels, samples } = self.series.get(at)?;
        let hash = LabelsHash::new(Layout::Set, labels.as_ref().as_encoded().as_bytes());
        Some(SeriesView { hash, samples })
    }

    fn labels(&self, at: usize) -> Result<Labels, SeriesError> {
        self.series.get(at).map(|series| series.labels.clone()).ok_or(SeriesError::Malformed)
    }

    fn metadata(&self) -> &[Metadata] {
        &self.metadata
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

/// A write that has native histograms, too.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MixedRequest {
    /// Series with float samples, and metadata.
    pub floats: WriteRequest,
    /// Series with histograms, each with at least one.
    pub histograms: Vec<HistogramTimeSeries>,
}

impl MixedRequest {
    /// The number of samples of all series, a histogram being one.
    pub fn samples_len(&self) -> usize {
        let histograms = self.histograms.iter().map(|series| series.samples.len());
        self.floats.samples_len() + histograms.sum::<usize>()
    }

    /// Whether it has no series.
    pub const fn is_empty(&self) -> bool {
        self.floats.series.is_empty() && self.histograms.is_empty()
    }
}

/// The histograms of one series of a write.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramTimeSeries {
    /// The labels, with the metric name as `__name__`.
    pub labels: Labels,
    /// The histograms, in the order they were sent.
    pub samples: Vec<HistogramSample>,
}

impl WriteView for MixedRequest {
    fn series_len(&self) -> usize {
        self.floats.series_len()
    }

    fn series(&self, at: usize) -> Option<SeriesView<'_>> {
        WriteView::series(&self.floats, at)
    }

    fn labels(&self, at: usize) -> Result<Labels, SeriesError> {
        self.floats.labels(at)
    }

    fn metadata(&self) -> &[Metadata] {
        &self.floats.metadata
    }

    fn histograms_len(&self) -> usize {
        self.histograms.len()
    }

    fn histograms(&self, at: usize) -> Option<HistogramsView<'_>> {
        let HistogramTimeSeries { labels, samples } = self.histograms.get(at)?;
        let hash = LabelsHash::new(Layout::Set, labels.as_ref().as_encoded().as_bytes());
        Some(HistogramsView { hash, samples })
    }

    fn histogram_labels(&self, at: usize) -> Result<Labels, SeriesError> {
        self.histograms.get(at).map(|one| one.labels.clone()).ok_or(SeriesError::Malformed)
    }
}
