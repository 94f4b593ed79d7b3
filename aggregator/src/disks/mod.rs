//! Every disk ever seen: what is thought of it, and whether it still answers.
//!
//! ```text
//! newest samples ──► heard ──► registry ──► what is new ──► Reading ──► judge ──► finding
//!                                  │                                                 │
//!                     silence ◄────┴──────────► what is shown ◄─────────────────────┘
//!                                                    │
//!                              samples of our own, /api/labstat/v1/disks
//! ```
//!
//! A disk is its model and serial number. It keeps its entry, and with it what was acknowledged,
//! whatever it is called and wherever it is plugged in. What tells no serial number is shown while
//! it is there and is not expected. Two machines that are told the same serial number at once have
//! two disks, and so has one whose agent reads two places side by side. Of a stock exporter, these
//! are two paths to one.
//!
//! - What gets worse counts at once, what gets better with the second reading that says so, each
//!   reason for itself. A finding that nothing is known takes nothing back.
//! - A disk that sleeps keeps what was found, and is shown as asleep when that was nothing.
//! - A disk that has told of its health and gives no sign of life for three of its usual intervals,
//!   and at least half an hour, is silent. Asleep is a sign of life. When its whole node is silent,
//!   so is the disk, but that is told once, of the node. `act` and `dead` are hidden by silence only
//!   when there is no such device any more.
//! - What is forgotten comes back when it is read or seen asleep, and not while it only fails.
//!
//! [`registry`], [`disk`], [`heard`], [`samples`] and [`document`] are pure; here is what they need
//! of the store. What makes a disk good or bad is in `labstat-disks`.

pub(crate) mod disk;
mod document;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod heard;
mod identity;
pub(crate) mod registry;
mod samples;
pub(crate) use samples::is_ours;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use labstat_disks::{Reading, State, families};
use labstat_model::{METRIC_NAME, MatchOp, Matcher, Series, WriteRequest, is_stale};
use labstat_store::NEVER;

use crate::storage::{SharedStorage, StorageError};
use disk::Judged;
pub(crate) use identity::{Identity, Place};
use registry::{Due, Nodes, Registry};

/// How far back the first look goes: a stock exporter may be asked once an hour.
const FIRST_MS: i64 = 3_600_000;

/// How far a look goes back beyond the one before it: rounds arrive late.
const OVERLAP_MS: i64 = 300_000;

/// How far ahead of ours the clock of a sender may be.
const AHEAD_MS: i64 = 300_000;

/// How often what changes with every reading is kept; what matters is kept at once.
const KEEP_MS: i64 = 600_000;

/// The disks of all machines.
#[derive(Debug)]
pub(crate) struct Disks {
    registry: Mutex<Registry>,
    /// Held over a whole look, so that there is one at a time.
    looking: Mutex<Looking>,
    /// Held by whoever looks and puts down what it gave, so that the last look is put down last.
    writing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Looking {
    last_ms: Option<i64>,
    kept_ms: Option<i64>,
}

/// What one look gave.
#[derive(Debug)]
pub(crate) struct Looked {
    /// To be stored.
    pub(crate) samples: WriteRequest,
    /// To be kept, when something that matters has changed or it is time.
    pub(crate) document: Option<Vec<u8>>,
}

impl Disks {
    /// Those known from before, as [`Looked::document`] or [`Disks::document`] gave them.
    pub(crate) fn restore(document: Option<&[u8]>, now_ms: i64) -> Self {
        let known = document.map_or_else(BTreeMap::new, document::read);
        let registry = Mutex::new(Registry::with(known, now_ms));
        Self { registry, looking: Mutex::default(), writing: Mutex::default() }
    }

    /// All disks. Held for moments only, never over a read or a write.
    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        // A panic leaves at the worst one disk with a half of its news.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn to look and to put down what that gave.
    pub(crate) fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known, to be kept.
    pub(crate) fn document(&self) -> Vec<u8> {
        document::write(&self.registry().disks)
    }

    /// One look, which comes every `interval_ms`: what is new is judged, and who is silent is
    /// noted. Reads the store.
    pub(crate) fn look(
        &self,
        storage: &SharedStorage,
        nodes: &Nodes,
        interval_ms: i64,
        now_ms: i64,
    ) -> Result<Looked, StorageError> {
        let mut looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let first_ms = now_ms - FIRST_MS;
        let from_ms = looking.last_ms.map_or(first_ms, |last_ms| last_ms.min(now_ms) - OVERLAP_MS);
        let news = [families_named(&heard::NEWS)?];
        let newest = storage.newest(&news, from_ms.max(first_ms), now_ms + AHEAD_MS, NEVER)?;
        looking.last_ms = Some(now_ms);
        let heard = heard::heard(&newest);
        let (due, refused) = {
            let mut registry = self.registry();
            (registry.look(&heard, nodes, interval_ms, now_ms), registry.refused)
        };
        if refused > 0 {
            tracing::warn!(refused, max = registry::DISKS_MAX, "there is no room for more disks");
        }
        let all: Vec<&str> = families::all().map(|family| &*family.name).collect();
        let all = families_named(&all)?;
        for ((instance, at_ms), due) in by_round(&due) {
            let round = [all.clone(), Matcher::equal("instance", instance)];
            let samples = storage.newest(&round, at_ms, at_ms, NEVER)?;
            for due in due {
                self.judge(due, &samples);
            }
        }
        let mut registry = self.registry();
        let samples = registry.tell(now_ms);
        let is_time = looking.kept_ms.is_none_or(|kept_ms| (now_ms - kept_ms).abs() >= KEEP_MS);
        let document = (std::mem::take(&mut registry.changed) || is_time).then(|| {
            looking.kept_ms = Some(now_ms);
            document::write(&registry.disks)
        });
        Ok(Looked { samples, document })
    }

    fn judge(&self, due: &Due, samples: &[Series]) {
        let of_it = |series: &&Series| {
            series.labels.get("device") == Some(&due.place.device)
                && series.labels.get("job").unwrap_or_default() == due.job
        };
        let values = samples.iter().filter(of_it).filter_map(|series| {
            let value = series.values.last().copied().filter(|value| !is_stale(*value))?;
            Some((series.labels.metric_name(), series.labels.as_ref(), value))
        });
        let Some(reading) = Reading::from_samples(values) else { return };
        let mut registry = self.registry();
        let Some(disk) = registry.disks.get(&due.identity) else { return };
        let Some(finding) = disk.judge(&reading) else { return };
        let says = reading.has_health() && reading.state == State::Read;
        let judged = Judged { finding, reading: says.then_some(reading) };
        registry.judged(due, judged);
    }
}

fn families_named(names: &[&str]) -> Result<Matcher, StorageError> {
    Matcher::new(METRIC_NAME, MatchOp::Regex, names.join("|"))
        .map_err(|error| StorageError::failed("name what disks say", error))
}

/// What is due by node and round, so that each round is read once.
fn by_round(due: &[Due]) -> BTreeMap<(&str, i64), Vec<&Due>> {
    let mut rounds: BTreeMap<(&str, i64), Vec<&Due>> = BTreeMap::new();
    for one in due {
        rounds.entry((&one.place.instance, one.at_ms)).or_default().push(one);
    }
    rounds
}
