//! What is made of block devices: arrays, volumes, pools, filesystems, swap, storage daemons.
//!
//! - Reads: the folders of arrays and caches in sysfs, `/sys/fs/btrfs`, `/proc/spl/kstat/zfs`, the
//!   mounts, `/proc/swaps`, the folders of Ceph's OSDs; and what udev found written on a device, where
//!   nothing that runs claims it.
//! - Not here: what follows from it ([`super::stack`]).

use std::collections::{HashMap, HashSet};

use labstat_parse::proc::{mountinfo, number, swaps};

use super::devices::{Block, Sort, text};
use super::stack::{Edge, Group, Kind, Needs, Node, Stack, Thing};
use super::{ceph, md};
use crate::host::Host;

/// Mount points shown of one filesystem, the shortest first: a pool with a dataset per container has
/// hundreds, and the first few tell what breaks.
const MOUNTS_PER_FILESYSTEM_MAX: usize = 16;

/// Filesystems, pools and places to swap to of one machine.
const EXTRAS_MAX: usize = 4096;

const BTRFS: &str = "/sys/fs/btrfs";
const POOLS: &str = "/proc/spl/kstat/zfs";

/// Profiles of btrfs and how many devices each can lose; a copy on the same device is none.
const PROFILES: [(&str, usize); 9] = [
    ("single", 0),
    ("dup", 0),
    ("raid0", 0),
    ("raid1", 1),
    ("raid10", 1),
    ("raid5", 1),
    ("raid6", 2),
    ("raid1c3", 2),
    ("raid1c4", 3),
];

/// All that stands on block devices. The nodes of the first devices have the devices' numbers.
pub(super) fn build(host: &dyn Host, blocks: &[Block], disks: &[usize]) -> Stack {
    let mut layers = Layers {
        host,
        blocks,
        stack: Stack::default(),
        names: names(blocks),
        groups: HashMap::new(),
        owners: HashMap::new(),
    };
    layers.devices(disks);
    layers.volumes();
    layers.btrfs();
    layers.osds();
    layers.pools();
    layers.swaps();
    layers.mounts();
    layers.claims();
    layers.bare_volumes();
    layers.stack
}

/// Every name of every device: the kernel's, those below `/dev`, those of the mapper.
fn names(blocks: &[Block]) -> HashMap<String, usize> {
    let mut names = HashMap::new();
    for (at, block) in blocks.iter().enumerate() {
        for link in &block.udev.links {
            names.insert(link.clone(), at);
        }
        if let Sort::Mapped { name, .. } = &block.sort {
            names.insert(format!("mapper/{name}"), at);
            if let Some((group, volume)) = volume_name(name) {
                names.insert(format!("{group}/{volume}"), at);
            }
        }
    }
    // The kernel's name is the one that cannot be another's.
    names.extend(blocks.iter().enumerate().map(|(at, block)| (block.name.clone(), at)));
    names
}

/// Group and volume of a name of the mapper, in which a dash between them is one and a dash of their
/// own is two: `pve--old-root` is `root` in `pve-old`.
fn volume_name(name: &str) -> Option<(String, String)> {
    let bytes = name.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let is_dash = |at: usize| bytes.get(at) == Some(&b'-');
        match (*byte == b'-', is_dash(at + 1)) {
            (true, true) => at += 2,
            (true, false) if at > 0 => {
                let (group, volume) = (name.get(..at)?, name.get(at + 1..)?);
                return Some((group.replace("--", "-"), volume.replace("--", "-")));
            }
            _ => at += 1,
        }
    }
    None
}

/// What a device of the mapper is, by the program that made it, which signs with a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mapped {
    Volume { group: String, volume: String },
    Crypt,
    Multipath,
    Partition,
    Other,
}

fn mapped(name: &str, uuid: &str) -> Mapped {
    let is = |prefix: &str| uuid.starts_with(prefix);
    if is("LVM-") {
        match volume_name(name) {
            Some((group, volume)) => Mapped::Volume { group, volume },
            None => Mapped::Other,
        }
    } else if is("CRYPT-") {
        Mapped::Crypt
    } else if is("mpath-") {
        Mapped::Multipath
    } else if is("part") {
        Mapped::Partition
    } else {
        Mapped::Other
    }
}

