//! Tasks that hung for so long that the kernel complained.
//!
//! - Reads: `/proc/sys/kernel/hung_task_detect_count`. Absent before Linux 6.13.
//! - Emits: [`HUNG`], and the same number under [`HUNG_OLD`], the name node_exporter gave it at
//!   first, which the dashboard Node Exporter Full still asks for.
//! - Not here: which tasks; the kernel's log names them.

use labstat_model::{Batch, Family};

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::shared::{NumberFile, push_numbers};

/// Tasks that hung since boot.
pub static HUNG: Family =
    Family::counter("node_kernel_hung_tasks_total", "Tasks that hung since the machine booted.");
/// The same, by the name that dashboards ask for.
pub static HUNG_OLD: Family =
    Family::counter("node_kernel_hung_tasks", "The former name of node_kernel_hung_tasks_total.");

const PATH: &str = "/proc/sys/kernel/hung_task_detect_count";

static FILES: [NumberFile; 2] = [(PATH, &[Some(&HUNG)]), (PATH, &[Some(&HUNG_OLD)])];

/// Tasks that hung.
#[derive(Debug, Default)]
pub struct KernelHung(Vec<u8>);

impl Collector for KernelHung {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        push_numbers(host, &FILES, &mut self.0, out)
    }
}
