//! The whole program is killed at random moments while it tells people, and started again: each
//! alert's beginning and end reaches a webhook, a phone and a mailbox, and under one name each, so
//! that whoever can know a repetition knows it. What comes again has a kill as its reason, which left
//! open whether it had arrived; what is known to have arrived never does.
//!
//! Each trial has a program, a folder and receivers of its own, and kills by the lots of its seed:
//! at any time since a start, between the taking of a message by the webhook and its answer, when
//! phone and mailbox are being told too, or when all that was told is recorded. `LABSTAT_TRIALS=500 LABSTAT_TRIALS_SEED=1000 cargo test
//! --test e2e kills -- --nocapture` makes more of them, and others. Receivers that fail at random as
//! well are in the aggregator's own trials.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use labstat_model::{Clock, Labels, Sample, SystemClock, TimeSeries, WriteRequest};
use labstat_wire::remote_write;

use crate::random::Random;
use crate::servers::{MailServer, NtfyServer};
use crate::support::{Labstat, get, post};

const NAMES: [&str; 3] = ["alpha", "bravo", "carol"];

/// How many trials are made, where nobody asks for more.
const TRIALS: u64 = 12;

/// How many of them at a time: most of a trial is waiting.
const AT_A_TIME: usize = 6;

/// How long a trial may take on a machine that does twenty other things; less than the five minutes
/// for which a sample says that a condition holds.
const DEADLINE: Duration = Duration::from_secs(240);

/// How often it is looked at what was told.
const LOOK: Duration = Duration::from_millis(25);

/// How far the time for which a receiver notes a message may be from that of its sending: one counts in
/// seconds, and all may be busy.
const NOTED_MS: u128 = 5_000;

const RULES: &str = "\
groups:
  - name: health
    interval: 1s
    rules:
      - alert: Sick
        expr: sick == 1
        labels: {severity: critical}
        annotations: {summary: '{{ $labels.name }} is sick'}
";

/// One message that arrived.
#[derive(Debug, Clone)]
struct Told {
    about: About,
    id: String,
    /// When the receiver took it, in milliseconds since the epoch.
    at_ms: u128,
}

/// What is to be told: to whom, of which alert, and whether it begins or is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct About {
    receiver: &'static str,
    name: &'static str,
    is_over: bool,
}

fn milliseconds(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).unwrap().as_millis()
}

fn now_ms() -> u128 {
    u128::try_from(SystemClock.now_ms()).unwrap()
}

/// The alert that a text is about.
fn name_in(text: &str) -> &'static str {
    let found = NAMES.into_iter().find(|name| text.contains(name));
    found.unwrap_or_else(|| panic!("no alert is named: {text}"))
}

/// A webhook that can have its sender killed before it answers.
struct Hook {
    url: String,
    shared: Arc<HookState>,
}

#[derive(Default)]
struct HookState {
    told: Mutex<Vec<Told>>,
    /// The next message is not answered, and its sender is to be killed.
    is_armed: AtomicBool,
    wants_kill: AtomicBool,
    is_over: AtomicBool,
}

impl Hook {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let shared = Arc::new(HookState::default());
        let state = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if state.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let state = state.clone();
                std::thread::spawn(move || state.serve(stream));
            }
        });
        Self { url, shared }
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // Wakes who waits for connections.
        let _ =
            TcpStream::connect(self.url.trim_start_matches("http://").trim_end_matches("/hook"));
    }
}

impl HookState {
    /// One message; of a sender that was killed before it was whole, none.
    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let (mut line, mut len, mut id) = (String::new(), 0, String::new());
        while reader.read_line(&mut line).ok()? > 2 {
            let (name, value) = line.split_once(':').unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => len = value.trim().parse().unwrap(),
                "idempotency-key" => value.trim().clone_into(&mut id),
                _ => {}
            }
            line.clear();
        }
        let mut body = vec![0; len];
        reader.read_exact(&mut body).ok()?;
        if len == 0 {
            return None;
        }
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        for alert in body["alerts"].as_array().unwrap() {
            let name = name_in(alert["labels"]["name"].as_str().unwrap());
            let is_over = alert["status"] == "resolved";
            let about = About { receiver: "hook", name, is_over };
            let told = Told { about, id: id.clone(), at_ms: now_ms() };
            self.told.lock().unwrap().push(told);
        }
        if self.is_armed.swap(false, Ordering::SeqCst) {
            self.wants_kill.store(true, Ordering::SeqCst);
            // Until the sender has gone.
            let _ = reader.read(&mut [0]);
            return None;
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        reader.get_mut().write_all(answer).ok()
    }
}

