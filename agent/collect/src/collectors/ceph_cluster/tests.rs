//! What we make of a live cluster's replies, beside what its manager's prometheus module said in the same
//! state. What is meant to differ is in the table of `docs/ceph.md`, or a test fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use labstat_model::{Batch, ManualClock, number};

use super::*;
use crate::host::{RealHost, ReplayHost};

const STATES: &str = "/../../../shared/fixtures/ceph-live";

/// Figures that move by themselves. The module's are up to five seconds older than the replies, so they
/// need only be equal in some states.
const MOVING: [&str; 6] = [
    "ceph_pool_",
    "ceph_cluster_",
    "ceph_num_objects",
    "ceph_osd_apply",
    "ceph_osd_commit",
    "ceph_pg_",
];

/// A reply that was not recorded: see the test with a live cluster.
const NOT_RECORDED: &str = "ceph_pool_objects_repaired";

/// Names of the module that are no perf counters of daemons.
const OF_CLUSTER: [&str; 12] = [
    "ceph_health",
    "ceph_daemon_health",
    "ceph_mon_quorum",
    "ceph_mon_metadata",
    "ceph_mgr_metadata",
    "ceph_mgr_status",
    "ceph_mgr_module",
    "ceph_pool_",
    "ceph_pg_",
    "ceph_cluster_",
    "ceph_num_objects",
    "ceph_prometheus",
];

/// And those of OSDs among them.
const OF_OSDS: [&str; 9] = [
    "up",
    "in",
    "weight",
    "metadata",
    "flag_",
    "apply_",
    "commit_",
    "nearfull_ratio",
    "full_ratio",
];

fn is_of_cluster(name: &str) -> bool {
    let of_osds = name.strip_prefix("ceph_osd_");
    OF_CLUSTER.iter().any(|start| name.starts_with(start))
        || of_osds.is_some_and(|rest| OF_OSDS.iter().any(|start| rest.starts_with(start)))
}

fn states() -> Vec<PathBuf> {
    let dir = PathBuf::from(format!("{}{STATES}", env!("CARGO_MANIFEST_DIR")));
    let Ok(entries) = fs::read_dir(dir) else {
        println!("SKIPPED: no ../shared/fixtures/ceph-live");
        return Vec::new();
    };
    let mut all: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    all.retain(|path| path.is_dir());
    all.sort();
    all
}

/// The lines of a reading, put together from the files of a state.
fn reading(state: &Path) -> Reading {
    let mut text = String::new();
    let file = |name: &str| fs::read_to_string(state.join(name)).ok();
    for (command, name) in [
        ("status", "status.json"),
        ("quorum_status", "quorum-status.json"),
        ("osd dump", "osd-dump.json"),
        ("osd tree", "osd-tree.json"),
        ("mgr dump", "mgr-dump.json"),
        ("osd metadata", "osd-metadata.json"),
        ("df detail", "df-detail.json"),
        ("osd df", "osd-df.json"),
        ("osd perf", "osd-perf.json"),
        ("osd pool stats", "pool-stats.json"),
        ("pg dump pgs_brief", "pg-dump-brief.json"),
        ("crash ls-new", "crash-ls.json"),
    ] {
        let reply = file(name).map(|reply| reply.replace('\n', " "));
        text.extend(reply.map(|reply| format!("{command}\t0\t{reply}\n")));
    }
    // These two were not recorded; what they tell stands in the module's own text.
    let about = |name| {
        format!(
            r#"[{{"name":"{name}","hostname":"vm","ceph_version_short":"16.2.15","ceph_version":"ceph version 16.2.15 (618f440892089921c3e944a991122ddc44e60516) pacific (stable)"}}]"#
        )
    };
    text.push_str(&format!("mon metadata\t0\t{}\n", about("a")));
    text.push_str(&format!("mgr metadata\t0\t{}\n", about("x")));
    text.push_str("end\t0\t\n");
    Reading::of(text.as_bytes())
}

