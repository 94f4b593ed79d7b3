//! What the rules of a group have said in the round that goes on. Rules are evaluated in order, and
//! each sees what those before it recorded, though all of it is stored at once when the round is over.
//!
//! Not here: which rules look at it at all (`prepare`), since for most the store alone is enough.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use labstat_model::{
    BucketColumns, Histogram, HistogramSeries, Labels, Matcher, Rolled, Series, Tiers,
};
use labstat_promql::{BucketScan, Scan, Source, SourceError};

use crate::rules::may_select;

/// Samples of this round, by metric name. Each series has one at most, a number or a histogram.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    numbers: HashMap<String, Vec<Series>>,
    histograms: HashMap<String, Vec<HistogramSeries>>,
}

impl Fresh {
    /// Adds a number.
    pub(super) fn push(&mut self, labels: &Labels, time_ms: i64, value: f64) {
        let series = Series { labels: labels.clone(), times: vec![time_ms], values: vec![value] };
        self.numbers.entry(labels.metric_name().to_owned()).or_default().push(series);
    }

    /// Adds a native histogram.
    pub(super) fn push_histogram(&mut self, labels: &Labels, time_ms: i64, histogram: Histogram) {
        let mut series = HistogramSeries::new(labels.clone());
        series.push(time_ms, histogram);
        self.histograms.entry(labels.metric_name().to_owned()).or_default().push(series);
    }

    /// The series of numbers that fulfil all matchers and have a sample in that time.
    fn numbers(&self, matchers: &[Matcher], start_ms: i64, end_ms: i64) -> Vec<&Series> {
        matching(
            &self.numbers,
            |series| (&series.labels, &series.times),
            matchers,
            start_ms..=end_ms,
        )
    }

    /// Those of histograms.
    fn histograms(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Vec<&HistogramSeries> {
        matching(
            &self.histograms,
            |series| (&series.labels, &series.times),
            matchers,
            start_ms..=end_ms,
        )
    }
}

/// Of series by metric name, each with its labels and times, those that fulfil all matchers and have a
/// sample in that time.
fn matching<'f, S>(
    fresh: &'f HashMap<String, Vec<S>>,
    parts: fn(&S) -> (&Labels, &[i64]),
    matchers: &[Matcher],
    window: RangeInclusive<i64>,
) -> Vec<&'f S> {
    let named = fresh.iter().filter(|(name, _)| may_select(matchers, name));
    let is_meant = |series: &&S| {
        let (labels, times) = parts(series);
        times.iter().all(|time_ms| window.contains(time_ms))
            && matchers.iter().all(|m| m.matches_labels(labels))
    };
    named.flat_map(|(_, series)| series).filter(is_meant).collect()
}

/// A source, and over it the samples of this round.
pub(super) struct Overlay<'a> {
    pub(super) base: &'a dyn Source,
    pub(super) fresh: &'a Fresh,
}

/// `stored`, which is sorted by labels, with the samples of `fresh` in their places.
pub fn merged<S: Borrow<Series>>(mut stored: Vec<Series>, fresh: &[S]) -> Vec<Series> {
    for one in fresh.iter().map(Borrow::borrow) {
        match stored.binary_search_by(|series| series.labels.cmp(&one.labels)) {
            Ok(at) => {
                let Some(series) = stored.get_mut(at) else { continue };
                for (time_ms, value) in one.times.iter().zip(&one.values) {
                    let at = series.times.partition_point(|known| known < time_ms);
                    if series.times.get(at) == Some(time_ms) {
                        continue; // the store keeps the first of two as well
                    }
                    series.times.insert(at, *time_ms);
                    series.values.insert(at, *value);
                }
            }
            Err(at) => stored.insert(at, one.clone()),
        }
    }
    stored
}

/// As [`merged`], of native histograms.
fn merged_histograms(
    mut stored: Vec<HistogramSeries>,
    fresh: &[&HistogramSeries],
) -> Vec<HistogramSeries> {
    for one in fresh {
        match stored.binary_search_by(|series| series.labels.cmp(&one.labels)) {
            Ok(at) => {
                let Some(series) = stored.get_mut(at) else { continue };
                for (time_ms, histogram) in one.samples() {
                    let at = series.times.partition_point(|known| *known < time_ms);
                    if series.times.get(at) == Some(&time_ms) {
                        continue; // the store keeps the first of two as well
                    }
                    series.times.insert(at, time_ms);
                    series.values.insert(at, Arc::clone(histogram));
                }
            }
            Err(at) => stored.insert(at, (*one).clone()),
        }
    }
    stored
}

