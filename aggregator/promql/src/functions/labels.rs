//! Functions that change labels.

use labstat_model::Labels;
use regex::{Regex, RegexBuilder};

use crate::QueryError;
use crate::column::{self, Columns, Steps};
use crate::eval::Evaluator;
use crate::expr::{Call, Expr, Node};

/// Bytes that a compiled pattern may take: as for matchers, a pattern from outside must not be
/// able to take the machine's memory.
const REGEX_SIZE_MAX: usize = 4 * 1024 * 1024;

/// Bytes of a sample, in which the bound on what a query holds is counted.
const SAMPLE_LEN: usize = 16;

/// The text of a literal argument.
fn text(call: &Call, at: usize) -> &str {
    match call.args.get(at) {
        Some(Expr { node: Node::Text(text), .. }) => text,
        _ => "",
    }
}

/// `label_replace(v, destination, replacement, source, pattern)`.
pub(super) fn replace(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let [destination, replacement, source, pattern] = [1, 2, 3, 4].map(|at| text(call, at));
    let regex = compile(pattern).ok_or_else(|| {
        let message = format!("invalid regular expression in label_replace(): {pattern}");
        QueryError::execution(message)
    })?;
    if destination.is_empty() {
        let message = "invalid destination label name in label_replace(): ";
        return Err(QueryError::execution(message));
    }
    relabel(evaluator, call, steps, |labels| {
        let value = labels.get(source).unwrap_or("");
        let found = regex.captures(value)?;
        let mut replaced = String::new();
        found.expand(replacement, &mut replaced);
        Some(labels.with(destination, &replaced))
    })
}

/// The whole value must match, and `.` matches line ends too, as in matchers.
fn compile(pattern: &str) -> Option<Regex> {
    let build = |text: &str| RegexBuilder::new(text).size_limit(REGEX_SIZE_MAX).build().ok();
    // On its own first: `a)|(b` would close the group around it and slip its anchors.
    build(pattern)?;
    build(&format!("^(?s:{pattern})$"))
}

/// `label_join(v, destination, separator, source…)`.
pub(super) fn join(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let (destination, separator) = (text(call, 1), text(call, 2));
    if destination.is_empty() {
        return Err(QueryError::execution("invalid destination label name in label_join(): "));
    }
    let sources: Vec<&str> = (3..call.args.len()).map(|at| text(call, at)).collect();
    if sources.contains(&"") {
        return Err(QueryError::execution("invalid source label name in label_join(): "));
    }
    relabel(evaluator, call, steps, |labels| {
        let values: Vec<&str> = sources.iter().map(|name| labels.get(name).unwrap_or("")).collect();
        Some(labels.with(destination, &values.join(separator)))
    })
}

/// Changes the labels of every series for which `change` gives new ones.
fn relabel(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
    change: impl Fn(&Labels) -> Option<Labels>,
) -> Result<Columns, QueryError> {
    let Some(arg) = call.args.first() else { return Ok(Columns::Vector(Vec::new())) };
    let mut columns = evaluator.vector(arg, steps)?;
    // A long text in every series is memory that no sample stands for.
    let mut text_len: usize = 0;
    for column in &mut columns {
        if let Some(labels) = change(&column.labels) {
            text_len += labels.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
            evaluator.check_samples(text_len / SAMPLE_LEN)?;
            column.labels = labels;
        }
    }
    column::distinct(columns).map(Columns::Vector)
}
