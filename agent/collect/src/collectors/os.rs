//! Names and version of the distribution.
//!
//! - Reads: `/etc/os-release`, else `/usr/lib/os-release`. Absent when neither is there.
//! - Emits: `node_os_info`; `node_os_version` where the version starts with a number.
//! - Not here: the kernel ([`super::uname`]).

use labstat_model::{Batch, Family};
use labstat_parse::proc::{number, os_release};

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::shared::read_if_there;

/// The first of them that is there counts.
const PATHS: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

static OS: Family = Family::gauge("node_os_info", "Names of the operating system; always 1.");
static OS_VERSION: Family =
    Family::gauge("node_os_version", "The major.minor part of the operating system's version.");

/// Labels of `node_os_info` that have another name in the file, or the same in capitals.
const OS_KEYS: [(&str, &str); 12] = [
    ("BUILD_ID", "build_id"),
    ("ID", "id"),
    ("ID_LIKE", "id_like"),
    ("IMAGE_ID", "image_id"),
    ("IMAGE_VERSION", "image_version"),
    ("NAME", "name"),
    ("PRETTY_NAME", "pretty_name"),
    ("VARIANT", "variant"),
    ("VARIANT_ID", "variant_id"),
    ("VERSION", "version"),
    ("VERSION_CODENAME", "version_codename"),
    ("VERSION_ID", "version_id"),
];

/// Names of the distribution.
#[derive(Debug, Default)]
pub struct Os(Vec<u8>);

impl Collector for Os {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let mut is_there = false;
        for path in PATHS {
            is_there = read_if_there(host, path, &mut self.0)?;
            if is_there {
                break;
            }
        }
        if !is_there {
            return Ok(Status::Absent);
        }
        let found: Vec<(&str, String)> = os_release::parse(&self.0)
            .filter_map(|(key, value)| {
                let (_, label) = OS_KEYS.iter().find(|(known, _)| *known == key)?;
                Some((*label, value))
            })
            .collect();
        let get = |label: &str| {
            // The last of several lines counts, as in a shell.
            found.iter().rev().find(|(known, _)| *known == label).map_or("", |(_, v)| v.as_str())
        };
        let labels = OS_KEYS.map(|(_, label)| (label, get(label)));
        out.push(&OS, &labels, 1.0);
        if let Some(version) = major_minor(get("version_id")) {
            let labels = [("id", get("id")), ("id_like", get("id_like")), ("name", get("name"))];
            out.push(&OS_VERSION, &labels, version);
        }
        Ok(Status::Collected)
    }
}

/// `22.04.1` gives 22.04.
fn major_minor(version: &str) -> Option<f64> {
    let mut parts = version.splitn(3, '.');
    let major = parts.next().filter(|part| number(part.as_bytes()).is_some())?;
    match parts.next().filter(|part| number(part.as_bytes()).is_some()) {
        Some(minor) => format!("{major}.{minor}").parse().ok(),
        None => major.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(major_minor("22.04.1"), Some(22.04));
        assert_eq!(major_minor("12"), Some(12.0));
        assert_eq!(major_minor("12-rc"), None);
        assert_eq!(major_minor(""), None);
    }
}
