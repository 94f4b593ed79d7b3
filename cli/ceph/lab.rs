//! The questions of `labstat ceph`, and what of the answers belongs to which cluster and OSD.
//!
//! What is said of a cluster has the cluster's name as its instance; what a daemon says of itself on its
//! socket, and what is known of disks, has the node's. Where there is one cluster, all daemons are its.

use std::collections::{BTreeMap, BTreeSet};

use crate::answer::Found;
use crate::view::{Answers, Questions, at};

pub(crate) const QUESTIONS: &Questions = &[
    ("info", "labstat_ceph_cluster_info"),
    ("health", "ceph_health_status"),
    ("check", "labstat_ceph_health_check"),
    ("check_count", "labstat_ceph_health_check_count"),
    ("reading", "labstat_ceph_reading_success"),
    // When nobody reads any more, this is how old it all is.
    ("read_at", "last_over_time(labstat_ceph_reading_timestamp_seconds[1d])"),
    ("mon", "ceph_mon_quorum_status"),
    ("mon_info", "ceph_mon_metadata"),
    ("mon_own", "labstat_ceph_mon_in_quorum"),
    ("mon_leader", "labstat_ceph_mon_leader"),
    ("mgr", "ceph_mgr_status"),
    ("flag", "{__name__=~\"ceph_osd_flag_.+\"} == 1"),
    ("up", "ceph_osd_up"),
    ("in", "ceph_osd_in"),
    ("destroyed", "labstat_ceph_osd_destroyed"),
    ("mds", "labstat_ceph_mds_state"),
    ("laggy", "labstat_ceph_mds_laggy == 1"),
    ("ranks", "labstat_ceph_filesystem_ranks"),
    ("served", "labstat_ceph_filesystem_ranks_served"),
    ("osd_now", "labstat_ceph_osd_info"),
    // Which disk an OSD has is still so when no monitor answers.
    ("osd", "last_over_time(labstat_ceph_osd_info[15m])"),
    ("answers", "labstat_ceph_daemon_up"),
    ("own_state", "labstat_ceph_osd_state == 1"),
    ("slow", "labstat_ceph_daemon_slow_ops"),
    ("apply_ms", "ceph_osd_apply_latency_ms"),
    ("commit_ms", "ceph_osd_commit_latency_ms"),
    ("read", "rate(ceph_osd_op_r_latency_sum[5m]) / rate(ceph_osd_op_r_latency_count[5m])"),
    ("write", "rate(ceph_osd_op_w_latency_sum[5m]) / rate(ceph_osd_op_w_latency_count[5m])"),
    ("size", "labstat_ceph_osd_size_bytes"),
    ("used", "labstat_ceph_osd_used_bytes"),
    ("nearfull", "ceph_osd_nearfull_ratio"),
    ("backfillfull", "labstat_ceph_osd_backfillfull_ratio"),
    ("full", "ceph_osd_full_ratio"),
    ("pgs", "labstat_ceph_osd_pgs"),
    ("pgs_most", "max_over_time(labstat_ceph_osd_pgs[7d])"),
    ("only", "labstat_ceph_osd_only_copies > 0"),
    ("blocking", "labstat_ceph_osd_blocking_pgs > 0"),
    ("tolerated", "labstat_ceph_failures_tolerated"),
    ("use", "labstat_disk_use_info{kind=\"ceph_osd\"}"),
    ("verdict", "labstat_disk_verdict"),
    ("pool", "ceph_pool_metadata"),
    ("stored", "ceph_pool_stored"),
    ("objects", "ceph_pool_objects"),
    ("percent", "ceph_pool_percent_used"),
    ("avail", "ceph_pool_max_avail"),
    ("quota", "ceph_pool_quota_bytes > 0"),
    ("quota_objects", "ceph_pool_quota_objects > 0"),
    ("reads", "rate(ceph_pool_rd[5m])"),
    ("writes", "rate(ceph_pool_wr[5m])"),
    ("read_bytes", "rate(ceph_pool_rd_bytes[5m])"),
    ("write_bytes", "rate(ceph_pool_wr_bytes[5m])"),
    ("degraded", "ceph_num_objects_degraded"),
    ("misplaced", "ceph_num_objects_misplaced"),
    ("unfound", "ceph_num_objects_unfound"),
    (
        "most_wrong",
        "max_over_time((ceph_num_objects_degraded + ceph_num_objects_misplaced)[1d:1m])",
    ),
    ("recovered", "labstat_ceph_recovery_objects_per_second"),
    ("recovered_bytes", "labstat_ceph_recovery_bytes_per_second"),
    ("remaining", "labstat_ceph_recovery_remaining_seconds"),
];

/// One cluster and the answers about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cluster<'a> {
    pub(super) answers: &'a Answers,
    /// The cluster's instance; empty where daemons are known and nobody has read their cluster.
    pub(super) name: &'a str,
    /// Whether daemons need not be told from those of another cluster.
    is_only: bool,
}

/// How it stands with one of the two sources of what is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Source {
    /// Whether the last reading was good; none where nobody reads.
    pub(super) is_good: Option<bool>,
    /// Seconds since the last good one, if there was any within a day.
    pub(super) age: Option<f64>,
}

