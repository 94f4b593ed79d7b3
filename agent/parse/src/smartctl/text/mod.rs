//! smartctl's text, versions 5 to 7.
//!
//! The text is read line by line. A line is a row of a table, a `Key: value` pair, a heading that
//! tells which log follows, or a message of smartctl's own; what is none of these is passed over.
//! Tables are not delimited by anything but the form of their rows, because firmware makes
//! smartctl print warnings in the middle of them.
//!
//! A fact that is stated twice counts as it was stated first. Several reports of one disk are
//! read as one; of a second disk nothing is read but that it is there.

mod attribute;
mod conclude;
mod facts;
mod input;
mod logs;
mod merge;
mod messages;
mod number;
mod nvme;
mod scan;
mod self_test;
mod unread;

use std::borrow::Cow;

pub(super) use self::input::decode;
use self::unread::Unread;
use super::normalise::normalise;
use super::report::{
    Attribute, Device, PowerOnTime, Program, Report, SCSI_SELF_TESTS_MAX, ScsiErrorCounter,
    SelfTestLog,
};

/// Rows of an attribute table. The drive has room for 30; some reports hold the table twice.
const ATTRIBUTES_MAX: usize = 256;
/// Rows of a self-test log. ATA has 21 in the old log and up to 19 a sector in the extended one.
const SELF_TESTS_MAX: usize = 1024;
/// Devices of a scan.
const DEVICES_MAX: usize = 1024;

/// What `input` says.
pub(super) fn parse(input: &[u8]) -> Report {
    let text = normalise(decode(input));
    let mut reports = merge::Reports::default();
    let mut reader = Reader::default();
    for line in text.split_inclusive('\n') {
        // A last line without its end may have been cut in the middle of a number.
        let whole = line.ends_with('\n');
        let line = line.trim_end();
        if whole && reader.is_another(line) {
            if !reports.add(std::mem::take(&mut reader).finish()) {
                return reports.finish();
            }
            // The line that begins a report is taken by the reader of that report.
            reader.is_another(line);
        }
        if whole || input::is_whole(line) {
            reader.line(line);
        } else {
            messages::read(&mut reader.report, line);
        }
    }
    reports.add(reader.finish());
    reports.finish()
}

/// Whether a text was one of smartctl's.
pub(super) fn is_understood(report: &Report) -> bool {
    report.smartctl.as_ref().is_some_and(|it| it.version.is_some())
        || Report { smartctl: None, ..report.clone() } != Report::default()
        || !messages::is_explained(report)
}

/// Whether a line is the one that every output of smartctl begins with.
pub(super) fn is_banner(line: &str) -> bool {
    facts::banner(line).is_some()
}

/// The log a line stands in, as far as that decides what the line means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Log {
    #[default]
    None,
    AtaErrors,
    AtaExtendedErrors,
    AtaSelfTests,
    AtaExtendedSelfTests,
    AtaStatistics,
    AtaPendingDefects,
    NvmeErrors,
    NvmeSelfTests,
    ScsiSelfTests,
    ScsiErrorCounters,
    ScsiBackgroundScan,
}

/// Headings, by how they begin.
const HEADINGS: [(&str, Log); 21] = [
    ("SMART Error Log Version", Log::AtaErrors),
    ("SMART Extended Comprehensive Error Log Version", Log::AtaExtendedErrors),
    ("SMART Self-test log structure", Log::AtaSelfTests),
    // Versions before 5.20.
    ("SMART Self-test log, version", Log::AtaSelfTests),
    ("SMART Extended Self-test Log Version", Log::AtaExtendedSelfTests),
    ("Device Statistics (", Log::AtaStatistics),
    ("Pending Defects log (", Log::AtaPendingDefects),
    ("Error Information (NVMe Log", Log::NvmeErrors),
    ("Self-test Log (NVMe Log", Log::NvmeSelfTests),
    ("SMART Self-test log", Log::ScsiSelfTests),
    ("Error counter log:", Log::ScsiErrorCounters),
    ("=== START OF", Log::None),
    ("SMART Attributes Data Structure", Log::None),
    ("SMART Selective self-test log", Log::None),
    ("SCT Status Version", Log::None),
    ("SCT Temperature History", Log::None),
    ("SATA Phy Event Counters", Log::None),
    ("Background scan results", Log::ScsiBackgroundScan),
    ("Protocol Specific port log", Log::None),
    ("General SMART Values", Log::None),
    ("Supported Power States", Log::None),
];

/// A report while it is read.
#[derive(Debug, Default)]
struct Reader {
    report: Report,
    log: Log,
    /// A report whose first section has begun.
    begun: bool,
    /// What the device is, by the first line that only one kind of device has.
    protocol: Option<&'static str>,
    /// Temperature of the ATA status log, which counts before any attribute.
    sct_temperature: Option<i64>,
    /// Pending defects of an ATA device, as far as their log has been read.
    pending_defects: Option<u64>,
    /// Hours of a vendor's own SCSI log, which count after those of the standard's.
    vendor_hours: Option<PowerOnTime>,
    /// The beginning of a row whose end may stand on the next line.
    broken: Option<String>,
    /// What was seen and not understood.
    unread: Unread,
}

