//! The agent's own alarm: when it cannot reach its aggregator for long, it says so itself, since nobody
//! else can; and once more when it is over.
//!
//! Whatever keeps samples from being taken counts, also an aggregator that answers and refuses (a token that
//! is not its own any more, 401): nobody watches this node then. What the samples themselves are refused for
//! does not.
//!
//! All receivers are told at once, each once, also across a restart of the agent (`alarm.json` in the state
//! folder), and each is tried again while it does not take it. When the aggregator is down, each of its nodes tells.
//!
//! - `vigil`: whether, whom and when; pure.
//!
//! Not here: how it is told. Whoever starts the agent gives a [`Voice`] for each receiver.

mod vigil;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use labstat_collect::Memory;
use labstat_model::Clock;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};

use vigil::{Attempt, Vigil};

/// How often it is looked whether there is something to tell.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long telling one receiver may take: longer than any receiver gives itself, since what is broken off may
/// have arrived.
const TELL_TIME_MAX: Duration = Duration::from_secs(15 * 60);

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

/// Why a word was not told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Untold {
    /// What went wrong.
    pub why: String,
    /// How long the receiver asks to be left alone.
    pub after: Option<Duration>,
    /// Whether the receiver may have the word all the same.
    pub in_doubt: bool,
    /// Whether it was there, took the word in, did not say what became of it, and cannot be asked.
    pub was_there: bool,
}

/// The addresses of a receiver that a word was refused for, for good, while others have it; with why.
pub type Refused = Vec<String>;

/// What [`Voice::tell`] gives.
pub type Telling = Pin<Box<dyn Future<Output = Result<Refused, Untold>> + Send>>;

/// A receiver that can be told without the aggregator.
pub trait Voice: fmt::Debug + Send + Sync {
    /// Its name, which is no other receiver's.
    fn name(&self) -> &str;

    /// Tells it `word`; an error is a reason to try again later. `is_repeated` where it may have it already, from
    /// an attempt of which nobody knows how it ended.
    fn tell(self: Arc<Self>, word: Word, is_repeated: bool) -> Telling;
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

/// What the task works with.
pub(crate) struct Watchman {
    pub(crate) node: String,
    pub(crate) after_ms: i64,
    pub(crate) voices: Vec<Arc<dyn Voice>>,
    pub(crate) telemetry: Arc<crate::telemetry::Telemetry>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The state folder, when there is one.
    pub(crate) memory: Option<Arc<dyn Memory>>,
    /// Time between two looks; [`Watchman::LOOK_EVERY`] but in tests.
    pub(crate) look_every: Duration,
}

/// Attempts that run. Dropping it ends them.
#[derive(Default)]
struct Running {
    tasks: JoinSet<Result<Refused, Untold>>,
    attempts: HashMap<Id, Attempt>,
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
        let names = self.voices.iter().map(|voice| voice.name().to_owned());
        let now_ms = self.clock.now_ms();
        let mut vigil = Vigil::new(&self.node, self.after_ms, names, kept.as_deref(), now_ms);
        let mut running = Running::default();
        while !*stop.borrow() && stop.has_changed().is_ok() {
            let tried = self.telemetry.reach.lock().clone();
            let rounds = self.telemetry.shipped().spool_rounds;
            let attempts = vigil.look(&tried, rounds, self.clock.now_ms());
            self.keep(&mut vigil);
            attempts.into_iter().for_each(|attempt| self.begin(attempt, &mut running));
            tokio::select! {
                () = tokio::time::sleep(self.look_every) => {}
                Some(ended) = running.tasks.join_next_with_id() => {
                    self.end(&mut vigil, &mut running, ended);
                    self.keep(&mut vigil);
                }
                _ = stop.changed() => {}
            }
        }
    }

    fn begin(&self, attempt: Attempt, running: &mut Running) {
        let named = |voice: &&Arc<dyn Voice>| voice.name() == attempt.receiver;
        let Some(voice) = self.voices.iter().find(named) else { return };
        let telling = Arc::clone(voice).tell(attempt.word.clone(), attempt.is_repeated);
        let task = running.tasks.spawn(async move {
            match tokio::time::timeout(TELL_TIME_MAX, telling).await {
                Ok(outcome) => outcome,
                Err(_) => Err(in_doubt("it could not be told in time")),
            }
        });
        running.attempts.insert(task.id(), attempt);
    }

    fn end(
        &self,
        vigil: &mut Vigil,
        running: &mut Running,
        ended: Result<(Id, Result<Refused, Untold>), JoinError>,
    ) {
        let (id, outcome) = match ended {
            Ok(ended) => ended,
            Err(error) => (error.id(), Err(in_doubt("the attempt broke off"))),
        };
        let Some(attempt) = running.attempts.remove(&id) else { return };
        let (receiver, over) = (&attempt.receiver, attempt.word.over_ms.is_some());
        match outcome {
            Ok(refused) => {
                tracing::info!(receiver, over, "an alarm was told");
                for refusal in refused {
                    tracing::warn!(receiver, "an alarm was told, but not to {refusal}");
                }
                vigil.told(&attempt);
            }
            Err(untold) => {
                tracing::warn!(receiver, over, "an alarm could not be told: {}", untold.why);
                if vigil.untold(&attempt, &untold, self.clock.now_ms()) {
                    tracing::warn!(
                        receiver,
                        over,
                        "an alarm was probably told: it is tried no more"
                    );
                }
            }
        }
    }

    fn keep(&self, vigil: &mut Vigil) {
        let (Some(memory), Some(document)) = (&self.memory, vigil.next_document()) else { return };
        if let Err(error) = memory.keep(DOCUMENT, &document) {
            tracing::warn!(%error, "that an alarm was told is not kept: it may be told again");
        }
    }
}

/// An attempt of which nobody knows whether it told its word.
fn in_doubt(why: &str) -> Untold {
    Untold { why: why.to_owned(), in_doubt: true, ..Untold::default() }
}

#[cfg(test)]
mod tests;
