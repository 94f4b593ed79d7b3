//! What a query took, beside its result where `stats` asks for it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use labstat_promql::QueryOptions;

use super::json;
use super::params::Params;

/// How much is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// The samples of each step, too.
    steps: bool,
    /// What it took to read the query.
    preparation: Duration,
}

/// How long the parts of a query took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Took {
    /// Until it could begin.
    pub(super) waited: Duration,
    pub(super) evaluation: Duration,
}

impl Asked {
    /// Anything but nothing asks for it.
    pub(super) fn read(params: &Params) -> Option<Self> {
        let text = params.get("stats")?;
        Some(Self { steps: text == "all", preparation: Duration::ZERO })
    }

    /// The same of a query that took so long to read.
    pub(super) fn prepared_in(self, preparation: Duration) -> Self {
        Self { preparation, ..self }
    }

    /// In Prometheus' shape. Answers are sorted as a part of evaluation, so that takes no time of
    /// its own.
    pub(super) fn json(self, took: Took, options: &QueryOptions, samples: &[(i64, u64)]) -> String {
        let seconds = |duration: Duration| duration.as_secs_f64();
        let total = seconds(self.preparation + took.evaluation);
        let mut out = format!(
            "{{\"timings\":{{\"evalTotalTime\":{total},\"resultSortTime\":0,\
             \"queryPreparationTime\":{},\"innerEvalTime\":{},\"execQueueTime\":{},\
             \"execTotalTime\":{total}}},\"samples\":{{",
            seconds(self.preparation),
            seconds(took.evaluation),
            seconds(took.waited),
        );
        if self.steps {
            out.push_str("\"totalQueryableSamplesPerStep\":");
            json::push_list(&mut out, samples, |out, (time_ms, count)| {
                out.push('[');
                json::push_time(out, *time_ms);
                out.push_str(&format!(",{count}]"));
            });
            out.push(',');
        }
        let count: u64 = samples.iter().map(|(_, count)| count).sum();
        let peak = options.peak.as_ref().map_or(0, |peak| peak.load(Ordering::Relaxed));
        out.push_str(&format!("\"totalQueryableSamples\":{count},\"peakSamples\":{peak}}}}}"));
        out
    }
}
