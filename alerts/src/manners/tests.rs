//! Whole stories: alerts come and go, time passes, messages come out.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::groups::label_set_text;
use super::spec::{EscalationSpec, InhibitSpec, MaintenanceSpec, RouteSpec, Texts};
use super::*;

mod alertmanager;
mod causes;
mod crash;
mod live;
mod peer;
mod speed;

/// 2026-11-22 04:00 UTC, a Sunday.
pub(super) const T0: i64 = 1_795_320_000_000;

pub(super) fn labels(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

pub(super) fn firing(text: &str, at_ms: i64) -> Notification {
    let labels = labels(text);
    let pairs = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Notification {
        fingerprint: fingerprint(pairs),
        status: Status::Firing,
        annotations: BTreeMap::new(),
        active_at_ms: at_ms,
        starts_at_ms: at_ms,
        ends_at_ms: None,
        value: 1.0,
        generator_url: String::new(),
        labels,
    }
}

pub(super) fn resolved(text: &str, at_ms: i64) -> Notification {
    Notification { status: Status::Resolved, ends_at_ms: Some(at_ms), ..firing(text, at_ms) }
}

pub(super) fn fp(text: &str) -> String {
    firing(text, 0).fingerprint
}

/// A route as YAML, with Alertmanager's defaults and the receivers `a`, `b` and `c`.
pub(super) fn by_labels(yaml: &str) -> MannersSpec {
    let route: RouteSpec = serde_saphyr::from_str(yaml).unwrap();
    MannersSpec {
        route: Some(route),
        defaults: spec::Defaults::Alertmanager,
        ..MannersSpec::default()
    }
}

pub(super) fn build(spec: MannersSpec) -> MannersConfig {
    let recipients = ["a", "b", "c"].map(|name| Recipient::new(name, true));
    spec.build(&recipients, &TimeZone::UTC).unwrap()
}

/// Manners with a clock and a ledger: what a service does around them.
pub(super) struct Stage {
    pub(super) manners: Manners,
    pub(super) now_ms: i64,
    pub(super) rows: BTreeMap<String, Vec<u8>>,
    /// All messages: seconds since [`T0`], receiver, reason, alerts.
    pub(super) said: Vec<String>,
    pub(super) messages: Vec<Message>,
}

impl Stage {
    pub(super) fn new(spec: MannersSpec) -> Self {
        Self::with(build(spec))
    }

    pub(super) fn with(config: MannersConfig) -> Self {
        let (manners, step) = Manners::new(config, Vec::new(), T0);
        assert!(step.is_empty());
        Self { manners, now_ms: T0, rows: BTreeMap::new(), said: Vec::new(), messages: Vec::new() }
    }

    /// Where the default routes send everything to `a`.
    pub(super) fn of_causes() -> Self {
        Self::new(by_cause())
    }

    pub(super) fn settle(&mut self, step: Step) {
        for entry in step.entries {
            match entry.value {
                Some(value) => self.rows.insert(entry.key, value),
                None => self.rows.remove(&entry.key),
            };
        }
        for message in step.messages {
            let seconds = (self.now_ms - T0) as f64 / 1000.0;
            let alerts = message.alerts.iter().map(|alert| {
                let sign = if alert.status == Status::Firing { '+' } else { '-' };
                format!("{sign}{}", alert.name())
            });
            let alerts: Vec<String> = alerts.collect();
            let Message { receiver, reason, .. } = &message;
            self.said.push(format!("{seconds} {receiver} {reason:?} {}", alerts.join(" ")));
            self.messages.push(message);
        }
    }

    /// Everything that is due up to this many seconds after [`T0`].
    pub(super) fn until(&mut self, seconds: i64) {
        self.until_ms(seconds * 1000);
    }

    /// The same in milliseconds.
    pub(super) fn until_ms(&mut self, ms: i64) {
        let end_ms = T0 + ms;
        while let Some(due_ms) =
            self.manners.next_due_ms(self.now_ms).filter(|due_ms| *due_ms <= end_ms)
        {
            self.now_ms = due_ms.max(self.now_ms);
            let step = self.manners.advance(self.now_ms);
            self.settle(step);
        }
        self.now_ms = end_ms;
    }

    pub(super) fn begin(&mut self, text: &str) {
        let step = self.manners.take(&[firing(text, self.now_ms)], self.now_ms);
        self.settle(step);
    }

    pub(super) fn end(&mut self, text: &str) {
        let step = self.manners.take(&[resolved(text, self.now_ms)], self.now_ms);
        self.settle(step);
    }

    pub(super) fn silence(&mut self, matcher: &str, from: i64, to: i64) -> String {
        let matchers = Matchers::parse(matcher).unwrap();
        let silence = Silence {
            id: String::new(),
            matchers: matchers.iter().map(SilenceMatcher::from_matcher).collect(),
            starts_at_ms: T0 + from * 1000,
            ends_at_ms: T0 + to * 1000,
            updated_at_ms: 0,
            created_by: "me".to_owned(),
            comment: "test".to_owned(),
        };
        let (id, step) = self.manners.put_silence(silence, self.now_ms).unwrap();
        self.settle(step);
        id
    }

    /// Kills the service and starts it again.
    pub(super) fn restart(&mut self) {
        let config = self.manners.config.clone();
        let kept = self.rows.clone().into_iter().collect();
        let (manners, step) = Manners::new(config, kept, self.now_ms);
        self.manners = manners;
        self.settle(step);
    }

    pub(super) fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }
}

