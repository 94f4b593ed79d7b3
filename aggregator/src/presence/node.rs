//! What is known of one node and its jobs: how often it usually sends, and how long it may be silent.
//!
//! Not here: when it is heard and what becomes of its silence, which [`super::Presence`] decides, and what is
//! stored in its place, which is in `last_words`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Intervals remembered of one node; their median is its usual interval, so that one backlog or
/// one hiccup does not move it.
const INTERVALS_LEN: usize = 8;

/// Intervals that must be known before their median is believed.
const INTERVALS_MIN: usize = 3;

/// Usual intervals of silence before a node counts as down.
const INTERVALS_SILENT: i64 = 3;

/// The least silence that counts: a restart of an agent fits.
pub(super) const SILENCE_MIN_MS: i64 = 30_000;

/// The silence that counts for a node whose interval is not known: the look-back of queries.
const SILENCE_UNKNOWN_MS: i64 = 300_000;

/// The longest silence that is waited for, whatever the interval.
const SILENCE_MAX_MS: i64 = 3_600_000;

/// The silence that counts for one whose write was refused: a full disk asks for a minute, and agents wait as
/// long at the most between two tries.
const SILENCE_REFUSED_MS: i64 = 180_000;

/// How far from now a sample's time may be to tell something of its sender's interval. A backlog
/// comes in large parts, and a clock that is wrong may be right in a moment.
const FRESH_MS: i64 = SILENCE_UNKNOWN_MS;

/// What is known of one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Node {
    pub(super) jobs: BTreeMap<String, Job>,
    pub(super) heard_ms: i64,
    newest_ms: i64,
    intervals_ms: Vec<i64>,
    pub(super) down: bool,
    /// Whether a labstat agent sends for it.
    pub(super) agent: bool,
    /// See [`NodeView::skew_ms`]; not known after a restart.
    #[serde(skip)]
    pub(super) skew_ms: Option<i64>,
    /// See [`NodeView::refused`]; not known after a restart.
    #[serde(skip)]
    pub(super) refused: bool,
}

/// One job of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Job {
    /// Whether it sends `up` itself. If not, our zero must be ended when it is heard again.
    pub(super) sends_up: bool,
    /// Whether the last `up` of it that we know is our zero.
    pub(super) marked: bool,
    /// When a write that could not be stored last brought it, since one of its node was stored.
    #[serde(skip)]
    pub(super) refused_ms: Option<i64>,
}

impl Job {
    /// Whether it still counts as there by a write that could not be stored.
    pub(super) fn is_there(&self, now_ms: i64) -> bool {
        self.refused_ms.is_some_and(|ms| now_ms.saturating_sub(ms) <= SILENCE_REFUSED_MS)
    }
}

/// A node as `/api/labstat/v1/nodes` tells of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NodeView {
    pub(crate) name: String,
    pub(crate) jobs: Vec<String>,
    /// When it was last heard.
    pub(crate) heard_ms: i64,
    /// The time of its newest sample.
    pub(crate) newest_ms: i64,
    /// How often it usually sends, when that is known.
    pub(crate) interval_ms: Option<i64>,
    /// How long it may be silent before it counts as down.
    pub(crate) silence_max_ms: i64,
    /// Whether it has been silent for too long.
    pub(crate) down: bool,
    /// How far the newest sample of its last write was ahead of our clock; behind when negative.
    pub(crate) skew_ms: Option<i64>,
    /// Whether what it last said could not be stored: it is there, and nothing is known of what it has.
    pub(crate) refused: bool,
}

impl NodeView {
    /// Whether what is missing in the history is missing: what it says is heard and kept.
    pub(crate) fn is_recorded(&self) -> bool {
        !self.down && !self.refused
    }
}

impl Node {
    /// One that is heard for the first time, without a job yet.
    pub(super) fn new(now_ms: i64) -> Self {
        Self {
            jobs: BTreeMap::new(),
            heard_ms: now_ms,
            newest_ms: i64::MIN,
            intervals_ms: Vec::new(),
            down: false,
            agent: false,
            skew_ms: None,
            refused: false,
        }
    }

    /// Takes note of the newest sample of a write.
    pub(super) fn note_time(&mut self, time_ms: i64, now_ms: i64) {
        if time_ms <= self.newest_ms || time_ms > now_ms.saturating_add(FRESH_MS) {
            return;
        }
        if self.newest_ms != i64::MIN && time_ms >= now_ms.saturating_sub(FRESH_MS) {
            if self.intervals_ms.len() >= INTERVALS_LEN {
                self.intervals_ms.remove(0);
            }
            self.intervals_ms.push(time_ms.saturating_sub(self.newest_ms));
        }
        self.newest_ms = time_ms;
    }

    fn interval_ms(&self) -> Option<i64> {
        if self.intervals_ms.len() < INTERVALS_MIN {
            return None;
        }
        let mut sorted = self.intervals_ms.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    pub(super) fn silence_max_ms(&self) -> i64 {
        let usual = self.interval_ms().map(|ms| ms.saturating_mul(INTERVALS_SILENT));
        let least_ms = if self.refused { SILENCE_REFUSED_MS } else { SILENCE_MIN_MS };
        usual.unwrap_or(SILENCE_UNKNOWN_MS).clamp(least_ms, SILENCE_MAX_MS)
    }

    pub(super) fn view(&self, name: &str) -> NodeView {
        NodeView {
            name: name.to_owned(),
            jobs: self.jobs.keys().cloned().collect(),
            heard_ms: self.heard_ms,
            newest_ms: self.newest_ms,
            interval_ms: self.interval_ms(),
            silence_max_ms: self.silence_max_ms(),
            down: self.down,
            skew_ms: self.skew_ms,
            refused: self.refused,
        }
    }
}
