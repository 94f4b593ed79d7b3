//! SCSI and SAS: grown defects and errors that stayed.

use super::{Case, ata, counter};
use crate::attributes::Limits;
use crate::verdict::{Evidence, Reason, Verdict};

const STANDARD: &str = "SCSI Primary Commands, error counter log pages";

pub(super) fn judge(case: &Case<'_>, reasons: &mut Vec<Reason>) {
    let scsi = &case.now.scsi;
    let uncorrected = Limits { watch: Some(1), act: Some(20) };
    // A disk has spare sectors for writes: one that fails for good has run out of ways.
    let unwritten = Limits { watch: Some(1), act: Some(5) };
    let grown = Limits { watch: Some(1), act: Some(10) };
    let rows = [
        (
            "grown_defects",
            "elements in grown defect list",
            scsi.grown_defects,
            Limits { watch: Some(5), act: Some(1000) },
            Limits { watch: Some(1), act: Some(50) },
            [
                "sectors were replaced by spare ones since the disk was made",
                "sector was replaced by a spare one since the disk was made",
            ],
            "the surface had defects there; a few that stay few are common, a growing number is a \
             dying disk",
        ),
        (
            "read_uncorrected",
            "read, total uncorrected errors",
            scsi.read_uncorrected,
            uncorrected,
            grown,
            ["reads could not be corrected", "read could not be corrected"],
            "data was lost there unless there is a copy; run a long self-test and check what is \
             stored on it",
        ),
        (
            "write_uncorrected",
            "write, total uncorrected errors",
            scsi.write_uncorrected,
            unwritten,
            grown,
            ["writes failed for good", "write failed for good"],
            "the disk could not store what it was given; run a long self-test and check what is \
             stored on it",
        ),
        (
            "verify_uncorrected",
            "verify, total uncorrected errors",
            scsi.verify_uncorrected,
            Limits { watch: Some(1), act: Some(100) },
            grown,
            ["sectors could not be verified", "sector could not be verified"],
            "the disk found them itself, and what is in them may be lost; run a long self-test",
        ),
    ];
    for (code, name, count, level, increase, [what, one], means) in rows {
        // Beyond that it is no count, but what memory holds that nobody has set.
        let Some(count) = count.filter(|count| *count <= ata::BELIEVED_MAX) else { continue };
        let counter = counter::Counter {
            code,
            key: code,
            name: name.to_owned(),
            count,
            level,
            increase,
            what,
            one,
            means,
            excuse: if code == "grown_defects" { "a few are common in a long life" } else { "" },
            source: STANDARD,
        };
        reasons.extend(counter::judge(case, &counter));
    }
    reasons.extend(scanned(case));
    reasons.extend(halted(case));
}

/// A scan that did not come to its end.
fn halted(case: &Case<'_>) -> Option<Reason> {
    let text = "A fatal error ended the disk's own scan for bad blocks: run a long self-test.";
    let evidence = Evidence::new("background scan", "halted due to fatal error");
    let reason = Reason::new("scan_halted", Verdict::Watch, text).with(evidence);
    (case.now.scsi.scan_halted == Some(1)).then_some(reason)
}

/// Blocks that the disk's own scan met.
fn scanned(case: &Case<'_>) -> Option<Reason> {
    let count = case.now.scsi.scan_unreadable?;
    counter::judge(
        case,
        &counter::Counter {
            code: "scan_unreadable",
            key: "scan_unreadable",
            name: "background scan, unreadable blocks".to_owned(),
            count,
            level: Limits { watch: Some(1), act: None },
            increase: Limits { watch: Some(1), act: Some(20) },
            what: "blocks could not be read by the disk's own scan and were not replaced",
            one: "block could not be read by the disk's own scan and was not replaced",
            means: "data in them is lost unless there is a copy; write them anew and run a long \
                    self-test",
            excuse: "",
            source: "SCSI Block Commands, background scan results log page",
        },
    )
}
