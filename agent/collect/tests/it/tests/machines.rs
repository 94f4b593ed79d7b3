//! Whole machines: this one, hostile ones, one that is captured and replayed, disks that hang.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use labstat_collect::{Host, Options, RealHost, ReplayHost, Status, capture, registry};
use labstat_model::{Batch, ManualClock};

/// A long time for a test, and a short one for a deadline.
const LONG: Duration = Duration::from_secs(60);

fn samples(batch: &Batch) -> Vec<String> {
    let line =
        |s: labstat_model::BatchSample<'_>| format!("{}{} {}", s.family.name, s.labels, s.value);
    let mut lines: Vec<String> = batch.iter().map(line).collect();
    lines.sort();
    lines
}

/// What every collector makes of a host: its samples, `absent`, or its error.
fn outcomes(host: &dyn Host, options: &Options) -> Vec<(&'static str, Vec<String>)> {
    let run = |entry: &labstat_collect::Entry| {
        let mut batch = Batch::new();
        let lines = match (entry.make)(options).collect(host, &mut batch) {
            Ok(Status::Collected) => samples(&batch),
            Ok(Status::Absent) => vec!["absent".to_owned()],
            Err(error) => vec![error.to_string()],
        };
        (entry.name, lines)
    };
    registry().iter().map(run).collect()
}

fn replay(dir: &Path) -> ReplayHost {
    ReplayHost::open(dir, Arc::new(ManualClock::new(1_000))).unwrap()
}

fn script(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures").join(path);
    if path.exists() {
        return Some(path);
    }
    println!("SKIPPED: no capture {} here", path.display());
    None
}

#[test]
fn pages_of_an_nvme_disk_are_captured_as_they_came() {
    let machine = tempfile::tempdir().unwrap();
    let put = |path: &str, bytes: &[u8]| {
        let path = machine.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let mut identity = vec![0; 4096];
    identity[4..9].copy_from_slice(b"NNNN1");
    let mut health = vec![0; 512];
    health[1..3].copy_from_slice(&318_u16.to_le_bytes());
    put("nvme/%2fdev%2fnvme0/identity", &identity);
    put("nvme/%2fdev%2fnvme0/health", &health);
    put("sys/class/nvme/nvme0/state", b"live\n");
    put("commands/smartctl/--scan-open --json/status", b"not-found");
    put("commands/smartctl/--scan --json/status", b"not-found");
    // Another controller, whose pages may not be read.
    put("sys/class/nvme/nvme1/state", b"live\n");
    put("errors.json", br#"{"/dev/nvme1 identity": 13}"#);
    let options = Options::default();
    let copy = tempfile::tempdir().unwrap();
    capture(&replay(machine.path()), &options, copy.path()).unwrap();
    let of = |dir: &Path| {
        let mut all = outcomes(&replay(dir), &options);
        all.retain(|(name, _)| *name == "smartctl");
        // How long it took is no part of a capture.
        all.iter_mut().for_each(|(_, lines)| lines.retain(|line| !line.contains("_duration_")));
        all
    };
    let samples = of(copy.path());
    assert_eq!(samples, of(machine.path()));
    let has = |line: &str| samples[0].1.iter().any(|sample| sample == line);
    let celsius = "smartctl_device_temperature{device=\"nvme0\", temperature_type=\"current\"} 45";
    assert!(has(celsius), "{samples:#?}");
    let denied = "labstat_smart_state{device=\"nvme1\", reason=\"permission\", state=\"denied\"} 1";
    assert!(has(denied), "{samples:#?}");
}

/// A machine at rest, so that two reads of it are equal: a captured one.
#[test]
fn a_capture_of_a_capture_gives_the_same_samples() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut cases = 0;
    for collector in fs::read_dir(fixtures).unwrap() {
        for case in fs::read_dir(collector.unwrap().path()).unwrap() {
            let case = case.unwrap().path();
            // A machine without recorded commands has no programs; those of this one are not its.
            let mut options = Options::default();
            if !case.join("commands").exists() {
                options.smartctl.program = "/nonexistent/smartctl".to_owned();
            }
            let copy = tempfile::tempdir().unwrap();
            capture(&replay(&case), &options, copy.path()).unwrap();
            assert_eq!(
                outcomes(&replay(&case), &options),
                outcomes(&replay(copy.path()), &options),
                "{}",
                case.display()
            );
            cases += 1;
        }
    }
    assert!(cases > 10);
}

#[test]
fn this_machine_is_read_captured_and_replayed() {
    let host = RealHost::new(Arc::new(ManualClock::new(1_000)));
    let options = Options::default();
    let dir = tempfile::tempdir().unwrap();
    let report = capture(&host, &options, dir.path()).unwrap();
    assert!(report.files > 10, "{report:?}");
    assert_eq!(report.failed, [], "every collector works or is absent here");
    let names = |all: Vec<(&'static str, Vec<String>)>| -> Vec<(&'static str, usize)> {
        all.into_iter().map(|(name, lines)| (name, lines.len())).collect()
    };
    let again = outcomes(&replay(dir.path()), &options);
    let memory = again.iter().find(|(name, _)| *name == "meminfo").unwrap();
    assert!(memory.1.iter().any(|line| line.starts_with("node_memory_MemTotal_bytes{} ")));
    // Other tests open sockets and mounts meanwhile; what a machine has hardly changes in between. Of
    // links, files tell less than netlink, which tests/namespace compares.
    for kept in ["cpu", "meminfo", "netdev", "netclass", "diskstats", "os", "uname"] {
        let live: Vec<_> = names(outcomes(&host, &options));
        let replayed = names(again.clone());
        let count = |all: &[(&str, usize)]| all.iter().find(|(name, _)| *name == kept).map(|c| c.1);
        assert_eq!(count(&live), count(&replayed), "{kept}");
    }
    let made = dir.path().join("made");
    capture(&replay(dir.path()), &options, &made).unwrap();
    assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
    let full = capture(&host, &options, dir.path()).unwrap_err().to_string();
    assert!(full.ends_with("is not empty"), "{full}");
}

#[test]
fn an_empty_machine_has_nothing_and_fails_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        smartctl: labstat_collect::Smartctl {
            program: "/nonexistent/smartctl".to_owned(),
            ..labstat_collect::Smartctl::default()
        },
        ..Options::default()
    };
    for (name, lines) in outcomes(&replay(dir.path()), &options) {
        // Without a folder no file of one is bad, which node_exporter says as well.
        let wanted = match name {
            "time" => continue,
            "textfile" => "node_textfile_scrape_error{} 0",
            _ => "absent",
        };
        assert_eq!(lines, [wanted], "{name}");
    }
}

