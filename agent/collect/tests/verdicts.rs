//! Verdicts on real reports, each against what a careful administrator made of it by eye.
//!
//! `expected-verdicts.tsv` has a line for each: path, verdict, why. A verdict in parentheses is as
//! good. `VERDICTS=all` prints what is made of every report there is.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use labstat_collect::collectors::smartctl;
use labstat_collect::parse::smartctl as parser;
use labstat_disks::{Judgement, judge};

/// Captures of other projects are read from where they are and not copied.
fn captures() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/smartctl");
    root.is_dir().then_some(root)
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

fn judged(path: &Path) -> (parser::Report, Judgement) {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let report = parser::parse(&bytes);
    let judgement = judge(&smartctl::reading(&report), None).unwrap();
    (report, judgement)
}

#[test]
fn real_reports_are_judged_as_an_administrator_would() {
    let Some(root) = captures() else {
        println!("SKIPPED: no captures of smartctl");
        return;
    };
    let mut wrong = Vec::new();
    let mut counted = BTreeMap::new();
    for line in include_str!("expected-verdicts.tsv").lines() {
        let &[path, expected, _why] = line.split('\t').collect::<Vec<_>>().as_slice() else {
            assert!(line.starts_with('#') || line.is_empty(), "{line}");
            continue;
        };
        let (_, judgement) = judged(&root.join(path));
        let found = judgement.verdict.as_str();
        let good = expected.split([' ', '(', ')']).any(|word| word == found);
        if !good {
            wrong.push(format!("{path}: {found} and not {expected}: {:?}", judgement.reasons));
        }
        *counted.entry(found).or_insert(0) += 1;
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(counted.values().sum::<i32>() >= 120, "{counted:?}");
    for verdict in ["ok", "watch", "act", "asleep", "silent"] {
        assert!(counted.contains_key(verdict), "no report is {verdict}");
    }
}

#[test]
fn every_report_gets_a_verdict_with_a_reason() {
    let Some(root) = captures() else {
        println!("SKIPPED: no captures of smartctl");
        return;
    };
    let mut paths = Vec::new();
    files(&root, &mut paths);
    paths.sort();
    for path in paths {
        let (report, judgement) = judged(&path);
        assert!(!judgement.reasons.is_empty(), "{}", path.display());
        if std::env::var_os("VERDICTS").is_some() {
            let name = path.strip_prefix(&root).unwrap().display();
            println!("{name}\t{}\t{}", judgement.verdict, report.model_name.unwrap_or_default());
            for reason in &judgement.reasons {
                println!("    {:7} {} | {}", reason.verdict, reason.code, reason.text);
            }
        }
    }
}
