//! Bonds and their legs, whether they come over netlink or from `/proc/net/bonding`.

use labstat_model::{Batch, Family};
use labstat_parse::bonding::{self, Bond, Lacp, Slave};
use labstat_parse::rtnetlink::link::{self, BondLeg, Details, Link, Role};

use crate::host::Host;
use crate::network::Names;

/// The folder that has one file for each bond.
pub(super) const BONDING: &str = "/proc/net/bonding";

/// A bond.
pub static BOND_INFO: Family = Family::gauge(
    "labstat_network_bond_info",
    "A bond, its mode, the member in use where one is, and what LACP found at the other end; always 1.",
);
/// A member of a bond.
pub static BOND_MEMBER: Family = Family::gauge(
    "labstat_network_bond_member_info",
    "A member of a bond, its link, whether it carries traffic, what LACP found at its other end, and the bond's mode; always 1.",
);
/// Times a member of a bond lost its link.
pub static LINK_FAILURES: Family = Family::counter(
    "labstat_network_bond_link_failures_total",
    "Times a member of a bond lost its link.",
);
/// What both ends of a member tell each other by LACP.
pub static PORT_STATE: Family = Family::gauge(
    "labstat_network_bond_port_state",
    "LACP state of a member's port at this end (actor) and the other (partner), as bits: 1 active, 2 short timeout, 4 aggregating, 8 in sync, 16 collecting, 32 distributing, 64 defaulted, 128 expired.",
);
static BOND_SLAVES: Family =
    Family::gauge("node_bonding_slaves", "Number of configured slaves per bonding interface.");
static BOND_ACTIVE: Family =
    Family::gauge("node_bonding_active", "Number of active slaves per bonding interface.");

/// The mode in which members and a switch agree on who carries traffic.
const LACP_MODE: &str = "802.3ad";

/// Adds the bonds among `links`. Their legs are among `all`: a leg that is not shown as an interface
/// still is one of its bond.
pub(super) fn push_links(
    host: &dyn Host,
    links: &[Link<'_>],
    all: &[Link<'_>],
    names: &Names<'_>,
    out: &mut Batch,
) {
    for link in links {
        if let Details::Bond(_) = link.details {
            let mut bond = of_link(link, all, names);
            if bond.mode == Some(LACP_MODE) {
                add_partners(host, link.name, &mut bond);
            }
            push(link.name, &bond, out);
        }
    }
}

/// The bond that netlink tells of, as its file would.
fn of_link(link: &Link<'_>, links: &[Link<'_>], names: &Names<'_>) -> Bond {
    let Details::Bond(told) = link.details else { return Bond::default() };
    let name = |index: Option<u32>| index.and_then(|index| names.get(index)).map(str::to_owned);
    let lacp = told.aggregator.map(|aggregator| Lacp {
        rate: told.lacp_rate.map(|rate| if rate == 0 { "slow" } else { "fast" }.to_owned()),
        min_links: told.min_links.map(u64::from),
        aggregator_id: aggregator.id.map(u64::from),
        ports: aggregator.ports.map(u64::from),
        actor_key: aggregator.actor_key.map(u64::from),
        partner_key: aggregator.partner_key.map(u64::from),
        partner_mac: address(aggregator.partner),
    });
    let mode = told.mode.and_then(bonding::mode);
    let leg = |link: &Link<'_>| match (link.role, link.master) {
        (Role::BondLeg(leg), master) => Some((master?, slave(link.name, &leg))),
        _ => None,
    };
    let of_this = |(master, slave)| (master == link.index).then_some(slave);
    Bond {
        mode,
        transmit_hash_policy: told.hash_policy.and_then(bonding::hash_policy).map(str::to_owned),
        active_slave: name(told.active),
        primary_slave: name(told.primary),
        mii_polling_interval_ms: told.mii_interval_ms.map(u64::from),
        lacp: lacp.filter(|_| mode == Some(LACP_MODE)),
        slaves: links.iter().filter_map(leg).filter_map(of_this).collect(),
        ..Bond::default()
    }
}

