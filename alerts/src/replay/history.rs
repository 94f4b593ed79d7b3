//! What an expression gave over a time: asked of the past, or evaluated here where it names what the rules
//! themselves record, which the past may never have had.
//!
//! Here it is evaluated over what was recorded before and the samples that the past has of the rest. That a
//! series ended is not among samples, and is found by what the past sees of it at the same points.

use std::collections::{BTreeMap, BTreeSet};

use labstat_model::{Labels, METRIC_NAME, MatchOp, Matcher, Series, stale_marker};
use labstat_promql::{Engine, Options, Query, QueryOptions, Source, SourceError, Value};

use super::{Past, ReplayError};
use crate::rules::may_select;

/// Points of one question: Prometheus answers at most 11,000 of a series.
const POINTS_MAX: i64 = 2_000;

/// Samples that are recorded and held at a time: 320 MB.
const RECORDED_MAX: usize = 20_000_000;

/// How old a sample may be and still count.
pub(super) const LOOKBACK_MS: i64 = 5 * 60 * 1_000;

/// How far before a part of the time it is asked which series had ended: further back it matters to hardly
/// an expression.
const ENDS_MAX_MS: i64 = 24 * 60 * 60 * 1_000;

/// Points in time, one each step, both ends included where a step falls on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub from_ms: i64,
    /// The last.
    pub to_ms: i64,
    /// From one to the next; above 0.
    pub step_ms: i64,
}

impl Span {
    /// The points of a step from one time, to before another.
    pub(super) fn within(from_ms: i64, before_ms: i64, step_ms: i64) -> Option<Self> {
        let beyond_ms = from_ms.rem_euclid(step_ms);
        let wait_ms = if beyond_ms == 0 { 0 } else { step_ms - beyond_ms };
        let first_ms = from_ms.checked_add(wait_ms)?;
        let last_ms = before_ms.checked_sub(1)?;
        let last_ms = last_ms.checked_sub(last_ms.rem_euclid(step_ms))?;
        (first_ms <= last_ms).then_some(Self { from_ms: first_ms, to_ms: last_ms, step_ms })
    }

    /// The times of its points.
    pub(super) fn times(self) -> impl Iterator<Item = i64> {
        let step = usize::try_from(self.step_ms).unwrap_or(usize::MAX);
        (self.from_ms..=self.to_ms).step_by(step)
    }

    /// The same, so much earlier.
    pub(super) fn earlier(self, by_ms: i64) -> Self {
        let earlier = |time_ms: i64| time_ms.saturating_sub(by_ms);
        Self { from_ms: earlier(self.from_ms), to_ms: earlier(self.to_ms), ..self }
    }

    /// The same, with as many points before it as it takes to go so far back.
    fn with_before(self, before_ms: i64) -> Self {
        let steps = before_ms.max(0).saturating_add(self.step_ms - 1) / self.step_ms;
        let from_ms = self.from_ms.saturating_sub(steps.saturating_mul(self.step_ms));
        Self { from_ms, ..self }
    }

    /// In parts that are answered at once.
    pub(super) fn parts(self) -> impl Iterator<Item = Self> {
        let (len_ms, step_ms) = (self.step_ms.saturating_mul(POINTS_MAX), self.step_ms);
        let mut next_ms = Some(self.from_ms);
        std::iter::from_fn(move || {
            let from_ms = next_ms.filter(|from_ms| *from_ms <= self.to_ms)?;
            next_ms = from_ms.checked_add(len_ms);
            let to_ms = next_ms.map_or(self.to_ms, |next_ms| self.to_ms.min(next_ms - step_ms));
            Some(Self { from_ms, to_ms, step_ms })
        })
    }
}

/// The past, and what is recorded beside it.
pub(super) struct History<'a, 'p, P> {
    past: &'p P,
    engine: Engine,
    /// The names of the metrics that are recorded here, each with how far back it is read.
    reaches_ms: BTreeMap<&'a str, i64>,
    recorded: Recorded<'a>,
}

/// What each rule has recorded, by its place.
#[derive(Debug, Default)]
struct Recorded<'a>(BTreeMap<usize, (&'a str, BTreeMap<Labels, Series>)>);

