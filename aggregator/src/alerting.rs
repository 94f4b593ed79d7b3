//! Rules and receivers within the aggregator: which files are in force, and when they change.
//!
//! The evaluation itself is `labstat-alerts`' [`Service`]; here is what it needs of this process:
//! the store as its database and ledger, the files, and somebody who notices that they changed.
//! A set of files is taken whole or not at all: one bad line leaves the old rules in force, and
//! the log, `/metrics` and [`RulesStatus`] say which. A start has no old rules: it takes the files that
//! can be read, and alerts of the others stay what they were.

mod attention;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use labstat_alerts::delivery::{DeliveryOptions, ReceiverMetrics};
use labstat_alerts::manners::{Manners, Step, Topology};
use labstat_alerts::rules::{Loaded, Reading};
use labstat_alerts::views::{AlertsView, GroupView, RulesFilter, RulesView};
use labstat_alerts::{
    ManagerOptions, Problem, Problems, RuleSet, Service, ServiceOptions, shipped,
};
use labstat_model::{Clock, WriteRequest};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::config::{Audience, Config, ConfigSource};
use crate::heartbeat::Evaluated;
use crate::links::Links;
use crate::presence::Urgent;
use crate::storage::{Settled, SharedStorage, chain};
use crate::telemetry::{self, Telemetry, seconds};
use crate::unstored::Unstored;

pub(crate) use attention::Acknowledge;

/// Where rules are looked for when nothing is said; it need not be there.
pub(crate) const RULES_DIR: &str = "/etc/labstat/rules.d";

/// How long it must be quiet after a change before files are read: an editor or a package
/// manager writes several in a row.
const QUIET: Duration = Duration::from_millis(300);

/// How many times in a row that wait starts anew before files are read all the same.
const QUIET_RETRIES_MAX: usize = 20;

/// Links of one folder that are followed to where they lead, since each costs a watch.
const LINKS_MAX: usize = 256;

/// Which rules are in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RulesStatus {
    /// Rule files in force, the shipped ones included.
    pub files: usize,
    /// Rules in force.
    pub rules: usize,
    /// What was wrong when files were last read; then the rules before them stay in force, or since
    /// the start those of the files that could be read.
    pub problems: Vec<Problem>,
}

/// The rules at work.
pub(crate) struct Alerting {
    handle: labstat_alerts::Alerting,
    files: RuleFiles,
    /// Where receivers and routes are read again.
    source: Option<ConfigSource>,
    /// What rules see though it is not in the history.
    unstored: Arc<Unstored>,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
    status: Mutex<RulesStatus>,
    /// When files were last read, and when they were last taken, in milliseconds.
    read_ms: AtomicI64,
    loaded_ms: AtomicI64,
    /// Held while files are read and taken, so that what was read first is never taken last.
    reloading: tokio::sync::Mutex<()>,
    watch: Watch,
}

impl fmt::Debug for Alerting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alerting").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Which files hold rules.
#[derive(Debug, Clone)]
pub(crate) struct RuleFiles {
    paths: Vec<PathBuf>,
    shipped: bool,
    watchdog: bool,
}

impl RuleFiles {
    fn of(config: &Config) -> Self {
        Self {
            paths: config.rules.clone(),
            shipped: config.shipped_rules,
            watchdog: config.watchdog,
        }
    }

    /// The rules of all files that can be read. Reads files, so it blocks.
    fn load(&self) -> Loaded {
        let there = |path: &&PathBuf| path.as_path() != Path::new(RULES_DIR) || path.exists();
        let paths: Vec<PathBuf> = self.paths.iter().filter(there).cloned().collect();
        self.own().and(Loaded::load(&paths, Reading::default()))
    }

    /// The rules that labstat ships, as far as they are wanted.
    fn own(&self) -> Loaded {
        let shipped = if self.shipped { shipped::FILES } else { &[] };
        let watchdog = self.watchdog.then_some(shipped::WATCHDOG);
        let files: Vec<_> = shipped.iter().copied().chain(watchdog).collect();
        Loaded::read(&files, Reading::default())
    }

    /// What is left when reading broke off: nothing is known of the files.
    fn unread(&self) -> Loaded {
        let problem = Problem {
            file: "rules".to_owned(),
            line: None,
            message: "could not be read to the end".to_owned(),
        };
        let own = self.own();
        own.and(Loaded { problems: vec![problem], unread: self.paths.clone(), ..Loaded::default() })
    }

