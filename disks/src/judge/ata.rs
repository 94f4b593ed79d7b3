//! ATA: the overall verdict, thresholds, and the counters of the attributes.

use super::{Case, counter};
use crate::attributes::{self, Limits, Meaning, Row};
use crate::baseline;
use crate::reading::{Attribute, Failing, Kind, Protocol, part};
use crate::verdict::{Evidence, Reason, Verdict};

const SENSE: &str = "SCSI Primary Commands, informational exceptions and additional sense codes";
const THRESHOLDS: &str = "ATA/ATAPI-5, SMART: an attribute at or below its threshold";

pub(super) fn judge(case: &Case<'_>, reasons: &mut Vec<Reason>) {
    status(case, reasons);
    table(case, reasons);
    reasons.extend(spare_blocks(case));
    reasons.extend(reallocated(case));
    reasons.extend(pending_defects(case));
    reasons.extend(reported(case));
    let logged = logged(case);
    if logged.as_ref().is_none_or(|reason| reason.verdict == Verdict::Ok) {
        reasons.extend(errors(case));
    }
    reasons.extend(logged);
}

/// The table of attributes. What does not fit its own checksum is garbage, or firmware that does
/// not reckon one: nothing in it is more than a reason to look.
fn table(case: &Case<'_>, reasons: &mut Vec<Reason>) {
    let begin = reasons.len();
    attributes(case, reasons);
    let parts = [part::CHECKSUM, part::THRESHOLDS];
    let Some(doubtful) = parts.into_iter().find(|part| case.now.is_doubtful(part)) else { return };
    let mut held = false;
    for reason in reasons.iter_mut().skip(begin) {
        let is_doubtful = doubtful == part::CHECKSUM || reason.code.starts_with("attribute_");
        if is_doubtful && reason.verdict == Verdict::Act {
            reason.verdict = Verdict::Watch;
            held = true;
        }
    }
    if held {
        let text = "The disk's attributes do not fit their own checksum, so nothing in them is \
                    sure: read the disk once more, without a bridge.";
        reasons.push(
            Reason::new("attributes_garbled", Verdict::Watch, text)
                .with(Evidence::new("checksum", doubtful)),
        );
    }
}

fn attributes(case: &Case<'_>, reasons: &mut Vec<Reason>) {
    for attribute in &case.now.attributes {
        let row = attributes::find(attribute.id, &attribute.name, case.now.about());
        reasons.extend(threshold(case, attribute, row));
    }
    let mut replaced = false;
    for (attribute, row) in case.now.known_attributes() {
        if let Some(reason) = counted(case, attribute, row) {
            // Attempts to replace say nothing beside the sectors that were.
            if row.meaning == Meaning::ReallocationEvents && replaced {
                continue;
            }
            replaced |= row.meaning == Meaning::ReallocatedSectors
                && reason.verdict.urgency() >= Verdict::Watch.urgency();
            reasons.push(reason);
        }
    }
}

/// Used life from which on missing spare blocks are the end, and not a number nobody keeps.
const WORN_OUT: f64 = 0.9;

/// Replaced blocks that took spare ones.
const REPLACED_SOME: u64 = 10;

/// Flash that counts its spare blocks, has none, and is worn out or has used them.
fn spare_blocks(case: &Case<'_>) -> Option<Reason> {
    let mut spares = case.now.known_attributes().filter(|(_, row)| row.meaning == Meaning::Spare);
    let (attribute, row) = spares.find(|(attribute, _)| attribute.count() == Some(0))?;
    let worn = case.now.wear_ratio.is_some_and(|ratio| ratio >= WORN_OUT);
    let used = case.now.known_attributes().any(|(attribute, row)| {
        let count = attribute.count().filter(|_| row.meaning == Meaning::ReallocatedSectors);
        count >= Some(REPLACED_SOME)
    });
    // Some firmware keeps no such number, and 0 for it.
    if !worn && !used {
        return None;
    }
    let known = case.acknowledged().is_some_and(|before| {
        before.counters.get(&baseline::attribute_key(attribute.id)) == Some(&0)
    });
    let name = format!("{} ({})", attribute.name, attribute.id);
    let text = format!(
        "{name} is 0: no spare block is left for those that fail from now on; copy what is on the disk \
         and replace it."
    );
    Some(
        Reason::new("spare_low", case.unless(known, Verdict::Act), text)
            .with(Evidence::new(format!("{name} count"), 0_u64).source(Some(&row.source))),
    )
}

