//! Answers of real kernels over netlink, some made by hand, and any bytes.

use std::fs;
use std::path::Path;

use labstat_parse::netlink::{DONE, INTERRUPTED, messages};
use labstat_parse::rtnetlink::bridge;
use labstat_parse::rtnetlink::link::{self, Details, Link, Role, Vlan};
use labstat_parse::{ParseError, bonding};
use proptest::prelude::*;

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/rtnetlink").join(name)).unwrap()
}

/// An attribute, with the room behind it.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len() + 4).unwrap();
    let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len() + 16).unwrap();
    let mut bytes = len.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend([0; 10]);
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A message of an interface with number 7, type 1 and flags 0x1003, and these attributes.
fn link_message(attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut payload = vec![0, 0];
    payload.extend(1_u16.to_ne_bytes());
    payload.extend(7_u32.to_ne_bytes());
    payload.extend(0x1003_u32.to_ne_bytes());
    payload.extend([0; 4]);
    payload.extend(attributes.concat());
    message(16, &payload)
}

fn only(bytes: &[u8]) -> Link<'_> {
    let mut links = link::links(bytes);
    let link = links.next().unwrap().unwrap();
    assert!(links.next().is_none());
    link
}

fn name(text: &str) -> Vec<u8> {
    attribute(3, format!("{text}\0").as_bytes())
}

/// `IFLA_LINKINFO` of this kind with this data.
fn info(kind: &str, data: &[Vec<u8>]) -> Vec<u8> {
    attribute(18, &[attribute(1, kind.as_bytes()), attribute(2, &data.concat())].concat())
}

#[test]
fn counters_are_the_columns_of_the_kernels_file() {
    // Each number of the structure is the power of two of its place, so that sums tell their parts.
    let numbers: Vec<u8> = (0..25).flat_map(|place| (1_u64 << place).to_ne_bytes()).collect();
    let bytes = link_message(&[name("eth0"), attribute(23, &numbers)]);
    let counters = only(&bytes).counters.unwrap();
    let bits = |places: &[u32]| places.iter().map(|place| 1_u64 << place).sum::<u64>();
    // As dev_seq_printf_stats of the kernel adds them.
    let wanted = [
        bits(&[2]),
        bits(&[0]),
        bits(&[4]),
        bits(&[6, 15]),
        bits(&[14]),
        bits(&[10, 11, 12, 13]),
        bits(&[21]),
        bits(&[8]),
        bits(&[3]),
        bits(&[1]),
        bits(&[5]),
        bits(&[7]),
        bits(&[18]),
        bits(&[9]),
        bits(&[17, 16, 20, 19]),
        bits(&[22]),
    ];
    assert_eq!((counters.columns, counters.received_unhandled), (wanted, Some(1 << 23)));
    let old = link_message(&[name("eth0"), attribute(23, &numbers[..23 * 8])]);
    assert_eq!(only(&old).counters.unwrap().received_unhandled, None, "Linux before 4.6");
    let short = link_message(&[name("eth0"), attribute(23, &numbers[..22 * 8])]);
    assert_eq!(only(&short).counters, None);
    let most = link_message(&[name("eth0"), attribute(23, &[0xff; 200])]);
    assert_eq!(only(&most).counters.unwrap().columns[3], u64::MAX - 1);
}

#[test]
fn a_vlan_has_its_id_protocol_and_parent() {
    let data = [attribute(1, &99_u16.to_ne_bytes()), attribute(5, &0x88a8_u16.to_be_bytes())];
    let bytes =
        link_message(&[name("bond0.99"), attribute(5, &3_u32.to_ne_bytes()), info("vlan", &data)]);
    let link = only(&bytes);
    assert_eq!((link.index, link.hardware, link.flags), (7, 1, 0x1003));
    assert_eq!((link.name, link.kind, link.lower), ("bond0.99", Some("vlan"), Some(3)));
    assert_eq!(link.details, Details::Vlan(Vlan { id: 99, protocol: Some(0x88a8) }));
    assert_eq!(link::vlan_protocol(0x88a8), Some("802.1ad"));
    assert_eq!(link::vlan_protocol(0x9100), None);
    let bare = link_message(&[name("x"), info("vlan", &[])]);
    assert_eq!(only(&bare).details, Details::None, "no VLAN 0 that nobody told of");
}

#[test]
fn a_member_is_read_by_its_masters_kind_wherever_that_stands() {
    let data = attribute(1, &[3]);
    let kind = attribute(4, b"bridge\0");
    for parts in [[kind.clone(), attribute(5, &data)], [attribute(5, &data), kind]] {
        let bytes = link_message(&[name("tap0"), attribute(18, &parts.concat())]);
        assert_eq!(only(&bytes).role, Role::BridgePort { state: Some(3) });
    }
    let other = attribute(18, &[attribute(4, b"team"), attribute(5, &data)].concat());
    assert_eq!(only(&link_message(&[name("x"), other])).role, Role::None);
    assert_eq!(link::port_state(3), Some("forwarding"));
    assert_eq!(link::port_state(5), None);
}

