//! Which series `limit_ratio` takes: the same ones everywhere and at all times, since only their
//! labels decide.
//!
//! Labels are hashed as Prometheus does, so that both take the same ones.

use labstat_model::Labels;
use xxhash_rust::xxh64::xxh64;

/// The length from which on a name or a value is preceded by this byte and three bytes of length;
/// what is shorter is preceded by one byte.
const LONG: usize = 255;

/// Bytes that the encoding of most label sets fits in.
const ENCODED_LEN: usize = 256;

/// Where a label set stands between 0 and 1.
#[expect(clippy::cast_precision_loss, reason = "the hash is taken for a part of a whole")]
pub(crate) fn offset(labels: &Labels) -> f64 {
    let mut encoded = Vec::with_capacity(ENCODED_LEN);
    for (name, value) in labels.iter() {
        push(&mut encoded, name);
        push(&mut encoded, value);
    }
    xxh64(&encoded, 0) as f64 / u64::MAX as f64
}

fn push(encoded: &mut Vec<u8>, text: &str) {
    let len = text.len().to_le_bytes();
    match (text.len() < LONG, len) {
        (true, [first, ..]) => encoded.push(first),
        (false, [first, second, third, ..]) => {
            encoded.extend_from_slice(&[u8::MAX, first, second, third]);
        }
    }
    encoded.extend_from_slice(text.as_bytes());
}

/// Whether a label set that stands at `offset` is taken: those below a positive ratio, those that
/// the positive rest would leave for a negative one.
pub(crate) fn takes(ratio: f64, offset: f64) -> bool {
    let ratio = ratio.clamp(-1.0, 1.0);
    if ratio >= 0.0 { offset < ratio } else { offset >= 1.0 + ratio }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_and_its_complement_share_all_series() {
        let labels = |n: u32| Labels::new([("__name__", "m"), ("n", n.to_string().as_str())]);
        let offsets: Vec<f64> = (0..1000).map(|n| offset(&labels(n))).collect();
        for ratio in [0.1, 0.25, 0.5, 0.9] {
            let taken = offsets.iter().filter(|offset| takes(ratio, **offset)).count();
            let left = offsets.iter().filter(|offset| takes(ratio - 1.0, **offset)).count();
            assert_eq!(taken + left, 1000);
            let expected = 1000.0 * ratio;
            assert!((taken as f64 - expected).abs() < 60.0, "{taken} of 1000 for {ratio}");
        }
        assert!(offsets.iter().all(|offset| takes(2.0, *offset) && takes(-2.0, *offset)));
    }

    #[test]
    fn long_values_are_told_apart_from_short_ones() {
        let mut encoded = Vec::new();
        push(&mut encoded, &"x".repeat(254));
        assert_eq!(encoded[0], 254);
        encoded.clear();
        push(&mut encoded, &"x".repeat(0x1_02_03));
        assert_eq!(encoded[..4], [255, 3, 2, 1]);
    }
}
