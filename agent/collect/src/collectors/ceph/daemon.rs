//! What is known of one daemon from run to run, so that a run asks and looks for as little as it can.

use std::io;
use std::sync::Arc;

use labstat_model::{Batch, Family};
use labstat_parse::ParseError;
use labstat_parse::ceph::{self, Plan, Schema};

use super::find::{Daemon, Kind};

/// How long it is believed what a daemon's counters are: it may have been restarted unseen, as
/// another version.
const SCHEMA_KEPT_MS: i64 = 600_000;

/// How soon it is asked again what its counters are when it dumps other ones. RGW has counters that
/// come and go with its buckets, and describes them in an answer many times as long.
const SCHEMA_PAUSE_MS: i64 = 60_000;

/// How long a monitor's operation may take before it is slow, as monitors have it unless told.
const MON_COMPLAINT_SECONDS: f64 = 30.0;

static OPS: Family =
    Family::gauge("labstat_ceph_daemon_ops_in_flight", "Operations that the daemon works on.");
static SLOW_OPS: Family = Family::gauge(
    "labstat_ceph_daemon_slow_ops",
    "Operations in flight that take longer than the daemon's complaint time.",
);
static PAST_SLOW_OPS: Family = Family::gauge(
    "labstat_ceph_daemon_historic_slow_ops",
    "Slow operations that are over, as far as the daemon remembers them; Ceph keeps 20.",
);
static PAST_SLOW_OP_AGE: Family = Family::gauge(
    "labstat_ceph_daemon_historic_slow_op_age_seconds",
    "How long ago the newest of the slow operations began that are over.",
);
static OSD_STATE: Family =
    Family::gauge("labstat_ceph_osd_state", "1 for the state that the OSD itself says it is in.");
static IN_QUORUM: Family = Family::gauge(
    "labstat_ceph_mon_in_quorum",
    "Whether the monitor itself says that it is one of a quorum.",
);
static LEADER: Family =
    Family::gauge("labstat_ceph_mon_leader", "Whether the monitor leads a quorum.");

/// How a daemon is asked for its counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `perf dump`, of any version.
    Perf,
    /// `counter dump`, which has counters with labels too; since Reef.
    Counter,
}

impl Dialect {
    pub(super) const fn schema(self) -> &'static str {
        match self {
            Self::Perf => "perf schema",
            Self::Counter => "counter schema",
        }
    }

    pub(super) const fn dump(self) -> &'static str {
        match self {
            Self::Perf => "perf dump",
            Self::Counter => "counter dump",
        }
    }
}

/// What is asked besides, of a daemon of this kind.
pub(super) const fn questions(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Osd => &[STATUS, BLOCKED, IN_FLIGHT, PAST_SLOW],
        Kind::Mds => &[BLOCKED, IN_FLIGHT],
        Kind::Mon => &[MON_STATUS, MON_OPS],
        Kind::Mgr | Kind::Rgw | Kind::RbdMirror => &[],
    }
}

const STATUS: &str = "status";
const BLOCKED: &str = "dump_blocked_ops";
const IN_FLIGHT: &str = "dump_ops_in_flight";
const PAST_SLOW: &str = "dump_historic_slow_ops";
const MON_STATUS: &str = "mon_status";
const MON_OPS: &str = "ops";

/// What a daemon's counters are.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) dialect: Dialect,
    /// None when it does not say: then it has all its counters, of unknown kind.
    pub(super) schema: Option<Arc<Schema>>,
    plan: Option<Arc<Plan>>,
    asked_ms: i64,
    /// It dumped other counters than it described.
    is_doubted: bool,
}

impl Known {
    pub(super) fn new(dialect: Dialect, schema: Option<Arc<Schema>>, now_ms: i64) -> Self {
        Self { dialect, schema, plan: None, asked_ms: now_ms, is_doubted: false }
    }

    /// Whether it is still to be believed.
    pub(super) fn is_good(&self, now_ms: i64) -> bool {
        let kept_ms = if self.is_doubted { SCHEMA_PAUSE_MS } else { SCHEMA_KEPT_MS };
        (self.asked_ms..self.asked_ms + kept_ms).contains(&now_ms)
    }

