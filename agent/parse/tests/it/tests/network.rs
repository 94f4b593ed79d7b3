//! Bonds and VLAN interfaces of real kernels, broken lines, and any text.

use std::fs;
use std::path::{Path, PathBuf};

use labstat_parse::bonding::{self, Bond};
use labstat_parse::{ParseError, vlan};
use proptest::prelude::*;

fn fixture(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)).unwrap()
}

fn capture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures").join(name)
}

#[test]
fn a_bond_on_one_leg() {
    let bond = bonding::parse(&fixture("bonding/bond-one-slave-down.txt")).unwrap();
    assert_eq!((bond.mode, bond.mii_status.as_deref()), (Some("802.3ad"), Some("up")));
    assert_eq!(bond.transmit_hash_policy.as_deref(), Some("layer3+4"));
    let lacp = bond.lacp.as_ref().unwrap();
    assert_eq!(
        (lacp.rate.as_deref(), lacp.aggregator_id, lacp.ports),
        (Some("fast"), Some(1), Some(1))
    );
    assert_eq!(lacp.partner_mac.as_deref(), Some("52:54:00:00:01:02"));
    let [first, second] = bond.slaves.as_slice() else { panic!("{bond:?}") };
    assert_eq!((first.name.as_str(), first.mii_status.as_deref()), ("eth1", Some("up")));
    assert_eq!((first.speed_mbit_s, first.duplex.as_deref()), (Some(10000), Some("full")));
    assert_eq!(first.partner_mac.as_deref(), Some("52:54:00:00:01:02"));
    assert_eq!((second.mii_status.as_deref(), second.link_failures), (Some("down"), Some(1)));
    assert_eq!(second.actor_churn_state.as_deref(), Some("monitoring"));
}

#[test]
fn every_mode_has_its_configured_name() {
    for (words, mode) in [
        ("load balancing (round-robin)", Some("balance-rr")),
        ("fault-tolerance (active-backup) (fail_over_mac active)", Some("active-backup")),
        ("adaptive load balancing", Some("balance-alb")),
        ("something new", None),
    ] {
        let text =
            format!("Bonding Mode: {words}\nPrimary Slave: None\nCurrently Active Slave: eth2\n");
        let bond = bonding::parse(&text).unwrap();
        assert_eq!((bond.mode, bond.mode_text.as_str()), (mode, words));
        assert_eq!((bond.primary_slave, bond.active_slave.as_deref()), (None, Some("eth2")));
    }
}

#[test]
fn an_unknown_speed_is_absent_and_a_broken_one_an_error() {
    let head = "Bonding Mode: adaptive load balancing\nSlave Interface: eth0\n";
    let bond = bonding::parse(&format!("{head}Speed: Unknown\nDuplex: Unknown\nSpeed\n")).unwrap();
    assert_eq!((bond.slaves[0].speed_mbit_s, &bond.slaves[0].duplex), (None, &None));
    let error = bonding::parse(&format!("{head}Speed: 1x00 Mbps\n")).unwrap_err();
    assert_eq!(error.to_string(), "failed to parse bonding at line 3: \"Speed: 1x00 Mbps\"");
    let error = bonding::parse("Link Failure Count: 0\n").unwrap_err();
    assert_eq!(error.to_string(), "bond has no bonding mode");
    let many = format!("{head}{}", "Slave Interface: e\n".repeat(bonding::SLAVES_MAX));
    assert!(matches!(bonding::parse(&many), Err(ParseError::Limit { .. })));
}

#[test]
fn a_leg_that_lacp_has_not_looked_at_is_in_no_aggregator() {
    let text = "Bonding Mode: IEEE 802.3ad Dynamic link aggregation\n\nSlave Interface: eth0\n\
                Aggregator ID: N/A\ndetails actor lacp pdu:\n    port state: 71\n\
                details partner lacp pdu:\n    port state: 1\n";
    let bond = bonding::parse(text).unwrap();
    assert_eq!(bond.slaves[0].aggregator_id, None);
    assert_eq!(bond.slaves[0].actor_port_state, Some(71));
    assert_eq!(bond.slaves[0].partner_port_state, Some(1));
    assert!(bonding::parse(&text.replace("N/A", "N")).is_err());
}

