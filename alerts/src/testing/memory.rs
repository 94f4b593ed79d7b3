//! Series in memory, as something to query. Samples come in the order of time: what Prometheus'
//! storage refuses as out of order or as a second value for the same time is refused here.

use std::collections::BTreeMap;
use std::sync::Arc;

use labstat_model::{
    BucketCount, Histogram, HistogramSeries, Labels, METRIC_NAME, MatchOp, Matcher, ResetHint,
    Series, SeriesRef,
};
use labstat_promql::{Source, SourceError};

use super::histograms;
use super::series::Point;

/// Series by metric name, since nearly all selectors name one, and then by labels.
#[derive(Debug, Default)]
pub(crate) struct Memory(BTreeMap<String, BTreeMap<Labels, Columns>>);

#[derive(Debug, Default)]
struct Columns {
    numbers: Series,
    histograms: HistogramSeries,
    /// The last histogram as it came; the series holds it as storage gives it back.
    pushed: Option<Arc<Histogram>>,
}

impl Memory {
    /// Adds a sample; the error is why it is refused.
    pub(super) fn push(
        &mut self,
        labels: &Labels,
        time_ms: i64,
        point: &Point,
    ) -> Result<(), String> {
        if let Point::Histogram(histogram) = point
            && let Some(fault) = histograms::fault(histogram)
        {
            return Err(format!("not a histogram: {fault}"));
        }
        let name = labels.metric_name();
        let named = match self.0.get_mut(name) {
            Some(named) => named,
            None => self.0.entry(name.to_owned()).or_default(),
        };
        let columns = match named.get_mut(labels) {
            Some(columns) => columns,
            None => named.entry(labels.clone()).or_insert_with(|| Columns {
                numbers: Series::new(labels.clone()),
                histograms: HistogramSeries::new(labels.clone()),
                pushed: None,
            }),
        };
        let (numbers, histograms) = (&mut columns.numbers, &mut columns.histograms);
        let last_ms = numbers.times.last().max(histograms.times.last()).copied();
        if last_ms.is_some_and(|last_ms| time_ms < last_ms) {
            return Err("out of order sample".to_owned());
        }
        if last_ms == Some(time_ms) {
            let is_same = match point {
                Point::Nothing => true,
                Point::Number(value) => {
                    let last = numbers.values.last().map(|last| last.to_bits());
                    numbers.times.last() == Some(&time_ms) && last == Some(value.to_bits())
                }
                Point::Histogram(histogram) => {
                    let before = histograms.values.len().checked_sub(2);
                    let before = before.and_then(|at| histograms.values.get(at));
                    histograms.times.last() == Some(&time_ms)
                        && histograms.values.last() == Some(&stored(before, histogram, false))
                }
            };
            let error = || "duplicate sample for timestamp".to_owned();
            return if is_same { Ok(()) } else { Err(error()) };
        }
        match point {
            Point::Nothing => {}
            Point::Number(value) => numbers.push(time_ms, *value),
            Point::Histogram(histogram) => {
                let last = histograms.values.last();
                let is_repeated =
                    columns.pushed.as_ref().is_some_and(|pushed| Arc::ptr_eq(pushed, histogram));
                let stored = stored(last, histogram, is_repeated);
                histograms.times.push(time_ms);
                histograms.values.push(stored);
                columns.pushed = Some(Arc::clone(histogram));
            }
        }
        Ok(())
    }

    /// The series that fulfil all matchers, sorted by labels.
    fn found(&self, matchers: &[Matcher]) -> Vec<&Columns> {
        let by_name = |m: &&Matcher| m.name() == METRIC_NAME && m.op() == MatchOp::Equal;
        let fits = |labels: &Labels| matchers.iter().all(|m| m.matches_labels(labels));
        match matchers.iter().find(by_name) {
            Some(name) => {
                let named = self.0.get(name.value()).into_iter().flatten();
                named.filter(|(labels, _)| fits(labels)).map(|(_, columns)| columns).collect()
            }
            None => {
                let all = self.0.values().flatten();
                let mut found: Vec<_> = all.filter(|(labels, _)| fits(labels)).collect();
                found.sort_by_key(|(labels, _)| *labels);
                found.into_iter().map(|(_, columns)| columns).collect()
            }
        }
    }
}

/// A histogram as Prometheus' storage gives it back: one that goes on from the one before says so. One that
/// is repeated, where `last` is the same as it was given back before, takes no memory of its own.
fn stored(
    last: Option<&Arc<Histogram>>,
    histogram: &Arc<Histogram>,
    is_repeated: bool,
) -> Arc<Histogram> {
    let hint = match (last, histogram.hint) {
        // There is none that the first could go on from.
        (None, ResetHint::Continued) => ResetHint::Unknown,
        (None, hint) | (_, hint @ ResetHint::Gauge) => hint,
        // What falls, or is laid out in another way, begins a chunk of its own, of which nothing is known.
        (Some(last), hint)
            if hint == ResetHint::Reset
                || last.hint == ResetHint::Gauge
                || (!is_repeated && counts_fell(last, histogram))
                || (last.schema, last.zero_threshold, &last.bounds)
                    != (histogram.schema, histogram.zero_threshold, &histogram.bounds) =>
        {
            ResetHint::Unknown
        }
        (Some(_), _) => ResetHint::Continued,
    };
    if hint == histogram.hint {
        return Arc::clone(histogram);
    }
    match last.filter(|last| is_repeated && last.hint == hint) {
        Some(last) => Arc::clone(last),
        None => Arc::new(Histogram { hint, ..Histogram::clone(histogram) }),
    }
}

/// Whether any count is below what it was.
fn counts_fell(last: &Histogram, next: &Histogram) -> bool {
    let fell = |last: &[BucketCount], next: &[BucketCount]| {
        last.iter().any(|before| {
            let at = next.binary_search_by_key(&before.index, |bucket| bucket.index).ok();
            at.and_then(|at| next.get(at)).map_or(0.0, |bucket| bucket.count) < before.count
        })
    };
    let is_same_layout = last.schema == next.schema && last.zero_threshold == next.zero_threshold;
    next.count < last.count
        || (is_same_layout
            && (next.zero_count < last.zero_count
                || fell(&last.positive, &next.positive)
                || fell(&last.negative, &next.negative)))
}

/// Where the times from `start_ms` to `end_ms` are, both included.
fn window(times: &[i64], start_ms: i64, end_ms: i64) -> std::ops::Range<usize> {
    let start = times.partition_point(|time_ms| *time_ms < start_ms);
    let end = times.partition_point(|time_ms| *time_ms <= end_ms);
    start..end.max(start)
}

impl Source for Memory {
    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, SourceError> {
        let cut = |columns: &Columns| {
            let series = &columns.numbers;
            let window = window(&series.times, start_ms, end_ms);
            let times = series.times.get(window.clone()).filter(|times| !times.is_empty())?;
            let values = series.values.get(window)?;
            Some(SeriesRef { labels: &series.labels, times, values }.to_series())
        };
        Ok(self.found(matchers).into_iter().filter_map(cut).collect())
    }

    fn histograms(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<HistogramSeries>, SourceError> {
        let cut = |columns: &Columns| {
            let series = &columns.histograms;
            let window = window(&series.times, start_ms, end_ms);
            let times = series.times.get(window.clone()).filter(|times| !times.is_empty())?;
            let values = series.values.get(window)?;
            let labels = series.labels.clone();
            Some(HistogramSeries { labels, times: times.to_vec(), values: values.to_vec() })
        };
        Ok(self.found(matchers).into_iter().filter_map(cut).collect())
    }
}
