//! Floats in texts, as Go reads and writes them: the bounds of buckets and the names of quantiles.

/// Hexadecimal digits of a mantissa that are looked at: more than 53 bits.
const HEX_DIGITS_MAX: usize = 15;

/// The number that Go's `strconv.ParseFloat` reads; `None` where it says that there is none, or
/// none that is small enough.
pub(super) fn parse(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let lower = unsigned.to_ascii_lowercase();
    let magnitude = match lower.as_str() {
        "inf" | "infinity" => f64::INFINITY,
        "nan" if unsigned.len() == text.len() => f64::NAN,
        _ => finite(&lower)?,
    };
    Some(if text.starts_with('-') { -magnitude } else { magnitude })
}

fn finite(text: &str) -> Option<f64> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '.') || !underscores_part(text) {
        return None;
    }
    let plain = text.replace('_', "");
    let value = match plain.strip_prefix("0x") {
        Some(hex) => hexadecimal(hex)?,
        None => plain.parse().ok()?,
    };
    Some(value).filter(|value| value.is_finite())
}

/// Whether every underscore stands between digits; the prefix of a base is one.
fn underscores_part(text: &str) -> bool {
    let (hex, text) = match text.strip_prefix("0x") {
        Some(rest) => (true, format!("0{rest}")),
        None => (false, text.to_owned()),
    };
    let digit = |c: char| c.is_ascii_digit() || hex && matches!(c, 'a'..='f');
    let parted = text.split('_').collect::<Vec<_>>();
    parted.windows(2).all(|pair| match pair {
        [before, after] => before.ends_with(digit) && after.starts_with(digit),
        _ => true,
    })
}

/// `1.8p-3`: the exponent of two must be there.
fn hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once('p')?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    let significant = digits.trim_start_matches('0');
    let kept = significant.get(..HEX_DIGITS_MAX).unwrap_or(significant);
    if kept.is_empty() {
        return Some(0.0);
    }
    let dropped = i32::try_from(significant.len() - kept.len()).ok()?;
    let places = i32::try_from(fraction.len()).ok()?;
    #[expect(clippy::cast_precision_loss, reason = "rounded to a float is what is asked for")]
    let mantissa = u64::from_str_radix(kept, 16).ok()? as f64;
    let exponent = exponent.checked_add(4 * (dropped - places))?;
    // In two steps, so that neither power leaves what a float holds.
    let half = exponent / 2;
    Some(mantissa * 2.0_f64.powi(half) * 2.0_f64.powi(exponent - half))
}

/// A number as OpenMetrics writes the value of a label: never without a point.
pub(super) fn open_metrics(value: f64) -> String {
    let text = labstat_model::number::format_g(value);
    if text.contains(['.', 'e', 'N', 'I']) { text } else { format!("{text}.0") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, value) in [
            ("1", 1.0),
            ("+Inf", f64::INFINITY),
            ("-infinity", f64::NEG_INFINITY),
            ("1_0", 10.0),
            ("1.5e-3", 0.0015),
            (".5", 0.5),
            ("5.", 5.0),
            ("-0", -0.0),
            ("0x1p4", 16.0),
            ("-0x1.8P1", -3.0),
            ("0x_1p0", 1.0),
            ("0x1p-1074", 5e-324),
        ] {
            assert_eq!(parse(text).map(f64::to_bits), Some(value.to_bits()), "{text}");
        }
        assert!(parse("nan").is_some_and(f64::is_nan));
        for text in [
            "",
            "+",
            "--1",
            "+nan",
            "abc",
            " 1",
            "1 ",
            "1__0",
            "_1",
            "1_",
            "1_.5",
            "0x10",
            "0xp1",
            "1e",
            "1e999",
            "infin",
            "0x1p99999",
            "é",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn quantiles_have_a_point_in_their_names() {
        let named = [0.0, 1.0, -1.0, 0.99, 2.0, 1e-7, f64::NAN, f64::INFINITY].map(open_metrics);
        assert_eq!(named, ["0.0", "1.0", "-1.0", "0.99", "2.0", "1e-07", "NaN", "+Inf"]);
    }
}
