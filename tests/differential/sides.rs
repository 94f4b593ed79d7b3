//! Who is asked: a real Prometheus, labstat over HTTP, and its engine by itself.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use labstat_model::{Matcher, Series, Tiers, TimeSeries, WriteRequest};
use labstat_promql::{Engine, QueryOptions, Source, SourceError, Value};

use crate::answer::{Answer, Pairs};
use crate::http;

/// When to evaluate.
#[derive(Debug, Clone, Copy)]
pub(crate) enum When {
    Instant(i64),
    Range { start_ms: i64, end_ms: i64, step_ms: i64 },
}

pub(crate) trait Side: Sync {
    fn ask(&self, query: &str, when: When) -> Answer;
}

/// Anything that speaks the Prometheus API.
#[derive(Debug)]
pub(crate) struct Remote(http::Client);

impl Remote {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        Self(http::Client::new(addr))
    }

    pub(crate) fn write(&self, request: &WriteRequest) {
        self.write_body(&labstat_wire::remote_write::encode(request).expect("the data fits"));
    }

    /// Sends a write as it is.
    pub(crate) fn write_body(&self, body: &[u8]) {
        let headers = [
            ("Content-Type", "application/x-protobuf"),
            ("Content-Encoding", "snappy"),
            ("X-Prometheus-Remote-Write-Version", "0.1.0"),
        ];
        let response =
            self.0.send("POST", "/api/v1/write", &headers, body).expect("the write arrives");
        let text = String::from_utf8_lossy(&response.body);
        assert!(matches!(response.status, 200 | 204), "write refused: {} {text}", response.status);
    }
}

/// Those that a client goes by.
const HEADERS: [&str; 7] = [
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "allow",
    "content-type",
    "x-content-type-options",
];

impl Remote {
    /// The status, the headers that matter and the body of a request such as
    /// `GET /api/v1/labels`, sent as by a web page of the server's own. A `FORM` is a POST with the
    /// parameters in its body; what stands behind a `&&` is in the URL.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
    ) -> (u16, Vec<String>, serde_json::Value) {
        let host = self.0.host();
        let origin = format!("http://{host}");
        let response = match (method, path.split_once('?')) {
            ("FORM", Some((path, form))) => {
                let (form, url) = form.split_once("&&").unwrap_or((form, ""));
                let kind = "application/x-www-form-urlencoded";
                let headers = [("Content-Type", kind), ("Origin", &origin)];
                self.0.send("POST", &format!("{path}?{url}"), &headers, form.as_bytes())
            }
            _ => self.0.send(method, path, &[("Origin", &origin)], b""),
        };
        let response = response.expect("an answer");
        let text =
            || serde_json::Value::String(String::from_utf8_lossy(&response.body).into_owned());
        let json = serde_json::from_slice(&response.body).unwrap_or_else(|_| text());
        let header = |name: &&str| {
            // How names are written that the text format has not is a matter of Prometheus'.
            let value = response.header(name)?.replace("; escaping=underscores", "");
            let value = value.replace(&host, "HOST");
            Some(format!("{name}: {value}"))
        };
        (response.status, HEADERS.iter().filter_map(header).collect(), json)
    }
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

impl Side for Remote {
    fn ask(&self, query: &str, when: When) -> Answer {
        let mut form = vec![("query", query.to_owned())];
        let path = match when {
            When::Instant(time_ms) => {
                form.push(("time", seconds(time_ms)));
                "/api/v1/query"
            }
            When::Range { start_ms, end_ms, step_ms } => {
                form.push(("start", seconds(start_ms)));
                form.push(("end", seconds(end_ms)));
                form.push(("step", seconds(step_ms)));
                "/api/v1/query_range"
            }
        };
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        let response = self.0.send("POST", path, &headers, http::form(&form).as_bytes());
        let response = response.expect("an answer");
        Answer { status: Some(response.status), ..Answer::of_json(&response.body) }
    }
}

/// The engine over the data in memory.
pub(crate) struct InProcess {
    engine: Engine,
    series: Vec<Series>,
    tiers: Tiers,
}

