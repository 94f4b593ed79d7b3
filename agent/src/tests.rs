//! The agent against a real receiver on this machine, which answers as each test tells it to.
//!
//! The collectors are made up, so that each can hang, fail or end when a test wants it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use labstat_collect::host::{FilesystemSize, Framing, Uname};
use labstat_collect::{
    CollectError, Collector, Counts, Entry, Host, Memory, Options, Output, Pace, RealHost,
    RunError, Status, Wake, Watch,
};
use labstat_model::{Batch, Family, ManualClock, SystemClock, WriteRequest, error_chain, is_stale};
use labstat_wire::remote_write;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;

use crate::agent::start_with;
use crate::config::Config;
use crate::findings::Outcome;
use crate::once::once_with;
use crate::ship::Backoff;
use crate::{Agent, Running, StartError};

/// How long a test waits for what must come: rounds are a fraction of a second apart, and the
/// machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

static VALUE: Family = Family::gauge("demo_value", "A value.");

/// A receiver of remote write.
#[derive(Clone, Default)]
struct Receiver {
    /// Answers in order; when there are none left, 204.
    answers: Arc<Mutex<VecDeque<(u16, &'static str)>>>,
    taken: Arc<Mutex<Vec<WriteRequest>>>,
    tokens: Arc<Mutex<Vec<String>>>,
    requests: Arc<AtomicUsize>,
    /// Leaves requests with metadata without an answer, once it is set.
    ignores_metadata: Arc<AtomicBool>,
}

impl Receiver {
    async fn start(&self, addr: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind(addr).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let receiver = self.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let receiver = receiver.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| receiver.answer(request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        addr
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        assert_eq!(request.uri().path(), "/api/v1/write");
        assert_eq!(request.headers()["content-encoding"], "snappy");
        assert_eq!(request.headers()["content-type"], "application/x-protobuf");
        if let Some(token) = request.headers().get("authorization") {
            self.tokens.lock().unwrap().push(token.to_str().unwrap().to_owned());
        }
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let decoded = remote_write::decode(&body).unwrap();
        assert_eq!(decoded.refused.series, 0);
        if self.ignores_metadata.load(Ordering::SeqCst) && !decoded.request.metadata.is_empty() {
            std::future::pending::<()>().await;
        }
        let answer = self.answers.lock().unwrap().pop_front();
        let (status, reason) = answer.unwrap_or((204, ""));
        if status == 204 {
            self.taken.lock().unwrap().push(decoded.request);
        }
        let mut response = Response::new(Full::new(Bytes::from_static(reason.as_bytes())));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        Ok(response)
    }

    /// The times of all samples of `demo_value`, markers left out, as they came.
    fn ticks(&self) -> Vec<i64> {
        self.times("demo_value")
    }

    /// The times of all samples of this name, markers left out, as they came.
    fn times(&self, name: &str) -> Vec<i64> {
        let taken = self.taken.lock().unwrap();
        let series = taken.iter().flat_map(|request| &request.series);
        series
            .filter(|series| series.labels.metric_name() == name)
            .flat_map(|series| &series.samples)
            .filter(|sample| !is_stale(sample.value))
            .map(|sample| sample.time_ms)
            .collect()
    }

    fn stale_len(&self) -> usize {
        let taken = self.taken.lock().unwrap();
        let samples = taken.iter().flat_map(|r| &r.series).flat_map(|s| &s.samples);
        samples.filter(|sample| is_stale(sample.value)).count()
    }
}

/// Polls until `done`, or fails.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !done() {
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

struct Good;

impl Collector for Good {
    fn collect(&mut self, _: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        out.push(&VALUE, &[], 1.0);
        Ok(Status::Collected)
    }
}

fn entry(name: &'static str, pace: Pace, make: fn(&Options) -> Box<dyn Collector>) -> Entry {
    Entry { name, job: "node", pace, is_on: true, wake: None, make }
}

fn good() -> Entry {
    entry("good", Pace::Fast, |_| Box::new(Good))
}

fn machine() -> Arc<dyn Host> {
    Arc::new(RealHost::new(Arc::new(SystemClock)))
}

fn config(addr: SocketAddr) -> Config {
    Config {
        aggregator: Some(format!("http://{addr}")),
        node: Some("vertex".to_owned()),
        interval_ms: 100,
        ..Config::default()
    }
}

fn local() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// An address on which nothing listens.
async fn closed() -> SocketAddr {
    TcpListener::bind(local()).await.unwrap().local_addr().unwrap()
}

async fn start(config: Config, entries: &[Entry]) -> Running {
    let backoff = Backoff { min: Duration::from_millis(20), max: Duration::from_millis(80) };
    start_with(config, Arc::new(SystemClock), entries, machine(), backoff).await.unwrap()
}

async fn start_error(config: Config) -> StartError {
    let clock = Arc::new(SystemClock);
    start_with(config, clock, &[good()], machine(), Backoff::default()).await.unwrap_err()
}

fn is_ascending(ticks: &[i64]) -> bool {
    ticks.windows(2).all(|pair| pair[0] < pair[1])
}

#[tokio::test]
async fn rounds_arrive_aligned_and_a_stop_ends_the_series() {
    let receiver = Receiver::default();
    let addr = receiver.start(local()).await;
    let running = start(config(addr), &[good()]).await;
    until("three rounds", || receiver.ticks().len() >= 3).await;
    until("metadata", || receiver.taken.lock().unwrap().iter().any(|r| !r.metadata.is_empty()))
        .await;
    assert_eq!(receiver.stale_len(), 0);
    running.shutdown().await;
    let ticks = receiver.ticks();
    assert!(is_ascending(&ticks) && ticks.iter().all(|tick| tick % 100 == 0), "{ticks:?}");
    let taken = receiver.taken.lock().unwrap();
    let rounds: Vec<_> = taken.iter().filter(|request| !request.series.is_empty()).collect();
    let last = rounds.last().unwrap();
    assert!(last.series.iter().flat_map(|s| &s.samples).all(|sample| is_stale(sample.value)));
    assert!(last.series.iter().all(|s| s.samples[0].time_ms > *ticks.last().unwrap()));
    let before = rounds[rounds.len() - 2];
    assert_eq!(last.series.len(), before.series.len(), "every series ends");
    let labels = before.series.iter().map(|series| series.labels.to_string());
    assert!(labels.into_iter().any(|l| l == r#"demo_value{instance="vertex", job="node"}"#));
    let up = before.series.iter().find(|series| series.labels.metric_name() == "up").unwrap();
    assert_eq!(up.samples[0].value, 1.0);
}

#[tokio::test]
async fn a_stop_delivers_the_last_rounds_though_metadata_has_no_answer() {
    let receiver = Receiver::default();
    receiver.ignores_metadata.store(true, Ordering::SeqCst);
    let addr = receiver.start(local()).await;
    let running = start(config(addr), &[good()]).await;
    until("the request with metadata", || receiver.requests.load(Ordering::SeqCst) >= 2).await;
    running.wait_rounds(3).await;
    assert_eq!(receiver.ticks().len(), 1, "the others wait behind it");
    running.shutdown().await;
    assert!(receiver.ticks().len() >= 3, "{:?}", receiver.ticks());
    assert!(receiver.stale_len() > 0);
}

#[tokio::test]
async fn a_receiver_that_is_away_gets_everything_later_in_order() {
    let (receiver, addr) = (Receiver::default(), closed().await);
    let dir = tempfile::tempdir().unwrap();
    let config = Config { state_dir: Some(dir.path().to_owned()), ..config(addr) };
    let running = start(config, &[good()]).await;
    until("rounds on disk", || running.shipped().spool_rounds >= 5).await;
    receiver.start(addr).await;
    let waiting = running.shipped().rounds;
    until("all rounds", || receiver.ticks().len() as u64 > waiting).await;
    until("an empty spool", || running.shipped().spool_rounds == 0).await;
    running.wait_rounds(running.shipped().rounds + 1).await;
    let shipped = running.shipped();
    running.shutdown().await;
    assert_eq!(shipped.samples_dropped, 0);
    assert!(shipped.errors > 0);
    // On a busy machine a round may have no time left for the collector: `up` is in all of them.
    let ticks = receiver.times("up");
    assert!(is_ascending(&ticks), "{ticks:?}");
    assert!(ticks.len() as u64 >= shipped.rounds, "{} of {}", ticks.len(), shipped.rounds);
    let requests = receiver.taken.lock().unwrap().len();
    assert!(requests < ticks.len(), "several rounds in one request: {requests}");
}

#[tokio::test]
async fn what_was_spooled_survives_a_restart() {
    let (receiver, addr) = (Receiver::default(), closed().await);
    let dir = tempfile::tempdir().unwrap();
    let config = Config { state_dir: Some(dir.path().to_owned()), ..config(addr) };
    let running = start(config.clone(), &[good()]).await;
    running.wait_rounds(4).await;
    running.shutdown().await;
    receiver.start(addr).await;
    let running = start(config, &[good()]).await;
    until("rounds of both", || receiver.ticks().len() >= 6).await;
    running.shutdown().await;
    let ticks = receiver.ticks();
    assert!(is_ascending(&ticks), "{ticks:?}");
    assert!(receiver.stale_len() >= 2, "the first life was ended with markers, too");
}

#[tokio::test]
async fn busy_and_broken_receivers_are_tried_again() {
    let receiver = Receiver::default();
    let answers = [(500, "oops"), (429, "slow down"), (503, ""), (401, "who?"), (404, "")];
    receiver.answers.lock().unwrap().extend(answers);
    let addr = receiver.start(local()).await;
    let running = start(config(addr), &[good()]).await;
    until("rounds after the errors", || receiver.ticks().len() >= 8).await;
    let shipped = running.shipped();
    running.shutdown().await;
    assert_eq!((shipped.errors, shipped.samples_dropped), (5, 0));
    let ticks = receiver.ticks();
    assert!(is_ascending(&ticks));
    let arrived = ticks.len() as u64;
    assert!(arrived + 1 >= shipped.rounds, "without a spool they wait in memory: {ticks:?}");
}

#[tokio::test]
async fn a_refused_round_is_dropped_and_costs_no_other() {
    let receiver = Receiver::default();
    // One refused as it comes; later one of a request of several.
    receiver.answers.lock().unwrap().push_back((400, "out of order"));
    let addr = receiver.start(local()).await;
    let running = start(config(addr), &[good()]).await;
    until("a round after the refused one", || receiver.ticks().len() >= 2).await;
    let per_round = running.shipped().samples_dropped;
    assert!(per_round > 0);
    receiver.answers.lock().unwrap().extend([
        (500, ""),
        (500, ""),
        (500, ""),
        (500, ""),
        (500, ""),
        (413, "too many"),
        (413, "too many"),
    ]);
    let before = receiver.ticks().len();
    until("rounds after that", || receiver.ticks().len() >= before + 6).await;
    let shipped = running.shipped();
    running.shutdown().await;
    assert!(shipped.samples_dropped > per_round, "{shipped:?}");
    assert!(shipped.samples_dropped < 5 * per_round, "{shipped:?}");
    assert!(is_ascending(&receiver.ticks()));
}

#[tokio::test]
async fn the_token_is_sent_and_taken_up_anew_when_it_changes() {
    let receiver = Receiver::default();
    let addr = receiver.start(local()).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "first\n").unwrap();
    let config = Config { token_file: Some(path.clone()), ..config(addr) };
    let running = start(config, &[good()]).await;
    until("a round", || !receiver.ticks().is_empty()).await;
    std::fs::write(&path, "second\n").unwrap();
    receiver.answers.lock().unwrap().push_back((401, "no"));
    until("the new token", || {
        receiver.tokens.lock().unwrap().last().is_some_and(|token| token == "Bearer second")
    })
    .await;
    running.shutdown().await;
    assert_eq!(receiver.tokens.lock().unwrap()[0], "Bearer first");
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none");
    let error = start_error(Config { token_file: Some(missing.clone()), ..config(local()) }).await;
    let text = error_chain(&error);
    let wanted =
        format!("the receiver cannot be used: failed to read the token file {}", missing.display());
    assert!(text.starts_with(&wanted) && text.contains("No such file"), "{text}");

    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = start_error(Config { state_dir: Some(file.clone()), ..config(local()) }).await;
    let text = error_chain(&error);
    assert!(text.contains("--state") && text.contains(&file.display().to_string()), "{text}");

    let taken = TcpListener::bind(local()).await.unwrap();
    let addr = taken.local_addr().unwrap();
    let error = start_error(Config { listen: Some(addr), ..Config::default() }).await;
    let text = error_chain(&error);
    let wanted = format!("failed to listen on {addr}; choose another address with --listen");
    assert!(text.starts_with(&wanted) && text.contains("in use"), "{text}");

    let open = "0.0.0.0:0".parse().unwrap();
    let error = start_error(Config { listen: Some(open), ..Config::default() }).await;
    assert!(matches!(error, StartError::Open { .. }), "{error}");
    let config = Config {
        listen: Some(open),
        listen_token_file: Some(missing.clone()),
        ..Config::default()
    };
    assert!(matches!(start_error(config).await, StartError::ListenToken(_)));

    for interval_ms in [0, -1, 999, 120_001] {
        let config = Config { interval_ms, ..Config::default() };
        let error = Agent::start(config, Arc::new(SystemClock)).await.unwrap_err();
        assert!(matches!(error, StartError::Interval), "{error}");
    }
    let config = Config { only: vec!["nonsense".to_owned()], ..Config::default() };
    let error = Agent::start(config, Arc::new(SystemClock)).await.unwrap_err();
    assert!(error.to_string().starts_with("no collector \"nonsense\" (there are: "), "{error}");
    let config = Config { host_root: Some(missing), ..Config::default() };
    let error = Agent::start(config, Arc::new(SystemClock)).await.unwrap_err();
    assert!(matches!(error, StartError::HostRoot { .. }), "{error}");
}

/// A door that a test opens.
struct Gate {
    open: Mutex<bool>,
    news: Condvar,
    entered: AtomicUsize,
}

impl Gate {
    const fn new() -> Self {
        Self { open: Mutex::new(false), news: Condvar::new(), entered: AtomicUsize::new(0) }
    }

    fn pass(&self) {
        self.entered.fetch_add(1, Ordering::SeqCst);
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.news.wait(open).unwrap();
        }
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.news.notify_all();
    }
}

#[tokio::test]
async fn rounds_wait_in_memory_when_the_spool_s_disk_goes_away() {
    let (receiver, addr) = (Receiver::default(), closed().await);
    let dir = tempfile::tempdir().unwrap();
    let config = Config { state_dir: Some(dir.path().to_owned()), ..config(addr) };
    // The folder goes before the first round, and a file stands in its place.
    let running = start(config, &[good()]).await;
    std::fs::remove_dir_all(dir.path().join("spool")).unwrap();
    std::fs::write(dir.path().join("spool"), "").unwrap();
    running.wait_rounds(4).await;
    receiver.start(addr).await;
    until("all rounds", || receiver.ticks().len() >= 6).await;
    let shipped = running.shipped();
    running.shutdown().await;
    assert_eq!((shipped.samples_dropped, shipped.spool_rounds), (0, 0));
    let ticks = receiver.ticks();
    assert!(is_ascending(&ticks) && ticks.len() as u64 + 1 >= shipped.rounds, "{ticks:?}");
}

/// A receiver behind TLS, with the certificate of `testdata/tls`.
async fn start_tls(receiver: &Receiver) -> SocketAddr {
    let file = |name: &str| format!("{}/testdata/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let certificate = CertificateDer::from_pem_file(file("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(local()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let receiver = receiver.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (receiver, acceptor) = (receiver.clone(), acceptor.clone());
            tokio::spawn(async move {
                // A client that does not trust us ends the handshake.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(|request| receiver.answer(request));
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    addr
}

#[tokio::test]
async fn https_trusts_the_given_authority_and_no_other() {
    let receiver = Receiver::default();
    let addr = start_tls(&receiver).await;
    let authority = format!("{}/testdata/tls/ca.pem", env!("CARGO_MANIFEST_DIR"));
    let trusting = Config {
        aggregator: Some(format!("https://localhost:{}", addr.port())),
        ca_file: Some(authority.into()),
        ..config(addr)
    };
    let running = start(trusting.clone(), &[good()]).await;
    until("rounds over TLS", || receiver.ticks().len() >= 2).await;
    running.shutdown().await;
    let before = receiver.requests.load(Ordering::SeqCst);
    let other = format!("{}/testdata/tls/other-ca.pem", env!("CARGO_MANIFEST_DIR"));
    let distrusting = Config { ca_file: Some(other.into()), ..trusting };
    let running = start(distrusting, &[good()]).await;
    until("failed tries", || running.shipped().errors >= 2).await;
    running.shutdown().await;
    assert_eq!(receiver.requests.load(Ordering::SeqCst), before, "nothing was sent");
}

static HUNG: Gate = Gate::new();
static HUNG_VALUE: Family = Family::gauge("demo_hung", "A value.");

struct Hung;

impl Collector for Hung {
    fn collect(&mut self, _: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        HUNG.pass();
        out.push(&HUNG_VALUE, &[], 1.0);
        Ok(Status::Collected)
    }
}

fn outcome(running: &Running, collector: &str) -> Option<Outcome> {
    let findings = running.findings();
    findings.into_iter().find(|f| f.collector == collector).map(|f| f.outcome)
}

#[tokio::test]
async fn a_hung_collector_is_left_behind_and_taken_back() {
    let receiver = Receiver::default();
    let addr = receiver.start(local()).await;
    let entries = [entry("hung", Pace::Fast, |_| Box::new(Hung)), good()];
    let running = start(Config { interval_ms: 1_000, ..config(addr) }, &entries).await;
    until("rounds without it", || receiver.ticks().len() >= 3).await;
    let ticks = receiver.ticks();
    assert!(ticks.windows(2).all(|pair| pair[1] - pair[0] == 1_000), "none delayed: {ticks:?}");
    assert_eq!(HUNG.entered.load(Ordering::SeqCst), 1, "started once");
    let Some(Outcome::Failed { reason }) = outcome(&running, "hung") else { panic!("not failed") };
    assert!(reason.starts_with("no answer for "), "{reason}");
    let text = running.exposition().unwrap();
    assert!(text.contains("\nnode_scrape_collector_success{collector=\"hung\"} 0\n"), "{text}");
    assert!(
        text.contains("\nlabstat_collector_outcome{collector=\"hung\",outcome=\"failed\"} 1\n")
    );
    assert!(text.contains("\nnode_scrape_collector_success{collector=\"good\"} 1\n"));
    assert!(!text.contains("demo_hung"));
    HUNG.open();
    until("its return", || outcome(&running, "hung") == Some(Outcome::Collected { samples: 1 }))
        .await;
    assert!(running.exposition().unwrap().contains("\ndemo_hung 1\n"));
    running.shutdown().await;
}

static SLOW: Gate = Gate::new();
static SLOW_VALUE: Family = Family::gauge("demo_slow", "A value.");

struct Slow;

impl Collector for Slow {
    fn collect(&mut self, _: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        SLOW.pass();
        out.push(&SLOW_VALUE, &[], 7.0);
        Ok(Status::Collected)
    }
}

#[tokio::test]
async fn a_slow_collector_delays_nothing_and_its_samples_stand_in_every_round() {
    let receiver = Receiver::default();
    let addr = receiver.start(local()).await;
    let hour = Duration::from_secs(3600);
    let entries = [entry("slow", Pace::Slow(hour), |_| Box::new(Slow)), good()];
    let running = start(config(addr), &entries).await;
    until("rounds without it", || receiver.ticks().len() >= 3).await;
    assert_eq!(outcome(&running, "slow"), Some(Outcome::Pending));
    let text = running.exposition().unwrap();
    assert!(!text.contains("collector=\"slow\""), "nothing is known of it yet: {text}");
    SLOW.open();
    let slow = || {
        let taken = receiver.taken.lock().unwrap();
        let series = taken.iter().flat_map(|r| &r.series);
        series.filter(|s| s.labels.metric_name() == "demo_slow").count()
    };
    until("its samples in several rounds", || slow() >= 3).await;
    assert_eq!(SLOW.entered.load(Ordering::SeqCst), 1, "and it ran once");
    assert_eq!(receiver.stale_len(), 0);
    running.shutdown().await;
}

async fn get(addr: SocketAddr, method: &str, path: &str) -> (u16, String, String) {
    get_with(addr, method, path, "none").await
}

async fn get_with(
    addr: SocketAddr,
    method: &str,
    path: &str,
    authorization: &str,
) -> (u16, String, String) {
    let client: Client<HttpConnector, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{addr}{path}"))
        .header("authorization", authorization);
    let response = client.request(request.body(Empty::new()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, kind, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn its_own_metrics_show_the_latest_round() {
    let config = Config { listen: Some(local()), aggregator: None, ..config(local()) };
    let running = start(config, &[good()]).await;
    let addr = running.addr().unwrap();
    assert_eq!(get(addr, "GET", "/-/healthy").await.0, 200);
    assert_eq!(get(addr, "GET", "/nothing").await.0, 404);
    assert_eq!(get(addr, "POST", "/metrics").await.0, 405);
    running.wait_rounds(1).await;
    let (status, kind, text) = get(addr, "GET", "/metrics").await;
    assert_eq!((status, &*kind), (200, "text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        "demo_value 1\n",
        "node_scrape_collector_success{collector=\"good\"} 1\n",
        "labstat_agent_rounds_total 1\n",
        "# TYPE process_cpu_seconds_total counter\n",
        "labstat_build_info{version=\"",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    for wrong in ["instance=", "job=", "\nup ", "labstat_agent_samples_sent_total"] {
        assert!(!text.contains(wrong), "{wrong} in {text}");
    }
    running.shutdown().await;
}

#[tokio::test]
async fn beyond_loopback_its_metrics_want_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "s3cret\n").unwrap();
    let config = Config {
        listen: Some("0.0.0.0:0".parse().unwrap()),
        listen_token_file: Some(path),
        aggregator: None,
        ..config(local())
    };
    let running = start(config, &[good()]).await;
    let addr = SocketAddr::from(([127, 0, 0, 1], running.addr().unwrap().port()));
    running.wait_rounds(1).await;
    assert_eq!(get(addr, "GET", "/metrics").await.0, 401);
    assert_eq!(get(addr, "GET", "/-/healthy").await.0, 200, "probes need none");
    assert_eq!(get_with(addr, "GET", "/metrics", "Bearer s3cre").await.0, 401);
    assert_eq!(get_with(addr, "GET", "/metrics", "Bearer s3cret").await.0, 200);
    running.shutdown().await;
}

struct Brief;

impl Collector for Brief {
    fn collect(&mut self, _: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        out.push(&SLOW_VALUE, &[], 1.0);
        Ok(Status::Collected)
    }
}

#[tokio::test]
async fn once_waits_for_slow_collectors_too() {
    let slow = entry("brief", Pace::Slow(Duration::from_secs(300)), |_| Box::new(Brief));
    let once = once_with(&Config::default(), &SystemClock, &[good(), slow], machine()).await;
    assert!(once.text.contains("\ndemo_slow 1\n"), "{}", once.text);
    check_metrics(&once.text);
    let outcomes: Vec<_> = once.findings.into_iter().map(|f| f.outcome).collect();
    assert_eq!(outcomes, vec![Outcome::Collected { samples: 1 }; 2]);
}

/// Keeps a word for the next start, and tells whether there was one.
struct Keeper(Option<Arc<dyn Memory>>);

impl Collector for Keeper {
    fn collect(&mut self, _: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let Some(memory) = &self.0 else { return Ok(Status::Absent) };
        let known = memory.recall("word").unwrap().is_some();
        memory.keep("word", b"x").unwrap();
        out.push(&SLOW_VALUE, &[], f64::from(u8::from(known)));
        Ok(Status::Collected)
    }
}

#[tokio::test]
async fn collectors_have_a_memory_in_the_state_folder_unless_the_machine_is_a_captured_one() {
    let keeper = entry("keeper", Pace::Fast, |options| Box::new(Keeper(options.memory.clone())));
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let here = Config { state_dir: Some(state.clone()), aggregator: None, ..config(local()) };
    let once = once_with(&here, &SystemClock, &[keeper], machine()).await;
    assert_eq!(once.findings[0].outcome, Outcome::Absent, "one round leaves nothing behind");
    let captured = Config { host_root: Some(dir.path().to_owned()), ..here.clone() };
    let running = start(captured, &[keeper]).await;
    running.wait_rounds(1).await;
    assert_eq!(running.findings()[0].outcome, Outcome::Absent);
    running.shutdown().await;
    assert!(!state.exists());

    let running = start(here, &[keeper]).await;
    // A collector that is late is in the round after.
    for rounds in 2.. {
        running.wait_rounds(rounds).await;
        if running.exposition().unwrap().contains("\ndemo_slow 1\n") {
            break;
        }
        assert!(rounds < 30, "it has no memory");
    }
    running.shutdown().await;
    assert_eq!(std::fs::read(state.join("word.json")).unwrap(), b"x");
}

/// Fails when promtool finds anything to say about `text`.
fn check_metrics(text: &str) {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    let fetched = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/peers/bin/promtool");
    let Some(promtool) =
        ["/usr/bin/promtool", fetched].into_iter().find(|path| std::path::Path::new(path).exists())
    else {
        println!("SKIPPED: promtool is not here (package prometheus, or .ci/peers)");
        return;
    };
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}

/// A machine on which one source tells of its changes when the test rings.
#[derive(Debug)]
struct Bell {
    host: RealHost,
    rings: Mutex<Option<std::sync::mpsc::Receiver<()>>>,
    /// Watches that were asked for before one was given.
    refused: AtomicUsize,
    /// Rings that were waited for.
    heard: Arc<AtomicUsize>,
    /// What `/proc/bell` says.
    says: Mutex<&'static str>,
}

impl Bell {
    fn new(rings: std::sync::mpsc::Receiver<()>) -> Arc<Self> {
        Arc::new(Self {
            host: RealHost::new(Arc::new(SystemClock)),
            rings: Mutex::new(Some(rings)),
            refused: AtomicUsize::new(0),
            heard: Arc::default(),
            says: Mutex::new("whole"),
        })
    }
}

struct Rings {
    rings: std::sync::mpsc::Receiver<()>,
    heard: Arc<AtomicUsize>,
}

impl Watch for Rings {
    fn wait(&mut self, patience: Duration) -> io::Result<bool> {
        match self.rings.recv_timeout(patience) {
            Ok(()) => {
                self.heard.fetch_add(1, Ordering::SeqCst);
                Ok(true)
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => Ok(false),
            Err(_) => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Host for Bell {
    fn watch(&self, path: &str) -> io::Result<Box<dyn Watch>> {
        assert_eq!(path, "/proc/bell");
        if self.refused.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        let rings = self.rings.lock().unwrap().take().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Rings { rings, heard: Arc::clone(&self.heard) }))
    }
    fn read_into(&self, path: &str, into: &mut Vec<u8>) -> io::Result<()> {
        if path == "/proc/bell" {
            *into = self.says.lock().unwrap().as_bytes().to_vec();
            return Ok(());
        }
        self.host.read_into(path, into)
    }
    fn read_all(&self, paths: &[String], deadline: Duration) -> Vec<io::Result<Vec<u8>>> {
        self.host.read_all(paths, deadline)
    }
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.host.list(dir)
    }
    fn link(&self, path: &str) -> io::Result<String> {
        self.host.link(path)
    }
    fn canonical(&self, path: &str) -> io::Result<String> {
        self.host.canonical(path)
    }
    fn run(&self, program: &str, args: &[&str], deadline: Duration) -> Result<Output, RunError> {
        self.host.run(program, args, deadline)
    }
    fn statvfs(&self, points: &[String], deadline: Duration) -> Vec<io::Result<FilesystemSize>> {
        self.host.statvfs(points, deadline)
    }
    fn socket_request(
        &self,
        path: &str,
        request: &[u8],
        framing: Framing,
        deadline: Duration,
    ) -> io::Result<Vec<u8>> {
        self.host.socket_request(path, request, framing, deadline)
    }
    fn uname(&self) -> io::Result<Uname> {
        self.host.uname()
    }
    fn page_size_bytes(&self) -> Option<u64> {
        self.host.page_size_bytes()
    }
    fn now_ms(&self) -> i64 {
        self.host.now_ms()
    }
    fn counts(&self) -> Counts {
        self.host.counts()
    }
    fn stop(&self) {
        self.host.stop();
    }
}

/// A mirror, in the state that the bell says.
struct Mirror;

impl Collector for Mirror {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        out.push(&VALUE, &[("state", &host.text("/proc/bell").unwrap())], 1.0);
        Ok(Status::Collected)
    }
}

fn mirror() -> Entry {
    let mirror = entry("mirror", Pace::Fast, |_| Box::new(Mirror));
    Entry { wake: Some(Wake::Poll("/proc/bell")), ..mirror }
}

/// Shut by a test, it makes rounds take as long as that.
static GATE_IS_SHUT: AtomicBool = AtomicBool::new(false);
static AT_THE_GATE: AtomicUsize = AtomicUsize::new(0);

struct Gated;

impl Collector for Gated {
    fn collect(&mut self, _: &dyn Host, _: &mut Batch) -> Result<Status, CollectError> {
        AT_THE_GATE.fetch_add(1, Ordering::SeqCst);
        let deadline = std::time::Instant::now() + PATIENCE;
        while GATE_IS_SHUT.load(Ordering::SeqCst) && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Status::Collected)
    }
}

/// What came of each series of `demo_value`: times, and whether it is a marker.
fn history(receiver: &Receiver, state: &str) -> Vec<(i64, bool)> {
    let taken = receiver.taken.lock().unwrap();
    let all = taken.iter().flat_map(|request| &request.series);
    let mine = all.filter(|series| series.labels.get("state") == Some(state));
    let samples = mine.flat_map(|series| &series.samples);
    samples.map(|sample| (sample.time_ms, is_stale(sample.value))).collect()
}

#[tokio::test]
async fn a_change_is_shipped_at_once_and_ends_no_series_but_its_own() {
    let receiver = Receiver::default();
    let addr = receiver.start(local()).await;
    let (ring, rings) = std::sync::mpsc::channel();
    let bell = Bell::new(rings);
    // The next round but one is so far away that nothing in it can be what came at once.
    let clock = Arc::new(ManualClock::new(1_700_000_001_000));
    let config = Config { interval_ms: 60_000, ..config(addr) };
    let host: Arc<dyn Host> = bell.clone();
    let now: Arc<dyn labstat_model::Clock> = clock.clone();
    let backoff = Backoff::default();
    let running = start_with(config, now, &[mirror(), good()], host, backoff).await.unwrap();
    until("the start", || bell.refused.load(Ordering::SeqCst) == 1).await;
    clock.set_ms(1_700_000_040_000);
    until("the first round", || history(&receiver, "whole").len() == 1).await;
    assert!(bell.rings.lock().unwrap().is_none(), "a source that came later is watched");

    clock.set_ms(1_700_000_041_234);
    *bell.says.lock().unwrap() = "degraded";
    ring.send(()).unwrap();
    until("the event", || !history(&receiver, "degraded").is_empty()).await;
    assert_eq!(history(&receiver, "degraded"), [(1_700_000_041_234, false)]);
    let whole = [(1_700_000_040_000, false), (1_700_000_041_234, true)];
    assert_eq!(history(&receiver, "whole"), whole);
    assert_eq!(receiver.stale_len(), 1, "the series of the others go on");
    let event_len = receiver.taken.lock().unwrap().last().unwrap().series.len();
    assert_eq!(event_len, 2, "and are not sent");

    // The clock stands still: two truths about one moment are not sent.
    ring.send(()).unwrap();
    ring.send(()).unwrap();
    clock.set_ms(1_700_000_100_000);
    until("the second round", || receiver.times("up").len() == 2).await;
    let mut times: Vec<i64> =
        history(&receiver, "degraded").into_iter().map(|(at, _)| at).collect();
    // What was told ahead of the round is in the round, too.
    times.dedup();
    assert!(is_ascending(&times), "{times:?}");
    // That a series which ended at the event is gone is said again, once.
    assert_eq!(history(&receiver, "whole").len(), 3);
    running.shutdown().await;
    assert!(history(&receiver, "degraded").last().unwrap().1);
}

#[test]
fn what_is_off_runs_when_it_is_asked_for() {
    let names = |only: &[&str], also: &[&str], exclude: &[&str]| {
        let list = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect();
        let config = Config {
            only: list(only),
            also: list(also),
            exclude: list(exclude),
            ..Config::default()
        };
        let entries = crate::agent::entries(&config, labstat_collect::registry()).unwrap();
        entries.iter().map(|entry| entry.name).collect::<Vec<_>>()
    };
    let plain = names(&[], &[], &[]);
    assert!(plain.contains(&"nfs") && !plain.contains(&"mountstats"), "{plain:?}");
    assert_eq!(names(&[], &["mountstats"], &[]).len(), plain.len() + 1);
    assert_eq!(names(&[], &["nfs"], &[]), plain, "one that is on anyway");
    assert_eq!(names(&["mountstats"], &[], &[]), ["mountstats"]);
    assert_eq!(names(&["nfs"], &["mountstats"], &[]), ["mountstats", "nfs"]);
    assert_eq!(names(&["nfs"], &["mountstats"], &["mountstats"]), ["nfs"]);
}

#[tokio::test]
async fn a_change_during_a_round_that_takes_its_time_is_shipped_ahead_of_it() {
    let receiver = Receiver::default();
    let addr = receiver.start(local()).await;
    let (ring, rings) = std::sync::mpsc::channel();
    let bell = Bell::new(rings);
    // The first question for a watch is refused, the one ahead of the first round is not.
    let clock = Arc::new(ManualClock::new(1_700_000_001_000));
    let config = Config { interval_ms: 60_000, ..config(addr) };
    let host: Arc<dyn Host> = bell.clone();
    let now: Arc<dyn labstat_model::Clock> = clock.clone();
    let gated = entry("gated", Pace::Fast, |_| Box::new(Gated));
    let entries = [gated, mirror(), good()];
    let running = start_with(config, now, &entries, host, Backoff::default()).await.unwrap();
    until("the start", || bell.refused.load(Ordering::SeqCst) == 1).await;
    clock.set_ms(1_700_000_040_000);
    until("the first round", || receiver.times("up").len() == 1).await;

    GATE_IS_SHUT.store(true, Ordering::SeqCst);
    clock.set_ms(1_700_000_100_000);
    until("a round under way", || AT_THE_GATE.load(Ordering::SeqCst) == 2).await;
    *bell.says.lock().unwrap() = "degraded";
    ring.send(()).unwrap();
    until("the event", || !history(&receiver, "degraded").is_empty()).await;
    assert_eq!(history(&receiver, "degraded"), [(1_700_000_100_000, false)]);
    let whole = [(1_700_000_040_000, false), (1_700_000_100_000, true)];
    assert_eq!(history(&receiver, "whole"), whole);
    assert_eq!(receiver.times("up").len(), 1, "the round is still under way");

    // That moment has its truth. What changes now is told of the next one, after the round.
    *bell.says.lock().unwrap() = "rebuilding";
    ring.send(()).unwrap();
    until("it is heard", || bell.heard.load(Ordering::SeqCst) == 2).await;
    clock.set_ms(1_700_000_101_234);
    GATE_IS_SHUT.store(false, Ordering::SeqCst);
    until("the second event", || !history(&receiver, "rebuilding").is_empty()).await;
    assert_eq!(receiver.times("up"), [1_700_000_040_000, 1_700_000_100_000]);
    assert_eq!(history(&receiver, "rebuilding"), [(1_700_000_101_234, false)]);
    let degraded = history(&receiver, "degraded");
    let (told, ended) = ((1_700_000_100_000, false), (1_700_000_101_234, true));
    assert_eq!(degraded, [told, told, ended], "in the round it is the same as ahead of it");
    running.shutdown().await;
}

/// The file is read ahead of `vmstat`, and yet it is the file that gives way.
#[tokio::test]
async fn a_text_file_tells_nothing_that_a_collector_tells() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("proc")).unwrap();
    std::fs::write(dir.path().join("proc/vmstat"), "oom_kill 3\n").unwrap();
    std::fs::create_dir(dir.path().join("t")).unwrap();
    std::fs::write(dir.path().join("t/a.prom"), "node_vmstat_oom_kill 9\n").unwrap();
    std::fs::write(dir.path().join("t/b.prom"), "backup_age 1\n").unwrap();
    let mut config = Config {
        only: vec!["textfile".to_owned(), "vmstat".to_owned()],
        host_root: Some(dir.path().to_owned()),
        ..Config::default()
    };
    config.collect.textfile.directories = vec!["/t".to_owned()];
    let later = Arc::new(ManualClock::new(4_000_000_000_000));
    let text = crate::once(&config, later).await.unwrap().text;
    assert!(text.contains("\nnode_vmstat_oom_kill 3\n"), "{text}");
    assert!(!text.contains("node_vmstat_oom_kill 9") && text.contains("\nbackup_age 1\n"));
    assert!(text.contains("node_vmstat_oom_kill is what the collector vmstat tells"), "{text}");
}
