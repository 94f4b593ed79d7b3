//! Starting, stopping, and what stands in the way.

use std::net::TcpListener;
use std::sync::Arc;

use labstat_aggregator::StartError;
use labstat_model::{Clock, SystemClock};
use serde_json::json;

use super::support::{Server, config, series, try_start};

#[test]
fn a_restart_keeps_what_was_written() {
    let server = Server::start();
    let labels = [("__name__", "up"), ("instance", "vertex"), ("job", "node")];
    let now_s = SystemClock.now_ms() / 1_000;
    server.write(&[series(&labels, &[(now_s * 1_000, 1.0)])]);
    let dir = server.stop();
    let server = Server::within(dir, |_| {}, Arc::new(SystemClock));
    assert_eq!(server.query("up", &now_s.to_string())[0]["value"], json!([now_s, "1"]));
    let nodes = server.get("/api/labstat/v1/nodes").json();
    assert_eq!(nodes["data"][0]["name"], "vertex", "who is expected is kept too");
}

#[test]
fn compaction_answers_when_it_is_done_and_changes_no_answer() {
    let server = Server::start();
    let samples: Vec<(i64, f64)> =
        (0..500_i32).map(|i| (i64::from(i) * 10_000, f64::from(i))).collect();
    server.write(&[series(&[("__name__", "x")], &samples)]);
    let before = server.query("x[2h]", "5000");
    let answer = server.post("/api/labstat/v1/compact", &[], b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["status"], "success");
    assert_eq!(server.query("x[2h]", "5000"), before);
}

#[test]
fn a_port_in_use_is_named_with_the_cure() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.listen = taken.local_addr().unwrap();
    let error = try_start(config).unwrap_err();
    assert!(matches!(error, StartError::AddressInUse { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&taken.local_addr().unwrap().to_string()), "{text}");
    assert!(text.contains("--listen"), "{text}");
    assert!(!dir.path().join("data").exists(), "nothing was touched");
}

#[test]
fn a_data_folder_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let mut beneath_a_file = config(dir.path());
    beneath_a_file.data_dir = dir.path().join("file/data");
    let error = try_start(beneath_a_file).unwrap_err();
    let StartError::Store(cause) = &error else { panic!("{error}") };
    assert!(cause.to_string().contains("file/data"), "{cause}");
    // A file system that takes no writes, whoever asks.
    let mut read_only = config(dir.path());
    read_only.data_dir = "/proc/labstat".into();
    assert!(matches!(try_start(read_only).unwrap_err(), StartError::Store(_)));
}

#[test]
fn two_aggregators_do_not_share_a_folder() {
    let server = Server::start();
    let error = try_start(config(server.dir.path())).unwrap_err();
    let StartError::Store(cause) = &error else { panic!("{error}") };
    assert!(cause.to_string().contains("in use"), "{cause}");
}

#[test]
fn a_damaged_database_is_set_aside_and_told() {
    let server = Server::start();
    server.write(&[series(&[("__name__", "x")], &[(1_000, 1.0)])]);
    let dir = server.stop();
    for entry in std::fs::read_dir(dir.path().join("data")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.metadata().unwrap().len() > 0 {
            std::fs::write(&path, vec![0x5a; 8192]).unwrap();
        }
    }
    let server = Server::within(dir, |_| {}, Arc::new(SystemClock));
    assert!(!server.running().notices().is_empty());
    let info = server.get("/api/v1/status/runtimeinfo").json();
    assert_eq!(info["data"]["corruptionCount"], json!(server.running().notices().len()));
    server.write(&[series(&[("__name__", "x")], &[(2_000, 2.0)])]);
    assert_eq!(server.query("x", "2")[0]["value"][1], json!("2"));
}

#[test]
fn a_receiver_that_cannot_be_set_up_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    let text = "[[receivers]]\nname = \"phone\"\n\
                ntfy = { url = \"http://127.0.0.1:9\", topic = \"lab\", token_file = \"/absent\" }\n";
    config.receivers = labstat_aggregator::Config::parse(text).unwrap().receivers;
    let error = try_start(config).unwrap_err();
    assert!(matches!(error, StartError::Alerting(_)), "{error}");
}
