//! The agent says what node_exporter says: both read the same machine, this one and captured ones,
//! and every family is compared by name, kind, labels and values.
//!
//! The reference is Debian's `prometheus-node-exporter`; where it is not installed, the tests say so
//! and pass. What is meant to differ is in the table of `docs/node-exporter.md`, each with its
//! reason; any other difference fails. On a machine that runs, numbers move: each must lie between
//! what the agent said before and after it, in one of several tries.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and says why on its output"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use labstat_parse::exposition;

const PROGRAM: &str = "prometheus-node-exporter";

/// Collectors that node_exporter has off, and that are compared all the same.
const OFF: [&str; 5] = ["systemd", "processes", "tcpstat", "interrupts", "mountstats"];

/// Collectors of it that read nothing but files, so that they can be shown a captured machine.
const OF_FILES: [&str; 27] = [
    "bonding",
    "conntrack",
    "cpu",
    "cpufreq",
    "diskstats",
    "dmi",
    "edac",
    "entropy",
    "filefd",
    "hwmon",
    "interrupts",
    "loadavg",
    "mdadm",
    "meminfo",
    "mountstats",
    "netstat",
    "nfs",
    "nfsd",
    "nvme",
    "powersupplyclass",
    "pressure",
    "schedstat",
    "softnet",
    "stat",
    "thermal_zone",
    "vmstat",
    "xfs",
];

/// What of collectors it leaves out unless it is asked for; the agent is asked the same.
const MORE: [&str; 3] = [
    "--collector.cpu.info",
    "--collector.cpu.info.flags-include=^(aes|fpu)$",
    "--collector.cpu.info.bugs-include=^spectre",
];

/// How long the exporter may take to come up, or to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tries in which a number may happen to move there and back.
const TRIES: usize = 8;

/// By how much numbers may differ that were divided and printed in other ways.
const TOLERANCE: f64 = 1e-9;

/// Labels without empty ones, which are no labels.
type Labels = BTreeMap<String, String>;

/// A family as one side says it.
#[derive(Debug, Default)]
struct Family {
    kind: &'static str,
    series: BTreeMap<Labels, f64>,
}

type Families = BTreeMap<String, Family>;