/// Huge files, loops, links that lead out, folders in the place of files, and noise.
#[test]
fn a_hostile_machine_is_refused_or_survived() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    fs::File::create(at("proc/stat")).unwrap().set_len(1 << 33).unwrap();
    symlink("meminfo", at("proc/meminfo")).unwrap();
    symlink("../../../../../../etc/passwd", at("proc/loadavg")).unwrap();
    fs::create_dir_all(at("proc/mdstat/x")).unwrap();
    fs::write(at("proc/net/dev"), [0xff; 4096]).unwrap();
    fs::write(at("proc/diskstats"), "\0\0\0\n").unwrap();
    fs::write(at("proc/1/mountinfo"), "1 2 3:4 / /x\u{0} rw - - - -\n").unwrap();
    symlink(".", at("sys/class/net/self")).unwrap();
    symlink("/", at("sys/class/hwmon/hwmon0")).unwrap();
    fs::write(at("sys/class/hwmon/hwmon1/temp1_input"), "").unwrap();
    fs::write(at("sys/class/hwmon/hwmon1/temp2_input"), "99999999999999999999999999").unwrap();
    fs::write(at("etc/os-release"), "=\n\"\nNAME=\"x\n").unwrap();
    let outcomes = outcomes(&replay(dir.path()), &Options::default());
    let of = |name: &str| &outcomes.iter().find(|(n, _)| *n == name).unwrap().1;
    assert_eq!(of("stat"), &["failed to read /proc/stat"]);
    assert_eq!(of("meminfo"), &["failed to read /proc/meminfo"]);
    assert_eq!(of("loadavg"), &["absent"], "the link ends at the root, where there is no passwd");
    assert_eq!(of("mdadm"), &["failed to read /proc/mdstat"]);
    assert_eq!(of("netdev"), &["/proc/net/dev makes no sense"]);
    let is_reading = |line: &String| line.starts_with("node_") && line.contains("temp1");
    assert!(!of("hwmon").iter().any(is_reading), "{:?}", of("hwmon"));
}

#[test]
fn a_file_without_rights_is_an_error_and_not_absence() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("proc")).unwrap();
    // The error is recorded, so that the test holds for root too, who may read everything.
    fs::write(dir.path().join("errors.json"), r#"{"/proc/stat": 13}"#).unwrap();
    let outcomes = outcomes(&replay(dir.path()), &Options::default());
    assert!(outcomes.contains(&("stat", vec!["failed to read /proc/stat".to_owned()])));
}