    /// Takes the values of a dump, and the plan by which they stand: this daemon's own, that of
    /// another (`others`) which is written alike, or a new one.
    pub(super) fn read(
        &mut self,
        dump: &str,
        others: &[Arc<Plan>],
        values: &mut Vec<f64>,
    ) -> Result<Arc<Plan>, ParseError> {
        if let Some(plan) = &self.plan {
            if plan.read(dump, values)? {
                return Ok(Arc::clone(plan));
            }
            self.is_doubted = true;
        }
        let new = Plan::new(self.schema.as_deref(), dump)?;
        let known = others.iter().find(|plan| ***plan == new);
        let plan = known.map_or_else(|| Arc::new(new), Arc::clone);
        plan.read(dump, values)?;
        self.plan = Some(Arc::clone(&plan));
        Ok(plan)
    }
}

/// Adds what a daemon answered to one of its [`questions`]. What it does not say, or says in words
/// that are not known, is left out.
pub(super) fn push_answer(
    daemon: &Daemon,
    labels: &[(&str, &str)],
    question: &str,
    answer: &io::Result<Vec<u8>>,
    out: &mut Batch,
) {
    let Ok(text) =
        answer.as_ref().map_err(|_| ()).and_then(|frame| ceph::reply(frame).map_err(|_| ()))
    else {
        tracing::debug!(daemon = daemon.name, question, "not answered");
        return;
    };
    let mut gauge = |family: &Family, value: f64| out.push(family, labels, value);
    match question {
        STATUS => {
            if let Ok(state) = ceph::osd_state(text) {
                let mut labels = labels.to_vec();
                labels.push(("state", &state));
                out.push(&OSD_STATE, &labels, 1.0);
            }
        }
        BLOCKED => ceph::blocked_ops(text).into_iter().for_each(|ops| gauge(&SLOW_OPS, ops as f64)),
        IN_FLIGHT => ceph::ops_in_flight(text).into_iter().for_each(|ops| gauge(&OPS, ops as f64)),
        PAST_SLOW => {
            if let Ok(past) = ceph::past_slow_ops(text) {
                gauge(&PAST_SLOW_OPS, past.count as f64);
                past.newest_age_seconds.into_iter().for_each(|age| gauge(&PAST_SLOW_OP_AGE, age));
            }
        }
        MON_OPS => {
            if let (Ok(ops), Ok(slow)) =
                (ceph::ops_in_flight(text), ceph::ops_older(text, MON_COMPLAINT_SECONDS))
            {
                gauge(&OPS, ops as f64);
                gauge(&SLOW_OPS, slow as f64);
            }
        }
        _ => {
            if let Ok(status) = ceph::mon_status(text) {
                gauge(&IN_QUORUM, f64::from(u8::from(status.in_quorum)));
                gauge(&LEADER, f64::from(u8::from(status.is_leader)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_MS: i64 = 1_700_000_000_000;

    /// A daemon that dumps other names than before may be another version: what it said of them is
    /// believed no longer, and it is not asked in each run for that.
    #[test]
    fn other_counters_are_described_anew() {
        let schema = |name: &str| {
            let json = format!("{{\"osd\":{{\"{name}\":{{\"type\":2,\"priority\":5}}}}}}");
            Some(Arc::new(Schema::parse(&json).unwrap()))
        };
        let mut known = Known::new(Dialect::Perf, schema("old"), AT_MS);
        let mut values = Vec::new();
        let plan = known.read("{\"osd\":{\"old\":1}}", &[], &mut values).unwrap();
        assert_eq!((plan.series().len(), values.as_slice()), (1, [1.0].as_slice()));
        let minute = AT_MS + SCHEMA_PAUSE_MS;
        assert!(known.is_good(minute) && !known.is_good(AT_MS + SCHEMA_KEPT_MS));
        assert!(!known.is_good(AT_MS - 1), "a clock that was set back says nothing");

        let plan = known.read("{\"osd\":{\"new\":2}}", &[], &mut values).unwrap();
        assert!(plan.series().is_empty(), "nothing is said of what is not described");
        assert!(known.is_good(minute - 1) && !known.is_good(minute));
    }

    /// Daemons that are alike have one plan between them.
    #[test]
    fn plans_are_shared() {
        let dump = "{\"osd\":{\"op\":1}}";
        let mut values = Vec::new();
        let known = || Known::new(Dialect::Perf, None, AT_MS);
        let first = known().read(dump, &[], &mut values).unwrap();
        let second =
            known().read("{\"osd\":{\"op\":7}}", &[Arc::clone(&first)], &mut values).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(values, [7.0]);
        let other = known().read("{\"osd\":{\"op_w\":7}}", &[first], &mut values).unwrap();
        assert!(!Arc::ptr_eq(&other, &second));
    }
}