fn slave(name: &str, leg: &BondLeg<'_>) -> Slave {
    Slave {
        name: name.to_owned(),
        mii_status: leg.mii_status.and_then(bonding::mii_status).map(str::to_owned),
        link_failures: leg.link_failures.map(u64::from),
        permanent_mac: address(leg.permanent),
        aggregator_id: leg.aggregator.map(u64::from),
        actor_port_state: leg.actor_state.map(u64::from),
        partner_port_state: leg.partner_state.map(u64::from),
        ..Slave::default()
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let mut text = String::new();
    link::push_address(bytes, &mut text);
    Some(text).filter(|text| !text.is_empty())
}

/// Which switch stands at each leg, which is only in the file, and there only for root.
fn add_partners(host: &dyn Host, name: &str, bond: &mut Bond) {
    let text = host.text(&format!("{BONDING}/{name}"));
    let Some(told) = text.ok().and_then(|text| bonding::parse(&text).ok()) else { return };
    for slave in &mut bond.slaves {
        let same = told.slaves.iter().find(|told| told.name == slave.name);
        slave.partner_mac = same.and_then(|told| told.partner_mac.clone());
    }
}

/// Adds one bond.
pub(super) fn push(name: &str, bond: &Bond, out: &mut Batch) {
    let master = ("master", name);
    let up = bond.slaves.iter().filter(|slave| is_up(slave)).count();
    out.push(&BOND_SLAVES, &[master], bond.slaves.len() as f64);
    out.push(&BOND_ACTIVE, &[master], up as f64);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let number = |number: Option<u64>| number.map(|id| id.to_string()).unwrap_or_default();
    let lacp = bond.lacp.as_ref();
    let labels = [
        ("active_member", &*text(&bond.active_slave)),
        ("aggregator_id", &*number(lacp.and_then(|lacp| lacp.aggregator_id))),
        ("lacp_rate", &*lacp.map(|lacp| text(&lacp.rate)).unwrap_or_default()),
        master,
        ("mode", bond.mode.unwrap_or_default()),
        ("partner", &*lacp.map(|lacp| text(&lacp.partner_mac)).unwrap_or_default()),
        ("primary", &*text(&bond.primary_slave)),
        ("transmit_hash_policy", &*text(&bond.transmit_hash_policy)),
    ];
    out.push(&BOND_INFO, &labels, 1.0);
    for slave in &bond.slaves {
        let labels = [
            ("active", if carries(slave, bond) { "true" } else { "false" }),
            ("aggregator_id", &*number(slave.aggregator_id)),
            ("device", &slave.name),
            master,
            ("mii_status", slave.mii_status.as_deref().unwrap_or_default()),
            // Only the mode tells a member that waits for its turn from one that LACP left out.
            ("mode", bond.mode.unwrap_or_default()),
            ("partner", slave.partner_mac.as_deref().unwrap_or_default()),
        ];
        out.push(&BOND_MEMBER, &labels, 1.0);
    }
    for slave in &bond.slaves {
        if let Some(count) = slave.link_failures {
            out.push(&LINK_FAILURES, &[("device", &slave.name), master], count as f64);
        }
    }
    for slave in &bond.slaves {
        let sides = [("actor", slave.actor_port_state), ("partner", slave.partner_port_state)];
        for (side, state) in sides {
            if let Some(state) = state {
                let labels = [("device", slave.name.as_str()), master, ("side", side)];
                out.push(&PORT_STATE, &labels, state as f64);
            }
        }
    }
}

fn is_up(slave: &Slave) -> bool {
    slave.mii_status.as_deref() == Some("up")
}

/// A member that is up carries nothing when another one is in use, or when it landed in another
/// aggregator than the bond's, as on a switch without LACP.
fn carries(slave: &Slave, bond: &Bond) -> bool {
    let aggregator = bond.lacp.as_ref().and_then(|lacp| lacp.aggregator_id);
    is_up(slave)
        && match (&bond.active_slave, aggregator) {
            (Some(active), _) => *active == slave.name,
            (None, Some(id)) => slave.aggregator_id == Some(id),
            (None, None) => true,
        }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use labstat_model::ManualClock;

    use super::*;
    use crate::host::ReplayHost;
    use crate::network::links;

    /// Linux 6.1 with a bond of eth1 and eth2.
    const ANSWER: &[u8] =
        include_bytes!("../../../../parse/fixtures/rtnetlink/bond-vlans-and-an-aware-bridge.links");

    #[test]
    fn legs_that_are_not_shown_as_interfaces_still_are_legs() {
        let dir = tempfile::tempdir().unwrap();
        let host = ReplayHost::open(dir.path(), Arc::new(ManualClock::new(0))).unwrap();
        let all = links(ANSWER).unwrap();
        let shown: Vec<Link<'_>> = all.iter().filter(|l| l.name == "bond0").copied().collect();
        let mut out = Batch::new();
        push_links(&host, &shown, &all, &Names::of(&all), &mut out);
        assert_eq!(out.value("node_bonding_slaves", &[("master", "bond0")]), Some(2.0));
        assert_eq!(out.value("node_bonding_active", &[("master", "bond0")]), Some(2.0));
    }
}
