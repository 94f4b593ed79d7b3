//! Starting and stopping: from a configuration to a listener and its tasks, and back.
//!
//! What is checked before anything is promised: the token, the address, the data folder, the
//! receivers. A problem with any of them is a [`StartError`] that names the cure. After that
//! nothing ends the aggregator but [`Running::shutdown`].

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use labstat_alerts::{Problem, Service};
use labstat_model::Clock;
use labstat_store::{Notice, OpenError, Options, Store};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};

use crate::alerting::{Alerting, RulesStatus};
use crate::app::{self, App, INVENTORY_INTERVAL_MS, Parts};
use crate::config::{AudienceError, Config, duration_of};
use crate::engine::{self, EngineError};
use crate::heartbeat::{HeartbeatError, Switch};
use crate::http;
use crate::http::auth::{TOKEN_LEN_MIN, Token, TokenError};
use crate::links::Links;
use crate::storage::{SharedStorage, chain};
use crate::telemetry::Telemetry;

/// Threads that run tasks. Two keep a slow moment on one from delaying a write; more would only
/// cost memory, since all long work is on the blocking threads.
const WORKER_THREADS: usize = 2;

/// Threads for blocking work (store, queries, rules). Bounded, since each brings its own
/// allocator arena; idle ones end by themselves.
const BLOCKING_THREADS_MAX: usize = 16;

/// Queries that may be allowed at a time: however slow they all are, threads remain for writes,
/// rules and chores.
pub(crate) const QUERIES_MAX: usize = BLOCKING_THREADS_MAX - 4;

/// How often the store is asked to do what is due.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(60);

/// A runtime of the size an aggregator wants: two workers and a few blocking threads.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("labstat")
        .enable_all()
        .build()
}

