//! `info`: adds to each series the data labels of the info series about the same instance and job.
//!
//! Info series are those named `target_info`, or as the selector in the second argument says. Of
//! several that say something about the same target the one with the newest sample counts. Where
//! Prometheus 3.5 differs from the documentation of later ones, this follows the documentation.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use labstat_model::{Labels, METRIC_NAME, MatchOp, Matcher};

use crate::budget::{Cost, Pace};
use crate::column::{Column, Columns, Steps};
use crate::eval::Evaluator;
use crate::expr::{Call, Edges, Expr, Node, Selector, Shift};
use crate::{QueryError, ValueType};

const DEFAULT_NAME: &str = "target_info";

/// What all info series are called where the selector only says how they are not called.
const ANY_NAME: &str = ".+_info";

/// What looking something up takes, in numbers looked at.
const LOOKING_UP: usize = 8;

/// The labels that say what a series is about.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// Which info series to take, and which of their labels.
struct Wanted {
    /// On the name of info series; none where the default holds.
    names: Vec<Matcher>,
    /// On their other labels. Where there are any, only the labels they name are added.
    data: Vec<Matcher>,
    start: usize,
}

impl Wanted {
    fn of(call: &Call) -> Self {
        let start = call.args.first().map_or(0, |arg| arg.start);
        let Some(Expr { node: Node::Selector(selector), .. }) = call.args.get(1) else {
            let names = vec![Matcher::equal(METRIC_NAME, DEFAULT_NAME)];
            return Self { names, data: Vec::new(), start };
        };
        let is_name = |matcher: &Matcher| matcher.name() == METRIC_NAME;
        let (mut names, data): (Vec<_>, Vec<_>) =
            selector.matchers.iter().cloned().partition(is_name);
        let negative =
            |matcher: &Matcher| matches!(matcher.op(), MatchOp::NotEqual | MatchOp::NotRegex);
        if !names.is_empty() && names.iter().all(negative) {
            names.extend(Matcher::new(METRIC_NAME, MatchOp::Regex, ANY_NAME));
        }
        Self { names, data, start }
    }

    /// Info series themselves are not added to.
    fn is_info(&self, labels: &Labels) -> bool {
        let name = labels.metric_name();
        !self.names.is_empty() && self.names.iter().all(|matcher| matcher.matches(name))
    }

    fn adds(&self, label: &str) -> bool {
        let named = |matcher: &Matcher| matcher.name() == label;
        label != METRIC_NAME && (self.data.is_empty() || self.data.iter().any(named))
    }

    /// Whether a series stays that nothing is known about.
    fn keeps_unknown(&self) -> bool {
        self.data.iter().all(|matcher| matcher.matches(""))
    }
}

pub(super) fn info(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let Some(arg) = call.args.first() else { return Ok(Columns::Vector(Vec::new())) };
    let wanted = Wanted::of(call);
    let columns = evaluator.vector(arg, steps)?;
    let known = Known::read(evaluator, arg, &wanted, &columns, steps)?;
    let mut pace = evaluator.budget.pace();
    known.check_unique(&columns, steps, &mut pace)?;
    let mut results = Vec::with_capacity(columns.len());
    for column in columns {
        evaluator.check_time()?;
        if wanted.is_info(&column.labels) {
            results.push(column);
        } else {
            known.add_to(&column, &wanted, &mut results, &mut pace)?;
        }
    }
    evaluator.merge(results).map(Columns::Vector)
}

/// The info series that may matter, by what they are about.
struct Known {
    /// The times of their newest samples at every step.
    columns: Vec<Column>,
    /// Of each target the series about it, those of one name together.
    about: HashMap<Labels, Vec<Vec<usize>>>,
}

fn target(labels: &Labels) -> Labels {
    labels.without(|label| !IDENTIFYING.contains(&label))
}

