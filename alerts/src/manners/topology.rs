//! What hangs on what: nodes, disks, arrays, filesystems, OSDs, interfaces and power supplies, and
//! which of them an alert is about.
//!
//! The graph is given ([`Topology`]) and never asked for. An alert is mapped to the most special
//! thing that its labels name; one that names none is about its `instance`. Cycles do no harm.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The most things of a graph; a lab has some hundreds.
pub const ENTITIES_MAX: usize = 20_000;

/// The most things that one hangs on, taken together.
const ABOVE_MAX: usize = 1_000;

/// The annotation by which a rule says that its alert breaks what hangs on the alert's thing, with
/// the kind of that thing as its value, or `none`.
pub const BREAKS: &str = "labstat_breaks";

/// What a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntityKind {
    /// A machine.
    Node,
    /// A disk.
    Disk,
    /// An array of disks.
    Array,
    /// A pool of disks: ZFS, LVM, btrfs, Ceph.
    Pool,
    /// A filesystem.
    Filesystem,
    /// An OSD of Ceph.
    Osd,
    /// A Ceph cluster.
    Cluster,
    /// A network interface: a port, a bond, a VLAN, a bridge.
    Interface,
    /// An uninterruptible power supply.
    Ups,
    /// A guest: a virtual machine or a container.
    Guest,
}

impl EntityKind {
    const ALL: [(&'static str, Self); 10] = [
        ("node", Self::Node),
        ("disk", Self::Disk),
        ("array", Self::Array),
        ("pool", Self::Pool),
        ("filesystem", Self::Filesystem),
        ("osd", Self::Osd),
        ("cluster", Self::Cluster),
        ("interface", Self::Interface),
        ("ups", Self::Ups),
        ("guest", Self::Guest),
    ];

    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// Alerts that say that a thing is broken, so that what hangs on it is an effect: ours, and those
/// that public rule files call so. Others say it by the annotation [`BREAKS`].
const BREAKING: [(&str, EntityKind); 33] = [
    ("NodeDown", EntityKind::Node),
    ("HostDown", EntityKind::Node),
    ("InstanceDown", EntityKind::Node),
    ("TargetDown", EntityKind::Node),
    ("TargetMissing", EntityKind::Node),
    ("PrometheusTargetMissing", EntityKind::Node),
    ("DiskDead", EntityKind::Disk),
    ("DiskAct", EntityKind::Disk),
    ("DiskSilent", EntityKind::Disk),
    ("RaidBroken", EntityKind::Array),
    ("RaidInactive", EntityKind::Array),
    ("RaidGone", EntityKind::Array),
    ("RaidDegraded", EntityKind::Array),
    ("RaidMemberFailed", EntityKind::Array),
    ("PoolGone", EntityKind::Pool),
    ("ZfsPoolFailed", EntityKind::Pool),
    ("ZfsPoolDegraded", EntityKind::Pool),
    ("ThinPoolFailed", EntityKind::Pool),
    ("BtrfsDeviceMissing", EntityKind::Pool),
    ("CephOsdDown", EntityKind::Osd),
    ("CephOSDDown", EntityKind::Osd),
    ("CephOsdGone", EntityKind::Osd),
    ("CephOsdDiskFailing", EntityKind::Osd),
    ("CephNoQuorum", EntityKind::Cluster),
    ("CephDataUnavailable", EntityKind::Cluster),
    ("InterfaceGone", EntityKind::Interface),
    ("InterfaceDown", EntityKind::Interface),
    ("BondDown", EntityKind::Interface),
    ("LinkDown", EntityKind::Interface),
    ("UpsOnBattery", EntityKind::Ups),
    ("UpsBatteryLow", EntityKind::Ups),
    ("UPSOnBattery", EntityKind::Ups),
    ("UPSBatteryLow", EntityKind::Ups),
];

/// Those of [`BREAKING`] after which nothing is left of what the thing carries. The others leave it working: a
/// filesystem on an array that lacks a member has another reason to fail.
const ENDING: [&str; 12] = [
    "NodeDown",
    "HostDown",
    "InstanceDown",
    "TargetDown",
    "TargetMissing",
    "PrometheusTargetMissing",
    "RaidBroken",
    "RaidInactive",
    "RaidGone",
    "PoolGone",
    "ZfsPoolFailed",
    "ThinPoolFailed",
];

/// Alerts that say that something is full or will be. Nothing that is broken below brings that about:
/// of what its thing hangs on, only nodes count. Ours, and those of node_exporter's mixin.
const FILLING: [&str; 11] = [
    "FilesystemAlmostFull",
    "FilesystemFillsUp",
    "FilesystemFullInDays",
    "FilesystemFullSoon",
    "FilesystemOutOfInodes",
    "NodeFilesystemAlmostOutOfFiles",
    "NodeFilesystemAlmostOutOfSpace",
    "NodeFilesystemFilesFillingUp",
    "NodeFilesystemSpaceFillingUp",
    "ThinPoolAlmostFull",
    "ThinPoolFillsUp",
];

/// One thing, how alerts name it, and what it hangs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// Its name in the graph; of a node, [`Entity::node_id`].
    pub id: String,
    /// What it is.
    pub kind: EntityKind,
    /// Sets of labels, each of which names it: a disk is `{disk="…"}` and also
    /// `{instance="nas", device="sda"}`.
    pub names: Vec<BTreeMap<String, String>>,
    /// Ids of what it hangs on. Those that are not in the graph are left out, but for nodes.
    pub hangs_on: Vec<String>,
}

impl Entity {
    /// A thing with one name.
    pub fn new(id: impl Into<String>, kind: EntityKind, name: &[(&str, &str)]) -> Self {
        Self { id: id.into(), kind, names: Vec::new(), hangs_on: Vec::new() }.named(name)
    }

