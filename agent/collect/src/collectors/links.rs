//! VLANs, bonds and bridges: what stands on what.
//!
//! - Reads: `/proc/net/vlan/config`, `/proc/net/bonding/*`, `/sys/class/net/*`.
//! - Absent when there is no interface, VLAN or bond.
//! - Emits: `node_bonding_*`, [`VLAN_INFO`], [`BOND_MEMBER`], [`BRIDGE_PORT`], [`KIND`],
//!   [`LINK_FAILURES`].
//! - Left out: kinds and bridge ports of interfaces the user does not want. Not here: counters
//!   ([`super::netdev`]), settings ([`super::netclass`]).

use labstat_model::{Batch, Family};
use labstat_parse::proc::{number, trimmed};
use labstat_parse::{bonding, vlan};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;
use crate::options::Interfaces;
use crate::shared::{INTERFACES, check_interface_count, interface_dir};

const VLAN: &str = "/proc/net/vlan";
const BONDING: &str = "/proc/net/bonding";

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
        let names = match host.list(INTERFACES) {
            Err(error) if is_absent(&error) => Vec::new(),
            result => result.map_err(CollectError::read(INTERFACES))?,
        };
        check_interface_count(names.len())?;
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
    let dir = interface_dir(host, name);
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
