//! Starting, running and stopping an agent.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use labstat_collect::{Entry, Host, Memory, Patience, RealHost, ReplayHost};
use labstat_model::{Clock, error_chain};
use labstat_wire::remote_write::EncodeError;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::alarm::Watchman;
use crate::config::{
    Config, INTERVAL_MAX_MS, INTERVAL_MIN_MS, UnknownCollector, duration_of, unknown_collector,
};
use crate::crew::{Crew, Event, Limits, Woken};
use crate::findings::Finding;
use crate::http::{self, Latest};
use crate::memory::Folder;
use crate::process;
use crate::remote::{Remote, RemoteError, read_token};
use crate::round::{Parcel, Round, Template};
use crate::schedule::{Next, Pause, Timeline};
use crate::ship::{Backoff, Queue, STOP_TIME_MAX, Shipper, tell};
use crate::spool::{Spool, SpoolError};
use crate::telemetry::{Shipped, Telemetry, add};

/// The longest sleep between two looks at the clock, so that a clock that was set is noticed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often the receiver is told about the families: help texts cost more than samples.
const METADATA_EVERY: Duration = Duration::from_secs(600);

/// How long a stop may take in all: what shipping gets, and a moment for the disk.
const STOP_SLACK: Duration = Duration::from_secs(5);

/// The name of a node that has none.
const NODE_UNKNOWN: &str = "localhost";

/// Starts agents.
#[derive(Debug)]
pub struct Agent;

