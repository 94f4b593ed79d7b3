//! Whether a counter began anew between two histograms.

use labstat_model::{Histogram, ResetHint};

use super::arithmetic::{beyond, merged, zero_count_within};

/// Whether `now` is that of a counter which began anew since `before`: something was counted that
/// is counted no more, or is counted more finely, which cannot be had of what was.
pub(crate) fn is_reset(now: &Histogram, before: &Histogram) -> bool {
    match now.hint {
        ResetHint::Reset => return true,
        ResetHint::Continued => return false,
        ResetHint::Unknown | ResetHint::Gauge => {}
    }
    if now.count < before.count
        || now.is_custom() != before.is_custom()
        || (now.is_custom() && now.bounds != before.bounds)
        || now.schema > before.schema
        || now.zero_threshold < before.zero_threshold
    {
        return true;
    }
    let (zero_count, threshold) = zero_count_within(before, now.zero_threshold);
    if threshold != now.zero_threshold || now.zero_count < zero_count {
        return true;
    }
    let sides = [(&now.positive, &before.positive), (&now.negative, &before.negative)];
    sides.into_iter().any(|(now_side, before_side)| {
        let before_side = merged(before_side, before.schema, now.schema);
        let before_side = beyond(now, before_side.iter(), now.zero_threshold);
        let mut rest = beyond(now, now_side.iter(), now.zero_threshold).peekable();
        let mut shrinks = before_side.map(|before| {
            while rest.next_if(|bucket| bucket.index < before.index).is_some() {}
            let count = rest.peek().filter(|bucket| bucket.index == before.index);
            match count {
                Some(bucket) => bucket.count < before.count,
                None => before.count != 0.0,
            }
        });
        shrinks.any(|shrinks| shrinks)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use labstat_model::BucketCount;

    fn histogram(count: f64, positive: &[(i32, f64)]) -> Histogram {
        let positive = positive.iter().map(|&(index, count)| BucketCount { index, count });
        Histogram {
            count,
            sum: 1.0,
            schema: 1,
            positive: positive.collect(),
            ..Histogram::default()
        }
    }

    #[test]
    fn what_grows_goes_on() {
        let before = histogram(3.0, &[(1, 1.0), (3, 2.0), (9, 0.0)]);
        assert!(!is_reset(&before, &before));
        assert!(!is_reset(&histogram(5.0, &[(0, 1.0), (1, 1.0), (3, 2.0), (4, 1.0)]), &before));
        // The sum may go down: observations may be negative.
        assert!(!is_reset(&Histogram { sum: -3.0, ..before.clone() }, &before));
        assert!(!is_reset(&before, &Histogram::default()) || before.schema > 0);
    }

    #[test]
    fn what_shrinks_or_is_lost_began_anew() {
        let before = histogram(3.0, &[(1, 1.0), (3, 2.0)]);
        assert!(is_reset(&histogram(2.0, &[(1, 1.0), (3, 2.0)]), &before));
        assert!(is_reset(&histogram(9.0, &[(1, 1.0), (3, 1.0)]), &before));
        assert!(is_reset(&histogram(9.0, &[(1, 9.0)]), &before));
        assert!(is_reset(&histogram(9.0, &[]), &before));
        assert!(is_reset(&Histogram { schema: 2, ..before.clone() }, &before));
        let zero = Histogram { zero_count: 2.0, ..before.clone() };
        assert!(is_reset(&before, &zero));
    }

    #[test]
    fn hints_are_believed() {
        let before = histogram(3.0, &[(1, 1.0), (3, 2.0)]);
        let more = histogram(9.0, &[(1, 3.0), (3, 6.0)]);
        assert!(is_reset(&Histogram { hint: ResetHint::Reset, ..more.clone() }, &before));
        assert!(!is_reset(&Histogram { hint: ResetHint::Continued, ..before.clone() }, &more));
        assert!(is_reset(&Histogram { hint: ResetHint::Gauge, ..before }, &more));
    }

    #[test]
    fn coarser_buckets_are_no_reset_when_nothing_is_lost() {
        let before = histogram(3.0, &[(1, 1.0), (2, 2.0)]);
        let coarse = Histogram { schema: 0, ..histogram(4.0, &[(1, 4.0)]) };
        assert!(!is_reset(&coarse, &before));
        assert!(is_reset(&Histogram { schema: 0, ..histogram(4.0, &[(1, 2.0)]) }, &before));
    }

    #[test]
    fn a_wider_zero_bucket_takes_in_whole_buckets() {
        // Buckets up to 1 (index 0) and up to 2^0.5 (index 1).
        let before = histogram(3.0, &[(0, 1.0), (1, 2.0)]);
        let wide = |zero_threshold, zero_count, positive: &[(i32, f64)]| Histogram {
            zero_threshold,
            zero_count,
            ..histogram(4.0, positive)
        };
        assert!(!is_reset(&wide(1.0, 1.0, &[(1, 2.0)]), &before));
        assert!(is_reset(&wide(1.0, 0.0, &[(1, 2.0)]), &before));
        assert!(is_reset(&wide(1.1, 3.0, &[(1, 2.0)]), &before));
        assert!(is_reset(&before, &wide(1.0, 1.0, &[(1, 2.0)])));
    }

    #[test]
    fn other_bounds_are_another_histogram() {
        let custom = |bounds: &[f64]| Histogram {
            schema: Histogram::CUSTOM_SCHEMA,
            bounds: bounds.into(),
            ..histogram(3.0, &[(0, 3.0)])
        };
        assert!(!is_reset(&custom(&[1.0]), &custom(&[1.0])));
        assert!(is_reset(&custom(&[1.0]), &custom(&[2.0])));
        assert!(is_reset(&custom(&[1.0]), &histogram(3.0, &[(0, 3.0)])));
    }
}