/// What is evaluated over here.
struct Here<'a> {
    recorded: &'a Recorded<'a>,
    fetched: Vec<Series>,
}

impl<'a, 'p, P: Past> History<'a, 'p, P> {
    pub(super) fn new(past: &'p P, reaches_ms: BTreeMap<&'a str, i64>) -> Self {
        let engine = Engine::new(Options::default());
        Self { past, engine, reaches_ms, recorded: Recorded::default() }
    }

    /// What a query gave at the points of a part.
    pub(super) async fn range(
        &self,
        query: &Query,
        part: Span,
    ) -> Result<Vec<Series>, ReplayError<P::Error>> {
        let checked = query.checked()?;
        if checked.is_pinned {
            return Err(ReplayError::Pinned);
        }
        let is_here =
            |matchers: &Vec<Matcher>| self.reaches_ms.keys().any(|name| may_select(matchers, name));
        if !checked.selectors.iter().any(is_here) {
            return self.asked(query.text(), part).await;
        }
        if checked.ahead_ms > 0 {
            return Err(ReplayError::Ahead);
        }
        let fetched = self.fetch(&checked.selectors, checked.reach_ms, part).await?;
        self.evaluate(query, fetched, part)
    }

    /// What the past says that an expression gave.
    async fn asked(&self, expr: &str, part: Span) -> Result<Vec<Series>, ReplayError<P::Error>> {
        let mut found = self.past.range(expr, part).await.map_err(ReplayError::Past)?;
        found.iter_mut().for_each(|series| make_sound(series, (part.from_ms, part.to_ms)));
        Ok(found)
    }

    /// The samples that a query reads of the past, with marks where a series had ended.
    async fn fetch(
        &self,
        selectors: &[Vec<Matcher>],
        reach_ms: i64,
        part: Span,
    ) -> Result<Vec<Series>, ReplayError<P::Error>> {
        let reach_ms = reach_ms.saturating_add(LOOKBACK_MS);
        let ends_ms = (part.from_ms.saturating_sub(reach_ms), part.to_ms);
        let mut fetched = BTreeMap::new();
        for matchers in selectors {
            let name =
                matchers.iter().find(|m| m.name() == METRIC_NAME && m.op() == MatchOp::Equal);
            if name.is_some_and(|name| self.reaches_ms.contains_key(name.value())) {
                continue;
            }
            let text = selector(matchers);
            let mut seen: BTreeMap<Labels, BTreeSet<i64>> = BTreeMap::new();
            let looked = part.with_before(reach_ms.min(ENDS_MAX_MS));
            for looked in looked.parts() {
                for series in self.asked(&text, looked).await? {
                    seen.entry(series.labels).or_default().extend(series.times);
                }
            }
            let samples = self.past.samples(&text, ends_ms).await.map_err(ReplayError::Past)?;
            for mut series in samples {
                // What is recorded here is not taken from there.
                if self.reaches_ms.contains_key(series.labels.metric_name()) {
                    continue;
                }
                make_sound(&mut series, ends_ms);
                let seen = seen.remove(&series.labels).unwrap_or_default();
                let series = with_ends(&series, &seen, looked);
                fetched.insert(series.labels.clone(), series);
            }
        }
        Ok(fetched.into_values().collect())
    }

    fn evaluate(
        &self,
        query: &Query,
        fetched: Vec<Series>,
        Span { from_ms, to_ms, step_ms }: Span,
    ) -> Result<Vec<Series>, ReplayError<P::Error>> {
        let here = Here { recorded: &self.recorded, fetched };
        let options = QueryOptions::default();
        let answer = self.engine.range_of(&here, query, (from_ms, to_ms, step_ms), &options)?;
        match answer.value {
            Value::Matrix(series) => Ok(series),
            _ => Err(ReplayError::Histograms),
        }
    }

