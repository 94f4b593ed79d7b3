//! What the lab is made of, beyond nodes and disks: arrays, pools, interfaces, OSDs and UPSes. Each that was
//! there for an hour is expected from then on, and its absence is told until it is back or somebody says
//! that it is gone for good.
//!
//! - Only where who tells of it is heard: a node that is down misses nothing, a collector that fails
//!   neither, and nor does a cluster that nobody reads. Whoever comes back has some time to find all.
//! - What is away is so by the time of who tells of it: its newest sample about anything is the present. A
//!   clock that is wrong and a backlog make nothing missing, and nor does a sleep of this machine.
//! - What was there for less than an hour was a trial, and is not expected; nor is an interface that was
//!   never up.
//! - What went and came back twice, each time for more than an hour, is carried in and out, as a pool on
//!   disks for backups: it is listed, and not expected any more.
//!
//! Here is what is expected and what is missing. What a thing is and which alerts are about it is in `thing`,
//! what samples say of things in `heard`. Nodes are in [`crate::presence`], disks in [`crate::disks`].
//!
//! Pure: the newest samples and the time come in, figures go out.

mod heard;
#[cfg(test)]
mod tests;
mod thing;

use std::collections::BTreeMap;

use labstat_model::Series;
use serde::{Deserialize, Serialize};

pub(crate) use self::heard::matchers;
pub(crate) use self::thing::Thing;

use self::heard::{Heard, Seen};
use self::thing::Name;
use crate::own::Figure;
use crate::presence::NodeView;

/// How long something must have been there to be expected.
const EXPECTED_AFTER_MS: i64 = 3_600_000;

/// How long it may be away before it is missing, and how long whoever comes back has to find it: a
/// collector that is not in a hurry looks once a minute, and an agent that is restarted takes a moment.
const MISSING_AFTER_MS: i64 = 120_000;

/// How far behind ours the time of a node may be. The samples about what one has that is further behind are
/// not looked for, so nothing can be said of them.
const BEHIND_MAX_MS: i64 = 3_600_000;

/// How far back a look goes beyond the time of who is furthest behind and the absence that is waited for:
/// what is just being delivered.
const BACK_MARGIN_MS: i64 = 60_000;

/// How much of its own time may pass for a node beyond ours between two looks, and how late one may come. More
/// means that a clock was set, that a backlog comes in, or that this machine slept: all have their time anew.
const JUMP_MAX_MS: i64 = 30_000;

/// An absence that makes something a thing that comes and goes.
const AWAY_MS: i64 = 3_600_000;

/// Things kept. Far beyond any lab; a sender that invents names must not take all memory.
const THINGS_MAX: usize = 20_000;

/// What is missing, and for how long.
const MISSING: &str = "labstat_inventory_missing_seconds";
const MISSING_HELP: &str =
    "For how long something that is expected has not been there, though who tells of it is.";

/// The version of what is kept; `docs/formats/inventory.md` describes it.
const SNAPSHOT_VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Snapshot {
    version: u32,
    things: Vec<Thing>,
}

/// A node that is expected, as a look wants to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Teller {
    /// Whether nothing of what it says is heard and stored.
    pub(crate) down: bool,
    /// The time of its newest sample, by its own clock.
    pub(crate) newest_ms: i64,
    /// How long it may be silent before it counts as down.
    pub(crate) silence_max_ms: i64,
}

impl From<&NodeView> for Teller {
    fn from(node: &NodeView) -> Self {
        let NodeView { newest_ms, silence_max_ms, .. } = *node;
        Self { down: !node.is_recorded(), newest_ms, silence_max_ms }
    }
}

impl Teller {
    /// How long what it tells of may be away.
    fn away_max_ms(&self) -> i64 {
        self.silence_max_ms.max(MISSING_AFTER_MS)
    }

    fn behind_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.newest_ms).max(0)
    }

    /// Whether it can be believed.
    fn is_heard(&self, now_ms: i64) -> bool {
        !self.down && self.behind_ms(now_ms) <= BEHIND_MAX_MS
    }
}

/// From when on a look needs samples.
pub(crate) fn from_ms(nodes: &BTreeMap<String, Teller>, now_ms: i64) -> i64 {
    let heard = nodes.values().filter(|node| node.is_heard(now_ms));
    let back = |node: &Teller| node.behind_ms(now_ms).saturating_add(node.away_max_ms());
    let back_ms = heard.map(back).max().unwrap_or(MISSING_AFTER_MS);
    now_ms.saturating_sub(back_ms).saturating_sub(BACK_MARGIN_MS)
}

