//! Functions of the samples in a range, their distances in time not regarded.

use labstat_model::BucketColumn::{self, Count};
use labstat_model::BucketColumns;

use super::OfBuckets;
use crate::QueryError;
use crate::column::{Columns, Steps};
use crate::eval::{BucketWindow, Evaluator, Fold, Walker, Window};
use crate::expr::Call;
use crate::sums::{self, Mean, Sum};

/// What a function needs of buckets beside their counts, and how it is computed of them.
const fn of(columns: BucketColumns, run: fn(&BucketWindow) -> Option<f64>) -> OfBuckets {
    OfBuckets { columns, run }
}

// What grows with the window is scaled down where the window was widened.
pub(super) const COUNT: OfBuckets =
    of(BucketColumns::of(&[Count]), |window| Some(window.known.count * window.share()));
pub(super) const SUM: OfBuckets = of(BucketColumns::of(&[Count, BucketColumn::Sum]), |window| {
    Some(window.known.sum.total() * window.share())
});
pub(super) const AVG: OfBuckets = of(BucketColumns::of(&[Count, BucketColumn::Sum]), |window| {
    Some(window.known.sum.mean(window.known.count))
});
pub(super) const MIN: OfBuckets =
    of(BucketColumns::of(&[Count, BucketColumn::Min]), |window| Some(window.known.min));
pub(super) const MAX: OfBuckets =
    of(BucketColumns::of(&[Count, BucketColumn::Max]), |window| Some(window.known.max));
pub(super) const FIRST: OfBuckets =
    of(BucketColumns::of(&[Count, BucketColumn::First]), |window| Some(window.known.first));
pub(super) const LAST: OfBuckets =
    of(BucketColumns::of(&[Count, BucketColumn::Last]), |window| Some(window.known.last));
pub(super) const PRESENT: OfBuckets = of(BucketColumns::of(&[Count]), |_| Some(1.0));
pub(super) const TS_OF_FIRST: OfBuckets =
    of(BucketColumns::of(&[Count, BucketColumn::FirstAfter]), |window| {
        Some(in_seconds(window.known.first_ms))
    });
pub(super) const TS_OF_LAST: OfBuckets =
    of(BucketColumns::of(&[Count, BucketColumn::LastAfter]), |window| {
        Some(in_seconds(window.known.last_ms))
    });

#[expect(clippy::cast_precision_loss, reason = "fewer than 2^53 samples fit in memory")]
pub(super) fn number(count: usize) -> f64 {
    count as f64
}

fn sum(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    let mut sum = Sum::default();
    window.values.iter().for_each(|value| sum.add(*value));
    Some(sum.total())
}

fn avg(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    let mut mean = Mean::default();
    window.values.iter().for_each(|value| mean.add(*value));
    Some(mean.mean())
}

impl Fold for Sum {
    type Of = f64;

    /// Sums in another grouping are the same to the last bit or two where no term cancels another,
    /// and to the very last where value and error together hold every bit of every term. Infinite
    /// values, and sums that become so on their way, depend on the order.
    fn suits(values: &[f64]) -> bool {
        const BITS: f64 = 4_503_599_627_370_496.0; // 2^52
        let (mut total, mut least) = (0.0, f64::INFINITY);
        let (mut above, mut below) = (false, false);
        for value in values {
            total += value.abs();
            above |= *value > 0.0;
            below |= *value < 0.0;
            if *value != 0.0 {
                least = value.abs().min(least);
            }
        }
        total.is_finite() && (!(above && below) || total * number(values.len()) <= BITS * least)
    }

    fn of(value: f64) -> Self {
        Self::of(value)
    }

    fn then(mut self, later: Self) -> Self {
        self.add(later.value);
        self.error += later.error;
        self
    }
}

pub(super) fn sum_folded(walker: &mut Walker<'_, '_>) -> Result<(), QueryError> {
    walker.folds(|sum: Sum, _| sum.total(), sum)
}

pub(super) fn avg_folded(walker: &mut Walker<'_, '_>) -> Result<(), QueryError> {
    walker.folds(|sum: Sum, len| sum.mean(number(len)), avg)
}

