//! Reading histograms: their parts, as any series, and the parts put together.

use std::collections::BTreeMap;
use std::sync::Arc;

use labstat_model::{
    BucketCount, HISTOGRAM_LABEL, Histogram, HistogramSeries, Labels, Matcher, Series,
};

use super::{Part, Shape};
use crate::ReadError;
use crate::index::Which;
use crate::store::Store;

/// A histogram while parts are found.
struct Whole {
    histogram: Histogram,
    bounds: Vec<f64>,
    /// Parts that are still missing.
    missing: usize,
}

impl Whole {
    fn take(&mut self, part: Part, value: f64) {
        self.missing = self.missing.wrapping_sub(1);
        let histogram = &mut self.histogram;
        match part {
            Part::Shape => {}
            Part::Count => histogram.count = value,
            Part::Sum => histogram.sum = value,
            Part::ZeroCount => histogram.zero_count = value,
            Part::ZeroThreshold => histogram.zero_threshold = value,
            Part::Positive(index) => histogram.positive.push(BucketCount { index, count: value }),
            Part::Negative(index) => histogram.negative.push(BucketCount { index, count: value }),
            Part::Bound(_) => self.bounds.push(value),
        }
    }

    /// The histogram, when all of it is there.
    fn finish(mut self) -> Option<Histogram> {
        self.histogram.bounds = self.bounds.into();
        (self.missing == 0 && self.histogram.check().is_ok()).then_some(self.histogram)
    }
}

/// The histograms of one series, of its parts.
fn assemble(labels: Labels, mut parts: Vec<(Part, Series)>) -> HistogramSeries {
    let mut whole = HistogramSeries::new(labels);
    parts.sort_unstable_by_key(|(part, _)| *part);
    let mut rest = parts.into_iter();
    let Some((Part::Shape, shapes)) = rest.next() else { return whole };
    let mut all: Vec<(i64, Whole)> = Vec::with_capacity(shapes.len());
    for sample in shapes.samples() {
        let Some(Shape { hint, schema, parts }) = Shape::of_number(sample.value) else { continue };
        let histogram = Histogram { hint, schema, ..Histogram::default() };
        all.push((sample.time_ms, Whole { histogram, bounds: Vec::new(), missing: parts }));
    }
    for (part, series) in rest {
        let mut samples = series.samples().peekable();
        for (time_ms, whole) in &mut all {
            while samples.next_if(|sample| sample.time_ms < *time_ms).is_some() {}
            if let Some(sample) = samples.next_if(|sample| sample.time_ms == *time_ms) {
                whole.take(part, sample.value);
            }
        }
    }
    for (time_ms, histogram) in all {
        if let Some(histogram) = histogram.finish() {
            whole.times.push(time_ms);
            whole.values.push(Arc::new(histogram));
        }
    }
    whole
}

impl Store {
    /// The native histograms of the series that fulfil all matchers, from `start_ms` to `end_ms`,
    /// both included, sorted by labels. Their markers of staleness are among the samples of
    /// [`Store::select`]. Where no histogram was ever stored, there is nothing to do.
    pub fn histograms(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<HistogramSeries>, ReadError> {
        if !self.state().index.has_parts() {
            return Ok(Vec::new());
        }
        let parts = self.select_which(Which::Parts, matchers, (start_ms, end_ms))?;
        let mut by_series: BTreeMap<Labels, Vec<(Part, Series)>> = BTreeMap::new();
        for series in parts {
            let part = series.labels.get(HISTOGRAM_LABEL).and_then(|name| name.parse().ok());
            let Some(part) = part else { continue };
            let base = series.labels.without(|name| name == HISTOGRAM_LABEL);
            by_series.entry(base).or_default().push((part, series));
        }
        let whole = by_series.into_iter().map(|(labels, parts)| assemble(labels, parts));
        Ok(whole.filter(|series| !series.times.is_empty()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::parts;
    use labstat_model::ResetHint;

    fn histogram() -> Histogram {
        Histogram {
            hint: ResetHint::Gauge,
            schema: 3,
            count: 9.5,
            sum: f64::NAN,
            zero_count: 0.5,
            zero_threshold: 1e-9,
            positive: vec![
                BucketCount { index: -3, count: 2.0 },
                BucketCount { index: 10, count: 0.0 },
            ],
            negative: vec![BucketCount { index: 2, count: 7.0 }],
            ..Histogram::default()
        }
    }

    fn taken_apart(samples: &[(i64, Histogram)]) -> Vec<(Part, Series)> {
        let mut all: BTreeMap<Part, Series> = BTreeMap::new();
        for (time_ms, histogram) in samples {
            for (part, value) in parts(histogram) {
                all.entry(part).or_default().push(*time_ms, value);
            }
        }
        all.into_iter().rev().collect()
    }

    #[test]
    fn what_was_taken_apart_comes_together() {
        let custom = Histogram {
            schema: Histogram::CUSTOM_SCHEMA,
            count: 1.0,
            positive: vec![BucketCount { index: 2, count: 1.0 }],
            bounds: [0.5, 7.0].into(),
            ..Histogram::default()
        };
        let samples = [(10, histogram()), (20, Histogram::default()), (30, custom)];
        let whole = assemble(Labels::default(), taken_apart(&samples));
        let expected: Vec<String> = samples.iter().map(|(_, one)| format!("{one:?}")).collect();
        let found: Vec<String> = whole.values.iter().map(|one| format!("{one:?}")).collect();
        assert_eq!((whole.times, found), (vec![10, 20, 30], expected));
    }

    #[test]
    fn a_histogram_of_which_a_part_was_lost_is_left_out() {
        let samples = [(10, histogram()), (20, histogram())];
        for lost in 0..parts(&histogram()).len() {
            let mut parts = taken_apart(&samples);
            let (_, series) = &mut parts[lost];
            series.times.remove(0);
            series.values.remove(0);
            assert_eq!(assemble(Labels::default(), parts).times, [20], "{lost}");
        }
        // And so is one that has a part too many.
        let mut parts = taken_apart(&samples);
        let mut stray = Series::default();
        stray.push(10, 1.0);
        parts.push((Part::Positive(99), stray));
        assert_eq!(assemble(Labels::default(), parts).times, [20]);
    }
}
