//! OSDs: the map, the tree, usage, latency, and the devices under them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

use super::{OSDS_MAX, POOLS_MAX, bounded, field, json, object, or_default};
use crate::ParseError;

/// One OSD of the map.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Osd {
    /// Its number.
    #[serde(rename = "osd")]
    pub id: i64,
    /// Whether it is reachable.
    #[serde(default, deserialize_with = "field")]
    pub up: Option<bool>,
    /// Whether data belongs there.
    #[serde(default, rename = "in", deserialize_with = "field")]
    pub is_in: Option<bool>,
    /// How much of its share of the data it is to have, from 0 to 1.
    #[serde(default, deserialize_with = "field")]
    pub weight: Option<f64>,
    /// Where clients reach it: address, port and nonce.
    #[serde(default, deserialize_with = "field")]
    pub public_addr: Option<String>,
    /// Where other OSDs reach it.
    #[serde(default, deserialize_with = "field")]
    pub cluster_addr: Option<String>,
}

/// One pool of the map.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Pool {
    /// Its number.
    #[serde(rename = "pool")]
    pub id: i64,
    /// Its name.
    #[serde(default, rename = "pool_name")]
    pub name: String,
    /// 1 for copies, 3 for erasure coding.
    #[serde(default, rename = "type", deserialize_with = "field")]
    pub kind: Option<u64>,
    /// Copies, or shards, of each object.
    #[serde(default, deserialize_with = "field")]
    pub size: Option<u64>,
    /// With fewer of them nothing is read or written.
    #[serde(default, deserialize_with = "field")]
    pub min_size: Option<u64>,
    /// What its erasure code is called.
    #[serde(default, deserialize_with = "field")]
    pub erasure_code_profile: Option<String>,
    /// Settings.
    #[serde(default)]
    pub options: PoolOptions,
    /// What it is used for.
    #[serde(default)]
    pub application_metadata: BTreeMap<String, serde_json::Value>,
}

/// Settings of a pool.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PoolOptions {
    /// Whether and what is compressed.
    #[serde(deserialize_with = "field")]
    pub compression_mode: Option<String>,
}

/// Whether a pool keeps copies or codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolKind {
    /// Each object as often as [`Pool::size`] says.
    Replicated,
    /// Shards of which some are enough.
    Erasure,
}

impl Pool {
    /// What kind it is, when it is one that is known.
    pub fn kind(&self) -> Option<PoolKind> {
        match self.kind? {
            1 => Some(PoolKind::Replicated),
            3 => Some(PoolKind::Erasure),
            _ => None,
        }
    }
}

/// How an erasure code cuts objects.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// Shards that are enough.
    #[serde(deserialize_with = "field")]
    pub k: Option<u64>,
    /// Shards beside them.
    #[serde(deserialize_with = "field")]
    pub m: Option<u64>,
}

/// What `ceph osd dump` says.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct OsdMap {
    /// Its number.
    #[serde(default, deserialize_with = "field")]
    pub epoch: Option<u64>,
    /// Flags, joined by commas.
    #[serde(default, deserialize_with = "field")]
    pub flags: Option<String>,
    /// From this fill on nothing is written.
    #[serde(default, deserialize_with = "field")]
    pub full_ratio: Option<f64>,
    /// From this fill on nothing is moved there.
    #[serde(default, deserialize_with = "field")]
    pub backfillfull_ratio: Option<f64>,
    /// From this fill on Ceph warns.
    #[serde(default, deserialize_with = "field")]
    pub nearfull_ratio: Option<f64>,
    /// OSDs.
    #[serde(default)]
    pub osds: Vec<Osd>,
    /// Pools.
    #[serde(default)]
    pub pools: Vec<Pool>,
    /// Erasure codes.
    #[serde(default, deserialize_with = "or_default")]
    pub erasure_code_profiles: BTreeMap<String, Profile>,
    /// Clients that are shut out; since Pacific.
    #[serde(default)]
    pub blocklist: Option<BTreeMap<String, Anything>>,
}

/// What is only counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Anything;

impl<'de> Deserialize<'de> for Anything {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(from).map(|_| Self)
    }
}

/// Reads the reply to `osd dump`.
///
/// # Errors
/// JSON that is broken or of another shape; more than [`OSDS_MAX`] OSDs or [`POOLS_MAX`] pools.
pub fn dump(text: &str) -> Result<OsdMap, ParseError> {
    let map: OsdMap = object("ceph osd dump", text)?;
    bounded("OSDs", map.osds.len(), OSDS_MAX)?;
    bounded("pools", map.pools.len(), POOLS_MAX)?;
    Ok(map)
}

