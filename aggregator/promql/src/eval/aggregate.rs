//! Aggregations: many series into one per group. Those that choose among the members of a group
//! are in `pick`.

use std::collections::HashMap;

use labstat_model::Labels;

use super::fold::{Any, Average, Count, Deviation, Extreme, Fold, Total};
use super::groups::{Group, Grouper, Groups};
use super::stream::{Seen, Stream};
use super::{Evaluator, natives, pick};
use crate::budget::{Budget, Cost, Pace};
use crate::column::{Column, Columns, Parts, Steps};
use crate::expr::{Aggregate, AggregateOp, Expr, Grouping, Node};
use crate::histogram::describe;
use crate::{QueryError, order, sums};

/// Steps that are looked at together where all values of a step are needed at once.
const STEPS_TOGETHER: usize = 16;

/// What counting a value takes, in numbers looked at.
const COUNTING: usize = 64;

pub(super) fn eval(
    evaluator: &Evaluator<'_>,
    aggregate: &Aggregate,
    start: usize,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let held = evaluator.budget.live();
    let param = match &aggregate.param {
        Some(param) if !matches!(param.node, Node::Text(_)) => evaluator.scalar(param, steps)?,
        _ => Vec::new(),
    };
    let stream = evaluator.stream(&aggregate.expr, steps)?;
    let folding = Folding { evaluator, aggregate, stream, steps };
    let result = match aggregate.op {
        AggregateOp::Sum => folding.fold::<Total>()?,
        AggregateOp::Avg => folding.fold::<Average>()?,
        AggregateOp::Count => folding.fold::<Count>()?,
        AggregateOp::Group => folding.fold::<Any>()?,
        AggregateOp::Max => folding.fold::<Extreme<true>>()?,
        AggregateOp::Min => folding.fold::<Extreme<false>>()?,
        AggregateOp::Stddev => folding.deviations(f64::sqrt)?,
        AggregateOp::Stdvar => folding.deviations(|variance| variance)?,
        AggregateOp::Quantile => match folding.quantiles(&param) {
            Err(error) if error.is_too_much() && steps.len > 1 => {
                evaluator.budget.set_live(held)?;
                return in_halves(evaluator, aggregate, start, steps);
            }
            other => other?,
        },
        AggregateOp::CountValues => folding.count_values()?,
        AggregateOp::Topk
        | AggregateOp::Bottomk
        | AggregateOp::Limitk
        | AggregateOp::LimitRatio => {
            pick::eval(evaluator, (aggregate, start), folding.stream, &param, steps)?
        }
    };
    Ok(Columns::Vector(result))
}

/// An aggregation that needs all values of a step at once, of fewer steps at a time: what it reads
/// is read again for them.
fn in_halves(
    evaluator: &Evaluator<'_>,
    aggregate: &Aggregate,
    start: usize,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let len = steps.len / 2;
    let early = Steps { len, ..steps };
    let late = Steps { start_ms: steps.time(len), len: steps.len - len, ..steps };
    let held = evaluator.budget.live();
    let mut parts = Parts::new(steps.len);
    for (first, half) in [(0, early), (len, late)] {
        if let Columns::Vector(columns) = eval(evaluator, aggregate, start, half)? {
            columns.into_iter().for_each(|column| parts.push(first, column));
        }
        evaluator.budget.set_live(held.and(Cost::columns(parts.len(), steps.len)))?;
    }
    Ok(Columns::Vector(parts.joined()))
}

/// An aggregation and what flows into it.
struct Folding<'f, 's> {
    evaluator: &'f Evaluator<'f>,
    aggregate: &'f Aggregate,
    stream: Stream<'s>,
    steps: Steps,
}

/// What a part gives: the folds of its groups, and the series that have native histograms.
type Part<F> = (Groups<Members<F>>, Vec<Column>);

/// What is known of the members of a group.
struct Members<F> {
    /// A fold for each step.
    folds: Vec<F>,
    /// The first of their labels, where the series do not come in the order of these.
    first: Option<Labels>,
}

