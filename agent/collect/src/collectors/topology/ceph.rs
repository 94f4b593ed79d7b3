//! Which devices the OSDs of this node have.
//!
//! Reads the folders of OSDs, in which links lead to devices: `block` to the data, `block.db` and
//! `block.wal` to what is kept apart. Not here: whether they run ([`crate::collectors::ceph`]).

use crate::host::Host;

/// Where OSDs have their folders, `ceph-3`; below the cluster's when they run in containers, `osd.3`.
const OSDS: &str = "/var/lib/ceph/osd";
const CEPH: &str = "/var/lib/ceph";

/// OSDs of one node. A large disk shelf has a hundred.
const OSDS_MAX: usize = 512;

/// Links to devices and what those are to the OSD.
const LINKS: [(&str, &str); 3] = [("block", "block"), ("block.db", "db"), ("block.wal", "wal")];

/// A device of an OSD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) id: u64,
    pub(super) role: &'static str,
    /// The path of the device.
    pub(super) device: String,
}

/// The devices of all OSDs.
pub(super) fn parts(host: &dyn Host) -> Vec<Part> {
    let mut found = Vec::new();
    for dir in folders(host).into_iter().take(OSDS_MAX) {
        let Some(id) = id(host, &dir) else { continue };
        for (link, role) in LINKS {
            if let Ok(device) = host.link(&format!("{dir}/{link}")) {
                found.push(Part { id, role, device });
            }
        }
    }
    found
}

fn folders(host: &dyn Host) -> Vec<String> {
    let plain = host.list(OSDS).unwrap_or_default();
    let mut folders: Vec<String> = plain.iter().map(|name| format!("{OSDS}/{name}")).collect();
    let is_cluster = |name: &&String| name.len() == 36 && name.split('-').count() == 5;
    for cluster in host.list(CEPH).unwrap_or_default().iter().filter(is_cluster) {
        let names = host.list(&format!("{CEPH}/{cluster}")).unwrap_or_default();
        let osds = names.iter().filter(|name| name.starts_with("osd."));
        folders.extend(osds.map(|name| format!("{CEPH}/{cluster}/{name}")));
    }
    folders
}

/// The number in `whoami`, or else of the folder's name.
fn id(host: &dyn Host, dir: &str) -> Option<u64> {
    let whoami = host.text(&format!("{dir}/whoami")).unwrap_or_default();
    whoami.trim().parse().ok().or_else(|| dir.rsplit(['-', '.']).next()?.parse().ok())
}

/// What a volume is to an OSD, by the names that ceph-volume gives.
pub(super) fn role_of_volume(group: &str, volume: &str) -> Option<&'static str> {
    if !group.starts_with("ceph-") {
        return None;
    }
    let roles = [("osd-block-", "block"), ("osd-db-", "db"), ("osd-wal-", "wal")];
    roles.iter().find(|(prefix, _)| volume.starts_with(prefix)).map(|(_, role)| *role)
}
