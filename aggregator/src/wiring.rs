//! What hangs on what in the lab, out of the series that agents send: which disk is in which array
//! and under which OSD, which filesystem is on which array or pool, which bond has which legs, which node is fed by which UPS, and which node is
//! a guest of another. Alerts that have one cause are told together by it.
//!
//! What was said within the last hours counts, and not only what is said now: a disk that dies takes
//! the series with it that say what stood on it, at the very moment at which it matters.
//!
//! - Reads: the series of [`NAMES`], the newest sample of each.
//! - Not here: what follows from it for alerts, which is `labstat-alerts`'.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use labstat_alerts::manners::{Entity, EntityKind, Topology};
use labstat_model::{Labels, METRIC_NAME, MatchOp, Matcher, Series};
use labstat_store::NEVER;

use crate::storage::{SharedStorage, StorageError};

/// How long a series counts after its last sample.
const KEPT_MS: i64 = 6 * 3_600_000;

/// How far samples may be ahead of our clock.
const AHEAD_MS: i64 = 60_000;

/// The series that say what hangs on what.
const NAMES: [&str; 14] = [
    "labstat_ceph_osd_info",
    "labstat_disk_use_info",
    "labstat_disk_verdict",
    "labstat_guest_info",
    "labstat_md_info",
    "labstat_md_member_info",
    "labstat_network_bond_member_info",
    "labstat_network_bridge_port_info",
    "labstat_network_kind_info",
    "labstat_network_vlan_info",
    "labstat_ups_info",
    "labstat_zfs_vdev_info",
    "node_filesystem_size_bytes",
    "node_uname_info",
];

/// Guests that can be nodes: machines and containers with a system of their own. A container of an
/// application may be called anything.
const MACHINES: [&str; 3] = ["lxc", "nspawn", "qemu"];

/// What hangs on what, as far as it was said within the last hours. Blocks.
pub(crate) fn look(storage: &SharedStorage, now_ms: i64) -> Result<Topology, StorageError> {
    // The names have no letter that means something in a pattern.
    let Ok(names) = Matcher::new(METRIC_NAME, MatchOp::Regex, NAMES.join("|")) else {
        return Ok(Topology::default());
    };
    let (from_ms, to_ms) = (now_ms.saturating_sub(KEPT_MS), now_ms.saturating_add(AHEAD_MS));
    let series = storage.newest(&[names], from_ms, to_ms, NEVER)?;
    Ok(topology(series))
}

/// The graph of what `series` say; of two that contradict each other the newer counts.
fn topology(mut series: Vec<Series>) -> Topology {
    series.sort_by_key(|series| std::cmp::Reverse(series.times.last().copied()));
    let said = Said { series: &series };
    let hosts = said.hosts();
    let mut graph = Graph::default();
    let disks = Disks::read(&said, &mut graph);
    arrays(&said, &disks, &mut graph);
    pools(&said, &disks, &mut graph);
    filesystems(&said, &disks, &mut graph);
    osds(&said, &disks, &hosts, &mut graph);
    interfaces(&said, &mut graph);
    supplies(&said, &hosts, &mut graph);
    guests(&said, &hosts, &mut graph);
    graph.finish()
}

/// What was said, the newest first.
struct Said<'a> {
    series: &'a [Series],
}

impl<'a> Said<'a> {
    fn all(&self, name: &'a str) -> impl Iterator<Item = &'a Labels> {
        let series = self.series.iter();
        series.map(|series| &series.labels).filter(move |labels| labels.metric_name() == name)
    }

    /// The node of each host name.
    fn hosts(&self) -> HashMap<&'a str, &'a str> {
        let mut hosts = HashMap::new();
        for labels in self.all("node_uname_info") {
            if let Some([instance, name]) = of(labels, ["instance", "nodename"]) {
                hosts.entry(instance).or_insert(instance);
                hosts.entry(name).or_insert(instance);
            }
        }
        hosts
    }
}

/// These labels, when there is something in each.
fn of<'a, const N: usize>(labels: &'a Labels, names: [&str; N]) -> Option<[&'a str; N]> {
    let mut values = [""; N];
    for (value, name) in values.iter_mut().zip(names) {
        *value = labels.get(name).filter(|value| !value.is_empty())?;
    }
    Some(values)
}

