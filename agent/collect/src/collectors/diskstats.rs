//! Counters and identity of block devices.
//!
//! - Reads: `/proc/diskstats`; per whole disk, and not in every round, its entry in udev's data and
//!   one file of sysfs.
//! - Absent when there is no `/proc/diskstats` (containers).
//! - Emits: `node_disk_*`; columns the kernel lacks are not emitted.
//! - Left out: partitions, RAM disks, loop and floppy devices, unless the user asks for them; disks
//!   the user does not want. Not here: health ([`super::smartctl`]).

use std::collections::HashMap;

use labstat_model::{Batch, Family};
use labstat_parse::proc::diskstats::{self, COLUMNS_MAX};
use labstat_parse::proc::number;

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::options::Disks;
use crate::shared::{is_wanted, read_if_there};

const PATH: &str = "/proc/diskstats";

/// Devices of one machine; a storage server with multipath has a few hundred.
const DEVICES_MAX: usize = 4096;

/// The kernel counts in sectors of 512 bytes, whatever the disk's own are.
const SECTOR: f64 = 512.0;
const MS: f64 = 1e-3;

/// Family and factor of each column.
static COLUMNS: [(Family, f64); COLUMNS_MAX] = [
    (Family::counter("node_disk_reads_completed_total", "Reads completed."), 1.0),
    (Family::counter("node_disk_reads_merged_total", "Reads merged."), 1.0),
    (Family::counter("node_disk_read_bytes_total", "Bytes read."), SECTOR),
    (Family::counter("node_disk_read_time_seconds_total", "Seconds spent by all reads."), MS),
    (Family::counter("node_disk_writes_completed_total", "Writes completed."), 1.0),
    (Family::counter("node_disk_writes_merged_total", "Writes merged."), 1.0),
    (Family::counter("node_disk_written_bytes_total", "Bytes written."), SECTOR),
    (Family::counter("node_disk_write_time_seconds_total", "Seconds spent by all writes."), MS),
    (Family::gauge("node_disk_io_now", "I/Os in progress."), 1.0),
    (Family::counter("node_disk_io_time_seconds_total", "Seconds spent doing I/Os."), MS),
    (
        Family::counter(
            "node_disk_io_time_weighted_seconds_total",
            "Seconds spent doing I/Os, weighted by their number.",
        ),
        MS,
    ),
    (Family::counter("node_disk_discards_completed_total", "Discards completed."), 1.0),
    (Family::counter("node_disk_discards_merged_total", "Discards merged."), 1.0),
    (Family::counter("node_disk_discarded_sectors_total", "Sectors discarded."), 1.0),
    (Family::counter("node_disk_discard_time_seconds_total", "Seconds spent by all discards."), MS),
    (Family::counter("node_disk_flush_requests_total", "Flush requests completed."), 1.0),
    (
        Family::counter(
            "node_disk_flush_requests_time_seconds_total",
            "Seconds spent by all flush requests.",
        ),
        MS,
    ),
];

/// Identity of a disk.
pub static INFO: Family = Family::gauge("node_disk_info", "Identity of a disk; always 1.");

/// The filesystem or other content of a disk.
pub static FILESYSTEM_INFO: Family =
    Family::gauge("node_disk_filesystem_info", "What a disk holds as a whole; always 1.");
/// Names of a device of the mapper.
pub static MAPPER_INFO: Family =
    Family::gauge("node_disk_device_mapper_info", "Names of a mapped device; always 1.");

/// Settings of ATA disks, each with its property.
static ATA: [(Family, &str); 3] = [
    (
        Family::gauge("node_disk_ata_rotation_rate_rpm", "Rotations a minute; 0 for an SSD."),
        "ID_ATA_ROTATION_RATE_RPM",
    ),
    (
        Family::gauge("node_disk_ata_write_cache", "Whether the disk has a write cache."),
        "ID_ATA_WRITE_CACHE",
    ),
    (
        Family::gauge("node_disk_ata_write_cache_enabled", "Whether the write cache is on."),
        "ID_ATA_WRITE_CACHE_ENABLED",
    ),
];

