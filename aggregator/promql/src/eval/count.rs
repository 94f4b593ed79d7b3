//! How many samples a query looks at, step by step, as Prometheus counts them: of an instant
//! selector the newest sample of each series, of a range all that are in it, of a subquery the
//! values it gives. A sample that is looked at for several steps counts at each of them.
//!
//! It is counted by reading anew, when somebody asks: evaluation itself reads a sample once for
//! all its steps and folds it away.

use std::ops::ControlFlow;

use labstat_model::is_stale;

use super::Evaluator;
use super::prepared::children;
use super::window::advance;
use crate::QueryError;
use crate::column::Steps;
use crate::expr::{Expr, Node, Selector, Shift};

/// Whose samples are counted: those after `end - width_ms` and up to `end`.
#[derive(Debug, Clone, Copy)]
struct Windows {
    steps: Steps,
    shift: Shift,
    width_ms: i64,
    /// Only the newest of them, unless it is a marker of staleness.
    newest: bool,
}

impl Windows {
    /// Adds what a series has in each window.
    fn count(&self, times: &[i64], values: &[f64], counts: &mut [u64]) {
        let mut live = Vec::with_capacity(values.len() + 1);
        live.push(0_u64);
        let mut before = 0;
        for value in values {
            before += u64::from(!is_stale(*value));
            live.push(before);
        }
        let live = |at: usize| live.get(at).copied().unwrap_or(before);
        let (mut first, mut end) = (0, 0);
        for (time, count) in self.steps.times().zip(counts) {
            let time = self.shift.apply(time);
            first = advance(times, first, time.saturating_sub(self.width_ms));
            // As a window walks, also over times that are in no order.
            end = advance(times, end.max(first), time);
            let from = if self.newest { end.saturating_sub(1).max(first) } else { first };
            *count += live(end) - live(from);
        }
    }

    /// The first and the last time of all windows.
    fn reach(&self) -> (i64, i64) {
        let first = self.shift.apply(self.steps.start_ms).saturating_sub(self.width_ms);
        (first.saturating_add(1), self.shift.apply(self.steps.last()))
    }
}

impl Evaluator<'_> {
    /// The samples that `expr` looks at, at each of `steps`.
    pub(crate) fn count(&self, expr: &Expr, steps: Steps) -> Result<Vec<u64>, QueryError> {
        let mut counts = vec![0; steps.len];
        match &expr.node {
            // By itself, it is what its expression is at its own steps.
            Node::Subquery(subquery) => {
                let inner = self.count(&subquery.expr, self.subquery_steps(subquery, steps)?)?;
                counts.iter_mut().for_each(|count| *count = inner.iter().sum());
            }
            _ => self.count_into(expr, steps, &mut counts)?,
        }
        Ok(counts)
    }

    fn count_into(&self, expr: &Expr, steps: Steps, counts: &mut [u64]) -> Result<(), QueryError> {
        self.check_time()?;
        match &expr.node {
            Node::Selector(selector) => {
                let shift = selector.shift;
                let width_ms = self.lookback_ms;
                let windows = Windows { steps, shift, width_ms, newest: true };
                self.count_samples(selector, windows, counts)
            }
            Node::Range(range) => {
                let shift = range.selector.shift;
                let windows = Windows { steps, shift, width_ms: range.range_ms, newest: false };
                self.count_samples(&range.selector, windows, counts)
            }
            Node::Subquery(subquery) => {
                let inner = self.subquery_steps(subquery, steps)?;
                let (shift, width_ms) = (subquery.shift, subquery.range_ms);
                let windows = Windows { steps, shift, width_ms, newest: false };
                let held = self.budget.live();
                for column in self.vector(&subquery.expr, inner)? {
                    self.check_time()?;
                    let (times, values): (Vec<i64>, Vec<f64>) =
                        column.iter().map(|(step, value)| (inner.time(step), value)).unzip();
                    windows.count(&times, &values, counts);
                }
                self.budget.set_live(held)
            }
            node => children(node).try_for_each(|child| self.count_into(child, steps, counts)),
        }
    }

    fn count_samples(
        &self,
        selector: &Selector,
        windows: Windows,
        counts: &mut [u64],
    ) -> Result<(), QueryError> {
        let (start_ms, end_ms) = windows.reach();
        let scan =
            self.source.scan(&selector.matchers, start_ms, end_ms).map_err(QueryError::Source)?;
        for part in 0..scan.parts() {
            let mut ended = Ok(());
            scan.read(part, &mut |series| {
                windows.count(series.times, series.values, counts);
                ended = self.check_time();
                if ended.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
            .map_err(QueryError::Source)?;
            ended?;
        }
        Ok(())
    }
}