impl Source for Overlay<'_> {
    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, SourceError> {
        let stored = self.base.select(matchers, start_ms, end_ms)?;
        Ok(merged(stored, &self.fresh.numbers(matchers, start_ms, end_ms)))
    }

    fn newest(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, SourceError> {
        let stored = self.base.newest(matchers, start_ms, end_ms)?;
        let mut all = merged(stored, &self.fresh.numbers(matchers, start_ms, end_ms));
        all.iter_mut().for_each(Series::keep_newest);
        Ok(all)
    }

    fn scan(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Box<dyn Scan + '_>, SourceError> {
        if self.fresh.numbers(matchers, start_ms, end_ms).is_empty() {
            return self.base.scan(matchers, start_ms, end_ms);
        }
        Ok(Box::new(self.select(matchers, start_ms, end_ms)?))
    }

    fn scan_newest(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Box<dyn Scan + '_>, SourceError> {
        if self.fresh.numbers(matchers, start_ms, end_ms).is_empty() {
            return self.base.scan_newest(matchers, start_ms, end_ms);
        }
        Ok(Box::new(self.newest(matchers, start_ms, end_ms)?))
    }

    fn histograms(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<HistogramSeries>, SourceError> {
        let stored = self.base.histograms(matchers, start_ms, end_ms)?;
        Ok(merged_histograms(stored, &self.fresh.histograms(matchers, start_ms, end_ms)))
    }

    fn tiers(&self) -> Tiers {
        self.base.tiers()
    }

    // One sample more or less of the many in a bucket is within what buckets are asked for.
    fn buckets(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        bucket_ms: i64,
        columns: BucketColumns,
    ) -> Result<Vec<Rolled>, SourceError> {
        self.base.buckets(matchers, start_ms, end_ms, bucket_ms, columns)
    }

    fn scan_buckets(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        bucket_ms: i64,
        columns: BucketColumns,
    ) -> Result<Box<dyn BucketScan + '_>, SourceError> {
        self.base.scan_buckets(matchers, start_ms, end_ms, bucket_ms, columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        let matchers = labstat_promql::selector(text).unwrap();
        Labels::new(matchers.iter().map(|m| (m.name(), m.value())))
    }

    /// Series in memory.
    struct Stored(Vec<Series>);

    impl Source for Stored {
        fn select(&self, m: &[Matcher], _: i64, _: i64) -> Result<Vec<Series>, SourceError> {
            let fits = |s: &&Series| m.iter().all(|m| m.matches_labels(&s.labels));
            Ok(self.0.iter().filter(fits).cloned().collect())
        }
    }

    #[test]
    fn what_was_said_in_this_round_stands_among_what_is_stored() {
        let mut a = Series::new(labels("x{n='a'}"));
        a.push(1, 10.0);
        let stored = Stored(vec![a]);
        let mut fresh = Fresh::default();
        fresh.push(&labels("x{n='a'}"), 2, 20.0);
        fresh.push(&labels("x{n='b'}"), 2, 30.0);
        fresh.push(&labels("y{n='b'}"), 2, 40.0);
        fresh.push(&labels("x{n='a'}"), 1, 99.0);
        let overlay = Overlay { base: &stored, fresh: &fresh };
        let x = labstat_promql::selector("x").unwrap();
        let found = overlay.select(&x, 0, 2).unwrap();
        let texts: Vec<String> =
            found.iter().map(|s| format!("{} {:?} {:?}", s.labels, s.times, s.values)).collect();
        assert_eq!(texts, ["x{n=\"a\"} [1, 2] [10.0, 20.0]", "x{n=\"b\"} [2] [30.0]"]);
        let newest = overlay.newest(&x, 0, 2).unwrap();
        assert_eq!(newest.iter().map(|s| s.values.clone()).collect::<Vec<_>>(), [[20.0], [30.0]]);
        assert_eq!(overlay.select(&x, 0, 1).unwrap()[0].values, [10.0], "not yet");
        assert_eq!(overlay.scan_newest(&x, 0, 2).unwrap().parts(), 1);
        fresh.push_histogram(&labels("x{n='c'}"), 2, Histogram::default());
        let overlay = Overlay { base: &stored, fresh: &fresh };
        let histograms = overlay.histograms(&x, 0, 2).unwrap();
        assert_eq!(histograms.iter().map(|s| s.labels.get("n")).collect::<Vec<_>>(), [Some("c")]);
        assert!(overlay.histograms(&x, 0, 1).unwrap().is_empty(), "not yet");
    }

    #[test]
    fn histograms_stand_among_those_that_are_stored() {
        let series = |n: &str, times: &[i64]| {
            let mut series = HistogramSeries::new(Labels::new([("n", n)]));
            times.iter().for_each(|time_ms| series.push(*time_ms, Histogram::default()));
            series
        };
        let fresh = [series("b", &[1]), series("a", &[2]), series("a", &[3])];
        let fresh: Vec<&HistogramSeries> = fresh.iter().collect();
        let merged = merged_histograms(vec![series("a", &[1, 3]), series("c", &[1])], &fresh);
        assert_eq!(merged, [series("a", &[1, 2, 3]), series("b", &[1]), series("c", &[1])]);
    }
}
