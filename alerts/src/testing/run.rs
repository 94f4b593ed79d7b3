//! One test: evaluates the rules over time and compares.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use labstat_model::{
    HistogramSample, HistogramTimeSeries, Labels, MixedRequest, Sample, TimeSeries, duration,
};
use labstat_promql::{Engine, MixedValue, QueryOptions, Source, Value};

use super::file::{AlertCase, Case, ExprCase, File};
use super::memory::Memory;
use super::series::{self, Described, Point, Room};
use super::{AlertText, CaseReport, Failure, Texts, glob, histograms};
use crate::manager::{Manager, ManagerOptions};
use crate::rules::{self, Group, Reading, RuleSet};
use crate::views::{RuleView, RulesFilter};

/// Evaluations of one test: 100 days of minutes are 144,000.
const EVALUATIONS_MAX: i64 = 5_000_000;

/// Values of all series of one test: some 300 MiB.
const VALUES_SUM_MAX: u64 = 4 * series::VALUES_MAX;

/// The rules that a file of tests names; the error is all that is wrong with them.
pub(super) fn rule_files(
    file: &File,
    folder: &Path,
    reading: Reading,
    warnings: &mut Vec<String>,
) -> Result<RuleSet, String> {
    let mut paths = Vec::new();
    for name in &file.rule_files {
        let pattern = if name.is_empty() { Path::new("").to_owned() } else { folder.join(name) };
        let found = glob::find(&pattern);
        if found.is_empty() {
            warnings.push(format!("no file matches the pattern {}", pattern.display()));
        }
        paths.extend(found);
    }
    let mut seen = BTreeSet::new();
    paths.retain(|path| seen.insert(path.clone()));
    let (mut texts, mut problems) = (Vec::new(), Vec::new());
    for path in &paths {
        match rules::read(path) {
            Ok(text) => texts.push((path.display().to_string(), text)),
            Err(problem) => problems.push(problem.to_string()),
        }
    }
    let texts: Vec<_> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    match RuleSet::read(&texts, reading) {
        Ok(set) if problems.is_empty() => Ok(ordered(set, &file.group_eval_order)),
        Ok(_) => Err(problems.join("\n")),
        Err(more) => {
            problems.push(more.to_string());
            Err(problems.join("\n"))
        }
    }
}

/// The groups in the order of evaluation, a group a rule: what a rule gives, the next one sees.
/// Groups that are not named come with the first, as in promtool.
pub(super) fn ordered(mut set: RuleSet, order: &[String]) -> RuleSet {
    let place = |group: &Arc<Group>| order.iter().position(|name| *name == group.name);
    set.groups.sort_by_key(|group| place(group).unwrap_or(0));
    let mut single = Vec::new();
    for group in &set.groups {
        for (at, rule) in group.rules.iter().enumerate() {
            let name = format!("{}\n{at}", group.name);
            let rules = vec![rule.clone()];
            single.push(Arc::new(Group { name, rules, ..Group::clone(group) }));
        }
    }
    RuleSet { groups: single }
}

/// Runs one test.
pub(super) fn case(
    file: &File,
    case: &Case,
    rules: &Result<RuleSet, String>,
    reading: Reading,
) -> CaseReport {
    let started = Instant::now();
    let mut report = CaseReport {
        name: if case.name.is_empty() { "unnamed".to_owned() } else { case.name.clone() },
        line: case.line,
        failures: Vec::new(),
        evaluations: 0,
        took: std::time::Duration::ZERO,
    };
    let failures = match (inputs(case, Room::new(VALUES_SUM_MAX)), rules) {
        (Err((line, message)), _) => vec![Failure::Broken { line, message }],
        (_, Err(problems)) => {
            let message = format!("the rules cannot be loaded:\n{problems}");
            vec![Failure::Broken { line: case.line, message }]
        }
        (Ok(inputs), Ok(rules)) => {
            let mut run = Run::new(file, case, rules, inputs);
            run.strict = reading.strict;
            run.finish(&mut report.evaluations)
        }
    };
    report.failures = failures;
    report.took = started.elapsed();
    report
}