/// The mails of all trials, each read once.
struct Mailbox {
    server: MailServer,
    /// By file: to whom it went, and what it says.
    read: Mutex<BTreeMap<OsString, (String, Told)>>,
}

impl Mailbox {
    fn start() -> Option<Self> {
        Some(Self { server: MailServer::start()?, read: Mutex::default() })
    }

    fn told(&self, to: &str) -> Vec<Told> {
        let mut read = self.read.lock().unwrap();
        let dir = self.server.dir.path().join("mail/new");
        for entry in std::fs::read_dir(dir).into_iter().flatten() {
            let entry = entry.unwrap();
            read.entry(entry.file_name()).or_insert_with(|| {
                let text = std::fs::read_to_string(entry.path()).unwrap();
                let written = entry.metadata().unwrap().modified().unwrap();
                Self::parse(&text, milliseconds(written))
            });
        }
        read.values().filter(|(own, _)| own == to).map(|(_, told)| told.clone()).collect()
    }

    fn parse(mail: &str, at_ms: u128) -> (String, Told) {
        let header = |name: &str| {
            let value = mail.lines().find_map(|line| line.strip_prefix(name));
            value.unwrap_or_else(|| panic!("no {name}\n{mail}")).trim().to_owned()
        };
        let (_, body) = mail.split_once("\n\n").unwrap();
        let is_over = body.contains("Resolved");
        let id = header("Message-ID:");
        let about = About { receiver: "mail", name: name_in(body), is_over };
        (header("X-Test-To:"), Told { about, id, at_ms })
    }
}

/// The servers that all trials share.
struct Peers {
    ntfy: Option<NtfyServer>,
    mail: Option<Mailbox>,
}

struct Trial<'p> {
    seed: u64,
    random: Random,
    peers: &'p Peers,
    hook: Hook,
    dir: tempfile::TempDir,
    program: Labstat,
    started: Instant,
    begun: Instant,
    /// When it was killed, in milliseconds since the epoch, but for kills that found all recorded.
    kills_ms: Vec<u128>,
    /// How often each message had come when a kill found that it was recorded.
    recorded: BTreeMap<About, usize>,
}

impl<'p> Trial<'p> {
    fn new(seed: u64, peers: &'p Peers) -> Self {
        let (hook, dir) = (Hook::start(), tempfile::tempdir().unwrap());
        std::fs::write(dir.path().join("rules.yml"), RULES).unwrap();
        let file = dir.path().join("aggregator.toml");
        std::fs::write(file, config(seed, dir.path(), &hook, peers)).unwrap();
        let program = start(dir.path());
        let (random, now) = (Random(seed), Instant::now());
        let (kills_ms, recorded) = (Vec::new(), BTreeMap::new());
        let started = now;
        Self { seed, random, peers, hook, dir, program, started, begun: now, kills_ms, recorded }
    }

    /// All that arrived so far, each receiver's in its order.
    fn told(&self) -> Vec<Told> {
        let mut told = self.hook.shared.told.lock().unwrap().clone();
        if let Some(ntfy) = &self.peers.ntfy {
            told.extend(ntfy.poll(&topic(self.seed), None).iter().map(|message| {
                let name = name_in(message["title"].as_str().unwrap());
                let is_over = message["tags"].to_string().contains("check_mark");
                // What its link ends with is made of the message's name.
                let id = message["click"].as_str().unwrap().to_owned();
                let about = About { receiver: "phone", name, is_over };
                let at_ms = u128::from(message["time"].as_u64().unwrap()) * 1_000;
                Told { about, id, at_ms }
            }));
        }
        if let Some(mail) = &self.peers.mail {
            told.extend(mail.told(&address(self.seed)));
        }
        told
    }

    /// Sets the condition of all alerts, and waits until all receivers have heard of it; kills the
    /// program some times meanwhile.
    fn phase(&mut self, is_over: bool) {
        let mut kills_left = self.random.below(3);
        let mut kill_at = self.draw_kill(kills_left);
        let mut is_written = false;
        loop {
            assert!(
                self.begun.elapsed() < DEADLINE,
                "seed {}: {:#?}\n{}",
                self.seed,
                self.told(),
                self.program.said()
            );
            let by_hook = self.hook.shared.wants_kill.load(Ordering::SeqCst);
            if by_hook || kill_at.is_some_and(|at| self.started.elapsed() >= at) {
                // The others are being told now, too.
                std::thread::sleep(Duration::from_millis(self.random.below(30)));
                self.kills_ms.push(now_ms());
                self.restart();
                kills_left = kills_left.saturating_sub(1);
                (kill_at, is_written) = (self.draw_kill(kills_left), false);
            }
            is_written = is_written || self.write(u8::from(!is_over));
            if is_written && self.all_told(is_over) {
                // Where nothing is left to be told, no message comes for the webhook to kill over.
                let is_in_vain = || self.hook.shared.is_armed.swap(false, Ordering::SeqCst);
                if kills_left == 0 || kill_at.is_none() && is_in_vain() {
                    return;
                }
            }
            std::thread::sleep(LOOK);
        }
    }

