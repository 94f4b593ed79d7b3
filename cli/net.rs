//! `labstat net`: interfaces with their VLANs, bonds and bridges, speed, traffic and errors.

use std::collections::BTreeSet;
use std::process::ExitCode;

use crate::failure::Failure;
use crate::human::Unit;
use crate::table::{Cell, Column, Table, Tone};
use crate::view::{self, Answers, Questions, ViewArgs, at};

/// Shows network interfaces: VLAN, bond, speed, traffic, errors
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat net                       all interfaces but loopback and those of guests
  labstat net --all                 really all
  labstat net --node apex
  labstat net --format csv          for a spreadsheet

ERRORS and DROPS are those of the last hour.")]
pub(crate) struct Net {
    /// Also show loopback and the interfaces of containers and virtual machines
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    view: ViewArgs,
}

/// Interfaces that come and go with guests; their numbers are their guests'.
const GUEST_PREFIXES: [&str; 6] = ["veth", "tap", "fwbr", "fwpr", "fwln", "vnet"];

pub(crate) const QUESTIONS: &Questions = &[
    ("up", "node_network_up"),
    ("speed", "node_network_speed_bytes"),
    ("received", "rate(node_network_receive_bytes_total[5m])"),
    ("sent", "rate(node_network_transmit_bytes_total[5m])"),
    (
        "errors",
        "increase(node_network_receive_errs_total[1h]) \
         + increase(node_network_transmit_errs_total[1h])",
    ),
    (
        "drops",
        "increase(node_network_receive_drop_total[1h]) \
         + increase(node_network_transmit_drop_total[1h])",
    ),
    ("vlan", "labstat_network_vlan_info"),
    ("kind", "labstat_network_kind_info"),
    ("member", "labstat_network_bond_member_info"),
    ("port", "labstat_network_bridge_port_info"),
    ("bond_members", "node_bonding_slaves"),
    ("bond_active", "node_bonding_active"),
];

impl Net {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        view::show(&self.view, QUESTIONS, |answers| table(answers, self.all))
    }
}

fn interfaces(answers: &Answers, all: bool) -> BTreeSet<(&str, &str)> {
    let found = answers.all("received").iter().chain(answers.all("up"));
    found
        .map(|found| (at(found), found.label("device")))
        .filter(|(_, device)| {
            let guest = GUEST_PREFIXES.iter().any(|prefix| device.starts_with(prefix));
            all || !(guest || *device == "lo")
        })
        .collect()
}

fn table(answers: &Answers, all: bool) -> Table {
    let mut table = Table::new(
        [
            Column::text("node", "NODE"),
            Column::text("device", "INTERFACE"),
            Column::text("kind", "KIND").minor(3),
            Column::text("state", "STATE"),
            Column::text("vlan", "VLAN"),
            Column::text("on", "ON").minor(1),
            Column::new("speed_bytes_per_second", "SPEED", Unit::BitsPerSecond).minor(2),
            Column::new("received_bytes_per_second", "IN", Unit::BitsPerSecond),
            Column::new("sent_bytes_per_second", "OUT", Unit::BitsPerSecond),
            Column::new("errors_last_hour", "ERRORS", Unit::Plain),
            Column::new("drops_last_hour", "DROPS", Unit::Plain),
        ],
        "No interfaces are known yet.",
    );
    for interface in interfaces(answers, all) {
        table.push(row(answers, interface));
    }
    table
}

fn row(answers: &Answers, (node, device): (&str, &str)) -> Vec<Cell> {
    let here = [("instance", node), ("device", device)];
    let number = |name| answers.value(name, &here);
    let vlan = answers.with("vlan", &here).next();
    let member = answers.with("member", &here).next();
    let kind = answers.with("kind", &here).next().map(|found| found.label("kind"));
    // A VLAN stands on its parent, a member in its bond, a port in its bridge.
    let on = vlan.map(|found| found.label("parent"));
    let on = on.or_else(|| member.map(|found| found.label("master")));
    let on = on.or_else(|| answers.with("port", &here).next().map(|found| found.label("bridge")));
    let lost = |name| Cell::number(number(name).map(f64::round)).limits(1.0, f64::INFINITY);
    vec![
        Cell::text(node),
        Cell::text(device),
        Cell::text_opt(kind.or(vlan.map(|_| "vlan"))),
        state(answers, (node, device)),
        Cell::text_opt(vlan.map(|found| found.label("vlan_id"))),
        Cell::text_opt(on),
        Cell::number(number("speed")),
        Cell::number(number("received")),
        Cell::number(number("sent")),
        lost("errors"),
        lost("drops"),
    ]
}

