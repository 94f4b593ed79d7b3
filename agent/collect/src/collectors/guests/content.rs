//! The files of a guest's control group and what is made of them.

use labstat_model::{Batch, Family};
use labstat_parse::proc::cgroup::{self, Io};
use labstat_parse::proc::pressure;

use crate::collector::CollectError;
use crate::host::Host;

static CPU: Family =
    Family::counter("labstat_guest_cpu_seconds_total", "CPU time that the guest used.");
static CPU_USER: Family = Family::counter(
    "labstat_guest_cpu_user_seconds_total",
    "CPU time of the guest outside of the kernel; a virtual machine's is here.",
);
static CPU_SYSTEM: Family = Family::counter(
    "labstat_guest_cpu_system_seconds_total",
    "CPU time that this machine's kernel used for the guest.",
);
static PERIODS: Family = Family::counter(
    "labstat_guest_cpu_periods_total",
    "Periods in which the guest ran under a limit of its CPU time.",
);
static THROTTLED_PERIODS: Family = Family::counter(
    "labstat_guest_cpu_throttled_periods_total",
    "Those of the periods in which the guest came to its limit.",
);
static THROTTLED: Family = Family::counter(
    "labstat_guest_cpu_throttled_seconds_total",
    "Time that the guest was held back by its limit of CPU time.",
);
static MEMORY: Family = Family::gauge(
    "labstat_guest_memory_bytes",
    "Memory that the guest holds, with files that are cached for it.",
);
static MEMORY_ANON: Family = Family::gauge(
    "labstat_guest_memory_anon_bytes",
    "Memory of the guest's programs; a virtual machine's memory is here.",
);
static MEMORY_FILE: Family = Family::gauge(
    "labstat_guest_memory_file_bytes",
    "Files cached for the guest, most of which can be given up.",
);
static MEMORY_KERNEL: Family = Family::gauge(
    "labstat_guest_memory_kernel_bytes",
    "Memory that the kernel needs for the guest.",
);
static MEMORY_LIMIT: Family = Family::gauge(
    "labstat_guest_memory_limit_bytes",
    "Memory that the guest may hold; absent where it has no limit.",
);
static SWAP: Family = Family::gauge("labstat_guest_swap_bytes", "Swap that the guest holds.");
static OOM_KILLS: Family = Family::counter(
    "labstat_guest_oom_kills_total",
    "Processes of the guest that were killed because memory ran out.",
);
static READ_BYTES: Family = Family::counter(
    "labstat_guest_io_read_bytes_total",
    "Bytes that the guest read from a device; a device below another counts them again.",
);
static WRITTEN_BYTES: Family = Family::counter(
    "labstat_guest_io_written_bytes_total",
    "Bytes that the guest wrote to a device; a device below another counts them again.",
);
static READS: Family =
    Family::counter("labstat_guest_io_reads_total", "Reads of the guest from a device.");
static WRITES: Family =
    Family::counter("labstat_guest_io_writes_total", "Writes of the guest to a device.");
static WAITING: Family = Family::counter(
    "labstat_guest_pressure_waiting_seconds_total",
    "Time in which some task of the guest waited for the resource.",
);
static STALLED: Family = Family::counter(
    "labstat_guest_pressure_stalled_seconds_total",
    "Time in which no task of the guest could go on for want of the resource.",
);
static TASKS: Family = Family::gauge("labstat_guest_tasks", "Processes and threads of the guest.");

/// Parts of a second in which a file counts.
const MICROSECONDS: f64 = 1e6;
const NANOSECONDS: f64 = 1e9;
/// What version 1 counts in: the kernel shows users a hundredth of a second whatever it works with.
const TICKS: f64 = 100.0;

/// Version 1 has no word for "no limit" but the largest number of pages.
const V1_UNLIMITED_BYTES: u64 = 1 << 62;

/// Devices of one machine whose names are kept.
const DEVICES_MAX: usize = 1024;

/// A word of a file, its family, and what its number is divided by.
type Key = (&'static str, &'static Family, f64);

