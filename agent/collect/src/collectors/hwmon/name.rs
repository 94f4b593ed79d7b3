//! What a file of a chip is, and what its value is called: pure.
//!
//! Names and units are node_exporter's, the odd ones too.

use labstat_model::{Family, Kind};

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

/// Values that change by themselves; all others are limits and settings.
const READINGS: [&str; 11] = [
    "",
    "input",
    "average",
    "output",
    "target",
    "enable",
    "fault",
    "lowest",
    "highest",
    "input_lowest",
    "input_highest",
];

/// One file of a chip: the kind of sensor, its number, and which of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct File<'a> {
    pub(super) kind: &'a str,
    pub(super) number: u32,
    pub(super) element: &'a str,
}

impl<'a> File<'a> {
    /// `temp1_crit` gives `temp`, 1, `crit`; what is no file of a sensor gives nothing.
    pub(super) fn parse(name: &'a str) -> Option<Self> {
        let digits = name.find(|c: char| c.is_ascii_digit()).unwrap_or(name.len());
        let (kind, rest) = name.split_at(digits);
        if !KINDS.contains(&kind) {
            return None;
        }
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, rest) = rest.split_at(end);
        let number = match number {
            "" if UNNUMBERED.contains(&kind) => 0,
            // Every device has a folder `power`, which is no sensor.
            "" => return None,
            digits => digits.parse().ok()?,
        };
        let element = match rest.strip_prefix('_') {
            Some(element) if !element.is_empty() => element,
            None if rest.is_empty() => "",
            _ => return None,
        };
        Some(Self { kind, number, element })
    }

    /// The label `sensor`.
    pub(super) fn sensor(self) -> String {
        format!("{}{}", self.kind, self.number)
    }

    /// Whether it changes by itself, and not only when somebody sets it.
    pub(super) fn is_reading(self) -> bool {
        READINGS.contains(&self.element) || self.element.ends_with("alarm")
    }

    /// Whether it is a temperature that is measured now.
    pub(super) fn is_temperature(self) -> bool {
        self.kind == "temp" && self.element == "input"
    }

    /// The family of its values, and what divides the kernel's number. `has_bare` says that the
    /// sensor has a value without an element too, from which `input` must then be told.
    pub(super) fn family(self, has_bare: bool) -> Option<(Family, f64)> {
        match (self.kind, self.element) {
            ("vrm", "") => {
                return Some(gauge("voltage_regulator_version", "Hardware voltage regulator."));
            }
            ("beep_enable", "") => return Some(gauge("beep_enabled", "Hardware beep enabled.")),
            (_, "label") | ("vrm" | "beep_enable", _) => return None,
            _ => {}
        }
        let (suffix, divisor) = self.unit();
        let mut name = format!("node_hwmon_{}", self.kind);
        match self.element {
            "" => {}
            "input" if !has_bare => {}
            element => {
                name.push('_');
                name.push_str(&clean(element));
            }
        }
        name.push_str(suffix);
        let kind = if suffix.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
        let element = if self.element.is_empty() { "value" } else { self.element };
        let help = format!("Hardware monitor for {} ({element}).", self.kind);
        Some((Family::dynamic(name, kind, help), divisor))
    }

    /// What a value's name ends with, and what divides the kernel's number.
    ///
    /// The kernel gives thousandths of volts, amperes and degrees, millionths of watts and joules.
    /// Flags (alarm, fault, beep) are 0 or 1 whatever they stand beside, although those with a
    /// limit in their name (`crit_alarm`) keep its unit in the name, as dashboards expect.
    fn unit(self) -> (&'static str, f64) {
        let flag = ["alarm", "fault", "beep"].iter().any(|end| self.element.ends_with(end));
        let scale = |divisor: f64| if flag { 1.0 } else { divisor };
        match (self.kind, self.element) {
            (_, "fault" | "alarm") => ("", 1.0),
            (_, "beep") => ("_enabled", 1.0),
            ("update_interval", _)
            | ("power", "average_interval" | "average_interval_min" | "average_interval_max") => {
                ("_seconds", 1e3)
            }
            ("in" | "cpu", _) => ("_volts", scale(1e3)),
            ("temp", element) if element != "type" => ("_celsius", scale(1e3)),
            ("curr", _) => ("_amps", scale(1e3)),
            ("energy", _) => ("_joule_total", 1e6),
            ("power", "accuracy") | ("humidity", _) => ("", scale(1e6)),
            ("power", _) => ("_watt", scale(1e6)),
            ("fan", "input" | "min" | "max" | "target") => ("_rpm", 1.0),
            ("freq", "input") => ("_freq_mhz", 1e6),
            _ => ("", 1.0),
        }
    }
}

