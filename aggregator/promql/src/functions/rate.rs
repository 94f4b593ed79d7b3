//! How fast something changes: over the ends of a range, over its last two samples, or by
//! regression.

use labstat_model::{BucketColumn, BucketColumns};

use super::OfBuckets;
use super::over_time::number;
use crate::QueryError;
use crate::eval::{BucketWindow, Walker, Window};
use crate::sums::Sum;

/// What is asked of [`extrapolated`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// The difference of a gauge.
    Delta,
    /// The growth of a counter.
    Increase,
    /// The growth of a counter by the second.
    Rate,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "spans within a query fit in 53 bits of milliseconds"
)]
pub(super) fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// What is known of the ends of a window, be it of samples or of buckets.
trait Ended {
    /// How many samples there are.
    fn count(&self) -> usize;
    fn first(&self) -> Option<(i64, f64)>;
    fn last(&self) -> Option<(i64, f64)>;
    /// What a counter had reached at each reset.
    fn resets(&self) -> impl Iterator<Item = f64>;
    /// From where to where the window goes.
    fn edges_ms(&self) -> (i64, i64);
    /// How long the window is.
    fn range_ms(&self) -> i64;
}

impl Ended for Window<'_> {
    fn count(&self) -> usize {
        self.values.len()
    }

    fn first(&self) -> Option<(i64, f64)> {
        Some((*self.times.first()?, *self.values.first()?))
    }

    fn last(&self) -> Option<(i64, f64)> {
        Some((*self.times.last()?, *self.values.last()?))
    }

    fn resets(&self) -> impl Iterator<Item = f64> {
        self.values_before_drops()
    }

    fn edges_ms(&self) -> (i64, i64) {
        (self.start_ms, self.end_ms)
    }

    fn range_ms(&self) -> i64 {
        self.range_ms
    }
}

/// The window as it was widened.
impl Ended for BucketWindow {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "samples are counted in whole numbers, and what is less than none is none"
    )]
    fn count(&self) -> usize {
        self.known.count as usize
    }

    fn first(&self) -> Option<(i64, f64)> {
        Some((self.known.first_ms, self.known.first))
    }

    fn last(&self) -> Option<(i64, f64)> {
        Some((self.known.last_ms, self.known.last))
    }

    fn resets(&self) -> impl Iterator<Item = f64> {
        std::iter::once(self.known.resets)
    }

    fn edges_ms(&self) -> (i64, i64) {
        (self.start_ms, self.end_ms)
    }

    fn range_ms(&self) -> i64 {
        self.end_ms - self.start_ms
    }
}

/// By how much what is between the first and the last of so many samples is stretched towards the
/// edges of the range; where a counter would have been zero is told in parts of its growth.
#[inline]
pub(super) fn stretch(
    (first_ms, last_ms, samples): (i64, i64, usize),
    (start_ms, end_ms): (i64, i64),
    to_zero: Option<f64>,
) -> f64 {
    let mut to_start = seconds(first_ms - start_ms);
    let mut to_end = seconds(end_ms - last_ms);
    let sampled = seconds(last_ms - first_ms);
    let mean_interval = sampled / number(samples.saturating_sub(1));
    let threshold = mean_interval * 1.1;
    if to_start >= threshold {
        to_start = mean_interval / 2.0;
    }
    if let Some(to_zero) = to_zero.map(|share| sampled * share).filter(|zero| *zero < to_start) {
        to_start = to_zero;
    }
    if to_end >= threshold {
        to_end = mean_interval / 2.0;
    }
    (sampled + to_start + to_end) / sampled
}

/// The difference between the ends of the samples, stretched towards the ends of the range: not
/// further than half a mean interval where the samples seem to begin or end inside the range,
/// and not further back than where a counter would have been zero.
fn extrapolated(window: &impl Ended, want: Want) -> Option<f64> {
    let ((first_ms, first), (last_ms, last)) = (window.first()?, window.last()?);
    let (start_ms, end_ms) = window.edges_ms();
    let intervals = window.count().checked_sub(1).filter(|intervals| *intervals > 0)?;
    let mut result = last - first;
    if want != Want::Delta {
        for before_drop in window.resets() {
            result += before_drop;
        }
    }
    let to_zero = (want != Want::Delta && result > 0.0 && first >= 0.0).then(|| first / result);
    let mut factor = stretch((first_ms, last_ms, intervals + 1), (start_ms, end_ms), to_zero);
    if want == Want::Rate {
        factor /= seconds(window.range_ms());
    }
    Some(result * factor)
}

