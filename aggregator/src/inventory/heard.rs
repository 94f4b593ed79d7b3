//! What the newest samples say of things: which there are, who is read, and which collectors fail.
//!
//! Not here: what becomes of it, which [`super::Inventory`] decides.

use std::collections::BTreeMap;

use labstat_model::{METRIC_NAME, MatchOp, Matcher, MatcherError, Series, is_stale};

use super::thing::{Kind, Name};

/// The series that tell what there is, who can be believed, and what fails.
const FAMILIES: [&str; 9] = [
    "ceph_osd_up",
    "labstat_ceph_reading_success",
    "labstat_lvm_thin_pool_state",
    "labstat_network_kind_info",
    "labstat_ups_up",
    "node_btrfs_info",
    "node_md_state",
    "node_scrape_collector_success",
    "node_zfs_zpool_state",
];

/// Whether an interface was ever up.
const UP: &str = "node_network_up";

/// Interfaces that do not come and go with guests.
const KINDS: [&str; 3] = ["physical", "bond", "vlan"];

/// Which samples one look wants.
pub(crate) fn matchers() -> Result<Matcher, MatcherError> {
    let all: Vec<&str> = FAMILIES.iter().copied().chain([UP]).collect();
    Matcher::new(METRIC_NAME, MatchOp::Regex, all.join("|"))
}

/// What one look says of one thing.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) at_ms: i64,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) in_use: bool,
}

/// What the newest samples say.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) things: BTreeMap<Name, Seen>,
    /// Clusters that are read, and when they last were.
    pub(super) clusters: BTreeMap<String, i64>,
    /// Collectors that fail, by node.
    pub(super) failing: Vec<(String, String)>,
}

impl Heard {
    pub(super) fn of(newest: &[Series]) -> Self {
        let mut heard = Self::default();
        let mut up: Vec<(&str, &str)> = Vec::new();
        for series in newest {
            let label = |name| series.labels.get(name).unwrap_or_default();
            let Some(sample) = series.samples().last().filter(|it| !is_stale(it.value)) else {
                continue;
            };
            let (instance, is_set) = (label("instance"), sample.value != 0.0);
            match series.labels.metric_name() {
                UP if is_set => up.push((instance, label("device"))),
                "labstat_ceph_reading_success" if is_set && label("source") == "mon" => {
                    let newest_ms = heard.clusters.entry(instance.to_owned()).or_insert(i64::MIN);
                    *newest_ms = sample.time_ms.max(*newest_ms);
                }
                "node_scrape_collector_success" if !is_set => {
                    heard.failing.push((instance.to_owned(), label("collector").to_owned()));
                }
                metric => {
                    if let Some((kind, name, labels)) = thing(metric, &label, is_set) {
                        heard.add(kind, instance, name, labels, sample.time_ms);
                    }
                }
            }
        }
        for (name, seen) in &mut heard.things {
            let is_up = || up.contains(&(name.instance.as_str(), name.name.as_str()));
            seen.in_use = name.kind != Kind::Interface || is_up();
        }
        heard
    }

    fn add(
        &mut self,
        kind: Kind,
        instance: &str,
        name: String,
        labels: BTreeMap<String, String>,
        at_ms: i64,
    ) {
        if instance.is_empty() || name.is_empty() {
            return;
        }
        let name = Name { kind, instance: instance.to_owned(), name };
        let seen = self.things.entry(name).or_insert(Seen { at_ms, labels, in_use: false });
        seen.at_ms = seen.at_ms.max(at_ms);
    }
}

/// The thing that a series is about.
fn thing<'a>(
    metric: &str,
    label: &dyn Fn(&'static str) -> &'a str,
    is_set: bool,
) -> Option<(Kind, String, BTreeMap<String, String>)> {
    let labels = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let pool = |kind, name: String| Some((kind, name.clone(), labels(&[("pool", &name)])));
    match metric {
        "node_md_state" if is_set => {
            let device = label("device");
            Some((Kind::Array, device.to_owned(), labels(&[("device", device)])))
        }
        "labstat_network_kind_info" if KINDS.contains(&label("kind")) => {
            let device = label("device");
            Some((Kind::Interface, device.to_owned(), labels(&[("device", device)])))
        }
        "ceph_osd_up" => {
            let (cluster, daemon) = (label("cluster"), label("ceph_daemon"));
            let labels = labels(&[("cluster", cluster), ("ceph_daemon", daemon)]);
            Some((Kind::Osd, daemon.to_owned(), labels))
        }
        "labstat_ups_up" => {
            let (server, ups) = (label("server"), label("ups"));
            Some((
                Kind::Ups,
                format!("{ups}@{server}"),
                labels(&[("server", server), ("ups", ups)]),
            ))
        }
        "node_zfs_zpool_state" if is_set => pool(Kind::Zpool, label("zpool").to_owned()),
        "node_btrfs_info" => {
            let name = [label("label"), label("uuid")].into_iter().find(|name| !name.is_empty());
            pool(Kind::Btrfs, name.unwrap_or_default().to_owned())
        }
        "labstat_lvm_thin_pool_state" if is_set => {
            pool(Kind::ThinPool, format!("{}/{}", label("vg"), label("pool")))
        }
        _ => None,
    }
}
