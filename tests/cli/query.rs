//! The views of the lab and `labstat query` against a server with canned answers: what goes over
//! the wire, and what is printed of what comes back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::sync::{Arc, Mutex};

use crate::support::command;

/// A server that answers every request with the same status and body, and notes what it was asked.
pub(crate) struct Canned {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Canned {
    pub(crate) fn start(status: &'static str, body: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let notes = Arc::clone(&notes);
                std::thread::spawn(
                    move || while answer(&stream, status, body, &notes).is_some() {},
                );
            }
        });
        Self { url, asked }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let output = command(arguments).env("LABSTAT_SERVER", &self.url).env("TZ", "UTC").output();
        output.expect("the binary runs")
    }

    pub(crate) fn asked(&self) -> String {
        self.asked.lock().expect("not poisoned").join("\n")
    }
}

/// Reads one request and answers it; none when the client has closed.
fn answer(stream: &TcpStream, status: &str, body: &str, notes: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut head = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        head.push_str(&line);
        if line == "\r\n" {
            break;
        }
    }
    let mut form = vec![0; length];
    reader.read_exact(&mut form).ok()?;
    notes.lock().ok()?.push(format!("{head}{}", String::from_utf8_lossy(&form)));
    let mut writer = stream;
    write!(writer, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).ok()
}

fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

const VECTOR: &str = r#"{"status":"success","data":{"resultType":"vector","result":[
    {"metric":{"__name__":"up","instance":"apex"},"value":[1763703836.25,"1"]},
    {"metric":{"__name__":"up","instance":"zenith"},"value":[1763703836.25,"NaN"]}]},
    "warnings":["half of it"]}"#;

const MATRIX: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[
    {"metric":{"instance":"apex"},"values":[[1763703780,"1.5"],[1763703840,"2.5"]]}]}}"#;

#[test]
fn a_query_as_table_csv_and_json() {
    let server = Canned::start("200 OK", VECTOR);
    let table = server.run(&["query", "up", "--at", "1763703836.25"]);
    assert_eq!(
        stdout(&table),
        "METRIC  INSTANCE  VALUE\nup      apex          1\nup      zenith      NaN\n"
    );
    assert_eq!(String::from_utf8_lossy(&table.stderr), "labstat: half of it\n");
    let asked = server.asked();
    assert!(asked.starts_with("POST /api/v1/query HTTP/1.1"), "{asked}");
    assert!(asked.ends_with("query=up&time=1763703836.250"), "{asked}");
    let csv = server.run(&["query", "up", "--format", "csv"]);
    assert_eq!(stdout(&csv), "__name__,instance,value\nup,apex,1\nup,zenith,NaN\n");
    let json: serde_json::Value =
        serde_json::from_str(&stdout(&server.run(&["query", "up", "--format", "json"]))).unwrap();
    assert_eq!(json["result"][1]["value"][1], "NaN");
}

#[test]
fn a_range_as_csv_and_as_a_graph() {
    let server = Canned::start("200 OK", MATRIX);
    let range = ["query", "up", "--at", "1763703840", "--range", "2m", "--step", "1m"];
    let csv = server.run(&[&range[..], &["--format", "csv"]].concat());
    assert_eq!(
        stdout(&csv),
        "time_unix_seconds,instance,value\n1763703780,apex,1.5\n1763703840,apex,2.5\n"
    );
    let asked = server.asked();
    assert!(asked.contains("start=1763703720.000&end=1763703840.000&step=60.000"), "{asked}");
    let graph = stdout(&server.run(&[&range[..], &["--format", "graph"]].concat()));
    assert!(graph.contains("05:42:00") && graph.contains("05:44:00"), "{graph}");
    assert!(graph.ends_with("- {instance=\"apex\"}  last 2.5  min 1.5  max 2.5\n"), "{graph}");
}

#[test]
fn the_token_goes_along() {
    let server = Canned::start("200 OK", VECTOR);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "s3cret\n").unwrap();
    stdout(&server.run(&["query", "up", "--token-file", file.to_str().unwrap()]));
    assert!(server.asked().contains("authorization: Bearer s3cret\r\n"), "{}", server.asked());
}

