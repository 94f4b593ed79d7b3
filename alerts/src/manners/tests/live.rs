//! The real Alertmanager and ours live through the same half minute: alerts come, go and come
//! again, silences are made and ended, and each group of each receiver must have been told the same
//! in the same order.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::super::alertmanager;
use super::*;

const PROGRAM: &str = "/usr/bin/prometheus-alertmanager";

const ROUTES: &str = "
route:
  receiver: all
  group_by: [alertname]
  group_wait: 1s
  group_interval: 3s
  repeat_interval: 8s
  routes:
    - matchers: ['kind=\"unresolved\"']
      receiver: unresolved
    - matchers: ['kind=\"both\"']
      receiver: first
      continue: true
    - matchers: ['kind=~\"both|second\"']
      receiver: second
      group_by: [alertname, kind, rack]
inhibit_rules:
  - source_matchers: ['severity=critical']
    target_matchers: ['severity=warning']
    equal: [alertname]
";

const RECEIVERS: [(&str, bool); 4] =
    [("all", true), ("unresolved", false), ("first", true), ("second", true)];

/// Groups that live side by side.
const GROUPS: usize = 60;

/// How late something may happen: it is to happen 600 ms from a turn.
const LATE_MAX: Duration = Duration::from_millis(300);

/// One thing that happens to a group, this long after its beginning.
#[derive(Debug, Clone)]
enum Act {
    Fire(String),
    End(String),
    Silence(String),
    Expire,
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn request(port: u16, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let len = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {len}\r\nConnection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{path} {body}: {answer}");
    answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned()
}

/// What was told to a receiver of a group, in words.
type Told = BTreeMap<(String, String), Vec<String>>;

fn in_words(alerts: impl Iterator<Item = (String, BTreeMap<String, String>)>) -> String {
    let mut list: Vec<String> =
        alerts.map(|(status, labels)| format!("{status} {}", label_set_text(&labels))).collect();
    list.sort();
    list.join(", ")
}

/// Takes webhooks for ever, and notes them.
fn listen(told: Arc<Mutex<Told>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let told = told.clone();
            std::thread::spawn(move || take(stream.unwrap(), &told));
        }
    });
    port
}

fn take(mut stream: TcpStream, told: &Mutex<Told>) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let len: usize = len.unwrap().parse().unwrap();
            if body.len() >= len {
                note(&body[..len], told);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                bytes.clear();
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(len) => bytes.extend_from_slice(&buffer[..len]),
        }
    }
}

fn note(body: &str, told: &Mutex<Told>) {
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let alerts = body["alerts"].as_array().unwrap().iter().map(|alert| {
        let labels = serde_json::from_value(alert["labels"].clone()).unwrap();
        (alert["status"].as_str().unwrap().to_owned(), labels)
    });
    let key = (
        body["receiver"].as_str().unwrap().to_owned(),
        body["groupKey"].as_str().unwrap().to_owned(),
    );
    told.lock().unwrap().entry(key).or_default().push(in_words(alerts));
}

/// What happens to a group: never near a turn of it, which come at 1 s and every 3 s after.
fn script(dice: &mut super::peer::Dice, group: usize) -> Vec<(u64, Act)> {
    let kind = ["all", "unresolved", "both", "second"][group % 4];
    let alert = |n: usize| {
        let severity = ["critical", "warning", "info"][n % 3];
        format!("alertname=G{group} kind={kind} n={n} severity={severity}")
    };
    let first = dice.roll(3);
    // One goes on to the end: a group without alerts is forgotten at once by ours, so that the next
    // alert waits for a new group, and by Alertmanager within half a minute.
    let stays = format!("alertname=G{group} kind={kind} n=9 severity=info");
    let mut acts = vec![(0, Act::Fire(alert(first))), (0, Act::Fire(stays))];
    // Only what fires ends: of an end without a beginning, or told twice, Alertmanager makes an
    // alert that is over and tells of it, and ours does not. And nothing ends while it is muted:
    // when it begins again that is news to ours, and to Alertmanager it never was over.
    let mut fires = [first == 0, first == 1, first == 2];
    let mut silenced = None;
    for turn in 0..7_u64 {
        let mut ended = [false; 3];
        for part in [600, 1200, 1800, 2400] {
            let at_ms = 1000 + turn * 3000 + part;
            let n = dice.roll(3);
            let muted = silenced == Some(n) || (n == 1 && fires[0]);
            match dice.roll(10) {
                0..=2 if !(n == 0 && ended[1]) => {
                    fires[n] = true;
                    acts.push((at_ms, Act::Fire(alert(n))));
                }
                3..=5 if fires[n] && !muted => {
                    (fires[n], ended[n]) = (false, true);
                    acts.push((at_ms, Act::End(alert(n))));
                }
                6 if silenced.is_none() && !ended[n] => {
                    silenced = Some(n);
                    acts.push((at_ms, Act::Silence(format!("n={n}"))));
                }
                7 if silenced.is_some() => {
                    silenced = None;
                    acts.push((at_ms, Act::Expire));
                }
                _ => {}
            }
        }
    }
    acts
}

fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap().to_string()
}

fn start(dir: &Path, hooks: u16) -> (Server, u16) {
    let port = free_port();
    let mut yaml = format!("{ROUTES}receivers:\n");
    for (name, resolved) in RECEIVERS {
        yaml += &format!(
            "  - name: {name}\n    webhook_configs:\n      - url: http://127.0.0.1:{hooks}/\n        \
             send_resolved: {resolved}\n"
        );
    }
    std::fs::write(dir.join("am.yml"), yaml).unwrap();
    let child = Command::new(PROGRAM)
        .arg(format!("--config.file={}", dir.join("am.yml").display()))
        .arg(format!("--storage.path={}", dir.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--cluster.listen-address=")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server(child);
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "Alertmanager does not come up");
        std::thread::sleep(Duration::from_millis(20));
    }
    (server, port)
}

/// What happened, for ours: when, and what was posted or silenced.
enum Done {
    Posted(Posted),
    Silenced(usize, Silence),
    Expired(usize),
}

fn perform(
    port: u16,
    group: usize,
    act: &Act,
    silences: &mut BTreeMap<usize, String>,
    now_ms: i64,
) -> Option<Done> {
    match act {
        Act::Fire(text) | Act::End(text) => {
            let over = matches!(act, Act::End(_));
            let ends_at_ms = if over { now_ms } else { now_ms + 600_000 };
            let body = serde_json::json!([{
                "labels": labels(text), "startsAt": rfc3339(now_ms), "endsAt": rfc3339(ends_at_ms)
            }]);
            request(port, "POST", "/api/v2/alerts", &body.to_string());
            let (starts_at_ms, ends_at_ms) = (Some(now_ms), Some(ends_at_ms));
            let labels = labels(text);
            Some(Done::Posted(Posted { labels, starts_at_ms, ends_at_ms, ..Posted::default() }))
        }
        Act::Silence(matcher) => {
            if silences.contains_key(&group) {
                return None;
            }
            let matchers = Matchers::parse(&format!("alertname=G{group},{matcher}")).unwrap();
            let matchers: Vec<_> = matchers.iter().map(SilenceMatcher::from_matcher).collect();
            let body = serde_json::json!({
                "matchers": matchers, "startsAt": rfc3339(now_ms), "createdBy": "me",
                "endsAt": rfc3339(now_ms + 3_600_000), "comment": "c"
            });
            let answer = request(port, "POST", "/api/v2/silences", &body.to_string());
            let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
            silences.insert(group, answer["silenceID"].as_str().unwrap().to_owned());
            Some(Done::Silenced(
                group,
                Silence {
                    id: String::new(),
                    matchers,
                    starts_at_ms: now_ms,
                    ends_at_ms: now_ms + 3_600_000,
                    updated_at_ms: 0,
                    created_by: "me".to_owned(),
                    comment: "c".to_owned(),
                },
            ))
        }
        Act::Expire => {
            let id = silences.remove(&group)?;
            request(port, "DELETE", &format!("/api/v2/silence/{id}"), "");
            Some(Done::Expired(group))
        }
    }
}