/// What nobody configures, but that a new group waits for a whole second.
pub(super) fn by_cause() -> MannersSpec {
    let text = |text: &str| Some(text.to_owned());
    let route = RouteSpec { receiver: text("a"), group_wait: text("1s"), ..RouteSpec::default() };
    MannersSpec { route: Some(route), ..MannersSpec::default() }
}

use matchers::Matchers;

const GROUPED: &str = "{receiver: a, group_by: [alertname], group_wait: 10s, group_interval: 60s, \
                       repeat_interval: 10m}";

#[test]
fn a_group_waits_speaks_and_repeats() {
    let mut stage = Stage::new(by_labels(GROUPED));
    stage.begin("alertname=X n=1");
    stage.until(5);
    stage.begin("alertname=X n=2");
    stage.begin("alertname=Y");
    stage.until(100);
    assert_eq!(stage.told(), ["10 a New +X +X", "15 a New +Y"]);
    stage.begin("alertname=X n=3");
    stage.end("alertname=X n=1");
    stage.end("alertname=Y");
    stage.until(700);
    assert_eq!(stage.told(), ["130 a Changed +X +X -X", "135 a Resolved -Y"]);
    stage.until(735);
    assert_eq!(stage.told(), ["730 a Reminder +X +X"]);
    stage.end("alertname=X n=2");
    stage.end("alertname=X n=3");
    stage.until(2000);
    assert_eq!(stage.told(), ["790 a Resolved -X -X"]);
    stage.until(5000);
    assert!(stage.rows.is_empty(), "{:?}", stage.rows.keys());
    assert_eq!(stage.manners.next_due_ms(stage.now_ms), None);
}

/// A clock that was a day ahead, and is set right while the program runs or before it starts again.
#[test]
fn a_clock_that_is_set_back_keeps_nobody_waiting() {
    const DAY_S: i64 = 86_400;
    for is_restarted in [false, true] {
        let mut stage = Stage::new(by_labels(GROUPED));
        stage.until(DAY_S);
        stage.begin("alertname=X n=1");
        stage.until(DAY_S + 60);
        stage.begin("alertname=Y");
        assert_eq!(stage.told(), [format!("{} a New +X", DAY_S + 10)]);
        stage.now_ms = T0;
        if is_restarted {
            stage.restart();
        }
        stage.begin("alertname=X n=2");
        stage.until(60);
        assert_eq!(stage.told(), ["0 a Changed +X +X", "10 a New +Y"], "{is_restarted}");
        stage.end("alertname=Y");
        stage.until(650);
        assert_eq!(stage.told(), ["70 a Resolved -Y", "610 a Reminder +X +X"], "{is_restarted}");
    }
}

#[test]
fn posted_alerts_end_though_the_clock_is_set_back() {
    const DAY_S: i64 = 86_400;
    let mut stage = Stage::new(by_labels(GROUPED));
    stage.until(DAY_S);
    let posted = Posted { labels: labels("alertname=X"), ..Posted::default() };
    let (step, problems) = stage.manners.post(&[posted], stage.now_ms);
    stage.settle(step);
    assert_eq!(problems, Vec::<String>::new());
    stage.until(DAY_S + 20);
    stage.now_ms = T0;
    stage.until(600);
    let told = stage.told();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1], "310 a Resolved -X");
}

/// What flapped by a clock that was a day ahead is quiet as long after that is set right as ever.
#[test]
fn what_flaps_is_quiet_in_time_though_the_clock_is_set_back() {
    const DAY_S: i64 = 86_400;
    for is_restarted in [false, true] {
        let mut stage = Stage::of_causes();
        for round in 0..5 {
            stage.until(DAY_S + round * 60);
            stage.begin("alertname=X instance=n");
            stage.until(DAY_S + round * 60 + 30);
            stage.end("alertname=X instance=n");
        }
        assert_eq!(stage.told().last().unwrap(), &format!("{} a New +X", DAY_S + 181));
        stage.now_ms = T0;
        if is_restarted {
            stage.restart();
        }
        stage.until(1799);
        assert_eq!(stage.told(), Vec::<String>::new(), "it still flaps, {is_restarted}");
        stage.until(1900);
        assert_eq!(stage.told(), ["1801 a Resolved -X"], "{is_restarted}");
        stage.begin("alertname=X instance=n");
        stage.until(2000);
        assert_eq!(stage.told(), ["1901 a New +X"], "{is_restarted}");
        assert!(!stage.messages.last().unwrap().alerts[0].annotations.contains_key(FLAPPING));
    }
}

