//! What is doubtful about rules that are right: what Prometheus takes and nobody can have meant.
//!
//! Only what is certain is said: that a text names a label which its expression cannot give, not that a
//! threshold is odd. Nothing here keeps a rule from being evaluated.

use std::collections::{BTreeMap, BTreeSet};

use labstat_model::METRIC_NAME;

use super::{AlertRule, Group, Problem, Rule, RuleKind, RuleSet};

/// Annotations of which an alert needs one, or its message says nothing.
const TEXTS: [&str; 2] = ["summary", "description"];

/// What is doubtful, in the order of the rules.
pub fn lint(set: &RuleSet) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut known = BTreeMap::new();
    for (group, rule) in rules(set) {
        let mut say = |message: String| found.push(problem(group, rule, &message));
        if let Some(first) = known.insert(identity(rule), place(group, rule)) {
            let what = "duplicate rule: the same name and labels as the one at";
            let so = match &rule.kind {
                RuleKind::Record { .. } => "might cause inconsistency while recording expressions",
                RuleKind::Alert(_) => "and the same expression",
            };
            say(format!("{what} {first}; {so}"));
        }
        if let RuleKind::Alert(alert) = &rule.kind {
            of_alert(rule, alert, &mut say);
        }
    }
    found
}

/// Metrics that are recorded and that no other rule of the set asks for. That says something only of a
/// set that is whole, and nothing of dashboards.
pub fn unused(set: &RuleSet) -> Vec<Problem> {
    let mut selectors = Vec::new();
    let mut texts = Vec::new();
    for (_, rule) in rules(set) {
        selectors.push((rule.name.as_str(), rule.selectors()));
        if let RuleKind::Alert(alert) = &rule.kind {
            texts.extend(alert.annotations.iter().map(|(_, text)| text.source()));
        }
    }
    let is_used = |name: &str| {
        let by_selector = |matchers: &Vec<labstat_model::Matcher>| {
            let mut names = matchers.iter().filter(|m| m.name() == METRIC_NAME).peekable();
            names.peek().is_some() && names.all(|m| m.matches(name))
        };
        let others = selectors.iter().filter(|(by, _)| *by != name);
        others.flat_map(|(_, selectors)| selectors).any(by_selector)
            || texts.iter().any(|text| text.contains(name))
    };
    let records = rules(set).filter(|(_, rule)| matches!(rule.kind, RuleKind::Record { .. }));
    let idle = records.filter(|(_, rule)| !is_used(&rule.name));
    let what = "no rule asks for what it records";
    idle.map(|(group, rule)| problem(group, rule, what)).collect()
}

fn rules(set: &RuleSet) -> impl Iterator<Item = (&Group, &Rule)> {
    set.groups.iter().flat_map(|group| group.rules.iter().map(move |rule| (&**group, rule)))
}

fn place(group: &Group, rule: &Rule) -> String {
    format!("{}:{}", group.file, rule.line)
}

fn problem(group: &Group, rule: &Rule, message: &str) -> Problem {
    let message = format!("{}: {message}", rule.name);
    Problem { file: group.file.clone(), line: Some(rule.line), message }
}

/// Rules with the name and labels of one before them in their file: the duplicates that promtool tells of,
/// also where an alert has another expression.
pub fn duplicates(set: &RuleSet) -> Vec<Problem> {
    let mut known = BTreeMap::new();
    let mut found = Vec::new();
    for (group, rule) in rules(set) {
        let (_, name, labels, _) = identity(rule);
        let key = (group.file.as_str(), name, labels);
        if let Some(first) = known.get(&key) {
            let message = format!("duplicate rule: the same name and labels as the one at {first}");
            found.push(problem(group, rule, &message));
        } else {
            known.insert(key, place(group, rule));
        }
    }
    found
}

/// What two rules that are the same have in common. An alert has often several rules for what it may be
/// told by; what is recorded has one.
fn identity(rule: &Rule) -> (bool, &str, Vec<(&str, &str)>, &str) {
    let name = rule.name.as_str();
    match &rule.kind {
        RuleKind::Record { labels } => {
            (true, name, labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect(), "")
        }
        RuleKind::Alert(alert) => {
            let labels = alert.labels.iter().map(|(n, text)| (n.as_str(), text.source())).collect();
            (false, name, labels, rule.expr.trim())
        }
    }
}

