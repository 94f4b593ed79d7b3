//! One round: all samples of one tick, by job, and what is sent of it.
//!
//! Two kinds of samples stand apart. Those a scrape of the agent would see, and those that the
//! scraping side adds ([`JobSamples::edge`]: `up`, `scrape_*`), which are sent and not exposed.
//!
//! Samples of a cluster stand apart, too: they are about no node, and are sent with the cluster's name in
//! its place.
//!
//! A series of the last round that is not in this one has ended: it gets a stale marker at this
//! tick, so that queries do not see it for five more minutes. A series of a cluster gets it right after its
//! last sample, since another node may go on with the series at this tick.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use labstat_model::{Batch, BatchSample, Family, stale_marker};
use labstat_wire::exposition;
use labstat_wire::remote_write::{Compressor, EncodeError, Message};

use crate::findings::{Finding, Outcome};
use crate::process::count;

/// The job that the agent's figures about itself and its collectors belong to.
const OWN_JOB: &str = "node";

static UP: Family = Family::gauge("up", "Whether any source of this job could be read.");
static SCRAPE_SECONDS: Family =
    Family::gauge("scrape_duration_seconds", "How long this job's sources took to read.");
static SCRAPE_SAMPLES: Family =
    Family::gauge("scrape_samples_scraped", "Samples that this job's sources gave.");
static SECONDS: Family = Family::gauge(
    "node_scrape_collector_duration_seconds",
    "How long the collector's last run took.",
);
static SUCCESS: Family = Family::gauge(
    "node_scrape_collector_success",
    "Whether the collector's last run went well; 1 also where there is nothing to collect.",
);
static OUTCOME: Family = Family::gauge(
    "labstat_collector_outcome",
    "How the collector's last run ended: 1 for the outcome that applies.",
);

/// The outcomes of the state set [`OUTCOME`].
const OUTCOMES: [&str; 3] = ["collected", "absent", "failed"];

/// All samples of one tick.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// The timestamp of all of them, in milliseconds since the Unix epoch.
    pub(crate) tick_ms: i64,
    jobs: Vec<JobSamples>,
}

/// The samples of one job about the node, or about another.
#[derive(Debug)]
struct JobSamples {
    job: &'static str,
    /// Whom they are about, if not the node.
    instance: Option<String>,
    samples: Batch,
    edge: Batch,
    /// What the collectors of the job did, for `edge`.
    took: Duration,
    present: usize,
    failed: usize,
}

/// A round as it is sent and spooled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parcel {
    /// When its samples were taken.
    pub(crate) tick_ms: i64,
    /// How many it holds, markers included.
    pub(crate) samples: u32,
    /// The protobuf message, as a snappy block.
    pub(crate) block: Vec<u8>,
}

/// What sending one round leaves behind for the next, which mostly has the same series.
#[derive(Debug, Default)]
pub(crate) struct Template {
    message: Message,
    compressor: Compressor,
    /// The tick of the round whose samples the message has, when it has nothing else.
    tick_ms: Option<i64>,
}

impl Round {
    /// Empties the round for another tick and keeps the buffers.
    pub(crate) fn reset(&mut self, tick_ms: i64) {
        self.tick_ms = tick_ms;
        for job in &mut self.jobs {
            job.samples.clear();
            job.edge.clear();
            (job.took, job.present, job.failed) = (Duration::ZERO, 0, 0);
        }
    }

    /// Adds what a collector gave, and how it fared.
    pub(crate) fn add(&mut self, samples: &Batch, finding: &Finding) {
        self.about(finding.job, finding.instance.as_deref()).samples.append(samples);
        let job = self.job(finding.job);
        job.took += finding.took.unwrap_or_default();
        match finding.outcome {
            Outcome::Pending | Outcome::Absent => {}
            Outcome::Collected { .. } => job.present += 1,
            Outcome::Failed { .. } => job.failed += 1,
        }
        let own = self.own();
        let labels = [("collector", finding.collector)];
        let Some(outcome) = finding.outcome.as_str() else { return };
        if let Some(took) = finding.took {
            own.push(&SECONDS, &labels, took.as_secs_f64());
        }
        own.push(&SUCCESS, &labels, truth(outcome != "failed"));
        for each in OUTCOMES {
            let labels = [("collector", finding.collector), ("outcome", each)];
            own.push(&OUTCOME, &labels, truth(each == outcome));
        }
    }

