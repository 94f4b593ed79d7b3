//! Interfaces as `RTM_GETLINK` tells them.

use super::{
    Attributes, ParseError, broken, dump_request, messages, number_at, text_of, u8_of, u16_of,
    u32_of,
};

/// `RTM_NEWLINK` and `RTM_GETLINK`.
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;

/// Bytes of `struct ifinfomsg`.
const FIXED_LEN: usize = 16;

/// `IFLA_EXT_MASK`, and its bit that leaves out the statistics of address families, which cost the
/// kernel more than all the rest. Those of the interface itself are told all the same.
const EXT_MASK: u16 = 29;
const SKIP_STATS: u32 = 8;

/// An interface that its owner has switched on.
pub const FLAG_UP: u32 = 1;
/// It takes frames that are not for it.
pub const FLAG_PROMISCUOUS: u32 = 0x100;
/// It takes all multicast frames.
pub const FLAG_ALL_MULTICAST: u32 = 0x200;
/// It waits for an event, such as an authentication.
pub const FLAG_DORMANT: u32 = 0x2_0000;
/// What the kernel works out anew for each answer.
pub const FLAGS_VOLATILE: u32 = 0x40 | 0x1_0000 | FLAG_DORMANT;

/// What kind of hardware a loopback interface says it is.
pub const LOOPBACK: u16 = 772;

/// A request for all interfaces.
pub fn request() -> Vec<u8> {
    dump_request(GET_LINK, &[0; FIXED_LEN], EXT_MASK, SKIP_STATS)
}

/// One interface. What the kernel does not say is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Link<'a> {
    /// Its number, unique at any one time.
    pub index: u32,
    /// Its name.
    pub name: &'a str,
    /// Kind of hardware (`ARPHRD_*`): 1 Ethernet, 772 loopback.
    pub hardware: u16,
    /// `IFF_*`.
    pub flags: u32,
    /// Bytes of the largest packet.
    pub mtu: Option<u32>,
    /// Packets that may wait to be sent.
    pub queue_len: Option<u32>,
    /// `IF_OPER_*`; see [`operstate`].
    pub operstate: Option<u8>,
    /// 0 default, 1 dormant.
    pub link_mode: Option<u8>,
    /// The group an administrator put it in.
    pub group: Option<u32>,
    /// Whether it has a signal; of use only where it is switched on.
    pub carrier: Option<bool>,
    /// Times the signal came or went.
    pub carrier_changes: Option<u32>,
    /// Times it came.
    pub carrier_up: Option<u32>,
    /// Times it went.
    pub carrier_down: Option<u32>,
    /// How many want it to take all frames.
    pub promiscuity: Option<u32>,
    /// How many want it to take all multicast frames (Linux 6.0 and newer).
    pub all_multicast: Option<u32>,
    /// The interface it stands on, or the other end of a pair.
    pub lower: Option<u32>,
    /// Whether `lower` is a number of another network namespace.
    pub lower_is_elsewhere: bool,
    /// The bridge, bond or other it belongs to.
    pub master: Option<u32>,
    /// Its address, mostly of 6 bytes.
    pub address: &'a [u8],
    /// The address of all.
    pub broadcast: &'a [u8],
    /// What its owner calls it.
    pub alias: Option<&'a str>,
    /// The device of a bus it is a part of (Linux 5.14 and newer).
    pub parent_device: Option<&'a str>,
    /// Counters.
    pub counters: Option<Counters>,
    /// Kind of a software interface: `vlan`, `bond`, `bridge`, `veth`, …
    pub kind: Option<&'a str>,
    /// What only its kind has.
    pub details: Details<'a>,
    /// What only a member of its master's kind has.
    pub role: Role<'a>,
}

/// Counters of an interface, as `struct rtnl_link_stats64` has them; what an old kernel lacks at its end
/// is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// The sixteen columns of `/proc/net/dev`, which are sums of the kernel's; see
    /// [`proc::netdev`](crate::proc::netdev).
    pub columns: [u64; 16],
    /// Packets received that nobody took.
    pub received_unhandled: Option<u64>,
}

