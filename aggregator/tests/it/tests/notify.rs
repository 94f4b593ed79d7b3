//! What is told of receivers and routes, to whom, and that no secret is in it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use labstat_aggregator::Config;
use labstat_model::SystemClock;
use serde_json::{Value, json};

use super::support::{Answer, Server, eventually};

/// What lets people in.
const TOKEN: &str = "correct-horse-battery-staple";

/// What receivers want to see: in a path, in a file, in a name with a password.
const SECRETS: [&str; 3] = ["T0PS3CRET-PATH-0042", "tk_t0ps3cret_in_a_file", "t0ps3cret-of-anna"];

/// Refuses whatever comes, with all that it was told: the path and the login are in its answer.
fn refusing() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/{}", listener.local_addr().unwrap(), SECRETS[0]);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let (mut head, mut len) = (String::new(), 0);
            for line in reader.by_ref().lines().map_while(Result::ok) {
                if line.is_empty() {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    len = value.trim().parse().unwrap();
                } else {
                    head += &format!("{line} ");
                }
            }
            let _ = reader.read_exact(&mut vec![0; len]);
            let answer = format!("you said {head}");
            let _ = write!(
                reader.get_mut(),
                "HTTP/1.1 503 Busy\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
                answer.len()
            );
        }
    });
    url
}

/// Whoever has the token is let in. Three receivers refuse what they get, and one gets nothing.
fn lab() -> Server {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("{text}\n")).unwrap();
        path
    };
    let rules = "groups: [{name: a, interval: 1s, rules: [{alert: Hot, expr: vector(50)}]}]";
    let rules = file("hot.yml", rules);
    let (url, token) = (refusing(), file("secret", SECRETS[1]));
    let with_login = url.replace("http://", &format!("http://anna:{}@", SECRETS[2]));
    let text = format!(
        "[rules]\npaths = [{rules:?}]\n\
         [route]\nreceiver = 'quiet'\ngroup_wait = '0s'\n\
         [[route.routes]]\nmatchers = ['alertname=\"Hot\"']\nreceiver = 'hook'\ncontinue = true\n\
         [[route.routes]]\nmatchers = ['alertname=\"Hot\"']\nreceiver = 'chat'\ncontinue = true\n\
         [[route.routes]]\nmatchers = ['alertname=\"Hot\"']\nreceiver = 'phone'\ngroup_by = ['instance']\n\
         [[receivers]]\nname = 'hook'\nwebhook = {{ url = '{url}', token_file = {token:?} }}\n\
         [[receivers]]\nname = 'chat'\nwebhook = {{ url = '{with_login}' }}\n\
         [[receivers]]\nname = 'phone'\nntfy = {{ url = '{url}', topic = 'lab', token_file = {token:?} }}\n\
         [[receivers]]\nname = 'quiet'\nwebhook = {{ url = '{url}/quiet' }}\n"
    );
    let told = Config::parse(&text).unwrap();
    let token = file("token", TOKEN);
    let change = |config: &mut Config| {
        config.token_file = Some(token);
        config.rules = told.rules;
        config.receivers = told.receivers;
        config.manners = told.manners;
    };
    Server::within(dir.clone(), change, Arc::new(SystemClock))
}

fn get(server: &Server, path: &str) -> Answer {
    let login = format!("Bearer {TOKEN}");
    let answer = server.request("GET", path, &[("authorization", &login)], b"");
    for secret in SECRETS {
        assert!(!answer.text().contains(secret), "{path}: {}", answer.text());
    }
    answer
}

