//! How fast something changes: over the ends of a range, over its last two samples, or by
//! regression.

use labstat_model::{BucketColumn, BucketColumns};

use super::OfBuckets;
use super::over_time::number;
use crate::QueryError;
use crate::column::Cells;
use crate::eval::{BucketWindow, Laid, RangeSeries, Walker, Window};
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

/// How the samples of a window lie in it: how far the first is from its begin, the last from the
/// first and the end from the last, in milliseconds, and into how many intervals that parts them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spread {
    before_ms: f64,
    sampled_ms: f64,
    after_ms: f64,
    intervals: f64,
}

impl Spread {
    /// Of so many samples from the first time to the last one, in a window of these edges.
    #[inline]
    #[expect(
        clippy::cast_precision_loss,
        reason = "spans within a query fit in 53 bits of milliseconds"
    )]
    pub(super) fn of(
        (first_ms, last_ms, samples): (i64, i64, usize),
        (start_ms, end_ms): (i64, i64),
    ) -> Self {
        Self {
            before_ms: (first_ms - start_ms) as f64,
            sampled_ms: (last_ms - first_ms) as f64,
            after_ms: (end_ms - last_ms) as f64,
            intervals: number(samples.saturating_sub(1)),
        }
    }

    /// By how much what is between the first and the last sample is stretched towards the edges:
    /// not further than half a mean interval where the samples seem to begin or end inside the
    /// window. Where a counter would have been zero is told in parts of its growth; infinity where
    /// that is not asked.
    // Without branches, so that the machine can do several at once.
    #[inline]
    pub(super) fn stretch(self, to_zero: f64) -> f64 {
        let before = self.before_ms / 1000.0;
        let sampled = self.sampled_ms / 1000.0;
        let after = self.after_ms / 1000.0;
        let mean_interval = sampled / self.intervals;
        let (threshold, half) = (mean_interval * 1.1, mean_interval / 2.0);
        let to_start = if before >= threshold { half } else { before };
        let to_zero = sampled * to_zero;
        let to_start = if to_zero < to_start { to_zero } else { to_start };
        let to_end = if after >= threshold { half } else { after };
        (sampled + to_start + to_end) / sampled
    }
}

/// The growth of a window of at least two samples, as far as it takes no division to know.
#[derive(Debug, Clone, Copy, Default)]
struct Growth {
    spread: Spread,
    first: f64,
    /// The difference between the first and the last sample, and what was lost at resets.
    sampled: f64,
}

impl Growth {
    #[inline]
    fn of(window: &impl Ended, want: Want) -> Option<Self> {
        let ((first_ms, first), (last_ms, last)) = (window.first()?, window.last()?);
        let samples = Some(window.count()).filter(|samples| *samples > 1)?;
        let mut sampled = last - first;
        if want != Want::Delta {
            for before_drop in window.resets() {
                sampled += before_drop;
            }
        }
        let spread = Spread::of((first_ms, last_ms, samples), window.edges_ms());
        Some(Self { spread, first, sampled })
    }

    /// Stretched towards the ends of the range, but not further back than where a counter would
    /// have been zero; `range_s` is the length of the window.
    #[inline]
    fn stretched(self, want: Want, range_s: f64) -> f64 {
        let Self { spread, first, sampled } = self;
        let has_zero = want != Want::Delta && (sampled > 0.0) & (first >= 0.0);
        let mut factor = spread.stretch(if has_zero { first / sampled } else { f64::INFINITY });
        if want == Want::Rate {
            factor /= range_s;
        }
        sampled * factor
    }
}

/// The difference between the ends of the samples, stretched towards the ends of the range.
fn extrapolated(window: &impl Ended, want: Want) -> Option<f64> {
    Some(Growth::of(window, want)?.stretched(want, seconds(window.range_ms())))
}

/// Windows that are stretched together: most of it are divisions, and the machine divides two or
/// four numbers in the time of one when they lie side by side.
const TOGETHER: usize = 32;

/// Windows of one length that are to be stretched: a column for each thing that is known of them.
struct Batch {
    want: Want,
    range_s: f64,
    len: usize,
    steps: [usize; TOGETHER],
    spreads: [[f64; TOGETHER]; 4],
    firsts: [f64; TOGETHER],
    sampled: [f64; TOGETHER],
}

impl Batch {
    fn new(want: Want, range_ms: i64) -> Self {
        let none = [0.0; TOGETHER];
        Self {
            want,
            range_s: seconds(range_ms),
            len: 0,
            steps: [0; TOGETHER],
            spreads: [none; 4],
            firsts: none,
            sampled: none,
        }
    }

    #[inline]
    fn push(&mut self, step: usize, growth: Growth, cells: &mut Cells) {
        let Growth { spread, first, sampled } = growth;
        let at = self.len % TOGETHER;
        let [before_ms, sampled_ms, after_ms, intervals] = &mut self.spreads;
        self.steps[at] = step;
        before_ms[at] = spread.before_ms;
        sampled_ms[at] = spread.sampled_ms;
        after_ms[at] = spread.after_ms;
        intervals[at] = spread.intervals;
        self.firsts[at] = first;
        self.sampled[at] = sampled;
        self.len += 1;
        if self.len == TOGETHER {
            self.give(cells);
        }
    }

