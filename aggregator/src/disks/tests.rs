//! The registry by a clock of the test's.

use std::collections::BTreeMap;

use labstat_disks::{Reading, State, Verdict};
use labstat_model::{Labels, METRIC_NAME, Sample, TimeSeries, WriteRequest, is_stale};
use proptest::prelude::*;

use super::disk::{Disk, Finding, Judged, Reason};
use super::heard::Heard;
use super::identity::{Identity, Marks, Place};
use super::registry::{DISKS_MAX, Due, Nodes, Refused, Registry};

const MINUTE_MS: i64 = 60_000;
const LOOK_MS: i64 = 30_000;
/// Any time will do, but not one around 0.
const START_MS: i64 = 1_800_000_000_000;

fn place(instance: &str, device: &str) -> Place {
    Place { instance: instance.to_owned(), device: device.to_owned() }
}

fn identity(serial: &str) -> Identity {
    let text = |text: &str| text.to_owned();
    Identity { model: text("WDC"), serial: text(serial), namespace: text(""), at: None }
}

/// A disk that was read at `read_ms`.
fn read(serial: &str, instance: &str, device: &str, read_ms: i64) -> Heard {
    let place = place(instance, device);
    let identity = (!serial.is_empty()).then(|| identity(serial));
    Heard::read(place, identity, "WDC", read_ms)
}

fn with(state: State, mut one: Heard) -> Heard {
    one.state = state;
    one
}

/// A registry with its clock.
struct Lab {
    registry: Registry,
    nodes: Nodes,
    now_ms: i64,
}

impl Lab {
    fn new() -> Self {
        let registry = Registry::with(BTreeMap::new(), START_MS);
        Self { registry, nodes: Nodes::new(), now_ms: START_MS }
    }

    fn look(&mut self, heard: &[Heard]) -> Vec<Due> {
        self.now_ms += LOOK_MS;
        self.registry.look(heard, &self.nodes, LOOK_MS, self.now_ms)
    }

    /// A look after which everything that is due was found to be `verdict`.
    fn find(&mut self, heard: &[Heard], verdict: Verdict) {
        for due in self.look(heard) {
            self.registry.judged(&due, judged(verdict));
        }
    }

    /// Looks for as long, during which the same is heard: an agent that repeats itself.
    fn pass(&mut self, minutes: i64, heard: &[Heard]) {
        for _ in 0..minutes * MINUTE_MS / LOOK_MS {
            self.find(heard, Verdict::Ok);
        }
    }

    /// Readings every five minutes, `count` of them.
    fn readings(&mut self, count: i64, verdict: Verdict) {
        for _ in 0..count {
            let one = read("A", "nas", "sda", self.now_ms);
            self.find(std::slice::from_ref(&one), verdict);
            self.pass(4, &[one]);
        }
    }

    fn disk(&self, serial: &str) -> &Disk {
        &self.registry.disks[&identity(serial)]
    }

    fn verdict(&self, serial: &str) -> Verdict {
        self.disk(serial).shown()
    }

    /// What is told now: name, and the code or verdict; `-` before what has ended.
    fn told(&mut self) -> Vec<String> {
        let write = self.registry.tell(self.now_ms);
        let text = |labels: &Labels, value: f64| {
            let end = if is_stale(value) { "-" } else { "" };
            let more = ["code", "verdict"].iter().find_map(|name| labels.get(name));
            let place = (labels.get("instance"), labels.get("device"));
            let place = format!("{}/{}", place.0.unwrap(), place.1.unwrap());
            format!("{end}{} {place} {}", labels.metric_name(), more.unwrap_or("-"))
        };
        write.series.iter().map(|it| text(&it.labels, it.samples[0].value)).collect()
    }
}

fn judged(verdict: Verdict) -> Judged {
    let reasons = vec![Reason::new("test", verdict, format!("It is {verdict}."))];
    let reading = Reading { passed: Some(true), ..Reading::default() };
    Judged { finding: Finding { verdict, reasons }, reading: Some(reading) }
}

#[test]
fn a_verdict_that_gets_worse_counts_at_once_and_one_that_gets_better_later() {
    let mut lab = Lab::new();
    lab.readings(3, Verdict::Ok);
    assert_eq!(lab.verdict("A"), Verdict::Ok);
    lab.readings(1, Verdict::Act);
    assert_eq!(lab.verdict("A"), Verdict::Act);
    lab.readings(1, Verdict::Ok);
    assert_eq!(lab.verdict("A"), Verdict::Act, "one good reading heals no disk");
    lab.readings(1, Verdict::Act);
    lab.readings(1, Verdict::Watch);
    assert_eq!(lab.verdict("A"), Verdict::Act, "nor do two that are not in a row");
    lab.readings(1, Verdict::Watch);
    assert_eq!(lab.verdict("A"), Verdict::Watch);
    lab.readings(3, Verdict::Silent);
    assert_eq!(lab.verdict("A"), Verdict::Watch, "knowing nothing takes nothing back");
}

#[test]
fn each_reading_is_judged_once() {
    let mut lab = Lab::new();
    let one = read("A", "nas", "sda", START_MS);
    let due = lab.look(std::slice::from_ref(&one));
    assert_eq!(due.len(), 1);
    lab.registry.judged(&due[0], judged(Verdict::Ok));
    assert!(lab.look(std::slice::from_ref(&one)).is_empty());
    assert_eq!(lab.look(&[read("A", "nas", "sda", START_MS + 1)]).len(), 1);
}

#[test]
fn a_disk_follows_its_serial_across_ports_and_machines() {
    let mut lab = Lab::new();
    lab.find(&[read("A", "nas", "sda", START_MS)], Verdict::Watch);
    let since_ms = lab.disk("A").place_since_ms;
    lab.find(&[read("A", "nas", "sdb", START_MS + 1)], Verdict::Watch);
    lab.find(&[read("A", "apex", "sdc", START_MS + 2)], Verdict::Watch);
    assert_eq!(lab.registry.disks.len(), 1);
    assert_eq!(lab.disk("A").place, place("apex", "sdc"));
    assert!(lab.disk("A").place_since_ms > since_ms);
    assert_eq!(lab.disk("A").first_seen_ms, since_ms);
    assert!(lab.disk("A").also.is_empty());
}

