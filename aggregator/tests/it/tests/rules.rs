//! Rules at work: evaluated, reloaded, and kept when a file is bad.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use labstat_model::{BucketCount, Clock, Histogram, ManualClock, SystemClock, WriteRequest};
use labstat_wire::remote_write;
use serde_json::{Value, json};

use super::support::{DEADLINE, Server, eventually, series};

fn rule(name: &str, expr: &str) -> String {
    format!(
        "groups:\n- name: lab\n  interval: 1s\n  rules:\n  - record: lab:recorded\n    expr: \
         vector(7)\n  - alert: {name}\n    expr: {expr}\n    labels: {{severity: warning}}\n    \
         annotations: {{summary: \"{{{{ $labels.instance }}}} is hot\"}}\n"
    )
}

fn with_rules(text: &str) -> Server {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let rules = dir.path().join("rules.d");
    std::fs::create_dir(&rules).unwrap();
    std::fs::write(rules.join("lab.yml"), text).unwrap();
    Server::within(dir, |config| config.rules = vec![rules], Arc::new(SystemClock))
}

fn file(server: &Server) -> std::path::PathBuf {
    Path::new(server.dir.path()).join("rules.d/lab.yml")
}

fn rule_names(server: &Server) -> Vec<String> {
    let groups = server.get("/api/v1/rules").json()["data"]["groups"].clone();
    let rules =
        groups.as_array().unwrap().iter().flat_map(|g| g["rules"].as_array().unwrap().clone());
    rules.map(|rule| rule["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_rule_fires_is_told_and_its_series_are_kept() {
    let server = with_rules(&rule("Hot", "temperature > 40"));
    let now_ms = SystemClock.now_ms();
    let labels = [("__name__", "temperature"), ("instance", "closet")];
    server.write(&[series(&labels, &[(now_ms, 45.0)])]);
    let alert: Value = eventually("the alert fires", || {
        let alerts = server.get("/api/v1/alerts").json();
        let alert = alerts["data"]["alerts"][0].clone();
        if alert["state"] == "firing" { Ok(alert) } else { Err(alerts.to_string()) }
    });
    assert_eq!(
        alert["labels"],
        json!({"alertname": "Hot", "instance": "closet", "severity": "warning"})
    );
    assert_eq!(alert["annotations"]["summary"], "closet is hot");
    let now = || format!("{}", SystemClock.now_ms() / 1000 + 1);
    eventually("its series are stored", || {
        let stored = server.query("ALERTS{alertname='Hot',alertstate='firing'}", &now());
        if stored[0]["value"][1] == "1" { Ok(()) } else { Err(stored.to_string()) }
    });
    eventually("the recorded one too", || {
        let stored = server.query("lab:recorded", &now());
        if stored[0]["value"][1] == "7" { Ok(()) } else { Err(stored.to_string()) }
    });
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("labstat_alerts{state=\"firing\"} 1\n"), "{metrics}");
    assert!(metrics.contains("labstat_rules 2\n"), "{metrics}");
}

/// What others send as a native histogram becomes one of a rule's own.
#[test]
fn native_histograms_are_recorded() {
    let server = with_rules(
        "groups:\n- name: lab\n  interval: 1s\n  rules:\n  - record: x:rate5m\n    expr: rate(h[5m])\n  \
         - record: x:p90\n    expr: histogram_quantile(0.9, x:rate5m)\n",
    );
    let now_ms = SystemClock.now_ms();
    let histogram = |count: f64| Histogram {
        count,
        sum: 1.5 * count,
        positive: vec![BucketCount { index: 1, count }],
        ..Histogram::default()
    };
    let mut message = remote_write::Message::new();
    let samples = [(now_ms - 60_000, &histogram(10.0)), (now_ms, &histogram(70.0))];
    message.histograms([("__name__", "h"), ("instance", "a")], samples);
    assert_eq!(server.write_body(&message.to_body().unwrap()).status, 204);
    let asked = |query: &str| {
        let found = server.query(query, &(SystemClock.now_ms() / 1000 + 1).to_string());
        let value = found[0]["value"][1].as_str().and_then(|value| value.parse::<f64>().ok());
        value.ok_or_else(|| found.to_string())
    };
    // All observations are between 1 and 2, on a scale of powers.
    for query in ["histogram_quantile(0.9, x:rate5m)", "x:p90"] {
        let value = eventually(query, || asked(query));
        assert!((value - 2_f64.powf(0.9)).abs() < 1e-9, "{query}: {value}");
    }
    assert!(asked("histogram_count(x:rate5m)").unwrap() > 0.0);
}

fn alerts(server: &Server) -> Vec<String> {
    let alerts = server.get("/api/v1/alerts").json()["data"]["alerts"].clone();
    let name = |alert: &Value| alert["labels"]["instance"].as_str().unwrap_or("").to_owned();
    alerts.as_array().unwrap().iter().map(name).collect()
}

/// What a rule waits for is an hour away; what it is about cannot wait. How soon it comes is printed:
/// on a machine that does nothing else, within a second.
#[test]
fn an_array_that_loses_a_disk_is_an_alert_at_once() {
    let text = rule("Array", "node_md_disks > 0").replace("interval: 1s", "interval: 1h");
    let server = with_rules(&text);
    let labels = [("__name__", "node_md_disks"), ("instance", "nas"), ("state", "failed")];
    for (value, wanted) in [(0.0, 0), (1.0, 1), (0.0, 0), (1.0, 1)] {
        let start = Instant::now();
        server.write(&[series(&labels, &[(SystemClock.now_ms(), value)])]);
        eventually("the alert is as the array", || {
            let found = alerts(&server);
            if found.len() == wanted { Ok(()) } else { Err(format!("{found:?}")) }
        });
        println!("{value}: within {:?}", start.elapsed());
    }
    let metrics = server.get("/metrics").text();
    let woken = metrics.lines().find(|line| line.starts_with("labstat_rule_group_woken_total"));
    let count: f64 = woken.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!((3.0..=5.0).contains(&count), "{woken:?}");
}

/// An agent that was cut off for an hour delivers it, and while the last minutes of that come, the
/// newest sample there is says what is over.
#[test]
fn a_backlog_raises_no_alarm_of_what_is_over() {
    let server = with_rules(&rule("Hot", "temperature > 40"));
    let labels = |instance| [("__name__", "temperature"), ("instance", instance)];
    let now_ms = SystemClock.now_ms();
    let rounds = || eventually_rounds(&server, 3.0);
    let part = |from_s: i64, to_s: i64, value: f64| {
        let samples: Vec<(i64, f64)> =
            (from_s..to_s).step_by(10).map(|age_s| (now_ms - age_s * 1000, value)).collect();
        let samples: Vec<(i64, f64)> = samples.into_iter().rev().collect();
        server.write(&[series(&labels("cut"), &samples)]);
    };
    part(1_800, 3_600, 45.0);
    part(120, 1_800, 45.0);
    rounds();
    assert_eq!(alerts(&server), [""; 0], "of two minutes ago");
    server.write(&[series(&labels("hot"), &[(SystemClock.now_ms(), 45.0)])]);
    rounds();
    assert_eq!(alerts(&server), ["hot"], "another's is of now");
    part(0, 120, 20.0);
    rounds();
    assert_eq!(alerts(&server), ["hot"]);
    server.write(&[series(&labels("cut"), &[(SystemClock.now_ms(), 45.0)])]);
    eventually("what is of now is told", || {
        let found = alerts(&server);
        if found.len() == 2 { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

/// Waits until the rules have been evaluated so many times more.
fn eventually_rounds(server: &Server, more: f64) {
    let rounds = || -> f64 {
        let metrics = server.get("/metrics").text();
        let name = "prometheus_rule_group_iterations_total";
        let found = metrics.lines().find(|line| line.starts_with(name));
        found.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    };
    let before = rounds();
    eventually("rules are evaluated", || {
        let now = rounds();
        if now >= before + more { Ok(()) } else { Err(format!("{before} {now}")) }
    });
}

#[test]
fn a_bad_file_keeps_the_old_rules_and_names_the_line() {
    let server = with_rules(&rule("First", "up == 0"));
    assert_eq!(rule_names(&server), ["lab:recorded", "First"]);
    std::fs::write(file(&server), rule("Second", "up == (")).unwrap();
    let answer = server.post("/-/reload", &[], b"");
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("lab.yml:8: "), "{}", answer.text());
    assert_eq!(rule_names(&server), ["lab:recorded", "First"]);
    let status = server.running().rules();
    assert_eq!((status.files, status.rules, status.problems.len()), (1, 2, 1), "{status:?}");
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("labstat_rules_last_reload_successful 0\n"), "{metrics}");
    std::fs::write(file(&server), rule("Third", "up == 0")).unwrap();
    assert_eq!(server.post("/-/reload", &[], b"").status, 200);
    assert_eq!(rule_names(&server), ["lab:recorded", "Third"]);
}

#[test]
fn a_changed_file_is_taken_by_itself() {
    let server = with_rules(&rule("First", "up == 0"));
    std::fs::write(file(&server), rule("Second", "up == 0")).unwrap();
    eventually("the new rule is in force", || {
        let names = rule_names(&server);
        if names.contains(&"Second".to_owned()) { Ok(()) } else { Err(format!("{names:?}")) }
    });
    // As editors do it: a new file takes the place of the old one.
    let next = server.dir.path().join("next");
    std::fs::write(&next, rule("Third", "up == 0")).unwrap();
    std::fs::rename(&next, file(&server)).unwrap();
    eventually("the replaced file is in force", || {
        let names = rule_names(&server);
        if names.contains(&"Third".to_owned()) { Ok(()) } else { Err(format!("{names:?}")) }
    });
}

/// Polls until a rule of this name is in force.
fn in_force(server: &Server, name: &str) {
    eventually(&format!("{name} is in force"), || {
        let names = rule_names(server);
        if names.contains(&name.to_owned()) { Ok(()) } else { Err(format!("{names:?}")) }
    });
}

#[test]
fn a_folder_that_comes_later_and_again_is_taken_by_itself() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let above = dir.path().join("etc");
    let rules = above.join("labstat/rules.d");
    let paths = vec![rules.clone()];
    let server = Server::within(dir, |config| config.rules = paths, Arc::new(SystemClock));
    for name in ["First", "Second"] {
        std::fs::create_dir_all(&rules).unwrap();
        std::fs::write(rules.join("lab.yml"), rule(name, "up == 0")).unwrap();
        in_force(&server, name);
        std::fs::remove_dir_all(&above).unwrap();
    }
}

#[test]
fn files_behind_links_are_followed() {
    use std::os::unix::fs::symlink;

    let dir = Arc::new(tempfile::tempdir().unwrap());
    let (rules, elsewhere) = (dir.path().join("rules.d"), dir.path().join("elsewhere"));
    std::fs::create_dir(&rules).unwrap();
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("lab.yml"), rule("First", "up == 0")).unwrap();
    symlink(elsewhere.join("lab.yml"), rules.join("lab.yml")).unwrap();
    let paths = vec![rules.clone()];
    let server = Server::within(dir, |config| config.rules = paths, Arc::new(SystemClock));
    in_force(&server, "First");
    std::fs::write(elsewhere.join("lab.yml"), rule("Second", "up == 0")).unwrap();
    in_force(&server, "Second");
    // As a mounted config map changes: all files lead through one link, which is replaced.
    std::fs::create_dir(rules.join("..1")).unwrap();
    std::fs::write(rules.join("..1/more.yml"), rule("Third", "up == 0")).unwrap();
    symlink("..1", rules.join("..data")).unwrap();
    symlink("..data/more.yml", rules.join("more.yml")).unwrap();
    in_force(&server, "Third");
    std::fs::create_dir(rules.join("..2")).unwrap();
    std::fs::write(rules.join("..2/more.yml"), rule("Fourth", "up == 0")).unwrap();
    symlink("..2", rules.join("..next")).unwrap();
    std::fs::rename(rules.join("..next"), rules.join("..data")).unwrap();
    in_force(&server, "Fourth");
}

#[test]
fn bad_rules_at_the_start_do_not_keep_samples_out() {
    let server = with_rules("groups: [");
    assert_eq!(server.running().rules().problems.len(), 1);
    server.write(&[series(&[("__name__", "x")], &[(1_000, 1.0)])]);
    assert_eq!(server.query("x", "1")[0]["value"][1], "1");
}

/// What tells of a full store cannot be stored in it. Rules see it all the same, and so they see more
/// than the store has.
#[test]
fn a_full_store_is_told_while_it_is_full() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let rules = dir.path().join("full.yml");
    let failed = "labstat_ingest_failed_writes_total{job='labstat', reason='full'}";
    std::fs::write(&rules, rule("StoreFull", &format!("{failed} > 0"))).unwrap();
    let change = |config: &mut labstat_aggregator::Config| {
        config.rules = vec![rules];
        config.size_max_bytes = Some(400 * 1024);
        config.own_metrics_interval_ms = Some(1_000);
    };
    let server = Server::within(dir, change, Arc::new(SystemClock));
    let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    let mut writes = 0;
    eventually("rules see what the store has no room for", || {
        // Smaller ones take what room larger ones leave.
        for many in [100, 10, 1] {
            let one = |at: u32| {
                let n = format!("{writes}-{at}-{}", "x".repeat(200));
                series(&[("__name__", "big"), ("n", &n)], &[(SystemClock.now_ms(), 1.0)])
            };
            let series = (0..many).map(one).collect();
            let request = WriteRequest { series, metadata: Vec::new() };
            server.write_body(&remote_write::encode(&request).unwrap());
            writes += 1;
        }
        let alerts = server.get("/api/v1/alerts").json();
        let seen: f64 = number(&alerts["data"]["alerts"][0]["value"]);
        let now = format!("{}", SystemClock.now_ms() / 1000 + 1);
        let stored: f64 = number(&server.query(failed, &now)[0]["value"][1]);
        if seen > stored { Ok(()) } else { Err(format!("{seen} {stored}")) }
    });
}

