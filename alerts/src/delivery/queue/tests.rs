//! A receiver's queue by itself: which message is next, what is summed up, tried again and given up.
//! One property is tried over random orders of all that can happen to it, crashes among them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::ledger::{Ledger, MemoryLedger};
use crate::notification::{Notification, Status};

fn alert(name: &str, severity: &str, status: Status) -> Notification {
    let labels = [("alertname", name), ("severity", severity)];
    Notification {
        fingerprint: name.to_owned(),
        status,
        labels: labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        annotations: BTreeMap::new(),
        active_at_ms: 0,
        starts_at_ms: 0,
        ends_at_ms: None,
        value: 1.0,
        generator_url: String::new(),
    }
}

fn message(name: &str, severity: &str) -> Message {
    Message::about(alert(name, severity, Status::Firing), "phone")
}

fn resolved(name: &str) -> Message {
    Message::about(alert(name, "warning", Status::Resolved), "phone")
}

/// A queue over rows in memory, as a task drives it.
struct Lab {
    queue: Queue,
    rows: MemoryLedger,
    seq: u64,
    now_ms: i64,
    rate: Rate,
}

impl Lab {
    fn new(rate: &str) -> Self {
        let rate = rate.parse().unwrap();
        let queue = Queue::new("phone", rate, &DeliveryOptions::default());
        Self { queue, rows: MemoryLedger::default(), seq: 0, now_ms: 1_000_000_000, rate }
    }

    /// What a crash leaves.
    fn crash(&mut self) {
        let mut rows = row::read(self.rows.load(row::PREFIX).unwrap());
        self.seq = rows.last_seq;
        self.queue = Queue::new("phone", self.rate, &DeliveryOptions::default());
        self.queue.restore(&mut rows);
        assert!(rows.messages.is_empty() && rows.sent.is_empty());
    }

    fn add(&mut self, message: Message) {
        self.seq += 1;
        let queued = Queued::new(message, self.now_ms);
        self.rows.commit(&[row::put_message(self.seq, &queued)]).unwrap();
        self.queue.push(self.seq, queued);
    }

    fn fold_overflow(&mut self) {
        if self.queue.is_over_full() {
            let mut entries = Vec::new();
            self.seq += 1;
            let seq = self.seq;
            self.queue.fold_overflow(|| seq, self.now_ms, &mut entries);
            self.rows.commit(&entries).unwrap();
        }
    }

    fn next(&mut self) -> Next {
        let mut entries = Vec::new();
        let seq = &mut self.seq;
        let next = self.queue.next(
            self.now_ms,
            || {
                *seq += 1;
                *seq
            },
            &mut entries,
        );
        self.rows.commit(&entries).unwrap();
        next
    }

    /// The next attempt, after as much time as it takes.
    fn attempt(&mut self) -> Option<Attempt> {
        loop {
            match self.next() {
                Next::Attempt(attempt) => return Some(*attempt),
                Next::Wait(until_ms) => {
                    assert!(until_ms > self.now_ms, "no waiting for what is past");
                    self.now_ms = until_ms;
                }
                Next::Idle => return None,
            }
        }
    }

    fn delivered(&mut self) {
        let mut entries = Vec::new();
        self.queue.delivered(self.now_ms, &Delivered::default(), &mut entries);
        self.rows.commit(&entries).unwrap();
    }

    /// The attempt has ended, and these addresses do not take it yet.
    fn parted(&mut self, later: &[&str]) -> Option<Unreached> {
        let refusal = |to: &&str| Refusal { to: (*to).to_owned(), why: "452 full".to_owned() };
        let later = later.iter().map(refusal).collect();
        let delivered = Delivered { later, ..Delivered::default() };
        let mut entries = Vec::new();
        let mut unreached = self.queue.delivered(self.now_ms, &delivered, &mut entries);
        self.rows.commit(&entries).unwrap();
        assert!(unreached.len() <= 1, "as many as came too many");
        unreached.pop()
    }

