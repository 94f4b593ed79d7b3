//! Alertmanager's place: a Prometheus posts alerts, `amtool` looks at them and silences them, and the
//! same requests get the same answers from labstat and from a real Alertmanager.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Labstat, command, eventually, get, post};

const ALERTMANAGER: &str = "/usr/bin/prometheus-alertmanager";
const AMTOOL: &str = "/usr/bin/amtool";
const PROMETHEUS: [&str; 2] = ["/usr/bin/prometheus", "target/peers/bin/prometheus"];

const ROUTES: &str = "\
[route]
receiver = 'default'
group_by = ['alertname']
group_wait = '1s'
group_interval = '2s'
repeat_interval = '1h'
[[route.routes]]
matchers = ['severity=\"critical\"']
receiver = 'pager'
group_by = ['alertname', 'instance']
continue = true
[[route.routes]]
matchers = ['team=~\"a|b\"']
receiver = 'team'
[[inhibit]]
source_matchers = ['alertname=\"NodeDown\"']
target_matchers = ['alertname!=\"NodeDown\"']
equal = ['instance']
";

const PEER_ROUTES: &str = "\
route:
  receiver: default
  group_by: [alertname]
  group_wait: 1s
  group_interval: 2s
  repeat_interval: 1h
  routes:
  - {matchers: ['severity=\"critical\"'], receiver: pager, group_by: [alertname, instance], continue: true}
  - {matchers: ['team=~\"a|b\"'], receiver: team}
receivers: [{name: default}, {name: pager}, {name: team}]
inhibit_rules:
- {source_matchers: ['alertname=\"NodeDown\"'], target_matchers: ['alertname!=\"NodeDown\"'], equal: [instance]}
";

/// A process that ends with the test.
pub(crate) struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn config(dir: &Path) -> String {
    let mut text = format!(
        "listen = '127.0.0.1:0'\ndata = '{}'\n[rules]\nshipped = false\npaths = []\n",
        dir.join("data").display()
    );
    for name in ["default", "pager", "team"] {
        text.push_str(&format!(
            "[[receivers]]\nname = '{name}'\nwebhook = {{ url = 'http://127.0.0.1:9/x' }}\n"
        ));
    }
    text.push_str(ROUTES);
    text
}

pub(crate) fn labstat(dir: &Path) -> (Labstat, String) {
    let file = dir.join("aggregator.toml");
    std::fs::write(&file, config(dir)).unwrap();
    let mut server = Labstat::start(&["aggregator", "--config", file.to_str().unwrap()]);
    let base = server.url();
    (server, base)
}

/// A free port: taken and given back.
fn port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn alertmanager(dir: &Path) -> Option<(Peer, String)> {
    if !Path::new(ALERTMANAGER).exists() {
        println!("SKIPPED alertmanager: {ALERTMANAGER} is not installed");
        return None;
    }
    let file = dir.join("alertmanager.yml");
    std::fs::write(&file, PEER_ROUTES).unwrap();
    let base = format!("http://127.0.0.1:{}", port());
    let child = Command::new(ALERTMANAGER)
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.path={}", dir.join("peer").display()))
        .arg(format!("--web.listen-address={}", &base[7..]))
        .arg("--cluster.listen-address=")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let peer = Peer(child);
    eventually("Alertmanager answers", || get(&format!("{base}/-/ready")));
    Some((peer, base))
}

/// Sends a request; gives the status and the body.
pub(crate) fn ask(method: &str, url: &str, kind: &str, body: &str) -> (u16, String) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .build()
        .into();
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    if !kind.is_empty() {
        request = request.header("content-type", kind);
    }
    let mut answer = agent.run(request.body(body.to_owned()).unwrap()).unwrap();
    (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
}

