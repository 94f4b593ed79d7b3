//! The rules we ship, judged by Prometheus' own tool, and evaluated by ours on a healthy machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use labstat_alerts::RuleSet;
use labstat_alerts::rules::{Rule, RuleKind};

/// Debian's promtool and the current one, where they are.
fn promtools() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let known = [PathBuf::from("/usr/bin/promtool"), root.join("target/peers/bin/promtool")];
    known.into_iter().filter(|path| path.exists()).collect()
}

fn files(tests: bool) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".test.yml") == tests)
        .collect();
    files.sort();
    files
}

#[test]
fn promtool_finds_them_right_and_their_unit_tests_pass() {
    let tools = promtools();
    if tools.is_empty() {
        eprintln!("SKIPPED: no promtool (Debian package prometheus, or .ci/peers)");
        return;
    }
    let mut running = Vec::new();
    for tool in tools {
        for (action, list) in [("check", files(false)), ("test", files(true))] {
            assert!(!list.is_empty());
            let mut command = Command::new(&tool);
            command.args([action, "rules"]).args(list);
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            running.push((format!("{tool:?} {action}"), child));
        }
    }
    for (what, child) in running {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what}:\n{text}{errors}");
    }
}

#[test]
fn every_file_is_embedded_and_has_unit_tests_for_each_alert() {
    let shipped = labstat_alerts::shipped::FILES;
    let names: Vec<String> = files(false)
        .iter()
        .map(|path| format!("labstat/{}", path.file_name().unwrap().to_string_lossy()))
        .collect();
    assert_eq!(names, shipped.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    let tests: String =
        files(true).iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let set = RuleSet::shipped().unwrap();
    for rule in set.groups.iter().flat_map(|group| &group.rules) {
        // What is recorded is tested by what asks for it.
        let name = match &rule.kind {
            RuleKind::Alert(_) => &rule.name,
            RuleKind::Record { .. } => reader(&set, &rule.name),
        };
        assert!(tests.contains(&format!("alertname: {name}\n")), "{name} has no test");
    }
}

/// The name of an alert that asks for a recorded metric.
fn reader<'a>(set: &'a RuleSet, metric: &str) -> &'a str {
    let mut rules = set.groups.iter().flat_map(|group| &group.rules);
    let asks = |rule: &&Rule| matches!(rule.kind, RuleKind::Alert(_)) && rule.expr.contains(metric);
    rules.find(asks).map_or_else(|| panic!("nothing asks for {metric}"), |rule| &rule.name)
}

/// A container shows what belongs to its host, and would tell it once more.
#[test]
fn what_a_container_shows_of_its_host_is_told_by_the_host() {
    let set = RuleSet::shipped().unwrap();
    for group in &set.groups {
        let of_the_host = ["labstat/btrfs.yml", "labstat/raid.yml", "labstat/zfs.yml"];
        for rule in &group.rules {
            let expr = &rule.expr;
            let is_of_the_host = of_the_host.contains(&group.file.as_str())
                || ["node_hwmon_", "node_timex_", "node_pressure_", "node_edac_", "node_vmstat_"]
                    .iter()
                    .any(|metric| expr.contains(metric));
            let is_left_out =
                expr.contains("unless on (instance) instance:labstat_repeats_host:info");
            assert!(is_left_out || !is_of_the_host, "{} is told by each container", rule.name);
        }
    }
}
