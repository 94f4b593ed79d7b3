//! What a group says when it is looked at: which of its alerts are muted, whether a receiver is to
//! be told, and of what.
//!
//! A group by labels speaks as Alertmanager's does: when an alert is new to the receiver, when one
//! has ended, when all have, and when `repeat_interval` is over. A group by cause speaks when
//! something new is graver than what was told, or no effect of it; when all is over; and when
//! `repeat_interval` is over and nobody has acknowledged it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Manners;
use super::groups::label_set_text;
use super::incidents::EFFECT_QUIET_MS;
use super::route::Route;
use super::spec::{GroupBy, Part};
use super::state::{Group, GroupRow, Live, Told, rank};
use super::topology::{self, EntityKind, Place};
use crate::hash::fnv;
use crate::message::{Event, Message, Reason};
use crate::notification::{Notification, Status};

/// The most alerts of a message; the gravest are told, and how many more there are.
pub const MESSAGE_ALERTS_MAX: usize = 500;

/// The most events of a group's timeline; the first and the latest are kept.
pub const TIMELINE_MAX: usize = 100;

/// The annotation that says how often a flapping alert has begun.
pub const FLAPPING: &str = "labstat_flapping";

/// Why an alert is not told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Muted {
    /// Silences.
    pub(super) silenced_by: Arc<Vec<String>>,
    /// Alerts.
    pub(super) inhibited_by: BTreeSet<String>,
    /// Until when its node is worked on, and why.
    pub(super) maintenance: Option<(i64, String)>,
}

impl Muted {
    pub(super) fn is_muted(&self) -> bool {
        !self.silenced_by.is_empty() || !self.inhibited_by.is_empty() || self.maintenance.is_some()
    }
}

/// A group's alerts that may be told.
#[derive(Default)]
struct Heard<'a> {
    /// Those that fire, and those that are over, with their fingerprints.
    firing: BTreeMap<&'a String, &'a Live>,
    resolved: BTreeMap<&'a String, &'a Live>,
    /// Those that are over but wait for the end of a maintenance to be told.
    waiting: BTreeSet<String>,
    /// When one of those that are held back is free again.
    free_ms: Option<i64>,
}

/// What an alert is to receivers that have been told: one that has begun to flap is another.
fn told_key(fp: &str, live: &Live) -> String {
    if live.row.flapping.is_some() { format!("{fp}~") } else { fp.to_owned() }
}

impl Heard<'_> {
    fn firing_keys(&self) -> BTreeSet<String> {
        self.firing.iter().map(|(fp, live)| told_key(fp, live)).collect()
    }

    fn resolved_keys(&self) -> BTreeSet<String> {
        self.resolved.keys().map(|fp| (*fp).clone()).collect()
    }

    fn gravest(&self) -> u8 {
        self.firing.values().map(|live| rank(&live.row.alert)).max().unwrap_or(0)
    }

    fn is_empty(&self) -> bool {
        self.firing.is_empty() && self.resolved.is_empty()
    }
}

impl Manners {
    /// Looks at a group that is due, and sets when it is due next.
    pub(super) fn flush(&mut self, id: &str, now_ms: i64, messages: &mut Vec<Message>) {
        let Some(mut group) = self.groups.remove(id) else { return };
        let Some(route) = self.config.tree.route(group.route).cloned() else { return };
        self.dirty.groups.insert(id.to_owned());
        for fp in &group.alerts {
            self.refresh_silences(fp);
        }
        if group.row.is_due(route.group_interval_ms, now_ms) {
            group.row.done_ms = Some(now_ms);
            group.row.kick_ms = None;
            self.look(id, &mut group, &route, now_ms, messages);
        }
        if group.row.escalate_ms.is_some_and(|escalate_ms| escalate_ms <= now_ms) {
            self.escalate(id, &mut group, &route, now_ms, messages);
        }
        if group.is_empty() {
            return;
        }
        group.next_ms = i64::MAX;
        self.groups.insert(id.to_owned(), group);
        self.reschedule(id);
    }

