//! The bounds of buckets.

use labstat_model::{BucketCount, Histogram};

use crate::elementary::scaled;

/// A bucket of a native histogram with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// The lower bound.
    pub lower: f64,
    /// The upper bound.
    pub upper: f64,
    /// Which of the bounds are in the bucket.
    pub boundaries: Boundaries,
    /// Observations in it.
    pub count: f64,
}

/// Which bounds of a bucket are in it; the numbers are those of the Prometheus API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Boundaries {
    /// The upper one.
    OpenLeft = 0,
    /// The lower one.
    OpenRight = 1,
    /// Neither.
    OpenBoth = 2,
    /// Both.
    ClosedBoth = 3,
}

impl Boundaries {
    const fn new(has_lower: bool, has_upper: bool) -> Self {
        match (has_lower, has_upper) {
            (false, true) => Self::OpenLeft,
            (true, false) => Self::OpenRight,
            (false, false) => Self::OpenBoth,
            (true, true) => Self::ClosedBoth,
        }
    }

    /// Whether the lower bound is in the bucket.
    pub(crate) const fn has_lower(self) -> bool {
        matches!(self, Self::OpenRight | Self::ClosedBoth)
    }

    /// Whether the upper bound is in the bucket.
    pub(crate) const fn has_upper(self) -> bool {
        matches!(self, Self::OpenLeft | Self::ClosedBoth)
    }
}

/// The upper bound, away from zero, of the bucket of an exponential schema.
pub(super) fn bound(schema: i32, index: i32) -> f64 {
    // The bounds are 2^(index * 2^-schema).
    let index = i64::from(index);
    let (exponent, fraction) = match u32::try_from(schema) {
        Ok(schema) => {
            let per_power = 1_i64 << schema;
            (index.div_euclid(per_power), index.rem_euclid(per_power) as f64 / per_power as f64)
        }
        Err(_) => (index.saturating_mul(1 << schema.unsigned_abs().min(32)), 0.0),
    };
    if exponent == 1024 && fraction == 0.0 {
        // The last bucket of numbers ends with the greatest there is, so that the one after it
        // holds infinities and nothing else.
        return f64::MAX;
    }
    scaled(fraction.exp2(), exponent)
}

/// A bucket above zero, or a custom one.
pub(super) fn positive(histogram: &Histogram, bucket: &BucketCount) -> Bucket {
    let BucketCount { index, count } = *bucket;
    if histogram.is_custom() {
        let bound_at = |at: i32| usize::try_from(at).ok().and_then(|at| histogram.bounds.get(at));
        let upper = bound_at(index).copied().unwrap_or(f64::INFINITY);
        let lower = bound_at(index.saturating_sub(1)).copied().unwrap_or(f64::NEG_INFINITY);
        return Bucket { lower, upper, boundaries: Boundaries::new(index == 0, true), count };
    }
    let (lower, upper) =
        (bound(histogram.schema, index.saturating_sub(1)), bound(histogram.schema, index));
    Bucket { lower, upper, boundaries: Boundaries::OpenLeft, count }
}

/// A bucket below zero.
pub(super) fn negative(histogram: &Histogram, bucket: &BucketCount) -> Bucket {
    let BucketCount { index, count } = *bucket;
    let (lower, upper) =
        (-bound(histogram.schema, index), -bound(histogram.schema, index.saturating_sub(1)));
    Bucket { lower, upper, boundaries: Boundaries::OpenRight, count }
}

/// The zero bucket.
pub(super) fn zero(histogram: &Histogram) -> Bucket {
    Bucket {
        lower: -histogram.zero_threshold,
        upper: histogram.zero_threshold,
        boundaries: Boundaries::ClosedBoth,
        count: histogram.zero_count,
    }
}

/// All buckets of a histogram, ascending, empty ones too where it has them; those that reach into
/// the zero bucket end where it begins.
pub fn buckets(histogram: &Histogram) -> impl DoubleEndedIterator<Item = Bucket> {
    let threshold = histogram.zero_threshold;
    let below = histogram.negative.iter().rev().map(move |bucket| {
        let bucket = negative(histogram, bucket);
        let reaches_in = bucket.upper < 0.0 && bucket.upper > -threshold;
        Bucket { upper: if reaches_in { -threshold } else { bucket.upper }, ..bucket }
    });
    let zero = (histogram.zero_count > 0.0).then(|| zero(histogram));
    let above = histogram.positive.iter().map(move |bucket| {
        let bucket = positive(histogram, bucket);
        let reaches_in = bucket.lower > 0.0 && bucket.lower < threshold;
        Bucket { lower: if reaches_in { threshold } else { bucket.lower }, ..bucket }
    });
    below.chain(zero).chain(above)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_powers_of_two_and_what_lies_between() {
        assert_eq!(bound(0, 0), 1.0);
        assert_eq!(bound(0, 10), 1024.0);
        assert_eq!(bound(0, -3), 0.125);
        assert_eq!(bound(1, 1), std::f64::consts::SQRT_2);
        assert_eq!(bound(3, 8), 2.0);
        assert_eq!(bound(8, 1), 1.002_711_275_050_202_5);
        assert_eq!(bound(-1, 1), 4.0);
        assert_eq!(bound(-4, -1), 2_f64.powi(-16));
    }

    #[test]
    fn the_last_buckets_end_at_the_greatest_number_and_at_infinity() {
        assert_eq!((bound(0, 1024), bound(0, 1025)), (f64::MAX, f64::INFINITY));
        assert_eq!((bound(8, 1024 * 256), bound(-4, 64)), (f64::MAX, f64::MAX));
        assert!(bound(8, 1024 * 256 - 1) < f64::MAX);
        assert_eq!(bound(0, -1074), 5e-324);
        for schema in Histogram::SCHEMAS {
            assert_eq!((bound(schema, i32::MIN), bound(schema, i32::MAX)), (0.0, f64::INFINITY));
        }
    }

    #[test]
    fn buckets_come_ascending_and_stop_at_the_zero_bucket() {
        let count = |index, count| BucketCount { index, count };
        let histogram = Histogram {
            zero_threshold: 0.75,
            zero_count: 2.0,
            positive: vec![count(0, 1.0), count(2, 3.0)],
            negative: vec![count(0, 4.0), count(1, 5.0)],
            ..Histogram::default()
        };
        let found: Vec<(f64, f64, u8, f64)> =
            buckets(&histogram).map(|b| (b.lower, b.upper, b.boundaries as u8, b.count)).collect();
        let expected = [
            (-2.0, -1.0, 1, 5.0),
            (-1.0, -0.75, 1, 4.0),
            (-0.75, 0.75, 3, 2.0),
            (0.75, 1.0, 0, 1.0),
            (2.0, 4.0, 0, 3.0),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn custom_buckets_have_their_own_bounds() {
        let histogram = Histogram {
            schema: Histogram::CUSTOM_SCHEMA,
            positive: (0..3).map(|index| BucketCount { index, count: 1.0 }).collect(),
            bounds: [-1.0, 5.0].into(),
            ..Histogram::default()
        };
        let found: Vec<(f64, f64, u8)> =
            buckets(&histogram).map(|b| (b.lower, b.upper, b.boundaries as u8)).collect();
        let infinity = f64::INFINITY;
        assert_eq!(found, [(-infinity, -1.0, 3), (-1.0, 5.0, 0), (5.0, infinity, 0)]);
    }
}
