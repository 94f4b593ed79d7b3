//! Which disk is where, and what breaks when it dies.
//!
//! - Reads: block devices in sysfs with what udev knows of them, the mounts, `/proc/swaps`, the
//!   folders of arrays, btrfs, ZFS and Ceph's OSDs. Asks no device and needs no rights, but for
//!   Ceph's folders.
//! - Absent when there is no `/sys/block`.
//! - Emits: [`INFO`], [`SIZE`], [`USE`], [`REDUNDANCY`].
//! - Looks when what is mounted, mapped, or in an array has changed, and once a minute; its last
//!   findings stand in the rounds between.
//! - A disk is named as smartctl names it (`nvme0` with the namespace `nvme0n1`), with the serial number
//!   that smartctl prints. What the machine does not say is left out: in a container without udev,
//!   what lies unused on a disk cannot be known, so nothing is called unused there.
//! - Not here: disks behind a RAID controller, which the kernel does not see; what Ceph and ZFS can
//!   lose, which a node cannot know (but for a pool on one disk).

mod ceph;
mod devices;
mod identity;
mod layers;
mod md;
mod stack;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher};

use labstat_disks::printable;
use labstat_model::{Batch, Family};
use labstat_parse::proc::{mountinfo, swaps};
use serde::{Deserialize, Serialize};

use self::devices::{Block, Sort};
use self::identity::Identity;
use self::stack::{Kind, Stack, Thing, Upward};
use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::options::Disks;
use crate::shared::{is_like_any, outcome};

/// What a disk calls itself and where it is.
pub static INFO: Family =
    Family::gauge("labstat_disk_info", "What a disk is and where it is plugged in; always 1.");
/// How large a disk is.
pub static SIZE: Family =
    Family::gauge("labstat_disk_size_bytes", "Size of a disk, or of one namespace of it.");
/// What a disk is used for.
pub static USE: Family = Family::gauge(
    "labstat_disk_use_info",
    "A thing that stands on a disk, at any height, and what the disk is to it; always 1.",
);
/// How much may be lost.
pub static REDUNDANCY: Family = Family::gauge(
    "labstat_disk_redundancy",
    "How many disks, this one among them, can die before the thing loses data.",
);

/// How long the findings count while nothing is seen to change: a new label or a pool that was
/// imported shows nowhere else.
const KEPT_MS: i64 = 60_000;

/// How long after a change every round looks again: udev and those who mount take a moment.
const SETTLE_MS: i64 = 20_000;

/// Uses shown of all disks together. Two hundred disks with a dozen uses each are the most that was
/// thought of.
const USES_MAX: usize = 32_768;

/// NVMe controllers of one machine.
const CONTROLLERS_MAX: usize = 1024;

const CONTROLLERS: &str = "/sys/class/nvme";

/// Which disk is where, and what stands on it.
#[derive(Debug)]
pub struct Topology {
    options: Disks,
    /// What was mounted, mapped and in arrays when that was last looked at.
    signs: u64,
    changed_ms: i64,
    read_ms: Option<i64>,
    found: Batch,
}

impl Topology {
    /// One that leaves out the disks that `options` says.
    pub fn new(options: &Disks) -> Self {
        Self {
            options: options.clone(),
            signs: 0,
            changed_ms: 0,
            read_ms: None,
            found: Batch::new(),
        }
    }

    /// Whether it is time to look.
    fn is_due(&mut self, host: &dyn Host, now_ms: i64) -> bool {
        let signs = signs(host);
        if signs != self.signs {
            self.signs = signs;
            self.changed_ms = now_ms;
        }
        let within = |since: i64, ms: i64| (since..since.saturating_add(ms)).contains(&now_ms);
        let settles = within(self.changed_ms, SETTLE_MS);
        settles || !self.read_ms.is_some_and(|read_ms| within(read_ms, KEPT_MS))
    }
}

impl Collector for Topology {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let now_ms = host.now_ms();
        if self.is_due(host, now_ms) {
            self.read_ms = None;
            self.found.clear();
            let Some(blocks) = devices::read(host)? else { return Ok(Status::Absent) };
            Survey::new(host, &blocks, &self.options).push(&mut self.found)?;
            self.read_ms = Some(now_ms);
        }
        out.append(&self.found);
        Ok(outcome(out))
    }
}

