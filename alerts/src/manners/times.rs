//! Time intervals as Alertmanager has them: times of day, weekdays, days of the month, months,
//! years, in a time zone. `contains` is all that is asked of one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// Minutes of a day.
const DAY_MINUTES: u16 = 24 * 60;

const WEEKDAYS: [&str; 7] =
    ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// A named list of intervals as configured: Alertmanager's `time_intervals` entry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TimesSpec {
    /// The name that routes give.
    pub name: String,
    /// It holds when one of these does.
    #[serde(default)]
    pub time_intervals: Vec<IntervalSpec>,
}

/// One interval as configured; what is not given holds always.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IntervalSpec {
    /// Times of day, the end excluded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<Vec<TimeRange>>,
    /// `monday`, `monday:friday`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekdays: Option<Vec<String>>,
    /// `1`, `1:5`, `-3:-1` (from the month's end).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days_of_month: Option<Vec<Word>>,
    /// `1`, `may`, `may:august`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub months: Option<Vec<Word>>,
    /// `2026`, `2026:2028`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub years: Option<Vec<Word>>,
    /// A zone of the time zone database; without it UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

/// A range of a day: `start_time: 09:00`, `end_time: 17:00`; `24:00` is the day's end.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TimeRange {
    /// The first minute in it.
    pub start_time: String,
    /// The first minute no longer in it.
    pub end_time: String,
}

/// A word or number, as YAML and TOML both write them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Word {
    /// A bare number.
    Number(i64),
    /// Anything else.
    Text(String),
}

impl Word {
    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Intervals of which one must hold.
#[derive(Debug, Clone)]
pub struct Times(Vec<Interval>);

#[derive(Debug, Clone)]
struct Interval {
    times: Option<Vec<(u16, u16)>>,
    weekdays: Option<Vec<(i64, i64)>>,
    days: Option<Vec<(i64, i64)>>,
    months: Option<Vec<(i64, i64)>>,
    years: Option<Vec<(i64, i64)>>,
    zone: TimeZone,
}

impl Times {
    /// What is configured, or the first thing wrong with it. `default_zone` is for intervals that
    /// name none.
    pub fn build(intervals: &[IntervalSpec], default_zone: &TimeZone) -> Result<Self, String> {
        let made = intervals.iter().map(|spec| Interval::build(spec, default_zone));
        made.collect::<Result<_, _>>().map(Self)
    }

    /// Whether `now_ms` lies in one of them.
    pub fn contains(&self, now_ms: i64) -> bool {
        self.0.iter().any(|interval| interval.contains(now_ms))
    }
}

impl Interval {
    fn build(spec: &IntervalSpec, default_zone: &TimeZone) -> Result<Self, String> {
        let times = spec.times.as_ref().map(|list| list.iter().map(time_range).collect());
        let zone = match &spec.location {
            None => default_zone.clone(),
            Some(name) => zone(name)?,
        };
        Ok(Self {
            times: times.transpose()?,
            weekdays: ranges(spec.weekdays.as_deref(), weekday_range)?,
            days: ranges(spec.days_of_month.as_deref(), day_range)?,
            months: ranges(spec.months.as_deref(), month_range)?,
            years: ranges(spec.years.as_deref(), year_range)?,
            zone,
        })
    }

