//! Walks the tree of a query once and computes columns over all its steps.
//!
//! Here is the walk itself; selectors are in `instant`, ranges, subqueries and the calling of
//! functions over them in `range`, operators between vectors in `binary`, aggregations in
//! `aggregate`. What is asked of the source is in `read`, and whether samples or buckets are asked
//! for in `plan`. The samples of a range are in `window`, its buckets in `bucket`, folds of windows
//! that overlap in `slide`.

mod aggregate;
mod binary;
mod bucket;
mod instant;
mod plan;
mod range;
mod read;
mod slide;
mod window;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use labstat_model::Labels;

use crate::column::{self, Column, Columns, Steps};
use crate::expr::{Call, Expr, Node};
use crate::functions::Run;
use crate::lower::Bounds;
use crate::notes::{self, Notes};
use crate::{Position, QueryError, Source, ValueType};

pub(crate) use bucket::BucketWindow;
use read::Reads;
pub(crate) use slide::{Fold, Slide};
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
    /// From where to where, and how far apart, the query itself is evaluated.
    pub(crate) bounds: Bounds,
    notes: RefCell<Notes>,
    /// Samples loaded so far, and points of intermediate results that are still needed.
    loaded: Cell<usize>,
    live: Cell<usize>,
    reads: Reads,
    approximated: Cell<bool>,
}

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
            bounds: Bounds::default(),
            notes: RefCell::default(),
            loaded: Cell::new(0),
            live: Cell::new(0),
            reads: Reads::default(),
            approximated: Cell::new(false),
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

    /// Says, once a query, that samples were gone and buckets of this width stood in for them.
    fn note_approximation(&self, width_ms: i64, start: usize) {
        if !self.approximated.replace(true) {
            self.inform(&notes::approximated(width_ms), start);
        }
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
            Node::Selector(selector) => {
                self.instant_values(selector, expr.start, steps).map(Columns::Vector)
            }
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

    /// Remarks on values of `arg` that are no quantile.
    pub(crate) fn note_quantiles(&self, arg: &Expr, steps: Steps) -> Result<(), QueryError> {
        for q in self.scalar(arg, steps)? {
            if !(0.0..=1.0).contains(&q) {
                self.warn(&notes::no_quantile(q), arg.start);
            }
        }
        Ok(())
    }
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
