//! Ceph daemons by their admin socket: requests, replies, `perf dump` and `perf schema`.
//!
//! A daemon takes one command a connection: JSON ended by a zero byte. It answers with a length
//! of four bytes, big-endian, and that many bytes: JSON, or text that begins with `ERROR: `.
//!
//! Not here: the socket itself.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::ParseError;

/// Bytes of one reply that are read. `perf schema` of an OSD has 175 KB, the largest reply of
/// the commands we send.
pub const REPLY_LEN_MAX: usize = 16 * 1024 * 1024;
/// Counters of one daemon. An OSD has about 1,000.
pub const COUNTERS_MAX: usize = 65_536;

/// The bytes that ask a daemon for `command`, such as `perf dump`.
pub fn request(command: &str) -> Vec<u8> {
    let mut bytes = serde_json::json!({ "prefix": command }).to_string().into_bytes();
    bytes.push(0);
    bytes
}

/// The bytes of a reply that follow its first four.
///
/// # Errors
/// A length over [`REPLY_LEN_MAX`].
pub fn reply_len(_header: [u8; 4]) -> Result<usize, ParseError> {
    Ok(0)
}

/// The JSON within a whole reply, its first four bytes included.
///
/// # Errors
/// A reply shorter than it says, larger than [`REPLY_LEN_MAX`], not UTF-8, or an error of the
/// daemon's own ([`ParseError::Refused`]).
pub fn reply(_frame: &[u8]) -> Result<&str, ParseError> {
    Ok("")
}

/// One counter of a daemon.
#[derive(Debug, Clone, PartialEq)]
pub struct Counter {
    /// The group it stands in, such as `osd` or `AsyncMessenger::Worker-0`.
    pub section: String,
    /// Its name, such as `op_r_latency`; names of nested groups are joined by dots.
    pub name: String,
    /// What it counts.
    pub value: Value,
}

/// Value of a counter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// One number.
    Number(f64),
    /// A running average: how often, and the sum. For latencies the sum is in seconds.
    Average {
        /// How often.
        count: u64,
        /// Sum of all.
        sum: f64,
    },
}

/// What kind of counter it is, by the daemon's own description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CounterKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// What `perf schema` says of one counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Whether it only grows.
    pub kind: CounterKind,
    /// It is a running average.
    pub average: bool,
    /// It measures time.
    pub time: bool,
    /// Words of the daemon.
    pub description: String,
    /// How much the daemon thinks it matters, 0 to 10 and more.
    pub priority: u64,
}

/// What `perf schema` says, by section and name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    sections: HashMap<String, HashMap<String, Description>>,
}

impl Schema {
    /// What is said of one counter.
    pub fn get(&self, section: &str, name: &str) -> Option<&Description> {
        self.sections.get(section)?.get(name)
    }
}

/// The counters in the JSON of `perf dump`, in its order. Histograms are left out.
///
/// # Errors
/// JSON that is broken or of another shape; more than [`COUNTERS_MAX`] counters.
pub fn perf_dump(_json: &str) -> Result<Vec<Counter>, ParseError> {
    Ok(Vec::new())
}

/// The descriptions in the JSON of `perf schema`.
///
/// # Errors
/// JSON that is broken or of another shape; more than [`COUNTERS_MAX`] counters.
pub fn perf_schema(_json: &str) -> Result<Schema, ParseError> {
    Ok(Schema::default())
}

/// The metric's name for a counter, as Ceph's own exporter has it: `osd` and `op_r` give
/// `ceph_osd_op_r`. A running average has two metrics, with `_sum` and `_count` after this.
pub fn metric_name(section: &str, name: &str) -> String {
    let _ = Cow::Borrowed(section);
    format!("ceph_{section}_{name}")
}