/// All clusters that were read within a day; or one without a name, when only daemons are known.
pub(super) fn clusters(answers: &Answers) -> Vec<Cluster<'_>> {
    let read = answers.all("reading").iter().chain(answers.all("read_at"));
    let mut names: BTreeSet<&str> = read.map(at).collect();
    if names.is_empty() && !answers.all("answers").is_empty() {
        names.insert("");
    }
    let is_only = names.len() == 1;
    names.into_iter().map(|name| Cluster { answers, name, is_only }).collect()
}

impl<'a> Cluster<'a> {
    /// The series of an answer about this cluster.
    pub(super) fn all(self, name: &str) -> impl Iterator<Item = &'a Found> {
        self.answers.all(name).iter().filter(move |found| at(found) == self.name)
    }

    /// The first value of an answer about this cluster whose labels contain `labels`.
    pub(super) fn value(self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let is_it = |found: &&Found| labels.iter().all(|(key, value)| found.label(key) == *value);
        self.all(name).filter(is_it).find_map(Found::value).filter(|value| !value.is_nan())
    }

    /// One of the sources: `mon` or `mgr`.
    pub(super) fn source(self, source: &str) -> Source {
        let here = [("source", source)];
        let age = match (self.answers.now(), self.value("read_at", &here)) {
            (Some(now), Some(time)) => Some((now - time).max(0.0)),
            _ => None,
        };
        Source { is_good: self.value("reading", &here).map(|good| good > 0.0), age }
    }

    /// Every OSD that the cluster or a socket knows, by number.
    pub(super) fn osds(self) -> Vec<&'a str> {
        let known = self.all("up").chain(self.all("osd")).map(|found| found.label("ceph_daemon"));
        let mut osds: BTreeMap<u64, &str> = BTreeMap::new();
        let own = self.answers.all("answers").iter().filter(|_| self.is_only);
        // What the cluster has removed is none of it, though its socket may still lie about.
        let own = own.filter(|_| self.all("up").next().is_none());
        for daemon in known.chain(own.map(|found| found.label("ceph_daemon"))) {
            if let Some(number) = daemon.strip_prefix("osd.").and_then(|it| it.parse().ok()) {
                osds.insert(number, daemon);
            }
        }
        osds.into_values().collect()
    }

    /// What is known of an OSD for long: host, disk, version.
    pub(super) fn about(self, osd: &str) -> Option<&'a Found> {
        let is_its = |found: &&Found| found.label("ceph_daemon") == osd;
        self.all("osd_now").find(is_its).or_else(|| self.all("osd").find(is_its))
    }

    /// The host of an OSD, or the node beside whose agent it runs.
    pub(super) fn host(self, osd: &str) -> Option<&'a str> {
        let said = self.about(osd).map(|found| found.label("hostname"));
        let own = || self.own("answers", osd).map(at);
        said.filter(|host| !host.is_empty()).or_else(own)
    }

    /// What a daemon says of itself: by its node, or by its name alone where there is one cluster.
    pub(super) fn own(self, name: &str, daemon: &str) -> Option<&'a Found> {
        let host = self.about(daemon).map(|found| found.label("hostname"));
        let is_its = |found: &&Found| found.label("ceph_daemon") == daemon;
        let all = || self.answers.all(name).iter().filter(is_its);
        let there = all().find(|found| host.is_some_and(|host| at(found) == host));
        there.or_else(|| all().next().filter(|_| self.is_only))
    }

    /// The same as a number.
    pub(super) fn own_value(self, name: &str, daemon: &str) -> Option<f64> {
        self.own(name, daemon).and_then(Found::value).filter(|value| !value.is_nan())
    }

    /// What is thought of the disk under an OSD: by what its node sees on the disk, by the serial
    /// number that Ceph knows, or by host and device.
    pub(super) fn verdict(self, osd: &str) -> Option<&'a Found> {
        let verdicts = self.answers.all("verdict");
        let host = self.host(osd).unwrap_or_default();
        let uses = self.answers.all("use").iter();
        let on = uses.filter(|found| at(found) == host && found.label("name") == osd);
        let devices: Vec<&str> = on.map(|found| found.label("device")).collect();
        let worst = |found: &&Found| gravity(found.label("verdict"));
        let here = |found: &&Found| at(found) == host && devices.contains(&found.label("device"));
        let about = self.about(osd);
        let label = |name| about.map(|found| found.label(name)).filter(|text| !text.is_empty());
        let by_serial = || {
            let serial = label("serial")?;
            verdicts.iter().find(|found| found.label("serial_number") == serial)
        };
        let by_place = || {
            let device = label("device").filter(|_| label("serial").is_none())?;
            verdicts.iter().find(|found| at(found) == host && found.label("device") == device)
        };
        let by_use = verdicts.iter().filter(here).max_by_key(worst);
        by_use.or_else(by_serial).or_else(by_place)
    }
}

/// How bad a verdict is.
pub(super) fn gravity(verdict: &str) -> u8 {
    match verdict {
        "dead" => 3,
        "act" => 2,
        "watch" => 1,
        _ => 0,
    }
}
