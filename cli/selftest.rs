//! `labstat disk selftest`: starts a self-test of a disk of this machine and watches it to its end.
//!
//! An agent takes no commands from anybody, so a test runs where the disk is. What a disk says of
//! its tests is read in [`said`].

mod said;

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use labstat_agent::collect::{Host, RunError};
use labstat_model::duration;
use serde_json::json;

use crate::client::{Client, ServerArgs, path_part};
use crate::failure::Failure;
use crate::local::{Disk, Local};
use crate::output;
use crate::progress;
use crate::runtime;
use crate::settings;
use crate::table::printable;

use said::{End, Entry, Said};

/// Starts a self-test of a disk of this machine, and watches it to its end
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo labstat disk selftest sda                 two minutes
  sudo labstat disk selftest WD-WCC4N1234567 --long
  sudo labstat disk selftest sda --long --no-wait
  sudo labstat disk selftest sda --follow        watch the one that runs
  sudo labstat disk selftest sda --abort

The disk tests itself and goes on serving meanwhile, more slowly. Ctrl-C ends the watching, not the
test. A disk that sleeps is left alone unless --wake is given. Agents take no commands: on another
node, run it there.

Exit status: 0 the test passed, or was started or aborted as asked; 1 it could not be started or
read; 2 wrong usage; 3 the test failed; 4 no result: it goes on, or was cut off.")]
pub(crate) struct Selftest {
    /// A serial number, a device, or NODE/DEVICE with the name of this node
    #[arg(value_name = "DISK")]
    disk: String,

    /// The short test, of about two minutes; it is the default
    #[arg(long, conflicts_with_all = ["long", "abort", "follow"])]
    short: bool,

    /// The long test, which reads the whole disk and takes hours
    #[arg(long, conflicts_with_all = ["abort", "follow"])]
    long: bool,

    /// End the test that runs
    #[arg(long, conflicts_with_all = ["follow", "no_wait"])]
    abort: bool,

    /// Start none, watch the one that runs
    #[arg(long, conflicts_with = "no_wait")]
    follow: bool,

    /// Start it and do not wait for its end
    #[arg(long)]
    no_wait: bool,

    /// Wake the disk when it sleeps
    #[arg(long)]
    wake: bool,

    /// Time between two looks [default: 5s to 1m, by how long the test takes]
    #[arg(long, value_name = "DURATION", value_parser = settings::duration_ms)]
    every: Option<i64>,

    /// How to print the result
    #[arg(long, value_enum, default_value = "table")]
    format: Format,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A sentence for people
    Table,
    /// One JSON object
    Json,
}

/// The test found something.
const TEST_FAILED: u8 = 3;

/// There is no result.
const NO_RESULT: u8 = 4;

/// The bits of smartctl's exit status by which nothing was done: usage, open, command.
const NOT_DONE: i32 = 0b111;

/// The exit status that smartctl is asked to end with when a disk sleeps.
const STATUS_ASLEEP: i32 = 3;

/// The first smartctl that starts self-tests of NVMe disks and reads them.
const NVME_SINCE: (u64, u64) = (7, 4);

/// Bounds of the time between two looks: a look costs the disk a moment.
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// See [`PAUSE_MIN`].
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How long a short test takes where the disk does not say.
const SHORT_MINUTES: u64 = 2;

/// Looks that may fail one after the other: a disk that reads itself answers late.
const FAILED_LOOKS_MAX: usize = 3;

/// Looks after a start at which nothing runs and nothing is new before that is the answer.
const QUIET_LOOKS_MAX: usize = 3;

/// What is asked of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Short,
    Long,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Long => "long",
        }
    }

    /// Whether smartctl calls it so.
    fn is(self, words: &str) -> bool {
        let words = words.to_ascii_lowercase();
        match self {
            Self::Short => words.contains("short"),
            Self::Long => words.contains("extended") || words.contains("long"),
        }
    }
}

/// How it all ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Started,
    Aborted,
    /// Nobody watches it any more.
    GoesOn {
        left_percent: Option<u64>,
    },
    Ended(Entry),
    /// The disk does not tell.
    Untold,
}