type Series = BTreeMap<String, BTreeMap<String, f64>>;

/// Our samples, by family and labels.
fn ours(reading: &Reading) -> (Series, BTreeMap<String, &'static str>) {
    let mut batch = Batch::new();
    let mut out = Out { batch: &mut batch, cluster: None };
    samples::of_monitors(reading, "vm", &mut Remembered::new(), &mut out);
    samples::of_manager(reading, &mut out);
    let (mut series, mut kinds) = (Series::new(), BTreeMap::new());
    for sample in batch.iter() {
        let name = sample.family.name.to_string();
        kinds.insert(name.clone(), sample.family.kind.as_str());
        let labels = sample.labels.to_string();
        let before = series.entry(name).or_default().insert(labels, sample.value);
        assert_eq!(before, None, "a series twice: {} {}", sample.family.name, sample.labels);
    }
    (series, kinds)
}

/// The module's samples, in the same way.
fn theirs(text: &str) -> (Series, BTreeMap<String, String>) {
    let (mut series, mut kinds) = (Series::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            kinds.insert(name.to_owned(), kind.to_owned());
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
        if !is_of_cluster(name) || name == NOT_RECORDED {
            continue;
        }
        let (labels, value) = rest.rsplit_once(' ').unwrap();
        let labels = labels.trim_matches(['{', '}']);
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for pair in labels.split("\",").filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap();
            let value = value.trim_matches('"');
            if !value.is_empty() {
                pairs.push((key, value));
            }
        }
        let labels = labstat_model::Labels::new(pairs).to_string();
        series.entry(name.to_owned()).or_default().insert(labels, value.parse().unwrap());
    }
    (series, kinds)
}

/// The rows of the table: the metric (a star for the rest), and how it differs.
fn table() -> Vec<(String, BTreeSet<String>)> {
    let page = include_str!("../../../../../docs/ceph.md");
    let (_, part) = page.split_once("<!-- differences -->").unwrap();
    let rows = part.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    rows.take_while(|line| line.starts_with('|'))
        .map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let name = cells.next().unwrap().trim_matches('`').to_owned();
            let how = cells.next().unwrap().split(", ").map(str::to_owned).collect();
            (name, how)
        })
        .collect()
}

fn is_meant(table: &[(String, BTreeSet<String>)], name: &str, how: &str) -> bool {
    table.iter().any(|(pattern, hows)| crate::shared::is_like(pattern, name) && hows.contains(how))
}

#[test]
fn every_state_is_told_as_the_managers_module_tells_it() {
    let table = table();
    assert!(table.len() > 5, "the table is in docs/ceph.md");
    let mut wrong = Vec::new();
    // By metric: states in which all its values are equal, and others.
    let mut moved: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for path in states() {
        let state = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Ok(text) = fs::read_to_string(path.join("mgr-prometheus-metrics.txt")) else {
            continue;
        };
        let (theirs, their_kinds) = theirs(&text);
        let (ours, our_kinds) = ours(&reading(&path));
        for (name, their_series) in &theirs {
            let mut differs = |how: &str, what: String| {
                if !is_meant(&table, name, how) {
                    wrong.push(format!("{state}: {name}: {how}: {what}"));
                }
            };
            let Some(our_series) = ours.get(name) else {
                differs("not ours", format!("{} series", their_series.len()));
                continue;
            };
            if our_kinds[name] != their_kinds[name] {
                differs("kind", format!("{} and not {}", our_kinds[name], their_kinds[name]));
            }
            let is_moving = MOVING.iter().any(|start| name.starts_with(start));
            let mut others = 0;
            for (labels, value) in their_series {
                match our_series.get(labels) {
                    None => differs("fewer series", labels.clone()),
                    Some(our) if number::format_g(*our) == number::format_g(*value) => {}
                    Some(_) if is_moving => others += 1,
                    Some(our) => differs("value", format!("{labels} {our} and not {value}")),
                }
            }
            let (equal, unequal) = moved.entry(name.clone()).or_default();
            *(if others == 0 { equal } else { unequal }) += 1;
            for labels in our_series.keys().filter(|labels| !their_series.contains_key(*labels)) {
                differs("more series", labels.clone());
            }
        }
    }
    assert!(wrong.is_empty(), "not in docs/ceph.md:\n{}", wrong.join("\n"));
    assert!(moved.len() > 80 || states().is_empty(), "{}", moved.len());
    let never: Vec<_> = moved.iter().filter(|(_, (equal, _))| *equal < 3).collect();
    assert!(never.is_empty(), "equal in no three states: {never:?}");
}

