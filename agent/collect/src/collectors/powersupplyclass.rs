//! Power supplies and batteries that the kernel knows of.
//!
//! - Reads: `/sys/class/power_supply/*/uevent`, which has all that the single files say, through
//!   [`Host::read_all`], since batteries are asked over a slow bus; hence not in every round.
//! - Absent when there are none, as in most servers.
//! - Emits: `node_power_supply_*`; what a supply does not say is not emitted.
//! - Not here: a UPS that a program of its own watches.

use std::time::Duration;

use labstat_model::{Batch, Family, Kind};
use labstat_parse::proc::{float, uevent};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;
use crate::options::Supplies;
use crate::shared::is_like;

const SUPPLIES: &str = "/sys/class/power_supply";

/// What keys begin with.
const PREFIX: &str = "POWER_SUPPLY_";

/// How long all supplies together may take.
const DEADLINE: Duration = Duration::from_secs(4);

/// Supplies of one machine; some laptops show a dozen ports.
const SUPPLIES_MAX: usize = 256;

const ONE: f64 = 1.0;
const MICRO: f64 = 1e6;
const TENTH: f64 = 10.0;

/// A key, the end of the metric's name, and by how much the value is divided. Current, charge,
/// energy and voltage are told in millionths, temperatures in tenths of a degree.
const VALUES: [(&str, &str, f64); 49] = [
    ("AUTHENTIC", "authentic", ONE),
    ("CALIBRATE", "calibrate", ONE),
    ("CAPACITY", "capacity", ONE),
    ("CAPACITY_ALERT_MAX", "capacity_alert_max", ONE),
    ("CAPACITY_ALERT_MIN", "capacity_alert_min", ONE),
    ("CYCLE_COUNT", "cyclecount", ONE),
    ("ONLINE", "online", ONE),
    ("PRESENT", "present", ONE),
    ("TIME_TO_EMPTY_NOW", "time_to_empty_seconds", ONE),
    ("TIME_TO_FULL_NOW", "time_to_full_seconds", ONE),
    ("CURRENT_BOOT", "current_boot", MICRO),
    ("CURRENT_MAX", "current_max", MICRO),
    ("CURRENT_NOW", "current_ampere", MICRO),
    ("ENERGY_EMPTY", "energy_empty", MICRO),
    ("ENERGY_EMPTY_DESIGN", "energy_empty_design", MICRO),
    ("ENERGY_FULL", "energy_full", MICRO),
    ("ENERGY_FULL_DESIGN", "energy_full_design", MICRO),
    ("ENERGY_NOW", "energy_watthour", MICRO),
    ("VOLTAGE_BOOT", "voltage_boot", MICRO),
    ("VOLTAGE_MAX", "voltage_max", MICRO),
    ("VOLTAGE_MAX_DESIGN", "voltage_max_design", MICRO),
    ("VOLTAGE_MIN", "voltage_min", MICRO),
    ("VOLTAGE_MIN_DESIGN", "voltage_min_design", MICRO),
    ("VOLTAGE_NOW", "voltage_volt", MICRO),
    ("VOLTAGE_OCV", "voltage_ocv", MICRO),
    ("CHARGE_CONTROL_LIMIT", "charge_control_limit", MICRO),
    ("CHARGE_CONTROL_LIMIT_MAX", "charge_control_limit_max", MICRO),
    ("CHARGE_COUNTER", "charge_counter", MICRO),
    ("CHARGE_EMPTY", "charge_empty", MICRO),
    ("CHARGE_EMPTY_DESIGN", "charge_empty_design", MICRO),
    ("CHARGE_FULL", "charge_full", MICRO),
    ("CHARGE_FULL_DESIGN", "charge_full_design", MICRO),
    ("CHARGE_NOW", "charge_ampere", MICRO),
    ("CHARGE_TERM_CURRENT", "charge_term_current", MICRO),
    ("CONSTANT_CHARGE_CURRENT", "constant_charge_current", MICRO),
    ("CONSTANT_CHARGE_CURRENT_MAX", "constant_charge_current_max", MICRO),
    ("CONSTANT_CHARGE_VOLTAGE", "constant_charge_voltage", MICRO),
    ("CONSTANT_CHARGE_VOLTAGE_MAX", "constant_charge_voltage_max", MICRO),
    ("PRECHARGE_CURRENT", "precharge_current", MICRO),
    ("INPUT_CURRENT_LIMIT", "input_current_limit", MICRO),
    ("POWER_NOW", "power_watt", MICRO),
    ("TEMP", "temp_celsius", TENTH),
    ("TEMP_ALERT_MAX", "temp_alert_max_celsius", TENTH),
    ("TEMP_ALERT_MIN", "temp_alert_min_celsius", TENTH),
    ("TEMP_AMBIENT", "temp_ambient_celsius", TENTH),
    ("TEMP_AMBIENT_ALERT_MAX", "temp_ambient_max_celsius", TENTH),
    ("TEMP_AMBIENT_ALERT_MIN", "temp_ambient_min_celsius", TENTH),
    ("TEMP_MAX", "temp_max_celsius", TENTH),
    ("TEMP_MIN", "temp_min_celsius", TENTH),
];

