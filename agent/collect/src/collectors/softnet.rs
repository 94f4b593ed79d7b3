//! Packets that each CPU took from the network.
//!
//! - Reads: `/proc/net/softnet_stat`. Absent when that file is missing.
//! - Emits: `node_softnet_*_total`; columns the kernel lacks are not emitted.
//! - Not here: packets of single interfaces ([`super::netdev`]).

use labstat_model::{Batch, Family};
use labstat_parse::proc::fields_of;

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::shared::{not_understood, outcome, read_if_there};

const PATH: &str = "/proc/net/softnet_stat";

/// The column that names the CPU, since 5.10; before, lines were in the CPUs' order.
const CPU_COLUMN: usize = 12;

/// The columns that are shown, of those there are.
static COLUMNS: [(usize, Family); 5] = [
    (0, Family::counter("node_softnet_processed_total", "Number of processed packets.")),
    (1, Family::counter("node_softnet_dropped_total", "Number of dropped packets.")),
    (
        2,
        Family::counter(
            "node_softnet_times_squeezed_total",
            "Number of times processing packets ran out of quota.",
        ),
    ),
    (
        9,
        Family::counter(
            "node_softnet_received_rps_total",
            "Number of times a CPU was woken to process packets by another.",
        ),
    ),
    (
        10,
        Family::counter(
            "node_softnet_flow_limit_count_total",
            "Number of times the flow limit was reached.",
        ),
    ),
];

/// Packets that each CPU took.
#[derive(Debug, Default)]
pub struct Softnet(Vec<u8>);

impl Collector for Softnet {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        if !read_if_there(host, PATH, &mut self.0)? {
            return Ok(Status::Absent);
        }
        for (row, line) in String::from_utf8_lossy(&self.0).lines().enumerate() {
            let columns: Option<Vec<u64>> = fields_of(line.as_bytes())
                .map(|hex| u64::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok())
                .collect();
            let columns = columns.ok_or_else(|| not_understood(PATH, line))?;
            let cpu = columns.get(CPU_COLUMN).copied().unwrap_or(row as u64).to_string();
            for (column, family) in &COLUMNS {
                if let Some(value) = columns.get(*column) {
                    out.push(family, &[("cpu", &cpu)], *value as f64);
                }
            }
        }
        Ok(outcome(out))
    }
}
