//! Where series come from: what the engine asks, and how it reads what it is given.

use std::ops::ControlFlow;

use labstat_model::{
    BucketColumns, HistogramSeries, Matcher, Rolled, Series, SeriesRef, Tiers, bucket_range,
};

use crate::SourceError;

/// The series that fulfil some matchers, in parts that can be read one by one.
///
/// Going through the parts in order, the series come in the same order each time, mostly sorted by
/// labels ([`Scan::is_sorted`]), each once. A part is a
/// morsel of work: a few hundred series, so that several threads have something to do and each is
/// done with a part within milliseconds. Parts may be read in any order, by several threads at a
/// time and more than once; all see the same state.
pub trait Scan: Sync {
    /// How many parts there are; none when no series fulfils the matchers.
    fn parts(&self) -> usize;

    /// Whether the series come sorted by labels, going through the parts in order.
    fn is_sorted(&self) -> bool {
        true
    }

    /// Hands the series of one part to `each` until this breaks off, which is no error. A series
    /// without samples in the window may be left out.
    fn read(
        &self,
        part: usize,
        each: &mut dyn FnMut(SeriesRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), SourceError>;
}

/// As [`Scan`], of series in buckets.
pub trait BucketScan: Sync {
    /// How many parts there are; none when no series fulfils the matchers.
    fn parts(&self) -> usize;

    /// Whether the series come sorted by labels, going through the parts in order.
    fn is_sorted(&self) -> bool {
        true
    }

    /// Hands the series of one part to `each` until this breaks off, which is no error. A series
    /// that has nothing in the window may be left out.
    fn read(
        &self,
        part: usize,
        each: &mut dyn FnMut(Rolled) -> ControlFlow<()>,
    ) -> Result<(), SourceError>;
}

/// Series of a part, where they are held already.
const PART_LEN: usize = 256;

impl Scan for Vec<Series> {
    fn parts(&self) -> usize {
        self.len().div_ceil(PART_LEN)
    }

    fn read(
        &self,
        part: usize,
        each: &mut dyn FnMut(SeriesRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let series = self.chunks(PART_LEN).nth(part).unwrap_or(&[]);
        // Whoever breaks off has what it wants.
        let _: ControlFlow<()> = series.iter().map(Series::as_ref).try_for_each(each);
        Ok(())
    }
}

impl BucketScan for Vec<Rolled> {
    fn parts(&self) -> usize {
        self.len().div_ceil(PART_LEN)
    }

    fn read(
        &self,
        part: usize,
        each: &mut dyn FnMut(Rolled) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let rolled = self.chunks(PART_LEN).nth(part).unwrap_or(&[]);
        // Whoever breaks off has what it wants.
        let _: ControlFlow<()> = rolled.iter().cloned().try_for_each(each);
        Ok(())
    }
}

/// Where series come from.
pub trait Source: Sync {
    /// The series that fulfil all `matchers`, each with its samples from `start_ms` to `end_ms`,
    /// both included. Series sorted by labels; markers of staleness as they were sent; a series
    /// without samples in the window may be left out.
    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, SourceError>;

    /// As [`Source::select`], but of each series at most the newest of these samples, be it a
    /// marker of staleness or not.
    fn newest(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, SourceError> {
        let mut series = self.select(matchers, start_ms, end_ms)?;
        for one in &mut series {
            // A later one that nobody asked for would hide it.
            let asked = one.times.partition_point(|time_ms| *time_ms <= end_ms);
            one.times.truncate(asked);
            one.values.truncate(asked);
            one.keep_newest();
        }
        Ok(series)
    }

    /// As [`Source::select`], to be read in parts and without holding all series at once. The
    /// state it reads is that of this call, whatever is written before its parts are read.
    fn scan(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Box<dyn Scan + '_>, SourceError> {
        Ok(Box::new(self.select(matchers, start_ms, end_ms)?))
    }

    /// As [`Source::newest`], to be read as [`Source::scan`].
    fn scan_newest(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Box<dyn Scan + '_>, SourceError> {
        Ok(Box::new(self.newest(matchers, start_ms, end_ms)?))
    }

    /// The native histograms of the series that fulfil all `matchers`, from `start_ms` to
    /// `end_ms`, both included; sorted by labels, each series once. Markers of staleness are among
    /// the samples of [`Source::select`], which has the floats of the same series.
    fn histograms(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<HistogramSeries>, SourceError> {
        let _ = (matchers, start_ms, end_ms);
        Ok(Vec::new())
    }

    /// Since when there are samples, and which buckets can be asked for.
    fn tiers(&self) -> Tiers {
        Tiers::SAMPLES_ONLY
    }

    /// As [`Source::select`], but of each series the buckets of width `bucket_ms` that hold the
    /// times from `start_ms` to `end_ms`, those at both ends whole, and of them at least
    /// `columns`. Each series comes once, sorted by labels. Of a series that has no buckets in
    /// store for any of the range, the samples may come in their place (at least those from
    /// `start_ms` to `end_ms`); one that has buckets for a part of it comes as buckets, made of
    /// its samples where need be. Asked only for the widths and times that [`Source::tiers`]
    /// names, or for the widest where none reaches back far enough.
    fn buckets(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        bucket_ms: i64,
        columns: BucketColumns,
    ) -> Result<Vec<Rolled>, SourceError> {
        let (first_ms, last_ms) = bucket_range(start_ms, end_ms, bucket_ms);
        let series = self.select(matchers, first_ms, last_ms)?;
        Ok(series.iter().map(|series| Rolled::of(series, bucket_ms, columns)).collect())
    }

    /// As [`Source::buckets`], to be read in parts and without holding all series at once.
    fn scan_buckets(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        bucket_ms: i64,
        columns: BucketColumns,
    ) -> Result<Box<dyn BucketScan + '_>, SourceError> {
        Ok(Box::new(self.buckets(matchers, start_ms, end_ms, bucket_ms, columns)?))
    }
}
