//! Any text is a series with its values or an error, and any two texts are a file of tests and the
//! rules that it tests, or errors; what was read is written as the same, and a test has one verdict.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// What stands between a file of tests and its rules.
const BETWEEN: &str = "\n--- rules\n";

fuzz_target!(|text: &str| {
    labstat_alerts::fuzz::series_notation(text);
    let (tests, rules) = text.split_once(BETWEEN).unwrap_or((text, ""));
    labstat_alerts::fuzz::rule_tests(tests, rules);
});
