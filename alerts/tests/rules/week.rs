//! A week in a lab: what is well tells nothing, and what breaks tells what it should.
//!
//! No sample is stored: a machine as it was captured goes on, a sample a minute. Its counters grow
//! with the time of day, temperatures and memory follow it, disks fill slowly. Each group of rules is
//! evaluated in its own interval for the first hour, and for the rest of the week each quarter of an
//! hour, or as seldom as it asks for: what is true for less than that, once, is not seen.
//!
//! The machine that was captured has faults. As it is, it must tell these and nothing else; to be
//! well, it is given what the collectors' fixtures of healthy arrays and bonds say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use labstat_alerts::manager::ManagerOptions;
use labstat_alerts::rules::{Rule, RuleKind};
use labstat_alerts::{Evaluation, Manager, RuleSet, Status};
use labstat_model::{Labels, METRIC_NAME, MatchOp, Matcher, Series};
use labstat_promql::{Engine, Options, Source, SourceError};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// A midnight.
const START: i64 = 19_676 * DAY;
const STEP: i64 = 15 * MINUTE;

/// What no capture of a machine that is well has: pools, guests, a UPS; what the aggregator makes of
/// the node, and says of itself; and a healthy cluster that the node reads.
const OTHERS: &str = r#"
labstat_thermal_max_celsius{kind="ambient"} 24
node_zfs_zpool_state{zpool="tank",state="online"} 1
node_zfs_zpool_state{zpool="tank",state="degraded"} 0
node_zfs_zpool_state{zpool="tank",state="faulted"} 0
labstat_zfs_data_errors{zpool="tank"} 0
labstat_zfs_vdev_errors_total{zpool="tank",vdev="sda",role="disk",type="checksum"} 3
labstat_zfs_scan_info{zpool="tank",function="scrub",state="finished"} 1
labstat_zfs_scrub_end_timestamp_seconds{zpool="tank"} 1
node_btrfs_info{uuid="0abb",label="pool"} 1
labstat_btrfs_device_errors_total{uuid="0abb",devid="1",type="corruption"} 4
labstat_btrfs_device_missing{uuid="0abb",devid="1"} 0
labstat_lvm_thin_pool_data_used_ratio{vg="pve",pool="data"} 0.7
labstat_lvm_thin_pool_metadata_used_ratio{vg="pve",pool="data"} 0.3
labstat_lvm_thin_pool_state{vg="pve",pool="data",state="writable"} 1
labstat_lvm_thin_pool_state{vg="pve",pool="data",state="failed"} 0
labstat_lvm_thin_pool_needs_check{vg="pve",pool="data"} 0
labstat_guest_info{guest="lxc/102",kind="lxc",id="102",name="web"} 1
labstat_guest_oom_kills_total{guest="lxc/102"} 1
labstat_guest_memory_anon_bytes{guest="lxc/102"} 8e8
labstat_guest_memory_kernel_bytes{guest="lxc/102"} 5e7
labstat_guest_memory_limit_bytes{guest="lxc/102"} 1e9
labstat_ups_up{server="localhost",ups="rack"} 1
labstat_ups_server_up{server="localhost"} 1
labstat_ups_load_ratio{server="localhost",ups="rack"} 0.4
labstat_ups_status{server="localhost",ups="rack",flag="OL"} 1
labstat_ups_status{server="localhost",ups="rack",flag="OB"} 0
labstat_ups_status{server="localhost",ups="rack",flag="LB"} 0
labstat_ups_status{server="localhost",ups="rack",flag="FSD"} 0
labstat_ups_status{server="localhost",ups="rack",flag="RB"} 0
labstat_ups_status{server="localhost",ups="rack",flag="OVER"} 0
labstat_ups_status{server="localhost",ups="rack",flag="CAL"} 0
node_edac_correctable_errors_total{controller="0"} 3
node_edac_uncorrectable_errors_total{controller="0"} 0
node_filefd_allocated 3000
node_filefd_maximum 100000
node_cpu_package_throttles_total{package="0"} 7
labstat_node_reboot_required 0
node_systemd_unit_state{name="ssh.service",state="active"} 1
node_systemd_unit_state{name="ssh.service",state="failed"} 0
up{instance="vertex",job="node"} 1
up{instance="vertex",job="smartctl"} 1
up{instance="vertex",job="ceph"} 1
labstat_node_clock_skew_seconds{instance="vertex",job="labstat"} 0.2
labstat_disk_verdict{instance="vertex",job="smartctl",device="sda",disk="LABSATA0",serial_number="LABSATA0",model_name="LAB SATA 0",verdict="ok"} 1
labstat_agent_samples_dropped_total{instance="vertex",job="node",reason="full"} 12
labstat_agent_spool_rounds{instance="vertex",job="node"} 0
process_start_time_seconds{instance="labstat",job="labstat"} 1
labstat_rules_failing{instance="labstat",job="labstat"} 0
labstat_rules_last_reload_successful{instance="labstat",job="labstat"} 1
labstat_notifications_failing_seconds{instance="labstat",job="labstat",receiver="phone"} 0
labstat_notifications_oldest_age_seconds{instance="labstat",job="labstat",receiver="phone"} 0
labstat_notifications_total{instance="labstat",job="labstat",receiver="phone",outcome="dropped"} 2
labstat_ingest_failed_writes_total{instance="labstat",job="labstat",reason="full"} 0
labstat_ingest_refused_samples_total{instance="labstat",job="labstat",reason="too_old"} 40
labstat_store_filesystem_avail_bytes{instance="labstat",job="labstat"} 40e9
labstat_store_filesystem_size_bytes{instance="labstat",job="labstat"} 100e9
labstat_store_damaged_blobs{instance="labstat",job="labstat"} 0
labstat_store_maintenance_failures_total{instance="labstat",job="labstat"} 1
labstat_backup_last_success_timestamp_seconds{instance="labstat",job="labstat"} 1
labstat_heartbeat_interval_seconds{instance="labstat",job="labstat"} 60
labstat_heartbeat_last_success_timestamp_seconds{instance="labstat",job="labstat"} 1
labstat_ceph_cluster_info{instance="lab",job="ceph",fsid="f",version="18.2.7",reader="vertex"} 1
labstat_ceph_reading_success{instance="lab",job="ceph",source="mon"} 1
labstat_ceph_reading_success{instance="lab",job="ceph",source="mgr"} 1
labstat_ceph_reading_timestamp_seconds{instance="lab",job="ceph",source="mon"} 1
ceph_health_status{instance="lab",job="ceph"} 0
ceph_mon_quorum_status{instance="lab",job="ceph",ceph_daemon="mon.apex"} 1
ceph_osd_up{instance="lab",job="ceph",ceph_daemon="osd.0"} 1
ceph_osd_in{instance="lab",job="ceph",ceph_daemon="osd.0"} 1
ceph_osd_nearfull_ratio{instance="lab",job="ceph"} 0.85
labstat_ceph_osd_backfillfull_ratio{instance="lab",job="ceph"} 0.9
labstat_ceph_osd_used_bytes{instance="lab",job="ceph",ceph_daemon="osd.0"} 7e11
labstat_ceph_osd_size_bytes{instance="lab",job="ceph",ceph_daemon="osd.0"} 1e12
labstat_ceph_osd_info{instance="lab",job="ceph",ceph_daemon="osd.0",hostname="vertex",device="sda",serial="LABSATA0"} 1
ceph_num_objects_degraded{instance="lab",job="ceph"} 0
labstat_ceph_osd_only_copies{instance="lab",job="ceph",ceph_daemon="osd.0"} 0
labstat_ceph_failures_tolerated{instance="lab",job="ceph",domain="osd",until="unavailable"} 1
labstat_ceph_crashes{instance="lab",job="ceph",ceph_daemon="osd.0"} 0
labstat_ceph_oldest_deep_scrub_timestamp_seconds{instance="lab",job="ceph",pool_id="1"} 1
"#;