/// Properties of udev that are shown; a disk has some fifty.
const PROPERTIES: [&str; 19] = [
    "DM_LV_LAYER",
    "DM_LV_NAME",
    "DM_NAME",
    "DM_UUID",
    "DM_VG_NAME",
    "ID_ATA_ROTATION_RATE_RPM",
    "ID_ATA_WRITE_CACHE",
    "ID_ATA_WRITE_CACHE_ENABLED",
    "ID_FS_TYPE",
    "ID_FS_USAGE",
    "ID_FS_UUID",
    "ID_FS_VERSION",
    "ID_MODEL",
    "ID_PATH",
    "ID_REVISION",
    "ID_SERIAL_SHORT",
    "ID_WWN",
    "ID_WWN_WITH_EXTENSION",
    "SCSI_IDENT_SERIAL",
];

/// How long the identity of a disk is believed: longer than it takes to notice a new label, and
/// so long that reading it costs nothing.
const KEPT_MS: i64 = 60_000;

/// Counters of disks.
#[derive(Debug)]
pub struct Diskstats {
    options: Disks,
    bytes: Vec<u8>,
    known: HashMap<String, Identity>,
}

impl Diskstats {
    /// One that leaves out what `options` says.
    pub fn new(options: &Disks) -> Self {
        Self { options: options.clone(), bytes: Vec::new(), known: HashMap::new() }
    }
}

impl Collector for Diskstats {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        if !read_if_there(host, PATH, &mut self.bytes)? {
            return Ok(Status::Absent);
        }
        let now_ms = host.now_ms();
        let mut before = std::mem::take(&mut self.known);
        for device in diskstats::parse(&self.bytes) {
            let device = device.map_err(CollectError::parse(PATH))?;
            if !self.options.has(device.name) {
                continue;
            }
            let count = self.known.len() + 1;
            if count > DEVICES_MAX {
                return Err(CollectError::Limit { what: "disks", count, max: DEVICES_MAX });
            }
            for (at, (family, factor)) in COLUMNS.iter().enumerate() {
                if let Some(value) = device.column(at) {
                    out.push(family, &[("device", device.name)], value as f64 * factor);
                }
            }
            let identity = before
                .remove(device.name)
                .filter(|identity| identity.is_of(&device, now_ms))
                .map(|known| Identity { reads: device.column(0), ..known })
                .unwrap_or_else(|| Identity::read(host, &device, now_ms));
            identity.push(&device, out);
            self.known.insert(device.name.to_owned(), identity);
        }
        Ok(Status::Collected)
    }
}

impl Disks {
    /// Whether the user wants to know of this block device.
    fn has(&self, name: &str) -> bool {
        is_wanted(&self.include, &self.exclude, name, || is_left_out(name))
    }
}

/// Partitions and devices that are no disks.
fn is_left_out(name: &str) -> bool {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if stem.len() == name.len() {
        return false;
    }
    if matches!(stem, "ram" | "zram" | "loop" | "fd") {
        return true;
    }
    let letters = ["xvd", "hd", "sd", "vd"].iter().find_map(|prefix| stem.strip_prefix(prefix));
    if letters.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_lowercase()))
    {
        return true;
    }
    (stem.starts_with("nvme") || stem.starts_with("mmcblk")) && stem.ends_with('p')
}