impl Selftest {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let local = Local::new()?;
        let disk = self.find(&local)?;
        let before = look(&local, &disk, self.wake)?;
        let result = if self.abort {
            end(&local, &disk, &before)?
        } else {
            runtime::block_on(self.go(&local, &disk, &before))?
        };
        let text = match self.format {
            Format::Table => self.for_people(&disk, &result),
            Format::Json => self.json(&disk, &result),
        };
        output::result(&text)?;
        Ok(code(&result))
    }

    fn kind(&self) -> Option<Kind> {
        match (self.follow || self.abort, self.long) {
            (true, _) => None,
            (false, true) => Some(Kind::Long),
            (false, false) => Some(Kind::Short),
        }
    }

    /// The disk that is meant, when it is here and answers.
    fn find(&self, local: &Local) -> Result<Disk, Failure> {
        let device = match self.disk.split_once('/') {
            Some((node, device)) if !node.is_empty() => {
                if !local.is_named(node) {
                    return Err(self.run_there(node, device));
                }
                device
            }
            _ => &*self.disk,
        };
        // A link of udev's stands for what it leads to.
        let link = device.starts_with('/').then(|| local.host.canonical(device).ok()).flatten();
        let device = link.as_deref().unwrap_or(device);
        // Only the one that is meant is touched, where its name tells which it is.
        let named = local.survey(&[device.to_owned(), controller(device).to_owned()], self.wake)?;
        let is_it = |disk: &Disk| {
            let name = disk.path.strip_prefix("/dev/").unwrap_or(&disk.path);
            [&*disk.path, name, &disk.label]
                .iter()
                .any(|it| [device, controller(device)].contains(it))
        };
        if let Some(disk) = named.into_iter().find(is_it) {
            return answers(disk, self.wake);
        }
        let has_serial = |disk: &Disk| {
            let serial = disk.report.as_ref().and_then(|report| report.serial_number.as_deref());
            serial.is_some_and(|serial| serial.trim() == device)
                || local.remembered_serial(disk).is_some_and(|serial| serial == device)
        };
        // No other disk is woken to find this one.
        let mut all = local.survey(&[], false)?;
        match all.iter().position(has_serial) {
            Some(at) => answers(all.swap_remove(at), self.wake),
            None => Err(self.elsewhere(device, &all)),
        }
    }

    /// Says where it is to be run.
    fn run_there(&self, node: &str, device: &str) -> Failure {
        let mut command = format!("sudo labstat disk selftest {device}");
        for (flag, given) in [
            ("--long", self.long),
            ("--abort", self.abort),
            ("--follow", self.follow),
            ("--no-wait", self.no_wait),
            ("--wake", self.wake),
        ] {
            if given {
                let _ = write!(command, " {flag}");
            }
        }
        Failure::new(format!("{node} is not this machine, and agents take no commands"))
            .cure(format!("run on {node}: {command}"))
    }

    /// There is no such disk here: perhaps the aggregator knows it.
    fn elsewhere(&self, device: &str, here: &[Disk]) -> Failure {
        let asked = runtime::block_on(async {
            let client = Client::new(&self.server)?;
            client.get(&format!("/api/labstat/v1/disks/{}", path_part(device))).await
        });
        let told = asked.ok().and_then(|reply| {
            let text = |key: &str| Some(reply.data.get(key)?.as_str()?.to_owned());
            Some((text("instance")?, text("device")?))
        });
        if let Some((node, name)) = told.filter(|(node, _)| !node.is_empty()) {
            return self.run_there(&node, &name);
        }
        let names = |disks: &mut dyn Iterator<Item = &Disk>| {
            disks.map(|disk| printable(&disk.label)).collect::<Vec<_>>().join(", ")
        };
        let asleep = names(&mut here.iter().filter(|disk| disk.state == "asleep"));
        let cure = match (here.is_empty(), asleep.as_str()) {
            (true, _) => "no disk was found here; `labstat doctor` says why".to_owned(),
            (false, "") => format!("here are {}", names(&mut here.iter())),
            (false, asleep) => format!(
                "here are {}; asleep, and telling no serial number, are {asleep}: name the device",
                names(&mut here.iter())
            ),
        };
        Failure::new(format!("no disk {device:?} on this machine")).cure(cure)
    }

    /// Starts the test, unless it is only to be watched, and watches it.
    async fn go(&self, local: &Local, disk: &Disk, before: &Said) -> Result<Told, Failure> {
        // From here on Ctrl-C leaves the test to itself.
        let mut end = std::pin::pin!(runtime::asked_to_end());
        let kind = self.kind();
        let mut minutes = None;
        if let Some(kind) = kind {
            minutes = start(local, disk, before, kind)?;
            self.tell_started(disk, kind, minutes);
            if self.no_wait {
                return Ok(Told::Started);
            }
        } else if before.running.is_none() {
            return Ok(before.newest.clone().map_or(Told::Untold, Told::Ended));
        }
        let mut watch = Watch::new(kind, before);
        let pause = self.pause(kind, minutes);
        let mut line = progress::Line::new();
        let (mut failed, mut told) = (0, None);
        loop {
            match look(local, disk, self.wake) {
                Ok(said) => {
                    failed = 0;
                    if let Some(result) = watch.take(&said) {
                        return Ok(result);
                    }
                    let left = watch.left_percent;
                    let words = remaining(&disk.label, left, minutes);
                    let on_terminal = self.format == Format::Table && line.say(&words);
                    if !on_terminal && left.is_some() && left != told {
                        output::message(&format!("labstat: {words}\n"));
                    }
                    told = left;
                }
                Err(failure) if failed + 1 >= FAILED_LOOKS_MAX => return Err(failure),
                Err(_) => failed += 1,
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                ended = &mut end => {
                    ended?;
                    return Ok(Told::GoesOn { left_percent: watch.left_percent });
                }
            }
        }
    }

    fn tell_started(&self, disk: &Disk, kind: Kind, minutes: Option<u64>) {
        if self.no_wait {
            return;
        }
        let takes = minutes.map(|minutes| format!(", takes about {}", span(minutes)));
        output::message(&format!(
            "labstat: {}: the {} self-test has begun{}; Ctrl-C leaves it running\n",
            disk.label,
            kind.word(),
            takes.unwrap_or_default()
        ));
    }

    fn pause(&self, kind: Option<Kind>, minutes: Option<u64>) -> Duration {
        if let Some(ms) = self.every.and_then(|ms| u64::try_from(ms).ok()) {
            return Duration::from_millis(ms);
        }
        match minutes {
            // A hundredth of it, which is finer than most disks tell.
            Some(minutes) => Duration::from_millis(minutes.saturating_mul(600)),
            None if kind == Some(Kind::Long) => PAUSE_MAX,
            None => PAUSE_MIN,
        }
        .clamp(PAUSE_MIN, PAUSE_MAX)
    }

    fn for_people(&self, disk: &Disk, result: &Told) -> String {
        let who = disk.who().map_or_else(String::new, |who| format!(" ({who})"));
        let test = match (self.kind(), result) {
            (Some(kind), _) => format!("{} self-test", kind.word()),
            (None, Told::Ended(entry)) if !entry.kind.is_empty() => {
                format!("self-test ({})", entry.kind)
            }
            (None, _) => "self-test".to_owned(),
        };
        let name = &disk.label;
        let said = match result {
            Told::Started => {
                format!("{test} started; `labstat disk selftest {name} --follow` watches it")
            }
            Told::Aborted => format!("{test} aborted"),
            Told::GoesOn { left_percent } => {
                let left = left_percent.map(|left| format!(", {left} % left"));
                format!(
                    "the {test} goes on{}\n  `labstat disk selftest {name} --follow` watches it \
                     again, --abort ends it",
                    left.unwrap_or_default()
                )
            }
            Told::Untold => format!("{test}: no result; the disk does not tell of its tests"),
            Told::Ended(entry) => ended(&test, entry),
        };
        printable(name) + &who + ": " + &said + "\n"
    }

    fn json(&self, disk: &Disk, result: &Told) -> String {
        let entry = match result {
            Told::Ended(entry) => Some(entry),
            _ => None,
        };
        let left = match result {
            Told::GoesOn { left_percent } => *left_percent,
            _ => None,
        };
        let report = disk.report.as_ref();
        let told = json!({
            "device": disk.label,
            "path": disk.path,
            "model_name": report.and_then(|report| report.model_name.as_ref()),
            "serial_number": report.and_then(|report| report.serial_number.as_ref()),
            "test": self.kind().map(Kind::word),
            "result": word(result),
            "type": entry.map(|entry| &entry.kind),
            "status": entry.map(|entry| &entry.words),
            "power_on_hours": entry.and_then(|entry| entry.hours),
            "first_error_lba": entry.and_then(|entry| entry.lba),
            "remaining_percent": left,
        });
        format!("{told}\n")
    }
}

