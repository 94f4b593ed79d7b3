//! Sensors of the chips of a machine.
//!
//! - Reads: `/sys/class/hwmon/*`, through [`Host::read_all`], since a sensor may sit behind a slow
//!   bus.
//! - Absent when the folder is missing or empty (most virtual machines).
//! - Emits: `node_hwmon_*` as named in [`unit_of`]. A sensor that gives an error is left out; the
//!   others stay.
//! - Not here: which disk a `drivetemp` chip belongs to, thermal zones ([`super::thermal_zone`]).

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use labstat_model::{Batch, Family, Kind};
use labstat_parse::proc::{float, trimmed};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;

const HWMON: &str = "/sys/class/hwmon";

/// Chips of one machine.
const CHIPS_MAX: usize = 1024;

/// How long all sensors together may take.
const DEADLINE: Duration = Duration::from_secs(4);

static CHIP_NAMES: Family =
    Family::gauge("node_hwmon_chip_names", "Annotation metric for human-readable chip names.");
static LABEL: Family = Family::gauge("node_hwmon_sensor_label", "Label for given chip and sensor.");

/// Kinds of sensors; other files of a chip are no readings.
const KINDS: [&str; 14] = [
    "vrm",
    "beep_enable",
    "update_interval",
    "in",
    "cpu",
    "fan",
    "pwm",
    "temp",
    "curr",
    "power",
    "energy",
    "humidity",
    "intrusion",
    "freq",
];

/// Kinds that belong to the whole chip and have no number.
const UNNUMBERED: [&str; 3] = ["vrm", "beep_enable", "update_interval"];

/// Sensors of chips.
#[derive(Debug, Default)]
pub struct Hwmon;

/// One file of a chip: the kind of sensor, its number, and which of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct File<'a> {
    kind: &'a str,
    number: &'a str,
    element: &'a str,
}

impl Collector for Hwmon {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let chips = match host.list(HWMON) {
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            result => result.map_err(CollectError::read(HWMON))?,
        };
        if chips.len() > CHIPS_MAX {
            let count = chips.len();
            return Err(CollectError::Limit { what: "hwmon chips", count, max: CHIPS_MAX });
        }
        let mut seen = HashSet::new();
        for chip in &chips {
            push_chip(host, chip, &mut seen, out);
        }
        Ok(if chips.is_empty() { Status::Absent } else { Status::Collected })
    }
}

/// A chip that vanishes while it is read has no samples; that is no failure of the others.
fn push_chip(host: &dyn Host, entry: &str, seen: &mut HashSet<String>, out: &mut Batch) {
    let mut dir = format!("{HWMON}/{entry}");
    dir = host.resolved(&dir).unwrap_or(dir);
    let mut names = host.list(&dir).unwrap_or_default();
    // Drivers of before 2.6.31 hang their readings on the device.
    if !names.iter().any(|name| parse_name(name).is_some()) {
        dir.push_str("/device");
        names = host.list(&dir).unwrap_or_default();
        names.retain(|name| parse_name(name).is_some());
        if names.is_empty() {
            return;
        }
    }
    let mut chip = chip_name(host, entry);
    if !seen.insert(chip.clone()) {
        // Two devices of one name under different parents: the number keeps them apart.
        chip = format!("{chip}_{entry}");
    }
    if let Ok(name) = host.text(&format!("{HWMON}/{entry}/name")) {
        let name = clean(name.trim());
        if !name.is_empty() {
            out.push(&CHIP_NAMES, &[("chip", &chip), ("chip_name", &name)], 1.0);
        }
    }
    names.retain(|name| parse_name(name).is_some());
    let paths: Vec<String> = names.iter().map(|name| format!("{dir}/{name}")).collect();
    let values = host.read_all(&paths, DEADLINE);
    let files: Vec<(File<'_>, io::Result<Vec<u8>>)> =
        names.iter().filter_map(|name| parse_name(name)).zip(values).collect();
    for (file, value) in &files {
        let Ok(bytes) = value else { continue };
        let beside = |element: &str| {
            let file = File { element, ..*file };
            files.iter().find(|(other, _)| *other == file).map(|(_, value)| value)
        };
        let is_fault = |value: &io::Result<Vec<u8>>| {
            value.as_ref().is_ok_and(|bytes| float(trimmed(bytes)) == Some(1.0))
        };
        // What a sensor reads that says of itself that it is broken or not connected is no reading.
        if file.element == "input" && beside("fault").is_some_and(is_fault) {
            continue;
        }
        let has_bare = beside("").is_some();
        push_value(&chip, *file, has_bare, trimmed(bytes), out);
    }
}

/// `temp1_crit` gives `temp`, `1`, `crit`.
fn parse_name(name: &str) -> Option<File<'_>> {
    let digits = name.find(|c: char| c.is_ascii_digit()).unwrap_or(name.len());
    let (kind, rest) = name.split_at(digits);
    if !KINDS.contains(&kind) {
        return None;
    }
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, rest) = rest.split_at(end);
    // Every device has a folder `power`, which is no sensor.
    if number.is_empty() && !UNNUMBERED.contains(&kind) {
        return None;
    }
    let element = match rest.strip_prefix('_') {
        Some(element) if !element.is_empty() => element,
        None if rest.is_empty() => "",
        _ => return None,
    };
    Some(File { kind, number, element })
}

