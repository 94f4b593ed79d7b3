//! What Prometheus says of rule files, unit tests and templates, and that we say the same.
//!
//! The data beside this file was judged by promtool 3.5.3, which must go on to agree with it where it is
//! installed. `verdicts.txt` has small rule files after a line with their verdict, `templates.test.yml`
//! the texts that Prometheus makes of the templates in `templates.yml`. To add to either, write what
//! you think, and let promtool correct you.

use std::path::{Path, PathBuf};
use std::process::Command;

use labstat_alerts::RuleSet;
use labstat_alerts::rules::Reading;
use labstat_alerts::testing::{self, Failure, Options};

const STRICT: Reading = Reading { ignore_unknown: false, strict: true };

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules")
}

/// The current promtool: an older one has other verdicts.
fn promtool() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/bin/promtool");
    let found = path.exists();
    if !found {
        eprintln!("SKIPPED: no current promtool (.ci/peers)");
    }
    found.then_some(path)
}

/// Whether each text is taken, and the text.
fn verdicts() -> Vec<(bool, String)> {
    let text = std::fs::read_to_string(folder().join("verdicts.txt")).unwrap();
    let cases = text.split("=== ").skip(1).map(|case| {
        let (verdict, rules) = case.split_once('\n').unwrap();
        assert!(matches!(verdict, "taken" | "refused"), "{verdict}");
        (verdict == "taken", rules.to_owned())
    });
    cases.collect()
}

#[test]
fn rule_files_are_taken_and_refused_as_by_prometheus() {
    let cases = verdicts();
    assert!(cases.len() > 300, "{} cases", cases.len());
    for (taken, text) in &cases {
        let found = RuleSet::read(&[("rules.yml", text)], STRICT);
        assert_eq!(found.is_ok(), *taken, "{text}\n{found:?}");
    }
    let Some(promtool) = promtool() else { return };
    let dir = tempfile::tempdir().unwrap();
    // Those that are taken at once, and of those that are not one in ten: each takes a start.
    let mut good = Command::new(&promtool);
    good.args(["check", "rules", "--lint=none"]);
    for (at, (taken, text)) in cases.iter().enumerate() {
        let file = dir.path().join(format!("{at}.yml"));
        std::fs::write(&file, text).unwrap();
        if *taken {
            good.arg(file);
        } else if at % 10 == 0 {
            let mut bad = Command::new(&promtool);
            let output = bad.args(["check", "rules", "--lint=none"]).arg(file).output().unwrap();
            assert!(!output.status.success(), "{text}");
        }
    }
    let output = good.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn templates_give_what_prometheus_makes_of_them() {
    let file = folder().join("templates.test.yml");
    let options = Options { reading: STRICT, ..Options::default() };
    let report = testing::test_file(&file, &options);
    assert!(report.aborted.is_none(), "{report}");
    let text = |alerts: &[testing::AlertText]| alerts[0].annotations[0].1.clone();
    for failure in report.cases.iter().flat_map(|case| &case.failures) {
        let Failure::Alerts { expected, got, what, .. } = failure else {
            panic!("{}", failure.what());
        };
        // Where in a template something fails is told in other words, but fail it must.
        let (expected, got) = (text(expected), text(got));
        let start = "<error expanding template: error executing template ";
        let both = expected.starts_with(start) && got.starts_with(start);
        assert!(both, "{what}\nexpected {expected}\n     got {got}");
    }
    let Some(promtool) = promtool() else { return };
    let output = Command::new(promtool).args(["test", "rules"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Whether a file of tests beside this one passes here and there.
fn passes_as_with_prometheus(name: &str) {
    let file = folder().join(name);
    let report = testing::test_file(&file, &Options { reading: STRICT, ..Options::default() });
    assert!(report.passed(), "{report}");
    let Some(promtool) = promtool() else { return };
    let output = Command::new(promtool).args(["test", "rules"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn labels_that_are_set_to_nothing_are_taken_away_as_by_prometheus() {
    passes_as_with_prometheus("labels.test.yml");
}

#[test]
fn numbers_are_read_and_calculated_as_by_prometheus() {
    passes_as_with_prometheus("numbers.test.yml");
}

#[test]
fn native_histograms_are_recorded_and_told_of_as_by_prometheus() {
    passes_as_with_prometheus("histograms.test.yml");
}
