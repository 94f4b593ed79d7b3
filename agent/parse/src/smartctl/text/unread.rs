//! What was seen in a report and not understood, so that nobody takes its silence for good news.
//!
//! Only lines that would bear on the health of a device count, and only where they are plainly
//! meant as such: the device's own verdict, rows of a table of attributes, self-tests that failed,
//! counters of errors.

use super::Log;
use crate::smartctl::Report;

/// Characters of the first such line that go into the message.
const LINE_LEN_MAX: usize = 100;

/// Lines that were not understood.
#[derive(Debug, Default)]
pub(super) struct Unread {
    /// Whether the heading of the table of attributes was the last one.
    in_table: bool,
    count: usize,
    first: String,
}

impl Unread {
    /// Counts `line`.
    pub(super) fn add(&mut self, line: &str) {
        if self.count == 0 {
            let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
            self.first = words.chars().filter(|it| !it.is_control()).take(LINE_LEN_MAX).collect();
        }
        self.count = self.count.saturating_add(1);
    }

    /// Another part of the report begins.
    pub(super) fn heading(&mut self) {
        self.in_table = false;
    }

    /// Looks at a line that nothing else was made of.
    pub(super) fn look(&mut self, report: &Report, log: Log, line: &str) {
        if line.contains("ATTRIBUTE_NAME") || line.starts_with("Vendor Specific SMART Attributes") {
            self.in_table = true;
            return;
        }
        if self.begins_row(log, line) || is_verdict(report, line) || is_number(report, line) {
            self.add(line);
        }
    }

    /// Whether a line begins as a row of the table does that it stands in.
    pub(super) fn begins_row(&self, log: Log, line: &str) -> bool {
        match log {
            Log::AtaSelfTests | Log::AtaExtendedSelfTests => is_failed_test(line),
            Log::ScsiSelfTests => {
                line.trim_start().starts_with('#') && is_numbered(line) || is_failed_test(line)
            }
            Log::NvmeSelfTests => {
                let results = ["Completed", "Aborted", "Fatal", "Unknown result"];
                is_numbered(line) && results.iter().any(|words| line.contains(words))
            }
            Log::ScsiErrorCounters => {
                ["read:", "write:", "verify:"].iter().any(|name| line.starts_with(name))
            }
            _ => self.in_table && is_row(line),
        }
    }

    /// What to say of it, if there was anything.
    pub(super) fn message(&self) -> Option<String> {
        let (count, first) = (self.count, &self.first);
        match count {
            0 => None,
            1 => Some(format!("labstat: not understood: the line \"{first}\"")),
            _ => Some(format!("labstat: not understood: {count} lines, the first: \"{first}\"")),
        }
    }
}

/// Whether a line can be the rest of a row that the line before it began.
pub(super) fn continues(log: Log, line: &str) -> bool {
    const WORDS: [&str; 7] =
        ["FAILING_NOW", "In_the_past", "Always", "Offline", "Pre-fail", "Old_age", "NOW"];
    let rest = line.trim_start();
    // A raw value may end so: `41 (Min/Max 40/41 #3239)`.
    let is_test = rest.starts_with('#') && !rest.ends_with(')');
    let begins = rest.starts_with(|it: char| it.is_ascii_digit() || matches!(it, '-' | '(' | '[' | '#'))
        || WORDS.iter().any(|word| rest.starts_with(word))
        // The middle of a word, of a line that was cut at a column.
        || matches!(log, Log::None) && rest.split_whitespace().count() <= PIECES_MAX;
    begins && !is_test && !is_row(line) && !line.contains(':')
}

/// Words of the rest of a row at most, where its first one is no number.
const PIECES_MAX: usize = 4;

/// Numbers of a row of attributes beside its id: value, worst and threshold.
const NUMBERS: usize = 3;

/// A number of one byte, a name, and the three numbers that every attribute has.
fn is_row(line: &str) -> bool {
    let line = line.trim_start_matches(|it: char| !it.is_ascii_alphanumeric());
    let mut words = line.split([' ', '\t', ',', ';', '|']).filter(|word| !word.is_empty());
    let is_id = |word: &str| word.parse::<u8>().is_ok_and(|id| id > 0) || word.starts_with("0x");
    let is_name = |word: &str| word.starts_with(|it: char| it.is_ascii_alphabetic());
    let is_number = |word: &&str| *word == "---" || word.parse::<u8>().is_ok();
    words.next().is_some_and(is_id)
        && words.next().is_some_and(is_name)
        && words.filter(is_number).nth(NUMBERS - 1).is_some()
}

fn is_numbered(line: &str) -> bool {
    let rest = line.trim_start_matches(|it: char| !it.is_ascii_alphanumeric());
    rest.starts_with(|it: char| it.is_ascii_digit())
}

fn is_failed_test(line: &str) -> bool {
    const WORDS: [&str; 4] = ["Completed: ", "Failed in ", "ailed segment", " failure "];
    is_numbered(line) && WORDS.iter().any(|words| line.contains(words))
}

/// The device's own verdict, in words that are neither good nor bad. `UNKNOWN!` is smartctl's
/// word where it could not ask.
fn is_verdict(report: &Report, line: &str) -> bool {
    report.smart_status.is_none()
        && (line.contains("self-assessment test result") || line.contains("SMART Health Status"))
        && !line.contains("UNKNOWN")
}

/// A number of an NVMe device's health log that is none.
fn is_number(report: &Report, line: &str) -> bool {
    let Some(log) = &report.nvme_smart_health_information_log else { return false };
    let is_known = match line {
        _ if line.contains("Critical Warning:") => log.critical_warning.is_some(),
        _ if line.contains("Available Spare:") => log.available_spare.is_some(),
        _ if line.contains("Percentage Used:") => log.percentage_used.is_some(),
        _ if line.contains("Media and Data Integrity Errors:") => log.media_errors.is_some(),
        _ => return false,
    };
    !is_known
}
