//! A history that takes no writes, since its disk is full or broken: that is told, and of nobody who goes on
//! sending that it is down. When the trouble is over all goes on, and that is told too.
//!
//! The rules are the shipped ones, only faster: in minutes nobody would run this.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use labstat_model::{Clock, Labels, Sample, SystemClock, TimeSeries, WriteRequest};
use labstat_wire::remote_write;

use crate::receiver::Receiver;
use crate::support::{Labstat, command, eventually, get, post, query};

/// The nodes that send, whatever becomes of it.
const NODES: [&str; 2] = ["apex", "vertex"];

/// How often they do.
const SEND_EVERY: Duration = Duration::from_millis(500);

/// How many times faster than they are shipped the rules are, by file. Those about nodes look back two minutes for a
/// word of each and wait two more: eight seconds of both, while the aggregator vouches every second. A machine that
/// does twenty other things is late by some of these.
const FASTER: [(&str, u64); 2] = [("node.yml", 15), ("labstat.yml", 60)];

/// Evaluations of the rules about nodes after which a node that is taken for silent is told to be down: those
/// of the two minutes that they look back and the two minutes that they wait, and some.
const EVALUATIONS: f64 = 12.0;

/// Rules with all durations shorter by a factor.
fn hurried(rules: &str, factor: u64) -> String {
    let mut out = String::new();
    let mut rest = rules;
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        let len = from.find(|c: char| !is_word(c)).unwrap_or(from.len());
        let (word, after) = from.split_at(len);
        out.push_str(before);
        let unit_ms = match word.chars().last() {
            Some('s') => 1_000,
            Some('m') => 60_000,
            Some('h') => 3_600_000,
            Some('d') => 86_400_000,
            _ => 0,
        };
        let number = word[..word.len() - 1].parse::<u64>();
        let is_alone = !before.ends_with(is_word);
        match number {
            Ok(number) if unit_ms > 0 && is_alone => {
                out.push_str(&format!("{}ms", number * unit_ms / factor));
            }
            _ => out.push_str(word),
        }
        rest = after;
    }
    out + rest
}

fn round(time_ms: i64) -> Vec<u8> {
    let series = NODES.iter().flat_map(|node| {
        ["node_load1", "up"].map(|name| TimeSeries {
            labels: Labels::new([("__name__", name), ("instance", node), ("job", "node")]),
            samples: vec![Sample { time_ms, value: 1.0 }],
        })
    });
    remote_write::encode(&WriteRequest { series: series.collect(), metadata: Vec::new() }).unwrap()
}

/// Nodes that send rounds until they are dropped, each once.
struct Senders {
    /// What the last round was answered.
    status: Arc<AtomicU16>,
    is_over: Arc<AtomicBool>,
}

impl Senders {
    fn start(base: &str) -> Self {
        let url = format!("{base}/api/v1/write");
        let (status, is_over) = (Arc::<AtomicU16>::default(), Arc::<AtomicBool>::default());
        let senders = Self { status: Arc::clone(&status), is_over: Arc::clone(&is_over) };
        std::thread::spawn(move || {
            let headers = [
                ("content-type", remote_write::CONTENT_TYPE),
                ("content-encoding", remote_write::CONTENT_ENCODING),
                (remote_write::VERSION_HEADER.0, remote_write::VERSION_HEADER.1),
            ];
            while !is_over.load(Ordering::SeqCst) {
                let answer = post(&url, &headers, &round(SystemClock.now_ms()));
                status.store(answer.map_or(0, |(status, _)| status), Ordering::SeqCst);
                std::thread::sleep(SEND_EVERY);
            }
        });
        senders
    }

    fn answered(&self, status: u16) {
        eventually("the answer to a round", || match self.status.load(Ordering::SeqCst) {
            got if got == status => Ok(()),
            got => Err(format!("{got} and not {status}")),
        });
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
    }
}

/// An aggregator with a history, two nodes and a receiver.
struct Lab {
    program: Labstat,
    base: String,
    receiver: Receiver,
    senders: Senders,
    _dir: tempfile::TempDir,
}

impl Lab {
    /// One whose history lies in `data`.
    fn start(data: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts/rules");
        for (name, factor) in FASTER {
            let text = std::fs::read_to_string(rules.join(name)).unwrap();
            std::fs::write(dir.path().join(name), hurried(&text, factor)).unwrap();
        }
        let (receiver, url) = Receiver::start();
        let file = dir.path().join("aggregator.toml");
        let text = format!(
            "listen = '127.0.0.1:0'\ndata = '{}'\nown_metrics_interval = '1s'\npresence_interval = '1s'\n\
             [rules]\npaths = ['{}']\nshipped = false\n[route]\nreceiver = 'hook'\ngroup_by = ['...']\n\
             group_wait = '0s'\ngroup_interval = '1s'\n\
             [[receivers]]\nname = 'hook'\nwebhook = {{ url = '{url}' }}\n",
            data.display(),
            dir.path().display()
        );
        std::fs::write(&file, text).unwrap();
        // A write beyond a limit of file size is an error for one who ignores its signal.
        let mut shell = Command::new("sh");
        let labstat = command(&[]).get_program().to_owned();
        shell.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(labstat);
        shell.args(["aggregator", "--config"]).arg(&file).env_remove("LABSTAT_SERVER");
        let mut program = Labstat::spawn(shell.env_remove("RUST_LOG").env("NO_COLOR", "1"));
        let base = program.url();
        let senders = Senders::start(&base);
        senders.answered(204);
        eventually("both nodes are known", || match query(&base, "up{job='node'}")?.len() {
            2 => Ok(()),
            few => Err(format!("{few} nodes")),
        });
        Self { program, base, receiver, senders, _dir: dir }
    }

