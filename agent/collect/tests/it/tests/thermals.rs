//! Sensors, zones, energy and throttling: what is read, when, of which part, and what is left out.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use labstat_collect::host::{Counts, FilesystemSize, Framing, Output, RunError, Uname};
use labstat_collect::{Collector, Host, Options, Patience, ReplayHost, Status, registry};
use labstat_model::{Batch, ManualClock};

const CHIPS: &str = "sys/class/hwmon";
const DISK: &str = "sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0";

fn put(root: &Path, path: &str, text: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn link(root: &Path, path: &str, target: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    symlink(target, path).unwrap();
}

/// A chip of `driver` with files, whose device lies in `device`.
fn chip(root: &Path, entry: &str, driver: &str, device: &str, files: &[(&str, &str)]) {
    let dir = format!("{device}/hwmon/{entry}");
    put(root, &format!("{dir}/name"), driver);
    for (file, text) in files {
        put(root, &format!("{dir}/{file}"), text);
    }
    link(root, &format!("{dir}/device"), "../..");
    link(root, &format!("{CHIPS}/{entry}"), &format!("../../../{dir}"));
}

fn make(collector: &str) -> Box<dyn Collector> {
    let entry = registry().iter().find(|entry| entry.name == collector).unwrap();
    (entry.make)(&Options::default())
}

fn open(root: &Path) -> ReplayHost {
    ReplayHost::open(root, Arc::new(ManualClock::new(0))).unwrap()
}

fn collect(collector: &mut dyn Collector, host: &dyn Host) -> (Status, Batch) {
    let mut batch = Batch::new();
    let status = collector.collect(host, &mut batch).unwrap();
    let mut series: Vec<String> =
        batch.iter().map(|s| format!("{}{}", s.family.name, s.labels)).collect();
    let count = series.len();
    series.sort();
    series.dedup();
    assert_eq!(series.len(), count, "a series twice");
    (status, batch)
}

fn once(collector: &str, root: &Path) -> Batch {
    collect(&mut *make(collector), &open(root)).1
}

fn lines(batch: &Batch) -> Vec<String> {
    let line =
        |s: labstat_model::BatchSample<'_>| format!("{}{} {}", s.family.name, s.labels, s.value);
    let mut lines: Vec<String> = batch.iter().map(line).collect();
    lines.sort();
    lines
}

/// A folder that is taken for a machine on which reading may disturb a disk; it notes what is read.
#[derive(Debug)]
struct Live {
    folder: ReplayHost,
    now_ms: AtomicI64,
    reads: Mutex<Vec<String>>,
    /// The end of the path of a file that hangs.
    hangs: Mutex<Option<String>>,
    hung_once: AtomicBool,
    /// What all questions together may have taken.
    waited: Mutex<Duration>,
}

impl Live {
    fn new(root: &Path) -> Self {
        Self {
            folder: open(root),
            now_ms: AtomicI64::new(0),
            reads: Mutex::default(),
            hangs: Mutex::default(),
            hung_once: AtomicBool::new(false),
            waited: Mutex::default(),
        }
    }

    fn advance(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Names of files read since the last look that end with `end`.
    fn read_of(&self, end: &str) -> usize {
        let reads = std::mem::take(&mut *self.reads.lock().unwrap());
        reads.iter().filter(|path| path.ends_with(end)).count()
    }
}

impl Host for Live {
    fn read_into(&self, path: &str, into: &mut Vec<u8>) -> io::Result<()> {
        self.reads.lock().unwrap().push(path.to_owned());
        self.folder.read_into(path, into)
    }

    /// As the machine does it: what comes after a file that hangs is late too, and the next time
    /// only that file is.
    fn read_all(&self, paths: &[String], deadline: Duration) -> Vec<io::Result<Vec<u8>>> {
        *self.waited.lock().unwrap() += deadline;
        let hangs = self.hangs.lock().unwrap().clone();
        let is_hung =
            |path: &String| hangs.as_ref().is_some_and(|end| path.ends_with(end.as_str()));
        let first = !self.hung_once.load(Ordering::Relaxed);
        let mut late = false;
        paths
            .iter()
            .map(|path| {
                if is_hung(path) {
                    late = first;
                    self.hung_once.store(true, Ordering::Relaxed);
                    return Err(io::ErrorKind::TimedOut.into());
                }
                if late { Err(io::ErrorKind::TimedOut.into()) } else { self.read(path) }
            })
            .collect()
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.folder.list(dir)
    }

    fn link(&self, path: &str) -> io::Result<String> {
        self.folder.link(path)
    }

    fn canonical(&self, path: &str) -> io::Result<String> {
        self.folder.canonical(path)
    }

    fn run(&self, program: &str, args: &[&str], _: Duration) -> Result<Output, RunError> {
        panic!("no command is needed: {program} {args:?}")
    }

    fn statvfs(&self, _: &[String], _: Duration) -> Vec<io::Result<FilesystemSize>> {
        Vec::new()
    }

    fn socket_request(&self, _: &str, _: &[u8], _: Framing, _: Duration) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn uname(&self) -> io::Result<Uname> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn page_size_bytes(&self) -> Option<u64> {
        None
    }

    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn counts(&self) -> Counts {
        Counts::default()
    }

    fn stop(&self) {}
}

/// A SATA disk with a sensor.
fn disk(root: &Path, rotational: &str) {
    let files = [("temp1_input", "38000"), ("temp1_crit", "70000"), ("temp1_highest", "45000")];
    chip(root, "hwmon0", "drivetemp", DISK, &files);
    put(root, &format!("{DISK}/vendor"), "ATA     ");
    // Page 80h: the serial number.
    put(root, &format!("{DISK}/vpd_pg80"), b"\0\x80\0\x08WX12345A");
    let block = format!("{DISK}/block/sda");
    put(root, &format!("{block}/queue/rotational"), rotational);
    put(root, &format!("{block}/dev"), "8:0");
    link(root, &format!("{block}/device"), "../..");
    link(root, "sys/block/sda", &format!("../../{block}"));
}

fn transfers(root: &Path, reads: u64) {
    put(root, &format!("{DISK}/block/sda/stat"), format!("{reads} 0 0 0 0 0 0 0 0 0 0\n"));
}

#[test]
fn a_disk_that_turns_is_asked_only_while_others_use_it() {
    let dir = tempfile::tempdir().unwrap();
    disk(dir.path(), "1\n");
    transfers(dir.path(), 10);
    let host = Live::new(dir.path());
    let mut hwmon = make("hwmon");
    let mut round = |reads: u64, ms: i64| {
        transfers(dir.path(), reads);
        host.advance(ms);
        let batch = collect(&mut *hwmon, &host).1;
        let celsius = batch.value("node_hwmon_temp_celsius", &[]);
        let highest = batch.value("labstat_thermal_max_celsius", &[("kind", "disk")]);
        assert_eq!(celsius, highest);
        assert_eq!(
            batch.value("node_hwmon_temp_crit_celsius", &[]),
            Some(70.0),
            "kept by the kernel"
        );
        let reads = std::mem::take(&mut *host.reads.lock().unwrap());
        let asked = ["_input", "_highest"].map(|end| reads.iter().any(|path| path.ends_with(end)));
        assert_eq!(asked, [celsius.is_some(); 2], "both readings cost a command: {reads:?}");
        celsius
    };
    assert_eq!(round(10, 0), None, "it may be asleep");
    assert_eq!(round(10, 10_000), None);
    assert_eq!(round(11, 10_000), Some(38.0));
    assert_eq!(round(11, 10_000), None);
    assert_eq!(round(12, 10_000), Some(38.0));
    assert_eq!(round(13, 60_000), None, "when within the minute is not known");
    assert_eq!(round(14, 10_000), Some(38.0), "what is known of its use outlives a new look");
    assert_eq!(round(3, 10_000), None, "another disk");
}

#[test]
fn a_disk_without_a_counter_is_not_asked_and_one_without_moving_parts_always() {
    let dir = tempfile::tempdir().unwrap();
    disk(dir.path(), "1\n");
    let host = Live::new(dir.path());
    let mut hwmon = make("hwmon");
    for _ in 0..3 {
        host.advance(1_000);
        assert_eq!(collect(&mut *hwmon, &host).1.value("node_hwmon_temp_celsius", &[]), None);
    }
    for broken in ["", "x", "1 2 3"] {
        put(dir.path(), &format!("{DISK}/block/sda/stat"), broken);
        assert_eq!(collect(&mut *hwmon, &host).1.value("node_hwmon_temp_celsius", &[]), None);
    }
    assert_eq!(host.read_of("temp1_input"), 0);
    put(dir.path(), &format!("{DISK}/block/sda/queue/rotational"), "0\n");
    let batch = collect(&mut *make("hwmon"), &host).1;
    assert_eq!(batch.value("node_hwmon_temp_celsius", &[]), Some(38.0));
    fs::remove_dir_all(dir.path().join(DISK).join("block")).unwrap();
    let batch = collect(&mut *make("hwmon"), &host).1;
    assert_eq!(batch.value("node_hwmon_temp_celsius", &[]), None, "nobody knows what it is");
}

#[test]
fn a_capture_of_a_disk_that_turns_is_read() {
    let dir = tempfile::tempdir().unwrap();
    disk(dir.path(), "1\n");
    assert_eq!(once("hwmon", dir.path()).value("node_hwmon_temp_celsius", &[]), Some(38.0));
}

#[test]
fn sensors_are_tied_to_the_part_they_measure() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    disk(root, "1\n");
    let nvme = "sys/devices/pci0000:00/0000:00:1d.0/0000:01:00.0/nvme/nvme0";
    put(root, &format!("{nvme}/serial"), "S6B0NL0T615860K     \n");
    put(root, &format!("{nvme}/model"), "Samsung SSD 980 1TB\n");
    let temp = [("temp1_input", "40000"), ("temp1_label", "Composite\n")];
    chip(root, "hwmon1", "nvme", nvme, &temp);
    let nic = "sys/devices/pci0000:00/0000:00:1c.0/0000:02:00.0";
    put(root, &format!("{nic}/net/enp2s0/mtu"), "1500");
    chip(root, "hwmon2", "something", nic, &temp);
    let board = "sys/devices/platform/nct6775.656";
    let inputs = [
        ("temp1_input", "35000"),
        ("temp1_label", "SYSTIN"),
        ("temp2_input", "61000"),
        ("temp2_label", "CPUTIN"),
        ("fan1_input", "900"),
    ];
    chip(root, "hwmon3", "nct6798", board, &inputs);
    chip(
        root,
        "hwmon4",
        "coretemp",
        "sys/devices/platform/coretemp.0",
        &[("temp1_input", "71000")],
    );
    chip(
        root,
        "hwmon5",
        "jc42",
        "sys/devices/pci0000:00/i2c-0/0-001a",
        &[("temp1_input", "44000")],
    );
    let battery = "sys/devices/platform/PNP0C0A:00/power_supply/BAT0";
    put(root, &format!("{battery}/type"), "Battery\n");
    chip(root, "hwmon6", "BAT0", battery, &[("in0_input", "12000"), ("temp1_input", "30000")]);
    let batch = once("hwmon", root);
    let infos: Vec<String> = lines(&batch)
        .into_iter()
        .filter_map(|line| line.strip_prefix("labstat_thermal_sensor_info").map(str::to_owned))
        .collect();
    assert_eq!(
        infos,
        [
            r#"{chip="0000:00:1c_0_0000:02:00_0", device="enp2s0", kind="nic", label="Composite", sensor="temp1"} 1"#,
            r#"{chip="i2c_0_0_001a", device="dimm2", kind="memory", sensor="temp1"} 1"#,
            r#"{chip="nvme_nvme0", device="nvme0", kind="nvme", label="Composite", sensor="temp1", serial="S6B0NL0T615860K"} 1"#,
            r#"{chip="platform_coretemp_0", kind="cpu", sensor="temp1"} 1"#,
            r#"{chip="platform_nct6775_656", kind="board", label="SYSTIN", sensor="temp1"} 1"#,
            r#"{chip="platform_nct6775_656", kind="cpu", label="CPUTIN", sensor="temp2"} 1"#,
            r#"{chip="power_supply_bat0", device="BAT0", kind="battery", sensor="temp1"} 1"#,
            r#"{chip="target0:0:0_0:0:0:0", device="sda", kind="disk", sensor="temp1", serial="WX12345A"} 1"#,
        ]
    );
    let highest = |kind| batch.value("labstat_thermal_max_celsius", &[("kind", kind)]);
    assert_eq!(highest("cpu"), Some(71.0), "of all sensors of the kind");
    assert_eq!(highest("board"), Some(35.0));
    assert_eq!(highest("nvme"), Some(40.0));
    assert_eq!(highest("gpu"), None, "there is none");
}

#[test]
fn readings_that_are_none_are_left_out_and_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = [
        "0", "127000", "127937", "-128000", "255000", "65261850", "-40000", "-62000", "", "x",
        "-5000",
    ];
    let names: Vec<String> = (1..).take(inputs.len()).map(|n| format!("temp{n}_input")).collect();
    let files: Vec<(&str, &str)> =
        names.iter().map(String::as_str).zip(inputs).chain([("fan1_input", "0")]).collect();
    chip(dir.path(), "hwmon0", "nct6798", "sys/devices/platform/nct6775.656", &files);
    put(
        dir.path(),
        "errors.json",
        r#"{"/sys/devices/platform/nct6775.656/hwmon/hwmon0/temp11_input":11}"#,
    );
    let batch = once("hwmon", dir.path());
    assert_eq!(batch.value("node_hwmon_fan_rpm", &[]), Some(0.0), "a fan may stand still");
    assert_eq!(batch.iter().filter(|s| s.family.name.ends_with("_celsius")).count(), 0);
    for number in 1..=inputs.len() {
        let sensor = format!("temp{number}");
        let reason = if number <= 8 { "nonsense" } else { "error" };
        let labels = [("reason", reason), ("sensor", sensor.as_str())];
        let name = "labstat_thermal_sensor_left_out_info";
        assert_eq!(batch.value(name, &labels), Some(1.0), "{labels:?}");
    }
    for code in [11, 61, 5, 13, 6] {
        let errors =
            format!(r#"{{"/sys/devices/platform/nct6775.656/hwmon/hwmon0/fan1_input":{code}}}"#);
        put(dir.path(), "errors.json", errors);
        let batch = once("hwmon", dir.path());
        assert_eq!(batch.value("node_hwmon_fan_rpm", &[]), None, "{code}");
        assert_eq!(batch.value("node_hwmon_temp_celsius", &[]), Some(-5.0), "{code}");
    }
    put(dir.path(), "errors.json", "{}");
    let huge = "4".repeat(5 * 1024 * 1024);
    put(dir.path(), "sys/devices/platform/nct6775.656/hwmon/hwmon0/fan1_input", huge);
    let batch = once("hwmon", dir.path());
    assert_eq!(batch.value("node_hwmon_fan_rpm", &[]), None);
    assert_eq!(batch.value("node_hwmon_temp_celsius", &[]), Some(-5.0));
}

#[test]
fn a_sensor_that_hangs_takes_no_other_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        ("temp1_input", "40000"),
        ("temp2_input", "41000"),
        ("temp3_input", "42000"),
        ("temp3_max", "80000"),
    ];
    chip(dir.path(), "hwmon0", "lm75", "sys/devices/i2c-0/0-0048", &files);
    let host = Live::new(dir.path());
    *host.hangs.lock().unwrap() = Some("temp2_input".to_owned());
    let batch = collect(&mut *make("hwmon"), &host).1;
    let celsius = |sensor| batch.value("node_hwmon_temp_celsius", &[("sensor", sensor)]);
    assert_eq!(
        [celsius("temp1"), celsius("temp2"), celsius("temp3")],
        [Some(40.0), None, Some(42.0)]
    );
    assert_eq!(batch.value("node_hwmon_temp_max_celsius", &[]), Some(80.0));
}