    /// As [`Self::load`], on a thread that may block.
    async fn load_off(&self) -> Loaded {
        let files = self.clone();
        let loaded = tokio::task::spawn_blocking(move || files.load()).await;
        loaded.unwrap_or_else(|_| self.unread())
    }
}

impl Config {
    /// What is wrong with the rule files, which are read for it: an aggregator starts without those
    /// that cannot be taken.
    pub fn rule_problems(&self) -> Vec<Problem> {
        RuleFiles::of(self).load().problems
    }
}

impl Alerting {
    /// Loads the rules and starts to evaluate them. Rules that cannot be taken do not keep the
    /// aggregator from starting: samples matter more, and the status says what is wrong.
    pub(crate) async fn start(
        config: &Config,
        Audience { receivers, manners, remarks }: Audience,
        links: Arc<Links>,
        storage: SharedStorage,
        clock: Arc<dyn Clock>,
        telemetry: Arc<Telemetry>,
    ) -> Result<(Self, Service), labstat_alerts::StartError> {
        let files = RuleFiles::of(config);
        // Watched before they are read, so that no change falls in between.
        let watch = Watch::start(&watched(config));
        let Loaded { rules, problems, unread } = files.load_off().await;
        for path in &unread {
            let file = path.display();
            tracing::error!(%file, "not read: its rules are not evaluated, and its alerts stay");
        }
        let status = status(&rules, problems);
        remarks.iter().for_each(|remark| tracing::warn!("{remark}"));
        let unstored = Arc::<Unstored>::default();
        let database = Settled { storage: storage.clone(), unstored: Arc::clone(&unstored) };
        let options = ServiceOptions {
            rules,
            unread,
            receivers,
            manners: Some(manners),
            engine: crate::app::engine(config),
            manager: ManagerOptions {
                external_url: links.url().to_owned(),
                ..ManagerOptions::default()
            },
            links: Some(links.clone()),
            delivery: DeliveryOptions {
                observer: Some(Arc::new(telemetry.notifications.clone())),
                ..DeliveryOptions::default()
            },
            ..ServiceOptions::default()
        };
        let ledger = Arc::new(storage);
        let service =
            Service::start(options, Arc::new(database), ledger, Arc::clone(&clock)).await?;
        let handle = service.alerting();
        let alerting = Self {
            handle,
            files,
            source: config.source.clone(),
            unstored,
            clock,
            telemetry,
            status: Mutex::default(),
            read_ms: AtomicI64::new(0),
            loaded_ms: AtomicI64::new(0),
            reloading: tokio::sync::Mutex::default(),
            watch,
        };
        alerting.set_status(status);
        Ok((alerting, service))
    }

    /// Reads the files anew; bad ones change nothing but the status.
    pub(crate) async fn reload(&self) -> RulesStatus {
        let _turn = self.reloading.lock().await;
        let status = match self.files.load_off().await.whole() {
            Ok(rules) => {
                let status = status(&rules, Vec::new());
                self.handle.reload(rules).await;
                status
            }
            Err(Problems(problems)) => RulesStatus { problems, ..self.status() },
        };
        let mut status = status;
        status.problems.extend(self.reread().await);
        // Whoever starts an aggregator tells of its first rules; a reload may have nobody to ask.
        for problem in &status.problems {
            tracing::error!("not taken: {problem}");
        }
        self.set_status(status.clone());
        status
    }

    /// Reads receivers and routes anew, and takes all of them or says why none.
    async fn reread(&self) -> Vec<Problem> {
        let Some(source) = self.source.clone() else { return Vec::new() };
        let file = source.file.display().to_string();
        let problem = |message: String| Problem { file: file.clone(), line: None, message };
        let read = tokio::task::spawn_blocking(move || {
            let config = (source.read)()?;
            config.audience().map_err(|error| vec![error.to_string()])
        });
        let Audience { receivers, manners, remarks } = match read.await {
            Ok(Ok(audience)) => audience,
            Ok(Err(problems)) => return problems.into_iter().map(problem).collect(),
            Err(_) => return vec![problem("could not be read to the end".to_owned())],
        };
        remarks.iter().for_each(|remark| tracing::warn!("{remark}"));
        let taken = self.handle.reconfigure(&receivers, Some(manners)).await;
        taken.err().map(|error| problem(chain(&error))).into_iter().collect()
    }

    /// Takes note of what hangs on what. Blocks.
    pub(crate) fn set_topology(&self, topology: Topology) {
        self.handle.change(|manners, _| ((), manners.set_topology(topology)));
    }

