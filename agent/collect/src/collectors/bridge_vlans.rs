//! The VLANs of bridges that tell them apart, as Proxmox' do.
//!
//! - Reads: the kernel's answer over netlink about interfaces, which it shares with others; by a
//!   question of its own, each minute and when ports change, which port belongs to which VLAN; and in
//!   each round what they carried, where the bridge counts it
//!   (`ip link set vmbr0 type bridge vlan_stats_enabled 1`).
//! - Absent when there is no such bridge, and without netlink: no file tells of these VLANs.
//! - Emits: [`BRIDGE_VLAN`] and `labstat_network_bridge_vlan_*_total`. A port may have all 4,094 VLANs,
//!   as the one of a router does: ports are told by ranges, what was carried only for VLANs that ever
//!   carried something, and no VLAN is asked for twice.
//! - Left out: bridges and ports the user does not want. Not here: bridges and ports themselves, VLAN
//!   interfaces ([`super::links`]).

use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;

use labstat_model::{Batch, Family};
use labstat_parse::rtnetlink::bridge::{self, Counters};
use labstat_parse::rtnetlink::link::{self, Bridge, Details, Link, Role};

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::network::{NETLINK, Names, Reader, links};
use crate::options::{Interfaces, Patience};
use crate::shared::{Freshness, KEPT_MS};

/// VLANs that a bridge or one of its ports belongs to.
pub static BRIDGE_VLAN: Family = Family::gauge(
    "labstat_network_bridge_vlan_info",
    "A VLAN, or a range of them, that a bridge or a port of it belongs to; pvid is that of frames that come without one, and untagged ones leave without; always 1.",
);

static RECEIVED_BYTES: Family = Family::counter(
    "labstat_network_bridge_vlan_receive_bytes_total",
    "Bytes that a bridge (or, where it counts by port, a port of it) took in for a VLAN.",
);
static RECEIVED_PACKETS: Family = Family::counter(
    "labstat_network_bridge_vlan_receive_packets_total",
    "Packets that a bridge (or, where it counts by port, a port of it) took in for a VLAN.",
);
static SENT_BYTES: Family = Family::counter(
    "labstat_network_bridge_vlan_transmit_bytes_total",
    "Bytes that a bridge (or, where it counts by port, a port of it) gave out for a VLAN.",
);
static SENT_PACKETS: Family = Family::counter(
    "labstat_network_bridge_vlan_transmit_packets_total",
    "Packets that a bridge (or, where it counts by port, a port of it) gave out for a VLAN.",
);

/// VLANs in a row that are told one by one; more are told as a range.
const ROW_MAX: u16 = 16;

/// Ranges and VLANs told of one machine: a few hundred guests with some VLANs each. More of them would
/// make more series than all the rest of it.
const VLANS_MAX: usize = 16_384;

/// Numbers that a VLAN can have, and more.
const IDS: usize = 4096;

/// The VLANs of bridges.
#[derive(Debug)]
pub struct BridgeVlans {
    options: Interfaces,
    patience: Patience,
    members: Vec<bridge::Vlans>,
    /// What the ports were when their VLANs were asked for.
    mark: Option<u64>,
    asked: Freshness,
    answer: Vec<u8>,
}

impl Collector for BridgeVlans {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let view = &self.options.view;
        let Some(answer) = view.read(host, Reader::BridgeVlans, self.patience.0)? else {
            return Ok(Status::Absent);
        };
        // Most machines have no such bridge, and are not to pay for a list of all links.
        if !link::links(&answer).flatten().any(|link| aware(&link).is_some()) {
            (self.mark, self.members, self.answer) = Default::default();
            return Ok(Status::Absent);
        }
        let links = links(&answer)?;
        self.ask(host, &links)?;
        push_members(&self.members, &links, &self.options, out);
        for link in &links {
            let counted = aware(link).filter(|bridge| bridge.vlan_counted);
            if let Some(bridge) = counted.filter(|_| self.options.has(link.name)) {
                self.push_counters(host, link, bridge.vlan_counted_by_port, &links, out)?;
            }
        }
        Ok(Status::Collected)
    }
}

impl BridgeVlans {
    /// One that leaves out what `options` says.
    pub fn new(options: &Interfaces, patience: Patience) -> Self {
        Self {
            options: options.clone(),
            patience,
            members: Vec::new(),
            mark: None,
            asked: Freshness::default(),
            answer: Vec::new(),
        }
    }

