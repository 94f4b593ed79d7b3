//! Logarithms, exponentials and powers, to the last bit as Prometheus has them.
//!
//! A unit test of rules compares numbers exactly, so a result that is off by the last bit is another
//! verdict. The platform's functions are as precise but round elsewhere than those of Go on x86-64,
//! which are followed here step by step: a power is a product of squares, a logarithm to another base
//! one that was multiplied, an exponential a series with fused additions. Not here: what is exact
//! everywhere, and trigonometry, which nobody compares.

use std::f64::consts::{LOG2_E, LOG10_E, SQRT_2};

/// Beyond this power of two, a square is zero or infinite.
const EXPONENT_MAX: i64 = 1 << 12;

/// Beyond these powers of two, numbers are zero or infinite whatever they are multiplied with.
const SCALE_MAX: i64 = 1100;

/// From here on every float is an even number.
const EVEN: f64 = 9_223_372_036_854_775_808.0; // 2^63

/// The natural logarithm.
pub(crate) fn ln(value: f64) -> f64 {
    // The platform's are right where there is nothing to calculate, and of the smallest numbers.
    if !(value.is_normal() && value > 0.0) {
        return value.ln();
    }
    // value = 2^exponent * (1 + above), with the latter between the roots of 1/2 and 2.
    let (mut mantissa, mut exponent) = parts(value);
    if mantissa < SQRT_2 / 2.0 {
        mantissa *= 2.0;
        exponent -= 1;
    }
    let above = mantissa - 1.0;
    let exponent = whole(exponent);
    // ln(1 + above) is a series in `ratio`, here the polynomial that is nearest to it.
    let ratio = above / (2.0 + above);
    let square = ratio * ratio;
    let fourth = square * square;
    let odd = square * (TERMS[0] + fourth * (TERMS[2] + fourth * (TERMS[4] + fourth * TERMS[6])));
    let even = fourth * (TERMS[1] + fourth * (TERMS[3] + fourth * TERMS[5]));
    let rest = odd + even;
    let half = 0.5 * above * above;
    exponent * LN_2_HIGH - ((half - (ratio * (half + rest) + exponent * LN_2_LOW)) - above)
}

/// The first digits of ln 2: its products with exponents are exact.
const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
/// The digits that follow.
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// Near to 2/3, 2/5, 2/7 and so on, where the series would go on for ever.
const TERMS: [f64; 7] = [
    6.666_666_666_666_735e-1,
    3.999_999_999_940_942e-1,
    2.857_142_874_366_239e-1,
    2.222_219_843_214_978_4e-1,
    1.818_357_216_161_805e-1,
    1.531_383_769_920_937_3e-1,
    1.479_819_860_511_658_6e-1,
];

/// The binary logarithm: of powers of two a whole number.
pub(crate) fn log2(value: f64) -> f64 {
    if !(value.is_normal() && value > 0.0) {
        return value.log2();
    }
    let (mantissa, exponent) = parts(value);
    if mantissa == 0.5 {
        return whole(exponent - 1);
    }
    ln(mantissa) * LOG2_E + whole(exponent)
}

/// The decimal logarithm.
pub(crate) fn log10(value: f64) -> f64 {
    ln(value) * LOG10_E
}

/// e to the power of `value`.
pub(crate) fn exp(value: f64) -> f64 {
    if value.is_nan() {
        return value;
    }
    // value = exponent * ln 2 + 16 * part, with the part at most 1/46.
    let exponent = (value * LOG2_E).round_ties_even();
    if exponent < EXP_EXPONENT_MIN {
        return 0.0;
    }
    if exponent > EXP_EXPONENT_MAX {
        return f64::INFINITY;
    }
    let rest = (-exponent).mul_add(LN_2_UPPER, value);
    let part = (-exponent).mul_add(LN_2_LOWER, rest) / 16.0;
    let series = EXP_TERMS.iter().rev().fold(EXP_LAST, |sum, term| sum.mul_add(part, *term));
    // How much e^part is above one, and then for twice as much three times.
    let mut above = series * part;
    for _ in 0..3 {
        above *= 2.0 + above;
    }
    let power = above.mul_add(2.0 + above, 1.0);
    #[expect(clippy::cast_possible_truncation, reason = "a whole number of four digits")]
    let exponent = exponent as i64;
    scaled(power, exponent)
}

