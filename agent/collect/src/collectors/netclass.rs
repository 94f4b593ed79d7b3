//! Settings of network interfaces.
//!
//! - Reads: the kernel's answer over netlink, which it shares with others; of
//!   `/sys/class/net/*` what is not in it: what never changes, once for each interface, and what asks
//!   its driver (speed, duplex) when some link changed, and each minute. Where there is no netlink,
//!   all of it from sysfs. Through [`Host::read_all`], since some wait for the lock of the network.
//! - Absent when there is neither. A file that cannot be read says nothing; the others stay.
//! - Emits: `node_network_*` (up, info, speed, carrier, mtu and others).
//! - Left out: interfaces the user does not want. Not here: counters ([`super::netdev`]), what
//!   stands on what ([`super::links`]), IP addresses.

use std::collections::HashMap;

use labstat_model::{Batch, Family};
use labstat_parse::proc::{number, trimmed};
use labstat_parse::rtnetlink::link::{
    self, FLAG_ALL_MULTICAST, FLAG_DORMANT, FLAG_PROMISCUOUS, FLAG_UP, FLAGS_VOLATILE, Link,
};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;
use crate::network::{INTERFACES, Reader, check_interface_count, interface_dir, links};
use crate::options::{Interfaces, Patience};
use crate::shared::{Freshness, KEPT_MS};

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

/// Files read besides [`NUMBERS`], in the order [`Row::of_files`] takes them.
const TEXTS: [&str; 6] = ["address", "broadcast", "duplex", "ifalias", "operstate", "speed"];

/// Where [`NUMBERS`] has the flags.
const FLAGS: usize = 7;

/// Files that netlink does not tell, in the order [`Known::take`] takes them.
const ASKED: [&str; 7] =
    ["ifindex", "addr_assign_type", "dev_id", "name_assign_type", "flags", "speed", "duplex"];

/// What drivers say when they do not know the speed and the kernel does not make it -1: all bits
/// set, of 16 or 32.
const SPEEDS_UNKNOWN: [u64; 2] = [0xffff, 0xffff_ffff];

/// Bytes a second of a megabit a second.
const MEGABIT: f64 = 1e6 / 8.0;

/// Settings of interfaces.
#[derive(Debug)]
pub struct Netclass {
    options: Interfaces,
    patience: Patience,
    /// What only sysfs tells, by name.
    known: HashMap<String, Known>,
    /// The speed of an interface that was set anew without losing its link is seen when this ends.
    asked: Freshness,
}

/// What is kept of one interface.
#[derive(Debug, Default)]
struct Known {
    /// What it was when its files were read.
    mark: Mark,
    dir: String,
    address_assign_type: Option<u64>,
    device_id: Option<u64>,
    name_assign_type: Option<u64>,
    flags: Option<u64>,
    speed: Option<u64>,
    duplex: String,
    /// Its addresses as they are written.
    address: String,
    broadcast: String,
}

/// When any of this changes, what sysfs said may be no longer so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Mark {
    index: u32,
    flags: u32,
    promiscuity: Option<u32>,
    operstate: Option<u8>,
    carrier_changes: Option<u32>,
    master: Option<u32>,
    /// The first bytes of its address, which is where they differ.
    address: [u8; 8],
}

impl Mark {
    fn of(link: &Link<'_>) -> Self {
        let mut address = [0; 8];
        for (place, byte) in address.iter_mut().zip(link.address) {
            *place = *byte;
        }
        Self {
            index: link.index,
            flags: link.flags,
            promiscuity: link.promiscuity,
            operstate: link.operstate,
            carrier_changes: link.carrier_changes,
            master: link.master,
            address,
        }
    }
}

impl Netclass {
    /// One that leaves out what `options` says.
    pub fn new(options: &Interfaces, patience: Patience) -> Self {
        let asked = Freshness::default();
        Self { options: options.clone(), patience, known: HashMap::new(), asked }
    }