#[test]
fn a_disk_on_its_way_is_heard_at_both_ends_for_a_while_and_stays_one() {
    let mut lab = Lab::new();
    let old = read("A", "nas", "sda", START_MS);
    lab.find(std::slice::from_ref(&old), Verdict::Ok);
    // The old machine's last words are repeated while the new one reads it already.
    lab.pass(3, &[old.clone(), read("A", "apex", "sdc", START_MS + 5 * MINUTE_MS)]);
    assert_eq!(lab.disk("A").place, place("nas", "sda"));
    assert!(lab.disk("A").also.is_empty(), "no conflict is told");
    let failed = with(State::Failed, old);
    lab.find(&[failed, read("A", "apex", "sdc", START_MS + 5 * MINUTE_MS)], Verdict::Ok);
    assert_eq!(lab.disk("A").place, place("apex", "sdc"));
    assert_eq!(lab.registry.disks.len(), 1);
}

#[test]
fn a_serial_number_that_two_machines_read_is_two_disks() {
    let mut lab = Lab::new();
    for _ in 0..3 {
        let both = [read("A", "nas", "sda", lab.now_ms), read("A", "apex", "sdc", lab.now_ms)];
        lab.find(&both, Verdict::Ok);
        lab.pass(5, &both);
    }
    assert_eq!(lab.registry.disks.len(), 2);
    for disk in lab.registry.disks.values() {
        let reasons = disk.reasons(START_MS);
        assert!(reasons.iter().any(|it| it.code == "identity_conflict"), "{reasons:?}");
    }
    let refused = lab.registry.find("A").unwrap_err();
    assert!(refused.to_string().contains("apex/sdc, nas/sda"), "{refused}");
    // An alert, which knows no place, must not take one for the other.
    let write = lab.registry.tell(lab.now_ms);
    let told =
        write.series.iter().map(|it| (it.labels.get("disk"), it.labels.get("serial_number")));
    let told: std::collections::BTreeSet<_> = told.collect();
    let both = [(Some("apex/sdc"), Some("A")), (Some("nas/sda"), Some("A"))];
    assert_eq!(told, both.into());
    assert_eq!(lab.registry.find("apex/sdc").unwrap().place, place("apex", "sdc"));
    // Each is expected for itself.
    for _ in 0..10 {
        let one = read("A", "nas", "sda", lab.now_ms);
        lab.pass(4, &[one]);
    }
    let silent: Vec<bool> = lab.registry.disks.values().map(Disk::is_told_silent).collect();
    assert_eq!(silent.iter().filter(|silent| **silent).count(), 1);
}

#[test]
fn two_paths_of_one_machine_are_one_disk() {
    let mut lab = Lab::new();
    for _ in 0..4 {
        let at_ms = lab.now_ms;
        let both = [read("A", "nas", "sda", at_ms), read("A", "nas", "bus_0_megaraid_1", at_ms)];
        // Nobody has looked whether they are one.
        let both = both.map(|mut one| {
            one.once = false;
            one
        });
        lab.find(&both, Verdict::Ok);
    }
    assert_eq!(lab.registry.disks.len(), 1);
    assert_eq!(lab.disk("A").place.device, "bus_0_megaraid_1");
    assert_eq!(lab.disk("A").also, [place("nas", "sda")]);
    let reasons = lab.disk("A").reasons(START_MS);
    assert!(reasons.iter().all(|it| it.code != "identity_conflict"));
    // The exporter of the same machine is no other machine.
    lab.find(&[read("A", "nas:9633", "sda", lab.now_ms)], Verdict::Ok);
    assert_eq!(lab.registry.disks.len(), 1);
}

/// A reading of two bridges of one node that both say they are A: one is well, the other is not.
fn bridges(lab: &mut Lab, devices: [&str; 2]) {
    let both = devices.map(|device| read("A", "nas", device, lab.now_ms));
    for due in lab.look(&both) {
        let is_first = due.place.device == devices[0];
        let verdict = if is_first { Verdict::Ok } else { Verdict::Act };
        lab.registry.judged(&due, judged(verdict));
    }
    for _ in 0..8 {
        lab.look(&both);
    }
}

#[test]
fn two_disks_of_one_node_with_one_serial_number_are_both_judged() {
    let mut lab = Lab::new();
    for _ in 0..3 {
        bridges(&mut lab, ["sda", "sdb"]);
    }
    let shown = |lab: &Lab| -> Vec<(String, Verdict)> {
        let mut all: Vec<_> =
            lab.registry.shown().map(|disk| (disk.place.to_string(), disk.shown())).collect();
        all.sort_by(|a: &(String, Verdict), b| a.0.cmp(&b.0));
        all
    };
    let both = |first: &str, second: &str| {
        vec![(first.to_owned(), Verdict::Ok), (second.to_owned(), Verdict::Act)]
    };
    assert_eq!(shown(&lab), both("nas/sda", "nas/sdb"));
    let disk = lab.registry.find("nas/sdb").unwrap();
    assert_eq!(disk.also, [place("nas", "sda")]);
    assert!(disk.reasons(START_MS).iter().any(|it| it.code == "identity_conflict"));
    assert!(matches!(lab.registry.find("A"), Err(Refused::Ambiguous(..))));
    // No alert, and no question by the serial number, may mistake one for the other.
    let write = lab.registry.tell(lab.now_ms);
    assert!(write.series.iter().all(|it| it.labels.get("serial_number").is_none()));
    let called = write.series.iter().map(|it| it.labels.get("disk").unwrap());
    assert!(called.into_iter().all(|name| ["nas/sda", "nas/sdb"].contains(&name)));
    // One that is called otherwise is no third.
    for _ in 0..3 {
        bridges(&mut lab, ["sda", "sdc"]);
    }
    assert_eq!(shown(&lab), both("nas/sda", "nas/sdc"));
    // Nor is one that changed its name and whose last words are repeated.
    let mut lab = Lab::new();
    let last = read("A", "nas", "sda", START_MS);
    lab.pass(3, std::slice::from_ref(&last));
    lab.pass(3, &[last.clone(), read("A", "nas", "sdb", lab.now_ms)]);
    lab.pass(3, &[last, read("A", "nas", "sdb", lab.now_ms)]);
    assert_eq!(lab.registry.disks.len(), 1);
}

