//! The time of a step or a sample, and the calendar of values that are times (UTC).

use crate::QueryError;
use crate::column::{Cell, Column, Columns, Steps};
use crate::eval::Evaluator;
use crate::expr::Call;
use labstat_model::Labels;

const DAY_S: i64 = 86_400;

#[expect(clippy::cast_precision_loss, reason = "milliseconds of any date fit in 53 bits")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of all functions")]
pub(super) fn time(_: &Evaluator<'_>, _: &Call, steps: Steps) -> Result<Columns, QueryError> {
    Ok(Columns::Scalar(steps.times().map(seconds).collect()))
}

/// The time of the sample where a selector found one, and of the step for anything else.
pub(super) fn timestamp(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let Some(arg) = call.args.first() else { return Ok(Columns::Vector(Vec::new())) };
    let mut columns = match evaluator.instant_times(arg, steps)? {
        Some(columns) => columns,
        None => {
            let mut columns = evaluator.vector(arg, steps)?;
            let mut pace = evaluator.budget.pace();
            for column in &mut columns {
                column.map(&mut pace, |step, _| Some(seconds(steps.time(step))))?;
                column.map_histograms(|step, _| Some(Cell::Number(seconds(steps.time(step)))));
            }
            columns
        }
    };
    for column in &mut columns {
        column.labels = column.labels.without_metadata();
    }
    evaluator.merge(columns).map(Columns::Vector)
}

/// A day of the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    /// The date `days` after 1970-01-01, by whole 400-year cycles counted from a first of March,
    /// so that a leap day is the last of its year.
    fn of_day(days: i64) -> Self {
        let days = days + 719_468;
        let (cycle, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day_of_year = day - (365 * year + year / 4 - year / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year + cycle * 400 + i64::from(month <= 2);
        Self { year, month, day: day_of_year - (153 * shifted + 2) / 5 + 1 }
    }

    fn is_leap_year(self) -> bool {
        self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0)
    }

    fn month_len(self) -> i64 {
        match self.month {
            2 if self.is_leap_year() => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    fn day_of_year(self) -> i64 {
        const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let index = usize::try_from(self.month - 1).unwrap_or(0);
        let before = BEFORE.get(index).copied().unwrap_or(0);
        before + self.day + i64::from(self.month > 2 && self.is_leap_year())
    }
}

/// Seconds as a whole number, cut off. What no 64 bits hold, and NaN, is the least number, as
/// where Prometheus runs on x86.
#[expect(clippy::cast_possible_truncation, reason = "the bounds were just checked")]
fn whole_seconds(value: f64) -> i64 {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0; // 2^63
    if (-BEYOND..BEYOND).contains(&value) { value as i64 } else { i64::MIN }
}

/// Go's calendar begins in the year -292,277,022,399. What is before that comes out 2^64 seconds
/// later, which is after all else.
fn day_and_second(seconds: i64) -> (i64, i64) {
    const BEGIN_S: i64 = -9_223_372_028_715_321_600;
    let mut seconds = i128::from(seconds);
    if seconds < i128::from(BEGIN_S) {
        seconds += 1 << 64;
    }
    let (day, second) = (seconds.div_euclid(DAY_S.into()), seconds.rem_euclid(DAY_S.into()));
    // Neither is ever out of bounds: 2^65 seconds are fewer days.
    (i64::try_from(day).unwrap_or(i64::MAX), i64::try_from(second).unwrap_or(0))
}

/// A part of the calendar of each value of the argument, or of the time of the step.
fn part(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
    part: fn(i64, i64) -> i64,
) -> Result<Columns, QueryError> {
    let mut columns = match call.args.first() {
        Some(arg) => evaluator.vector(arg, steps)?,
        None => vec![Column::full(Labels::default(), steps.times().map(seconds).collect())],
    };
    #[expect(clippy::cast_precision_loss, reason = "parts of a date are small")]
    let part = |value| {
        let (day, second) = day_and_second(whole_seconds(value));
        part(day, second) as f64
    };
    let mut pace = evaluator.budget.pace();
    for column in &mut columns {
        column.labels = column.labels.without_metadata();
        column.take_histograms();
        column.map(&mut pace, |_, value| Some(part(value)))?;
    }
    evaluator.merge(columns).map(Columns::Vector)
}

/// The functions of the table: each takes its part of the day, counted from 1970-01-01, and the
/// second within it.
macro_rules! parts {
    ($($name:ident: $part:expr;)*) => {
        $(pub(super) fn $name(
            evaluator: &Evaluator<'_>,
            call: &Call,
            steps: Steps,
        ) -> Result<Columns, QueryError> {
            part(evaluator, call, steps, $part)
        })*
    };
}

parts! {
    minute: |_, second| second % 3_600 / 60;
    hour: |_, second| second / 3_600;
    day_of_week: |day, _| (day + 4).rem_euclid(7);
    day_of_month: |day, _| Date::of_day(day).day;
    day_of_year: |day, _| Date::of_day(day).day_of_year();
    days_in_month: |day, _| Date::of_day(day).month_len();
    month: |day, _| Date::of_day(day).month;
    year: |day, _| Date::of_day(day).year;
}

/// `start()`: where the query begins, in seconds.
pub(super) fn start(
    evaluator: &Evaluator<'_>,
    _: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    of_query(steps, evaluator.bounds.start_ms)
}

/// `end()`: where the query ends.
pub(super) fn end(
    evaluator: &Evaluator<'_>,
    _: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    of_query(steps, evaluator.bounds.end_ms)
}

/// `range()`: how long it is from the begin to the end of the query.
pub(super) fn range(
    evaluator: &Evaluator<'_>,
    _: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    of_query(steps, evaluator.bounds.end_ms - evaluator.bounds.start_ms)
}

/// `step()`: how long it is from one point to the next; nothing for an instant query.
pub(super) fn step(
    evaluator: &Evaluator<'_>,
    _: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    of_query(steps, evaluator.bounds.step_ms)
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of all functions")]
fn of_query(steps: Steps, ms: i64) -> Result<Columns, QueryError> {
    Ok(Columns::Scalar(vec![seconds(ms); steps.len]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn dates_are_those_of_the_calendar(days in -300_000_i64..2_900_000) {
            let date = jiff::civil::date(1970, 1, 1)
                .checked_add(jiff::Span::new().days(days)).unwrap();
            let ours = Date::of_day(days);
            prop_assert_eq!(ours.year, i64::from(date.year()));
            prop_assert_eq!(ours.month, i64::from(date.month()));
            prop_assert_eq!(ours.day, i64::from(date.day()));
            prop_assert_eq!(ours.day_of_year(), i64::from(date.day_of_year()));
            prop_assert_eq!(ours.month_len(), i64::from(date.days_in_month()));
            let weekday = date.weekday().to_sunday_zero_offset();
            prop_assert_eq!((days + 4).rem_euclid(7), i64::from(weekday));
        }
    }

    /// As measured on Prometheus 3.5.
    #[test]
    fn far_values_have_the_dates_that_go_gives_them() {
        let date = |value| {
            let (day, second) = day_and_second(whole_seconds(value));
            let date = Date::of_day(day);
            (date.year, date.month, date.day, second / 3_600)
        };
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, 1e19, -1e19] {
            assert_eq!(date(value), (292_277_026_596, 12, 4, 15), "{value}");
        }
        assert_eq!(date(9e15).0, 285_200_616);
        assert_eq!(date(-62_135_596_801.0), (0, 12, 31, 23));
    }
}
