//! Filesystems of type btrfs: what is allocated how, commits, and errors of their devices.
//!
//! - Reads: `/sys/fs/btrfs/UUID/`: `label`, `allocation`, `commit_stats`, `devices`, `devinfo`.
//! - Absent when no such filesystem is mounted.
//! - Emits: `node_btrfs_*`; of devices, which the kernel numbers here and does not name, their errors and
//!   whether they are missing as `labstat_btrfs_device_*{devid}`.
//! - Left out: what needs an ioctl (free space of one device), and scrubs.

use labstat_model::{Batch, Family};
use labstat_parse::proc::{cgroup, number, trimmed};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;
use crate::shared::outcome;

const ROOT: &str = "/sys/fs/btrfs";

/// Filesystems of one machine, and devices of one filesystem.
const FILESYSTEMS_MAX: usize = 256;
const DEVICES_MAX: usize = 1024;

const SECTOR_LEN: f64 = 512.0;

static INFO: Family = Family::gauge("node_btrfs_info", "Filesystem information");
static RESERVE: Family =
    Family::gauge("node_btrfs_global_rsv_size_bytes", "Size of global reserve.");
static RESERVED: Family =
    Family::gauge("node_btrfs_reserved_bytes", "Amount of space reserved for a data type");
static USED: Family =
    Family::gauge("node_btrfs_used_bytes", "Amount of used space by a layout/data type");
static SIZE: Family =
    Family::gauge("node_btrfs_size_bytes", "Amount of space allocated for a layout/data type");
static RATIO: Family =
    Family::gauge("node_btrfs_allocation_ratio", "Data allocation ratio for a layout/data type");
static DEVICE_SIZE: Family = Family::gauge(
    "node_btrfs_device_size_bytes",
    "Size of a device that is part of the filesystem.",
);
static COMMITS: Family =
    Family::counter("node_btrfs_commits_total", "The total number of commits that have occurred.");
static LAST_COMMIT: Family = Family::gauge(
    "node_btrfs_last_commit_seconds",
    "Duration of the most recent commit, in seconds.",
);
static MAX_COMMIT: Family =
    Family::gauge("node_btrfs_max_commit_seconds", "Duration of the slowest commit, in seconds.");
static COMMIT_TIME: Family = Family::counter(
    "node_btrfs_commit_seconds_total",
    "Sum of the duration of all commits, in seconds.",
);
static ERRORS: Family = Family::counter(
    "labstat_btrfs_device_errors_total",
    "Errors of a device of the filesystem; kept over a new start until they are reset.",
);
static MISSING: Family = Family::gauge(
    "labstat_btrfs_device_missing",
    "Whether the filesystem runs without this device, which it should have.",
);

/// Words of `commit_stats`, and what their numbers are divided by.
static COMMIT_STATS: [(&str, &Family, f64); 4] = [
    ("commits", &COMMITS, 1.0),
    ("last_commit_ms", &LAST_COMMIT, 1000.0),
    ("max_commit_ms", &MAX_COMMIT, 1000.0),
    ("total_commit_ms", &COMMIT_TIME, 1000.0),
];

/// Words of `error_stats` and their labels.
const ERROR_STATS: [(&str, &str); 5] = [
    ("corruption_errs", "corruption"),
    ("flush_errs", "flush"),
    ("generation_errs", "generation"),
    ("read_errs", "read"),
    ("write_errs", "write"),
];

/// Filesystems of type btrfs.
#[derive(Debug, Default)]
pub struct Btrfs(Vec<u8>);

impl Collector for Btrfs {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let names = match host.list(ROOT) {
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            result => result.map_err(CollectError::read(ROOT))?,
        };
        if names.len() > FILESYSTEMS_MAX {
            let (what, count) = ("btrfs filesystems", names.len());
            return Err(CollectError::Limit { what, count, max: FILESYSTEMS_MAX });
        }
        for uuid in &names {
            // Beside filesystems there is what the kernel's module can do.
            let folder = format!("{ROOT}/{uuid}");
            if self.read(host, &format!("{folder}/label"))? {
                let label = String::from_utf8_lossy(&self.0);
                out.push(&INFO, &[("label", label.trim_end_matches('\n')), ("uuid", uuid)], 1.0);
                self.push(host, &folder, uuid, out)?;
            }
        }
        Ok(outcome(out))
    }
}

