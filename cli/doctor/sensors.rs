//! What `labstat doctor` says of temperatures: the chips and what each measures, the drives that their
//! sensors are tied to, and the sensors that are left out with the reason. Pure.

use std::collections::BTreeMap;

use labstat_agent::collect::parse::exposition::{Exposition, Sample};

use super::{Advice, Facts, Tone, line};
use crate::table::printable;

/// Each sensor of a temperature, and what it measures.
const INFO: &str = "labstat_thermal_sensor_info";

/// The readings.
const READINGS: &str = "node_hwmon_temp_celsius";

/// The sensors whose reading is none, and why.
const LEFT_OUT: &str = "labstat_thermal_sensor_left_out_info";

/// What drivers call their chips.
const CHIPS: &str = "node_hwmon_chip_names";

/// Words for sensors of one chip on a line; a processor has one for each core.
const WORDS_MAX: usize = 8;

/// A sensor of a temperature.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sensor {
    chip: String,
    /// What the driver calls the chip, or else `chip`.
    driver: String,
    sensor: String,
    /// What it measures, in the words of the driver; empty where it has none.
    label: String,
    kind: String,
    device: String,
    serial: String,
    celsius: Option<f64>,
    /// Why it is left out.
    left_out: Option<String>,
}

/// The sensors that an exposition tells of.
pub(super) fn found(found: &Exposition) -> Vec<Sensor> {
    let of = |name: &'static str| {
        found.samples.iter().filter(move |sample| {
            found.families.get(sample.family).is_some_and(|family| family.name == name)
        })
    };
    let mut sensors: BTreeMap<(String, String), Sensor> = BTreeMap::new();
    for sample in of(INFO) {
        let [chip, sensor, text, kind, device, serial] =
            ["chip", "sensor", "label", "kind", "device", "serial"].map(|name| label(sample, name));
        let driver = of(CHIPS).find(|names| label(names, "chip") == chip);
        let driver = driver.map_or_else(|| chip.clone(), |names| label(names, "chip_name"));
        let key = (chip.clone(), sensor.clone());
        let (celsius, left_out) = (None, None);
        let sensor =
            Sensor { chip, driver, sensor, label: text, kind, device, serial, celsius, left_out };
        sensors.insert(key, sensor);
    }
    for (name, is_reading) in [(READINGS, true), (LEFT_OUT, false)] {
        for sample in of(name) {
            let key = (label(sample, "chip"), label(sample, "sensor"));
            let Some(sensor) = sensors.get_mut(&key) else { continue };
            match is_reading {
                true => sensor.celsius = Some(sample.value),
                false => sensor.left_out = Some(label(sample, "reason")),
            }
        }
    }
    sensors.into_values().collect()
}

