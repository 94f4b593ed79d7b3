//! The notation of series and their values: `up{job="node"}  1 1x5 0+2x3 _ _x4 stale NaN {{schema:0 …}}`.
//!
//! What is refused is what Prometheus refuses; hexadecimal numbers are, for their `x`.

use std::collections::BTreeSet;
use std::sync::Arc;

use labstat_model::{Histogram, Labels, METRIC_NAME, MatchOp, Matcher, stale_marker};

use super::histograms;

/// Values of one series. A year of minutes has 525,600; more is a typing error.
pub(super) const VALUES_MAX: u64 = 5_000_000;

/// Buckets of all histograms that the steps of one test make, each of its own, with one for the histogram
/// itself. They take some 100 MiB, and as much once more in the memory that is queried.
const STEP_BUCKETS_MAX: u64 = 1_000_000;

/// What the series of one test may still hold, all together.
#[derive(Debug)]
pub(super) struct Room {
    values: u64,
    step_buckets: u64,
}

impl Room {
    /// For so many values.
    pub(super) const fn new(values: u64) -> Self {
        Self { values, step_buckets: STEP_BUCKETS_MAX }
    }

    fn take_steps(&mut self, buckets: u64) -> Result<(), String> {
        let rest = self.step_buckets.checked_sub(buckets);
        self.step_buckets = rest.ok_or_else(|| {
            format!("steps of histograms with more than {STEP_BUCKETS_MAX} buckets in one test")
        })?;
        Ok(())
    }
}

/// What stands between values.
pub(super) const SPACES: [char; 4] = [' ', '\t', '\n', '\r'];

/// A series and its value at each step.
#[derive(Debug, PartialEq)]
pub(super) struct Described {
    pub(super) labels: Labels,
    pub(super) values: Vec<Point>,
}

/// What a series has at one step.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Point {
    Nothing,
    Number(f64),
    Histogram(Arc<Histogram>),
}

/// A series with its values, as far as there is room for them.
pub(super) fn read(text: &str, room: &mut Room) -> Result<Described, String> {
    let text = text.trim_start();
    let (head, rest) = head(text)?;
    Ok(Described { labels: labels(head)?, values: values(rest, room)? })
}

/// Labels as those of a metric: equal signs only, and each name once. A name before the braces
/// wins over one in them.
pub(super) fn labels(text: &str) -> Result<Labels, String> {
    let text = text.trim();
    let (name, braces) = text.split_at(word_len(text, |c| c == ':'));
    let braces = braces.trim_start();
    if name.is_empty() || !braces.starts_with('{') {
        return Ok(made(&pairs(text)?));
    }
    let mut all = pairs(name)?;
    all.extend(pairs(braces)?.into_iter().filter(|(label, _)| label != METRIC_NAME));
    Ok(made(&all))
}

fn made(pairs: &[(String, String)]) -> Labels {
    Labels::new(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

/// What stands between the braces.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let matchers = labstat_promql::any_selector(text).map_err(|error| error.to_string())?;
    if let Some(other) = matchers.iter().find(|matcher| matcher.op() != MatchOp::Equal) {
        return Err(format!("label {:?} of a series has a value, not a pattern", other.name()));
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = matchers.iter().find(|matcher| !names.insert(matcher.name())) {
        return Err(format!("label {:?} is given twice", twice.name()));
    }
    let pair = |matcher: &Matcher| (matcher.name().to_owned(), matcher.value().to_owned());
    Ok(matchers.iter().map(pair).collect())
}

/// Bytes of the word at the start of a text, in which `other` letters may stand too.
fn word_len(text: &str, other: impl Fn(char) -> bool) -> usize {
    text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || other(c))).unwrap_or(text.len())
}

/// The series at the start of `text`, and what follows it.
fn head(text: &str) -> Result<(&str, &str), String> {
    let name = word_len(text, |c| c == ':');
    let body = text.get(name..).unwrap_or_default();
    if !body.starts_with('{') {
        return if name > 0 {
            Ok(text.split_at(name))
        } else {
            Err(format!("no series in {text:?}"))
        };
    }
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(open), '\\') if open != '`' => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '}') => return Ok(text.split_at(name + at + 1)),
            _ => {}
        }
    }
    Err(format!("the labels of {text:?} are not closed"))
}

/// The values of a series, as they follow it.
fn values(text: &str, room: &mut Room) -> Result<Vec<Point>, String> {
    let values_max = room.values.min(VALUES_MAX);
    let mut reader = Notation { rest: text, values: Vec::new(), values_max, room };
    loop {
        let before = reader.rest;
        reader.rest = before.trim_start_matches(SPACES);
        if reader.rest.is_empty() {
            let len = u64::try_from(reader.values.len()).unwrap_or(u64::MAX);
            reader.room.values = reader.room.values.saturating_sub(len);
            return Ok(reader.values);
        }
        if reader.rest.len() == before.len() {
            return Err(reader.unexpected());
        }
        reader.item()?;
    }
}

