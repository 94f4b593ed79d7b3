//! The Prometheus API: shapes, codes and error types.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use labstat_model::{MatchOp, Matcher};
use serde_json::{Value, json};

use super::support::{DEADLINE, Server, encode, eventually, series};

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
    assert_eq!(server.get("/version").json(), build);
    let tsdb = data("/api/v1/status/tsdb");
    assert_eq!(tsdb["headStats"]["numSeries"], json!(2));
    assert_eq!(data("/api/v1/status/runtimeinfo")["storageRetention"], json!("forever"));
    assert_eq!(data("/api/v1/status/flags")["query.timeout"], json!("2m"));
    assert!(data("/api/v1/status/config")["yaml"].is_string());
    let runtime = data("/api/v1/status/runtimeinfo");
    for key in ["startTime", "serverTime", "lastConfigTime", "CWD", "hostname"] {
        assert!(!runtime[key].as_str().unwrap().is_empty(), "{key}");
    }
    assert_eq!(runtime["reloadConfigSuccess"], json!(true));
    assert_eq!(data("/api/v1/notifications"), json!([]));
    assert_eq!(data("/api/v1/features")["promql"]["at_modifier"], json!(true));
}

#[test]
fn cardinalities_are_counted_and_cut() {
    let server = filled();
    server.write(&[series(&[("__name__", "up"), ("instance", "vertex")], &[(1_000_000, 1.0)])]);
    let data = server.get("/api/v1/status/tsdb").json()["data"].clone();
    let head = &data["headStats"];
    assert_eq!((&head["numSeries"], &head["numLabelPairs"]), (&json!(3), &json!(5)));
    assert_eq!((&head["minTime"], &head["maxTime"]), (&json!(1_000_000), &json!(1_040_000)));
    let named = |name: &str, value: i64| json!({"name": name, "value": value});
    let metrics = json!([named("load", 2), named("up", 1)]);
    assert_eq!(data["seriesCountByMetricName"], metrics);
    let names = json!([named("__name__", 2), named("instance", 2), named("job", 1)]);
    assert_eq!(data["labelValueCountByLabelName"], names);
    // Twice load and once up; twice vertex and once apex; twice node.
    let bytes = json!([named("instance", 16), named("__name__", 10), named("job", 8)]);
    assert_eq!(data["memoryInBytesByLabelName"], bytes);
    let one = server.get("/api/v1/status/tsdb?limit=1").json()["data"].clone();
    assert_eq!(one["seriesCountByLabelValuePair"], json!([named("__name__=load", 2)]));
    assert_eq!(one["labelValueCountByLabelName"], json!([named("__name__", 2)]));
    assert_eq!(one["seriesCountByMetricName"], json!([named("load", 2)]));
}

#[test]
fn unknown_paths_and_methods_are_told_apart() {
    let server = filled();
    let answer = server.get("/api/v1/nothing");
    assert_eq!((answer.status, answer.text().as_str()), (404, "404 page not found\n"));
    for (method, path, allow) in [
        ("POST", "/api/v1/label/job/values", "GET, OPTIONS"),
        ("HEAD", "/api/v1/metadata", "GET, OPTIONS"),
        ("HEAD", "/metrics", "GET, OPTIONS"),
        ("POST", "/-/healthy", "GET, HEAD, OPTIONS"),
        ("GET", "/-/reload", "OPTIONS, POST, PUT"),
        ("DELETE", "/api/v1/query", "GET, OPTIONS, POST"),
        ("HEAD", "/api/v1/query?query=1", "GET, OPTIONS, POST"),
        ("GET", "/api/v1/write", "OPTIONS, POST"),
        ("GET", "/api/v1/admin/tsdb/snapshot", "OPTIONS, POST, PUT"),
    ] {
        let answer = server.request(method, path, &[], b"");
        assert_eq!((answer.status, answer.header("allow")), (405, allow), "{method} {path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{method} {path}");
    }
    let home = server.get("/");
    assert!(home.header("content-type").starts_with("text/html"));
    assert!(home.text().contains("labstat"));
    for path in ["/-/healthy", "/-/ready"] {
        assert_eq!(server.get(path).status, 200);
    }
}

