//! Placement groups: what state each is in, on which OSDs it lies, and when it was scrubbed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{OSD_NONE, PGS_MAX, POOLS_MAX, bounded, field, json, object};
use crate::ParseError;

/// Words of a placement group's state, as Ceph has them.
pub const STATES: [&str; 34] = [
    "active",
    "clean",
    "down",
    "recovery_unfound",
    "backfill_unfound",
    "scrubbing",
    "degraded",
    "inconsistent",
    "peering",
    "repair",
    "recovering",
    "forced_recovery",
    "backfill_wait",
    "incomplete",
    "stale",
    "remapped",
    "deep",
    "backfilling",
    "forced_backfill",
    "backfill_toofull",
    "recovery_wait",
    "recovery_toofull",
    "undersized",
    "activating",
    "peered",
    "snaptrim",
    "snaptrim_wait",
    "snaptrim_error",
    "creating",
    "unknown",
    "premerge",
    "failed_repair",
    "laggy",
    "wait",
];

/// One placement group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pg {
    /// The pool it belongs to.
    pub pool: i64,
    /// Which of [`STATES`] it is in: a bit for each, the first of them the lowest.
    pub states: u64,
    /// The OSDs that have it and answer for it.
    pub acting: Vec<i64>,
}

impl Pg {
    /// Whether its state has this word.
    pub fn is(&self, state: &str) -> bool {
        self.states & bit(state) != 0
    }
}

fn bit(word: &str) -> u64 {
    STATES.iter().position(|known| *known == word).map_or(0, |at| 1 << at)
}

#[derive(Deserialize)]
struct RawDump<T> {
    pg_stats: Vec<T>,
}

#[derive(Deserialize)]
struct RawPg<'a> {
    #[serde(borrow)]
    pgid: &'a str,
    #[serde(borrow)]
    state: &'a str,
    acting: Vec<i64>,
}

/// Reads the reply to `pg dump pgs_brief`. A group whose id makes no sense is left out.
///
/// # Errors
/// JSON that is broken or of another shape; more than [`PGS_MAX`] groups.
pub fn brief(text: &str) -> Result<Vec<Pg>, ParseError> {
    // What Nautilus and later wrap, earlier releases do not.
    let raw = match serde_json::from_str::<RawDump<RawPg<'_>>>(text) {
        Ok(dump) => dump.pg_stats,
        Err(cause) => serde_json::from_str(text)
            .map_err(|_| ParseError::Json { what: "ceph pg dump", cause })?,
    };
    bounded("placement groups", raw.len(), PGS_MAX)?;
    Ok(raw.into_iter().filter_map(pg).collect())
}

fn pg(mut raw: RawPg<'_>) -> Option<Pg> {
    raw.acting.retain(|osd| (0..OSD_NONE).contains(osd));
    let states = raw.state.split('+').map(bit).fold(0, |all, bit| all | bit);
    Some(Pg { pool: pool_of(raw.pgid)?, states, acting: raw.acting })
}

/// `3.1f` belongs to the pool 3.
fn pool_of(pgid: &str) -> Option<i64> {
    pgid.split_once('.')?.0.parse().ok()
}

/// When the group of a pool that waits longest was scrubbed, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Oldest {
    /// Sizes and times compared.
    pub scrub_seconds: Option<f64>,
    /// All data read.
    pub deep_scrub_seconds: Option<f64>,
}

#[derive(Deserialize)]
struct RawScrub {
    pgid: String,
    #[serde(default, deserialize_with = "field")]
    last_scrub_stamp: Option<String>,
    #[serde(default, deserialize_with = "field")]
    last_deep_scrub_stamp: Option<String>,
}

/// The oldest scrubs by the pool's number, out of the reply to `pg dump pgs`.
///
/// # Errors
/// JSON that is broken or of another shape; more than [`PGS_MAX`] groups.
pub fn oldest_scrubs(text: &str) -> Result<BTreeMap<i64, Oldest>, ParseError> {
    let raw = match json::<RawDump<RawScrub>>("ceph pg dump", text) {
        Ok(dump) => dump.pg_stats,
        Err(cause) => json("ceph pg dump", text).map_err(|_| cause)?,
    };
    bounded("placement groups", raw.len(), PGS_MAX)?;
    let mut pools: BTreeMap<i64, Oldest> = BTreeMap::new();
    for pg in &raw {
        let Some(pool) = pool_of(&pg.pgid) else { continue };
        let oldest = pools.entry(pool).or_default();
        note(&mut oldest.scrub_seconds, pg.last_scrub_stamp.as_deref());
        note(&mut oldest.deep_scrub_seconds, pg.last_deep_scrub_stamp.as_deref());
    }
    Ok(pools)
}

/// Reads [`oldest_scrubs`] as it was written down as JSON: the dump itself has some 6 KB a group.
///
/// # Errors
/// JSON that is broken or of another shape; more than [`POOLS_MAX`] pools.
pub fn oldest_scrubs_kept(text: &str) -> Result<BTreeMap<i64, Oldest>, ParseError> {
    let pools: BTreeMap<i64, Oldest> = object("oldest scrubs", text)?;
    bounded("pools", pools.len(), POOLS_MAX)?;
    Ok(pools)
}

fn note(oldest: &mut Option<f64>, stamp: Option<&str>) {
    if let Some(seconds) = stamp.and_then(super::seconds) {
        *oldest = Some(oldest.map_or(seconds, |known: f64| known.min(seconds)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_places() {
        let list = r#"[{"pgid": "3.1f", "state": "active+undersized+degraded",
            "up": [1, 2147483647, 0], "acting": [1, 2147483647, 0], "up_primary": 1},
            {"pgid": "x", "state": "", "acting": []}, {"pgid": "4.0", "state": "new", "acting": [-1]}]"#;
        for text in [list.to_owned(), format!(r#"{{"pg_ready": true, "pg_stats": {list}}}"#)] {
            let pgs = brief(&text).unwrap();
            assert_eq!(pgs.len(), 2, "one has no pool");
            assert_eq!((pgs[0].pool, &pgs[0].acting[..]), (3, &[1, 0][..]));
            assert!(pgs[0].is("active") && pgs[0].is("degraded") && !pgs[0].is("clean"));
            assert!(!pgs[0].is("no such state"));
            assert_eq!((pgs[1].states, pgs[1].acting.len()), (0, 0));
        }
    }

    #[test]
    fn the_group_that_waits_longest() {
        let text = r#"{"pg_stats": [
            {"pgid": "1.0", "last_scrub_stamp": "2026-11-21T03:06:11.0+0000"},
            {"pgid": "1.1", "last_scrub_stamp": "2026-11-20T03:06:11.0+0000",
             "last_deep_scrub_stamp": "0.000000"}, {"pgid": "2.0"}]}"#;
        let pools = oldest_scrubs(text).unwrap();
        let day_before = Oldest { scrub_seconds: Some(1_795_143_971.0), deep_scrub_seconds: None };
        assert_eq!(pools, BTreeMap::from([(1, day_before), (2, Oldest::default())]));
        let kept = serde_json::to_string(&pools).unwrap();
        assert_eq!(oldest_scrubs_kept(&kept).unwrap(), pools);
    }
}
