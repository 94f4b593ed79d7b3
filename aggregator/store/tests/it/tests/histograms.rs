//! Native histograms: kept whole, beside floats, and seen by nobody who did not ask for them.

use std::sync::Arc;

use super::common::{NOW_MS, everything, labels, one, open, open_with, options, samples};
use labstat_model::{
    BucketColumns, BucketCount, HISTOGRAM_LABEL, Histogram, HistogramError, HistogramSample,
    HistogramTimeSeries, Labels, ManualClock, MatchOp, Matcher, MixedRequest, Rolled, SeriesError,
    stale_marker,
};
use labstat_store::{NEVER, Options, Refusal, Store};

const DAY_MS: i64 = 86_400_000;

fn histogram(count: f64) -> Histogram {
    let bucket = |index, count| BucketCount { index, count };
    Histogram {
        schema: 3,
        count: count + 3.0,
        sum: 0.25 * count,
        zero_count: 1.0,
        zero_threshold: 1e-128,
        positive: vec![bucket(-4, count), bucket(7, 1.0)],
        negative: vec![bucket(2, 1.0)],
        ..Histogram::default()
    }
}

fn custom(count: f64) -> Histogram {
    Histogram {
        schema: Histogram::CUSTOM_SCHEMA,
        count,
        positive: vec![BucketCount { index: 1, count }],
        bounds: [0.5, 2.0].into(),
        ..Histogram::default()
    }
}

fn request(name: &str, samples: &[(i64, Histogram)]) -> MixedRequest {
    let sample = |(time_ms, histogram): &(i64, Histogram)| HistogramSample {
        time_ms: *time_ms,
        histogram: Ok(histogram.clone()),
    };
    let samples = samples.iter().map(sample).collect();
    let series = HistogramTimeSeries { labels: labels(name, "a"), samples };
    MixedRequest { histograms: vec![series], ..MixedRequest::default() }
}

/// The histograms of the only series of this name.
fn read(store: &Store, name: &str) -> Vec<(i64, Histogram)> {
    let named = [Matcher::equal("__name__", name)];
    let found = store.histograms(&named, i64::MIN, i64::MAX).unwrap();
    assert!(found.len() <= 1, "{found:?}");
    let samples = found.iter().flat_map(|series| {
        assert_eq!(series.labels, labels(name, "a"));
        series.samples().map(|(time_ms, histogram)| (time_ms, Histogram::clone(histogram)))
    });
    samples.collect()
}

#[test]
fn histograms_are_read_as_they_were_written_from_head_and_blobs_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let written = [
        (NOW_MS - 3_000, histogram(1.0)),
        (NOW_MS - 2_000, histogram(2.0)),
        (NOW_MS - 1_000, custom(3.0)),
        (NOW_MS, Histogram { schema: 1, ..histogram(4.0) }),
    ];
    let store = open(dir.path());
    let appended = store.append(&request("h", &written)).unwrap();
    assert_eq!((appended.accepted, appended.refused, appended.duplicates), (4, 0, 0));
    assert_eq!(read(&store, "h"), written);
    drop(store);
    let store = open(dir.path());
    assert_eq!(read(&store, "h"), written);
    store.compact().unwrap();
    assert_eq!(read(&store, "h"), written);
    let late = (NOW_MS - 2_500, histogram(9.0));
    assert_eq!(store.append(&request("h", std::slice::from_ref(&late))).unwrap().accepted, 1);
    let part = store.histograms(&[], NOW_MS - 2_500, NOW_MS - 2_000).unwrap();
    assert_eq!(part[0].times, [NOW_MS - 2_500, NOW_MS - 2_000]);
    assert_eq!(*part[0].values[0], late.1);
}

#[test]
fn a_histogram_is_kept_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let first = [(NOW_MS, histogram(5.0))];
    store.append(&request("h", &first)).unwrap();
    for _ in 0..2 {
        let again = store.append(&request("h", &first)).unwrap();
        assert_eq!((again.accepted, again.duplicates, again.refused), (0, 1, 0));
        // Other buckets at the same time must not come to those that are stored.
        for other in [histogram(6.0), custom(1.0), Histogram::default()] {
            let refused = store.append(&request("h", &[(NOW_MS, other)])).unwrap();
            assert_eq!((refused.accepted, refused.duplicates, refused.refused), (0, 0, 1));
            assert_eq!(refused.refusals[0].reason, Refusal::Conflict);
            assert_eq!(refused.refusals[0].labels, labels("h", "a"));
        }
        assert_eq!(read(&store, "h"), first);
        store.compact().unwrap();
    }
    let twice = request("i", &[(NOW_MS, histogram(1.0)), (NOW_MS, custom(2.0))]);
    let appended = store.append(&twice).unwrap();
    assert_eq!((appended.accepted, appended.refused), (1, 1));
    assert_eq!(read(&store, "i"), [(NOW_MS, histogram(1.0))]);
}