/// A family and the word of the table for how it differs, with an example.
type Differences = BTreeMap<(String, &'static str), String>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The families of a text that are a node's.
fn families(text: &str) -> Families {
    let found = exposition::parse(text.as_bytes()).unwrap();
    let mut families = Families::new();
    for sample in &found.samples {
        let family = &found.families[sample.family];
        if !family.name.starts_with("node_") || family.name.starts_with("node_scrape_") {
            continue;
        }
        let entry = families.entry(family.name.to_string()).or_default();
        entry.kind = family.kind.as_str();
        let labels = sample.labels.iter().filter(|(_, value)| !value.is_empty()).cloned().collect();
        entry.series.insert(labels, sample.value);
    }
    families
}

/// A running node_exporter.
struct Exporter {
    process: Child,
    url: String,
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Exporter {
    /// Nothing where it is not installed.
    fn start(args: &[String]) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("--web.listen-address=127.0.0.1:{port}");
        let process = Command::new(PROGRAM)
            .args([&listen, "--web.disable-exporter-metrics", "--log.level=error"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(process) = process else {
            println!("SKIPPED: no {PROGRAM} to compare with (apt install {PROGRAM})");
            return None;
        };
        Some(Self { process, url: format!("http://127.0.0.1:{port}/metrics") })
    }

    fn families(&self) -> Families {
        let until = Instant::now() + PATIENCE;
        loop {
            match ureq::get(&self.url).call() {
                Ok(mut answer) => return families(&answer.body_mut().read_to_string().unwrap()),
                Err(error) => assert!(Instant::now() < until, "{PROGRAM}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn agent(args: &[&str], folder: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_labstat"))
        .args(["agent", "--once", "--exclude", "smartctl,topology"])
        .args(args)
        .env("LABSTAT_ALSO", "mountstats,softirqs")
        .env("LABSTAT_CPU_INFO", "true")
        .env("LABSTAT_CPU_FLAGS", "aes,fpu")
        .env("LABSTAT_CPU_BUGS", "spectre*")
        .env("LABSTAT_INTERRUPTS_ZEROS", "true")
        .env("LABSTAT_TEXTFILE_DIRECTORIES", folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whether `theirs` lies between two of ours.
fn is_between(before: f64, theirs: f64, after: f64) -> bool {
    let slack = TOLERANCE * theirs.abs().max(before.abs());
    let (low, high) = (before.min(after) - slack, before.max(after) + slack);
    (low..=high).contains(&theirs) || (theirs.is_nan() && before.is_nan())
}

/// All that differs between what we said before and after, and what they said in between.
fn differences(before: &Families, theirs: &Families, after: &Families) -> Differences {
    let mut found = Differences::new();
    for (name, family) in theirs {
        let (Some(first), Some(last)) = (before.get(name), after.get(name)) else {
            found.insert((name.clone(), "not ours"), String::new());
            continue;
        };
        if family.kind != first.kind {
            let kinds = format!("{} and not {}", first.kind, family.kind);
            found.insert((name.clone(), "kind"), kinds);
        }
        for (labels, value) in &family.series {
            match (first.series.get(labels), last.series.get(labels)) {
                (None, None) => {
                    found.insert((name.clone(), "fewer series"), format!("{labels:?}"));
                }
                (Some(first), Some(last)) if !is_between(*first, *value, *last) => {
                    let text = format!("{labels:?} {first} {last} and not {value}");
                    found.insert((name.clone(), "value"), text);
                }
                // One that came or went in between.
                _ => {}
            }
        }
        let ours = first.series.keys().filter(|labels| last.series.contains_key(*labels));
        for labels in ours.filter(|labels| !family.series.contains_key(*labels)) {
            found.insert((name.clone(), "more series"), format!("{labels:?}"));
        }
    }
    for name in
        before.keys().filter(|name| after.contains_key(*name) && !theirs.contains_key(*name))
    {
        found.insert((name.clone(), "only ours"), String::new());
    }
    found
}

/// The rows of the table: a name, which may end with a star, and a word.
fn listed() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("docs/node-exporter.md")).unwrap();
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let name = cells.next()?.trim_end_matches('`').to_owned();
        // The other table is of flags.
        if !name.starts_with("node_") {
            return None;
        }
        let word = cells.next()?.to_owned();
        assert!(cells.next().is_some_and(|reason| !reason.is_empty()), "no reason: {line}");
        Some((name, word))
    });
    let rows: Vec<_> = rows.collect();
    assert!(rows.len() > 5, "the table is in docs/node-exporter.md");
    rows
}

/// Some rows hold only on a machine that runs, where looking is an event of its own.
fn is_listed(listed: &[(String, String)], name: &str, word: &str, is_live: bool) -> bool {
    let live = format!("{word}, live");
    listed.iter().any(|(pattern, known)| {
        let is_it = match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        };
        is_it && (known == word || (is_live && *known == live))
    })
}

fn not_listed(found: &Differences, is_live: bool) -> Vec<String> {
    let listed = listed();
    let wrong = found.iter().filter(|((name, word), _)| !is_listed(&listed, name, word, is_live));
    wrong.map(|((name, word), example)| format!("{name}: {word} {example}")).collect()
}

#[test]
fn this_machine_is_as_node_exporter_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup.prom");
    fs::write(
        &file,
        "# TYPE node_backup_age_seconds gauge\nnode_backup_age_seconds{of=\"a b\"} 12.5\n",
    )
    .unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
    fs::File::options().write(true).open(&file).unwrap().set_modified(long_ago).unwrap();
    let mut args: Vec<String> = OFF.iter().map(|name| format!("--collector.{name}")).collect();
    args.extend(MORE.map(str::to_owned));
    args.push("--collector.stat.softirq".to_owned());
    args.push(format!("--collector.textfile.directory={}", folder.path().display()));
    // Debian leaves out more than node_exporter by itself.
    args.push("--collector.filesystem.mount-points-exclude=^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)".to_owned());
    args.push("--collector.netdev.device-exclude=^$".to_owned());
    let Some(exporter) = Exporter::start(&args) else { return };
    exporter.families();
    let mut left: Option<Differences> = None;
    for _ in 0..TRIES {
        let before = families(&agent(&[], folder.path()));
        let theirs = exporter.families();
        let after = families(&agent(&[], folder.path()));
        assert!(theirs.len() > 100, "it says little: {:?}", theirs.keys());
        assert!(theirs.contains_key("node_backup_age_seconds"), "{:?}", theirs.keys());
        let mut found = differences(&before, &theirs, &after);
        if let Some(left) = &left {
            found.retain(|key, _| left.contains_key(key));
        }
        let is_done = not_listed(&found, true).is_empty();
        left = Some(found);
        if is_done {
            break;
        }
    }
    let wrong = not_listed(&left.unwrap(), true);
    assert!(wrong.is_empty(), "not in docs/node-exporter.md:\n{}", wrong.join("\n"));
}

/// What the agent says of itself on any machine.
#[test]
fn what_the_dashboard_asks_of_the_agent_is_there() {
    let text = agent(&["--only", "time"], Path::new("/nonexistent"));
    let list = fs::read_to_string(root().join("agent/collect/tests/dashboard-1860.tsv")).unwrap();
    let names: Vec<&str> = list
        .lines()
        .filter(|line| line.contains("\tagent\t"))
        .filter_map(|l| l.split('\t').next())
        .collect();
    assert!(names.len() >= 5, "{names:?}");
    for name in names {
        assert!(text.contains(&format!("\n# TYPE {name} ")), "{name}");
    }
}

/// Copies the files and links of a tree into another.
fn merge(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (name, path) = entry.map(|entry| (entry.file_name(), entry.path())).unwrap();
        let target = to.join(&name);
        if path.is_symlink() {
            let _ = std::os::unix::fs::symlink(fs::read_link(&path).unwrap(), &target);
        } else if path.is_dir() {
            merge(&path, &target);
        } else if !["expected.prom", "errors.json"].contains(&name.to_str().unwrap()) {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Lays a capture of sysfs out, one file a line.
fn unpack(lines: &str, to: &Path) {
    for line in lines.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        let path = to.join(entry["path"].as_str().unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match entry["kind"].as_str().unwrap() {
            "dir" => fs::create_dir_all(&path).unwrap(),
            "file" => fs::write(&path, entry["text"].as_str().unwrap_or_default()).unwrap(),
            _ => {
                let target = entry["target"].as_str().unwrap();
                std::os::unix::fs::symlink(target, &path).unwrap();
            }
        }
    }
}

/// Compares what both say of a captured machine; `what` says which in the output.
fn compare_captured(machine: &Path, what: &str) {
    let at = |dir: &str| machine.join(dir).display().to_string();
    for dir in ["proc", "sys", "run/udev/data"] {
        fs::create_dir_all(machine.join(dir)).unwrap();
    }
    let mut args = vec!["--collector.disable-defaults".to_owned()];
    // It says nothing of CPUs at all where one of their files is missing.
    if machine.join("proc/cpuinfo").is_file() {
        args.extend(MORE.map(str::to_owned));
    }
    // We read of bonds what /proc says, and node_exporter what /sys says: it takes both to compare.
    let has_bonds = machine.join("proc/net/bonding").is_dir();
    // It looks for the mounts of its own process, and does not start where it has none.
    let has_mounts = machine.join("proc/1/mountstats").is_file();
    if has_mounts {
        std::os::unix::fs::symlink("1", machine.join("proc/self")).unwrap();
    }
    let names = OF_FILES.iter().filter(|name| match **name {
        "bonding" => has_bonds,
        "mountstats" => has_mounts,
        _ => true,
    });
    args.extend(names.map(|name| format!("--collector.{name}")));
    args.extend([
        format!("--path.procfs={}", at("proc")),
        format!("--path.sysfs={}", at("sys")),
        format!("--path.rootfs={}", at("")),
        format!("--path.udev.data={}", at("run/udev/data")),
    ]);
    let Some(exporter) = Exporter::start(&args) else { return };
    let theirs = exporter.families();
    let mut ours = families(&agent(&["--host-root", &at("")], Path::new("/nonexistent")));
    assert!(theirs.len() > 10, "{what}: it says little: {:?}", theirs.keys());
    // The rest of ours has nobody to be compared with here.
    ours.retain(|name, _| theirs.contains_key(name));
    let wrong = not_listed(&differences(&ours, &theirs, &ours), false);
    assert!(wrong.is_empty(), "{what}: not in docs/node-exporter.md:\n{}", wrong.join("\n"));
}

#[test]
fn captured_machines_are_as_node_exporter_says() {
    let fixtures = root().join("agent/collect/fixtures");
    let machines: [(&str, &[&str]); 2] = [
        (
            "an idle virtual machine",
            &[
                "conntrack/a-few",
                "conntrack/two-cpus",
                "cpu/with-frequencies",
                "cpuinfo/three-isolated",
                "diskstats/deb12-idle",
                "dmi/server",
                "edac/errors-in-one-row",
                "entropy/k6",
                "filefd/idle",
                "hwmon/nvme-lm75-adt7475",
                "interrupts/deb12-idle",
                "loadavg/deb12-idle",
                "mdadm/healthy-raid1-raid5",
                "meminfo/deb12-idle",
                "mountstats/two-exports-one-mounted-twice",
                "netstat/deb12-idle",
                "nfs/busy-client",
                "nfsd/busy-server",
                "nvme/one-live",
                "powersupplyclass/adapter-and-battery",
                "pressure/deb12-idle",
                "schedstat/two-cpus",
                "thermal_zone/one-zone-off",
                "vmstat/deb12-idle",
                "xfs/one-filesystem",
            ],
        ),
        (
            "a machine in trouble",
            &[
                "cpu/deb12-idle",
                "hwmon/coretemp-with-alarm",
                "links/bond-one-slave-down",
                "mdadm/raid1-member-failed-raid5-member-pulled",
                "meminfo/newer-and-older-lines",
                "netclass/bond-one-slave-down",
                "nfs/older-kernel-counts-fewer-calls",
                "pressure/interrupts-too",
            ],
        ),
    ];
    for (what, parts) in machines {
        let dir = tempfile::tempdir().unwrap();
        for part in parts {
            merge(&fixtures.join(part), dir.path());
        }
        compare_captured(dir.path(), what);
    }
}

/// Captures of others, which are not in this repository.
#[test]
fn machines_captured_by_others_are_as_node_exporter_says() {
    let shared: PathBuf = root().join("../shared/fixtures");
    let proc = shared.join("proc/node_exporter");
    if !proc.is_dir() {
        println!("SKIPPED: no captures of others here");
        return;
    }
    let sys = ["cpu-edac", "hwmon-thermal", "md-block", "net-bonding"];
    let dir = tempfile::tempdir().unwrap();
    merge(&proc, &dir.path().join("proc"));
    let mut seen = BTreeSet::new();
    for name in sys {
        let text =
            fs::read_to_string(shared.join(format!("sys/node_exporter-{name}.jsonl"))).unwrap();
        // Links that several of them have.
        let new: Vec<&str> = text.lines().filter(|line| seen.insert((*line).to_owned())).collect();
        unpack(&new.join("\n"), dir.path());
    }
    compare_captured(dir.path(), "the machine of node_exporter's own tests");
}
