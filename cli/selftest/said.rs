//! What a disk says of its self-tests: whether one runs, and how the newest ended. Pure.

use labstat_agent::collect::parse::smartctl::{
    self, NvmeSelfTest, Report, ScsiSelfTest, SelfTest, SelfTestStatus, Text,
};
use serde_json::Value;

/// What one look at a disk gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Whether a test runs.
    pub(super) running: Option<Running>,
    /// The newest test of the log that is over.
    pub(super) newest: Option<Entry>,
    /// Tests in the log: two within an hour look the same.
    pub(super) tests: usize,
    /// Hours the disk has been on.
    pub(super) hours: Option<u64>,
    /// How long the disk says that its short and its long test take.
    pub(super) short_minutes: Option<u64>,
    pub(super) long_minutes: Option<u64>,
    /// Whether it speaks NVMe.
    pub(super) is_nvme: bool,
    /// smartctl's version.
    pub(super) version: Option<(u64, u64)>,
}

/// A test that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Running {
    /// Percent that are still to be done, where the disk tells.
    pub(super) left_percent: Option<u64>,
}

/// A test that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// What was tested, in the words of smartctl.
    pub(super) kind: String,
    pub(super) end: End,
    /// How it ended, in the words of smartctl.
    pub(super) words: String,
    /// Hours the disk had been on.
    pub(super) hours: Option<u64>,
    /// The first block that could not be read.
    pub(super) lba: Option<u64>,
}

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Passed,
    Failed,
    /// It was aborted or interrupted: it says nothing of the disk.
    Cut,
    Unknown,
}

impl Said {
    /// What smartctl printed with `--json=o`. Its JSON lacks some self-tests that its text has,
    /// by version and protocol; so both are read.
    pub(super) fn of(stdout: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(stdout).unwrap_or_default();
        let report = smartctl::parse(stdout);
        let lines = json.pointer("/smartctl/output").and_then(Value::as_array);
        let lines = lines.into_iter().flatten().filter_map(Value::as_str);
        let text = lines.collect::<Vec<_>>().join("\n");
        let said = smartctl::parse(text.as_bytes());
        let minutes = |kind: &str| {
            json.pointer(&format!("/ata_smart_data/self_test/polling_minutes/{kind}"))?.as_u64()
        };
        let version = report.smartctl.as_ref().and_then(|program| program.version.as_deref());
        Self {
            running: running(&report).or_else(|| running(&said)),
            newest: newest(&report).or_else(|| newest(&said)),
            tests: tests(&report).max(tests(&said)),
            hours: report.power_on_time.as_ref().and_then(|time| time.hours),
            short_minutes: minutes("short"),
            long_minutes: minutes("extended"),
            is_nvme: report.device.as_ref().and_then(|it| it.protocol.as_deref()) == Some("NVMe"),
            version: match version {
                Some([major, minor, ..]) => Some((*major, *minor)),
                _ => None,
            },
        }
    }
}

/// The word of an ATA self-test's state is in the upper four bits of its byte.
const ATA_RUNS: u64 = 15;

fn ata_state(report: &Report) -> Option<&SelfTestStatus> {
    report.ata_smart_data.as_ref()?.self_test.as_ref()?.status.as_ref()
}

fn running(report: &Report) -> Option<Running> {
    if let Some(state) = ata_state(report).filter(|state| ata_runs(state)) {
        return Some(Running { left_percent: state.remaining_percent });
    }
    let left = |done: Option<u64>| done.map(|done| 100_u64.saturating_sub(done));
    if let Some(log) = &report.nvme_self_test_log {
        let now = log.current_self_test_operation.as_ref();
        let runs = match now.and_then(|now| now.value) {
            Some(value) => value != 0,
            None => log.current_self_test_completion_percent.is_some(),
        };
        if runs {
            return Some(Running { left_percent: left(log.current_self_test_completion_percent) });
        }
    }
    let scsi = report.scsi_self_test_status.as_ref();
    if let Some(state) = scsi.filter(|state| state.in_progress == Some(true)) {
        return Some(Running { left_percent: left(state.completion_percent) });
    }
    let first = report.scsi_self_tests.0.first().and_then(|test| test.result.as_ref());
    first.filter(|result| runs(words(result))).map(|_| Running { left_percent: None })
}

fn ata_runs(state: &SelfTestStatus) -> bool {
    state.value.map_or_else(|| runs(text(state)), |value| value >> 4 == ATA_RUNS)
}

fn runs(words: &str) -> bool {
    words.to_ascii_lowercase().contains("in progress")
}