impl Btrfs {
    fn push(
        &mut self,
        host: &dyn Host,
        folder: &str,
        uuid: &str,
        out: &mut Batch,
    ) -> Result<(), CollectError> {
        let devices = list(host, &format!("{folder}/devices"))?;
        if devices.len() > DEVICES_MAX {
            let (what, count) = ("devices of a btrfs filesystem", devices.len());
            return Err(CollectError::Limit { what, count, max: DEVICES_MAX });
        }
        for device in &devices {
            if let Some(sectors) = self.number(host, &format!("{folder}/devices/{device}/size"))? {
                let labels = [("device", device.as_str()), ("uuid", uuid)];
                out.push(&DEVICE_SIZE, &labels, sectors as f64 * SECTOR_LEN);
            }
        }
        if let Some(size) = self.number(host, &format!("{folder}/allocation/global_rsv_size"))? {
            out.push(&RESERVE, &[("uuid", uuid)], size as f64);
        }
        for kind in ["data", "metadata", "system"] {
            self.push_allocation(host, folder, (kind, devices.len()), uuid, out)?;
        }
        let path = format!("{folder}/commit_stats");
        if self.read(host, &path)? {
            for line in cgroup::flat(&self.0) {
                let (word, value) =
                    line.map_err(|cause| CollectError::parse(path.clone())(cause))?;
                let known = COMMIT_STATS.iter().find(|(key, ..)| key.as_bytes() == word);
                if let Some((_, family, parts)) = known {
                    out.push(family, &[("uuid", uuid)], value as f64 / parts);
                }
            }
        }
        for id in list(host, &format!("{folder}/devinfo"))? {
            self.push_device(host, &format!("{folder}/devinfo/{id}"), &id, uuid, out)?;
        }
        Ok(())
    }

    fn push_allocation(
        &mut self,
        host: &dyn Host,
        folder: &str,
        (kind, devices): (&str, usize),
        uuid: &str,
        out: &mut Batch,
    ) -> Result<(), CollectError> {
        let folder = format!("{folder}/allocation/{kind}");
        if let Some(bytes) = self.number(host, &format!("{folder}/bytes_reserved"))? {
            let labels = [("block_group_type", kind), ("uuid", uuid)];
            out.push(&RESERVED, &labels, bytes as f64);
        }
        for mode in list(host, &folder)? {
            let Some(ratio) = ratio(&mode, devices) else { continue };
            let labels = [("block_group_type", kind), ("mode", mode.as_str()), ("uuid", uuid)];
            for (file, family) in [("used_bytes", &USED), ("total_bytes", &SIZE)] {
                if let Some(bytes) = self.number(host, &format!("{folder}/{mode}/{file}"))? {
                    out.push(family, &labels, bytes as f64);
                }
            }
            out.push(&RATIO, &labels, ratio);
        }
        Ok(())
    }

    fn push_device(
        &mut self,
        host: &dyn Host,
        folder: &str,
        id: &str,
        uuid: &str,
        out: &mut Batch,
    ) -> Result<(), CollectError> {
        if let Some(missing) = self.number(host, &format!("{folder}/missing"))? {
            out.push(&MISSING, &[("devid", id), ("uuid", uuid)], missing as f64);
        }
        // A device whose errors were not read at mount says `invalid`.
        let path = format!("{folder}/error_stats");
        if !self.read(host, &path)? || trimmed(&self.0) == b"invalid" {
            return Ok(());
        }
        for line in cgroup::flat(&self.0) {
            let (word, value) = line.map_err(|cause| CollectError::parse(path.clone())(cause))?;
            let known = ERROR_STATS.iter().find(|(key, _)| key.as_bytes() == word);
            if let Some((_, kind)) = known {
                let labels = [("devid", id), ("type", kind), ("uuid", uuid)];
                out.push(&ERRORS, &labels, value as f64);
            }
        }
        Ok(())
    }

    /// Reads a file that an older kernel, or a filesystem that is being unmounted, has not.
    fn read(&mut self, host: &dyn Host, path: &str) -> Result<bool, CollectError> {
        crate::shared::read_if_there(host, path, &mut self.0)
    }

    fn number(&mut self, host: &dyn Host, path: &str) -> Result<Option<u64>, CollectError> {
        if !self.read(host, path)? {
            return Ok(None);
        }
        let text = trimmed(&self.0);
        number(text).map(Some).ok_or_else(|| CollectError::no_number(path.to_owned(), text))
    }
}

fn list(host: &dyn Host, folder: &str) -> Result<Vec<String>, CollectError> {
    match host.list(folder) {
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        result => result.map_err(CollectError::read(folder)),
    }
}

/// Bytes of disks that a byte of data takes; absent for what is no layout.
fn ratio(mode: &str, devices: usize) -> Option<f64> {
    let devices = devices as f64;
    match mode {
        "single" | "raid0" => Some(1.0),
        "dup" | "raid1" | "raid10" => Some(2.0),
        "raid1c3" => Some(3.0),
        "raid1c4" => Some(4.0),
        "raid5" if devices > 1.0 => Some(devices / (devices - 1.0)),
        "raid6" if devices > 2.0 => Some(devices / (devices - 2.0)),
        _ => None,
    }
}
