//! Functions of one value.

use crate::QueryError;
use crate::column::{Columns, Steps};
use crate::elementary;
use crate::eval::Evaluator;
use crate::expr::Call;

/// Go's `math.Max`: NaN when either is, except that +Inf wins over it.
fn max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == 0.0 && b == 0.0 {
        // +0 is the larger zero.
        if a.is_sign_negative() { b } else { a }
    } else {
        a.max(b)
    }
}

/// Go's `math.Min`, likewise.
fn min(a: f64, b: f64) -> f64 {
    -max(-a, -b)
}

fn arg(args: &[f64], at: usize, default: f64) -> f64 {
    args.get(at).copied().unwrap_or(default)
}

/// Nothing at all when the bounds are the wrong way round.
pub(super) fn clamp(value: f64, args: &[f64]) -> Option<f64> {
    let (low, high) = (arg(args, 0, f64::NAN), arg(args, 1, f64::NAN));
    if high < low {
        return None;
    }
    Some(max(low, min(high, value)))
}

pub(super) fn clamp_max(value: f64, args: &[f64]) -> Option<f64> {
    Some(min(arg(args, 0, f64::NAN), value))
}

pub(super) fn clamp_min(value: f64, args: &[f64]) -> Option<f64> {
    Some(max(arg(args, 0, f64::NAN), value))
}

/// To the nearest multiple, halves upwards.
pub(super) fn round(value: f64, args: &[f64]) -> Option<f64> {
    // The inverse, since a product with it is exact where a quotient by 0.1 is not.
    let inverse = 1.0 / arg(args, 0, 1.0);
    Some((value * inverse + 0.5).floor() / inverse)
}

pub(super) fn sgn(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

/// From here on a number and its hyperbolic arc functions differ from a logarithm by nothing that
/// a float holds; the square of a number twice as large may be infinite.
const ARC_LARGE: f64 = 268_435_456.0; // 2^28

pub(super) fn asinh(value: f64) -> f64 {
    if value.abs() > ARC_LARGE && value.is_finite() {
        return (elementary::ln(value.abs()) + std::f64::consts::LN_2).copysign(value);
    }
    value.asinh()
}

pub(super) fn acosh(value: f64) -> f64 {
    if value >= ARC_LARGE && value.is_finite() {
        return elementary::ln(value) + std::f64::consts::LN_2;
    }
    if value < 1.0 {
        return f64::NAN;
    }
    // In terms of how much it is above one, of which a sum with one would keep nothing.
    let above = value - 1.0;
    (above + (2.0 * above + above * above).sqrt()).ln_1p()
}

pub(super) fn deg(value: f64) -> f64 {
    value * 180.0 / std::f64::consts::PI
}

pub(super) fn rad(value: f64) -> f64 {
    value * std::f64::consts::PI / 180.0
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of all functions")]
pub(super) fn pi(_: &Evaluator<'_>, _: &Call, steps: Steps) -> Result<Columns, QueryError> {
    Ok(Columns::Scalar(vec![std::f64::consts::PI; steps.len]))
}

/// The larger of two numbers.
pub(super) fn max_of(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    of_both(evaluator, call, steps, max)
}

/// The smaller of two numbers.
pub(super) fn min_of(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    of_both(evaluator, call, steps, min)
}

fn of_both(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
    f: fn(f64, f64) -> f64,
) -> Result<Columns, QueryError> {
    let [a, b] = call.args.as_slice() else { return Ok(Columns::Scalar(Vec::new())) };
    let (a, b) = (evaluator.scalar(a, steps)?, evaluator.scalar(b, steps)?);
    Ok(Columns::Scalar(a.into_iter().zip(b).map(|(a, b)| f(a, b)).collect()))
}
