//! What happens to the cluster is shown by `labstat ceph` and told by the shipped rules.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster;
use crate::lab::{Lab, check, osd};

/// How soon after Ceph knows of it an OSD must be shown as down, on a machine that has much else to do; at
/// rest it takes a few seconds.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);

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

/// What these dashboards ask for and this cluster cannot have: it has no statistics of images, and OSDs in
/// memory, without a database and a disk; gateways and metadata servers are [`crate::files`].
const NOT_OF_THIS_CLUSTER: [&str; 7] = [
    "ceph_bluefs_",
    "ceph_bluestore_",
    "ceph_data_sync_",
    "ceph_disk_occupation",
    "ceph_mds_",
    "ceph_rbd_",
    "ceph_rgw_",
];

/// Our own, which ask for some that Debian's do not.
const OUR_DASHBOARDS: [&str; 2] = [
    include_str!("../../dashboards/grafana/ceph.json"),
    include_str!("../../dashboards/grafana/lab-overview.json"),
];

/// Words of queries that look like metrics: a label, and a variable of Grafana.
const NO_METRICS: [&str; 2] = ["ceph_daemon", "ceph_hosts"];

/// The names of Ceph's metrics in the queries of dashboards.
fn asked(json: &Value, names: &mut BTreeSet<String>) {
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

/// The names of Ceph's metrics that its own dashboards, as Debian has them, and ours ask for; `None`, with a
/// line that says so, where the former are not installed.
pub(crate) fn asked_by_dashboards() -> Option<BTreeSet<String>> {
    let Ok(files) = std::fs::read_dir(DASHBOARDS) else {
        eprintln!("SKIPPED: no {DASHBOARDS} (Debian package ceph-grafana-dashboards)");
        return None;
    };
    let mut names = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        asked(&serde_json::from_str(&text).unwrap(), &mut names);
    }
    for ours in OUR_DASHBOARDS {
        asked(&serde_json::from_str(ours).unwrap(), &mut names);
    }
    names.retain(|name| !NO_METRICS.contains(&name.as_str()));
    Some(names)
}

#[test]
fn what_dashboards_ask_for_is_there() {
    let Some(cluster) = cluster::shared() else { return };
    let Some(mut names) = asked_by_dashboards() else { return };
    names.retain(|name| !NOT_OF_THIS_CLUSTER.iter().any(|start| name.starts_with(start)));
    assert!(names.len() >= 40, "{names:?}");
    Lab::start(&cluster).has_all(&names);
}