/// Up or down; for a bond also how many of its members carry it.
fn state(answers: &Answers, (node, device): (&str, &str)) -> Cell {
    let here = [("instance", node), ("device", device)];
    let bond = [("instance", node), ("master", device)];
    let members = answers.value("bond_members", &bond);
    let active = links(answers, &bond);
    match (answers.value("up", &here), members, active) {
        (_, Some(members), Some(active)) if active < members => {
            Cell::text(format!("{active} of {members} links")).tone(Tone::Bad)
        }
        (Some(up), Some(members), _) if up > 0.0 => {
            Cell::text(format!("up, {}", view::count(count(members), "link"))).tone(Tone::Good)
        }
        (Some(up), ..) if up > 0.0 => Cell::text("up").tone(Tone::Good),
        (Some(_), ..) => Cell::text("down"),
        (None, ..) => Cell::absent(),
    }
}

/// How many members carry a bond, or stand by to: those whose link is up, but for those that LACP
/// leaves out.
pub(crate) fn links(answers: &Answers, bond: &[(&str, &str); 2]) -> Option<f64> {
    Some(answers.value("bond_active", bond)? - left_out(answers, bond))
}

/// Members whose link is up and that LACP leaves out all the same: what they are plugged into does
/// not speak it, or is another switch than that of the rest.
fn left_out(answers: &Answers, bond: &[(&str, &str); 2]) -> f64 {
    let idle = [("mii_status", "up"), ("active", "false"), ("mode", "802.3ad")];
    let labels: Vec<(&str, &str)> = bond.iter().chain(&idle).copied().collect();
    answers.with("member", &labels).map(|_| 1.0).sum()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of links is small; `as` saturates"
)]
fn count(number: f64) -> usize {
    number as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::{canned, plain};

    #[test]
    fn vlans_bonds_and_a_bond_on_one_leg() {
        let answers = canned(
            r#"
            up {instance="apex",device="bond0"} 1
            up {instance="apex",device="bond0.99"} 1
            up {instance="apex",device="eno1"} 1
            up {instance="apex",device="eno2"} 0
            up {instance="apex",device="lo"} 0
            received {instance="apex",device="bond0"} 125000
            received {instance="apex",device="veth12"} 5
            sent {instance="apex",device="bond0"} 1250
            speed {instance="apex",device="eno1"} 312500000
            errors {instance="apex",device="eno1"} 3.01
            drops {instance="apex",device="eno1"} 0
            vlan {instance="apex",device="bond0.99",parent="bond0",vlan_id="99",protocol="802.1Q"} 1
            member {instance="apex",device="eno1",master="bond0"} 1
            port {instance="apex",device="bond0",bridge="vmbr0",state="forwarding"} 1
            port {instance="apex",device="bond0.99",bridge="vmbr1",state="forwarding"} 1
            kind {instance="apex",device="bond0",kind="bond"} 1
            bond_members {instance="apex",master="bond0"} 2
            bond_active {instance="apex",master="bond0"} 1
            "#,
        );
        assert_eq!(
            plain(&table(&answers, false)),
            "\
NODE  INTERFACE  KIND  STATE         VLAN  ON          SPEED        IN        OUT  ERRORS  DROPS
apex  bond0      bond  1 of 2 links  -     vmbr0           -  1 Mbit/s  10 kbit/s       -      -
apex  bond0.99   vlan  up            99    bond0           -         -          -       -      -
apex  eno1       -     up            -     bond0  2.5 Gbit/s         -          -       3      0
apex  eno2       -     down          -     -               -         -          -       -      -
"
        );
        assert_eq!(table(&answers, true).len(), 6);
    }

    #[test]
    fn a_leg_that_lacp_left_out_carries_nothing() {
        let bond = |mode: &str| {
            let answers = canned(&format!(
                r#"
                up {{instance="apex",device="bond0"}} 1
                bond_members {{instance="apex",master="bond0"}} 2
                bond_active {{instance="apex",master="bond0"}} 2
                member {{instance="apex",device="a",master="bond0",active="true",mii_status="up",mode="{mode}"}} 1
                member {{instance="apex",device="b",master="bond0",active="false",mii_status="up",mode="{mode}"}} 1
                "#
            ));
            state(&answers, ("apex", "bond0"))
        };
        assert_eq!(bond("802.3ad"), Cell::text("1 of 2 links").tone(Tone::Bad));
        let waiting = Cell::text("up, 2 links").tone(Tone::Good);
        assert_eq!(bond("active-backup"), waiting, "one waits for its turn");
    }
}