/// Why an agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `only`, `also` or `exclude` names a collector that does not exist.
    #[error(transparent)]
    UnknownCollector(#[from] UnknownCollector),
    /// `only` and `exclude` leave nothing to run.
    #[error("no collector is left to run by `only` and `exclude`")]
    NoCollectors,
    /// The interval is too short to be kept, or so long that series would seem to end.
    #[error("the interval must be from 1s to 2m")]
    Interval,
    /// There is no such captured machine.
    #[error("failed to read the captured machine in {dir} (a folder made by labstat capture)")]
    HostRoot {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// Nothing can be shipped with these settings.
    #[error("the receiver cannot be used")]
    Remote(#[from] RemoteError),
    /// The state folder cannot be used.
    #[error("the state folder cannot be used; choose another with --state, or make it writable")]
    State(#[from] SpoolError),
    /// The address can be reached from other machines, and no token protects it.
    #[error(
        "{addr} can be reached from other machines: name a token file (listen_token_file), or \
         listen on 127.0.0.1"
    )]
    Open {
        /// The address.
        addr: SocketAddr,
    },
    /// The token for scrapes cannot be used.
    #[error("the token for scrapes cannot be used")]
    ListenToken(#[source] RemoteError),
    /// The address is taken or not this machine's.
    #[error(
        "failed to listen on {addr}; choose another address with --listen, or stop what holds it"
    )]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

/// An agent that runs. Dropping it stops it at once, without the markers that end its series.
#[derive(Debug)]
pub struct Running {
    addr: Option<SocketAddr>,
    node: String,
    shared: Arc<Shared>,
    rounds: watch::Receiver<u64>,
    stop: watch::Sender<bool>,
    stop_shipping: watch::Sender<Option<Instant>>,
    rounds_task: JoinHandle<()>,
    ship_task: Option<JoinHandle<()>>,
    alarm_task: Option<JoinHandle<()>>,
    http_task: Option<JoinHandle<()>>,
}

/// What the tasks of an agent share.
#[derive(Debug, Default)]
struct Shared {
    latest: Arc<Latest>,
    findings: Mutex<Vec<Finding>>,
    telemetry: Arc<Telemetry>,
}

impl Agent {
    /// Starts an agent on the running tokio runtime; a current-thread one will do.
    pub async fn start(config: Config, clock: Arc<dyn Clock>) -> Result<Running, StartError> {
        if !(INTERVAL_MIN_MS..=INTERVAL_MAX_MS).contains(&config.interval_ms) {
            return Err(StartError::Interval);
        }
        let host = host(&config, &clock)?;
        let entries = entries(&config, labstat_collect::registry())?;
        start_with(config, clock, &entries, host, Backoff::default()).await
    }
}

/// As [`Agent::start`], with collectors, machine and waits of the caller's choice.
pub(crate) async fn start_with(
    config: Config,
    clock: Arc<dyn Clock>,
    entries: &[Entry],
    host: Arc<dyn Host>,
    backoff: Backoff,
) -> Result<Running, StartError> {
    let shared = Arc::new(Shared::default());
    let queue = Arc::new(Queue::default());
    let (stop, stopped) = watch::channel(false);
    let stopped_too = stopped.clone();
    let (stop_shipping, shipping_stopped) = watch::channel(None);
    let (rounds_sender, rounds) = watch::channel(0);
    let shipper = match &config.aggregator {
        None => None,
        Some(url) => Some(Shipper {
            remote: Remote::new(url, config.token_file.as_deref(), config.ca_file.as_deref())?,
            queue: Arc::clone(&queue),
            telemetry: Arc::clone(&shared.telemetry),
            clock: Arc::clone(&clock),
            backoff,
            spool: open_spool(&config, &shared.telemetry)?,
            kept: Default::default(),
            failures: 0,
            stop: shipping_stopped,
        }),
    };
    let token = config.listen_token_file.as_deref().map(read_token).transpose();
    let token = token.map_err(StartError::ListenToken)?;
    let listener = match config.listen {
        Some(addr) if token.is_none() && !addr.ip().is_loopback() => {
            return Err(StartError::Open { addr });
        }
        Some(addr) => Some(bind(addr).await?),
        None => None,
    };
    let addr = listener.as_ref().and_then(|listener| listener.local_addr().ok());
    let node = config.node.clone().unwrap_or_else(|| node_name(&*host));
    let crew = crew(&config, entries, &host);
    let rounds_loop = Rounds {
        host,
        clock,
        interval: duration_of(config.interval_ms),
        node: node.clone(),
        ships: shipper.is_some(),
        queue,
        shared: Arc::clone(&shared),
        before: Arc::new(Round::default()),
        between: None,
        spare: None,
        template: Template::default(),
        families: 0,
        metadata_at: Instant::now(),
        rounds: rounds_sender,
    };
    let watchman = watchman(&config, &node, &shared, &rounds_loop.clock);
    Ok(Running {
        addr,
        node,
        rounds,
        stop,
        stop_shipping,
        rounds_task: tokio::spawn(rounds_loop.run(crew, stopped)),
        ship_task: shipper.map(|shipper| tokio::spawn(shipper.run())),
        alarm_task: watchman.map(|watchman| tokio::spawn(watchman.run(stopped_too))),
        http_task: listener
            .map(|listener| tokio::spawn(http::serve(listener, Arc::clone(&shared.latest), token))),
        shared,
    })
}

impl Running {
    /// The address of its own `/metrics`, when it listens.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.addr
    }

    /// The node's name, as the label `instance` has it.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// How each collector fared in its last run; empty before the first round.
    pub fn findings(&self) -> Vec<Finding> {
        self.shared.findings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The latest round as text exposition; none before the first.
    pub fn exposition(&self) -> Option<String> {
        self.shared.latest.get().map(|round| round.exposition())
    }

    /// How shipping goes.
    pub fn shipped(&self) -> Shipped {
        self.shared.telemetry.shipped()
    }

    /// Waits until at least `count` rounds were run.
    pub async fn wait_rounds(&self, count: u64) {
        let mut rounds = self.rounds.clone();
        // An error means that the loop has ended: there will be no more.
        let _ = rounds.wait_for(|done| *done >= count).await;
    }

    /// Stops cleanly: ends all series with markers, and delivers what waits or leaves it in the
    /// spool. Takes a few seconds at most.
    pub async fn shutdown(mut self) {
        let _ = self.stop.send(true);
        let deadline = Instant::now() + STOP_TIME_MAX + STOP_SLACK;
        let _ = tokio::time::timeout_at(deadline, &mut self.rounds_task).await;
        let _ = self.stop_shipping.send(Some(Instant::now() + STOP_TIME_MAX));
        if let Some(task) = &mut self.ship_task {
            let _ = tokio::time::timeout_at(deadline, task).await;
        }
        // Dropping ends what is left.
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.rounds_task.abort();
        let tasks = [&self.ship_task, &self.alarm_task, &self.http_task];
        for task in tasks.into_iter().flatten() {
            task.abort();
        }
    }
}

/// Who tells that the aggregator is out of reach, where there is one and somebody to tell.
fn watchman(
    config: &Config,
    node: &str,
    shared: &Shared,
    clock: &Arc<dyn Clock>,
) -> Option<Watchman> {
    let voices = config.alarm.voices.clone();
    if voices.is_empty() || config.aggregator.is_none() {
        return None;
    }
    let folder = |dir: &PathBuf| Arc::new(Folder::new(dir)) as Arc<dyn Memory>;
    Some(Watchman {
        node: node.to_owned(),
        after_ms: config.alarm.after_ms,
        voices,
        telemetry: Arc::clone(&shared.telemetry),
        clock: Arc::clone(clock),
        memory: config.state_dir.as_ref().map(folder),
        // Where a lab wants to hear after seconds, it is looked more often.
        look_every: Watchman::LOOK_EVERY.min(duration_of(config.alarm.after_ms) / 4),
    })
}

/// The loop that runs the rounds.
struct Rounds {
    host: Arc<dyn Host>,
    clock: Arc<dyn Clock>,
    interval: Duration,
    node: String,
    ships: bool,
    queue: Arc<Queue>,
    shared: Arc<Shared>,
    before: Arc<Round>,
    /// What was sent since then, as a part of a round; its time is that of the last of them.
    between: Option<Round>,
    /// The round before that, for its buffers.
    spare: Option<Arc<Round>>,
    template: Template,
    families: usize,
    metadata_at: Instant,
    rounds: watch::Sender<u64>,
}

impl Rounds {
    async fn run(mut self, mut crew: Crew, mut stop: watch::Receiver<bool>) {
        let start_ms = self.clock.now_ms();
        let interval_ms = i64::try_from(self.interval.as_millis()).unwrap_or(i64::MAX);
        let mut timeline = Timeline::new(interval_ms, start_ms);
        let mut told: Option<Pause> = None;
        let limits = Limits::of(self.interval);
        crew.start_slow(Instant::now());
        crew.start_watches();
        let mut woken = None;
        while !*stop.borrow() && stop.has_changed().is_ok() {
            let now_ms = self.clock.now_ms();
            match timeline.poll(now_ms) {
                Next::Wait { wait_ms, because } => {
                    tell_pause(because, &mut told);
                    if let Some(slot) = woken.take().filter(|_| because.is_none()) {
                        tokio::select! {
                            event = crew.run_woken(slot, limits, duration_of(wait_ms)) => {
                                self.tell(event.as_ref(), now_ms);
                            }
                            _ = stop.changed() => {}
                        }
                        continue;
                    }
                    crew.start_lookouts(Instant::now());
                    let wait = duration_of(wait_ms).min(LOOK_EVERY);
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        what = crew.woken() => match what {
                            Woken::ToRun(slot) => woken = Some(slot),
                            Woken::Told(event) if because.is_none() => {
                                self.tell(Some(&event), self.clock.now_ms());
                            }
                            Woken::Told(_) => {}
                        },
                        _ = stop.changed() => {}
                    }
                }
                Next::Round { tick_ms, missed } => {
                    tell_pause(None, &mut told);
                    let telemetry = &self.shared.telemetry;
                    add(&telemetry.rounds, 1);
                    add(&telemetry.missed, u64::try_from(missed).unwrap_or(0));
                    let late_ms = self.clock.now_ms() - tick_ms;
                    add(&telemetry.late, u64::from(late_ms > interval_ms / 10));
                    crew.start_watches();
                    let ahead = |event| self.tell(Some(&event), tick_ms);
                    let is_done = tokio::select! {
                        () = crew.run_round(limits, woken.take(), ahead) => true,
                        _ = stop.changed() => false,
                    };
                    if is_done {
                        self.emit(&crew, tick_ms, start_ms);
                    }
                }
            }
        }
        self.end();
    }

    /// Ships what one collector says after its source has changed, as of `at_ms`: the time it was
    /// asked, or the tick of the round that is under way. The series of the others go on.
    fn tell(&mut self, event: Option<&Event>, at_ms: i64) {
        let Some(event) = event else { return };
        let last_ms = self.between.as_ref().map_or(self.before.tick_ms, |part| part.tick_ms);
        // Two samples of one moment would be two truths about it; the next round tells of this.
        if !self.ships || at_ms <= last_ms {
            return;
        }
        let part = |samples| Round::part(at_ms, event.job, event.instance.as_deref(), samples);
        let (before, mut now) = (part(&event.before), part(&event.now));
        self.send(now.parcel(&before, &self.node, &mut Template::default()));
        if let Some(earlier) = &self.between {
            now.append(earlier);
        }
        self.between = Some(now);
    }

    /// Makes a round of what the collectors gave, and hands it on.
    fn emit(&mut self, crew: &Crew, tick_ms: i64, start_ms: i64) {
        // Nobody else holds the round before last, unless it is being shown right now.
        let mut round = self.spare.take().and_then(Arc::into_inner).unwrap_or_default();
        round.reset(tick_ms);
        let mut findings = Vec::new();
        for (samples, finding) in crew.results() {
            round.add(samples, &finding);
            findings.push(finding);
        }
        process::collect(start_ms, round.own());
        self.shared.telemetry.collect(self.ships, self.host.counts(), round.own());
        round.finish();
        if self.ships {
            let before = match self.between.take() {
                None => Arc::clone(&self.before),
                Some(mut between) => {
                    between.append(&self.before);
                    Arc::new(between)
                }
            };
            let parcel = round.parcel(&before, &self.node, &mut self.template);
            self.send(parcel);
            self.describe(&round);
        }
        *self.shared.findings.lock().unwrap_or_else(PoisonError::into_inner) = findings;
        let round = Arc::new(round);
        self.shared.latest.set(Arc::clone(&round));
        self.spare = Some(std::mem::replace(&mut self.before, round));
        self.rounds.send_modify(|rounds| *rounds += 1);
    }

    fn send(&self, parcel: Result<Parcel, EncodeError>) {
        match parcel {
            Ok(parcel) => self.queue.push(parcel, &self.shared.telemetry),
            Err(error) => tracing::error!(error = error_chain(&error), "a round could not be sent"),
        }
    }

    /// Tells the receiver about the families, when there are new ones or it is time again.
    fn describe(&mut self, round: &Round) {
        let (now, families) = (Instant::now(), round.families_len());
        if families == self.families && now < self.metadata_at {
            return;
        }
        match round.metadata() {
            Ok(body) => {
                self.queue.set_metadata(body);
                (self.families, self.metadata_at) = (families, now + METADATA_EVERY);
            }
            Err(error) => {
                tracing::error!(error = error_chain(&error), "metadata could not be made");
            }
        }
    }

    /// Ends all series: a last round of nothing but markers.
    fn end(&mut self) {
        let mut before = self.between.take().unwrap_or_default();
        let last_ms = self.before.tick_ms.max(before.tick_ms);
        if !self.ships || last_ms == 0 {
            return;
        }
        before.append(&self.before);
        let mut round = Round::default();
        // After the last sample whatever the clock says, or the markers would end nothing.
        round.reset(self.clock.now_ms().max(last_ms + 1));
        let parcel = round.parcel(&before, &self.node, &mut self.template);
        self.send(parcel);
    }
}

