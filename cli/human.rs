//! Numbers and times as people read them. Machines get the bare numbers, in base units.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What a number counts, and so how it is written for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// As it is.
    Plain,
    /// Bytes, in powers of 1024.
    Bytes,
    /// Bytes a second, in powers of 1024.
    BytesPerSecond,
    /// Bytes a second, written as bits a second in powers of 1000, as links are sold.
    BitsPerSecond,
    /// Degrees Celsius.
    Celsius,
    /// 0 to 1, written in percent.
    Ratio,
    /// A span of seconds.
    Seconds,
    /// A point in time, in seconds since the Unix epoch.
    Time,
}

/// `value` for people, in `zone` where it is a time.
pub(crate) fn number(value: f64, unit: Unit, zone: &TimeZone) -> String {
    match unit {
        Unit::Plain => plain(value),
        Unit::Bytes => scaled(value, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"]),
        Unit::BytesPerSecond => scaled(value, 1024.0, &["B/s", "KiB/s", "MiB/s", "GiB/s", "TiB/s"]),
        Unit::BitsPerSecond => {
            scaled(value * 8.0, 1000.0, &["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"])
        }
        Unit::Celsius => format!("{} °C", rounded(value, 1)),
        Unit::Ratio => format!("{} %", rounded(value * 100.0, 1)),
        Unit::Seconds => span(value),
        Unit::Time => time(value, zone),
    }
}

/// A span as its two largest units: `3d4h`, `12m30s`, `850ms`.
pub(crate) fn span(seconds: f64) -> String {
    const UNITS: [(&str, f64); 4] = [("d", 86_400.0), ("h", 3_600.0), ("m", 60.0), ("s", 1.0)];
    if !seconds.is_finite() {
        return plain(seconds);
    }
    let sign = if seconds < 0.0 { "-" } else { "" };
    let size = seconds.abs();
    if size == 0.0 {
        return "0s".to_owned();
    }
    if size < 1.0 {
        return format!("{sign}{}ms", rounded(size * 1000.0, 0));
    }
    let at = UNITS.iter().position(|(_, of)| size >= *of).unwrap_or(UNITS.len() - 1);
    let (unit, of) = UNITS.get(at).copied().unwrap_or(("s", 1.0));
    // Whole units of the smaller of the two, so that 59.9 s never reads as 0m60s.
    let Some((minor, minor_of)) = UNITS.get(at + 1).copied() else {
        return format!("{sign}{}s", size.floor());
    };
    let whole = (size / minor_of).floor();
    let per = (of / minor_of).round();
    let (major, rest) = ((whole / per).floor(), whole % per);
    match rest {
        0.0 => format!("{sign}{major}{unit}"),
        _ => format!("{sign}{major}{unit}{rest}{minor}"),
    }
}

/// A moment of local time, to the second: `2026-11-21 05:43:56`.
pub(crate) fn time(unix_seconds: f64, zone: &TimeZone) -> String {
    match moment(unix_seconds) {
        Some(moment) => moment.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => plain(unix_seconds),
    }
}

/// A day of UTC: `2026-11-21`.
pub(crate) fn day(unix_seconds: f64) -> String {
    match moment(unix_seconds) {
        Some(moment) => moment.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d").to_string(),
        None => plain(unix_seconds),
    }
}

/// A moment as the axis of a graph wants it: the clock alone, or the day too when the graph is
/// longer than a day.
pub(crate) fn axis_time(unix_seconds: f64, long: bool, zone: &TimeZone) -> String {
    let form = if long { "%m-%d %H:%M" } else { "%H:%M:%S" };
    match moment(unix_seconds) {
        Some(moment) => moment.to_zoned(zone.clone()).strftime(form).to_string(),
        None => plain(unix_seconds),
    }
}

fn moment(unix_seconds: f64) -> Option<Timestamp> {
    #[expect(clippy::cast_possible_truncation, reason = "out of range saturates and is refused")]
    Timestamp::from_millisecond((unix_seconds * 1000.0).round() as i64).ok()
}

/// A bare number, short: whole numbers as they are, others to four digits that count.
pub(crate) fn plain(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return labstat_model::number::format_api(value);
    }
    let size = value.abs();
    if (1e-3..1e15).contains(&size) {
        let digits = match size {
            _ if value.fract() == 0.0 => 0,
            _ if size >= 1000.0 => 1,
            _ if size >= 100.0 => 2,
            _ if size >= 1.0 => 3,
            _ => 5,
        };
        return rounded(value, digits);
    }
    labstat_model::number::format_g(value)
}

fn scaled(value: f64, base: f64, names: &[&str]) -> String {
    if !value.is_finite() {
        return plain(value);
    }
    let mut rest = value;
    let mut names = names.iter().copied().peekable();
    let mut name = names.next().unwrap_or("");
    // A number that would be written as 1024 or 1000 belongs to the next unit already.
    while rest.abs() >= base - 0.5 && names.peek().is_some() {
        rest /= base;
        name = names.next().unwrap_or(name);
    }
    let digits = if rest.abs() >= 100.0 { 0 } else { 1 };
    format!("{} {name}", rounded(rest, digits))
}

/// `value` with at most `digits` decimals; trailing zeros are left out.
fn rounded(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_read_well() {
        for (value, unit, text) in [
            (0.0, Unit::Bytes, "0 B"),
            (1023.7, Unit::Bytes, "1 KiB"),
            (1_000_204_886_016.0, Unit::Bytes, "932 GiB"),
            (1536.0, Unit::BytesPerSecond, "1.5 KiB/s"),
            (312_500_000.0, Unit::BitsPerSecond, "2.5 Gbit/s"),
            (41.0, Unit::Celsius, "41 °C"),
            (38.85, Unit::Celsius, "38.9 °C"),
            (0.934, Unit::Ratio, "93.4 %"),
            (-0.0001, Unit::Ratio, "0 %"),
            (f64::NAN, Unit::Bytes, "NaN"),
            (1_763_703_836.0, Unit::Time, "2025-11-21 05:43:56"),
            (1e300, Unit::Time, "1e+300"),
            (0.25, Unit::Plain, "0.25"),
            (12_345_678.0, Unit::Plain, "12345678"),
            (0.000_012, Unit::Plain, "1.2e-05"),
        ] {
            assert_eq!(number(value, unit, &TimeZone::UTC), text, "{value} {unit:?}");
        }
    }

    #[test]
    fn spans_have_two_units() {
        for (seconds, text) in [
            (0.0, "0s"),
            (0.25, "250ms"),
            (59.9, "59s"),
            (60.0, "1m"),
            (90.4, "1m30s"),
            (3_599.9, "59m59s"),
            (86_399.0, "23h59m"),
            (273_600.0, "3d4h"),
            (-90.0, "-1m30s"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(span(seconds), text, "{seconds}");
        }
    }
}
