//! How many messages a receiver gets within a time, before the rest becomes one summary.

use std::collections::VecDeque;
use std::str::FromStr;

use labstat_model::duration;
use serde::{Deserialize, Deserializer};

/// Messages within a time that are the most a rate can say: their times are kept in one row.
const COUNT_MAX: u32 = 1_000;

/// So many messages within such a time. Written `20/10m`, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Messages; `None` is for as many as there are.
    count: Option<u32>,
    window_ms: i64,
}

impl Default for Rate {
    /// Twenty in ten minutes: more than anybody reads, and less than the server of a receiver minds.
    fn default() -> Self {
        Self { count: Some(20), window_ms: 10 * 60 * 1000 }
    }
}

impl Rate {
    /// As many messages as there are.
    pub const OFF: Self = Self { count: None, window_ms: 0 };
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::OFF);
        }
        let bad = || {
            format!(
                "{text:?} is no rate: one is written as messages within a time, such as \"20/10m\" \
                 (1 to {COUNT_MAX} messages), or \"off\""
            )
        };
        let (count, window) = text.split_once('/').ok_or_else(bad)?;
        let count: u32 = count.trim().parse().map_err(|_| bad())?;
        let window_ms = duration::parse_ms(window.trim()).map_err(|_| bad())?;
        if !(1..=COUNT_MAX).contains(&count) || window_ms <= 0 {
            return Err(bad());
        }
        Ok(Self { count: Some(count), window_ms })
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What may go out now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Room {
    /// Nothing, until a message of the window is old enough.
    None,
    /// A summary.
    Summary,
    /// What is urgent, too: some places are kept for it.
    Urgent,
    /// Everything.
    All,
}

/// When messages went out, as far as the rate counts them.
#[derive(Debug, Default)]
pub(super) struct Window {
    times_ms: VecDeque<i64>,
}

impl Window {
    pub(super) fn new(times_ms: impl IntoIterator<Item = i64>) -> Self {
        let mut times_ms: Vec<i64> = times_ms.into_iter().collect();
        times_ms.sort_unstable();
        Self { times_ms: times_ms.into() }
    }

    /// Takes note of a message that went out.
    pub(super) fn note(&mut self, rate: Rate, now_ms: i64) {
        let Some(count) = rate.count else { return };
        self.times_ms.push_back(now_ms);
        while self.times_ms.len() > count as usize {
            self.times_ms.pop_front();
        }
    }

    /// What may go out, with the messages of the window as they are.
    pub(super) fn room(&mut self, rate: Rate, now_ms: i64) -> Room {
        let Some(count) = rate.count else { return Room::All };
        for time_ms in &mut self.times_ms {
            // A clock that was set back does not make the window longer.
            *time_ms = (*time_ms).min(now_ms);
        }
        while self
            .times_ms
            .front()
            .is_some_and(|time_ms| now_ms.saturating_sub(*time_ms) >= rate.window_ms)
        {
            self.times_ms.pop_front();
        }
        let sent = u32::try_from(self.times_ms.len()).unwrap_or(u32::MAX);
        // The last place is the summary's, and a quarter is for what is urgent.
        let last = u32::from(count > 1);
        let kept = (count / 4).max(last);
        match sent {
            sent if sent < count - kept => Room::All,
            sent if sent < count - last => Room::Urgent,
            sent if sent < count => Room::Summary,
            _ => Room::None,
        }
    }

    /// How many messages fit, urgent or not, as of the last [`Window::room`].
    pub(super) fn places(&self, rate: Rate) -> usize {
        rate.count.map_or(usize::MAX, |count| (count as usize).saturating_sub(self.times_ms.len()))
    }

    /// When there will be more room than now.
    pub(super) fn next_ms(&self, rate: Rate) -> Option<i64> {
        Some(self.times_ms.front()?.saturating_add(rate.window_ms))
    }

    pub(super) fn times_ms(&self) -> impl Iterator<Item = i64> {
        self.times_ms.iter().copied()
    }
}

impl Rate {
    /// How far apart summaries are at least, so that a flood that goes on gives few of them.
    pub(super) const fn summary_gap_ms(self) -> i64 {
        self.window_ms / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_or_told_what_is_wrong() {
        assert_eq!("20/10m".parse(), Ok(Rate::default()));
        assert_eq!("1 / 1h".parse(), Ok(Rate { count: Some(1), window_ms: 3_600_000 }));
        assert_eq!("off".parse(), Ok(Rate::OFF));
        for bad in ["", "20", "20/", "/10m", "0/1m", "5/0s", "-1/1m", "5/10", "1001/1h", "many/1h"]
        {
            let problem = bad.parse::<Rate>().unwrap_err();
            assert!(problem.contains("20/10m"), "{bad}: {problem}");
        }
    }

    #[test]
    fn places_are_kept_for_what_is_urgent_and_for_a_summary() {
        let rooms = |count: u32| {
            let rate: Rate = format!("{count}/10m").parse().unwrap();
            let mut window = Window::default();
            let mut rooms = Vec::new();
            for at in 0..=i64::from(count) {
                rooms.push(window.room(rate, at));
                window.note(rate, at);
            }
            let none = window.room(rate, i64::from(count));
            assert_eq!(
                window.next_ms(rate),
                Some(1 + 600_000),
                "the oldest made room for one more"
            );
            assert_eq!(none, Room::None);
            rooms
        };
        let count = |rooms: &[Room], room| rooms.iter().filter(|r| **r == room).count();
        let of_20 = rooms(20);
        assert!(of_20.is_sorted_by(|a, b| a >= b), "{of_20:?}");
        assert_eq!(count(&of_20, Room::All), 15);
        assert_eq!(count(&of_20, Room::Urgent), 4);
        assert_eq!(count(&of_20, Room::Summary), 1);
        assert_eq!(rooms(1), [Room::All, Room::None]);
        assert_eq!(rooms(2), [Room::All, Room::Summary, Room::None]);
    }

    #[test]
    fn the_window_moves_and_bears_a_clock_that_is_set_back() {
        let rate: Rate = "1/1m".parse().unwrap();
        let mut window = Window::new([90_000]);
        assert_eq!(window.room(rate, 100_000), Room::None);
        assert_eq!(window.room(rate, 149_999), Room::None);
        assert_eq!(window.room(rate, 150_000), Room::All);
        window.note(rate, 150_000);
        assert_eq!(window.room(rate, 1_000), Room::None);
        assert_eq!(window.room(rate, 61_000), Room::All, "not only after an hour");
        assert_eq!(Window::default().room(Rate::OFF, 0), Room::All);
    }
}