/// Half of an interval, or it is given up with all that it has.
#[test]
fn a_sensor_that_hangs_takes_no_longer_than_a_round_grants() {
    let second = Duration::from_secs(1);
    let options = Options { patience: Patience::of(second), ..Options::default() };
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let device = "sys/devices/i2c-0/0-0048";
    chip(root, "hwmon0", "lm75", device, &[("temp1_input", "40000"), ("temp2_input", "41000")]);
    let zone = "sys/class/thermal/thermal_zone0";
    put(root, &format!("{zone}/type"), "x86_pkg_temp\n");
    put(root, &format!("{zone}/temp"), "50000\n");
    for (name, file, rest) in [("hwmon", "temp1_input", 1), ("thermal_zone", "temp", 0)] {
        let host = Live::new(root);
        let entry = registry().iter().find(|entry| entry.name == name).unwrap();
        let mut collector = (entry.make)(&options);
        collect(&mut *collector, &host);
        *host.waited.lock().unwrap() = Duration::ZERO;
        *host.hangs.lock().unwrap() = Some(format!("/{file}"));
        let batch = collect(&mut *collector, &host).1;
        let is_reading = |s: &labstat_model::BatchSample<'_>| s.family.name.ends_with("_celsius");
        let is_sensor = |s: &labstat_model::BatchSample<'_>| !s.family.name.starts_with("labstat_");
        let readings = batch.iter().filter(is_reading).filter(is_sensor).count();
        assert_eq!(readings, rest, "{name}: {:?}", lines(&batch));
        let waited = *host.waited.lock().unwrap();
        assert!(!waited.is_zero() && waited < second / 2, "{name}: {waited:?}");
    }
}