/// Who sends what cannot be kept is up, and who falls silent meanwhile is down, for rules as for everybody else.
#[test]
fn a_full_store_hides_nobody_who_is_silent() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let rules = dir.path().join("down.yml");
    std::fs::write(&rules, rule("Down", "up{job='node'} == 0")).unwrap();
    let clock = Arc::new(ManualClock::new(SystemClock.now_ms()));
    let change = |config: &mut labstat_aggregator::Config| {
        config.rules = vec![rules];
        config.size_max_bytes = Some(400 * 1024);
        config.presence_interval_ms = 20;
    };
    let server = Server::within(dir, change, Arc::<ManualClock>::clone(&clock));
    let send = |nodes: &[&str]| {
        let time_ms = clock.now_ms();
        let up = |node: &&str| {
            let labels = [("__name__", "up"), ("instance", *node), ("job", "node")];
            series(&labels, &[(time_ms, 1.0)])
        };
        let series = nodes.iter().map(up).collect();
        let request = WriteRequest { series, metadata: Vec::new() };
        server.write_body(&remote_write::encode(&request).unwrap()).status
    };
    for _ in 0..6 {
        assert_eq!(send(&["apex", "vertex"]), 204);
        clock.advance_ms(10_000);
    }
    let mut filled = 0;
    eventually("there is no room for anything", || {
        filled += 1;
        let one = |at: u32| {
            let n = format!("{filled}-{at}-{}", "x".repeat(200));
            series(&[("__name__", "big"), ("n", &n)], &[(clock.now_ms(), 1.0)])
        };
        let request = WriteRequest { series: (0..100).map(one).collect(), metadata: Vec::new() };
        server.write_body(&remote_write::encode(&request).unwrap());
        clock.advance_ms(100);
        if send(&["vertex"]) == 507 { Ok(()) } else { Err(format!("{filled} writes")) }
    });
    let mut refused = 0;
    let down = || -> Vec<String> {
        let alerts = server.get("/api/v1/alerts").json();
        let alerts = alerts["data"]["alerts"].as_array().unwrap().clone();
        alerts.iter().map(|alert| alert["labels"]["instance"].to_string()).collect()
    };
    eventually("the silent one is down", || {
        clock.advance_ms(500);
        refused += u32::from(send(&["vertex"]) == 507);
        match down() {
            down if down == ["\"apex\""] => Ok(()),
            down => Err(format!("{down:?}")),
        }
    });
    assert!(refused > 10, "nothing was kept meanwhile: {refused}");
    eventually("it is there again", || {
        clock.advance_ms(500);
        send(&["apex", "vertex"]);
        if down().is_empty() { Ok(()) } else { Err(format!("{:?}", down())) }
    });
}

