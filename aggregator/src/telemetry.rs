//! labstat's own figures, for `/metrics`: what it took in, answered, kept and evaluated.
//!
//! Only the aggregator itself is counted here. What nodes send never enters these registers: it
//! would outlive a pulled disk.

mod groups;
mod notifications;
mod process;

use labstat_store::Stats;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use std::sync::OnceLock;

use groups::Groups;
pub(crate) use notifications::Notifications;
use process::Process;

use crate::storage::Delivery;

/// Upper bounds of durations, in seconds: from a label lookup to the query timeout.
const DURATION_BUCKETS: [f64; 10] = [0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 120.0];

/// All of labstat's own metrics.
#[derive(Debug)]
pub(crate) struct Telemetry {
    registry: Registry,
    /// Requests, by handler (the route's pattern) and status code.
    pub(crate) requests: IntCounterVec,
    /// Seconds a request took, by handler.
    pub(crate) request_seconds: HistogramVec,
    pub(crate) queries: Queries,
    pub(crate) ingest: Ingest,
    pub(crate) rules: Rules,
    pub(crate) notifications: Notifications,
    /// Nodes expected, by state.
    pub(crate) nodes: IntGaugeVec,
    /// Disks known, by verdict.
    pub(crate) disks: IntGaugeVec,
    /// Rounds of maintenance that failed.
    pub(crate) maintenance_failures: IntCounter,
    pub(crate) heartbeat: Heartbeat,
    /// When `labstat backup` last made one; without a series before.
    pub(crate) backup_seconds: GaugeVec,
    filesystem_avail: IntGauge,
    filesystem_size: IntGauge,
    store: StoreFigures,
    /// There when another engine has the samples.
    engine: OnceLock<EngineFigures>,
    process: Process,
}

/// How the dead man's switch fares.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    pub(crate) pings: IntCounterVec,
    last_success: GaugeVec,
    pub(crate) interval: GaugeVec,
}

/// How queries fare.
#[derive(Debug, Clone)]
pub(crate) struct Queries {
    /// Queries and other reads that run.
    pub(crate) running: IntGauge,
    pub(crate) unsent_bytes: IntGauge,
    /// Those that wait for others to end.
    pub(crate) waiting: IntGauge,
    /// Seconds a query took, waiting included, by kind.
    pub(crate) seconds: HistogramVec,
    /// Queries that ended, by kind and by how: `success`, or the type of the error.
    pub(crate) total: IntCounterVec,
}

/// What came in by remote write.
#[derive(Debug)]
pub(crate) struct Ingest {
    /// Samples stored.
    pub(crate) samples: IntCounter,
    /// Samples that were stored already.
    pub(crate) duplicates: IntCounter,
    /// Samples refused, by reason.
    pub(crate) refused: IntCounterVec,
    /// Parts of writes that are not kept, by kind.
    pub(crate) ignored: IntCounterVec,
    /// Writes of which nothing was kept, by reason.
    pub(crate) failures: IntCounterVec,
}

/// How the rules fare.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Rules in force.
    pub(crate) count: IntGauge,
    /// Whether the rule files were taken when they were last read.
    pub(crate) loaded: IntGauge,
    /// When the rule files were last taken.
    pub(crate) loaded_seconds: Gauge,
    /// How the rounds of each group fare.
    pub(crate) groups: Groups,
    /// Rules whose last evaluation failed.
    pub(crate) failing: IntGauge,
    /// Alerts, by state.
    pub(crate) alerts: IntGaugeVec,
}

#[derive(Debug)]
struct StoreFigures {
    series: IntGauge,
    head_samples: IntGauge,
    head_bytes: IntGauge,
    cache_bytes: IntGauge,
    cache_hits: IntCounter,
    cache_misses: IntCounter,
    blobs: IntGauge,
    sealed_samples: IntGauge,
    sealed_bytes: IntGauge,
    file_bytes: IntGauge,
    damaged_blobs: IntGauge,
    oldest: Gauge,
    newest: Gauge,
    appends: IntCounter,
    commits: IntCounter,
}

#[derive(Debug)]
struct EngineFigures {
    up: IntGauge,
    queue_writes: IntGauge,
    queue_samples: IntGauge,
    queue_bytes: IntGauge,
    queue_oldest: Gauge,
    queue_damaged: IntCounter,
    delivered: IntCounter,
    refused: IntCounter,
    failures: IntCounter,
}