#[test]
fn answers_are_compressed_when_asked_and_worth_it() {
    let server = filled();
    let packed = |path: &str, accept: &str| {
        let answer = server.request("GET", path, &[("accept-encoding", accept)], b"");
        assert_eq!(answer.status, 200);
        (answer.header("content-encoding").to_owned(), answer.body)
    };
    let long = "/api/v1/query_range?query=load&start=0&end=2000&step=1";
    for (accept, encoding) in [
        ("identity", ""),
        ("br", ""),
        ("gzip;q=0", ""),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("deflate, gzip;q=0.9", "deflate"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("zstd;q=0.4, gzip;q=0.5", "gzip"),
        ("zstd;q=1, gzip;q=0.5", "zstd"),
    ] {
        assert_eq!(packed(long, accept).0, encoding, "{accept}");
    }
    let magic = |accept: &str| packed(long, accept).1.get(..4).unwrap().to_vec();
    assert_eq!(magic("gzip")[..2], [0x1f, 0x8b]);
    assert_eq!(magic("zstd"), [0x28, 0xb5, 0x2f, 0xfd]);
    assert_eq!(packed("/api/v1/query?query=load&time=1040", "gzip").0, "", "it is small");
}

/// A long answer is sent while it is written, compressed too, so it has no length.
#[test]
fn long_answers_are_sent_piece_by_piece() {
    let server = Server::start();
    let samples: Vec<(i64, f64)> =
        (0..60_000_i32).map(|i| (i64::from(i) * 1_000, f64::from(i) / 7.0)).collect();
    server.write(&[series(&[("__name__", "many")], &samples)]);
    let path = "/api/v1/query?query=many[1d]&time=60000";
    for accept in ["identity", "gzip", "zstd"] {
        let answer = server.request("GET", path, &[("accept-encoding", accept)], b"");
        assert_eq!((answer.status, answer.header("content-length")), (200, ""), "{accept}");
        assert!(answer.body.len() > 100_000);
    }
    let values = server.get(path).json()["data"]["result"][0]["values"].clone();
    assert_eq!(values.as_array().unwrap().len(), 60_000);
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
    let error = server.request("GET", "/api/v1/query?query=(", &[origin], b"");
    assert_eq!(error.header("access-control-allow-origin"), origin.1, "errors are read too");
}

#[test]
fn which_web_pages_may_read_can_be_said() {
    let pattern = Matcher::new("origin", MatchOp::Regex, "https://(a|b)\\.example").unwrap();
    let server = Server::with(
        |config| config.cors_origin = Some(pattern),
        std::sync::Arc::new(labstat_model::SystemClock),
    );
    let allowed = |origin: &str| {
        let answer = server.request("GET", "/api/v1/labels", &[("origin", origin)], b"");
        assert_eq!(answer.header("vary"), "Origin");
        answer.header("access-control-allow-origin").to_owned()
    };
    for origin in ["https://a.example", "https://b.example"] {
        assert_eq!(allowed(origin), origin);
    }
    for origin in ["https://c.example", "https://a.example.evil.org", "http://localhost:3000"] {
        assert_eq!(allowed(origin), "", "{origin}");
    }
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
    assert_eq!(answer.status, 422, "{}", answer.text());
    let json: Value = answer.json();
    assert_eq!(json["errorType"], "execution");
    let text = json["error"].as_str().unwrap();
    let words = "query processing would load too many samples into memory in query execution: ";
    assert!(text.starts_with(words), "{text}");
    assert!(text.ends_with("raise query_samples of [limits], which is 1000"), "{text}");
}

#[test]
fn a_query_that_holds_too_much_fails_and_says_so() {
    let server = Server::with(
        |config| config.limits.query_memory_max = 100_000,
        std::sync::Arc::new(labstat_model::SystemClock),
    );
    let answer = server.get("/api/v1/query?query=sum_over_time(vector(1)[40000s:1s])&time=2000");
    assert_eq!(answer.status, 422, "{}", answer.text());
    let json: Value = answer.json();
    assert_eq!(json["errorType"], "execution");
    let text = json["error"].as_str().unwrap();
    assert!(text.contains("would take too much memory"), "{text}");
    assert!(text.ends_with("raise query_memory of [limits], which is 100000 bytes"), "{text}");
}

/// A query that takes hours within its bounds: a million medians of a hundred thousand points.
const ENDLESS: &str =
    "max_over_time(quantile_over_time(0.5, vector(time())[100000s:1s])[1000000s:1s])";

#[test]
fn a_query_that_takes_too_long_is_503_timeout() {
    let server = Server::start();
    let path = format!("/api/v1/query?query={}&timeout=200ms", encode(ENDLESS));
    let (status, kind, message) = error(&server, &path);
    assert_eq!((status, kind.as_str()), (503, "timeout"));
    assert!(message.starts_with("query timed out in expression evaluation: "), "{message}");
    assert!(message.contains("query_timeout of [limits], which is 2m"), "{message}");
    let (status, kind, message) = error(&server, "/api/v1/query?query=1&timeout=0");
    assert_eq!((status, kind.as_str()), (503, "timeout"));
    assert_eq!(message, "query timed out in query execution");
}

/// One figure of `/metrics`.
fn figure(server: &Server, name: &str) -> f64 {
    let text = server.get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

/// Asks without waiting for the answer.
fn ask(server: &Server, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.running().addr()).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    stream
}

fn until_running(server: &Server, count: f64) {
    eventually("queries run", || {
        let running = figure(server, "labstat_queries_running");
        if running == count { Ok(()) } else { Err(format!("{running} run")) }
    });
}

/// How long an evaluation may go on after that where other tests run beside it. On a machine that
/// does nothing else it is a tenth of this.
const CANCEL_MAX: Duration = Duration::from_secs(1);

#[test]
fn a_query_stops_when_whoever_asked_hangs_up() {
    let server = Server::start();
    let path = format!("/api/v1/query?query={}", encode(ENDLESS));
    // A busy machine may be late for other reasons; it is not late each time.
    let times = (0..5).map(|_| {
        let asking = ask(&server, &path);
        until_running(&server, 1.0);
        drop(asking);
        let started = Instant::now();
        while figure(&server, "labstat_queries_running") > 0.0 {
            assert!(started.elapsed() < Duration::from_secs(30), "it goes on");
        }
        started.elapsed()
    });
    let fastest = times.min().unwrap();
    assert!(fastest < CANCEL_MAX, "{fastest:?}");
    let canceled = "labstat_queries_total{kind=\"instant\",outcome=\"canceled\"}";
    eventually("they are counted", || {
        let count = figure(&server, canceled);
        if count == 5.0 { Ok(()) } else { Err(format!("{count}")) }
    });
}

#[test]
fn who_hangs_up_while_waiting_leaves_the_line() {
    let server = Server::with(
        |config| config.limits.queries_max = 1,
        std::sync::Arc::new(labstat_model::SystemClock),
    );
    let _running = ask(&server, &format!("/api/v1/query?query={}", encode(ENDLESS)));
    until_running(&server, 1.0);
    let waiting = |count: f64| {
        eventually("queries wait", || {
            let waiting = figure(&server, "labstat_queries_waiting");
            if waiting == count { Ok(()) } else { Err(format!("{waiting} wait")) }
        });
    };
    let second = ask(&server, "/api/v1/query?query=1");
    waiting(1.0);
    drop(second);
    waiting(0.0);
    let (status, kind, message) = error(&server, "/api/v1/query?query=1&timeout=50ms");
    assert_eq!((status, kind.as_str()), (503, "timeout"));
    assert!(message.starts_with("query timed out in query queue: "), "{message}");
    assert!(message.contains("queries of [limits]"), "it names the cure: {message}");
}

/// Whatever is asked over a year, a dashboard of today is answered.
#[test]
fn long_queries_leave_a_place_for_light_ones() {
    let server = Server::with(
        |config| config.limits.queries_max = 2,
        std::sync::Arc::new(labstat_model::SystemClock),
    );
    let path = format!("/api/v1/query?query={}", encode(ENDLESS));
    let _long: Vec<TcpStream> = (0..3).map(|_| ask(&server, &path)).collect();
    until_running(&server, 1.0);
    assert_eq!(server.get("/api/v1/query?query=vector(1)").status, 200);
    assert_eq!(server.get("/api/v1/labels").status, 200);
    let year = "/api/v1/query_range?query=1&start=0&end=31536000&step=1d&timeout=50ms";
    assert_eq!(server.get(year).status, 503);
    assert_eq!(figure(&server, "labstat_queries_waiting"), 2.0);
}

/// Queries that look light and are not: each takes an hour, over less than a day and within the
/// points of a range.
#[test]
fn a_light_query_does_not_wait_for_those_that_only_look_light() {
    let server = Server::with(
        |config| config.limits.queries_max = 2,
        std::sync::Arc::new(labstat_model::SystemClock),
    );
    let heavy = (0..12).fold("vector(time())".to_owned(), |inner, _| {
        format!("quantile_over_time(0.5, {inner}[7000s:1s])")
    });
    let path = format!("/api/v1/query?query={}", encode(&heavy));
    let mut asking: Vec<TcpStream> = (0..4).map(|_| ask(&server, &path)).collect();
    until_running(&server, 1.0);
    for _ in 0..3 {
        assert_eq!(server.get("/api/v1/query?query=vector(1)&timeout=20s").status, 200);
    }
    // One has become a long one, and the others have been stopped and wait for it.
    eventually("they wait", || {
        let running = figure(&server, "labstat_queries_running");
        let waiting = figure(&server, "labstat_queries_waiting");
        if (running, waiting) == (1.0, 3.0) { Ok(()) } else { Err(format!("{running} {waiting}")) }
    });
    asking.clear();
    until_running(&server, 0.0);
    let ended = |outcome: &str| {
        figure(&server, &format!("labstat_queries_total{{kind=\"instant\",outcome=\"{outcome}\"}}"))
    };
    assert_eq!((ended("canceled"), ended("success")), (4.0, 3.0), "each counts once");
}

/// Each is small, and together they would take gigabytes and a minute.
#[test]
fn the_patterns_of_one_request_have_a_bound() {
    let server = Server::start();
    let pattern = |at: usize| format!("a{at}=~\"\\\\pL{{6}}{at}\"");
    let matchers: Vec<String> = (0..1_000).map(pattern).collect();
    let query = encode(&format!("m{{{}}}", matchers.join(",")));
    let selectors: Vec<String> = matchers
        .iter()
        .map(|matcher| format!("match[]={}", encode(&format!("{{b=\"c\",{matcher}}}"))))
        .collect();
    let selectors = selectors.join("&");
    for (path, form) in [
        ("/api/v1/query", &format!("query={query}")),
        ("/api/v1/query_range", &format!("query={query}&start=1&end=2&step=1")),
        ("/api/v1/parse_query", &format!("query={query}")),
        ("/api/v1/series", &selectors),
        ("/api/v1/labels", &selectors),
    ] {
        let answer = server.post_form(path, form);
        assert_eq!(
            (answer.status, &answer.json()["errorType"]),
            (400, &json!("bad_data")),
            "{path}"
        );
        let message = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(message.contains("may have a size of 16 MiB when they are compiled"), "{message}");
    }
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

#[test]
fn queries_are_written_tidily_and_taken_apart() {
    let server = Server::start();
    let data = |path: &str| server.get(path).json()["data"].clone();
    let query = encode("sum(rate(x{a='b'}[5m]))by(c)");
    let tidy = data(&format!("/api/v1/format_query?query={query}"));
    assert_eq!(tidy, json!("sum by (c) (rate(x{a=\"b\"}[5m]))"));
    let tree = data(&format!("/api/v1/parse_query?query={query}"));
    assert_eq!((&tree["type"], &tree["op"]), (&json!("aggregation"), &json!("sum")));
    for path in ["/api/v1/format_query", "/api/v1/parse_query"] {
        let (status, kind, message) = error(&server, &format!("{path}?query=sum("));
        assert_eq!((status, kind.as_str()), (400, "bad_data"));
        assert!(message.starts_with("invalid parameter \"query\": 1:5: parse error:"), "{message}");
        assert_eq!(server.post_form(path, "query=1").status, 200);
    }
}

#[test]
fn statistics_count_the_samples_that_a_query_looks_at() {
    let server = filled();
    let stats = |path: &str| server.get(path).json()["data"]["stats"].clone();
    let path = "/api/v1/query_range?query=sum(load)&start=1000&end=1040&step=20";
    assert!(stats(path).is_null());
    assert!(stats(&format!("{path}&stats=")).is_null());
    let some = stats(&format!("{path}&stats=1"))["samples"].clone();
    assert_eq!(some["totalQueryableSamples"], 6, "two series at three steps");
    assert!(some["peakSamples"].as_u64().unwrap() > 0, "{some}");
    assert!(some.get("totalQueryableSamplesPerStep").is_none());
    let all = stats(&format!("{path}&stats=all"));
    assert_eq!(
        all["samples"]["totalQueryableSamplesPerStep"],
        json!([[1000, 2], [1020, 2], [1040, 2]])
    );
    for timing in ["evalTotalTime", "execQueueTime", "execTotalTime", "innerEvalTime"] {
        assert!(all["timings"][timing].as_f64().unwrap() > 0.0, "{timing}: {all}");
    }
    let scalar = stats("/api/v1/query?query=1&time=5&stats=all")["samples"].clone();
    assert_eq!(scalar["totalQueryableSamplesPerStep"], json!([[5, 0]]));
    let range = stats("/api/v1/query?query=load[25s]&time=1040&stats=all")["samples"].clone();
    assert_eq!(range["totalQueryableSamples"], 6);
}

/// Sends bytes as they are, several requests at once; gives what comes until the connection ends.
fn raw(server: &Server, requests: &str) -> String {
    let mut stream = TcpStream::connect(server.running().addr()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    std::io::Write::write_all(&mut stream, requests.as_bytes()).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
    text
}

#[test]
fn urls_are_taken_as_people_write_them() {
    let server = filled();
    let form = "query=label_replace(vector(4),\"a\",\"<\",\"\",\"\")&time=1";
    let text = raw(
        &server,
        &format!(
            "GET /api/v1/query?query=vector(1)<2>0&time=1 HTTP/1.1\r\nHost: localhost\r\n\r\n\
             POST /api/v1/query?x=\"<>\" HTTP/1.1\r\nHost: localhost\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}\
             GET /api/v1/query?query=label_replace(vector(3),\"b\",\"#\",\"\",\"\")&time=1 HTTP/1.1\r\n\
             Host: localhost\r\nConnection: close\r\n\r\n",
            form.len()
        ),
    );
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"));
    let one = at(r#"{"metric":{},"value":[1,"1"]}"#);
    let two = at(r#"{"metric":{"a":"<"},"value":[1,"4"]}"#);
    let three = at(r##"{"metric":{"b":"#"},"value":[1,"3"]}"##);
    assert!(one < two && two < three, "{text}");
}

#[test]
fn answers_that_nobody_takes_hold_a_bounded_memory() {
    const BYTES_MAX: usize = 24 * 1024 * 1024;
    let server = Server::with(
        |config| config.limits.query_memory_max = BYTES_MAX,
        std::sync::Arc::new(labstat_model::SystemClock),
    );
    let all: Vec<_> = (0..60)
        .map(|at| series(&[("__name__", "many"), ("at", &at.to_string())], &[(0, f64::from(at))]))
        .collect();
    server.write(&all);
    let path = "/api/v1/query_range?query=many&start=0&end=10000&step=1&lookback_delta=11000";
    let unsent = || figure(&server, "labstat_answers_unsent_bytes");
    // Each has some 10 MB in memory, of which the sockets take a part.
    let held: Vec<TcpStream> =
        (0..6).map(|_| ask(&server, &format!("{path}&timeout=60"))).collect();
    eventually("answers wait to be sent", || {
        if unsent() > 1e7 { Ok(()) } else { Err(format!("{} bytes", unsent())) }
    });
    let refused = eventually("one does not fit", || {
        let answer = server.get(&format!("{path}&timeout=2"));
        if answer.status == 503 { Ok(answer.text()) } else { Err(answer.status.to_string()) }
    });
    assert!(refused.contains("query timed out in"), "{refused}");
    #[expect(clippy::cast_precision_loss, reason = "it is a small number")]
    let most = BYTES_MAX as f64;
    assert!(unsent() <= most, "{}", unsent());
    drop(held);
    eventually("the memory comes back", || {
        if unsent() == 0.0 { Ok(()) } else { Err(format!("{} bytes", unsent())) }
    });
    assert_eq!(server.get(path).status, 200);
}

#[test]
fn what_is_written_wrongly_in_a_url_is_no_parameter() {
    let server = filled();
    for path in ["/api/v1/series?match[]=up&x=%zz", "/api/v1/rules?x=%zz"] {
        let cause = "error parsing form values: invalid URL escape \"%zz\"";
        let told = raw(&server, &format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"));
        assert!(
            told.starts_with("HTTP/1.0 400") && told.contains(&cause.replace('"', "\\\"")),
            "{told}"
        );
    }
    let answer = server.post_form("/api/v1/query", "query=1%zz");
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("no expression found"), "{}", answer.text());
}
