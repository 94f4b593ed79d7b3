//! A query that has been read: what can be said of it without evaluating it.

use std::sync::{Arc, OnceLock};

use labstat_model::{METRIC_NAME, MatchOp, Matcher, PatternRoom};

use crate::eval::Prepared;
use crate::expr::{Expr, Node, Shift};
use crate::lower::{self, Bounds};
use crate::syntax::{self, ast};
use crate::{QueryError, ValueType, beyond};

/// A text that has been read, its patterns compiled, so that it can be looked at and evaluated as
/// often as one likes.
#[derive(Debug)]
pub struct Query {
    text: String,
    tree: ast::Expr,
    /// As it is evaluated at whatever times, since it was first; of one that its times make another it is
    /// never known.
    prepared: OnceLock<Arc<Prepared>>,
}

/// How much of history a query is about, by what is written in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// See [`Checked::reach_ms`].
    pub before_ms: i64,
    /// The most points at which a part is evaluated that is in a subquery.
    pub subquery_points: i64,
}

/// What [`check`] finds out about a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The type of its value.
    pub value_type: ValueType,
    /// The metric names it selects by equality, sorted, each once.
    pub metric_names: Vec<String>,
    /// The matchers of each of its selectors, the metric name as `__name__`.
    pub selectors: Vec<Vec<Matcher>>,
    /// How long a time before its own one evaluation reads, in milliseconds, by what is written in
    /// the query: the look-back of an instant selector is not in it, nor is the way to an `@`.
    pub reach_ms: i64,
    /// How long a time after its own one evaluation reads, in milliseconds: by negative offsets.
    pub ahead_ms: i64,
    /// Whether anything in it is pinned to a time by `@`.
    pub is_pinned: bool,
    /// What it asks for that Prometheus 3.5 does not take, or not unless a feature is switched on
    /// there, in words; empty for most queries.
    pub beyond: Vec<String>,
}

