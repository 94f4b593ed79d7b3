//! The state machine over the real engine and a source in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use labstat_model::{Labels, METRIC_NAME, MatchOp, Matcher, Series, SeriesRef, is_stale};
use labstat_promql::{Engine, Source, SourceError};

use super::{Evaluation, GONE_LEN_MAX, Manager, ManagerOptions};
use crate::ledger::Entry;
use crate::notification::Status;
use crate::rules::RuleSet;
use crate::views::RulesFilter;

/// Series that the test sets; what rules write is put in too. Those of a metric are together, sorted by
/// labels, since nearly all selectors name one.
#[derive(Default)]
pub(super) struct Memory(Mutex<BTreeMap<String, Vec<Series>>>);

impl Memory {
    fn set(&self, labels: &[(&str, &str)], time_ms: i64, value: f64) {
        self.push(Labels::new(labels.iter().copied()), time_ms, value);
    }

    pub(super) fn push(&self, labels: Labels, time_ms: i64, value: f64) {
        let mut all = self.0.lock().unwrap();
        let name = labels.get(METRIC_NAME).unwrap_or_default();
        if !all.contains_key(name) {
            all.insert(name.to_owned(), Vec::new());
        }
        let named = all.get_mut(name).unwrap();
        let at = named.binary_search_by(|series| series.labels.cmp(&labels));
        let at = at.unwrap_or_else(|at| {
            named.insert(at, Series::new(labels));
            at
        });
        named[at].push(time_ms, value);
    }
}

/// The part of a series that has these times, both included.
fn cut(series: &Series, start_ms: i64, end_ms: i64) -> Series {
    let start = series.times.partition_point(|time_ms| *time_ms < start_ms);
    let end = series.times.partition_point(|time_ms| *time_ms <= end_ms);
    let (labels, times) = (&series.labels, &series.times[start..end]);
    SeriesRef { labels, times, values: &series.values[start..end] }.to_series()
}

impl Source for Memory {
    fn select(
        &self,
        matchers: &[Matcher],
        start: i64,
        end: i64,
    ) -> Result<Vec<Series>, SourceError> {
        let all = self.0.lock().unwrap();
        let by_name = |m: &&Matcher| m.name() == METRIC_NAME && m.op() == MatchOp::Equal;
        let name = matchers.iter().find(by_name).map(Matcher::value);
        let groups = all.iter().filter(|(group, _)| name.is_none_or(|name| name == *group));
        let mut found: Vec<Series> = groups
            .flat_map(|(_, named)| named)
            .filter(|series| matchers.iter().all(|m| m.matches_labels(&series.labels)))
            .map(|series| cut(series, start, end))
            .collect();
        if name.is_none() {
            found.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        Ok(found)
    }
}

const MINUTE: i64 = 60_000;

struct Lab {
    manager: Manager,
    source: Memory,
    engine: Engine,
    /// The rows as a ledger would have them.
    kept: Mutex<BTreeMap<String, Vec<u8>>>,
}

fn rules(text: &str) -> RuleSet {
    RuleSet::parse(&[("r.yml", text)]).unwrap()
}

fn lab(text: &str) -> Lab {
    let manager = Manager::new(rules(text), ManagerOptions::default(), 0);
    let (source, kept) = (Memory::default(), Mutex::default());
    Lab { manager, source, engine: Engine::default(), kept }
}

impl Lab {
    /// Evaluates all that is due in the minute before `minute`, at its own slot.
    fn round(&self, minute: i64) -> Evaluation {
        let mut all = Evaluation::default();
        for due in self.manager.due(minute * MINUTE) {
            let out = self.manager.evaluate(&due, &self.engine, &self.source);
            for series in &out.write.floats.series {
                for sample in &series.samples {
                    self.source.push(series.labels.clone(), sample.time_ms, sample.value);
                }
            }
            self.keep(&out);
            all.write.floats.series.extend(out.write.floats.series);
            all.notifications.extend(out.notifications);
            all.entries.extend(out.entries);
        }
        self.check_holders();
        all
    }

    /// What is counted of alerts that fire is what rules have.
    fn check_holders(&self) {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for alert in self.manager.awaited().iter().map(super::awaited::Awaited::alert) {
            if alert.state == super::State::Firing {
                *counts.entry(alert.fingerprint()).or_default() += 1;
            }
        }
        for running in self.manager.read() {
            for alert in running.lock().rules.iter().flat_map(|rule| rule.alerts.values()) {
                if alert.state == super::State::Firing {
                    *counts.entry(alert.fingerprint()).or_default() += 1;
                }
            }
        }
        assert_eq!(self.manager.holders.all(), counts);
    }

    fn keep(&self, out: &Evaluation) {
        let mut kept = self.kept.lock().unwrap();
        for Entry { key, value } in out.entries.clone() {
            match value {
                Some(value) => kept.insert(key, value),
                None => kept.remove(&key),
            };
        }
    }

    fn rows(&self) -> Vec<(String, Vec<u8>)> {
        self.kept.lock().unwrap().clone().into_iter().collect()
    }

    /// Sets `up` of one node just before minute `minute` begins.
    fn up(&self, minute: i64, value: f64) {
        let labels = [("__name__", "up"), ("instance", "vertex")];
        self.source.set(&labels, (minute - 1) * MINUTE, value);
    }

