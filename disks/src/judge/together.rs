//! Signs that say little alone and much beside each other.

use super::{Case, ata, self_test};
use crate::attributes::Meaning;
use crate::baseline;
use crate::reading::{Kind, part};
use crate::verdict::{Evidence, Reason, Verdict};

/// One sign: how many, and whether that is news.
#[derive(Default, Clone, Copy)]
struct Sign {
    count: u64,
    news: bool,
}

impl Sign {
    /// This one, or another where this one is not there.
    fn or(self, other: Self) -> Self {
        if self.count > 0 { self } else { other }
    }
}

const BACKBLAZE: &str = "Backblaze, What SMART Stats Tell Us About Hard Drives (2016): one of five \
                         such counts was above 0 on 76.7 % of failed and on 4.2 % of working disks";

/// Sectors of one block of 4 KiB, as disks count them that have such blocks.
const BLOCK: u64 = 8;
/// Replaced sectors that are many, beside sectors that cannot be read.
const REPLACED_MANY: u64 = 100;
/// Failed reads that are many, beside sectors that cannot be read now.
const READS_MANY: u64 = 10;

/// Replaced blocks of flash that are many, beside as many reads that failed for good.
const BLOCKS_MANY: u64 = 50;
const LOST_MANY: u64 = 100;

pub(super) fn judge(case: &Case<'_>, reasons: &mut Vec<Reason>) {
    let of = |meaning| sign(case, meaning);
    let pending =
        of(Meaning::PendingSectors).or(plain(case, case.now.pending_defects, "pending_defects"));
    let offline = of(Meaning::OfflineUncorrectable);
    let reads = of(Meaning::ReportedUncorrectable)
        .or(plain(case, case.now.reported_uncorrectable, "reported_uncorrectable"))
        .or(logged(case));
    let replaced = of(Meaning::ReallocatedSectors).or(plain(
        case,
        case.now.reallocated_sectors,
        "reallocated_statistic",
    ));
    let events = of(Meaning::ReallocationEvents);
    let tests = self_test::failed(case);
    let broken = Sign {
        count: tests.len() as u64,
        news: tests.iter().any(|(test, _)| is_news(case, &test.kind, test.hours)),
    };
    let spins = case.now.kind != Some(Kind::Ssd);
    let found = [
        pending.count > 0 && broken.count > 0,
        // One bad block is eight sectors, and says no more than one sector of a disk without.
        pending.count > BLOCK && (offline.count > BLOCK || reads.count > 0),
        pending.count > 0 && reads.count >= READS_MANY,
        pending.count > 0 && events.count >= REPLACED_MANY,
        // Flash replaces blocks all its life.
        spins
            && replaced.count >= REPLACED_MANY
            && (pending.count > 0
                || offline.count > 0
                || reads.count >= READS_MANY
                || broken.count > 0),
        broken.count > 0 && (offline.count > 0 || reads.count >= READS_MANY),
        // Flash that is known, and loses data while it replaces blocks.
        !spins
            && case.now.identity.family.is_some()
            && replaced.count >= BLOCKS_MANY
            && reads.count >= LOST_MANY,
    ];
    let signs = [
        ("pending sectors", pending),
        ("offline uncorrectable", offline),
        ("reported uncorrectable", reads),
        ("reallocated sectors", replaced),
        ("failed self-tests", broken),
    ];
    // What stands still since it was looked at last has not become worse by standing together.
    let news = !(case.settled || case.acknowledged)
        || signs.iter().any(|(_, sign)| sign.count > 0 && sign.news);
    if !found.contains(&true) || !news {
        return;
    }
    let text = "Several signs of a failing surface stand together: Backblaze found one of them on 77 % \
                of its disks that failed and on 4 % of those that work. Copy what is on the disk and \
                replace it.";
    let mut reason = Reason::new("failing_surface", Verdict::Act, text);
    for (name, sign) in signs.into_iter().filter(|(_, sign)| sign.count > 0) {
        reason = reason.with(Evidence::new(name, sign.count).source(Some(BACKBLAZE)));
    }
    reasons.push(reason);
}

/// Data that could not be read lately, by the log of errors: as one read that failed.
fn logged(case: &Case<'_>) -> Sign {
    let known = case.counted_before("error_log_uncorrectable_hours");
    match ata::logged_ago(case) {
        Some(ago) if ago <= ata::RECENT_HOURS => {
            Sign { count: 1, news: known != case.now.error_log_uncorrectable_hours }
        }
        _ => Sign::default(),
    }
}

/// A counter that is no attribute.
fn plain(case: &Case<'_>, count: Option<u64>, key: &str) -> Sign {
    let count = count.filter(|count| *count <= ata::BELIEVED_MAX).unwrap_or_default();
    Sign { count, news: case.counted_before(key).is_none_or(|before| count > before) }
}

/// The largest count of a meaning, and whether it has grown since.
fn sign(case: &Case<'_>, meaning: Meaning) -> Sign {
    let counts = case.now.known_attributes().filter(|(_, row)| row.meaning == meaning);
    let mut found = Sign::default();
    if ata::is_guessed(case, meaning) || case.now.is_doubtful(part::CHECKSUM) {
        return found;
    }
    for (attribute, row) in counts {
        if ata::is_foretelling(attribute, row.meaning) {
            continue;
        }
        let Some(count) = baseline::attribute_count(attribute, row.meaning) else { continue };
        let before = case.counted_before(&baseline::attribute_key(attribute.id));
        // What some kinds of disk have for a few is no sign.
        let few = row.level.watch.is_none_or(|watch| count < watch);
        if few {
            continue;
        }
        found.count = found.count.max(count);
        found.news |= before.is_none_or(|before| count > before);
    }
    found
}

/// Whether a failed self-test was not there before.
fn is_news(case: &Case<'_>, kind: &str, hours: Option<u64>) -> bool {
    let before = case.before.as_ref().and_then(|before| before.self_tests.get(kind));
    before.is_none_or(|before| *before != hours)
}