    /// How often the rules about nodes were evaluated.
    fn evaluations(&self) -> Result<f64, String> {
        let metrics = get(&format!("{}/metrics", self.base))?;
        let is_it = |line: &&str| {
            line.starts_with("prometheus_rule_group_iterations_total{")
                && line.contains("labstat-node")
        };
        let line = metrics.lines().find(is_it).ok_or("no such group")?;
        let value = line.rsplit_once(' ').and_then(|(_, value)| value.parse().ok());
        value.ok_or_else(|| line.to_owned())
    }

    /// How often the receiver has heard of an alert's beginning or end.
    fn told_len(&self, alert: &str, is_over: bool) -> usize {
        let told = self.receiver.alerts();
        told.iter().filter(|(name, _, over)| name == alert && *over == is_over).count()
    }

    /// Waits until the receiver has heard of an alert's beginning or end.
    fn told(&self, alert: &str, is_over: bool) {
        eventually(alert, || match self.told_len(alert, is_over) {
            0 => Err(format!("{:?}", self.receiver.alerts())),
            _ => Ok(()),
        });
    }

    /// The trouble that begins with `begin` and ends with `end` is answered with `status` and told by `alert`,
    /// as is that it is over, and of nobody is told that they are down.
    fn passes(self, alert: &str, status: u16, begin: impl FnOnce(u32), end: impl FnOnce(u32)) {
        begin(self.program.pid());
        self.senders.answered(status);
        let before = self.evaluations().unwrap();
        self.told(alert, false);
        eventually("whoever is taken for silent is told", || {
            let since = self.evaluations()? - before;
            if since >= EVALUATIONS { Ok(()) } else { Err(format!("{since} evaluations")) }
        });
        self.senders.answered(status);
        assert_eq!(self.told_len(alert, true), 0, "it is not over: {:?}", self.receiver.alerts());
        end(self.program.pid());
        self.senders.answered(204);
        self.told(alert, true);
        let down = query(&self.base, "count(up{job='node'} == 1)").unwrap();
        assert_eq!(down[0].1, 2.0, "the history goes on");
        let nodes = get(&format!("{}/api/labstat/v1/nodes", self.base)).unwrap();
        let nodes: serde_json::Value = serde_json::from_str(&nodes).unwrap();
        assert!(
            nodes["data"].as_array().unwrap().iter().all(|node| node["state"] == "up"),
            "{nodes}"
        );
        let told = self.receiver.alerts();
        let is_wrong = |name: &str| ["NodeDown", "NoNodeReports"].contains(&name);
        assert!(!told.iter().any(|(name, ..)| is_wrong(name)), "{told:?}");
        assert_eq!(self.program.stop(), Some(0));
    }
}

/// A small filesystem of its own, as root can mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(dir.path());
        match mount.output() {
            Ok(output) if output.status.success() => Some(Self(dir)),
            other => {
                println!("SKIPPED: a small disk cannot be mounted here: {other:?}");
                None
            }
        }
    }

    fn ballast(&self) -> PathBuf {
        self.0.path().join("ballast")
    }

    /// Takes all room that there is.
    fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::File::create(self.ballast()).unwrap();
        for len in [1 << 20, 4096] {
            while file.write_all(&vec![0; len]).is_ok() {}
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Most of both is waiting, so they take place at one time.
#[test]
fn a_history_that_takes_no_writes_is_told_and_nobody_is_down_who_sends() {
    std::thread::scope(|scope| {
        scope.spawn(full);
        scope.spawn(failing);
    });
}

fn full() {
    let Some(disk) = SmallDisk::mount() else { return };
    let lab = Lab::start(&disk.0.path().join("data"));
    lab.passes(
        "StoreFull",
        507,
        |_| disk.fill(),
        |_| std::fs::remove_file(disk.ballast()).unwrap(),
    );
}

/// Each write is an error, as on a disk that has become read-only.
fn failing() {
    let limit = |pid: u32, bytes: &str| {
        let mut prlimit = Command::new("prlimit");
        prlimit.args(["--pid", &pid.to_string(), &format!("--fsize={bytes}:unlimited")]);
        prlimit.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    if !limit(std::process::id(), "unlimited") {
        println!("SKIPPED: no limits can be set here (prlimit)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::start(&dir.path().join("data"));
    let set = |bytes: &'static str| move |pid| assert!(limit(pid, bytes));
    lab.passes("StoreFailing", 500, set("0"), set("unlimited"));
}

#[test]
fn rules_are_hurried() {
    let rules = "for: 2m # 600 s1m\nexpr: a1m[1d] > 5 and x:b_2m[30s] offset 10m";
    let hurried = hurried(rules, 20);
    let wanted =
        "for: 6000ms # 600 s1m\nexpr: a1m[4320000ms] > 5 and x:b_2m[1500ms] offset 30000ms";
    assert_eq!(hurried, wanted);
}
