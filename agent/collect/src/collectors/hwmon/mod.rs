//! Sensors of the chips of a machine.
//!
//! - Reads: `/sys/class/hwmon/*`, through [`Host::read_all`], since a sensor may sit behind a slow
//!   bus or ask a device. Limits, settings and labels are read once a minute and when chips come or
//!   go, the readings in every round.
//! - Absent when the folder is missing or empty (most virtual machines).
//! - Emits: `node_hwmon_*` as named in [`name`], [`INFO`] for each sensor of a temperature,
//!   [`LEFT_OUT`] for each whose reading is none, and [`HIGHEST`]. A sensor that gives an error is left out, and so is a temperature that says of
//!   itself that it is at fault or that is none ([`is_temperature`]); the others stay.
//! - A disk that turns is asked for its temperature only while others use it ([`rest`]).
//! - Not here: thermal zones ([`super::thermal_zone`]), what smartctl says of a disk.

mod name;
mod part;
mod rest;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use labstat_model::{Batch, Family};
use labstat_parse::proc::{float, trimmed};

use self::name::{File, clean};
use self::part::{Kind, Part};
use self::rest::Rest;
use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;
use crate::options::Patience;
use crate::shared::{Freshness, KEPT_MS};

const HWMON: &str = "/sys/class/hwmon";

/// Chips of one machine.
const CHIPS_MAX: usize = 1024;

static CHIP_NAMES: Family =
    Family::gauge("node_hwmon_chip_names", "Annotation metric for human-readable chip names.");
static LABEL: Family = Family::gauge("node_hwmon_sensor_label", "Label for given chip and sensor.");

/// What a sensor of a temperature measures.
pub static INFO: Family = Family::gauge(
    "labstat_thermal_sensor_info",
    "The part of the machine that a sensor measures: what kind it is, its name, and the serial number of a disk; always 1.",
);
/// Which sensors are left out, and why: `fault` (it says so itself), `nonsense`
/// ([`is_temperature`]), or `error` (it could not be read).
pub static LEFT_OUT: Family = Family::gauge(
    "labstat_thermal_sensor_left_out_info",
    "A sensor of a temperature whose reading is none, and why; always 1.",
);
/// The hottest sensor of each kind.
pub static HIGHEST: Family = Family::gauge(
    "labstat_thermal_max_celsius",
    "The highest temperature that a sensor of this kind reads.",
);

/// Sensors of chips.
#[derive(Debug, Default)]
pub struct Hwmon {
    /// Names of the chips' folders when they were looked at last.
    entries: Vec<String>,
    scanned: Freshness,
    patience: Patience,
    /// What does not change by itself: names, labels, limits.
    fixed: Batch,
    /// What is read in every round: path and sensor, in one order.
    paths: Vec<String>,
    sensors: Vec<Sensor>,
    disks: Vec<Rest>,
    bytes: Vec<u8>,
}

/// One value that is read in every round.
#[derive(Debug)]
struct Sensor {
    family: Family,
    divisor: f64,
    chip: Arc<str>,
    sensor: Arc<str>,
    /// For the reading of a temperature: what it is the temperature of.
    kind: Option<Kind>,
    /// Where among the sensors the flag stands that says that this one is broken.
    fault: Option<usize>,
    /// Which of the disks must be in use for this to be read.
    disk: Option<usize>,
}

impl Collector for Hwmon {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let entries = match host.list(HWMON) {
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            result => result.map_err(CollectError::read(HWMON))?,
        };
        if entries.len() > CHIPS_MAX {
            let count = entries.len();
            return Err(CollectError::Limit { what: "hwmon chips", count, max: CHIPS_MAX });
        }
        let now_ms = host.now_ms();
        if entries != self.entries || !self.scanned.lasts(KEPT_MS, now_ms) {
            self.scan(host, entries);
            self.scanned.renew(now_ms);
        }
        if self.entries.is_empty() {
            return Ok(Status::Absent);
        }
        out.append(&self.fixed);
        self.push_readings(host, now_ms, out);
        Ok(Status::Collected)
    }
}

impl Hwmon {
    /// One that waits for sensors no longer than this.
    pub fn new(patience: Patience) -> Self {
        Self { patience, ..Self::default() }
    }

