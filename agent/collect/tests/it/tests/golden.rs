//! Captured machines and what we must make of them.
//!
//! `fixtures/COLLECTOR/CASE/` is a machine (see `ReplayHost`); beside its files stands `expected.prom`
//! (sorted samples, or `# absent`) or `expected.err` (the error). `UPDATE_GOLDEN=1` rewrites what
//! is there and never makes a file nor turns one outcome into another: read what it wrote.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use labstat_collect::{CollectError, Options, ReplayHost, Status, registry};
use labstat_model::{Batch, ManualClock, number};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn sorted_dirs(dir: &Path) -> Vec<PathBuf> {
    let mut dirs: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    dirs.sort();
    dirs
}

/// Samples as sorted lines, or what else the run gave.
fn run(collector: &str, dir: &Path) -> Result<String, CollectError> {
    let entry = registry().iter().find(|entry| entry.name == collector).unwrap();
    let host = ReplayHost::open(dir, Arc::new(ManualClock::new(1_700_000_000_000))).unwrap();
    let mut batch = Batch::new();
    let status = (entry.make)(&Options::default()).collect(&host, &mut batch)?;
    if status == Status::Absent {
        assert!(batch.is_empty(), "{}: absent with samples", dir.display());
        return Ok("# absent\n".to_owned());
    }
    let mut lines: Vec<String> = batch
        .iter()
        .map(|s| format!("{}{} {}\n", s.family.name, s.labels, number::format_g(s.value)))
        .collect();
    lines.sort();
    let series: Vec<&str> =
        lines.iter().filter_map(|line| line.rsplit_once(' ')).map(|p| p.0).collect();
    assert!(series.is_sorted_by(|a, b| a < b), "{}: a series twice", dir.display());
    Ok(lines.concat())
}

/// The error and its causes, one a line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error}\n");
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!("{cause}\n"));
        next = cause.source();
    }
    text
}

#[test]
fn every_captured_machine_gives_what_it_should() {
    #[expect(clippy::disallowed_methods, reason = "how a person asks for new golden files")]
    let update = std::env::var("UPDATE_GOLDEN").is_ok();
    let mut wrong = Vec::new();
    let mut cases = 0;
    for collector in sorted_dirs(&root()) {
        let name = collector.file_name().unwrap().to_str().unwrap();
        for case in sorted_dirs(&collector) {
            cases += 1;
            let (file, got) = match run(name, &case) {
                Ok(text) => ("expected.prom", text),
                Err(error) => ("expected.err", chain(&error)),
            };
            let path = case.join(file);
            let Ok(expected) = fs::read_to_string(&path) else {
                wrong.push(format!("{}: no {file}; we got:\n{got}", case.display()));
                continue;
            };
            // Whether a machine has such a thing at all is an outcome too.
            let same_kind =
                expected.is_empty() || (expected == "# absent\n") == (got == "# absent\n");
            if update && same_kind {
                fs::write(&path, &got).unwrap();
            } else if got != expected {
                wrong.push(format!("{}: expected\n{expected}got\n{got}", path.display()));
            }
        }
    }
    assert!(cases > 10, "fixtures are missing");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