impl Telemetry {
    /// Registers everything. Fails only where two metrics have one name, which a test rules out.
    pub(crate) fn new(start_ms: i64) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let make = Make(&registry);
        let version = make.gauges("build_info", "The version that runs.", &["version"])?;
        version.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            requests: make.counters(
                "http_requests_total",
                "Requests answered.",
                &["handler", "code"],
            )?,
            request_seconds: make.durations(
                "http_request_duration_seconds",
                "Time a request took.",
                &["handler"],
            )?,
            queries: Queries::new(&make)?,
            ingest: Ingest::new(&make)?,
            rules: Rules::new(&make)?,
            notifications: Notifications::new(&make)?,
            nodes: make.gauges("nodes", "Nodes expected, by state.", &["state"])?,
            disks: make.gauges("disks", "Disks known, by verdict.", &["verdict"])?,
            maintenance_failures: make.counter(
                "store_maintenance_failures_total",
                "Rounds of sealing, compaction and retention that failed.",
            )?,
            heartbeat: Heartbeat::new(&make)?,
            backup_seconds: make.register(GaugeVec::new(
                opts(
                    "backup_last_success_timestamp_seconds",
                    "When labstat backup last saved this history.",
                ),
                &[],
            )?)?,
            filesystem_avail: make.gauge(
                "store_filesystem_avail_bytes",
                "Bytes that are left on the filesystem of the data folder.",
            )?,
            filesystem_size: make.gauge(
                "store_filesystem_size_bytes",
                "Size of the filesystem of the data folder.",
            )?,
            store: StoreFigures::new(&make)?,
            engine: OnceLock::new(),
            process: Process::new(&registry, start_ms)?,
            registry,
        })
    }

    /// All metrics as text exposition.
    pub(crate) fn text(
        &self,
        stats: &Stats,
        delivery: Option<&Delivery>,
    ) -> prometheus::Result<Vec<u8>> {
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.families(stats, delivery)?, &mut out)?;
        Ok(out)
    }

    /// All metrics.
    pub(crate) fn families(
        &self,
        stats: &Stats,
        delivery: Option<&Delivery>,
    ) -> prometheus::Result<Vec<MetricFamily>> {
        self.store.set(stats);
        if let Some(delivery) = delivery {
            self.engine()?.set(delivery);
        }
        self.process.read();
        Ok(self.registry.gather())
    }

    /// The room on the filesystem of the data folder: what is left (`avail`), or all.
    pub(crate) fn filesystem(&self, of: &str) -> &IntGauge {
        if of == "avail" { &self.filesystem_avail } else { &self.filesystem_size }
    }
}

impl Heartbeat {
    fn new(make: &Make<'_>) -> prometheus::Result<Self> {
        // Without labels, and so without a series until the switch is used.
        let gauge = |name, help| make.register(GaugeVec::new(opts(name, help), &[])?);
        Ok(Self {
            pings: make.counters(
                "heartbeat_pings_total",
                "Pings of the dead man's switch: well, fail (it was told of trouble), or lost.",
                &["outcome"],
            )?,
            last_success: gauge(
                "heartbeat_last_success_timestamp_seconds",
                "When the dead man's switch last took a ping; the start before the first.",
            )?,
            interval: gauge("heartbeat_interval_seconds", "Time between two pings.")?,
        })
    }

    pub(crate) fn succeeded(&self, now_ms: i64) {
        self.last_success.with_label_values::<&str>(&[]).set(seconds(now_ms));
    }
}

impl Telemetry {
    /// The figures of another engine, from when they are first asked for.
    fn engine(&self) -> prometheus::Result<&EngineFigures> {
        if let Some(figures) = self.engine.get() {
            return Ok(figures);
        }
        let figures = EngineFigures::new(&Make(&self.registry))?;
        Ok(self.engine.get_or_init(|| figures))
    }
}

impl Queries {
    fn new(make: &Make<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            running: make.gauge("queries_running", "Queries and other reads that run.")?,
            unsent_bytes: make.gauge(
                "answers_unsent_bytes",
                "Memory of long answers that their clients have not yet taken.",
            )?,
            waiting: make
                .gauge("queries_waiting", "Queries and other reads that wait for others to end.")?,
            seconds: make.durations(
                "query_duration_seconds",
                "Time a query took, waiting included.",
                &["kind"],
            )?,
            total: make.counters(
                "queries_total",
                "Queries that ended: with success, or with the type of the error.",
                &["kind", "outcome"],
            )?,
        })
    }
}

