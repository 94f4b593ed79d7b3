//! How an attempt to read a disk ended, from what smartctl printed and how it ended.

use labstat_parse::smartctl::{self, Report};

use crate::host::{Output, RunError};

use labstat_disks::State;

use super::kinds::UsbId;
use super::state;

/// The exit status that smartctl is asked to end with when a disk sleeps. No failure has it: the
/// lowest bit is a wrong command line, which alone ends a run at once.
pub(super) const STATUS_ASLEEP: i32 = 3;

/// Likewise when the disk's power mode cannot be told.
pub(super) const STATUS_MODE_UNKNOWN: i32 = 5;

/// How one attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There is a report.
    Read,
    /// It sleeps and was left alone: how deeply.
    Asleep(&'static str),
    /// Whether it sleeps cannot be told, so it was left alone.
    LeftAlone,
    /// It was pulled, or its link died: there is no such device any more.
    Gone,
    /// We may not.
    Denied(&'static str),
    /// It cannot be read this way: why.
    Unsupported(&'static str),
    /// It should have answered: why it did not.
    Failed(&'static str),
}

impl Outcome {
    /// The word of `labstat_smart_state{state}`.
    pub(super) fn state(self) -> &'static str {
        match self {
            Self::Read | Self::LeftAlone => "read",
            Self::Asleep(_) => "asleep",
            Self::Gone => "gone",
            Self::Denied(_) => "denied",
            Self::Unsupported(_) => "unsupported",
            Self::Failed(_) => "failed",
        }
    }

    /// The word of `labstat_smart_state{reason}`; empty where there is no more to say.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Read | Self::LeftAlone | Self::Gone => "",
            Self::Asleep(why) | Self::Denied(why) | Self::Unsupported(why) | Self::Failed(why) => {
                why
            }
        }
    }

    /// The word of `labstat_smart_reads_total{outcome}`.
    pub(super) fn counted_as(self) -> &'static str {
        match self {
            Self::Failed("timeout") => "timeout",
            Self::LeftAlone => "left_alone",
            other => other.state(),
        }
    }
}

/// How a run ended, with its report when it has one.
pub(super) fn of(result: &Result<Output, RunError>) -> (Outcome, Option<Report>) {
    let output = match result {
        Ok(output) => output,
        Err(RunError::TimedOut(_) | RunError::Hung) => return (Outcome::Failed("timeout"), None),
        Err(_) => return (Outcome::Failed("not_run"), None),
    };
    // The exit status is a mask of which most bits are about the disk's health: the JSON says
    // more, so it comes first.
    let Ok(report) = json(output) else {
        let outcome = match output.status {
            Some(STATUS_ASLEEP) => Outcome::Asleep("standby"),
            _ => Outcome::Failed("no_report"),
        };
        return (outcome, None);
    };
    (of_report(&report, output.status), Some(report))
}

fn of_report(report: &Report, status: Option<i32>) -> Outcome {
    if let Some(mode) = sleep_mode(report) {
        return Outcome::Asleep(mode);
    }
    if says_anything(report) {
        return Outcome::Read;
    }
    match status {
        Some(STATUS_ASLEEP) => return Outcome::Asleep("standby"),
        Some(STATUS_MODE_UNKNOWN) => return Outcome::LeftAlone,
        _ => {}
    }
    match state::of(report) {
        (State::Read, _) => Outcome::Read,
        (State::Asleep, how) => Outcome::Asleep(how),
        (State::Denied, why) => Outcome::Denied(why),
        (State::Gone, _) => Outcome::Gone,
        // It was asked right, and did not answer with a report.
        (State::Unsupported, "no_report") => Outcome::Failed("no_report"),
        (State::Unsupported, why) => Outcome::Unsupported(why),
        (State::Failed, why) => Outcome::Failed(why),
    }
}

/// The report in a command's output. Firmware puts bytes into it that are not UTF-8; they become
/// U+FFFD, the rest counts.
pub(super) fn json(output: &Output) -> Result<Report, serde_json::Error> {
    let text = String::from_utf8_lossy(&output.stdout);
    // The parser takes texts too and never fails; here only a whole JSON object will do.
    let _: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text)?;
    Ok(smartctl::parse(text.as_bytes()))
}

/// How deeply a disk sleeps, from the word for it.
pub(super) fn sleep_of(word: &str) -> Option<&'static str> {
    ["standby", "sleep", "idle"].into_iter().find(|known| *known == word)
}

/// The mode in which smartctl left the disk alone.
fn sleep_mode(report: &Report) -> Option<&'static str> {
    let modes = [("Device is in STANDBY", "standby"), ("Device is in SLEEP", "sleep")];
    modes.iter().find(|(words, _)| complains(report, words)).map(|(_, mode)| *mode)
}

