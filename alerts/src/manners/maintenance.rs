//! Maintenance windows: times in which nothing is said of a node and of what hangs on it.

use std::collections::BTreeSet;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::spec::MaintenanceSpec;
use super::times::{minute_of_day, weekday_number, weekday_range, zone};

/// A window of some nodes.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub(super) nodes: BTreeSet<String>,
    pub(super) comment: String,
    when: When,
    zone: TimeZone,
}

#[derive(Debug, Clone)]
enum When {
    Once {
        from_ms: i64,
        to_ms: i64,
    },
    /// Minutes of the day; an end that is not after the start is on the next day.
    Every {
        weekdays: Vec<(i64, i64)>,
        from: u16,
        to: u16,
    },
}

impl Window {
    /// What is configured, or what is wrong with it.
    pub(super) fn build(spec: &MaintenanceSpec, local: &TimeZone) -> Result<Self, String> {
        let zone = spec.location.as_deref().map_or_else(|| Ok(local.clone()), zone)?;
        let nodes: BTreeSet<String> = spec.node.iter().map(str::to_owned).collect();
        if nodes.is_empty() || nodes.contains("") {
            return Err("node names no node".to_owned());
        }
        let when = match (&spec.every, &spec.from, &spec.to) {
            (Some(every), None, None) => parse_every(every)?,
            (None, Some(from), Some(to)) => {
                let (from_ms, to_ms) = (instant(from, &zone)?, instant(to, &zone)?);
                if from_ms >= to_ms {
                    return Err("it ends before it begins".to_owned());
                }
                When::Once { from_ms, to_ms }
            }
            _ => return Err("it needs either every, or from and to".to_owned()),
        };
        Ok(Self { nodes, comment: spec.comment.clone(), when, zone })
    }

    /// The end of the window that `now_ms` lies in.
    pub(super) fn until(&self, now_ms: i64) -> Option<i64> {
        match &self.when {
            When::Once { from_ms, to_ms } => (*from_ms..*to_ms).contains(&now_ms).then_some(*to_ms),
            When::Every { weekdays, from, to } => {
                let now = Timestamp::from_millisecond(now_ms).ok()?.to_zoned(self.zone.clone());
                let today = now.date();
                [today, today.yesterday().ok()?].into_iter().find_map(|day| {
                    let weekday = weekday_number(day.weekday());
                    let is_day = weekdays.iter().any(|(a, b)| (*a..=*b).contains(&weekday));
                    let last = if to <= from { day.tomorrow().ok()? } else { day };
                    let (start, end) = (self.at(day, *from)?, self.at(last, *to)?);
                    (is_day && (start..end).contains(&now_ms)).then_some(end)
                })
            }
        }
    }

    fn at(&self, day: Date, minute: u16) -> Option<i64> {
        let time = day.to_datetime(jiff::civil::Time::midnight());
        let time = time.checked_add(i64::from(minute).minutes()).ok()?;
        Some(time.to_zoned(self.zone.clone()).ok()?.timestamp().as_millisecond())
    }
}

fn parse_every(text: &str) -> Result<When, String> {
    let bad = || format!("{text:?} is not like \"02:00-04:00\" or \"sunday 02:00-04:00\"");
    let (days, times) = match text.trim().rsplit_once(char::is_whitespace) {
        Some((days, times)) => (days.trim(), times),
        None => ("sunday:saturday", text.trim()),
    };
    let days = days.split(',').map(|day| weekday_range(day.trim()));
    let weekdays = days.collect::<Result<Vec<_>, _>>()?;
    let (from, to) = times.split_once('-').ok_or_else(bad)?;
    Ok(When::Every { weekdays, from: minute_of_day(from)?, to: minute_of_day(to)? })
}

fn instant(text: &str, zone: &TimeZone) -> Result<i64, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let bad = |_| format!("{text:?} is not a time such as \"2026-11-22 20:00\"");
    let time: DateTime = text.parse().map_err(bad)?;
    Ok(time.to_zoned(zone.clone()).map_err(bad)?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manners::spec::Texts;

    fn window(every: &str, from: &str, to: &str) -> Result<Window, String> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let spec = MaintenanceSpec {
            node: Texts::One("nas".to_owned()),
            every: some(every),
            from: some(from),
            to: some(to),
            location: Some("Europe/Berlin".to_owned()),
            comment: String::new(),
        };
        Window::build(&spec, &TimeZone::UTC)
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn a_window_tells_its_end() {
        let nightly = window("23:30-00:30", "", "").unwrap();
        assert_eq!(nightly.until(at("2026-11-21T22:45:00Z")), Some(at("2026-11-21T23:30:00Z")));
        assert_eq!(nightly.until(at("2026-11-21T23:15:00Z")), Some(at("2026-11-21T23:30:00Z")));
        assert_eq!(nightly.until(at("2026-11-21T23:30:00Z")), None);
        let sundays = window("sunday 23:00-01:00", "", "").unwrap();
        assert!(sundays.until(at("2026-11-22T22:30:00Z")).is_some(), "a Sunday");
        assert!(sundays.until(at("2026-11-22T23:30:00Z")).is_some(), "Monday, half past twelve");
        assert!(sundays.until(at("2026-11-23T22:30:00Z")).is_none(), "a Monday");
        let once = window("", "2026-11-22 20:00", "2026-11-22T22:00:00Z").unwrap();
        assert_eq!(once.until(at("2026-11-22T19:00:00Z")), Some(at("2026-11-22T22:00:00Z")));
        assert_eq!(once.until(at("2026-11-22T18:59:59Z")), None);
        let whole = window("monday 00:00-24:00", "", "").unwrap();
        assert_eq!(whole.until(at("2026-11-23T12:00:00Z")), Some(at("2026-11-23T23:00:00Z")));
    }

    #[test]
    fn a_window_without_sense_is_refused() {
        for (every, from, to) in [
            ("", "", ""),
            ("25:00-26:00", "", ""),
            ("someday 02:00-03:00", "", ""),
            ("02:00", "", ""),
            ("02:00-03:00", "2026-11-22 20:00", ""),
            ("", "2026-11-22 20:00", "2026-11-22 19:00"),
            ("", "tomorrow", "2026-11-22 19:00"),
        ] {
            assert!(window(every, from, to).is_err(), "{every} {from} {to}");
        }
    }
}
