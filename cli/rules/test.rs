//! `labstat rules test`: runs unit tests of rules.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use labstat_alerts::rules::{Reading, RuleSet};
use labstat_alerts::testing::{self, FileReport, Options};
use labstat_model::{Clock, SystemClock, duration};

use super::replay;
use crate::client::Client;
use crate::client::ServerArgs;
use crate::failure::{FAILED, Failure};
use crate::view::count;
use crate::{output, runtime};

/// Runs unit tests of rules, in the format of promtool
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat rules test node.test.yml
  labstat rules test --run '^disk' --diff *.test.yml
  labstat rules test --replay 30d node.yml

The verdicts are those of promtool test rules. The exit status is 1 when a test fails.")]
pub(super) struct Test {
    /// Files of tests; the rule files they name are found from where they lie
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Only tests whose name matches; may be given more than once
    #[arg(long, value_name = "REGEX")]
    run: Vec<regex::Regex>,

    /// Show both sides of what differs, line by line
    #[arg(long)]
    diff: bool,

    /// Write the results as JUnit XML, too
    #[arg(long, value_name = "OUT")]
    junit: Option<PathBuf>,

    /// Pass over keys in rule files that no rule file has
    #[arg(long)]
    ignore_unknown_fields: bool,

    /// Take what Prometheus 3.5 does not take, or not unless a feature is switched on there
    #[arg(long)]
    experimental: bool,

    /// Say of each test how often the rules were evaluated, and how long it took
    #[arg(long)]
    debug: bool,

    /// Take the files for rule files, and show when their alerts would have fired on the server's
    /// history of this long
    #[arg(long, value_name = "DURATION", value_parser = parse_replay)]
    replay: Option<i64>,

    #[command(flatten)]
    server: ServerArgs,
}

/// The longest history that is replayed: longer than any is kept.
const REPLAY_MAX_MS: i64 = 3_660 * 24 * 60 * 60 * 1_000;

fn parse_replay(text: &str) -> Result<i64, String> {
    let long_ms = duration::parse_ms(text).map_err(|error| error.to_string())?;
    match long_ms {
        1..=REPLAY_MAX_MS => Ok(long_ms),
        _ => Err("a replay is of more than nothing, and of ten years at most".to_owned()),
    }
}

impl Test {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let reading =
            Reading { ignore_unknown: self.ignore_unknown_fields, strict: !self.experimental };
        let options = Options { run: self.run.clone(), reading };
        if let Some(long_ms) = self.replay {
            return self.replay(reading, long_ms);
        }
        let mut reports = Vec::new();
        for file in &self.files {
            let report = testing::test_file(file, &options);
            output::result(&self.told(&report))?;
            reports.push(report);
        }
        if let Some(file) = &self.junit {
            std::fs::write(file, testing::junit(&reports)).map_err(|error| {
                Failure::new(format!("failed to write {}", file.display())).because(&error)
            })?;
        }
        let all_passed = reports.iter().all(FileReport::passed);
        Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    }

    fn replay(&self, reading: Reading, long_ms: i64) -> Result<ExitCode, Failure> {
        let set = match RuleSet::load_as(&self.files, reading) {
            Ok(set) => set,
            Err(problems) => {
                output::result(&format!("{problems}\n"))?;
                return Ok(ExitCode::from(FAILED));
            }
        };
        let end_ms = SystemClock.now_ms();
        let (text, is_whole) = runtime::block_on(async {
            let client = Client::new(&self.server)?;
            replay::replay(&client, &set, (end_ms.saturating_sub(long_ms), end_ms)).await
        })?;
        output::result(&text)?;
        Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    }

    fn told(&self, report: &FileReport) -> String {
        let tests = count(report.cases.len(), "test");
        let failed = report.cases.iter().filter(|case| !case.failures.is_empty()).count();
        let mut text = match (report.passed(), &report.aborted) {
            (true, _) => format!("{}: {tests} passed\n", report.file),
            (false, Some(_)) => format!("{}: FAILED\n", report.file),
            (false, None) => format!("{}: FAILED: {failed} of {tests}\n", report.file),
        };
        if self.diff && report.aborted.is_none() {
            diffs(&mut text, report);
        } else {
            text.push_str(&report.to_string());
        }
        if self.debug {
            for case in &report.cases {
                let evaluations = count(case.evaluations, "evaluation");
                // Writing to a String cannot fail.
                let _ = writeln!(text, "  {}: {evaluations} in {:.1?}", case.name, case.took);
            }
        }
        text
    }
}

/// What differs, line by line.
fn diffs(text: &mut String, report: &FileReport) {
    let colour = output::result_colour();
    for warning in &report.warnings {
        let _ = writeln!(text, "  warning: {warning}");
    }
    for case in &report.cases {
        for failure in &case.failures {
            let _ =
                writeln!(text, "  line {}: test {}: {}", failure.line(), case.name, failure.what());
            for line in failure.diff() {
                let (on, off) = match line.chars().next().filter(|_| colour) {
                    Some('-') => ("\x1b[31m", "\x1b[0m"),
                    Some('+') => ("\x1b[32m", "\x1b[0m"),
                    _ => ("", ""),
                };
                let _ = writeln!(text, "    {on}{line}{off}");
            }
        }
    }
}