/// Answers one request with 200 and gives its body.
fn receive(listener: &TcpListener) -> Value {
    let (mut stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut len = 0;
    for line in reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            len = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body).unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[test]
fn an_alert_reaches_the_configured_receiver() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let rules = dir.path().join("hot.yml");
    std::fs::write(&rules, rule("Hot", "vector(50) > 40")).unwrap();
    let text = format!(
        "[rules]\npaths = [{rules:?}]\n[[receivers]]\nname = \"hook\"\n\
         webhook = {{ url = \"http://{}/hook\" }}\n",
        listener.local_addr().unwrap()
    );
    let told = labstat_aggregator::Config::parse(&text).unwrap();
    let change = |config: &mut labstat_aggregator::Config| {
        config.rules.clone_from(&told.rules);
        config.receivers.clone_from(&told.receivers);
    };
    let server = Server::within(dir, change, Arc::new(SystemClock));
    let message = receive(&listener);
    assert_eq!(message["status"], "firing");
    assert_eq!(message["alerts"][0]["labels"]["alertname"], "Hot");
    eventually("it is counted", || {
        let metrics = server.get("/metrics").text();
        let line = "labstat_notifications_total{outcome=\"sent\",receiver=\"hook\"} 1\n";
        if metrics.contains(line) { Ok(()) } else { Err(metrics) }
    });
}