#[test]
fn limits_are_read_once_a_minute_and_chips_that_come_and_go_are_seen_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let device = "sys/devices/i2c-0/0-0048";
    chip(root, "hwmon0", "lm75", device, &[("temp1_input", "40000"), ("temp1_max", "80000")]);
    let host = Live::new(root);
    let mut hwmon = make("hwmon");
    let mut limit_after = |ms| {
        host.advance(ms);
        let batch = collect(&mut *hwmon, &host).1;
        let value = |name| batch.value(name, &[("chip", "i2c_0_0_0048")]);
        (value("node_hwmon_temp_celsius"), value("node_hwmon_temp_max_celsius"), batch.len())
    };
    assert_eq!(limit_after(0), (Some(40.0), Some(80.0), 5));
    put(root, &format!("{device}/hwmon/hwmon0/temp1_max"), "70000");
    put(root, &format!("{device}/hwmon/hwmon0/temp1_input"), "41000");
    host.read_of("");
    assert_eq!(limit_after(10_000), (Some(41.0), Some(80.0), 5));
    assert_eq!(host.read_of(""), 1, "one file a round");
    assert_eq!(limit_after(50_000), (Some(41.0), Some(70.0), 5));
    chip(root, "hwmon1", "lm75", "sys/devices/i2c-0/0-0049", &[("temp1_input", "39000")]);
    assert_eq!(limit_after(1_000).2, 5 + 3, "a chip came");
    fs::remove_file(root.join(CHIPS).join("hwmon1")).unwrap();
    assert_eq!(limit_after(1_000).2, 5, "and went");
    fs::remove_file(root.join(device).join("hwmon/hwmon0/temp1_input")).unwrap();
    put(root, &format!("{device}/hwmon/hwmon0/temp2_input"), "42000");
    assert_eq!(limit_after(1_000).0, None);
    assert_eq!(limit_after(1_000).0, Some(42.0), "another driver took the number");
}