fn tell_pause(because: Option<Pause>, told: &mut Option<Pause>) {
    let kind = |pause: &Pause| std::mem::discriminant(pause);
    if because.as_ref().map(kind) == told.as_ref().map(kind) {
        return;
    }
    match because {
        Some(Pause::Unset) => {
            tracing::warn!("the clock is before 2020: no rounds until it is set");
        }
        Some(Pause::WentBack { by_ms }) => {
            tracing::warn!(
                by_ms,
                "the clock went back over written history: no rounds until it is past"
            );
        }
        None => tracing::info!("the clock is right again"),
    }
    *told = because;
}

/// The entries of `registry` that `config` asks for.
pub(crate) fn entries(config: &Config, registry: &[Entry]) -> Result<Vec<Entry>, StartError> {
    for names in [&config.only, &config.also, &config.exclude] {
        if let Some(unknown) = unknown_collector(names) {
            return Err(StartError::UnknownCollector(unknown));
        }
    }
    // A job's name stands for those of its collectors that are on by themselves.
    let is_named =
        |name: &str, entry: &Entry| name == entry.name || (entry.is_on && name == entry.job);
    let has = |names: &[String], entry: &Entry| names.iter().any(|name| is_named(name, entry));
    let entries: Vec<Entry> = registry
        .iter()
        .filter(|entry| match config.only.as_slice() {
            [] => entry.is_on || has(&config.also, entry),
            only => has(only, entry) || has(&config.also, entry),
        })
        .filter(|entry| !has(&config.exclude, entry))
        .copied()
        .collect();
    if entries.is_empty() { Err(StartError::NoCollectors) } else { Ok(entries) }
}

