//! Roll-ups: what is kept of the samples of a stretch of time, a bucket, when it is all that is
//! asked for or all that is left.
//!
//! A bucket is open to the left and closed to the right, as the windows of PromQL are: the bucket
//! that ends at `e` holds the samples with `e - bucket_ms < time <= e`. Its ends are multiples of
//! its width. Markers of staleness are not samples of it; that one came last is noted.
//!
//! From the buckets that make up a window, whatever PromQL computes of that window's counts, sums,
//! extremes, ends and counter increases comes out as it does from the samples themselves; only
//! sums may differ in their last digits, since they are added in another order.

use crate::{Labels, Series, is_stale};

/// The widths that are kept, in milliseconds, ascending: five minutes and an hour.
pub const BUCKET_WIDTHS_MS: [i64; 2] = [300_000, 3_600_000];

/// One of the numbers kept of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum BucketColumn {
    /// How many samples.
    Count = 0,
    /// Milliseconds from the bucket's start (which is not in it) to the first sample.
    FirstAfter = 1,
    /// The first sample's value.
    First = 2,
    /// Milliseconds from the bucket's start to the last sample; less than zero when a marker of
    /// staleness came after it. See [`Buckets::last_ms`].
    LastAfter = 3,
    /// The last sample's value.
    Last = 4,
    /// The least value; NaN only when all are.
    Min = 5,
    /// The greatest value; NaN only when all are.
    Max = 6,
    /// The sum of all values.
    Sum = 7,
    /// What a counter had reached at each of its resets, added up: the increase from the first to
    /// the last sample is `last - first + resets`.
    Resets = 8,
}

impl BucketColumn {
    /// All there are, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Count,
        Self::FirstAfter,
        Self::First,
        Self::LastAfter,
        Self::Last,
        Self::Min,
        Self::Max,
        Self::Sum,
        Self::Resets,
    ];
}

/// A set of columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BucketColumns(u16);

impl BucketColumns {
    /// All columns.
    pub const ALL: Self = Self(0x1ff);

    /// The set of `columns`.
    pub const fn of(columns: &[BucketColumn]) -> Self {
        let mut set = 0;
        let mut rest = columns;
        while let [first, more @ ..] = rest {
            set |= 1 << *first as u8;
            rest = more;
        }
        Self(set)
    }

    /// The set with `column` in it too.
    #[must_use]
    pub const fn with(self, column: BucketColumn) -> Self {
        Self(self.0 | 1 << column as u8)
    }

    /// Whether `column` is in it.
    pub const fn contains(self, column: BucketColumn) -> bool {
        self.0 & (1 << column as u8) != 0
    }

    /// The columns in it, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = BucketColumn> {
        BucketColumn::ALL.into_iter().filter(move |column| self.contains(*column))
    }
}

/// The buckets of one series that have samples (or a marker of staleness, with a count of 0 and
/// NaN for the rest), ascending. A column is empty when it was not asked for, and otherwise has as
/// many numbers as `ends_ms`.
#[derive(Debug, Clone, Default)]
pub struct Buckets {
    /// The series.
    pub labels: Labels,
    /// How wide each bucket is.
    pub bucket_ms: i64,
    /// Where each ends; a sample at this very time is in it.
    pub ends_ms: Vec<i64>,
    /// By the number of the [`BucketColumn`].
    pub columns: [Vec<f64>; BucketColumn::ALL.len()],
}

impl Buckets {
    /// No buckets yet.
    pub fn new(labels: Labels, bucket_ms: i64) -> Self {
        Self { labels, bucket_ms, ..Self::default() }
    }

    /// The numbers of one column.
    pub fn column(&self, column: BucketColumn) -> &[f64] {
        self.columns.get(column as usize).map(Vec::as_slice).unwrap_or_default()
    }

    /// When the last sample of the bucket `at` was, and whether the series ended after it; `None`
    /// when the column was not asked for or the bucket holds a marker alone.
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds within a bucket")]
    pub fn last_ms(&self, at: usize) -> Option<(i64, bool)> {
        let after = *self.column(BucketColumn::LastAfter).get(at)?;
        let start_ms = self.ends_ms.get(at)?.checked_sub(self.bucket_ms)?;
        let sampled = !after.is_nan();
        sampled.then(|| (start_ms.saturating_add(after.abs() as i64), after < 0.0))
    }

