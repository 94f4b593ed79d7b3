//! Paging, and the number of times memory ran out.
//!
//! - Reads: `/proc/vmstat`. Absent when that file is missing.
//! - Emits: `node_vmstat_*`, by the kernel's own names: `oom_kill`, `pgpg*`, `pswp*`, `pg*fault`.
//! - Not here: the other hundred and fifty counters of that file, which no dashboard uses.

use labstat_model::{Batch, Family, Kind};
use labstat_parse::proc::vmstat;

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::shared::{FamiliesByName, read_if_there};

const PATH: &str = "/proc/vmstat";

/// Paging and the number of times memory ran out.
#[derive(Debug, Default)]
pub struct Vmstat(Vec<u8>, FamiliesByName);

/// Whether dashboards use it; a kernel has some hundred and fifty more.
fn is_wanted(name: &str) -> bool {
    name.starts_with("oom_kill")
        || ["pgpg", "pswp"].iter().any(|prefix| name.starts_with(prefix))
        || (name.starts_with("pg") && name.ends_with("fault"))
}

impl Collector for Vmstat {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        if !read_if_there(host, PATH, &mut self.0)? {
            return Ok(Status::Absent);
        }
        let mut at = 0;
        for line in vmstat::parse(&self.0) {
            let (name, value) = line.map_err(CollectError::parse(PATH))?;
            if !is_wanted(name) {
                continue;
            }
            let make = || {
                let help = format!("/proc/vmstat information field {name}.");
                Family::dynamic(format!("node_vmstat_{name}"), Kind::Untyped, help)
            };
            if let Some(family) = self.1.get(at, name, "", make) {
                out.push(family, &[], value as f64);
            }
            at += 1;
        }
        Ok(Status::Collected)
    }
}