/// Over the window as it was widened; what grows with it is scaled down to what was asked for.
fn of_buckets(window: &BucketWindow, want: Want) -> Option<f64> {
    let result = extrapolated(window, want)?;
    Some(if want == Want::Rate { result } else { result * window.share() })
}

const ENDS: [BucketColumn; 5] = [
    BucketColumn::Count,
    BucketColumn::FirstAfter,
    BucketColumn::First,
    BucketColumn::LastAfter,
    BucketColumn::Last,
];
const GROWTH: BucketColumns = BucketColumns::of(&ENDS).with(BucketColumn::Resets);
pub(super) const DELTA: OfBuckets =
    OfBuckets { columns: BucketColumns::of(&ENDS), run: |window| of_buckets(window, Want::Delta) };
pub(super) const INCREASE: OfBuckets =
    OfBuckets { columns: GROWTH, run: |window| of_buckets(window, Want::Increase) };
pub(super) const RATE: OfBuckets =
    OfBuckets { columns: GROWTH, run: |window| of_buckets(window, Want::Rate) };

pub(super) fn delta(walker: &mut Walker<'_, '_>) -> Result<(), QueryError> {
    walker.each(|window, _| extrapolated(window, Want::Delta))
}

pub(super) fn increase(walker: &mut Walker<'_, '_>) -> Result<(), QueryError> {
    walker.each(|window, _| extrapolated(window, Want::Increase))
}

pub(super) fn rate(walker: &mut Walker<'_, '_>) -> Result<(), QueryError> {
    walker.each(|window, _| extrapolated(window, Want::Rate))
}

/// The last two samples: the difference of their values and of their times in seconds.
fn last_two(window: &Window<'_>) -> Option<(f64, f64, f64)> {
    let [.., before, last] = window.values else { return None };
    let [.., time_before, time_last] = window.times else { return None };
    let span = seconds(time_last - time_before);
    (span != 0.0).then_some((*before, *last, span))
}

pub(super) fn irate(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    let (before, last, span) = last_two(window)?;
    // After a reset the counter has grown from zero.
    let growth = if last < before { last } else { last - before };
    Some(growth / span)
}

pub(super) fn idelta(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    let (before, last, _) = last_two(window)?;
    Some(last - before)
}

/// Slope by the second and value at `origin_ms` of the least-squares line; `None` with fewer than
/// two samples.
fn regression(window: &Window<'_>, origin_ms: i64) -> Option<(f64, f64)> {
    let first = *window.values.first()?;
    if window.values.len() < 2 {
        return None;
    }
    if window.values.iter().all(|value| *value == first) {
        return Some(if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) });
    }
    let mut n = 0.0;
    let (mut xs, mut ys) = (Sum::default(), Sum::default());
    let (mut xys, mut xxs) = (Sum::default(), Sum::default());
    for (time, y) in window.times.iter().zip(window.values) {
        let x = seconds(time.saturating_sub(origin_ms));
        n += 1.0;
        xs.add(x);
        ys.add(*y);
        xys.add(x * y);
        xxs.add(x * x);
    }
    let [xs, ys, xys, xxs] = [xs, ys, xys, xxs].map(|sum| sum.value + sum.error);
    let slope = (xys - xs * ys / n) / (xxs - xs * xs / n);
    Some((slope, ys / n - slope * xs / n))
}

pub(super) fn deriv(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    // The origin is the first sample, so that the sums stay small and exact.
    regression(window, *window.times.first()?).map(|(slope, _)| slope)
}

pub(super) fn predict_linear(window: &Window<'_>, args: &[f64]) -> Option<f64> {
    let ahead = args.first().copied()?;
    regression(window, window.step_ms).map(|(slope, now)| slope * ahead + now)
}
