//! The aggregator's own figures as series of its own history, so that rules and dashboards can ask for
//! them as for any others: job `labstat`, instance `labstat`.
//!
//! Pure: families and times come in, a write goes out. Buckets of histograms are left out, since nobody
//! alarms by them and they are most of all there is; `/metrics` has them. What is not told any more ends
//! with a stale marker.

use std::collections::BTreeSet;

use labstat_model::{
    Kind, Labels, METRIC_NAME, Metadata, Sample, TimeSeries, WriteRequest, stale_marker,
};
use prometheus::proto::{MetricFamily, MetricType};

/// The job and the instance of these series.
pub(crate) const JOB: &str = "labstat";

/// Series of one look: some hundred are usual, and requests by path and status are what may grow.
pub(crate) const SERIES_MAX: usize = 5_000;

/// A figure that is about something else than the aggregator: its own labels, without name and job.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    pub(crate) family: &'static str,
    pub(crate) help: &'static str,
    pub(crate) labels: Vec<(&'static str, String)>,
    pub(crate) value: f64,
}

/// What was told by the last look.
#[derive(Debug, Default)]
pub(crate) struct Own {
    told: BTreeSet<Labels>,
    last_ms: i64,
    described: BTreeSet<String>,
}

impl Own {
    /// What is to be stored now. Nothing when the clock has not gone on since the last look.
    pub(crate) fn tell(
        &mut self,
        families: &[MetricFamily],
        figures: &[Figure],
        now_ms: i64,
    ) -> WriteRequest {
        let mut out = WriteRequest::default();
        if now_ms <= self.last_ms {
            return out;
        }
        self.last_ms = now_ms;
        let mut points = Vec::new();
        for family in families {
            let before = points.len();
            for metric in family.get_metric() {
                read(family, metric, &mut points);
            }
            if points.len() > before && self.described.insert(family.name().to_owned()) {
                out.metadata.push(metadata(family.name(), family.help(), kind(family)));
            }
        }
        for figure in figures {
            let labels = figure.labels.iter().map(|(name, value)| (*name, value.as_str()));
            points.push((labelled(figure.family, labels), figure.value));
            if self.described.insert(figure.family.to_owned()) {
                out.metadata.push(metadata(figure.family, figure.help, Kind::Gauge));
            }
        }
        // A number that is none is left out: an empty history has no oldest sample.
        points.retain(|(_, value)| !value.is_nan());
        points.truncate(SERIES_MAX);
        let now: BTreeSet<Labels> = points.iter().map(|(labels, _)| labels.clone()).collect();
        let ended = self.told.difference(&now).cloned();
        out.series.extend(ended.map(|labels| one(labels, now_ms, stale_marker())));
        out.series.extend(points.into_iter().map(|(labels, value)| one(labels, now_ms, value)));
        self.told = now;
        out
    }
}

fn read(
    family: &MetricFamily,
    metric: &prometheus::proto::Metric,
    points: &mut Vec<(Labels, f64)>,
) {
    let name = family.name();
    let labels = || metric.get_label().iter().map(|pair| (pair.name(), pair.value()));
    match family.get_field_type() {
        MetricType::COUNTER => {
            points.push((labelled(name, labels()), metric.get_counter().get_value()));
        }
        MetricType::GAUGE => {
            points.push((labelled(name, labels()), metric.get_gauge().get_value()));
        }
        MetricType::HISTOGRAM => {
            let histogram = metric.get_histogram();
            #[expect(
                clippy::cast_precision_loss,
                reason = "exact for nine thousand billion events"
            )]
            let count = histogram.get_sample_count() as f64;
            let (of_count, of_sum) = (format!("{name}_count"), format!("{name}_sum"));
            points.push((labelled(&of_count, labels()), count));
            points.push((labelled(&of_sum, labels()), histogram.get_sample_sum()));
        }
        // We have none.
        MetricType::SUMMARY | MetricType::UNTYPED => {}
    }
}