/// What is in a file.
#[derive(Debug)]
pub(super) enum Content {
    /// Words and numbers.
    Flat(&'static [Key]),
    /// One number, and what it is divided by.
    Value(&'static Family, f64),
    /// One number, or none.
    Limit(&'static Family),
    /// `io.stat`.
    Io,
    /// The files of version 1, in bytes or not.
    Blkio(bool),
    /// Time that was waited for this resource.
    Pressure(&'static str),
}

/// Files of version 2, all in one folder.
pub(super) static V2: [(&str, Content); 11] = [
    (
        "cpu.stat",
        Content::Flat(&[
            ("usage_usec", &CPU, MICROSECONDS),
            ("user_usec", &CPU_USER, MICROSECONDS),
            ("system_usec", &CPU_SYSTEM, MICROSECONDS),
            ("nr_periods", &PERIODS, 1.0),
            ("nr_throttled", &THROTTLED_PERIODS, 1.0),
            ("throttled_usec", &THROTTLED, MICROSECONDS),
        ]),
    ),
    ("memory.current", Content::Value(&MEMORY, 1.0)),
    (
        "memory.stat",
        Content::Flat(&[
            ("anon", &MEMORY_ANON, 1.0),
            ("file", &MEMORY_FILE, 1.0),
            ("kernel", &MEMORY_KERNEL, 1.0),
        ]),
    ),
    ("memory.max", Content::Limit(&MEMORY_LIMIT)),
    ("memory.swap.current", Content::Value(&SWAP, 1.0)),
    ("memory.events", Content::Flat(&[("oom_kill", &OOM_KILLS, 1.0)])),
    ("io.stat", Content::Io),
    ("pids.current", Content::Value(&TASKS, 1.0)),
    ("cpu.pressure", Content::Pressure("cpu")),
    ("io.pressure", Content::Pressure("io")),
    ("memory.pressure", Content::Pressure("memory")),
];

/// Files of version 1, each with its controller.
pub(super) static V1: [(&str, &str, Content); 9] = [
    ("cpuacct", "cpuacct.usage", Content::Value(&CPU, NANOSECONDS)),
    (
        "cpuacct",
        "cpuacct.stat",
        Content::Flat(&[("user", &CPU_USER, TICKS), ("system", &CPU_SYSTEM, TICKS)]),
    ),
    ("memory", "memory.usage_in_bytes", Content::Value(&MEMORY, 1.0)),
    (
        "memory",
        "memory.stat",
        Content::Flat(&[
            ("total_rss", &MEMORY_ANON, 1.0),
            ("total_cache", &MEMORY_FILE, 1.0),
            ("total_swap", &SWAP, 1.0),
        ]),
    ),
    ("memory", "memory.limit_in_bytes", Content::Limit(&MEMORY_LIMIT)),
    ("memory", "memory.oom_control", Content::Flat(&[("oom_kill", &OOM_KILLS, 1.0)])),
    ("blkio", "blkio.throttle.io_service_bytes_recursive", Content::Blkio(true)),
    ("blkio", "blkio.throttle.io_serviced_recursive", Content::Blkio(false)),
    ("pids", "pids.current", Content::Value(&TASKS, 1.0)),
];

impl Content {
    /// Adds what `bytes` say of `guest`.
    pub(super) fn push(
        &self,
        (path, bytes): (&str, &[u8]),
        guest: &str,
        host: &dyn Host,
        devices: &mut Devices,
        out: &mut Batch,
    ) -> Result<(), CollectError> {
        let wrong = CollectError::parse(path.to_owned());
        let labels = [("guest", guest)];
        match self {
            Self::Flat(keys) => {
                for line in cgroup::flat(bytes) {
                    let (word, value) = match line {
                        Ok(line) => line,
                        Err(cause) => return Err(wrong(cause)),
                    };
                    if let Some((_, family, parts)) =
                        keys.iter().find(|(key, ..)| key.as_bytes() == word)
                    {
                        out.push(family, &labels, value as f64 / parts);
                    }
                }
            }
            Self::Value(family, parts) => {
                let value = cgroup::value(bytes).map_err(wrong)?;
                out.push(family, &labels, value as f64 / parts);
            }
            Self::Limit(family) => {
                let limit = cgroup::limit(bytes).map_err(wrong)?;
                if let Some(limit) = limit.filter(|limit| *limit < V1_UNLIMITED_BYTES) {
                    out.push(family, &labels, limit as f64);
                }
            }
            Self::Io => devices.push(cgroup::io(bytes), guest, host, out)?,
            Self::Blkio(in_bytes) => {
                devices.push(cgroup::blkio(bytes, *in_bytes), guest, host, out)?;
            }
            Self::Pressure(resource) => {
                let found = pressure::parse(bytes).map_err(wrong)?;
                let labels = [("guest", guest), ("resource", resource)];
                for (family, micros) in [(&WAITING, found.some_us), (&STALLED, found.full_us)] {
                    if let Some(micros) = micros {
                        out.push(family, &labels, micros as f64 / MICROSECONDS);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The names of block devices by their numbers.
#[derive(Debug, Default)]
pub(super) struct Devices(Vec<(String, String)>);

impl Devices {
    /// Looks all names up anew: a number may have gone to another device.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    fn push<'a>(
        &mut self,
        counts: impl Iterator<Item = Result<cgroup::IoCount<'a>, labstat_parse::ParseError>>,
        guest: &str,
        host: &dyn Host,
        out: &mut Batch,
    ) -> Result<(), CollectError> {
        for found in counts {
            let found = found.map_err(CollectError::parse("what a guest read and wrote"))?;
            let family = match found.io {
                Io::ReadBytes => &READ_BYTES,
                Io::WrittenBytes => &WRITTEN_BYTES,
                Io::Reads => &READS,
                Io::Writes => &WRITES,
            };
            let labels = [("device", self.name(host, found.device)), ("guest", guest)];
            out.push(family, &labels, found.count as f64);
        }
        Ok(())
    }

    /// The kernel's name of a device, or its numbers where it has none.
    fn name<'a>(&'a mut self, host: &dyn Host, numbers: &'a str) -> &'a str {
        let known = self.0.iter().position(|(known, _)| known == numbers);
        let at = known.unwrap_or_else(|| {
            let link = host.link(&format!("/sys/dev/block/{numbers}")).unwrap_or_default();
            let name = link.rsplit('/').next().unwrap_or_default();
            let name = if name.is_empty() { numbers } else { name };
            if self.0.len() >= DEVICES_MAX {
                self.0.clear();
            }
            self.0.push((numbers.to_owned(), name.to_owned()));
            self.0.len() - 1
        });
        self.0.get(at).map_or(numbers, |(_, name)| name)
    }
}