struct Notation<'a> {
    rest: &'a str,
    values: Vec<Point>,
    values_max: u64,
    room: &'a mut Room,
}

impl Notation<'_> {
    fn unexpected(&self) -> String {
        let start: String = self.rest.chars().take(20).collect();
        format!("unexpected {start:?} in series values")
    }

    fn item(&mut self) -> Result<(), String> {
        if self.rest.starts_with("{{") {
            return self.histogram();
        }
        if let Some(rest) = self.rest.strip_prefix('_') {
            self.rest = rest;
            let times = self.times()?.unwrap_or(1);
            return self.push(times, || Point::Nothing);
        }
        let mut value = match self.rest.strip_prefix("stale") {
            Some(rest) if !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') => {
                self.rest = rest;
                stale_marker()
            }
            _ => self.number()?,
        };
        let step = if self.rest.starts_with(['+', '-']) { Some(self.number()?) } else { None };
        match (self.times()?, step) {
            (None, None) => self.push(1, || Point::Number(value)),
            (None, Some(_)) => Err(self.unexpected()),
            // The first one is not counted. Steps are added up, rounding and all.
            (Some(times), step) => self.push(times + 1, || {
                let point = Point::Number(value);
                if let Some(step) = step {
                    value += step;
                }
                point
            }),
        }
    }

    fn push(&mut self, times: u64, mut point: impl FnMut() -> Point) -> Result<(), String> {
        let len = u64::try_from(self.values.len()).unwrap_or(u64::MAX);
        if len.saturating_add(times) > self.values_max {
            return Err(format!("more than {} values", self.values_max));
        }
        self.values.extend((0..times).map(|_| point()));
        Ok(())
    }

    /// `x5`.
    fn times(&mut self) -> Result<Option<u64>, String> {
        let Some(rest) = self.rest.strip_prefix('x') else { return Ok(None) };
        let len = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, after) = rest.split_at(len);
        let times: u64 = digits
            .parse()
            .map_err(|_| format!("invalid repetition in series values: x{rest:.20}"))?;
        if after.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.')) {
            return Err(self.unexpected());
        }
        self.rest = after;
        // One more is to fit.
        Ok(Some(times.min(VALUES_MAX + 1)))
    }

    /// A number with or without a sign.
    fn number(&mut self) -> Result<f64, String> {
        let (negative, text) = match self.rest.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, self.rest.strip_prefix('+').unwrap_or(self.rest)),
        };
        let (value, after) = unsigned(text)?;
        self.rest = after;
        Ok(if negative { -value } else { value })
    }

    fn histogram(&mut self) -> Result<(), String> {
        let first = self.one_histogram()?;
        let sign = self.rest.chars().next().filter(|c| matches!(c, '+' | '-'));
        let Some(sign) = sign else {
            let times = self.times()?.map_or(1, |times| times + 1);
            return self.push(times, || Point::Histogram(Arc::clone(&first)));
        };
        self.rest = self.rest.get(1..).unwrap_or_default();
        let step = self.one_histogram()?;
        let times = self.times()?.ok_or_else(|| self.unexpected())?;
        // A sum has no bucket and no bound that neither of the two has.
        let len = |one: &Histogram| one.positive.len() + one.negative.len() + one.bounds.len() + 1;
        let buckets = u64::try_from(len(&first) + len(&step)).unwrap_or(u64::MAX);
        self.room.take_steps(times.saturating_mul(buckets))?;
        let mut last = first;
        self.push(1, || Point::Histogram(Arc::clone(&last)))?;
        for _ in 0..times {
            last = histograms::step(&last, &step, sign)?;
            self.push(1, || Point::Histogram(Arc::clone(&last)))?;
        }
        Ok(())
    }

    fn one_histogram(&mut self) -> Result<Arc<Histogram>, String> {
        let body = self.rest.strip_prefix("{{").ok_or_else(|| self.unexpected())?;
        let Some((inner, after)) = body.split_once("}}") else {
            return Err("a histogram's description is not closed with }}".to_owned());
        };
        self.rest = after;
        histograms::read(inner).map(Arc::new)
    }
}

/// The number at the start of a text, and what follows it.
pub(super) fn unsigned(text: &str) -> Result<(f64, &str), String> {
    if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return labstat_promql::series_number(text);
    }
    let (word, after) = text.split_at(word_len(text, |_| false));
    match word.to_ascii_lowercase().as_str() {
        "inf" => Ok((f64::INFINITY, after)),
        "nan" => Ok((f64::NAN, after)),
        _ => Err(format!("{word:?} is not a number")),
    }
}

/// One expected histogram and nothing else.
pub(super) fn one_histogram(text: &str) -> Result<Arc<Histogram>, String> {
    match values(&format!(" {text}"), &mut Room::new(VALUES_MAX))?.as_slice() {
        [Point::Histogram(histogram)] => Ok(Arc::clone(histogram)),
        [_] => Err(format!("expected a histogram, got {text:?}")),
        many => Err(format!("expected 1 value, got {}", many.len())),
    }
}