fn gauge(name: &str, help: &'static str) -> (Family, f64) {
    (Family::dynamic(format!("node_hwmon_{name}"), Kind::Gauge, help), 1.0)
}

/// Lower case, and `_` for what a metric's name cannot have.
pub(super) fn clean(text: &str) -> String {
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
        assert_eq!(File::parse("temp1_crit_alarm"), file("temp", 1, "crit_alarm"));
        assert_eq!(File::parse("pwm2"), file("pwm", 2, ""));
        assert_eq!(File::parse("temp01_input"), file("temp", 1, "input"));
        assert_eq!(File::parse("beep_enable"), file("beep_enable", 0, ""));
        for name in ["uevent", "name", "temp1x", "temp_", "subsystem", "power", "in", "fan_input"] {
            assert_eq!(File::parse(name), None, "{name}");
        }
        assert_eq!(File::parse("temp99999999999_input"), None);
    }

    #[test]
    fn names_and_units_of_values() {
        for (file, name, value) in [
            ("temp1_input", "node_hwmon_temp_celsius", 0.001),
            ("temp1_crit_alarm", "node_hwmon_temp_crit_alarm_celsius", 1.0),
            ("temp1_crit_hyst", "node_hwmon_temp_crit_hyst_celsius", 0.001),
            ("temp1_alarm", "node_hwmon_temp_alarm", 1.0),
            ("temp1_type", "node_hwmon_temp_type", 1.0),
            ("temp1_fault", "node_hwmon_temp_fault", 1.0),
            ("fan1_input", "node_hwmon_fan_rpm", 1.0),
            ("fan1_target", "node_hwmon_fan_target_rpm", 1.0),
            ("fan1_pulses", "node_hwmon_fan_pulses", 1.0),
            ("pwm1", "node_hwmon_pwm", 1.0),
            ("pwm1_enable", "node_hwmon_pwm_enable", 1.0),
            ("in0_beep", "node_hwmon_in_beep_enabled", 1.0),
            ("in0_input", "node_hwmon_in_volts", 0.001),
            ("cpu0_vid", "node_hwmon_cpu_vid_volts", 0.001),
            ("curr1_input", "node_hwmon_curr_amps", 0.001),
            ("power1_average", "node_hwmon_power_average_watt", 1e-6),
            ("power1_average_interval", "node_hwmon_power_average_interval_seconds", 0.001),
            ("power1_accuracy", "node_hwmon_power_accuracy", 1e-6),
            ("power1_cap_alarm", "node_hwmon_power_cap_alarm_watt", 1.0),
            ("energy1_input", "node_hwmon_energy_joule_total", 1e-6),
            ("humidity1_input", "node_hwmon_humidity", 1e-6),
            ("intrusion0_alarm", "node_hwmon_intrusion_alarm", 1.0),
            ("freq1_input", "node_hwmon_freq_freq_mhz", 1e-6),
            ("update_interval", "node_hwmon_update_interval_seconds", 0.001),
            ("beep_enable", "node_hwmon_beep_enabled", 1.0),
            ("vrm", "node_hwmon_voltage_regulator_version", 1.0),
        ] {
            let (family, divisor) = File::parse(file).unwrap().family(false).unwrap();
            assert_eq!((family.name.as_ref(), 1.0 / divisor), (name, value), "{file}");
            let is_counter = family.kind == Kind::Counter;
            assert_eq!(is_counter, file == "energy1_input", "{file}");
        }
        let (bare, _) = File::parse("fan1_input").unwrap().family(true).unwrap();
        assert_eq!(bare.name, "node_hwmon_fan_input_rpm");
        assert!(File::parse("temp1_label").unwrap().family(false).is_none());
    }

    #[test]
    fn limits_are_no_readings() {
        for (file, is) in [
            ("temp1_input", true),
            ("temp1_max_alarm", true),
            ("pwm1", true),
            ("power1_average", true),
            ("temp1_crit", false),
            ("temp1_crit_hyst", false),
            ("pwm1_auto_point1_temp", false),
            ("fan1_min", false),
        ] {
            assert_eq!(File::parse(file).unwrap().is_reading(), is, "{file}");
        }
    }
}