/// Two disks of one serial number, whose names may swap when their machine is started again.
#[test]
fn two_disks_of_one_serial_number_keep_their_records_when_their_names_swap() {
    let mark = |wwn: &str, path: &str| Marks { wwn: wwn.to_owned(), path: path.to_owned() };
    let one = |device: &str, marks: &Marks, at_ms: i64| {
        let mut one = read("A", "nas", device, at_ms);
        one.marks = marks.clone();
        one
    };
    // Where both are, by the path of the first record.
    let after = |first: Marks, second: Marks| {
        let mut lab = Lab::new();
        for names in [["sda", "sdb"], ["sda", "sdb"], ["sda", "sdb"], ["sdb", "sda"]] {
            for _ in 0..4 {
                let both = [one(names[0], &first, lab.now_ms), one(names[1], &second, lab.now_ms)];
                lab.find(&both, Verdict::Ok);
            }
        }
        assert_eq!(lab.registry.disks.len(), 2);
        lab.disk("A").place.to_string()
    };
    assert_eq!(after(mark("", "p1"), mark("", "p2")), "nas/sdb");
    assert_eq!(after(mark("w1", ""), mark("w2", "p2")), "nas/sdb");
    assert_eq!(after(mark("w", "p1"), mark("w", "p2")), "nas/sdb", "makers repeat names, too");
    // Nothing tells them apart but their names.
    assert_eq!(after(mark("w", ""), mark("w", "p2")), "nas/sda");
    assert_eq!(after(Marks::default(), Marks::default()), "nas/sda");
}

#[test]
fn namespaces_of_one_disk_are_called_by_their_place_and_the_first_by_the_serial_number() {
    let mut lab = Lab::new();
    let mut both = [read("A", "nas", "nvme0", START_MS), read("A", "nas", "nvme0n2", START_MS)];
    both[1].identity.as_mut().unwrap().namespace = "2".to_owned();
    lab.find(&both, Verdict::Watch);
    assert_eq!(lab.registry.find("A").unwrap().place, place("nas", "nvme0"));
    for device in ["nvme0", "nvme0n2"] {
        let found = lab.registry.find(&format!("nas/{device}")).unwrap();
        assert_eq!(found.place, place("nas", device));
    }
    let write = lab.registry.tell(lab.now_ms);
    let told = write.series.iter().map(|it| (it.labels.get("device"), it.labels.get("disk")));
    let told: std::collections::BTreeSet<_> = told.collect();
    let both = [(Some("nvme0"), Some("A")), (Some("nvme0n2"), Some("nas/nvme0n2"))];
    assert_eq!(told, both.into(), "each has alerts of its own");
}

#[test]
fn a_device_that_only_one_node_has_names_a_disk() {
    let mut lab = Lab::new();
    let both = [read("A", "nas", "sda", START_MS), read("B", "apex", "nvme0", START_MS)];
    lab.find(&both, Verdict::Ok);
    assert_eq!(lab.registry.find("sda").unwrap().place, place("nas", "sda"));
    assert_eq!(lab.registry.find("/dev/nvme0n1").unwrap().place, place("apex", "nvme0"));
    assert!(matches!(lab.registry.find("sdb"), Err(Refused::Unknown(_))));
    assert!(matches!(lab.registry.find(""), Err(Refused::Unknown(_))));
    let more = read("C", "apex", "sda", START_MS);
    lab.find(&[both.as_slice(), &[more]].concat(), Verdict::Ok);
    let refused = lab.registry.find("sda").unwrap_err();
    assert!(refused.to_string().contains("apex/sda, nas/sda"), "{refused}");
}

#[test]
fn a_disk_that_is_gone_is_silent_after_three_intervals_or_half_an_hour() {
    let mut lab = Lab::new();
    lab.readings(4, Verdict::Ok);
    lab.pass(24, &[]);
    assert_eq!(lab.verdict("A"), Verdict::Ok);
    lab.pass(8, &[]);
    assert_eq!(lab.verdict("A"), Verdict::Silent);
    assert!(lab.disk("A").is_told_silent());
    let text = &lab.disk("A").reasons(lab.now_ms)[0].text;
    assert_eq!(text, "Serial A on nas last answered 36 min ago.");
    lab.readings(1, Verdict::Ok);
    assert_eq!(lab.verdict("A"), Verdict::Ok);
}

#[test]
fn one_that_is_read_seldom_has_more_time() {
    let mut lab = Lab::new();
    for _ in 0..4 {
        let one = read("A", "nas", "sda", lab.now_ms);
        lab.pass(120, &[one]);
    }
    assert_eq!(lab.disk("A").interval_ms(), Some(120 * MINUTE_MS));
    lab.pass(200, &[]);
    assert_eq!(lab.verdict("A"), Verdict::Ok);
    lab.pass(60, &[]);
    assert_eq!(lab.verdict("A"), Verdict::Silent);
}

#[test]
fn last_words_that_are_repeated_are_no_answer() {
    let mut lab = Lab::new();
    lab.readings(2, Verdict::Ok);
    let last = with(State::Unsupported, read("A", "nas", "sda", lab.now_ms));
    lab.pass(60, &[last]);
    assert_eq!(lab.verdict("A"), Verdict::Silent);
}

#[test]
fn a_disk_that_sleeps_is_not_silent_and_keeps_what_was_found() {
    let mut lab = Lab::new();
    for (verdict, shown) in [
        (Verdict::Ok, Verdict::Asleep),
        (Verdict::Watch, Verdict::Watch),
        (Verdict::Act, Verdict::Act),
    ] {
        lab.readings(1, verdict);
        let read_ms = lab.disk("A").read_ms.unwrap();
        for _ in 0..200 {
            let mut one = with(State::Asleep, read("A", "nas", "sda", read_ms));
            one.at_ms = lab.now_ms;
            assert!(lab.look(&[one]).is_empty(), "there is nothing to judge");
        }
        assert_eq!(lab.verdict("A"), shown);
        assert!(!lab.disk("A").is_told_silent());
    }
    lab.pass(40, &[]);
    assert_eq!(lab.verdict("A"), Verdict::Silent, "what was pulled is missing");
}

/// A reading that shows these codes, each with the number behind it.
fn found(codes: &[(&str, Verdict, u64)]) -> Judged {
    let reasons = codes.iter().map(|(code, verdict, number)| Reason {
        evidence: vec![serde_json::json!({ "name": format!("{code} (7)"), "value": number })],
        ..Reason::new(code, *verdict, format!("{number} of {code}."))
    });
    let reasons: Vec<Reason> = reasons.collect();
    let verdict = reasons.iter().fold(Verdict::Ok, |worst, it| worst.worse(it.verdict));
    Judged { finding: Finding { verdict, reasons }, ..judged(verdict) }
}

const PENDING: &str = "pending_sectors";
const OFFLINE: &str = "offline_uncorrectable";