    /// When the program is to be killed, if it is: a time since its start, or when the webhook says.
    fn draw_kill(&mut self, kills_left: u64) -> Option<Duration> {
        let is_by_hook = self.random.below(2) == 0;
        self.hook.shared.is_armed.store(kills_left > 0 && is_by_hook, Ordering::SeqCst);
        let at = Duration::from_millis(self.random.below(2_500));
        (kills_left > 0 && !is_by_hook).then_some(at)
    }

    fn restart(&mut self) {
        self.program.cut();
        self.hook.shared.is_armed.store(false, Ordering::SeqCst);
        self.hook.shared.wants_kill.store(false, Ordering::SeqCst);
        self.program = start(self.dir.path());
        self.started = Instant::now();
    }

    /// Tries to write whether the alerts' condition holds; whether that was acknowledged.
    fn write(&mut self, value: u8) -> bool {
        let Some(base) = self.program.url_so_far() else { return false };
        let sample = || Sample { time_ms: SystemClock.now_ms(), value: f64::from(value) };
        let series = NAMES.map(|name| TimeSeries {
            labels: Labels::new([("__name__", "sick"), ("name", name)]),
            samples: vec![sample()],
        });
        let request = WriteRequest { series: series.into(), metadata: Vec::new() };
        let headers = [
            ("content-type", remote_write::CONTENT_TYPE),
            ("content-encoding", remote_write::CONTENT_ENCODING),
            (remote_write::VERSION_HEADER.0, remote_write::VERSION_HEADER.1),
        ];
        let body = remote_write::encode(&request).unwrap();
        post(&format!("{base}/api/v1/write"), &headers, &body).is_ok_and(|(code, _)| code == 204)
    }