/// The series of a test, as far as there is room for them. Prometheus reads them as lines of one text: an
/// empty one ends them, whatever follows, and of two for the same labels the last counts.
pub(super) fn inputs(case: &Case, mut room: Room) -> Result<Vec<Described>, (usize, String)> {
    let mut all: BTreeMap<Labels, Described> = BTreeMap::new();
    for input in &case.input_series {
        let text = format!("  {} {}\n", input.series, input.values);
        for line in text.strip_suffix('\n').unwrap_or(&text).split('\n') {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                return Ok(all.into_values().collect());
            }
            let series = series::read(line, &mut room)
                .map_err(|message| (input.line, format!("series {}: {message}", input.series)))?;
            all.insert(series.labels.clone(), series);
        }
    }
    Ok(all.into_values().collect())
}

/// A series and how much of it is in memory.
struct Input {
    series: Described,
    done: usize,
}

struct Run<'a> {
    file: &'a File,
    case: &'a Case,
    manager: Manager,
    engine: Engine,
    memory: Memory,
    inputs: Vec<Input>,
    failures: Vec<Failure>,
    /// See [`Reading::strict`].
    strict: bool,
}

impl<'a> Run<'a> {
    fn new(file: &'a File, case: &'a Case, rules: &RuleSet, inputs: Vec<Described>) -> Self {
        let options = ManagerOptions {
            external_labels: case.external_labels.iter().cloned().collect(),
            external_url: case.external_url.clone(),
        };
        let engine = labstat_promql::Options {
            subquery_step_ms: file.evaluation_interval_ms,
            // A test's queries are small, and there are many.
            threads: 1,
            ..labstat_promql::Options::default()
        };
        Self {
            file,
            case,
            manager: Manager::new(rules.clone(), options, -1),
            engine: Engine::new(engine),
            memory: Memory::default(),
            inputs: inputs.into_iter().map(|series| Input { series, done: 0 }).collect(),
            failures: Vec::new(),
            strict: false,
        }
    }

    fn finish(mut self, evaluations: &mut usize) -> Vec<Failure> {
        if let Some(nameless) = self.case.alerts.iter().find(|test| test.alertname.is_empty()) {
            self.broken(nameless.line, "a test of alerts needs an alertname".to_owned());
            return self.failures;
        }
        let interval_ms = self.file.evaluation_interval_ms;
        let times = self.case.alerts.iter().map(|test| test.eval_time_ms);
        let times = times.chain(self.case.exprs.iter().map(|test| test.eval_time_ms));
        let end_ms = times.max().unwrap_or(0);
        if end_ms / interval_ms > EVALUATIONS_MAX {
            let message = format!("more than {EVALUATIONS_MAX} evaluations");
            self.broken(self.case.line, message);
            return self.failures;
        }
        for step in 0..=end_ms / interval_ms {
            let time_ms = step * interval_ms;
            self.load(time_ms);
            *evaluations += 1;
            if !self.evaluate(time_ms) {
                return self.failures;
            }
            let due =
                |test: &&AlertCase| (time_ms..time_ms + interval_ms).contains(&test.eval_time_ms);
            let mut due: Vec<&AlertCase> = self.case.alerts.iter().filter(due).collect();
            due.sort_by_key(|test| test.eval_time_ms);
            self.compare_alerts(&due);
        }
        for test in &self.case.exprs {
            self.compare_samples(test);
        }
        self.failures
    }

    fn broken(&mut self, line: usize, message: String) {
        self.failures.push(Failure::Broken { line, message });
    }

    /// Puts in the samples up to a time.
    fn load(&mut self, time_ms: i64) {
        let interval_ms = self.case.interval_ms;
        for input in &mut self.inputs {
            let mut next_ms =
                i64::try_from(input.done).unwrap_or(i64::MAX).saturating_mul(interval_ms);
            while let Some(point) =
                input.series.values.get(input.done).filter(|_| next_ms <= time_ms)
            {
                let pushed = match point {
                    Point::Nothing => Ok(()),
                    point => self.memory.push(&input.series.labels, next_ms, point),
                };
                if let Err(why) = pushed {
                    let message = format!("{} at {}: {why}", input.series.labels, at(next_ms));
                    self.failures.push(Failure::Broken { line: self.case.line, message });
                }
                input.done += 1;
                next_ms = next_ms.saturating_add(interval_ms);
            }
        }
    }