    /// The node of an `instance`.
    pub fn node(instance: &str) -> Self {
        Self::new(Self::node_id(instance), EntityKind::Node, &[("instance", instance)])
    }

    /// The id of a node.
    pub fn node_id(instance: &str) -> String {
        format!("node/{instance}")
    }

    /// One more name.
    #[must_use]
    pub fn named(mut self, name: &[(&str, &str)]) -> Self {
        let owned = |(label, value): &(&str, &str)| ((*label).to_owned(), (*value).to_owned());
        self.names.push(name.iter().map(owned).collect());
        self
    }

    /// One more thing that it hangs on.
    #[must_use]
    pub fn on(mut self, id: impl Into<String>) -> Self {
        self.hangs_on.push(id.into());
        self
    }
}

/// What hangs on what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// All things.
    pub entities: Vec<Entity>,
}

/// Where an alert belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) id: String,
    pub(super) kind: EntityKind,
    /// Ids of all that it hangs on, however far away.
    pub(super) above: BTreeSet<String>,
    /// The nodes that it stands on directly (itself, when it is one), each with the nodes that this
    /// one hangs on in turn, as a virtual machine does.
    pub(super) nodes: Vec<Vec<String>>,
}

impl Place {
    fn of_node(instance: &str) -> Self {
        let id = Entity::node_id(instance);
        Self { nodes: vec![vec![id.clone()]], id, kind: EntityKind::Node, above: BTreeSet::new() }
    }

    /// The same place, for what nothing but its nodes can bring about.
    fn on_nodes_only(&self) -> Self {
        let above = self.nodes.iter().flatten().filter(|node| **node != self.id).cloned().collect();
        Self { id: self.id.clone(), kind: self.kind, above, nodes: self.nodes.clone() }
    }

    /// Whether this hangs on `other`, or is it.
    pub(super) fn is_at_or_below(&self, other: &Self) -> bool {
        self.id == other.id || self.above.contains(&other.id)
    }
}

/// A [`Topology`] made ready to be asked.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// By the names of labels, those with most labels first: values to places.
    shapes: Vec<(Vec<String>, Places)>,
}

/// Values of some labels to places.
type Places = HashMap<Vec<String>, Arc<Place>>;

