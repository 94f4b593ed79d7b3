//! Temperatures of the board's zones, and what cools them.
//!
//! - Reads: `/sys/class/thermal/*`, through [`Host::read_all`], since a sensor may sit behind a
//!   slow bus. Types and highest states are read once a minute and when zones come or go.
//! - Absent when the folder is missing or has neither zones nor cooling devices.
//! - Emits: `node_thermal_zone_temp`, `node_cooling_device_*`. A sensor that gives an error, or what
//!   is no temperature, is left out; the others stay.
//! - Not here: sensors of chips ([`super::hwmon`]).

use labstat_model::{Batch, Family};
use labstat_parse::proc::{float, trimmed};

use super::hwmon::is_temperature;
use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;
use crate::options::Patience;
use crate::shared::{Freshness, KEPT_MS};

const THERMAL: &str = "/sys/class/thermal";

/// Zones and cooling devices of one machine; each CPU may be a cooling device.
const ENTRIES_MAX: usize = 8192;

static ZONE: Family = Family::gauge("node_thermal_zone_temp", "Zone temperature in Celsius.");
static COOLING: Family =
    Family::gauge("node_cooling_device_cur_state", "Current throttle state of the cooling device.");
static COOLING_MAX: Family =
    Family::gauge("node_cooling_device_max_state", "Maximum throttle state of the cooling device.");

/// Temperatures of the board's zones, and what cools them.
#[derive(Debug, Default)]
pub struct ThermalZone {
    /// Names in the folder when it was looked at last.
    names: Vec<String>,
    scanned: Freshness,
    patience: Patience,
    /// Highest states, which do not change.
    fixed: Batch,
    /// What is read in every round, in the order of its files.
    entries: Vec<Entry>,
    paths: Vec<String>,
}

/// A zone or a cooling device.
#[derive(Debug)]
struct Entry {
    number: String,
    sort: String,
    is_zone: bool,
}

impl Collector for ThermalZone {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let names = match host.list(THERMAL) {
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            result => result.map_err(CollectError::read(THERMAL))?,
        };
        if names.len() > ENTRIES_MAX {
            let (what, count) = ("thermal zones and cooling devices", names.len());
            return Err(CollectError::Limit { what, count, max: ENTRIES_MAX });
        }
        let now_ms = host.now_ms();
        if names != self.names || !self.scanned.lasts(KEPT_MS, now_ms) {
            self.scan(host, names);
            self.scanned.renew(now_ms);
        }
        if self.entries.is_empty() {
            return Ok(Status::Absent);
        }
        out.append(&self.fixed);
        for (entry, value) in self.entries.iter().zip(host.read_all(&self.paths, self.patience.0)) {
            let Some(value) = value.ok().as_deref().and_then(|bytes| float(trimmed(bytes))) else {
                continue;
            };
            let celsius = value / 1000.0;
            if !entry.is_zone {
                out.push(&COOLING, &[("name", &entry.number), ("type", &entry.sort)], value);
            } else if is_temperature(celsius) {
                out.push(&ZONE, &[("type", &entry.sort), ("zone", &entry.number)], celsius);
            }
        }
        Ok(Status::Collected)
    }
}

impl ThermalZone {
    /// One that waits for sensors no longer than this.
    pub fn new(patience: Patience) -> Self {
        Self { patience, ..Self::default() }
    }

    /// Looks at all zones and cooling devices anew.
    fn scan(&mut self, host: &dyn Host, names: Vec<String>) {
        self.entries.clear();
        self.paths.clear();
        self.fixed.clear();
        let mut highest = Vec::new();
        for name in &names {
            let Some((number, is_zone)) = zone_or_device(name) else { continue };
            let link = format!("{THERMAL}/{name}");
            let dir = host.resolved(&link).unwrap_or(link);
            let sort = host.text(&format!("{dir}/type")).unwrap_or_default().trim().to_owned();
            if !is_zone {
                highest.push((number.to_owned(), sort.clone(), format!("{dir}/max_state")));
            }
            let file = if is_zone { "temp" } else { "cur_state" };
            self.paths.push(format!("{dir}/{file}"));
            self.entries.push(Entry { number: number.to_owned(), sort, is_zone });
        }
        let paths: Vec<String> = highest.iter().map(|(_, _, path)| path.clone()).collect();
        for ((number, sort, _), value) in highest.iter().zip(host.read_all(&paths, self.patience.0))
        {
            if let Some(value) = value.ok().as_deref().and_then(|bytes| float(trimmed(bytes))) {
                self.fixed.push(&COOLING_MAX, &[("name", number), ("type", sort)], value);
            }
        }
        self.names = names;
    }
}

/// The number of a zone (true) or of a cooling device (false).
fn zone_or_device(name: &str) -> Option<(&str, bool)> {
    let zone = name.strip_prefix("thermal_zone").map(|number| (number, true));
    zone.or_else(|| name.strip_prefix("cooling_device").map(|number| (number, false)))
}