/// What each state is about is in our own samples.
#[test]
fn states_tell_what_was_provoked() {
    let told = |state: &str| {
        let path = states().into_iter().find(|path| path.ends_with(state));
        path.map(|path| ours(&reading(&path)).0)
    };
    let Some(down) = told("osd-down-out") else { return };
    let value = |series: &Series, name: &str, labels: &[(&str, &str)]| {
        let labels = labstat_model::Labels::new(labels.iter().copied()).to_string();
        series.get(name).and_then(|series| series.get(&labels)).copied()
    };
    let osd = [("ceph_daemon", "osd.2")];
    assert_eq!(value(&down, "ceph_osd_up", &osd), Some(0.0));
    assert_eq!(value(&down, "ceph_osd_in", &osd), Some(0.0));
    let loss = [("domain", "osd"), ("until", "loss")];
    assert_eq!(value(&down, "labstat_ceph_failures_tolerated", &loss), Some(0.0));
    let healthy = told("healthy").unwrap();
    assert_eq!(value(&healthy, "labstat_ceph_failures_tolerated", &loss), Some(1.0), "2+1 shards");
    let host = [("domain", "host"), ("until", "loss")];
    assert_eq!(value(&healthy, "labstat_ceph_failures_tolerated", &host), Some(0.0), "one host");
    assert_eq!(value(&healthy, "labstat_ceph_osd_only_copies", &osd), Some(0.0));
    let muted = told("muted").unwrap();
    let check = [("name", "OSDMAP_FLAGS"), ("severity", "HEALTH_WARN"), ("muted", "true")];
    assert_eq!(value(&muted, "labstat_ceph_health_check", &check), Some(1.0));
    assert_eq!(value(&muted, "ceph_health_status", &[]), Some(0.0));
    let crashed = told("recent-crash").unwrap();
    assert_eq!(value(&crashed, "labstat_ceph_crashes", &[("ceph_daemon", "osd.1")]), Some(1.0));
    let gone = told("mgr-down").unwrap();
    assert_eq!(value(&gone, "ceph_osd_up", &osd), Some(1.0));
    assert!(!gone.contains_key("ceph_pool_stored") && !gone.contains_key("ceph_pg_total"));
    let two = told("two-osds-down").unwrap();
    assert!(value(&two, "labstat_ceph_osd_only_copies", &[("ceph_daemon", "osd.0")]) > Some(0.0));
}

fn replayed(dir: &Path) -> ReplayHost {
    ReplayHost::open(dir, Arc::new(ManualClock::new(1_000_000))).unwrap()
}

#[test]
fn labstats_own_key_is_taken_where_there_is_one_and_what_is_said_wins() {
    let dir = tempfile::tempdir().unwrap();
    let options = |user: Option<&str>, keyring: Option<&str>| options::Ceph {
        user: user.map(str::to_owned),
        keyring: keyring.map(str::to_owned),
        ..options::Ceph::default()
    };
    let of = |user, keyring| {
        let (user, keyring) = key(&replayed(dir.path()), &options(user, keyring));
        (user, keyring.unwrap_or_default())
    };
    let pair = |user: &str, keyring: &str| (user.to_owned(), keyring.to_owned());
    assert_eq!(of(None, None), pair("client.admin", ""));
    assert_eq!(of(None, Some("/k")), pair("client.labstat", "/k"));
    assert_eq!(of(Some("lab"), Some("/k")), pair("client.lab", "/k"));
    let keys = dir.path().join("etc/ceph");
    fs::create_dir_all(&keys).unwrap();
    fs::write(keys.join(OWN_KEY), "").unwrap();
    let own = "/etc/ceph/ceph.client.labstat.keyring";
    assert_eq!(of(None, None), pair("client.labstat", own));
    assert_eq!(of(Some("client.labstat"), None), pair("client.labstat", own));
    assert_eq!(of(Some("client.admin"), None), pair("client.admin", ""));
}