#[test]
fn what_comes_up_later_is_news_of_its_own_and_what_comes_up_together_is_one() {
    let mut disk = Disk::new(identity("A"), place("nas", "sda"), START_MS);
    let mut take = |codes: &[(&str, Verdict, u64)]| {
        disk.take(found(codes), START_MS);
        let told = disk.findings().into_iter();
        told.map(|it| format!("{} of {} {}", it.code, it.cause, it.verdict)).collect::<Vec<_>>()
    };
    let watch = Verdict::Watch;
    let both = [(PENDING, watch, 2), (OFFLINE, watch, 2)];
    let first = take(&both);
    assert_eq!(
        first,
        [
            "offline_uncorrectable of offline_uncorrectable watch",
            "pending_sectors of offline_uncorrectable watch"
        ]
    );
    let third = take(&[both.as_slice(), &[("temperature", watch, 71)]].concat());
    assert_eq!(third[..2], first[..]);
    assert_eq!(third[2], "temperature of temperature watch");
    // The one that gave the name is gone, and that is no news of the other.
    let rest = [both[0], ("temperature", watch, 72)];
    take(&rest);
    assert_eq!(take(&rest)[0], "pending_sectors of offline_uncorrectable watch");
    let worse = take(&[(PENDING, Verdict::Act, 90), ("temperature", watch, 72)]);
    assert_eq!(worse[0], "pending_sectors of offline_uncorrectable act");
    take(&[]);
    assert_eq!(take(&[]), [""; 0]);
    assert_eq!(take(&both[..1]), ["pending_sectors of pending_sectors watch"], "it came back");
}

#[test]
fn each_reason_is_taken_back_for_itself_and_by_the_second_reading() {
    let mut disk = Disk::new(identity("A"), place("nas", "sda"), START_MS);
    let mut take = |judged: Judged| {
        disk.take(judged, START_MS);
        let codes = disk.findings().into_iter().map(|it| it.code).collect::<Vec<_>>();
        (codes, disk.shown())
    };
    let watch = Verdict::Watch;
    let both = || found(&[("temperature", watch, 71), (PENDING, watch, 2)]);
    let one = || found(&[(PENDING, watch, 2)]);
    take(both());
    assert_eq!(take(one()).0, [PENDING, "temperature"]);
    assert_eq!(take(both()).0, [PENDING, "temperature"]);
    assert_eq!(take(one()).0, [PENDING, "temperature"], "two that are not in a row");
    assert_eq!(take(one()).0, [PENDING]);
    // It does not answer: that heals nothing.
    let dead = || Judged { reading: None, ..found(&[("no_answer", Verdict::Dead, 0)]) };
    for _ in 0..3 {
        assert_eq!(take(dead()), (vec!["no_answer".to_owned(), PENDING.to_owned()], Verdict::Dead));
    }
    take(found(&[]));
    assert_eq!(take(found(&[])).1, Verdict::Ok);
}

#[test]
fn numbers_that_change_begin_no_series() {
    let mut lab = Lab::new();
    let mut told = |sectors: u64| {
        let one = read("A", "nas", "sda", lab.now_ms);
        for due in lab.look(&[one]) {
            lab.registry.judged(&due, found(&[(PENDING, Verdict::Watch, sectors)]));
        }
        let write = lab.registry.tell(lab.now_ms);
        let value = |it: &TimeSeries| (it.labels.clone(), it.samples[0].value);
        write.series.iter().map(value).collect::<BTreeMap<Labels, f64>>()
    };
    let (before, after) = (told(8), told(16));
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    let named = |name: &str| {
        let mut all = after.iter().filter(|(labels, _)| labels.metric_name() == name);
        all.next().unwrap()
    };
    let (finding, value) = named("labstat_disk_finding");
    assert_eq!(
        (finding.get("code"), finding.get("verdict"), *value),
        (Some(PENDING), Some("watch"), 1.0)
    );
    assert_eq!((finding.get("cause"), finding.get("disk")), (Some(PENDING), Some("A")));
    assert_eq!(finding.get("reason"), labstat_disks::sentence(PENDING));
    let (number, value) = named("labstat_disk_finding_value");
    assert_eq!((number.get("evidence"), *value), (Some("pending_sectors (7)"), 16.0));
    assert_eq!(named("labstat_disk_reason").0.get("code"), Some(PENDING));
    let view = lab.disk("A").reasons(lab.now_ms);
    assert_eq!(view[0].text, "16 of pending_sectors.", "people get the numbers");
}

#[test]
fn a_disk_that_was_to_be_replaced_and_is_pulled_is_missing_and_no_more() {
    let mut lab = Lab::new();
    lab.nodes.insert("nas".to_owned(), false);
    lab.readings(2, Verdict::Act);
    lab.told();
    // Its machine is off for a night: nobody has pulled anything.
    lab.nodes.insert("nas".to_owned(), true);
    lab.pass(60, &[]);
    assert_eq!((lab.verdict("A"), lab.disk("A").findings().len()), (Verdict::Act, 1));
    lab.nodes.insert("nas".to_owned(), false);
    lab.pass(2, &[]);
    assert_eq!(lab.verdict("A"), Verdict::Act, "it has time to be read again");
    let gone = with(State::Gone, read("A", "nas", "sda", lab.now_ms));
    lab.pass(40, &[gone]);
    assert_eq!(lab.verdict("A"), Verdict::Silent);
    assert!(lab.disk("A").is_told_silent());
    let told = lab.told();
    assert!(told.contains(&"-labstat_disk_finding nas/sda test".to_owned()), "{told:?}");
    assert!(told.contains(&"labstat_disk_silent_seconds nas/sda -".to_owned()), "{told:?}");
    let reasons = lab.disk("A").reasons(lab.now_ms);
    assert_eq!(reasons[0].code, "silent");
    assert_eq!(reasons[1].text, "It is act.", "people still read what it was");
    // It was only the cable.
    lab.readings(1, Verdict::Act);
    assert_eq!(lab.verdict("A"), Verdict::Act);
    assert!(!lab.disk("A").is_told_silent());
}

#[test]
fn a_disk_that_sleeps_says_so_once_and_wakes_into_failure_awake() {
    let mut lab = Lab::new();
    let mut one = with(State::Asleep, read("A", "nas", "sda", START_MS));
    one.read_ms = None;
    for due in lab.look(std::slice::from_ref(&one)) {
        let mut asleep = judged(Verdict::Asleep);
        asleep.finding.reasons[0].code = "asleep".to_owned();
        asleep.reading = None;
        lab.registry.judged(&due, asleep);
    }
    let codes = |lab: &Lab| -> Vec<String> {
        lab.disk("A").reasons(lab.now_ms).into_iter().map(|it| it.code).collect()
    };
    assert_eq!((codes(&lab), lab.verdict("A")), (vec!["asleep".to_owned()], Verdict::Asleep));
    one.state = State::Failed;
    one.at_ms = lab.now_ms;
    lab.look(std::slice::from_ref(&one));
    assert_eq!((codes(&lab), lab.verdict("A")), (vec!["not_read".to_owned()], Verdict::Silent));
    let text = &lab.disk("A").reasons(lab.now_ms)[0].text;
    assert!(text.starts_with("The disk does not answer"), "{text}");
}

