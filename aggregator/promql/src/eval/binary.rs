//! Operators between two values.
//!
//! Which series meet is decided once per query, by their labels; which of them have a value is
//! looked at step by step, and so are the errors of Prometheus about too many matches.

use std::collections::HashMap;
use std::fmt::Write;

use labstat_model::{Labels, METRIC_NAME};

use super::Evaluator;
use crate::QueryError;
use crate::column::{self, Column, Columns, Steps};
use crate::expr::{Binary, BinaryOp, Card, Fill, Grouping};

pub(super) fn eval(
    evaluator: &Evaluator<'_>,
    binary: &Binary,
    steps: Steps,
) -> Result<Columns, QueryError> {
    if binary.fill != Fill::NONE {
        return Err(QueryError::execution("fill modifiers are not supported yet"));
    }
    let lhs = evaluator.eval(&binary.lhs, steps)?;
    let rhs = evaluator.eval(&binary.rhs, steps)?;
    evaluator.check_time()?;
    match (lhs, rhs) {
        (Columns::Scalar(mut lhs), Columns::Scalar(rhs)) => {
            for (a, b) in lhs.iter_mut().zip(rhs) {
                let (value, keep) = compute(binary.op, *a, b);
                *a = if binary.op.is_comparison() { number(keep) } else { value };
            }
            Ok(Columns::Scalar(lhs))
        }
        (Columns::Vector(lhs), Columns::Scalar(rhs)) => with_scalar(binary, lhs, &rhs, false),
        (Columns::Scalar(lhs), Columns::Vector(rhs)) => with_scalar(binary, rhs, &lhs, true),
        (Columns::Vector(lhs), Columns::Vector(rhs)) => match binary.op {
            BinaryOp::And => column::merge(and(binary, lhs, &rhs)).map(Columns::Vector),
            BinaryOp::Unless => column::merge(unless(binary, lhs, &rhs)).map(Columns::Vector),
            BinaryOp::Or => column::merge(or(binary, lhs, rhs)).map(Columns::Vector),
            _ => vectors(evaluator, binary, &lhs, &rhs, steps).map(Columns::Vector),
        },
        _ => Err(QueryError::execution("operator between values that are no numbers")),
    }
}

/// The value of an operator, and whether a comparison holds; a comparison's value is its left
/// side.
fn compute(op: BinaryOp, a: f64, b: f64) -> (f64, bool) {
    match op {
        BinaryOp::Add => (a + b, true),
        BinaryOp::Sub => (a - b, true),
        BinaryOp::Mul => (a * b, true),
        BinaryOp::Div => (a / b, true),
        BinaryOp::Mod => (a % b, true),
        BinaryOp::Pow => (a.powf(b), true),
        BinaryOp::Atan2 => (a.atan2(b), true),
        BinaryOp::Eq => (a, a == b),
        BinaryOp::Ne => (a, a != b),
        BinaryOp::Lt => (a, a < b),
        BinaryOp::Le => (a, a <= b),
        BinaryOp::Gt => (a, a > b),
        BinaryOp::Ge => (a, a >= b),
        // Sets of series are computed elsewhere and have no value of their own.
        // Only native histograms can be trimmed.
        BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::Unless
        | BinaryOp::TrimUpper
        | BinaryOp::TrimLower => (f64::NAN, false),
    }
}

fn number(keep: bool) -> f64 {
    if keep { 1.0 } else { 0.0 }
}

fn drops_name(binary: &Binary) -> bool {
    !binary.op.is_comparison() || binary.bool_result
}

/// Between each series and a number; `swapped` when the number stands on the left.
fn with_scalar(
    binary: &Binary,
    mut columns: Vec<Column>,
    scalar: &[f64],
    swapped: bool,
) -> Result<Columns, QueryError> {
    for column in &mut columns {
        if drops_name(binary) {
            column.labels = column.labels.without_metric_name();
        }
        column.map(|step, value| {
            let other = scalar.get(step).copied().unwrap_or(f64::NAN);
            let (a, b) = if swapped { (other, value) } else { (value, other) };
            let (computed, keep) = compute(binary.op, a, b);
            match (binary.op.is_comparison(), binary.bool_result) {
                (_, true) => Some(number(keep)),
                // The series is what is kept, on whichever side it stands.
                (true, false) => keep.then_some(value),
                (false, false) => Some(computed),
            }
        });
    }
    column::merge(columns).map(Columns::Vector)
}

