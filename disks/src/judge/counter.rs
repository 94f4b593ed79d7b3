//! The one rule for numbers that only grow.

use super::Case;
use crate::attributes::Limits;
use crate::verdict::{Evidence, Reason, Verdict};

/// A number that only grows, and from where on it counts.
pub(super) struct Counter<'a> {
    /// Code of the reason.
    pub(super) code: &'static str,
    /// Key in a baseline.
    pub(super) key: &'a str,
    /// Name in the evidence.
    pub(super) name: String,
    pub(super) count: u64,
    pub(super) level: Limits,
    pub(super) increase: Limits,
    /// What is counted, to follow the number, and the same of one.
    pub(super) what: &'a str,
    pub(super) one: &'a str,
    pub(super) means: &'a str,
    pub(super) excuse: &'a str,
    pub(super) source: &'static str,
}

/// The verdict of `number` by `limits`.
pub(super) fn by(limits: Limits, number: u64) -> Verdict {
    let reaches = |limit: Option<u64>| limit.is_some_and(|limit| number >= limit);
    if reaches(limits.act) {
        Verdict::Act
    } else if reaches(limits.watch) {
        Verdict::Watch
    } else {
        Verdict::Ok
    }
}

/// The reason a counter gives; none while it is 0 and was 0.
pub(super) fn judge(case: &Case<'_>, counter: &Counter<'_>) -> Option<Reason> {
    let before = case.counted_before(counter.key);
    let grown = before.map(|before| counter.count.saturating_sub(before));
    if counter.count == 0 {
        return before.filter(|before| *before > 0).map(|before| gone(case, counter, before));
    }
    let level = by(counter.level, counter.count);
    let verdict = match (before, grown) {
        (Some(before), Some(grown)) if grown > 0 => {
            // Somebody who acknowledged a number has acknowledged what it means by itself.
            let known = case.acknowledged && by(counter.level, before) == level;
            let level = if known { Verdict::Ok } else { level };
            by(counter.increase, grown).worse(level)
        }
        (Some(_), _) if case.acknowledged => Verdict::Ok,
        (Some(_), _) if level == Verdict::Act && case.settled => Verdict::Watch,
        _ => level,
    };
    let limits =
        if grown.is_some_and(|grown| grown > 0) { counter.increase } else { counter.level };
    let limit = match verdict {
        Verdict::Act => limits.act.or(counter.level.act),
        _ => limits.watch,
    };
    Some(
        Reason::new(counter.code, verdict, text(case, counter, verdict, grown)).with(
            Evidence::new(counter.name.clone(), counter.count)
                .before(before)
                .limit(limit)
                .source(Some(counter.source).filter(|source| !source.is_empty())),
        ),
    )
}

fn text(case: &Case<'_>, counter: &Counter<'_>, verdict: Verdict, grown: Option<u64>) -> String {
    let count = counter.count;
    let what = if count == 1 && !counter.one.is_empty() { counter.one } else { counter.what };
    let change = match grown {
        Some(0) => format!(", and no more since {}", case.since()),
        Some(grown) => format!(", {grown} more since {}", case.since()),
        None => String::new(),
    };
    let rest = match verdict {
        Verdict::Ok if grown == Some(0) && !counter.excuse.is_empty() => counter.excuse,
        Verdict::Ok if grown == Some(0) => "what stands still is no news",
        Verdict::Ok if !counter.excuse.is_empty() => counter.excuse,
        _ => counter.means,
    };
    format!("{count} {what}{change}: {rest}.")
}

/// What was counted before and is 0 now, as pending sectors that were written anew.
fn gone(case: &Case<'_>, counter: &Counter<'_>, before: u64) -> Reason {
    let text = format!(
        "None of these is left, there were {before} in {}: {}.",
        if case.acknowledged { "what was acknowledged" } else { "the earlier report" },
        counter.what,
    );
    Reason::new(counter.code, Verdict::Ok, text)
        .with(Evidence::new(counter.name.clone(), 0_u64).before(Some(before)))
}
