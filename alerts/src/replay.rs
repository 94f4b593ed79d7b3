//! When rules would have fired, by what is known of the past.
//!
//! Whoever knows the past ([`Past`], a server) evaluates each alert's expression over the time, at the
//! group's interval, in parts that it and we hold easily; what waits, keeps firing and is kept is applied
//! here (`alert`). What the rules record is evaluated too, and alerts on it here (`history`), whether the
//! past has it or not.
//!
//! Not here: limits of groups, native histograms that are recorded, and who would have been told.

mod alert;
mod history;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::error::Error;
use std::future::Future;

use labstat_model::{Labels, Matcher, Series};
use labstat_promql::{Query, QueryError};

use crate::rules::{Group, Rule, RuleKind, RuleSet, may_select};
use alert::AlertReplay;
pub use alert::Firing;
pub use history::Span;
use history::{History, LOOKBACK_MS};

/// Evaluations of the group that is evaluated most often, in the time that is replayed at once.
const EVALUATIONS_AT_ONCE: i64 = 2_000;

/// What knows the past.
pub trait Past {
    /// Why it cannot say.
    type Error: Error + 'static;

    /// What an expression gave at these points; at most a few thousand.
    fn range(
        &self,
        expr: &str,
        span: Span,
    ) -> impl Future<Output = Result<Vec<Series>, Self::Error>>;

    /// The samples of all series that fulfil the matchers, from one time to another, both included.
    fn samples(
        &self,
        matchers: &[Matcher],
        ends_ms: (i64, i64),
    ) -> impl Future<Output = Result<Vec<Series>, Self::Error>>;

    /// Whether it answers at all.
    fn answers(&self) -> impl Future<Output = Result<(), Self::Error>>;
}

/// Why a rule is not replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError<E> {
    /// The past does not say.
    #[error(transparent)]
    Past(E),
    /// It cannot be evaluated here.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// It gives native histograms, and what reads it is evaluated here.
    #[error("native histograms are not replayed")]
    Histograms,
    /// It reads what is recorded by a rule that is not replayed.
    #[error("it reads {0}, which is not replayed")]
    Lost(String),
}

/// What a replay has found.
#[derive(Debug)]
pub struct Replayed<'a, E> {
    /// Each alert, and each recording rule that one needs and that is not replayed.
    pub rules: Vec<RuleReplay<'a, E>>,
    /// Metrics that are recorded from themselves: taken as the past has them.
    pub circular: Vec<&'a str>,
}

/// What a replay has found of one rule.
#[derive(Debug)]
pub struct RuleReplay<'a, E> {
    /// The rule.
    pub rule: &'a Rule,
    /// When it would have fired, by the time that began; or why it is not replayed.
    pub outcome: Result<Vec<Firing>, ReplayError<E>>,
}

/// Where a replay is.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The part of the time, from 1, and how many there are.
    pub part: (i64, i64),
    /// The rule within the part, from 1, and how many there are.
    pub rule: (usize, usize),
    /// Its name.
    pub name: &'a str,
}

/// A rule on its way through the time.
struct Replaying<'a, E> {
    group: &'a Group,
    rule: &'a Rule,
    query: Query,
    /// Matchers of all its selectors, those of its second expression included.
    selectors: Vec<Vec<Matcher>>,
    kind: Kind<'a>,
    /// Why it went no further.
    failure: Option<ReplayError<E>>,
}

enum Kind<'a> {
    Record(&'a [(String, String)]),
    Alert {
        replay: AlertReplay<'a>,
        /// The second expression of a rule, where it has one.
        keep_while: Option<Query>,
    },
}

