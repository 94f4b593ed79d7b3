//! Remote write: what is taken, what is refused, and what a sender is told.

use std::sync::Arc;

use labstat_model::{Kind, Labels, ManualClock, Metadata, WriteRequest, stale_marker};
use labstat_wire::remote_write;
use serde_json::json;

use super::support::{Server, series};

#[test]
fn bodies_that_are_none_are_refused_with_a_reason() {
    let server = Server::start();
    for body in [&b"garbage"[..], b"\x05\x10hello", b"\xff\x06\x00\x00sNaPpY", b"\x02\x04\x0a\xff"]
    {
        let answer = server.write_body(body);
        assert_eq!(answer.status, 400, "{body:?}");
        assert!(answer.text().len() > 5, "{body:?} must be told why");
    }
    assert_eq!(server.write_body(b"\x00").status, 204, "an empty request is a request");
}

#[test]
fn what_is_too_large_is_413_or_400_and_costs_no_memory() {
    let server = Server::start();
    let before = resident();
    // A header that claims 4 GiB, and one that claims 1 GiB.
    for body in [&b"\xff\xff\xff\xff\x0f\x00\x00"[..], b"\x80\x80\x80\x80\x04\x00"] {
        let answer = server.write_body(body);
        assert!(matches!(answer.status, 400 | 413), "{}", answer.text());
    }
    let oversized = vec![0_u8; 17 * 1024 * 1024];
    // The answer may come before the body was taken, so the client may see a broken pipe.
    let url = server.url("/api/v1/write");
    let config = ureq::Agent::config_builder().http_status_as_error(false).build();
    let sent = ureq::Agent::new_with_config(config).post(&url).send(&oversized[..]);
    assert!(sent.is_err() || sent.is_ok_and(|answer| answer.status().as_u16() == 413));
    // 31 MiB of zeros in a small body: unpacked once, and no protobuf.
    let bomb = remote_write_bomb(31 * 1024 * 1024);
    assert!(bomb.len() < 2 * 1024 * 1024);
    for _ in 0..4 {
        assert_eq!(server.write_body(&bomb).status, 400);
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 200 * 1024 * 1024, "grew by {grown} bytes");
}

fn remote_write_bomb(len: usize) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&vec![0_u8; len]).unwrap()
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn other_protocols_are_415_and_say_what_is_taken() {
    let server = Server::start();
    let v2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    let answer = server.post("/api/v1/write", &[("content-type", v2)], b"\x00");
    assert_eq!(answer.status, 415);
    assert!(answer.text().contains("1.0"), "{}", answer.text());
    let gzip = [("content-type", "application/x-protobuf"), ("content-encoding", "gzip")];
    assert_eq!(server.post("/api/v1/write", &gzip, b"\x00").status, 415);
}

#[test]
fn conflicts_are_400_and_the_rest_is_kept() {
    let server = Server::start();
    let up = [("__name__", "up"), ("instance", "a")];
    server.write(&[series(&up, &[(1_000, 1.0)])]);
    server.write(&[series(&up, &[(1_000, 1.0)])]);
    let request = WriteRequest {
        series: vec![
            series(&up, &[(1_000, 2.0)]),
            series(&[("__name__", "load")], &[(1_000, 3.0)]),
        ],
        metadata: Vec::new(),
    };
    let answer = server.write_body(&remote_write::encode(&request).unwrap());
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("duplicate sample for timestamp"), "{}", answer.text());
    assert_eq!(server.query("load", "1")[0]["value"], json!([1, "3"]));
    assert_eq!(server.query("up", "1")[0]["value"], json!([1, "1"]));
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("labstat_ingest_samples_total 2"), "{metrics}");
    assert!(metrics.contains("labstat_ingest_duplicate_samples_total 1"), "{metrics}");
}

#[test]
fn what_is_older_than_the_retention_is_400() {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let server = Server::with(|config| config.retention_ms = Some(3_600_000), clock);
    let request = WriteRequest {
        series: vec![series(&[("__name__", "up")], &[(1_600_000_000_000, 1.0)])],
        metadata: Vec::new(),
    };
    let answer = server.write_body(&remote_write::encode(&request).unwrap());
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("too old"), "{}", answer.text());
}

#[test]
fn samples_of_any_age_and_in_any_order_are_taken() {
    let server = Server::start();
    let labels = [("__name__", "x")];
    server.write(&[series(&labels, &[(1_000_000, 2.0)])]);
    server.write(&[series(&labels, &[(0, 1.0)])]);
    server.write(&[series(&labels, &[(500_000, stale_marker()), (700_000, -0.0)])]);
    assert_eq!(server.query("x", "0")[0]["value"], json!([0, "1"]));
    assert_eq!(server.query("x", "600"), json!([]), "ended, and not yet back");
    assert_eq!(server.query("x", "700")[0]["value"], json!([700, "-0"]));
}

