//! VLANs, bonds and bridges: what stands on what, and how it is.
//!
//! - Reads: the kernel's answer over netlink, which it shares with others; `/proc/net/bonding/*` for
//!   the switch at each leg of a bond that speaks LACP, and `/sys/class/net/*/{uevent,type,…}` once for
//!   each interface whose kind netlink does not tell. Where there is no netlink,
//!   `/proc/net/vlan/config`, `/proc/net/bonding/*` and `/sys/class/net/*`, which do not know the
//!   protocol of a VLAN.
//! - Absent when there is no interface, VLAN or bond.
//! - Emits: `node_bonding_*`, [`KIND`], [`VLAN_INFO`], [`VLAN_NAME`], [`BOND_INFO`],
//!   [`BOND_MEMBER`], [`LINK_FAILURES`], [`PORT_STATE`], [`BRIDGE_INFO`], [`BRIDGE_PORT`].
//! - Left out: interfaces the user does not want. Not here: counters ([`super::netdev`]), settings
//!   ([`super::netclass`]), the VLANs of bridges ([`super::bridge_vlans`]), which are questions of
//!   their own that may fail by themselves.

mod bonds;
mod files;

use std::collections::HashMap;

use labstat_model::{Batch, Family};
use labstat_parse::rtnetlink::link::{self, Details, Link, Role};

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::network::{Names, Reader, links};
use crate::options::{Interfaces, Patience};

pub use bonds::{BOND_INFO, BOND_MEMBER, LINK_FAILURES, PORT_STATE};

/// A VLAN interface and what it stands on.
pub static VLAN_INFO: Family = Family::gauge(
    "labstat_network_vlan_info",
    "A VLAN interface, the interface it stands on, its id, protocol and name; always 1.",
);
/// What the owner calls a VLAN.
pub static VLAN_NAME: Family = Family::gauge(
    "labstat_network_vlan_name_info",
    "What the agent's configuration calls a VLAN; always 1.",
);
/// A bridge.
pub static BRIDGE_INFO: Family = Family::gauge(
    "labstat_network_bridge_info",
    "A bridge, its spanning tree and whether it tells VLANs apart; always 1.",
);
/// A port of a bridge.
pub static BRIDGE_PORT: Family = Family::gauge(
    "labstat_network_bridge_port_info",
    "A port of a bridge and its spanning tree state; always 1.",
);
/// What kind of interface it is.
pub static KIND: Family =
    Family::gauge("labstat_network_kind_info", "What kind of interface it is; always 1.");

/// VLANs, bonds, bridges: what stands on what.
#[derive(Debug)]
pub struct Links {
    options: Interfaces,
    patience: Patience,
    /// What kind an interface is that netlink does not tell: its number and what its files say.
    kinds: HashMap<String, (u32, Option<String>)>,
}

impl Links {
    /// One that leaves out what `options` says.
    pub fn new(options: &Interfaces, patience: Patience) -> Self {
        Self { options: options.clone(), patience, kinds: HashMap::new() }
    }

    fn collect_answer(
        &mut self,
        host: &dyn Host,
        answer: &[u8],
        out: &mut Batch,
    ) -> Result<Status, CollectError> {
        let all = links(answer)?;
        if all.is_empty() {
            return Ok(Status::Absent);
        }
        let names = Names::of(&all);
        let links: Vec<Link<'_>> =
            all.iter().filter(|link| self.options.has(link.name)).copied().collect();
        self.push_kinds(host, &links, out);
        push_vlans(&links, &names, &self.options, out);
        push_vlan_names(&self.options, out);
        bonds::push_links(host, &links, &all, &names, out);
        push_bridges(&links, &names, out);
        Ok(Status::Collected)
    }

    fn push_kinds(&mut self, host: &dyn Host, links: &[Link<'_>], out: &mut Batch) {
        self.kinds.retain(|name, _| links.iter().any(|link| link.name == name));
        for link in links {
            let kind = match (link.kind, link.details) {
                (_, Details::Tun { is_tap: true }) => Some("tap"),
                (Some(kind), _) => Some(kind),
                (None, _) => self.kind_by_files(host, link),
            };
            if let Some(kind) = kind {
                out.push(&KIND, &[("device", link.name), ("kind", kind)], 1.0);
            }
        }
    }

    /// What the interface's files say that no link's kind says, such as `physical`.
    fn kind_by_files(&mut self, host: &dyn Host, link: &Link<'_>) -> Option<&str> {
        if self.kinds.get(link.name).is_none_or(|(index, _)| *index != link.index) {
            let kind = match link.hardware {
                link::LOOPBACK => Some("loopback".to_owned()),
                _ => files::kind_of(host, link.name, link.index),
            };
            let kind = kind.or_else(|| link.parent_device.map(|_| "physical".to_owned()));
            self.kinds.insert(link.name.to_owned(), (link.index, kind));
        }
        self.kinds.get(link.name)?.1.as_deref()
    }
}

impl Collector for Links {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        match self.options.view.read(host, Reader::Links, self.patience.0)? {
            Some(answer) => self.collect_answer(host, &answer, out),
            None => files::push(host, &self.options, out),
        }
    }
}

