//! Instant selectors: the newest sample of each series at each step.

use labstat_model::{BucketColumn, BucketColumns, Rolled, Series, is_stale};

use super::plan::{Ask, Basis, Piece, Windows};
use super::{CHECK_EVERY, Evaluator, bucket};
use crate::QueryError;
use crate::column::{self, Column, Parts, Steps};
use crate::expr::{Expr, Node, Selector};

/// What of buckets tells the newest sample at their ends.
const AT_ENDS: BucketColumns = BucketColumns::of(&[BucketColumn::LastAfter, BucketColumn::Last]);

/// What of buckets is left of their samples.
pub(super) const LEFT: BucketColumns = BucketColumns::of(&[
    BucketColumn::FirstAfter,
    BucketColumn::First,
    BucketColumn::LastAfter,
    BucketColumn::Last,
]);

impl Evaluator<'_> {
    /// The value of a selector.
    pub(super) fn instant_values(
        &self,
        selector: &Selector,
        start: usize,
        steps: Steps,
    ) -> Result<Vec<Column>, QueryError> {
        self.instant_columns(selector, start, steps, |_, value| value)
    }

    /// As the value of a selector, but the times of the samples, in seconds; `None` when `expr` is
    /// no selector.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of any date fit in 53 bits")]
    pub(crate) fn instant_times(
        &self,
        expr: &Expr,
        steps: Steps,
    ) -> Result<Option<Vec<Column>>, QueryError> {
        let Node::Selector(selector) = &expr.node else { return Ok(None) };
        let seconds = |time_ms, _| time_ms as f64 / 1000.0;
        self.instant_columns(selector, expr.start, steps, seconds).map(Some)
    }

    /// What `show` makes of time and value of the newest sample of each series at each step,
    /// unless it is too old or a marker.
    fn instant_columns(
        &self,
        selector: &Selector,
        start: usize,
        steps: Steps,
        show: fn(i64, f64) -> f64,
    ) -> Result<Vec<Column>, QueryError> {
        let windows =
            Windows { steps, shift: selector.shift, range_ms: self.lookback_ms, ask: Ask::Newest };
        let mut parts = Parts::new(steps.len);
        for piece in windows.pieces(self.tiers()) {
            let columns = match piece.basis {
                Basis::Samples => self.of_samples(selector, &piece, show)?,
                Basis::Buckets { width_ms, exact } => {
                    self.of_buckets(selector, start, &piece, (width_ms, exact), show)?
                }
            };
            columns.into_iter().for_each(|column| parts.push(piece.first, column));
            self.check_samples(parts.points())?;
        }
        Ok(parts.joined())
    }

    /// The times from which to which samples matter.
    fn reach(&self, selector: &Selector, steps: Steps) -> (i64, i64) {
        let shift = selector.shift;
        (shift.apply(steps.start_ms) - self.lookback_ms + 1, shift.apply(steps.last()))
    }

    fn of_samples(
        &self,
        selector: &Selector,
        piece: &Piece,
        show: fn(i64, f64) -> f64,
    ) -> Result<Vec<Column>, QueryError> {
        let (first_ms, last_ms) = self.reach(selector, piece.steps);
        // At one step the newest sample of each series is all that is looked at.
        let read = if piece.steps.len == 1 { Self::newest } else { Self::select };
        let selected = read(self, selector, first_ms, last_ms)?;
        self.instants(&selected, piece.steps, |series, column| {
            self.fill_instants(series, selector, piece.steps, column, show);
        })
    }

    fn of_buckets(
        &self,
        selector: &Selector,
        start: usize,
        piece: &Piece,
        (width_ms, exact): (i64, bool),
        show: fn(i64, f64) -> f64,
    ) -> Result<Vec<Column>, QueryError> {
        let columns = if exact { AT_ENDS } else { LEFT };
        let reach = self.reach(selector, piece.steps);
        let rolled = self.buckets(selector, reach, width_ms, columns)?;
        self.instants(&rolled, piece.steps, |rolled, column| match rolled {
            Rolled::Samples(series) => {
                self.fill_instants(series, selector, piece.steps, column, show);
            }
            Rolled::Buckets(buckets) => {
                let times = piece.steps.times().map(|time| selector.shift.apply(time));
                for (step, time_ms, value) in bucket::newest_at(buckets, self.lookback_ms, times) {
                    column.set(step, show(time_ms, value));
                }
                if !exact {
                    self.note_approximation(width_ms, start);
                }
            }
        })
    }

    /// A column for each series that has a value at any step.
    fn instants<T: HasLabels>(
        &self,
        all: &[T],
        steps: Steps,
        fill: impl Fn(&T, &mut Column),
    ) -> Result<Vec<Column>, QueryError> {
        self.check_samples(column::points(all.len(), steps.len))?;
        let mut columns = Vec::with_capacity(all.len());
        for (at, one) in all.iter().enumerate() {
            if at % CHECK_EVERY == 0 {
                self.check_time()?;
            }
            let mut column = Column::absent(one.labels().clone(), steps.len);
            fill(one, &mut column);
            if !column.is_empty() {
                columns.push(column);
            }
        }
        Ok(columns)
    }

    fn fill_instants(
        &self,
        series: &Series,
        selector: &Selector,
        steps: Steps,
        column: &mut Column,
        show: fn(i64, f64) -> f64,
    ) {
        let mut next = 0;
        for (step, time) in steps.times().enumerate() {
            let time = selector.shift.apply(time);
            while series.times.get(next).is_some_and(|sample| *sample <= time) {
                next += 1;
            }
            let Some(newest) = next.checked_sub(1) else { continue };
            let (Some(sampled), Some(value)) =
                (series.times.get(newest), series.values.get(newest))
            else {
                continue;
            };
            if *sampled > time - self.lookback_ms && !is_stale(*value) {
                column.set(step, show(*sampled, *value));
            }
        }
    }
}

/// What a column is made of.
trait HasLabels {
    fn labels(&self) -> &labstat_model::Labels;
}

impl HasLabels for Series {
    fn labels(&self) -> &labstat_model::Labels {
        &self.labels
    }
}

impl HasLabels for Rolled {
    fn labels(&self) -> &labstat_model::Labels {
        self.labels()
    }
}
