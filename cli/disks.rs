//! `labstat disks`: every disk with what it says about itself.

use std::collections::BTreeSet;
use std::process::ExitCode;

use crate::answer::Found;
use crate::failure::Failure;
use crate::human::Unit;
use crate::table::{Cell, Column, Table, Tone};
use crate::view::{self, Answers, Questions, ViewArgs, at};

/// Shows every disk: health, temperature, wear, age, defects, traffic
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat disks                     all disks of all nodes
  labstat disks --node vertex
  labstat disks --format json       every column, numbers in base units

HEALTH is the disk's own judgement. READ AGO is shown once a reading is older than ten minutes:
a sleeping disk is not woken up to be read.")]
pub(crate) struct Disks {
    #[command(flatten)]
    view: ViewArgs,
}

/// Readings are taken every five minutes; one that is older than two of them is worth saying.
const READING_OLD_SECONDS: f64 = 600.0;

/// Wear at which to plan a replacement, and to do it.
const WEAR_WARN: f64 = 0.8;
const WEAR_BAD: f64 = 1.0;

/// Temperatures at which disks age fast, and leave their specification.
pub(crate) const DISK_HOT_WARN: f64 = 55.0;
/// See [`DISK_HOT_WARN`].
pub(crate) const DISK_HOT_BAD: f64 = 70.0;

pub(crate) const QUESTIONS: &Questions = &[
    ("info", "smartctl_device"),
    ("passed", "smartctl_device_smart_status"),
    ("critical", "smartctl_device_critical_warning"),
    ("temperature", "smartctl_device_temperature{temperature_type=\"current\"}"),
    ("used", "smartctl_device_percentage_used"),
    ("media", "smartctl_device_media_errors"),
    ("hours", "smartctl_device_power_on_seconds"),
    ("capacity", "smartctl_device_capacity_bytes"),
    // By number where all vendors agree, by name where only the name tells what is counted.
    ("raw", "smartctl_device_attribute{attribute_id=~\"5|197|198\", attribute_value_type=\"raw\"}"),
    (
        "life",
        "smartctl_device_attribute{attribute_name=~\"Wear_Leveling_Count|Media_Wearout_Indicator|\
         SSD_Life_Left|Percent_Lifetime_Remain|Percent_Lifetime_Used|Remaining_Lifetime_Perc\", \
         attribute_value_type=\"value\"}",
    ),
    ("success", "labstat_smart_read_success"),
    ("age", "time() - labstat_smart_last_success_timestamp_seconds"),
    ("mode", "labstat_smart_power_mode == 1"),
    ("known", "node_disk_info"),
    (
        "read",
        "rate(node_disk_read_bytes_total{device!~\"(dm-|md|rbd|loop|zram|sr|zd|drbd).*\"}[5m])",
    ),
    (
        "written",
        "rate(node_disk_written_bytes_total{device!~\"(dm-|md|rbd|loop|zram|sr|zd|drbd).*\"}[5m])",
    ),
];

impl Disks {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        view::show(&self.view, QUESTIONS, table)
    }
}

/// What a disk says of its own health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// It finds itself sound.
    Passed,
    /// It finds itself sound, and warns.
    Warns,
    /// It expects to fail.
    Failing,
    /// It does not sleep, and could not be read when that was last tried: what it said before that
    /// no longer counts, unless that was bad.
    Unread,
}

/// The disk a block device belongs to, as smartctl names it: `nvme0n1` is on `nvme0`.
fn disk_of(device: &str) -> &str {
    let Some(number) = device.strip_prefix("nvme") else { return device };
    let digits = number.bytes().take_while(u8::is_ascii_digit).count();
    match number.get(digits..) {
        Some(rest) if rest.starts_with('n') => device.get(..4 + digits).unwrap_or(device),
        _ => device,
    }
}

/// Every disk that smartctl or the kernel knows, as `(node, device)`.
pub(crate) fn disks(answers: &Answers) -> BTreeSet<(&str, &str)> {
    let named = ["info", "success", "read"].into_iter().flat_map(|name| answers.all(name));
    named.map(|found| (at(found), disk_of(found.label("device")))).collect()
}

/// Whether a disk has sectors that it cannot read now: pending ones, or those of its own scan.
pub(crate) fn has_lost_sectors(answers: &Answers, (node, device): (&str, &str)) -> bool {
    let raw = |id| {
        let here = [("instance", node), ("device", device), ("attribute_id", id)];
        answers.value("raw", &here)
    };
    [raw("197"), raw("198")].into_iter().flatten().any(|sectors| sectors > 0.0)
}