/// The things so far, in the order in which they were first met.
#[derive(Default)]
struct Graph {
    entities: Vec<Entity>,
    places: HashMap<String, usize>,
}

impl Graph {
    /// The thing `id`, which is made by the first who asks for it.
    fn entity(&mut self, id: &str, kind: EntityKind) -> Option<&mut Entity> {
        let at = match self.places.get(id) {
            Some(at) => *at,
            None => {
                let entity =
                    Entity { id: id.to_owned(), kind, names: Vec::new(), hangs_on: Vec::new() };
                self.entities.push(entity);
                self.places.insert(id.to_owned(), self.entities.len() - 1);
                self.entities.len() - 1
            }
        };
        self.entities.get_mut(at)
    }

    fn node(&mut self, instance: &str) -> Option<&mut Entity> {
        let name = [("instance", instance)];
        self.named(&Entity::node_id(instance), EntityKind::Node, &name)
    }

    /// The thing `id`, with one more name.
    fn named(&mut self, id: &str, kind: EntityKind, name: &[(&str, &str)]) -> Option<&mut Entity> {
        let entity = self.entity(id, kind)?;
        let name: BTreeMap<String, String> =
            name.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        if !entity.names.contains(&name) {
            entity.names.push(name);
        }
        Some(entity)
    }

    /// `id` hangs on `other`.
    fn hang(&mut self, id: &str, other: String) {
        let at = self.places.get(id).and_then(|at| self.entities.get_mut(*at));
        if let Some(entity) =
            at.filter(|entity| entity.id != other && !entity.hangs_on.contains(&other))
        {
            entity.hangs_on.push(other);
        }
    }

    fn finish(self) -> Topology {
        Topology { entities: self.entities }
    }
}

/// The disks, by the names that other series call them by.
struct Disks<'a> {
    by_serial: HashMap<&'a str, String>,
    by_place: HashMap<(&'a str, &'a str), String>,
    /// What stands on them: kind, node, name of it, disk, its serial number, the part of it.
    uses: Vec<[&'a str; 6]>,
}

impl<'a> Disks<'a> {
    fn read(said: &Said<'a>, graph: &mut Graph) -> Self {
        let (mut by_serial, mut by_place) = (HashMap::new(), HashMap::new());
        for labels in said.all("labstat_disk_verdict") {
            let Some([instance, device, disk]) = of(labels, ["instance", "device", "disk"]) else {
                continue;
            };
            let model = labels.get("model_name").unwrap_or("");
            let id = format!("disk/{disk}/{model}");
            by_place.entry((instance, device)).or_insert_with(|| id.clone());
            if let Some(serial) = labels.get("serial_number") {
                by_serial.entry(serial).or_insert_with(|| id.clone());
            }
            // Where it was before it was moved does not count any more.
            if graph.places.contains_key(&id) {
                continue;
            }
            graph.node(instance);
            graph.named(&id, EntityKind::Disk, &[("disk", disk), ("model_name", model)]);
            graph.named(&id, EntityKind::Disk, &[("instance", instance), ("device", device)]);
            graph.named(&id, EntityKind::Disk, &[("disk", disk)]);
            graph.hang(&id, Entity::node_id(instance));
        }
        let used = |labels: &'a Labels| {
            let [instance, device, kind, name] =
                of(labels, ["instance", "device", "kind", "name"])?;
            let other = |name| labels.get(name).unwrap_or("");
            Some([kind, instance, name, device, other("serial_number"), other("part")])
        };
        let uses = said.all("labstat_disk_use_info").filter_map(used).collect();
        Self { by_serial, by_place, uses }
    }

    /// The disk of a serial number, else the one at a place.
    fn find(&self, instance: &'a str, device: &'a str, serial: &'a str) -> Option<String> {
        let serial = Some(serial).filter(|serial| !serial.is_empty());
        let known = serial.and_then(|serial| self.by_serial.get(serial));
        known.or_else(|| self.by_place.get(&(instance, device))).cloned()
    }

    /// What of `kind` stands on disks: node, name, disk.
    fn under(
        &self,
        kind: &'static str,
    ) -> impl Iterator<Item = (&'a str, &'a str, Option<String>)> {
        let of_kind = self.uses.iter().filter(move |[found, ..]| *found == kind);
        of_kind.map(|[_, instance, name, device, serial, _]| {
            (*instance, *name, self.find(instance, device, serial))
        })
    }

    /// The btrfs of which a partition or a whole disk is a member.
    fn btrfs(&self, instance: &str, part: &str) -> Option<&'a str> {
        let mut members = self.uses.iter();
        let is_it = |[kind, node, _, _, _, of]: &&[&str; 6]| {
            (*kind, *node, *of) == ("btrfs", instance, part)
        };
        members.find(is_it).map(|[_, _, name, ..]| *name)
    }
}

