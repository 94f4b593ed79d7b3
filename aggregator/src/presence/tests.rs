//! Whole stories: writes come and stay away, and what is expected, stored and said comes out. Not here: the last
//! words by themselves, which are beside what says them.

use std::sync::Arc;

use labstat_model::{
    Labels, METRIC_NAME, ManualClock, Matcher, Sample, TimeSeries, WriteRequest, is_stale,
    stale_marker,
};
use labstat_promql::Source;
use labstat_store::{Options, Store};

use super::heard::{AGENT_METRIC, HISTORY_MS};
use super::*;
use crate::storage::{Settled, SharedStorage, WriteFailed};

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
        let word =
            |word: &TimeSeries| (word.labels.get("job").unwrap().to_owned(), word.samples[0].value);
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
    let page = include_str!("../../../docs/formats/presence.md");
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
        let names = ["ALERTS", "node:load:avg", "scrape_duration_seconds", "labstat_disk_verdict"];
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
fn invented_instances_take_bounded_memory() {
    let mut presence = Presence::restore(None, 0);
    let invented = (0..2 * NODES_MAX).map(|at| {
        let labels = Labels::new([(METRIC_NAME, "m"), ("instance", &*at.to_string())]);
        TimeSeries { labels, samples: vec![Sample { time_ms: 0, value: 1.0 }] }
    });
    presence.observe(&write(invented.collect()), 0);
    assert_eq!(presence.nodes().len(), NODES_MAX);
}

#[test]
fn a_cluster_is_no_node_and_speaks_for_none() {
    let mut presence = Presence::restore(None, 0);
    let of = |name: &str, instance: &str, value: f64| {
        let labels = Labels::new([(METRIC_NAME, name), ("instance", instance), ("job", "ceph")]);
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

/// Writes until not even one sample more finds room; what of it was written before is no news.
fn fill(storage: &SharedStorage) {
    for (series_len, samples_len) in [(20, 1_000), (1, 1)] {
        for at in 0.. {
            let of = |name: i64| {
                // Nothing of it compresses well.
                let value = |n: i64| ((at * 7_919 + name * 104_729 + n) as f64).sqrt();
                let samples = (0..samples_len)
                    .map(|n| Sample { time_ms: at * samples_len + n, value: value(n) });
                let labels = Labels::new([(METRIC_NAME, &*format!("m{samples_len}_{name}"))]);
                TimeSeries { labels, samples: samples.collect() }
            };
            if let Err(error) = storage.append(&write((0..series_len).map(of).collect())) {
                assert!(matches!(error, WriteFailed::Full(_)), "{error:?}");
                break;
            }
        }
    }
}

/// Rules take nobody for silent who goes on sending to a full disk, whatever is restarted meanwhile: what was
/// vouched for before is gone with the process.
#[test]
fn who_sends_to_a_full_disk_is_vouched_for_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let clock = Arc::new(ManualClock::new(1_000_000));
        let options = Options { size_max_bytes: Some(2_000_000), ..Options::new(clock) };
        let storage = SharedStorage::new(Store::open(dir.path(), options).unwrap().0);
        let rules = Settled { storage: storage.clone(), unstored: Arc::default() };
        (storage, rules)
    };
    let ups = [Matcher::equal(METRIC_NAME, "up"), Matcher::equal("instance", "vertex")];
    let seen = |rules: &Settled, from_ms: i64| -> Vec<f64> {
        let found = Source::newest(rules, &ups, from_ms, i64::MAX).unwrap();
        found.iter().flat_map(|series| series.values.clone()).collect()
    };
    let look = |presence: &mut Presence, rules: &Settled, now_ms: i64| {
        assert!(presence.tick(now_ms).series.is_empty(), "it is not silent");
        rules.unstored.hold(&presence.vouch(now_ms));
    };

    let (storage, rules) = open();
    let mut presence = Presence::restore(None, 0);
    for time_ms in (0..=100_000).step_by(10_000) {
        let round = write(vec![series("up", "node", time_ms, 1.0)]);
        storage.append(&round).unwrap();
        presence.observe(&round, time_ms);
    }
    storage.document_put("presence", &presence.snapshot()).unwrap();
    fill(&storage);
    let refused = |storage: &SharedStorage, presence: &mut Presence, time_ms: i64| {
        let round = write(vec![series("up", "node", time_ms, 1.0)]);
        assert!(matches!(storage.append(&round), Err(WriteFailed::Full(_))));
        presence.observe_refused(&round, time_ms);
    };
    refused(&storage, &mut presence, 110_000);
    look(&mut presence, &rules, 111_000);
    assert_eq!(seen(&rules, 110_000), [1.0]);
    storage.close().unwrap();
    drop((storage, rules));

    let (storage, rules) = open();
    fill(&storage);
    let document = storage.document_get("presence").unwrap();
    let mut presence = Presence::restore(document.as_deref(), 300_000);
    look(&mut presence, &rules, 301_000);
    assert!(seen(&rules, 110_000).is_empty(), "nobody was heard yet");
    refused(&storage, &mut presence, 310_000);
    look(&mut presence, &rules, 311_000);
    assert_eq!(seen(&rules, 310_000), [1.0]);
    assert!(presence.node("vertex").unwrap().refused);
    look(&mut presence, &rules, 310_000 + 180_000);
    assert_eq!(presence.tick(310_001 + 180_000).series.len(), 1, "and silence counts again");
}
