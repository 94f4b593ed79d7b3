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
//! Pure: time and writes come in, writes go out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU16;
use std::sync::Arc;

use labstat_alerts::events::cannot_wait;
use labstat_model::{
    Labels, LabelsMemo, METRIC_NAME, Matcher, Sample, Series, SeriesView, TimeSeries, WriteRequest,
    WriteView, is_stale, stale_marker,
};
use serde::{Deserialize, Serialize};

use crate::disks::is_ours;
use crate::late::Latecomers;

/// Nodes kept. Far beyond any lab; a sender that invents instances must not take all memory.
pub(crate) const NODES_MAX: usize = 10_000;

/// Jobs kept of one node.
const JOBS_MAX: usize = 64;

/// Intervals remembered of one node; their median is its usual interval, so that one backlog or
/// one hiccup does not move it.
const INTERVALS_LEN: usize = 8;

/// Intervals that must be known before their median is believed.
const INTERVALS_MIN: usize = 3;

/// Usual intervals of silence before a node counts as down.
const INTERVALS_SILENT: i64 = 3;

/// The least silence that counts: a restart of an agent fits.
const SILENCE_MIN_MS: i64 = 30_000;

/// The silence that counts for a node whose interval is not known: the look-back of queries.
const SILENCE_UNKNOWN_MS: i64 = 300_000;

/// The longest silence that is waited for, whatever the interval.
const SILENCE_MAX_MS: i64 = 3_600_000;

/// The silence that counts for one whose write was refused: a full disk asks for a minute, and agents wait as
/// long at the most between two tries.
const SILENCE_REFUSED_MS: i64 = 180_000;

/// How much later than due a look may come. More means that this machine slept or that its clock
/// was set, and it is half of the least silence, so that nobody is called silent for it.
const LOOK_DELAY_MAX_MS: i64 = SILENCE_MIN_MS / 2;

/// How far from now a sample's time may be to tell something of its sender's interval. A backlog
/// comes in large parts, and a clock that is wrong may be right in a moment.
const FRESH_MS: i64 = SILENCE_UNKNOWN_MS;

/// A node or job of which only older samples than this were ever brought is history: nobody waits
/// for it.
const HISTORY_MS: i64 = 3_600_000;

/// What a scraper notes itself of whatever it scrapes.
const SCRAPERS_OWN: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// What rules make of a node's series.
const RULES_OWN: [&str; 2] = ["ALERTS", "ALERTS_FOR_STATE"];

/// Whether a metric is a node's own word: neither a scraper's note of it nor made by a rule.
pub(crate) fn is_own_word(metric: &str) -> bool {
    // A colon is the mark of a recording rule.
    !SCRAPERS_OWN.contains(&metric) && !RULES_OWN.contains(&metric) && !metric.contains(':')
}

/// Jobs whose last words wait to be said; as many as an upheaval of a large lab may end while there is no
/// room to write. What is beyond is not said.
const FORGOTTEN_MAX: usize = NODES_MAX;

/// Series whose place is remembered, 20 MB of memory at the most. When there are more, their
/// labels are read again now and then.
const SERIES_KNOWN_MAX: u32 = 512 * 1024;

/// Instances and jobs remembered with those series; beyond any lab, as [`NODES_MAX`].
const SPEAKERS_KNOWN_MAX: usize = 10 * NODES_MAX;

/// The series by which a cluster is known, which is no node: whichever node reads it, it has a name of its
/// own. It comes with every round that has anything of the cluster.
const CLUSTER_METRIC: &str = "labstat_ceph_reading_success";

/// What a cluster says of hosts, by their names: which disk an OSD of theirs has. They did not say it.
const OF_HOSTS: &str = "ceph_disk_occupation";

/// The series by which a labstat agent is known.
const AGENT_METRIC: &str = "labstat_collector_outcome";

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

/// A job of a node that nobody waits for any more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Forgotten {
    pub(crate) instance: String,
    pub(crate) job: String,
    pub(crate) why: Why,
}

/// Why nobody waits for a job any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    /// Somebody asked for it: all that is known of it is over.
    Asked,
    /// Its sender ended an `up` of it. It may have others that go on: a target that gets one more label has
    /// a new series, and the old one ends.
    Ended {
        /// Whether the last `up` of it that we know is our zero.
        marked: bool,
    },
}

/// Metrics that cannot wait, of which samples of the present came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Urgent {
    pub(crate) metrics: BTreeSet<Arc<str>>,
    /// The time of the newest of these samples.
    pub(crate) newest_ms: i64,
}

/// What is known of one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Node {
    jobs: BTreeMap<String, Job>,
    heard_ms: i64,
    newest_ms: i64,
    intervals_ms: Vec<i64>,
    down: bool,
    /// Whether a labstat agent sends for it.
    agent: bool,
    /// See [`NodeView::skew_ms`]; not known after a restart.
    #[serde(skip)]
    skew_ms: Option<i64>,
    /// See [`NodeView::refused`]; not known after a restart.
    #[serde(skip)]
    refused: bool,
}

/// One job of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Job {
    /// Whether it sends `up` itself. If not, our zero must be ended when it is heard again.
    sends_up: bool,
    /// Whether the last `up` of it that we know is our zero.
    marked: bool,
    /// When a write that could not be stored last brought it, since one of its node was stored.
    #[serde(skip)]
    refused_ms: Option<i64>,
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