/// What a disk says of its own health; none when it does not say.
pub(crate) fn health(answers: &Answers, (node, device): (&str, &str)) -> Option<Health> {
    let here = [("instance", node), ("device", device)];
    let asleep = answers.with("mode", &here).next().is_some();
    let unread = answers.value("success", &here) == Some(0.0) && !asleep;
    match (answers.value("passed", &here), answers.value("critical", &here)) {
        (Some(0.0), _) => Some(Health::Failing),
        (_, Some(flags)) if flags > 0.0 => Some(Health::Warns),
        _ if unread => Some(Health::Unread),
        (Some(_), _) => Some(Health::Passed),
        (None, _) => None,
    }
}

fn table(answers: &Answers) -> Table {
    let mut table = Table::new(
        [
            Column::text("node", "NODE"),
            Column::text("device", "DISK"),
            Column::text("model", "MODEL"),
            Column::text("serial", "SERIAL").minor(5),
            Column::new("capacity_bytes", "SIZE", Unit::Bytes).minor(3),
            Column::text("health", "HEALTH"),
            Column::new("temperature_celsius", "TEMP", Unit::Celsius),
            Column::new("wear_ratio", "WEAR", Unit::Ratio),
            Column::new("power_on_seconds", "RUNNING", Unit::Seconds).minor(4),
            Column::new("reallocated_sectors", "REALLOC", Unit::Plain),
            Column::new("pending_sectors", "PENDING", Unit::Plain),
            Column::new("uncorrectable_errors", "UNCORR", Unit::Plain),
            Column::new("read_bytes_per_second", "READ", Unit::BytesPerSecond).minor(6),
            Column::new("written_bytes_per_second", "WRITE", Unit::BytesPerSecond).minor(6),
            Column::new("reading_age_seconds", "READ AGO", Unit::Seconds).minor(2),
        ],
        "No disks are known yet. `labstat doctor` says what is missing on a machine.",
    );
    for disk in disks(answers) {
        table.push(row(answers, disk));
    }
    table.worst_first()
}

fn row(answers: &Answers, disk: (&str, &str)) -> Vec<Cell> {
    let (node, device) = disk;
    let here = [("instance", node), ("device", device)];
    let number = |name| answers.value(name, &here);
    let raw = |id| answers.value("raw", &[here[0], here[1], ("attribute_id", id)]);
    let defects = |count: Option<f64>| Cell::number(count).limits(1.0, f64::INFINITY);
    vec![
        Cell::text(node),
        Cell::text(device),
        Cell::text_opt(word(answers, disk, "model_name", "model")),
        Cell::text_opt(word(answers, disk, "serial_number", "serial")),
        Cell::number(number("capacity")),
        health_cell(answers, disk),
        Cell::number(number("temperature")).limits(DISK_HOT_WARN, DISK_HOT_BAD),
        Cell::number(wear(answers, &here)).limits(WEAR_WARN, WEAR_BAD),
        Cell::number(number("hours")),
        defects(raw("5")),
        defects(raw("197")),
        defects(raw("198").or_else(|| number("media"))),
        Cell::number(traffic(answers, "read", disk)),
        Cell::number(traffic(answers, "written", disk)),
        Cell::number(number("age").filter(|age| *age > READING_OLD_SECONDS))
            .limits(READING_OLD_SECONDS, f64::INFINITY),
    ]
}

fn health_cell(answers: &Answers, disk: (&str, &str)) -> Cell {
    match health(answers, disk) {
        Some(Health::Passed) => Cell::text("passed").tone(Tone::Good),
        Some(Health::Warns) => Cell::text("warns").tone(Tone::Warn),
        Some(Health::Failing) => Cell::text("FAILING").tone(Tone::Bad),
        Some(Health::Unread) => Cell::text("unread").tone(Tone::Warn),
        None => {
            let here = [("instance", disk.0), ("device", disk.1)];
            let mode = answers.with("mode", &here).next().map(|found| found.label("mode"));
            // A disk that sleeps says nothing, and that is as it should be.
            Cell::text_opt(mode.filter(|mode| mode.starts_with("standby") || *mode == "sleep"))
        }
    }
}

/// A fact that smartctl knows under one name and the kernel under another.
fn word<'a>(
    answers: &'a Answers,
    (node, device): (&str, &str),
    smartctl: &str,
    kernel: &str,
) -> Option<&'a str> {
    let here = |name: &str, label: &str| -> Option<&'a str> {
        let mut found = answers
            .all(name)
            .iter()
            .filter(|found| at(found) == node && disk_of(found.label("device")) == device);
        found.next()?.labels.get(label).map(String::as_str).filter(|text| !text.is_empty())
    };
    here("info", smartctl).or_else(|| here("known", kernel))
}

/// Used life from 0 to 1 and beyond: NVMe says it, SATA disks say what is left.
fn wear(answers: &Answers, here: &[(&str, &str)]) -> Option<f64> {
    let used = answers.value("used", here).map(|percent| percent / 100.0);
    used.or_else(|| {
        let left = answers.value("life", here).filter(|left| (0.0..=100.0).contains(left))?;
        Some((100.0 - left) / 100.0)
    })
}

