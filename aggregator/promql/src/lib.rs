//! PromQL, as Prometheus 3.5 defines it, over anything that can hand out series.
//!
//! [`Engine`] evaluates a text over a [`Source`] at one time or over a range of times; [`check`]
//! says what a text is without evaluating it; [`selector`] reads the `match[]` of an API call.
//!
//! The crate is pure: no files, no network, no runtime. Times are milliseconds since the epoch.
//!
//! How a query goes:
//!
//! 1. `tokens` cuts the text; `prepare` holds it to its bounds and rewrites what the grammar of
//!    `promql-parser` does not know; `lower` turns that crate's tree into ours (`expr`), with types
//!    checked, functions looked up, matchers compiled and durations in milliseconds.
//! 2. `eval` walks the tree once, whatever the number of steps. Every intermediate result is a
//!    column per series over all steps. A selector asks the source once, for all it needs.
//! 3. `engine` shapes the outcome into an [`Answer`].
//!
//! Native histograms are not here: samples are floats, and the functions that take only native
//! histograms give nothing for them, as in Prometheus.

mod answer;
mod budget;
mod column;
mod engine;
mod error;
mod eval;
mod expr;
mod functions;
#[cfg(test)] // The evaluator does not know histograms yet.
#[expect(unused_imports, reason = "as above")]
mod histogram;
mod lower;
mod notes;
mod order;
mod pool;
mod prepare;
mod sampling;
mod source;
mod sums;
mod tokens;

pub use answer::{Answer, Value, ValueType, VectorSample};
pub use engine::{Checked, Engine, Options, QueryOptions, check, selector, steps_len};
pub use error::{ErrorKind, Position, QueryError, SourceError};
pub use source::{Scan, Source};
