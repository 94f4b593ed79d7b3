//! How fast the store takes and gives samples, and how small it keeps them.
//!
//! `cargo bench --bench store`. CPU seconds are of the whole process (10 ms ticks), so they count
//! sealing and merging too; wall times depend on the disk and on what else runs. The series are of
//! the kinds a node has: idle and busy counters, byte counts in pages and sectors, sensors with
//! few steps, constants, and averages that no codec likes.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that fails may stop")]

use std::sync::Arc;
use std::time::Instant;

use labstat_model::{Labels, ManualClock, Matcher, Sample, TimeSeries, WriteRequest};
use labstat_store::{Options, Store};

const NODES: u32 = 10;
const SERIES: u32 = 1_000;
const STEPS: i64 = 480;
const STEP_MS: i64 = 15_000;
const START_MS: i64 = 1_700_006_400_000;
const SERIES_PER_REQUEST: usize = 2_000;

/// A repeatable source of noise (xorshift).
struct Noise(u64);

impl Noise {
    fn next(&mut self, below: u64) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        f64::from(u32::try_from(self.0 % below).unwrap())
    }
}

/// One series as it goes on.
struct Source {
    labels: Labels,
    kind: u32,
    value: f64,
    noise: Noise,
}

impl Source {
    fn new(node: u32, series: u32) -> Self {
        let (node, name) = (format!("node{node}"), format!("metric_{}", series / 8));
        let labels = Labels::new([
            ("__name__", &*name),
            ("instance", &node),
            ("job", "node"),
            (
                "device",
                ["sda", "sdb", "nvme0n1", "eth0", "md0", "cpu0", "cpu1", "vda"]
                    [series as usize % 8],
            ),
        ]);
        let seed = u64::from(series * 7919 + 1) << 20 | node.len() as u64;
        Self { labels, kind: series % 8, value: f64::from(series) * 1e3, noise: Noise(seed) }
    }

    fn next(&mut self) -> f64 {
        match self.kind {
            // Nothing ever happens on most series of a node.
            0..=2 => {}
            // Seconds of a CPU, in hundredths.
            3 => self.value = ((self.value * 100.0).round() + self.noise.next(1_500)) / 100.0,
            // Bytes of a disk, in sectors.
            4 => self.value += 512.0 * self.noise.next(400),
            // Bytes of memory, in pages.
            5 => self.value = 4096.0 * (1e6 + self.noise.next(20_000)),
            // A sensor.
            6 => self.value = 40.0 + self.noise.next(4) / 2.0,
            // An average.
            _ => self.value = self.noise.next(1 << 30) / 7.0,
        }
        self.value
    }
}

/// CPU seconds of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).unwrap().parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

fn requests(sources: &mut [Source], time_ms: i64) -> Vec<WriteRequest> {
    let chunks = sources.chunks_mut(SERIES_PER_REQUEST);
    let series = |source: &mut Source| TimeSeries {
        labels: source.labels.clone(),
        samples: vec![Sample { time_ms, value: source.next() }],
    };
    chunks
        .map(|chunk| WriteRequest {
            series: chunk.iter_mut().map(series).collect(),
            ..Default::default()
        })
        .collect()
}

fn ingest(store: &Store, sources: &mut [Source]) -> f64 {
    let mut waited = 0.0;
    let mut latencies = Vec::new();
    for step in 0..STEPS {
        // Making the requests is not the store's work.
        let requests = requests(sources, START_MS + step * STEP_MS);
        let cpu = cpu_seconds();
        for request in &requests {
            let start = Instant::now();
            assert_eq!(store.append(request).unwrap().accepted, request.samples_len());
            latencies.push(start.elapsed());
        }
        waited += cpu_seconds() - cpu;
    }
    latencies.sort_unstable();
    let at = |share: usize| latencies.get(latencies.len() * share / 100).unwrap();
    println!("append of {SERIES_PER_REQUEST}: p50 {:?}, p99 {:?}", at(50), at(99));
    waited
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn select(store: &Store, what: &str, matchers: &[Matcher], times: u32) {
    let end_ms = START_MS + STEPS * STEP_MS;
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let mut samples = 0;
    for _ in 0..times {
        let found = store.select(matchers, START_MS, end_ms).unwrap();
        samples = found.iter().map(labstat_model::Series::len).sum();
    }
    let (wall, cpu) = (start.elapsed() / times, (cpu_seconds() - cpu) / f64::from(times));
    let speed = samples as f64 / cpu.max(1e-6) / 1e6;
    println!("select {what}: {samples} samples in {wall:?}, {speed:.0} M samples per CPU second");
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn main() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options::new(Arc::new(ManualClock::new(START_MS)));
    let (store, _) = Store::open(dir.path(), options()).unwrap();
    let nodes = (0..NODES).flat_map(|node| (0..SERIES).map(move |series| (node, series)));
    let mut sources: Vec<Source> = nodes.map(|(node, series)| Source::new(node, series)).collect();
    let samples = f64::from(NODES * SERIES) * STEPS as f64;

    let cpu = ingest(&store, &mut sources);
    println!("ingest: {:.2} CPU seconds per million samples", cpu / samples * 1e6);
    let stats = store.stats();
    println!("head: {:.2} bytes of memory per sample", stats.head_bytes as f64 / samples);
    println!("log: {:.2} bytes on disk per sample", stats.file_bytes as f64 / samples);
    let metric = [Matcher::equal("__name__", "metric_7")];
    select(&store, "of one metric, head", &metric, 200);
    drop(store);

    let start = Instant::now();
    let (store, _) = Store::open(dir.path(), options()).unwrap();
    println!("start: {:?} with everything in the log", start.elapsed());
    let cpu = cpu_seconds();
    store.compact().unwrap();
    let cpu = cpu_seconds() - cpu;
    println!("seal: {:.2} CPU seconds per million samples", cpu / samples * 1e6);
    let stats = store.stats();
    println!("sealed: {:.2} bytes per sample in blobs", stats.sealed_bytes as f64 / samples);
    println!("sealed: {:.2} bytes per sample in all files", stats.file_bytes as f64 / samples);
    select(&store, "of one metric, blobs", &metric, 200);
    let one =
        [metric[0].clone(), Matcher::equal("instance", "node3"), Matcher::equal("device", "sda")];
    select(&store, "of one series, blobs", &one, 500);
    select(&store, "of everything, blobs", &[], 5);
    drop(store);
    let start = Instant::now();
    let (store, _) = Store::open(dir.path(), options()).unwrap();
    println!("start: {:?} with everything in blobs", start.elapsed());
    store.close().unwrap();
}
