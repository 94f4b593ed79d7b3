//! Days of looks at an aggregator that comes and goes.

use super::super::Reach;
use super::*;

const MINUTE_MS: i64 = 60_000;

/// How a receiver answers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Takes,
    Refuses,
    /// The attempt does not end.
    Hangs,
    /// It was there, and did not say.
    Mumbles,
}
use Answer::{Hangs, Mumbles, Refuses, Takes};

struct Lab {
    vigil: Vigil,
    reach: Reach,
    now_ms: i64,
    names: Vec<String>,
    writes: usize,
}

impl Lab {
    fn of(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let vigil = Vigil::new("nas", 10 * MINUTE_MS, names.clone(), None, 0);
        Self { vigil, reach: Reach::default(), now_ms: 0, names, writes: 0 }
    }

    fn new() -> Self {
        Self::of(&["phone"])
    }

    /// Looks every 10 s for some minutes, after a try that `works` or not. Gives the attempts: when in minutes, at
    /// whom, and whether it is over.
    fn tell(
        &mut self,
        minutes: i64,
        works: bool,
        answer: impl Fn(&str) -> Answer,
    ) -> Vec<(i64, String, bool)> {
        let mut told = Vec::new();
        for _ in 0..minutes * 6 {
            self.now_ms += 10_000;
            if works {
                self.reach.answered();
            } else {
                self.reach.failed("connection refused", self.now_ms);
            }
            let tried = self.reach.lock().clone();
            let attempts = self.vigil.look(&tried, 7, self.now_ms);
            self.writes += usize::from(self.vigil.next_document().is_some());
            for attempt in attempts {
                assert_eq!((attempt.word.node.as_str(), attempt.word.rounds), ("nas", 7));
                let over = attempt.word.over_ms.is_some();
                told.push((self.now_ms / MINUTE_MS, attempt.receiver.clone(), over));
                let refused = Untold { why: "no".to_owned(), ..Untold::default() };
                let doubtful = Untold { in_doubt: true, was_there: true, ..refused.clone() };
                match answer(&attempt.receiver) {
                    Takes => self.vigil.told(&attempt),
                    Refuses => {
                        self.vigil.untold(&attempt, &refused, self.now_ms);
                    }
                    Mumbles => {
                        self.vigil.untold(&attempt, &doubtful, self.now_ms);
                    }
                    Hangs => {}
                }
            }
            self.writes += usize::from(self.vigil.next_document().is_some());
        }
        told
    }

    /// As [`Lab::tell`] to the only receiver.
    fn pass(&mut self, minutes: i64, works: bool, taken: bool) -> Vec<(i64, bool)> {
        let told = self.tell(minutes, works, |_| if taken { Takes } else { Refuses });
        told.into_iter().map(|(minute, _, over)| (minute, over)).collect()
    }

    fn restart(&mut self) {
        // What was kept last is what is on disk.
        let kept = serde_json::to_vec(&self.vigil.kept).unwrap();
        let names = self.names.clone();
        self.vigil = Vigil::new("nas", 10 * MINUTE_MS, names, Some(&kept), self.now_ms);
        self.reach = Reach::default();
    }
}

#[test]
fn told_once_when_it_begins_and_once_when_it_is_over() {
    let mut lab = Lab::new();
    assert!(lab.pass(5, true, true).is_empty());
    assert!(lab.pass(9, false, true).is_empty(), "not yet");
    assert!(lab.pass(1, true, true).is_empty(), "a short absence is nobody's business");
    assert_eq!(lab.pass(60, false, true), [(25, false)]);
    assert_eq!(lab.pass(5, true, true), [(75, true)]);
    assert!(lab.pass(60, true, true).is_empty());
    assert!(lab.writes < 40, "{} writes", lab.writes);
}

#[test]
fn a_restart_repeats_nothing_and_forgets_nothing() {
    let mut lab = Lab::new();
    assert_eq!(lab.pass(15, false, true).len(), 1);
    lab.restart();
    assert!(lab.pass(30, false, true).is_empty(), "told before");
    lab.restart();
    assert_eq!(lab.pass(1, true, true), [(45, true)]);
    lab.restart();
    assert!(lab.pass(5, true, true).is_empty());
    // One that was not yet told is not forgotten by a restart either, and a boot gets its time.
    lab.pass(8, false, true);
    lab.restart();
    let told = lab.pass(5, false, true);
    assert_eq!(told, [(61, false)], "ten minutes after it began, two after the start");
}

#[test]
fn a_receiver_that_does_not_take_it_is_asked_again_ever_more_seldom() {
    let mut lab = Lab::new();
    let tries = lab.pass(70, false, false).len();
    assert!((5..=16).contains(&tries), "{tries}");
    let told = lab.pass(11, false, true);
    assert_eq!(told.len(), 1);
    let mut lab = Lab::new();
    lab.pass(15, false, false);
    assert!(lab.pass(15, true, true).is_empty(), "what nobody heard of need not be over");
}

