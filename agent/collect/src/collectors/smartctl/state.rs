//! How an attempt to read a disk ended, by the report alone.
//!
//! A disk that sleeps, that we may not ask, or that hides behind a bridge or a controller has not
//! failed. Only a disk that must answer, and does not, has.

use labstat_disks::{Reading, State, families};
use labstat_model::Batch;
use labstat_parse::smartctl::Report;

/// Words in smartctl's messages, and in those of the kernel that it passes on, the more special
/// ones first: how the attempt ended, and why. See the label `reason` in `docs/disks.md`.
const WORDS: [(&str, State, &str); 31] = [
    ("is in STANDBY", State::Asleep, "standby"),
    ("is in SLEEP", State::Asleep, "sleep"),
    ("is in IDLE", State::Asleep, "idle"),
    ("Permission denied", State::Denied, "permission"),
    ("Operation not permitted", State::Denied, "permission"),
    ("Access is denied", State::Denied, "permission"),
    ("Open failed, Error=5", State::Denied, "permission"),
    ("requires option", State::Unsupported, "unknown_device"),
    ("nknown USB bridge", State::Unsupported, "unknown_usb_bridge"),
    ("nsupported USB bridge", State::Unsupported, "unknown_usb_bridge"),
    ("scsi error unsupported", State::Unsupported, "no_passthrough"),
    ("scsi error badly formed", State::Unsupported, "no_passthrough"),
    ("scsi error aborted command", State::Unsupported, "no_passthrough"),
    ("please try adding '-d", State::Unsupported, "raid_volume"),
    ("Unsupported RAID", State::Unsupported, "raid_volume"),
    ("You must specify the", State::Unsupported, "raid_volume"),
    ("Unable to detect device type", State::Unsupported, "unknown_device"),
    ("Unable to detect", State::Unsupported, "unknown_device"),
    ("Unknown device type", State::Unsupported, "unknown_device"),
    ("SMART Disabled", State::Unsupported, "smart_disabled"),
    ("does not support SMART", State::Unsupported, "no_smart"),
    ("lacks SMART capability", State::Unsupported, "no_smart"),
    ("has no SMART capability", State::Unsupported, "no_smart"),
    ("not support S.M.A.R.T", State::Unsupported, "no_smart"),
    ("Inappropriate ioctl", State::Unsupported, "no_passthrough"),
    ("Function not implemented", State::Unsupported, "no_passthrough"),
    ("not implemented", State::Unsupported, "no_passthrough"),
    ("Invalid argument", State::Unsupported, "no_passthrough"),
    ("bad response to IEC", State::Unsupported, "no_passthrough"),
    ("No such device", State::Gone, ""),
    ("No such file or directory", State::Gone, ""),
];

/// Words of smartctl for what a disk that is there must be able to, and the reason when it fails
/// to by an error of its own.
const COMMANDS: [(&str, &str); 8] = [
    ("dentity failed", "identify_failed"),
    ("dentity Failed", "identify_failed"),
    ("Identify Controller failed", "identify_failed"),
    ("Standard Inquiry", "identify_failed"),
    ("INQUIRY failed", "identify_failed"),
    ("Test Unit Ready", "open_failed"),
    ("open device:", "open_failed"),
    ("open of ", "open_failed"),
];

/// Words of the errors that are those of the disk or its link. Whatever else an error is called,
/// it may be the way to the disk: busy, without a medium, a bridge that knows the command not.
const BROKEN: [&str; 6] = [
    "Input/output error",
    "I/O error",
    "I/O device error",
    "medium or hardware error",
    "timed out",
    "semaphore timeout",
];
/// Those of them that say that no answer came.
const TIMEOUTS: [&str; 2] = ["timed out", "semaphore timeout"];

/// Words for a place of a controller, as in `-d cciss,4` and `[3ware_disk_01]`.
const PLACES: [&str; 10] = [
    "cciss,",
    "3ware,",
    "megaraid,",
    "areca,",
    "hpt,",
    "aacraid,",
    "sssraid,",
    "_disk_",
    "aacraid_",
    "areca_",
];

/// Words of errors that name what is in the way, and the reason.
const OBSTACLES: [(&str, &str); 6] = [
    ("busy", "busy"),
    ("No medium", "no_medium"),
    ("no medium", "no_medium"),
    ("not ready", "not_ready"),
    ("NOT READY", "not_ready"),
    ("be ready soon", "not_ready"),
];

