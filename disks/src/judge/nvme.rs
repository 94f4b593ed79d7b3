//! NVMe: critical warnings, spare, media errors.

use super::ata::BELIEVED_MAX;
use super::{Case, counter};
use crate::attributes::Limits;
use crate::verdict::{Evidence, Reason, Verdict};

const SPECIFICATION: &str = "NVM Express Base Specification, SMART / Health Information log";

/// The bits of the critical warning: code, verdict, text.
const WARNINGS: [(&str, Verdict, &str); 6] = [
    (
        "nvme_spare_low",
        Verdict::Act,
        "The disk warns that its spare blocks are used up: copy what is on it and replace it.",
    ),
    (
        "nvme_temperature",
        Verdict::Watch,
        "The disk warns that it is too hot or too cold: give it air, then look again.",
    ),
    (
        "nvme_unreliable",
        Verdict::Act,
        "The disk warns that it is not reliable any more, for its media or its own parts have too \
         many errors: copy what is on it and replace it.",
    ),
    (
        "nvme_read_only",
        Verdict::Act,
        "The disk has gone read-only to save what is on it: copy that and replace it.",
    ),
    (
        "nvme_backup_failed",
        Verdict::Act,
        "The capacitors that save its cache when the power fails have failed: the next power cut \
         loses data that was acknowledged; replace it.",
    ),
    (
        "nvme_persistent_memory",
        Verdict::Watch,
        "The disk warns that its persistent memory region is read-only or unreliable.",
    ),
];

/// The bit that says that the disk is not reliable.
const UNRELIABLE_BIT: u64 = 4;
const WORN: &str = "The disk warns that it is not reliable any more, and all that speaks for it is \
                    that the writes its maker reckons with are used up: its spare is there and \
                    nothing was lost; plan to replace it.";
/// Bits above those that are defined.
const RESERVED: u64 = !0x3F;
/// The bit that says that the spare is used up.
const SPARE_BIT: u64 = 1;
/// A threshold this high is not one of exhaustion: Apple's is 99.
const THRESHOLD_STRICT: u64 = 50;
/// Spare from which on to look, whatever the threshold.
const SPARE_WATCH: u64 = 50;

pub(super) fn judge(case: &Case<'_>, reasons: &mut Vec<Reason>) {
    warnings(case, reasons);
    reasons.extend(spare(case));
    reasons.extend(media_errors(case));
    reasons.extend(error_log(case));
}

/// Whether the warning of unreliability says no more than that the rated writes are used up, as
/// some firmware has it: nothing was lost and the spare is there.
fn is_only_worn(case: &Case<'_>) -> bool {
    let nvme = &case.now.nvme;
    let spare = nvme.available_spare.zip(nvme.available_spare_threshold);
    nvme.percentage_used.is_some_and(|used| used >= 100)
        && nvme.media_errors == Some(0)
        && spare.is_some_and(|(spare, threshold)| spare > threshold)
}

fn warnings(case: &Case<'_>, reasons: &mut Vec<Reason>) {
    let bits = case.now.nvme.critical_warning.unwrap_or_default();
    let known = case.acknowledged().map_or(0, |before| before.critical_warning);
    let evidence = || {
        Evidence::new("critical warning", format!("{bits:#04x}").as_str())
            .source(Some(SPECIFICATION))
    };
    for (bit, (code, verdict, text)) in WARNINGS.into_iter().enumerate() {
        let mask = 1 << bit;
        if mask == UNRELIABLE_BIT && bits & mask != 0 && is_only_worn(case) {
            reasons.push(Reason::new("nvme_worn", Verdict::Watch, WORN).with(evidence()));
        } else if bits & mask != 0 {
            let verdict = case.unless(known & mask != 0, verdict);
            reasons.push(Reason::new(code, verdict, text).with(evidence()));
        }
    }
    if bits & RESERVED != 0 {
        let text = "The disk gives a critical warning that the standard does not define; ask its \
                    maker what it means.";
        reasons.push(Reason::new("nvme_warning", Verdict::Watch, text).with(evidence()));
    }
}

