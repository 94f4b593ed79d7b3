//! Incidents: alerts that have one cause. An alert joins the incident
//!
//! - of another about the same thing (but not merely the same node or cluster);
//! - of one that says that something is broken on which the alert's thing hangs;
//! - of those that hang on what it says itself to be broken, when they began not long before: the
//!   cause often shows itself after its effects. Their incidents become one.
//!
//! All else begins an incident of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Manners;
use super::groups::group_id;
use super::route::Route;
use super::spec::{GroupBy, INCIDENT};
use super::state::{GroupRow, Live};
use super::topology::EntityKind;

/// How much later than its effects a cause may show itself: what began earlier has a cause of its
/// own.
pub(super) const CAUSE_LATE_MAX_MS: i64 = 30 * 60_000;

/// How much later than its cause an effect needs no message of its own: later ones may have
/// another cause, whatever hangs on what.
pub(super) const EFFECT_QUIET_MS: i64 = 60 * 60_000;

/// The most threads that are known to be about one incident besides its own: more than anybody has
/// on a screen.
const MERGED_MAX: usize = 64;

type Fingerprints = BTreeSet<String>;

/// Which firing alerts are about what, and which alerts make an incident.
#[derive(Debug, Default)]
pub(super) struct Relations {
    /// By thing: the alerts about it.
    on: HashMap<String, Fingerprints>,
    /// By thing: the alerts about what hangs on it.
    below: HashMap<String, Fingerprints>,
    /// By thing: the alerts that say that it is broken.
    broken: HashMap<String, Fingerprints>,
    /// By incident: its alerts, those that are over included.
    incidents: BTreeMap<String, Fingerprints>,
}

fn add(map: &mut HashMap<String, Fingerprints>, id: &str, fp: &str) {
    if let Some(set) = map.get_mut(id) {
        set.insert(fp.to_owned());
    } else {
        map.insert(id.to_owned(), BTreeSet::from([fp.to_owned()]));
    }
}

fn take(map: &mut HashMap<String, Fingerprints>, id: &str, fp: &str) {
    if let Some(set) = map.get_mut(id) {
        set.remove(fp);
        if set.is_empty() {
            map.remove(id);
        }
    }
}

impl Relations {
    /// An alert fires.
    pub(super) fn insert(&mut self, fp: &str, live: &Live) {
        let Some(place) = &live.place else { return };
        add(&mut self.on, &place.id, fp);
        for id in &place.above {
            add(&mut self.below, id, fp);
        }
        if live.breaks {
            add(&mut self.broken, &place.id, fp);
        }
    }

    /// An alert fires no more, or is about something else.
    pub(super) fn remove(&mut self, fp: &str, live: &Live) {
        let Some(place) = &live.place else { return };
        take(&mut self.on, &place.id, fp);
        take(&mut self.broken, &place.id, fp);
        for id in &place.above {
            take(&mut self.below, id, fp);
        }
    }

    /// An alert is of an incident.
    pub(super) fn belong(&mut self, incident: &str, fp: &str) {
        self.incidents.entry(incident.to_owned()).or_default().insert(fp.to_owned());
    }

    /// An alert is forgotten.
    pub(super) fn leave(&mut self, incident: &str, fp: &str) {
        if let Some(members) = self.incidents.get_mut(incident) {
            members.remove(fp);
            if members.is_empty() {
                self.incidents.remove(incident);
            }
        }
    }

    /// The alerts of an incident.
    pub(super) fn members(&self, incident: &str) -> impl Iterator<Item = &String> {
        self.incidents.get(incident).into_iter().flatten()
    }

