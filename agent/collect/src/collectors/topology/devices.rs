//! Block devices as sysfs and udev show them: disks, their partitions, and what is made of them.
//!
//! Not here: what a disk calls itself ([`super::identity`]), and what stands on what
//! ([`super::layers`]).

use labstat_parse::udev;

use crate::collector::{CollectError, is_absent};
use crate::host::Host;

/// The folder with one link for each block device that is no partition.
const BLOCK: &str = "/sys/block";

/// Block devices of one machine, partitions included. A server with two hundred disks behind two
/// paths each and some hundred volumes has about 2,000.
const DEVICES_MAX: usize = 8192;

/// One block device.
#[derive(Debug, Clone, Default)]
pub(super) struct Block {
    /// The kernel's name, such as `sda1`.
    pub(super) name: String,
    /// Its folder, without links on the way.
    pub(super) dir: String,
    /// Its number, such as `8:1`.
    pub(super) number: String,
    pub(super) sort: Sort,
    /// Size in sectors of 512 bytes; 0 where the kernel does not say.
    pub(super) sectors: u64,
    /// Names of the devices it is made of.
    pub(super) below: Vec<String>,
    /// Numbers of its partitions among all devices.
    pub(super) parts: Vec<usize>,
    pub(super) udev: Udev,
}

/// What a block device is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// A piece of hardware, or what a hypervisor shows as such.
    Disk,
    Partition,
    /// A device of the mapper with its name and uuid.
    Mapped {
        name: String,
        uuid: String,
    },
    Array,
    Bcache,
    /// Made of others in a way that only its driver knows.
    #[default]
    Other,
}

/// What udev knows of a device.
#[derive(Debug, Clone, Default)]
pub(super) struct Udev {
    /// Names below `/dev`.
    pub(super) links: Vec<String>,
    properties: Vec<(String, String)>,
}

impl Udev {
    fn read(host: &dyn Host, number: &str) -> Self {
        if number.is_empty() {
            return Self::default();
        }
        let text = host.text(&format!("/run/udev/data/b{number}")).unwrap_or_default();
        let entry = udev::parse(&text);
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        Self {
            links: entry.links.into_iter().map(str::to_owned).collect(),
            properties: entry.properties.into_iter().map(owned).collect(),
        }
    }

    /// A property; absent when it has no value.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let mut found = self.properties.iter().filter(|(known, _)| known == key);
        found.next().map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Whether udev knows nothing of the device, as in a container.
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty() && self.properties.is_empty()
    }
}

/// All block devices that matter, those of a disk behind it; nothing when there is no
/// `/sys/block`.
pub(super) fn read(host: &dyn Host) -> Result<Option<Vec<Block>>, CollectError> {
    let names = match host.list(BLOCK) {
        Err(error) if is_absent(&error) => return Ok(None),
        names => names.map_err(CollectError::read(BLOCK))?,
    };
    let mut blocks = Vec::new();
    for name in names.into_iter().filter(|name| !is_left_out(name)) {
        read_one(host, name, &mut blocks);
        let count = blocks.len();
        if count > DEVICES_MAX {
            return Err(CollectError::Limit { what: "block devices", count, max: DEVICES_MAX });
        }
    }
    Ok(Some(blocks))
}

/// Devices that hold nothing, or whose content lies elsewhere.
fn is_left_out(name: &str) -> bool {
    let prefix = |stem: &str| {
        name.strip_prefix(stem).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    if ["loop", "ram", "zram", "sr", "fd", "nbd", "rbd", "zd"].iter().any(|stem| prefix(stem)) {
        return true;
    }
    // Boot and replay areas of a card are the card's, one path of a namespace is the namespace's.
    (prefix("mmcblk") && (name.contains("boot") || name.contains("rpmb")))
        || (prefix("nvme") && name.trim_start_matches("nvme").contains('c'))
}

fn read_one(host: &dyn Host, name: String, blocks: &mut Vec<Block>) {
    let link = format!("{BLOCK}/{name}");
    let dir = host.resolved(&link).unwrap_or(link);
    let Ok(entries) = host.list(&dir) else { return };
    let has = |entry: &str| entries.iter().any(|known| known == entry);
    let sort = if has("dm") {
        Sort::Mapped {
            name: text(host, &format!("{dir}/dm/name")),
            uuid: text(host, &format!("{dir}/dm/uuid")),
        }
    } else if has("md") {
        Sort::Array
    } else if name.starts_with("bcache") {
        Sort::Bcache
    } else if has("device") {
        Sort::Disk
    } else {
        Sort::Other
    };
    let below = if has("slaves") { host.list(&format!("{dir}/slaves")) } else { Ok(Vec::new()) };
    let disk = block(host, name, dir, sort);
    // A reader without a card.
    if disk.sort == Sort::Disk && disk.sectors == 0 && is_removable(host, &disk) {
        return;
    }
    let at = blocks.len();
    let parts: Vec<String> = entries.into_iter().filter(|e| is_part(&disk.name, e)).collect();
    let dir = disk.dir.clone();
    let numbers = (at + 1..=at + parts.len()).collect();
    blocks.push(Block { below: below.unwrap_or_default(), parts: numbers, ..disk });
    for part in parts {
        let dir = format!("{dir}/{part}");
        blocks.push(block(host, part, dir, Sort::Partition));
    }
}

/// The disk `name` in the folder `dir`, without what is on it.
pub(super) fn disk(host: &dyn Host, name: &str, dir: &str) -> Block {
    block(host, name.to_owned(), dir.to_owned(), Sort::Disk)
}

fn block(host: &dyn Host, name: String, dir: String, sort: Sort) -> Block {
    let number = text(host, &format!("{dir}/dev"));
    let sectors = text(host, &format!("{dir}/size")).parse().unwrap_or_default();
    let udev = Udev::read(host, &number);
    Block { name, dir, number, sort, sectors, below: Vec::new(), parts: Vec::new(), udev }
}

fn is_removable(host: &dyn Host, block: &Block) -> bool {
    text(host, &format!("{}/removable", block.dir)) == "1"
}

/// Whether `entry` is a partition of `disk`: `sda1` of `sda`, `nvme0n1p1` of `nvme0n1`.
fn is_part(disk: &str, entry: &str) -> bool {
    let Some(rest) = entry.strip_prefix(disk) else { return false };
    let number = if disk.ends_with(|c: char| c.is_ascii_digit()) {
        rest.strip_prefix('p').unwrap_or_default()
    } else {
        rest
    };
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// The text of a file without spaces around it; nothing when it cannot be read.
pub(super) fn text(host: &dyn Host, path: &str) -> String {
    let text = host.text(path).unwrap_or_default();
    text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_told_from_other_folders() {
        for (disk, entry, is) in [
            ("sda", "sda1", true),
            ("sda", "sda", false),
            ("sda", "slaves", false),
            ("nvme0n1", "nvme0n1p2", true),
            ("nvme0n1", "nvme0n12", false),
            ("md0", "md0p1", true),
            ("mmcblk0", "mmcblk0boot0", false),
        ] {
            assert_eq!(is_part(disk, entry), is, "{entry}");
        }
    }

    #[test]
    fn devices_without_a_medium_of_their_own_are_left_out() {
        for name in ["loop0", "zram0", "sr0", "fd0", "mmcblk0boot0", "nvme0c1n1", "rbd0", "zd16"] {
            assert!(is_left_out(name), "{name}");
        }
        for name in ["sda", "nvme0n1", "mmcblk0", "dm-0", "md127", "vda", "bcache0", "drbd0"] {
            assert!(!is_left_out(name), "{name}");
        }
    }
}
