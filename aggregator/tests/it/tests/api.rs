//! The Prometheus API: shapes, codes and error types.

use serde_json::{Value, json};

use super::support::{Server, encode, series};

/// Two series of five samples from 1,000 s on, one every 10 s.
fn filled() -> Server {
    let server = Server::start();
    let samples: Vec<(i64, f64)> = [0.0, 1.0, 2.0, 3.0, 4.0]
        .iter()
        .zip(0..)
        .map(|(&v, i)| (1_000_000 + i * 10_000, v))
        .collect();
    server.write(&[
        series(&[("__name__", "load"), ("instance", "vertex"), ("job", "node")], &samples),
        series(&[("__name__", "load"), ("instance", "apex"), ("job", "node")], &samples),
    ]);
    server
}

fn error(server: &Server, path: &str) -> (u16, String, String) {
    let answer = server.get(path);
    let json = answer.json();
    assert_eq!(json["status"], "error", "{path}");
    assert!(json.get("data").is_none(), "{path}: {json}");
    let text = |key: &str| json[key].as_str().unwrap().to_owned();
    (answer.status, text("errorType"), text("error"))
}

#[test]
fn instant_queries_have_prometheus_shapes() {
    let server = filled();
    assert_eq!(
        server.query("load{instance='apex'}", "1040"),
        json!([{
            "metric": {"__name__": "load", "instance": "apex", "job": "node"},
            "value": [1040, "4"]
        }])
    );
    assert_eq!(server.query("1+1", "4"), json!([4, "2"]), "the health check of Grafana");
    assert_eq!(server.query("load", "4"), json!([]), "no data is an empty list");
    assert_eq!(server.query("'text'", "1040.5"), json!([1040.5, "text"]));
    assert_eq!(server.query("load/0 > 0", "1010")[0]["value"], json!([1010, "+Inf"]));
    let matrix = server.query("load{instance='apex'}[15s]", "1020");
    assert_eq!(matrix[0]["values"], json!([[1010, "1"], [1020, "2"]]));
}

#[test]
fn range_queries_have_prometheus_shapes() {
    let server = filled();
    let path = "/api/v1/query_range?query=load&start=1000&end=1970-01-01T00:17:00Z&step=10s";
    let answer = server.get(path).json();
    assert_eq!(answer["data"]["resultType"], "matrix");
    let expected = json!([
        {"metric": {"__name__": "load", "instance": "apex", "job": "node"},
         "values": [[1000, "0"], [1010, "1"], [1020, "2"]]},
        {"metric": {"__name__": "load", "instance": "vertex", "job": "node"},
         "values": [[1000, "0"], [1010, "1"], [1020, "2"]]},
    ]);
    assert_eq!(answer["data"]["result"], expected);
    let scalar = server.get("/api/v1/query_range?query=1&start=0&end=1&step=0.5").json();
    let values = json!([[0, "1"], [0.5, "1"], [1, "1"]]);
    assert_eq!(scalar["data"]["result"], json!([{"metric": {}, "values": values}]));
}

#[test]
fn parameters_come_by_url_and_by_form_and_mixed() {
    let server = filled();
    let expected = server.query("load", "1040");
    let mixed = server.post_form("/api/v1/query?time=1040&unknown=1", "query=load");
    assert_eq!(mixed.json()["data"]["result"], expected);
    let body_wins = server.post_form("/api/v1/query?query=nothing&time=1040", "query=load");
    assert_eq!(body_wins.json()["data"]["result"], expected);
    let limited = server.get("/api/v1/query?query=load&time=1040&limit=1").json();
    assert_eq!(limited["data"]["result"].as_array().unwrap().len(), 1);
    assert_eq!(limited["warnings"], json!(["results truncated due to limit"]));
}

