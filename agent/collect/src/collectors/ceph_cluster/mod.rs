//! A Ceph cluster as a whole, read by one node of it.
//!
//! - Asks: the monitors of this node, by their admin sockets, whether one of them leads the quorum. The
//!   node of the one that does reads the cluster, by a process of its own ([`crate::host::read_cluster`]):
//!   every [`options::Ceph::interval`], and at once when the map of OSDs has changed.
//! - Needs: librados2 or ceph-common, and a key that may `mon 'allow r' mgr 'allow r'`.
//! - Absent where no monitor of this node leads, and where another process of this node reads already.
//!   A monitor that is busy for a moment ends nothing: what was read is told for [`SILENCE_MAX_MS`] more.
//! - Emits: `ceph_*` as Ceph's manager names them, `labstat_ceph_*`, all without a node: what is said of
//!   the cluster belongs to none ([`Collector::instance`]).
//! - What could not be read is gone with the reading that failed; [`names::READING_SUCCESS`] says that,
//!   and [`names::READING_TIME`] since when.
//! - Not here: single daemons ([`super::ceph`]).

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use labstat_model::Batch;
use labstat_parse::ceph;
use labstat_parse::ceph_cluster::daemons;

use crate::collector::{CollectError, Collector, Status};
use crate::host::{Claim, Framing, Host, RunError};
use crate::options::{self, Reads, Source};

mod names;
mod reading;
mod risk;
mod samples;
#[cfg(test)]
mod tests;

use names::{READING_SUCCESS, READING_TIME};
use reading::Reading;
use samples::{Out, Remembered, truth};

/// Where Ceph keeps its configuration and keys.
const CONF: &str = "/etc/ceph/ceph.conf";

/// The folder of keys, and the key that is made for labstat.
const KEYS: &str = "/etc/ceph";
const OWN_KEY: &str = "ceph.client.labstat.keyring";

/// The user of that key, and the one there always is.
const OWN_USER: &str = "client.labstat";
const ADMIN: &str = "client.admin";

/// How long one reading may take. It takes a tenth of a second, and with a manager that is dead, but not
/// known to be, five.
const READING_TIME_MAX: Duration = Duration::from_secs(15);

/// What is wrong when all that was asked was answered, and not all could be asked.
const NO_MANAGER: &str = "no manager is at work";

/// How much later than that the reading is ended from outside, if it did not end itself.
const READING_SLACK: Duration = Duration::from_secs(2);

/// The least time between two readings, however often the map changes.
const READING_PAUSE_MS: i64 = 2_000;

/// The time between two readings after one that failed.
const RETRY_MS: i64 = 10_000;

/// How often scrubs are looked at: what that takes is long, and they are days apart.
const SCRUBS_EVERY_MS: i64 = 600_000;

/// How often a run looks whether it is time, as the registry has it.
const LOOK_EVERY_MS: i64 = 5_000;

/// How long what was read is told while the monitor that led does not answer: two looks. Where it is silent
/// for longer, the others have elected another by then, and its node reads.
const SILENCE_MAX_MS: i64 = 10_000;

/// How old a quorum must be before the node of its leader begins to read: by then the node of the leader
/// before has looked once more, with the deadline of that look, and let go. Two who tell of one cluster would
/// take turns with what is newer and what is older.
const QUORUM_SECONDS_MIN: u64 = 8;

/// How old what stands on the manager's page may be where there is nothing else to go by. Pages are made each
/// 15 s, unless the manager is told otherwise or has a cluster of thousands.
const PAGE_AGE_MAX_MS: i64 = 60_000;

/// What is said of a page that is older.
const PAGE_IS_OLD: &str = "the manager makes its page no more";

/// Things said of what is wrong here; there are a handful.
const COMPLAINTS_MAX: usize = 16;

/// Letters of a cluster's id that tell it from others of a lab.
const ID_LEN: usize = 8;

