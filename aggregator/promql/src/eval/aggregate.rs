//! Aggregations: many series into one per group, or the best few of each group.

use std::collections::HashMap;

use labstat_model::Labels;

use super::Evaluator;
use crate::QueryError;
use crate::column::{self, Column, Columns, Steps};
use crate::expr::{Aggregate, AggregateOp, Expr, Grouping, Node};
use crate::sums::{self, Mean, Sum};
use crate::{notes, order, sampling};

pub(super) fn eval(
    evaluator: &Evaluator<'_>,
    aggregate: &Aggregate,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let param = match &aggregate.param {
        Some(param) if !matches!(param.node, Node::Text(_)) => evaluator.scalar(param, steps)?,
        _ => Vec::new(),
    };
    let columns = evaluator.vector(&aggregate.expr, steps)?;
    evaluator.check_time()?;
    let result = match aggregate.op {
        AggregateOp::Topk
        | AggregateOp::Bottomk
        | AggregateOp::Limitk
        | AggregateOp::LimitRatio => select(evaluator, aggregate, columns, &param)?,
        AggregateOp::Quantile => {
            note_extremes(evaluator, aggregate, &param);
            quantile(evaluator, aggregate, &columns, &param, steps)?
        }
        AggregateOp::CountValues => count_values(evaluator, aggregate, &columns, steps)?,
        _ => fold(evaluator, aggregate, &columns, steps)?,
    };
    Ok(Columns::Vector(result))
}

/// The groups of `columns`, in order of first appearance: their labels and their members.
fn groups(columns: &[Column], grouping: &Grouping) -> Vec<(Labels, Vec<usize>)> {
    let mut at: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<(Labels, Vec<usize>)> = Vec::new();
    for (member, column) in columns.iter().enumerate() {
        let labels = grouping.apply(&column.labels);
        let slot = *at.entry(labels.clone()).or_insert(groups.len());
        match groups.get_mut(slot) {
            Some((_, members)) => members.push(member),
            None => groups.push((labels, vec![member])),
        }
    }
    groups
}

/// What is known of a group at one step while its members are folded in.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    count: f64,
    sum: Sum,
    mean: Mean,
    /// The extreme value, or the mean of deviations.
    value: f64,
}

impl State {
    fn add(&mut self, op: AggregateOp, value: f64) {
        self.count += 1.0;
        match op {
            AggregateOp::Sum => self.sum.add(value),
            AggregateOp::Avg => self.mean.add(value),
            AggregateOp::Min => self.keep_if(value, value < self.value),
            AggregateOp::Max => self.keep_if(value, value > self.value),
            AggregateOp::Stddev | AggregateOp::Stdvar => self.deviate(value),
            _ => {}
        }
    }

    /// The first value, a better one, or any in place of NaN.
    fn keep_if(&mut self, value: f64, better: bool) {
        if self.count == 1.0 || better || self.value.is_nan() {
            self.value = value;
        }
    }

    /// Welford's method: `value` is the mean, `sum` the sum of squared deviations.
    fn deviate(&mut self, value: f64) {
        if self.count == 1.0 {
            self.value = value;
            self.sum.value = if value.is_finite() { 0.0 } else { f64::NAN };
            return;
        }
        let delta = value - self.value;
        self.value += delta / self.count;
        self.sum.value += delta * (value - self.value);
    }

    fn result(&self, op: AggregateOp) -> f64 {
        match op {
            AggregateOp::Sum => self.sum.total(),
            AggregateOp::Avg => self.mean.mean(),
            AggregateOp::Count => self.count,
            AggregateOp::Min | AggregateOp::Max => self.value,
            AggregateOp::Stddev => (self.sum.value / self.count).sqrt(),
            AggregateOp::Stdvar => self.sum.value / self.count,
            _ => 1.0,
        }
    }
}

/// The aggregations that look at each member once.
fn fold(
    evaluator: &Evaluator<'_>,
    aggregate: &Aggregate,
    columns: &[Column],
    steps: Steps,
) -> Result<Vec<Column>, QueryError> {
    let mut results = Vec::new();
    for (labels, members) in groups(columns, &aggregate.grouping) {
        evaluator.check_time()?;
        let mut states = vec![State::default(); steps.len];
        for column in members.iter().filter_map(|member| columns.get(*member)) {
            for (step, value) in column.iter() {
                if let Some(state) = states.get_mut(step) {
                    state.add(aggregate.op, value);
                }
            }
        }
        let mut result = Column::absent(labels, steps.len);
        for (step, state) in states.iter().enumerate().filter(|(_, state)| state.count > 0.0) {
            result.set(step, state.result(aggregate.op));
        }
        results.push(result);
    }
    Ok(results)
}