/// Models of disks that are made by a hypervisor or another machine.
const VIRTUAL: [&str; 12] = [
    "qemu",
    "vmware",
    "vbox",
    "virtual disk",
    "virtio",
    "msft",
    "virtual-disk",
    "netapp lun",
    "lio-org",
    "amazon elastic",
    "google persistentdisk",
    "iscsi",
];
/// Models of volumes and of the controllers that make them.
const VOLUMES: [&str; 14] = [
    "raid",
    "logical volume",
    "perc h",
    "perc 6",
    "perc 5",
    "smart array",
    "megaraid",
    "mr9",
    "rs3dc",
    "rms3",
    "avago mr",
    "lsi mr",
    "raid vd",
    "volume",
];

/// How the attempt ended and why: values of the labels `state` and `reason`. The reason is empty
/// where there is no more to say.
pub fn of(report: &Report) -> (State, &'static str) {
    if has_health(report) {
        return (State::Read, "");
    }
    let model = report.model_name.as_deref().or(report.scsi_model_name.as_deref());
    let model = model.map(str::to_ascii_lowercase);
    let is_like = |names: &[&str]| {
        model.as_ref().is_some_and(|model| names.iter().any(|name| model.contains(name)))
    };
    if is_like(&VIRTUAL) {
        return (State::Unsupported, "virtual");
    }
    if is_like(&VOLUMES) {
        return (State::Unsupported, "raid_volume");
    }
    if report.smart_status.as_ref().is_some_and(|status| status.passed.is_some()) {
        return (State::Read, "");
    }
    let words = WORDS.iter().find(|(words, ..)| complains(report, words));
    if let Some(&(_, state, reason)) = words {
        return mandatory(report).unwrap_or((state, reason));
    }
    if let Some(found) = mandatory(report).or_else(|| refused(report)) {
        return found;
    }
    match report.smart_support.as_ref().map(|support| (support.available, support.enabled)) {
        Some((Some(false), _)) => return (State::Unsupported, "no_smart"),
        Some((_, Some(false))) => return (State::Unsupported, "smart_disabled"),
        _ => {}
    }
    if model.is_some() || report.serial_number.is_some() || has_logs(report) {
        return (State::Read, "");
    }
    (State::Unsupported, "no_report")
}

/// Whether there is a log of a disk in it, as where nothing else was asked for.
fn has_logs(report: &Report) -> bool {
    report.ata_smart_self_test_log.is_some()
        || report.ata_smart_error_log.is_some()
        || report.ata_device_statistics.is_some()
        || report.ata_pending_defects_log.is_some()
        || report.ata_smart_data.is_some()
        || report.nvme_self_test_log.is_some()
}

/// A disk that says who it is, has SMART, and fails to give it by an error of its own.
fn mandatory(report: &Report) -> Option<(State, &'static str)> {
    let device = report.device.as_ref();
    // An NVMe disk has it always, and older versions do not say so.
    let is_nvme = device.is_some_and(|device| device.protocol.as_deref() == Some("NVMe"));
    let support = report.smart_support.as_ref();
    let has_smart = support.map_or(is_nvme, |support| {
        support.available == Some(true) && support.enabled != Some(false)
    });
    let kind = device.and_then(|device| device.kind.as_deref());
    let direct = kind.is_none_or(|kind| matches!(kind, "ata" | "sat" | "nvme" | "scsi"));
    let fails = messages(report).any(is_broken);
    (has_smart && direct && fails && report.serial_number.is_some())
        .then_some((State::Failed, "smart_command_failed"))
}

/// What a command came to without which nothing is known of the disk: it failed by an error of its
/// own, or something was in the way.
fn refused(report: &Report) -> Option<(State, &'static str)> {
    let command = |text: &str| COMMANDS.iter().find(|(words, _)| text.contains(words));
    let mut refused = messages(report).filter_map(|text| Some((text, command(text)?.1)));
    // Behind a controller a place without a disk gives the same errors as a disk that is dead.
    let is_place = is_place(report);
    if let Some((text, reason)) = refused.clone().find(|(text, _)| is_broken(text) && !is_place) {
        let is_timeout = TIMEOUTS.iter().any(|words| text.contains(words));
        return Some((State::Failed, if is_timeout { "timeout" } else { reason }));
    }
    let obstacle = OBSTACLES.iter().find(|(words, _)| complains(report, words));
    if let Some((_, reason)) = obstacle {
        return Some((State::Unsupported, reason));
    }
    refused.next().map(|_| (State::Unsupported, "no_passthrough"))
}

/// Whether it is a place of a controller that was asked, and nothing says that a disk is in it.
fn is_place(report: &Report) -> bool {
    let device = report.device.as_ref();
    let names = device.into_iter().flat_map(|it| [&it.kind, &it.info_name]).flatten();
    let is_named = |text: &str| PLACES.iter().any(|words| text.contains(words));
    let asked = names.map(String::as_str).chain(messages(report)).any(is_named);
    asked && report.model_name.is_none() && report.serial_number.is_none()
}