    /// Reads what netlink does not tell, if it is time.
    fn ask(&mut self, host: &dyn Host, links: &[Link<'_>]) {
        let is_known = |link: &Link<'_>| {
            self.known.get(link.name).is_some_and(|known| known.mark == Mark::of(link))
        };
        // The speed of a bond, and of a VLAN on it, changes with its legs: if one link is not as it
        // was, all are asked.
        let changed = self.known.len() != links.len() || !links.iter().all(is_known);
        let now_ms = host.now_ms();
        if !changed && self.asked.lasts(KEPT_MS, now_ms) {
            return;
        }
        self.asked.renew(now_ms);
        self.known.retain(|name, _| links.iter().any(|link| link.name == name));
        let mut paths = Vec::with_capacity(links.len() * ASKED.len());
        for link in links {
            let known = self.known.entry(link.name.to_owned()).or_default();
            if known.mark.index != link.index {
                *known = Known { dir: interface_dir(host, link.name), ..Known::default() };
            }
            paths.extend(ASKED.iter().map(|file| format!("{}/{file}", known.dir)));
        }
        let files = host.read_all(&paths, self.patience.0);
        for (link, files) in links.iter().zip(files.chunks(ASKED.len())) {
            if let Some(known) = self.known.get_mut(link.name) {
                known.take(link, &texts(files));
            }
        }
    }

    fn collect_files(&self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let mut names = match host.list(INTERFACES) {
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            result => result.map_err(CollectError::read(INTERFACES))?,
        };
        check_interface_count(names.len())?;
        // The bonding driver has a file among the folders.
        names.retain(|name| name != "bonding_masters" && self.options.has(name));
        let files: Vec<&str> = NUMBERS.iter().map(|(file, _)| *file).chain(TEXTS).collect();
        let mut paths = Vec::with_capacity(names.len() * files.len());
        for name in &names {
            let dir = interface_dir(host, name);
            paths.extend(files.iter().map(|file| format!("{dir}/{file}")));
        }
        let values = host.read_all(&paths, self.patience.0);
        let values: Vec<Vec<Option<String>>> = values.chunks(files.len()).map(texts).collect();
        let rows: Vec<Row<'_>> =
            names.iter().zip(&values).map(|(name, values)| Row::of_files(name, values)).collect();
        push(&rows, out);
        Ok(Status::Collected)
    }
}

impl Collector for Netclass {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let view = &self.options.view;
        let Some(answer) = view.read(host, Reader::Netclass, self.patience.0)? else {
            return self.collect_files(host, out);
        };
        let mut links = links(&answer)?;
        links.retain(|link| self.options.has(link.name));
        self.ask(host, &links);
        let row = |link| Row::of_link(link, self.known.get(link.name)?);
        push(&links.iter().filter_map(row).collect::<Vec<_>>(), out);
        Ok(Status::Collected)
    }
}

/// What files say. One that cannot be read says nothing: `speed` of a link that is down is an error.
fn texts(files: &[std::io::Result<Vec<u8>>]) -> Vec<Option<String>> {
    let text = |file: &std::io::Result<Vec<u8>>| {
        file.as_ref().ok().map(|bytes| String::from_utf8_lossy(trimmed(bytes)).into_owned())
    };
    files.iter().map(text).collect()
}

impl Known {
    /// Takes what [`ASKED`] says. A folder of another interface of this name, as where `/sys` shows
    /// another network namespace than that of the socket, says nothing.
    fn take(&mut self, link: &Link<'_>, files: &[Option<String>]) {
        let get = |at: usize| files.get(at).and_then(Option::as_deref);
        let [index, address_type, device_id, name_type, flags, speed, duplex] =
            std::array::from_fn(get);
        let is_it = index.and_then(decimal_or_hex) == Some(u64::from(link.index));
        let value = |text: Option<&str>| text.filter(|_| is_it).and_then(decimal_or_hex);
        self.mark = Mark::of(link);
        self.address_assign_type = value(address_type);
        self.device_id = value(device_id);
        self.name_assign_type = value(name_type);
        self.flags = value(flags);
        self.speed = value(speed);
        duplex.filter(|_| is_it).unwrap_or_default().clone_into(&mut self.duplex);
        for (address, text) in
            [(link.address, &mut self.address), (link.broadcast, &mut self.broadcast)]
        {
            text.clear();
            link::push_address(address, text);
        }
    }
}

/// The settings of one interface.
struct Row<'a> {
    name: &'a str,
    /// As [`NUMBERS`].
    numbers: [Option<u64>; NUMBERS.len()],
    address: &'a str,
    broadcast: &'a str,
    duplex: &'a str,
    alias: &'a str,
    operstate: Option<&'a str>,
    speed: Option<u64>,
}

