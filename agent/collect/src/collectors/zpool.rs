//! Errors and scrubs of ZFS pools.
//!
//! - Reads: whether there are pools, out of `/proc/spl/kstat/zfs`; then `zpool status -p`, whose times are
//!   those of the time zone it runs in: UTC, by `env`.
//! - Absent when there is no pool, or no `zpool`, as in a container that sees its machine's pools.
//! - Emits: `labstat_zfs_*`.
//! - Not here: state and throughput of pools, which the kernel says ([`super::zfs`]).

use std::collections::BTreeSet;
use std::time::Duration;

use labstat_model::{Batch, Family};
use labstat_parse::zfs::{self as parse, Function, Pool, ScanState};

use super::zfs::{KSTAT, pools};
use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;
use crate::shared::answer;

const PROGRAM: &str = "env";
const ARGUMENTS: [&str; 4] = ["TZ=UTC", "zpool", "status", "-p"];

/// `zpool` waits for ever for a pool that is suspended.
const DEADLINE: Duration = Duration::from_secs(20);

/// The exit status of `env` when there is no such program.
const NO_PROGRAM: i32 = 127;

static DATA_ERRORS: Family = Family::gauge(
    "labstat_zfs_data_errors",
    "Files and other data of the pool that are damaged for good.",
);
static VDEV: Family =
    Family::gauge("labstat_zfs_vdev_info", "State of a device of the pool; always 1.");
static VDEV_ERRORS: Family = Family::counter(
    "labstat_zfs_vdev_errors_total",
    "Errors of a device of the pool since the pool was imported or they were cleared.",
);
static SCAN: Family = Family::gauge(
    "labstat_zfs_scan_info",
    "The last scrub or resilver of the pool and how it is doing; always 1.",
);
static SCAN_ERRORS: Family =
    Family::gauge("labstat_zfs_scan_errors", "What the last scrub or resilver could not repair.");
static SCAN_DONE: Family = Family::gauge(
    "labstat_zfs_scan_done_ratio",
    "How much of the scrub or resilver is done, from 0 to 1.",
);
static SCRUB_END: Family = Family::gauge(
    "labstat_zfs_scrub_end_timestamp_seconds",
    "When the pool was last scrubbed; absent when it was resilvered since.",
);

/// Errors and scrubs of ZFS pools.
#[derive(Debug)]
pub struct Zpool;

impl Collector for Zpool {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let names = match host.list(KSTAT) {
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            result => result.map_err(CollectError::read(KSTAT))?,
        };
        if pools(host, &names)?.is_empty() {
            return Ok(Status::Absent);
        }
        let failed = |cause| CollectError::Run { command: ARGUMENTS[1..].join(" "), cause };
        let output = host.run(PROGRAM, &ARGUMENTS, DEADLINE).map_err(failed)?;
        if output.status == Some(NO_PROGRAM) {
            return Ok(Status::Absent);
        }
        let printed = answer(output).map_err(failed)?;
        let pools = parse::status(&printed).map_err(CollectError::parse("zpool status"))?;
        for pool in &pools {
            push(pool, out);
        }
        Ok(Status::Collected)
    }
}

fn push(pool: &Pool, out: &mut Batch) {
    let zpool = ("zpool", pool.name.as_str());
    if let Some(errors) = pool.data_errors {
        out.push(&DATA_ERRORS, &[zpool], errors as f64);
    }
    push_scan(pool, out);
    let mut seen = BTreeSet::new();
    for vdev in &pool.vdevs {
        let (role, name) = (("role", vdev.role), ("vdev", vdev.name.as_str()));
        if !seen.insert((vdev.role, &vdev.name)) {
            continue;
        }
        let state = vdev.state.to_ascii_lowercase();
        out.push(&VDEV, &[role, ("state", &state), name, zpool], 1.0);
        for (kind, count) in ["read", "write", "checksum"].iter().zip(vdev.errors.iter().flatten())
        {
            out.push(&VDEV_ERRORS, &[role, ("type", kind), name, zpool], *count as f64);
        }
    }
}

fn push_scan(pool: &Pool, out: &mut Batch) {
    let zpool = ("zpool", pool.name.as_str());
    let Some(scan) = &pool.scan else {
        if pool.never_scanned {
            out.push(&SCAN, &[("function", "none"), ("state", "none"), zpool], 1.0);
        }
        return;
    };
    let function = match scan.function {
        Function::Scrub => "scrub",
        Function::Resilver => "resilver",
    };
    let state = match scan.state {
        ScanState::Finished => "finished",
        ScanState::Canceled => "canceled",
        ScanState::Running => "running",
        ScanState::Paused => "paused",
    };
    out.push(&SCAN, &[("function", function), ("state", state), zpool], 1.0);
    if let Some(errors) = scan.errors {
        out.push(&SCAN_ERRORS, &[zpool], errors as f64);
    }
    if let Some(done) = scan.done_ratio {
        out.push(&SCAN_DONE, &[zpool], done);
    }
    if let (Function::Scrub, ScanState::Finished, Some(at_s)) =
        (scan.function, scan.state, scan.at_s)
    {
        out.push(&SCRUB_END, &[zpool], at_s as f64);
    }
}
