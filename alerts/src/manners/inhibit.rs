//! Inhibition: an alert that fires keeps others quiet that have the same values of some labels.
//!
//! The alerts that can keep others quiet are held by those values, so that asking is a look-up.
//! An alert that fulfils both sides of a rule is not kept quiet by another that does.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::matchers::Matchers;

/// One rule.
#[derive(Debug, Clone)]
pub(super) struct InhibitRule {
    pub(super) source: Matchers,
    pub(super) target: Matchers,
    pub(super) equal: Vec<String>,
}

/// The rules and the alerts that are sources of one now.
#[derive(Debug, Clone, Default)]
pub(super) struct Inhibitor {
    rules: Vec<InhibitRule>,
    /// By rule and values: the fingerprints, and whether the alert is a target too.
    sources: Vec<HashMap<Vec<String>, BTreeMap<String, bool>>>,
}

type Map = BTreeMap<String, String>;

fn values(rule: &InhibitRule, labels: &Map) -> Vec<String> {
    rule.equal.iter().map(|name| labels.get(name).cloned().unwrap_or_default()).collect()
}

impl Inhibitor {
    pub(super) fn new(rules: Vec<InhibitRule>) -> Self {
        let sources = rules.iter().map(|_| HashMap::new()).collect();
        Self { rules, sources }
    }

    /// An alert fires.
    pub(super) fn begin(&mut self, fingerprint: &str, labels: &Map) {
        for (rule, sources) in self.rules.iter().zip(&mut self.sources) {
            if rule.source.matches(labels) {
                let of_values = sources.entry(values(rule, labels)).or_default();
                of_values.insert(fingerprint.to_owned(), rule.target.matches(labels));
            }
        }
    }

    /// An alert fires no more.
    pub(super) fn end(&mut self, fingerprint: &str, labels: &Map) {
        for (rule, sources) in self.rules.iter().zip(&mut self.sources) {
            let key = values(rule, labels);
            if let Some(of_values) = sources.get_mut(&key) {
                of_values.remove(fingerprint);
                if of_values.is_empty() {
                    sources.remove(&key);
                }
            }
        }
    }

    /// Adds the alerts that keep one with these labels quiet: one per rule.
    pub(super) fn inhibitors(&self, labels: &Map, found: &mut BTreeSet<String>) {
        for (rule, sources) in self.rules.iter().zip(&self.sources) {
            if sources.is_empty() || !rule.target.matches(labels) {
                continue;
            }
            let Some(of_values) = sources.get(&values(rule, labels)) else { continue };
            let both = rule.source.matches(labels);
            let first = of_values.iter().find(|(_, is_target)| !(both && **is_target));
            found.extend(first.map(|(fingerprint, _)| fingerprint.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Map {
        let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn sources_keep_targets_of_equal_labels_quiet() {
        let rule = InhibitRule {
            source: Matchers::parse("severity=critical").unwrap(),
            target: Matchers::parse("severity=~\"warning|critical\"").unwrap(),
            equal: vec!["node".to_owned(), "rack".to_owned()],
        };
        let mut inhibitor = Inhibitor::new(vec![rule]);
        let by = |inhibitor: &Inhibitor, text: &str| {
            let mut found = BTreeSet::new();
            inhibitor.inhibitors(&labels(text), &mut found);
            found.into_iter().collect::<Vec<_>>()
        };
        inhibitor.begin("a", &labels("severity=critical node=x"));
        assert_eq!(
            by(&inhibitor, "severity=warning node=x"),
            ["a"],
            "a rack that is absent is equal"
        );
        assert!(by(&inhibitor, "severity=warning node=y").is_empty());
        assert!(by(&inhibitor, "severity=warning node=x rack=1").is_empty());
        assert!(by(&inhibitor, "severity=critical node=x").is_empty(), "both sides, and so is a");
        inhibitor.end("a", &labels("severity=critical node=x"));
        assert!(by(&inhibitor, "severity=warning node=x").is_empty());
    }
}