#[test]
fn chips_of_one_name_have_their_numbers_in_it() {
    let dir = tempfile::tempdir().unwrap();
    for chip in ["hwmon0", "hwmon1"] {
        put(dir.path(), &format!("{CHIPS}/{chip}/name"), "k10temp");
        put(dir.path(), &format!("{CHIPS}/{chip}/temp1_input"), "40000");
    }
    let batch = once("hwmon", dir.path());
    for chip in ["k10temp_hwmon0", "k10temp_hwmon1"] {
        assert_eq!(batch.value("node_hwmon_temp_celsius", &[("chip", chip)]), Some(40.0));
        let names = [("chip", chip), ("chip_name", "k10temp")];
        assert_eq!(batch.value("node_hwmon_chip_names", &names), Some(1.0));
    }
}

#[test]
fn clocks_are_known_by_their_labels_and_flags_of_a_chip_have_names_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        ("freq1_input", "214000000"),
        ("freq1_label", "sclk\n"),
        ("freq2_input", "300000000"),
        ("beep_enable", "1"),
        ("vrm", "90"),
        ("update_interval", "1500"),
    ];
    chip(dir.path(), "hwmon0", "amdgpu", "sys/devices/pci0000:00/0000:03:00.0", &files);
    let batch = once("hwmon", dir.path());
    assert_eq!(
        batch.value("node_hwmon_freq_freq_mhz", &[]),
        Some(214.0),
        "one without a label has no name"
    );
    assert_eq!(batch.value("node_hwmon_freq_freq_mhz", &[("sensor", "sclk")]), Some(214.0));
    let of = |name, sensor| batch.value(name, &[("sensor", sensor)]);
    assert_eq!(of("node_hwmon_beep_enabled", "beep_enable0"), Some(1.0));
    assert_eq!(of("node_hwmon_voltage_regulator_version", "vrm0"), Some(90.0));
    assert_eq!(of("node_hwmon_update_interval_seconds", "update_interval0"), Some(1.5));
}