/// Whether a message tells of an error of the disk or its link.
fn is_broken(text: &str) -> bool {
    BROKEN.iter().any(|words| text.contains(words))
}

/// Whether one of smartctl's messages has these words in it.
fn complains(report: &Report, words: &str) -> bool {
    messages(report).any(|text| text.contains(words))
}

/// What smartctl said beside the report.
fn messages(report: &Report) -> impl Iterator<Item = &str> + Clone {
    let messages = report.smartctl.as_ref().and_then(|program| program.messages.as_ref());
    messages.into_iter().flatten().filter_map(|message| message.string.as_deref())
}

/// Whether there is a disk's state in it beyond its overall verdict, which an identity made up by
/// a bridge or a controller is not.
fn has_health(report: &Report) -> bool {
    let rows = report.ata_smart_attributes.as_ref().and_then(|all| all.table.as_ref());
    rows.is_some_and(|rows| !rows.is_empty())
        || report.nvme_smart_health_information_log.is_some()
        || report.scsi_grown_defect_list.is_some()
        || report.scsi_error_counter_log.is_some()
        || !report.scsi_self_tests.0.is_empty()
}

/// Adds how the attempt ended.
pub fn push(device: &str, (state, reason): (State, &str), out: &mut Batch) {
    let labels = [("device", device), ("reason", reason), ("state", state.as_str())];
    out.push(&families::STATE, &labels, 1.0);
}