#[test]
fn two_writers_at_once_lose_nothing() {
    let server = Server::start();
    std::thread::scope(|scope| {
        for writer in ["a", "b"] {
            let server = &server;
            scope.spawn(move || {
                for round in 0..50 {
                    let samples = [(round * 1_000, 1.0)];
                    let labels = [("__name__", "round"), ("instance", writer)];
                    server.write(&[series(&labels, &samples)]);
                }
            });
        }
    });
    for (at, series) in
        server.query("count_over_time(round[1h])", "49").as_array().unwrap().iter().enumerate()
    {
        assert_eq!(series["value"][1], json!("50"), "writer {at}");
    }
    assert_eq!(server.query("count(round)", "49")[0]["value"][1], json!("2"));
}

/// A bound on the database's size is met as a full disk is: by SQLite, in the middle of a write.
#[test]
fn a_full_disk_is_507_and_what_was_acknowledged_stays() {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let server = Server::with(|config| config.size_max_bytes = Some(400 * 1024), clock);
    let mut acknowledged = 0_u32;
    let refused = loop {
        let labels = |at: u32| format!("{acknowledged}-{at}-{}", "x".repeat(200));
        let series: Vec<_> = (0..100)
            .map(|at| series(&[("__name__", "big"), ("n", &labels(at))], &[(1_000, 1.0)]))
            .collect();
        let request = WriteRequest { series, metadata: Vec::new() };
        let answer = server.write_body(&remote_write::encode(&request).unwrap());
        if answer.status != 204 {
            break answer;
        }
        acknowledged += 100;
        assert!(acknowledged < 100_000, "the bound must be met");
    };
    assert_eq!(refused.status, 507, "{}", refused.text());
    assert_ne!(refused.header("retry-after"), "", "a sender must come back");
    assert!(acknowledged > 0);
    let count = server.query("count(big)", "1")[0]["value"][1].clone();
    assert_eq!(count, json!(acknowledged.to_string()), "reads still work");
    let metrics = server.get("/metrics").text();
    assert!(
        metrics.contains("labstat_ingest_failed_writes_total{reason=\"full\"} 1\n"),
        "{metrics}"
    );
}

#[test]
fn metadata_is_kept_and_told() {
    let server = Server::start();
    server.write_request(&WriteRequest {
        series: vec![series(&[("__name__", "node_load1")], &[(1_000, 1.0)])],
        metadata: vec![Metadata {
            family: "node_load1".to_owned(),
            kind: Kind::Gauge,
            help: "1m load average.".to_owned(),
            unit: String::new(),
        }],
    });
    let all = server.get("/api/v1/metadata").json();
    let expected = json!([{"type": "gauge", "help": "1m load average.", "unit": ""}]);
    assert_eq!(all["data"], json!({"node_load1": expected}));
    assert_eq!(server.get("/api/v1/metadata?metric=other").json()["data"], json!({}));
}

#[test]
fn one_series_with_bad_labels_does_not_cost_its_neighbours() {
    let server = Server::start();
    let nameless = labstat_model::TimeSeries {
        labels: Labels::new([("a", "b")]),
        ..series(&[], &[(1_000, 1.0)])
    };
    let mut request = WriteRequest { series: vec![nameless], metadata: Vec::new() };
    request.series.push(series(&[("__name__", "good")], &[(1_000, 1.0)]));
    let answer = server.write_body(&remote_write::encode(&request).unwrap());
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("metric name"), "{}", answer.text());
    assert_eq!(server.query("good", "1")[0]["value"][1], json!("1"));
}

#[test]
fn senders_that_stall_do_not_keep_others_out() {
    use std::io::Write;

    let server = Server::start();
    let address = server.running().addr();
    let stalled: Vec<std::net::TcpStream> = (0..8)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            let head =
                "POST /api/v1/write HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    // Each has been seen when one that was sent after them is answered.
    let started = std::time::Instant::now();
    server.write(&[series(&[("__name__", "x")], &[(1_000, 1.0)])]);
    let body = remote_write_bomb(30 * 1024 * 1024);
    assert_eq!(server.write_body(&body).status, 400, "there was room to look at it");
    assert!(started.elapsed() < std::time::Duration::from_secs(9), "nobody waited for the stalled");
    drop(stalled);
}
