//! The engine: takes a query apart, evaluates it and shapes the answer.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;
use std::time::{Duration, Instant};

use labstat_model::{HistogramSeries, Labels, Sample, Series};

use crate::budget::{Budget, Limits};
use crate::column::{Column, Columns, Steps};
use crate::eval::{Evaluator, Prepared};
use crate::lower::Bounds;
use crate::pool::Pool;
use crate::{
    Answer, MixedSample, MixedSeries, MixedValue, Query, QueryError, Source, Value, ValueType,
    VectorSample, notes, order,
};

/// Times further than this from the epoch, in milliseconds, are taken for this. It is 292,000
/// years short of what an `i64` holds, so that no sum of a time and durations overflows.
const TIME_MS_MAX: i64 = 1 << 61;

/// How an engine behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// How far back an instant selector looks for a sample.
    pub lookback_ms: i64,
    /// The step of a subquery that names none.
    pub subquery_step_ms: i64,
    /// Samples one query may hold at a time, loaded ones and intermediate results together.
    pub samples_max: usize,
    /// Bytes one query may hold at a time, likewise.
    pub memory_max: usize,
    /// How long one query may take.
    pub timeout: Duration,
    /// Threads that all queries of this engine together may keep busy.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lookback_ms: 5 * 60 * 1000,
            subquery_step_ms: 60 * 1000,
            samples_max: 50_000_000,
            memory_max: 1 << 30,
            timeout: Duration::from_secs(120),
            threads: thread::available_parallelism().map_or(1, NonZero::get),
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
    /// Where to tell the most samples that the query held at a time.
    pub peak: Option<Arc<AtomicUsize>>,
}

/// Evaluates queries. Cheap to make, keeps nothing between queries. Clones share its threads.
#[derive(Debug, Clone)]
pub struct Engine {
    options: Options,
    pool: Arc<Pool>,
}

impl Default for Engine {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

impl Engine {
    /// An engine that behaves as `options` say.
    pub fn new(options: Options) -> Self {
        let pool = Arc::new(Pool::new(options.threads));
        Self { options, pool }
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
        self.instant_of(source, &Query::read(query)?, time_ms, options)
    }

    /// The same of one that has been read.
    pub fn instant_of(
        &self,
        source: &dyn Source,
        query: &Query,
        time_ms: i64,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let time_ms = time_ms.clamp(-TIME_MS_MAX, TIME_MS_MAX);
        let bounds = Bounds { start_ms: time_ms, end_ms: time_ms, step_ms: 0 };
        let prepared = query.prepared(bounds)?;
        let expr = prepared.expr();
        let mut evaluator = self.evaluator(source, query.text(), &prepared, bounds, options);
        let value = if expr.value_type == ValueType::Matrix {
            let (matrix, histograms) = evaluator.matrix(expr, time_ms)?;
            matrix_value(matrix, histograms, &evaluator.budget)?
        } else {
            evaluator.plan(expr, Steps::one(time_ms));
            instant_value(evaluator.eval(expr, Steps::one(time_ms))?, time_ms)
        };
        Ok(answer(value, evaluator))
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
        let times = (start_ms, end_ms, step_ms);
        self.range_of(source, &Query::read(query)?, times, options)
    }

    /// The same of one that has been read, from the first to the second of the times, with the
    /// third as step.
    pub fn range_of(
        &self,
        source: &dyn Source,
        query: &Query,
        (start_ms, end_ms, step_ms): (i64, i64, i64),
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let start_ms = start_ms.clamp(-TIME_MS_MAX, TIME_MS_MAX);
        let end_ms = end_ms.clamp(-TIME_MS_MAX, TIME_MS_MAX);
        let len = steps_len(start_ms, end_ms, step_ms).ok_or_else(|| {
            let message = "the step must be positive and the end not before the start";
            QueryError::Range(message.to_owned())
        })?;
        let bounds = Bounds { start_ms, end_ms, step_ms };
        let prepared = query.prepared(bounds)?;
        let expr = prepared.expr();
        if matches!(expr.value_type, ValueType::String | ValueType::Matrix) {
            return Err(QueryError::Range(notes::not_for_a_range(expr.value_type)));
        }
        let mut evaluator = self.evaluator(source, query.text(), &prepared, bounds, options);
        let steps = Steps { start_ms, step_ms, len };
        evaluator.plan(expr, steps);
        let value = range_value(evaluator.eval(expr, steps)?, steps, &evaluator.budget)?;
        Ok(answer(value, evaluator))
    }

    /// The samples that `query` looks at, at `start_ms` and every `step_ms` after it up to `end_ms`:
    /// the times, and how many at each. Reads them anew, so it takes about as long as the query.
    pub fn samples(
        &self,
        source: &dyn Source,
        query: &str,
        times: (i64, i64, i64),
        options: &QueryOptions,
    ) -> Result<Vec<(i64, u64)>, QueryError> {
        self.samples_of(source, &Query::read(query)?, times, options)
    }