#[test]
fn zones_that_are_off_and_limits_of_cooling() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for (zone, sort, temp) in [
        (0, "x86_pkg_temp", "47000\n"),
        (1, "iwlwifi_1", ""),
        (2, "acpitz", "0"),
        (3, "INT3400 Thermal", "-273200"),
    ] {
        put(root, &format!("sys/class/thermal/thermal_zone{zone}/type"), format!("{sort}\n"));
        put(root, &format!("sys/class/thermal/thermal_zone{zone}/temp"), temp);
    }
    for (file, text) in [("type", "Processor\n"), ("cur_state", "2\n"), ("max_state", "10\n")] {
        put(root, &format!("sys/class/thermal/cooling_device0/{file}"), text);
    }
    let host = Live::new(root);
    let mut zones = make("thermal_zone");
    let expected = [
        r#"node_cooling_device_cur_state{name="0", type="Processor"} 2"#,
        r#"node_cooling_device_max_state{name="0", type="Processor"} 10"#,
        r#"node_thermal_zone_temp{type="x86_pkg_temp", zone="0"} 47"#,
    ];
    assert_eq!(lines(&collect(&mut *zones, &host).1), expected);
    host.read_of("");
    assert_eq!(lines(&collect(&mut *zones, &host).1), expected);
    assert_eq!(host.read_of("max_state"), 0, "it does not change");
    put(root, "sys/class/thermal/thermal_zone4/type", "acpitz\n");
    put(root, "sys/class/thermal/thermal_zone4/temp", "27800\n");
    assert_eq!(collect(&mut *zones, &host).1.len(), 4, "a zone that came is seen at once");
}