/// What only one kind of interface has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Details<'a> {
    /// Nothing, or nothing that is read here.
    #[default]
    None,
    /// A VLAN of another interface.
    Vlan(Vlan),
    /// A bridge.
    Bridge(Bridge<'a>),
    /// A bond.
    Bond(Bond<'a>),
    /// The end of a tunnel to a program; whether it carries Ethernet frames.
    Tun {
        /// `tap` rather than `tun`.
        is_tap: bool,
    },
}

/// What only a member has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role<'a> {
    /// Nothing, or nothing that is read here.
    #[default]
    None,
    /// A port of a bridge.
    BridgePort {
        /// Spanning tree state: see [`port_state`].
        state: Option<u8>,
    },
    /// A leg of a bond.
    BondLeg(BondLeg<'a>),
}

/// A VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vlan {
    /// 0 to 4094.
    pub id: u16,
    /// The number of the protocol, `0x8100` or `0x88a8`; see [`vlan_protocol`].
    pub protocol: Option<u16>,
}

/// A bridge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bridge<'a> {
    /// 0 no spanning tree, 1 the kernel's, 2 a program's.
    pub stp: Option<u32>,
    /// Whether it tells VLANs apart.
    pub vlan_filtering: Option<bool>,
    /// The number of the VLANs' protocol.
    pub vlan_protocol: Option<u16>,
    /// Whether it counts what each VLAN carries.
    pub vlan_counted: bool,
    /// Whether it does so for each port.
    pub vlan_counted_by_port: bool,
    /// Priority (2 bytes) and address (6) of the bridge, and of the root of its spanning tree.
    pub id: &'a [u8],
    /// See `id`.
    pub root_id: &'a [u8],
}

/// A bond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bond<'a> {
    /// See [`bonding::mode`](crate::bonding::mode).
    pub mode: Option<u8>,
    /// The leg in use, in modes that use one.
    pub active: Option<u32>,
    /// The leg that is preferred.
    pub primary: Option<u32>,
    /// Milliseconds between two looks at the link.
    pub mii_interval_ms: Option<u32>,
    /// See [`bonding::hash_policy`](crate::bonding::hash_policy).
    pub hash_policy: Option<u8>,
    /// Links that must be up for the bond to be.
    pub min_links: Option<u32>,
    /// 0 slow, 1 fast.
    pub lacp_rate: Option<u8>,
    /// The aggregator in use, in mode 802.3ad.
    pub aggregator: Option<Aggregator<'a>>,
}

/// What LACP made of the legs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Aggregator<'a> {
    /// Its number.
    pub id: Option<u16>,
    /// Legs in it.
    pub ports: Option<u16>,
    /// Our key.
    pub actor_key: Option<u16>,
    /// The switch's key.
    pub partner_key: Option<u16>,
    /// The switch; zeros when none answers.
    pub partner: &'a [u8],
}

/// A leg of a bond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BondLeg<'a> {
    /// See [`bonding::mii_status`](crate::bonding::mii_status).
    pub mii_status: Option<u8>,
    /// Times its link was lost.
    pub link_failures: Option<u32>,
    /// The address it had before it joined.
    pub permanent: &'a [u8],
    /// Its aggregator; it works only when this is the bond's.
    pub aggregator: Option<u16>,
    /// What we tell the switch, as bits: see [`bonding::PORT_STATES`](crate::bonding::PORT_STATES).
    pub actor_state: Option<u8>,
    /// What the switch tells us, likewise.
    pub partner_state: Option<u16>,
}

