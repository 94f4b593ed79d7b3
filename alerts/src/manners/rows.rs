//! Rows: how what is remembered is written, and read again. JSON, one row per alert, group,
//! silence and acknowledgement; `docs/formats/alert-state.md` describes them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::silences::Silence;
use super::state::{Acknowledgement, AlertRow, Group, GroupRow, Live, Origin};
use super::topology::{Graph, Topology};
use super::{Dirty, Manners, Step};
use crate::ledger::Entry;
use crate::message::Message;
use crate::notification::{Notification, Status};

const ALERT: &str = "alert/";
const GROUP: &str = "group/";
const SILENCE: &str = "silence/";
const ACK: &str = "ack/";
const TOPOLOGY: &str = "topology/";

/// The row of the topology.
const TOPOLOGY_ROW: &str = "topology/now";

fn encode<T: Serialize>(value: &T) -> Option<Vec<u8>> {
    serde_json::to_vec(value).inspect_err(log_unwritten).ok()
}

fn log_unwritten(error: &serde_json::Error) {
    tracing::error!(error = %error, "a row of the alerts could not be written");
}

/// FNV over bytes, to know a row that is as it was written.
fn checksum(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

impl Manners {
    /// The beginnings of the keys of all rows that are written here.
    pub const PREFIXES: [&'static str; 5] = [ALERT, GROUP, SILENCE, ACK, TOPOLOGY];

    /// Takes rows back. The keys of those that cannot be read are returned.
    pub(super) fn restore(&mut self, kept: Vec<(String, Vec<u8>)>, now_ms: i64) -> Vec<String> {
        let mut unreadable = Vec::new();
        let mut alerts = Vec::new();
        let mut groups = BTreeMap::new();
        for (key, value) in kept {
            let read = || -> Option<()> {
                if let Some(fp) = key.strip_prefix(ALERT) {
                    let row: AlertRow = decode(&value)?;
                    alerts.push((fp.to_owned(), row));
                } else if let Some(id) = key.strip_prefix(GROUP) {
                    let row: GroupRow = decode(&value)?;
                    groups.insert(id.to_owned(), (row, checksum(&value)));
                } else if let Some(id) = key.strip_prefix(SILENCE) {
                    let silence: Silence = decode(&value)?;
                    (silence.id == id).then_some(())?;
                    self.silences.restore(silence).ok()?;
                } else if let Some(fp) = key.strip_prefix(ACK) {
                    let ack: Acknowledgement = decode(&value)?;
                    self.acks.insert(fp.to_owned(), ack);
                } else if key == TOPOLOGY_ROW {
                    let topology: Topology = decode(&value)?;
                    self.graph = Graph::new(&topology);
                    self.topology = topology;
                }
                Some(())
            };
            if { read }().is_none() {
                tracing::error!(row = key, "a kept row of the alerts is unreadable, and left out");
                unreadable.push(key);
            }
        }
        self.silences.index(now_ms);
        for (fp, row) in alerts {
            self.restore_alert(&fp, row, now_ms);
        }
        let gone = self.acks.keys().filter(|fp| !self.alerts.get(*fp).is_some_and(|a| a.fires));
        let gone: Vec<String> = gone.cloned().collect();
        for fp in gone {
            self.acks.remove(&fp);
            self.dirty.acks.insert(fp);
        }
        self.rebuild(groups, now_ms);
        self.tick(now_ms);
        unreadable
    }

    fn restore_alert(&mut self, fp: &str, mut row: AlertRow, now_ms: i64) {
        // Nobody could post while nobody listened.
        let until_ms = now_ms.saturating_add(self.config.resolve_timeout_ms);
        row.until_ms = row.until_ms.map(|known_ms| known_ms.max(until_ms));
        let live = Live::new(row, &self.graph);
        if live.fires {
            self.relations.insert(fp, &live);
            if live.row.alert.name() == super::REFUSED_ALERT && live.row.origin == Origin::Rules {
                (self.refused, self.refused_ms) = (1, Some(live.row.updated_ms));
            }
        }
        self.relations.belong(&live.row.incident, fp);
        self.alerts.insert(fp.to_owned(), live);
        self.weigh(fp);
    }

    /// Finds the groups of all alerts anew; those of `rows` go on where they were.
    pub(super) fn rebuild(&mut self, rows: BTreeMap<String, (GroupRow, u64)>, now_ms: i64) {
        self.inhibitor = super::Inhibitor::new(self.config.inhibit.clone());
        self.finder = super::Finder::new(&self.config.tree);
        self.groups.clear();
        self.due.clear();
        self.deadlines.clear();
        let fingerprints: Vec<String> = self.alerts.keys().cloned().collect();
        for fp in &fingerprints {
            let Some(live) = self.alerts.get_mut(fp) else { continue };
            (live.groups, live.deadline_ms) = (BTreeSet::new(), None);
            if live.fires {
                self.inhibitor.begin(fp, &live.row.alert.labels);
            }
            self.route(fp, now_ms);
            self.schedule(fp);
        }
        for (id, (row, written)) in rows {
            // One that has no alerts any more is to be gone.
            self.dirty.groups.insert(id.clone());
            if let Some(group) = self.groups.get_mut(&id) {
                (group.row, group.written) = (row, written);
                self.reschedule(&id);
            }
        }
    }

    /// What has changed since the last step, as rows.
    pub(super) fn step(&mut self, messages: Vec<Message>) -> Step {
        let dirty = std::mem::take(&mut self.dirty);
        let Dirty { alerts, groups, acks, topology } = dirty;
        let mut entries = Vec::new();
        for fp in alerts {
            let row = self.alerts.get(&fp).and_then(|live| encode(&live.row));
            entries.push(Entry { key: format!("{ALERT}{fp}"), value: row });
        }
        for id in groups {
            let Some(group) = self.groups.get_mut(&id) else {
                entries.push(Entry::delete(format!("{GROUP}{id}")));
                continue;
            };
            let Some(row) = encode(&group.row) else { continue };
            let sum = checksum(&row);
            if sum != group.written {
                group.written = sum;
                entries.push(Entry::put(format!("{GROUP}{id}"), row));
            }
        }
        for id in self.silences.take_dirty() {
            let row = self.silences.get(&id).and_then(encode);
            entries.push(Entry { key: format!("{SILENCE}{id}"), value: row });
        }
        for fp in acks {
            let row = self.acks.get(&fp).and_then(encode);
            entries.push(Entry { key: format!("{ACK}{fp}"), value: row });
        }
        if topology && let Some(row) = encode(&self.topology) {
            entries.push(Entry::put(TOPOLOGY_ROW, row));
        }
        Step { entries, messages }
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

impl AlertRow {
    /// A new alert.
    pub(super) fn new(
        mut alert: Notification,
        origin: Origin,
        until_ms: Option<i64>,
        now_ms: i64,
    ) -> Self {
        alert.status = Status::Firing;
        Self {
            alert,
            origin,
            updated_ms: now_ms,
            until_ms,
            begins_ms: Vec::new(),
            flapping: None,
            incident: String::new(),
            left: BTreeSet::new(),
        }
    }
}

impl GroupRow {
    /// A new group, to be looked at first at `anchor_ms`.
    pub(super) fn new(route: String, labels: BTreeMap<String, String>, anchor_ms: i64) -> Self {
        Self {
            route,
            labels,
            anchor_ms,
            done_ms: None,
            kick_ms: None,
            told: BTreeMap::new(),
            timeline: Vec::new(),
            escalate_ms: None,
        }
    }

    /// Whether its turn has come, or it was called.
    pub(super) fn is_due(&self, interval_ms: i64, now_ms: i64) -> bool {
        self.turn_ms(interval_ms) <= now_ms || self.kick_ms.is_some_and(|kick_ms| kick_ms <= now_ms)
    }

    /// Its next turn: the first, or one a whole number of intervals after it.
    fn turn_ms(&self, interval_ms: i64) -> i64 {
        let Some(done_ms) = self.done_ms else { return self.anchor_ms };
        let interval_ms = interval_ms.max(1);
        // Both may be any number in a row: the next turn must come after the last look all the same.
        let into_ms =
            (i128::from(done_ms) - i128::from(self.anchor_ms)).rem_euclid(interval_ms.into());
        done_ms.saturating_add(interval_ms - i64::try_from(into_ms).unwrap_or(0))
    }

    /// When it is due next, for whatever reason.
    pub(super) fn next_ms(&self, interval_ms: i64) -> i64 {
        let out_of_turn = self.kick_ms.into_iter().chain(self.escalate_ms).min();
        let turn_ms = self.turn_ms(interval_ms);
        out_of_turn.map_or(turn_ms, |ms| ms.min(turn_ms))
    }
}

impl Group {
    /// Whether nothing more can become of it.
    pub(super) fn is_empty(&self) -> bool {
        self.alerts.is_empty()
    }
}