/// What is wrong with the machine that was captured: each must be told for as long as it stands.
const CAPTURED_FAULTS: [&str; 6] = [
    "BondLegDown bond0",
    "CephSlowOps osd.0",
    "FilesystemNotAnswering /mnt/my nas",
    "RaidDegraded md0",
    "RaidDegraded md1",
    "RaidMemberFailed md0",
];

/// The metrics that tell of these, which the fixtures replace.
const FAULTY: [&str; 6] =
    ["node_md_", "labstat_md_", "node_bonding_", "labstat_network_bond_", "ceph_", "labstat_ceph_"];

/// Captures of machines, or parts of them, that are well. The processor is above the maximum that its
/// driver names, as those that work are.
const HEALTHY: [&str; 7] = [
    "mdadm/healthy-raid1-raid5",
    "links/bond-healthy",
    "timex/in-nanoseconds",
    "hwmon/coretemp-with-alarm",
    "conntrack/a-few",
    "clocksource/tsc",
    "ceph/reef-in-containers",
];

/// How a series goes on.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// Nothing, unless something breaks.
    Absent,
    /// As it was captured.
    Stays(f64),
    /// `by` more and less by the time of day.
    Wave { mean: f64, by: f64 },
    /// This part of itself less each day, and a little up and down.
    Shrinks { from: f64, per_day: f64 },
    /// So much a second, `swing` more and less by the time of day.
    Grows { from: f64, rate: f64, swing: f64 },
    /// The time at which something was last done that is done every so many seconds.
    LastDone { every_s: i64 },
    /// How long that is ago.
    Age { every_s: i64 },
}