/// One OSD of the tree.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Leaf {
    /// Its number.
    pub id: i64,
    /// What its device is: `hdd`, `ssd`, `nvme`.
    pub device_class: Option<String>,
    /// Its share of the data beside others', mostly its size in TiB.
    pub crush_weight: Option<f64>,
    /// How much of that it is to have, from 0 to 1.
    pub reweight: Option<f64>,
    /// Whether it was destroyed, and waits for a new disk under its number.
    pub is_destroyed: bool,
    /// The host it stands under; none for one that stands nowhere.
    pub host: Option<String>,
}

#[derive(Deserialize)]
struct RawTree {
    nodes: Vec<RawNode>,
    #[serde(default)]
    stray: Vec<RawNode>,
}

#[derive(Deserialize)]
struct RawNode {
    id: i64,
    #[serde(default)]
    name: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    children: Vec<i64>,
    #[serde(default, deserialize_with = "field")]
    device_class: Option<String>,
    #[serde(default, deserialize_with = "field")]
    crush_weight: Option<f64>,
    #[serde(default, deserialize_with = "field")]
    reweight: Option<f64>,
    #[serde(default, deserialize_with = "field")]
    status: Option<String>,
}

/// The OSDs of the reply to `osd tree`, each once, by their numbers.
///
/// # Errors
/// JSON that is broken or of another shape; more than [`OSDS_MAX`] OSDs or buckets.
pub fn tree(text: &str) -> Result<Vec<Leaf>, ParseError> {
    let raw: RawTree = object("ceph osd tree", text)?;
    bounded("OSDs", raw.nodes.len().saturating_add(raw.stray.len()), 2 * OSDS_MAX)?;
    let hosts: BTreeMap<i64, &str> = raw
        .nodes
        .iter()
        .filter(|node| node.kind == "host")
        .flat_map(|host| host.children.iter().map(|child| (*child, host_name(&host.name))))
        .collect();
    // One that stands under two roots is listed twice.
    let mut leaves = BTreeMap::new();
    for node in raw.nodes.iter().chain(&raw.stray).filter(|node| node.kind == "osd") {
        leaves.entry(node.id).or_insert_with(|| Leaf {
            id: node.id,
            device_class: node.device_class.clone().filter(|class| !class.is_empty()),
            crush_weight: node.crush_weight,
            reweight: node.reweight,
            is_destroyed: node.status.as_deref() == Some("destroyed"),
            host: hosts.get(&node.id).map(|&host| host.to_owned()),
        });
    }
    Ok(leaves.into_values().collect())
}

/// The host of a bucket: below it CRUSH keeps shadows by class, `apex~ssd`.
fn host_name(bucket: &str) -> &str {
    bucket.split_once('~').map_or(bucket, |(host, _)| host)
}

/// What is on one OSD.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Its number.
    pub id: i64,
    /// Its size, in KiB.
    #[serde(deserialize_with = "field")]
    pub kb: Option<u64>,
    /// What is used of it, in KiB.
    #[serde(deserialize_with = "field")]
    pub kb_used: Option<u64>,
    /// Placement groups.
    #[serde(deserialize_with = "field")]
    pub pgs: Option<u64>,
}

#[derive(Deserialize)]
struct RawUsages {
    nodes: Vec<Usage>,
    #[serde(default)]
    stray: Vec<Usage>,
}

/// Reads the reply to `osd df`.
///
/// # Errors
/// JSON that is broken or of another shape; more than [`OSDS_MAX`] OSDs.
pub fn df(text: &str) -> Result<Vec<Usage>, ParseError> {
    let RawUsages { mut nodes, stray } = object("ceph osd df", text)?;
    bounded("OSDs", nodes.len().saturating_add(stray.len()), OSDS_MAX)?;
    nodes.extend(stray);
    nodes.sort_by_key(|node| node.id);
    nodes.dedup_by_key(|node| node.id);
    Ok(nodes)
}

/// How long one OSD took of late.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Latency {
    /// Its number.
    pub id: i64,
    /// Until a write was safe, in milliseconds.
    pub commit_ms: Option<u64>,
    /// Until it could be read, in milliseconds.
    pub apply_ms: Option<u64>,
}

