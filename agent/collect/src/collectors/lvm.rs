//! Thin pools of LVM: how full they are, and how they are doing.
//!
//! - Reads: which devices are thin pools, out of `/sys/block/dm-*/dm/uuid`; then `dmsetup status`. That
//!   asks the kernel alone: `lvs` takes LVM's locks and reads of every disk, which wakes those that sleep.
//! - Absent when there is no thin pool of LVM, or only the host of this container can ask for it. Needs
//!   root where there is one.
//! - Emits: `labstat_lvm_thin_pool_*`, whose ratios are what `lvs` calls `data_percent` and
//!   `metadata_percent`.
//! - Not here: volumes and groups, and thin pools of others.

use std::time::Duration;

use labstat_model::{Batch, Family};
use labstat_parse::dmsetup::{self, Mode, ThinPool};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::{Host, RunError};
use crate::shared::answer_of;

const BLOCK: &str = "/sys/block";
const PROGRAM: &str = "dmsetup";
/// Without `--noflush`, asking writes what a pool has in memory.
const ARGUMENTS: [&str; 4] = ["status", "--target", "thin-pool", "--noflush"];

/// The kernel answers at once, unless another program holds the device mapper.
const DEADLINE: Duration = Duration::from_secs(10);

/// What `dmsetup` asks the kernel through.
const CONTROL: &str = "/dev/mapper/control:";

/// What stands around the id of a thin pool that LVM made.
const UUID_START: &str = "LVM-";
const UUID_END: &str = "-tpool";

static SIZE: Family =
    Family::gauge("labstat_lvm_thin_pool_size_bytes", "Bytes of data that the thin pool can hold.");
static DATA: Family = Family::gauge(
    "labstat_lvm_thin_pool_data_used_ratio",
    "How much of the thin pool's space for data is used, from 0 to 1.",
);
static METADATA: Family = Family::gauge(
    "labstat_lvm_thin_pool_metadata_used_ratio",
    "How much of the thin pool's space for metadata is used, from 0 to 1.",
);
static STATE: Family =
    Family::gauge("labstat_lvm_thin_pool_state", "Whether the thin pool is in this state.");
static NEEDS_CHECK: Family = Family::gauge(
    "labstat_lvm_thin_pool_needs_check",
    "Whether the thin pool's metadata is damaged and waits for a repair.",
);

/// Thin pools of LVM.
#[derive(Debug)]
pub struct Lvm;

impl Collector for Lvm {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let devices = devices(host)?;
        if devices.is_empty() {
            return Ok(Status::Absent);
        }
        let answer = match answer_of(host, PROGRAM, &ARGUMENTS, DEADLINE) {
            Err(CollectError::Run { cause, .. }) if is_out_of_reach(&cause) => {
                return Ok(Status::Absent);
            }
            answer => answer?,
        };
        let pools = dmsetup::thin_pools(&answer).map_err(CollectError::parse("dmsetup status"))?;
        for pool in pools.iter().filter(|pool| devices.contains(&pool.device)) {
            push(pool, out);
        }
        Ok(Status::Collected)
    }
}

/// Whether the pools are somebody else's: a container sees the devices of its host, and has neither
/// the program nor the way to the kernel. Without the right to ask it is a failure.
fn is_out_of_reach(cause: &RunError) -> bool {
    match cause {
        RunError::NotFound => true,
        RunError::Earlier(said) => said.starts_with(CONTROL) && !said.contains("Permission denied"),
        _ => false,
    }
}

/// The names of the devices that are thin pools of LVM.
fn devices(host: &dyn Host) -> Result<Vec<String>, CollectError> {
    let names = match host.list(BLOCK) {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        result => result.map_err(CollectError::read(BLOCK))?,
    };
    let mut devices = Vec::new();
    for name in names.iter().filter(|name| name.starts_with("dm-")) {
        let file = |file: &str| {
            let path = format!("{BLOCK}/{name}/dm/{file}");
            match host.text(&path) {
                // A device may go while it is looked at.
                Err(error) if is_absent(&error) => Ok(String::new()),
                result => result.map_err(CollectError::read(&path)),
            }
        };
        let uuid = file("uuid")?;
        if uuid.starts_with(UUID_START) && uuid.trim_end().ends_with(UUID_END) {
            devices.push(file("name")?.trim_end().to_owned());
        }
    }
    Ok(devices)
}

fn push(pool: &ThinPool, out: &mut Batch) {
    let (group, name) =
        dmsetup::volume(&pool.device).unwrap_or_else(|| (String::new(), pool.device.clone()));
    let labels = [("pool", name.as_str()), ("vg", &group)];
    out.push(&SIZE, &labels, pool.size_bytes as f64);
    for (family, blocks) in [(&DATA, pool.data), (&METADATA, pool.metadata)] {
        if let Some((used, all)) = blocks {
            out.push(family, &labels, used as f64 / all as f64);
        }
    }
    if let Some(needs_check) = pool.needs_check {
        out.push(&NEEDS_CHECK, &labels, f64::from(u8::from(needs_check)));
    }
    for mode in Mode::ALL {
        let labels = [("pool", name.as_str()), ("state", mode.as_str()), ("vg", &group)];
        out.push(&STATE, &labels, f64::from(u8::from(mode == pool.mode)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_of_a_containers_host_are_absent_and_a_missing_right_is_a_failure() {
        let said = |text: &str| is_out_of_reach(&RunError::Earlier(text.to_owned()));
        assert!(is_out_of_reach(&RunError::NotFound));
        assert!(said("/dev/mapper/control: open failed: Operation not permitted"));
        assert!(said("/dev/mapper/control: mknod failed: No such file or directory"));
        assert!(!said("/dev/mapper/control: open failed: Permission denied"));
        assert!(!said("Command failed."));
    }
}
