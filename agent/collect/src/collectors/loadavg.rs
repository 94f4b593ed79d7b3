//! Load averages: how many tasks run, or wait for a CPU or a disk.
//!
//! - Reads: `/proc/loadavg`. Absent when that file is missing.
//! - Emits: `node_load1`, `node_load5`, `node_load15`.
//! - Not here: the number of tasks at this moment ([`super::stat`]).

use labstat_model::{Batch, Family};
use labstat_parse::proc::loadavg;

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::shared::read_if_there;

const PATH: &str = "/proc/loadavg";

static LOADS: [Family; 3] = [
    Family::gauge("node_load1", "1m load average."),
    Family::gauge("node_load5", "5m load average."),
    Family::gauge("node_load15", "15m load average."),
];

/// Load averages.
#[derive(Debug, Default)]
pub struct Loadavg(Vec<u8>);

impl Collector for Loadavg {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        if !read_if_there(host, PATH, &mut self.0)? {
            return Ok(Status::Absent);
        }
        let loads = loadavg::parse(&self.0).map_err(CollectError::parse(PATH))?;
        for (family, load) in LOADS.iter().zip(loads) {
            out.push(family, &[], load);
        }
        Ok(Status::Collected)
    }
}
