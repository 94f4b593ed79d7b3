//! The rules: a reading, by itself or against what was before, into a [`Judgement`].
//!
//! - [`firmware`] knows disks that answer only with their loader, [`doubt`] what of a report was not
//!   understood.
//! - [`ata`], [`nvme`], [`scsi`], [`self_test`], [`temperature`] look at what their names say; each
//!   adds reasons and none of them knows the others. [`together`] looks at what signs say that stand
//!   beside each other.
//! - [`counter`] is the one rule for everything that only grows.
//! - [`state`] is for disks that were not read.
//!
//! The verdict is the most urgent of the reasons. `docs/disks.md` explains all of it to people.

mod ata;
mod counter;
mod doubt;
mod firmware;
mod nvme;
mod scsi;
mod self_test;
mod state;
mod temperature;
mod together;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::baseline::{self, Baseline, Before, DifferentDisks};
use crate::reading::{Reading, State};
use crate::verdict::{Evidence, Judgement, Reason, Verdict};

/// What to think of a disk, and why.
///
/// Without `before`, numbers count by themselves where they mean something by themselves. With an
/// earlier reading, what has not grown since is at most a reason to watch, if the disk has run for a
/// day meanwhile, and any growth is more.
/// With acknowledged numbers, only what goes beyond them counts. What the disk says of itself (its
/// overall verdict, failing attributes, critical warnings, failed self-tests) counts in any case;
/// once it was acknowledged, it is a reason to watch.
///
/// # Errors
///
/// When `before` is of another disk. Serial numbers decide; where they are missing or blanked,
/// model and size must agree and the hours must not go back.
pub fn judge<'a>(
    now: &'a Reading,
    before: Option<Before<'a>>,
) -> Result<Judgement, DifferentDisks> {
    let (before, acknowledged) = match before {
        None => (None, false),
        Some(Before::Earlier(reading)) => (Some(Cow::Owned(reading.baseline())), false),
        Some(Before::Seen(baseline)) => (Some(Cow::Borrowed(baseline)), false),
        Some(Before::Acknowledged(baseline)) => (Some(Cow::Borrowed(baseline)), true),
    };
    // One that did not answer cannot say who it is, and there is nothing to compare.
    let before = before.filter(|_| now.state == State::Read || baseline::is_named(now));
    if let Some(before) = &before {
        baseline::same_disk(now, before)?;
    }
    let settled = before.as_ref().is_none_or(|before| is_settled(now, before));
    let case = Case { now, before, acknowledged, settled };
    let mut reasons = Vec::new();
    if now.has_health() {
        ata::judge(&case, &mut reasons);
        nvme::judge(&case, &mut reasons);
        scsi::judge(&case, &mut reasons);
        wear(&case, &mut reasons);
        self_test::judge(&case, &mut reasons);
        temperature::judge(&case, &mut reasons);
        together::judge(&case, &mut reasons);
        doubt::judge(&case, &mut reasons);
    }
    firmware::judge(&case, &mut reasons);
    let seen = reasons.iter().fold(Verdict::Ok, |worst, reason| worst.worse(reason.verdict));
    let verdict = state::judge(&case, seen, &mut reasons);
    if now.has_health() && now.state == State::Read && verdict == Verdict::Ok {
        reasons.insert(0, healthy(now));
    }
    // The sort is stable: reasons of one urgency stay in the order of the rules.
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.verdict.urgency()));
    debug_assert!(
        reasons.iter().all(|reason| crate::sentence(reason.code).is_some()),
        "BUG: a code without a sentence: {reasons:?}"
    );
    Ok(Judgement { verdict, reasons })
}

/// A reading and what it is compared with.
struct Case<'a> {
    now: &'a Reading,
    before: Option<Cow<'a, Baseline>>,
    /// Whether what was before was acknowledged by somebody.
    acknowledged: bool,
    /// Whether it has run for long enough since, that what has not grown stands still.
    settled: bool,
}

