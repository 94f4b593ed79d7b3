//! Instant selectors: the newest sample of each series at each step.

use std::sync::Arc;

use labstat_model::{BucketColumn, BucketColumns, Buckets, HistogramSeries, SeriesRef, is_stale};

use super::feed::{Item, Mixed};
use super::plan::{Ask, Basis, Piece, Windows};
use super::stream::{Look, Stream};
use super::window::Cursor;
use super::{Evaluator, Remark, bucket};
use crate::QueryError;
use crate::budget::{Cost, Pace};
use crate::column::{Cells, Column, Parts, STEPS_COUNTED, Steps};
use crate::expr::{Expr, Node, Selector, Shift};

/// What of buckets tells the newest sample at their ends.
const AT_ENDS: BucketColumns = BucketColumns::of(&[BucketColumn::LastAfter, BucketColumn::Last]);

/// What of buckets is left of their samples.
pub(super) const LEFT: BucketColumns = BucketColumns::of(&[
    BucketColumn::FirstAfter,
    BucketColumn::First,
    BucketColumn::LastAfter,
    BucketColumn::Last,
]);

/// What to show of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    Value,
    /// Its time in seconds.
    Time,
}

impl Show {
    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of any date fit in 53 bits")]
    fn of(self, time_ms: i64, value: f64) -> f64 {
        match self {
            Self::Value => value,
            Self::Time => time_ms as f64 / 1000.0,
        }
    }
}

/// Looks for the newest sample of a series at each step, unless it is too old or a marker.
pub(super) struct Newest {
    steps: Steps,
    shift: Shift,
    lookback_ms: i64,
    show: Show,
    /// Where buckets are no more than about right: what to say of it.
    approximated: Option<Remark>,
}

