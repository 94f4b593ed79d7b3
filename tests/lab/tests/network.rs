//! Interfaces: VLANs on a bond whose legs a second bond in the same guest speaks LACP with, a bridge
//! that tells VLANs apart, and a leg that loses its cable.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::Value;

use super::{Aggregator, eventually, eventually_or, image, impatient_rules, set_up, text};
use crate::machine::{Image, Machine, cable_address};
use crate::receiver::Receiver;

/// What stands on the bond, and what the configuration calls it.
const VLANS: [(u16, &str); 8] =
    [(13, ""), (37, ""), (55, ""), (66, ""), (77, ""), (88, "Mgmt"), (99, "Ceph"), (1337, "")];

/// Other collectors would only make the emulated processor busy.
const ONLY: &str = "--config /etc/labstat/network.toml --only netdev,netclass,links,bridge_vlans";

const CONFIG: &str = "aggregator = 'http://10.0.2.100:8080'\ninterval = '2s'\n[interfaces]\n\
                      vlan_names = { 99 = 'Ceph', 88 = 'Mgmt' }\n";

/// A bond at this end, and the switch that it is plugged into: another one, in a namespace of its own.
/// What the kernel itself would say over IPv6 makes counters move while they are compared.
const BONDS: &str = "\
quiet() { $1 sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1; }
quiet; for name in switch guest; do ip netns add $name; quiet \"ip netns exec $name\"; done
modprobe -a 8021q bridge veth && modprobe bonding max_bonds=0
nic() { basename $(dirname $(grep -l $1 /sys/class/net/eth*/address)); }
bond() {
    $1 ip link add $2 type bond mode 802.3ad miimon 100 lacp_rate fast
    for leg in $3 $4; do $1 ip link set $leg down; $1 ip link set $leg master $2; done
    $1 ip link set $2 up
    n=0
    for id in $VLANS; do
        n=$((n + 1))
        $1 ip link add link $2 name $2.$id type vlan id $id
        $1 ip addr add 10.1.$n.$5/24 dev $2.$id
        $1 ip link set $2.$id up
    done
}
for end in $FAR1 $FAR2; do
    far=\"$far $(nic $end)\"
    ip link set $(nic $end) netns switch
done
bond '' bond0 $(nic $NEAR1) $(nic $NEAR2) 1
bond 'ip netns exec switch' bond0 $far 2
for try in $(seq 60); do busybox ping -q -c 1 -W 1 10.1.1.2 > /dev/null && exit 0; done
cat /proc/net/bonding/bond0; exit 1
";

/// A bridge as Proxmox makes them, and a guest at a port of it.
const BRIDGE: &str = "\
ip link add vmbr0 type bridge vlan_filtering 1 vlan_stats_enabled 1
ip link add port0 type veth peer name inside netns guest
ip link set port0 master vmbr0
bridge vlan del dev port0 vid 1
bridge vlan add dev port0 vid 66 pvid untagged
bridge vlan add dev port0 vid 99
bridge vlan add dev port0 vid 200-300
bridge vlan add dev vmbr0 vid 66 pvid untagged self
ip addr add 10.2.0.1/24 dev vmbr0
ip link set vmbr0 up; ip link set port0 up
ip -n guest addr add 10.2.0.2/24 dev inside; ip -n guest link set inside up
for try in $(seq 60); do busybox ping -q -c 1 -W 1 10.2.0.2 > /dev/null && exit 0; done
bridge vlan; exit 1
";

/// Something is said on each VLAN.
const TALK: &str = "for n in $(seq 8); do busybox ping -q -c 5 -i 0.2 -s 1000 10.1.$n.2; done; \
                    busybox ping -q -c 5 -i 0.2 10.2.0.2";

#[test]
fn vlans_bonds_and_bridges_are_watched() {
    let Some(image) = image() else { return };
    let receiver = Receiver::start();
    let aggregator =
        Aggregator::with(|dir| format!("{}{}", impatient_rules(dir, "network"), receiver.config()));
    let mut machine = plug_in(&image, &aggregator);
    names_each_vlan(&aggregator, &mut machine);
    counts_what_each_vlan_carries(&aggregator, &mut machine);
    tells_the_vlans_of_a_bridge_apart(&aggregator, &mut machine);
    reads_files_as_it_reads_netlink(&mut machine);
    let early: Vec<String> = receiver.alerts().into_iter().map(|(_, name, _)| name).collect();
    assert!(early.is_empty(), "nothing is wrong yet: {early:?}");
    tells_of_a_leg_that_is_pulled(&aggregator, &mut machine, &receiver);
    eprintln!("done after {:.1} s", machine.age().as_secs_f64());
}

