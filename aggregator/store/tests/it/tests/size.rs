//! A database with a bound keeps the newest that fits, for years.

use std::sync::Arc;

use super::common::{labels, open_with, samples, write};
use labstat_model::{BucketColumn, BucketColumns, ManualClock, Matcher, Rolled};
use labstat_store::{Keep, Options, Store};

const DAY_MS: i64 = 86_400_000;
const START_MS: i64 = 19_000 * DAY_MS;
const SIZE_MAX: u64 = 1_500_000;

fn size(dir: &std::path::Path) -> u64 {
    std::fs::metadata(dir.join("labstat.db")).unwrap().len()
}

/// Five series whose values nothing compresses, and one that is kept.
fn a_day(at: i64) -> labstat_model::WriteRequest {
    let from_ms = START_MS + at * DAY_MS;
    // Noise (SplitMix64), of which every bit counts.
    let value = |series: i64, time_ms: i64| {
        let mut bits = (time_ms + series).cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64
    };
    let times = || (1..=288).map(|step| from_ms + step * 300_000);
    let noise = (0..5).map(|series| {
        let samples = times().map(|time_ms| (time_ms, value(series, time_ms))).collect();
        (labels(&format!("m{series}"), "a"), samples)
    });
    let kept = (labels("kept", "a"), vec![(from_ms + 1, at as f64)]);
    write(noise.chain([kept]))
}

fn hours(store: &Store, name: &str) -> usize {
    let matchers = [Matcher::equal("__name__", name)];
    let columns = BucketColumns::of(&[BucketColumn::Last]);
    let end_ms = START_MS + 2_000 * DAY_MS;
    let found = store.buckets(&matchers, START_MS, end_ms, 3_600_000, columns).unwrap();
    found
        .iter()
        .map(|rolled| match rolled {
            Rolled::Samples(series) => series.len(),
            Rolled::Buckets(buckets) => buckets.ends_ms.len(),
        })
        .sum()
}

#[test]
fn the_oldest_goes_first_and_no_write_is_refused_for_years() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let keep = Keep { matchers: vec![Matcher::equal("__name__", "kept")], keep_ms: None };
    let options =
        Options { size_max_bytes: Some(SIZE_MAX), keep: vec![keep], ..Options::new(clock.clone()) };
    let store = open_with(dir.path(), options);
    let mut dropped = 0;
    // Maintained every four days, which is far less often than it is.
    for at in 0..732 {
        store.append(&a_day(at)).unwrap();
        if at % 4 != 3 {
            continue;
        }
        let now_ms = START_MS + (at + 1) * DAY_MS;
        clock.set_ms(now_ms);
        dropped += store.maintain(now_ms).unwrap().dropped_blobs;
        assert!(size(dir.path()) <= SIZE_MAX, "{at}: {}", size(dir.path()));
    }
    let file_bytes = size(dir.path());
    assert!(dropped > 30 && file_bytes > SIZE_MAX / 2, "{dropped} {file_bytes}");
    assert_eq!(samples(&store, "kept").len(), 732, "policies come last");
    let end_ms = START_MS + 732 * DAY_MS;
    let (recent, all) = (samples(&store, "m3"), hours(&store, "m3"));
    assert_eq!(recent.last().unwrap().0, end_ms);
    let whole = recent.iter().filter(|(time_ms, _)| *time_ms > end_ms - DAY_MS).count();
    assert_eq!(whole, 288, "the newest day is whole");
    // A year of five such series takes more than there is, as samples; as hours it takes a third.
    assert!(all > 24 * 200 && recent.len() < 288 * 100, "{all} {}", recent.len());
    let tiers = store.tiers();
    assert!(tiers.samples_from_ms > tiers.buckets[1].1, "{tiers:?}");
}