const SCAN: &str = r#"{"json_format_version":[1,0],"smartctl":{"version":[7,4]},"devices":[{"name":"/dev/sda","type":"sat"},{"name":"/dev/sdb","type":"sat"}]}"#;
const GOOD: &str = r#"{"smartctl":{"exit_status":0},"device":{"type":"sat","protocol":"ATA"},"model_name":"M","temperature":{"current":41}}"#;

fn smart_options(program: String) -> Options {
    let mut options = Options::default();
    options.smartctl.program = program;
    options.smartctl.device_deadline = Duration::from_secs(2);
    options
}

fn smartctl(options: &Options) -> Box<dyn labstat_collect::Collector> {
    (registry().iter().find(|entry| entry.name == "smartctl").unwrap().make)(options)
}

#[test]
fn a_disk_that_hangs_is_killed_and_the_other_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let program = script(
        dir.path(),
        "smartctl",
        &format!(
            "case \"$*\" in *scan*) echo '{SCAN}';; */dev/sda) sleep 600;; *) echo '{GOOD}';; esac"
        ),
    );
    let host = RealHost::new(Arc::new(ManualClock::new(5_000)));
    let mut batch = Batch::new();
    let before = Instant::now();
    let status = smartctl(&smart_options(program)).collect(&host, &mut batch).unwrap();
    assert_eq!(status, Status::Collected);
    assert!(before.elapsed() < LONG);
    let read = |device| batch.value("labstat_smart_read_success", &[("device", device)]);
    assert_eq!((read("sda"), read("sdb")), (Some(0.0), Some(1.0)));
    let current = [("device", "sdb"), ("temperature_type", "current")];
    assert_eq!(batch.value("smartctl_device_temperature", &current), Some(41.0));
    assert_eq!(batch.value("smartctl_device", &[("device", "sda")]), None);
    assert_eq!(host.counts().commands_killed, 1);
}

#[test]
fn a_search_that_hangs_is_waited_for_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = smart_options(script(dir.path(), "smartctl", "sleep 600"));
    options.smartctl.scan_deadline = Duration::from_millis(300);
    let host = RealHost::new(Arc::new(ManualClock::new(5_000)));
    let error = smartctl(&options).collect(&host, &mut Batch::new()).unwrap_err();
    assert!(error.to_string().contains("--scan-open"), "{error}");
    assert_eq!(host.counts().commands, 1);
}

#[test]
fn a_disk_that_is_named_is_asked_as_told_beside_those_found() {
    let dir = tempfile::tempdir().unwrap();
    // Only the named type gets an answer from sda; sdc is not found at all.
    let text = format!(
        "case \"$*\" in *scan*) echo '{SCAN}';; *--device=usbjmicron*|*sdb) echo '{GOOD}';; \
         *) exit 1;; esac"
    );
    let mut options = smart_options(script(dir.path(), "smartctl", &text));
    let named = ["/dev/sda", "/dev/sdc"].map(|path| (path.to_owned(), "usbjmicron".to_owned()));
    options.smartctl.devices = named.to_vec();
    let host = RealHost::new(Arc::new(ManualClock::new(5_000)));
    let mut batch = Batch::new();
    smartctl(&options).collect(&host, &mut batch).unwrap();
    for device in ["sda", "sdb", "sdc"] {
        let read = batch.value("labstat_smart_read_success", &[("device", device)]);
        assert_eq!(read, Some(1.0), "{device}");
    }
    assert_eq!(batch.value("smartctl_devices", &[]), Some(3.0));
}

