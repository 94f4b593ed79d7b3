//! `labstat temps`: every temperature and fan in the lab, what is over its limit first, then each node
//! with its hottest part first.

use std::collections::BTreeMap;
use std::process::ExitCode;

use crate::answer::Found;
use crate::disks::{DISK_HOT_BAD, DISK_HOT_WARN};
use crate::failure::Failure;
use crate::human::Unit;
use crate::nodes::{HOT_BAD, HOT_WARN};
use crate::table::{Cell, Column, Table, Tone};
use crate::view::{self, Answers, Questions, ViewArgs, at};

/// Shows every temperature and fan: what is over its limit first, then node by node
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat temps                     chips, zones, disks and fans of all nodes
  labstat temps --by-kind           the hottest disk, processor, board … of each node
  labstat temps --node apex         of one node
  labstat temps --format csv        for a spreadsheet

MARGIN is what is left to the first of the part's own limits; 1H is the change within the last hour.")]
pub(crate) struct Temps {
    /// Show one part of each kind and node only: one that is over its limit, or the hottest
    #[arg(long)]
    by_kind: bool,

    #[command(flatten)]
    view: ViewArgs,
}

/// Above this a limit is a placeholder: NVMe drives say 65261.85 °C where they have none, chips with
/// eight bits 127.
const LIMIT_MAX: f64 = 127.0;

/// Below this a limit is a placeholder or one of humidity.
const LIMIT_MIN: f64 = 20.0;

/// A change by this much within an hour is one; sensors tell whole degrees.
const CHANGE_MIN: f64 = 2.0;

pub(crate) const QUESTIONS: &Questions = &[
    ("hwmon", "node_hwmon_temp_celsius"),
    ("hwmon_before", "avg_over_time(node_hwmon_temp_celsius[5m] offset 55m)"),
    ("label", "node_hwmon_sensor_label"),
    ("chip", "node_hwmon_chip_names"),
    ("info", "labstat_thermal_sensor_info"),
    ("max", "node_hwmon_temp_max_celsius"),
    ("crit", "node_hwmon_temp_crit_celsius"),
    ("zone", "node_thermal_zone_temp"),
    ("zone_before", "avg_over_time(node_thermal_zone_temp[5m] offset 55m)"),
    ("disk", "smartctl_device_temperature{temperature_type=\"current\"}"),
    (
        "disk_before",
        "avg_over_time(smartctl_device_temperature{temperature_type=\"current\"}[5m] offset 55m)",
    ),
    ("trip", "smartctl_device_temperature{temperature_type=~\"drive_trip|op_limit_max\"}"),
    ("warning", "labstat_smart_temperature_limit_celsius"),
    ("model", "smartctl_device"),
    ("fan", "node_hwmon_fan_rpm"),
    ("fan_turned", "max_over_time(node_hwmon_fan_rpm[1h])"),
    // The rule knows a fan that has failed from one that stands still because it is cool.
    ("fan_stopped", "ALERTS{alertname=\"FanStopped\"}"),
];

impl Temps {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        view::show(&self.view, QUESTIONS, |answers| table(answers, self.by_kind))
    }
}

/// One sensor, as a row.
struct Reading {
    node: String,
    kind: String,
    source: String,
    sensor: String,
    device: String,
    serial: String,
    what: What,
}

/// What it reads.
enum What {
    Heat {
        celsius: f64,
        max: Option<f64>,
        critical: Option<f64>,
        /// An hour ago.
        before: Option<f64>,
        /// Where nothing is said of a limit: what is too much for things of its kind.
        usual: (f64, f64),
    },
    Fan {
        rpm: f64,
        /// It should turn and does not.
        stopped: bool,
    },
}

impl Reading {
    /// Degrees, for what has any.
    fn celsius(&self) -> Option<f64> {
        match self.what {
            What::Heat { celsius, .. } => Some(celsius),
            What::Fan { .. } => None,
        }
    }