    /// Adds one alert per node that this one hangs on, where all of those are down: then it says
    /// nothing that the node's own alert does not.
    pub(super) fn nodes_down(&self, fp: &str, live: &Live, found: &mut BTreeSet<String>) {
        let Some(place) = live.place.as_ref().filter(|place| !place.nodes.is_empty()) else {
            return;
        };
        if self.broken.is_empty() {
            return;
        }
        // That a node is down is not said by itself, but by the one that it runs on.
        let is_own = live.breaks && place.kind == EntityKind::Node;
        let down = |chain: &Vec<String>| {
            let mut nodes = chain.iter().filter(|node| !(is_own && **node == place.id));
            nodes.find_map(|node| self.broken.get(node)?.iter().find(|by| *by != fp))
        };
        let down: Vec<&String> = place.nodes.iter().filter_map(down).collect();
        if down.len() == place.nodes.len() {
            found.extend(down.into_iter().cloned());
        }
    }

    /// Adds the alerts that say that something is broken on which this one's thing hangs.
    fn causes<'a>(&'a self, live: &Live, found: &mut BTreeSet<&'a String>) {
        let Some(place) = &live.place else { return };
        for id in place.above.iter().chain([&place.id]) {
            found.extend(self.broken.get(id).into_iter().flatten());
        }
    }
}

impl Manners {
    /// The incident of an alert that begins. Where it ties several together they become one.
    pub(super) fn join(&mut self, fp: &str, live: &Live, now_ms: i64) -> String {
        let mut related = BTreeSet::new();
        self.relations.causes(live, &mut related);
        if let Some(place) = &live.place {
            let same = self.relations.on.get(&place.id).into_iter().flatten();
            if !matches!(place.kind, EntityKind::Node | EntityKind::Cluster) {
                related.extend(same.clone());
            }
            if live.breaks {
                let since_ms = live.row.alert.starts_at_ms.saturating_sub(CAUSE_LATE_MAX_MS);
                let late = |fp: &&String| {
                    let effect = self.alerts.get(*fp);
                    effect.is_some_and(|effect| effect.row.alert.starts_at_ms >= since_ms)
                };
                let below = self.relations.below.get(&place.id).into_iter().flatten();
                related.extend(below.chain(same).filter(late));
            }
        }
        let known = related.iter().filter_map(|fp| self.alerts.get(*fp));
        let incidents: BTreeMap<&String, i64> = known
            .filter(|other| !other.row.incident.is_empty())
            .map(|other| (&other.row.incident, other.row.alert.starts_at_ms))
            .collect();
        let first = incidents.iter().min_by_key(|(id, starts_at_ms)| (**starts_at_ms, **id));
        let Some((first, _)) = first else { return format!("{fp}-{now_ms:x}") };
        let first = (*first).clone();
        let others = incidents.keys().filter(|id| ***id != first);
        let others: Vec<String> = others.map(|id| (*id).clone()).collect();
        for other in others {
            self.merge(&other, &first, now_ms);
        }
        first
    }

    /// Makes the alerts of the incident `from` part of `into`, with what was told of them.
    fn merge(&mut self, from: &str, into: &str, now_ms: i64) {
        let members = self.relations.incidents.remove(from).unwrap_or_default();
        let mut moves: BTreeMap<String, String> = BTreeMap::new();
        for fp in &members {
            self.relations.belong(into, fp);
            self.dirty.alerts.insert(fp.clone());
            let Some(live) = self.alerts.get_mut(fp) else { continue };
            live.row.incident = into.to_owned();
            let mut groups = std::mem::take(&mut live.groups);
            groups.retain(|id| {
                let Some(group) = self.groups.get_mut(id) else { return false };
                let of_cause = group.row.labels.contains_key(INCIDENT);
                if of_cause {
                    group.alerts.remove(fp);
                    moves.insert(id.clone(), String::new());
                }
                !of_cause
            });
            if let Some(live) = self.alerts.get_mut(fp) {
                live.groups = groups;
            }
        }
        for (old, new) in &mut moves {
            let Some(group) = self.groups.get(old) else { continue };
            let Some(route) = self.config.tree.route(group.route).cloned() else { continue };
            let labels = BTreeMap::from([(INCIDENT.to_owned(), into.to_owned())]);
            *new = group_id(&route, &labels);
        }
        for fp in &members {
            self.route(fp, now_ms);
        }
        for (old, new) in moves {
            self.absorb(&old, &new, now_ms);
        }
    }