fn of_alert(rule: &Rule, alert: &AlertRule, say: &mut impl FnMut(String)) {
    if !alert.labels.iter().any(|(name, _)| name == "severity") {
        say("has no label severity, by which receivers and routes choose".to_owned());
    }
    let has_text = |name: &&str| alert.annotations.iter().any(|(own, _)| own == name);
    if !TEXTS.iter().any(has_text) {
        say("has neither an annotation summary nor a description".to_owned());
    }
    let Ok(given) = labstat_promql::result_labels(&rule.expr) else { return };
    let texts = [("label", &alert.labels), ("annotation", &alert.annotations)];
    for (what, (name, text)) in
        texts.iter().flat_map(|(what, all)| all.iter().map(move |one| (what, one)))
    {
        let missing: BTreeSet<String> =
            text.labels().into_iter().filter(|label| !given.may_have(label)).collect();
        for label in missing {
            say(format!("{what} {name} names $labels.{label}, which the expression drops"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(found: &[Problem]) -> Vec<String> {
        found.iter().map(ToString::to_string).collect()
    }

    fn set(rules: &str) -> RuleSet {
        let text = format!("groups:\n- name: g\n  labels: {{team: lab}}\n  rules:\n{rules}");
        RuleSet::parse(&[("r.yml", &text)]).unwrap()
    }

    const SOUND: &str = "labels: {severity: info}, annotations: {summary: x}";

    #[test]
    fn the_same_rule_twice_is_told() {
        let set = set(&format!(
            "  - {{record: a, expr: x}}\n  - {{record: a, expr: y, labels: {{b: c}}}}\n  - {{record: a, expr: z}}\n  \
             - {{alert: a, expr: x, {SOUND}}}\n  - {{alert: a, expr: y, {SOUND}}}\n  - {{alert: a, expr: x, {SOUND}}}\n"
        ));
        assert_eq!(
            said(&lint(&set)),
            [
                "r.yml:7: a: duplicate rule: the same name and labels as the one at r.yml:5; might cause \
                 inconsistency while recording expressions",
                "r.yml:10: a: duplicate rule: the same name and labels as the one at r.yml:8; and the same \
                 expression"
            ]
        );
    }

    #[test]
    fn duplicates_are_those_that_promtool_tells_of() {
        let text = format!(
            "  - {{record: a, expr: x}}\n  - {{alert: a, expr: x, {SOUND}}}\n  - {{alert: a, expr: y, {SOUND}}}\n  \
             - {{record: a, expr: y, labels: {{b: c}}}}\n"
        );
        let same = "duplicate rule: the same name and labels as the one at";
        assert_eq!(said(&duplicates(&set(&text))), [format!("r.yml:7: a: {same} r.yml:6")]);
        let file = "groups: [{name: g, rules: [{record: a, expr: x}]}]";
        let both = RuleSet::parse(&[("r.yml", file), ("s.yml", file)]).unwrap();
        assert_eq!(said(&duplicates(&both)), [""; 0], "of one file alone");
    }

    #[test]
    fn an_alert_needs_a_severity_and_words() {
        let set =
            set("  - {alert: A, expr: x}\n  - {alert: B, expr: x, labels: {severity: info}, \
                       annotations: {description: d}}\n");
        let wanted = [
            "r.yml:5: A: has no label severity, by which receivers and routes choose",
            "r.yml:5: A: has neither an annotation summary nor a description",
        ];
        assert_eq!(said(&lint(&set)), wanted);
    }

    #[test]
    fn a_text_that_names_a_label_which_its_expression_drops_is_told() {
        let rule = |expr: &str, text: &str| {
            let rule = format!(
                "  - alert: A\n    expr: {expr}\n    labels: {{severity: info}}\n    annotations:\n      \
                 summary: '{text}'\n"
            );
            said(&lint(&set(&rule)))
        };
        let told = |label: &str| {
            vec![format!(
                "r.yml:5: A: annotation summary names $labels.{label}, which the expression drops"
            )]
        };
        let sum = "sum by (a) (x) > 1";
        assert_eq!(rule(sum, "{{ $labels.a }}"), [""; 0]);
        assert_eq!(rule(sum, "{{ $labels.b }}"), told("b"));
        assert_eq!(rule(sum, "{{ .Labels.b | toUpper }}"), told("b"));
        assert_eq!(rule(sum, "{{ if (eq $labels.b \"1\") }}x{{ end }}"), told("b"));
        assert_eq!(rule(sum, "{{ index $labels \"b\" }}"), told("b"));
        let other = "{{ range query \"x\" }}{{ .Labels.b }}{{ else }}{{ .Labels.a }}{{ end }}";
        assert_eq!(rule(sum, other), [""; 0], "those of another query");
        assert_eq!(rule("x > 1", "{{ $labels.b }}"), [""; 0]);
    }

    #[test]
    fn what_is_recorded_for_nobody_is_told() {
        let set = set(
            "  - {record: 'a:used', expr: x}\n  - {record: 'a:idle', expr: 'a:used + {b=\"c\"}'}\n  \
                       - {record: 'a:texts', expr: x}\n  - {record: 'a:self', expr: 'a:self or x'}\n  \
                       - {record: 'b:pattern', expr: '{__name__=~\"b:.+\"}'}\n  - {alert: A, expr: '{__name__=~\"b:p.+\"}', \
                       annotations: {summary: '{{ query \"a:texts\" }}'}}\n",
        );
        let wanted = [
            "r.yml:6: a:idle: no rule asks for what it records",
            "r.yml:8: a:self: no rule asks for what it records",
        ];
        assert_eq!(said(&unused(&set)), wanted);
    }

    #[test]
    fn nothing_is_doubtful_about_the_shipped_rules() {
        let mut set = RuleSet::shipped().unwrap();
        set = set.and(RuleSet::parse(&[crate::shipped::WATCHDOG]).unwrap());
        assert_eq!(said(&lint(&set)), [""; 0]);
    }
}