    /// Gives what there is its values.
    fn give(&mut self, cells: &mut Cells) {
        let values: [f64; TOGETHER] = match self.want {
            Want::Delta => self.values(Want::Delta),
            Want::Increase => self.values(Want::Increase),
            Want::Rate => self.values(Want::Rate),
        };
        for (step, value) in self.steps.iter().zip(values).take(self.len) {
            cells.set(*step, value);
        }
        self.len = 0;
    }

    #[inline]
    fn values(&self, want: Want) -> [f64; TOGETHER] {
        let [before_ms, sampled_ms, after_ms, intervals] = &self.spreads;
        let mut values = [0.0; TOGETHER];
        for (at, value) in values.iter_mut().enumerate() {
            let spread = Spread {
                before_ms: before_ms[at],
                sampled_ms: sampled_ms[at],
                after_ms: after_ms[at],
                intervals: intervals[at],
            };
            let growth = Growth { spread, first: self.firsts[at], sampled: self.sampled[at] };
            *value = growth.stretched(want, self.range_s);
        }
        values
    }
}

/// Few samples may lie further from the begin of their window than from each other.
const FEW: usize = 2;

/// As [`extrapolated`], of a window for which is known what its samples' times make of its growth,
/// where that is not zero within it.
#[inline]
fn of_laid(
    series: &RangeSeries<'_>,
    laid: &Laid,
    (want, range_s): (Want, f64),
    edges_ms: impl Fn() -> (i64, i64),
) -> Option<f64> {
    let window = laid.indices();
    let values = series.values().get(window.clone())?;
    let [first, .., last] = *values else { return None };
    let mut sampled = last - first;
    if want != Want::Delta {
        for before_drop in series.values_before_drops(window.clone()) {
            sampled += before_drop;
        }
    }
    // A counter that has not doubled would have been zero before the window's begin.
    let near_zero = (first < sampled) | (values.len() <= FEW);
    if want != Want::Delta && sampled > 0.0 && first >= 0.0 && near_zero {
        let times = series.times().get(window)?;
        let [first_ms, .., last_ms] = *times else { return None };
        let spread = Spread::of((first_ms, last_ms, times.len()), edges_ms());
        return Some(Growth { spread, first, sampled }.stretched(want, range_s));
    }
    Some(sampled * laid.factor)
}

/// As [`extrapolated`], of all windows of a series.
fn extrapolate(walker: &mut Walker<'_, '_>, want: Want) -> Result<(), QueryError> {
    let (range_s, edges_ms) = (seconds(walker.range_ms()), walker.edges_ms());
    let factor = |window: &Window<'_>| {
        let known = Growth::of(window, Want::Delta)?;
        let factor = known.spread.stretch(f64::INFINITY);
        Some(if want == Want::Rate { factor / range_s } else { factor })
    };
    let of_laid = |series: &RangeSeries<'_>, laid: &Laid, step: usize| {
        of_laid(series, laid, (want, range_s), || edges_ms(step))
    };
    if walker.each_laid(factor, of_laid)? {
        return Ok(());
    }
    let mut batch = Batch::new(want, walker.range_ms());
    walker.visit(|step, window, cells| {
        if let Some(growth) = Growth::of(window, want) {
            batch.push(step, growth, cells);
        }
    })?;
    batch.give(walker.cells());
    Ok(())
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
    extrapolate(walker, Want::Delta)
}

pub(super) fn increase(walker: &mut Walker<'_, '_>) -> Result<(), QueryError> {
    extrapolate(walker, Want::Increase)
}

pub(super) fn rate(walker: &mut Walker<'_, '_>) -> Result<(), QueryError> {
    extrapolate(walker, Want::Rate)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_windows_give_the_bits_that_each_gives_alone() {
        let growths = [0.0, -0.0, 3.25, -2.5, 1e300, f64::NAN, f64::INFINITY];
        let of = |at: u32| {
            let growth = growths[at as usize % growths.len()];
            let at = f64::from(at);
            let spread = Spread {
                before_ms: (at * 7_919.0) % 40_000.0,
                sampled_ms: 15_000.0 * (1.0 + at % 19.0),
                after_ms: (at * 104_729.0) % 50_000.0,
                intervals: 1.0 + at % 19.0,
            };
            Growth { spread, first: (at - 40.0) / 3.0, sampled: growth * (1.0 + at / 7.0) }
        };
        for want in [Want::Delta, Want::Increase, Want::Rate] {
            for len in [0, 1, 31, 32, 33, 100_u32] {
                let (mut batch, mut cells) = (Batch::new(want, 300_000), Cells::absent(2 * 100));
                // Not every step has a window.
                (0..len).for_each(|at| batch.push(2 * at as usize, of(at), &mut cells));
                batch.give(&mut cells);
                for at in 0..100 {
                    let wanted = (at < len).then(|| of(at).stretched(want, 300.0).to_bits());
                    assert_eq!(cells.get(2 * at as usize).map(f64::to_bits), wanted, "{at}");
                    assert_eq!(cells.get(2 * at as usize + 1), None);
                }
            }
        }
    }
}