#[test]
fn numbers_of_the_kernel_are_the_words_of_its_files() {
    let modes: Vec<_> = (0..8).map(bonding::mode).collect();
    assert_eq!((modes[0], modes[4], modes[7]), (Some("balance-rr"), Some("802.3ad"), None));
    assert_eq!(bonding::hash_policy(1), Some("layer3+4"));
    assert_eq!((bonding::mii_status(0), bonding::mii_status(2)), (Some("up"), Some("down")));
    assert_eq!(bonding::mii_status(4), None);
}

#[test]
fn bonds_of_other_projects() {
    let Ok(entries) = fs::read_dir(capture("bonding")) else {
        println!("SKIPPED: the captures are not there");
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let bond = bonding::parse(&text);
        if path.to_str().unwrap().contains("CORRUPT") {
            assert!(matches!(bond, Err(ParseError::Missing { .. })));
            continue;
        }
        let Bond { mode, slaves, .. } = bond.unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert!(mode.is_some(), "{path:?}");
        assert_eq!(slaves.len(), text.matches("Slave Interface:").count(), "{path:?}");
    }
}

#[test]
fn vlan_interfaces_are_listed() {
    let found = vlan::parse_config(&fixture("vlan/config.txt")).unwrap();
    assert_eq!(found.len(), 9);
    assert_eq!(
        (found[7].name.as_str(), found[7].id, found[7].parent.as_str()),
        ("bond0.1337", 1337, "bond0")
    );
    let error = vlan::parse_config("VLAN Dev name | VLAN ID\neth0.10 | 4095 | eth0\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to parse vlan config at line 2: \"eth0.10 | 4095 | eth0\""
    );
    let many = "a | 1 | b\n".repeat(vlan::INTERFACES_MAX + 1);
    assert!(matches!(vlan::parse_config(&many), Err(ParseError::Limit { .. })));
}

#[test]
fn a_vlan_interface_has_counters() {
    let found = vlan::parse_detail(&fixture("vlan/bond0.99.txt")).unwrap();
    assert_eq!((found.name.as_str(), found.id, found.parent.as_str()), ("bond0.99", 99, "bond0"));
    assert_eq!((found.rx_bytes, found.tx_frames, found.tx_bytes), (Some(0), Some(8), Some(676)));
    let head = "v3  VID: 3\t REORDER_HDR: 1\n";
    let error =
        vlan::parse_detail(&format!("{head} total bytes received  12x\nDevice: e\n")).unwrap_err();
    assert!(error.to_string().contains("at line 2"), "{error}");
    assert_eq!(
        vlan::parse_detail(head).unwrap_err().to_string(),
        "vlan interface has no line of its device"
    );
    let found = vlan::parse_detail(&format!("{head}Device: eth0\n")).unwrap();
    assert_eq!(found.rx_bytes, None);
}

#[test]
fn vlans_of_other_machines() {
    let Ok(entries) = fs::read_dir(capture("vlan")) else {
        println!("SKIPPED: the captures are not there");
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        if path.to_str().unwrap().contains("config") {
            assert!(!vlan::parse_config(&text).unwrap().is_empty(), "{path:?}");
        } else {
            let found =
                vlan::parse_detail(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            assert!(found.rx_bytes.is_some() && found.id > 0, "{path:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_text_never_panics(text in "\\PC{0,300}") {
        let _ = bonding::parse(&text);
        let _ = vlan::parse_config(&text);
        let _ = vlan::parse_detail(&text);
    }

    #[test]
    fn damaged_text_never_panics(cut in 0_usize..1500, with in any::<char>()) {
        let text = fixture("bonding/bond-one-slave-down.txt");
        let mut damaged: String = text.chars().take(cut).collect();
        damaged.push(with);
        damaged.extend(text.chars().skip(cut + 1));
        let _ = bonding::parse(&damaged);
    }
}
