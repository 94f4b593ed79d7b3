//! Walks the tree of a query once and computes the values at all its steps.
//!
//! # How it goes
//!
//! Series flow. A [`Stream`](stream) is opened on what a selector reads ([`feed`]: parts of a few
//! hundred series); of each series the values at all steps are found at once (`instant`, `range`),
//! changed in place by functions of one value and operators with a number, and folded into the
//! state of its group (`aggregate`, `fold`, `groups`). Then it is forgotten: a sum over ten thousand
//! series holds as many numbers as its groups have steps. Parts run on any thread
//! ([`pool`](crate::pool)); what each gives is taken in their order, so the bits of an answer do
//! not depend on the threads.
//!
//! What needs all series collects columns: operators between vectors (`binary`), sorting, joining,
//! functions of the labels, subqueries, and the answer itself. A column is eight bytes a step.
//!
//! Parts of the query that are equal are evaluated once (`memo`), those that are the same at all
//! steps at one of them, and a selector is read once for all its steps and for all functions over it
//! that look at about the same times (`share`). What is read, and whether
//! samples or buckets are, is in `read` and `plan`. The samples of a range are in `window`, its
//! buckets in `bucket`, folds of windows that overlap in `slide`.
//!
//! # What may go wrong
//!
//! Too much held, too long, or nobody waiting any more: every loop that may run for milliseconds
//! counts its work on a [`Pace`](crate::budget::Pace), which looks at the clock now and then, and
//! everything that is held is counted before it is ([`budget`](crate::budget)). The first error of
//! any part ends the query.
//!
//! Two series that have the same labels once the metric name is gone are an error where they meet.
//! Where a selector names one metric this cannot be; elsewhere the series are collected to see.

mod aggregate;
mod binary;
mod bucket;
mod count;
mod feed;
mod fill;
mod fold;
mod groups;
mod instant;
mod layout;
mod memo;
mod mixed;
mod natives;
mod pick;
mod plan;
mod prepared;
mod range;
mod read;
mod share;
mod slide;
mod stream;
mod window;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use labstat_model::Labels;

use crate::budget::{Budget, Cost};
use crate::column::{self, Column, Columns, Steps};
use crate::expr::{Binary, Call, Edges, Expr, Node};
use crate::functions::Run;
use crate::lower::Bounds;
use crate::notes::{self, Notes};
use crate::pool::Pool;
use crate::{Position, QueryError, Source, ValueType};

use binary::Operand;
pub(crate) use bucket::BucketWindow;
use instant::Show;
use memo::Memo;
pub(crate) use prepared::Prepared;
use read::Reads;
use share::Shared;
pub(crate) use slide::Fold;
use stream::{Alike, Stage, Stream};
use window::Kernel;
pub(crate) use window::{Laid, RangeSeries, SeriesFn, Walker, Window, WindowFn};

/// Remarks kept of a query; more than are told apart when they are shown.
const REMARKS_MAX: usize = 40_000;

/// Everything one evaluation needs to know and keeps.
pub(crate) struct Evaluator<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) query: &'a str,
    pub(crate) lookback_ms: i64,
    pub(crate) subquery_step_ms: i64,
    /// From where to where, and how far apart, the query itself is evaluated.
    pub(crate) bounds: Bounds,
    pub(crate) budget: Budget,
    pool: &'a Pool,
    prepared: &'a Prepared,
    /// In order, each once.
    remarks: RefCell<Vec<Remark>>,
    remarked: RefCell<HashSet<Remark>>,
    memo: Memo,
    shared: Shared,
    reads: Reads,
    approximated: Cell<bool>,
}

/// Something to say of the result; `start` is the byte of the query it is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Remark {
    Warning {
        message: String,
        start: usize,
    },
    Info {
        message: String,
        start: usize,
    },
    /// Samples were gone and buckets of this width stood in for them. Said once a query.
    Approximated {
        width_ms: i64,
        start: usize,
    },
}