fn quantile(
    evaluator: &Evaluator<'_>,
    aggregate: &Aggregate,
    columns: &[Column],
    param: &[f64],
    steps: Steps,
) -> Result<Vec<Column>, QueryError> {
    let mut results = Vec::new();
    for (labels, members) in groups(columns, &aggregate.grouping) {
        evaluator.check_time()?;
        let mut result = Column::absent(labels, steps.len);
        for (step, q) in param.iter().enumerate() {
            evaluator.check_time()?;
            let value = |member: &usize| columns.get(*member).and_then(|column| column.get(step));
            let mut values: Vec<f64> = members.iter().filter_map(value).collect();
            if !values.is_empty() {
                result.set(step, sums::quantile(*q, &mut values));
            }
        }
        results.push(result);
    }
    Ok(results)
}

fn count_values(
    evaluator: &Evaluator<'_>,
    aggregate: &Aggregate,
    columns: &[Column],
    steps: Steps,
) -> Result<Vec<Column>, QueryError> {
    let Some(Expr { node: Node::Text(label), .. }) = &aggregate.param else {
        return Err(QueryError::execution("count_values needs a label name"));
    };
    if label.is_empty() {
        return Err(QueryError::execution("invalid label name \"\""));
    }
    let grouping = match &aggregate.grouping {
        Grouping::Keep(names) => Grouping::Keep(names.iter().chain([label]).cloned().collect()),
        Grouping::Drop(names) => Grouping::Drop(names.clone()),
    };
    let mut at: HashMap<Labels, usize> = HashMap::new();
    let mut results: Vec<Column> = Vec::new();
    for column in columns {
        evaluator.check_time()?;
        for (step, value) in column.iter() {
            let labels = grouping.apply(&column.labels.with(label, &plain(value)));
            let slot = *at.entry(labels.clone()).or_insert(results.len());
            if slot == results.len() {
                evaluator.check_samples(column::points(slot + 1, steps.len))?;
                results.push(Column::absent(labels, steps.len));
            }
            if let Some(result) = results.get_mut(slot) {
                let count = result.get(step).unwrap_or(0.0) + 1.0;
                result.set(step, count);
            }
        }
    }
    Ok(results)
}

/// A value as a label: never with an exponent.
fn plain(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    value.to_string()
}

/// The least and the largest of the parameter over all steps; both are NaN where any is.
fn extremes(param: &[f64]) -> (f64, f64) {
    if param.iter().any(|value| value.is_nan()) {
        return (f64::NAN, f64::NAN);
    }
    param.iter().fold((f64::MAX, f64::MIN), |(min, max), value| (min.min(*value), max.max(*value)))
}

/// Remarks on a parameter outside of what makes sense: the worst on each side.
fn note_extremes(evaluator: &Evaluator<'_>, aggregate: &Aggregate, param: &[f64]) {
    let start = aggregate.param.as_ref().map_or(0, |param| param.start);
    let (min, max) = extremes(param);
    if aggregate.op == AggregateOp::Quantile {
        let bad = [(max.is_nan(), max), (max > 1.0, max), (min < 0.0, min)];
        for (_, value) in bad.into_iter().filter(|(bad, _)| *bad) {
            evaluator.warn(&notes::no_quantile(value), start);
        }
    } else {
        for (_, value, limit) in [(max > 1.0, max, 1), (min < -1.0, min, -1)].iter().filter(|b| b.0)
        {
            let value = labstat_model::number::format_g(*value);
            let message =
                format!("ratio value should be between -1 and 1, got {value}, capping to {limit}");
            evaluator.warn(&message, start);
        }
    }
}

/// How many to take: an error for what is no count.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bounded above and below right here"
)]
fn count_of(param: f64) -> Result<usize, QueryError> {
    // The largest float below 2^63.
    const COUNT_MAX: f64 = 9_223_372_036_854_774_784.0;
    if param.is_nan() || param.abs() > COUNT_MAX {
        let value = labstat_model::number::format_g(param);
        return Err(QueryError::execution(format!("Scalar value {value} overflows int64")));
    }
    Ok(if param < 1.0 { 0 } else { param as usize })
}

