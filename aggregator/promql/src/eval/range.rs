//! Ranges: calling functions for the window of every series at every step.

use labstat_model::{Buckets, Labels, Rolled, Series};

use super::bucket::{self, BucketSeries, BucketWalk};
use super::instant::LEFT;
use super::plan::{Ask, Basis, Piece, Windows};
use super::window::{self, RangeSeries, Window};
use super::{CHECK_EVERY, Evaluator, Fold, Slide, drop_names, fill};
use crate::column::{self, Column, Columns, Parts, Steps};
use crate::expr::{Call, Expr, Node, Selector, Shift, Subquery};
use crate::functions::OfBuckets;
use crate::{QueryError, ValueType};

/// What [`Evaluator::windows`] calls for every window.
pub(crate) type WindowFn = fn(&Window<'_>, &[f64]) -> Option<f64>;

/// Consecutive steps of a call, and the windows of its range at them.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    /// Which step of the call the first of them is.
    first: usize,
    steps: Steps,
    shift: Shift,
    range_ms: i64,
    /// The edges of windows are moved outward to multiples of this.
    edges_ms: i64,
}

/// How buckets take the place of samples.
#[derive(Clone, Copy)]
struct Bucketed<'r> {
    of: Option<&'r OfBuckets>,
    width_ms: i64,
    exact: bool,
    /// Where the range is in the query.
    start: usize,
}

impl Stretch {
    /// When each step is, and where its window ends.
    fn ends(&self) -> impl Iterator<Item = (i64, i64)> + use<> {
        let shift = self.shift;
        self.steps.times().map(move |time| (time, shift.apply(time)))
    }

    /// The times from which to which samples matter.
    fn reach(&self) -> (i64, i64) {
        let first_ms = self.shift.apply(self.steps.start_ms) - self.range_ms + 1;
        (first_ms, self.shift.apply(self.steps.last()))
    }
}

/// A series of a range.
enum Range<'r> {
    Samples(RangeSeries<'r>),
    Buckets(&'r Buckets, &'r OfBuckets),
}

