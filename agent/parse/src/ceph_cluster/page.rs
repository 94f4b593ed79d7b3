//! The page of the manager's prometheus module: what of it is about the cluster, and not about single
//! daemons or the manager itself.
//!
//! The page is no text that a strict reader takes: it begins with an empty line, says help and kind of
//! some families several times, and calls the pool of one family `poolid`. [`kept`] makes a proper text of
//! the part that matters, [`read`] reads that.
//!
//! The page is made every `scrape_interval` and given as it is until then, and for ever when the manager
//! makes no other: [`Page::collected`] tells one from the next.
//!
//! Not here: what monitors say themselves (health, quorum, the map of OSDs), which no manager need say; and
//! counters of daemons, whose own sockets have them.

use std::collections::HashSet;

use labstat_model::Family;

use crate::ParseError;
use crate::exposition::{self, Exposition, Sample};

/// How often the module has collected, by method; it counts that for itself.
const COLLECTED: &str = "ceph_prometheus_collect_duration_seconds_count";

/// The family that has a series for each pool as soon as the manager knows of its placement groups.
const GROUPS: &str = "ceph_pg_total";

/// Starts of the names of families that the manager knows of the cluster.
const STARTS: [&str; 6] = [
    "ceph_pg_",
    "ceph_pool_",
    "ceph_num_objects_",
    "ceph_cluster_by_class_",
    "ceph_rbd_read_",
    "ceph_rbd_write_",
];

/// Names of others.
const NAMES: [&str; 7] = [
    "ceph_cluster_total_bytes",
    "ceph_cluster_total_used_bytes",
    "ceph_cluster_total_used_raw_bytes",
    "ceph_daemon_health_metrics",
    "ceph_healthcheck_slow_ops",
    "ceph_osd_apply_latency_ms",
    "ceph_osd_commit_latency_ms",
];

/// What begins like these and is told by the monitors.
const OF_MONITORS: &str = "ceph_pool_metadata";

/// Labels by which whoever takes the samples says whose they are.
const NOT_ITS_OWN: [&str; 3] = ["cluster", "instance", "job"];

/// What the page says of the cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// How often the manager had collected when it made this page; absent where it does not say. It begins
    /// anew with the manager.
    pub collected: Option<f64>,
    exposition: Exposition,
}

impl Page {
    /// The samples, each with its family.
    pub fn samples(&self) -> impl Iterator<Item = (&Family, &Sample)> {
        let told = self.exposition.samples.iter().filter(|sample| !sample.value.is_nan());
        told.filter_map(|sample| Some((self.exposition.families.get(sample.family)?, sample)))
            .filter(|(family, _)| family.name != COLLECTED)
    }

    /// Whether it has placement groups of each of these pools. A manager that was just started tells of
    /// few things, and nothing says so but this.
    pub fn tells_of(&self, pools: &[i64]) -> bool {
        let told: HashSet<&str> = self
            .samples()
            .filter(|(family, _)| family.name == GROUPS)
            .flat_map(|(_, sample)| &sample.labels)
            .filter(|(name, _)| name == "pool_id")
            .map(|(_, value)| value.as_str())
            .collect();
        pools.iter().all(|pool| told.contains(&*pool.to_string()))
    }
}

fn is_wanted(name: &str) -> bool {
    let is_of_cluster = STARTS.iter().any(|start| name.starts_with(start)) || NAMES.contains(&name);
    name == COLLECTED || (is_of_cluster && name != OF_MONITORS)
}