/// The device statistics, where attribute 5 is missing.
fn reallocated(case: &Case<'_>) -> Option<Reason> {
    let count = case.now.reallocated_sectors.filter(|count| *count <= BELIEVED_MAX)?;
    if has_attribute(case, Meaning::ReallocatedSectors, false) {
        return None;
    }
    counter::judge(
        case,
        &counter::Counter {
            code: "reallocated_sectors",
            key: "reallocated_statistic",
            name: "device statistics, number of reallocated logical sectors".to_owned(),
            count,
            level: Limits { watch: Some(1), act: Some(1000) },
            increase: Limits { watch: Some(1), act: Some(50) },
            what: "sectors were replaced by spare ones",
            one: "sector was replaced by a spare one",
            means: "the surface had defects there; a few that stay few are common, a growing \
                    number is a dying disk: run a long self-test and compare in a week",
            excuse: "",
            source: "ATA/ATAPI Command Set 3, rotating media statistics",
        },
    )
}

/// Statistics beyond this are vendors' packed numbers: Seagate has some of 420 thousand million.
pub(super) const BELIEVED_MAX: u64 = 0xFF_FFFF;

/// Whether an attribute counts this already.
fn has_attribute(case: &Case<'_>, meaning: Meaning, some: bool) -> bool {
    case.now.known_attributes().any(|(attribute, row)| {
        row.meaning == meaning && attribute.count().is_some_and(|count| count > 0 || !some)
    })
}

/// The disk's own list of what it cannot read, where attribute 197 says nothing of it.
fn pending_defects(case: &Case<'_>) -> Option<Reason> {
    let count = case.now.pending_defects.filter(|count| *count <= BELIEVED_MAX)?;
    if has_attribute(case, Meaning::PendingSectors, true) {
        return None;
    }
    counter::judge(
        case,
        &counter::Counter {
            code: "pending_sectors",
            key: "pending_defects",
            name: "pending defects log".to_owned(),
            count,
            level: Limits { watch: Some(1), act: Some(100) },
            increase: Limits { watch: Some(1), act: Some(50) },
            what: "sectors are in the disk's own list of what it cannot read",
            one: "sector is in the disk's own list of what it cannot read",
            means: "data in them is lost unless there is a copy; run a long self-test",
            excuse: "",
            source: "ATA/ATAPI Command Set 4 and SCSI Block Commands, pending defects log",
        },
    )
}

/// The device statistics, where attribute 187 is missing.
fn reported(case: &Case<'_>) -> Option<Reason> {
    let count = case.now.reported_uncorrectable.filter(|count| *count <= BELIEVED_MAX)?;
    if has_attribute(case, Meaning::ReportedUncorrectable, false) {
        return None;
    }
    counter::judge(
        case,
        &counter::Counter {
            code: "reported_uncorrectable",
            key: "reported_uncorrectable",
            name: "device statistics, number of reported uncorrectable errors".to_owned(),
            count,
            level: Limits { watch: Some(1), act: Some(1000) },
            increase: Limits { watch: Some(1), act: Some(20) },
            what: "reads could not be corrected and failed",
            one: "read could not be corrected and failed",
            means: "data was lost there unless there is a copy; run a long self-test and check \
                    what is stored on it",
            excuse: "",
            source: "ATA/ATAPI Command Set 3, general errors statistics",
        },
    )
}

/// A failure longer ago than this many hours of running, three months, is history.
pub(super) const RECENT_HOURS: u64 = 2160;
/// ATA disks count the hours of a logged error in 16 bits.
const HOURS_16: u64 = 1 << 16;

/// How many hours of running ago the disk logged that it could not read data.
pub(super) fn logged_ago(case: &Case<'_>) -> Option<u64> {
    ago(case, case.now.error_log_uncorrectable_hours?)
}

/// How many hours of running ago an error was that was logged at the hour `then`.
fn ago(case: &Case<'_>, then: u64) -> Option<u64> {
    let now = case.now.power_on_hours?;
    Some((now % HOURS_16 + HOURS_16 - then % HOURS_16) % HOURS_16)
}

