//! Functions that change the shape or the order of a result: from vectors to scalars and back,
//! presence and absence, sorting.

use labstat_model::{Labels, METRIC_NAME, MatchOp, Matcher};

use crate::QueryError;
use crate::budget::Budget;
use crate::column::{Column, Columns, Steps};
use crate::eval::Evaluator;
use crate::expr::{Call, Expr, Node};
use crate::order;

/// The only element, or NaN.
pub(super) fn scalar(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let Some(arg) = call.args.first() else { return Ok(Columns::Scalar(Vec::new())) };
    evaluator.lone_numbers(arg, steps).map(Columns::Scalar)
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
    let Some(arg) = call.args.first() else { return Ok(Columns::Vector(Vec::new())) };
    Ok(absence(arg, &evaluator.presence(arg, steps)?))
}

pub(super) fn absent_over_time(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let Some(arg) = call.args.first() else { return Ok(Columns::Vector(Vec::new())) };
    Ok(absence(arg, &evaluator.presence_in_range(call, steps)?))
}

/// 1 at the steps at which `arg` has no value.
fn absence(arg: &Expr, there: &[bool]) -> Columns {
    let mut absent = Column::absent(labels_of_absence(arg), there.len());
    for (step, _) in there.iter().enumerate().filter(|(_, there)| !**there) {
        absent.set(step, 1.0);
    }
    Columns::Vector(if absent.is_empty() { Vec::new() } else { vec![absent] })
}

/// The labels that a selector fixes by equality: the first of several matchers of a name counts,
/// unless another one follows. Prometheus' storage puts those that only take series away last.
fn labels_of_absence(arg: &Expr) -> Labels {
    let matchers = match &arg.node {
        Node::Selector(selector) => &selector.matchers,
        Node::Range(range) => &range.selector.matchers,
        _ => return Labels::default(),
    };
    let is_set = |name: &str| matchers.iter().any(|m| m.name() == name && !m.matches(""));
    let takes_away = |matcher: &Matcher| {
        let negative = matches!(matcher.op(), MatchOp::NotEqual | MatchOp::NotRegex);
        !is_set(matcher.name()) || negative && matcher.matches("")
    };
    let adding = matchers.iter().filter(|matcher| !takes_away(matcher));
    let ordered = adding.chain(matchers.iter().filter(|matcher| takes_away(matcher)));
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in ordered.filter(|matcher| matcher.name() != METRIC_NAME) {
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

/// Sorts by the value at the first step, such that nothing stands before what is `less`. Only an
/// instant query has an order to show.
fn sorted(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
    less: impl Fn(f64, f64) -> bool,
) -> Result<Columns, QueryError> {
    let mut columns = first_vector(evaluator, call, steps)?;
    // Histograms have no order, and go.
    for column in columns.iter_mut().filter(|column| column.has_histograms()) {
        column.take_histograms();
    }
    columns.retain(|column| !column.is_empty());
    if steps.len == 1 {
        let value = |column: &Column| column.get(0).unwrap_or(f64::NAN);
        // NaN comes last whichever way is up.
        let less = |a: &Column, b: &Column| value(b).is_nan() || less(value(a), value(b));
        columns = order::sort(columns, &evaluator.budget, less)?;
    }
    Ok(Columns::Vector(columns))
}

pub(super) fn sort(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    sorted(evaluator, call, steps, |a, b| a < b)
}

pub(super) fn sort_desc(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    sorted(evaluator, call, steps, |a, b| a > b)
}

pub(super) fn sort_by_label(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let columns = first_vector(evaluator, call, steps)?;
    sorted_labels(columns, &names(call), false, &evaluator.budget).map(Columns::Vector)
}

pub(super) fn sort_by_label_desc(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let columns = first_vector(evaluator, call, steps)?;
    sorted_labels(columns, &names(call), true, &evaluator.budget).map(Columns::Vector)
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
fn sorted_labels(
    columns: Vec<Column>,
    names: &[&str],
    descending: bool,
    budget: &Budget,
) -> Result<Vec<Column>, QueryError> {
    if order::is_few(columns.len()) {
        return order::sort(columns, budget, |a, b| match differing(a, b, names) {
            Some((a, b)) => order::stands_before(a, b) != descending,
            None if descending => a.labels > b.labels,
            None => a.labels < b.labels,
        });
    }
    let compare = |a: &Column, b: &Column| match differing(a, b, names) {
        Some((a, b)) => order::natural(a, b).then_with(|| a.cmp(b)),
        None => a.labels.cmp(&b.labels),
    };
    order::sorted(columns, budget, |a, b| if descending { compare(b, a) } else { compare(a, b) })
}

/// The values of the first named label in which the two differ.
fn differing<'c>(a: &'c Column, b: &'c Column, names: &[&str]) -> Option<(&'c str, &'c str)> {
    let value = |column: &'c Column, name: &str| column.labels.get(name).unwrap_or("");
    names.iter().map(|name| (value(a, name), value(b, name))).find(|(a, b)| a != b)
}