    fn look(
        &mut self,
        id: &str,
        group: &mut Group,
        route: &Arc<Route>,
        now_ms: i64,
        messages: &mut Vec<Message>,
    ) {
        let by_cause = route.group_by == GroupBy::Incident;
        let quiet = self.is_quiet_time(route, now_ms);
        let heard = self.heard(group, quiet, by_cause, now_ms);
        let parts = self.parts(&route.receiver);
        let told_before = !group.row.told.is_empty();
        if !heard.is_empty() {
            remember(&mut group.row, &heard);
        }
        if by_cause && !heard.firing.is_empty() {
            forget_old(&mut group.row, &heard, now_ms);
        }
        let mut spoke = false;
        for part in &parts {
            let Some(reason) = self.reason(group, route, part, &heard, now_ms) else { continue };
            let is_told = reason != Reason::Resolved || part.send_resolved;
            let message_id = message_id(id, &part.receiver, reason, now_ms);
            let message = self.message(&message_id, group, route, part, reason, &heard, now_ms);
            mark(&mut group.row, part, &message_id, reason, &heard, by_cause, now_ms);
            if is_told {
                messages.push(self.threaded(message, group, part));
                spoke |= reason == Reason::New || reason == Reason::Changed;
            }
        }
        self.end_escalated(id, group, route, &parts, &heard, now_ms, messages);
        if spoke && let Some(escalation) = &route.escalation {
            let at_ms = now_ms.saturating_add(escalation.after_ms);
            let called = group.row.told.values().any(|told| told.escalated);
            if !called {
                group.row.escalate_ms.get_or_insert(at_ms);
            }
        }
        group.row.kick_ms = heard.free_ms;
        let over = heard.firing.is_empty();
        let unheard = |fp: &&String| !heard.resolved.contains_key(fp);
        let unheard: BTreeSet<String> = group.alerts.iter().filter(unheard).cloned().collect();
        let waiting = heard.waiting;
        if told_before && group.row.told.values().all(|told| told.firing.is_empty()) {
            group.row.escalate_ms = None;
        }
        if !by_cause || over {
            self.drop_resolved(id, group, &waiting, (!by_cause).then_some(&unheard));
        }
    }

