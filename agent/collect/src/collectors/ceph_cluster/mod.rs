//! A Ceph cluster as a whole, read by one node of it.
//!
//! - Asks: the monitors of this node, by their admin sockets, whether one of them leads the quorum. The
//!   node of the one that does reads the cluster, by a process of its own ([`crate::host::read_cluster`]):
//!   every [`options::Ceph::interval`], and at once when the map of OSDs has changed.
//! - Needs: librados2 or ceph-common, and a key that may `mon 'allow r' mgr 'allow r'`.
//! - Absent where no monitor of this node leads, and where another process of this node reads already.
//! - Emits: `ceph_*` as Ceph's manager names them, `labstat_ceph_*`, all without a node: what is said of
//!   the cluster belongs to none ([`Collector::instance`]).
//! - What could not be read is gone with the reading that failed; [`names::READING_SUCCESS`] says that,
//!   and [`names::READING_TIME`] since when.
//! - Not here: single daemons ([`super::ceph`]).

use std::io;
use std::time::Duration;

use labstat_model::Batch;
use labstat_parse::ceph;
use labstat_parse::ceph_cluster::daemons;

use crate::collector::{CollectError, Collector, Status};
use crate::host::{Claim, Framing, Host, RunError};
use crate::options::{self, Reads};

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
    /// Whether the last run saw another map of OSDs, or a source that came or went.
    has_news: bool,
}

/// What was last read.
#[derive(Debug, Default)]
struct Held {
    /// Once it is known.
    fsid: Option<String>,
    read_at_ms: i64,
    scrubs_at_ms: Option<i64>,
    /// The number of the map of OSDs just before that.
    epoch: Option<u64>,
    mon: Batch,
    mgr: Batch,
    scrubs: Batch,
    mon_is_good: bool,
    mgr_is_good: bool,
    mon_good_ms: Option<i64>,
    mgr_good_ms: Option<i64>,
    failure: Option<String>,
}

/// A monitor of this node that leads.
struct Leader {
    fsid: String,
    epoch: Option<u64>,
}

impl CephCluster {
    /// One with these settings.
    pub fn new(options: &options::Ceph) -> Self {
        let options = options.clone();
        let remembered = Remembered::new();
        Self { options, claim: None, held: None, remembered, has_news: false }
    }

    /// Whether this node is the one to read: then what its monitor says of the cluster, if it has one.
    fn leader(&self, host: &dyn Host) -> Result<Option<Option<Leader>>, CollectError> {
        if self.options.cluster == Reads::Never {
            return Ok(None);
        }
        let sockets = super::ceph::monitors(host, &self.options);
        let sockets = sockets.map_err(CollectError::read(&self.options.run_dir))?;
        let leader = sockets.iter().find_map(|socket| leader(host, socket, self.options.deadline));
        Ok(match (leader, self.options.cluster) {
            (None, Reads::Auto) => None,
            (leader, _) => Some(leader),
        })
    }