impl Graph {
    pub(super) fn new(topology: &Topology) -> Self {
        let entities = topology.entities.get(..ENTITIES_MAX).unwrap_or(&topology.entities);
        let by_id: ById<'_> = entities.iter().map(|entity| (entity.id.as_str(), entity)).collect();
        let mut shapes: BTreeMap<Vec<String>, Places> = BTreeMap::new();
        for entity in entities {
            let place = Arc::new(place(entity, &by_id));
            for name in entity.names.iter().filter(|name| !name.is_empty()) {
                let (labels, values): (Vec<_>, Vec<_>) =
                    name.iter().map(|(label, value)| (label.clone(), value.clone())).unzip();
                shapes.entry(labels).or_default().entry(values).or_insert_with(|| place.clone());
            }
        }
        let mut shapes: Vec<_> = shapes.into_iter().collect();
        shapes.sort_by_key(|(labels, _)| std::cmp::Reverse(labels.len()));
        Self { shapes }
    }

    /// Where an alert with these labels belongs.
    pub(super) fn locate(&self, labels: &BTreeMap<String, String>) -> Option<Arc<Place>> {
        let mut values = Vec::new();
        // A node is the least special of all, whatever it is named by.
        let mut node = None;
        for (names, places) in &self.shapes {
            values.clear();
            values.extend(names.iter().filter_map(|name| labels.get(name).cloned()));
            if values.len() == names.len()
                && let Some(place) = places.get(&values)
            {
                if place.kind != EntityKind::Node {
                    let name = labels.get("alertname").map_or("", String::as_str);
                    let fills = FILLING.contains(&name);
                    return Some(if fills {
                        Arc::new(place.on_nodes_only())
                    } else {
                        place.clone()
                    });
                }
                node.get_or_insert(place);
            }
        }
        if let Some(place) = node {
            return Some(place.clone());
        }
        let instance = labels.get("instance").filter(|instance| !instance.is_empty())?;
        Some(Arc::new(Place::of_node(instance)))
    }
}

type ById<'a> = HashMap<&'a str, &'a Entity>;

fn place(entity: &Entity, by_id: &ById<'_>) -> Place {
    let chain = |node: String| -> Vec<String> {
        let above = by_id.get(node.as_str()).map(|node| above(node, by_id, |_| true));
        let above = above.unwrap_or_default().into_iter().filter(|id| is_node(id, by_id));
        std::iter::once(node).chain(above).collect()
    };
    let nearest = if entity.kind == EntityKind::Node {
        vec![entity.id.clone()]
    } else {
        let found = above(entity, by_id, |id| !is_node(id, by_id));
        found.into_iter().filter(|id| is_node(id, by_id)).collect()
    };
    Place {
        id: entity.id.clone(),
        kind: entity.kind,
        above: above(entity, by_id, |_| true),
        nodes: nearest.into_iter().map(chain).collect(),
    }
}

/// Whether an id is a node's; a node need not be in the graph to be hung on.
fn is_node(id: &str, by_id: &ById<'_>) -> bool {
    by_id.get(id).map_or_else(|| id.starts_with("node/"), |entity| entity.kind == EntityKind::Node)
}

/// What a thing hangs on, however far away; beyond what `passes` refuses nothing is looked for.
fn above(entity: &Entity, by_id: &ById<'_>, passes: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![entity];
    while let Some(next) = open.pop() {
        for id in &next.hangs_on {
            if *id == entity.id || found.len() >= ABOVE_MAX || found.contains(id) {
                continue;
            }
            match by_id.get(id.as_str()) {
                Some(entity) if passes(id) => open.push(entity),
                Some(_) => {}
                None if is_node(id, by_id) => {}
                None => continue,
            }
            found.insert(id.clone());
        }
    }
    found
}

/// Whether an alert says that the thing at its place is broken.
pub(super) fn breaks(
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
    place: &Place,
) -> bool {
    if let Some(kind) = annotations.get(BREAKS) {
        return kind.trim() == place.kind.as_str();
    }
    let name = labels.get("alertname").map_or("", String::as_str);
    BREAKING.contains(&(name, place.kind))
}