/// Whether a volume is a leg of one that has several copies: how many of those are whole is told by
/// the device's table only, which takes rights and a call.
fn is_leg(name: &str) -> bool {
    ["_rimage_", "_rmeta_", "_mimage_", "_mlog"].iter().any(|part| name.contains(part))
}

struct Layers<'a> {
    host: &'a dyn Host,
    blocks: &'a [Block],
    stack: Stack,
    names: HashMap<String, usize>,
    /// Volume groups by name.
    groups: HashMap<String, usize>,
    /// Filesystems that span devices, by device.
    owners: HashMap<usize, usize>,
}

impl Layers<'_> {
    /// One node per device; `disks` has the number of the disk that each of them is or is part of.
    fn devices(&mut self, disks: &[usize]) {
        let mut whole = HashMap::new();
        for (at, block) in self.blocks.iter().enumerate() {
            whole.extend(block.parts.iter().map(|part| (*part, at)));
        }
        for (at, block) in self.blocks.iter().enumerate() {
            let below: Vec<usize> =
                block.below.iter().filter_map(|name| self.names.get(name).copied()).collect();
            let node = match &block.sort {
                Sort::Disk => {
                    let disk = disks.get(at).copied();
                    Node { disk, ..Node::on(None, &[], "") }
                }
                Sort::Partition => {
                    let whole: Vec<usize> = whole.get(&at).copied().into_iter().collect();
                    Node::on(None, &whole, "")
                }
                Sort::Array => md::node(self.host, block, &self.names),
                Sort::Bcache => self.cached(block, &below),
                Sort::Mapped { name, uuid } => self.mapped(name, uuid, &below),
                Sort::Other => {
                    let is_drbd = block.name.starts_with("drbd");
                    let kind = if is_drbd { Kind::Drbd } else { Kind::Device };
                    let thing = Some(Thing { kind, name: block.name.clone() });
                    Node::unknown(thing, &below, "member")
                }
            };
            self.stack.add(node);
        }
    }

    fn mapped(&self, name: &str, uuid: &str, below: &[usize]) -> Node {
        let thing = |kind| Some(Thing { kind, name: name.to_owned() });
        match mapped(name, uuid) {
            Mapped::Volume { .. } => {
                let is_leg_at = |at: &usize| {
                    let sort = self.blocks.get(*at).map(|block| &block.sort);
                    matches!(sort, Some(Sort::Mapped { name, .. }) if is_leg(name))
                };
                match below.iter().any(is_leg_at) {
                    true => Node::unknown(None, below, ""),
                    false => Node::on(None, below, ""),
                }
            }
            Mapped::Crypt => Node::on(thing(Kind::Crypt), below, "open"),
            Mapped::Multipath => Node::on(thing(Kind::Multipath), below, "path"),
            Mapped::Partition => Node::on(None, below, ""),
            // On one device there is nothing that could be spared.
            Mapped::Other if below.len() == 1 => Node::on(thing(Kind::Device), below, "member"),
            Mapped::Other => Node::unknown(thing(Kind::Device), below, "member"),
        }
    }

    /// A device with a cache. What is in the cache alone is lost with it; where all of it is also
    /// behind it, the cache holds nothing.
    fn cached(&self, block: &Block, below: &[usize]) -> Node {
        let is_cache = |at: &usize| {
            let dir = self.blocks.get(*at).map(|block| block.dir.as_str()).unwrap_or_default();
            self.host.link(&format!("{dir}/bcache/set")).is_ok()
        };
        let (caches, backing): (Vec<usize>, Vec<usize>) =
            below.iter().copied().partition(|at| is_cache(at));
        let state = text(self.host, &format!("{}/bcache/state", block.dir));
        let thing = Some(Thing { kind: Kind::Bcache, name: block.name.clone() });
        let mut node = match state.as_str() {
            "clean" | "no cache" => Node::on(thing, &backing, "backing"),
            "dirty" => Node::on(thing, &[backing, caches.clone()].concat(), "backing"),
            _ => Node::unknown(thing, &backing, "backing"),
        };
        node.below.retain(|edge| !caches.contains(&edge.to));
        let holds = !matches!(state.as_str(), "clean" | "no cache");
        let cache = |to: usize| Edge { to, role: "cache".to_owned(), holds };
        node.below.extend(caches.into_iter().map(cache));
        node
    }

    fn volumes(&mut self) {
        for (at, block) in self.blocks.iter().enumerate() {
            let Sort::Mapped { name, uuid } = &block.sort else { continue };
            let Mapped::Volume { group, .. } = mapped(name, uuid) else { continue };
            let node = self.stack.get(at);
            let below: Vec<usize> =
                node.into_iter().flat_map(|node| &node.below).map(|edge| edge.to).collect();
            let group = self.group(group);
            if let Some(volume) = self.stack.get_mut(at) {
                volume.volume_of = Some(group);
            }
            for to in below {
                let is_volume = |block: &Block| {
                    let Sort::Mapped { name, uuid } = &block.sort else { return false };
                    matches!(mapped(name, uuid), Mapped::Volume { .. })
                };
                // A volume made of volumes of its own group; what those stand on counts.
                if !self.blocks.get(to).is_some_and(is_volume) {
                    self.join(group, to, "member");
                }
            }
        }
    }

    /// The volume group of that name.
    fn group(&mut self, name: String) -> usize {
        if let Some(known) = self.groups.get(&name) {
            return *known;
        }
        let thing = Thing { kind: Kind::LvmPv, name: name.clone() };
        let node = self.stack.add(Node::on(Some(thing), &[], ""));
        self.groups.insert(name, node);
        node
    }

    /// Lets `node` stand on `to` too, and be lost with it.
    fn join(&mut self, node: usize, to: usize, role: &str) {
        let Some(node) = self.stack.get_mut(node) else { return };
        if node.below.iter().any(|edge| edge.to == to && edge.role == role) {
            return;
        }
        node.below.push(Edge { to, role: role.to_owned(), holds: true });
        if let Needs::Groups(groups) = &mut node.needs {
            groups.push(Group { members: vec![to], spare: 0 });
        }
    }

    /// Adds what is no block device.
    fn add(&mut self, node: Node) -> Option<usize> {
        let has_room = self.stack.len() < self.blocks.len() + EXTRAS_MAX;
        has_room.then(|| self.stack.add(node))
    }

    fn btrfs(&mut self) {
        let uuids = self.host.list(BTRFS).unwrap_or_default();
        for uuid in uuids {
            let dir = format!("{BTRFS}/{uuid}");
            let devices = self.host.list(&format!("{dir}/devices")).unwrap_or_default();
            let members: Vec<usize> =
                devices.iter().filter_map(|name| self.names.get(name).copied()).collect();
            if members.is_empty() {
                continue;
            }
            let label = text(self.host, &format!("{dir}/label"));
            let name = if label.is_empty() { uuid } else { label };
            let (profile, spare) = btrfs_profile(self.host, &dir);
            let thing = Some(Thing { kind: Kind::Btrfs, name });
            let node = Node::unknown(thing, &members, profile);
            let needs = match spare {
                Some(spare) => Needs::Groups(vec![Group { members: members.clone(), spare }]),
                None => Needs::Unknown,
            };
            if let Some(node) = self.add(Node { needs, ..node }) {
                self.owners.extend(members.into_iter().map(|member| (member, node)));
            }
        }
    }

    fn osds(&mut self) {
        let mut osds: HashMap<String, usize> = HashMap::new();
        let mut known = Vec::new();
        for part in ceph::parts(self.host) {
            let Some(at) = self.find(&part.device) else { continue };
            let name = format!("osd.{}", part.id);
            self.osd(&mut osds, name, at, part.role);
            known.push(at);
        }
        // One that does not run, or whose folder may not be read, is known by its volume.
        for (at, block) in self.blocks.iter().enumerate() {
            let Sort::Mapped { name, uuid } = &block.sort else { continue };
            let Mapped::Volume { group, volume } = mapped(name, uuid) else { continue };
            if let Some(role) = ceph::role_of_volume(&group, &volume)
                && !known.contains(&at)
            {
                self.osd(&mut osds, volume, at, role);
            }
        }
    }

    fn osd(&mut self, osds: &mut HashMap<String, usize>, name: String, at: usize, role: &str) {
        if let Some(known) = osds.get(&name) {
            return self.join(*known, at, role);
        }
        let thing = Thing { kind: Kind::CephOsd, name: name.clone() };
        if let Some(node) = self.add(Node::unknown(Some(thing), &[at], role)) {
            osds.insert(name, node);
        }
    }

    /// The device of a path below `/dev`.
    fn find(&self, path: &str) -> Option<usize> {
        let name = path.strip_prefix("/dev/")?;
        self.names.get(name).copied()
    }

    /// ZFS tells the kernel's files neither its layout nor its disks: members are those that udev
    /// found signed. Only of a pool on a single device it is clear what it can lose.
    fn pools(&mut self) {
        let mut pools: Vec<(String, Vec<usize>)> = Vec::new();
        let shadowed = self.shadowed();
        for (at, block) in self.blocks.iter().enumerate() {
            let is_member = block.udev.get("ID_FS_TYPE") == Some("zfs_member");
            if !is_member || !block.parts.is_empty() || shadowed.contains(&at) {
                continue;
            }
            let name = ["ID_FS_LABEL", "ID_FS_UUID"].iter().find_map(|key| block.udev.get(key));
            let name = name.unwrap_or_default();
            match pools.iter_mut().find(|(known, _)| known == name) {
                Some((_, members)) => members.push(at),
                None => pools.push((name.to_owned(), vec![at])),
            }
        }
        let all_known = self.blocks.iter().all(|block| !block.udev.is_empty());
        for (name, members) in pools {
            let is_path = name.is_empty() || name.contains('/') || name.starts_with('.');
            let state = format!("{POOLS}/{name}/state");
            let is_imported = !is_path && !text(self.host, &state).is_empty();
            let role = if is_imported { "member" } else { "inactive" };
            let thing = Some(Thing { kind: Kind::Zfs, name });
            let node = match (all_known && is_imported, members.len()) {
                (true, 1) => Node::on(thing, &members, role),
                _ => Node::unknown(thing, &members, role),
            };
            self.add(node);
        }
    }

    /// Devices whose content is that of another: partitions of a disk that is in use as a whole (one of
    /// the paths to a disk, a leg of a firmware's mirror), and such a disk itself.
    fn shadowed(&self) -> HashSet<usize> {
        let mut shadowed = HashSet::new();
        for block in self.blocks {
            let (Sort::Mapped { .. } | Sort::Array) = block.sort else { continue };
            for name in &block.below {
                let Some(at) = self.names.get(name) else { continue };
                shadowed.insert(*at);
                let parts = self.blocks.get(*at).map(|below| below.parts.as_slice());
                shadowed.extend(parts.unwrap_or_default());
            }
        }
        shadowed
    }

    fn swaps(&mut self) {
        let bytes = self.host.read("/proc/swaps").unwrap_or_default();
        for swap in swaps::parse(&bytes).filter(|swap| swap.is_device) {
            let Some(at) = self.find(&swap.path) else { continue };
            let name = self.readable_name(at);
            let thing = Thing { kind: Kind::Swap, name };
            self.add(Node::on(Some(thing), &[at], "swap"));
        }
    }

    /// A name of the mapper where there is one, since `dm-1` says nothing.
    fn readable_name(&self, at: usize) -> String {
        match self.blocks.get(at) {
            Some(Block { sort: Sort::Mapped { name, .. }, .. }) => name.clone(),
            Some(block) => block.name.clone(),
            None => String::new(),
        }
    }

    fn mounts(&mut self) {
        let bytes = mountinfo(self.host);
        let mut found: Vec<(Vec<usize>, Mounted)> = Vec::new();
        for mount in mountinfo::parse(&bytes).flatten() {
            found.retain(|(_, earlier)| earlier.point != *mount.mount_point);
            let on = self.mounted_on(&mount);
            if on.is_empty() {
                continue;
            }
            let is_whole = mount.root == "/" || matches!(&*mount.fstype, "btrfs" | "zfs");
            let point = mount.mount_point.into_owned();
            found.push((on, Mounted { point, fstype: mount.fstype.into_owned(), is_whole }));
        }
        let whole: Vec<Vec<usize>> =
            found.iter().filter(|(_, m)| m.is_whole).map(|(on, _)| on.clone()).collect();
        // Folders of a filesystem that is mounted as a whole are only other names for it.
        found.retain(|(on, mounted)| mounted.is_whole || !whole.contains(on));
        found.sort_by_key(|(_, m)| (m.point.len(), m.point.clone()));
        let mut counts: HashMap<Vec<usize>, usize> = HashMap::new();
        for (on, mounted) in found {
            let count = counts.entry(on.clone()).or_default();
            *count += 1;
            if *count > MOUNTS_PER_FILESYSTEM_MAX {
                continue;
            }
            let thing = Some(Thing { kind: Kind::Mount, name: mounted.point });
            let node = match mounted.fstype.as_str() {
                "bcachefs" => Node::unknown(thing, &on, &mounted.fstype),
                _ => Node::on(thing, &on, &mounted.fstype),
            };
            self.add(node);
        }
    }

    /// What a mount stands on: a device, or a filesystem that spans devices.
    fn mounted_on(&self, mount: &mountinfo::Mount<'_>) -> Vec<usize> {
        let spanning = |at: usize| self.owners.get(&at).copied().unwrap_or(at);
        match &*mount.fstype {
            "zfs" => {
                let pool = mount.source.split('/').next().unwrap_or_default();
                (self.blocks.len()..self.stack.len())
                    .filter(|at| {
                        let thing = self.stack.get(*at).and_then(|node| node.thing.as_ref());
                        thing.is_some_and(|thing| thing.kind == Kind::Zfs && thing.name == pool)
                    })
                    .collect()
            }
            "bcachefs" => mount.source.split(':').filter_map(|path| self.find(path)).collect(),
            fstype => {
                let number = format!("{}:{}", mount.major, mount.minor);
                let by_number = self.blocks.iter().position(|block| block.number == number);
                // btrfs has numbers of its own.
                let by_name = || match fstype {
                    "btrfs" => self.find(&mount.source),
                    _ => None,
                };
                by_number.or_else(by_name).map(spanning).into_iter().collect()
            }
        }
    }

    /// What udev found written on devices that nothing stands on.
    fn claims(&mut self) {
        let shadowed = self.shadowed();
        let upward = self.stack.upward();
        let is_bare = |at: &usize| upward.is_bare(*at) && !shadowed.contains(at);
        let bare: Vec<usize> = (0..self.blocks.len()).filter(is_bare).collect();
        for at in bare {
            let Some(block) = self.blocks.get(at).filter(|block| block.parts.is_empty()) else {
                continue;
            };
            let Some((thing, role)) = claim(block) else { continue };
            let node = match thing.kind {
                Kind::Filesystem | Kind::Swap | Kind::Crypt => Node::on(Some(thing), &[at], &role),
                _ => Node::unknown(Some(thing), &[at], &role),
            };
            self.add(node);
        }
    }

    /// Volumes that nothing is seen on, such as the disks of virtual machines, are named themselves.
    fn bare_volumes(&mut self) {
        let upward = self.stack.upward();
        let bare: Vec<usize> = (0..self.blocks.len()).filter(|at| upward.is_bare(*at)).collect();
        for at in bare {
            let Some(Sort::Mapped { name, uuid }) = self.blocks.get(at).map(|block| &block.sort)
            else {
                continue;
            };
            let Mapped::Volume { group, volume } = mapped(name, uuid) else { continue };
            let Some(node) = self.stack.get_mut(at) else { continue };
            let name = format!("{group}/{volume}");
            node.thing = Some(Thing { kind: Kind::LvmLv, name });
            for edge in &mut node.below {
                edge.role = "volume".to_owned();
            }
        }
    }
}

