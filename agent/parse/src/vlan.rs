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

/// What these inputs are called in errors.
const WHAT_CONFIG: &str = "vlan config";
const WHAT_DETAIL: &str = "vlan interface";

/// What `text`, the content of `/proc/net/vlan/config`, says. The file does not tell 802.1Q from
/// 802.1ad.
///
/// # Errors
/// A line that is not one of the driver's, named by its number; more interfaces than there can
/// be.
pub fn parse_config(text: &str) -> Result<Vec<Interface>, ParseError> {
    check_len(text)?;
    let mut interfaces = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if is_heading(line) {
            continue;
        }
        if interfaces.len() >= INTERFACES_MAX {
            let count = interfaces.len() + 1;
            return Err(ParseError::Limit { what: "vlan interfaces", count, max: INTERFACES_MAX });
        }
        let interface = config_line(line);
        interfaces.push(interface.ok_or_else(|| ParseError::line(WHAT_CONFIG, number + 1, line))?);
    }
    Ok(interfaces)
}

fn check_len(text: &str) -> Result<(), ParseError> {
    match text.len() {
        count if count > INPUT_LEN_MAX => {
            Err(ParseError::Limit { what: "bytes of vlan", count, max: INPUT_LEN_MAX })
        }
        _ => Ok(()),
    }
}

fn is_heading(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with("VLAN Dev name") || line.starts_with("Name-Type:")
}

/// `eth0.10        | 10  | eth0`
fn config_line(line: &str) -> Option<Interface> {
    let mut columns = line.split('|').map(str::trim);
    let (name, id, parent) = (columns.next()?, columns.next()?, columns.next()?);
    if columns.next().is_some() || name.is_empty() || parent.is_empty() {
        return None;
    }
    Some(Interface { name: name.to_owned(), id: vlan_id(id)?, parent: parent.to_owned() })
}

fn vlan_id(text: &str) -> Option<u16> {
    text.parse().ok().filter(|&id| id <= ID_MAX)
}

/// What `text`, the content of `/proc/net/vlan/NAME`, says.
///
/// # Errors
/// A line that is not one of the driver's, named by its number; a file without name, id or
/// parent.
pub fn parse_detail(text: &str) -> Result<Detail, ParseError> {
    check_len(text)?;
    let missing = |missing| ParseError::Missing { what: WHAT_DETAIL, missing };
    let mut lines = text.lines().enumerate();
    let (_, first) = lines.next().ok_or_else(|| missing("first line"))?;
    let (name, id) = first_line(first).ok_or_else(|| ParseError::line(WHAT_DETAIL, 1, first))?;
    let mut detail = Detail { name: name.to_owned(), id, ..Detail::default() };
    for (number, line) in lines {
        detail_line(&mut detail, line.trim())
            .ok_or_else(|| ParseError::line(WHAT_DETAIL, number + 1, line))?;
    }
    match detail.parent.is_empty() {
        true => Err(missing("line of its device")),
        false => Ok(detail),
    }
}

/// `bond0.2  VID: 2  REORDER_HDR: 1  dev->priv_flags: 1`
fn first_line(line: &str) -> Option<(&str, u16)> {
    let (name, rest) = line.split_once(" VID: ")?;
    let id = vlan_id(rest.split_whitespace().next()?)?;
    Some((name.trim(), id)).filter(|(name, _)| !name.is_empty())
}

/// Takes a line; nothing when its number is broken. What is not known is passed over.
fn detail_line(detail: &mut Detail, line: &str) -> Option<()> {
    if let Some(parent) = line.strip_prefix("Device:") {
        detail.parent = parent.trim().to_owned();
        return Some(());
    }
    let Some((key, count)) = line.rsplit_once(char::is_whitespace) else { return Some(()) };
    let place = match key.trim_end() {
        "total frames received" => &mut detail.rx_frames,
        "total bytes received" => &mut detail.rx_bytes,
        "Broadcast/Multicast Rcvd" => &mut detail.rx_multicast,
        "total frames transmitted" => &mut detail.tx_frames,
        "total bytes transmitted" => &mut detail.tx_bytes,
        _ => return Some(()),
    };
    *place = Some(count.parse().ok()?);
    Some(())
}
