//! What a million series cost that were ever seen, of which a tenth is live: memory and time of a
//! start, and what questions about now and about all time take.
//!
//! `cargo bench --bench series`. The series are those of containers that come and go: ten labels
//! each, of which one has a value that no other series has. Each generation is sealed as it would be;
//! then a process of its own opens the store, so that its memory is that of a server that starts.
//! `SERIES_EVER` in the environment sets another number.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that fails may stop")]
#![expect(clippy::disallowed_methods, reason = "it is told how much to do by its environment")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use labstat_model::{
    Labels, ManualClock, MatchOp, Matcher, Sample, Series, TimeSeries, WriteRequest,
};
use labstat_store::{NEVER, Options, Store};

const SERIES: u32 = 1_000_000;
const GENERATIONS: u32 = 10;
const GENERATION_MS: i64 = 7 * 86_400_000;
const START_MS: i64 = 1_700_006_400_000;
const SERIES_PER_POD: u32 = 50;
const SERIES_PER_REQUEST: u32 = 5_000;

/// Set in the process that opens the store.
const DIR_ENV: &str = "LABSTAT_BENCH_SERIES_DIR";

fn labels(generation: u32, at: u32) -> Labels {
    let pod = at / SERIES_PER_POD;
    let noise = u64::from(generation * 1_000_003 + at).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let pod_noise = u64::from(generation * 77_777 + pod).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let app = pod % 40;
    Labels::new([
        ("__name__", &*format!("container_metric_{}_total", at % SERIES_PER_POD)),
        ("job", "cadvisor"),
        ("instance", &format!("node{}.lab.example.org:10250", pod % 12)),
        ("namespace", &format!("team-{}", app % 9)),
        ("pod", &format!("app-{app}-{:010x}-{:05x}", pod_noise >> 24, pod_noise & 0xf_ffff)),
        ("container", &format!("app-{app}")),
        ("image", &format!("registry.lab.example.org/app-{app}:v1.{generation}")),
        ("interface", ["eth0", "lo", "cni0", "tunl0"][at as usize % 4]),
        ("node", &format!("node{}", pod % 12)),
        ("id", &format!("/kubepods/burstable/{noise:016x}{at:06x}")),
    ])
}

fn options(now_ms: i64) -> Options {
    Options::new(Arc::new(ManualClock::new(now_ms)))
}

/// When the newest samples of all are, and what is asked from and to.
const NOW_MS: i64 = START_MS + (GENERATIONS - 1) as i64 * GENERATION_MS + 60_000;

fn fill(dir: &Path, per_generation: u32) {
    let (store, _) = Store::open(dir, options(NOW_MS)).unwrap();
    let start = Instant::now();
    for generation in 0..GENERATIONS {
        let time_ms = START_MS + i64::from(generation) * GENERATION_MS;
        for step in 0..2 {
            for first in (0..per_generation).step_by(SERIES_PER_REQUEST as usize) {
                let all = first..per_generation.min(first + SERIES_PER_REQUEST);
                let series = all.map(|at| TimeSeries {
                    labels: labels(generation, at),
                    samples: vec![Sample {
                        time_ms: time_ms + step * 60_000,
                        value: f64::from(at),
                    }],
                });
                let request = WriteRequest { series: series.collect(), ..WriteRequest::default() };
                let appended = store.append(&request).unwrap();
                assert_eq!(appended.accepted, request.samples_len());
            }
        }
        store.compact().unwrap();
    }
    println!("filled in {:.1?}", start.elapsed());
    memory("while filling");
    println!("file: {} MB", store.stats().file_bytes / 1_000_000);
    store.close().unwrap();
}

/// Prints the memory of this process, resident and anonymous, now and at most.
fn memory(when: &str) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    let (now, most, anon) = (field("VmRSS:"), field("VmHWM:"), field("RssAnon:"));
    println!("memory {when}: {now} MiB, at most {most} MiB, anonymous {anon} MiB");
}

/// CPU seconds of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).unwrap().parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

fn time<T>(what: &str, count: impl Fn(&T) -> usize, times: u32, run: impl Fn() -> T) {
    let start = Instant::now();
    let mut found = 0;
    for _ in 0..times {
        found = count(&run());
    }
    let each: Duration = start.elapsed() / times;
    println!("{what}: {found} in {each:.2?}");
}

fn ask(store: &Store, from_ms: i64, when: &str) {
    let regex = |name: &str, value: &str| Matcher::new(name, MatchOp::Regex, value).unwrap();
    let metric = || Matcher::equal("__name__", "container_metric_7_total");
    let series =
        |matchers: Vec<Matcher>| store.series(&[matchers], from_ms, NOW_MS, NEVER).unwrap();
    let len = Vec::<Labels>::len;
    time(&format!("{when}: one metric"), len, 20, || series(vec![metric()]));
    let pod = || regex("pod", "app-7-.*");
    time(&format!("{when}: a metric, pods by prefix"), len, 20, || series(vec![metric(), pod()]));
    let nodes = || regex("node", "node1|node2|node3");
    time(&format!("{when}: a metric, three nodes"), len, 20, || series(vec![metric(), nodes()]));
    let any = || regex("id", ".*00ff.*");
    time(&format!("{when}: a regex on unique values"), len, 3, || series(vec![any()]));
    let not = || Matcher::new("namespace", MatchOp::NotEqual, "team-1").unwrap();
    time(&format!("{when}: a metric, not one team"), len, 20, || series(vec![metric(), not()]));
    time(&format!("{when}: label names"), Vec::len, 3, || {
        store.label_names(&[], from_ms, NOW_MS, NEVER).unwrap()
    });
    time(&format!("{when}: values of pod"), Vec::len, 3, || {
        store.label_values("pod", &[], from_ms, NOW_MS, NEVER).unwrap()
    });
    time(&format!("{when}: values of id, one a series"), Vec::len, 10, || {
        store.label_values("id", &[], from_ms, NOW_MS, NEVER).unwrap()
    });
    time(&format!("{when}: values of node of a metric"), Vec::len, 3, || {
        store.label_values("node", &[vec![metric()]], from_ms, NOW_MS, NEVER).unwrap()
    });
}

fn open(dir: &Path) {
    let start = Instant::now();
    let (store, notices) = Store::open(dir, options(NOW_MS)).unwrap();
    println!("start: {:.2?}, {:.2} CPU seconds", start.elapsed(), cpu_seconds());
    assert_eq!(notices, []);
    let newest = store.newest(&[], NOW_MS - 300_000, NOW_MS, NEVER).unwrap();
    let found = newest.iter().map(Series::len).sum::<usize>();
    println!(
        "start until the newest of all live series is answered: {found} in {:.2?}",
        start.elapsed()
    );
    drop(newest);
    memory("after the start");
    let start = Instant::now();
    let stats = store.stats();
    let took = start.elapsed();
    println!("stats: {} series, {} label pairs in {took:.2?}", stats.series, stats.label_pairs);
    ask(&store, NOW_MS - 3_600_000, "now");
    ask(&store, START_MS, "all time");
    memory("at the end");
}

fn main() {
    if let Ok(dir) = std::env::var(DIR_ENV) {
        return open(dir.as_ref());
    }
    let series = std::env::var("SERIES_EVER").ok().and_then(|text| text.parse().ok());
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), series.unwrap_or(SERIES) / GENERATIONS);
    let program = std::env::current_exe().unwrap();
    let status = Command::new(program).env(DIR_ENV, dir.path()).status().unwrap();
    assert!(status.success());
}
