//! Time and frequency of CPUs.
//!
//! - Reads: `/proc/stat`, `cpufreq` of each CPU in sysfs.
//! - Absent when there is no `/proc/stat`.
//! - Emits: [`SECONDS`], [`GUEST`]; per CPU with frequency scaling [`HERTZ`], [`HERTZ_MIN`],
//!   [`HERTZ_MAX`].
//! - Not here: model and flags, throttling, interrupts and tasks ([`super::stat`]).

use std::collections::HashMap;
use std::fmt::Write;

use labstat_model::{Batch, Family};
use labstat_parse::proc::stat::{self, MODES, TICKS_PER_SECOND};
use labstat_parse::proc::{float, trimmed};

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::shared::read_if_there;

/// Time in each mode.
pub static SECONDS: Family =
    Family::counter("node_cpu_seconds_total", "Seconds the CPUs spent in each mode.");
/// Time spent for guests; part of user and nice.
pub static GUEST: Family = Family::counter(
    "node_cpu_guest_seconds_total",
    "Seconds the CPUs spent in guests (VMs) for each mode.",
);
/// Current frequency.
pub static HERTZ: Family =
    Family::gauge("node_cpu_scaling_frequency_hertz", "Current scaled CPU frequency.");
/// Lowest frequency.
pub static HERTZ_MIN: Family =
    Family::gauge("node_cpu_scaling_frequency_min_hertz", "Minimum scaled CPU frequency.");
/// Highest frequency.
pub static HERTZ_MAX: Family =
    Family::gauge("node_cpu_scaling_frequency_max_hertz", "Maximum scaled CPU frequency.");

const PATH: &str = "/proc/stat";
const MODE_NAMES: [&str; 8] =
    ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const GUEST_NAMES: [(usize, &str); 2] = [(8, "user"), (9, "nice")];
const IDLE: usize = 3;

/// An idle counter that falls by this much (three seconds) belongs to a CPU that was taken away
/// and came back; the kernel's own small steps back are held level instead.
const HOTPLUG_TICKS: u64 = 300;

/// Time of each CPU.
#[derive(Debug, Default)]
pub struct Cpu {
    bytes: Vec<u8>,
    cpus: Vec<stat::Cpu>,
    last: HashMap<u32, [u64; MODES]>,
}

impl Collector for Cpu {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        if !read_if_there(host, PATH, &mut self.bytes)? {
            return Ok(Status::Absent);
        }
        stat::parse(&self.bytes, &mut self.cpus).map_err(CollectError::parse(PATH))?;
        let mut id = String::new();
        for cpu in &self.cpus {
            let held = held(self.last.get(&cpu.id), &cpu.ticks);
            self.last.insert(cpu.id, held);
            id.clear();
            // Writing to a String cannot fail.
            let _ = write!(id, "{}", cpu.id);
            for (ticks, mode) in held.iter().zip(MODE_NAMES) {
                out.push(&SECONDS, &[("cpu", &id), ("mode", mode)], seconds(*ticks));
            }
            for (at, mode) in GUEST_NAMES {
                let ticks = held.get(at).copied().unwrap_or_default();
                out.push(&GUEST, &[("cpu", &id), ("mode", mode)], seconds(ticks));
            }
        }
        // A CPU that is gone starts anew when it comes back.
        let cpus = &self.cpus;
        self.last.retain(|id, _| cpus.iter().any(|cpu| cpu.id == *id));
        self.frequencies(host, out);
        Ok(Status::Collected)
    }
}

impl Cpu {
    fn frequencies(&mut self, host: &dyn Host, out: &mut Batch) {
        for cpu in &self.cpus {
            let id = cpu.id.to_string();
            let files = [
                (&HERTZ, "scaling_cur_freq"),
                (&HERTZ_MIN, "scaling_min_freq"),
                (&HERTZ_MAX, "scaling_max_freq"),
            ];
            for (family, file) in files {
                let path = format!("/sys/devices/system/cpu/cpu{id}/cpufreq/{file}");
                // A machine without scaling has none of them, and a CPU that is off not all.
                if host.read_into(&path, &mut self.bytes).is_err() {
                    break;
                }
                if let Some(khz) = float(trimmed(&self.bytes)) {
                    out.push(family, &[("cpu", &id)], khz * 1000.0);
                }
            }
        }
    }
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS_PER_SECOND
}

/// The counters, none of them smaller than before unless the CPU is a new one.
fn held(last: Option<&[u64; MODES]>, now: &[u64; MODES]) -> [u64; MODES] {
    let Some(last) = last else { return *now };
    if last[IDLE].saturating_sub(now[IDLE]) >= HOTPLUG_TICKS {
        return *now;
    }
    std::array::from_fn(|mode| {
        let before = last.get(mode).copied().unwrap_or_default();
        now.get(mode).copied().unwrap_or_default().max(before)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_steps_back_are_held_and_a_replugged_cpu_starts_anew() {
        let last = [10, 0, 0, 1000, 50, 0, 0, 0, 0, 0];
        let mut now = [11, 0, 0, 990, 49, 0, 0, 0, 0, 0];
        assert_eq!(held(Some(&last), &now), [11, 0, 0, 1000, 50, 0, 0, 0, 0, 0]);
        now[IDLE] = 1000 - HOTPLUG_TICKS;
        assert_eq!(held(Some(&last), &now), now);
        assert_eq!(held(None, &now), now);
    }
}