    /// Evaluates all rules in order. Whether all could be.
    fn evaluate(&mut self, time_ms: i64) -> bool {
        let before = self.failures.len();
        let mut refused = Vec::new();
        for due in self.manager.all_at(time_ms) {
            let out = self.manager.evaluate(&due, &self.engine, &self.memory);
            for (labels, sample_ms, point) in points(out.write) {
                let is_end =
                    matches!(point, Point::Number(value) if labstat_model::is_stale(value));
                if let Err(why) = self.memory.push(&labels, sample_ms, &point)
                    && !is_end
                {
                    let rule = due.group().rules.first();
                    let name = rule.map(|rule| rule.name.clone()).unwrap_or_default();
                    refused.push(format!("rule {name} at {}: {labels}: {why}", at(time_ms)));
                }
            }
        }
        if self.manager.failing_len() > 0 {
            for rule in self.rules(&RulesFilter::default()) {
                let (name, error) = match rule {
                    RuleView::Alerting(rule) => (rule.name, rule.last_error),
                    RuleView::Recording(rule) => (rule.name, rule.last_error),
                };
                if let Some(error) = error {
                    refused.push(format!("rule {name} at {}: {error}", at(time_ms)));
                }
            }
        }
        for message in refused {
            self.broken(self.case.line, message);
        }
        self.failures.len() == before
    }

    fn rules(&self, filter: &RulesFilter) -> Vec<RuleView> {
        self.manager.rules_view(filter).groups.into_iter().flat_map(|group| group.rules).collect()
    }

    fn compare_alerts(&mut self, due: &[&AlertCase]) {
        if due.is_empty() {
            return;
        }
        let filter = RulesFilter {
            rule_names: due.iter().map(|test| test.alertname.clone()).collect(),
            ..RulesFilter::default()
        };
        let mut firing: BTreeMap<String, Vec<AlertText>> = BTreeMap::new();
        for rule in self.rules(&filter) {
            let RuleView::Alerting(rule) = rule else { continue };
            let alerts = rule.alerts.into_iter().filter(|alert| alert.state == "firing");
            let texts = alerts.map(|alert| AlertText {
                labels: alert.labels.into_iter().collect(),
                annotations: alert.annotations.into_iter().collect(),
            });
            firing.entry(rule.name).or_default().extend(texts);
        }
        for test in due {
            let mut got = firing.get(&test.alertname).cloned().unwrap_or_default();
            let mut expected: Vec<AlertText> =
                test.expected.iter().map(|alert| alert.text(&test.alertname)).collect();
            got.sort();
            expected.sort();
            if got != expected {
                let what = format!("alert {} at {}", test.alertname, at(test.eval_time_ms));
                self.failures.push(Failure::Alerts { line: test.line, what, expected, got });
            }
        }
    }

    fn compare_samples(&mut self, test: &ExprCase) {
        let what = || format!("{} at {}", test.expr.trim(), at(test.eval_time_ms));
        let expected: Result<Vec<Sampled>, String> =
            test.samples.iter().map(Sampled::expected).collect();
        let beyond = labstat_promql::check(&test.expr).map_or_else(|_| Vec::new(), |c| c.beyond);
        let got = match beyond.first().filter(|_| self.strict) {
            Some(beyond) => Err(format!("{beyond} is not enabled in Prometheus")),
            None => samples(&self.engine, &self.memory, &test.expr, test.eval_time_ms),
        };
        let (mut expected, mut got) = match (expected, got) {
            (Ok(expected), Ok(got)) => (expected, got),
            (_, Err(message)) | (Err(message), _) => {
                self.broken(test.line, format!("{}: {message}", what()));
                return;
            }
        };
        expected.sort_by(|a, b| a.labels.cmp(&b.labels));
        got.sort_by(|a, b| a.labels.cmp(&b.labels));
        let fuzzy = self.file.fuzzy_compare;
        let are_equal = expected.len() == got.len()
            && expected.iter().zip(&got).all(|(expected, got)| expected.equals(got, fuzzy));
        if !are_equal {
            let text = |list: &[Sampled]| list.iter().map(Sampled::text).collect();
            let (expected, got) = (text(&expected), text(&got));
            self.failures.push(Failure::Samples { line: test.line, what: what(), expected, got });
        }
    }
}

