//! How fast something changes: over the ends of a range, over its last two samples, or by
//! regression.

use crate::QueryError;
use crate::column::{Columns, Steps};
use crate::eval::{Evaluator, Window};
use crate::expr::Call;
use crate::sums::Sum;

/// Endings of names that counters have.
const COUNTER_ENDINGS: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];

/// What is asked of [`extrapolated`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
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
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// The difference between the ends of the samples, stretched towards the ends of the range: not
/// further than half a mean interval where the samples seem to begin or end inside the range,
/// and not further back than where a counter would have been zero.
fn extrapolated(window: &Window<'_>, want: Want) -> Option<f64> {
    let (first_time, last_time) = (*window.times.first()?, *window.times.last()?);
    let (first, last) = (*window.values.first()?, *window.values.last()?);
    let intervals = window.values.len() - 1;
    if intervals == 0 {
        return None;
    }
    let mut result = last - first;
    if want != Want::Delta {
        for before_drop in window.values_before_drops() {
            result += before_drop;
        }
    }
    let mut to_start = seconds(first_time - window.start_ms);
    let mut to_end = seconds(window.end_ms - last_time);
    let sampled = seconds(last_time - first_time);
    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^53 samples fit in memory")]
    let mean_interval = sampled / intervals as f64;
    let threshold = mean_interval * 1.1;
    if to_start >= threshold {
        to_start = mean_interval / 2.0;
    }
    if want != Want::Delta && result > 0.0 && first >= 0.0 {
        let to_zero = sampled * (first / result);
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    if to_end >= threshold {
        to_end = mean_interval / 2.0;
    }
    let mut factor = (sampled + to_start + to_end) / sampled;
    if want == Want::Rate {
        factor /= seconds(window.range_ms);
    }
    Some(result * factor)
}

pub(super) fn delta(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    extrapolated(window, Want::Delta)
}

fn increase(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    extrapolated(window, Want::Increase)
}

fn rate(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    extrapolated(window, Want::Rate)
}

pub(super) fn increase_noted(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    noted(evaluator, call, steps, increase)
}

pub(super) fn rate_noted(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    noted(evaluator, call, steps, rate)
}

/// With a remark on metrics whose name is not that of a counter.
fn noted(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
    run: fn(&Window<'_>, &[f64]) -> Option<f64>,
) -> Result<Columns, QueryError> {
    let start = call.args.first().map_or(0, |arg| arg.start);
    evaluator.windows_seen(call, steps, run, false, |labels| {
        let name = labels.metric_name();
        if !name.is_empty() && !COUNTER_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            let endings = COUNTER_ENDINGS.join("/");
            let message =
                format!("metric might not be a counter, name does not end in {endings}: {name:?}");
            evaluator.inform(&message, start);
        }
    })
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
