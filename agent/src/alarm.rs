//! The agent's own alarm: when it cannot reach its aggregator for long, it says so itself, since nobody
//! else can; and once more when it is over.
//!
//! Whatever keeps samples from being taken counts, also an aggregator that answers and refuses (a token that
//! is not its own any more, 401): nobody watches this node then. What the samples themselves are refused for
//! does not.
//!
//! Told once, also across a restart of the agent (`alarm.json` in the state folder), and tried again while the
//! receiver does not take it. When the aggregator is down, each of its nodes tells.
//!
//! Not here: how it is told. Whoever starts the agent gives an [`Alarm`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use labstat_collect::Memory;
use labstat_model::Clock;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// How often it is looked whether there is something to tell.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A look that comes later than this was slept through, or the clock was set: nothing was tried meanwhile.
const LOOK_LATE_MAX_MS: i64 = 60_000;

/// How long the agent itself must have tried since its start: a machine that boots has no network yet.
const TRIED_MIN_MS: i64 = 120_000;

/// How long telling may take.
const TELL_TIME_MAX: Duration = Duration::from_secs(60);

/// The waits between tries to tell.
const RETRY_MIN_MS: i64 = 15_000;
const RETRY_MAX_MS: i64 = 600_000;

/// Characters of an error that are told and kept.
const ERROR_LEN_MAX: usize = 300;

/// The name of the document in the state folder.
const DOCUMENT: &str = "alarm";

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The node that cannot reach its aggregator, or reaches it again.
    pub node: String,
    /// Since when it could not, in milliseconds since the Unix epoch; the same in both words about it.
    pub since_ms: i64,
    /// When it was found to be over; `None` while it goes on.
    pub over_ms: Option<i64>,
    /// What went wrong, at last.
    pub error: String,
    /// Rounds that wait on disk.
    pub rounds: u64,
}

/// What [`Alarm::tell`] gives.
pub type Telling<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// Somebody who can be told without the aggregator.
pub trait Alarm: fmt::Debug + Send + Sync {
    /// Tells it; an error is a reason to try again later.
    fn tell<'a>(&'a self, word: &'a Word) -> Telling<'a>;
}

/// How shipping goes, as the task that ships sees it.
#[derive(Debug, Default)]
pub(crate) struct Reach(Mutex<Tried>);

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Tried {
    /// Since when every try has failed.
    failing_since_ms: Option<i64>,
    last_failure_ms: i64,
    error: String,
    has_answered: bool,
}

impl Reach {
    fn lock(&self) -> MutexGuard<'_, Tried> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The receiver took samples, or refused them for what they are.
    pub(crate) fn answered(&self) {
        let mut tried = self.lock();
        tried.failing_since_ms = None;
        tried.has_answered = true;
    }

    /// The receiver could not be reached, or takes nothing.
    pub(crate) fn failed(&self, error: &str, now_ms: i64) {
        let mut tried = self.lock();
        tried.failing_since_ms.get_or_insert(now_ms);
        tried.last_failure_ms = now_ms;
        tried.error = error.chars().take(ERROR_LEN_MAX).collect();
    }
}

/// What outlives a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// Since when the aggregator cannot be reached.
    since_ms: Option<i64>,
    /// Whether that was told.
    told: bool,
    error: String,
}

/// What is to be told, and when. Pure.
#[derive(Debug)]
struct Watch {
    node: String,
    after_ms: i64,
    state: State,
    start_ms: i64,
    looked_ms: i64,
    /// The wait after the last try to tell that failed.
    wait_ms: i64,
    retry_ms: i64,
}

impl Watch {
    fn new(node: String, after_ms: i64, kept: Option<&[u8]>, now_ms: i64) -> Self {
        let kept = kept.and_then(|json| serde_json::from_slice::<State>(json).ok());
        let (start_ms, looked_ms) = (now_ms, now_ms);
        let state = kept.unwrap_or_default();
        Self { node, after_ms, state, start_ms, looked_ms, wait_ms: 0, retry_ms: i64::MIN }
    }

