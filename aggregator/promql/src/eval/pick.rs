//! Aggregations that choose: `topk`, `bottomk`, `limitk` and `limit_ratio` take some of the members
//! of each group, at each step others. What is held are those chosen so far.
//!
//! Of equal ones Prometheus chooses by the order in which they come, which is that of their labels,
//! in a way that depends on all that came before. Where there are too many series to be put into
//! that order, the labels themselves decide: the first ones are taken.

use std::collections::HashMap;
use std::sync::Arc;

use labstat_model::{Histogram, Labels};

use super::groups::{Grouper, Groups};
use super::stream::Stream;
use super::{Evaluator, natives};
use crate::budget::{Budget, Cost};
use crate::column::{Column, Steps};
use crate::expr::{Aggregate, AggregateOp};
use crate::{QueryError, notes, order, sampling};

/// A chosen value, and the number of its series.
type Entry = (u32, f64);

pub(super) fn eval(
    evaluator: &Evaluator<'_>,
    (aggregate, start): (&Aggregate, usize),
    stream: Stream<'_>,
    param: &[f64],
    steps: Steps,
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
    let mut picking = Picking::new(aggregate.op, stream.nameless, param);
    let stream = stream.in_order(evaluator)?;
    picking.by_labels = !stream.is_sorted();
    let grouper = Grouper::new(&aggregate.grouping, stream.nameless);
    let mut groups: Groups<Vec<Vec<Entry>>> = Groups::default();
    let mut pace = evaluator.budget.pace();
    stream.one_by_one(evaluator, &mut |column| {
        let at = groups.slot(&grouper, &column.labels, || vec![Vec::new(); steps.len]);
        if let Some(heaps) = groups.get_mut(at) {
            picking.offer(heaps, &column);
        }
        if column.has_histograms() && picking.is_of_numbers() {
            natives::note_ignored(evaluator, aggregate.op, start);
        }
        pace.spend(column.len())?;
        let entries = Cost::bytes(picking.entries.saturating_mul(size_of::<Entry>()));
        let held = Cost::columns(groups.len(), 3 * steps.len);
        evaluator.budget.check(entries.and(held).and(Cost::columns(picking.series.len(), 0)))
    })?;
    picking.refused()?;
    picking.chosen(evaluator, groups, steps)
}

/// The choice while it is made.
struct Picking {
    op: AggregateOp,
    nameless: bool,
    /// Whether series come in any order, so that labels decide between equals.
    by_labels: bool,
    /// How many to take at each step, or the part of all.
    wanted: Vec<Result<usize, QueryError>>,
    ratios: Vec<f64>,
    /// The first step at which there is a series and a parameter that makes no sense.
    refused: Option<usize>,
    /// The labels of every series that was chosen at any time, in the order they came in.
    series: Vec<Labels>,
    /// Values that are chosen just now.
    entries: usize,
    /// The histograms among them, by the numbers of their series and steps.
    histograms: HashMap<(u32, usize), Arc<Histogram>>,
}

impl Picking {
    fn new(op: AggregateOp, nameless: bool, param: &[f64]) -> Self {
        let wanted = |value: &f64| match op {
            AggregateOp::LimitRatio if value.is_nan() => {
                Err(QueryError::execution("Ratio value NaN is NaN"))
            }
            AggregateOp::LimitRatio => Ok(0),
            _ => count_of(*value),
        };
        Self {
            op,
            nameless,
            by_labels: false,
            wanted: param.iter().map(wanted).collect(),
            ratios: param.to_vec(),
            refused: None,
            series: Vec::new(),
            entries: 0,
            histograms: HashMap::new(),
        }
    }

    /// Whether histograms are not chosen among.
    fn is_of_numbers(&self) -> bool {
        matches!(self.op, AggregateOp::Topk | AggregateOp::Bottomk)
    }

