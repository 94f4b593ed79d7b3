//! The loops around rules, manners and delivery.
//!
//! What rules find goes through three hands, and each step is on disk before the next:
//!
//! ```text
//! evaluate ─► samples to the database
//!          ─► rows of the rules + manners.take()               one commit
//!             manners.advance(), when a group is due:
//!             rows of the manners + messages of delivery       one commit ─► delivery
//! ```
//!
//! So a crash finds an alert as not seen yet, as known and not told, or as told and on its way;
//! never in between. Evaluation takes no lock that the manners need, and the manners are looked at
//! when they are due or something has come to them, so that a slow rule keeps no message waiting.

use std::path::PathBuf;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use labstat_model::{Clock, MixedRequest, error_chain};
use labstat_promql::{Engine, Source};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::delivery::{self, Carried, Carrier, Delivery, DeliveryOptions, Drawn, Rate, TestError};
use crate::evaluator::{Evaluator, Work};
use crate::history::Archive;
use crate::ledger::{Entry, Keeper, Ledger, LedgerError};
use crate::manager::{Evaluation, Manager, ManagerOptions, ROW_PREFIX};
use crate::manners::{
    AlertStatus, AlertsFilter, Manners, MannersConfig, MannersSpec, Recipient, SpecProblem, Step,
};
use crate::message::{Message, Reason};
use crate::notification::{Notification, Status};
use crate::notify::{BuildError, Delivered, Links, Receiver, ReceiverConfig, test_alert};
use crate::rules::RuleSet;

/// The longest a loop sleeps: it follows a clock that was set within this time.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// How often Alertmanagers are told again of what fires: they wait for five minutes as they come.
const REPEAT: Duration = Duration::from_secs(60);

/// How long the agents have after an absence to be heard again, before their silence is taken for
/// anything. After a long absence an agent tries again within a minute; the rest is for its next
/// round.
const RETURN_WAIT: Duration = Duration::from_secs(90);

/// An absence that is longer may be why rules do not find what they found before it; then no alert is
/// over until the agents were heard.
const GAP_MAX_MS: i64 = 60_000;

/// After an absence that is longer, instant selectors find nothing from before it; then nothing is
/// evaluated until the agents were heard.
const ABSENCE_MIN_MS: i64 = 5 * 60_000;

/// The data that rules are evaluated over and their samples go to.
pub trait Database: Source + Send + Sync + 'static {
    /// Keeps samples, those of native histograms too; returns when they are kept.
    fn append(
        &self,
        request: &MixedRequest,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;

    /// The time of the newest sample, where that can be told without asking anybody. It is asked
    /// once, at the start, for how long nobody was here.
    fn newest_ms(&self) -> Option<i64> {
        None
    }
}

/// What a [`Service`] is started with.
pub struct ServiceOptions {
    /// The rules to begin with.
    pub rules: RuleSet,
    /// Rule files, and folders of them, that could not be read: what was kept of the alerts of their
    /// rules stays as it is until they are.
    pub unread: Vec<PathBuf>,
    /// The receivers.
    pub receivers: Vec<ReceiverConfig>,
    /// Who hears what, and when; without it each receiver by its own matchers.
    pub manners: Option<MannersConfig>,
    /// What evaluates the rules.
    pub engine: Engine,
    /// What rules know of this aggregator.
    pub manager: ManagerOptions,
    /// How receivers are tried.
    pub delivery: DeliveryOptions,
    /// How much a receiver gets within a time.
    pub rate: Rate,
    /// What makes the links of buttons.
    pub links: Option<Arc<dyn Links>>,
    /// How long the agents have after an absence to be heard again, before rules take their silence
    /// for anything.
    pub return_wait: Duration,
    /// Threads that evaluate rules; 0 for as many as suit a small machine.
    pub threads: usize,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            rules: RuleSet::default(),
            unread: Vec::new(),
            receivers: Vec::new(),
            manners: None,
            engine: Engine::default(),
            manager: ManagerOptions::default(),
            delivery: DeliveryOptions::default(),
            rate: Rate::default(),
            links: None,
            return_wait: RETURN_WAIT,
            threads: 0,
        }
    }
}