    /// The alerts of a group that may be told now.
    fn heard<'a>(&'a self, group: &Group, quiet: bool, by_cause: bool, now_ms: i64) -> Heard<'a> {
        let mut heard = Heard::default();
        let was_told = |fp: &String| group.row.told.values().any(|told| told.knows(fp));
        for fp in &group.alerts {
            let Some((fp, live)) = self.alerts.get_key_value(fp) else { continue };
            let muted = self.muted(fp, live, now_ms);
            if !muted.is_muted() && !quiet {
                let list = if live.fires { &mut heard.firing } else { &mut heard.resolved };
                list.insert(fp, live);
                continue;
            }
            let silence_ms = self.silences.last_end_ms(&muted.silenced_by);
            // A group by labels looks again in its turn, as Alertmanager's does.
            let window_ms = muted.maintenance.as_ref().map(|(until_ms, _)| *until_ms);
            let free_ms = [window_ms, silence_ms.filter(|_| by_cause)];
            let free_ms = free_ms.into_iter().flatten().filter(|ms| *ms > now_ms).max();
            heard.free_ms = heard.free_ms.into_iter().chain(free_ms).min();
            let is_held = muted.maintenance.is_some() || (quiet && by_cause);
            if !live.fires && is_held && was_told(fp) {
                heard.waiting.insert(fp.clone());
            }
        }
        heard
    }

    /// Why a receiver is to be told now, if it is.
    fn reason(
        &self,
        group: &Group,
        route: &Route,
        part: &Part,
        heard: &Heard<'_>,
        now_ms: i64,
    ) -> Option<Reason> {
        if heard.is_empty() {
            return None;
        }
        let told = group.row.told.get(&part.receiver).filter(|told| !told.firing.is_empty());
        let Some(told) = told else {
            return (!heard.firing.is_empty()).then_some(Reason::New);
        };
        if heard.firing.is_empty() {
            return Some(Reason::Resolved);
        }
        let by_cause = route.group_by == GroupBy::Incident;
        let news = |(fp, live): (&&String, &&Live)| {
            let is_new = !told.firing.contains(&told_key(fp, live));
            is_new && !(by_cause && self.is_quiet_effect(live, told, heard))
        };
        if heard.firing.iter().any(news) {
            return Some(Reason::Changed);
        }
        if !by_cause
            && part.send_resolved
            && !heard.resolved.keys().all(|fp| told.resolved.contains(*fp))
        {
            return Some(Reason::Changed);
        }
        let known = heard.firing.keys().all(|fp| self.is_acknowledged(fp, now_ms));
        let repeat_ms = told.at_ms.saturating_add(route.repeat_interval_ms);
        (repeat_ms <= now_ms && !known).then_some(Reason::Reminder)
    }

    /// Whether an alert is what one that was told has brought about, or says the same of the same thing as
    /// one that was told, seen from elsewhere; and is no graver.
    fn is_quiet_effect(&self, live: &Live, told: &Told, heard: &Heard<'_>) -> bool {
        let Some(place) = &live.place else { return false };
        if live.row.flapping.is_some() || rank(&live.row.alert) > told.gravest {
            return false;
        }
        // An effect that outlives its cause is to be told.
        heard.firing.iter().any(|(fp, cause)| {
            let since_ms = live.row.alert.starts_at_ms.saturating_sub(cause.row.alert.starts_at_ms);
            let is_of = |theirs: &Arc<Place>| {
                let alert = &cause.row.alert;
                let is_effect = cause.breaks
                    && place.is_at_or_below(theirs)
                    && topology::explains(&alert.labels, &alert.annotations, place.kind);
                is_effect || (place.id == theirs.id && is_seen_from_elsewhere(live, cause))
            };
            told.firing.contains(&told_key(fp, cause))
                && (0..=EFFECT_QUIET_MS).contains(&since_ms)
                && cause.place.as_ref().is_some_and(is_of)
        })
    }

    /// Tells the next one of what nobody has acknowledged.
    fn escalate(
        &self,
        id: &str,
        group: &mut Group,
        route: &Arc<Route>,
        now_ms: i64,
        messages: &mut Vec<Message>,
    ) {
        group.row.escalate_ms = None;
        let Some(escalation) = &route.escalation else { return };
        let by_cause = route.group_by == GroupBy::Incident;
        let heard = self.heard(group, self.is_quiet_time(route, now_ms), by_cause, now_ms);
        let acks = heard.firing.keys().filter_map(|fp| self.acks.get(*fp));
        let ack_end_ms = acks.filter_map(|ack| ack.until_ms).filter(|ms| *ms > now_ms).min();
        if heard.firing.keys().all(|fp| self.is_acknowledged(fp, now_ms)) {
            let fires = |fp: &String| self.alerts.get(fp).is_some_and(|live| live.fires);
            let held_back = heard.firing.is_empty() && group.alerts.iter().any(fires);
            let later_ms = now_ms.saturating_add(route.group_interval_ms);
            group.row.escalate_ms = ack_end_ms.or(held_back.then_some(later_ms));
            return;
        }
        for part in self.parts(&escalation.receiver) {
            let hears = |told: &Told| !told.firing.is_empty();
            if group.row.told.get(&part.receiver).is_some_and(hears) {
                continue;
            }
            let reason = Reason::Escalation;
            let message_id = message_id(id, &part.receiver, reason, now_ms);
            let message = self.message(&message_id, group, route, &part, reason, &heard, now_ms);
            mark(&mut group.row, &part, &message_id, reason, &heard, by_cause, now_ms);
            messages.push(self.threaded(message, group, &part));
        }
    }

    /// Tells those who were called in that all is over.
    #[expect(clippy::too_many_arguments, reason = "what a group is looked at with")]
    fn end_escalated(
        &self,
        id: &str,
        group: &mut Group,
        route: &Arc<Route>,
        parts: &[Part],
        heard: &Heard<'_>,
        now_ms: i64,
        messages: &mut Vec<Message>,
    ) {
        if !heard.firing.is_empty() || heard.resolved.is_empty() {
            return;
        }
        let called = group.row.told.iter().filter(|(receiver, told)| {
            told.escalated && parts.iter().all(|part| part.receiver != **receiver)
        });
        let called: Vec<String> = called.map(|(receiver, _)| receiver.clone()).collect();
        let all = self.config.recipients.values().flatten();
        let all: HashMap<&str, &Part> = all.map(|part| (part.receiver.as_str(), part)).collect();
        for receiver in called {
            if let Some(part) = all.get(receiver.as_str()).filter(|part| part.send_resolved) {
                let reason = Reason::Resolved;
                let message_id = message_id(id, &receiver, reason, now_ms);
                let message = self.message(&message_id, group, route, part, reason, heard, now_ms);
                messages.push(self.threaded(message, group, part));
            }
            group.row.told.remove(&receiver);
        }
    }

    /// Lets alerts that are over go from a group. Those that the receivers' accounts are to forget
    /// are given; without, all of them.
    fn drop_resolved(
        &mut self,
        id: &str,
        group: &mut Group,
        waiting: &BTreeSet<String>,
        forgotten: Option<&BTreeSet<String>>,
    ) {
        let is_over = |fp: &String| {
            !waiting.contains(fp) && self.alerts.get(fp).is_none_or(|live| !live.fires)
        };
        let over: Vec<String> = group.alerts.iter().filter(|fp| is_over(fp)).cloned().collect();
        for fp in over {
            group.alerts.remove(&fp);
            for told in group.row.told.values_mut() {
                // What ended unheard is news when it begins again; what was heard of stays in the
                // account until something is said, as in Alertmanager's.
                if forgotten.is_none_or(|forgotten| forgotten.contains(&fp)) {
                    told.forget(&fp);
                }
            }
            if let Some(live) = self.alerts.get_mut(&fp) {
                live.groups.remove(id);
                live.row.left.insert(id.to_owned());
                self.dirty.alerts.insert(fp.clone());
                self.schedule(&fp);
            }
        }
    }

    /// Whether a route says nothing now.
    pub(super) fn is_quiet_time(&self, route: &Route, now_ms: i64) -> bool {
        let holds =
            |name: &String| self.config.times.get(name).is_some_and(|times| times.contains(now_ms));
        route.mute_times.iter().any(holds)
            || (!route.active_times.is_empty() && !route.active_times.iter().any(holds))
    }

    /// Why an alert is not told, if it is not. Its silences are those last looked up.
    pub(super) fn muted(&self, fp: &str, live: &Live, now_ms: i64) -> Muted {
        let mut inhibited_by = BTreeSet::new();
        self.inhibitor.inhibitors(&live.row.alert.labels, &mut inhibited_by);
        self.relations.nodes_down(fp, live, &mut inhibited_by);
        inhibited_by.remove(fp);
        let silenced_by = if live.silenced.0 == self.silences.version() {
            live.silenced.1.clone()
        } else {
            Arc::new(self.silences.of(&live.row.alert.labels))
        };
        Muted { silenced_by, inhibited_by, maintenance: self.maintenance(live, now_ms) }
    }

    /// Until when the node of an alert is worked on, and why.
    fn maintenance(&self, live: &Live, now_ms: i64) -> Option<(i64, String)> {
        if self.config.maintenance.is_empty() {
            return None;
        }
        let instance = live.row.alert.labels.get("instance").map_or("", String::as_str);
        let nodes = live.place.as_ref().map_or(&[][..], |place| &place.nodes);
        let names = |id: &String, nodes: &BTreeSet<String>| {
            id.strip_prefix("node/").is_some_and(|name| nodes.contains(name))
        };
        let windows = self.config.maintenance.iter().filter(|window| {
            let is_there = |chain: &Vec<String>| chain.iter().any(|id| names(id, &window.nodes));
            let hangs_there = !nodes.is_empty() && nodes.iter().all(is_there);
            window.nodes.contains(instance) || hangs_there
        });
        let open = windows.filter_map(|w| Some((w.until(now_ms)?, w.comment.clone())));
        open.max()
    }

    /// Looks up which silences hold for an alert, when that may have changed.
    pub(super) fn refresh_silences(&mut self, fp: &str) {
        let version = self.silences.version();
        if let Some(live) = self.alerts.get_mut(fp)
            && live.silenced.0 != version
        {
            let ids = self.silences.of(&live.row.alert.labels);
            if *live.silenced.1 != ids {
                live.silenced.1 = Arc::new(ids);
            }
            live.silenced.0 = version;
        }
    }

    pub(super) fn is_acknowledged(&self, fp: &str, now_ms: i64) -> bool {
        let ack = self.acks.get(fp);
        ack.is_some_and(|ack| ack.until_ms.is_none_or(|until_ms| until_ms > now_ms))
    }

    pub(super) fn parts(&self, recipient: &str) -> Vec<Part> {
        self.config.recipients.get(recipient).cloned().unwrap_or_default()
    }

    #[expect(clippy::too_many_arguments, reason = "a message says all of it")]
    fn message(
        &self,
        id: &str,
        group: &Group,
        route: &Route,
        part: &Part,
        reason: Reason,
        heard: &Heard<'_>,
        now_ms: i64,
    ) -> Message {
        let firing = heard.firing.values();
        let resolved = heard.resolved.values().filter(|_| part.send_resolved);
        let mut list: Vec<&Live> = firing.chain(resolved).copied().collect();
        in_order(&mut list);
        let alerts_omitted = list.len().saturating_sub(MESSAGE_ALERTS_MAX);
        list.truncate(MESSAGE_ALERTS_MAX);
        let timeline = &group.row.timeline;
        Message {
            id: id.to_owned(),
            receiver: part.receiver.clone(),
            group_key: format!("{}:{}", route.key, label_set_text(&group.row.labels)),
            group_labels: group.row.labels.clone(),
            thread: id.to_owned(),
            reason,
            created_ms: now_ms,
            alerts: list.into_iter().map(told_alert).collect(),
            alerts_omitted,
            timeline: if timeline.len() > 1 { timeline.clone() } else { Vec::new() },
            told: match reason {
                Reason::Escalation => {
                    let told = group.row.told.keys();
                    told.filter(|receiver| **receiver != part.receiver).cloned().collect()
                }
                _ => Vec::new(),
            },
        }
    }

    /// Puts a message into the thread that its receiver has of the group.
    fn threaded(&self, mut message: Message, group: &Group, part: &Part) -> Message {
        if let Some(told) = group.row.told.get(&part.receiver) {
            message.thread.clone_from(&told.thread);
        }
        message
    }
}