impl Evaluator<'_> {
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
    pub(crate) fn folds<F: Fold<Of = f64>>(
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
        let is_range = |arg: &&Expr| arg.value_type == ValueType::Matrix;
        let Some(arg) = call.args.iter().find(is_range) else { return Ok(Vec::new()) };
        let scalars = self.scalars(call, steps)?;
        let mut parts = Parts::new(steps.len);
        self.ranges(arg, call.function.buckets.as_ref(), steps, |range, stretch| {
            let column = match range {
                Range::Samples(series) => self.walk(&series, stretch, &scalars, make(&series))?,
                Range::Buckets(buckets, of) => self.walk_buckets(buckets, stretch, of)?,
            };
            if !column.is_empty() {
                parts.push(stretch.first, column);
                self.check_samples(parts.points())?;
            }
            Ok(())
        })?;
        Ok(parts.joined())
    }

    fn walk(
        &self,
        series: &RangeSeries<'_>,
        stretch: Stretch,
        scalars: &[Vec<f64>],
        mut f: impl FnMut(&Window<'_>, &[f64]) -> Option<f64>,
    ) -> Result<Column, QueryError> {
        let mut column = Column::absent(series.labels.clone(), stretch.steps.len);
        let mut args = Vec::with_capacity(scalars.len());
        let mut windows = window::Walk::new(series, stretch.range_ms, stretch.edges_ms);
        for (step, (step_ms, end_ms)) in stretch.ends().enumerate() {
            if step % CHECK_EVERY == 0 {
                self.check_time()?;
            }
            let Some(window) = windows.next(step_ms, end_ms) else { continue };
            fill(&mut args, scalars, stretch.first + step);
            if let Some(value) = f(&window, &args) {
                column.set(step, value);
            }
        }
        Ok(column)
    }

    fn walk_buckets(
        &self,
        buckets: &Buckets,
        stretch: Stretch,
        of: &OfBuckets,
    ) -> Result<Column, QueryError> {
        let mut column = Column::absent(buckets.labels.clone(), stretch.steps.len);
        let series = BucketSeries::new(buckets);
        let mut windows = BucketWalk::new(&series, stretch.range_ms);
        for (step, (_, end_ms)) in stretch.ends().enumerate() {
            if step % CHECK_EVERY == 0 {
                self.check_time()?;
            }
            if let Some(value) = windows.next(end_ms).and_then(|window| (of.run)(&window)) {
                column.set(step, value);
            }
        }
        Ok(column)
    }

    /// Hands every series of a range to `each`: as buckets where these do and `of` says how to
    /// compute of them, otherwise as samples.
    fn ranges(
        &self,
        expr: &Expr,
        of: Option<&OfBuckets>,
        steps: Steps,
        mut each: impl FnMut(Range<'_>, Stretch) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        match &expr.node {
            Node::Range(range) => {
                let ask = if of.is_some() { Ask::Known } else { Ask::Samples };
                let (shift, range_ms) = (range.selector.shift, range.range_ms);
                let windows = Windows { steps, shift, range_ms, ask };
                for Piece { first, steps, basis } in windows.pieces(self.tiers()) {
                    let stretch = Stretch { first, steps, shift, range_ms, edges_ms: 1 };
                    match basis {
                        Basis::Samples => {
                            let (first_ms, last_ms) = stretch.reach();
                            for series in self.select(&range.selector, first_ms, last_ms)?.iter() {
                                each(Range::Samples(RangeSeries::of(series)), stretch)?;
                            }
                        }
                        Basis::Buckets { width_ms, exact } => {
                            let basis = Bucketed { of, width_ms, exact, start: expr.start };
                            self.bucketed(&range.selector, basis, stretch, &mut each)?;
                        }
                    }
                }
                Ok(())
            }
            Node::Subquery(subquery) => self.subquery(subquery, steps, each),
            _ => Err(QueryError::execution("range vector expected")),
        }
    }

    fn bucketed(
        &self,
        selector: &Selector,
        basis: Bucketed<'_>,
        stretch: Stretch,
        each: &mut impl FnMut(Range<'_>, Stretch) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let Bucketed { of, width_ms, exact, start } = basis;
        let columns = of.map_or(LEFT, |of| of.columns);
        for rolled in self.buckets(selector, stretch.reach(), width_ms, columns)?.iter() {
            if !exact && matches!(rolled, Rolled::Buckets(_)) {
                self.note_approximation(width_ms, start);
            }
            match (rolled, of) {
                (Rolled::Samples(series), _) => {
                    each(Range::Samples(RangeSeries::of(series)), stretch)?;
                }
                (Rolled::Buckets(buckets), Some(of)) => each(Range::Buckets(buckets, of), stretch)?,
                (Rolled::Buckets(buckets), None) => {
                    let left = bucket::ends_of_buckets(buckets);
                    let stretch = Stretch { edges_ms: width_ms, ..stretch };
                    each(Range::Samples(RangeSeries::of(&left)), stretch)?;
                }
            }
        }
        Ok(())
    }

    fn subquery(
        &self,
        subquery: &Subquery,
        steps: Steps,
        mut each: impl FnMut(Range<'_>, Stretch) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let (shift, range_ms) = (subquery.shift, subquery.range_ms);
        let stretch = Stretch { first: 0, steps, shift, range_ms, edges_ms: 1 };
        let inner = self.subquery_steps(subquery, steps)?;
        for column in self.vector(&subquery.expr, inner)? {
            let points = || column.iter().map(|(step, value)| (inner.time(step), value));
            let times: Vec<i64> = points().map(|(time, _)| time).collect();
            let values: Vec<f64> = points().map(|(_, value)| value).collect();
            let series = RangeSeries::new(column.labels.clone(), times.into(), values.into());
            each(Range::Samples(series), stretch)?;
        }
        Ok(())
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
        self.ranges(expr, None, Steps::one(time_ms), |range, stretch| {
            let Range::Samples(series) = range else { return Ok(()) };
            let (first_ms, last_ms) = stretch.reach();
            let series = series.into_series(first_ms, last_ms);
            if !series.is_empty() {
                points += column::points(1, series.len());
                self.check_samples(points)?;
                matrix.push(series);
            }
            Ok(())
        })?;
        Ok(matrix)
    }
}
