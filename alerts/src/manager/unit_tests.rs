//! The unit tests of the shipped rules (promtool's format), run by our own engine and state
//! machine: the same verdicts as promtool's, which the tests under `tests/` ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use labstat_model::{Labels, duration, stale_marker};
use labstat_promql::Engine;
use serde::Deserialize;

use super::tests::Memory;
use super::{Due, Manager, ManagerOptions, State};
use crate::rules::{Rule, RuleSet};

#[derive(Deserialize)]
struct File {
    rule_files: Vec<String>,
    evaluation_interval: String,
    tests: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    interval: String,
    input_series: Vec<Input>,
    alert_rule_test: Vec<Check>,
}

#[derive(Deserialize)]
struct Input {
    series: String,
    values: String,
}

#[derive(Deserialize)]
struct Check {
    eval_time: String,
    alertname: String,
    #[serde(default)]
    exp_alerts: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    exp_labels: BTreeMap<String, String>,
    exp_annotations: BTreeMap<String, String>,
}

/// The values of promtool's notation as far as our tests use it: `1`, `1x3`, `200-1x3`, `stale`, `_x3`
/// for none, several with a space between.
fn values(text: &str) -> Vec<Option<f64>> {
    let mut all = Vec::new();
    for part in text.split(' ') {
        if part == "stale" {
            all.push(Some(stale_marker()));
            continue;
        }
        if let Some(count) = part.strip_prefix("_x") {
            all.extend((0..count.parse().unwrap()).map(|_: u32| None));
            continue;
        }
        let Some((start, count)) = part.rsplit_once('x') else {
            all.push(Some(part.parse().unwrap()));
            continue;
        };
        let at = start.rfind(['+', '-']).filter(|at| *at > 0);
        let (start, step) = at.map_or((start, "0"), |at| start.split_at(at));
        let (start, step): (f64, f64) = (start.parse().unwrap(), step.parse().unwrap());
        let count: u32 = count.parse().unwrap();
        all.extend((0..=count).map(|n| Some(start + step * f64::from(n))));
    }
    all
}

fn source(case: &Case) -> Memory {
    let memory = Memory::default();
    let interval = duration::parse_ms(&case.interval).unwrap();
    for input in &case.input_series {
        let matchers = labstat_promql::selector(&input.series).unwrap();
        let labels = Labels::new(matchers.iter().map(|m| (m.name(), m.value())));
        for (time, value) in (0_i64..).zip(values(&input.values)) {
            if let Some(value) = value {
                memory.push(labels.clone(), time * interval, value);
            }
        }
    }
    memory
}

/// The rules of which a case says something, and those whose alerts they ask for or whose series they
/// read: what another rule makes of the same samples is another case's.
fn needed(case: &Case, rules: &RuleSet) -> RuleSet {
    let all = || rules.groups.iter().flat_map(|group| &group.rules);
    let mut names: BTreeSet<&str> =
        case.alert_rule_test.iter().map(|check| check.alertname.as_str()).collect();
    for name in &names {
        assert!(all().any(|rule| rule.name == *name), "{}: there is no rule {name}", case.name);
    }
    loop {
        // Templates ask, too.
        let texts = |rule: &Rule| format!("{} {:?}", rule.expr, rule.kind);
        let read: String =
            all().filter(|rule| names.contains(rule.name.as_str())).map(texts).collect();
        let len = names.len();
        names.extend(all().map(|rule| rule.name.as_str()).filter(|name| read.contains(name)));
        if names.len() == len {
            break;
        }
    }
    let mut needed = rules.clone();
    for group in &mut needed.groups {
        Arc::make_mut(group).rules.retain(|rule| names.contains(rule.name.as_str()));
    }
    needed
}

fn run(case: &Case, rules: &RuleSet, step_ms: i64) {
    let manager = Manager::new(needed(case, rules), ManagerOptions::default(), -1);
    let memory = source(case);
    let engine = Engine::default();
    let times: Vec<i64> = case
        .alert_rule_test
        .iter()
        .map(|check| duration::parse_ms(&check.eval_time).unwrap())
        .collect();
    for time in &times {
        assert_eq!(time % step_ms, 0, "{}: nothing is evaluated at {time}", case.name);
    }
    for step in 0..=times.iter().max().unwrap() / step_ms {
        let time_ms = step * step_ms;
        for group in manager.read() {
            let out = manager.evaluate(&Due { time_ms, group }, &engine, &memory);
            for series in out.write.series {
                for sample in series.samples {
                    memory.push(series.labels.clone(), sample.time_ms, sample.value);
                }
            }
        }
        assert_eq!(manager.failing_len(), 0, "{}: a rule fails at {time_ms}", case.name);
        for check in case.alert_rule_test.iter().zip(&times).filter(|(_, at)| **at == time_ms) {
            let name = format!("{}: {} at {}", case.name, check.0.alertname, check.0.eval_time);
            compare(&manager, check.0, &name);
        }
    }
}

fn compare(manager: &Manager, check: &Check, name: &str) {
    let mut found = Vec::new();
    for running in manager.read() {
        for alert in running.lock().rules.iter().flat_map(|rule| rule.alerts.values()) {
            if alert.labels["alertname"] == check.alertname && alert.state == State::Firing {
                found.push((alert.labels.clone(), alert.annotations.clone()));
            }
        }
    }
    let wanted = check.exp_alerts.iter().map(|expected| {
        let mut labels = expected.exp_labels.clone();
        labels.insert("alertname".to_owned(), check.alertname.clone());
        (labels, expected.exp_annotations.clone())
    });
    let mut wanted: Vec<_> = wanted.collect();
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted, "{name}");
}

#[test]
fn our_verdicts_on_the_shipped_rules_are_promtools() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let mut cases = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.to_string_lossy().ends_with(".test.yml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let file: File = serde_saphyr::from_str(&text).unwrap();
        let paths: Vec<_> = file.rule_files.iter().map(|name| folder.join(name)).collect();
        let rules = RuleSet::load(&paths).unwrap();
        let step_ms = duration::parse_ms(&file.evaluation_interval).unwrap();
        for case in &file.tests {
            run(case, &rules, step_ms);
            cases += 1;
        }
    }
    assert!(cases >= 15, "{cases} cases");
}
