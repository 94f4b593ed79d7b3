//! Adding, subtracting and scaling histograms.
//!
//! Two histograms are brought to the coarser of their schemas, and to a zero bucket that holds
//! both of theirs and ends between buckets, before their buckets are added.

use std::borrow::Cow;

use labstat_model::{BucketCount, Histogram, ResetHint};

use super::buckets::{bound, negative, positive, zero};

/// Why two histograms cannot be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Incompatible {
    /// One has exponential buckets and the other custom ones.
    Schemas,
    /// Their custom buckets have other bounds.
    Bounds,
}

/// Adds `other` to `sum`.
pub(crate) fn add(sum: &mut Histogram, other: &Histogram) -> Result<(), Incompatible> {
    combine(sum, other, 1.0)?;
    sum.hint = match (sum.hint, other.hint) {
        (one, two) if one == two => one,
        (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    };
    Ok(())
}

/// Subtracts `other` from `rest`.
pub(crate) fn subtract(rest: &mut Histogram, other: &Histogram) -> Result<(), Incompatible> {
    combine(rest, other, -1.0)?;
    rest.hint = match (rest.hint, other.hint) {
        (one, two) if one == two => one,
        (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    };
    Ok(())
}

fn combine(into: &mut Histogram, other: &Histogram, sign: f64) -> Result<(), Incompatible> {
    if into.is_custom() != other.is_custom() {
        return Err(Incompatible::Schemas);
    }
    if into.is_custom() && into.bounds != other.bounds {
        return Err(Incompatible::Bounds);
    }
    if !into.is_custom() {
        into.zero_count += sign * reconcile(into, other);
    }
    into.count += sign * other.count;
    into.sum += sign * other.sum;
    if other.schema < into.schema {
        *into = to_schema(into, other.schema);
    }
    let schema = into.schema;
    let threshold = into.zero_threshold;
    let above = merged(&other.positive, other.schema, schema);
    let below = merged(&other.negative, other.schema, schema);
    let above: Vec<BucketCount> = beyond(into, above.iter(), threshold).copied().collect();
    let below: Vec<BucketCount> = beyond(into, below.iter(), threshold).copied().collect();
    into.positive = joined(&into.positive, &above, sign);
    into.negative = joined(&into.negative, &below, sign);
    Ok(())
}

/// The buckets of both, ascending; those of the second times `sign`.
fn joined(one: &[BucketCount], two: &[BucketCount], sign: f64) -> Vec<BucketCount> {
    let mut all = Vec::with_capacity(one.len().max(two.len()));
    let mut two = two.iter().peekable();
    for bucket in one {
        while let Some(other) = two.next_if(|other| other.index < bucket.index) {
            all.push(BucketCount { index: other.index, count: sign * other.count });
        }
        let same = two.next_if(|other| other.index == bucket.index);
        let count = same.map_or(bucket.count, |other| bucket.count + sign * other.count);
        all.push(BucketCount { index: bucket.index, count });
    }
    all.extend(two.map(|other| BucketCount { index: other.index, count: sign * other.count }));
    all
}

/// The buckets of one side in a coarser schema.
pub(super) fn merged(side: &[BucketCount], from: i32, to: i32) -> Cow<'_, [BucketCount]> {
    let Some(shift) =
        u32::try_from(i64::from(from) - i64::from(to)).ok().filter(|shift| *shift > 0)
    else {
        return Cow::Borrowed(side);
    };
    let mut all: Vec<BucketCount> = Vec::with_capacity(side.len());
    for bucket in side {
        let index = (bucket.index.saturating_sub(1) >> shift.min(31)) + 1;
        match all.last_mut().filter(|last| last.index == index) {
            Some(last) => last.count += bucket.count,
            None => all.push(BucketCount { index, count: bucket.count }),
        }
    }
    Cow::Owned(all)
}

/// The buckets, in the schema of `histogram`, that end beyond a zero threshold.
pub(super) fn beyond<'a>(
    histogram: &Histogram,
    side: impl Iterator<Item = &'a BucketCount>,
    threshold: f64,
) -> impl Iterator<Item = &'a BucketCount> {
    let (schema, is_custom) = (histogram.schema, histogram.is_custom());
    side.skip_while(move |bucket| {
        !is_custom && threshold > 0.0 && bound(schema, bucket.index) <= threshold
    })
}

