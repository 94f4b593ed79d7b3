//! What the kernel says of itself in one file each: load, tasks, memory, paging, pressure, names,
//! time.
//!
//! - Reads: `/proc/loadavg`, `/proc/stat`, `/proc/meminfo`, `/proc/vmstat`, `/proc/pressure/*`,
//!   `/etc/os-release`, the kernel's names, the clock.
//! - Each is absent when its file is.
//! - Not here: CPU time ([`crate::cpu`]).

use labstat_model::{Batch, Family, Kind};
use labstat_parse::proc::{
    fields_of, loadavg, meminfo, number, os_release, pressure, stat, trimmed, vmstat,
};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;

static LOADS: [Family; 3] = [
    Family::gauge("node_load1", "1m load average."),
    Family::gauge("node_load5", "5m load average."),
    Family::gauge("node_load15", "15m load average."),
];
static INTR: Family = Family::counter("node_intr_total", "Total number of interrupts serviced.");
static CTXT: Family =
    Family::counter("node_context_switches_total", "Total number of context switches.");
static FORKS: Family = Family::counter("node_forks_total", "Total number of forks.");
static BOOT: Family = Family::gauge("node_boot_time_seconds", "Node boot time, in unixtime.");
static RUNNING: Family =
    Family::gauge("node_procs_running", "Number of processes in runnable state.");
static BLOCKED: Family =
    Family::gauge("node_procs_blocked", "Number of processes blocked waiting for I/O to complete.");
static UNAME: Family = Family::gauge("node_uname_info", "Names of the kernel and the machine.");
static OS: Family = Family::gauge("node_os_info", "Names of the operating system; always 1.");
static OS_VERSION: Family =
    Family::gauge("node_os_version", "The major.minor part of the operating system's version.");
static TIME: Family =
    Family::gauge("node_time_seconds", "System time in seconds since epoch (1970).");

/// Reads a file whose absence means that the machine has no such thing.
fn read(host: &dyn Host, path: &str, into: &mut Vec<u8>) -> Result<Status, CollectError> {
    match host.read_into(path, into) {
        Ok(()) => Ok(Status::Collected),
        Err(error) if is_absent(&error) => Ok(Status::Absent),
        Err(cause) => Err(CollectError::Read { from: path.to_owned(), cause }),
    }
}

/// Load averages.
#[derive(Debug, Default)]
pub struct Loadavg(Vec<u8>);

impl Collector for Loadavg {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        const PATH: &str = "/proc/loadavg";
        let status = read(host, PATH, &mut self.0)?;
        if status == Status::Collected {
            let loads = loadavg::parse(&self.0).map_err(CollectError::parse(PATH))?;
            for (family, load) in LOADS.iter().zip(loads) {
                out.push(family, &[], load);
            }
        }
        Ok(status)
    }
}

/// Interrupts, switches, forks, tasks and the time of boot.
#[derive(Debug, Default)]
pub struct Stat(Vec<u8>, Vec<stat::Cpu>);

impl Collector for Stat {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        const PATH: &str = "/proc/stat";
        let status = read(host, PATH, &mut self.0)?;
        if status == Status::Collected {
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
        }
        Ok(status)
    }
}

/// Families whose names come from a file: made once and found again by their place in it.
#[derive(Debug, Default)]
struct Named(Vec<(String, Family)>);

impl Named {
    /// The family for the line at `at` that has the name `key`.
    fn get(&mut self, at: usize, key: &str, make: impl FnOnce() -> Family) -> Option<&Family> {
        if self.0.get(at).is_none_or(|(known, _)| known != key) {
            self.0.truncate(at);
            self.0.push((key.to_owned(), make()));
        }
        self.0.get(at).map(|(_, family)| family)
    }
}

/// Lines of `/proc/meminfo`; kernels have about sixty.
const MEMINFO_LINES_MAX: usize = 512;

/// Memory.
#[derive(Debug, Default)]
pub struct Meminfo(Vec<u8>, Named);