/// What is known of a node or cluster that is heard.
#[derive(Debug, Clone, Copy)]
struct Hearing {
    /// Since when without a break, by our clock.
    since_ms: i64,
    /// The time of its newest sample, by its own; never ahead of ours.
    present_ms: i64,
    /// How long what it tells of may be away.
    away_max_ms: i64,
}

/// All things ever seen and not forgotten.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    things: BTreeMap<Name, Thing>,
    /// The nodes and clusters that are heard.
    hearings: BTreeMap<String, Hearing>,
    /// When the last look was.
    looked_ms: Option<i64>,
    changed: bool,
}

impl Inventory {
    /// What is known from before, as [`Inventory::snapshot`] gave it.
    pub(crate) fn restore(document: Option<&[u8]>) -> Self {
        // One that does not read back is of another version: what there is is learned again.
        let snapshot = document.and_then(|json| serde_json::from_slice::<Snapshot>(json).ok());
        let known = snapshot.filter(|snapshot| snapshot.version == SNAPSHOT_VERSION);
        let things = known.map_or_else(Vec::new, |snapshot| snapshot.things);
        let things = things.into_iter().map(|thing| (thing.name.clone(), thing)).collect();
        Self { things, ..Self::default() }
    }

    /// What is known, to be kept.
    pub(crate) fn snapshot(&self) -> Vec<u8> {
        let things = self.things.values().cloned().collect();
        let snapshot = Snapshot { version: SNAPSHOT_VERSION, things };
        // Text and numbers always serialize.
        serde_json::to_vec(&snapshot).unwrap_or_default()
    }

    /// Whether something came, went or was forgotten since this was last asked.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Takes note that what is known could not be kept.
    pub(crate) fn note_unkept(&mut self) {
        self.changed = true;
    }

    /// All things, by kind and name.
    pub(crate) fn things(&self) -> impl Iterator<Item = &Thing> {
        self.things.values()
    }

    /// Forgets one, if there is one of that name.
    pub(crate) fn forget(&mut self, kind: &str, instance: &str, name: &str) -> Option<Thing> {
        let is_meant = |known: &Name, _: &mut Thing| {
            known.kind.name() == kind && known.instance == instance && known.name == name
        };
        let (_, thing) = self.things.extract_if(.., is_meant).next()?;
        self.changed = true;
        Some(thing)
    }

    /// Forgets all that a node told of.
    pub(crate) fn forget_node(&mut self, instance: &str) {
        let before = self.things.len();
        self.things.retain(|known, _| known.instance != instance);
        self.changed |= self.things.len() < before;
    }

    /// Takes note of what the newest samples tell, of [`from_ms`] on. `nodes` are those that are expected, as
    /// they were before the samples were read: what they said until then is among them.
    pub(crate) fn look(
        &mut self,
        newest: &[Series],
        nodes: &BTreeMap<String, Teller>,
        interval_ms: i64,
        now_ms: i64,
    ) {
        let heard = Heard::of(newest);
        self.note_tellers(&heard, nodes, interval_ms, now_ms);
        for (name, seen) in &heard.things {
            self.note(name, seen, now_ms);
        }
        for thing in self.things.values_mut() {
            let name = &thing.name;
            let hearing = self.hearings.get(&name.instance);
            let fails = |collector: &str| {
                heard
                    .failing
                    .iter()
                    .any(|(instance, failing)| *instance == name.instance && failing == collector)
            };
            let believed = !name.kind.collectors().iter().any(|collector| fails(collector));
            let Some(hearing) = hearing.filter(|_| believed) else {
                // Nobody tells of it: what was missing stays so, and nothing new is.
                continue;
            };
            let is_away = |since_ms: i64, present_ms: i64| {
                present_ms.saturating_sub(since_ms) > hearing.away_max_ms
            };
            let is_missing = thing.expected
                && !thing.comes_and_goes()
                && is_away(thing.seen_ms, hearing.present_ms)
                && is_away(hearing.since_ms, now_ms);
            if is_missing && thing.missing_ms.is_none() {
                thing.missing_ms = Some(thing.seen_ms.max(hearing.since_ms));
                self.changed = true;
            }
        }
        // What was only tried out is not worth keeping.
        let things_len = self.things.len();
        self.things.retain(|_, thing| {
            thing.expected || now_ms.saturating_sub(thing.seen_ms) <= EXPECTED_AFTER_MS
        });
        self.changed |= self.things.len() < things_len;
    }

