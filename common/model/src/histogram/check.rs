//! Which histograms are taken: what comes from outside may say anything.

use super::{BucketCount, Histogram};

/// Buckets of one histogram, and as many bounds of custom ones. Clients of Prometheus stop at 160,
/// those of OpenTelemetry at 160 on either side of zero.
pub const HISTOGRAM_BUCKETS_MAX: usize = 512;

/// Why a histogram cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum HistogramError {
    /// The schema is not one of those there are.
    #[error("histogram schema {0} is unknown, expected -4 to 8, or -53 for custom buckets")]
    Schema(i32),
    /// Too large.
    #[error("histogram has more than {HISTOGRAM_BUCKETS_MAX} buckets or bounds")]
    TooManyBuckets,
    /// A span begins before the one ahead of it ended.
    #[error("histogram has a span whose offset is negative")]
    SpanOffset,
    /// The spans reach beyond the indices there are.
    #[error("histogram has a span that ends beyond the last bucket there can be")]
    SpanOverflow,
    /// Spans and counts do not belong together.
    #[error("histogram spans need {spans} buckets, have {counts}")]
    SpanMismatch {
        /// Buckets that the spans tell of.
        spans: u64,
        /// Buckets that have counts.
        counts: usize,
    },
    /// A count that no counting gives.
    #[error("histogram has a count that is negative or not a number")]
    Count,
    /// Integer counts that do not add up.
    #[error("histogram counts {count} observations, its buckets {buckets}")]
    CountMismatch {
        /// What it says.
        count: f64,
        /// What its buckets have together.
        buckets: f64,
    },
    /// The zero bucket's width is not a width.
    #[error("histogram has a zero threshold that is negative or not a finite number")]
    ZeroThreshold,
    /// Bounds must ascend.
    #[error("histogram custom bounds must be in strictly increasing order")]
    BoundsOrder,
    /// The last bucket ends at +Inf by itself.
    #[error("histogram custom bounds must be finite")]
    BoundsInfinite,
    /// There are buckets beyond the last bound.
    #[error("histogram custom bounds are too few")]
    BoundsMissing,
    /// Only custom buckets have bounds.
    #[error("histogram with exponential schema must not have custom bounds")]
    BoundsUnexpected,
    /// Custom buckets are all there is.
    #[error("histogram with custom buckets must not have a zero bucket or negative buckets")]
    CustomOnly,
}

impl Histogram {
    /// Whether it can be taken: within bounds, and a histogram at all. A marker of staleness is
    /// not looked at any further.
    pub fn check(&self) -> Result<(), HistogramError> {
        if self.is_stale() {
            return Ok(());
        }
        let sides = [&self.positive, &self.negative];
        let buckets: usize = sides.iter().map(|side| side.len()).sum();
        if buckets > HISTOGRAM_BUCKETS_MAX || self.bounds.len() > HISTOGRAM_BUCKETS_MAX {
            return Err(HistogramError::TooManyBuckets);
        }
        let counts = sides.into_iter().flatten().map(|bucket| bucket.count);
        let is_count = |count: f64| count >= 0.0;
        if !counts.chain([self.count, self.zero_count]).all(is_count) {
            return Err(HistogramError::Count);
        }
        let ascends = |side: &Vec<BucketCount>| side.is_sorted_by(|a, b| a.index < b.index);
        if !sides.into_iter().all(ascends) {
            return Err(HistogramError::SpanOffset);
        }
        if self.is_custom() { self.check_custom() } else { self.check_exponential() }
    }

    fn check_exponential(&self) -> Result<(), HistogramError> {
        if !Self::SCHEMAS.contains(&self.schema) {
            return Err(HistogramError::Schema(self.schema));
        }
        if !self.bounds.is_empty() {
            return Err(HistogramError::BoundsUnexpected);
        }
        if !(self.zero_threshold >= 0.0 && self.zero_threshold.is_finite()) {
            return Err(HistogramError::ZeroThreshold);
        }
        Ok(())
    }

