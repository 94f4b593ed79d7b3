//! `labstat rules check --server URL`: what expressions ask for and the server has not.

use std::collections::{BTreeMap, BTreeSet};

use labstat_alerts::rules::{RuleKind, RuleSet};
use labstat_model::{METRIC_NAME, MatchOp};

use crate::client::{Client, path_part};
use crate::failure::Failure;

/// Changes of letters up to which a name is near another.
const DISTANCE_MAX: usize = 3;

/// Remarks on what does not exist: metrics, and values of labels of those that do.
pub(super) async fn missing(client: &Client, set: &RuleSet) -> Result<Vec<String>, Failure> {
    let metrics = values(client, METRIC_NAME, None).await?;
    let records: BTreeSet<&str> = set
        .groups
        .iter()
        .flat_map(|group| &group.rules)
        .filter(|rule| matches!(rule.kind, RuleKind::Record { .. }))
        .map(|rule| rule.name.as_str())
        .collect();
    let mut known: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    let mut remarks = Vec::new();
    for group in &set.groups {
        for rule in &group.rules {
            let place = format!("{}:{}: {}", group.file, rule.line, rule.name);
            for matchers in rule.selectors() {
                let equal = matchers.iter().filter(|m| m.op() == MatchOp::Equal);
                let name = equal.clone().find(|m| m.name() == METRIC_NAME);
                let Some(name) = name.map(labstat_model::Matcher::value) else { continue };
                if !metrics.contains(name) {
                    // What these rules themselves give comes with them.
                    if !records.contains(name) && !name.starts_with("ALERTS") {
                        let near = hint(name, &metrics);
                        remarks.push(format!("{place}: there is no metric {name}{near}"));
                    }
                    continue;
                }
                for matcher in equal.filter(|m| m.name() != METRIC_NAME && !m.value().is_empty()) {
                    let key = (name.to_owned(), matcher.name().to_owned());
                    if !known.contains_key(&key) {
                        let found = values(client, matcher.name(), Some(name)).await?;
                        known.insert(key.clone(), found);
                    }
                    let found = known.get(&key);
                    if let Some(found) = found.filter(|found| !found.contains(matcher.value())) {
                        let (label, value) = (matcher.name(), matcher.value());
                        let near = hint(value, found);
                        remarks.push(format!(
                            "{place}: {name} has no series with {label}={value:?}{near}"
                        ));
                    }
                }
            }
        }
    }
    remarks.dedup();
    Ok(remarks)
}

/// The values of a label, of one metric or of all.
async fn values(
    client: &Client,
    label: &str,
    metric: Option<&str>,
) -> Result<BTreeSet<String>, Failure> {
    let mut path = format!("/api/v1/label/{}/values", path_part(label));
    if let Some(metric) = metric {
        path.push_str("?match[]=");
        path.push_str(&path_part(&format!("{{__name__={metric:?}}}")));
    }
    let reply = client.get(&path).await?;
    serde_json::from_value(reply.data).map_err(|error| {
        Failure::new(format!("{} gave an answer we cannot read", client.base())).because(&error)
    })
}

/// A name that is near, in words.
fn hint(name: &str, known: &BTreeSet<String>) -> String {
    let near = known.iter().map(|other| (distance(name, other), other));
    let nearest = near.filter(|(distance, _)| *distance <= DISTANCE_MAX.min(name.len() / 2)).min();
    nearest.map_or_else(String::new, |(_, other)| format!("; did you mean {other}?"))
}

/// Letters to put in, take out or change to make one text of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, c) in a.chars().enumerate() {
        let mut next = vec![at + 1];
        for ((other, above), (before, left)) in
            b.iter().zip(row.iter().skip(1)).zip(row.iter().zip(at + 1..))
        {
            let left = next.last().copied().unwrap_or(left);
            let change = before + usize::from(*other != c);
            next.push(change.min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
        let known = ["node_load1", "node_load5", "up"].map(str::to_owned).into();
        assert_eq!(hint("node_loda1", &known), "; did you mean node_load1?");
        assert_eq!(hint("something_else", &known), "");
        assert_eq!(hint("xy", &known), "");
    }
}