/// How often something began by a clock that was a day ahead is forgotten in time, too.
#[test]
fn what_began_often_does_not_flap_later_though_the_clock_is_set_back() {
    const DAY_S: i64 = 86_400;
    for is_restarted in [false, true] {
        for (begin_s, flaps) in [(1790, true), (1810, false)] {
            let mut stage = Stage::of_causes();
            for round in 0..3 {
                stage.until(DAY_S + round * 60);
                stage.begin("alertname=X instance=n");
                stage.until(DAY_S + round * 60 + 30);
                stage.end("alertname=X instance=n");
            }
            stage.until(DAY_S + 200);
            stage.now_ms = T0;
            if is_restarted {
                stage.restart();
            }
            stage.until(begin_s);
            stage.begin("alertname=X instance=n");
            stage.until(begin_s + 10);
            let alert = &stage.messages.last().unwrap().alerts[0];
            assert_eq!(alert.status, Status::Firing, "{is_restarted} {begin_s}");
            assert_eq!(alert.annotations.contains_key(FLAPPING), flaps, "{is_restarted} {begin_s}");
        }
    }
}

#[test]
fn messages_of_a_group_are_one_thread_from_its_beginning_to_its_end() {
    let mut stage = Stage::new(by_labels(GROUPED));
    stage.begin("alertname=X n=1");
    stage.until(70);
    stage.begin("alertname=X n=2");
    stage.until(130);
    stage.end("alertname=X n=1");
    stage.end("alertname=X n=2");
    stage.until(200);
    stage.begin("alertname=X n=1");
    stage.until(300);
    let threads: Vec<&str> = stage.messages.iter().map(|m| m.thread.as_str()).collect();
    let ids: Vec<&str> = stage.messages.iter().map(|m| m.id.as_str()).collect();
    assert_eq!(threads, [ids[0], ids[0], ids[0], ids[3]]);
    assert_eq!(stage.messages[0].group_key, "{}:{alertname=\"X\"}");
    let timeline: Vec<_> =
        stage.messages[2].timeline.iter().map(|e| (e.time_ms - T0) / 1000).collect();
    assert_eq!(timeline, [0, 70, 130, 130]);
}

#[test]
fn group_keys_are_quoted_as_go_does() {
    let odd = BTreeMap::from([("a".to_owned(), "x\"\\\n\u{1}é\u{a0}\u{1f600}".to_owned())]);
    assert_eq!(label_set_text(&odd), "{a=\"x\\\"\\\\\\n\\x01é\\u00a0\u{1f600}\"}");
}

#[test]
fn routes_are_taken_and_continued() {
    let mut stage = Stage::new(by_labels(
        "{receiver: a, group_by: ['...'], group_wait: 0s, routes: [
            {matchers: ['severity=critical'], receiver: b, continue: true},
            {match: {severity: critical}, receiver: c, routes: [{match_re: {n: '1|2'}, receiver: a}]}]}",
    ));
    stage.begin("alertname=X severity=critical n=3");
    stage.begin("alertname=Y severity=critical n=2");
    stage.begin("alertname=Z");
    stage.until(1);
    let mut told = stage.told();
    told.sort();
    assert_eq!(told, ["0 a New +Y", "0 a New +Z", "0 b New +X", "0 b New +Y", "0 c New +X"]);
    let keys: Vec<_> = stage.messages.iter().map(|m| m.group_key.clone()).collect();
    assert!(keys.iter().any(|key| key.starts_with(
        r#"{}/{severity="critical"}/{n=~"1|2"}:{alertname="Y", n="2", severity="critical"}"#
    )));
}

#[test]
fn a_silenced_alert_is_told_when_the_silence_ends() {
    let mut stage = Stage::new(by_labels(GROUPED));
    let id = stage.silence("alertname=X", 0, 3600);
    stage.begin("alertname=X");
    stage.until(100);
    assert!(stage.told().is_empty());
    let alert = stage.manners.alert(&fp("alertname=X"), stage.now_ms).unwrap();
    assert_eq!((alert.state(), alert.silenced_by), ("suppressed", vec![id.clone()]));
    let step = stage.manners.expire_silence(&id, stage.now_ms).unwrap();
    stage.settle(step);
    stage.until(200);
    assert_eq!(stage.told(), ["130 a New +X"]);
    let again = stage.manners.expire_silence(&id, stage.now_ms).unwrap_err();
    assert_eq!(again, SilenceError::AlreadyExpired(id.clone()));
    stage.until(100 + 120 * 3600 - 1);
    assert_eq!(stage.manners.silences(stage.now_ms).len(), 1);
    stage.until(100 + 120 * 3600);
    assert!(stage.manners.silence(&id, stage.now_ms).is_none());
    assert!(!stage.rows.keys().any(|key| key.starts_with("silence/")));
}

