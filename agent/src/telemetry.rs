//! Figures about the agent itself: counted while it works, emitted with every round.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use labstat_collect::Counts;
use labstat_model::{Batch, Family};

use crate::alarm::Reach;
use crate::process::seconds;

static BUILD: Family = Family::gauge("labstat_build_info", "The version of labstat; always 1.");
static ROUNDS: Family = Family::counter("labstat_agent_rounds_total", "Rounds that were run.");
static LATE: Family = Family::counter(
    "labstat_agent_rounds_late_total",
    "Rounds that began over a tenth of the interval after their tick.",
);
static MISSED: Family = Family::counter(
    "labstat_agent_rounds_missed_total",
    "Ticks without a round: the machine slept, its clock jumped, or a round took too long.",
);
static SENT: Family =
    Family::counter("labstat_agent_samples_sent_total", "Samples that the receiver acknowledged.");
static DROPPED: Family = Family::counter(
    "labstat_agent_samples_dropped_total",
    "Samples that never reached the receiver, by reason.",
);
static ERRORS: Family = Family::counter(
    "labstat_agent_ship_errors_total",
    "Requests that the receiver did not take, by kind.",
);
static LAST_SUCCESS: Family = Family::gauge(
    "labstat_agent_ship_last_success_timestamp_seconds",
    "When the receiver last acknowledged samples.",
);
static SPOOL_BYTES: Family =
    Family::gauge("labstat_agent_spool_bytes", "Bytes of rounds that wait on disk.");
static SPOOL_ROUNDS: Family =
    Family::gauge("labstat_agent_spool_rounds", "Rounds that wait on disk.");
static READS: Family = Family::counter(
    "labstat_agent_host_reads_total",
    "Files of the machine that were read, or tried to.",
);
static COMMANDS: Family =
    Family::counter("labstat_agent_host_commands_total", "Commands that were started.");
static KILLED: Family = Family::counter(
    "labstat_agent_host_commands_killed_total",
    "Commands that were killed at their deadline.",
);
static HUNG: Family = Family::gauge(
    "labstat_agent_host_hung",
    "Reads and commands that hang in the kernel at this moment.",
);

/// Why samples were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// The receiver said that they are wrong, or too many for one request.
    Rejected,
    /// The spool or the queue was full.
    Full,
    /// They were older than the spool keeps them.
    Old,
    /// What was on disk was damaged.
    Damaged,
}

/// The labels of [`Dropped`], in the order of their counters.
const DROPPED_REASONS: [&str; 4] = ["rejected", "full", "old", "damaged"];

/// Counters, shared by the tasks of one agent.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    pub(crate) rounds: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) missed: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) dropped: [AtomicU64; DROPPED_REASONS.len()],
    pub(crate) unavailable: AtomicU64,
    pub(crate) rejected: AtomicU64,
    /// Milliseconds since the Unix epoch; 0 before the first success.
    pub(crate) last_success_ms: AtomicI64,
    pub(crate) spool_bytes: AtomicU64,
    pub(crate) spool_rounds: AtomicU64,
    /// Whether the receiver can be reached.
    pub(crate) reach: Reach,
}

/// How shipping goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shipped {
    /// Rounds that were run.
    pub rounds: u64,
    /// Samples that the receiver acknowledged.
    pub samples_sent: u64,
    /// Samples that never reached it.
    pub samples_dropped: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Rounds that wait on disk.
    pub spool_rounds: u64,
}

/// Adds to a counter. The counters say nothing about other memory, so no order is needed.
pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Telemetry {
    pub(crate) fn drop_samples(&self, reason: Dropped, samples: u64) {
        if let Some(counter) = self.dropped.get(reason as usize) {
            add(counter, samples);
        }
    }

    pub(crate) fn shipped(&self) -> Shipped {
        Shipped {
            rounds: get(&self.rounds),
            samples_sent: get(&self.sent),
            samples_dropped: self.dropped.iter().map(get).sum(),
            errors: get(&self.unavailable) + get(&self.rejected),
            spool_rounds: get(&self.spool_rounds),
        }
    }

    /// Adds all figures. `ships` says whether there is a receiver: without one, figures about
    /// shipping would be zeros that mean nothing.
    pub(crate) fn collect(&self, ships: bool, counts: Counts, out: &mut Batch) {
        out.push(&BUILD, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        let mut push = |family, number| out.push(family, &[], value(number));
        push(&ROUNDS, get(&self.rounds));
        push(&LATE, get(&self.late));
        push(&MISSED, get(&self.missed));
        push(&READS, counts.reads);
        push(&COMMANDS, counts.commands);
        push(&KILLED, counts.commands_killed);
        push(&HUNG, counts.hung);
        if !ships {
            return;
        }
        push(&SENT, get(&self.sent));
        push(&SPOOL_BYTES, get(&self.spool_bytes));
        push(&SPOOL_ROUNDS, get(&self.spool_rounds));
        for (reason, counter) in DROPPED_REASONS.iter().zip(&self.dropped) {
            out.push(&DROPPED, &[("reason", reason)], value(get(counter)));
        }
        out.push(&ERRORS, &[("kind", "unavailable")], value(get(&self.unavailable)));
        out.push(&ERRORS, &[("kind", "rejected")], value(get(&self.rejected)));
        let last_ms = self.last_success_ms.load(Ordering::Relaxed);
        if last_ms != 0 {
            out.push(&LAST_SUCCESS, &[], seconds(last_ms));
        }
    }
}

fn value(number: u64) -> f64 {
    number as f64
}
