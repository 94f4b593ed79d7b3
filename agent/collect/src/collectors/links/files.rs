//! The same from the kernel's files: of captured machines, and where there is no netlink.

use labstat_model::Batch;
use labstat_parse::proc::{number, trimmed};
use labstat_parse::rtnetlink::link::port_state;
use labstat_parse::{bonding, vlan};

use super::bonds::{self, BONDING};
use super::{Bridge, KIND, push_port, push_vlan, push_vlan_names};
use crate::collector::{CollectError, Status, is_absent};
use crate::host::Host;
use crate::network::{INTERFACES, check_interface_count, interface_dir};
use crate::options::Interfaces;

const VLAN: &str = "/proc/net/vlan";

/// Adds what the files tell.
pub(super) fn push(
    host: &dyn Host,
    options: &Interfaces,
    out: &mut Batch,
) -> Result<Status, CollectError> {
    let vlans = push_vlans(host, options, out)?;
    let bonds = push_bonds(host, options, out)?;
    let names = match host.list(INTERFACES) {
        Err(error) if is_absent(&error) => Vec::new(),
        result => result.map_err(CollectError::read(INTERFACES))?,
    };
    check_interface_count(names.len())?;
    // The bonding driver has a file among the folders.
    let is_wanted = |name: &&String| *name != "bonding_masters" && options.has(name);
    for name in names.iter().filter(is_wanted) {
        push_link(host, name, &vlans, &bonds, out);
    }
    if names.is_empty() && vlans.is_empty() && bonds.is_empty() {
        return Ok(Status::Absent);
    }
    push_vlan_names(options, out);
    Ok(Status::Collected)
}

/// The names of VLAN interfaces.
fn push_vlans(
    host: &dyn Host,
    options: &Interfaces,
    out: &mut Batch,
) -> Result<Vec<String>, CollectError> {
    let path = format!("{VLAN}/config");
    let text = match host.text(&path) {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        result => result.map_err(CollectError::read(&path))?,
    };
    let mut names = Vec::new();
    for interface in vlan::parse_config(&text).map_err(CollectError::parse("net/vlan/config"))? {
        if options.has(&interface.name) {
            // The file does not tell 802.1Q from 802.1ad: no protocol is better than a guess.
            push_vlan(&interface.name, &interface.parent, interface.id, None, options, out);
        }
        names.push(interface.name);
    }
    Ok(names)
}

/// The names of bonds. One that is taken down between listing and reading is no failure.
fn push_bonds(
    host: &dyn Host,
    options: &Interfaces,
    out: &mut Batch,
) -> Result<Vec<String>, CollectError> {
    let names = match host.list(BONDING) {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        result => result.map_err(CollectError::read(BONDING))?,
    };
    for name in names.iter().filter(|name| options.has(name)) {
        let path = format!("{BONDING}/{name}");
        let text = match host.text(&path) {
            Err(error) if is_absent(&error) => continue,
            result => result.map_err(CollectError::read(&path))?,
        };
        let bond = bonding::parse(&text).map_err(CollectError::parse("net/bonding"))?;
        bonds::push(name, &bond, out);
    }
    Ok(names)
}

fn push_link(host: &dyn Host, name: &str, vlans: &[String], bonds: &[String], out: &mut Batch) {
    let dir = interface_dir(host, name);
    let text = |file: &str| {
        let bytes = host.read(&format!("{dir}/{file}")).ok()?;
        Some(String::from_utf8_lossy(trimmed(&bytes)).into_owned())
    };
    if let Ok(bridge) = host.link(&format!("{dir}/brport/bridge")) {
        let state = text("brport/state").and_then(|text| text.parse().ok()).and_then(port_state);
        push_port(name, bridge.rsplit('/').next().unwrap_or_default(), state, out);
    }
    if let Some(id) = text("bridge/bridge_id") {
        let number = |file: &str| number(text(file)?.as_bytes());
        let protocol = text("bridge/vlan_protocol");
        let protocol = protocol.as_deref().and_then(|text| text.strip_prefix("0x"));
        let bridge = Bridge {
            stp: number("bridge/stp_state"),
            vlan_filtering: number("bridge/vlan_filtering").map(|flag| flag != 0),
            vlan_protocol: protocol.and_then(|hex| u16::from_str_radix(hex, 16).ok()),
            id: &id,
            root: &text("bridge/root_id").unwrap_or_default(),
        };
        bridge.push(name, out);
    }
    if let Some(kind) = kind(host, &dir, name, vlans, bonds) {
        out.push(&KIND, &[("device", name), ("kind", &kind)], 1.0);
    }
}

/// What kind the interface with this name and number is; nothing when the folder of that name
/// is another's, as where `/sys` shows another network namespace than that of the socket.
pub(super) fn kind_of(host: &dyn Host, name: &str, index: u32) -> Option<String> {
    let dir = interface_dir(host, name);
    let told = host.read(&format!("{dir}/ifindex")).ok()?;
    if number(trimmed(&told)) != Some(u64::from(index)) {
        return None;
    }
    kind(host, &dir, name, &[], &[])
}

/// What the flags of the end of a tunnel to a program say it carries.
fn tunnel(flags: &str) -> Option<&'static str> {
    /// `IFF_TUN` and `IFF_TAP`.
    const KINDS: [(u64, &str); 2] = [(1, "tun"), (2, "tap")];
    let flags = u64::from_str_radix(flags.strip_prefix("0x")?, 16).ok()?;
    KINDS.iter().find(|(flag, _)| flags & flag != 0).map(|(_, kind)| *kind)
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
    } else if let Ok(flags) = host.text(&format!("{dir}/tun_flags")) {
        tunnel(flags.trim())?
    } else if has_file("bridge/bridge_id") {
        "bridge"
    } else {
        return None;
    };
    Some(kind.to_owned())
}
