//! Self-tests: failed ones that no later one has outdated.

use super::Case;
use crate::reading::{Protocol, SELF_TEST_UNNAMED, SelfTest};
use crate::verdict::{Evidence, Reason, Verdict};

/// Ways to fail that name a part of the disk.
const DAMAGE: [&str; 7] = [
    "read_failure",
    "electrical_failure",
    "servo_failure",
    "handling_damage",
    "unknown_failure",
    "segment_failure",
    "failed",
];
/// ATA disks count the hours of a self-test in 16 bits.
const ATA_HOURS: u64 = 1 << 16;
/// A failure longer ago than this many hours of running, three months, that nothing else confirms
/// is a reason to test again and not to replace.
const RECENT_HOURS: u64 = 2160;

/// The failed self-tests that still count, with how many hours of running ago each was.
pub(super) fn failed<'a>(case: &Case<'a>) -> Vec<(&'a SelfTest, Option<u64>)> {
    let now = case.now;
    if now.self_tests_failed == Some(0) {
        return Vec::new();
    }
    let failed = now.self_tests.iter().filter(|test| !test.passed);
    let failed = failed.map(|test| (test, ago(case, test)));
    failed.filter(|(test, ago)| !is_outdated(case, test, *ago)).collect()
}

/// How many hours of running ago a test was.
fn ago(case: &Case<'_>, test: &SelfTest) -> Option<u64> {
    let then = test.hours?;
    // Since its newest test it has been on for as long at least as that says.
    let newest = || case.now.self_tests.iter().filter_map(|test| test.hours).max();
    let now = case.now.power_on_hours.or_else(newest)?;
    match case.now.protocol {
        Some(Protocol::Ata) if then < ATA_HOURS => {
            Some((now % ATA_HOURS + ATA_HOURS - then) % ATA_HOURS)
        }
        _ => now.checked_sub(then),
    }
}

/// Whether a later test that looks at as much has passed.
fn is_outdated(case: &Case<'_>, failed: &SelfTest, failed_ago: Option<u64>) -> bool {
    case.now.self_tests.iter().any(|test| {
        let later = matches!((ago(case, test), failed_ago), (Some(a), Some(b)) if a < b);
        test.passed && SelfTest::reach(&test.kind) >= SelfTest::reach(&failed.kind) && later
    })
}

/// Whether a test failed only because the NVMe disk warns of something: one of its segments is a
/// look at the warnings, which have rules of their own.
fn is_of_warning(case: &Case<'_>, status: &str) -> bool {
    let nvme = &case.now.nvme;
    status == "segment_failure"
        && nvme.critical_warning.is_some_and(|bits| bits != 0)
        && nvme.media_errors == Some(0)
}

pub(super) fn judge(case: &Case<'_>, reasons: &mut Vec<Reason>) {
    for (test, ago) in failed(case) {
        let status = test.status.as_deref().unwrap_or("failed");
        let recent = ago.is_none_or(|ago| ago <= RECENT_HOURS);
        // Of one that nothing else is known of nobody knows how long ago it was.
        let counts = SelfTest::reach(&test.kind) > 0
            && test.kind != SELF_TEST_UNNAMED
            && DAMAGE.contains(&status)
            && !is_of_warning(case, status);
        let known = case.acknowledged().is_some_and(|before| {
            before.self_tests.get(&test.kind).is_some_and(|hours| *hours == test.hours)
        });
        let verdict = match (counts, recent) {
            (true, true) => case.unless(known, Verdict::Act),
            _ if known => Verdict::Ok,
            _ => Verdict::Watch,
        };
        let least = if case.now.power_on_hours.is_none() { " at least" } else { "" };
        let when = ago.map_or_else(String::new, |ago| format!(",{least} {}", super::ago(ago)));
        let kind = if test.kind == SELF_TEST_UNNAMED { "last" } else { &test.kind };
        let text = format!(
            "Its {kind} self-test ended with {}{when}, and none that looks as far has passed since: \
             {}.",
            status.replace('_', " "),
            match verdict {
                Verdict::Act => "the disk found itself broken; copy what is on it and replace it",
                _ => "run a long self-test",
            },
        );
        let mut reason = Reason::new("self_test_failed", verdict, text)
            .with(Evidence::new(format!("self-test, {}", test.kind), status));
        if let Some(hours) = test.hours {
            reason = reason.with(Evidence::new("self-test, power-on hours", hours));
        }
        reasons.push(reason);
    }
}
