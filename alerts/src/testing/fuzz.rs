//! What a fuzzer looks for in tests of rules: what was read is written as the same again, and a test
//! ends each time as it did before.

use labstat_promql::Source;

use super::memory::Memory;
use super::series::{self, Point, Room};
use super::{FileReport, file, histograms, junit, run};
use crate::rules::{Reading, RuleSet};

/// Evaluations of one test; more say nothing more and take long.
const EVALUATIONS_MAX: i64 = 50;

/// Values of one series. More are no other case, and take memory and time.
const VALUES_MAX: u64 = 10_000;

/// A source that has nothing.
pub(crate) fn nothing() -> impl Source {
    Memory::default()
}

/// Any text is refused, or a series that is written as the same again.
pub(crate) fn series(text: &str) {
    let Ok(described) = series::read(text, &mut Room::new(VALUES_MAX)) else { return };
    let labels = described.labels.to_string();
    assert_eq!(series::labels(&labels).as_ref(), Ok(&described.labels), "{labels}");
    let shown = described.values.iter().filter_map(|point| match point {
        Point::Histogram(histogram) => Some(histograms::text(histogram)),
        Point::Nothing | Point::Number(_) => None,
    });
    for written in shown.take(10) {
        let again = series::one_histogram(&written).map(|again| histograms::text(&again));
        assert_eq!(again.as_ref(), Ok(&written));
    }
}

/// Any text is refused, or a file of tests that has the same verdict each time.
pub(crate) fn file(tests: &str, rules: &str) {
    let Ok(mut file) = file::read(tests) else { return };
    let interval_ms = file.evaluation_interval_ms;
    file.tests.retain(|case| {
        let alerts = case.alerts.iter().map(|test| test.eval_time_ms);
        let times = alerts.chain(case.exprs.iter().map(|test| test.eval_time_ms));
        times.max().unwrap_or(0) / interval_ms <= EVALUATIONS_MAX
    });
    for strict in [false, true] {
        let reading = Reading { strict, ignore_unknown: false };
        let set = RuleSet::read(&[("rules.yml", rules)], reading);
        let set = set.map(|set| run::ordered(set, &file.group_eval_order));
        let set = set.map_err(|problems| problems.to_string());
        let cases = || file.tests.iter().map(|case| run::case(&file, case, &set, reading));
        let mut report = FileReport {
            file: "tests.yml".to_owned(),
            warnings: Vec::new(),
            aborted: None,
            cases: cases().collect(),
        };
        for (one, other) in report.cases.iter_mut().zip(cases()) {
            one.took = other.took;
            // Written out, since no NaN equals another.
            assert_eq!(format!("{one:?}"), format!("{other:?}"), "a test has one verdict");
        }
        let text = report.to_string();
        assert_eq!(text.is_empty(), report.passed());
        junit(&[report]);
    }
}