impl Shape {
    fn at(self, time_ms: i64) -> Option<f64> {
        let passed_s = (time_ms - START) as f64 / 1e3;
        let turn = std::f64::consts::TAU / 86_400.0;
        let wave = (turn * passed_s).sin();
        Some(match self {
            Self::Absent => return None,
            Self::Stays(value) => value,
            Self::Wave { mean, by } => mean + by * wave,
            Self::Shrinks { from, per_day } => {
                from * (1.0 - per_day * passed_s / 86_400.0 + 0.002 * wave)
            }
            Self::Grows { from, rate, swing } => {
                from + rate * passed_s + swing / turn * (1.0 - (turn * passed_s).cos())
            }
            Self::LastDone { every_s } => (time_ms / 1000 / every_s * every_s) as f64,
            Self::Age { every_s } => (time_ms / 1000 % every_s) as f64,
        })
    }

    fn of(name: &str, labels: &Labels, is_counter: bool, value: f64) -> Self {
        if is_counter || name.starts_with("node_netstat_") || name.starts_with("node_vmstat_") {
            return Self::counter(name, labels, value);
        }
        let is_one_of = |names: &[&str]| names.contains(&name);
        let wave = |part: f64| Self::Wave { mean: value, by: part * value };
        if name == "node_time_seconds" {
            Self::LastDone { every_s: 1 }
        } else if is_one_of(&["node_boot_time_seconds", "process_start_time_seconds"]) {
            Self::Stays(((START - 3 * DAY) / 1000) as f64)
        } else if name.contains("scrub") {
            Self::LastDone { every_s: 7 * 86_400 }
        } else if name.ends_with("_timestamp_seconds") {
            let is_each_minute = name.starts_with("labstat_heartbeat_");
            Self::LastDone { every_s: if is_each_minute { 60 } else { 300 } }
        } else if name == "labstat_smart_reading_age_seconds" {
            Self::Age { every_s: 300 }
        } else if is_one_of(&[
            "node_hwmon_temp_celsius",
            "node_thermal_zone_temp",
            "labstat_thermal_max_celsius",
        ]) || labels.get("temperature_type") == Some("current")
        {
            Self::Wave { mean: value, by: 3.0 }
        } else if is_one_of(&["node_filesystem_avail_bytes", "node_filesystem_free_bytes"]) {
            Self::Shrinks { from: value, per_day: 0.005 }
        } else if is_one_of(&["node_filesystem_files_free", "labstat_store_filesystem_avail_bytes"])
        {
            Self::Shrinks { from: value, per_day: 0.001 }
        } else if name.starts_with("node_load") {
            wave(0.5)
        } else if is_one_of(&["node_hwmon_fan_rpm", "node_nf_conntrack_entries"])
            || is_memory_in_use(name)
        {
            wave(0.05)
        } else if is_one_of(&["node_timex_offset_seconds", "labstat_node_clock_skew_seconds"]) {
            wave(1.0)
        } else {
            Self::Stays(value)
        }
    }