/// The histogram in a coarser schema; as it is where that is none.
pub(crate) fn to_schema(histogram: &Histogram, schema: i32) -> Histogram {
    if histogram.is_custom() || schema >= histogram.schema {
        return histogram.clone();
    }
    let side = |side: &[BucketCount]| merged(side, histogram.schema, schema).into_owned();
    let (positive, negative) = (side(&histogram.positive), side(&histogram.negative));
    Histogram { schema, positive, negative, ..histogram.clone() }
}

/// Observations in a zero bucket of this threshold, which is not below the histogram's own. Where
/// it would end in a bucket that has observations, it is moved to that one's end; as it then is it
/// is given, too.
pub(super) fn zero_count_within(histogram: &Histogram, threshold: f64) -> (f64, f64) {
    let mut threshold = threshold;
    if threshold <= histogram.zero_threshold {
        return (histogram.zero_count, threshold);
    }
    'anew: loop {
        let mut count = histogram.zero_count;
        for bucket in &histogram.positive {
            let bucket = positive(histogram, bucket);
            if bucket.lower >= threshold {
                break;
            }
            count += bucket.count;
            if bucket.upper > threshold {
                if bucket.count != 0.0 {
                    threshold = bucket.upper;
                }
                break;
            }
        }
        for bucket in &histogram.negative {
            let bucket = negative(histogram, bucket);
            if bucket.upper <= -threshold {
                break;
            }
            count += bucket.count;
            if bucket.lower < -threshold {
                if bucket.count != 0.0 {
                    // The other side has to be looked at again.
                    threshold = -bucket.lower;
                    continue 'anew;
                }
                break;
            }
        }
        return (count, threshold);
    }
}

/// Widens the zero bucket of `histogram` until it ends between buckets of both, and tells how many
/// observations of the other one are in it.
fn reconcile(histogram: &mut Histogram, other: &Histogram) -> f64 {
    let (mut count, mut threshold) = (other.zero_count, other.zero_threshold);
    // Each turn moves a threshold beyond a bucket of which there are finitely many. A threshold
    // that is not a number never comes from outside, and would be equal to nothing.
    while threshold != histogram.zero_threshold {
        if histogram.zero_threshold > threshold {
            (count, threshold) = zero_count_within(other, histogram.zero_threshold);
        }
        if threshold > histogram.zero_threshold {
            let (own_count, own_threshold) = zero_count_within(histogram, threshold);
            (histogram.zero_count, histogram.zero_threshold) = (own_count, own_threshold);
            drop_within_zero(histogram);
        } else if threshold != histogram.zero_threshold {
            break;
        }
    }
    count
}

/// Drops the buckets that the zero bucket has taken in.
fn drop_within_zero(histogram: &mut Histogram) {
    let (schema, threshold) = (histogram.schema, histogram.zero_threshold);
    for side in [&mut histogram.positive, &mut histogram.negative] {
        side.retain(|bucket| {
            bucket.count != 0.0 && bound(schema, bucket.index.saturating_sub(1)) >= threshold
        });
    }
}

/// Drops buckets without observations.
pub(crate) fn compact(histogram: &mut Histogram) {
    histogram.positive.retain(|bucket| bucket.count != 0.0);
    histogram.negative.retain(|bucket| bucket.count != 0.0);
}

fn map_counts(histogram: &mut Histogram, map: impl Fn(f64) -> f64) {
    let sides = histogram.positive.iter_mut().chain(&mut histogram.negative);
    sides.for_each(|bucket| bucket.count = map(bucket.count));
    for number in [&mut histogram.zero_count, &mut histogram.count, &mut histogram.sum] {
        *number = map(*number);
    }
}

/// Multiplies all counts and the sum.
pub(crate) fn multiply(histogram: &mut Histogram, factor: f64) {
    map_counts(histogram, |count| count * factor);
    if factor < 0.0 {
        histogram.hint = ResetHint::Gauge;
    }
}

