//! Windows over buckets: what range functions are computed of in place of samples.
//!
//! Where a window does not begin and end on edges of buckets it is widened to them.

use std::ops::Range;

use labstat_model::{BucketColumn, Buckets, Series, bucket_range};

use super::slide::{Fold, Slide};
use crate::sums::Sum;

/// What is known of consecutive samples, at least one. What was not asked for means nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Summary {
    pub(crate) count: f64,
    pub(crate) first_ms: i64,
    pub(crate) first: f64,
    pub(crate) last_ms: i64,
    pub(crate) last: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) sum: Sum,
    /// What a counter had reached at each reset, added up.
    pub(crate) resets: f64,
}

impl Fold for Summary {
    type Of = Self;

    fn suits(_: &[Self]) -> bool {
        true
    }

    fn of(one: Self) -> Self {
        one
    }

    fn then(self, later: Self) -> Self {
        // A reset between two buckets is in neither of them.
        let reset = if later.first < self.last { self.last } else { 0.0 };
        let is_less = later.min < self.min || self.min.is_nan();
        let is_more = later.max > self.max || self.max.is_nan();
        Self {
            count: self.count + later.count,
            first_ms: self.first_ms,
            first: self.first,
            last_ms: later.last_ms,
            last: later.last,
            min: if is_less { later.min } else { self.min },
            max: if is_more { later.max } else { self.max },
            sum: self.sum.then(later.sum),
            resets: self.resets + reset + later.resets,
        }
    }
}

/// What a function computed of buckets sees at one step.
#[derive(Debug)]
pub(crate) struct BucketWindow {
    pub(crate) known: Summary,
    /// Where the window begins, widened to the edge of a bucket; that very time is not in it.
    pub(crate) start_ms: i64,
    /// Where it ends, widened likewise.
    pub(crate) end_ms: i64,
    /// How long it was to be.
    range_ms: i64,
}

impl BucketWindow {
    /// The part that the window asked for is of the widened one: 1 where nothing was widened.
    #[expect(
        clippy::cast_precision_loss,
        reason = "spans within a query fit in 53 bits of milliseconds"
    )]
    pub(crate) fn share(&self) -> f64 {
        self.range_ms as f64 / (self.end_ms - self.start_ms) as f64
    }
}

/// The buckets of a series that have samples.
#[derive(Debug)]
pub(super) struct BucketSeries {
    width_ms: i64,
    ends_ms: Vec<i64>,
    summaries: Vec<Summary>,
}

impl BucketSeries {
    pub(super) fn new(buckets: &Buckets) -> Self {
        let column = |column| Numbers(buckets.column(column));
        let count = column(BucketColumn::Count);
        let (first_after, first) = (column(BucketColumn::FirstAfter), column(BucketColumn::First));
        let (last_after, last) = (column(BucketColumn::LastAfter), column(BucketColumn::Last));
        let (min, max) = (column(BucketColumn::Min), column(BucketColumn::Max));
        let (sum, resets) = (column(BucketColumn::Sum), column(BucketColumn::Resets));
        let (mut ends_ms, mut summaries) = (Vec::new(), Vec::new());
        ends_ms.reserve_exact(buckets.ends_ms.len());
        summaries.reserve_exact(buckets.ends_ms.len());
        for (at, end_ms) in buckets.ends_ms.iter().enumerate() {
            let count = count.at(at);
            // A marker of staleness alone is no sample.
            if count == 0.0 {
                continue;
            }
            let start_ms = end_ms.saturating_sub(buckets.bucket_ms);
            ends_ms.push(*end_ms);
            summaries.push(Summary {
                count,
                first_ms: after(start_ms, first_after.at(at)),
                first: first.at(at),
                last_ms: after(start_ms, last_after.at(at).abs()),
                last: last.at(at),
                min: min.at(at),
                max: max.at(at),
                sum: Sum::of(sum.at(at)),
                resets: resets.at(at),
            });
        }
        Self { width_ms: buckets.bucket_ms.max(1), ends_ms, summaries }
    }
}