#[test]
fn a_histogram_that_has_no_room_leaves_no_series() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), Options { series_max: 8, ..options() });
    store.append(&one("m", &[(NOW_MS, 1.0)])).unwrap();
    let appended = store.append(&request("h", &[(NOW_MS, histogram(1.0))])).unwrap();
    assert_eq!((appended.accepted, appended.refused), (0, 1));
    assert_eq!(appended.refusals[0].reason, Refusal::TooManySeries);
    // Of seven parts this has five.
    assert_eq!(store.append(&request("h", &[(NOW_MS, custom(1.0))])).unwrap().accepted, 1);
}

/// The rule that hides parts: in every read but that of histograms.
#[test]
fn nobody_sees_the_parts() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.append(&one("m", &[(NOW_MS, 1.0)])).unwrap();
    let mut both = request("h", &[(NOW_MS, histogram(1.0))]);
    both.histograms.extend(request("both", &[(NOW_MS, custom(1.0))]).histograms);
    both.floats = one("both", &[(NOW_MS - 1_000, 7.0)]);
    store.append(&both).unwrap();
    for _ in 0..2 {
        let (from, to) = (i64::MIN, i64::MAX);
        let names = |series: &[Labels]| -> Vec<String> {
            series.iter().map(|labels| labels.metric_name().to_owned()).collect()
        };
        let floats: Vec<Labels> = everything(&store).into_iter().map(|one| one.labels).collect();
        assert_eq!(names(&floats), ["both", "m"]);
        let newest = store.newest(&[], from, to, NEVER).unwrap();
        assert_eq!(newest.len(), 2);
        let buckets = store.buckets(&[], 0, NOW_MS, 300_000, BucketColumns::ALL).unwrap();
        assert_eq!(
            buckets.iter().filter(|one| !matches!(one, Rolled::Samples(s) if s.is_empty())).count(),
            2
        );
        let mut scanned = 0;
        let scan = store.scan(&[], from, to).unwrap();
        for part in 0..scan.parts() {
            let each = &mut |_: labstat_model::SeriesRef<'_>| {
                scanned += 1;
                std::ops::ControlFlow::Continue(())
            };
            scan.read(part, each).unwrap();
        }
        assert_eq!(scanned, 2);
        let series = store.series(&[], from, to, NEVER).unwrap();
        assert_eq!(names(&series), ["both", "h", "m"]);
        assert!(series.iter().all(|labels| labels.get(HISTOGRAM_LABEL).is_none()));
        assert_eq!(store.label_names(&[], from, to, NEVER).unwrap(), ["__name__", "instance"]);
        assert_eq!(
            store.label_values("__name__", &[], from, to, NEVER).unwrap(),
            ["both", "h", "m"]
        );
        assert!(store.label_values(HISTOGRAM_LABEL, &[], from, to, NEVER).unwrap().is_empty());
        for (op, value, len) in [
            (MatchOp::Equal, "count", 0),
            (MatchOp::Regex, ".+", 0),
            (MatchOp::NotEqual, "", 0),
            (MatchOp::Equal, "", 3),
            (MatchOp::NotRegex, "p:.*", 3),
        ] {
            let hidden = [Matcher::new(HISTOGRAM_LABEL, op, value).unwrap()];
            assert_eq!(
                store.series(&[hidden.to_vec()], from, to, NEVER).unwrap().len(),
                len,
                "{value}"
            );
            let floats = store.select(&hidden, from, to).unwrap();
            assert_eq!(floats.len(), len.min(2), "{value}");
            assert_eq!(store.histograms(&hidden, from, to).unwrap().len(), len.min(2));
        }
        let stats = store.stats();
        let count = |name: &str, len: usize| (name.to_owned(), len);
        assert_eq!(stats.metric_names, [count("both", 2), count("h", 1), count("m", 1)]);
        assert_eq!(stats.label_names, [count("__name__", 3), count("instance", 1)]);
        assert_eq!((stats.series, stats.label_pairs), (4, 4));
        assert!(stats.pairs.iter().all(|((name, _), _)| name != HISTOGRAM_LABEL));
        store.compact().unwrap();
    }
}

