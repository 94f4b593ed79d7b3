//! PromQL, as Prometheus 3.5 defines it, over anything that can hand out series.
//!
//! [`Engine`] evaluates a text over a [`Source`] at one time or over a range of times; a [`Query`] is
//! a text that has been read; [`check`] says what a text is without evaluating it, [`conditions`] what it compares, [`result_labels`] which
//! labels it gives;
//! [`selector`] reads the `match[]` of an API call;
//! [`format()`] writes a query tidily, [`tree_json`] its tree.
//!
//! The crate is pure: no files, no network, no runtime. Times are milliseconds since the epoch.
//!
//! How a query goes:
//!
//! 1. `syntax` reads the text into a tree with its types checked, functions looked up and matchers
//!    compiled, all of it within bounds; `lower` turns that into the tree that is evaluated
//!    (`expr`), with durations and fixed times in milliseconds.
//! 2. `eval` walks the tree once, whatever the number of steps. Series flow in
//!    parts, on several threads (`pool`), and are folded as they come; what needs all of them holds
//!    a column per series over all steps. What a query may hold and how long it may take is in
//!    `budget`. A selector asks the source once, for all it needs.
//! 3. `engine` shapes the outcome into an [`Answer`].
//!
//! A series may have native histograms beside its numbers. They are held apart from these, so that
//! a query over numbers does nothing for them; `histogram` calculates with them.

mod answer;
mod beyond;
mod budget;
mod column;
mod condition;
mod elementary;
mod engine;
mod error;
mod eval;
mod expr;
mod functions;
mod histogram;
mod labels;
mod lower;
mod notes;
mod order;
mod pool;
mod query;
mod sampling;
mod source;
mod sums;
mod syntax;

pub use answer::{Answer, MixedSample, MixedSeries, MixedValue, Value, ValueType, VectorSample};
pub use condition::{Condition, Limit, Unit, conditions, unit};
pub use engine::{Engine, Options, QueryOptions, steps_len};
pub use error::{ErrorKind, Position, QueryError, SourceError};
pub use histogram::{Boundaries, Bucket, buckets as histogram_buckets, describe as histogram_text};
pub use labels::{ResultLabels, result_labels};
pub use query::{Checked, Query, Reach, any_selector, any_selector_within, check, selector};
pub use source::{BucketScan, Scan, Source};
pub use syntax::{format, series_number, tree_json};
