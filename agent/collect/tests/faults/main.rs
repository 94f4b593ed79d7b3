//! Every question that a collector asks of a machine, answered badly: files that are missing, empty, cut
//! off, full of noise, huge, half written, or not to be read; folders, links, commands, sockets and
//! filesystems likewise.
//!
//! Whatever is broken, the collector ends with samples, with nothing, or with one clear line; none of its
//! samples is a number that nobody said; it is well again as soon as the machine is; and the other
//! collectors do not notice.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and print")]

mod host;
mod trees;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use labstat_collect::{Collector, Entry, Options, Status, registry};
use labstat_model::Batch;

use host::{Ask, Broken, Fault, Kind};
use trees::Tree;

/// Times of the three rounds: so far apart that whatever is kept for a while is looked at anew.
const ROUNDS_MS: [i64; 3] = [1_700_000_000_000, 1_700_100_000_000, 1_700_200_000_000];

/// Bytes of a file that is larger than any of its kind, and smaller than what the host refuses.
const HUGE_LEN: usize = 1 << 16;

/// How long a round may take on a machine that does other things, too, in a build that is slow.
const ROUND_TIME_MAX: Duration = Duration::from_secs(20);

/// Characters of an error with its causes that fit where people read them.
const ERROR_LEN_MAX: usize = 500;

/// Characters shown of each thing that is wrong.
const EXAMPLE_LEN_MAX: usize = 500;

/// What one round of a collector gave.
#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    Samples(BTreeMap<String, f64>),
    Absent,
    Failed(String),
}

impl Outcome {
    fn samples(&self) -> Option<&BTreeMap<String, f64>> {
        if let Self::Samples(samples) = self { Some(samples) } else { None }
    }
}

/// How bad a fault is to be told from a good answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    /// There is no answer, or none that could be meant: what is told must be true.
    Gone,
    /// What is there of the answer may be right or wrong, as half a number is.
    Twisted,
}

fn options() -> Options {
    Options::default()
}

/// Runs one collector once.
fn round(collector: &mut dyn Collector, host: &Broken, at: usize) -> Outcome {
    host.set_now_ms(ROUNDS_MS[at]);
    let mut batch = Batch::new();
    let start = Instant::now();
    let ended = collector.collect(host, &mut batch);
    let took = start.elapsed();
    assert!(took < ROUND_TIME_MAX, "it took {took:?}");
    match ended {
        Ok(Status::Absent) => {
            assert!(batch.is_empty(), "absent, with samples");
            Outcome::Absent
        }
        Ok(Status::Collected) => {
            let mut samples = BTreeMap::new();
            for sample in batch.iter() {
                // How long it took is not the machine's.
                if sample.family.name.ends_with("_duration_seconds") {
                    continue;
                }
                // So often it was read, whatever came of it, is a trace that is meant.
                if sample.family.name == "labstat_smart_reads_total" {
                    continue;
                }
                let series = format!("{}{}", sample.family.name, sample.labels);
                // A file that is read while it changes may tell of one thing twice: the first counts.
                samples.entry(series).or_insert(sample.value);
            }
            Outcome::Samples(samples)
        }
        Err(error) => {
            let mut text = error.to_string();
            let mut next = error.source();
            while let Some(cause) = next {
                write!(text, ": {cause}").unwrap();
                next = cause.source();
            }
            assert!(!text.contains('\n'), "more than a line: {text:?}");
            assert!(text.chars().count() <= ERROR_LEN_MAX, "too long: {text:?}");
            assert!(text.chars().all(|c| !c.is_control()), "noise: {text:?}");
            Outcome::Failed(text)
        }
    }
}

/// The faults that a question of this kind can meet.
fn faults(host: &Broken, ask: &Ask) -> Vec<(String, Severity, Fault)> {
    use Severity::{Gone, Twisted};

    let (kind, what) = ask;
    let mut faults = Vec::new();
    let mut add = |name: String, severity, fault| faults.push((name, severity, fault));
    let mut errors = vec![
        ErrorKind::NotFound,
        ErrorKind::PermissionDenied,
        ErrorKind::TimedOut,
        ErrorKind::FileTooLarge,
    ];
    if *kind == Kind::Netlink {
        // Then there is no kernel to be asked; that it has gone is not possible.
        errors.remove(0);
    }
    for error in errors {
        add(format!("{error}"), Gone, Fault::Error(error));
    }
    match kind {
        Kind::File | Kind::Run | Kind::Socket | Kind::Nvme | Kind::Netlink => {
            let whole = match kind {
                Kind::File => host.whole(what).ok(),
                Kind::Run => host.output(what),
                Kind::Netlink => host.answer(what),
                Kind::Socket => host.whole(&format!("socket {what}")).ok(),
                _ => None,
            };
            for (name, severity, bytes) in bytes(&whole.unwrap_or_default()) {
                add(name, severity, Fault::Bytes(bytes));
            }
        }
        Kind::List => {
            let names = host.names(what).unwrap_or_default();
            for (name, severity, names) in lists(&names) {
                add(name, severity, Fault::Names(names));
            }
        }
        Kind::Link | Kind::Canonical => {
            for target in ["", "/", "..", "../../../../..", "/\u{fffd}\u{1}\u{fffd}", "x y"] {
                add(format!("leads to {target:?}"), Twisted, Fault::Target(target));
            }
        }
        Kind::Size => add("no size".to_owned(), Twisted, Fault::NoSize),
        Kind::Stamp | Kind::Uname | Kind::Timex => {}
    }
    if *kind == Kind::Run {
        add("hangs".to_owned(), Gone, Fault::Hangs);
        add("a failure".to_owned(), Gone, Fault::Status(1, "\nPermission denied\n"));
        add("silence".to_owned(), Gone, Fault::Status(3, ""));
    }
    faults
}