    /// Offers the values of a series to what was chosen at each step.
    fn offer(&mut self, heaps: &mut [Vec<Entry>], column: &Column) {
        let labels = || match self.nameless {
            true => column.labels.without_metadata(),
            false => column.labels.clone(),
        };
        let number = u32::try_from(self.series.len()).unwrap_or(u32::MAX);
        // Taken away again where it is not chosen at all.
        self.series.push(labels());
        let offset = match (self.op, self.series.last()) {
            (AggregateOp::LimitRatio, Some(labels)) => sampling::offset(labels),
            _ => 0.0,
        };
        let ranking = Ranking { op: self.op, labels: self.by_labels.then_some(&self.series) };
        let mut chosen = false;
        let histograms = column.histograms().filter(|_| !self.is_of_numbers());
        let mut histograms: HashMap<usize, &Arc<Histogram>> = histograms.collect();
        let stand_ins: Vec<(usize, f64)> = histograms.keys().map(|at| (*at, f64::NAN)).collect();
        for (step, value) in column.iter().chain(stand_ins) {
            let (Some(heap), Some(wanted)) = (heaps.get_mut(step), self.wanted.get(step)) else {
                continue;
            };
            let Ok(wanted) = wanted else {
                self.refused = Some(self.refused.map_or(step, |refused| refused.min(step)));
                continue;
            };
            let before = heap.len();
            let taken = match self.op {
                AggregateOp::LimitRatio => {
                    let ratio = self.ratios.get(step).copied().unwrap_or(0.0);
                    push_if(heap, (number, value), sampling::takes(ratio, offset))
                }
                AggregateOp::Limitk if !self.by_labels => {
                    push_if(heap, (number, value), before < *wanted)
                }
                _ => keep_best(heap, *wanted, (number, value), &ranking),
            };
            chosen |= taken;
            self.entries += heap.len() - before;
            if taken && let Some(histogram) = histograms.remove(&step) {
                self.histograms.insert((number, step), Arc::clone(histogram));
            }
        }
        if !chosen {
            self.series.pop();
        }
    }

    /// An error where a parameter made no sense.
    fn refused(&mut self) -> Result<(), QueryError> {
        match self.refused.filter(|step| *step < self.wanted.len()) {
            Some(step) => self.wanted.swap_remove(step).map(|_| ()),
            None => Ok(()),
        }
    }

    /// A column for each series that is chosen at any step.
    fn chosen(
        self,
        evaluator: &Evaluator<'_>,
        groups: Groups<Vec<Vec<Entry>>>,
        steps: Steps,
    ) -> Result<Vec<Column>, QueryError> {
        let mut columns: Vec<Option<Column>> = vec![None; self.series.len()];
        let (mut order, mut count) = (Vec::new(), 0);
        let mut pace = evaluator.budget.pace();
        for group in groups.into_iter() {
            for (step, mut heap) in group.state.into_iter().enumerate() {
                pace.spend(heap.len())?;
                if steps.len == 1 {
                    // An instant query shows the best of each group first.
                    heap = self.sort(heap, &evaluator.budget)?;
                    order.extend(heap.iter().map(|(number, _)| *number));
                }
                for (number, value) in heap {
                    let (key, number) = (number, number as usize);
                    let Some(slot) = columns.get_mut(number) else { continue };
                    if slot.is_none() {
                        count += 1;
                        evaluator.budget.check(Cost::columns(count, steps.len))?;
                    }
                    let labels = || self.series.get(number).cloned().unwrap_or_default();
                    let column = slot.get_or_insert_with(|| Column::absent(labels(), steps.len));
                    match self.histograms.get(&(key, step)) {
                        Some(histogram) => column.set_histogram(step, Arc::clone(histogram)),
                        None => column.set(step, value),
                    }
                }
            }
        }
        if steps.len != 1 {
            let columns: Vec<Column> = columns.into_iter().flatten().collect();
            if !self.by_labels {
                return Ok(columns);
            }
            return order::sorted(columns, &evaluator.budget, |a, b| a.labels.cmp(&b.labels));
        }
        let taken = |number| columns.get_mut(number as usize).and_then(Option::take);
        Ok(order.into_iter().filter_map(taken).collect())
    }