/// The cluster.
#[derive(Debug)]
pub struct CephCluster {
    options: options::Ceph,
    /// The right to be the one of this node who reads, and what for.
    claim: Option<(String, Claim)>,
    held: Option<Held>,
    remembered: Remembered,
    /// What was said of what is wrong here, so that it is said once.
    complaints: BTreeSet<String>,
    /// Whether the last run saw another map of OSDs, or a source that came or went.
    has_news: bool,
}

/// What was last read.
#[derive(Debug, Default)]
struct Held {
    /// Once it is known.
    fsid: Option<String>,
    read_at_ms: i64,
    /// When the next reading is due, if nothing happens.
    due_ms: i64,
    /// When a monitor of this node last said that it leads, or this node was to read without one.
    led_ms: i64,
    /// When scrubs were last asked for, whatever came of it: who cannot answer that is not asked it each time.
    scrubs_asked_ms: Option<i64>,
    /// The number of the map of OSDs just before that.
    epoch: Option<u64>,
    mon: Batch,
    mgr: Batch,
    scrubs: Batch,
    mon_is_good: bool,
    mgr_is_good: bool,
    mon_good_ms: Option<i64>,
    mgr_good_ms: Option<i64>,
    /// How often the manager had made its page then.
    page_collected: Option<f64>,
    failure: Option<String>,
}

/// A monitor of this node that leads.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Leader {
    fsid: String,
    epoch: Option<u64>,
    /// Whether its quorum was formed just now: then another node may still tell what it read.
    is_new: bool,
}

/// What one monitor says of itself.
enum Monitor {
    Leads(Leader),
    /// It follows, or it is gone.
    Follows,
    /// It may not be asked, and might lead.
    Forbidden,
    /// It is there and did not answer in its time.
    Silent,
}

/// What this node is to do.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// Leave it to others.
    None,
    /// Wait for a monitor that may lead, and did not answer.
    Wait,
    /// Read, as the node of this monitor, or as it is told to.
    Read(Option<Leader>),
}

impl CephCluster {
    /// One with these settings.
    pub fn new(options: &options::Ceph) -> Self {
        let options = options.clone();
        let (remembered, complaints) = (Remembered::new(), BTreeSet::new());
        Self { options, claim: None, held: None, remembered, complaints, has_news: false }
    }

    /// What this node is to do, as its monitors are and as it is told.
    fn part(&mut self, host: &dyn Host) -> Result<Part, CollectError> {
        if self.options.cluster == Reads::Never {
            return Ok(Part::None);
        }
        let sockets = super::ceph::monitors(host, &self.options);
        let sockets = sockets.map_err(CollectError::read(&self.options.run_dir))?;
        let (mut leaders, mut is_silent) = (Vec::new(), false);
        for socket in &sockets {
            match monitor(host, socket, self.options.deadline) {
                Monitor::Leads(leader) => leaders.push(leader),
                Monitor::Silent => is_silent = true,
                Monitor::Forbidden => self.complain(format!(
                    "the monitor's socket {socket} may not be opened, so nobody here can tell whether it leads"
                )),
                Monitor::Follows => {}
            }
        }
        Ok(match (self.chosen(leaders), self.options.cluster) {
            (None, Reads::Auto) if is_silent => Part::Wait,
            (None, Reads::Auto) => Part::None,
            (Some(leader), Reads::Auto) if leader.is_new && self.held.is_none() => Part::None,
            (leader, _) => Part::Read(leader),
        })
    }

    /// Of the leaders of several clusters that of the cluster which is read already, or else the first.
    fn chosen(&mut self, mut leaders: Vec<Leader>) -> Option<Leader> {
        let known = self.held.as_ref().and_then(|held| held.fsid.as_deref());
        let at = leaders.iter().position(|leader| Some(&*leader.fsid) == known).unwrap_or(0);
        let chosen = (!leaders.is_empty()).then(|| leaders.remove(at))?;
        if let Some(other) = leaders.iter().find(|leader| leader.fsid != chosen.fsid) {
            self.complain(format!(
                "this node has monitors of two clusters, and only {} is read: {} is not",
                chosen.fsid, other.fsid
            ));
        }
        Some(chosen)
    }

