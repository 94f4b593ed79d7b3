//! `labstat raid`: software arrays, whether they are whole, and what they are doing.

use std::collections::BTreeSet;
use std::process::ExitCode;

use crate::answer::Found;
use crate::failure::Failure;
use crate::human::Unit;
use crate::table::{Cell, Column, Table, Tone};
use crate::view::{self, Answers, Questions, ViewArgs, at};

/// Shows software arrays: whole or degraded, and how far a rebuild is
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat raid                      all arrays of all nodes, those in need first
  labstat raid --node nas
  labstat raid --format json        for scripts, in base units

A member that does not simply serve has its state beside it, and the verdict on its disk when that is
not well. MISMATCH counts sectors that differed in the last check; on a mirror with swap, a few are no
fault. A check that ended while no agent ran, or more than 100 days ago, is not known.")]
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
    ("array", "labstat_md_info"),
    ("word", "labstat_md_array_state == 1"),
    ("members", "labstat_md_member_info"),
    ("errors", "labstat_md_member_errors_total > 0"),
    ("action", "labstat_md_sync_action"),
    ("done", "labstat_md_sync_done_bytes / labstat_md_sync_total_bytes"),
    ("speed", "labstat_md_sync_speed_bytes_per_second"),
    ("remaining", "labstat_md_sync_remaining_seconds"),
    ("mismatch", "labstat_md_mismatch_sectors"),
    // An agent that was restarted has not seen it; the history has, in steps of a quarter of an hour.
    (
        "checked",
        "labstat_md_scrub_end_timestamp_seconds or \
         max_over_time(labstat_md_scrub_end_timestamp_seconds[100d:15m])",
    ),
    ("serial", "labstat_disk_info"),
    ("verdict", "labstat_disk_verdict"),
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

/// Whether an array does not run and should: a container of firmware's never does.
pub(crate) fn inactive(answers: &Answers, (node, device): (&str, &str)) -> bool {
    let here = [("instance", node), ("device", device), ("state", "inactive")];
    answers.value("state", &here).is_some() && !is_container(answers, (node, device))
}

fn is_container(answers: &Answers, (node, device): (&str, &str)) -> bool {
    let here = [("instance", node), ("device", device), ("level", "container")];
    answers.with("array", &here).next().is_some()
}

fn disks(answers: &Answers, here: &[(&str, &str); 2], state: &str) -> Option<f64> {
    answers.value("disks", &[here[0], here[1], ("state", state)])
}

