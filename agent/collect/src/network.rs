//! Network interfaces: counters, settings, and what stands on what.
//!
//! - Reads: `/proc/net/dev`, `/sys/class/net/*`, `/proc/net/vlan/*`, `/proc/net/bonding/*`.
//! - [`Netdev`] is absent without `/proc/net/dev`, [`Netclass`] and [`Links`] without
//!   `/sys/class/net`.
//! - Emits: `node_network_*`, `node_bonding_*`, and the info metrics `labstat_network_*`.
//! - Not here: addresses, neighbours, protocols.

use std::time::Duration;

use labstat_model::{Batch, Family};
use labstat_parse::proc::{netdev, number, trimmed};
use labstat_parse::{bonding, vlan};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;
use crate::options::Interfaces;

const DEV: &str = "/proc/net/dev";
const CLASS: &str = "/sys/class/net";
const VLAN: &str = "/proc/net/vlan";
const BONDING: &str = "/proc/net/bonding";

/// Interfaces of one machine; a host of containers has hundreds.
const INTERFACES_MAX: usize = 8192;

/// How long all settings together may take: some wait for the lock of the network.
const DEADLINE: Duration = Duration::from_secs(4);

/// The family of each column of `/proc/net/dev`.
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
        match host.read_into(DEV, &mut self.bytes) {
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            result => result.map_err(CollectError::read(DEV))?,
        }
        for (at, interface) in netdev::parse(&self.bytes).enumerate() {
            let interface = interface.map_err(CollectError::parse(DEV))?;
            check_count(at + 1)?;
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

fn check_count(count: usize) -> Result<(), CollectError> {
    if count <= INTERFACES_MAX {
        return Ok(());
    }
    Err(CollectError::Limit { what: "network interfaces", count, max: INTERFACES_MAX })
}

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
        let mut names = match host.list(CLASS) {
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            result => result.map_err(CollectError::read(CLASS))?,
        };
        check_count(names.len())?;
        // The bonding driver has a file among the folders.
        names.retain(|name| name != "bonding_masters" && !self.options.exclude.contains(name));
        let files: Vec<&str> = NUMBERS.iter().map(|(file, _)| *file).chain(TEXTS).collect();
        let mut paths = Vec::with_capacity(names.len() * files.len());
        for name in &names {
            let dir = class_dir(host, name);
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

/// The folder of an interface, without the link that leads to it.
fn class_dir(host: &dyn Host, name: &str) -> String {
    let dir = format!("{CLASS}/{name}");
    host.resolved(&dir).unwrap_or(dir)
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

/// A VLAN interface and what it stands on.
pub static VLAN_INFO: Family = Family::gauge(
    "labstat_network_vlan_info",
    "A VLAN interface, the interface it stands on and its id; always 1.",
);
/// A member of a bond.
pub static BOND_MEMBER: Family = Family::gauge(
    "labstat_network_bond_member_info",
    "A member of a bond, its link, whether it carries traffic, and the bond's mode; always 1.",
);
/// A port of a bridge.
pub static BRIDGE_PORT: Family = Family::gauge(
    "labstat_network_bridge_port_info",
    "A port of a bridge and its spanning tree state; always 1.",
);
/// What kind of interface it is.
pub static KIND: Family =
    Family::gauge("labstat_network_kind_info", "What kind of interface it is; always 1.");
/// Times a member of a bond lost its link.
pub static LINK_FAILURES: Family = Family::counter(
    "labstat_network_bond_link_failures_total",
    "Times a member of a bond lost its link.",
);
static BOND_SLAVES: Family =
    Family::gauge("node_bonding_slaves", "Number of configured slaves per bonding interface.");
static BOND_ACTIVE: Family =
    Family::gauge("node_bonding_active", "Number of active slaves per bonding interface.");

/// VLANs, bonds, bridges: what stands on what.
#[derive(Debug)]
pub struct Links {
    options: Interfaces,
}

impl Links {
    /// One that leaves out what `options` says.
    pub fn new(options: &Interfaces) -> Self {
        Self { options: options.clone() }
    }

    fn is_wanted(&self, name: &str) -> bool {
        // The bonding driver has a file among the folders.
        name != "bonding_masters" && !self.options.exclude.iter().any(|excluded| excluded == name)
    }
}

impl Collector for Links {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let vlans = push_vlans(host, out)?;
        let bonds = push_bonds(host, out)?;
        let names = match host.list(CLASS) {
            Err(error) if is_absent(&error) => Vec::new(),
            result => result.map_err(CollectError::read(CLASS))?,
        };
        check_count(names.len())?;
        for name in names.iter().filter(|name| self.is_wanted(name)) {
            push_link(host, name, &vlans, &bonds, out);
        }
        let none = names.is_empty() && vlans.is_empty() && bonds.is_empty();
        Ok(if none { Status::Absent } else { Status::Collected })
    }
}

/// The names of VLAN interfaces.
fn push_vlans(host: &dyn Host, out: &mut Batch) -> Result<Vec<String>, CollectError> {
    let path = format!("{VLAN}/config");
    let text = match host.text(&path) {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        result => result.map_err(CollectError::read(&path))?,
    };
    let mut names = Vec::new();
    for interface in vlan::parse_config(&text).map_err(CollectError::parse("net/vlan/config"))? {
        let id = interface.id.to_string();
        let labels =
            [("device", interface.name.as_str()), ("parent", &interface.parent), ("vlan_id", &id)];
        // The kernel tells 802.1Q from 802.1ad over netlink only: no protocol is better than a guess.
        out.push(&VLAN_INFO, &labels, 1.0);
        names.push(interface.name);
    }
    Ok(names)
}

/// The names of bonds. One that is taken down between listing and reading is no failure.
fn push_bonds(host: &dyn Host, out: &mut Batch) -> Result<Vec<String>, CollectError> {
    let names = match host.list(BONDING) {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        result => result.map_err(CollectError::read(BONDING))?,
    };
    for name in &names {
        let path = format!("{BONDING}/{name}");
        let text = match host.text(&path) {
            Err(error) if is_absent(&error) => continue,
            result => result.map_err(CollectError::read(&path))?,
        };
        let bond = bonding::parse(&text).map_err(CollectError::parse("net/bonding"))?;
        push_bond(name, &bond, out);
    }
    Ok(names)
}

fn push_bond(name: &str, bond: &bonding::Bond, out: &mut Batch) {
    let is_up = |slave: &&bonding::Slave| slave.mii_status.as_deref() == Some("up");
    let up = bond.slaves.iter().filter(is_up).count();
    out.push(&BOND_SLAVES, &[("master", name)], bond.slaves.len() as f64);
    out.push(&BOND_ACTIVE, &[("master", name)], up as f64);
    let aggregator = bond.lacp.as_ref().and_then(|lacp| lacp.aggregator_id);
    for slave in &bond.slaves {
        // A member that is up carries nothing when another one is in use, or when it landed in
        // another aggregator than the bond's, as on a switch without LACP.
        let carries = is_up(&slave)
            && match (&bond.active_slave, aggregator) {
                (Some(active), _) => *active == slave.name,
                (None, Some(id)) => slave.aggregator_id == Some(id),
                (None, None) => true,
            };
        let labels = [
            ("active", if carries { "true" } else { "false" }),
            ("device", slave.name.as_str()),
            ("master", name),
            ("mii_status", slave.mii_status.as_deref().unwrap_or_default()),
            // Only the mode tells a member that waits for its turn from one that LACP left out.
            ("mode", bond.mode.unwrap_or_default()),
        ];
        out.push(&BOND_MEMBER, &labels, 1.0);
        if let Some(count) = slave.link_failures {
            let labels = [("device", slave.name.as_str()), ("master", name)];
            out.push(&LINK_FAILURES, &labels, count as f64);
        }
    }
}

/// Words of `brport/state`.
const PORT_STATES: [&str; 5] = ["disabled", "listening", "learning", "forwarding", "blocking"];

fn push_link(host: &dyn Host, name: &str, vlans: &[String], bonds: &[String], out: &mut Batch) {
    let dir = class_dir(host, name);
    if let Ok(bridge) = host.link(&format!("{dir}/brport/bridge")) {
        let state = host.read(&format!("{dir}/brport/state")).ok();
        let state = state.and_then(|bytes| usize::try_from(number(trimmed(&bytes))?).ok());
        let labels = [
            ("bridge", bridge.rsplit('/').next().unwrap_or_default()),
            ("device", name),
            ("state", state.and_then(|state| PORT_STATES.get(state)).copied().unwrap_or_default()),
        ];
        out.push(&BRIDGE_PORT, &labels, 1.0);
    }
    if let Some(kind) = kind(host, &dir, name, vlans, bonds) {
        out.push(&KIND, &[("device", name), ("kind", &kind)], 1.0);
    }
}

/// The kernel's own word where it has one (`DEVTYPE`), else what its files give away; absent when
/// they give nothing away.
fn kind(
    host: &dyn Host,
    dir: &str,
    name: &str,
    vlans: &[String],
    bonds: &[String],
) -> Option<String> {
    /// `ARPHRD_LOOPBACK` of the kernel.
    const LOOPBACK: &str = "772";
    let uevent = host.text(&format!("{dir}/uevent")).unwrap_or_default();
    if let Some(kind) = uevent.lines().find_map(|line| line.strip_prefix("DEVTYPE=")) {
        return Some(kind.to_owned());
    }
    let has_link = |name: &str| host.link(&format!("{dir}/{name}")).is_ok();
    let has_file = |name: &str| host.read(&format!("{dir}/{name}")).is_ok();
    let is_loopback = || host.text(&format!("{dir}/type")).is_ok_and(|t| t.trim() == LOOPBACK);
    let kind = if vlans.iter().any(|vlan| vlan == name) {
        "vlan"
    } else if bonds.iter().any(|bond| bond == name) {
        "bond"
    } else if has_link("device") {
        "physical"
    } else if is_loopback() {
        "loopback"
    } else if has_file("tun_flags") {
        "tap"
    } else if has_file("bridge/bridge_id") {
        "bridge"
    } else {
        return None;
    };
    Some(kind.to_owned())
}