/// A number that changes when devices come or go, are mounted, or leave an array. What changes all
/// the time (bytes swapped, progress of a rebuild) does not count.
fn signs(host: &dyn Host) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(&host.read("/proc/partitions").unwrap_or_default());
    let bytes = layers::mountinfo(host);
    for mount in mountinfo::parse(&bytes).flatten() {
        hasher.write_u64(mount.major);
        hasher.write_u64(mount.minor);
        for text in [&mount.mount_point, &mount.fstype, &mount.source] {
            hasher.write(text.as_bytes());
        }
    }
    let bytes = host.read("/proc/swaps").unwrap_or_default();
    for swap in swaps::parse(&bytes) {
        hasher.write(swap.path.as_bytes());
    }
    let mdstat = host.read("/proc/mdstat").unwrap_or_default();
    for line in mdstat.split(|byte| *byte == b'\n') {
        let is_of_array = line.first().is_some_and(|byte| !byte.is_ascii_whitespace());
        if is_of_array || line.windows(6).any(|word| word == b"blocks") {
            hasher.write(line);
        }
    }
    hasher.finish()
}

/// Who the disk in the folder `dir` is (a block device of `/sys/block`, or an NVMe controller), as
/// far as the kernel and udev know it. Asks no disk.
pub(crate) fn who(host: &dyn Host, dir: &str) -> Who {
    let name = dir.rsplit('/').next().unwrap_or_default();
    let identity = match identity::is_controller(name) {
        true => identity::nvme_controller(host, dir),
        false => identity::read(host, &devices::disk(host, name, dir)),
    };
    Who {
        serial: identity.serial_number,
        model: identity.model_name,
        wwn: identity.wwn,
        path: identity.path,
    }
}

/// Who a disk is, in the words of the kernel; empty where it does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Who {
    /// Serial number, as smartctl prints it; behind some USB adapters that of the adapter.
    pub(crate) serial: String,
    /// Model.
    pub(crate) model: String,
    /// World wide name.
    pub(crate) wwn: String,
    /// Where it is plugged in, as below `/dev/disk/by-path`.
    pub(crate) path: String,
}

/// One look at the machine.
struct Survey<'a> {
    host: &'a dyn Host,
    blocks: &'a [Block],
    /// Identity of each disk, by its number among the devices.
    identities: BTreeMap<usize, Identity>,
    /// Which disks the user wants to see.
    options: &'a Disks,
    /// The disk that each device is, where several are paths to one.
    disks: Vec<usize>,
    stack: Stack,
}

impl Disks {
    /// Whether the user wants to know of a disk that has these names.
    fn has_disk(&self, names: [&str; 2]) -> bool {
        let is_named = |patterns: &[String]| {
            names.iter().any(|name| !name.is_empty() && is_like_any(patterns, name))
        };
        (self.include.is_empty() || is_named(&self.include)) && !is_named(&self.exclude)
    }
}

impl<'a> Survey<'a> {
    fn new(host: &'a dyn Host, blocks: &'a [Block], options: &'a Disks) -> Self {
        let identities: BTreeMap<usize, Identity> = blocks
            .iter()
            .enumerate()
            .filter(|(_, block)| block.sort == Sort::Disk)
            .map(|(at, block)| (at, identity::read(host, block).printable()))
            .collect();
        let disks = same_disks(blocks, &identities);
        let stack = layers::build(host, blocks, &disks);
        Self { host, blocks, identities, options, disks, stack }
    }

    /// The disks that are to be shown.
    fn shown(&self) -> impl Iterator<Item = (usize, &Identity)> {
        let all = self.identities.iter().map(|(at, identity)| (*at, identity));
        all.filter(|(_, identity)| self.options.has_disk([&identity.device, &identity.namespace]))
    }

    fn push(&self, out: &mut Batch) -> Result<(), CollectError> {
        for (at, identity) in self.shown() {
            push_info(identity, out);
            let sectors = self.blocks.get(at).map(|block| block.sectors).unwrap_or_default();
            if sectors > 0 {
                let labels = [
                    ("device", identity.device.as_str()),
                    ("namespace", &identity.namespace),
                    ("serial_number", &identity.serial_number),
                ];
                out.push(&SIZE, &labels, sectors as f64 * 512.0);
            }
        }
        self.push_idle_controllers(out);
        let mut upward = self.stack.upward();
        let mut redundancy = BTreeMap::new();
        let mut count = 0;
        for (at, identity) in self.shown() {
            count += self.push_uses(at, identity, &mut upward, &mut redundancy, out);
            if count > USES_MAX {
                return Err(CollectError::Limit { what: "uses of disks", count, max: USES_MAX });
            }
        }
        for ((device, serial_number, thing), spare) in &redundancy {
            let labels = [
                ("device", *device),
                ("kind", thing.kind.word()),
                ("name", &printable(&thing.name)),
                ("serial_number", serial_number),
            ];
            if let Some(spare) = spare {
                out.push(&REDUNDANCY, &labels, *spare as f64);
            }
        }
        Ok(())
    }