/// What is seen of a test from look to look.
#[derive(Debug)]
struct Watch {
    kind: Option<Kind>,
    before: Option<Entry>,
    tests_before: usize,
    was_running: bool,
    quiet: usize,
    left_percent: Option<u64>,
}

impl Watch {
    fn new(kind: Option<Kind>, before: &Said) -> Self {
        Self {
            kind,
            before: before.newest.clone(),
            tests_before: before.tests,
            was_running: kind.is_none(),
            quiet: 0,
            left_percent: before.running.and_then(|running| running.left_percent),
        }
    }

    /// Takes in one look; the result when the test is over.
    fn take(&mut self, said: &Said) -> Option<Told> {
        if let Some(running) = said.running {
            self.was_running = true;
            self.left_percent = running.left_percent.or(self.left_percent);
            return None;
        }
        let is_new = said.newest != self.before || said.tests > self.tests_before;
        if is_new && said.newest.is_some() {
            return said.newest.clone().map(Told::Ended);
        }
        // Some disks write their log a moment after the end, and begin a moment after the start.
        self.quiet += 1;
        if self.quiet < QUIET_LOOKS_MAX {
            return None;
        }
        // Two tests within an hour look the same in the log: one that was seen, or that can only
        // be this one, is.
        let fits = |entry: &Entry| {
            let same_kind = self.kind.is_none_or(|kind| kind.is(&entry.kind));
            let is_of_now = match (entry.hours, said.hours) {
                (Some(then), Some(now)) => now.saturating_sub(then) <= 1,
                _ => self.was_running,
            };
            same_kind && is_of_now
        };
        Some(said.newest.clone().filter(fits).map_or(Told::Untold, Told::Ended))
    }
}