impl Ingest {
    fn new(make: &Make<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            samples: make.counter("ingest_samples_total", "Samples stored.")?,
            duplicates: make.counter(
                "ingest_duplicate_samples_total",
                "Samples that were stored already, with the same value.",
            )?,
            refused: make.counters(
                "ingest_refused_samples_total",
                "Samples refused.",
                &["reason"],
            )?,
            ignored: make.counters(
                "ingest_ignored_total",
                "Parts of writes that are not kept: exemplars.",
                &["kind"],
            )?,
            failures: make.counters(
                "ingest_failed_writes_total",
                "Writes of which nothing was kept.",
                &["reason"],
            )?,
        })
    }
}

impl Rules {
    fn new(make: &Make<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            count: make.gauge("rules", "Rules in force.")?,
            loaded: make.gauge(
                "rules_last_reload_successful",
                "Whether the rule files were taken when they were last read.",
            )?,
            loaded_seconds: make.float(
                "rules_last_reload_success_timestamp_seconds",
                "When the rule files were last taken.",
            )?,
            groups: Groups::new(make)?,
            failing: make.gauge("rules_failing", "Rules whose last evaluation failed.")?,
            alerts: make.gauges("alerts", "Alerts, by state.", &["state"])?,
        })
    }
}

impl StoreFigures {
    fn new(make: &Make<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            series: make.gauge("store_series", "Series known.")?,
            head_samples: make.gauge("store_head_samples", "Samples in memory.")?,
            head_bytes: make.gauge("store_head_bytes", "Memory of the samples in memory.")?,
            cache_bytes: make.gauge("store_cache_bytes", "Memory of unpacked blobs.")?,
            cache_hits: make
                .counter("store_cache_hits_total", "Pieces of blobs that reads found unpacked.")?,
            cache_misses: make
                .counter("store_cache_misses_total", "Pieces of blobs that reads had to unpack.")?,
            blobs: make.gauge("store_blobs", "Compressed blobs.")?,
            sealed_samples: make.gauge("store_sealed_samples", "Samples in blobs.")?,
            sealed_bytes: make.gauge("store_sealed_bytes", "Bytes of samples in blobs.")?,
            file_bytes: make.gauge("store_file_bytes", "Bytes of the database files.")?,
            damaged_blobs: make.gauge(
                "store_damaged_blobs",
                "Blobs that could not be read and are left out of answers.",
            )?,
            oldest: make.float("store_oldest_timestamp_seconds", "Time of the oldest sample.")?,
            newest: make.float("store_newest_timestamp_seconds", "Time of the newest sample.")?,
            appends: make.counter("store_appends_total", "Writes acknowledged.")?,
            commits: make.counter(
                "store_commits_total",
                "Commits, each of a group of writes and with one wait for the disk.",
            )?,
        })
    }

    fn set(&self, stats: &Stats) {
        self.series.set(whole(stats.series));
        self.head_samples.set(whole(stats.head_samples));
        self.head_bytes.set(whole(stats.head_bytes));
        self.cache_bytes.set(whole(stats.cache_bytes));
        self.cache_hits.inc_by(stats.cache_hits.saturating_sub(self.cache_hits.get()));
        self.cache_misses.inc_by(stats.cache_misses.saturating_sub(self.cache_misses.get()));
        self.blobs.set(whole(stats.blobs));
        self.sealed_samples.set(whole(stats.sealed_samples));
        self.sealed_bytes.set(whole(stats.sealed_bytes));
        self.file_bytes.set(whole(stats.file_bytes));
        self.damaged_blobs.set(whole(stats.damaged_blobs));
        // An empty store has no oldest sample; its gauge stays at a NaN, which is no time.
        self.oldest.set(stats.oldest_ms.map_or(f64::NAN, seconds));
        self.newest.set(stats.newest_ms.map_or(f64::NAN, seconds));
        self.appends.inc_by(stats.appends.saturating_sub(self.appends.get()));
        self.commits.inc_by(stats.commits.saturating_sub(self.commits.get()));
    }
}

