//! One rule at one time: its query, the labels and texts of each result, the samples it gives.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

use labstat_model::{Labels, METRIC_NAME, stale_marker};
use labstat_promql::{Engine, QueryOptions, Source, Value};

use super::state::{Alert, Change, Found, step};
use super::{Evaluation, ManagerOptions, RuleState};
use crate::notification::Status;
use crate::rules::{AlertRule, Rule, RuleKind};
use crate::template::{Data, Template};

/// The series that says which alerts there are.
const ALERTS: &str = "ALERTS";
/// The series that says since when.
pub(super) const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";

/// What the evaluation of one rule needs.
pub(super) struct Context<'a> {
    pub(super) engine: &'a Engine,
    pub(super) source: &'a dyn Source,
    pub(super) options: &'a ManagerOptions,
    /// The slot of the group.
    pub(super) time_ms: i64,
    /// The time of the query: the slot less the group's offset.
    pub(super) query_ms: i64,
    pub(super) limit: usize,
}

/// The results of a rule's query, made ready for its state.
pub(super) enum Results {
    Alerts(Vec<Found>),
    Series(Vec<(Labels, f64)>),
}

impl Context<'_> {
    /// Runs the rule's query and expands its templates. The error is the text of `lastError`.
    pub(super) fn query(&self, rule: &Rule) -> Result<Results, String> {
        let vector = self.vector(&rule.expr)?;
        match &rule.kind {
            RuleKind::Alert(alert) => Ok(Results::Alerts(self.alerts(&rule.name, alert, vector)?)),
            RuleKind::Record { labels } => {
                Ok(Results::Series(self.recorded(&rule.name, labels, vector)?))
            }
        }
    }

    /// Makes the results the rule's state; what follows from it goes to `out`.
    pub(super) fn apply(
        &self,
        rule: &Rule,
        results: Results,
        state: &mut RuleState,
        out: &mut Evaluation,
    ) -> Result<(), String> {
        let mut series = Vec::new();
        match (results, &rule.kind) {
            (Results::Alerts(found), RuleKind::Alert(alert)) => {
                let (next, changes) = step(alert, &state.alerts, found, self.time_ms);
                if self.limit > 0 && next.len() > self.limit {
                    let (limit, len) = (self.limit, next.len());
                    return Err(format!("exceeded limit of {limit} with {len} alerts"));
                }
                for alert in next.values() {
                    let (active, since) = alert_series(alert);
                    series.push((active, 1.0));
                    series.push((since, crate::views::seconds(alert.active_at_ms).floor()));
                }
                for Change { status, alert } in changes {
                    let url = generator_url(self.options, &rule.expr);
                    out.notifications.push(match status {
                        Status::Firing => alert.firing(url),
                        Status::Resolved => alert.resolved(self.time_ms, url),
                    });
                }
                state.alerts = next;
            }
            (Results::Series(found), _) => series = found,
            (Results::Alerts(_), RuleKind::Record { .. }) => {}
        }
        self.write(series, state, out);
        Ok(())
    }

    /// Samples for `series`, and markers for what the rule gave before and does not give now.
    fn write(&self, series: Vec<(Labels, f64)>, state: &mut RuleState, out: &mut Evaluation) {
        let now: HashSet<Labels> = series.iter().map(|(labels, _)| labels.clone()).collect();
        for (labels, value) in series {
            out.push(labels, self.query_ms, value);
        }
        let mut ended: Vec<&Labels> = state.series.difference(&now).collect();
        ended.sort();
        for labels in ended {
            out.push(labels.clone(), self.query_ms, stale_marker());
        }
        state.series = now;
    }

    /// The value of an expression as labels and numbers; a scalar is one without labels.
    fn vector(&self, expr: &str) -> Result<Vec<(Labels, f64)>, String> {
        let options = QueryOptions::default();
        let answer = self.engine.instant(self.source, expr, self.query_ms, &options);
        match answer.map_err(|error| chain(&error))?.value {
            Value::Vector(vector) => {
                Ok(vector.into_iter().map(|each| (each.labels, each.sample.value)).collect())
            }
            Value::Scalar(sample) => Ok(vec![(Labels::default(), sample.value)]),
            Value::MixedVector(_) => {
                Err("rule result has native histograms, which rules do not take".to_owned())
            }
            Value::String { .. } | Value::Matrix(_) | Value::MixedMatrix(_) => {
                Err("rule result is not a vector or scalar".to_owned())
            }
        }
    }

    fn recorded(
        &self,
        name: &str,
        extra: &Labels,
        vector: Vec<(Labels, f64)>,
    ) -> Result<Vec<(Labels, f64)>, String> {
        let mut seen = HashSet::new();
        let mut series = Vec::with_capacity(vector.len());
        for (labels, value) in vector {
            let labels =
                Labels::new(labels.iter().chain(extra.iter()).chain([(METRIC_NAME, name)]));
            if !seen.insert(labels.clone()) {
                return Err(same_labels("rule"));
            }
            series.push((labels, value));
        }
        if self.limit > 0 && series.len() > self.limit {
            let (limit, len) = (self.limit, series.len());
            return Err(format!("exceeded limit of {limit} with {len} series"));
        }
        Ok(series)
    }

    fn alerts(
        &self,
        name: &str,
        rule: &AlertRule,
        vector: Vec<(Labels, f64)>,
    ) -> Result<Vec<Found>, String> {
        let mut seen = HashSet::new();
        let mut found = Vec::with_capacity(vector.len());
        let query = |expr: &str| self.vector(expr);
        for (result, value) in vector {
            let data = Data {
                labels: result.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
                external_labels: self.options.external_labels.clone(),
                external_url: self.options.external_url.clone(),
                value,
                now_ms: self.time_ms,
                query: Some(&query),
            };
            let expand = |list: &[(String, Template)]| -> BTreeMap<String, String> {
                list.iter().map(|(name, template)| (name.clone(), template.expand(&data))).collect()
            };
            let own = expand(&rule.labels);
            let own = own.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let labels = Labels::new(result.iter().chain(own).chain([("alertname", name)]))
                .without_metric_name();
            if !seen.insert(labels.clone()) {
                return Err(same_labels("alert"));
            }
            found.push(Found { labels, annotations: expand(&rule.annotations), value });
        }
        Ok(found)
    }
}

fn same_labels(what: &str) -> String {
    format!("vector contains metrics with the same labelset after applying {what} labels")
}

/// The two series of an alert.
pub(super) fn alert_series(alert: &Alert) -> (Labels, Labels) {
    let labels = alert.label_set();
    let active = labels.with(METRIC_NAME, ALERTS).with("alertstate", alert.state.as_str());
    (active, labels.with(METRIC_NAME, ALERTS_FOR_STATE))
}

/// Where the expression can be looked at.
pub(super) fn generator_url(options: &ManagerOptions, expr: &str) -> String {
    let mut url = format!("{}/graph?g0.expr=", options.external_url);
    push_escaped(&mut url, expr);
    url.push_str("&g0.tab=1");
    url
}

/// Appends `text` as Go's `url.QueryEscape` writes it.
pub(crate) fn push_escaped(url: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                url.push(char::from(byte));
            }
            b' ' => url.push('+'),
            other => {
                // Writing to a String cannot fail.
                let _ = write!(url, "%{other:02X}");
            }
        }
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