/// With our job, and with our instance unless it is about another.
fn labelled<'a>(name: &'a str, labels: impl Iterator<Item = (&'a str, &'a str)>) -> Labels {
    let mut pairs: Vec<(&str, &str)> = labels.collect();
    if !pairs.iter().any(|(name, _)| *name == "instance") {
        pairs.push(("instance", JOB));
    }
    pairs.extend([(METRIC_NAME, name), ("job", JOB)]);
    Labels::new(pairs)
}

fn kind(family: &MetricFamily) -> Kind {
    match family.get_field_type() {
        MetricType::COUNTER => Kind::Counter,
        MetricType::HISTOGRAM => Kind::Histogram,
        MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => Kind::Gauge,
    }
}

fn metadata(family: &str, help: &str, kind: Kind) -> Metadata {
    Metadata { family: family.to_owned(), kind, help: help.to_owned(), unit: String::new() }
}

fn one(labels: Labels, time_ms: i64, value: f64) -> TimeSeries {
    TimeSeries { labels, samples: vec![Sample { time_ms, value }] }
}

#[cfg(test)]
mod tests {
    use labstat_model::is_stale;
    use prometheus::{Gauge, HistogramOpts, HistogramVec, IntGaugeVec, Opts, Registry};

    use super::*;

    fn shown(write: &WriteRequest) -> Vec<String> {
        let line = |series: &TimeSeries| {
            let value = series.samples[0].value;
            let value = if is_stale(value) { "stale".to_owned() } else { value.to_string() };
            format!("{} {value}", series.labels)
        };
        write.series.iter().map(line).collect()
    }

    #[test]
    fn figures_become_series_and_end_when_they_are_not_told_any_more() {
        let registry = Registry::new();
        let queued = IntGaugeVec::new(Opts::new("queued", "Waiting."), &["receiver"]).unwrap();
        let empty = Gauge::new("oldest", "None yet.").unwrap();
        empty.set(f64::NAN);
        let opts = HistogramOpts::new("seconds", "Time.").buckets(vec![1.0, 2.0]);
        let seconds = HistogramVec::new(opts, &["kind"]).unwrap();
        registry.register(Box::new(queued.clone())).unwrap();
        registry.register(Box::new(empty)).unwrap();
        registry.register(Box::new(seconds.clone())).unwrap();
        queued.with_label_values(&["phone"]).set(3);
        seconds.with_label_values(&["range"]).observe(1.5);
        let skew = Figure {
            family: "skew",
            help: "Away.",
            labels: vec![("instance", "vertex".to_owned())],
            value: -2.0,
        };
        let mut own = Own::default();
        let first = own.tell(&registry.gather(), &[skew], 1_000);
        assert_eq!(
            shown(&first),
            [
                r#"queued{instance="labstat", job="labstat", receiver="phone"} 3"#,
                r#"seconds_count{instance="labstat", job="labstat", kind="range"} 1"#,
                r#"seconds_sum{instance="labstat", job="labstat", kind="range"} 1.5"#,
                r#"skew{instance="vertex", job="labstat"} -2"#,
            ]
        );
        assert_eq!(first.metadata.len(), 4, "{:?}", first.metadata);
        assert_eq!(own.tell(&registry.gather(), &[], 1_000), WriteRequest::default(), "no time");
        queued.reset();
        let second = own.tell(&registry.gather(), &[], 2_000);
        assert_eq!(
            shown(&second),
            [
                r#"queued{instance="labstat", job="labstat", receiver="phone"} stale"#,
                r#"skew{instance="vertex", job="labstat"} stale"#,
                r#"seconds_count{instance="labstat", job="labstat", kind="range"} 1"#,
                r#"seconds_sum{instance="labstat", job="labstat", kind="range"} 1.5"#,
            ]
        );
        assert!(second.metadata.is_empty(), "told once");
    }
}