#[test]
fn a_silence_is_changed_or_replaced() {
    let mut stage = Stage::new(by_labels(GROUPED));
    let id = stage.silence("alertname=X", 0, 3600);
    stage.until(10);
    let (known, _) = stage.manners.silence(&id, stage.now_ms).unwrap();
    let longer = Silence { ends_at_ms: T0 + 7_200_000, ..known.clone() };
    let (same, _) = stage.manners.put_silence(longer.clone(), stage.now_ms).unwrap();
    assert_eq!(same, id);
    let mut other = longer;
    other.matchers[0].value = "Y".to_owned();
    let (new, _) = stage.manners.put_silence(other, stage.now_ms).unwrap();
    assert_ne!(new, id);
    let states: Vec<_> = stage.manners.silences(stage.now_ms).into_iter().collect();
    assert_eq!(
        states.iter().map(|(s, state)| (s.id.clone(), *state)).collect::<Vec<_>>(),
        [(new, SilenceState::Active), (id, SilenceState::Expired)]
    );
    let unknown = Silence { id: "nothing".to_owned(), ..known.clone() };
    let unknown = stage.manners.put_silence(unknown, stage.now_ms).unwrap_err();
    assert_eq!(unknown, SilenceError::NotFound("nothing".to_owned()));
    let everything = Silence { id: String::new(), matchers: Vec::new(), ..known.clone() };
    assert!(stage.manners.put_silence(everything, stage.now_ms).is_err());
    let mut long = Silence { id: String::new(), ..known.clone() };
    long.matchers[0].value = "x".repeat(16 * 1024);
    let refused = stage.manners.put_silence(long, stage.now_ms).unwrap_err();
    assert_eq!(refused, SilenceError::Invalid("the matchers are too long".to_owned()));
    let mut heavy = Silence { id: String::new(), ..known.clone() };
    let matcher = |at: usize| SilenceMatcher {
        name: format!("l{at}"),
        value: format!("\\pL{{6}}{at}"),
        is_regex: true,
        is_equal: true,
    };
    heavy.matchers = (0..100).map(matcher).collect();
    let refused = stage.manners.put_silence(heavy, stage.now_ms).unwrap_err();
    assert!(refused.to_string().contains("16 MiB"), "patterns share their room: {refused}");
    let mut all = known;
    all.id = String::new();
    all.matchers[0].value = ".*".to_owned();
    all.matchers[0].is_regex = true;
    assert!(stage.manners.put_silence(all, stage.now_ms).is_err());
}

#[test]
fn an_inhibited_alert_is_told_when_the_other_is_over() {
    let mut spec = by_labels(GROUPED);
    spec.inhibit = vec![InhibitSpec {
        source_matchers: Some(Texts::One("severity=critical".to_owned())),
        target_matchers: Some(Texts::One("severity=warning".to_owned())),
        equal: vec!["n".to_owned()],
        ..InhibitSpec::default()
    }];
    let mut stage = Stage::new(spec);
    stage.begin("alertname=Big severity=critical n=1");
    stage.begin("alertname=Small severity=warning n=1");
    stage.begin("alertname=Else severity=warning n=2");
    stage.until(60);
    assert_eq!(stage.told(), ["10 a New +Big", "10 a New +Else"]);
    let small = fp("alertname=Small severity=warning n=1");
    let small = stage.manners.alert(&small, stage.now_ms).unwrap();
    assert_eq!(small.inhibited_by, [fp("alertname=Big severity=critical n=1")]);
    stage.end("alertname=Big severity=critical n=1");
    stage.until(130);
    let mut told = stage.told();
    told.sort();
    assert_eq!(told, ["70 a New +Small", "70 a Resolved -Big"]);
}

#[test]
fn posted_alerts_end_when_they_are_not_posted_again() {
    let mut stage = Stage::new(by_labels(GROUPED));
    let posted = |text: &str, ends: Option<i64>| Posted {
        labels: labels(text),
        ends_at_ms: ends,
        ..Posted::default()
    };
    let (step, problems) = stage.manners.post(
        &[posted("alertname=X", None), posted("", None), posted("alertname=Y", Some(T0 + 30_000))],
        stage.now_ms,
    );
    stage.settle(step);
    assert_eq!(problems, ["at least one label pair required"]);
    stage.until(200);
    assert_eq!(stage.told(), ["10 a New +X", "10 a New +Y", "70 a Resolved -Y"]);
    let (step, _) = stage.manners.post(&[posted("alertname=X", None)], stage.now_ms);
    stage.settle(step);
    stage.until(490);
    assert!(stage.told().is_empty(), "it was posted again at 200 and holds to 500");
    stage.until(600);
    assert_eq!(stage.told(), ["550 a Resolved -X"]);
}