/// The interfaces in an answer, in its order; those whose name is not UTF-8 are left out.
pub fn links(answer: &[u8]) -> impl Iterator<Item = Result<Link<'_>, ParseError>> {
    messages(answer).filter_map(|message| match message {
        Ok(message) if message.kind == NEW_LINK => link(message.payload).transpose(),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

fn link(payload: &[u8]) -> Result<Option<Link<'_>>, ParseError> {
    let fixed = (number_at(payload, 2), number_at(payload, 4), number_at(payload, 8));
    let ((Some(hardware), Some(index), Some(flags)), Some(attributes)) =
        (fixed, payload.get(FIXED_LEN..))
    else {
        return Err(broken("whole interface"));
    };
    let mut link = Link {
        index: u32::from_ne_bytes(index),
        hardware: u16::from_ne_bytes(hardware),
        flags: u32::from_ne_bytes(flags),
        ..Link::default()
    };
    for attribute in Attributes(attributes) {
        let (kind, value) = attribute?;
        link.take(kind, value)?;
    }
    Ok(Some(link).filter(|link| !link.name.is_empty()))
}

impl<'a> Link<'a> {
    /// Takes an attribute `IFLA_*`.
    fn take(&mut self, kind: u16, value: &'a [u8]) -> Result<(), ParseError> {
        match kind {
            1 => self.address = value,
            2 => self.broadcast = value,
            3 => self.name = text_of(value).unwrap_or_default(),
            4 => self.mtu = u32_of(value),
            5 => self.lower = u32_of(value),
            10 => self.master = u32_of(value),
            13 => self.queue_len = u32_of(value),
            16 => self.operstate = u8_of(value),
            17 => self.link_mode = u8_of(value),
            18 => self.take_info(Attributes(value))?,
            20 => self.alias = text_of(value),
            23 => self.counters = Counters::of(value),
            27 => self.group = u32_of(value),
            30 => self.promiscuity = u32_of(value),
            33 => self.carrier = u8_of(value).map(|carrier| carrier != 0),
            35 => self.carrier_changes = u32_of(value),
            37 => self.lower_is_elsewhere = true,
            47 => self.carrier_up = u32_of(value),
            48 => self.carrier_down = u32_of(value),
            56 => self.parent_device = text_of(value),
            61 => self.all_multicast = u32_of(value),
            _ => {}
        }
        Ok(())
    }

    /// Takes `IFLA_LINKINFO`. The kinds may stand behind what they explain.
    fn take_info(&mut self, info: Attributes<'a>) -> Result<(), ParseError> {
        let (mut master_kind, mut data, mut member_data) = (None, None, None);
        for attribute in info {
            match attribute? {
                (1, value) => self.kind = text_of(value),
                (2, value) => data = Some(Attributes(value)),
                (4, value) => master_kind = text_of(value),
                (5, value) => member_data = Some(Attributes(value)),
                _ => {}
            }
        }
        if let Some(data) = data {
            self.details = match self.kind {
                Some("vlan") => vlan(data)?,
                Some("bridge") => Details::Bridge(bridge(data)?),
                Some("bond") => Details::Bond(bond(data)?),
                Some("tun") => tun(data)?,
                _ => Details::None,
            };
        }
        if let Some(data) = member_data {
            self.role = match master_kind {
                Some("bridge") => bridge_port(data)?,
                Some("bond") => Role::BondLeg(bond_leg(data)?),
                _ => Role::None,
            };
        }
        Ok(())
    }
}

/// The numbers of `struct rtnl_link_stats64` that make each column of `/proc/net/dev`.
const COLUMNS: [&[usize]; 16] = [
    &[2],
    &[0],
    &[4],
    &[6, 15],
    &[14],
    &[10, 11, 12, 13],
    &[21],
    &[8],
    &[3],
    &[1],
    &[5],
    &[7],
    &[18],
    &[9],
    &[17, 16, 20, 19],
    &[22],
];

/// Where [`Counters::received_unhandled`] stands (Linux 4.6 and newer).
const UNHANDLED: usize = 23;

impl Counters {
    fn of(value: &[u8]) -> Option<Self> {
        let number = |at: usize| number_at(value, at * 8).map(u64::from_ne_bytes);
        let mut columns = [0; 16];
        for (column, parts) in columns.iter_mut().zip(COLUMNS) {
            for part in parts {
                // The kernel, too, adds without a look at what does not fit.
                *column = u64::wrapping_add(*column, number(*part)?);
            }
        }
        Some(Self { columns, received_unhandled: number(UNHANDLED) })
    }
}

/// A number in the network's byte order.
fn protocol(value: &[u8]) -> Option<u16> {
    number_at(value, 0).map(u16::from_be_bytes)
}

fn vlan(data: Attributes<'_>) -> Result<Details<'_>, ParseError> {
    let (mut id, mut number) = (None, None);
    for attribute in data {
        match attribute? {
            (1, value) => id = u16_of(value),
            (5, value) => number = protocol(value),
            _ => {}
        }
    }
    Ok(id.map_or(Details::None, |id| Details::Vlan(Vlan { id, protocol: number })))
}

fn tun(data: Attributes<'_>) -> Result<Details<'_>, ParseError> {
    /// The number of `tap`; 1 is `tun`.
    const TAP: u8 = 2;
    let mut details = Details::None;
    for attribute in data {
        if let (3, value) = attribute? {
            details = Details::Tun { is_tap: u8_of(value) == Some(TAP) };
        }
    }
    Ok(details)
}

fn bridge(data: Attributes<'_>) -> Result<Bridge<'_>, ParseError> {
    let mut bridge = Bridge::default();
    let is_on = |value| u8_of(value).is_some_and(|flag| flag != 0);
    for attribute in data {
        match attribute? {
            (5, value) => bridge.stp = u32_of(value),
            (7, value) => bridge.vlan_filtering = u8_of(value).map(|flag| flag != 0),
            (8, value) => bridge.vlan_protocol = protocol(value),
            (10, value) => bridge.root_id = value,
            (11, value) => bridge.id = value,
            (41, value) => bridge.vlan_counted = is_on(value),
            (45, value) => bridge.vlan_counted_by_port = is_on(value),
            _ => {}
        }
    }
    Ok(bridge)
}

fn bridge_port(data: Attributes<'_>) -> Result<Role<'_>, ParseError> {
    let mut state = None;
    for attribute in data {
        if let (1, value) = attribute? {
            state = u8_of(value);
        }
    }
    Ok(Role::BridgePort { state })
}

fn bond(data: Attributes<'_>) -> Result<Bond<'_>, ParseError> {
    let mut bond = Bond::default();
    for attribute in data {
        match attribute? {
            (1, value) => bond.mode = u8_of(value),
            (2, value) => bond.active = u32_of(value),
            (3, value) => bond.mii_interval_ms = u32_of(value),
            (11, value) => bond.primary = u32_of(value),
            (14, value) => bond.hash_policy = u8_of(value),
            (18, value) => bond.min_links = u32_of(value),
            (21, value) => bond.lacp_rate = u8_of(value),
            (23, value) => bond.aggregator = Some(aggregator(Attributes(value))?),
            _ => {}
        }
    }
    Ok(bond)
}

fn aggregator(data: Attributes<'_>) -> Result<Aggregator<'_>, ParseError> {
    let mut aggregator = Aggregator::default();
    for attribute in data {
        match attribute? {
            (1, value) => aggregator.id = u16_of(value),
            (2, value) => aggregator.ports = u16_of(value),
            (3, value) => aggregator.actor_key = u16_of(value),
            (4, value) => aggregator.partner_key = u16_of(value),
            (5, value) => aggregator.partner = value,
            _ => {}
        }
    }
    Ok(aggregator)
}

fn bond_leg(data: Attributes<'_>) -> Result<BondLeg<'_>, ParseError> {
    let mut leg = BondLeg::default();
    for attribute in data {
        match attribute? {
            (2, value) => leg.mii_status = u8_of(value),
            (3, value) => leg.link_failures = u32_of(value),
            (4, value) => leg.permanent = value,
            (6, value) => leg.aggregator = u16_of(value),
            (7, value) => leg.actor_state = u8_of(value),
            (8, value) => leg.partner_state = u16_of(value),
            _ => {}
        }
    }
    Ok(leg)
}

/// The words that sysfs has for operational states, by their numbers.
pub const OPERSTATES: [&str; 7] =
    ["unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"];

/// The word that sysfs has for an operational state.
pub fn operstate(number: u8) -> Option<&'static str> {
    OPERSTATES.get(usize::from(number)).copied()
}

/// The word for the spanning tree state of a bridge's port.
pub fn port_state(number: u8) -> Option<&'static str> {
    const WORDS: [&str; 5] = ["disabled", "listening", "learning", "forwarding", "blocking"];
    WORDS.get(usize::from(number)).copied()
}

/// The standard that a VLAN protocol's number stands for.
pub fn vlan_protocol(number: u16) -> Option<&'static str> {
    match number {
        0x8100 => Some("802.1Q"),
        0x88a8 => Some("802.1ad"),
        _ => None,
    }
}

/// Adds an address as the kernel's files write it: `52:54:00:12:34:56`.
pub fn push_address(address: &[u8], text: &mut String) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |four_bits: u8| DIGITS.get(usize::from(four_bits & 0xf)).copied().unwrap_or('0');
    for (at, byte) in address.iter().enumerate() {
        if at > 0 {
            text.push(':');
        }
        text.push(digit(byte >> 4));
        text.push(digit(*byte));
    }
}