    /// Empties the columns that are not among `columns`.
    pub fn keep_columns(&mut self, columns: BucketColumns) {
        for column in BucketColumn::ALL.into_iter().filter(|column| !columns.contains(*column)) {
            if let Some(numbers) = self.columns.get_mut(column as usize) {
                *numbers = Vec::new();
            }
        }
    }

    /// The buckets of ascending samples, all columns.
    pub fn roll_up(series: &Series, bucket_ms: i64) -> Self {
        let mut buckets = Self::new(series.labels.clone(), bucket_ms);
        let mut rest = (series.times.as_slice(), series.values.as_slice());
        while let Some(&first_ms) = rest.0.first() {
            let end_ms = bucket_end(first_ms, bucket_ms);
            let len = rest.0.partition_point(|time_ms| *time_ms <= end_ms);
            let (times, times_rest) = rest.0.split_at(len);
            let (values, values_rest) = rest.1.split_at(len.min(rest.1.len()));
            buckets.push(end_ms, times, values);
            rest = (times_rest, values_rest);
        }
        buckets
    }

    #[expect(clippy::cast_precision_loss, reason = "counts and milliseconds within a bucket")]
    fn push(&mut self, end_ms: i64, times: &[i64], values: &[f64]) {
        let start_ms = end_ms.saturating_sub(self.bucket_ms);
        let ended = values.last().is_some_and(|value| is_stale(*value));
        let mut count = 0_u32;
        let (mut first, mut last) = ((f64::NAN, f64::NAN), (f64::NAN, f64::NAN));
        let (mut min, mut max, mut resets) = (f64::NAN, f64::NAN, 0.0);
        let mut sum = Sum::default();
        for (&time_ms, &value) in times.iter().zip(values).filter(|(_, value)| !is_stale(**value)) {
            let after = time_ms.saturating_sub(start_ms) as f64;
            if count == 0 {
                first = (after, value);
            } else if value < last.1 {
                resets += last.1;
            }
            last = (after, value);
            min = if value < min || min.is_nan() { value } else { min };
            max = if value > max || max.is_nan() { value } else { max };
            sum.add(value);
            count += 1;
        }
        let last_after = if ended { -last.0 } else { last.0 };
        let sum = if count == 0 { f64::NAN } else { sum.total() };
        let resets = if count == 0 { f64::NAN } else { resets };
        let numbers =
            [f64::from(count), first.0, first.1, last_after, last.1, min, max, sum, resets];
        self.ends_ms.push(end_ms);
        for (column, number) in self.columns.iter_mut().zip(numbers) {
            column.push(number);
        }
    }
}

/// Where the bucket that a time is in ends.
pub fn bucket_end(time_ms: i64, bucket_ms: i64) -> i64 {
    let width = bucket_ms.max(1);
    // The division rounds down; a time on the edge is in the bucket that ends there.
    let before = time_ms.saturating_sub(1).div_euclid(width);
    before.saturating_add(1).saturating_mul(width)
}

/// The first and the last millisecond of the buckets that hold the times from `start_ms` to
/// `end_ms`, all four included.
pub fn bucket_range(start_ms: i64, end_ms: i64, bucket_ms: i64) -> (i64, i64) {
    let before_ms = bucket_end(start_ms, bucket_ms).saturating_sub(bucket_ms.max(1));
    (before_ms.saturating_add(1), bucket_end(end_ms, bucket_ms))
}

/// A sum that carries along what rounding took away (Neumaier).
#[derive(Debug, Default)]
struct Sum {
    sum: f64,
    carry: f64,
}

impl Sum {
    fn add(&mut self, value: f64) {
        let next = self.sum + value;
        if next.is_finite() {
            let (large, small) =
                if self.sum.abs() >= value.abs() { (self.sum, value) } else { (value, self.sum) };
            self.carry += (large - next) + small;
        }
        self.sum = next;
    }

    fn total(&self) -> f64 {
        self.sum + self.carry
    }
}

/// What a source has of one series for a stretch of time: its samples, or buckets of them.
#[derive(Debug, Clone)]
pub enum Rolled {
    /// The samples themselves: the series is kept as it came.
    Samples(Series),
    /// Buckets.
    Buckets(Buckets),
}

