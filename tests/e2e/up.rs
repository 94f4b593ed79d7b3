//! `labstat up` and real agents, end to end: a kernel file of this machine becomes the answer to a
//! query, two nodes stand side by side, and what has ended says so.

use std::time::Duration;

use crate::support::{Labstat, eventually, get, query, value};

/// The number of a `/proc/meminfo` line in bytes, read here by other means than labstat's.
fn meminfo_bytes(name: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/meminfo").expect("every Linux has it");
    let line = text.lines().find(|line| line.starts_with(&format!("{name}:"))).expect("listed");
    let number = line.split_whitespace().nth(1).expect("a number");
    number.parse::<f64>().expect("a number") * 1024.0
}

#[test]
fn this_machine_is_shown_within_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut up = Labstat::start(&[
        "up",
        "--listen",
        "127.0.0.1:0",
        "--interval",
        "1s",
        "--data",
        data.to_str().unwrap(),
    ]);
    let base = up.url();
    let total = eventually("memory is shown", || value(&base, "node_memory_MemTotal_bytes"));
    assert!((total - meminfo_bytes("MemTotal")).abs() < 1.0, "{total}");

    let cores = std::thread::available_parallelism().unwrap().get();
    let counted = eventually("cores are shown", || {
        value(&base, "count(node_cpu_seconds_total{mode='idle'})")
    });
    assert!(counted >= cores as f64, "{counted} idle counters for {cores} cores");

    // A core's eight modes use up its time; the first rates see only part of their window.
    let busy = "sum(rate(node_cpu_seconds_total[5s])) / count(node_cpu_seconds_total{mode='idle'})";
    eventually("a rate is shown", || match value(&base, busy)? {
        busy if (0.8..1.2).contains(&busy) => Ok(()),
        busy => Err(format!("{busy} CPU seconds per core and second")),
    });

    let names = query(&base, "node_uname_info").unwrap();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(names[0].0["nodename"], host.trim());
    assert_eq!(names[0].0["job"], "node");
    assert!(get(&format!("{base}/metrics")).unwrap().contains("# TYPE"));
    let ticks = query(&base, "timestamp(node_load1) == bool timestamp(node_time_seconds)").unwrap();
    assert!((ticks[0].1 - 1.0).abs() < f64::EPSILON, "one round, one timestamp");
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn two_agents_stand_side_by_side_and_one_that_ends_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let mut server =
        Labstat::start(&["aggregator", "--listen", "127.0.0.1:0", "--data", &path("data")]);
    let base = server.url();
    let agent = |node: &str| {
        let state = path(node);
        Labstat::start(&[
            "agent",
            "--aggregator",
            &base,
            "--node",
            node,
            "--interval",
            "1s",
            "--state",
            &state,
        ])
    };
    let first = agent("apex");
    let second = agent("zenith");
    eventually("both nodes are up", || match value(&base, "sum(up{job='node'})") {
        Ok(2.0) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let loads = query(&base, "node_load1").unwrap();
    let mut nodes: Vec<_> = loads.iter().map(|(labels, _)| labels["instance"].clone()).collect();
    nodes.sort_by_key(ToString::to_string);
    assert_eq!(nodes, ["apex", "zenith"]);

    assert_eq!(first.stop(), Some(0));
    eventually("its series have ended", || match query(&base, "node_load1")?.as_slice() {
        [(labels, _)] if labels["instance"] == "zenith" => Ok(()),
        rows => Err(format!("{rows:?}")),
    });
    drop(second);
}

#[test]
fn rounds_made_while_the_aggregator_is_away_arrive_later() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let data = path("data");
    let mut server = Labstat::start(&["aggregator", "--listen", "127.0.0.1:0", "--data", &data]);
    let base = server.url();
    let listen = base.trim_start_matches("http://").to_owned();
    let state = path("state");
    let agent = Labstat::start(&[
        "agent",
        "--aggregator",
        &base,
        "--node",
        "apex",
        "--interval",
        "1s",
        "--state",
        &state,
    ]);
    eventually("rounds arrive", || value(&base, "node_load1"));
    server.kill();
    std::thread::sleep(Duration::from_secs(4));
    let mut server = Labstat::start(&["aggregator", "--listen", &listen, "--data", &data]);
    assert_eq!(server.url(), base);
    // Once it is back, the minute behind has a sample for nearly each second, the gap included.
    eventually("the gap is filled", || {
        let gap = value(
            &base,
            "max_over_time((timestamp(node_load1) - timestamp(node_load1 offset 1s))[8s:1s])",
        )?;
        let count = value(&base, "count_over_time(node_load1[8s])")?;
        if count >= 7.0 { Ok(()) } else { Err(format!("{count} samples, largest step {gap} s")) }
    });
    drop(agent);
}
