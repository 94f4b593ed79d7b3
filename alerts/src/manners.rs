//! Manners: who hears what, when, and once. Between the rules, which say what is so, and the
//! delivery, which carries messages.
//!
//! [`Manners`] is pure: alerts, silences, acknowledgements and the time come in, messages go out,
//! with the rows that make all of it outlive a crash ([`Step`]). Who commits a step's rows before
//! sending its messages loses nothing and repeats nothing; who throws both away may do it again.
//!
//! - [`spec`]: what is configured; [`alertmanager`] reads and writes it as Alertmanager's YAML.
//! - [`matchers`], [`times`], `route`, `inhibit`, [`silences`], `maintenance`: each one rule of
//!   Alertmanager's, or of ours.
//! - [`topology`]: what hangs on what; `incidents`: which alerts have one cause.
//! - `life`: how an alert begins, goes on, ends and flaps; `groups`: which groups it enters.
//! - `flush`: what a group says, and to whom. `room`: how much alerts may take. `clock`: one that is set back.
//! - [`views`]: what others see of it; `explain`: which way an alert would take.
//!
//! Not here: the words of a message, how it is sent, and HTTP.

pub mod alertmanager;
mod clock;
mod explain;
mod flush;
mod groups;
mod incidents;
mod inhibit;
mod life;
mod maintenance;
pub mod matchers;
mod room;
mod route;
mod rows;
pub mod silences;
pub mod spec;
mod state;
#[cfg(test)]
mod tests;
pub mod times;
pub mod topology;
pub mod views;

use std::collections::{BTreeMap, BTreeSet};

use incidents::Relations;
use inhibit::Inhibitor;
use route::Finder;
use silences::Silences;
use state::{AlertRow, Group, Live, Origin};
use topology::Graph;

use crate::hash::fingerprint;
use crate::ledger::Entry;
use crate::message::Message;
use crate::notification::{Notification, Status};

pub use explain::{EscalationView, Explanation, RouteView, TakenRoute};
pub use flush::{FLAPPING, MESSAGE_ALERTS_MAX, TIMELINE_MAX};
pub use room::POSTED_SUM_MAX;
use room::Room;
pub use silences::{Silence, SilenceError, SilenceMatcher, SilenceState};
pub use spec::{MannersConfig, MannersSpec, Part, Recipient, SpecProblem};
pub use state::Acknowledgement;
pub use topology::{Entity, EntityKind, Topology};
pub use views::{AlertStatus, AlertsFilter, GroupView};

/// The most alerts kept at one time. More are counted, and told of as one alert of their own.
pub const ALERTS_MAX: usize = 50_000;

/// The most labels or annotations of a posted alert.
const PAIRS_MAX: usize = 256;

/// The most bytes of a posted alert: the names and values of its labels and annotations and its link. It
/// is held in memory and kept on disk; what all of them may take is [`POSTED_SUM_MAX`].
const POSTED_LEN_MAX: usize = 16 * 1024;

/// Letters that are told of the name of an alert that is refused.
const NAME_TOLD_MAX: usize = 100;

/// Problems of alerts that were posted together, told one by one.
const PROBLEMS_MAX: usize = 100;

/// The longest comment of an acknowledgement, in letters; the rest is cut off.
const ACK_TEXT_MAX: usize = 2_000;

/// How long after the last alert that found no room the lack of it is still told.
const REFUSED_FOR_MS: i64 = 10 * 60_000;

/// How often the rules are asked what fires while some of it has found no room. All of their alerts
/// are looked through for that.
const ASK_AGAIN_MS: i64 = 60_000;

/// The name of the alert that tells of alerts that found no room.
pub const REFUSED_ALERT: &str = "TooManyAlerts";

/// Rows and messages that belong together: the rows are committed, then the messages are sent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// What to commit.
    pub entries: Vec<Entry>,
    /// What to send, once that is on disk (or the messages are part of the same commit).
    pub messages: Vec<Message>,
}

impl Step {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.messages.is_empty()
    }

    /// Adds a later step.
    pub fn extend(&mut self, later: Self) {
        self.entries.extend(later.entries);
        self.messages.extend(later.messages);
    }
}

/// An alert as somebody posts it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Posted {
    /// All labels, with `alertname`; empty ones are left out.
    pub labels: BTreeMap<String, String>,
    /// The annotations.
    pub annotations: BTreeMap<String, String>,
    /// When it began, in milliseconds.
    pub starts_at_ms: Option<i64>,
    /// When it is or was over, in milliseconds.
    pub ends_at_ms: Option<i64>,
    /// Where it comes from.
    pub generator_url: String,
}

