//! What it takes to evaluate 10,000 rules over 50,000 series every 15 seconds, with all of these
//! series being written beside it.
//!
//! `cargo bench --bench rules`. A store in a folder of its own has half an hour of 50 nodes with 1,000
//! series each, in its head. Then, interval by interval, all series get a sample, and the service
//! evaluates every group once and stores what the rules say, all at once and not spread over the interval
//! as it is otherwise. CPU seconds are of the whole process (10 ms ticks), those of ingestion apart.
//! `cargo bench --bench rules -- KIND` evaluates the rules of one kind alone.
//!
//! Beside others: `cargo bench --bench rules -- print` prints the rule file, for a server of any make;
//! `cargo bench --bench rules -- live MINUTES URL PID [URL PID …]` sends all series to each of them by
//! remote write every 15 s, and prints each minute the CPU seconds that each process took.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that fails may stop")]

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use labstat_alerts::{Database, MemoryLedger, RuleSet, Service, ServiceOptions};
use labstat_model::{Clock, Labels, ManualClock, Matcher, Sample, Series, SeriesRef, SystemClock};
use labstat_model::{MixedRequest, Tiers, TimeSeries, WriteRequest};
use labstat_promql::{Scan, Source, SourceError};
use labstat_store::{NEVER, Options, ReadError, Store};
use labstat_wire::remote_write;
use std::ops::ControlFlow;

const NODES: usize = 50;
const STEPS: i64 = 120;
const ROUNDS: i64 = 5;
const STEP_MS: i64 = 15_000;
const START_MS: i64 = 1_700_006_400_000;
const SERIES_PER_REQUEST: usize = 2_000;
const RULES_PER_GROUP: usize = 20;

