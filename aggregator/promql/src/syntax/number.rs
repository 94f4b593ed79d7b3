//! Numbers and durations as they are written, in the words of the errors about them too.

use super::quote::quote;

/// Nanoseconds that a duration may have: what Go's hold, which is 292 years.
const DURATION_NS_MAX: u64 = 1 << 63;

const MS_NS: u64 = 1_000_000;
const SECOND_NS: u64 = 1_000 * MS_NS;
const DAY_NS: u64 = 86_400 * SECOND_NS;

/// The units in the order in which they must stand.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * DAY_NS),
    ("w", 7 * DAY_NS),
    ("d", DAY_NS),
    ("h", 3_600 * SECOND_NS),
    ("m", 60 * SECOND_NS),
    ("s", SECOND_NS),
    ("ms", MS_NS),
];

/// The value of a number: hexadecimal, octal with a leading zero, or decimal; underscores may part
/// digits.
pub(super) fn value(text: &str) -> Result<f64, String> {
    if text.eq_ignore_ascii_case("inf") {
        return Ok(f64::INFINITY);
    }
    if text.eq_ignore_ascii_case("nan") {
        return Ok(f64::NAN);
    }
    let error = |what: &str| {
        let text = quote(text);
        Err(format!("error parsing number: strconv.ParseFloat: parsing {text}: {what}"))
    };
    if !underscores_part_digits(text) {
        return error("invalid syntax");
    }
    let plain = text.replace('_', "");
    if let Some(digits) = plain.strip_prefix("0x").or_else(|| plain.strip_prefix("0X")) {
        return whole(digits, 16).map_or_else(|| error("invalid syntax"), Ok);
    }
    let octal = plain.len() > 1 && plain.starts_with('0');
    if octal && let Some(value) = whole(&plain, 8) {
        return Ok(value);
    }
    match plain.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => error("value out of range"),
        Err(_) => error("invalid syntax"),
    }
}

/// An underscore stands between two digits, or between the prefix of a base and a digit.
fn underscores_part_digits(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digit = |at: Option<usize>| {
        let byte = at.and_then(|at| bytes.get(at));
        byte.is_some_and(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'x' | b'X'))
    };
    let mut underscores = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'_');
    underscores.all(|(at, _)| digit(at.checked_sub(1)) && digit(Some(at + 1)))
}

#[expect(clippy::cast_precision_loss, reason = "a number beyond 2^53 is rounded, as in any float")]
fn whole(digits: &str, radix: u32) -> Option<f64> {
    let digits = Some(digits).filter(|digits| !digits.starts_with(['+', '-']));
    i64::from_str_radix(digits?, radix).ok().map(|value| value as f64)
}

/// The seconds of a duration with units.
#[expect(clippy::cast_precision_loss, reason = "292 years of milliseconds fit in 53 bits")]
pub(super) fn duration_seconds(text: &str) -> Result<f64, String> {
    let invalid = || format!("not a valid duration string: {}", quote(text));
    let mut rest = text;
    let mut total_ns = 0_u64;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let len = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, tail) = rest.split_at(len);
        let count: u64 = digits.parse().map_err(|_| invalid())?;
        let len = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(len);
        if unit.is_empty() {
            return Err(invalid());
        }
        let found = UNITS.iter().enumerate().find(|(_, (name, _))| *name == unit);
        let Some((at, (_, unit_ns))) = found else {
            return Err(format!("unknown unit {} in duration {}", quote(unit), quote(text)));
        };
        if at < next_unit {
            return Err(invalid());
        }
        next_unit = at + 1;
        let part_ns = count.checked_mul(*unit_ns);
        let sum_ns = part_ns.and_then(|part_ns| total_ns.checked_add(part_ns));
        total_ns = sum_ns.filter(|ns| *ns < DURATION_NS_MAX).ok_or("duration out of range")?;
        rest = tail;
    }
    let (seconds, rest_ns) = (total_ns / SECOND_NS, total_ns % SECOND_NS);
    Ok(seconds as f64 + rest_ns as f64 / 1e9)
}

/// Whether this many seconds are more than a duration can have.
pub(super) fn is_out_of_range(seconds: f64) -> bool {
    const SECONDS_MAX: f64 = 9_223_372_036.854_776;
    seconds.abs() > SECONDS_MAX || seconds.is_nan()
}

/// The milliseconds of so many seconds as a literal has them: rounded to the nanosecond, then cut.
#[expect(clippy::cast_possible_truncation, reason = "a literal is within the range of durations")]
pub(crate) fn literal_ms(seconds: f64) -> i64 {
    ((seconds * 1e9).round() / 1e6) as i64
}

/// As [`literal_ms`], for an expression that is a number: cut to the millisecond.
#[expect(clippy::cast_possible_truncation, reason = "bounded before the call")]
pub(crate) fn expression_ms(seconds: f64) -> i64 {
    (seconds * 1000.0) as i64
}

/// A number as Go prints it without an exponent.
pub(super) fn plain(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_all_their_forms() {
        for (text, wanted) in [
            ("1", 1.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("1.e5", 100_000.0),
            ("1_000", 1000.0),
            ("1_000.5", 1000.5),
            ("0x1F", 31.0),
            ("0x_1F", 31.0),
            ("017", 15.0),
            ("00", 0.0),
            ("089", 89.0),
            ("0777777777777777777777777", 7.777_777_777_777_778e23),
            ("1e3", 1000.0),
            ("1e-3", 0.001),
            ("1E+5", 100_000.0),
            ("0e5", 0.0),
            ("inF", f64::INFINITY),
        ] {
            assert_eq!(value(text), Ok(wanted), "{text}");
        }
        assert!(value("NaN").unwrap().is_nan());
    }

    #[test]
    fn what_is_no_number_is_said_in_gos_words() {
        for (text, what) in [
            ("1e999", "value out of range"),
            ("0x", "invalid syntax"),
            ("0xFFFFFFFFFFFFFFFFFFFF", "invalid syntax"),
            ("1_", "invalid syntax"),
        ] {
            let wanted = format!(
                "error parsing number: strconv.ParseFloat: parsing {}: {what}",
                quote(text)
            );
            assert_eq!(value(text), Err(wanted));
        }
    }

    #[test]
    fn durations_have_their_units_from_large_to_small() {
        for (text, seconds) in
            [("1m0s", 60.0), ("1y1m", 31_536_060.0), ("1s1ms", 1.001), ("0s", 0.0), ("1ms", 0.001)]
        {
            assert_eq!(duration_seconds(text), Ok(seconds), "{text}");
        }
        for (text, wanted) in [
            ("5m5h", "not a valid duration string: \"5m5h\""),
            ("5m5m", "not a valid duration string: \"5m5m\""),
            ("5hs", "unknown unit \"hs\" in duration \"5hs\""),
            ("1.5h", "unknown unit \".\" in duration \"1.5h\""),
            ("300y", "duration out of range"),
            ("99999999999999999999s", "not a valid duration string: \"99999999999999999999s\""),
        ] {
            assert_eq!(duration_seconds(text), Err(wanted.to_owned()), "{text}");
        }
    }

    #[test]
    fn numbers_print_without_exponents() {
        for (value, wanted) in [
            (1e10, "10000000000"),
            (1e-10, "0.0000000001"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
            (-0.0, "-0"),
        ] {
            assert_eq!(plain(value), wanted);
        }
    }
}