/// Why a [`Service`] did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A receiver cannot be made from its configuration.
    #[error("failed to set up a receiver")]
    Receiver(#[source] BuildError),
    /// The receivers cannot be told apart, or want what cannot be.
    #[error("failed to set up who hears what: {}", .0.text)]
    Manners(SpecProblem),
    /// The kept state cannot be read.
    #[error("failed to read the kept state of the alerts")]
    Ledger(#[source] LedgerError),
}

/// Rules, manners and receivers at work. Cheap to clone; for HTTP handlers and the like.
#[derive(Clone)]
pub struct Alerting {
    inner: Arc<Inner>,
    evaluator: Arc<Evaluator>,
}

struct Inner {
    manager: Manager,
    manners: RwLock<Manners>,
    /// Held from a change of the manners until its rows are on disk and its messages released, so
    /// that both are in the order of what they come from.
    keeping: StdMutex<()>,
    /// Rings when the manners may be due sooner than they were.
    changed: Notify,
    keeper: Arc<Keeper>,
    delivery: Delivery,
    engine: Engine,
    database: Arc<dyn Database>,
    clock: Arc<dyn Clock>,
    begun: Instant,
    make: Make,
}

/// The running loops.
pub struct Service {
    alerting: Alerting,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

fn lock<T>(mutex: &StdMutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    /// Reads the kept state and starts the loops and the receivers. Within a tokio runtime.
    pub async fn start(
        options: ServiceOptions,
        database: Arc<dyn Database>,
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let external_url = options.manager.external_url.clone();
        let archive = Archive { database: database.clone(), engine: options.engine.clone() };
        let illustrator = Arc::new(Drawn { past: Arc::new(archive), links: options.links });
        let make = Make { rate: options.rate, illustrator, external_url };
        let carriers = make.carriers(&options.receivers).map_err(StartError::Receiver)?;
        let config = match options.manners {
            Some(config) => config,
            None => default_manners(&options.receivers).map_err(StartError::Manners)?,
        };
        let keeper = Arc::new(Keeper::new(ledger));
        let now_ms = clock.now_ms();
        let rules_rows = restore(&keeper).map_err(StartError::Ledger)?;
        let rows = Manners::PREFIXES.iter().map(|prefix| keeper.load(prefix));
        let rows = rows.collect::<Result<Vec<_>, _>>().map_err(StartError::Ledger)?;
        let (manners, begun) = Manners::new(config, rows.into_iter().flatten().collect(), now_ms);
        let delivery = Delivery::start(carriers, options.delivery, keeper.clone(), clock.clone());
        let delivery = delivery.map_err(StartError::Ledger)?;
        let manager = Manager::new(options.rules, options.manager, now_ms);
        let restored = manager.restore(rules_rows, &options.unread, now_ms);
        let inner = Arc::new(Inner {
            manager,
            manners: RwLock::new(manners),
            keeping: StdMutex::default(),
            changed: Notify::new(),
            keeper,
            delivery,
            engine: options.engine,
            database,
            clock,
            begun: Instant::now(),
            make,
        });
        // Before anything is written of now, which would be the newest sample.
        let begin_ms = inner.begin_ms(options.return_wait, now_ms);
        blocking(&inner, move |inner| inner.resume(begun, &restored, now_ms)).await;
        let evaluator = Evaluator::start(inner.clone(), options.threads, begin_ms);
        let alerting = Alerting { inner, evaluator: Arc::new(evaluator) };
        let (stop, stopped) = watch::channel(false);
        let tasks = vec![
            tokio::spawn(run_repeats(alerting.clone(), stopped.clone())),
            tokio::spawn(run_manners(alerting.clone(), stopped)),
        ];
        Ok(Self { alerting, stop, tasks })
    }

    /// A handle for others.
    pub fn alerting(&self) -> Alerting {
        self.alerting.clone()
    }

    /// Ends the loops and the receivers. What is undelivered is kept for the next start.
    pub async fn shutdown(self) {
        let evaluator = self.alerting.evaluator.clone();
        self.alerting.blocking(move |_| evaluator.stop()).await;
        let _ = self.stop.send(true);
        for task in self.tasks {
            let _ = task.await;
        }
        self.alerting.inner.delivery.shutdown().await;
    }
}

/// Makes receivers.
struct Make {
    rate: Rate,
    illustrator: Arc<Drawn>,
    external_url: String,
}

impl Make {
    /// Receivers as messages are carried to them: all of them, or what is wrong with the first.
    fn carriers(&self, configs: &[ReceiverConfig]) -> Result<Vec<Arc<dyn Carrier>>, BuildError> {
        let carried = |config: &ReceiverConfig| {
            let receiver = Receiver::build(config, &self.external_url)?;
            let carried = Carried::new(receiver, config.rate(self.rate), self.illustrator.clone());
            Ok(Arc::new(carried) as Arc<dyn Carrier>)
        };
        configs.iter().map(carried).collect()
    }
}

/// Who hears what when nothing is said of it: each receiver by its own matchers.
fn default_manners(configs: &[ReceiverConfig]) -> Result<MannersConfig, SpecProblem> {
    let recipient = |config: &ReceiverConfig| Recipient {
        matchers: config.parsed_matchers().unwrap_or_default(),
        severity: config.severity,
        ..Recipient::new(&config.name, config.send_resolved)
    };
    let recipients: Vec<Recipient> = configs.iter().map(recipient).collect();
    let built = MannersSpec::default().build(&recipients, &TimeZone::system());
    built.map_err(|problems| {
        let unknown = || SpecProblem { place: String::new(), text: String::new() };
        problems.into_iter().next().unwrap_or_else(unknown)
    })
}

impl Alerting {
    /// The rules and their state, for the views.
    pub fn manager(&self) -> &Manager {
        &self.inner.manager
    }

    /// The receivers, for their figures.
    pub fn delivery(&self) -> &Delivery {
        &self.inner.delivery
    }

    /// Looks at who hears what, as of now.
    pub fn look<T>(&self, look: impl FnOnce(&Manners, i64) -> T) -> T {
        let manners = self.inner.manners.read().unwrap_or_else(PoisonError::into_inner);
        look(&manners, self.inner.clock.now_ms())
    }

    /// Changes who hears what, or of what, as of now. What `change` gives beside its step is
    /// returned once the step is on disk. Blocks.
    pub fn change<T>(&self, change: impl FnOnce(&mut Manners, i64) -> (T, Step)) -> T {
        self.inner.step(Vec::new(), change)
    }

    /// Sends a real test message to one receiver, at once and past its queue.
    pub async fn test(&self, receiver: &str) -> Result<Delivered, TestError> {
        let mut message = Message::about(test_alert(self.inner.clock.now_ms()), receiver);
        message.reason = Reason::Test;
        self.inner.delivery.test(&message).await
    }

    /// Puts `rules` in place of the present ones.
    pub async fn reload(&self, rules: RuleSet) {
        self.blocking(move |inner| {
            inner.manager.reload_and(rules, inner.clock.now_ms(), |out| inner.keep(&out));
            inner.reconcile();
        })
        .await;
    }

    /// Puts receivers, and who hears what, in place of the present ones: all of it or nothing.
    /// Without `manners` each receiver hears by its own matchers.
    pub async fn reconfigure(
        &self,
        receivers: &[ReceiverConfig],
        manners: Option<MannersConfig>,
    ) -> Result<(), StartError> {
        let inner = &self.inner;
        let carriers = inner.make.carriers(receivers).map_err(StartError::Receiver)?;
        let config = match manners {
            Some(config) => config,
            None => default_manners(receivers).map_err(StartError::Manners)?,
        };
        self.blocking(move |inner| {
            // First there is somebody to carry what the new manners say.
            inner.delivery.set_carriers(carriers);
            inner.step(Vec::new(), |manners, now_ms| ((), manners.reconfigure(config, now_ms)));
            inner.tell_firing();
        })
        .await;
        Ok(())
    }

    /// Evaluates every group that is due, and keeps what that comes to.
    pub async fn evaluate_due(&self) {
        let evaluator = self.evaluator.clone();
        self.blocking(move |_| evaluator.flush()).await;
    }

    /// Has the alerts evaluated at once that name one of these metrics, of which samples came; the
    /// newest of them is of `newest_ms`. For those of which [`crate::events::cannot_wait`].
    pub fn wake<'m>(&self, metrics: impl IntoIterator<Item = &'m str>, newest_ms: i64) {
        self.evaluator.wake(metrics, newest_ms);
    }

    /// Lets the manners say what is due.
    pub async fn advance(&self) {
        self.blocking(Inner::advance).await;
    }

    /// Tells Alertmanagers again of what fires and is not kept quiet. Each minute does.
    pub async fn repeat(&self) {
        self.blocking(Inner::tell_firing).await;
    }

    async fn blocking(&self, work: impl FnOnce(&Inner) + Send + 'static) {
        blocking(&self.inner, work).await;
    }
}

/// Queries and disk belong on a thread that may block.
async fn blocking(inner: &Arc<Inner>, work: impl FnOnce(&Inner) + Send + 'static) {
    let inner = inner.clone();
    if tokio::task::spawn_blocking(move || work(&inner)).await.is_err() {
        tracing::error!("work on alerts was cut short");
    }
}

impl Work for Inner {
    fn manager(&self) -> &Manager {
        &self.manager
    }

    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn source(&self) -> &dyn Source {
        self.database.as_ref()
    }

    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Samples first, then the state with what follows from it: a crash in between evaluates again.
    fn settle(&self, out: &Evaluation) {
        self.keep(out);
    }
}

impl Inner {
    /// Goes on after a restart, with what follows from what has changed since.
    fn resume(&self, begun: Step, restored: &Evaluation, now_ms: i64) {
        self.step(Vec::new(), |_, _| ((), begun));
        self.keep(restored);
        self.reconcile();
        let source: &dyn Source = self.database.as_ref();
        let (entries, failed) = self.manager.discount_absence(source, now_ms);
        if let Some(error) = failed {
            let error = error_chain(&error);
            tracing::error!(error, "pending alerts begin to wait anew");
        }
        if !entries.is_empty() {
            self.step(entries, |_, _| ((), Step::default()));
        }
        self.tell_firing();
    }

    /// Holds the manners to what the rules say fires. Looks through all alerts: at the start, after a
    /// reload, and once in a while when some have found no room.
    fn reconcile(&self) {
        self.step(Vec::new(), |manners, now_ms| {
            // What is looked at is not kept yet where a round goes on; it comes once more with the
            // round, and that is no news then.
            let lacking = self.manager.firing(|fingerprint| manners.lacks(fingerprint));
            let is_firing = |fingerprint: &str| self.manager.is_firing(fingerprint);
            ((), manners.reconcile(lacking, is_firing, now_ms))
        });
    }

    /// Says to receivers what fires and is for them: an Alertmanager takes what it does not hear of
    /// again for over.
    fn tell_firing(&self) {
        let now_ms = self.clock.now_ms();
        let manners = self.manners.read().unwrap_or_else(PoisonError::into_inner);
        let alerts = manners.alerts(&AlertsFilter::default(), now_ms);
        drop(manners);
        let fires =
            |status: &AlertStatus| status.alert.status == Status::Firing && !status.is_suppressed();
        let firing: Vec<AlertStatus> = alerts.into_iter().filter(fires).collect();
        let all: Vec<Notification> = firing.iter().map(|status| status.alert.clone()).collect();
        self.delivery.repeat(&all, |receiver| {
            let is_for_it = |status: &&AlertStatus| status.receivers.iter().any(|n| n == receiver);
            firing.iter().filter(is_for_it).map(|status| status.alert.clone()).collect()
        });
    }

    /// When to begin to evaluate: after an absence the agents must be heard first.
    fn begin_ms(&self, wait: Duration, now_ms: i64) -> i64 {
        let newest_ms = self.database.newest_ms().unwrap_or(now_ms);
        let absence_ms = now_ms.saturating_sub(newest_ms);
        let heard_ms = now_ms.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(0));
        if absence_ms > GAP_MAX_MS {
            self.manager.hold(heard_ms);
        }
        if absence_ms > ABSENCE_MIN_MS { heard_ms } else { now_ms }
    }

    /// Keeps what evaluations came to. Samples first, then the state with what follows from it:
    /// a crash in between evaluates again.
    fn keep(&self, out: &Evaluation) {
        if !out.write.is_empty()
            && let Err(error) = self.database.append(&out.write)
        {
            let error = error_chain(error.as_ref());
            tracing::error!(error, "samples of rules could not be kept");
        }
        if out.notifications.is_empty() && out.entries.is_empty() {
            return;
        }
        self.step(out.entries.clone(), |manners, now_ms| {
            ((), manners.take(&self.manager.outcome(&out.notifications), now_ms))
        });
    }

    /// Changes the manners, and keeps that together with `entries`. Blocks until it is on disk.
    fn step<T>(
        &self,
        mut entries: Vec<Entry>,
        change: impl FnOnce(&mut Manners, i64) -> (T, Step),
    ) -> T {
        let _keeping = lock(&self.keeping);
        let (outcome, step) = {
            let mut manners = self.manners.write().unwrap_or_else(PoisonError::into_inner);
            change(&mut manners, self.clock.now_ms())
        };
        let mut staged = self.delivery.stage(step.messages);
        entries.extend(step.entries);
        entries.append(&mut staged.entries);
        self.keeper.keep(entries);
        self.delivery.release(staged);
        self.changed.notify_one();
        outcome
    }

    fn advance(&self) {
        if self.next_ms(Manners::next_ask_ms).is_some_and(|ask_ms| ask_ms <= self.clock.now_ms()) {
            self.reconcile();
        }
        self.step(Vec::new(), |manners, now_ms| ((), manners.advance(now_ms)));
    }

    /// When the manners are due next.
    fn manners_due_ms(&self) -> Option<i64> {
        let now_ms = self.clock.now_ms();
        let due = self.next_ms(|manners| manners.next_due_ms(now_ms)).into_iter();
        due.chain(self.next_ms(Manners::next_ask_ms)).min()
    }

    fn next_ms(&self, of: impl FnOnce(&Manners) -> Option<i64>) -> Option<i64> {
        of(&self.manners.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The time until `due_ms`, as far as a loop sleeps.
fn wait(due_ms: Option<i64>, now_ms: i64) -> Duration {
    let wait_ms = due_ms.map_or(i64::MAX, |due_ms| due_ms.saturating_sub(now_ms));
    Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)).min(SLEEP_MAX)
}

/// The rows of the rules' alerts.
fn restore(keeper: &Keeper) -> Result<Vec<(String, Vec<u8>)>, LedgerError> {
    delivery::take_over(keeper, |snapshot| {
        snapshot.into_rows().into_iter().map(|(key, value)| Entry::put(key, value)).collect()
    })?;
    keeper.load(ROW_PREFIX)
}

/// Tells Alertmanagers again and again of what fires.
async fn run_repeats(alerting: Alerting, mut stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        tokio::select! {
            () = tokio::time::sleep(REPEAT) => alerting.repeat().await,
            _ = stopped.changed() => {}
        }
    }
}

