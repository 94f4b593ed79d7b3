//! ZFS by the kernel's own statistics.
//!
//! - Reads: `/proc/spl/kstat/zfs`: `arcstats` and its like, and of each pool `state`, `io` and `objset-*`.
//! - Absent when ZFS is not loaded.
//! - Emits: `node_zfs_*`.
//! - Not here: errors and scrubs, which only `zpool` knows ([`super::zpool`]).

use labstat_model::{Batch, Family, Kind, is_metric_name};
use labstat_parse::proc::trimmed;
use labstat_parse::zfs::{self, Value};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;
use crate::shared::{FamiliesByName, not_understood, read_if_there};

/// Where the statistics are.
pub(super) const KSTAT: &str = "/proc/spl/kstat/zfs";

/// Files of the whole of ZFS and what their metrics begin with.
const SECTIONS: [(&str, &str); 11] = [
    ("abdstats", "abd"),
    ("arcstats", "arc"),
    ("dbufstats", "dbuf"),
    ("dmu_tx", "dmu_tx"),
    ("dnodestats", "dnode"),
    ("fm", "fm"),
    ("vdev_cache_stats", "vdev_cache"),
    ("vdev_mirror_stats", "vdev_mirror"),
    ("xuio_stats", "xuio"),
    ("zfetchstats", "zfetch"),
    ("zil", "zil"),
];

/// States that a pool may be in.
const STATES: [&str; 7] =
    ["degraded", "faulted", "offline", "online", "removed", "suspended", "unavail"];

/// Pools of one machine, and datasets of one pool.
const POOLS_MAX: usize = 128;
const DATASETS_MAX: usize = 16_384;

static STATE: Family = Family::gauge("node_zfs_zpool_state", "kstat.zfs.misc.state");

/// ZFS by the kernel's own statistics.
#[derive(Debug, Default)]
pub struct Zfs {
    bytes: Vec<u8>,
    sections: [FamiliesByName; SECTIONS.len()],
    io: FamiliesByName,
    datasets: FamiliesByName,
}

impl Collector for Zfs {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let names = match host.list(KSTAT) {
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            result => result.map_err(CollectError::read(KSTAT))?,
        };
        for ((file, prefix), families) in SECTIONS.iter().zip(&mut self.sections) {
            let path = format!("{KSTAT}/{file}");
            if !read_if_there(host, &path, &mut self.bytes)? {
                continue;
            }
            let mut at = 0;
            for line in zfs::named(&self.bytes) {
                let (key, found) =
                    line.map_err(|cause| CollectError::parse(path.clone())(cause))?;
                let Value::Number(number) = found else { continue };
                if push(families, at, "zfs", prefix, (file, key), &[], number, out) {
                    at += 1;
                }
            }
        }
        for pool in pools(host, &names)? {
            self.push_pool(host, &pool, out)?;
        }
        Ok(Status::Collected)
    }
}

/// The pools: folders among the files.
pub(super) fn pools(host: &dyn Host, names: &[String]) -> Result<Vec<String>, CollectError> {
    let is_section = |name: &&String| SECTIONS.iter().any(|(file, _)| file == name);
    let mut pools = Vec::new();
    for name in names.iter().filter(|name| !is_section(name)) {
        let path = format!("{KSTAT}/{name}");
        match host.list(&path) {
            // A file, or a pool that went since the folder was listed.
            Err(error) if is_absent(&error) => {}
            Err(cause) => return Err(CollectError::Read { from: path, cause }),
            Ok(_) => pools.push(name.clone()),
        }
    }
    if pools.len() > POOLS_MAX {
        return Err(CollectError::Limit { what: "pools", count: pools.len(), max: POOLS_MAX });
    }
    Ok(pools)
}

impl Zfs {
    fn push_pool(
        &mut self,
        host: &dyn Host,
        pool: &str,
        out: &mut Batch,
    ) -> Result<(), CollectError> {
        let folder = format!("{KSTAT}/{pool}");
        if read_if_there(host, &format!("{folder}/state"), &mut self.bytes)? {
            let text = String::from_utf8_lossy(trimmed(&self.bytes)).to_ascii_lowercase();
            if !STATES.contains(&text.as_str()) {
                return Err(not_understood(format!("{folder}/state"), &text));
            }
            for state in STATES {
                let labels = [("state", state), ("zpool", pool)];
                out.push(&STATE, &labels, f64::from(u8::from(state == text)));
            }
        }
        let path = format!("{folder}/io");
        if read_if_there(host, &path, &mut self.bytes)? {
            let all = zfs::io(&self.bytes).map_err(CollectError::parse(path))?;
            for (at, (key, number)) in all.into_iter().enumerate() {
                let labels = [("zpool", pool)];
                push(&mut self.io, at, "zfs", "zpool", ("io", key), &labels, number as f64, out);
            }
        }
        // A pool that is exported meanwhile has nothing any more.
        let names = host.list(&folder).unwrap_or_default();
        let datasets: Vec<_> = names.iter().filter(|name| name.starts_with("objset-")).collect();
        if datasets.len() > DATASETS_MAX {
            let count = datasets.len();
            return Err(CollectError::Limit { what: "datasets", count, max: DATASETS_MAX });
        }
        for name in datasets {
            let path = format!("{folder}/{name}");
            if read_if_there(host, &path, &mut self.bytes)? {
                self.push_dataset(&path, pool, out)?;
            }
        }
        Ok(())
    }

    fn push_dataset(
        &mut self,
        path: &str,
        pool: &str,
        out: &mut Batch,
    ) -> Result<(), CollectError> {
        let mut dataset = None;
        let mut at = 0;
        for line in zfs::named(&self.bytes) {
            match line.map_err(|cause| CollectError::parse(path.to_owned())(cause))? {
                ("dataset_name", Value::Text(name)) => dataset = Some(name),
                (key, Value::Number(number)) => {
                    // Its name comes first; without one nothing can be told of it.
                    let Some(dataset) = dataset else { continue };
                    let labels = [("dataset", dataset), ("zpool", pool)];
                    let source = ("objset", key);
                    let families = &mut self.datasets;
                    if push(families, at, "zfs_zpool", "dataset", source, &labels, number, out) {
                        at += 1;
                    }
                }
                (_, Value::Text(_)) => {}
            }
        }
        Ok(())
    }
}

/// Adds a statistic, unless a metric cannot have its name; whether it did.
#[expect(clippy::too_many_arguments, reason = "a name of three parts, and a sample")]
fn push(
    families: &mut FamiliesByName,
    at: usize,
    namespace: &str,
    prefix: &str,
    (file, key): (&str, &str),
    labels: &[(&str, &str)],
    value: f64,
    out: &mut Batch,
) -> bool {
    if !is_metric_name(key) {
        return false;
    }
    let make = || {
        let name = format!("node_{namespace}_{prefix}_{key}");
        Family::dynamic(name, Kind::Untyped, format!("kstat.zfs.misc.{file}.{key}"))
    };
    families.get(at, key, "", make).is_some_and(|family| {
        out.push(family, labels, value);
        true
    })
}
