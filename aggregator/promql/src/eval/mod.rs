//! Walks the tree of a query once and computes columns over all its steps.
//!
//! Here are selectors, ranges, subqueries and the calling of functions; operators between vectors
//! are in `binary`, aggregations in `aggregate`, the samples of a range in `window`, folds of
//! windows that overlap in `slide`.

mod aggregate;
mod binary;
mod slide;
mod window;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use labstat_model::{Labels, Series, is_stale};

use crate::column::{self, Column, Columns, SERIES_COST, Steps};
use crate::expr::{Call, Expr, Node, Selector, Shift, Subquery};
use crate::functions::Run;
use crate::notes::Notes;
use crate::{Position, QueryError, Source, SourceError, ValueType};

pub(crate) use slide::{Fold, Slide};
use window::RangeSeries;
pub(crate) use window::Window;

/// Steps or windows between two looks at the clock.
const CHECK_EVERY: usize = 64;

/// Everything one evaluation needs to know and keeps.
pub(crate) struct Evaluator<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) query: &'a str,
    pub(crate) lookback_ms: i64,
    pub(crate) subquery_step_ms: i64,
    pub(crate) samples_max: usize,
    pub(crate) deadline: Option<Instant>,
    pub(crate) cancel: Option<Arc<AtomicBool>>,
    notes: RefCell<Notes>,
    /// Samples loaded so far, and points of intermediate results that are still needed.
    loaded: Cell<usize>,
    live: Cell<usize>,
    /// What was selected already: `a / (a + b)` reads `a` once.
    selected: RefCell<HashMap<String, Rc<Vec<Series>>>>,
}

