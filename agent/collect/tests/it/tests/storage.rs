//! Pools and volumes that fill, lose disks or fail; and machines that wait for a new start.

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
    for (status, cause) in [("timed-out", "no end after 10s, killed"), ("signal", "no word")] {
        put(root, &format!("{DMSETUP}/status"), status);
        assert_eq!(lines("lvm", root), [command, cause]);
    }
    put(root, &format!("{DMSETUP}/status"), "1");
    put(root, &format!("{DMSETUP}/stderr"), "\nPermission denied\nmore\n");
    assert_eq!(lines("lvm", root), [command, "Permission denied"]);
}

#[test]
fn the_pools_of_a_containers_host_are_not_here() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    thin_pool(root);
    put(root, &format!("{DMSETUP}/status"), "not-found");
    assert_eq!(lines("lvm", root), ["absent"]);
    put(root, &format!("{DMSETUP}/status"), "1");
    let said = "/dev/mapper/control: open failed: Operation not permitted\nFailure\n";
    put(root, &format!("{DMSETUP}/stderr"), said);
    assert_eq!(lines("lvm", root), ["absent"]);
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

const KSTAT: &str = "proc/spl/kstat/zfs";
const ZPOOL: &str = "commands/env/TZ=UTC zpool status -p";

#[test]
fn zfs_by_the_kernels_statistics() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let heading = "13 1 0x01 3 4 5 6\nname type data\n";
    put(
        root,
        &format!("{KSTAT}/arcstats"),
        format!("{heading}hits 4 12\nmemory_available_bytes 3 -5\nbad-name 4 1\nsize 4 7\n"),
    );
    put(root, &format!("{KSTAT}/dbgmsg"), "whatever\n");
    put(root, &format!("{KSTAT}/tank/state"), "DEGRADED\n");
    put(root, &format!("{KSTAT}/tank/io"), "12 3 0x00 1 80 1 2\nnread nwritten\n10 20\n");
    put(
        root,
        &format!("{KSTAT}/tank/objset-0x36"),
        format!("{heading}dataset_name 7 tank/vm 101\nwrites 4 3\nnwritten 4 4096\n"),
    );
    put(root, &format!("{KSTAT}/tank/txgs"), "no table\n");
    let state = |state: &str, value: u8| {
        format!(r#"node_zfs_zpool_state{{state="{state}", zpool="tank"}} {value}"#)
    };
    let expected = [
        "node_zfs_arc_hits{} 12".to_owned(),
        "node_zfs_arc_memory_available_bytes{} -5".to_owned(),
        "node_zfs_arc_size{} 7".to_owned(),
        r#"node_zfs_zpool_dataset_nwritten{dataset="tank/vm 101", zpool="tank"} 4096"#.to_owned(),
        r#"node_zfs_zpool_dataset_writes{dataset="tank/vm 101", zpool="tank"} 3"#.to_owned(),
        r#"node_zfs_zpool_nread{zpool="tank"} 10"#.to_owned(),
        r#"node_zfs_zpool_nwritten{zpool="tank"} 20"#.to_owned(),
        state("degraded", 1),
        state("faulted", 0),
        state("offline", 0),
        state("online", 0),
        state("removed", 0),
        state("suspended", 0),
        state("unavail", 0),
    ];
    assert_eq!(lines("zfs", root), expected);
}

