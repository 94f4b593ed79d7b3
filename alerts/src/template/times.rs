//! What Go's times and durations can do: the methods that a template may call.

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use super::value::{Value, duration_text, time_text};

/// What Go calls the months, and Go's names of the days of the week.
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// What a layout may hold, the longer before the shorter, and how jiff calls it.
const LAYOUT: [(&str, &str); 22] = [
    ("January", "%B"),
    ("Jan", "%b"),
    ("Monday", "%A"),
    ("Mon", "%a"),
    ("2006", "%Y"),
    ("-07:00", "%:z"),
    ("-0700", "%z"),
    ("Z07:00", "Z"),
    ("MST", "UTC"),
    (".000000", ".%6f"),
    (".000", ".%3f"),
    ("002", "%j"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("PM", "%p"),
    ("_2", "%e"),
    ("2", "%-d"),
];

fn zoned(ms: i64) -> Result<jiff::Zoned, String> {
    let time = Timestamp::from_millisecond(ms).map_err(|error| error.to_string())?;
    Ok(time.to_zoned(TimeZone::UTC))
}

/// A time in Go's layout, such as `2006-01-02 15:04:05`.
pub(super) fn format(ms: i64, layout: &str) -> Result<String, String> {
    let time = zoned(ms)?;
    let mut text = String::new();
    let mut rest = layout;
    while let Some(first) = rest.chars().next() {
        match LAYOUT.iter().find_map(|(go, ours)| Some((rest.strip_prefix(go)?, *ours))) {
            Some((after, ours)) => {
                text.push_str(&time.strftime(ours).to_string());
                rest = after;
            }
            None => {
                text.push(first);
                rest = rest.get(first.len_utf8()..).unwrap_or_default();
            }
        }
    }
    Ok(text)
}

/// A method of a time that takes nothing.
pub(super) fn method(ms: i64, name: &str) -> Result<Value, String> {
    let time = zoned(ms)?;
    let number = |value: i64| Ok(Value::Int(value));
    match name {
        "Unix" => number(ms.div_euclid(1000)),
        "UnixMilli" => number(ms),
        "UnixMicro" => number(ms.saturating_mul(1_000)),
        "UnixNano" => number(ms.saturating_mul(1_000_000)),
        "Year" => number(i64::from(time.year())),
        "Day" => number(i64::from(time.day())),
        "Hour" => number(i64::from(time.hour())),
        "Minute" => number(i64::from(time.minute())),
        "Second" => number(i64::from(time.second())),
        "Nanosecond" => number(i64::from(time.subsec_nanosecond())),
        "YearDay" => number(i64::from(time.day_of_year())),
        "Month" => {
            let at = usize::try_from(time.month()).unwrap_or(1).saturating_sub(1);
            Ok(Value::Text(MONTHS.get(at).copied().unwrap_or_default().to_owned()))
        }
        "Weekday" => Ok(Value::Text(weekday(time.weekday()).to_owned())),
        "String" => Ok(Value::Text(time_text(ms))),
        "UTC" => Ok(Value::Time(ms)),
        "IsZero" => Ok(Value::Bool(false)),
        _ => Err(format!("can't evaluate field {name} in type *time.Time")),
    }
}

fn weekday(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}

/// A method of a duration.
pub(super) fn duration_method(ns: i64, name: &str) -> Result<Value, String> {
    #[expect(clippy::cast_precision_loss, reason = "as Go converts")]
    let seconds = ns as f64 / 1e9;
    match name {
        "Seconds" => Ok(Value::Float(seconds)),
        "Minutes" => Ok(Value::Float(seconds / 60.0)),
        "Hours" => Ok(Value::Float(seconds / 3600.0)),
        "Milliseconds" => Ok(Value::Int(ns / 1_000_000)),
        "Microseconds" => Ok(Value::Int(ns / 1_000)),
        "Nanoseconds" => Ok(Value::Int(ns)),
        "String" => Ok(Value::Text(duration_text(ns))),
        _ => Err(format!("can't evaluate field {name} in type *time.Duration")),
    }
}
