//! Another engine has the samples: rules, alerts, pages and commands run on it unchanged, and
//! nothing that was acknowledged is lost on the way to it, whoever is killed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use labstat_model::{
    Clock, Kind, Labels, Metadata, Sample, SystemClock, TimeSeries, WriteRequest, stale_marker,
};
use labstat_wire::remote_write;

use crate::engine_servers::Engine;
use crate::support::{Labstat, command, eventually, get, post, query, value};

const RULES: &str = "\
groups:
  - name: lab
    interval: 1s
    rules:
      - record: lab:load:sum
        expr: sum(engine_test_load)
      - alert: LoadIsHigh
        expr: engine_test_load > 5
        for: 1s
        labels: {severity: warning}
      - alert: NothingIsHeard
        expr: absent(engine_test_load)
";

/// Writes of the test go out with the headers of remote write.
fn send(base: &str, request: &WriteRequest) -> Result<u16, String> {
    let headers = [
        ("content-type", remote_write::CONTENT_TYPE),
        ("content-encoding", remote_write::CONTENT_ENCODING),
        (remote_write::VERSION_HEADER.0, remote_write::VERSION_HEADER.1),
    ];
    let body = remote_write::encode(request).expect("a small request can be encoded");
    post(&format!("{base}/api/v1/write"), &headers, &body).map(|(status, _)| status)
}

fn load(node: &str, time_ms: i64, value: f64) -> WriteRequest {
    let labels = [("__name__", "engine_test_load"), ("instance", node), ("job", "node")];
    let samples = vec![Sample { time_ms, value }];
    let family = Metadata {
        family: "engine_test_load".to_owned(),
        kind: Kind::Gauge,
        help: "A load.".to_owned(),
        unit: String::new(),
    };
    let series = vec![TimeSeries { labels: Labels::new(labels), samples }];
    WriteRequest { series, metadata: vec![family] }
}

