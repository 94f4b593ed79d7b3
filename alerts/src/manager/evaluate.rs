//! One rule at one time: its query, the labels and texts of each result, the samples it gives.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

use labstat_model::{Labels, METRIC_NAME, error_chain, stale_marker};
use labstat_promql::{Engine, MixedValue, Query, QueryOptions, Source, Value};

use super::group::{RuleState, Running};
use super::overlay::{Fresh, Overlay};
use super::prepare::Prepared;
use super::state::{Alert, Change, Circumstances, Found, State, step};
use super::{Evaluation, Manager, ManagerOptions, rows};
use crate::notification::Status;
use crate::rules::{AlertRule, Rule, RuleKind};
use crate::template::{Data, Template};

/// The series that says which alerts there are.
pub(super) const ALERTS: &str = "ALERTS";
/// The series that says since when.
pub(super) const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";

/// Alerts of all rules together, pending and firing: some 200 MB of memory and of rows. A rule that
/// would make more fails; nobody could look at so many.
pub const ALERTS_MAX: usize = 100_000;

/// The least time a rule may take; a group may ask for more with its interval.
const TIMEOUT_MIN: Duration = Duration::from_secs(5);

/// The most time a rule may take.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// What the evaluation of one rule needs.
pub(super) struct Context<'a> {
    pub(super) manager: &'a Manager,
    pub(super) running: &'a Running,
    pub(super) rule: &'a Rule,
    pub(super) prepared: &'a Prepared,
    pub(super) engine: &'a Engine,
    pub(super) source: &'a dyn Source,
    /// What rules before it have said in this round.
    pub(super) fresh: &'a Fresh,
    /// The slot of the group.
    pub(super) time_ms: i64,
    /// Whose samples are of the past, though they come now, and until when.
    pub(super) late: &'a BTreeMap<String, i64>,
}

/// The results of a rule's query, made ready for its state.
pub(super) enum Results {
    Alerts {
        found: Vec<Found>,
        /// What the rule's second expression gave, where it was asked.
        kept: Vec<Labels>,
    },
    Series(Recorded),
}

/// What a recording rule gives.
pub(super) struct Recorded {
    series: Vec<(Labels, MixedValue)>,
    /// Why some of it is not to be kept.
    fault: Option<String>,
}

