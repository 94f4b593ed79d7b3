//! Ceph daemons by their admin socket: requests, replies, `perf dump` and `perf schema`.
//!
//! A daemon takes one command a connection: JSON ended by a zero byte. It answers with a length
//! of four bytes, big-endian, and that many bytes: JSON, or text that begins with `ERROR: `.
//!
//! Not here: the socket itself.

use std::collections::HashMap;

use serde_json::{Map, Value as Json};

use crate::ParseError;
use crate::error::shown;

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

/// Bytes before a reply that say how long it is.
pub const HEADER_LEN: usize = 4;

/// The bytes of a reply that follow its first four.
///
/// # Errors
/// A length over [`REPLY_LEN_MAX`].
pub fn reply_len(header: [u8; HEADER_LEN]) -> Result<usize, ParseError> {
    let count = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
    if count > REPLY_LEN_MAX {
        let what = "bytes of a reply of a Ceph daemon";
        return Err(ParseError::Limit { what, count, max: REPLY_LEN_MAX });
    }
    Ok(count)
}

/// The JSON within a whole reply, its first four bytes included.
///
/// # Errors
/// A reply shorter than it says, larger than [`REPLY_LEN_MAX`], not UTF-8, or an error of the
/// daemon's own ([`ParseError::Refused`]).
pub fn reply(frame: &[u8]) -> Result<&str, ParseError> {
    let missing = |missing| ParseError::Missing { what: "reply of a Ceph daemon", missing };
    let (header, body) = frame.split_first_chunk().ok_or_else(|| missing("length"))?;
    let body = body.get(..reply_len(*header)?).ok_or_else(|| missing("end"))?;
    let text = std::str::from_utf8(body).map_err(|_| missing("readable text"))?;
    let text = text.trim_end_matches('\0');
    match text.strip_prefix("ERROR: ") {
        Some(error) => {
            let text = error.split_whitespace().collect::<Vec<_>>().join(" ");
            Err(ParseError::Refused { from: "Ceph daemon", text: shown(&text) })
        }
        None => Ok(text),
    }
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

/// The lowest priority of counters that Ceph's own exporter shows.
const PRIORITY_USEFUL: u64 = 5;

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
    /// Forgets the counters that Ceph's own exporter leaves out: those of a low priority, most of
    /// them, some with an address in memory for a name.
    pub fn keep_useful(&mut self) {
        for counters in self.sections.values_mut() {
            counters.retain(|_, about| about.priority >= PRIORITY_USEFUL);
            counters.shrink_to_fit();
        }
        self.sections.retain(|_, counters| !counters.is_empty());
    }

    /// What is said of one counter.
    pub fn get(&self, section: &str, name: &str) -> Option<&Description> {
        self.sections.get(section)?.get(name)
    }
}

/// Bits of the number `type` in `perf schema`.
mod type_bit {
    pub(super) const TIME: u64 = 1;
    pub(super) const AVERAGE: u64 = 4;
    pub(super) const COUNTER: u64 = 8;
}

/// The counters in the JSON of `perf dump`, in no certain order. Histograms and text are left
/// out.
///
/// # Errors
/// JSON that is broken or of another shape; more than [`COUNTERS_MAX`] counters.
pub fn perf_dump(json: &str) -> Result<Vec<Counter>, ParseError> {
    let mut counters = Vec::new();
    for (section, group) in sections("perf dump", json)? {
        if let Json::Object(group) = group {
            flatten(&section, "", &group, &mut counters)?;
        }
    }
    Ok(counters)
}

fn sections(what: &'static str, json: &str) -> Result<Map<String, Json>, ParseError> {
    serde_json::from_str(json).map_err(|cause| ParseError::Json { what, cause })
}

/// Appends the counters of a group; the JSON reader has bounded its depth.
fn flatten(
    section: &str,
    prefix: &str,
    group: &Map<String, Json>,
    out: &mut Vec<Counter>,
) -> Result<(), ParseError> {
    for (key, json) in group {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let value = match json {
            Json::Number(number) => number.as_f64().map(Value::Number),
            Json::Object(nested) => match average(nested) {
                Some(average) => Some(average),
                None => {
                    flatten(section, &name, nested, out)?;
                    None
                }
            },
            _ => None,
        };
        let Some(value) = value else { continue };
        if out.len() >= COUNTERS_MAX {
            let (count, max) = (out.len() + 1, COUNTERS_MAX);
            return Err(ParseError::Limit { what: "counters of a Ceph daemon", count, max });
        }
        out.push(Counter { section: section.to_owned(), name, value });
    }
    Ok(())
}

/// `{"avgcount": 73, "sum": 0.0033, "avgtime": 0.000046}`
fn average(group: &Map<String, Json>) -> Option<Value> {
    let count = group.get("avgcount")?.as_u64()?;
    let sum = group.get("sum")?.as_f64()?;
    Some(Value::Average { count, sum })
}

/// The descriptions in the JSON of `perf schema`.
///
/// # Errors
/// JSON that is broken or of another shape; more than [`COUNTERS_MAX`] counters.
pub fn perf_schema(json: &str) -> Result<Schema, ParseError> {
    let mut schema = Schema::default();
    let mut count = 0_usize;
    for (section, group) in sections("perf schema", json)? {
        let Json::Object(group) = group else { continue };
        count = count.saturating_add(group.len());
        if count > COUNTERS_MAX {
            let (what, max) = ("counters of a Ceph daemon", COUNTERS_MAX);
            return Err(ParseError::Limit { what, count, max });
        }
        let described =
            group.into_iter().filter_map(|(name, json)| Some((name, description(&json)?)));
        schema.sections.insert(section, described.collect());
    }
    Ok(schema)
}

fn description(json: &Json) -> Option<Description> {
    let bits = json.get("type")?.as_u64()?;
    let is_set = |bit| bits & bit != 0;
    // Both halves of a running average only grow.
    let grows = is_set(type_bit::COUNTER) || is_set(type_bit::AVERAGE);
    Some(Description {
        kind: if grows { CounterKind::Counter } else { CounterKind::Gauge },
        average: is_set(type_bit::AVERAGE),
        time: is_set(type_bit::TIME),
        description: json.get("description").and_then(Json::as_str).unwrap_or_default().to_owned(),
        priority: json.get("priority").and_then(Json::as_u64).unwrap_or_default(),
    })
}

/// The metric's name for a counter, as Ceph's own exporter has it: `osd` and `op_r` give
/// `ceph_osd_op_r`. A running average has two metrics, with `_sum` and `_count` after this.
pub fn metric_name(section: &str, name: &str) -> String {
    let mut metric = String::with_capacity(section.len() + name.len() + 8);
    metric.push_str("ceph_");
    push_mangled(&mut metric, section, false);
    metric.push('_');
    push_mangled(&mut metric, name, true);
    metric
}

/// Appends `text` with what a metric name may not have replaced: a plus by `_plus`, a dash at
/// the very end by `_minus`, a double colon by one underscore, anything else by an underscore.
fn push_mangled(metric: &mut String, text: &str, is_last: bool) {
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            ':' if characters.peek() == Some(&':') => {
                characters.next();
                metric.push('_');
            }
            ':' | '_' => metric.push(character),
            '+' => metric.push_str("_plus"),
            '-' if is_last && characters.peek().is_none() => metric.push_str("_minus"),
            _ if character.is_ascii_alphanumeric() => metric.push(character),
            _ => metric.push('_'),
        }
    }
}
