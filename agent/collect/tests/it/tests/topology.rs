//! Machines laid out by hand: which disk is where, what stands on it, and what it can lose.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use labstat_collect::{Collector, Options, ReplayHost, Status, capture, registry};
use labstat_model::{Batch, ManualClock};

/// A machine in a folder, built device by device as the kernel and udev would lay it out.
struct Machine {
    dir: tempfile::TempDir,
    minors: Cell<u32>,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { dir: tempfile::tempdir().unwrap(), minors: Cell::new(0) };
        fs::create_dir_all(machine.at("sys/block")).unwrap();
        machine
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn put(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    /// A block device in the folder `dir`, with what udev says; gives its number.
    fn block(&self, dir: &str, udev: &str) -> String {
        let minor = self.minors.get();
        self.minors.set(minor + 1);
        let number = format!("259:{minor}");
        self.put(&format!("{dir}/dev"), format!("{number}\n"));
        self.put(&format!("{dir}/size"), "2048\n");
        if !udev.is_empty() {
            let lines: Vec<String> = udev
                .split(' ')
                .map(
                    |word| {
                        if word.starts_with("S:") { word.to_owned() } else { format!("E:{word}") }
                    },
                )
                .collect();
            self.put(&format!("run/udev/data/b{number}"), lines.join("\n"));
        }
        number
    }

    fn whole(&self, name: &str, dir: &str, udev: &str) -> String {
        self.link(&format!("sys/block/{name}"), &format!("../{}", dir.trim_start_matches("sys/")));
        self.block(dir, udev)
    }

    /// The folder of a whole device.
    fn dir(&self, name: &str) -> String {
        let target = fs::read_link(self.at(&format!("sys/block/{name}"))).unwrap();
        format!("sys/{}", target.to_str().unwrap().trim_start_matches("../"))
    }

    /// A disk on AHCI port `port`, with its serial number in page 80h.
    fn sata(&self, name: &str, port: u32, serial: &str) -> String {
        let ata = format!("sys/devices/pci0000:00/0000:00:17.0/ata{port}");
        let device = format!("{ata}/host{port}/target{port}:0:0/{port}:0:0:0");
        let dir = format!("{device}/block/{name}");
        let number =
            self.whole(name, &dir, &format!("ID_ATA=1 ID_BUS=ata ID_SERIAL_SHORT={serial}"));
        self.link(&format!("{dir}/device"), &format!("../../../{port}:0:0:0"));
        let len = u8::try_from(serial.len()).unwrap();
        self.put(&format!("{device}/vpd_pg80"), [&[0, 0x80, 0, len], serial.as_bytes()].concat());
        self.put(&format!("{device}/vendor"), "ATA     \n");
        self.put(&format!("{device}/model"), "Lab Disk        \n");
        self.put(&format!("{ata}/ata_port/ata{port}/port_no"), format!("{port}\n"));
        self.put(&format!("{ata}/host{port}/scsi_host/host{port}/proc_name"), "ahci\n");
        number
    }

    /// A disk of NVMe controller `number` with one namespace.
    fn nvme(&self, number: u32, serial: &str, udev: &str) -> String {
        let address = format!("0000:0{number}:00.0");
        let controller = format!("sys/devices/pci0000:00/0000:00:1d.0/{address}/nvme/nvme{number}");
        for (file, text) in [
            ("serial", format!("{serial}   \n")),
            ("model", "CT1000P3PSSD8     \n".to_owned()),
            ("transport", "pcie\n".to_owned()),
            ("address", format!("{address}\n")),
        ] {
            self.put(&format!("{controller}/{file}"), text);
        }
        let name = format!("nvme{number}n1");
        let dir = format!("{controller}/{name}");
        self.put(&format!("{dir}/wwid"), "eui.00a0750123456789\n");
        self.link(&format!("{dir}/device"), &format!("../../nvme{number}"));
        self.whole(&name, &dir, udev)
    }

    /// A partition; gives its number.
    fn part(&self, disk: &str, name: &str, udev: &str) -> String {
        let dir = format!("{}/{name}", self.dir(disk));
        self.put(&format!("{dir}/partition"), "1\n");
        self.block(&dir, udev)
    }

    /// A device made of others.
    fn made(&self, name: &str, below: &[&str], udev: &str) -> String {
        let dir = format!("sys/devices/virtual/block/{name}");
        fs::create_dir_all(self.at(&format!("{dir}/slaves"))).unwrap();
        for device in below {
            self.link(&format!("{dir}/slaves/{device}"), &format!("../../{device}"));
        }
        self.whole(name, &dir, udev)
    }

    fn mapped(&self, device: &str, name: &str, uuid: &str, below: &[&str]) -> String {
        let dir = format!("sys/devices/virtual/block/{device}");
        self.put(&format!("{dir}/dm/name"), format!("{name}\n"));
        self.put(&format!("{dir}/dm/uuid"), format!("{uuid}\n"));
        self.made(device, below, "DM_X=1")
    }

    /// An array, of members with their states in the order of their slots.
    fn array(&self, name: &str, level: &str, disks: u32, members: &[(&str, &str)]) -> String {
        let dir = format!("sys/devices/virtual/block/{name}");
        let whole = members.iter().filter(|(_, state)| state.starts_with("in_sync")).count();
        for (file, text) in [
            ("level", level.to_owned()),
            ("array_state", "clean".to_owned()),
            ("raid_disks", disks.to_string()),
            ("degraded", (disks as usize - whole).to_string()),
        ] {
            self.put(&format!("{dir}/md/{file}"), format!("{text}\n"));
        }
        for (slot, (device, state)) in members.iter().enumerate() {
            let slot = match *state {
                "spare" | "faulty" => "none".to_owned(),
                _ => slot.to_string(),
            };
            self.put(
                &format!("{dir}/md/dev-{device}/state"),
                format!("{}\n", state.trim_start_matches("rebuilding ")),
            );
            self.put(&format!("{dir}/md/dev-{device}/slot"), format!("{slot}\n"));
        }
        let names: Vec<&str> = members.iter().map(|(device, _)| *device).collect();
        self.made(name, &names, "MD_X=1")
    }

    fn mounts(&self, mounts: &[(&str, &str, &str, &str)]) {
        let line = |(at, (number, point, fstype, source)): (usize, &(&str, &str, &str, &str))| {
            format!("{} 1 {number} / {point} rw - {fstype} {source} rw\n", at + 20)
        };
        let text: String = mounts.iter().enumerate().map(line).collect();
        self.put("proc/1/mountinfo", text);
    }

    fn host(&self) -> ReplayHost {
        ReplayHost::open(self.dir.path(), Arc::new(ManualClock::new(0))).unwrap()
    }

    fn look(&self) -> Batch {
        look(&mut *make(), self.dir.path(), 0)
    }
}

fn make() -> Box<dyn Collector> {
    let entry = registry().iter().find(|entry| entry.name == "topology").unwrap();
    (entry.make)(&Options::default())
}

fn look(collector: &mut dyn Collector, root: &Path, now_ms: i64) -> Batch {
    let host = ReplayHost::open(root, Arc::new(ManualClock::new(now_ms))).unwrap();
    let mut batch = Batch::new();
    collector.collect(&host, &mut batch).unwrap();
    let series: Vec<String> =
        batch.iter().map(|s| format!("{}{}", s.family.name, s.labels)).collect();
    let unique: BTreeSet<&String> = series.iter().collect();
    assert_eq!(unique.len(), series.len(), "a series twice: {series:#?}");
    batch
}

/// `part kind name role` of all uses of a disk, sorted; `-` where something is not said.
fn uses(batch: &Batch, device: &str) -> Vec<String> {
    let mut uses: Vec<String> = batch
        .iter()
        .filter(|s| s.family.name == "labstat_disk_use_info")
        .filter(|s| s.labels.get("device") == Some(device))
        .map(|s| {
            let words = ["part", "kind", "name", "role"].map(|l| s.labels.get(l).unwrap_or("-"));
            words.join(" ")
        })
        .collect();
    uses.sort();
    uses
}

/// `kind name number` of what a disk's things can lose, sorted.
fn redundancy(batch: &Batch, device: &str) -> Vec<String> {
    let mut all: Vec<String> = batch
        .iter()
        .filter(|s| s.family.name == "labstat_disk_redundancy")
        .filter(|s| s.labels.get("device") == Some(device))
        .map(|s| {
            let [kind, name] = ["kind", "name"].map(|l| s.labels.get(l).unwrap_or("-"));
            format!("{kind} {name} {}", s.value)
        })
        .collect();
    all.sort();
    all
}

fn info(batch: &Batch, device: &str, label: &str) -> String {
    let found = batch
        .iter()
        .find(|s| s.family.name == "labstat_disk_info" && s.labels.get("device") == Some(device));
    found.unwrap().labels.get(label).unwrap_or_default().to_owned()
}

#[test]
fn volumes_on_a_mirror_of_partitions() {
    let machine = Machine::new();
    machine.sata("sda", 1, "S1");
    machine.sata("sdb", 2, "S2");
    let esp = machine.part("sda", "sda1", "ID_FS_TYPE=vfat ID_FS_USAGE=filesystem ID_FS_LABEL=EFI");
    machine.part("sda", "sda2", "ID_FS_TYPE=linux_raid_member");
    machine.part("sdb", "sdb1", "ID_FS_TYPE=vfat ID_FS_USAGE=filesystem ID_FS_LABEL=EFI");
    machine.part("sdb", "sdb2", "ID_FS_TYPE=linux_raid_member");
    machine.array("md0", "raid1", 2, &[("sda2", "in_sync"), ("sdb2", "in_sync")]);
    let root = machine.mapped("dm-0", "pve-root", "LVM-x", &["md0"]);
    machine.mapped("dm-1", "pve-swap", "LVM-y", &["md0"]);
    machine.mapped("dm-2", "pve-vm--100--disk--0", "LVM-z", &["md0"]);
    machine.mounts(&[
        (&root, "/", "ext4", "/dev/mapper/pve-root"),
        (&esp, "/boot/efi", "vfat", "/dev/sda1"),
    ]);
    machine.put("proc/swaps", "Filename Type Size Used Priority\n/dev/dm-1 partition 1 0 -2\n");
    let batch = machine.look();
    let common = [
        "2 lvm_lv pve/vm-100-disk-0 volume",
        "2 lvm_pv pve member",
        "2 md md0 in-use",
        "2 mount / ext4",
        "2 swap pve-swap swap",
    ];
    let on = |disk: &str, first: &str| -> Vec<String> {
        let rest = common.iter().map(|used| format!("{disk}{used}"));
        [format!("{disk}1 {first}")].into_iter().chain(rest).collect()
    };
    assert_eq!(uses(&batch, "sda"), on("sda", "mount /boot/efi vfat"));
    assert_eq!(uses(&batch, "sdb"), on("sdb", "filesystem EFI vfat"));
    let whole = [
        "lvm_lv pve/vm-100-disk-0 1",
        "lvm_pv pve 1",
        "md md0 1",
        "mount / 1",
        "mount /boot/efi 0",
        "swap pve-swap 1",
    ];
    assert_eq!(redundancy(&batch, "sda"), whole);
    assert_eq!(redundancy(&batch, "sdb")[0], "filesystem EFI 0");
    let serial = [("device", "sda"), ("serial_number", "S1")];
    assert_eq!(batch.value("labstat_disk_size_bytes", &serial), Some(1_048_576.0));
}

#[test]
fn a_mirror_with_one_leg_left_can_lose_nothing_and_the_lost_leg_breaks_nothing() {
    let machine = Machine::new();
    for (name, port) in [("sda", 1), ("sdb", 2), ("sdc", 3), ("sdd", 4)] {
        machine.sata(name, port, name);
    }
    let states =
        [("sda", "in_sync"), ("sdb", "faulty"), ("sdc", "rebuilding spare"), ("sdd", "spare")];
    let root = machine.array("md0", "raid1", 2, &states);
    machine.mounts(&[(&root, "/", "ext4", "/dev/md0")]);
    let batch = machine.look();
    assert_eq!(uses(&batch, "sda"), ["sda md md0 in-use", "sda mount / ext4"]);
    assert_eq!(redundancy(&batch, "sda"), ["md md0 0", "mount / 0"]);
    for (device, role) in [("sdb", "faulty"), ("sdc", "rebuilding"), ("sdd", "spare")] {
        assert_eq!(uses(&batch, device), [format!("{device} md md0 {role}")]);
        assert!(redundancy(&batch, device).is_empty(), "{device} holds nothing");
    }
}

#[test]
fn encryption_between_volumes_and_mount() {
    let machine = Machine::new();
    machine.sata("sda", 1, "S1");
    machine.part("sda", "sda1", "ID_FS_TYPE=crypto_LUKS");
    machine.part("sda", "sda2", "ID_FS_TYPE=crypto_LUKS ID_FS_UUID=0123-closed");
    machine.mapped("dm-0", "luks-home", "CRYPT-LUKS2-0-luks-home", &["sda1"]);
    let home = machine.mapped("dm-1", "data-home", "LVM-x", &["dm-0"]);
    machine.mounts(&[(&home, "/home", "xfs", "/dev/mapper/data-home")]);
    let batch = machine.look();
    let expected = [
        "sda1 crypt luks-home open",
        "sda1 lvm_pv data member",
        "sda1 mount /home xfs",
        "sda2 crypt 0123-closed closed",
    ];
    assert_eq!(uses(&batch, "sda"), expected);
    assert!(redundancy(&batch, "sda").contains(&"mount /home 0".to_owned()));
}

#[test]
fn an_osd_on_nvme_with_its_journal_on_another_disk() {
    let machine = Machine::new();
    machine.nvme(1, "2311E6BBE8A1", "S:disk/by-id/nvme-eui.00a0750123456789 S:disk/by-id/nvme-CT1000P3PSSD8_2311E6BBE8A1 ID_FS_TYPE=LVM2_member");
    machine.sata("sda", 1, "S1");
    machine.part("sda", "sda1", "X=1");
    let block = "ceph--a1b2-osd--block--c3d4";
    machine.mapped("dm-0", block, "LVM-x", &["nvme1n1"]);
    machine.mapped("dm-1", "ceph--e5f6-osd--db--0708", "LVM-y", &["sda1"]);
    machine.put("var/lib/ceph/osd/ceph-3/whoami", "3\n");
    machine.link("var/lib/ceph/osd/ceph-3/block", "/dev/ceph-a1b2/osd-block-c3d4");
    machine.link("var/lib/ceph/osd/ceph-3/block.db", "/dev/mapper/ceph--e5f6-osd--db--0708");
    let batch = machine.look();
    assert_eq!(
        uses(&batch, "nvme1"),
        ["nvme1n1 ceph_osd osd.3 block", "nvme1n1 lvm_pv ceph-a1b2 member"]
    );
    assert_eq!(uses(&batch, "sda")[0], "sda1 ceph_osd osd.3 db");
    for device in ["nvme1", "sda"] {
        assert!(redundancy(&batch, device).is_empty(), "Ceph alone knows");
    }
    for (label, value) in [
        ("namespace", "nvme1n1"),
        ("serial_number", "2311E6BBE8A1"),
        ("model_name", "CT1000P3PSSD8"),
        ("wwn", "eui.00a0750123456789"),
        ("by_id", "nvme-CT1000P3PSSD8_2311E6BBE8A1"),
        ("bus", "nvme"),
        ("transport", "pcie"),
        ("path", "pci-0000:01:00.0-nvme-1"),
    ] {
        assert_eq!(info(&batch, "nvme1", label), value, "{label}");
    }
    // Without the right to look into the folders its volume tells.
    fs::remove_dir_all(machine.at("var/lib")).unwrap();
    let batch = machine.look();
    assert_eq!(uses(&batch, "nvme1")[0], "nvme1n1 ceph_osd osd-block-c3d4 block");
}

#[test]
fn osds_in_containers_have_their_folders_below_the_cluster() {
    let machine = Machine::new();
    machine.nvme(0, "N0", "ID_FS_TYPE=ceph_bluestore");
    let dir = "var/lib/ceph/9ba41170-4bf7-4b52-aa4d-bd8a54de93e3/osd.7";
    machine.link(&format!("{dir}/block"), "/dev/nvme0n1");
    assert_eq!(uses(&machine.look(), "nvme0"), ["nvme0n1 ceph_osd osd.7 block"]);
    fs::remove_dir_all(machine.at("var")).unwrap();
    assert_eq!(uses(&machine.look(), "nvme0"), ["nvme0n1 ceph_osd - inactive"]);
}

#[test]
fn pools_of_whole_disks() {
    let machine = Machine::new();
    let member = "ID_FS_TYPE=zfs_member ID_FS_LABEL=tank";
    for (name, port) in [("sda", 1), ("sdb", 2)] {
        machine.sata(name, port, name);
        machine.part(name, &format!("{name}1"), member);
        machine.part(name, &format!("{name}9"), "X=1");
    }
    machine.sata("sdc", 3, "S3");
    machine.part("sdc", "sdc3", "ID_FS_TYPE=zfs_member ID_FS_LABEL=rpool");
    machine.sata("sdd", 4, "S4");
    machine.part("sdd", "sdd1", "ID_FS_TYPE=zfs_member ID_FS_LABEL=old");
    machine.put("proc/spl/kstat/zfs/tank/state", "ONLINE\n");
    machine.put("proc/spl/kstat/zfs/rpool/state", "ONLINE\n");
    machine.mounts(&[
        ("0:30", "/", "zfs", "rpool/ROOT/pve-1"),
        ("0:31", "/tank", "zfs", "tank"),
        ("0:32", "/tank/media", "zfs", "tank/media"),
    ]);
    let batch = machine.look();
    let tank = ["mount /tank zfs", "mount /tank/media zfs", "zfs tank member"];
    for disk in ["sda", "sdb"] {
        assert_eq!(uses(&batch, disk), tank.map(|used| format!("{disk}1 {used}")));
        assert!(redundancy(&batch, disk).is_empty(), "mirror or stripe: the kernel does not say");
    }
    assert_eq!(uses(&batch, "sdc"), ["sdc3 mount / zfs", "sdc3 zfs rpool member"]);
    assert_eq!(redundancy(&batch, "sdc"), ["mount / 0", "zfs rpool 0"]);
    assert_eq!(uses(&batch, "sdd"), ["sdd1 zfs old inactive"]);
    assert!(redundancy(&batch, "sdd").is_empty());
}

#[test]
fn btrfs_by_its_profiles() {
    for (data, metadata, missing, spare) in [
        ("raid1", "raid1", 0, Some(1)),
        ("raid1", "raid1c3", 0, Some(1)),
        ("raid1", "raid1", 1, Some(0)),
        ("single", "raid1", 0, Some(0)),
        ("raid1", "dup", 0, Some(0)),
        ("raid6", "raid1c3", 0, Some(2)),
        ("new", "raid1", 0, None),
    ] {
        let machine = Machine::new();
        for (name, port) in [("sda", 1), ("sdb", 2), ("sdc", 3)] {
            machine.sata(name, port, name);
        }
        let dir = "sys/fs/btrfs/0aa1";
        for name in ["sda", "sdb", "sdc"] {
            machine.put(&format!("{dir}/devices/{name}"), "");
        }
        for (what, profile) in [("data", data), ("metadata", metadata), ("system", "raid1c4")] {
            machine.put(&format!("{dir}/allocation/{what}/{profile}/total_bytes"), "4096\n");
        }
        machine.put(
            &format!("{dir}/allocation/data/single/total_bytes"),
            if data == "single" { "9\n" } else { "0\n" },
        );
        for id in 1..=4 {
            let is_missing = u8::from(id > 4 - missing);
            machine.put(&format!("{dir}/devinfo/{id}/missing"), format!("{is_missing}\n"));
        }
        machine.put(&format!("{dir}/label"), "pool\n");
        machine.mounts(&[("0:44", "/srv", "btrfs", "/dev/sda")]);
        let batch = machine.look();
        let of_sdb = redundancy(&batch, "sdb");
        let expected: Vec<String> = spare
            .map(|spare| vec![format!("btrfs pool {spare}"), format!("mount /srv {spare}")])
            .unwrap_or_default();
        assert_eq!(of_sdb, expected, "{data} {metadata} {missing}");
        assert!(uses(&batch, "sdb").contains(&"sdb mount /srv btrfs".to_owned()), "on all of them");
    }
}

#[test]
fn two_paths_are_one_disk() {
    let machine = Machine::new();
    for (name, port) in [("sda", 1), ("sdb", 2)] {
        machine.sata(name, port, "ONE");
    }
    // The kernel sees the partition on each of the paths too.
    machine.part("sda", "sda1", "ID_FS_TYPE=ext4 ID_FS_USAGE=filesystem ID_FS_LABEL=DATA");
    machine.sata("sdc", 3, "TWO");
    machine.mapped("dm-0", "mpatha", "mpath-3600", &["sda", "sdb"]);
    machine.mapped("dm-1", "mpatha-part1", "part1-mpath-3600", &["dm-0"]);
    let data = machine.array("md0", "raid1", 2, &[("dm-1", "in_sync"), ("sdc", "in_sync")]);
    machine.mounts(&[(&data, "/data", "ext4", "/dev/md0")]);
    let batch = machine.look();
    for path in ["sda", "sdb"] {
        let expected = ["md md0 in-use", "mount /data ext4", "multipath mpatha path"];
        assert_eq!(uses(&batch, path), expected.map(|used| format!("{path} {used}")));
        assert_eq!(redundancy(&batch, path), ["md md0 1", "mount /data 1", "multipath mpatha 1"]);
    }
    assert_eq!(redundancy(&batch, "sdc"), ["md md0 1", "mount /data 1"]);
}

#[test]
fn a_cache_breaks_something_only_while_it_alone_has_the_data() {
    for (state, mounts, spare) in [("clean", 0, None), ("dirty", 1, Some(0)), ("", 1, None)] {
        let machine = Machine::new();
        machine.sata("sda", 1, "BIG");
        machine.nvme(0, "FAST", "X=1");
        let set = format!("{}/bcache/set", machine.dir("nvme0n1"));
        machine.link(&set, "../../../fs/bcache/x");
        let dir = "sys/devices/virtual/block/bcache0";
        machine.put(&format!("{dir}/bcache/state"), format!("{state}\n"));
        let number = machine.made("bcache0", &["nvme0n1", "sda"], "X=1");
        machine.mounts(&[(&number, "/data", "ext4", "/dev/bcache0")]);
        let batch = machine.look();
        let cache = uses(&batch, "nvme0");
        assert_eq!(cache[0], "nvme0n1 bcache bcache0 cache");
        assert_eq!(cache.len(), 1 + mounts, "{state}");
        let expected: Vec<String> = spare
            .map(|spare: u8| {
                vec![format!("bcache bcache0 {spare}"), format!("mount /data {spare}")]
            })
            .unwrap_or_default();
        assert_eq!(redundancy(&batch, "nvme0"), expected, "{state}");
        assert_eq!(uses(&batch, "sda")[0], "sda bcache bcache0 backing");
        let known = !state.is_empty();
        assert_eq!(redundancy(&batch, "sda").len(), if known { 2 } else { 0 }, "{state}");
    }
}

#[test]
fn volumes_with_copies_are_not_judged_and_thin_ones_are() {
    let machine = Machine::new();
    machine.sata("sda", 1, "S1");
    machine.sata("sdb", 2, "S2");
    machine.mapped("dm-0", "vg-mirror_rimage_0", "LVM-a", &["sda"]);
    machine.mapped("dm-1", "vg-mirror_rimage_1", "LVM-b", &["sdb"]);
    let mirror = machine.mapped("dm-2", "vg-mirror", "LVM-c", &["dm-0", "dm-1"]);
    machine.mapped("dm-3", "vg-data_tdata", "LVM-d-tdata", &["sda"]);
    machine.mapped("dm-4", "vg-data-tpool", "LVM-e-tpool", &["dm-3"]);
    let thin = machine.mapped("dm-5", "vg-thin", "LVM-f", &["dm-4"]);
    machine.mounts(&[
        (&mirror, "/safe", "ext4", "/dev/mapper/vg-mirror"),
        (&thin, "/thin", "ext4", "/dev/mapper/vg-thin"),
    ]);
    let batch = machine.look();
    assert_eq!(
        uses(&batch, "sda"),
        ["sda lvm_pv vg member", "sda mount /safe ext4", "sda mount /thin ext4"]
    );
    assert_eq!(redundancy(&batch, "sda"), ["mount /thin 0"]);
    assert!(redundancy(&batch, "sdb").is_empty(), "only the device's table tells");
}

#[test]
fn what_lies_unused_is_said_where_it_can_be_known() {
    let machine = Machine::new();
    machine.sata("sda", 1, "S1");
    machine.sata("sdb", 2, "S2");
    machine.part("sdb", "sdb1", "ID_FS_TYPE=ext4 ID_FS_USAGE=filesystem ID_FS_LABEL=BACKUP");
    machine.sata("sdc", 3, "S3");
    machine.part("sdc", "sdc1", "ID_FS_TYPE=linux_raid_member ID_FS_LABEL=nas:0");
    machine.part("sdc", "sdc2", "ID_FS_TYPE=LVM2_member LVM_VG_NAME_COMPLETE=old");
    machine.part("sdc", "sdc3", "ID_FS_TYPE=swap");
    machine.part("sdc", "sdc4", "ID_FS_TYPE=btrfs ID_FS_LABEL=b ID_FS_USAGE=filesystem");
    let batch = machine.look();
    assert_eq!(uses(&batch, "sda"), ["sda none - -"]);
    assert_eq!(uses(&batch, "sdb"), ["sdb1 filesystem BACKUP ext4"]);
    assert_eq!(redundancy(&batch, "sdb"), ["filesystem BACKUP 0"]);
    let old = [
        "sdc1 md nas:0 inactive",
        "sdc2 lvm_pv old inactive",
        "sdc3 swap - inactive",
        "sdc4 btrfs b inactive",
    ];
    assert_eq!(uses(&batch, "sdc"), old);
    fs::remove_dir_all(machine.at("run")).unwrap();
    assert!(uses(&machine.look(), "sda").is_empty(), "a container sees no labels");
}

#[test]
fn places_have_names_with_and_without_udev() {
    let machine = Machine::new();
    machine.sata("sda", 3, "S1");
    // A disk in a USB adapter, which udev has asked through it.
    let usb = "sys/devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1.4/2-1.4:1.0/host6";
    let device = format!("{usb}/target6:0:0/6:0:0:0");
    machine.whole(
        "sdu",
        &format!("{device}/block/sdu"),
        "ID_ATA=1 ID_BUS=ata ID_SERIAL_SHORT=WD-WCC4N0 ID_MODEL_ENC=WDC\\x20WD10EZEX-08\\x20",
    );
    machine.link(&format!("{device}/block/sdu/device"), "../../../6:0:0:0");
    machine.put(&format!("{device}/vpd_pg80"), b"\0\x80\0\x04USB1");
    machine.put(&format!("{usb}/scsi_host/host6/proc_name"), "(null)\n");
    machine.link(
        &format!("{}/driver", usb.trim_end_matches("/host6")),
        "../../../../../../../bus/usb/drivers/uas",
    );
    // A disk in a shelf, seen by an enclosure processor.
    let sas = "sys/devices/pci0000:40/0000:41:00.0/host8/port-8:0/end_device-8:0";
    let device = format!("{sas}/target8:0:0/8:0:0:0");
    machine.whole(
        "sds",
        &format!("{device}/block/sds"),
        "ID_SERIAL_SHORT=5000c500a1b2c3d4 ID_SCSI_SERIAL=ZC1A2B3C ID_WWN=0x5000c500a1b2c3d4",
    );
    machine.link(&format!("{device}/block/sds/device"), "../../../8:0:0:0");
    machine.put(&format!("{device}/vendor"), "SEAGATE \n");
    machine.put(&format!("{device}/model"), "ST4000NM0023    \n");
    machine.put(&format!("{device}/wwid"), "naa.5000c500a1b2c3d4\n");
    machine.link(
        &format!("{device}/enclosure_device:Slot 03"),
        "../../../../enclosure/8:0:9:0/Slot 03",
    );
    machine.put("sys/devices/pci0000:40/0000:41:00.0/host8/enclosure/8:0:9:0/id", "0x500304800\n");
    machine.put(&format!("{sas}/sas_device/end_device-8:0/sas_address"), "0x5000c500a1b2c3d5\n");
    // A virtual machine's disk and a card.
    let virtio = "sys/devices/pci0000:00/0000:00:05.0/virtio2/block/vda";
    machine.whole("vda", virtio, "");
    machine.put(&format!("{virtio}/serial"), "disk-0\n");
    machine.link(&format!("{virtio}/device"), "../../../virtio2");
    let card = "sys/devices/platform/emmc2bus/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa";
    machine.whole("mmcblk0", &format!("{card}/block/mmcblk0"), "");
    machine.link(&format!("{card}/block/mmcblk0/device"), "../../../mmc0:aaaa");
    machine.put(&format!("{card}/serial"), "0x12345678\n");
    machine.put(&format!("{card}/name"), "SC64G\n");
    let batch = machine.look();
    for (device, label, value) in [
        ("sda", "bus", "sata"),
        ("sda", "path", "pci-0000:00:17.0-ata-3"),
        ("sda", "transport", "ahci"),
        ("sda", "model_name", "Lab Disk"),
        ("sdu", "bus", "usb"),
        ("sdu", "serial_number", "WD-WCC4N0"),
        ("sdu", "model_name", "WDC WD10EZEX-08"),
        ("sdu", "path", "pci-0000:00:14.0-usb-0:1.4:1.0-scsi-0:0:0:0"),
        ("sdu", "transport", "uas"),
        ("sds", "bus", "sas"),
        ("sds", "serial_number", "ZC1A2B3C"),
        ("sds", "model_name", "SEAGATE ST4000NM0023"),
        ("sds", "wwn", "0x5000c500a1b2c3d4"),
        ("sds", "enclosure", "0x500304800"),
        ("sds", "slot", "Slot 03"),
        ("sds", "path", "pci-0000:41:00.0-sas-0x5000c500a1b2c3d5-lun-0"),
        ("vda", "bus", "virtio"),
        ("vda", "serial_number", "disk-0"),
        ("vda", "path", "pci-0000:00:05.0"),
        ("mmcblk0", "bus", "mmc"),
        ("mmcblk0", "serial_number", "0x12345678"),
        ("mmcblk0", "model_name", "SC64G"),
    ] {
        assert_eq!(info(&batch, device, label), value, "{device} {label}");
    }
}

#[test]
fn a_disk_with_two_controllers_or_two_namespaces_is_one() {
    let machine = Machine::new();
    let subsystem = "sys/devices/virtual/nvme-subsystem/nvme-subsys1";
    machine.put(&format!("{subsystem}/serial"), "TWIN\n");
    machine.put(&format!("{subsystem}/model"), "M\n");
    for number in [1, 2] {
        let dir = format!("sys/devices/pci0000:00/0000:0{number}:00.0/nvme/nvme{number}");
        for (file, text) in [("serial", "TWIN"), ("model", "M"), ("transport", "pcie")] {
            machine.put(&format!("{dir}/{file}"), text);
        }
        machine.put(&format!("{dir}/address"), format!("0000:0{number}:00.0\n"));
        machine.link(
            &format!("{subsystem}/nvme{number}"),
            &format!(
                "../../../../{}",
                dir.trim_start_matches("sys/devices/").replacen("pci", "../devices/pci", 1)
            ),
        );
        machine.link(
            &format!("sys/class/nvme/nvme{number}"),
            &format!("../../{}", dir.trim_start_matches("sys/")),
        );
    }
    let mut numbers = Vec::new();
    for namespace in ["nvme1n1", "nvme1n2"] {
        let dir = format!("{subsystem}/{namespace}");
        numbers.push(machine.whole(namespace, &dir, "X=1"));
        machine.link(&format!("{dir}/device"), "../../nvme-subsys1");
    }
    let both = machine.array("md0", "raid1", 2, &[("nvme1n1", "in_sync"), ("nvme1n2", "in_sync")]);
    machine.mounts(&[(&both, "/", "ext4", "/dev/md0")]);
    // A controller whose namespaces are gone.
    let dead = "sys/devices/pci0000:00/0000:07:00.0/nvme/nvme5";
    for (file, text) in
        [("serial", "DEAD"), ("model", "M"), ("transport", "pcie"), ("address", "0000:07:00.0")]
    {
        machine.put(&format!("{dead}/{file}"), text);
    }
    machine.link("sys/class/nvme/nvme5", &format!("../../{}", dead.trim_start_matches("sys/")));
    machine.put("sys/bus/pci/slots/4/address", "0000:07:00\n");
    let batch = machine.look();
    let devices: BTreeSet<String> = batch
        .iter()
        .filter(|s| s.family.name == "labstat_disk_info")
        .map(|s| s.labels.get("device").unwrap_or_default().to_owned())
        .collect();
    assert_eq!(devices.into_iter().collect::<Vec<_>>(), ["nvme1", "nvme5"]);
    assert_eq!(redundancy(&batch, "nvme1"), ["md md0 0", "mount / 0"], "a mirror on one disk");
    assert_eq!(info(&batch, "nvme1", "serial_number"), "TWIN");
    assert_eq!(info(&batch, "nvme5", "serial_number"), "DEAD");
    assert_eq!(info(&batch, "nvme5", "slot"), "4");
    assert_eq!(info(&batch, "nvme5", "path"), "pci-0000:07:00.0");
}

#[test]
fn what_is_left_out_is_left_out_everywhere() {
    let machine = Machine::new();
    machine.sata("sda", 1, "S1");
    machine.sata("sdb", 2, "S2");
    machine.nvme(0, "N0", "X=1");
    machine.link(
        "sys/class/nvme/nvme0",
        "../../devices/pci0000:00/0000:00:1d.0/0000:00:00.0/nvme/nvme0",
    );
    let root = machine.array("md0", "raid1", 2, &[("sda", "in_sync"), ("sdb", "in_sync")]);
    machine.mounts(&[(&root, "/", "ext4", "/dev/md0")]);
    let mut options = Options::default();
    options.disks.exclude = vec!["nvme0".to_owned(), "sda".to_owned()];
    let entry = registry().iter().find(|entry| entry.name == "topology").unwrap();
    let batch = look(&mut *(entry.make)(&options), machine.dir.path(), 0);
    assert!(batch.iter().all(|sample| sample.labels.get("device") == Some("sdb")));
    assert_eq!(redundancy(&batch, "sdb"), ["md md0 1", "mount / 1"]);
    options.disks.exclude = Vec::new();
    options.disks.include = vec!["sd?".to_owned()];
    let batch = look(&mut *(entry.make)(&options), machine.dir.path(), 0);
    assert!(batch.iter().all(|sample| sample.labels.get("device") != Some("nvme0")));
    assert!(batch.iter().any(|sample| sample.labels.get("device") == Some("sda")));
}

#[test]
fn bind_mounts_are_not_told_and_many_mounts_are_bounded() {
    let machine = Machine::new();
    let number = machine.sata("sda", 1, "S1");
    let mut text = format!("20 1 {number} / / rw - ext4 /dev/sda rw\n");
    text.push_str(&format!("21 1 {number} /srv/pod /pod rw - ext4 /dev/sda rw\n"));
    machine.put("proc/1/mountinfo", &text);
    assert_eq!(uses(&machine.look(), "sda"), ["sda mount / ext4"]);
    for at in 0..100 {
        text.push_str(&format!("30 1 {number} / /mnt/{at:03} rw - ext4 /dev/sda rw\n"));
    }
    machine.put("proc/1/mountinfo", &text);
    let batch = machine.look();
    assert_eq!(uses(&batch, "sda").len(), 16);
    assert_eq!(uses(&batch, "sda")[0], "sda mount / ext4");
    // In a container the disk is mounted by a folder of it only.
    machine.put("proc/1/mountinfo", format!("20 1 {number} /lxc/7 / rw - ext4 /dev/sda rw\n"));
    assert_eq!(uses(&machine.look(), "sda"), ["sda mount / ext4"]);
}

#[test]
fn a_change_shows_in_the_next_round_and_what_shows_nowhere_within_a_minute() {
    let machine = Machine::new();
    machine.sata("sda", 1, "S1");
    let root = machine.dir.path();
    let mut collector = make();
    let states = [("sda", "in_sync"), ("sdb", "in_sync")];
    machine.sata("sdb", 2, "S2");
    machine.array("md0", "raid1", 2, &states);
    let stat = |members: &str, percent: u32| {
        format!(
            "md0 : active raid1 {members}\n      100 blocks [2/2] [UU]\n      [>..]  check = {percent}%\n"
        )
    };
    machine.put("proc/mdstat", stat("sdb[1] sda[0]", 1));
    let mut spare = |now_ms| {
        let found = redundancy(&look(&mut *collector, root, now_ms), "sda");
        found.into_iter().next().unwrap()
    };
    assert_eq!(spare(0), "md md0 1");
    assert_eq!(spare(30_000), "md md0 1");
    let member = format!("{}/md/dev-sdb/state", "sys/devices/virtual/block/md0");
    machine.put(&member, "faulty\n");
    machine.put("proc/mdstat", stat("sdb[1] sda[0]", 2));
    assert_eq!(spare(40_000), "md md0 1", "progress is no change");
    machine.put("proc/mdstat", stat("sdb[1](F) sda[0]", 3));
    assert_eq!(spare(50_000), "md md0 0");
    machine.put(&member, "in_sync\n");
    assert_eq!(spare(60_000), "md md0 1", "things settle after a change");
    machine.put(&member, "faulty\n");
    assert_eq!(spare(100_000), "md md0 1");
    assert_eq!(spare(120_000), "md md0 0", "a minute after the last look");
}

#[test]
fn without_block_devices_there_is_no_map() {
    let dir = tempfile::tempdir().unwrap();
    let host = ReplayHost::open(dir.path(), Arc::new(ManualClock::new(0))).unwrap();
    let mut batch = Batch::new();
    assert_eq!(make().collect(&host, &mut batch).unwrap(), Status::Absent);
    fs::write(dir.path().join("errors.json"), r#"{"/sys/block": 13}"#).unwrap();
    let host = ReplayHost::open(dir.path(), Arc::new(ManualClock::new(0))).unwrap();
    assert!(make().collect(&host, &mut batch).is_err(), "no right to look is no absence");
}

#[test]
fn names_from_firmware_and_labels_can_neither_steer_nor_turn_text() {
    let machine = Machine::new();
    machine.nvme(0, "S\u{202e}1", "ID_FS_USAGE=filesystem ID_FS_TYPE=ext4 ID_FS_LABEL=a\u{1b}[2J");
    let batch = look(&mut *make(), machine.dir.path(), 0);
    // As the collector of SMART writes it, so that both join.
    assert_eq!(info(&batch, "nvme0", "serial_number"), r"S\u{202e}1");
    let serials = batch.iter().map(|sample| sample.labels.get("serial_number"));
    assert!(serials.flatten().all(|serial| serial == r"S\u{202e}1"));
    assert_eq!(uses(&batch, "nvme0"), [r"nvme0n1 filesystem a\u{1b}[2J ext4"]);
}

#[test]
fn damaged_and_hostile_files_are_survived() {
    let machine = Machine::new();
    machine.sata("sda", 1, "S1");
    let device = "sys/devices/pci0000:00/0000:00:17.0/ata1/host1/target1:0:0/1:0:0:0";
    machine.put(&format!("{device}/vpd_pg80"), [0xff; 64]);
    machine.put(&format!("{device}/vpd_pg89"), [0x89; 9000]);
    machine.put(&format!("{device}/block/sda/size"), "99999999999999999999999\n");
    machine.array("md0", "raid10", 2, &[("md0", "in_sync"), ("sda", "in_sync")]);
    machine.put("sys/devices/virtual/block/md0/md/layout", "18446744073709551615\n");
    machine.mapped("dm-0", "a-b", "LVM-x", &["dm-1", "missing"]);
    machine.mapped("dm-1", "c-d", "LVM-y", &["dm-0", "sda"]);
    machine.put("proc/1/mountinfo", "1 2 3:4 / /x\u{0} rw - - - -\n\u{0}\n");
    machine.put("proc/swaps", [0xff; 100]);
    machine.link("sys/block/loop", "loop");
    machine.link("sys/block/out", "../../../../etc");
    let batch = machine.look();
    assert_eq!(info(&batch, "sda", "serial_number"), "S1", "udev knows");
    assert_eq!(batch.value("labstat_disk_size_bytes", &[]), None);
}

#[test]
fn a_captured_machine_has_the_same_map() {
    let machine = Machine::new();
    machine.sata("sda", 1, "S1");
    machine.sata("sdb", 2, "S2");
    machine.nvme(0, "N0", "ID_FS_TYPE=LVM2_member");
    machine.part("sda", "sda1", "ID_FS_TYPE=linux_raid_member");
    machine.part("sdb", "sdb1", "ID_FS_TYPE=linux_raid_member");
    let root = machine.array("md0", "raid1", 2, &[("sda1", "in_sync"), ("sdb1", "in_sync")]);
    machine.mapped("dm-0", "ceph--a-osd--block--b", "LVM-x", &["nvme0n1"]);
    machine.link("var/lib/ceph/osd/ceph-0/block", "/dev/ceph-a/osd-block-b");
    machine.put("sys/fs/btrfs/features/raid1c34", "1\n");
    machine.mounts(&[(&root, "/", "ext4", "/dev/md0")]);
    let lines = |batch: &Batch| -> Vec<String> {
        batch.iter().map(|s| format!("{}{} {}", s.family.name, s.labels, s.value)).collect()
    };
    let copy = tempfile::tempdir().unwrap();
    capture(&machine.host(), &Options::default(), copy.path()).unwrap();
    let replayed = look(&mut *make(), copy.path(), 0);
    assert_eq!(lines(&machine.look()), lines(&replayed));
    assert!(uses(&replayed, "nvme0").contains(&"nvme0n1 ceph_osd osd.0 block".to_owned()));
    assert!(replayed.len() > 15, "{:#?}", lines(&replayed));
}

/// Copies a tree with its links.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_symlink() {
            symlink(fs::read_link(&path).unwrap(), target).unwrap();
        } else if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, target).unwrap();
        }
    }
}