/// Which alerts are acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AckTarget {
    /// Those of these fingerprints.
    Fingerprints(Vec<String>),
    /// Those of the groups with this key, as messages have it.
    Group(String),
    /// Those of the group that this message, or the first of its thread, was about.
    Thread(String),
}

/// Why nothing was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AckError {
    /// None of the alerts fires.
    #[error("no such alert fires")]
    NotFound,
    /// It would end before it begins.
    #[error("the acknowledgement ends in the past")]
    EndsInThePast,
}

/// Who hears what, when, and once.
#[derive(Debug, Default)]
pub struct Manners {
    config: MannersConfig,
    topology: Topology,
    graph: Graph,
    alerts: BTreeMap<String, Live>,
    groups: BTreeMap<String, Group>,
    acks: BTreeMap<String, Acknowledgement>,
    silences: Silences,
    inhibitor: Inhibitor,
    relations: Relations,
    finder: Finder,
    /// Groups by when they are due.
    due: BTreeSet<(i64, String)>,
    /// Alerts by when something becomes of them by itself.
    deadlines: BTreeSet<(i64, String)>,
    /// How often an alert of a rule found no room since the rules were last asked. Who posts says it
    /// again by himself.
    refused: usize,
    /// When any alert found none last, while it is told.
    refused_ms: Option<i64>,
    /// When the rules were last asked.
    asked_ms: i64,
    room: Room,
    dirty: Dirty,
    /// The time of the last step.
    latest_ms: i64,
}

#[cfg(test)]
impl Manners {
    /// Has room for so many alerts from now on.
    pub(crate) fn set_room(&mut self, len: usize) {
        self.room.alerts_max = len;
    }
}

/// Rows that are not as they were last written.
#[derive(Debug, Default)]
struct Dirty {
    alerts: BTreeSet<String>,
    groups: BTreeSet<String>,
    acks: BTreeSet<String>,
    topology: bool,
}

impl Manners {
    /// Manners by `config`, with what is kept of them: the rows under their prefixes
    /// ([`Manners::PREFIXES`]). Rows that cannot be read are logged and taken away.
    pub fn new(config: MannersConfig, kept: Vec<(String, Vec<u8>)>, now_ms: i64) -> (Self, Step) {
        let inhibitor = Inhibitor::new(config.inhibit.clone());
        let mut manners = Self { config, inhibitor, ..Self::default() };
        let unreadable = manners.restore(kept, now_ms);
        // What was kept may be of any time.
        manners.latest_ms = i64::MAX;
        manners.heed_clock(now_ms);
        let mut step = manners.step(Vec::new());
        step.entries.extend(unreadable.into_iter().map(Entry::delete));
        (manners, step)
    }

    /// What it works by.
    pub fn config(&self) -> &MannersConfig {
        &self.config
    }

    /// Works by another configuration from now on. What was told stays told where group and
    /// receiver are as before.
    pub fn reconfigure(&mut self, config: MannersConfig, now_ms: i64) -> Step {
        self.config = config;
        let rows = std::mem::take(&mut self.groups);
        self.dirty.groups.extend(rows.keys().cloned());
        let rows = rows.into_iter().map(|(id, group)| (id, (group.row, group.written))).collect();
        self.rebuild(rows, now_ms);
        self.tick(now_ms);
        self.step(Vec::new())
    }

    /// Alerts of the rules that began or ceased to fire, each once.
    pub fn take(&mut self, changes: &[Notification], now_ms: i64) -> Step {
        self.tick(now_ms);
        for change in changes {
            match change.status {
                Status::Firing => self.fires(change.clone(), Origin::Rules, None, now_ms),
                Status::Resolved => {
                    let ends_at_ms = change.ends_at_ms.unwrap_or(now_ms);
                    self.ceases(&change.fingerprint, ends_at_ms, Some(change), now_ms);
                }
            }
            self.weigh(&change.fingerprint);
        }
        self.step(Vec::new())
    }

