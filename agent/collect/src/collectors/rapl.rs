//! Energy that the processors and their memory have used, as they count it themselves.
//!
//! - Reads: `/sys/class/powercap/*`; which zones there are once a minute, their counters in every
//!   round.
//! - Absent when the machine counts no energy (virtual machines, most boards with ARM), and when
//!   none of the counters may be read: the kernel gives them to root alone, since they betray what
//!   a processor computes.
//! - Emits: `node_rapl_ZONE_joules_total{index,path}`, such as `node_rapl_package_joules_total`. The
//!   counters start anew at the end of their range, every few minutes to hours under load.
//! - Not here: limits of power, and what chips measure ([`super::hwmon`]).

use std::collections::BTreeMap;

use labstat_model::{Batch, Family, Kind};
use labstat_parse::proc::{number, trimmed};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;
use crate::shared::{Freshness, KEPT_MS, outcome};

const POWERCAP: &str = "/sys/class/powercap";

/// Zones of one machine; a server with eight processors has about fifty.
const ZONES_MAX: usize = 1024;

/// Energy of the processors.
#[derive(Debug, Default)]
pub struct Rapl {
    names: Vec<String>,
    scanned: Freshness,
    zones: Vec<Zone>,
    bytes: Vec<u8>,
}

/// A part of the machine with a counter of its own.
#[derive(Debug)]
struct Zone {
    family: Family,
    index: String,
    path: String,
    counter: String,
}

impl Collector for Rapl {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let names = match host.list(POWERCAP) {
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            result => result.map_err(CollectError::read(POWERCAP))?,
        };
        if names.len() > ZONES_MAX {
            let count = names.len();
            return Err(CollectError::Limit { what: "powercap zones", count, max: ZONES_MAX });
        }
        let now_ms = host.now_ms();
        if names != self.names || !self.scanned.lasts(KEPT_MS, now_ms) {
            self.zones = zones(host, &names);
            self.names = names;
            self.scanned.renew(now_ms);
        }
        for zone in &self.zones {
            if host.read_into(&zone.counter, &mut self.bytes).is_err() {
                continue;
            }
            if let Some(microjoules) = number(trimmed(&self.bytes)) {
                let labels = [("index", zone.index.as_str()), ("path", &zone.path)];
                out.push(&zone.family, &labels, microjoules as f64 / 1e6);
            }
        }
        Ok(outcome(out))
    }
}

/// The zones that have a name and the range of a counter.
fn zones(host: &dyn Host, names: &[String]) -> Vec<Zone> {
    let mut used = BTreeMap::new();
    let mut zones = Vec::new();
    for entry in names {
        let path = format!("{POWERCAP}/{entry}");
        let dir = host.resolved(&path).unwrap_or_else(|_| path.clone());
        let Ok(name) = host.text(&format!("{dir}/name")) else { continue };
        let (name, index) = name_and_index(name.trim(), &mut used);
        let range = host.read(&format!("{dir}/max_energy_range_uj"));
        if name.is_empty() || range.ok().and_then(|bytes| number(trimmed(&bytes))).is_none() {
            continue;
        }
        let keep = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let clean: String = name.chars().map(keep).collect();
        let help = format!("Current RAPL {name} value in joules.");
        zones.push(Zone {
            family: Family::dynamic(format!("node_rapl_{clean}_joules_total"), Kind::Counter, help),
            index: index.to_string(),
            counter: format!("{dir}/energy_uj"),
            path,
        });
    }
    zones.sort_by(|a, b| a.family.name.cmp(&b.family.name));
    zones
}

/// `package-1` gives `package` and 1; zones without a number are counted by their name.
fn name_and_index(name: &str, used: &mut BTreeMap<String, u64>) -> (String, u64) {
    if let Some((stem, digits)) = name.split_once('-')
        && let Some(index) = number(digits.as_bytes())
    {
        return (stem.to_owned(), index);
    }
    let next = used.entry(name.to_owned()).or_default();
    let index = *next;
    *next += 1;
    (name.to_owned(), index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_a_name_and_an_index() {
        let mut used = BTreeMap::new();
        let found = ["package-0", "core", "core", "package-1", "psys", "dram-x", "core"]
            .map(|name| name_and_index(name, &mut used));
        let expected = [
            ("package", 0),
            ("core", 0),
            ("core", 1),
            ("package", 1),
            ("psys", 0),
            ("dram-x", 0),
            ("core", 2),
        ];
        assert_eq!(found, expected.map(|(name, index)| (name.to_owned(), index)));
    }
}