    fn counter(name: &str, labels: &Labels, from: f64) -> Self {
        let half = |rate: f64| Self::Grows { from, rate, swing: rate / 2.0 };
        if name == "node_cpu_seconds_total" {
            let busy = [("user", 0.12), ("system", 0.05), ("iowait", 0.02), ("softirq", 0.01)];
            let mode = labels.get("mode").unwrap_or_default();
            if mode == "idle" {
                // The modes of a processor are a second each second together.
                let all: f64 = busy.iter().map(|(_, rate)| rate).sum();
                return Self::Grows { from, rate: 1.0 - all, swing: -all / 2.0 };
            }
            return half(busy.iter().find(|(of, _)| *of == mode).map_or(0.0, |(_, rate)| *rate));
        }
        if IS_NO_WORK.iter().any(|part| name.contains(part)) {
            return Self::Stays(from);
        }
        match name {
            "smartctl_device_power_on_seconds" => Self::Grows { from, rate: 1.0, swing: 0.0 },
            "labstat_smart_reads_total" => Self::Grows { from, rate: 1.0 / 300.0, swing: 0.0 },
            _ if name.starts_with("node_pressure_") => half(0.005),
            _ if name.contains("_seconds_") || name.ends_with("_latency_sum") => half(0.02),
            _ if name.contains("bytes") || name.contains("Octets") => half(200_000.0),
            _ => half(200.0),
        }
    }
}

/// Parts of the names of counters that stand still in a machine that is well.
const IS_NO_WORK: [&str; 27] = [
    "errs",
    "error",
    "err_log",
    "Err",
    "drop",
    "Drop",
    "fail",
    "fifo",
    "frame",
    "colls",
    "carrier",
    "compressed",
    "nohandler",
    "oom",
    "Overflow",
    "critical",
    "unsafe",
    "warning",
    "percentage",
    "spare",
    "cycle",
    "Syncookies",
    "pswp",
    "pps_",
    "refused",
    "notifications",
    "throttle",
];

fn is_memory_in_use(name: &str) -> bool {
    let fixed = ["Total", "Limit", "size_", "Vmalloc", "DirectMap", "Corrupted", "HugePages_"];
    name.starts_with("node_memory_") && !fixed.iter().any(|part| name.contains(part))
}

/// A time in which a series is something else, or, without a value, silent.
#[derive(Debug, Clone, Copy)]
struct Break {
    from_ms: i64,
    to_ms: i64,
    value: Option<f64>,
}

#[derive(Debug)]
struct Made {
    labels: Labels,
    shape: Shape,
    breaks: Vec<Break>,
    /// Its values in each minute of the week, once they are asked for.
    minutes: OnceLock<Vec<Option<f64>>>,
}

impl Made {
    /// The value in a minute since the start of the week.
    fn in_minute(&self, minute: i64) -> Option<f64> {
        let at = |minute: i64| self.at(START + minute * MINUTE);
        let minutes = self.minutes.get_or_init(|| (0..7 * DAY / MINUTE).map(at).collect());
        let known = usize::try_from(minute).ok().and_then(|minute| minutes.get(minute));
        known.copied().unwrap_or_else(|| at(minute))
    }

    fn at(&self, time_ms: i64) -> Option<f64> {
        let now = |of: &&Break| (of.from_ms..of.to_ms).contains(&time_ms);
        match self.breaks.iter().find(now) {
            Some(one) => one.value,
            None => self.shape.at(time_ms),
        }
    }
}

/// The series of a lab, by metric name, and those that the rules write.
#[derive(Debug, Default)]
struct Lab {
    made: BTreeMap<String, Vec<Made>>,
    written: Mutex<BTreeMap<String, BTreeMap<Labels, Series>>>,
}

