//! The machines that are broken: those of the collectors' own fixtures, one made here of what those
//! lack, and captures of other projects where they are at hand.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::host::Broken;

/// A machine to be broken.
pub(crate) struct Tree {
    pub(crate) name: String,
    pub(crate) host: Broken,
    /// What was unpacked lives as long as this.
    _dir: Option<TempDir>,
}

impl Tree {
    fn at(name: String, root: &Path) -> Self {
        Self { name, host: Broken::open(root), _dir: None }
    }

    fn made(name: &str, fill: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path());
        Self { name: name.to_owned(), host: Broken::open(dir.path()), _dir: Some(dir) }
    }
}

/// All of them.
pub(crate) fn all() -> Vec<Tree> {
    let mut trees = vec![Tree::made("storage-and-guests", storage_and_guests)];
    trees.extend(fixtures());
    trees.push(over_netlink());
    trees.extend(others());
    trees
}

fn crate_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sorted(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Those of the fixtures of each collector that are in order.
fn fixtures() -> Vec<Tree> {
    let collectors = sorted(&crate_dir().join("fixtures"));
    let cases = collectors.iter().flat_map(|collector| sorted(collector));
    let good = cases.filter(|case| case.join("expected.prom").exists());
    good.map(|case| {
        let name = case.strip_prefix(crate_dir().join("fixtures")).unwrap().display().to_string();
        Tree::at(name, &case)
    })
    .collect()
}

/// Interfaces as the kernel tells of them over netlink.
fn over_netlink() -> Tree {
    let answer = |name: &str| {
        let file = crate_dir().join("../parse/fixtures/rtnetlink").join(name);
        // One word of hex digits, and comments.
        fs::read(file).unwrap()
    };
    let name = "bond-vlans-and-an-aware-bridge";
    let (links, vlans) = (answer(&format!("{name}.links")), answer(&format!("{name}.vlans")));
    let mut tree = Tree::made("netlink", |root| {
        for (file, text) in [("proc/net/bonding/bond0", ""), ("proc/net/vlan/config", "")] {
            put(root, file, text);
        }
    });
    tree.host = tree.host.with_netlink(links, vlans);
    tree
}

/// Third parties' captures, which may not be copied.
fn others() -> Vec<Tree> {
    let shared = crate_dir().join("../../../shared/fixtures");
    if !shared.exists() {
        println!("SKIPPED: no captures in {}", shared.display());
        return Vec::new();
    }
    let mut trees = Vec::new();
    for file in sorted(&shared.join("sys")) {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.file_stem().unwrap().to_str().unwrap();
        trees.push(Tree::made(name, |root| unpack(&text, root)));
    }
    for source in ["jc", "node_exporter", "procfs"] {
        let dir = shared.join("proc").join(source);
        trees.push(Tree::made(&format!("proc-{source}"), |root| {
            for file in sorted(&dir).iter().filter(|file| file.is_file()) {
                let name = file.file_name().unwrap().to_str().unwrap();
                let name = if name == "net_dev" { "net/dev" } else { name };
                put(root, &format!("proc/{name}"), fs::read(file).unwrap());
            }
        }));
    }
    trees
}

fn put(root: &Path, path: &str, text: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn unpack(lines: &str, root: &Path) {
    for line in lines.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| entry[key].as_str().unwrap_or_default();
        let path = root.join(text("path"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match text("kind") {
            "dir" => fs::create_dir_all(&path).unwrap(),
            "link" => symlink(text("target"), &path).unwrap(),
            _ => fs::write(&path, text("text")).unwrap(),
        }
    }
}

const BTRFS: &str = "sys/fs/btrfs/0abb";
const GUEST: &str = "sys/fs/cgroup/lxc/102";
const QEMU: &str = "sys/fs/cgroup/qemu.slice/101.scope";
const KSTAT: &str = "proc/spl/kstat/zfs";
const RAPL: &str = "sys/class/powercap/intel-rapl:0";
const CPU: &str = "sys/devices/system/cpu/cpu0";
const DOCKER: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Pools, volumes, guests, energy and what waits for a new start.
fn storage_and_guests(root: &Path) {
    btrfs_and_guests(root);
    the_rest(root);
}

fn below(root: &Path, dir: &str, files: &[(&str, &str)]) {
    for (file, text) in files {
        put(root, &format!("{dir}/{file}"), text);
    }
}

fn btrfs_and_guests(root: &Path) {
    below(
        root,
        BTRFS,
        &[
            ("label", "tank\n"),
            ("allocation/global_rsv_size", "16777216\n"),
            ("allocation/data/bytes_reserved", "4096\n"),
            ("allocation/data/flags", "1\n"),
            ("allocation/data/raid1/total_bytes", "3000\n"),
            ("allocation/data/raid1/used_bytes", "2000\n"),
            (
                "commit_stats",
                "commits 258\nlast_commit_ms 1000\nmax_commit_ms 51992\ntotal_commit_ms 47836090\n",
            ),
            ("devices/sda/size", "20\n"),
            ("devinfo/1/missing", "0\n"),
            (
                "devinfo/1/error_stats",
                "write_errs 1\nread_errs 2\nflush_errs 3\ncorruption_errs 4\ngeneration_errs 5\n",
            ),
        ],
    );
    let group: &[(&str, &str)] = &[
        ("cgroup.procs", "1\n"),
        (
            "cpu.stat",
            "usage_usec 5000000\nuser_usec 3000000\nsystem_usec 2000000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 1500000\n",
        ),
        ("memory.current", "1048576\n"),
        ("memory.stat", "anon 600000\nfile 400000\nkernel 48576\nslab 1\n"),
        ("memory.max", "2097152\n"),
        ("memory.swap.current", "4096\n"),
        ("memory.events", "low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\n"),
        ("io.stat", "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n"),
        ("pids.current", "17\n"),
        (
            "cpu.pressure",
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=500000\n",
        ),
    ];
    for guest in [GUEST, QEMU, &format!("sys/fs/cgroup/system.slice/docker-{DOCKER}.scope")] {
        below(root, guest, group);
    }
}

fn the_rest(root: &Path) {
    let docker = r#"{"Name":"/proxy","Config":{"Image":"caddy:2","Labels":{"com.docker.compose.project":"edge"}}}"#;
    below(
        root,
        ".",
        &[
            ("sys/fs/cgroup/cgroup.controllers", "cpu io memory pids\n"),
            ("sys/dev/block/8:0/uevent", "MAJOR=8\nMINOR=0\nDEVNAME=sda\n"),
            ("etc/pve/qemu-server/101.conf", "name: nas\nmemory: 2048\n"),
            ("etc/pve/nodes/vertex/lxc/102.conf", "hostname: web\n"),
            ("host.json", r#"{"uname":{"nodename":"vertex","release":"6.8.1-1-pve"}}"#),
            ("boot/vmlinuz-6.8.1-1-pve", ""),
            ("boot/vmlinuz-6.8.9-1-pve", ""),
            ("run/reboot-required", "*** System restart required ***\n"),
            ("run/reboot-required.pkgs", "linux-base\nlibc6\n"),
            ("sys/block/dm-3/dm/name", "pve-data-tpool\n"),
            ("sys/block/dm-3/dm/uuid", "LVM-abcdef-tpool\n"),
            (
                "commands/dmsetup/status --target thin-pool --noflush/stdout",
                "pve-data-tpool: 0 2048 thin-pool 21 20/1000 300/400 - rw discard_passdown queue_if_no_space - 1024\n",
            ),
            (
                "commands/env/TZ=UTC zpool status -p/stdout",
                "  pool: tank\n state: DEGRADED\n  scan: scrub repaired 0 in 00:10:12 with 1 errors on Sun Nov  9 00:24:03 2025\nconfig:\n\n\tNAME      STATE     READ WRITE CKSUM\n\ttank      DEGRADED     0     0     0\n\t  sda     ONLINE       3     0    12\n\nerrors: 2 data errors, use '-v' for a list\n",
            ),
        ],
    );
    put(root, &format!("var/lib/docker/containers/{DOCKER}/config.v2.json"), docker);
    below(
        root,
        KSTAT,
        &[
            ("tank/state", "DEGRADED\n"),
            (
                "tank/objset-0x36",
                "27 1 0x01 7 2160 1 2\nname                            type data\ndataset_name                    7    tank/data\nwrites                          4    10\nnwritten                        4    2048\nreads                           4    7\nnread                           4    4096\nnunlinks                        4    3\nnunlinked                       4    2\n",
            ),
            (
                "arcstats",
                "6 1 0x01 91 4368 5266997922 97951858082072\nname                            type data\nhits                            4    8772612\nmisses                          4    604635\nsize                            4    1603939792\n",
            ),
        ],
    );
    below(
        root,
        RAPL,
        &[("name", "package-0\n"), ("energy_uj", "240422366267\n"), ("enabled", "1\n")],
    );
    below(
        root,
        CPU,
        &[
            ("thermal_throttle/core_throttle_count", "5\n"),
            ("thermal_throttle/package_throttle_count", "30\n"),
            ("topology/core_id", "0\n"),
            ("topology/physical_package_id", "0\n"),
        ],
    );
}
