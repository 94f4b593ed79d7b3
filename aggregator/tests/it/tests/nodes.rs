//! Who is expected, and what silence becomes.

use std::sync::Arc;

use labstat_model::ManualClock;
use serde_json::json;

use super::support::{Server, eventually, series};

const START_MS: i64 = 1_700_000_000_000;

fn heard(server: &Server, clock: &ManualClock, rounds: i64) {
    for _ in 0..rounds {
        let now_ms = labstat_model::Clock::now_ms(clock);
        let up = [("__name__", "up"), ("instance", "vertex"), ("job", "node")];
        server.write(&[series(&up, &[(now_ms, 1.0)])]);
        clock.advance_ms(10_000);
    }
}

fn up(server: &Server, at_ms: i64) -> serde_json::Value {
    server.query("up", &format!("{}", at_ms / 1000))[0]["value"][1].clone()
}

#[test]
fn a_silent_node_is_down_and_a_late_spool_is_taken() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let server = Server::at(&clock);
    heard(&server, &clock, 6);
    let silent_from = START_MS + 60_000;
    eventually("up becomes 0", || {
        // A jump would be one of the clock and no silence.
        clock.advance_ms(1_000);
        let value = up(&server, labstat_model::Clock::now_ms(&*clock) + 1_000);
        if value == json!("0") { Ok(()) } else { Err(value.to_string()) }
    });
    let down_ms = labstat_model::Clock::now_ms(&*clock);
    let nodes = server.get("/api/labstat/v1/nodes").json();
    assert_eq!(nodes["data"][0]["state"], "down");
    assert_eq!(nodes["data"][0]["intervalSeconds"], json!(10.0));
    assert_eq!(server.get("/nodes/vertex/metrics").status, 503, "as a scrape of it would fail");
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("labstat_nodes{state=\"down\"} 1"), "{metrics}");
    // Back again, with all the rounds that could not be delivered.
    let labels = [("__name__", "up"), ("instance", "vertex"), ("job", "node")];
    let rounds = (silent_from..=down_ms + 10_000).step_by(10_000);
    let spool: Vec<(i64, f64)> = rounds.map(|time_ms| (time_ms, 1.0)).collect();
    server.write(&[series(&labels, &spool)]);
    assert_eq!(up(&server, down_ms + 11_000), json!("1"));
    assert_eq!(server.get("/api/labstat/v1/nodes").json()["data"][0]["state"], "up");
}

#[test]
fn a_node_can_be_forgotten() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let server = Server::at(&clock);
    heard(&server, &clock, 6);
    let answer = server.request("DELETE", "/api/labstat/v1/nodes/vertex", &[], b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(server.get("/api/labstat/v1/nodes").json()["data"], json!([]));
    assert_eq!(server.query("up", &format!("{}", START_MS / 1000 + 61)), json!([]));
    let again = server.request("DELETE", "/api/labstat/v1/nodes/vertex", &[], b"");
    assert_eq!((again.status, again.json()["errorType"].clone()), (404, json!("not_found")));
}

/// A restart would bring it back, so that is said; when there is room again it is put down without being asked.
#[test]
fn what_cannot_be_put_down_of_a_forgotten_node_is_an_error_and_is_tried_again() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let server = Server::at(&clock);
    heard(&server, &clock, 2);
    let store = rusqlite::Connection::open(server.dir.path().join("data/labstat.db")).unwrap();
    store.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    let kept = || -> String {
        let query = "SELECT document FROM documents WHERE key = 'presence'";
        let kept: Vec<u8> = store.query_row(query, [], |row| row.get(0)).unwrap_or_default();
        String::from_utf8_lossy(&kept).into_owned()
    };
    eventually("the node is put down", || {
        if kept().contains("heard_ms") { Ok(()) } else { Err(kept()) }
    });
    let refuse =
        "CREATE TRIGGER full BEFORE INSERT ON documents BEGIN SELECT RAISE(ABORT, 'no'); END";
    store.execute_batch(refuse).unwrap();
    let answer = server.request("DELETE", "/api/labstat/v1/nodes/vertex", &[], b"");
    assert_eq!((answer.status, answer.json()["errorType"].clone()), (500, json!("internal")));
    assert!(answer.text().contains("not after a restart"), "{}", answer.text());
    assert_eq!(server.get("/api/labstat/v1/nodes").json()["data"], json!([]), "it counts now");
    assert!(kept().contains("heard_ms"));
    store.execute_batch("DROP TRIGGER full").unwrap();
    eventually("the next look puts it down", || {
        if kept().contains("heard_ms") { Err(kept()) } else { Ok(()) }
    });
}

/// A target that is taken out of a scraper's configuration is not down, as far back as one asks: the rule
/// for nodes that fell silent looks at the last word of a day.
#[test]
fn the_last_word_on_what_is_taken_out_is_no_sign_of_life() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let server = Server::at(&clock);
    let scraped = |instance: &str, at_ms: i64, value: f64| {
        let labels =
            [("__name__", "up"), ("cluster", "lab"), ("instance", instance), ("job", "node")];
        server.write(&[series(&labels, &[(at_ms, value)])]);
    };
    for instance in ["apex", "vertex"] {
        // Its clock is ahead of ours.
        scraped(instance, START_MS + 60_000, 1.0);
    }
    scraped("apex", START_MS + 61_000, labstat_model::stale_marker());
    let answer = server.request("DELETE", "/api/labstat/v1/nodes/vertex", &[], b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(server.get("/api/labstat/v1/nodes").json()["data"], json!([]));
    let at = format!("{}", START_MS / 1000 + 300);
    let last = server.query("max by (instance) (last_over_time(up[1d]))", &at);
    let last: Vec<_> = last.as_array().unwrap().iter().map(|one| &one["value"][1]).collect();
    assert_eq!(last, ["0", "0"]);
    assert_eq!(server.query("up", &at), json!([]));
}

/// A scraper that is reloaded with one more label on a target ends the old series and goes on with a new one
/// of the same job.
#[test]
fn a_target_that_gets_another_label_is_never_down() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let server = Server::at(&clock);
    let labels = [("__name__", "up"), ("instance", "vertex"), ("job", "node")];
    let racked = [&labels[..], &[("rack", "1")]].concat();
    heard(&server, &clock, 6);
    server.write(&[series(&racked, &[(START_MS + 60_000, 1.0)])]);
    server.write(&[series(&labels, &[(START_MS + 60_000, labstat_model::stale_marker())])]);
    server.write(&[series(&racked, &[(START_MS + 70_000, 1.0)])]);
    let at = format!("{}", START_MS / 1000 + 75);
    let up = server.query("up", &at);
    assert_eq!((&up[0]["metric"]["rack"], &up[0]["value"][1]), (&json!("1"), &json!("1")), "{up}");
    assert_eq!(up.as_array().unwrap().len(), 1, "{up}");
    let least = server.query("min_over_time(up{rack=\"1\"}[5m])", &at);
    assert_eq!(least[0]["value"][1], "1");
    let ended = server.query("last_over_time(up{rack=\"\"}[5m])", &at);
    assert_eq!(ended[0]["value"][1], "0", "no sign of life");
}