    /// What is left to the first of its own limits.
    fn margin(&self) -> Option<f64> {
        match self.what {
            What::Heat { celsius, max, critical, .. } => {
                let first = max.into_iter().chain(critical).reduce(f64::min)?;
                Some(first - celsius)
            }
            What::Fan { .. } => None,
        }
    }

    fn is_over(&self) -> bool {
        self.margin().is_some_and(|margin| margin <= 0.0)
            || matches!(self.what, What::Fan { stopped: true, .. })
    }

    fn row(self) -> Vec<Cell> {
        let margin = self.margin();
        let names = [self.node, self.kind, self.source, self.sensor].map(Cell::text);
        let tied = [self.device, self.serial]
            .map(|text| Cell::text_opt(Some(text).filter(|text| !text.is_empty())));
        let none = || Cell::number(None);
        let values = match self.what {
            What::Heat { celsius, max, critical, before, usual } => {
                let change = before.map(|before| celsius - before);
                [
                    Cell::number(Some(celsius))
                        .limits(max.unwrap_or(usual.0), critical.unwrap_or(usual.1)),
                    Cell::number(max),
                    Cell::number(critical),
                    Cell::number(margin),
                    Cell::number(change),
                    Cell::text_opt(change.map(trend)),
                    none(),
                ]
            }
            What::Fan { rpm, stopped } => {
                let (word, tone) = match stopped {
                    true => (Some("stopped"), Tone::Bad),
                    false if rpm == 0.0 => (Some("at rest"), Tone::Plain),
                    false => (None, Tone::Plain),
                };
                let [a, b, c, d, e] = [none(), none(), none(), none(), none()];
                [a, b, c, d, e, Cell::text_opt(word).tone(tone), Cell::number(Some(rpm)).tone(tone)]
            }
        };
        names.into_iter().chain(tied).chain(values).collect()
    }
}

fn trend(change: f64) -> &'static str {
    if change >= CHANGE_MIN {
        "▲ rising"
    } else if change <= -CHANGE_MIN {
        "▼ falling"
    } else {
        "steady"
    }
}

fn table(answers: &Answers, by_kind: bool) -> Table {
    let mut table = Table::new(
        [
            Column::text("node", "NODE"),
            Column::text("kind", "KIND"),
            Column::text("source", "SOURCE").minor(2),
            Column::text("sensor", "SENSOR"),
            Column::text("device", "DEVICE"),
            Column::text("serial_number", "SERIAL").minor(6),
            Column::new("temperature_celsius", "TEMP", Unit::Celsius),
            Column::new("max_celsius", "MAX", Unit::Celsius).minor(5),
            Column::new("critical_celsius", "CRITICAL", Unit::Celsius).minor(4),
            Column::new("margin_celsius", "MARGIN", Unit::Celsius).minor(1),
            Column::new("change_last_hour_celsius", "1H", Unit::Celsius).minor(3),
            Column::text("trend", "TREND"),
            Column::new("fan_rpm", "RPM", Unit::Plain),
        ],
        "No node tells a temperature. Virtual machines have no sensors; disks need smartctl.",
    );
    let mut readings = readings(answers);
    let mut hottest = BTreeMap::<String, f64>::new();
    for (reading, celsius) in readings.iter().filter_map(|it| Some((it, it.celsius()?))) {
        let most = hottest.entry(reading.node.clone()).or_insert(celsius);
        *most = most.max(celsius);
    }
    let of_node = |node: &str| hottest.get(node).copied().unwrap_or(f64::NEG_INFINITY);
    let cold = |reading: &Reading| reading.celsius().unwrap_or(f64::NEG_INFINITY);
    readings.sort_by(|a, b| {
        (b.is_over().cmp(&a.is_over()))
            .then_with(|| of_node(&b.node).total_cmp(&of_node(&a.node)))
            .then_with(|| a.node.cmp(&b.node))
            .then_with(|| cold(b).total_cmp(&cold(a)))
    });
    let mut seen = std::collections::BTreeSet::new();
    for reading in readings {
        let is_first = seen.insert((reading.node.clone(), reading.kind.clone()));
        if !by_kind || (is_first && reading.celsius().is_some()) {
            table.push(reading.row());
        }
    }
    table
}

