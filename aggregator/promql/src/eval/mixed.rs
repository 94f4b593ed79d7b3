//! Ranges of series that have native histograms.

use std::sync::Arc;

use labstat_model::{Histogram, HistogramSeries};

use super::Remark;
use super::range::Ranged;
use super::window::{Kernel, RangeSeries, advance};
use crate::QueryError;
use crate::budget::Pace;
use crate::column::{Cells, Column, Steps};
use crate::functions::native::{self, Given, Mixture, Said};

/// The histograms of a series, without markers of staleness, which are among its numbers.
pub(super) struct Histograms<'h> {
    pub(super) times: &'h [i64],
    pub(super) values: &'h [Arc<Histogram>],
}

/// The histograms of a column, with their times.
pub(super) fn points(column: &Column, steps: Steps) -> (Vec<i64>, Vec<Arc<Histogram>>) {
    column.histograms().map(|(step, value)| (steps.time(step), Arc::clone(value))).unzip()
}

/// The histograms from `first_ms` to `last_ms`, when there are any.
pub(super) fn cut(
    series: &HistogramSeries,
    (first_ms, last_ms): (i64, i64),
) -> Option<HistogramSeries> {
    let from = series.times.partition_point(|time| *time < first_ms);
    let to = series.times.partition_point(|time| *time <= last_ms);
    let times = series.times.get(from..to).filter(|times| !times.is_empty())?.to_vec();
    let values = series.values.get(from..to)?.to_vec();
    Some(HistogramSeries { labels: series.labels.clone(), times, values })
}

impl Remark {
    fn said(said: Said, start: usize) -> Self {
        match said {
            Said::Warning(message) => Self::Warning { message, start },
            Said::Info(message) => Self::Info { message, start },
        }
    }
}

/// Adds what is not said yet.
pub(super) fn note(said: impl IntoIterator<Item = Said>, start: usize, remarks: &mut Vec<Remark>) {
    for said in said {
        let remark = Remark::said(said, start);
        if !remarks.contains(&remark) {
            remarks.push(remark);
        }
    }
}

impl Ranged {
    /// Calls the function for the windows that have a histogram. What it gives for the numbers of
    /// each window is in `cells`.
    pub(super) fn walk_histograms(
        &self,
        name: &str,
        numbers: &RangeSeries<'_>,
        histograms: &Histograms<'_>,
        cells: &mut Cells,
        (pace, remarks): (&mut Pace<'_>, &mut Vec<Remark>),
    ) -> Result<(), QueryError> {
        let f = native::find(self.calling.name);
        let edged = matches!(self.calling.kernel, Kernel::Edged(..));
        let (mut from, mut to) = (0, 0);
        let (mut number_from, mut number_to) = (0, 0);
        let mut said = Vec::new();
        for (step, (_, end_ms)) in self.stretch.ends().enumerate() {
            let start_ms = end_ms - self.stretch.range_ms;
            from = advance(histograms.times, from, start_ms);
            to = advance(histograms.times, to.max(from), end_ms);
            if from >= to {
                pace.spend(1)?;
                continue;
            }
            number_from = advance(numbers.times(), number_from, start_ms);
            number_to = advance(numbers.times(), number_to.max(number_from), end_ms);
            let mixture = Mixture {
                name,
                number_times: numbers.times().get(number_from..number_to).unwrap_or_default(),
                numbers: numbers.values().get(number_from..number_to).unwrap_or_default(),
                times: histograms.times.get(from..to).unwrap_or_default(),
                histograms: histograms.values.get(from..to).unwrap_or_default(),
                edges_ms: (start_ms, end_ms),
            };
            let work = mixture.histograms.iter().map(|histogram| histogram.numbers_len());
            pace.spend(work.sum::<usize>() + mixture.numbers.len())?;
            if edged {
                let message = "anchored and smoothed ranges of native histograms are not \
                               supported, series ignored";
                said.push(Said::Warning(message.to_owned()));
                cells.clear(step);
            } else {
                match f(&mixture, &mut said) {
                    Given::OfNumbers => {}
                    Given::Nothing => cells.clear(step),
                    Given::Number(value) => cells.set(step, value),
                    Given::Histogram(histogram) => cells.set_histogram(step, Arc::new(histogram)),
                }
            }
            note(said.drain(..), self.calling.noted, remarks);
        }
        Ok(())
    }
}