/// A node as `/api/labstat/v1/nodes` tells of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NodeView {
    pub(crate) name: String,
    pub(crate) jobs: Vec<String>,
    /// When it was last heard.
    pub(crate) heard_ms: i64,
    /// The time of its newest sample.
    pub(crate) newest_ms: i64,
    /// How often it usually sends, when that is known.
    pub(crate) interval_ms: Option<i64>,
    /// How long it may be silent before it counts as down.
    pub(crate) silence_max_ms: i64,
    /// Whether it has been silent for too long.
    pub(crate) down: bool,
    /// How far the newest sample of its last write was ahead of our clock; behind when negative.
    pub(crate) skew_ms: Option<i64>,
    /// Whether what it last said could not be stored: it is there, and nothing is known of what it has.
    pub(crate) refused: bool,
}

impl NodeView {
    /// Whether what is missing in the history is missing: what it says is heard and kept.
    pub(crate) fn is_recorded(&self) -> bool {
        !self.down && !self.refused
    }
}

/// What one write says of one job of one node.
#[derive(Debug, Default)]
struct Heard {
    newest_ms: Option<i64>,
    /// A series goes on: its last sample is a value.
    live: bool,
    up: Option<Up>,
    agent: bool,
    cluster: bool,
}

impl Heard {
    /// See [`HISTORY_MS`].
    fn is_history(&self, now_ms: i64) -> bool {
        self.newest_ms.is_none_or(|newest_ms| newest_ms < now_ms.saturating_sub(HISTORY_MS))
    }
}

/// Ascending: where one series of a job ends and another goes on, the job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Up {
    Ended,
    Live,
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
    /// [`last_words`]. They stay until [`Presence::forgotten_said`], so that none is lost in between.
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
            Node {
                jobs: BTreeMap::new(),
                heard_ms: now_ms,
                newest_ms: i64::MIN,
                intervals_ms: Vec::new(),
                down: false,
                agent: false,
                skew_ms: None,
                refused: false,
            }
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
            let is_heard = |job: &Job| {
                job.refused_ms.is_some_and(|ms| now_ms.saturating_sub(ms) <= SILENCE_REFUSED_MS)
            };
            for (job, state) in node.jobs.iter().filter(|(_, state)| is_heard(state)) {
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

impl Node {
    fn note_time(&mut self, time_ms: i64, now_ms: i64) {
        if time_ms <= self.newest_ms || time_ms > now_ms.saturating_add(FRESH_MS) {
            return;
        }
        if self.newest_ms != i64::MIN && time_ms >= now_ms.saturating_sub(FRESH_MS) {
            if self.intervals_ms.len() >= INTERVALS_LEN {
                self.intervals_ms.remove(0);
            }
            self.intervals_ms.push(time_ms.saturating_sub(self.newest_ms));
        }
        self.newest_ms = time_ms;
    }

    fn interval_ms(&self) -> Option<i64> {
        if self.intervals_ms.len() < INTERVALS_MIN {
            return None;
        }
        let mut sorted = self.intervals_ms.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    fn silence_max_ms(&self) -> i64 {
        let usual = self.interval_ms().map(|ms| ms.saturating_mul(INTERVALS_SILENT));
        let least_ms = if self.refused { SILENCE_REFUSED_MS } else { SILENCE_MIN_MS };
        usual.unwrap_or(SILENCE_UNKNOWN_MS).clamp(least_ms, SILENCE_MAX_MS)
    }

    fn view(&self, name: &str) -> NodeView {
        NodeView {
            name: name.to_owned(),
            jobs: self.jobs.keys().cloned().collect(),
            heard_ms: self.heard_ms,
            newest_ms: self.newest_ms,
            interval_ms: self.interval_ms(),
            silence_max_ms: self.silence_max_ms(),
            down: self.down,
            skew_ms: self.skew_ms,
            refused: self.refused,
        }
    }
}

/// Who says what: the instance and job of every series, remembered by the hash of its labels, so
/// that those are read once and not with every write.
#[derive(Debug)]
struct Speakers {
    series: LabelsMemo<Voice>,
    /// Each of them once; [`Voice::speaker`] is an index.
    speakers: Vec<Arc<Speaker>>,
    by_name: HashMap<Arc<Speaker>, u32>,
    /// Where each speaker stands among those of the write at hand; [`UNHEARD`] for most.
    places: Vec<u32>,
    /// Metrics that cannot wait.
    urgent: Vec<Arc<str>>,
}

/// An instance and a job.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Speaker {
    instance: Box<str>,
    job: Box<str>,
}

/// What one series is to presence.
#[derive(Debug, Clone, Copy)]
struct Voice {
    speaker: u32,
    word: Word,
    /// The place of its metric in [`Speakers::urgent`], counted from 1, where it cannot wait.
    urgent: Option<NonZeroU16>,
}

/// What a series may say of its speaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// Its `up`.
    Up,
    /// Its own word.
    Own,
    /// Its own word, and only a labstat agent says it.
    Agent,
    /// Its own word, and only a cluster has it.
    Cluster,
    /// What others say of it, or nothing, as there is no instance.
    Others,
}

/// Samples of what cannot wait that are older tell of the past: a backlog.
const URGENT_MS: i64 = 60_000;

/// Metrics that cannot wait, remembered with the series; an exporter has tens.
const URGENT_MAX: usize = 1_000;

/// No place in [`Speakers::places`].
const UNHEARD: u32 = u32::MAX;

impl Default for Speakers {
    fn default() -> Self {
        Self {
            series: LabelsMemo::new(SERIES_KNOWN_MAX),
            speakers: Vec::new(),
            by_name: HashMap::new(),
            places: Vec::new(),
            urgent: Vec::new(),
        }
    }
}

