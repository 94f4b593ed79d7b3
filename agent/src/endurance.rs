//! Eight hours of an agent in a minute: memory must be at the end what it was at the start.
//!
//! The collectors, the shipping and the scrapes are the real ones; the clock goes on by one interval
//! with each round, so that the next one is due at once. Rounds that follow each other like that may run
//! ahead of the shipping, and what waits for it is memory as well: so the clock stands still from time to
//! time until all is shipped, and memory is looked at only then. CPU time is that of the whole process,
//! the receiver and the scraper in it included.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use labstat_collect::{CollectError, Collector, Entry, Host, Pace, RealHost, Status, registry};
use labstat_model::{Batch, Clock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::agent::{Running, start_with};
use crate::config::Config;
use crate::ship::Backoff;

const INTERVAL_MS: i64 = 10_000;

/// Eight hours.
const ROUNDS: u64 = 2_880;

/// After the first one, all buffers have had their largest content.
const HOUR_ROUNDS: u64 = 360;

/// How often a scraper comes by: every minute.
const SCRAPE_EVERY: u64 = 6;

/// After so many the clock stands still until all is shipped: what they weigh is less than may wait.
const LEG_ROUNDS: u64 = 120;

/// How long a leg and its shipping may take; in a debug build on a busy machine it is a quarter of that.
const LEG_TIME_MAX: Duration = Duration::from_secs(120);

/// Time between two looks whether more was shipped.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// More than this is creep. The allocator's arenas breathe by less: in a release build. A debug build
/// takes minutes, in which the slow collectors, which go by the clock on the wall, come again and again on
/// threads of their own, and fill an arena each; with one arena for all (`MALLOC_ARENA_MAX=1`) there is
/// one step when they come for the second time, and nothing after it.
const GROWTH_MAX_BYTES: f64 = if cfg!(debug_assertions) { 1024.0 } else { 512.0 } * 1024.0;

const START_MS: i64 = 1_700_000_000_000;

/// What time it is: moved on by [`Hand`], up to the end of the leg.
static NOW_MS: AtomicI64 = AtomicI64::new(START_MS);
static LEG_END_MS: AtomicI64 = AtomicI64::new(START_MS);

#[derive(Debug)]
struct Simulated;

impl Clock for Simulated {
    fn now_ms(&self) -> i64 {
        NOW_MS.load(Ordering::Relaxed)
    }
}

/// The last collector of each round: it makes the next one due.
struct Hand;

impl Collector for Hand {
    fn collect(&mut self, _: &dyn Host, _: &mut Batch) -> Result<Status, CollectError> {
        move_on();
        Ok(Status::Absent)
    }
}

/// Makes the next round due, unless the leg is over.
fn move_on() {
    if NOW_MS.load(Ordering::Relaxed) < LEG_END_MS.load(Ordering::Relaxed) {
        NOW_MS.fetch_add(INTERVAL_MS, Ordering::Relaxed);
    }
}

/// Waits until so many rounds were run.
async fn run_to(running: &Running, rounds: u64) {
    let deadline = Instant::now() + LEG_TIME_MAX;
    // A round on a machine that is too busy may have no time left for the hand.
    while timeout(LEG_TIME_MAX / 12, running.wait_rounds(rounds)).await.is_err() {
        assert!(Instant::now() < deadline, "round {rounds} never came");
        move_on();
    }
}

/// Waits until all is shipped, which is when nothing more is.
async fn shipped_all(running: &Running) {
    let deadline = Instant::now() + LEG_TIME_MAX;
    let mut last = 0;
    loop {
        let shipped = running.shipped();
        if shipped.spool_rounds == 0 && shipped.samples_sent == last {
            return;
        }
        assert!(Instant::now() < deadline, "shipping never ends: {shipped:?}");
        last = shipped.samples_sent;
        sleep(LOOK_EVERY).await;
    }
}

/// A receiver that takes all and keeps nothing; gives its address and the requests it took.
async fn receiver() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicU64::new(0));
    let taken = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let taken = Arc::clone(&taken);
            let service = service_fn(move |request: Request<Incoming>| {
                let taken = Arc::clone(&taken);
                async move {
                    let _ = request.into_body().collect().await;
                    taken.fetch_add(1, Ordering::Relaxed);
                    let mut response = Response::new(Empty::<Bytes>::new());
                    *response.status_mut() = StatusCode::NO_CONTENT;
                    Ok::<_, Infallible>(response)
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (addr, requests)
}

async fn scrape(addr: SocketAddr) -> usize {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut page = Vec::new();
    stream.read_to_end(&mut page).await.unwrap();
    assert!(page.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&page));
    page.len()
}

/// Resident memory, all and without the pages of files, and CPU time.
fn usage() -> (f64, f64, f64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        1024.0 * line.trim_end_matches("kB").trim().parse::<f64>().unwrap()
    };
    let mut own = Batch::new();
    crate::process::collect(0, &mut own);
    let cpu = own.value("process_cpu_seconds_total", &[]).unwrap();
    (bytes("VmRSS:"), bytes("RssAnon:"), cpu)
}