impl EngineFigures {
    fn new(make: &Make<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            up: make.gauge("engine_up", "Whether the engine took the last write sent to it.")?,
            queue_writes: make.gauge("engine_queue_writes", "Writes that wait for the engine.")?,
            queue_samples: make
                .gauge("engine_queue_samples", "Samples of the writes that wait.")?,
            queue_bytes: make.gauge("engine_queue_bytes", "Bytes of the writes that wait.")?,
            queue_oldest: make.float(
                "engine_queue_oldest_timestamp_seconds",
                "When the oldest write that waits was queued.",
            )?,
            queue_damaged: make.counter(
                "engine_queue_damaged_writes_total",
                "Queued writes that were found damaged and are lost.",
            )?,
            delivered: make
                .counter("engine_delivered_samples_total", "Samples the engine took.")?,
            refused: make
                .counter("engine_refused_samples_total", "Samples the engine refused for good.")?,
            failures: make.counter(
                "engine_failed_requests_total",
                "Requests with writes that failed and are made again.",
            )?,
        })
    }

    fn set(&self, delivery: &Delivery) {
        let Delivery { queue, delivered, refused, failures, away } = delivery;
        self.up.set(i64::from(!away));
        self.queue_writes.set(whole(queue.items));
        self.queue_samples.set(whole(queue.samples));
        self.queue_bytes.set(whole(queue.size_bytes));
        self.queue_oldest.set(queue.oldest_ms.map_or(f64::NAN, seconds));
        for (counter, total) in [
            (&self.queue_damaged, queue.damaged),
            (&self.delivered, *delivered),
            (&self.refused, *refused),
            (&self.failures, *failures),
        ] {
            counter.inc_by(total.saturating_sub(counter.get()));
        }
    }
}

/// Milliseconds as seconds.
pub(crate) fn seconds(time_ms: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "exact for 285,000 years around 1970")]
    let ms = time_ms as f64;
    ms / 1000.0
}

/// A count as the whole number a gauge holds.
pub(crate) fn whole(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// Makes metrics of labstat's namespace and registers them.
struct Make<'a>(&'a Registry);

impl Make<'_> {
    fn register<C: Collector + Clone + 'static>(&self, metric: C) -> prometheus::Result<C> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.register(IntCounter::with_opts(opts(name, help))?)
    }

    fn counters(&self, name: &str, help: &str, by: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.register(IntCounterVec::new(opts(name, help), by)?)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.register(IntGauge::with_opts(opts(name, help))?)
    }

    fn float(&self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        self.register(Gauge::with_opts(opts(name, help))?)
    }

    fn gauges(&self, name: &str, help: &str, by: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.register(IntGaugeVec::new(opts(name, help), by)?)
    }

    fn durations(&self, name: &str, help: &str, by: &[&str]) -> prometheus::Result<HistogramVec> {
        let opts = HistogramOpts::new(name, help).namespace("labstat");
        let opts = opts.buckets(DURATION_BUCKETS.to_vec());
        self.register(HistogramVec::new(opts, by)?)
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("labstat")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_registers_and_is_written() {
        let telemetry = Telemetry::new(1_000).unwrap();
        telemetry.requests.with_label_values(&["/metrics", "200"]).inc();
        let stats = Stats { series: 7, appends: 3, oldest_ms: Some(1_500), ..Stats::default() };
        telemetry.text(&stats, None).unwrap();
        let text = String::from_utf8(telemetry.text(&stats, None).unwrap()).unwrap();
        for line in [
            "labstat_http_requests_total{code=\"200\",handler=\"/metrics\"} 1",
            "labstat_store_series 7",
            "labstat_store_appends_total 3",
            "labstat_store_oldest_timestamp_seconds 1.5",
            "process_start_time_seconds 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("labstat_engine_"), "there is no other engine");
        let delivery = Delivery { delivered: 5, away: true, ..Delivery::default() };
        let text = telemetry.text(&stats, Some(&delivery)).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("\nlabstat_engine_delivered_samples_total 5\n"), "{text}");
        assert!(text.contains("\nlabstat_engine_up 0\n"), "{text}");
        let resident = text.lines().find(|line| line.starts_with("process_resident_memory_bytes "));
        let bytes: f64 = resident.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        assert!(bytes > 100_000.0, "a process takes memory: {bytes}");
    }
}