impl Speakers {
    /// What a write says, by instance and job, in the order of their first word.
    ///
    /// What cannot wait and is not older than `fresh_ms` is added to `urgent`.
    fn hear(
        &mut self,
        write: &dyn WriteView,
        fresh_ms: i64,
        urgent: &mut Urgent,
    ) -> Vec<(Arc<Speaker>, Heard)> {
        let mut found: Vec<(u32, Heard)> = Vec::new();
        for at in 0..write.series_len() {
            let Some(SeriesView { hash, samples }) = write.series(at) else { continue };
            let Some(voice) = self.series.get(hash).or_else(|| self.learn(write, at)) else {
                continue;
            };
            if let Some(at) = voice.urgent {
                self.hear_urgent(at, samples, fresh_ms, urgent);
            }
            // Nobody's voice has no place.
            let Some(place) = self.places.get_mut(voice.speaker as usize) else { continue };
            if *place == UNHEARD {
                *place = u32::try_from(found.len()).unwrap_or(UNHEARD);
                found.push((voice.speaker, Heard::default()));
            }
            let newest = samples.iter().max_by_key(|sample| sample.time_ms);
            if let (Some((_, heard)), Some(newest)) = (found.get_mut(*place as usize), newest) {
                heard.note(voice.word, *newest);
            }
        }
        let named = |(speaker, heard): (u32, Heard)| {
            let at = speaker as usize;
            if let Some(place) = self.places.get_mut(at) {
                *place = UNHEARD;
            }
            self.speakers.get(at).map(|speaker| (Arc::clone(speaker), heard))
        };
        let found = found.into_iter().filter_map(named).collect();
        if self.speakers.len() > SPEAKERS_KNOWN_MAX {
            *self = Self::default();
        }
        found
    }

    fn hear_urgent(&self, at: NonZeroU16, samples: &[Sample], fresh_ms: i64, urgent: &mut Urgent) {
        let newest_ms = samples.iter().map(|sample| sample.time_ms).max().unwrap_or(i64::MIN);
        if newest_ms >= fresh_ms {
            urgent.newest_ms = urgent.newest_ms.max(newest_ms);
            let metric = self.urgent.get(usize::from(at.get()) - 1);
            if let Some(metric) = metric.filter(|metric| !urgent.metrics.contains(*metric)) {
                urgent.metrics.insert(metric.clone());
            }
        }
    }

    /// The place of a metric among those that cannot wait; `None` for one that can.
    fn urgent(&mut self, metric: &str) -> Option<NonZeroU16> {
        if !cannot_wait(metric) {
            return None;
        }
        let at = self.urgent.iter().position(|known| &**known == metric).or_else(|| {
            let is_room = self.urgent.len() < URGENT_MAX;
            is_room.then(|| {
                self.urgent.push(metric.into());
                self.urgent.len() - 1
            })
        });
        at.and_then(|at| NonZeroU16::new(u16::try_from(at + 1).ok()?))
    }

    /// Reads the labels of a series and remembers what it is; `None` when they are bad.
    fn learn(&mut self, write: &dyn WriteView, at: usize) -> Option<Voice> {
        let (hash, labels) = (write.series(at)?.hash, write.labels(at).ok()?);
        let (name, instance, job) = identity(&labels);
        let word = Word::of(name);
        let speaker = if instance.is_empty() { UNHEARD } else { self.speaker(instance, job) };
        let voice = Voice { speaker, word, urgent: self.urgent(name) };
        self.series.insert(hash, voice);
        Some(voice)
    }

    fn speaker(&mut self, instance: &str, job: &str) -> u32 {
        let speaker = Arc::new(Speaker { instance: instance.into(), job: job.into() });
        if let Some(&known) = self.by_name.get(&speaker) {
            return known;
        }
        let at = u32::try_from(self.speakers.len()).unwrap_or(UNHEARD);
        self.by_name.insert(Arc::clone(&speaker), at);
        self.speakers.push(speaker);
        self.places.push(UNHEARD);
        at
    }
}

impl Word {
    fn of(metric: &str) -> Self {
        match metric {
            "up" => Self::Up,
            AGENT_METRIC => Self::Agent,
            CLUSTER_METRIC => Self::Cluster,
            name if name.starts_with(OF_HOSTS) => Self::Others,
            // What we think of its disks comes back from whoever scrapes us.
            name if is_own_word(name) && !is_ours(name) => Self::Own,
            _ => Self::Others,
        }
    }
}

impl Heard {
    fn note(&mut self, word: Word, newest: Sample) {
        let ended = is_stale(newest.value);
        self.cluster |= word == Word::Cluster;
        if word == Word::Up {
            self.up = self.up.max(Some(if ended { Up::Ended } else { Up::Live }));
        }
        // A scraper's `up` of 0 says that it found nobody.
        let is_silent = word == Word::Up && newest.value == 0.0;
        if ended || is_silent || word == Word::Others {
            return;
        }
        self.live = true;
        self.newest_ms = self.newest_ms.max(Some(newest.time_ms));
        self.agent |= word == Word::Agent;
    }
}

/// The metric name, the instance and the job, in one walk over the labels.
fn identity(labels: &Labels) -> (&str, &str, &str) {
    let (mut metric, mut instance, mut job) = ("", "", "");
    for (name, value) in labels.iter() {
        match name {
            METRIC_NAME => metric = value,
            "instance" => instance = value,
            "job" => job = value,
            _ => {}
        }
    }
    (metric, instance, job)
}

