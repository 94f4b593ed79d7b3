//! Health of disks, by smartctl.
//!
//! - Runs: `smartctl --scan` or `--scan-open` to find disks beside those of the kernel
//!   ([`discover`]), then one call per disk and interval, each disk at a moment of its own
//!   ([`schedule`]). Needs root (or `CAP_SYS_RAWIO` and the disk group).
//! - Wakes no disk that sleeps, and keeps none awake that would fall asleep ([`power`]).
//! - NVMe disks can be asked without smartctl ([`nvme`]), and are where it is not installed.
//! - Absent when smartctl is not installed and there are no NVMe disks.
//! - Emits: the names of `smartctl_exporter` ([`samples`]), and what it lacks: [`STATE`],
//!   [`READ_SUCCESS`], [`LAST_SUCCESS`], [`AGE`], [`POWER_MODE`], [`READS`], [`SECONDS`],
//!   [`WAKEUPS`].
//! - One disk that cannot be read is that disk's fault: its last values stay for a bounded time
//!   while their age grows; the others are not touched and do not wait for it. One that is gone
//!   has no values at once and is told of as gone for a while.
//! - A disk that is reached in two ways is one ([`identity`]).
//! - Not here: verdicts.
//!
//! One run looks at what the kernel says, asks the disks that are due, takes in what has ended,
//! and gives what is known of all. It waits a moment for those it asked, so that most are told at
//! once; one that takes longer goes on by itself and is told by a later run.

mod discover;
mod disk;
mod identity;
mod kept;
mod kinds;
mod nvme;
mod outcome;
mod power;
mod samples;
mod schedule;
mod search;
mod self_tests;
mod state;
mod survey;
mod wear;

pub use samples::push_report;
pub use state::{of as state_of, push as push_state, reading};
pub use survey::Surveyed;

use std::sync::Arc;
use std::time::{Duration, Instant};

use labstat_model::{Batch, Family};
use labstat_parse::smartctl::Report;
use serde::{Deserialize, Serialize};

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::memory::Memory;
use crate::options;

use discover::{Found, Wanted};
use disk::{Disk, Place, Program, Took};
use kept::Kept;
use kinds::Bridges;
use power::May;
use search::{Answer, Search};

pub use disk::{AGE, LAST_SUCCESS, POWER_MODE, READ_SUCCESS, READS, SECONDS, STATE, WAKEUPS};

static DEVICES: Family =
    Family::gauge("smartctl_devices", "Number of devices configured or dynamically discovered.");

/// Disks of one machine; a large disk shelf has a hundred.
const DISKS_MAX: usize = 512;

/// Calls that one run has under way at a time, when it is one of many: each is a process that
/// wants a core for a moment.
const SIDE_BY_SIDE: usize = 2;

/// The same for a run that asks all disks and waits for them.
const SIDE_BY_SIDE_ONCE: usize = 8;

/// Time between two looks whether smartctl was installed meanwhile.
const MISSED_MS: i64 = 60_000;

/// How long a run that is one of many waits for what it asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// Time between two looks at what is under way: short beside the 50 ms a call takes at least.
const POLL: Duration = Duration::from_millis(10);

/// Disks, by smartctl.
#[derive(Debug)]
pub struct Smartctl {
    options: options::Smartctl,
    disks: Vec<Disk>,
    bridges: Bridges,
    /// The kernel's lists of disks, when they were looked at last.
    names: Vec<String>,
    /// Drives without a medium, which may get one.
    empty: Vec<String>,
    search: Search,
    smartctl: Program,
    /// What is known over a restart.
    kept: Kept,
    /// When the last run was.
    ran_ms: Option<i64>,
}

/// What a disk said, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Reading {
    report: Report,
    exit_status: Option<u64>,
    at_ms: i64,
}

impl Smartctl {
    /// One with these settings.
    pub fn new(options: &options::Smartctl) -> Self {
        Self {
            options: options.clone(),
            disks: Vec::new(),
            bridges: Bridges::default(),
            names: Vec::new(),
            empty: Vec::new(),
            search: Search::default(),
            smartctl: Program { installed: true, version: None },
            kept: Kept::default(),
            ran_ms: None,
        }
    }

