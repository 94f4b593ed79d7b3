//! Whether the aggregator is out of reach for long, and which receiver is to be told what of it now: a pure
//! state machine. How shipping goes, the time and the outcome of attempts come in; attempts and a document to
//! keep come out.
//!
//! - Each receiver has its own memory of what it was told and its own waits, so that one that hangs keeps no other
//!   from being told.
//! - An attempt is on disk as begun before it is made. After a crash its receiver may have the word, and gets it
//!   again under the same name; whoever sends it asks first where that can be asked.
//! - A receiver that was told of the beginning, or may have been, is told of the end, and no other.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Tried, Untold, Word};

/// A look that comes later than this was slept through, or the clock was set: nothing was tried meanwhile.
const LOOK_LATE_MAX_MS: i64 = 60_000;

/// How long an agent may be away between two runs for an absence to go on: as long as a machine takes to restart.
/// What is longer was slept through likewise.
const AWAY_MAX_MS: i64 = 300_000;

/// How often it is kept when it was looked last, while that matters.
const KEEP_LOOK_EVERY_MS: i64 = 60_000;

/// How long the agent itself must have tried since its start: a machine that boots has no network yet.
const TRIED_MIN_MS: i64 = 120_000;

/// The waits of a receiver between tries to tell it.
const RETRY_MIN_MS: i64 = 15_000;
const RETRY_MAX_MS: i64 = 600_000;

/// How often a word goes out to a receiver that was there each time, did not say whether it took it and cannot
/// be asked. It probably has it then, as often. A restart of the agent counts anew.
const DOUBTS_MAX: u32 = 10;

/// How long a receiver is left alone at most because it says so.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);

/// The aggregator is out of reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Absence {
    since_ms: i64,
    error: String,
}

/// The absence that a receiver was told of, or may have been.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    since_ms: i64,
    error: String,
    /// When the absence was found to be over, which it is still to be told.
    over_ms: Option<i64>,
    /// Whether an attempt to tell the present word has begun whose outcome is not known.
    in_doubt: bool,
}

/// What outlives a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// When it was last looked.
    looked_ms: Option<i64>,
    absence: Option<Absence>,
    /// What receivers were told, by their names.
    #[serde(default)]
    told: BTreeMap<String, Told>,
}

/// One receiver as of this run.
#[derive(Debug, Default)]
struct Ear {
    told: Option<Told>,
    is_in_flight: bool,
    /// The wait after the last attempt that failed, and when it is over.
    wait_ms: i64,
    retry_ms: Option<i64>,
    /// How many attempts at the present word may have arrived at this receiver, which was there.
    doubts: u32,
}

/// An attempt that is to be made now, and is kept as begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    /// The receiver's name.
    pub(super) receiver: String,
    pub(super) word: Word,
    /// Whether the receiver may have it from before.
    pub(super) is_repeated: bool,
}

/// Who is to be told what, and when.
#[derive(Debug)]
pub(super) struct Vigil {
    node: String,
    after_ms: i64,
    /// Since when it is looked without a gap.
    awake_since_ms: i64,
    looked_ms: i64,
    /// How much later the next look may come.
    late_max_ms: i64,
    absence: Option<Absence>,
    ears: BTreeMap<String, Ear>,
    /// The document as it was kept last, to see whether another is worth a write.
    kept: Kept,
}

impl Ear {
    /// The word that this receiver does not have yet.
    fn owed(&self, due: Option<&Absence>) -> Option<Told> {
        match &self.told {
            Some(told) => {
                let is_owed = told.over_ms.is_some() || told.in_doubt && due.is_some();
                is_owed.then(|| told.clone())
            }
            None => due.map(|Absence { since_ms, error }| Told {
                since_ms: *since_ms,
                error: error.clone(),
                over_ms: None,
                in_doubt: false,
            }),
        }
    }

    fn may_be_tried(&self, now_ms: i64) -> bool {
        !self.is_in_flight && self.retry_ms.is_none_or(|retry_ms| now_ms >= retry_ms)
    }
}

impl Vigil {
    /// Goes on with what was `kept`, if anything, for the receivers of these names.
    pub(super) fn new(
        node: &str,
        after_ms: i64,
        receivers: impl IntoIterator<Item = String>,
        kept: Option<&[u8]>,
        now_ms: i64,
    ) -> Self {
        let kept = kept.and_then(|json| serde_json::from_slice::<Kept>(json).ok());
        let kept = kept.unwrap_or_default();
        let ear = |name: String| {
            let told = kept.told.get(&name).cloned();
            (name, Ear { told, ..Ear::default() })
        };
        Self {
            node: node.to_owned(),
            after_ms,
            awake_since_ms: now_ms,
            looked_ms: kept.looked_ms.unwrap_or(now_ms),
            late_max_ms: AWAY_MAX_MS,
            absence: kept.absence.clone(),
            ears: receivers.into_iter().map(ear).collect(),
            kept,
        }
    }

    /// What is to be tried now. The attempts have begun with it, once [`Vigil::next_document`] is kept.
    pub(super) fn look(&mut self, tried: &Tried, rounds: u64, now_ms: i64) -> Vec<Attempt> {
        self.heed_gap(now_ms);
        match tried.failing_since_ms {
            Some(failing_ms) => {
                let error = &tried.error;
                let since_ms = failing_ms.max(self.awake_since_ms).min(now_ms);
                let begun = || Absence { since_ms, error: error.clone() };
                self.absence.get_or_insert_with(begun).error.clone_from(error);
            }
            None if tried.has_answered => self.end(now_ms),
            None => {}
        }
        let due = self.absence.clone().filter(|absence| self.is_due(absence, tried, now_ms));
        self.attempts(due.as_ref(), rounds, now_ms)
    }

