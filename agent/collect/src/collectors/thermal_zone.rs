//! Temperatures of the board's zones, and what cools them.
//!
//! - Reads: `/sys/class/thermal/*`, through [`Host::read_all`], since a sensor may sit behind a
//!   slow bus.
//! - Absent when the folder is missing or has neither zones nor cooling devices.
//! - Emits: `node_thermal_zone_temp`, `node_cooling_device_*`. A sensor that gives an error is left
//!   out; the others stay.
//! - Not here: sensors of chips ([`super::hwmon`]).

use std::time::Duration;

use labstat_model::{Batch, Family};
use labstat_parse::proc::{float, trimmed};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;

const THERMAL: &str = "/sys/class/thermal";

/// How long all sensors together may take.
const DEADLINE: Duration = Duration::from_secs(4);

static ZONE: Family = Family::gauge("node_thermal_zone_temp", "Zone temperature in Celsius.");
static COOLING: Family =
    Family::gauge("node_cooling_device_cur_state", "Current throttle state of the cooling device.");
static COOLING_MAX: Family =
    Family::gauge("node_cooling_device_max_state", "Maximum throttle state of the cooling device.");

/// Temperatures of the board's zones, and what cools them.
#[derive(Debug, Default)]
pub struct ThermalZone;

impl Collector for ThermalZone {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let names = match host.list(THERMAL) {
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            result => result.map_err(CollectError::read(THERMAL))?,
        };
        let mut paths = Vec::new();
        for name in &names {
            let values: &[&str] = match zone_or_device(name) {
                Some((_, true)) => &["temp"],
                Some((_, false)) => &["cur_state", "max_state"],
                None => continue,
            };
            paths.extend(values.iter().map(|value| format!("{THERMAL}/{name}/{value}")));
        }
        let values = host.read_all(&paths, DEADLINE);
        for (path, value) in paths.iter().zip(values) {
            let Some(value) = value.ok().as_deref().and_then(|bytes| float(trimmed(bytes))) else {
                continue;
            };
            push_zone(host, path, value, out);
        }
        Ok(if paths.is_empty() { Status::Absent } else { Status::Collected })
    }
}

/// The number of a zone (true) or of a cooling device (false).
fn zone_or_device(name: &str) -> Option<(&str, bool)> {
    let zone = name.strip_prefix("thermal_zone").map(|number| (number, true));
    zone.or_else(|| name.strip_prefix("cooling_device").map(|number| (number, false)))
}

fn push_zone(host: &dyn Host, path: &str, value: f64, out: &mut Batch) {
    let Some((dir, file)) = path.rsplit_once('/') else { return };
    let Some((number, _)) = dir.rsplit('/').next().and_then(zone_or_device) else { return };
    let kind = host.text(&format!("{dir}/type")).unwrap_or_default();
    let kind = kind.trim();
    match file {
        "temp" => out.push(&ZONE, &[("type", kind), ("zone", number)], value / 1000.0),
        "cur_state" => out.push(&COOLING, &[("name", number), ("type", kind)], value),
        _ => out.push(&COOLING_MAX, &[("name", number), ("type", kind)], value),
    }
}