/// Lets the manners speak when they are due, and has written what is owed.
async fn run_manners(alerting: Alerting, mut stopped: watch::Receiver<bool>) {
    let mut rest = Rest::default();
    while !*stopped.borrow() {
        let inner = &alerting.inner;
        let due_ms = inner.manners_due_ms();
        let wait = wait(due_ms, inner.clock.now_ms());
        if wait.is_zero() {
            alerting.advance().await;
            let pause = rest.after(due_ms, inner.manners_due_ms());
            if !pause.is_zero() {
                // Not sooner for what changes: that would be due all the same.
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = stopped.changed() => {}
                }
            }
            continue;
        }
        if inner.keeper.is_owing() {
            alerting.blocking(|inner| inner.keeper.keep(Vec::new())).await;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = inner.changed.notified() => {}
            _ = stopped.changed() => {}
        }
    }
}

/// How long to leave alone what is due again as soon as it was done: a step that fails each time
/// must not take all of a processor.
#[derive(Debug, Default)]
struct Rest(Duration);

impl Rest {
    const FIRST: Duration = Duration::from_millis(10);

    /// The pause after a step that was due at `before_ms`; what is due after it is of `after_ms`.
    fn after(&mut self, before_ms: Option<i64>, after_ms: Option<i64>) -> Duration {
        let is_done = after_ms.is_none_or(|after_ms| Some(after_ms) > before_ms);
        self.0 = if is_done { Duration::ZERO } else { (self.0 * 2).clamp(Self::FIRST, SLEEP_MAX) };
        self.0
    }
}

#[cfg(test)]
mod tests;