/// `nvme0n1` is asked as `nvme0`, as discovery finds it.
fn controller(device: &str) -> &str {
    let name = device.strip_prefix("/dev/").unwrap_or(device);
    let digits = name.strip_prefix("nvme").map(|rest| rest.bytes().take_while(u8::is_ascii_digit));
    let Some(digits) = digits.map(Iterator::count).filter(|digits| *digits > 0) else {
        return device;
    };
    let end = device.len() - name.len() + "nvme".len() + digits;
    device.get(..end).unwrap_or(device)
}

/// The disk, if a test of it can be spoken of at all.
fn answers(disk: Disk, wake: bool) -> Result<Disk, Failure> {
    let name = printable(&disk.label);
    let failed = |what: String, cure: &str| Err(Failure::new(what).cure(cure));
    match (disk.state, disk.reason) {
        ("read", _) => Ok(disk),
        ("asleep", _) if wake => Ok(disk),
        ("asleep", why) => {
            failed(format!("{name} is asleep ({why}) and was left alone"), "--wake wakes it")
        }
        ("denied", _) => {
            failed(format!("no right to ask {name}"), "run it as root: sudo labstat …")
        }
        // It said who it is: let it say itself whether it has tests.
        ("unsupported", _) if disk.report.is_some() => Ok(disk),
        (_, "virtual" | "no_smart") => {
            Err(Failure::new(format!("{name} has no SMART and so no self-tests")))
        }
        ("gone", _) => Err(Failure::new(format!("{name} is not there any more"))),
        (_, why) => failed(
            format!("{name} does not answer: {}", why.replace('_', " ")),
            "`labstat doctor` says more",
        ),
    }
}

/// Asks the disk what it says of its tests.
fn look(local: &Local, disk: &Disk, wake: bool) -> Result<Said, Failure> {
    let nocheck = format!("--nocheck=standby,{STATUS_ASLEEP}");
    let mut arguments =
        vec!["--json=o", "--info", "--capabilities", "--attributes", "--log=selftest"];
    if !wake {
        arguments.push(&nocheck);
    }
    let what = || Failure::new(format!("failed to read the self-tests of {}", disk.label));
    let output = local.smartctl(&arguments, disk).map_err(|error| not_run(what(), &error))?;
    let said = Said::of(&output.stdout);
    if said == Said::default() || (said.version.is_some() && is_asleep(&output.stdout)) {
        return Err(what().cure("it fell asleep, or is gone; `labstat doctor` says more"));
    }
    Ok(said)
}

fn is_asleep(stdout: &[u8]) -> bool {
    let text = String::from_utf8_lossy(stdout);
    text.contains("Device is in STANDBY") || text.contains("Device is in SLEEP")
}

fn not_run(failure: Failure, error: &RunError) -> Failure {
    let failure = failure.because(error);
    match error {
        RunError::NotFound => failure.cure("apt install smartmontools"),
        _ => failure,
    }
}

