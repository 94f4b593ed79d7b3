//! The Alertmanager data source of Grafana and karma: exactly the requests that these make, with what
//! they need to find in the answers, and the shapes of a real Alertmanager where one is installed.

use serde_json::{Value, json};

use crate::manners::{ALERTS, JSON, alertmanager, ask, labstat};
use crate::support::{eventually, get};

/// What Grafana and karma get to show their lists.
const LISTS: [&str; 8] = [
    "/api/v2/status",
    "/api/v2/receivers",
    "/api/v2/silences",
    "/api/v2/alerts/groups",
    // Flags without a value, as Grafana writes those that are true.
    "/api/v2/alerts?silenced&active&inhibited",
    "/api/v2/alerts?silenced=true&active=true&inhibited=true&filter=alertname%3D%22Hot%22&filter=instance%3D~%22n.*%22",
    "/api/v2/alerts/groups?active=true&inhibited=false&silenced=false",
    "/api/v2/alerts/groups?filter=alertname%3D%22NodeDown%22&filter=severity!%3D%22info%22",
];

/// What Grafana posts to make a silence.
const SILENCE: &str = r#"{"matchers":[{"name":"team","value":"a","isRegex":false,"isEqual":true}],"startsAt":"2016-11-22T03:00:00.000Z","endsAt":"2036-11-23T03:00:00.000Z","createdBy":"anna","comment":"new disk"}"#;

fn list(base: &str, path: &str) -> Value {
    let text = get(&format!("{base}{path}")).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
}

/// Names of fields and kinds of values; of a list that of its first item, and how long it is.
fn shape(value: &Value) -> Value {
    match value {
        // Newer ones have it; the installed one may not.
        Value::Object(fields) => {
            let known = fields.iter().filter(|(name, _)| *name != "mutedBy");
            known.map(|(name, value)| (name.clone(), shape(value))).collect()
        }
        Value::Array(items) => json!([items.len(), items.first().map(shape)]),
        Value::String(_) => json!("text"),
        Value::Number(_) => json!("number"),
        other => other.clone(),
    }
}

fn fill(base: &str) {
    assert_eq!(ask("POST", &format!("{base}/api/v2/alerts"), JSON, ALERTS).0, 200);
    let (status, text) = ask("POST", &format!("{base}/api/v2/silences"), JSON, SILENCE);
    assert_eq!(status, 200, "{text}");
    eventually("the groups are there", || match list(base, "/api/v2/alerts/groups").as_array() {
        Some(groups) if groups.len() == 3 => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn lists_have_the_shapes_of_alertmanagers() {
    let temp = tempfile::tempdir().unwrap();
    let (_server, ours) = labstat(temp.path());
    fill(&ours);
    let Some((_peer, theirs)) = alertmanager(temp.path()) else { return };
    fill(&theirs);
    for path in LISTS {
        // Ours tells of one more receiver, which routes without one have.
        let [mut ours, theirs] = [&ours, &theirs].map(|base| list(base, path));
        if path.ends_with("/receivers") {
            ours.as_array_mut().unwrap().retain(|receiver| receiver["name"] != "nobody");
        }
        assert_eq!(shape(&ours), shape(&theirs), "{path}:\n{ours:#}\n{theirs:#}");
    }
}

/// The button *Save & test* of Grafana: the kind that is chosen must be there, and the other must not.
#[test]
fn grafana_finds_the_alertmanager_of_a_prometheus() {
    let temp = tempfile::tempdir().unwrap();
    let (_server, base) = labstat(temp.path());
    let info = list(&base, "/api/v1/status/buildinfo");
    assert!(info["data"]["application"].is_null() && info["data"]["features"].is_null(), "{info}");
    let status = |path: &str| ask("GET", &format!("{base}{path}"), "", "").0;
    assert_eq!(status("/alertmanager/api/v2/status"), 404, "as Mimir has it");
    assert_eq!(status("/api/v2/status"), 200);

    fill(&base);
    let silences = list(&base, "/api/v2/silences");
    assert_eq!(silences[0]["status"]["state"], "active");
    let id = silences[0]["id"].as_str().unwrap();
    let (status, _) = ask("DELETE", &format!("{base}/api/v2/silence/{id}"), "", "");
    assert_eq!(status, 200);
    assert_eq!(list(&base, "/api/v2/silences")[0]["status"]["state"], "expired");
}

/// karma chooses by the version on `/metrics` how to read the rest, and reads nothing without one.
#[test]
fn karma_finds_out_which_alertmanager_it_asks() {
    let temp = tempfile::tempdir().unwrap();
    let (_server, ours) = labstat(temp.path());
    let theirs = alertmanager(temp.path());
    for base in [Some(&ours), theirs.as_ref().map(|(_, base)| base)].into_iter().flatten() {
        let mut answer =
            ureq::get(format!("{base}/metrics")).header("accept-encoding", "gzip").call().unwrap();
        let encoding = answer.headers().get("content-encoding").cloned();
        let text = answer.body_mut().read_to_vec().unwrap();
        let is_packed = text.starts_with(&[0x1f, 0x8b]);
        assert_eq!(is_packed, encoding.is_some_and(|encoding| encoding == "gzip"), "{base}");
        let metrics = get(&format!("{base}/metrics")).unwrap();
        let info = metrics.lines().find(|line| line.starts_with("alertmanager_build_info{"));
        let (_, version) = info.unwrap().split_once(",version=\"").unwrap();
        let version = version.split('"').next().unwrap();
        assert_eq!(version.split('.').filter(|part| part.parse::<u32>().is_ok()).count(), 3);
        assert_eq!(list(base, "/api/v2/status")["versionInfo"]["version"], version, "{base}");
    }
}