    /// Says what is wrong here, once.
    fn complain(&mut self, reason: String) {
        if self.complaints.len() < COMPLAINTS_MAX && !self.complaints.contains(&reason) {
            tracing::warn!(reason, "the reading of Ceph clusters is not as it should be");
            self.complaints.insert(reason);
        }
    }

    /// What the right to read is claimed for: by nothing that is only known after a reading, or another process
    /// of this node would claim another thing, and they would take turns.
    fn claimed(&self, host: &dyn Host, leader: Option<&Leader>) -> String {
        let by_leader = leader.map(|leader| leader.fsid.clone());
        by_leader
            .or_else(|| self.fsid_of_conf(host))
            .unwrap_or_else(|| self.options.conf.as_deref().unwrap_or(CONF).to_owned())
    }

    /// The id of the cluster, as the configuration tells it.
    fn fsid_of_conf(&self, host: &dyn Host) -> Option<String> {
        conf_fsid(&host.text(self.options.conf.as_deref().unwrap_or(CONF)).ok()?)
    }

    /// Whether no other process of this node reads the cluster.
    fn has_claim(&mut self, host: &dyn Host, of: &str) -> bool {
        if let Some((claimed, claim)) = &self.claim
            && claimed == of
        {
            claim.attend();
            return true;
        }
        // The old one is given back first.
        self.claim = None;
        match host.claim(&format!("labstat-ceph-{of}")) {
            Ok(claim) => self.claim = Some((of.to_owned(), claim)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return false,
            // Two who read do no harm, and nobody who reads does.
            Err(error) => self.complain(format!("{error}; the cluster is read all the same")),
        }
        true
    }

    /// When the next reading is due. It goes by when this one was due, so that looks which come late do not
    /// add up; after one that came too early or much too late, by the clock.
    fn due_after(&self, before: Option<i64>, now_ms: i64, is_good: bool) -> i64 {
        let interval_ms = i64::try_from(self.options.interval.as_millis()).unwrap_or(i64::MAX);
        let wait_ms = if is_good { interval_ms } else { interval_ms.min(RETRY_MS) };
        let was_in_time = |due_ms: &i64| now_ms.abs_diff(*due_ms) <= LOOK_EVERY_MS.unsigned_abs();
        before.filter(was_in_time).unwrap_or(now_ms).saturating_add(wait_ms)
    }

    fn is_due(&self, now_ms: i64, epoch: Option<u64>) -> bool {
        let Some(held) = &self.held else { return true };
        let since_ms = now_ms.saturating_sub(held.read_at_ms);
        let is_new = epoch.is_some() && epoch != held.epoch;
        // Of all looks the nearest. A clock that was set back says nothing of how long ago it was.
        let is_time = now_ms.saturating_add(LOOK_EVERY_MS / 2) >= held.due_ms;
        since_ms < 0 || is_time || (is_new && since_ms >= READING_PAUSE_MS)
    }

    /// Reads the cluster, and holds what it said.
    fn read(&mut self, host: &dyn Host, leader: Option<&Leader>) {
        let now_ms = host.now_ms();
        let due_ms = self.held.as_ref().map(|held| held.due_ms);
        let mut held = self.held.take().unwrap_or_default();
        let scrubs =
            held.scrubs_asked_ms.is_none_or(|at| now_ms.abs_diff(at) >= SCRUBS_EVERY_MS as u64);
        let mut reading = ask(host, &self.options, scrubs, held.page_collected);
        let counted_ms = held.take_page(&mut reading, now_ms);
        if let Some(fault) = &reading.page_fault {
            self.complain(format!("{fault}; commands are asked in place of it"));
        }
        let said = reading.status.as_ref().and_then(|status| status.fsid.clone());
        if let (Some(leader), Some(fsid)) = (leader, &said)
            && leader.fsid != *fsid
        {
            let reason = format!(
                "the configuration leads to the cluster {fsid}, and not to that of this node's monitor, {}",
                leader.fsid
            );
            reading = Reading::failed(&reason);
        }
        let epoch = leader.and_then(|leader| leader.epoch);
        let fares = (reading.mon_is_good(), reading.mgr_is_good());
        self.has_news = held.read_at_ms != 0
            && (epoch != held.epoch || fares != (held.mon_is_good, held.mgr_is_good));
        let told = || self.fsid_of_conf(host);
        held.fsid = leader.map(|leader| leader.fsid.clone()).or(said).or(held.fsid).or_else(told);
        held.due_ms = self.due_after(due_ms, now_ms, fares == (true, true));
        (held.read_at_ms, held.epoch) = (now_ms, epoch);
        (held.mon_is_good, held.mgr_is_good) = fares;
        held.mon_good_ms = if held.mon_is_good { Some(now_ms) } else { held.mon_good_ms };
        held.mgr_good_ms = if held.mgr_is_good { Some(counted_ms) } else { held.mgr_good_ms };
        let reader = host.uname().map(|uname| uname.nodename).unwrap_or_default();
        let cluster = self.options.name.as_deref();
        held.mon.clear();
        let out = &mut Out { batch: &mut held.mon, cluster };
        samples::of_monitors(&reading, &reader, &mut self.remembered, out);
        held.mgr.clear();
        samples::of_manager(&reading, &mut Out { batch: &mut held.mgr, cluster });
        held.take_scrubs(&reading, scrubs.then_some(now_ms), cluster);
        let failure = reading.failure().or((!held.mgr_is_good).then_some(NO_MANAGER));
        tell(held.failure.as_deref(), failure);
        held.failure = failure.map(str::to_owned);
        self.held = Some(held);
    }
}

impl Collector for CephCluster {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        self.has_news = false;
        let now_ms = host.now_ms();
        let leader = match self.part(host)? {
            Part::Read(leader) => leader,
            Part::Wait if self.held.as_ref().is_some_and(|held| held.is_believed(now_ms)) => {
                return Ok(self.tell(out));
            }
            Part::Wait | Part::None => {
                (self.held, self.claim) = (None, None);
                return Ok(Status::Absent);
            }
        };
        let of = self.claimed(host, leader.as_ref());
        if !self.has_claim(host, &of) {
            self.held = None;
            return Ok(Status::Absent);
        }
        if self.is_due(now_ms, leader.as_ref().and_then(|leader| leader.epoch)) {
            self.read(host, leader.as_ref());
        }
        if let Some(held) = &mut self.held {
            held.led_ms = now_ms;
        }
        if self.instance().is_none() {
            // What a cluster says must not pass for what this node says.
            let why = self.held.as_ref().and_then(|held| held.failure.clone());
            let why = io::Error::other(why.unwrap_or_else(|| "nobody tells it".to_owned()));
            return Err(CollectError::read("the id of the Ceph cluster")(why));
        }
        Ok(self.tell(out))
    }

