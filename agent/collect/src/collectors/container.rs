//! Whether this is a container, which reads the sensors of the machine that it runs on.
//!
//! - Reads: `/run/systemd/container`, which systemd leaves in the containers that it starts in; else the
//!   files that LXC, Docker and Podman put into theirs.
//! - Absent where there is none of them: a machine, virtual or not, or a container of another kind.
//! - Emits: [`CONTAINER`].
//! - Not here: the containers that run on this machine ([`super::guests`]).

use std::io::ErrorKind;

use labstat_model::{Batch, Family};

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::shared::read_if_there;

/// What runs this container.
pub static CONTAINER: Family = Family::gauge(
    "labstat_node_container_info",
    "What runs this container (lxc, systemd-nspawn, docker …), which reads sensors of the machine below; always 1.",
);

const SYSTEMD: &str = "/run/systemd/container";

/// Files that are there in containers alone, and whose.
const MARKS: [(&str, &str); 3] =
    [("/dev/.lxc-boot-id", "lxc"), ("/.dockerenv", "docker"), ("/run/.containerenv", "podman")];

/// The longest word of systemd's is half of that; more is no word.
const WORD_MAX: usize = 32;

/// Whether this is a container.
#[derive(Debug, Default)]
pub struct Container(Vec<u8>);

impl Collector for Container {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let is_told = read_if_there(host, SYSTEMD, &mut self.0)?;
        let told = if is_told { word(&self.0) } else { None };
        let manager = told.or_else(|| marked(host, &mut self.0));
        let Some(manager) = manager else { return Ok(Status::Absent) };
        out.push(&CONTAINER, &[("manager", &manager)], 1.0);
        Ok(Status::Collected)
    }
}

/// By the first of the files that is there; one that may not be read is there.
fn marked(host: &dyn Host, bytes: &mut Vec<u8>) -> Option<String> {
    let is_there = |path: &str, bytes: &mut Vec<u8>| match host.read_into(path, bytes) {
        Ok(()) => true,
        Err(error) => error.kind() == ErrorKind::PermissionDenied,
    };
    let found = MARKS.iter().find(|(path, _)| is_there(path, bytes));
    found.map(|(_, manager)| (*manager).to_owned())
}

/// The word that a file consists of.
fn word(bytes: &[u8]) -> Option<String> {
    let text = bytes.trim_ascii();
    let is_word = (1..=WORD_MAX).contains(&text.len())
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if is_word { String::from_utf8(text.to_vec()).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use labstat_model::ManualClock;

    use super::*;
    use crate::host::ReplayHost;

    fn manager(files: &[(&str, &str)]) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let host = ReplayHost::open(dir.path(), Arc::new(ManualClock::new(0))).unwrap();
        let mut batch = Batch::new();
        let status = Container::default().collect(&host, &mut batch).unwrap();
        assert_eq!(status == Status::Absent, batch.is_empty());
        let labels = batch.iter().next()?.labels;
        labels.iter().find(|(name, _)| *name == "manager").map(|(_, value)| value.to_owned())
    }

    #[test]
    fn containers_are_told_by_systemd_or_by_what_their_manager_leaves() {
        for (files, wanted) in [
            (&[("run/systemd/container", "lxc\n"), (".dockerenv", "")][..], Some("lxc")),
            (&[("run/systemd/container", "systemd-nspawn")], Some("systemd-nspawn")),
            (&[("dev/.lxc-boot-id", "0b0c\n")], Some("lxc")),
            (&[(".dockerenv", "")], Some("docker")),
            (&[("run/.containerenv", "")], Some("podman")),
            (&[("run/systemd/container", "")], None),
            (&[("run/systemd/container", "no word \u{0}")], None),
            (&[("run/systemd/container", &"x".repeat(33))], None),
            (&[("run/systemd/container", "\"\n"), (".dockerenv", "")], Some("docker")),
            (&[("run/reboot-required", "")], None),
        ] {
            assert_eq!(manager(files).as_deref(), wanted, "{files:?}");
        }
    }
}
