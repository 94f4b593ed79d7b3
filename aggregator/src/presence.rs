//! Who is expected: every node ever heard of the present. Silence becomes `up{job,instance} 0`.
//!
//! A node is an `instance`; it is heard when a write brings samples of it, whatever their age, so
//! that one which delivers an hour's backlog counts as alive. It begins to be expected, and each of
//! its jobs, with a sample of the last hour: a history that is imported names machines that have
//! been gone for years. When it has been silent for three
//! times its usual interval (and at least half a minute), each look adds `up 0` for each of its
//! jobs, until it is heard again.
//!
//! Only a node's own words count: what a scraper notes when it finds nobody (`up 0`,
//! `scrape_duration_seconds`) and what rules make of old samples (`ALERTS`) come from elsewhere.
//!
//! Silence is not believed where nobody listened: after a start, a suspend or a jump of the clock
//! everybody gets their time anew. Who was down before stays down until heard.
//!
//! A late sample must never be refused because of that: it would be, had it the time of one of
//! our zeros and another value. Rounds of agents are aligned to whole seconds, so ours carry an
//! odd millisecond. What was delivered late then stands between the zeros: the node ran, and was
//! not heard at the time; both are true.
//!
//! Who sends what cannot be stored, as the disk is full or broken, is not silent. As what they send is
//! nowhere to be read, [`Presence::vouch`] says that they are there, for rules alone. They come back when
//! they are told to, or when their patience says so, so that their silence counts later.
//!
//! A cluster is no node, though it has an `instance`: the nodes that read it come and go, and whether
//! any does is told by its own figures.
//!
//! When the last sample of an `up` is a stale marker, its sender has ended the series on purpose.
//! From a scraper that means that the target was taken out of its configuration, so the job is
//! forgotten, and with its last job the node; where only its labels changed, the job goes on in another
//! series, of which nothing is said. A labstat agent ends all its series when it stops,
//! as it does when its machine is shut down: that is silence like any other and will be told. One
//! that ends a single job while others go on has lost a source for good, and the job is forgotten.
//! Any node is forgotten when somebody asks for it.
//!
//! Here is who is expected, who is silent and who is forgotten. What a write says of whom is in `heard`, what is
//! known of one node in `node`, what is stored in the place of the silent and of the forgotten in `last_words`.
//!
//! Pure: time and writes come in, writes go out.

mod heard;
mod last_words;
mod node;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use labstat_model::{WriteRequest, WriteView};
use serde::{Deserialize, Serialize};

pub(crate) use self::heard::{Urgent, is_own_word};
pub(crate) use self::last_words::{Forgotten, last_words, matchers_of};
pub(crate) use self::node::NodeView;

use self::heard::{Heard, Speakers, URGENT_MS, Up};
use self::last_words::{Why, end_of_zeros, up};
use self::node::{Job, Node, SILENCE_MIN_MS};
use crate::late::Latecomers;

/// Nodes kept. Far beyond any lab; a sender that invents instances must not take all memory.
pub(crate) const NODES_MAX: usize = 10_000;

/// Jobs kept of one node.
const JOBS_MAX: usize = 64;

/// How much later than due a look may come. More means that this machine slept or that its clock
/// was set, and it is half of the least silence, so that nobody is called silent for it.
const LOOK_DELAY_MAX_MS: i64 = SILENCE_MIN_MS / 2;

/// Jobs whose last words wait to be said; as many as an upheaval of a large lab may end while there is no
/// room to write. What is beyond is not said.
const FORGOTTEN_MAX: usize = NODES_MAX;

/// All nodes ever heard and not forgotten.
#[derive(Debug)]
pub(crate) struct Presence {
    nodes: BTreeMap<String, Node>,
    /// When this process began to listen: nobody could be heard before.
    since_ms: i64,
    /// When it was last looked for silence.
    looked_ms: i64,
    changed: bool,
    speakers: Speakers,
    latecomers: Latecomers,
    urgent: Urgent,
    /// Of whom the last words are not said yet.
    forgotten: BTreeSet<Forgotten>,
}

/// The version of what is kept; `docs/formats/presence.md` describes it.
const SNAPSHOT_VERSION: u32 = 1;

/// What is kept across a restart.
#[derive(Debug, Serialize, Deserialize)]
struct Snapshot {
    version: u32,
    nodes: BTreeMap<String, Node>,
    /// See [`Presence::forgotten`].
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    forgotten: BTreeSet<Forgotten>,
}

impl Presence {
    /// What is known from before, as [`Presence::snapshot`] gave it.
    pub(crate) fn restore(document: Option<&[u8]>, now_ms: i64) -> Self {
        // A document that does not read back is one of another version: what was expected is
        // learned again from the first writes.
        let snapshot = document.and_then(|json| serde_json::from_slice::<Snapshot>(json).ok());
        let known = snapshot.filter(|snapshot| snapshot.version == SNAPSHOT_VERSION);
        let (nodes, forgotten) =
            known.map(|known| (known.nodes, known.forgotten)).unwrap_or_default();
        Self {
            nodes,
            since_ms: now_ms,
            looked_ms: now_ms,
            changed: false,
            speakers: Speakers::default(),
            latecomers: Latecomers::default(),
            urgent: Urgent::default(),
            forgotten,
        }
    }

