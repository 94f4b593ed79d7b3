//! When a disk is due: pure arithmetic on milliseconds.
//!
//! Each disk has its own moment in every interval, evenly spread, so that a shelf of disks never
//! is asked all at once. Not here: whether a disk that is due may be asked ([`super::power`]).

/// Time between the first readings of two disks after a start: a few disks are known at once, and
/// a shelf of them does not make a burst.
const FIRST_GAP_MS: i64 = 5_000;

/// The longest time between two attempts at a disk that fails, unless the interval is longer.
const BACK_OFF_MAX_MS: i64 = 3_600_000;

/// How long something is believed that hardly changes by itself: no rights, no such type, a volume
/// of a controller.
const UNCHANGED_MS: i64 = 6 * 3_600_000;

/// When the disk at `rank` of `count` is asked first.
pub(super) fn first_ms(now_ms: i64, rank: usize, count: usize, interval_ms: i64) -> i64 {
    // However many there are, all are asked within one interval.
    let gap_ms = FIRST_GAP_MS.min(share(interval_ms, 1, count));
    now_ms + share(gap_ms, rank, 1)
}

/// The own moment of the disk at `rank` of `count` that comes next, at least half an interval
/// ahead.
pub(super) fn next_ms(now_ms: i64, rank: usize, count: usize, interval_ms: i64) -> i64 {
    let own_ms = share(interval_ms, rank, count);
    let earliest_ms = now_ms + interval_ms / 2;
    earliest_ms + (own_ms - earliest_ms).rem_euclid(interval_ms.max(1))
}

/// When a disk that failed so many times in a row is asked again.
pub(super) fn retry_ms(now_ms: i64, failures: u32, interval_ms: i64) -> i64 {
    let doublings = failures.saturating_sub(1).min(16);
    let wait_ms = interval_ms.saturating_mul(1 << doublings);
    now_ms + wait_ms.min(BACK_OFF_MAX_MS.max(interval_ms))
}

/// When a disk is asked again that said why it cannot be read.
pub(super) fn unchanged_ms(now_ms: i64, interval_ms: i64) -> i64 {
    now_ms + UNCHANGED_MS.max(interval_ms)
}

/// `times` the part that falls to one of `count`.
fn share(whole_ms: i64, times: usize, count: usize) -> i64 {
    let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    whole_ms.saturating_mul(number(times)) / number(count).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: i64 = 300_000;
    const NOW: i64 = 1_700_000_123_456;

    #[test]
    fn disks_are_spread_over_the_interval() {
        let mut due: Vec<i64> = (0..24).map(|rank| next_ms(NOW, rank, 24, INTERVAL)).collect();
        due.sort_unstable();
        for pair in due.windows(2) {
            assert_eq!(pair[1] - pair[0], INTERVAL / 24);
        }
        assert!(due[0] >= NOW + INTERVAL / 2 && due[23] < NOW + INTERVAL * 3 / 2);
        // Asked at its moment or a little late, it is due one interval later.
        let next = next_ms(due[3] + 9_000, 3, 24, INTERVAL);
        assert_eq!((next - due[3]) % (INTERVAL / 24), 0);
    }

    #[test]
    fn a_disk_keeps_its_moment() {
        let due = next_ms(NOW, 5, 7, INTERVAL);
        for late_ms in [0, 10, 10_000, 100_000] {
            assert_eq!(next_ms(due + late_ms, 5, 7, INTERVAL), due + INTERVAL);
        }
    }

    #[test]
    fn a_start_makes_no_burst_and_is_over_within_the_interval() {
        let first: Vec<i64> = (0..24).map(|rank| first_ms(NOW, rank, 24, INTERVAL)).collect();
        assert_eq!((first[0], first[1], first[23]), (NOW, NOW + 5_000, NOW + 115_000));
        assert!(first_ms(NOW, 499, 500, INTERVAL) < NOW + INTERVAL);
    }

    #[test]
    fn failures_back_off_to_a_bound() {
        let waits: Vec<i64> =
            [1, 2, 3, 4, 5, 400].iter().map(|n| retry_ms(0, *n, INTERVAL)).collect();
        assert_eq!(waits, [300_000, 600_000, 1_200_000, 2_400_000, 3_600_000, 3_600_000]);
        assert_eq!(retry_ms(0, 9, 7_200_000), 7_200_000, "never sooner than the interval");
    }
}
