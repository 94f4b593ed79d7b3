//! Nodes as Prometheus' targets, and what is known of their metrics.

use std::sync::Arc;

use labstat_model::{Clock, Kind, ManualClock, Metadata, WriteRequest};
use serde_json::{Value, json};

use super::support::{Server, eventually, series};

const START_MS: i64 = 1_800_000_000_000;

/// Two nodes, one of which has two jobs, a few seconds old.
fn filled(clock: &Arc<ManualClock>) -> Server {
    let server = Server::at(clock);
    let family = |family: &str, kind, help: &str| Metadata {
        family: family.to_owned(),
        kind,
        help: help.to_owned(),
        unit: String::new(),
    };
    let one = |name: &str, instance: &str, job: &str| {
        let labels = [("__name__", name), ("instance", instance), ("job", job)];
        series(&labels, &[(START_MS - 5_000, 1.0)])
    };
    server.write_request(&WriteRequest {
        series: vec![
            one("node_load1", "vertex", "node"),
            one("smartctl_device_temperature", "vertex", "smartctl"),
            one("node_load1", "apex", "node"),
            one("node_requests_total", "apex", "node"),
        ],
        metadata: vec![
            family("node_load1", Kind::Gauge, "1m load average."),
            family("node_requests", Kind::Counter, "Requests."),
            family("smartctl_device_temperature", Kind::Gauge, "Temperature."),
        ],
    });
    server
}

fn data(server: &Server, path: &str) -> Value {
    let answer = server.get(path).json();
    assert_eq!(answer["status"], "success", "{path}: {answer}");
    answer["data"].clone()
}

fn names(targets: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let active = targets["activeTargets"].as_array().unwrap();
    active.iter().map(|t| (text(&t["scrapePool"]), text(&t["labels"]["instance"]))).collect()
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn nodes_are_targets_by_job() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let server = filled(&clock);
    let all = data(&server, "/api/v1/targets");
    let expected = pairs(&[("node", "apex"), ("node", "vertex"), ("smartctl", "vertex")]);
    assert_eq!(names(&all), expected);
    let first = &all["activeTargets"][0];
    assert_eq!(first["labels"], json!({"instance": "apex", "job": "node"}));
    assert_eq!((&first["health"], &first["lastError"]), (&json!("up"), &json!("")));
    assert_eq!(first["lastScrape"], json!("2027-01-15T07:59:55Z"));
    let url = first["scrapeUrl"].as_str().unwrap();
    assert_eq!(url, server.url("/nodes/apex/metrics"));
    assert_eq!(first["discoveredLabels"]["__metrics_path__"], json!("/nodes/apex/metrics"));
    assert!(first.get("lastScrapeDuration").is_none(), "nobody scraped it");
    assert_eq!(server.get("/nodes/apex/metrics").status, 200, "it leads somewhere");
    assert_eq!(all["droppedTargets"], json!([]));
    assert_eq!(all["droppedTargetCounts"], json!({"node": 0, "smartctl": 0}));
    assert_eq!(data(&server, "/api/v1/scrape_pools")["scrapePools"], json!(["node", "smartctl"]));
}

#[test]
fn targets_are_asked_for_by_state_and_pool() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let server = filled(&clock);
    let of = |query: &str| data(&server, &format!("/api/v1/targets?{query}"));
    assert_eq!(names(&of("state=active&scrapePool=smartctl")), pairs(&[("smartctl", "vertex")]));
    assert_eq!(of("state=active")["droppedTargetCounts"], Value::Null);
    assert_eq!(names(&of("state=Dropped")), []);
    assert_eq!(of("state=Dropped")["droppedTargetCounts"]["node"], json!(0));
    assert_eq!(names(&of("scrapePool=none")), []);
    assert_eq!(names(&of("state=any")).len(), 3);
}

#[test]
fn a_silent_node_is_a_target_that_is_down_and_says_since_when() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let server = filled(&clock);
    let down = eventually("the nodes are down", || {
        clock.set_ms(clock.now_ms() + 10_000);
        let all = data(&server, "/api/v1/targets");
        let first = all["activeTargets"][0].clone();
        if first["health"] == "down" { Ok(first) } else { Err(first.to_string()) }
    });
    assert_eq!(down["lastError"], json!("no samples since 2027-01-15T08:00:00Z"));
}

#[test]
fn a_node_that_was_not_heard_since_the_start_is_unknown() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let dir = filled(&clock).stop();
    clock.set_ms(START_MS + 1_000);
    let again = Server::within(dir, |_| {}, Arc::<ManualClock>::clone(&clock));
    let all = data(&again, "/api/v1/targets");
    assert_eq!(all["activeTargets"][0]["health"], json!("unknown"));
}

#[test]
fn metadata_of_targets_is_that_of_the_families_they_have() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let server = filled(&clock);
    let of = |query: &str| data(&server, &format!("/api/v1/targets/metadata?{query}"));
    let apex = json!({"instance": "apex", "job": "node"});
    let counter = json!({
        "target": apex, "metric": "node_requests", "type": "counter", "help": "Requests.",
        "unit": "",
    });
    let load = json!({
        "target": apex, "metric": "node_load1", "type": "gauge", "help": "1m load average.",
        "unit": "",
    });
    assert_eq!(of("match_target={instance=%22apex%22}"), json!([load, counter]));
    assert_eq!(of("limit=1"), json!([load, counter]), "it counts targets");
    assert_eq!(of("limit=0"), json!([]));
    let both = of("metric=node_load1");
    assert_eq!(both.as_array().unwrap().len(), 2);
    assert!(both[0].get("metric").is_none(), "it is the one that was asked for");
    assert_eq!(of("").as_array().unwrap().len(), 4);
}

#[test]
fn metadata_is_cut_by_family_and_within() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let server = filled(&clock);
    let of = |query: &str| data(&server, &format!("/api/v1/metadata?{query}"));
    let load = json!([{"type": "gauge", "help": "1m load average.", "unit": ""}]);
    assert_eq!(of("metric=node_load1&limit_per_metric=1"), json!({"node_load1": load}));
    assert_eq!(of("limit=1"), json!({"node_load1": load}));
    assert_eq!(of("limit=-1").as_object().unwrap().len(), 3);
    assert_eq!((of("limit=0"), of("metric=none")), (json!({}), json!({})));
}
