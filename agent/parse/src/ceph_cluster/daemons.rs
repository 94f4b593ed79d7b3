//! Monitors, managers and metadata servers, and which daemons have crashed.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{CRASHES_MAX, DAEMONS_MAX, bounded, field, json, object, or_default};
use crate::ParseError;

/// A monitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mon {
    /// Its name.
    pub name: String,
    /// Its place in the map.
    pub rank: Option<i64>,
    /// Its address, without the port.
    pub address: Option<String>,
    /// Whether it is in the quorum.
    pub in_quorum: bool,
}

/// What `ceph quorum_status` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quorum {
    /// The monitor that leads.
    pub leader: Option<String>,
    /// All monitors.
    pub mons: Vec<Mon>,
}

#[derive(Deserialize)]
struct RawQuorum {
    #[serde(default)]
    quorum_names: Vec<String>,
    #[serde(default, deserialize_with = "field")]
    quorum_leader_name: Option<String>,
    monmap: RawMonMap,
}

#[derive(Deserialize)]
struct RawMonMap {
    mons: Vec<RawMon>,
}

#[derive(Deserialize)]
struct RawMon {
    name: String,
    #[serde(default, deserialize_with = "field")]
    rank: Option<i64>,
    #[serde(default, deserialize_with = "field")]
    public_addr: Option<String>,
    #[serde(default, deserialize_with = "field")]
    addr: Option<String>,
}

/// Reads the reply to `quorum_status`.
///
/// # Errors
/// JSON that is broken or of another shape; more than [`DAEMONS_MAX`] monitors.
pub fn quorum_status(text: &str) -> Result<Quorum, ParseError> {
    let raw: RawQuorum = object("ceph quorum_status", text)?;
    bounded("monitors", raw.monmap.mons.len(), DAEMONS_MAX)?;
    let mon = |mon: RawMon| Mon {
        in_quorum: raw.quorum_names.contains(&mon.name),
        rank: mon.rank,
        address: mon.public_addr.or(mon.addr).map(|address| without_port(&address).to_owned()),
        name: mon.name,
    };
    Ok(Quorum {
        leader: raw.quorum_leader_name.filter(|name| !name.is_empty()),
        mons: raw.monmap.mons.into_iter().map(mon).collect(),
    })
}

/// `127.0.0.1:6789/0` gives `127.0.0.1`, and `[::1]:6789/0` gives `[::1]`.
pub fn without_port(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// What a monitor says of itself on its admin socket (`mon_status`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MonState {
    /// Its name.
    pub name: String,
    /// `leader`, `peon`, `electing`, `probing`, `synchronizing`.
    pub state: String,
    /// The cluster's id.
    pub fsid: String,
    /// How long ago the quorum was formed; absent before Octopus.
    pub quorum_age_seconds: Option<u64>,
}

impl MonState {
    /// Whether it leads a quorum.
    pub fn is_leader(&self) -> bool {
        self.state == "leader"
    }
}

#[derive(Deserialize)]
struct RawMonState {
    name: String,
    state: String,
    #[serde(default, deserialize_with = "field")]
    quorum_age: Option<u64>,
    monmap: RawMonStateMap,
}

#[derive(Deserialize)]
struct RawMonStateMap {
    fsid: String,
}

/// Reads a monitor's answer to `mon_status`.
///
/// # Errors
/// JSON that is broken or of another shape.
pub fn mon_status(text: &str) -> Result<MonState, ParseError> {
    let raw: RawMonState = object("mon_status", text)?;
    Ok(MonState {
        name: raw.name,
        state: raw.state,
        fsid: raw.monmap.fsid,
        quorum_age_seconds: raw.quorum_age,
    })
}

#[derive(Deserialize)]
struct RawCluster {
    #[serde(default)]
    cluster: RawClusterCounters,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawClusterCounters {
    #[serde(deserialize_with = "field")]
    osd_epoch: Option<u64>,
}

/// The number of the newest map of OSDs, out of a leading monitor's answer to `perf dump cluster`.
///
/// # Errors
/// JSON that is broken or of another shape.
pub fn osdmap_epoch(text: &str) -> Result<Option<u64>, ParseError> {
    object("perf dump", text).map(|raw: RawCluster| raw.cluster.osd_epoch)
}

/// Where a daemon runs and what it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct About {
    /// Its name, without the kind.
    #[serde(deserialize_with = "field")]
    pub name: Option<String>,
    /// The host.
    #[serde(deserialize_with = "field")]
    pub hostname: Option<String>,
    /// Its version in words: `ceph version 16.2.15 (618f…) pacific (stable)`.
    #[serde(deserialize_with = "field")]
    pub ceph_version: Option<String>,
    /// Its version as a number.
    #[serde(deserialize_with = "field")]
    pub ceph_version_short: Option<String>,
}

