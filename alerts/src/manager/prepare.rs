//! What is worked out of a rule once, when it comes into force: its queries, what it is known by, and
//! what its evaluation may leave out.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;

use labstat_model::Labels;
use labstat_promql::Query;

use super::evaluate::{ALERTS, ALERTS_FOR_STATE, generator_url};
use super::{ManagerOptions, rows};
use crate::rules::{AlertRule, Group, KEEP_WHILE, Rule, RuleKind, may_select};
use crate::template::Template;

/// A rule, ready to be evaluated again and again.
#[derive(Debug)]
pub(super) struct Prepared {
    /// What makes it the same rule across reloads and restarts, within its group.
    pub(super) key: String,
    /// How many rules of this key stand before it.
    pub(super) nth: usize,
    /// What the keys of its rows begin with.
    pub(super) row_prefix: String,
    /// The expression, or why there is none.
    pub(super) query: Result<Query, String>,
    /// That of [`KEEP_WHILE`].
    pub(super) keep_while: Option<Result<Query, String>>,
    /// Whether it may see what rules before it say in the same round.
    pub(super) looks_back: bool,
    /// Whether its annotations say the same of an alert as long as its value is the same, and none of
    /// its texts asks for more, which takes long.
    pub(super) has_steady_texts: bool,
    /// The metrics that its expression names.
    pub(super) metrics: BTreeSet<String>,
    /// Where its expression can be looked at.
    pub(super) url: String,
}

/// All rules of a group.
pub(super) fn all(group: &Group, options: &ManagerOptions) -> Vec<Prepared> {
    let mut count: HashMap<String, usize> = HashMap::new();
    // The metrics that rules so far write.
    let mut written: BTreeSet<&str> = BTreeSet::new();
    let mut prepared = Vec::with_capacity(group.rules.len());
    for rule in &group.rules {
        let key = rule_key(rule);
        let nth = count.entry(key.clone()).and_modify(|nth| *nth += 1).or_insert(0);
        prepared.push(one(group, rule, options, &written, (key, *nth)));
        match &rule.kind {
            RuleKind::Record { .. } => {
                written.insert(&rule.name);
            }
            RuleKind::Alert(_) => written.extend([ALERTS, ALERTS_FOR_STATE]),
        }
    }
    prepared
}

fn one(
    group: &Group,
    rule: &Rule,
    options: &ManagerOptions,
    written: &BTreeSet<&str>,
    (key, nth): (String, usize),
) -> Prepared {
    let query = Query::read(rule.expr.as_str()).map_err(|error| error.to_string());
    let checked = query.as_ref().ok().and_then(|query| query.checked().ok());
    let (keep_while, asks, steady) = match &rule.kind {
        RuleKind::Record { .. } => (None, false, true),
        RuleKind::Alert(alert) => {
            let steady = !depends(&alert.annotations) && !depends(&alert.labels);
            (keep_while(alert), asks(alert), steady)
        }
    };
    let names_written = checked.as_ref().is_some_and(|checked| {
        let sees = |name: &&str| checked.selectors.iter().any(|m| may_select(m, name));
        written.iter().any(sees)
    });
    Prepared {
        row_prefix: rows::prefix(&group.file, &group.name, &key, nth),
        key,
        nth,
        query,
        keep_while,
        // What a template or the second expression asks for is not looked through.
        looks_back: names_written || (asks && !written.is_empty()),
        has_steady_texts: steady,
        metrics: checked.map(|c| c.metric_names.into_iter().collect()).unwrap_or_default(),
        url: generator_url(options, &rule.expr),
    }
}

/// The second expression of a rule, where it has one.
fn keep_while(alert: &AlertRule) -> Option<Result<Query, String>> {
    let query = Query::read(alert.keep_while()?).map_err(|error| format!("{KEEP_WHILE}: {error}"));
    Some(query)
}

/// Whether a rule asks for more than its expression.
fn asks(alert: &AlertRule) -> bool {
    let texts = alert.annotations.iter().chain(&alert.labels);
    alert.keep_while().is_some()
        || texts.into_iter().any(|(_, text)| text.source().contains("query"))
}

/// Whether any of these texts may change while labels and value stay the same.
fn depends(texts: &[(String, Template)]) -> bool {
    let depends =
        |text: &str| text.contains("{{") && (text.contains("query") || text.contains("now"));
    texts.iter().any(|(_, text)| depends(text.source()))
}

/// What makes two rules of a group the same one, across reloads and restarts.
fn rule_key(rule: &Rule) -> String {
    let mut key = rule.name.clone();
    match &rule.kind {
        RuleKind::Record { labels } => {
            let set = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let _ = write!(key, " record {}", Labels::new(set));
            for (name, _) in labels.iter().filter(|(_, value)| value.is_empty()) {
                let _ = write!(key, " without {name}");
            }
        }
        RuleKind::Alert(alert) => {
            key.push_str(" alert");
            for (name, template) in &alert.labels {
                let _ = write!(key, " {name}={:?}", template.source());
            }
        }
    }
    key
}
