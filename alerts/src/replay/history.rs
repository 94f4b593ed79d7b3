//! What an expression gave over a time: asked of the past, or evaluated here where it names what the rules
//! themselves record, which the past may never have had.
//!
//! Here it is evaluated over what was recorded before and the samples that the past has of the rest.

use std::collections::{BTreeMap, BTreeSet};

use labstat_model::{Labels, METRIC_NAME, MatchOp, Matcher, Series, stale_marker};
use labstat_promql::{Engine, Options, Query, QueryOptions, Source, SourceError, Value};

use super::{Past, ReplayError};
use crate::rules::may_select;

/// Points of one question: Prometheus answers at most 11,000 of a series.
const POINTS_MAX: i64 = 2_000;

/// How old a sample may be and still count.
pub(super) const LOOKBACK_MS: i64 = 5 * 60 * 1_000;

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

/// The past, and what is recorded beside it.
pub(super) struct History<'a, P> {
    past: &'a P,
    engine: Engine,
    /// Names of the metrics that are recorded here.
    names: BTreeSet<&'a str>,
    recorded: Recorded,
}

/// Series by the name of their metric.
#[derive(Debug, Default)]
struct Recorded(BTreeMap<String, BTreeMap<Labels, Series>>);

/// What is evaluated over here.
struct Here<'a> {
    recorded: &'a Recorded,
    fetched: Vec<Series>,
}

impl Span {
    /// The points of a step from one time, to before another.
    pub(super) fn within(from_ms: i64, before_ms: i64, step_ms: i64) -> Option<Self> {
        let first_ms = from_ms + (-from_ms).rem_euclid(step_ms);
        let last_ms = before_ms - 1 - (before_ms - 1).rem_euclid(step_ms);
        (first_ms <= last_ms).then_some(Self { from_ms: first_ms, to_ms: last_ms, step_ms })
    }

    /// The times of its points.
    pub(super) fn times(self) -> impl Iterator<Item = i64> {
        let step = usize::try_from(self.step_ms).unwrap_or(usize::MAX);
        (self.from_ms..=self.to_ms).step_by(step)
    }

    /// The same, so much earlier.
    pub(super) fn earlier(self, by_ms: i64) -> Self {
        Self { from_ms: self.from_ms - by_ms, to_ms: self.to_ms - by_ms, ..self }
    }

    /// In parts that a server answers.
    fn parts(self) -> impl Iterator<Item = Self> {
        let (len_ms, step_ms) = (self.step_ms.saturating_mul(POINTS_MAX), self.step_ms);
        let mut next_ms = self.from_ms;
        std::iter::from_fn(move || {
            let from_ms = next_ms;
            next_ms = from_ms.saturating_add(len_ms);
            let to_ms = (next_ms - step_ms).min(self.to_ms);
            (from_ms <= self.to_ms).then_some(Self { from_ms, to_ms, step_ms })
        })
    }
}

impl<'a, P: Past> History<'a, P> {
    pub(super) fn new(past: &'a P, names: BTreeSet<&'a str>) -> Self {
        let engine = Engine::new(Options::default());
        Self { past, engine, names, recorded: Recorded::default() }
    }

    /// What a query gave at these points.
    pub(super) async fn range(
        &self,
        query: &Query,
        span: Span,
    ) -> Result<Vec<Series>, ReplayError<P::Error>> {
        let checked = query.checked()?;
        let is_here =
            |matchers: &Vec<Matcher>| self.names.iter().any(|name| may_select(matchers, name));
        let is_here = checked.selectors.iter().any(is_here);
        let mut found = Vec::new();
        for part in span.parts() {
            if is_here {
                let fetched = self.fetch(&checked.selectors, checked.reach_ms, part).await?;
                found.extend(self.evaluate(query, fetched, part)?);
            } else {
                let answer = self.past.range(query.text(), part).await;
                found.extend(answer.map_err(ReplayError::Past)?);
            }
        }
        Ok(found)
    }

    /// The samples that a query reads of the past.
    async fn fetch(
        &self,
        selectors: &[Vec<Matcher>],
        reach_ms: i64,
        part: Span,
    ) -> Result<Vec<Series>, ReplayError<P::Error>> {
        let from_ms = part.from_ms.saturating_sub(reach_ms.saturating_add(LOOKBACK_MS));
        let mut fetched = BTreeMap::new();
        for matchers in selectors {
            let name =
                matchers.iter().find(|m| m.name() == METRIC_NAME && m.op() == MatchOp::Equal);
            if name.is_some_and(|name| self.names.contains(name.value())) {
                continue;
            }
            let found = self.past.samples(matchers, (from_ms, part.to_ms)).await;
            // What is recorded here is not taken from there.
            let found = found.map_err(ReplayError::Past)?.into_iter();
            let others = found.filter(|one| !self.names.contains(one.labels.metric_name()));
            fetched.extend(others.map(|series| (series.labels.clone(), series)));
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

    /// Keeps what a recording rule gave at these points.
    pub(super) fn record(
        &mut self,
        name: &str,
        labels: &[(String, String)],
        found: &[Series],
        span: Span,
    ) {
        let recorded = self.recorded.0.entry(name.to_owned()).or_default();
        for one in found {
            let own = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let labels = Labels::new(one.labels.iter().chain(own).chain([(METRIC_NAME, name)]));
            let series =
                recorded.entry(labels.clone()).or_insert_with(|| Series::new(labels.clone()));
            append(series, one, span);
        }
    }

    /// Lets go of what was recorded before a time.
    pub(super) fn forget(&mut self, before_ms: i64) {
        for recorded in self.recorded.0.values_mut() {
            recorded.retain(|_, series| {
                let old = series.times.partition_point(|time_ms| *time_ms < before_ms);
                series.times.drain(..old);
                series.values.drain(..old);
                !series.times.is_empty()
            });
        }
    }
}

/// Adds points of a rule that was evaluated at all of `span`; where there is none, what was is gone.
fn append(series: &mut Series, points: &Series, span: Span) {
    for sample in points.samples() {
        end(series, sample.time_ms, span.step_ms);
        series.push(sample.time_ms, sample.value);
    }
    end(series, span.to_ms.saturating_add(span.step_ms), span.step_ms);
}

/// Marks a series as gone after its last sample, where that is more than a step before `time_ms`.
fn end(series: &mut Series, time_ms: i64, step_ms: i64) {
    let last_ms = series.times.last().copied();
    let is_gone =
        series.values.last().is_some_and(|last| last.to_bits() == stale_marker().to_bits());
    if let Some(last_ms) = last_ms.filter(|last_ms| !is_gone && time_ms - last_ms > step_ms) {
        series.push(last_ms + step_ms, stale_marker());
    }
}

impl Source for Here<'_> {
    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, SourceError> {
        let recorded = self.recorded.0.values().flat_map(BTreeMap::values);
        let all = recorded.chain(&self.fetched);
        let mut found: Vec<Series> = all
            .filter(|series| matchers.iter().all(|m| m.matches_labels(&series.labels)))
            .filter_map(|series| cut(series, start_ms, end_ms))
            .collect();
        found.sort_by(|one, other| one.labels.cmp(&other.labels));
        Ok(found)
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
