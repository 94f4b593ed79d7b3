//! Ranges whose edges have values of their own: `anchored` and `smoothed`.
//!
//! Anchored, the newest sample at or before the beginning stands on it, and the last sample of the
//! range on its end. Smoothed, an edge has the value on the line between the samples around it.
//! Where there is no sample before the beginning, or none after the end, the first or the last of
//! the range stands in. Nothing is extrapolated.
//!
//! Pure: samples go in, numbers come out.

use super::over_time;
use crate::expr::Edges;

/// What can be asked of a range whose edges have values of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edged {
    Delta,
    Increase,
    Rate,
    Changes,
    Resets,
    /// The value at the end.
    Instant,
}

impl Edged {
    /// The function of this name, if it can be asked with such edges; else why not.
    pub(crate) fn find(name: &str, edges: Edges) -> Result<Self, String> {
        let all = [
            ("changes", Self::Changes),
            ("delta", Self::Delta),
            ("increase", Self::Increase),
            ("rate", Self::Rate),
            ("resets", Self::Resets),
        ];
        let smoothed = edges == Edges::Smoothed;
        let fits = |edged: Self| !smoothed || !matches!(edged, Self::Changes | Self::Resets);
        let mut fitting = all.into_iter().filter(|(_, edged)| fits(*edged));
        if let Some((_, edged)) = fitting.clone().find(|(known, _)| *known == name) {
            return Ok(edged);
        }
        let word = if smoothed { "smoothed" } else { "anchored" };
        let first = fitting.next().map_or("", |(known, _)| known).to_owned();
        let names = fitting.fold(first, |names, (known, _)| format!("{names}, {known}"));
        Err(format!("{word} modifier can only be used with: {names} - not with {name}"))
    }
}

/// The samples of a range and around it: at least one, in order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around<'a> {
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [f64],
    /// Where the range begins; a sample at this very time is not in it.
    pub(crate) start_ms: i64,
    /// Where the range ends.
    pub(crate) end_ms: i64,
    pub(crate) smoothed: bool,
}

/// The values at both edges and the samples strictly between them.
#[derive(Debug, PartialEq)]
struct Cut<'a> {
    left: f64,
    times: &'a [i64],
    between: &'a [f64],
    right: f64,
}

