//! Functions that change labels.

use labstat_model::{Labels, regex_from_go};
use regex::{Captures, Regex, RegexBuilder};

use crate::QueryError;
use crate::budget::{Cost, Pace};
use crate::column::{Columns, Steps};
use crate::eval::Evaluator;
use crate::expr::{Call, Expr, Node};

/// Bytes that a compiled pattern may take: as for matchers, a pattern from outside must not be
/// able to take the machine's memory.
const REGEX_SIZE_MAX: usize = 4 * 1024 * 1024;

/// What changing the labels of a series takes, in numbers looked at.
const RELABELLING: usize = 256;

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
    let regex = call.pattern.get_or_init(|| compile(pattern)).as_ref().ok_or_else(|| {
        let message = format!("invalid regular expression in label_replace(): {pattern}");
        QueryError::execution(message)
    })?;
    if destination.is_empty() {
        let message = "invalid destination label name in label_replace(): ";
        return Err(QueryError::execution(message));
    }
    relabel(evaluator, call, steps, |labels, text| {
        let value = labels.get(source).unwrap_or("");
        let Some(found) = regex.captures(value) else { return Ok(None) };
        expand(replacement, &found, text)?;
        Ok(Some(labels.with(destination, &text.take())))
    })
}

/// The whole value must match, and `.` matches line ends too, as in matchers.
fn compile(pattern: &str) -> Option<Regex> {
    // Not the pattern on its own: here `a)|(b` closes the group around it, as in Prometheus.
    let text = regex_from_go(&format!("^(?s:{pattern})$")).ok()?;
    RegexBuilder::new(&text).size_limit(REGEX_SIZE_MAX).build().ok()
}

/// Text that is put together for the labels of series, counted as it grows: a short query can ask
/// for more than there is memory.
struct Text<'b> {
    pace: Pace<'b>,
    text: String,
    /// What the labels that were made so far take.
    made: Cost,
}

impl<'b> Text<'b> {
    /// How many times a text is held at most while labels are made of it: it grows by doubling,
    /// and is copied into the set, which is copied once itself.
    const COPIES: usize = 4;

    /// What appending takes, in numbers looked at.
    const APPENDING: usize = 4;

    fn new(pace: Pace<'b>) -> Self {
        Self { pace, text: String::new(), made: Cost::default() }
    }

    fn push(&mut self, more: &str) -> Result<(), QueryError> {
        self.pace.spend(Self::APPENDING.saturating_add(more.len() / size_of::<u64>()))?;
        let len = self.text.len().saturating_add(more.len());
        let held = self.made.and(Cost::bytes(len.saturating_mul(Self::COPIES)));
        self.pace.budget().check(held)?;
        self.text.push_str(more);
        Ok(())
    }

    fn take(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    /// Counts labels that are held from now on.
    fn made(&mut self, labels: &Labels) -> Result<(), QueryError> {
        self.made = self.made.and(Cost::bytes(labels.size_bytes()));
        self.pace.budget().check(self.made)
    }
}

/// Appends `template` with what was found in place of `$1`, `${1}`, `$name` and `${name}`, by the rules of
/// Go: a name goes on as long as letters, digits and underscores do, `$$` is a dollar sign, and
/// what is no reference stands for itself.
fn expand(template: &str, found: &Captures<'_>, expanded: &mut Text<'_>) -> Result<(), QueryError> {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push(before)?;
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push("$")?;
            rest = after;
        } else if let Some((name, after)) = reference(rest) {
            expanded.push(group(name, found))?;
            rest = after;
        } else {
            expanded.push("$")?;
        }
    }
    expanded.push(rest)
}

/// The name that `text` begins with, perhaps in braces, and what is after it.
fn reference(text: &str) -> Option<(&str, &str)> {
    let (braced, text) = match text.strip_prefix('{') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let rest = if braced { rest.strip_prefix('}')? } else { rest };
    (!name.is_empty()).then_some((name, rest))
}

/// What the group of this number or name found; a number has no leading zero.
fn group<'t>(name: &str, found: &Captures<'t>) -> &'t str {
    let number = name.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = name.len() > 1 && name.starts_with('0');
    let group = if number && !leading_zero {
        name.parse().ok().and_then(|number: usize| found.get(number))
    } else {
        found.name(name)
    };
    group.map_or("", |group| group.as_str())
}

/// `label_join(v, destination, separator, source…)`.
pub(super) fn join(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let (destination, separator) = (text(call, 1), text(call, 2));
    let sources: Vec<&str> = (3..call.args.len()).map(|at| text(call, at)).collect();
    if sources.contains(&"") {
        return Err(QueryError::execution("invalid source label name in label_join(): "));
    }
    if destination.is_empty() {
        return Err(QueryError::execution("invalid destination label name in label_join(): "));
    }
    relabel(evaluator, call, steps, |labels, text| {
        for (at, source) in sources.iter().enumerate() {
            if at > 0 {
                text.push(separator)?;
            }
            text.push(labels.get(source).unwrap_or(""))?;
        }
        Ok(Some(labels.with(destination, &text.take())))
    })
}

/// Changes the labels of every series for which `change` gives new ones.
fn relabel(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
    change: impl Fn(&Labels, &mut Text<'_>) -> Result<Option<Labels>, QueryError>,
) -> Result<Columns, QueryError> {
    let Some(arg) = call.args.first() else { return Ok(Columns::Vector(Vec::new())) };
    let mut columns = evaluator.vector(arg, steps)?;
    let mut text = Text::new(evaluator.budget.pace());
    for column in &mut columns {
        text.pace.spend(RELABELLING)?;
        if let Some(labels) = change(&column.labels, &mut text)? {
            text.made(&labels)?;
            column.labels = labels;
        }
    }
    evaluator.distinct(columns).map(Columns::Vector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{Budget, Limits};

    #[test]
    fn references_expand_as_in_go() {
        let regex = compile("(?P<name>.)(.*)").unwrap();
        let found = regex.captures("ab").unwrap();
        let limits = Limits { samples_max: 1_000, memory_max: 1_000, ..Limits::default() };
        let budget = Budget::new(limits);
        for (template, expanded) in [
            ("$1-$2", "a-b"),
            ("${1}x", "ax"),
            ("$1x", ""),
            ("$name/${name}s", "a/as"),
            ("$$1", "$1"),
            ("$0$9$01", "ab"),
            ("$", "$"),
            ("a$-b", "a$-b"),
            ("${", "${"),
            ("${1", "${1"),
            ("${}${1-2}", "${}${1-2}"),
            ("$1é.", "."),
            ("$99999999999999999999999", ""),
        ] {
            let mut text = Text::new(budget.pace());
            expand(template, &found, &mut text).unwrap();
            assert_eq!(text.take(), expanded, "{template}");
        }
    }
}