/// All that comes, each answered with 200.
fn received(listener: TcpListener) -> std::sync::mpsc::Receiver<Value> {
    let (sender, messages) = std::sync::mpsc::channel();
    std::thread::spawn(move || while sender.send(receive(&listener)).is_ok() {});
    messages
}

/// A rule file has a typo at a restart. The others are in force, the alerts of this one are neither over
/// nor told again, and once it is mended they go on as if nothing had been.
#[test]
fn a_typo_at_a_restart_ends_no_alert_and_tells_none_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let rules = dir.path().join("rules.d");
    std::fs::create_dir(&rules).unwrap();
    let hot = |expr: &str| std::fs::write(rules.join("lab.yml"), rule("Hot", expr)).unwrap();
    hot("vector(50) > 40");
    std::fs::write(rules.join("other.yml"), rule("Cold", "vector(50) < 40")).unwrap();
    let text = format!(
        "[rules]\npaths = [{rules:?}]\n[route]\nreceiver = \"hook\"\ngroup_by = [\"alertname\"]\n\
         group_wait = \"0s\"\ngroup_interval = \"1s\"\n[[receivers]]\nname = \"hook\"\n\
         webhook = {{ url = \"http://{}/hook\" }}\n",
        listener.local_addr().unwrap()
    );
    let told = labstat_aggregator::Config::parse(&text).unwrap();
    let messages = received(listener);
    let about_hot = || {
        let is_meant = |message: &Value| message["alerts"][0]["labels"]["alertname"] == "Hot";
        let next = || messages.recv_timeout(DEADLINE).expect("a message");
        std::iter::repeat_with(next).find(is_meant).unwrap()["status"].clone()
    };
    let start = |dir, watchdog| {
        let change = |config: &mut labstat_aggregator::Config| {
            config.rules.clone_from(&told.rules);
            config.watchdog = watchdog;
            config.receivers.clone_from(&told.receivers);
            config.manners = told.manners.clone();
        };
        Server::within(dir, change, Arc::new(SystemClock))
    };
    let fires = |server: &Server| {
        let alerts = server.get("/api/v2/alerts?filter=alertname=Hot").json();
        alerts[0]["startsAt"].as_str().map(str::to_owned)
    };
    let server = start(dir, false);
    assert_eq!(about_hot(), "firing");
    eventually("it is known to be sent", || {
        let metrics = server.get("/metrics").text();
        let line = "labstat_notifications_total{outcome=\"sent\",receiver=\"hook\"} 1\n";
        if metrics.contains(line) { Ok(()) } else { Err(metrics) }
    });
    let since = fires(&server);
    assert!(since.is_some());
    let dir = server.stop();

    hot("vector(50) > (");
    let server = start(dir, true);
    let status = server.running().rules();
    assert_eq!((status.files, status.problems.len()), (2, 1), "{status:?}");
    assert!(status.problems[0].to_string().contains("rules.d/lab.yml:8: "), "{status:?}");
    assert_eq!(rule_names(&server), ["lab:recorded", "Cold", "Watchdog"]);
    assert_eq!(fires(&server), since, "its rule is not known to be gone");
    assert!(server.get("/metrics").text().contains("labstat_rules_last_reload_successful 0\n"));
    let dir = server.stop();

    let server = start(dir, true);
    assert_eq!(fires(&server), since, "not after another restart either");
    hot("vector(50) > 40");
    in_force(&server, "Hot");
    eventually("its rule is evaluated", || {
        let alerts = server.get("/api/v1/alerts").json();
        if alerts.to_string().contains("\"Hot\"") { Ok(()) } else { Err(alerts.to_string()) }
    });
    assert_eq!(fires(&server), since, "the same alert");
    hot("vector(50) > 60");
    assert_eq!(about_hot(), "resolved", "the second message about it");
}

