//! The VLANs of bridges and their ports, and what each carries, as `RTM_GETVLAN` tells them (Linux
//! 5.6 and newer).

use super::{
    Attributes, ParseError, broken, dump_request, messages, number_at, u8_of, u16_of, u64_of,
};

/// `RTM_NEWVLAN` and `RTM_GETVLAN`.
const NEW_VLAN: u16 = 112;
const GET_VLAN: u16 = 114;

/// Bytes of `struct br_vlan_msg`.
const FIXED_LEN: usize = 8;

/// `AF_BRIDGE`.
const FAMILY: u8 = 7;

/// `BRIDGE_VLANDB_DUMP_FLAGS` and its bit for counters.
const DUMP_FLAGS: u16 = 1;
const WITH_COUNTERS: u32 = 1;

/// The highest id of a VLAN.
const ID_MAX: u16 = 4094;

/// A request for the VLANs of all bridges and their ports, as ranges.
pub fn request() -> Vec<u8> {
    request_for(0, 0)
}

/// A request for the VLANs of one bridge or port, one by one with what they carried.
pub fn counters_request(index: u32) -> Vec<u8> {
    request_for(index, WITH_COUNTERS)
}

fn request_for(index: u32, flags: u32) -> Vec<u8> {
    let mut fixed = [0; FIXED_LEN];
    let [family, _, _, _, place @ ..] = &mut fixed;
    *family = FAMILY;
    *place = index.to_ne_bytes();
    dump_request(GET_VLAN, &fixed, DUMP_FLAGS, flags)
}

/// VLANs that a bridge or one of its ports belongs to in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vlans {
    /// The number of the bridge or port.
    pub index: u32,
    /// The first of them.
    pub first: u16,
    /// The last of them; the first, if it is one.
    pub last: u16,
    /// Whether frames that come without a VLAN belong to it.
    pub is_pvid: bool,
    /// Whether its frames leave without their VLAN.
    pub is_untagged: bool,
    /// Spanning tree state: see [`port_state`](super::link::port_state).
    pub state: Option<u8>,
    /// What it carried.
    pub counters: Option<Counters>,
}

/// What a VLAN carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes received.
    pub received_bytes: u64,
    /// Packets received.
    pub received_packets: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
}

/// The VLANs in an answer, in its order.
///
/// # Errors
/// Lengths that do not fit, and VLANs that there cannot be.
pub fn vlans(answer: &[u8], mut each: impl FnMut(Vlans)) -> Result<(), ParseError> {
    /// `BRIDGE_VLANDB_ENTRY`.
    const ENTRY: u16 = 1;
    for message in messages(answer) {
        let message = message?;
        if message.kind != NEW_VLAN {
            continue;
        }
        let index = number_at(message.payload, 4).map(u32::from_ne_bytes);
        let (Some(index), Some(entries)) = (index, message.payload.get(FIXED_LEN..)) else {
            return Err(broken("whole VLAN"));
        };
        for entry in Attributes(entries) {
            if let (ENTRY, value) = entry? {
                each(vlan(index, Attributes(value))?);
            }
        }
    }
    Ok(())
}

fn vlan(index: u32, entry: Attributes<'_>) -> Result<Vlans, ParseError> {
    const PVID: u16 = 1 << 1;
    const UNTAGGED: u16 = 1 << 2;
    let (mut info, mut last, mut state, mut counters) = (None, None, None, None);
    for attribute in entry {
        match attribute? {
            (1, value) => info = u16_of(value).zip(u16_of(value.get(2..).unwrap_or_default())),
            (2, value) => last = u16_of(value),
            (3, value) => state = u8_of(value),
            (5, value) => counters = Some(Counters::of(Attributes(value))?),
            _ => {}
        }
    }
    let (flags, first) = info.ok_or(broken("number of a VLAN"))?;
    let last = last.unwrap_or(first);
    if first > last || last > ID_MAX {
        return Err(broken("VLAN that can be"));
    }
    let (is_pvid, is_untagged) = (flags & PVID != 0, flags & UNTAGGED != 0);
    Ok(Vlans { index, first, last, is_pvid, is_untagged, state, counters })
}

impl Counters {
    fn of(entry: Attributes<'_>) -> Result<Self, ParseError> {
        let mut counters = Self::default();
        for attribute in entry {
            let (kind, value) = attribute?;
            let place = match kind {
                1 => &mut counters.received_bytes,
                2 => &mut counters.received_packets,
                3 => &mut counters.sent_bytes,
                4 => &mut counters.sent_packets,
                _ => continue,
            };
            *place = u64_of(value).ok_or(broken("whole counter"))?;
        }
        Ok(counters)
    }

    /// Whether it ever carried anything.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}