impl Remark {
    /// The same remark on an equal part of the query that begins at `to`, not at `from`. What is
    /// said of a place outside of the part stays there.
    fn moved(&self, from: usize, to: usize) -> Self {
        let mut moved = self.clone();
        let (Self::Warning { start, .. }
        | Self::Info { start, .. }
        | Self::Approximated { start, .. }) = &mut moved;
        if *start >= from {
            *start = *start - from + to;
        }
        moved
    }
}

/// More stack than one level of a query takes, whatever stands there and without optimization.
const STACK_LEFT_MIN: usize = 256 * 1024;

/// The stack that is added where less than that is left.
const STACK_ADDED: usize = 4 * 1024 * 1024;

/// One level further down: the tree is bounded in depth, but not the stack of whoever asks.
fn deeper<T>(work: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(STACK_LEFT_MIN, STACK_ADDED, work)
}

impl<'a> Evaluator<'a> {
    pub(crate) fn new(
        source: &'a dyn Source,
        query: &'a str,
        prepared: &'a Prepared,
        pool: &'a Pool,
        budget: Budget,
    ) -> Self {
        Self {
            source,
            query,
            lookback_ms: 0,
            subquery_step_ms: 0,
            bounds: Bounds::default(),
            budget,
            pool,
            prepared,
            remarks: RefCell::default(),
            remarked: RefCell::default(),
            memo: Memo::default(),
            shared: Shared::default(),
            reads: Reads::default(),
            approximated: Cell::new(false),
        }
    }

    pub(crate) fn into_notes(self) -> Notes {
        let mut notes = Notes::default();
        for remark in self.remarks.into_inner() {
            match remark {
                Remark::Warning { message, start } => {
                    notes.warn(&message, Position::of(self.query, start));
                }
                Remark::Info { message, start } => {
                    notes.inform(&message, Position::of(self.query, start));
                }
                Remark::Approximated { width_ms, start } => {
                    let message = notes::approximated(width_ms);
                    notes.inform(&message, Position::of(self.query, start));
                }
            }
        }
        notes
    }

    pub(crate) fn warn(&self, message: &str, start: usize) {
        self.remark(Remark::Warning { message: message.to_owned(), start });
    }

    pub(crate) fn inform(&self, message: &str, start: usize) {
        self.remark(Remark::Info { message: message.to_owned(), start });
    }

    fn remark(&self, remark: Remark) {
        if matches!(remark, Remark::Approximated { .. }) && self.approximated.replace(true) {
            return;
        }
        let mut remarks = self.remarks.borrow_mut();
        if remarks.len() < REMARKS_MAX && self.remarked.borrow_mut().insert(remark.clone()) {
            remarks.push(remark);
        }
    }

    /// An error when nobody waits any more, or for too long.
    pub(crate) fn check_time(&self) -> Result<(), QueryError> {
        self.budget.check_time()
    }

    /// An error when so many columns more would be too many to hold.
    pub(crate) fn check_columns(&self, series: usize, steps: Steps) -> Result<(), QueryError> {
        self.budget.check(Cost::columns(series, steps.len))
    }

    /// Makes one column of those that have the same labels; see [`column::merge`].
    pub(crate) fn merge(&self, columns: Vec<Column>) -> Result<Vec<Column>, QueryError> {
        column::merge(columns, &mut self.budget.pace())
    }

    /// An error when two columns have the same labels; see [`column::distinct`].
    pub(crate) fn distinct(&self, columns: Vec<Column>) -> Result<Vec<Column>, QueryError> {
        column::distinct(columns, &mut self.budget.pace())
    }

    /// The value of `expr` at all `steps`.
    pub(crate) fn eval(&self, expr: &Expr, steps: Steps) -> Result<Columns, QueryError> {
        self.check_time()?;
        self.budget.check(Cost::columns(1, steps.len))?;
        let held = self.budget.live();
        let value = match self.known(expr, steps) {
            Some(value) => value,
            None => {
                let first_remark = self.remarks.borrow().len();
                let value = if expr.invariant && steps.len > 1 {
                    self.repeated(self.node(expr, steps.first())?, steps.len)?
                } else {
                    self.node(expr, steps)?
                };
                self.keep(expr, steps, &value, first_remark)?;
                value
            }
        };
        // Whatever the parts of this expression held is gone; its own value remains.
        self.budget.set_live(held.and(value.cost()))?;
        Ok(value)
    }