    /// What is to be told now.
    fn look(&mut self, tried: &Tried, rounds: u64, now_ms: i64) -> Option<Word> {
        let is_late = now_ms.saturating_sub(self.looked_ms) > LOOK_LATE_MAX_MS;
        if is_late || now_ms < self.looked_ms {
            self.start_ms = now_ms;
            if !self.state.told {
                self.state.since_ms = None;
            }
        }
        self.looked_ms = now_ms;
        if let Some(failing_ms) = tried.failing_since_ms {
            let since_ms = *self.state.since_ms.get_or_insert(failing_ms.max(self.start_ms));
            self.state.error.clone_from(&tried.error);
            let is_long = now_ms.saturating_sub(since_ms) >= self.after_ms;
            let needed_ms = TRIED_MIN_MS.min(self.after_ms);
            let has_tried = tried.last_failure_ms.saturating_sub(self.start_ms) >= needed_ms;
            let is_due = is_long && has_tried && !self.state.told;
            return self.word(since_ms, None, rounds, now_ms).filter(|_| is_due);
        }
        if !tried.has_answered {
            return None;
        }
        match self.state.since_ms {
            Some(since_ms) if self.state.told => self.word(since_ms, Some(now_ms), rounds, now_ms),
            _ => {
                self.state = State::default();
                None
            }
        }
    }

    fn word(&self, since_ms: i64, over_ms: Option<i64>, rounds: u64, now_ms: i64) -> Option<Word> {
        let (node, error) = (self.node.clone(), self.state.error.clone());
        (now_ms >= self.retry_ms).then_some(Word { node, since_ms, over_ms, error, rounds })
    }

    /// It was told.
    fn told(&mut self, word: &Word) {
        (self.wait_ms, self.retry_ms) = (0, i64::MIN);
        match word.over_ms {
            Some(_) => self.state = State::default(),
            None => self.state.told = true,
        }
    }

    /// It could not be told.
    fn untold(&mut self, now_ms: i64) {
        self.wait_ms = self.wait_ms.saturating_mul(2).clamp(RETRY_MIN_MS, RETRY_MAX_MS);
        self.retry_ms = now_ms.saturating_add(self.wait_ms);
    }

    fn kept(&self) -> Vec<u8> {
        // Text and numbers always serialize.
        serde_json::to_vec(&self.state).unwrap_or_default()
    }
}

/// What the task works with.
pub(crate) struct Watchman {
    pub(crate) node: String,
    pub(crate) after_ms: i64,
    pub(crate) alarm: Arc<dyn Alarm>,
    pub(crate) telemetry: Arc<crate::telemetry::Telemetry>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The state folder, when there is one.
    pub(crate) memory: Option<Arc<dyn Memory>>,
    /// Time between two looks; [`Watchman::LOOK_EVERY`] but in tests.
    pub(crate) look_every: Duration,
}

impl Watchman {
    /// How often it is looked whether there is something to tell.
    pub(crate) const LOOK_EVERY: Duration = LOOK_EVERY;