/// Replays all alerts of a set over the time between two ends, and says where it is. The error is that of
/// a past that does not answer any more.
pub async fn replay<'a, P: Past>(
    past: &P,
    set: &'a RuleSet,
    (start_ms, end_ms): (i64, i64),
    mut say: impl FnMut(Place<'a>),
) -> Result<Replayed<'a, P::Error>, ReplayError<P::Error>> {
    let (mut rules, circular) = in_order(set)?;
    let names: BTreeSet<&str> =
        rules.iter().filter(|rule| rule.is_record()).map(Replaying::name).collect();
    let reaches_ms: Vec<i64> = rules.iter().map(|rule| rule.reach_ms(&names)).collect();
    let backs_ms = backs_ms(&rules, &reaches_ms);
    let reach_ms = reaches_ms.into_iter().max().unwrap_or(0);
    let mut history = History::new(past, names);
    let step_ms = set.groups.iter().map(|group| group.interval_ms).min().unwrap_or(1).max(1);
    let part_ms = step_ms.saturating_mul(EVALUATIONS_AT_ONCE);
    let parts = end_ms.saturating_sub(start_ms).max(0) / part_ms + 1;
    let len = rules.len();
    let mut lost: BTreeSet<&str> = BTreeSet::new();
    for part in 0..parts {
        let from_ms = start_ms.saturating_add(part.saturating_mul(part_ms));
        let before_ms = from_ms.saturating_add(part_ms).min(end_ms.saturating_add(1));
        for (at, rule) in rules.iter_mut().enumerate().filter(|(_, rule)| rule.failure.is_none()) {
            let name = rule.name();
            say(Place { part: (part + 1, parts), rule: (at + 1, len), name });
            let back_ms = backs_ms.get(at).copied().filter(|_| part == 0).unwrap_or(0);
            let step_ms = rule.group.interval_ms.max(1);
            let Some(span) = Span::within(from_ms - back_ms, before_ms, step_ms) else { continue };
            let failure = match lost.iter().find(|lost| rule.reads(lost)) {
                Some(lost) => ReplayError::Lost((*lost).to_owned()),
                None => match rule.proceed(&mut history, span).await {
                    Ok(()) => continue,
                    Err(failure) => failure,
                },
            };
            // One rule that asks too much is no reason to end; a server that is gone is.
            past.answers().await.map_err(ReplayError::Past)?;
            lost.extend(rule.is_record().then_some(name));
            rule.failure = Some(failure);
        }
        history.forget(before_ms.saturating_sub(reach_ms));
    }
    Ok(Replayed { rules: rules.into_iter().filter_map(Replaying::finish).collect(), circular })
}

impl<'a, E> Replaying<'a, E> {
    fn new(group: &'a Group, rule: &'a Rule) -> Result<Self, QueryError> {
        let kind = match &rule.kind {
            RuleKind::Record { labels } => Kind::Record(labels),
            RuleKind::Alert(alert) => {
                let keep_while = alert.keep_while().map(Query::read).transpose()?;
                Kind::Alert { replay: AlertReplay::new(alert), keep_while }
            }
        };
        let mut selectors = rule.selectors();
        if let Kind::Alert { keep_while: Some(second), .. } = &kind {
            selectors.extend(second.checked().map_or_else(|_| Vec::new(), |it| it.selectors));
        }
        Ok(Self {
            group,
            rule,
            query: Query::read(rule.expr.as_str())?,
            selectors,
            kind,
            failure: None,
        })
    }

    fn is_record(&self) -> bool {
        matches!(self.kind, Kind::Record(_))
    }

    fn name(&self) -> &'a str {
        &self.rule.name
    }

    /// Whether it reads series of this name.
    fn reads(&self, name: &str) -> bool {
        self.selectors.iter().any(|matchers| may_select(matchers, name))
    }

    /// How long before an evaluation it wants what is recorded.
    fn reach_ms(&self, names: &BTreeSet<&str>) -> i64 {
        let reach_ms = |query: &Query| match query.checked() {
            Ok(checked) if names.iter().any(|name| self.reads(name)) => {
                checked.reach_ms.saturating_add(LOOKBACK_MS)
            }
            _ => 0,
        };
        let second = match &self.kind {
            Kind::Alert { keep_while: Some(second), .. } => reach_ms(second),
            _ => 0,
        };
        reach_ms(&self.query).max(second).saturating_add(self.group.query_offset_ms)
    }

    /// Evaluates it at all points of a span.
    async fn proceed<P: Past<Error = E>>(
        &mut self,
        history: &mut History<'_, P>,
        span: Span,
    ) -> Result<(), ReplayError<E>> {
        let offset_ms = self.group.query_offset_ms;
        let asked = span.earlier(offset_ms);
        let found = history.range(&self.query, asked).await?;
        match &mut self.kind {
            Kind::Record(labels) => history.record(&self.rule.name, labels, &found, asked),
            Kind::Alert { replay, keep_while } => {
                let keeping = match keep_while {
                    Some(query) => history.range(query, asked).await?,
                    None => Vec::new(),
                };
                let (found, keeping) = (by_time(&found), by_time(&keeping));
                for time_ms in span.times() {
                    let at = |by_time: &BTreeMap<i64, Vec<Labels>>| {
                        by_time.get(&(time_ms - offset_ms)).cloned().unwrap_or_default()
                    };
                    replay.step(time_ms, &at(&found), &at(&keeping));
                }
            }
        }
        Ok(())
    }

    /// What is to be told of it: nothing of a recording rule that could be replayed.
    fn finish(self) -> Option<RuleReplay<'a, E>> {
        let outcome = match (self.failure, self.kind) {
            (Some(failure), _) => Err(failure),
            (None, Kind::Alert { replay, .. }) => Ok(replay.finish()),
            (None, Kind::Record(_)) => return None,
        };
        Some(RuleReplay { rule: self.rule, outcome })
    }
}