    /// What is the same at all steps, for `len` of them.
    fn repeated(&self, value: Columns, len: usize) -> Result<Columns, QueryError> {
        self.budget.check(value.cost_repeated(len))?;
        Ok(value.repeat(len))
    }

    // What is on the stack while parts are evaluated is in functions that hold little else: it is
    // there as often as a query is deep.
    fn node(&self, expr: &Expr, steps: Steps) -> Result<Columns, QueryError> {
        deeper(|| self.node_here(expr, steps))
    }

    fn node_here(&self, expr: &Expr, steps: Steps) -> Result<Columns, QueryError> {
        match &expr.node {
            Node::Number(value) => Ok(Columns::Scalar(vec![*value; steps.len])),
            Node::Text(text) => Ok(Columns::Text(text.clone())),
            Node::Negation(inner) if inner.value_type == ValueType::Scalar => {
                self.negated(inner, steps)
            }
            Node::Aggregate(aggregate) => aggregate::eval(self, aggregate, expr.start, steps),
            Node::Binary(binary) if !binary::is_with_scalar(binary) => {
                binary::eval(self, binary, expr.start, steps)
            }
            Node::Range(_) | Node::Subquery(_) => {
                // The types are checked: a range stands only where a function takes one.
                Err(QueryError::execution("range vector where none is allowed"))
            }
            Node::Call(call) => match call.function.run {
                Run::Whole(f) => f(self, call, steps),
                _ => self.flowed(expr, steps),
            },
            Node::Selector(_) | Node::Negation(_) | Node::Binary(_) => self.flowed(expr, steps),
        }
    }

    fn negated(&self, inner: &Expr, steps: Steps) -> Result<Columns, QueryError> {
        let values = self.scalar(inner, steps)?;
        Ok(Columns::Scalar(values.iter().map(|value| -value).collect()))
    }

    fn flowed(&self, expr: &Expr, steps: Steps) -> Result<Columns, QueryError> {
        self.flow(expr, steps)?.columns(self).map(Columns::Vector)
    }

    /// The values of an instant vector, to be taken as they come.
    fn stream<'s>(&'s self, expr: &'s Expr, steps: Steps) -> Result<Stream<'s>, QueryError> {
        if !flows(expr) || (expr.invariant && steps.len > 1) {
            return Ok(Stream::of(self.vector(expr, steps)?, steps));
        }
        if let Some(columns) = self.held_once(expr, steps)? {
            return Ok(Stream::of(columns, steps));
        }
        self.check_time()?;
        self.flow(expr, steps)
    }

    /// As [`Evaluator::stream`], for an expression that [`flows`].
    fn flow<'s>(&'s self, expr: &'s Expr, steps: Steps) -> Result<Stream<'s>, QueryError> {
        deeper(|| self.flow_here(expr, steps))
    }