    /// Asks for the VLANs of all ports, if it is time.
    fn ask(&mut self, host: &dyn Host, links: &[Link<'_>]) -> Result<(), CollectError> {
        let mut hasher = DefaultHasher::new();
        for link in links {
            (link.index, link.master, aware(link).is_some()).hash(&mut hasher);
        }
        let (mark, now_ms) = (Some(hasher.finish()), host.now_ms());
        if self.mark == mark && self.asked.lasts(KEPT_MS, now_ms) {
            return Ok(());
        }
        self.mark = None;
        self.members.clear();
        let mut count = 0;
        let members = &mut self.members;
        ask(host, &bridge::request(), self.patience, &mut self.answer, |vlans| {
            count += 1;
            if count <= VLANS_MAX {
                members.push(vlans);
            }
        })?;
        check_count(count)?;
        self.mark = mark;
        self.asked.renew(now_ms);
        Ok(())
    }

    /// Adds what the VLANs of one bridge carried. Unless it counts by port, its ports have the counters
    /// of the bridge, and the bridge itself may not belong to all of their VLANs: then a port is
    /// asked that has one that was not yet told of.
    fn push_counters(
        &mut self,
        host: &dyn Host,
        bridge: &Link<'_>,
        by_port: bool,
        links: &[Link<'_>],
        out: &mut Batch,
    ) -> Result<(), CollectError> {
        let is_part = |link: &&Link<'_>| {
            link.index == bridge.index
                || (link.master == Some(bridge.index)
                    && matches!(link.role, Role::BridgePort { .. }))
        };
        let mut told = [false; IDS];
        let mut rows: Vec<(&str, u16, Counters)> = Vec::new();
        let mut count = 0;
        for link in links.iter().filter(is_part) {
            let has_news = |vlans: &bridge::Vlans| {
                let ids = usize::from(vlans.first)..=usize::from(vlans.last);
                vlans.index == link.index
                    && told.get(ids).is_some_and(|told| told.iter().any(|told| !told))
            };
            if !by_port && !self.members.iter().any(has_news) {
                continue;
            }
            let request = bridge::counters_request(link.index);
            ask(host, &request, self.patience, &mut self.answer, |vlans| {
                let seen = told.get_mut(usize::from(vlans.first));
                let is_new = seen.is_some_and(|seen| !std::mem::replace(seen, true));
                let counters = vlans.counters.filter(|counters| !counters.is_zero());
                if let Some(counters) = counters
                    && (by_port || is_new)
                {
                    count += 1;
                    if count <= VLANS_MAX {
                        rows.push((
                            if by_port { link.name } else { bridge.name },
                            vlans.first,
                            counters,
                        ));
                    }
                }
            })?;
        }
        check_count(count)?;
        push_rows(bridge.name, &rows, out);
        Ok(())
    }
}

/// What a link that is a bridge that tells VLANs apart is.
fn aware<'a>(link: &Link<'a>) -> Option<Bridge<'a>> {
    match link.details {
        Details::Bridge(bridge) if bridge.vlan_filtering == Some(true) => Some(bridge),
        _ => None,
    }
}

fn check_count(count: usize) -> Result<(), CollectError> {
    match count {
        0..=VLANS_MAX => Ok(()),
        _ => Err(CollectError::Limit { what: "VLANs of bridges", count, max: VLANS_MAX }),
    }
}

/// Asks for VLANs; a kernel that does not know the question (before 5.6) has none to tell, and a port
/// that is gone by now neither.
fn ask(
    host: &dyn Host,
    request: &[u8],
    patience: Patience,
    answer: &mut Vec<u8>,
    each: impl FnMut(bridge::Vlans),
) -> Result<(), CollectError> {
    /// `ENODEV`.
    const NO_DEVICE: i32 = 19;
    match host.netlink(request, patience.0, answer) {
        Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(()),
        Err(error) if error.raw_os_error() == Some(NO_DEVICE) => return Ok(()),
        result => result.map_err(CollectError::read(NETLINK))?,
    }
    bridge::vlans(answer, each).map_err(CollectError::parse(NETLINK))
}