    /// Looks at who hears what.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Manners, i64) -> T) -> T {
        self.handle.look(look)
    }

    /// Changes something of who hears what; on return it is on disk, and what follows is on its way.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Manners, i64) -> (T, Step) + Send + 'static,
    ) -> Result<T, String> {
        let handle = self.handle.clone();
        let done = tokio::task::spawn_blocking(move || handle.change(change)).await;
        done.map_err(|_| "the work broke off; see labstat's log".to_owned())
    }

    /// Which rules are in force.
    pub(crate) fn status(&self) -> RulesStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When rule files were last read.
    pub(crate) fn read_ms(&self) -> i64 {
        self.read_ms.load(Ordering::Relaxed)
    }

    /// When rule files were last read and taken.
    pub(crate) fn loaded_ms(&self) -> i64 {
        self.loaded_ms.load(Ordering::Relaxed)
    }

    fn set_status(&self, status: RulesStatus) {
        let figures = &self.telemetry.rules;
        let now_ms = self.clock.now_ms();
        self.read_ms.store(now_ms, Ordering::Relaxed);
        figures.count.set(telemetry::whole(status.rules));
        figures.loaded.set(i64::from(status.problems.is_empty()));
        if status.problems.is_empty() {
            tracing::info!(rules = status.rules, files = status.files, "rules are in force");
            self.loaded_ms.store(now_ms, Ordering::Relaxed);
            figures.loaded_seconds.set(seconds(now_ms));
        }
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    /// What `/api/v1/rules` answers.
    pub(crate) fn rules_view(&self, filter: &RulesFilter) -> RulesView {
        self.handle.manager().rules_view(filter)
    }

    /// What `/api/v1/alerts` answers.
    pub(crate) fn alerts_view(&self) -> AlertsView {
        self.handle.manager().alerts_view()
    }

    /// Takes note of what a write had that concerns the rules: metrics that cannot wait, and who
    /// delivers a backlog and until when that is to be believed.
    pub(crate) fn hear(&self, urgent: Option<Urgent>, late: Option<BTreeMap<String, i64>>) {
        if let Some(late) = late {
            self.handle.manager().set_late(late);
        }
        if let Some(Urgent { metrics, newest_ms }) = urgent {
            self.handle.wake(metrics.iter().map(|metric| &**metric), newest_ms);
        }
    }

    /// What has these labels is gone for good: its alerts end with what tells of them.
    pub(crate) fn let_go(&self, labels: BTreeMap<String, String>) {
        self.handle.manager().forget(labels, self.clock.now_ms());
    }

    /// Lets rules see what the aggregator knows, though the store had no room for it.
    pub(crate) fn hold(&self, known: &WriteRequest) {
        self.unstored.hold(known);
    }

    /// Lets go of what was held and is too old to matter.
    pub(crate) fn forget_held(&self, now_ms: i64) {
        self.unstored.forget(now_ms);
    }

    /// Brings the figures of rules and receivers up to date.
    pub(crate) fn measure(&self) {
        let figures = &self.telemetry.rules;
        let manager = self.handle.manager();
        figures.failing.set(telemetry::whole(manager.failing_len()));
        let (pending, firing) = manager.alerts_len();
        figures.alerts.with_label_values(&["pending"]).set(telemetry::whole(pending));
        figures.alerts.with_label_values(&["firing"]).set(telemetry::whole(firing));
        figures.groups.set(&manager.figures());
        self.telemetry.notifications.set(&self.handle.delivery().metrics());
    }

    /// When each group was last evaluated.
    pub(crate) fn evaluated(&self) -> Vec<Evaluated> {
        let filter = RulesFilter { exclude_alerts: true, ..RulesFilter::default() };
        let groups = self.handle.manager().rules_view(&filter).groups;
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and no rule waits so long")]
        let evaluated = |group: &GroupView| Evaluated {
            interval_ms: (group.interval * 1000.0) as i64,
            last_ms: time_ms(&group.last_evaluation),
        };
        groups.iter().map(evaluated).collect()
    }

    /// How delivery to each receiver goes.
    pub(crate) fn receivers(&self) -> Vec<ReceiverMetrics> {
        self.handle.delivery().metrics()
    }

    /// For how long each receiver has been failing, in milliseconds.
    pub(crate) fn receivers_failing_ms(&self) -> Vec<i64> {
        self.handle.delivery().metrics().iter().map(|receiver| receiver.failing_ms).collect()
    }

    /// How many alerts are pending, and how many fire.
    pub(crate) fn alerts_len(&self) -> (usize, usize) {
        self.handle.manager().alerts_len()
    }

    /// Waits for changes of the rule files and takes them. Never ends.
    pub(crate) async fn follow(&self) {
        loop {
            self.watch.changed().await;
            self.reload().await;
        }
    }
}

