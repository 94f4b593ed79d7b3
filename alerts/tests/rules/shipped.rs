//! The rules we ship, judged by Prometheus' own tool, and whether they and their advice are whole.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use labstat_alerts::rules::{Rule, RuleKind};
use labstat_alerts::template::Template;
use labstat_alerts::{RuleSet, shipped};

/// Debian's promtool and the current one, where they are, the newest last.
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

/// All that is shipped, with what is off by itself.
fn all() -> RuleSet {
    RuleSet::shipped().unwrap().and(RuleSet::parse(&[shipped::WATCHDOG]).unwrap())
}

#[test]
fn promtool_finds_them_right_and_their_unit_tests_pass() {
    let tools = promtools();
    if tools.is_empty() {
        eprintln!("SKIPPED: no promtool (Debian package prometheus, or .ci/peers)");
        return;
    }
    let mut running = Vec::new();
    let mut run = |tool: &Path, action: &str, list: &[PathBuf]| {
        assert!(!list.is_empty());
        let mut command = Command::new(tool);
        command.args([action, "rules"]).args(list);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        running.push((format!("{tool:?} {action}"), child));
    };
    tools.iter().for_each(|tool| run(tool, "check", &files(false)));
    // Ceph's unit tests take a processor half a minute: by the newest alone.
    let is_of_ceph = |file: &PathBuf| file.ends_with("ceph.test.yml");
    let (ceph, others): (Vec<_>, Vec<_>) = files(true).into_iter().partition(is_of_ceph);
    run(tools.last().unwrap(), "test", &ceph);
    tools.iter().for_each(|tool| run(tool, "test", &others));
    for (what, child) in running {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what}:\n{text}{errors}");
    }
}

#[test]
fn every_file_is_embedded_and_has_unit_tests_for_each_alert() {
    let mut shipped: Vec<&str> = shipped::FILES.iter().map(|(name, _)| *name).collect();
    shipped.push(shipped::WATCHDOG.0);
    shipped.sort_unstable();
    let names: Vec<String> = files(false)
        .iter()
        .map(|path| format!("labstat/{}", path.file_name().unwrap().to_string_lossy()))
        .collect();
    assert_eq!(names, shipped);
    let tests: String =
        files(true).iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let set = all();
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

/// The most that a phone shows of a title on its lock screen.
const SUMMARY_LEN_MAX: usize = 60;

/// One that is told in the middle of the night must say what, why, and what to do.
#[test]
fn every_alert_says_what_is_needed() {
    let set = all();
    for rule in set.groups.iter().flat_map(|group| &group.rules) {
        let RuleKind::Alert(alert) = &rule.kind else { continue };
        let name = &rule.name;
        let of = |list: &[(String, Template)], key: &str| {
            let found = list.iter().find(|(found, _)| found == key);
            found.map_or_else(String::new, |(_, template)| template.source().to_owned())
        };
        let severity = of(&alert.labels, "severity");
        assert!(["critical", "warning", "info"].contains(&severity.as_str()), "{name}: {severity}");
        let annotation = |key: &str| of(&alert.annotations, key);
        assert!(!annotation("summary").is_empty(), "{name} has no summary");
        let description = annotation("description");
        assert!(description.len() > 40 && !description.contains("Next:"), "{name}: {description}");
        let next = annotation("next");
        assert!(!next.is_empty() && !next.contains(['\n', ';']), "{name}: one command: {next}");
        assert_eq!(annotation("runbook_url"), format!("{{{{ $externalURL }}}}/runbooks/{name}"));
    }
}

#[test]
fn every_alert_has_advice_and_no_advice_is_orphaned() {
    let set = all();
    let rules = set.groups.iter().flat_map(|group| &group.rules);
    let mut alerts: Vec<&str> = rules
        .filter(|rule| matches!(rule.kind, RuleKind::Alert(_)))
        .map(|rule| rule.name.as_str())
        .collect();
    alerts.sort_unstable();
    alerts.dedup();
    let advice: Vec<shipped::Advice> = shipped::advice().collect();
    let mut advised: Vec<&str> = advice.iter().map(|advice| advice.alert).collect();
    advised.sort_unstable();
    assert_eq!(alerts, advised);
    for shipped::Advice { alert, text, .. } in advice {
        for part in ["**Look.**", "**Mend.**", "**Silence**", "```sh\n"] {
            assert!(text.contains(part), "the advice on {alert} lacks {part}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{alert} has long lines");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runbooks");
    let pages = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(pages, shipped::RUNBOOKS.len(), "a page that is not embedded");
}

/// The unit tests have labels as labs have them: what they expect is what a phone shows.
#[test]
fn every_summary_fits_a_lock_screen() {
    let mut seen = 0;
    for path in files(true) {
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines().filter_map(|line| line.trim().strip_prefix("summary: ")) {
            let summary = line.trim_matches(['\'', '"']).replace("''", "'");
            let len = summary.chars().count();
            assert!((8..=SUMMARY_LEN_MAX).contains(&len), "{len}: {summary} in {path:?}");
            seen += 1;
        }
    }
    let alerts = shipped::advice().count();
    assert!(seen >= alerts, "{seen} summaries of {alerts} alerts are tested");
}

/// For each alert a test that it fires, one that it does not yet, and what it then says.
#[test]
fn every_alert_is_tested_firing_and_not() {
    let mut cases: Vec<(String, bool)> = Vec::new();
    for path in files(true) {
        let text = std::fs::read_to_string(&path).unwrap();
        for case in text.split("      - eval_time: ").skip(1) {
            let name = case.lines().find_map(|line| line.trim().strip_prefix("alertname: "));
            cases.push((name.unwrap_or("").to_owned(), case.contains("exp_alerts:")));
        }
    }
    for shipped::Advice { alert, .. } in shipped::advice() {
        let has = |fires| cases.iter().any(|case| *case == (alert.to_owned(), fires));
        assert!(has(true), "no test has {alert} firing");
        assert!(has(false) || alert == "Watchdog", "no test has {alert} not firing");
    }
}
