//! Operators between two values.
//!
//! Which series meet is decided once per query, by their labels; which of them have a value is
//! looked at step by step, and so are the errors of Prometheus about too many matches.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use labstat_model::{Labels, is_metadata};

use super::groups::{Grouper, Groups};
use super::{Evaluator, Remark, fill, mixed};
use crate::budget::{Cost, Pace};
use crate::column::{Cell, Cells, Column, Columns, STEPS_COUNTED, Steps};
use crate::expr::{Binary, BinaryOp, Card, Fill, Grouping};
use crate::functions::native::Said;
use crate::histogram::{Trouble, operate};
use crate::{QueryError, ValueType, elementary};

/// Calls `$go` with the arithmetic of an operator as a closure of its own, so that the loop within
/// is compiled for it; without one for what is no arithmetic.
macro_rules! arithmetic {
    ($op:expr, $f:ident => $go:expr, $otherwise:expr) => {
        match $op {
            BinaryOp::Add => {
                let $f = |a: f64, b: f64| a + b;
                $go
            }
            BinaryOp::Sub => {
                let $f = |a: f64, b: f64| a - b;
                $go
            }
            BinaryOp::Mul => {
                let $f = |a: f64, b: f64| a * b;
                $go
            }
            BinaryOp::Div => {
                let $f = |a: f64, b: f64| a / b;
                $go
            }
            BinaryOp::Mod => {
                let $f = |a: f64, b: f64| a % b;
                $go
            }
            BinaryOp::Pow => {
                let $f = elementary::pow;
                $go
            }
            BinaryOp::Atan2 => {
                let $f = |a: f64, b: f64| a.atan2(b);
                $go
            }
            _ => $otherwise,
        }
    };
}

/// As [`arithmetic`], for comparisons.
macro_rules! comparison {
    ($op:expr, $f:ident => $go:expr, $otherwise:expr) => {
        match $op {
            BinaryOp::Eq => {
                let $f = |a: f64, b: f64| a == b;
                $go
            }
            BinaryOp::Ne => {
                let $f = |a: f64, b: f64| a != b;
                $go
            }
            BinaryOp::Lt => {
                let $f = |a: f64, b: f64| a < b;
                $go
            }
            BinaryOp::Le => {
                let $f = |a: f64, b: f64| a <= b;
                $go
            }
            BinaryOp::Gt => {
                let $f = |a: f64, b: f64| a > b;
                $go
            }
            BinaryOp::Ge => {
                let $f = |a: f64, b: f64| a >= b;
                $go
            }
            _ => $otherwise,
        }
    };
}

/// What an operator between two histograms takes, in numbers looked at.
const HISTOGRAM_WORK: usize = 256;

/// An operator between series that come one by one and a number.
pub(super) struct Operand {
    op: BinaryOp,
    bool_result: bool,
    /// The number, at each step.
    scalar: Vec<f64>,
    /// Whether the number stands on the left.
    swapped: bool,
    /// Where the operator's left side is in the query.
    start: usize,
}

impl Operand {
    pub(super) fn new(binary: &Binary, scalar: Vec<f64>, swapped: bool, start: usize) -> Self {
        Self { op: binary.op, bool_result: binary.bool_result, scalar, swapped, start }
    }
}

/// Whether an operator stands between a vector and a number.
pub(super) fn is_with_scalar(binary: &Binary) -> bool {
    let types = (binary.lhs.value_type, binary.rhs.value_type);
    matches!(types, (ValueType::Vector, ValueType::Scalar) | (ValueType::Scalar, ValueType::Vector))
}

/// An operator between two vectors or two numbers.
pub(super) fn eval(
    evaluator: &Evaluator<'_>,
    binary: &Binary,
    start: usize,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let lhs = evaluator.eval(&binary.lhs, steps)?;
    let rhs = evaluator.eval(&binary.rhs, steps)?;
    between(&Join { evaluator, binary, start, steps }, lhs, rhs)
}

/// Of values that are there.
fn between(join: &Join<'_>, lhs: Columns, rhs: Columns) -> Result<Columns, QueryError> {
    let Join { evaluator, binary, .. } = *join;
    let mut pace = evaluator.budget.pace();
    match (lhs, rhs) {
        (Columns::Scalar(_), Columns::Scalar(_)) if binary.op.trims() => {
            let op = binary.op.symbol();
            let message = format!("operator {op:?} not allowed for Scalar operations");
            Err(QueryError::execution(message))
        }
        (Columns::Scalar(lhs), Columns::Scalar(rhs)) => {
            scalars(binary.op, lhs, &rhs, &mut pace).map(Columns::Scalar)
        }
        (Columns::Vector(lhs), Columns::Vector(rhs)) => {
            let columns = join.of(lhs, rhs, &mut pace)?;
            evaluator.merge(columns).map(Columns::Vector)
        }
        _ => Err(QueryError::execution("operator between values that are no numbers")),
    }
}

