//! Who says what in a write: the instance and job of each series, whether its word is its own, and which of it
//! cannot wait.
//!
//! Not here: what follows for who is expected, which [`super::Presence`] decides.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU16;
use std::sync::Arc;

use labstat_alerts::events::cannot_wait;
use labstat_model::{Labels, LabelsMemo, METRIC_NAME, Sample, SeriesView, WriteView, is_stale};

use super::NODES_MAX;
use crate::disks::is_ours;

/// A node or job of which only older samples than this were ever brought is history: nobody waits
/// for it.
pub(super) const HISTORY_MS: i64 = 3_600_000;

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
pub(super) const AGENT_METRIC: &str = "labstat_collector_outcome";

/// Samples of what cannot wait that are older tell of the past: a backlog.
pub(super) const URGENT_MS: i64 = 60_000;

/// Metrics that cannot wait, remembered with the series; an exporter has tens.
const URGENT_MAX: usize = 1_000;

/// No place in [`Speakers::places`].
const UNHEARD: u32 = u32::MAX;

/// Metrics that cannot wait, of which samples of the present came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Urgent {
    pub(crate) metrics: BTreeSet<Arc<str>>,
    /// The time of the newest of these samples.
    pub(crate) newest_ms: i64,
}

/// What one write says of one job of one node.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) newest_ms: Option<i64>,
    /// A series goes on: its last sample is a value.
    pub(super) live: bool,
    pub(super) up: Option<Up>,
    pub(super) agent: bool,
    pub(super) cluster: bool,
}

impl Heard {
    /// See [`HISTORY_MS`].
    pub(super) fn is_history(&self, now_ms: i64) -> bool {
        self.newest_ms.is_none_or(|newest_ms| newest_ms < now_ms.saturating_sub(HISTORY_MS))
    }
}

/// Ascending: where one series of a job ends and another goes on, the job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Up {
    Ended,
    Live,
}

/// Who says what: the instance and job of every series, remembered by the hash of its labels, so
/// that those are read once and not with every write.
#[derive(Debug)]
pub(super) struct Speakers {
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
pub(super) struct Speaker {
    pub(super) instance: Box<str>,
    pub(super) job: Box<str>,
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
    pub(super) fn hear(
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

#[cfg(test)]
mod tests {
    use labstat_model::{TimeSeries, WriteRequest};

    use super::*;

    #[test]
    fn invented_speakers_take_bounded_memory_and_cost_nobody_their_place() {
        let mut speakers = Speakers::default();
        let mut hear = |words: Vec<[&str; 3]>| {
            let series = words.into_iter().map(|[name, instance, job]| {
                let pairs = [(METRIC_NAME, name), ("instance", instance), ("job", job)];
                let samples = vec![Sample { time_ms: 0, value: 1.0 }];
                TimeSeries { labels: Labels::new(pairs), samples }
            });
            let write = WriteRequest { series: series.collect(), metadata: Vec::new() };
            let found = speakers.hear(&write, 0, &mut Urgent::default());
            assert!(speakers.speakers.len() <= SPEAKERS_KNOWN_MAX);
            found
        };
        for part in 0..3 {
            let invented: Vec<String> =
                (0..SPEAKERS_KNOWN_MAX / 2).map(|at| format!("{part}-{at}")).collect();
            let found = hear(invented.iter().map(|instance| ["m", instance, "node"]).collect());
            assert_eq!(found.len(), invented.len());
        }
        for _again in 0..2 {
            let found = hear(vec![["m", "vertex", "a"], ["up", "vertex", "b"]]);
            let jobs: Vec<&str> = found.iter().map(|(speaker, _)| &*speaker.job).collect();
            assert_eq!(jobs, ["a", "b"]);
            let ups: Vec<Option<Up>> = found.iter().map(|(_, heard)| heard.up).collect();
            assert_eq!(ups, [None, Some(Up::Live)]);
        }
    }
}