#[test]
fn an_alert_that_would_begin_after_its_supposed_end_is_refused() {
    let mut stage = Stage::new(by_labels(GROUPED));
    let posted = |starts_at_ms| Posted {
        labels: labels("alertname=X"),
        starts_at_ms: Some(starts_at_ms),
        ..Posted::default()
    };
    let timeout_ms = stage.manners.config.resolve_timeout_ms;
    let (_, problems) = stage.manners.post(&[posted(T0 + timeout_ms + 1)], T0);
    assert_eq!(problems, ["start time must be before end time"]);
    let (_, problems) = stage.manners.post(&[posted(T0 + timeout_ms)], T0);
    assert_eq!(problems, [""; 0]);
    let listed = stage.manners.alerts(&AlertsFilter::default(), T0);
    assert!(listed.iter().all(|status| status.alert.starts_at_ms <= status.ends_at_ms));
}

#[test]
fn a_posted_alert_that_takes_too_much_room_is_refused_by_name() {
    let mut stage = Stage::new(by_labels(GROUPED));
    let posted = |name: &str, each: usize| Posted {
        labels: [("alertname", name.to_owned()), ("l", "x".repeat(each))]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
        annotations: [("a".to_owned(), "y".repeat(each))].into(),
        generator_url: "z".repeat(each),
        ..Posted::default()
    };
    let most = POSTED_LEN_MAX / 3 - 100;
    let long = "N".repeat(POSTED_LEN_MAX);
    let alerts = [posted("Fits", most), posted("Large", most + 200), posted(&long, 1)];
    let (_, problems) = stage.manners.post(&alerts, stage.now_ms);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("alert \"Large\" has 16"), "{problems:?}");
    assert!(problems[0].ends_with("bytes, over the limit of 16384"), "{problems:?}");
    assert!(problems[1].len() < 200, "the name itself may be what is long: {problems:?}");
}

/// However large each may be, all of them together have a bound, and what finds no room is told.
#[test]
fn posted_alerts_take_bounded_room_together() {
    let mut stage = Stage::new(by_labels(GROUPED));
    stage.manners.room.posted_max = 1024 * 1024;
    let posted = |at: usize, len: usize| Posted {
        labels: labels(&format!("alertname=P{at:03}")),
        annotations: [("a".to_owned(), "y".repeat(len))].into(),
        ..Posted::default()
    };
    let flood: Vec<Posted> = (0..200).map(|at| posted(at, 10_000)).collect();
    let room_of = |stage: &Stage| {
        let posted = stage.manners.alerts.values().filter(|l| l.row.origin != Origin::Rules);
        posted.map(|live| room::len_of(&live.row.alert)).sum::<usize>()
    };
    for _ in 0..2 {
        let (step, problems) = stage.manners.post(&flood, stage.now_ms);
        stage.settle(step);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(stage.manners.alerts.len(), 104 + 1, "what fits, and the word of what does not");
        assert!(room_of(&stage) <= 1024 * 1024);
    }
    let own = &stage.manners.alerts[&stage.manners.refused_fingerprint()].row.alert;
    assert_eq!(own.annotations["summary"], "More than 1 MiB of posted alerts at one time");
    // One that is there goes on, also when it says more than there is room for.
    stage.until(200);
    let (step, _) = stage.manners.post(&[posted(7, 16_000)], stage.now_ms);
    stage.settle(step);
    assert!(room_of(&stage) <= 1024 * 1024);
    stage.restart();
    stage.manners.room.posted_max = 1024 * 1024;
    let (step, _) = stage.manners.post(&[posted(300, 16_000)], stage.now_ms);
    stage.settle(step);
    assert_eq!(stage.manners.alerts.len(), 104 + 1, "what was kept takes room as before");
    // What is over gives its room back.
    stage.until(7 * 86_400);
    let (step, _) = stage.manners.post(&flood[150..], stage.now_ms);
    stage.settle(step);
    assert_eq!(room_of(&stage), 50 * 10_014);
    assert_eq!(stage.manners.room.posted_sum(), room_of(&stage));
}

/// What a rule holds takes no posted room, whoever else posts it, and who posts is not asked for: the
/// rules need not be gone through for what they did not say.
#[test]
fn a_rules_alert_that_is_posted_too_takes_no_posted_room() {
    let mut stage = Stage::new(by_labels(GROUPED));
    let posted = |name: &str| Posted {
        labels: labels(&format!("alertname={name}")),
        annotations: [("a".to_owned(), "y".repeat(1_000))].into(),
        ..Posted::default()
    };
    stage.begin("alertname=Ruled");
    stage.manners.room.posted_max = 1_100;
    let (step, _) = stage.manners.post(&[posted("P"), posted("Ruled")], stage.now_ms);
    stage.settle(step);
    let own = stage.manners.refused_fingerprint();
    assert!(!stage.manners.alerts.contains_key(&own), "the post says nothing of the rule's alert");
    let (step, _) = stage.manners.post(&[posted("Q")], stage.now_ms);
    stage.settle(step);
    assert!(stage.manners.alerts.contains_key(&own));
    assert_eq!(stage.manners.next_ask_ms(), None);

    // A rule takes over what was posted, found when the rules are gone through.
    let found = stage.manners.alerts[&fp("alertname=P")].row.alert.clone();
    let step = stage.manners.reconcile(vec![found], |_| true, stage.now_ms);
    stage.settle(step);
    assert_eq!(stage.manners.room.posted_sum(), 0);
    // Once the rule's is over, its texts find no posted room that the post itself does not find.
    stage.end("alertname=Ruled");
    stage.manners.room.posted_max = 10;
    let (step, _) = stage.manners.post(&[posted("Ruled")], stage.now_ms);
    stage.settle(step);
    assert_eq!(stage.manners.room.posted_sum(), 0);
}