/// Reads the reply to `mon metadata`, `mgr metadata` or `mds metadata`.
///
/// # Errors
/// JSON that is broken or of another shape; more than [`DAEMONS_MAX`] daemons.
pub fn metadata(text: &str) -> Result<Vec<About>, ParseError> {
    let all: Vec<About> = json("metadata of Ceph daemons", text)?;
    bounded("Ceph daemons", all.len(), DAEMONS_MAX)?;
    Ok(all)
}

/// A module of the manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Whether it could run.
    pub can_run: bool,
    /// Whether somebody has switched it on.
    pub is_enabled: bool,
    /// Whether it always is on.
    pub is_always_on: bool,
}

/// What `ceph mgr dump` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mgrs {
    /// The manager at work.
    pub active: Option<String>,
    /// Whether it answers.
    pub available: Option<bool>,
    /// Those that wait to take its place.
    pub standbys: Vec<String>,
    /// Modules.
    pub modules: Vec<Module>,
}

#[derive(Deserialize)]
struct RawMgrs {
    #[serde(default, deserialize_with = "field")]
    active_name: Option<String>,
    #[serde(default, deserialize_with = "field")]
    available: Option<bool>,
    #[serde(default)]
    standbys: Vec<RawStandby>,
    #[serde(default)]
    modules: Vec<String>,
    #[serde(default)]
    available_modules: Vec<RawModule>,
    #[serde(default, deserialize_with = "or_default")]
    always_on_modules: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct RawStandby {
    name: String,
}

#[derive(Deserialize)]
struct RawModule {
    name: String,
    #[serde(default, deserialize_with = "field")]
    can_run: Option<bool>,
}

/// Reads the reply to `mgr dump`.
///
/// What is always on is listed for each release that ever was; the last of them is taken.
///
/// # Errors
/// JSON that is broken or of another shape; more than [`DAEMONS_MAX`] managers or modules.
pub fn mgr_dump(text: &str) -> Result<Mgrs, ParseError> {
    let raw: RawMgrs = object("ceph mgr dump", text)?;
    bounded("managers", raw.standbys.len(), DAEMONS_MAX)?;
    bounded("modules of the manager", raw.available_modules.len(), DAEMONS_MAX)?;
    // Releases are called by the alphabet.
    let always_on = raw.always_on_modules.into_values().next_back().unwrap_or_default();
    let module = |module: RawModule| Module {
        can_run: module.can_run.unwrap_or(false),
        is_enabled: raw.modules.contains(&module.name),
        is_always_on: always_on.contains(&module.name),
        name: module.name,
    };
    Ok(Mgrs {
        active: raw.active_name.filter(|name| !name.is_empty()),
        available: raw.available,
        standbys: raw.standbys.into_iter().map(|standby| standby.name).collect(),
        modules: raw.available_modules.into_iter().map(module).collect(),
    })
}

/// The state of a metadata server that serves its rank.
const SERVING: &str = "up:active";

/// A metadata server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Mds {
    /// Its name.
    pub name: String,
    /// Its rank in the filesystem; -1 for one that has none.
    #[serde(deserialize_with = "field")]
    pub rank: Option<i64>,
    /// Its address, with port and nonce.
    #[serde(deserialize_with = "field")]
    pub addr: Option<String>,
    /// What the monitors know it to do: `up:active`, `up:replay`, `up:standby` …
    #[serde(deserialize_with = "field")]
    pub state: Option<String>,
    /// Since when the monitors miss its signs of life. It stays in its state until another takes its place,
    /// and no health check tells of it.
    #[serde(deserialize_with = "field")]
    pub laggy_since: Option<String>,
}

impl Mds {
    /// Whether the monitors miss its signs of life.
    pub fn is_laggy(&self) -> bool {
        self.laggy_since.is_some()
    }

