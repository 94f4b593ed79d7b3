//! Lines that were put one after another, as by a page that keeps no line ends, or by a program
//! that prints its list of them.
//!
//! A line ends where the next one can be told by its beginning: a heading, a key, a row of a
//! table. Lines as smartctl prints them are shorter than any that is looked at here.

/// Bytes of a line that smartctl may have printed as one.
const LINE_LEN_MAX: usize = 300;
/// Beginnings of lines that one line must hold to be taken for several.
const BEGINNINGS_MIN: usize = 4;

/// How lines begin, of which none is the beginning of another that stands after it here.
const BEGINNINGS: [&str; 131] = [
    "=== START OF ",
    "Model Family:",
    "Device Model:",
    "Model Number:",
    "Serial Number:",
    "Serial number:",
    "LU WWN Device Id:",
    "Firmware Version:",
    "User Capacity:",
    "Sector Sizes:",
    "Sector Size:",
    "Rotation Rate:",
    "Form Factor:",
    "TRIM Command:",
    "Device is:",
    "ATA Version is:",
    "ATA Standard is:",
    "SATA Version is:",
    "Local Time is:",
    "SMART support is:",
    "AAM feature is:",
    "AAM level is:",
    "APM feature is:",
    "APM level is:",
    "Rd look-ahead is:",
    "Write cache is:",
    "DSN feature is:",
    "ATA Security is:",
    "Wt Cache Reorder:",
    "Power mode is:",
    "Power mode was:",
    "SMART overall-health self-assessment test result:",
    "General SMART Values:",
    "Offline data collection status:",
    "Self-test execution status:",
    "Total time to complete Offline",
    "Offline data collection capabilities:",
    "SMART capabilities:",
    "Error logging capability:",
    "Short self-test routine",
    "Extended self-test routine",
    "Conveyance self-test routine",
    "SCT capabilities:",
    "SMART Attributes Data Structure",
    "Vendor Specific SMART Attributes",
    "ID# ATTRIBUTE_NAME",
    "General Purpose Log",
    "SMART Log Directory",
    "SMART Error Log",
    "SMART Extended Comprehensive Error Log",
    "SMART Self-test log",
    "SMART Self-test Log",
    "SMART Extended Self-test Log",
    "SMART Selective self-test log",
    "Selective self-test flags",
    "Selective Self-tests/Logging",
    "No Errors Logged",
    "ATA Error Count:",
    "Device Error Count:",
    "No self-tests have been logged",
    "No Self-tests Logged",
    "Num Test",
    "SCT Status Version:",
    "SCT Version ",
    "SCT Support Level:",
    "Device State:",
    "Current Temperature:",
    "Power Cycle Min/Max Temperature:",
    "Lifetime Min/Max Temperature:",
    "Under/Over Temperature Limit Count:",
    "SCT Temperature History",
    "SCT Error Recovery Control",
    "SCT Commands not supported",
    "Device Statistics (",
    "Pending Defects log (",
    "SATA Phy Event Counters",
    "PCI Vendor/Subsystem ID:",
    "IEEE OUI Identifier:",
    "Total NVM Capacity:",
    "Unallocated NVM Capacity:",
    "Controller ID:",
    "NVMe Version:",
    "Number of Namespaces:",
    "Namespace 1 ",
    "Firmware Updates (",
    "Optional Admin Commands",
    "Optional NVM Commands",
    "Log Page Attributes",
    "Maximum Data Transfer Size:",
    "Warning Comp. Temp. Threshold:",
    "Critical Comp. Temp. Threshold:",
    "Supported Power States",
    "Supported LBA Sizes",
    "SMART/Health Information (NVMe",
    "Critical Warning:",
    "Temperature Sensor ",
    "Temperature:",
    "Available Spare Threshold:",
    "Available Spare:",
    "Percentage Used:",
    "Data Units Read:",
    "Data Units Written:",
    "Host Read Commands:",
    "Host Write Commands:",
    "Controller Busy Time:",
    "Power Cycles:",
    "Power On Hours:",
    "Unsafe Shutdowns:",
    "Media and Data Integrity Errors:",
    "Error Information Log Entries:",
    "Warning Comp. Temperature Time:",
    "Critical Comp. Temperature Time:",
    "Error Information (NVMe",
    "Self-test Log (NVMe",
    "Self-test status:",
    "Vendor:",
    "Product:",
    "Revision:",
    "Compliance:",
    "Logical block size:",
    "Logical Unit id:",
    "Device type:",
    "Transport protocol:",
    "Temperature Warning:",
    "SMART Health Status:",
    "Current Drive Temperature:",
    "Drive Trip Temperature:",
    "Accumulated power on time,",
    "Elements in grown defect list:",
    "Error counter log:",
    "Non-medium error count:",
];

/// What also begins lines, too short or too common to say that a line is several.
const ALSO: [&str; 30] = [
    "Copyright (C)",
    "Manufactured in week",
    "Specified cycle count",
    "Accumulated start-stop cycles:",
    "Specified load-unload count",
    "Accumulated load-unload cycles:",
    "Errors Corrected by",
    "Percentage used endurance indicator:",
    "read:",
    "write:",
    "verify:",
    "Long (extended) Self",
    "Vendor (Seagate",
    "number of hours powered up",
    "number of minutes until",
    "Blocks sent to",
    "Background scan results",
    "Protocol Specific port",
    "|",
    "Warning! ",
    "Read SMART ",
    "Read SCT ",
    "Read Device Statistics",
    "Read SATA ",
    "Read GP ",
    "ATA_READ_LOG",
    "SMART WRITE LOG",
    "SMART Status not supported:",
    "Device supports SMART and is",
    "Temperature Warning ",
];