    /// Samples of one job by themselves, of between two rounds. No other series is said to be
    /// there or to have ended.
    pub(crate) fn part(
        tick_ms: i64,
        job: &'static str,
        instance: Option<&str>,
        samples: &Batch,
    ) -> Self {
        let mut part = Self { tick_ms, jobs: Vec::new() };
        part.about(job, instance).samples.append(samples);
        part
    }

    /// Adds the series of another round, for what ended since both: the later of them counts.
    pub(crate) fn append(&mut self, other: &Self) {
        self.tick_ms = self.tick_ms.max(other.tick_ms);
        for job in &other.jobs {
            let own = self.about(job.job, job.instance.as_deref());
            own.samples.append(&job.samples);
            own.edge.append(&job.edge);
        }
    }

    /// The batch of the agent's figures about itself.
    pub(crate) fn own(&mut self) -> &mut Batch {
        &mut self.job(OWN_JOB).samples
    }

    /// Adds what a scraping side knows of each job. Called last.
    pub(crate) fn finish(&mut self) {
        for job in &mut self.jobs {
            // A cluster is up or not by what its own figures say.
            if job.instance.is_some() {
                continue;
            }
            // A job of which this machine has nothing is not down: it is not there.
            if job.present + job.failed == 0 && job.samples.is_empty() {
                continue;
            }
            job.edge.push(&UP, &[], truth(job.present > 0 || job.failed == 0));
            job.edge.push(&SCRAPE_SECONDS, &[], job.took.as_secs_f64());
            job.edge.push(&SCRAPE_SAMPLES, &[], count(job.samples.len()));
        }
    }

    /// The round as a scrape of this agent shows it: neither `job` nor `instance`.
    pub(crate) fn exposition(&self) -> String {
        let mut text = String::new();
        let written = exposition::write_batches(&mut text, self.jobs.iter().map(|j| &j.samples));
        if written.duplicates > 0 {
            tracing::warn!(samples = written.duplicates, "series given twice in one round");
        }
        text
    }

    /// The round to send: its samples, and markers for the series of `before` that ended.
    ///
    /// `template` is the one of the parcel before, or a new one.
    pub(crate) fn parcel(
        &self,
        before: &Self,
        node: &str,
        template: &mut Template,
    ) -> Result<Parcel, EncodeError> {
        let Template { message, compressor, tick_ms } = template;
        let is_alike = self.is_alike(before);
        let can_refresh = is_alike && *tick_ms == Some(before.tick_ms);
        if !(can_refresh && message.refresh(self.values(), self.tick_ms)) {
            message.clear();
            for job in &self.jobs {
                job.send(job.all(), node, self.tick_ms, message);
            }
            if !is_alike {
                self.end_missing(before, node, message);
            }
        }
        let samples = message.samples_len();
        *tick_ms = (samples == self.values().count()).then_some(self.tick_ms);
        Ok(Parcel {
            tick_ms: self.tick_ms,
            samples: u32::try_from(samples).unwrap_or(u32::MAX),
            block: compressor.compress(message.as_bytes())?.to_vec(),
        })
    }

    /// Whether both have the same series in the same order, as most rounds do.
    fn is_alike(&self, other: &Self) -> bool {
        let is_same = |(a, b): (&JobSamples, &JobSamples)| {
            a.job == b.job
                && a.instance == b.instance
                && a.samples.is_alike(&b.samples)
                && a.edge.is_alike(&b.edge)
        };
        self.jobs.len() == other.jobs.len() && self.jobs.iter().zip(&other.jobs).all(is_same)
    }

    /// All values, in the order of the series.
    fn values(&self) -> impl Iterator<Item = f64> {
        self.jobs.iter().flat_map(|job| job.samples.values().chain(job.edge.values()))
    }