fn table(answers: &Answers) -> Table {
    let mut table = Table::new(
        [
            Column::text("node", "NODE"),
            Column::text("array", "ARRAY"),
            Column::text("level", "LEVEL").minor(1),
            Column::text("state", "STATE"),
            Column::new("disks_active", "ACTIVE", Unit::Plain),
            Column::new("disks_required", "OF", Unit::Plain),
            Column::new("disks_failed", "FAILED", Unit::Plain),
            Column::new("disks_spare", "SPARE", Unit::Plain).minor(2),
            Column::new("size_bytes", "SIZE", Unit::Bytes).minor(2),
            Column::text("sync_action", "DOING"),
            Column::new("sync_ratio", "DONE", Unit::Ratio),
            Column::new("sync_speed_bytes_per_second", "SPEED", Unit::BytesPerSecond).minor(1),
            Column::new("sync_remaining_seconds", "LEFT", Unit::Seconds),
            Column::new("mismatch_sectors", "MISMATCH", Unit::Plain).minor(3),
            Column::new("checked_timestamp_seconds", "CHECKED", Unit::Time).minor(3),
            Column::text("members", "MEMBERS").minor(4),
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
    let number = |name| Cell::number(answers.value(name, &here));
    let label = |name, label| {
        let found = answers.with(name, &here).next()?;
        Some(found.label(label)).filter(|text| !text.is_empty())
    };
    let blocks = answers.value("blocks", &here).filter(|_| !inactive(answers, array));
    let action = doing(label("action", "action"), label("action", "pending"), answers, &here);
    let is_busy = action.is_some();
    let done = answers.value("done", &here).or_else(|| {
        let parts = (answers.value("synced", &here), answers.value("blocks", &here));
        synced(parts.0, parts.1).filter(|_| is_busy && label("action", "action").is_none())
    });
    vec![
        Cell::text(array.0),
        Cell::text(array.1),
        Cell::text_opt(label("array", "level")),
        condition(answers, array, label("word", "state")),
        Cell::number(disks(answers, &here, "active")),
        Cell::number(answers.value("wanted", &here).filter(|wanted| *wanted > 0.0)),
        Cell::number(disks(answers, &here, "failed")).limits(1.0, 1.0),
        Cell::number(disks(answers, &here, "spare")),
        Cell::number(blocks.map(|blocks| blocks * BLOCK_BYTES)),
        Cell::text_opt(action),
        Cell::number(done),
        number("speed"),
        number("remaining"),
        number("mismatch").limits(1.0, f64::INFINITY),
        number("checked"),
        Cell::text(members(answers, array.0, &here)),
    ]
}

/// How an array is, in one word; what it is doing is no fault of it.
fn condition(answers: &Answers, array: (&str, &str), word: Option<&str>) -> Cell {
    let failed = disks(answers, &[("instance", array.0), ("device", array.1)], "failed");
    match word {
        _ if is_container(answers, array) => Cell::text("container"),
        _ if inactive(answers, array) => Cell::text("inactive").tone(Tone::Bad),
        Some("broken") => Cell::text("broken").tone(Tone::Bad),
        _ if degraded(answers, array) == Some(true) => Cell::text("degraded").tone(Tone::Bad),
        Some("readonly") => Cell::text("read-only").tone(Tone::Warn),
        Some("suspended") => Cell::text("suspended").tone(Tone::Warn),
        // One that was rebuilt on a spare is whole, and still holds what was thrown out.
        _ if failed.is_some_and(|failed| failed > 0.0) => Cell::text("whole").tone(Tone::Warn),
        _ if degraded(answers, array) == Some(false) => Cell::text("whole").tone(Tone::Good),
        _ => Cell::text("active").tone(Tone::Good),
    }
}

/// What an array is busy with: the agent's word, or that of node_exporter's state.
fn doing(
    action: Option<&str>,
    pending: Option<&str>,
    answers: &Answers,
    here: &[(&str, &str)],
) -> Option<String> {
    let state = answers.with("state", here).next().map(|found| found.label("state"));
    let by_state = match state {
        Some("recovering") => Some("recover"),
        Some("resync") => Some("resync"),
        Some("check") => Some("check"),
        _ => None,
    };
    let action = action.or(by_state).filter(|action| *action != "idle")?;
    Some(match pending {
        Some(pending) => format!("{action} ({pending})"),
        None => action.to_owned(),
    })
}

/// The devices of an array by their place; those that do not simply serve have their state beside
/// them, and that of their disk.
fn members(answers: &Answers, node: &str, here: &[(&str, &str)]) -> String {
    let mut all: Vec<(u32, String)> = answers
        .with("members", here)
        .map(|found| {
            let slot = found.label("slot").parse().unwrap_or(u32::MAX);
            (slot, member(answers, node, here, found))
        })
        .collect();
    all.sort();
    all.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(", ")
}

fn member(answers: &Answers, node: &str, here: &[(&str, &str)], found: &Found) -> String {
    let name = found.label("member");
    let mut said: Vec<String> = Vec::new();
    if !matches!(found.label("state"), "in_sync" | "in_use" | "") {
        said.push(found.label("state").to_owned());
    }
    if found.label("role") == "replacement" {
        said.push("replacement".to_owned());
    }
    said.extend(found.label("flags").split(',').filter(|flag| !flag.is_empty()).map(str::to_owned));
    let errors: Vec<(&str, &str)> = here.iter().copied().chain([("member", name)]).collect();
    if let Some(errors) = answers.value("errors", &errors) {
        said.push(format!("{errors} read errors mended"));
    }
    let disk = [("instance", node), ("device", found.label("disk"))];
    if !found.label("disk").is_empty() {
        let verdict = answers.with("verdict", &disk).next().map(|it| it.label("verdict"));
        if let Some(verdict) = verdict.filter(|verdict| !matches!(*verdict, "ok" | "")) {
            said.push(format!("disk: {verdict}"));
        }
        // Only where somebody may have to pull it: the name is not printed on a disk.
        let serial = answers.with("serial", &disk).next().map(|it| it.label("serial_number"));
        if let Some(serial) = serial.filter(|serial| !said.is_empty() && !serial.is_empty()) {
            said.push(format!("serial {serial}"));
        }
    }
    match said.is_empty() {
        true => name.to_owned(),
        false => format!("{name} ({})", said.join(", ")),
    }
}

fn synced(done: Option<f64>, of: Option<f64>) -> Option<f64> {
    Some(done? / of.filter(|of| *of > 0.0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::{canned, plain};

    /// A mirror that is rebuilt, a stripe, an array that waits for its check, and a container.
    const LAB: &str = r#"
        state {instance="nas",device="md0",state="recovering"} 1
        state {instance="nas",device="md1",state="active"} 1
        state {instance="nas",device="md2",state="check"} 1
        state {instance="nas",device="md127",state="inactive"} 1
        array {instance="nas",device="md127",level="container"} 1
        array {instance="nas",device="md0",level="raid1"} 1
        array {instance="nas",device="md2",level="raid5"} 1
        disks {instance="nas",device="md0",state="active"} 1
        disks {instance="nas",device="md0",state="failed"} 1
        disks {instance="nas",device="md0",state="spare"} 0
        disks {instance="nas",device="md1",state="active"} 2
        disks {instance="nas",device="md1",state="failed"} 0
        disks {instance="nas",device="md2",state="active"} 3
        disks {instance="nas",device="md2",state="failed"} 0
        wanted {instance="nas",device="md0"} 2
        wanted {instance="nas",device="md1"} 0
        wanted {instance="nas",device="md2"} 3
        blocks {instance="nas",device="md0"} 976630464
        action {instance="nas",device="md0",action="recover"} 1
        action {instance="nas",device="md2",action="check",pending="delayed"} 1
        done {instance="nas",device="md0"} 0.085
        speed {instance="nas",device="md0"} 104857600
        remaining {instance="nas",device="md0"} 5400
        mismatch {instance="nas",device="md2"} 128
        checked {instance="nas",device="md2"} 1700000000
        members {instance="nas",device="md0",member="sdb1",state="faulty",disk="sdb"} 1
        members {instance="nas",device="md0",member="sda1",slot="0",state="in_sync",disk="sda"} 1
        members {instance="nas",device="md0",member="sdc1",slot="1",state="rebuilding"} 1
        members {instance="nas",device="md2",member="sdd",slot="0",state="in_sync",flags="write_mostly",disk="sdd"} 1
        errors {instance="nas",device="md2",member="sdd"} 3
        verdict {instance="nas",device="sdb",verdict="dead"} 1
        serial {instance="nas",device="sdb",serial_number="WD-1"} 1
    "#;

    #[test]
    fn degraded_is_said_before_anything_else_and_a_check_is_no_fault() {
        let text = plain(&table(&canned(LAB)));
        let cells = |line: &str| {
            let cells: Vec<&str> =
                line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
            cells.join("|")
        };
        let lines: Vec<String> = text.lines().map(cells).collect();
        assert_eq!(
            lines,
            [
                "NODE|ARRAY|LEVEL|STATE|ACTIVE|OF|FAILED|SPARE|SIZE|DOING|DONE|SPEED|LEFT|MISMATCH|\
                 CHECKED|MEMBERS",
                "nas|md0|raid1|degraded|1|2|1|0|931 GiB|recover|8.5 %|100 MiB/s|1h30m|-|-|\
                 sda1, sdc1 (rebuilding), sdb1 (faulty, disk: dead, serial WD-1)",
                "nas|md2|raid5|whole|3|3|0|-|-|check (delayed)|-|-|-|128|2023-11-14 22:13:20|\
                 sdd (write_mostly, 3 read errors mended)",
                "nas|md1|-|active|2|-|0|-|-|-|-|-|-|-|-|-",
                "nas|md127|container|container|-|-|-|-|-|-|-|-|-|-|-|-",
            ]
        );
    }

    /// What node_exporter says is enough for the state and how far a rebuild is.
    #[test]
    fn arrays_of_node_exporter() {
        let answers = canned(
            r#"
            state {instance="nas",device="md0",state="recovering"} 1
            disks {instance="nas",device="md0",state="active"} 1
            disks {instance="nas",device="md0",state="failed"} 0
            wanted {instance="nas",device="md0"} 2
            blocks {instance="nas",device="md0"} 1000
            synced {instance="nas",device="md0"} 250
            "#,
        );
        let text = plain(&table(&answers));
        let line = text.lines().nth(1).unwrap();
        assert!(
            line.contains("degraded") && line.contains("recover") && line.contains("25 %"),
            "{line}"
        );
    }

    #[test]
    fn conditions() {
        for (lines, wanted) in [
            ("state {instance=\"n\",device=\"md0\",state=\"inactive\"} 1", "inactive"),
            ("word {instance=\"n\",device=\"md0\",state=\"broken\"} 1", "broken"),
            ("word {instance=\"n\",device=\"md0\",state=\"readonly\"} 1", "read-only"),
            ("word {instance=\"n\",device=\"md0\",state=\"clean\"} 1", "active"),
        ] {
            let answers = canned(lines);
            let words = answers.with("word", &[]).next().map(|found| found.label("state"));
            let cell = condition(&answers, ("n", "md0"), words);
            assert_eq!(cell.value, crate::table::Value::Text(wanted.to_owned()));
        }
    }
}