    fn failed(&mut self, error: &SendError) -> Failure {
        let mut entries = Vec::new();
        let failure = self.queue.failed(self.now_ms, error, false, &mut entries);
        self.rows.commit(&entries).unwrap();
        failure
    }

    /// The names of the alerts of each message that goes out, all of them delivered.
    fn drain(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(attempt) = self.attempt() {
            let of_one = attempt.message.alerts.iter().map(|alert| {
                let end = if alert.status == Status::Resolved { " over" } else { "" };
                format!("{}{end}", alert.fingerprint)
            });
            names.push(of_one.collect::<Vec<_>>().join(","));
            self.delivered();
        }
        names
    }
}

fn later() -> SendError {
    SendError::Retry { why: "busy".to_owned(), after: None }
}

#[test]
fn the_urgent_come_first_and_a_thread_keeps_its_order() {
    let mut lab = Lab::new("off");
    for (name, severity) in [("a", "info"), ("b", "warning"), ("c", "critical"), ("d", "odd")] {
        lab.add(message(name, severity));
    }
    lab.add(resolved("a"));
    lab.add(message("e", "critical"));
    lab.add(resolved("e"));
    assert_eq!(lab.drain(), ["c", "e", "b", "d", "a", "a over", "e over"]);
    assert_eq!(lab.rows.load("").unwrap(), [], "nothing is left behind");
}

#[test]
fn a_message_that_is_refused_or_cannot_be_borne_does_not_keep_the_rest() {
    let mut lab = Lab::new("off");
    ["poison", "large", "x", "y"].iter().for_each(|name| lab.add(message(name, "critical")));
    let mut delivered = Vec::new();
    for _ in 0..30 {
        let Some(attempt) = lab.attempt() else { break };
        match attempt.message.alerts[0].fingerprint.as_str() {
            "poison" => assert!(matches!(lab.failed(&later()), Failure::Again(_))),
            "large" => {
                assert_eq!(lab.failed(&SendError::GiveUp("413".to_owned())), Failure::Refused);
            }
            other => {
                delivered.push(other.to_owned());
                lab.delivered();
            }
        }
    }
    assert_eq!(delivered, ["x", "y"]);
    assert_eq!(lab.queue.waiting().len, 1, "the poison waits");
    assert!(lab.now_ms - 1_000_000_000 > 60_000, "for longer and longer");
}

/// It waits by itself, for minutes; what comes then is tried at once, and only once.
#[test]
fn what_comes_after_a_message_that_cannot_be_borne_does_not_wait_for_it() {
    let mut lab = Lab::new("off");
    lab.add(message("poison", "critical"));
    for _ in 0..10 {
        lab.attempt().unwrap();
        lab.failed(&later());
    }
    let come_ms = lab.now_ms;
    lab.add(resolved("poison"));
    lab.add(message("x", "warning"));
    assert_eq!(lab.attempt().unwrap().message.alerts[0].fingerprint, "x");
    assert!(lab.now_ms - come_ms <= 2_000, "{}", lab.now_ms - come_ms);
    // So it is the receiver that is down.
    lab.failed(&later());
    lab.add(message("y", "warning"));
    let Next::Wait(until_ms) = lab.next() else { panic!("it is left alone") };
    assert!(until_ms - lab.now_ms > 60_000, "{}", until_ms - lab.now_ms);
    assert_eq!(lab.drain().len(), 4);
}

#[test]
fn a_receiver_that_asked_to_be_left_alone_is_whatever_comes() {
    let mut lab = Lab::new("off");
    lab.add(message("a", "warning"));
    lab.attempt().unwrap();
    let after = Some(Duration::from_secs(600));
    lab.failed(&SendError::Retry { why: "429".to_owned(), after });
    lab.add(message("b", "critical"));
    assert!(matches!(lab.next(), Next::Wait(until_ms) if until_ms >= lab.now_ms + 600_000));
}