    /// Looks at all chips anew.
    fn scan(&mut self, host: &dyn Host, entries: Vec<String>) {
        let before = std::mem::take(&mut self.disks);
        self.fixed.clear();
        self.paths.clear();
        self.sensors.clear();
        let mut chips: Vec<Chip> = entries.iter().map(|entry| Chip::find(host, entry)).collect();
        // Two devices of one name under different parents: the number keeps them apart.
        let mut counts = BTreeMap::<Arc<str>, usize>::new();
        for chip in &chips {
            *counts.entry(Arc::clone(&chip.name)).or_default() += 1;
        }
        for (chip, entry) in chips.iter_mut().zip(&entries) {
            if counts.get(&chip.name).is_some_and(|count| *count > 1) {
                chip.name = format!("{}_{entry}", chip.name).into();
            }
            if !chip.driver.is_empty() {
                let labels = [("chip", &*chip.name), ("chip_name", &chip.driver)];
                self.fixed.push(&CHIP_NAMES, &labels, 1.0);
            }
        }
        let mut values = Vec::new();
        for chip in &chips {
            self.add(host, chip, &before, &mut values);
        }
        // Samples of one family in a row are cheaper to push; the sensors know their places.
        values.sort_by(|a, b| (&a.family.name, &a.chip).cmp(&(&b.family.name, &b.chip)));
        for value in values {
            let labels = [("chip", &*value.chip), ("sensor", &*value.sensor)];
            self.fixed.push(&value.family, &labels, value.number);
        }
        self.entries = entries;
    }