/// Walks a series from window to window.
#[derive(Debug)]
pub(super) struct BucketWalk<'a> {
    series: &'a BucketSeries,
    range_ms: i64,
    window: Range<usize>,
    slide: Slide<Summary>,
}

impl<'a> BucketWalk<'a> {
    pub(super) fn new(series: &'a BucketSeries, range_ms: i64) -> Self {
        Self { series, range_ms, window: 0..0, slide: Slide::new() }
    }

    /// The window that ends at `end_ms`, which ascends from call to call; `None` when no sample is
    /// in it.
    #[inline]
    pub(super) fn next(&mut self, end_ms: i64) -> Option<BucketWindow> {
        let (series, range_ms, window) = (self.series, self.range_ms, &mut self.window);
        let (start_ms, end_ms) = widened(end_ms - range_ms, end_ms, series.width_ms);
        while series.ends_ms.get(window.start).is_some_and(|end| *end <= start_ms) {
            window.start += 1;
        }
        window.end = window.end.max(window.start);
        while series.ends_ms.get(window.end).is_some_and(|end| *end <= end_ms) {
            window.end += 1;
        }
        let known = self.slide.fold(&series.summaries, window)?;
        Some(BucketWindow { known, start_ms, end_ms, range_ms })
    }
}

/// The numbers of a column; NaN where there are none.
struct Numbers<'a>(&'a [f64]);

impl Numbers<'_> {
    fn at(&self, at: usize) -> f64 {
        self.0.get(at).copied().unwrap_or(f64::NAN)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "milliseconds within a bucket")]
fn after(start_ms: i64, after_ms: f64) -> i64 {
    start_ms.saturating_add(after_ms as i64)
}

/// The edges of a window, which is open to the left, moved outward to those of buckets.
pub(super) fn widened(start_ms: i64, end_ms: i64, width_ms: i64) -> (i64, i64) {
    let (first_ms, end_ms) = bucket_range(start_ms.saturating_add(1), end_ms, width_ms);
    (first_ms.saturating_sub(1), end_ms)
}

/// The first and the last sample of every bucket: what is left of the samples.
pub(super) fn ends_of_buckets(buckets: &Buckets) -> Series {
    let mut series = Series::new(buckets.labels.clone());
    for (at, end_ms) in buckets.ends_ms.iter().enumerate() {
        let first = Numbers(buckets.column(BucketColumn::First)).at(at);
        let first_after = Numbers(buckets.column(BucketColumn::FirstAfter)).at(at);
        let last = Numbers(buckets.column(BucketColumn::Last)).at(at);
        let Some((last_ms, _)) = buckets.last_ms(at) else { continue };
        let first_ms = after(end_ms.saturating_sub(buckets.bucket_ms), first_after);
        if first_ms < last_ms {
            series.push(first_ms, first);
        }
        series.push(last_ms, last);
    }
    series
}

/// The newest sample at or before each of the ascending `times` that buckets know of, as step,
/// time and value, unless it is as old as `lookback_ms` or a marker of staleness came after it.
///
/// Within a bucket whose samples go on, its first one stands for all up to the last one.
pub(super) fn newest_at<'a>(
    buckets: &'a Buckets,
    lookback_ms: i64,
    times: impl Iterator<Item = i64> + 'a,
) -> impl Iterator<Item = (usize, i64, f64)> + 'a {
    let first_after = Numbers(buckets.column(BucketColumn::FirstAfter));
    let first = Numbers(buckets.column(BucketColumn::First));
    let last = Numbers(buckets.column(BucketColumn::Last));
    let last_in = move |at: usize, time_ms: i64| {
        let (last_ms, ended) = buckets.last_ms(at)?;
        let is_new = last_ms > time_ms.saturating_sub(lookback_ms);
        (is_new && !ended).then(|| (last_ms, last.at(at)))
    };
    let mut next = 0;
    times.enumerate().filter_map(move |(step, time_ms)| {
        while buckets.ends_ms.get(next).is_some_and(|end_ms| *end_ms <= time_ms) {
            next += 1;
        }
        // The bucket the time is in, when it is not the end of one.
        let within = buckets.ends_ms.get(next).and_then(|end_ms| {
            let start_ms = end_ms.saturating_sub(buckets.bucket_ms);
            let first_ms = after(start_ms, first_after.at(next));
            let (last_ms, _) = buckets.last_ms(next)?;
            // Without its column the first sample is at NaN milliseconds, which is the start.
            (start_ms < first_ms && first_ms <= time_ms).then_some((first_ms, last_ms))
        });
        let found = match within {
            Some((_, last_ms)) if last_ms <= time_ms => last_in(next, time_ms),
            Some((first_ms, _)) => Some((first_ms, first.at(next))),
            None => next.checked_sub(1).and_then(|at| last_in(at, time_ms)),
        };
        found.map(|(sampled_ms, value)| (step, sampled_ms, value))
    })
}

