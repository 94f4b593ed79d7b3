//! The daemons of a node by their admin sockets: what the manager says of them, and what is said of
//! daemons that are killed, stopped, started again, or not to be asked.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use labstat_agent::collect::{
    Collector, Host, Options, RealHost, ReplayHost, Status, capture, registry,
};
use labstat_model::{Batch, SystemClock};

use crate::cluster::{self, Cluster, Plan, eventually};

/// What the page of the manager has of daemons besides what they count themselves.
const OF_THE_CLUSTER: [&str; 15] = [
    "ceph_daemon_health_metrics",
    "ceph_disk_occupation",
    "ceph_disk_occupation_human",
    "ceph_mds_metadata",
    "ceph_mgr_metadata",
    "ceph_mgr_status",
    "ceph_mon_metadata",
    "ceph_mon_quorum_status",
    "ceph_osd_apply_latency_ms",
    "ceph_osd_commit_latency_ms",
    "ceph_osd_in",
    "ceph_osd_metadata",
    "ceph_osd_up",
    "ceph_osd_weight",
    "ceph_rgw_metadata",
];

/// The collector of this node's daemons, as an agent has it.
struct Node {
    host: RealHost,
    ceph: Box<dyn Collector>,
}

/// Samples by their series, as text.
type Samples = BTreeMap<String, f64>;

fn options(cluster: &Cluster) -> Options {
    let mut options = Options::default();
    options.ceph.run_dir = cluster.run_dir().to_str().unwrap().to_owned();
    options.ceph.conf = Some(cluster.conf().to_str().unwrap().to_owned());
    options
}

fn collector(options: &Options) -> Box<dyn Collector> {
    let entry = registry().iter().find(|entry| entry.name == "ceph").unwrap();
    (entry.make)(options)
}

fn samples(batch: &Batch) -> Samples {
    batch.iter().map(|s| (format!("{}{}", s.family.name, s.labels), s.value)).collect()
}

impl Node {
    fn of(cluster: &Cluster) -> Self {
        let host = RealHost::new(Arc::new(SystemClock));
        Self { host, ceph: collector(&options(cluster)) }
    }

    fn read(&mut self) -> Samples {
        let mut batch = Batch::new();
        assert_eq!(self.ceph.collect(&self.host, &mut batch).unwrap(), Status::Collected);
        samples(&batch)
    }

    fn error(&mut self) -> String {
        self.ceph.collect(&self.host, &mut Batch::new()).unwrap_err().to_string()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.host.stop();
    }
}

fn up(daemon: &str) -> String {
    format!("labstat_ceph_daemon_up{{ceph_daemon=\"{daemon}\"}}")
}

/// What is said of a daemon, but for whether it is up.
fn counters<'a>(samples: &'a Samples, daemon: &str) -> Vec<&'a str> {
    let label = format!("ceph_daemon=\"{daemon}\"");
    let of = samples.keys().filter(|series| series.contains(&label) && **series != up(daemon));
    of.map(String::as_str).collect()
}

/// The counters of daemons on the manager's page.
fn of_the_manager(page: &str) -> Samples {
    let mut samples = Samples::new();
    let is_of_daemon =
        |line: &&str| ["{ceph_daemon=\"", "{instance_id=\""].iter().any(|it| line.contains(it));
    for line in page.lines().filter(is_of_daemon) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap();
        // A section that is called after an address in memory.
        if OF_THE_CLUSTER.contains(&name) || name.contains("_0x") {
            continue;
        }
        // Gateways have the number of their session there, and by mistake also where others have a name.
        let id = labels.trim_end_matches("\"}").rsplit('"').next().unwrap();
        let series = match id.bytes().all(|byte| byte.is_ascii_digit()) {
            true => format!("{name}{{ceph_daemon=\"rgw.gate\", instance_id=\"gate\"}}"),
            false => series.to_owned(),
        };
        samples.insert(series, value.parse().unwrap());
    }
    samples
}