/// How many rules there are of a kind, and one of them: its number, of which the node and anything
/// else are made.
type Kind = (&'static str, usize, fn(usize) -> String);

const KINDS: [Kind; 9] = [
    ("threshold of a node", 3_000, |n| {
        alert(&format!("node_gauge_{}{{instance=\"{}\"}} > 1e9", n % 400, node(n)))
    }),
    ("threshold of all", 1_000, |n| alert(&format!("node_gauge_{} > 1e9", n % 400))),
    ("threshold that is reached", 200, |n| {
        alert(&format!("node_gauge_{}{{instance=\"{}\"}} > -1", n % 400, node(n)))
    }),
    ("rate of a node", 2_000, |n| {
        let (metric, node) = (n % 20, node(n));
        alert(&format!("rate(node_network_{metric}_total{{instance=\"{node}\"}}[5m]) > 1e9"))
    }),
    ("rate of all", 500, |n| {
        alert(&format!("sum by (instance) (rate(node_network_{}_total[5m])) > 1e9", n % 20))
    }),
    ("absent", 1_000, |n| {
        alert(&format!("absent(node_gauge_{}{{instance=\"{}\"}})", n % 400, node(n)))
    }),
    ("join of a node", 1_000, |n| {
        let node = node(n);
        alert(&format!(
            "node_filesystem_avail_bytes{{instance=\"{node}\",fstype!=\"tmpfs\"}} \
             / node_filesystem_size_bytes{{instance=\"{node}\",fstype!=\"tmpfs\"}} * 100 < 5"
        ))
    }),
    ("join of all", 250, |n| {
        alert(&format!(
            "node_filesystem_avail_bytes / node_filesystem_size_bytes < 0.0{n} \
             and on (instance, device) node_filesystem_readonly == 0"
        ))
    }),
    ("recording", 1_050, |n| {
        let node = node(n);
        format!(
            "  - record: instance:cpu_busy_{}:rate5m\n    expr: sum by (instance) \
             (rate(node_cpu_seconds_total{{instance=\"{node}\",mode!=\"idle\"}}[5m]))\n",
            n / NODES
        )
    }),
];

fn node(n: usize) -> String {
    format!("node{:02}", n % NODES)
}

/// An alert as people write them.
fn alert(expr: &str) -> String {
    format!(
        "  - alert: Something\n    expr: '{expr}'\n    for: 5m\n    labels: {{severity: warning, \
         expr: \"{}\"}}\n    annotations:\n      summary: '{{{{ $labels.instance }}}} has something \
         at {{{{ $value | humanize }}}}'\n      description: 'On {{{{ $labels.instance }}}} \
         ({{{{ $labels.job }}}}) it is {{{{ printf \"%.2f\" $value }}}}.'\n",
        expr.len()
    )
}

/// A rule file with the kinds whose name has `only` in it, rules of all kinds mixed.
fn rules(only: &str) -> String {
    let kinds = KINDS.iter().filter(|(kind, ..)| kind.contains(only));
    let mut all: Vec<(usize, String)> = kinds
        .flat_map(|(_, count, make)| (0..*count).map(move |n| (n * 7919 % 10_007, make(n))))
        .collect();
    all.sort();
    let mut text = "groups:\n".to_owned();
    for (at, rules) in all.chunks(RULES_PER_GROUP).enumerate() {
        let _ = write!(text, "- name: g{at}\n  interval: 15s\n  rules:\n");
        rules.iter().for_each(|(_, rule)| text.push_str(rule));
    }
    text
}

/// The 1,000 series of a node.
fn series_of(node: &str) -> Vec<Labels> {
    let mut all = Vec::new();
    let mut push = |name: String, labels: &[(&str, &str)]| {
        let own = [("__name__", name.as_str()), ("instance", node), ("job", "node")];
        all.push(Labels::new(own.into_iter().chain(labels.iter().copied())));
    };
    for cpu in 0..8 {
        for mode in ["user", "system", "idle", "iowait", "irq", "softirq", "steal", "nice"] {
            push("node_cpu_seconds_total".into(), &[("cpu", &cpu.to_string()), ("mode", mode)]);
        }
    }
    for disk in 0..8 {
        let (device, mount) = (format!("/dev/sd{disk}"), format!("/mnt/{disk}"));
        let labels = [("device", &*device), ("mountpoint", &*mount), ("fstype", "ext4")];
        for what in ["avail_bytes", "size_bytes", "readonly", "files", "files_free"] {
            push(format!("node_filesystem_{what}"), &labels);
        }
        for what in 0..17 {
            push(format!("node_disk_{what}_total"), &[("device", &device)]);
        }
    }
    for interface in ["eth0", "eth1", "eth2", "eth3", "bond0", "vmbr0", "tap0", "tap1"] {
        for what in 0..20 {
            push(format!("node_network_{what}_total"), &[("device", interface)]);
        }
    }
    for at in all.len()..1_000 {
        let own = [("__name__", format!("node_gauge_{}", at % 400))];
        let (node, place) = (node.to_owned(), (at / 400).to_string());
        let own = own.iter().map(|(name, value)| (*name, value.as_str()));
        let rest = [("instance", &*node), ("job", "node"), ("place", &*place)];
        all.push(Labels::new(own.chain(rest)));
    }
    all
}

fn requests(series: &[Labels], time_ms: i64) -> Vec<WriteRequest> {
    #[expect(clippy::cast_precision_loss, reason = "values of a benchmark")]
    let value = |at: usize, labels: &Labels| {
        let counts = labels.metric_name().ends_with("_total");
        let step = if counts { (time_ms - START_MS) / 100 } else { time_ms / STEP_MS % 7 };
        at as f64 * 13.0 + step as f64 * (at % 11) as f64
    };
    let of = |(at, labels): (usize, &Labels)| TimeSeries {
        labels: labels.clone(),
        samples: vec![Sample { time_ms, value: value(at, labels) }],
    };
    let all: Vec<TimeSeries> = series.iter().enumerate().map(of).collect();
    let request =
        |chunk: &[TimeSeries]| WriteRequest { series: chunk.to_vec(), ..WriteRequest::default() };
    all.chunks(SERIES_PER_REQUEST).map(request).collect()
}

/// The store as rules read it and write to it, with how many samples and how often.
struct Stored(Store, AtomicUsize, AtomicUsize);

fn failed(error: ReadError) -> SourceError {
    SourceError(Box::new(error))
}

struct StoredScan<'a>(labstat_store::Scan<'a>);

impl Scan for StoredScan<'_> {
    fn parts(&self) -> usize {
        self.0.parts()
    }

    fn is_sorted(&self) -> bool {
        self.0.is_sorted()
    }

    fn read(
        &self,
        part: usize,
        each: &mut dyn FnMut(SeriesRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        self.0.read(part, each).map_err(failed)
    }
}

impl Source for Stored {
    fn select(&self, m: &[Matcher], start: i64, end: i64) -> Result<Vec<Series>, SourceError> {
        self.0.select(m, start, end).map_err(failed)
    }

    fn newest(&self, m: &[Matcher], start: i64, end: i64) -> Result<Vec<Series>, SourceError> {
        self.0.newest(m, start, end, NEVER).map_err(failed)
    }

    fn scan(&self, m: &[Matcher], from: i64, to: i64) -> Result<Box<dyn Scan + '_>, SourceError> {
        Ok(Box::new(StoredScan(self.0.scan(m, from, to).map_err(failed)?)))
    }

    fn scan_newest(
        &self,
        m: &[Matcher],
        from: i64,
        to: i64,
    ) -> Result<Box<dyn Scan + '_>, SourceError> {
        Ok(Box::new(StoredScan(self.0.scan_newest(m, from, to).map_err(failed)?)))
    }

    fn histograms(
        &self,
        m: &[Matcher],
        from: i64,
        to: i64,
    ) -> Result<Vec<labstat_model::HistogramSeries>, SourceError> {
        self.0.histograms(m, from, to).map_err(failed)
    }

    fn tiers(&self) -> Tiers {
        self.0.tiers()
    }
}

