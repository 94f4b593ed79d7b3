//! Who is let in.

use std::sync::Arc;

use labstat_aggregator::StartError;
use labstat_model::SystemClock;

use super::support::{Server, config, try_start};

const TOKEN: &str = "correct-horse-battery-staple";

fn guarded() -> Server {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let file = dir.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    Server::within(dir, |config| config.token_file = Some(file), Arc::new(SystemClock))
}

#[test]
fn every_path_but_the_probes_wants_the_token() {
    let server = guarded();
    for path in
        ["/", "/api/v1/labels", "/metrics", "/federate", "/sd", "/nothing", "/nodes/x/metrics"]
    {
        let answer = server.get(path);
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.header("www-authenticate"), "Bearer", "{path}");
    }
    assert_eq!(server.write_body(b"\x00").status, 401);
    assert_eq!(server.post("/-/reload", &[], b"").status, 401);
    for path in ["/-/healthy", "/-/ready"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    let good = format!("Bearer {TOKEN}");
    let status = |token: &str| {
        server.request("GET", "/api/v1/labels", &[("authorization", token)], b"").status
    };
    assert_eq!(status(&good), 200);
    assert_eq!(status(&format!("{good}x")), 401);
    assert_eq!(status("Bearer "), 401);
}

/// A tap on a message leads there, from a phone that has no token.
#[test]
fn the_page_behind_an_alerts_link_answers_without_a_token_and_then_tells_nothing() {
    let server = guarded();
    let good = format!("Bearer {TOKEN}");
    let login = ("authorization", &*good);
    let alert = r#"[{"labels":{"alertname":"Hot","instance":"nas"},
                     "generatorURL":"http://h/graph?g0.expr=x+%3E+80&g0.tab=1"}]"#;
    let headers = [login, ("content-type", "application/json")];
    assert_eq!(server.post("/api/v2/alerts", &headers, alert.as_bytes()).status, 200);
    let page = |headers: &[(&str, &str)], path: &str| {
        let answer = server.request("GET", path, headers, b"");
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "", "no page of another site");
        answer.text()
    };
    let path = "/graph?g0.expr=x+%3E+80&g0.tab=1";
    let told = page(&[login], path);
    assert!(told.contains("x &gt; 80") && told.contains("Hot") && told.contains("nas"), "{told}");
    let told = page(&[], path);
    assert!(told.contains("x &gt; 80") && !told.contains("Hot"), "{told}");
    assert!(page(&[login], "/graph?g0.expr=y").contains("No alert of it fires"));
    assert!(page(&[login], "/graph").contains("names none"));
}

#[test]
fn a_new_token_counts_after_a_reload_and_a_bad_file_changes_nothing() {
    let server = guarded();
    let file = server.dir.path().join("token");
    let status = |token: &str| {
        let value = format!("Bearer {token}");
        server.request("GET", "/api/v1/labels", &[("authorization", &*value)], b"").status
    };
    std::fs::write(&file, "another-secret-of-good-length").unwrap();
    assert!(server.reload().problems.is_empty());
    assert_eq!((status(TOKEN), status("another-secret-of-good-length")), (401, 200));
    std::fs::write(&file, "").unwrap();
    let problems = server.reload().problems;
    assert!(problems[0].message.contains("holds no token"), "{problems:?}");
    assert_eq!(status("another-secret-of-good-length"), 200);
}

#[test]
fn open_to_the_network_without_a_token_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let mut config = config(dir.path());
        config.listen = listen.parse().unwrap();
        let error = try_start(config).unwrap_err();
        assert!(matches!(error, StartError::TokenMissing { .. }), "{listen}: {error}");
        assert!(error.to_string().contains("token_file"), "{error}");
    }
    let mut short = config(dir.path());
    let file = dir.path().join("short");
    std::fs::write(&file, "secret\n").unwrap();
    short.token_file = Some(file);
    assert!(matches!(try_start(short).unwrap_err(), StartError::TokenUnfit { .. }));
    let mut absent = config(dir.path());
    absent.token_file = Some(dir.path().join("absent"));
    assert!(matches!(try_start(absent).unwrap_err(), StartError::TokenFile { .. }));
}

#[test]
fn web_pages_of_others_cannot_write() {
    let server = Server::start();
    let evil = ("origin", "http://evil.example");
    for path in ["/api/v1/write", "/-/reload", "/api/labstat/v1/compact"] {
        assert_eq!(server.post(path, &[evil], b"\x00").status, 403, "{path}");
    }
    // A name that a foreign DNS server points at us, so that the page seems to be ours.
    let rebound = [("host", "evil.example"), evil];
    assert_eq!(server.post("/-/reload", &rebound, b"").status, 403);
    let own = server.url("");
    assert_eq!(server.post("/-/reload", &[("origin", own.as_str())], b"").status, 200);
    assert_eq!(server.post("/api/v1/query?query=1", &[evil], b"").status, 200, "reading is free");
}

#[test]
fn web_pages_of_others_cannot_read_where_no_token_is_wanted() {
    let server = Server::start();
    let evil = ("origin", "http://evil.example");
    for method in ["GET", "OPTIONS"] {
        let answer = server.request(method, "/api/v1/labels", &[evil], b"");
        assert_eq!(answer.header("access-control-allow-origin"), "", "{method}");
    }
    // A page whose name leads here needs no permission to read, so it gets no answer.
    for path in ["/api/v1/labels", "/metrics", "/-/healthy", "/"] {
        let answer = server.request("GET", path, &[("host", "evil.example:5227")], b"");
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.text().contains("external_url"), "{}", answer.text());
    }
    let named = Server::with(
        |config| config.external_url = Some("https://lab.example".to_owned()),
        Arc::new(SystemClock),
    );
    assert_eq!(named.request("GET", "/", &[("host", "lab.example")], b"").status, 200);
    let page = ("origin", "https://grafana.example");
    let guarded = guarded().request("OPTIONS", "/api/v1/labels", &[page], b"");
    assert_eq!(guarded.header("access-control-allow-origin"), page.1, "the token guards it");
}
