//! What a stream is fed with: series, buckets or columns, in parts that threads share out.

use std::ops::ControlFlow;
use std::sync::Arc;

use labstat_model::{Buckets, HistogramSeries, Labels, Rolled, Series, SeriesRef};

use crate::column::{Column, Steps};
use crate::{BucketScan, QueryError, Scan};

/// Series, buckets or columns of a part, where they are held in memory already.
const PART_LEN: usize = 256;

/// Where a stream comes from.
pub(super) enum Feed<'s> {
    /// Read piece by piece, and not held.
    Scan(Box<dyn Scan + 's>),
    /// Read once for several streams.
    Held(Arc<Vec<Series>>),
    /// Series of which some have native histograms.
    Mixed(Arc<Vec<Mixed>>),
    Rolled(Arc<Vec<Rolled>>),
    /// As `Scan`, in buckets.
    Buckets(Box<dyn BucketScan + 's>),
    /// The value of an expression; what its steps are matters to a subquery alone.
    Columns(Vec<Column>, Steps),
}

/// A series' numbers and native histograms.
#[derive(Debug)]
pub(super) struct Mixed {
    pub(super) numbers: Series,
    pub(super) histograms: HistogramSeries,
}

/// One series of a feed.
#[derive(Clone, Copy)]
pub(super) enum Item<'i> {
    Series(SeriesRef<'i>),
    Mixed(&'i Mixed),
    Buckets(&'i Buckets),
    Column(&'i Column, Steps),
}

impl<'i> Item<'i> {
    pub(super) fn labels(&self) -> &'i Labels {
        match self {
            Self::Series(series) => series.labels,
            Self::Mixed(mixed) => &mixed.numbers.labels,
            Self::Buckets(buckets) => &buckets.labels,
            Self::Column(column, _) => &column.labels,
        }
    }

    fn of_mixed(mixed: &'i Mixed) -> Self {
        if mixed.histograms.times.is_empty() {
            return Self::Series(mixed.numbers.as_ref());
        }
        Self::Mixed(mixed)
    }

    fn of(rolled: &'i Rolled) -> Self {
        match rolled {
            Rolled::Samples(series) => Self::Series(series.as_ref()),
            Rolled::Buckets(buckets) => Self::Buckets(buckets),
        }
    }
}

impl Feed<'_> {
    pub(super) fn parts(&self) -> usize {
        match self {
            Self::Scan(scan) => scan.parts(),
            Self::Held(series) => series.len().div_ceil(PART_LEN),
            Self::Mixed(series) => series.len().div_ceil(PART_LEN),
            Self::Rolled(rolled) => rolled.len().div_ceil(PART_LEN),
            Self::Buckets(scan) => scan.parts(),
            Self::Columns(columns, _) => columns.len().div_ceil(PART_LEN),
        }
    }

    /// Whether it comes sorted by labels, as far as it is known how.
    pub(super) fn is_sorted(&self) -> bool {
        match self {
            Self::Scan(scan) => scan.is_sorted(),
            Self::Buckets(scan) => scan.is_sorted(),
            Self::Held(_) | Self::Mixed(_) | Self::Rolled(_) | Self::Columns(..) => true,
        }
    }

    /// Hands what is in a part to `each`; the first error ends it.
    pub(super) fn read(
        &self,
        part: usize,
        each: &mut dyn FnMut(Item<'_>) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        match self {
            Self::Scan(scan) => {
                let mut outcome = Ok(());
                let read = scan.read(part, &mut |series| {
                    outcome = each(Item::Series(series));
                    if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                });
                outcome?;
                read.map_err(QueryError::Source)
            }
            Self::Held(series) => {
                of_part(series, part).iter().try_for_each(|one| each(Item::Series(one.as_ref())))
            }
            Self::Mixed(series) => {
                of_part(series, part).iter().try_for_each(|one| each(Item::of_mixed(one)))
            }
            Self::Rolled(rolled) => {
                of_part(rolled, part).iter().try_for_each(|one| each(Item::of(one)))
            }
            Self::Buckets(scan) => {
                let mut outcome = Ok(());
                let read = scan.read(part, &mut |rolled| {
                    outcome = each(Item::of(&rolled));
                    if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                });
                outcome?;
                read.map_err(QueryError::Source)
            }
            Self::Columns(columns, steps) => {
                of_part(columns, part).iter().try_for_each(|one| each(Item::Column(one, *steps)))
            }
        }
    }
}

fn of_part<T>(all: &[T], part: usize) -> &[T] {
    let start = part.saturating_mul(PART_LEN).min(all.len());
    let end = start.saturating_add(PART_LEN).min(all.len());
    all.get(start..end).unwrap_or(&[])
}