impl<'a> Row<'a> {
    /// Nothing for an interface without a number.
    fn of_link(link: &'a Link<'_>, known: &'a Known) -> Option<Self> {
        let is_up = link.flags & FLAG_UP != 0;
        let wide = |number: Option<u32>| number.map(u64::from);
        let numbers = [
            known.address_assign_type,
            // The kernel's files say nothing of a signal where nobody listens for one.
            link.carrier.filter(|_| is_up).map(u64::from),
            wide(link.carrier_changes),
            wide(link.carrier_down),
            wide(link.carrier_up),
            known.device_id,
            is_up.then(|| u64::from(link.flags & FLAG_DORMANT != 0)),
            // Without the second count, only the file has the flag that it stands for.
            flags(link).or(known.flags),
            Some(u64::from(link.index)),
            Some(u64::from(link.lower.unwrap_or(link.index))),
            link.link_mode.map(u64::from),
            wide(link.mtu),
            known.name_assign_type,
            wide(link.group),
            wide(link.queue_len),
            Some(u64::from(link.hardware)),
        ];
        Some(Self {
            name: link.name,
            numbers,
            address: &known.address,
            broadcast: &known.broadcast,
            duplex: &known.duplex,
            alias: link.alias.unwrap_or_default(),
            operstate: link.operstate.and_then(link::operstate),
            speed: known.speed,
        })
    }

    fn of_files(name: &'a str, files: &'a [Option<String>]) -> Self {
        let get = |at: usize| files.get(at).and_then(Option::as_deref);
        let [address, broadcast, duplex, alias, operstate, speed] =
            std::array::from_fn(|at| get(NUMBERS.len() + at));
        Self {
            name,
            numbers: std::array::from_fn(|at| get(at).and_then(decimal_or_hex)),
            address: address.unwrap_or_default(),
            broadcast: broadcast.unwrap_or_default(),
            duplex: duplex.unwrap_or_default(),
            alias: alias.unwrap_or_default(),
            operstate: operstate.filter(|word| link::OPERSTATES.contains(word)),
            // The kernel says -1 where it does not know.
            speed: speed.and_then(decimal_or_hex),
        }
    }
}

/// The flags as the file has them: without what changes by itself, and with what other parts of the
/// kernel asked for. Nothing where the answer does not tell all of that.
fn flags(link: &Link<'_>) -> Option<u64> {
    let mut flags = link.flags & !FLAGS_VOLATILE;
    for (count, flag) in
        [(link.promiscuity?, FLAG_PROMISCUOUS), (link.all_multicast?, FLAG_ALL_MULTICAST)]
    {
        flags = if count > 0 { flags | flag } else { flags & !flag };
    }
    Some(u64::from(flags))
}

/// Adds them one family after the other, which is how they are sent.
fn push(rows: &[Row<'_>], out: &mut Batch) {
    for (at, (_, family)) in NUMBERS.iter().enumerate() {
        for row in rows {
            if let Some(value) = row.numbers.get(at).copied().flatten() {
                out.push(family, &[("device", row.name)], value as f64);
            }
        }
    }
    for row in rows {
        if let Some(state) = row.operstate {
            out.push(&UP, &[("device", row.name)], f64::from(u8::from(state == "up")));
        }
    }
    for row in rows {
        if let Some(megabits) = row.speed.filter(|speed| !SPEEDS_UNKNOWN.contains(speed)) {
            out.push(&SPEED, &[("device", row.name)], megabits as f64 * MEGABIT);
        }
    }
    for row in rows {
        let admin = match row.numbers.get(FLAGS).copied().flatten() {
            Some(flags) if flags & u64::from(FLAG_UP) != 0 => "up",
            Some(_) => "down",
            None => "",
        };
        let labels = [
            ("address", row.address),
            ("adminstate", admin),
            ("broadcast", row.broadcast),
            ("device", row.name),
            ("duplex", row.duplex),
            ("ifalias", row.alias),
            ("operstate", row.operstate.unwrap_or_default()),
        ];
        out.push(&INFO, &labels, 1.0);
    }
}

fn decimal_or_hex(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => number(text.as_bytes()),
    }
}