fn readings(answers: &Answers) -> Vec<Reading> {
    let of = |name, read: fn(&Answers, &Found, f64) -> Option<Reading>| {
        answers.all(name).iter().filter_map(move |found| read(answers, found, known(found)?))
    };
    of("hwmon", hwmon)
        .chain(of("zone", zone))
        .chain(of("disk", disk))
        .chain(of("fan", fan))
        .collect()
}

fn known(found: &Found) -> Option<f64> {
    found.value().filter(|value| value.is_finite())
}

/// A limit that is one.
fn plausible(limit: Option<f64>) -> Option<f64> {
    limit.filter(|limit| (LIMIT_MIN..LIMIT_MAX).contains(limit))
}

/// What people call the chip of a sensor, and the sensor.
fn names(answers: &Answers, found: &Found) -> (String, String) {
    let chip = [("instance", at(found)), ("chip", found.label("chip"))];
    let sensor = [chip[0], chip[1], ("sensor", found.label("sensor"))];
    let name = answers.with("chip", &chip).next().map_or("", |found| found.label("chip_name"));
    let label = answers.with("label", &sensor).next().map_or("", |found| found.label("label"));
    // A machine has several chips of one make, such as one in each NVMe drive.
    let same = answers.with("chip", &[chip[0], ("chip_name", name)]).count();
    let source = match same {
        0 | 1 => first_of(name, found.label("chip")),
        _ => format!("{name} {}", found.label("chip")),
    };
    (source, first_of(label, found.label("sensor")))
}

fn hwmon(answers: &Answers, found: &Found, celsius: f64) -> Option<Reading> {
    let sensor =
        [("instance", at(found)), ("chip", found.label("chip")), ("sensor", found.label("sensor"))];
    let limit = |name| plausible(answers.value(name, &sensor));
    let info = answers.with("info", &sensor).next();
    let of_info = |name: &str| info.map_or("", |info| info.label(name)).to_owned();
    let (source, name) = names(answers, found);
    let device = of_info("device");
    let model = [("instance", at(found)), ("device", device.as_str())];
    let model = answers.with("model", &model).next().map_or("", |found| found.label("model_name"));
    let is_disk = ["disk", "nvme"].contains(&of_info("kind").as_str());
    Some(Reading {
        node: at(found).to_owned(),
        kind: of_info("kind"),
        source: if is_disk { first_of(model, &source) } else { source },
        sensor: name,
        serial: of_info("serial"),
        what: What::Heat {
            celsius,
            max: limit("max"),
            critical: limit("crit"),
            before: answers.value("hwmon_before", &sensor),
            usual: if is_disk { (DISK_HOT_WARN, DISK_HOT_BAD) } else { (HOT_WARN, HOT_BAD) },
        },
        device,
    })
}

fn zone(answers: &Answers, found: &Found, celsius: f64) -> Option<Reading> {
    let (sort, zone) = (found.label("type"), found.label("zone"));
    let here = [("instance", at(found)), ("type", sort), ("zone", zone)];
    Some(Reading {
        node: at(found).to_owned(),
        kind: "zone".to_owned(),
        source: "thermal zone".to_owned(),
        sensor: format!("{sort} {zone}").trim().to_owned(),
        device: String::new(),
        serial: String::new(),
        what: What::Heat {
            celsius,
            max: None,
            critical: None,
            before: answers.value("zone_before", &here),
            usual: (HOT_WARN, HOT_BAD),
        },
    })
}