impl Reader {
    /// Whether another report begins here. Takes the line that says of which version this is.
    fn is_another(&mut self, line: &str) -> bool {
        if let Some(program) = facts::banner(line) {
            if self.report.smartctl.as_ref().is_some_and(|it| it.version.is_some()) {
                return true;
            }
            let messages = self.report.smartctl.take().and_then(|before| before.messages);
            self.report.smartctl = Some(Program { messages, ..program });
        } else if line.starts_with("=== START OF INFORMATION SECTION") {
            return std::mem::replace(&mut self.begun, true);
        }
        false
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() {
            self.end_row();
            self.end_pending_defects();
            return;
        }
        if let Some(&(_, log)) = HEADINGS.iter().find(|(begin, _)| line.starts_with(begin)) {
            self.log = log;
            self.unread.heading();
        }
        if self.protocol.is_none() {
            self.protocol = conclude::protocol_of_line(line);
        }
        if self.row(line) || messages::read(&mut self.report, line) || self.log_line(line) {
            return;
        }
        if let Some(device) = facts::scanned(line) {
            push(self.report.devices.get_or_insert_default(), device, DEVICES_MAX);
        } else {
            if let Some((key, value)) = pair(line) {
                self.pair(&key, value);
            }
            self.unread.look(&self.report, self.log, line);
        }
    }

    /// Pending defects are counted when their log is over: a log that was cut may have had more.
    fn end_pending_defects(&mut self) {
        if let Some(count) = self.pending_defects.take() {
            let log = self.report.ata_pending_defects_log.get_or_insert_default();
            log.count.get_or_insert(count);
        }
    }

    /// Takes a row of a table, or a line that completes one; `false` when the line is neither.
    fn row(&mut self, line: &str) -> bool {
        // Spreadsheets and some terminals have a tab between columns.
        let spaced = line.contains('\t').then(|| line.replace('\t', "  "));
        let line = spaced.as_deref().unwrap_or(line);
        if let Some(broken) = self.broken.take() {
            let rest = line.trim_start();
            let space = if broken.ends_with(['#', '/']) { "" } else { " " };
            if unread::continues(self.log, line)
                && (self.whole_row(&format!("{broken}{space}{rest}"))
                    || self.whole_row(&format!("{broken}{rest}")))
            {
                return true;
            }
            self.broken = Some(broken);
            self.end_row();
        }
        if self.whole_row(line) {
            return true;
        }
        let begins = self.unread.begins_row(self.log, line);
        self.broken = begins.then(|| line.to_owned());
        begins
    }

    /// Ends a row of which the rest did not come.
    fn end_row(&mut self) {
        let Some(broken) = self.broken.take() else { return };
        match attribute::row(&broken) {
            Some(row) => self.attribute(row),
            None => self.unread.add(&broken),
        }
    }

    fn attribute(&mut self, row: Attribute) {
        let table = self.report.ata_smart_attributes.get_or_insert_default();
        push(table.table.get_or_insert_default(), row, ATTRIBUTES_MAX);
    }

    fn whole_row(&mut self, line: &str) -> bool {
        if let Some(row) = attribute::row(line) {
            let raw = row.raw.as_ref().and_then(|raw| raw.string.as_deref());
            match raw.is_none_or(|raw| raw.contains('(') && !raw.contains(')')) {
                true => self.broken = Some(line.to_owned()),
                false => self.attribute(row),
            }
            return true;
        }
        match self.log {
            Log::AtaSelfTests | Log::AtaExtendedSelfTests => self.ata_self_test(line),
            Log::NvmeSelfTests => self_test::nvme(line).map(|test| {
                let log = self.report.nvme_self_test_log.get_or_insert_default();
                push(log.table.get_or_insert_default(), test, SELF_TESTS_MAX);
            }),
            Log::ScsiSelfTests => match self_test::scsi(line) {
                Some(test) => {
                    push(&mut self.report.scsi_self_tests.0, test, SCSI_SELF_TESTS_MAX);
                    Some(())
                }
                // An ATA device of a version whose heading we do not know.
                None => self.ata_self_test(line),
            },
            Log::ScsiErrorCounters => facts::error_counter(line).map(|(name, row)| {
                if let Some(place) = self.error_counter(name) {
                    place.get_or_insert(row);
                }
            }),
            Log::AtaStatistics => logs::statistic(&mut self.report, line),
            Log::AtaPendingDefects => logs::pending_defect(&mut self.pending_defects, line),
            Log::AtaErrors | Log::AtaExtendedErrors => {
                let extended = self.log == Log::AtaExtendedErrors;
                logs::error(&mut self.report, extended, line)
            }
            Log::ScsiBackgroundScan => scan::line(&mut self.report, line),
            Log::None | Log::NvmeErrors => None,
        }
        .is_some()
    }

