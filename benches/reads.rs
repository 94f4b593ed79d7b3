//! How fast the store gives samples: ranges, the newest of each series, one series over years, and
//! what a late write compares itself with.
//!
//! `cargo bench --bench reads`, with `-- NAME` one part of it (`ranges`, `starts`, `years`, `late`), and
//! with `-- FILE` ranges of the requests in a file: each a length
//! (four bytes, little endian) and an uncompressed remote write message. CPU seconds are of the
//! whole process, all threads. Series are of the kinds a node has, as in `store`.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that fails may stop")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use labstat_model::{Labels, ManualClock, Matcher, Sample, SeriesRef, TimeSeries, WriteRequest};
use labstat_store::{NEVER, Options, Store};
use labstat_wire::remote_write;
use rustix::time::{ClockId, clock_gettime};

/// Midnight.
const START_MS: i64 = 1_700_006_400_000;
const STEP_MS: i64 = 15_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const EVER: (i64, i64) = (i64::MIN, i64::MAX);

/// CPU time of this process so far.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).unwrap())
}

/// A repeatable value of a series at a step: idle and busy counters, byte counts, sensors,
/// constants, averages.
fn value(series: u32, step: i64) -> f64 {
    let step = u64::try_from(step).unwrap();
    let noise = |below: u64| {
        let mut bits = (u64::from(series) << 32 | step).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits ^= bits >> 29;
        bits = bits.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((bits >> 32) % below) as f64
    };
    match series % 8 {
        0..=2 => f64::from(series),
        3 => ((step * 750) as f64 + noise(700)).round() / 100.0,
        4 => 512.0 * ((step * 200) as f64 + noise(190)),
        5 => 4096.0 * (1e6 + noise(20_000)),
        6 => 40.0 + noise(4) / 2.0,
        _ => noise(1 << 30) / 7.0,
    }
}

fn labels(series: u32) -> Labels {
    let (metric, node) = (format!("metric_{}", series % 500), format!("node{}", series / 500));
    Labels::new([("__name__", &*metric), ("instance", &node), ("job", "lab")])
}

/// One request: some steps of some series.
fn request(
    series: std::ops::Range<u32>,
    steps: std::ops::Range<i64>,
    step_ms: i64,
) -> WriteRequest {
    let one = |series: u32| TimeSeries {
        labels: labels(series),
        samples: steps
            .clone()
            .map(|step| Sample { time_ms: START_MS + step * step_ms, value: value(series, step) })
            .collect(),
    };
    WriteRequest { series: series.map(one).collect(), ..Default::default() }
}

fn fill(store: &Store, series: u32, steps: std::ops::Range<i64>, step_ms: i64) {
    for from in steps.clone().step_by(40) {
        for first in (0..series).step_by(500) {
            let steps = from..steps.end.min(from + 40);
            store.append(&request(first..series.min(first + 500), steps, step_ms)).unwrap();
        }
    }
}

fn open(dir: &Path) -> Store {
    let options = Options::new(Arc::new(ManualClock::new(START_MS)));
    let (store, notices) = Store::open(dir, options).unwrap();
    assert_eq!(notices, []);
    store
}

/// Runs `work`, which says how many samples it saw, a few times, and prints the best.
fn report(what: &str, times: u32, mut work: impl FnMut() -> usize) {
    let (mut wall, mut cpu_used, mut samples) = (Duration::MAX, Duration::MAX, 0);
    for _ in 0..times {
        let (start, before) = (Instant::now(), cpu());
        samples = work();
        wall = wall.min(start.elapsed());
        cpu_used = cpu_used.min(cpu() - before);
    }
    let speed = samples as f64 / cpu_used.as_secs_f64() / 1e6;
    println!("{what}: {samples} samples in {wall:.1?}, CPU {cpu_used:.1?}: {speed:.0} M a second");
}

fn scan(store: &Store, matchers: &[Matcher], (start_ms, end_ms): (i64, i64)) -> usize {
    let mut samples = 0;
    let scan = store.scan(matchers, start_ms, end_ms).unwrap();
    for part in 0..scan.parts() {
        let each = &mut |series: SeriesRef<'_>| {
            samples += series.times.len();
            ControlFlow::Continue(())
        };
        scan.read(part, each).unwrap();
    }
    samples
}

fn select(store: &Store, matchers: &[Matcher], (start_ms, end_ms): (i64, i64)) -> usize {
    let found = store.select(matchers, start_ms, end_ms).unwrap();
    found.iter().map(labstat_model::Series::len).sum()
}

fn newest(store: &Store, (start_ms, end_ms): (i64, i64)) -> usize {
    store.newest(&[], start_ms, end_ms, NEVER).unwrap().len()
}

/// Ranges over a day of 5,000 series that is settled, and the two hours after it in the head.
fn ranges() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let steps = DAY_MS / STEP_MS;
    fill(&store, 5_000, 0..steps, STEP_MS);
    store.compact().unwrap();
    read_ranges(&store, (START_MS, START_MS + DAY_MS - 1));
    drop(store);
    let store = open(dir.path());
    fill(&store, 5_000, steps..steps + 480, STEP_MS);
    let head = (START_MS + DAY_MS, START_MS + DAY_MS + 2 * HOUR_MS);
    report("scan of two hours in the head", 3, || scan(&store, &[], head));
    report("scan of a day and the head", 3, || scan(&store, &[], EVER));
    report("newest of each, in the head", 3, || newest(&store, head));
}

