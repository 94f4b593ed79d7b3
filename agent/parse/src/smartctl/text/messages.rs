//! What smartctl says about its own work.

use crate::smartctl::{Message, PowerMode, Report};

/// Messages of one report. A drive that answers nothing gives a dozen.
const MESSAGES_MAX: usize = 64;

const ERROR: &str = "error";
const WARNING: &str = "warning";
const INFORMATION: &str = "information";

/// How messages begin, and how severe they are.
const BEGINNINGS: [(&str, &str); 17] = [
    ("Smartctl open device:", ERROR),
    ("Smartctl: Device Read Identity Failed", ERROR),
    ("Read Device Identity failed", ERROR),
    ("Read NVMe Identify Controller failed", ERROR),
    ("Standard Inquiry", ERROR),
    ("A mandatory SMART command failed", ERROR),
    ("SMART Disabled. Use option", ERROR),
    ("=======> ", ERROR),
    ("Error: ", ERROR),
    ("Sorry", ERROR),
    ("Warning: ", WARNING),
    ("Warning! ", WARNING),
    ("SMART Status not supported:", WARNING),
    ("SMART Status command failed", WARNING),
    ("CHECK POWER MODE", WARNING),
    ("Probable ATA device behind", INFORMATION),
    ("Please specify device type", INFORMATION),
];

/// Takes `line` when it is a message.
pub(super) fn read(report: &mut Report, line: &str) -> bool {
    let Some(severity) = severity(line) else { return false };
    if let Some(mode) = sleeping(line) {
        let name = Some(mode.to_owned());
        report.power_mode.get_or_insert(PowerMode { name, ..PowerMode::default() });
    }
    push(report, line.trim(), severity);
    true
}

fn severity(line: &str) -> Option<&'static str> {
    if let Some(&(_, severity)) = BEGINNINGS.iter().find(|(begin, _)| line.starts_with(begin)) {
        return Some(severity);
    }
    if line.starts_with([' ', '\t']) {
        return None;
    }
    if sleeping(line).is_some() {
        return Some(INFORMATION);
    }
    let is_error = line.contains("Unknown USB bridge")
        || line.contains("Unable to detect device type")
        || line.contains("Unsupported USB bridge")
        || line.contains("mandatory SMART command failed")
        || line.ends_with(": Permission denied") && !line.starts_with('#');
    if is_error {
        return Some(ERROR);
    }
    // "Read SCT Status failed: Input/output error", "… command failed", but no row of a table.
    let is_failure = !line.starts_with('#')
        && !line.starts_with(|first: char| first.is_ascii_digit())
        && !line.contains("feature")
        && !line.contains("Reorder")
        && (line.contains(" failed: ") || line.ends_with(" failed"));
    is_failure.then_some(WARNING)
}

/// The power mode in `Device is in STANDBY mode, exit(2)`.
fn sleeping(line: &str) -> Option<&str> {
    let (mode, rest) = line.strip_prefix("Device is in ")?.split_once(" mode")?;
    (rest.is_empty() || rest.starts_with([',', ' '])).then_some(mode)
}

/// Gives a report that holds nothing the reason why.
pub(super) fn explain(report: &mut Report) {
    let has_messages = report.smartctl.as_ref().is_some_and(|program| program.messages.is_some());
    let has_facts = Report { smartctl: None, ..report.clone() } != Report::default();
    if has_messages || has_facts {
        return;
    }
    let why = match report.smartctl {
        Some(_) => "labstat: smartctl printed its version and no report",
        None => "labstat: the input is no report of smartctl",
    };
    push(report, why, ERROR);
}

fn push(report: &mut Report, string: &str, severity: &str) {
    let messages = report.smartctl.get_or_insert_default().messages.get_or_insert_default();
    let message = Message { string: Some(string.to_owned()), severity: Some(severity.to_owned()) };
    if messages.len() < MESSAGES_MAX && !messages.contains(&message) {
        messages.push(message);
    }
}
