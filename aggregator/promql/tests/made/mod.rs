//! Series made while they are read, as a [`Source`] in parts: as many as a test likes, and none of
//! them held.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use labstat_model::{Labels, Matcher, Series, SeriesRef};
use labstat_promql::{Scan, Source, SourceError};

/// So many series of each name, with a sample each `interval_ms`.
pub(crate) struct Made {
    pub(crate) series: usize,
    pub(crate) interval_ms: i64,
    pub(crate) part_len: usize,
    /// The times from when to when each scan was to be.
    pub(crate) scans: Mutex<Vec<(i64, i64)>>,
    /// How many series were read.
    pub(crate) read: AtomicUsize,
}

impl Made {
    pub(crate) fn new(series: usize, interval_ms: i64) -> Self {
        let (scans, read) = (Mutex::default(), AtomicUsize::new(0));
        Self { series, interval_ms, part_len: 128, scans, read }
    }
}

struct MadeScan<'m> {
    made: &'m Made,
    name: String,
    start_ms: i64,
    end_ms: i64,
}

impl Source for Made {
    fn select(&self, _: &[Matcher], _: i64, _: i64) -> Result<Vec<Series>, SourceError> {
        Err(SourceError("all series at once were asked for".into()))
    }

    fn scan(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Box<dyn Scan + '_>, SourceError> {
        let name = matchers.iter().find(|matcher| matcher.name() == "__name__");
        let name = name.map(|matcher| matcher.value().to_owned()).unwrap_or_default();
        self.scans.lock().map_err(|_| SourceError("poisoned".into()))?.push((start_ms, end_ms));
        Ok(Box::new(MadeScan { made: self, name, start_ms, end_ms }))
    }

    fn scan_newest(
        &self,
        matchers: &[Matcher],
        _: i64,
        end_ms: i64,
    ) -> Result<Box<dyn Scan + '_>, SourceError> {
        self.scan(matchers, end_ms - self.interval_ms + 1, end_ms)
    }
}

impl Scan for MadeScan<'_> {
    fn parts(&self) -> usize {
        self.made.series.div_ceil(self.made.part_len)
    }

    fn read(
        &self,
        part: usize,
        each: &mut dyn FnMut(SeriesRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let (part_len, interval_ms) = (self.made.part_len, self.made.interval_ms);
        let (mut times, mut values) = (Vec::new(), Vec::new());
        for at in (part * part_len..self.made.series).take(part_len) {
            let (id, instance) = (format!("{at:07}"), format!("node{:02}", at % 20));
            let le = ["+Inf", "0.1", "1", "10"][at % 4];
            let labels = [
                ("__name__", self.name.as_str()),
                ("id", &id),
                ("instance", &instance),
                ("le", le),
            ];
            times.clear();
            values.clear();
            let first = (self.start_ms + interval_ms - 1).div_euclid(interval_ms);
            for tick in first..=self.end_ms.div_euclid(interval_ms) {
                times.push(tick * interval_ms);
                let noise = (tick as u64 ^ at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
                values.push((tick * 100) as f64 + noise as f64 / 1_000.0);
            }
            let labels = Labels::new(labels);
            self.made.read.fetch_add(1, Ordering::Relaxed);
            let series = SeriesRef { labels: &labels, times: &times, values: &values };
            if each(series).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }
}