/// Whether one that [`breaks`] a thing explains what befalls one of this kind that hangs on it. Redundancy is
/// there so that filesystems go on: only what ends them does.
pub(super) fn explains(
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
    kind: EntityKind,
) -> bool {
    let name = labels.get("alertname").map_or("", String::as_str);
    kind != EntityKind::Filesystem || annotations.contains_key(BREAKS) || ENDING.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn an_alert_is_about_the_most_special_thing_it_names() {
        let disk = [("instance", "nas"), ("device", "sda")];
        let graph = Graph::new(&Topology {
            entities: vec![
                Entity::node("nas").on("ups/1"),
                Entity::new("ups/1", EntityKind::Ups, &[("ups", "eaton")]),
                Entity::new("disk/X", EntityKind::Disk, &[("disk", "X")])
                    .named(&disk)
                    .on("node/nas"),
                Entity::new(
                    "array/md0",
                    EntityKind::Array,
                    &[("instance", "nas"), ("device", "md0")],
                )
                .on("disk/X")
                .on("disk/unknown"),
            ],
        });
        let at = |text: &str| graph.locate(&labels(text)).map(|place| place.id.clone());
        assert_eq!(at("instance=nas device=sda x=y").as_deref(), Some("disk/X"));
        assert_eq!(at("disk=X instance=elsewhere").as_deref(), Some("disk/X"));
        assert_eq!(at("instance=nas device=sdb").as_deref(), Some("node/nas"));
        assert_eq!(at("instance=other device=md0").as_deref(), Some("node/other"));
        assert_eq!(at("cluster=a"), None);
        let array = graph.locate(&labels("instance=nas device=md0")).unwrap();
        let above: Vec<&str> = array.above.iter().map(String::as_str).collect();
        assert_eq!(above, ["disk/X", "node/nas", "ups/1"]);
        assert_eq!(array.nodes, [["node/nas"]]);
    }

    /// A mirror that has lost a disk does not fill what stands on it.
    #[test]
    fn what_is_full_hangs_on_nodes_only() {
        let root = [("instance", "nas"), ("mountpoint", "/")];
        let graph = Graph::new(&Topology {
            entities: vec![
                Entity::node("nas").on("node/pve"),
                Entity::new("array/md0", EntityKind::Array, &[("device", "md0")]).on("node/nas"),
                Entity::new("filesystem/nas//", EntityKind::Filesystem, &root)
                    .on("array/md0")
                    .on("node/nas"),
            ],
        });
        let above = |name: &str| {
            let text = format!("alertname={name} instance=nas mountpoint=/");
            let place = graph.locate(&labels(&text)).unwrap();
            assert_eq!((&*place.id, place.kind), ("filesystem/nas//", EntityKind::Filesystem));
            place.above.iter().cloned().collect::<Vec<_>>()
        };
        assert_eq!(above("FilesystemTurnedReadOnly"), ["array/md0", "node/nas", "node/pve"]);
        assert_eq!(above("FilesystemAlmostFull"), ["node/nas", "node/pve"]);
    }

    #[test]
    fn a_cycle_ends() {
        let graph = Graph::new(&Topology {
            entities: vec![
                Entity::new("a", EntityKind::Pool, &[("pool", "a")]).on("b").on("a"),
                Entity::new("b", EntityKind::Pool, &[("pool", "b")]).on("a"),
            ],
        });
        let a = graph.locate(&labels("pool=a")).unwrap();
        assert_eq!(a.above.iter().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn only_what_is_about_the_thing_itself_breaks_it() {
        let none = BTreeMap::new();
        let node = Place::of_node("nas");
        assert!(breaks(&labels("alertname=NodeDown"), &none, &node));
        assert!(!breaks(&labels("alertname=DiskDead"), &none, &node), "a disk nobody knows");
        assert!(!breaks(&labels("alertname=RebootRequired"), &none, &node));
        assert!(breaks(&labels("alertname=Own"), &labels("labstat_breaks=node"), &node));
        assert!(!breaks(&labels("alertname=NodeDown"), &labels("labstat_breaks=none"), &node));
    }
}