#[test]
fn a_reading_is_due_when_it_is_time_or_the_map_is_another() {
    let mut cluster = CephCluster::new(&options::Ceph::default());
    assert!(cluster.is_due(5, Some(7)), "the first");
    cluster.held =
        Some(Held { read_at_ms: 100_000, due_ms: 130_000, epoch: Some(7), ..Held::default() });
    for (now_ms, epoch, wanted) in [
        (105_000, Some(7), false),
        (127_000, Some(7), false),
        // The next look would be later than this one is early.
        (128_000, Some(7), true),
        (130_000, Some(7), true),
        (101_000, Some(8), false),
        (102_000, Some(8), true),
        // A follower's monitor does not tell.
        (105_000, None, false),
        // The clock was set back.
        (99_000, Some(7), true),
    ] {
        assert_eq!(cluster.is_due(now_ms, epoch), wanted, "{now_ms} {epoch:?}");
    }
}

/// A look each five seconds and a bit gives a reading each thirty all the same.
#[test]
fn readings_keep_to_their_interval_and_are_tried_again_soon() {
    let cluster = CephCluster::new(&options::Ceph::default());
    assert_eq!(cluster.due_after(None, 100_000, true), 130_000);
    assert_eq!(cluster.due_after(Some(130_000), 132_100, true), 160_000);
    assert_eq!(cluster.due_after(Some(130_000), 128_000, true), 160_000);
    // The map was another one, or the machine slept.
    assert_eq!(cluster.due_after(Some(130_000), 110_000, true), 140_000);
    assert_eq!(cluster.due_after(Some(130_000), 900_000, true), 930_000);
    assert_eq!(cluster.due_after(Some(130_000), 130_000, false), 140_000);

    let mut cluster = CephCluster::new(&options::Ceph::default());
    let (mut readings, mut due_ms) = (Vec::new(), None);
    for look in 0..200 {
        let now_ms = 1_000_000 + look * 5_300;
        if cluster.is_due(now_ms, None) {
            readings.push(now_ms);
            due_ms = Some(cluster.due_after(due_ms, now_ms, true));
            let held = Held { read_at_ms: now_ms, ..Held::default() };
            cluster.held = Some(Held { due_ms: due_ms.unwrap(), ..held });
        }
    }
    let took_ms = readings.last().unwrap() - readings[0];
    let mean_ms = took_ms / i64::try_from(readings.len() - 1).unwrap();
    assert!((29_800..=30_200).contains(&mean_ms), "{mean_ms}: {readings:?}");
}

/// A node that always reads and cannot says so, of both sources, and has no other samples.
#[test]
fn a_cluster_that_cannot_be_read_is_told_as_such_by_its_own_name() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("etc/ceph")).unwrap();
    let conf = "[global]\n\tfsid = 398224ec-c2a4-4bb7-ac8b-19ab984662ac  # ours\nmon host = x\n";
    fs::write(dir.path().join("etc/ceph/ceph.conf"), conf).unwrap();
    let options = options::Ceph { cluster: Reads::Always, ..options::Ceph::default() };
    let mut cluster = CephCluster::new(&options);
    let mut out = Batch::new();
    let status = cluster.collect(&replayed(dir.path()), &mut out).unwrap();
    assert_eq!((status, out.len()), (Status::Collected, 2));
    assert!(out.iter().all(|s| *s.family == READING_SUCCESS && s.value == 0.0));
    assert_eq!(cluster.instance().as_deref(), Some("ceph-398224ec"));
    let idle = options::Ceph::default();
    let status = CephCluster::new(&idle).collect(&replayed(dir.path()), &mut Batch::new());
    assert_eq!(status.unwrap(), Status::Absent, "no monitor is here");
}

