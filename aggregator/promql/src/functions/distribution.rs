//! What native histograms tell: counts, sums, averages, deviations, quantiles, fractions.

use labstat_model::Histogram;

use crate::QueryError;
use crate::column::{Cell, Columns, Steps};
use crate::eval::Evaluator;
use crate::expr::Call;
use crate::histogram;

/// A number of every histogram; numbers go.
fn of_each(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
    f: fn(&Histogram) -> f64,
) -> Result<Columns, QueryError> {
    let Some(arg) = call.args.first() else { return Ok(Columns::Vector(Vec::new())) };
    let mut columns = evaluator.vector(arg, steps)?;
    columns.retain(|column| column.has_histograms());
    let mut pace = evaluator.budget.pace();
    for column in &mut columns {
        let work = column.histograms().map(|(_, histogram)| histogram.numbers_len());
        pace.spend(work.sum())?;
        column.labels = column.labels.without_metadata();
        column.map(&mut pace, |_, _| None)?;
        column.map_histograms(|_, histogram| Some(Cell::Number(f(&histogram))));
    }
    evaluator.merge(columns).map(Columns::Vector)
}

macro_rules! numbers {
    ($($name:ident: $f:expr;)*) => {
        $(pub(super) fn $name(
            evaluator: &Evaluator<'_>,
            call: &Call,
            steps: Steps,
        ) -> Result<Columns, QueryError> {
            of_each(evaluator, call, steps, $f)
        })*
    };
}

numbers! {
    count: |histogram| histogram.count;
    sum: |histogram| histogram.sum;
    avg: histogram::average;
    stdvar: histogram::variance;
    stddev: |histogram| histogram::variance(histogram).sqrt();
}