impl<F: Fold> Members<F> {
    fn see(&mut self, labels: &Labels) {
        if self.first.as_ref().is_none_or(|first| labels < first) {
            self.first = Some(labels.clone());
        }
    }

    fn join(&mut self, later: Self) {
        self.folds.iter_mut().zip(later.folds).for_each(|(fold, later)| fold.join(later));
        later.first.iter().for_each(|first| self.see(first));
    }
}

impl Folding<'_, '_> {
    fn grouper(&self) -> Grouper<'_> {
        Grouper::new(&self.aggregate.grouping, self.stream.nameless)
    }

    /// The aggregations whose folds of parts can be joined.
    fn fold<F: Fold>(&self) -> Result<Vec<Column>, QueryError> {
        let (grouper, len) = (self.grouper(), self.steps.len);
        let (nameless, is_sorted) = (self.stream.nameless, self.stream.is_sorted());
        let cost = |groups: &Groups<Members<F>>| Cost::of(groups.len(), len, size_of::<F>());
        let add = |(groups, natives): &mut Part<F>, seen: Seen<'_>, pace: &mut Pace<'_>| {
            if seen.cells.has_histograms() {
                let labels = match seen.labels {
                    labels if nameless => labels.without_metadata(),
                    labels => labels.clone(),
                };
                natives.push(Column { labels, cells: seen.cells.clone() });
                if !seen.cells.has_numbers() {
                    return Ok(());
                }
            }
            let known = groups.len();
            let none = || Members { folds: vec![F::EMPTY; len], first: None };
            let at = groups.slot(&grouper, seen.labels, none);
            if groups.len() > known {
                pace.budget().check(cost(groups))?;
            }
            if let Some(members) = groups.get_mut(at) {
                if !is_sorted {
                    members.see(seen.labels);
                }
                for (state, value) in members.folds.iter_mut().zip(seen.cells.steps()) {
                    if let Some(value) = value {
                        state.add(value);
                    }
                }
            }
            Ok(())
        };
        let (mut all, mut members) = (Groups::default(), Vec::new());
        self.stream.fold(self.evaluator, &add, &mut |(part, mut natives)| {
            members.append(&mut natives);
            all.join(part, Members::join);
            let natives = Cost::columns(members.len(), 2 * len);
            self.evaluator.budget.check(cost(&all).and(natives))
        })?;
        // Where series come in order, groups do: in that of the first of each.
        let mut groups: Vec<Group<Members<F>>> = all.into_iter().collect();
        if !is_sorted {
            groups = order::sorted(groups, &self.evaluator.budget, |a, b| {
                a.state.first.cmp(&b.state.first)
            })?;
        }
        let folds = groups.into_iter().map(|group| (group.labels, group.state.folds));
        let mut groups = shown(folds, F::result);
        if !members.is_empty() {
            let (evaluator, aggregate) = (self.evaluator, self.aggregate);
            let into = (&mut groups, self.steps);
            natives::add_histograms(evaluator, aggregate, &grouper, &members, into)?;
        }
        Ok(groups)
    }

    /// The aggregations that depend on the order of the members. Of more than can be sorted, it is
    /// that in which they are read, which differs in the last digits.
    fn deviations(self, show: fn(f64) -> f64) -> Result<Vec<Column>, QueryError> {
        let Self { evaluator, aggregate, stream, steps } = self;
        let (grouper, len) = (Grouper::new(&aggregate.grouping, stream.nameless), steps.len);
        let stream = stream.in_order(evaluator)?;
        let is_sorted = stream.is_sorted();
        let mut all: Groups<Vec<Deviation>> = Groups::default();
        stream.one_by_one(evaluator, &mut |column| {
            if column.has_histograms() {
                natives::note_ignored(evaluator, aggregate.op, aggregate.expr.outer_start);
            }
            let at = all.slot(&grouper, &column.labels, || vec![Deviation::default(); len]);
            let states = all.get_mut(at).map(Vec::as_mut_slice).unwrap_or_default();
            for (state, value) in states.iter_mut().zip(column.steps()) {
                if let Some(value) = value {
                    state.add(value);
                }
            }
            evaluator.budget.check(Cost::of(all.len(), len, size_of::<Deviation>()))
        })?;
        let groups = all.into_iter().map(|group| (group.labels, group.state));
        let groups = shown(groups, |state| state.variance().map(show));
        if is_sorted { Ok(groups) } else { by_labels(groups, &evaluator.budget) }
    }

    fn quantiles(self, param: &[f64]) -> Result<Vec<Column>, QueryError> {
        let Self { evaluator, aggregate, stream, steps } = self;
        pick::note_extremes(evaluator, aggregate, param);
        let grouper = Grouper::new(&aggregate.grouping, stream.nameless);
        let columns = stream.columns(evaluator)?;
        if columns.iter().any(|column| column.has_histograms()) {
            natives::note_ignored(evaluator, aggregate.op, aggregate.expr.outer_start);
        }
        let mut groups: Groups<Vec<&Column>> = Groups::default();
        for column in &columns {
            let at = groups.slot(&grouper, &column.labels, Vec::new);
            groups.get_mut(at).into_iter().for_each(|members| members.push(column));
        }
        let cost = Cost::columns(columns.len() + groups.len(), steps.len);
        evaluator.budget.check(cost)?;
        let (budget, parts) = (&evaluator.budget, steps.len.div_ceil(STEPS_TOGETHER));
        let mut results = Vec::with_capacity(groups.len());
        for group in groups.into_iter() {
            let members = &group.state;
            let mut result = Column::absent(group.labels, steps.len);
            let work = |part: usize| quantiles_at(budget, members, param, part);
            evaluator.pool.in_order(budget, parts, &work, &mut |part| {
                part.into_iter().for_each(|(step, value)| result.set(step, value));
                Ok(())
            })?;
            results.push(result);
        }
        Ok(results)
    }

    fn count_values(self) -> Result<Vec<Column>, QueryError> {
        let Self { evaluator, aggregate, stream, steps } = self;
        let Some(Expr { node: Node::Text(label), .. }) = &aggregate.param else {
            return Err(QueryError::execution("count_values needs a label name"));
        };
        if label.is_empty() {
            return Err(QueryError::execution("invalid label name \"\""));
        }
        let kept = match &aggregate.grouping {
            Grouping::Keep(names) => Grouping::Keep(names.iter().chain([label]).cloned().collect()),
            Grouping::Drop(names) => Grouping::Drop(names.clone()),
        };
        let grouper = Grouper::new(&aggregate.grouping, stream.nameless);
        let stream = stream.in_order(evaluator)?;
        let is_sorted = stream.is_sorted();
        let tells = !kept.apply(&Labels::new([(label.as_str(), "x")])).is_empty();
        let len = steps.len;
        let mut counting = Counting { label, kept, tells, len, ..Counting::default() };
        let mut groups: Groups<Labels> = Groups::default();
        let mut pace = evaluator.budget.pace();
        stream.one_by_one(evaluator, &mut |column| {
            let group = groups.slot(&grouper, &column.labels, || grouper.labels(&column.labels));
            let labels = groups.get(group).map(|group| &group.labels);
            for (step, histogram) in column.histograms() {
                pace.spend(histogram.numbers_len())?;
                let at = counting.result(labels, &describe(histogram), &pace)?;
                counting.add_one(at, step);
            }
            for (step, value) in column.iter() {
                pace.spend(COUNTING)?;
                let at = counting.find((group, labels), value, &pace)?;
                counting.add_one(at, step);
            }
            Ok(())
        })?;
        if is_sorted {
            return Ok(counting.results);
        }
        by_labels(counting.results, &evaluator.budget)
    }
}