#[test]
fn statistics_of_zfs_that_make_no_sense_are_errors() {
    for (file, text) in [
        ("arcstats", "a\nb\nhits 4\n"),
        ("tank/state", ""),
        ("tank/state", "SINGING\n"),
        ("tank/io", "12 3\nnread\n"),
        ("tank/objset-0x36", "a\nb\nwrites 4 x\n"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), &format!("{KSTAT}/{file}"), text);
        assert_eq!(lines("zfs", dir.path())[0], format!("/{KSTAT}/{file} makes no sense"));
    }
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), &format!("{KSTAT}/arcstats"), "");
    assert_eq!(lines("zfs", dir.path()), [] as [&str; 0], "loaded, and nothing counted");
    put(dir.path(), "errors.json", r#"{"/proc/spl/kstat/zfs/arcstats":13}"#);
    assert_eq!(lines("zfs", dir.path())[0], "failed to read /proc/spl/kstat/zfs/arcstats");
    put(dir.path(), "errors.json", r#"{"/proc/spl/kstat/zfs":13}"#);
    assert_eq!(lines("zfs", dir.path())[0], "failed to read /proc/spl/kstat/zfs");
    let huge = tempfile::tempdir().unwrap();
    put(huge.path(), &format!("{KSTAT}/zil"), "");
    fs::File::create(huge.path().join(KSTAT).join("zil")).unwrap().set_len(1 << 33).unwrap();
    assert_eq!(lines("zfs", huge.path())[0], "failed to read /proc/spl/kstat/zfs/zil");
}

const STATUS: &str = "  pool: tank\n state: DEGRADED\n  scan: scrub repaired 0 in 00:10:12 with 1 errors on Sun Nov  9 00:24:03 2025\nconfig:\n\n\tNAME      STATE     READ WRITE CKSUM\n\ttank      DEGRADED     0     0     0\n\t  sda     ONLINE       3     0    12\n\tspares\n\t  sda     INUSE     currently in use\n\nerrors: 2 data errors, use '-v' for a list\n";

#[test]
fn pools_of_zfs_tell_of_errors_and_scrubs() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    assert_eq!(lines("zpool", root), ["absent"]);
    put(root, &format!("{KSTAT}/arcstats"), "");
    assert_eq!(lines("zpool", root), ["absent"], "ZFS without a pool");
    put(root, &format!("{KSTAT}/tank/state"), "DEGRADED\n");
    put(root, &format!("{ZPOOL}/stdout"), STATUS);
    let vdev = |role: &str, name: &str, state: &str| {
        format!(
            r#"labstat_zfs_vdev_info{{role="{role}", state="{state}", vdev="{name}", zpool="tank"}} 1"#
        )
    };
    let errors = |role: &str, name: &str, kind: &str, count: u8| {
        format!(
            r#"labstat_zfs_vdev_errors_total{{role="{role}", type="{kind}", vdev="{name}", zpool="tank"}} {count}"#
        )
    };
    let expected = [
        r#"labstat_zfs_data_errors{zpool="tank"} 2"#.to_owned(),
        r#"labstat_zfs_scan_errors{zpool="tank"} 1"#.to_owned(),
        r#"labstat_zfs_scan_info{function="scrub", state="finished", zpool="tank"} 1"#.to_owned(),
        r#"labstat_zfs_scrub_end_timestamp_seconds{zpool="tank"} 1762647843"#.to_owned(),
        errors("data", "sda", "checksum", 12),
        errors("data", "sda", "read", 3),
        errors("data", "sda", "write", 0),
        errors("pool", "tank", "checksum", 0),
        errors("pool", "tank", "read", 0),
        errors("pool", "tank", "write", 0),
        vdev("data", "sda", "online"),
        vdev("pool", "tank", "degraded"),
        vdev("spares", "sda", "inuse"),
    ];
    assert_eq!(lines("zpool", root), expected);
    let running = STATUS.replace(
        "scrub repaired 0 in 00:10:12 with 1 errors on Sun Nov  9 00:24:03 2025",
        "resilver in progress since Sun Nov  9 00:24:03 2025\n\t1T scanned, 25.00% done, 1 days to go",
    );
    put(root, &format!("{ZPOOL}/stdout"), running);
    let scans: Vec<String> =
        lines("zpool", root).into_iter().filter(|line| line.contains("_sc")).collect();
    let expected = [
        r#"labstat_zfs_scan_done_ratio{zpool="tank"} 0.25"#,
        r#"labstat_zfs_scan_info{function="resilver", state="running", zpool="tank"} 1"#,
    ];
    assert_eq!(scans, expected, "when it was last scrubbed is not known any more");
    let never = "  pool: tank\n  scan: none requested\n";
    put(root, &format!("{ZPOOL}/stdout"), never);
    let none = r#"labstat_zfs_scan_info{function="none", state="none", zpool="tank"} 1"#;
    assert_eq!(lines("zpool", root), [none]);
}

