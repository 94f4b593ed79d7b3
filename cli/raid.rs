//! `labstat raid`: software arrays, whether they are whole, and what they are doing.

use std::collections::BTreeSet;
use std::process::ExitCode;

use crate::failure::Failure;
use crate::human::Unit;
use crate::table::{Cell, Column, Table, Tone};
use crate::view::{self, Answers, Questions, ViewArgs, at};

/// Shows software arrays: whole or degraded, and how far a rebuild is
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat raid                      all arrays of all nodes
  labstat raid --node nas
  labstat raid --format json        for scripts")]
pub(crate) struct Raid {
    #[command(flatten)]
    view: ViewArgs,
}

pub(crate) const QUESTIONS: &Questions = &[
    ("state", "node_md_state == 1"),
    ("disks", "node_md_disks"),
    ("wanted", "node_md_disks_required"),
    ("blocks", "node_md_blocks"),
    ("synced", "node_md_blocks_synced"),
    ("members", "labstat_md_member_info"),
];

/// Bytes of the blocks in which the kernel counts an array.
const BLOCK_BYTES: f64 = 1024.0;

impl Raid {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        view::show(&self.view, QUESTIONS, table)
    }
}

/// Every array, as `(node, device)`.
pub(crate) fn arrays(answers: &Answers) -> BTreeSet<(&str, &str)> {
    let found = ["disks", "wanted", "state"].into_iter().flat_map(|name| answers.all(name));
    found.map(|found| (at(found), found.label("device"))).collect()
}

/// Whether an array runs with fewer disks than it should have; unknown for those that have no
/// redundancy or do not run.
pub(crate) fn degraded(answers: &Answers, (node, device): (&str, &str)) -> Option<bool> {
    let here = [("instance", node), ("device", device)];
    let wanted = answers.value("wanted", &here).filter(|wanted| *wanted > 0.0)?;
    Some(disks(answers, &here, "active")? < wanted)
}

/// Whether an array does not run at all.
pub(crate) fn inactive(answers: &Answers, (node, device): (&str, &str)) -> bool {
    let here = [("instance", node), ("device", device), ("state", "inactive")];
    answers.value("state", &here).is_some()
}

fn disks(answers: &Answers, here: &[(&str, &str); 2], state: &str) -> Option<f64> {
    answers.value("disks", &[here[0], here[1], ("state", state)])
}

fn table(answers: &Answers) -> Table {
    let mut table = Table::new(
        [
            Column::text("node", "NODE"),
            Column::text("array", "ARRAY"),
            Column::text("state", "STATE"),
            Column::new("disks_active", "ACTIVE", Unit::Plain),
            Column::new("disks_required", "OF", Unit::Plain),
            Column::new("disks_failed", "FAILED", Unit::Plain),
            Column::new("disks_spare", "SPARE", Unit::Plain).minor(2),
            Column::new("sync_ratio", "SYNCED", Unit::Ratio),
            Column::new("size_bytes", "SIZE", Unit::Bytes).minor(2),
            Column::text("members", "MEMBERS").minor(3),
        ],
        "No node has a software array (md).",
    );
    for array in arrays(answers) {
        table.push(row(answers, array));
    }
    table.worst_first()
}

fn row(answers: &Answers, array: (&str, &str)) -> Vec<Cell> {
    let here = [("instance", array.0), ("device", array.1)];
    let number = |name| answers.value(name, &here);
    let state = answers.with("state", &here).next().map(|found| found.label("state"));
    let state = match (degraded(answers, array), state) {
        (Some(true), Some("active") | None) => Cell::text("degraded").tone(Tone::Bad),
        (Some(true), Some(doing)) => Cell::text(format!("degraded, {doing}")).tone(Tone::Bad),
        (_, Some("active")) => Cell::text("active").tone(Tone::Good),
        (_, Some("inactive")) => Cell::text("inactive").tone(Tone::Bad),
        (_, Some(doing)) => Cell::text(doing).tone(Tone::Warn),
        (_, None) => Cell::absent(),
    };
    let failed = disks(answers, &here, "failed");
    vec![
        Cell::text(array.0),
        Cell::text(array.1),
        state,
        Cell::number(disks(answers, &here, "active")),
        Cell::number(number("wanted").filter(|wanted| *wanted > 0.0)),
        Cell::number(failed).limits(1.0, 1.0),
        Cell::number(disks(answers, &here, "spare")),
        Cell::number(synced(number("synced"), number("blocks"))),
        Cell::number(number("blocks").map(|blocks| blocks * BLOCK_BYTES)),
        Cell::text(members(answers, &here)),
    ]
}

/// The devices of an array; those that do not simply serve have their state beside them.
fn members(answers: &Answers, here: &[(&str, &str)]) -> String {
    let mut names: Vec<String> = answers
        .with("members", here)
        .map(|found| match (found.label("member"), found.label("state")) {
            (member, "in-use" | "") => member.to_owned(),
            (member, state) => format!("{member} ({state})"),
        })
        .collect();
    names.sort();
    names.join(", ")
}

fn synced(done: Option<f64>, of: Option<f64>) -> Option<f64> {
    Some(done? / of.filter(|of| *of > 0.0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::{canned, plain};

    #[test]
    fn degraded_is_said_before_anything_else() {
        let answers = canned(
            r#"
            state {instance="nas",device="md0",state="recovering"} 1
            state {instance="nas",device="md1",state="active"} 1
            disks {instance="nas",device="md0",state="active"} 1
            disks {instance="nas",device="md0",state="failed"} 1
            disks {instance="nas",device="md0",state="spare"} 0
            disks {instance="nas",device="md1",state="active"} 2
            disks {instance="nas",device="md1",state="failed"} 0
            wanted {instance="nas",device="md0"} 2
            wanted {instance="nas",device="md1"} 0
            blocks {instance="nas",device="md0"} 976630464
            synced {instance="nas",device="md0"} 83013589
            members {instance="nas",device="md0",member="sdb1",state="faulty"} 1
            members {instance="nas",device="md0",member="sda1",state="in-use"} 1
            "#,
        );
        assert_eq!(
            plain(&table(&answers)),
            "\
NODE  ARRAY  STATE                 ACTIVE  OF  FAILED  SPARE  SYNCED     SIZE  MEMBERS
nas   md0    degraded, recovering       1   2       1      0   8.5 %  931 GiB  sda1, sdb1 (faulty)
nas   md1    active                     2   -       0      -       -        -  -
"
        );
    }
}
