//! How fast queries are evaluated.
//!
//! `cargo bench --bench promql`. A thousand series of six hours, a sample every ten seconds, asked
//! for a panel's worth of points; then one series of two years, of which buckets of an hour are
//! there, asked for each of these hours: in memory, and from a store that keeps the samples of
//! three months. The milliseconds are the best of a few runs on one core.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that fails may stop")]
#![expect(clippy::cast_precision_loss, reason = "the counts are small")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use labstat_model::{
    BucketColumns, Labels, ManualClock, Matcher, Rolled, Sample, Series, Tiers, TimeSeries,
    WriteRequest,
};
use labstat_promql::{Engine, QueryOptions, Source, SourceError};
use labstat_store::{NEVER, Options, Store};

const NODES: usize = 50;
const DEVICES: usize = 20;
const SAMPLES: i64 = 2_160;
const INTERVAL_MS: i64 = 10_000;
const START_MS: i64 = 1_700_006_400_000;
const STEPS: i64 = 720;
const RUNS: usize = 3;

struct Memory(Vec<Series>);

impl Source for Memory {
    fn select(&self, matchers: &[Matcher], _: i64, _: i64) -> Result<Vec<Series>, SourceError> {
        let found = |series: &&Series| matchers.iter().all(|m| m.matches_labels(&series.labels));
        Ok(self.0.iter().filter(found).cloned().collect())
    }
}

fn memory() -> Memory {
    let mut series = Vec::new();
    for node in 0..NODES {
        for device in 0..DEVICES {
            let (node_name, device_name) = (format!("node{node:02}"), format!("sd{device:02}"));
            let labels = [
                ("__name__", "disk_read_bytes_total"),
                ("device", device_name.as_str()),
                ("instance", node_name.as_str()),
                ("job", "node"),
            ];
            let mut one = Series::new(Labels::new(labels));
            for at in 0..SAMPLES {
                let value = (at * 4096 * (1 + device as i64)) as f64;
                one.push(START_MS + at * INTERVAL_MS, value);
            }
            series.push(one);
        }
    }
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    Memory(series)
}

const HOUR_MS: i64 = 3_600_000;
const HOURS: i64 = 2 * 365 * 24;

/// One series of two years as buckets of an hour.
struct Years(Rolled);

/// A sample every five minutes; a restart of the machine each month.
fn two_years() -> Series {
    let mut series = Series::new(Labels::new([("__name__", "disk_read_bytes_total")]));
    for at in 0..HOURS * 12 {
        let value = (at % (30 * 24 * 12) * 4096) as f64;
        series.push(START_MS + at * HOUR_MS / 12 + 1_234, value);
    }
    series
}

impl Years {
    fn new() -> Self {
        Self(Rolled::of(&two_years(), HOUR_MS, BucketColumns::ALL))
    }
}

impl Source for Years {
    fn select(&self, _: &[Matcher], _: i64, _: i64) -> Result<Vec<Series>, SourceError> {
        Err(SourceError("the samples are gone".into()))
    }

    fn tiers(&self) -> Tiers {
        Tiers { samples_from_ms: i64::MAX, buckets: vec![(HOUR_MS, i64::MIN)] }
    }

    fn buckets(
        &self,
        _: &[Matcher],
        _: i64,
        _: i64,
        _: i64,
        columns: BucketColumns,
    ) -> Result<Vec<Rolled>, SourceError> {
        let mut rolled = self.0.clone();
        if let Rolled::Buckets(buckets) = &mut rolled {
            buckets.keep_columns(columns);
        }
        Ok(vec![rolled])
    }
}

/// The same series in a store, with a sample each minute so that there are buckets to make.
struct Stored(Store);

/// Samples are kept this long.
const RETENTION_MS: i64 = 90 * 24 * HOUR_MS;

impl Stored {
    fn new(dir: &std::path::Path) -> Self {
        let clock = Arc::new(ManualClock::new(START_MS));
        let mut options = Options::new(clock.clone());
        options.retention_ms = Some(RETENTION_MS);
        let store = Store::open(dir, options).unwrap().0;
        let labels = Labels::new([("__name__", "disk_read_bytes_total")]);
        // Ten days at a time, as time goes by.
        for tenth in 0..HOURS / 240 {
            let begin = tenth * 240 * 60;
            let sample = |at: i64| Sample {
                time_ms: START_MS + at * 60_000 + 1_234,
                value: (at % (30 * 24 * 60) * 4096) as f64,
            };
            let samples = (begin..begin + 240 * 60).map(sample).collect();
            let series = vec![TimeSeries { labels: labels.clone(), samples }];
            let now_ms = START_MS + (tenth + 1) * 240 * HOUR_MS;
            clock.set_ms(now_ms);
            store.append(&WriteRequest { series, metadata: Vec::new() }).unwrap();
            store.maintain(now_ms).unwrap();
        }
        store.compact().unwrap();
        Self(store)
    }
}