#[test]
fn energy_is_told_to_those_who_may_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let zone = |path: &str, name: &str, energy: &str| {
        let dir = format!("sys/class/powercap/{path}");
        put(root, &format!("{dir}/name"), format!("{name}\n"));
        put(root, &format!("{dir}/energy_uj"), energy);
        put(root, &format!("{dir}/max_energy_range_uj"), "262143328850\n");
    };
    put(root, "sys/class/powercap/intel-rapl/enabled", "1\n");
    zone("intel-rapl:0", "package-0", "118821284256\n");
    zone("intel-rapl:0:0", "core", "118821284256\n");
    zone("intel-rapl:1", "psys", "");
    let expected = [
        r#"node_rapl_core_joules_total{index="0", path="/sys/class/powercap/intel-rapl:0:0"} 118821.284256"#,
        r#"node_rapl_package_joules_total{index="0", path="/sys/class/powercap/intel-rapl:0"} 118821.284256"#,
    ];
    assert_eq!(lines(&once("rapl", root)), expected);
    let denied = r#"{"/sys/class/powercap/intel-rapl:0/energy_uj":13}"#;
    put(root, "errors.json", denied);
    assert_eq!(lines(&once("rapl", root)), expected[..1]);
    put(root, "errors.json", denied.replace("intel-rapl:0/", "intel-rapl:0:0/"));
    fs::remove_dir_all(root.join("sys/class/powercap/intel-rapl:0")).unwrap();
    assert_eq!(collect(&mut *make("rapl"), &open(root)).0, Status::Absent, "none may be read");
}

