//! How time is cut: into days, days into slices.
//!
//! A day (UTC) is open to the left and closed to the right, as the buckets of roll-ups are: the
//! sample of midnight is the last one of the day that ends. So every bucket lies in one day, and
//! every slice of a day holds whole buckets.

/// Milliseconds of a day.
pub(crate) const DAY_MS: i64 = 86_400_000;

/// Milliseconds of an hour, which no slice is shorter than.
const HOUR_MS: i64 = 3_600_000;

/// Hours of a day.
pub(crate) const HOURS: usize = 24;

/// Into how many slices a day may be cut, ascending.
pub(crate) const SLICES: [u32; 8] = [1, 2, 3, 4, 6, 8, 12, 24];

/// The day that a time is in, counted from the Unix epoch.
pub(crate) fn day_of(time_ms: i64) -> i64 {
    time_ms.saturating_sub(1).div_euclid(DAY_MS)
}

/// The last millisecond of a day.
pub(crate) fn day_end(day: i64) -> i64 {
    day.saturating_add(1).saturating_mul(DAY_MS)
}

/// The first and the last millisecond of a day.
pub(crate) fn day_range(day: i64) -> (i64, i64) {
    (day.saturating_mul(DAY_MS).saturating_add(1), day_end(day))
}

/// The first and the last millisecond of the slice that a time is in, when days have `slices`.
pub(crate) fn slice_range(time_ms: i64, slices: u32) -> (i64, i64) {
    let (first_ms, _) = day_range(day_of(time_ms));
    let len_ms = DAY_MS / i64::from(slices.max(1));
    let at = time_ms.saturating_sub(first_ms).div_euclid(len_ms);
    let first_ms = first_ms.saturating_add(at.saturating_mul(len_ms));
    (first_ms, first_ms.saturating_add(len_ms - 1))
}

/// The hour of its day that a time is in, from 0.
pub(crate) fn hour_of(time_ms: i64) -> usize {
    let hour = time_ms.saturating_sub(1).rem_euclid(DAY_MS) / HOUR_MS;
    usize::try_from(hour).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn midnight_is_the_end_of_a_day() {
        for (time_ms, day, hour) in
            [(0, -1, 23), (1, 0, 0), (HOUR_MS, 0, 0), (HOUR_MS + 1, 0, 1), (DAY_MS, 0, 23)]
        {
            assert_eq!((day_of(time_ms), hour_of(time_ms)), (day, hour), "{time_ms}");
            let (first_ms, last_ms) = day_range(day);
            assert!((first_ms..=last_ms).contains(&time_ms));
        }
    }

    #[test]
    fn slices_tile_a_day() {
        for slices in SLICES {
            let (mut next_ms, mut found) = (1, 0);
            while next_ms <= DAY_MS {
                let (first_ms, last_ms) = slice_range(next_ms, slices);
                assert_eq!(first_ms, next_ms);
                assert_eq!(slice_range(last_ms, slices), (first_ms, last_ms));
                (next_ms, found) = (last_ms + 1, found + 1);
            }
            assert_eq!((next_ms, found), (DAY_MS + 1, slices));
        }
    }
}