/// Bytes in the place of `whole`.
fn bytes(whole: &[u8]) -> Vec<(String, Severity, Vec<u8>)> {
    use Severity::{Gone, Twisted};

    let mut all: Vec<(String, Severity, Vec<u8>)> = Vec::new();
    let noise: Vec<u8> = (0..=255_u8).rev().cycle().take(1021).collect();
    all.push(("empty".to_owned(), Gone, Vec::new()));
    all.push(("a line's end".to_owned(), Gone, b"\n".to_vec()));
    all.push(("noise".to_owned(), Gone, noise.clone()));
    all.push(("words".to_owned(), Gone, b"no such thing here\n".to_vec()));
    for number in ["-1\n", "99999999999999999999999999\n", "NaN\n"] {
        all.push((format!("{number:?}"), Twisted, number.as_bytes().to_vec()));
    }
    let len = whole.len();
    let first = whole.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    for cut in BTreeSet::from([1, first, len / 2, len.saturating_sub(2), len.saturating_sub(1)]) {
        if let Some(part) = whole.get(..cut).filter(|part| part.len() < len) {
            all.push((format!("cut after {cut} of {len}"), Twisted, part.to_vec()));
        }
    }
    let (third, half) = (len / 3, len / 2);
    let torn = [&whole[..third], &whole[half..]].concat();
    all.push(("torn".to_owned(), Twisted, torn));
    all.push(("doubled".to_owned(), Twisted, whole.repeat(2)));
    all.push((
        "noise within".to_owned(),
        Twisted,
        [&whole[..half], &noise, &whole[half..]].concat(),
    ));
    let times = HUGE_LEN.checked_div(len).map_or(0, |times| times + 1);
    all.push(("huge".to_owned(), Twisted, whole.repeat(times)));
    all.push(("one huge line".to_owned(), Gone, vec![b'x'; HUGE_LEN]));
    all.push(("one huge number".to_owned(), Twisted, vec![b'9'; HUGE_LEN]));
    all
}

/// Names in the place of those in a folder.
fn lists(names: &[String]) -> Vec<(String, Severity, Vec<String>)> {
    use Severity::Gone;

    let with = |more: &str| names.iter().cloned().chain([more.to_owned()]).collect::<Vec<_>>();
    let mut all = vec![("empty".to_owned(), Gone, Vec::new())];
    for (at, name) in names.iter().enumerate().take(3) {
        let mut rest = names.to_vec();
        rest.remove(at);
        all.push((format!("without {name}"), Gone, rest));
    }
    // One that comes, and is gone before it is looked at.
    let likely = names.last().map_or_else(|| "x0".to_owned(), |name| format!("{name}9"));
    for name in [likely.as_str(), "\u{fffd}\u{1}\n", "0", &"n".repeat(255)] {
        all.push((format!("with {name:?}"), Gone, with(name)));
    }
    all
}

/// What stands for all things of a kind: the end of a path, without what tells one from another.
fn shape(what: &str) -> String {
    let end = what.match_indices('/').rev().nth(1).map_or(0, |(at, _)| at);
    let mut shape = String::new();
    for c in what[end..].chars() {
        let c = if c.is_ascii_digit() { '#' } else { c };
        if !(c == '#' && shape.ends_with('#')) {
            shape.push(c);
        }
    }
    ["sda", "sdb", "sdc", "sdd", "sde", "sdf", "sdg", "sdh", "sdi"]
        .iter()
        .fold(shape, |shape, disk| shape.replace(disk, "sd?"))
}

/// What a whole test has found to be wrong, each once.
#[derive(Debug, Default)]
struct Wrong(BTreeMap<String, String>);