#[test]
fn a_zpool_that_hangs_or_fails_says_so_and_one_that_is_not_there_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    put(root, &format!("{KSTAT}/tank/state"), "ONLINE\n");
    let command = "failed to run zpool status -p";
    put(root, &format!("{ZPOOL}/status"), "timed-out");
    assert_eq!(lines("zpool", root), [command, "no end after 20s, killed"]);
    put(root, &format!("{ZPOOL}/status"), "1");
    put(
        root,
        &format!("{ZPOOL}/stderr"),
        "Permission denied the ZFS utilities must be run as root.\n",
    );
    let words = "Permission denied the ZFS utilities must be run as root.";
    assert_eq!(lines("zpool", root), [command, words]);
    put(root, &format!("{ZPOOL}/status"), "127");
    assert_eq!(lines("zpool", root), ["absent"]);
    put(root, &format!("{ZPOOL}/status"), "0");
    put(root, &format!("{ZPOOL}/stdout"), "Segmentation fault\n");
    assert_eq!(lines("zpool", root)[0], "zpool status makes no sense");
}

const BTRFS: &str = "sys/fs/btrfs/0abb";

fn btrfs(root: &Path) {
    let file = |name: &str, text: &str| put(root, &format!("{BTRFS}/{name}"), text);
    put(root, "sys/fs/btrfs/features/skinny_metadata", "0\n");
    file("label", "fix ture\n");
    file("allocation/global_rsv_size", "16777216\n");
    file("allocation/data/bytes_reserved", "4096\n");
    file("allocation/data/flags", "1\n");
    file("allocation/data/raid5/total_bytes", "3000\n");
    file("allocation/data/raid5/used_bytes", "2000\n");
    file(
        "commit_stats",
        "commits 258\nlast_commit_ms 1000\nmax_commit_ms 51992\ntotal_commit_ms 47836090\n",
    );
    for device in ["sda", "sdb", "sdc"] {
        file(&format!("devices/{device}/size"), "20\n");
    }
    file("devinfo/1/missing", "0\n");
    file(
        "devinfo/1/error_stats",
        "write_errs 1\nread_errs 2\nflush_errs 3\ncorruption_errs 4\ngeneration_errs 5\n",
    );
    file("devinfo/2/missing", "1\n");
    file("devinfo/2/error_stats", "invalid\n");
}

#[test]
fn filesystems_of_type_btrfs() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    put(root, "sys/fs/btrfs/features/skinny_metadata", "0\n");
    assert_eq!(lines("btrfs", root), ["absent"], "a module without a filesystem");
    btrfs(root);
    let errors = |kind: &str, count: u8| {
        format!(
            r#"labstat_btrfs_device_errors_total{{devid="1", type="{kind}", uuid="0abb"}} {count}"#
        )
    };
    let size = |device: &str| {
        format!(r#"node_btrfs_device_size_bytes{{device="{device}", uuid="0abb"}} 10240"#)
    };
    let raid5 = r#"{block_group_type="data", mode="raid5", uuid="0abb"}"#;
    let expected = [
        errors("corruption", 4),
        errors("flush", 3),
        errors("generation", 5),
        errors("read", 2),
        errors("write", 1),
        r#"labstat_btrfs_device_missing{devid="1", uuid="0abb"} 0"#.to_owned(),
        r#"labstat_btrfs_device_missing{devid="2", uuid="0abb"} 1"#.to_owned(),
        format!("node_btrfs_allocation_ratio{raid5} 1.5"),
        r#"node_btrfs_commit_seconds_total{uuid="0abb"} 47836.09"#.to_owned(),
        r#"node_btrfs_commits_total{uuid="0abb"} 258"#.to_owned(),
        size("sda"),
        size("sdb"),
        size("sdc"),
        r#"node_btrfs_global_rsv_size_bytes{uuid="0abb"} 16777216"#.to_owned(),
        r#"node_btrfs_info{label="fix ture", uuid="0abb"} 1"#.to_owned(),
        r#"node_btrfs_last_commit_seconds{uuid="0abb"} 1"#.to_owned(),
        r#"node_btrfs_max_commit_seconds{uuid="0abb"} 51.992"#.to_owned(),
        r#"node_btrfs_reserved_bytes{block_group_type="data", uuid="0abb"} 4096"#.to_owned(),
        format!("node_btrfs_size_bytes{raid5} 3000"),
        format!("node_btrfs_used_bytes{raid5} 2000"),
    ];
    assert_eq!(lines("btrfs", root), expected);
}