    /// Adds markers for the series of `before` that are not in this round.
    fn end_missing(&self, before: &Self, node: &str, message: &mut Message) {
        let mut known: HashSet<u64> =
            self.jobs.iter().flat_map(|job| job.all().map(|s| key(job, &s))).collect();
        for job in &before.jobs {
            // Each once, also where `before` is two rounds.
            let ended = job.all().filter(|sample| known.insert(key(job, sample)));
            let markers = ended.map(|sample| BatchSample { value: stale_marker(), ..sample });
            let is_of_node = job.instance.is_none();
            let after_ms = before.tick_ms.saturating_add(1);
            let at_ms = if is_of_node { self.tick_ms } else { after_ms.min(self.tick_ms) };
            job.send(markers, node, at_ms, message);
        }
    }

    /// What is known about the families of the round, as a request's body.
    pub(crate) fn metadata(&self) -> Result<Vec<u8>, EncodeError> {
        let mut message = Message::new();
        let mut seen = HashSet::new();
        for batch in self.jobs.iter().flat_map(|job| [&job.samples, &job.edge]) {
            for family in batch.families() {
                if seen.insert(&family.name) {
                    message.metadata(&family.name, family.kind, &family.help, "");
                }
            }
        }
        message.to_body()
    }

    /// The number of families in the round.
    pub(crate) fn families_len(&self) -> usize {
        let batches = self.jobs.iter().flat_map(|job| [&job.samples, &job.edge]);
        batches.map(|batch| batch.families().len()).sum()
    }

    fn job(&mut self, name: &'static str) -> &mut JobSamples {
        self.about(name, None)
    }

    /// The samples of a job about somebody.
    fn about(&mut self, name: &'static str, instance: Option<&str>) -> &mut JobSamples {
        let is_it = |job: &JobSamples| job.job == name && job.instance.as_deref() == instance;
        let at = self.jobs.iter().position(is_it).unwrap_or_else(|| {
            self.jobs.push(JobSamples {
                job: name,
                instance: instance.map(str::to_owned),
                samples: Batch::new(),
                edge: Batch::new(),
                took: Duration::ZERO,
                present: 0,
                failed: 0,
            });
            self.jobs.len() - 1
        });
        &mut self.jobs[at]
    }
}

impl JobSamples {
    fn all(&self) -> impl Iterator<Item = BatchSample<'_>> {
        self.samples.iter().chain(self.edge.iter())
    }

    /// Adds samples of this job to a message.
    fn send<'a>(
        &self,
        samples: impl Iterator<Item = BatchSample<'a>>,
        node: &str,
        tick_ms: i64,
        message: &mut Message,
    ) {
        let Some(instance) = &self.instance else {
            return message.samples(samples, &[("instance", node), ("job", self.job)], tick_ms);
        };
        for sample in samples {
            // Which disk of which host an OSD has is said with the host's name.
            let has_own = sample.labels.iter().any(|(name, _)| name == "instance");
            let all = [("job", self.job), ("instance", instance)];
            let extra = if has_own { all.get(..1).unwrap_or_default() } else { &all };
            message.samples([sample], extra, tick_ms);
        }
    }
}

/// What tells one series of a round from another. Two of a few thousand series share a key of 64
/// bits once in some 10^12 rounds; then one marker would be missed.
fn key(job: &JobSamples, sample: &BatchSample<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (job.job, &job.instance, &*sample.family.name, sample.labels).hash(&mut hasher);
    hasher.finish()
}

fn truth(is: bool) -> f64 {
    f64::from(u8::from(is))
}

#[cfg(test)]
mod tests {
    use labstat_model::is_stale;
    use labstat_wire::remote_write;

    use super::*;

    static LOAD: Family = Family::gauge("node_load1", "Load.");

    fn finding(job: &'static str, outcome: Outcome) -> Finding {
        let took = Some(Duration::from_millis(500));
        Finding { collector: "x", job, instance: None, outcome, took }
    }

    fn round(tick_ms: i64, devices: &[&str]) -> Round {
        let mut batch = Batch::new();
        for device in devices {
            batch.push(&LOAD, &[("device", device)], 1.0);
        }
        let mut round = Round::default();
        round.reset(tick_ms);
        round.add(&batch, &finding("node", Outcome::Collected { samples: batch.len() }));
        round.finish();
        round
    }