/// What smartctl says of a disk, unless the kernel tells its temperature, which is newer.
fn disk(answers: &Answers, found: &Found, celsius: f64) -> Option<Reading> {
    let here = [("instance", at(found)), ("device", found.label("device"))];
    let is_told = answers.with("info", &here).any(|info| {
        let sensor = ["chip", "sensor"].map(|name| (name, info.label(name)));
        answers.with("hwmon", &[here[0], sensor[0], sensor[1]]).next().is_some()
    });
    if is_told {
        return None;
    }
    let of_kind = |kind| {
        let labels = [here[0], here[1], ("temperature_type", kind)];
        plausible(answers.value("trip", &labels))
    };
    let own = |limit| plausible(answers.value("warning", &[here[0], here[1], ("limit", limit)]));
    let model = answers.with("model", &here).next();
    let of_model = |name: &str| model.map_or("", |found| found.label(name));
    let is_nvme = found.label("device").starts_with("nvme");
    Some(Reading {
        node: at(found).to_owned(),
        kind: if is_nvme { "nvme" } else { "disk" }.to_owned(),
        source: first_of(of_model("model_name"), "disk"),
        sensor: "SMART".to_owned(),
        device: found.label("device").to_owned(),
        serial: of_model("serial_number").to_owned(),
        what: What::Heat {
            celsius,
            max: of_kind("op_limit_max").or_else(|| own("warning")),
            critical: of_kind("drive_trip").or_else(|| own("critical")).or_else(|| own("max")),
            before: answers.value("disk_before", &here),
            usual: (DISK_HOT_WARN, DISK_HOT_BAD),
        },
    })
}

fn fan(answers: &Answers, found: &Found, rpm: f64) -> Option<Reading> {
    let here =
        [("instance", at(found)), ("chip", found.label("chip")), ("sensor", found.label("sensor"))];
    let turned = answers.value("fan_turned", &here).is_some_and(|most| most > 0.0);
    let stopped = rpm == 0.0 && answers.with("fan_stopped", &here).next().is_some();
    // Boards have places for more fans than there are.
    if rpm == 0.0 && !turned && !stopped {
        return None;
    }
    let (source, sensor) = names(answers, found);
    Some(Reading {
        node: at(found).to_owned(),
        kind: "fan".to_owned(),
        source,
        sensor,
        device: String::new(),
        serial: String::new(),
        what: What::Fan { rpm, stopped },
    })
}

