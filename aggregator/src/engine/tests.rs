//! The engine boundary against a server that is told how to answer. Real engines are asked in the
//! end-to-end tests.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use labstat_alerts::{Entry, Ledger};
use labstat_model::{
    Kind, Labels, ManualClock, Matcher, Metadata, Sample, TimeSeries, WriteRequest,
};
use labstat_store::{Options, Store};
use labstat_wire::remote_write;
use tokio::runtime::Runtime;

use super::EngineConfig;
use super::remote::RemoteEngine;
use crate::storage::{ErrorKind, SharedStorage, Storage, WriteFailed, chain};

const NOW_MS: i64 = 1_700_000_000_000;

/// How long a test waits for what should happen at once.
const DEADLINE: Duration = Duration::from_secs(30);

/// How the server answers writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Takes,
    Away,
    /// As Prometheus does: one bad series, and nothing of the request is taken.
    RefusesBad,
    /// As Prometheus does: what is not newer than what it has is bad, and so is the time 7.
    RefusesOld,
    /// As VictoriaMetrics does at a path that it does not know.
    KnowsNoSuchPath,
    /// The same until it is asked with an empty write.
    FindsItsPath,
    /// It takes them, and its answer has no end.
    NeverEnds,
}

/// A body that is always about to go on.
struct Endless;

impl axum::body::HttpBody for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        Poll::Pending
    }
}

/// What the server got and how it answers.
#[derive(Debug)]
struct Told {
    mood: Mood,
    samples: Vec<(String, i64)>,
    families: usize,
    requests: usize,
    headers: HeaderMap,
}

struct Server {
    addr: SocketAddr,
    told: Arc<Mutex<Told>>,
}

async fn take(State(told): State<Arc<Mutex<Told>>>, headers: HeaderMap, body: Bytes) -> Response {
    let mut told = told.lock().unwrap();
    told.requests += 1;
    told.headers = headers;
    if told.mood == Mood::Away {
        return (StatusCode::SERVICE_UNAVAILABLE, "tired").into_response();
    }
    if told.mood == Mood::KnowsNoSuchPath {
        return (StatusCode::BAD_REQUEST, "unsupported path requested").into_response();
    }
    let request = remote_write::decode(&body).unwrap().request;
    if told.mood == Mood::FindsItsPath {
        if request.series.is_empty() {
            told.mood = Mood::Takes;
        } else {
            return (StatusCode::BAD_REQUEST, "unsupported path requested").into_response();
        }
    }
    let name = |series: &TimeSeries| series.labels.metric_name().to_owned();
    if told.mood == Mood::RefusesBad && request.series.iter().any(|s| name(s) == "bad") {
        return (StatusCode::BAD_REQUEST, "out of order sample").into_response();
    }
    if told.mood == Mood::RefusesOld {
        let newest = |name: &str| {
            let own = told.samples.iter().filter(|(known, _)| known == name);
            own.map(|(_, at)| *at).max().unwrap_or(-1)
        };
        let bad = |series: &TimeSeries| {
            let newest = newest(&name(series));
            series.samples.iter().any(|s| s.time_ms <= newest || s.time_ms == 7)
        };
        if request.series.iter().any(bad) {
            return (StatusCode::BAD_REQUEST, "out of order sample").into_response();
        }
    }
    told.families += request.metadata.len();
    for series in &request.series {
        told.samples.extend(series.samples.iter().map(|sample| (name(series), sample.time_ms)));
    }
    if told.mood == Mood::NeverEnds {
        return Response::new(axum::body::Body::new(Endless));
    }
    StatusCode::NO_CONTENT.into_response()
}

/// What the server answers to a query: one series with a sample on either side of a minute.
const ANSWER: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[
    {"metric":{"__name__":"up"},"values":[[1699999940,"1"],[1699999999,"0"],[1700000001,"1"]]}]}}"#;

impl Server {
    fn start(runtime: &Runtime, mood: Mood) -> Self {
        let told =
            Told { mood, samples: Vec::new(), families: 0, requests: 0, headers: HeaderMap::new() };
        let told = Arc::new(Mutex::new(told));
        let router = Router::new()
            .route("/push", post(take))
            .route("/api/v1/query", any(async || ANSWER))
            .with_state(Arc::clone(&told));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { addr, told }
    }

