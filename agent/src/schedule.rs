//! Which ticks are due: multiples of the interval on the wall clock, each at most once.
//!
//! Pure: the caller says what time it is and waits as long as it is told. The clock may do what
//! it likes meanwhile. A tick that was used is never used again: two rounds with one timestamp
//! would be two truths about one moment. So after the clock went back over ticks that were used,
//! rounds pause until it is past them; the history there is already written.

use std::collections::VecDeque;

/// 2020-01-01. A clock before it was never set (a board without a battery starts in 1970), and
/// samples of that time would only hide in the history.
const CLOCK_MIN_MS: i64 = 1_577_836_800_000;

/// Stretches of used ticks that are remembered. A new one begins when ticks were left out (the
/// machine slept, the clock jumped); the oldest is forgotten.
const RUNS_MAX: usize = 64;

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Run a round with this timestamp.
    Round {
        /// The tick, in milliseconds since the Unix epoch.
        tick_ms: i64,
        /// Ticks since the last round that had none.
        missed: i64,
    },
    /// Nothing is due. Ask again after this time, or earlier.
    Wait {
        /// How long, in milliseconds; at most the interval.
        wait_ms: i64,
        /// Why, when it is not only that the next tick is yet to come.
        because: Option<Pause>,
    },
}

/// Why rounds pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// The clock was never set.
    Unset,
    /// The clock went back over ticks that were used, by this time in milliseconds.
    WentBack {
        /// From the last tick to the clock.
        by_ms: i64,
    },
}

/// The ticks that were used.
#[derive(Debug)]
pub(crate) struct Timeline {
    interval_ms: i64,
    /// First and last tick of each stretch, in the order they were used.
    runs: VecDeque<(i64, i64)>,
}

impl Timeline {
    /// Ticks every `interval_ms`. The one at or before `now_ms` counts as used: what is read now
    /// is not what was true then, and an agent that was restarted may have used it.
    pub(crate) fn new(interval_ms: i64, now_ms: i64) -> Self {
        let interval_ms = interval_ms.max(1);
        let tick = floor(now_ms, interval_ms);
        Self { interval_ms, runs: VecDeque::from([(tick, tick)]) }
    }

    /// What is due at `now_ms`. A tick that is given is used.
    pub(crate) fn poll(&mut self, now_ms: i64) -> Next {
        let interval_ms = self.interval_ms;
        if now_ms < CLOCK_MIN_MS {
            return Next::Wait { wait_ms: interval_ms, because: Some(Pause::Unset) };
        }
        let tick_ms = floor(now_ms, interval_ms);
        let past_ms = now_ms - tick_ms;
        let last_ms = self.runs.back().map_or(tick_ms, |(_, last)| *last);
        let wait_ms = interval_ms - past_ms;
        if self.runs.iter().any(|(first, last)| (*first..=*last).contains(&tick_ms)) {
            let by_ms = last_ms - now_ms;
            let because = (by_ms > 0).then_some(Pause::WentBack { by_ms });
            return Next::Wait { wait_ms, because };
        }
        // Past the middle, the next tick is nearer to the truth.
        if past_ms > interval_ms / 2 {
            return Next::Wait { wait_ms, because: None };
        }
        let missed = ((tick_ms - last_ms) / interval_ms - 1).max(0);
        self.mark(tick_ms);
        Next::Round { tick_ms, missed }
    }

    fn mark(&mut self, tick_ms: i64) {
        match self.runs.back_mut() {
            Some((_, last)) if *last + self.interval_ms == tick_ms => *last = tick_ms,
            _ => self.runs.push_back((tick_ms, tick_ms)),
        }
        if self.runs.len() > RUNS_MAX {
            self.runs.pop_front();
        }
    }
}

fn floor(now_ms: i64, interval_ms: i64) -> i64 {
    now_ms.div_euclid(interval_ms).saturating_mul(interval_ms)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// A time of day at which ticks of 10 s fall.
    const T: i64 = 1_700_000_000_000;

    fn round(tick_ms: i64, missed: i64) -> Next {
        Next::Round { tick_ms, missed }
    }

    fn wait(wait_ms: i64) -> Next {
        Next::Wait { wait_ms, because: None }
    }

    #[test]
    fn each_tick_is_due_once() {
        let mut timeline = Timeline::new(10_000, T + 3_000);
        assert_eq!(timeline.poll(T + 3_000), wait(7_000), "the running one counts as used");
        assert_eq!(timeline.poll(T + 9_999), wait(1));
        assert_eq!(timeline.poll(T + 10_004), round(T + 10_000, 0));
        assert_eq!(timeline.poll(T + 10_700), wait(9_300));
        assert_eq!(timeline.poll(T + 24_900), round(T + 20_000, 0), "late, and still its tick");
    }

    #[test]
    fn sleep_and_jumps_ahead_miss_ticks_and_never_catch_up() {
        let mut timeline = Timeline::new(10_000, T);
        assert_eq!(timeline.poll(T + 3_600_000 + 9_000), wait(1_000), "past the middle");
        assert_eq!(timeline.poll(T + 3_610_000), round(T + 3_610_000, 360));
        assert_eq!(timeline.poll(T + 3_620_000), round(T + 3_620_000, 0));
    }

    #[test]
    fn a_clock_that_goes_back_waits_only_where_ticks_were_used() {
        let mut timeline = Timeline::new(10_000, T);
        for tick in 1..=30 {
            assert_eq!(timeline.poll(T + tick * 10_000), round(T + tick * 10_000, 0));
        }
        let because = Some(Pause::WentBack { by_ms: 100_000 });
        assert_eq!(timeline.poll(T + 200_000), Next::Wait { wait_ms: 10_000, because });
        assert_eq!(timeline.poll(T + 300_000), wait(10_000), "the last one used");
        assert_eq!(timeline.poll(T + 310_000), round(T + 310_000, 0));
        // A clock that was a year ahead for a while is right again, at times nobody used.
        let year = 365 * 86_400_000;
        assert!(matches!(timeline.poll(T + year), Next::Round { .. }));
        assert_eq!(timeline.poll(T + 330_000), round(T + 330_000, 0));
    }

    #[test]
    fn an_unset_clock_gives_no_ticks() {
        let mut timeline = Timeline::new(10_000, 0);
        let because = Some(Pause::Unset);
        assert_eq!(timeline.poll(50_000), Next::Wait { wait_ms: 10_000, because });
        assert_eq!(timeline.poll(-5), Next::Wait { wait_ms: 10_000, because });
        assert!(matches!(timeline.poll(T), Next::Round { .. }));
    }

    proptest! {
        /// Whatever the clock does, ticks are aligned, past, recent, and used once.
        #[test]
        fn ticks_are_unique_and_sane(
            interval in 1_000_i64..60_000,
            jumps in prop::collection::vec(-200_000_i64..200_000, 1..RUNS_MAX),
            start in T..T + 100_000,
        ) {
            let mut timeline = Timeline::new(interval, start);
            let mut now = start;
            let mut used = HashSet::new();
            for jump in jumps {
                now += jump;
                match timeline.poll(now) {
                    Next::Round { tick_ms, missed } => {
                        prop_assert!(used.insert(tick_ms), "used twice");
                        prop_assert_eq!(tick_ms % interval, 0);
                        prop_assert!(tick_ms <= now && now - tick_ms <= interval / 2);
                        prop_assert!(missed >= 0);
                    }
                    Next::Wait { wait_ms, .. } => prop_assert!((1..=interval).contains(&wait_ms)),
                }
            }
        }
    }
}