impl Query {
    /// Reads a text. It takes time in proportion to the text, and a fraction of a second where
    /// that is full of patterns.
    pub fn read(text: impl Into<String>) -> Result<Self, QueryError> {
        let text = text.into();
        let tree = syntax::parse(&text)?;
        Ok(Self { text, tree, prepared: OnceLock::new() })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// As it is evaluated at these times.
    pub(crate) fn prepared(&self, bounds: Bounds) -> Result<Arc<Prepared>, QueryError> {
        if let Some(prepared) = self.prepared.get() {
            return Ok(Arc::clone(prepared));
        }
        let (expr, timed) = lower::lower_at(&self.text, &self.tree, bounds)?;
        let prepared = Arc::new(Prepared::new(expr));
        let prepared =
            if timed { prepared } else { self.prepared.get_or_init(|| prepared).clone() };
        Ok(prepared)
    }

    /// How much of history it is about from `start_ms` to `end_ms` with a step of `step_ms`, 0 for
    /// one time; `subquery_step_ms` is the step of subqueries that name none.
    pub fn reach(
        &self,
        (start_ms, end_ms, step_ms): (i64, i64, i64),
        subquery_step_ms: i64,
    ) -> Result<Reach, QueryError> {
        let prepared = self.prepared(Bounds { start_ms, end_ms, step_ms })?;
        let expr = prepared.expr();
        let span_ms = end_ms.saturating_sub(start_ms);
        let subquery_points = subquery_points(expr, span_ms, subquery_step_ms);
        Ok(Reach { before_ms: reach_ms(expr), subquery_points })
    }

    /// What can be found out without a time.
    pub fn checked(&self) -> Result<Checked, QueryError> {
        let prepared = self.prepared(Bounds::ANY)?;
        let expr = prepared.expr();
        let mut selectors = Vec::new();
        collect_selectors(expr, &mut selectors);
        let named = |matchers: &Vec<Matcher>| {
            let name = |m: &&Matcher| m.name() == METRIC_NAME && m.op() == MatchOp::Equal;
            matchers.iter().find(name).map(|matcher| matcher.value().to_owned())
        };
        let mut metric_names: Vec<String> = selectors.iter().filter_map(named).collect();
        metric_names.sort_unstable();
        metric_names.dedup();
        Ok(Checked {
            value_type: expr.value_type,
            metric_names,
            selectors,
            reach_ms: reach_ms(expr),
            ahead_ms: ahead_ms(expr),
            is_pinned: is_pinned(expr),
            beyond: beyond::of(&self.tree),
        })
    }
}

/// Reads a query without evaluating it.
pub fn check(query: &str) -> Result<Checked, QueryError> {
    Query::read(query)?.checked()
}

/// Reads a series selector such as the API's `match[]`: `up{job="node"}`. No range, offset or
/// anything else may be in it.
pub fn selector(text: &str) -> Result<Vec<Matcher>, QueryError> {
    matchers(text, false, &mut PatternRoom::default())
}

/// As [`selector`], but what it selects may be everything: `{}`, `{job=~".*"}`.
pub fn any_selector(text: &str) -> Result<Vec<Matcher>, QueryError> {
    any_selector_within(text, &mut PatternRoom::default())
}

/// As [`any_selector`], among others: the patterns of all of them share `patterns`.
pub fn any_selector_within(
    text: &str,
    patterns: &mut PatternRoom,
) -> Result<Vec<Matcher>, QueryError> {
    matchers(text, true, patterns)
}

fn matchers(
    text: &str,
    may_match_all: bool,
    patterns: &mut PatternRoom,
) -> Result<Vec<Matcher>, QueryError> {
    match lower::read_selector(text, may_match_all, patterns)?.node {
        Node::Selector(selector) => Ok(selector.matchers),
        _ => Err(QueryError::parse(format!("not a series selector: {text}"))),
    }
}

/// What is right under a node.
fn parts(expr: &Expr) -> Vec<&Expr> {
    match &expr.node {
        Node::Number(_) | Node::Text(_) | Node::Selector(_) | Node::Range(_) => Vec::new(),
        Node::Subquery(subquery) => vec![&subquery.expr],
        Node::Negation(inner) => vec![inner],
        Node::Binary(binary) => vec![&binary.lhs, &binary.rhs],
        Node::Aggregate(aggregate) => aggregate.param.iter().chain([&aggregate.expr]).collect(),
        Node::Call(call) => call.args.iter().collect(),
    }
}

/// See [`Checked::reach_ms`].
fn reach_ms(expr: &Expr) -> i64 {
    let within = parts(expr).into_iter().map(reach_ms).max().unwrap_or(0);
    let range_ms = match &expr.node {
        Node::Range(range) => range.range_ms,
        Node::Subquery(subquery) => subquery.range_ms,
        _ => 0,
    };
    let offset_ms = shift(expr).map_or(0, |shift| shift.offset_ms.max(0));
    within.saturating_add(range_ms).saturating_add(offset_ms)
}

/// See [`Checked::ahead_ms`].
fn ahead_ms(expr: &Expr) -> i64 {
    let within = parts(expr).into_iter().map(ahead_ms).max().unwrap_or(0);
    let offset_ms = shift(expr).map_or(0, |shift| shift.offset_ms);
    within.saturating_add(offset_ms.saturating_neg().max(0))
}

/// See [`Checked::is_pinned`].
fn is_pinned(expr: &Expr) -> bool {
    shift(expr).is_some_and(|shift| shift.at_ms.is_some()) || parts(expr).into_iter().any(is_pinned)
}

/// What is written to the time of a node.
fn shift(expr: &Expr) -> Option<&Shift> {
    match &expr.node {
        Node::Selector(selector) => Some(&selector.shift),
        Node::Range(range) => Some(&range.selector.shift),
        Node::Subquery(subquery) => Some(&subquery.shift),
        _ => None,
    }
}

/// See [`Reach::subquery_points`], over a time of `span_ms`.
fn subquery_points(expr: &Expr, span_ms: i64, step_ms: i64) -> i64 {
    let (span_ms, points) = match &expr.node {
        Node::Subquery(subquery) => {
            let span_ms = if subquery.shift.at_ms.is_some() { 0 } else { span_ms };
            let span_ms = span_ms.saturating_add(subquery.range_ms);
            (span_ms, span_ms / subquery.step_ms.unwrap_or(step_ms).max(1))
        }
        _ => (span_ms, 0),
    };
    let within = parts(expr).into_iter().map(|part| subquery_points(part, span_ms, step_ms));
    within.max().unwrap_or(0).max(points)
}

fn collect_selectors(expr: &Expr, selectors: &mut Vec<Vec<Matcher>>) {
    match &expr.node {
        Node::Selector(selector) => selectors.push(selector.matchers.clone()),
        Node::Range(range) => selectors.push(range.selector.matchers.clone()),
        _ => parts(expr).into_iter().for_each(|part| collect_selectors(part, selectors)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pinned_or_looks_ahead_is_known() {
        let checked = |query: &str| {
            let checked = check(query).unwrap();
            (checked.reach_ms, checked.ahead_ms, checked.is_pinned)
        };
        assert_eq!(checked("rate(a[1m] offset 2m) + b"), (180_000, 0, false));
        assert_eq!(checked("a + b offset -5m"), (0, 300_000, false));
        assert_eq!(checked("max_over_time(a[1h:] offset -1m)"), (3_600_000, 60_000, false));
        for query in ["a @ 7", "sum(rate(a[1m] @ end()))", "max_over_time(a[1h:] @ start())"] {
            assert!(checked(query).2, "{query}");
        }
    }

    #[test]
    fn the_points_of_subqueries_are_counted_with_the_time_around_them() {
        let points = |query: &str, span_ms| {
            let reach = Query::read(query).unwrap().reach((0, span_ms, 1_000), 60_000);
            reach.unwrap().subquery_points
        };
        assert_eq!(points("sum(rate(a[1h]))", 3_600_000), 0);
        assert_eq!(points("max_over_time(a[1h:])", 0), 60);
        assert_eq!(points("max_over_time(a[1h:]) + vector(1)", 3_600_000), 120);
        assert_eq!(points("max_over_time(a[1h:1s] @ 5)", 3_600_000), 3_600);
        let nested = "max_over_time(quantile_over_time(0.5, vector(time())[40000s:1s])[40000s:1m])";
        assert_eq!(points(nested, 0), 80_000);
        assert_eq!(points("max_over_time(a[290y:1ms])", i64::MAX), i64::MAX);
    }

    #[test]
    fn a_query_is_prepared_once_unless_its_times_make_it_another() {
        let twice = |query: &str| {
            let query = Query::read(query).unwrap();
            let at = |time_ms| Bounds { start_ms: time_ms, end_ms: time_ms + 60_000, step_ms: 1 };
            [at(0), at(5_000)].map(|bounds| query.prepared(bounds).unwrap())
        };
        for query in ["a + a", "rate(a[5m] @ 10 offset 1m)", "time() - start()", "a[1h:1m]"] {
            let [first, second] = twice(query);
            assert!(Arc::ptr_eq(&first, &second), "{query}");
        }
        for query in ["a @ start()", "a[5m] @ end()", "a offset step()", "rate(a[range()])"] {
            let [first, second] = twice(query);
            assert!(!Arc::ptr_eq(&first, &second), "{query}");
        }
        let [first, second] = twice("a @ start()");
        let at_ms = |prepared: &Prepared| match &prepared.expr().node {
            Node::Selector(selector) => selector.shift.at_ms,
            other => panic!("{other:?}"),
        };
        assert_eq!([&first, &second].map(|it| at_ms(it)), [Some(0), Some(5_000)]);
    }

    #[test]
    fn the_patterns_of_a_query_share_their_room() {
        let matchers: Vec<String> =
            (0..3_000).map(|at| format!("a{at}=~\"\\\\pL{{6}}{at}\"")).collect();
        for query in
            [format!("m{{{}}}", matchers.join(",")), format!("m{{{}}}", matchers.join("} + m{"))]
        {
            let query = query.get(..200_000.min(query.len())).unwrap();
            let error = Query::read(query).unwrap_err().to_string();
            assert!(
                error.contains("the patterns of one request may have a size of 16 MiB"),
                "{error}"
            );
        }
        let mut patterns = PatternRoom::default();
        let fit = matchers.iter().take_while(|matcher| {
            any_selector_within(&format!("{{{matcher}}}"), &mut patterns).is_ok()
        });
        assert!((4..40).contains(&fit.count()));
    }
}