    fn has_news(&self) -> bool {
        self.has_news
    }

    fn instance(&self) -> Option<String> {
        let held = self.held.as_ref()?;
        let by_id = || {
            let id = held.fsid.as_deref()?;
            Some(format!("ceph-{}", id.get(..ID_LEN).unwrap_or(id)))
        };
        self.options.name.clone().or_else(by_id)
    }
}

impl CephCluster {
    /// Adds what was last read.
    fn tell(&self, out: &mut Batch) -> Status {
        let Some(held) = &self.held else { return Status::Absent };
        out.append(&held.mon);
        out.append(&held.mgr);
        out.append(&held.scrubs);
        let mut out = Out { batch: out, cluster: self.options.name.as_deref() };
        for (source, is_good) in [("mon", held.mon_is_good), ("mgr", held.mgr_is_good)] {
            out.push(&READING_SUCCESS, &[("source", source)], truth(is_good));
        }
        for (source, at_ms) in [("mon", held.mon_good_ms), ("mgr", held.mgr_good_ms)] {
            if let Some(at_ms) = at_ms {
                out.push(&READING_TIME, &[("source", source)], at_ms as f64 / 1000.0);
            }
        }
        Status::Collected
    }
}

impl Held {
    /// Looks at the manager's page: when what it says was counted, at the latest; the present when there is none.
    /// One that was not made anew for long is refused.
    fn take_page(&mut self, reading: &mut Reading, now_ms: i64) -> i64 {
        let collected = reading.page.as_ref().map(|page| page.collected);
        let before = self.page_collected;
        self.page_collected = collected.unwrap_or(reading.page_collected).or(before);
        let (Some(Some(collected)), Some(before)) = (collected, before) else { return now_ms };
        let since_ms = now_ms.saturating_sub(self.read_at_ms).max(0);
        let times = collected - before;
        if times >= 1.0 {
            // It is made in even steps, so the last is no longer ago than one of them.
            let step = Duration::from_millis(since_ms.unsigned_abs()).div_f64(times);
            return now_ms.saturating_sub(i64::try_from(step.as_millis()).unwrap_or(since_ms));
        }
        if times != 0.0 {
            // It began anew with another manager, since the last reading.
            return now_ms - since_ms;
        }
        let counted_ms = self.mgr_good_ms.unwrap_or(self.read_at_ms);
        if now_ms.saturating_sub(counted_ms) > PAGE_AGE_MAX_MS {
            reading.refuse_page(PAGE_IS_OLD);
        }
        counted_ms
    }

