//! What every room of labstat shares: labels, samples, metric families, matchers, durations,
//! numbers as Prometheus writes them, the clock, the limits everything is held to, and how
//! configuration is read.
//!
//! Pure values and no I/O: no files, no network, no runtime. The only thing here that looks at
//! the world is [`SystemClock`], and it looks at nothing but the time.
//!
//! Not here: how values travel (`labstat-wire`), how they are kept (`labstat-store`), how they
//! are asked for (`labstat-promql`).

mod batch;
mod bucket;
mod clock;
mod dialect;
pub mod duration;
mod error_chain;
mod family;
mod histogram;
mod label_hash;
mod labels;
pub mod limits;
mod matcher;
pub mod number;
mod pattern;
mod pattern_programs;
mod pattern_room;
mod sample;
pub mod settings;
mod write;

pub use batch::{Batch, BatchSample};
pub use bucket::{
    BUCKET_WIDTHS_MS, BucketColumn, BucketColumns, Buckets, Rolled, Tiers, bucket_end, bucket_range,
};
pub use clock::{Clock, ManualClock, SystemClock};
pub use dialect::from_go as regex_from_go;
pub use error_chain::error_chain;
pub use family::{Family, Kind};
pub use histogram::{
    BucketCount, HISTOGRAM_BUCKETS_MAX, Histogram, HistogramError, HistogramSample,
    HistogramSeries, ResetHint,
};
pub use label_hash::{LabelsHash, LabelsMemo, Layout};
pub use labels::{
    LabelError, Labels, LabelsRef, METRIC_NAME, is_label_name, is_metadata, is_metric_name,
};
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use pattern_room::PatternRoom;
pub use sample::{STALE_BITS, Sample, Series, SeriesRef, is_stale, stale_marker};
pub use write::{
    HISTOGRAM_LABEL, HistogramTimeSeries, HistogramsView, Metadata, MixedRequest, SeriesError,
    SeriesView, TimeSeries, WriteRequest, WriteView,
};