    /// All that is to be told.
    fn abouts(&self) -> Vec<About> {
        let peers = [("phone", self.peers.ntfy.is_some()), ("mail", self.peers.mail.is_some())];
        let there = peers.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name);
        let receivers = ["hook"].into_iter().chain(there);
        let of = |receiver| {
            NAMES.into_iter().flat_map(move |name| {
                [false, true].map(|is_over| About { receiver, name, is_over })
            })
        };
        receivers.flat_map(of).collect()
    }

    fn all_told(&self, is_over: bool) -> bool {
        let told = self.told();
        let is_told = |about: &About| told.iter().any(|told| told.about == *about);
        self.abouts().iter().filter(|about| about.is_over == is_over).all(is_told)
    }

    /// Waits until it has nothing left to tell, nor to write down of what it has told.
    fn rest(&mut self) {
        loop {
            assert!(self.begun.elapsed() < DEADLINE, "seed {}: no rest", self.seed);
            let base = self.program.url_so_far();
            let metrics = base.and_then(|base| get(&format!("{base}/metrics")).ok());
            let sum = |name: &str| metrics.as_deref().and_then(|metrics| sum_of(metrics, name));
            let rounds = sum("prometheus_rule_group_iterations_total{");
            if sum("labstat_notifications_queued{") == Some(0.0) && rounds >= Some(3.0) {
                return;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Kills it when all that it has told so far is recorded.
    fn kill_at_rest(&mut self) {
        self.rest();
        let told = self.told();
        for about in told.iter().map(|told| told.about) {
            let copies = told.iter().filter(|told| told.about == about).count();
            self.recorded.entry(about).or_insert(copies);
        }
        self.restart();
    }

    /// Each beginning and each end was told to each, under one name, and again only with reason; gives
    /// how many messages there are, and how many came more than once.
    fn judge(&self) -> (u64, u64) {
        let told = self.told();
        let (mut messages, mut repeats) = (0, 0);
        for about in self.abouts() {
            let seed = self.seed;
            let copies: Vec<&Told> = told.iter().filter(|told| told.about == about).collect();
            let ids: BTreeSet<&str> = copies.iter().map(|told| told.id.as_str()).collect();
            assert_eq!(ids.len(), 1, "seed {seed}: {about:?}: {told:#?}");
            let recorded = self.recorded.get(&about);
            assert_eq!(Some(&copies.len()), recorded, "seed {seed}: {about:?}: {told:#?}");
            let repeated = copies.len() - 1;
            assert!(
                repeated <= self.reasons(&copies),
                "seed {seed}: {about:?} came again without a reason, killed at {:?}: {told:#?}",
                self.kills_ms
            );
            messages += 1;
            repeats += repeated as u64;
        }
        (messages, repeats)
    }

    /// The kills that may have made a message come again.
    fn reasons(&self, copies: &[&Told]) -> usize {
        let times = || copies.iter().map(|told| told.at_ms);
        let first_ms = times().min().unwrap() - NOTED_MS;
        let last_ms = times().max().unwrap() + NOTED_MS;
        self.kills_ms.iter().filter(|at_ms| (first_ms..=last_ms).contains(at_ms)).count()
    }
}

/// The sum of a metric's series; `None` where there is none.
fn sum_of(metrics: &str, name: &str) -> Option<f64> {
    let values = metrics.lines().filter(|line| line.starts_with(name));
    let values: Vec<f64> =
        values.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

fn start(dir: &Path) -> Labstat {
    Labstat::start(&["aggregator", "--config", dir.join("aggregator.toml").to_str().unwrap()])
}

fn topic(seed: u64) -> String {
    format!("trial-{seed}")
}

fn address(seed: u64) -> String {
    format!("trial-{seed}@lab.test")
}

fn config(seed: u64, dir: &Path, hook: &Hook, peers: &Peers) -> String {
    let mut text = format!(
        "listen = '127.0.0.1:0'\ndata = '{0}/data'\nown_metrics_interval = 'off'\n\
         [rules]\npaths = ['{0}/rules.yml']\nshipped = false\n\
         [route]\nreceiver = 'hook'\ngroup_by = ['...']\ngroup_wait = '100ms'\ngroup_interval = '300ms'\n\
         repeat_interval = '1d'\n",
        dir.display()
    );
    let mut receivers = vec![("hook", format!("webhook = {{ url = '{}' }}", hook.url))];
    if let Some(ntfy) = &peers.ntfy {
        let (url, topic) = (&ntfy.url, topic(seed));
        let click = "https://lab.test/";
        let ntfy = format!("ntfy = {{ url = '{url}', topic = '{topic}', click = '{click}' }}");
        receivers.push(("phone", ntfy));
    }
    if let Some(mail) = &peers.mail {
        let mail = format!(
            "email = {{ host = '127.0.0.1', port = {}, tls = 'none', from = 'labstat@lab.test', \
             to = ['{}'] }}",
            mail.server.plain,
            address(seed)
        );
        receivers.push(("mail", mail));
    }
    for (name, _) in &receivers {
        text += &format!("[[route.routes]]\nreceiver = '{name}'\ncontinue = true\n");
    }
    for (name, what) in &receivers {
        text += &format!("[[receivers]]\nname = '{name}'\n{what}\n");
    }
    text
}

/// A number that whoever runs the test gives.
#[expect(clippy::disallowed_methods, reason = "how a test is asked for more")]
fn asked_for(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn each_alert_is_told_though_the_program_is_killed_at_any_moment() {
    let peers = Peers { ntfy: NtfyServer::start(), mail: Mailbox::start() };
    let seed = asked_for("LABSTAT_TRIALS_SEED").unwrap_or(1);
    let end = seed + asked_for("LABSTAT_TRIALS").unwrap_or(TRIALS);
    let next = AtomicU64::new(seed);
    let [kills, messages, repeats] = [0; 3].map(AtomicU64::new);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= end {
                        return;
                    }
                    let mut trial = Trial::new(seed, &peers);
                    trial.phase(false);
                    if trial.random.below(2) == 0 {
                        trial.kill_at_rest();
                    }
                    trial.phase(true);
                    trial.kill_at_rest();
                    trial.rest();
                    let found = trial.judge();
                    kills.fetch_add(trial.kills_ms.len() as u64, Ordering::SeqCst);
                    messages.fetch_add(found.0, Ordering::SeqCst);
                    repeats.fetch_add(found.1, Ordering::SeqCst);
                }
            });
        }
    });
    println!(
        "{} trials, {kills:?} kills that left something open, {messages:?} messages, {repeats:?} of them again under the \
         same name, in {:?}",
        end - seed,
        begun.elapsed()
    );
    let (trials, kills) = (end - seed, kills.into_inner());
    // A few trials may all be killed when nothing is under way.
    assert!(trials < TRIALS || kills >= trials, "hardly anything was killed: {kills}");
}