#[test]
fn a_disk_without_traffic_may_be_left_alone_for_hours() {
    let mut lab = Lab::new();
    lab.readings(3, Verdict::Ok);
    let read_ms = lab.now_ms;
    for _ in 0..600 {
        let mut one = read("A", "nas", "sda", read_ms);
        one.at_ms = lab.now_ms;
        lab.find(&[one], Verdict::Ok);
    }
    assert_eq!(lab.verdict("A"), Verdict::Ok, "its agent goes on to say that all went well");
    lab.pass(40, &[]);
    assert_eq!(lab.verdict("A"), Verdict::Silent);
}

#[test]
fn one_that_cannot_even_be_asked_is_not_dead() {
    let mut lab = Lab::new();
    lab.readings(2, Verdict::Ok);
    let mut failed = with(State::Failed, read("A", "nas", "sda", lab.now_ms));
    failed.reason = "not_run".to_owned();
    for _ in 0..100 {
        lab.find(std::slice::from_ref(&failed), Verdict::Dead);
    }
    assert_eq!(lab.verdict("A"), Verdict::Silent);
}

#[test]
fn one_failed_attempt_is_no_death() {
    let mut lab = Lab::new();
    lab.readings(2, Verdict::Ok);
    let failed = with(State::Failed, read("A", "nas", "sda", lab.now_ms));
    for _ in 0..18 {
        lab.find(std::slice::from_ref(&failed), Verdict::Dead);
    }
    assert_eq!(lab.verdict("A"), Verdict::Ok, "for ten minutes it may be busy");
    for _ in 0..4 {
        lab.find(std::slice::from_ref(&failed), Verdict::Dead);
    }
    assert_eq!(lab.verdict("A"), Verdict::Dead);
    lab.pass(60, &[failed]);
    assert_eq!(lab.verdict("A"), Verdict::Dead);
    assert!(!lab.disk("A").is_told_silent(), "it is told once");
}

#[test]
fn a_silent_node_is_told_and_its_disks_are_not() {
    let mut lab = Lab::new();
    lab.nodes.insert("nas".to_owned(), false);
    lab.readings(2, Verdict::Ok);
    lab.nodes.insert("nas".to_owned(), true);
    lab.pass(40, &[]);
    assert_eq!(lab.verdict("A"), Verdict::Silent);
    assert!(!lab.disk("A").is_told_silent());
    // It is back, and its disk gets time to be read.
    lab.nodes.insert("nas".to_owned(), false);
    lab.look(&[]);
    assert!(!lab.disk("A").is_told_silent());
    lab.readings(1, Verdict::Ok);
    assert_eq!(lab.verdict("A"), Verdict::Ok);
    lab.nodes.insert("nas".to_owned(), true);
    lab.pass(2, &[]);
    lab.nodes.insert("nas".to_owned(), false);
    lab.pass(24, &[]);
    assert_eq!(lab.verdict("A"), Verdict::Ok);
    lab.pass(20, &[]);
    assert!(lab.disk("A").is_told_silent(), "the node is back, and the disk is not");
    lab.told();
    lab.nodes.insert("nas".to_owned(), true);
    lab.pass(2, &[]);
    assert!(lab.disk("A").is_told_silent(), "what was told is not taken back for that");
    lab.nodes.insert("nas".to_owned(), false);
    lab.look(&[]);
    assert!(lab.disk("A").is_told_silent());
}

#[test]
fn what_never_told_of_its_health_is_not_expected() {
    let mut lab = Lab::new();
    let due = lab.look(&[with(State::Unsupported, read("A", "vps", "vda", lab.now_ms))]);
    let mut nothing = judged(Verdict::Silent);
    nothing.reading = None;
    lab.registry.judged(&due[0], nothing);
    lab.pass(5, &[]);
    assert_eq!(lab.verdict("A"), Verdict::Silent);
    lab.pass(55, &[]);
    assert!(!lab.disk("A").is_told_silent());
    assert!(lab.registry.find("A").is_err(), "nobody misses it");
}

#[test]
fn what_has_no_serial_number_is_shown_while_it_is_there() {
    let mut lab = Lab::new();
    let one = read("", "nas", "sdq", lab.now_ms);
    lab.find(std::slice::from_ref(&one), Verdict::Watch);
    assert_eq!(lab.registry.find("nas/sdq").unwrap().shown(), Verdict::Watch);
    assert!(lab.told()[0].starts_with("labstat_disk_verdict nas/sdq watch"));
    lab.pass(12, &[]);
    let told = lab.told();
    assert!(!told.is_empty() && told.iter().all(|line| line.starts_with('-')), "{told:?}");
    lab.look(&[]);
    assert!(lab.registry.disks.is_empty());
}

#[test]
fn a_stick_in_the_port_of_a_disk_is_not_that_disk() {
    let mut lab = Lab::new();
    lab.readings(2, Verdict::Ok);
    let mut stick = read("", "nas", "sda", lab.now_ms);
    stick.model = "Stick".to_owned();
    lab.pass(40, &[stick]);
    assert_eq!(lab.verdict("A"), Verdict::Silent);
    // An agent that could not read it this time says no more than its name.
    let mut lab = Lab::new();
    lab.readings(2, Verdict::Ok);
    let mut nameless = with(State::Denied, read("", "nas", "sda", lab.now_ms));
    nameless.model = String::new();
    lab.pass(1, &[nameless]);
    assert_eq!(lab.disk("A").state, State::Denied);
    assert_eq!(lab.registry.disks.len(), 1);
}