#[test]
fn a_receiver_that_is_down_is_left_alone_for_longer_and_longer_and_gets_all_when_it_is_back() {
    let mut lab = Lab::new("off");
    (0..5).for_each(|at| lab.add(message(&format!("a{at}"), "warning")));
    let begun_ms = lab.now_ms;
    let mut attempts = 0;
    while lab.now_ms - begun_ms < 8 * 3_600_000 {
        lab.attempt().unwrap();
        lab.failed(&later());
        attempts += 1;
        assert!(lab.queue.waiting().failing_since_ms.is_some());
    }
    assert!((90..220).contains(&attempts), "{attempts} attempts in eight hours");
    let back_ms = lab.now_ms;
    assert_eq!(lab.drain().len(), 5);
    assert!(lab.now_ms - back_ms < 310_000, "{}", lab.now_ms - back_ms);
    assert_eq!(lab.queue.waiting().failing_since_ms, None);
}

#[test]
fn a_receiver_says_how_long_it_wants_to_be_left_alone() {
    let mut lab = Lab::new("off");
    lab.add(message("a", "warning"));
    for (asked_s, least_ms, most_ms) in [(7, 7_000, 7_001), (86_400, 3_600_000, 3_600_001)] {
        lab.attempt().unwrap();
        let after = Some(Duration::from_secs(asked_s));
        let before_ms = lab.now_ms;
        lab.failed(&SendError::Retry { why: "429".to_owned(), after });
        let Next::Wait(until_ms) = lab.next() else { panic!("it waits") };
        assert!((least_ms..most_ms).contains(&(until_ms - before_ms)), "{until_ms}");
        lab.now_ms = until_ms;
    }
}

#[test]
fn what_is_too_old_is_given_up_but_never_unattempted() {
    let mut lab = Lab::new("off");
    lab.add(message("a", "warning"));
    lab.now_ms += 48 * 3_600_000;
    lab.attempt().unwrap();
    assert_eq!(lab.failed(&later()), Failure::Expired);
    assert!(lab.queue.is_empty());
    assert_eq!(lab.rows.load("").unwrap(), []);

    lab.add(message("b", "warning"));
    let mut entries = Vec::new();
    assert_eq!(lab.queue.expire(lab.now_ms + 3_600_000, &mut entries).0, 0);
    assert_eq!(lab.queue.expire(lab.now_ms + 25 * 3_600_000, &mut entries).0, 1);
}

/// Of two addresses one is full: the other hears everything at once, and at the end it is told who
/// did not get it.
#[test]
fn what_some_have_holds_up_nothing_and_is_tried_for_the_others_alone() {
    let mut lab = Lab::new("2/10m");
    lab.add(message("a", "critical"));
    lab.add(resolved("a"));
    let begun_ms = lab.now_ms;
    let mut own = 0;
    for at in 0..4_000 {
        let Some(attempt) = lab.attempt() else { panic!("at {at}") };
        if attempt.only.is_empty() {
            own += 1;
            assert!(own == 1 || lab.now_ms - begun_ms <= 30_000, "the end waits for nobody");
        } else {
            assert_eq!(attempt.only, ["b"], "who has it does not get it again");
        }
        if !attempt.only.is_empty() && own == 2 && at % 3 == 0 {
            lab.crash();
            continue;
        }
        let unreached = lab.parted(&["b"]);
        assert_eq!(lab.queue.waiting().failing_since_ms, None);
        if lab.now_ms - begun_ms < 24 * 3_600_000 {
            assert_eq!(unreached, None);
        } else if let Some(unreached) = unreached {
            assert_eq!(unreached.refusals[0].to_string(), "b: 452 full");
            break;
        }
    }
    let age_ms = lab.now_ms - begun_ms;
    assert!((24 * 3_600_000..24 * 3_600_000 + 310_000).contains(&age_ms), "{age_ms}");
}

