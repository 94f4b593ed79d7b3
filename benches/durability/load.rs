//! What is sent: how much over how many connections follows from the seed of a trial, and every
//! value from the seed, the connection, the series and the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use labstat_model::{Clock, Labels, Sample, SystemClock, TimeSeries, WriteRequest};
use labstat_wire::remote_write;

use crate::{Result, http};

/// All connections together.
const SAMPLES_PER_SECOND: f64 = 20_000.0;

/// The name of all series.
pub(crate) const NAME: &str = "durability";

/// Far enough back that no time of a trial is in the future, with steps of ten minutes.
const BEGIN_BEFORE_MS: i64 = 10 * 86_400_000;

/// A repeatable source of chance (SplitMix64).
#[derive(Clone, Copy)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.next() % u64::from(bound)).unwrap_or(0)
    }

    fn of(&mut self, choices: &[u32]) -> u32 {
        let bound = u32::try_from(choices.len()).unwrap_or(1);
        choices.get(self.below(bound) as usize).copied().unwrap_or(1)
    }
}

/// One trial.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    seed: u64,
    /// Until the server is cut off.
    pub(crate) lasts: Duration,
    /// One request at a time on each.
    pub(crate) connections: u32,
    /// Series of a connection; a request has one sample of each.
    pub(crate) series: u32,
    /// Between two samples of a series.
    step_ms: i64,
    begin_ms: i64,
    /// Whether every other connection goes backwards in time, as a backlog does.
    is_mixed: bool,
    /// When the store is told to seal and merge.
    merges: Vec<Duration>,
}

impl Plan {
    pub(crate) fn of_seed(seed: u64) -> Self {
        let mut chance = Chance(seed.wrapping_mul(0x5851_f42d_4c95_7f2d));
        let lasts_ms = 2_000 + chance.below(2_000);
        let merges = (0..1 + chance.below(4)).map(|_| chance.below(lasts_ms));
        let mut merges: Vec<u32> = merges.collect();
        merges.sort_unstable();
        Self {
            seed,
            lasts: Duration::from_millis(u64::from(lasts_ms)),
            connections: chance.of(&[2, 4, 4, 8]),
            series: chance.of(&[100, 250, 500, 1_000, 2_000]),
            step_ms: chance.of(&[1_000, 15_000, 60_000, 600_000]).into(),
            begin_ms: (SystemClock.now_ms() - BEGIN_BEFORE_MS) / 1_000 * 1_000,
            is_mixed: chance.below(2) == 0,
            merges: merges.into_iter().map(|ms| Duration::from_millis(u64::from(ms))).collect(),
        }
    }

    fn goes_back(&self, connection: u32) -> bool {
        self.is_mixed && connection % 2 == 1
    }

    /// When the samples of a connection's request are.
    pub(crate) fn time_ms(&self, connection: u32, request: u32) -> i64 {
        let steps = i64::from(request) * self.step_ms;
        if self.goes_back(connection) { self.begin_ms - steps } else { self.begin_ms + steps }
    }

    /// The request that samples of this time are of; `None` when there is none.
    pub(crate) fn request_at(&self, connection: u32, time_ms: i64) -> Option<u32> {
        let after_ms = time_ms - self.begin_ms;
        let after_ms = if self.goes_back(connection) { -after_ms } else { after_ms };
        let is_step = after_ms % self.step_ms == 0;
        is_step.then(|| u32::try_from(after_ms / self.step_ms).ok()).flatten()
    }

    /// Counters, sensors, constants and averages.
    pub(crate) fn value(&self, connection: u32, series: u32, request: u32) -> f64 {
        let place = u64::from(connection) << 52 | u64::from(series) << 32 | u64::from(request);
        let mut chance = Chance(self.seed ^ place);
        match series % 4 {
            0 => f64::from(request) * f64::from(series + 1),
            1 => f64::from(chance.below(400)) / 10.0,
            2 => f64::from(series),
            _ => f64::from(chance.below(1 << 30)).sqrt(),
        }
    }