/// The opposite of all counts and of the sum.
pub(crate) fn negate(histogram: &mut Histogram) {
    multiply(histogram, -1.0);
    histogram.hint = ResetHint::Gauge;
}

/// Divides all counts and the sum. Nothing can be said of buckets after a division by zero.
pub(crate) fn divide(histogram: &mut Histogram, divisor: f64) {
    map_counts(histogram, |count| count / divisor);
    if divisor == 0.0 {
        histogram.positive.clear();
        histogram.negative.clear();
    }
    if divisor < 0.0 {
        histogram.hint = ResetHint::Gauge;
    }
}

/// Whether two histograms say the same, but for whether they began anew.
pub(crate) fn equal(one: &Histogram, two: &Histogram) -> bool {
    one.schema == two.schema
        && one.zero_threshold == two.zero_threshold
        && one.zero_count == two.zero_count
        && one.count == two.count
        && one.sum == two.sum
        && one.positive == two.positive
        && one.negative == two.negative
        && (!one.is_custom() || one.bounds == two.bounds)
}

/// Removes the observations above (`keeps_below`) or below `at`; what lies in one bucket with it
/// is taken to be spread there as quantiles take it. Count and sum become those of what is left.
pub(crate) fn trim(histogram: &mut Histogram, at: f64, keeps_below: bool) {
    let old = histogram.clone();
    let part = |bucket: super::Bucket| -> f64 {
        let below = super::quantile::share_below(&old, &bucket, at);
        bucket.count * if keeps_below { below } else { 1.0 - below }
    };
    let mut sums = Sums::default();
    for (slot, bucket) in histogram.positive.iter_mut().zip(&old.positive) {
        let bucket = positive(&old, bucket);
        slot.count = part(bucket);
        sums.add(&old, &bucket, slot.count);
    }
    for (slot, bucket) in histogram.negative.iter_mut().zip(&old.negative) {
        let bucket = negative(&old, bucket);
        slot.count = part(bucket);
        sums.add(&old, &bucket, slot.count);
    }
    if old.zero_count != 0.0 {
        let bucket = zero(&old);
        histogram.zero_count = part(bucket);
        sums.add(&old, &bucket, histogram.zero_count);
    }
    if sums.is_changed {
        (histogram.count, histogram.sum) = (sums.count, sums.sum);
    }
    compact(histogram);
}

/// What is left of a histogram.
#[derive(Default)]
struct Sums {
    is_changed: bool,
    count: f64,
    sum: f64,
}