/// A server that is down is left alone, whoever a message is for; who takes it then is not told again.
#[test]
fn what_some_have_waits_with_a_receiver_that_is_down() {
    let mut lab = Lab::new("off");
    lab.add(message("a", "warning"));
    lab.attempt().unwrap();
    assert_eq!(lab.parted(&["b", "c"]), None);
    for _ in 0..5 {
        assert_eq!(lab.attempt().unwrap().only, ["b", "c"]);
        assert!(matches!(lab.failed(&later()), Failure::Again(_)));
    }
    let failing_since_ms = lab.queue.waiting().failing_since_ms;
    assert!(failing_since_ms.is_some());
    lab.attempt().unwrap();
    assert_eq!(lab.parted(&["b", "c"]), None);
    let waiting = lab.queue.waiting();
    assert_eq!(waiting.failing_since_ms, failing_since_ms, "nobody took anything");
    lab.attempt().unwrap();
    assert_eq!(lab.parted(&["b"]), None);
    assert_eq!(lab.queue.waiting().failing_since_ms, None, "it takes messages");
    lab.attempt().unwrap();
    lab.now_ms += 48 * 3_600_000;
    let Failure::Unreached(unreached) = lab.failed(&later()) else { panic!("not lost") };
    assert_eq!(unreached.refusals.len(), 1);
    assert_eq!(lab.rows.load("").unwrap(), []);
}

#[test]
fn few_messages_are_kept_for_those_who_do_not_take_them() {
    let mut lab = Lab::new("off");
    let mut given_up = 0;
    for at in 0..PARTED_LEN_MAX + 5 {
        lab.add(message(&format!("a{at}"), "warning"));
        while !lab.attempt().unwrap().only.is_empty() {
            lab.parted(&["b"]);
        }
        given_up += usize::from(lab.parted(&["b"]).is_some());
    }
    assert_eq!((given_up, lab.queue.waiting().len), (5, PARTED_LEN_MAX));
    assert_eq!(lab.rows.load("queue/message/").unwrap().len(), PARTED_LEN_MAX);
}

#[test]
fn after_a_crash_an_attempt_that_had_begun_is_asked_about_first() {
    let mut lab = Lab::new("off");
    lab.add(message("a", "critical"));
    lab.add(message("b", "warning"));
    let first = lab.attempt().unwrap();
    assert!(!first.ask);
    lab.crash();
    let again = lab.attempt().unwrap();
    assert_eq!((again.message.id.as_str(), again.ask), (first.message.id.as_str(), true));
    // It said that it does not have it, and then it failed for sure.
    lab.failed(&later());
    lab.crash();
    assert!(!lab.attempt().unwrap().ask);
    // Nobody knows how this one ended, though nothing crashed.
    lab.failed(&SendError::Doubt { why: "cut".to_owned(), was_there: true });
    lab.crash();
    assert!(lab.attempt().unwrap().ask);
    lab.delivered();
    lab.crash();
    assert_eq!(lab.drain(), ["b"]);
    assert_eq!(lab.rows.load("").unwrap(), []);
}

#[test]
fn one_that_does_not_answer_whether_it_has_it_gets_it_in_the_end() {
    let mut lab = Lab::new("off");
    lab.add(message("a", "critical"));
    lab.attempt().unwrap();
    lab.failed(&SendError::Doubt { why: "cut".to_owned(), was_there: true });
    let (mut unanswered, mut begun_ms) = (0, None);
    while !lab.attempt().unwrap().send_unasked {
        begun_ms.get_or_insert(lab.now_ms);
        // As long as one may wait for an answer.
        lab.now_ms += 20_000;
        let mut entries = Vec::new();
        lab.queue.failed(lab.now_ms, &later(), true, &mut entries);
        unanswered += 1;
    }
    let waited_s = (lab.now_ms - begun_ms.unwrap()) / 1000;
    assert!(unanswered > 1 && (60..100).contains(&waited_s), "{unanswered} in {waited_s} s");
}

