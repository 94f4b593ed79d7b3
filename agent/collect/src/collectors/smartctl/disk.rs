//! One disk: how it is asked, what became of it, and when it is due again.

use std::collections::BTreeMap;
use std::time::Duration;

use labstat_model::{Batch, Family};

use crate::host::{Begun, Ended, Host};
use crate::options;

use super::discover::{self, Found};
use super::identity::Identity;
use super::kept::{self, Record};
use super::kinds::{AUTO, Bridges, Unit, UsbId, Version};
use super::outcome::{self, Outcome, STATUS_ASLEEP, STATUS_MODE_UNKNOWN};
use super::power::{Look, May, Power, requests};
use super::survey::Surveyed;
use super::{Reading, millis, nvme, samples, schedule, state};
use crate::collectors::topology::{self, Who};

/// What is told of every disk.
pub use labstat_disks::families::{AGE, LAST_SUCCESS, POWER_MODE, READ_SUCCESS, STATE};

/// Attempts.
pub static READS: Family =
    Family::counter("labstat_smart_reads_total", "Attempts to read the disk, by how they ended.");
/// How long a read takes.
pub static SECONDS: Family = Family::gauge(
    "labstat_smart_read_duration_seconds",
    "How long the last attempt to read the disk took.",
);
/// Wake-ups.
pub static WAKEUPS: Family = Family::counter(
    "labstat_smart_wakeups_total",
    "Times the disk was seen awake after sleep; by labstat when nobody else had used it.",
);

/// The arguments of a call for one disk, before its power mode, type and path.
const READ_ARGS: [&str; 10] = [
    "--json",
    "--info",
    "--health",
    "--capabilities",
    "--attributes",
    "--tolerance=verypermissive",
    "--format=brief",
    "--log=error",
    "--log=selftest",
    "--log=scttempsts",
];

/// The first smartctl that can be told to stop when the power mode is not known.
const MODE_UNKNOWN_SINCE: (u64, u64) = (7, 3);

/// The outcome under which answers are counted that were not believed.
const DOUBTED: &str = "doubted";

/// Failures in a row after which a type that was found out is found out anew.
const DOUBTFUL: u32 = 2;

/// One disk and what is known about it.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) found: Found,
    pub(super) label: String,
    /// Whether another one found before it is the same disk.
    pub(super) is_double: bool,
    pub(super) identity: Option<Identity>,
    /// Who it is in the kernel's words.
    who: Who,
    /// What was kept of it last.
    written: Option<(kept::State, i64)>,
    pub(super) last: Option<Reading>,
    due_ms: i64,
    /// The type it turned out to need.
    learned: Option<String>,
    /// Types that are left to be tried with an unknown bridge.
    untried: Option<Vec<&'static str>>,
    /// Whether it is asked once more, in another way, before its attempt is over.
    again: bool,
    /// Whether the look at its power mode, which fails, is left out then.
    insists: bool,
    bridge: Option<UsbId>,
    power: Power,
    attempt: Option<Attempt>,
    outcome: Option<Outcome>,
    failures: u32,
    took: Option<Duration>,
    counts: BTreeMap<&'static str, u64>,
    gone_ms: Option<i64>,
}

/// A call that is under way.
#[derive(Debug)]
struct Attempt {
    begun: Begun,
    ended: Option<Ended>,
    insists: bool,
    kind: String,
    smartctl: Version,
    at_ms: i64,
}

/// What a disk's next time depends on beside itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) rank: usize,
    pub(super) count: usize,
    pub(super) interval_ms: i64,
}

/// What is known of smartctl.
#[derive(Debug, Clone, Copy)]
pub(super) struct Program {
    /// Whether it is there.
    pub(super) installed: bool,
    /// Its version, for what only newer ones can do.
    pub(super) version: Version,
}

/// What can be told of an attempt that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Took {
    /// It goes on.
    Nothing,
    /// It has ended.
    Result,
    /// There is no smartctl any more.
    NotInstalled,
}

