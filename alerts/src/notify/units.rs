//! Numbers, times and spans of time as people read them: `84 °C`, `4.3 %`, `1.8 TiB`, `2 h 5 min`.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use labstat_model::number;
use labstat_promql::Unit;

/// A value with its unit; `None` for what is no number, and for a point in time, which no message
/// tells as a value.
pub(super) fn value(value: f64, unit: Option<Unit>) -> Option<String> {
    if !value.is_finite() {
        return None;
    }
    let with = |value: f64, unit: &str| Some(format!("{} {unit}", short(value)));
    match unit {
        None | Some(Unit::Count) => Some(short(value)),
        Some(Unit::Bytes) => Some(steps(value, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"])),
        Some(Unit::BytesPerSecond) => {
            let names = ["B/s", "KiB/s", "MiB/s", "GiB/s", "TiB/s"];
            Some(steps(value, 1024.0, &names))
        }
        Some(Unit::Hertz) => Some(steps(value, 1000.0, &["Hz", "kHz", "MHz", "GHz"])),
        Some(Unit::Celsius) => with(value, "°C"),
        Some(Unit::Ratio) => with(value * 100.0, "%"),
        Some(Unit::Percent) => with(value, "%"),
        Some(Unit::Rpm) => with(value, "rpm"),
        Some(Unit::Volts) => with(value, "V"),
        Some(Unit::Amperes) => with(value, "A"),
        Some(Unit::Watts) => with(value, "W"),
        Some(Unit::Joules) => with(value, "J"),
        Some(Unit::PerSecond) => Some(format!("{}/s", short(value))),
        Some(Unit::Seconds) => Some(seconds(value)),
        Some(Unit::Timestamp) => None,
    }
}

/// At most three digits that matter, and all that stand before the point.
fn short(value: f64) -> String {
    let size = value.abs();
    if size >= 1e15 {
        return number::format_g(value);
    }
    let decimals = match size {
        _ if size >= 100.0 || size == 0.0 => 0,
        _ if size >= 10.0 => 1,
        _ if size >= 0.1 => 2,
        _ if size >= 0.000_1 => 5,
        _ => return number::format_g(value),
    };
    let text = format!("{value:.decimals$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text.as_str(),
    };
    // What is rounded to nothing has no sign.
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn steps(mut value: f64, step: f64, names: &[&str]) -> String {
    let mut names = names.iter();
    let mut name = names.next().copied().unwrap_or_default();
    for next in names {
        if value.abs() < step {
            break;
        }
        value /= step;
        name = next;
    }
    format!("{} {name}", short(value))
}

fn seconds(value: f64) -> String {
    let size = value.abs();
    if size < 1.0 && size > 0.0 {
        let (scaled, name) = if size >= 0.001 { (1e3, "ms") } else { (1e6, "µs") };
        return format!("{} {name}", short(value * scaled));
    }
    if size < 60.0 {
        return format!("{} s", short(value));
    }
    #[expect(clippy::cast_possible_truncation, reason = "floats saturate, which is what is wanted")]
    let ms = (size * 1000.0) as i64;
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{}", span(ms))
}

/// A span of milliseconds by its two largest units: `45 s`, `2 min`, `1 h 5 min`, `3 d 4 h`.
pub(super) fn span(ms: i64) -> String {
    let total = ms.max(0) / 1000;
    let (days, hours) = (total / 86_400, total / 3600 % 24);
    let (minutes, seconds) = (total / 60 % 60, total % 60);
    let pair = |large: i64, large_name: &str, small: i64, small_name: &str| match small {
        0 => format!("{large} {large_name}"),
        _ => format!("{large} {large_name} {small} {small_name}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        // A few seconds matter to what lasted a minute, and to nothing else.
        (0, 0, 1..5) => pair(minutes, "min", seconds, "s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => pair(hours, "h", minutes, "min"),
        _ => pair(days, "d", hours, "h"),
    }
}

/// A point in time: `Thu 1 Jan 13:45 UTC`.
pub(super) fn time(time_ms: i64, zone: &TimeZone) -> String {
    formatted(time_ms, zone, "%a %-d %b %H:%M %Z")
}

/// A point in time to be told beside another: without the day when that is the same, and without
/// the zone.
pub(super) fn time_beside(time_ms: i64, other_ms: i64, zone: &TimeZone) -> String {
    let day = |time_ms| formatted(time_ms, zone, "%Y-%m-%d");
    let is_same_day = day(time_ms) == day(other_ms);
    formatted(time_ms, zone, if is_same_day { "%H:%M" } else { "%a %-d %b %H:%M" })
}

/// The same with seconds: what happened one after the other.
pub(super) fn moment(time_ms: i64, other_ms: i64, zone: &TimeZone) -> String {
    let day = |time_ms| formatted(time_ms, zone, "%Y-%m-%d");
    let is_same_day = day(time_ms) == day(other_ms);
    formatted(time_ms, zone, if is_same_day { "%H:%M:%S" } else { "%a %-d %b %H:%M:%S" })
}

/// The zone's short name at this time.
pub(super) fn zone(time_ms: i64, zone: &TimeZone) -> String {
    formatted(time_ms, zone, "%Z")
}

fn formatted(time_ms: i64, zone: &TimeZone, format: &str) -> String {
    let Ok(time) = Timestamp::from_millisecond(time_ms) else { return format!("{time_ms} ms") };
    time.to_zoned(zone.clone()).strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short_and_have_their_unit() {
        for (number, unit, wanted) in [
            (84.0, Some(Unit::Celsius), "84 °C"),
            (45.678, Some(Unit::Celsius), "45.7 °C"),
            (0.043, Some(Unit::Ratio), "4.3 %"),
            (97.27, Some(Unit::Percent), "97.3 %"),
            (53_687_091_200.0, Some(Unit::Bytes), "50 GiB"),
            (1500.0, Some(Unit::BytesPerSecond), "1.46 KiB/s"),
            (512.0, Some(Unit::Bytes), "512 B"),
            (0.0, Some(Unit::Rpm), "0 rpm"),
            (4.2e9, Some(Unit::Hertz), "4.2 GHz"),
            (7500.0, Some(Unit::Seconds), "2 h 5 min"),
            (0.0123, Some(Unit::Seconds), "12.3 ms"),
            (-90.0, Some(Unit::Seconds), "-1 min 30 s"),
            (3.0, Some(Unit::Count), "3"),
            (0.5, Some(Unit::PerSecond), "0.5/s"),
            (123_456.0, None, "123456"),
            (-0.001, Some(Unit::Celsius), "-0.001 °C"),
            (1e18, None, "1e+18"),
            (0.000_000_1, None, "1e-07"),
        ] {
            assert_eq!(value(number, unit).as_deref(), Some(wanted), "{number}");
        }
        assert_eq!(value(f64::NAN, None), None);
        assert_eq!(value(f64::INFINITY, Some(Unit::Seconds)), None);
        assert_eq!(value(1.7e9, Some(Unit::Timestamp)), None);
        assert_eq!(value(f64::MAX, Some(Unit::Seconds)).unwrap(), "106751991167 d 7 h");
    }

    #[test]
    fn spans_have_two_units() {
        for (seconds, wanted) in [
            (0, "0 s"),
            (45, "45 s"),
            (125, "2 min 5 s"),
            (120, "2 min"),
            (601, "10 min"),
            (3_723, "1 h 2 min"),
            (86_400, "1 d"),
            (273_600, "3 d 4 h"),
        ] {
            assert_eq!(span(seconds * 1000), wanted);
        }
        assert_eq!(span(-5), "0 s");
    }

    #[test]
    fn times_name_the_day_where_it_is_another() {
        let (zone, at) = (TimeZone::UTC, 1_767_275_100_000);
        assert_eq!(time(at, &zone), "Thu 1 Jan 13:45 UTC");
        assert_eq!(time_beside(at, at + 60_000, &zone), "13:45");
        assert_eq!(time_beside(at, at + 86_400_000, &zone), "Thu 1 Jan 13:45");
        assert_eq!(moment(at + 1_000, at, &zone), "13:45:01");
        assert_eq!(time(i64::MAX, &zone), "9223372036854775807 ms");
    }
}
