//! When rules would have fired, by what is known of the past.
//!
//! Whoever knows the past ([`Past`], a server) evaluates each alert's expression over the time, at the
//! group's interval, in parts that it and we hold easily; what waits, keeps firing and is kept is decided as
//! in a running server (`alert`). What the rules record is evaluated too, and alerts on it here (`history`),
//! part by part, in the order that `order` finds, whether the past has it or not.
//!
//! Not here: limits of groups, native histograms that are recorded, and who would have been told.

mod alert;
mod history;
mod order;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::future::Future;

use labstat_model::{Labels, Matcher, Series};
use labstat_promql::{Query, QueryError};

use crate::rules::{Group, Rule, RuleKind, RuleSet, may_select};
use alert::AlertReplay;
pub use alert::Firing;
pub use history::Span;
use history::{History, LOOKBACK_MS};
pub use order::Taken;
use order::{Ordered, asks_for_alerts, backs_ms, in_order};

/// Evaluations of the group that is evaluated most often, in the time in which rules that read of one another
/// are replayed at once.
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

    /// The samples of all series that a selector finds, from one time to another, both included.
    fn samples(
        &self,
        selector: &str,
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
    /// It looks at one time, which may be that of its evaluation.
    #[error("an expression with @ is not replayed")]
    Pinned,
    /// It looks ahead of its evaluation, and is evaluated here.
    #[error("an expression with a negative offset is not replayed where it reads what is recorded")]
    Ahead,
    /// It records two series as one.
    #[error("two results have the same labels after the rule's labels are set")]
    SameLabels,
    /// It records more than can be held.
    #[error("too many samples are recorded: replay a shorter time, or fewer rules")]
    TooMuch,
    /// It reads what is recorded by a rule that is not replayed.
    #[error("it reads {0}, which is not replayed")]
    Lost(String),
}

/// What a replay has found.
#[derive(Debug)]
pub struct Replayed<'a, E> {
    /// Each alert, and each recording rule that one needs and that is not replayed.
    pub rules: Vec<RuleReplay<'a, E>>,
    /// Names of rules, and what of them is as the past has it.
    pub taken: Vec<(&'a str, Taken)>,
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
    /// Steps that are done, with this one.
    pub step: usize,
    /// All steps.
    pub steps: usize,
    /// The rule of this one.
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

/// A part of the time, for some of the rules.
#[derive(Debug, Clone, Copy)]
struct Turn {
    from_ms: i64,
    before_ms: i64,
    /// For those that read of one another, and not for the others.
    is_bound: bool,
    /// The first of those.
    is_first: bool,
}

/// Replays all alerts of a set over the time between two ends, and says where it is. The error is that of
/// a past that does not answer any more.
pub async fn replay<'a, P: Past>(
    past: &P,
    set: &'a RuleSet,
    ends_ms: (i64, i64),
    mut say: impl FnMut(Place<'a>),
) -> Result<Replayed<'a, P::Error>, ReplayError<P::Error>> {
    let all = set.groups.iter().flat_map(|group| group.rules.iter().map(move |it| (group, it)));
    let all = all.map(|(group, rule)| Replaying::new(group, rule)).collect::<Result<_, _>>()?;
    let Ordered { mut rules, taken } = in_order(all);
    let mut pass = Pass::new(past, &rules);
    let is_bound: Vec<bool> = rules.iter().map(|rule| pass.is_bound(rule)).collect();
    let count = |bound: bool| is_bound.iter().filter(|it| **it == bound).count();
    let step_ms = rules.iter().zip(&is_bound).filter(|(_, is_bound)| **is_bound);
    let step_ms = step_ms.map(|(rule, _)| rule.step_ms()).min();
    let turns = turns(ends_ms, step_ms);
    let steps = turns.iter().map(|turn| count(turn.is_bound)).sum();
    let mut step = 0;
    for turn in turns {
        for (at, rule) in rules.iter_mut().enumerate() {
            if is_bound.get(at) == Some(&turn.is_bound) {
                step += 1;
                say(Place { step, steps, name: rule.name() });
                pass.turn(at, rule, turn).await.map_err(ReplayError::Past)?;
            }
        }
        pass.history.forget(turn.before_ms);
    }
    Ok(Replayed { rules: rules.into_iter().filter_map(Replaying::finish).collect(), taken })
}

/// The whole time for those who need not keep pace with others, and then its parts for the others, if there
/// are any: of the one that is evaluated most often so many evaluations.
fn turns((start_ms, end_ms): (i64, i64), step_ms: Option<i64>) -> Vec<Turn> {
    let before_ms = end_ms.max(start_ms).saturating_add(1);
    let whole = Turn { from_ms: start_ms, before_ms, is_bound: false, is_first: false };
    let mut turns = vec![whole];
    let part_ms = step_ms.map(|step_ms| step_ms.saturating_mul(EVALUATIONS_AT_ONCE));
    let mut from_ms = start_ms;
    while let Some(part_ms) = part_ms.filter(|_| from_ms < before_ms) {
        let next_ms = from_ms.saturating_add(part_ms).min(before_ms);
        let is_first = from_ms == start_ms;
        turns.push(Turn { from_ms, before_ms: next_ms, is_bound: true, is_first });
        from_ms = next_ms;
    }
    turns
}