fn first_of(wanted: &str, otherwise: &str) -> String {
    if wanted.is_empty() { otherwise.to_owned() } else { wanted.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Format, Look};
    use crate::view::tests::{canned, plain};

    const LAB: &str = r#"
        hwmon {instance="apex",chip="nvme_nvme0",sensor="temp1"} 58.85
        hwmon_before {instance="apex",chip="nvme_nvme0",sensor="temp1"} 52.85
        info {instance="apex",chip="nvme_nvme0",sensor="temp1",kind="nvme",device="nvme0",serial="S6B0"} 1
        disk {instance="apex",device="nvme0",temperature_type="current"} 58
        model {instance="apex",device="nvme0",model_name="Samsung SSD 980 1TB"} 1
        hwmon {instance="apex",chip="platform_coretemp_0",sensor="temp1"} 71
        hwmon_before {instance="apex",chip="platform_coretemp_0",sensor="temp1"} 70
        info {instance="apex",chip="platform_coretemp_0",sensor="temp1",kind="cpu"} 1
        hwmon {instance="apex",chip="x",sensor="temp9"} NaN
        label {instance="apex",chip="platform_coretemp_0",sensor="temp1",label="Package id 0"} 1
        chip {instance="apex",chip="nvme_nvme0",chip_name="nvme"} 1
        chip {instance="nas",chip="nvme_nvme0",chip_name="nvme"} 1
        chip {instance="nas",chip="nvme_nvme1",chip_name="nvme"} 1
        hwmon {instance="nas",chip="nvme_nvme0",sensor="temp1"} 50
        hwmon {instance="nas",chip="nvme_nvme1",sensor="temp1"} 49
        max {instance="nas",chip="nvme_nvme1",sensor="temp1"} 44.85
        max {instance="apex",chip="nvme_nvme0",sensor="temp1"} 65261.85
        crit {instance="apex",chip="platform_coretemp_0",sensor="temp1"} 100
        zone {instance="nas",type="acpitz",zone="0"} 27.8
        zone_before {instance="nas",type="acpitz",zone="0"} 31.8
        disk {instance="nas",device="sda",temperature_type="current"} 34
        trip {instance="nas",device="sda",temperature_type="drive_trip"} 70
        model {instance="nas",device="sda",model_name="Samsung SSD 870 EVO 1TB",serial_number="S5Y1"} 1
        fan {instance="apex",chip="nct",sensor="fan1"} 1171
        fan {instance="apex",chip="nct",sensor="fan2"} 0
        fan_turned {instance="apex",chip="nct",sensor="fan2"} 0
        fan {instance="nas",chip="nct",sensor="fan1"} 0
        fan_stopped {instance="nas",chip="nct",sensor="fan1",alertstate="firing"} 1
        fan {instance="nas",chip="gpu",sensor="fan1"} 0
        fan_turned {instance="nas",chip="gpu",sensor="fan1"} 1500
    "#;

    #[test]
    fn what_is_over_its_limit_first_then_each_node_with_names_people_know() {
        assert_eq!(
            plain(&table(&canned(LAB), false)),
            "\
NODE  KIND  SOURCE                   SENSOR        DEVICE  SERIAL     TEMP      MAX  CRITICAL   MARGIN     1H  TREND       RPM
nas   -     nvme nvme_nvme1          temp1         -       -         49 °C  44.9 °C         -  -4.1 °C      -  -             -
nas   fan   nct                      fan1          -       -             -        -         -        -      -  stopped       0
apex  cpu   platform_coretemp_0      Package id 0  -       -         71 °C        -    100 °C    29 °C   1 °C  steady        -
apex  nvme  Samsung SSD 980 1TB      temp1         nvme0   S6B0    58.9 °C        -         -        -   6 °C  ▲ rising      -
apex  fan   nct                      fan1          -       -             -        -         -        -      -  -          1171
nas   -     nvme nvme_nvme0          temp1         -       -         50 °C        -         -        -      -  -             -
nas   disk  Samsung SSD 870 EVO 1TB  SMART         sda     S5Y1      34 °C        -     70 °C    36 °C      -  -             -
nas   zone  thermal zone             acpitz 0      -       -       27.8 °C        -         -        -  -4 °C  ▼ falling     -
nas   fan   gpu                      fan1          -       -             -        -         -        -      -  at rest       0
"
        );
    }

    #[test]
    fn one_of_each_kind() {
        assert_eq!(
            plain(&table(&canned(LAB), true)),
            "\
NODE  KIND  SOURCE                   SENSOR        DEVICE  SERIAL     TEMP      MAX  CRITICAL   MARGIN     1H  TREND      RPM
nas   -     nvme nvme_nvme1          temp1         -       -         49 °C  44.9 °C         -  -4.1 °C      -  -            -
apex  cpu   platform_coretemp_0      Package id 0  -       -         71 °C        -    100 °C    29 °C   1 °C  steady       -
apex  nvme  Samsung SSD 980 1TB      temp1         nvme0   S6B0    58.9 °C        -         -        -   6 °C  ▲ rising     -
nas   disk  Samsung SSD 870 EVO 1TB  SMART         sda     S5Y1      34 °C        -     70 °C    36 °C      -  -            -
nas   zone  thermal zone             acpitz 0      -       -       27.8 °C        -         -        -  -4 °C  ▼ falling    -
"
        );
    }

    #[test]
    fn a_trend_needs_two_degrees_and_an_hour() {
        assert_eq!([trend(2.0), trend(1.9), trend(-2.5)], ["▲ rising", "steady", "▼ falling"]);
        let answers = canned("hwmon {instance=\"a\",chip=\"c\",sensor=\"temp1\"} 40");
        let json = table(&answers, false).render(Format::Json, &view::look());
        assert!(json.contains("\"trend\":null"), "{json}");
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
        let text = table(&answers, false).render(Format::Table, &look);
        let (chip, disk) = (text.lines().nth(1).unwrap(), text.lines().nth(2).unwrap());
        assert!(!chip.contains("\u{1b}["), "{chip:?}");
        assert!(disk.contains("\u{1b}["), "{disk:?}");
    }
}