impl Collector for Meminfo {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        const PATH: &str = "/proc/meminfo";
        let status = read(host, PATH, &mut self.0)?;
        if status == Status::Absent {
            return Ok(status);
        }
        for (at, line) in meminfo::parse(&self.0).enumerate() {
            let line = line.map_err(CollectError::parse(PATH))?;
            if at >= MEMINFO_LINES_MAX {
                let (what, count) = ("lines of meminfo", at + 1);
                return Err(CollectError::Limit { what, count, max: MEMINFO_LINES_MAX });
            }
            if let Some(family) = self.1.get(at, line.name, || memory_family(line)) {
                out.push(family, &[], line.value as f64);
            }
        }
        Ok(status)
    }
}

/// `Active(anon)` with a unit gives `node_memory_Active_anon_bytes`.
fn memory_family(line: meminfo::Line<'_>) -> Family {
    let mut name = "node_memory_".to_owned();
    for c in line.name.chars() {
        match c {
            ')' => {}
            c if c.is_ascii_alphanumeric() => name.push(c),
            _ => name.push('_'),
        }
    }
    if line.is_size {
        name.push_str("_bytes");
    }
    Family::dynamic(name, Kind::Gauge, format!("Memory information field {}.", line.name))
}

/// Paging and the number of times memory ran out.
#[derive(Debug, Default)]
pub struct Vmstat(Vec<u8>, Named);

/// Whether dashboards use it; a kernel has some hundred and fifty more.
fn is_wanted(name: &str) -> bool {
    name.starts_with("oom_kill")
        || ["pgpg", "pswp"].iter().any(|prefix| name.starts_with(prefix))
        || (name.starts_with("pg") && name.ends_with("fault"))
}

impl Collector for Vmstat {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        const PATH: &str = "/proc/vmstat";
        let status = read(host, PATH, &mut self.0)?;
        if status == Status::Absent {
            return Ok(status);
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
            if let Some(family) = self.1.get(at, name, make) {
                out.push(family, &[], value as f64);
            }
            at += 1;
        }
        Ok(status)
    }
}

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

/// Time that tasks waited. Absent when the kernel does not count it (`psi=0`).
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
        Ok(if out.is_empty() { Status::Absent } else { Status::Collected })
    }
}

const NOT_SUPPORTED: i32 = rustix::io::Errno::OPNOTSUPP.raw_os_error();

/// Names of kernel and machine.
#[derive(Debug, Default)]
pub struct Uname;

impl Collector for Uname {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let uname = match host.uname() {
            Ok(uname) => uname,
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            Err(cause) => return Err(CollectError::Read { from: "uname".to_owned(), cause }),
        };
        let labels = [
            ("domainname", uname.domainname.as_str()),
            ("machine", &uname.machine),
            ("nodename", &uname.nodename),
            ("release", &uname.release),
            ("sysname", &uname.sysname),
            ("version", &uname.version),
        ];
        out.push(&UNAME, &labels, 1.0);
        Ok(Status::Collected)
    }
}

/// Labels of `node_os_info` that have another name in the file, or the same in capitals.
const OS_KEYS: [(&str, &str); 12] = [
    ("BUILD_ID", "build_id"),
    ("ID", "id"),
    ("ID_LIKE", "id_like"),
    ("IMAGE_ID", "image_id"),
    ("IMAGE_VERSION", "image_version"),
    ("NAME", "name"),
    ("PRETTY_NAME", "pretty_name"),
    ("VARIANT", "variant"),
    ("VARIANT_ID", "variant_id"),
    ("VERSION", "version"),
    ("VERSION_CODENAME", "version_codename"),
    ("VERSION_ID", "version_id"),
];

/// Names of the distribution.
#[derive(Debug, Default)]
pub struct Os(Vec<u8>);

impl Collector for Os {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let mut status = Status::Absent;
        for path in ["/etc/os-release", "/usr/lib/os-release"] {
            status = read(host, path, &mut self.0)?;
            if status == Status::Collected {
                break;
            }
        }
        if status == Status::Absent {
            return Ok(status);
        }
        let found: Vec<(&str, String)> = os_release::parse(&self.0)
            .filter_map(|(key, value)| {
                let (_, label) = OS_KEYS.iter().find(|(known, _)| *known == key)?;
                Some((*label, value))
            })
            .collect();
        let get = |label: &str| {
            // The last of several lines counts, as in a shell.
            found.iter().rev().find(|(known, _)| *known == label).map_or("", |(_, v)| v.as_str())
        };
        let labels = OS_KEYS.map(|(_, label)| (label, get(label)));
        out.push(&OS, &labels, 1.0);
        if let Some(version) = major_minor(get("version_id")) {
            let labels = [("id", get("id")), ("id_like", get("id_like")), ("name", get("name"))];
            out.push(&OS_VERSION, &labels, version);
        }
        Ok(status)
    }
}