/// Keys whose texts are labels of [`INFO`].
const TEXTS: [(&str, &str); 11] = [
    ("CAPACITY_LEVEL", "capacity_level"),
    ("CHARGE_TYPE", "charge_type"),
    ("HEALTH", "health"),
    ("MANUFACTURER", "manufacturer"),
    ("MODEL_NAME", "model_name"),
    ("SERIAL_NUMBER", "serial_number"),
    ("STATUS", "status"),
    ("TECHNOLOGY", "technology"),
    ("TYPE", "type"),
    ("USB_TYPE", "usb_type"),
    ("SCOPE", "scope"),
];

/// What a supply is.
pub static INFO: Family =
    Family::gauge("node_power_supply_info", "What a power supply is; always 1.");

/// Power supplies and batteries.
#[derive(Debug)]
pub struct Powersupplyclass(Supplies);

impl Powersupplyclass {
    /// One with these settings.
    pub fn new(options: &Supplies) -> Self {
        Self(options.clone())
    }
}

impl Collector for Powersupplyclass {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let mut names = match host.list(SUPPLIES) {
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            result => result.map_err(CollectError::read(SUPPLIES))?,
        };
        names.retain(|name| !self.0.exclude.iter().any(|pattern| is_like(pattern, name)));
        if names.is_empty() {
            return Ok(Status::Absent);
        }
        if names.len() > SUPPLIES_MAX {
            let count = names.len();
            return Err(CollectError::Limit { what: "power supplies", count, max: SUPPLIES_MAX });
        }
        let paths: Vec<String> =
            names.iter().map(|name| format!("{SUPPLIES}/{name}/uevent")).collect();
        for ((name, path), result) in names.iter().zip(&paths).zip(host.read_all(&paths, DEADLINE))
        {
            match result {
                Ok(bytes) => push(name, &bytes, out),
                // One that was pulled meanwhile or does not answer takes none of the others along.
                Err(error) => tracing::debug!(path, %error, "power supply not read"),
            }
        }
        Ok(Status::Collected)
    }
}

fn push(supply: &str, uevent: &[u8], out: &mut Batch) {
    let mut labels = vec![("power_supply", supply)];
    for (key, value) in uevent::parse(uevent) {
        let Some(key) = key.strip_prefix(PREFIX) else { continue };
        let value = value.trim();
        if let Some((_, name, divisor)) = VALUES.iter().find(|(known, ..)| *known == key)
            && let Some(value) = float(value.as_bytes())
        {
            let name = format!("node_power_supply_{name}");
            let family = Family::dynamic(name, Kind::Gauge, "What a power supply says of itself.");
            out.push(&family, &[("power_supply", supply)], value / divisor);
        }
        if let Some((_, label)) = TEXTS.iter().find(|(known, _)| *known == key)
            && labels.iter().all(|(known, _)| known != label)
        {
            labels.push((label, value));
        }
    }
    out.push(&INFO, &labels, 1.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_base_units_and_what_is_no_number_is_absent() {
        let mut out = Batch::new();
        let text = b"DEVTYPE=power_supply\nPOWER_SUPPLY_NAME=BAT0\nPOWER_SUPPLY_TYPE=Battery\nPOWER_SUPPLY_STATUS=Not charging\nPOWER_SUPPLY_VOLTAGE_NOW=12229000\nPOWER_SUPPLY_TEMP=-31\nPOWER_SUPPLY_CAPACITY=\nPOWER_SUPPLY_MODEL_NAME= LNV-45N1 \nPOWER_SUPPLY_ONLINE=yes\nPOWER";
        push("BAT0", text, &mut out);
        assert_eq!(
            out.value("node_power_supply_voltage_volt", &[("power_supply", "BAT0")]),
            Some(12.229)
        );
        assert_eq!(out.value("node_power_supply_temp_celsius", &[]), Some(-3.1));
        let labels = [("status", "Not charging"), ("type", "Battery"), ("model_name", "LNV-45N1")];
        assert_eq!(out.value("node_power_supply_info", &labels), Some(1.0));
        assert_eq!(out.len(), 3);
    }
}