/// Ends our zeros, one that was made in this very millisecond included.
fn end_of_zeros(instance: &str, job: &str, now_ms: i64) -> TimeSeries {
    up(instance, job, (now_ms | 1).saturating_add(2), stale_marker())
}

/// The last words of whom nobody waits for any more: a zero, and its end. Who asks for the last value of a day
/// does not see ends, and would find that a node that was taken out has not been down, and is silent. They
/// are said of each `up` that is `known` of the job, with its newest sample: a scraper adds labels of its own.
/// Where the sender has ended one, they are not said of what goes on.
pub(crate) fn last_words(gone: &Forgotten, known: Vec<Series>, now_ms: i64) -> WriteRequest {
    let own = up(&gone.instance, &gone.job, now_ms, 0.0).labels;
    let ours = match gone.why {
        Why::Asked => true,
        Why::Ended { marked } => marked,
    };
    let mut newest_ms = BTreeMap::new();
    if ours {
        newest_ms.insert(own.clone(), now_ms);
    }
    for series in known {
        let Some(last) = series.samples().last() else { continue };
        let is_over = gone.why == Why::Asked || is_stale(last.value);
        if is_over || (ours && series.labels == own) {
            newest_ms.insert(series.labels, now_ms.max(last.time_ms));
        }
    }
    let ends = newest_ms.into_iter().map(|(labels, last_ms)| {
        let zero_ms = (last_ms | 1).saturating_add(2);
        let end = Sample { time_ms: zero_ms.saturating_add(2), value: stale_marker() };
        TimeSeries { labels, samples: vec![Sample { time_ms: zero_ms, value: 0.0 }, end] }
    });
    WriteRequest { series: ends.collect(), metadata: Vec::new() }
}

/// Finds the `up` of a job, whatever other labels it has.
pub(crate) fn matchers_of(gone: &Forgotten) -> [Matcher; 3] {
    [(METRIC_NAME, "up"), ("instance", &gone.instance), ("job", &gone.job)]
        .map(|(name, value)| Matcher::equal(name, value))
}

