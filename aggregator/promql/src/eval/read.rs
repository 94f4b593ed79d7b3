//! What is read of the source, each thing once a query, and counted.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use labstat_model::{BucketColumns, Rolled, Series, Tiers};

use super::Evaluator;
use crate::column::SERIES_COST;
use crate::expr::Selector;
use crate::{QueryError, SourceError};

/// What was read already: `a / (a + b)` reads `a` once.
#[derive(Debug, Default)]
pub(super) struct Reads {
    series: RefCell<HashMap<String, Rc<Vec<Series>>>>,
    rolled: RefCell<HashMap<String, Rc<Vec<Rolled>>>>,
    tiers: OnceCell<Tiers>,
}

impl Evaluator<'_> {
    /// The source's tiers, the same for the whole query.
    pub(super) fn tiers(&self) -> &Tiers {
        self.reads.tiers.get_or_init(|| self.source.tiers())
    }

    /// The series of a selector, each with all its samples from `start_ms` to `end_ms`.
    pub(super) fn select(
        &self,
        selector: &Selector,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Rc<Vec<Series>>, QueryError> {
        self.read(&self.reads.series, key("all", selector, start_ms, end_ms), cost, || {
            self.source.select(&selector.matchers, start_ms, end_ms)
        })
    }

    /// As [`Evaluator::select`], each with its newest sample alone.
    pub(super) fn newest(
        &self,
        selector: &Selector,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Rc<Vec<Series>>, QueryError> {
        self.read(&self.reads.series, key("newest", selector, start_ms, end_ms), cost, || {
            self.source.newest(&selector.matchers, start_ms, end_ms)
        })
    }

    /// As [`Evaluator::select`], rolled up.
    pub(super) fn buckets(
        &self,
        selector: &Selector,
        (start_ms, end_ms): (i64, i64),
        width_ms: i64,
        columns: BucketColumns,
    ) -> Result<Rc<Vec<Rolled>>, QueryError> {
        let what = format!("{width_ms} {columns:?}");
        self.read(&self.reads.rolled, key(&what, selector, start_ms, end_ms), rolled_cost, || {
            self.source.buckets(&selector.matchers, start_ms, end_ms, width_ms, columns)
        })
    }

    fn read<T>(
        &self,
        reads: &RefCell<HashMap<String, Rc<Vec<T>>>>,
        key: String,
        cost: fn(&T) -> usize,
        read: impl FnOnce() -> Result<Vec<T>, SourceError>,
    ) -> Result<Rc<Vec<T>>, QueryError> {
        if let Some(found) = reads.borrow().get(&key) {
            return Ok(Rc::clone(found));
        }
        let found = read().map_err(QueryError::Source)?;
        let samples: usize = found.iter().map(cost).sum();
        self.loaded.set(self.loaded.get().saturating_add(samples));
        self.check_samples(0)?;
        let found = Rc::new(found);
        reads.borrow_mut().insert(key, Rc::clone(&found));
        Ok(found)
    }
}

/// What was read, for reading it once.
fn key(what: &str, selector: &Selector, start_ms: i64, end_ms: i64) -> String {
    let matchers: Vec<_> = selector.matchers.iter().map(ToString::to_string).collect();
    format!("{what} {start_ms} {end_ms} {matchers:?}")
}

/// What a series counts for, in samples.
fn cost(series: &Series) -> usize {
    series.len() + SERIES_COST
}

/// The same of a series in buckets: two of their numbers are as long as a sample.
fn rolled_cost(rolled: &Rolled) -> usize {
    match rolled {
        Rolled::Samples(series) => cost(series),
        Rolled::Buckets(buckets) => {
            let numbers: usize = buckets.columns.iter().map(Vec::len).sum();
            (buckets.ends_ms.len() + numbers).div_ceil(2) + SERIES_COST
        }
    }
}