    /// Takes a gap between looks for what it is: nothing is known of that time.
    fn heed_gap(&mut self, now_ms: i64) {
        let is_late = now_ms.saturating_sub(self.looked_ms) > self.late_max_ms;
        if is_late || now_ms < self.looked_ms {
            self.awake_since_ms = now_ms;
            // What somebody was told of goes on, under the same name.
            self.absence = self.absence.take().filter(|absence| self.is_told(absence));
        }
        if now_ms < self.looked_ms {
            // A clock that was set back must not make anybody wait for longer than was meant.
            self.ears.values_mut().for_each(|ear| ear.retry_ms = None);
        }
        (self.looked_ms, self.late_max_ms) = (now_ms, LOOK_LATE_MAX_MS);
    }

    fn is_told(&self, absence: &Absence) -> bool {
        let mut told = self.ears.values().filter_map(|ear| ear.told.as_ref());
        told.any(|told| told.since_ms == absence.since_ms)
    }

    fn is_due(&self, absence: &Absence, tried: &Tried, now_ms: i64) -> bool {
        let is_long = now_ms.saturating_sub(absence.since_ms) >= self.after_ms;
        let needed_ms = TRIED_MIN_MS.min(self.after_ms);
        let tried_ms = tried.last_failure_ms.saturating_sub(self.awake_since_ms);
        (is_long || self.is_told(absence)) && tried_ms >= needed_ms
    }

    /// The aggregator is reached again.
    fn end(&mut self, now_ms: i64) {
        if self.absence.take().is_none() {
            return;
        }
        for ear in self.ears.values_mut() {
            ear.doubts = 0;
            if let Some(told) = ear.told.as_mut().filter(|told| told.over_ms.is_none()) {
                told.over_ms = Some(now_ms.max(told.since_ms));
                told.in_doubt = false;
            }
        }
    }

    fn attempts(&mut self, due: Option<&Absence>, rounds: u64, now_ms: i64) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        for (name, ear) in &mut self.ears {
            let owed = ear.owed(due).filter(|_| ear.may_be_tried(now_ms));
            let Some(told) = owed else { continue };
            let Told { since_ms, error, over_ms, in_doubt } = told.clone();
            let word = Word { node: self.node.clone(), since_ms, over_ms, error, rounds };
            let receiver = name.clone();
            attempts.push(Attempt { receiver, word, is_repeated: in_doubt });
            ear.told = Some(Told { in_doubt: true, ..told });
            ear.is_in_flight = true;
        }
        attempts
    }

    /// An attempt has told its word.
    pub(super) fn told(&mut self, attempt: &Attempt) {
        let Some(ear) = self.ears.get_mut(&attempt.receiver) else { return };
        (ear.is_in_flight, ear.wait_ms, ear.retry_ms, ear.doubts) = (false, 0, None, 0);
        match &mut ear.told {
            told if attempt.word.over_ms.is_some() => *told = None,
            // The end is another word: it may have come about meanwhile.
            Some(told) => told.in_doubt = false,
            None => {}
        }
    }

    /// An attempt could not tell its word. Whether the receiver is taken to have it all the same.
    pub(super) fn untold(&mut self, attempt: &Attempt, untold: &Untold, now_ms: i64) -> bool {
        let Some(ear) = self.ears.get_mut(&attempt.receiver) else { return false };
        ear.doubts += u32::from(untold.was_there);
        if ear.doubts >= DOUBTS_MAX {
            self.told(attempt);
            return true;
        }
        ear.is_in_flight = false;
        ear.wait_ms = ear.wait_ms.saturating_mul(2).clamp(RETRY_MIN_MS, RETRY_MAX_MS);
        let asked = untold.after.unwrap_or_default().min(RETRY_AFTER_MAX);
        let asked_ms = i64::try_from(asked.as_millis()).unwrap_or(i64::MAX);
        ear.retry_ms = Some(now_ms.saturating_add(ear.wait_ms.max(asked_ms)));
        match &mut ear.told {
            // What it did not hear of need not be over.
            told if attempt.word.over_ms.is_none() && !untold.in_doubt => *told = None,
            Some(told) if told.over_ms == attempt.word.over_ms => told.in_doubt = untold.in_doubt,
            _ => {}
        }
        false
    }

    /// The document to keep, where it says more than the one before. The error alone is not worth a write.
    pub(super) fn next_document(&mut self) -> Option<Vec<u8>> {
        let told = |(name, ear): (&String, &Ear)| Some((name.clone(), ear.told.clone()?));
        let now = Kept {
            looked_ms: self.absence.is_some().then_some(self.looked_ms),
            absence: self.absence.clone(),
            told: self.ears.iter().filter_map(told).collect(),
        };
        let since_ms = |kept: &Kept| kept.absence.as_ref().map(|absence| absence.since_ms);
        let looked_ms = |kept: &Kept| kept.looked_ms.unwrap_or(i64::MIN);
        // Once somebody was told, a gap changes nothing any more.
        let is_stale = self.absence.as_ref().is_some_and(|absence| !self.is_told(absence))
            && looked_ms(&now).abs_diff(looked_ms(&self.kept)) >= KEEP_LOOK_EVERY_MS.unsigned_abs();
        if now.told == self.kept.told && since_ms(&now) == since_ms(&self.kept) && !is_stale {
            return None;
        }
        // Text and numbers always serialize.
        let document = serde_json::to_vec(&now).unwrap_or_default();
        self.kept = now;
        Some(document)
    }
}

#[cfg(test)]
mod tests;
