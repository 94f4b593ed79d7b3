//! What the aggregator costs: the `process_*` metrics that every Prometheus client exports.
//!
//! Reads the process' own entries in `/proc`, nothing of the machine. A figure that cannot be
//! read keeps what it was, since a gauge that was registered cannot be taken back.

use prometheus::{Counter, Gauge, IntGauge, Registry};
use rustix::param::clock_ticks_per_second;
use rustix::process::{Resource, getrlimit};

/// The figures of this process.
#[derive(Debug)]
pub(super) struct Process {
    cpu: Counter,
    resident: IntGauge,
    virtual_memory: IntGauge,
    threads: IntGauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
}

impl Process {
    pub(super) fn new(registry: &Registry, start_ms: i64) -> prometheus::Result<Self> {
        let start = Gauge::new(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
        )?;
        start.set(super::seconds(start_ms));
        registry.register(Box::new(start))?;
        let cpu = Counter::new(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
        )?;
        registry.register(Box::new(cpu.clone()))?;
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Self {
            cpu,
            resident: gauge("process_resident_memory_bytes", "Resident memory size in bytes.")?,
            virtual_memory: gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.")?,
            threads: gauge("process_threads", "Number of OS threads in the process.")?,
            open_fds: gauge("process_open_fds", "Number of open file descriptors.")?,
            max_fds: gauge("process_max_fds", "Maximum number of open file descriptors.")?,
        })
    }

    /// Takes the figures anew.
    pub(super) fn read(&self) {
        if let Some(figures) =
            std::fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(parse)
        {
            #[expect(clippy::cast_precision_loss, reason = "ticks are far below 2^53")]
            let seconds = figures.cpu_ticks as f64 / clock_ticks_per_second() as f64;
            self.cpu.inc_by((seconds - self.cpu.get()).max(0.0));
            self.virtual_memory.set(figures.virtual_bytes);
            let page = i64::try_from(rustix::param::page_size()).unwrap_or(4096);
            self.resident.set(figures.resident_pages.saturating_mul(page));
            self.threads.set(figures.threads);
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            // One of them is the folder that is being read.
            let open = entries.count().saturating_sub(1);
            self.open_fds.set(i64::try_from(open).unwrap_or(i64::MAX));
        }
        if let Some(max) = getrlimit(Resource::Nofile).current {
            self.max_fds.set(i64::try_from(max).unwrap_or(i64::MAX));
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Figures {
    cpu_ticks: u64,
    threads: i64,
    virtual_bytes: i64,
    resident_pages: i64,
}

/// Reads `/proc/self/stat`. The name in parentheses may hold anything, so fields are counted from
/// the last closing one; the first after it is field 3 of proc_pid_stat(5).
fn parse(stat: &str) -> Option<Figures> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    let (user, system): (u64, u64) = (field(14)?.parse().ok()?, field(15)?.parse().ok()?);
    Some(Figures {
        cpu_ticks: user.checked_add(system)?,
        threads: field(20)?.parse().ok()?,
        virtual_bytes: field(23)?.parse().ok()?,
        resident_pages: field(24)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 1 1 0 -1 0 0 0 0 0 30 12 0 0 20 0 5 0 999 4096000 250 18446744";
        let figures =
            Figures { cpu_ticks: 42, threads: 5, virtual_bytes: 4_096_000, resident_pages: 250 };
        assert_eq!(parse(stat), Some(figures));
        assert_eq!(parse("7 (a) S 1"), None);
        assert_eq!(parse(""), None);
    }
}