fn arrays(said: &Said<'_>, disks: &Disks<'_>, graph: &mut Graph) {
    let mut array = |instance: &str, device: &str, disk: Option<String>| {
        let id = format!("array/{instance}/{device}");
        graph.named(&id, EntityKind::Array, &[("instance", instance), ("device", device)]);
        graph.hang(&id, Entity::node_id(instance));
        if let Some(disk) = disk {
            graph.hang(&id, disk);
        }
    };
    for labels in said.all("labstat_md_info") {
        if let Some([instance, device]) = of(labels, ["instance", "device"]) {
            array(instance, device, None);
        }
    }
    for (instance, name, disk) in disks.under("md") {
        array(instance, name, disk);
    }
    // A member that is a whole disk is called as the disk is.
    for labels in said.all("labstat_md_member_info") {
        if let Some([instance, device, member]) = of(labels, ["instance", "device", "member"]) {
            array(instance, device, disks.find(instance, member, ""));
        }
    }
}

fn pools(said: &Said<'_>, disks: &Disks<'_>, graph: &mut Graph) {
    const KINDS: [(&str, &[&str]); 3] =
        [("lvm_pv", &["vg"]), ("zfs", &["zpool"]), ("btrfs", &["uuid", "label"])];
    let mut pool =
        |kind: &str, names: &[&str], instance: &str, name: &str, disk: Option<String>| {
            let id = format!("{kind}/{instance}/{name}");
            for label in names {
                graph.named(&id, EntityKind::Pool, &[("instance", instance), (label, name)]);
            }
            graph.hang(&id, Entity::node_id(instance));
            if let Some(disk) = disk {
                graph.hang(&id, disk);
            }
        };
    for (kind, names) in KINDS {
        for (instance, name, disk) in disks.under(kind) {
            pool(kind, names, instance, name, disk);
        }
    }
    for labels in said.all("labstat_zfs_vdev_info") {
        if let Some([instance, name]) = of(labels, ["instance", "zpool"]) {
            pool("zfs", &["zpool"], instance, name, None);
        }
    }
}