/// Three groups in two kinds, asked for in all ways.
#[test]
fn rules_are_asked_for_by_kind_name_labels_and_page() {
    let text = "groups:\n- name: b\n  rules:\n  - {record: 'a:b', expr: 'vector(1)', labels: {team: disks}}\n  \
                - {alert: Hot, expr: 'vector(1) > 2', labels: {team: disks, sev: '{{ $value }}'}}\n\
                - name: a\n  rules:\n  - {alert: Hot, expr: 'vector(0) > 1'}\n\
                - name: c\n  rules: []\n";
    let server = with_rules(text);
    let data = |query: &str| {
        let answer = server.get(&format!("/api/v1/rules?{query}")).json();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"].clone()
    };
    let names = |query: &str| -> Vec<String> {
        let data = data(query);
        let groups = data["groups"].as_array().unwrap();
        let rules = groups.iter().flat_map(|group| {
            let rules = group["rules"].as_array().unwrap();
            let name = |rule: &Value| format!("{}/{}", group["name"], rule["name"]);
            rules.iter().map(name).collect::<Vec<_>>()
        });
        rules.map(|name| name.replace('"', "")).collect()
    };
    assert_eq!(names(""), ["a/Hot", "b/a:b", "b/Hot"], "by name, and none without rules");
    assert_eq!(names("type=RECORD"), ["b/a:b"]);
    assert_eq!(names("rule_name[]=Hot&rule_name[]=x"), ["a/Hot", "b/Hot"]);
    assert_eq!(names("rule_group[]=b&type=alert"), ["b/Hot"]);
    assert_eq!(names("match[]={team=%22disks%22}"), ["b/a:b", "b/Hot"]);
    assert_eq!(names("match[]={team=%22disks%22,sev=%22%22}&match[]=x").len(), 2);
    assert_eq!(names("match[]={sev=~%22.%2B%22}"), [""; 0], "a template is no label");
    let first = data("group_limit=1");
    assert_eq!(first["groups"].as_array().unwrap().len(), 1);
    let token = first["groupNextToken"].as_str().unwrap();
    assert_eq!(names(&format!("group_limit=1&group_next_token={token}")), ["b/a:b", "b/Hot"]);
    let last = data(&format!("group_limit=5&group_next_token={token}"));
    assert!(last.get("groupNextToken").is_none(), "{last}");
}