    /// The best first.
    fn sort(&self, mut heap: Vec<Entry>, budget: &Budget) -> Result<Vec<Entry>, QueryError> {
        if self.by_labels {
            let labels = |entry: &Entry| self.series.get(entry.0 as usize);
            heap = order::sorted(heap, budget, |a, b| labels(a).cmp(&labels(b)))?;
        }
        match self.op {
            AggregateOp::Topk => order::sort(heap, budget, |a, b| worse(b.1, a.1, |a, b| a < b)),
            AggregateOp::Bottomk => order::sort(heap, budget, |a, b| worse(b.1, a.1, |a, b| a > b)),
            _ => Ok(heap),
        }
    }
}

fn push_if(heap: &mut Vec<Entry>, entry: Entry, wanted: bool) -> bool {
    if wanted {
        heap.push(entry);
    }
    wanted
}

/// Whether `a` is worse than `b`; NaN is worst of all, even than another.
fn worse(a: f64, b: f64, beaten: impl Fn(f64, f64) -> bool) -> bool {
    a.is_nan() || beaten(a, b)
}

/// Which of two entries is the worse one.
struct Ranking<'r> {
    op: AggregateOp,
    /// Of all series by their numbers, where labels decide between equals.
    labels: Option<&'r Vec<Labels>>,
}

impl Ranking<'_> {
    fn is_worse(&self, a: &Entry, b: &Entry) -> bool {
        let by_value = |a: f64, b: f64| match self.op {
            AggregateOp::Topk => worse(a, b, |a, b| a < b),
            AggregateOp::Bottomk => worse(a, b, |a, b| a > b),
            _ => false,
        };
        let is_worse = by_value(a.1, b.1);
        match self.labels {
            // Of two NaN each is worse than the other.
            Some(labels) if is_worse == by_value(b.1, a.1) => {
                labels.get(a.0 as usize) > labels.get(b.0 as usize)
            }
            _ => is_worse,
        }
    }

    /// Whether it takes the place of the worst of those that are chosen.
    fn beats(&self, candidate: &Entry, worst: &Entry) -> bool {
        let equal = self.labels.is_none() && worst.1.is_nan() && candidate.1.is_nan();
        self.is_worse(worst, candidate) && !equal
    }
}

/// Keeps the `k` best. Ties go as in Prometheus: a heap with the worst on top, in which a candidate
/// replaces it only when it is truly better.
fn keep_best(heap: &mut Vec<Entry>, k: usize, candidate: Entry, ranking: &Ranking<'_>) -> bool {
    if heap.len() < k {
        heap.push(candidate);
        let last = heap.len() - 1;
        sift_up(heap, last, ranking);
        return true;
    }
    match heap.first_mut().filter(|worst| ranking.beats(&candidate, worst)) {
        Some(worst) => *worst = candidate,
        None => return false,
    }
    sift_down(heap, ranking);
    true
}

fn sift_up(heap: &mut [Entry], mut at: usize, ranking: &Ranking<'_>) {
    while let Some(parent) = at.checked_sub(1).map(|before| before / 2) {
        let (Some(child), Some(above)) = (heap.get(at), heap.get(parent)) else { return };
        if !ranking.is_worse(child, above) {
            return;
        }
        heap.swap(at, parent);
        at = parent;
    }
}

fn sift_down(heap: &mut [Entry], ranking: &Ranking<'_>) {
    let mut at = 0;
    loop {
        let left = 2 * at + 1;
        let Some(left_entry) = heap.get(left) else { return };
        let mut child = left;
        if heap.get(left + 1).is_some_and(|right| ranking.is_worse(right, left_entry)) {
            child = left + 1;
        }
        let (Some(below), Some(above)) = (heap.get(child), heap.get(at)) else { return };
        if !ranking.is_worse(below, above) {
            return;
        }
        heap.swap(at, child);
        at = child;
    }
}

/// The least and the largest of the parameter over all steps; both are NaN where any is.
fn extremes(param: &[f64]) -> (f64, f64) {
    if param.iter().any(|value| value.is_nan()) {
        return (f64::NAN, f64::NAN);
    }
    param.iter().fold((f64::MAX, f64::MIN), |(min, max), value| (min.min(*value), max.max(*value)))
}

/// Remarks on a parameter outside of what makes sense: the worst on each side.
pub(super) fn note_extremes(evaluator: &Evaluator<'_>, aggregate: &Aggregate, param: &[f64]) {
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