    /// Takes what a reading says of scrubs, which were asked for at `asked_ms`, if they were. What was known
    /// before goes with an answer that did not come, and with the manager: one that is back is asked at once.
    fn take_scrubs(&mut self, reading: &Reading, asked_ms: Option<i64>, cluster: Option<&str>) {
        let answers = reading.mgr_answers();
        self.scrubs_asked_ms = asked_ms.or(self.scrubs_asked_ms).filter(|_| answers);
        if asked_ms.is_some() || !answers {
            self.scrubs.clear();
        }
        if let Some(scrubs) = &reading.scrubs {
            samples::of_scrubs(scrubs, &mut Out { batch: &mut self.scrubs, cluster });
        }
    }

    /// Whether what was read may still be told, though the monitor does not say whether it still leads.
    fn is_believed(&self, now_ms: i64) -> bool {
        (0..=SILENCE_MAX_MS).contains(&(now_ms - self.led_ms))
    }
}

/// Asks a monitor whether it leads, and which map of OSDs it has.
fn monitor(host: &dyn Host, socket: &str, deadline: Duration) -> Monitor {
    let ask =
        |request: &[u8]| host.socket_request(socket, request, Framing::LengthPrefix, deadline);
    let answer = match ask(&ceph::request("mon_status")) {
        Ok(answer) => answer,
        Err(error) => return unheard(&error),
    };
    let state = ceph::reply(&answer).ok().and_then(|text| daemons::mon_status(text).ok());
    let Some(state) = state.filter(daemons::MonState::is_leader) else { return Monitor::Follows };
    // The rest of its counters is of no interest here, and forty times as long.
    let counters = ask(b"{\"prefix\":\"perf dump\",\"logger\":\"cluster\"}\0").ok();
    let counters = counters.as_deref().and_then(|answer| ceph::reply(answer).ok());
    let epoch = counters.and_then(|text| daemons::osdmap_epoch(text).ok().flatten());
    let is_new = state.quorum_age_seconds.is_some_and(|age| age < QUORUM_SECONDS_MIN);
    Monitor::Leads(Leader { fsid: state.fsid, epoch, is_new })
}

/// What becomes of a monitor that could not be asked.
fn unheard(error: &io::Error) -> Monitor {
    match error.kind() {
        // It was killed, or is being started.
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Monitor::Follows,
        io::ErrorKind::PermissionDenied => Monitor::Forbidden,
        _ => Monitor::Silent,
    }
}

/// The id of the cluster, as a configuration file has it.
fn conf_fsid(conf: &str) -> Option<String> {
    let settings = conf.lines().filter_map(|line| line.split_once('='));
    let mut ids = settings.filter(|(key, _)| key.trim() == "fsid").map(|(_, value)| value);
    let id = ids.next()?.split(['#', ';']).next()?.trim().trim_matches('"');
    let is_id = id.len() > ID_LEN && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    is_id.then(|| id.to_owned())
}