    fn contains(&self, now_ms: i64) -> bool {
        let Ok(time) = Timestamp::from_millisecond(now_ms) else { return false };
        let time = time.to_zoned(self.zone.clone());
        let minute = i64::from(time.hour()) * 60 + i64::from(time.minute());
        let within = |list: &Option<Vec<(i64, i64)>>, value: i64| {
            list.as_ref().is_none_or(|l| l.iter().any(|(from, to)| (*from..=*to).contains(&value)))
        };
        let times = self.times.as_ref().is_none_or(|list| {
            list.iter().any(|(from, to)| (i64::from(*from)..i64::from(*to)).contains(&minute))
        });
        let (day, month_len) = (i64::from(time.day()), i64::from(time.days_in_month()));
        let days = self
            .days
            .as_ref()
            .is_none_or(|list| list.iter().any(|range| day_is_within(day, month_len, *range)));
        times
            && days
            && within(&self.months, i64::from(time.month()))
            && within(&self.weekdays, i64::from(time.weekday().to_sunday_zero_offset()))
            && within(&self.years, i64::from(time.year()))
    }
}

/// Days below zero count from the month's end; a range that begins after it holds on no day.
fn day_is_within(day: i64, month_len: i64, (from, to): (i64, i64)) -> bool {
    let real = |day: i64| if day < 0 { month_len + day + 1 } else { day };
    let (from, to) = (real(from), real(to));
    from <= month_len && (from.max(-month_len)..=to.min(month_len)).contains(&day)
}

/// A zone by its name.
pub(super) fn zone(name: &str) -> Result<TimeZone, String> {
    if name == "Local" {
        return Ok(TimeZone::system());
    }
    TimeZone::get(name).map_err(|_| format!("unknown time zone {name}"))
}

/// Minutes since midnight of `HH:MM`; `24:00` is the end of the day.
pub(super) fn minute_of_day(text: &str) -> Result<u16, String> {
    let bad = || format!("couldn't parse timestamp {text}, invalid format");
    let (hours, minutes) = text.split_once(':').ok_or_else(bad)?;
    let number = |text: &str| {
        let sane = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        sane.then(|| text.parse::<u16>().ok()).flatten().ok_or_else(bad)
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let at = hours * 60 + minutes;
    if minutes < 60 && at <= DAY_MINUTES { Ok(at) } else { Err(bad()) }
}

fn time_range(range: &TimeRange) -> Result<(u16, u16), String> {
    let (from, to) = (minute_of_day(&range.start_time)?, minute_of_day(&range.end_time)?);
    if from >= to {
        return Err("start time cannot be equal or greater than end time".to_owned());
    }
    Ok((from, to))
}

trait AsText {
    fn as_text(&self) -> String;
}

impl AsText for String {
    fn as_text(&self) -> String {
        self.clone()
    }
}

impl AsText for Word {
    fn as_text(&self) -> String {
        self.text()
    }
}

type Range = (i64, i64);

fn ranges<T: AsText>(
    list: Option<&[T]>,
    read: fn(&str) -> Result<Range, String>,
) -> Result<Option<Vec<Range>>, String> {
    list.map(|list| list.iter().map(|text| read(&text.as_text())).collect()).transpose()
}

/// `from:to`, or one value for both.
fn split(text: &str) -> Result<(&str, &str), String> {
    let mut parts = text.split(':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(one), None, _) => Ok((one, one)),
        (Some(from), Some(to), None) => Ok((from, to)),
        _ => Err(format!("couldn't parse range {text}, invalid format")),
    }
}

fn named(text: &str, names: &[&str], first: i64) -> Option<i64> {
    let at = names.iter().position(|name| *name == text)?;
    i64::try_from(at).ok().map(|at| at + first)
}

/// The days of the week that `text` names, `monday` or `monday:friday`; Sunday is 0.
pub(super) fn weekday_range(text: &str) -> Result<Range, String> {
    let text = text.to_lowercase();
    let (from, to) = split(&text)?;
    let day = |name: &str| {
        named(name, &WEEKDAYS, 0).ok_or_else(|| format!("{name} is not a valid weekday"))
    };
    ordered(day(from)?, day(to)?, "start day cannot be before end day")
}

fn ordered(from: i64, to: i64, problem: &str) -> Result<Range, String> {
    if from > to { Err(problem.to_owned()) } else { Ok((from, to)) }
}

fn day_range(text: &str) -> Result<Range, String> {
    let (from, to) = split(text)?;
    let day = |text: &str| {
        let day: i64 = text.parse().map_err(|_| format!("{text} is not a day of a month"))?;
        let sane = day != 0 && (-31..=31).contains(&day);
        sane.then_some(day)
            .ok_or_else(|| format!("{day} is not a valid day of the month: out of range"))
    };
    let (from, to) = (day(from)?, day(to)?);
    if from < 0 && to > 0 {
        return Err("end day must be negative if start day is negative".to_owned());
    }
    // A range that ends below zero is judged in the longest month.
    let real = |day: i64| if day < 0 { 31 + day + 1 } else { day };
    if real(from) > real(to) {
        return Err(format!("end day {to} is always before start day {from}"));
    }
    Ok((from, to))
}

fn month_range(text: &str) -> Result<Range, String> {
    let text = text.to_lowercase();
    let (from, to) = split(&text)?;
    let month = |name: &str| {
        let number = named(name, &MONTHS, 1).or_else(|| name.parse().ok());
        let sane = number.filter(|number| (1..=12).contains(number));
        sane.ok_or_else(|| format!("{name} is not a valid month"))
    };
    ordered(month(from)?, month(to)?, "end month is before start month")
}

fn year_range(text: &str) -> Result<Range, String> {
    let (from, to) = split(text)?;
    let year = |text: &str| text.parse::<i64>().map_err(|_| format!("{text} is not a valid year"));
    ordered(year(from)?, year(to)?, "end year is before start year")
}

/// Names of intervals and what they hold.
pub(super) type NamedTimes = BTreeMap<String, Times>;

/// The weekday's number as used here, Sunday being 0.
pub(super) fn weekday_number(weekday: Weekday) -> i64 {
    i64::from(weekday.to_sunday_zero_offset())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn times(yaml: &str) -> Result<Times, String> {
        let spec: IntervalSpec = serde_saphyr::from_str(yaml).unwrap();
        Times::build(&[spec], &TimeZone::UTC)
    }

    #[test]
    fn each_part_must_hold() {
        let office = times(
            "times: [{start_time: '09:00', end_time: '17:00'}]\nweekdays: ['monday:friday']\n",
        );
        let office = office.unwrap();
        assert!(office.contains(at("2026-11-20T09:00:00Z")), "a Friday at nine");
        assert!(office.contains(at("2026-11-20T16:59:59Z")));
        assert!(!office.contains(at("2026-11-20T17:00:00Z")), "the end is not in it");
        assert!(!office.contains(at("2026-11-21T10:00:00Z")), "a Saturday");
    }

    #[test]
    fn days_below_zero_count_from_the_end() {
        let last = times("days_of_month: ['-3:-1']").unwrap();
        assert!(last.contains(at("2026-02-26T00:00:00Z")));
        assert!(!last.contains(at("2026-02-25T00:00:00Z")));
        assert!(last.contains(at("2028-02-27T00:00:00Z")), "a leap year");
        assert!(!last.contains(at("2028-02-26T00:00:00Z")));
        let late = times("days_of_month: ['30:31']").unwrap();
        assert!(!late.contains(at("2026-02-28T00:00:00Z")), "February has no such day");
        let mixed = times("days_of_month: [15, '20:-5']\nmonths: ['may:august', 12]").unwrap();
        assert!(mixed.contains(at("2026-06-15T00:00:00Z")));
        assert!(mixed.contains(at("2026-12-27T00:00:00Z")));
        assert!(!mixed.contains(at("2026-12-28T00:00:00Z")));
        assert!(!mixed.contains(at("2026-01-15T00:00:00Z")));
    }

    #[test]
    fn a_location_moves_the_day() {
        let berlin = "times: [{start_time: '00:00', end_time: '01:00'}]\nlocation: Europe/Berlin";
        let berlin = times(berlin).unwrap();
        assert!(berlin.contains(at("2026-11-20T23:30:00Z")), "winter: an hour ahead");
        assert!(berlin.contains(at("2026-07-20T22:30:00Z")), "summer: two");
        assert!(!berlin.contains(at("2026-07-20T23:30:00Z")));
    }

    #[test]
    fn what_no_clock_shows_is_refused() {
        for bad in [
            "times: [{start_time: '9:00', end_time: '17:00'}]",
            "times: [{start_time: '09:00', end_time: '24:01'}]",
            "times: [{start_time: '09:00', end_time: '09:00'}]",
            "weekdays: ['friday:monday']",
            "weekdays: ['moonday']",
            "days_of_month: ['0']",
            "days_of_month: ['32']",
            "days_of_month: ['5:1']",
            "days_of_month: ['-1:5']",
            "months: ['13']",
            "months: ['august:may']",
            "years: ['2028:2026']",
            "location: Middle/Earth",
        ] {
            assert!(times(bad).is_err(), "{bad}");
        }
        assert!(times("times: [{start_time: '00:00', end_time: '24:00'}]").is_ok());
    }
}