impl InProcess {
    pub(crate) fn new(series: Vec<TimeSeries>) -> Self {
        let column = |series: TimeSeries| {
            let mut columns = Series::new(series.labels);
            series.samples.iter().for_each(|sample| columns.push(sample.time_ms, sample.value));
            columns
        };
        Self {
            engine: Engine::default(),
            series: series.into_iter().map(column).collect(),
            tiers: Tiers::SAMPLES_ONLY,
        }
    }

    /// The same data with buckets of these widths, and samples from `samples_from_ms` on.
    pub(crate) fn rolled_up(
        series: Vec<TimeSeries>,
        samples_from_ms: i64,
        widths_ms: &[i64],
    ) -> Self {
        let buckets = widths_ms.iter().map(|width_ms| (*width_ms, i64::MIN)).collect();
        Self { tiers: Tiers { samples_from_ms, buckets }, ..Self::new(series) }
    }
}

impl Source for InProcess {
    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, SourceError> {
        let found = |series: &&Series| matchers.iter().all(|m| m.matches_labels(&series.labels));
        let cut = |series: &Series| {
            let mut part = Series::new(series.labels.clone());
            series
                .samples()
                .filter(|sample| (start_ms..=end_ms).contains(&sample.time_ms))
                .for_each(|sample| part.push(sample.time_ms, sample.value));
            part
        };
        Ok(self.series.iter().filter(found).map(cut).collect())
    }

    fn tiers(&self) -> Tiers {
        self.tiers.clone()
    }
}

fn pairs(labels: &labstat_model::Labels) -> Pairs {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl Side for InProcess {
    fn ask(&self, query: &str, when: When) -> Answer {
        let options = QueryOptions::default();
        let result = match when {
            When::Instant(time_ms) => self.engine.instant(self, query, time_ms, &options),
            When::Range { start_ms, end_ms, step_ms } => {
                self.engine.range(self, query, start_ms, end_ms, step_ms, &options)
            }
        };
        let given = match result {
            Ok(given) => given,
            Err(error) => return Answer::failed(error.kind().as_str(), error.to_string()),
        };
        let mut answer = Answer::empty(String::new());
        let kind = match given.value {
            Value::Scalar(sample) => {
                answer.series.push((Pairs::new(), vec![sample]));
                "scalar"
            }
            Value::String { text, .. } => {
                answer.text = text;
                "string"
            }
            Value::Vector(vector) => {
                let element = |e: &labstat_promql::VectorSample| (pairs(&e.labels), vec![e.sample]);
                answer.series = vector.iter().map(element).collect();
                "vector"
            }
            Value::MixedVector(_) | Value::MixedMatrix(_) => {
                unreachable!("there are no histograms in this data")
            }
            Value::Matrix(matrix) => {
                let series = |s: &Series| (pairs(&s.labels), s.samples().collect());
                answer.series = matrix.iter().map(series).collect();
                "matrix"
            }
        };
        answer.kind = Ok(kind.to_owned());
        answer.warnings = given.warnings;
        answer.infos = given.infos;
        // A remark that Prometheus, which keeps all samples, has no reason to make.
        answer.infos.retain(|info| !info.contains("kept as buckets"));
        answer
    }
}

/// A running aggregator, with a store of its own and nothing that would add to it.
pub(crate) struct Labstat {
    runtime: tokio::runtime::Runtime,
    running: Option<labstat_aggregator::Running>,
    pub(crate) remote: Remote,
    engine: labstat_aggregator::EngineConfig,
    data: tempfile::TempDir,
}

impl Labstat {
    /// One that knows nothing yet.
    pub(crate) fn start() -> Self {
        Self::over(labstat_aggregator::EngineConfig::default())
    }

    /// One that keeps its samples as `engine` says.
    pub(crate) fn over(engine: labstat_aggregator::EngineConfig) -> Self {
        let data = tempfile::tempdir().expect("a folder for the store");
        let runtime = labstat_aggregator::runtime().expect("a runtime");
        let running = running(&runtime, data.path(), &engine);
        let remote = Remote::new(running.addr());
        Self { runtime, running: Some(running), remote, engine, data }
    }

    /// Stops it and starts another on what it has stored.
    pub(crate) fn restart(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = self.runtime.block_on(running.shutdown());
        }
        let running = running(&self.runtime, self.data.path(), &self.engine);
        self.remote = Remote::new(running.addr());
        self.running = Some(running);
    }
}