/// Else its samples would be taken for the node's, and the node for a cluster.
#[test]
fn a_cluster_that_nobody_knows_is_a_failure_and_has_no_samples() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options::Ceph { cluster: Reads::Always, ..options::Ceph::default() };
    let mut out = Batch::new();
    let error = CephCluster::new(&options).collect(&replayed(dir.path()), &mut out).unwrap_err();
    assert_eq!(error.to_string(), "failed to read the id of the Ceph cluster");
    assert!(out.is_empty());
    options.name = Some("lab".to_owned());
    let mut named = CephCluster::new(&options);
    assert_eq!(named.collect(&replayed(dir.path()), &mut out).unwrap(), Status::Collected);
    assert_eq!((named.instance().as_deref(), out.len()), (Some("lab"), 2));
}

#[test]
fn ids_of_clusters_in_configurations() {
    for (conf, wanted) in [
        ("[global]\nfsid=398224ec-c2a4\n", Some("398224ec-c2a4")),
        ("  fsid = \"398224ec-c2a4\" ; x", Some("398224ec-c2a4")),
        ("# fsid = 398224ec-c2a4\n", None),
        ("fsid = \n", None),
        ("fsid = ../../../etc\n", None),
        ("fsid", None),
    ] {
        assert_eq!(conf_fsid(conf).as_deref(), wanted, "{conf}");
    }
}

/// A monitor that answers by the socket of a node, or takes questions and is silent.
///
/// The state may have more behind it: `leader","quorum_age":"3`.
fn monitor_of(dir: &Path, says: &Arc<std::sync::Mutex<Option<&'static str>>>) {
    use std::io::{Read, Write};
    let run = dir.join("var/run/ceph");
    fs::create_dir_all(&run).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(run.join("ceph-mon.a.asok")).unwrap();
    let says = Arc::clone(says);
    std::thread::spawn(move || {
        let mut unanswered = Vec::new();
        for peer in listener.incoming() {
            let mut peer = peer.unwrap();
            let Some(state) = *says.lock().unwrap() else {
                unanswered.push(peer);
                continue;
            };
            let _ = peer.read(&mut [0; 256]);
            let reply = format!(
                r#"{{"name":"a","state":"{state}","monmap":{{"fsid":"398224ec-c2a4"}},"cluster":{{}}}}"#
            );
            let len = u32::try_from(reply.len()).unwrap().to_be_bytes();
            let _ = peer.write_all(&[&len, reply.as_bytes()].concat());
        }
    });
}

/// One that is busy for a moment still leads, and one that was stopped does not for long.
#[test]
fn a_monitor_that_misses_an_answer_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let says = Arc::new(std::sync::Mutex::new(Some("leader")));
    monitor_of(dir.path(), &says);
    let options =
        options::Ceph { deadline: Duration::from_millis(200), ..options::Ceph::default() };
    let mut cluster = CephCluster::new(&options);
    let mut look = |now_ms: i64, state: Option<&'static str>| {
        *says.lock().unwrap() = state;
        let host = ReplayHost::open(dir.path(), Arc::new(ManualClock::new(now_ms))).unwrap();
        let mut out = Batch::new();
        (cluster.collect(&host, &mut out).unwrap(), out.len())
    };
    let told = (Status::Collected, 2);
    let gone = (Status::Absent, 0);
    assert_eq!(look(100_000, None), gone, "it may be a follower");
    assert_eq!(look(105_000, Some("leader")), told);
    assert_eq!(look(115_000, None), told);
    assert_eq!(look(115_001, None), gone, "others have elected another");
    assert_eq!(look(120_000, Some("leader")), told);
    assert_eq!(look(125_000, Some("peon")), gone, "it leads no longer, and says so");
}