    /// Whether it serves a rank, as far as anybody can tell.
    pub fn is_serving(&self) -> bool {
        self.state.as_deref() == Some(SERVING) && !self.is_laggy()
    }
}

/// A filesystem.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filesystem {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// The pools of its data.
    pub data_pools: Vec<i64>,
    /// The pool of its metadata.
    pub metadata_pool: i64,
    /// Its metadata servers.
    pub servers: Vec<Mds>,
    /// How many ranks it has: each must be served, or files stand still. None while it is shut down.
    pub ranks: Option<u64>,
}

/// What `ceph fs dump` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filesystems {
    /// All filesystems.
    pub filesystems: Vec<Filesystem>,
    /// Metadata servers without one.
    pub standbys: Vec<Mds>,
}

#[derive(Deserialize)]
struct RawFilesystems {
    #[serde(default)]
    standbys: Vec<Mds>,
    filesystems: Vec<RawFilesystem>,
}

#[derive(Deserialize)]
struct RawFilesystem {
    id: i64,
    mdsmap: RawMdsMap,
}

#[derive(Deserialize)]
struct RawMdsMap {
    fs_name: String,
    #[serde(default)]
    data_pools: Vec<i64>,
    metadata_pool: i64,
    #[serde(default)]
    info: BTreeMap<String, Mds>,
    #[serde(default, rename = "in")]
    ranks: serde_json::Value,
}

/// Reads the reply to `fs dump`.
///
/// # Errors
/// JSON that is broken or of another shape; more than [`DAEMONS_MAX`] filesystems or servers.
pub fn fs_dump(text: &str) -> Result<Filesystems, ParseError> {
    let raw: RawFilesystems = object("ceph fs dump", text)?;
    let servers = raw.filesystems.iter().map(|fs| fs.mdsmap.info.len()).sum::<usize>();
    bounded("metadata servers", servers.saturating_add(raw.standbys.len()), DAEMONS_MAX)?;
    bounded("filesystems of Ceph", raw.filesystems.len(), DAEMONS_MAX)?;
    let filesystem = |raw: RawFilesystem| Filesystem {
        id: raw.id,
        name: raw.mdsmap.fs_name,
        data_pools: raw.mdsmap.data_pools,
        metadata_pool: raw.mdsmap.metadata_pool,
        servers: raw.mdsmap.info.into_values().collect(),
        ranks: raw.mdsmap.ranks.as_array().map(|ranks| ranks.len() as u64),
    };
    let filesystems = raw.filesystems.into_iter().map(filesystem).collect();
    Ok(Filesystems { filesystems, standbys: raw.standbys })
}

#[derive(Deserialize)]
struct RawCrash {
    #[serde(default, deserialize_with = "field")]
    entity_name: Option<String>,
}