    /// A disk whose controller answers and whose namespaces are gone is worth seeing.
    fn push_idle_controllers(&self, out: &mut Batch) {
        let names = self.host.list(CONTROLLERS).unwrap_or_default();
        for name in names.into_iter().take(CONTROLLERS_MAX) {
            let link = format!("{CONTROLLERS}/{name}");
            let dir = self.host.resolved(&link).unwrap_or(link);
            let controller = identity::nvme_controller(self.host, &dir).printable();
            let is_shown = |known: &Identity| {
                known.device == controller.device
                    // A disk may have two controllers.
                    || (known.serial_number == controller.serial_number
                        && known.model_name == controller.model_name)
            };
            let is_here = matches!(controller.transport.as_str(), "" | "pcie");
            if is_here
                && self.options.has_disk([&controller.device, ""])
                && !controller.serial_number.is_empty()
                && !self.identities.values().any(is_shown)
            {
                push_info(&controller, out);
            }
        }
    }

    /// Adds what the disk at `at` is used for and gives the number of uses; takes down what it may
    /// lose.
    fn push_uses<'b>(
        &'b self,
        at: usize,
        identity: &'b Identity,
        upward: &mut Upward<'_>,
        redundancy: &mut BTreeMap<(&'b str, &'b str, Thing), Option<usize>>,
        out: &mut Batch,
    ) -> usize {
        let Some(block) = self.blocks.get(at) else { return 0 };
        let Some(disk) = self.disks.get(at) else { return 0 };
        let mut count = 0;
        let parts: BTreeSet<usize> = block.parts.iter().copied().chain([at]).collect();
        for part in parts {
            let except: &[usize] = if part == at { &block.parts } else { &[] };
            let Some(name) = self.blocks.get(part).map(|block| block.name.as_str()) else {
                continue;
            };
            for (used, node) in upward.uses(part, except) {
                let (kind, role) = (used.thing.kind.word(), used.role.as_str());
                push_use(identity, name, [kind, &used.thing.name, role], out);
                count += 1;
                let spare = match used.thing.kind {
                    Kind::CephOsd => None,
                    _ => upward.spare(node, *disk),
                };
                let key = (identity.device.as_str(), identity.serial_number.as_str(), used.thing);
                let least = redundancy.entry(key).or_insert(spare);
                // Certain loss is certain; else what is not known of one part is not of the whole.
                *least = match (*least, spare) {
                    (Some(0), _) | (_, Some(0)) => Some(0),
                    (one, other) => one.min(other),
                };
            }
        }
        if count == 0 && !block.udev.is_empty() {
            push_use(identity, &block.name, ["none", "", ""], out);
        }
        count
    }
}

/// The number of the disk that each device is: that of the device, but one for all paths to a
/// disk and for all namespaces of one.
fn same_disks(blocks: &[Block], identities: &BTreeMap<usize, Identity>) -> Vec<usize> {
    let mut disks: Vec<usize> = (0..blocks.len()).collect();
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, identity) in identities {
        let disk = *first.entry(&identity.device).or_insert(*at);
        if let Some(own) = disks.get_mut(*at) {
            *own = disk;
        }
    }
    let by_name: BTreeMap<&str, usize> =
        blocks.iter().enumerate().map(|(at, block)| (block.name.as_str(), at)).collect();
    for block in blocks {
        let Sort::Mapped { uuid, .. } = &block.sort else { continue };
        if !uuid.starts_with("mpath-") {
            continue;
        }
        let paths = block.below.iter().filter_map(|name| by_name.get(name.as_str()).copied());
        let paths: Vec<usize> = paths.collect();
        let Some(disk) = paths.iter().filter_map(|at| disks.get(*at).copied()).min() else {
            continue;
        };
        for at in paths {
            if let Some(own) = disks.get_mut(at) {
                *own = disk;
            }
        }
    }
    disks
}

fn push_info(identity: &Identity, out: &mut Batch) {
    let labels = [
        ("bus", identity.bus),
        ("by_id", &identity.by_id),
        ("device", &identity.device),
        ("enclosure", &identity.enclosure),
        ("model_name", &identity.model_name),
        ("namespace", &identity.namespace),
        ("path", &identity.path),
        ("removable", &identity.removable),
        ("rotational", &identity.rotational),
        ("serial_number", &identity.serial_number),
        ("slot", &identity.slot),
        ("transport", &identity.transport),
        ("wwn", &identity.wwn),
    ];
    out.push(&INFO, &labels, 1.0);
}

fn push_use(identity: &Identity, part: &str, [kind, name, role]: [&str; 3], out: &mut Batch) {
    let labels = [
        ("device", identity.device.as_str()),
        ("kind", kind),
        ("name", &printable(name)),
        ("part", part),
        ("role", role),
        ("serial_number", &identity.serial_number),
    ];
    out.push(&USE, &labels, 1.0);
}