fn text(status: &SelfTestStatus) -> &str {
    status.string.as_deref().unwrap_or_default()
}

fn words(text: &Text) -> &str {
    text.string.as_deref().unwrap_or_default()
}

fn newest(report: &Report) -> Option<Entry> {
    let logs = report.ata_smart_self_test_log.as_ref();
    let logs = logs.into_iter().flat_map(|logs| [&logs.extended, &logs.standard]).flatten();
    let mut ata = logs.filter_map(|log| log.table.as_ref()).flatten();
    let nvme = report.nvme_self_test_log.as_ref().and_then(|log| log.table.as_ref());
    ata.find_map(of_ata)
        .or_else(|| nvme.into_iter().flatten().find_map(of_nvme))
        .or_else(|| report.scsi_self_tests.0.iter().find_map(of_scsi))
}

fn tests(report: &Report) -> usize {
    let logs = report.ata_smart_self_test_log.as_ref();
    let logs = logs.into_iter().flat_map(|logs| [&logs.extended, &logs.standard]).flatten();
    let ata = logs.filter_map(|log| log.table.as_ref()).map(Vec::len).max();
    let nvme = report.nvme_self_test_log.as_ref().and_then(|log| log.table.as_ref()).map(Vec::len);
    ata.or(nvme).unwrap_or(report.scsi_self_tests.0.len())
}

fn of_ata(test: &SelfTest) -> Option<Entry> {
    let status = test.status.as_ref().filter(|status| !ata_runs(status))?;
    let end = match status.value.map(|value| value >> 4) {
        Some(0) => End::Passed,
        Some(1 | 2) => End::Cut,
        Some(3..=8) => End::Failed,
        Some(_) => End::Unknown,
        None => by_words(text(status)),
    };
    Some(Entry {
        kind: test.kind.as_ref().map(words).unwrap_or_default().to_owned(),
        end,
        words: text(status).to_owned(),
        hours: test.lifetime_hours,
        lba: test.lba,
    })
}

fn of_nvme(test: &NvmeSelfTest) -> Option<Entry> {
    let result = test.self_test_result.as_ref()?;
    let end = match result.value {
        Some(0) => End::Passed,
        Some(1..=4 | 8 | 9) => End::Cut,
        Some(5..=7) => End::Failed,
        // The log has places that nothing was written to.
        Some(15) => return None,
        Some(_) => End::Unknown,
        None => by_words(words(result)),
    };
    Some(Entry {
        kind: test.self_test_code.as_ref().map(words).unwrap_or_default().to_owned(),
        end,
        words: words(result).to_owned(),
        hours: test.power_on_hours,
        lba: None,
    })
}

fn of_scsi(test: &ScsiSelfTest) -> Option<Entry> {
    let result = test.result.as_ref().filter(|result| !runs(words(result)))?;
    let end = match result.value {
        Some(0) => End::Passed,
        Some(1 | 2) => End::Cut,
        Some(3..=7) => End::Failed,
        Some(15) => return None,
        Some(_) => End::Unknown,
        None => by_words(words(result)),
    };
    Some(Entry {
        kind: test.code.as_ref().map(words).unwrap_or_default().to_owned(),
        end,
        words: words(result).to_owned(),
        hours: test.power_on_time.as_ref().and_then(|time| time.hours),
        lba: None,
    })
}