fn push_members(
    members: &[bridge::Vlans],
    links: &[Link<'_>],
    options: &Interfaces,
    out: &mut Batch,
) {
    let names = Names::of(links);
    let mut id = String::new();
    for vlans in members {
        let is_shown = |link: &&Link<'_>| link.index == vlans.index && options.has(link.name);
        let Some(link) = links.iter().find(is_shown) else { continue };
        let bridge = match link.details {
            Details::Bridge(_) => Some(link.name),
            _ => link.master.and_then(|master| names.get(master)),
        };
        let word = |flag| if flag { "true" } else { "false" };
        let mut tell = |id: &str, name: &str| {
            let labels = [
                ("bridge", bridge.unwrap_or_default()),
                ("device", link.name),
                ("pvid", word(vlans.is_pvid)),
                ("untagged", word(vlans.is_untagged)),
                ("vlan_id", id),
                ("vlan_name", name),
            ];
            out.push(&BRIDGE_VLAN, &labels, 1.0);
        };
        if vlans.last - vlans.first >= ROW_MAX {
            number(&mut id, vlans.first);
            let _ = write!(id, "-{}", vlans.last);
            tell(&id, "");
            continue;
        }
        for vlan in vlans.first..=vlans.last {
            number(&mut id, vlan);
            tell(&id, options.vlan_names.get(&vlan).map_or("", String::as_str));
        }
    }
}

/// Adds them one family after the other, which is how they are sent.
fn push_rows(bridge: &str, rows: &[(&str, u16, Counters)], out: &mut Batch) {
    type Column = (&'static Family, fn(&Counters) -> u64);
    const COLUMNS: [Column; 4] = [
        (&RECEIVED_BYTES, |counters| counters.received_bytes),
        (&RECEIVED_PACKETS, |counters| counters.received_packets),
        (&SENT_BYTES, |counters| counters.sent_bytes),
        (&SENT_PACKETS, |counters| counters.sent_packets),
    ];
    let mut id = String::new();
    for (family, value) in COLUMNS {
        for (device, vlan, counters) in rows {
            number(&mut id, *vlan);
            let labels = [("bridge", bridge), ("device", *device), ("vlan_id", &*id)];
            out.push(family, &labels, value(counters) as f64);
        }
    }
}

/// Makes `text` the number `id`. Writing to a text cannot fail.
fn number(text: &mut String, id: u16) {
    text.clear();
    let _ = write!(text, "{id}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collectors::links::{BOND_INFO, Links};
    use crate::network::tests::{Kernel, Told};

    /// Linux 6.1 with a bond, and with a bridge that tells VLANs apart and counts them.
    const LINKS: &[u8] =
        include_bytes!("../../../parse/fixtures/rtnetlink/bond-vlans-and-an-aware-bridge.links");
    const VLANS: &[u8] =
        include_bytes!("../../../parse/fixtures/rtnetlink/bond-vlans-and-an-aware-bridge.vlans");

    fn run(collector: &mut dyn Collector, host: &Kernel) -> (Result<Status, CollectError>, Batch) {
        let mut out = Batch::new();
        (collector.collect(host, &mut out), out)
    }

    #[test]
    fn a_question_for_vlans_that_fails_takes_nothing_else_along() {
        let hangs = |request: &[u8]| match request == link::request() {
            true => Ok(LINKS.to_vec()),
            false => Err(ErrorKind::TimedOut.into()),
        };
        let host = Kernel { told: Some(hangs), ..Kernel::default() };
        let options = Interfaces::default();
        let mut vlans = BridgeVlans::new(&options, Patience::default());
        let mut links = Links::new(&options, Patience::default());
        assert!(run(&mut vlans, &host).0.is_err());
        let (status, out) = run(&mut links, &host);
        assert_eq!(status.unwrap(), Status::Collected);
        assert!(out.iter().any(|sample| sample.family.name == BOND_INFO.name));

        let told = |request: &[u8]| match request == link::request() {
            true => Ok(LINKS.to_vec()),
            false if request == bridge::request() => Ok(VLANS.to_vec()),
            false => Ok(Vec::new()),
        };
        let host = Kernel { told: Some(told), ..Kernel::default() };
        let (status, out) = run(&mut vlans, &host);
        assert_eq!(status.unwrap(), Status::Collected, "asked again in the next round");
        assert!(out.iter().any(|sample| sample.family.name == BRIDGE_VLAN.name));
    }

    #[test]
    fn without_such_a_bridge_and_without_netlink_there_is_nothing() {
        let mut vlans = BridgeVlans::new(&Interfaces::default(), Patience::default());
        let answers: [Told; 2] = [|_| Ok(Vec::new()), |_| Err(ErrorKind::Unsupported.into())];
        for told in answers {
            let host = Kernel { told: Some(told), ..Kernel::default() };
            let (status, out) = run(&mut vlans, &host);
            assert_eq!(status.unwrap(), Status::Absent);
            assert!(out.is_empty());
        }
    }
}
