//! `labstat net`: interfaces as a tree: a bond and its legs, a bridge and its ports, an interface and its
//! VLANs, with speed, traffic and errors.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use crate::answer::Found;
use crate::failure::Failure;
use crate::human::Unit;
use crate::table::{Cell, Column, Table, Tone};
use crate::view::{self, Answers, Questions, ViewArgs, at};

/// Shows network interfaces as a tree: bonds, bridges, VLANs, speed, traffic, errors
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat net                       all interfaces but loopback and those of guests
  labstat net --all                 really all
  labstat net --node apex
  labstat net --format csv          for a spreadsheet

An interface stands below the bond or bridge it belongs to, or the one whose VLAN it is. ERRORS and
DROPS are those of the last hour; FAILURES are how often a leg of a bond has lost its link. Those
VLANS are in brackets whose packets leave a port of a bridge untagged.")]
pub(crate) struct Net {
    /// Also show loopback and the interfaces of containers and virtual machines
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    view: ViewArgs,
}

/// What interfaces that come and go with guests are called, for nodes that do not tell of kinds.
const GUEST_PREFIXES: [&str; 6] = ["veth", "tap", "fwbr", "fwpr", "fwln", "vnet"];

/// The bridge that Proxmox sets between a guest and its firewall. It is a bridge like others, and only
/// its name tells.
const FIREWALL_BRIDGE: &str = "fwbr";

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
    ("info", "node_network_info"),
    ("mtu", "node_network_mtu_bytes"),
    ("vlan", "labstat_network_vlan_info"),
    ("vlans", "labstat_network_bridge_vlan_info"),
    ("failures", "labstat_network_bond_link_failures_total"),
    ("bond", "labstat_network_bond_info"),
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
        .filter(|(node, device)| all || !(*device == "lo" || is_of_guest(answers, node, device)))
        .collect()
}

/// Whether an interface is the host's end of a guest's, whose numbers are those of the guest.
fn is_of_guest(answers: &Answers, node: &str, device: &str) -> bool {
    let here = [("instance", node), ("device", device)];
    let Some(kind) = answers.with("kind", &here).next().map(|found| found.label("kind")) else {
        return GUEST_PREFIXES.iter().any(|prefix| device.starts_with(prefix));
    };
    match kind {
        "loopback" | "macvtap" => true,
        // In a container its own interfaces are such, and there are no others.
        "veth" => {
            answers.with("kind", &[("instance", node), ("kind", "physical")]).next().is_some()
        }
        // One that no bridge has is a tunnel.
        "tun" => answers.with("port", &here).next().is_some(),
        "bridge" => device.starts_with(FIREWALL_BRIDGE),
        _ => false,
    }
}

fn table(answers: &Answers, all: bool) -> Table {
    let mut table = Table::new(
        [
            Column::text("node", "NODE"),
            Column::text("device", "INTERFACE"),
            Column::text("kind", "KIND").minor(3),
            Column::text("state", "STATE"),
            Column::text("vlan", "VLAN").sparse(),
            Column::text("vlan_name", "NAME").sparse(),
            Column::text("on", "ON").minor(4).sparse(),
            Column::new("speed_bytes_per_second", "SPEED", Unit::BitsPerSecond).minor(2),
            Column::text("duplex", "DUPLEX").minor(7).sparse(),
            Column::new("mtu_bytes", "MTU", Unit::Plain).minor(6),
            Column::new("received_bytes_per_second", "IN", Unit::BitsPerSecond),
            Column::new("sent_bytes_per_second", "OUT", Unit::BitsPerSecond),
            Column::new("errors_last_hour", "ERRORS", Unit::Plain),
            Column::new("drops_last_hour", "DROPS", Unit::Plain),
            Column::new("link_failures", "FAILURES", Unit::Plain).minor(5).sparse(),
            Column::text("lacp_partner", "LACP PARTNER").minor(5).sparse(),
            Column::text("vlans", "VLANS").minor(5).sparse(),
        ],
        "No interfaces are known yet.",
    );
    let interfaces = interfaces(answers, all);
    let nodes: BTreeSet<&str> = interfaces.iter().map(|(node, _)| *node).collect();
    for node in nodes {
        let devices = interfaces.iter().filter(|(at, _)| *at == node).map(|(_, device)| *device);
        for (branch, device) in tree(answers, node, devices.collect()) {
            table.push(row(answers, (node, device), branch));
        }
    }
    table
}

