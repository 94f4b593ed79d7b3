//! Calculating with native histograms, as Prometheus 3 defines it.
//!
//! Pure: histograms in, histograms and numbers out. `buckets` gives buckets their bounds,
//! `arithmetic` adds and scales, `reset` tells a counter that began anew, `quantile` estimates from
//! the distribution, `text` writes one for people and labels.
//!
//! Not here: which histograms an expression is about (`eval`), histograms of one series a bucket
//! (`functions::histogram`).

mod arithmetic;
mod buckets;
mod operate;
mod quantile;
mod reset;
mod text;

pub(crate) use arithmetic::{
    Incompatible, add, compact, divide, equal, multiply, negate, subtract, to_schema,
};
pub use buckets::{Boundaries, Bucket, buckets};
pub(crate) use operate::{Trouble, operate};
pub(crate) use quantile::{NanEffect, average, fraction, quantile, variance};
pub(crate) use reset::is_reset;
pub use text::describe;