#[test]
fn a_flood_is_a_few_messages_and_one_summary() {
    let mut lab = Lab::new("20/10m");
    for at in 0..100 {
        let severity = if at % 20 == 19 { "critical" } else { "warning" };
        lab.add(message(&format!("a{at:02}"), severity));
    }
    let mut singles = 0;
    let summary = loop {
        let attempt = lab.attempt().unwrap();
        lab.delivered();
        if attempt.message.reason == Reason::Summary {
            break attempt.message;
        }
        singles += 1;
        assert!(singles > 5 || attempt.message.alerts[0].severity() == "critical", "first");
    };
    assert_eq!(singles, 15);
    assert_eq!(summary.alerts.len() + summary.alerts_omitted, 85);
    assert_eq!(summary.alerts.len(), summary::ALERTS_MAX);
    assert_eq!(lab.now_ms, 1_000_030_000, "it waited for the flood to end");
    assert_eq!(lab.queue.waiting().summarized, 85);

    // Something critical still finds a place, at once; the rest of the flood is one more.
    lab.add(message("fire", "critical"));
    (0..50).for_each(|at| lab.add(message(&format!("b{at}"), "info")));
    assert_eq!(lab.attempt().unwrap().message.alerts[0].fingerprint, "fire");
    assert_eq!(lab.now_ms, 1_000_030_000);
    lab.delivered();
    let more = lab.attempt().unwrap().message;
    lab.delivered();
    assert_eq!((more.reason, more.alerts.len() + more.alerts_omitted), (Reason::Summary, 50));
    assert_eq!(lab.now_ms, 1_000_180_000, "summaries are apart");
    assert_eq!(lab.attempt(), None);
}

#[test]
fn the_rate_holds_across_a_crash_and_one_held_message_stays_itself() {
    let mut lab = Lab::new("2/10m");
    lab.add(message("a", "warning"));
    assert_eq!(lab.drain(), ["a"]);
    lab.crash();
    lab.add(message("b", "warning"));
    let attempt = lab.attempt().unwrap();
    assert_eq!(attempt.message.reason, Reason::New, "one alone needs no summary");
    assert_eq!(lab.now_ms, 1_000_030_000);
    lab.delivered();
    lab.crash();
    lab.add(message("c", "warning"));
    lab.attempt().unwrap();
    assert_eq!(lab.now_ms, 1_000_600_000, "the window is over for the first");
}

#[test]
fn in_a_summary_the_last_word_of_an_alert_counts_and_nothing_overtakes_it() {
    let mut lab = Lab::new("1/10m");
    lab.add(message("first", "warning"));
    assert_eq!(lab.drain(), ["first"]);
    lab.add(message("a", "warning"));
    lab.add(message("b", "critical"));
    lab.add(resolved("a"));
    let attempt = lab.attempt().unwrap();
    let told: Vec<_> =
        attempt.message.alerts.iter().map(|a| (a.fingerprint.as_str(), a.status)).collect();
    assert_eq!(told, [("b", Status::Firing), ("a", Status::Resolved)]);
    lab.failed(&later());
    lab.add(resolved("b"));
    lab.rate = Rate::OFF;
    lab.queue.set_rate(Rate::OFF);
    assert_eq!(lab.drain(), ["b,a over", "b over"]);
}

#[test]
fn a_queue_of_large_messages_becomes_a_summary_before_it_is_long() {
    let mut lab = Lab::new("off");
    let mut large = message("large", "warning");
    large.alerts[0].annotations.insert("description".to_owned(), "x".repeat(1 << 20));
    let mut most = 0;
    for at in 0..40 {
        large.alerts[0].fingerprint = format!("a{at}");
        large.id = format!("a{at}");
        large.thread.clone_from(&large.id);
        lab.add(large.clone());
        lab.fold_overflow();
        let bytes: usize =
            lab.rows.load("queue/message/").unwrap().iter().map(|(_, row)| row.len()).sum();
        most = most.max(bytes);
    }
    assert!((QUEUE_WEIGHT_MAX / 2..QUEUE_WEIGHT_MAX * 2).contains(&most), "{most}");
    assert!(lab.queue.waiting().summarized > 20);
    let mut told = 0;
    while let Some(attempt) = lab.attempt() {
        told += attempt.message.alerts.len() + attempt.message.alerts_omitted;
        lab.delivered();
    }
    assert_eq!(told, 40);
}