#[test]
fn files_of_btrfs_that_make_no_sense_are_errors() {
    for (file, text) in [
        ("devinfo/1/error_stats", "write_errs\n"),
        ("devinfo/1/missing", ""),
        ("commit_stats", "commits x\n"),
        ("allocation/data/raid5/used_bytes", "-1\n"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        btrfs(dir.path());
        put(dir.path(), &format!("{BTRFS}/{file}"), text);
        let error = format!("/{BTRFS}/{file} makes no sense");
        assert_eq!(lines("btrfs", dir.path())[0], error);
    }
    let dir = tempfile::tempdir().unwrap();
    btrfs(dir.path());
    for file in ["devices", "label"] {
        let path = format!("/{BTRFS}/{file}");
        put(dir.path(), "errors.json", format!(r#"{{"{path}":13}}"#));
        assert_eq!(lines("btrfs", dir.path())[0], format!("failed to read {path}"));
    }
    for file in ["allocation", "devinfo", "commit_stats"] {
        let path = dir.path().join(BTRFS).join(file);
        let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
    }
    put(dir.path(), "errors.json", "{}");
    assert_eq!(lines("btrfs", dir.path()).len(), 4, "an older kernel has less of it");
}

#[test]
fn a_server_that_hangs_takes_no_time_of_the_disks() {
    let dir = tempfile::tempdir().unwrap();
    let mounts =
        "22 1 0:40 / /media rw - nfs4 nas:/media rw\n23 1 254:1 / / rw - ext4 /dev/vda1 rw\n";
    put(dir.path(), "proc/1/mountinfo", mounts);
    let (_, batch) = {
        let size = r#"{"size_bytes":10,"free_bytes":5,"avail_bytes":5,"files":1,"files_free":1,"readonly":false}"#;
        put(dir.path(), "statvfs.json", format!(r#"{{"/":{size},"/media":110}}"#));
        run("filesystem", dir.path()).unwrap()
    };
    let mut asked: Vec<_> = batch.iter().filter_map(|s| s.labels.get("mountpoint")).collect();
    asked.dedup();
    assert_eq!(asked, ["/", "/media"]);
}

/// No right is a failure that doctor tells of, and never the same as nothing there.
#[test]
fn what_may_not_be_read_is_not_taken_for_absent() {
    for (collector, path) in [
        ("lvm", "/sys/block/dm-3/dm/uuid"),
        ("lvm", "/sys/block/dm-3/dm/name"),
        ("zpool", "/proc/spl/kstat/zfs/tank"),
        ("filesystem", "/proc/1/mountinfo"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        thin_pool(root);
        put(root, &format!("{KSTAT}/tank/state"), "ONLINE\n");
        put(root, "errors.json", format!(r#"{{"{path}":13}}"#));
        let said = lines(collector, root);
        assert_eq!(said[0], format!("failed to read {path}"), "{collector}");
        assert!(said[1].starts_with("Permission denied"), "{said:?}");
    }
}