/// The interfaces of a node, each behind what it stands below, with their branches.
fn tree<'a>(
    answers: &'a Answers,
    node: &str,
    mut devices: BTreeSet<&'a str>,
) -> Vec<(String, &'a str)> {
    let mut below: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut roots = Vec::new();
    for &device in &devices {
        match trunk(answers, node, device, &devices) {
            Some(trunk) => below.entry(trunk).or_default().push(device),
            None => roots.push(device),
        }
    }
    let mut rows = Vec::new();
    for root in roots {
        grow(&below, root, &mut devices, (String::new(), String::new()), &mut rows);
    }
    // What stands on itself, by labels that nobody of ours sends, has no root.
    while let Some(&rest) = devices.first() {
        grow(&below, rest, &mut devices, (String::new(), String::new()), &mut rows);
    }
    rows
}

/// Adds an interface and all below it, each once. Of `branches`, the first is its own and the second
/// that of what is below.
fn grow<'a>(
    below: &BTreeMap<&'a str, Vec<&'a str>>,
    device: &'a str,
    left: &mut BTreeSet<&'a str>,
    branches: (String, String),
    rows: &mut Vec<(String, &'a str)>,
) {
    if !left.remove(device) {
        return;
    }
    let (branch, stem) = branches;
    rows.push((branch, device));
    let children = below.get(device).map_or(&[][..], Vec::as_slice);
    for (at, child) in children.iter().enumerate() {
        let (own, rest) =
            if at + 1 == children.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        grow(below, child, left, (format!("{stem}{own}"), format!("{stem}{rest}")), rows);
    }
}

/// What an interface stands below: the bond or bridge it belongs to, or what it is a VLAN of, whichever
/// of them is shown.
fn trunk<'a>(
    answers: &'a Answers,
    node: &str,
    device: &str,
    shown: &BTreeSet<&'a str>,
) -> Option<&'a str> {
    let sources = [("member", "master"), ("port", "bridge"), ("vlan", "parent")];
    sources.into_iter().find_map(|(answer, label)| {
        let is_it = |found: &&Found| at(found) == node && found.label("device") == device;
        let found = answers.all(answer).iter().find(is_it)?;
        Some(found.label(label)).filter(|trunk| shown.contains(trunk))
    })
}

fn row(answers: &Answers, (node, device): (&str, &str), branch: String) -> Vec<Cell> {
    let here = [("instance", node), ("device", device)];
    let number = |name| answers.value(name, &here);
    let word = |name, label| answers.with(name, &here).next().map(|found| found.label(label));
    let vlan = answers.with("vlan", &here).next();
    // A VLAN stands on its parent, a member in its bond, a port in its bridge.
    let on = vlan.map(|found| found.label("parent"));
    let on = on.or_else(|| word("member", "master")).or_else(|| word("port", "bridge"));
    let bond = [("instance", node), ("master", device)];
    let partner = word("member", "partner")
        .or_else(|| answers.with("bond", &bond).next().map(|found| found.label("partner")));
    let lost = |name| Cell::number(number(name).map(f64::round)).limits(1.0, f64::INFINITY);
    vec![
        Cell::text(node),
        Cell::text(device).branch(branch),
        Cell::text_opt(word("kind", "kind").or(vlan.map(|_| "vlan"))),
        state(answers, (node, device)),
        Cell::text_opt(vlan.map(|found| found.label("vlan_id"))),
        Cell::text_opt(vlan.map(|found| found.label("vlan_name"))),
        Cell::text_opt(on),
        Cell::number(number("speed")),
        Cell::text_opt(word("info", "duplex").filter(|duplex| *duplex != "unknown")),
        Cell::number(number("mtu")),
        Cell::number(number("received")),
        Cell::number(number("sent")),
        lost("errors"),
        lost("drops"),
        Cell::number(number("failures")),
        lacp_partner(partner),
        Cell::text(vlans(answers, &here)),
    ]
}

/// The switch at the other end, or that there is none that speaks LACP.
fn lacp_partner(partner: Option<&str>) -> Cell {
    match partner {
        Some("00:00:00:00:00:00") => Cell::text("none").tone(Tone::Bad),
        partner => Cell::text_opt(partner),
    }
}

/// The VLANs that a bridge or a port of it belongs to, in the order of their numbers.
fn vlans(answers: &Answers, here: &[(&str, &str); 2]) -> String {
    let mut found: Vec<(u16, String)> = answers
        .with("vlans", here)
        .map(|found| {
            let id = found.label("vlan_id");
            let first = id.split('-').next().and_then(|first| first.parse().ok());
            let untagged = found.label("untagged") == "true";
            (first.unwrap_or(u16::MAX), if untagged { format!("({id})") } else { id.to_owned() })
        })
        .collect();
    found.sort();
    let words: Vec<String> = found.into_iter().map(|(_, word)| word).collect();
    words.join(", ")
}

