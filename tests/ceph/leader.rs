//! Three monitors, and an agent beside each: what the store has of the cluster when another monitor leads.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::cluster::{Cluster, Plan, eventually};
use crate::lab::Lab;

/// Seconds that may pass, as `docs/ceph.md` promises, between the last sample of the node whose monitor led
/// and the first of the next. It takes 20; the rest is for a machine with other work.
const TAKEOVER_SECONDS_MAX: f64 = 60.0;

/// How often the agents send, and the seconds between two samples while one node reads: one round may be
/// late, or have come second.
const QUIET_SECONDS_MAX: f64 = 8.0;

/// An agent for each monitor, as on three nodes.
fn nodes(cluster: &Cluster, dir: &Path) -> Lab {
    // The cluster's own says where the sockets of all three are, which are on one machine here.
    let conf = std::fs::read_to_string(cluster.conf()).unwrap();
    let conf: Vec<&str> = conf.lines().filter(|line| !line.starts_with("admin socket")).collect();
    // Ceph takes no last line without an end.
    std::fs::write(dir.join("ceph.conf"), conf.join("\n") + "\n").unwrap();
    let mut lab = Lab::without_agents();
    for name in ["a", "b", "c"] {
        let run_dir = dir.join(name);
        std::fs::create_dir(&run_dir).unwrap();
        let socket = format!("mon.{name}.asok");
        std::os::unix::fs::symlink(cluster.run_dir().join(&socket), run_dir.join(&socket)).unwrap();
        lab.add_agent(name, &dir.join("ceph.conf"), &run_dir);
    }
    lab
}

fn leader(cluster: &Cluster) -> String {
    let status = cluster.ceph(&["quorum_status"]);
    status["quorum_leader_name"].as_str().unwrap_or_default().to_owned()
}

/// Waits until one node reads, and no other.
fn reads_alone(lab: &Lab, node: &str) {
    let query = r#"labstat_collector_outcome{collector="ceph_cluster",outcome="collected"} == 1"#;
    eventually(node, || {
        let answer = lab.get("/api/v1/query", &[("query", query)])?;
        let found = answer["data"]["result"].as_array().ok_or("no answer")?;
        let readers: Vec<&Value> = found.iter().map(|it| &it["metric"]["instance"]).collect();
        if readers == [node] { Ok(()) } else { Err(format!("{readers:?} read")) }
    });
    eventually("the cluster is told of", || match lab.ask("labstat_ceph_cluster_info")? {
        Some(_) => Ok(()),
        None => Err("nothing".to_owned()),
    });
}

/// All samples of the cluster within the last minutes, by series.
fn samples(lab: &Lab) -> BTreeMap<String, Vec<(f64, f64)>> {
    let query = r#"{__name__=~"ceph_.+",instance=~"ceph-.+"}[10m]"#;
    let answer = lab.get("/api/v1/query", &[("query", query)]).unwrap();
    let number = |value: &Value| match value {
        Value::String(text) => text.parse().unwrap(),
        number => number.as_f64().unwrap(),
    };
    let result = answer["data"]["result"].as_array().unwrap();
    result
        .iter()
        .map(|series| {
            let values = series["values"].as_array().unwrap();
            let values = values.iter().map(|pair| (number(&pair[0]), number(&pair[1]))).collect();
            (series["metric"].to_string(), values)
        })
        .collect()
}

/// What only grows, for as long as no daemon is started anew: those of pools, which the manager counts.
const COUNTERS: [&str; 4] =
    ["\"ceph_pool_rd\"", "\"ceph_pool_rd_bytes\"", "\"ceph_pool_wr\"", "\"ceph_pool_wr_bytes\""];

#[test]
fn when_another_monitor_leads_the_series_go_on_without_a_gap_or_a_second_value() {
    let plan = Plan { mons: 3, osds: 1, ..Plan::default() };
    let Some(mut cluster) = Cluster::start(plan) else { return };
    let dir = tempfile::tempdir().unwrap();
    let lab = nodes(&cluster, dir.path());
    // Figures that grow tell what is newer.
    let load = cluster.write_load(600, 2);
    let first = leader(&cluster);
    reads_alone(&lab, &first);

    cluster.kill(&format!("mon.{first}"));
    let next = eventually("another leads", || match leader(&cluster) {
        next if next != first && !next.is_empty() => Ok(next),
        next => Err(next),
    });
    reads_alone(&lab, &next);
    // It leads again when it is back, while the node of the other still tells what it has read.
    cluster.start_daemon(&format!("mon.{first}"));
    reads_alone(&lab, &first);
    let told = || lab.ask("count_over_time(ceph_osd_up[10m])");
    let count = told().unwrap();
    eventually("it goes on", || match told()? {
        now if now > count.map(|count| count + 15.0) => Ok(()),
        now => Err(format!("{now:?}")),
    });
    drop(load);

    let series = samples(&lab);
    assert!(series.len() > 200, "{} series", series.len());
    let osd_up: Vec<_> =
        series.iter().filter(|(name, _)| name.contains("\"ceph_osd_up\"")).collect();
    let [(_, up)] = osd_up.as_slice() else { panic!("one OSD, one series: {osd_up:?}") };
    let steps: Vec<f64> = up.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    let takeovers: Vec<f64> =
        steps.iter().copied().filter(|step| *step > QUIET_SECONDS_MAX).collect();
    eprintln!("{first}, {next}, {first}: {} samples, without any for {takeovers:?} s", up.len());
    assert!(steps.iter().all(|step| *step >= 1.0), "one node tells, each second: {steps:?}");
    assert!(takeovers.len() <= 2, "{takeovers:?}");
    assert!(takeovers.iter().all(|step| *step < TAKEOVER_SECONDS_MAX), "{takeovers:?}");
    let mut grown = 0;
    for (name, values) in &series {
        if COUNTERS.iter().any(|counter| name.contains(counter)) {
            let falls = values.windows(2).find(|pair| pair[1].1 < pair[0].1);
            assert_eq!(falls, None, "{name} goes back");
            let (first, last) = (values.first().unwrap().1, values.last().unwrap().1);
            grown += u32::from(last > first);
        }
    }
    assert!(grown > 0, "what must not go back moves");
    // Of two values at one time the store keeps the first, and counts the other.
    let page = ureq::get(format!("{}/metrics", lab.url)).call().unwrap();
    let page = page.into_body().read_to_string().unwrap();
    let of = |name: &str| -> f64 {
        let lines = page.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    };
    assert!(of("labstat_ingest_samples_total") > 1000.0, "{page}");
    for name in ["labstat_ingest_refused_samples_total", "labstat_ingest_duplicate_samples_total"] {
        assert_eq!(of(name), 0.0, "{name}");
    }
}