/// The machine that `config` names.
pub(crate) fn host(config: &Config, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Host>, StartError> {
    let Some(dir) = &config.host_root else {
        return Ok(Arc::new(RealHost::new(Arc::clone(clock))));
    };
    let error = |cause| StartError::HostRoot { dir: dir.clone(), cause };
    Ok(Arc::new(ReplayHost::open(dir, Arc::clone(clock)).map_err(error)?))
}

fn crew(config: &Config, entries: &[Entry], host: &Arc<dyn Host>) -> Crew {
    let mut options = config.collect.clone();
    let interval = duration_of(config.interval_ms);
    options.patience = Patience::of(interval);
    // What the user is ready to wait for, as far as a round has time for it.
    let wait_max = Patience::part_of(interval);
    options.filesystems.deadline = options.filesystems.deadline.min(wait_max);
    options.ceph.deadline = options.ceph.deadline.min(wait_max);
    // Each disk has its own schedule, and no round waits for one.
    options.smartctl.continuous = true;
    let slow = config.slow_interval_ms.map(duration_of);
    options.smartctl.interval = options.smartctl.interval.or(slow);
    // What is read of a captured machine says nothing of this one.
    let dir = config.state_dir.as_deref().filter(|_| config.host_root.is_none());
    options.memory = dir.map(|dir| Arc::new(Folder::new(dir)) as Arc<dyn Memory>);
    Crew::new(entries, options, slow, Arc::clone(host))
}

fn open_spool(config: &Config, telemetry: &Telemetry) -> Result<Option<Spool>, SpoolError> {
    let Some(dir) = &config.state_dir else { return Ok(None) };
    let (spool, notices) = Spool::open(&dir.join("spool"), config.spool)?;
    for notice in notices {
        tell(&notice, telemetry);
    }
    if spool.rounds() > 0 {
        tracing::info!(rounds = spool.rounds(), "rounds of an earlier run wait in the spool");
    }
    telemetry.spool_bytes.store(spool.bytes(), Ordering::Relaxed);
    telemetry.spool_rounds.store(spool.rounds(), Ordering::Relaxed);
    Ok(Some(spool))
}

async fn bind(addr: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(addr).await.map_err(|cause| StartError::Bind { addr, cause })
}

/// The host's name, as the kernel has it.
fn node_name(host: &dyn Host) -> String {
    let name = host.uname().map(|uname| uname.nodename).unwrap_or_default();
    if name.is_empty() { NODE_UNKNOWN.to_owned() } else { name }
}