#[test]
fn disks_of_a_real_kernel_are_the_same_without_udev() {
    let captured = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/topology");
    let captured = captured.join("qemu-mirror-volumes-osd");
    let with = look(&mut *make(), &captured, 0);
    let dir = tempfile::tempdir().unwrap();
    copy(&captured, dir.path());
    fs::remove_dir_all(dir.path().join("run")).unwrap();
    let without = look(&mut *make(), dir.path(), 0);
    for disk in ["nvme0", "sda", "sdc", "sdd", "sdj", "sdi"] {
        for label in ["model_name", "wwn", "bus", "path", "transport", "serial_number"] {
            // A driver without pages; a port whose number nobody had to read when udev knew it.
            let not_captured = [("sdi", "serial_number"), ("sda", "path"), ("sdc", "path")];
            if not_captured.contains(&(disk, label)) {
                continue;
            }
            let known = info(&with, disk, label);
            assert_eq!(info(&without, disk, label), known, "{disk} {label}");
        }
    }
    assert_eq!(redundancy(&with, "sda"), redundancy(&without, "sda"));
}

/// Unpacks a part of a tree of sysfs as others published it.
fn unpack(file: &str) -> Option<tempfile::TempDir> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/sys").join(file);
    let Ok(text) = fs::read_to_string(&path) else {
        println!("SKIPPED: no capture {} here", path.display());
        return None;
    };
    let dir = tempfile::tempdir().unwrap();
    for line in text.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        let path = dir.path().join(entry["path"].as_str().unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match entry["kind"].as_str().unwrap() {
            "dir" => fs::create_dir_all(path).unwrap(),
            "link" => symlink(entry["target"].as_str().unwrap(), path).unwrap(),
            _ => fs::write(path, entry["text"].as_str().unwrap_or_default()).unwrap(),
        }
    }
    Some(dir)
}

#[test]
fn arrays_without_their_disks_give_no_uses() {
    let Some(dir) = unpack("node_exporter-md-block.jsonl") else { return };
    let batch = look(&mut *make(), dir.path(), 0);
    let kinds: BTreeSet<&str> = batch.iter().map(|sample| &*sample.family.name).collect();
    assert!(!kinds.contains("labstat_disk_redundancy"), "{kinds:?}");
}