#[test]
fn a_sleeping_disk_keeps_its_values_for_a_time_while_they_age() {
    let dir = tempfile::tempdir().unwrap();
    let asleep = r#"{"smartctl":{"messages":[{"string":"Device is in STANDBY mode, exit(2)"}],"exit_status":2}}"#;
    let mode = dir.path().join("mode");
    fs::write(&mode, GOOD).unwrap();
    let text = format!("case \"$*\" in *scan*) echo '{SCAN}';; *) cat {};; esac", mode.display());
    let program = script(dir.path(), "smartctl", &text);
    let clock = Arc::new(ManualClock::new(1_000_000));
    let host = RealHost::new(Arc::clone(&clock) as Arc<dyn labstat_model::Clock>);
    let options = smart_options(program);
    let mut collector = smartctl(&options);
    let mut round = |batch: &mut Batch| {
        batch.clear();
        collector.collect(&host, batch).unwrap();
    };
    let mut batch = Batch::new();
    let sda = [("device", "sda")];
    round(&mut batch);
    assert_eq!(batch.value("labstat_smart_reading_age_seconds", &sda), Some(0.0));

    fs::write(&mode, asleep).unwrap();
    clock.advance_ms(300_000);
    round(&mut batch);
    assert_eq!(batch.value("labstat_smart_read_success", &sda), Some(0.0));
    assert_eq!(batch.value("labstat_smart_reading_age_seconds", &sda), Some(300.0));
    assert_eq!(batch.value("smartctl_device_temperature", &sda), Some(41.0));
    let standby = [("device", "sda"), ("mode", "standby")];
    assert_eq!(batch.value("labstat_smart_power_mode", &standby), Some(1.0));

    // A failure is not sleep: its values go sooner.
    fs::write(&mode, "{").unwrap();
    clock.advance_ms(3_600_000);
    round(&mut batch);
    assert_eq!(batch.value("smartctl_device_temperature", &sda), None);
    let last = batch.value("labstat_smart_last_success_timestamp_seconds", &sda);
    assert_eq!(last, Some(1_000.0), "when it was last seen is still known");
}

#[test]
fn a_disk_that_was_pulled_has_no_values_from_then_on() {
    let dir = tempfile::tempdir().unwrap();
    let answer = dir.path().join("answer");
    fs::write(&answer, GOOD).unwrap();
    let text = format!("case \"$*\" in *scan*) echo '{SCAN}';; *) cat {};; esac", answer.display());
    let program = script(dir.path(), "smartctl", &text);
    let clock = Arc::new(ManualClock::new(1_000_000));
    let host = RealHost::new(Arc::clone(&clock) as Arc<dyn labstat_model::Clock>);
    let options = smart_options(program);
    let mut collector = smartctl(&options);
    let mut batch = Batch::new();
    let sda = [("device", "sda")];
    let current = [("device", "sda"), ("temperature_type", "current")];
    for gone in ["No such device", "No such device or address", "No such file or directory"] {
        fs::write(&answer, GOOD).unwrap();
        batch.clear();
        collector.collect(&host, &mut batch).unwrap();
        assert_eq!(batch.value("smartctl_device_temperature", &current), Some(41.0));

        let message = format!("Smartctl open device: /dev/sda failed: {gone}");
        let pulled = format!(
            r#"{{"smartctl":{{"messages":[{{"string":"{message}","severity":"error"}}],"exit_status":2}}}}"#
        );
        fs::write(&answer, pulled).unwrap();
        batch.clear();
        collector.collect(&host, &mut batch).unwrap();
        assert_eq!(batch.value("labstat_smart_read_success", &sda), Some(0.0), "{gone}");
        assert_eq!(batch.value("smartctl_device_temperature", &current), None, "{gone}");
        let last = batch.value("labstat_smart_last_success_timestamp_seconds", &sda);
        assert_eq!(last, Some(1_000.0), "when it was last seen is still known");
    }
}

/// Counters of one machine under load and after faults, from three kernels' worth of captures.
#[test]
fn third_party_trees_are_read() {
    for name in [
        "node_exporter-cpu-edac",
        "node_exporter-hwmon-thermal",
        "node_exporter-md-block",
        "node_exporter-net-bonding",
        "procfs-thermal-nvme-hwmon",
        "telegraf-temp-general",
        "telegraf-temp-with_name",
    ] {
        let Some(file) = shared(&format!("sys/{name}.jsonl")) else { continue };
        let dir = tempfile::tempdir().unwrap();
        unpack(&fs::read_to_string(file).unwrap(), dir.path());
        for (collector, lines) in outcomes(&replay(dir.path()), &Options::default()) {
            assert!(
                !lines.iter().any(|line| line.contains("failed")),
                "{name}: {collector}: {lines:?}"
            );
            if name == "node_exporter-hwmon-thermal" && collector == "hwmon" {
                let temp =
                    "node_hwmon_temp_celsius{chip=\"platform_coretemp_0\", sensor=\"temp1\"} 55";
                assert!(lines.iter().any(|line| line == temp), "{lines:?}");
            }
        }
    }
}

fn unpack(lines: &str, dir: &Path) {
    for line in lines.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| entry[key].as_str().unwrap_or_default();
        let path = dir.join(text("path"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match text("kind") {
            "dir" => fs::create_dir_all(&path).unwrap(),
            "link" => symlink(text("target"), &path).unwrap(),
            _ => fs::write(&path, text("text")).unwrap(),
        }
    }
}
