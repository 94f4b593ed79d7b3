//! Captured machines through the real binary: what they said becomes the text exposition that was
//! read and found right, and a capture of this machine says what this machine says.

use std::path::Path;

use crate::support::command;

/// Parts of one machine: the collectors' own fixtures that fit together. It has a bond on one leg,
/// a degraded array, three disks, an OSD that does not answer and a file system that hangs.
const PARTS: &[&str] = &[
    "ceph/one-osd-down",
    "cpu/deb12-idle",
    "diskstats/deb12-idle",
    "filesystem/one-mount-hangs",
    "hwmon/nvme-lm75-adt7475",
    "links/bond-one-slave-down",
    "loadavg/deb12-idle",
    "mdadm/raid1-member-failed-raid5-member-pulled",
    "meminfo/deb12-idle",
    "netclass/bond-one-slave-down",
    "netdev/bond-one-slave-down",
    "netstat/deb12-idle",
    "os/debian-12",
    "pressure/deb12-idle",
    "smartctl/qemu-nvme-sata-scsi",
    "sockstat/deb12-idle",
    "stat/deb12-idle",
    "thermal_zone/one-zone-off",
    "uname/from-proc",
    "vmstat/deb12-idle",
];

/// Families that tell of this run and not of the machine.
const OF_THE_RUN: [&str; 4] =
    ["node_scrape_collector_duration_seconds", "process_", "labstat_agent_", "labstat_build_info"];

/// Copies a tree with its links into another; errors that both recorded come together.
fn merge(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (name, path) = entry.map(|entry| (entry.file_name(), entry.path())).unwrap();
        let target = to.join(&name);
        if path.is_symlink() {
            let _ = std::os::unix::fs::symlink(std::fs::read_link(&path).unwrap(), &target);
        } else if path.is_dir() {
            merge(&path, &target);
        } else if name == "errors.json" && target.exists() {
            let read = |path: &Path| -> serde_json::Map<String, serde_json::Value> {
                serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
            };
            let mut both = read(&target);
            both.extend(read(&path));
            std::fs::write(&target, serde_json::to_vec(&both).unwrap()).unwrap();
        } else if name != "expected.prom" {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// `labstat agent --once` of a captured machine, without what differs from run to run.
fn once(machine: &Path, path: &Path) -> String {
    let machine = machine.to_str().unwrap();
    let output = command(&["agent", "--once", "--host-root", machine, "--node", "apex"])
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let of_the_run = |line: &str| {
        let name = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
        OF_THE_RUN.iter().any(|prefix| name.unwrap_or(line).starts_with(prefix))
    };
    let lines = text.lines().filter(|line| !of_the_run(line));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_captured_machine_gives_the_text_it_should() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    let (machine, empty) = (dir.path().join("machine"), dir.path().join("bin"));
    std::fs::create_dir(&empty).unwrap();
    for part in PARTS {
        merge(&root.join("agent/collect/fixtures").join(part), &machine);
    }
    let got = once(&machine, &empty);
    let golden = root.join("tests/golden/captured-machine.prom");
    let expected = std::fs::read_to_string(&golden).unwrap();
    if got == expected {
        return;
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::write(&golden, &got).unwrap();
        return;
    }
    let only = |here: &str, there: &str, mark: char| -> Vec<String> {
        let there: std::collections::HashSet<&str> = there.lines().collect();
        let lines = here.lines().filter(|line| !there.contains(line));
        lines.map(|line| format!("{mark} {line}")).collect()
    };
    let lines = [only(&expected, &got, '-'), only(&got, &expected, '+')].concat();
    panic!("{}: other lines, or another order\n{}", golden.display(), lines.join("\n"));
}

#[test]
fn a_capture_of_this_machine_says_what_this_machine_says() {
    let dir = tempfile::tempdir().unwrap();
    let machine = dir.path().join("machine");
    let output = command(&["capture", machine.to_str().unwrap()]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let replayed = once(&machine, dir.path());
    let live = command(&["agent", "--once", "--only", "meminfo,uname,os,cpu"]).output().unwrap();
    let live = String::from_utf8(live.stdout).unwrap();
    let kept = ["node_memory_MemTotal_bytes ", "node_uname_info{", "node_os_info{"];
    for name in kept {
        let line = |text: &str| text.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        assert_eq!(line(&live), line(&replayed), "{name}");
        assert!(line(&live).is_some() || name == "node_os_info{", "{name}");
    }
}
