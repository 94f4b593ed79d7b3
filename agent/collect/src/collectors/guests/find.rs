//! Which control groups are guests, by the names that those who run guests give them.
//!
//! | Who | Control group |
//! |---|---|
//! | Proxmox | `qemu.slice/VMID.scope`, `lxc/VMID` |
//! | LXC, Incus | `lxc.payload.NAME` |
//! | Docker | `docker-ID.scope`, `docker/ID` |
//! | Podman, nerdctl | `libpod-ID.scope`, `nerdctl-ID.scope` |
//! | Kubernetes | `kubepods-…-podUID.slice`, `kubepods/…/podUID` |
//! | libvirt, systemd-nspawn | `machine-NAME.scope`, `systemd-nspawn@NAME.service` |
//!
//! Not here: what the guests are called by their owners ([`super::names`]).

use labstat_parse::guest::unescaped;

use super::content::{Content, V1, V2};
use crate::collector::{CollectError, is_absent};
use crate::host::Host;

const ROOT: &str = "/sys/fs/cgroup";

/// A file that only the root of a tree of version 2 has.
const V2_ROOT_FILE: &str = "/sys/fs/cgroup/cgroup.controllers";

/// The controller of version 1 whose tree is searched: whoever limits a guest limits its memory.
const V1_SEARCHED: &str = "memory";

/// Folders looked into, and how deep: a bound for a tree that is none of the kernel's.
const FOLDERS_MAX: usize = 8192;
const DEPTH_MAX: usize = 9;

/// Digits of an id that people are shown, and of a whole one.
const SHORT_LEN: usize = 12;
const ID_LEN: usize = 64;

/// What runs a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Containerd,
    Docker,
    Lxc,
    Nspawn,
    Pod,
    Podman,
    Qemu,
}

impl Kind {
    /// Its name in labels.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Docker => "docker",
            Self::Lxc => "lxc",
            Self::Nspawn => "nspawn",
            Self::Pod => "pod",
            Self::Podman => "podman",
            Self::Qemu => "qemu",
        }
    }
}

/// A guest as its control group tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) kind: Kind,
    /// Number, name or digits: whatever it is known by to what runs it.
    pub(super) id: String,
    /// Its control group, below the root of the tree.
    path: String,
}

impl Found {
    /// What tells the guest from all others of the machine, such as `qemu/101`.
    pub(super) fn label(&self) -> String {
        format!("{}/{}", self.kind.as_str(), self.short_id())
    }

    /// The id as people are shown it.
    pub(super) fn short_id(&self) -> &str {
        match self.kind {
            Kind::Containerd | Kind::Docker | Kind::Podman => {
                self.id.get(..SHORT_LEN).unwrap_or(&self.id)
            }
            _ => &self.id,
        }
    }
}

/// How this machine keeps its control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tree {
    /// One tree.
    V2,
    /// One tree for each controller.
    V1,
}

impl Tree {
    pub(super) fn of(host: &dyn Host) -> Self {
        match host.read(V2_ROOT_FILE) {
            Err(error) if is_absent(&error) => Self::V1,
            // It is there, whether it can be read or not.
            _ => Self::V2,
        }
    }

    /// All guests of the machine.
    pub(super) fn guests(self, host: &dyn Host) -> Result<Vec<Found>, CollectError> {
        let root = match self {
            Self::V2 => ROOT.to_owned(),
            Self::V1 => format!("{ROOT}/{V1_SEARCHED}"),
        };
        let mut guests = Vec::new();
        let mut folders = vec![(String::new(), 0)];
        let mut looked_into = 0;
        while let Some((below, depth)) = folders.pop() {
            looked_into += 1;
            if looked_into > FOLDERS_MAX {
                let (what, count) = ("control groups", looked_into);
                return Err(CollectError::Limit { what, count, max: FOLDERS_MAX });
            }
            let folder = format!("{root}{below}");
            let names = match host.list(&folder) {
                // It ended since its name was read, or there are none at all.
                Err(error) if is_absent(&error) => continue,
                result => result.map_err(CollectError::read(&folder))?,
            };
            for name in names {
                let path = format!("{below}/{name}");
                if let Some((kind, id)) = guest(&below, &name) {
                    guests.push(Found { kind, id, path });
                } else if depth < DEPTH_MAX && leads_to_guests(&below, &name) {
                    folders.push((path, depth + 1));
                }
            }
        }
        Ok(guests)
    }

    /// The files that a guest's group has, and what is in them.
    pub(super) fn files(self, host: &dyn Host, found: &Found) -> Vec<(String, &'static Content)> {
        let path = &found.path;
        match self {
            Self::V2 => {
                let folder = format!("{ROOT}{path}");
                let names = host.list(&folder).unwrap_or_default();
                let is_there =
                    |name: &str| names.binary_search_by(|n| n.as_str().cmp(name)).is_ok();
                let files = V2.iter().filter(|(name, _)| is_there(name));
                files.map(|(name, content)| (format!("{folder}/{name}"), content)).collect()
            }
            Self::V1 => {
                let file = |(controller, name, content): &'static (&str, &str, Content)| {
                    let file = format!("{ROOT}/{controller}{path}/{name}");
                    host.read(&file).is_ok().then_some((file, content))
                };
                V1.iter().filter_map(file).collect()
            }
        }
    }
}

