//! What sysfs says of arrays and their members.

use labstat_parse::mdstat::{Array, Member};
use labstat_parse::proc::{fields_of, float, trimmed};

use crate::host::Host;
use crate::options::Patience;

/// Files of an array.
const OF_ARRAY: [&str; 15] = [
    "array_state",
    "bitmap/location",
    "component_size",
    "consistency_policy",
    "degraded",
    "journal_mode",
    "last_sync_action",
    "level",
    "mismatch_cnt",
    "raid_disks",
    "reshape_position",
    "suspend_hi",
    "suspend_lo",
    "sync_action",
    "sync_min",
];

/// Files of a member.
const OF_MEMBER: [&str; 3] = ["errors", "slot", "state"];

/// Files of one folder by their names; those that could not be read are missing.
#[derive(Debug, Default)]
pub(super) struct Files(Vec<(&'static str, String)>);

/// What sysfs says of an array.
#[derive(Debug, Default)]
pub(super) struct Sysfs {
    pub(super) array: Files,
    /// In the order of mdstat.
    pub(super) members: Vec<OfMember>,
}

/// What sysfs says of a member.
#[derive(Debug, Default)]
pub(super) struct OfMember {
    pub(super) files: Files,
    /// The disk that it is, or is a part of, as smartctl names it.
    pub(super) disk: Option<String>,
}

impl Files {
    /// All of a file but the space around it; an empty file says nothing.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let (_, text) = self.0.iter().find(|(known, _)| *known == name)?;
        Some(text.trim()).filter(|text| !text.is_empty())
    }

    /// The first word of a file.
    pub(super) fn word(&self, name: &str) -> Option<&str> {
        self.text(name)?.split_whitespace().next()
    }

    /// The number at the beginning of a file.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        let first = fields_of(trimmed(self.text(name)?.as_bytes())).next()?;
        float(first).filter(|number| number.is_finite() && *number >= 0.0)
    }
}

/// What sysfs says of each array, in their order. What cannot be read in time is missing.
pub(super) fn read(host: &dyn Host, arrays: &[Array], patience: Patience) -> Vec<Sysfs> {
    let mut paths = Vec::new();
    for array in arrays {
        let dir = dir(array);
        paths.extend(OF_ARRAY.iter().map(|file| format!("{dir}/{file}")));
        for member in &array.members {
            let dir = format!("{dir}/dev-{}", file_name(&member.device));
            paths.extend(OF_MEMBER.iter().map(|file| format!("{dir}/{file}")));
        }
    }
    let mut found = host.read_all(&paths, patience.0).into_iter();
    let mut next = |names: &[&'static str]| {
        let files = names.iter().zip(found.by_ref()).filter_map(|(name, bytes)| {
            Some((*name, String::from_utf8_lossy(&bytes.ok()?).into_owned()))
        });
        Files(files.collect())
    };
    let of_array = |array: &Array| Sysfs {
        array: next(&OF_ARRAY),
        members: array
            .members
            .iter()
            .map(|member| OfMember { files: next(&OF_MEMBER), disk: disk(host, member) })
            .collect(),
    };
    arrays.iter().map(of_array).collect()
}

fn dir(array: &Array) -> String {
    format!("/sys/block/{}/md", file_name(&array.name))
}

/// The kernel writes a device such as `cciss/c0d0` with a `!` in its folders.
fn file_name(device: &str) -> String {
    device.replace('/', "!")
}

/// The disk that a member is, or is a partition of: its folder, or the one that it lies in.
fn disk(host: &dyn Host, member: &Member) -> Option<String> {
    let path = host.resolved(&format!("/sys/class/block/{}", file_name(&member.device))).ok()?;
    let mut parts = path.rsplit('/');
    let (own, above) = (parts.next()?, parts.next()?);
    let name = if above == "block" { own } else { above };
    // `nvme0n1` is a namespace of the disk `nvme0`.
    let controller = name.strip_prefix("nvme").and_then(|rest| rest.split_once('n'));
    Some(match controller {
        Some((number, _)) => format!("nvme{number}"),
        None => name.replace('!', "/"),
    })
}