#[tokio::test]
#[ignore = "takes a minute"]
async fn eight_hours_leave_memory_as_it_was() {
    let (receiver_addr, requests) = receiver().await;
    let state = tempfile::tempdir().unwrap();
    let config = Config {
        aggregator: Some(format!("http://{receiver_addr}")),
        listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        state_dir: Some(state.path().to_owned()),
        interval_ms: INTERVAL_MS,
        ..Config::default()
    };
    let clock: Arc<dyn Clock> = Arc::new(Simulated);
    let host = Arc::new(RealHost::new(Arc::clone(&clock)));
    let mut entries = registry().to_vec();
    entries.push(Entry {
        name: "hand",
        job: "node",
        pace: Pace::Fast,
        is_on: true,
        wake: None,
        make: |_| Box::new(Hand),
    });
    let running = start_with(config, clock, &entries, host, Backoff::default()).await.unwrap();
    // The rounds begin with the tick after the one in which they look at the clock first.
    tokio::task::yield_now().await;
    let (mut start, mut page_len) = (None, 0);
    for leg_end in (LEG_ROUNDS..=ROUNDS).step_by(usize::try_from(LEG_ROUNDS).unwrap()) {
        let end_ms = START_MS + i64::try_from(leg_end).unwrap() * INTERVAL_MS;
        LEG_END_MS.store(end_ms, Ordering::Relaxed);
        move_on();
        let first = leg_end - LEG_ROUNDS + SCRAPE_EVERY;
        for round in (first..=leg_end).step_by(usize::try_from(SCRAPE_EVERY).unwrap()) {
            run_to(&running, round).await;
            page_len = scrape(running.addr().unwrap()).await;
        }
        shipped_all(&running).await;
        if leg_end % HOUR_ROUNDS == 0 {
            let now = usage();
            let (hour, mib) = (leg_end / HOUR_ROUNDS, |bytes: f64| bytes / 1_048_576.0);
            println!("hour {hour}: {:.2} MiB resident, {:.2} own", mib(now.0), mib(now.1));
            start.get_or_insert(now);
        }
    }
    let (start, end) = (start.unwrap(), usage());
    let shipped = running.shipped();
    println!(
        "{} rounds, {} requests, {} samples, pages of {page_len} bytes",
        shipped.rounds,
        requests.load(Ordering::Relaxed),
        shipped.samples_sent,
    );
    let rounds = (ROUNDS - HOUR_ROUNDS) as f64;
    println!("{:.3} ms of CPU time a round", (end.2 - start.2) * 1000.0 / rounds);
    // Rounds that wait for the receiver go out together.
    assert!(requests.load(Ordering::Relaxed) > 0 && shipped.samples_sent > ROUNDS);
    assert_eq!(shipped.samples_dropped, 0);
    let growth_bytes = end.1 - start.1;
    assert!(growth_bytes < GROWTH_MAX_BYTES, "memory grows by {growth_bytes} bytes");
    running.shutdown().await;
}
