//! Interrupts, switches and forks since the machine booted, when that was, and tasks that run now.
//!
//! - Reads: `/proc/stat`. Absent when that file is missing.
//! - Emits: `node_intr_total`, `node_context_switches_total`, `node_forks_total`,
//!   `node_boot_time_seconds`, `node_procs_running`, `node_procs_blocked`; those of them that the
//!   file has.
//! - Not here: CPU time, which is in the same file ([`super::cpu`]).

use labstat_model::{Batch, Family};
use labstat_parse::proc::stat;

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::shared::read_if_there;

const PATH: &str = "/proc/stat";

static INTR: Family = Family::counter("node_intr_total", "Total number of interrupts serviced.");
static CTXT: Family =
    Family::counter("node_context_switches_total", "Total number of context switches.");
static FORKS: Family = Family::counter("node_forks_total", "Total number of forks.");
static BOOT: Family = Family::gauge("node_boot_time_seconds", "Node boot time, in unixtime.");
static RUNNING: Family =
    Family::gauge("node_procs_running", "Number of processes in runnable state.");
static BLOCKED: Family =
    Family::gauge("node_procs_blocked", "Number of processes blocked waiting for I/O to complete.");

/// Interrupts, switches, forks, tasks and the time of boot.
#[derive(Debug, Default)]
pub struct Stat(Vec<u8>, Vec<stat::Cpu>);

impl Collector for Stat {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        if !read_if_there(host, PATH, &mut self.0)? {
            return Ok(Status::Absent);
        }
        let stat = stat::parse(&self.0, &mut self.1).map_err(CollectError::parse(PATH))?;
        let values = [
            (&INTR, stat.intr),
            (&CTXT, stat.ctxt),
            (&FORKS, stat.processes),
            (&BOOT, stat.btime),
            (&RUNNING, stat.procs_running),
            (&BLOCKED, stat.procs_blocked),
        ];
        for (family, value) in values {
            if let Some(value) = value {
                out.push(family, &[], value as f64);
            }
        }
        Ok(Status::Collected)
    }
}