#[derive(Deserialize)]
struct RawPerf {
    #[serde(default)]
    osdstats: Option<RawOsdStats>,
    /// Before Nautilus the list stood here.
    #[serde(default)]
    osd_perf_infos: Vec<RawLatency>,
}

#[derive(Deserialize)]
struct RawOsdStats {
    #[serde(default)]
    osd_perf_infos: Vec<RawLatency>,
}

#[derive(Deserialize)]
struct RawLatency {
    id: i64,
    perf_stats: RawPerfStats,
}

#[derive(Deserialize)]
struct RawPerfStats {
    #[serde(default, deserialize_with = "field")]
    commit_latency_ms: Option<u64>,
    #[serde(default, deserialize_with = "field")]
    apply_latency_ms: Option<u64>,
}

/// Reads the reply to `osd perf`.
///
/// # Errors
/// JSON that is broken or of another shape; more than [`OSDS_MAX`] OSDs.
pub fn perf(text: &str) -> Result<Vec<Latency>, ParseError> {
    let raw: RawPerf = object("ceph osd perf", text)?;
    let infos = raw.osdstats.map_or(raw.osd_perf_infos, |stats| stats.osd_perf_infos);
    bounded("OSDs", infos.len(), OSDS_MAX)?;
    let latency = |info: RawLatency| Latency {
        id: info.id,
        commit_ms: info.perf_stats.commit_latency_ms,
        apply_ms: info.perf_stats.apply_latency_ms,
    };
    Ok(infos.into_iter().map(latency).collect())
}

/// What an OSD said of itself when it was started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct About {
    /// Its number.
    pub id: i64,
    /// Where it runs.
    #[serde(deserialize_with = "field")]
    pub hostname: Option<String>,
    /// Its version, in words.
    #[serde(deserialize_with = "field")]
    pub ceph_version: Option<String>,
    /// Its version as a number.
    #[serde(deserialize_with = "field")]
    pub ceph_version_short: Option<String>,
    /// `bluestore`, `filestore` or `memstore`.
    #[serde(deserialize_with = "field")]
    pub osd_objectstore: Option<String>,
    /// The interface to other OSDs.
    #[serde(deserialize_with = "field")]
    pub back_iface: Option<String>,
    /// The interface to clients.
    #[serde(deserialize_with = "field")]
    pub front_iface: Option<String>,
    /// Disks, joined by commas: `nvme0n1,sda`.
    #[serde(deserialize_with = "field")]
    pub devices: Option<String>,
    /// What they are: `nvme0n1=Samsung_SSD_970_EVO_1TB_S467NX0K900000`.
    #[serde(deserialize_with = "field")]
    pub device_ids: Option<String>,
    /// The disks under its data.
    #[serde(deserialize_with = "field")]
    pub bluestore_bdev_devices: Option<String>,
    /// The device of its data, such as `/dev/dm-0`.
    #[serde(deserialize_with = "field")]
    pub bluestore_bdev_dev_node: Option<String>,
    /// The device of its database, if that is another.
    #[serde(deserialize_with = "field")]
    pub bluefs_db_dev_node: Option<String>,
    /// The device of its log, if that is another.
    #[serde(deserialize_with = "field")]
    pub bluefs_wal_dev_node: Option<String>,
    /// The device of its data, where it is a filestore.
    #[serde(deserialize_with = "field")]
    pub backend_filestore_dev_node: Option<String>,
    /// Its journal, where it is a filestore.
    #[serde(deserialize_with = "field")]
    pub osd_journal: Option<String>,
}

/// A disk under an OSD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk<'a> {
    /// Its name: `nvme0n1`.
    pub device: &'a str,
    /// Its model, with `_` for spaces.
    pub model: Option<&'a str>,
    /// Its serial number.
    pub serial: Option<&'a str>,
}

impl About {
    /// The disk of the OSD's data. Where there are several, the first.
    pub fn disk(&self) -> Option<Disk<'_>> {
        let names = [&self.bluestore_bdev_devices, &self.devices];
        let mut names = names.into_iter().flatten().filter_map(|list| list.split(',').next());
        let device = names.find(|name| !name.is_empty())?;
        let ids = self.device_ids.as_deref().unwrap_or_default().split(',');
        let id = ids.filter_map(|id| id.split_once('=')).find(|(name, _)| *name == device);
        // Vendor, model and serial number, joined by the character that spaces become.
        let (model, serial) = match id.map(|(_, id)| id.rsplit_once('_')) {
            Some(Some((model, serial))) => (Some(model), Some(serial)),
            _ => (None, id.map(|(_, id)| id)),
        };
        let is_said = |text: &&str| !text.is_empty();
        Some(Disk { device, model: model.filter(is_said), serial: serial.filter(is_said) })
    }
}