/// `topk`, `bottomk`, `limitk` and `limit_ratio`: some of the members of each group, at each step
/// others.
fn select(
    evaluator: &Evaluator<'_>,
    aggregate: &Aggregate,
    mut columns: Vec<Column>,
    param: &[f64],
) -> Result<Vec<Column>, QueryError> {
    let (min, max) = extremes(param);
    let ratio = aggregate.op == AggregateOp::LimitRatio;
    if ratio {
        note_extremes(evaluator, aggregate, param);
    }
    // Where nothing is asked for, a parameter that makes no sense does not matter.
    if if ratio { (min, max) == (0.0, 0.0) } else { max < 1.0 } {
        return Ok(Vec::new());
    }
    let wanted = check_params(aggregate.op, &columns, param)?;
    let groups = groups(&columns, &aggregate.grouping);
    let mut chosen: Vec<Vec<bool>> = columns.iter().map(|c| vec![false; c.values.len()]).collect();
    let mut order = Vec::with_capacity(columns.len());
    let offsets: Vec<f64> = match ratio {
        true => columns.iter().map(|column| sampling::offset(&column.labels)).collect(),
        false => Vec::new(),
    };
    for (_, members) in &groups {
        evaluator.check_time()?;
        for (step, k) in param.iter().enumerate() {
            evaluator.check_time()?;
            let value = |member: &usize| {
                let value = columns.get(*member).and_then(|column| column.get(step));
                value.map(|value| (*member, value))
            };
            let candidates = members.iter().filter_map(value);
            let best = if ratio {
                let taken = |(member, _): &(usize, f64)| {
                    offsets.get(*member).is_some_and(|offset| sampling::takes(*k, *offset))
                };
                candidates.filter(taken).collect()
            } else {
                best_of(aggregate.op, wanted.get(step).copied().unwrap_or(0), candidates)
            };
            for (member, _) in &best {
                if let Some(slot) = chosen.get_mut(*member).and_then(|c| c.get_mut(step)) {
                    *slot = true;
                }
            }
            if param.len() == 1 {
                order.extend(best.into_iter().map(|(member, _)| member));
            }
        }
    }
    for (column, chosen) in columns.iter_mut().zip(chosen) {
        column.present = chosen;
    }
    if param.len() == 1 {
        // An instant query shows the best of each group first.
        columns = order.into_iter().filter_map(|member| columns.get(member).cloned()).collect();
    }
    column::merge(columns)
}

/// How many to take at each step; an error for a parameter that makes no sense at a step at which
/// there is any series.
fn check_params(
    op: AggregateOp,
    columns: &[Column],
    param: &[f64],
) -> Result<Vec<usize>, QueryError> {
    let check = |(step, value): (usize, &f64)| {
        if !columns.iter().any(|column| column.get(step).is_some()) {
            return Ok(0);
        }
        if op != AggregateOp::LimitRatio {
            return count_of(*value);
        }
        if value.is_nan() {
            return Err(QueryError::execution("Ratio value NaN is NaN"));
        }
        Ok(0)
    };
    param.iter().enumerate().map(check).collect()
}

/// The `k` best of the candidates, best first. Ties go as in Prometheus: a heap with the worst on
/// top, in which a candidate replaces it only when it is truly better.
fn best_of(
    op: AggregateOp,
    k: usize,
    candidates: impl Iterator<Item = (usize, f64)>,
) -> Vec<(usize, f64)> {
    if op == AggregateOp::Limitk {
        return candidates.take(k).collect();
    }
    let top = op == AggregateOp::Topk;
    // Whether `a` is worse than `b`; NaN is worst of all, even than another.
    let worse = |a: f64, b: f64| a.is_nan() || if top { a < b } else { a > b };
    let mut heap: Vec<(usize, f64)> = Vec::new();
    for candidate in candidates {
        if heap.len() < k {
            heap.push(candidate);
            let last = heap.len() - 1;
            sift_up(&mut heap, last, &worse);
        } else if heap.first().is_some_and(|(_, worst)| {
            worse(*worst, candidate.1) && !(worst.is_nan() && candidate.1.is_nan())
        }) {
            if let Some(worst) = heap.first_mut() {
                *worst = candidate;
            }
            sift_down(&mut heap, &worse);
        }
    }
    order::sort(&mut heap, |a, b| worse(b.1, a.1));
    heap
}

fn sift_up(heap: &mut [(usize, f64)], mut at: usize, worse: &impl Fn(f64, f64) -> bool) {
    while let Some(parent) = at.checked_sub(1).map(|before| before / 2) {
        let (Some(child), Some(above)) = (heap.get(at), heap.get(parent)) else { return };
        if !worse(child.1, above.1) {
            return;
        }
        heap.swap(at, parent);
        at = parent;
    }
}

fn sift_down(heap: &mut [(usize, f64)], worse: &impl Fn(f64, f64) -> bool) {
    let mut at = 0;
    loop {
        let left = 2 * at + 1;
        let Some(left_value) = heap.get(left) else { return };
        let mut child = left;
        if heap.get(left + 1).is_some_and(|right| worse(right.1, left_value.1)) {
            child = left + 1;
        }
        let (Some(below), Some(above)) = (heap.get(child), heap.get(at)) else { return };
        if !worse(below.1, above.1) {
            return;
        }
        heap.swap(at, child);
        at = child;
    }
}