/// Ours, living through the same.
fn ours(done: Vec<(i64, Done)>, end_ms: i64) -> Told {
    let file = alertmanager::read(ROUTES).unwrap();
    let recipients = RECEIVERS.map(|(name, send_resolved)| Recipient::new(name, send_resolved));
    let mut spec = file.spec;
    spec.flapping.changes = 0;
    let config = spec.build(&recipients, &TimeZone::UTC).unwrap();
    let start_ms = done.first().map_or(0, |(at_ms, _)| *at_ms);
    let (mut manners, _) = Manners::new(config, Vec::new(), start_ms);
    let mut told = Told::new();
    let mut until = |manners: &mut Manners, end_ms: i64| {
        while let Some(due_ms) = manners.next_due_ms(end_ms).filter(|due_ms| *due_ms <= end_ms) {
            for message in manners.advance(due_ms).messages {
                let alerts = message.alerts.iter();
                let alerts = alerts.map(|a| (a.status.as_str().to_owned(), a.labels.clone()));
                let key = (message.receiver.clone(), message.group_key.clone());
                told.entry(key).or_default().push(in_words(alerts));
            }
        }
    };
    let mut silences = BTreeMap::new();
    for (at_ms, done) in done {
        until(&mut manners, at_ms);
        match done {
            Done::Posted(posted) => {
                let (_, problems) = manners.post(&[posted], at_ms);
                assert!(problems.is_empty(), "{problems:?}");
            }
            Done::Silenced(group, silence) => {
                let (id, _) = manners.put_silence(silence, at_ms).unwrap();
                silences.insert(group, id);
            }
            Done::Expired(group) => {
                let id = silences.remove(&group).unwrap();
                manners.expire_silence(&id, at_ms).unwrap();
            }
        }
    }
    until(&mut manners, end_ms);
    told
}

#[test]
#[ignore = "takes half a minute"]
fn groups_are_told_what_alertmanager_tells() {
    if !Path::new(PROGRAM).exists() {
        eprintln!("SKIPPED: no {PROGRAM} (Debian package prometheus-alertmanager)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let theirs = Arc::new(Mutex::new(Told::new()));
    let (_server, port) = start(dir.path(), listen(theirs.clone()));
    #[expect(clippy::disallowed_methods, reason = "a test may be asked for other numbers")]
    let seed = std::env::var("MANNERS_SEED").ok().and_then(|text| text.parse().ok());
    let mut dice = super::peer::Dice(seed.unwrap_or(7));
    let mut acts: Vec<(u64, usize, Act)> = Vec::new();
    for group in 0..GROUPS {
        // Groups begin one after the other, so that there is time between what happens.
        let begins_ms = group as u64 * 37;
        let script = script(&mut dice, group).into_iter();
        acts.extend(script.map(|(at_ms, act)| (begins_ms + at_ms, group, act)));
    }
    acts.sort_by_key(|(at_ms, group, _)| (*at_ms, *group));
    let clock = Instant::now();
    let epoch_ms = jiff::Timestamp::now().as_millisecond();
    let mut silences = BTreeMap::new();
    let mut done = Vec::new();
    let mut late = BTreeSet::new();
    for (at_ms, group, act) in acts {
        let at = Duration::from_millis(at_ms);
        std::thread::sleep(at.saturating_sub(clock.elapsed()));
        // Too near to a turn, before which one of the two may have it and not the other.
        if clock.elapsed().saturating_sub(at) > LATE_MAX {
            late.insert(format!("alertname=\"G{group}\""));
        }
        let now_ms = epoch_ms + i64::try_from(clock.elapsed().as_millis()).unwrap();
        let happened = perform(port, group, &act, &mut silences, now_ms);
        done.extend(happened.map(|happened| (now_ms, happened)));
    }
    // Up to the middle between two turns of the first group; the others are a little later.
    let end = Duration::from_millis(1000 + 9 * 3000 + 2700);
    std::thread::sleep(end.saturating_sub(clock.elapsed()));
    let theirs = theirs.lock().unwrap().clone();
    let mut ours = ours(done, epoch_ms + i64::try_from(end.as_millis()).unwrap());
    let (mut count, mut differ) = (0, Vec::new());
    let is_late = |(_, group): &(String, String)| late.iter().any(|label| group.contains(label));
    ours.retain(|key, _| !is_late(key));
    for (key, theirs) in theirs.iter().filter(|(key, _)| !is_late(key)) {
        let ours = ours.remove(key).unwrap_or_default();
        count += theirs.len();
        // The last turns may fall on either side of the end.
        let len = theirs.len().min(ours.len());
        if theirs[..len] != ours[..len] || theirs.len().abs_diff(ours.len()) > 1 {
            differ.push(format!("{key:?}\ntheirs: {theirs:#?}\nours: {ours:#?}"));
        }
    }
    differ.extend(ours.into_iter().map(|(key, ours)| format!("{key:?} only ours: {ours:#?}")));
    println!("{count} messages of {} groups compared, {} left out", theirs.len(), late.len());
    assert!(late.len() < GROUPS / 2, "this machine is too busy: {} groups are late", late.len());
    assert!(differ.is_empty(), "{} differ\n{}", differ.len(), differ.join("\n"));
}