#[test]
fn what_nobody_acknowledges_goes_to_the_next() {
    let mut spec = by_cause();
    spec.escalation = Some(EscalationSpec { after: "30m".to_owned(), receiver: "b".to_owned() });
    let mut stage = Stage::new(spec.clone());
    stage.begin("alertname=X instance=n");
    stage.until(3600);
    assert_eq!(stage.told(), ["1 a New +X", "1801 b Escalation +X"]);
    assert_eq!(stage.messages[1].told, ["a"]);
    stage.end("alertname=X instance=n");
    stage.until(3700);
    assert_eq!(stage.told(), ["3601 a Resolved -X", "3601 b Resolved -X"]);

    let mut stage = Stage::new(spec);
    stage.begin("alertname=X instance=n");
    stage.until(60);
    let thread = stage.messages[0].thread.clone();
    let target = AckTarget::Thread(thread);
    let acked = stage.manners.acknowledge(&target, "me", "on it", None, stage.now_ms);
    let (found, step) = acked.unwrap();
    stage.settle(step);
    assert_eq!(found, [fp("alertname=X instance=n")]);
    stage.restart();
    stage.until(3 * 86_400);
    assert_eq!(stage.told(), ["1 a New +X"], "neither escalated nor repeated");
    stage.end("alertname=X instance=n");
    stage.until(3 * 86_400 + 10);
    stage.begin("alertname=X instance=n");
    stage.until(3 * 86_400 + 3600);
    let told = stage.told();
    assert_eq!(told.len(), 3, "resolved, new and escalated: {told:?}");
}

#[test]
fn an_acknowledgement_may_end_by_itself() {
    let mut stage = Stage::of_causes();
    stage.begin("alertname=X instance=n");
    stage.until(60);
    let target = AckTarget::Fingerprints(vec![fp("alertname=X instance=n")]);
    let until_ms = Some(T0 + 30 * 3_600_000);
    let (_, step) = stage.manners.acknowledge(&target, "me", "", until_ms, stage.now_ms).unwrap();
    stage.settle(step);
    stage.until(36 * 3600);
    assert_eq!(stage.told(), ["1 a New +X", "108001 a Reminder +X"]);
    let none = AckTarget::Group("{}:{}".to_owned());
    assert_eq!(
        stage.manners.acknowledge(&none, "me", "", None, stage.now_ms).unwrap_err(),
        AckError::NotFound
    );
}

#[test]
fn what_flaps_is_told_once_and_again_when_it_is_quiet() {
    let mut stage = Stage::of_causes();
    for round in 0..10 {
        stage.until(round * 60);
        stage.begin("alertname=X instance=n");
        stage.until(round * 60 + 30);
        stage.end("alertname=X instance=n");
    }
    stage.until(600);
    assert_eq!(
        stage.told(),
        [
            "1 a New +X",
            "31 a Resolved -X",
            "61 a New +X",
            "91 a Resolved -X",
            "121 a New +X",
            "151 a Resolved -X",
            "181 a New +X"
        ]
    );
    assert_eq!(stage.messages[6].alerts[0].annotations[FLAPPING], "4");
    stage.restart();
    stage.until(7200);
    assert_eq!(stage.told(), ["2371 a Resolved -X"]);
    assert_eq!(stage.messages[7].alerts[0].ends_at_ms, Some(T0 + 570_000));
    stage.until(86_400);
    assert!(stage.rows.is_empty(), "{:?}", stage.rows.keys());
}

#[test]
fn in_a_maintenance_nothing_is_told_and_then_what_still_holds() {
    let mut spec = by_cause();
    spec.maintenance = vec![MaintenanceSpec {
        node: Texts::One("nas".to_owned()),
        every: Some("04:10-05:00".to_owned()),
        from: None,
        to: None,
        location: None,
        comment: "disks".to_owned(),
    }];
    let mut stage = Stage::new(spec);
    stage.begin("alertname=Before instance=nas");
    stage.until(700);
    assert_eq!(stage.told(), ["1 a New +Before"]);
    stage.begin("alertname=Holds instance=nas");
    stage.begin("alertname=Passes instance=nas");
    stage.begin("alertname=Elsewhere instance=other");
    stage.end("alertname=Before instance=nas");
    stage.until(2000);
    let alert = stage.manners.alert(&fp("alertname=Holds instance=nas"), stage.now_ms).unwrap();
    assert_eq!(alert.muted_by, ["maintenance: disks"]);
    stage.end("alertname=Passes instance=nas");
    stage.restart();
    stage.until(3599);
    assert_eq!(stage.told(), ["701 a New +Elsewhere"]);
    stage.until(3600);
    let mut told = stage.told();
    told.sort();
    assert_eq!(told, ["3600 a New +Holds", "3600 a Resolved -Before"]);
}