/// Makes the guest's network and starts an agent in it.
fn plug_in(image: &Image, aggregator: &Aggregator) -> Machine {
    let mut machine = set_up(image, &[], 2, aggregator);
    let ids: Vec<String> = VLANS.iter().map(|(id, _)| id.to_string()).collect();
    let ends = [(0, 'a', "NEAR1"), (1, 'a', "NEAR2"), (0, 'b', "FAR1"), (1, 'b', "FAR2")];
    let ends = ends.map(|(cable, end, name)| format!("{name}={}\n", cable_address(cable, end)));
    machine.must(&format!("VLANS='{}'\n{}{BONDS}", ids.join(" "), ends.concat()));
    machine.must(BRIDGE);
    machine.must(&format!(
        "cat > /etc/labstat/network.toml <<'END'\n{CONFIG}END\n\
         setsid /tmp/labstat agent {ONLY} > /tmp/agent.log 2>&1 < /dev/null & sleep 1; kill -0 $!"
    ));
    eprintln!("the network stands after {:.1} s", machine.age().as_secs_f64());
    machine
}

fn names_each_vlan(aggregator: &Aggregator, machine: &mut Machine) {
    let wanted: BTreeSet<String> = VLANS
        .iter()
        .map(|(id, name)| format!("bond0.{id} on bond0: 802.1Q {id} {name:?}"))
        .collect();
    let mut last = BTreeSet::new();
    let same = eventually_or(|| {
        let told = aggregator.query("labstat_network_vlan_info");
        last = told
            .iter()
            .map(|(labels, _)| {
                let label = |name| text(labels, name);
                let (device, parent) = (label("device"), label("parent"));
                let (protocol, id) = (label("protocol"), label("vlan_id"));
                format!("{device} on {parent}: {protocol} {id} {:?}", label("vlan_name"))
            })
            .collect();
        (last == wanted).then_some(())
    });
    assert!(same.is_some(), "{last:#?}\n{}", machine.must("cat /tmp/agent.log"));
    let bond = aggregator.query("labstat_network_bond_info{master=\"bond0\"}");
    assert_eq!(text(&bond[0].0, "mode"), "802.3ad", "{bond:?}");
    let legs = aggregator.query("labstat_network_bond_member_info{active=\"true\"}");
    assert_eq!(legs.len(), 2, "{legs:?}");
    let theirs = machine.must("ip netns exec switch cat /sys/class/net/bond0/address");
    assert!(legs.iter().all(|(leg, _)| text(leg, "partner") == theirs.trim()), "{legs:?} {theirs}");
}

fn counts_what_each_vlan_carries(aggregator: &Aggregator, machine: &mut Machine) {
    machine.must(TALK);
    let by_name = "sum by (vlan_name) (rate(node_network_receive_bytes_total[5m]) \
                   * on(instance, device) group_left(vlan_name) labstat_network_vlan_info)";
    let ceph = eventually("a rate of Ceph's VLAN", || {
        let rows = aggregator.query(by_name);
        rows.into_iter().find(|(row, rate)| text(row, "vlan_name") == "Ceph" && *rate > 0.0)
    });
    eprintln!("Ceph's VLAN takes in {:.0} bytes a second", ceph.1);
    // The kernel's own files as the second source. Neighbours may still look for each other for a while.
    let mut last = (BTreeMap::new(), BTreeMap::new());
    let same = eventually_or(|| {
        let files = machine.must("grep . /sys/class/net/bond0.*/statistics/[rt]x_bytes");
        last = (files.lines().map(counter).collect(), BTreeMap::new());
        for way in ["receive", "transmit"] {
            let query = format!("node_network_{way}_bytes_total{{device=~\"bond0[.].*\"}}");
            let told = aggregator.query(&query).into_iter();
            last.1.extend(
                told.map(|(labels, value)| (format!("{} {way}", text(&labels, "device")), value)),
            );
        }
        (last.0 == last.1).then_some(())
    });
    assert!(same.is_some(), "{last:#?}");
    assert_eq!(last.0.len(), 2 * VLANS.len(), "{last:#?}");
    assert!(last.0.values().all(|bytes| *bytes > 5000.0), "{last:#?}");
}

/// A counter's interface, direction and value from `/sys/class/net/bond0.99/statistics/rx_bytes:5210`.
fn counter(line: &str) -> (String, f64) {
    let (path, value) = line.split_once(':').expect(line);
    let device = path.split('/').nth(4).expect(line);
    let way = if path.ends_with("rx_bytes") { "receive" } else { "transmit" };
    (format!("{device} {way}"), value.parse().expect("a number"))
}