    fn body(&self, connection: u32, request: u32) -> Result<Vec<u8>> {
        let time_ms = self.time_ms(connection, request);
        let connection_text = connection.to_string();
        let one = |series: u32| TimeSeries {
            labels: Labels::new([
                ("__name__", NAME),
                ("connection", &connection_text),
                ("series", &series.to_string()),
            ]),
            samples: vec![Sample { time_ms, value: self.value(connection, series, request) }],
        };
        let series = (0..self.series).map(one).collect();
        Ok(remote_write::encode(&WriteRequest { series, metadata: Vec::new() })?)
    }
}

/// What one connection came to send.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Samples of one request.
    series: usize,
    /// The numbers of the requests that were acknowledged.
    pub(crate) acknowledged: Vec<u32>,
    /// The one that had no answer.
    pub(crate) unanswered: Option<u32>,
    pub(crate) refused: usize,
    pub(crate) latencies: Vec<Duration>,
}

impl Sent {
    /// Samples that were acknowledged.
    pub(crate) fn samples_len(&self) -> usize {
        self.acknowledged.len() * self.series
    }
}

/// Connections that send until the server is gone.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    senders: Vec<JoinHandle<Result<Sent>>>,
    merger: JoinHandle<()>,
}

impl Load {
    pub(crate) fn start(plan: &Plan, base: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sender = |connection| {
            let (plan, url, stop) = (plan.clone(), format!("{base}/api/v1/write"), stop.clone());
            std::thread::spawn(move || send(&plan, connection, &url, &stop))
        };
        let senders = (0..plan.connections).map(sender).collect();
        let (merges, url) = (plan.merges.clone(), format!("{base}/api/labstat/v1/compact"));
        let merger = std::thread::spawn({
            let stop = stop.clone();
            move || merge(&merges, &url, &stop)
        });
        Self { stop, senders, merger }
    }

    /// What was sent until now. The server must be gone.
    pub(crate) fn end(self) -> Result<Vec<Sent>> {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.merger.join();
        let joined = |sender: JoinHandle<Result<Sent>>| {
            sender.join().unwrap_or_else(|_| Err("a sender failed".into()))
        };
        self.senders.into_iter().map(joined).collect()
    }
}

fn send(plan: &Plan, connection: u32, url: &str, stop: &AtomicBool) -> Result<Sent> {
    let headers = [
        ("content-type", remote_write::CONTENT_TYPE),
        ("content-encoding", remote_write::CONTENT_ENCODING),
        (remote_write::VERSION_HEADER.0, remote_write::VERSION_HEADER.1),
    ];
    let per_second = SAMPLES_PER_SECOND / f64::from(plan.connections) / f64::from(plan.series);
    let (agent, started) = (http::agent(), Instant::now());
    let series = usize::try_from(plan.series)?;
    let mut sent = Sent { series, ..Sent::default() };
    // The connections do not send in step.
    let offset = f64::from(connection) / f64::from(plan.connections);
    for request in 0.. {
        let body = plan.body(connection, request)?;
        let due = Duration::from_secs_f64((f64::from(request) + offset) / per_second);
        std::thread::sleep(due.saturating_sub(started.elapsed()));
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let asked = Instant::now();
        match http::post(&agent, url, &headers, &body) {
            Ok((204, _)) => {
                sent.acknowledged.push(request);
                sent.latencies.push(asked.elapsed());
            }
            Ok(_) => sent.refused += 1,
            Err(_) => {
                sent.unanswered = Some(request);
                break;
            }
        }
    }
    Ok(sent)
}

fn merge(merges: &[Duration], url: &str, stop: &AtomicBool) {
    let (agent, started) = (http::agent(), Instant::now());
    for due in merges {
        std::thread::sleep(due.saturating_sub(started.elapsed()));
        if stop.load(Ordering::SeqCst) || http::post(&agent, url, &[], b"").is_err() {
            break;
        }
    }
}