impl Context<'_> {
    fn options(&self) -> &ManagerOptions {
        &self.manager.options
    }

    /// The time of the query: the slot less the group's offset.
    fn query_ms(&self) -> i64 {
        self.time_ms.saturating_sub(self.running.group.query_offset_ms)
    }

    /// Runs the rule's query and expands its templates. The error is the text of `lastError`.
    pub(super) fn query(&self, at: usize) -> Result<Results, String> {
        let vector = self.vector(self.prepared.query.as_ref()?)?;
        match &self.rule.kind {
            RuleKind::Alert(alert) => {
                let found = self.alerts(at, alert, vector)?;
                let kept = self.kept(at, &found)?;
                Ok(Results::Alerts { found, kept })
            }
            RuleKind::Record { labels } => Ok(Results::Series(self.recorded(labels, vector)?)),
        }
    }

    /// Makes the results the rule's state; what follows from it goes to `out`.
    pub(super) fn apply(
        &self,
        results: Results,
        state: &mut RuleState,
        out: &mut Evaluation,
    ) -> Result<(), String> {
        let (series, fault) = match (results, &self.rule.kind) {
            (Results::Alerts { found, kept }, RuleKind::Alert(alert)) => {
                (self.advance(alert, found, &kept, state, out)?, None)
            }
            (Results::Series(Recorded { series, fault }), _) => (series, fault),
            (Results::Alerts { .. }, RuleKind::Record { .. }) => (Vec::new(), None),
        };
        self.write(series, state, out);
        fault.map_or(Ok(()), Err)
    }

    /// Takes the alerts one evaluation further, and gives their series.
    fn advance(
        &self,
        rule: &AlertRule,
        found: Vec<Found>,
        kept: &[Labels],
        state: &mut RuleState,
        out: &mut Evaluation,
    ) -> Result<Vec<(Labels, MixedValue)>, String> {
        let held = self.time_ms < self.manager.hold_until_ms.load(Ordering::Relaxed);
        let keeps = |alert: &Alert, result: &Labels| {
            rule.keeps(result.iter(), |name| alert.labels.get(name).map(String::as_str))
        };
        let goes_on = |alert: &Alert| {
            held || (alert.state == State::Firing && kept.iter().any(|it| keeps(alert, it)))
        };
        let must_wait = |labels: &Labels| {
            let until_ms = labels.get("instance").and_then(|instance| self.late.get(instance));
            until_ms.is_some_and(|until_ms| self.time_ms < *until_ms)
        };
        let gone = self.manager.gone();
        let is_gone = |alert: &Alert| gone.iter().any(|gone| gone.is_about(alert, self.time_ms));
        let around = Circumstances {
            now_ms: self.time_ms,
            goes_on: &goes_on,
            must_wait: &must_wait,
            is_gone: &is_gone,
        };
        let (next, changes) = step(rule, &state.alerts, found, &around);
        let limit = self.running.group.limit;
        if limit > 0 && next.len() > limit {
            let error = format!("exceeded limit of {limit} with {} alerts", next.len());
            self.drop_all(state, out);
            return Err(error);
        }
        let all = usize::try_from(self.manager.alerts.load(Ordering::Relaxed)).unwrap_or(0);
        let others = all.saturating_sub(state.alerts.len());
        if next.len() > state.alerts.len() && others + next.len() > ALERTS_MAX {
            let len = next.len();
            return Err(format!("{len} alerts, with which all rules have more than {ALERTS_MAX}"));
        }
        self.keep(&state.alerts, &next, out);
        let mut series = Vec::with_capacity(2 * next.len());
        for alert in next.values() {
            let (active, since) = alert_series(alert);
            let since_s = crate::views::seconds(alert.active_at_ms).floor();
            series.push((active, 1.0.into()));
            series.push((since, since_s.into()));
        }
        for Change { status, alert } in changes {
            let url = self.prepared.url.clone();
            let told = match status {
                Status::Firing => alert.firing(url),
                Status::Resolved => alert.resolved(self.time_ms, url),
            };
            self.manager.tell(told, out);
        }
        self.manager.recount(state.alerts.len(), next.len());
        state.alerts = next;
        Ok(series)
    }

    /// The alerts of a rule that has too many are over, as in Prometheus; who was told that one
    /// fires is told so.
    fn drop_all(&self, state: &mut RuleState, out: &mut Evaluation) {
        let alerts = std::mem::take(&mut state.alerts);
        self.keep(&alerts, &BTreeMap::new(), out);
        self.manager.recount(alerts.len(), 0);
        for alert in alerts.into_values().filter(|alert| alert.state == State::Firing) {
            self.manager.tell(alert.resolved(self.time_ms, self.prepared.url.clone()), out);
        }
    }

    /// The rows of the alerts that have come further, or are gone.
    fn keep(
        &self,
        before: &BTreeMap<Labels, Alert>,
        after: &BTreeMap<Labels, Alert>,
        out: &mut Evaluation,
    ) {
        for (labels, alert) in after {
            if before.get(labels).is_none_or(|known| !known.is_as_far_as(alert)) {
                out.entries.push(rows::put(&self.running.group, self.rule, self.prepared, alert));
            }
        }
        let gone = before.iter().filter(|(labels, _)| !after.contains_key(*labels));
        let gone = gone.map(|(_, alert)| rows::key(self.prepared, alert));
        out.entries.extend(gone.map(crate::ledger::Entry::delete));
    }

    /// Samples for `series`, and markers for what the rule gave before and does not give now.
    fn write(
        &self,
        series: Vec<(Labels, MixedValue)>,
        state: &mut RuleState,
        out: &mut Evaluation,
    ) {
        let query_ms = self.query_ms();
        let mut ended = std::mem::take(&mut state.series);
        state.series.reserve(series.len());
        for (labels, value) in series {
            ended.remove(&labels);
            state.series.insert(labels.clone());
            out.push_value(labels, query_ms, value);
        }
        let mut ended: Vec<Labels> = ended.into_iter().collect();
        ended.sort();
        for labels in ended {
            out.push(labels, query_ms, stale_marker());
        }
    }

    /// The value of an expression as labels and values; a scalar is one without labels.
    fn vector(&self, query: &Query) -> Result<Vec<(Labels, MixedValue)>, String> {
        let running = self.running;
        let interval = Duration::from_millis(running.group.interval_ms.unsigned_abs());
        let options = QueryOptions {
            timeout: Some(interval.clamp(TIMEOUT_MIN, TIMEOUT_MAX)),
            cancel: Some(running.retired.clone()),
            ..QueryOptions::default()
        };
        let overlay = Overlay { base: self.source, fresh: self.fresh };
        let source = if self.prepared.looks_back { &overlay } else { self.source };
        let answer = self.engine.instant_of(source, query, self.query_ms(), &options);
        match answer.map_err(|error| error_chain(&error))?.value {
            Value::Vector(vector) => {
                Ok(vector.into_iter().map(|it| (it.labels, it.sample.value.into())).collect())
            }
            Value::Scalar(sample) => Ok(vec![(Labels::default(), sample.value.into())]),
            Value::MixedVector(vector) => {
                Ok(vector.into_iter().map(|each| (each.labels, each.value)).collect())
            }
            Value::String { .. } | Value::Matrix(_) | Value::MixedMatrix(_) => {
                Err("rule result is not a vector or scalar".to_owned())
            }
        }
    }

    fn recorded(
        &self,
        extra: &[(String, String)],
        vector: Vec<(Labels, MixedValue)>,
    ) -> Result<Recorded, String> {
        let name = self.rule.name.as_str();
        let mut seen = HashSet::new();
        let mut series = Vec::with_capacity(vector.len());
        for (labels, value) in vector {
            // One that is set to nothing is gone, also when the result has it.
            let extra = extra.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let labels = Labels::new(labels.iter().chain(extra).chain([(METRIC_NAME, name)]));
            if !seen.insert(labels.clone()) {
                return Err(same_labels("rule"));
            }
            series.push((labels, value));
        }
        let limit = self.running.group.limit;
        if limit > 0 && series.len() > limit {
            let len = series.len();
            return Err(format!("exceeded limit of {limit} with {len} series"));
        }
        // A difference may count less than nothing, which no store takes; the others are kept.
        let mut fault = None;
        series.retain(|(labels, value)| {
            let MixedValue::Histogram(histogram) = value else { return true };
            let checked = histogram.check();
            if let Err(error) = &checked {
                fault.get_or_insert_with(|| format!("{labels}: {error}"));
            }
            checked.is_ok()
        });
        Ok(Recorded { series, fault })
    }

    fn alerts(
        &self,
        at: usize,
        rule: &AlertRule,
        vector: Vec<(Labels, MixedValue)>,
    ) -> Result<Vec<Found>, String> {
        if vector.is_empty() {
            return Ok(Vec::new());
        }
        let mut seen = HashSet::new();
        let mut found = Vec::with_capacity(vector.len());
        let query = |expr: &str| {
            let query = Query::read(expr).map_err(|error| error.to_string())?;
            self.vector(&query)
        };
        // Texts are not made anew for a value that is the same; not so where they ask for more,
        // which takes too long to hold a lock.
        let known = self.prepared.has_steady_texts.then(|| self.running.lock());
        let known = known.as_ref().and_then(|state| state.rules.get(at));
        let known = known.filter(|rule| !rule.has_old_texts).map(|rule| &rule.alerts);
        let options = self.options();
        for (result, value) in vector {
            let data = Data {
                labels: result.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
                external_labels: options.external_labels.clone(),
                external_url: options.external_url.clone(),
                value: value.clone(),
                now_ms: self.time_ms,
                query: Some(&query),
            };
            let expand = |list: &[(String, Template)]| -> BTreeMap<String, String> {
                list.iter().map(|(name, template)| (name.clone(), template.expand(&data))).collect()
            };
            let own = expand(&rule.labels);
            let own = own.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let name = [("alertname", self.rule.name.as_str())];
            let labels = Labels::new(result.iter().chain(own).chain(name)).without_metric_name();
            if !seen.insert(labels.clone()) {
                return Err(same_labels("alert"));
            }
            let as_before = matches!(value, MixedValue::Number(value) if known
                .and_then(|alerts| alerts.get(&labels))
                .is_some_and(|alert| alert.value.to_bits() == value.to_bits()));
            let annotations = (!as_before).then(|| expand(&rule.annotations));
            found.push(Found { labels, annotations, value: number(&value) });
        }
        Ok(found)
    }

    /// What the rule's second expression gives, where an alert fires that the first no longer gives.
    fn kept(&self, at: usize, found: &[Found]) -> Result<Vec<Labels>, String> {
        let Some(keep_while) = &self.prepared.keep_while else { return Ok(Vec::new()) };
        let is_wanted = {
            let found: HashSet<&Labels> = found.iter().map(|found| &found.labels).collect();
            let state = self.running.lock();
            let mut alerts = state.rules.get(at).into_iter().flat_map(|rule| &rule.alerts);
            alerts.any(|(labels, alert)| alert.state == State::Firing && !found.contains(labels))
        };
        if !is_wanted {
            return Ok(Vec::new());
        }
        let query = keep_while.as_ref()?;
        let named = |error| format!("{}: {error}", crate::rules::KEEP_WHILE);
        Ok(self.vector(query).map_err(named)?.into_iter().map(|(labels, _)| labels).collect())
    }
}

/// The value of an alert, which is a number: that of a histogram is 0, as in Prometheus.
fn number(value: &MixedValue) -> f64 {
    match value {
        MixedValue::Number(value) => *value,
        MixedValue::Histogram(_) => 0.0,
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