fn failed(error: labstat_store::ReadError) -> SourceError {
    SourceError(Box::new(error))
}

impl Source for Stored {
    fn select(&self, m: &[Matcher], start: i64, end: i64) -> Result<Vec<Series>, SourceError> {
        self.0.select(m, start, end).map_err(failed)
    }

    fn newest(&self, m: &[Matcher], start: i64, end: i64) -> Result<Vec<Series>, SourceError> {
        self.0.newest(m, start, end, NEVER).map_err(failed)
    }

    fn tiers(&self) -> Tiers {
        self.0.tiers()
    }

    fn buckets(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        bucket_ms: i64,
        columns: BucketColumns,
    ) -> Result<Vec<Rolled>, SourceError> {
        self.0.buckets(matchers, start_ms, end_ms, bucket_ms, columns).map_err(failed)
    }
}

fn best(source: &dyn Source, query: &str, len_ms: i64, step_ms: i64) -> Duration {
    best_since(source, query, START_MS, len_ms, step_ms)
}

fn best_since(
    source: &dyn Source,
    query: &str,
    start_ms: i64,
    len_ms: i64,
    step_ms: i64,
) -> Duration {
    let engine = Engine::default();
    let run = |_| {
        let start = Instant::now();
        let end_ms = start_ms + len_ms;
        engine.range(source, query, start_ms, end_ms, step_ms, &QueryOptions::default()).unwrap();
        start.elapsed()
    };
    (0..RUNS).map(run).min().unwrap()
}

fn print(query: &str, took: Duration) {
    println!("{:9.1} ms  {query}", took.as_secs_f64() * 1000.0);
}

fn years() {
    let dir = tempfile::tempdir().unwrap();
    let (memory, stored) = (Years::new(), Stored::new(dir.path()));
    let sources: [(&str, &dyn Source); 2] = [("memory", &memory), ("store", &stored)];
    for (name, source) in sources {
        println!("1 series of two years, buckets from {name}, {HOURS} steps");
        for query in [
            "disk_read_bytes_total",
            "rate(disk_read_bytes_total[1h])",
            "avg_over_time(disk_read_bytes_total[1h])",
            "max_over_time(disk_read_bytes_total[30d])",
            "increase(disk_read_bytes_total[50m])",
            "changes(disk_read_bytes_total[1d])",
        ] {
            print(query, best(source, query, HOURS * HOUR_MS, HOUR_MS));
        }
    }
    // Steps at the edges of buckets, and steps between them, which only samples can answer.
    for (name, shift_ms) in [("hours", 0), ("seven minutes past", 7 * 60_000)] {
        println!("1 series of 30 days, a sample a minute, 720 steps at {name}");
        let start_ms = START_MS + (HOURS - 721) * HOUR_MS + shift_ms;
        for query in ["disk_read_bytes_total", "max_over_time(disk_read_bytes_total[1h])"] {
            print(query, best_since(&stored, query, start_ms, 720 * HOUR_MS, HOUR_MS));
        }
    }
}

fn main() {
    let memory = memory();
    let (series, samples) = (memory.0.len(), memory.0.iter().map(Series::len).sum::<usize>());
    println!("{series} series, {samples} samples, {STEPS} steps");
    for query in [
        "disk_read_bytes_total",
        "sum by (instance) (disk_read_bytes_total)",
        "rate(disk_read_bytes_total[5m])",
        "sum by (instance) (rate(disk_read_bytes_total[5m]))",
        "avg_over_time(disk_read_bytes_total[1h])",
        "topk(5, rate(disk_read_bytes_total[5m]))",
        "disk_read_bytes_total / on(instance, device) disk_read_bytes_total",
        "disk_read_bytes_total / on(instance) group_left sum by (instance) (disk_read_bytes_total)",
        "max_over_time(rate(disk_read_bytes_total[5m])[30m:1m])",
        "quantile(0.9, disk_read_bytes_total)",
    ] {
        let len_ms = (SAMPLES - 1) * INTERVAL_MS;
        print(query, best(&memory, query, len_ms, SAMPLES * INTERVAL_MS / STEPS));
    }
    years();
}
