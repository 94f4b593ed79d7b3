//! Pools and volumes that fill, lose disks or fail; and machines that wait for a new start.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use labstat_collect::{CollectError, Options, ReplayHost, Status, registry};
use labstat_model::{Batch, ManualClock};

fn put(root: &Path, path: &str, text: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// One run of a collector on the machine in `root`: sorted samples, `absent`, or its error and causes.
fn lines(collector: &str, root: &Path) -> Vec<String> {
    match run(collector, root) {
        Ok((Status::Absent, batch)) => {
            assert!(batch.is_empty());
            vec!["absent".to_owned()]
        }
        Ok((Status::Collected, batch)) => {
            let mut lines: Vec<String> = batch
                .iter()
                .map(|s| format!("{}{} {}", s.family.name, s.labels, s.value))
                .collect();
            lines.sort();
            let series: Vec<_> = lines.iter().filter_map(|line| line.rsplit_once(' ')).collect();
            assert!(series.is_sorted_by(|a, b| a.0 < b.0), "a series twice: {lines:#?}");
            lines
        }
        Err(error) => {
            let mut lines = vec![error.to_string()];
            let mut next = std::error::Error::source(&error);
            while let Some(cause) = next {
                lines.push(cause.to_string());
                next = cause.source();
            }
            lines
        }
    }
}

fn run(collector: &str, root: &Path) -> Result<(Status, Batch), CollectError> {
    let entry = registry().iter().find(|entry| entry.name == collector).unwrap();
    let host = ReplayHost::open(root, Arc::new(ManualClock::new(1_700_000_000_000))).unwrap();
    let mut batch = Batch::new();
    let status = (entry.make)(&Options::default()).collect(&host, &mut batch)?;
    Ok((status, batch))
}

const DMSETUP: &str = "commands/dmsetup/status --target thin-pool --noflush";

fn thin_pool(root: &Path) {
    put(root, "sys/block/dm-0/dm/name", "pve-root\n");
    put(root, "sys/block/dm-0/dm/uuid", "LVM-abc\n");
    put(root, "sys/block/dm-3/dm/name", "pve-data-tpool\n");
    put(root, "sys/block/dm-3/dm/uuid", "LVM-abcdef-tpool\n");
    put(root, "sys/block/sda/size", "1\n");
}

#[test]
fn thin_pools_of_lvm() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    put(root, "sys/block/sda/size", "1\n");
    assert_eq!(lines("lvm", root), ["absent"], "nothing is run where there is no pool");
    thin_pool(root);
    put(
        root,
        &format!("{DMSETUP}/stdout"),
        "other: 0 8 thin-pool 1 1/2 1/2 - rw -\npve-data-tpool: 0 2048 thin-pool 21 20/1000 300/400 - rw discard_passdown queue_if_no_space - 1024\n",
    );
    let labels = r#"{pool="data", vg="pve"}"#;
    let state = |state: &str, value: u8| {
        format!(r#"labstat_lvm_thin_pool_state{{pool="data", state="{state}", vg="pve"}} {value}"#)
    };
    assert_eq!(
        lines("lvm", root),
        [
            format!("labstat_lvm_thin_pool_data_used_ratio{labels} 0.75"),
            format!("labstat_lvm_thin_pool_metadata_used_ratio{labels} 0.02"),
            format!("labstat_lvm_thin_pool_needs_check{labels} 0"),
            format!("labstat_lvm_thin_pool_size_bytes{labels} 1048576"),
            state("failed", 0),
            state("out_of_space", 0),
            state("read_only", 0),
            state("writable", 1),
        ]
    );
    put(root, &format!("{DMSETUP}/stdout"), "pve-data-tpool: 0 2048 thin-pool Fail\n");
    assert_eq!(
        lines("lvm", root),
        [
            format!("labstat_lvm_thin_pool_size_bytes{labels} 1048576"),
            state("failed", 1),
            state("out_of_space", 0),
            state("read_only", 0),
            state("writable", 0),
        ]
    );
    put(root, &format!("{DMSETUP}/stdout"), "pve-data-tpool: 0 2048 thin-pool 21 20/1000");
    assert_eq!(lines("lvm", root)[0], "dmsetup status makes no sense");
}

#[test]
fn a_dmsetup_that_fails_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    thin_pool(root);
    let command = "failed to run dmsetup status --target thin-pool --noflush";
    for (status, cause) in [
        ("timed-out", "no end after 10s, killed"),
        ("not-found", "not installed"),
        ("signal", "no word"),
    ] {
        put(root, &format!("{DMSETUP}/status"), status);
        assert_eq!(lines("lvm", root), [command, cause]);
    }
    put(root, &format!("{DMSETUP}/status"), "1");
    put(root, &format!("{DMSETUP}/stderr"), "\nPermission denied\nmore\n");
    assert_eq!(lines("lvm", root), [command, "Permission denied"]);
}

