//! Functions over ranges that have native histograms, alone or beside numbers.
//!
//! A window without any is computed as ever; here is what the others give, in Prometheus' words
//! where it has something to say.

use std::sync::Arc;

use labstat_model::{Histogram, ResetHint};

use super::over_time::{in_seconds, number};
use super::rate::{Spread, Want, seconds};
use crate::histogram::{
    Incompatible, add, compact, divide, equal, is_reset, multiply, subtract, to_schema,
};

/// The samples of a range: at least one histogram.
#[derive(Debug)]
pub(crate) struct Mixture<'w> {
    /// The metric's name, for remarks.
    pub(crate) name: &'w str,
    pub(crate) number_times: &'w [i64],
    pub(crate) numbers: &'w [f64],
    pub(crate) times: &'w [i64],
    pub(crate) histograms: &'w [Arc<Histogram>],
    /// From where to where the range goes.
    pub(crate) edges_ms: (i64, i64),
}

/// What a function gives for it.
#[derive(Debug)]
pub(crate) enum Given {
    Nothing,
    /// What it gives for the numbers alone.
    OfNumbers,
    Number(f64),
    Histogram(Histogram),
}

/// Something to say of a result.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Warning(String),
    Info(String),
}

type Remarks = Vec<Said>;

/// What a function gives for a range that has histograms.
pub(crate) type OfMixture = fn(&Mixture<'_>, &mut Remarks) -> Given;

/// How the function of this name is computed.
pub(crate) fn find(name: &str) -> OfMixture {
    match name {
        "rate" => |range, remarks| extrapolated(range, Want::Rate, remarks),
        "increase" => |range, remarks| extrapolated(range, Want::Increase, remarks),
        "delta" => |range, remarks| extrapolated(range, Want::Delta, remarks),
        "irate" => |range, remarks| of_last_two(range, true, remarks),
        "idelta" => |range, remarks| of_last_two(range, false, remarks),
        "sum_over_time" => |range, remarks| folded(range, remarks, sum),
        "avg_over_time" => |range, remarks| folded(range, remarks, average),
        "count_over_time" => {
            |range, _| Given::Number(number(range.numbers.len() + range.histograms.len()))
        }
        "present_over_time" | "absent_over_time" => |_, _| Given::Number(1.0),
        "first_over_time" => |range, _| {
            let is_first =
                range.number_times.first().is_none_or(|time| range.times.first() < Some(time));
            one_of(is_first, range.histograms.first())
        },
        "last_over_time" => |range, _| {
            let is_last =
                range.number_times.last().is_none_or(|time| range.times.last() > Some(time));
            one_of(is_last, range.histograms.last())
        },
        "ts_of_first_over_time" => |range, _| time(range.samples().next()),
        "ts_of_last_over_time" => |range, _| time(range.samples().last()),
        "changes" => {
            |range, _| Given::Number(number(range.pairs().filter(|(a, b)| differ(a, b)).count()))
        }
        "resets" => {
            |range, _| Given::Number(number(range.pairs().filter(|(a, b)| resets(a, b)).count()))
        }
        // All others are about numbers and nothing else.
        _ => of_numbers,
    }
}

/// A sample of either kind.
#[derive(Debug, Clone, Copy)]
enum Sample<'w> {
    Number(f64),
    Histogram(&'w Histogram),
}

impl<'w> Mixture<'w> {
    /// All samples in order of time.
    fn samples(&self) -> impl Iterator<Item = (i64, Sample<'w>)> {
        let numbers = self.number_times.iter().zip(self.numbers);
        let mut numbers = numbers.map(|(time, value)| (*time, Sample::Number(*value))).peekable();
        let histograms = self.times.iter().zip(self.histograms);
        let mut histograms =
            histograms.map(|(time, histogram)| (*time, Sample::Histogram(histogram))).peekable();
        std::iter::from_fn(move || match (numbers.peek(), histograms.peek()) {
            (Some((number, _)), Some((histogram, _))) if histogram < number => histograms.next(),
            (Some(_), _) => numbers.next(),
            (None, _) => histograms.next(),
        })
    }

    fn pairs(&self) -> impl Iterator<Item = (Sample<'w>, Sample<'w>)> {
        let later = self.samples().skip(1).map(|(_, sample)| sample);
        self.samples().map(|(_, sample)| sample).zip(later)
    }

    fn is_mixed(&self) -> bool {
        !self.numbers.is_empty() && !self.histograms.is_empty()
    }

    fn mixed(&self) -> Said {
        let message = "encountered a mix of histograms and floats for metric name";
        Said::Warning(format!("{message} {:?}", self.name))
    }

    fn incompatible(&self, why: Incompatible) -> Said {
        Said::Warning(incompatible(why, self.name))
    }
}

/// What Prometheus says of histograms that cannot be added.
pub(crate) fn incompatible(why: Incompatible, name: &str) -> String {
    let message = match why {
        Incompatible::Schemas => {
            "vector contains a mix of histograms with exponential and custom buckets schemas for \
             metric name"
        }
        Incompatible::Bounds => {
            "vector contains histograms with incompatible custom buckets for metric name"
        }
    };
    format!("{message} {name:?}")
}

fn of_numbers(range: &Mixture<'_>, remarks: &mut Remarks) -> Given {
    if !range.numbers.is_empty() {
        let message = "ignored histograms in a range containing both floats and histograms for \
                       metric name";
        remarks.push(Said::Info(format!("{message} {:?}", range.name)));
    }
    Given::OfNumbers
}

fn one_of(is_histogram: bool, histogram: Option<&Arc<Histogram>>) -> Given {
    match histogram.filter(|_| is_histogram) {
        Some(histogram) => Given::Histogram(Histogram::clone(histogram)),
        None => Given::OfNumbers,
    }
}

fn time(sample: Option<(i64, Sample<'_>)>) -> Given {
    sample.map_or(Given::Nothing, |(time_ms, _)| Given::Number(in_seconds(time_ms)))
}

fn differ(before: &Sample<'_>, now: &Sample<'_>) -> bool {
    match (before, now) {
        (Sample::Number(a), Sample::Number(b)) => a != b && !(a.is_nan() && b.is_nan()),
        (Sample::Histogram(a), Sample::Histogram(b)) => !equal(a, b),
        _ => true,
    }
}

fn resets(before: &Sample<'_>, now: &Sample<'_>) -> bool {
    match (before, now) {
        (Sample::Number(before), Sample::Number(now)) => now < before,
        (Sample::Histogram(before), Sample::Histogram(now)) => is_reset(now, before),
        _ => true,
    }
}

type Fold = fn(&[Arc<Histogram>]) -> Result<Histogram, Incompatible>;

fn folded(range: &Mixture<'_>, remarks: &mut Remarks, fold: Fold) -> Given {
    if range.is_mixed() {
        remarks.push(range.mixed());
        return Given::Nothing;
    }
    match fold(range.histograms) {
        Ok(histogram) => Given::Histogram(histogram),
        Err(why) => {
            remarks.push(range.incompatible(why));
            Given::Nothing
        }
    }
}

fn sum(histograms: &[Arc<Histogram>]) -> Result<Histogram, Incompatible> {
    let [first, rest @ ..] = histograms else { return Ok(Histogram::default()) };
    let mut sum = Histogram::clone(first);
    rest.iter().try_for_each(|histogram| add(&mut sum, histogram))?;
    Ok(sum)
}

fn average(histograms: &[Arc<Histogram>]) -> Result<Histogram, Incompatible> {
    let [first, rest @ ..] = histograms else { return Ok(Histogram::default()) };
    let (mut mean, mut count) = (Histogram::clone(first), 1.0);
    for histogram in rest {
        count += 1.0;
        add_to_mean(&mut mean, histogram, count)?;
    }
    Ok(mean)
}

/// Moves a mean towards the histogram with which it is that of `count`.
pub(crate) fn add_to_mean(
    mean: &mut Histogram,
    histogram: &Histogram,
    count: f64,
) -> Result<(), Incompatible> {
    let (mut share, mut known) = (histogram.clone(), mean.clone());
    divide(&mut share, count);
    divide(&mut known, count);
    subtract(&mut share, &known)?;
    add(mean, &share)
}

fn note_counters(
    range: &Mixture<'_>,
    histograms: &[&Histogram],
    is_counter: bool,
    remarks: &mut Remarks,
) {
    let is_gauge = |histogram: &&Histogram| histogram.hint == ResetHint::Gauge;
    let name = range.name;
    if is_counter && histograms.iter().any(is_gauge) {
        let message = "this native histogram metric is not a counter:";
        remarks.push(Said::Warning(format!("{message} {name:?}")));
    }
    if !is_counter && !histograms.iter().all(is_gauge) {
        let message = "this native histogram metric is not a gauge:";
        remarks.push(Said::Warning(format!("{message} {name:?}")));
    }
}

/// The difference of the last two samples, by the second when it is that of a counter.
fn of_last_two(range: &Mixture<'_>, is_counter: bool, remarks: &mut Remarks) -> Given {
    let mut last = None;
    for (before, now) in range.samples().zip(range.samples().skip(1)) {
        last = Some((before, now));
    }
    let Some(((before_ms, before), (now_ms, now))) = last.filter(|((a, _), (b, _))| a != b) else {
        return Given::Nothing;
    };
    let (before, now) = match (before, now) {
        (Sample::Histogram(before), Sample::Histogram(now)) => (before, now),
        (Sample::Number(_), Sample::Number(_)) => return Given::OfNumbers,
        _ => {
            remarks.push(range.mixed());
            return Given::Nothing;
        }
    };
    note_counters(range, &[before, now], is_counter, remarks);
    let mut result = now.clone();
    if !(is_counter && is_reset(now, before))
        && let Err(why) = subtract(&mut result, before)
    {
        remarks.push(range.incompatible(why));
        return Given::Nothing;
    }
    result.hint = ResetHint::Gauge;
    compact(&mut result);
    if is_counter {
        divide(&mut result, seconds(now_ms - before_ms));
    }
    Given::Histogram(result)
}

/// How the histograms grew over the range, as that is told of numbers.
fn extrapolated(range: &Mixture<'_>, want: Want, remarks: &mut Remarks) -> Given {
    if range.is_mixed() {
        remarks.push(range.mixed());
        return Given::Nothing;
    }
    let ([first, .., last], [first_ms, .., last_ms]) = (range.histograms, range.times) else {
        return Given::Nothing;
    };
    note_counters_of_all(range, first, last, want, remarks);
    let mut result = match growth(range.histograms, want) {
        Ok(result) => result,
        Err(why) => {
            remarks.push(range.incompatible(why));
            return Given::Nothing;
        }
    };
    let samples = (*first_ms, *last_ms, range.histograms.len());
    let (start_ms, end_ms) = range.edges_ms;
    // Where a histogram would have been zero is not asked, unlike of numbers.
    let mut factor = Spread::of(samples, range.edges_ms).stretch(f64::INFINITY);
    if want == Want::Rate {
        factor /= seconds(end_ms - start_ms);
    }
    multiply(&mut result, factor);
    Given::Histogram(result)
}

/// A counter must be one throughout, a gauge at both ends.
fn note_counters_of_all(
    range: &Mixture<'_>,
    first: &Histogram,
    last: &Histogram,
    want: Want,
    remarks: &mut Remarks,
) {
    if want == Want::Delta {
        note_counters(range, &[first, last], false, remarks);
    } else {
        let all: Vec<&Histogram> = range.histograms.iter().map(|histogram| &**histogram).collect();
        note_counters(range, &all, true, remarks);
    }
}

/// From the first histogram to the last one, over the resets of a counter.
fn growth(histograms: &[Arc<Histogram>], want: Want) -> Result<Histogram, Incompatible> {
    let [first, .., last] = histograms else { return Ok(Histogram::default()) };
    let is_counter = want != Want::Delta;
    // What is before a reset right after it is not looked at, whatever its buckets are.
    let second = histograms.get(1).filter(|second| is_counter && is_reset(second, first));
    let nothing = second.map(|second| {
        let (schema, bounds) = (second.schema, Arc::clone(&second.bounds));
        Arc::new(Histogram { schema, bounds, ..Histogram::default() })
    });
    let before = nothing.as_ref().unwrap_or(first);
    let is_custom = before.is_custom();
    if last.is_custom() != is_custom {
        return Err(Incompatible::Schemas);
    }
    let mut schema = before.schema.min(last.schema);
    if is_counter {
        let between = histograms.get(1..histograms.len() - 1).unwrap_or_default();
        for histogram in between {
            if histogram.is_custom() != is_custom {
                return Err(Incompatible::Schemas);
            }
            schema = schema.min(histogram.schema);
        }
    }
    let mut result = to_schema(last, schema);
    subtract(&mut result, before)?;
    if is_counter {
        let mut before = before;
        for histogram in histograms.iter().skip(1) {
            if is_reset(histogram, before) {
                add(&mut result, before)?;
            }
            before = histogram;
        }
    }
    result.hint = ResetHint::Gauge;
    compact(&mut result);
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(count: f64) -> Arc<Histogram> {
        Arc::new(Histogram { count, sum: count, zero_count: count, ..Histogram::default() })
    }

    fn ask(name: &str, numbers: &[(i64, f64)], histograms: &[(i64, f64)]) -> (Given, Vec<Said>) {
        let (number_times, numbers): (Vec<i64>, Vec<f64>) = numbers.iter().copied().unzip();
        let (times, histograms): (Vec<i64>, Vec<_>) =
            histograms.iter().map(|(time, count)| (*time, histogram(*count))).unzip();
        let mixture = Mixture {
            name: "m",
            number_times: &number_times,
            numbers: &numbers,
            times: &times,
            histograms: &histograms,
            edges_ms: (0, 100_000),
        };
        let mut remarks = Vec::new();
        let given = find(name)(&mixture, &mut remarks);
        (given, remarks)
    }

    fn count(given: &Given) -> f64 {
        match given {
            Given::Histogram(histogram) => histogram.count,
            Given::Number(number) => *number,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn counters_grow_over_resets() {
        let samples = [(10_000, 1.0), (50_000, 5.0), (90_000, 2.0)];
        let (given, remarks) = ask("increase", &[], &samples);
        // From 1 to 5 and from 0 to 2 are 6 in 80 s, stretched by both ends of 10 s.
        assert_eq!(count(&given), 6.0 * 100.0 / 80.0);
        assert!(remarks.is_empty());
        let rate = count(&ask("rate", &[], &samples).0);
        assert!((rate - 6.0 / 80.0).abs() < 1e-12);
        assert_eq!(count(&ask("irate", &[], &samples).0), 2.0 / 40.0);
        assert_eq!(count(&ask("resets", &[], &samples).0), 1.0);
        assert_eq!(count(&ask("changes", &[], &samples).0), 2.0);
        assert_eq!(count(&ask("sum_over_time", &[], &samples).0), 8.0);
        let mean = count(&ask("avg_over_time", &[], &samples).0);
        assert!((mean - 8.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn mixtures_are_told_of() {
        let (given, remarks) = ask("rate", &[(20_000, 1.0)], &[(10_000, 1.0), (50_000, 5.0)]);
        assert!(matches!(given, Given::Nothing));
        let message = "encountered a mix of histograms and floats for metric name \"m\"";
        assert_eq!(remarks, [Said::Warning(message.to_owned())]);
        let (given, remarks) = ask("max_over_time", &[(20_000, 1.0)], &[(10_000, 1.0)]);
        assert!(matches!(given, Given::OfNumbers));
        assert!(matches!(remarks.as_slice(), [Said::Info(_)]));
        let both = ask("count_over_time", &[(20_000, 1.0)], &[(10_000, 1.0)]).0;
        assert_eq!(count(&both), 2.0);
        let last = ask("last_over_time", &[(20_000, 1.0)], &[(30_000, 7.0)]).0;
        assert_eq!(count(&last), 7.0);
        assert!(matches!(
            ask("last_over_time", &[(40_000, 1.0)], &[(30_000, 7.0)]).0,
            Given::OfNumbers
        ));
    }
}