/// Starts a test; how many minutes it takes.
fn start(local: &Local, disk: &Disk, before: &Said, kind: Kind) -> Result<Option<u64>, Failure> {
    let name = &disk.label;
    if before.running.is_some() {
        return Err(Failure::new(format!("a self-test of {name} runs already"))
            .cure("--follow watches it, --abort ends it"));
    }
    must_speak_nvme(before)?;
    let what = || Failure::new(format!("failed to start a self-test of {name}"));
    let output = local
        .smartctl(&[&format!("--test={}", kind.word())], disk)
        .map_err(|error| not_run(what(), &error))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.is_none_or(|status| status & NOT_DONE != 0) {
        return Err(as_said(what(), &text));
    }
    let told = match kind {
        Kind::Short => before.short_minutes,
        Kind::Long => before.long_minutes,
    };
    let default = (kind == Kind::Short).then_some(SHORT_MINUTES);
    Ok(told.or_else(|| minutes_in(&text)).or(default))
}

/// Ends the test that runs.
fn end(local: &Local, disk: &Disk, before: &Said) -> Result<Told, Failure> {
    let name = &disk.label;
    must_speak_nvme(before)?;
    if before.running.is_none() {
        return Err(Failure::new(format!("no self-test of {name} runs")));
    }
    let what = || Failure::new(format!("failed to abort the self-test of {name}"));
    let output = local.smartctl(&["--abort"], disk).map_err(|error| not_run(what(), &error))?;
    if output.status.is_none_or(|status| status & NOT_DONE != 0) {
        return Err(as_said(what(), &String::from_utf8_lossy(&output.stdout)));
    }
    Ok(Told::Aborted)
}

fn must_speak_nvme(before: &Said) -> Result<(), Failure> {
    match before.version {
        Some((major, minor)) if before.is_nvme && (major, minor) < NVME_SINCE => {
            let what = format!("smartctl {major}.{minor} cannot test NVMe disks");
            let (major, minor) = NVME_SINCE;
            Err(Failure::new(what).cure(format!("install smartmontools {major}.{minor} or newer")))
        }
        _ => Ok(()),
    }
}

/// Adds what smartctl said, without its heading.
fn as_said(failure: Failure, text: &str) -> Failure {
    const HEADINGS: [&str; 5] =
        ["smartctl ", "Copyright", "===", "Sending command", "Drive command"];
    let said = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !HEADINGS.iter().any(|begin| line.starts_with(begin)));
    let said = printable(&said.collect::<Vec<_>>().join(" "));
    if said.is_empty() { failure } else { failure.because(&std::io::Error::other(said)) }
}

/// The number in `Please wait 2 minutes for test to complete.`
fn minutes_in(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("Please wait ")?;
    let (number, rest) = rest.split_once(' ')?;
    let number = number.parse().ok()?;
    if rest.starts_with("minute") { Some(number) } else { None }
}

fn span(minutes: u64) -> String {
    duration::format_ms(i64::try_from(minutes.saturating_mul(60_000)).unwrap_or(i64::MAX))
}

/// How far a test has come.
fn remaining(name: &str, left_percent: Option<u64>, minutes: Option<u64>) -> String {
    let name = printable(name);
    let Some(left) = left_percent else { return format!("{name}: self-test runs") };
    let time = minutes.map(|minutes| minutes.saturating_mul(left.min(100)).div_ceil(100));
    let time = time.map(|minutes| format!(", about {}", span(minutes)));
    format!("{name}: {left} % of the self-test left{}", time.unwrap_or_default())
}

fn ended(test: &str, entry: &Entry) -> String {
    let mut text = match entry.end {
        End::Passed => format!("{test} passed"),
        End::Failed => format!("{test} FAILED: {}", entry.words),
        End::Cut => format!("{test} was cut off: {}", entry.words),
        End::Unknown => format!("{test} ended, it is not known how: {}", entry.words),
    };
    if let Some(lba) = entry.lba.filter(|_| entry.end == End::Failed) {
        let _ = write!(text, ", first at sector {lba}");
    }
    if let Some(hours) = entry.hours {
        let _ = write!(text, ", at {hours} h of its life");
    }
    printable(&text)
}

fn word(result: &Told) -> &'static str {
    match result {
        Told::Started => "started",
        Told::Aborted => "aborted",
        Told::GoesOn { .. } => "running",
        Told::Untold => "unknown",
        Told::Ended(entry) => match entry.end {
            End::Passed => "passed",
            End::Failed => "failed",
            End::Cut => "cut_off",
            End::Unknown => "unknown",
        },
    }
}

