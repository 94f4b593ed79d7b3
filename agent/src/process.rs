//! The `process_*` metrics of the agent itself, from `/proc/self`.
//!
//! This is the one place outside of `labstat-collect` that reads `/proc`: it is about this process
//! and not about the watched machine, which may be a captured one.

use std::fs;

use labstat_model::{Batch, Family};
use rustix::process::{Resource, getrlimit};

/// Clock ticks per second in `/proc/PID/stat`, on every architecture Linux still runs on.
const TICKS_PER_SECOND: f64 = 100.0;

static CPU: Family =
    Family::counter("process_cpu_seconds_total", "CPU time of this process, user and system.");
static OPEN_FDS: Family = Family::gauge("process_open_fds", "Files this process has open.");
static MAX_FDS: Family = Family::gauge("process_max_fds", "Files this process may have open.");
static VIRTUAL: Family =
    Family::gauge("process_virtual_memory_bytes", "Address space of this process.");
static VIRTUAL_MAX: Family = Family::gauge(
    "process_virtual_memory_max_bytes",
    "Address space this process may have; -1 without a bound.",
);
static RESIDENT: Family =
    Family::gauge("process_resident_memory_bytes", "Memory this process has in use.");
static START: Family = Family::gauge(
    "process_start_time_seconds",
    "When this process started, in seconds since the Unix epoch.",
);
static THREADS: Family = Family::gauge("process_threads", "Threads of this process.");

/// Adds what the kernel says about this process; what it does not say is left out.
pub(crate) fn collect(start_ms: i64, out: &mut Batch) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    if let Some(stat) = Stat::parse(&stat) {
        out.push(&CPU, &[], stat.cpu_seconds);
        out.push(&VIRTUAL, &[], stat.virtual_bytes);
        out.push(&RESIDENT, &[], stat.resident_pages * rustix::param::page_size() as f64);
        out.push(&THREADS, &[], stat.threads);
    }
    for (family, resource) in [(&MAX_FDS, Resource::Nofile), (&VIRTUAL_MAX, Resource::As)] {
        // As exporters have it, -1 is no bound.
        let max = getrlimit(resource).current.map_or(-1.0, |max| max as f64);
        out.push(family, &[], max);
    }
    if let Some(open) = open_fds() {
        out.push(&OPEN_FDS, &[], count(open));
    }
    out.push(&START, &[], seconds(start_ms));
}

/// How many files this process has open.
fn open_fds() -> Option<usize> {
    const FDS: &str = "/proc/self/fd";
    // Since Linux 6.2 the folder's size says it.
    match fs::metadata(FDS).ok()?.len() {
        // Reading the folder opens one more, which is gone when the number is read.
        0 => Some(fs::read_dir(FDS).ok()?.count().saturating_sub(1)),
        len => usize::try_from(len).ok(),
    }
}

/// A count as a value.
pub(crate) fn count(number: usize) -> f64 {
    number as f64
}

/// Milliseconds as seconds.
pub(crate) fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// What is taken of `/proc/PID/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    threads: f64,
    virtual_bytes: f64,
    resident_pages: f64,
}

impl Stat {
    /// Reads `PID (NAME) STATE …`. The name may hold spaces and parentheses, so the last one ends
    /// it.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        // proc(5) counts fields from 1, with the state as the third: 14 and 15 are the times, 20
        // is the number of threads, 23 and 24 are memory.
        let mut skip = |count| fields.nth(count)?.parse::<f64>().ok();
        let ticks = skip(11)? + skip(0)?;
        Some(Self {
            cpu_seconds: ticks / TICKS_PER_SECOND,
            threads: skip(4)?,
            virtual_bytes: skip(2)?,
            resident_pages: skip(0)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_survives_any_name() {
        let text = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 7 0 99 4096000 250 1\n";
        let stat = Stat {
            cpu_seconds: 2.0,
            threads: 7.0,
            virtual_bytes: 4_096_000.0,
            resident_pages: 250.0,
        };
        assert_eq!(Stat::parse(text), Some(stat));
        assert_eq!(Stat::parse("12 (a) S 1"), None);
    }

    #[test]
    fn this_process_is_described() {
        let mut out = Batch::new();
        collect(1_000, &mut out);
        assert!(out.value("process_resident_memory_bytes", &[]).is_some_and(|v| v > 0.0));
        assert_eq!(out.value("process_start_time_seconds", &[]), Some(1.0));
        let listed = fs::read_dir("/proc/self/fd").unwrap().count() as f64;
        // Other tests open files meanwhile.
        let open = out.value("process_open_fds", &[]).unwrap();
        assert!(open >= 3.0 && (open - listed).abs() < 64.0, "{open}, {listed} listed");
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
        let kib: f64 = line.trim_end_matches("kB").trim().parse().unwrap();
        let size = out.value("process_virtual_memory_bytes", &[]).unwrap();
        assert!((0.5..2.0).contains(&(size / (kib * 1024.0))), "{size}, {kib} KiB");
        assert!(out.value("process_threads", &[]).is_some_and(|v| v >= 1.0));
        assert!(out.value("process_max_fds", &[]).is_some_and(|v| v == -1.0 || v >= 16.0));
    }
}
