//! Functions that change the shape or the order of a result: from vectors to scalars and back,
//! presence and absence, sorting.

use std::cmp::Ordering;

use labstat_model::{Labels, METRIC_NAME, MatchOp};

use crate::QueryError;
use crate::column::{Column, Columns, Steps};
use crate::eval::Evaluator;
use crate::expr::{Call, Expr, Node};
use crate::sums;

/// The only element, or NaN.
pub(super) fn scalar(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let columns = first_vector(evaluator, call, steps)?;
    let mut values = vec![f64::NAN; steps.len];
    let mut counts = vec![0_usize; steps.len];
    for column in &columns {
        for (step, value) in column.iter() {
            if let (Some(slot), Some(count)) = (values.get_mut(step), counts.get_mut(step)) {
                *count += 1;
                *slot = if *count == 1 { value } else { f64::NAN };
            }
        }
    }
    Ok(Columns::Scalar(values))
}

pub(super) fn vector(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let Some(arg) = call.args.first() else { return Ok(Columns::Vector(Vec::new())) };
    let values = evaluator.scalar(arg, steps)?;
    Ok(Columns::Vector(vec![Column::full(Labels::default(), values)]))
}

fn first_vector(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Vec<Column>, QueryError> {
    match call.args.first() {
        Some(arg) => evaluator.vector(arg, steps),
        None => Ok(Vec::new()),
    }
}

pub(super) fn absent(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let columns = first_vector(evaluator, call, steps)?;
    Ok(absence(call, &columns, steps))
}

pub(super) fn absent_over_time(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let columns = evaluator.windows_raw(call, steps, |_, _| Some(1.0))?;
    Ok(absence(call, &columns, steps))
}

/// 1 wherever none of `columns` has a value.
fn absence(call: &Call, columns: &[Column], steps: Steps) -> Columns {
    let labels = call.args.first().map(labels_of_absence).unwrap_or_default();
    let mut absent = Column::full(labels, vec![1.0; steps.len]);
    for column in columns {
        for (present, missing) in column.present.iter().zip(&mut absent.present) {
            *missing &= !present;
        }
    }
    Columns::Vector(if absent.is_empty() { Vec::new() } else { vec![absent] })
}

/// The labels that a selector fixes by equality, each at most once.
fn labels_of_absence(arg: &Expr) -> Labels {
    let matchers = match &arg.node {
        Node::Selector(selector) => &selector.matchers,
        Node::Range(range) => &range.selector.matchers,
        _ => return Labels::default(),
    };
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME) {
        let name = matcher.name();
        if matcher.op() == MatchOp::Equal && !seen.contains(&name) {
            pairs.push((name, matcher.value()));
            seen.push(name);
        } else {
            pairs.retain(|(other, _)| *other != name);
        }
    }
    Labels::new(pairs)
}

/// Sorts by the value at the first step. Only an instant query has an order to show.
fn sorted(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
    order: impl Fn(f64, f64) -> Ordering,
) -> Result<Columns, QueryError> {
    let mut columns = first_vector(evaluator, call, steps)?;
    if steps.len == 1 {
        let value = |column: &Column| column.get(0).unwrap_or(f64::NAN);
        columns.sort_by(|a, b| order(value(a), value(b)));
    }
    Ok(Columns::Vector(columns))
}

/// NaN comes last whichever way is up.
fn nan_last(a: f64, b: f64, order: Ordering) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => order,
        (a, b) => a.cmp(&b),
    }
}

pub(super) fn sort(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    sorted(evaluator, call, steps, |a, b| nan_last(a, b, sums::nan_first(a, b)))
}

pub(super) fn sort_desc(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    sorted(evaluator, call, steps, |a, b| nan_last(a, b, sums::nan_first(b, a)))
}

pub(super) fn sort_by_label(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let columns = first_vector(evaluator, call, steps)?;
    Ok(Columns::Vector(sorted_labels(columns, &names(call), false)))
}

pub(super) fn sort_by_label_desc(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let columns = first_vector(evaluator, call, steps)?;
    Ok(Columns::Vector(sorted_labels(columns, &names(call), true)))
}

fn names(call: &Call) -> Vec<&str> {
    let text = |arg| match arg {
        &Expr { node: Node::Text(ref text), .. } => Some(text.as_str()),
        _ => None,
    };
    call.args.iter().skip(1).filter_map(text).collect()
}

/// Sorts by the named labels, numbers within them by their value (`node2` before `node10`), and
/// by all labels where those are equal.
fn sorted_labels(mut columns: Vec<Column>, names: &[&str], descending: bool) -> Vec<Column> {
    let compare = |a: &Column, b: &Column| {
        let by_name = |name: &&str| {
            let (a, b) = (a.labels.get(name).unwrap_or(""), b.labels.get(name).unwrap_or(""));
            natural(a, b)
        };
        let first = names.iter().map(by_name).find(|order| order.is_ne());
        first.unwrap_or_else(|| a.labels.cmp(&b.labels))
    };
    columns.sort_by(|a, b| if descending { compare(b, a) } else { compare(a, b) });
    columns
}

/// Compares texts run by run: digits as numbers, everything else as text.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    while !a.is_empty() && !b.is_empty() {
        let ((run_a, rest_a), (run_b, rest_b)) = (split_run(a), split_run(b));
        let digits = |run: &str| run.starts_with(|c: char| c.is_ascii_digit());
        let order = if digits(run_a) && digits(run_b) {
            let (number_a, number_b) =
                (run_a.trim_start_matches('0'), run_b.trim_start_matches('0'));
            number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b))
        } else {
            run_a.cmp(run_b)
        };
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    a.len().cmp(&b.len())
}

/// The digits, or what is no digit, at the beginning of `text`, and the rest.
fn split_run(text: &str) -> (&str, &str) {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_within_labels_sort_by_value() {
        assert_eq!(natural("node2", "node10"), Ordering::Less);
        assert_eq!(natural("a", "a1"), Ordering::Less);
        assert_eq!(natural("b1", "a2"), Ordering::Greater);
    }
}