impl Newest {
    pub(super) fn look_at(
        &self,
        item: Item<'_>,
        cells: &mut Cells,
        (pace, remarks): (&mut Pace<'_>, &mut Vec<Remark>),
    ) -> Result<(), QueryError> {
        match item {
            Item::Series(series) => self.of_samples(series, cells, pace),
            Item::Mixed(mixed) => self.of_mixed(mixed, cells, pace),
            Item::Buckets(buckets) => {
                if let Some(remark) = self.approximated.as_ref().filter(|_| remarks.is_empty()) {
                    remarks.push(remark.clone());
                }
                self.of_buckets(buckets, cells, pace)
            }
            Item::Column(..) => Ok(()),
        }
    }

    fn of_samples(
        &self,
        series: SeriesRef<'_>,
        cells: &mut Cells,
        pace: &mut Pace<'_>,
    ) -> Result<(), QueryError> {
        let mut next = Cursor::default();
        for (step, time) in self.steps.times().enumerate() {
            count(step, pace)?;
            let time = self.shift.apply(time);
            let Some(newest) = next.after(series.times, time).checked_sub(1) else { continue };
            let (Some(sampled), Some(value)) =
                (series.times.get(newest), series.values.get(newest))
            else {
                continue;
            };
            if *sampled > time - self.lookback_ms && !is_stale(*value) {
                cells.set(step, self.show.of(*sampled, *value));
            }
        }
        Ok(())
    }

    /// At each step the newer of number and histogram.
    fn of_mixed(
        &self,
        Mixed { numbers, histograms }: &Mixed,
        cells: &mut Cells,
        pace: &mut Pace<'_>,
    ) -> Result<(), QueryError> {
        let HistogramSeries { times, values, .. } = histograms;
        let (mut next_number, mut next) = (Cursor::default(), Cursor::default());
        for (step, time) in self.steps.times().enumerate() {
            count(step, pace)?;
            let time = self.shift.apply(time);
            let at = next.after(times, time).checked_sub(1);
            let histogram = at.and_then(|at| Some((*times.get(at)?, values.get(at)?)));
            let at = next_number.after(&numbers.times, time).checked_sub(1);
            let number =
                at.and_then(|at| Some((*numbers.times.get(at)?, *numbers.values.get(at)?)));
            let seen_ms = time - self.lookback_ms;
            let histogram = histogram.filter(|(time_ms, _)| *time_ms > seen_ms);
            let number = number.filter(|(time_ms, _)| *time_ms > seen_ms);
            match (number, histogram) {
                (number, Some((time_ms, histogram)))
                    if number.is_none_or(|(number_ms, _)| number_ms < time_ms) =>
                {
                    match self.show {
                        Show::Value => cells.set_histogram(step, Arc::clone(histogram)),
                        Show::Time => cells.set(step, self.show.of(time_ms, 0.0)),
                    }
                }
                (Some((time_ms, value)), _) if !is_stale(value) => {
                    cells.set(step, self.show.of(time_ms, value));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn of_buckets(
        &self,
        buckets: &Buckets,
        cells: &mut Cells,
        pace: &mut Pace<'_>,
    ) -> Result<(), QueryError> {
        let times = self.steps.times().map(|time| self.shift.apply(time));
        for (step, time_ms, value) in bucket::newest_at(buckets, self.lookback_ms, times) {
            pace.spend(1)?;
            cells.set(step, self.show.of(time_ms, value));
        }
        Ok(())
    }
}

/// Counts the work of the steps from this one on, where that is due.
#[inline]
fn count(step: usize, pace: &mut Pace<'_>) -> Result<(), QueryError> {
    if step.is_multiple_of(STEPS_COUNTED) { pace.spend(STEPS_COUNTED) } else { Ok(()) }
}

impl Evaluator<'_> {
    /// As the value of a selector, but the times of the samples, in seconds; `None` when `expr` is
    /// no selector.
    pub(crate) fn instant_times(
        &self,
        expr: &Expr,
        steps: Steps,
    ) -> Result<Option<Vec<Column>>, QueryError> {
        let Node::Selector(selector) = &expr.node else { return Ok(None) };
        self.instants(selector, expr.start, steps, Show::Time)?.columns(self).map(Some)
    }

    /// What `show` makes of time and value of the newest sample of each series at each step.
    pub(super) fn instants<'s>(
        &'s self,
        selector: &'s Selector,
        start: usize,
        steps: Steps,
        show: Show,
    ) -> Result<Stream<'s>, QueryError> {
        let windows =
            Windows { steps, shift: selector.shift, range_ms: self.lookback_ms, ask: Ask::Newest };
        let pieces = windows.pieces(self.tiers());
        if let [piece] = pieces.as_slice() {
            return self.newest_stream(selector, start, piece, show);
        }
        let mut parts = Parts::new(steps.len);
        for piece in pieces {
            let columns = self.newest_stream(selector, start, &piece, show)?.columns(self)?;
            columns.into_iter().for_each(|column| parts.push(piece.first, column));
            self.budget.check(Cost::columns(parts.len(), steps.len))?;
        }
        Ok(Stream::of(parts.joined(), steps))
    }

    fn newest_stream<'s>(
        &'s self,
        selector: &'s Selector,
        start: usize,
        piece: &Piece,
        show: Show,
    ) -> Result<Stream<'s>, QueryError> {
        let (shift, lookback_ms) = (selector.shift, self.lookback_ms);
        let steps = piece.steps;
        let reach = (shift.apply(steps.start_ms) - lookback_ms + 1, shift.apply(steps.last()));
        let mut newest = Newest { steps, shift, lookback_ms, show, approximated: None };
        let feed = match piece.basis {
            // At one step the newest sample of each series is all that is looked at.
            Basis::Samples if steps.len == 1 => self.newest(selector, reach)?,
            Basis::Samples => self.samples(selector, reach)?,
            Basis::Buckets { width_ms, exact } => {
                if !exact {
                    newest.approximated = Some(Remark::Approximated { width_ms, start });
                }
                let columns = if exact { AT_ENDS } else { LEFT };
                self.buckets(selector, reach, width_ms, columns)?
            }
        };
        Ok(Stream::new(feed, Look::Newest(newest), steps.len, selector.names_one_metric()))
    }
}
