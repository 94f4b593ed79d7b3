//! What daemons say beside their counters, each answer as far as it is used.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::ParseError;

/// What a monitor says of itself in `mon_status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonStatus {
    /// Whether it is one of the monitors that agree.
    pub in_quorum: bool,
    /// Whether it leads them.
    pub is_leader: bool,
    /// The cluster's id.
    pub fsid: Option<String>,
}

/// Reads the answer to `mon_status`.
///
/// # Errors
/// JSON that is broken or of another shape.
pub fn mon_status(json: &str) -> Result<MonStatus, ParseError> {
    #[derive(Deserialize)]
    struct Answer {
        state: String,
        rank: i64,
        quorum: Vec<i64>,
        monmap: Option<Map>,
    }
    #[derive(Deserialize)]
    struct Map {
        fsid: Option<String>,
    }
    let answer: Answer = read("mon_status", json)?;
    // While monitors elect, the last quorum may still be told.
    let in_quorum =
        matches!(answer.state.as_str(), "leader" | "peon") && answer.quorum.contains(&answer.rank);
    let is_leader = in_quorum && answer.state == "leader";
    Ok(MonStatus { in_quorum, is_leader, fsid: answer.monmap.and_then(|map| map.fsid) })
}

/// The state of an OSD, such as `active` or `booting`, out of its `status`.
///
/// # Errors
/// JSON that is broken or of another shape; a state that is no word.
pub fn osd_state(json: &str) -> Result<String, ParseError> {
    #[derive(Deserialize)]
    struct Answer {
        state: String,
    }
    let Answer { state } = read("status of an OSD", json)?;
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if state.is_empty() || state.len() > STATE_LEN_MAX || !state.chars().all(is_word) {
        return Err(ParseError::Missing { what: "status of an OSD", missing: "state" });
    }
    Ok(state)
}

/// Bytes of an OSD's state; the longest is `waiting_for_healthy`.
const STATE_LEN_MAX: usize = 64;

/// How many operations a daemon works on, out of `dump_ops_in_flight` or `ops`.
///
/// # Errors
/// JSON that is broken or of another shape.
pub fn ops_in_flight(json: &str) -> Result<u64, ParseError> {
    #[derive(Deserialize)]
    struct Answer {
        num_ops: u64,
    }
    read("operations in flight", json).map(|Answer { num_ops }| num_ops)
}

/// How many operations take longer than the daemon's complaint time, out of `dump_blocked_ops`.
///
/// # Errors
/// JSON that is broken or of another shape.
pub fn blocked_ops(json: &str) -> Result<u64, ParseError> {
    #[derive(Deserialize)]
    struct Answer {
        num_blocked_ops: u64,
    }
    read("blocked operations", json).map(|Answer { num_blocked_ops }| num_blocked_ops)
}

/// How many operations of `ops` are older than `seconds`.
///
/// # Errors
/// JSON that is broken or of another shape.
pub fn ops_older(json: &str, seconds: f64) -> Result<usize, ParseError> {
    #[derive(Deserialize)]
    struct Answer {
        ops: Vec<Op>,
    }
    #[derive(Deserialize)]
    struct Op {
        age: f64,
    }
    let answer: Answer = read("operations in flight", json)?;
    Ok(answer.ops.iter().filter(|op| op.age > seconds).count())
}

/// Slow operations that are over, as far as the daemon remembers them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PastSlowOps {
    /// How many; Ceph keeps 20 unless told otherwise.
    pub count: usize,
    /// How long ago the newest of them began.
    pub newest_age_seconds: Option<f64>,
}

/// Reads the answer to `dump_historic_slow_ops`.
///
/// # Errors
/// JSON that is broken or of another shape.
pub fn past_slow_ops(json: &str) -> Result<PastSlowOps, ParseError> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "Ops")]
        ops: Vec<Op>,
    }
    #[derive(Deserialize)]
    struct Op {
        age: Option<f64>,
    }
    let Answer { ops } = read("slow operations that are over", json)?;
    let newest_age_seconds = ops.iter().filter_map(|op| op.age).reduce(f64::min);
    Ok(PastSlowOps { count: ops.len(), newest_age_seconds })
}

fn read<T: DeserializeOwned>(what: &'static str, json: &str) -> Result<T, ParseError> {
    serde_json::from_str(json).map_err(|cause| ParseError::Json { what, cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monitor_leads_only_within_a_quorum() {
        let status = |state: &str, quorum: &str| {
            let json = format!(
                "{{\"state\":\"{state}\",\"rank\":1,\"quorum\":{quorum},\"monmap\":{{\"fsid\":\"f\"}}}}"
            );
            let status = mon_status(&json).unwrap();
            assert_eq!(status.fsid.as_deref(), Some("f"));
            (status.in_quorum, status.is_leader)
        };
        assert_eq!(status("leader", "[0,1]"), (true, true));
        assert_eq!(status("peon", "[0,1]"), (true, false));
        assert_eq!(status("probing", "[]"), (false, false));
        assert_eq!(status("electing", "[0,1]"), (false, false));
        assert_eq!(status("leader", "[0,2]"), (false, false));
        assert!(mon_status("{\"state\":\"leader\"}").is_err());
    }

    #[test]
    fn operations_are_counted() {
        assert_eq!(ops_in_flight("{\"ops\":[],\"num_ops\":3}").unwrap(), 3);
        assert_eq!(blocked_ops("{\"ops\":[],\"num_blocked_ops\":2}").unwrap(), 2);
        let ops = "{\"ops\":[{\"age\":31.5},{\"age\":2}],\"num_ops\":2}";
        assert_eq!(ops_older(ops, 30.0).unwrap(), 1);
        for text in ["op_tracker tracking is not enabled now", "{}", "[]", ""] {
            assert!(ops_in_flight(text).is_err() && blocked_ops(text).is_err());
            assert!(ops_older(text, 1.0).is_err());
        }
    }

    #[test]
    fn slow_operations_that_are_over() {
        let of = |ops: &str| {
            let json = format!(r#"{{"num to keep": 20, "threshold to keep": 10, "Ops": [{ops}]}}"#);
            let past = past_slow_ops(&json).unwrap();
            (past.count, past.newest_age_seconds)
        };
        let op = |age: f64| {
            format!(
                r#"{{"description": "osd_op(client.4 1.0 w)", "initiated_at": "2026-11-21T03:06:11.1+0000",
                    "age": {age}, "duration": 31.5, "type_data": {{"events": []}}}}"#
            )
        };
        assert_eq!(of(""), (0, None));
        assert_eq!(of(&[op(301.5), op(42.25), op(90.0)].join(",")), (3, Some(42.25)));
        assert_eq!(of("{}"), (1, None));
        for text in ["op_tracker tracking is not enabled now", "{}", "[]", "", "{\"Ops\": 3}"] {
            assert!(past_slow_ops(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_state_is_a_word() {
        assert_eq!(
            osd_state("{\"state\":\"waiting_for_healthy\"}").unwrap(),
            "waiting_for_healthy"
        );
        assert!(osd_state("{\"state\":\"\"}").is_err());
        assert!(osd_state("{\"state\":\"a b\"}").is_err());
        assert!(osd_state(&format!("{{\"state\":\"{}\"}}", "x".repeat(65))).is_err());
    }
}