/// What rules gave, as samples to put in.
fn points(write: MixedRequest) -> Vec<(Labels, i64, Point)> {
    let mut points = Vec::new();
    for TimeSeries { labels, samples } in write.floats.series {
        let of = |one: Sample| (labels.clone(), one.time_ms, Point::Number(one.value));
        points.extend(samples.into_iter().map(of));
    }
    for HistogramTimeSeries { labels, samples } in write.histograms {
        for HistogramSample { time_ms, histogram } in samples {
            let point = histogram.map(|it| Point::Histogram(Arc::new(it)));
            points.extend(point.ok().map(|point| (labels.clone(), time_ms, point)));
        }
    }
    points
}

/// A time in words.
fn at(time_ms: i64) -> String {
    duration::format_ms(time_ms)
}

impl super::file::Expected {
    fn text(&self, alertname: &str) -> AlertText {
        let collect = |pairs: &[(String, String)]| -> BTreeMap<String, String> {
            pairs.iter().cloned().collect()
        };
        let mut labels = collect(&self.labels);
        labels.insert("alertname".to_owned(), alertname.to_owned());
        let annotations: Texts = collect(&self.annotations).into_iter().collect();
        AlertText { labels: labels.into_iter().collect(), annotations }
    }
}

/// One sample of an expression's value.
struct Sampled {
    labels: Labels,
    value: f64,
    /// The text of a histogram, or an empty one.
    histogram: String,
}

impl Sampled {
    fn expected(sample: &super::file::ExpectedSample) -> Result<Self, String> {
        let told = |message: String| format!("labels {:?}: {message}", sample.labels);
        let labels = match sample.labels.trim() {
            "" => Labels::default(),
            labels => series::labels(labels).map_err(told)?,
        };
        let histogram = if sample.histogram.is_empty() {
            String::new()
        } else {
            histograms::text(&*series::one_histogram(&sample.histogram).map_err(told)?)
        };
        Ok(Self { labels, value: sample.value, histogram })
    }

    /// As Go compares them: no NaN equals another.
    fn equals(&self, other: &Self, fuzzy: bool) -> bool {
        let (a, b) = (self.value, other.value);
        let values = a == b || (fuzzy && (a.next_up() == b || a.next_down() == b));
        values && self.labels == other.labels && self.histogram == other.histogram
    }

    fn text(&self) -> String {
        let labels = self.labels.to_string();
        if self.histogram.is_empty() {
            format!("{labels} {}", labstat_model::number::format_v(self.value))
        } else {
            format!("{labels} {}", self.histogram)
        }
    }
}

fn samples(
    engine: &Engine,
    source: &dyn Source,
    expr: &str,
    time_ms: i64,
) -> Result<Vec<Sampled>, String> {
    let answer = engine.instant(source, expr, time_ms, &QueryOptions::default());
    let number = |labels, value| Sampled { labels, value, histogram: String::new() };
    match answer.map_err(|error| labstat_model::error_chain(&error))?.value {
        Value::Scalar(sample) => Ok(vec![number(Labels::default(), sample.value)]),
        Value::Vector(vector) => {
            Ok(vector.into_iter().map(|each| number(each.labels, each.sample.value)).collect())
        }
        Value::MixedVector(vector) => {
            let each = |sample: labstat_promql::MixedSample| match sample.value {
                MixedValue::Number(value) => number(sample.labels, value),
                MixedValue::Histogram(histogram) => Sampled {
                    labels: sample.labels,
                    value: 0.0,
                    histogram: histograms::text(&histogram),
                },
            };
            Ok(vector.into_iter().map(each).collect())
        }
        Value::String { .. } | Value::Matrix(_) | Value::MixedMatrix(_) => {
            Err("the result is not a vector or scalar".to_owned())
        }
    }
}
