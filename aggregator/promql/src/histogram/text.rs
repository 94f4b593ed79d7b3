//! A histogram as one line of text, as `count_values` puts it into a label and `$value` into a text.

use std::fmt::Write;

use labstat_model::{Histogram, number};

use super::buckets::buckets;

/// The line: count, sum, and the buckets that have observations, ascending.
pub fn describe(histogram: &Histogram) -> String {
    let mut text = String::from("{count:");
    number::push_g(&mut text, histogram.count);
    text.push_str(", sum:");
    number::push_g(&mut text, histogram.sum);
    for bucket in buckets(histogram).filter(|bucket| bucket.count != 0.0) {
        let open = if bucket.boundaries.has_lower() { '[' } else { '(' };
        let close = if bucket.boundaries.has_upper() { ']' } else { ')' };
        // Writing to a String cannot fail.
        let _ = write!(text, ", {open}");
        number::push_g(&mut text, bucket.lower);
        text.push(',');
        number::push_g(&mut text, bucket.upper);
        let _ = write!(text, "{close}:");
        number::push_g(&mut text, bucket.count);
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use labstat_model::BucketCount;

    #[test]
    fn buckets_stand_in_their_order() {
        let bucket = |index, count| BucketCount { index, count };
        let histogram = Histogram {
            count: 6.5,
            sum: -3.0,
            zero_threshold: 0.25,
            zero_count: 1.0,
            positive: vec![bucket(0, 2.0), bucket(1, 0.0), bucket(2, 1.5)],
            negative: vec![bucket(1, 2.0)],
            ..Histogram::default()
        };
        assert_eq!(
            describe(&histogram),
            "{count:6.5, sum:-3, [-2,-1):2, [-0.25,0.25]:1, (0.5,1]:2, (2,4]:1.5}"
        );
    }
}