impl Lab {
    /// A machine that is well, and what the aggregator and a cluster add to it.
    fn healthy() -> Self {
        let mut lab = Self::default();
        lab.add(&captured(), |name, labels| {
            let is_of_a_server_away = name == "node_filesystem_device_error"
                && !labels.get("device_error").unwrap_or_default().is_empty();
            !FAULTY.iter().any(|prefix| name.starts_with(prefix)) && !is_of_a_server_away
        });
        for fixture in HEALTHY {
            let path = format!("agent/collect/fixtures/{fixture}/expected.prom");
            lab.add(&read(&path), |_, _| true);
        }
        lab.add(OTHERS, |_, _| true);
        lab
    }

    /// The machine as it was captured.
    fn faulty() -> Self {
        let mut lab = Self::default();
        lab.add(&captured(), |_, _| true);
        lab.add(OTHERS, |name, _| !name.contains("ceph_"));
        lab
    }

    /// Adds what a text exposition has and `takes` takes; of what is there already, the first stays.
    fn add(&mut self, text: &str, takes: impl Fn(&str, &Labels) -> bool) {
        let mut counters = BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                counters.extend(rest.strip_suffix(" counter"));
            }
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (labels, value) = parse(line);
            let name = labels.metric_name();
            if takes(name, &labels) {
                let is_counter = name.ends_with("_total") || counters.contains(name);
                let shape = Shape::of(name, &labels, is_counter, value);
                self.put(labels, shape);
            }
        }
    }

    fn put(&mut self, labels: Labels, shape: Shape) {
        let named = self.made.entry(labels.metric_name().to_owned()).or_default();
        if let Err(at) = named.binary_search_by(|made| made.labels.cmp(&labels)) {
            named.insert(at, Made { labels, shape, breaks: Vec::new(), minutes: OnceLock::new() });
        }
    }

    /// Breaks the series that have these labels, at least one, from an hour of the week on.
    fn fail(&mut self, labels: &[(&str, &str)], hour: i64, hours: i64, value: Option<f64>) {
        let from_ms = START + hour * HOUR;
        let one = Break { from_ms, to_ms: from_ms + hours * HOUR, value };
        let mut seen = 0;
        for made in self.made.values_mut().flatten() {
            if labels.iter().all(|(name, value)| made.labels.get(name) == Some(value)) {
                made.breaks.push(one);
                made.minutes = OnceLock::new();
                seen += 1;
            }
        }
        assert!(seen > 0, "nothing has {labels:?}");
    }

    fn keep(&self, evaluation: &Evaluation) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        for one in &evaluation.write.floats.series {
            let named = written.entry(one.labels.metric_name().to_owned()).or_default();
            let kept =
                named.entry(one.labels.clone()).or_insert_with(|| Series::new(one.labels.clone()));
            for sample in &one.samples {
                kept.push(sample.time_ms, sample.value);
            }
        }
    }

    /// Samples of the series that fulfil all matchers, or only the newest of each.
    fn cut(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        is_newest: bool,
    ) -> Vec<Series> {
        let by_name = |m: &&Matcher| m.name() == METRIC_NAME && m.op() == MatchOp::Equal;
        let name = matchers.iter().find(by_name).map(Matcher::value);
        let fits = |labels: &Labels| matchers.iter().all(|m| m.matches_labels(labels));
        let start_ms = start_ms.max(START);
        let mut found = Vec::new();
        let named = self.made.get(name.unwrap_or_default());
        let all = self.made.values().filter(|_| name.is_none());
        for made in named.into_iter().chain(all).flatten().filter(|made| fits(&made.labels)) {
            let first = (start_ms - START + MINUTE - 1).div_euclid(MINUTE);
            let minutes = first..=(end_ms - START).div_euclid(MINUTE);
            let value = |minute: i64| Some((START + minute * MINUTE, made.in_minute(minute)?));
            let mut series = Series::new(made.labels.clone());
            if is_newest {
                let newest = minutes.rev().find_map(value);
                newest.into_iter().for_each(|(time_ms, value)| series.push(time_ms, value));
            } else {
                minutes.filter_map(value).for_each(|(time_ms, value)| series.push(time_ms, value));
            }
            found.push(series);
        }
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let named = written.get(name.unwrap_or_default());
        let all = written.values().filter(|_| name.is_none());
        for kept in named.into_iter().chain(all).flat_map(BTreeMap::values) {
            if fits(&kept.labels) {
                let mut series = Series::new(kept.labels.clone());
                let first = kept.times.partition_point(|time_ms| *time_ms < start_ms);
                let end = kept.times.partition_point(|time_ms| *time_ms <= end_ms);
                let first = if is_newest { first.max(end.saturating_sub(1)) } else { first };
                for at in first..end {
                    series.push(kept.times[at], kept.values[at]);
                }
                found.push(series);
            }
        }
        found.retain(|series| !series.times.is_empty());
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        found
    }
}