/// The columns of each match group.
fn by_group<'a>(columns: &'a [Column], matching: &Grouping) -> HashMap<Labels, Vec<&'a Column>> {
    let mut groups: HashMap<Labels, Vec<&Column>> = HashMap::new();
    for column in columns {
        groups.entry(matching.apply(&column.labels)).or_default().push(column);
    }
    groups
}

/// At which steps each match group has any series.
fn presence(columns: &[Column], matching: &Grouping) -> HashMap<Labels, Vec<bool>> {
    let mut groups: HashMap<Labels, Vec<bool>> = HashMap::new();
    for column in columns {
        let group = groups.entry(matching.apply(&column.labels));
        let present = group.or_insert_with(|| vec![false; column.present.len()]);
        for (any, here) in present.iter_mut().zip(&column.present) {
            *any |= here;
        }
    }
    groups
}

fn and(binary: &Binary, mut lhs: Vec<Column>, rhs: &[Column]) -> Vec<Column> {
    let there = presence(rhs, &binary.matching);
    lhs.retain_mut(|column| {
        let Some(mask) = there.get(&binary.matching.apply(&column.labels)) else { return false };
        column.present.iter_mut().zip(mask).for_each(|(present, there)| *present &= there);
        true
    });
    lhs
}

fn unless(binary: &Binary, mut lhs: Vec<Column>, rhs: &[Column]) -> Vec<Column> {
    let there = presence(rhs, &binary.matching);
    for column in &mut lhs {
        if let Some(mask) = there.get(&binary.matching.apply(&column.labels)) {
            column.present.iter_mut().zip(mask).for_each(|(present, there)| *present &= !there);
        }
    }
    lhs
}

fn or(binary: &Binary, mut lhs: Vec<Column>, rhs: Vec<Column>) -> Vec<Column> {
    let there = presence(&lhs, &binary.matching);
    for mut column in rhs {
        if let Some(mask) = there.get(&binary.matching.apply(&column.labels)) {
            column.present.iter_mut().zip(mask).for_each(|(present, there)| *present &= !there);
        }
        lhs.push(column);
    }
    lhs
}

/// Arithmetic and comparison between series that match.
fn vectors(
    evaluator: &Evaluator<'_>,
    binary: &Binary,
    lhs: &[Column],
    rhs: &[Column],
    steps: Steps,
) -> Result<Vec<Column>, QueryError> {
    // The side that may have many series per group comes first.
    let swapped = matches!(binary.card, Card::OneToMany(_));
    let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
    let ones = by_group(one, &binary.matching);
    check_one_side(binary, many, one, steps)?;
    let mut taken: HashMap<(Labels, Labels), Vec<bool>> = HashMap::new();
    let mut results = Vec::new();
    for left in many {
        evaluator.check_time()?;
        let group = binary.matching.apply(&left.labels);
        let Some(partners) = ones.get(&group) else { continue };
        for right in partners {
            let labels = result_labels(binary, &left.labels, &right.labels);
            let result = meet(binary, left, right, labels, swapped);
            // Series that came one after the other meet only where both are there.
            if result.is_empty() {
                continue;
            }
            let key = match binary.card {
                Card::OneToOne => Labels::default(),
                Card::ManyToOne(_) | Card::OneToMany(_) => result.labels.clone(),
            };
            let taken = taken.entry((group.clone(), key));
            let taken = taken.or_insert_with(|| vec![false; steps.len]);
            check_taken(binary, &result, taken)?;
            evaluator.check_samples(column::points(results.len() + 1, steps.len))?;
            results.push(result);
        }
    }
    column::merge(results)
}