    fn config(&self) -> EngineConfig {
        EngineConfig {
            url: Some(format!("http://{}", self.addr)),
            write_url: Some(format!("http://{}/push", self.addr)),
            headers: vec![("X-Scope-OrgID".to_owned(), "lab".to_owned())],
            ..EngineConfig::default()
        }
    }

    fn set(&self, mood: Mood) {
        self.told.lock().unwrap().mood = mood;
    }

    /// Waits until `done` is true of what the server got.
    fn eventually(&self, done: impl Fn(&Told) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !done(&self.told.lock().unwrap()) {
            let told = self.told.lock().unwrap();
            assert!(Instant::now() < deadline, "{} samples: {told:?}", told.samples.len());
            drop(told);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn open(dir: &Path, config: &EngineConfig, clock: &Arc<ManualClock>) -> RemoteEngine {
    let options = Options::new(Arc::clone(clock) as _);
    let (store, _) = Store::open(dir, options).unwrap();
    let opened = RemoteEngine::open(dir, config, store, 1_000, Arc::clone(clock) as _);
    let (engine, notices) = opened.unwrap();
    assert_eq!(notices, []);
    engine
}

fn write(name: &str, times: impl IntoIterator<Item = i64>) -> WriteRequest {
    let samples = times.into_iter().map(|time_ms| Sample { time_ms, value: 1.0 }).collect();
    let series = TimeSeries { labels: Labels::new([("__name__", name)]), samples };
    WriteRequest { series: vec![series], metadata: Vec::new() }
}

#[test]
fn writes_arrive_in_order_with_their_families_and_headers() {
    let runtime = crate::server::runtime().unwrap();
    let _guard = runtime.enter();
    let server = Server::start(&runtime, Mood::Takes);
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let engine = open(dir.path(), &server.config(), &clock);
    for at in 0..200 {
        assert_eq!(engine.append(&write("a", [at])).unwrap().accepted, 1);
    }
    let family = Metadata {
        family: "a".to_owned(),
        kind: Kind::Gauge,
        help: "A".to_owned(),
        unit: String::new(),
    };
    let families = WriteRequest { series: Vec::new(), metadata: vec![family.clone()] };
    engine.append(&families).unwrap();
    server.eventually(|told| told.samples.len() == 200 && told.families == 1);
    let told = server.told.lock().unwrap();
    assert!(told.samples.iter().map(|(_, at)| *at).eq(0..200));
    assert_eq!(told.headers["x-scope-orgid"], "lab");
    assert!(told.requests < 201, "what waits goes out together");
    drop(told);
    assert_eq!(engine.metadata().unwrap(), [family]);
    engine.close().unwrap();
    assert!(matches!(engine.append(&families), Err(WriteFailed::Closed)));
    assert_eq!(engine.delivery().unwrap().delivered, 200);
}

#[test]
fn what_an_absent_engine_missed_is_delivered_after_a_restart() {
    let runtime = crate::server::runtime().unwrap();
    let _guard = runtime.enter();
    let server = Server::start(&runtime, Mood::Away);
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let engine = open(dir.path(), &server.config(), &clock);
    (0..50).for_each(|at| drop(engine.append(&write("a", [at])).unwrap()));
    server.eventually(|told| told.requests > 0);
    assert!(engine.settled().is_ok(), "a hiccup");
    clock.advance_ms(61_000);
    let error = engine.settled().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Away);
    assert!(chain(&error).contains("61 s are not there yet"), "{}", chain(&error));
    let delivery = engine.delivery().unwrap();
    assert_eq!((delivery.queue.items, delivery.away), (50, true));
    engine.close().unwrap();
    drop(engine);
    let engine = open(dir.path(), &server.config(), &clock);
    (50..60).for_each(|at| drop(engine.append(&write("a", [at])).unwrap()));
    assert!(engine.settled().is_err(), "what waited before still does");
    server.set(Mood::Takes);
    server.eventually(|told| told.samples.len() >= 60);
    assert!(server.told.lock().unwrap().samples.iter().map(|(_, at)| *at).eq(0..60));
    let deadline = Instant::now() + DEADLINE;
    while engine.settled().is_err() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    engine.close().unwrap();
}

#[test]
fn what_is_refused_for_good_is_dropped_alone() {
    let runtime = crate::server::runtime().unwrap();
    let _guard = runtime.enter();
    let server = Server::start(&runtime, Mood::Away);
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let engine = open(dir.path(), &server.config(), &clock);
    for at in 0..20 {
        let mut request = write("a", [at]);
        if at % 5 == 0 {
            request.series.extend(write("bad", [at, at + 1]).series);
        }
        request.series.extend(write("b", [at]).series);
        engine.append(&request).unwrap();
    }
    server.eventually(|told| told.requests > 0);
    server.set(Mood::RefusesBad);
    server.eventually(|told| told.samples.iter().filter(|(name, _)| name == "b").count() >= 20);
    let told = server.told.lock().unwrap();
    for wanted in ["a", "b"] {
        let times = told.samples.iter().filter(|(name, _)| name == wanted).map(|(_, at)| *at);
        assert!(times.eq(0..20), "{wanted}: {:?}", told.samples);
    }
    drop(told);
    engine.close().unwrap();
    let delivery = engine.delivery().unwrap();
    assert_eq!((delivery.refused, delivery.delivered), (8, 40));
    assert_eq!(delivery.queue.items, 0);
}

#[test]
fn the_parts_of_a_refused_write_go_out_in_order() {
    let runtime = crate::server::runtime().unwrap();
    let _guard = runtime.enter();
    let server = Server::start(&runtime, Mood::RefusesOld);
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let engine = open(dir.path(), &server.config(), &clock);
    engine.append(&write("a", 0..20)).unwrap();
    engine.append(&write("a", [20])).unwrap();
    server.eventually(|told| told.samples.last().is_some_and(|(_, at)| *at == 20));
    engine.close().unwrap();
    let told = server.told.lock().unwrap();
    assert!(told.samples.iter().map(|(_, at)| *at).eq((0..7).chain(8..=20)), "{told:?}");
    assert_eq!(engine.delivery().unwrap().refused, 1);
}

#[test]
fn a_write_of_which_all_is_refused_does_not_take_a_request_for_each_sample() {
    let runtime = crate::server::runtime().unwrap();
    let _guard = runtime.enter();
    let server = Server::start(&runtime, Mood::RefusesBad);
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let engine = open(dir.path(), &server.config(), &clock);
    engine.append(&write("bad", 0..5_000)).unwrap();
    engine.append(&write("good", [1])).unwrap();
    server.eventually(|told| !told.samples.is_empty());
    engine.close().unwrap();
    assert_eq!(engine.delivery().unwrap().refused, 5_000);
    assert!(server.told.lock().unwrap().requests < 400);
}

#[test]
fn who_refuses_even_an_empty_write_refuses_no_samples() {
    let runtime = crate::server::runtime().unwrap();
    let _guard = runtime.enter();
    let server = Server::start(&runtime, Mood::KnowsNoSuchPath);
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let engine = open(dir.path(), &server.config(), &clock);
    engine.append(&write("a", [1])).unwrap();
    // Two rounds, each of all samples, of those alone, and of none: in the midst of a round, one
    // who changes their mind would refuse samples and take the empty write.
    server.eventually(|told| told.requests == 6);
    let delivery = engine.delivery().unwrap();
    assert_eq!((delivery.queue.items, delivery.refused, delivery.away), (1, 0, true));
    clock.advance_ms(61_000);
    let why = chain(&engine.settled().unwrap_err());
    assert!(
        why.contains("unsupported path requested") && why.contains("is the URL right"),
        "{why}"
    );
    server.set(Mood::Takes);
    server.eventually(|told| told.samples.len() == 1);
    engine.close().unwrap();
}

#[test]
fn who_takes_an_empty_write_is_asked_again_before_anything_is_dropped() {
    let runtime = crate::server::runtime().unwrap();
    let _guard = runtime.enter();
    let server = Server::start(&runtime, Mood::FindsItsPath);
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let engine = open(dir.path(), &server.config(), &clock);
    engine.append(&write("a", [1])).unwrap();
    server.eventually(|told| told.samples == [("a".to_owned(), 1)]);
    engine.settled().unwrap();
    assert_eq!(engine.delivery().unwrap().refused, 0);
    engine.close().unwrap();
}

#[test]
fn an_answer_without_an_end_holds_nothing_up() {
    let runtime = crate::server::runtime().unwrap();
    let _guard = runtime.enter();
    let server = Server::start(&runtime, Mood::NeverEnds);
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let engine = open(dir.path(), &server.config(), &clock);
    engine.append(&write("a", [1])).unwrap();
    server.eventually(|told| told.samples.len() == 1);
    engine.append(&write("a", [2])).unwrap();
    server.eventually(|told| told.samples.len() == 2);
    engine.close().unwrap();
}

#[test]
fn a_full_queue_refuses_writes() {
    let runtime = crate::server::runtime().unwrap();
    let _guard = runtime.enter();
    let server = Server::start(&runtime, Mood::Away);
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let config = EngineConfig { queue_max_bytes: 1_000, ..server.config() };
    let engine = open(dir.path(), &config, &clock);
    let refused = (0..100).find_map(|at| engine.append(&write("a", [at])).err()).unwrap();
    assert!(matches!(refused, WriteFailed::Full(_)), "{refused:?}");
    engine.close().unwrap();
}

#[test]
fn what_is_read_is_exactly_what_was_asked_for() {
    let runtime = crate::server::runtime().unwrap();
    let _guard = runtime.enter();
    let server = Server::start(&runtime, Mood::Takes);
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let engine = open(dir.path(), &server.config(), &clock);
    let up = [Matcher::equal("__name__", "up")];
    let found = engine.select(&up, NOW_MS - 60_000, NOW_MS).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].times, [NOW_MS - 60_000, NOW_MS - 1_000]);
    assert!(engine.select(&[Matcher::equal("job", "x")], 0, NOW_MS).unwrap().is_empty());
    engine.close().unwrap();
}