/// The files that are read again when they change.
fn watched(config: &Config) -> Vec<PathBuf> {
    let source = config.source.iter().map(|source| source.file.clone());
    let routes = config.manners.alertmanager_config.clone();
    config.rules.iter().cloned().chain(source).chain(routes).collect()
}

/// A time of the views, unless it says "never", which is long before 1970.
fn time_ms(text: &str) -> Option<i64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(time.as_millisecond()).filter(|ms| *ms > 0)
}

fn status(rules: &RuleSet, problems: Vec<Problem>) -> RulesStatus {
    let mut files: Vec<&str> = rules.groups.iter().map(|group| group.file.as_str()).collect();
    files.sort_unstable();
    files.dedup();
    RulesStatus { files: files.len(), rules: rules.rules_len(), problems }
}

/// Notices when files change.
struct Watch {
    paths: Vec<PathBuf>,
    /// The paths and where their links lead: what an event must be about.
    targets: Arc<RwLock<Vec<PathBuf>>>,
    changed: Arc<Notify>,
    /// None where the system has no more watches to give; then only a reload is noticed.
    watcher: Option<Mutex<RecommendedWatcher>>,
}

impl Watch {
    fn start(paths: &[PathBuf]) -> Self {
        let paths: Vec<PathBuf> = paths.iter().map(|path| absolute(path)).collect();
        let targets = Arc::new(RwLock::new(Vec::new()));
        let changed = Arc::new(Notify::new());
        let watcher = watcher(Arc::clone(&targets), Arc::clone(&changed))
            .inspect_err(|error| {
                tracing::warn!(%error, "changed rule files will be noticed on reload only");
            })
            .ok();
        let watch = Self { paths, targets, changed, watcher: watcher.map(Mutex::new) };
        watch.watch_all();
        watch
    }

    /// Returns when something has changed and it has been quiet since.
    async fn changed(&self) {
        self.changed.notified().await;
        for _ in 0..QUIET_RETRIES_MAX {
            if tokio::time::timeout(QUIET, self.changed.notified()).await.is_err() {
                break;
            }
        }
        // Folders may have come since, and links may lead elsewhere.
        self.watch_all();
    }

    /// Watches each target that is a folder, and the nearest folder above each that is there:
    /// a file that is replaced is a new one, and a folder may yet come.
    fn watch_all(&self) {
        let Some(watcher) = &self.watcher else { return };
        let mut watcher = watcher.lock().unwrap_or_else(PoisonError::into_inner);
        let targets: Vec<PathBuf> = self.paths.iter().flat_map(|path| targets(path)).collect();
        *self.targets.write().unwrap_or_else(PoisonError::into_inner) = targets.clone();
        for target in &targets {
            let above = target.ancestors().skip(1).find(|folder| folder.is_dir());
            let itself = Some(target.as_path()).filter(|target| target.is_dir());
            for watched in above.into_iter().chain(itself) {
                if let Err(error) = watcher.watch(watched, RecursiveMode::NonRecursive) {
                    tracing::warn!(path = %watched.display(), %error, "cannot be watched");
                }
            }
        }
    }
}

/// A path, and what it and the links in its folder lead to.
fn targets(path: &Path) -> Vec<PathBuf> {
    let mut targets = vec![path.to_owned()];
    targets.extend(path.canonicalize().ok().filter(|real| real != path));
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let links = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
    targets.extend(links.take(LINKS_MAX).filter_map(|link| link.path().canonicalize().ok()));
    targets
}

/// A watcher that tells of changes in, below or right above `targets`.
fn watcher(
    targets: Arc<RwLock<Vec<PathBuf>>>,
    changed: Arc<Notify>,
) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let matters = match event {
            // Reading the files is an event too, and must not lead to reading them again.
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => false,
            Ok(event) => {
                let targets = targets.read().unwrap_or_else(PoisonError::into_inner);
                let concerns = |at: &PathBuf| {
                    targets.iter().any(|target| at.starts_with(target) || target.starts_with(at))
                };
                event.paths.iter().any(concerns)
            }
            // Events were lost: there may have been one that matters.
            Err(_) => true,
        };
        if matters {
            changed.notify_one();
        }
    })
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