/// What runs the guest whose control group this is, and what it calls it.
fn guest(below: &str, name: &str) -> Option<(Kind, String)> {
    let parent = below.rsplit('/').next().unwrap_or_default();
    let scope = name.strip_suffix(".scope");
    let of_runtime =
        [("docker-", Kind::Docker), ("libpod-", Kind::Podman), ("nerdctl-", Kind::Containerd)];
    for (prefix, kind) in of_runtime {
        if let Some(id) = scope.unwrap_or(name).strip_prefix(prefix).filter(|id| is_id(id)) {
            return Some((kind, id.to_owned()));
        }
    }
    if let Some(name) = name.strip_prefix("lxc.payload.") {
        return Some((Kind::Lxc, name.to_owned()));
    }
    if below.contains("kubepods") {
        return Some((Kind::Pod, pod(name)?));
    }
    match parent {
        "qemu.slice" => Some((Kind::Qemu, scope.filter(|id| is_number(id))?.to_owned())),
        // The files of the group itself all have a dot in their names.
        "lxc" if !name.contains('.') && name != "tasks" => Some((Kind::Lxc, name.to_owned())),
        "docker" if is_id(name) => Some((Kind::Docker, name.to_owned())),
        "machine.slice" => machine(name, scope),
        _ => None,
    }
}

/// `kubepods-burstable-podUID.slice`, whose id has `_` for `-`, or `podUID`.
fn pod(name: &str) -> Option<String> {
    if let Some(slice) = name.strip_suffix(".slice") {
        let at = slice.rfind("-pod")?;
        let id = slice.get(at + "-pod".len()..).filter(|id| !id.is_empty())?;
        // The groups of all pods end so themselves.
        return slice.get(..at)?.contains("kubepods").then(|| id.replace('_', "-"));
    }
    name.strip_prefix("pod").filter(|id| !id.is_empty() && !id.contains('.')).map(str::to_owned)
}

/// What systemd knows as a machine.
fn machine(name: &str, scope: Option<&str>) -> Option<(Kind, String)> {
    if let Some(id) = name.strip_prefix("systemd-nspawn@").and_then(|n| n.strip_suffix(".service"))
    {
        return Some((Kind::Nspawn, unescaped(id)));
    }
    let full = unescaped(scope?.strip_prefix("machine-")?);
    // libvirt puts driver and number in front of the name.
    for (driver, kind) in [("qemu-", Kind::Qemu), ("lxc-", Kind::Lxc)] {
        let rest = full.strip_prefix(driver).and_then(|rest| rest.split_once('-'));
        if let Some((number, name)) = rest
            && is_number(number)
            && !name.is_empty()
        {
            return Some((kind, name.to_owned()));
        }
    }
    Some((Kind::Nspawn, full))
}

/// Whether guests may be below this group, which is none.
fn leads_to_guests(below: &str, name: &str) -> bool {
    name.ends_with(".slice")
        || matches!(name, "docker" | "kubepods" | "libpod_parent")
        || (name == "lxc" && below.is_empty())
        || (below.contains("kubepods") && matches!(name, "besteffort" | "burstable"))
        // Containers of people that are not root.
        || (name.starts_with("user@") && name.ends_with(".service"))
}

fn is_id(text: &str) -> bool {
    text.len() == ID_LEN && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_are_known_by_their_groups() {
        let id = "0123456789abcdef".repeat(4);
        let long = |text: &str| text.replace("ID", &id);
        let uid = "1b2c_3d";
        for (below, name, wanted) in [
            ("/qemu.slice", "101.scope".to_owned(), Some((Kind::Qemu, "101"))),
            ("/qemu.slice", "x.scope".to_owned(), None),
            ("/lxc", "102".to_owned(), Some((Kind::Lxc, "102"))),
            ("/lxc", "cpu.stat".to_owned(), None),
            ("/lxc.monitor", "102".to_owned(), None),
            ("", "lxc.payload.web".to_owned(), Some((Kind::Lxc, "web"))),
            ("", "lxc.monitor.web".to_owned(), None),
            ("/system.slice", long("docker-ID.scope"), Some((Kind::Docker, id.as_str()))),
            ("/system.slice", "docker-abc.scope".to_owned(), None),
            ("/system.slice", "docker.service".to_owned(), None),
            ("/docker", long("ID"), Some((Kind::Docker, id.as_str()))),
            ("/machine.slice", long("libpod-ID.scope"), Some((Kind::Podman, id.as_str()))),
            ("/machine.slice", long("libpod-conmon-ID.scope"), None),
            ("/system.slice", long("nerdctl-ID.scope"), Some((Kind::Containerd, id.as_str()))),
            (
                "/kubepods.slice/kubepods-burstable.slice",
                format!("kubepods-burstable-pod{uid}.slice"),
                Some((Kind::Pod, "1b2c-3d")),
            ),
            ("/kubepods.slice", format!("kubepods-pod{uid}.slice"), Some((Kind::Pod, "1b2c-3d"))),
            ("/kubepods.slice", "kubepods-besteffort.slice".to_owned(), None),
            ("/kubepods/burstable", "pod1b2c-3d".to_owned(), Some((Kind::Pod, "1b2c-3d"))),
            ("/kubepods", "pod.x".to_owned(), None),
            (
                "/machine.slice",
                r"machine-qemu\x2d3\x2dnas.scope".to_owned(),
                Some((Kind::Qemu, "nas")),
            ),
            (
                "/machine.slice",
                r"machine-build\x2d1.scope".to_owned(),
                Some((Kind::Nspawn, "build-1")),
            ),
            (
                "/machine.slice",
                "systemd-nspawn@deb.service".to_owned(),
                Some((Kind::Nspawn, "deb")),
            ),
            ("/system.slice", "ssh.service".to_owned(), None),
        ] {
            let wanted = wanted.map(|(kind, id)| (kind, id.to_owned()));
            assert_eq!(guest(below, &name), wanted, "{below}/{name}");
        }
    }
}
