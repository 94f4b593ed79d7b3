//! What stood in the report and was not understood: never a reason to call a disk healthy.

use super::Case;
use crate::reading::{Nvme, Scsi, part};
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
    let says_numbers =
        !now.attributes.is_empty() || now.nvme != Nvme::default() || now.scsi != Scsi::default();
    for doubtful in [part::ATTRIBUTES, part::LINES] {
        if !now.is_doubtful(doubtful) {
            continue;
        }
        let (verdict, text) = match says_numbers {
            true => (
                Verdict::Watch,
                "Some of what the report says of the disk's health was not understood: read it \
                 again, and straight from smartctl.",
            ),
            false => (
                Verdict::Silent,
                "What the report says of the disk's health was not understood, or the disk did \
                 not give it: read it again, and straight from smartctl.",
            ),
        };
        push(verdict, text, "not understood", doubtful);
    }
    if now.is_doubtful(part::RAW) {
        let text = "The report has attributes without their raw values, which are what counts: read \
                    it again, and straight from smartctl.";
        push(Verdict::Watch, text, "not understood", part::RAW);
    }
}