/// What the server says, and what a person reads of it.
#[test]
fn refusals_are_told_in_one_or_two_lines() {
    let cases: [(&'static str, &'static str, &[&str]); 5] = [
        (
            "400 Bad Request",
            r#"{"status":"error","errorType":"bad_data","error":"1:5: unclosed"}"#,
            &["refused the question: bad_data: 1:5: unclosed"],
        ),
        ("401 Unauthorized", "", &["401 Unauthorized", "--token-file"]),
        ("502 Bad Gateway", "<html>nginx</html>", &["502 Bad Gateway", "<html>nginx</html>"]),
        ("200 OK", "hello", &["does not speak the Prometheus API"]),
        (
            "200 OK",
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,2]}]}}"#,
            &["an answer we cannot read"],
        ),
    ];
    for (status, body, words) in cases {
        let output = Canned::start(status, body).run(&["query", "up"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(output.stdout.is_empty(), "{output:?}");
        assert!(text.lines().count() <= 2, "{text}");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in {text}");
        }
    }
}

#[test]
fn views_of_an_empty_lab_say_what_to_do() {
    let empty = r#"{"status":"success","data":{"resultType":"vector","result":[],"alerts":[]}}"#;
    let server = Canned::start("200 OK", empty);
    for (name, words) in [
        ("nodes", "No node has been heard of"),
        ("disks", "labstat doctor"),
        ("raid", "No node has a software array"),
        ("temps", "No node tells a temperature"),
        ("net", "No interfaces are known yet"),
        ("ups", "No UPS is known"),
        ("ceph", "No node has a daemon of Ceph"),
        ("alerts", "No alerts"),
    ] {
        let text = stdout(&server.run(&[name]));
        assert!(text.contains(words), "{name}: {text}");
        assert_eq!(stdout(&server.run(&[name, "--format", "json"])).trim(), "[]", "{name}");
    }
    let check = server.run(&["status", "--check"]);
    assert_eq!(check.status.code(), Some(3), "a server that knows no node can say nothing");
}

/// It has no page about one alert, and lists all that it knows.
#[test]
fn an_alert_of_an_alertmanager_is_shown() {
    let list = r#"[{"labels":{"alertname":"Hot","instance":"nas"},"annotations":{"summary":"too warm"},
        "fingerprint":"3f2a81c09d5e7b46","startsAt":"2026-01-01T00:00:00Z","receivers":[{"name":"pager"}],
        "status":{"state":"active","silencedBy":[],"inhibitedBy":[],"mutedBy":[]}}]"#;
    let server = Canned::start("200 OK", list);
    for name in ["Hot", "3f2a81c09d5e7b46"] {
        let output = server.run(&["alerts", "show", name]);
        let text = stdout(&output);
        assert!(output.status.success(), "{output:?}");
        for word in ["firing", "too warm", "pager", "3f2a81c09d5e7b46", "nas"] {
            assert!(text.contains(word), "{word} is not in {text}");
        }
    }
    let output = server.run(&["alerts", "show", "Cold"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("has no alert \"Cold\" now"), "{error}");
}

#[test]
fn a_graph_of_one_moment_is_wrong_usage_in_words() {
    let server = Canned::start("200 OK", VECTOR);
    let output = server.run(&["query", "up", "--format", "graph"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("a graph needs a range") && text.contains("--range"), "{text}");
}

#[test]
fn a_node_that_nobody_knows_is_not_a_node_without_trouble() {
    let empty = r#"{"status":"success","data":{"resultType":"vector","result":[],"alerts":[]}}"#;
    let server = Canned::start("200 OK", empty);
    for name in ["status", "nodes", "disks", "raid", "temps", "net", "ups", "alerts"] {
        let output = server.run(&[name, "--node", "ap\"ex"]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {output:?}");
        assert!(text.contains("no node \"ap\\\"ex\"") && text.contains("labstat nodes"), "{text}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    assert!(server.asked().contains("instance%3D%22ap%5C%22ex%22"), "{}", server.asked());
    let check = server.run(&["status", "--check", "--node", "typo"]);
    assert_eq!(check.status.code(), Some(3), "{check:?}");
    let text = String::from_utf8_lossy(&check.stdout);
    assert!(text.starts_with("LABSTAT UNKNOWN - no node \"typo\""), "{text}");
    // This server knows the node, and has nothing to tell of it.
    let known =
        r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"],"alerts":[]}}"#;
    let known = Canned::start("200 OK", known);
    assert!(stdout(&known.run(&["alerts", "--node", "apex"])).contains("No alerts"));
}

#[test]
fn a_token_that_is_not_wanted_is_told_from_none() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "old\n").unwrap();
    let server = Canned::start("401 Unauthorized", "");
    let output = server.run(&["query", "up", "--token-file", file.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("is not the one it wants"), "{text}");
}
