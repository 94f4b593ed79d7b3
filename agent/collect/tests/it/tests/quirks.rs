//! What real kernels, drivers and firmware do that is easy to take for something else.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use labstat_collect::{Collector, Options, ReplayHost, registry};
use labstat_model::{Batch, ManualClock};

fn put(root: &Path, path: &str, text: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn make(collector: &str) -> Box<dyn Collector> {
    let entry = registry().iter().find(|entry| entry.name == collector).unwrap();
    (entry.make)(&Options::default())
}

fn run(collector: &mut dyn Collector, root: &Path, now_ms: i64) -> Batch {
    let host = ReplayHost::open(root, Arc::new(ManualClock::new(now_ms))).unwrap();
    let mut batch = Batch::new();
    collector.collect(&host, &mut batch).unwrap();
    let series: Vec<String> =
        batch.iter().map(|s| format!("{}{}", s.family.name, s.labels)).collect();
    let unique: std::collections::HashSet<&String> = series.iter().collect();
    assert_eq!(unique.len(), series.len(), "a series twice: {series:#?}");
    batch
}

#[test]
fn disks_are_shown_and_left_out_by_pattern() {
    let dir = tempfile::tempdir().unwrap();
    let stats = ["sda", "sda1", "sdb", "nvme0n1", "nbd0", "nbd12", "loop0"]
        .map(|name| format!("8 0 {name} 1 0 0 0 0 0 0 0 0 0 0\n"));
    put(dir.path(), "proc/diskstats", stats.concat());
    let shown = |include: &[&str], exclude: &[&str]| {
        let mut options = Options::default();
        options.disks.include = include.iter().map(|&name| name.to_owned()).collect();
        options.disks.exclude = exclude.iter().map(|&name| name.to_owned()).collect();
        let entry = registry().iter().find(|entry| entry.name == "diskstats").unwrap();
        let batch = run(&mut *(entry.make)(&options), dir.path(), 0);
        let reads = batch.iter().filter(|s| s.family.name == "node_disk_reads_completed_total");
        reads.map(|s| s.labels.get("device").unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(shown(&[], &[]), ["sda", "sdb", "nvme0n1", "nbd0", "nbd12"]);
    assert_eq!(shown(&[], &["nbd*", "sdb"]), ["sda", "nvme0n1"]);
    assert_eq!(shown(&["sda*", "loop?"], &[]), ["sda", "sda1", "loop0"]);
    assert_eq!(shown(&["sd*"], &["sda?"]), ["sda", "sdb"]);
}

#[test]
fn another_disk_of_the_same_name_is_told_at_once_and_a_new_label_within_a_minute() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let mut disks = make("diskstats");
    let stats = |reads: u64| format!("8 0 sda {reads} 0 0 0 0 0 0 0 0 0 0\n");
    let udev = |serial: &str| format!("S:disk\nE:ID_SERIAL_SHORT={serial}\nE:ID_ATA=1\n");
    let mut serial_at = |now_ms, serial: &str| {
        let batch = run(&mut *disks, root, now_ms);
        let info = batch.iter().find(|sample| sample.family.name == "node_disk_info").unwrap();
        assert_eq!(info.labels.get("serial").unwrap_or_default(), serial, "{now_ms}");
    };
    put(root, "proc/diskstats", stats(100));
    serial_at(0, "");
    put(root, "run/udev/data/b8:0", udev("ONE"));
    serial_at(1, "ONE");
    put(root, "run/udev/data/b8:0", udev("TWO"));
    put(root, "proc/diskstats", stats(101));
    serial_at(1_000, "ONE");
    put(root, "proc/diskstats", stats(5));
    serial_at(2_000, "TWO");
    put(root, "run/udev/data/b8:0", udev("THREE"));
    serial_at(62_000, "THREE");
    put(root, "run/udev/data/b8:0", udev("FOUR"));
    serial_at(1_000, "FOUR");
}

#[test]
fn udev_tells_of_caches_volumes_and_filesystems() {
    let dir = tempfile::tempdir().unwrap();
    put(
        dir.path(),
        "proc/diskstats",
        "8 0 sda 1 0 0 0 0 0 0 0 0 0 0\n254 0 dm-0 1 0 0 0 0 0 0 0 0 0 0\n",
    );
    put(
        dir.path(),
        "run/udev/data/b8:0",
        "E:ID_ATA_WRITE_CACHE=1\nE:ID_ATA_ROTATION_RATE_RPM=0\nE:ID_MODEL=\\x20x\n",
    );
    put(
        dir.path(),
        "run/udev/data/b254:0",
        "E:DM_NAME=pve-root\nE:DM_VG_NAME=pve\nE:ID_FS_TYPE=ext4\nE:ID_FS_UUID=u\n",
    );
    let batch = run(&mut *make("diskstats"), dir.path(), 0);
    let sda = [("device", "sda")];
    assert_eq!(batch.value("node_disk_ata_write_cache", &sda), Some(1.0));
    assert_eq!(batch.value("node_disk_ata_rotation_rate_rpm", &sda), Some(0.0));
    assert_eq!(batch.value("node_disk_ata_write_cache_enabled", &sda), None);
    let root = [("device", "dm-0"), ("name", "pve-root"), ("vg_name", "pve")];
    assert_eq!(batch.value("node_disk_device_mapper_info", &root), Some(1.0));
    let ext4 = [("device", "dm-0"), ("type", "ext4")];
    assert_eq!(batch.value("node_disk_filesystem_info", &ext4), Some(1.0));
}

#[test]
fn a_speed_that_is_not_known_is_absent() {
    for (text, speed) in [
        ("-1", None),
        ("4294967295", None),
        ("65535", None),
        ("", None),
        ("0", Some(0.0)),
        ("1000", Some(125e6)),
        ("200000", Some(25e9)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "sys/devices/virtual/net/eth0/speed", text);
        put(dir.path(), "sys/devices/virtual/net/eth0/flags", "0x1003\n");
        fs::create_dir_all(dir.path().join("sys/class/net")).unwrap();
        symlink("../../devices/virtual/net/eth0", dir.path().join("sys/class/net/eth0")).unwrap();
        let batch = run(&mut *make("netclass"), dir.path(), 0);
        assert_eq!(batch.value("node_network_speed_bytes", &[]), speed, "{text:?}");
        assert_eq!(batch.value("node_network_flags", &[]), Some(4099.0));
        assert_eq!(batch.value("node_network_info", &[("adminstate", "up")]), Some(1.0));
    }
}

#[test]
fn a_sensor_at_fault_has_no_reading_and_a_folder_is_no_sensor() {
    let dir = tempfile::tempdir().unwrap();
    for (file, text) in [
        ("name", "nct6798"),
        ("temp1_input", "-128000"),
        ("temp1_fault", "1"),
        ("temp2_input", "-5000"),
        ("temp2_fault", "0"),
        ("power/control", "auto"),
    ] {
        put(dir.path(), &format!("sys/class/hwmon/hwmon0/{file}"), text);
    }
    let batch = run(&mut *make("hwmon"), dir.path(), 0);
    assert_eq!(batch.value("node_hwmon_temp_celsius", &[]), Some(-5.0), "only the second");
    assert_eq!(batch.value("node_hwmon_temp_fault", &[("sensor", "temp1")]), Some(1.0));
}

#[test]
fn pages_of_an_unknown_size_are_not_taken_for_4096_bytes() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "proc/net/sockstat", "sockets: used 3\nTCP: inuse 1 mem 2\n");
    let batch = run(&mut *make("sockstat"), dir.path(), 0);
    assert_eq!(batch.value("node_sockstat_TCP_mem", &[]), Some(2.0));
    assert_eq!(batch.value("node_sockstat_TCP_mem_bytes", &[]), None);
    put(dir.path(), "host.json", r#"{"page_size_bytes":16384}"#);
    let batch = run(&mut *make("sockstat"), dir.path(), 0);
    assert_eq!(batch.value("node_sockstat_TCP_mem_bytes", &[]), Some(32_768.0));
}

/// A machine of one disk, which is found twice, whose smartctl answers `report`.
fn smartctl(report: &str) -> Batch {
    let dir = tempfile::tempdir().unwrap();
    let scan = r#"{"json_format_version":[1,0],"smartctl":{"version":[7,4]},"devices":[{"name":"/dev/sda","type":"sat"},{"name":"/dev/sda","type":"sat"}]}"#;
    put(dir.path(), "commands/smartctl/--scan-open --json/stdout", scan);
    let args = "--json --info --health --capabilities --attributes --tolerance=verypermissive --format=brief --log=error --log=selftest --log=scttempsts --nocheck=standby,3 --device=sat %2fdev%2fsda";
    put(dir.path(), &format!("commands/smartctl/{args}/stdout"), report);
    put(dir.path(), &format!("commands/smartctl/{args}/status"), "signal");
    run(&mut *make("smartctl"), dir.path(), 0)
}

#[test]
fn an_attribute_that_comes_twice_counts_once() {
    let row = |raw: u32| {
        format!(r#"{{"id":5,"name":"Reallocated_Sector_Ct","value":100,"raw":{{"value":{raw}}}}}"#)
    };
    let batch = smartctl(&format!(
        r#"{{"smartctl":{{"version":[7,4]}},"model_name":"X","ata_smart_attributes":{{"table":[{},{}]}}}}"#,
        row(7),
        row(8)
    ));
    let raw = [("attribute_id", "5"), ("attribute_value_type", "raw")];
    assert_eq!(batch.value("smartctl_device_attribute", &raw), Some(7.0));
}

#[test]
fn a_disk_says_how_deeply_it_sleeps() {
    for (words, mode) in [("STANDBY (OS)", "standby"), ("STANDBY", "standby"), ("SLEEP", "sleep")] {
        let message = format!("Device is in {words} mode, exit(2)");
        let batch = smartctl(&format!(
            r#"{{"smartctl":{{"messages":[{{"string":"{message}","severity":"information"}}]}}}}"#
        ));
        assert_eq!(batch.value("labstat_smart_power_mode", &[("mode", mode)]), Some(1.0));
    }
}

#[test]
fn what_smartctl_does_not_say_is_absent() {
    for celsius in ["-273", "-128", "0"] {
        let batch = smartctl(&format!(
            r#"{{"smartctl":{{"version":[7,4]}},"model_name":"X","temperature":{{"current":{celsius}}}}}"#
        ));
        assert_eq!(batch.value("smartctl_device", &[]), Some(1.0));
        assert_eq!(batch.value("smartctl_device_temperature", &[]), None, "{celsius}");
        let status = batch.value("smartctl_device_smartctl_exit_status", &[]);
        assert_eq!(status, None, "it was killed");
    }
}

#[test]
fn members_that_are_faulty_and_spare_are_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let text = "Personalities : [raid0]\nmd0 : active raid0 sdb1[1](F)(S) sda1[0](F)(S)\n      100 blocks\n\nunused devices: <none>\n";
    put(dir.path(), "proc/mdstat", text);
    put(dir.path(), "sys/block/md0/md/raid_disks", "4 (3)\n");
    let batch = run(&mut *make("mdadm"), dir.path(), 0);
    let active = [("device", "md0"), ("state", "active")];
    assert_eq!(batch.value("node_md_disks", &active), Some(0.0));
    assert_eq!(batch.value("node_md_raid_disks", &[]), Some(4.0), "it grows from three");
}

#[test]
fn daemons_in_containers_have_their_sockets_below_the_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let id = "9ba41170-4bf7-4b52-aa4d-bd8a54de93e3";
    for name in ["osd.1.asok", &format!("{id}/ceph-osd.1.asok"), &format!("{id}/ceph-osd.2.asok")] {
        put(dir.path(), &format!("var/run/ceph/{name}"), "");
    }
    let batch = run(&mut *make("ceph"), dir.path(), 0);
    assert_eq!(batch.len(), 2, "osd.1 of the first cluster and osd.2, both down");
    assert_eq!(batch.value("labstat_ceph_daemon_up", &[("ceph_daemon", "osd.2")]), Some(0.0));
}

