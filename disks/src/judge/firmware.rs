//! Disks whose firmware did not start: they answer with the name of their loader, or with a size
//! of almost nothing, and all that they say of their health is worth nothing.

use super::Case;
use crate::reading::Protocol;
use crate::verdict::{Evidence, Reason, Verdict};

/// Beginnings of the models that loaders and safe modes of firmware have.
const MODELS: [&str; 4] = ["SATAFIRM", "WDC ROM MODEL", "SANDFORCE{", "YATAPDONG"];
/// Firmware that is there when the real one could not be loaded: Samsung's.
const FIRMWARE: [&str; 1] = ["ERRORMOD"];
/// Beginnings of serial numbers of such: Intel's 320.
const SERIALS: [&str; 1] = ["BAD_CTX"];
/// No disk with SMART is as small; one that lost its tables says so.
const TINY_BYTES: u64 = 16_000_000;

const PANIC: &str = "The firmware of the disk did not start, and what answers is its loader: what \
                     is on it can be got at by specialists at most; replace it.";

pub(super) fn judge(case: &Case<'_>, reasons: &mut Vec<Reason>) {
    let identity = &case.now.identity;
    let begins = |text: &Option<String>, with: &[&str]| {
        let text = text.as_deref().map(|text| text.trim().to_ascii_uppercase())?;
        with.iter().any(|begin| text.starts_with(begin)).then_some(text)
    };
    let found = begins(&identity.model, &MODELS)
        .map(|text| ("model", text))
        .or_else(|| Some(("firmware", begins(&identity.firmware, &FIRMWARE)?)))
        .or_else(|| Some(("serial number", begins(&identity.serial, &SERIALS)?)));
    let is_ata = case.now.protocol == Some(Protocol::Ata);
    let tiny = case.now.capacity_bytes.filter(|bytes| (1..TINY_BYTES).contains(bytes) && is_ata);
    let reason = Reason::new("firmware_panic", Verdict::Act, PANIC);
    match (found, tiny) {
        (Some((name, text)), _) => reasons.push(reason.with(Evidence::new(name, text.as_str()))),
        (None, Some(bytes)) => reasons.push(reason.with(Evidence::new("capacity, bytes", bytes))),
        (None, None) => {}
    }
}