    /// What is known, to be kept.
    pub(crate) fn snapshot(&self) -> Vec<u8> {
        let snapshot = Snapshot {
            version: SNAPSHOT_VERSION,
            nodes: self.nodes.clone(),
            forgotten: self.forgotten.clone(),
        };
        // Maps of text and numbers always serialize.
        serde_json::to_vec(&snapshot).unwrap_or_default()
    }

    /// Whether nodes, jobs or states changed since this was last asked.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Takes note that what is known could not be kept.
    pub(crate) fn note_unkept(&mut self) {
        self.changed = true;
    }

    /// Takes note of a write that was stored. What it gives must be stored too: the ends of our
    /// zeros for those who are back and send no `up` of their own.
    pub(crate) fn observe(&mut self, write: &dyn WriteView, now_ms: i64) -> WriteRequest {
        let mut ends = WriteRequest::default();
        let fresh_ms = now_ms.saturating_sub(URGENT_MS);
        let all = self.speakers.hear(write, fresh_ms, &mut self.urgent);
        for (speaker, heard) in all.iter().filter(|(_, heard)| !heard.cluster) {
            if let Some(newest_ms) = heard.newest_ms {
                self.latecomers.note(&speaker.instance, newest_ms, now_ms);
            }
        }
        let live: BTreeSet<&str> = all
            .iter()
            .filter(|(_, heard)| heard.live)
            .map(|(speaker, _)| &*speaker.instance)
            .collect();
        for (speaker, heard) in all.iter().filter(|(_, heard)| !heard.cluster) {
            let (instance, job) = (&*speaker.instance, &*speaker.job);
            if heard.up == Some(Up::Ended) {
                let agent = self.nodes.get(instance).is_some_and(|node| node.agent);
                if !agent || live.contains(instance) {
                    self.forget_job(instance, job);
                }
            } else if heard.live {
                let ended = self.hear(instance, job, heard, now_ms);
                ends.series.extend(ended.then(|| end_of_zeros(instance, job, now_ms)));
            }
        }
        ends
    }

    /// Takes note of a write that could not be stored: those who sent it are there. What else it says is heard
    /// when it is sent again, and what has ended must be in the store for its last words.
    pub(crate) fn observe_refused(&mut self, write: &dyn WriteView, now_ms: i64) {
        for (speaker, heard) in self.speakers.hear(write, i64::MAX, &mut Urgent::default()) {
            let node = self.nodes.get_mut(&*speaker.instance);
            let Some(node) = node.filter(|_| heard.live && !heard.cluster) else { continue };
            node.heard_ms = now_ms;
            node.refused = true;
            self.changed |= node.down;
            node.down = false;
            if let Some(job) = node.jobs.get_mut(&*speaker.job) {
                job.refused_ms = Some(now_ms);
            }
        }
    }

    /// What cannot wait of the writes since this was last asked.
    pub(crate) fn take_urgent(&mut self) -> Option<Urgent> {
        let urgent = !self.urgent.metrics.is_empty();
        urgent.then(|| std::mem::take(&mut self.urgent))
    }

    /// Whether the last words of anybody are not said yet.
    pub(crate) fn has_forgotten(&self) -> bool {
        !self.forgotten.is_empty()
    }

    /// Whom nobody waits for any more and of whom it is not said yet; what is to be stored of them is said by
    /// [`last_words()`]. They stay until [`Presence::forgotten_said`], so that none is lost in between.
    pub(crate) fn forgotten(&mut self) -> BTreeSet<Forgotten> {
        let len = self.forgotten.len();
        // Who is heard again is not over. What its sender has ended is, whatever else goes on.
        self.forgotten.retain(|gone| {
            let node = self.nodes.get(&gone.instance);
            gone.why != Why::Asked || node.is_none_or(|node| !node.jobs.contains_key(&gone.job))
        });
        self.changed |= self.forgotten.len() < len;
        self.forgotten.clone()
    }

    /// Takes note that the last words of one are stored.
    pub(crate) fn forgotten_said(&mut self, gone: &Forgotten) {
        self.changed |= self.forgotten.remove(gone);
    }

    fn note_forgotten(&mut self, forgotten: impl IntoIterator<Item = Forgotten>) {
        self.changed = true;
        for gone in forgotten {
            if self.forgotten.len() < FORGOTTEN_MAX {
                self.forgotten.insert(gone);
            }
        }
    }

