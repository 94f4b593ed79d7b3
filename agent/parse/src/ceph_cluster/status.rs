//! `ceph status`: health with its checks, and the placement groups in sum.
//!
//! Three shapes are known: `osdmap` within `osdmap` (to Nautilus), one `osdmap`, and since Octopus
//! no `monmap.mons`. Before Luminous health had an `overall_status` and no named checks.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{CHECKS_MAX, DAEMONS_MAX, bounded, field, object, or_default};
use crate::ParseError;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// `HEALTH_OK`
    Ok,
    /// `HEALTH_WARN`
    Warn,
    /// `HEALTH_ERR`
    Err,
}

impl Level {
    fn of(text: &str) -> Option<Self> {
        match text {
            "HEALTH_OK" => Some(Self::Ok),
            "HEALTH_WARN" => Some(Self::Warn),
            "HEALTH_ERR" => Some(Self::Err),
            _ => None,
        }
    }

    /// As Ceph writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "HEALTH_OK",
            Self::Warn => "HEALTH_WARN",
            Self::Err => "HEALTH_ERR",
        }
    }
}

/// One health check that fails, muted or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// Its code, such as `OSD_DOWN`.
    pub name: String,
    /// How bad it is.
    pub severity: Level,
    /// Ceph's words, with numbers in them.
    pub message: String,
    /// How many things it is about; absent before Octopus.
    pub count: Option<u64>,
    /// Whether somebody has muted it: then it is left out of the overall health.
    pub muted: bool,
}

/// An RGW that the cluster knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// The number that its session has.
    pub gid: String,
    /// What it calls itself.
    pub id: String,
    /// Where it runs.
    pub hostname: String,
    /// Its version, in words.
    pub version: String,
}

/// What `ceph status` says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Status {
    /// The cluster's id.
    pub fsid: Option<String>,
    /// The overall health.
    pub health: Option<Level>,
    /// The checks that fail, by name.
    pub checks: Vec<Check>,
    /// Whether a manager is at work; absent where Ceph does not say.
    pub mgr_available: Option<bool>,
    /// Where the manager's prometheus module is, if that is on.
    pub prometheus_url: Option<String>,
    /// The number of the newest map of OSDs.
    pub osdmap_epoch: Option<u64>,
    /// Whether there is a filesystem or a metadata server.
    pub has_filesystems: bool,
    /// RGWs.
    pub gateways: Vec<Gateway>,
    /// Placement groups in sum. The manager counts them: when that is gone, these are its last words.
    pub pgmap: PgMap,
}