/// Data that could not be read, by the disk's own log of errors.
fn logged(case: &Case<'_>) -> Option<Reason> {
    let then = case.now.error_log_uncorrectable_hours?;
    let ago = logged_ago(case);
    let before = case.counted_before("error_log_uncorrectable_hours");
    let known = case.before.is_some() && before == Some(then);
    // How long ago it was cannot be told of a log alone.
    let recent = ago.is_none_or(|ago| ago <= RECENT_HOURS);
    let (verdict, rest) = match recent && !(known && case.acknowledged) {
        true => (Verdict::Watch, "run a long self-test and check what is stored on it"),
        false => (Verdict::Ok, "that is history, if nothing else confirms it"),
    };
    let when = match ago {
        Some(ago) => format!("{ago} hours of running ago"),
        None => format!("after {then} hours of running"),
    };
    let text = format!("The disk logged {when} that it could not read data: {rest}.");
    Some(
        Reason::new("unreadable_logged", verdict, text).with(
            Evidence::new("error log, power-on hours of the newest UNC", then).before(before),
        ),
    )
}

/// Logged errors that are many, when the newest is of these days.
const ERRORS_MANY: u64 = 100;

/// Many errors that are neither of the link nor of wrong commands, the newest of late.
fn errors(case: &Case<'_>) -> Option<Reason> {
    let then = case.now.error_log_damage_hours?;
    let ago = ago(case, then).filter(|ago| *ago <= RECENT_HOURS)?;
    let count = case.now.error_log_count.filter(|count| *count >= ERRORS_MANY)?;
    let before = case.counted_before("error_log_count");
    let known = case.acknowledged && case.counted_before("error_log_damage_hours") == Some(then);
    let verdict = if known { Verdict::Ok } else { Verdict::Watch };
    let text = format!(
        "The disk has logged {count} errors, the newest {ago} hours of running ago, in which it did \
         not find or not take data: run a long self-test."
    );
    Some(
        Reason::new("errors_logged", verdict, text)
            .with(Evidence::new("error log, errors", count).before(before).limit(Some(ERRORS_MANY)))
            .with(Evidence::new("error log, power-on hours of the newest", then)),
    )
}

/// The overall verdict of the disk, whatever it speaks. That of NVMe disks is their critical
/// warnings, which have rules of their own.
fn status(case: &Case<'_>, reasons: &mut Vec<Reason>) {
    let now = case.now;
    if now.passed != Some(false) || now.nvme.critical_warning.is_some_and(|bits| bits != 0) {
        return;
    }
    let evidence = Evidence::new("overall health", "failed");
    if is_only_hot(case) {
        let text = "The disk fails its own check, and only because it is too hot: cool it, then \
                    look again.";
        reasons.push(Reason::new("smart_failed_hot", Verdict::Watch, text).with(evidence));
        return;
    }
    if let Some(reason) = warned(case) {
        reasons.push(reason.with(evidence));
        return;
    }
    if is_only_inconsistent(case) {
        let text = "The disk fails its own check, and only by a value that its firmware does not \
                    keep: watch what else it says, and have a copy.";
        reasons.push(Reason::new("smart_failed_inconsistent", Verdict::Watch, text).with(evidence));
        return;
    }
    let known = case.acknowledged().is_some_and(|before| before.failed);
    let text = "The disk fails its own overall check: it expects to break soon. Copy what is on \
                it and replace it.";
    reasons
        .push(Reason::new("smart_failed", case.unless(known, Verdict::Act), text).with(evidence));
}

/// The additional sense code of warnings of SCSI disks.
const WARNING: u8 = 0x0b;
/// Its qualifiers that are about heat.
const WARNING_HOT: u8 = 0x01;
/// Those by which the disk found damage: its own self-test failed, or its scans met bad sectors.
const WARNING_DAMAGE: std::ops::RangeInclusive<u8> = 0x03..=0x05;

/// A SCSI disk that warns, and does not foretell that it fails.
fn warned(case: &Case<'_>) -> Option<Reason> {
    let (asc, ascq) = case.now.scsi_sense?;
    if asc != WARNING || WARNING_DAMAGE.contains(&ascq) {
        return None;
    }
    let (code, text) = match ascq {
        WARNING_HOT => (
            "smart_failed_hot",
            "The disk warns that it is hotter than it should be: cool it, then look again.",
        ),
        _ => (
            "smart_warning",
            "The disk warns of something around it or of its cache, and does not expect to fail: \
             look at enclosure, power and fans.",
        ),
    };
    let sense = format!("asc={asc:x}, ascq={ascq:x}");
    Some(
        Reason::new(code, Verdict::Watch, text)
            .with(Evidence::new("sense", sense.as_str()).source(Some(SENSE))),
    )
}

/// Whether a value is below the lowest there was: the firmware does not keep it.
fn is_inconsistent(attribute: &Attribute) -> bool {
    attribute.worst > attribute.value
}