/// How often which daemon has crashed, out of the reply to `crash ls-new`.
///
/// # Errors
/// JSON that is broken or of another shape; more than [`CRASHES_MAX`] crashes.
pub fn crashes(text: &str) -> Result<BTreeMap<String, u64>, ParseError> {
    let all: Vec<RawCrash> = json("ceph crash ls-new", text)?;
    bounded("crashes", all.len(), CRASHES_MAX)?;
    let mut counted = BTreeMap::new();
    for name in all.into_iter().filter_map(|crash| crash.entity_name) {
        *counted.entry(name).or_insert(0) += 1;
    }
    bounded("daemons that crashed", counted.len(), super::OSDS_MAX)?;
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monitor_out_of_the_quorum() {
        let text = r#"{"quorum_names": ["a"], "quorum_leader_name": "a", "monmap": {"mons": [
            {"name": "a", "rank": 0, "public_addr": "10.0.0.1:6789/0"},
            {"name": "b", "rank": 1, "addr": "[fd00::2]:3300/0"}, {"name": "c"}]}}"#;
        let quorum = quorum_status(text).unwrap();
        assert_eq!(quorum.leader.as_deref(), Some("a"));
        let told: Vec<_> = quorum
            .mons
            .iter()
            .map(|mon| (&*mon.name, mon.in_quorum, mon.address.as_deref()))
            .collect();
        let wanted =
            [("a", true, Some("10.0.0.1")), ("b", false, Some("[fd00::2]")), ("c", false, None)];
        assert_eq!(told, wanted);
    }

    #[test]
    fn a_monitor_that_looks_for_others_leads_nobody() {
        let text =
            |state| format!(r#"{{"name": "a", "state": "{state}", "monmap": {{"fsid": "f"}}}}"#);
        assert!(mon_status(&text("leader")).unwrap().is_leader());
        for state in ["peon", "probing", "electing", ""] {
            assert!(!mon_status(&text(state)).unwrap().is_leader(), "{state}");
        }
        assert!(mon_status("{}").is_err());
        assert_eq!(mon_status(&text("leader")).unwrap().quorum_age_seconds, None);
        let young = text("leader").replacen('{', r#"{"quorum_age": 3, "#, 1);
        assert_eq!(mon_status(&young).unwrap().quorum_age_seconds, Some(3));
    }

    #[test]
    fn the_epoch_is_only_known_to_the_leader() {
        assert_eq!(osdmap_epoch(r#"{"cluster": {"osd_epoch": 12}}"#).unwrap(), Some(12));
        assert_eq!(osdmap_epoch("{}").unwrap(), None);
        assert!(osdmap_epoch("[").is_err());
    }

    #[test]
    fn modules_of_the_newest_release() {
        let text = r#"{"active_name": "x", "available": true, "standbys": [{"name": "y"}],
            "modules": ["prometheus"], "available_modules": [{"name": "balancer", "can_run": true},
            {"name": "influx", "can_run": false}, {"name": "prometheus", "can_run": true}],
            "always_on_modules": {"nautilus": ["influx"], "pacific": ["balancer"]}}"#;
        let mgrs = mgr_dump(text).unwrap();
        assert_eq!((mgrs.active.as_deref(), &*mgrs.standbys), (Some("x"), &["y".to_owned()][..]));
        let told: Vec<_> = mgrs
            .modules
            .iter()
            .map(|m| (&*m.name, m.can_run, m.is_enabled, m.is_always_on))
            .collect();
        let wanted = [
            ("balancer", true, false, true),
            ("influx", false, false, false),
            ("prometheus", true, true, false),
        ];
        assert_eq!(told, wanted);
        assert_eq!(mgr_dump(r#"{"active_name": ""}"#).unwrap().active, None);
    }

    #[test]
    fn crashes_are_counted_by_daemon() {
        let text = r#"[{"entity_name": "osd.1"}, {"entity_name": "osd.1"}, {"crash_id": "x"}]"#;
        assert_eq!(crashes(text).unwrap(), BTreeMap::from([("osd.1".to_owned(), 2)]));
    }

    #[test]
    fn filesystems_and_their_servers() {
        let text = r#"{"standbys": [{"name": "c", "rank": -1, "addr": "10.0.0.3:6801/1"}],
            "filesystems": [{"id": 1, "mdsmap": {"fs_name": "iso", "data_pools": [5, 7],
            "metadata_pool": 4, "info": {"gid_41": {"name": "a", "rank": 0, "addr": "x"}}}}]}"#;
        let all = fs_dump(text).unwrap();
        assert_eq!(all.standbys[0].rank, Some(-1));
        assert_eq!(all.filesystems[0].data_pools, [5, 7]);
        assert_eq!(all.filesystems[0].servers[0].name, "a");
        assert_eq!(all.filesystems[0].ranks, None, "it does not say");
    }

    /// One whose signs of life are missed keeps its state: it serves nobody all the same.
    #[test]
    fn a_laggy_server_serves_nobody() {
        let server = |more: &str| {
            let text = format!(
                r#"{{"filesystems": [{{"id": 1, "mdsmap": {{"fs_name": "x", "metadata_pool": 4,
                "in": [0, 1], "info": {{"gid_41": {{"name": "a", "rank": 0 {more}}}}}}}}}]}}"#
            );
            let filesystem = fs_dump(&text).unwrap().filesystems.remove(0);
            assert_eq!(filesystem.ranks, Some(2));
            filesystem.servers[0].clone()
        };
        assert!(server(r#", "state": "up:active""#).is_serving());
        for more in [
            "",
            r#", "state": "up:replay""#,
            r#", "state": 3"#,
            r#", "state": "up:active", "laggy_since": "2026-11-22T07:15:22.848492+0000""#,
        ] {
            assert!(!server(more).is_serving(), "{more}");
        }
    }
}