#[test]
fn mute_times_hold_back() {
    let mut spec = by_labels(
        "{receiver: a, group_wait: 0s, group_interval: 5m, group_by: ['...'], routes: [
            {receiver: b, mute_time_intervals: [night]}]}",
    );
    spec.times = serde_saphyr::from_str(
        "[{name: night, time_intervals: [{times: [{start_time: '00:00', end_time: '06:00'}]}]}]",
    )
    .unwrap();
    let mut stage = Stage::new(spec);
    stage.begin("alertname=X");
    stage.until(7199);
    assert!(stage.told().is_empty());
    let alert = stage.manners.alert(&fp("alertname=X"), stage.now_ms).unwrap();
    assert_eq!(alert.muted_by, ["night"]);
    stage.until(7500);
    assert_eq!(stage.told(), ["7200 b New +X"]);
}

#[test]
fn a_new_configuration_repeats_nothing() {
    let mut stage = Stage::new(by_labels(GROUPED));
    stage.begin("alertname=X");
    stage.until(60);
    let more = "{receiver: a, group_by: [alertname], group_wait: 10s, group_interval: 60s, \
                repeat_interval: 10m, routes: [{receiver: b, matchers: ['n=1']}]}";
    let step = stage.manners.reconfigure(build(by_labels(more)), stage.now_ms);
    stage.settle(step);
    stage.begin("alertname=X n=1");
    stage.until(500);
    assert_eq!(stage.told(), ["10 a New +X", "70 b New +X"]);
}

#[test]
fn damaged_rows_are_left_out() {
    let mut stage = Stage::of_causes();
    stage.begin("alertname=X instance=n");
    stage.begin("alertname=Y instance=n");
    stage.silence("alertname=Z", 0, 100);
    stage.until(10);
    stage.told();
    for (key, value) in &mut stage.rows {
        if key.starts_with("silence/") || key.ends_with(&fp("alertname=Y instance=n")) {
            value.truncate(10);
        }
    }
    stage.rows.insert("alert/garbage".to_owned(), vec![0xff, 0]);
    stage.restart();
    stage.until(400);
    assert!(stage.told().is_empty());
    assert!(!stage.rows.contains_key("alert/garbage"));
    assert_eq!(stage.manners.alerts(&AlertsFilter::default(), stage.now_ms).len(), 1);
    stage.end("alertname=X instance=n");
    stage.until(500);
    assert_eq!(stage.told(), ["401 a Resolved -X"]);
}

#[test]
fn a_row_of_a_silence_that_ends_before_it_begins_is_left_out() {
    let mut stage = Stage::new(by_labels(GROUPED));
    let id = stage.silence("alertname=X", 0, 100);
    let key = format!("silence/{id}");
    let mut row: Silence = serde_json::from_slice(&stage.rows[&key]).unwrap();
    row.starts_at_ms = row.ends_at_ms + 1;
    stage.rows.insert(key.clone(), serde_json::to_vec(&row).unwrap());
    stage.restart();
    assert!(stage.manners.silences(stage.now_ms).is_empty());
    assert!(!stage.rows.contains_key(&key));
}

#[test]
fn rows_with_times_of_no_calendar_do_no_harm() {
    for time_ms in [i64::MIN, i64::MAX] {
        let mut stage = Stage::new(by_labels(GROUPED));
        stage.begin("alertname=X instance=n");
        stage.until(20);
        for value in stage.rows.values_mut() {
            let mut row: serde_json::Value = serde_json::from_slice(value).unwrap();
            let mut fields = vec![&mut row];
            while let Some(field) = fields.pop() {
                match field {
                    serde_json::Value::Object(object) => fields.extend(object.values_mut()),
                    serde_json::Value::Number(number) if number.as_i64() > Some(T0 - 1) => {
                        *field = time_ms.into();
                    }
                    _ => {}
                }
            }
            if let Some(object) = row.as_object_mut().filter(|row| row.contains_key("alert")) {
                let flapping =
                    serde_json::json!({"count": 1, "changed_ms": time_ms, "ended_ms": null});
                object.insert("flapping".to_owned(), flapping);
            }
            *value = serde_json::to_vec(&row).unwrap();
        }
        stage.restart();
        stage.until(40);
        assert_eq!(stage.manners.alerts(&AlertsFilter::default(), stage.now_ms).len(), 1);
    }
}