/// What udev and sysfs say of a disk, kept from one round to the next.
#[derive(Debug)]
struct Identity {
    number: (u64, u64),
    reads: Option<u64>,
    read_ms: i64,
    rotational: String,
    /// The properties that are wanted.
    udev: Vec<(&'static str, String)>,
}

impl Identity {
    fn read(host: &dyn Host, device: &diskstats::Device<'_>, now_ms: i64) -> Self {
        let (major, minor) = (device.major, device.minor);
        let udev = host.text(&format!("/run/udev/data/b{major}:{minor}")).unwrap_or_default();
        let property = |line: &str| {
            let (key, value) = line.strip_prefix("E:")?.split_once('=')?;
            Some((*PROPERTIES.iter().find(|wanted| **wanted == key)?, value.to_owned()))
        };
        // The kernel writes a device such as `cciss/c0d0` with a `!` in its folders.
        let name = device.name.replace('/', "!");
        let rotational = host.text(&format!("/sys/block/{name}/queue/rotational"));
        Self {
            number: (major, minor),
            reads: device.column(0),
            read_ms: now_ms,
            rotational: rotational.unwrap_or_default().trim().to_owned(),
            udev: udev.lines().filter_map(property).collect(),
        }
    }

    /// Whether this is still what is known of `device`, rather than of another disk that had its
    /// name: counters start anew with a disk.
    fn is_of(&self, device: &diskstats::Device<'_>, now_ms: i64) -> bool {
        self.number == (device.major, device.minor)
            && device.column(0) >= self.reads
            && (self.read_ms..self.read_ms.saturating_add(KEPT_MS)).contains(&now_ms)
            // udev may be busy with a disk that has just come.
            && !self.udev.is_empty()
    }

    fn get(&self, key: &str) -> &str {
        self.udev.iter().find(|(known, _)| *known == key).map_or("", |(_, value)| value)
    }

    fn push(&self, device: &diskstats::Device<'_>, out: &mut Batch) {
        let first = |keys: [&str; 2]| {
            keys.iter().map(|key| self.get(key)).find(|value| !value.is_empty()).unwrap_or_default()
        };
        let (major, minor) = (device.major.to_string(), device.minor.to_string());
        let name = ("device", device.name);
        let labels = [
            name,
            ("major", &major),
            ("minor", &minor),
            ("model", self.get("ID_MODEL")),
            ("path", self.get("ID_PATH")),
            ("revision", self.get("ID_REVISION")),
            ("rotational", &self.rotational),
            ("serial", first(["SCSI_IDENT_SERIAL", "ID_SERIAL_SHORT"])),
            ("wwn", first(["ID_WWN_WITH_EXTENSION", "ID_WWN"])),
        ];
        out.push(&INFO, &labels, 1.0);
        if !self.get("ID_FS_TYPE").is_empty() {
            let labels = [
                name,
                ("type", self.get("ID_FS_TYPE")),
                ("usage", self.get("ID_FS_USAGE")),
                ("uuid", self.get("ID_FS_UUID")),
                ("version", self.get("ID_FS_VERSION")),
            ];
            out.push(&FILESYSTEM_INFO, &labels, 1.0);
        }
        if !self.get("DM_NAME").is_empty() {
            let labels = [
                name,
                ("lv_layer", self.get("DM_LV_LAYER")),
                ("lv_name", self.get("DM_LV_NAME")),
                ("name", self.get("DM_NAME")),
                ("uuid", self.get("DM_UUID")),
                ("vg_name", self.get("DM_VG_NAME")),
            ];
            out.push(&MAPPER_INFO, &labels, 1.0);
        }
        for (family, key) in &ATA {
            if let Some(value) = number(self.get(key).as_bytes()) {
                out.push(family, &[name], value as f64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_disks_stay_and_partitions_go() {
        for name in ["sda", "sdaa", "nvme0n1", "dm-0", "md127", "vda", "rbd0", "mmcblk0", "sr0"] {
            assert!(!is_left_out(name), "{name}");
        }
        for name in
            ["sda1", "sdaa12", "nvme0n1p3", "loop7", "ram0", "zram0", "fd0", "xvda1", "mmcblk0p1"]
        {
            assert!(is_left_out(name), "{name}");
        }
    }
}
