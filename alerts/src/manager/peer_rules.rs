//! Ceph's own rules (Debian's ceph-prometheus-alerts), unmodified, on what a real cluster said in fifteen
//! states: our engine and state machine give what promtool gives, alerts, labels and texts.
//!
//! What we find is written down as a unit test in promtool's format, and promtool must agree with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use labstat_model::Labels;
use labstat_promql::Engine;

use super::tests::Memory;
use super::{Manager, ManagerOptions, State};
use crate::rules::RuleSet;

const MINUTE: i64 = 60_000;

/// Long enough for all of Ceph's rules: the slowest waits a quarter of an hour.
const MINUTES: i64 = 20;

/// Where Debian's package puts them.
const RULES: &str = "/etc/prometheus/ceph/ceph_default_alerts.yml";

/// The samples of a page of the manager's module. Its text is not quite what it should be: families
/// come twice, which does not matter here.
fn series(page: &str) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    for line in page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let Ok(value) = value.parse::<f64>() else { continue };
        // Which of two that are equally full comes first, nobody has promised.
        let tie = if name.starts_with("ceph_pool_percent_used") { all.len() as f64 } else { 0.0 };
        let value = value + tie * 1e-6;
        let series = match name.split_once('{') {
            Some((name, labels)) => format!("{name}{{job=\"ceph\",instance=\"lab\",{labels}"),
            None => format!("{name}{{job=\"ceph\",instance=\"lab\"}}"),
        };
        // `instance` of a disk's occupation is the host; a scrape would call it exported_instance.
        if series.matches("instance=").count() == 1 {
            all.insert(series, value);
        }
    }
    all
}

struct Fired {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

fn evaluate(rules: &RuleSet, series: &BTreeMap<String, f64>) -> Vec<Fired> {
    let manager = Manager::new(rules.clone(), ManagerOptions::default(), -1);
    let memory = Memory::default();
    for (series, value) in series {
        let matchers = labstat_promql::selector(series).unwrap();
        let labels = Labels::new(matchers.iter().map(|m| (m.name(), m.value())));
        for minute in 0..=MINUTES {
            memory.push(labels.clone(), minute * MINUTE, *value);
        }
    }
    let engine = Engine::default();
    for minute in 0..=MINUTES {
        let time_ms = minute * MINUTE;
        for due in manager.all_at(time_ms) {
            let out = manager.evaluate(&due, &engine, &memory);
            for series in out.write.floats.series {
                for sample in series.samples {
                    memory.push(series.labels.clone(), sample.time_ms, sample.value);
                }
            }
        }
    }
    let mut fired = Vec::new();
    for running in manager.read() {
        for rule in &running.lock().rules {
            let firing = rule.alerts.values().filter(|alert| alert.state == State::Firing);
            fired.extend(firing.map(|alert| Fired {
                labels: alert.labels.clone(),
                annotations: alert.annotations.clone(),
            }));
        }
    }
    fired
}

/// A text in YAML's quotes, which JSON's are.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// A unit test that says of every rule what we found, also that it found nothing.
fn unit_test(
    state: &str,
    rules: &RuleSet,
    series: &BTreeMap<String, f64>,
    fired: &[Fired],
) -> String {
    let mut text = format!("  - name: {state}\n    interval: 1m\n    input_series:\n");
    for (series, value) in series {
        let _ = writeln!(
            text,
            "      - series: {}\n        values: '{value}x{MINUTES}'",
            quoted(series)
        );
    }
    text.push_str("    alert_rule_test:\n");
    // In which order a query gives its series is not promised, so texts with such a list in them are not
    // compared.
    let file = std::fs::read_to_string(RULES).unwrap();
    let written = file.split("- alert: ").skip(1);
    let lists: Vec<&str> = written
        .filter(|rule| rule.contains("range query"))
        .filter_map(|rule| rule.lines().next())
        .map(|name| name.trim_matches('"'))
        .collect();
    let names = rules.groups.iter().flat_map(|group| &group.rules).map(|rule| &*rule.name);
    let names: BTreeSet<&str> = names.filter(|name| !lists.contains(name)).collect();
    assert!(names.len() > 30 && !lists.is_empty(), "{lists:?}");
    for name in names {
        let _ = writeln!(text, "      - eval_time: {MINUTES}m\n        alertname: {name}");
        let those: Vec<&Fired> =
            fired.iter().filter(|fired| fired.labels["alertname"] == name).collect();
        if !those.is_empty() {
            text.push_str("        exp_alerts:\n");
        }
        for alert in those {
            text.push_str("          - exp_labels:\n");
            for (name, value) in alert.labels.iter().filter(|(name, _)| *name != "alertname") {
                let _ = writeln!(text, "              {name}: {}", quoted(value));
            }
            text.push_str("            exp_annotations:\n");
            for (name, value) in &alert.annotations {
                let _ = writeln!(text, "              {name}: {}", quoted(value));
            }
        }
    }
    let _ = writeln!(
        text,
        "    promql_expr_test:\n      - expr: ALERTS{{alertstate=\"firing\"}}\n        eval_time: {MINUTES}m"
    );
    if !fired.is_empty() {
        text.push_str("        exp_samples:\n");
    }
    for alert in fired {
        let labels = alert.labels.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
        let labels: Vec<String> = labels.collect();
        let series = format!("ALERTS{{alertstate=\"firing\",{}}}", labels.join(","));
        let _ = writeln!(text, "          - labels: {}\n            value: 1", quoted(&series));
    }
    text
}

#[test]
fn ceph_rules_of_debian_give_what_promtool_gives() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let live = root.join("../shared/fixtures/ceph-live");
    let peers = root.join("target/peers/bin/promtool");
    let tool = [PathBuf::from("/usr/bin/promtool"), peers].into_iter().find(|path| path.exists());
    let (Some(tool), true, true) = (tool, live.is_dir(), Path::new(RULES).exists()) else {
        eprintln!(
            "SKIPPED: Ceph's own rules need {RULES} (ceph-prometheus-alerts), promtool and {live:?}"
        );
        return;
    };
    let rules = RuleSet::load(&[PathBuf::from(RULES)]).unwrap();
    assert!(rules.rules_len() >= 50, "{} rules", rules.rules_len());
    let mut text = format!("rule_files: [{RULES}]\nevaluation_interval: 1m\ntests:\n");
    let mut fired: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(live).unwrap() {
        let path = entry.unwrap().path();
        let Ok(page) = std::fs::read_to_string(path.join("mgr-prometheus-metrics.txt")) else {
            continue;
        };
        let state = path.file_name().unwrap().to_string_lossy().into_owned();
        let series = series(&page);
        let found = evaluate(&rules, &series);
        text.push_str(&unit_test(&state, &rules, &series, &found));
        let names = found.into_iter().map(|alert| alert.labels["alertname"].clone());
        fired.insert(state, names.collect());
    }
    assert!(fired.len() >= 10, "{fired:?}");
    // The comparison below is worth nothing where nothing fires.
    assert!(fired["osd-down"].contains(&"CephOSDDown".to_owned()), "{fired:?}");
    assert!(fired["inconsistent"].contains(&"CephPGsDamaged".to_owned()), "{fired:?}");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ceph.test.yml");
    std::fs::write(&file, text).unwrap();
    let output = Command::new(tool).args(["test", "rules"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
}