/// Waits until every counter on the manager's page is one of ours, by the same name, and between what we read
/// just before and just after the manager was told; we have no other of any daemon but the manager.
pub(crate) fn counters_become_those_of_the_manager(cluster: &Cluster) {
    let mut node = Node::of(cluster);
    // Daemons report every five seconds, and the page is made every second: while the cluster rests,
    // what the page has is what is between two readings ten seconds apart.
    let mut readings = vec![node.read()];
    eventually("the manager has what the daemons have", || {
        readings.push(node.read());
        let page = of_the_manager(&cluster.mgr_metrics()?);
        if page.len() < 100 {
            return Err(format!("only {} counters", page.len()));
        }
        let mut wrong = Vec::new();
        for (series, value) in &page {
            let ours = readings.iter().rev().take(60).filter_map(|reading| reading.get(series));
            let low = ours.clone().copied().fold(f64::INFINITY, f64::min);
            let high = ours.copied().fold(f64::NEG_INFINITY, f64::max);
            if !(low..=high).contains(value) {
                wrong.push(format!("{series}: {value}, ours {low} to {high}"));
            }
        }
        let last = readings.last().unwrap();
        for series in last.keys().filter(|series| series.starts_with("ceph_")) {
            if !page.contains_key(series) && !series.contains("\"mgr.") {
                wrong.push(format!("{series}: not the manager's"));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    });
}

#[test]
fn counters_are_those_of_the_manager() {
    let Some(mut cluster) = cluster::shared() else { return };
    drop(cluster.write_load(5, 2));
    counters_become_those_of_the_manager(&cluster);
}

#[test]
fn the_state_of_each_daemon() {
    let Some(cluster) = cluster::shared() else { return };
    let samples = Node::of(&cluster).read();
    for daemon in cluster.daemons() {
        assert_eq!(samples[&up(&daemon)], 1.0, "{daemon}");
    }
    for series in [
        "labstat_ceph_mon_in_quorum{ceph_daemon=\"mon.a\"}",
        "labstat_ceph_mon_leader{ceph_daemon=\"mon.a\"}",
        "labstat_ceph_osd_state{ceph_daemon=\"osd.1\", state=\"active\"}",
    ] {
        assert_eq!(samples.get(series), Some(&1.0), "{series}: {samples:#?}");
    }
    for daemon in ["mon.a", "osd.0", "osd.1", "osd.2"] {
        let slow = format!("labstat_ceph_daemon_slow_ops{{ceph_daemon=\"{daemon}\"}}");
        assert_eq!(samples.get(&slow), Some(&0.0));
    }
}

/// While an OSD is stopped, writes wait for it at the others, which say so.
#[test]
fn operations_that_wait_for_a_stopped_osd_are_slow() {
    let more = "osd op complaint time = 1\nosd heartbeat grace = 600".to_owned();
    let Some(mut cluster) = Cluster::start(Plan { osd_conf: more, ..Plan::default() }) else {
        return;
    };
    let mut node = Node::of(&cluster);
    cluster.stop("osd.2");
    // So many that not all of them go to the stopped one first, which would be the only one to know of them.
    let _load = cluster.write_load(120, 16);
    eventually("an operation is slow", || {
        let samples = node.read();
        let sum = |name: &str| -> f64 {
            let of = samples.iter().filter(|(series, _)| series.starts_with(name));
            of.map(|(_, value)| value).sum()
        };
        let slow = sum("labstat_ceph_daemon_slow_ops{ceph_daemon=\"osd");
        let all = sum("labstat_ceph_daemon_ops_in_flight{ceph_daemon=\"osd");
        if slow > 0.0 && all >= slow { Ok(()) } else { Err(format!("{slow} of {all}")) }
    });
}

/// A cluster that has a name has it in all its samples.
#[test]
fn the_name_of_the_cluster_is_a_label() {
    let Some(cluster) = cluster::shared() else { return };
    let mut options = options(&cluster);
    options.ceph.name = Some("home".to_owned());
    let host = RealHost::new(Arc::new(SystemClock));
    let named = Node { host, ceph: collector(&options) }.read();
    let plain = Node::of(&cluster).read();
    assert_eq!(named.len(), plain.len());
    assert!(named.keys().all(|series| series.contains("cluster=\"home\"")), "{named:?}");
}

/// A killed one is down at once, a stopped one after the deadline, and neither holds up the others;
/// both are up again when they go on, with all their counters.
#[test]
fn daemons_that_do_not_answer_are_down_and_come_back() {
    let Some(mut cluster) = cluster::shared() else { return };
    let mut node = Node::of(&cluster);
    let before = node.read();
    let count = counters(&before, "osd.0").len();
    assert!(count > 30, "{count}");

    cluster.kill("osd.0");
    let start = Instant::now();
    let samples = node.read();
    assert!(start.elapsed() < Duration::from_secs(1), "a refusal is not waited for");
    assert_eq!(samples[&up("osd.0")], 0.0);
    assert_eq!(counters(&samples, "osd.0"), Vec::<&str>::new(), "nothing stale");
    assert_eq!(counters(&samples, "osd.1"), counters(&before, "osd.1"));

    for daemon in ["osd.1", "osd.2", "mgr.x"] {
        cluster.stop(daemon);
    }
    // Often enough that their queues are full.
    for _ in 0..8 {
        let start = Instant::now();
        let samples = node.read();
        assert!(start.elapsed() < Duration::from_secs(4), "one deadline for all");
        for daemon in ["osd.0", "osd.1", "osd.2", "mgr.x"] {
            assert_eq!(samples[&up(daemon)], 0.0, "{daemon}");
            assert_eq!(counters(&samples, daemon), Vec::<&str>::new(), "{daemon}");
        }
        assert_eq!(samples[&up("mon.a")], 1.0);
        assert_eq!(counters(&samples, "mon.a"), counters(&before, "mon.a"));
    }

    for daemon in ["osd.1", "osd.2", "mgr.x"] {
        cluster.cont(daemon);
    }
    cluster.start_daemon("osd.0");
    eventually("all are up again, with all they had", || {
        let samples = node.read();
        let lost: Vec<&String> = before
            .keys()
            .filter(|series| series.starts_with("ceph_") && !samples.contains_key(*series))
            .collect();
        if lost.is_empty() { Ok(()) } else { Err(format!("{lost:?}")) }
    });
}

/// Who may not ask does not say that a daemon is down.
#[test]
fn a_socket_without_rights_is_neither_up_nor_down() {
    let Some(cluster) = cluster::shared() else { return };
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can become another user");
        return;
    }
    // Another user runs the agent in another process: threads of one process share their user.
    let binary = env!("CARGO_BIN_EXE_labstat");
    let dir = cluster.run_dir();
    std::fs::set_permissions(dir.parent().unwrap(), PermissionsExt::from_mode(0o755)).unwrap();
    let run = |only: &str| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups", binary]);
        command.args(["agent", "--once", "--only", only, "--ceph-run", dir.to_str().unwrap()]);
        let output = command.env_remove("RUST_LOG").output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    };
    let probe = std::process::Command::new("setpriv")
        .args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups", binary, "--version"])
        .output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: the binary is out of another user's reach");
        return;
    }
    let text = run("ceph");
    assert!(text.to_lowercase().contains("permission denied"), "{text}");
    assert!(!text.contains("labstat_ceph_daemon_up{"), "{text}");
}