fn running(
    runtime: &tokio::runtime::Runtime,
    data_dir: &Path,
    engine: &labstat_aggregator::EngineConfig,
) -> labstat_aggregator::Running {
    let config = labstat_aggregator::Config {
        listen: "127.0.0.1:0".parse().expect("an address"),
        data_dir: data_dir.to_owned(),
        // The data is years old.
        retention_ms: None,
        rules: Vec::new(),
        shipped_rules: false,
        // What is asked for is what was written.
        own_metrics_interval_ms: None,
        // Not within this test: silent nodes would become series.
        presence_interval_ms: 3_600_000,
        engine: engine.clone(),
        ..labstat_aggregator::Config::default()
    };
    let clock = std::sync::Arc::new(labstat_model::SystemClock);
    let started = runtime.block_on(labstat_aggregator::Aggregator::start(config, clock));
    started.expect("the aggregator starts")
}

impl Drop for Labstat {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = self.runtime.block_on(running.shutdown());
        }
    }
}

/// The address in a log of Prometheus, once it is ready. The two are told by tasks of their own,
/// so either may come first.
fn listening(log: &mut impl BufRead) -> SocketAddr {
    let (mut addr, mut ready, mut lines) = (None, false, String::new());
    loop {
        if let (Some(addr), true) = (addr, ready) {
            return addr;
        }
        let mut line = String::new();
        let read = log.read_line(&mut line).expect("its log is text");
        assert!(read > 0, "Prometheus ended before it was ready:\n{lines}");
        if line.contains("Listening on") {
            let at = line.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
            addr = at.and_then(|at| at.trim_matches('"').parse().ok());
        }
        ready |= line.contains("Server is ready");
        lines.push_str(&line);
    }
}

/// The log of Prometheus tells where it listens before or after it tells that it is ready.
#[test]
fn the_address_is_found_wherever_it_stands_in_the_log() {
    let addr = "level=INFO msg=\"Listening on\" component=web address=127.0.0.1:39001\n";
    let ready = "level=INFO msg=\"Server is ready to receive web requests.\"\n";
    for log in [format!("{addr}{ready}"), format!("{ready}{addr}")] {
        assert_eq!(listening(&mut log.as_bytes()), "127.0.0.1:39001".parse().expect("an address"));
    }
}

/// Samples that come late are taken, as labstat takes them.
const CONFIG: &str =
    "global:\n  evaluation_interval: 1m\nstorage:\n  tsdb:\n    out_of_order_time_window: 12h\n";

/// A running Prometheus, stopped when dropped.
pub(crate) struct Prometheus {
    child: Child,
    pub(crate) remote: Remote,
    _data: tempfile::TempDir,
}

impl Prometheus {
    /// The program that `.ci/peers` fetches, when it is there.
    pub(crate) fn program(root: &Path) -> Option<PathBuf> {
        let program = root.join("target/peers/bin/prometheus");
        program.exists().then_some(program)
    }

    pub(crate) fn start(program: &Path) -> Self {
        Self::start_with(program, "")
    }

    /// With more in its configuration.
    pub(crate) fn start_with(program: &Path, more: &str) -> Self {
        let data = tempfile::tempdir().expect("a folder for Prometheus");
        let config = data.path().join("prometheus.yml");
        std::fs::write(&config, format!("{CONFIG}{more}")).expect("its configuration");
        let mut child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.path().join("tsdb").display()))
            .arg("--storage.tsdb.retention.time=100y")
            .arg("--web.listen-address=127.0.0.1:0")
            .arg("--web.enable-remote-write-receiver")
            .arg("--enable-feature=promql-experimental-functions,promql-duration-expr,promql-per-step-stats,native-histograms")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Prometheus starts");
        let mut log = BufReader::new(child.stderr.take().expect("its log"));
        let addr = listening(&mut log);
        // What it goes on to say must be read, or it blocks.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, remote: Remote::new(addr), _data: data }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