impl Wrong {
    fn add(&mut self, what: String, example: &str) {
        self.0.entry(what).or_insert_with(|| example.chars().take(EXAMPLE_LEN_MAX).collect());
    }

    fn none(&self) {
        let all: Vec<String> =
            self.0.iter().map(|(what, example)| format!("{what}\n    {example}")).collect();
        assert!(all.is_empty(), "{} wrong:\n{}", all.len(), all.join("\n"));
    }
}

/// Runs it, and notes a panic.
fn guarded<T>(wrong: &mut Wrong, case: &str, run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run))
        .map_err(|panic| {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            let what = case.split(" is ").next().unwrap_or_default();
            wrong.add(format!("panic {what}"), &format!("{case}: {words:?}"));
        })
        .ok()
}

fn make(entry: &Entry) -> Box<dyn Collector> {
    (entry.make)(&options())
}

/// What a collector asks of a machine, and what it gives in three rounds.
fn in_order(entry: &Entry, host: &Broken) -> (BTreeSet<Ask>, Vec<Outcome>) {
    host.set_fault(None);
    host.take_asked();
    let mut collector = make(entry);
    let outcomes = (0..ROUNDS_MS.len()).map(|at| round(&mut *collector, host, at)).collect();
    (host.take_asked(), outcomes)
}

/// Numbers that are told of a broken machine and were not told of the whole one. A thing that is not
/// recognised any more may have another name, and its numbers are what they were.
fn new_numbers(before: &Outcome, after: &Outcome) -> Vec<String> {
    let name = |series: &str| series.split('{').next().unwrap_or_default().to_owned();
    let numbers = |outcome: &Outcome| {
        let all = outcome.samples().into_iter().flatten();
        all.map(|(series, value)| (name(series), value.to_bits())).collect::<BTreeSet<_>>()
    };
    let known = numbers(before);
    let after = after.samples().into_iter().flatten();
    let new = after.filter(|(series, value)| {
        let name = name(series);
        // That of a thing whose labels are less than they were is 1 all the same.
        !name.ends_with("_info") && !known.contains(&(name, value.to_bits()))
    });
    new.map(|(series, value)| format!("{series} {value}")).collect()
}

/// All samples that are in one and not, or with another value, in the other.
fn differences(one: &Outcome, other: &Outcome) -> Vec<String> {
    let lines = |outcome: &Outcome| match outcome {
        Outcome::Samples(samples) => {
            samples.iter().map(|(series, value)| format!("{series} {value}")).collect()
        }
        end => BTreeSet::from([format!("{end:?}")]),
    };
    let (one, other) = (lines(one), lines(other));
    let only = |from: &BTreeSet<String>, not: &BTreeSet<String>, sign| {
        from.difference(not).map(|line| format!("{sign} {line}")).collect::<Vec<_>>()
    };
    [only(&one, &other, '-'), only(&other, &one, '+')].concat()
}

/// Numbers that a fault changes, by their names, and why they are true all the same.
const TRUE_OF_FAULTS: [(&str, &str); 14] = [
    ("labstat_ceph_daemon_up", "it does not answer as a daemon does"),
    ("labstat_smart_last_success_timestamp_seconds", "that was before"),
    ("labstat_smart_read_success", "it was not read"),
    ("labstat_smart_reading_age_seconds", "the last reading gets older"),
    ("labstat_thermal_max_celsius", "of the sensors that are left, or of their kind"),
    ("labstat_ups_server_up", "it answers, or does not"),
    ("labstat_ups_up", "it does not answer"),
    ("labstat_node_reboot_required", "the file says so by being there"),
    ("node_filesystem_device_error", "it cannot be asked"),
    ("node_processes_pids", "a process that cannot be read has ended"),
    ("node_processes_threads", "likewise"),
    ("node_textfile_mtime_seconds", "it was written meanwhile"),
    ("node_textfile_scrape_error", "that is what it is for"),
    ("smartctl_devices", "disks that cannot be found are none"),
];

/// Collectors that take it for the end of what they look for when they may not read it, and why.
const SILENT_WITHOUT_RIGHT: [(&str, &str); 4] = [
    ("ceph_cluster", "ceph tells of the daemon that does not answer"),
    ("nut", "nobody said that there is a server"),
    ("smartctl", "what is not to be started is not installed"),
    ("throttle", "everybody may read it"),
];