    /// Holds what is known of the rules' alerts to what the rules say: those that no rule holds to
    /// fire, by `is_firing`, have ended, and `lacking` ([`Manners::lacks`]) begin, as far as there is
    /// room. Whatever was lost between the two (a row that cannot be read, the state of an older
    /// version, an alert that found no room) would else fire for ever, or never be told.
    pub fn reconcile(
        &mut self,
        lacking: Vec<Notification>,
        is_firing: impl Fn(&str) -> bool,
        now_ms: i64,
    ) -> Step {
        self.tick(now_ms);
        let own = self.refused_fingerprint();
        let orphan = |(fp, live): &(&String, &Live)| {
            live.fires && live.row.origin == Origin::Rules && **fp != own && !is_firing(fp)
        };
        let orphans: Vec<String> =
            self.alerts.iter().filter(orphan).map(|(fp, _)| fp.clone()).collect();
        for fp in orphans {
            self.ceases(&fp, now_ms, None, now_ms);
        }
        (self.refused, self.asked_ms) = (0, now_ms);
        for alert in lacking {
            let fp = alert.fingerprint.clone();
            self.fires(alert, Origin::Rules, None, now_ms);
            self.weigh(&fp);
        }
        self.step(Vec::new())
    }

    /// Whether an alert that a rule holds to fire is not known to fire, or not by the rule's word.
    pub fn lacks(&self, fingerprint: &str) -> bool {
        self.alerts
            .get(fingerprint)
            .is_none_or(|live| !live.goes_on() || live.row.origin != Origin::Rules)
    }

    /// When the rules are to be asked again what fires ([`Manners::reconcile`]), since some of it may
    /// have found no room.
    pub fn next_ask_ms(&self) -> Option<i64> {
        (self.refused > 0).then(|| self.asked_ms.saturating_add(ASK_AGAIN_MS))
    }

    /// Alerts that somebody posts, over and over while they fire. What is wrong with those that
    /// are refused is returned; the others are taken.
    pub fn post(&mut self, alerts: &[Posted], now_ms: i64) -> (Step, Vec<String>) {
        self.tick(now_ms);
        let (mut problems, mut more) = (Vec::new(), 0_usize);
        for posted in alerts {
            match self.post_one(posted, now_ms) {
                Err(problem) if problems.len() < PROBLEMS_MAX => problems.push(problem),
                Err(_) => more += 1,
                Ok(()) => {}
            }
        }
        if more > 0 {
            problems.push(format!("and {more} more"));
        }
        (self.step(Vec::new()), problems)
    }

    /// Lets time pass: groups that are due speak, silences begin and end, posted alerts time out,
    /// what nobody has acknowledged goes to the next.
    pub fn advance(&mut self, now_ms: i64) -> Step {
        self.tick(now_ms);
        let mut messages = Vec::new();
        // A group is looked at once per step: whatever it becomes due for meanwhile comes next.
        let mut now_due = Vec::new();
        while let Some((due_ms, _)) = self.due.first()
            && *due_ms <= now_ms
        {
            now_due.extend(self.due.pop_first());
        }
        for (_, id) in now_due {
            self.flush(&id, now_ms, &mut messages);
        }
        self.step(messages)
    }

    /// When [`Manners::advance`] is to be called next; `None` when nothing is to come by itself. That
    /// is now when the clock has been set back.
    pub fn next_due_ms(&self, now_ms: i64) -> Option<i64> {
        if self.is_ahead(now_ms) {
            return Some(now_ms);
        }
        let group = self.due.first().map(|(ms, _)| *ms);
        let alert = self.deadlines.first().map(|(ms, _)| *ms);
        let refused = self.refused_ms.map(|refused_ms| refused_ms.saturating_add(REFUSED_FOR_MS));
        [group, alert, self.silences.next_ms(), refused].into_iter().flatten().min()
    }

    /// Makes a silence, or changes the one whose id it has; the id that it has from now on is
    /// returned, another one where the change is more than one of times.
    pub fn put_silence(
        &mut self,
        silence: Silence,
        now_ms: i64,
    ) -> Result<(String, Step), SilenceError> {
        self.tick(now_ms);
        let id = self.silences.put(silence, now_ms)?;
        Ok((id, self.step(Vec::new())))
    }

    /// Ends a silence.
    pub fn expire_silence(&mut self, id: &str, now_ms: i64) -> Result<Step, SilenceError> {
        self.tick(now_ms);
        self.silences.expire(id, now_ms)?;
        Ok(self.step(Vec::new()))
    }