fn label(sample: &Sample, wanted: &str) -> String {
    let found = sample.labels.iter().find(|(name, _)| name == wanted);
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

/// A line for each chip, and one for each sensor that is left out.
pub(super) fn advice(facts: &Facts) -> Vec<Advice> {
    let mut chips: BTreeMap<&str, Vec<&Sensor>> = BTreeMap::new();
    for sensor in &facts.sensors {
        chips.entry(&sensor.chip).or_default().push(sensor);
    }
    let chips = chips.into_values().filter_map(|sensors| of_chip(&sensors));
    let left_out = facts.sensors.iter().filter_map(left_out);
    chips.chain(left_out).collect()
}

fn of_chip(sensors: &[&Sensor]) -> Option<Advice> {
    let first = sensors.first()?;
    let kept: Vec<&&Sensor> = sensors.iter().filter(|sensor| sensor.left_out.is_none()).collect();
    let mut words: Vec<String> =
        kept.iter().take(WORDS_MAX).map(|sensor| reading(sensor)).collect();
    match kept.len() {
        0 => words.push("no reading".to_owned()),
        count if count > WORDS_MAX => words.push(format!("{} more", count - WORDS_MAX)),
        _ => {}
    }
    let mut found = words.join(", ");
    let is_drive = matches!(first.kind.as_str(), "disk" | "nvme");
    let part = [&first.device, &first.serial].map(|text| printable(text));
    let part = part.join(" ");
    if !part.trim().is_empty() {
        found = format!("{}: {found}", part.trim());
    }
    let what = format!("sensors {}", printable(&first.driver));
    if is_drive && first.serial.is_empty() {
        let cure = "run it, and the agent, as root, if the drive has one";
        return Some(line(what, Tone::Plain, found + "; no serial number is known", cure));
    }
    Some(line(what, Tone::Good, found, ""))
}

/// What a sensor is called and reads.
fn reading(sensor: &Sensor) -> String {
    let name = if sensor.label.is_empty() { &sensor.sensor } else { &sensor.label };
    let name = printable(name);
    match sensor.celsius {
        Some(celsius) => format!("{name} {celsius:.0} °C"),
        // Asking a disk at rest would wake it.
        None if sensor.kind == "disk" => format!("{name} left alone while nobody uses the disk"),
        None => format!("{name} without a reading"),
    }
}

fn left_out(sensor: &Sensor) -> Option<Advice> {
    let (found, cure) = match sensor.left_out.as_deref()? {
        "fault" => {
            ("left out: it says of itself that it is broken", "nothing, if it is not connected")
        }
        "nonsense" => (
            "left out: it reads what is no temperature (0, 127, -128 …)",
            "nothing, if it is not connected",
        ),
        _ => ("left out: it cannot be read", "nothing, if what it measures is off"),
    };
    let name = if sensor.label.is_empty() { &sensor.sensor } else { &sensor.label };
    let what = format!("sensor {} {}", printable(&sensor.driver), printable(name));
    Some(line(what, Tone::Plain, found, cure))
}

#[cfg(test)]
mod tests {
    use labstat_agent::collect::parse::exposition;

    use super::*;

    const TEXT: &str = r#"
node_hwmon_chip_names{chip="platform_nct",chip_name="nct6798"} 1
labstat_thermal_sensor_info{chip="platform_nct",kind="board",label="SYSTIN",sensor="temp1"} 1
labstat_thermal_sensor_info{chip="platform_nct",kind="other",label="AUXTIN2",sensor="temp2"} 1
labstat_thermal_sensor_info{chip="platform_nct",kind="board",sensor="temp3"} 1
labstat_thermal_sensor_info{chip="nvme_nvme0",device="nvme0",kind="nvme",label="Composite",sensor="temp1",serial="S64"} 1
labstat_thermal_sensor_info{chip="ata1",device="sda",kind="disk",sensor="temp1"} 1
node_hwmon_temp_celsius{chip="platform_nct",sensor="temp1"} 31.5
node_hwmon_temp_celsius{chip="nvme_nvme0",sensor="temp1"} 44
labstat_thermal_sensor_left_out_info{chip="platform_nct",reason="nonsense",sensor="temp2"} 1
labstat_thermal_sensor_left_out_info{chip="platform_nct",reason="fault",sensor="temp3"} 1
"#;

    #[test]
    fn chips_drives_and_what_is_left_out_are_told() {
        let text = TEXT.trim_start();
        let sensors = found(&exposition::parse(text.as_bytes()).unwrap());
        assert_eq!(sensors.len(), 5);
        let all = advice(&Facts { sensors, ..Facts::default() });
        let said: Vec<String> =
            all.iter().map(|line| format!("{}: {}", line.what, line.found)).collect();
        assert_eq!(
            said,
            [
                "sensors ata1: sda: temp1 left alone while nobody uses the disk; no serial number is known",
                "sensors nvme_nvme0: nvme0 S64: Composite 44 °C",
                "sensors nct6798: SYSTIN 32 °C",
                "sensor nct6798 AUXTIN2: left out: it reads what is no temperature (0, 127, -128 …)",
                "sensor nct6798 temp3: left out: it says of itself that it is broken",
            ]
        );
        assert!(all.iter().all(|line| line.tone < Tone::Warn), "nothing is missing");
        assert_eq!(advice(&Facts::default()), []);
    }

    #[test]
    fn a_processor_of_many_cores_is_one_line() {
        let core = |at: usize| Sensor {
            chip: "c".into(),
            driver: "coretemp".into(),
            sensor: format!("temp{at:02}"),
            label: format!("Core {at}"),
            kind: "cpu".into(),
            celsius: Some(40.0),
            ..Sensor::default()
        };
        let facts = Facts { sensors: (0..40).map(core).collect(), ..Facts::default() };
        let [line] = &advice(&facts)[..] else { panic!() };
        assert!(line.found.ends_with("Core 7 40 °C, 32 more"), "{}", line.found);
    }
}
