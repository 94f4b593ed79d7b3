//! Series in memory as a [`Source`], for tests of the engine.

use labstat_model::{Matcher, Series};
use labstat_promql::{Source, SourceError};

/// Holds series; a select cuts out what lies in the range, both ends included.
#[derive(Debug, Default)]
pub(crate) struct Memory(pub(crate) Vec<Series>);

impl Source for Memory {
    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, SourceError> {
        let found = |series: &&Series| matchers.iter().all(|m| m.matches_labels(&series.labels));
        let cut = |series: &Series| {
            let mut part = Series::new(series.labels.clone());
            let inside = series.samples().filter(|s| (start_ms..=end_ms).contains(&s.time_ms));
            inside.for_each(|sample| part.push(sample.time_ms, sample.value));
            part
        };
        Ok(self.0.iter().filter(found).map(cut).collect())
    }
}