impl Source for Lab {
    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, SourceError> {
        Ok(self.cut(matchers, start_ms, end_ms, false))
    }

    fn newest(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, SourceError> {
        Ok(self.cut(matchers, start_ms, end_ms, true))
    }
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

fn captured() -> String {
    read("tests/golden/captured-machine.prom")
}

/// A line of text exposition, as one of the node's series where it does not say otherwise.
fn parse(line: &str) -> (Labels, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, mut rest) = series.split_once('{').unwrap_or((series, "}"));
    let job = if name.starts_with("smartctl_") || name.starts_with("labstat_smart_") {
        "smartctl"
    } else if name.starts_with("ceph_") || name.starts_with("labstat_ceph_") {
        "ceph"
    } else {
        "node"
    };
    let mut labels = Labels::new([(METRIC_NAME, name), ("instance", "vertex"), ("job", job)]);
    while let Some((label, after)) = rest.split_once("=\"") {
        let (text, after) = after.split_once('"').unwrap();
        assert!(!text.contains('\\'), "no capture has an escaped label: {line}");
        labels = labels.with(label.trim_start_matches([',', ' ']), text);
        rest = after;
    }
    (labels, value.parse().unwrap())
}

/// Evaluates all rules over `days`; gives what fired, each with the hours of the week in which it began.
fn fired(lab: &Lab, days: i64) -> BTreeMap<String, Vec<f64>> {
    let manager = Manager::new(RuleSet::shipped().unwrap(), ManagerOptions::default(), START);
    let engine = Engine::new(Options::default());
    let mut fired: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut time_ms = START;
    while time_ms <= START + days * DAY {
        for due in manager.due(time_ms) {
            let evaluation = manager.evaluate(&due, &engine, lab);
            lab.keep(&evaluation);
            for alert in evaluation.notifications {
                if alert.status == Status::Firing {
                    let hour = (due.time_ms - START) as f64 / HOUR as f64;
                    fired.entry(told(&alert)).or_default().push(hour);
                }
            }
        }
        assert_eq!(manager.failing_len(), 0, "a rule fails");
        time_ms += if time_ms < START + HOUR { 15_000 } else { STEP };
    }
    fired
}

/// The alert's name and what it is about.
fn told(alert: &labstat_alerts::Notification) -> String {
    let of = ["mountpoint", "master", "device", "ceph_daemon", "chip", "disk"];
    let about = of.iter().find_map(|name| alert.labels.get(*name));
    format!("{} {}", alert.name(), about.map_or("vertex", String::as_str))
}

/// Metrics that nobody sends while all is well.
const ONLY_OF_FAULTS: [&str; 4] = [
    "labstat_ceph_health_check",
    "labstat_disk_finding",
    "labstat_disk_silent_seconds",
    "labstat_inventory_missing_seconds",
];

/// The alerts that cannot be false, since the lab has none of the metrics that they look at.
fn blind_alerts(lab: &Lab) -> Vec<String> {
    let sees = |rule: &Rule| {
        let selectors = rule.selectors();
        let mut matchers = selectors.iter().flatten().filter(|m| m.name() == METRIC_NAME);
        matchers.any(|m| lab.made.contains_key(m.value()) || ONLY_OF_FAULTS.contains(&m.value()))
    };
    let set = RuleSet::shipped().unwrap();
    let rules = set.groups.iter().flat_map(|group| &group.rules);
    let alerts = rules.filter(|rule| matches!(rule.kind, RuleKind::Alert(_)));
    alerts.filter(|rule| !sees(rule)).map(|rule| rule.name.clone()).collect()
}

fn names(fired: &BTreeMap<String, Vec<f64>>) -> Vec<&str> {
    fired.keys().map(String::as_str).collect()
}

#[test]
fn a_healthy_machine_tells_nothing_for_a_week() {
    let lab = Lab::healthy();
    let len: usize = lab.made.values().map(Vec::len).sum();
    assert!(len > 1400, "only {len} series");
    let blind = blind_alerts(&lab);
    assert!(
        blind.is_empty(),
        "add to OTHERS what these would look at in a lab that is well: {blind:?}"
    );
    let fired = fired(&lab, 7);
    assert!(fired.is_empty(), "false alarms, with the hours at which they began: {fired:#?}");
}

#[test]
fn the_captured_machine_tells_its_own_faults_once_each_and_nothing_else() {
    let fired = fired(&Lab::faulty(), 1);
    assert_eq!(names(&fired), CAPTURED_FAULTS, "{fired:#?}");
    assert!(fired.values().all(|hours| hours.len() == 1 && hours[0] < 1.0), "{fired:#?}");
}

#[test]
fn what_breaks_is_told_and_nothing_else() {
    let mut lab = Lab::healthy();
    let finding = [
        (METRIC_NAME, "labstat_disk_finding"),
        ("instance", "vertex"),
        ("job", "smartctl"),
        ("device", "nvme0"),
        ("disk", "LABNVME0"),
        ("serial_number", "LABNVME0"),
        ("model_name", "QEMU NVMe Ctrl"),
        ("verdict", "watch"),
        ("code", "wear"),
        ("cause", "wear"),
        ("reason", "It is worn out."),
    ];
    lab.put(Labels::new(finding), Shape::Absent);
    // The aggregator says 0 for a node that says nothing.
    lab.fail(&[(METRIC_NAME, "up"), ("instance", "vertex")], 10, 1, Some(0.0));
    lab.fail(&[("instance", "vertex")], 10, 1, None);
    let of_md0 = |state| [(METRIC_NAME, "node_md_disks"), ("device", "md0"), ("state", state)];
    lab.fail(&of_md0("active"), 16, 2, Some(1.0));
    lab.fail(&of_md0("failed"), 16, 2, Some(1.0));
    let root = [(METRIC_NAME, "node_filesystem_avail_bytes"), ("mountpoint", "/")];
    lab.fail(&root, 30, 2, Some(10_000.0));
    let sensor = [(METRIC_NAME, "node_hwmon_temp_celsius"), ("chip", "nvme_nvme0")];
    lab.fail(&sensor, 36, 2, Some(101.0));
    lab.fail(&[(METRIC_NAME, "labstat_disk_finding")], 42, 2, Some(1.0));
    let fired = fired(&lab, 2);
    let expected: [(&str, f64); 7] = [
        ("DiskWatch LABNVME0", 42.0),
        ("FilesystemAlmostFull /", 30.0),
        // Nobody can say at first that it goes no further.
        ("FilesystemFillsUp /", 30.0),
        ("NodeDown vertex", 10.0),
        ("RaidDegraded md0", 16.0),
        ("RaidMemberFailed md0", 16.0),
        ("SensorCritical nvme0", 36.0),
    ];
    assert_eq!(names(&fired), expected.map(|(name, _)| name), "{fired:#?}");
    for (name, hour) in expected {
        let hours = &fired[name];
        let in_time = hours.len() == 1 && (hour..=hour + 1.0).contains(&hours[0]);
        assert!(in_time, "{name} is told once, within an hour: {hours:?}");
    }
}