/// What the rules of a set share on their way.
struct Pass<'a, 'p, P> {
    past: &'p P,
    history: History<'a, 'p, P>,
    /// The metrics that are recorded.
    names: BTreeSet<&'a str>,
    /// How long before the time each rule is evaluated first.
    backs_ms: Vec<i64>,
    /// Metrics whose rules are not replayed.
    lost: BTreeSet<&'a str>,
}

impl<'a, 'p, P: Past> Pass<'a, 'p, P> {
    fn new(past: &'p P, rules: &[Replaying<'a, P::Error>]) -> Self {
        let records = rules.iter().filter(|rule| rule.is_record());
        let names: BTreeSet<&str> = records.map(Replaying::name).collect();
        let reaches_ms: Vec<i64> = rules.iter().map(Replaying::reach_ms).collect();
        let reach_ms = |name: &str| {
            let readers = rules.iter().zip(&reaches_ms).filter(|(rule, _)| rule.reads(name));
            readers.map(|(_, reach_ms)| *reach_ms).max().unwrap_or(0)
        };
        let kept_ms = names.iter().map(|name| (*name, reach_ms(name))).collect();
        Self {
            past,
            history: History::new(past, kept_ms),
            backs_ms: backs_ms(rules, &reaches_ms),
            lost: BTreeSet::new(),
            names,
        }
    }

    /// Whether a rule records something, or reads what is recorded.
    fn is_bound(&self, rule: &Replaying<'_, P::Error>) -> bool {
        rule.is_record() || self.names.iter().any(|name| rule.reads(name))
    }

    /// Takes the rule at a place through a part of the time. The error is that of a past that is gone.
    async fn turn(
        &mut self,
        at: usize,
        rule: &mut Replaying<'a, P::Error>,
        turn: Turn,
    ) -> Result<(), P::Error> {
        let back_ms = self.backs_ms.get(at).copied().filter(|_| turn.is_first).unwrap_or(0);
        let from_ms = turn.from_ms.saturating_sub(back_ms);
        let span = Span::within(from_ms, turn.before_ms, rule.step_ms());
        let Some(span) = span.filter(|_| rule.failure.is_none()) else { return Ok(()) };
        let proceeded = match self.lost.iter().find(|lost| rule.reads(lost)) {
            Some(lost) => Err(ReplayError::Lost((*lost).to_owned())),
            None => rule.proceed(at, &mut self.history, span).await,
        };
        let Err(failure) = proceeded else { return Ok(()) };
        if matches!(failure, ReplayError::Past(_)) {
            // One question that cannot be answered is no reason to end; a server that is gone is.
            self.past.answers().await?;
        }
        self.lost.extend(rule.is_record().then_some(rule.name()));
        rule.failure = Some(failure);
        Ok(())
    }
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
        let query = Query::read(rule.expr.as_str())?;
        Ok(Self { group, rule, query, selectors, kind, failure: None })
    }

    fn is_record(&self) -> bool {
        matches!(self.kind, Kind::Record(_))
    }

    fn name(&self) -> &'a str {
        &self.rule.name
    }

    fn step_ms(&self) -> i64 {
        self.group.interval_ms.max(1)
    }

    /// Whether it reads series of this name.
    fn reads(&self, name: &str) -> bool {
        self.selectors.iter().any(|matchers| may_select(matchers, name))
    }

    fn reads_alerts(&self) -> bool {
        asks_for_alerts(&self.selectors)
    }

    /// How long before an evaluation it reads.
    fn reach_ms(&self) -> i64 {
        let reach_ms = |query: &Query| query.checked().map_or(0, |checked| checked.reach_ms);
        let second = match &self.kind {
            Kind::Alert { keep_while: Some(second), .. } => reach_ms(second),
            _ => 0,
        };
        let offset_ms = self.group.query_offset_ms.saturating_add(LOOKBACK_MS);
        reach_ms(&self.query).max(second).saturating_add(offset_ms)
    }

    /// Evaluates it at all points of a span.
    async fn proceed<P: Past<Error = E>>(
        &mut self,
        at: usize,
        history: &mut History<'a, '_, P>,
        span: Span,
    ) -> Result<(), ReplayError<E>> {
        let offset_ms = self.group.query_offset_ms;
        let name = self.name();
        for asked in span.earlier(offset_ms).parts() {
            let found = history.range(&self.query, asked).await?;
            match &mut self.kind {
                Kind::Record(labels) => history.record((at, name), labels, found, asked)?,
                Kind::Alert { replay, keep_while } => {
                    let keeping = match keep_while {
                        Some(query) => history.range(query, asked).await?,
                        None => Vec::new(),
                    };
                    let (mut found, mut keeping) = (by_time(&found), by_time(&keeping));
                    for time_ms in asked.times() {
                        let found = found.remove(&time_ms).unwrap_or_default();
                        let keeping = keeping.remove(&time_ms).unwrap_or_default();
                        replay.step(time_ms.saturating_add(offset_ms), &found, &keeping);
                    }
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

#[cfg(test)]
mod tests;
