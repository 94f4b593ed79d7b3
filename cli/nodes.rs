//! `labstat nodes`: every machine, how it is, and when it was last heard of.

use std::collections::BTreeSet;
use std::process::ExitCode;

use crate::failure::Failure;
use crate::human::Unit;
use crate::table::{Cell, Column, Table, Tone};
use crate::view::{self, Answers, Questions, ViewArgs, at};

/// Shows every node with its load, memory, fullest file system and hottest sensor
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat nodes                     all nodes heard of in the last week
  labstat nodes --format json       the same for scripts
  labstat nodes --server http://nas:5227

A node that is down keeps its row; what it no longer says is shown as \"-\".")]
pub(crate) struct Nodes {
    #[command(flatten)]
    view: ViewArgs,
}

/// A node that says nothing for longer than this is down, whatever it said last. Several rounds
/// of the slowest usual interval, one minute.
pub(crate) const SILENT_SECONDS: f64 = 150.0;

/// Memory and file systems: worth a look, and nearly full.
pub(crate) const FULL_WARN: f64 = 0.85;
/// See [`FULL_WARN`].
pub(crate) const FULL_BAD: f64 = 0.95;

/// Degrees at which most chips and disks are uncomfortable, and at which they throttle.
pub(crate) const HOT_WARN: f64 = 75.0;
/// See [`HOT_WARN`].
pub(crate) const HOT_BAD: f64 = 90.0;

pub(crate) const QUESTIONS: &Questions = &[
    ("seen", "max by (instance) (last_over_time(node_time_seconds[7d]))"),
    ("up", "max by (instance) (up{job=\"node\"})"),
    ("uptime", "max by (instance) (node_time_seconds - node_boot_time_seconds)"),
    ("cores", "count by (instance) (node_cpu_seconds_total{mode=\"idle\"})"),
    ("cpu", "1 - avg by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[5m]))"),
    ("load", "node_load1"),
    ("memory", "1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes"),
    ("memory_total", "node_memory_MemTotal_bytes"),
    (
        "fullest",
        "max by (instance) (1 - node_filesystem_avail_bytes{fstype!~\"tmpfs|ramfs\"} \
         / (node_filesystem_size_bytes > 0))",
    ),
    (
        "hottest",
        "max by (instance) (node_hwmon_temp_celsius or node_thermal_zone_temp \
         or smartctl_device_temperature{temperature_type=\"current\"})",
    ),
    ("os", "node_os_info"),
    ("kernel", "node_uname_info"),
];

impl Nodes {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        view::show(&self.view, QUESTIONS, table)
    }
}

/// The names of all nodes of the answers.
pub(crate) fn names(answers: &Answers) -> BTreeSet<&str> {
    let found = answers.all("seen").iter().chain(answers.all("up"));
    found.map(at).filter(|name| !name.is_empty()).collect()
}

/// Whole seconds since a node was last heard of. Clocks differ a little: never negative.
pub(crate) fn silence(answers: &Answers, node: &str) -> Option<f64> {
    let seen = answers.value("seen", &[("instance", node)])?;
    Some((answers.now()? - seen).max(0.0).round())
}

/// Whether a node is up: it says so, and said it lately.
pub(crate) fn is_up(answers: &Answers, node: &str) -> bool {
    match answers.value("up", &[("instance", node)]) {
        Some(up) => up > 0.0,
        // Sent by something that has no `up`: hearing from it at all must do.
        None => silence(answers, node).is_some_and(|seconds| seconds < SILENT_SECONDS),
    }
}

fn table(answers: &Answers) -> Table {
    let mut table = Table::new(
        [
            Column::text("node", "NODE"),
            Column::text("state", "STATE"),
            Column::new("seen_seconds_ago", "SEEN", Unit::Seconds),
            Column::new("uptime_seconds", "UPTIME", Unit::Seconds).minor(3),
            Column::new("cpu_ratio", "CPU", Unit::Ratio),
            Column::new("cores", "CORES", Unit::Plain).minor(4),
            Column::new("load1", "LOAD", Unit::Plain).minor(2),
            Column::new("memory_used_ratio", "MEMORY", Unit::Ratio),
            Column::new("memory_total_bytes", "OF", Unit::Bytes).minor(4),
            Column::new("fullest_filesystem_ratio", "FULLEST", Unit::Ratio),
            Column::new("hottest_celsius", "HOTTEST", Unit::Celsius),
            Column::text("os", "SYSTEM").minor(5),
            Column::text("kernel", "KERNEL").minor(6),
        ],
        "No node has been heard of in the last week. `labstat up` watches this machine.",
    );
    for node in names(answers) {
        table.push(row(answers, node));
    }
    table
}

fn row(answers: &Answers, node: &str) -> Vec<Cell> {
    let here = [("instance", node)];
    let number = |name| Cell::number(answers.value(name, &here));
    let word = |name: &str, label: &str| {
        Cell::text_opt(answers.with(name, &here).next().map(|found| found.label(label)))
    };
    let state = match is_up(answers, node) {
        true => Cell::text("up").tone(Tone::Good),
        false => Cell::text("down").tone(Tone::Bad),
    };
    let cores = answers.value("cores", &here);
    let load = number("load").limits(cores.unwrap_or(f64::MAX), cores.unwrap_or(f64::MAX) * 2.0);
    vec![
        Cell::text(node),
        state,
        Cell::number(silence(answers, node)).limits(SILENT_SECONDS, SILENT_SECONDS),
        number("uptime"),
        number("cpu").limits(FULL_WARN, 2.0),
        Cell::number(cores),
        load,
        number("memory").limits(FULL_WARN, FULL_BAD),
        number("memory_total"),
        number("fullest").limits(FULL_WARN, FULL_BAD),
        number("hottest").limits(HOT_WARN, HOT_BAD),
        word("os", "pretty_name"),
        word("kernel", "release"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::{canned, plain};

    #[test]
    fn a_node_that_went_silent_keeps_its_row() {
        let answers = canned(
            r#"
            now {} 100000
            seen {instance="apex"} 99996
            seen {instance="zenith"} 89200
            up {instance="apex"} 1
            uptime {instance="apex"} 273600
            cores {instance="apex"} 4
            cpu {instance="apex"} 0.1234
            load {instance="apex"} 4.5
            memory {instance="apex"} 0.5
            memory_total {instance="apex"} 34359738368
            fullest {instance="apex"} 0.96
            hottest {instance="apex"} 61.5
            os {instance="apex",pretty_name="Debian GNU/Linux 12 (bookworm)"} 1
            kernel {instance="apex",release="6.8.12-4-pve"} 1
            "#,
        );
        assert_eq!(
            plain(&table(&answers)),
            "\
NODE    STATE  SEEN  UPTIME     CPU  CORES  LOAD  MEMORY      OF  FULLEST  HOTTEST  SYSTEM                          KERNEL
apex    up       4s    3d4h  12.3 %      4   4.5    50 %  32 GiB     96 %  61.5 °C  Debian GNU/Linux 12 (bookworm)  6.8.12-4-pve
zenith  down     3h       -       -      -     -       -       -        -        -  -                               -
"
        );
    }

    #[test]
    fn up_means_heard_of_lately() {
        let answers = canned(
            "now {} 1000\nseen {instance=\"a\"} 990\nseen {instance=\"b\"} 500\n\
             seen {instance=\"c\"} 999\nup {instance=\"c\"} 0",
        );
        assert!(is_up(&answers, "a"));
        assert!(!is_up(&answers, "b"));
        assert!(!is_up(&answers, "c"), "it says itself that it is not");
    }
}
