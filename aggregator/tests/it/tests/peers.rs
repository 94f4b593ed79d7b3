//! Other people's programs against ours: promtool and a real Prometheus.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use labstat_model::{Clock, Kind, Metadata, SystemClock, WriteRequest};
use serde_json::Value;

use super::support::{Server, encode, eventually, peer, series, skip};

/// Some samples of two nodes up to now.
fn filled() -> Server {
    let server = Server::start();
    let now_ms = SystemClock.now_ms() / 1_000 * 1_000;
    let samples: Vec<(i64, f64)> = (0..30).map(|i| (now_ms - i * 10_000, 1.0)).rev().collect();
    let mut all = Vec::new();
    for instance in ["vertex", "apex"] {
        for (name, job) in [("up", "node"), ("node_load1", "node"), ("smartctl_device", "smartctl")]
        {
            let labels = [("__name__", name), ("instance", instance), ("job", job)];
            all.push(series(&labels, &samples));
        }
    }
    server.write_request(&WriteRequest {
        series: all,
        metadata: vec![Metadata {
            family: "node_load1".to_owned(),
            kind: Kind::Gauge,
            help: "1m load average.".to_owned(),
            unit: String::new(),
        }],
    });
    server
}

fn run(program: &Path, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn promtool_queries() {
    let Some(promtool) = peer("promtool") else {
        return skip("promtool_queries", "promtool is not here (.ci/peers fetches it)");
    };
    let server = filled();
    let url = server.url("");
    for check in ["healthy", "ready"] {
        run(&promtool, &["check", check, &format!("--url={url}")]);
    }
    let sum = run(&promtool, &["query", "-o", "json", "instant", &url, "1+1"]);
    assert!(sum.contains("\"2\""), "{sum}");
    let instant = run(&promtool, &["query", "instant", &url, "sum by (job) (up)"]);
    assert!(instant.contains("{job=\"node\"} => 2 @["), "{instant}");
    let start = format!("{}", SystemClock.now_ms() / 1000 - 120);
    let start = format!("--start={start}");
    let range = run(&promtool, &["query", "range", &start, "--step=10s", &url, "node_load1"]);
    assert_eq!(range.matches("node_load1{").count(), 2, "{range}");
    let found = run(&promtool, &["query", "series", "--match=up", &url]);
    assert!(found.contains("instance=\"apex\"") && found.contains("vertex"), "{found}");
    assert_eq!(run(&promtool, &["query", "labels", &url, "instance"]), "apex\nvertex\n");
}

#[test]
fn promtool_finds_nothing_wrong_with_any_page() {
    let Some(promtool) = peer("promtool") else {
        return skip("promtool_finds_nothing_wrong_with_any_page", "promtool is not here");
    };
    let server = filled();
    server.get("/api/v1/query?query=up");
    for path in ["/metrics", "/nodes/vertex/metrics"] {
        let text = server.get(path).text();
        let mut child = Command::new(&promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, text.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        // It wants a help text of everything, and `filled` sends one of one family only.
        let wrong: Vec<&str> = said.lines().filter(|line| !line.contains("no help text")).collect();
        assert!(wrong.is_empty(), "{path}: {wrong:?}\n{text}");
    }
}

/// A Prometheus that is ended with the test.
struct Prometheus {
    child: Child,
    url: String,
    dir: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    fn start(program: &Path, config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("prometheus.yml"), config).unwrap();
        // A port that is free now; nobody else on this machine is likely to take it meanwhile.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new(program)
            .arg(format!("--config.file={}", dir.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, url: format!("http://127.0.0.1:{port}"), dir }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn query(&self, query: &str) -> Result<Value, String> {
        let url = format!("{}/api/v1/query?query={}", self.url, encode(query));
        let mut answer = ureq::get(&url).call().map_err(|error| error.to_string())?;
        let text = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
        let json: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        Ok(json["data"]["result"].clone())
    }

    fn first(&self, query: &str) -> Result<String, String> {
        let result = self.query(query)?;
        let value = result[0]["value"][1].as_str().map(str::to_owned);
        value.ok_or_else(|| format!("{query}: {result}\n{}", self.log()))
    }
}

#[test]
fn prometheus_scrapes_us_and_writes_to_us() {
    let test = "prometheus_scrapes_us_and_writes_to_us";
    let Some(program) = peer("prometheus") else {
        return skip(test, "prometheus is not here (.ci/peers fetches it)");
    };
    let server = Arc::new(filled());
    let address = server.running().addr();
    let config = format!(
        r#"
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
remote_write:
- url: http://{address}/api/v1/write
  metadata_config: {{send_interval: 1s}}
  queue_config: {{batch_send_deadline: 500ms}}
scrape_configs:
- job_name: federate
  honor_labels: true
  metrics_path: /federate
  params: {{"match[]": ['{{job="node"}}']}}
  static_configs: [{{targets: ["{address}"]}}]
- job_name: nodes
  http_sd_configs: [{{url: "http://{address}/sd", refresh_interval: 1s}}]
- job_name: own
  static_configs: [{{targets: ["{address}"]}}]
"#
    );
    let prometheus = Prometheus::start(&program, &config);
    eventually("all scrapes work", || {
        for query in [
            r#"up{job="federate"}"#,
            r#"up{job="own"}"#,
            r#"up{job="nodes",instance="vertex"}"#,
            r#"up{job="nodes",instance="apex"}"#,
            r#"node_load1{job="node",instance="vertex"}"#,
            r#"node_load1{job="nodes",instance="vertex"}"#,
            r#"smartctl_device{job="nodes",instance="apex"}"#,
        ] {
            let value = prometheus.first(query)?;
            if value != "1" {
                return Err(format!("{query}: {value}\n{}", prometheus.log()));
            }
        }
        Ok(())
    });
    eventually("its remote write arrives", || {
        let now = format!("{}", SystemClock.now_ms() / 1000 + 1);
        let own = server.query(r#"up{job="own"}"#, &now);
        if own[0]["value"][1] != "1" {
            return Err(format!("{own}\n{}", prometheus.log()));
        }
        let metadata = server.get("/api/v1/metadata?metric=labstat_store_series").json();
        if metadata["data"]["labstat_store_series"][0]["type"] == "gauge" {
            Ok(())
        } else {
            Err(format!("{metadata}"))
        }
    });
}