/// Whether everything that fails and foretells a failure is not kept by the firmware.
fn is_only_inconsistent(case: &Case<'_>) -> bool {
    let mut failing = case
        .now
        .attributes
        .iter()
        .filter(|it| it.prefailure && it.failing() == Failing::Now)
        .peekable();
    failing.peek().is_some() && failing.all(is_inconsistent)
}

/// Whether everything that fails is a temperature.
fn is_only_hot(case: &Case<'_>) -> bool {
    let now = case.now;
    let failing = now.attributes.iter().filter(|it| it.failing() == Failing::Now);
    let (hot, other): (Vec<_>, Vec<_>) = failing.partition(|it| is_temperature(&it.name));
    let over_trip = now.protocol == Some(Protocol::Scsi)
        && now
            .temperature
            .current
            .zip(now.temperature.limits.get("trip").copied())
            .is_some_and(|(current, trip)| current >= trip);
    // Attributes that fail without foretelling a failure do not make the disk fail.
    let other = other.into_iter().any(|it| it.prefailure);
    over_trip || !hot.is_empty() && !other
}

fn is_temperature(name: &str) -> bool {
    name.to_ascii_lowercase().contains("temperature")
}

/// Attributes of old age whose threshold says no more than that the disk is old.
const AGES: [u8; 7] = [4, 9, 12, 192, 193, 225, 240];
/// Distance to the threshold at which a number that only falls is nearly there.
const NEAR: u8 = 5;

fn threshold(case: &Case<'_>, attribute: &Attribute, row: Option<&'static Row>) -> Option<Reason> {
    let meaning = row.map(|row| row.meaning);
    let temperature = is_temperature(&attribute.name);
    let failing = attribute.failing();
    let before = case.acknowledged();
    let known = |list: fn(&baseline::Baseline) -> &[u8]| {
        before.is_some_and(|before| list(before).contains(&attribute.id))
    };
    let (code, verdict, text) = match failing {
        Failing::No => return near(attribute, meaning),
        Failing::Now if temperature => (
            "temperature_limit",
            Verdict::Watch,
            "is beyond its threshold now: the disk is too hot; give it air".to_owned(),
        ),
        Failing::Past if temperature => (
            "temperature_limit",
            Verdict::Ok,
            "was beyond its threshold once, and is not any more".to_owned(),
        ),
        // The threshold is where the value begins: it says nothing.
        Failing::Now if row.is_none() && attribute.value >= Some(100) => (
            "attribute_unknown",
            if attribute.prefailure { Verdict::Watch } else { Verdict::Ok },
            "is at its threshold, which is where such values begin, and nobody knows what it \
             counts"
                .to_owned(),
        ),
        // The worst value is the lowest so far; one above the value was never kept.
        Failing::Now if attribute.prefailure && is_inconsistent(attribute) => (
            "attribute_inconsistent",
            Verdict::Watch,
            "is beyond its threshold, but its worst value is better than the one it has now: the \
             firmware does not keep it; watch what else the disk says"
                .to_owned(),
        ),
        Failing::Now if attribute.prefailure => (
            "attribute_failing",
            case.unless(known(|it| &it.failing), Verdict::Act),
            "is beyond its threshold now, which its maker takes for the sign of a failure soon: \
             copy what is on the disk and replace it"
                .to_owned(),
        ),
        Failing::Now if row.is_none() || AGES.contains(&attribute.id) => (
            "attribute_old_age",
            Verdict::Ok,
            "is beyond its threshold, which says that the disk is old and not that it fails"
                .to_owned(),
        ),
        Failing::Now => (
            "attribute_old_age",
            if known(|it| &it.failing) { Verdict::Ok } else { Verdict::Watch },
            "is beyond its threshold, which is no sign of a failure by itself; watch it".to_owned(),
        ),
        Failing::Past if attribute.prefailure || row.is_some() => (
            "attribute_failed_past",
            match known(|it| &it.failed_past) || AGES.contains(&attribute.id) {
                true => Verdict::Ok,
                false => Verdict::Watch,
            },
            "was beyond its threshold once and recovered; watch whether that comes back".to_owned(),
        ),
        Failing::Past => return None,
    };
    Some(at_threshold(attribute, code, verdict, &text))
}

/// A reason that names the attribute and shows how it stands to its threshold.
fn at_threshold(attribute: &Attribute, code: &'static str, verdict: Verdict, text: &str) -> Reason {
    let name = format!("{} ({})", attribute.name, attribute.id);
    let (label, value) = match attribute.failing() {
        Failing::Past => ("worst", attribute.worst),
        _ => ("value", attribute.value),
    };
    Reason::new(code, verdict, format!("{name} {text}.")).with(
        Evidence::new(format!("{name} {label}"), u64::from(value.unwrap_or_default()))
            .limit(attribute.thresh.map(u64::from))
            .source(Some(THRESHOLDS)),
    )
}