    fn note_tellers(
        &mut self,
        heard: &Heard,
        nodes: &BTreeMap<String, Teller>,
        interval_ms: i64,
        now_ms: i64,
    ) {
        let passed_ms = self.looked_ms.map_or(0, |looked_ms| now_ms.saturating_sub(looked_ms));
        let is_late = passed_ms.saturating_sub(interval_ms) > JUMP_MAX_MS;
        self.looked_ms = Some(now_ms);
        let up = nodes.iter().filter(|(_, node)| node.is_heard(now_ms));
        let up = up.map(|(name, node)| (name, node.newest_ms, node.away_max_ms()));
        let clusters = heard.clusters.iter();
        let clusters = clusters.map(|(name, newest_ms)| (name, *newest_ms, MISSING_AFTER_MS));
        let before = std::mem::take(&mut self.hearings);
        for (name, newest_ms, away_max_ms) in up.chain(clusters) {
            let present_ms = newest_ms.min(now_ms);
            let goes_on = before.get(name).filter(|before| {
                let ahead_ms = present_ms.saturating_sub(before.present_ms);
                !is_late && ahead_ms.saturating_sub(passed_ms) <= JUMP_MAX_MS
            });
            // A clock that was set back makes nobody silent.
            let since_ms = goes_on.map_or(now_ms, |before| before.since_ms.min(now_ms));
            self.hearings.insert(name.clone(), Hearing { since_ms, present_ms, away_max_ms });
        }
    }

    fn note(&mut self, name: &Name, seen: &Seen, now_ms: i64) {
        let at_ms = seen.at_ms.min(now_ms);
        // Who is not heard has no present of its own.
        let hearing = self.hearings.get(&name.instance);
        let (present_ms, away_max_ms) =
            hearing.map_or((now_ms, MISSING_AFTER_MS), |it| (it.present_ms, it.away_max_ms));
        let is_present = present_ms.saturating_sub(at_ms) <= away_max_ms;
        let is_full = self.things.len() >= THINGS_MAX;
        let thing = match self.things.get_mut(name) {
            Some(thing) => thing,
            None if is_full || !is_present => return,
            None => {
                self.changed = true;
                self.things.entry(name.clone()).or_insert_with(|| Thing {
                    name: name.clone(),
                    labels: seen.labels.clone(),
                    first_seen_ms: at_ms,
                    seen_ms: at_ms,
                    expected: false,
                    aways: 0,
                    missing_ms: None,
                })
            }
        };
        if at_ms < thing.seen_ms {
            return;
        }
        // What is found by a look after it went missing is back.
        let is_back = is_present && at_ms > thing.seen_ms;
        if let Some(missing_ms) = thing.missing_ms.filter(|_| is_back) {
            thing.aways += u32::from(at_ms.saturating_sub(missing_ms) > AWAY_MS);
            thing.missing_ms = None;
            self.changed = true;
        }
        thing.seen_ms = at_ms;
        let for_ms = at_ms.saturating_sub(thing.first_seen_ms);
        if !thing.expected && seen.in_use && for_ms >= EXPECTED_AFTER_MS {
            thing.expected = true;
            self.changed = true;
        }
    }

    /// What is missing, as figures. Nothing is told of what nodes miss that are down now, since it
    /// may be there.
    pub(crate) fn figures(&self, nodes: &BTreeMap<String, Teller>, now_ms: i64) -> Vec<Figure> {
        let is_down = |instance: &str| nodes.get(instance).is_some_and(|node| node.down);
        let missing = self.things.values().filter_map(|thing| Some((thing, thing.missing_ms?)));
        let missing = missing.filter(|(thing, _)| !is_down(&thing.name.instance));
        let figure = |(thing, since_ms): (&Thing, i64)| Figure {
            family: MISSING,
            help: MISSING_HELP,
            labels: thing.figure_labels(),
            value: crate::telemetry::seconds(now_ms.saturating_sub(since_ms).max(0)),
        };
        missing.map(figure).collect()
    }
}
