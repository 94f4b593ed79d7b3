//! What smartctl says about its own work.

use crate::smartctl::{Message, PowerMode, Report};

/// Messages of one report. A drive that answers nothing gives a dozen.
const MESSAGES_MAX: usize = 64;

const ERROR: &str = "error";
pub(super) const WARNING: &str = "warning";
const INFORMATION: &str = "information";

/// How messages begin, and how severe they are.
const BEGINNINGS: [(&str, &str); 36] = [
    ("Smartctl open device:", ERROR),
    ("Smartctl: ", ERROR),
    ("Read Device Identity failed", ERROR),
    ("Read NVMe ", ERROR),
    ("Read Self-test Log failed", ERROR),
    ("Read Error Information Log failed", ERROR),
    ("Read SMART Data failed", ERROR),
    ("Standard Inquiry", ERROR),
    ("Short INQUIRY response", ERROR),
    (">> Terminate command early", ERROR),
    ("A mandatory SMART command failed", ERROR),
    ("An optional SMART command failed", ERROR),
    ("SMART Disabled. Use option", ERROR),
    ("=======> ", ERROR),
    ("Error: ", ERROR),
    // Versions before 5.40.
    ("Error ATA ", ERROR),
    ("Error SMART ", WARNING),
    ("SATA device detected", INFORMATION),
    ("ERROR: ", ERROR),
    ("Sorry", ERROR),
    ("Warning: ", WARNING),
    ("Warning! ", WARNING),
    ("==> WARNING: ", WARNING),
    ("SMART Status not supported:", WARNING),
    ("SMART Status command failed", WARNING),
    ("device Test Unit Ready", WARNING),
    ("device is NOT READY", INFORMATION),
    ("device becoming ready", INFORMATION),
    ("NO MEDIUM present", INFORMATION),
    ("NO tape present", INFORMATION),
    ("CHECK POWER MODE", INFORMATION),
    ("Probable ATA device behind", INFORMATION),
    ("Please specify device type", INFORMATION),
    ("Try an additional '-d ", INFORMATION),
    ("please try '-d ", INFORMATION),
    ("If this is a USB connected device", INFORMATION),
];

/// What is in messages that begin with the name of the device.
const WITHIN: [&str; 7] = [
    "Unknown USB bridge",
    "Unsupported USB bridge",
    "Unable to detect device type",
    "Unknown device type",
    "Not a device of type",
    "mandatory SMART command failed",
    "device type is not supported",
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
    let is_error = WITHIN.iter().any(|words| line.contains(words))
        || line.ends_with(": Permission denied") && !line.starts_with('#')
        || line.starts_with("Read ") && line.contains(" entries from Error Information Log");
    if is_error {
        return Some(ERROR);
    }
    if line.contains("Device open changed type from") {
        return Some(INFORMATION);
    }
    // "Read SCT Status failed: Input/output error", "… command failed", but no row of a table.
    let is_failure = !line.starts_with('#')
        && !line.starts_with(|first: char| first.is_ascii_digit())
        && !line.contains("feature")
        && !line.contains("Reorder")
        && (line.contains(" failed: ") || line.ends_with(" failed"));
    is_failure.then_some(WARNING)
}

/// The power mode in `Device is in STANDBY mode, exit(2)`. Where the system knows without asking
/// the device, it is `STANDBY (OS)`.
fn sleeping(line: &str) -> Option<&str> {
    let (mode, rest) = line.strip_prefix("Device is in ")?.split_once(" mode")?;
    let mode = mode.strip_suffix(" (OS)").unwrap_or(mode);
    (rest.is_empty() || rest.starts_with([',', ' '])).then_some(mode)
}

/// What is said of a text that is none of smartctl's.
const NO_REPORT: &str = "labstat: the input is no report of smartctl";

/// Whether nothing is said but that there is nothing.
pub(super) fn is_explained(report: &Report) -> bool {
    let messages = report.smartctl.as_ref().and_then(|it| it.messages.as_deref());
    messages.unwrap_or_default().iter().any(|it| it.string.as_deref() == Some(NO_REPORT))
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
        None => NO_REPORT,
    };
    push(report, why, ERROR);
}

pub(super) fn push(report: &mut Report, string: &str, severity: &str) {
    let messages = report.smartctl.get_or_insert_default().messages.get_or_insert_default();
    let message = Message { string: Some(string.to_owned()), severity: Some(severity.to_owned()) };
    if messages.len() < MESSAGES_MAX && !messages.contains(&message) {
        messages.push(message);
    }
}