/// Placement groups in sum.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PgMap {
    /// Objects stored, each counted once.
    #[serde(deserialize_with = "field")]
    pub num_objects: Option<u64>,
    /// Copies of objects that are missing. Absent when none is.
    #[serde(deserialize_with = "field")]
    pub degraded_objects: Option<u64>,
    /// Copies that lie where they should not. Absent when none does.
    #[serde(deserialize_with = "field")]
    pub misplaced_objects: Option<u64>,
    /// Objects of which no copy can be found. Absent when there is none.
    #[serde(deserialize_with = "field")]
    pub unfound_objects: Option<u64>,
    /// Objects recovered a second, of late. Absent while nothing is.
    #[serde(deserialize_with = "field")]
    pub recovering_objects_per_sec: Option<u64>,
    /// Bytes recovered a second, of late. Absent while nothing is.
    #[serde(deserialize_with = "field")]
    pub recovering_bytes_per_sec: Option<u64>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default, deserialize_with = "field")]
    fsid: Option<String>,
    #[serde(default)]
    health: RawHealth,
    #[serde(default)]
    osdmap: RawOsdMap,
    #[serde(default)]
    pgmap: PgMap,
    #[serde(default)]
    mgrmap: RawMgrMap,
    /// Several filesystems give the same names several times.
    #[serde(default)]
    fsmap: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    servicemap: RawServiceMap,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawHealth {
    #[serde(deserialize_with = "field")]
    status: Option<String>,
    #[serde(deserialize_with = "field")]
    overall_status: Option<String>,
    checks: BTreeMap<String, RawCheck>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawCheck {
    #[serde(deserialize_with = "field")]
    severity: Option<String>,
    summary: RawSummary,
    #[serde(deserialize_with = "field")]
    muted: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawSummary {
    #[serde(deserialize_with = "field")]
    message: Option<String>,
    #[serde(deserialize_with = "field")]
    count: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawOsdMap {
    #[serde(deserialize_with = "field")]
    epoch: Option<u64>,
    osdmap: Option<RawInnerOsdMap>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawInnerOsdMap {
    #[serde(deserialize_with = "field")]
    epoch: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawMgrMap {
    #[serde(deserialize_with = "field")]
    available: Option<bool>,
    services: BTreeMap<String, serde_json::Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawServiceMap {
    #[serde(deserialize_with = "or_default")]
    services: RawServices,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawServices {
    rgw: RawService,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawService {
    daemons: BTreeMap<String, serde_json::Value>,
}

/// Reads the reply to `status`.
///
/// # Errors
/// JSON that is broken or of another shape; more than [`CHECKS_MAX`] checks.
pub fn status(text: &str) -> Result<Status, ParseError> {
    let raw: Raw = object("ceph status", text)?;
    bounded("health checks", raw.health.checks.len(), CHECKS_MAX)?;
    let rgw = &raw.servicemap.services.rgw.daemons;
    bounded("gateways of Ceph", rgw.len(), DAEMONS_MAX)?;
    let health = raw.health.status.as_deref().or(raw.health.overall_status.as_deref());
    let url = raw.mgrmap.services.get("prometheus").and_then(serde_json::Value::as_str);
    Ok(Status {
        fsid: raw.fsid.filter(|fsid| !fsid.is_empty()),
        health: health.and_then(Level::of),
        mgr_available: raw.mgrmap.available,
        prometheus_url: url.map(str::to_owned),
        osdmap_epoch: raw.osdmap.osdmap.map_or(raw.osdmap.epoch, |inner| inner.epoch),
        has_filesystems: has_filesystems(&raw.fsmap),
        gateways: rgw.iter().filter_map(|(gid, daemon)| gateway(gid, daemon)).collect(),
        checks: raw.health.checks.into_iter().filter_map(|(name, raw)| check(name, raw)).collect(),
        pgmap: raw.pgmap,
    })
}

/// A filesystem says its number, also while nobody serves it; servers without one stand by.
fn has_filesystems(fsmap: &serde_json::Map<String, serde_json::Value>) -> bool {
    let standby = fsmap.get("up:standby").and_then(serde_json::Value::as_u64);
    fsmap.contains_key("id") || standby.unwrap_or(0) > 0
}

/// A check of an unknown severity is none: what would be said of it?
fn check(name: String, raw: RawCheck) -> Option<Check> {
    Some(Check {
        name,
        severity: Level::of(raw.severity.as_deref()?)?,
        message: raw.summary.message.unwrap_or_default(),
        count: raw.summary.count,
        muted: raw.muted.unwrap_or(false),
    })
}

/// Beside the daemons stands a `summary`, which is text.
fn gateway(gid: &str, daemon: &serde_json::Value) -> Option<Gateway> {
    let metadata = daemon.get("metadata")?;
    let text = |key| metadata.get(key).and_then(serde_json::Value::as_str).map(str::to_owned);
    Some(Gateway {
        gid: gid.to_owned(),
        id: text("id")?,
        hostname: text("hostname").unwrap_or_default(),
        version: text("ceph_version").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_muted_check_is_told_and_the_health_is_what_ceph_says() {
        let text = r#"{"fsid": "f", "health": {"status": "HEALTH_OK", "checks": {"OSDMAP_FLAGS":
            {"severity": "HEALTH_WARN", "summary": {"message": "noout flag(s) set", "count": 1},
            "muted": true}}, "mutes": [{"code": "OSDMAP_FLAGS"}]}, "mgrmap": {"available": false}}"#;
        let status = status(text).unwrap();
        assert_eq!(status.health, Some(Level::Ok));
        assert_eq!(status.mgr_available, Some(false));
        let [check] = &status.checks[..] else { panic!("{status:?}") };
        assert_eq!((check.name.as_str(), check.severity), ("OSDMAP_FLAGS", Level::Warn));
        assert_eq!((check.count, check.muted), (Some(1), true));
    }

    #[test]
    fn the_map_of_osds_in_both_shapes() {
        let epoch = |text| status(text).unwrap().osdmap_epoch;
        assert_eq!(epoch(r#"{"osdmap": {"epoch": 7}}"#), Some(7));
        assert_eq!(epoch(r#"{"osdmap": {"osdmap": {"epoch": 8}}}"#), Some(8));
        assert_eq!(epoch(r#"{"osdmap": {"epoch": "x"}}"#), None);
        assert_eq!(epoch("{}"), None);
    }

    #[test]
    fn what_is_not_said_is_absent() {
        let status = status(r#"{"health": {"overall_status": "HEALTH_WARN"}}"#).unwrap();
        assert_eq!(status.health, Some(Level::Warn));
        assert_eq!(status.mgr_available, None);
        assert_eq!(status.pgmap, PgMap::default());
        assert_eq!(status.fsid, None);
    }

    #[test]
    fn filesystems_are_there_though_nobody_serves_them() {
        let has =
            |fsmap: &str| status(&format!(r#"{{"fsmap": {fsmap}}}"#)).unwrap().has_filesystems;
        assert!(has(r#"{"epoch": 6, "id": 1, "up": 0, "in": 1, "by_rank": [], "up:standby": 0}"#));
        assert!(has(r#"{"id": 1, "up": 1, "id": 2, "up": 1, "by_rank": []}"#), "two of them");
        assert!(has(r#"{"by_rank": [], "up:standby": 1}"#));
        assert!(!has(r#"{"epoch": 1, "by_rank": [], "up:standby": 0}"#));
        assert!(!has(r#"{"up:standby": "x"}"#));
    }

    #[test]
    fn gateways_by_their_sessions() {
        let text = r#"{"servicemap": {"services": {"rgw": {"daemons": {"summary": "",
            "4123": {"gid": 4123, "metadata": {"id": "s3.apex", "hostname": "apex",
            "ceph_version": "ceph version 18"}}}}}}}"#;
        let gateways = status(text).unwrap().gateways;
        let ids: Vec<_> = gateways.iter().map(|g| (&*g.gid, &*g.id, &*g.hostname)).collect();
        assert_eq!(ids, [("4123", "s3.apex", "apex")]);
    }
}