/// What two servers can answer alike: not ids, not times of their own, not our additions.
fn comparable(mut value: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for own in ["mutedBy", "updatedAt", "uptime", "versionInfo", "config"] {
                    fields.remove(own);
                }
                for (key, field) in fields.iter_mut() {
                    match (key.as_str(), &mut *field) {
                        ("id" | "silenceID", field) => *field = json!("ID"),
                        ("silencedBy", Value::Array(ids)) => ids.fill(json!("ID")),
                        ("startsAt" | "endsAt", Value::String(time)) => {
                            // To the minute; both were asked within seconds.
                            assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
                            time.truncate(13);
                        }
                        (_, field) => strip(field),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut value);
    value
}

/// An answer with what may differ in words taken out: the causes of errors of syntax.
fn told(answer: &(u16, String)) -> (u16, Value) {
    let (status, body) = answer;
    let Ok(value) = serde_json::from_str::<Value>(body) else { return (*status, json!(body)) };
    let cut = |text: &str| {
        let ends = [", because ", "error parsing", "but [", "bad matcher format: ", "double quote"];
        let end = ends.iter().filter_map(|mark| text.find(mark)).min();
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let value = match value {
        Value::String(text) => json!(cut(&text)),
        Value::Object(mut fields) if fields.contains_key("code") => {
            let text = fields["message"].as_str().map(cut);
            fields.insert("message".to_owned(), json!(text));
            Value::Object(fields)
        }
        other => comparable(other),
    };
    (*status, value)
}

pub(crate) const JSON: &str = "application/json";

/// Requests that change nothing, or are refused: method, path, media type, body.
const REQUESTS: &[(&str, &str, &str, &str)] = &[
    ("POST", "/alerts", JSON, ""),
    ("POST", "/alerts", JSON, "{"),
    ("POST", "/alerts", JSON, "[]"),
    ("POST", "/alerts", JSON, "{}"),
    ("POST", "/alerts", JSON, "null"),
    ("POST", "/alerts", JSON, "[{}]"),
    ("POST", "/alerts", JSON, r#"[{"labels":{}}]"#),
    ("POST", "/alerts", JSON, r#"[{"labels":{"a":""}}]"#),
    (
        "POST",
        "/alerts",
        JSON,
        r#"[{"labels":{"a":"X"},"startsAt":"2026-01-02T00:00:00Z","endsAt":"2026-01-01T00:00:00Z"}]"#,
    ),
    ("POST", "/alerts", JSON, r#"[{"labels":{"a":"X"},"startsAt":"nonsense"}]"#),
    ("POST", "/alerts", JSON, r#"[{"labels":{"a":"X"},"generatorURL":"::bad"}]"#),
    ("POST", "/alerts", JSON, r#"[{"labels":{"a":1}}]"#),
    ("POST", "/alerts", "text/plain", "[]"),
    ("POST", "/silences", JSON, ""),
    ("POST", "/silences", JSON, "{"),
    ("POST", "/silences", JSON, "{}"),
    ("POST", "/silences", JSON, "null"),
    (
        "POST",
        "/silences",
        JSON,
        r#"{"matchers":[],"startsAt":"2026-11-22T03:00:00Z","endsAt":"2036-11-23T03:00:00Z","createdBy":"me","comment":"c"}"#,
    ),
    (
        "POST",
        "/silences",
        JSON,
        r#"{"matchers":[{"name":"a","value":"b"}],"startsAt":"2026-11-22T03:00:00Z","endsAt":"2036-11-23T03:00:00Z","createdBy":"me","comment":"c"}"#,
    ),
    (
        "POST",
        "/silences",
        JSON,
        r#"{"matchers":[{"name":"a","value":"","isRegex":false}],"startsAt":"2026-11-22T03:00:00Z","endsAt":"2036-11-23T03:00:00Z","createdBy":"me","comment":"c"}"#,
    ),
    (
        "POST",
        "/silences",
        JSON,
        r#"{"matchers":[{"name":"a","value":".*","isRegex":true}],"startsAt":"2026-11-22T03:00:00Z","endsAt":"2036-11-23T03:00:00Z","createdBy":"me","comment":"c"}"#,
    ),
    (
        "POST",
        "/silences",
        JSON,
        r#"{"matchers":[{"name":"a","value":"b","isRegex":false}],"startsAt":"2026-11-22T03:00:00Z","endsAt":"2026-11-22T03:00:00Z","createdBy":"me","comment":"c"}"#,
    ),
    (
        "POST",
        "/silences",
        JSON,
        r#"{"matchers":[{"name":"a","value":"b","isRegex":false}],"startsAt":"2016-11-22T03:00:00Z","endsAt":"2016-11-22T03:10:00Z","createdBy":"me","comment":"c"}"#,
    ),
    (
        "POST",
        "/silences",
        JSON,
        r#"{"id":"00000000-0000-4000-8000-000000000000","matchers":[{"name":"a","value":"b","isRegex":false}],"startsAt":"2026-11-22T03:00:00Z","endsAt":"2036-11-23T03:00:00Z","createdBy":"me","comment":"c"}"#,
    ),
    ("PUT", "/alerts", JSON, "[]"),
    ("DELETE", "/status", "", ""),
    ("GET", "/nothing", "", ""),
    ("GET", "/silence/nonsense", "", ""),
    ("DELETE", "/silence/nonsense", "", ""),
    ("GET", "/silence/00000000-0000-4000-8000-000000000000", "", ""),
    ("GET", "/status", "", ""),
    ("GET", "/receivers", "", ""),
    ("GET", "/alerts", "", ""),
    ("GET", "/alerts/", "", ""),
    ("GET", "/alerts/groups", "", ""),
    ("GET", "/alerts?filter=a", "", ""),
    ("GET", "/alerts?filter=", "", ""),
    ("GET", "/alerts?filter=alertname%3D~%22(%22", "", ""),
    ("GET", "/alerts?filter=alertname%3D~%22Node.*%7CHot%22&filter=instance%3Dnas", "", ""),
    ("GET", "/alerts?filter=instance!%3Dnas", "", ""),
    ("GET", "/alerts?receiver=(", "", ""),
    ("GET", "/alerts?receiver=pag.*", "", ""),
    ("GET", "/alerts?receiver=pag", "", ""),
    ("GET", "/alerts?active=false", "", ""),
    ("GET", "/alerts?active=maybe", "", ""),
    ("GET", "/alerts?active=", "", ""),
    ("GET", "/alerts?inhibited=false", "", ""),
    ("GET", "/alerts?silenced=false&unprocessed=false", "", ""),
    ("GET", "/alerts/groups?receiver=default", "", ""),
    ("GET", "/alerts/groups?active=false", "", ""),
    ("GET", "/alerts/groups?filter=team%3Da", "", ""),
    ("GET", "/silences", "", ""),
    ("GET", "/silences?filter=team%3D%22a%22", "", ""),
    ("GET", "/silences?filter=team%3D%22b%22", "", ""),
    ("GET", "/silences?filter=team", "", ""),
];

pub(crate) const ALERTS: &str = r#"[
    {"labels":{"alertname":"NodeDown","instance":"nas","severity":"critical"},"annotations":{"summary":"x"},"generatorURL":"http://p/g"},
    {"labels":{"alertname":"Hot","instance":"nas","team":"a","empty":""}},
    {"labels":{"alertname":"Hot","instance":"apex","team":"a"},"annotations":{"z":""}},
    {"labels":{"alertname":"Late","job":"b"},"startsAt":"2026-01-01T00:00:00Z"},
    {"labels":{"alertname":"Late","job":"a"},"endsAt":"2016-01-01T00:00:00Z"}
]"#;

fn differences(ours: &str, theirs: &str) -> Vec<String> {
    let differs = |(method, path, kind, body): &(&str, &str, &str, &str)| {
        let answer = |base: &str| told(&ask(method, &format!("{base}/api/v2{path}"), kind, body));
        let (ours, theirs) = (answer(ours), answer(theirs));
        (ours != theirs)
            .then(|| format!("{method} {path} {body}\n  ours   {ours:?}\n  theirs {theirs:?}"))
    };
    REQUESTS.iter().filter_map(differs).collect()
}

#[test]
fn the_same_requests_are_answered_as_by_alertmanager() {
    let temp = tempfile::tempdir().unwrap();
    let Some((_peer, theirs)) = alertmanager(temp.path()) else { return };
    let (_server, ours) = labstat(temp.path());
    // Ours tells of one more receiver, which routes without one have.
    let receivers = |base: &str| get(&format!("{base}/api/v2/receivers")).unwrap();
    assert!(receivers(&ours).contains("pager") && receivers(&theirs).contains("pager"));
    let check = |when: &str| {
        let mut found = differences(&ours, &theirs);
        found.retain(|text| !text.starts_with("GET /receivers"));
        assert!(found.is_empty(), "{when}:\n{}", found.join("\n"));
    };
    check("empty");
    for base in [&ours, &theirs] {
        let url = format!("{base}/api/v2/alerts");
        assert_eq!(ask("POST", &url, JSON, ALERTS), (200, String::new()));
    }
    // A group of Alertmanager is there once its alerts went through its queue.
    eventually("both have their groups", || {
        let groups = |base: &str| {
            let text = get(&format!("{base}/api/v2/alerts/groups")).unwrap_or_default();
            serde_json::from_str::<Value>(&text).ok().and_then(|list| Some(list.as_array()?.len()))
        };
        match (groups(&ours), groups(&theirs)) {
            (Some(3), Some(3)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    check("with alerts");
    for base in [&ours, &theirs] {
        let silence = r#"{"matchers":[{"name":"team","value":"a","isRegex":false}],"startsAt":"2016-11-22T03:00:00Z","endsAt":"2036-11-23T03:00:00Z","createdBy":"me","comment":"c"}"#;
        let (status, _) = ask("POST", &format!("{base}/api/v2/silences"), JSON, silence);
        assert_eq!(status, 200);
    }
    check("with a silence");
    for base in [&ours, &theirs] {
        let listed = get(&format!("{base}/api/v2/silences")).unwrap();
        let id =
            serde_json::from_str::<Value>(&listed).unwrap()[0]["id"].as_str().unwrap().to_owned();
        for _ in 0..2 {
            let url = format!("{base}/api/v2/silence/{id}");
            assert_eq!(ask("DELETE", &url, "", ""), (200, String::new()));
        }
    }
    check("with a silence that is over");
}

fn amtool(base: &str, arguments: &[&str]) -> String {
    let output = Command::new(AMTOOL)
        .arg(format!("--alertmanager.url={base}"))
        .args(arguments)
        .env("HOME", "/nonexistent")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn amtool_works() {
    if !Path::new(AMTOOL).exists() {
        return println!("SKIPPED amtool: {AMTOOL} is not installed");
    }
    let temp = tempfile::tempdir().unwrap();
    let (_server, base) = labstat(temp.path());
    let am = |arguments: &[&str]| amtool(&base, arguments);
    am(&[
        "alert",
        "add",
        "NodeDown",
        "instance=nas",
        "severity=critical",
        "--annotation=summary=x",
    ]);
    am(&["alert", "add", "Hot", "instance=nas", "team=a"]);
    let active = am(&["alert", "query"]);
    assert!(active.contains("NodeDown") && !active.contains("Hot"), "{active}");
    assert!(am(&["alert", "query", "-i"]).contains("Hot"));
    assert!(am(&["alert", "query", "-o", "extended", "instance=~n.*"]).contains("summary=\"x\""));
    let listed: Value = serde_json::from_str(&am(&["alert", "query", "-o", "json"])).unwrap();
    assert_eq!(listed[0]["receivers"], json!([{"name": "pager"}]));

    let id = am(&["silence", "add", "instance=nas", "-c", "new disk", "-a", "anna", "-d", "2h"]);
    let id = id.trim();
    assert!(am(&["silence", "query"]).contains("new disk"));
    assert!(!am(&["alert", "query"]).contains("NodeDown"));
    assert!(am(&["alert", "query", "-s", "-i"]).contains("NodeDown"));
    am(&["silence", "update", "-c", "newer disk", id]);
    let kept = am(&["silence", "query", "-o", "json"]);
    assert!(kept.contains("newer disk"), "{kept}");
    let ids = am(&["silence", "query", "-q"]);
    am(&["silence", "expire", ids.trim()]);
    assert!(am(&["alert", "query"]).contains("NodeDown"));
    let file = temp.path().join("silences.json");
    std::fs::File::create(&file).unwrap().write_all(kept.as_bytes()).unwrap();
    am(&["silence", "import", "--force", file.to_str().unwrap()]);
    assert!(am(&["silence", "query"]).contains("newer disk"));

    assert!(am(&["config", "show"]).contains("receiver: default"));
    assert!(am(&["config", "routes", "show"]).contains("receiver: pager"));
    assert_eq!(am(&["config", "routes", "test", "severity=critical"]).trim(), "pager");
    assert_eq!(
        am(&["config", "routes", "test", "severity=critical", "team=b"]).trim(),
        "pager,team"
    );
    assert!(am(&["cluster", "show"]).contains("disabled"));
}

/// As `docs/api.md` has it for a server that wants a token.
#[test]
fn amtool_works_with_a_token() {
    if !Path::new(AMTOOL).exists() {
        return println!("SKIPPED amtool: {AMTOOL} is not installed");
    }
    let temp = tempfile::tempdir().unwrap();
    let token = temp.path().join("token");
    std::fs::write(&token, "a-token-of-the-lab\n").unwrap();
    let file = temp.path().join("aggregator.toml");
    std::fs::write(&file, format!("token_file = {token:?}\n{}", config(temp.path()))).unwrap();
    let mut server = Labstat::start(&["aggregator", "--config", file.to_str().unwrap()]);
    let base = server.url();
    let http = temp.path().join("http.yml");
    std::fs::write(&http, format!("authorization: {{ credentials_file: {token:?} }}\n")).unwrap();
    let http = format!("--http.config.file={}", http.display());
    amtool(&base, &[&http, "alert", "add", "NodeDown", "instance=nas", "severity=critical"]);
    assert!(amtool(&base, &[&http, "alert", "query"]).contains("NodeDown"));
    let mut without = Command::new(AMTOOL);
    without.arg(format!("--alertmanager.url={base}")).args(["alert", "query"]);
    assert!(!without.env("HOME", "/nonexistent").output().unwrap().status.success());
}

const PROMETHEUS_RULES: &str = "\
groups:
- name: g
  interval: 1s
  rules:
  - alert: FromPrometheus
    expr: vector(1)
    labels: {severity: critical, instance: 'box'}
    annotations: {summary: 'told by Prometheus'}
";

#[test]
fn a_prometheus_has_labstat_as_its_alertmanager() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for program in PROMETHEUS.map(|path| root.join(path)) {
        if !program.exists() {
            println!("SKIPPED prometheus: {} is not there", program.display());
            continue;
        }
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        let (_server, base) = labstat(dir);
        std::fs::write(dir.join("rules.yml"), PROMETHEUS_RULES).unwrap();
        // Once at the root, and once below a prefix.
        let config = format!(
            "rule_files: [rules.yml]\nalerting:\n  alertmanagers:\n\
             \x20 - static_configs: [{{targets: ['{0}']}}]\n\
             \x20 - path_prefix: /alertmanager\n    static_configs: [{{targets: ['{0}']}}]\n",
            &base[7..]
        );
        std::fs::write(dir.join("prometheus.yml"), config).unwrap();
        let listen = format!("127.0.0.1:{}", port());
        let prometheus = Peer(
            // What it has to say before it knows us, it says again after a minute otherwise.
            Command::new(&program)
                .arg("--rules.alert.resend-delay=1s")
                .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
                .arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()))
                .arg(format!("--web.listen-address={listen}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        let alerts = || {
            let text = get(&format!("{base}/api/v2/alerts"))?;
            serde_json::from_str::<Value>(&text).map_err(|error| error.to_string())
        };
        let alert = eventually("its alert arrives", || {
            alerts()?.as_array().and_then(|list| list.first().cloned()).ok_or("none yet".to_owned())
        });
        assert_eq!(alert["labels"]["alertname"], "FromPrometheus");
        assert_eq!(alert["annotations"]["summary"], "told by Prometheus");
        assert_eq!(alert["receivers"], json!([{"name": "pager"}]));
        assert!(alert["generatorURL"].as_str().unwrap().contains("/graph?"), "{alert}");
        let sent = eventually("Prometheus has sent it both ways", || {
            let text = get(&format!("http://{listen}/metrics"))?;
            let sent =
                text.lines().filter(|line| line.starts_with("prometheus_notifications_sent_total"));
            let sent: Vec<String> = sent.map(str::to_owned).collect();
            match sent.iter().filter(|line| !line.ends_with(" 0")).count() {
                2 => Ok(text),
                _ => Err(sent.join("\n")),
            }
        });
        let errors =
            sent.lines().filter(|line| line.starts_with("prometheus_notifications_errors_total"));
        assert!(
            errors.clone().all(|line| line.ends_with(" 0")),
            "{:?}",
            errors.collect::<Vec<_>>()
        );

        // It no longer holds: Prometheus posts its end.
        std::fs::write(
            dir.join("rules.yml"),
            PROMETHEUS_RULES.replace("vector(1)", "vector(1) < 0"),
        )
        .unwrap();
        crate::support::signal(prometheus.0.id(), "HUP");
        eventually("its end arrives", || match alerts()?.as_array() {
            Some(list) if list.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}

/// What a receiver was sent: posts to a socket, answered with 200.
struct Hook {
    url: String,
    bodies: std::sync::mpsc::Receiver<Value>,
}

impl Hook {
    fn start() -> Self {
        use std::io::{BufRead, BufReader, Read};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (sender, bodies) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(stream);
                let (mut line, mut len) = (String::new(), 0);
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        len = value.trim().parse().unwrap_or(0);
                    }
                    line.clear();
                }
                let mut body = vec![0; len];
                let _ = reader.read_exact(&mut body);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                let _ = reader.get_mut().write_all(answer);
                if sender.send(serde_json::from_slice(&body).unwrap_or(Value::Null)).is_err() {
                    break;
                }
            }
        });
        Self { url, bodies }
    }

    fn next(&self) -> Value {
        self.bodies.recv_timeout(crate::support::DEADLINE).expect("a message within the deadline")
    }
}

#[test]
fn receivers_and_routes_follow_the_file_and_a_bad_one_changes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let (first, second) = (Hook::start(), Hook::start());
    let file = dir.join("aggregator.toml");
    let config = |url: &str, more: &str| {
        format!(
            "listen = '127.0.0.1:0'\ndata = '{}'\n[rules]\nshipped = false\npaths = []\n\
             [[receivers]]\nname = 'chat'\nwebhook = {{ url = '{url}' }}\n{more}",
            dir.join("data").display()
        )
    };
    std::fs::write(&file, config(&first.url, "")).unwrap();
    let mut server = Labstat::start(&["aggregator", "--config", file.to_str().unwrap()]);
    let base = server.url();
    let alert = |name: &str| {
        let body = json!([{ "labels": { "alertname": name, "instance": name } }]).to_string();
        let (status, text) =
            post(&format!("{base}/api/v2/alerts"), &[("content-type", JSON)], body.as_bytes())
                .unwrap();
        assert_eq!((status, text.as_str()), (200, ""));
    };
    alert("A");
    assert_eq!(first.next()["alerts"][0]["labels"]["alertname"], "A");

    let reload = || post(&format!("{base}/-/reload"), &[], b"").unwrap();
    std::fs::write(&file, config(&second.url, "[route]\nreceiver = 'who'\n")).unwrap();
    let (status, text) = reload();
    assert_eq!(status, 500, "{text}");
    assert!(text.contains("who"), "{text}");
    alert("B");
    assert_eq!(first.next()["alerts"][0]["labels"]["alertname"], "B");

    std::fs::write(&file, config(&second.url, "")).unwrap();
    assert_eq!(reload().0, 200);
    alert("C");
    assert_eq!(second.next()["alerts"][0]["labels"]["alertname"], "C");
}

/// What fires at an Alertmanager is shown as what fires here, and who has silenced it.
#[test]
fn alerts_of_an_alertmanager_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    let Some((_peer, base)) = alertmanager(dir.path()) else { return };
    let alerts = json!([
        {"labels": {"alertname": "NodeDown", "instance": "nas", "severity": "critical"},
         "annotations": {"summary": "nas is down"}, "startsAt": "2026-01-02T03:04:05Z"},
        {"labels": {"alertname": "Hot", "instance": "apex", "severity": "warning"}},
    ]);
    let posted = ask("POST", &format!("{base}/api/v2/alerts"), JSON, &alerts.to_string());
    assert_eq!(posted.0, 200, "{posted:?}");
    let run = |arguments: &[&str]| {
        let output = command(&[arguments, &["--server", &base]].concat()).output().unwrap();
        assert!(output.status.success(), "{arguments:?} {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let id = run(&["silence", "add", "instance=apex", "--for", "1h", "--author", "anna"]);
    let shown = eventually("both are there, and one is silenced", || {
        let shown: Value = serde_json::from_str(&run(&["alerts", "--format", "json"])).unwrap();
        if shown[1]["attention"] == "silenced by anna" { Ok(shown) } else { Err(shown.to_string()) }
    });
    assert!(!id.trim().is_empty() && shown.as_array().unwrap().len() == 2, "{id} {shown}");
    assert_eq!(shown[0]["alert"], "NodeDown");
    assert_eq!(
        (&shown[0]["state"], &shown[0]["summary"]),
        (&json!("firing"), &json!("nas is down"))
    );
    assert!(shown[0]["fingerprint"].is_string(), "{shown}");
    let of_nas = run(&["alerts", "--node", "nas", "--format", "csv"]);
    assert!(of_nas.contains("NodeDown") && !of_nas.contains("Hot"), "{of_nas}");
}
