//! One bond as `/proc/net/bonding/NAME` shows it.

use serde::Serialize;

use crate::ParseError;

/// Bytes of one file that are read; a slave with its LACP details has under 1 KB.
pub const INPUT_LEN_MAX: usize = 256 * 1024;
/// Slaves of one bond. The largest switches have a few dozen ports to a group.
pub const SLAVES_MAX: usize = 256;

/// One bond.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Bond {
    /// Mode in the driver's words, such as `IEEE 802.3ad Dynamic link aggregation`.
    pub mode_text: String,
    /// Mode as it is configured: `balance-rr`, `active-backup`, `balance-xor`, `broadcast`,
    /// `802.3ad`, `balance-tlb`, `balance-alb`; absent for words the driver never had.
    pub mode: Option<&'static str>,
    /// Hash by which a slave is chosen, such as `layer2+3`.
    pub transmit_hash_policy: Option<String>,
    /// State of the bond's own link: `up` or `down`.
    pub mii_status: Option<String>,
    /// Milliseconds between two looks at the link; 0 is never.
    pub mii_polling_interval_ms: Option<u64>,
    /// The slave that is preferred.
    pub primary_slave: Option<String>,
    /// The slave in use, in modes that use one.
    pub active_slave: Option<String>,
    /// LACP, in mode `802.3ad`.
    pub lacp: Option<Lacp>,
    /// The slaves, in the order of the file.
    pub slaves: Vec<Slave>,
}

/// LACP as the bond sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Lacp {
    /// `slow` or `fast`.
    pub rate: Option<String>,
    /// Links that must be up for the bond to be.
    pub min_links: Option<u64>,
    /// Id of the aggregator in use.
    pub aggregator_id: Option<u64>,
    /// Ports in the aggregator in use.
    pub ports: Option<u64>,
    /// Our key.
    pub actor_key: Option<u64>,
    /// The switch's key.
    pub partner_key: Option<u64>,
    /// The switch; zeros when none answers.
    pub partner_mac: Option<String>,
}

/// One slave of a bond.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Slave {
    /// Interface.
    pub name: String,
    /// `up`, `down`, `going down`, `going back`.
    pub mii_status: Option<String>,
    /// Mbit/s; absent when the driver does not know.
    pub speed_mbit_s: Option<u64>,
    /// `full` or `half`; absent when the driver does not know.
    pub duplex: Option<String>,
    /// Times its link was lost.
    pub link_failures: Option<u64>,
    /// The address it had before it joined.
    pub permanent_mac: Option<String>,
    /// Its aggregator; it works only when this is the bond's.
    pub aggregator_id: Option<u64>,
    /// `none`, `monitoring` or `churned`.
    pub actor_churn_state: Option<String>,
    /// `none`, `monitoring` or `churned`.
    pub partner_churn_state: Option<String>,
    /// Times we churned.
    pub actor_churned: Option<u64>,
    /// Times the switch churned.
    pub partner_churned: Option<u64>,
    /// The switch on this link; zeros when none answers. The kernel tells it root only.
    pub partner_mac: Option<String>,
    /// What we tell the switch, as [`PORT_STATES`].
    pub actor_port_state: Option<u64>,
    /// What the switch tells us, as [`PORT_STATES`].
    pub partner_port_state: Option<u64>,
}

/// The words for the bits of a port's LACP state, from the lowest on (IEEE 802.1AX, 6.4.2.3).
pub const PORT_STATES: [&str; 8] = [
    "active",
    "short_timeout",
    "aggregating",
    "in_sync",
    "collecting",
    "distributing",
    "defaulted",
    "expired",
];

/// The address of a switch that does not answer.
pub const NO_PARTNER: &str = "00:00:00:00:00:00";

/// The mode with this number, as it is configured.
pub fn mode(number: u8) -> Option<&'static str> {
    MODES.get(usize::from(number)).map(|&(_, mode)| mode)
}

/// The hash by which a leg is chosen that has this number.
pub fn hash_policy(number: u8) -> Option<&'static str> {
    const POLICIES: [&str; 6] =
        ["layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"];
    POLICIES.get(usize::from(number)).copied()
}

/// The state of a leg's link that has this number.
pub fn mii_status(number: u8) -> Option<&'static str> {
    ["up", "going down", "down", "going back"].get(usize::from(number)).copied()
}

/// What this input is called in errors.
const WHAT: &str = "bonding";

/// The driver's words for its modes, and the modes, by their numbers. Words may follow in brackets.
const MODES: [(&str, &str); 7] = [
    ("load balancing (round-robin)", "balance-rr"),
    ("fault-tolerance (active-backup)", "active-backup"),
    ("load balancing (xor)", "balance-xor"),
    ("fault-tolerance (broadcast)", "broadcast"),
    ("IEEE 802.3ad Dynamic link aggregation", "802.3ad"),
    ("transmit load balancing", "balance-tlb"),
    ("adaptive load balancing", "balance-alb"),
];