const REQUIRED: &str = "labstat_node_reboot_required{}";

fn kernel(root: &Path, running: &str, installed: &[&str]) {
    put(root, "host.json", format!(r#"{{"uname":{{"release":"{running}"}}}}"#));
    let _ = fs::remove_dir_all(root.join("boot"));
    for release in installed {
        put(root, &format!("boot/vmlinuz-{release}"), "");
    }
}

#[test]
fn a_newer_kernel_waits_for_a_new_start() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let reason = |detail: &str| {
        format!(r#"labstat_node_reboot_reason_info{{detail="{detail}", reason="kernel"}} 1"#)
    };
    for (running, installed, newer) in [
        ("6.1.0-18-amd64", &["6.1.0-9-amd64", "6.1.0-18-amd64"][..], None),
        ("6.1.0-9-amd64", &["6.1.0-9-amd64", "6.1.0-18-amd64"], Some("6.1.0-18-amd64")),
        ("6.1.0-9-amd64", &["6.1.0-9-amd64", "6.1.0-18-cloud-amd64"], None),
        (
            "6.8.12-4-pve",
            &["6.8.12-4-pve", "6.11.0-1-pve", "6.8.12-4-pve.old"],
            Some("6.11.0-1-pve"),
        ),
    ] {
        kernel(root, running, installed);
        let wanted = match newer {
            Some(newer) => vec![reason(newer), format!("{REQUIRED} 1")],
            None => vec![format!("{REQUIRED} 0")],
        };
        assert_eq!(lines("reboot", root), wanted, "{running}");
    }
    put(root, "etc/kernel/proxmox-boot-pin", "6.8.12-4-pve\n");
    assert_eq!(lines("reboot", root), [format!("{REQUIRED} 0")], "its owner wants the older one");
    put(root, "etc/kernel/proxmox-boot-pin", "6.2-gone\n");
    assert_eq!(lines("reboot", root)[1], format!("{REQUIRED} 1"));
}

#[test]
fn what_cannot_be_known_of_a_new_start_is_absent() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    kernel(root, "6.1.0-9-amd64", &["6.1.0-18-amd64"]);
    assert_eq!(
        lines("reboot", root),
        ["absent"],
        "a kernel that is not in /boot, as in a container"
    );
    kernel(root, "6.1.0-9-amd64", &[]);
    assert_eq!(lines("reboot", root), ["absent"]);
    kernel(root, "6.1.0-9-amd64", &["6.1.0-9-amd64", "6.1.0-18-amd64"]);
    put(root, "errors.json", r#"{"/boot":13}"#);
    assert_eq!(lines("reboot", root), ["absent"], "a folder for root alone");
    put(root, "errors.json", r#"{"/run/reboot-required":13}"#);
    assert_eq!(
        lines("reboot", root),
        ["failed to read /run/reboot-required", "Permission denied (os error 13)"]
    );
}

#[test]
fn packages_ask_for_a_new_start() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    put(root, "run/reboot-required", "*** System restart required ***\n");
    assert_eq!(lines("reboot", root), [format!("{REQUIRED} 1")]);
    put(root, "run/reboot-required.pkgs", "libc6\nlinux-base\nlibc6\n\n");
    let reason = |package: &str| {
        format!(r#"labstat_node_reboot_reason_info{{detail="{package}", reason="package"}} 1"#)
    };
    let wanted = [reason("libc6"), reason("linux-base"), format!("{REQUIRED} 1")];
    assert_eq!(lines("reboot", root), wanted);
    let many: String = (0..100).map(|n| format!("package-{n}\n")).collect();
    put(root, "run/reboot-required.pkgs", many);
    assert_eq!(lines("reboot", root).len(), 17);
}
