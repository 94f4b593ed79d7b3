//! Time and frequency of CPUs.
//!
//! - Reads: `/proc/stat`, and the frequency of each CPU in sysfs; its bounds, which only people change,
//!   and which CPUs have one, are read once a minute and when CPUs come or go.
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
use crate::shared::{Freshness, KEPT_MS, read_if_there};

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
    scaling: Vec<Scaling>,
    scanned: Freshness,
    /// CPUs that there were then.
    scanned_len: usize,
}

/// How fast a CPU may run, and where it says how fast it does.
#[derive(Debug)]
struct Scaling {
    id: String,
    current: String,
    min_khz: Option<f64>,
    max_khz: Option<f64>,
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
        let (now_ms, cpus_len) = (host.now_ms(), self.cpus.len());
        if self.scanned_len != cpus_len || !self.scanned.lasts(KEPT_MS, now_ms) {
            self.scaling = self.cpus.iter().filter_map(|cpu| Scaling::of(host, cpu.id)).collect();
            self.scanned_len = cpus_len;
            self.scanned.renew(now_ms);
        }
        for cpu in &self.scaling {
            // One that is off has none.
            if host.read_into(&cpu.current, &mut self.bytes).is_err() {
                continue;
            }
            let current = float(trimmed(&self.bytes));
            for (family, khz) in
                [(&HERTZ, current), (&HERTZ_MIN, cpu.min_khz), (&HERTZ_MAX, cpu.max_khz)]
            {
                if let Some(khz) = khz {
                    out.push(family, &[("cpu", &cpu.id)], khz * 1000.0);
                }
            }
        }
    }
}

impl Scaling {
    /// Nothing for a CPU whose frequency is not told, as on most virtual machines.
    fn of(host: &dyn Host, id: u32) -> Option<Self> {
        let path =
            |file: &str| format!("/sys/devices/system/cpu/cpu{id}/cpufreq/scaling_{file}_freq");
        let current = path("cur");
        host.read(&current).ok()?;
        let khz = |file: &str| float(trimmed(&host.read(&path(file)).ok()?));
        let (min_khz, max_khz) = (khz("min"), khz("max"));
        Some(Self { id: id.to_string(), current, min_khz, max_khz })
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
    fn a_frequency_is_read_in_every_round_and_its_bounds_once_a_minute_and_when_cpus_come() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let khz = |cpu: u32, file: &str, khz: u32| {
            let file = format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_{file}_freq");
            put(&file, &format!("{khz}\n"));
        };
        let times = "1 0 0 0 0 0 0 0 0 0";
        let online = |count: u32| {
            let lines: String = (0..count).map(|cpu| format!("cpu{cpu} {times}\n")).collect();
            put("proc/stat", &format!("cpu {times}\n{lines}"));
        };
        let all = |cpu: u32, value: u32| {
            ["cur", "min", "max"].into_iter().for_each(|file| khz(cpu, file, value));
        };
        let mut collector = Cpu::default();
        let mut at = |now_ms: i64| {
            let clock = std::sync::Arc::new(labstat_model::ManualClock::new(now_ms));
            let host = crate::host::ReplayHost::open(dir.path(), clock).unwrap();
            let mut out = Batch::new();
            collector.collect(&host, &mut out).unwrap();
            let megahertz = |family: &Family, cpu: &str| {
                out.value(&family.name, &[("cpu", cpu)]).map(|hertz| hertz / 1e6)
            };
            (megahertz(&HERTZ, "0"), megahertz(&HERTZ_MAX, "0"), megahertz(&HERTZ_MIN, "1"))
        };
        online(1);
        all(0, 1000);
        assert_eq!(at(0), (Some(1.0), Some(1.0), None));
        all(0, 2000);
        assert_eq!(at(KEPT_MS - 1), (Some(2.0), Some(1.0), None));
        assert_eq!(at(KEPT_MS), (Some(2.0), Some(2.0), None));
        all(0, 3000);
        all(1, 1000);
        online(2);
        assert_eq!(at(KEPT_MS + 1), (Some(3.0), Some(3.0), Some(1.0)));
        std::fs::remove_dir_all(dir.path().join("sys/devices/system/cpu/cpu0")).unwrap();
        assert_eq!(at(KEPT_MS + 2), (None, None, Some(1.0)), "one that was switched off");
    }

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