    /// Sets `up`, evaluates, and gives what was told.
    fn minute(&self, minute: i64, value: f64) -> Vec<Status> {
        self.up(minute, value);
        self.round(minute).notifications.iter().map(|n| n.status).collect()
    }

    fn state(&self) -> String {
        let view = self.manager.rules_view(&RulesFilter::default());
        serde_json::to_value(view).unwrap()["groups"][0]["rules"][0]["state"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

const DOWN: &str = "
groups:
- name: g
  interval: 1m
  rules:
  - alert: Down
    expr: up == 0
    for: 2m
    labels: {severity: critical}
    annotations: {summary: '{{ $labels.instance }} {{ $value }}'}
";

#[test]
fn pending_then_firing_then_resolved_each_told_once() {
    let lab = lab(DOWN);
    assert_eq!(lab.minute(2, 1.0), []);
    assert_eq!(lab.state(), "inactive");
    assert_eq!(lab.minute(3, 0.0), []);
    assert_eq!(lab.state(), "pending");
    assert_eq!(lab.minute(4, 0.0), []);
    lab.up(5, 0.0);
    let fired = lab.round(5);
    assert_eq!(fired.notifications.len(), 1);
    let told = &fired.notifications[0];
    assert_eq!((told.name(), told.severity()), ("Down", "critical"));
    assert_eq!(told.annotation("summary"), Some("vertex 0"));
    assert_eq!(told.starts_at_ms - told.active_at_ms, 2 * MINUTE);
    assert_eq!(lab.state(), "firing");
    assert_eq!(lab.minute(6, 0.0), [], "one message per change");
    assert_eq!(lab.minute(7, 1.0), [Status::Resolved]);
    assert_eq!(lab.minute(8, 1.0), []);
    assert_eq!(lab.state(), "inactive");
}

#[test]
fn series_of_alerts_are_written_and_end_with_a_marker() {
    let lab = lab(DOWN);
    let texts = |out: &Evaluation| -> Vec<String> {
        let mut texts: Vec<String> = out
            .write
            .floats
            .series
            .iter()
            .map(|s| {
                let value = s.samples[0].value;
                let value = if is_stale(value) { "stale".to_owned() } else { value.to_string() };
                format!("{} {value}", s.labels.without(|name| name == "severity"))
            })
            .collect();
        texts.sort();
        texts
    };
    lab.up(3, 0.0);
    let pending = lab.round(3);
    let since = pending.write.floats.series[1].samples[0].value;
    assert_eq!(
        texts(&pending),
        [
            format!("ALERTS_FOR_STATE{{alertname=\"Down\", instance=\"vertex\"}} {since}"),
            "ALERTS{alertname=\"Down\", alertstate=\"pending\", instance=\"vertex\"} 1".to_owned(),
        ]
    );
    lab.minute(4, 0.0);
    lab.up(5, 0.0);
    assert_eq!(
        texts(&lab.round(5)),
        [
            format!("ALERTS_FOR_STATE{{alertname=\"Down\", instance=\"vertex\"}} {since}"),
            "ALERTS{alertname=\"Down\", alertstate=\"firing\", instance=\"vertex\"} 1".to_owned(),
            "ALERTS{alertname=\"Down\", alertstate=\"pending\", instance=\"vertex\"} stale"
                .to_owned(),
        ]
    );
    lab.up(6, 1.0);
    assert_eq!(
        texts(&lab.round(6)),
        [
            "ALERTS_FOR_STATE{alertname=\"Down\", instance=\"vertex\"} stale".to_owned(),
            "ALERTS{alertname=\"Down\", alertstate=\"firing\", instance=\"vertex\"} stale"
                .to_owned(),
        ]
    );
}

#[test]
fn keep_firing_for_holds_an_alert_up() {
    let lab = lab(&DOWN.replace("for: 2m", "keep_firing_for: 2m"));
    assert_eq!(lab.minute(3, 0.0), [Status::Firing]);
    assert_eq!(lab.minute(4, 1.0), []);
    assert_eq!(lab.state(), "firing");
    assert_eq!(lab.minute(5, 0.0), []);
    assert_eq!(lab.minute(6, 1.0), []);
    assert_eq!(lab.minute(7, 1.0), []);
    assert_eq!(lab.minute(8, 1.0), [Status::Resolved], "two minutes after it ceased for good");
}

/// What people have said is gone for good is not held up; what still holds is, and so are others.
#[test]
fn an_alert_about_what_is_gone_ends_at_once() {
    let labels = |instance: &str| BTreeMap::from([("instance".to_owned(), instance.to_owned())]);
    let rule = DOWN.replace("for: 2m", "keep_firing_for: 1h");
    for (gone, told) in [("vertex", vec![Status::Resolved]), ("apex", vec![])] {
        let lab = lab(&rule);
        assert_eq!(lab.minute(3, 0.0), [Status::Firing]);
        lab.manager.forget(labels(gone), 3 * MINUTE);
        assert_eq!(lab.minute(4, 0.0), [], "it still holds");
        assert_eq!(lab.minute(5, 1.0), told, "{gone}");
    }
    let lab = lab(&rule);
    assert_eq!(lab.minute(3, 0.0), [Status::Firing]);
    lab.manager.forget(labels("vertex"), 3 * MINUTE);
    assert_eq!(lab.minute(14, 1.0), [], "it may have come back meanwhile");
    (0..2_000).for_each(|at| lab.manager.forget(labels(&format!("node{at}")), 0));
    assert_eq!(lab.manager.gone().len(), GONE_LEN_MAX);
}

#[test]
fn a_failing_rule_says_so_and_stops_no_other() {
    let lab = lab("
groups:
- name: g
  interval: 1m
  rules:
  - record: same
    expr: label_replace(up, 'instance', 'x', '', '')
  - record: twice
    expr: up * 2
  - alert: Many
    expr: up
");
    for instance in ["a", "b"] {
        lab.source.set(&[("__name__", "up"), ("instance", instance)], MINUTE, 1.0);
    }
    let out = lab.round(2);
    assert_eq!(out.notifications.len(), 2);
    assert_eq!(
        out.write.floats.series.iter().filter(|s| s.labels.metric_name() == "twice").count(),
        2
    );
    let view = serde_json::to_value(lab.manager.rules_view(&RulesFilter::default())).unwrap();
    let rules = &view["groups"][0]["rules"];
    assert_eq!(rules[0]["health"], "err");
    assert!(rules[0]["lastError"].as_str().unwrap().contains("same labelset"), "{rules}");
    assert_eq!(rules[1]["health"], "ok");
    assert!(rules[1].get("lastError").is_none());
    assert_eq!(lab.manager.failing_len(), 1);
}

#[test]
fn a_limit_that_is_broken_fails_the_rule_and_tells_nobody() {
    let lab = lab(&DOWN.replace("interval: 1m", "interval: 1m\n  limit: 1").replace("for: 2m", ""));
    for instance in ["a", "b"] {
        lab.source.set(&[("__name__", "up"), ("instance", instance)], MINUTE, 0.0);
    }
    assert_eq!(lab.round(2).notifications.len(), 0);
    assert_eq!(lab.manager.failing_len(), 1);
}

/// As in Prometheus, a rule that has too many alerts has none.
#[test]
fn a_limit_that_comes_to_be_broken_ends_the_alerts_there_were() {
    let lab = lab(&DOWN.replace("interval: 1m", "interval: 1m\n  limit: 1").replace("for: 2m", ""));
    assert_eq!(lab.minute(3, 0.0), [Status::Firing]);
    lab.source.set(&[("__name__", "up"), ("instance", "apex")], 3 * MINUTE, 0.0);
    assert_eq!(lab.minute(4, 0.0), [Status::Resolved]);
    assert!(lab.manager.alerts_view().alerts.is_empty() && lab.rows().is_empty());
    let view = serde_json::to_value(lab.manager.rules_view(&RulesFilter::default())).unwrap();
    let error = &view["groups"][0]["rules"][0]["lastError"];
    assert_eq!(error, "exceeded limit of 1 with 2 alerts");
}

/// Rules are evaluated in order, and each sees what those before it have said.
#[test]
fn a_rule_sees_what_those_before_it_recorded_in_the_same_round() {
    let lab = lab("
groups:
- name: g
  interval: 1m
  rules:
  - {record: early, expr: count(later) or vector(-1)}
  - {record: one, expr: up + 1}
  - {record: later, expr: one * 10}
  - {alert: High, expr: later > 10}
  - {record: alerts, expr: 'count(ALERTS{alertstate=\"firing\"})'}
");
    lab.up(3, 1.0);
    let out = lab.round(3);
    let value = |out: &Evaluation, name: &str| {
        let found = out.write.floats.series.iter().find(|s| s.labels.metric_name() == name);
        found.map(|series| series.samples[0].value)
    };
    assert_eq!(value(&out, "later"), Some(20.0));
    assert_eq!(value(&out, "alerts"), Some(1.0));
    assert_eq!(value(&out, "early"), Some(-1.0), "what comes later is of the round before");
    assert_eq!(out.notifications.len(), 1);
    lab.up(4, 0.0);
    let out = lab.round(4);
    assert_eq!(value(&out, "early"), Some(1.0));
    assert_eq!(value(&out, "alerts").map(is_stale), Some(true), "the marker is seen at once");
}

const KEPT: &str = "
groups:
- name: g
  interval: 1m
  rules:
  - alert: Hot
    expr: up > 80
    labels: {severity: warning}
    annotations: {labstat_keep_while: up > 75}
";

#[test]
fn a_second_expression_keeps_an_alert_firing_and_begins_none() {
    let lab = lab(KEPT);
    assert_eq!(lab.minute(3, 78.0), [], "it begins none");
    assert_eq!(lab.minute(4, 81.0), [Status::Firing]);
    assert_eq!(lab.minute(5, 78.0), []);
    assert_eq!(lab.state(), "firing");
    // Another's value keeps only its own.
    lab.source.set(&[("__name__", "up"), ("instance", "apex")], 5 * MINUTE, 79.0);
    assert_eq!(lab.minute(6, 74.0), [Status::Resolved]);
    assert_eq!(lab.minute(7, 78.0), []);
}

/// As [`lab`], where a lab has its name.
fn lab_with(text: &str) -> Lab {
    lab(text)
}

#[test]
fn a_rule_that_is_moved_as_it_is_keeps_its_alerts() {
    let lab = lab(&DOWN.replace("for: 2m", ""));
    assert_eq!(lab.minute(3, 0.0), [Status::Firing]);
    let moved = DOWN.replace("for: 2m", "").replace("name: g", "name: other");
    let out = lab.manager.reload(rules(&moved), 3 * MINUTE);
    assert_eq!((out.notifications.len(), out.write.floats.series.len()), (0, 0));
    lab.keep(&out);
    assert_eq!(lab.rows().len(), 1);
    assert_eq!(lab.minute(5, 0.0), []);
    let again = lab_with(&moved);
    again.manager.restore(lab.rows(), &[], 5 * MINUTE);
    assert_eq!(again.minute(7, 1.0), [Status::Resolved]);
    // Changed in what makes it what it is, it is another.
    let other = moved.replace("critical", "warning");
    assert_eq!(lab.manager.reload(rules(&other), 6 * MINUTE).notifications.len(), 1);
}

const TWICE: &str = "
groups:
- name: g
  interval: 1m
  rules:
  - {alert: Down, expr: up == 0, annotations: {summary: first}}
- name: h
  interval: 1m
  rules:
  - {alert: Down, expr: up < 1, annotations: {summary: second}}
  - {alert: Down, expr: up < 0, annotations: {summary: third}}
";

/// What the changes come to, with the summaries.
fn outcome(lab: &Lab, out: &Evaluation) -> Vec<(Status, String)> {
    lab.check_holders();
    let outcome = lab.manager.outcome(&out.notifications);
    outcome.into_iter().map(|n| (n.status, n.annotations["summary"].clone())).collect()
}

fn outcome_len(lab: &Lab, out: &Evaluation) -> usize {
    assert_eq!(out.notifications.len(), 1);
    lab.manager.outcome(&out.notifications).len()
}

/// What all rules make of `up` at a minute. The samples of two that find one alert are of one series, at one
/// time; so they are left out.
fn of_all(lab: &Lab, minute: i64, value: f64) -> Vec<(Status, String)> {
    lab.up(minute, value);
    let mut out = Evaluation::default();
    for due in lab.manager.all_at(minute * MINUTE) {
        out.append(lab.manager.evaluate(&due, &lab.engine, &lab.source));
    }
    lab.keep(&out);
    outcome(lab, &out)
}

fn told(status: Status, summary: &str) -> (Status, String) {
    (status, summary.to_owned())
}

#[test]
fn an_alert_is_over_when_no_rule_finds_it_any_more() {
    let lab = lab(TWICE);
    let minute = |minute, value| of_all(&lab, minute, value);
    let (first, second) = (told(Status::Firing, "first"), told(Status::Firing, "second"));
    let mut both = minute(3, 0.0);
    both.sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(both, [first, second.clone()]);
    let fired = lab.manager.firing(|_| true);
    assert_eq!(fired.len(), 2);
    assert_eq!(lab.manager.firing(|fingerprint| fingerprint != fired[0].fingerprint).len(), 0);
    assert_eq!(minute(4, 0.5), [second], "the second still finds it, and says what it is");
    assert!(lab.manager.is_firing(&fired[0].fingerprint));
    let third = told(Status::Firing, "third");
    assert_eq!(minute(5, -1.0), std::slice::from_ref(&third));
    // The second ends with its rule, and the third is moved.
    let moved = TWICE.replace("expr: up < 1", "expr: up > 7").replace("name: h", "name: i");
    let mut gone = Evaluation::default();
    lab.manager.reload_and(rules(&moved), 5 * MINUTE, |out| {
        assert_eq!(outcome_len(&lab, &out), 0, "nobody can say more in the midst of it");
        assert!(lab.manager.is_firing(&fired[0].fingerprint));
        gone = out;
    });
    lab.keep(&gone);
    assert_eq!(outcome(&lab, &gone), [third]);

    let again = lab_with(&moved);
    again.manager.restore(lab.rows(), &[], 6 * MINUTE);
    again.check_holders();
    again.up(7, 1.0);
    let ended = again.round(7);
    assert_eq!(outcome(&again, &ended).len(), 1);
    assert_eq!(ended.notifications[0].status, Status::Resolved);
    assert!(!again.manager.is_firing(&fired[0].fingerprint));
}

#[test]
fn two_rules_hold_an_alert_after_a_restart_and_a_reload_as_before() {
    let before = lab(TWICE);
    assert_eq!(of_all(&before, 3, 0.0).len(), 2);
    let holders = |lab: &Lab| -> Vec<usize> {
        lab.check_holders();
        lab.manager.holders.all().into_values().collect()
    };
    assert_eq!(holders(&before), [2]);

    let lab = lab_with(TWICE);
    assert!(lab.manager.restore(before.rows(), &[], 4 * MINUTE).notifications.is_empty());
    lab.kept.lock().unwrap().extend(before.rows());
    assert_eq!(holders(&lab), [2], "after a restart");
    let renamed = TWICE.replace("name: g", "name: k");
    for text in [TWICE, &renamed, TWICE] {
        let out = lab.manager.reload(rules(text), 4 * MINUTE);
        assert!(out.notifications.is_empty(), "{:?}", out.notifications);
        lab.keep(&out);
        assert_eq!(holders(&lab), [2], "after a reload");
    }

    assert_eq!(of_all(&lab, 5, 0.5), [told(Status::Firing, "second")], "one has let go");
    assert_eq!(holders(&lab), [1]);
    let unread = unread(lab, 6 * MINUTE);
    assert_eq!(holders(&unread), [1], "one waits for its file");
    let out = unread.manager.reload(rules(TWICE), 7 * MINUTE);
    unread.keep(&out);
    assert!(out.notifications.is_empty() && holders(&unread) == [1]);
    assert_eq!(of_all(&unread, 8, 1.0), [told(Status::Resolved, "second")], "and the other");
    assert!(holders(&unread).is_empty());
}

#[test]
fn a_group_that_is_the_same_is_left_alone_by_a_reload() {
    let lab = lab(DOWN);
    lab.minute(3, 0.0);
    let due = lab.manager.due(5 * MINUTE).remove(0);
    let mut round = lab.manager.begin(&due).unwrap();
    assert!(lab.manager.begin(&due).is_none(), "one round at a time");
    assert!(lab.manager.due(5 * MINUTE).is_empty());
    let more = format!("{DOWN}- {{name: h, rules: [{{record: x, expr: up}}]}}\n");
    assert!(lab.manager.reload(rules(&more), 5 * MINUTE).is_empty(), "it does not wait for it");
    lab.manager.finish(&mut round);
    lab.manager.release(&round);
    assert_eq!(lab.state(), "pending");
}

/// After an absence nobody has said yet that an alert goes on.
#[test]
fn for_a_while_after_an_absence_no_alert_is_over() {
    let lab = lab(&DOWN.replace("for: 2m", ""));
    assert_eq!(lab.minute(3, 0.0), [Status::Firing]);
    lab.manager.hold(6 * MINUTE);
    assert_eq!(lab.minute(4, 1.0), []);
    assert_eq!(lab.minute(5, 1.0), []);
    assert_eq!(lab.minute(8, 1.0), [Status::Resolved]);
}

#[test]
fn no_alert_begins_on_samples_of_the_past() {
    let lab = lab(&DOWN.replace("for: 2m", ""));
    let late = |until_ms: i64| BTreeMap::from([("vertex".to_owned(), until_ms)]);
    lab.manager.set_late(late(4 * MINUTE));
    assert_eq!(lab.minute(3, 0.0), []);
    assert_eq!(lab.state(), "inactive");
    lab.source.set(&[("__name__", "up"), ("instance", "apex")], 3 * MINUTE, 0.0);
    assert_eq!(lab.minute(4, 0.0), [Status::Firing], "another's does");
    assert_eq!(lab.minute(6, 0.0), [Status::Firing], "and this one's, when that is over");
    lab.manager.set_late(late(9 * MINUTE));
    assert_eq!(lab.minute(7, 0.0), [], "what fires goes on");
    assert_eq!(lab.minute(8, 1.0), [Status::Resolved], "and is over when it is over");
}

#[test]
fn texts_are_made_anew_when_the_value_or_the_rule_changes() {
    let text = |lab: &Lab| lab.manager.alerts_view().alerts[0].annotations["summary"].clone();
    let lab = lab(&DOWN.replace("up == 0", "up < 5"));
    lab.minute(3, 0.0);
    assert_eq!(text(&lab), "vertex 0");
    lab.minute(4, 2.0);
    assert_eq!(text(&lab), "vertex 2");
    let other = DOWN.replace("up == 0", "up < 5").replace("{{ $value }}", "has {{ $value }}");
    lab.manager.reload(rules(&other), 4 * MINUTE);
    lab.minute(5, 2.0);
    assert_eq!(text(&lab), "vertex has 2");
}

#[test]
fn a_row_that_cannot_be_read_is_left_out() {
    let lab = lab(DOWN);
    let rows = vec![("rule/a".to_owned(), b"{".to_vec()), ("rule/b".to_owned(), b"null".to_vec())];
    let out = lab.manager.restore(rows, &[], 0);
    assert!(out.notifications.is_empty());
    assert_eq!(out.entries, [Entry::delete("rule/a"), Entry::delete("rule/b")]);
}

/// Through JSON, as it is kept: the pending alert goes on where it was, the firing one is not told
/// again, and what ended meanwhile is told.
#[test]
fn state_survives_a_restart() {
    let before = lab(DOWN);
    before.minute(3, 0.0);
    let kept = before.rows();
    let after = lab(DOWN);
    assert!(after.manager.restore(kept.clone(), &[], 0).is_empty());
    after.kept.lock().unwrap().extend(kept);
    assert_eq!(after.state(), "pending");
    assert_eq!(after.minute(5, 0.0), [Status::Firing], "`for` counts from before the restart");

    let kept = after.rows();
    let again = lab(DOWN);
    again.manager.restore(kept.clone(), &[], 0);
    assert_eq!(again.minute(6, 0.0), [], "not told again");
    assert_eq!(again.minute(7, 1.0), [Status::Resolved]);

    let ended = lab(DOWN);
    ended.manager.restore(kept, &[], 0);
    ended.up(9, 1.0);
    let out = ended.round(9);
    assert_eq!(out.notifications[0].status, Status::Resolved, "it ended while nobody looked");
    assert!(out.write.floats.series.iter().all(|series| is_stale(series.samples[0].value)));
}

/// A lab after a restart that could not read the file of the rules.
fn unread(before: Lab, now_ms: i64) -> Lab {
    let manager = Manager::new(RuleSet::default(), ManagerOptions::default(), now_ms);
    let out = manager.restore(before.rows(), &["r.yml".into()], now_ms);
    assert!(out.is_empty(), "{out:?}");
    let (entries, failed) = manager.discount_absence(&before.source, now_ms);
    assert!(entries.is_empty() && failed.is_none());
    let lab = Lab { manager, ..before };
    lab.check_holders();
    lab
}

#[test]
fn alerts_whose_file_cannot_be_read_wait_for_it_as_they_are() {
    let before = lab(DOWN);
    (3..=5).for_each(|minute| drop(before.minute(minute, 0.0)));
    let told = before.manager.alerts_view();
    let firing = before.manager.firing(|_| true);
    assert_eq!(firing.len(), 1);
    let lab = unread(before, 6 * MINUTE);
    assert_eq!(lab.manager.firing(|_| true), firing, "it counts as firing");
    assert_eq!(lab.rows().len(), 1, "its row stays");
    let other = lab_with(DOWN);
    let out = other.manager.restore(lab.rows(), &["r".into(), "r.yml/x".into()], 6 * MINUTE);
    assert!(out.is_empty() && other.manager.alerts_view() == told, "names are compared whole");

    let new_text = DOWN.replace("{{ $value }}", "is {{ $value }}");
    let out = lab.manager.reload(rules(&new_text), 20 * MINUTE);
    assert!(out.is_empty(), "neither told nor written again: {out:?}");
    assert_eq!(lab.manager.alerts_view(), told, "with the same start");
    assert_eq!(lab.minute(22, 0.0), []);
    let summary = &lab.manager.alerts_view().alerts[0].annotations["summary"];
    assert_eq!(summary, "vertex is 0", "in the words of now");
    assert_eq!(lab.minute(23, 1.0), [Status::Resolved], "and it ends once");
    assert!(lab.rows().is_empty());
}

#[test]
fn alerts_that_waited_for_a_file_end_when_their_rule_is_gone() {
    let before = lab(&DOWN.replace("for: 2m", ""));
    before.minute(3, 0.0);
    let lab = unread(before, 4 * MINUTE);
    let out = lab.manager.reload(rules("groups: []"), 5 * MINUTE);
    assert_eq!(out.notifications.len(), 1);
    assert_eq!(out.notifications[0].status, Status::Resolved);
    lab.keep(&out);
    lab.check_holders();
    assert!(lab.rows().is_empty());
    assert!(lab.manager.firing(|_| true).is_empty());
}

#[test]
fn the_time_a_file_could_not_be_read_does_not_count_for_a_pending_alert() {
    let read_after = |minutes: i64| {
        let before = lab(DOWN);
        before.minute(3, 0.0);
        before.minute(4, 0.0);
        let lab = unread(before, 5 * MINUTE);
        let out = lab.manager.reload(rules(DOWN), (4 + minutes) * MINUTE);
        lab.keep(&out);
        lab
    };
    let lab = read_after(30);
    assert_eq!(lab.state(), "pending");
    let again = lab_with(DOWN);
    again.manager.restore(lab.rows(), &[], 34 * MINUTE);
    assert_eq!(again.manager.alerts_view(), lab.manager.alerts_view(), "and the row says so");
    assert_eq!(lab.minute(35, 0.0), [], "one minute of two was seen before");
    assert_eq!(lab.minute(37, 0.0), [Status::Firing]);
    let lab = read_after(90);
    assert_eq!(lab.state(), "inactive", "what was an hour ago says nothing");
    assert!(lab.rows().is_empty());
}

/// A copy of the rule stood in another file, which was read: it has found the alert by itself.
#[test]
fn an_alert_that_waited_for_its_file_takes_nothing_from_another_of_its_rule() {
    let file = |name: &'static str| RuleSet::parse(&[(name, DOWN)]).unwrap();
    let before = lab(DOWN);
    (3..=4).for_each(|minute| drop(before.minute(minute, 0.0)));
    let manager = Manager::new(file("copy.yml"), ManagerOptions::default(), 5 * MINUTE);
    assert!(manager.restore(before.rows(), &["r.yml".into()], 5 * MINUTE).is_empty());
    assert!(manager.discount_absence(&before.source, 5 * MINUTE).0.is_empty());
    let lab = Lab { manager, ..before };
    let told: Vec<Status> = (7..=10).flat_map(|minute| lab.minute(minute, 0.0)).collect();
    assert_eq!(told, [Status::Firing]);
    let firing = lab.manager.alerts_view();
    lab.keep(&lab.manager.reload(file("copy.yml"), 10 * MINUTE));
    assert_eq!(lab.manager.alerts_view(), firing, "one that was pending does not take its place");
    assert_eq!(lab.rows().len(), 1);
}

#[test]
fn the_time_nobody_looked_does_not_count_for_a_pending_alert() {
    let restart = |minutes: i64| {
        let before = lab(DOWN);
        before.minute(3, 0.0);
        before.minute(4, 0.0);
        let kept = before.rows();
        let after = Lab { manager: lab(DOWN).manager, ..before };
        let now_ms = (4 + minutes) * MINUTE;
        after.manager.restore(kept, &[], now_ms);
        let (entries, failed) = after.manager.discount_absence(&after.source, now_ms);
        assert!(failed.is_none());
        after.keep(&Evaluation { entries, ..Evaluation::default() });
        after
    };
    let lab = restart(30);
    assert_eq!(lab.state(), "pending");
    // The row says so as well: a second restart does not count the time again.
    let again = lab_with(DOWN);
    again.manager.restore(lab.rows(), &[], 34 * MINUTE);
    assert_eq!(again.manager.alerts_view(), lab.manager.alerts_view());
    assert_eq!(lab.minute(35, 0.0), [], "one minute of two was seen before");
    assert_eq!(lab.minute(37, 0.0), [Status::Firing]);
    let lab = restart(90);
    assert_eq!(lab.state(), "inactive", "what was an hour ago says nothing");
    assert_eq!(lab.minute(95, 0.0), []);
    assert_eq!(lab.minute(96, 0.0), []);
    assert_eq!(lab.minute(97, 0.0), [Status::Firing]);
}

#[test]
fn an_alert_that_waits_for_long_fires_no_sooner_than_ten_minutes_after_a_long_absence() {
    let text = DOWN.replace("for: 2m", "for: 12m");
    let restart = |minutes: i64| {
        let before = lab(&text);
        (3..=14).for_each(|minute| assert_eq!(before.minute(minute, 0.0), []));
        let (now_ms, kept) = ((14 + minutes) * MINUTE, before.rows());
        let after = Lab { manager: lab(&text).manager, ..before };
        after.manager.restore(kept, &[], now_ms);
        after.manager.discount_absence(&after.source, now_ms);
        (1..).find(|more| !after.minute(14 + minutes + more, 0.0).is_empty()).unwrap()
    };
    assert!((1..=3).contains(&restart(1)), "a short one: {}", restart(1));
    assert!((10..=12).contains(&restart(20)), "a long one: {}", restart(20));
}

/// A source that cannot be asked.
struct Away;

impl Source for Away {
    fn select(&self, _: &[Matcher], _: i64, _: i64) -> Result<Vec<Series>, SourceError> {
        Err(SourceError("away".into()))
    }
}

#[test]
fn pending_alerts_wait_anew_when_nobody_can_say_how_long_they_did() {
    let before = lab(DOWN);
    before.minute(3, 0.0);
    before.minute(4, 0.0);
    let after = lab(DOWN);
    after.manager.restore(before.rows(), &[], 30 * MINUTE);
    assert_eq!(after.state(), "pending");
    let (entries, failed) = after.manager.discount_absence(&Away, 30 * MINUTE);
    assert!(failed.is_some());
    assert!(matches!(&entries[..], [Entry { value: None, .. }]), "{entries:?}");
    assert_eq!(after.state(), "inactive");
    assert_eq!(after.minute(35, 0.0), []);
    assert_eq!(after.minute(36, 0.0), []);
    assert_eq!(after.minute(37, 0.0), [Status::Firing]);
}

#[test]
fn rules_of_one_name_get_back_their_own_alerts() {
    let text = "
groups:
- name: g
  interval: 1m
  rules:
  - {alert: Down, expr: up == 5}
  - {alert: Down, expr: up == 0}
";
    let before = lab(text);
    assert_eq!(before.minute(3, 0.0), [Status::Firing]);
    let after = lab(text);
    after.manager.restore(before.rows(), &[], 0);
    assert_eq!(after.minute(4, 0.0), [], "neither its end nor its beginning is told");
}

#[test]
fn reload_keeps_what_is_unchanged_and_resolves_what_is_gone() {
    let lab = lab(&DOWN.replace("for: 2m", ""));
    assert_eq!(lab.minute(3, 0.0), [Status::Firing]);
    let more = DOWN.replace("for: 2m", "") + "  - record: x\n    expr: up\n";
    assert!(lab.manager.reload(rules(&more), 3 * MINUTE).is_empty());
    assert_eq!(lab.minute(4, 0.0), []);
    let gone = lab.manager.reload(rules("groups: []"), 5 * MINUTE);
    assert_eq!(gone.notifications.len(), 1);
    assert_eq!(gone.notifications[0].status, Status::Resolved);
    assert_eq!(gone.write.floats.series.len(), 3, "ALERTS, ALERTS_FOR_STATE and x end");
    assert!(lab.manager.alerts_view().alerts.is_empty());

    let kept = rows_of_firing();
    let other = Manager::new(rules("groups: []"), ManagerOptions::default(), 0);
    let out = other.restore(kept, &[], 1);
    assert_eq!(out.notifications.len(), 1, "a rule that was removed while it was down");
}

fn rows_of_firing() -> Vec<(String, Vec<u8>)> {
    let lab = lab(&DOWN.replace("for: 2m", ""));
    lab.minute(3, 0.0);
    lab.rows()
}

#[test]
fn groups_are_due_once_a_slot_and_spread() {
    let text: String = (0..50)
        .map(|n| format!("- name: g{n}\n  interval: 1m\n  rules: [{{record: a, expr: up}}]\n"))
        .collect();
    let lab = lab(&format!("groups:\n{text}"));
    let due = lab.manager.due(MINUTE);
    assert_eq!(due.len(), 50);
    let times: std::collections::BTreeSet<i64> = due.iter().map(|due| due.time_ms).collect();
    assert!(times.len() > 40, "spread over the interval: {}", times.len());
    assert!(times.iter().all(|time| (1..=MINUTE).contains(time)));
    lab.round(1);
    assert!(lab.manager.due(MINUTE).is_empty(), "each slot once");
    let next = lab.manager.next_due_ms(MINUTE).unwrap();
    assert!((MINUTE + 1..=2 * MINUTE).contains(&next));
    assert_eq!(lab.manager.due(100 * MINUTE).len(), 50, "missed slots are not made up for");
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_the_rules() {
    let lab = lab(DOWN);
    lab.round(1_000_000);
    assert!(lab.manager.due(1_000_000 * MINUTE).is_empty());
    assert_eq!(lab.manager.due(5 * MINUTE).len(), 1);
    assert!(lab.manager.next_due_ms(5 * MINUTE).is_some_and(|next| next <= 6 * MINUTE));
}

/// The shape Grafana and Prometheus' own tools read.
#[test]
fn views_are_prometheus_json() {
    let lab = lab(DOWN);
    lab.minute(3, 0.0);
    let mut rules = serde_json::to_value(lab.manager.rules_view(&RulesFilter::default())).unwrap();
    let rule = &mut rules["groups"][0]["rules"][0];
    assert_eq!(rule["type"], "alerting");
    assert_eq!(rule["duration"], 120.0);
    assert_eq!(rule["annotations"]["summary"], "{{ $labels.instance }} {{ $value }}");
    assert_eq!(rule["alerts"][0]["value"], "0e+00");
    assert_eq!(rule["alerts"][0]["annotations"]["summary"], "vertex 0");
    assert!(rule["alerts"][0]["activeAt"].as_str().unwrap().starts_with("1970-01-01T00:0"));
    let group = &rules["groups"][0];
    let keys: Vec<&str> = group.as_object().unwrap().keys().map(String::as_str).collect();
    for key in ["name", "file", "interval", "limit", "rules", "evaluationTime", "lastEvaluation"] {
        assert!(keys.contains(&key), "{key}");
    }
    let alerts = serde_json::to_value(lab.manager.alerts_view()).unwrap();
    assert_eq!(alerts["alerts"][0]["labels"]["alertname"], "Down");
    assert_eq!(alerts["alerts"][0]["state"], "pending");
}

/// As Prometheus: a label that is set to nothing is gone, whether the rule or its group says so.
#[test]
fn a_label_that_is_set_to_nothing_is_gone_from_the_results() {
    let lab = lab("
groups:
- name: g
  interval: 1m
  labels: {job: ''}
  rules:
  - record: lab:up
    expr: up
    labels: {instance: '', site: home}
  - record: lab:up:job
    expr: up
    labels: {job: own}
  - alert: Down
    expr: up == 0
    labels: {instance: ''}
");
    let up = [("__name__", "up"), ("instance", "vertex"), ("job", "node"), ("rack", "1")];
    lab.source.set(&up, 2 * MINUTE, 0.0);
    let out = lab.round(3);
    let series: Vec<String> =
        out.write.floats.series.iter().map(|s| s.labels.to_string()).collect();
    assert_eq!(series[0], r#"lab:up{rack="1", site="home"}"#);
    assert_eq!(series[1], r#"lab:up:job{instance="vertex", job="own", rack="1"}"#);
    assert_eq!(series[2], r#"ALERTS{alertname="Down", alertstate="firing", rack="1"}"#);
    let told: Vec<&str> = out.notifications[0].labels.keys().map(String::as_str).collect();
    assert_eq!(told, ["alertname", "rack"]);
}

/// Samples of after a slot wake a group before the round of the slot has begun.
#[test]
fn a_round_does_not_undo_what_was_seen_out_of_turn_after_its_slot() {
    for wait in ["0s", "2m"] {
        let lab = lab(&DOWN.replace("for: 2m", &format!("for: {wait}")));
        lab.minute(2, 1.0);
        let due = lab.manager.due(3 * MINUTE);
        let slot_ms = due[0].time_ms;
        lab.source.set(&[("__name__", "up"), ("instance", "vertex")], slot_ms + 200, 0.0);
        let metrics = std::sync::Arc::new(std::collections::BTreeSet::from(["up".to_owned()]));
        let woken = lab.manager.woken(&metrics, slot_ms + 300);
        lab.manager.evaluate(&woken[0], &lab.engine, &lab.source);
        let begun = lab.manager.alerts_len();
        assert_eq!(begun.0 + begun.1, 1);
        let out = lab.manager.evaluate(&due[0], &lab.engine, &lab.source);
        assert_eq!(lab.manager.alerts_len(), begun, "it goes on");
        assert!(out.notifications.is_empty() && out.entries.is_empty(), "{out:?}");
        let samples = out.write.floats.series.iter().flat_map(|series| &series.samples);
        for sample in samples {
            assert!(sample.time_ms > slot_ms + 300 && !is_stale(sample.value), "{sample:?}");
        }
        // What was seen under a clock that was set back since is no reason to look there.
        let early = lab.manager.woken(&metrics, slot_ms - 10 * MINUTE);
        let out = lab.manager.evaluate(&early[0], &lab.engine, &lab.source);
        let samples = out.write.floats.series.iter().flat_map(|series| &series.samples);
        assert!(samples.into_iter().all(|sample| sample.time_ms < slot_ms));
    }
}