/// An alert as it is shown: that it flaps is said in an annotation.
pub(super) fn shown(live: &Live) -> Notification {
    let mut alert = live.row.alert.clone();
    if let Some(flap) = &live.row.flapping {
        alert.annotations.insert(FLAPPING.to_owned(), flap.count.to_string());
    }
    alert
}

/// An alert as it is told: that it flaps is said where everybody reads it.
fn told_alert(live: &Live) -> Notification {
    let mut alert = shown(live);
    if let Some(flap) = &live.row.flapping
        && let Some(summary) = alert.annotations.get_mut("summary")
    {
        summary.push_str(&format!(" (flaps, begun {} times)", flap.count));
    }
    alert
}

impl Told {
    fn knows(&self, fp: &str) -> bool {
        self.firing.contains(fp) || self.firing.contains(&format!("{fp}~"))
    }

    fn forget(&mut self, fp: &str) {
        self.firing.remove(fp);
        self.firing.remove(&format!("{fp}~"));
    }
}

fn message_id(group: &str, receiver: &str, reason: Reason, now_ms: i64) -> String {
    let (reason, now) = (format!("{reason:?}"), now_ms.to_string());
    let parts = [group, receiver, reason.as_str(), now.as_str()];
    format!("{now_ms:x}-{:016x}", fnv(parts))
}