    /// Keeps what the recording rule at a place gave at the points of a part, which follow those before.
    pub(super) fn record(
        &mut self,
        (at, name): (usize, &'a str),
        labels: &[(String, String)],
        found: Vec<Series>,
        part: Span,
    ) -> Result<(), ReplayError<P::Error>> {
        let mut new = BTreeMap::new();
        for one in found {
            let own = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let labels = Labels::new(one.labels.iter().chain(own).chain([(METRIC_NAME, name)]));
            if new.insert(labels, one).is_some() {
                return Err(ReplayError::SameLabels);
            }
        }
        let (_, recorded) = self.recorded.0.entry(at).or_insert_with(|| (name, BTreeMap::new()));
        for (labels, points) in new {
            let series = recorded.entry(labels.clone()).or_insert_with(|| Series::new(labels));
            for sample in points.samples() {
                end(series, sample.time_ms, part.step_ms);
                series.push(sample.time_ms, sample.value);
            }
        }
        let next_ms = part.to_ms.saturating_add(part.step_ms);
        recorded.values_mut().for_each(|series| end(series, next_ms, part.step_ms));
        if self.recorded.len() > RECORDED_MAX { Err(ReplayError::TooMuch) } else { Ok(()) }
    }

    /// Lets go of what nobody reads any more at a time and after it.
    pub(super) fn forget(&mut self, now_ms: i64) {
        for (name, recorded) in self.recorded.0.values_mut() {
            let reach_ms = self.reaches_ms.get(name).copied().unwrap_or(0);
            let before_ms = now_ms.saturating_sub(reach_ms);
            recorded.retain(|_, series| {
                let old = series.times.partition_point(|time_ms| *time_ms < before_ms);
                series.times.drain(..old);
                series.values.drain(..old);
                !series.times.is_empty()
            });
        }
    }
}

impl Recorded<'_> {
    fn len(&self) -> usize {
        let series = self.0.values().flat_map(|(_, recorded)| recorded.values());
        series.map(|series| series.times.len()).sum()
    }
}

impl Source for Here<'_> {
    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, SourceError> {
        let named = self.recorded.0.values().filter(|(name, _)| may_select(matchers, name));
        let all = named.flat_map(|(_, recorded)| recorded.values()).chain(&self.fetched);
        let mut found: BTreeMap<&Labels, Series> = BTreeMap::new();
        for series in all.filter(|it| matchers.iter().all(|m| m.matches_labels(&it.labels))) {
            let Some(part) = cut(series, start_ms, end_ms) else { continue };
            match found.remove(&series.labels) {
                // Two rules record it.
                Some(other) => found.insert(&series.labels, merged(&other, &part)),
                None => found.insert(&series.labels, part),
            };
        }
        Ok(found.into_values().collect())
    }
}

/// The samples of a series from one time to another, both included.
fn cut(series: &Series, start_ms: i64, end_ms: i64) -> Option<Series> {
    let start = series.times.partition_point(|time_ms| *time_ms < start_ms);
    let end = series.times.partition_point(|time_ms| *time_ms <= end_ms);
    let times = series.times.get(start..end).filter(|times| !times.is_empty())?;
    let values = series.values.get(start..end)?;
    let mut part = Series::new(series.labels.clone());
    part.times.extend_from_slice(times);
    part.values.extend_from_slice(values);
    Some(part)
}

/// One series of two with the same labels: of two samples of a time that which is no mark, and the first.
fn merged(one: &Series, other: &Series) -> Series {
    let mut samples = BTreeMap::new();
    for sample in one.samples().chain(other.samples()) {
        let known = samples.entry(sample.time_ms).or_insert(sample.value);
        if is_mark(*known) {
            *known = sample.value;
        }
    }
    let mut series = Series::new(one.labels.clone());
    samples.into_iter().for_each(|(time_ms, value)| series.push(time_ms, value));
    series
}

/// Leaves out what does not ascend or was not asked for: who knows the past may be anybody.
fn make_sound(series: &mut Series, (start_ms, end_ms): (i64, i64)) {
    let mut sound = Series::new(series.labels.clone());
    for sample in series.samples() {
        let is_later = sound.times.last().is_none_or(|last_ms| *last_ms < sample.time_ms);
        if is_later && (start_ms..=end_ms).contains(&sample.time_ms) {
            sound.push(sample.time_ms, sample.value);
        }
    }
    *series = sound;
}