/// What a capture of the node holds says the same when it is replayed.
#[test]
fn a_capture_is_replayed() {
    let Some(mut cluster) = cluster::shared() else { return };
    cluster.kill("osd.2");
    // A daemon has a counter more from one moment to the next.
    let replayed = eventually("a capture says what the node says", || {
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("captured");
        let mut node = Node::of(&cluster);
        let report = capture(&node.host, &options(&cluster), &into).unwrap();
        assert!(report.sockets >= 4, "{report:?}");
        let replay = ReplayHost::open(&into, Arc::new(SystemClock)).unwrap();
        let mut batch = Batch::new();
        let status = collector(&options(&cluster)).collect(&replay, &mut batch).unwrap();
        assert_eq!(status, Status::Collected);
        let (replayed, live) = (samples(&batch), node.read());
        let only = |one: &BTreeMap<String, f64>, other: &BTreeMap<String, f64>| -> Vec<String> {
            one.keys().filter(|series| !other.contains_key(*series)).cloned().collect()
        };
        let differ = (only(&replayed, &live), only(&live, &replayed));
        if differ.0.is_empty() && differ.1.is_empty() {
            Ok(replayed)
        } else {
            Err(format!("{differ:?}"))
        }
    });
    assert_eq!((replayed[&up("osd.2")], replayed[&up("osd.1")]), (0.0, 1.0));
}

#[test]
fn a_folder_of_sockets_that_may_not_be_read_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    // A link to itself: nobody, not even root, can list it.
    let loops = dir.path().join("loops");
    std::os::unix::fs::symlink(&loops, &loops).unwrap();
    let mut options = Options::default();
    options.ceph.run_dir = loops.to_str().unwrap().to_owned();
    let host = RealHost::new(Arc::new(SystemClock));
    let mut node = Node { host, ceph: collector(&options) };
    assert!(node.error().contains("loops"));
}