    /// Puts what one group has told to another's account, and ends it.
    fn absorb(&mut self, old: &str, new: &str, now_ms: i64) {
        let Some(gone) = self.groups.remove(old) else { return };
        self.due.remove(&(gone.next_ms, old.to_owned()));
        self.dirty.groups.insert(old.to_owned());
        let Some(group) = self.groups.get_mut(new) else { return };
        group.row.absorb(gone.row);
        let wait_ms = self.config.tree.route(group.route).map_or(0, |route| route.group_wait_ms);
        if group.row.done_ms.is_some() {
            group.row.kick(now_ms + wait_ms);
        }
        self.dirty.groups.insert(new.to_owned());
        self.reschedule(new);
    }

    /// Lets the groups by cause look at an alert before their turn.
    pub(super) fn kick(&mut self, fp: &str, now_ms: i64) {
        let Some(live) = self.alerts.get(fp) else { return };
        for id in live.groups.clone() {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            let Some(route) = self.config.tree.route(group.route) else { continue };
            if route.group_by != GroupBy::Incident || group.row.done_ms.is_none() {
                continue;
            }
            group.row.kick(now_ms + route.group_wait_ms);
            self.dirty.groups.insert(id.clone());
            self.reschedule(&id);
        }
    }

    /// The same where an alert's end is the end of all.
    pub(super) fn kick_if_over(&mut self, fp: &str, now_ms: i64) {
        let Some(live) = self.alerts.get(fp) else { return };
        let fires = |fp: &String| self.alerts.get(fp).is_some_and(|live| live.fires);
        let over =
            |id: &String| self.groups.get(id).is_some_and(|group| !group.alerts.iter().any(fires));
        if live.groups.iter().any(over) {
            self.kick(fp, now_ms);
        }
    }
}

impl GroupRow {
    pub(super) fn kick(&mut self, at_ms: i64) {
        self.kick_ms = Some(self.kick_ms.map_or(at_ms, |known_ms| known_ms.min(at_ms)));
    }

    pub(super) fn absorb(&mut self, gone: Self) {
        self.done_ms = self.done_ms.max(gone.done_ms);
        self.anchor_ms = self.anchor_ms.min(gone.anchor_ms);
        for (receiver, theirs) in gone.told {
            let ours = self.told.entry(receiver).or_insert_with(|| theirs.clone());
            ours.firing.extend(theirs.firing);
            ours.resolved.extend(theirs.resolved);
            ours.at_ms = ours.at_ms.max(theirs.at_ms);
            ours.gravest = ours.gravest.max(theirs.gravest);
            ours.escalated |= theirs.escalated;
            ours.merged.extend(theirs.merged);
            if theirs.thread != ours.thread {
                ours.merged.insert(theirs.thread);
            }
            // Their names begin with the time: the newest stay.
            while ours.merged.len() > MERGED_MAX {
                ours.merged.pop_first();
            }
        }
        self.timeline.extend(gone.timeline);
        self.timeline.sort_by_key(|event| event.time_ms);
        self.escalate_ms = match (self.escalate_ms, gone.escalate_ms) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}

impl Route {
    /// The labels of the group that an alert of an incident belongs to.
    pub(super) fn group_labels(
        &self,
        labels: &BTreeMap<String, String>,
        incident: &str,
    ) -> BTreeMap<String, String> {
        match &self.group_by {
            GroupBy::Incident => BTreeMap::from([(INCIDENT.to_owned(), incident.to_owned())]),
            GroupBy::All => labels.clone(),
            GroupBy::Labels(names) => {
                let named = names.iter().filter_map(|name| labels.get_key_value(name));
                named.map(|(name, value)| (name.clone(), value.clone())).collect()
            }
        }
    }
}
