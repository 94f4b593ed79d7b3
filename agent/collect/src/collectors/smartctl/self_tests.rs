//! Self-tests of ATA, NVMe and SCSI disks, in one set of words.
//!
//! Of each type the newest test counts that came to an end. One that was aborted, interrupted or
//! still runs says nothing of the disk.

use labstat_disks::{SELF_TEST_UNNAMED, SelfTest, families};
use labstat_model::Batch;
use labstat_parse::smartctl::{Report, Text};

/// One self-test that came to an end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ended {
    kind: &'static str,
    status: &'static str,
    hours: Option<u64>,
}

const PASSED: &str = "completed";

/// Words in the results of all protocols, the more special ones first, and ours for them. An
/// empty one is a test that says nothing.
const STATUSES: [(&str, &str); 26] = [
    ("in progress", ""),
    ("aborted", ""),
    ("interrupted", ""),
    ("was abort", ""),
    ("not performed", ""),
    ("read failure", "read_failure"),
    ("read element", "read_failure"),
    ("electrical", "electrical_failure"),
    ("servo", "servo_failure"),
    ("seek", "servo_failure"),
    ("handling damage", "handling_damage"),
    ("unknown failed segment", "segment_failure"),
    ("failed segment", "segment_failure"),
    ("segment failed", "segment_failure"),
    ("failed in", "segment_failure"),
    ("unknown failure", "unknown_failure"),
    ("unknown test element", "unknown_failure"),
    ("unknown element", "unknown_failure"),
    ("fatal", "fatal_error"),
    ("unknown error", "fatal_error"),
    ("completed without error", PASSED),
    ("completed [", PASSED),
    ("completed:", "failed"),
    ("failed", "failed"),
    ("unknown status", ""),
    ("reserved", ""),
];

fn status(words: &str) -> Option<&'static str> {
    let words = words.to_ascii_lowercase();
    // SCSI says no more of a test that passed.
    let status = match words.trim() {
        "completed" => PASSED,
        words => STATUSES.iter().find(|(begin, _)| words.contains(begin))?.1,
    };
    Some(status).filter(|status| !status.is_empty())
}

fn kind(words: &str) -> &'static str {
    let words = words.to_ascii_lowercase();
    let kinds = [
        ("short", "short"),
        ("extended", "long"),
        ("long", "long"),
        ("conveyance", "conveyance"),
        ("selective", "selective"),
        ("offline", "offline"),
        ("default", "default"),
    ];
    kinds.iter().find(|(word, _)| words.contains(word)).map_or("vendor", |(_, kind)| kind)
}

fn words(text: &Option<Text>) -> Option<&str> {
    text.as_ref()?.string.as_deref()
}

/// The tests that came to an end, newest first.
fn ended(report: &Report) -> Vec<Ended> {
    let mut tests = Vec::new();
    if let Some(logs) = &report.ata_smart_self_test_log {
        // The extended log is the longer one; what stands in both is the same.
        let tables = [&logs.extended, &logs.standard].into_iter().flatten();
        let table = tables.filter_map(|log| log.table.as_ref()).find(|table| !table.is_empty());
        tests.extend(table.into_iter().flatten().filter_map(|test| {
            let status = status(test.status.as_ref()?.string.as_deref()?)?;
            Some(Ended { kind: kind(words(&test.kind)?), status, hours: test.lifetime_hours })
        }));
    }
    let table = report.nvme_self_test_log.as_ref().and_then(|log| log.table.as_ref());
    tests.extend(table.into_iter().flatten().filter_map(|test| {
        let status = status(words(&test.self_test_result)?)?;
        Some(Ended { kind: kind(words(&test.self_test_code)?), status, hours: test.power_on_hours })
    }));
    tests.extend(report.scsi_self_tests.0.iter().filter_map(|test| {
        let status = status(words(&test.result)?)?;
        let hours = test.power_on_time.as_ref().and_then(|time| time.hours);
        Some(Ended { kind: kind(words(&test.code)?), status, hours })
    }));
    if tests.is_empty() {
        tests.extend(unlogged(report));
    }
    tests
}

/// How the last test ended, by the values that an ATA disk has beside its log: the upper four bits
/// are one of these.
const EXECUTION: [(u64, &str); 6] = [
    (3, "fatal_error"),
    (4, "unknown_failure"),
    (5, "electrical_failure"),
    (6, "servo_failure"),
    (7, "read_failure"),
    (8, "handling_damage"),
];

/// A test that failed and of which no log tells.
fn unlogged(report: &Report) -> Option<Ended> {
    let state = report.ata_smart_data.as_ref()?.self_test.as_ref()?.status.as_ref()?;
    let ended = state.value.map(|value| value >> 4);
    let (_, status) = EXECUTION.iter().find(|(nibble, _)| Some(*nibble) == ended)?;
    Some(Ended { kind: SELF_TEST_UNNAMED, status, hours: None })
}

/// Failed tests after which none of at least their reach has passed.
fn failed(tests: &[Ended]) -> usize {
    let mut passed = None;
    let mut failed = 0;
    for test in tests {
        if test.status == PASSED {
            passed = passed.max(Some(SelfTest::reach(test.kind)));
        } else if passed.is_none_or(|passed| passed < SelfTest::reach(test.kind)) {
            failed += 1;
        }
    }
    failed
}