#[test]
fn an_engine_that_is_not_there_is_named_and_asked_again_later() {
    let runtime = crate::server::runtime().unwrap();
    let _guard = runtime.enter();
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let config = EngineConfig { url: Some(url.clone()), ..EngineConfig::default() };
    let engine = open(dir.path(), &config, &clock);
    let error = engine.select(&[Matcher::equal("a", "b")], 0, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Away);
    assert!(chain(&error).contains(&format!("{url} cannot be reached")), "{}", chain(&error));
    let compact = engine.compact().unwrap_err();
    assert_eq!(compact.kind(), ErrorKind::Unsupported);
    engine.close().unwrap();
}

/// The state of the alerts stays here whoever has the samples, and apart from other documents.
#[test]
fn the_ledger_of_alerts_is_kept_beside_an_engine() {
    let runtime = crate::server::runtime().unwrap();
    let _guard = runtime.enter();
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let url = Some("http://127.0.0.1:1".to_owned());
    let config = EngineConfig { url, ..EngineConfig::default() };
    let put = |key: &str| Entry::put(key, b"row".to_vec());
    {
        let storage = SharedStorage::new(open(dir.path(), &config, &clock));
        storage.document_put("disks", b"not of the ledger").unwrap();
        Ledger::commit(&storage, &[put("queue/2"), put("queue/1"), put("rule/1")]).unwrap();
        Ledger::commit(&storage, &[Entry::delete("queue/2")]).unwrap();
        storage.close().unwrap();
    }
    let storage = SharedStorage::new(open(dir.path(), &config, &clock));
    let rows = Ledger::load(&storage, "queue/").unwrap();
    assert_eq!(rows, [("queue/1".to_owned(), b"row".to_vec())]);
    assert_eq!(Ledger::load(&storage, "").unwrap().len(), 2);
    storage.close().unwrap();
}