    fn flow_here<'s>(&'s self, expr: &'s Expr, steps: Steps) -> Result<Stream<'s>, QueryError> {
        match &expr.node {
            Node::Selector(selector) if selector.edges == Edges::Smoothed => {
                self.smoothed(selector, expr.start, steps)
            }
            Node::Selector(selector) => self.instants(selector, expr.start, steps, Show::Value),
            Node::Negation(inner) => {
                let negated = |stream: Stream<'s>| {
                    stream.then(self, Some(Stage::Negate), Some(Alike::Refused))
                };
                self.stream(inner, steps).and_then(negated)
            }
            Node::Binary(binary) => self.flow_of_operator(binary, expr.start, steps),
            Node::Call(call) => self.flow_of_call(call, steps),
            _ => self.vector(expr, steps).map(|columns| Stream::of(columns, steps)),
        }
    }

    /// Of an operator between a vector and a number.
    fn flow_of_operator<'s>(
        &'s self,
        binary: &'s Binary,
        start: usize,
        steps: Steps,
    ) -> Result<Stream<'s>, QueryError> {
        let swapped = binary.lhs.value_type == ValueType::Scalar;
        let (vector, scalar) = match swapped {
            false => (&binary.lhs, &binary.rhs),
            true => (&binary.rhs, &binary.lhs),
        };
        let with_operand = |stream: Stream<'s>| {
            let scalar = self.scalar(scalar, steps)?;
            let operand = Operand::new(binary, scalar, swapped, start);
            let drops = binary::drops_name(binary).then_some(Alike::Merged);
            stream.then(self, Some(Stage::Operator(operand)), drops)
        };
        self.stream(vector, steps).and_then(with_operand)
    }

    fn flow_of_call<'s>(&'s self, call: &'s Call, steps: Steps) -> Result<Stream<'s>, QueryError> {
        let (kernel, keeps_name, counter) = match call.function.run {
            Run::Value(f) => return self.flow_of_values(call, steps, |_| Stage::Value(f)),
            Run::ValueWith(f) => {
                return self.flow_of_values(call, steps, |args| Stage::ValueWith(f, args));
            }
            Run::Window(f) => (Kernel::Window(f), false, false),
            Run::WindowNamed(f) => (Kernel::Window(f), true, false),
            Run::Series(f) => (Kernel::Series(f), false, false),
            Run::Counter(f) => (Kernel::Series(f), false, true),
            Run::Whole(_) => return Ok(Stream::of(Vec::new(), steps)),
        };
        let args = self.scalars(call, steps)?;
        let mut calling = self.calling(call, kernel, keeps_name, args);
        calling.counter = counter;
        self.ranges(call, calling, steps)
    }

    fn flow_of_values<'s>(
        &'s self,
        call: &'s Call,
        steps: Steps,
        stage: impl FnOnce(Vec<Vec<f64>>) -> Stage,
    ) -> Result<Stream<'s>, QueryError> {
        let Some(arg) = call.args.first() else { return Ok(Stream::of(Vec::new(), steps)) };
        let staged = |stream: Stream<'s>| {
            let scalars = self.scalars(call, steps)?;
            stream.then(self, Some(stage(scalars)), Some(Alike::Merged))
        };
        self.stream(arg, steps).and_then(staged)
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

    /// The scalar arguments of a call, in order: a column each.
    pub(crate) fn scalars(&self, call: &Call, steps: Steps) -> Result<Vec<Vec<f64>>, QueryError> {
        let scalar = |arg: &&Expr| arg.value_type == ValueType::Scalar;
        call.args.iter().filter(scalar).map(|arg| self.scalar(arg, steps)).collect()
    }

    /// Remarks on those of the values of an argument that begins at `start` that are no quantile.
    pub(crate) fn note_quantiles(&self, values: impl Iterator<Item = f64>, start: usize) {
        let mut said = None;
        for q in values.filter(|q| !(0.0..=1.0).contains(q)) {
            // Mostly it is the same at all steps.
            if said.replace(q.to_bits()) != Some(q.to_bits()) {
                self.warn(&notes::no_quantile(q), start);
            }
        }
    }
}

/// Whether an expression's series can be taken one by one.
fn flows(expr: &Expr) -> bool {
    expr.value_type == ValueType::Vector
        && match &expr.node {
            Node::Selector(_) | Node::Negation(_) => true,
            Node::Binary(binary) => binary::is_with_scalar(binary),
            Node::Call(call) => !matches!(call.function.run, Run::Whole(_)),
            _ => false,
        }
}

fn drop_names(columns: &mut [Column]) {
    for column in columns {
        column.labels = column.labels.without_metadata();
    }
}

/// The scalar arguments at one step.
fn fill(args: &mut Vec<f64>, scalars: &[Vec<f64>], step: usize) {
    args.clear();
    args.extend(scalars.iter().map(|column| column.get(step).copied().unwrap_or(f64::NAN)));
}