impl Disk {
    /// A disk that was just found.
    pub(super) fn new(found: Found, host: &dyn Host, due_ms: i64) -> Self {
        let kernel = found.kernel.as_ref();
        let mute = kernel.and_then(|kernel| kernel.mute);
        Self {
            label: discover::label(&found.path, &found.kind),
            is_double: false,
            identity: None,
            who: who(host, &found),
            written: None,
            last: None,
            due_ms,
            learned: None,
            untried: None,
            again: false,
            insists: false,
            bridge: kernel.and_then(|kernel| kernel.usb.as_ref()).and_then(|(_, id)| *id),
            power: Power::new(spins(&found)),
            attempt: None,
            outcome: mute.map(Outcome::Unsupported),
            failures: 0,
            took: None,
            counts: BTreeMap::new(),
            gone_ms: None,
            found,
        }
    }

    /// Whether it can be asked at all.
    pub(super) fn is_asked(&self) -> bool {
        !self.is_mute() && self.gone_ms.is_none()
    }

    fn is_mute(&self) -> bool {
        self.found.kernel.as_ref().is_some_and(|kernel| kernel.mute.is_some())
    }

    /// Whether it is still the disk that was found anew.
    pub(super) fn is_still(&self, found: &Found) -> bool {
        let dir = |found: &Found| found.kernel.as_ref().map(|kernel| kernel.dir.clone());
        self.gone_ms.is_none()
            && self.found.path == found.path
            && self.found.fixed == found.fixed
            && self.label == discover::label(&found.path, &found.kind)
            && (dir(&self.found) == dir(found) || dir(&self.found).is_none())
    }

    /// Takes what a new search knows of it.
    pub(super) fn refresh(&mut self, found: Found) {
        if self.found.kernel.is_none() && found.kernel.is_some() {
            self.power = Power::new(spins(&found));
        }
        self.found = found;
    }

    /// Looks anew who it is, for one of which nothing is known: udev may have learned it meanwhile.
    pub(super) fn identify(&mut self, host: &dyn Host) {
        if self.is_unknown() {
            self.who = who(host, &self.found);
        }
    }

    /// Whether nothing is known of it yet.
    pub(super) fn is_unknown(&self) -> bool {
        self.last.is_none() && self.is_asked() && !self.is_running()
    }

    /// Who it is in the kernel's words, while it is there.
    pub(super) fn who(&self) -> Option<&Who> {
        (self.gone_ms.is_none() && !self.who.serial.is_empty()).then_some(&self.who)
    }

    /// What is to be known of it after a restart; nothing when the kernel alone could not tell then
    /// who it is.
    pub(super) fn record(&self) -> Option<Record> {
        let (who, reading) = (self.who()?.clone(), self.last.clone()?);
        let record = Record { who, reading, state: self.state() };
        record.is_certain().then_some(record)
    }

    fn state(&self) -> kept::State {
        let asleep = match self.outcome {
            Some(Outcome::Asleep(how)) => Some(how.to_owned()),
            _ => None,
        };
        kept::State { learned: self.learned.clone(), power: self.power.kept(), asleep }
    }

    /// Takes over what was known of it before it went, or before the agent was started anew.
    pub(super) fn restore(&mut self, record: Record, host: &dyn Host) {
        let Record { reading, state, .. } = record;
        // What the user names now counts.
        self.learned = state.learned.clone().filter(|_| !self.found.fixed);
        let is_new = self.is_new();
        let mut power = state.power.clone();
        if !is_new {
            // It has said since whether it sleeps.
            power.forget_sleep();
        }
        self.power.restore(&power);
        if is_new && self.look(host) {
            power.forget_sleep();
            self.power = Power::new(spins(&self.found));
            self.power.restore(&power);
            self.look(host);
        }
        let asleep = state.asleep.as_deref().and_then(outcome::sleep_of);
        if is_new && self.power.still_sleeps() {
            self.outcome = asleep.map(Outcome::Asleep);
        }
        // What will be read in the future has no age: the clock was set.
        if reading.at_ms <= host.now_ms() {
            self.written = Some((state, reading.at_ms));
            self.identity = Identity::of(&reading.report, &self.found.path);
            self.last = Some(reading);
        }
    }

