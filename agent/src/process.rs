//! The `process_*` metrics of the agent itself, from `/proc/self`.
//!
//! This is the one place outside of `labstat-collect` that reads `/proc`: it is about this process
//! and not about the watched machine, which may be a captured one.

use std::fs;

use labstat_model::{Batch, Family};

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
    if let Some(seconds) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu) {
        out.push(&CPU, &[], seconds);
    }
    if let Ok(text) = fs::read_to_string("/proc/self/status") {
        for (family, name, factor) in [
            (&VIRTUAL, "VmSize:", 1024.0),
            (&RESIDENT, "VmRSS:", 1024.0),
            (&THREADS, "Threads:", 1.0),
        ] {
            if let Some(number) = limit(&text, name) {
                out.push(family, &[], number * factor);
            }
        }
    }
    if let Ok(limits) = fs::read_to_string("/proc/self/limits") {
        if let Some(max) = limit(&limits, "Max open files") {
            out.push(&MAX_FDS, &[], max);
        }
        if let Some(max) = limit(&limits, "Max address space") {
            out.push(&VIRTUAL_MAX, &[], max);
        }
    }
    if let Ok(fds) = fs::read_dir("/proc/self/fd") {
        // Reading the folder opens one more, which is gone when the number is read.
        out.push(&OPEN_FDS, &[], count(fds.count().saturating_sub(1)));
    }
    out.push(&START, &[], seconds(start_ms));
}

/// A count as a value.
pub(crate) fn count(number: usize) -> f64 {
    number as f64
}

/// Milliseconds as seconds.
pub(crate) fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// User and system time of `PID (NAME) STATE …`, in seconds. The name may hold spaces and
/// parentheses, so the last one ends it.
fn cpu(text: &str) -> Option<f64> {
    let (_, rest) = text.rsplit_once(')')?;
    // proc(5) counts fields from 1, with the state as the third; 14 and 15 are the times.
    let mut times = rest.split_ascii_whitespace().skip(11).map(str::parse::<f64>);
    Some((times.next()?.ok()? + times.next()?.ok()?) / TICKS_PER_SECOND)
}

/// The number behind `name` in `/proc/PID/limits` (the soft limit) or `/proc/PID/status`; -1 when
/// it is unlimited, as exporters have it.
fn limit(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_ascii_whitespace().next()? {
        "unlimited" => Some(-1.0),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_survives_any_name() {
        let text = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 7 0 99 4096000 250 1\n";
        assert_eq!(cpu(text), Some(2.0));
        assert_eq!(cpu("12 (a) S 1"), None);
    }

    #[test]
    fn limits_are_found_by_name() {
        let text = "Limit   Soft Limit   Hard Limit   Units\nMax open files  1024  4096  files\n\
                    Max address space  unlimited  unlimited  bytes\n";
        assert_eq!(limit(text, "Max open files"), Some(1024.0));
        assert_eq!(limit(text, "Max address space"), Some(-1.0));
        assert_eq!(limit(text, "Max stack"), None);
    }

    #[test]
    fn this_process_is_described() {
        let mut out = Batch::new();
        collect(1_000, &mut out);
        assert!(out.value("process_resident_memory_bytes", &[]).is_some_and(|v| v > 0.0));
        assert_eq!(out.value("process_start_time_seconds", &[]), Some(1.0));
        assert!(out.value("process_open_fds", &[]).is_some_and(|v| v >= 1.0));
    }
}