/// Else two nodes would tell of one cluster, as when a monitor that led comes back and leads again.
#[test]
fn a_new_leader_waits_until_the_one_before_has_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let says = Arc::new(std::sync::Mutex::new(None));
    monitor_of(dir.path(), &says);
    let mut cluster = CephCluster::new(&options::Ceph::default());
    let mut look = |now_ms: i64, state: &'static str| {
        *says.lock().unwrap() = Some(state);
        let host = ReplayHost::open(dir.path(), Arc::new(ManualClock::new(now_ms))).unwrap();
        cluster.collect(&host, &mut Batch::new()).unwrap()
    };
    let (young, old) = (r#"leader","quorum_age":"7"#, r#"leader","quorum_age":"8"#);
    assert_eq!(look(100_000, young), Status::Absent);
    assert_eq!(look(105_000, old), Status::Collected);
    assert_eq!(look(110_000, young), Status::Collected, "elected again");
    assert_eq!(look(115_000, "peon"), Status::Absent);
    assert_eq!(look(120_000, young), Status::Absent);
}

#[test]
fn of_two_clusters_the_one_that_is_read_goes_on_being_read() {
    let leader = |fsid: &str| Leader { fsid: fsid.to_owned(), epoch: None, is_new: false };
    let mut cluster = CephCluster::new(&options::Ceph::default());
    assert_eq!(cluster.chosen(Vec::new()), None);
    assert_eq!(cluster.chosen(vec![leader("b")]), Some(leader("b")));
    assert_eq!(cluster.complaints.first(), None);
    let both = || vec![leader("b"), leader("a")];
    assert_eq!(cluster.chosen(both()), Some(leader("b")));
    let said = "this node has monitors of two clusters, and only b is read: a is not";
    assert_eq!(cluster.complaints.first().map(String::as_str), Some(said));
    cluster.held = Some(Held { fsid: Some("a".to_owned()), ..Held::default() });
    assert_eq!(cluster.chosen(both()), Some(leader("a")));
}

/// What the page says is never told as newer than it can be.
#[test]
fn the_age_of_a_page_is_told_and_has_an_end() {
    let reading = |collected: f64| {
        let count = r#"ceph_prometheus_collect_duration_seconds_count{method=\"get_df\"}"#;
        Reading::of(format!("page\t0\t\"{count} {collected}\\n\"\nend\t0\t\n").as_bytes())
    };
    let held = |collected| Held {
        read_at_ms: 100_000,
        mgr_good_ms: Some(90_000),
        page_collected: collected,
        ..Held::default()
    };
    let look = |before, collected, now_ms| {
        let (mut held, mut reading) = (held(before), reading(collected));
        let at_ms = held.take_page(&mut reading, now_ms);
        assert_eq!(held.page_collected, Some(collected));
        (at_ms, reading.page.is_some())
    };
    assert_eq!(look(None, 5.0, 130_000), (130_000, true), "nobody knows");
    assert_eq!(look(Some(3.0), 5.0, 130_000), (115_000, true), "made each 15 s");
    assert_eq!(look(Some(30.0), 5.0, 130_000), (100_000, true), "another manager");
    assert_eq!(look(Some(5.0), 5.0, 130_000), (90_000, true), "the same as before");
    assert_eq!(look(Some(5.0), 5.0, 151_000), (90_000, false), "made no more");

    let (mut held, mut left) = (held(None), Reading::of(b"page left\t0\t19\nend\t0\t\n"));
    assert_eq!(held.take_page(&mut left, 130_000), 130_000, "by commands");
    assert_eq!(held.page_collected, Some(19.0));
    assert_eq!(held.take_page(&mut Reading::of(b"end\t0\t\n"), 160_000), 160_000);
    assert_eq!(held.page_collected, Some(19.0), "remembered");
}