/// How long before the time each rule, of an ordered list, is to be evaluated first, so that what looks back on
/// it finds it from the start.
fn backs_ms<E>(rules: &[Replaying<'_, E>], reaches_ms: &[i64]) -> Vec<i64> {
    let mut backs_ms = vec![0; rules.len()];
    for (at, record) in rules.iter().enumerate().rev().filter(|(_, rule)| rule.is_record()) {
        let later = rules.iter().zip(reaches_ms).zip(&backs_ms).skip(at + 1);
        let readers = later.filter(|((rule, _), _)| rule.reads(record.name()));
        let back_ms = readers.map(|((_, reach_ms), back_ms)| reach_ms + back_ms).max();
        backs_ms[at] = back_ms.unwrap_or(0);
    }
    backs_ms
}

/// The labels of all series that have a point at a time.
fn by_time(found: &[Series]) -> BTreeMap<i64, Vec<Labels>> {
    let mut by_time: BTreeMap<i64, Vec<Labels>> = BTreeMap::new();
    for series in found {
        let labels = series.labels.without_metric_name();
        for time_ms in &series.times {
            by_time.entry(*time_ms).or_default().push(labels.clone());
        }
    }
    by_time
}

/// The alerts of a set, after the recording rules that any of them needs, each of these after those it needs
/// itself; and the names of records that need themselves.
fn in_order<E>(set: &RuleSet) -> Result<(Vec<Replaying<'_, E>>, Vec<&str>), QueryError> {
    let mut alerts = Vec::new();
    let mut records = Vec::new();
    for group in &set.groups {
        for rule in &group.rules {
            let replaying = Replaying::new(group, rule)?;
            if replaying.is_record() { &mut records } else { &mut alerts }.push(replaying);
        }
    }
    let mut needed: BTreeSet<&str> = BTreeSet::new();
    loop {
        let is_new = |record: &&Replaying<'_, E>| !needed.contains(record.name());
        let is_asking =
            |rule: &&Replaying<'_, E>| !rule.is_record() || needed.contains(rule.name());
        let is_read = |record: &&Replaying<'_, E>| {
            let mut asking = alerts.iter().chain(&records).filter(is_asking);
            asking.any(|asking| asking.reads(record.name()))
        };
        let found = records.iter().filter(is_new).filter(is_read).map(Replaying::name);
        let found: Vec<&str> = found.collect();
        if found.is_empty() {
            break;
        }
        needed.extend(found);
    }
    records.retain(|record| needed.contains(record.name()));
    let mut ordered = Vec::new();
    loop {
        let is_ready =
            |record: &Replaying<'_, E>| !records.iter().any(|it| record.reads(it.name()));
        let mut ready: VecDeque<bool> = records.iter().map(is_ready).collect();
        if !ready.contains(&true) {
            break;
        }
        ordered.extend(records.extract_if(.., |_| ready.pop_front().unwrap_or(false)));
    }
    let circular = records.iter().map(Replaying::name).collect();
    ordered.extend(alerts);
    Ok((ordered, circular))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_before_what_reads_them_and_only_those_that_are_read() {
        let rules = "
groups:
  - name: g
    rules:
      - { alert: Last, expr: 'b > 1' }
      - { record: b, expr: 'sum(a)' }
      - { record: b, expr: 'sum({__name__=~\"a|x\"})', labels: { also: 'yes' } }
      - { record: a, expr: 'rate(raw_total[1m])' }
      - { record: unread, expr: 'a' }
      - { record: round, expr: 'round or vector(0)' }
      - { alert: Round, expr: 'round', annotations: { labstat_keep_while: 'a > 3' } }
";
        let set = RuleSet::parse(&[("g.yml", rules)]).unwrap();
        let (rules, circular) = in_order::<QueryError>(&set).unwrap();
        let names: Vec<&str> = rules.iter().map(Replaying::name).collect();
        assert_eq!(names, ["a", "b", "b", "Last", "Round"]);
        let reaches_ms = [0, 10, 20, 300, 4_000];
        assert_eq!(backs_ms(&rules, &reaches_ms), [4_000, 300, 300, 0, 0]);
        assert_eq!(circular, ["round"]);
    }
}