impl Sums {
    fn add(&mut self, histogram: &Histogram, bucket: &super::Bucket, count: f64) {
        self.is_changed |= count != bucket.count;
        self.count += count;
        if count != 0.0 {
            self.sum += count * super::quantile::midpoint(histogram, bucket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn side(counts: &[(i32, f64)]) -> Vec<BucketCount> {
        counts.iter().map(|&(index, count)| BucketCount { index, count }).collect()
    }

    fn histogram(schema: i32, positive: &[(i32, f64)]) -> Histogram {
        let positive = side(positive);
        let count = positive.iter().map(|bucket| bucket.count).sum();
        Histogram { schema, count, sum: 2.0 * count, positive, ..Histogram::default() }
    }

    #[test]
    fn buckets_are_added_by_index() {
        let mut sum = histogram(0, &[(0, 1.0), (2, 2.0)]);
        add(&mut sum, &histogram(0, &[(-1, 5.0), (2, 1.0), (3, 1.0)])).unwrap();
        assert_eq!(sum, histogram(0, &[(-1, 5.0), (0, 1.0), (2, 3.0), (3, 1.0)]));
        subtract(&mut sum, &histogram(0, &[(-1, 5.0), (9, 1.0)])).unwrap();
        compact(&mut sum);
        assert_eq!(sum.positive, side(&[(0, 1.0), (2, 3.0), (3, 1.0), (9, -1.0)]));
        assert_eq!((sum.count, sum.sum), (4.0, 8.0));
    }

    #[test]
    fn the_coarser_schema_wins() {
        let fine = histogram(1, &[(1, 1.0), (2, 2.0), (3, 4.0)]);
        assert_eq!(to_schema(&fine, 0).positive, side(&[(1, 3.0), (2, 4.0)]));
        assert_eq!(to_schema(&fine, -1).positive, side(&[(1, 7.0)]));
        let mut sum = fine.clone();
        add(&mut sum, &histogram(0, &[(2, 1.0)])).unwrap();
        assert_eq!(sum, histogram(0, &[(1, 3.0), (2, 5.0)]));
        let mut sum = histogram(0, &[(2, 1.0)]);
        add(&mut sum, &fine).unwrap();
        assert_eq!(sum, histogram(0, &[(1, 3.0), (2, 5.0)]));
    }

    #[test]
    fn zero_buckets_grow_to_the_end_of_a_bucket() {
        let with_zero = |zero_threshold, zero_count, positive: &[(i32, f64)]| {
            let plain = histogram(0, positive);
            Histogram { zero_threshold, zero_count, count: plain.count + zero_count, ..plain }
        };
        // 1.5 lies in the bucket up to 2 (index 1), which has observations.
        let mut sum = with_zero(0.5, 1.0, &[(0, 2.0), (1, 3.0), (2, 4.0)]);
        add(&mut sum, &with_zero(1.5, 10.0, &[(1, 1.0), (2, 5.0)])).unwrap();
        assert_eq!((sum.zero_threshold, sum.zero_count), (2.0, 17.0));
        assert_eq!((sum.positive, sum.count), (side(&[(2, 9.0)]), 26.0));
        let mut other_way = with_zero(1.5, 10.0, &[(1, 1.0), (2, 5.0)]);
        add(&mut other_way, &with_zero(0.5, 1.0, &[(0, 2.0), (1, 3.0), (2, 4.0)])).unwrap();
        assert_eq!((other_way.zero_threshold, other_way.zero_count), (2.0, 17.0));
        assert_eq!(other_way.positive, side(&[(2, 9.0)]));
    }

    #[test]
    fn other_kinds_cannot_be_added() {
        let custom = |bounds: &[f64]| Histogram {
            bounds: bounds.into(),
            ..histogram(Histogram::CUSTOM_SCHEMA, &[(0, 1.0)])
        };
        let mut sum = custom(&[1.0]);
        assert_eq!(add(&mut sum, &histogram(0, &[(0, 1.0)])), Err(Incompatible::Schemas));
        assert_eq!(subtract(&mut sum, &custom(&[2.0])), Err(Incompatible::Bounds));
        assert_eq!(sum, custom(&[1.0]));
        add(&mut sum, &custom(&[1.0])).unwrap();
        assert_eq!(sum.positive, side(&[(0, 2.0)]));
    }

    #[test]
    fn hints_of_sums() {
        use ResetHint::{Continued, Gauge, Reset, Unknown};
        let hinted = |hint| Histogram { hint, ..histogram(0, &[(0, 1.0)]) };
        for (one, two, both) in [
            (Gauge, Gauge, Gauge),
            (Gauge, Unknown, Gauge),
            (Reset, Gauge, Gauge),
            (Reset, Reset, Reset),
            (Reset, Continued, Unknown),
            (Unknown, Continued, Unknown),
        ] {
            let mut sum = hinted(one);
            add(&mut sum, &hinted(two)).unwrap();
            assert_eq!(sum.hint, both);
        }
    }

    #[test]
    fn scaling() {
        let mut scaled = histogram(0, &[(0, 1.0), (2, 2.0)]);
        multiply(&mut scaled, 3.0);
        assert_eq!(scaled, histogram(0, &[(0, 3.0), (2, 6.0)]));
        divide(&mut scaled, 3.0);
        assert_eq!(scaled, histogram(0, &[(0, 1.0), (2, 2.0)]));
        negate(&mut scaled);
        assert_eq!((scaled.hint, scaled.count, scaled.sum), (ResetHint::Gauge, -3.0, -6.0));
        divide(&mut scaled, 0.0);
        assert_eq!((scaled.positive, scaled.count), (Vec::new(), f64::NEG_INFINITY));
    }

    #[test]
    fn equality_is_of_numbers_and_of_buckets() {
        let one = histogram(0, &[(0, 1.0)]);
        assert!(equal(&one, &Histogram { hint: ResetHint::Reset, ..one.clone() }));
        assert!(!equal(&one, &histogram(1, &[(0, 1.0)])));
        assert!(!equal(&one, &histogram(0, &[(0, 1.0), (1, 0.0)])));
        let nan = Histogram { sum: f64::NAN, ..one.clone() };
        assert!(!equal(&nan, &nan));
    }

    #[test]
    fn trimming_keeps_what_lies_on_one_side() {
        // Up to 1, up to 2 and up to 4.
        let whole = histogram(0, &[(0, 4.0), (1, 4.0), (2, 4.0)]);
        let mut below = whole.clone();
        trim(&mut below, 2.0, true);
        assert_eq!((below.positive, below.count), (side(&[(0, 4.0), (1, 4.0)]), 8.0));
        let mut above = whole.clone();
        trim(&mut above, 2.0, false);
        assert_eq!((above.positive, above.count), (side(&[(2, 4.0)]), 4.0));
        // Halfway through a bucket, as exponents go.
        let mut half = whole.clone();
        trim(&mut half, 2.0 * std::f64::consts::SQRT_2, true);
        assert_eq!(half.count, 10.0);
        let mut none = whole.clone();
        trim(&mut none, 100.0, true);
        assert_eq!(none, whole);
    }

    fn any_histogram() -> impl Strategy<Value = Histogram> {
        let counts = || prop::collection::btree_map(-20_i32..20, 0_u8..50, 0..8);
        let thresholds = prop::sample::select(vec![0.0, 1e-3, 0.5, 1.3, 8.0]);
        (-2_i32..4, counts(), counts(), thresholds, 0_u8..9).prop_map(
            |(schema, positive, negative, zero_threshold, zero)| {
                let side = |counts: std::collections::BTreeMap<i32, u8>| -> Vec<BucketCount> {
                    let bucket = |(index, count)| BucketCount { index, count: f64::from(count) };
                    counts.into_iter().map(bucket).collect()
                };
                let (positive, negative) = (side(positive), side(negative));
                let zero_count = f64::from(zero);
                let buckets = positive.iter().chain(&negative).map(|bucket| bucket.count);
                let count = zero_count + buckets.sum::<f64>();
                Histogram {
                    schema,
                    positive,
                    negative,
                    zero_threshold,
                    zero_count,
                    count,
                    ..Histogram::default()
                }
            },
        )
    }

    /// Without buckets that begin within the zero bucket, which no sender has.
    fn sound(mut histogram: Histogram) -> Histogram {
        drop_within_zero(&mut histogram);
        let buckets = histogram.positive.iter().chain(&histogram.negative);
        histogram.count = histogram.zero_count + buckets.map(|bucket| bucket.count).sum::<f64>();
        histogram
    }

    proptest! {
        /// Nothing is lost or made up, whatever the zero buckets, and the order does not matter.
        /// Of histograms of two schemas that is not so where a zero bucket ends within a bucket of
        /// the coarser one; Prometheus counts those observations twice, and so does this.
        #[test]
        fn sums_have_all_observations(one in any_histogram(), two in any_histogram()) {
            let (one, two) = (sound(one.clone()), sound(Histogram { schema: one.schema, ..two }));
            let total = |histogram: &Histogram| {
                let sides = histogram.positive.iter().chain(&histogram.negative);
                histogram.zero_count + sides.map(|bucket| bucket.count).sum::<f64>()
            };
            let (mut a, mut b) = (one.clone(), two.clone());
            add(&mut a, &two).unwrap();
            add(&mut b, &one).unwrap();
            prop_assert_eq!(total(&a), one.count + two.count);
            compact(&mut a);
            compact(&mut b);
            prop_assert!(equal(&a, &b), "{:?} {:?}", a, b);
            prop_assert!(!super::super::is_reset(&a, &one) && !super::super::is_reset(&a, &two));
        }
    }
}