/// Between two numbers at each step.
fn scalars(
    op: BinaryOp,
    mut lhs: Vec<f64>,
    rhs: &[f64],
    pace: &mut Pace<'_>,
) -> Result<Vec<f64>, QueryError> {
    for (lhs, rhs) in lhs.chunks_mut(STEPS_COUNTED).zip(rhs.chunks(STEPS_COUNTED)) {
        pace.spend(lhs.len())?;
        let both = lhs.iter_mut().zip(rhs);
        arithmetic!(
            op,
            f => both.for_each(|(a, b)| *a = f(*a, *b)),
            comparison!(
                op,
                holds => both.for_each(|(a, b)| *a = number(holds(*a, *b))),
                // Sets are of series, and only native histograms can be trimmed.
                both.for_each(|(a, _)| *a = f64::NAN)
            )
        );
    }
    Ok(lhs)
}

fn number(keep: bool) -> f64 {
    if keep { 1.0 } else { 0.0 }
}

pub(super) fn drops_name(binary: &Binary) -> bool {
    !binary.op.is_comparison() || binary.bool_result
}

/// Between the values of a series and a number.
pub(super) fn with_scalar(
    operand: &Operand,
    cells: &mut Cells,
    (pace, remarks): (&mut Pace<'_>, &mut Vec<Remark>),
) -> Result<(), QueryError> {
    let Operand { op, bool_result, scalar, swapped, start } = operand;
    let histograms = cells.take_histograms();
    let other = |step: usize| scalar.get(step).copied().unwrap_or(f64::NAN);
    arithmetic!(
        op,
        f => match swapped {
            true => cells.map(pace, |step, value| Some(f(other(step), value))),
            false => cells.map(pace, |step, value| Some(f(value, other(step)))),
        },
        comparison!(
            op,
            // The series is what is kept, on whichever side it stands.
            holds => match (*bool_result, *swapped) {
                (true, true) => {
                    cells.map(pace, |step, value| Some(number(holds(other(step), value))))
                }
                (true, false) => {
                    cells.map(pace, |step, value| Some(number(holds(value, other(step)))))
                }
                (false, true) => {
                    cells.map(pace, |step, value| holds(other(step), value).then_some(value))
                }
                (false, false) => {
                    cells.map(pace, |step, value| holds(value, other(step)).then_some(value))
                }
            },
            // Only native histograms can be trimmed.
            cells.map(pace, |_, _| None)
        )
    )?;
    for (step, histogram) in histograms.into_iter().enumerate() {
        let Some(histogram) = histogram else { continue };
        pace.spend(HISTOGRAM_WORK)?;
        let (histogram, number) = (Cell::Histogram(histogram), Cell::Number(other(step)));
        let (a, b) = if *swapped { (&number, &histogram) } else { (&histogram, &number) };
        match operate(*op, a, b) {
            Ok(Some(Cell::Histogram(result))) => cells.set_histogram(step, result),
            Ok(_) => {}
            Err(trouble) => mixed::note([said(trouble, *op)], *start, remarks),
        }
    }
    Ok(())
}

/// What there is to say where an operator gives nothing.
fn said(trouble: Trouble, op: BinaryOp) -> Said {
    match trouble.message(op) {
        (true, message) => Said::Warning(message),
        (false, message) => Said::Info(message),
    }
}

/// At which steps each match group has any series.
pub(super) fn presence<'b>(
    columns: &[Column],
    grouper: &Grouper<'b>,
    pace: &mut Pace<'_>,
) -> Result<Groups<Vec<bool>>, QueryError> {
    let mut groups: Groups<Vec<bool>> = Groups::default();
    for column in columns {
        pace.spend(column.len())?;
        let at = groups.slot(grouper, &column.labels, || vec![false; column.len()]);
        let present = groups.get_mut(at).map(Vec::as_mut_slice).unwrap_or_default();
        present.iter_mut().zip(column.presence()).for_each(|(any, there)| *any |= there);
    }
    Ok(groups)
}

pub(super) fn is_set(steps: &[bool], step: usize) -> bool {
    steps.get(step).copied().unwrap_or(false)
}

/// Of `lhs` what has a partner in `rhs`, or what has none.
fn keep(
    partnered: bool,
    binary: &Binary,
    mut lhs: Vec<Column>,
    rhs: &[Column],
    pace: &mut Pace<'_>,
) -> Result<Vec<Column>, QueryError> {
    let grouper = Grouper::new(&binary.matching, false);
    let there = presence(rhs, &grouper, pace)?;
    for column in &mut lhs {
        pace.spend(column.len())?;
        let group = there.find(&grouper, &column.labels).and_then(|at| there.get(at));
        let has = |step| group.is_some_and(|group| is_set(&group.state, step));
        column.retain(pace, |step| has(step) == partnered)?;
    }
    Ok(lhs)
}