    /// Somebody knows of these alerts: they are not repeated, and nobody else is called, until the
    /// alert ends or `until_ms`. The fingerprints are returned.
    pub fn acknowledge(
        &mut self,
        target: &AckTarget,
        who: &str,
        comment: &str,
        until_ms: Option<i64>,
        now_ms: i64,
    ) -> Result<(Vec<String>, Step), AckError> {
        self.tick(now_ms);
        if until_ms.is_some_and(|until_ms| until_ms <= now_ms) {
            return Err(AckError::EndsInThePast);
        }
        let found = self.targets(target);
        if found.is_empty() {
            return Err(AckError::NotFound);
        }
        let bounded = |text: &str| text.chars().take(ACK_TEXT_MAX).collect::<String>();
        for fp in &found {
            let ack = Acknowledgement {
                who: bounded(who),
                comment: bounded(comment),
                at_ms: now_ms,
                until_ms,
            };
            self.acks.insert(fp.clone(), ack);
            self.dirty.acks.insert(fp.clone());
        }
        Ok((found, self.step(Vec::new())))
    }

    /// Takes acknowledgements back.
    pub fn unacknowledge(
        &mut self,
        target: &AckTarget,
        now_ms: i64,
    ) -> Result<(Vec<String>, Step), AckError> {
        self.tick(now_ms);
        let mut found = self.targets(target);
        found.retain(|fp| self.acks.remove(fp).is_some());
        if found.is_empty() {
            return Err(AckError::NotFound);
        }
        self.dirty.acks.extend(found.iter().cloned());
        Ok((found, self.step(Vec::new())))
    }

    /// What hangs on what, from now on. Alerts that fire stay in the incidents they are in.
    pub fn set_topology(&mut self, topology: Topology) -> Step {
        if topology == self.topology {
            return Step::default();
        }
        self.graph = Graph::new(&topology);
        self.topology = topology;
        self.dirty.topology = true;
        for (fp, live) in &mut self.alerts {
            if live.fires {
                self.relations.remove(fp, live);
            }
            let alert = &live.row.alert;
            live.place = self.graph.locate(&alert.labels);
            live.breaks = live
                .place
                .as_ref()
                .is_some_and(|place| topology::breaks(&alert.labels, &alert.annotations, place));
            if live.fires {
                self.relations.insert(fp, live);
            }
        }
        self.step(Vec::new())
    }

    /// The firing alerts that are meant.
    fn targets(&self, target: &AckTarget) -> Vec<String> {
        let fires = |fp: &String| self.alerts.get(fp).is_some_and(|live| live.fires);
        let of_groups = |is_meant: &dyn Fn(&Group) -> bool| {
            let groups = self.groups.values().filter(|group| is_meant(group));
            let all: BTreeSet<String> =
                groups.flat_map(|group| group.alerts.iter().cloned()).filter(fires).collect();
            all.into_iter().collect()
        };
        match target {
            AckTarget::Fingerprints(list) => list.iter().filter(|fp| fires(fp)).cloned().collect(),
            AckTarget::Group(key) => of_groups(&|group| self.group_key(group) == *key),
            AckTarget::Thread(id) => {
                of_groups(&|group| group.row.told.values().any(|told| told.is_of_thread(id)))
            }
        }
    }

    fn post_one(&mut self, posted: &Posted, now_ms: i64) -> Result<(), String> {
        let mut labels = posted.labels.clone();
        labels.retain(|_, value| !value.is_empty());
        if labels.is_empty() {
            return Err("at least one label pair required".to_owned());
        }
        check_pairs(&labels).map_err(|why| format!("invalid label set: {why}"))?;
        check_pairs(&posted.annotations).map_err(|why| format!("invalid annotations: {why}"))?;
        let starts_at_ms = posted.starts_at_ms.or(posted.ends_at_ms).unwrap_or(now_ms);
        let origin = if posted.ends_at_ms.is_some() { Origin::Posted } else { Origin::PostedOpen };
        let until_ms = posted
            .ends_at_ms
            .unwrap_or_else(|| now_ms.saturating_add(self.config.resolve_timeout_ms));
        if until_ms < starts_at_ms {
            return Err("start time must be before end time".to_owned());
        }
        let pairs = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut alert = Notification {
            fingerprint: fingerprint(pairs),
            status: Status::Firing,
            annotations: posted.annotations.clone(),
            active_at_ms: starts_at_ms,
            starts_at_ms,
            ends_at_ms: None,
            value: f64::NAN,
            generator_url: posted.generator_url.clone(),
            labels,
        };
        check_len(&alert)?;
        let fp = alert.fingerprint.clone();
        let fires = until_ms > now_ms;
        let is_heard = match self.alerts.get(&fp) {
            // While a rule holds it to fire, the rule alone says what it is and when it is over.
            Some(live) if live.row.origin == Origin::Rules => fires && !live.goes_on(),
            known => fires || known.is_some(),
        };
        if !is_heard || !self.fit(&mut alert, now_ms) {
            return Ok(());
        }
        if fires {
            self.fires(alert, origin, Some(until_ms), now_ms);
        } else {
            self.ceases(&fp, until_ms, Some(&alert), now_ms);
        }
        self.weigh(&fp);
        Ok(())
    }