impl Known {
    fn read(
        evaluator: &Evaluator<'_>,
        arg: &Expr,
        wanted: &Wanted,
        base: &[Column],
        steps: Steps,
    ) -> Result<Self, QueryError> {
        let matchers = matchers(wanted, base)?;
        let columns = match matchers {
            Some(matchers) => newest(evaluator, arg, &matchers, wanted.start, steps)?,
            None => Vec::new(),
        };
        let mut about: HashMap<Labels, Vec<Vec<usize>>> = HashMap::new();
        for (at, column) in columns.iter().enumerate() {
            let name = column.labels.metric_name();
            let named = |group: &&mut Vec<usize>| {
                let first = group.first().and_then(|first| columns.get(*first));
                first.is_some_and(|first| first.labels.metric_name() == name)
            };
            let groups = about.entry(target(&column.labels)).or_default();
            match groups.iter_mut().find(named) {
                Some(group) => group.push(at),
                None => groups.push(vec![at]),
            }
        }
        Ok(Self { columns, about })
    }

    /// Of several series the one with the newest sample at a step.
    fn newest(&self, group: &[usize], step: usize) -> Option<usize> {
        let time = |at: usize| self.columns.get(at).and_then(|column| column.get(step));
        let there = group.iter().filter_map(|at| time(*at).map(|time| (*at, time)));
        there.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(at, _)| at)
    }

    /// An error where two series of one name about one target have samples of the same time.
    fn check_unique(
        &self,
        base: &[Column],
        steps: Steps,
        pace: &mut Pace<'_>,
    ) -> Result<(), QueryError> {
        let several = || self.about.values().flatten().filter(|group| group.len() > 1);
        if several().next().is_none() {
            return Ok(());
        }
        let mut any = vec![false; steps.len];
        for column in base {
            pace.spend(column.len())?;
            any.iter_mut().zip(column.presence()).for_each(|(any, there)| *any |= there);
        }
        let mut times = HashSet::new();
        for (step, _) in any.iter().enumerate().filter(|(_, any)| **any) {
            for group in several() {
                pace.spend(group.len().saturating_mul(LOOKING_UP))?;
                times.clear();
                for column in group.iter().filter_map(|at| self.columns.get(*at)) {
                    let Some(time) = column.get(step) else { continue };
                    if !times.insert(time.to_bits()) {
                        let name = column.labels.metric_name();
                        let message = format!("found duplicate series for info metric {name}");
                        return Err(QueryError::execution(message));
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds a series with what is known about it: a column for each set of labels it had.
    fn add_to(
        &self,
        base: &Column,
        wanted: &Wanted,
        added: &mut Vec<Column>,
        pace: &mut Pace<'_>,
    ) -> Result<(), QueryError> {
        let nothing = Vec::new();
        let groups = self.about.get(&target(&base.labels)).unwrap_or(&nothing);
        let (len, members) = (base.len(), groups.iter().map(Vec::len).sum::<usize>());
        // Where the column is that these info series give, when they give one.
        let mut known: HashMap<Vec<usize>, Option<usize>> = HashMap::new();
        for (step, _) in base.presence().enumerate().filter(|(_, there)| *there) {
            pace.spend(members.saturating_add(LOOKING_UP))?;
            let sources: Vec<usize> =
                groups.iter().filter_map(|group| self.newest(group, step)).collect();
            let at = match known.get(&sources) {
                Some(at) => *at,
                None => {
                    let labels = self.labels(&base.labels, &sources, wanted)?;
                    let at = labels.map(|labels| {
                        added.push(Column::absent(labels, len));
                        added.len() - 1
                    });
                    pace.budget().check(Cost::columns(added.len(), len))?;
                    known.insert(sources, at);
                    at
                }
            };
            if let Some(column) = at.and_then(|at| added.get_mut(at)) {
                match base.histogram(step) {
                    Some(histogram) => column.set_histogram(step, Arc::clone(histogram)),
                    None => base.get(step).into_iter().for_each(|value| column.set(step, value)),
                }
            }
        }
        Ok(())
    }

    /// The labels of a series and those that these info series add to it; `None` where it has to
    /// go, because something must be known about it and nothing is.
    fn labels(
        &self,
        base: &Labels,
        sources: &[usize],
        wanted: &Wanted,
    ) -> Result<Option<Labels>, QueryError> {
        if sources.is_empty() && !wanted.keeps_unknown() {
            return Ok(None);
        }
        let mut added: Vec<(&str, &str)> = Vec::new();
        for source in sources.iter().filter_map(|at| self.columns.get(*at)) {
            for (name, value) in source.labels.iter().filter(|(name, _)| wanted.adds(name)) {
                match added.iter().find(|(known, _)| *known == name) {
                    Some((_, known)) if *known != value => {
                        let message = format!("conflicting label: {name}");
                        return Err(QueryError::execution(message));
                    }
                    Some(_) => {}
                    None if base.get(name).is_some() => {}
                    None => added.push((name, value)),
                }
            }
        }
        Ok(Some(Labels::new(base.iter().chain(added))))
    }
}

/// What finds the info series about any of the series; `None` where these are about nothing.
fn matchers(wanted: &Wanted, base: &[Column]) -> Result<Option<Vec<Matcher>>, QueryError> {
    let mut matchers = wanted.names.clone();
    if matchers.is_empty() {
        matchers.push(Matcher::equal(METRIC_NAME, DEFAULT_NAME));
    }
    let mut any = false;
    for label in IDENTIFYING {
        let other = base.iter().filter(|column| !wanted.is_info(&column.labels));
        let values: BTreeSet<&str> = other.filter_map(|column| column.labels.get(label)).collect();
        if values.is_empty() {
            continue;
        }
        any = true;
        let values: Vec<String> = values.into_iter().map(regex::escape).collect();
        let matcher = Matcher::new(label, MatchOp::Regex, values.join("|"));
        matchers.push(matcher.map_err(|error| QueryError::execution(error.to_string()))?);
    }
    matchers.extend(wanted.data.iter().cloned());
    Ok(any.then_some(matchers))
}

/// The times of the newest samples of info series at every step, in seconds: not before and not
/// after those that the first selector in the series' expression may have looked at.
fn newest(
    evaluator: &Evaluator<'_>,
    arg: &Expr,
    matchers: &[Matcher],
    start: usize,
    steps: Steps,
) -> Result<Vec<Column>, QueryError> {
    let shift = first_shift(arg).unwrap_or_default();
    let (first_ms, last_ms) = (shift.apply(steps.start_ms), shift.apply(steps.last()));
    let first_ms = first_ms - evaluator.lookback_ms + 1;
    let selector = |at_ms| {
        let shift = Shift { at_ms, offset_ms: 0 };
        let selector = Selector { matchers: matchers.to_vec(), shift, edges: Edges::Exact };
        Expr {
            node: Node::Selector(selector),
            value_type: ValueType::Vector,
            start,
            outer_start: start,
            invariant: false,
        }
    };
    let read = |at_ms, keep: &dyn Fn(i64, i64) -> bool| {
        let mut columns = evaluator.instant_times(&selector(at_ms), steps)?.unwrap_or_default();
        let mut pace = evaluator.budget.pace();
        for column in &mut columns {
            column.map(&mut pace, |step, time| {
                keep(steps.time(step), millis(time)).then_some(time)
            })?;
        }
        Ok::<_, QueryError>(columns)
    };
    let mut columns = read(None, &|now, time| now <= last_ms && time >= first_ms)?;
    if steps.last() > last_ms {
        let lookback_ms = evaluator.lookback_ms;
        let late = |now, time| now > last_ms && time >= first_ms && time > now - lookback_ms;
        columns.extend(read(Some(last_ms), &late)?);
    }
    evaluator.merge(columns)
}

#[expect(clippy::cast_possible_truncation, reason = "times come from milliseconds")]
fn millis(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

/// The shift of the first selector in an expression.
fn first_shift(expr: &Expr) -> Option<Shift> {
    match &expr.node {
        Node::Number(_) | Node::Text(_) => None,
        Node::Selector(selector) => Some(selector.shift),
        Node::Range(range) => Some(range.selector.shift),
        Node::Subquery(subquery) => first_shift(&subquery.expr),
        Node::Negation(inner) => first_shift(inner),
        Node::Binary(binary) => first_shift(&binary.lhs).or_else(|| first_shift(&binary.rhs)),
        Node::Aggregate(aggregate) => {
            let param = || aggregate.param.as_ref().and_then(first_shift);
            first_shift(&aggregate.expr).or_else(param)
        }
        Node::Call(call) => call.args.iter().find_map(first_shift),
    }
}
