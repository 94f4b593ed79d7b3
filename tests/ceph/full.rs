//! OSDs that fill up: each of the three limits is shown and told as what it is.

use serde_json::Value;

use crate::cluster::{self, POOL};
use crate::lab::{Lab, check, osd};

/// The three limits, from the lowest; above each an OSD is called by its name.
const LIMITS: [&str; 3] = ["nearfull", "backfillfull", "full"];

/// Where they are put, in the order of [`LIMITS`]: what is written here takes more than that of an OSD.
const LOW: [&str; 3] = ["0.00001", "0.00002", "0.00003"];

/// Where they are as a rule, the same way.
const USUAL: [&str; 3] = ["0.85", "0.9", "0.95"];

/// All OSDs are in a state, and the check tells of them, as a warning or an error.
fn are(view: &Value, state: &str, name: &str, severity: &str) -> bool {
    ["osd.0", "osd.1", "osd.2"].iter().all(|name| osd(view, name)["state"] == state)
        && check(view, name) == Some((severity.to_owned(), Some(3.0)))
}

#[test]
fn osds_that_fill_up_are_shown_and_told_by_each_limit() {
    let Some(mut cluster) = cluster::shared() else { return };
    let lab = Lab::start(&cluster);
    let load = cluster.write_load(100, 2);
    lab.see("a healthy cluster with something in it", |view| {
        view["health"] == "HEALTH_OK"
            && osd(view, "osd.0")["state"] == "up"
            && (0..3)
                .all(|at| osd(view, &format!("osd.{at}"))["used_ratio"].as_f64() > Some(0.00003))
    });
    drop(load);
    let set = |at: usize, to: &[&str; 3]| format!("osd set-{}-ratio {}", LIMITS[at], to[at]);
    let mut lower = |at: usize| cluster.ceph_until_mended(&set(at, &LOW), &set(at, &USUAL));

    lower(0);
    lab.see("they are nearly full", |view| {
        view["health"] == "HEALTH_WARN" && are(view, "up, nearfull", "OSD_NEARFULL", "warning")
    });
    let alerts = lab.alerts(|_| true).unwrap();
    assert!(!alerts.iter().any(|alert| alert.starts_with("CephOsdFull")), "{alerts:?}");

    lower(1);
    lab.see("they take no copies", |view| {
        are(view, "up, backfillfull", "OSD_BACKFILLFULL", "warning")
            && check(view, "OSD_NEARFULL").is_none()
    });

    lower(2);
    lab.see("they are full", |view| {
        view["health"] == "HEALTH_ERR"
            && are(view, "up, full", "OSD_FULL", "error")
            && check(view, "POOL_FULL").is_some()
    });
    for osd in 0..3 {
        lab.told(&format!("CephOsdNearFull osd.{osd}"));
        lab.told(&format!("CephOsdFull osd.{osd}"));
    }

    cluster.mend();
    lab.see("there is room again", |view| {
        let checks = view["checks"].as_array();
        view["health"] == "HEALTH_OK"
            && checks.is_some_and(Vec::is_empty)
            && osd(view, "osd.0")["state"] == "up"
    });
    // Writes that were refused are possible again.
    drop(cluster.write_load(1, 2));
    lab.is(&format!("count(ceph_pool_metadata{{name=\"{POOL}\"}})"), Some(1.0));
}