fn or(
    binary: &Binary,
    mut lhs: Vec<Column>,
    rhs: Vec<Column>,
    pace: &mut Pace<'_>,
) -> Result<Vec<Column>, QueryError> {
    lhs.extend(keep(false, binary, rhs, &lhs, pace)?);
    Ok(lhs)
}

/// An operator between vectors.
struct Join<'b> {
    evaluator: &'b Evaluator<'b>,
    binary: &'b Binary,
    /// Where it is in the query.
    start: usize,
    steps: Steps,
}

/// The series of one side that are in a match group, and how many of the other side are.
#[derive(Default)]
struct Matched<'c> {
    ones: Vec<&'c Column>,
    many: usize,
}

impl Join<'_> {
    /// What the operator makes of both sides.
    fn of(
        &self,
        lhs: Vec<Column>,
        rhs: Vec<Column>,
        pace: &mut Pace<'_>,
    ) -> Result<Vec<Column>, QueryError> {
        match self.binary.op {
            BinaryOp::And => keep(true, self.binary, lhs, &rhs, pace),
            BinaryOp::Unless => keep(false, self.binary, lhs, &rhs, pace),
            BinaryOp::Or => or(self.binary, lhs, rhs, pace),
            _ if self.binary.fill == Fill::NONE => self.vectors(&lhs, &rhs, pace),
            _ => self.with_fill(lhs, rhs, pace),
        }
    }

    /// Where a value stands in for series that one side lacks.
    fn with_fill(
        &self,
        lhs: Vec<Column>,
        rhs: Vec<Column>,
        pace: &mut Pace<'_>,
    ) -> Result<Vec<Column>, QueryError> {
        let Fill { left, right } = self.binary.fill;
        let matching = &self.binary.matching;
        let lhs_len = lhs.len();
        let lhs = fill::filled(lhs, left, &rhs, matching, self.steps, pace)?;
        let (there, _) = lhs.split_at_checked(lhs_len).unwrap_or_default();
        let rhs = fill::filled(rhs, right, there, matching, self.steps, pace)?;
        self.vectors(&lhs, &rhs, pace)
    }

    /// The histograms of one pair of series.
    fn meet_histograms(
        &self,
        lhs: &Cells,
        rhs: &Cells,
        result: &mut Cells,
        pace: &mut Pace<'_>,
    ) -> Result<(), QueryError> {
        let cell = |cells: &Cells, step: usize| match cells.histogram(step) {
            Some(histogram) => Some(Cell::Histogram(Arc::clone(histogram))),
            None => cells.get(step).map(Cell::Number),
        };
        let any = |step: &usize| lhs.histogram(*step).is_some() || rhs.histogram(*step).is_some();
        for step in (0..self.steps.len).filter(any) {
            pace.spend(HISTOGRAM_WORK)?;
            let (Some(a), Some(b)) = (cell(lhs, step), cell(rhs, step)) else { continue };
            match operate(self.binary.op, &a, &b) {
                Ok(kept) if self.binary.bool_result => result.set(step, number(kept.is_some())),
                Ok(Some(Cell::Histogram(histogram))) => result.set_histogram(step, histogram),
                Ok(_) => {}
                Err(trouble) => match said(trouble, self.binary.op) {
                    Said::Warning(message) => self.evaluator.warn(&message, self.start),
                    Said::Info(message) => self.evaluator.inform(&message, self.start),
                },
            }
        }
        Ok(())
    }

    fn vectors(
        &self,
        lhs: &[Column],
        rhs: &[Column],
        pace: &mut Pace<'_>,
    ) -> Result<Vec<Column>, QueryError> {
        // The side that may have many series per group comes first.
        let swapped = matches!(self.binary.card, Card::OneToMany(_));
        let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
        let grouper = Grouper::new(&self.binary.matching, false);
        let mut groups: Groups<Matched<'_>> = Groups::default();
        for column in one {
            pace.spend(16)?;
            let at = groups.slot(&grouper, &column.labels, Matched::default);
            groups.get_mut(at).into_iter().for_each(|matched| matched.ones.push(column));
        }
        self.check_one_side(many, &groups, pace)?;
        let mut slots = Vec::with_capacity(many.len());
        for column in many {
            pace.spend(16)?;
            let at = groups.find(&grouper, &column.labels);
            at.and_then(|at| groups.get_mut(at)).into_iter().for_each(|group| group.many += 1);
            slots.push(at);
        }
        let mut taken: HashMap<(usize, Labels), Vec<bool>> = HashMap::new();
        let mut results = Vec::new();
        for (left, at) in many.iter().zip(slots) {
            let Some((at, group)) = at.and_then(|at| Some((at, groups.get(at)?))) else { continue };
            for right in &group.state.ones {
                pace.spend(16)?;
                let mut cells = Cells::absent(self.steps.len);
                let (lhs, rhs) = if swapped { (*right, left) } else { (left, *right) };
                meet(self.binary, (lhs, rhs), &mut cells, pace)?;
                if left.has_histograms() || right.has_histograms() {
                    self.meet_histograms(lhs, rhs, &mut cells, pace)?;
                }
                // Series that came one after the other meet only where both are there.
                if cells.is_empty() {
                    continue;
                }
                let labels = result_labels(self.binary, &left.labels, &right.labels);
                let result = Column { labels, cells };
                // What is alone in its group meets nothing else.
                if group.state.ones.len() > 1 || group.state.many > 1 {
                    let key = match self.binary.card {
                        Card::OneToOne => Labels::default(),
                        Card::ManyToOne(_) | Card::OneToMany(_) => result.labels.clone(),
                    };
                    let taken = taken.entry((at, key));
                    let taken = taken.or_insert_with(|| vec![false; self.steps.len]);
                    check_taken(self.binary, &result, taken)?;
                }
                pace.budget().check(Cost::columns(results.len() + 1, self.steps.len))?;
                results.push(result);
            }
        }
        Ok(results)
    }

    /// An error where the side that must have one series per group has two at one step, at which
    /// the other side has any.
    fn check_one_side(
        &self,
        many: &[Column],
        groups: &Groups<Matched<'_>>,
        pace: &mut Pace<'_>,
    ) -> Result<(), QueryError> {
        let doubted = || groups.iter().filter(|group| group.state.ones.len() > 1);
        if doubted().next().is_none() {
            return Ok(());
        }
        // Where a value may stand in for the other side, it is always there.
        let mut any = vec![self.binary.fill != Fill::NONE; self.steps.len];
        for column in many {
            pace.spend(column.len())?;
            any.iter_mut().zip(column.presence()).for_each(|(any, there)| *any |= there);
        }
        // Of several clashes the earliest is named, and of those that of the first series: the
        // columns lie in their order.
        let mut clash: Option<((usize, *const Column), [&Labels; 3])> = None;
        for group in doubted() {
            let mut first: Vec<Option<&Column>> = vec![None; self.steps.len];
            for column in &group.state.ones {
                pace.spend(column.len())?;
                for (step, _) in column.presence().enumerate().filter(|(_, there)| *there) {
                    match first.get_mut(step) {
                        Some(Some(other)) if is_set(&any, step) => {
                            let at = (step, std::ptr::from_ref(*column));
                            if clash.is_none_or(|(known, _)| at < known) {
                                clash = Some((at, [&group.labels, &column.labels, &other.labels]));
                            }
                        }
                        Some(Some(_)) | None => {}
                        Some(slot) => *slot = Some(column),
                    }
                }
            }
        }
        match clash {
            None => Ok(()),
            Some((_, [group, a, b])) => Err(duplicate(self.binary, group, a, b)),
        }
    }
}