/// Reads the reply to `osd metadata`.
///
/// # Errors
/// JSON that is broken or of another shape; more than [`OSDS_MAX`] OSDs.
pub fn metadata(text: &str) -> Result<Vec<About>, ParseError> {
    let all: Vec<About> = json("ceph osd metadata", text)?;
    bounded("OSDs", all.len(), OSDS_MAX)?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_tells_the_host_and_each_osd_once() {
        let text = r#"{"nodes": [
            {"id": -1, "name": "default", "type": "root", "children": [-2]},
            {"id": -2, "name": "apex", "type": "host", "children": [3]},
            {"id": -9, "name": "apex~nvme", "type": "host", "children": [3]},
            {"id": 3, "type": "osd", "device_class": "nvme", "crush_weight": 0.9, "reweight": 0.5,
             "status": "destroyed"},
            {"id": 3, "type": "osd"}], "stray": [{"id": 7, "type": "osd", "status": "down"}]}"#;
        let leaves = tree(text).unwrap();
        assert_eq!(leaves.iter().map(|leaf| leaf.id).collect::<Vec<_>>(), [3, 7]);
        assert_eq!(leaves[0].host.as_deref(), Some("apex"));
        assert_eq!((leaves[0].reweight, leaves[0].is_destroyed), (Some(0.5), true));
        assert_eq!((leaves[1].host.as_deref(), leaves[1].is_destroyed), (None, false));
    }

    #[test]
    fn the_disk_of_the_data_and_not_that_of_the_database() {
        let about = About {
            devices: Some("nvme0n1,sda".to_owned()),
            bluestore_bdev_devices: Some("sda".to_owned()),
            device_ids: Some("nvme0n1=Samsung_SSD_980_S64,sda=ATA_WDC_WD40EFRX_WD-WCC7".to_owned()),
            ..About::default()
        };
        let wanted =
            Disk { device: "sda", model: Some("ATA_WDC_WD40EFRX"), serial: Some("WD-WCC7") };
        assert_eq!(about.disk(), Some(wanted));
    }

    #[test]
    fn a_disk_of_which_little_is_known() {
        let about = |devices: &str, ids: &str| About {
            devices: Some(devices.to_owned()),
            device_ids: Some(ids.to_owned()),
            ..About::default()
        };
        assert_eq!(about("", "").disk(), None);
        assert_eq!(About::default().disk(), None);
        let bare = about("vda", "");
        assert_eq!(bare.disk(), Some(Disk { device: "vda", model: None, serial: None }));
        let short = about("sdb", "sdb=0x5000");
        assert_eq!(short.disk().unwrap().serial, Some("0x5000"));
        let empty = about("sdb", "sdb=MODEL_");
        assert_eq!(empty.disk().unwrap().serial, None);
    }

    #[test]
    fn latencies_of_both_shapes() {
        let info = r#"[{"id": 4, "perf_stats": {"commit_latency_ms": 2, "apply_latency_ms": 1}}]"#;
        let wanted = [Latency { id: 4, commit_ms: Some(2), apply_ms: Some(1) }];
        assert_eq!(perf(&format!(r#"{{"osd_perf_infos": {info}}}"#)).unwrap(), wanted);
        let nested = format!(r#"{{"osdstats": {{"osd_perf_infos": {info}}}}}"#);
        assert_eq!(perf(&nested).unwrap(), wanted);
    }

    #[test]
    fn an_osd_without_figures_has_none() {
        let map =
            dump(r#"{"osds": [{"osd": 1, "up": "?", "weight": null}], "blocklist": {"a": 1}}"#);
        let map = map.unwrap();
        assert_eq!((map.osds[0].up, map.osds[0].weight), (None, None));
        assert_eq!(map.blocklist.unwrap().len(), 1);
        assert_eq!(map.nearfull_ratio, None);
        let usage = df(r#"{"nodes": [{"id": 2, "kb": 0, "pgs": "many"}]}"#).unwrap();
        assert_eq!((usage[0].kb, usage[0].pgs), (Some(0), None));
    }
}