fn read_ranges(store: &Store, day: (i64, i64)) {
    let stats = store.stats();
    println!("{} series, {} samples in {} blobs", stats.series, stats.sealed_samples, stats.blobs);
    let hour = (day.1 - 6 * HOUR_MS, day.1 - 5 * HOUR_MS);
    let minutes = (day.1 - 6 * HOUR_MS, day.1 - 6 * HOUR_MS + 5 * 60_000);
    let metric = [Matcher::equal("__name__", "metric_7")];
    report("scan of a day", 3, || scan(store, &[], day));
    report("select of a day", 3, || select(store, &[], day));
    report("select of an hour", 5, || select(store, &[], hour));
    report("select of five minutes", 5, || select(store, &[], minutes));
    report("select of one metric, a day", 20, || select(store, &metric, day));
    report("select of one metric, an hour", 20, || select(store, &metric, hour));
    report("newest of each, five minutes of the past", 5, || newest(store, minutes));
}

/// All newest samples of 50,000 series right after a start.
fn starts() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store, 50_000, 0..40, STEP_MS);
    let range = (START_MS, START_MS + 40 * STEP_MS);
    for what in ["log", "blobs"] {
        let (_copy, started) = open_again(dir.path());
        report(&format!("newest of 50,000 series after a start, in the {what}"), 1, || {
            newest(&started, range)
        });
        report("and again", 5, || newest(&started, range));
        let before = (range.0, range.1 - 60_000);
        report("newest of 50,000 a minute ago", 3, || newest(&started, before));
        store.compact().unwrap();
    }
}

/// A copy of a store as a process that starts finds it.
fn open_again(dir: &Path) -> (tempfile::TempDir, Store) {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(dir).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let store = open(copy.path());
    (copy, store)
}

/// Ten series over two years, a sample a minute.
fn years() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let steps = 730 * DAY_MS / 60_000;
    for from in (0..steps).step_by(10_000) {
        store.append(&request(0..10, from..steps.min(from + 10_000), 60_000)).unwrap();
    }
    store.compact().unwrap();
    let one = [Matcher::equal("__name__", "metric_4")];
    report("select of one series of ten over two years", 3, || select(&store, &one, EVER));
    report("scan of ten series over two years", 3, || scan(&store, &[], EVER));
}

/// Writes that are not newer than what is there.
fn late() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let steps = DAY_MS / STEP_MS;
    fill(&store, 2_000, 0..steps, STEP_MS);
    store.compact().unwrap();
    fill(&store, 2_000, steps..steps + 480, STEP_MS);
    let send = |what: &str, steps: std::ops::Range<i64>, shift_ms: i64, accepted: bool| {
        let requests: Vec<WriteRequest> = steps
            .map(|step| {
                let mut request = request(0..2_000, step..step + 1, STEP_MS);
                let samples = request.series.iter_mut().flat_map(|series| &mut series.samples);
                samples.for_each(|sample| sample.time_ms += shift_ms);
                request
            })
            .collect();
        let mut slowest = Duration::ZERO;
        report(what, 1, || {
            let send = |request: &WriteRequest| {
                let start = Instant::now();
                let appended = store.append(request).unwrap();
                slowest = slowest.max(start.elapsed());
                assert_eq!(appended.accepted > 0, accepted, "{appended:?}");
                appended.accepted + appended.duplicates
            };
            requests.iter().map(send).sum()
        });
        println!("    the slowest request of 2,000: {slowest:.1?}");
    };
    send("the last hour again, in the head", steps + 240..steps + 480, 0, false);
    send("an hour again, in blobs", 1_000..1_240, 0, false);
    send("an hour between samples of the past", 2_000..2_240, 7, true);
    send("the same again", 2_000..2_240, 7, false);
}

/// Requests of a file, settled, and then read.
fn recorded(file: &str) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let content = fs::read(file).unwrap();
    let mut rest = &content[..];
    while let Some((len, behind)) = rest.split_first_chunk::<4>() {
        let (message, behind) = behind.split_at(u32::from_le_bytes(*len) as usize);
        let body = remote_write::compress(message).unwrap();
        store.append(&remote_write::decode(&body).unwrap().request).unwrap();
        rest = behind;
    }
    store.compact().unwrap();
    let stats = store.stats();
    read_ranges(&store, (stats.oldest_ms.unwrap(), stats.newest_ms.unwrap()));
}

fn main() {
    let all: [(&str, fn()); 4] =
        [("ranges", ranges), ("starts", starts), ("years", years), ("late", late)];
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    for (name, run) in all {
        if args.is_empty() || args.iter().any(|arg| arg == name) {
            run();
        }
    }
    args.iter()
        .filter(|arg| all.iter().all(|(name, _)| name != arg))
        .for_each(|file| recorded(file));
}