    /// Whether no other process of this node reads the cluster.
    fn has_claim(&mut self, host: &dyn Host, of: &str) -> bool {
        if self.claim.as_ref().is_some_and(|(claimed, _)| claimed == of) {
            return true;
        }
        // The old one is given back first.
        self.claim = None;
        match host.claim(&format!("labstat-ceph-{of}")) {
            Ok(claim) => self.claim = Some((of.to_owned(), claim)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return false,
            // Two who read do no harm, and nobody who reads does.
            Err(error) => tracing::debug!(%error, "no claim on the cluster could be had"),
        }
        true
    }

    fn is_due(&self, now_ms: i64, epoch: Option<u64>) -> bool {
        let Some(held) = &self.held else { return true };
        let since_ms = now_ms.saturating_sub(held.read_at_ms);
        let interval_ms = i64::try_from(self.options.interval.as_millis()).unwrap_or(i64::MAX);
        let is_good = held.mon_is_good && held.mgr_is_good;
        let wait_ms = if is_good { interval_ms } else { interval_ms.min(RETRY_MS) };
        let is_new = epoch.is_some() && epoch != held.epoch;
        // A clock that was set back says nothing of how long ago it was.
        since_ms < 0 || since_ms >= wait_ms || (is_new && since_ms >= READING_PAUSE_MS)
    }

    /// Reads the cluster, and holds what it said.
    fn read(&mut self, host: &dyn Host, leader: Option<&Leader>) {
        let now_ms = host.now_ms();
        let mut held = self.held.take().unwrap_or_default();
        let scrubs =
            held.scrubs_at_ms.is_none_or(|at| now_ms.abs_diff(at) >= SCRUBS_EVERY_MS as u64);
        let mut reading = ask(host, &self.options, scrubs);
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
        held.fsid = leader.map(|leader| leader.fsid.clone()).or(said).or(held.fsid);
        (held.read_at_ms, held.epoch) = (now_ms, epoch);
        (held.mon_is_good, held.mgr_is_good) = fares;
        held.mon_good_ms = if held.mon_is_good { Some(now_ms) } else { held.mon_good_ms };
        held.mgr_good_ms = if held.mgr_is_good { Some(now_ms) } else { held.mgr_good_ms };
        let reader = host.uname().map(|uname| uname.nodename).unwrap_or_default();
        let cluster = self.options.name.as_deref();
        held.mon.clear();
        let out = &mut Out { batch: &mut held.mon, cluster };
        samples::of_monitors(&reading, &reader, &mut self.remembered, out);
        held.mgr.clear();
        samples::of_manager(&reading, &mut Out { batch: &mut held.mgr, cluster });
        match &reading.scrubs {
            Some(scrubs) => {
                held.scrubs_at_ms = Some(now_ms);
                held.scrubs.clear();
                samples::of_scrubs(scrubs, &mut Out { batch: &mut held.scrubs, cluster });
            }
            None if !reading.mgr_answers() => {
                held.scrubs_at_ms = None;
                held.scrubs.clear();
            }
            None => {}
        }
        let failure = reading.failure().or((!held.mgr_is_good).then_some(NO_MANAGER));
        tell(held.failure.as_deref(), failure);
        held.failure = failure.map(str::to_owned);
        self.held = Some(held);
    }
}

impl Collector for CephCluster {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        self.has_news = false;
        let Some(leader) = self.leader(host)? else {
            (self.held, self.claim) = (None, None);
            return Ok(Status::Absent);
        };
        let known = self.held.as_ref().and_then(|held| held.fsid.clone());
        let of = leader.as_ref().map(|leader| leader.fsid.clone()).or(known);
        let conf = self.options.conf.as_deref().unwrap_or(CONF);
        let of = of.unwrap_or_else(|| conf.to_owned());
        if !self.has_claim(host, &of) {
            self.held = None;
            return Ok(Status::Absent);
        }
        if self.is_due(host.now_ms(), leader.as_ref().and_then(|leader| leader.epoch)) {
            self.read(host, leader.as_ref());
        }
        let Some(held) = &self.held else { return Ok(Status::Absent) };
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
        Ok(Status::Collected)
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

/// Asks a monitor whether it leads, and which map of OSDs it has.
fn leader(host: &dyn Host, socket: &str, deadline: Duration) -> Option<Leader> {
    let ask = |request: &[u8]| {
        let answer = host.socket_request(socket, request, Framing::LengthPrefix, deadline).ok()?;
        ceph::reply(&answer).ok().map(str::to_owned)
    };
    let state = daemons::mon_status(&ask(&ceph::request("mon_status"))?).ok()?;
    if !state.is_leader() {
        return None;
    }
    // The rest of its counters is of no interest here, and forty times as long.
    let counters = ask(b"{\"prefix\":\"perf dump\",\"logger\":\"cluster\"}\0");
    let epoch = counters.and_then(|text| daemons::osdmap_epoch(&text).ok().flatten());
    Some(Leader { fsid: state.fsid, epoch })
}

/// Has the cluster read by a process of its own.
fn ask(host: &dyn Host, options: &options::Ceph, scrubs: bool) -> Reading {
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
    let reading = ask(host, options, false);
    Some(Reach {
        is_admin: user == ADMIN,
        user,
        mon: reading.mon_is_good(),
        mgr: reading.mgr_is_good(),
        failure: reading.failure().map(str::to_owned),
    })
}
