//! Ranges: the samples that functions such as `rate` look at, step by step.
//!
//! A range is open to the left: a sample exactly as old as the range is long is not in it. Both
//! ends of a window only ever move forward, so a whole query walks each series once.

use std::borrow::Cow;

use labstat_model::{Labels, Series, is_stale};

use super::bucket::widened;

/// A series of a range, without markers of staleness.
#[derive(Debug)]
pub(crate) struct RangeSeries<'a> {
    pub(crate) labels: Labels,
    times: Cow<'a, [i64]>,
    values: Cow<'a, [f64]>,
    /// The indices of samples that are less than the one before them.
    drops: Vec<usize>,
}

impl<'a> RangeSeries<'a> {
    pub(crate) fn of(series: &'a Series) -> Self {
        if !series.values.iter().any(|value| is_stale(*value)) {
            return Self::new(
                series.labels.clone(),
                Cow::Borrowed(&series.times),
                Cow::Borrowed(&series.values),
            );
        }
        let live = || series.samples().filter(|sample| !is_stale(sample.value));
        let times: Vec<i64> = live().map(|sample| sample.time_ms).collect();
        let values: Vec<f64> = live().map(|sample| sample.value).collect();
        Self::new(series.labels.clone(), times.into(), values.into())
    }

    pub(crate) fn new(labels: Labels, times: Cow<'a, [i64]>, values: Cow<'a, [f64]>) -> Self {
        let drop = |(at, pair): (usize, &[f64])| match pair {
            [before, after] if after < before => Some(at + 1),
            _ => None,
        };
        let drops = values.windows(2).enumerate().filter_map(drop).collect();
        Self { labels, times, values, drops }
    }

    /// The samples with times above `start_ms` and up to `end_ms`, searched from `cursor` on.
    fn window(&self, cursor: &mut Cursor, start_ms: i64, end_ms: i64) -> (usize, usize) {
        while self.times.get(cursor.from).is_some_and(|time| *time <= start_ms) {
            cursor.from += 1;
        }
        cursor.to = cursor.to.max(cursor.from);
        while self.times.get(cursor.to).is_some_and(|time| *time <= end_ms) {
            cursor.to += 1;
        }
        (cursor.from, cursor.to)
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    /// The samples from `first_ms` to `last_ms`.
    pub(crate) fn into_series(self, first_ms: i64, last_ms: i64) -> Series {
        let (mut times, mut values) = (self.times.into_owned(), self.values.into_owned());
        let end = times.partition_point(|time| *time <= last_ms);
        times.truncate(end);
        values.truncate(end);
        let begin = times.partition_point(|time| *time < first_ms);
        times.drain(..begin);
        values.drain(..begin);
        Series { labels: self.labels, times, values }
    }
}

#[derive(Debug, Default)]
struct Cursor {
    from: usize,
    to: usize,
}

/// What a function over a range sees at one step: at least one sample.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [f64],
    /// Where the range begins; a sample at this very time is not in it.
    pub(crate) start_ms: i64,
    /// Where the range ends.
    pub(crate) end_ms: i64,
    pub(crate) range_ms: i64,
    /// The time of the step, which `offset` and `@` do not move.
    pub(crate) step_ms: i64,
    first: usize,
    series: &'a RangeSeries<'a>,
}

impl Window<'_> {
    /// The values of the whole series.
    pub(crate) fn series_values(&self) -> &[f64] {
        &self.series.values
    }

    /// Where the window's samples are in the series.
    pub(crate) fn indices(&self) -> std::ops::Range<usize> {
        self.first..self.first + self.values.len()
    }

    /// The samples less than the one before them, both within the window, as indices into the
    /// whole series.
    pub(crate) fn drops(&self) -> &[usize] {
        let drops = &self.series.drops;
        let from = drops.partition_point(|at| *at <= self.first);
        let to = drops.partition_point(|at| *at < self.first + self.values.len());
        drops.get(from..to).unwrap_or(&[])
    }

    /// The value before each drop: what a counter had reached when it was reset.
    pub(crate) fn values_before_drops(&self) -> impl Iterator<Item = f64> + '_ {
        let before = |at: &usize| at.checked_sub(1).and_then(|at| self.series.values.get(at));
        self.drops().iter().filter_map(before).copied()
    }
}

/// The window of every step, in order; `ends` ascend. Both edges are moved outward to multiples of
/// `edges_ms`. Steps whose window is empty are left out.
pub(crate) fn walk<'a>(
    series: &'a RangeSeries<'a>,
    range_ms: i64,
    edges_ms: i64,
    ends: impl Iterator<Item = (i64, i64)> + 'a,
) -> impl Iterator<Item = (usize, Window<'a>)> + 'a {
    let mut cursor = Cursor::default();
    ends.enumerate().filter_map(move |(step, (step_ms, end_ms))| {
        let (start_ms, end_ms) = match (end_ms - range_ms, end_ms) {
            exact if edges_ms == 1 => exact,
            (start_ms, end_ms) => widened(start_ms, end_ms, edges_ms),
        };
        let (from, to) = series.window(&mut cursor, start_ms, end_ms);
        let times = series.times.get(from..to).filter(|times| !times.is_empty())?;
        let values = series.values.get(from..to)?;
        let window =
            Window { times, values, start_ms, end_ms, range_ms, step_ms, first: from, series };
        Some((step, window))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_open_to_the_left() {
        let times: Vec<i64> = (0..5).map(|i| i * 10).collect();
        let series =
            RangeSeries::new(Labels::default(), times.into(), vec![1.0, 2.0, 1.0, 3.0, 2.0].into());
        let ends = [20, 40, 90].map(|end| (end, end));
        let windows: Vec<_> = walk(&series, 20, 1, ends.into_iter())
            .map(|(step, window)| (step, window.times.to_vec(), window.drops().len()))
            .collect();
        assert_eq!(windows, [(0, vec![10, 20], 1), (1, vec![30, 40], 1)]);
    }
}