    /// Keeps in `memory` what must be known after a restart. One run of its own leaves no trace.
    pub fn with_memory(mut self, memory: Option<Arc<dyn Memory>>) -> Self {
        self.kept = Kept::new(memory.filter(|_| self.options.continuous));
        self
    }

    fn interval_ms(&self) -> i64 {
        millis(self.options.interval.unwrap_or(options::Smartctl::SMART_INTERVAL)).max(1)
    }

    /// Looks for disks when it is time to, or when one came or went.
    fn discover(&mut self, host: &dyn Host) -> Result<Status, CollectError> {
        let now_ms = host.now_ms();
        let names = discover::names(host, &self.empty);
        let changed = names != self.names;
        self.names = names;
        let rescan_ms = match self.smartctl.installed {
            true => millis(self.options.rescan),
            false => MISSED_MS,
        };
        if changed || self.search.is_due(now_ms, rescan_ms, self.interval_ms()) {
            let (kernel, _) = discover::kernel(host);
            self.search.start(host, &self.options, discover::search(&kernel));
            self.arrange(host, now_ms)?;
        }
        let patience = match self.options.continuous {
            true => PATIENCE,
            false => self.options.scan_deadline + PATIENCE,
        };
        match self.search.finish(host, &self.options, patience) {
            // A search that fails does not make known disks vanish.
            Answer::Nothing | Answer::Failed => {}
            Answer::Found(version) => {
                self.smartctl = Program { installed: true, version };
                self.arrange(host, now_ms)?;
            }
            Answer::NotInstalled => self.lose_smartctl(host, now_ms)?,
        }
        if !self.smartctl.installed {
            return Ok(self.without_smartctl());
        }
        match self.search.failure() {
            Some(failure) if !self.disks.iter().any(Disk::is_asked) => Err(failure),
            _ => Ok(Status::Collected),
        }
    }

    /// There is no smartctl: what is left are disks that can be asked without it.
    fn lose_smartctl(&mut self, host: &dyn Host, now_ms: i64) -> Result<(), CollectError> {
        self.smartctl.installed = false;
        self.search.found.clear();
        for disk in self.disks.extract_if(.., |disk| disk.found.kind != nvme::KIND) {
            disk.record().into_iter().for_each(|record| self.kept.leave(record));
        }
        self.arrange(host, now_ms)
    }

    /// Whether there are disks that can be asked without smartctl.
    fn without_smartctl(&self) -> Status {
        if self.disks.is_empty() { Status::Absent } else { Status::Collected }
    }

    /// Makes one list of all disks; those known keep what is known about them.
    fn arrange(&mut self, host: &dyn Host, now_ms: i64) -> Result<(), CollectError> {
        let named = self.options.devices.iter().map(|(path, kind)| Found {
            path: path.clone(),
            kind: kind.clone(),
            fixed: true,
            kernel: None,
        });
        let (kernel, empty) = discover::kernel(host);
        let is_empty = |found: &Found| {
            found.path.strip_prefix("/dev/").is_some_and(|name| empty.iter().any(|e| e == name))
        };
        let listed = self.search.found.iter().filter(|found| !is_empty(found));
        let listed = listed.cloned().collect();
        let mut all = discover::merge(named.collect(), kernel, listed);
        if empty != self.empty {
            self.empty = empty;
            self.names = discover::names(host, &self.empty);
        }
        let wanted = Wanted::new(&self.options, host);
        let can_ask = |found: &Found| self.smartctl.installed || found.kind == nvme::KIND;
        all.retain(|found| wanted.has(found) && can_ask(found));
        if all.len() > DISKS_MAX {
            let count = all.len();
            return Err(CollectError::Limit { what: "disks", count, max: DISKS_MAX });
        }
        let mut known = std::mem::take(&mut self.disks);
        for found in all {
            match known.iter().position(|disk| disk.is_still(&found)) {
                Some(at) => {
                    let mut disk = known.swap_remove(at);
                    disk.refresh(found);
                    self.disks.push(disk);
                }
                None => self.disks.push(Disk::new(found, host, now_ms)),
            }
        }
        for mut disk in known {
            disk.record().into_iter().for_each(|record| self.kept.leave(record));
            disk.vanish(now_ms);
            let is_back = self.disks.iter().any(|other| other.label == disk.label);
            if !is_back && !disk.is_forgotten(now_ms, self.options.keep_gone) {
                self.disks.push(disk);
            }
        }
        self.restore(host);
        Ok(())
    }