#[cfg(test)]
mod tests {
    use labstat_model::{Labels, stale_marker};

    use super::*;

    fn buckets(samples: &[(i64, f64)]) -> Buckets {
        let (times, values) = samples.iter().copied().unzip();
        Buckets::roll_up(&Series { labels: Labels::default(), times, values }, 10)
    }

    #[test]
    fn windows_are_widened_to_the_edges_of_buckets() {
        for ((start, end), wide) in
            [((0, 10), (0, 10)), ((5, 15), (0, 20)), ((-10, 0), (-10, 0)), ((9, 11), (0, 20))]
        {
            assert_eq!(widened(start, end, 10), wide, "{start} {end}");
        }
    }

    #[test]
    fn a_window_knows_what_its_buckets_know_together() {
        let series = BucketSeries::new(&buckets(&[
            (1, 5.0),
            (10, 9.0),
            (11, 2.0),
            (15, stale_marker()),
            (25, stale_marker()),
            (31, 1.0),
        ]));
        let mut walk = BucketWalk::new(&series, 30);
        let [first, exact, wide, none] = [10, 40, 45, 90].map(|end| walk.next(end));
        assert!(first.is_some_and(|first| first.known.resets == 0.0) && none.is_none());
        let exact = exact.unwrap();
        let known = exact.known;
        assert_eq!((known.count, known.first_ms, known.last_ms), (2.0, 11, 31));
        assert_eq!((known.min, known.max, known.sum.total(), known.resets), (1.0, 2.0, 3.0, 2.0));
        assert_eq!(exact.share(), 1.0);
        let wide = wide.unwrap();
        assert_eq!((wide.start_ms, wide.end_ms, wide.share()), (10, 50, 0.75));
    }

    #[test]
    fn the_ends_of_a_bucket_are_left_of_its_samples() {
        let left = ends_of_buckets(&buckets(&[
            (1, 5.0),
            (4, 6.0),
            (9, 7.0),
            (12, 8.0),
            (13, stale_marker()),
            (24, stale_marker()),
        ]));
        assert_eq!((left.times, left.values), (vec![1, 9, 12], vec![5.0, 7.0, 8.0]));
    }

    #[test]
    fn within_a_bucket_its_first_sample_holds() {
        let buckets = buckets(&[(2, 1.0), (4, 2.0), (8, 3.0), (15, 4.0), (16, stale_marker())]);
        let at = |time: i64| newest_at(&buckets, 5, [time].into_iter()).next();
        assert_eq!(at(1), None);
        assert_eq!(at(3), Some((0, 2, 1.0)));
        // The sample at 4 is not known any more.
        assert_eq!(at(7), Some((0, 2, 1.0)));
        assert_eq!(at(8), Some((0, 8, 3.0)));
        assert_eq!(at(12), Some((0, 8, 3.0)));
        assert_eq!(at(13), None);
        // A marker came somewhere after 15.
        assert_eq!(at(15), None);
        assert_eq!(at(20), None);
    }
}