/// With a smaller power of two, exponentials are zero.
const EXP_EXPONENT_MIN: f64 = -1076.0;
/// With a larger one, Go takes them for infinite, though those below 2^1024 are not.
const EXP_EXPONENT_MAX: f64 = 1023.0;
/// The upper half of the digits of ln 2.
const LN_2_UPPER: f64 = 0.693_147_180_559_662_956_511_601_805_686_950_683_593_75;
/// The digits that follow.
const LN_2_LOWER: f64 = 0.282_352_905_630_315_771_225_884_481_750_134_360_255_254_120_68e-12;
/// The inverse factorials from 1 to 7.
const EXP_TERMS: [f64; 7] =
    [1.0, 1.0 / 2.0, 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0, 1.0 / 720.0, 1.0 / 5_040.0];
/// That of 8.
const EXP_LAST: f64 = 1.0 / 40_320.0;

/// `base` to the power of `exponent`.
pub(crate) fn pow(base: f64, exponent: f64) -> f64 {
    let size = exponent.abs();
    let (power, fraction) = (size.trunc(), size.fract());
    let is_plain = base.is_normal() && size < EVEN && (base > 0.0 || fraction == 0.0);
    if !is_plain || base == 1.0 || exponent == 0.0 {
        // Nothing is rounded there, or the numbers are too small for anybody.
        return base.powf(exponent);
    }
    if fraction == 0.5 && power == 0.0 {
        let root = base.sqrt();
        return if exponent < 0.0 { 1.0 / root } else { root };
    }
    // The nearer whole power, and what is missing or too much.
    let (power, fraction) =
        if fraction > 0.5 { (power + 1.0, fraction - 1.0) } else { (power, fraction) };
    let start = if fraction == 0.0 { 1.0 } else { exp(fraction * ln(base)) };
    let (product, binary) = squares(start, base, power);
    if exponent < 0.0 { scaled(1.0 / product, -binary) } else { scaled(product, binary) }
}

/// `start * base^power` for a whole power, as a number and a power of two to multiply it with.
fn squares(start: f64, base: f64, power: f64) -> (f64, i64) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 2^63")]
    let mut left = power as u64;
    let (mut square, mut exponent) = parts(base);
    let (mut product, mut binary) = (start, 0);
    while left != 0 {
        if exponent.abs() > EXPONENT_MAX {
            return (product, binary + exponent);
        }
        if left & 1 == 1 {
            product *= square;
            binary += exponent;
        }
        square *= square;
        exponent *= 2;
        if square < 0.5 {
            square *= 2.0;
            exponent -= 1;
        }
        left >>= 1;
    }
    (product, binary)
}

/// A normal number as one from 1/2 to 1 with its sign, and the power of two it is multiplied with.
fn parts(value: f64) -> (f64, i64) {
    const BIAS: i64 = 1022;
    let bits = value.to_bits();
    let exponent = i64::try_from(bits >> 52 & 0x7FF).unwrap_or(0) - BIAS;
    (f64::from_bits(bits & !(0x7FF << 52) | 0x3FE << 52), exponent)
}

/// `value * 2^exponent`, rounded once where the value is not far from one.
pub(crate) fn scaled(value: f64, exponent: i64) -> f64 {
    // In range by the clamp.
    let exponent = i32::try_from(exponent.clamp(-SCALE_MAX, SCALE_MAX)).unwrap_or(0);
    // Halves, since a power of two alone may be out of range where the product is not.
    let first = exponent / 2;
    value * 2_f64.powi(first) * 2_f64.powi(exponent - first)
}