    fn ata_self_test(&mut self, line: &str) -> Option<()> {
        let test = self_test::ata(line)?;
        let log = self.ata_self_tests();
        push(log.table.get_or_insert_default(), test, SELF_TESTS_MAX);
        Some(())
    }

    fn ata_self_tests(&mut self) -> &mut SelfTestLog {
        let logs = self.report.ata_smart_self_test_log.get_or_insert_default();
        match self.log {
            Log::AtaExtendedSelfTests => logs.extended.get_or_insert_default(),
            _ => logs.standard.get_or_insert_default(),
        }
    }

    fn error_counter(&mut self, name: &str) -> Option<&mut Option<ScsiErrorCounter>> {
        let counters = self.report.scsi_error_counter_log.get_or_insert_default();
        match name {
            "read" => Some(&mut counters.read),
            "write" => Some(&mut counters.write),
            "verify" => Some(&mut counters.verify),
            _ => None,
        }
    }

    /// Takes a line that means something by the log it stands in.
    fn log_line(&mut self, line: &str) -> bool {
        if line == "No Errors Logged" {
            self.error_count(Some(0));
        } else if let Some(count) = line.strip_prefix("Device Error Count:") {
            self.log = Log::AtaExtendedErrors;
            self.error_count(number::leading(count));
        } else if let Some(count) = line.strip_prefix("ATA Error Count:") {
            self.log = Log::AtaErrors;
            self.error_count(number::leading(count));
        } else if line.starts_with("No self-tests have been logged") {
            if matches!(self.log, Log::AtaSelfTests | Log::AtaExtendedSelfTests) {
                self.ata_self_tests().count.get_or_insert(0);
            }
        } else if line.starts_with("No Self-tests Logged") {
            let log = self.report.nvme_self_test_log.get_or_insert_default();
            log.table.get_or_insert_default();
        } else if facts::statement(&mut self.report, line) {
        } else if let Some((outdated, total)) = self_test::outdated(line) {
            let log = self.ata_self_tests();
            log.error_count_outdated.get_or_insert(outdated);
            log.error_count_total.get_or_insert(total);
        } else {
            return false;
        }
        true
    }

    fn error_count(&mut self, count: Option<u64>) {
        let Some(count) = count else { return };
        let extended = match self.log {
            Log::AtaErrors => false,
            Log::AtaExtendedErrors => true,
            _ => return,
        };
        logs::errors(&mut self.report, extended).count.get_or_insert(count);
    }

    fn pair(&mut self, key: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        match key {
            "Current Temperature" => {
                self.sct_temperature = self.sct_temperature.or_else(|| facts::celsius(value));
                return;
            }
            "number of hours powered up" => {
                self.vendor_hours =
                    self.vendor_hours.take().or_else(|| facts::hours_and_parts(value));
                return;
            }
            _ => {}
        }
        let report = &mut self.report;
        let _ = facts::identity(report, key, value)
            || facts::capacity(report, key, value)
            || facts::health(report, key, value)
            || facts::scsi(report, key, value)
            || nvme::identity(report, key, value)
            || nvme::health(report, key, value)
            || facts::ata(report, key, value);
    }

    /// Draws the few conclusions that smartctl's JSON draws, too, and says what was not understood.
    fn finish(mut self) -> Report {
        self.end_row();
        if self.report.power_on_time.is_none() {
            self.report.power_on_time = self.vendor_hours;
        }
        conclude::conclude(&mut self.report, self.sct_temperature);
        if self.report.device.is_none() {
            let protocol = self.protocol.or_else(|| conclude::protocol(&self.report));
            self.report.device = protocol
                .map(|name| Device { protocol: Some(name.to_owned()), ..Device::default() });
        }
        if let Some(message) = self.unread.message() {
            messages::push(&mut self.report, &message, messages::WARNING);
        }
        self.report
    }
}

/// `Key: value`, the key with single spaces, the value trimmed. Some lines of SCSI devices have
/// an equals sign in place of the colon.
fn pair(line: &str) -> Option<(Cow<'_, str>, &str)> {
    let at = line.find([':', '='])?;
    let (key, value) = (line.get(..at)?.trim(), line.get(at + 1..)?.trim());
    let key = match key.contains("  ") {
        true => Cow::Owned(key.split_whitespace().collect::<Vec<_>>().join(" ")),
        false => Cow::Borrowed(key),
    };
    Some((key, value))
}

/// Appends, up to a limit.
fn push<T>(list: &mut Vec<T>, item: T, max: usize) {
    if list.len() < max {
        list.push(item);
    }
}
