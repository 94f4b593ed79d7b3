//! `labstat temps`: every temperature in the lab, hottest first.

use std::process::ExitCode;

use crate::answer::Found;
use crate::disks::{DISK_HOT_BAD, DISK_HOT_WARN};
use crate::failure::Failure;
use crate::human::Unit;
use crate::nodes::{HOT_BAD, HOT_WARN};
use crate::table::{Cell, Column, Table};
use crate::view::{self, Answers, Questions, ViewArgs, at};

/// Shows every temperature, hottest first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat temps                     chips, zones and disks of all nodes
  labstat temps --node apex         of one node
  labstat temps --format csv        for a spreadsheet")]
pub(crate) struct Temps {
    #[command(flatten)]
    view: ViewArgs,
}

/// Above this a limit is a placeholder: NVMe drives say 65261.85 °C where they have none.
const LIMIT_MAX: f64 = 150.0;

pub(crate) const QUESTIONS: &Questions = &[
    ("hwmon", "node_hwmon_temp_celsius"),
    ("label", "node_hwmon_sensor_label"),
    ("chip", "node_hwmon_chip_names"),
    ("max", "node_hwmon_temp_max_celsius"),
    ("crit", "node_hwmon_temp_crit_celsius"),
    ("zone", "node_thermal_zone_temp"),
    ("disk", "smartctl_device_temperature{temperature_type=\"current\"}"),
    ("trip", "smartctl_device_temperature{temperature_type=~\"drive_trip|op_limit_max\"}"),
    ("model", "smartctl_device"),
];

impl Temps {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        view::show(&self.view, QUESTIONS, table)
    }
}

/// One sensor, as a row.
struct Reading {
    node: String,
    source: String,
    sensor: String,
    celsius: f64,
    max: Option<f64>,
    critical: Option<f64>,
    /// Where nothing is said of a limit: what is too much for things of its kind.
    usual: (f64, f64),
}

fn table(answers: &Answers) -> Table {
    let mut table = Table::new(
        [
            Column::text("node", "NODE"),
            Column::text("source", "SOURCE"),
            Column::text("sensor", "SENSOR"),
            Column::new("temperature_celsius", "TEMP", Unit::Celsius),
            Column::new("max_celsius", "MAX", Unit::Celsius).minor(2),
            Column::new("critical_celsius", "CRITICAL", Unit::Celsius).minor(1),
        ],
        "No node tells a temperature. Virtual machines have no sensors; disks need smartctl.",
    );
    let mut readings: Vec<Reading> = readings(answers);
    readings.sort_by(|a, b| b.celsius.total_cmp(&a.celsius).then_with(|| a.node.cmp(&b.node)));
    for reading in readings {
        let warn = reading.max.unwrap_or(reading.usual.0);
        let bad = reading.critical.unwrap_or(reading.usual.1);
        table.push(vec![
            Cell::text(reading.node),
            Cell::text(reading.source),
            Cell::text(reading.sensor),
            Cell::number(Some(reading.celsius)).limits(warn, bad),
            Cell::number(reading.max),
            Cell::number(reading.critical),
        ]);
    }
    table
}

fn readings(answers: &Answers) -> Vec<Reading> {
    let of = |name, read: fn(&Answers, &Found, f64) -> Reading| {
        answers.all(name).iter().filter_map(move |found| Some(read(answers, found, known(found)?)))
    };
    of("hwmon", hwmon).chain(of("zone", zone)).chain(of("disk", disk)).collect()
}

fn known(found: &Found) -> Option<f64> {
    found.value().filter(|value| value.is_finite())
}

fn hwmon(answers: &Answers, found: &Found, celsius: f64) -> Reading {
    let chip = [("instance", at(found)), ("chip", found.label("chip"))];
    let sensor = [chip[0], chip[1], ("sensor", found.label("sensor"))];
    let limit =
        |name| answers.value(name, &sensor).filter(|limit| (1.0..LIMIT_MAX).contains(limit));
    let name = answers.with("chip", &chip).next().map_or("", |found| found.label("chip_name"));
    let label = answers.with("label", &sensor).next().map_or("", |found| found.label("label"));
    // A machine has several chips of one make, such as one in each NVMe drive.
    let same = answers.with("chip", &[chip[0], ("chip_name", name)]).count();
    let source = match same {
        0 | 1 => first_of(name, found.label("chip")),
        _ => format!("{name} {}", found.label("chip")),
    };
    Reading {
        node: at(found).to_owned(),
        source,
        sensor: first_of(label, found.label("sensor")),
        celsius,
        max: limit("max"),
        critical: limit("crit"),
        usual: (HOT_WARN, HOT_BAD),
    }
}

