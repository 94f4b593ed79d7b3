//! What a histogram tells of its observations: quantiles, fractions, averages and how they vary.
//!
//! Within a bucket, observations are taken to be spread evenly: on a logarithmic scale in
//! exponential buckets, on a linear one in the zero bucket and in custom ones.

use labstat_model::Histogram;

use super::buckets::{Bucket, buckets};
use crate::sums::Sum;

/// What observations of NaN, which are counted and in no bucket, do to a quantile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NanEffect {
    /// There are none.
    None,
    /// The quantile is one of them.
    Result,
    /// They count as the greatest observations.
    Skew,
}

/// The zero bucket of a histogram with observations on one side alone lies on that side.
fn one_sided(histogram: &Histogram, bucket: Bucket) -> Bucket {
    match (histogram.negative.is_empty(), histogram.positive.is_empty()) {
        (true, false) => Bucket { lower: 0.0, ..bucket },
        (false, true) => Bucket { upper: 0.0, ..bucket },
        _ => bucket,
    }
}

/// The value below which the fraction `q` of the observations lies.
pub(crate) fn quantile(q: f64, histogram: &Histogram) -> (f64, NanEffect) {
    let plain = |value: f64| (value, NanEffect::None);
    if q < 0.0 {
        return plain(f64::NEG_INFINITY);
    }
    if q > 1.0 {
        return plain(f64::INFINITY);
    }
    if histogram.count == 0.0 || q.is_nan() {
        return plain(f64::NAN);
    }
    // From the nearer end, which is exacter. Observations of NaN count as the greatest.
    let upwards = histogram.sum.is_nan() || q < 0.5;
    let (rank, found) = if upwards {
        let rank = q * histogram.count;
        (rank, reach(buckets(histogram), rank))
    } else {
        let rank = (1.0 - q) * histogram.count;
        (rank, reach(buckets(histogram).rev(), rank))
    };
    let Some((bucket, reached)) = found else {
        let is_nan = histogram.sum.is_nan() && rank > 0.0;
        let effect = if is_nan { NanEffect::Result } else { NanEffect::None };
        return (if is_nan { f64::NAN } else { 0.0 }, effect);
    };
    if reached < rank && histogram.sum.is_nan() {
        return (f64::NAN, NanEffect::Result);
    }
    (within(histogram, bucket, (rank, reached), upwards), nan_effect(histogram))
}

/// The bucket with which the rank is reached, or the last one that has observations, and how many
/// there are up to its end.
fn reach(buckets: impl Iterator<Item = Bucket>, rank: f64) -> Option<(Bucket, f64)> {
    let mut found = None;
    let mut reached = 0.0;
    for bucket in buckets {
        if bucket.count == 0.0 {
            continue;
        }
        reached += bucket.count;
        found = Some((bucket, reached));
        if reached >= rank {
            break;
        }
    }
    found
}

/// The value of a rank within the bucket that has it.
fn within(
    histogram: &Histogram,
    bucket: Bucket,
    (rank, reached): (f64, f64),
    upwards: bool,
) -> f64 {
    let mut bucket = bucket;
    if histogram.is_custom() {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return bucket.upper;
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return bucket.lower;
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        bucket = one_sided(histogram, bucket);
    }
    // Added up, counts may come to a little more than their sum.
    let reached = reached.min(histogram.count);
    if reached < rank {
        return bucket.upper;
    }
    let rank = if upwards { rank - (reached - bucket.count) } else { reached - rank };
    let share = rank / bucket.count;
    let Bucket { lower, upper, .. } = bucket;
    if histogram.is_custom() || (lower <= 0.0 && upper >= 0.0) {
        return lower + (upper - lower) * share;
    }
    let (lower_log, upper_log) = (lower.abs().log2(), upper.abs().log2());
    if lower > 0.0 {
        return (lower_log + (upper_log - lower_log) * share).exp2();
    }
    -(upper_log + (lower_log - upper_log) * (1.0 - share)).exp2()
}

fn counted(histogram: &Histogram) -> f64 {
    buckets(histogram).map(|bucket| bucket.count).sum()
}

fn nan_effect(histogram: &Histogram) -> NanEffect {
    if histogram.sum.is_nan() && counted(histogram) < histogram.count {
        return NanEffect::Skew;
    }
    NanEffect::None
}