/// Filesystems on devices of their node. What is mounted from elsewhere, and what is in memory, hangs on
/// the node alone, as all that has no place of its own.
fn filesystems(said: &Said<'_>, disks: &Disks<'_>, graph: &mut Graph) {
    for labels in said.all("node_filesystem_size_bytes") {
        let Some([instance, device, mountpoint]) = of(labels, ["instance", "device", "mountpoint"])
        else {
            continue;
        };
        let fstype = labels.get("fstype").unwrap_or("");
        if !device.starts_with("/dev/") && fstype != "zfs" {
            continue;
        }
        let id = format!("filesystem/{instance}/{mountpoint}");
        // What was mounted there before does not count any more.
        if graph.places.contains_key(&id) {
            continue;
        }
        let carrier = carrier(instance, device, fstype, disks, graph);
        let name = [("instance", instance), ("mountpoint", mountpoint)];
        graph.named(&id, EntityKind::Filesystem, &name);
        graph.hang(&id, Entity::node_id(instance));
        if let Some(carrier) = carrier {
            graph.hang(&id, carrier);
            continue;
        }
        let mounts = disks.under("mount");
        let here = mounts.filter(|(node, at, _)| (*node, *at) == (instance, mountpoint));
        here.filter_map(|(.., disk)| disk).for_each(|disk| graph.hang(&id, disk));
    }
}

/// The array or the pool that a filesystem is on, where it is one that is known.
fn carrier(
    instance: &str,
    device: &str,
    fstype: &str,
    disks: &Disks<'_>,
    graph: &Graph,
) -> Option<String> {
    let name = device.strip_prefix("/dev/").unwrap_or(device);
    let id = match (fstype, name.strip_prefix("mapper/")) {
        ("zfs", _) => format!("zfs/{instance}/{}", name.split('/').next()?),
        ("btrfs", _) => format!("btrfs/{instance}/{}", disks.btrfs(instance, name)?),
        (_, Some(volume)) => format!("lvm_pv/{instance}/{}", volume_group(volume)?),
        (_, None) => {
            let array = name.strip_prefix("md/").unwrap_or(name);
            // A partition of an array is called md0p1.
            let whole = array.trim_end_matches(|letter: char| letter.is_ascii_digit());
            let whole = whole.strip_suffix('p').unwrap_or(array);
            let known = |name: &str| graph.places.contains_key(&format!("array/{instance}/{name}"));
            format!("array/{instance}/{}", if known(array) { array } else { whole })
        }
    };
    graph.places.contains_key(&id).then_some(id)
}

/// The group of a volume by its name in `/dev/mapper`, GROUP-VOLUME, where a hyphen in either is two.
fn volume_group(volume: &str) -> Option<String> {
    let mut letters = volume.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        if letter == '-' && letters.next_if(|(_, next)| *next == '-').is_none() {
            return volume.get(..at).map(|group| group.replace("--", "-"));
        }
    }
    None
}

fn osds(said: &Said<'_>, disks: &Disks<'_>, hosts: &HashMap<&str, &str>, graph: &mut Graph) {
    for labels in said.all("labstat_ceph_osd_info") {
        let Some([reader, daemon]) = of(labels, ["instance", "ceph_daemon"]) else { continue };
        let cluster = labels.get("cluster").filter(|cluster| !cluster.is_empty());
        let id = format!("osd/{}/{daemon}", cluster.unwrap_or(reader));
        graph.named(&id, EntityKind::Osd, &[("instance", reader), ("ceph_daemon", daemon)]);
        if let Some(cluster) = cluster {
            graph.named(&id, EntityKind::Osd, &[("cluster", cluster), ("ceph_daemon", daemon)]);
            // What is wrong with a cluster as a whole follows from its parts.
            let whole = format!("cluster/{cluster}");
            graph.named(&whole, EntityKind::Cluster, &[("cluster", cluster)]);
            graph.hang(&whole, id.clone());
        }
        let host = labels.get("hostname").and_then(|host| hosts.get(host)).copied();
        if let Some(host) = host {
            graph.named(&id, EntityKind::Osd, &[("instance", host), ("ceph_daemon", daemon)]);
            graph.hang(&id, Entity::node_id(host));
        }
        // Other clusters have an osd.3 too, on other hosts.
        let stands = disks.under("ceph_osd").filter(|(instance, name, _)| {
            *name == daemon && host.is_none_or(|host| host == *instance)
        });
        let under: BTreeSet<String> = stands.filter_map(|(_, _, disk)| disk).collect();
        if host.is_some() || under.len() == 1 {
            under.into_iter().for_each(|disk| graph.hang(&id, disk));
        }
    }
}