impl Rolled {
    /// These columns of the buckets of a series.
    pub fn of(series: &Series, bucket_ms: i64, columns: BucketColumns) -> Self {
        let mut buckets = Buckets::roll_up(series, bucket_ms);
        buckets.keep_columns(columns);
        Self::Buckets(buckets)
    }

    /// The series.
    pub fn labels(&self) -> &Labels {
        match self {
            Self::Samples(series) => &series.labels,
            Self::Buckets(buckets) => &buckets.labels,
        }
    }
}

/// Since when a source has what, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiers {
    /// Samples are whole from here on; before, some or all series have only buckets left.
    /// `i64::MIN` when nothing was ever rolled up.
    pub samples_from_ms: i64,
    /// Widths of buckets that can be asked for, ascending, each with the time from which on there
    /// is one for every sample (whether it is stored or made of samples when asked for).
    pub buckets: Vec<(i64, i64)>,
}

impl Tiers {
    /// Samples for all times, and no buckets.
    pub const SAMPLES_ONLY: Self = Self { samples_from_ms: i64::MIN, buckets: Vec::new() };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stale_marker;

    fn series(samples: &[(i64, f64)]) -> Series {
        let (times, values) = samples.iter().copied().unzip();
        Series { labels: Labels::new([("__name__", "m")]), times, values }
    }

    #[test]
    fn a_sample_on_the_edge_is_in_the_bucket_that_ends_there() {
        for (time_ms, end_ms) in [(1, 10), (10, 10), (11, 20), (0, 0), (-1, 0), (-10, -10)] {
            assert_eq!(bucket_end(time_ms, 10), end_ms, "{time_ms}");
        }
    }

    #[test]
    fn whole_buckets_hold_a_range() {
        for (range, whole) in [((1, 10), (1, 10)), ((10, 11), (1, 20)), ((-9, 0), (-9, 0))] {
            assert_eq!(bucket_range(range.0, range.1, 10), whole, "{range:?}");
        }
    }

    #[test]
    fn columns_that_are_not_asked_for_are_empty() {
        let columns = BucketColumns::of(&[BucketColumn::Last]);
        let Rolled::Buckets(rolled) = Rolled::of(&series(&[(1, 5.0)]), 10, columns) else {
            panic!("buckets")
        };
        assert_eq!(rolled.column(BucketColumn::Last), [5.0]);
        assert!(rolled.column(BucketColumn::Count).is_empty());
    }

    #[test]
    fn resets_make_the_increase_whole_again() {
        let rolled =
            Buckets::roll_up(&series(&[(1, 5.0), (2, 9.0), (3, 2.0), (10, 4.0), (11, 1.0)]), 10);
        assert_eq!(rolled.ends_ms, [10, 20]);
        let numbers =
            |at: usize| BucketColumn::ALL.map(|column| *rolled.column(column).get(at).unwrap());
        assert_eq!(numbers(0), [4.0, 1.0, 5.0, 10.0, 4.0, 2.0, 9.0, 20.0, 9.0]);
        assert_eq!(numbers(1), [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
        assert_eq!(rolled.last_ms(0), Some((10, false)));
    }

    #[test]
    fn an_end_is_noted_and_is_no_sample() {
        let rolled = Buckets::roll_up(
            &series(&[(1, 5.0), (4, stale_marker()), (15, stale_marker()), (21, f64::NAN)]),
            10,
        );
        assert_eq!(rolled.ends_ms, [10, 20, 30]);
        assert_eq!(rolled.column(BucketColumn::Count), [1.0, 0.0, 1.0]);
        assert_eq!(rolled.last_ms(0), Some((1, true)));
        assert_eq!(rolled.last_ms(1), None);
        assert_eq!(rolled.last_ms(2), Some((21, false)));
        assert!(rolled.column(BucketColumn::Max)[2].is_nan());
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        let set = BucketColumns::of(&[BucketColumn::Last, BucketColumn::Count]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [BucketColumn::Count, BucketColumn::Last]);
        assert_eq!(BucketColumns::ALL.iter().count(), BucketColumn::ALL.len());
    }
}