/// Part of a running self-test that is done.
fn progress(report: &Report) -> Option<f64> {
    let ata = report.ata_smart_data.as_ref().and_then(|data| data.self_test.as_ref());
    let ata = ata.and_then(|test| test.status.as_ref()).filter(|status| {
        status.string.as_deref().is_some_and(|words| words.contains("in progress"))
    });
    if let Some(remaining) = ata.and_then(|status| status.remaining_percent) {
        return Some(100_u64.saturating_sub(remaining) as f64 / 100.0);
    }
    let nvme = report.nvme_self_test_log.as_ref();
    let scsi = report.scsi_self_test_status.as_ref().filter(|it| it.in_progress == Some(true));
    let done = nvme
        .and_then(|log| log.current_self_test_completion_percent)
        .or_else(|| scsi.and_then(|it| it.completion_percent));
    done.filter(|percent| *percent <= 100).map(|percent| percent as f64 / 100.0)
}

/// All that the report says of self-tests.
pub(super) fn push(device: &str, report: &Report, out: &mut Batch) {
    if let Some(done) = progress(report) {
        out.push(&families::SELF_TEST_PROGRESS, &[("device", device)], done);
    }
    let tests = ended(report);
    if tests.is_empty() {
        return;
    }
    let mut shown: Vec<&str> = Vec::new();
    for test in &tests {
        if shown.contains(&test.kind) {
            continue;
        }
        shown.push(test.kind);
        let labels = [("device", device), ("type", test.kind)];
        let passed = f64::from(u8::from(test.status == PASSED));
        out.push(&families::SELF_TEST_PASSED, &labels, passed);
        if let Some(hours) = test.hours {
            out.push(&families::SELF_TEST_HOURS, &labels, hours as f64);
        }
        let labels = [("device", device), ("status", test.status), ("type", test.kind)];
        out.push(&families::SELF_TEST_STATUS, &labels, 1.0);
    }
    out.push(&families::SELF_TESTS_FAILED, &[("device", device)], failed(&tests) as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_protocols() {
        for (words, expected) in [
            ("Completed without error", Some("completed")),
            ("completed without error", Some("completed")),
            ("Completed", Some("completed")),
            ("Completed: read failure", Some("read_failure")),
            ("Completed: servo/seek failure", Some("servo_failure")),
            ("Completed: handling damage??", Some("handling_damage")),
            ("Completed: unknown failure", Some("unknown_failure")),
            ("Completed: failed segments", Some("segment_failure")),
            ("Completed, segment failed", Some("segment_failure")),
            ("Failed in segment", Some("segment_failure")),
            ("Fatal or unknown error", Some("fatal_error")),
            ("Fatal or unknown test error", Some("fatal_error")),
            ("Unknown error, incomplete", Some("fatal_error")),
            ("Aborted by host", None),
            ("Aborted: Controller Reset", None),
            ("Interrupted (host reset)", None),
            ("Interrupted ('-X' option)", None),
            ("Self-test routine in progress", None),
            ("Self test in progress ...", None),
            ("Unknown status (0xe)", None),
            ("", None),
        ] {
            assert_eq!(status(words), expected, "{words}");
        }
        for (words, expected) in [
            ("Extended offline", "long"),
            ("Short captive", "short"),
            ("Background long", "long"),
            ("Offline", "offline"),
            ("Vendor (0x50)", "vendor"),
            ("Selective offline", "selective"),
        ] {
            assert_eq!(kind(words), expected);
        }
    }

    #[test]
    fn a_test_that_failed_counts_without_a_log() {
        let ended = |value: u64, log: &str| {
            let json = format!(
                r#"{{"smartctl":{{}},"ata_smart_data":{{"self_test":{{"status":{{"value":{value}}}}}}}{log}}}"#
            );
            ended(&labstat_parse::smartctl::parse(json.as_bytes()))
        };
        let failed = Ended { kind: SELF_TEST_UNNAMED, status: "read_failure", hours: None };
        for value in [121, 117] {
            assert_eq!(ended(value, ""), std::slice::from_ref(&failed), "{value}");
        }
        for fine in [0, 25, 33, 249, 255] {
            assert_eq!(ended(fine, ""), [], "{fine}");
        }
        let log = r#","ata_smart_self_test_log":{"standard":{"table":[{"type":{"string":"Short offline"},
                     "status":{"string":"Completed without error"},"lifetime_hours":5}]}}"#;
        assert_eq!(ended(121, log).len(), 1);
        assert_eq!(ended(121, log)[0].status, PASSED, "the log knows better");
    }

    #[test]
    fn only_a_test_that_looks_as_far_outdates_a_failure() {
        let test = |kind, status| Ended { kind, status, hours: None };
        let long_failed = test("long", "read_failure");
        let short_failed = test("short", "read_failure");
        let (long, short) = (test("long", PASSED), test("short", PASSED));
        for (tests, expected) in [
            (vec![short.clone(), long_failed.clone()], 1),
            (vec![long.clone(), long_failed.clone()], 0),
            (vec![long, short_failed.clone(), long_failed.clone()], 0),
            (vec![short, short_failed.clone()], 0),
            (vec![short_failed, long_failed], 2),
        ] {
            assert_eq!(failed(&tests), expected, "{tests:?}");
        }
    }
}