    /// Takes in a chip: what is fixed into `fixed` and `values`, the rest into the list of sensors.
    fn add(&mut self, host: &dyn Host, chip: &Chip, before: &[Rest], values: &mut Vec<Fixed>) {
        let part = Part::find(host, &chip.driver, &chip.device);
        let disk = match part.kind {
            Kind::Disk => Rest::of(host, part.block.as_deref()).map(|mut rest| {
                rest.carry_on(before);
                self.disks.push(rest);
                self.disks.len() - 1
            }),
            _ => None,
        };
        let fixed: Vec<(&String, File<'_>)> =
            chip.files().filter(|(_, f)| !f.is_reading()).collect();
        let paths: Vec<String> = fixed.iter().map(|(path, _)| (*path).clone()).collect();
        let mut labels = BTreeMap::new();
        for ((_, file), bytes) in fixed.iter().zip(read(host, self.patience, &paths)) {
            let Ok(bytes) = bytes else { continue };
            if file.element == "label" {
                let label = String::from_utf8_lossy(&bytes).trim_matches('\n').to_owned();
                labels.insert((file.kind, file.number), label);
            } else if let Some((family, divisor)) = file.family(chip.has_bare(*file))
                && let Some(number) = float(trimmed(&bytes))
            {
                let (chip, sensor) = (Arc::clone(&chip.name), file.sensor().into());
                values.push(Fixed { family, chip, sensor, number: number / divisor });
            }
        }
        let known = [("chip", &*chip.name)];
        for ((kind, number), label) in &labels {
            let sensor = format!("{kind}{number}");
            self.fixed.push(&LABEL, &[known[0], ("label", label), ("sensor", &sensor)], 1.0);
        }
        let first = self.sensors.len();
        let readings: Vec<_> = chip.files().filter(|(_, file)| file.is_reading()).collect();
        for (path, file) in &readings {
            let label = labels.get(&(file.kind, file.number)).map_or("", String::as_str);
            let Some((family, divisor)) = file.family(chip.has_bare(*file)) else { continue };
            let mut sensor = file.sensor();
            let kind = file.is_temperature().then(|| part.of_sensor(&chip.driver, label));
            if let Some(kind) = kind {
                push_info(chip, &part, kind, &sensor, label, &mut self.fixed);
            }
            if file.kind == "freq" && file.element == "input" {
                // A clock is known by its label alone.
                sensor = clean(label);
                if sensor.is_empty() {
                    continue;
                }
            }
            let (chip, sensor) = (Arc::clone(&chip.name), sensor.into());
            self.paths.push((*path).clone());
            self.sensors.push(Sensor { family, divisor, chip, sensor, kind, fault: None, disk });
        }
        self.find_faults(first);
    }

    /// Ties the temperatures from `first` on to the flags that say that they are broken.
    fn find_faults(&mut self, first: usize) {
        let places: BTreeMap<Arc<str>, usize> = self
            .sensors
            .iter()
            .enumerate()
            .skip(first)
            .filter(|(_, sensor)| sensor.family.name == "node_hwmon_temp_fault")
            .map(|(at, sensor)| (Arc::clone(&sensor.sensor), at))
            .collect();
        for sensor in self.sensors.iter_mut().skip(first).filter(|s| s.kind.is_some()) {
            sensor.fault = places.get(&sensor.sensor).copied();
        }
    }

    fn push_readings(&mut self, host: &dyn Host, now_ms: i64, out: &mut Batch) {
        let bytes = &mut self.bytes;
        let in_use: Vec<bool> =
            self.disks.iter_mut().map(|disk| disk.is_in_use(host, bytes, now_ms)).collect();
        let may_read = |sensor: &Sensor| {
            sensor.disk.is_none_or(|disk| in_use.get(disk).copied().unwrap_or(false))
        };
        let values: Vec<Option<io::Result<Vec<u8>>>> = if in_use.iter().all(|in_use| *in_use) {
            read(host, self.patience, &self.paths).into_iter().map(Some).collect()
        } else {
            let both = || self.paths.iter().zip(&self.sensors);
            let wanted = both().filter(|(_, sensor)| may_read(sensor));
            let paths: Vec<String> = wanted.map(|(path, _)| path.clone()).collect();
            let mut found = read(host, self.patience, &paths).into_iter();
            both().map(|(_, sensor)| if may_read(sensor) { found.next() } else { None }).collect()
        };
        let number = |value: &Option<io::Result<Vec<u8>>>| match value {
            Some(Ok(bytes)) => float(trimmed(bytes)),
            _ => None,
        };
        let mut highest = [None::<f64>; Kind::COUNT];
        let mut left_out = Vec::new();
        for (sensor, read) in self.sensors.iter().zip(&values) {
            let Some(value) = number(read) else {
                // A disk that rests is not asked, and nothing is wrong with it.
                if sensor.kind.is_some() && read.is_some() {
                    left_out.push((sensor, "error"));
                }
                continue;
            };
            let value = value / sensor.divisor;
            if let Some(kind) = sensor.kind {
                // What a sensor reads that says of itself that it is broken is no reading.
                let fault = sensor.fault.and_then(|at| number(values.get(at)?));
                if fault == Some(1.0) || !is_temperature(value) {
                    let reason = if fault == Some(1.0) { "fault" } else { "nonsense" };
                    left_out.push((sensor, reason));
                    continue;
                }
                if let Some(most) = highest.get_mut(kind as usize) {
                    *most = Some(most.map_or(value, |most| most.max(value)));
                }
            }
            let labels = [("chip", &*sensor.chip), ("sensor", &*sensor.sensor)];
            out.push(&sensor.family, &labels, value);
        }
        for (sensor, reason) in left_out {
            let labels = [("chip", &*sensor.chip), ("reason", reason), ("sensor", &*sensor.sensor)];
            out.push(&LEFT_OUT, &labels, 1.0);
        }
        for (kind, most) in Kind::ALL.into_iter().zip(highest) {
            if let Some(most) = most {
                out.push(&HIGHEST, &[("kind", kind.name())], most);
            }
        }
        // A chip that went and came back under its old number has other files.
        let is_gone = |value: &Option<io::Result<_>>| matches!(value, Some(Err(e)) if is_absent(e));
        if values.iter().any(is_gone) {
            self.scanned.end();
        }
    }
}

fn push_info(chip: &Chip, part: &Part, kind: Kind, sensor: &str, label: &str, out: &mut Batch) {
    let labels = [
        ("chip", &*chip.name),
        ("device", &part.device),
        ("kind", kind.name()),
        ("label", label),
        ("sensor", sensor),
        ("serial", &part.serial),
    ];
    out.push(&INFO, &labels, 1.0);
}

/// Reads files; those that come after one that hangs get another chance, so that it alone is left out:
/// half the time, since both must fit into what a round grants.
fn read(host: &dyn Host, patience: Patience, paths: &[String]) -> Vec<io::Result<Vec<u8>>> {
    let mut values = host.read_all(paths, patience.0);
    let is_late =
        |value: &io::Result<_>| matches!(value, Err(e) if e.kind() == io::ErrorKind::TimedOut);
    if !values.iter().any(is_late) {
        return values;
    }
    let late: Vec<usize> =
        (0..values.len()).filter(|at| values.get(*at).is_some_and(is_late)).collect();
    let again: Vec<String> = late.iter().filter_map(|at| paths.get(*at).cloned()).collect();
    for (at, value) in late.into_iter().zip(host.read_all(&again, patience.0 / 2)) {
        if let Some(old) = values.get_mut(at) {
            *old = value;
        }
    }
    values
}

/// Whether a sensor that reads this measures anything. What is not connected reads 0 or an end of
/// its chip's range: 127 and a bit or -128 with eight bits, 255 without a sign, more with more bits, -40
/// to -62 where a thermistor should be; and nothing in a computer is colder than -40 °C or hotter than 200 °C.
pub(super) fn is_temperature(celsius: f64) -> bool {
    let is_end = (127.0..=128.0).contains(&celsius);
    celsius != 0.0 && !is_end && celsius > -40.0 && celsius <= 200.0
}

/// A limit, setting or other value that is read seldom.
struct Fixed {
    family: Family,
    chip: Arc<str>,
    sensor: Arc<str>,
    number: f64,
}

/// A chip and its files.
struct Chip {
    /// The label `chip`.
    name: Arc<str>,
    /// What its driver calls it; empty where it does not.
    driver: String,
    /// The folder of its device, without links; empty where it has none.
    device: String,
    /// Names of its files and where they are.
    files: BTreeMap<String, String>,
}

impl Chip {
    fn find(host: &dyn Host, entry: &str) -> Self {
        let link = format!("{HWMON}/{entry}");
        let dir = host.resolved(&link).unwrap_or_else(|_| link.clone());
        let device = host.canonical(&format!("{link}/device")).unwrap_or_default();
        let mut files = BTreeMap::new();
        // Drivers of before 2.6.31 hang their readings on the device, some both.
        for dir in [dir.as_str(), device.as_str()].into_iter().filter(|dir| !dir.is_empty()) {
            let names = host.list(dir).unwrap_or_default();
            let sensors = names.into_iter().filter(|name| File::parse(name).is_some());
            files.extend(sensors.map(|name| {
                let path = format!("{dir}/{name}");
                (name, path)
            }));
        }
        let driver = host.text(&format!("{dir}/name")).map(|name| clean(&name)).unwrap_or_default();
        let name = chip_name(&device, &driver, entry).into();
        Self { name, driver, device, files }
    }