/// The part of a page that [`read`] reads, with each help and kind once.
pub fn kept(page: &str) -> String {
    let mut kept = String::new();
    let mut said = HashSet::new();
    for line in page.lines() {
        let mut words = line.split([' ', '{']);
        let is_kept = match words.next() {
            Some("#") => {
                let (word, name) = (words.next().unwrap_or_default(), words.next());
                name.is_some_and(|name| is_wanted(name) && said.insert((word, name)))
            }
            Some(name) => is_wanted(name),
            None => false,
        };
        if is_kept {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Reads what was [`kept`] of a page.
///
/// # Errors
/// A line that is not understood, a series that is there twice, more samples than any cluster has.
pub fn read(kept: &str) -> Result<Page, ParseError> {
    let mut exposition = exposition::parse(kept.as_bytes())?;
    exposition.samples.retain(|sample| {
        sample.labels.iter().all(|(name, _)| !NOT_ITS_OWN.contains(&name.as_str()))
    });
    let at = exposition.families.iter().position(|family| family.name == COLLECTED);
    let counts = exposition.samples.iter().filter(|sample| Some(sample.family) == at);
    let collected = counts.map(|sample| sample.value).reduce(f64::max).filter(|n| n.is_finite());
    Ok(Page { collected, exposition })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use labstat_model::Kind;

    use super::*;

    const TEXT: &str = "
# HELP ceph_health_status Cluster health status
# TYPE ceph_health_status untyped
ceph_health_status 0.0
# HELP ceph_pool_objects_repaired Number of objects repaired in a pool
# TYPE ceph_pool_objects_repaired counter
ceph_pool_objects_repaired{poolid=\"1\"} 0.0
# HELP ceph_pool_objects_repaired Number of objects repaired in a pool
# TYPE ceph_pool_objects_repaired counter
ceph_pool_objects_repaired{poolid=\"2\"} 4.0
# HELP ceph_pool_metadata POOL Metadata
ceph_pool_metadata{pool_id=\"1\"} 1.0
ceph_pg_total{pool_id=\"1\"} 8.0
ceph_pg_clean{pool_id=\"1\"} NaN
ceph_pg_active{pool_id=\"1\",instance=\"x\"} 8.0
ceph_osd_op_w{ceph_daemon=\"osd.0\"} 7.0
ceph_prometheus_collect_duration_seconds_count{method=\"get_health\"} 18.0
ceph_prometheus_collect_duration_seconds_count{method=\"get_df\"} 19.0
";

    #[test]
    fn what_is_of_the_cluster_is_read_and_the_rest_left() {
        let page = read(&kept(TEXT)).unwrap();
        let samples: Vec<_> = page
            .samples()
            .map(|(family, sample)| (&*family.name, sample.labels[0].1.as_str(), sample.value))
            .collect();
        let repaired = "ceph_pool_objects_repaired";
        assert_eq!(
            samples,
            [(repaired, "1", 0.0), (repaired, "2", 4.0), ("ceph_pg_total", "1", 8.0)]
        );
        let (family, _) = page.samples().next().unwrap();
        assert_eq!(
            (family.kind, &*family.help),
            (Kind::Counter, "Number of objects repaired in a pool")
        );
        assert_eq!(page.collected, Some(19.0));
        assert!(page.tells_of(&[1]) && page.tells_of(&[]) && !page.tells_of(&[1, 2]));
    }

    #[test]
    fn a_page_that_makes_no_sense_is_refused_and_an_empty_one_tells_of_nothing() {
        for text in
            ["ceph_pg_total", "ceph_pg_total{pool_id=\"1\"} x", "ceph_pg_total 1\nceph_pg_total 1"]
        {
            assert!(read(&kept(text)).is_err(), "{text}");
        }
        let page = read(&kept("")).unwrap();
        assert_eq!(page, Page::default());
        assert!(!page.tells_of(&[1]));
    }

    /// The module's pages of a live cluster in many states.
    #[test]
    fn pages_of_a_live_cluster() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures/ceph-live");
        let Ok(states) = fs::read_dir(dir) else {
            println!("SKIPPED: no ../shared/fixtures/ceph-live");
            return;
        };
        let mut read_count = 0;
        for state in states.flatten() {
            let path = state.path().join("mgr-prometheus-metrics.txt");
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let page = read(&kept(&text)).unwrap_or_else(|error| panic!("{path:?}: {error:?}"));
            assert!(page.samples().count() > 60, "{path:?}");
            assert!(page.collected > Some(5.0), "{path:?}");
            assert!(page.tells_of(&[1]), "{path:?}");
            read_count += 1;
        }
        assert!(read_count >= 13, "{read_count}");
    }
}