#[derive(Debug)]
struct Mounted {
    point: String,
    fstype: String,
    /// Not only a folder of it.
    is_whole: bool,
}

/// The mounts of process 1, of our own where those may not be read.
pub(super) fn mountinfo(host: &dyn Host) -> Vec<u8> {
    let paths = ["/proc/1/mountinfo", "/proc/self/mountinfo"];
    paths.iter().find_map(|path| host.read(path).ok()).unwrap_or_default()
}

/// The profile of the data and how many more devices the whole can lose.
fn btrfs_profile(host: &dyn Host, dir: &str) -> (&'static str, Option<usize>) {
    let profiles = |what: &str| -> Vec<(&'static str, usize)> {
        let dir = format!("{dir}/allocation/{what}");
        let names = host.list(&dir).unwrap_or_default();
        let known = PROFILES.iter().filter(|(profile, _)| names.iter().any(|name| name == profile));
        // What was converted leaves an empty folder of its old profile.
        let is_used = |profile: &str| {
            let bytes = text(host, &format!("{dir}/{profile}/total_bytes"));
            number(bytes.as_bytes()).is_some_and(|bytes| bytes > 0)
        };
        known.copied().filter(|(profile, _)| is_used(profile)).collect()
    };
    let data = profiles("data");
    let weakest = |found: &[(&'static str, usize)]| found.iter().copied().min_by_key(|(_, n)| *n);
    let word = weakest(&data).map_or("member", |(profile, _)| profile);
    let ids = host.list(&format!("{dir}/devinfo")).unwrap_or_default();
    let is_missing = |id: &&String| text(host, &format!("{dir}/devinfo/{id}/missing")) == "1";
    let missing = ids.iter().filter(is_missing).count();
    // Metadata lost are data lost. A kernel before 5.6 does not tell what is missing.
    let all = [data, profiles("metadata"), profiles("system")];
    let weakest = all.iter().map(|found| weakest(found).map(|(_, spare)| spare)).min().flatten();
    let spare = weakest.filter(|spare| *spare == 0 || !ids.is_empty());
    (word, spare.map(|spare| spare.saturating_sub(missing)))
}

/// What is written on a device that is not in use.
fn claim(block: &Block) -> Option<(Thing, String)> {
    let fstype = block.udev.get("ID_FS_TYPE")?;
    let get = |keys: &[&str]| keys.iter().find_map(|key| block.udev.get(key)).map(str::to_owned);
    let label = || get(&["ID_FS_LABEL", "ID_FS_UUID"]).unwrap_or_default();
    let (kind, name) = match fstype {
        // Those have nodes of their own.
        "zfs_member" | "mpath_member" => return None,
        "LVM2_member" | "LVM1_member" => {
            let name = get(&["LVM_VG_NAME_COMPLETE", "DM_VG_NAME"]);
            (Kind::LvmPv, name.unwrap_or_default())
        }
        "crypto_LUKS" => (Kind::Crypt, label()),
        "ceph_bluestore" => (Kind::CephOsd, String::new()),
        "btrfs" => (Kind::Btrfs, label()),
        "bcache" => (Kind::Bcache, label()),
        "drbd" => (Kind::Drbd, label()),
        "swap" => (Kind::Swap, label()),
        fstype if fstype.ends_with("_raid_member") => (Kind::Md, label()),
        fstype if block.udev.get("ID_FS_USAGE") == Some("filesystem") => {
            return Some((Thing { kind: Kind::Filesystem, name: label() }, fstype.to_owned()));
        }
        _ => return None,
    };
    let role = if kind == Kind::Crypt { "closed" } else { "inactive" };
    Some((Thing { kind, name }, role.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_in_names_of_volumes_are_doubled() {
        let of = |name| volume_name(name).map(|(group, volume)| format!("{group}/{volume}"));
        assert_eq!(of("pve-root").as_deref(), Some("pve/root"));
        assert_eq!(of("pve--old-vm--100--disk--0").as_deref(), Some("pve-old/vm-100-disk-0"));
        assert_eq!(of("a---b").as_deref(), Some("a-/b"), "a dash at the end of the group");
        for none in ["", "root", "a--b", "-a"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn programs_sign_the_devices_they_map() {
        assert_eq!(mapped("luks-x", "CRYPT-LUKS2-00-luks-x"), Mapped::Crypt);
        assert_eq!(mapped("mpatha", "mpath-3600"), Mapped::Multipath);
        assert_eq!(mapped("mpatha-part1", "part1-mpath-3600"), Mapped::Partition);
        assert_eq!(mapped("x", ""), Mapped::Other);
        let volume = Mapped::Volume { group: "a".to_owned(), volume: "b".to_owned() };
        assert_eq!(mapped("a-b", "LVM-x"), volume);
    }
}
