//! Unit tests of rules, in the format of Prometheus' `promtool test rules`, with its verdicts.
//!
//! A file of tests names rule files, gives series in a short notation and says which alerts fire
//! at some time, and what expressions give then. The rules run in our own engine and state machine,
//! from time 0 on, once an evaluation interval, over samples up to that time and no later ones.
//!
//! - [`mod@file`]: the file of tests, as Go reads it; [`glob`]: the rule files it names.
//! - [`series`]: the notation of series and their values; [`histograms`]: native ones among these.
//! - [`memory`]: the series as something to query, that refuses what Prometheus' storage refuses.
//! - [`run`]: evaluates and compares.
//! - [`report`]: what came out, in words and as JUnit XML.
//!
//! Where promtool promises nothing, as for the order of groups that `group_eval_order` does not name,
//! that of the files is taken. promtool ends a query that loads more than 10,000 samples at a time;
//! here the limits of the server hold.

mod file;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod glob;
mod histograms;
mod memory;
mod report;
mod run;
mod series;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

pub use report::{Texts, junit};

use crate::rules::Reading;

/// How tests are run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only tests whose name one of these matches; all when there is none.
    pub run: Vec<regex::Regex>,
    /// How the rule files are read. Expressions of tests are as strict.
    pub reading: Reading,
}

/// What became of one file of tests.
#[derive(Debug, Clone, PartialEq)]
pub struct FileReport {
    /// The file, as it was given.
    pub file: String,
    /// What does not keep the tests from running, such as a pattern no rule file has.
    pub warnings: Vec<String>,
    /// Why none of its tests could be run.
    pub aborted: Option<String>,
    /// Its tests that were run.
    pub cases: Vec<CaseReport>,
}

/// What became of one test.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseReport {
    /// Its name; one without a name is called by its number.
    pub name: String,
    /// The line it begins at.
    pub line: usize,
    /// What is not as it should be.
    pub failures: Vec<Failure>,
    /// How often the rules were evaluated.
    pub evaluations: usize,
    /// How long it took.
    pub took: Duration,
}

/// One thing that is not as a test says.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// The test could not be run to its end.
    Broken {
        /// The line this is about.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// Other alerts fire than were expected.
    Alerts {
        /// The line of the expectation.
        line: usize,
        /// The alert's name and the time.
        what: String,
        /// Labels and annotations, sorted.
        expected: Vec<AlertText>,
        /// Likewise.
        got: Vec<AlertText>,
    },
    /// An expression gives something else than was expected.
    Samples {
        /// The line of the expectation.
        line: usize,
        /// The expression and the time.
        what: String,
        /// Series with values, sorted.
        expected: Vec<String>,
        /// Likewise.
        got: Vec<String>,
    },
}

/// A firing alert.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlertText {
    /// Names and values of its labels, sorted.
    pub labels: Texts,
    /// Its annotations, sorted.
    pub annotations: Texts,
}

impl FileReport {
    /// Whether all is as it should be.
    pub fn passed(&self) -> bool {
        self.aborted.is_none() && self.cases.iter().all(|case| case.failures.is_empty())
    }
}

/// Runs the tests of a file.
pub fn test_file(path: &Path, options: &Options) -> FileReport {
    let mut report = FileReport {
        file: path.display().to_string(),
        warnings: Vec::new(),
        aborted: None,
        cases: Vec::new(),
    };
    let text = match crate::rules::read(path) {
        Ok(text) => text,
        Err(problem) => {
            report.aborted = Some(problem.message);
            return report;
        }
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    test_text(&text, folder, options, &mut report);
    report
}

/// Runs the tests of a text; relative paths in it begin at `folder`.
fn test_text(text: &str, folder: &Path, options: &Options, report: &mut FileReport) {
    let file = match file::read(text) {
        Ok(file) => file,
        Err(message) => {
            report.aborted = Some(message);
            return;
        }
    };
    let rules = run::rule_files(&file, folder, options.reading, &mut report.warnings);
    for case in &file.tests {
        let is_asked = options.run.is_empty()
            || options.run.iter().any(|pattern| pattern.is_match(&case.name));
        if is_asked {
            report.cases.push(run::case(&file, case, &rules, options.reading));
        }
    }
}