pub(super) fn count(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    Some(number(window.values.len()))
}

pub(super) fn present(_: &Window<'_>, _: &[f64]) -> Option<f64> {
    Some(1.0)
}

pub(super) fn first(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    window.values.first().copied()
}

pub(super) fn last(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    window.values.last().copied()
}

/// The index of the value that no later one is `better` than; NaN is the worst.
fn best(values: &[f64], better: impl Fn(f64, f64) -> bool) -> Option<(usize, f64)> {
    let mut values = values.iter().copied().enumerate();
    let first = values.next()?;
    Some(values.fold(first, |best, (at, value)| {
        if better(value, best.1) || best.1.is_nan() { (at, value) } else { best }
    }))
}

fn max(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    best(window.values, |value, best| value > best).map(|(_, value)| value)
}

fn min(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    best(window.values, |value, best| value < best).map(|(_, value)| value)
}

/// The largest value, or the smallest; of equal ones the first; NaN only where there is no other.
#[derive(Clone, Copy)]
struct Extreme<const LARGEST: bool>(f64);

impl<const LARGEST: bool> Fold for Extreme<LARGEST> {
    type Of = f64;

    fn suits(_: &[f64]) -> bool {
        true
    }

    fn of(value: f64) -> Self {
        Self(value)
    }

    fn then(self, later: Self) -> Self {
        let better = if LARGEST { later.0 > self.0 } else { later.0 < self.0 };
        if better || self.0.is_nan() { later } else { self }
    }
}

pub(super) fn max_folded(walker: &mut Walker<'_, '_>) -> Result<(), QueryError> {
    walker.folds(|extreme: Extreme<true>, _| extreme.0, max)
}

