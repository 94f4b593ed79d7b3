//! What stood in the report and was not understood: never a reason to call a disk healthy.

use super::Case;
use crate::reading::part;
use crate::verdict::{Evidence, Reason, Verdict};

pub(super) fn judge(case: &Case<'_>, reasons: &mut Vec<Reason>) {
    let now = case.now;
    let mut push = |verdict, text: &str, name: &str, value: &str| {
        let reason = Reason::new("not_understood", verdict, text);
        reasons.push(reason.with(Evidence::new(name, value)));
    };
    if now.is_doubtful(part::HEALTH) && now.passed.is_none() {
        let text = "The report has the disk's own verdict in words that were not understood: read \
                    it again, and straight from smartctl.";
        push(Verdict::Watch, text, "not understood", part::HEALTH);
    }
    if now.is_doubtful(part::ATTRIBUTES) {
        let (verdict, text) = match now.attributes.is_empty() {
            true => (
                Verdict::Silent,
                "The report has the disk's attributes in a form that was not understood, or the \
                 disk did not give them: read it again, and straight from smartctl.",
            ),
            false => (
                Verdict::Watch,
                "Some of the disk's attributes are in a form that was not understood: read it \
                 again, and straight from smartctl.",
            ),
        };
        push(verdict, text, "not understood", part::ATTRIBUTES);
    }
    if now.is_doubtful(part::RAW) {
        let text = "The report has attributes without their raw values, which are what counts: read \
                    it again, and straight from smartctl.";
        push(Verdict::Watch, text, "not understood", part::RAW);
    }
}