/// The values of one pair of series.
fn meet(
    binary: &Binary,
    both: (&Cells, &Cells),
    result: &mut Cells,
    pace: &mut Pace<'_>,
) -> Result<(), QueryError> {
    arithmetic!(
        binary.op,
        f => result.combine(both, pace, |a, b| Some(f(a, b))),
        comparison!(
            binary.op,
            holds => match binary.bool_result {
                true => result.combine(both, pace, |a, b| Some(number(holds(a, b)))),
                false => result.combine(both, pace, |a, b| holds(a, b).then_some(a)),
            },
            // Only native histograms can be trimmed.
            Ok(())
        )
    )
}

/// Marks the steps of a result as taken; an error where another series of the group was there.
fn check_taken(binary: &Binary, result: &Column, taken: &mut [bool]) -> Result<(), QueryError> {
    for (taken, there) in taken.iter_mut().zip(result.presence()) {
        if *taken && there {
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
        *taken |= there;
    }
    Ok(())
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
        !matched || (drop_name && is_metadata(label))
    });
    let (Card::ManyToOne(include) | Card::OneToMany(include)) = &binary.card else { return kept };
    let included = include.iter().map(|name| (name.as_str(), one.get(name).unwrap_or("")));
    let labels = Labels::new(kept.iter().chain(included));
    // Taking the name from the other side is possible, but a truth value has none.
    if binary.bool_result { labels.without_metadata() } else { labels }
}