pub(super) fn min_folded(walker: &mut Walker<'_, '_>) -> Result<(), QueryError> {
    walker.folds(|extreme: Extreme<false>, _| extreme.0, min)
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of any date fit in 53 bits")]
pub(super) fn in_seconds(time_ms: i64) -> f64 {
    time_ms as f64 / 1000.0
}

/// The time of a sample, in seconds.
fn seconds(window: &Window<'_>, at: usize) -> Option<f64> {
    window.times.get(at).copied().map(in_seconds)
}

/// The time of the last of the largest values.
pub(super) fn ts_of_max(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    seconds(window, best(window.values, |value, best| value >= best)?.0)
}

/// The time of the last of the smallest values.
pub(super) fn ts_of_min(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    seconds(window, best(window.values, |value, best| value <= best)?.0)
}

pub(super) fn ts_of_first(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    seconds(window, 0)
}

pub(super) fn ts_of_last(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    seconds(window, window.times.len().checked_sub(1)?)
}

/// The variance by Welford's method, both running numbers kept as compensated sums.
pub(super) fn stdvar(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    let (mut count, mut mean, mut squares) = (0.0, Sum::default(), Sum::default());
    for value in window.values {
        count += 1.0;
        let delta = value - (mean.value + mean.error);
        mean.add(delta / count);
        squares.add(delta * (value - (mean.value + mean.error)));
    }
    Some((squares.value + squares.error) / count)
}

pub(super) fn stddev(window: &Window<'_>, args: &[f64]) -> Option<f64> {
    stdvar(window, args).map(f64::sqrt)
}

/// The median of the distances from the median.
pub(super) fn mad(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    let mut values = window.values.to_vec();
    let median = sums::quantile(0.5, &mut values);
    values.iter_mut().for_each(|value| *value = (*value - median).abs());
    Some(sums::quantile(0.5, &mut values))
}

fn differ(a: f64, b: f64) -> bool {
    a != b && !(a.is_nan() && b.is_nan())
}

fn changes(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    let changed = |pair: &&[f64]| matches!(pair, [a, b] if differ(*a, *b));
    Some(number(window.values.windows(2).filter(changed).count()))
}

/// How often a value differs from the one before it.
#[derive(Clone, Copy)]
struct Changes {
    first: f64,
    last: f64,
    count: usize,
}

impl Fold for Changes {
    type Of = f64;

    fn suits(_: &[f64]) -> bool {
        true
    }

    fn of(value: f64) -> Self {
        Self { first: value, last: value, count: 0 }
    }

    fn then(self, later: Self) -> Self {
        let between = usize::from(differ(self.last, later.first));
        Self { first: self.first, last: later.last, count: self.count + between + later.count }
    }
}

pub(super) fn changes_folded(walker: &mut Walker<'_, '_>) -> Result<(), QueryError> {
    walker.folds(|changes: Changes, _| number(changes.count), changes)
}

pub(super) fn resets(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    Some(number(window.drops().len()))
}

fn quantile(window: &Window<'_>, args: &[f64]) -> Option<f64> {
    let q = args.first().copied().unwrap_or(f64::NAN);
    Some(sums::quantile(q, &mut window.values.to_vec()))
}

/// `quantile_over_time`, with its remark on quantiles that are none, where there is anything.
pub(super) fn quantile_noted(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let args = evaluator.scalars(call, steps)?;
    let quantiles = args.first().cloned().unwrap_or_default();
    let result = evaluator.windows(call, steps, quantile, args)?;
    let (Some(arg), Columns::Vector(columns)) = (call.args.first(), &result) else {
        return Ok(result);
    };
    if quantiles.iter().all(|q| (0.0..=1.0).contains(q)) {
        return Ok(result);
    }
    let (mut any, mut pace) = (vec![false; steps.len], evaluator.budget.pace());
    for column in columns {
        pace.spend(column.len())?;
        any.iter_mut().zip(column.steps()).for_each(|(any, value)| *any |= value.is_some());
    }
    let looked_at = quantiles.into_iter().zip(any).filter(|(_, any)| *any);
    evaluator.note_quantiles(looked_at.map(|(q, _)| q), arg.start);
    Ok(result)
}

/// Holt and Winters' double exponential smoothing.
fn smoothed(window: &Window<'_>, args: &[f64]) -> Option<f64> {
    let [smoothing, trend] = args else { return None };
    let [first, second, ..] = window.values else { return None };
    let (mut before, mut level, mut slope) = (0.0, *first, second - first);
    for (at, value) in window.values.iter().enumerate().skip(1) {
        if at > 1 {
            slope = trend * (level - before) + (1.0 - trend) * slope;
        }
        (before, level) = (level, smoothing * value + (1.0 - smoothing) * (level + slope));
    }
    Some(level)
}

pub(super) fn double_exponential_smoothing(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let args = evaluator.scalars(call, steps)?;
    let mut bad = vec![None; steps.len];
    for (factors, what) in args.iter().zip(["smoothing", "trend"]) {
        for (slot, factor) in bad.iter_mut().zip(factors) {
            // NaN is let through, as in Prometheus, and makes everything NaN.
            if (*factor <= 0.0 || *factor >= 1.0) && slot.is_none() {
                *slot = Some((what, *factor));
            }
        }
    }
    if bad.iter().any(Option::is_some) {
        refuse_factors(evaluator, call, steps, &bad)?;
    }
    evaluator.windows(call, steps, smoothed, args)
}

/// A factor out of bounds is an error only where there is something to smooth.
fn refuse_factors(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
    bad: &[Option<(&str, f64)>],
) -> Result<(), QueryError> {
    let columns = evaluator.windows_raw(call, steps, present)?;
    for (step, _) in columns.iter().flat_map(|column| column.iter()) {
        if let Some(Some((what, factor))) = bad.get(step) {
            let short = what.get(..1).unwrap_or("");
            let factor = match *factor {
                f64::INFINITY => "+Inf".to_owned(),
                f64::NEG_INFINITY => "-Inf".to_owned(),
                factor => format!("{factor:.6}"),
            };
            return Err(QueryError::execution(format!(
                "invalid {what} factor. Expected: 0 < {short}f < 1, got: {factor}"
            )));
        }
    }
    Ok(())
}