    /// See [`Latecomers::take_changed`].
    pub(crate) fn take_late(&mut self) -> Option<BTreeMap<String, i64>> {
        self.latecomers.take_changed()
    }

    /// Whether our zero for this job must be ended.
    fn hear(&mut self, instance: &str, job: &str, heard: &Heard, now_ms: i64) -> bool {
        let history = heard.is_history(now_ms);
        if !self.nodes.contains_key(instance) && (history || self.nodes.len() >= NODES_MAX) {
            return false;
        }
        let node = self.nodes.entry(instance.to_owned()).or_insert_with(|| {
            self.changed = true;
            Node::new(now_ms)
        });
        node.heard_ms = now_ms;
        if std::mem::take(&mut node.refused) {
            node.jobs.values_mut().for_each(|job| job.refused_ms = None);
        }
        node.agent |= heard.agent;
        self.changed |= node.down;
        node.down = false;
        if let Some(newest_ms) = heard.newest_ms {
            node.skew_ms = Some(newest_ms.saturating_sub(now_ms));
            node.note_time(newest_ms, now_ms);
        }
        if !node.jobs.contains_key(job) {
            if history || node.jobs.len() >= JOBS_MAX {
                return false;
            }
            self.changed = true;
            node.jobs.insert(job.to_owned(), Job::default());
        }
        let Some(job) = node.jobs.get_mut(job) else { return false };
        job.sends_up |= heard.up.is_some();
        std::mem::take(&mut job.marked) && !job.sends_up
    }

    /// Takes note of a look for silence, which comes every `interval_ms`, by the clock before
    /// [`Presence::tick`].
    pub(crate) fn look(&mut self, now_ms: i64, interval_ms: i64) {
        let late_ms = now_ms.saturating_sub(self.looked_ms).saturating_sub(interval_ms);
        if late_ms > LOOK_DELAY_MAX_MS {
            self.since_ms = now_ms;
        }
        if now_ms < self.looked_ms {
            // Times that lie ahead now would make a node look heard until they have come.
            self.since_ms = self.since_ms.min(now_ms);
            for node in self.nodes.values_mut() {
                node.heard_ms = node.heard_ms.min(now_ms);
            }
        }
        self.looked_ms = now_ms;
    }

    /// The zeros for all who are silent, to be stored.
    pub(crate) fn tick(&mut self, now_ms: i64) -> WriteRequest {
        let mut zeros = WriteRequest::default();
        // See the top of this file for the odd millisecond.
        let time_ms = now_ms | 1;
        for (instance, node) in &mut self.nodes {
            let silent_ms = now_ms.saturating_sub(node.heard_ms.max(self.since_ms));
            if !node.down && silent_ms <= node.silence_max_ms() {
                continue;
            }
            self.changed |= !node.down;
            node.down = true;
            for (job, state) in &mut node.jobs {
                state.marked = true;
                zeros.series.push(up(instance, job, time_ms, 0.0));
            }
        }
        zeros
    }

    /// What rules are to see of those whose own word of being there could not be stored. It is not to be stored
    /// either: they say it themselves, once there is room.
    pub(crate) fn vouch(&self, now_ms: i64) -> WriteRequest {
        let mut words = WriteRequest::default();
        // As with zeros.
        let time_ms = now_ms | 1;
        for (instance, node) in self.nodes.iter().filter(|(_, node)| node.refused && !node.down) {
            for (job, state) in node.jobs.iter().filter(|(_, state)| state.is_there(now_ms)) {
                // One that never says `up` is to be known by nothing but the end of our zero.
                let word = if state.sends_up {
                    Some(up(instance, job, time_ms, 1.0))
                } else {
                    state.marked.then(|| end_of_zeros(instance, job, time_ms))
                };
                words.series.extend(word);
            }
        }
        words
    }

    /// Forgets a node; false when there is none of that name.
    pub(crate) fn forget(&mut self, instance: &str) -> bool {
        let Some(node) = self.nodes.remove(instance) else { return false };
        let of = |job| Forgotten { instance: instance.to_owned(), job, why: Why::Asked };
        self.note_forgotten(node.jobs.into_keys().map(of));
        true
    }

    fn forget_job(&mut self, instance: &str, job: &str) {
        let Some(node) = self.nodes.get_mut(instance) else { return };
        let Some(Job { marked, .. }) = node.jobs.remove(job) else { return };
        if node.jobs.is_empty() {
            self.nodes.remove(instance);
        }
        let why = Why::Ended { marked };
        let gone = Forgotten { instance: instance.to_owned(), job: job.to_owned(), why };
        self.note_forgotten([gone]);
    }

    /// All nodes, by name.
    pub(crate) fn nodes(&self) -> Vec<NodeView> {
        self.nodes.iter().map(|(name, node)| node.view(name)).collect()
    }

    /// One node.
    pub(crate) fn node(&self, name: &str) -> Option<NodeView> {
        self.nodes.get(name).map(|node| node.view(name))
    }
}
