//! What each code of a reason means, in one sentence without numbers.
//!
//! For labels, which must not change while the numbers behind a reason do: [`crate::Reason::text`]
//! has the same with its numbers.

/// Codes with their sentences, sorted by code.
const SENTENCES: [(&str, &str); 63] = [
    ("asleep", "The disk sleeps and was left asleep."),
    ("attribute_failed_past", "An attribute was beyond its threshold once and recovered."),
    (
        "attribute_failing",
        "An attribute that foretells a failure is beyond its threshold: copy what is on the disk and replace it.",
    ),
    (
        "attribute_inconsistent",
        "An attribute is beyond its threshold, by a value that the firmware does not keep.",
    ),
    (
        "attribute_old_age",
        "An attribute of age is beyond its threshold, which is no sign of a failure by itself.",
    ),
    ("attribute_unknown", "An attribute that nobody knows is at its threshold."),
    (
        "attributes_garbled",
        "The disk's attributes do not fit their own checksum: read it once more, without a bridge.",
    ),
    ("command_timeouts", "Commands timed out: look at cable, power and controller."),
    ("denied", "The rights to ask the disk are missing."),
    ("end_to_end_errors", "Data was changed on its way through the disk's own memory."),
    ("error_log_entries", "Entries in the error log are no reason for anything."),
    ("errors_logged", "The disk has logged many errors, the newest of late: run a long self-test."),
    (
        "exception_mode",
        "The disk has gone into its exception mode: copy what is on it and replace it.",
    ),
    ("excused", "A number that looks large means nothing."),
    (
        "failing_surface",
        "Several signs of a failing surface stand together: copy what is on the disk and replace it.",
    ),
    ("firmware_panic", "The firmware of the disk did not start, and what answers is its loader."),
    ("gone", "The disk was there and is not any more."),
    ("grown_defects", "Sectors were replaced by spare ones since the disk was made."),
    ("healthy", "Nothing to mind."),
    ("helium", "The disk leaks helium: plan to replace it while it still answers."),
    ("interface_errors", "Data was damaged between disk and machine: look at cable and port."),
    ("media_errors", "Data could not be read or written right."),
    (
        "no_answer",
        "The disk does not answer, or gives no SMART data though it has it: look at cable and power, then replace it.",
    ),
    ("no_health", "It is known which disk it is and nothing of its health."),
    ("no_such_device", "There is no such device."),
    ("not_asked", "smartctl gave no report: look whether it is installed and runs."),
    ("not_understood", "Some of what the disk says of its health was not understood."),
    (
        "nvme_backup_failed",
        "The capacitors that save its cache when the power fails have failed: replace the disk.",
    ),
    (
        "nvme_persistent_memory",
        "The disk warns that its persistent memory region is read-only or unreliable.",
    ),
    (
        "nvme_read_only",
        "The disk has gone read-only to save what is on it: copy that and replace it.",
    ),
    (
        "nvme_spare_low",
        "The disk warns that its spare blocks are used up: copy what is on it and replace it.",
    ),
    ("nvme_temperature", "The disk warns that it is too hot or too cold."),
    (
        "nvme_unreliable",
        "The disk warns that it is not reliable any more: copy what is on it and replace it.",
    ),
    ("nvme_warning", "The disk gives a critical warning that the standard does not define."),
    (
        "nvme_worn",
        "The disk warns that the writes its maker reckons with are used up: plan to replace it.",
    ),
    ("offline_uncorrectable", "The disk's own scan found sectors that it cannot read."),
    ("partial", "The disk passes its own overall check, and nothing else of its health is known."),
    ("pending_sectors", "Sectors cannot be read: what is in them is lost unless there is a copy."),
    ("program_failures", "Flash could not be written or erased many times."),
    (
        "read_uncorrected",
        "Reads could not be corrected: run a long self-test and check what is stored on it.",
    ),
    (
        "reallocated_sectors",
        "Sectors or blocks were replaced by spare ones: watch whether they become more.",
    ),
    ("reallocation_events", "The disk tried to replace sectors by spare ones."),
    (
        "reported_uncorrectable",
        "Reads could not be corrected and failed: check what is stored on it.",
    ),
    (
        "scan_halted",
        "A fatal error ended the disk's own scan for bad blocks: run a long self-test.",
    ),
    (
        "scan_unreadable",
        "The disk's own scan found blocks that it cannot read and did not replace.",
    ),
    ("self_test_failed", "The disk failed its own self-test."),
    ("smart_failed", "The disk fails its own overall check: copy what is on it and replace it."),
    (
        "smart_failed_hot",
        "The disk fails its own check because it is too hot: cool it, then look again.",
    ),
    (
        "smart_failed_inconsistent",
        "The disk fails its own check by a value that its firmware does not keep.",
    ),
    ("smart_warning", "The disk warns of something around it and does not expect to fail."),
    ("soft_read_errors", "Reads went wrong at first."),
    ("spare", "Spare blocks are used up as flash fails: plan to replace the disk."),
    ("spare_low", "Spare sectors or blocks are almost used up: plan to replace the disk now."),
    (
        "spin_retries",
        "The motor had to try again to come up to speed: check the power cable and have a copy.",
    ),
    ("temperature", "The disk is beyond its own limit of temperature: give it air."),
    ("temperature_limit", "The disk is too hot, or was once."),
    (
        "unreadable_logged",
        "The disk logged of late that it could not read data: run a long self-test.",
    ),
    (
        "unsupported",
        "What the disk is attached to lets nothing of its health through, or it has none.",
    ),
    ("verify_uncorrected", "The disk found sectors that it cannot verify: run a long self-test."),
    (
        "wear",
        "The writes that the maker reckons with are nearly used up, or are: plan to replace the disk.",
    ),
    ("write_errors", "Writes went wrong at first."),
    ("write_protected", "The disk takes no data any more: copy what is on it and replace it."),
    (
        "write_uncorrected",
        "Writes failed for good: run a long self-test and check what is stored on it.",
    ),
];

/// What `code` of a [`crate::Reason`] means, always in the same words; `None` for a code that no
/// rule gives.
pub fn sentence(code: &str) -> Option<&'static str> {
    let at = SENTENCES.binary_search_by_key(&code, |(code, _)| code).ok()?;
    SENTENCES.get(at).map(|(_, sentence)| *sentence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes;

    #[test]
    fn every_code_has_one_sentence_and_it_has_no_numbers() {
        assert!(SENTENCES.is_sorted_by_key(|(code, _)| code));
        for (code, text) in SENTENCES {
            assert_eq!(sentence(code), Some(text));
            assert!(text.ends_with('.') && text.len() < 120, "{code}: {text}");
            assert!(!text.contains(|c: char| c.is_ascii_digit()), "{code}: {text}");
        }
        for row in attributes::rows() {
            let counts = row.level.watch.or(row.increase.watch).is_some();
            assert!(!counts || sentence(row.meaning.code()).is_some(), "{:?}", row.meaning);
        }
        assert_eq!(sentence("wonderful"), None);
    }
}
