//! The cluster as a whole, read by the agent beside its leading monitor.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::cluster::{self, Cluster, eventually};

/// How soon after Ceph knows of something it must be shown.
const SHOWN_WITHIN_SECONDS: f64 = 10.0;

/// An agent beside the cluster, with a page of its own.
pub(crate) struct Agent {
    child: Child,
    url: String,
}

impl Agent {
    fn start(cluster: &Cluster) -> Self {
        Self::start_with(cluster, "auto")
    }

    /// One that takes what the manager counts from `source`.
    pub(crate) fn start_with(cluster: &Cluster, source: &str) -> Self {
        Self::start_at(&cluster.conf(), source, &cluster.run_dir())
    }

    /// One of a node that has this configuration, and the sockets in `run_dir`.
    fn start_at(conf: &Path, source: &str, run_dir: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_labstat"))
            .env("LABSTAT_CEPH_SOURCE", source)
            // As often as may be, so that no test waits long.
            .env("LABSTAT_CEPH_INTERVAL", "10s")
            .args(["agent", "--listen", "127.0.0.1:0", "--interval", "1s"])
            .args(["--only", "ceph,loadavg", "--state"])
            .arg(run_dir.join(format!("agent-{}", uuid())))
            .arg("--ceph-conf")
            .arg(conf)
            .arg("--ceph-run")
            .arg(run_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = loop {
            let line = lines.next().unwrap().unwrap();
            if let Some((_, url)) = line.split_once("own metrics at ") {
                break url.to_owned();
            }
        };
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }

    /// Its page, by series.
    fn page(&self) -> Result<BTreeMap<String, f64>, String> {
        let mut answer = ureq::get(&self.url).call().map_err(|error| error.to_string())?;
        let text = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
        Ok(series(&text))
    }

    /// Waits for a value of a series on its page; `None` is its absence.
    fn wait(&self, wanted: &str, value: Option<f64>) {
        eventually(wanted, || match self.page()?.get(wanted).copied() {
            found if found == value => Ok(()),
            found => Err(format!("{found:?}")),
        });
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn uuid() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap().trim().to_owned()
}

/// The samples of a page. Labels without a value are left out, as Prometheus does; sorted.
fn series(text: &str) -> BTreeMap<String, f64> {
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}')?;
        let mut pairs: Vec<String> = labels
            .split("\",")
            .map(|pair| pair.trim_end_matches('"').to_owned() + "\"")
            .filter(|pair| pair != "\"" && !pair.ends_with("=\""))
            .collect();
        pairs.sort();
        Some((format!("{name}{{{}}}", pairs.join(",")), value.parse().ok()?))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

/// Starts of the names of what the module says of the cluster, but for what it remembers of checks.
const OF_CLUSTER: [&str; 20] = [
    "ceph_fs_metadata",
    "ceph_mds_metadata",
    "ceph_rgw_metadata",
    "ceph_osd_up",
    "ceph_osd_in{",
    "ceph_osd_metadata",
    "ceph_osd_flag",
    "ceph_osd_weight",
    "ceph_osd_apply",
    "ceph_osd_commit",
    "ceph_daemon_health",
    "ceph_health",
    "ceph_mgr_metadata",
    "ceph_mgr_module",
    "ceph_mgr_status",
    "ceph_mon_quorum",
    "ceph_mon_metadata",
    "ceph_num_objects",
    "ceph_pg_",
    "ceph_pool_",
];

/// What a gateway's socket is called by, under which the cluster tells of it a second time.
const GATEWAY_BY_SOCKET: &str = r#"instance_id="gate""#;

/// Compares what an agent says with the page of the same second, until all is equal.
pub(crate) fn is_as_the_module_says(cluster: &Cluster, agent: &Agent) {
    let is_of_cluster = |series: &str| {
        let is_meant = OF_CLUSTER.iter().any(|start| series.starts_with(start));
        (is_meant && !series.starts_with("ceph_health_detail"))
            || series.starts_with("ceph_cluster_total")
    };
    eventually("all is told as the module tells it", || {
        let theirs = series(&cluster.mgr_metrics()?);
        let ours = agent.page()?;
        let (mut wrong, mut compared) = (Vec::new(), 0);
        for (series, value) in theirs.iter().filter(|(series, _)| is_of_cluster(series)) {
            compared += 1;
            if ours.get(series) != Some(value) {
                wrong.push(format!("{series} {:?} and not {value}", ours.get(series)));
            }
        }
        // What we have of these families and the module has not.
        let is_more = |it: &&String| {
            is_of_cluster(it) && !theirs.contains_key(*it) && !it.contains(GATEWAY_BY_SOCKET)
        };
        let more = ours.keys().filter(is_more);
        wrong.extend(more.map(|series| format!("{series} is only ours")));
        match wrong.is_empty() && compared > 150 {
            true => Ok(()),
            false => Err(format!("{compared} compared: {wrong:#?}")),
        }
    });
}

#[test]
fn by_commands_the_cluster_is_told_as_the_managers_module_tells_it() {
    let Some(mut cluster) = cluster::shared() else { return };
    drop(cluster.write_load(3, 2));
    let agent = Agent::start_with(&cluster, "commands");
    is_as_the_module_says(&cluster, &agent);
}

#[test]
fn by_its_page_the_cluster_is_told_as_the_managers_module_tells_it() {
    let Some(cluster) = cluster::shared() else { return };
    let agent = Agent::start_with(&cluster, "module");
    is_as_the_module_says(&cluster, &agent);
    let read =
        |source: &str| format!("labstat_ceph_reading_timestamp_seconds{{source=\"{source}\"}}");
    eventually("the age of the page is told", || {
        let page = agent.page()?;
        let times = (page.get(&read("mon")), page.get(&read("mgr")));
        let (Some(mon), Some(mgr)) = times else { return Err(format!("{times:?}")) };
        // It is made each second.
        if (0.3..3.0).contains(&(mon - mgr)) { Ok(()) } else { Err(format!("{times:?}")) }
    });
}

/// A page that is gone costs nothing but what only it would tell.
#[test]
fn without_the_module_commands_tell_what_it_told() {
    let Some(mut cluster) = cluster::shared() else { return };
    // One after the other: one node has one reader.
    let by_page = Agent::start_with(&cluster, "module");
    let latency = r#"ceph_osd_apply_latency_ms{ceph_daemon="osd.1"}"#;
    let good = r#"labstat_ceph_reading_success{source="mgr"}"#;
    by_page.wait(good, Some(1.0));
    by_page.wait(latency, Some(0.0));
    cluster.ceph_until_mended("mgr module disable prometheus", "mgr module enable prometheus");
    by_page.wait(good, Some(0.0));
    by_page.wait(latency, None);
    drop(by_page);
    let agent = Agent::start(&cluster);
    agent.wait(good, Some(1.0));
    agent.wait(latency, Some(0.0));
}

/// Where librados is missing, the program `ceph` gives the same replies.
#[test]
fn the_program_tells_all_that_the_library_tells() {
    let Some(cluster) = cluster::shared() else { return };
    let replies = |extra: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_labstat"));
        command.arg("ceph-read").arg("--conf").arg(cluster.conf());
        // Each question to the program starts an interpreter, on a machine that has other work.
        let read = command.args(["--user", "client.admin", "--deadline", "110"]);
        let read = read.args(extra).output().unwrap();
        let text = String::from_utf8(read.stdout).unwrap();
        let reply = |line: &str| {
            let (command, rest) = line.split_once('\t').unwrap();
            let (code, body) = rest.split_once('\t').unwrap();
            let is_json = serde_json::from_str::<serde_json::Value>(body).is_ok();
            (command.to_owned(), code.to_owned(), is_json)
        };
        text.lines().map(reply).collect::<Vec<_>>()
    };
    let by_library = replies(&[]);
    assert!(by_library.len() > 12, "{by_library:?}");
    let is_good = |(command, code, is_json): &(String, String, bool)| {
        code == "0" && (*is_json || command == "end")
    };
    assert!(by_library.iter().all(is_good), "{by_library:?}");
    assert_eq!(replies(&["--no-library"]), by_library);
}

#[test]
fn an_osd_that_dies_is_shown_in_time() {
    let Some(mut cluster) = cluster::shared() else { return };
    let agent = Agent::start(&cluster);
    agent.wait(r#"ceph_osd_up{ceph_daemon="osd.2"}"#, Some(1.0));
    agent.wait(r#"labstat_ceph_failures_tolerated{domain="osd",until="loss"}"#, Some(2.0));
    cluster.kill("osd.2");
    cluster.wait_check("OSD_DOWN");
    let known = Instant::now();
    agent.wait(r#"ceph_osd_up{ceph_daemon="osd.2"}"#, Some(0.0));
    let seconds = known.elapsed().as_secs_f64();
    assert!(seconds < SHOWN_WITHIN_SECONDS, "shown after {seconds} s");
    let check =
        r#"labstat_ceph_health_check{muted="false",name="OSD_DOWN",severity="HEALTH_WARN"}"#;
    agent.wait(check, Some(1.0));
    cluster.out(2);
    agent.wait(r#"ceph_osd_in{ceph_daemon="osd.2"}"#, Some(0.0));
}

#[test]
fn one_of_two_agents_reads_and_the_other_takes_over() {
    let Some(cluster) = cluster::shared() else { return };
    let first = Agent::start(&cluster);
    first.wait("ceph_health_status{}", Some(0.0));
    let second = Agent::start(&cluster);
    second
        .wait(r#"labstat_collector_outcome{collector="ceph_cluster",outcome="absent"}"#, Some(1.0));
    assert!(!second.page().unwrap().contains_key("ceph_health_status{}"));
    drop(first);
    second.wait("ceph_health_status{}", Some(0.0));
}

#[test]
fn without_a_manager_nothing_old_is_told_and_nothing_else_suffers() {
    let Some(mut cluster) = cluster::shared() else { return };
    let agent = Agent::start(&cluster);
    agent.wait(r#"labstat_ceph_reading_success{source="mgr"}"#, Some(1.0));
    let pgs = r#"ceph_pg_total{pool_id="1"}"#;
    assert!(agent.page().unwrap().contains_key(pgs));
    cluster.stop("mgr.x");
    agent.wait(r#"labstat_ceph_reading_success{source="mgr"}"#, Some(0.0));
    let page = agent.page().unwrap();
    let read = r#"labstat_ceph_reading_timestamp_seconds{source="mgr"}"#;
    assert!(page.contains_key(read) && page.contains_key("ceph_health_status{}"), "{page:#?}");
    for gone in [pgs, "ceph_cluster_total_bytes{}", "labstat_ceph_objects{}"] {
        assert!(!page.contains_key(gone), "{gone} is old");
    }
    let of_load = r#"node_scrape_collector_success{collector="loadavg"}"#;
    assert_eq!(page.get(of_load), Some(&1.0));
    agent.wait(r#"labstat_ceph_reading_success{source="mon"}"#, Some(1.0));
    cluster.cont("mgr.x");
    agent.wait(r#"labstat_ceph_reading_success{source="mgr"}"#, Some(1.0));
    agent.wait(pgs, Some(8.0));
}

#[test]
fn without_a_monitor_nobody_reads_and_the_rounds_go_on() {
    let Some(mut cluster) = cluster::shared() else { return };
    let agent = Agent::start(&cluster);
    agent.wait("ceph_health_status{}", Some(0.0));
    cluster.stop("mon.a");
    agent.wait("ceph_health_status{}", None);
    let rounds = "labstat_agent_rounds_total{}";
    let before = agent.page().unwrap()[rounds];
    eventually("rounds go on", || {
        let page = agent.page()?;
        let is_loaded = page.contains_key("node_load1{}");
        if page[rounds] > before + 2.0 && is_loaded { Ok(()) } else { Err(format!("{page:?}")) }
    });
    cluster.cont("mon.a");
    agent.wait("ceph_health_status{}", Some(0.0));
}

/// The processes that a process has started and that are still there.
fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    text.unwrap_or_default().split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// Not even where it hangs, and whoever started it was killed.
#[test]
fn the_program_outlives_nobody() {
    let Some(mut cluster) = cluster::shared() else { return };
    cluster.stop("mon.a");
    let mut reader = Command::new(env!("CARGO_BIN_EXE_labstat"))
        .args(["ceph-read", "--no-library", "--user", "client.admin", "--conf"])
        .arg(cluster.conf())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let program = eventually("the program is started", || {
        children(reader.id()).first().copied().ok_or_else(|| "no child".to_owned())
    });
    reader.kill().unwrap();
    reader.wait().unwrap();
    eventually("the program is gone", || {
        let state = std::fs::read_to_string(format!("/proc/{program}/stat"));
        match state {
            Ok(state) if !state.contains(") Z ") => Err(state),
            _ => Ok(()),
        }
    });
    cluster.cont("mon.a");
}