#[test]
fn what_some_have_is_bounded_in_bytes_too() {
    let mut lab = Lab::new("off");
    let (small, mut large) = (message("small", "warning"), message("large", "warning"));
    large.alerts[0].annotations.insert("description".to_owned(), "x".repeat(8 << 20));
    let mut ended = 0;
    for at in 0..20 {
        lab.add(Message {
            id: format!("m{at}"),
            ..if at < 12 { small.clone() } else { large.clone() }
        });
        lab.attempt().unwrap();
        let later = vec![Refusal { to: "b".to_owned(), why: "452 full".to_owned() }];
        let delivered = Delivered { later, ..Delivered::default() };
        let mut entries = Vec::new();
        ended += lab.queue.delivered(lab.now_ms, &delivered, &mut entries).len();
        lab.rows.commit(&entries).unwrap();
        let bytes: usize =
            lab.rows.load("queue/message/").unwrap().iter().map(|(_, row)| row.len()).sum();
        assert!(bytes < QUEUE_WEIGHT_MAX + QUEUE_WEIGHT_MAX / 8, "{at}: {bytes}");
    }
    assert_eq!((ended, lab.queue.waiting().len), (17, 3));
}

#[test]
fn a_full_queue_becomes_a_summary_and_stays_bounded() {
    let mut lab = Lab::new("off");
    lab.add(message("doubt", "warning"));
    lab.attempt().unwrap();
    lab.failed(&SendError::Doubt { why: "cut".to_owned(), was_there: true });
    for at in 0..5_000 {
        lab.add(message(&format!("a{at}"), "warning"));
        lab.fold_overflow();
        assert!(lab.queue.waiting().len <= QUEUE_LEN_MAX);
    }
    let rows = lab.rows.load("queue/message/").unwrap();
    assert_eq!(rows.len(), lab.queue.waiting().len, "the ledger is as bounded");
    lab.crash();
    let mut told = 0;
    while let Some(attempt) = lab.attempt() {
        told += attempt.message.alerts.len() + attempt.message.alerts_omitted;
        lab.delivered();
    }
    assert_eq!(told, 5_001, "each is told or counted");
}

#[test]
fn a_clock_that_is_set_back_stops_nothing() {
    let mut lab = Lab::new("20/10m");
    lab.add(message("a", "warning"));
    lab.attempt().unwrap();
    lab.failed(&later());
    lab.now_ms -= 365 * 86_400_000;
    let before_ms = lab.now_ms;
    assert_eq!(lab.drain(), ["a"]);
    assert!(lab.now_ms - before_ms <= 3_600_000, "{}", lab.now_ms - before_ms);
}

#[derive(Debug, Clone)]
enum Event {
    Add(u8),
    Resolve(u8),
    Attempt(u8),
    Crash,
    Wait(u32),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0..6_u8).prop_map(Event::Add),
        2 => (0..6_u8).prop_map(Event::Resolve),
        6 => (0..8_u8).prop_map(Event::Attempt),
        1 => Just(Event::Crash),
        1 => (0..400_000_u32).prop_map(Event::Wait),
    ]
}

