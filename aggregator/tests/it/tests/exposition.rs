//! Pages for scrapers.

use std::sync::Arc;

use labstat_model::{Kind, ManualClock, Metadata, WriteRequest, stale_marker};
use serde_json::json;

use super::support::{Server, series};

const NOW_MS: i64 = 1_700_000_000_000;

fn filled() -> Server {
    let server = Server::with(|_| {}, Arc::new(ManualClock::new(NOW_MS)));
    let of = |name, instance, job, time_ms, value| {
        let labels = [("__name__", name), ("instance", instance), ("job", job)];
        series(&labels, &[(time_ms, value)])
    };
    server.write_request(&WriteRequest {
        series: vec![
            of("node_load1", "vertex", "node", NOW_MS - 5_000, 0.5),
            of("node_load1", "apex", "node", NOW_MS - 5_000, 0.25),
            of("node_old", "vertex", "node", NOW_MS - 300_000, 1.0),
            of("node_ended", "vertex", "node", NOW_MS - 5_000, stale_marker()),
            of("smartctl_device", "vertex", "smartctl", NOW_MS - 5_000, 1.0),
            of("up", "vertex", "node", NOW_MS - 5_000, 1.0),
            of("lab_power", "", "lab", NOW_MS - 5_000, 1.0),
            of("lab_total", "", "", NOW_MS - 5_000, 2.0),
        ],
        metadata: vec![Metadata {
            family: "node_load1".to_owned(),
            kind: Kind::Gauge,
            help: "1m load average.".to_owned(),
            unit: String::new(),
        }],
    });
    server
}

#[test]
fn federation_gives_the_latest_samples_with_their_times() {
    let server = filled();
    let page = server.get("/federate?match[]={job=%22node%22}&match[]=node_load1");
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/plain; version=0.0.4"));
    let time = NOW_MS - 5_000;
    let expected = format!(
        "# TYPE node_load1 untyped\n\
         node_load1{{instance=\"apex\",job=\"node\"}} 0.25 {time}\n\
         node_load1{{instance=\"vertex\",job=\"node\"}} 0.5 {time}\n\
         # TYPE up untyped\n\
         up{{instance=\"vertex\",job=\"node\"}} 1 {time}\n"
    );
    assert_eq!(page.text(), expected, "not what is older than the look-back, not what has ended");
    let page = server.get("/federate?match[]={__name__=~%22lab_.*%22}").text();
    let expected = format!(
        "# TYPE lab_power untyped\nlab_power{{job=\"lab\",instance=\"\"}} 1 {time}\n\
         # TYPE lab_total untyped\nlab_total{{instance=\"\"}} 2 {time}\n"
    );
    assert_eq!(page, expected, "a scraper must not put its own instance there");
    assert_eq!(server.get("/federate?match[]={}").text(), "");
    assert_eq!(server.get("/federate?match[]=sum(").status, 400);
    assert_eq!(server.get("/federate").text(), "");
}

#[test]
fn a_nodes_page_is_as_if_scraped_there() {
    let server = filled();
    let page = server.get("/nodes/vertex/metrics").text();
    let expected = "# HELP node_load1 1m load average.\n# TYPE node_load1 gauge\nnode_load1 0.5\n\
                    # TYPE smartctl_device untyped\nsmartctl_device 1\n";
    assert_eq!(page, expected);
    assert_eq!(server.get("/nodes/nobody/metrics").status, 404);
}

#[test]
fn service_discovery_lists_the_nodes_under_the_address_that_was_asked() {
    let server = filled();
    let answer = server.get("/sd");
    assert!(answer.header("content-type").starts_with("application/json"));
    let address = server.running().addr().to_string();
    let target = |name: &str| {
        let path = format!("/nodes/{name}/metrics");
        json!({"targets": [address], "labels": {"__metrics_path__": path, "instance": name}})
    };
    assert_eq!(answer.json(), json!([target("apex"), target("vertex")]));
}

#[test]
fn own_figures_are_told() {
    let server = filled();
    server.get("/api/v1/query?query=up");
    server.get("/a/path/that/nobody/knows");
    let text = server.get("/metrics").text();
    for part in [
        "labstat_ingest_samples_total 8\n",
        "labstat_store_series 8\n",
        "labstat_http_requests_total{code=\"200\",handler=\"/api/v1/query\"} 1\n",
        "labstat_query_duration_seconds_count{kind=\"instant\"} 1\n",
        "process_resident_memory_bytes ",
        "labstat_rules 0\n",
        "labstat_nodes",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("nobody/knows"), "a path from outside makes no series");
}
