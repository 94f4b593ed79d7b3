//! What Grafana's Prometheus data source sends, request by request, and what it relies on in the
//! answers.

use serde_json::{Value, json};

use super::support::{Answer, Server, encode, series};

/// What it asks for at most of any list.
const LIMIT: &str = "limit=40000";

fn filled() -> Server {
    let server = Server::start();
    let samples: Vec<(i64, f64)> =
        (0..60_i32).map(|i| (i64::from(i) * 15_000, f64::from(i))).collect();
    for instance in ["vertex", "apex"] {
        let labels = [("__name__", "reads_total"), ("instance", instance), ("job", "node")];
        server.write(&[series(&labels, &samples)]);
    }
    server
}

fn data(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    assert_eq!(json["status"], "success");
    json["data"].clone()
}

#[test]
fn its_health_check_passes() {
    let server = filled();
    let sum = data(&server.post_form("/api/v1/query", "query=1%2B1&time=4"));
    assert_eq!(sum, json!({"resultType": "scalar", "result": [4, "2"]}));
    let build = data(&server.get("/api/v1/status/buildinfo"));
    let version = build["version"].as_str().unwrap();
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap());
    assert!((parts.next(), parts.next()) >= (Some(2), Some(24)), "{version}");
    assert!(build.get("features").is_none());
    let exemplars = "query=test&start=1767275100000&end=1767278700000";
    assert_eq!(data(&server.post_form("/api/v1/query_exemplars", exemplars)), json!([]));
}

#[test]
fn panels_are_answered() {
    let server = filled();
    let query = encode("sum by (instance) (rate(reads_total{job=~\"node|.+\"}[1m0s]))");
    let form = format!("query={query}&start=300.000&end=600.000&step=15");
    let matrix = data(&server.post_form("/api/v1/query_range", &form));
    assert_eq!(matrix["resultType"], "matrix");
    let result = matrix["result"].as_array().unwrap();
    assert_eq!(result.len(), 2);
    let first = result.first().unwrap();
    assert_eq!(first["values"].as_array().unwrap().len(), 21);
    assert!(first["values"][0][0].is_number() && first["values"][0][1].is_string());
    let half =
        server.post_form("/api/v1/query_range", "query=up&start=1&end=2&step=0.5&timeout=60s");
    assert_eq!(data(&half), json!({"resultType": "matrix", "result": []}));
    let hour = encode("increase(reads_total[1h0m0s])");
    let vector = data(&server.post_form("/api/v1/query", &format!("query={hour}&time=900.5")));
    assert_eq!(vector["result"].as_array().unwrap().len(), 2);
    let wrong = server.post_form("/api/v1/query_range", "query=sum(&start=1&end=2&step=1");
    assert_eq!((wrong.status, &wrong.json()["errorType"]), (400, &json!("bad_data")));
}

#[test]
fn its_editor_and_variables_are_answered() {
    let server = filled();
    let all = encode("{__name__!=\"\"}");
    let range = "start=0&end=900";
    let form = format!("{range}&match[]={all}&{LIMIT}");
    let names = data(&server.post_form("/api/v1/labels", &form));
    assert_eq!(names, json!(["__name__", "instance", "job"]));
    let found = encode("{__name__=~\".*reads.*\"}");
    let path = format!("/api/v1/label/__name__/values?match%5B%5D={found}&{range}&{LIMIT}");
    assert_eq!(data(&server.get(&path)), json!(["reads_total"]));
    let path = format!("/api/v1/label/instance/values?match%5B%5D=reads_total&{range}&{LIMIT}");
    assert_eq!(data(&server.get(&path)), json!(["apex", "vertex"]));
    let form = format!("match%5B%5D=reads_total&match%5B%5D=up&{range}&{LIMIT}");
    assert_eq!(data(&server.post_form("/api/v1/series", &form)).as_array().unwrap().len(), 2);
    // A wrong one is sent again as GET.
    let wrong = format!("match%5B%5D={}&{range}", encode("up{"));
    assert_eq!(server.post_form("/api/v1/labels", &wrong).status, 400);
    assert_eq!(server.get(&format!("/api/v1/labels?{wrong}")).status, 400);
    let metadata = data(&server.get(&format!("/api/v1/metadata?{LIMIT}")));
    let entries = metadata.as_object().unwrap();
    assert!(entries.values().all(|list| !list.as_array().unwrap().is_empty()));
}

#[test]
fn its_alerting_pages_are_answered() {
    let server = filled();
    for path in [
        "/api/v1/rules?file=a&file%5B%5D=b&rule_group=c&rule_name=d&limit_alerts=5&matcher=x",
        "/api/v1/rules?exclude_alerts=true&group_limit=40",
        "/api/v1/rules?type=alert&state=firing&health=ok",
    ] {
        let rules = data(&server.get(path));
        assert!(rules["groups"].is_array() && rules.get("groupNextToken").is_none(), "{path}");
    }
    assert_eq!(data(&server.get("/api/v1/alerts")), json!({"alerts": []}));
}