    /// Disks of which nothing is known take over what was known before.
    fn restore(&mut self, host: &dyn Host) {
        if !self.kept.has_absent() {
            return;
        }
        self.disks.iter_mut().for_each(|disk| disk.identify(host));
        for at in 0..self.disks.len() {
            let Some((before, [disk, after @ ..])) = self.disks.split_at_mut_checked(at) else {
                return;
            };
            let others = before.iter().chain(after.iter()).filter_map(Disk::who);
            let Some(who) = disk.who().filter(|_| disk.is_unknown()) else { continue };
            if let Some(record) = self.kept.claim(who, others) {
                disk.restore(record, host);
            }
        }
    }

    /// Writes what must be known after a restart, when a restart now would lose something.
    fn keep(&mut self, now_ms: i64) {
        if !self.kept.may_write(now_ms) {
            return;
        }
        // One that is read at its times never gets as old.
        let old_ms = self.interval_ms().saturating_mul(3) / 2;
        let old_ms = if self.kept.is_old(now_ms) { 0 } else { old_ms };
        let is_missed = |disk: &Disk| disk.would_be_missed(now_ms, old_ms);
        if !(self.kept.is_changed() || self.bridges.changed || self.disks.iter().any(is_missed)) {
            return;
        }
        let here: Vec<_> = self.disks.iter().filter_map(Disk::record).collect();
        if self.kept.write(now_ms, &here, &mut self.bridges) {
            self.disks.iter_mut().for_each(Disk::note_written);
        }
    }

    /// Spreads the disks over the time to come: at the start, and after the machine slept.
    fn spread(&mut self, now_ms: i64) {
        let interval_ms = self.interval_ms();
        let count = self.disks.iter().filter(|disk| disk.is_asked()).count();
        let asked = self.disks.iter_mut().filter(|disk| disk.is_asked());
        for (rank, disk) in asked.enumerate() {
            disk.set_due(schedule::first_ms(now_ms, rank, count, interval_ms));
        }
    }

    /// Puts each disk's time right that a jump of the clock, or the kind of run, put wrong.
    fn plan(&mut self, now_ms: i64) {
        let interval_ms = self.interval_ms();
        let before = self.ran_ms.replace(now_ms);
        if !self.options.continuous {
            for disk in &mut self.disks {
                disk.set_due(now_ms);
            }
            return;
        }
        match before {
            None => self.spread(now_ms),
            Some(before) if now_ms < before || now_ms - before > interval_ms => {
                self.spread(now_ms);
            }
            // The time of a capture stands still: what was not asked yet would wait for ever.
            Some(before) if now_ms == before => {
                for disk in self.disks.iter_mut().filter(|disk| disk.is_new()) {
                    disk.set_due(now_ms);
                }
            }
            Some(_) => {}
        }
    }

    /// Looks at the rest of all disks, which costs nothing and wakes none.
    fn look(&mut self, host: &dyn Host) {
        let now_ms = host.now_ms();
        let mut is_another = false;
        for disk in self.disks.iter_mut().filter(|disk| disk.is_asked()) {
            if disk.look(host) {
                is_another = true;
                disk.record().into_iter().for_each(|record| self.kept.leave(record));
                *disk = Disk::new(disk.found.clone(), host, now_ms);
                disk.look(host);
            }
            disk.note_suspended();
        }
        if is_another {
            self.restore(host);
        }
    }