/// For reports that have no numbers.
fn by_words(words: &str) -> End {
    let words = words.to_ascii_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    match words.trim() {
        "completed" => End::Passed,
        _ if has(&["abort", "interrupt"]) => End::Cut,
        _ if has(&["without error"]) => End::Passed,
        _ if has(&["fail", "fatal", "error", "damage"]) => End::Failed,
        _ => End::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(inner: &str) -> Said {
        Said::of(format!(r#"{{"smartctl":{{"version":[7,4]}},{inner}}}"#).as_bytes())
    }

    #[test]
    fn an_ata_test_that_runs_and_one_that_is_over() {
        let log = r#""ata_smart_self_test_log":{"standard":{"table":[
            {"type":{"value":1,"string":"Short offline"},"status":{"value":249,"string":"Self-test routine in progress","remaining_percent":90},"lifetime_hours":5},
            {"type":{"value":2,"string":"Extended offline"},"status":{"value":121,"string":"Completed: read failure","passed":false,"remaining_percent":90},"lifetime_hours":4,"lba":77}]}}"#;
        let state = r#""power_on_time":{"hours":6},"ata_smart_data":{"self_test":{
            "status":{"value":249,"string":"in progress, 90% remaining","remaining_percent":90},
            "polling_minutes":{"short":2,"extended":600}}}"#;
        let said = said(&format!("{state},{log}"));
        assert_eq!(said.running, Some(Running { left_percent: Some(90) }));
        assert_eq!((said.short_minutes, said.long_minutes), (Some(2), Some(600)));
        assert_eq!((said.hours, said.version), (Some(6), Some((7, 4))));
        assert_eq!(said.tests, 2);
        let newest = said.newest.unwrap();
        assert_eq!((newest.end, newest.lba, newest.hours), (End::Failed, Some(77), Some(4)));
        assert_eq!(newest.words, "Completed: read failure");
    }

    #[test]
    fn ends_of_all_protocols_by_number() {
        let ata = |value: u64| {
            let entry = format!(r#"{{"status":{{"value":{value},"string":"?"}}}}"#);
            let log = format!(r#""ata_smart_self_test_log":{{"extended":{{"table":[{entry}]}}}}"#);
            said(&log).newest.map(|entry| entry.end)
        };
        let nvme = |value: u64| {
            let entry = format!(r#"{{"self_test_result":{{"value":{value},"string":"?"}}}}"#);
            let log = format!(
                r#""nvme_self_test_log":{{"current_self_test_operation":{{"value":0,"string":"No self-test in progress"}},"table":[{entry}]}}"#
            );
            let said = said(&log);
            assert_eq!(said.running, None);
            said.newest.map(|entry| entry.end)
        };
        let scsi = |value: u64| {
            let test = format!(r#"{{"result":{{"value":{value},"string":"?"}}}}"#);
            said(&format!(r#""scsi_self_test_0":{test}"#)).newest.map(|entry| entry.end)
        };
        let (passed, failed, cut) = (Some(End::Passed), Some(End::Failed), Some(End::Cut));
        for (value, ends) in [
            (0, [passed, passed, passed]),
            (1, [cut, cut, cut]),
            (2, [cut, cut, cut]),
            (3, [failed, cut, failed]),
            (4, [failed, cut, failed]),
            (7, [failed, failed, failed]),
            (8, [failed, cut, Some(End::Unknown)]),
            (15, [None, None, None]),
        ] {
            assert_eq!([ata(value << 4), nvme(value), scsi(value)], ends, "{value}");
        }
    }

    #[test]
    fn nvme_and_scsi_tests_that_run() {
        let nvme = r#""device":{"protocol":"NVMe"},"nvme_self_test_log":{"current_self_test_operation":{"value":2,"string":"Extended"},"current_self_test_completion_percent":30}"#;
        let said_nvme = said(nvme);
        assert!(said_nvme.is_nvme);
        assert_eq!(said_nvme.running, Some(Running { left_percent: Some(70) }));
        let scsi = said(
            r#""scsi_self_test_0":{"result":{"value":15,"string":"Self test in progress ..."}}"#,
        );
        assert_eq!(scsi.running, Some(Running { left_percent: None }));
    }

    #[test]
    fn what_only_the_text_has_is_read_there() {
        let text = "smartctl 7.3 2022-02-28 r5338 [x86_64-linux-6.1.0] (local build)\\n\\n=== START OF READ SMART DATA SECTION ===\\nSMART Self-test log\\nNum  Test              Status                 segment  LifeTime  LBA_first_err [SK ASC ASQ]\\n     Description                              number   (hours)\\n# 1  Background short  Completed                   -      33                 - [-   -    -]\\n";
        let lines: Vec<String> = text.split("\\n").map(|line| format!("\"{line}\"")).collect();
        let json = format!(
            r#"{{"smartctl":{{"version":[7,3],"output":[{}]}},"device":{{"protocol":"SCSI"}}}}"#,
            lines.join(",")
        );
        let newest = Said::of(json.as_bytes()).newest.unwrap();
        assert_eq!((newest.end, newest.hours), (End::Passed, Some(33)));
    }

    #[test]
    fn what_is_no_report_says_nothing() {
        for junk in [&b""[..], b"{", b"\xff\xfe", b"[]", b"smartctl: not found"] {
            let said = Said::of(junk);
            assert_eq!((said.running, said.newest), (None, None), "{junk:?}");
        }
    }

    #[test]
    fn words_where_there_are_no_numbers() {
        for (words, end) in [
            ("Completed without error", End::Passed),
            ("Completed", End::Passed),
            ("Aborted by host", End::Cut),
            ("Interrupted (host reset)", End::Cut),
            ("Completed: read failure", End::Failed),
            ("Fatal or unknown error", End::Failed),
            ("", End::Unknown),
        ] {
            assert_eq!(by_words(words), end, "{words}");
        }
    }
}
