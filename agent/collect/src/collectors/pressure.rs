//! Time that tasks waited for CPU, memory, disks or interrupts.
//!
//! - Reads: `/proc/pressure/{cpu,io,memory,irq}`.
//! - Absent when none of them is there, or the kernel does not count it (`psi=0`).
//! - Emits: `node_pressure_*_seconds_total`.
//! - Not here: the kernel's own averages, which a query makes from the totals.

use labstat_model::{Batch, Family};
use labstat_parse::proc::pressure;

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;
use crate::shared::outcome;

static CPU_WAITING: Family = Family::counter(
    "node_pressure_cpu_waiting_seconds_total",
    "Seconds that processes waited for CPU time.",
);
static IO_WAITING: Family = Family::counter(
    "node_pressure_io_waiting_seconds_total",
    "Seconds that processes waited for I/O.",
);
static IO_STALLED: Family = Family::counter(
    "node_pressure_io_stalled_seconds_total",
    "Seconds that no process could go on for I/O.",
);
static MEMORY_WAITING: Family = Family::counter(
    "node_pressure_memory_waiting_seconds_total",
    "Seconds that processes waited for memory.",
);
static MEMORY_STALLED: Family = Family::counter(
    "node_pressure_memory_stalled_seconds_total",
    "Seconds that no process could go on for memory.",
);
static IRQ_STALLED: Family = Family::counter(
    "node_pressure_irq_stalled_seconds_total",
    "Seconds that no process could go on for interrupts.",
);

/// The file, and what its lines `some` and `full` are called.
type PressureFile = (&'static str, Option<&'static Family>, Option<&'static Family>);

static PRESSURES: [PressureFile; 4] = [
    ("/proc/pressure/cpu", Some(&CPU_WAITING), None),
    ("/proc/pressure/io", Some(&IO_WAITING), Some(&IO_STALLED)),
    ("/proc/pressure/memory", Some(&MEMORY_WAITING), Some(&MEMORY_STALLED)),
    ("/proc/pressure/irq", None, Some(&IRQ_STALLED)),
];

/// What reading gives where the kernel has the files and does not count.
const NOT_SUPPORTED: i32 = rustix::io::Errno::OPNOTSUPP.raw_os_error();

/// Time that tasks waited.
#[derive(Debug, Default)]
pub struct Pressure(Vec<u8>);

impl Collector for Pressure {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        for (path, some, full) in PRESSURES {
            match host.read_into(path, &mut self.0) {
                // The files may be there and not be served: that is a kernel that does not count.
                Err(error)
                    if is_absent(&error)
                        || error.kind() == std::io::ErrorKind::Unsupported
                        || error.raw_os_error() == Some(NOT_SUPPORTED) =>
                {
                    continue;
                }
                result => result.map_err(CollectError::read(path))?,
            }
            let found = pressure::parse(&self.0).map_err(CollectError::parse(path))?;
            for (family, micros) in [(some, found.some_us), (full, found.full_us)] {
                if let (Some(family), Some(micros)) = (family, micros) {
                    out.push(family, &[], micros as f64 / 1e6);
                }
            }
        }
        Ok(outcome(out))
    }
}