#[test]
fn what_is_told_ends_when_it_is_no_longer_so() {
    let mut lab = Lab::new();
    lab.readings(1, Verdict::Ok);
    assert_eq!(lab.told(), ["labstat_disk_verdict nas/sda ok", "labstat_disk_reason nas/sda test"]);
    assert!(lab.told().is_empty(), "in the same millisecond nothing is said again");
    lab.now_ms += 1;
    assert_eq!(lab.told().len(), 2, "it goes on");
    lab.readings(1, Verdict::Act);
    assert_eq!(
        lab.told(),
        [
            "-labstat_disk_verdict nas/sda ok",
            "labstat_disk_verdict nas/sda act",
            "labstat_disk_reason nas/sda test",
            "labstat_disk_finding nas/sda test",
        ]
    );
    lab.find(&[read("A", "nas", "sdb", lab.now_ms)], Verdict::Act);
    let told = lab.told();
    assert!(told.contains(&"-labstat_disk_verdict nas/sda act".to_owned()), "{told:?}");
    assert!(told.contains(&"labstat_disk_verdict nas/sdb act".to_owned()), "{told:?}");
    assert_eq!(lab.disk("A").verdict, Verdict::Act);
}

#[test]
fn an_acknowledgement_keeps_what_was_said_and_counts_at_once() {
    let mut lab = Lab::new();
    let unread = lab.registry.acknowledge("A", String::new(), 0).unwrap_err();
    assert_eq!(unread, Refused::Unknown("A".to_owned()));
    let one = read("A", "nas", "sda", START_MS);
    lab.look(std::slice::from_ref(&one));
    let unread = lab.registry.acknowledge("a", String::new(), 0).unwrap_err();
    assert_eq!(unread, Refused::NotRead(place("nas", "sda")));
    lab.find(std::slice::from_ref(&one), Verdict::Act);
    let note = "cable replaced".to_owned();
    lab.registry.acknowledge("nas//dev/sda", note, lab.now_ms).unwrap();
    assert_ne!(lab.verdict("A"), Verdict::Act, "at once, by what it said last");
    let due = lab.look(&[one]);
    assert_eq!(due.len(), 1, "the same reading is judged anew");
    lab.registry.judged(&due[0], judged(Verdict::Ok));
    assert_eq!(lab.verdict("A"), Verdict::Ok);
    assert_eq!(lab.disk("A").acknowledged.as_ref().unwrap().note, "cable replaced");
}

#[test]
fn a_forgotten_disk_is_expected_again_when_it_is_seen_again() {
    let mut lab = Lab::new();
    lab.readings(2, Verdict::Ok);
    let there = lab.registry.forget("A", lab.now_ms).unwrap_err();
    assert_eq!(there, Refused::Present(place("nas", "sda")));
    lab.pass(40, &[]);
    lab.told();
    lab.registry.forget("A", lab.now_ms).unwrap();
    assert!(lab.told().iter().all(|line| line.starts_with('-')));
    assert!(lab.told().is_empty());
    // What it said before does not bring it back, a new word does.
    lab.look(&[read("A", "nas", "sda", lab.now_ms - 10 * MINUTE_MS)]);
    assert!(matches!(lab.registry.find("A"), Err(Refused::Unknown(_))));
    lab.readings(1, Verdict::Ok);
    assert_eq!(lab.registry.find("A").unwrap().shown(), Verdict::Ok);
    lab.registry.forget_node("nas", lab.now_ms);
    lab.pass(40, &[]);
    assert!(lab.registry.find("A").is_err(), "with its node");
}

#[test]
fn a_forgotten_disk_that_only_fails_stays_forgotten() {
    let mut lab = Lab::new();
    lab.readings(2, Verdict::Ok);
    let failed = with(State::Failed, read("A", "nas", "sda", lab.now_ms));
    lab.pass(20, std::slice::from_ref(&failed));
    lab.registry.forget("A", lab.now_ms).unwrap();
    // It is tried again and again, and by and by does not even say who it is.
    let mut nameless = with(State::Failed, read("", "nas", "sda", lab.now_ms));
    nameless.model = String::new();
    for one in [failed, nameless.clone()] {
        for _ in 0..60 {
            let mut again = one.clone();
            again.at_ms = lab.now_ms;
            assert!(lab.look(&[again]).is_empty());
        }
        assert_eq!(lab.registry.shown().count(), 0, "{:?}", one.identity);
    }
    // Nor after a restart of the aggregator.
    let known = super::document::read(&super::document::write(&lab.registry.disks));
    lab.registry = Registry::with(known, lab.now_ms);
    nameless.at_ms = lab.now_ms + LOOK_MS;
    lab.look(&[nameless.clone()]);
    assert_eq!(lab.registry.shown().count(), 0);
    // It is pulled, and what fails there later is another one.
    lab.pass(12, &[]);
    nameless.at_ms = lab.now_ms + LOOK_MS;
    lab.look(&[nameless]);
    assert_eq!(lab.registry.shown().count(), 1);
    // It is read: somebody uses it again.
    lab.readings(1, Verdict::Ok);
    assert_eq!(lab.registry.find("A").unwrap().shown(), Verdict::Ok);
}

#[test]
fn a_forgotten_disk_without_a_serial_number_stays_forgotten_while_it_fails() {
    let mut lab = Lab::new();
    let failed = |lab: &Lab| with(State::Failed, read("", "nas", "sdq", lab.now_ms));
    let one = failed(&lab);
    lab.look(&[one]);
    lab.registry.forget("nas/sdq", lab.now_ms).unwrap();
    lab.told();
    for _ in 0..100 {
        let mut one = failed(&lab);
        one.at_ms += LOOK_MS;
        lab.look(&[one]);
        lab.told();
    }
    assert_eq!(lab.registry.shown().count(), 0);
    lab.pass(12, &[]);
    assert!(lab.registry.disks.is_empty(), "it takes no room for ever");
}

#[test]
fn what_sleeps_can_be_acknowledged_after_a_restart() {
    let mut lab = Lab::new();
    lab.find(&[read("A", "nas", "sda", lab.now_ms)], Verdict::Act);
    let mut one = with(State::Asleep, read("A", "nas", "sda", lab.now_ms));
    let known = super::document::read(&super::document::write(&lab.registry.disks));
    lab.registry = Registry::with(known, lab.now_ms);
    one.at_ms = lab.now_ms + LOOK_MS;
    lab.look(&[one]);
    assert_eq!(lab.verdict("A"), Verdict::Act);
    lab.registry.acknowledge("A", String::new(), lab.now_ms).unwrap();
    assert_eq!(lab.verdict("A"), Verdict::Asleep, "by what it said last: nothing is left to mind");
    // What has nothing to acknowledge is not kept whole.
    let document = super::document::write(&lab.registry.disks);
    assert!(!String::from_utf8(document).unwrap().contains("\"last\""));
}

