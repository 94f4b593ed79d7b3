//! Counters of network interfaces.
//!
//! - Reads: the kernel's answer over netlink, which it shares with others; where there is none,
//!   `/proc/net/dev` and the one counter of `/sys/class/net` that is not in it.
//! - Absent when there is neither.
//! - Emits: `node_network_{receive,transmit}_*_total`.
//! - Left out: interfaces the user does not want. Not here: settings ([`super::netclass`]), what
//!   stands on what ([`super::links`]).

use labstat_model::{Batch, Family};
use labstat_parse::proc::{netdev, number, trimmed};
use labstat_parse::rtnetlink::link::Counters;

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::network::{INTERFACES, Reader, check_interface_count, links};
use crate::options::{Interfaces, Patience};
use crate::shared::read_if_there;

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

static NOHANDLER: Family = Family::counter(
    "node_network_receive_nohandler_total",
    "Network device statistic receive_nohandler.",
);

/// Counters of interfaces.
#[derive(Debug)]
pub struct Netdev {
    options: Interfaces,
    patience: Patience,
    bytes: Vec<u8>,
}

/// The counters of one interface.
struct Row<'a> {
    name: &'a str,
    columns: [u64; 16],
    unhandled: Option<u64>,
}

impl Netdev {
    /// One that leaves out what `options` says.
    pub fn new(options: &Interfaces, patience: Patience) -> Self {
        Self { options: options.clone(), patience, bytes: Vec::new() }
    }

    fn collect_files(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        if !read_if_there(host, PATH, &mut self.bytes)? {
            return Ok(Status::Absent);
        }
        let mut rows = Vec::new();
        let mut unhandled = Vec::new();
        for (at, interface) in netdev::parse(&self.bytes).enumerate() {
            let interface = interface.map_err(CollectError::parse(PATH))?;
            check_interface_count(at + 1)?;
            if !self.options.has(interface.name) {
                continue;
            }
            let path = format!("{INTERFACES}/{}/statistics/rx_nohandler", interface.name);
            // A kernel before 4.6 has no such counter.
            let read = host.read_into(&path, &mut unhandled);
            rows.push(Row {
                name: interface.name,
                columns: interface.counters,
                unhandled: read.ok().and_then(|()| number(trimmed(&unhandled))),
            });
        }
        push(&rows, out);
        Ok(Status::Collected)
    }
}

impl Collector for Netdev {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let view = &self.options.view;
        let Some(answer) = view.read(host, Reader::Netdev, self.patience.0)? else {
            return self.collect_files(host, out);
        };
        let mut links = links(&answer)?;
        links.retain(|link| self.options.has(link.name));
        let rows = links.iter().filter_map(|link| {
            let Counters { columns, received_unhandled: unhandled } = link.counters?;
            Some(Row { name: link.name, columns, unhandled })
        });
        push(&rows.collect::<Vec<_>>(), out);
        Ok(Status::Collected)
    }
}

/// Adds them one family after the other, which is how they are sent.
fn push(rows: &[Row<'_>], out: &mut Batch) {
    for (at, family) in COLUMNS.iter().enumerate() {
        for row in rows {
            if let Some(&value) = row.columns.get(at) {
                out.push(family, &[("device", row.name)], value as f64);
            }
        }
    }
    for row in rows {
        if let Some(value) = row.unhandled {
            out.push(&NOHANDLER, &[("device", row.name)], value as f64);
        }
    }
}
