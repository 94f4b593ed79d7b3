//! Floats as text, the way Go and so every Prometheus tool writes them.
//!
//! All forms are the shortest that read back as the same float; they differ in when an exponent
//! is used. NaN is `NaN`, infinities are `+Inf` and `-Inf`.

/// Appends `value` as Prometheus' text exposition has it (Go's `strconv` format `'g'`): an
/// exponent below 1e-4 and from 1e6 on, with at least two digits and a sign.
pub fn push_g(text: &mut String, value: f64) {
    push(text, value, |magnitude| !(1e-4..1e6).contains(&magnitude));
}

/// Appends `value` as Go's templates print it (`%v`): an exponent below 1e-4 and from 1e21 on.
pub fn push_v(text: &mut String, value: f64) {
    push(text, value, |magnitude| !(1e-4..1e21).contains(&magnitude));
}

/// Appends `value` as the Prometheus API writes sample values: an exponent below 1e-6 and from
/// 1e21 on.
pub fn push_api(text: &mut String, value: f64) {
    push(text, value, |magnitude| !(1e-6..1e21).contains(&magnitude));
}

/// Appends `value` never with an exponent (Go's `'f'`), as the API gives scalars.
pub fn push_f(text: &mut String, value: f64) {
    push(text, value, |_| false);
}

/// `value` as [`push_g`] writes it.
pub fn format_g(value: f64) -> String {
    let mut text = String::new();
    push_g(&mut text, value);
    text
}

/// `value` as [`push_api`] writes it.
pub fn format_api(value: f64) -> String {
    let mut text = String::new();
    push_api(&mut text, value);
    text
}

/// `value` as [`push_v`] writes it.
pub fn format_v(value: f64) -> String {
    let mut text = String::new();
    push_v(&mut text, value);
    text
}

/// `value` always with an exponent (Go's `'e'`), as the API gives the value of an alert.
pub fn format_e(value: f64) -> String {
    let mut text = String::new();
    if value.is_finite() {
        push_exponent(&mut text, value);
    } else {
        push_g(&mut text, value);
    }
    text
}

fn push(text: &mut String, value: f64, exponent: impl Fn(f64) -> bool) {
    if value.is_nan() {
        text.push_str("NaN");
    } else if value.is_infinite() {
        text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if value != 0.0 && exponent(value.abs()) {
        push_exponent(text, value);
    } else {
        push_plain(text, value);
    }
}

/// Whole numbers below this are written as integers, which is faster; all of them are exact.
const WHOLE_MAX: f64 = 9e15;

/// Appends a finite number without an exponent.
fn push_plain(text: &mut String, value: f64) {
    use std::fmt::Write;

    #[expect(clippy::cast_possible_truncation, reason = "what was cut off is looked for")]
    let whole = value as i64;
    #[expect(clippy::cast_precision_loss, reason = "below the bound none is lost")]
    let is_whole = value.abs() < WHOLE_MAX && (whole as f64).to_bits() == value.to_bits();
    if is_whole {
        text.push_str(itoa::Buffer::new().format(whole));
        return;
    }
    let mut buffer = zmij::Buffer::new();
    let shortest = buffer.format_finite(value);
    if shortest.contains('e') {
        // Writing to a String cannot fail.
        let _ = write!(text, "{value}");
    } else {
        text.push_str(shortest.strip_suffix(".0").unwrap_or(shortest));
    }
}

/// Rust writes `1e21` and `1e-7` where Go writes `1e+21` and `1e-07`.
fn push_exponent(text: &mut String, value: f64) {
    let rust = format!("{value:e}");
    let (mantissa, exponent) = rust.split_once('e').unwrap_or((&rust, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    text.push_str(mantissa);
    text.push('e');
    text.push(sign);
    if digits.len() < 2 {
        text.push('0');
    }
    text.push_str(digits);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_go_writes_them() {
        for (value, g, api) in [
            (0.0, "0", "0"),
            (-0.0, "-0", "-0"),
            (1.0, "1", "1"),
            (0.1, "0.1", "0.1"),
            (999_999.0, "999999", "999999"),
            (123_456_789.0, "1.23456789e+08", "123456789"),
            (1e20, "1e+20", "100000000000000000000"),
            (1e21, "1e+21", "1e+21"),
            (1.5e-5, "1.5e-05", "0.000015"),
            (2.5e-7, "2.5e-07", "2.5e-07"),
            (f64::MAX, "1.7976931348623157e+308", "1.7976931348623157e+308"),
            (f64::INFINITY, "+Inf", "+Inf"),
            (f64::NEG_INFINITY, "-Inf", "-Inf"),
            (f64::NAN, "NaN", "NaN"),
        ] {
            assert_eq!(format_g(value), g);
            assert_eq!(format_api(value), api);
        }
        assert_eq!(format_v(123_456_789.0), "123456789");
        assert_eq!(format_e(0.0), "0e+00");
        assert_eq!(format_e(12.5), "1.25e+01");
    }

    proptest! {
        #[test]
        fn reads_back(value in any::<f64>()) {
            prop_assume!(value.is_finite());
            prop_assert_eq!(format_g(value).parse::<f64>().unwrap().to_bits(), value.to_bits());
            prop_assert_eq!(format_api(value).parse::<f64>().unwrap().to_bits(), value.to_bits());
        }

        #[test]
        fn without_an_exponent_is_as_short_as_can_be(
            mantissa in -10_000_000_000_000_000_i64..10_000_000_000_000_000,
            exponent in -12_i32..12,
            any in any::<f64>(),
        ) {
            #[expect(clippy::cast_precision_loss, reason = "any number will do")]
            let decimal = mantissa as f64 * 10_f64.powi(exponent);
            for value in [decimal, decimal.trunc(), any, -0.0] {
                prop_assume!(value.is_finite());
                let mut text = String::new();
                push_plain(&mut text, value);
                prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits());
                // Of two that are as short and as near, either may be written.
                prop_assert_eq!(text.len(), value.to_string().len());
                prop_assert!(!text.contains('e') && !text.ends_with(".0"), "{}", text);
            }
        }
    }
}