#[test]
fn a_suspend_and_a_clock_that_is_set_make_nobody_silent() {
    let mut lab = Lab::new();
    lab.readings(2, Verdict::Ok);
    lab.now_ms += 86_400_000;
    lab.look(&[]);
    assert_eq!(lab.verdict("A"), Verdict::Ok);
    lab.readings(1, Verdict::Ok);
    lab.now_ms -= 7 * 86_400_000;
    lab.pass(20, &[]);
    assert_eq!(lab.verdict("A"), Verdict::Ok);
    lab.pass(20, &[]);
    assert_eq!(lab.verdict("A"), Verdict::Silent, "and hide no silence");
}

#[test]
fn what_is_known_survives_a_restart() {
    let mut lab = Lab::new();
    lab.readings(3, Verdict::Watch);
    lab.registry.acknowledge("A", "seen".to_owned(), lab.now_ms).unwrap();
    lab.readings(1, Verdict::Watch);
    lab.find(&[read("", "nas", "sdq", lab.now_ms)], Verdict::Ok);
    lab.told();
    let document = super::document::write(&lab.registry.disks);
    let mut known = super::document::read(&document);
    assert_eq!(known.len(), 1, "but for what has no serial number");
    let mut before = lab.disk("A").clone();
    let after = known.get_mut(&identity("A")).unwrap();
    // What only a running registry knows.
    for disk in [&mut before, &mut *after] {
        (disk.judged, disk.heard_ms, disk.alive_ms, disk.last) = (None, None, 0, None);
    }
    assert_eq!(before, *after);
    // Nobody could be heard in between.
    lab.now_ms += 86_400_000;
    lab.registry = Registry::with(known, lab.now_ms);
    lab.pass(24, &[]);
    assert_eq!(lab.verdict("A"), Verdict::Watch);
    lab.pass(12, &[]);
    assert_eq!(lab.verdict("A"), Verdict::Silent);
    // Who was silent before a restart stays so until heard.
    let document = super::document::write(&lab.registry.disks);
    lab.registry = Registry::with(super::document::read(&document), lab.now_ms);
    lab.look(&[]);
    assert_eq!(lab.verdict("A"), Verdict::Silent);
}

#[test]
fn what_was_acknowledged_of_a_disk_without_a_serial_number_survives_a_restart() {
    let mut lab = Lab::new();
    let one = read("", "nas", "sdq", lab.now_ms);
    lab.find(std::slice::from_ref(&one), Verdict::Watch);
    lab.registry.acknowledge("nas/sdq", "an old dock".to_owned(), lab.now_ms).unwrap();
    let document = super::document::write(&lab.registry.disks);
    lab.registry = Registry::with(super::document::read(&document), lab.now_ms);
    lab.look(std::slice::from_ref(&one));
    let disk = lab.registry.find("nas/sdq").unwrap();
    assert_eq!(disk.acknowledged.as_ref().unwrap().note, "an old dock");
    // It is kept no longer than it is there.
    lab.pass(24, &[]);
    lab.told();
    lab.look(&[]);
    assert!(lab.registry.disks.is_empty());
}

/// What an earlier release kept must be read for as long as its version is known.
#[test]
fn version_1_is_read_as_documented() {
    let page = include_str!("../../../docs/formats/disks.md");
    let (_, rest) = page.split_once("```json\n").unwrap();
    let (document, _) = rest.split_once("```").unwrap();
    let known = super::document::read(document.as_bytes());
    let disk = known.values().next().unwrap();
    assert_eq!(disk.identity.serial, "WD-WCC4N1234567");
    assert_eq!(disk.shown(), Verdict::Watch);
    assert_eq!(disk.acknowledged.as_ref().unwrap().baseline.counters["attribute_5"], 8);
    let other = document.replace("\"version\": 1", "\"version\": 2");
    assert!(super::document::read(other.as_bytes()).is_empty());
    assert!(super::document::read(b"{broken").is_empty());
    for part in ["first", "latest", "finding"] {
        let mut spoilt: serde_json::Value = serde_json::from_str(document).unwrap();
        spoilt["disks"][0][part] = serde_json::json!({ "counters": 7, "verdict": [] });
        let known = super::document::read(spoilt.to_string().as_bytes());
        let disk = known.values().next().unwrap();
        assert!(disk.acknowledged.is_some(), "a bad {part} costs itself");
    }
    // As it was before there were findings by code.
    let mut before: serde_json::Value = serde_json::from_str(document).unwrap();
    let disk = before["disks"][0].as_object_mut().unwrap();
    disk.retain(|key, _| !["fading", "causes", "forgotten", "last"].contains(&&**key));
    disk.insert("better".to_owned(), 1.into());
    let told = disk["told"].as_object_mut().unwrap();
    told.retain(|key, _| !["code", "findings"].contains(&&**key));
    let known = super::document::read(before.to_string().as_bytes());
    assert_eq!(known.values().next().unwrap().shown(), Verdict::Watch);
    let spoilt = document.replacen("\"read\"", "\"wonderful\"", 1);
    assert!(super::document::read(spoilt.as_bytes()).is_empty(), "a bad disk costs itself");
}

#[test]
fn invented_serial_numbers_take_bounded_room_and_cost_nobody_their_place() {
    let mut lab = Lab::new();
    lab.readings(1, Verdict::Ok);
    let many: Vec<Heard> =
        (0..DISKS_MAX + 10).map(|at| read(&format!("S{at}"), "evil", "sda", START_MS)).collect();
    // One place can only be one disk; invented places are as cheap as invented serial numbers.
    let many = many.into_iter().enumerate().map(|(at, mut one)| {
        one.place.device = format!("sd{at}");
        one
    });
    lab.look(&many.collect::<Vec<_>>());
    assert_eq!(lab.registry.disks.len(), DISKS_MAX);
    assert_eq!(lab.registry.refused, 11);
    assert!(lab.registry.find("A").is_ok());
}

#[test]
fn wear_is_kept_as_changes_and_bounded() {
    let mut disk = Disk::new(identity("A"), place("nas", "sda"), START_MS);
    let day_ms = 86_400_000;
    for day in 0..2_000_i64 {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let wear = (day / 2) as f64 / 2_000.0;
        let reading = Reading { wear_ratio: Some(wear), passed: Some(true), ..Reading::default() };
        let finding = judged(Verdict::Ok).finding;
        disk.note_read(START_MS + day * day_ms);
        disk.take(Judged { finding, reading: Some(reading) }, START_MS + day * day_ms);
    }
    assert!(disk.wear.0.len() <= 256, "{}", disk.wear.0.len());
    let out = disk.wear_out.unwrap();
    let days = (out.at_seconds * 1000.0 - START_MS as f64) / day_ms as f64;
    assert!((3_900.0..4_100.0).contains(&days), "{days}");
}