    /// Looks until the agent stops.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let kept = self.memory.as_ref().and_then(|memory| {
            memory.recall(DOCUMENT).unwrap_or_else(|error| {
                tracing::warn!(%error, "whether an alarm was told is not known");
                None
            })
        });
        let now_ms = self.clock.now_ms();
        let mut watch = Watch::new(self.node.clone(), self.after_ms, kept.as_deref(), now_ms);
        let mut before = watch.state.clone();
        while !*stop.borrow() && stop.has_changed().is_ok() {
            let tried = self.telemetry.reach.lock().clone();
            let rounds = self.telemetry.shipped().spool_rounds;
            if let Some(word) = watch.look(&tried, rounds, self.clock.now_ms()) {
                self.tell(&mut watch, &word).await;
            }
            // The error alone is not worth a write.
            let now = &watch.state;
            if (now.since_ms, now.told) != (before.since_ms, before.told) {
                self.keep(&watch);
                before = watch.state.clone();
            }
            tokio::select! {
                () = tokio::time::sleep(self.look_every) => {}
                _ = stop.changed() => {}
            }
        }
    }

    async fn tell(&self, watch: &mut Watch, word: &Word) {
        let over = word.over_ms.is_some();
        match tokio::time::timeout(TELL_TIME_MAX, self.alarm.tell(word)).await {
            Ok(Ok(())) => {
                tracing::info!(over, "an alarm was told");
                watch.told(word);
            }
            Ok(Err(error)) => {
                tracing::warn!(over, "an alarm could not be told: {error}");
                watch.untold(self.clock.now_ms());
            }
            Err(_) => {
                tracing::warn!(over, "an alarm could not be told in time");
                watch.untold(self.clock.now_ms());
            }
        }
    }

    fn keep(&self, watch: &Watch) {
        let Some(memory) = &self.memory else { return };
        if let Err(error) = memory.keep(DOCUMENT, &watch.kept()) {
            tracing::warn!(%error, "that an alarm was told is not kept: it may be told again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    struct Lab {
        watch: Watch,
        reach: Reach,
        now_ms: i64,
    }

    impl Lab {
        fn new() -> Self {
            let watch = Watch::new("nas".to_owned(), 10 * MINUTE_MS, None, 0);
            Self { watch, reach: Reach::default(), now_ms: 0 }
        }

        /// Looks every 10 s for some minutes, after a try that `works` or not; what is told is taken when
        /// `taken`. Gives when what was told: minutes, and whether it is over.
        fn pass(&mut self, minutes: i64, works: bool, taken: bool) -> Vec<(i64, bool)> {
            let mut told = Vec::new();
            for _ in 0..minutes * 6 {
                self.now_ms += 10_000;
                if works {
                    self.reach.answered();
                } else {
                    self.reach.failed("connection refused", self.now_ms);
                }
                let tried = self.reach.lock().clone();
                if let Some(word) = self.watch.look(&tried, 7, self.now_ms) {
                    assert_eq!((word.node.as_str(), word.rounds), ("nas", 7));
                    told.push((self.now_ms / MINUTE_MS, word.over_ms.is_some()));
                    if taken {
                        self.watch.told(&word);
                    } else {
                        self.watch.untold(self.now_ms);
                    }
                }
            }
            told
        }

        fn restart(&mut self) {
            let kept = self.watch.kept();
            self.watch = Watch::new("nas".to_owned(), 10 * MINUTE_MS, Some(&kept), self.now_ms);
            self.reach = Reach::default();
        }
    }

    #[test]
    fn told_once_when_it_begins_and_once_when_it_is_over() {
        let mut lab = Lab::new();
        assert!(lab.pass(5, true, true).is_empty());
        assert!(lab.pass(9, false, true).is_empty(), "not yet");
        assert!(lab.pass(1, true, true).is_empty(), "a short absence is nobody's business");
        assert_eq!(lab.pass(60, false, true), [(25, false)]);
        assert_eq!(lab.pass(5, true, true), [(75, true)]);
        assert!(lab.pass(60, true, true).is_empty());
    }

    #[test]
    fn a_restart_repeats_nothing_and_forgets_nothing() {
        let mut lab = Lab::new();
        assert_eq!(lab.pass(15, false, true).len(), 1);
        lab.restart();
        assert!(lab.pass(30, false, true).is_empty(), "told before");
        lab.restart();
        assert_eq!(lab.pass(1, true, true), [(45, true)]);
        lab.restart();
        assert!(lab.pass(5, true, true).is_empty());
        // One that was not yet told is not forgotten by a restart either, and a boot gets its time.
        lab.pass(8, false, true);
        lab.restart();
        let told = lab.pass(5, false, true);
        assert_eq!(told, [(61, false)], "ten minutes after it began, two after the start");
    }

    #[test]
    fn a_receiver_that_does_not_take_it_is_asked_again_ever_more_seldom() {
        let mut lab = Lab::new();
        let tries = lab.pass(70, false, false).len();
        assert!((5..=16).contains(&tries), "{tries}");
        let told = lab.pass(11, false, true);
        assert_eq!(told.len(), 1);
        let mut lab = Lab::new();
        lab.pass(15, false, false);
        assert!(lab.pass(15, true, true).is_empty(), "what nobody heard of need not be over");
    }

    #[test]
    fn a_machine_that_slept_has_not_tried() {
        let mut lab = Lab::new();
        lab.pass(5, true, true);
        lab.pass(1, false, true);
        lab.now_ms += 480 * MINUTE_MS;
        assert!(lab.pass(5, false, true).is_empty(), "its network needs a moment");
        assert!(lab.pass(1, true, true).is_empty());
    }

    #[test]
    fn an_error_is_bounded_and_nonsense_on_disk_is_nothing() {
        let reach = Reach::default();
        reach.failed(&"ü".repeat(10_000), 1);
        assert_eq!(reach.lock().error.chars().count(), ERROR_LEN_MAX);
        let watch = Watch::new("nas".to_owned(), 1, Some(b"{broken"), 0);
        assert_eq!(watch.state, State::default());
    }
}