fn zone(_: &Answers, found: &Found, celsius: f64) -> Reading {
    Reading {
        node: at(found).to_owned(),
        source: "thermal zone".to_owned(),
        sensor: format!("{} {}", found.label("type"), found.label("zone")).trim().to_owned(),
        celsius,
        max: None,
        critical: None,
        usual: (HOT_WARN, HOT_BAD),
    }
}

fn disk(answers: &Answers, found: &Found, celsius: f64) -> Reading {
    let here = [("instance", at(found)), ("device", found.label("device"))];
    let limit = |kind| {
        let labels = [here[0], here[1], ("temperature_type", kind)];
        answers.value("trip", &labels).filter(|limit| (1.0..LIMIT_MAX).contains(limit))
    };
    let model = answers.with("model", &here).next().map_or("", |found| found.label("model_name"));
    Reading {
        node: at(found).to_owned(),
        source: format!("disk {}", found.label("device")),
        sensor: model.to_owned(),
        celsius,
        max: limit("op_limit_max"),
        critical: limit("drive_trip"),
        usual: (DISK_HOT_WARN, DISK_HOT_BAD),
    }
}

fn first_of(wanted: &str, otherwise: &str) -> String {
    if wanted.is_empty() { otherwise.to_owned() } else { wanted.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Format, Look};
    use crate::view::tests::{canned, plain};

    #[test]
    fn hottest_first_with_names_people_know() {
        let answers = canned(
            r#"
            hwmon {instance="apex",chip="nvme_nvme0",sensor="temp1"} 58.85
            hwmon {instance="apex",chip="platform_coretemp_0",sensor="temp1"} 71
            hwmon {instance="apex",chip="x",sensor="temp9"} NaN
            label {instance="apex",chip="platform_coretemp_0",sensor="temp1",label="Package id 0"} 1
            chip {instance="apex",chip="nvme_nvme0",chip_name="nvme"} 1
            chip {instance="nas",chip="nvme_nvme0",chip_name="nvme"} 1
            chip {instance="nas",chip="nvme_nvme1",chip_name="nvme"} 1
            hwmon {instance="nas",chip="nvme_nvme0",sensor="temp1"} 50
            hwmon {instance="nas",chip="nvme_nvme1",sensor="temp1"} 49
            max {instance="apex",chip="nvme_nvme0",sensor="temp1"} 65261.85
            crit {instance="apex",chip="platform_coretemp_0",sensor="temp1"} 100
            zone {instance="nas",type="acpitz",zone="0"} 27.8
            disk {instance="nas",device="sda",temperature_type="current"} 34
            trip {instance="nas",device="sda",temperature_type="drive_trip"} 70
            model {instance="nas",device="sda",model_name="Samsung SSD 870 EVO 1TB"} 1
            "#,
        );
        assert_eq!(
            plain(&table(&answers)),
            "\
NODE  SOURCE               SENSOR                      TEMP  MAX  CRITICAL
apex  platform_coretemp_0  Package id 0               71 °C    -    100 °C
apex  nvme                 temp1                    58.9 °C    -         -
nas   nvme nvme_nvme0      temp1                      50 °C    -         -
nas   nvme nvme_nvme1      temp1                      49 °C    -         -
nas   disk sda             Samsung SSD 870 EVO 1TB    34 °C    -     70 °C
nas   thermal zone         acpitz 0                 27.8 °C    -         -
"
        );
    }

    #[test]
    fn a_disk_is_hot_sooner_than_a_chip() {
        let answers = canned(
            r#"
            hwmon {instance="apex",chip="cpu",sensor="temp1"} 72
            disk {instance="apex",device="nvme0",temperature_type="current"} 71
            "#,
        );
        let look = Look { colour: true, width: None, zone: jiff::tz::TimeZone::UTC };
        let text = table(&answers).render(Format::Table, &look);
        let (chip, disk) = (text.lines().nth(1).unwrap(), text.lines().nth(2).unwrap());
        assert!(!chip.contains("\u{1b}["), "{chip:?}");
        assert!(disk.contains("\u{1b}["), "{disk:?}");
    }
}