/// What [`Evaluator::windows`] calls for every window.
pub(crate) type WindowFn = fn(&Window<'_>, &[f64]) -> Option<f64>;

impl<'a> Evaluator<'a> {
    pub(crate) fn new(source: &'a dyn Source, query: &'a str) -> Self {
        Self {
            source,
            query,
            lookback_ms: 0,
            subquery_step_ms: 0,
            samples_max: 0,
            deadline: None,
            cancel: None,
            notes: RefCell::default(),
            loaded: Cell::new(0),
            live: Cell::new(0),
            selected: RefCell::default(),
        }
    }

    pub(crate) fn into_notes(self) -> Notes {
        self.notes.into_inner()
    }

    pub(crate) fn warn(&self, message: &str, start: usize) {
        self.notes.borrow_mut().warn(message, Position::of(self.query, start));
    }

    pub(crate) fn inform(&self, message: &str, start: usize) {
        self.notes.borrow_mut().inform(message, Position::of(self.query, start));
    }

    /// An error when nobody waits any more, or for too long.
    pub(crate) fn check_time(&self) -> Result<(), QueryError> {
        if self.cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
            return Err(QueryError::Canceled);
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(QueryError::Timeout);
        }
        Ok(())
    }

    /// An error when `more` points beside those that are held would be too many.
    pub(crate) fn check_samples(&self, more: usize) -> Result<(), QueryError> {
        let held = self.loaded.get().saturating_add(self.live.get()).saturating_add(more);
        if held > self.samples_max {
            return Err(QueryError::TooManySamples { limit: self.samples_max });
        }
        Ok(())
    }

    /// The value of `expr` at all `steps`.
    pub(crate) fn eval(&self, expr: &Expr, steps: Steps) -> Result<Columns, QueryError> {
        self.check_time()?;
        self.check_samples(steps.len)?;
        let held = self.live.get();
        let value = if expr.invariant && steps.len > 1 {
            self.node(expr, steps.first())?.repeat(steps.len)
        } else {
            self.node(expr, steps)?
        };
        // Whatever the parts of this expression held is gone; its own value remains.
        self.live.set(held.saturating_add(value.points()));
        self.check_samples(0)?;
        Ok(value)
    }

    fn node(&self, expr: &Expr, steps: Steps) -> Result<Columns, QueryError> {
        match &expr.node {
            Node::Number(value) => Ok(Columns::Scalar(vec![*value; steps.len])),
            Node::Text(text) => Ok(Columns::Text(text.clone())),
            Node::Selector(selector) => self.instant_values(selector, steps).map(Columns::Vector),
            Node::Negation(inner) => self.negation(inner, steps),
            Node::Binary(binary) => binary::eval(self, binary, steps),
            Node::Aggregate(aggregate) => aggregate::eval(self, aggregate, steps),
            Node::Call(call) => self.call(call, steps),
            Node::Range(_) | Node::Subquery(_) => {
                // The types are checked: a range stands only where a function takes one.
                Err(QueryError::execution("range vector where none is allowed"))
            }
        }
    }

    /// As [`Evaluator::eval`], for an expression that is an instant vector.
    pub(crate) fn vector(&self, expr: &Expr, steps: Steps) -> Result<Vec<Column>, QueryError> {
        match self.eval(expr, steps)? {
            Columns::Vector(columns) => Ok(columns),
            Columns::Scalar(values) => Ok(vec![Column::full(Labels::default(), values)]),
            Columns::Text(_) => Ok(Vec::new()),
        }
    }

    /// As [`Evaluator::eval`], for an expression that is a scalar: one number per step.
    pub(crate) fn scalar(&self, expr: &Expr, steps: Steps) -> Result<Vec<f64>, QueryError> {
        match self.eval(expr, steps)? {
            Columns::Scalar(values) => Ok(values),
            Columns::Vector(_) | Columns::Text(_) => Ok(vec![f64::NAN; steps.len]),
        }
    }

    fn negation(&self, inner: &Expr, steps: Steps) -> Result<Columns, QueryError> {
        match self.eval(inner, steps)? {
            Columns::Scalar(values) => Ok(Columns::Scalar(values.iter().map(|v| -v).collect())),
            Columns::Vector(mut columns) => {
                for column in &mut columns {
                    column.labels = column.labels.without_metric_name();
                    column.values.iter_mut().for_each(|value| *value = -*value);
                }
                column::distinct(columns).map(Columns::Vector)
            }
            Columns::Text(text) => Ok(Columns::Text(text)),
        }
    }

    /// The series of a selector, each with all its samples from `start_ms` to `end_ms`. Asked of
    /// the source once per query.
    fn select(
        &self,
        selector: &Selector,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Rc<Vec<Series>>, QueryError> {
        let key = key("all", selector, start_ms, end_ms);
        self.read(key, || self.source.select(&selector.matchers, start_ms, end_ms))
    }

    /// As [`Evaluator::select`], each with its newest sample alone.
    fn newest(
        &self,
        selector: &Selector,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Rc<Vec<Series>>, QueryError> {
        let key = key("newest", selector, start_ms, end_ms);
        self.read(key, || self.source.newest(&selector.matchers, start_ms, end_ms))
    }

    fn read(
        &self,
        key: String,
        read: impl FnOnce() -> Result<Vec<Series>, SourceError>,
    ) -> Result<Rc<Vec<Series>>, QueryError> {
        if let Some(found) = self.selected.borrow().get(&key) {
            return Ok(Rc::clone(found));
        }
        let series = read().map_err(QueryError::Source)?;
        let samples: usize = series.iter().map(|series| series.len() + SERIES_COST).sum();
        self.loaded.set(self.loaded.get().saturating_add(samples));
        self.check_samples(0)?;
        let series = Rc::new(series);
        self.selected.borrow_mut().insert(key, Rc::clone(&series));
        Ok(series)
    }

    /// The newest sample of each series at each step, unless it is too old or a marker.
    fn instant_columns(
        &self,
        selector: &Selector,
        steps: Steps,
        value: impl Fn(&Series, usize) -> Option<f64>,
    ) -> Result<Vec<Column>, QueryError> {
        let shift = selector.shift;
        let first = shift.apply(steps.start_ms) - self.lookback_ms + 1;
        let last = shift.apply(steps.last());
        // At one step the newest sample of each series is all that is looked at.
        let read = if steps.len == 1 { Self::newest } else { Self::select };
        let selected = read(self, selector, first, last)?;
        self.check_samples(column::points(selected.len(), steps.len))?;
        let mut columns = Vec::with_capacity(selected.len());
        for (at, series) in selected.iter().enumerate() {
            if at % CHECK_EVERY == 0 {
                self.check_time()?;
            }
            let mut column = Column::absent(series.labels.clone(), steps.len);
            let mut next = 0;
            for (step, time) in steps.times().enumerate() {
                let time = shift.apply(time);
                while series.times.get(next).is_some_and(|sample| *sample <= time) {
                    next += 1;
                }
                let Some(newest) = next.checked_sub(1) else { continue };
                let sampled = series.times.get(newest).copied().unwrap_or(i64::MIN);
                if sampled <= time - self.lookback_ms
                    || series.values.get(newest).is_none_or(|value| is_stale(*value))
                {
                    continue;
                }
                if let Some(value) = value(series, newest) {
                    column.set(step, value);
                }
            }
            if !column.is_empty() {
                columns.push(column);
            }
        }
        Ok(columns)
    }

    fn instant_values(&self, selector: &Selector, steps: Steps) -> Result<Vec<Column>, QueryError> {
        self.instant_columns(selector, steps, |series, at| series.values.get(at).copied())
    }

    /// As the value of a selector, but the times of the samples, in seconds.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of any date fit in 53 bits")]
    pub(crate) fn instant_times(
        &self,
        selector: &Selector,
        steps: Steps,
    ) -> Result<Vec<Column>, QueryError> {
        self.instant_columns(selector, steps, |series, at| {
            series.times.get(at).map(|ms| *ms as f64 / 1000.0)
        })
    }

    fn call(&self, call: &Call, steps: Steps) -> Result<Columns, QueryError> {
        match call.function.run {
            Run::Value(f) => self.values(call, steps, |value, _| Some(f(value))),
            Run::ValueWith(f) => self.values(call, steps, f),
            Run::Window(f) => self.windows(call, steps, f, false),
            Run::WindowNamed(f) => self.windows(call, steps, f, true),
            Run::Whole(f) => f(self, call, steps),
        }
    }

    /// The scalar arguments of a call, in order: a column each.
    fn scalars(&self, call: &Call, steps: Steps) -> Result<Vec<Vec<f64>>, QueryError> {
        let scalar = |arg: &&Expr| arg.value_type == ValueType::Scalar;
        call.args.iter().filter(scalar).map(|arg| self.scalar(arg, steps)).collect()
    }

    fn values(
        &self,
        call: &Call,
        steps: Steps,
        f: impl Fn(f64, &[f64]) -> Option<f64>,
    ) -> Result<Columns, QueryError> {
        let Some(arg) = call.args.first() else { return Ok(Columns::Vector(Vec::new())) };
        let mut columns = self.vector(arg, steps)?;
        let scalars = self.scalars(call, steps)?;
        let mut args = Vec::with_capacity(scalars.len());
        for column in &mut columns {
            column.labels = column.labels.without_metric_name();
            column.map(|step, value| {
                fill(&mut args, &scalars, step);
                f(value, &args)
            });
        }
        column::merge(columns).map(Columns::Vector)
    }

    /// Calls `f` for the window of every series at every step.
    pub(crate) fn windows(
        &self,
        call: &Call,
        steps: Steps,
        f: WindowFn,
        keep_name: bool,
    ) -> Result<Columns, QueryError> {
        self.windows_seen(call, steps, f, keep_name, |_| {})
    }

    /// As [`Evaluator::windows`], and calls `seen` with the labels of every series that gave a
    /// value, the name still among them.
    pub(crate) fn windows_seen(
        &self,
        call: &Call,
        steps: Steps,
        f: WindowFn,
        keep_name: bool,
        seen: impl Fn(&Labels),
    ) -> Result<Columns, QueryError> {
        let mut columns = self.windows_raw(call, steps, f)?;
        columns.iter().for_each(|column| seen(&column.labels));
        if !keep_name {
            drop_names(&mut columns);
        }
        column::distinct(columns).map(Columns::Vector)
    }

    /// As [`Evaluator::windows`], with labels as they are, even where two series share them.
    pub(crate) fn windows_raw(
        &self,
        call: &Call,
        steps: Steps,
        f: WindowFn,
    ) -> Result<Vec<Column>, QueryError> {
        self.windows_by(call, steps, |_| f)
    }

    /// What `f` makes of the fold of the window of every series at every step. Where the values
    /// of a series do not suit the fold, `plain` is called for its windows.
    pub(crate) fn folds<F: Fold>(
        &self,
        call: &Call,
        steps: Steps,
        f: fn(F, usize) -> f64,
        plain: WindowFn,
    ) -> Result<Columns, QueryError> {
        let mut columns = self.windows_by(call, steps, |series| {
            let suits = F::suits(series.values());
            let mut slide = Slide::<F>::new();
            move |window: &Window<'_>, args: &[f64]| {
                if !suits {
                    return plain(window, args);
                }
                let fold = slide.fold(window.series_values(), &window.indices())?;
                Some(f(fold, window.values.len()))
            }
        })?;
        drop_names(&mut columns);
        column::distinct(columns).map(Columns::Vector)
    }

    /// Walks the windows of every series with what `make` gives for it.
    fn windows_by<F: FnMut(&Window<'_>, &[f64]) -> Option<f64>>(
        &self,
        call: &Call,
        steps: Steps,
        make: impl Fn(&RangeSeries<'_>) -> F,
    ) -> Result<Vec<Column>, QueryError> {
        let range = |arg: &&Expr| arg.value_type == ValueType::Matrix;
        let Some(range) = call.args.iter().find(range) else { return Ok(Vec::new()) };
        let scalars = self.scalars(call, steps)?;
        let mut columns = Vec::new();
        self.ranges(range, steps, |series, range_ms, shift| {
            let mut f = make(&series);
            let mut column = Column::absent(series.labels.clone(), steps.len);
            let ends = steps.times().map(move |time| (time, shift.apply(time)));
            let mut args = Vec::with_capacity(scalars.len());
            for (step, window) in window::walk(&series, range_ms, ends) {
                if step % CHECK_EVERY == 0 {
                    self.check_time()?;
                }
                fill(&mut args, &scalars, step);
                if let Some(value) = f(&window, &args) {
                    column.set(step, value);
                }
            }
            if !column.is_empty() {
                self.check_samples(column::points(columns.len() + 1, steps.len))?;
                columns.push(column);
            }
            Ok(())
        })?;
        Ok(columns)
    }

    /// Hands every series of a range to `each`, with the length of the range and its shift.
    pub(crate) fn ranges(
        &self,
        expr: &Expr,
        steps: Steps,
        mut each: impl FnMut(RangeSeries<'_>, i64, Shift) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        match &expr.node {
            Node::Range(range) => {
                let shift = range.selector.shift;
                let first = shift.apply(steps.start_ms) - range.range_ms + 1;
                let selected = self.select(&range.selector, first, shift.apply(steps.last()))?;
                for series in selected.iter() {
                    each(RangeSeries::of(series), range.range_ms, shift)?;
                }
                Ok(())
            }
            Node::Subquery(subquery) => {
                let inner = self.subquery_steps(subquery, steps)?;
                for column in self.vector(&subquery.expr, inner)? {
                    let points = || column.iter().map(|(step, value)| (inner.time(step), value));
                    let times: Vec<i64> = points().map(|(time, _)| time).collect();
                    let values: Vec<f64> = points().map(|(_, value)| value).collect();
                    let series = RangeSeries::new(
                        column.labels.clone(),
                        Cow::Owned(times),
                        Cow::Owned(values),
                    );
                    each(series, subquery.range_ms, subquery.shift)?;
                }
                Ok(())
            }
            _ => Err(QueryError::execution("range vector expected")),
        }
    }

    /// The multiples of the subquery's step within all ranges the outer steps ask for.
    fn subquery_steps(&self, subquery: &Subquery, steps: Steps) -> Result<Steps, QueryError> {
        let step_ms = subquery.step_ms.unwrap_or(self.subquery_step_ms).max(1);
        let first = subquery.shift.apply(steps.start_ms) - subquery.range_ms;
        let last = subquery.shift.apply(steps.last());
        let mut start_ms = step_ms * (first / step_ms);
        if start_ms <= first {
            start_ms += step_ms;
        }
        if start_ms > last {
            return Ok(Steps { start_ms, step_ms, len: 0 });
        }
        let len = usize::try_from((last - start_ms) / step_ms + 1).unwrap_or(usize::MAX);
        self.check_samples(len)?;
        Ok(Steps { start_ms, step_ms, len })
    }

    /// The samples of a range at one time, as the answer of an instant query.
    pub(crate) fn matrix(&self, expr: &Expr, time_ms: i64) -> Result<Vec<Series>, QueryError> {
        let (mut matrix, mut points) = (Vec::new(), 0);
        self.ranges(expr, Steps::one(time_ms), |series, _, _| {
            let series = series.into_series();
            if !series.is_empty() {
                points += column::points(1, series.len());
                self.check_samples(points)?;
                matrix.push(series);
            }
            Ok(())
        })?;
        Ok(matrix)
    }

    /// Remarks on values of `arg` that are no quantile.
    pub(crate) fn note_quantiles(&self, arg: &Expr, steps: Steps) -> Result<(), QueryError> {
        for q in self.scalar(arg, steps)? {
            if !(0.0..=1.0).contains(&q) {
                let q = labstat_model::number::format_g(q);
                let message = format!("quantile value should be between 0 and 1, got {q}");
                self.warn(&message, arg.start);
            }
        }
        Ok(())
    }
}

/// What was read, for reading it once.
fn key(what: &str, selector: &Selector, start_ms: i64, end_ms: i64) -> String {
    let matchers: Vec<_> = selector.matchers.iter().map(ToString::to_string).collect();
    format!("{what} {start_ms} {end_ms} {matchers:?}")
}

fn drop_names(columns: &mut [Column]) {
    for column in columns {
        column.labels = column.labels.without_metric_name();
    }
}

/// The scalar arguments at one step.
fn fill(args: &mut Vec<f64>, scalars: &[Vec<f64>], step: usize) {
    args.clear();
    args.extend(scalars.iter().map(|column| column.get(step).copied().unwrap_or(f64::NAN)));
}