/// Hours of running after which a number that has not grown stands still.
const SETTLED_HOURS: u64 = 24;

/// Whether enough time has passed; where nobody knows, it has.
fn is_settled(now: &Reading, before: &Baseline) -> bool {
    match (now.power_on_hours, before.power_on_hours) {
        (Some(now), Some(before)) => now >= before.saturating_add(SETTLED_HOURS),
        _ => true,
    }
}

impl Case<'_> {
    /// What the counter `key` was before.
    fn counted_before(&self, key: &str) -> Option<u64> {
        self.before.as_ref()?.counters.get(key).copied()
    }

    /// What was acknowledged, if anything was.
    fn acknowledged(&self) -> Option<&Baseline> {
        self.before.as_deref().filter(|_| self.acknowledged)
    }

    /// The words for the time before, to follow "since".
    fn since(&self) -> &'static str {
        if self.acknowledged { "it was acknowledged" } else { "the earlier report" }
    }

    /// `verdict`, or attention at most where somebody acknowledged the very thing.
    fn unless(&self, acknowledged: bool, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Act if acknowledged => Verdict::Watch,
            verdict => verdict,
        }
    }
}

/// A time of running ago, in words.
fn ago(hours: u64) -> String {
    match hours {
        0 => "within the last hour of running".to_owned(),
        1 => "1 hour of running ago".to_owned(),
        hours => format!("{hours} hours of running ago"),
    }
}

/// Used life from which on to plan.
const WEAR_WATCH: f64 = 0.9;

/// The flash's wear. Never more than attention: disks work on for long past what their makers
/// reckon with, and say by their spare and their verdict when they do not.
fn wear(case: &Case<'_>, reasons: &mut Vec<Reason>) {
    let Some(ratio) = case.now.wear_ratio else { return };
    if ratio < WEAR_WATCH {
        return;
    }
    let percent = (ratio * 100.0).round();
    let known = case.acknowledged().and_then(|before| before.wear_ratio);
    // A tenth of its life more than was acknowledged is news again.
    let verdict = match known {
        Some(known) if ratio < known + 0.1 => Verdict::Ok,
        _ => Verdict::Watch,
    };
    let before = case.before.as_ref().and_then(|before| before.wear_ratio);
    let text = if ratio >= 1.0 {
        format!(
            "The disk has used {percent} % of the writes its maker reckons with: that is no \
             failure, but nobody vouches for it any longer; plan to replace it and watch its spare."
        )
    } else {
        format!(
            "The disk has used {percent} % of the writes its maker reckons with; plan to replace \
             it."
        )
    };
    reasons.push(
        Reason::new("wear", verdict, text).with(
            Evidence::new("wear ratio", ratio)
                .before(before)
                .limit(Some(WEAR_WATCH))
                .source(Some("NVM Express Base Specification: percentage used")),
        ),
    );
}

/// The reason of a disk that has nothing.
fn healthy(now: &Reading) -> Reason {
    let mut seen = Vec::new();
    if now.passed == Some(true) {
        seen.push("its own verdict".to_owned());
    }
    match now.attributes.len() {
        0 => {}
        1 => seen.push("one attribute".to_owned()),
        count => seen.push(format!("{count} attributes")),
    }
    if now.nvme.critical_warning.is_some() || now.nvme.media_errors.is_some() {
        seen.push("its health log".to_owned());
    }
    if now.scsi != crate::reading::Scsi::default() {
        seen.push("its error counters".to_owned());
    }
    if !now.self_tests.is_empty() {
        seen.push("its self-tests".to_owned());
    }
    let all = match seen.as_slice() {
        [] => "what it says".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    };
    let only_passed = now.passed.is_some() && seen.len() == 1;
    if only_passed {
        return Reason::new(
            "partial",
            Verdict::Ok,
            "The disk passes its own overall check; the report says nothing else of its health.",
        );
    }
    Reason::new("healthy", Verdict::Ok, format!("Nothing to mind in {all}."))
}