/// Enters into the account what a receiver is told, or would be if it wanted to hear of ends.
fn mark(
    row: &mut GroupRow,
    part: &Part,
    message_id: &str,
    reason: Reason,
    heard: &Heard<'_>,
    by_cause: bool,
    now_ms: i64,
) {
    let told = row.told.entry(part.receiver.clone()).or_default();
    if matches!(reason, Reason::New | Reason::Escalation) {
        *told = Told { thread: message_id.to_owned(), ..Told::default() };
    }
    told.at_ms = now_ms;
    told.escalated = reason == Reason::Escalation || told.escalated;
    told.resolved = heard.resolved_keys();
    told.gravest = told.gravest.max(heard.gravest());
    if by_cause && !heard.firing.is_empty() {
        // What was told of an incident stays told until all of it is over; an alert is in the
        // account either as flapping or not.
        for (fp, live) in &heard.firing {
            told.forget(fp);
            told.firing.insert(told_key(fp, live));
        }
    } else {
        told.firing = heard.firing_keys();
    }
}

/// What has been over for long, in an incident that goes on, is news when it begins again.
fn forget_old(row: &mut GroupRow, heard: &Heard<'_>, now_ms: i64) {
    for (fp, live) in &heard.resolved {
        let ends_at_ms = live.row.alert.ends_at_ms;
        if ends_at_ms.is_some_and(|ends_at_ms| ends_at_ms.saturating_add(EFFECT_QUIET_MS) <= now_ms)
        {
            row.told.values_mut().for_each(|told| told.forget(fp));
        }
    }
}

