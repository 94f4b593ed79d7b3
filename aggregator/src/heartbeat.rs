//! The dead man's switch: a URL that is asked for again and again while labstat truly works, so that
//! whoever waits behind it (healthchecks.io, Uptime Kuma, a script) alarms when it does not.
//!
//! Truly works: rules are evaluated in time, the store takes a write, and not every receiver has been
//! failing. When something of that is wrong, `/fail` is asked for in place of the URL, with what it is in
//! the body. When the process hangs, is stopped or dies, nothing comes, which is the point.
//!
//! The URL is a secret: whoever knows it can keep the switch quiet. It is never logged.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use labstat_model::settings::{Problems, Section, duration_within, path, text, url};
use tokio::task::JoinHandle;

use crate::app::App;
use crate::config::duration_of;
use crate::storage::chain;

/// How long one ping may take, connecting included; less than the least interval would make one late.
const PING_TIME_MAX: Duration = Duration::from_secs(10);

/// How long the look at whether all is well may take. A store that does not answer is trouble.
const LOOK_TIME_MAX: Duration = Duration::from_secs(10);

/// How long every receiver must have been failing: their servers may be restarted.
const RECEIVERS_FAILING_MAX_MS: i64 = 600_000;

/// How late the evaluation of a rule group may be, beyond three of its intervals.
const RULES_LATE_MAX_MS: i64 = 60_000;

/// Bytes of a file with the URL.
const URL_LEN_MAX: u64 = 4096;

/// The document that is written to see whether the store takes a write.
const PROBE_KEY: &str = "heartbeat";

/// How the switch is kept quiet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatConfig {
    /// The URL; a secret.
    pub url: Option<Secret>,
    /// The file whose first line is the URL, when it is not given itself.
    pub url_file: Option<PathBuf>,
    /// Time between two pings, in milliseconds.
    pub interval_ms: i64,
    /// Whether it is asked for by GET, for those who take no POST; then nothing is said beside.
    pub get: bool,
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Default for HeartbeatConfig {
    fn default() -> Self {
        Self { url: None, url_file: None, interval_ms: 60_000, get: false }
    }
}

impl HeartbeatConfig {
    pub(crate) fn read(&mut self, section: &mut Section<'_>, problems: &mut Problems<'_>) {
        section.take("url", problems, &mut self.url, |value| {
            // The message must not repeat the secret.
            let unfit = |_| "expected a URL such as https://hc-ping.com/UUID".to_owned();
            let url = url(value).map_err(unfit)?;
            url.parse::<Uri>().map_err(|_| unfit(String::new()))?;
            Ok(Some(Secret(url)))
        });
        section.take("url_file", problems, &mut self.url_file, |value| path(value).map(Some));
        section.take("interval", problems, &mut self.interval_ms, |value| {
            duration_within(value, 1_000, 86_400_000)
        });
        section.take("method", problems, &mut self.get, |value| match text(value)? {
            "POST" => Ok(false),
            "GET" => Ok(true),
            other => Err(format!("expected \"POST\" or \"GET\", found {other:?}")),
        });
    }

    /// The switch, if there is one.
    pub(crate) fn switch(&self) -> Result<Option<Switch>, HeartbeatError> {
        let url = match (&self.url, &self.url_file) {
            (Some(Secret(url)), _) => url.clone(),
            (None, Some(path)) => url_of(path)?,
            (None, None) => return Ok(None),
        };
        Switch::new(&url, self).map(Some)
    }
}

/// Why there is no switch though one is wanted.
#[derive(Debug, thiserror::Error)]
pub enum HeartbeatError {
    /// The file with the URL cannot be read.
    #[error("failed to read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// It holds no URL.
    #[error("{} holds no URL on its first line (such as https://hc-ping.com/UUID)", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
    },
    /// The URL that is configured is none.
    #[error("the URL of the heartbeat is none")]
    Url,
    /// TLS cannot be set up.
    #[error("failed to set up TLS for the heartbeat")]
    Tls(#[source] rustls::Error),
}

fn url_of(path: &Path) -> Result<String, HeartbeatError> {
    use std::io::Read;

    let wrap = |cause| HeartbeatError::File { path: path.to_owned(), cause };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(wrap)?;
    file.take(URL_LEN_MAX).read_to_string(&mut text).map_err(wrap)?;
    let url = text.lines().next().unwrap_or("").trim();
    let is_url = url.starts_with("http://") || url.starts_with("https://");
    let has_host = url.parse::<Uri>().is_ok_and(|uri| uri.host().is_some());
    if is_url && has_host {
        Ok(url.to_owned())
    } else {
        Err(HeartbeatError::Unfit { path: path.to_owned() })
    }
}

/// What is pinged.
pub(crate) struct Switch {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    well: Uri,
    fail: Uri,
    get: bool,
    interval: Duration,
}

impl std::fmt::Debug for Switch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Switch").field("host", &self.well.host()).finish_non_exhaustive()
    }
}

