//! Time that tasks ran and waited to run, by CPU.
//!
//! - Reads: `/proc/schedstat`. Absent when that file is missing: a kernel that does not count it.
//! - Emits: `node_schedstat_*_total`.
//! - Not here: the scheduler's domains, single tasks.

use labstat_model::{Batch, Family};
use labstat_parse::proc::schedstat;

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::shared::read_if_there;

const PATH: &str = "/proc/schedstat";

static RUNNING: Family = Family::counter(
    "node_schedstat_running_seconds_total",
    "Number of seconds CPU spent running a process.",
);
static WAITING: Family = Family::counter(
    "node_schedstat_waiting_seconds_total",
    "Number of seconds spent by processing waiting for this CPU.",
);
static TIMESLICES: Family =
    Family::counter("node_schedstat_timeslices_total", "Number of timeslices executed by CPU.");

/// Time that tasks ran and waited to run.
#[derive(Debug, Default)]
pub struct Schedstat(Vec<u8>);

impl Collector for Schedstat {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        if !read_if_there(host, PATH, &mut self.0)? {
            return Ok(Status::Absent);
        }
        for cpu in schedstat::parse(&self.0) {
            let cpu = cpu.map_err(CollectError::parse(PATH))?;
            let labels = [("cpu", cpu.id)];
            out.push(&RUNNING, &labels, cpu.running_ns as f64 / 1e9);
            out.push(&WAITING, &labels, cpu.waiting_ns as f64 / 1e9);
            out.push(&TIMESLICES, &labels, cpu.timeslices as f64);
        }
        Ok(Status::Collected)
    }
}