/// Enters into the timeline what has begun and ended. The first message begins a new one.
fn remember(row: &mut GroupRow, heard: &Heard<'_>) {
    if row.told.values().all(|told| told.firing.is_empty()) {
        row.timeline.clear();
    }
    for live in heard.firing.values().chain(heard.resolved.values()) {
        let alert = &live.row.alert;
        let mut add = |time_ms, status| {
            let text = alert.annotation("summary").unwrap_or(alert.name()).to_owned();
            let fingerprint = alert.fingerprint.clone();
            let known = row.timeline.iter().any(|event| {
                event.time_ms == time_ms
                    && event.status == status
                    && event.fingerprint == fingerprint
            });
            if !known {
                row.timeline.push(Event { time_ms, fingerprint, text, status });
            }
        };
        add(alert.starts_at_ms, Status::Firing);
        if let Some(ends_at_ms) = alert.ends_at_ms {
            add(ends_at_ms, Status::Resolved);
        }
        if row.timeline.len() > 2 * TIMELINE_MAX {
            shorten(&mut row.timeline);
        }
    }
    shorten(&mut row.timeline);
}

fn shorten(timeline: &mut Vec<Event>) {
    timeline.sort_by(|a, b| {
        (a.time_ms, &a.fingerprint, a.status).cmp(&(b.time_ms, &b.fingerprint, b.status))
    });
    let surplus = timeline.len().saturating_sub(TIMELINE_MAX);
    timeline.drain(1..=surplus).for_each(drop);
}

/// Those that fire first; the cause before what follows from it; the gravest, then the oldest.
fn in_order(list: &mut Vec<&Live>) {
    let mut broken: HashMap<&str, usize> = HashMap::new();
    for place in list.iter().filter(|live| live.breaks).filter_map(|live| live.place.as_ref()) {
        *broken.entry(place.id.as_str()).or_default() += 1;
    }
    let depth = |live: &Live| -> usize {
        let Some(place) = &live.place else { return 0 };
        if broken.is_empty() {
            return 0;
        }
        let own = usize::from(!live.breaks && broken.contains_key(place.id.as_str()));
        own + place.above.iter().filter(|id| broken.contains_key(id.as_str())).count()
    };
    list.sort_by_cached_key(|live| {
        let alert = &live.row.alert;
        let grave = std::cmp::Reverse(rank(alert));
        (!live.fires, depth(live), grave, alert.starts_at_ms, alert.fingerprint.clone())
    });
}

/// Whether two alerts about one thing say the same of it, each by what another node sees. What is about a
/// node or a cluster may be about anything there.
fn is_seen_from_elsewhere(alert: &Live, other: &Live) -> bool {
    let instance = |live: &Live| live.row.alert.labels.get("instance").cloned();
    let kind = alert.place.as_ref().map(|place| place.kind);
    !matches!(kind, None | Some(EntityKind::Node | EntityKind::Cluster))
        && alert.row.alert.name() == other.row.alert.name()
        && instance(alert) != instance(other)
}