    /// Asks the disks that are due and takes in what has ended; absent when there is no smartctl
    /// any more.
    fn ask(&mut self, host: &dyn Host) -> Status {
        let (room, patience) = match self.options.continuous {
            true => (SIDE_BY_SIDE, PATIENCE),
            // Each call has its own deadline, and a disk may need several.
            false => (SIDE_BY_SIDE_ONCE, Duration::MAX),
        };
        let start = Instant::now();
        // Those of an earlier run take nobody's place, since they may hang.
        let mut mine: Vec<usize> = Vec::new();
        loop {
            if !self.take_in(host) {
                return Status::Absent;
            }
            mine.retain(|at| self.disks.get(*at).is_some_and(Disk::is_running));
            while mine.len() < room
                && let Some(at) = self.ask_next(host)
            {
                mine.push(at);
            }
            let first = mine.first().and_then(|at| self.disks.get_mut(*at));
            match first {
                Some(disk) if start.elapsed() < patience => disk.wait(POLL),
                _ => return Status::Collected,
            }
        }
    }

    /// Asks the disk that has been due for longest, and says where it stands.
    fn ask_next(&mut self, host: &dyn Host) -> Option<usize> {
        let now_ms = host.now_ms();
        let may = |disk: &Disk| disk.may_ask(now_ms, &self.options);
        let due = self.disks.iter().enumerate().filter(|(_, disk)| may(disk) != May::No);
        let (at, disk) = due.min_by_key(|(_, disk)| disk.due_ms())?;
        let may = may(disk);
        self.disks.get_mut(at)?.ask(host, &self.options, may, self.smartctl);
        Some(at)
    }

    /// Takes in what has ended; false when there is no smartctl any more.
    fn take_in(&mut self, host: &dyn Host) -> bool {
        let interval_ms = self.interval_ms();
        let count = self.disks.iter().filter(|disk| disk.is_asked()).count();
        let mut news = false;
        let asked = self.disks.iter_mut().filter(|disk| disk.is_asked());
        for (rank, disk) in asked.enumerate() {
            let place = Place { rank, count, interval_ms };
            match disk.take_in(host, place, &mut self.bridges) {
                Took::Nothing => {}
                Took::Result => news = true,
                Took::NotInstalled => return false,
            }
        }
        if news {
            self.find_doubles(host.now_ms());
        }
        true
    }

    /// Finds disks that are reached in two ways: the first that answers stands for all. The others
    /// are not asked until it fails.
    fn find_doubles(&mut self, now_ms: i64) {
        let mut single: Vec<usize> = Vec::new();
        for at in 0..self.disks.len() {
            let Some((before, [disk, ..])) = self.disks.split_at_mut_checked(at) else { return };
            let stands_for = |other: &Disk| other.answers() && disk.is_same(other);
            let is_double = single.iter().filter_map(|at| before.get(*at)).any(stands_for);
            if disk.is_double && !is_double {
                disk.set_due(now_ms);
            }
            disk.is_double = is_double;
            if !is_double {
                single.push(at);
            }
        }
    }
}

impl Collector for Smartctl {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        self.kept.recall(host, &mut self.bridges);
        if self.discover(host)? == Status::Absent {
            return Ok(Status::Absent);
        }
        self.plan(host.now_ms());
        self.look(host);
        if self.ask(host) == Status::Absent {
            self.lose_smartctl(host, host.now_ms())?;
            if self.without_smartctl() == Status::Absent {
                return Ok(Status::Absent);
            }
        }
        let now_ms = host.now_ms();
        self.disks.retain(|disk| !disk.is_forgotten(now_ms, self.options.keep_gone));
        for disk in &self.disks {
            disk.push(&self.options, now_ms, out);
        }
        self.keep(now_ms);
        let by_smartctl = |last: &&Reading| {
            last.report.smartctl.as_ref().is_some_and(|program| program.version.is_some())
        };
        let mut read = self.disks.iter().filter_map(|disk| disk.last.as_ref());
        if let Some(last) = read.find(by_smartctl) {
            samples::push_version(&last.report, out);
        }
        let count = self.disks.iter().filter(|disk| disk.is_asked() && !disk.is_double).count();
        out.push(&DEVICES, &[], count as f64);
        Ok(Status::Collected)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
