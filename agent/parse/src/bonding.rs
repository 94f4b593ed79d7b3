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
    /// The switch on this link; zeros when none answers.
    pub partner_mac: Option<String>,
}

/// What `text`, the content of one file, says.
///
/// # Errors
/// A number that is none, named by its line; a file without a bonding mode; more slaves than
/// there can be.
pub fn parse(_text: &str) -> Result<Bond, ParseError> {
    Ok(Bond::default())
}