#[expect(clippy::cast_precision_loss, reason = "an exponent of a float has twelve bits")]
fn whole(exponent: i64) -> f64 {
    exponent as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What promtool 3.5 prints. The functions of the C library give another last digit.
    #[test]
    fn results_are_those_of_prometheus_to_the_last_bit() {
        for (value, wanted) in [
            (2.52, 0.924258901523332),
            (3.51, 1.2556160374777745),
            (2.28, 0.8241754429663493),
            (0.0761, -2.5757070141144967),
            (0.0193, -3.947650183071297),
        ] {
            assert_eq!(ln(value), wanted, "ln of {value}");
        }
        for (value, wanted) in [
            (3.51, 1.811471030529836),
            (1.08, 0.11103131238874386),
            (2.03, 1.0214797274104512),
            (0.568, -0.8160371651574052),
            (0.0193, -5.695255342281369),
        ] {
            assert_eq!(log2(value), wanted, "log2 of {value}");
        }
        for (value, wanted) in [
            (2.52, 0.40140054078154414),
            (0.116, -0.9355420107730814),
            (82.2, 1.9148718175400505),
            (1110.0, 3.045322978786657),
            (0.0193, -1.7144426909922261),
        ] {
            assert_eq!(log10(value), wanted, "log10 of {value}");
        }
        for (value, wanted) in [
            (3.83, 46.06253823421447),
            (0.74, 2.0959355144943648),
            (-1.5519, 0.2118450855415454),
            (-9.58, 6.909694772628814e-5),
            (161.0, 8.344716494264773e69),
            (-474.0, 1.3944905574373915e-206),
            (-740.1, 3.8e-322),
            (709.436_139_303_103_9, 1.2711610061535065e308),
            (709.436_139_303_104, f64::INFINITY),
            (709.7, f64::INFINITY),
        ] {
            assert_eq!(exp(value), wanted, "exp of {value}");
        }
        for (base, exponent, wanted) in [
            (9.04, 3.0, 738.7632639999997),
            (0.327, 20.0, 1.95413720418858e-10),
            (89.7, 20.0, 1.1372314482594503e39),
            (0.349, 7.0, 0.0006306348815918046),
            (6.56, 7.0, 522789.52317195095),
            (5.12, 2.39, 49.562728480569774),
            (0.869, 1.63, 0.7954304927606869),
            (0.0392, 0.38, 0.29204428062626836),
            (5.951, 2.134, 44.97539164515825),
            (0.1287, 1.237, 0.07916781568713417),
        ] {
            assert_eq!(pow(base, exponent), wanted, "{base} ^ {exponent}");
        }
    }

    #[test]
    fn where_nothing_is_rounded_the_result_is_the_only_one() {
        for (base, exponent, wanted) in [
            (2.0, 10.0, 1024.0),
            (-2.0, 3.0, -8.0),
            (-2.0, 0.5, f64::NAN),
            (0.0, -1.0, f64::INFINITY),
            (-0.0, -3.0, f64::NEG_INFINITY),
            (9.0, -0.5, 1.0 / 3.0),
            (f64::NAN, 0.0, 1.0),
            (1.0, f64::NAN, 1.0),
            (-1.0, f64::INFINITY, 1.0),
            (0.5, f64::INFINITY, 0.0),
            (10.0, 400.0, f64::INFINITY),
            (10.0, -400.0, 0.0),
            (2.0, -1074.0, 5e-324),
            (2.0, -1075.0, 0.0),
            (-1.0, 1e300, 1.0),
            (1.5, 1e18, f64::INFINITY),
            (1.5, -1e18, 0.0),
            (-3.0, 1.0, -3.0),
        ] {
            let got = pow(base, exponent);
            assert!(
                got.to_bits() == wanted.to_bits() || got.is_nan() && wanted.is_nan(),
                "{base} ^ {exponent}: {got}"
            );
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-746.0), 0.0);
        assert_eq!(exp(f64::NEG_INFINITY), 0.0);
        assert_eq!(exp(f64::INFINITY), f64::INFINITY);
        assert!(exp(f64::NAN).is_nan());
        assert_eq!(log2(1024.0), 10.0);
        assert_eq!(log2(2_f64.powi(-1022)), -1022.0);
        assert_eq!(log10(1e3), 3.0);
        assert_eq!(ln(0.0), f64::NEG_INFINITY);
        assert!(ln(-1.0).is_nan());
        assert_eq!(ln(f64::INFINITY), f64::INFINITY);
    }

    proptest! {
        #[test]
        fn results_are_near_those_of_the_platform(base in -1e6..1e6, exponent in -40.0..40.0, whole: bool) {
            let exponent = if whole { f64::trunc(exponent) } else { exponent };
            for (ours, theirs) in [
                (pow(base, exponent), f64::powf(base, exponent)),
                (exp(exponent), f64::exp(exponent)),
                (ln(base), f64::ln(base)),
                (log2(base), f64::log2(base)),
                (log10(base), f64::log10(base)),
            ] {
                let is_same = ours == theirs
                    || ours.is_nan() && theirs.is_nan()
                    || (ours - theirs).abs() <= 4e-14 * theirs.abs();
                prop_assert!(is_same, "{base} {exponent}: {ours} {theirs}");
            }
        }
    }
}