    /// Whether there is room for what a posted alert says. One that is there already and says more than
    /// there is room for keeps its texts: to let go of it would tell an end that is none. What a rule
    /// held before takes no room yet, so that its texts find none either.
    fn fit(&mut self, alert: &mut Notification, now_ms: i64) -> bool {
        if self.room.fits(&alert.fingerprint, room::len_of(alert)) {
            return true;
        }
        let most = self.room.posted_max / (1024 * 1024);
        self.refuse(&format!("More than {most} MiB of posted alerts at one time"), now_ms);
        let posted = self.alerts.get(&alert.fingerprint);
        let Some(live) = posted.filter(|live| live.row.origin != Origin::Rules) else {
            return false;
        };
        alert.annotations.clone_from(&live.row.alert.annotations);
        alert.generator_url.clone_from(&live.row.alert.generator_url);
        true
    }

    /// Takes note of the room that an alert takes now.
    fn weigh(&mut self, fp: &str) {
        let posted = self.alerts.get(fp).filter(|live| live.row.origin != Origin::Rules);
        self.room.set(fp, posted.map(|live| room::len_of(&live.row.alert)));
    }

    /// Time has passed: what becomes of alerts and silences by that alone.
    fn tick(&mut self, now_ms: i64) {
        self.heed_clock(now_ms);
        self.silences.advance(now_ms);
        while let Some((due_ms, _)) = self.deadlines.first()
            && *due_ms <= now_ms
        {
            let Some((_, fp)) = self.deadlines.pop_first() else { break };
            self.expire(&fp, now_ms);
        }
        let lacked_ms = self.refused_ms.map(|refused_ms| now_ms.saturating_sub(refused_ms));
        if lacked_ms.is_some_and(|lacked_ms| lacked_ms >= REFUSED_FOR_MS) {
            (self.refused, self.refused_ms) = (0, None);
            let own = self.refused_fingerprint();
            self.ceases(&own, now_ms, None, now_ms);
        }
    }

    fn refused_fingerprint(&self) -> String {
        fingerprint(refused_labels())
    }

    /// There is no room for an alert: that is told in its place.
    fn refuse(&mut self, text: &str, now_ms: i64) {
        self.refused_ms = Some(now_ms);
        let own = self.refused_fingerprint();
        if self.alerts.get(&own).is_some_and(|live| live.fires) {
            return;
        }
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let alert = Notification {
            fingerprint: own.clone(),
            status: Status::Firing,
            labels: refused_labels().into_iter().map(owned).collect(),
            annotations: [owned(("summary", text))].into_iter().collect(),
            active_at_ms: now_ms,
            starts_at_ms: now_ms,
            ends_at_ms: None,
            value: f64::NAN,
            generator_url: String::new(),
        };
        self.begin(&own, AlertRow::new(alert, Origin::Rules, None, now_ms), now_ms);
    }

    /// How often an alert of a rule found no room since the rules were last asked for theirs.
    pub fn refused_len(&self) -> usize {
        self.refused
    }
}

fn refused_labels() -> [(&'static str, &'static str); 2] {
    [("alertname", REFUSED_ALERT), ("severity", "critical")]
}

fn check_pairs(pairs: &BTreeMap<String, String>) -> Result<(), String> {
    if pairs.len() > PAIRS_MAX {
        return Err(format!("more than {PAIRS_MAX} pairs"));
    }
    for name in pairs.keys() {
        if !matchers::is_classic_name(name) || name.contains(':') {
            return Err(format!("invalid name {name:?}"));
        }
    }
    Ok(())
}

/// Refuses, by its name, an alert that takes too much room.
fn check_len(alert: &Notification) -> Result<(), String> {
    let len = room::len_of(alert);
    if len <= POSTED_LEN_MAX {
        return Ok(());
    }
    let name: String = alert.name().chars().take(NAME_TOLD_MAX).collect();
    Err(format!("alert {name:?} has {len} bytes, over the limit of {POSTED_LEN_MAX}"))
}