/// The fraction of a bucket's observations that lies below `at`; from 0 to 1.
pub(super) fn share_below(histogram: &Histogram, bucket: &Bucket, at: f64) -> f64 {
    let Bucket { lower, upper, .. } = *bucket;
    if at >= upper {
        return 1.0;
    }
    if at <= lower {
        return 0.0;
    }
    let is_zero = !histogram.is_custom() && lower <= 0.0 && upper >= 0.0;
    if histogram.is_custom() || is_zero {
        let bucket = if is_zero { one_sided(histogram, *bucket) } else { *bucket };
        if bucket.lower == f64::NEG_INFINITY {
            return 1.0;
        }
        return ((at - bucket.lower) / (bucket.upper - bucket.lower)).clamp(0.0, 1.0);
    }
    let (lower_log, upper_log, at_log) = (lower.abs().log2(), upper.abs().log2(), at.abs().log2());
    if at > 0.0 {
        (at_log - lower_log) / (upper_log - lower_log)
    } else {
        1.0 - (at_log - upper_log) / (lower_log - upper_log)
    }
}

/// The fraction of the observations from `lower` to `upper`, and whether observations of NaN were
/// left out, which are in no fraction.
pub(crate) fn fraction(lower: f64, upper: f64, histogram: &Histogram) -> (f64, bool) {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, false);
    }
    let has_nan = histogram.sum.is_nan() && counted(histogram) < histogram.count;
    if lower >= upper {
        return (0.0, has_nan);
    }
    let (below_lower, below_upper) = (below(histogram, lower), below(histogram, upper));
    ((below_upper - below_lower) / histogram.count, has_nan)
}

/// How many observations lie below a bound.
fn below(histogram: &Histogram, at: f64) -> f64 {
    let mut rank = 0.0;
    for bucket in buckets(histogram) {
        let is_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        let bucket = if is_zero { one_sided(histogram, bucket) } else { bucket };
        if bucket.lower >= at {
            return f64::min(rank, histogram.count);
        }
        if bucket.upper > at {
            let share = inside(histogram, &bucket, is_zero, at);
            return f64::min(rank + bucket.count * share, histogram.count);
        }
        rank += bucket.count;
    }
    // Nothing that is in a bucket lies above.
    if histogram.sum.is_nan() { rank } else { histogram.count }
}

fn inside(histogram: &Histogram, bucket: &Bucket, is_zero: bool, at: f64) -> f64 {
    if histogram.is_custom() || is_zero {
        let share = (at - bucket.lower) / (bucket.upper - bucket.lower);
        // Of an endless bucket nothing can be said but that it begins, or ends, here.
        return if bucket.lower == f64::NEG_INFINITY { 1.0 } else { share };
    }
    share_below(histogram, bucket, at)
}

/// The average observation.
pub(crate) fn average(histogram: &Histogram) -> f64 {
    histogram.sum / histogram.count
}

/// What stands for all observations of a bucket.
pub(super) fn midpoint(histogram: &Histogram, bucket: &Bucket) -> f64 {
    let Bucket { lower, upper, .. } = *bucket;
    if histogram.is_custom() {
        return f64::midpoint(upper, lower);
    }
    if lower <= 0.0 && upper >= 0.0 {
        return 0.0;
    }
    let middle = (upper * lower).sqrt();
    if upper < 0.0 { -middle } else { middle }
}

/// How far observations are from their average: the average square of it.
pub(crate) fn variance(histogram: &Histogram) -> f64 {
    let mean = average(histogram);
    let mut sum = Sum::default();
    for bucket in buckets(histogram).filter(|bucket| bucket.count != 0.0) {
        let distance = midpoint(histogram, &bucket) - mean;
        sum.add(bucket.count * distance * distance);
    }
    sum.total() / histogram.count
}

#[cfg(test)]
mod tests {
    use super::*;
    use labstat_model::BucketCount;