/// Spares that are nearly used up.
fn near(attribute: &Attribute, meaning: Option<Meaning>) -> Option<Reason> {
    let counts = matches!(meaning?, Meaning::ReallocatedSectors | Meaning::Spare);
    let (value, thresh) = (attribute.value?, attribute.thresh.filter(|thresh| *thresh > 0)?);
    // What begins just above its threshold has not come near it.
    let fallen = value < 90 && value.saturating_sub(thresh) <= NEAR;
    if !counts || !fallen {
        return None;
    }
    let name = format!("{} ({})", attribute.name, attribute.id);
    let text = format!(
        "{name} has fallen nearly to its threshold: the spare sectors are almost used up; plan to \
         replace the disk now."
    );
    Some(Reason::new("spare_low", Verdict::Watch, text).with(
        Evidence::new(format!("{name} value"), u64::from(value)).limit(Some(u64::from(thresh))),
    ))
}

/// Whether nobody but the general table says that an attribute has this meaning: flash that
/// smartctl does not know, or a disk of which nobody knows even that.
pub(super) fn is_guessed(case: &Case<'_>, meaning: Meaning) -> bool {
    let now = case.now;
    let of_disks_that_spin = matches!(
        meaning,
        Meaning::PendingSectors
            | Meaning::OfflineUncorrectable
            | Meaning::EndToEndErrors
            | Meaning::SpinRetries
    );
    let may_be_flash = match now.kind {
        Some(Kind::Ssd) => true,
        // Rows without a model are somebody's excerpt, and of the usual disk.
        None => now.identity.model.is_some(),
        Some(Kind::Hdd) => false,
    };
    of_disks_that_spin && may_be_flash && now.identity.family.is_none()
}

/// Whether it is not the plain count that others have there, since it foretells a failure: its
/// threshold says what there is to say.
pub(super) fn is_foretelling(attribute: &Attribute, meaning: Meaning) -> bool {
    meaning == Meaning::ReallocationEvents && attribute.prefailure
}

/// Whether the number cannot be what its general name says: there is no motor in flash, and what
/// unknown flash keeps under 184 is as a rule how many blocks were bad from the beginning.
fn is_of_another_kind(case: &Case<'_>, meaning: Meaning) -> bool {
    let is_flash = case.now.kind == Some(Kind::Ssd);
    match meaning {
        Meaning::SpinRetries => is_flash,
        Meaning::EndToEndErrors => is_flash && is_guessed(case, meaning),
        _ => false,
    }
}

/// What an attribute counts.
fn counted(case: &Case<'_>, attribute: &Attribute, row: &'static Row) -> Option<Reason> {
    let quiet = Default::default();
    if (row.level, row.increase) == (quiet, quiet) {
        return excused(attribute, row);
    }
    if is_foretelling(attribute, row.meaning) || is_of_another_kind(case, row.meaning) {
        return None;
    }
    let count = baseline::attribute_count(attribute, row.meaning)?;
    let key = baseline::attribute_key(attribute.id);
    // Firmware of unknown flash keeps other numbers under the ids of sectors.
    let level = match is_guessed(case, row.meaning) {
        true => Limits { act: None, ..row.level },
        false => row.level,
    };
    counter::judge(
        case,
        &counter::Counter {
            code: row.meaning.code(),
            key: &key,
            name: format!("{} ({})", attribute.name, attribute.id),
            count,
            level,
            increase: row.increase,
            what: &row.what,
            one: &row.one,
            means: &row.means,
            excuse: &row.excuse,
            source: &row.source,
        },
    )
}

/// Raw values that look large and mean nothing: named, so that nobody needs to wonder.
fn excused(attribute: &Attribute, row: &'static Row) -> Option<Reason> {
    if row.excuse.is_empty() || attribute.raw.unwrap_or_default() == 0 {
        return None;
    }
    let name = format!("{} ({})", attribute.name, attribute.id);
    let text = format!("{name} is no reason for anything: {}.", row.excuse);
    let mut reason = Reason::new("excused", Verdict::Ok, text);
    if let Some(raw) = attribute.raw {
        reason = reason.with(Evidence::new(format!("{name} raw"), raw).source(Some(&row.source)));
    }
    for (part, number) in &attribute.parts {
        reason = reason.with(Evidence::new(format!("{name} {part}"), *number));
    }
    Some(reason)
}