/// Up or down; for a bond also how many of its members carry it, for a member why it does not, for a
/// port of a bridge what keeps it from passing traffic on.
fn state(answers: &Answers, (node, device): (&str, &str)) -> Cell {
    let here = [("instance", node), ("device", device)];
    let bond = [("instance", node), ("master", device)];
    let members = answers.value("bond_members", &bond);
    let active = links(answers, &bond);
    let up =
        answers.value("up", &here).map(|up| up > 0.0 || is_silent_about_itself(answers, &here));
    match (up, members, active) {
        (_, Some(members), Some(active)) if active < members => {
            return Cell::text(format!("{active} of {members} links")).tone(Tone::Bad);
        }
        (Some(true), Some(members), _) => {
            let links = view::count(count(members), "link");
            return Cell::text(format!("up, {links}")).tone(Tone::Good);
        }
        _ => {}
    }
    let member = answers.with("member", &here).find(|found| !found.label("mii_status").is_empty());
    if let Some(member) = member {
        return match (member.label("mii_status"), member.label("active"), member.label("mode")) {
            ("up", "false", "802.3ad") => Cell::text("up, left out").tone(Tone::Bad),
            ("up", "false", _) => Cell::text("up, stands by").tone(Tone::Good),
            ("up", ..) => Cell::text("up").tone(Tone::Good),
            (status, ..) => Cell::text(status).tone(Tone::Bad),
        };
    }
    let port = answers.with("port", &here).next().map(|found| found.label("state"));
    let waits = port.filter(|state| !matches!(*state, "forwarding" | "disabled" | ""));
    match (up, waits) {
        (Some(true), Some(state)) => Cell::text(format!("up, {state}")).tone(Tone::Warn),
        (Some(true), None) => Cell::text("up").tone(Tone::Good),
        (Some(false), _) => Cell::text("down"),
        (None, _) => Cell::absent(),
    }
}