fn code(result: &Told) -> ExitCode {
    match result {
        Told::Started | Told::Aborted => ExitCode::SUCCESS,
        Told::GoesOn { .. } | Told::Untold => ExitCode::from(NO_RESULT),
        Told::Ended(entry) => match entry.end {
            End::Passed => ExitCode::SUCCESS,
            End::Failed => ExitCode::from(TEST_FAILED),
            End::Cut | End::Unknown => ExitCode::from(NO_RESULT),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::said::Running;
    use super::*;

    fn entry(kind: &str, end: End, hours: u64) -> Entry {
        Entry { kind: kind.into(), end, words: "w".into(), hours: Some(hours), lba: None }
    }

    fn said(running: Option<u64>, newest: Option<&Entry>) -> Said {
        Said {
            running: running.map(|left| Running { left_percent: Some(left) }),
            newest: newest.cloned(),
            hours: Some(100),
            ..Said::default()
        }
    }

    #[test]
    fn a_test_is_watched_until_its_entry_is_new() {
        let old = entry("Short offline", End::Passed, 90);
        let mut watch = Watch::new(Some(Kind::Short), &said(None, Some(&old)));
        assert_eq!(watch.take(&said(Some(90), Some(&old))), None);
        assert_eq!(watch.left_percent, Some(90));
        assert_eq!(watch.take(&said(None, Some(&old))), None, "the log comes a moment later");
        let new = entry("Short offline", End::Failed, 100);
        assert_eq!(watch.take(&said(None, Some(&new))), Some(Told::Ended(new)));
    }

    #[test]
    fn two_tests_of_one_hour_look_the_same_and_one_of_last_year_does_not() {
        let quiet = |kind, newest: &Entry| {
            let mut watch = Watch::new(Some(kind), &said(None, Some(newest)));
            let mut looks = (0..QUIET_LOOKS_MAX).map(|_| watch.take(&said(None, Some(newest))));
            looks.find_map(|told| told)
        };
        let fresh = entry("Short offline", End::Passed, 100);
        assert_eq!(quiet(Kind::Short, &fresh), Some(Told::Ended(fresh.clone())));
        assert_eq!(quiet(Kind::Long, &fresh), Some(Told::Untold), "that is another one's");
        let old = entry("Short offline", End::Passed, 5);
        assert_eq!(quiet(Kind::Short, &old), Some(Told::Untold));
    }

    #[test]
    fn names_of_namespaces_and_other_devices() {
        for (name, asked) in [
            ("nvme0n1", "nvme0"),
            ("/dev/nvme12n1", "/dev/nvme12"),
            ("nvme0", "nvme0"),
            ("sda", "sda"),
            ("/dev/disk/by-id/x", "/dev/disk/by-id/x"),
            ("nvmes", "nvmes"),
        ] {
            assert_eq!(controller(name), asked);
        }
    }

    #[test]
    fn minutes_are_read_where_smartctl_says_them() {
        let ata = "Testing has begun.\nPlease wait 255 minutes for test to complete.\n";
        assert_eq!(minutes_in(ata), Some(255));
        assert_eq!(minutes_in("Please wait a while"), None);
        assert_eq!(minutes_in("Please wait 30 seconds for it"), None);
        assert_eq!(minutes_in(""), None);
    }

    #[test]
    fn what_is_left_in_words() {
        let words = remaining("sda", Some(30), Some(600));
        assert_eq!(words, "sda: 30 % of the self-test left, about 3h");
        assert_eq!(remaining("sda", Some(30), None), "sda: 30 % of the self-test left");
        assert_eq!(remaining("sda", None, Some(2)), "sda: self-test runs");
    }

    #[test]
    fn a_sleeping_disk_is_refused_and_others_say_why() {
        let disk = |state, reason| Disk { label: "sda".into(), state, reason, ..Disk::default() };
        let asleep = answers(disk("asleep", "standby"), false).unwrap_err().text().unwrap();
        assert!(asleep.contains("asleep (standby)") && asleep.contains("--wake"), "{asleep}");
        assert!(answers(disk("asleep", "standby"), true).is_ok());
        assert!(answers(disk("read", ""), false).is_ok());
        let denied = answers(disk("denied", "permission"), false).unwrap_err().text().unwrap();
        assert!(denied.contains("sudo"), "{denied}");
        let failed = answers(disk("failed", "identify_failed"), true).unwrap_err();
        assert!(failed.text().unwrap().contains("identify failed"));
    }
}