fn data(server: &Server, path: &str) -> Value {
    let answer = get(server, path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    assert_eq!(answer.json()["status"], "success");
    answer.json()["data"].clone()
}

#[test]
fn receivers_are_told_in_their_order_with_what_is_known_and_without_secrets() {
    let server = lab();
    let receivers = eventually("three have failed", || {
        let receivers = data(&server, "/api/labstat/v1/receivers");
        let failing = |at: usize| receivers[at]["nextTry"].is_string();
        if (0..3).all(failing) { Ok(receivers) } else { Err(receivers.to_string()) }
    });
    let names: Vec<&Value> =
        receivers.as_array().unwrap().iter().map(|receiver| &receiver["name"]).collect();
    assert_eq!(names, ["hook", "chat", "phone", "quiet"]);
    for (at, kind) in [(0, "webhook"), (1, "webhook"), (2, "ntfy")] {
        let receiver = &receivers[at];
        assert_eq!((&receiver["kind"], &receiver["owed"]), (&json!(kind), &json!(1)), "{receiver}");
        assert_eq!(receiver["delivered"], 0);
        assert!(receiver["attemptsFailed"].as_u64() >= Some(1), "{receiver}");
        let said = receiver["lastError"].as_str().unwrap();
        assert!(said.contains("503") && said.contains("you said POST"), "it is quoted: {said}");
        for known in ["oldest", "failingSince", "nextTry"] {
            assert!(receiver[known].as_str().unwrap().ends_with('Z'), "{known}: {receiver}");
        }
        assert!(receiver.get("lastSuccess").is_none(), "what is not known is left out: {receiver}");
    }
    let nothing = json!({
        "name": "quiet", "kind": "webhook", "configured": true, "owed": 0, "delivered": 0,
        "attemptsFailed": 0, "refused": 0, "expired": 0, "presumed": 0, "summarized": 0,
    });
    assert_eq!(receivers[3], nothing);
    // Nor do others tell what is to be kept to oneself.
    for path in [
        "/metrics",
        "/api/v1/status/config",
        "/api/v1/status/flags",
        "/api/v2/status",
        "/api/v2/receivers",
        "/api/v2/alerts/groups",
        "/api/labstat/v1/alerts",
    ] {
        assert_eq!(get(&server, path).status, 200, "{path}");
    }
}

#[test]
fn the_routes_of_an_alert_are_told_and_all_of_them_where_none_is_meant() {
    let server = lab();
    let all = data(&server, "/api/labstat/v1/routes");
    let tree = all["tree"].as_array().unwrap();
    let matchers: Vec<(&Value, &Value)> =
        tree.iter().map(|route| (&route["matchers"], &route["receiver"])).collect();
    let hot = json!("{alertname=\"Hot\"}");
    let [root, quiet, hook, chat, phone] =
        ["{}", "quiet", "hook", "chat", "phone"].map(Value::from);
    assert_eq!(matchers, [(&root, &quiet), (&hot, &hook), (&hot, &chat), (&hot, &phone)]);
    assert_eq!((&tree[0]["depth"], &tree[3]["depth"]), (&json!(0), &json!(1)));
    assert_eq!((&tree[1]["continue"], &tree[3]["continue"]), (&json!(true), &json!(false)));
    assert_eq!(tree[3]["groupBy"], json!(["instance"]));

    let told = data(&server, "/api/labstat/v1/routes?alertname=Hot&instance=nas");
    assert_eq!(told["receivers"], json!(["hook", "chat", "phone"]));
    assert_eq!(told["routes"][2]["path"], json!(["{}", "{alertname=\"Hot\"}"]));
    assert_eq!(told["routes"][2]["groupLabels"], json!({"instance": "nas"}));
    assert_eq!(told["suppressed"], false);
    assert!(told.get("tree").is_none(), "{told}");
    let told = data(&server, "/api/labstat/v1/routes?never=heard%20of");
    assert_eq!(told["receivers"], json!(["quiet"]), "who takes what nobody else does");
}

#[test]
fn neither_is_told_to_strangers_or_changed_and_what_makes_no_sense_is_refused() {
    let server = lab();
    let login = format!("Bearer {TOKEN}");
    for path in ["/api/labstat/v1/receivers", "/api/labstat/v1/routes?alertname=Hot"] {
        for token in ["", "Bearer ", "Bearer wrong", &format!("{login}x")] {
            let answer = server.request("GET", path, &[("authorization", token)], b"");
            assert_eq!(answer.status, 401, "{path} {token}");
            assert!(!answer.text().contains("hook"), "{}", answer.text());
        }
        let answer = server.post(path, &[("authorization", &login)], b"");
        assert_eq!(answer.status, 405, "{path}");
    }
    assert_eq!(get(&server, "/api/labstat/v1/receivers/hook").status, 404);
    assert_eq!(get(&server, "/api/labstat/v1/routes/hook").status, 404);
    let bad = get(&server, "/api/labstat/v1/routes?alertname=%zz");
    assert_eq!((bad.status, &bad.json()["errorType"]), (400, &json!("bad_data")), "{bad:?}");
}
