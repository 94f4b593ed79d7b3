//! Sizes of mounted filesystems.
//!
//! - Reads: `mountinfo` of process 1 (of our own where that may not be read), `statvfs` of each mount.
//! - Absent when there is no `mountinfo`.
//! - Emits: `node_filesystem_*`. A filesystem that cannot be asked has only
//!   [`DEVICE_ERROR`] with the reason; one that does not answer is not asked again until it does.
//! - Left out: filesystems of the kernel and of containers, unless the user asks for them, and what
//!   the user does not want. Of several mounts on one point only the
//!   last is seen, as it hides the others.

use std::io;

use labstat_model::{Batch, Family};
use labstat_parse::proc::mountinfo::{self, Mount};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;
use crate::options::Filesystems;
use crate::shared::is_wanted;

static SIZE: Family = Family::gauge("node_filesystem_size_bytes", "Filesystem size in bytes.");
static FREE: Family =
    Family::gauge("node_filesystem_free_bytes", "Filesystem free space in bytes.");
static AVAIL: Family = Family::gauge(
    "node_filesystem_avail_bytes",
    "Filesystem space available to non-root users in bytes.",
);
static FILES: Family = Family::gauge("node_filesystem_files", "Filesystem total file nodes.");
static FILES_FREE: Family =
    Family::gauge("node_filesystem_files_free", "Filesystem total free file nodes.");
static READONLY: Family = Family::gauge("node_filesystem_readonly", "Filesystem read-only status.");
/// Whether a filesystem could not be asked.
pub static DEVICE_ERROR: Family = Family::gauge(
    "node_filesystem_device_error",
    "Whether an error occurred while getting statistics for the given device.",
);
static MOUNT: Family =
    Family::gauge("node_filesystem_mount_info", "Device numbers of a mount; always 1.");

/// Mounts of one machine after those of containers are left out.
const MOUNTS_MAX: usize = 4096;

const PATHS: [&str; 2] = ["/proc/1/mountinfo", "/proc/self/mountinfo"];

/// Types that hold no data of anyone's.
const TYPES_LEFT_OUT: [&str; 25] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "erofs",
    "sysfs",
    "tracefs",
];

/// Folders whose mounts belong to the kernel or to containers.
const TREES_LEFT_OUT: [&str; 3] = ["/dev", "/proc", "/sys"];
const TREES_BELOW_LEFT_OUT: [&str; 3] =
    ["/run/credentials/", "/var/lib/docker/", "/var/lib/containers/storage/"];

/// Sizes of mounted filesystems.
#[derive(Debug)]
pub struct Filesystem {
    options: Filesystems,
    bytes: Vec<u8>,
}

impl Filesystem {
    /// One with these settings.
    pub fn new(options: &Filesystems) -> Self {
        Self { options: options.clone(), bytes: Vec::new() }
    }

    fn read(&mut self, host: &dyn Host) -> Result<Status, CollectError> {
        let [first, second] = PATHS;
        let Err(cause) = host.read_into(first, &mut self.bytes) else {
            return Ok(Status::Collected);
        };
        let (is_first_absent, first_error) = (is_absent(&cause), CollectError::read(first)(cause));
        match host.read_into(second, &mut self.bytes) {
            Ok(()) => Ok(Status::Collected),
            Err(error) if is_absent(&error) && is_first_absent => Ok(Status::Absent),
            Err(error) if is_absent(&error) => Err(first_error),
            Err(cause) => Err(CollectError::Read { from: second.to_owned(), cause }),
        }
    }

    fn is_left_out(&self, mount: &Mount<'_>) -> bool {
        let (options, point, fstype) = (&self.options, &*mount.mount_point, &*mount.fstype);
        let is_other_type = || TYPES_LEFT_OUT.contains(&fstype);
        !is_wanted(&options.types_include, &options.types_exclude, fstype, is_other_type)
            || !is_wanted(&options.include, &options.exclude, point, || is_in_other_tree(point))
    }
}

/// Whether a mount point belongs to the kernel or to a container.
fn is_in_other_tree(point: &str) -> bool {
    let in_tree = |tree: &&str| {
        point.strip_prefix(*tree).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    TREES_LEFT_OUT.iter().any(in_tree)
        || TREES_BELOW_LEFT_OUT.iter().any(|tree| point.starts_with(tree))
}

impl Collector for Filesystem {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        if self.read(host)? == Status::Absent {
            return Ok(Status::Absent);
        }
        let mut mounts: Vec<Mount<'_>> = Vec::new();
        for mount in mountinfo::parse(&self.bytes) {
            let mount = mount.map_err(CollectError::parse("mountinfo"))?;
            mounts.retain(|earlier| earlier.mount_point != mount.mount_point);
            if !self.is_left_out(&mount) {
                mounts.push(mount);
            }
            if mounts.len() > MOUNTS_MAX {
                let count = mounts.len();
                return Err(CollectError::Limit { what: "mounts", count, max: MOUNTS_MAX });
            }
        }
        // One that hangs takes the time of those after it: what lies on another machine comes last.
        mounts.sort_by_key(is_remote);
        let points: Vec<String> = mounts.iter().map(|m| m.mount_point.clone().into()).collect();
        let sizes = host.statvfs(&points, self.options.deadline);
        for (mount, size) in mounts.iter().zip(sizes) {
            push(mount, size, out);
        }
        Ok(Status::Collected)
    }
}