    fn files(&self) -> impl Iterator<Item = (&String, File<'_>)> {
        self.files.iter().filter_map(|(name, path)| Some((path, File::parse(name)?)))
    }

    /// Whether the sensor of `file` has a value without an element.
    fn has_bare(&self, file: File<'_>) -> bool {
        self.files.contains_key(&file.sensor())
    }
}

/// What is stable about a chip: the name of its device and of the device's parent.
fn chip_name(device: &str, driver: &str, entry: &str) -> String {
    let mut parts = device.rsplit('/');
    let name = clean(parts.next().unwrap_or_default());
    let parent = clean(parts.next().unwrap_or_default());
    match (name.is_empty(), parent.is_empty()) {
        (false, false) => format!("{parent}_{name}"),
        (false, true) => name,
        _ if !driver.is_empty() => driver.to_owned(),
        _ => clean(entry),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_connected_is_no_temperature() {
        for celsius in
            [0.0, 127.0, 127.9375, 128.0, -128.0, -127.0, -62.0, -55.0, -40.0, 255.0, 65_261.85]
        {
            assert!(!is_temperature(celsius), "{celsius}");
        }
        assert!(!is_temperature(-273.15) && !is_temperature(f64::NAN));
        for celsius in [0.5, -0.5, -20.0, -39.5, 49.85, 105.0, 126.0, 150.0] {
            assert!(is_temperature(celsius), "{celsius}");
        }
    }

    #[test]
    fn chips_have_the_name_of_their_device() {
        let name = "/sys/devices/pci0000:00/0000:00:18.3";
        assert_eq!(chip_name(name, "k10temp", "hwmon0"), "pci0000:00_0000:00:18_3");
        assert_eq!(chip_name("/coretemp.0", "", "hwmon0"), "coretemp_0");
        assert_eq!(chip_name("", "acpitz", "hwmon0"), "acpitz");
        assert_eq!(chip_name("", "", "hwmon0"), "hwmon0");
    }
}