fn by_labels(columns: Vec<Column>, budget: &Budget) -> Result<Vec<Column>, QueryError> {
    order::sorted(columns, budget, |a, b| a.labels.cmp(&b.labels))
}

/// A column for each group of what `result` makes of its states.
fn shown<F: Copy>(
    groups: impl Iterator<Item = (Labels, Vec<F>)>,
    result: impl Fn(F) -> Option<f64>,
) -> Vec<Column> {
    let column = |(labels, states): (Labels, Vec<F>)| {
        let mut column = Column::absent(labels, states.len());
        for (step, state) in states.into_iter().enumerate() {
            if let Some(value) = result(state) {
                column.set(step, value);
            }
        }
        column
    };
    groups.map(column).collect()
}

/// The quantiles of the members' values at some of the steps.
fn quantiles_at(
    budget: &Budget,
    members: &[&Column],
    param: &[f64],
    part: usize,
) -> Result<Vec<(usize, f64)>, QueryError> {
    let first = part * STEPS_TOGETHER;
    let quantiles = param.iter().enumerate().skip(first).take(STEPS_TOGETHER);
    let mut pace = budget.pace();
    let mut results = Vec::with_capacity(STEPS_TOGETHER);
    let mut values: Vec<f64> = Vec::with_capacity(members.len());
    for (step, q) in quantiles {
        pace.spend(members.len())?;
        values.clear();
        values.extend(members.iter().filter_map(|column| column.get(step)));
        if !values.is_empty() {
            results.push((step, sums::quantile(*q, &mut values)));
        }
    }
    Ok(results)
}