/// An answer as it goes over a socket.
fn framed(json: &str) -> Vec<u8> {
    let len = u32::try_from(json.len()).unwrap().to_be_bytes();
    [&len, json.as_bytes()].concat()
}

#[test]
fn counters_that_ceph_itself_leaves_out_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let counters = r#"{"osd":{"op_r":7,"op_prepare":3},"objecter-0x7fe9b40073f0":{"op_r":1}}"#;
    put(dir.path(), "var/run/ceph/ceph-osd.1.asok", "");
    let sockets = "sockets/%2fvar%2frun%2fceph%2fceph-osd.1.asok";
    put(
        dir.path(),
        &format!(r#"{sockets}/{{"format":"json","prefix":"perf dump"}}"#),
        framed(counters),
    );
    let schema = r#"{"osd":{"op_r":{"type":10,"priority":10},"op_prepare":{"type":10,"priority":0}},"objecter-0x7fe9b40073f0":{"op_r":{"type":10,"priority":5}}}"#;
    let asked = format!(r#"{sockets}/{{"format":"json","prefix":"perf schema"}}"#);
    put(dir.path(), &asked, framed(schema));
    let mut ceph = make("ceph");
    let reads = |batch: &Batch| batch.value("ceph_osd_op_r", &[("ceph_daemon", "osd.1")]);
    let batch = run(&mut *ceph, dir.path(), 0);
    assert_eq!((reads(&batch), batch.len()), (Some(7.0), 2));
    put(dir.path(), &asked, framed(r#"{"osd":{"op_prepare":{"type":10,"priority":10}}}"#));
    let batch = run(&mut *ceph, dir.path(), 599_999);
    assert_eq!(reads(&batch), Some(7.0), "not asked again so soon");
    let batch = run(&mut *ceph, dir.path(), 600_000);
    assert_eq!((reads(&batch), batch.len()), (None, 2), "another version, seen after a while");
    fs::remove_file(dir.path().join(asked)).unwrap();
    assert_eq!(
        run(&mut *make("ceph"), dir.path(), 0).len(),
        3,
        "all that have a name when it does not say"
    );
}

#[test]
fn waiting_datagrams_are_summed_over_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let head =
        "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n";
    let socket = |queues: &str| {
        format!(" 2503: 00000000:0044 00000000:0000 07 {queues} 00:00000000 00000000     0\n")
    };
    let two = socket("00000002:00000A40") + &socket("00000001:00000001");
    put(dir.path(), "proc/net/udp", format!("{head}{two}"));
    let batch = run(&mut *make("udp_queues"), dir.path(), 0);
    assert_eq!(batch.value("node_udp_queues", &[("ip", "v4"), ("queue", "tx")]), Some(3.0));
    assert_eq!(batch.value("node_udp_queues", &[("ip", "v4"), ("queue", "rx")]), Some(2625.0));
    assert_eq!(batch.len(), 2, "nothing is known of v6");
    for broken in ["00000002", "0000000x:00000000"] {
        put(dir.path(), "proc/net/udp", format!("{head}{}", socket(broken)));
        let host = ReplayHost::open(dir.path(), Arc::new(ManualClock::new(0))).unwrap();
        assert!(make("udp_queues").collect(&host, &mut Batch::new()).is_err(), "{broken}");
    }
}

#[test]
fn an_interface_that_is_left_out_is_left_out_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["veth1", "eth0"] {
        put(dir.path(), &format!("sys/class/net/{name}/uevent"), "DEVTYPE=veth\n");
        put(dir.path(), &format!("sys/class/net/{name}/mtu"), "1500\n");
    }
    let counters = "1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0";
    put(dir.path(), "proc/net/dev", format!("veth1: {counters}\neth0: {counters}\n"));
    let mut options = Options::default();
    options.interfaces.exclude.push("veth1".to_owned());
    for entry in registry().iter().filter(|e| ["links", "netclass", "netdev"].contains(&e.name)) {
        let host = ReplayHost::open(dir.path(), Arc::new(ManualClock::new(0))).unwrap();
        let mut batch = Batch::new();
        (entry.make)(&options).collect(&host, &mut batch).unwrap();
        assert!(!batch.is_empty(), "{}", entry.name);
        let all_eth0 = batch.iter().all(|sample| sample.labels.get("device") == Some("eth0"));
        assert!(all_eth0, "{}", entry.name);
    }
}

/// The kernel's files have headings: without them, no line of a socket is no sign that there is none.
#[test]
fn an_empty_list_of_sockets_is_no_list() {
    for (collector, path) in [("udp_queues", "proc/net/udp"), ("tcpstat", "proc/net/tcp")] {
        let dir = tempfile::tempdir().unwrap();
        let host = || ReplayHost::open(dir.path(), Arc::new(ManualClock::new(0))).unwrap();
        put(dir.path(), path, "");
        let error = make(collector).collect(&host(), &mut Batch::new()).unwrap_err();
        assert_eq!(error.to_string(), format!("/{path} makes no sense"));
        put(dir.path(), path, "  sl  local_address rem_address   st tx_queue rx_queue\n");
        let batch = run(&mut *make(collector), dir.path(), 0);
        assert!(batch.values().all(|value| value == 0.0) && !batch.is_empty(), "{collector}");
    }
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "proc/net/tcp6", "  sl  local_address\n");
    assert!(run(&mut *make("tcpstat"), dir.path(), 0).is_empty(), "half of them is not all");
}