/// Traffic of all block devices on a disk.
fn traffic(answers: &Answers, name: &str, (node, device): (&str, &str)) -> Option<f64> {
    let on_it = answers
        .all(name)
        .iter()
        .filter(|found| at(found) == node && disk_of(found.label("device")) == device);
    let rates: Vec<f64> = on_it.filter_map(Found::value).collect();
    (!rates.is_empty()).then(|| rates.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::{canned, plain};

    #[test]
    fn namespaces_belong_to_their_controller() {
        for (device, disk) in [
            ("nvme0n1", "nvme0"),
            ("nvme10n2", "nvme10"),
            ("nvme0", "nvme0"),
            ("sda", "sda"),
            ("vda", "vda"),
            ("nvme", "nvme"),
        ] {
            assert_eq!(disk_of(device), disk);
        }
    }

    #[test]
    fn what_disks_say_and_what_they_do_not() {
        let answers = canned(
            r#"
            info {instance="vertex",device="nvme0",model_name="CT1000P3PSSD8",serial_number="2311E6"} 1
            info {instance="vertex",device="sda",model_name="WDC WD10EZEX",serial_number="WD-1"} 1
            passed {instance="vertex",device="nvme0"} 1
            critical {instance="vertex",device="nvme0"} 4
            passed {instance="vertex",device="sda"} 0
            temperature {instance="vertex",device="nvme0"} 61
            used {instance="vertex",device="nvme0"} 83
            media {instance="vertex",device="nvme0"} 0
            hours {instance="vertex",device="sda"} 158400000
            capacity {instance="vertex",device="sda"} 1000204886016
            raw {instance="vertex",device="sda",attribute_id="5"} 8
            raw {instance="vertex",device="sda",attribute_id="197"} 1
            age {instance="vertex",device="sda"} 7260
            read {instance="vertex",device="nvme0n1"} 1048576
            written {instance="vertex",device="nvme0n1"} 524288
            info {instance="nas",device="sda"} 1
            passed {instance="nas",device="sda"} 1
            info {instance="nas",device="sdb"} 1
            passed {instance="nas",device="sdb"} 1
            raw {instance="nas",device="sdb",attribute_id="5"} 16
            read {instance="vps",device="vda"} 0
            written {instance="vps",device="vda"} 2048
            "#,
        );
        assert_eq!(
            plain(&table(&answers)),
            "\
NODE    DISK   MODEL          SERIAL     SIZE  HEALTH    TEMP  WEAR  RUNNING  REALLOC  PENDING  UNCORR     READ      WRITE  READ AGO
vertex  sda    WDC WD10EZEX   WD-1    932 GiB  FAILING      -     -  1833d8h        8        1       -        -          -      2h1m
nas     sdb    -              -             -  passed       -     -        -       16        -       -        -          -         -
vertex  nvme0  CT1000P3PSSD8  2311E6        -  warns    61 °C  83 %        -        -        -       0  1 MiB/s  512 KiB/s         -
nas     sda    -              -             -  passed       -     -        -        -        -       -        -          -         -
vps     vda    -              -             -  -            -     -        -        -        -       -    0 B/s    2 KiB/s         -
"
        );
    }

    #[test]
    fn a_sleeping_disk_is_said_to_sleep() {
        let answers = canned(
            r#"
            info {instance="nas",device="sda"} 1
            mode {instance="nas",device="sda",mode="standby"} 1
            "#,
        );
        assert_eq!(health_cell(&answers, ("nas", "sda")), Cell::text("standby"));
    }

    #[test]
    fn a_disk_that_could_not_be_read_has_not_passed() {
        let answers = canned(
            r#"
            info {instance="nas",device="sda"} 1
            passed {instance="nas",device="sda"} 1
            success {instance="nas",device="sda"} 0
            passed {instance="nas",device="sdb"} 0
            success {instance="nas",device="sdb"} 0
            passed {instance="nas",device="sdc"} 1
            success {instance="nas",device="sdc"} 0
            mode {instance="nas",device="sdc",mode="standby"} 1
            success {instance="nas",device="nvme1"} 0
            "#,
        );
        let of = |device| health(&answers, ("nas", device));
        assert_eq!(of("sda"), Some(Health::Unread), "it passed before that");
        assert_eq!(of("sdb"), Some(Health::Failing), "its last word was bad enough");
        assert_eq!(of("sdc"), Some(Health::Passed), "it sleeps");
        assert_eq!(of("nvme1"), Some(Health::Unread));
        assert!(disks(&answers).contains(&("nas", "nvme1")), "gone, and still shown");
    }

    #[test]
    fn sata_wear_is_what_is_no_longer_left() {
        let answers = canned(r#"life {instance="nas",device="sda"} 97"#);
        assert_eq!(wear(&answers, &[("device", "sda")]), Some(0.03));
        let answers = canned(r#"life {instance="nas",device="sda"} 200"#);
        assert_eq!(wear(&answers, &[("device", "sda")]), None, "not a percentage");
    }
}