proptest! {
    /// Whatever fails and whenever it crashes: each message arrives, those of a thread in their
    /// order, and none twice when the receiver can say what it has.
    #[test]
    fn each_message_arrives_once(events in prop::collection::vec(event(), 1..120)) {
        let mut lab = Lab::new("off");
        let mut made: Vec<(String, String)> = Vec::new();
        let mut arrived: Vec<String> = Vec::new();
        let mut serial = 0;
        let add = |lab: &mut Lab, mut message: Message, made: &mut Vec<_>, serial: &mut i32| {
            *serial += 1;
            message.id = format!("{} {serial}", message.id);
            made.push((message.thread.clone(), message.id.clone()));
            lab.add(message);
        };
        let attempt = |lab: &mut Lab, way: u8, arrived: &mut Vec<String>| {
            let Next::Attempt(attempt) = lab.next() else { return };
            let id = attempt.message.id;
            if attempt.ask && arrived.contains(&id) {
                return lab.delivered();
            }
            match way {
                // Refused for now; taken, and the answer lost; a crash before and after it is taken.
                0 | 1 => drop(lab.failed(&later())),
                2 => {
                    arrived.push(id);
                    lab.failed(&SendError::Doubt { why: "cut".to_owned(), was_there: true });
                }
                3 => lab.crash(),
                4 => {
                    arrived.push(id);
                    lab.crash();
                }
                _ => {
                    arrived.push(id);
                    lab.delivered();
                }
            }
        };
        for event in events {
            match event {
                Event::Add(at) => {
                    add(&mut lab, message(&format!("a{at}"), "warning"), &mut made, &mut serial);
                }
                Event::Resolve(at) => {
                    add(&mut lab, resolved(&format!("a{at}")), &mut made, &mut serial);
                }
                Event::Attempt(way) => attempt(&mut lab, way, &mut arrived),
                Event::Crash => lab.crash(),
                Event::Wait(by_ms) => lab.now_ms += i64::from(by_ms),
            }
        }
        for _ in 0..2_000 {
            if let Next::Wait(until_ms) = lab.next() {
                lab.now_ms = until_ms;
            }
            lab.crash();
            attempt(&mut lab, 7, &mut arrived);
        }
        prop_assert!(lab.queue.is_empty());
        let of = |thread: &str| -> Vec<&String> {
            made.iter().filter(|(own, _)| own == thread).map(|(_, id)| id).collect()
        };
        let mut threads: Vec<&String> = made.iter().map(|(thread, _)| thread).collect();
        threads.sort();
        threads.dedup();
        for thread in threads {
            let wanted = of(thread);
            let got: Vec<&String> = arrived.iter().filter(|id| wanted.contains(id)).collect();
            prop_assert_eq!(got, wanted);
        }
    }
}

#[test]
fn a_receiver_that_was_replaced_is_tried_at_once() {
    let mut lab = Lab::new("off");
    lab.add(message("a", "warning"));
    for after in [300, 3_600] {
        lab.attempt().unwrap();
        let after = Some(Duration::from_secs(after));
        lab.failed(&SendError::Retry { why: "401".to_owned(), after });
    }
    assert!(matches!(lab.next(), Next::Wait(_)));
    lab.queue.try_anew();
    assert!(matches!(lab.next(), Next::Attempt(_)), "neither its pause nor the message's");
    let Failure::Again(pause_ms) = lab.failed(&later()) else { panic!("again") };
    assert!(pause_ms <= 2_000, "and as if it had never failed: {pause_ms}");
}

#[test]
fn a_summary_is_given_up_no_sooner_than_the_newest_that_it_stands_for() {
    let mut lab = Lab::new("off");
    lab.add(message("old", "warning"));
    let begun_ms = lab.now_ms;
    lab.now_ms += 23 * 3_600_000;
    (0..QUEUE_LEN_MAX).for_each(|at| lab.add(message(&format!("a{at}"), "warning")));
    let (mut entries, seq) = (Vec::new(), lab.seq + 1);
    lab.seq = seq;
    lab.queue.fold_overflow(|| seq, lab.now_ms, &mut entries);
    lab.rows.commit(&entries).unwrap();
    lab.crash();
    assert_eq!(lab.queue.waiting().oldest_ms, Some(begun_ms), "it has waited since the oldest");
    lab.now_ms += 2 * 3_600_000;
    let mut entries = Vec::new();
    assert_eq!(lab.queue.expire(lab.now_ms, &mut entries).0, 0);
    while lab.attempt().unwrap().message.reason != Reason::Summary {
        lab.delivered();
    }
    assert!(matches!(lab.failed(&later()), Failure::Again(_)));
}