/// Has the cluster read by a process of its own.
fn ask(
    host: &dyn Host,
    options: &options::Ceph,
    scrubs: bool,
    page_collected: Option<f64>,
) -> Reading {
    let Some(program) = &options.reader else {
        return Reading::failed("there is no program that reads the cluster");
    };
    let (user, keyring) = key(host, options);
    let conf = options.conf.as_deref().unwrap_or(CONF);
    let seconds = READING_TIME_MAX.as_secs().to_string();
    let mut args = vec!["ceph-read", "--conf", conf, "--user", &user, "--deadline", &seconds];
    if let Some(path) = &keyring {
        args.extend(["--keyring", path]);
    }
    if scrubs {
        args.push("--scrubs");
    }
    let collected = page_collected.map(|collected| collected.to_string());
    match options.source {
        Source::Commands => {}
        Source::Auto => args.extend(["--page", "renewed"]),
        Source::Module => args.extend(["--page", "always"]),
    }
    if let Some(collected) = &collected {
        args.extend(["--collected", collected]);
    }
    match host.run(program, &args, READING_TIME_MAX + READING_SLACK) {
        Ok(output) if output.stdout.is_empty() => {
            let words = String::from_utf8_lossy(&output.stderr);
            Reading::failed(words.lines().next().unwrap_or("the reading ended without a word"))
        }
        Ok(output) => Reading::of(&output.stdout),
        Err(error @ (RunError::NotFound | RunError::TimedOut(_))) => {
            Reading::failed(&format!("{program}: {error}"))
        }
        Err(error) => Reading::failed(&error.to_string()),
    }
}

/// Who asks, and with which key: what is configured, labstat's own key where there is one, or else
/// the administrator's where the configuration file says it is.
fn key(host: &dyn Host, options: &options::Ceph) -> (String, Option<String>) {
    let user = options.user.as_ref().map(|user| match user.strip_prefix("client.") {
        Some(_) => user.clone(),
        None => format!("client.{user}"),
    });
    if let Some(path) = &options.keyring {
        return (user.unwrap_or_else(|| OWN_USER.to_owned()), Some(path.clone()));
    }
    let has_own = || host.list(KEYS).is_ok_and(|names| names.iter().any(|name| name == OWN_KEY));
    match user {
        Some(user) if user != OWN_USER => (user, None),
        Some(_) | None if has_own() => (OWN_USER.to_owned(), Some(format!("{KEYS}/{OWN_KEY}"))),
        Some(user) => (user, None),
        None => (ADMIN.to_owned(), None),
    }
}

/// Says once what goes wrong, and once that it is over.
fn tell(before: Option<&str>, now: Option<&str>) {
    match now {
        Some(reason) if before != now => {
            tracing::warn!(reason, "the Ceph cluster was not read whole");
        }
        None if before.is_some() => tracing::info!("the Ceph cluster is read whole again"),
        _ => {}
    }
}

/// Whether and as whom this node could read its cluster, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Who asks.
    pub user: String,
    /// Whether that is the administrator, who may do anything.
    pub is_admin: bool,
    /// Whether the monitors answered all.
    pub mon: bool,
    /// Whether the manager answered all.
    pub mgr: bool,
    /// The first thing that went wrong.
    pub failure: Option<String>,
}

/// Reads the cluster once, whoever else does, where a monitor runs on this node or it is told to read;
/// nothing where it will never be asked to.
pub fn reach(host: &dyn Host, options: &options::Ceph) -> Option<Reach> {
    let has_monitor = || super::ceph::monitors(host, options).is_ok_and(|all| !all.is_empty());
    let may_read = match options.cluster {
        Reads::Never => false,
        Reads::Always => true,
        Reads::Auto => has_monitor(),
    };
    if !may_read {
        return None;
    }
    let (user, _) = key(host, options);
    let reading = ask(host, options, false, None);
    Some(Reach {
        is_admin: user == ADMIN,
        user,
        mon: reading.mon_is_good(),
        mgr: reading.mgr_is_good(),
        failure: reading.failure().map(str::to_owned),
    })
}