/// Why an aggregator did not start. Each says, itself or in its cause, what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Open to the network and without a token.
    #[error(
        "refusing to listen on {listen} without a bearer token: name a file that holds one \
         (token_file, --token-file), or listen on 127.0.0.1"
    )]
    TokenMissing {
        /// The address asked for.
        listen: SocketAddr,
    },
    /// The token file could not be read.
    #[error("failed to read the token file {}", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The token file holds no usable token.
    #[error(
        "{} holds no token: its first line must have {TOKEN_LEN_MIN} or more visible ASCII \
         characters (such as from: openssl rand -hex 32)",
        path.display()
    )]
    TokenUnfit {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else listens there.
    #[error("{listen} is already in use: stop what listens there, or choose another with --listen")]
    AddressInUse {
        /// The address asked for.
        listen: SocketAddr,
    },
    /// The address cannot be listened on for another reason.
    #[error("failed to listen on {listen}")]
    Listen {
        /// The address asked for.
        listen: SocketAddr,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The data folder is not writable, in use, or holds what cannot be opened.
    #[error("failed to open the store")]
    Store(#[source] OpenError),
    /// Another engine cannot be used as it is configured.
    #[error("failed to set up the engine")]
    Engine(#[source] EngineError),
    /// It makes no sense who is to hear what.
    #[error("failed to set up who hears what")]
    Audience(#[source] AudienceError),
    /// A receiver cannot be set up, or the state of the alerts cannot be read.
    #[error("failed to start alerting")]
    Alerting(#[source] labstat_alerts::StartError),
    /// The links in messages cannot be made.
    #[error("failed to set up the links in messages")]
    Links(#[source] Box<dyn Error + Send + Sync>),
    /// The dead man's switch cannot be used as it is configured.
    #[error("failed to set up the heartbeat")]
    Heartbeat(#[source] HeartbeatError),
    /// labstat's own metrics clash; a bug.
    #[error("failed to register labstat's own metrics")]
    Telemetry(#[source] prometheus::Error),
    /// A part of the start panicked; the panic is in the log.
    #[error("the start broke off")]
    Broken(#[source] JoinError),
}

/// Why stopping was not clean. What was acknowledged is on disk all the same.
#[derive(Debug, thiserror::Error)]
pub enum ShutdownError {
    /// The store did not close; it is recovered at the next start.
    #[error("failed to close the store")]
    Close(#[source] Box<dyn Error + Send + Sync>),
}

/// How often it is looked at what hangs on what: disks are moved by people.
const WIRING_INTERVAL: Duration = Duration::from_secs(30);

/// Starts aggregators.
#[derive(Debug)]
pub struct Aggregator;

impl Aggregator {
    /// Opens the store, loads the rules, listens, and starts everything that runs beside. Must be
    /// called within a tokio runtime with timers and I/O, such as [`runtime`] makes.
    pub async fn start(config: Config, clock: Arc<dyn Clock>) -> Result<Running, StartError> {
        let token = token(&config)?;
        let audience = config.audience().map_err(StartError::Audience)?;
        let switch = config.heartbeat.switch().map_err(StartError::Heartbeat)?;
        let listener = bind(config.listen).await?;
        let addr = listener
            .local_addr()
            .map_err(|cause| StartError::Listen { listen: config.listen, cause })?;
        let (storage, notices) = open_storage(&config, Arc::clone(&clock)).await?;
        let telemetry = Telemetry::new(clock.now_ms()).map_err(StartError::Telemetry)?;
        let telemetry = Arc::new(telemetry);
        let url = url_of(addr);
        let external_url = config.external_url.clone().unwrap_or_else(|| url.clone());
        let links = open_links(external_url, storage.clone()).await?;
        let started = Alerting::start(
            &config,
            audience,
            links.clone(),
            storage.clone(),
            clock.clone(),
            telemetry.clone(),
        );
        let started = started.await;
        let (alerting, service) = match started {
            Ok(started) => started,
            Err(error) => {
                // The folder must be free again for whoever starts with a better configuration.
                let _ = tokio::task::spawn_blocking(move || storage.close()).await;
                return Err(StartError::Alerting(error));
            }
        };
        let engine = app::engine(&config);
        let parts = Parts {
            config,
            addr,
            clock,
            storage,
            engine,
            token,
            telemetry,
            alerting,
            links,
            notices,
        };
        let app = tokio::task::spawn_blocking(move || Arc::new(App::new(parts))).await;
        let app = app.map_err(StartError::Broken)?;
        Ok(run(app, listener, service, switch))
    }
}

/// Starts the listener and the tasks.
fn run(app: Arc<App>, listener: TcpListener, service: Service, switch: Option<Switch>) -> Running {
    let (stop, stopped) = watch::channel(false);
    let router = http::router(Arc::clone(&app));
    let limits = app.config.limits;
    let server = tokio::spawn(http::listen::serve(listener, router, limits, stopped));
    let mut tasks = JoinSet::new();
    let watched = Arc::clone(&app);
    tasks.spawn(async move { watched.alerting.follow().await });
    let interval = duration_of(app.config.presence_interval_ms);
    tasks.spawn(every(interval, Arc::clone(&app), App::look_for_silence));
    let interval = duration_of(app.config.disks_interval_ms);
    tasks.spawn(every(interval, Arc::clone(&app), App::look_at_disks));
    tasks.spawn(follow_wiring(Arc::clone(&app)));
    tasks.spawn(every(MAINTENANCE_INTERVAL, Arc::clone(&app), maintain));
    let interval = duration_of(INVENTORY_INTERVAL_MS);
    tasks.spawn(every(interval, Arc::clone(&app), App::look_at_inventory));
    if let Some(interval_ms) = app.config.own_metrics_interval_ms {
        let told = Arc::clone(&app);
        tasks.spawn(async move {
            // The first at once: rules want to know since when we run.
            let first = Arc::clone(&told);
            let _ = tokio::task::spawn_blocking(move || first.tell_own()).await;
            every(duration_of(interval_ms), told, App::tell_own).await;
        });
    }
    if let Some(switch) = switch {
        tasks.spawn(switch.run(Arc::clone(&app)));
    }
    let storage = app.storage.clone();
    tasks.spawn_blocking(move || storage.prepare());
    Running { app, stop, server, tasks, service }
}

/// Does `chore` on a blocking thread again and again, the first time after one interval.
async fn every(interval: Duration, app: Arc<App>, chore: fn(&App)) {
    let mut ticks = tokio::time::interval(interval);
    // After a suspend, or when the machine was busy, once is enough.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let app = Arc::clone(&app);
        if tokio::task::spawn_blocking(move || chore(&app)).await.is_err() {
            tracing::error!("a chore broke off");
        }
    }
}

/// Looks at what hangs on what, at once and then every now and then.
async fn follow_wiring(app: Arc<App>) {
    let first = Arc::clone(&app);
    let _ = tokio::task::spawn_blocking(move || App::look_at_wiring(&first)).await;
    every(WIRING_INTERVAL, app, App::look_at_wiring).await;
}

fn maintain(app: &App) {
    // The times of nodes move without a change that would be kept at once.
    let _told = app.keep_presence();
    match app.storage.maintain(app.clock.now_ms()) {
        Ok(done) => tracing::debug!(?done, "the store was maintained"),
        Err(error) => {
            app.telemetry.maintenance_failures.inc();
            tracing::error!(error = chain(&error), "maintenance failed");
        }
    }
}

/// Reads the rule files and the token file anew.
pub(crate) async fn reload(app: &App) -> RulesStatus {
    let reread = token(&app.config);
    let mut status = app.alerting.reload().await;
    match reread {
        Ok(token) => *app.token.write().unwrap_or_else(PoisonError::into_inner) = token,
        Err(error) => {
            let message = format!("{}; the old token stays in force", chain(&error));
            tracing::error!("{message}");
            let file = app.config.token_file.clone().unwrap_or_default();
            status.problems.push(Problem { file: file.display().to_string(), line: None, message });
        }
    }
    status
}

/// An aggregator that runs. Dropping it without [`Running::shutdown`] ends it abruptly, which
/// loses nothing that was acknowledged.
pub struct Running {
    app: Arc<App>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
    tasks: JoinSet<()>,
    service: Service,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("addr", &self.addr()).finish_non_exhaustive()
    }
}

impl Running {
    /// The address it listens on, with the real port where 0 was asked for.
    pub fn addr(&self) -> SocketAddr {
        self.app.addr
    }

    /// The base URL under which this machine reaches it, without a slash at the end.
    pub fn url(&self) -> String {
        url_of(self.app.addr)
    }

    /// Where the samples are when another engine has them; `None` when they are in the data folder.
    pub fn engine_url(&self) -> Option<&str> {
        self.app.config.engine.url.as_deref()
    }

    /// What the store set aside when it was opened, and why, one sentence each.
    pub fn notices(&self) -> &[String] {
        &self.app.notices
    }

    /// Which rules are in force, and which files could not be taken.
    pub fn rules(&self) -> RulesStatus {
        self.app.alerting.status()
    }

    /// Reads the rule files and the token file anew; what is bad changes nothing and is told in
    /// the problems.
    pub async fn reload(&self) -> RulesStatus {
        reload(&self.app).await
    }

    /// Stops accepting, finishes what was begun, and closes the store.
    pub async fn shutdown(self) -> Result<(), ShutdownError> {
        let Self { app, stop, server, mut tasks, service } = self;
        let _ = stop.send(true);
        let _ = server.await;
        tasks.shutdown().await;
        service.shutdown().await;
        let closed = tokio::task::spawn_blocking(move || {
            let _told = app.keep_presence();
            let _told = app.keep_inventory();
            let _told = app.keep_disks();
            app.storage.close()
        });
        match closed.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(ShutdownError::Close(Box::new(error))),
            Err(error) => Err(ShutdownError::Close(Box::new(error))),
        }
    }
}

fn url_of(addr: SocketAddr) -> String {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, addr.port()))
}

/// The token that requests must carry; `None` only on loopback.
fn token(config: &Config) -> Result<Option<Token>, StartError> {
    let Some(path) = &config.token_file else {
        let open = config.listen.ip().to_canonical().is_loopback();
        return if open {
            Ok(None)
        } else {
            Err(StartError::TokenMissing { listen: config.listen })
        };
    };
    Token::read(path).map(Some).map_err(|error| match error {
        TokenError::Read(cause) => StartError::TokenFile { path: path.clone(), cause },
        TokenError::Unfit => StartError::TokenUnfit { path: path.clone() },
    })
}

async fn bind(listen: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(listen).await.map_err(|cause| match cause.kind() {
        io::ErrorKind::AddrInUse => StartError::AddressInUse { listen },
        _ => StartError::Listen { listen, cause },
    })
}

/// Reads or makes the key of the links in messages.
async fn open_links(url: String, storage: SharedStorage) -> Result<Arc<Links>, StartError> {
    let open = tokio::task::spawn_blocking(move || Links::open(&url, Arc::new(storage)));
    let opened = open.await.map_err(StartError::Broken)?;
    opened.map(Arc::new).map_err(|error| StartError::Links(Box::new(error)))
}

/// Opens the store, and puts the engine that is configured behind the door to it.
async fn open_storage(
    config: &Config,
    clock: Arc<dyn Clock>,
) -> Result<(SharedStorage, Vec<String>), StartError> {
    let config = config.clone();
    let options = store_options(&config, Arc::clone(&clock));
    let opened = tokio::task::spawn_blocking(move || {
        let opened = Store::open(&config.data_dir, options).map_err(StartError::Store)?;
        let (store, mut notices) = opened;
        let (storage, more) = engine::open(&config, store, clock).map_err(StartError::Engine)?;
        notices.extend(more);
        Ok((storage, notices.iter().map(Notice::to_string).collect()))
    });
    opened.await.map_err(StartError::Broken)?
}

/// How the store is set up by a configuration.
pub(crate) fn store_options(config: &Config, clock: Arc<dyn Clock>) -> Options {
    Options {
        retention_ms: config.retention_ms,
        rollups_ms: config.rollups_ms,
        keep: config.keep_all(),
        size_max_bytes: config.size_max_bytes,
        read_samples_max: config.limits.query_samples_max,
        cache_size_max_bytes: config.limits.cache_bytes_max,
        ..Options::new(clock)
    }
}
