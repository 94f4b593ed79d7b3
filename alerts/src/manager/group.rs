//! A group at work: its rules made ready, the state of each, and whose turn it is.
//!
//! A group is evaluated by one thread at a time, in rounds ([`super::round`]). While a round goes on,
//! the group is taken; a reload asks it to end early and waits for that.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use labstat_model::Labels;

use super::ManagerOptions;
use super::prepare::{self, Prepared};
use super::state::Alert;
use crate::hash::fnv;
use crate::rules::Group;

/// A group and what became of it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) group: Arc<Group>,
    /// Beside the group's rules.
    pub(super) prepared: Vec<Prepared>,
    /// What the group is written like: equal ones are the same group, unchanged.
    pub(super) shape: u64,
    /// The place of its slots within the interval.
    phase_ms: i64,
    state: Mutex<GroupState>,
    freed: Condvar,
    /// Whether it is to end: another takes its place. Cancels the query that runs.
    pub(super) retired: Arc<AtomicBool>,
}

/// What is known of a group; `rules` runs beside the group's rules.
#[derive(Debug, Default)]
pub(super) struct GroupState {
    pub(super) rules: Vec<RuleState>,
    /// Whether a round goes on.
    pub(super) is_taken: bool,
    /// Slots up to this one are done.
    pub(super) done_ms: i64,
    pub(super) evaluated_ms: Option<i64>,
    pub(super) duration_s: f64,
    pub(super) figures: Figures,
}

/// What is known of a rule.
#[derive(Debug, Default, Clone)]
pub(super) struct RuleState {
    pub(super) evaluated_ms: Option<i64>,
    pub(super) duration_s: f64,
    pub(super) error: Option<String>,
    pub(super) alerts: BTreeMap<Labels, Alert>,
    /// The series of the last evaluation, so that those that end get a marker.
    pub(super) series: HashSet<Labels>,
    /// Whether the texts of the alerts may be those of another version of the rule.
    pub(super) has_old_texts: bool,
}

/// What rounds of a group came to, since the start.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Rounds that were due: those that were begun, and those that were missed.
    pub iterations: u64,
    /// Rounds that were missed because those before them took too long, or nobody was there.
    pub missed: u64,
    /// Rounds out of turn, because samples came that cannot wait.
    pub woken: u64,
    /// Rules that were evaluated.
    pub evaluations: u64,
    /// Of these, those that failed.
    pub failures: u64,
    /// Seconds that evaluating rules took.
    pub rules_s: f64,
    /// Seconds that the rules of the last round took together.
    pub last_rules_s: f64,
    /// Samples that the rules of the last round gave.
    pub last_samples: usize,
}

impl Running {
    /// A group that is first due at its first slot after `now_ms`.
    pub(super) fn new(group: Arc<Group>, options: &ManagerOptions, now_ms: i64) -> Self {
        let prepared = prepare::all(&group, options);
        let interval = group.interval_ms.max(1).unsigned_abs();
        let hash = fnv([group.file.as_str(), group.name.as_str()]);
        let state = GroupState {
            rules: vec![RuleState::default(); group.rules.len()],
            done_ms: now_ms,
            ..GroupState::default()
        };
        Self {
            shape: shape(&group),
            phase_ms: i64::try_from(hash % interval).unwrap_or(0),
            group,
            prepared,
            state: Mutex::new(state),
            freed: Condvar::new(),
            retired: Arc::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, GroupState> {
        // A state is written only in whole steps, so one that a panic left behind is usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The latest slot at or before `now_ms`. Groups of one interval are spread over it, so that they
    /// are not all evaluated at once; the place in it depends on nothing but file and name.
    pub(super) fn slot(&self, now_ms: i64) -> i64 {
        now_ms - (now_ms - self.phase_ms).rem_euclid(self.group.interval_ms.max(1))
    }

    /// The slot up to which all is done. One that lies ahead is from a clock that has been set back
    /// since, and must not keep the rules from being evaluated until it comes round again.
    fn done_ms(&self, state: &GroupState, now_ms: i64) -> i64 {
        let done_ms = state.done_ms;
        if done_ms > now_ms.saturating_add(self.group.interval_ms) { i64::MIN } else { done_ms }
    }

    /// The slot that is due at `now_ms`, unless a round goes on.
    pub(super) fn due(&self, now_ms: i64) -> Option<i64> {
        let state = self.lock();
        let time_ms = self.slot(now_ms);
        let is_free = !state.is_taken && !self.is_retired();
        (is_free && time_ms > self.done_ms(&state, now_ms)).then_some(time_ms)
    }

    /// The first slot after both `now_ms` and what is done.
    pub(super) fn next_due_ms(&self, now_ms: i64) -> i64 {
        let from_ms = now_ms.max(self.done_ms(&self.lock(), now_ms));
        self.slot(from_ms).saturating_add(self.group.interval_ms)
    }

    /// Takes the group for a round; false when another has it, or it is to end.
    pub(super) fn take(&self) -> bool {
        let mut state = self.lock();
        let taken = !state.is_taken && !self.is_retired();
        state.is_taken |= taken;
        taken
    }

    /// Gives the group back.
    pub(super) fn free(&self) {
        self.lock().is_taken = false;
        self.freed.notify_all();
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// Lets no round begin any more, and waits for the end of the one that goes on.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        let state = self.lock();
        let waited = self.freed.wait_while(state, |state| state.is_taken);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// How many slots between the last that is done and `time_ms` nobody evaluated.
    pub(super) fn missed(&self, state: &GroupState, time_ms: i64) -> u64 {
        if state.evaluated_ms.is_none() || state.done_ms >= time_ms {
            return 0;
        }
        let slots = (time_ms - self.slot(state.done_ms)) / self.group.interval_ms.max(1);
        u64::try_from(slots - 1).unwrap_or(0)
    }
}

/// A number for what a group is written like.
pub(super) fn shape(group: &Group) -> u64 {
    struct Into<'h>(&'h mut DefaultHasher);
    impl std::fmt::Write for Into<'_> {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            text.hash(self.0);
            Ok(())
        }
    }
    let mut hasher = DefaultHasher::new();
    // Writing into a hasher cannot fail.
    let _ = std::fmt::Write::write_fmt(&mut Into(&mut hasher), format_args!("{group:?}"));
    hasher.finish()
}
