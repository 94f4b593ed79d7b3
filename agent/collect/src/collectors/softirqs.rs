//! Soft interrupts: what the kernel puts off until an interrupt is over. Off unless it is asked for.
//!
//! - Reads: `/proc/softirqs`. Absent when that file is missing.
//! - Emits: [`FUNCTIONS`] of each CPU, and [`ALL`], their sums.
//! - Not here: interrupts ([`super::interrupts`]).

use labstat_model::{Batch, Family};
use labstat_parse::proc::counts;
use labstat_parse::proc::interrupts;

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::shared::{not_understood, outcome, read_if_there};

const PATH: &str = "/proc/softirqs";

/// Soft interrupts of a kind that a CPU served.
pub static FUNCTIONS: Family =
    Family::counter("node_softirqs_functions_total", "Soft interrupts by kind and CPU.");
/// Soft interrupts of a kind.
pub static ALL: Family = Family::counter("node_softirqs_total", "Soft interrupts by kind.");

/// What a kind is called in the sum where it is not its name in small letters.
const OTHER_NAMES: [(&str, &str); 1] = [("IRQ_POLL", "block_iopoll")];

/// The kernel's counters have 32 bits. So must their sum, as in `/proc/stat`: a counter may only fall
/// when it starts anew.
const COUNTER_MAX: u64 = u32::MAX as u64;

/// Soft interrupts.
#[derive(Debug, Default)]
pub struct Softirqs {
    bytes: Vec<u8>,
    counts: Vec<u64>,
    cpus: Vec<u32>,
    ids: Vec<String>,
}

impl Collector for Softirqs {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        if !read_if_there(host, PATH, &mut self.bytes)? {
            return Ok(Status::Absent);
        }
        interrupts::cpus(&self.bytes, &mut self.cpus).map_err(CollectError::parse(PATH))?;
        self.ids.clear();
        self.ids.extend(self.cpus.iter().map(ToString::to_string));
        let mut sums = Vec::new();
        for line in counts::parse(PATH, &self.bytes) {
            let Some(name) = line.name.strip_suffix(b":") else { continue };
            line.counts(self.cpus.len(), &mut self.counts).map_err(CollectError::parse(PATH))?;
            let name = String::from_utf8_lossy(name);
            if self.counts.len() != self.cpus.len() {
                return Err(not_understood(PATH, &name));
            }
            for (id, count) in self.ids.iter().zip(&self.counts) {
                out.push(&FUNCTIONS, &[("cpu", id), ("type", &name)], *count as f64);
            }
            let sum = self.counts.iter().fold(0_u64, |sum, count| sum.wrapping_add(*count));
            sums.push((name, sum & COUNTER_MAX));
        }
        for (name, sum) in sums {
            let other = OTHER_NAMES.iter().find(|(kernel, _)| *kernel == name);
            let vector =
                other.map_or_else(|| name.to_lowercase(), |(_, other)| (*other).to_owned());
            out.push(&ALL, &[("vector", &vector)], sum as f64);
        }
        Ok(outcome(out))
    }
}
