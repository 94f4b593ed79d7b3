//! What happens to the cluster is shown by `labstat ceph` and told by the shipped rules.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::{self, Cluster, eventually};

/// How soon after Ceph knows of it an OSD must be shown as down.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);

/// An aggregator and the agent beside the cluster's monitor.
struct Lab {
    aggregator: Child,
    agent: Child,
    url: String,
    _dir: tempfile::TempDir,
}

fn labstat(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_labstat"));
    command.args(arguments).env_remove("LABSTAT_SERVER").env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

impl Lab {
    fn start(cluster: &Cluster) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let mut aggregator = labstat(&["aggregator", "--listen", "127.0.0.1:0", "--data"])
            .arg(path("data"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(aggregator.stderr.take().unwrap()).lines();
        let url = loop {
            let line = lines.next().unwrap().unwrap();
            if let Some((_, rest)) = line.split_once("answering at ") {
                break rest.split(',').next().unwrap().to_owned();
            }
        };
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let agent = labstat(&["agent", "--interval", "1s", "--only", "ceph", "--aggregator", &url])
            .env("LABSTAT_CEPH_INTERVAL", "10s")
            .arg("--state")
            .arg(path("agent"))
            .arg("--ceph-conf")
            .arg(cluster.conf())
            .arg("--ceph-run")
            .arg(cluster.run_dir())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { aggregator, agent, url, _dir: dir }
    }

    /// The only cluster, as `labstat ceph --format json` has it.
    fn view(&self) -> Result<Value, String> {
        let output = labstat(&["ceph", "--format", "json", "--server", &self.url]).output();
        let output = output.map_err(|error| error.to_string())?;
        let all: Vec<Value> =
            serde_json::from_slice(&output.stdout).map_err(|_| format!("{output:?}"))?;
        match <[Value; 1]>::try_from(all) {
            Ok([cluster]) => Ok(cluster),
            Err(all) => Err(format!("{} clusters", all.len())),
        }
    }

    /// Waits until the view is as it should be.
    fn see(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        eventually(what, || match self.view()? {
            view if is_so(&view) => Ok(()),
            view => Err(format!("{view:#}")),
        });
    }

    /// The alerts that fire, each by name and daemon.
    fn firing(&self) -> Result<Vec<String>, String> {
        let answer = ureq::get(format!("{}/api/v1/alerts", self.url)).call();
        let mut answer = answer.map_err(|error| error.to_string())?;
        let text = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let alerts = answer["data"]["alerts"].as_array().ok_or("no alerts")?;
        let word = |alert: &Value, name: &str| {
            alert["labels"][name].as_str().unwrap_or_default().to_owned()
        };
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        Ok(firing
            .map(|it| format!("{} {}", word(it, "alertname"), word(it, "ceph_daemon")))
            .collect())
    }

    /// The value of the only series that a query gives; `None` where it gives none.
    fn ask(&self, query: &str) -> Result<Option<f64>, String> {
        let url = format!("{}/api/v1/query", self.url);
        let answer = ureq::get(url).query("query", query).call();
        let mut answer = answer.map_err(|error| error.to_string())?;
        let text = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        match answer["data"]["result"].as_array().map(Vec::as_slice) {
            Some([]) => Ok(None),
            Some([one]) => {
                let number = one["value"][1].as_str().and_then(|number| number.parse().ok());
                number.map(Some).ok_or_else(|| one.to_string())
            }
            _ => Err(text),
        }
    }

    /// Waits until a query gives this value.
    fn is(&self, query: &str, value: Option<f64>) {
        eventually(query, || match self.ask(query)? {
            found if found == value => Ok(()),
            found => Err(format!("{found:?}")),
        });
    }

    fn told(&self, wanted: &str) {
        eventually(wanted, || match self.firing()? {
            firing if firing.iter().any(|alert| alert == wanted) => Ok(()),
            firing => Err(format!("{firing:?}")),
        });
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in [&mut self.agent, &mut self.aggregator] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn osd<'a>(view: &'a Value, name: &str) -> &'a Value {
    let osds = view["osds"].as_array();
    osds.and_then(|osds| osds.iter().find(|osd| osd["osd"] == name)).unwrap_or(&Value::Null)
}

#[test]
fn what_fails_is_shown_as_what_it_is_and_told() {
    let Some(mut cluster) = cluster::shared() else { return };
    let lab = Lab::start(&cluster);
    lab.see("a healthy cluster", |view| {
        view["health"] == "HEALTH_OK"
            && ["osd.0", "osd.1", "osd.2"].iter().all(|name| osd(view, name)["state"] == "up")
            && view["readings"]["mgr"]["success"] == true
            && view["pools"].as_array().is_some_and(|pools| {
                pools.iter().any(|pool| {
                    // What others wrote to it, which is mostly nothing.
                    pool["pool"] == cluster::POOL && pool["stored_bytes"].is_number()
                })
            })
            && view["failures_tolerated"]["osd"]["unavailable"] == 1.0
    });
    assert_eq!(lab.firing().unwrap(), Vec::<String>::new());

    cluster.kill("osd.2");
    cluster.wait_check("OSD_DOWN");
    let known = Instant::now();
    lab.see("the OSD is down", |view| osd(view, "osd.2")["state"] == "down");
    assert!(known.elapsed() < SHOWN_WITHIN, "{:?}", known.elapsed());
    lab.see("why the cluster is not well", |view| {
        view["checks"].as_array().is_some_and(|checks| {
            checks.iter().any(|it| it["check"] == "OSD_DOWN" && it["meaning"] == "OSDs are down")
        })
    });
    lab.told("CephOsdDown osd.2");

    // Out, it raises no check of Ceph's any more, and is still shown and told.
    cluster.out(2);
    lab.see("the OSD is down and out", |view| osd(view, "osd.2")["state"] == "down, out");
    assert!(lab.firing().unwrap().contains(&"CephOsdDown osd.2".to_owned()));

    cluster.kill("mgr.x");
    lab.see("the manager does not answer", |view| {
        view["readings"]["mgr"]["success"] == false
            && view["readings"]["mon"]["success"] == true
            && view["pools"].as_array().is_some_and(|pools| {
                !pools.is_empty() && pools.iter().all(|pool| pool["stored_bytes"].is_null())
            })
            && osd(view, "osd.0")["state"] == "up"
    });
    lab.told("CephManagerSilent ");

    // Without a leader nobody reads; the OSDs still speak for themselves.
    cluster.kill("mon.a");
    lab.see("nobody knows, and that is said", |view| {
        view["health"].is_null()
            && view["readings"]["mon"]["success"] != true
            && osd(view, "osd.0")["state"] == "runs"
            && osd(view, "osd.2")["state"] == "does not answer"
    });
    drop(lab);
    cluster.mend();
}

/// A health check in the view: its severity, and of how many things it tells.
fn check(view: &Value, name: &str) -> Option<(String, Option<f64>)> {
    let check = view["checks"].as_array()?.iter().find(|it| it["check"] == name)?;
    Some((check["severity"].as_str()?.to_owned(), check["count"].as_f64()))
}

/// A copy that differs from the others: found by Ceph's own scrub, and put right by its repair.
#[test]
fn a_damaged_copy_is_shown_and_told_until_it_is_repaired() {
    let Some(mut cluster) = cluster::shared() else { return };
    let lab = Lab::start(&cluster);
    lab.see("a healthy cluster", |view| {
        view["health"] == "HEALTH_OK" && view["readings"]["mgr"]["success"] == true
    });
    assert_eq!(lab.ask("sum(ceph_pg_inconsistent)"), Ok(Some(0.0)));

    let group = cluster.damage_a_copy();
    cluster.ceph(&["pg", "deep-scrub", &group]);
    cluster.wait_check("PG_DAMAGED");
    lab.see("the damage", |view| {
        let error = |count| Some(("error".to_owned(), Some(count)));
        view["health"] == "HEALTH_ERR"
            && check(view, "PG_DAMAGED") == error(1.0)
            // One of the copy, and one of its object.
            && check(view, "OSD_SCRUB_ERRORS").is_some_and(|(severity, count)| {
                severity == "error" && count.is_some_and(|count| count >= 1.0)
            })
    });
    let pool = group.split('.').next().unwrap();
    for (query, value) in [
        (format!("ceph_pg_inconsistent{{pool_id=\"{pool}\"}}"), Some(1.0)),
        // The others have none, and that is told as well.
        ("sum(ceph_pg_inconsistent)".to_owned(), Some(1.0)),
        ("ceph_health_status".to_owned(), Some(2.0)),
        (r#"ceph_health_detail{name="PG_DAMAGED",severity="HEALTH_ERR"}"#.to_owned(), Some(1.0)),
        (
            r#"ceph_health_detail{name="OSD_SCRUB_ERRORS",severity="HEALTH_ERR"}"#.to_owned(),
            Some(1.0),
        ),
    ] {
        lab.is(&query, value);
    }
    lab.told("CephDataDamaged ");

    cluster.ceph(&["pg", "repair", &group]);
    cluster.wait_healthy();
    lab.see("nothing is damaged any more", |view| {
        view["health"] == "HEALTH_OK"
            && check(view, "PG_DAMAGED").is_none()
            && check(view, "OSD_SCRUB_ERRORS").is_none()
    });
    lab.is("sum(ceph_pg_inconsistent)", Some(0.0));
    lab.is(r#"ceph_health_detail{name="PG_DAMAGED"}"#, Some(0.0));
}

/// What somebody has muted is shown as that, and is no reason to call the cluster unwell.
#[test]
fn a_muted_check_is_shown_as_muted() {
    let Some(mut cluster) = cluster::shared() else { return };
    let lab = Lab::start(&cluster);
    cluster.set_flag("noout");
    lab.see("the flag", |view| {
        view["health"] == "HEALTH_WARN"
            && check(view, "OSDMAP_FLAGS").is_some_and(|(severity, _)| severity == "warning")
    });
    cluster.mute("OSDMAP_FLAGS");
    lab.see("the check is muted", |view| {
        view["health"] == "HEALTH_OK"
            && check(view, "OSDMAP_FLAGS").is_some_and(|(severity, _)| severity == "warning, muted")
    });
    drop(lab);
    cluster.mend();
}

/// Where Debian's package ceph-grafana-dashboards puts them.
const DASHBOARDS: &str = "/etc/grafana/dashboards/ceph-dashboard";

/// What these dashboards ask for and this cluster cannot have: it has no gateway, no metadata server, no
/// statistics of images, and OSDs in memory, without a database and a disk.
const NOT_OF_THIS_CLUSTER: [&str; 7] = [
    "ceph_bluefs_",
    "ceph_bluestore_",
    "ceph_data_sync_",
    "ceph_disk_occupation",
    "ceph_mds_",
    "ceph_rbd_",
    "ceph_rgw_",
];

/// Our own, which asks for some that Debian's do not.
const OUR_DASHBOARD: &str = include_str!("../../dashboards/grafana/ceph.json");

/// Words of queries that look like metrics: a label, and a variable of Grafana.
const NO_METRICS: [&str; 2] = ["ceph_daemon", "ceph_hosts"];

/// The names of Ceph's metrics in the queries of dashboards.
fn asked(json: &Value, names: &mut std::collections::BTreeSet<String>) {
    match json {
        Value::Array(all) => all.iter().for_each(|value| asked(value, names)),
        Value::Object(fields) => {
            for (key, value) in fields {
                if let ("expr" | "query", Some(query)) = (key.as_str(), value.as_str()) {
                    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
                    names.extend(words.filter(|it| it.starts_with("ceph_")).map(str::to_owned));
                }
                asked(value, names);
            }
        }
        _ => {}
    }
}

#[test]
fn what_dashboards_ask_for_is_there() {
    let Some(cluster) = cluster::shared() else { return };
    let Ok(files) = std::fs::read_dir(DASHBOARDS) else {
        eprintln!("SKIPPED: no {DASHBOARDS} (Debian package ceph-grafana-dashboards)");
        return;
    };
    let mut names = std::collections::BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        asked(&serde_json::from_str(&text).unwrap(), &mut names);
    }
    asked(&serde_json::from_str(OUR_DASHBOARD).unwrap(), &mut names);
    names.retain(|name| !NO_METRICS.contains(&name.as_str()));
    names.retain(|name| !NOT_OF_THIS_CLUSTER.iter().any(|start| name.starts_with(start)));
    assert!(names.len() >= 40, "{names:?}");
    let lab = Lab::start(&cluster);
    eventually("every metric", || {
        let answer = ureq::get(format!("{}/api/v1/label/__name__/values", lab.url)).call();
        let mut answer = answer.map_err(|error| error.to_string())?;
        let text = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
        let missing: Vec<_> =
            names.iter().filter(|name| !text.contains(&format!("\"{name}\""))).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} missing")) }
    });
}