    fn histogram(positive: &[(i32, f64)]) -> Histogram {
        let bucket = |&(index, count): &(i32, f64)| BucketCount { index, count };
        let positive: Vec<BucketCount> = positive.iter().map(bucket).collect();
        let count = positive.iter().map(|bucket| bucket.count).sum();
        Histogram { count, sum: count, positive, ..Histogram::default() }
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    #[test]
    fn quantiles_lie_where_the_exponents_do() {
        // Up to 1 and up to 2.
        let even = histogram(&[(0, 4.0), (1, 4.0)]);
        close(quantile(0.5, &even).0, 1.0);
        close(quantile(0.75, &even).0, std::f64::consts::SQRT_2);
        close(quantile(0.25, &even).0, std::f64::consts::FRAC_1_SQRT_2);
        close(quantile(0.0, &even).0, 0.5);
        close(quantile(1.0, &even).0, 2.0);
        assert_eq!(quantile(-0.1, &even).0, f64::NEG_INFINITY);
        assert_eq!(quantile(1.1, &even).0, f64::INFINITY);
        assert!(quantile(f64::NAN, &even).0.is_nan() && quantile(0.5, &histogram(&[])).0.is_nan());
    }

    #[test]
    fn negative_buckets_are_the_mirror_image() {
        let above = histogram(&[(0, 3.0), (1, 4.0), (4, 1.0)]);
        let below =
            Histogram { negative: above.positive.clone(), positive: Vec::new(), ..above.clone() };
        for q in [0.0, 0.1, 0.3, 0.5, 0.9, 1.0] {
            close(quantile(q, &below).0, -quantile(1.0 - q, &above).0);
        }
    }

    #[test]
    fn the_zero_bucket_is_linear_and_lies_on_the_side_of_the_others() {
        let mut zero = Histogram { zero_threshold: 1.0, zero_count: 4.0, ..histogram(&[(1, 4.0)]) };
        zero.count = 8.0;
        close(quantile(0.25, &zero).0, 0.5);
        zero.negative = std::mem::take(&mut zero.positive);
        close(quantile(0.75, &zero).0, -0.5);
        let alone = Histogram { count: 4.0, positive: Vec::new(), negative: Vec::new(), ..zero };
        close(quantile(0.25, &alone).0, -0.5);
    }

    #[test]
    fn custom_buckets_are_linear_and_end_at_their_bounds() {
        let custom = |bounds: &[f64]| Histogram {
            schema: Histogram::CUSTOM_SCHEMA,
            bounds: bounds.into(),
            ..histogram(&[(0, 2.0), (1, 2.0), (2, 4.0)])
        };
        close(quantile(0.375, &custom(&[4.0, 8.0])).0, 6.0);
        close(quantile(0.125, &custom(&[4.0, 8.0])).0, 2.0);
        close(quantile(0.9, &custom(&[4.0, 8.0])).0, 8.0);
        close(quantile(0.1, &custom(&[-4.0, 8.0])).0, -4.0);
    }

    #[test]
    fn observations_of_nan_are_the_greatest() {
        let nan = Histogram { count: 10.0, sum: f64::NAN, ..histogram(&[(0, 4.0), (1, 4.0)]) };
        let (value, effect) = quantile(0.4, &nan);
        close(value, 1.0);
        assert_eq!(effect, NanEffect::Skew);
        let (value, effect) = quantile(0.9, &nan);
        assert!(value.is_nan());
        assert_eq!(effect, NanEffect::Result);
        let infinite = Histogram { count: 8.0, ..nan };
        assert_eq!(quantile(0.9, &infinite).1, NanEffect::None);
    }

    #[test]
    fn fractions_undo_quantiles() {
        let mut both = histogram(&[(0, 3.0), (1, 4.0), (4, 1.0)]);
        both.negative = histogram(&[(-1, 2.0), (2, 5.0)]).positive;
        (both.zero_threshold, both.zero_count) = (0.01, 2.0);
        both.count += 9.0;
        for q in [0.05, 0.2, 0.4, 0.44, 0.5, 0.7, 0.95] {
            let (value, _) = quantile(q, &both);
            close(fraction(f64::NEG_INFINITY, value, &both).0, q);
            close(fraction(value, f64::INFINITY, &both).0, 1.0 - q);
        }
        assert_eq!(fraction(2.0, 1.0, &both).0, 0.0);
        assert!(fraction(f64::NAN, 1.0, &both).0.is_nan());
    }

    #[test]
    fn averages_and_how_far_observations_are_from_them() {
        let mut known = histogram(&[(1, 4.0)]);
        known.sum = 4.0 * std::f64::consts::SQRT_2;
        close(average(&known), std::f64::consts::SQRT_2);
        close(variance(&known), 0.0);
        known.sum = 0.0;
        close(variance(&known), 2.0);
        known.negative = std::mem::take(&mut known.positive);
        close(variance(&known), 2.0);
    }
}
