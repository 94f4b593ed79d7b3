//! What the lab is made of: what a thing is, what it is called, and which labels its alerts have.
//!
//! Not here: when one is expected and when it is missing, which [`super::Inventory`] decides.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Such absences after which it is not expected any more.
const AWAYS_MAX: u32 = 2;

/// What something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Array,
    Interface,
    Osd,
    Ups,
    Zpool,
    Btrfs,
    ThinPool,
}

impl Kind {
    /// Its name in labels, paths and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Interface => "interface",
            Self::Osd => "osd",
            Self::Ups => "ups",
            Self::Zpool => "zpool",
            Self::Btrfs => "btrfs",
            Self::ThinPool => "thin_pool",
        }
    }

    /// The collectors that tell of it; when one of them fails, nothing is known of its absence.
    pub(super) fn collectors(self) -> &'static [&'static str] {
        match self {
            Self::Array => &["mdadm"],
            Self::Interface => &["links", "netclass"],
            Self::Osd => &[],
            Self::Ups => &["nut"],
            Self::Zpool => &["zfs", "zpool"],
            Self::Btrfs => &["btrfs"],
            Self::ThinPool => &["lvm"],
        }
    }
}

/// What something is called: its kind, who tells of it, and its name there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Name {
    pub(crate) kind: Kind,
    pub(crate) instance: String,
    pub(crate) name: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.name(), self.instance, self.name)
    }
}

/// What is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Thing {
    #[serde(flatten)]
    pub(crate) name: Name,
    /// The labels of its alert, beside `instance` and `kind`.
    pub(super) labels: BTreeMap<String, String>,
    pub(crate) first_seen_ms: i64,
    pub(crate) seen_ms: i64,
    /// Whether it was there for long enough, and in use.
    pub(crate) expected: bool,
    /// How often it was away for long and came back.
    pub(crate) aways: u32,
    /// Since when it has been missing.
    pub(crate) missing_ms: Option<i64>,
}

impl Thing {
    /// Whether it is carried in and out.
    pub(crate) fn comes_and_goes(&self) -> bool {
        self.aways >= AWAYS_MAX
    }

    /// Sets of labels, of which each alert about it has all of one: each exporter has its own name for what
    /// a thing is called.
    pub(crate) fn labels_of_alerts(&self) -> Vec<BTreeMap<String, String>> {
        let name = self.name.name.as_str();
        let gone = self.figure_labels().into_iter().map(|(name, value)| (name.to_owned(), value));
        let mut gone: BTreeMap<String, String> = gone.collect();
        let mut sets: Vec<Vec<(&str, &str)>> = Vec::new();
        match self.name.kind {
            Kind::Array | Kind::Osd | Kind::Ups => {}
            Kind::Interface => sets.push(vec![("master", name)]),
            Kind::Zpool => sets.push(vec![("zpool", name)]),
            Kind::Btrfs => sets.extend([vec![("label", name)], vec![("uuid", name)]]),
            Kind::ThinPool => {
                sets.extend(
                    name.split_once('/').map(|(vg, pool)| vec![("vg", vg), ("pool", pool)]),
                );
            }
        }
        // A pool may be called as one of another kind is. Alerts about other things do not say what kind they are.
        if !matches!(self.name.kind, Kind::Zpool | Kind::Btrfs | Kind::ThinPool) {
            gone.remove("kind");
        }
        let set = |pairs: Vec<(&str, &str)>| {
            let instance = ("instance", self.name.instance.as_str());
            let pairs = pairs.into_iter().chain([instance]);
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        [gone].into_iter().chain(sets.into_iter().map(set)).collect()
    }

    pub(super) fn figure_labels(&self) -> Vec<(&'static str, String)> {
        let of = |name: &str| self.labels.get(name).cloned().unwrap_or_default();
        let mut labels = vec![
            ("kind", self.name.kind.name().to_owned()),
            ("instance", self.name.instance.clone()),
        ];
        let names: &[&'static str] = match self.name.kind {
            Kind::Array | Kind::Interface => &["device"],
            Kind::Osd => &["cluster", "ceph_daemon"],
            Kind::Ups => &["server", "ups"],
            Kind::Zpool | Kind::Btrfs | Kind::ThinPool => &["pool"],
        };
        let named = names.iter().map(|name| (*name, of(name)));
        labels.extend(named.filter(|(_, value)| !value.is_empty()));
        labels
    }
}
