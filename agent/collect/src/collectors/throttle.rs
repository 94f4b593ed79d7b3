//! How often processors made themselves slower since they were too hot.
//!
//! - Reads: `thermal_throttle` and `topology` of each CPU in sysfs; which CPUs there are once a minute,
//!   the counters in every round.
//! - Absent where the kernel counts nothing of it: on virtual machines and on processors that are
//!   not Intel's.
//! - Emits: [`CORE`] once for each core and [`PACKAGE`] once for each processor, however many CPUs
//!   share it.
//! - Not here: time and frequency ([`super::cpu`]), temperatures ([`super::hwmon`]).

use std::collections::BTreeSet;

use labstat_model::{Batch, Family};
use labstat_parse::proc::{number, trimmed};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;
use crate::shared::{Freshness, KEPT_MS, outcome};

/// Throttling of a core.
pub static CORE: Family = Family::counter(
    "node_cpu_core_throttles_total",
    "Number of times this CPU core has been throttled.",
);
/// Throttling of a whole processor.
pub static PACKAGE: Family = Family::counter(
    "node_cpu_package_throttles_total",
    "Number of times this CPU package has been throttled.",
);

const CPUS: &str = "/sys/devices/system/cpu";

/// CPUs of one machine: as many as the kernel can be built for.
const CPUS_MAX: usize = 8192;

/// Throttling of processors.
#[derive(Debug, Default)]
pub struct Throttle {
    scanned: Freshness,
    counters: Vec<Counter>,
    bytes: Vec<u8>,
}

/// One counter.
#[derive(Debug)]
struct Counter {
    package: u64,
    /// Absent for that of the package.
    core: Option<u64>,
    package_label: String,
    core_label: String,
    path: String,
}

impl Collector for Throttle {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let now_ms = host.now_ms();
        if !self.scanned.lasts(KEPT_MS, now_ms) {
            let names = match host.list(CPUS) {
                Err(error) if is_absent(&error) => return Ok(Status::Absent),
                result => result.map_err(CollectError::read(CPUS))?,
            };
            if names.len() > CPUS_MAX {
                let count = names.len();
                return Err(CollectError::Limit { what: "CPUs", count, max: CPUS_MAX });
            }
            self.counters = counters(host, &names);
            self.scanned.renew(now_ms);
        }
        for counter in &self.counters {
            // A CPU that was switched off since the last look has none.
            if host.read_into(&counter.path, &mut self.bytes).is_err() {
                continue;
            }
            let Some(count) = number(trimmed(&self.bytes)) else { continue };
            let package = ("package", counter.package_label.as_str());
            match counter.core {
                Some(_) => out.push(&CORE, &[("core", &counter.core_label), package], count as f64),
                None => out.push(&PACKAGE, &[package], count as f64),
            }
        }
        Ok(outcome(out))
    }
}

/// One counter for each core and each package, of the first CPU that has it.
fn counters(host: &dyn Host, names: &[String]) -> Vec<Counter> {
    let mut seen = BTreeSet::new();
    let mut counters = Vec::new();
    let mut cpus: Vec<u64> =
        names.iter().filter_map(|name| number(name.strip_prefix("cpu")?.as_bytes())).collect();
    cpus.sort_unstable();
    for cpu in cpus {
        let dir = format!("{CPUS}/cpu{cpu}");
        let of_file = |file: &str| number(trimmed(&host.read(&format!("{dir}/{file}")).ok()?));
        let Some(package) = of_file("topology/physical_package_id") else { continue };
        let core = of_file("topology/core_id");
        for (core, file) in [(core, "core_throttle_count"), (None, "package_throttle_count")] {
            let path = format!("{dir}/thermal_throttle/{file}");
            // Where the kernel does not say which core it is, only the package is known.
            let is_nameless = file.starts_with("core") && core.is_none();
            if is_nameless || host.read(&path).is_err() || !seen.insert((package, core)) {
                continue;
            }
            counters.push(Counter {
                package,
                core,
                package_label: package.to_string(),
                core_label: core.map(|core| core.to_string()).unwrap_or_default(),
                path,
            });
        }
    }
    counters.sort_by_key(|counter| (counter.core.is_none(), counter.package, counter.core));
    counters
}
