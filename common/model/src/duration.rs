//! Durations as Prometheus writes them: `90s`, `1h30m`, `5m`, `1w2d`, `250ms`.

/// Milliseconds of each unit, largest first: the order in which units must appear.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a duration: {0:?} (such as 30s, 5m, 1h30m, 2w)")]
pub struct DurationError(pub String);

/// Milliseconds of a duration text. Units stand from large to small, each at most once; `0` needs
/// none. The text holds nothing else.
pub fn parse_ms(text: &str) -> Result<i64, DurationError> {
    let error = || DurationError(text.to_owned());
    if text == "0" {
        return Ok(0);
    }
    let mut rest = text;
    let mut total = 0_i64;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let number: i64 = number.parse().map_err(|_| error())?;
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        // Taking from the iterator that goes on is what enforces the order.
        let (_, factor) = units.find(|(name, _)| *name == unit).ok_or_else(error)?;
        let part = number.checked_mul(*factor).ok_or_else(error)?;
        total = total.checked_add(part).ok_or_else(error)?;
        rest = tail;
    }
    if text.is_empty() { Err(error()) } else { Ok(total) }
}

/// The shortest text that [`parse_ms`] reads back as `ms`, as Prometheus prints durations
/// (weeks and years only when they fit exactly). Negative durations have a leading `-`.
pub fn format_ms(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut rest = ms.unsigned_abs();
    let mut text = if ms < 0 { "-".to_owned() } else { String::new() };
    for (unit, factor) in UNITS {
        let factor = factor.unsigned_abs();
        let exact_only = matches!(unit, "y" | "w");
        if rest >= factor && (!exact_only || rest.is_multiple_of(factor)) {
            text.push_str(&(rest / factor).to_string());
            text.push_str(unit);
            rest %= factor;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_prometheus_reads() {
        for (text, ms) in [
            ("0", 0),
            ("0s", 0),
            ("1m0s", 60_000),
            ("1h0m0s", 3_600_000),
            ("250ms", 250),
            ("1w2d", 777_600_000),
            ("1y", 31_536_000_000),
        ] {
            assert_eq!(parse_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "5", "s", "1s1m", "1m1m", "-1s", "1.5h", "1h ", "99999999999y", "1M"] {
            assert!(parse_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn prints_what_prometheus_prints() {
        for (ms, text) in [
            (0, "0s"),
            (90_000, "1m30s"),
            (604_800_000, "1w"),
            (691_200_000, "8d"),
            (-1_500, "-1s500ms"),
        ] {
            assert_eq!(format_ms(ms), text);
        }
    }
}