#[test]
fn a_receiver_is_left_alone_for_as_long_as_it_says_but_not_for_ever() {
    let mut lab = Lab::new();
    lab.pass(10, false, true);
    let tried = lab.reach.lock().clone();
    lab.now_ms += 10_000;
    let attempts = lab.vigil.look(&tried, 0, lab.now_ms);
    let after = Some(Duration::from_secs(86_400));
    let busy = Untold { why: "429".to_owned(), after, ..Untold::default() };
    lab.vigil.untold(&attempts[0], &busy, lab.now_ms);
    assert_eq!(lab.pass(80, false, true), [(70, false)], "an hour, not a day");
}

#[test]
fn a_receiver_that_never_says_is_told_ten_times_and_then_of_the_end() {
    let mut lab = Lab::new();
    let told = lab.tell(24 * 60, false, |_| Mumbles);
    assert_eq!(told.len(), 10, "{told:?}");
    assert_eq!(lab.pass(60, true, true), [(24 * 60, true)]);
}

#[test]
fn each_receiver_has_its_own_memory_and_hears_of_the_end_when_it_heard_of_the_beginning() {
    let mut lab = Lab::of(&["chat", "mail", "phone"]);
    let manner = |name: &str| match name {
        "chat" => Hangs,
        "mail" => Refuses,
        _ => Takes,
    };
    let told = lab.tell(12, false, manner);
    let to = |name: &str, told: &[(i64, String, bool)]| -> Vec<(i64, bool)> {
        let of_it = told.iter().filter(|(_, receiver, _)| receiver == name);
        of_it.map(|(minute, _, over)| (*minute, *over)).collect()
    };
    assert_eq!(to("phone", &told), [(10, false)], "{told:?}");
    assert_eq!(to("chat", &told), [(10, false)], "one attempt at a time: {told:?}");
    assert!(to("mail", &told).len() > 2, "{told:?}");
    lab.restart();
    // Nobody knows what the chat has; the mailbox has nothing; the phone hears of the end once.
    let told = lab.tell(5, true, |_| Takes);
    assert_eq!(to("phone", &told), [(12, true)]);
    assert_eq!(to("chat", &told), [(12, true)]);
    assert!(to("mail", &told).is_empty(), "{told:?}");
}

#[test]
fn who_is_down_at_the_end_hears_of_it_later_also_after_the_next_absence_and_a_restart() {
    let mut lab = Lab::of(&["chat", "phone"]);
    lab.tell(15, false, |_| Takes);
    let told = lab.tell(3, true, |name| if name == "chat" { Refuses } else { Takes });
    assert!(told.iter().filter(|(_, name, _)| name == "chat").count() > 1, "{told:?}");
    lab.restart();
    let told = lab.tell(15, false, |_| Takes);
    let to_chat: Vec<_> = told.iter().filter(|(_, name, _)| name == "chat").collect();
    assert_eq!(to_chat.len(), 2, "{told:?}");
    assert!(to_chat[0].2 && !to_chat[1].2, "the end of the first, then the second: {told:?}");
}

#[test]
fn a_machine_that_slept_has_not_tried() {
    let mut lab = Lab::new();
    lab.pass(5, true, true);
    lab.pass(9, false, true);
    lab.now_ms += 480 * MINUTE_MS;
    assert!(lab.pass(9, false, true).is_empty(), "it is out of reach since it woke up");
    assert!(lab.pass(1, true, true).is_empty());
    // Asleep, then switched off: the next run finds an absence that nobody looked at.
    lab.pass(9, false, true);
    lab.now_ms += 480 * MINUTE_MS;
    lab.restart();
    assert!(lab.pass(9, false, true).is_empty(), "it was switched off, and did not try");
    assert_eq!(lab.pass(2, false, true).len(), 1, "but it has by now");
}

#[test]
fn a_clock_that_is_set_back_or_forth_neither_alarms_nor_keeps_quiet() {
    for jump_ms in [-365 * 1440 * MINUTE_MS, -3 * MINUTE_MS, 2 * MINUTE_MS, 365 * 1440 * MINUTE_MS]
    {
        let mut lab = Lab::new();
        lab.now_ms = 500 * 1440 * MINUTE_MS;
        lab.restart();
        lab.pass(9, false, true);
        lab.now_ms += jump_ms;
        assert!(lab.pass(9, false, true).is_empty(), "{jump_ms}");
        assert_eq!(lab.pass(2, false, true).len(), 1, "{jump_ms}");
        lab.now_ms -= jump_ms;
        assert!(lab.pass(20, false, true).is_empty(), "{jump_ms}: told before");
        assert_eq!(lab.pass(1, true, true).len(), 1, "{jump_ms}");
    }
}

#[test]
fn nonsense_on_disk_is_nothing_and_a_receiver_that_is_gone_is_forgotten() {
    for nonsense in [&b"{broken"[..], b"null", b"[]", br#"{"told":{"phone":7}}"#] {
        let vigil = Vigil::new("nas", 1, ["phone".to_owned()], Some(nonsense), 0);
        assert_eq!(vigil.kept, Kept::default());
    }
    let mut lab = Lab::of(&["chat", "phone"]);
    lab.tell(15, false, |_| Takes);
    lab.names = vec!["pager".to_owned(), "phone".to_owned()];
    lab.restart();
    let told = lab.tell(5, false, |_| Takes);
    assert_eq!(told, [(17, "pager".to_owned(), false)], "the new one hears of it, too");
    assert!(!lab.vigil.kept.told.contains_key("chat"));
}
