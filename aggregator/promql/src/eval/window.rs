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

/// Walks a series from window to window.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    series: &'a RangeSeries<'a>,
    range_ms: i64,
    /// Both edges of windows are moved outward to multiples of this.
    edges_ms: i64,
    from: usize,
    to: usize,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(series: &'a RangeSeries<'a>, range_ms: i64, edges_ms: i64) -> Self {
        Self { series, range_ms, edges_ms, from: 0, to: 0 }
    }

    /// The window of the step at `step_ms` that ends at `end_ms`, which ascends from call to call;
    /// `None` when no sample is in it.
    // Inlined: a window that goes through memory is waited for by what is computed of it.
    #[inline]
    pub(crate) fn next(&mut self, step_ms: i64, end_ms: i64) -> Option<Window<'a>> {
        let (start_ms, end_ms) = match (end_ms - self.range_ms, end_ms) {
            exact if self.edges_ms == 1 => exact,
            (start_ms, end_ms) => widened(start_ms, end_ms, self.edges_ms),
        };
        let series = self.series;
        while series.times.get(self.from).is_some_and(|time| *time <= start_ms) {
            self.from += 1;
        }
        self.to = self.to.max(self.from);
        while series.times.get(self.to).is_some_and(|time| *time <= end_ms) {
            self.to += 1;
        }
        let times = series.times.get(self.from..self.to).filter(|times| !times.is_empty())?;
        let values = series.values.get(self.from..self.to)?;
        let (range_ms, first) = (self.range_ms, self.from);
        Some(Window { times, values, start_ms, end_ms, range_ms, step_ms, first, series })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_open_to_the_left() {
        let times: Vec<i64> = (0..5).map(|i| i * 10).collect();
        let series =
            RangeSeries::new(Labels::default(), times.into(), vec![1.0, 2.0, 1.0, 3.0, 2.0].into());
        let mut walk = Walk::new(&series, 20, 1);
        let windows = [20, 40, 90].map(|end| {
            walk.next(end, end).map(|window| (window.times.to_vec(), window.drops().len()))
        });
        assert_eq!(windows, [Some((vec![10, 20], 1)), Some((vec![30, 40], 1)), None]);
    }
}
