//! Pools: how full they are, and what is being recovered in them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{POOLS_MAX, bounded, field, json, object, or_default};
use crate::ParseError;

/// Space of the cluster, or of the devices of one class.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Space {
    /// All of it.
    #[serde(deserialize_with = "field")]
    pub total_bytes: Option<u64>,
    /// What is used of it.
    #[serde(deserialize_with = "field")]
    pub total_used_bytes: Option<u64>,
    /// What is used of it, with what is kept for the work of others.
    #[serde(deserialize_with = "field")]
    pub total_used_raw_bytes: Option<u64>,
}

/// Figures of one pool, by the names that Ceph has for them: `stored`, `max_avail`, `rd_bytes` …
pub type Figures = BTreeMap<String, f64>;

/// What `ceph df detail` says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Df {
    /// The cluster.
    pub space: Space,
    /// By class of devices.
    pub by_class: BTreeMap<String, Space>,
    /// By the pool's number.
    pub pools: BTreeMap<i64, Figures>,
}

#[derive(Deserialize)]
struct RawDf {
    #[serde(default)]
    stats: Space,
    #[serde(default, deserialize_with = "or_default")]
    stats_by_class: BTreeMap<String, Space>,
    pools: Vec<RawPool>,
}

#[derive(Deserialize)]
struct RawPool {
    id: i64,
    #[serde(default)]
    stats: BTreeMap<String, serde_json::Value>,
}

/// Reads the reply to `df detail`.
///
/// # Errors
/// JSON that is broken or of another shape; more than [`POOLS_MAX`] pools or classes.
pub fn df(text: &str) -> Result<Df, ParseError> {
    let raw: RawDf = object("ceph df", text)?;
    bounded("pools", raw.pools.len(), POOLS_MAX)?;
    bounded("classes of devices", raw.stats_by_class.len(), POOLS_MAX)?;
    let pools = raw.pools.into_iter().map(|pool| (pool.id, numbers(pool.stats))).collect();
    Ok(Df { space: raw.stats, by_class: raw.stats_by_class, pools })
}

fn numbers(stats: BTreeMap<String, serde_json::Value>) -> Figures {
    stats.into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?))).collect()
}

#[derive(Deserialize)]
struct RawRates {
    pool_id: i64,
    #[serde(default, deserialize_with = "or_default")]
    recovery_rate: BTreeMap<String, serde_json::Value>,
}

/// What is being recovered, by the pool's number, out of the reply to `osd pool stats`: no figures
/// where nothing is.
///
/// # Errors
/// JSON that is broken or of another shape; more than [`POOLS_MAX`] pools.
pub fn rates(text: &str) -> Result<BTreeMap<i64, Figures>, ParseError> {
    let raw: Vec<RawRates> = json("ceph osd pool stats", text)?;
    bounded("pools", raw.len(), POOLS_MAX)?;
    Ok(raw.into_iter().map(|pool| (pool.pool_id, numbers(pool.recovery_rate))).collect())
}

/// What is wrong with the objects of one pool.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Objects {
    /// Copies that are missing.
    #[serde(deserialize_with = "field")]
    pub num_objects_degraded: Option<u64>,
    /// Copies that lie where they should not.
    #[serde(deserialize_with = "field")]
    pub num_objects_misplaced: Option<u64>,
    /// Objects of which no copy can be found.
    #[serde(deserialize_with = "field")]
    pub num_objects_unfound: Option<u64>,
    /// Objects that were found damaged and mended.
    #[serde(deserialize_with = "field")]
    pub num_objects_repaired: Option<u64>,
}

#[derive(Deserialize)]
struct RawSums {
    pool_stats: Vec<RawSum>,
}

#[derive(Deserialize)]
struct RawSum {
    poolid: i64,
    #[serde(default)]
    stat_sum: Objects,
}

/// What is wrong with objects, by the pool's number, out of the reply to `pg dump pools`.
///
/// # Errors
/// JSON that is broken or of another shape; more than [`POOLS_MAX`] pools.
pub fn objects(text: &str) -> Result<BTreeMap<i64, Objects>, ParseError> {
    let raw: RawSums = object("ceph pg dump pools", text)?;
    bounded("pools", raw.pool_stats.len(), POOLS_MAX)?;
    Ok(raw.pool_stats.into_iter().map(|sum| (sum.poolid, sum.stat_sum)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_by_pool_and_class() {
        let text = r#"{"stats": {"total_bytes": 9}, "stats_by_class": {"ssd": {"total_bytes": 4}},
            "pools": [{"id": 2, "stats": {"stored": 1, "rd": "x", "percent_used": 0.5}}]}"#;
        let df = df(text).unwrap();
        assert_eq!((df.space.total_bytes, df.space.total_used_bytes), (Some(9), None));
        assert_eq!(df.by_class["ssd"].total_bytes, Some(4));
        let wanted = [("percent_used", 0.5), ("stored", 1.0)].map(|(k, v)| (k.to_owned(), v));
        assert_eq!(df.pools[&2], Figures::from(wanted));
    }

    #[test]
    fn what_is_recovered_and_what_is_wrong() {
        let text = r#"[{"pool_id": 3, "recovery_rate": {"num_bytes_recovered": 7}},
            {"pool_id": 4, "recovery_rate": {}}, {"pool_id": 5}]"#;
        let rates = rates(text).unwrap();
        assert_eq!(rates[&3]["num_bytes_recovered"], 7.0);
        assert!(rates[&4].is_empty() && rates[&5].is_empty());
        let text = r#"{"pool_stats": [{"poolid": 1, "stat_sum": {"num_objects_repaired": 2}}]}"#;
        let objects = objects(text).unwrap();
        assert_eq!(objects[&1].num_objects_repaired, Some(2));
        assert_eq!(objects[&1].num_objects_degraded, None);
    }
}