#[test]
fn a_word_that_is_not_known_is_no_sign_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    put(root, "sys/class/net/eth0/mtu", "1500\n");
    for (word, up) in [("", None), ("noise", None), ("up\n", Some(1.0)), ("dormant\n", Some(0.0))] {
        put(root, "sys/class/net/eth0/operstate", word);
        let batch = run(&mut *make("netclass"), root, 0);
        assert_eq!(batch.value("node_network_up", &[("device", "eth0")]), up, "{word:?}");
    }
    put(
        root,
        "proc/mdstat",
        "Personalities : [raid1]\nmd0 : active raid1 sdb[1] sda[0]\n      64 blocks [2/2] [UU]\n",
    );
    let clean = [("device", "md0"), ("state", "clean")];
    for (word, value) in [("noise\n", None), ("active\n", Some(0.0)), ("clean\n", Some(1.0))] {
        put(root, "sys/block/md0/md/array_state", word);
        let batch = run(&mut *make("mdadm"), root, 0);
        assert_eq!(batch.value("labstat_md_array_state", &clean), value, "{word:?}");
    }
}

#[test]
fn a_line_that_was_cut_once_does_not_name_those_to_come() {
    let dir = tempfile::tempdir().unwrap();
    let mut meminfo = make("meminfo");
    put(dir.path(), "proc/meminfo", "MemTotal: 7");
    run(&mut *meminfo, dir.path(), 0);
    put(dir.path(), "proc/meminfo", "MemTotal: 7 kB\n");
    let batch = run(&mut *meminfo, dir.path(), 1);
    assert_eq!(batch.value("node_memory_MemTotal_bytes", &[]), Some(7168.0));
    assert_eq!(batch.len(), 1);
}