#[test]
fn bad_requests_are_400_bad_data() {
    let server = filled();
    for path in [
        "/api/v1/query",
        "/api/v1/query?query=sum(",
        "/api/v1/query?query=up&time=abc",
        "/api/v1/query?query=up&timeout=abc",
        "/api/v1/query?query=up&limit=-1",
        "/api/v1/query_range?query=up&start=1&end=2",
        "/api/v1/query_range?query=up&start=1&end=2&step=0",
        "/api/v1/query_range?query=up&start=1&end=2&step=-1",
        "/api/v1/query_range?query=up&start=2&end=1&step=1",
        "/api/v1/query_range?query=up&start=0&end=11001&step=1",
        "/api/v1/query_range?query=up[5m]&start=1&end=2&step=1",
        "/api/v1/series",
        "/api/v1/series?match[]=",
        "/api/v1/series?match[]={x=~%22.*%22}",
        "/api/v1/series?match[]=sum(up)",
        "/api/v1/labels?match[]=up{",
        "/api/v1/labels?start=x",
        "/api/v1/label/job/values?end=x",
        "/api/v1/rules?type=x",
    ] {
        let (status, kind, message) = error(&server, path);
        assert_eq!((status, kind.as_str()), (400, "bad_data"), "{path}: {message}");
        assert!(!message.is_empty(), "{path}");
    }
    let at_the_limit = "/api/v1/query_range?query=up&start=0&end=11000&step=1";
    assert_eq!(server.get(at_the_limit).status, 200);
    let (_, _, message) = error(&server, "/api/v1/query_range?query=up&start=x&end=2&step=1");
    assert_eq!(message, r#"invalid parameter "start": cannot parse "x" to a valid timestamp"#);
}

#[test]
fn what_cannot_be_evaluated_is_422_execution() {
    let server = filled();
    let query = encode("load * on(job) load");
    let (status, kind, _) = error(&server, &format!("/api/v1/query?query={query}&time=1040"));
    assert_eq!((status, kind.as_str()), (422, "execution"));
}

#[test]
fn look_ups_are_sorted_lists() {
    let server = filled();
    let data = |path: &str| server.get(path).json()["data"].clone();
    assert_eq!(data("/api/v1/labels"), json!(["__name__", "instance", "job"]));
    assert_eq!(data("/api/v1/label/instance/values"), json!(["apex", "vertex"]));
    assert_eq!(data("/api/v1/label/__name__/values"), json!(["load"]));
    assert_eq!(data("/api/v1/label/nothing/values"), json!([]));
    assert_eq!(data("/api/v1/labels?match[]=nothing"), json!([]));
    assert_eq!(data("/api/v1/label/job/values?start=5000&end=6000"), json!([]));
    // A time that ends before it begins is no error, and empty of series only.
    assert_eq!(data("/api/v1/series?match[]=load&start=2000&end=1"), json!([]));
    assert_eq!(data("/api/v1/label/job/values?start=2000&end=1"), json!(["node"]));
    assert_eq!(
        data("/api/v1/series?match[]=load{instance=%22apex%22}&match[]=nothing"),
        json!([{"__name__": "load", "instance": "apex", "job": "node"}])
    );
    let form = server.post_form("/api/v1/series", "match[]=load&limit=1").json();
    assert_eq!(form["data"].as_array().unwrap().len(), 1);
    assert_eq!(form["warnings"], json!(["results truncated due to limit"]));
    assert_eq!(data("/api/v1/query_exemplars?query=load&start=0&end=1"), json!([]));
    assert_eq!(data("/api/v1/metadata"), json!({}));
    assert_eq!(data("/api/v1/alerts"), json!({"alerts": []}));
    assert_eq!(data("/api/v1/rules?group_limit=5"), json!({"groups": []}));
}

#[test]
fn status_pages_tell_the_truth() {
    let server = filled();
    let data = |path: &str| server.get(path).json()["data"].clone();
    let build = data("/api/v1/status/buildinfo");
    for key in ["version", "revision", "branch", "buildUser", "buildDate", "goVersion"] {
        assert!(build[key].is_string(), "{key}");
    }
    assert!(build.get("features").is_none(), "a client would take us for Mimir");
    let tsdb = data("/api/v1/status/tsdb");
    assert_eq!(tsdb["headStats"]["numSeries"], json!(2));
    assert_eq!(data("/api/v1/status/runtimeinfo")["storageRetention"], json!("forever"));
    assert_eq!(data("/api/v1/status/flags")["query.timeout"], json!("2m"));
    assert!(data("/api/v1/status/config")["yaml"].is_string());
}

#[test]
fn unknown_paths_and_methods_are_told_apart() {
    let server = filled();
    let answer = server.get("/api/v1/nothing");
    assert_eq!((answer.status, answer.text().as_str()), (404, "404 page not found\n"));
    assert_eq!(server.post("/api/v1/label/job/values", &[], b"").status, 405);
    assert_eq!(server.get("/api/v1/write").status, 405);
    let home = server.get("/");
    assert!(home.header("content-type").starts_with("text/html"));
    assert!(home.text().contains("labstat"));
    for path in ["/-/healthy", "/-/ready"] {
        assert_eq!(server.get(path).status, 200);
    }
}

#[test]
fn answers_are_compressed_when_asked() {
    let server = filled();
    let plain = server.get("/api/v1/query?query=load&time=1040");
    assert_eq!(plain.header("content-encoding"), "");
    let path = "/api/v1/query?query=load&time=1040";
    let packed = server.request("GET", path, &[("accept-encoding", "gzip")], b"");
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert_eq!(packed.body.get(..2), Some(&[0x1f, 0x8b][..]));
}

#[test]
fn web_pages_of_this_network_may_read() {
    let server = filled();
    let origin = ("origin", "http://localhost:3000");
    let answer = server.request("GET", "/api/v1/labels", &[origin], b"");
    assert_eq!(answer.header("access-control-allow-origin"), origin.1);
    let preflight = server.request("OPTIONS", "/api/v1/query", &[origin], b"");
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-methods"), "GET, POST, OPTIONS");
}

#[test]
fn a_query_over_its_bounds_fails_and_says_so() {
    let server = Server::with(
        |config| config.limits.query_samples_max = 1_000,
        std::sync::Arc::new(labstat_model::SystemClock),
    );
    let samples: Vec<(i64, f64)> = (0..2_000).map(|i| (i * 1_000, 1.0)).collect();
    server.write(&[series(&[("__name__", "many")], &samples)]);
    let answer = server.get("/api/v1/query?query=many[1h]&time=2000");
    assert!(matches!(answer.status, 422 | 500), "{}", answer.text());
    let json: Value = answer.json();
    assert_eq!(json["status"], "error");
    assert!(json["error"].as_str().unwrap().contains("samples"), "{json}");
}

/// A query that takes hours: a count over five million counts over a million points each.
const ENDLESS: &str = "count_over_time(count_over_time(vector(1)[1000000s:1s])[5000000s:1s])";

#[test]
fn a_query_that_takes_too_long_is_503_timeout() {
    let server = Server::start();
    let path = format!("/api/v1/query?query={}&timeout=200ms", encode(ENDLESS));
    let (status, kind, _) = error(&server, &path);
    assert_eq!((status, kind.as_str()), (503, "timeout"));
}

#[test]
fn a_query_stops_when_whoever_asked_hangs_up() {
    let server = Server::with(
        |config| config.limits.queries_max = 1,
        std::sync::Arc::new(labstat_model::SystemClock),
    );
    let mut asking = std::net::TcpStream::connect(server.running().addr()).unwrap();
    let request =
        format!("GET /api/v1/query?query={} HTTP/1.1\r\nHost: localhost\r\n\r\n", encode(ENDLESS));
    std::io::Write::write_all(&mut asking, request.as_bytes()).unwrap();
    // It has the only place as soon as another has to wait for it in vain.
    crate::tests::support::eventually("the query runs", || {
        let answer = server.get("/api/v1/query?query=1&timeout=50ms");
        if answer.status == 503 { Ok(()) } else { Err(answer.text()) }
    });
    drop(asking);
    // Waits for the place, which is free long before the endless query would end or time out.
    let started = std::time::Instant::now();
    assert_eq!(server.get("/api/v1/query?query=1").status, 200);
    assert!(started.elapsed() < std::time::Duration::from_secs(30));
}

#[test]
fn hostile_requests_are_refused_and_the_server_lives() {
    let server = filled();
    let nested = format!("query={}1{}", "(".repeat(100_000), ")".repeat(100_000));
    let long = format!("query={}", "x".repeat(2_000_000));
    let regex = format!("query={}", encode(r#"up{a=~"(a{1000}){1000}{1000}"}"#));
    for form in [nested, long, regex, "query=%ff%fe".to_owned()] {
        let answer = server.post_form("/api/v1/query", &form);
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert_eq!(answer.json()["errorType"], "bad_data");
    }
    let many = "match[]=up&".repeat(2_000);
    assert_eq!(server.post_form("/api/v1/series", &many).status, 400);
    assert_eq!(server.get("/api/v1/label/%ff/values").status, 400);
    assert_eq!(server.get("/nodes/%2e%2e%2fetc/metrics").status, 404);
    assert_eq!(server.query("load{instance='apex'}", "1040")[0]["value"][1], "4");
}
