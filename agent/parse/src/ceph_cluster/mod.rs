//! What a Ceph cluster says of itself: the JSON of `ceph … -f json`, from Luminous to Squid.
//!
//! One function for each command, each in the file of its part: [`status`](mod@status) (health, placement
//! groups in sum), [`daemons`] (monitors, managers, MDS, crashes), [`osds`] (map, tree, usage, latency,
//! devices), [`pools`] (usage, recovery) and [`pgs`] (where each placement group lies, when it was
//! scrubbed). And the [`page`] of the manager's prometheus module, which says some of that as text.
//!
//! Versions differ in what they say: what is not there, or is of another kind than it should be, is
//! absent and never 0; a reply as a whole that has another shape is an error.
//!
//! Not here: how a cluster is asked (`labstat-collect`), and single daemons ([`crate::ceph`]).

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer};

use crate::ParseError;
use crate::loose::{self, Loose};

pub mod daemons;
pub mod osds;
pub mod page;
pub mod pgs;
pub mod pools;
pub mod status;
mod time;

pub use time::seconds;

/// OSDs of one cluster; the largest known have some ten thousand.
pub const OSDS_MAX: usize = 16_384;
/// Pools of one cluster; each has a dozen series and more.
pub const POOLS_MAX: usize = 1_024;
/// Placement groups of one cluster: 100 on each of a few thousand OSDs.
pub const PGS_MAX: usize = 262_144;
/// Monitors, managers or metadata servers of one cluster.
pub const DAEMONS_MAX: usize = 1_024;
/// Health checks at once; Ceph knows about a hundred.
pub const CHECKS_MAX: usize = 256;
/// Crashes that nobody has looked at; a daemon that crashes in a loop leaves one each minute.
pub const CRASHES_MAX: usize = 65_536;

/// What stands in a list of OSDs in place of one that is missing: CRUSH's "none".
pub const OSD_NONE: i64 = 0x7fff_ffff;

/// Reads the reply to the command `what`.
fn json<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, ParseError> {
    serde_json::from_str(text).map_err(|cause| ParseError::Json { what, cause })
}

/// Reads the reply to the command `what`, which is an object: a list would be taken for its values.
fn object<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, ParseError> {
    if !text.trim_start().starts_with('{') {
        return Err(ParseError::Missing { what, missing: "object" });
    }
    json(what, text)
}

/// Refuses a reply that says more of something than any cluster has.
fn bounded(what: &'static str, count: usize, max: usize) -> Result<(), ParseError> {
    if count > max { Err(ParseError::Limit { what, count, max }) } else { Ok(()) }
}

/// For `#[serde(deserialize_with)]`: a value, or nothing when it is of another kind.
fn field<'de, D: Deserializer<'de>, T: Loose>(from: D) -> Result<Option<T>, D::Error> {
    loose::field(from)
}

/// For `#[serde(deserialize_with)]`: a value, or its default when there is `null` in its place.
fn or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures")).join(name)
    }

    /// Every captured reply is understood by the parser of its command.
    #[test]
    fn replies_of_a_live_cluster_in_fifteen_states() {
        let Ok(states) = fs::read_dir(folder("ceph-live")) else {
            println!("SKIPPED: no ../shared/fixtures/ceph-live");
            return;
        };
        let mut read = 0;
        for state in states.flatten().filter(|entry| entry.path().is_dir()) {
            let Ok(files) = fs::read_dir(state.path()) else { continue };
            for file in files.flatten() {
                let text = fs::read_to_string(file.path()).unwrap();
                let name = file.file_name().into_string().unwrap();
                let result = match name.as_str() {
                    "status.json" => status::status(&text).map(drop),
                    "quorum-status.json" => daemons::quorum_status(&text).map(drop),
                    "mgr-dump.json" => daemons::mgr_dump(&text).map(drop),
                    "crash-ls.json" => daemons::crashes(&text).map(drop),
                    "osd-dump.json" => osds::dump(&text).map(drop),
                    "osd-tree.json" => osds::tree(&text).map(drop),
                    "osd-df.json" => osds::df(&text).map(drop),
                    "osd-perf.json" => osds::perf(&text).map(drop),
                    "osd-metadata.json" => osds::metadata(&text).map(drop),
                    "df-detail.json" => pools::df(&text).map(drop),
                    "pool-stats.json" => pools::rates(&text).map(drop),
                    "pg-dump-brief.json" => pgs::brief(&text).map(drop),
                    _ => continue,
                };
                result.unwrap_or_else(|error| panic!("{}: {error:?}", file.path().display()));
                read += 1;
            }
        }
        assert!(read > 150, "{read}");
    }

    /// Replies of other people's clusters, from Hammer to Squid.
    #[test]
    fn replies_of_other_versions() {
        let dir = folder("ceph");
        let Ok(files) = fs::read_dir(&dir) else {
            println!("SKIPPED: no ../shared/fixtures/ceph");
            return;
        };
        let mut read = 0;
        for file in files.flatten() {
            let text = fs::read_to_string(file.path()).unwrap();
            let name = file.file_name().into_string().unwrap();
            let result = match name.as_str() {
                name if name.contains("perf-dump") => continue,
                name if name.contains("status") => status::status(&text).map(drop),
                name if name.contains("osd-dump") => osds::dump(&text).map(drop),
                name if name.contains("osd-tree") => osds::tree(&text).map(drop),
                name if name.contains("osd-df") => osds::df(&text).map(drop),
                name if name.contains("osd-perf") => osds::perf(&text).map(drop),
                name if name.contains("pool-stats") => pools::rates(&text).map(drop),
                name if name.contains("df") => pools::df(&text).map(drop),
                _ => status::status(&text).map(drop),
            };
            result.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            read += 1;
        }
        assert!(read > 20, "{read}");
    }

    #[test]
    fn a_reply_of_another_shape_is_an_error_and_not_an_empty_cluster() {
        for text in ["", "[]", "3", "\"x\"", "{\"nodes\": 3}", "{\"nodes\": [3]}", "{\"nodes\": [{"]
        {
            assert!(osds::tree(text).is_err(), "{text}");
            assert!(osds::df(text).is_err(), "{text}");
        }
        for text in ["", "[]", "null", "{", "{\"health\": 3}"] {
            assert!(status::status(text).is_err(), "{text}");
        }
        assert!(osds::metadata("{}").is_err());
        assert!(pgs::brief("{\"pg_stats\": {}}").is_err());
        assert!(pools::df("[1]").is_err());
    }

    #[test]
    fn more_than_any_cluster_has_is_refused() {
        let crashes = format!("[{}{{}}]", "{},".repeat(CRASHES_MAX));
        let error = daemons::crashes(&crashes).unwrap_err();
        assert!(matches!(error, ParseError::Limit { count: 65_537, .. }), "{error:?}");
    }

    #[test]
    fn nesting_has_an_end() {
        for key in ["health", "pgmap", "mgrmap", "unknown"] {
            let deep = format!("{{\"{key}\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
            let read = status::status(&deep);
            assert!(read.is_err() || read.unwrap() == status::Status::default(), "{key}");
        }
    }
}