impl<'a> Around<'a> {
    /// `None` when no sample is in the range, or smoothed, none before its end.
    fn cut(&self, counter: bool) -> Option<Cut<'a>> {
        let (times, values) = (self.times, self.values);
        let after_start = times.partition_point(|time| *time <= self.start_ms);
        let first = after_start.saturating_sub(1);
        let mut last = times.len().checked_sub(1)?;
        if self.smoothed {
            last = last.min(times.partition_point(|time| *time < self.end_ms));
        }
        let (first_ms, last_ms) = (*times.get(first)?, *times.get(last)?);
        if last_ms <= self.start_ms || self.smoothed && first_ms > self.end_ms {
            return None;
        }
        let mut left = *values.get(first)?;
        if self.smoothed && first_ms < self.start_ms {
            left = self.between(first, self.start_ms, counter)?;
        }
        let mut right = *values.get(last)?;
        if self.smoothed && last_ms > self.end_ms && last > 0 {
            right = self.between(last - 1, self.end_ms, counter)?;
        }
        let from = if first_ms <= self.start_ms { first + 1 } else { first };
        let to = if last_ms >= self.end_ms { last } else { last + 1 }.max(from);
        Some(Cut { left, times: times.get(from..to)?, between: values.get(from..to)?, right })
    }

    /// The value on the line from a sample to the next; a counter that was reset in between has
    /// grown from zero.
    #[expect(clippy::cast_precision_loss, reason = "distances of samples fit in 53 bits")]
    fn between(&self, at: usize, time_ms: i64, counter: bool) -> Option<f64> {
        let (before_ms, after_ms) = (*self.times.get(at)?, *self.times.get(at + 1)?);
        let (mut before, after) = (*self.values.get(at)?, *self.values.get(at + 1)?);
        if counter && after < before {
            before = 0.0;
        }
        let part = (time_ms - before_ms) as f64 / (after_ms - before_ms) as f64;
        Some(before + (after - before) * part)
    }

    /// What `edged` is over the range.
    pub(crate) fn ask(&self, edged: Edged) -> Option<f64> {
        match edged {
            Edged::Delta => self.cut(false).map(|cut| cut.right - cut.left),
            Edged::Increase => self.growth(),
            Edged::Rate => {
                Some(self.growth()? / over_time::in_seconds(self.end_ms - self.start_ms))
            }
            Edged::Changes => {
                self.count(|before, after| before != after && !(before.is_nan() && after.is_nan()))
            }
            Edged::Resets => self.count(|before, after| after < before),
            Edged::Instant => self.at_end(),
        }
    }

    fn growth(&self) -> Option<f64> {
        let cut = self.cut(true)?;
        let mut growth = cut.right - cut.left;
        let mut before = cut.left;
        for value in cut.between.iter().chain([&cut.right]) {
            if *value < before {
                growth += before;
            }
            before = *value;
        }
        Some(growth)
    }

    /// How many neighbours `differ`, the sample on the beginning among them.
    fn count(&self, differ: impl Fn(f64, f64) -> bool) -> Option<f64> {
        if *self.times.last()? <= self.start_ms {
            return None;
        }
        let first = self.times.partition_point(|time| *time <= self.start_ms).saturating_sub(1);
        let pairs = self.values.get(first..)?.windows(2);
        let differing = pairs.filter(|pair| matches!(pair, [a, b] if differ(*a, *b)));
        Some(over_time::number(differing.count()))
    }

    /// The samples of the range and those that stand on its edges.
    pub(crate) fn samples(&self) -> Option<(Vec<i64>, Vec<f64>)> {
        let cut = self.cut(false)?;
        let times = [&[self.start_ms], cut.times, &[self.end_ms]].concat();
        let values = [&[cut.left], cut.between, &[cut.right]].concat();
        Some((times, values))
    }

    /// The value at the end of the range: the sample there, or the one on the line between the
    /// samples around it, or the one before it.
    fn at_end(&self) -> Option<f64> {
        let after = self.times.partition_point(|time| *time < self.end_ms);
        if self.times.get(after) == Some(&self.end_ms) {
            return self.values.get(after).copied();
        }
        let before = after.checked_sub(1)?;
        match self.between(before, self.end_ms, false) {
            Some(value) => Some(value),
            None => self.values.get(before).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(values: &[f64], start_ms: i64, end_ms: i64, smoothed: bool) -> Option<f64> {
        let times: Vec<i64> = (0..).map(|at| at * 10).take(values.len()).collect();
        Around { times: &times, values, start_ms, end_ms, smoothed }.ask(Edged::Increase)
    }

    #[test]
    fn edges_have_values_of_their_own() {
        let counter = [1.0, 2.0, 4.0, 8.0];
        // From the sample at 10 to the one at 20, none being after the end.
        assert_eq!(around(&counter[..3], 15, 25, false), Some(2.0));
        // From 3, half-way between 2 and 4, to 6, half-way between 4 and 8.
        assert_eq!(around(&counter, 15, 25, true), Some(3.0));
        // Before the first sample, and after the last, these stand in.
        assert_eq!(around(&counter, -50, 5, true), Some(0.5));
        assert_eq!(around(&counter, 25, 90, true), Some(2.0));
        assert_eq!(around(&counter, 30, 90, true), None);
        assert_eq!(around(&counter, -50, -5, true), None);
    }

    #[test]
    fn a_reset_between_an_edge_and_the_next_sample_counts_once() {
        // 10, then reset, then 4 at 10 s: the line begins at zero, so at 5 s it is at 2.
        assert_eq!(around(&[10.0, 4.0, 6.0], 5, 20, true), Some(4.0));
        assert_eq!(around(&[10.0, 4.0, 6.0], 5, 20, false), Some(6.0));
    }

    #[test]
    fn only_some_functions_know_edges() {
        assert_eq!(Edged::find("rate", Edges::Smoothed), Ok(Edged::Rate));
        assert_eq!(
            Edged::find("resets", Edges::Smoothed).unwrap_err(),
            "smoothed modifier can only be used with: delta, increase, rate - not with resets"
        );
        assert_eq!(
            Edged::find("deriv", Edges::Anchored).unwrap_err(),
            "anchored modifier can only be used with: changes, delta, increase, rate, resets - not \
             with deriv"
        );
    }

    #[test]
    fn an_instant_lies_between_its_samples() {
        let at_end = |end_ms| {
            let (times, values) = ([0, 10, 20], [1.0, 3.0, 3.5]);
            let (start_ms, smoothed) = (end_ms - 100, true);
            Around { times: &times, values: &values, start_ms, end_ms, smoothed }.at_end()
        };
        assert_eq!(at_end(10), Some(3.0));
        assert_eq!(at_end(5), Some(2.0));
        assert_eq!(at_end(25), Some(3.5));
        assert_eq!(at_end(-5), None);
    }
}
