//! Who delivers a backlog just now. An agent that could not reach us for an hour sends what it measured
//! meanwhile, oldest first, within seconds. While the last minutes of that come, the newest sample of a
//! series is of the past; rules that took it for the present would raise alarms of what is over.
//!
//! Known by how fast the times of its samples move: those of a backlog do so faster than the clock.
//! Who is always late by as much (a scraper that sends once in two minutes) is none of these; neither is
//! somebody whose clock is wrong.

use std::collections::BTreeMap;

/// Samples that are no older than this are of the present: one interval of slow senders.
const PRESENT_MS: i64 = 60_000;

/// A backlog moves at least so many times as fast as the clock.
const SPEED_MIN: i64 = 2;

/// How long somebody is believed to deliver a backlog after a part of it. More than the pauses between
/// two parts; and if nothing of it comes for as long, it has ended some other way.
const BELIEVED_MS: i64 = 30_000;

/// Late senders remembered at a time; a lab has tens.
const SENDERS_MAX: usize = 1_000;

/// Those whose samples are not of the present.
#[derive(Debug, Default)]
pub(crate) struct Latecomers {
    senders: BTreeMap<String, Sender>,
    changed: bool,
}

#[derive(Debug)]
struct Sender {
    /// The time of its newest sample.
    newest_ms: i64,
    /// When that came.
    heard_ms: i64,
    /// Until when it is believed to deliver a backlog.
    until_ms: i64,
}

impl Latecomers {
    /// Takes note that a write of `instance` came whose newest sample is of `newest_ms`.
    pub(crate) fn note(&mut self, instance: &str, newest_ms: i64, now_ms: i64) {
        let lag_ms = now_ms.saturating_sub(newest_ms);
        if lag_ms <= PRESENT_MS {
            let known = !self.senders.is_empty() && self.senders.remove(instance).is_some();
            self.changed |= known;
            return;
        }
        let until_ms = now_ms.saturating_add(BELIEVED_MS);
        let sender = Sender { newest_ms, heard_ms: now_ms, until_ms };
        let Some(known) = self.senders.get_mut(instance) else {
            if self.senders.len() < SENDERS_MAX {
                // So far it was on time, or silent.
                self.senders.insert(instance.to_owned(), sender);
                self.changed = true;
            }
            return;
        };
        let moved_ms = newest_ms.saturating_sub(known.newest_ms);
        let took_ms = now_ms.saturating_sub(known.heard_ms);
        let lag_before_ms = known.heard_ms.saturating_sub(known.newest_ms);
        let is_behind = lag_ms > lag_before_ms.saturating_add(PRESENT_MS);
        let is_fast = moved_ms > took_ms.saturating_mul(SPEED_MIN);
        let was_late = known.until_ms > now_ms;
        if moved_ms <= 0 && took_ms < BELIEVED_MS && !is_behind {
            return; // another part of the same times
        }
        let is_late = is_behind || is_fast;
        *known = Sender { until_ms: if is_late { until_ms } else { i64::MIN }, ..sender };
        self.changed |= is_late || was_late;
    }

    /// Who delivers a backlog, and until when that is to be believed; `None` when that is what it was
    /// when this was last asked.
    pub(crate) fn take_changed(&mut self) -> Option<BTreeMap<String, i64>> {
        std::mem::take(&mut self.changed).then(|| {
            let late = self.senders.iter().filter(|(_, sender)| sender.until_ms != i64::MIN);
            late.map(|(instance, sender)| (instance.clone(), sender.until_ms)).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn is_late(latecomers: &mut Latecomers, now_ms: i64) -> bool {
        latecomers.changed = true;
        let late = latecomers.take_changed().unwrap();
        late.get("a").is_some_and(|until_ms| *until_ms > now_ms)
    }

    #[test]
    fn a_backlog_is_known_from_its_first_part_to_its_end() {
        let (mut latecomers, now) = (Latecomers::default(), 10 * HOUR);
        latecomers.note("a", now - HOUR, now);
        assert!(is_late(&mut latecomers, now));
        for part in 1..=58 {
            latecomers.note("a", now - HOUR + part * 60_000, now + part * 20);
            assert!(is_late(&mut latecomers, now), "part {part}");
        }
        latecomers.note("a", now - 5_000, now + 2_000);
        assert!(!is_late(&mut latecomers, now));
        assert!(latecomers.senders.is_empty());
    }

    #[test]
    fn whoever_is_always_as_late_is_soon_believed() {
        let (mut latecomers, mut now) = (Latecomers::default(), 10 * HOUR);
        latecomers.note("a", now - 100_000, now);
        for _ in 0..10 {
            now += 60_000;
            latecomers.note("a", now - 100_000 - 1, now);
            assert!(!is_late(&mut latecomers, now));
            latecomers.note("a", now - 100_000 - 2, now + 5);
            assert!(!is_late(&mut latecomers, now), "its other job");
        }
        // It too may be away for a while.
        now += HOUR;
        latecomers.note("a", now - HOUR - 40_000, now);
        assert!(is_late(&mut latecomers, now));
    }

    #[test]
    fn a_backlog_that_ends_without_a_word_is_forgotten_and_so_are_too_many() {
        let (mut latecomers, now) = (Latecomers::default(), 10 * HOUR);
        latecomers.note("a", now - HOUR, now);
        assert!(!is_late(&mut latecomers, now + BELIEVED_MS));
        assert!(latecomers.take_changed().is_none(), "nothing new");
        (0..2_000).for_each(|n| latecomers.note(&format!("b{n}"), now - HOUR, now));
        assert_eq!(latecomers.senders.len(), SENDERS_MAX);
    }
}
