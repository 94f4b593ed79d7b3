//! Metadata servers and a gateway: what their sockets tell is what the manager tells, and what is seen when
//! they end.

use crate::cluster::{Cluster, FILESYSTEM, GATEWAY, Plan, eventually};
use crate::lab::{Lab, check};
use crate::reader::{Agent, is_as_the_module_says};
use crate::seen::asked_by_dashboards;
use crate::sockets::counters_become_those_of_the_manager;

/// Has the metadata servers make a folder, and the gateway keep an object and give it back.
fn use_files(cluster: &Cluster) {
    cluster.ceph(&["fs", "subvolume", "create", FILESYSTEM, "one"]);
    cluster.add_gateway_user();
    let url = cluster.gateway_url();
    let login = ureq::get(format!("{url}/auth/v1"))
        .header("X-Auth-User", "lab:swift")
        .header("X-Auth-Key", "secret")
        .call()
        .unwrap();
    let token = login.headers()["X-Auth-Token"].to_str().unwrap().to_owned();
    let object = format!("{url}/swift/v1/bucket/object");
    for (path, contents) in [(format!("{url}/swift/v1/bucket"), ""), (object.clone(), "contents")] {
        ureq::put(path).header("X-Auth-Token", &token).send(contents).unwrap();
    }
    let mut answer = ureq::get(object).header("X-Auth-Token", &token).call().unwrap();
    assert_eq!(answer.body_mut().read_to_string().unwrap(), "contents");
}

fn start() -> Option<Cluster> {
    Cluster::start(Plan { mdss: 2, has_gateway: true, osds: 1, ..Plan::default() })
}

#[test]
fn metadata_servers_and_gateways_are_told_as_the_manager_tells_them() {
    let Some(cluster) = start() else { return };
    use_files(&cluster);
    counters_become_those_of_the_manager(&cluster);
    for source in ["commands", "module"] {
        is_as_the_module_says(&cluster, &Agent::start_with(&cluster, source));
    }

    let lab = Lab::start(&cluster);
    lab.see("who serves the files", |view| {
        let glance = view["glance"].as_array().cloned().unwrap_or_default();
        let files = glance.iter().find(|line| line["area"] == "files");
        files.is_some_and(|line| {
            line["state"] == "labfs is served: m; n stands by"
                || line["state"] == "labfs is served: n; m stands by"
        })
    });
    // As panels of Ceph's own dashboards join them, by what counters and cluster call the gateway.
    for (query, wanted) in [
        ("ceph_rgw_put * on (instance_id) group_left (ceph_daemon) ceph_rgw_metadata", 1.0),
        ("ceph_rgw_put_b * on (instance_id) group_left (ceph_daemon) ceph_rgw_metadata", 8.0),
    ] {
        lab.is(query, Some(wanted));
    }
    if let Some(mut names) = asked_by_dashboards() {
        names.retain(|name| name.starts_with("ceph_mds_") || name.starts_with("ceph_rgw_"));
        assert!(names.len() >= 10, "{names:?}");
        lab.has_all(&names);
    }
}

/// Of a metadata server that is killed with no other to take its place Ceph says nothing at all.
#[test]
fn metadata_servers_and_gateways_that_end_are_shown_and_told() {
    let Some(mut cluster) = start() else { return };
    let lab = Lab::start(&cluster);
    lab.is("labstat_ceph_filesystem_ranks_served", Some(1.0));
    let active = |cluster: &Cluster| {
        let status = cluster.ceph(&["status"]);
        let name = status["fsmap"]["by_rank"][0]["name"].as_str().unwrap_or_default();
        format!("mds.{name}")
    };
    let up = |daemon: &str| format!("labstat_ceph_daemon_up{{ceph_daemon=\"{daemon}\"}}");

    let first = active(&cluster);
    cluster.kill(&first);
    cluster.kill(GATEWAY);
    lab.is(&up(&first), Some(0.0));
    lab.is(&up("rgw.gate"), Some(0.0));
    let second = eventually("the other takes its place", || match active(&cluster) {
        other if other != first => Ok(other),
        same => Err(same),
    });
    lab.see("none stands by", |view| check(view, "MDS_INSUFFICIENT_STANDBY").is_some());
    lab.is("labstat_ceph_filesystem_ranks_served", Some(1.0));

    cluster.kill(&second);
    let is_laggy = format!("labstat_ceph_mds_laggy{{ceph_daemon=\"{second}\"}}");
    lab.is(&is_laggy, Some(1.0));
    lab.see("nobody serves the files", |view| {
        let glance = view["glance"].as_array().cloned().unwrap_or_default();
        glance.iter().any(|line| {
            let state = line["state"].as_str().unwrap_or_default();
            line["area"] == "files" && state.starts_with("labfs is not served: ")
        })
    });
    lab.told("CephFilesystemStopped ");
    lab.told("CephDaemonSilent rgw.gate");

    // One that ends in good order takes its leave, and that Ceph tells of.
    cluster.start_daemon(&second);
    lab.is("labstat_ceph_filesystem_ranks_served", Some(1.0));
    cluster.end(&second);
    lab.see("no metadata server is left", |view| {
        view["health"] == "HEALTH_ERR"
            && check(view, "MDS_ALL_DOWN").is_some_and(|(severity, _)| severity == "error")
            && check(view, "FS_DEGRADED").is_some()
    });
    lab.is("ceph_fs_metadata", Some(1.0));
    lab.is("labstat_ceph_filesystem_ranks_served", Some(0.0));

    cluster.mend();
    lab.see("all is well again", |view| view["health"] == "HEALTH_OK");
    lab.is(&up("rgw.gate"), Some(1.0));
}