    fn check_custom(&self) -> Result<(), HistogramError> {
        let has_zero = self.zero_count != 0.0 || self.zero_threshold != 0.0;
        if has_zero || !self.negative.is_empty() {
            return Err(HistogramError::CustomOnly);
        }
        if !self.bounds.iter().all(|bound| bound.is_finite()) {
            return Err(HistogramError::BoundsInfinite);
        }
        if !self.bounds.is_sorted_by(|a, b| a < b) {
            return Err(HistogramError::BoundsOrder);
        }
        let in_reach = |bucket: &BucketCount| {
            usize::try_from(bucket.index).is_ok_and(|i| i <= self.bounds.len())
        };
        if !self.positive.iter().all(in_reach) {
            return Err(HistogramError::BoundsMissing);
        }
        Ok(())
    }

    /// As [`Histogram::check`], for one whose counts were whole numbers: these must add up, but
    /// for observations of NaN, which are in no bucket and make the sum NaN.
    pub fn check_whole(&self) -> Result<(), HistogramError> {
        self.check()?;
        let sides = self.positive.iter().chain(&self.negative);
        let buckets = self.zero_count + sides.map(|bucket| bucket.count).sum::<f64>();
        let adds_up = if self.sum.is_nan() { buckets <= self.count } else { buckets == self.count };
        if adds_up || self.is_stale() {
            return Ok(());
        }
        Err(HistogramError::CountMismatch { count: self.count, buckets })
    }

