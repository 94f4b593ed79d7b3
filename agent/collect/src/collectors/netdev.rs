//! Counters of network interfaces.
//!
//! - Reads: `/proc/net/dev`. Absent when that file is missing.
//! - Emits: `node_network_{receive,transmit}_*_total`.
//! - Left out: interfaces the user does not want. Not here: settings ([`super::netclass`]), what
//!   stands on what ([`super::links`]).

use labstat_model::{Batch, Family};
use labstat_parse::proc::netdev;

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::options::Interfaces;
use crate::shared::{check_interface_count, read_if_there};

const PATH: &str = "/proc/net/dev";

/// The family of each column.
static COLUMNS: [Family; 16] = [
    Family::counter("node_network_receive_bytes_total", "Network device statistic receive_bytes."),
    Family::counter(
        "node_network_receive_packets_total",
        "Network device statistic receive_packets.",
    ),
    Family::counter("node_network_receive_errs_total", "Network device statistic receive_errs."),
    Family::counter("node_network_receive_drop_total", "Network device statistic receive_drop."),
    Family::counter("node_network_receive_fifo_total", "Network device statistic receive_fifo."),
    Family::counter("node_network_receive_frame_total", "Network device statistic receive_frame."),
    Family::counter(
        "node_network_receive_compressed_total",
        "Network device statistic receive_compressed.",
    ),
    Family::counter(
        "node_network_receive_multicast_total",
        "Network device statistic receive_multicast.",
    ),
    Family::counter(
        "node_network_transmit_bytes_total",
        "Network device statistic transmit_bytes.",
    ),
    Family::counter(
        "node_network_transmit_packets_total",
        "Network device statistic transmit_packets.",
    ),
    Family::counter("node_network_transmit_errs_total", "Network device statistic transmit_errs."),
    Family::counter("node_network_transmit_drop_total", "Network device statistic transmit_drop."),
    Family::counter("node_network_transmit_fifo_total", "Network device statistic transmit_fifo."),
    Family::counter(
        "node_network_transmit_colls_total",
        "Network device statistic transmit_colls.",
    ),
    Family::counter(
        "node_network_transmit_carrier_total",
        "Network device statistic transmit_carrier.",
    ),
    Family::counter(
        "node_network_transmit_compressed_total",
        "Network device statistic transmit_compressed.",
    ),
];

/// Counters of interfaces.
#[derive(Debug)]
pub struct Netdev {
    options: Interfaces,
    bytes: Vec<u8>,
}

impl Netdev {
    /// One that leaves out what `options` says.
    pub fn new(options: &Interfaces) -> Self {
        Self { options: options.clone(), bytes: Vec::new() }
    }
}

impl Collector for Netdev {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        if !read_if_there(host, PATH, &mut self.bytes)? {
            return Ok(Status::Absent);
        }
        for (at, interface) in netdev::parse(&self.bytes).enumerate() {
            let interface = interface.map_err(CollectError::parse(PATH))?;
            check_interface_count(at + 1)?;
            if self.options.exclude.iter().any(|name| name == interface.name) {
                continue;
            }
            for (family, value) in COLUMNS.iter().zip(interface.counters) {
                out.push(family, &[("device", interface.name)], value as f64);
            }
        }
        Ok(Status::Collected)
    }
}
