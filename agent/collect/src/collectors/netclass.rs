//! Settings of network interfaces.
//!
//! - Reads: `/sys/class/net/*`, through [`Host::read_all`], since some wait for the lock of the
//!   network.
//! - Absent when there is no `/sys/class/net`. A file that cannot be read says nothing; the others
//!   stay.
//! - Emits: `node_network_*` (up, info, speed, carrier, mtu and others).
//! - Left out: interfaces the user does not want. Not here: counters ([`super::netdev`]), what
//!   stands on what ([`super::links`]), IP addresses.

use std::time::Duration;

use labstat_model::{Batch, Family};
use labstat_parse::proc::{number, trimmed};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;
use crate::options::Interfaces;
use crate::shared::{INTERFACES, check_interface_count, interface_dir};

/// How long all settings together may take: some wait for the lock of the network.
const DEADLINE: Duration = Duration::from_secs(4);

static UP: Family =
    Family::gauge("node_network_up", "Value is 1 if operstate is 'up', 0 otherwise.");
static INFO: Family = Family::gauge("node_network_info", "Non-numeric settings; always 1.");
static SPEED: Family =
    Family::gauge("node_network_speed_bytes", "Network device property: speed_bytes.");

/// Numbers of an interface by their file.
static NUMBERS: [(&str, Family); 16] = [
    (
        "addr_assign_type",
        Family::gauge(
            "node_network_address_assign_type",
            "Network device property: address_assign_type.",
        ),
    ),
    ("carrier", Family::gauge("node_network_carrier", "Network device property: carrier.")),
    (
        "carrier_changes",
        Family::counter(
            "node_network_carrier_changes_total",
            "Network device property: carrier_changes_total.",
        ),
    ),
    (
        "carrier_down_count",
        Family::counter(
            "node_network_carrier_down_changes_total",
            "Network device property: carrier_down_changes_total.",
        ),
    ),
    (
        "carrier_up_count",
        Family::counter(
            "node_network_carrier_up_changes_total",
            "Network device property: carrier_up_changes_total.",
        ),
    ),
    ("dev_id", Family::gauge("node_network_device_id", "Network device property: device_id.")),
    ("dormant", Family::gauge("node_network_dormant", "Network device property: dormant.")),
    ("flags", Family::gauge("node_network_flags", "Network device property: flags.")),
    ("ifindex", Family::gauge("node_network_iface_id", "Network device property: iface_id.")),
    ("iflink", Family::gauge("node_network_iface_link", "Network device property: iface_link.")),
    (
        "link_mode",
        Family::gauge("node_network_iface_link_mode", "Network device property: iface_link_mode."),
    ),
    ("mtu", Family::gauge("node_network_mtu_bytes", "Network device property: mtu_bytes.")),
    (
        "name_assign_type",
        Family::gauge(
            "node_network_name_assign_type",
            "Network device property: name_assign_type.",
        ),
    ),
    (
        "netdev_group",
        Family::gauge("node_network_net_dev_group", "Network device property: net_dev_group."),
    ),
    (
        "tx_queue_len",
        Family::gauge(
            "node_network_transmit_queue_length",
            "Network device property: transmit_queue_length.",
        ),
    ),
    (
        "type",
        Family::gauge("node_network_protocol_type", "Network device property: protocol_type."),
    ),
];

static NOHANDLER: Family = Family::counter(
    "node_network_receive_nohandler_total",
    "Network device statistic receive_nohandler.",
);

/// Files read besides [`NUMBERS`], in the order [`push_class`] takes them.
const TEXTS: [&str; 7] =
    ["address", "broadcast", "duplex", "ifalias", "operstate", "speed", "statistics/rx_nohandler"];

/// Where [`NUMBERS`] has the flags.
const FLAGS: usize = 7;

/// What drivers say when they do not know the speed and the kernel does not make it -1: all bits
/// set, of 16 or 32.
const SPEEDS_UNKNOWN: [u64; 2] = [0xffff, 0xffff_ffff];

/// The flag of an interface that its owner has switched on.
const IFF_UP: u64 = 1;

/// Bytes a second of a megabit a second.
const MEGABIT: f64 = 1e6 / 8.0;

/// Settings of interfaces.
#[derive(Debug)]
pub struct Netclass {
    options: Interfaces,
}

impl Netclass {
    /// One that leaves out what `options` says.
    pub fn new(options: &Interfaces) -> Self {
        Self { options: options.clone() }
    }
}

impl Collector for Netclass {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let mut names = match host.list(INTERFACES) {
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            result => result.map_err(CollectError::read(INTERFACES))?,
        };
        check_interface_count(names.len())?;
        // The bonding driver has a file among the folders.
        names.retain(|name| name != "bonding_masters" && !self.options.exclude.contains(name));
        let files: Vec<&str> = NUMBERS.iter().map(|(file, _)| *file).chain(TEXTS).collect();
        let mut paths = Vec::with_capacity(names.len() * files.len());
        for name in &names {
            let dir = interface_dir(host, name);
            paths.extend(files.iter().map(|file| format!("{dir}/{file}")));
        }
        let values = host.read_all(&paths, DEADLINE);
        for (name, values) in names.iter().zip(values.chunks(files.len())) {
            let text = |value: &std::io::Result<Vec<u8>>| {
                value
                    .as_ref()
                    .ok()
                    .map(|bytes| String::from_utf8_lossy(trimmed(bytes)).into_owned())
            };
            // A file that cannot be read says nothing: `speed` of a link that is down is an error.
            let values: Vec<Option<String>> = values.iter().map(text).collect();
            push_class(name, &values, out);
        }
        Ok(Status::Collected)
    }
}

fn push_class(name: &str, values: &[Option<String>], out: &mut Batch) {
    let device = ("device", name);
    for ((_, family), value) in NUMBERS.iter().zip(values) {
        if let Some(value) = value.as_deref().and_then(decimal_or_hex) {
            out.push(family, &[device], value as f64);
        }
    }
    let get = |at: usize| values.get(NUMBERS.len() + at).and_then(Option::as_deref);
    let [address, broadcast, duplex, ifalias, operstate, speed, nohandler] =
        std::array::from_fn(get);
    if let Some(state) = operstate {
        out.push(&UP, &[device], f64::from(u8::from(state == "up")));
    }
    // The kernel says -1 where it does not know.
    if let Some(megabits) = speed.and_then(|speed| number(speed.as_bytes()))
        && !SPEEDS_UNKNOWN.contains(&megabits)
    {
        out.push(&SPEED, &[device], megabits as f64 * MEGABIT);
    }
    if let Some(count) = nohandler.and_then(|count| number(count.as_bytes())) {
        out.push(&NOHANDLER, &[device], count as f64);
    }
    let flags = values.get(FLAGS).and_then(Option::as_deref);
    let admin = match flags.and_then(decimal_or_hex) {
        Some(flags) if flags & IFF_UP != 0 => "up",
        Some(_) => "down",
        None => "",
    };
    let labels = [
        ("address", address.unwrap_or_default()),
        ("adminstate", admin),
        ("broadcast", broadcast.unwrap_or_default()),
        device,
        ("duplex", duplex.unwrap_or_default()),
        ("ifalias", ifalias.unwrap_or_default()),
        ("operstate", operstate.unwrap_or_default()),
    ];
    out.push(&INFO, &labels, 1.0);
}

fn decimal_or_hex(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => number(text.as_bytes()),
    }
}