fn interfaces(said: &Said<'_>, graph: &mut Graph) {
    for labels in said.all("labstat_network_kind_info") {
        if let Some([instance, device]) = of(labels, ["instance", "device"]) {
            interface(graph, instance, device);
        }
    }
    for (name, upper, lower) in [
        ("labstat_network_bond_member_info", "master", "device"),
        ("labstat_network_vlan_info", "device", "parent"),
        ("labstat_network_bridge_port_info", "bridge", "device"),
    ] {
        for labels in said.all(name) {
            let Some([instance, above, below]) = of(labels, ["instance", upper, lower]) else {
                continue;
            };
            let (above_id, below_id) =
                (interface(graph, instance, above), interface(graph, instance, below));
            if upper == "master" {
                // Alerts about a bond call it so.
                let name = [("instance", instance), ("master", above)];
                graph.named(&above_id, EntityKind::Interface, &name);
            }
            graph.hang(&above_id, below_id);
        }
    }
}

fn interface(graph: &mut Graph, instance: &str, device: &str) -> String {
    let id = format!("interface/{instance}/{device}");
    graph.named(&id, EntityKind::Interface, &[("instance", instance), ("device", device)]);
    graph.hang(&id, Entity::node_id(instance));
    id
}

fn supplies(said: &Said<'_>, hosts: &HashMap<&str, &str>, graph: &mut Graph) {
    for labels in said.all("labstat_ups_info") {
        let Some([instance, ups]) = of(labels, ["instance", "ups"]) else { continue };
        let serial = labels.get("serial_number").filter(|serial| !serial.is_empty());
        // One that several nodes ask is the same one by its serial number, else by where its server is.
        let id = match serial {
            Some(serial) => format!("ups/{serial}"),
            None => {
                let server = labels.get("server").unwrap_or("");
                format!("ups/{}/{ups}", server_node(instance, server, hosts).unwrap_or(server))
            }
        };
        graph.named(&id, EntityKind::Ups, &[("instance", instance), ("ups", ups)]);
        graph.node(instance);
        graph.hang(&Entity::node_id(instance), id);
    }
}

/// The node on which a server runs that `instance` asks: itself, or one that is called so.
fn server_node<'a>(
    instance: &'a str,
    server: &'a str,
    hosts: &HashMap<&'a str, &'a str>,
) -> Option<&'a str> {
    let is_here = server.is_empty()
        || server.starts_with("127.")
        || server.starts_with("[::1]")
        || server.starts_with("localhost");
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    let short = host.split('.').next().unwrap_or(host);
    let named = || hosts.get(host).or_else(|| hosts.get(short)).copied();
    if is_here { Some(instance) } else { named() }
}