/// `text` with its lines apart, where some of them were not.
pub(super) fn apart(text: &str) -> Option<String> {
    if !text.split('\n').any(|line| line.len() > LINE_LEN_MAX) {
        return None;
    }
    if text.contains("', '=== START OF") {
        return Some(listed(text));
    }
    let mut out = String::with_capacity(text.len() + text.len() / 16);
    let mut changed = false;
    for line in text.split_inclusive('\n') {
        match Some(line).filter(|line| line.len() > LINE_LEN_MAX).and_then(split) {
            Some(lines) => {
                changed = true;
                out.push_str(&lines);
                // What ended the line ends the last of its lines, which is whole.
                if !lines.ends_with('\n') {
                    out.push('\n');
                }
            }
            None => out.push_str(line),
        }
    }
    changed.then_some(out)
}

/// A list of lines as Python prints it, `['smartctl 7.4 …', '', '=== START OF …']`, as lines.
fn listed(text: &str) -> String {
    let lines = text.replace("', '", "\n").replace("', \"", "\n").replace("\", '", "\n");
    lines.replace("['", "\n").replace("']", "\n").replace("\\t", "\t")
}

/// One line as several, if it is.
fn split(line: &str) -> Option<String> {
    let starts = line.char_indices().scan(' ', |before, (at, next)| {
        let begins = before.is_whitespace() && !next.is_whitespace();
        *before = next;
        Some(begins.then_some(at))
    });
    let starts: Vec<usize> = starts.flatten().collect();
    let mut cuts = Vec::new();
    let (mut beginnings, mut behind) = (0, 0);
    for &at in starts.iter() {
        let Some(rest) = line.get(at..).filter(|_| at >= behind) else { continue };
        let long = BEGINNINGS.iter().find(|begin| rest.starts_with(**begin));
        let begin = long.or_else(|| ALSO.iter().find(|begin| rest.starts_with(**begin)));
        beginnings += usize::from(long.is_some());
        if let Some(begin) = begin {
            cuts.push(at);
            behind = at + begin.len();
        } else if is_row(rest) {
            cuts.push(at);
        }
    }
    if beginnings < BEGINNINGS_MIN {
        return None;
    }
    let mut out = String::with_capacity(line.len() + cuts.len());
    let mut from = 0;
    for at in cuts.into_iter().chain([line.len()]) {
        let piece = line.get(from..at).unwrap_or_default().trim();
        if !piece.is_empty() {
            out.push_str(piece);
            out.push('\n');
        }
        from = at;
    }
    Some(out)
}

/// The word after the number of an error in a log.
const OCCURRED: &str = "occurred";

/// Whether a row of the table of attributes, of a log of self-tests or of errors begins here.
fn is_row(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let (Some(first), Some(second), Some(third)) = (words.next(), words.next(), words.next())
    else {
        return false;
    };
    let is_flags = |word: &str| {
        word.strip_prefix("0x").is_some_and(|bits| bits.len() == 4)
            || (6..=7).contains(&word.len())
                && word
                    .bytes()
                    .all(|it| matches!(it, b'-' | b'P' | b'O' | b'S' | b'R' | b'C' | b'K' | b'+'))
    };
    let is_name = second.starts_with(|it: char| it.is_ascii_alphabetic());
    let is_count = |word: &str| !word.is_empty() && word.bytes().all(|it| it.is_ascii_digit());
    match first {
        "#" => is_count(second),
        // `Error 5 occurred at …`, or `Error 5 [4] occurred at …`.
        "Error" if third.starts_with('[') => is_count(second) && words.next() == Some(OCCURRED),
        "Error" => is_count(second) && third == OCCURRED,
        _ if first.strip_prefix('#').is_some_and(is_count) => is_name,
        _ => first.parse::<u8>().is_ok() && is_name && is_flags(third),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_beginning_hides_another() {
        for (at, begin) in BEGINNINGS.iter().enumerate() {
            let hidden = BEGINNINGS.iter().skip(at + 1).find(|later| later.starts_with(begin));
            assert_eq!(hidden, None, "{begin}");
        }
    }

    #[test]
    fn a_list_of_lines_is_lines() {
        let list = format!(
            "ERROR rc = 4. stdout = ['smartctl 7.4 {}', '', '=== START OF X', \"Key: a'b\", 'x']",
            "-".repeat(300)
        );
        let lines = apart(&list).unwrap();
        assert!(lines.contains("\n\n=== START OF X\nKey: a'b\nx\n"), "{lines}");
    }

    #[test]
    fn an_error_of_a_log_begins_a_line() {
        for row in
            ["Error 5 occurred at disk power-on lifetime: 3 hours", "Error 5 [4] occurred at"]
        {
            assert!(is_row(row), "{row}");
        }
        for other in ["Error 5 of 6", "Error logging capability", "Error 5 [4] at", "Error 5 "] {
            assert!(!is_row(other), "{other}");
        }
        // What follows is not looked through for each of them.
        assert_eq!(apart(&"Error 1 x ".repeat(50_000)), None);
    }

    #[test]
    fn lines_that_are_whole_stay() {
        let long = format!("Device Model:     {}\n", "x ".repeat(400));
        assert_eq!(apart(&long), None);
        assert_eq!(apart("Device Model: x\nSerial Number: y\n"), None);
    }
}