#[test]
fn whatever_is_broken_is_told_or_left_out_and_mended_without_a_trace() {
    let mut wrong = Wrong::default();
    let mut tried = BTreeSet::new();
    let (mut cases, mut questions) = (0, 0);
    for Tree { name, host, .. } in &trees::all() {
        for entry in registry() {
            let (asked, expected) = in_order(entry, host);
            for ask in asked {
                // A tree for each way to be laid out, and one thing of each kind.
                let is_there = expected[0].samples().is_some();
                if !tried.insert((entry.name, is_there, shape(&ask.1), ask.0)) {
                    continue;
                }
                questions += 1;
                for (fault_name, severity, fault) in faults(host, &ask) {
                    cases += 1;
                    let case =
                        format!("{}: {:?} {:?} is {fault_name} [{name}]", entry.name, ask.0, ask.1);
                    let fault = (ask.clone(), fault);
                    check(&mut wrong, &case, entry, host, &fault, severity, &expected);
                }
            }
        }
    }
    println!("{cases} faults of {questions} questions");
    assert!(questions > 200, "{questions}");
    wrong.none();
}

/// From the start, and between two rounds that are in order.
fn check(
    wrong: &mut Wrong,
    case: &str,
    entry: &Entry,
    host: &Broken,
    fault: &(Ask, Fault),
    severity: Severity,
    expected: &[Outcome],
) {
    let (ask, broken) = fault;
    let kind = format!("{:?} {}", ask.0, shape(&ask.1));
    let is_denied = matches!(broken, Fault::Error(ErrorKind::PermissionDenied));
    // What is kept from one round to the next is looked at anew in each of them, so that half an answer
    // is met by all there is in the second, too.
    let at_first = if severity == Severity::Gone { 0 } else { 1 };
    for broken_at in at_first..=1 {
        let mut collector = make(entry);
        for (at, expected) in expected.iter().enumerate().take(broken_at + 2) {
            let is_broken = at == broken_at;
            host.set_fault(is_broken.then(|| fault.clone()));
            let Some(outcome) = guarded(wrong, case, || round(&mut *collector, host, at)) else {
                break;
            };
            if is_broken && severity == Severity::Gone {
                for number in new_numbers(expected, &outcome) {
                    let family = number.split('{').next().unwrap_or_default();
                    // Which of its counters Ceph leaves out itself stands in another answer.
                    let is_of_ceph = family.starts_with("ceph_");
                    if !is_of_ceph && TRUE_OF_FAULTS.iter().all(|(name, _)| *name != family) {
                        let what = format!("a number {}: {family} of {}", entry.name, kind);
                        wrong.add(what, &format!("{case}: {number}"));
                    }
                }
            }
            let is_silent = outcome == Outcome::Absent && *expected != Outcome::Absent;
            let may_be_silent = SILENT_WITHOUT_RIGHT.iter().any(|(name, _)| *name == entry.name);
            if is_broken && is_denied && is_silent && !may_be_silent {
                wrong.add(format!("silence of {} {kind}", entry.name), case);
            }
            // A disk that was there for a moment is told of as gone for a while.
            let is_meant = entry.name == "smartctl" && ask.0 == Kind::List;
            if !is_broken && !is_meant && outcome != *expected {
                let what = format!("a trace in {} {kind}", entry.name);
                wrong.add(what, &format!("{case}: {:?}", differences(expected, &outcome)));
            }
        }
        host.set_fault(None);
    }
}

/// One round of all collectors with the same settings, and what each of them asked.
fn whole_round(host: &Broken) -> Vec<(&'static str, BTreeSet<Ask>, Outcome)> {
    let options = Options::default();
    let run = |entry: &Entry| {
        host.take_asked();
        let outcome = round(&mut *(entry.make)(&options), host, 0);
        (entry.name, host.take_asked(), outcome)
    };
    registry().iter().map(run).collect()
}

#[test]
fn whatever_is_broken_leaves_the_others_as_they_are() {
    // One answer of the kernel serves all three.
    let of_netlink = ["links", "netclass", "netdev"];
    let mut wrong = Wrong::default();
    let noise = Fault::Bytes((0..=255).rev().collect());
    for Tree { name, host, .. } in &trees::all() {
        host.set_fault(None);
        let before = whole_round(host);
        let mut tried = BTreeSet::new();
        let asked: BTreeSet<&Ask> = before.iter().flat_map(|(_, asked, _)| asked).collect();
        for ask in asked.into_iter().filter(|ask| tried.insert((ask.0, shape(&ask.1)))) {
            for fault in [Fault::Error(ErrorKind::PermissionDenied), noise.clone()] {
                host.set_fault(Some((ask.clone(), fault)));
                for ((collector, asked, before), (.., after)) in
                    before.iter().zip(whole_round(host))
                {
                    let shares_it = ask.0 == Kind::Netlink && of_netlink.contains(collector);
                    if !asked.contains(ask) && !shares_it && *before != after {
                        let example = format!("{name}: {:?}", differences(before, &after));
                        wrong.add(format!("{collector} by {ask:?}"), &example);
                    }
                }
            }
        }
    }
    wrong.none();
}