#[test]
fn a_flood_is_told_as_one() {
    let mut stage = Stage::of_causes();
    stage.manners.room.alerts_max = 100;
    let all: Vec<Notification> =
        (0..107).map(|n| firing(&format!("alertname=F n={n}"), T0)).collect();
    let step = stage.manners.take(&all, T0);
    assert_eq!(stage.manners.refused_len(), 7);
    assert_eq!(stage.manners.next_ask_ms(), Some(ASK_AGAIN_MS));
    drop(step);
    assert!(stage.manners.alert(&stage.manners.refused_fingerprint(), T0).is_some());
    stage.manners.tick(T0 + REFUSED_FOR_MS);
    let own = stage.manners.refused_fingerprint();
    assert!(!stage.manners.alerts[&own].fires);
}

/// What found no room begins when there is some, as it would have begun then.
#[test]
fn what_found_no_room_is_told_once_there_is_room() {
    let mut spec = by_labels(GROUPED);
    spec.flapping.changes = 0; // else one that is over takes up room for a while
    let mut stage = Stage::new(spec);
    stage.manners.set_room(2);
    let name = |n: usize| format!("alertname=F{n}");
    for n in 0..4 {
        stage.begin(&name(n));
    }
    stage.until(30);
    let mut told = stage.told();
    told.sort();
    assert_eq!(told, ["10 a New +F0", "10 a New +F1", "10 a New +TooManyAlerts"]);
    let ask = |stage: &mut Stage, fire: &[usize]| {
        let all = fire.iter().map(|n| firing(&name(*n), T0));
        let lacking = all.filter(|alert| stage.manners.lacks(&alert.fingerprint)).collect();
        let fires = |fp: &str| fire.iter().any(|n| firing(&name(*n), T0).fingerprint == fp);
        let step = stage.manners.reconcile(lacking, fires, stage.now_ms);
        stage.settle(step);
    };
    ask(&mut stage, &[0, 1, 2, 3]);
    assert_eq!(stage.manners.refused_len(), 2, "there is no room yet");
    assert_eq!(stage.manners.next_ask_ms(), Some(stage.now_ms + ASK_AGAIN_MS));
    stage.end(&name(0));
    stage.until(200);
    assert_eq!(stage.told(), ["70 a Resolved -F0"]);
    ask(&mut stage, &[1, 2]);
    // There was room for one, and the other is over meanwhile.
    assert_eq!(stage.manners.next_ask_ms(), None);
    let alert = stage.manners.alert(&fp(&name(2)), stage.now_ms).unwrap().alert;
    assert_eq!(alert.starts_at_ms, T0, "it began when it did");
    stage.until(500);
    assert_eq!(stage.told(), ["200 a New +F2"]);
    // The lack of room is told for ten minutes after it was last seen.
    stage.until(790);
    assert_eq!(stage.told().last().unwrap(), "670 a Resolved -TooManyAlerts");
}

/// Whoever posts an alert that a rule has found neither ends it nor says when it is over.
#[test]
fn a_rule_has_the_last_word_on_its_alert() {
    let mut stage = Stage::new(by_labels(GROUPED));
    let post = |stage: &mut Stage, ends_at_ms: i64| {
        let labels = labels("alertname=X");
        let posted = Posted {
            labels,
            starts_at_ms: Some(T0),
            ends_at_ms: Some(ends_at_ms),
            ..Posted::default()
        };
        let (step, problems) = stage.manners.post(&[posted], stage.now_ms);
        assert_eq!(problems, Vec::<String>::new());
        stage.settle(step);
    };
    // The rule finds what was posted before.
    post(&mut stage, T0 + 100_000);
    stage.begin("alertname=X");
    stage.until(200);
    assert!(!stage.manners.lacks(&fp("alertname=X")));
    // And what is posted after it.
    post(&mut stage, T0 + 300_000);
    stage.until(400);
    let ends_at_ms = stage.now_ms;
    post(&mut stage, ends_at_ms);
    stage.restart();
    stage.until(450);
    assert_eq!(stage.told(), ["10 a New +X"]);
    stage.end("alertname=X");
    stage.until(900);
    assert_eq!(stage.told(), ["490 a Resolved -X"]);
}

#[test]
fn a_silence_that_cannot_be_replaced_holds_as_it_was() {
    let mut stage = Stage::new(by_labels(GROUPED));
    let id = stage.silence("alertname=X", 0, 3600);
    let (known, _) = stage.manners.silence(&id, stage.now_ms).unwrap();
    for n in 1..silences::SILENCES_MAX {
        let other = Silence { id: format!("other-{n}"), ..known.clone() };
        stage.manners.silences.restore(other).unwrap();
    }
    let mut changed = known;
    changed.matchers[0].value = "Y".to_owned();
    let refused = stage.manners.put_silence(changed, stage.now_ms).unwrap_err();
    assert_eq!(refused, SilenceError::TooMany);
    let (_, state) = stage.manners.silence(&id, stage.now_ms).unwrap();
    assert_eq!(state, SilenceState::Active);
}