/// A series with a mark after each sample that was not seen at a point although it was young enough.
fn with_ends(series: &Series, seen: &BTreeSet<i64>, looked: Span) -> Series {
    let mut ended_ms: BTreeSet<i64> = BTreeSet::new();
    for time_ms in looked.times().filter(|time_ms| !seen.contains(time_ms)) {
        let before = series.times.partition_point(|at_ms| *at_ms <= time_ms).checked_sub(1);
        let last_ms = before.and_then(|at| series.times.get(at)).copied();
        ended_ms.extend(last_ms.filter(|last_ms| time_ms - last_ms < LOOKBACK_MS));
    }
    let mut marked = Series::new(series.labels.clone());
    let mut samples = series.samples().peekable();
    while let Some(sample) = samples.next() {
        marked.push(sample.time_ms, sample.value);
        let mark_ms = sample.time_ms + 1;
        let has_room = samples.peek().is_none_or(|next| next.time_ms > mark_ms);
        if has_room && ended_ms.contains(&sample.time_ms) {
            marked.push(mark_ms, stale_marker());
        }
    }
    marked
}

/// Marks a series as ended after its last sample, where that is more than a step before `time_ms`.
fn end(series: &mut Series, time_ms: i64, step_ms: i64) {
    let is_ended = series.values.last().is_none_or(|last| is_mark(*last));
    let last_ms = series.times.last().copied().filter(|_| !is_ended);
    if let Some(last_ms) = last_ms.filter(|last_ms| time_ms - last_ms > step_ms) {
        series.push(last_ms + step_ms, stale_marker());
    }
}

fn is_mark(value: f64) -> bool {
    value.to_bits() == stale_marker().to_bits()
}

/// A selector as PromQL has it. JSON's strings are among those of PromQL.
fn selector(matchers: &[Matcher]) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let is_plain = |name: &str| {
        let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
        name.starts_with(is_letter) && name.chars().all(|c| is_letter(c) || c.is_ascii_digit())
    };
    let one = |matcher: &Matcher| {
        let op = match matcher.op() {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        let name = matcher.name();
        let name = if is_plain(name) { name.to_owned() } else { quoted(name) };
        format!("{name}{op}{}", quoted(matcher.value()))
    };
    format!("{{{}}}", matchers.iter().map(one).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_read_as_it_was() {
        for text in [
            "a",
            "a{b='c',d!='\"\\\\\\n\u{e4}',e=~'x.*|y',f!~'z'}",
            "{'a.b'='c','0'='d',__name__=~'x.+'}",
        ] {
            let matchers = labstat_promql::selector(text).unwrap();
            let again = labstat_promql::selector(&selector(&matchers)).unwrap();
            assert_eq!(again, matchers, "{text}");
        }
    }

    #[test]
    fn a_span_is_cut_into_parts_that_touch() {
        let span = Span::within(-7, 100_001, 10).unwrap();
        assert_eq!(span, Span { from_ms: 0, to_ms: 100_000, step_ms: 10 });
        let parts: Vec<Span> = span.parts().collect();
        assert_eq!(parts.len(), 6, "of 2,000 points, the last of one");
        let times: Vec<i64> = parts.iter().flat_map(|part| part.times()).collect();
        assert_eq!(times, span.times().collect::<Vec<_>>());
        assert_eq!(Span::within(1, 10, 10), None);
        assert_eq!(Span::within(i64::MIN, i64::MIN, 10), None);
        let last = Span { from_ms: i64::MAX - 5, to_ms: i64::MAX, step_ms: 5 };
        assert_eq!(last.parts().collect::<Vec<_>>(), [last]);
    }

    #[test]
    fn marks_stand_where_a_young_sample_is_not_seen() {
        let mut series = Series::new(Labels::new([("a", "b")]));
        [0, 60_000, 120_000, 600_000].iter().for_each(|time_ms| series.push(*time_ms, 1.0));
        let looked = Span { from_ms: 0, to_ms: 660_000, step_ms: 60_000 };
        let marks = |seen: &[i64]| -> Vec<i64> {
            let marked = with_ends(&series, &seen.iter().copied().collect(), looked);
            marked.samples().filter(|it| is_mark(it.value)).map(|it| it.time_ms).collect()
        };
        // Seen for five minutes after each sample: nothing had ended.
        assert!(
            marks(&[0, 60_000, 120_000, 180_000, 240_000, 300_000, 360_000, 600_000, 660_000])
                .is_empty()
        );
        assert_eq!(marks(&[0, 60_000, 120_000, 600_000]), [120_001, 600_001]);
    }
}
