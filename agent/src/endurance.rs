//! Eight hours of an agent in half a minute: memory must be at the end what it was at the start.
//!
//! ```text
//! cargo test --release -p labstat-agent --lib -- --ignored --nocapture eight_hours
//! ```
//!
//! The collectors, the shipping and the scrapes are the real ones; the clock goes on by one interval
//! with each round, so that the next one is due at once. CPU time is that of the whole process, the
//! receiver and the scraper in it included.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

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

use crate::agent::start_with;
use crate::config::Config;
use crate::ship::Backoff;

const INTERVAL_MS: i64 = 10_000;

/// Eight hours.
const ROUNDS: u64 = 2_880;

/// After these, all buffers have had their largest content: an hour.
const WARM_UP_ROUNDS: u64 = 360;

/// How often a scraper comes by: every minute.
const SCRAPE_EVERY: u64 = 6;

/// More than this is creep. The allocator's arenas breathe by less.
const GROWTH_MAX_BYTES: f64 = 512.0 * 1024.0;

/// What time it is: moved on by [`Hand`].
static NOW_MS: AtomicI64 = AtomicI64::new(1_700_000_000_000);

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
        NOW_MS.fetch_add(INTERVAL_MS, Ordering::Relaxed);
        Ok(Status::Absent)
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
#[ignore = "takes half a minute"]
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
    NOW_MS.fetch_add(INTERVAL_MS, Ordering::Relaxed);

    let mut start = None;
    let mut page_len = 0;
    for round in (0..=ROUNDS).step_by(usize::try_from(SCRAPE_EVERY).unwrap()) {
        running.wait_rounds(round.max(1)).await;
        page_len = scrape(running.addr().unwrap()).await;
        if round == WARM_UP_ROUNDS {
            start = Some(usage());
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
    for (when, (resident, own, _)) in [("after an hour", start), ("after eight", end)] {
        println!("{when}: {:.2} MiB resident, {:.2} own", resident / 1048576.0, own / 1048576.0);
    }
    let rounds = (ROUNDS - WARM_UP_ROUNDS) as f64;
    println!("{:.3} ms of CPU time a round", (end.2 - start.2) * 1000.0 / rounds);
    // Rounds that wait for the receiver go out together.
    assert!(requests.load(Ordering::Relaxed) > 0 && shipped.samples_sent > ROUNDS);
    assert_eq!(shipped.samples_dropped, 0);
    assert!(end.1 - start.1 < GROWTH_MAX_BYTES, "memory grows");
    running.shutdown().await;
}