/// How labstat is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Health {
    /// What is wrong, a sentence each.
    pub(crate) troubles: Vec<String>,
    /// In short how things are; no names, since it leaves the lab.
    pub(crate) status: String,
}

impl Switch {
    fn new(url: &str, config: &HeartbeatConfig) -> Result<Self, HeartbeatError> {
        let parse = |url: &str| url.parse::<Uri>().map_err(|_| HeartbeatError::Url);
        let mut roots = rustls::RootCertStore::empty();
        if url.starts_with("https:") {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(HeartbeatError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(PING_TIME_MAX));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        // A connection that is kept would be closed by the other side between two pings.
        let client =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        let interval = duration_of(config.interval_ms);
        Ok(Self {
            client,
            well: parse(url)?,
            fail: parse(&fail_url(url))?,
            get: config.get,
            interval,
        })
    }

    /// Pings for as long as the aggregator runs.
    pub(crate) async fn run(self, app: Arc<App>) {
        let figures = &app.telemetry.heartbeat;
        figures.interval.with_label_values::<&str>(&[]).set(self.interval.as_secs_f64());
        // What was never reached is late from now on.
        figures.succeeded(app.clock.now_ms());
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_reached = true;
        let mut looks = Looks::default();
        loop {
            ticks.tick().await;
            let asked = Arc::clone(&app);
            let health = looks.look(move || examine(&asked), LOOK_TIME_MAX).await;
            let is_well = health.troubles.is_empty();
            match self.ping(&health).await {
                Ok(()) => {
                    figures.pings.with_label_values(&[if is_well { "well" } else { "fail" }]).inc();
                    figures.succeeded(app.clock.now_ms());
                    if !is_reached {
                        tracing::info!("the heartbeat is taken again");
                    }
                    is_reached = true;
                }
                Err(error) => {
                    figures.pings.with_label_values(&["lost"]).inc();
                    // The first failure is news; those that follow are the same story.
                    if is_reached {
                        tracing::warn!("the heartbeat was not taken: {error}");
                    }
                    is_reached = false;
                }
            }
            if !is_well {
                tracing::warn!("the heartbeat tells of trouble: {}", health.troubles.join("; "));
            }
        }
    }

    async fn ping(&self, health: &Health) -> Result<(), String> {
        let is_well = health.troubles.is_empty();
        let uri = if is_well { &self.well } else { &self.fail };
        let lines: Vec<&str> =
            health.troubles.iter().chain([&health.status]).map(String::as_str).collect();
        let body = if self.get { String::new() } else { lines.join("\n") + "\n" };
        let request = Request::builder()
            .method(if self.get { Method::GET } else { Method::POST })
            .uri(uri.clone())
            .header(USER_AGENT, concat!("labstat/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(Full::new(Bytes::from(body)));
        let request = request.map_err(|_| "the request cannot be made".to_owned())?;
        let host = uri.host().unwrap_or("it");
        let answer = tokio::time::timeout(PING_TIME_MAX, self.client.request(request)).await;
        let answer = answer.map_err(|_| format!("{host} did not answer in time"))?;
        // The error of the client says what failed, and not where to.
        let answer =
            answer.map_err(|error| format!("{host} was not reached: {}", chain(&error)))?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(format!("{host} answers {status}")) }
    }
}

/// `/fail` at the end of the path, as healthchecks.io has it.
fn fail_url(url: &str) -> String {
    match url.split_once('?') {
        Some((path, query)) => format!("{}/fail?{query}", path.trim_end_matches('/')),
        None => format!("{}/fail", url.trim_end_matches('/')),
    }
}

/// Looks at how labstat is, one at a time: a store that hangs keeps one thread, and not one more with each ping.
#[derive(Debug, Default)]
struct Looks {
    /// The one that has not come back.
    running: Option<JoinHandle<Health>>,
}

impl Looks {
    /// How labstat is, within `time_max`. While the last look has not come back, that one is waited for.
    async fn look(
        &mut self,
        examine: impl FnOnce() -> Health + Send + 'static,
        time_max: Duration,
    ) -> Health {
        // What a look found that came back since is old.
        let running = self.running.take().filter(|looked| !looked.is_finished());
        let mut looked = running.unwrap_or_else(|| tokio::task::spawn_blocking(examine));
        let trouble =
            |text: &str| Health { troubles: vec![text.to_owned()], status: String::new() };
        match tokio::time::timeout(time_max, &mut looked).await {
            Ok(Ok(health)) => health,
            Ok(Err(_)) => trouble("looking at itself broke off"),
            Err(_) => {
                self.running = Some(looked);
                trouble("the store does not answer")
            }
        }
    }
}

fn examine(app: &App) -> Health {
    let now_ms = app.clock.now_ms();
    let mut troubles = Vec::new();
    if let Err(error) = app.storage.document_put(PROBE_KEY, now_ms.to_string().as_bytes()) {
        troubles.push(format!("the store takes no writes: {}", chain(&error)));
    }
    if let Err(error) = app.storage.settled() {
        troubles.push(format!("rules are not evaluated: {}", chain(&error)));
    }
    let late = late(&app.alerting.evaluated(), now_ms, app.start_ms);
    if late > 0 {
        troubles.push(format!("{late} rule group(s) are not evaluated in time"));
    }
    let receivers = app.alerting.receivers_failing_ms();
    if !receivers.is_empty() && receivers.iter().all(|ms| *ms > RECEIVERS_FAILING_MAX_MS) {
        troubles.push("no receiver takes messages".to_owned());
    }
    let nodes = app.presence().nodes();
    let down = nodes.iter().filter(|node| node.down).count();
    let (_, firing) = app.alerting.alerts_len();
    let (rules, up) = (app.alerting.status().rules, nodes.len() - down);
    let status = format!(
        "labstat {}: {up} node(s) up, {down} down, {firing} alert(s) firing, {rules} rules",
        env!("CARGO_PKG_VERSION")
    );
    Health { troubles, status }
}

/// When a rule group was last evaluated, and how often it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Evaluated {
    pub(crate) interval_ms: i64,
    /// Not since the start, when there is none.
    pub(crate) last_ms: Option<i64>,
}

/// Groups that are late.
fn late(groups: &[Evaluated], now_ms: i64, start_ms: i64) -> usize {
    let is_late = |group: &&Evaluated| {
        // After a start, the agents get a while to be heard again before anything is evaluated.
        let since_ms =
            group.last_ms.unwrap_or(0).max(start_ms.saturating_add(2 * RULES_LATE_MAX_MS));
        let due_ms = group.interval_ms.saturating_mul(3).saturating_add(RULES_LATE_MAX_MS);
        now_ms.saturating_sub(since_ms) > due_ms
    };
    groups.iter().filter(is_late).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_goes_to_the_same_url_with_fail_at_its_end() {
        assert_eq!(fail_url("https://hc-ping.com/u-u"), "https://hc-ping.com/u-u/fail");
        assert_eq!(fail_url("http://kuma/api/push/x?msg=OK"), "http://kuma/api/push/x/fail?msg=OK");
    }

    #[tokio::test]
    async fn a_store_that_hangs_keeps_one_look_and_no_more() {
        use std::sync::atomic::{AtomicUsize, Ordering};

        let well = || Health { troubles: Vec::new(), status: "well".to_owned() };
        let begun = Arc::new(AtomicUsize::new(0));
        let (release, hang) = std::sync::mpsc::channel::<()>();
        let mut looks = Looks::default();
        let first = Arc::clone(&begun);
        let hangs = move || {
            first.fetch_add(1, Ordering::SeqCst);
            let _ = hang.recv();
            well()
        };
        let moment = Duration::from_millis(20);
        assert_eq!(looks.look(hangs, moment).await.troubles, ["the store does not answer"]);
        for _ in 0..3 {
            let another = Arc::clone(&begun);
            let next = move || {
                another.fetch_add(1, Ordering::SeqCst);
                well()
            };
            assert_eq!(looks.look(next, moment).await.troubles, ["the store does not answer"]);
        }
        drop(release);
        assert_eq!(looks.look(well, LOOK_TIME_MAX).await, well());
        assert!(begun.load(Ordering::SeqCst) <= 1, "none was begun beside the one that hung");
        assert!(looks.running.is_none());
    }

    #[test]
    fn groups_are_late_after_three_of_their_intervals_and_not_right_after_a_start() {
        let group = |last_ms| Evaluated { interval_ms: 60_000, last_ms };
        let at = |now_ms, last_ms| late(&[group(last_ms)], now_ms, 1_000_000);
        assert_eq!(at(2_000_000, Some(1_800_000)), 0);
        assert_eq!(at(2_000_000, Some(1_700_000)), 1);
        assert_eq!(at(1_300_000, None), 0, "it has just started");
        assert_eq!(at(1_400_000, None), 1, "it never begins");
    }

    #[test]
    fn the_url_is_read_from_its_file_and_never_shown() {
        let dir = std::env::temp_dir().join(format!("labstat-heartbeat-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("url");
        let config = HeartbeatConfig { url_file: Some(file.clone()), ..HeartbeatConfig::default() };
        assert!(matches!(config.switch(), Err(HeartbeatError::File { .. })));
        std::fs::write(&file, "not a url\n").unwrap();
        assert!(matches!(config.switch(), Err(HeartbeatError::Unfit { .. })));
        std::fs::write(&file, "https://hc-ping.com/s3cret\n").unwrap();
        let switch = config.switch().unwrap().unwrap();
        assert!(!format!("{switch:?}").contains("s3cret"));
        let url = Some(Secret("https://hc-ping.com/s3cret".to_owned()));
        assert!(!format!("{:?}", HeartbeatConfig { url, ..config }).contains("s3cret"));
        assert!(HeartbeatConfig::default().switch().unwrap().is_none());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