fn spare(case: &Case<'_>) -> Option<Reason> {
    let nvme = &case.now.nvme;
    let (spare, threshold) = (nvme.available_spare?, nvme.available_spare_threshold);
    let warned = nvme.critical_warning.unwrap_or_default() & SPARE_BIT != 0;
    // A threshold of 0 or above 100 is none.
    let threshold = threshold.filter(|threshold| (1..=100).contains(threshold));
    let known = case.acknowledged().and_then(|before| before.available_spare);
    let acknowledged = known.is_some_and(|known| spare >= known);
    let verdict = match threshold {
        // Its own warning is a reason already.
        _ if warned => return None,
        _ if spare > 100 => return None,
        Some(threshold) if spare < threshold && threshold < THRESHOLD_STRICT => Verdict::Act,
        Some(threshold) if spare == threshold && threshold < THRESHOLD_STRICT => Verdict::Act,
        Some(threshold) if spare < threshold => Verdict::Watch,
        Some(_) if spare < SPARE_WATCH => Verdict::Watch,
        // No threshold and no warning: an empty spare is one that is not counted.
        None if (1..SPARE_WATCH).contains(&spare) => Verdict::Watch,
        _ => return None,
    };
    let verdict = match verdict {
        Verdict::Watch if acknowledged => Verdict::Ok,
        verdict => case.unless(acknowledged, verdict),
    };
    let text = format!(
        "{spare} % of its spare blocks are left{}: they are used up as flash fails; {}.",
        threshold.map_or_else(String::new, |limit| format!(", and its own limit is {limit} %")),
        match verdict {
            Verdict::Act => "copy what is on the disk and replace it",
            _ => "plan to replace the disk",
        },
    );
    Some(
        Reason::new("spare", verdict, text).with(
            Evidence::new("available spare, percent", spare)
                .before(case.before.as_ref().and_then(|before| before.available_spare))
                .limit(threshold)
                .source(Some(SPECIFICATION)),
        ),
    )
}

/// Media errors by which a disk is not to be trusted, whatever else it says.
const MEDIA_ERRORS_ACT: u64 = 5000;
/// The same where its spare goes down, so that the errors are of its flash.
const MEDIA_ERRORS_ACT_WORN: u64 = 100;
/// Spare that has gone down, in percent.
const SPARE_USED: u64 = 90;

fn media_errors(case: &Case<'_>) -> Option<Reason> {
    let nvme = &case.now.nvme;
    let count = nvme.media_errors?;
    let is_used = nvme.available_spare.is_some_and(|spare| spare <= SPARE_USED);
    let act = match count {
        // All bits set, or nearly: no count.
        _ if count > BELIEVED_MAX => None,
        _ if is_used => Some(MEDIA_ERRORS_ACT_WORN),
        _ => Some(MEDIA_ERRORS_ACT),
    };
    counter::judge(
        case,
        &counter::Counter {
            code: "media_errors",
            key: "media_errors",
            name: "media errors".to_owned(),
            count,
            level: Limits { watch: Some(1), act },
            increase: Limits { watch: Some(1), act: Some(20) },
            what: "times data could not be read or written right",
            one: "time data could not be read or written right",
            means: "what was stored there is lost unless there is a copy; a number that stands \
                    still is history, one that grows is a dying disk",
            excuse: "",
            source: SPECIFICATION,
        },
    )
}

/// Never a reason: the log holds every command that was refused, such as those of tools that ask
/// for what the disk does not have.
fn error_log(case: &Case<'_>) -> Option<Reason> {
    let count = case.now.nvme.error_log_entries.filter(|count| *count > 0)?;
    let text = format!(
        "{count} entries in the error log are no reason for anything: commands that the disk does \
         not know are counted there."
    );
    Some(
        Reason::new("error_log_entries", Verdict::Ok, text).with(
            Evidence::new("error log entries", count)
                .before(case.counted_before("error_log_entries"))
                .source(Some(SPECIFICATION)),
        ),
    )
}
