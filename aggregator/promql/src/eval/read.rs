//! What is read of the source.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use labstat_model::{BucketColumns, HistogramSeries, Labels, Rolled, Series, Tiers};

use super::Evaluator;
use super::feed::{Feed, Item, Mixed};
use crate::budget::Cost;
use crate::column::NUMBER_BYTES;
use crate::expr::Selector;
use crate::{BucketScan, QueryError};

/// Buckets in no more parts than this are held, and read once, however often a query has them.
const HELD_PARTS_MAX: usize = 4;

/// What was read already.
#[derive(Debug, Default)]
pub(super) struct Reads {
    rolled: RefCell<HashMap<String, Arc<Vec<Rolled>>>>,
    tiers: OnceCell<Tiers>,
}

impl Evaluator<'_> {
    /// The source's tiers, the same for the whole query.
    pub(super) fn tiers(&self) -> &Tiers {
        self.reads.tiers.get_or_init(|| self.source.tiers())
    }

    /// The series of a selector, each with all its samples of these times, both included, and
    /// perhaps others around them.
    pub(super) fn samples(
        &self,
        selector: &Selector,
        (start_ms, end_ms): (i64, i64),
    ) -> Result<Feed<'_>, QueryError> {
        if let Some(mixed) = self.mixed(selector, (start_ms, end_ms))? {
            return Ok(mixed);
        }
        if let Some(series) = self.shared(selector, (start_ms, end_ms))? {
            return Ok(Feed::Held(series));
        }
        let scan = self.source.scan(&selector.matchers, start_ms, end_ms);
        scan.map(Feed::Scan).map_err(QueryError::Source)
    }

    /// As [`Evaluator::samples`], each with its newest sample alone.
    pub(super) fn newest(
        &self,
        selector: &Selector,
        (start_ms, end_ms): (i64, i64),
    ) -> Result<Feed<'_>, QueryError> {
        if let Some(mixed) = self.mixed(selector, (start_ms, end_ms))? {
            return Ok(mixed);
        }
        if let Some(series) = self.shared(selector, (start_ms, end_ms))? {
            return Ok(Feed::Held(series));
        }
        let scan = self.source.scan_newest(&selector.matchers, start_ms, end_ms);
        scan.map(Feed::Scan).map_err(QueryError::Source)
    }

    /// As [`Evaluator::samples`], where the selector has native histograms; `None` where it has
    /// none. They are few and large, so all of its series are held.
    fn mixed(
        &self,
        selector: &Selector,
        (start_ms, end_ms): (i64, i64),
    ) -> Result<Option<Feed<'_>>, QueryError> {
        let found = self.source.histograms(&selector.matchers, start_ms, end_ms);
        let found = found.map_err(QueryError::Source)?;
        if found.is_empty() {
            return Ok(None);
        }
        let numbers = found.iter().flat_map(|series| &series.values);
        let numbers: usize = numbers.map(|histogram| histogram.numbers_len()).sum();
        let mut cost = Cost::bytes(numbers.saturating_mul(NUMBER_BYTES));
        self.budget.check(cost)?;
        let mut by_labels: HashMap<Labels, HistogramSeries> =
            found.into_iter().map(|series| (series.labels.clone(), series)).collect();
        let scan = self.source.scan(&selector.matchers, start_ms, end_ms);
        let scan = Feed::Scan(scan.map_err(QueryError::Source)?);
        let mut all = Vec::new();
        for part in 0..scan.parts() {
            scan.read(part, &mut |item| {
                let Item::Series(series) = item else { return Ok(()) };
                cost = cost.and(Cost::samples(1, series.times.len()));
                self.budget.check(cost)?;
                let histograms = by_labels.remove(series.labels).unwrap_or_default();
                all.push(Mixed { numbers: series.to_series(), histograms });
                Ok(())
            })?;
        }
        let alone = |(labels, histograms)| Mixed { numbers: Series::new(labels), histograms };
        all.extend(by_labels.into_iter().map(alone));
        all.sort_by(|a, b| a.numbers.labels.cmp(&b.numbers.labels));
        self.budget.keep(cost)?;
        Ok(Some(Feed::Mixed(Arc::new(all))))
    }

    /// As [`Evaluator::samples`], rolled up. Where buckets are few they are held, and read once.
    pub(super) fn buckets(
        &self,
        selector: &Selector,
        (start_ms, end_ms): (i64, i64),
        width_ms: i64,
        columns: BucketColumns,
    ) -> Result<Feed<'_>, QueryError> {
        let matchers: Vec<_> = selector.matchers.iter().map(ToString::to_string).collect();
        let key = format!("{width_ms} {columns:?} {start_ms} {end_ms} {matchers:?}");
        if let Some(found) = self.reads.rolled.borrow().get(&key) {
            return Ok(Feed::Rolled(Arc::clone(found)));
        }
        let scan =
            self.source.scan_buckets(&selector.matchers, start_ms, end_ms, width_ms, columns);
        let scan = scan.map_err(QueryError::Source)?;
        if scan.parts() > HELD_PARTS_MAX {
            return Ok(Feed::Buckets(scan));
        }
        let Some((found, cost)) = self.hold(&*scan)? else { return Ok(Feed::Buckets(scan)) };
        self.budget.keep(cost)?;
        let found = Arc::new(found);
        self.reads.rolled.borrow_mut().insert(key, Arc::clone(&found));
        Ok(Feed::Rolled(found))
    }

    /// All series of a scan, and what they cost; `None` when that is more than may be held.
    fn hold(&self, scan: &dyn BucketScan) -> Result<Option<(Vec<Rolled>, Cost)>, QueryError> {
        let (mut all, mut cost, mut fits) = (Vec::new(), Cost::default(), true);
        for part in 0..scan.parts() {
            self.budget.check_time()?;
            let read = scan.read(part, &mut |rolled| {
                cost = cost.and(cost_of(&rolled));
                all.push(rolled);
                fits = self.budget.check(cost).is_ok();
                if fits { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            read.map_err(QueryError::Source)?;
            if !fits {
                return Ok(None);
            }
        }
        if !scan.is_sorted() {
            all.sort_by(|a, b| a.labels().cmp(b.labels()));
        }
        Ok(Some((all, cost)))
    }
}

/// What a series in buckets counts for: two of their numbers are as long as a sample.
fn cost_of(rolled: &Rolled) -> Cost {
    match rolled {
        Rolled::Samples(series) => Cost::samples(1, series.len()),
        Rolled::Buckets(buckets) => {
            let numbers: usize = buckets.columns.iter().map(Vec::len).sum();
            Cost::samples(1, (buckets.ends_ms.len() + numbers).div_ceil(2))
        }
    }
}
