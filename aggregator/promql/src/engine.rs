//! The engine: takes a query apart, evaluates it and shapes the answer.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use labstat_model::{Matcher, Series};

use crate::{Answer, QueryError, SourceError, ValueType};

/// Where series come from.
pub trait Source: Sync {
    /// The series that fulfil all `matchers`, each with its samples from `start_ms` to `end_ms`,
    /// both included. Series sorted by labels; markers of staleness as they were sent; a series
    /// without samples in the window may be left out.
    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, SourceError>;
}

/// How an engine behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// How far back an instant selector looks for a sample.
    pub lookback_ms: i64,
    /// The step of a subquery that names none.
    pub subquery_step_ms: i64,
    /// Samples one query may hold at a time, loaded ones and intermediate results together.
    pub samples_max: usize,
    /// How long one query may take.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lookback_ms: 5 * 60 * 1000,
            subquery_step_ms: 60 * 1000,
            samples_max: 50_000_000,
            timeout: Duration::from_secs(120),
        }
    }
}

/// What one query may set differently.
#[derive(Debug, Clone, Default)]
pub struct QueryOptions {
    /// In place of [`Options::lookback_ms`].
    pub lookback_ms: Option<i64>,
    /// In place of [`Options::timeout`], when it is shorter.
    pub timeout: Option<Duration>,
    /// Set to true from outside to stop the evaluation.
    pub cancel: Option<Arc<AtomicBool>>,
}

/// What [`check`] finds out about a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The type of its value.
    pub value_type: ValueType,
    /// The metric names it selects by equality, sorted, each once.
    pub metric_names: Vec<String>,
    /// The matchers of each of its selectors, the metric name as `__name__`.
    pub selectors: Vec<Vec<Matcher>>,
}

/// Evaluates queries. Cheap to make, keeps nothing between queries.
#[derive(Debug, Clone, Default)]
pub struct Engine {
    options: Options,
}

impl Engine {
    /// An engine that behaves as `options` say.
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    /// How it behaves.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The value of `query` at `time_ms`.
    pub fn instant(
        &self,
        source: &dyn Source,
        query: &str,
        time_ms: i64,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let _ = (source, query, time_ms, options);
        Err(QueryError::execution("the evaluator is not built yet"))
    }

    /// The values of `query` at `start_ms` and every `step_ms` after it up to `end_ms`.
    pub fn range(
        &self,
        source: &dyn Source,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let _ = (source, query, start_ms, end_ms, step_ms, options);
        Err(QueryError::execution("the evaluator is not built yet"))
    }
}

/// The number of points of a range query, so that a server can bound it before evaluating.
/// `None` when the three make no range.
pub fn steps_len(start_ms: i64, end_ms: i64, step_ms: i64) -> Option<usize> {
    if step_ms <= 0 || end_ms < start_ms {
        return None;
    }
    let span = i128::from(end_ms) - i128::from(start_ms);
    usize::try_from(span / i128::from(step_ms) + 1).ok()
}

/// Reads a query without evaluating it.
pub fn check(query: &str) -> Result<Checked, QueryError> {
    Err(QueryError::parse(format!("not built yet: {query}")))
}

/// Reads a series selector such as the API's `match[]`: `up{job="node"}`.
pub fn selector(text: &str) -> Result<Vec<Matcher>, QueryError> {
    Err(QueryError::parse(format!("not built yet: {text}")))
}