/// Whether an interface is switched on whose driver tells nothing of its state, as those of tunnels
/// (WireGuard, `tun`) and the loopback: then it is to be used, and `node_network_up`, which is as
/// node_exporter has it, says 0 all the same.
fn is_silent_about_itself(answers: &Answers, here: &[(&str, &str); 2]) -> bool {
    let info = answers.with("info", here).next();
    info.is_some_and(|it| it.label("operstate") == "unknown" && it.label("adminstate") == "up")
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
            vlan {instance="apex",device="bond0.99",parent="bond0",vlan_id="99",vlan_name="Ceph",protocol="802.1Q"} 1
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
NODE  INTERFACE    KIND  STATE         VLAN  NAME  ON          SPEED  MTU        IN        OUT  ERRORS  DROPS
apex  bond0        bond  1 of 2 links  -     -     vmbr0           -    -  1 Mbit/s  10 kbit/s       -      -
apex  ├─ bond0.99  vlan  up            99    Ceph  bond0           -    -         -          -       -      -
apex  └─ eno1      -     up            -     -     bond0  2.5 Gbit/s    -         -          -       3      0
apex  eno2         -     down          -     -     -               -    -         -          -       -      -
"
        );
        assert_eq!(table(&answers, true).len(), 6);
    }

    #[test]
    fn legs_and_ports_say_what_keeps_them_and_where_they_end() {
        let answers = canned(
            r#"
            up {instance="a",device="bond0"} 1
            up {instance="a",device="e1"} 1
            up {instance="a",device="e2"} 1
            up {instance="a",device="e3"} 0
            up {instance="a",device="e4"} 1
            up {instance="a",device="vmbr0"} 1
            member {instance="a",device="e1",master="bond0",active="true",mii_status="up",mode="802.3ad",partner="02:00:00:00:00:01"} 1
            member {instance="a",device="e2",master="bond0",active="false",mii_status="up",mode="802.3ad",partner="00:00:00:00:00:00"} 1
            member {instance="a",device="e3",master="bond0",active="false",mii_status="down",mode="802.3ad"} 1
            bond {instance="a",master="bond0",mode="802.3ad",partner="02:00:00:00:00:01"} 1
            failures {instance="a",device="e3",master="bond0"} 4
            port {instance="a",device="e4",bridge="vmbr0",state="blocking"} 1
            vlans {instance="a",device="e4",bridge="vmbr0",vlan_id="2-4094",pvid="false",untagged="false"} 1
            vlans {instance="a",device="e4",bridge="vmbr0",vlan_id="1",pvid="true",untagged="true"} 1
            info {instance="a",device="e4",duplex="half"} 1
            mtu {instance="a",device="e4"} 9000
            "#,
        );
        assert_eq!(
            plain(&table(&answers, false)),
            "\
NODE  INTERFACE  KIND  STATE         ON     SPEED  DUPLEX   MTU  IN  OUT  ERRORS  DROPS  FAILURES  LACP PARTNER       VLANS
a     bond0      -     up            -          -  -          -   -    -       -      -         -  02:00:00:00:00:01  -
a     ├─ e1      -     up            bond0      -  -          -   -    -       -      -         -  02:00:00:00:00:01  -
a     ├─ e2      -     up, left out  bond0      -  -          -   -    -       -      -         -  none               -
a     └─ e3      -     down          bond0      -  -          -   -    -       -      -         4  -                  -
a     vmbr0      -     up            -          -  -          -   -    -       -      -         -  -                  -
a     └─ e4      -     up, blocking  vmbr0      -  half    9000   -    -       -      -         -  -                  (1), 2-4094
"
        );
    }

    /// A tunnel that carries all day is not down, and one that was switched off is.
    #[test]
    fn what_tells_nothing_of_its_state_is_up_while_it_is_on() {
        let answers = canned(
            r#"
            up {instance="a",device="eth0"} 0
            up {instance="a",device="tun0"} 0
            up {instance="a",device="wg0"} 0
            up {instance="a",device="wg1"} 0
            info {instance="a",device="eth0",adminstate="up",operstate="down"} 1
            info {instance="a",device="wg0",adminstate="up",operstate="unknown"} 1
            info {instance="a",device="wg1",adminstate="down",operstate="unknown"} 1
            "#,
        );
        assert_eq!(
            plain(&table(&answers, false)),
            "\
NODE  INTERFACE  KIND  STATE  SPEED  MTU  IN  OUT  ERRORS  DROPS
a     eth0       -     down       -    -   -    -       -      -
a     tun0       -     down       -    -   -    -       -      -
a     wg0        -     up         -    -   -    -       -      -
a     wg1        -     down       -    -   -    -       -      -
"
        );
    }

    #[test]
    fn ends_of_guests_interfaces_are_known_by_their_kind() {
        let answers = canned(
            r#"
            up {instance="host",device="eno1"} 1
            up {instance="host",device="lo"} 1
            up {instance="host",device="tapestry"} 1
            up {instance="host",device="tap100i0"} 1
            up {instance="host",device="tun0"} 1
            up {instance="host",device="cali12"} 1
            up {instance="host",device="fwbr100i0"} 1
            up {instance="host",device="vmbr0"} 1
            up {instance="host",device="macvtap0"} 1
            kind {instance="host",device="lo",kind="loopback"} 1
            kind {instance="host",device="eno1",kind="physical"} 1
            kind {instance="host",device="tapestry",kind="physical"} 1
            kind {instance="host",device="tap100i0",kind="tun"} 1
            kind {instance="host",device="tun0",kind="tun"} 1
            kind {instance="host",device="cali12",kind="veth"} 1
            kind {instance="host",device="fwbr100i0",kind="bridge"} 1
            kind {instance="host",device="vmbr0",kind="bridge"} 1
            kind {instance="host",device="macvtap0",kind="macvtap"} 1
            port {instance="host",device="tap100i0",bridge="fwbr100i0"} 1
            up {instance="box",device="eth0"} 1
            kind {instance="box",device="eth0",kind="veth"} 1
            up {instance="other",device="veth1"} 1
            up {instance="other",device="eth0"} 1
            "#,
        );
        let shown: Vec<_> = interfaces(&answers, false).into_iter().collect();
        let wanted = [
            ("box", "eth0"),
            ("host", "eno1"),
            ("host", "tapestry"),
            ("host", "tun0"),
            ("host", "vmbr0"),
            ("other", "eth0"),
        ];
        assert_eq!(shown, wanted);
        assert_eq!(interfaces(&answers, true).len(), 12);
    }

    #[test]
    fn interfaces_that_stand_on_each_other_are_told_once() {
        let answers = canned(
            r#"
            up {instance="a",device="x"} 1
            up {instance="a",device="y"} 1
            vlan {instance="a",device="x",parent="y",vlan_id="1"} 1
            vlan {instance="a",device="y",parent="x",vlan_id="2"} 1
            "#,
        );
        assert_eq!(table(&answers, false).len(), 2);
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
