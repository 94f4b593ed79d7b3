//! The loop around rules and receivers: evaluates what is due, appends the samples, keeps the
//! state and hands changes to the dispatcher, in this order.

use std::sync::Arc;
use std::time::Duration;

use labstat_model::{Clock, WriteRequest};
use labstat_promql::{Engine, Source};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use crate::manager::{Evaluation, Manager, ManagerOptions, error_chain};
use crate::notify::{
    BuildError, Dispatcher, DispatcherOptions, Journal, JournalError, Receiver, ReceiverConfig,
};
use crate::rules::RuleSet;

/// The longest the loop sleeps: it follows a clock that was set within this time.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// How long the loop waits after a restart when alerts were firing: the agents must be heard again
/// before their silence can be taken for the end of an alert. After a long absence an agent tries
/// again within a minute; the rest is for its next round.
const RETURN_WAIT: Duration = Duration::from_secs(90);

/// The data that rules are evaluated over and their samples go to.
pub trait Database: Source + Send + Sync + 'static {
    /// Keeps samples; returns when they are kept.
    fn append(
        &self,
        request: &WriteRequest,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// What a [`Service`] is started with.
#[derive(Debug, Default)]
pub struct ServiceOptions {
    /// The rules to begin with.
    pub rules: RuleSet,
    /// The receivers.
    pub receivers: Vec<ReceiverConfig>,
    /// What evaluates the rules.
    pub engine: Engine,
    /// What rules know of this aggregator.
    pub manager: ManagerOptions,
    /// How receivers are tried.
    pub dispatcher: DispatcherOptions,
}

/// Why a [`Service`] did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A receiver cannot be made from its configuration.
    #[error("failed to set up a receiver")]
    Receiver(#[source] BuildError),
    /// The kept state cannot be read.
    #[error("failed to read the kept state of the alerts")]
    Journal(#[source] JournalError),
}

/// Rules and receivers at work. Cheap to clone; for HTTP handlers and the like.
#[derive(Clone)]
pub struct Alerting {
    inner: Arc<Inner>,
}

struct Inner {
    manager: Manager,
    dispatcher: Dispatcher,
    engine: Engine,
    database: Arc<dyn Database>,
    clock: Arc<dyn Clock>,
    /// Held by whoever changes the state of the alerts: a round of evaluation or a reload.
    turn: Mutex<()>,
}

/// The running loop.
pub struct Service {
    alerting: Alerting,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Service {
    /// Reads the kept state and starts the loop and the receivers. Within a tokio runtime.
    pub async fn start(
        options: ServiceOptions,
        database: Arc<dyn Database>,
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let url = options.manager.external_url.clone();
        let receivers = options.receivers.iter().map(|config| Receiver::build(config, &url));
        let receivers = receivers.collect::<Result<Vec<_>, _>>().map_err(StartError::Receiver)?;
        let (dispatcher, snapshot) =
            Dispatcher::start(receivers, options.dispatcher, journal, clock.clone())
                .map_err(StartError::Journal)?;
        let now_ms = clock.now_ms();
        let manager = Manager::new(options.rules, options.manager, now_ms);
        let restored = manager.restore(snapshot, now_ms);
        let engine = options.engine;
        let turn = Mutex::new(());
        let inner = Arc::new(Inner { manager, dispatcher, engine, database, clock, turn });
        let alerting = Alerting { inner };
        alerting
            .blocking(move |inner| {
                inner.settle(&restored);
                let source: &dyn Source = inner.database.as_ref();
                if let Err(error) = inner.manager.discount_absence(source, now_ms) {
                    let error = error_chain(&error);
                    tracing::error!(error, "pending alerts begin to wait anew");
                }
            })
            .await;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(alerting.clone(), stopped));
        Ok(Self { alerting, stop, task })
    }

    /// A handle for others.
    pub fn alerting(&self) -> Alerting {
        self.alerting.clone()
    }

    /// Ends the loop and the receivers. What is undelivered is kept for the next start.
    pub async fn shutdown(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
        self.alerting.inner.dispatcher.shutdown().await;
    }
}

impl Alerting {
    /// The rules and their state, for the views.
    pub fn manager(&self) -> &Manager {
        &self.inner.manager
    }

    /// The receivers, for their figures and for test messages.
    pub fn dispatcher(&self) -> &Dispatcher {
        &self.inner.dispatcher
    }

    /// Puts `rules` in place of the present ones.
    pub async fn reload(&self, rules: RuleSet) {
        let _turn = self.inner.turn.lock().await;
        self.blocking(move |inner| {
            let out = inner.manager.reload(rules, inner.clock.now_ms());
            inner.settle(&out);
        })
        .await;
    }

    /// Evaluates every group that is due.
    pub async fn evaluate_due(&self) {
        let _turn = self.inner.turn.lock().await;
        self.blocking(|inner| {
            for due in inner.manager.due(inner.clock.now_ms()) {
                let source: &dyn Source = inner.database.as_ref();
                let out = inner.manager.evaluate(&due, &inner.engine, source);
                inner.settle(&out);
            }
        })
        .await;
    }

    /// Queries and disk belong on a thread that may block.
    async fn blocking(&self, work: impl FnOnce(&Inner) + Send + 'static) {
        let inner = self.inner.clone();
        if tokio::task::spawn_blocking(move || work(&inner)).await.is_err() {
            tracing::error!("evaluating rules was cut short");
        }
    }
}

impl Inner {
    /// Samples first, then the state with its messages: a crash in between evaluates again.
    fn settle(&self, out: &Evaluation) {
        if !out.write.series.is_empty()
            && let Err(error) = self.database.append(&out.write)
        {
            let error = error_chain(error.as_ref());
            tracing::error!(error, "samples of rules could not be kept");
        }
        if let Err(error) = self.dispatcher.submit(&out.notifications, self.manager.snapshot()) {
            let error = error_chain(&error);
            tracing::error!(error, "alerts may be told again after a restart");
        }
    }
}

async fn run(alerting: Alerting, mut stopped: watch::Receiver<bool>) {
    if alerting.manager().alerts_len().1 > 0 {
        tokio::select! {
            () = tokio::time::sleep(RETURN_WAIT) => {}
            _ = stopped.changed() => {}
        }
    }
    while !*stopped.borrow() {
        alerting.evaluate_due().await;
        let now_ms = alerting.inner.clock.now_ms();
        let wait_ms = alerting.inner.manager.next_due_ms(now_ms).map(|due_ms| due_ms - now_ms);
        let wait = wait_ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
        tokio::select! {
            () = tokio::time::sleep(wait.unwrap_or(SLEEP_MAX).min(SLEEP_MAX)) => {}
            _ = stopped.changed() => {}
        }
    }
}