    /// Whether a restart would lose something: a reading that was not replaced at its time, which is
    /// when it is `old_ms` old, or how it is to be asked.
    pub(super) fn would_be_missed(&self, now_ms: i64, old_ms: i64) -> bool {
        let Some(last) = self.last.as_ref().filter(|_| self.who().is_some()) else { return false };
        match &self.written {
            None => true,
            Some((state, at_ms)) => {
                let is_old = now_ms.saturating_sub(last.at_ms) > old_ms;
                (*at_ms != last.at_ms && is_old) || *state != self.state()
            }
        }
    }

    /// What is known of it was written.
    pub(super) fn note_written(&mut self) {
        self.written = self.last.as_ref().map(|last| (self.state(), last.at_ms));
    }

    /// The disk behind a bridge, for what is remembered of bridges.
    fn unit(&self) -> Option<Unit> {
        self.bridge.map(|id| Unit::new(id, &self.who.model, &self.who.serial))
    }

    /// Moves its time.
    pub(super) fn set_due(&mut self, due_ms: i64) {
        self.due_ms = due_ms;
    }

    /// When it is due.
    pub(super) fn due_ms(&self) -> i64 {
        self.due_ms
    }

    /// Whether it was never asked.
    pub(super) fn is_new(&self) -> bool {
        self.outcome.is_none() && self.attempt.is_none()
    }

    /// Whether a call is under way.
    pub(super) fn is_running(&self) -> bool {
        self.attempt.is_some()
    }

    /// Whether it does well enough that another way to the same disk is not needed.
    pub(super) fn answers(&self) -> bool {
        let answers =
            |outcome| matches!(outcome, Outcome::Read | Outcome::Asleep(_) | Outcome::LeftAlone);
        self.gone_ms.is_none() && self.outcome.is_some_and(answers)
    }

