//! An aggregator in a fresh folder, and the few ways in which tests talk to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use labstat_aggregator::{Aggregator, Config, Running, StartError};
use labstat_model::{Clock, Labels, ManualClock, Sample, SystemClock, TimeSeries, WriteRequest};
use labstat_wire::remote_write;
use serde_json::Value;

/// How long a test waits for something that should happen within a second or two.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A running aggregator; it is shut down when the test ends.
pub(crate) struct Server {
    runtime: tokio::runtime::Runtime,
    running: Option<Running>,
    pub(crate) dir: Arc<tempfile::TempDir>,
    agent: ureq::Agent,
}

/// What a request got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A configuration for tests: a free port, a fresh folder, no rules.
pub(crate) fn config(dir: &Path) -> Config {
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: dir.join("data"),
        retention_ms: None,
        rules: Vec::new(),
        shipped_rules: false,
        // What is asked for is what was written.
        own_metrics_interval_ms: None,
        ..Config::default()
    }
}

/// Tries to start one; for those that must not start.
pub(crate) fn try_start(config: Config) -> Result<(), StartError> {
    let runtime = labstat_aggregator::runtime().unwrap();
    let started = runtime.block_on(Aggregator::start(config, Arc::new(SystemClock)));
    started.map(|running| runtime.block_on(running.shutdown()).unwrap())
}

impl Server {
    /// One with the machine's clock.
    pub(crate) fn start() -> Self {
        Self::with(|_| {}, Arc::new(SystemClock))
    }

    /// One with a clock of the test's.
    pub(crate) fn at(clock: &Arc<ManualClock>) -> Self {
        Self::with(|config| config.presence_interval_ms = 20, Arc::<ManualClock>::clone(clock))
    }

    /// One with a changed configuration.
    pub(crate) fn with(change: impl FnOnce(&mut Config), clock: Arc<dyn Clock>) -> Self {
        Self::within(Arc::new(tempfile::tempdir().unwrap()), change, clock)
    }

    /// One in a given folder.
    pub(crate) fn within(
        dir: Arc<tempfile::TempDir>,
        change: impl FnOnce(&mut Config),
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut config = config(dir.path());
        change(&mut config);
        let runtime = labstat_aggregator::runtime().unwrap();
        let running = runtime.block_on(Aggregator::start(config, clock)).unwrap();
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(DEADLINE))
            .build();
        Self { runtime, running: Some(running), dir, agent: ureq::Agent::new_with_config(agent) }
    }

    /// Stops it as a service manager would; gives its folder.
    pub(crate) fn stop(mut self) -> Arc<tempfile::TempDir> {
        let running = self.running.take().unwrap();
        self.runtime.block_on(running.shutdown()).unwrap();
        Arc::clone(&self.dir)
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running().url())
    }

    pub(crate) fn reload(&self) -> labstat_aggregator::RulesStatus {
        self.runtime.block_on(self.running().reload())
    }

    /// Any request.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut request = ureq::http::Request::builder().method(method).uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = if body.is_empty() && method != "POST" {
            self.agent.run(request.body(()).unwrap())
        } else {
            self.agent.run(request.body(body.to_vec()).unwrap())
        };
        let mut answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        Answer {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: answer.body_mut().read_to_vec().unwrap(),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.request("POST", path, headers, body)
    }

    pub(crate) fn post_form(&self, path: &str, form: &str) -> Answer {
        let kind = ("content-type", "application/x-www-form-urlencoded");
        self.post(path, &[kind], form.as_bytes())
    }

    /// A remote write of a body.
    pub(crate) fn write_body(&self, body: &[u8]) -> Answer {
        let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "snappy")];
        self.post("/api/v1/write", &headers, body)
    }

    /// A remote write of series, which must be taken.
    pub(crate) fn write(&self, series: &[TimeSeries]) {
        let request = WriteRequest { series: series.to_vec(), metadata: Vec::new() };
        self.write_request(&request);
    }

    pub(crate) fn write_request(&self, request: &WriteRequest) {
        let answer = self.write_body(&remote_write::encode(request).unwrap());
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    /// The result of an instant query.
    pub(crate) fn query(&self, query: &str, time: &str) -> Value {
        let form = format!("query={}&time={time}", encode(query));
        let answer = self.post_form("/api/v1/query", &form);
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        answer.json()["data"]["result"].clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = self.runtime.block_on(running.shutdown());
        }
    }
}

/// One series from labels and `(time in ms, value)` pairs.
pub(crate) fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    TimeSeries {
        labels: Labels::new(labels.iter().copied()),
        samples: samples.iter().map(|&(time_ms, value)| Sample { time_ms, value }).collect(),
    }
}

/// Percent-encodes all that is not plain.
pub(crate) fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// Asks `probe` until it gives something; fails with its last refusal at the deadline.
pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match probe() {
            Ok(found) => return found,
            Err(why) if Instant::now() > deadline => panic!("{what}: {why}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// A program fetched by `.ci/peers`, or one of the machine.
pub(crate) fn peer(name: &str) -> Option<PathBuf> {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/bin").join(name);
    let installed = ["/usr/bin", "/usr/local/bin"].map(|dir| Path::new(dir).join(name));
    std::iter::once(fetched).chain(installed).find(|path| path.exists())
}

/// Says that a test could not be run and why.
pub(crate) fn skip(test: &str, why: &str) {
    println!("SKIPPED {test}: {why}");
}