/// Whether one of smartctl's messages has these words in it.
fn complains(report: &Report, words: &str) -> bool {
    messages(report).any(|text| text.contains(words))
}

fn messages(report: &Report) -> impl Iterator<Item = &str> {
    let messages = report.smartctl.as_ref().and_then(|program| program.messages.as_ref());
    messages.into_iter().flatten().filter_map(|message| message.string.as_deref())
}

/// The make of the bridge in `Unknown USB bridge [0x152d:0x0578 (0x209)]`.
pub(super) fn bridge(report: &Report) -> Option<UsbId> {
    let hex = |text: &str| u16::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok();
    messages(report).find_map(|text| {
        let (_, rest) = text.split_once("USB bridge [")?;
        let (vendor, rest) = rest.split_once(':')?;
        let product = rest.split([' ', ']', ':']).next()?;
        Some(UsbId { vendor: hex(vendor)?, product: hex(product)? })
    })
}

/// Whether there is more in it than that smartctl ran: an identity or a state.
fn says_anything(report: &Report) -> bool {
    report.model_name.is_some()
        || report.scsi_product.is_some()
        || report.serial_number.is_some()
        || report.smart_status.is_some()
        || has_health(report)
}

/// Whether there is a disk's state in it, which an identity made up by a bridge is not.
pub(super) fn has_health(report: &Report) -> bool {
    report.ata_smart_attributes.is_some() || report.nvme_smart_health_information_log.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(status: i32, json: &str) -> Outcome {
        let stdout = json.as_bytes().to_vec();
        of(&Ok(Output { status: Some(status), stdout, stderr: Vec::new() })).0
    }

    fn complained(status: i32, words: &str) -> Outcome {
        ended(
            status,
            &format!(
                r#"{{"smartctl":{{"messages":[{{"string":"{words}","severity":"error"}}]}}}}"#
            ),
        )
    }

    #[test]
    fn words_and_what_they_mean() {
        let open = |words: &str| format!("Smartctl open device: /dev/sda failed: {words}");
        for (words, outcome) in [
            ("Device is in STANDBY (OS) mode, exit(3)", Outcome::Asleep("standby")),
            ("Device is in SLEEP mode, exit(3)", Outcome::Asleep("sleep")),
            (&open("Permission denied"), Outcome::Denied("permission")),
            (&open("No such device"), Outcome::Gone),
            (&open("Input/output error"), Outcome::Failed("open_failed")),
            (
                "/dev/sdc: Unknown USB bridge [0x152d:0x0578 (0x209)]",
                Outcome::Unsupported("unknown_usb_bridge"),
            ),
            (
                "Smartctl open device: /dev/sda failed: DELL or MegaRaid controller, please try adding '-d megaraid,N'",
                Outcome::Unsupported("raid_volume"),
            ),
            ("/dev/vda: Unable to detect device type", Outcome::Unsupported("unknown_device")),
            (
                "Read Device Identity failed: scsi error unsupported field in scsi command",
                Outcome::Unsupported("no_passthrough"),
            ),
            ("Read Device Identity failed: Input/output error", Outcome::Failed("identify_failed")),
            ("something new", Outcome::Failed("no_report")),
        ] {
            assert_eq!(complained(2, words), outcome, "{words}");
        }
    }

    #[test]
    fn the_exit_status_tells_of_sleep_only_where_there_is_no_report() {
        assert_eq!(ended(3, r#"{"smartctl":{}}"#), Outcome::Asleep("standby"));
        assert_eq!(ended(5, r#"{"smartctl":{}}"#), Outcome::LeftAlone);
        assert_eq!(ended(3, r#"{"smartctl":{},"model_name":"M"}"#), Outcome::Read);
        assert_eq!(ended(5, r#"{"smartctl":{},"model_name":"M"}"#), Outcome::Read);
        assert_eq!(ended(3, ""), Outcome::Asleep("standby"));
        assert_eq!(ended(0, ""), Outcome::Failed("no_report"));
        assert_eq!(ended(0, "[]"), Outcome::Failed("no_report"));
    }

    #[test]
    fn the_make_of_a_bridge_is_in_the_complaint() {
        let report = |words: &str| {
            smartctl::parse(
                format!(r#"{{"smartctl":{{"messages":[{{"string":"{words}"}}]}}}}"#).as_bytes(),
            )
        };
        let id = bridge(&report("/dev/sdc: Unknown USB bridge [0x152d:0x0578 (0x209)]"));
        assert_eq!(id, Some(UsbId { vendor: 0x152d, product: 0x0578 }));
        let id = bridge(&report("/dev/sdc: Unknown USB bridge [0x46f4:0x0001]"));
        assert_eq!(id, Some(UsbId { vendor: 0x46f4, product: 1 }));
        assert_eq!(bridge(&report("Unknown USB bridge [nonsense")), None);
    }
}