fn push_vlans(links: &[Link<'_>], names: &Names<'_>, options: &Interfaces, out: &mut Batch) {
    for link in links {
        if let Details::Vlan(vlan) = link.details {
            // A container's VLAN may stand on an interface of its host.
            let parent = link.lower.filter(|_| !link.lower_is_elsewhere);
            let protocol = vlan.protocol.and_then(link::vlan_protocol);
            let parent = parent.and_then(|index| names.get(index));
            push_vlan(link.name, parent.unwrap_or_default(), vlan.id, protocol, options, out);
        }
    }
}

fn push_vlan(
    device: &str,
    parent: &str,
    id: u16,
    protocol: Option<&str>,
    options: &Interfaces,
    out: &mut Batch,
) {
    let labels = [
        ("device", device),
        ("parent", parent),
        ("protocol", protocol.unwrap_or_default()),
        ("vlan_id", &*id.to_string()),
        ("vlan_name", options.vlan_names.get(&id).map_or("", String::as_str)),
    ];
    out.push(&VLAN_INFO, &labels, 1.0);
}

fn push_vlan_names(options: &Interfaces, out: &mut Batch) {
    for (id, name) in &options.vlan_names {
        out.push(&VLAN_NAME, &[("vlan_id", &id.to_string()), ("vlan_name", name)], 1.0);
    }
}

/// Bridges and their ports.
fn push_bridges(links: &[Link<'_>], names: &Names<'_>, out: &mut Batch) {
    let (mut id, mut root) = (String::new(), String::new());
    for link in links {
        if let Details::Bridge(bridge) = &link.details {
            for (bytes, text) in [(bridge.id, &mut id), (bridge.root_id, &mut root)] {
                text.clear();
                push_bridge_id(bytes, text);
            }
            let facts = Bridge {
                stp: bridge.stp.map(u64::from),
                vlan_filtering: bridge.vlan_filtering,
                vlan_protocol: bridge.vlan_protocol,
                id: &id,
                root: &root,
            };
            facts.push(link.name, out);
        }
    }
    for link in links {
        if let Role::BridgePort { state } = link.role
            && let Some(bridge) = link.master.and_then(|master| names.get(master))
        {
            push_port(link.name, bridge, state.and_then(link::port_state), out);
        }
    }
}

fn push_port(device: &str, bridge: &str, state: Option<&str>, out: &mut Batch) {
    let labels = [("bridge", bridge), ("device", device), ("state", state.unwrap_or_default())];
    out.push(&BRIDGE_PORT, &labels, 1.0);
}

/// Adds a bridge's priority and address as the kernel's files write them: `8000.525400123456`.
fn push_bridge_id(id: &[u8], text: &mut String) {
    let mut address = String::new();
    link::push_address(id, &mut address);
    for (at, pair) in address.split(':').enumerate() {
        if at == 2 {
            text.push('.');
        }
        text.push_str(pair);
    }
}

/// What is told of a bridge, wherever it comes from.
#[derive(Debug, Default)]
struct Bridge<'a> {
    stp: Option<u64>,
    vlan_filtering: Option<bool>,
    vlan_protocol: Option<u16>,
    id: &'a str,
    root: &'a str,
}

impl Bridge<'_> {
    fn push(&self, name: &str, out: &mut Batch) {
        let stp = match self.stp {
            Some(0) => "off",
            Some(1) => "kernel",
            Some(2) => "userspace",
            _ => "",
        };
        let filtering = match self.vlan_filtering {
            Some(true) => "true",
            Some(false) => "false",
            None => "",
        };
        let labels = [
            ("bridge", name),
            ("bridge_id", self.id),
            ("root_id", self.root),
            ("stp", stp),
            ("vlan_filtering", filtering),
            ("vlan_protocol", self.vlan_protocol.and_then(link::vlan_protocol).unwrap_or_default()),
        ];
        out.push(&BRIDGE_INFO, &labels, 1.0);
    }
}