#[test]
fn throttling_is_counted_once_for_each_core_and_package() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for (cpu, core, package, count) in [(0, 0, 0, 5), (1, 1, 0, 0), (2, 0, 0, 5), (10, 0, 1, 9)] {
        let dir = format!("sys/devices/system/cpu/cpu{cpu}");
        put(root, &format!("{dir}/topology/core_id"), core.to_string());
        put(root, &format!("{dir}/topology/physical_package_id"), package.to_string());
        put(root, &format!("{dir}/thermal_throttle/core_throttle_count"), count.to_string());
        put(root, &format!("{dir}/thermal_throttle/package_throttle_count"), "30\n");
    }
    put(root, "sys/devices/system/cpu/cpu3/topology/core_id", "1");
    put(root, "sys/devices/system/cpu/cpuidle/current_driver", "none");
    let expected = [
        r#"node_cpu_core_throttles_total{core="0", package="0"} 5"#,
        r#"node_cpu_core_throttles_total{core="0", package="1"} 9"#,
        r#"node_cpu_core_throttles_total{core="1", package="0"} 0"#,
        r#"node_cpu_package_throttles_total{package="0"} 30"#,
        r#"node_cpu_package_throttles_total{package="1"} 30"#,
    ];
    assert_eq!(lines(&once("throttle", root)), expected);
    let broken = "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count";
    for text in ["", "-1", "x"] {
        put(root, broken, text);
        assert_eq!(once("throttle", root).len(), 4, "{text:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "sys/devices/system/cpu/cpu0/topology/core_id", "0");
    assert_eq!(collect(&mut *make("throttle"), &open(dir.path())).0, Status::Absent);
}

#[test]
fn damaged_folders_are_an_error_of_their_collector_or_absent() {
    for (collector, folder) in [
        ("hwmon", "sys/class/hwmon"),
        ("thermal_zone", "sys/class/thermal"),
        ("rapl", "sys/class/powercap"),
        ("throttle", "sys/devices/system/cpu"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            collect(&mut *make(collector), &open(dir.path())).0,
            Status::Absent,
            "{collector}"
        );
        fs::create_dir_all(dir.path().join(folder)).unwrap();
        assert_eq!(
            collect(&mut *make(collector), &open(dir.path())).0,
            Status::Absent,
            "{collector}"
        );
        put(dir.path(), "errors.json", format!(r#"{{"/{folder}":13}}"#));
        let error = make(collector).collect(&open(dir.path()), &mut Batch::new()).unwrap_err();
        assert_eq!(error.to_string(), format!("failed to read /{folder}"));
    }
}

/// A capture in the shared folder, laid out as files, or nothing when it is not here.
fn unpack(name: &str) -> Option<tempfile::TempDir> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/sys");
    let Ok(text) = fs::read_to_string(root.join(name)) else {
        println!("SKIPPED: no capture {name} here");
        return None;
    };
    let dir = tempfile::tempdir().unwrap();
    for line in text.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| entry[key].as_str().unwrap_or_default();
        let path = text("path");
        match text("kind") {
            "dir" => fs::create_dir_all(dir.path().join(path)).unwrap(),
            "link" => link(dir.path(), path, text("target")),
            _ => put(dir.path(), path, text("text")),
        }
    }
    Some(dir)
}

/// What node_exporter says of the tree: series without its own, with their values.
fn node_exporter(root: &Path) -> Option<BTreeMap<String, f64>> {
    const PROGRAM: &str = "/usr/bin/prometheus-node-exporter";
    if !Path::new(PROGRAM).exists() {
        println!("SKIPPED: no {PROGRAM} here");
        return None;
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut child = Command::new(PROGRAM)
        .arg(format!("--path.sysfs={}", root.join("sys").display()))
        .arg(format!("--path.procfs={}", root.join("sys").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .args(["--collector.disable-defaults", "--collector.hwmon", "--collector.thermal_zone"])
        .arg("--collector.rapl")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    let mut answer = String::new();
    while !answer.contains("node_scrape_collector_success") && Instant::now() < until {
        answer.clear();
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            let _ = stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n");
            let _ = stream.read_to_string(&mut answer);
        } else {
            std::thread::yield_now();
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let prefixes = ["node_hwmon_", "node_thermal_", "node_cooling_", "node_rapl_"];
    let ours = |line: &&str| prefixes.iter().any(|prefix| line.starts_with(prefix));
    let series = answer.lines().filter(ours).map(|line| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        (series.replace("\",", "\", "), value.parse().unwrap())
    });
    Some(series.collect())
}

#[test]
fn captured_chips_and_zones_are_as_node_exporter_has_them() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let own = |name: &str| -> (Option<tempfile::TempDir>, PathBuf) { (None, own.join(name)) };
    let shared = |name| {
        unpack(name).map(|dir| {
            let path = dir.path().to_owned();
            (Some(dir), path)
        })
    };
    // Not one with two chips of one name, of which Debian's version takes the first alone.
    let trees = [
        Some(own("hwmon/nvme-lm75-adt7475")),
        shared("node_exporter-hwmon-thermal.jsonl"),
        shared("procfs-thermal-nvme-hwmon.jsonl"),
        shared("telegraf-temp-general.jsonl"),
    ];
    for (_dir, root) in trees.into_iter().flatten() {
        // One that says half of what it should takes all others with it there.
        let half = root.join("sys/class/thermal/cooling_device1");
        if half.exists() && !half.join("cur_state").exists() {
            fs::remove_dir_all(half).unwrap();
        }
        let Some(theirs) = node_exporter(&root) else { return };
        let ours: BTreeMap<String, f64> = ["hwmon", "thermal_zone", "rapl"]
            .iter()
            .flat_map(|name| {
                let batch = once(name, &root);
                let series =
                    batch.iter().map(|s| (format!("{}{}", s.family.name, s.labels), s.value));
                series.filter(|(series, _)| series.starts_with("node_")).collect::<Vec<_>>()
            })
            .collect();
        let mut differences = Vec::new();
        for (series, value) in &theirs {
            match ours.get(series) {
                Some(own) if (own - value).abs() <= value.abs() * 1e-12 => {}
                // One of the captures has a zone at -44 °C, which is none.
                None if series.contains("_temp") && *value <= -40.0 => {}
                own => differences.push(format!("{series}: {value}, and ours {own:?}")),
            }
        }
        // Clocks came with a later version than Debian has.
        let is_clock = |series: &str| {
            series.starts_with("node_hwmon_freq_") || series.contains("sensor=\"freq")
        };
        let more =
            ours.iter().filter(|(series, _)| !theirs.contains_key(*series) && !is_clock(series));
        differences.extend(more.map(|(series, value)| format!("{series}: only ours {value}")));
        assert!(!theirs.is_empty(), "{}: it says nothing: {theirs:?}", root.display());
        assert_eq!(differences, Vec::<String>::new(), "{}", root.display());
    }
}