fn tells_the_vlans_of_a_bridge_apart(aggregator: &Aggregator, machine: &mut Machine) {
    let members = aggregator.query("labstat_network_bridge_vlan_info{device=\"port0\"}");
    let told: BTreeSet<String> = members
        .iter()
        .map(|(labels, _)| {
            let [id, name, pvid, untagged] =
                ["vlan_id", "vlan_name", "pvid", "untagged"].map(|name| text(labels, name));
            format!("{id} {name} pvid {pvid} untagged {untagged}")
        })
        .collect();
    let wanted = [
        "200-300  pvid false untagged false",
        "66  pvid true untagged true",
        "99 Ceph pvid false untagged false",
    ];
    assert_eq!(told, BTreeSet::from(wanted.map(str::to_owned)));
    // The kernel's own tool as the second source.
    let mut last = ([0.0; 2], [0.0; 2]);
    let same = eventually_or(|| {
        let said = machine.must("bridge -j -s vlan show dev vmbr0");
        let said: Value = serde_json::from_str(&said).expect(&said);
        let vlans = said[0]["vlans"].as_array().expect("VLANs").iter();
        let vlan = vlans.into_iter().find(|vlan| vlan["vid"] == 66).expect("VLAN 66");
        last.0 = ["rx_bytes", "tx_packets"].map(|key| vlan[key].as_f64().expect("a number"));
        last.1 = ["receive_bytes", "transmit_packets"].map(|name| {
            let query = format!("labstat_network_bridge_vlan_{name}_total{{vlan_id=\"66\"}}");
            aggregator.query(&query).first().map_or(0.0, |(_, value)| *value)
        });
        (last.0 == last.1 && last.0.iter().all(|count| *count >= 5.0)).then_some(())
    });
    assert!(same.is_some(), "{last:?}");
}

/// Where there is no netlink, the kernel's files tell the same, but for what they do not know.
fn reads_files_as_it_reads_netlink(machine: &mut Machine) {
    let mut read = |root: &str| {
        let text = machine.must(&format!("/tmp/labstat agent --once {ONLY} {root} 2>/dev/null"));
        samples(&text)
    };
    let (by_netlink, by_files) = (read(""), read("--host-root /"));
    assert!(by_netlink.len() > 300, "{by_netlink:#?}");
    let mut differ = Vec::new();
    for name in by_netlink.keys().chain(by_files.keys()).collect::<BTreeSet<_>>() {
        let pair = (by_netlink.get(name), by_files.get(name));
        if pair.0 != pair.1 {
            differ.push(format!(
                "{name}: {} by netlink, {} by files",
                shown(pair.0),
                shown(pair.1)
            ));
        }
    }
    assert!(differ.is_empty(), "{differ:#?}");
    eprintln!("{} samples are the same by netlink and by files", by_netlink.len());
}

fn shown(value: Option<&String>) -> &str {
    value.map_or("absent", String::as_str)
}

/// Samples by their series, but for those the files cannot tell, and without the values of what
/// moves by itself.
fn samples(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| {
        let ours = ["node_network", "node_bonding", "labstat_network"];
        ours.iter().any(|name| line.starts_with(name))
            && !line.starts_with("labstat_network_bridge_vlan_")
            && !line.contains("kind=\"veth\"")
    });
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let is_counter = series.split('{').next().is_some_and(|name| name.ends_with("_total"));
            let series = series.replace("protocol=\"802.1Q\",", "");
            (series, if is_counter { "counted" } else { value }.to_owned())
        })
        .collect()
}

fn tells_of_a_leg_that_is_pulled(
    aggregator: &Aggregator,
    machine: &mut Machine,
    receiver: &Receiver,
) {
    let near = machine.must(&format!(
        "basename $(dirname $(grep -l {} /sys/class/net/eth*/address))",
        cable_address(0, 'a')
    ));
    let leg = near.trim();
    let state = |device: &str| {
        let rows: Vec<Value> =
            serde_json::from_str(&aggregator.says(&["net", "--format", "json"])).expect("JSON");
        let row = rows.into_iter().find(|row| row["device"] == device).unwrap_or_default();
        (text(&row, "state").to_owned(), row)
    };
    assert_eq!(state("bond0").0, "up, 2 links");
    assert_eq!(state(leg).0, "up");

    let start = Instant::now();
    machine.plug_cable(0, false);
    eventually("the bond on one leg", || {
        (state("bond0").0 == "1 of 2 links" && state(leg).0 == "down").then_some(())
    });
    eprintln!("a leg that is pulled: shown after {:.1} s", start.elapsed().as_secs_f64());
    assert_eq!(state(leg).1["link_failures"].as_f64(), Some(1.0), "{}", state(leg).1);
    let (at, alert) = eventually("a message", || receiver.heard("BondLegDown firing"));
    eprintln!("and somebody is told after {:.1} s", (at - start).as_secs_f64());
    assert_eq!(alert["labels"]["master"], "bond0", "{alert}");
    assert_eq!(alert["labels"]["instance"], "labnode", "{alert}");
    assert_eq!(alert["annotations"]["summary"], "bond0 on labnode runs on 1 leg(s)", "{alert}");

    let start = Instant::now();
    machine.plug_cable(0, true);
    let (at, _) = eventually("that it is over", || receiver.heard("BondLegDown resolved"));
    eprintln!("its end is told after {:.1} s", (at - start).as_secs_f64());
    let heard: Vec<String> = receiver.alerts().into_iter().map(|(_, name, _)| name).collect();
    assert_eq!(heard, ["BondLegDown firing", "BondLegDown resolved"], "each once, and no other");
}
