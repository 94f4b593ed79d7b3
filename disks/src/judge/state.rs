//! Disks that were not read: dead, asleep, or silent for a reason that is no fault of theirs.

use super::Case;
use crate::reading::State;
use crate::verdict::{Evidence, Reason, Verdict};

/// The verdict when the rules found `seen` in what is known of the disk. Adds the reason why it
/// was not read, if it was not.
pub(super) fn judge(case: &Case<'_>, seen: Verdict, reasons: &mut Vec<Reason>) -> Verdict {
    let now = case.now;
    let why = now.state_reason.as_deref().unwrap_or_default();
    let (code, verdict, text) = match now.state {
        State::Read if now.has_health() => return seen,
        State::Read => ("no_health", Verdict::Silent, no_health(case)),
        State::Asleep => ("asleep", Verdict::Asleep, asleep(case)),
        State::Denied => (
            "denied",
            Verdict::Silent,
            "The rights to ask the disk are missing: run as root, or give the agent \
             CAP_SYS_RAWIO and CAP_SYS_ADMIN."
                .to_owned(),
        ),
        State::Unsupported => ("unsupported", Verdict::Silent, unsupported(why).to_owned()),
        // smartctl could not be run, or printed nothing that can be read: no word of the disk.
        State::Failed if matches!(why, "not_run" | "no_report") => (
            "not_asked",
            Verdict::Silent,
            "smartctl gave no report: look whether it is installed and runs; labstat doctor says \
             more."
                .to_owned(),
        ),
        State::Failed => ("no_answer", Verdict::Dead, failed(why).to_owned()),
        State::Gone if case.now.identity.model.is_some() || case.now.identity.serial.is_some() => (
            "gone",
            Verdict::Dead,
            "The disk was there and is not any more: it was pulled, lost its cable or power, or \
             died."
                .to_owned(),
        ),
        State::Gone => (
            "no_such_device",
            Verdict::Silent,
            "There is no such device: look at its name.".to_owned(),
        ),
    };
    let mut reason = Reason::new(code, verdict, text);
    if !why.is_empty() {
        reason = reason.with(Evidence::new("state", why));
    }
    reasons.insert(0, reason);
    // What was known before it fell asleep or silent is still true.
    if verdict == Verdict::Dead || seen == Verdict::Ok { verdict } else { seen.worse(verdict) }
}

fn asleep(case: &Case<'_>) -> String {
    if case.now.state_reason.as_deref() == Some("unknown") {
        return "The disk was not asked yet: nobody uses it, and it cannot be told whether asking \
                would wake it. It is read when it is used."
            .to_owned();
    }
    let age = case.now.age_seconds.filter(|age| *age >= 0.0);
    let age = age.map_or_else(String::new, |age| {
        format!("; what is known of it is {:.0} h old", age / 3600.0)
    });
    format!("The disk sleeps and was left asleep{age}.")
}

fn no_health(case: &Case<'_>) -> String {
    if case.now.identity.model.is_some() || case.now.identity.serial.is_some() {
        "The report says which disk it is and nothing of its health: read it with smartctl -x, \
         behind a USB bridge or a RAID controller with -d."
            .to_owned()
    } else {
        "The report is not of a disk's health.".to_owned()
    }
}

fn unsupported(why: &str) -> &'static str {
    match why {
        "unknown_usb_bridge" => {
            "smartctl does not know the USB bridge of the disk: try -d sat, -d sntjmicron, \
             -d sntasmedia or -d sntrealtek."
        }
        "virtual" => {
            "It is a virtual disk, which has no health of its own: ask the host that provides it."
        }
        "raid_volume" => {
            "It is a volume of a RAID controller: ask its disks one by one, with -d megaraid,N, \
             -d cciss,N or -d areca,N."
        }
        "smart_disabled" => "SMART is switched off: smartctl -s on switches it on.",
        "busy" => "The disk is in use in a way that lets nobody else ask it: look again later.",
        "no_medium" => "There is no medium in the drive.",
        "not_ready" => {
            "The disk is not ready, such as one that spins up or is stopped: look again in a \
             minute; if it stays so, look at cable and power."
        }
        "no_report" => "The input is no report of smartctl about a disk.",
        _ => "The disk has no SMART, or what it is attached to lets nothing of it through.",
    }
}

fn failed(why: &str) -> &'static str {
    match why {
        "timeout" => {
            "The disk did not answer in time: it hangs, or its link does; look at the kernel's \
             log, cable and power first, then replace it."
        }
        "identify_failed" => {
            "The disk does not even say who it is: look at cable and power first, then replace it."
        }
        "smart_command_failed" => {
            "The disk answers and gives no SMART data, though it has it: copy what is on it and \
             replace it."
        }
        _ => "The disk does not answer: look at cable and power first, then replace it.",
    }
}