    /// The same of one that has been read.
    pub fn samples_of(
        &self,
        source: &dyn Source,
        query: &Query,
        (start_ms, end_ms, step_ms): (i64, i64, i64),
        options: &QueryOptions,
    ) -> Result<Vec<(i64, u64)>, QueryError> {
        let [start_ms, end_ms] = [start_ms, end_ms].map(|ms| ms.clamp(-TIME_MS_MAX, TIME_MS_MAX));
        let bounds = Bounds { start_ms, end_ms, step_ms };
        let prepared = query.prepared(bounds)?;
        let expr = prepared.expr();
        let evaluator = self.evaluator(source, query.text(), &prepared, bounds, options);
        let steps = steps_len(start_ms, end_ms, step_ms)
            .map_or(Steps::one(start_ms), |len| Steps { start_ms, step_ms, len });
        Ok(steps.times().zip(evaluator.count(expr, steps)?).collect())
    }

    fn evaluator<'a>(
        &'a self,
        source: &'a dyn Source,
        query: &'a str,
        prepared: &'a Prepared,
        bounds: Bounds,
        options: &QueryOptions,
    ) -> Evaluator<'a> {
        let timeout = options.timeout.unwrap_or(self.options.timeout).min(self.options.timeout);
        let lookback_ms = options.lookback_ms.unwrap_or(self.options.lookback_ms);
        let limits = Limits {
            samples_max: self.options.samples_max,
            memory_max: self.options.memory_max,
            deadline: Instant::now().checked_add(timeout),
            cancel: options.cancel.clone(),
            peak: options.peak.clone(),
        };
        let mut evaluator =
            Evaluator::new(source, query, prepared, &self.pool, Budget::new(limits));
        evaluator.lookback_ms = lookback_ms.clamp(1, TIME_MS_MAX);
        evaluator.subquery_step_ms = self.options.subquery_step_ms.clamp(1, TIME_MS_MAX);
        evaluator.bounds = bounds;
        evaluator
    }
}

fn answer(value: Value, evaluator: Evaluator<'_>) -> Answer {
    let (warnings, infos) = evaluator.into_notes().shown();
    Answer { value, warnings, infos }
}

fn instant_value(columns: Columns, time_ms: i64) -> Value {
    match columns {
        Columns::Scalar(values) => {
            let value = values.first().copied().unwrap_or(f64::NAN);
            Value::Scalar(Sample { time_ms, value })
        }
        Columns::Text(text) => Value::String { time_ms, text },
        Columns::Vector(columns) if columns.iter().any(|column| column.has_histograms()) => {
            let element = |column: Column| {
                let value = match column.histogram(0) {
                    Some(histogram) => MixedValue::Histogram(Arc::clone(histogram)),
                    None => MixedValue::Number(column.get(0)?),
                };
                Some(MixedSample { labels: column.labels, time_ms, value })
            };
            Value::MixedVector(columns.into_iter().filter_map(element).collect())
        }
        Columns::Vector(columns) => {
            let element = |column: Column| {
                let value = column.get(0)?;
                Some(VectorSample { labels: column.labels, sample: Sample { time_ms, value } })
            };
            Value::Vector(columns.into_iter().filter_map(element).collect())
        }
    }
}

fn range_value(columns: Columns, steps: Steps, budget: &Budget) -> Result<Value, QueryError> {
    let columns = match columns {
        Columns::Vector(columns) => columns,
        Columns::Scalar(values) => vec![Column::full(Labels::default(), values)],
        Columns::Text(_) => Vec::new(),
    };
    let mut pace = budget.pace();
    let mut matrix = Vec::with_capacity(columns.len());
    let mut histograms = Vec::new();
    for column in columns {
        pace.spend(steps.len)?;
        if column.has_histograms() {
            let samples = column.histograms();
            let (times, values): (Vec<i64>, Vec<_>) =
                samples.map(|(step, value)| (steps.time(step), Arc::clone(value))).unzip();
            histograms.push(HistogramSeries { labels: column.labels.clone(), times, values });
        }
        let len = column.iter().count();
        if len == 0 {
            continue;
        }
        let (mut times, mut values) = (Vec::with_capacity(len), Vec::with_capacity(len));
        for (step, value) in column.iter() {
            times.push(steps.time(step));
            values.push(value);
        }
        matrix.push(Series { labels: column.labels, times, values });
    }
    matrix_value(matrix, histograms, budget)
}

/// Sorts series by labels, those with histograms with the numbers of the same.
fn matrix_value(
    matrix: Vec<Series>,
    mut histograms: Vec<HistogramSeries>,
    budget: &Budget,
) -> Result<Value, QueryError> {
    histograms.retain(|series| !series.times.is_empty());
    let matrix = order::sorted(matrix, budget, |a, b| a.labels.cmp(&b.labels))?;
    if histograms.is_empty() {
        return Ok(Value::Matrix(matrix));
    }
    let histograms = order::sorted(histograms, budget, |a, b| a.labels.cmp(&b.labels))?;
    let mut mixed = Vec::with_capacity(matrix.len() + histograms.len());
    let alone = |histograms: HistogramSeries| {
        let numbers = Series::new(histograms.labels.clone());
        MixedSeries { numbers, histograms }
    };
    let mut histograms = histograms.into_iter().peekable();
    for numbers in matrix {
        while let Some(before) = histograms.next_if(|one| one.labels < numbers.labels) {
            mixed.push(alone(before));
        }
        let same = histograms.next_if(|one| one.labels == numbers.labels);
        mixed.push(MixedSeries { numbers, histograms: same.unwrap_or_default() });
    }
    mixed.extend(histograms.map(alone));
    Ok(Value::MixedMatrix(mixed))
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