    /// Buckets from spans, each a gap after the one before (the first: an index) and a length, and
    /// the counts in their order.
    pub fn spread(
        spans: &[(i32, u32)],
        counts: &[f64],
    ) -> Result<Vec<BucketCount>, HistogramError> {
        let named: u64 = spans.iter().map(|(_, len)| u64::from(*len)).sum();
        if named != counts.len() as u64 {
            return Err(HistogramError::SpanMismatch { spans: named, counts: counts.len() });
        }
        if counts.len() > HISTOGRAM_BUCKETS_MAX {
            return Err(HistogramError::TooManyBuckets);
        }
        let mut buckets = Vec::with_capacity(counts.len());
        let (mut counts, mut next) = (counts.iter(), 0_i32);
        for (at, &(offset, len)) in spans.iter().enumerate() {
            if at > 0 && offset < 0 {
                return Err(HistogramError::SpanOffset);
            }
            next = next.checked_add(offset).ok_or(HistogramError::SpanOverflow)?;
            for &count in counts.by_ref().take(len as usize) {
                buckets.push(BucketCount { index: next, count });
                next = next.checked_add(1).ok_or(HistogramError::SpanOverflow)?;
            }
        }
        Ok(buckets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stale_marker;
    use proptest::prelude::*;

    fn buckets(counts: &[(i32, f64)]) -> Vec<BucketCount> {
        counts.iter().map(|&(index, count)| BucketCount { index, count }).collect()
    }

    fn plain() -> Histogram {
        Histogram {
            count: 7.0,
            sum: 3.5,
            zero_count: 1.0,
            zero_threshold: 0.001,
            positive: buckets(&[(-1, 2.0), (0, 3.0)]),
            negative: buckets(&[(4, 1.0)]),
            ..Histogram::default()
        }
    }

    fn custom() -> Histogram {
        Histogram {
            schema: Histogram::CUSTOM_SCHEMA,
            count: 4.0,
            sum: 9.0,
            positive: buckets(&[(0, 1.0), (2, 3.0)]),
            bounds: [1.0, 2.5].into(),
            ..Histogram::default()
        }
    }

    #[test]
    fn histograms_pass() {
        assert_eq!(plain().check_whole(), Ok(()));
        assert_eq!(custom().check_whole(), Ok(()));
        let empty = Histogram::default();
        assert_eq!(empty.check_whole(), Ok(()));
        let with_nan = Histogram { count: 9.0, sum: f64::NAN, ..plain() };
        assert_eq!(with_nan.check_whole(), Ok(()));
        let stale = Histogram { count: -1.0, sum: stale_marker(), ..plain() };
        assert_eq!((stale.is_stale(), stale.check_whole()), (true, Ok(())));
    }

    #[test]
    fn what_is_no_histogram_is_refused_with_the_reason() {
        use HistogramError as E;
        let many = || (0..=600).map(|index| BucketCount { index, count: 1.0 }).collect();
        let cases = [
            (Histogram { schema: 9, ..plain() }, E::Schema(9)),
            (Histogram { schema: -5, ..plain() }, E::Schema(-5)),
            (Histogram { positive: many(), ..plain() }, E::TooManyBuckets),
            (Histogram { bounds: vec![0.0; 600].into(), ..custom() }, E::TooManyBuckets),
            (Histogram { count: f64::NAN, ..plain() }, E::Count),
            (Histogram { zero_count: -1.0, ..plain() }, E::Count),
            (Histogram { negative: buckets(&[(0, -2.0)]), ..plain() }, E::Count),
            (Histogram { positive: buckets(&[(0, f64::NAN)]), ..plain() }, E::Count),
            (Histogram { positive: buckets(&[(2, 1.0), (2, 1.0)]), ..plain() }, E::SpanOffset),
            (Histogram { zero_threshold: f64::INFINITY, ..plain() }, E::ZeroThreshold),
            (Histogram { zero_threshold: -1.0, ..plain() }, E::ZeroThreshold),
            (Histogram { bounds: [1.0].into(), ..plain() }, E::BoundsUnexpected),
            (Histogram { bounds: [2.0, 1.0].into(), ..custom() }, E::BoundsOrder),
            (Histogram { bounds: [2.0, f64::INFINITY].into(), ..custom() }, E::BoundsInfinite),
            (Histogram { bounds: [f64::NAN, 1.0].into(), ..custom() }, E::BoundsInfinite),
            (Histogram { bounds: [2.0].into(), ..custom() }, E::BoundsMissing),
            (Histogram { positive: buckets(&[(-1, 1.0)]), ..custom() }, E::BoundsMissing),
            (Histogram { zero_count: 1.0, ..custom() }, E::CustomOnly),
            (Histogram { negative: buckets(&[(1, 1.0)]), ..custom() }, E::CustomOnly),
        ];
        for (histogram, error) in cases {
            assert_eq!(histogram.check(), Err(error), "{histogram:?}");
            assert!(error.to_string().starts_with("histogram "));
        }
        let off = Histogram { count: 8.0, ..plain() };
        assert_eq!(off.check_whole(), Err(E::CountMismatch { count: 8.0, buckets: 7.0 }));
        assert_eq!(off.check(), Ok(()));
    }

    #[test]
    fn spans_say_where_counts_belong() {
        let spread = Histogram::spread(&[(-2, 2), (0, 0), (3, 1)], &[1.0, 2.0, 3.0]);
        assert_eq!(spread, Ok(buckets(&[(-2, 1.0), (-1, 2.0), (3, 3.0)])));
        let refused = |spans: &[(i32, u32)], counts: usize| {
            Histogram::spread(spans, &vec![1.0; counts]).expect_err("it cannot be taken")
        };
        assert_eq!(refused(&[(0, 2)], 1), HistogramError::SpanMismatch { spans: 2, counts: 1 });
        assert_eq!(refused(&[(0, 1), (-1, 1)], 2), HistogramError::SpanOffset);
        assert_eq!(refused(&[(i32::MAX, 2)], 2), HistogramError::SpanOverflow);
        assert_eq!(refused(&[(i32::MAX - 1, 1), (i32::MAX, 1)], 2), HistogramError::SpanOverflow);
        assert_eq!(refused(&[(0, 600)], 600), HistogramError::TooManyBuckets);
        assert_eq!(
            refused(&[(0, u32::MAX); 3], 0),
            HistogramError::SpanMismatch { spans: 3 * u64::from(u32::MAX), counts: 0 }
        );
    }

    proptest! {
        #[test]
        fn any_spans_are_taken_or_refused(
            spans in prop::collection::vec((any::<i32>(), 0_u32..4), 0..6),
            counts in prop::collection::vec(any::<f64>(), 0..12),
        ) {
            if let Ok(buckets) = Histogram::spread(&spans, &counts) {
                prop_assert!(buckets.is_sorted_by(|a, b| a.index < b.index));
                prop_assert_eq!(buckets.len(), counts.len());
            }
        }
    }
}