/// Whether a filesystem is served by another machine or by a program, and so may not answer.
fn is_remote(mount: &Mount<'_>) -> bool {
    let kind = &*mount.fstype;
    let prefixes = ["nfs", "fuse", "cifs", "smb", "ceph", "9p", "glusterfs", "afs"];
    prefixes.iter().any(|prefix| kind.starts_with(prefix))
}

fn push(mount: &Mount<'_>, size: io::Result<crate::host::FilesystemSize>, out: &mut Batch) {
    let (device, fstype, point) = (&*mount.source, &*mount.fstype, &*mount.mount_point);
    let (major, minor) = (mount.major.to_string(), mount.minor.to_string());
    let size = match size {
        Ok(size) => size,
        // A capture that does not say.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return,
        Err(error) => {
            let reason = reason(&error);
            let labels = [
                ("device", device),
                ("device_error", reason.as_str()),
                ("fstype", fstype),
                ("mountpoint", point),
            ];
            out.push(&DEVICE_ERROR, &labels, 1.0);
            return;
        }
    };
    let labels = [("device", device), ("fstype", fstype), ("mountpoint", point)];
    let values = [
        (&SIZE, size.size_bytes as f64),
        (&FREE, size.free_bytes as f64),
        (&AVAIL, size.avail_bytes as f64),
        (&FILES, size.files as f64),
        (&FILES_FREE, size.files_free as f64),
        (&READONLY, f64::from(u8::from(size.readonly || mount.readonly))),
        (&DEVICE_ERROR, 0.0),
    ];
    for (family, value) in values {
        out.push(family, &labels, value);
    }
    let labels = [("device", device), ("major", &major), ("minor", &minor), ("mountpoint", point)];
    out.push(&MOUNT, &labels, 1.0);
}

/// The kernel's words without the number behind them.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "mountpoint timeout".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or_default().to_lowercase()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(point: &'static str, fstype: &'static str) -> Mount<'static> {
        Mount {
            major: 0,
            minor: 0,
            root: "/".into(),
            mount_point: point.into(),
            fstype: fstype.into(),
            source: "x".into(),
            readonly: false,
            super_options: b"",
        }
    }

    #[test]
    fn mount_points_and_types_are_wanted_by_pattern() {
        let list = |patterns: &[&str]| patterns.iter().map(|&p| p.to_owned()).collect::<Vec<_>>();
        let options = Filesystems {
            exclude: list(&["/mnt/*", "/srv"]),
            types_exclude: list(&["nfs*"]),
            ..Filesystems::default()
        };
        let some = Filesystem::new(&options);
        let is_shown = |some: &Filesystem, point, fstype| !some.is_left_out(&mount(point, fstype));
        assert!(is_shown(&some, "/", "ext4") && is_shown(&some, "/srv/a", "xfs"));
        assert!(!is_shown(&some, "/mnt/a/b", "ext4") && !is_shown(&some, "/srv", "ext4"));
        assert!(!is_shown(&some, "/home", "nfs4"));
        assert!(!is_shown(&some, "/x", "overlay"), "what is left out stays so");
        let options = Filesystems {
            include: list(&["/", "/var/lib/docker/*"]),
            types_include: list(&["overlay", "ext?"]),
            ..Filesystems::default()
        };
        let named = Filesystem::new(&options);
        assert!(is_shown(&named, "/", "overlay"), "unless it is asked for");
        assert!(is_shown(&named, "/var/lib/docker/x", "ext4"));
        assert!(!is_shown(&named, "/home", "ext4") && !is_shown(&named, "/", "xfs"));
    }

    #[test]
    fn kernel_and_container_mounts_are_left_out() {
        let all = Filesystem::new(&Filesystems::default());
        for (point, fstype) in [
            ("/proc", "proc"),
            ("/dev/shm", "tmpfs"),
            ("/var/lib/docker/x", "ext4"),
            ("/x", "overlay"),
        ] {
            assert!(all.is_left_out(&mount(point, fstype)), "{point}");
        }
        for (point, fstype) in
            [("/", "ext4"), ("/devel", "ext4"), ("/run", "tmpfs"), ("/var/lib/docker", "btrfs")]
        {
            assert!(!all.is_left_out(&mount(point, fstype)), "{point}");
        }
    }

    #[test]
    fn filesystems_of_other_machines_are_known() {
        let mount = |fstype: &'static str| Mount {
            major: 0,
            minor: 0,
            root: "/".into(),
            mount_point: "/x".into(),
            fstype: fstype.into(),
            source: "x".into(),
            readonly: false,
            super_options: b"",
        };
        let remote = ["nfs4", "fuse.sshfs", "cifs", "smb3", "ceph", "9p"];
        assert!(remote.iter().all(|kind| is_remote(&mount(kind))));
        assert!(["ext4", "zfs", "tmpfs", "btrfs"].iter().all(|kind| !is_remote(&mount(kind))));
    }

    #[test]
    fn reasons_are_words() {
        assert_eq!(reason(&io::Error::from_raw_os_error(13)), "permission denied");
        assert_eq!(reason(&io::ErrorKind::TimedOut.into()), "mountpoint timeout");
    }
}