/// `22.04.1` gives 22.04.
fn major_minor(version: &str) -> Option<f64> {
    let mut parts = version.splitn(3, '.');
    let major = parts.next().filter(|part| number(part.as_bytes()).is_some())?;
    match parts.next().filter(|part| number(part.as_bytes()).is_some()) {
        Some(minor) => format!("{major}.{minor}").parse().ok(),
        None => major.parse().ok(),
    }
}

/// The watched machine's clock.
#[derive(Debug, Default)]
pub struct Time;

impl Collector for Time {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        out.push(&TIME, &[], host.now_ms() as f64 / 1000.0);
        Ok(Status::Collected)
    }
}

static FD_ALLOCATED: Family =
    Family::gauge("node_filefd_allocated", "File descriptor statistics: allocated.");
static FD_MAXIMUM: Family =
    Family::gauge("node_filefd_maximum", "File descriptor statistics: maximum.");
static ENTROPY: Family = Family::gauge("node_entropy_available_bits", "Bits of available entropy.");
static ENTROPY_SIZE: Family = Family::gauge("node_entropy_pool_size_bits", "Bits of entropy pool.");
static CONNTRACK: Family = Family::gauge(
    "node_nf_conntrack_entries",
    "Number of currently allocated flow entries for connection tracking.",
);
static CONNTRACK_MAX: Family =
    Family::gauge("node_nf_conntrack_entries_limit", "Maximum size of connection tracking table.");

/// A file and the families of the numbers in it; those without one are left out.
type Counters = (&'static str, &'static [Option<&'static Family>]);

/// Open files, entropy, connections: files of one to three numbers.
#[derive(Debug)]
pub struct Numbers {
    files: &'static [Counters],
    bytes: Vec<u8>,
}

impl Numbers {
    /// Open files of the machine.
    pub fn filefd() -> Self {
        const FILES: &[Counters] =
            &[("/proc/sys/fs/file-nr", &[Some(&FD_ALLOCATED), None, Some(&FD_MAXIMUM)])];
        Self { files: FILES, bytes: Vec::new() }
    }

    /// The kernel's randomness.
    pub fn entropy() -> Self {
        const FILES: &[Counters] = &[
            ("/proc/sys/kernel/random/entropy_avail", &[Some(&ENTROPY)]),
            ("/proc/sys/kernel/random/poolsize", &[Some(&ENTROPY_SIZE)]),
        ];
        Self { files: FILES, bytes: Vec::new() }
    }

    /// Connections that the firewall follows.
    pub fn conntrack() -> Self {
        const FILES: &[Counters] = &[
            ("/proc/sys/net/netfilter/nf_conntrack_count", &[Some(&CONNTRACK)]),
            ("/proc/sys/net/netfilter/nf_conntrack_max", &[Some(&CONNTRACK_MAX)]),
        ];
        Self { files: FILES, bytes: Vec::new() }
    }
}

impl Collector for Numbers {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        for (path, families) in self.files {
            if read(host, path, &mut self.bytes)? == Status::Absent {
                continue;
            }
            let mut fields = fields_of(trimmed(&self.bytes));
            for family in *families {
                let field = fields.next().unwrap_or_default();
                let value = number(field).ok_or_else(|| {
                    let found = String::from_utf8_lossy(field);
                    CollectError::parse(path)(format!("not a number: {found:?}"))
                })?;
                if let Some(family) = family {
                    out.push(family, &[], value as f64);
                }
            }
        }
        Ok(if out.is_empty() { Status::Absent } else { Status::Collected })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(major_minor("22.04.1"), Some(22.04));
        assert_eq!(major_minor("12"), Some(12.0));
        assert_eq!(major_minor("12-rc"), None);
        assert_eq!(major_minor(""), None);
    }

    #[test]
    fn names_of_memory_fields() {
        let name = |name, is_size| memory_family(meminfo::Line { name, value: 0, is_size }).name;
        assert_eq!(name("Active(anon)", true), "node_memory_Active_anon_bytes");
        assert_eq!(name("HugePages_Total", false), "node_memory_HugePages_Total");
    }
}