impl Database for Stored {
    fn append(&self, write: &MixedRequest) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.1.fetch_add(self.0.append(write)?.accepted, Ordering::Relaxed);
        self.2.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// CPU seconds of a process so far.
fn cpu_seconds_of(pid: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).unwrap().parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

fn cpu_seconds() -> f64 {
    cpu_seconds_of("self")
}

fn all_series() -> Vec<Labels> {
    (0..NODES).flat_map(|n| series_of(&node(n))).collect()
}

/// Sends a sample of all series to each server, every step for so many minutes.
fn live(minutes: i64, servers: &[(&str, &str)]) {
    let series = all_series();
    let post = |url: &str, request: &WriteRequest| {
        ureq::post(format!("{url}/api/v1/write"))
            .header("content-type", remote_write::CONTENT_TYPE)
            .header("content-encoding", remote_write::CONTENT_ENCODING)
            .header(remote_write::VERSION_HEADER.0, remote_write::VERSION_HEADER.1)
            .send(&remote_write::encode(request).unwrap())
            .unwrap();
    };
    let cpu = || -> Vec<f64> { servers.iter().map(|(_, pid)| cpu_seconds_of(pid)).collect() };
    let mut before = cpu();
    for step in 0..minutes * 60_000 / STEP_MS {
        let begun = Instant::now();
        for request in requests(&series, SystemClock.now_ms()) {
            servers.iter().for_each(|(url, _)| post(url, &request));
        }
        let pause = Duration::from_millis(STEP_MS.unsigned_abs());
        std::thread::sleep(pause.saturating_sub(begun.elapsed()));
        if step % 4 == 3 {
            let now = cpu();
            let minute = (step + 1) / 4;
            for ((url, _), (now, before)) in servers.iter().zip(now.iter().zip(&before)) {
                println!("minute {minute}: {url} took {:.2} s of CPU", now - before);
            }
            before = now;
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["print"] => print!("{}", rules("")),
        ["live", minutes, ref servers @ ..] => {
            let pairs: Vec<_> = servers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
            live(minutes.parse().unwrap(), &pairs);
        }
        [] => evaluate(""),
        [only, ..] => evaluate(only),
    }
}

/// Evaluates the rules of the kinds whose name has `only` in it, as fast as they go.
fn evaluate(only: &str) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let store = Store::open(folder.path(), Options::new(clock.clone())).unwrap().0;
    let stored = Arc::new(Stored(store, AtomicUsize::default(), AtomicUsize::default()));
    let series = all_series();
    let append = |time_ms: i64| {
        for request in requests(&series, time_ms) {
            assert_eq!(stored.0.append(&request).unwrap().accepted, request.samples_len());
        }
    };
    (0..STEPS).for_each(|step| append(START_MS + step * STEP_MS));
    clock.set_ms(START_MS + STEPS * STEP_MS);
    stored.0.maintain(clock.now_ms()).unwrap();

    let (started, cpu) = (Instant::now(), cpu_seconds());
    let rules = RuleSet::parse(&[("bench.yml", &rules(only))]).unwrap();
    println!(
        "{} rules in {} groups are read in {:?}, {:.2} s of CPU",
        rules.rules_len(),
        rules.groups.len(),
        started.elapsed(),
        cpu_seconds() - cpu
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = ServiceOptions { rules, ..ServiceOptions::default() };
        let ledger = Arc::new(MemoryLedger::default());
        let service = Service::start(options, stored.clone(), ledger, clock.clone()).await.unwrap();
        let alerting = service.alerting();
        for round in 0..ROUNDS {
            let cpu = cpu_seconds();
            append(START_MS + (STEPS + round) * STEP_MS);
            let ingest = cpu_seconds() - cpu;
            let (started, cpu) = (Instant::now(), cpu_seconds());
            clock.advance_ms(STEP_MS);
            alerting.evaluate_due().await;
            let (took, cpu) = (started.elapsed(), cpu_seconds() - cpu);
            let (pending, firing) = alerting.manager().alerts_len();
            let [samples, writes] = [&stored.1, &stored.2].map(|n| n.swap(0, Ordering::Relaxed));
            println!(
                "interval {round}: ingest {ingest:.2} s of CPU; rules {cpu:.2} s of CPU in {took:?}; \
                 {samples} samples in {writes} writes, {pending} pending, {firing} firing, {} failing",
                alerting.manager().failing_len()
            );
        }
        service.shutdown().await;
    });
}