/// One of a few places in which one of a few disks may be heard in some state.
fn any_heard() -> impl Strategy<Value = (u8, u8, u8, i64)> {
    (0..4_u8, 0..6_u8, 0..7_u8, 0..20_i64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is heard: no panic, no series told twice, and each that goes on is of a disk that
    /// is shown.
    #[test]
    fn what_is_told_is_whole(
        rounds in prop::collection::vec(prop::collection::vec(any_heard(), 0..8), 1..40),
        verdicts in prop::collection::vec(0..6_usize, 40),
    ) {
        let mut lab = Lab::new();
        let mut live = std::collections::BTreeSet::new();
        for (round, verdict) in rounds.iter().zip(verdicts) {
            lab.now_ms += 4 * MINUTE_MS;
            let mut heard: BTreeMap<(u8, u8), Heard> = BTreeMap::new();
            for (serial, at, state, minutes) in round {
                let serial = if *serial == 3 { String::new() } else { format!("S{serial}") };
                let (node, device) = (format!("n{}", at / 3), format!("sd{}", at % 3));
                let one = read(&serial, &node, &device, lab.now_ms - minutes * MINUTE_MS);
                let state = State::ALL.get(usize::from(*state)).copied().unwrap_or_default();
                heard.insert((at / 3, at % 3), with(state, one));
            }
            let heard: Vec<Heard> = heard.into_values().collect();
            lab.find(&heard, Verdict::ALL[verdict]);
            let write = lab.registry.tell(lab.now_ms);
            let mut seen = std::collections::BTreeSet::new();
            for series in write.series {
                prop_assert!(seen.insert(series.labels.clone()), "twice: {}", series.labels);
                match is_stale(series.samples[0].value) {
                    true => prop_assert!(live.remove(&series.labels), "ended: {}", series.labels),
                    false => { live.insert(series.labels); }
                }
            }
            prop_assert!(live.is_subset(&seen), "{live:?}");
            let verdicts = live.iter().filter(|it| it.get(METRIC_NAME) == Some("labstat_disk_verdict"));
            let places = lab.registry.shown().map(|disk| &disk.place);
            let places = places.collect::<std::collections::BTreeSet<_>>().len();
            let told = verdicts.count();
            prop_assert!((places..=lab.registry.shown().count()).contains(&told), "{told}");
            let document = super::document::write(&lab.registry.disks);
            let named = lab.registry.disks.keys().filter(|it| it.is_named()).count();
            prop_assert_eq!(super::document::read(&document).len(), named);
        }
    }
}

/// A round of a machine with eight disks of a hundred and forty series each.
fn round(time_ms: i64, read_ms: i64, node: usize) -> WriteRequest {
    let mut series = Vec::new();
    for disk in 0..8 {
        let (node, device) = (format!("node{node}"), format!("sd{disk}"));
        let serial = format!("WD-{node}-{disk}");
        let mut push = |name: &str, more: &[(&str, &str)], value: f64| {
            let here = [(METRIC_NAME, name), ("instance", &node), ("device", &device)];
            let here = here.into_iter().chain([("job", "smartctl")]);
            let labels = Labels::new(here.chain(more.iter().copied()));
            series.push(TimeSeries { labels, samples: vec![Sample { time_ms, value }] });
        };
        push("smartctl_device", &[("serial_number", &serial), ("model_name", "WDC")], 1.0);
        push("labstat_smart_state", &[("state", "read")], 1.0);
        push("labstat_smart_read_success", &[], 1.0);
        let read = read_ms as f64 / 1000.0;
        push("labstat_smart_last_success_timestamp_seconds", &[], read);
        push("smartctl_device_smart_status", &[], 1.0);
        for id in 1..=25 {
            let id = (id * 8).to_string();
            let name = format!("Attribute_{id}");
            for kind in ["value", "worst", "thresh", "raw"] {
                let labels = [("attribute_value_type", kind), ("attribute_id", &id)];
                let labels = [labels[0], labels[1], ("attribute_name", &name)];
                push("smartctl_device_attribute", &labels, 100.0);
            }
        }
        for at in 0..30 {
            let kind = at.to_string();
            push("smartctl_device_temperature", &[("temperature_type", &kind)], 30.0);
        }
    }
    WriteRequest { series, metadata: Vec::new() }
}

/// What a look costs with thirty machines of eight disks, over a real store. Prints it; says
/// nothing of other machines, and so asserts nothing but that the verdicts are there.
#[test]
#[ignore = "a measurement"]
fn the_cost_of_a_look() {
    use std::sync::Arc;
    use std::time::Instant;

    use labstat_model::ManualClock;

    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let options = labstat_store::Options::new(Arc::<ManualClock>::clone(&clock));
    let (store, _) = labstat_store::Store::open(dir.path(), options).unwrap();
    let config = crate::Config { data_dir: dir.path().to_owned(), ..crate::Config::default() };
    let (storage, _) = crate::engine::open(&config, store, clock).unwrap();
    let disks = super::Disks::restore(None, START_MS);
    let nodes: Nodes = (0..30).map(|node| (format!("node{node}"), false)).collect();
    let mut read_ms = START_MS;
    for (look, what) in ["all new", "nothing new", "nothing new", "all read again", "one node read"]
        .into_iter()
        .enumerate()
    {
        let now_ms = START_MS + i64::try_from(look).unwrap() * LOOK_MS;
        let before_ms = read_ms;
        read_ms = if what.starts_with("nothing") { read_ms } else { now_ms };
        for node in 0..30 {
            let is_read = what != "one node read" || node == 0;
            let read_ms = if is_read { read_ms } else { before_ms };
            for time_ms in (now_ms..now_ms + LOOK_MS).step_by(10_000) {
                storage.append(&round(time_ms, read_ms, node)).unwrap();
            }
        }
        let started = Instant::now();
        let looked = disks.look(&storage, &nodes, LOOK_MS, now_ms + LOOK_MS - 1).unwrap();
        let took = started.elapsed();
        let started = Instant::now();
        storage.append(&looked.samples).unwrap();
        let document = looked.document.map_or(0, |document| document.len());
        println!(
            "{what}: {took:?}, stored in {:?}; {} samples, document {document} bytes",
            started.elapsed(),
            looked.samples.samples_len()
        );
    }
    assert_eq!(disks.registry().counts()["ok"], 240);
}
