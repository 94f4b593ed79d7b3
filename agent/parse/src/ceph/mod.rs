//! Ceph daemons by their admin socket: requests and replies, what their counters are called.
//!
//! What the counters are is a [`Schema`], how they stand in what a daemon dumps is a [`Plan`], and
//! the few other answers have a function each.
//!
//! A daemon takes one command a connection: JSON ended by a zero byte. It answers with a length
//! of four bytes, big-endian, and that many bytes: JSON, or text that begins with `ERROR: `.
//!
//! Not here: the socket itself.

use crate::ParseError;
use crate::error::shown;

mod answers;
mod plan;
mod schema;
mod walk;

pub use answers::{
    MonStatus, PastSlowOps, blocked_ops, mon_status, ops_in_flight, ops_older, osd_state,
    past_slow_ops,
};
pub use plan::{Plan, Series};
pub use schema::{CounterKind, Description, Schema};

/// Bytes of one reply that are read. `perf schema` of an OSD has 175 KB, the largest reply of
/// the commands we send.
pub const REPLY_LEN_MAX: usize = 16 * 1024 * 1024;
/// Counters of one daemon. An OSD has about 1,000.
pub const COUNTERS_MAX: usize = 65_536;

/// The bytes that ask a daemon for `command`, such as `perf dump`, without the blanks that it puts
/// into its answer for people.
pub fn request(command: &str) -> Vec<u8> {
    let object = serde_json::json!({ "prefix": command, "format": "json" });
    let mut bytes = object.to_string().into_bytes();
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