fn push_value(chip: &str, file: File<'_>, has_bare: bool, bytes: &[u8], out: &mut Batch) {
    let number = if file.number.is_empty() { "0" } else { file.number };
    let sensor = format!("{}{number}", file.kind);
    if file.element == "label" {
        let label = String::from_utf8_lossy(bytes);
        out.push(&LABEL, &[("chip", chip), ("label", &label), ("sensor", &sensor)], 1.0);
        return;
    }
    let Some(value) = float(bytes) else { return };
    let (suffix, divisor) = unit_of(file);
    let mut name = format!("node_hwmon_{}", clean(file.kind));
    match file.element {
        "" => {}
        "input" if !has_bare => {}
        element => {
            name.push('_');
            name.push_str(&clean(element));
        }
    }
    name.push_str(suffix);
    let kind = if suffix.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
    let help = format!("Hardware monitor for {} ({}).", file.kind, element_word(file.element));
    let family = Family::dynamic(name, kind, help);
    out.push(&family, &[("chip", chip), ("sensor", &sensor)], value / divisor);
}

fn element_word(element: &str) -> &str {
    if element.is_empty() { "value" } else { element }
}

/// What a value's name ends with, and what divides the kernel's number.
///
/// The kernel gives thousandths of volts, amperes and degrees, millionths of watts and joules. Flags
/// (alarm, fault, beep) are 0 or 1 whatever they stand beside, although those with a limit in
/// their name (`crit_alarm`) keep its unit in the name, as dashboards expect.
fn unit_of(file: File<'_>) -> (&'static str, f64) {
    let flag = ["alarm", "fault", "beep"].iter().any(|end| file.element.ends_with(end));
    let scale = |divisor: f64| if flag { 1.0 } else { divisor };
    match (file.kind, file.element) {
        (_, "fault" | "alarm") => ("", 1.0),
        (_, "beep") => ("_enabled", 1.0),
        ("update_interval", _) => ("_seconds", 1e3),
        ("in" | "cpu", _) => ("_volts", scale(1e3)),
        ("temp", element) if element != "type" => ("_celsius", scale(1e3)),
        ("curr", _) => ("_amps", scale(1e3)),
        ("energy", _) => ("_joule_total", 1e6),
        ("power", "accuracy") | ("humidity", _) => ("", 1e6),
        ("power", element) if element.starts_with("average_interval") => ("_seconds", 1e3),
        ("power", _) => ("_watt", scale(1e6)),
        ("fan", "input" | "min" | "max" | "target") => ("_rpm", 1.0),
        ("freq", "input") => ("_freq_mhz", 1e6),
        _ => ("", 1.0),
    }
}

/// What is stable about a chip: the name of its device and of the device's parent.
fn chip_name(host: &dyn Host, entry: &str) -> String {
    let path = format!("{HWMON}/{entry}");
    if let Ok(device) = host.canonical(&format!("{path}/device")) {
        let mut parts = device.rsplit('/');
        let name = clean(parts.next().unwrap_or_default());
        let parent = clean(parts.next().unwrap_or_default());
        if !name.is_empty() {
            return if parent.is_empty() { name } else { format!("{parent}_{name}") };
        }
    }
    let name = host.text(&format!("{path}/name")).map(|name| clean(name.trim()));
    match name {
        Ok(name) if !name.is_empty() => name,
        _ => clean(entry),
    }
}

/// Lower case, and `_` for what a metric's name cannot have.
fn clean(text: &str) -> String {
    let lower = text.to_lowercase();
    let keep = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, ':' | '_');
    let clean: String = lower.chars().map(|c| if keep(c) { c } else { '_' }).collect();
    clean.trim_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        let file = |kind, number, element| Some(File { kind, number, element });
        assert_eq!(parse_name("temp1_crit_alarm"), file("temp", "1", "crit_alarm"));
        assert_eq!(parse_name("pwm2"), file("pwm", "2", ""));
        assert_eq!(parse_name("beep_enable"), file("beep_enable", "", ""));
        for name in ["uevent", "name", "temp1x", "temp_", "subsystem", "power", "in", "fan_input"] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }

    #[test]
    fn units() {
        let one = |kind, element, bytes: &[u8]| {
            let mut out = Batch::new();
            push_value("c", File { kind, number: "1", element }, false, bytes, &mut out);
            out.iter().next().map(|s| (s.family.name.to_string(), s.value))
        };
        let named = |name: &str, value| Some((name.to_owned(), value));
        assert_eq!(one("temp", "input", b"49850"), named("node_hwmon_temp_celsius", 49.85));
        assert_eq!(
            one("temp", "crit_alarm", b"1"),
            named("node_hwmon_temp_crit_alarm_celsius", 1.0)
        );
        assert_eq!(one("temp", "alarm", b"1"), named("node_hwmon_temp_alarm", 1.0));
        assert_eq!(one("fan", "input", b"1200"), named("node_hwmon_fan_rpm", 1200.0));
        assert_eq!(one("in", "beep", b"1"), named("node_hwmon_in_beep_enabled", 1.0));
        assert_eq!(
            one("power", "average", b"9500000"),
            named("node_hwmon_power_average_watt", 9.5)
        );
        assert_eq!(one("energy", "input", b"2000000"), named("node_hwmon_energy_joule_total", 2.0));
        assert_eq!(one("temp", "input", b""), None, "an empty file is not 0");
        assert_eq!(one("temp", "input", b"N/A"), None);
    }
}