fn guests(said: &Said<'_>, hosts: &HashMap<&str, &str>, graph: &mut Graph) {
    let mut settled = BTreeSet::new();
    for labels in said.all("labstat_guest_info") {
        let Some([host, guest, kind, name]) = of(labels, ["instance", "guest", "kind", "name"])
        else {
            continue;
        };
        let id = format!("guest/{host}/{guest}");
        graph.named(&id, EntityKind::Guest, &[("instance", host), ("guest", guest)]);
        graph.hang(&id, Entity::node_id(host));
        // One that has moved is where it was seen last.
        let node = hosts.get(name).filter(|node| **node != host && MACHINES.contains(&kind));
        if let Some(node) = node.filter(|node| settled.insert(**node)) {
            graph.node(node);
            graph.hang(&Entity::node_id(node), id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Series from lines `TIME NAME{label="value",…}`.
    fn said(lines: &str) -> Topology {
        let series = lines.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| {
            let (time, selector) = line.split_once(' ').unwrap();
            let matchers = labstat_promql::selector(selector).unwrap();
            let pairs = matchers.iter().map(|matcher| (matcher.name(), matcher.value()));
            let mut series = Series::new(Labels::new(pairs));
            series.push(time.parse().unwrap(), 1.0);
            series
        });
        topology(series.collect())
    }

    fn on<'a>(topology: &'a Topology, id: &str) -> Vec<&'a str> {
        let found = topology.entities.iter().find(|entity| entity.id == id);
        let found = found.unwrap_or_else(|| panic!("no {id} in {topology:#?}"));
        found.hangs_on.iter().map(String::as_str).collect()
    }

    fn named<'a>(topology: &'a Topology, name: &[(&str, &str)]) -> Vec<&'a str> {
        let entity = Entity::new("", EntityKind::Disk, name);
        let name = &entity.names[0];
        let found = topology.entities.iter().filter(|entity| entity.names.contains(name));
        found.map(|entity| entity.id.as_str()).collect()
    }

    #[test]
    fn a_disk_is_under_its_array_its_osd_and_its_pools() {
        let topology = said(
            r#"
            9 node_uname_info{instance="vertex",nodename="vertex.lab"}
            9 labstat_disk_verdict{instance="vertex",device="sda",disk="S1",model_name="WD",serial_number="S1"}
            9 labstat_disk_verdict{instance="vertex",device="nvme0",disk="N1",model_name="EVO",serial_number="N1"}
            9 labstat_disk_use_info{instance="vertex",device="sda",kind="md",name="md0",part="sda2",serial_number="S1"}
            9 labstat_disk_use_info{instance="vertex",device="sda",kind="zfs",name="tank",serial_number="S1"}
            9 labstat_disk_use_info{instance="vertex",device="sda",kind="mount",name="/",serial_number="S1"}
            9 labstat_disk_use_info{instance="vertex",device="nvme0",kind="ceph_osd",name="osd.3",serial_number="N1"}
            9 labstat_ceph_osd_info{instance="apex",cluster="lab",ceph_daemon="osd.3",hostname="vertex.lab"}
            "#,
        );
        assert_eq!(on(&topology, "array/vertex/md0"), ["node/vertex", "disk/S1/WD"]);
        assert_eq!(on(&topology, "zfs/vertex/tank"), ["node/vertex", "disk/S1/WD"]);
        assert_eq!(on(&topology, "osd/lab/osd.3"), ["node/vertex", "disk/N1/EVO"]);
        assert_eq!(on(&topology, "cluster/lab"), ["osd/lab/osd.3"]);
        assert_eq!(on(&topology, "disk/S1/WD"), ["node/vertex"]);
        assert_eq!(named(&topology, &[("disk", "S1"), ("model_name", "WD")]), ["disk/S1/WD"]);
        assert_eq!(
            named(&topology, &[("instance", "apex"), ("ceph_daemon", "osd.3")]),
            ["osd/lab/osd.3"]
        );
    }

    #[test]
    fn a_disk_that_was_moved_is_where_it_is_now() {
        let topology = said(
            r#"
            5 labstat_disk_verdict{instance="nas",device="sda",disk="S1",model_name="WD",serial_number="S1"}
            9 labstat_disk_verdict{instance="box",device="sdc",disk="S1",model_name="WD",serial_number="S1"}
            9 labstat_disk_verdict{instance="nas",device="sda",disk="S2",model_name="WD",serial_number="S2"}
            5 labstat_disk_use_info{instance="nas",device="sda",kind="md",name="md0",serial_number="S1"}
            9 labstat_md_member_info{instance="nas",device="md0",member="sda"}
            "#,
        );
        assert_eq!(on(&topology, "disk/S1/WD"), ["node/box"]);
        assert_eq!(named(&topology, &[("instance", "nas"), ("device", "sda")]), ["disk/S2/WD"]);
        // The one that has gone is remembered as what the array stood on.
        assert_eq!(on(&topology, "array/nas/md0"), ["node/nas", "disk/S1/WD", "disk/S2/WD"]);
    }

    #[test]
    fn an_osd_of_another_cluster_does_not_stand_on_this_disk() {
        let topology = said(
            r#"
            9 node_uname_info{instance="a",nodename="a"}
            9 node_uname_info{instance="b",nodename="b"}
            9 labstat_disk_verdict{instance="a",device="sda",disk="A",model_name="WD"}
            9 labstat_disk_verdict{instance="b",device="sda",disk="B",model_name="WD"}
            9 labstat_disk_use_info{instance="a",device="sda",kind="ceph_osd",name="osd.0"}
            9 labstat_disk_use_info{instance="b",device="sda",kind="ceph_osd",name="osd.0"}
            9 labstat_ceph_osd_info{instance="a",ceph_daemon="osd.0",hostname="a"}
            9 labstat_ceph_osd_info{instance="b",ceph_daemon="osd.0"}
            "#,
        );
        assert_eq!(on(&topology, "osd/a/osd.0"), ["node/a", "disk/A/WD"]);
        assert_eq!(on(&topology, "osd/b/osd.0"), <[&str; 0]>::default(), "nobody knows where");
    }

    #[test]
    fn interfaces_supplies_and_guests_hang_on_what_carries_them() {
        let topology = said(
            r#"
            9 node_uname_info{instance="nas",nodename="nas"}
            9 node_uname_info{instance="vertex",nodename="vertex"}
            9 labstat_network_bond_member_info{instance="vertex",master="bond0",device="eth1"}
            9 labstat_network_bond_member_info{instance="vertex",master="bond0",device="eth2"}
            9 labstat_network_vlan_info{instance="vertex",device="bond0.99",parent="bond0"}
            9 labstat_ups_info{instance="nas",ups="eaton",server="vertex:3493"}
            9 labstat_ups_info{instance="vertex",ups="apc",server="127.0.0.1:3493"}
            9 labstat_guest_info{instance="vertex",guest="qemu/100",kind="qemu",name="nas"}
            9 labstat_guest_info{instance="vertex",guest="docker/ab",kind="docker",name="vertex"}
            "#,
        );
        assert_eq!(
            on(&topology, "interface/vertex/bond0"),
            ["node/vertex", "interface/vertex/eth1", "interface/vertex/eth2"]
        );
        assert_eq!(
            on(&topology, "interface/vertex/bond0.99"),
            ["node/vertex", "interface/vertex/bond0"]
        );
        assert_eq!(on(&topology, "node/nas"), ["ups/vertex/eaton", "guest/vertex/qemu/100"]);
        assert_eq!(on(&topology, "node/vertex"), ["ups/vertex/apc"]);
        assert_eq!(
            named(&topology, &[("instance", "vertex"), ("master", "bond0")]),
            ["interface/vertex/bond0"]
        );
    }

    #[test]
    fn a_filesystem_is_on_its_array_its_pool_or_its_disk() {
        let topology = said(
            r#"
            9 labstat_disk_verdict{instance="nas",device="sda",disk="S1",model_name="WD",serial_number="S1"}
            9 labstat_disk_verdict{instance="nas",device="sdb",disk="S2",model_name="WD",serial_number="S2"}
            9 labstat_md_info{instance="nas",device="md0"}
            9 labstat_disk_use_info{instance="nas",device="sda",kind="md",name="md0",part="sda2",serial_number="S1"}
            9 labstat_disk_use_info{instance="nas",device="sda",kind="mount",name="/srv",part="sda2",serial_number="S1"}
            9 labstat_disk_use_info{instance="nas",device="sda",kind="lvm_pv",name="my-vg",part="sda3",serial_number="S1"}
            9 labstat_disk_use_info{instance="nas",device="sdb",kind="mount",name="/boot",part="sdb1",serial_number="S2"}
            9 labstat_disk_use_info{instance="nas",device="sdb",kind="btrfs",name="photos",part="sdb2",serial_number="S2"}
            9 labstat_zfs_vdev_info{instance="nas",zpool="tank"}
            9 node_filesystem_size_bytes{instance="nas",device="/dev/md0",fstype="ext4",mountpoint="/srv"}
            9 node_filesystem_size_bytes{instance="nas",device="/dev/md0p1",fstype="ext4",mountpoint="/part"}
            9 node_filesystem_size_bytes{instance="nas",device="/dev/mapper/my--vg-root--fs",fstype="xfs",mountpoint="/"}
            9 node_filesystem_size_bytes{instance="nas",device="/dev/sdb2",fstype="btrfs",mountpoint="/photos"}
            9 node_filesystem_size_bytes{instance="nas",device="tank/data",fstype="zfs",mountpoint="/tank/data"}
            9 node_filesystem_size_bytes{instance="nas",device="/dev/sdb1",fstype="ext4",mountpoint="/boot"}
            5 node_filesystem_size_bytes{instance="nas",device="/dev/md0",fstype="ext4",mountpoint="/boot"}
            9 node_filesystem_size_bytes{instance="nas",device="box:/export",fstype="nfs4",mountpoint="/mnt"}
            9 node_filesystem_size_bytes{instance="nas",device="/dev/mapper/crypt",fstype="ext4",mountpoint="/c"}
            "#,
        );
        for (mountpoint, carrier) in [
            ("/srv", vec!["array/nas/md0"]),
            ("/part", vec!["array/nas/md0"]),
            ("/", vec!["lvm_pv/nas/my-vg"]),
            ("/photos", vec!["btrfs/nas/photos"]),
            ("/tank/data", vec!["zfs/nas/tank"]),
            ("/boot", vec!["disk/S2/WD"]),
            ("/c", vec![]),
        ] {
            let wanted: Vec<&str> = [vec!["node/nas"], carrier].concat();
            assert_eq!(on(&topology, &format!("filesystem/nas/{mountpoint}")), wanted);
        }
        let mount = [("instance", "nas"), ("mountpoint", "/mnt")];
        assert_eq!(named(&topology, &mount), [""; 0], "its disks are another's");
        let data = [("instance", "nas"), ("mountpoint", "/tank/data")];
        assert_eq!(named(&topology, &data), ["filesystem/nas//tank/data"]);
    }

    #[test]
    fn a_supply_without_a_number_is_that_of_the_node_whose_server_it_is() {
        let topology = said(
            r#"
            9 node_uname_info{instance="vertex",nodename="vertex"}
            9 labstat_ups_info{instance="vertex",ups="apc",server="127.0.0.1:3493"}
            9 labstat_ups_info{instance="nas",ups="apc",server="vertex.lab:3493"}
            9 labstat_ups_info{instance="box",ups="apc",server="10.0.0.7:3493"}
            9 labstat_ups_info{instance="a",ups="x",server="10.0.0.7:3493",serial_number="N1"}
            9 labstat_ups_info{instance="b",ups="y",server="127.0.0.1:3493",serial_number="N1"}
            "#,
        );
        for (node, ups) in [
            ("vertex", "ups/vertex/apc"),
            ("nas", "ups/vertex/apc"),
            ("box", "ups/10.0.0.7:3493/apc"),
            ("a", "ups/N1"),
            ("b", "ups/N1"),
        ] {
            assert_eq!(on(&topology, &Entity::node_id(node)), [ups]);
        }
    }

    #[test]
    fn a_series_that_lacks_what_it_should_say_says_nothing() {
        let topology = said(
            r#"
            9 labstat_disk_verdict{instance="nas",device="sda"}
            9 labstat_disk_use_info{device="sda",kind="md",name="md0"}
            9 labstat_network_vlan_info{instance="nas",device="eth0.5",parent=""}
            9 labstat_ups_info{instance="nas"}
            "#,
        );
        assert_eq!(topology, Topology::default());
    }
}