/// The reading of a report: its samples, and of them a reading, as an aggregator makes it of what
/// an agent sends.
pub fn reading(report: &Report) -> Reading {
    const DEVICE: &str = "disk";
    let mut batch = Batch::new();
    super::push_report(DEVICE, report, &mut batch);
    push(DEVICE, of(report), &mut batch);
    let samples = batch.iter().map(|it| (&*it.family.name, it.labels, it.value));
    Reading::from_samples(samples).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use labstat_parse::smartctl;

    use super::*;

    fn said(words: &str) -> (State, &'static str) {
        let json =
            format!(r#"{{"smartctl":{{"messages":[{{"string":"{words}","severity":"error"}}]}}}}"#);
        of(&smartctl::parse(json.as_bytes()))
    }

    #[test]
    fn words_and_what_they_mean() {
        let open = |words: &str| format!("Smartctl open device: /dev/sda failed: {words}");
        for (words, expected) in [
            ("Device is in STANDBY mode, exit(2)", (State::Asleep, "standby")),
            (&open("Permission denied"), (State::Denied, "permission")),
            (&open("No such device"), (State::Gone, "")),
            (&open("Input/output error"), (State::Failed, "open_failed")),
            (
                "/dev/sdc: Unknown USB bridge [0x152d:0x0578 (0x209)]",
                (State::Unsupported, "unknown_usb_bridge"),
            ),
            (
                "Read Device Identity failed: scsi error unsupported field in scsi command",
                (State::Unsupported, "no_passthrough"),
            ),
            ("Read Device Identity failed: Input/output error", (State::Failed, "identify_failed")),
            (
                "Standard Inquiry (36 bytes) failed [Connection timed out]",
                (State::Failed, "timeout"),
            ),
            ("device Test Unit Ready: Input/output error", (State::Failed, "open_failed")),
            ("/dev/vda: Unable to detect device type", (State::Unsupported, "unknown_device")),
            ("something new", (State::Unsupported, "no_report")),
        ] {
            assert_eq!(said(words), expected, "{words}");
        }
    }

    #[test]
    fn a_log_alone_is_a_report() {
        for log in [
            "SMART Error Log Version: 1\nNo Errors Logged\n",
            "SMART Self-test log structure revision number 1\n\
             # 1  Short offline       Completed without error       00%     43311         -\n",
            "Device Statistics (GP Log 0x04)\n\
             0x03  =====  =               =  ===  == Rotating Media Statistics (rev 1) ==\n\
             0x03  0x020  4            4511  ---  Number of Reallocated Logical Sectors\n",
        ] {
            let report = smartctl::parse(format!("smartctl 7.2 2020-12-30\n\n{log}\n").as_bytes());
            assert_eq!(of(&report), (State::Read, ""), "{log}");
        }
    }

    #[test]
    fn an_empty_place_of_a_controller_is_no_dead_disk() {
        let open = "Smartctl open device: /dev/sg0 [cciss_disk_05] failed: Input/output error";
        assert_eq!(said(open), (State::Unsupported, "no_passthrough"));
        let asked = |kind: &str, more: &str| {
            let json = format!(
                r#"{{"smartctl":{{"messages":[{{"string":"Read Device Identity failed: Input/output error",
                "severity":"error"}}]}},"device":{{"name":"/dev/twa0","type":"{kind}"}}{more}}}"#
            );
            of(&smartctl::parse(json.as_bytes()))
        };
        assert_eq!(asked("3ware,2", ""), (State::Unsupported, "no_passthrough"));
        assert_eq!(asked("sat", ""), (State::Failed, "identify_failed"));
        let named = r#","model_name":"A","serial_number":"B""#;
        assert_eq!(asked("3ware,2", named), (State::Failed, "identify_failed"));
    }

    #[test]
    fn only_errors_of_the_disk_itself_are_its_death() {
        let open = |words: &str| format!("Smartctl open device: /dev/sda failed: {words}");
        let identity = |words: &str| format!("Read Device Identity failed: {words}");
        let nvme = |words: &str| format!("Read NVMe Identify Controller failed: {words}");
        for words in [
            open("Input/output error"),
            identity("Input/output error"),
            identity("Connection timed out"),
            identity("scsi error medium or hardware error (serious)"),
            identity("Error=121 (The semaphore timeout period has expired)"),
            nvme("NVME_IOCTL_ADMIN_CMD: Input/output error"),
        ] {
            assert_eq!(said(&words).0, State::Failed, "{words}");
        }
        for (words, reason) in [
            (open("Device or resource busy"), "busy"),
            (open("Resource busy"), "busy"),
            (open("No medium found"), "no_medium"),
            (open("INQUIRY failed"), "no_passthrough"),
            (open("Unknown error"), "no_passthrough"),
            (open("Is a directory"), "no_passthrough"),
            (open("Operation not supported by device"), "no_passthrough"),
            (open("Read JMicron register 0x0720 failed"), "no_passthrough"),
            (identity("scsi error device not ready"), "not_ready"),
            (identity("scsi error device will be ready soon"), "not_ready"),
            (identity("Undefined error: 0"), "no_passthrough"),
            (identity("SAT command failed"), "no_passthrough"),
            (identity("Not implemented"), "no_passthrough"),
            (nvme("NVMe Status 0x4002"), "no_passthrough"),
            (
                nvme("IOCTL_SCSI_MINIPORT/NVME_PASS_THROUGH_SRB_IO_CODE failed, Error=1"),
                "no_passthrough",
            ),
        ] {
            assert_eq!(said(&words), (State::Unsupported, reason), "{words}");
        }
    }

    #[test]
    fn volumes_and_virtual_disks_have_no_health() {
        let of = |json: &str| of(&smartctl::parse(json.as_bytes()));
        let volume = r#"{"smartctl":{},"model_name":"Intel Raid 1 Volume"}"#;
        assert_eq!(of(volume), (State::Unsupported, "raid_volume"));
        let lun = r#"{"smartctl":{},"model_name":"NETAPP LUN","smart_status":{"passed":true}}"#;
        assert_eq!(of(lun), (State::Unsupported, "virtual"));
    }

    #[test]
    fn smart_data_that_must_be_there_and_is_not() {
        let json = |kind: &str, words: &str, support: &str| {
            format!(
                r#"{{"smartctl":{{"messages":[{{"string":"{words}"}}]}},
                "device":{{{kind}}},"model_name":"M","serial_number":"Z1"{support}}}"#
            )
        };
        let of = |kind, words, support| of(&smartctl::parse(json(kind, words, support).as_bytes()));
        let has = r#","smart_support":{"available":true,"enabled":true}"#;
        let broken = (State::Failed, "smart_command_failed");
        let words = "Read SMART Data failed: Input/output error";
        assert_eq!(of(r#""type":"sat""#, words, has), broken);
        assert_eq!(of(r#""type":"usbjmicron""#, words, has), (State::Read, ""));
        let words = "Read SMART Data failed: scsi error medium or hardware error (serious)";
        assert_eq!(of(r#""type":"sat""#, words, has), broken);
        // Text of older versions does not say that an NVMe disk has SMART.
        let words = "Read NVMe SMART/Health Information failed: NVME_IOCTL_ADMIN_CMD: \
                     Input/output error";
        assert_eq!(of(r#""protocol":"NVMe""#, words, ""), broken);
        let words = "Read NVMe SMART/Health Information failed: NVMe Status 0x4002";
        assert_eq!(of(r#""protocol":"NVMe""#, words, ""), (State::Read, ""));
        let words = "device Test Unit Ready: Input/output error";
        assert_eq!(of(r#""protocol":"SCSI""#, words, ""), (State::Failed, "open_failed"));
    }
}
