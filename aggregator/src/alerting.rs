//! Rules and receivers within the aggregator: which files are in force, and when they change.
//!
//! The evaluation itself is `labstat-alerts`' [`Service`]; here is what it needs of this process:
//! the store as its database and journal, the files, and somebody who notices that they changed.
//! A set of files is taken whole or not at all: one bad line leaves the old rules in force, and
//! the log, `/metrics` and [`RulesStatus`] say which.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use labstat_alerts::views::{AlertsView, RulesFilter, RulesView};
use labstat_alerts::{ManagerOptions, Problem, Problems, RuleSet, Service, ServiceOptions};
use labstat_model::Clock;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::config::Config;
use crate::storage::{Settled, SharedStorage};
use crate::telemetry::{self, Telemetry, seconds};

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
    /// What was wrong when files were last read; then the rules before them stay in force.
    pub problems: Vec<Problem>,
}

/// The rules at work.
pub(crate) struct Alerting {
    handle: labstat_alerts::Alerting,
    files: RuleFiles,
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
}

impl RuleFiles {
    fn of(config: &Config) -> Self {
        Self { paths: config.rules.clone(), shipped: config.shipped_rules }
    }

    /// All rules, or all that is wrong with them. Reads files, so it blocks.
    fn load(&self) -> Result<RuleSet, Problems> {
        let there = |path: &&PathBuf| path.as_path() != Path::new(RULES_DIR) || path.exists();
        let paths: Vec<PathBuf> = self.paths.iter().filter(there).cloned().collect();
        let own = RuleSet::load(&paths)?;
        Ok(if self.shipped { RuleSet::shipped()?.and(own) } else { own })
    }

    /// The shipped rules alone, for a start with files that cannot be taken.
    fn fallback(&self) -> RuleSet {
        let shipped = self.shipped.then(|| RuleSet::shipped().ok()).flatten();
        shipped.unwrap_or_default()
    }
}

impl Alerting {
    /// Loads the rules and starts to evaluate them. Rules that cannot be taken do not keep the
    /// aggregator from starting: samples matter more, and the status says what is wrong.
    pub(crate) async fn start(
        config: &Config,
        url: &str,
        storage: SharedStorage,
        clock: Arc<dyn Clock>,
        telemetry: Arc<Telemetry>,
    ) -> Result<(Self, Service), labstat_alerts::StartError> {
        let files = RuleFiles::of(config);
        // Watched before they are read, so that no change falls in between.
        let watch = Watch::start(&files.paths);
        let read = files.clone();
        let loaded = tokio::task::spawn_blocking(move || read.load()).await;
        let (rules, problems) = match loaded {
            Ok(Ok(rules)) => (rules, Vec::new()),
            Ok(Err(Problems(problems))) => (files.fallback(), problems),
            Err(_) => (files.fallback(), vec![unread()]),
        };
        let status = status(&rules, problems);
        let options = ServiceOptions {
            rules,
            receivers: config.receivers.clone(),
            engine: crate::app::engine(config),
            manager: ManagerOptions {
                external_url: config.external_url.clone().unwrap_or_else(|| url.to_owned()),
                ..ManagerOptions::default()
            },
            ..ServiceOptions::default()
        };
        let journal = Arc::new(storage.clone());
        let database = Arc::new(Settled(storage));
        let service = Service::start(options, database, journal, Arc::clone(&clock)).await?;
        let handle = service.alerting();
        let alerting = Self {
            handle,
            files,
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
        let files = self.files.clone();
        let loaded = tokio::task::spawn_blocking(move || files.load()).await;
        let status = match loaded {
            Ok(Ok(rules)) => {
                let status = status(&rules, Vec::new());
                self.handle.reload(rules).await;
                status
            }
            Ok(Err(Problems(problems))) => RulesStatus { problems, ..self.status() },
            Err(_) => RulesStatus { problems: vec![unread()], ..self.status() },
        };
        // Whoever starts an aggregator tells of its first rules; a reload may have nobody to ask.
        for problem in &status.problems {
            tracing::error!("rules not taken: {problem}");
        }
        self.set_status(status.clone());
        status
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

    /// Brings the figures of rules and receivers up to date.
    pub(crate) fn measure(&self) {
        let figures = &self.telemetry.rules;
        let manager = self.handle.manager();
        figures.failing.set(telemetry::whole(manager.failing_len()));
        let (pending, firing) = manager.alerts_len();
        figures.alerts.with_label_values(&["pending"]).set(telemetry::whole(pending));
        figures.alerts.with_label_values(&["firing"]).set(telemetry::whole(firing));
        let filter = RulesFilter { exclude_alerts: true, ..RulesFilter::default() };
        figures.group_seconds.reset();
        for group in manager.rules_view(&filter).groups {
            let labels = [group.file.as_str(), group.name.as_str()];
            figures.group_seconds.with_label_values(&labels).set(group.evaluation_time);
        }
        for receiver in self.handle.dispatcher().metrics() {
            figures.set_receiver(&receiver);
        }
    }

    /// Waits for changes of the rule files and takes them. Never ends.
    pub(crate) async fn follow(&self) {
        loop {
            self.watch.changed().await;
            self.reload().await;
        }
    }
}

fn status(rules: &RuleSet, problems: Vec<Problem>) -> RulesStatus {
    let mut files: Vec<&str> = rules.groups.iter().map(|group| group.file.as_str()).collect();
    files.sort_unstable();
    files.dedup();
    RulesStatus { files: files.len(), rules: rules.rules_len(), problems }
}

fn unread() -> Problem {
    let message = "could not be read to the end".to_owned();
    Problem { file: "rules".to_owned(), line: None, message }
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
