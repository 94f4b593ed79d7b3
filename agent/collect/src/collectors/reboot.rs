//! Whether the machine must be started anew to run what is installed.
//!
//! - Reads: `/run/reboot-required` and `.pkgs` beside it, which Debian's and Ubuntu's packages leave; the
//!   kernels in `/boot` (`vmlinuz-RELEASE`), and which of them is pinned on Proxmox.
//! - Absent when there is no such file and it cannot be known whether a newer kernel is installed: the
//!   one that runs is not in `/boot`, as in a container.
//! - Emits: `labstat_node_reboot_required` and, when it is 1, why.
//! - Left out: services that run programs which were replaced, and an order of the boot loader's own.

use labstat_model::{Batch, Family};

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::shared::read_if_there;

const FLAG: &str = "/run/reboot-required";
const PACKAGES: &str = "/run/reboot-required.pkgs";
const BOOT: &str = "/boot";
const PIN: &str = "/etc/kernel/proxmox-boot-pin";

/// Packages named; one is as good a reason as a hundred.
const PACKAGES_MAX: usize = 16;

static REQUIRED: Family = Family::gauge(
    "labstat_node_reboot_required",
    "Whether the machine must be started anew to run what is installed.",
);
static REASON: Family = Family::gauge(
    "labstat_node_reboot_reason_info",
    "A package or a kernel that waits for the machine to be started anew; always 1.",
);

/// Whether a new start is due.
#[derive(Debug, Default)]
pub struct Reboot(Vec<u8>);

impl Collector for Reboot {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let is_flagged = read_if_there(host, FLAG, &mut self.0)?;
        let waiting = waiting_kernel(host);
        if !is_flagged && waiting.is_none() {
            return Ok(Status::Absent);
        }
        let kernel = waiting.flatten();
        let is_required = is_flagged || kernel.is_some();
        out.push(&REQUIRED, &[], f64::from(u8::from(is_required)));
        if let Some(kernel) = kernel {
            out.push(&REASON, &[("detail", &kernel), ("reason", "kernel")], 1.0);
        }
        if is_flagged && read_if_there(host, PACKAGES, &mut self.0)? {
            let text = String::from_utf8_lossy(&self.0);
            let mut packages: Vec<&str> =
                text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            packages.sort_unstable();
            packages.dedup();
            for package in packages.iter().take(PACKAGES_MAX) {
                out.push(&REASON, &[("detail", package), ("reason", "package")], 1.0);
            }
        }
        Ok(Status::Collected)
    }
}

/// The kernel that would run after a new start, when it is not the one that runs; nothing at all when
/// that cannot be known.
fn waiting_kernel(host: &dyn Host) -> Option<Option<String>> {
    let running = host.uname().ok()?.release;
    // A folder that only root may look into says nothing to others.
    let names = host.list(BOOT).ok()?;
    let installed: Vec<&str> =
        names.iter().filter_map(|name| name.strip_prefix("vmlinuz-")).collect();
    if running.is_empty() || !installed.contains(&running.as_str()) {
        return None;
    }
    let pinned = host.text(PIN).unwrap_or_default();
    let pinned = pinned.trim();
    if installed.contains(&pinned) {
        return Some((pinned != running).then(|| pinned.to_owned()));
    }
    let flavour = flavour(&running);
    let others = installed.into_iter().filter(|release| self::flavour(release) == flavour);
    let newest = others.max_by_key(|release| numbers(release))?;
    Some((numbers(newest) > numbers(&running)).then(|| newest.to_owned()))
}

/// What stands behind the version: of `6.1.0-18-cloud-amd64` it is `cloud-amd64`.
fn flavour(release: &str) -> &str {
    let starts =
        release.match_indices('-').map(|(at, _)| release.get(at + 1..).unwrap_or_default());
    let mut words = starts.filter(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()));
    words.next().unwrap_or_default()
}

/// All numbers of a version, in their order.
fn numbers(release: &str) -> Vec<u64> {
    let digits = release.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    digits.map(|part| part.parse().unwrap_or(u64::MAX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_kernels() {
        for (release, wanted) in [
            ("6.1.0-18-amd64", "amd64"),
            ("6.1.0-18-cloud-amd64", "cloud-amd64"),
            ("6.8.12-4-pve", "pve"),
            ("6.12.9+bpo-amd64", "amd64"),
            ("6.5.6-300.fc39.x86_64", ""),
            ("6.9", ""),
        ] {
            assert_eq!(flavour(release), wanted, "{release}");
        }
        assert!(numbers("6.1.0-18-amd64") > numbers("6.1.0-9-amd64"));
        assert!(numbers("6.10.1-1-pve") > numbers("6.8.12-4-pve"));
    }
}
