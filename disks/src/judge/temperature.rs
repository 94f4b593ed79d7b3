//! Temperature, against the disk's own limits and no others.

use super::Case;
use crate::verdict::{Evidence, Reason, Verdict};

/// A limit below this is not one: firmware without limits fills in small numbers.
const LIMIT_MIN: f64 = 40.0;

pub(super) fn judge(case: &Case<'_>, reasons: &mut Vec<Reason>) {
    // Its own word for it is a reason already.
    let told = ["nvme_temperature", "temperature_limit", "smart_failed_hot"];
    let is_told = |reason: &Reason| {
        told.contains(&reason.code) && reason.verdict.urgency() >= Verdict::Watch.urgency()
    };
    let temperature = &case.now.temperature;
    let Some(current) = temperature.current.filter(|_| !reasons.iter().any(is_told)) else {
        return;
    };
    let passed =
        temperature.limits.iter().filter(|(_, limit)| **limit >= LIMIT_MIN && current >= **limit);
    let Some((name, limit)) = passed.max_by(|a, b| a.1.total_cmp(b.1)) else { return };
    let text = format!(
        "It is at {current} °C and its own limit ({name}) is {limit} °C: heat ages it and slows \
         it down; give it air."
    );
    reasons.push(
        Reason::new("temperature", Verdict::Watch, text)
            .with(Evidence::new("temperature, celsius", current).limit(Some(*limit))),
    );
}