/// What `text`, the content of one file, says.
///
/// # Errors
/// A number that is none, named by its line; a file without a bonding mode; more slaves than
/// there can be.
pub fn parse(text: &str) -> Result<Bond, ParseError> {
    if text.len() > INPUT_LEN_MAX {
        let (count, max) = (text.len(), INPUT_LEN_MAX);
        return Err(ParseError::Limit { what: "bytes of a bond", count, max });
    }
    let mut bond = Bond::default();
    let mut part = Part::Bond;
    for (number, line) in text.lines().enumerate() {
        let entry = line.trim();
        let (key, value) = match entry.split_once(':') {
            Some((key, value)) => (key, value.trim()),
            None => (entry, ""),
        };
        part = part.after(key);
        let taken = match key {
            "Slave Interface" => bond.add_slave(value)?,
            _ => bond.take(part, key, value),
        };
        taken.ok_or_else(|| ParseError::line(WHAT, number + 1, line))?;
    }
    match bond.mode_text.is_empty() {
        true => Err(ParseError::Missing { what: "bond", missing: "bonding mode" }),
        false => Ok(bond),
    }
}

/// What a line is about.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Bond,
    Lacp,
    Slave,
    ActorPdu,
    PartnerPdu,
}

impl Part {
    /// The part a line with this key stands in.
    fn after(self, key: &str) -> Self {
        match key {
            "802.3ad info" => Self::Lacp,
            "Slave Interface" => Self::Slave,
            "details actor lacp pdu" => Self::ActorPdu,
            "details partner lacp pdu" => Self::PartnerPdu,
            _ => self,
        }
    }
}

impl Bond {
    fn add_slave(&mut self, name: &str) -> Result<Option<()>, ParseError> {
        if self.slaves.len() >= SLAVES_MAX {
            let count = self.slaves.len() + 1;
            return Err(ParseError::Limit { what: "slaves of a bond", count, max: SLAVES_MAX });
        }
        self.slaves.push(Slave { name: name.to_owned(), ..Slave::default() });
        Ok((!name.is_empty()).then_some(()))
    }

    /// Takes a line; nothing when its value is broken. Keys that are not known are passed over.
    fn take(&mut self, part: Part, key: &str, value: &str) -> Option<()> {
        match part {
            Part::Bond => self.take_bond(key, value),
            Part::Lacp => self.lacp.get_or_insert_default().take(key, value),
            Part::Slave => self.slaves.last_mut().map_or(Some(()), |it| it.take(key, value)),
            Part::ActorPdu | Part::PartnerPdu => {
                self.slaves.last_mut().map_or(Some(()), |it| it.take_pdu(part, key, value))
            }
        }
    }

    fn take_bond(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "Bonding Mode" => {
                let mode = MODES.iter().find(|(words, _)| value.starts_with(words));
                self.mode = mode.map(|&(_, mode)| mode);
                self.mode_text = value.to_owned();
            }
            "Transmit Hash Policy" => self.transmit_hash_policy = first_word(value),
            "Primary Slave" => self.primary_slave = first_word(value).filter(|it| it != "None"),
            "Currently Active Slave" => {
                self.active_slave = first_word(value).filter(|it| it != "None");
            }
            "MII Status" => self.mii_status = stated(value),
            "MII Polling Interval (ms)" => self.mii_polling_interval_ms = count(value)?,
            _ => {}
        }
        Some(())
    }
}

impl Lacp {
    fn take(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "LACP rate" => self.rate = stated(value),
            "Min links" => self.min_links = count(value)?,
            "Aggregator ID" => self.aggregator_id = count(value)?,
            "Number of ports" => self.ports = count(value)?,
            "Actor Key" => self.actor_key = count(value)?,
            "Partner Key" => self.partner_key = count(value)?,
            "Partner Mac Address" => self.partner_mac = stated(value),
            _ => {}
        }
        Some(())
    }
}

impl Slave {
    fn take(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "MII Status" => self.mii_status = stated(value),
            "Speed" => self.speed_mbit_s = speed(value)?,
            "Duplex" => self.duplex = known(value),
            "Link Failure Count" => self.link_failures = count(value)?,
            "Permanent HW addr" => self.permanent_mac = stated(value),
            // A leg that LACP has not looked at yet is in none.
            "Aggregator ID" if value == "N/A" => {}
            "Aggregator ID" => self.aggregator_id = count(value)?,
            "Actor Churn State" => self.actor_churn_state = stated(value),
            "Partner Churn State" => self.partner_churn_state = stated(value),
            "Actor Churned Count" => self.actor_churned = count(value)?,
            "Partner Churned Count" => self.partner_churned = count(value)?,
            _ => {}
        }
        Some(())
    }

    /// Takes a line of what we and the switch told each other.
    fn take_pdu(&mut self, part: Part, key: &str, value: &str) -> Option<()> {
        match (part, key) {
            (Part::ActorPdu, "port state") => self.actor_port_state = count(value)?,
            (Part::PartnerPdu, "port state") => self.partner_port_state = count(value)?,
            (Part::PartnerPdu, "system mac address") => self.partner_mac = stated(value),
            _ => {}
        }
        Some(())
    }
}

fn stated(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

fn first_word(value: &str) -> Option<String> {
    value.split_whitespace().next().map(str::to_owned)
}

/// Absent when the driver says that it does not know.
fn known(value: &str) -> Option<String> {
    stated(value).filter(|value| !value.starts_with("Unknown"))
}

/// A number, or nothing stated; `None` when it is broken.
#[expect(clippy::option_option, reason = "absent and broken are two things")]
fn count(value: &str) -> Option<Option<u64>> {
    match value {
        "" => Some(None),
        _ => value.parse().ok().map(Some),
    }
}

/// `1000 Mbps` or `Unknown`; `None` when it is broken.
#[expect(clippy::option_option, reason = "absent and broken are two things")]
fn speed(value: &str) -> Option<Option<u64>> {
    match known(value) {
        None => Some(None),
        Some(value) => count(value.strip_suffix("Mbps")?.trim()),
    }
}