    /// The samples of a parcel as text, and whether each is a marker.
    fn sent(parcel: &Parcel) -> Vec<(String, i64, bool)> {
        let decoded = remote_write::decode(&parcel.block).unwrap();
        assert_eq!(decoded.request.samples_len(), parcel.samples as usize);
        let series = decoded.request.series.iter();
        series
            .map(|s| (s.labels.to_string(), s.samples[0].time_ms, is_stale(s.samples[0].value)))
            .collect()
    }

    #[test]
    fn all_samples_carry_the_tick_job_and_instance() {
        let parcel = round(1_000, &["a"])
            .parcel(&Round::default(), "apex", &mut Template::default())
            .unwrap();
        let sent = sent(&parcel);
        assert!(sent.iter().all(|(_, time_ms, stale)| *time_ms == 1_000 && !stale));
        let has = |series: &str| sent.iter().any(|(found, ..)| found == series);
        assert!(has(r#"node_load1{device="a", instance="apex", job="node"}"#), "{sent:?}");
        assert!(has(r#"up{instance="apex", job="node"}"#));
        assert!(has(r#"scrape_duration_seconds{instance="apex", job="node"}"#));
        assert!(has(
            r#"labstat_collector_outcome{collector="x", instance="apex", job="node", outcome="absent"}"#
        ));
    }

    #[test]
    fn a_series_that_ended_is_marked_once() {
        let (first, second) = (round(1_000, &["a", "b"]), round(2_000, &["b", "c"]));
        let parcel = second.parcel(&first, "apex", &mut Template::default()).unwrap();
        let stale: Vec<_> = sent(&parcel).into_iter().filter(|(.., stale)| *stale).collect();
        let marker = r#"node_load1{device="a", instance="apex", job="node"}"#.to_owned();
        assert_eq!(stale, [(marker, 2_000, true)]);
        let third = round(3_000, &["b", "c"]);
        let parcel = third.parcel(&second, "apex", &mut Template::default()).unwrap();
        assert!(sent(&parcel).iter().all(|(.., stale)| !stale));
    }

    /// One template for all parcels gives what a new one for each gives.
    #[test]
    fn parcels_do_not_depend_on_those_before() {
        let mut template = Template::default();
        let mut before = Round::default();
        let sets: [&[&str]; 7] =
            [&["a", "b"], &["a", "b"], &["a"], &["a"], &["b"], &["b", "c"], &["b", "c"]];
        for (at, devices) in sets.into_iter().enumerate() {
            let mut next = round(1_700_000_000_000 + 10_000 * at as i64, devices);
            next.own().push(&SCRAPE_SECONDS, &[("round", "x")], at as f64);
            let parcel = next.parcel(&before, "apex", &mut template).unwrap();
            let fresh = next.parcel(&before, "apex", &mut Template::default()).unwrap();
            assert_eq!(parcel, fresh, "{at}");
            assert_eq!(template.tick_ms.is_some(), !matches!(at, 2 | 4), "markers are no samples");
            before = next;
        }
        // A parcel of something else between two rounds, as one of a change is.
        let event = round(1_700_000_065_000, &["c"]);
        event.parcel(&Round::default(), "apex", &mut template).unwrap();
        let next = round(1_700_000_070_000, &["b", "c"]);
        let parcel = next.parcel(&before, "apex", &mut template).unwrap();
        assert_eq!(parcel, next.parcel(&before, "apex", &mut Template::default()).unwrap());
    }

    #[test]
    fn samples_of_a_cluster_are_of_no_node_and_go_on_with_another_reader() {
        let mut batch = Batch::new();
        batch.push(&LOAD, &[], 1.0);
        batch.push(&LOAD, &[("instance", "vertex")], 2.0);
        let about = |instance: Option<&str>| {
            let mut round = Round::default();
            round.reset(1_000);
            let instance = instance.map(str::to_owned);
            let collected = Outcome::Collected { samples: 2 };
            round.add(&batch, &Finding { instance, ..finding("ceph", collected) });
            round.finish();
            round
        };
        let lab = about(Some("ceph-lab"));
        let from = |node: &str| {
            let parcel = lab.parcel(&Round::default(), node, &mut Template::default()).unwrap();
            let mut sent: Vec<_> = sent(&parcel).into_iter().map(|(series, ..)| series).collect();
            sent.retain(|series| !series.contains("collector"));
            sent
        };
        let of_cluster = r#"node_load1{instance="ceph-lab", job="ceph"}"#.to_owned();
        for node in ["apex", "zenith"] {
            let sent = from(node);
            assert!(sent.contains(&of_cluster), "{sent:?}");
            assert!(sent.contains(&r#"node_load1{instance="vertex", job="ceph"}"#.to_owned()));
            let up = format!(r#"up{{instance="{node}", job="ceph"}}"#);
            assert!(sent.contains(&up), "the job on the node is up: {sent:?}");
            let ups =
                sent.iter().filter(|series| series.starts_with("up{") && series.contains("ceph"));
            assert_eq!(ups.count(), 1);
        }
        let renamed = about(Some("ceph-new"));
        let parcel = renamed.parcel(&lab, "apex", &mut Template::default()).unwrap();
        let ended: Vec<_> = sent(&parcel).into_iter().filter(|(.., stale)| *stale).collect();
        assert!(ended.contains(&(of_cluster.clone(), 1_000, true)), "{ended:?}");
        // Another node may have a sample of it at the next tick.
        let mut next = Round::default();
        next.reset(11_000);
        let parcel = next.parcel(&lab, "apex", &mut Template::default()).unwrap();
        let ended = sent(&parcel);
        assert!(ended.contains(&(of_cluster.clone(), 1_001, true)), "{ended:?}");
        let up = r#"up{instance="apex", job="ceph"}"#.to_owned();
        assert!(ended.contains(&(up, 11_000, true)), "what is of the node ends now: {ended:?}");
        let mut last = Round::default();
        last.append(&lab);
        let parcel = next.parcel(&last, "apex", &mut Template::default()).unwrap();
        assert!(sent(&parcel).contains(&(of_cluster, 1_001, true)));
        let text = lab.exposition();
        assert!(text.contains("node_load1 1") && !text.contains("ceph-lab"), "{text}");
    }

    #[test]
    fn an_empty_round_ends_everything() {
        let first = round(1_000, &["a"]);
        let mut last = Round::default();
        last.reset(2_000);
        let parcel = last.parcel(&first, "apex", &mut Template::default()).unwrap();
        let sent = sent(&parcel);
        assert!(sent.iter().all(|(.., stale)| *stale));
        assert!(sent.iter().any(|(series, ..)| series.starts_with("up{")));
    }

    #[test]
    fn what_is_absent_is_neither_down_nor_failed() {
        let mut round = Round::default();
        round.reset(1_000);
        round.add(&Batch::new(), &finding("ceph", Outcome::Absent));
        round.add(&Batch::new(), &finding("smartctl", Outcome::Failed { reason: String::new() }));
        round.add(&Batch::new(), &finding("node", Outcome::Pending));
        round.finish();
        let parcel = round.parcel(&Round::default(), "n", &mut Template::default()).unwrap();
        let decoded = remote_write::decode(&parcel.block).unwrap();
        let up: Vec<(String, f64)> = decoded
            .request
            .series
            .iter()
            .filter(|series| series.labels.metric_name() == "up")
            .map(|series| (series.labels.get("job").unwrap().to_owned(), series.samples[0].value))
            .collect();
        assert_eq!(up, [("node".to_owned(), 1.0), ("smartctl".to_owned(), 0.0)]);
        let text = round.exposition();
        assert!(!text.contains("up ") && !text.contains("job="), "{text}");
    }

    #[test]
    fn metadata_names_each_family_once() {
        let decoded = remote_write::decode(&round(1, &["a", "b"]).metadata().unwrap()).unwrap();
        let mut names: Vec<_> = decoded.request.metadata.into_iter().map(|m| m.family).collect();
        names.sort();
        assert!(names.contains(&"node_load1".to_owned()) && names.contains(&"up".to_owned()));
        let len = names.len();
        names.dedup();
        assert_eq!(names.len(), len);
    }
}
