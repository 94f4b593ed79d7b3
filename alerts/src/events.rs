//! Which metrics cannot wait for the next round of the rules.
//!
//! Their samples tell of an event: a disk fell out of an array, an OSD went down, the mains failed, a
//! cable was pulled. Alerts whose expressions name one of them are evaluated as soon as such samples
//! have come. It takes no mark in the rule file, which Prometheus' tools would refuse.

/// Beginnings of the names of such metrics, each that of a family of states.
const BEGINNINGS: [&str; 15] = [
    "ceph_health_detail",
    "ceph_health_status",
    "ceph_mon_quorum_status",
    "ceph_osd_in",
    "ceph_osd_up",
    "labstat_btrfs_device_missing",
    "labstat_ceph_daemon_up",
    "labstat_ceph_health_check",
    "labstat_disk_verdict",
    "labstat_md_",
    "labstat_ups_status",
    "labstat_ups_up",
    "node_bonding_active",
    "node_md_",
    "node_network_carrier",
];

/// Whether the samples of a metric have alerts evaluated at once.
pub fn cannot_wait(metric: &str) -> bool {
    BEGINNINGS.iter().any(|beginning| metric.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::rules::{RuleKind, RuleSet};

    #[test]
    fn arrays_and_the_mains_cannot_wait_and_a_temperature_can() {
        assert!(cannot_wait("node_md_disks") && cannot_wait("labstat_ups_status"));
        assert!(!cannot_wait("node_hwmon_temp_celsius") && !cannot_wait("up"));
    }

    /// A beginning that no shipped rule names is misspelt, or of a metric that has another name now.
    #[test]
    fn each_of_them_is_named_by_a_shipped_rule() {
        let rules = RuleSet::shipped().unwrap();
        let alerts = rules.groups.iter().flat_map(|group| &group.rules);
        let alerts = alerts.filter(|rule| matches!(rule.kind, RuleKind::Alert(_)));
        let names: BTreeSet<String> = alerts
            .flat_map(|rule| labstat_promql::check(&rule.expr).unwrap().metric_names)
            .collect();
        // Those that begin with "ceph_health" are for the rules that come with Ceph.
        for beginning in BEGINNINGS.iter().filter(|b| !b.starts_with("ceph_health")) {
            let named = names.iter().any(|name| name.starts_with(*beginning));
            assert!(named, "{beginning}: {names:#?}");
        }
    }
}
