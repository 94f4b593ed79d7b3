//! Counters and identity of block devices.
//!
//! - Reads: `/proc/diskstats`; per whole disk its entry in udev's data and two files of sysfs.
//! - Absent when there is no `/proc/diskstats` (containers).
//! - Emits: `node_disk_*`; columns the kernel lacks are not emitted.
//! - Left out: partitions, RAM disks, loop and floppy devices. Not here: health ([`crate::smartctl`]).

use std::fmt::Write;

use labstat_model::{Batch, Family};
use labstat_parse::proc::diskstats::{self, COLUMNS_MAX};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;
use crate::options::Disks;

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

/// Counters of disks.
#[derive(Debug)]
pub struct Diskstats {
    options: Disks,
    bytes: Vec<u8>,
    udev: Vec<u8>,
}

impl Diskstats {
    /// One that leaves out what `options` says.
    pub fn new(options: &Disks) -> Self {
        Self { options: options.clone(), bytes: Vec::new(), udev: Vec::new() }
    }
}

impl Collector for Diskstats {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        match host.read_into(PATH, &mut self.bytes) {
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            result => result.map_err(CollectError::read(PATH))?,
        }
        let mut count = 0;
        for device in diskstats::parse(&self.bytes) {
            let device = device.map_err(CollectError::parse(PATH))?;
            if is_left_out(device.name) || self.options.exclude.iter().any(|n| n == device.name) {
                continue;
            }
            count += 1;
            if count > DEVICES_MAX {
                return Err(CollectError::Limit { what: "disks", count, max: DEVICES_MAX });
            }
            for (at, (family, factor)) in COLUMNS.iter().enumerate() {
                if let Some(value) = device.column(at) {
                    out.push(family, &[("device", device.name)], value as f64 * factor);
                }
            }
            push_info(host, &device, &mut self.udev, out);
        }
        Ok(Status::Collected)
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

fn push_info(
    host: &dyn Host,
    device: &diskstats::Device<'_>,
    bytes: &mut Vec<u8>,
    out: &mut Batch,
) {
    let (major, minor) = (device.major.to_string(), device.minor.to_string());
    let mut path = String::new();
    // Writing to a String cannot fail.
    let _ = write!(path, "/run/udev/data/b{major}:{minor}");
    let udev = match host.read_into(&path, bytes) {
        Ok(()) => String::from_utf8_lossy(bytes).into_owned(),
        Err(_) => String::new(),
    };
    let get = |keys: &[&str]| {
        keys.iter()
            .find_map(|key| {
                let mut lines = udev.lines().filter_map(|line| line.strip_prefix("E:"));
                lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            })
            .unwrap_or_default()
    };
    path.clear();
    let _ = write!(path, "/sys/block/{}/queue/rotational", device.name);
    let rotational = host.text(&path).unwrap_or_default();
    let labels = [
        ("device", device.name),
        ("major", &major),
        ("minor", &minor),
        ("model", get(&["ID_MODEL"])),
        ("path", get(&["ID_PATH"])),
        ("revision", get(&["ID_REVISION"])),
        ("rotational", rotational.trim()),
        ("serial", get(&["SCSI_IDENT_SERIAL", "ID_SERIAL_SHORT"])),
        ("wwn", get(&["ID_WWN_WITH_EXTENSION", "ID_WWN"])),
    ];
    out.push(&INFO, &labels, 1.0);
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