/// What takes the manager long is not asked each ten seconds, and what it did not say is not told.
#[test]
fn scrubs_are_asked_for_as_often_whether_or_not_they_are_told() {
    let with = |line: &str| {
        let status = "status\t0\t{\"mgrmap\":{\"available\":true}}\ncrash ls-new\t0\t[]\n";
        Reading::of(format!("{status}{line}end\t0\t\n").as_bytes())
    };
    let told = r#"pg dump pgs	0	{"2":{"scrub_seconds":5.0,"deep_scrub_seconds":null}}
"#;
    let mut held = Held::default();
    let mut take = |reading: &Reading, asked_ms| {
        held.take_scrubs(reading, asked_ms, None);
        (held.scrubs_asked_ms, held.scrubs.len())
    };
    assert_eq!(take(&with(told), Some(100)), (Some(100), 1));
    assert_eq!(take(&with(""), None), (Some(100), 1), "they were not asked for");
    let late = with("pg dump pgs\t-110\tConnection timed out\n");
    assert_eq!(take(&late, Some(600_100)), (Some(600_100), 0));
    assert_eq!(
        take(&with("pg dump pgs\t-13\taccess denied\n"), Some(1_200_100)).0,
        Some(1_200_100)
    );
    assert_eq!(take(&with(told), Some(1_800_100)), (Some(1_800_100), 1));
    let gone = Reading::of(b"status\t0\t{\"mgrmap\":{\"available\":false}}\nend\t0\t\n");
    assert_eq!(take(&gone, Some(1_830_100)), (None, 0), "asked as soon as it is back");
}

/// By what each claims at its first look and at its next, whoever comes first reads.
#[test]
fn of_two_agents_on_one_node_the_first_goes_on_reading() {
    let fsid = format!("398224ec-c2a4-4bb7-ac8b-{:012x}", std::process::id());
    for conf in [format!("[global]\nfsid = {fsid}\n"), "[global]\n".to_owned()] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ceph.conf").to_str().unwrap().to_owned();
        fs::write(&path, conf).unwrap();
        let options = options::Ceph {
            cluster: Reads::Always,
            name: Some("lab".to_owned()),
            run_dir: dir.path().to_str().unwrap().to_owned(),
            conf: Some(path),
            ..options::Ceph::default()
        };
        let clock = Arc::new(ManualClock::new(1_000_000));
        let host = RealHost::new(Arc::<ManualClock>::clone(&clock));
        let (mut first, mut second) = (CephCluster::new(&options), CephCluster::new(&options));
        for look in 0..4 {
            clock.set_ms(1_000_000 + look * LOOK_EVERY_MS);
            let status =
                |cluster: &mut CephCluster| cluster.collect(&host, &mut Batch::new()).unwrap();
            assert_eq!(status(&mut first), Status::Collected, "{look}");
            assert_eq!(status(&mut second), Status::Absent, "{look}");
        }
        host.stop();
    }
}

#[test]
fn a_monitor_that_may_not_be_asked_is_told_of_once() {
    let denied = io::Error::from(io::ErrorKind::PermissionDenied);
    assert!(matches!(unheard(&denied), Monitor::Forbidden));
    assert!(matches!(unheard(&io::ErrorKind::NotFound.into()), Monitor::Follows));
    assert!(matches!(unheard(&io::ErrorKind::TimedOut.into()), Monitor::Silent));
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("var/run/ceph");
    fs::create_dir_all(&run).unwrap();
    fs::write(run.join("ceph-mon.a.asok"), "").unwrap();
    fs::write(dir.path().join("errors.json"), r#"{"/var/run/ceph/ceph-mon.a.asok": 13}"#).unwrap();
    let mut cluster = CephCluster::new(&options::Ceph::default());
    for _ in 0..2 {
        let status = cluster.collect(&replayed(dir.path()), &mut Batch::new());
        assert_eq!(status.unwrap(), Status::Absent);
        let said: Vec<&String> = cluster.complaints.iter().collect();
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("the monitor's socket /var/run/ceph/ceph-mon.a.asok may not"));
    }
}
