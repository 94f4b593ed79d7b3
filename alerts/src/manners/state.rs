//! What is remembered: alerts, groups, acknowledgements, and the rows they are kept as.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::topology::Place;
use crate::message::Event;
use crate::notification::Notification;

/// Where an alert comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Origin {
    /// Our rules: they say when it is over.
    Rules,
    /// It was posted with its end.
    Posted,
    /// It was posted without an end, and is over when it is not posted again.
    PostedOpen,
}

/// An alert as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct AlertRow {
    /// The alert; its status is what groups go by.
    pub(super) alert: Notification,
    pub(super) origin: Origin,
    /// When it was last heard of.
    pub(super) updated_ms: i64,
    /// When it is over, of posted ones that fire.
    pub(super) until_ms: Option<i64>,
    /// When it began, lately: what tells flapping.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) begins_ms: Vec<i64>,
    /// It begins and ends too often to be told each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) flapping: Option<FlapRow>,
    /// The incident it belongs to.
    pub(super) incident: String,
    /// Groups that have dropped it, since its end.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) left: BTreeSet<String>,
}

/// An alert that flaps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FlapRow {
    /// How often it has begun since it was quiet.
    pub(super) count: usize,
    /// When it last began or ended.
    pub(super) changed_ms: i64,
    /// When it ended, if it has: it is still held up as firing.
    pub(super) ended_ms: Option<i64>,
}

/// An alert and what follows from it.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub(super) row: AlertRow,
    /// Whether it fires, as far as groups are concerned.
    pub(super) fires: bool,
    pub(super) place: Option<Arc<Place>>,
    pub(super) breaks: bool,
    /// The routes that it takes.
    pub(super) routes: Arc<[usize]>,
    /// The groups that have it.
    pub(super) groups: BTreeSet<String>,
    /// The silences that hold for it, as of a version of theirs.
    pub(super) silenced: (u64, Arc<Vec<String>>),
    /// When its next deadline is.
    pub(super) deadline_ms: Option<i64>,
}

/// A group as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GroupRow {
    /// The route's id.
    pub(super) route: String,
    pub(super) labels: BTreeMap<String, String>,
    /// The first time it was or will be looked at; the others follow by the route's interval.
    pub(super) anchor_ms: i64,
    /// Up to when it has been looked at.
    pub(super) done_ms: Option<i64>,
    /// When it is to be looked at out of turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kick_ms: Option<i64>,
    /// What each receiver was told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) told: BTreeMap<String, Told>,
    /// What happened since the first message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) timeline: Vec<Event>,
    /// When somebody else is to hear of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) escalate_ms: Option<i64>,
}

/// What a receiver was told of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// Alerts that it believes to fire.
    pub(super) firing: BTreeSet<String>,
    /// Alerts that the last message told the end of.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) resolved: BTreeSet<String>,
    /// When it was told last.
    pub(super) at_ms: i64,
    /// The first message since all was well.
    pub(super) thread: String,
    /// The first messages about incidents that have become part of this one: their buttons mean it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) merged: BTreeSet<String>,
    /// The gravest that it was told of.
    #[serde(default)]
    pub(super) gravest: u8,
    /// Whether it is told because others did not acknowledge.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) escalated: bool,
}

impl Told {
    /// Whether this thread is about it.
    pub(super) fn is_of_thread(&self, id: &str) -> bool {
        self.thread == id || self.merged.contains(id)
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

/// A group at work.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) row: GroupRow,
    /// The number of its route in the tree.
    pub(super) route: usize,
    pub(super) alerts: BTreeSet<String>,
    /// When it is due, as it stands in the schedule.
    pub(super) next_ms: i64,
    /// The hash of the row as it was last written.
    pub(super) written: u64,
}

/// Somebody knows of an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Who.
    pub who: String,
    /// What they said.
    #[serde(default)]
    pub comment: String,
    /// When, in milliseconds.
    pub at_ms: i64,
    /// Until when it holds, in milliseconds; without it, to the alert's end.
    #[serde(default)]
    pub until_ms: Option<i64>,
}

/// How grave an alert is: 3 critical, 2 warning or unknown, 1 info.
pub(super) fn rank(alert: &Notification) -> u8 {
    use crate::notify::Severity;
    match Severity::parse(alert.severity()) {
        Some(Severity::Critical) => 3,
        Some(Severity::Warning) | None => 2,
        Some(Severity::Info) => 1,
    }
}