#[test]
fn the_reserved_label_is_refused_for_its_series_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.append(&request("h", &[(NOW_MS, histogram(1.0))])).unwrap();
    let mut forged = request("h", &[(NOW_MS + 1, histogram(2.0))]);
    forged.histograms[0].labels = labels("h", "a").with(HISTOGRAM_LABEL, "shape");
    forged.floats = one("m", &[(NOW_MS, 1.0)]);
    let mut float = forged.floats.series[0].clone();
    float.labels = labels("h", "a").with(HISTOGRAM_LABEL, "count");
    forged.floats.series.push(float);
    for _ in 0..2 {
        let appended = store.append(&forged).unwrap();
        assert_eq!(appended.accepted + appended.duplicates, 1);
        assert_eq!((appended.bad_labels.series, appended.bad_labels.samples), (2, 2));
        assert!(matches!(appended.bad_labels.first, Some(SeriesError::Reserved(_))));
    }
    assert_eq!(read(&store, "h"), [(NOW_MS, histogram(1.0))]);
    assert_eq!(samples(&store, "m"), [(NOW_MS, 1.0)]);
}

#[test]
fn stale_markers_are_those_of_the_series() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let stale = Histogram { sum: stale_marker(), ..Histogram::default() };
    let written = [(NOW_MS, histogram(1.0)), (NOW_MS + 1_000, stale)];
    assert_eq!(store.append(&request("h", &written)).unwrap().accepted, 2);
    assert_eq!(store.append(&request("h", &written)).unwrap().duplicates, 2);
    assert_eq!(read(&store, "h"), written[..1]);
    let found = everything(&store);
    assert_eq!(found[0].times, [NOW_MS + 1_000]);
    assert_eq!(found[0].values[0].to_bits(), stale_marker().to_bits());
    assert_eq!(store.series(&[], i64::MIN, i64::MAX, NEVER).unwrap(), [labels("h", "a")]);
}

#[test]
fn what_is_no_histogram_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), Options { retention_ms: Some(DAY_MS), ..options() });
    let mut bad = request("h", &[(NOW_MS, histogram(1.0)), (NOW_MS - 2 * DAY_MS, histogram(1.0))]);
    let histogram = Err(HistogramError::Schema(99));
    bad.histograms[0].samples.push(HistogramSample { time_ms: NOW_MS, histogram });
    let appended = store.append(&bad).unwrap();
    assert_eq!((appended.accepted, appended.refused), (1, 2));
    let refused: Vec<String> = appended.refusals.iter().map(ToString::to_string).collect();
    assert!(refused.iter().any(|text| text.starts_with("histogram schema 99 is unknown")));
    assert!(refused.iter().any(|text| text.starts_with("too old sample: h{")), "{refused:?}");
}

#[test]
fn parts_go_together() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let store = open_with(
        dir.path(),
        Options {
            retention_ms: Some(10 * DAY_MS),
            rollups_ms: [Some(0); 2],
            ..Options::new(Arc::<ManualClock>::clone(&clock))
        },
    );
    let old = (NOW_MS - 9 * DAY_MS, histogram(1.0));
    let new = (NOW_MS, histogram(2.0));
    store.append(&request("h", &[old, new.clone()])).unwrap();
    store.compact().unwrap();
    assert_eq!(read(&store, "h").len(), 2);
    clock.set_ms(NOW_MS + 5 * DAY_MS);
    let newer = (NOW_MS + 5 * DAY_MS, custom(3.0));
    store.append(&request("h", std::slice::from_ref(&newer))).unwrap();
    for _ in 0..3 {
        store.compact().unwrap();
        store.maintain(clock_ms(&clock)).unwrap();
    }
    assert_eq!(read(&store, "h"), [new, newer]);
}

fn clock_ms(clock: &ManualClock) -> i64 {
    labstat_model::Clock::now_ms(clock)
}