#[test]
fn what_is_shorter_than_its_number_is_absent() {
    let bytes = link_message(&[name("x"), attribute(4, &[1, 2, 3]), attribute(16, &[])]);
    let link = only(&bytes);
    assert_eq!((link.mtu, link.operstate, link.carrier), (None, None, None));
}

#[test]
fn a_name_that_is_no_text_leaves_the_others() {
    let mut bytes = link_message(&[attribute(3, b"\xff\xfe\0")]);
    bytes.extend(link_message(&[attribute(3, b"")]));
    bytes.extend(message(DONE, &[0; 4]));
    bytes.extend(link_message(&[name("eth0")]));
    assert_eq!(only(&bytes).name, "eth0");
}

#[test]
fn lengths_that_do_not_fit_are_errors() {
    let whole = link_message(&[name("eth0"), attribute(4, &[0; 4])]);
    for cut in 1..whole.len() {
        let cut = link::links(&whole[..cut]).next().unwrap();
        assert!(matches!(cut, Err(ParseError::Missing { .. })), "{cut:?}");
    }
    let mut too_long = whole.clone();
    // The last attribute says that it has a byte more than there is.
    let at = whole.len() - 8;
    too_long[at..at + 2].copy_from_slice(&9_u16.to_ne_bytes());
    assert!(link::links(&too_long).next().unwrap().is_err());
    too_long[at..at + 2].copy_from_slice(&3_u16.to_ne_bytes());
    assert!(link::links(&too_long).next().unwrap().is_err(), "shorter than its own header");
    let mut endless = whole;
    endless[..4].copy_from_slice(&0_u32.to_ne_bytes());
    assert_eq!(link::links(&endless).count(), 1, "an error, and then nothing more");
    let short = message(16, &[0; 15]);
    assert!(link::links(&short).next().unwrap().is_err());
}

#[test]
fn ends_and_refusals_are_told_apart() {
    let mut bytes = message(DONE, &(-19_i32).to_ne_bytes());
    bytes[6..8].copy_from_slice(&INTERRUPTED.to_ne_bytes());
    let end = messages(&bytes).next().unwrap().unwrap();
    assert_eq!((end.kind, end.error_number(), end.flags), (DONE, 19, INTERRUPTED));
    let least = message(2, &i32::MIN.to_ne_bytes());
    assert_eq!(messages(&least).next().unwrap().unwrap().error_number(), i32::MAX);
    assert_eq!(messages(&message(DONE, &[])).next().unwrap().unwrap().error_number(), 0);
}

/// The VLANs of bridges in an answer.
fn vlans(bytes: &[u8]) -> Result<Vec<bridge::Vlans>, ParseError> {
    let mut found = Vec::new();
    bridge::vlans(bytes, |vlans| found.push(vlans)).map(|()| found)
}

/// A message of the VLANs of port 7.
fn vlan_message(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut payload = vec![7, 0, 0, 0];
    payload.extend(7_u32.to_ne_bytes());
    payload.extend(entries.concat());
    message(112, &payload)
}

/// An entry of the VLANs from `first` on, with more attributes; its kind says that it is nested.
fn entry(flags: u16, first: u16, more: &[Vec<u8>]) -> Vec<u8> {
    let info = attribute(1, &[flags.to_ne_bytes(), first.to_ne_bytes()].concat());
    attribute(0x8001, &[info, more.concat()].concat())
}

#[test]
fn vlans_of_a_port_are_ranges_with_flags_and_counters() {
    let number = |kind, value: u64| attribute(kind, &value.to_ne_bytes());
    let counters =
        attribute(0x8005, &[number(1, 10), number(2, 1), number(3, 20), number(4, 2)].concat());
    let bytes = vlan_message(&[
        entry(0b110, 1, &[attribute(3, &[3]), counters]),
        entry(0, 2, &[attribute(2, &4094_u16.to_ne_bytes())]),
    ]);
    let found = vlans(&bytes).unwrap();
    let [first, second] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((first.index, first.first, first.last), (7, 1, 1));
    assert!(first.is_pvid && first.is_untagged && first.state == Some(3));
    let wanted = bridge::Counters {
        received_bytes: 10,
        received_packets: 1,
        sent_bytes: 20,
        sent_packets: 2,
    };
    assert_eq!(first.counters, Some(wanted));
    assert_eq!((second.first, second.last, second.is_pvid), (2, 4094, false));
    assert_eq!(second.counters, None);
}

#[test]
fn vlans_that_cannot_be_are_errors() {
    let last = |number: u16| attribute(2, &number.to_ne_bytes());
    for bad in [
        entry(0, 5, &[last(4)]),
        entry(0, 1, &[last(4095)]),
        entry(0, 4095, &[]),
        attribute(0x8001, &last(4)),
        entry(0, 1, &[attribute(5, &attribute(1, &[0; 7]))]),
    ] {
        assert!(vlans(&vlan_message(std::slice::from_ref(&bad))).is_err(), "{bad:?}");
    }
    assert!(vlans(&message(112, &[0; 7])).is_err());
}