    /// Whether both are one disk, reached in two ways. What is behind USB has one way only, and
    /// bridges give serial numbers of their own: two of them are never one.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let usb =
            |disk: &Self| disk.found.kernel.as_ref().is_some_and(|kernel| kernel.usb.is_some());
        !usb(self)
            && !usb(other)
            && matches!((&self.identity, &other.identity), (Some(a), Some(b)) if a.is_same(b))
    }

    /// It is not there any more. Whether this is news.
    pub(super) fn vanish(&mut self, now_ms: i64) {
        if self.gone_ms.is_none() {
            self.attempt = None;
            self.outcome = Some(Outcome::Gone);
            self.gone_ms = Some(now_ms);
        }
    }

    /// Whether it has been gone for so long that nothing is told of it any more.
    pub(super) fn is_forgotten(&self, now_ms: i64, keep: Duration) -> bool {
        self.is_mute() && self.gone_ms.is_some()
            || self.gone_ms.is_some_and(|gone_ms| now_ms - gone_ms > millis(keep))
    }

    /// Looks at what the kernel says of its rest. Whether it is another disk of the same name.
    pub(super) fn look(&mut self, host: &dyn Host) -> bool {
        let Some(kernel) = self.found.kernel.as_ref().filter(|kernel| kernel.spins) else {
            return false;
        };
        let stat = host.read(&format!("{}/stat", kernel.dir));
        let status = host.read(&format!("{}/device/power/runtime_status", kernel.dir));
        let suspended = status.is_ok_and(|status| status.starts_with(b"suspended"));
        let (io, transfers) = stat.ok().and_then(|stat| requests(&stat)).unzip();
        self.power.look(Look { io, transfers, suspended }, host.now_ms())
    }

    /// Whether it may be asked now, by its schedule and its rest.
    pub(super) fn may_ask(&self, now_ms: i64, options: &options::Smartctl) -> May {
        if !self.is_asked() || self.is_double || self.is_running() {
            return May::No;
        }
        let may = match options.wake || self.again {
            true => May::AtItsTime,
            false => self.power.may_ask(now_ms, millis(options.idle_interval)),
        };
        let is_due = now_ms >= self.due_ms || self.power.is_urgent();
        if is_due { may } else { May::No }
    }

    /// The kernel put it to sleep: there is nothing to ask.
    pub(super) fn note_suspended(&mut self) {
        if self.is_asked() && self.power.is_suspended() {
            self.outcome = Some(Outcome::Asleep("suspended"));
        }
    }

    /// Asks it.
    pub(super) fn ask(
        &mut self,
        host: &dyn Host,
        options: &options::Smartctl,
        may: May,
        smartctl: Program,
    ) {
        let at_ms = host.now_ms();
        // An attempt in several ways is one.
        if !std::mem::take(&mut self.again) {
            self.power.asked(at_ms);
        }
        if let Some(ended) = self.ask_directly(host, options, smartctl) {
            let (begun, kind) = (Begun::ended(ended), nvme::KIND.to_owned());
            let smartctl = smartctl.version;
            self.attempt =
                Some(Attempt { begun, ended: None, insists: false, kind, smartctl, at_ms });
            return;
        }
        let kind = match &self.untried {
            Some(kinds) => kinds.first().copied().unwrap_or(AUTO).to_owned(),
            None => self.learned.clone().unwrap_or_else(|| self.found.kind.clone()),
        };
        let careful = may == May::IfKnownAwake && smartctl.version >= Some(MODE_UNKNOWN_SINCE);
        // It may have had to wait for its turn.
        let insists = std::mem::take(&mut self.insists) && self.power.is_in_use(at_ms);
        let nocheck = match (options.wake || insists, careful) {
            (true, _) => None,
            (false, false) => Some(format!("--nocheck=standby,{STATUS_ASLEEP}")),
            (false, true) => {
                Some(format!("--nocheck=standby,{STATUS_ASLEEP},{STATUS_MODE_UNKNOWN}"))
            }
        };
        let device = format!("--device={kind}");
        let mut args = READ_ARGS.to_vec();
        args.extend(nocheck.as_deref());
        args.extend([device.as_str(), self.found.path.as_str()]);
        let begun = host.begin(&options.program, &args, options.device_deadline);
        let smartctl = smartctl.version;
        self.attempt = Some(Attempt { begun, ended: None, insists, kind, smartctl, at_ms });
    }

    /// Asks an NVMe disk without smartctl, where that is wanted or there is no other way. Nothing
    /// where smartctl is to be asked.
    fn ask_directly(
        &self,
        host: &dyn Host,
        options: &options::Smartctl,
        smartctl: Program,
    ) -> Option<Ended> {
        if self.found.kind != nvme::KIND || (smartctl.installed && !options.nvme_direct) {
            return None;
        }
        match nvme::ask(host, &self.found) {
            Ok(ended) => Some(ended),
            Err(error) if !smartctl.installed => Some(nvme::refused(&self.found, &error)),
            Err(error) => {
                tracing::debug!(disk = self.found.path, %error, "asked by smartctl instead");
                None
            }
        }
    }

    /// Waits for the end of the call.
    pub(super) fn wait(&mut self, patience: Duration) {
        if let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.ended.is_none()) {
            attempt.ended = attempt.begun.wait(patience);
        }
    }

    /// Takes in what came of the call, if it has ended.
    pub(super) fn take_in(&mut self, host: &dyn Host, place: Place, bridges: &mut Bridges) -> Took {
        self.wait(Duration::ZERO);
        let Some(mut attempt) = self.attempt.take_if(|attempt| attempt.ended.is_some()) else {
            return Took::Nothing;
        };
        let Some(Ended { result, took }) = attempt.ended.take() else { return Took::Nothing };
        let now_ms = host.now_ms();
        if matches!(result, Err(crate::host::RunError::NotFound)) {
            return Took::NotInstalled;
        }
        if let Err(error) = &result {
            tracing::debug!(disk = self.found.path, %error, "disk not read");
        }
        self.took = took;
        let (outcome, report) = outcome::of(&result);
        let status = result.ok().and_then(|output| output.status);
        if outcome == Outcome::Read {
            // Who was read: a disk that came in its place since is another in the report, too.
            self.who = who(host, &self.found);
        }
        let healthy = report.as_ref().is_some_and(outcome::has_health);
        if outcome == Outcome::Unsupported("unknown_usb_bridge") {
            self.bridge = self.bridge.or_else(|| report.as_ref().and_then(outcome::bridge));
        }
        let kind = report.as_ref().and_then(|report| report.device.as_ref()?.kind.clone());
        if outcome == Outcome::Read
            && let Some(report) = report
        {
            let status = status.and_then(|status| u64::try_from(status).ok());
            let told = report.smartctl.as_ref().and_then(|program| program.exit_status);
            self.identity = Identity::of(&report, &self.found.path);
            let is_flash = report.rotation_rate == Some(0)
                || report.nvme_smart_health_information_log.is_some();
            if is_flash {
                // The bridges of many solid state disks let the kernel believe that they turn.
                self.power.stands_still();
            }
            let exit_status = told.or(status);
            self.last = Some(Reading { report, exit_status, at_ms: attempt.at_ms });
        }
        let next = match self.untried.take() {
            Some(untried) => self.try_on(untried, outcome, &attempt, healthy, now_ms, bridges),
            None if self.found.fixed => Some(outcome),
            None if self.learn(outcome, &attempt, kind, bridges) => None,
            None => Some(outcome),
        };
        let next = next.and_then(|outcome| self.doubt(outcome, attempt.insists, now_ms));
        let counted = if self.insists { DOUBTED } else { outcome.counted_as() };
        *self.counts.entry(counted).or_default() += 1;
        match next {
            Some(outcome) => self.settle(outcome, attempt.insists, now_ms, place),
            // Another type is tried at once.
            None => {
                self.due_ms = now_ms;
                self.again = true;
            }
        }
        Took::Result
    }

    /// smartctl says that a disk is in SLEEP mode where the command that asks for its power mode
    /// fails: in truth any command would have ended that mode. So it is a disk that does not
    /// answer well, or a bridge. So is one that often said that it is in standby just when others
    /// used it. If others use it at this moment, it is awake and can be asked without that command;
    /// if not, it is left alone as if it slept. Nothing when it is asked once more.
    fn doubt(&mut self, outcome: Outcome, insisted: bool, now_ms: i64) -> Option<Outcome> {
        let is_doubtful = match outcome {
            Outcome::Asleep("sleep") => self.power.is_in_use(now_ms),
            Outcome::Asleep(_) => self.power.contradicts(now_ms),
            _ => return Some(outcome),
        };
        if is_doubtful && !insisted {
            let disk = self.found.path.as_str();
            if !self.counts.contains_key(DOUBTED) {
                tracing::info!(disk, "says that it sleeps while it is used: asked all the same");
            }
            self.insists = true;
            return None;
        }
        // One that failed before has not recovered by that.
        match (outcome, self.outcome) {
            (Outcome::Asleep("sleep"), Some(Outcome::Failed(_))) => Some(Outcome::LeftAlone),
            _ => Some(outcome),
        }
    }

    /// Takes in what came of one of the types that are tried with an unknown bridge; nothing when
    /// the next one is to be tried.
    fn try_on(
        &mut self,
        mut untried: Vec<&'static str>,
        outcome: Outcome,
        attempt: &Attempt,
        healthy: bool,
        now_ms: i64,
        bridges: &mut Bridges,
    ) -> Option<Outcome> {
        let Attempt { kind: asked, smartctl, .. } = attempt;
        let unit = self.unit();
        let mut in_vain = |kinds: &[&str]| {
            if let Some(unit) = &unit {
                bridges.in_vain(unit, kinds, *smartctl);
            }
        };
        let works = match outcome {
            Outcome::Read => healthy || asked == "scsi",
            // What does not know the command can look like that, even while it is used.
            Outcome::Asleep("standby") if !self.power.is_in_use(now_ms) => {
                self.untried = Some(untried);
                return Some(outcome);
            }
            // The command may have reset the bridge: when it is back, only the rest is tried.
            Outcome::Gone => {
                in_vain(&[asked]);
                return Some(outcome);
            }
            // What hangs in one is not asked with more of the like.
            Outcome::Failed("timeout") => {
                in_vain(&untried);
                untried.clear();
                false
            }
            // Nobody has learned anything of the bridge.
            Outcome::Denied(_) | Outcome::Failed("not_run") | Outcome::Unsupported("busy") => {
                self.untried = Some(untried);
                return Some(outcome);
            }
            _ => false,
        };
        untried.retain(|kind| kind != asked);
        if !works {
            in_vain(&[asked]);
            if !untried.is_empty() {
                self.untried = Some(untried);
                return None;
            }
            self.learned = None;
            return Some(Outcome::Unsupported("unknown_usb_bridge"));
        }
        if let Some(unit) = &unit {
            bridges.speaks(unit, asked);
        }
        self.learned = Some(asked.clone());
        Some(outcome)
    }

    /// Learns about the type the disk needs. Whether another one is to be tried.
    fn learn(
        &mut self,
        outcome: Outcome,
        attempt: &Attempt,
        told: Option<String>,
        bridges: &mut Bridges,
    ) -> bool {
        let asked = attempt.kind.as_str();
        match outcome {
            Outcome::Unsupported("unknown_usb_bridge") => {
                // A stick has nothing to tell, and some do not survive a command they do not know.
                let removable = self.found.kernel.as_ref().is_some_and(|kernel| kernel.removable);
                let Some(unit) = self.unit().filter(|_| !removable) else { return false };
                let kinds = bridges.worth_trying(&unit, attempt.smartctl);
                self.untried = (!kinds.is_empty()).then_some(kinds);
                self.untried.is_some()
            }
            Outcome::Read => {
                let on_usb = self.bridge.is_some();
                // smartctl knows a bridge by its make without asking the disk, with options of
                // the type that its report leaves out (`sat,12`, `usbcypress,0x24`): a type from
                // there would be another translation. Only what is found out by asking is better
                // said.
                let pins = told.filter(|kind| match on_usb {
                    true => kind.starts_with("snt"),
                    false => matches!(kind.as_str(), "sat" | "scsi" | "ata" | "nvme"),
                });
                if asked == AUTO && pins.is_some() {
                    self.learned = pins;
                }
                false
            }
            Outcome::Unsupported("no_passthrough") | Outcome::Failed(_)
                if outcome != Outcome::Failed("timeout") =>
            {
                if self.learned.is_some() && self.failures + 1 >= DOUBTFUL {
                    self.learned = None;
                }
                // How it is attached told wrong, perhaps.
                let guess = asked == "sat"
                    && self.found.kernel.is_some()
                    && self.last.is_none()
                    && self.learned.is_none();
                if guess {
                    self.learned = Some(AUTO.to_owned());
                }
                guess
            }
            _ => false,
        }
    }

    /// Ends an attempt: what it means for the disk's rest, and when the next one is.
    fn settle(&mut self, outcome: Outcome, insisted: bool, now_ms: i64, place: Place) {
        let Place { rank, count, interval_ms } = place;
        let own_ms = schedule::next_ms(now_ms, rank, count, interval_ms);
        self.failures = match outcome {
            Outcome::Failed(_) => self.failures.saturating_add(1),
            _ => 0,
        };
        self.due_ms = match outcome {
            Outcome::Failed(_) => {
                schedule::retry_ms(now_ms, self.failures, interval_ms).max(own_ms)
            }
            Outcome::Denied(_) | Outcome::Unsupported(_) => {
                schedule::unchanged_ms(now_ms, interval_ms)
            }
            _ => own_ms,
        };
        match outcome {
            Outcome::Read => {
                if let Some(by) = self.power.answered(insisted) {
                    tracing::debug!(disk = self.found.path, ?by, "woke up");
                }
            }
            Outcome::Asleep(_) => self.power.sleeps(now_ms),
            Outcome::LeftAlone => {}
            _ => self.power.lost(),
        }
        // One that was left alone is as it was.
        if outcome != Outcome::LeftAlone || self.outcome.is_none() {
            self.outcome = Some(outcome);
        }
    }

    /// The words of [`STATE`]: a state, and why.
    fn told(&self, outcome: Outcome) -> (&'static str, &'static str) {
        match (outcome, &self.last) {
            // What was read may be no more than that a volume or a bridge says who it is.
            (Outcome::Read, Some(last)) => {
                let (state, reason) = state::of(&last.report);
                (state.as_str(), reason)
            }
            // Nobody knows anything of it yet, and it may sleep.
            (Outcome::LeftAlone, None) => ("asleep", "unknown"),
            _ => (outcome.state(), outcome.reason()),
        }
    }

    /// What is known of it, for a person.
    pub(super) fn surveyed(&self) -> Option<Surveyed<'_>> {
        let outcome = self.outcome?;
        let (state, reason) = self.told(outcome);
        let removable = self.found.kernel.as_ref().is_some_and(|kernel| kernel.removable);
        let tried = match self.unit() {
            Some(unit) if outcome == Outcome::Unsupported("unknown_usb_bridge") && !removable => {
                Bridges::default().worth_trying(&unit, None)
            }
            _ => Vec::new(),
        };
        Some(Surveyed {
            path: &self.found.path,
            label: &self.label,
            kind: self.learned.as_deref().unwrap_or(&self.found.kind),
            state,
            reason,
            is_double: self.is_double,
            usb: self.bridge.map(|id| (id.vendor, id.product)),
            tried,
            report: self.last.as_ref().map(|last| &last.report),
        })
    }

    /// Adds what is known of it.
    pub(super) fn push(&self, options: &options::Smartctl, now_ms: i64, out: &mut Batch) {
        let Some(outcome) = self.outcome.filter(|_| !self.is_double) else { return };
        let label = self.label.as_str();
        let device = [("device", label)];
        let (state, reason) = self.told(outcome);
        let state = [("device", label), ("reason", reason), ("state", state)];
        out.push(&STATE, &state, 1.0);
        if self.is_mute() {
            return;
        }
        let is_read = outcome.state() == "read" && self.last.is_some();
        out.push(&READ_SUCCESS, &device, f64::from(u8::from(is_read)));
        for (outcome, count) in &self.counts {
            out.push(&READS, &[("device", label), ("outcome", outcome)], *count as f64);
        }
        if let Some(took) = self.took {
            out.push(&SECONDS, &device, took.as_secs_f64());
        }
        if let Some((labstat, other)) = self.power.wakeups() {
            out.push(&WAKEUPS, &[("by", "labstat"), ("device", label)], labstat as f64);
            out.push(&WAKEUPS, &[("by", "other"), ("device", label)], other as f64);
        }
        let mode = match outcome {
            Outcome::Read => self.power.spins().then_some("active"),
            Outcome::Asleep("sleep") => Some("sleep"),
            Outcome::Asleep(_) => Some("standby"),
            _ => None,
        };
        if let Some(mode) = mode {
            out.push(&POWER_MODE, &[("device", label), ("mode", mode)], 1.0);
        }
        let Some(last) = &self.last else { return };
        out.push(&LAST_SUCCESS, &device, last.at_ms as f64 / 1000.0);
        out.push(&AGE, &device, (now_ms - last.at_ms).max(0) as f64 / 1000.0);
        let keep = match outcome {
            Outcome::Read | Outcome::LeftAlone => return samples::push(label, last, out),
            Outcome::Asleep(_) => options.keep_asleep,
            // What a disk said that is not there says nothing about this machine.
            Outcome::Gone => return,
            _ => options.keep_failed,
        };
        if now_ms - last.at_ms <= millis(keep) {
            samples::push(label, last, out);
        }
    }
}

/// Who a disk is in the kernel's words; of what only smartctl found, it has none.
fn who(host: &dyn Host, found: &Found) -> Who {
    let kernel = found.kernel.as_ref().filter(|kernel| kernel.mute.is_none());
    kernel.map(|kernel| topology::who(host, &kernel.dir)).unwrap_or_default()
}

/// Whether it turns, or may, by how it was found.
fn spins(found: &Found) -> bool {
    match &found.kernel {
        Some(kernel) => kernel.spins,
        None => found.kind != "nvme",
    }
}
