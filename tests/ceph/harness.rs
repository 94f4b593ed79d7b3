//! The cluster itself: it does what it is told, and is mended afterwards.

use std::path::Path;

use crate::cluster::{self, Cluster, POOL, Plan, eventually};

#[test]
fn what_is_done_to_the_cluster_shows_and_is_mended() {
    let Some(mut cluster) = cluster::shared() else { return };
    assert_eq!(cluster.daemons(), ["mon.a", "mgr.x", "osd.0", "osd.1", "osd.2"]);
    assert!(cluster.daemons().iter().all(|daemon| cluster.socket(daemon).exists()));
    assert_eq!(cluster.ceph(&["fsid"])["fsid"], cluster.fsid.as_str());
    let page = cluster.mgr_metrics().unwrap();
    assert!(page.contains("ceph_osd_up{ceph_daemon=\"osd.2\"} 1.0"), "{page}");

    cluster.set_flag("noout");
    cluster.wait_check("OSDMAP_FLAGS");
    cluster.mute("OSDMAP_FLAGS");
    eventually("the check is muted", || match cluster.checks() {
        checks if checks.is_empty() => Ok(()),
        checks => Err(format!("{checks:?}")),
    });
    cluster.set_nearfull_ratio(0.00001);
    let load = cluster.write_load(30, 2);
    eventually("objects are written", || {
        let df = cluster.ceph(&["df"]);
        let pools = df["pools"].as_array().unwrap();
        let pool = pools.iter().find(|pool| pool["name"] == POOL).unwrap();
        if pool["stats"]["objects"].as_u64() > Some(0) { Ok(()) } else { Err(df.to_string()) }
    });
    drop(load);
    cluster.wait_check("OSD_NEARFULL");
    cluster.kill("osd.0");
    cluster.wait_check("OSD_DOWN");
    cluster.out(0);
    cluster.start_daemon("osd.0");
    cluster.r#in(0);
    cluster.stop("osd.1");

    cluster.mend();
    assert!(cluster.checks().is_empty());
}

#[test]
fn three_monitors_have_a_quorum_and_nothing_outlives_the_cluster() {
    let plan = Plan { mons: 3, mgrs: 2, osds: 1, ..Plan::default() };
    let Some(cluster) = Cluster::start(plan) else { return };
    assert_eq!(cluster.ceph(&["status"])["quorum_names"].as_array().unwrap().len(), 3);
    let process = format!("/proc/{}", cluster.pid("mon.b"));
    let (conf, run_dir) = (cluster.conf(), cluster.run_dir());
    assert!(conf.exists() && run_dir.is_dir() && Path::new(&process).exists());
    drop(cluster);
    assert!(!conf.exists() && !Path::new(&process).exists());
}