/// A configuration that keeps the samples in `engine`.
fn configure(dir: &Path, engine: &Engine) -> String {
    let rules = dir.join("rules.yml");
    std::fs::write(&rules, RULES).unwrap();
    let text = format!(
        "listen = '127.0.0.1:0'\ndata = '{}'\n[rules]\npaths = ['{}']\nshipped = false\n\
         [engine]\nurl = '{}'\ntimeout = '10s'\n",
        dir.join("data").display(),
        rules.display(),
        engine.url(),
    );
    let file = dir.join("aggregator.toml");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Starts an aggregator; gives its URL too. What it says of the engine before names that one's.
fn start(config: &str) -> (Labstat, String) {
    let mut server = Labstat::start(&["aggregator", "--config", config]);
    let line = server.line("answering at ");
    let url = line.split("answering at ").nth(1).and_then(|rest| rest.split(',').next());
    (server, url.expect("a URL").to_owned())
}

/// The standard output of a command that succeeds.
fn output(args: &[&str]) -> String {
    let output = command(args).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn rules_pages_and_commands_run_on_other_engines() {
    for mut engine in Engine::all() {
        engine.start();
        let dir = tempfile::tempdir().unwrap();
        let config = configure(dir.path(), &engine);
        let (server, base) = start(&config);
        let agent = Labstat::start(&[
            "agent",
            "--aggregator",
            &base,
            "--node",
            "apex",
            "--interval",
            "1s",
            "--only",
            "meminfo",
            "--state",
            dir.path().join("state").to_str().unwrap(),
        ]);
        reads(&base, &engine);
        alerts(&base, &engine);
        commands(&base);
        drop(agent);
        assert_eq!(server.stop(), Some(0), "{}", engine.name);
    }
}

/// As [`eventually`], but an engine that shows new series late is made to show them.
fn soon<T>(engine: &Engine, mut probe: impl FnMut() -> Result<T, String>) -> T {
    eventually(&engine.name, || {
        engine.flush();
        probe()
    })
}

/// What an agent and a sender wrote is answered, and an ended series has ended.
fn reads(base: &str, engine: &Engine) {
    let name = &engine.name;
    let now_ms = SystemClock.now_ms();
    for node in ["apex", "vertex"] {
        assert_eq!(send(base, &load(node, now_ms - 2_000, 1.0)), Ok(204), "{name}");
    }
    soon(engine, || match value(base, "sum(engine_test_load)")? {
        2.0 => Ok(()),
        other => Err(format!("a sum of {other}")),
    });
    assert_eq!(send(base, &load("vertex", now_ms - 1_000, stale_marker())), Ok(204), "{name}");
    soon(engine, || match query(base, "engine_test_load")?.len() {
        1 => Ok(()),
        other => Err(format!("{other} series, and one has ended")),
    });
    soon(engine, || value(base, "node_memory_MemTotal_bytes{instance='apex'}"));
    let page = get(&format!("{base}/nodes/apex/metrics")).unwrap();
    assert!(page.contains("# HELP engine_test_load A load.\n"), "{name}: {page}");
    assert!(page.contains("\nengine_test_load 1\n"), "{name}: {page}");
    let federated = get(&format!("{base}/federate?match[]=engine_test_load")).unwrap();
    assert!(federated.contains("engine_test_load{instance=\"apex\",job=\"node\"} 1 "), "{name}");
    let list = |path: &str| get(&format!("{base}/api/v1/{path}")).unwrap();
    let values = list("label/instance/values?match[]=engine_test_load");
    assert!(values.contains(r#"["apex","vertex"]"#), "{name}: {values}");
    assert!(list("labels").contains("\"instance\""), "{name}");
    let series = list("series?match[]=engine_test_load%7Binstance=%22apex%22%7D");
    assert!(series.contains(r#""instance":"apex""#) && !series.contains("vertex"), "{series}");
    assert!(list("metadata?metric=engine_test_load").contains("gauge"), "{name}");
    assert!(list("status/tsdb").contains("\"numSeries\":"), "{name}");
    let own = get(&format!("{base}/metrics")).unwrap();
    assert!(own.contains("\nlabstat_engine_up 1\n"), "{name}: {own}");
}

/// A rule records, an alert fires and ends, and the engine itself has their series.
fn alerts(base: &str, engine: &Engine) {
    let name = &engine.name;
    soon(engine, || value(base, "lab:load:sum"));
    assert_eq!(send(base, &load("apex", SystemClock.now_ms(), 9.0)), Ok(204), "{name}");
    let firing = "ALERTS{alertname='LoadIsHigh',alertstate='firing'}";
    soon(engine, || value(base, firing));
    soon(engine, || value(&engine.url(), firing));
    let told = get(&format!("{base}/api/v1/alerts")).unwrap();
    assert!(told.contains("LoadIsHigh") && !told.contains("NothingIsHeard"), "{name}: {told}");
    assert_eq!(send(base, &load("apex", SystemClock.now_ms(), 1.0)), Ok(204), "{name}");
    soon(engine, || match query(base, firing)?.len() {
        0 => Ok(()),
        other => Err(format!("{other} alerts")),
    });
}

fn commands(base: &str) {
    let table = output(&["query", "engine_test_load", "--server", base]);
    assert!(table.contains("apex"), "{table}");
    let status = output(&["status", "--server", base]);
    assert!(status.contains("1 up"), "{status}");
}

#[test]
fn while_the_engine_is_away_queries_say_so_and_alerts_stay_as_they_are() {
    for mut engine in Engine::all().into_iter().take(1) {
        engine.start();
        let dir = tempfile::tempdir().unwrap();
        let config = configure(dir.path(), &engine);
        let (_server, base) = start(&config);
        send(&base, &load("apex", SystemClock.now_ms(), 9.0)).unwrap();
        let alerts = || get(&format!("{base}/api/v1/alerts"));
        let fires = || match alerts()? {
            text if text.contains(r#""state":"firing""#) => Ok(()),
            text => Err(text),
        };
        eventually("it fires", fires);
        engine.stop();
        let rules = || get(&format!("{base}/api/v1/rules"));
        eventually("the rules say why", || match rules()? {
            text if text.contains("cannot be reached") => Ok(()),
            text => Err(text),
        });
        fires().expect("an engine that is away ends no alert");
        let told = alerts().unwrap();
        assert!(!told.contains("NothingIsHeard"), "nor does it begin one: {told}");
        let ask = format!("{base}/api/v1/query");
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let (status, text) = post(&ask, &form, b"query=up").unwrap();
        assert_eq!(status, 503, "{text}");
        assert!(text.contains("\"errorType\":\"unavailable\""), "{text}");
        assert!(text.contains(&engine.url()), "{text}");
        let time_ms = SystemClock.now_ms();
        assert_eq!(send(&base, &load("apex", time_ms, 7.0)), Ok(204), "writes go on");
        engine.start();
        eventually("what came meanwhile is there", || match value(&base, "engine_test_load")? {
            7.0 => Ok(()),
            other => Err(other.to_string()),
        });
    }
}

/// Series of one request; each gets one sample of the same time.
const SERIES: usize = 5;

fn body(writer: &str, time_ms: i64) -> WriteRequest {
    let series = (0..SERIES).map(|at| TimeSeries {
        labels: Labels::new([
            ("__name__", "engine_crash"),
            ("series", &at.to_string()),
            ("writer", writer),
        ]),
        samples: vec![Sample { time_ms, value: (time_ms % 1_000_000) as f64 }],
    });
    WriteRequest { series: series.collect(), metadata: Vec::new() }
}

/// Sends one sample after the other until the server is gone; gives the acknowledged times.
fn write_until_killed(base: &str, writer: &str, from_ms: i64, enough: &AtomicBool) -> Vec<i64> {
    let mut acknowledged = Vec::new();
    for time_ms in from_ms.. {
        match send(base, &body(writer, time_ms)) {
            Ok(204) => acknowledged.push(time_ms),
            Ok(status) => panic!("{status} at {time_ms}"),
            Err(_) => break,
        }
        enough.store(acknowledged.len() > 100, Ordering::SeqCst);
    }
    acknowledged
}

/// Kills the aggregator while it is written to; gives what it had acknowledged.
fn kill_under_load(config: &str, writer: &str, from_ms: i64) -> Vec<i64> {
    let (server, base) = start(config);
    let enough = Arc::new(AtomicBool::new(false));
    let sender = {
        let (enough, writer) = (Arc::clone(&enough), writer.to_owned());
        std::thread::spawn(move || write_until_killed(&base, &writer, from_ms, &enough))
    };
    eventually("some writes are acknowledged", || {
        if enough.load(Ordering::SeqCst) { Ok(()) } else { Err("not yet".to_owned()) }
    });
    std::thread::sleep(Duration::from_millis(150));
    server.kill();
    sender.join().unwrap()
}

#[test]
fn kill_9_with_the_engine_away_or_there_loses_nothing_that_was_acknowledged() {
    for mut engine in Engine::all() {
        let dir = tempfile::tempdir().unwrap();
        let config = configure(dir.path(), &engine);
        let start_ms = SystemClock.now_ms() - 1_200_000;
        // The engine is not there yet.
        let mut wanted = kill_under_load(&config, "a", start_ms);
        wanted.extend(kill_under_load(&config, "a", wanted.last().unwrap() + 2));
        engine.start();
        // Now it is, and what waited goes out while more comes in.
        wanted.extend(kill_under_load(&config, "a", wanted.last().unwrap() + 2));
        let (server, base) = start(&config);
        for series in 0..SERIES {
            let promql = format!("engine_crash{{series=\"{series}\"}}[1h]");
            eventually(&engine.name, || {
                let found = stored(&base, &promql, start_ms)?;
                let missing: Vec<_> = wanted.iter().filter(|at| !found.contains(at)).collect();
                match missing.first() {
                    None => Ok(()),
                    Some(first) => Err(format!(
                        "{} of {} are missing, the first at {first}",
                        missing.len(),
                        wanted.len()
                    )),
                }
            });
        }
        assert_eq!(server.stop(), Some(0));
    }
}

/// The times of the samples of one series; fails on one that is there twice or has another value.
fn stored(base: &str, promql: &str, start_ms: i64) -> Result<BTreeSet<i64>, String> {
    let encoded: String = promql.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let at = (start_ms + 1_800_000) / 1000;
    let text = get(&format!("{base}/api/v1/query?time={at}&query={encoded}"))?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let mut found = BTreeSet::new();
    for pair in json["data"]["result"][0]["values"].as_array().ok_or(text)? {
        // A time is seconds with three decimals; its digits are the milliseconds.
        let time_ms = format!("{:.3}", pair[0].as_f64().unwrap()).replace('.', "");
        let time_ms: i64 = time_ms.parse().unwrap();
        assert!(found.insert(time_ms), "twice at {time_ms}");
        let value: f64 = pair[1].as_str().unwrap().parse().unwrap();
        assert!((value - (time_ms % 1_000_000) as f64).abs() < 1e-6, "{value} at {time_ms}");
    }
    Ok(found)
}