#[test]
fn a_plain_machine_of_a_real_kernel() {
    let answer = fixture("pairs-and-a-bridge.links");
    let links: Vec<_> = link::links(&answer).map(Result::unwrap).collect();
    let find = |name: &str| *links.iter().find(|link| link.name == name).unwrap();
    let port = find("veth1");
    // Spanning tree listens for some seconds before it lets traffic pass.
    assert_eq!((port.kind, port.role), (Some("veth"), Role::BridgePort { state: Some(1) }));
    assert_eq!(port.master, Some(find("br0").index));
    assert_eq!(port.lower, Some(find("peer1").index));
    assert_eq!((port.promiscuity, port.all_multicast), (Some(1), Some(1)));
    assert_eq!(port.operstate.and_then(link::operstate), Some("up"));
    assert_eq!(port.address.len(), 6);
    assert!(port.counters.is_some());
    let Details::Bridge(bridge) = find("br0").details else { panic!("{:?}", find("br0")) };
    assert_eq!((bridge.stp, bridge.vlan_filtering), (Some(1), Some(false)));
    assert_eq!((bridge.id.len(), bridge.vlan_counted), (8, false));
    let mut text = String::new();
    link::push_address(find("veth3").address, &mut text);
    assert_eq!(text, "02:00:00:00:00:03");
    assert_eq!(find("lo").hardware, link::LOOPBACK);
    assert_eq!(find("peer3").alias, Some("to the switch"));
    assert_eq!(find("tap0").details, Details::Tun { is_tap: true });
    assert_eq!(find("tun0").details, Details::Tun { is_tap: false });
}

/// Linux 6.1 with eight VLANs on a bond of two legs, and a bridge that tells VLANs apart.
#[test]
fn a_bond_its_vlans_and_an_aware_bridge_of_a_real_kernel() {
    let answer = fixture("bond-vlans-and-an-aware-bridge.links");
    let links: Vec<_> = link::links(&answer).map(Result::unwrap).collect();
    let find = |name: &str| *links.iter().find(|link| link.name == name).unwrap();
    let bond = find("bond0");
    let Details::Bond(facts) = bond.details else { panic!("{bond:?}") };
    assert_eq!(facts.mode.and_then(bonding::mode), Some("802.3ad"));
    assert_eq!(facts.hash_policy.and_then(bonding::hash_policy), Some("layer3+4"));
    assert_eq!((facts.lacp_rate, facts.mii_interval_ms), (Some(1), Some(100)));
    let aggregator = facts.aggregator.unwrap();
    assert_eq!((aggregator.id, aggregator.ports), (Some(1), Some(2)));
    assert_eq!(aggregator.partner, [0x52, 0x54, 0, 0, 1, 2]);
    for leg in ["eth1", "eth2"] {
        let link = find(leg);
        let Role::BondLeg(leg) = link.role else { panic!("{link:?}") };
        assert_eq!(link.master, Some(bond.index));
        assert_eq!(
            (leg.mii_status, leg.link_failures, leg.aggregator),
            (Some(0), Some(0), Some(1))
        );
        assert_eq!((leg.actor_state, leg.partner_state), (Some(63), Some(63)));
        assert!(link.parent_device.is_some_and(|device| device.starts_with("virtio")));
    }
    for (name, id) in [("bond0.13", 13), ("bond0.1337", 1337)] {
        let link = find(name);
        assert_eq!(link.details, Details::Vlan(Vlan { id, protocol: Some(0x8100) }));
        assert_eq!(link.lower, Some(bond.index));
    }
    let outer = Vlan { id: 42, protocol: Some(0x88a8) };
    assert_eq!(find("eth0.42").details, Details::Vlan(outer));
    let Details::Bridge(bridge) = find("vmbr0").details else { panic!("{:?}", find("vmbr0")) };
    assert_eq!((bridge.vlan_filtering, bridge.vlan_protocol), (Some(true), Some(0x8100)));
    assert!(bridge.vlan_counted && !bridge.vlan_counted_by_port);

    let told = vlans(&fixture("bond-vlans-and-an-aware-bridge.vlans")).unwrap();
    let of_bond: Vec<_> = told.iter().filter(|vlans| vlans.index == bond.index).collect();
    let [first, rest] = of_bond.as_slice() else { panic!("{of_bond:?}") };
    assert!((first.first, first.last) == (1, 1) && first.is_pvid && first.is_untagged);
    assert!((rest.first, rest.last) == (2, 4094) && !rest.is_pvid && !rest.is_untagged);
}

/// Everything that is read of an answer.
fn read_all(bytes: &[u8]) {
    for link in link::links(bytes) {
        let mut text = String::new();
        if let Ok(link) = link {
            link::push_address(link.address, &mut text);
            let _ = link.operstate.and_then(link::operstate);
        }
    }
    let _ = vlans(bytes);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_all(&bytes);
        read_all(&message(16, &bytes));
        read_all(&message(112, &bytes));
    }

    #[test]
    fn a_real_answer_with_a_few_other_bytes_is_survived(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = fixture("pairs-and-a-bridge.links");
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(end.index(bytes.len()));
        read_all(&bytes);
    }
}
