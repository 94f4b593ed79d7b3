//! What is stored in the place of those who say nothing: zeros, their end, and the last words of whom nobody
//! waits for any more.
//!
//! Not here: who is silent and who is forgotten, which [`super::Presence`] decides.

use std::collections::BTreeMap;

use labstat_model::{
    Labels, METRIC_NAME, Matcher, Sample, Series, TimeSeries, WriteRequest, is_stale, stale_marker,
};
use serde::{Deserialize, Serialize};

/// A job of a node that nobody waits for any more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Forgotten {
    pub(super) instance: String,
    pub(super) job: String,
    pub(super) why: Why,
}

/// Why nobody waits for a job any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Why {
    /// Somebody asked for it: all that is known of it is over.
    Asked,
    /// Its sender ended an `up` of it. It may have others that go on: a target that gets one more label has
    /// a new series, and the old one ends.
    Ended {
        /// Whether the last `up` of it that we know is our zero.
        marked: bool,
    },
}

/// An `up` of a job.
pub(super) fn up(instance: &str, job: &str, time_ms: i64, value: f64) -> TimeSeries {
    let labels = Labels::new([(METRIC_NAME, "up"), ("instance", instance), ("job", job)]);
    TimeSeries { labels, samples: vec![Sample { time_ms, value }] }
}

/// Ends our zeros, one that was made in this very millisecond included.
pub(super) fn end_of_zeros(instance: &str, job: &str, now_ms: i64) -> TimeSeries {
    up(instance, job, (now_ms | 1).saturating_add(2), stale_marker())
}

/// The last words of whom nobody waits for any more: a zero, and its end. Who asks for the last value of a day
/// does not see ends, and would find that a node that was taken out has not been down, and is silent. They
/// are said of each `up` that is `known` of the job, with its newest sample: a scraper adds labels of its own.
/// Where the sender has ended one, they are not said of what goes on.
pub(crate) fn last_words(gone: &Forgotten, known: Vec<Series>, now_ms: i64) -> WriteRequest {
    let own = up(&gone.instance, &gone.job, now_ms, 0.0).labels;
    let ours = match gone.why {
        Why::Asked => true,
        Why::Ended { marked } => marked,
    };
    let mut newest_ms = BTreeMap::new();
    if ours {
        newest_ms.insert(own.clone(), now_ms);
    }
    for series in known {
        let Some(last) = series.samples().last() else { continue };
        let is_over = gone.why == Why::Asked || is_stale(last.value);
        if is_over || (ours && series.labels == own) {
            newest_ms.insert(series.labels, now_ms.max(last.time_ms));
        }
    }
    let ends = newest_ms.into_iter().map(|(labels, last_ms)| {
        let zero_ms = (last_ms | 1).saturating_add(2);
        let end = Sample { time_ms: zero_ms.saturating_add(2), value: stale_marker() };
        TimeSeries { labels, samples: vec![Sample { time_ms: zero_ms, value: 0.0 }, end] }
    });
    WriteRequest { series: ends.collect(), metadata: Vec::new() }
}

/// Finds the `up` of a job, whatever other labels it has.
pub(crate) fn matchers_of(gone: &Forgotten) -> [Matcher; 3] {
    [(METRIC_NAME, "up"), ("instance", &gone.instance), ("job", &gone.job)]
        .map(|(name, value)| Matcher::equal(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last words, as series with the times and values of their samples.
    fn said(why: Why, known: Vec<Series>, now_ms: i64) -> Vec<(String, Vec<(i64, f64)>)> {
        let (instance, job) = ("vertex".to_owned(), "node".to_owned());
        let gone = Forgotten { instance, job, why };
        let words = last_words(&gone, known, now_ms);
        let samples = |series: &TimeSeries| {
            let values = series.samples.iter();
            values.map(|s| (s.time_ms, if is_stale(s.value) { -1.0 } else { s.value })).collect()
        };
        words.series.iter().map(|s| (s.labels.to_string(), samples(s))).collect()
    }

    #[test]
    fn the_last_word_on_each_up_of_who_is_forgotten_is_a_zero_and_its_end() {
        let own = "up{instance=\"vertex\", job=\"node\"}".to_owned();
        let told = vec![(110_003, 0.0), (110_005, -1.0)];
        assert_eq!(said(Why::Asked, Vec::new(), 110_000), [(own.clone(), told.clone())]);
        let pairs =
            [(METRIC_NAME, "up"), ("cluster", "lab"), ("instance", "vertex"), ("job", "node")];
        let labels = Labels::new(pairs);
        let scraped = Series { labels, times: vec![150_000], values: vec![1.0] };
        let theirs = "up{cluster=\"lab\", instance=\"vertex\", job=\"node\"}".to_owned();
        let ahead = vec![(150_003, 0.0), (150_005, -1.0)];
        assert_eq!(said(Why::Asked, vec![scraped], 110_000), [(theirs, ahead), (own, told)]);
    }

    #[test]
    fn what_a_sender_has_ended_is_over_and_what_goes_on_is_not() {
        let of = |rack: &str, value: f64| {
            let pairs = [(METRIC_NAME, "up"), ("instance", "vertex"), ("job", "node")];
            let rack = Some(("rack", rack)).filter(|(_, rack)| !rack.is_empty());
            let labels = Labels::new(pairs.into_iter().chain(rack));
            Series { labels, times: vec![100_000], values: vec![value] }
        };
        let names = |why, known: Vec<Series>| -> Vec<String> {
            said(why, known, 110_000).into_iter().map(|(labels, _)| labels).collect()
        };
        let (plain, racked) =
            (of("", 1.0).labels.to_string(), of("1", stale_marker()).labels.to_string());
        let (ended, marked) = (Why::Ended { marked: false }, Why::Ended { marked: true });
        assert_eq!(
            names(ended, vec![of("", stale_marker()), of("1", 1.0)]),
            std::slice::from_ref(&plain)
        );
        assert_eq!(
            names(ended, vec![of("", 1.0), of("1", stale_marker())]),
            std::slice::from_ref(&racked)
        );
        assert_eq!(
            names(ended, vec![of("", 0.0), of("1", stale_marker())]),
            std::slice::from_ref(&racked)
        );
        assert_eq!(names(marked, vec![of("", 0.0), of("1", stale_marker())]), [plain, racked]);
    }
}
