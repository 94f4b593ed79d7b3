//! Aggregations of native histograms, beside which a group may have numbers.
//!
//! The numbers of a group are folded part by part (`aggregate`). The histograms, which are few and
//! large, are put aside meanwhile and added to the results here, in the order of their series.

use std::collections::HashMap;
use std::sync::Arc;

use labstat_model::{Histogram, Labels};

use super::Evaluator;
use super::groups::{Grouper, Groups};
use crate::QueryError;
use crate::column::{Column, Steps};
use crate::expr::{Aggregate, AggregateOp};
use crate::functions::native::{add_to_mean, incompatible};
use crate::histogram::{Incompatible, add, compact};

/// A remark on histograms that an aggregation does not take.
pub(super) fn note_ignored(evaluator: &Evaluator<'_>, op: AggregateOp, start: usize) {
    evaluator.inform(&format!("ignored histogram in {} aggregation", op.name()), start);
}

/// Adds the histograms of `members` to the results of their groups' numbers.
pub(super) fn add_histograms(
    evaluator: &Evaluator<'_>,
    aggregate: &Aggregate,
    grouper: &Grouper<'_>,
    members: &[Column],
    (results, steps): (&mut Vec<Column>, Steps),
) -> Result<(), QueryError> {
    if matches!(aggregate.op, AggregateOp::Max | AggregateOp::Min) {
        note_ignored(evaluator, aggregate.op, aggregate.expr.outer_start);
        return Ok(());
    }
    let mut groups: Groups<Vec<&Column>> = Groups::default();
    for member in members {
        let at = groups.slot(grouper, &member.labels, Vec::new);
        groups.get_mut(at).into_iter().for_each(|group| group.push(member));
    }
    let at: HashMap<Labels, usize> =
        results.iter().enumerate().map(|(at, column)| (column.labels.clone(), at)).collect();
    let mut pace = evaluator.budget.pace();
    for group in groups.into_iter() {
        let at = match at.get(&group.labels) {
            Some(at) => *at,
            None => {
                results.push(Column::absent(group.labels.clone(), steps.len));
                results.len() - 1
            }
        };
        let Some(result) = results.get_mut(at) else { continue };
        for step in 0..steps.len {
            let of_step =
                |member: &&Column| Some((member.labels.clone(), member.histogram(step)?.clone()));
            let histograms: Vec<(Labels, Arc<Histogram>)> =
                group.state.iter().filter_map(of_step).collect();
            if histograms.is_empty() {
                continue;
            }
            pace.spend(histograms.iter().map(|(_, histogram)| histogram.numbers_len()).sum())?;
            at_step(evaluator, aggregate, &histograms, (result, step));
        }
    }
    Ok(())
}

fn at_step(
    evaluator: &Evaluator<'_>,
    aggregate: &Aggregate,
    histograms: &[(Labels, Arc<Histogram>)],
    (result, step): (&mut Column, usize),
) {
    let start = aggregate.expr.outer_start;
    match aggregate.op {
        AggregateOp::Count => {
            let numbers = result.get(step).unwrap_or(0.0);
            // Fewer than 2^32 series fit in memory.
            let count = u32::try_from(histograms.len()).unwrap_or(u32::MAX);
            result.set(step, numbers + f64::from(count));
        }
        AggregateOp::Group => result.set(step, 1.0),
        _ if result.get(step).is_some() => {
            let message = "encountered a mix of histograms and floats for aggregation";
            evaluator.warn(message, start);
            result.clear(step);
        }
        op => match folded(op, histograms) {
            Ok(histogram) => result.set_histogram(step, Arc::new(histogram)),
            Err((why, name)) => evaluator.warn(&incompatible(why, name), start),
        },
    }
}

/// The sum or the average; the name of the first series that cannot be added.
fn folded(
    op: AggregateOp,
    histograms: &[(Labels, Arc<Histogram>)],
) -> Result<Histogram, (Incompatible, &str)> {
    let Some(((_, first), rest)) = histograms.split_first() else {
        return Ok(Histogram::default());
    };
    let (mut result, mut count) = (Histogram::clone(first), 1.0);
    for (labels, histogram) in rest {
        count += 1.0;
        let added = match op {
            AggregateOp::Avg => add_to_mean(&mut result, histogram, count),
            _ => add(&mut result, histogram),
        };
        added.map_err(|why| (why, labels.metric_name()))?;
    }
    compact(&mut result);
    Ok(result)
}