fn up(instance: &str, job: &str, time_ms: i64, value: f64) -> TimeSeries {
    let labels = Labels::new([(METRIC_NAME, "up"), ("instance", instance), ("job", job)]);
    TimeSeries { labels, samples: vec![Sample { time_ms, value }] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_wait_is_heard_once_and_a_backlog_of_it_is_not() {
        let mut presence = Presence::restore(None, 0);
        let now_ms = 1_000_000;
        let md = series("node_md_disks", "node", now_ms - 2_000, 1.0);
        let load = series("node_load1", "node", now_ms - 1_000, 1.0);
        presence.observe(&write(vec![md.clone(), load, md.clone()]), now_ms);
        let urgent = presence.take_urgent().unwrap();
        assert_eq!(urgent.metrics.iter().map(|m| &**m).collect::<Vec<_>>(), ["node_md_disks"]);
        assert_eq!(urgent.newest_ms, now_ms - 2_000);
        assert_eq!(presence.take_urgent(), None);
        assert_eq!(presence.take_late(), None);
        presence.observe(&write(vec![md]), now_ms + 600_000);
        assert_eq!(presence.take_urgent(), None, "what is of the past has waited already");
        let late = presence.take_late().unwrap();
        assert_eq!(late.len(), 1, "{late:?}");
    }

    fn series(name: &str, job: &str, time_ms: i64, value: f64) -> TimeSeries {
        let labels = Labels::new([(METRIC_NAME, name), ("instance", "vertex"), ("job", job)]);
        TimeSeries { labels, samples: vec![Sample { time_ms, value }] }
    }

    fn write(series: Vec<TimeSeries>) -> WriteRequest {
        WriteRequest { series, metadata: Vec::new() }
    }

    /// Rounds every 10 s, up to and including `last_ms`.
    fn rounds(presence: &mut Presence, name: &str, last_ms: i64) {
        for time_ms in (0..=last_ms).step_by(10_000) {
            let ends = presence.observe(&write(vec![series(name, "node", time_ms, 1.0)]), time_ms);
            assert!(ends.series.is_empty());
        }
    }

    #[test]
    fn silence_of_three_intervals_is_a_zero_each_look() {
        let mut presence = Presence::restore(None, 0);
        rounds(&mut presence, "up", 100_000);
        assert!(presence.tick(130_000).series.is_empty(), "30 s are within the bound");
        let zeros = presence.tick(131_000);
        assert_eq!(zeros.series, [up("vertex", "node", 131_001, 0.0)]);
        assert_eq!(presence.tick(141_000).series.len(), 1);
        assert!(presence.nodes().iter().all(|node| node.down));
        let back = write(vec![series("up", "node", 150_000, 1.0)]);
        assert!(presence.observe(&back, 150_000).series.is_empty(), "its own up takes over");
        assert!(presence.tick(160_000).series.is_empty());
    }

    #[test]
    fn who_sends_what_cannot_be_stored_is_there() {
        let mut presence = Presence::restore(None, 0);
        rounds(&mut presence, "load", 100_000);
        for time_ms in (110_000..=200_000).step_by(10_000) {
            let round = [series("load", "node", time_ms, 1.0), series("load", "new", time_ms, 1.0)];
            presence.observe_refused(&write(round.to_vec()), time_ms);
            assert!(presence.tick(time_ms + 1_000).series.is_empty());
        }
        let node = presence.node("vertex").unwrap();
        assert_eq!((node.down, node.is_recorded(), node.newest_ms), (false, false, 100_000));
        assert_eq!(node.jobs, ["node"], "what is new is so when it is stored");
        let end = series("up", "node", 205_000, stale_marker());
        presence.observe_refused(&write(vec![end]), 205_000);
        assert!(said_of(&mut presence).is_empty(), "and what ends has ended then");
        assert!(presence.tick(380_000).series.is_empty(), "it was told to wait for a minute");
        assert_eq!(presence.tick(380_001).series.len(), 1, "silence is silence");
        presence.observe_refused(&write(vec![series("load", "node", 401_000, 1.0)]), 401_000);
        let back = write(vec![series("load", "node", 410_000, 1.0)]);
        assert_eq!(presence.observe(&back, 410_000).series.len(), 1, "our zero still has to end");
        assert!(presence.node("vertex").unwrap().is_recorded());
    }

    #[test]
    fn who_cannot_be_stored_is_vouched_for_while_it_sends() {
        let mut presence = Presence::restore(None, 0);
        for time_ms in (100_000..=140_000).step_by(10_000) {
            let of = |job| series("up", job, time_ms, 1.0);
            let round = vec![of("node"), of("ceph"), series("load", "telegraf", time_ms, 1.0)];
            presence.observe(&write(round), time_ms);
        }
        assert!(presence.vouch(150_000).series.is_empty(), "its own word is stored");
        let refuse = |presence: &mut Presence, time_ms: i64, jobs: &[&str]| {
            let round = jobs.iter().map(|job| series("load", job, time_ms, 1.0)).collect();
            presence.observe_refused(&write(round), time_ms);
        };
        let vouched = |presence: &Presence, now_ms: i64| -> Vec<(String, f64)> {
            let words = presence.vouch(now_ms).series;
            let word = |word: &TimeSeries| {
                (word.labels.get("job").unwrap().to_owned(), word.samples[0].value)
            };
            words.iter().map(word).collect()
        };
        refuse(&mut presence, 200_000, &["node", "telegraf"]);
        // Of `ceph` nothing was heard, and what never says `up` would be missed once it is stored again.
        assert_eq!(vouched(&presence, 260_000), [("node".to_owned(), 1.0)]);
        refuse(&mut presence, 300_000, &["ceph"]);
        let both = [("ceph".to_owned(), 1.0), ("node".to_owned(), 1.0)];
        assert_eq!(vouched(&presence, 301_000), both);
        assert_eq!(vouched(&presence, 390_000), both[..1], "one job is silent");
        assert_eq!(presence.tick(490_000).series.len(), 3);
        assert!(vouched(&presence, 490_000).is_empty(), "it is silent");
        refuse(&mut presence, 500_000, &["telegraf"]);
        let words = presence.vouch(501_000).series;
        assert!(words.len() == 1 && is_stale(words[0].samples[0].value), "our zero is over");
        presence.observe(&write(vec![series("load", "telegraf", 510_000, 1.0)]), 510_000);
        assert!(presence.vouch(511_000).series.is_empty(), "its own word is stored again");
    }

    #[test]
    fn our_zero_ends_when_one_is_back_that_sends_no_up() {
        let mut presence = Presence::restore(None, 0);
        rounds(&mut presence, "load", 100_000);
        assert_eq!(presence.tick(140_000).series.len(), 1);
        let back = write(vec![series("load", "node", 150_000, 1.0)]);
        let ends = presence.observe(&back, 150_000);
        assert!(ends.series.iter().all(|series| series.samples.iter().all(|s| is_stale(s.value))));
        assert_eq!(ends.series.len(), 1);
        assert!(presence.observe(&back, 151_000).series.is_empty(), "once");
    }

    #[test]
    fn zeros_never_have_the_time_of_a_round() {
        let mut presence = Presence::restore(None, 0);
        rounds(&mut presence, "up", 100_000);
        for now_ms in (140_000..200_000).step_by(1_000) {
            for series in presence.tick(now_ms).series {
                assert!(series.samples.iter().all(|sample| sample.time_ms % 1_000 != 0));
            }
        }
    }

    #[test]
    fn an_ended_up_forgets_the_job_and_the_rest_of_that_write_does_not_bring_it_back() {
        let mut presence = Presence::restore(None, 0);
        rounds(&mut presence, "up", 50_000);
        let stale = stale_marker();
        let end = vec![series("load", "node", 60_000, stale), series("up", "node", 60_000, stale)];
        presence.observe(&write(end), 60_000);
        assert!(presence.nodes().is_empty());
        let ended = Forgotten { why: Why::Ended { marked: false }, ..vertex() };
        assert_eq!(said_of(&mut presence), [ended].into(), "its alerts end with it");
        assert!(presence.tick(1_000_000).series.is_empty());
    }

    #[test]
    fn an_agent_that_stops_is_silent_and_one_that_loses_a_job_is_not() {
        let mut presence = Presence::restore(None, 0);
        for time_ms in (0..=100_000).step_by(10_000) {
            let jobs = ["node", "ceph"].map(|job| series("up", job, time_ms, 1.0));
            let outcome = series(AGENT_METRIC, "node", time_ms, 1.0);
            presence.observe(&write(jobs.into_iter().chain([outcome]).collect()), time_ms);
        }
        let stale = stale_marker();
        let lost = vec![series("up", "ceph", 110_000, stale), series("up", "node", 110_000, 1.0)];
        presence.observe(&write(lost), 110_000);
        assert_eq!(presence.node("vertex").unwrap().jobs, ["node"]);
        assert_eq!(said_of(&mut presence).first().unwrap().job, "ceph");
        presence.observe(&write(vec![series("up", "node", 120_000, stale)]), 120_000);
        assert_eq!(presence.tick(160_000).series, [up("vertex", "node", 160_001, 0.0)]);
        assert!(said_of(&mut presence).is_empty(), "a machine that is shut down is waited for");
    }

    #[test]
    fn a_series_that_ends_does_not_make_a_node() {
        let mut presence = Presence::restore(None, 0);
        presence.observe(&write(vec![series("load", "node", 0, stale_marker())]), 0);
        assert!(presence.nodes().is_empty());
    }

    #[test]
    fn history_that_is_imported_makes_nobody_expected() {
        const NOW_MS: i64 = 1_000 * HISTORY_MS;
        let mut presence = Presence::restore(None, NOW_MS);
        let old = write(vec![series("load", "node", NOW_MS - HISTORY_MS - 1, 1.0)]);
        assert!(presence.observe(&old, NOW_MS).series.is_empty());
        assert!(presence.nodes().is_empty());
        let fresh = write(vec![series("load", "node", NOW_MS - HISTORY_MS, 1.0)]);
        presence.observe(&fresh, NOW_MS);
        let old = write(vec![series("load", "gone", NOW_MS - HISTORY_MS - 1, 1.0)]);
        presence.observe(&old, NOW_MS);
        let jobs: Vec<_> = presence.nodes().into_iter().flat_map(|node| node.jobs).collect();
        assert_eq!(jobs, ["node"], "nor does a job that is gone");
        presence.observe(&old, NOW_MS + HISTORY_MS);
        assert!(presence.tick(NOW_MS + HISTORY_MS + 1).series.is_empty(), "a backlog is a word");
    }

    #[test]
    fn how_far_a_clock_is_away_is_known_by_the_last_write() {
        let mut presence = Presence::restore(None, 0);
        rounds(&mut presence, "up", 100_000);
        assert_eq!(presence.nodes()[0].skew_ms, Some(0));
        presence.observe(&write(vec![series("up", "node", 100_000, 1.0)]), 190_000);
        assert_eq!(presence.nodes()[0].skew_ms, Some(-90_000), "behind");
        presence.observe(&write(vec![series("up", "node", 4_000_000, 1.0)]), 200_000);
        assert_eq!(presence.nodes()[0].skew_ms, Some(3_800_000), "ahead");
    }

    #[test]
    fn what_is_known_survives_a_restart_and_gets_time_to_come_back() {
        let mut before = Presence::restore(None, 0);
        rounds(&mut before, "up", 100_000);
        let document = before.snapshot();
        let mut after = Presence::restore(Some(&document), 1_000_000);
        let skewless = |node: NodeView| NodeView { skew_ms: None, ..node };
        let known: Vec<NodeView> = before.nodes().into_iter().map(skewless).collect();
        assert_eq!(after.nodes(), known);
        assert!(after.tick(1_030_000).series.is_empty(), "nobody could be heard before");
        assert_eq!(after.tick(1_031_000).series.len(), 1);
        assert!(Presence::restore(Some(b"{broken"), 0).nodes().is_empty());
    }

    /// What an earlier release kept must be read for as long as its version is known.
    #[test]
    fn version_1_is_read_as_documented() {
        let page = include_str!("../../docs/formats/presence.md");
        let (_, rest) = page.split_once("```json\n").unwrap();
        let (document, _) = rest.split_once("```").unwrap();
        let mut presence = Presence::restore(Some(document.as_bytes()), 0);
        let apex = Forgotten { instance: "apex".to_owned(), ..vertex() };
        assert_eq!(said_of(&mut presence), [apex].into());
        let node = presence.node("vertex").unwrap();
        assert_eq!(node.jobs, ["node", "smartctl"]);
        assert_eq!(node.interval_ms, Some(10_000));
        let other = document.replace("\"version\": 1", "\"version\": 2");
        assert!(Presence::restore(Some(other.as_bytes()), 0).nodes().is_empty());
    }

    #[test]
    fn a_backlog_counts_as_being_heard_and_does_not_stretch_the_interval() {
        let mut presence = Presence::restore(None, 0);
        rounds(&mut presence, "up", 100_000);
        let backlog = write(vec![series("up", "node", 400_000, 1.0)]);
        presence.observe(&backlog, 900_000);
        let node = presence.node("vertex").unwrap();
        assert_eq!(node.interval_ms, Some(10_000));
        assert_eq!(node.heard_ms, 900_000);
        assert_eq!(node.newest_ms, 400_000);
    }

    #[test]
    fn a_long_backlog_in_parts_does_not_stretch_the_interval_either() {
        let mut presence = Presence::restore(None, 0);
        rounds(&mut presence, "up", 100_000);
        for part in 1..=10 {
            let newest = write(vec![series("up", "node", 100_000 + part * 1_000_000, 1.0)]);
            presence.observe(&newest, 20_000_000 + part);
        }
        assert_eq!(presence.node("vertex").unwrap().interval_ms, Some(10_000));
    }

    #[test]
    fn what_others_say_of_a_node_is_not_its_voice() {
        let mut presence = Presence::restore(None, 0);
        rounds(&mut presence, "up", 100_000);
        for time_ms in (110_000..=140_000).step_by(10_000) {
            let names =
                ["ALERTS", "node:load:avg", "scrape_duration_seconds", "labstat_disk_verdict"];
            let mut words = names.map(|name| series(name, "node", time_ms, 1.0)).to_vec();
            words.push(series("up", "node", time_ms, 0.0));
            presence.observe(&write(words), time_ms);
        }
        assert_eq!(presence.tick(141_000).series.len(), 1);
        assert!(presence.node("vertex").unwrap().down);
    }

    #[test]
    fn a_clock_that_is_set_forward_and_a_suspend_make_nobody_silent() {
        let mut presence = Presence::restore(None, 0);
        rounds(&mut presence, "up", 100_000);
        presence.look(100_000, 15_000);
        presence.look(115_000, 15_000);
        let woken_ms = 5_000_000;
        presence.look(woken_ms, 15_000);
        assert!(presence.tick(woken_ms).series.is_empty());
        presence.look(woken_ms + 15_000, 15_000);
        presence.look(woken_ms + 31_000, 15_000);
        assert_eq!(presence.tick(woken_ms + 31_000).series.len(), 1, "it had its time");
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_hide_silence() {
        let mut presence = Presence::restore(None, 0);
        rounds(&mut presence, "up", 100_000);
        presence.look(100_000, 15_000);
        presence.look(20_000, 15_000);
        assert!(presence.tick(20_000).series.is_empty());
        assert_eq!(presence.tick(51_000).series.len(), 1);
    }

    #[test]
    fn who_was_down_before_a_restart_stays_down_until_heard() {
        let mut before = Presence::restore(None, 0);
        rounds(&mut before, "up", 100_000);
        assert_eq!(before.tick(140_000).series.len(), 1);
        let mut after = Presence::restore(Some(&before.snapshot()), 200_000);
        assert_eq!(after.tick(215_000).series.len(), 1, "no gap in which an alert would resolve");
        after.observe(&write(vec![series("up", "node", 220_000, 1.0)]), 220_000);
        assert!(after.tick(230_000).series.is_empty());
    }

    #[test]
    fn invented_instances_take_bounded_memory_and_cost_nobody_their_place() {
        let mut presence = Presence::restore(None, 0);
        for part in 0..3 {
            let invented = (0..SPEAKERS_KNOWN_MAX / 2).map(|at| {
                let instance = format!("{part}-{at}");
                let labels = Labels::new([(METRIC_NAME, "m"), ("instance", &*instance)]);
                TimeSeries { labels, samples: vec![Sample { time_ms: 0, value: 1.0 }] }
            });
            presence.observe(&write(invented.collect()), 0);
            assert!(presence.speakers.speakers.len() <= SPEAKERS_KNOWN_MAX);
        }
        assert_eq!(presence.nodes().len(), NODES_MAX);
        let twice = vec![series("m", "a", 0, 1.0), series("up", "b", 0, 1.0)];
        let heard = presence.speakers.hear(&write(twice.clone()), 0, &mut Urgent::default());
        let again = presence.speakers.hear(&write(twice), 0, &mut Urgent::default());
        for found in [heard, again] {
            let jobs: Vec<&str> = found.iter().map(|(speaker, _)| &*speaker.job).collect();
            assert_eq!(jobs, ["a", "b"]);
            let ups: Vec<Option<Up>> = found.iter().map(|(_, heard)| heard.up).collect();
            assert_eq!(ups, [None, Some(Up::Live)]);
        }
    }

    #[test]
    fn a_cluster_is_no_node_and_speaks_for_none() {
        let mut presence = Presence::restore(None, 0);
        let of = |name: &str, instance: &str, value: f64| {
            let labels =
                Labels::new([(METRIC_NAME, name), ("instance", instance), ("job", "ceph")]);
            TimeSeries { labels, samples: vec![Sample { time_ms: 1_000, value }] }
        };
        let all = [
            of("ceph_health_status", "ceph-398224ec", 0.0),
            of("labstat_ceph_reading_success", "ceph-398224ec", 1.0),
            of("ceph_disk_occupation", "zenith", 1.0),
            of("ceph_disk_occupation_human", "zenith", 1.0),
            of("ceph_osd_numpg", "vertex", 1.0),
        ];
        presence.observe(&write(all.to_vec()), 1_000);
        let names: Vec<_> = presence.nodes().into_iter().map(|node| node.name).collect();
        assert_eq!(names, ["vertex"]);
        let end = ["ceph_health_status", "labstat_ceph_reading_success"];
        let end = end.map(|name| of(name, "ceph-398224ec", stale_marker()));
        presence.observe(&write(end.to_vec()), 11_000);
        assert_eq!(presence.nodes().len(), 1);
    }

    fn vertex() -> Forgotten {
        let why = Why::Asked;
        Forgotten { instance: "vertex".to_owned(), job: "node".to_owned(), why }
    }

    /// Of whom the last words are said now.
    fn said_of(presence: &mut Presence) -> BTreeSet<Forgotten> {
        let all = presence.forgotten();
        all.iter().for_each(|gone| presence.forgotten_said(gone));
        all
    }

    /// The last words, as series with the times and values of their samples.
    fn said(why: Why, known: Vec<Series>, now_ms: i64) -> Vec<(String, Vec<(i64, f64)>)> {
        let words = last_words(&Forgotten { why, ..vertex() }, known, now_ms);
        let samples = |series: &TimeSeries| {
            let values = series.samples.iter();
            values.map(|s| (s.time_ms, if is_stale(s.value) { -1.0 } else { s.value })).collect()
        };
        words.series.iter().map(|s| (s.labels.to_string(), samples(s))).collect()
    }

    #[test]
    fn the_last_word_on_each_up_of_who_is_forgotten_is_a_zero_and_its_end() {
        let own = "up{instance=\"vertex\", job=\"node\"}".to_owned();
        let told = vec![(110_003, 0.0), (110_005, -1.0)];
        assert_eq!(said(Why::Asked, Vec::new(), 110_000), [(own.clone(), told.clone())]);
        let pairs =
            [(METRIC_NAME, "up"), ("cluster", "lab"), ("instance", "vertex"), ("job", "node")];
        let labels = Labels::new(pairs);
        let scraped = Series { labels, times: vec![150_000], values: vec![1.0] };
        let theirs = "up{cluster=\"lab\", instance=\"vertex\", job=\"node\"}".to_owned();
        let ahead = vec![(150_003, 0.0), (150_005, -1.0)];
        assert_eq!(said(Why::Asked, vec![scraped], 110_000), [(theirs, ahead), (own, told)]);
    }

    #[test]
    fn what_a_sender_has_ended_is_over_and_what_goes_on_is_not() {
        let of = |rack: &str, value: f64| {
            let pairs = [(METRIC_NAME, "up"), ("instance", "vertex"), ("job", "node")];
            let rack = Some(("rack", rack)).filter(|(_, rack)| !rack.is_empty());
            let labels = Labels::new(pairs.into_iter().chain(rack));
            Series { labels, times: vec![100_000], values: vec![value] }
        };
        let names = |why, known: Vec<Series>| -> Vec<String> {
            said(why, known, 110_000).into_iter().map(|(labels, _)| labels).collect()
        };
        let (plain, racked) =
            (of("", 1.0).labels.to_string(), of("1", stale_marker()).labels.to_string());
        let (ended, marked) = (Why::Ended { marked: false }, Why::Ended { marked: true });
        assert_eq!(
            names(ended, vec![of("", stale_marker()), of("1", 1.0)]),
            std::slice::from_ref(&plain)
        );
        assert_eq!(
            names(ended, vec![of("", 1.0), of("1", stale_marker())]),
            std::slice::from_ref(&racked)
        );
        assert_eq!(
            names(ended, vec![of("", 0.0), of("1", stale_marker())]),
            std::slice::from_ref(&racked)
        );
        assert_eq!(names(marked, vec![of("", 0.0), of("1", stale_marker())]), [plain, racked]);
    }

    #[test]
    fn a_job_of_which_one_series_ends_and_another_goes_on_goes_on() {
        let mut presence = Presence::restore(None, 0);
        rounds(&mut presence, "up", 100_000);
        let mut racked = series("up", "node", 110_000, 1.0);
        racked.labels = Labels::new(racked.labels.iter().chain([("rack", "1")]));
        let ended = series("up", "node", 110_000, stale_marker());
        presence.observe(&write(vec![racked, ended]), 110_000);
        assert!(said_of(&mut presence).is_empty());
        assert_eq!(presence.node("vertex").unwrap().interval_ms, Some(10_000), "known as before");
    }

    #[test]
    fn last_words_wait_until_they_are_said_unless_one_is_heard_again() {
        let mut presence = Presence::restore(None, 0);
        rounds(&mut presence, "up", 100_000);
        assert!(presence.forget("vertex"));
        let ended = Forgotten { why: Why::Ended { marked: true }, ..vertex() };
        presence.note_forgotten([ended.clone()]);
        let all: BTreeSet<Forgotten> = [vertex(), ended.clone()].into();
        assert_eq!(presence.forgotten(), all);
        // They are being said, and the aggregator is killed.
        let mut after = Presence::restore(Some(&presence.snapshot()), 105_000);
        assert_eq!(after.forgotten(), all, "also over a restart");
        assert!(presence.take_changed());
        presence.forgotten_said(&ended);
        assert!(presence.take_changed(), "it is to be kept that they are said");
        assert_eq!(presence.forgotten(), [vertex()].into());
        assert!(!presence.take_changed());
    }

    #[test]
    fn who_is_heard_again_is_not_over_and_what_its_sender_ended_is() {
        let mut presence = Presence::restore(None, 0);
        let ended = Forgotten { why: Why::Ended { marked: false }, ..vertex() };
        presence.note_forgotten([vertex(), ended.clone()]);
        presence.observe(&write(vec![series("up", "node", 110_000, 1.0)]), 110_000);
        assert!(presence.take_changed());
        assert_eq!(presence.forgotten(), [ended].into());
        assert!(presence.take_changed());
    }

    #[test]
    fn those_whose_last_words_wait_are_bounded() {
        let mut presence = Presence::restore(None, 0);
        let invented = |at: usize| Forgotten { job: at.to_string(), ..vertex() };
        presence.note_forgotten((0..2 * FORGOTTEN_MAX).map(invented));
        assert_eq!(presence.forgotten().len(), FORGOTTEN_MAX);
    }

    #[test]
    fn who_is_forgotten_is_told_of_once_job_by_job() {
        let mut presence = Presence::restore(None, 0);
        rounds(&mut presence, "up", 100_000);
        let zeros = presence.tick(200_000);
        assert!(presence.forget("vertex"));
        let ends = last_words(&said_of(&mut presence).pop_first().unwrap(), Vec::new(), 200_000);
        assert!(ends.series[0].samples[0].time_ms > zeros.series[0].samples[0].time_ms);
        assert!(!presence.forget("vertex"));
        assert!(said_of(&mut presence).is_empty());
        assert!(presence.take_changed());
        assert!(!presence.take_changed());
    }
}