/// `count_values` while it counts.
#[derive(Default)]
struct Counting<'c> {
    label: &'c str,
    /// Which labels a result has.
    kept: Grouping,
    /// Whether the label is among them, so that values have results of their own.
    tells: bool,
    len: usize,
    /// The result of a value in a group.
    known: HashMap<(usize, u64), usize>,
    /// The one that was found last: a series mostly goes on as it was.
    last: Option<((usize, u64), usize)>,
    /// The same of the result's labels: values may look alike, and the label may be dropped.
    at: HashMap<Labels, usize>,
    results: Vec<Column>,
    /// What the labels of results take beside what every series does.
    labels_len: usize,
}

impl Counting<'_> {
    /// Where the result of a value of a group with these labels is.
    fn find(
        &mut self,
        (group, labels): (usize, Option<&Labels>),
        value: f64,
        pace: &Pace<'_>,
    ) -> Result<usize, QueryError> {
        let key = (group, if self.tells { value.to_bits() } else { 0 });
        if let Some((_, at)) = self.last.filter(|(last, _)| *last == key) {
            return Ok(at);
        }
        let at = match self.known.get(&key) {
            Some(at) => *at,
            None => {
                let at = self.result(labels, &plain(value), pace)?;
                self.known.insert(key, at);
                pace.budget().check(self.cost())?;
                at
            }
        };
        self.last = Some((key, at));
        Ok(at)
    }

    /// Where the result of a value, as it is shown, is.
    fn result(
        &mut self,
        labels: Option<&Labels>,
        value: &str,
        pace: &Pace<'_>,
    ) -> Result<usize, QueryError> {
        let labels = labels.cloned().unwrap_or_default();
        let labels = self.kept.apply(&labels.with(self.label, value));
        let at = *self.at.entry(labels.clone()).or_insert(self.results.len());
        if at == self.results.len() {
            self.labels_len += labels.size_bytes();
            self.results.push(Column::absent(labels, self.len));
            pace.budget().check(self.cost())?;
        }
        Ok(at)
    }

    fn cost(&self) -> Cost {
        let known = self.known.len().saturating_mul(2 * size_of::<((usize, u64), usize)>());
        let beside = Cost::bytes(known.saturating_add(self.labels_len));
        Cost::columns(self.results.len(), self.len).and(beside)
    }

    fn add_one(&mut self, at: usize, step: usize) {
        if let Some(result) = self.results.get_mut(at) {
            let count = result.get(step).unwrap_or(0.0) + 1.0;
            result.set(step, count);
        }
    }
}

/// A value as a label: never with an exponent.
fn plain(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    value.to_string()
}