/// One pair of series.
fn meet(binary: &Binary, left: &Column, right: &Column, labels: Labels, swapped: bool) -> Column {
    let mut result = Column::absent(labels, left.values.len());
    for (step, value) in left.iter() {
        let Some(other) = right.get(step) else { continue };
        let (a, b) = if swapped { (other, value) } else { (value, other) };
        let (computed, keep) = compute(binary.op, a, b);
        if binary.bool_result {
            result.set(step, number(keep));
        } else if keep {
            result.set(step, computed);
        }
    }
    result
}

/// Marks the steps of a result as taken; an error where another series of the group was there.
fn check_taken(binary: &Binary, result: &Column, taken: &mut [bool]) -> Result<(), QueryError> {
    for (taken, present) in taken.iter_mut().zip(&result.present) {
        if *taken && *present {
            return Err(QueryError::execution(match binary.card {
                Card::OneToOne => {
                    "multiple matches for labels: many-to-one matching must be explicit \
                     (group_left/group_right)"
                }
                Card::ManyToOne(_) | Card::OneToMany(_) => {
                    "multiple matches for labels: grouping labels must ensure unique matches"
                }
            }));
        }
        *taken |= present;
    }
    Ok(())
}

/// An error where the side that must have one series per group has two at one step, at which the
/// other side has any.
fn check_one_side(
    binary: &Binary,
    many: &[Column],
    one: &[Column],
    steps: Steps,
) -> Result<(), QueryError> {
    let mut any = vec![false; steps.len];
    for column in many {
        any.iter_mut().zip(&column.present).for_each(|(any, present)| *any |= present);
    }
    let mut first: HashMap<Labels, Vec<Option<&Column>>> = HashMap::new();
    // Of several clashes the earliest is named.
    let mut clash: Option<(usize, Labels, &Labels, &Labels)> = None;
    for column in one {
        let group = binary.matching.apply(&column.labels);
        let seen = first.entry(group.clone()).or_insert_with(|| vec![None; steps.len]);
        for (step, (slot, any)) in seen.iter_mut().zip(&any).enumerate() {
            if column.get(step).is_none() {
                continue;
            }
            match slot {
                Some(other) if *any && clash.as_ref().is_none_or(|(at, ..)| step < *at) => {
                    clash = Some((step, group.clone(), &column.labels, &other.labels));
                }
                Some(_) => {}
                None => *slot = Some(column),
            }
        }
    }
    match clash {
        None => Ok(()),
        Some((_, group, a, b)) => Err(duplicate(binary, &group, a, b)),
    }
}

fn duplicate(binary: &Binary, group: &Labels, a: &Labels, b: &Labels) -> QueryError {
    let side = if matches!(binary.card, Card::OneToMany(_)) { "left" } else { "right" };
    QueryError::execution(format!(
        "found duplicate series for the match group {} on the {side} hand-side of the operation: \
         [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
        braced(group),
        braced(a),
        braced(b)
    ))
}

/// A label set with the metric name as a label like any other, as Prometheus prints it in errors.
fn braced(labels: &Labels) -> String {
    let mut text = "{".to_owned();
    for (at, (name, value)) in labels.iter().enumerate() {
        let comma = if at > 0 { ", " } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{name}={value:?}");
    }
    text.push('}');
    text
}

/// The labels of a result: those of the side with many series, less what does not hold for the
/// result, with the labels that `group_left` or `group_right` takes from the other side.
fn result_labels(binary: &Binary, many: &Labels, one: &Labels) -> Labels {
    let drop_name = drops_name(binary);
    let kept = many.without(|label| {
        let matched = match (&binary.card, &binary.matching) {
            (Card::OneToOne, Grouping::Keep(on)) => on.iter().any(|name| name == label),
            (Card::OneToOne, Grouping::Drop(ignored)) => !ignored.iter().any(|name| name == label),
            (Card::ManyToOne(_) | Card::OneToMany(_), _) => true,
        };
        !matched || (drop_name && label == METRIC_NAME)
    });
    let (Card::ManyToOne(include) | Card::OneToMany(include)) = &binary.card else { return kept };
    let included = include.iter().map(|name| (name.as_str(), one.get(name).unwrap_or("")));
    let labels = Labels::new(kept.iter().chain(included));
    // Taking the name from the other side is possible, but a truth value has none.
    if binary.bool_result { labels.without_metric_name() } else { labels }
}
