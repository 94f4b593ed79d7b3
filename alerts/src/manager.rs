//! The state machine of all rules: what is inactive, pending, firing, and since when.
//!
//! [`Manager`] knows no clock, no store and no network: it is given a time, an engine and a source,
//! and gives back what is to be written and who is to be told ([`Evaluation`]). Queries run without
//! a lock held, so that the views answer while a slow rule is evaluated.
//!
//! - [`state`]: one alerting rule's alerts, a pure step from one evaluation to the next.
//! - [`evaluate`]: one rule's query, labels and samples.
//! - [`snapshot`]: the alerts as they are kept across a restart.

mod evaluate;
#[cfg(test)]
mod peer_rules;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unit_tests;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use labstat_model::{Labels, Sample, TimeSeries, WriteRequest, stale_marker};
use labstat_promql::{Engine, Source, SourceError};

use crate::hash::fnv;
use crate::notification::Notification;
use crate::rules::{Group, Rule, RuleKind, RuleSet};
use crate::views::{self, AlertView, AlertsView, GroupView, RuleView, RulesFilter, RulesView};

pub(crate) use evaluate::{chain as error_chain, push_escaped};
pub use snapshot::{SNAPSHOT_VERSION, Snapshot};
pub use state::{Alert, State};

/// What all rules share.
#[derive(Debug, Clone, Default)]
pub struct ManagerOptions {
    /// Labels of this aggregator, for templates (`$externalLabels`).
    pub external_labels: BTreeMap<String, String>,
    /// Where people reach this aggregator, for templates and links; no slash at the end.
    pub external_url: String,
}

/// What an evaluation, a reload or a restart asks for.
#[derive(Debug, Clone, Default)]
pub struct Evaluation {
    /// Samples to append: `ALERTS`, `ALERTS_FOR_STATE`, recorded series, and markers for series
    /// that have ended.
    pub write: WriteRequest,
    /// Alerts that began or ceased to fire.
    pub notifications: Vec<Notification>,
}

impl Evaluation {
    /// Whether there is nothing to write and nobody to tell.
    pub fn is_empty(&self) -> bool {
        self.write.series.is_empty() && self.notifications.is_empty()
    }

    fn push(&mut self, labels: Labels, time_ms: i64, value: f64) {
        let samples = vec![Sample { time_ms, value }];
        self.write.series.push(TimeSeries { labels, samples });
    }
}

/// A group that is due.
#[derive(Debug, Clone)]
pub struct Due {
    /// The group's slot: the time to evaluate it at.
    pub time_ms: i64,
    group: Arc<Running>,
}

impl Due {
    /// The group.
    pub fn group(&self) -> &Group {
        &self.group.group
    }
}

/// All rules and the state of each.
#[derive(Debug, Default)]
pub struct Manager {
    options: ManagerOptions,
    groups: RwLock<Vec<Arc<Running>>>,
}

/// A group and what became of it.
#[derive(Debug)]
struct Running {
    group: Arc<Group>,
    state: Mutex<GroupState>,
}

/// What is known of a group; `rules` runs beside the group's rules.
#[derive(Debug, Default)]
struct GroupState {
    rules: Vec<RuleState>,
    /// Slots up to this one are done.
    done_ms: i64,
    evaluated_ms: Option<i64>,
    duration_s: f64,
}

/// What is known of a rule.
#[derive(Debug, Default, Clone)]
struct RuleState {
    evaluated_ms: Option<i64>,
    duration_s: f64,
    error: Option<String>,
    alerts: BTreeMap<Labels, Alert>,
    /// The series of the last evaluation, so that those that end get a marker.
    series: HashSet<Labels>,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, GroupState> {
        // A state is written only in whole steps, so one that a panic left behind is usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot up to which all is done. One that lies ahead is from a clock that has been set back
    /// since, and must not keep the rules from being evaluated until it comes round again.
    fn done_ms(&self, now_ms: i64) -> i64 {
        let done_ms = self.lock().done_ms;
        if done_ms > now_ms.saturating_add(self.group.interval_ms) { i64::MIN } else { done_ms }
    }
}

impl Manager {
    /// The rules, all inactive. Groups are due from their first slot after `now_ms` on.
    pub fn new(rules: RuleSet, options: ManagerOptions, now_ms: i64) -> Self {
        let manager = Self { options, groups: RwLock::default() };
        manager.reload(rules, now_ms);
        manager
    }

    /// Puts `rules` in place of the present ones. A rule of the same file, group, name and labels
    /// keeps its alerts; alerts of rules that are gone are resolved.
    pub fn reload(&self, rules: RuleSet, now_ms: i64) -> Evaluation {
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        let mut out = Evaluation::default();
        let mut old = std::mem::take(&mut *groups);
        for group in rules.groups {
            let at =
                old.iter().position(|r| r.group.file == group.file && r.group.name == group.name);
            let previous = at.map(|at| old.swap_remove(at));
            groups.push(Arc::new(self.adopt(group, previous.as_deref(), now_ms, &mut out)));
        }
        for running in old {
            let state = std::mem::take(&mut *running.lock());
            for (rule, state) in running.group.rules.iter().zip(state.rules) {
                self.end(rule, state, now_ms, &mut out);
            }
        }
        out
    }

    /// A group with the state of its predecessor, rule by rule.
    fn adopt(
        &self,
        group: Arc<Group>,
        previous: Option<&Running>,
        now_ms: i64,
        out: &mut Evaluation,
    ) -> Running {
        let mut state = GroupState { done_ms: now_ms, ..GroupState::default() };
        let mut left: Vec<(&Rule, RuleState)> = Vec::new();
        if let Some(previous) = previous {
            let taken = std::mem::take(&mut *previous.lock());
            state.done_ms = taken.done_ms;
            state.evaluated_ms = taken.evaluated_ms;
            state.duration_s = taken.duration_s;
            left = previous.group.rules.iter().zip(taken.rules).collect();
        }
        for rule in &group.rules {
            let same = left.iter().position(|(old, _)| rule_key(old) == rule_key(rule));
            state.rules.push(same.map_or_else(RuleState::default, |at| left.remove(at).1));
        }
        for (rule, gone) in left {
            self.end(rule, gone, now_ms, out);
        }
        Running { group, state: Mutex::new(state) }
    }

    /// What is left to say of a rule that is gone.
    fn end(&self, rule: &Rule, state: RuleState, now_ms: i64, out: &mut Evaluation) {
        for (_, alert) in state.alerts {
            if alert.state == State::Firing {
                let url = evaluate::generator_url(&self.options, &rule.expr);
                out.notifications.push(alert.resolved(now_ms, url));
            }
        }
        for labels in state.series {
            out.push(labels, now_ms, stale_marker());
        }
    }

    /// The groups whose slot has come by `now_ms`, each with its latest slot: slots that were
    /// missed are not made up for.
    pub fn due(&self, now_ms: i64) -> Vec<Due> {
        let due = |running: &Arc<Running>| {
            let time_ms = slot(&running.group, now_ms);
            let done_ms = running.done_ms(now_ms);
            (time_ms > done_ms).then(|| Due { time_ms, group: running.clone() })
        };
        self.read().iter().filter_map(due).collect()
    }

    /// When the next group is due, seen from `now_ms`; `None` without groups.
    pub fn next_due_ms(&self, now_ms: i64) -> Option<i64> {
        let next = |running: &Arc<Running>| {
            let from_ms = now_ms.max(running.done_ms(now_ms));
            slot(&running.group, from_ms).saturating_add(running.group.interval_ms)
        };
        self.read().iter().map(next).min()
    }

    /// Evaluates the rules of a group in order. A rule that fails keeps its state and says so in
    /// the views; the others go on.
    pub fn evaluate(&self, due: &Due, engine: &Engine, source: &dyn Source) -> Evaluation {
        let started = Instant::now();
        let mut out = Evaluation::default();
        let group = &due.group.group;
        for (at, rule) in group.rules.iter().enumerate() {
            let started = Instant::now();
            let context = evaluate::Context {
                engine,
                source,
                options: &self.options,
                time_ms: due.time_ms,
                query_ms: due.time_ms - group.query_offset_ms,
                limit: group.limit,
            };
            let found = context.query(rule);
            let mut state = due.group.lock();
            let Some(state) = state.rules.get_mut(at) else { break };
            let outcome = found.and_then(|found| context.apply(rule, found, state, &mut out));
            state.error = outcome.err();
            state.evaluated_ms = Some(due.time_ms);
            state.duration_s = started.elapsed().as_secs_f64();
            if let Some(error) = &state.error {
                tracing::warn!(group = group.name, rule = rule.name, error, "rule failed");
            }
        }
        let mut state = due.group.lock();
        state.done_ms = due.time_ms;
        state.evaluated_ms = Some(due.time_ms);
        state.duration_s = started.elapsed().as_secs_f64();
        out
    }

    /// The alerts as they are to be kept.
    pub fn snapshot(&self) -> Snapshot {
        snapshot::take(&self.read())
    }

    /// Puts a kept state back, right after [`Manager::new`]. Alerts whose rule is gone are
    /// resolved: what to write and whom to tell of that is returned.
    pub fn restore(&self, snapshot: Snapshot, now_ms: i64) -> Evaluation {
        snapshot::put(&self.read(), snapshot, &self.options, now_ms)
    }

    /// Takes the time in which nobody looked off what pending alerts have waited, right after
    /// [`Manager::restore`]: whether their condition held then, nobody knows. `source` has the
    /// samples that say when they were last seen; those not seen for an hour begin anew, and so do
    /// all when it cannot be asked.
    pub fn discount_absence(&self, source: &dyn Source, now_ms: i64) -> Result<(), SourceError> {
        snapshot::discount(&self.read(), source, now_ms)
    }

    /// What `/api/v1/rules` answers.
    pub fn rules_view(&self, filter: &RulesFilter) -> RulesView {
        let groups = self.read();
        let views = groups.iter().filter_map(|running| group_view(running, filter));
        let mut groups: Vec<GroupView> = views.collect();
        groups.sort_by(|a, b| (&a.file, &a.name).cmp(&(&b.file, &b.name)));
        RulesView { groups, next_token: None }
    }

    /// What `/api/v1/alerts` answers.
    pub fn alerts_view(&self) -> AlertsView {
        let mut alerts = Vec::new();
        for running in self.read().iter() {
            for state in &running.lock().rules {
                alerts.extend(state.alerts.values().map(Alert::view));
            }
        }
        AlertsView { alerts }
    }

    /// The number of rules whose last evaluation failed.
    pub fn failing_len(&self) -> usize {
        let failing = |running: &Arc<Running>| {
            running.lock().rules.iter().filter(|rule| rule.error.is_some()).count()
        };
        self.read().iter().map(failing).sum()
    }

    /// The number of pending and of firing alerts.
    pub fn alerts_len(&self) -> (usize, usize) {
        let mut counts = (0, 0);
        for running in self.read().iter() {
            for alert in running.lock().rules.iter().flat_map(|rule| rule.alerts.values()) {
                match alert.state {
                    State::Pending => counts.0 += 1,
                    State::Firing => counts.1 += 1,
                }
            }
        }
        counts
    }

    /// The present groups; short, so that nothing waits for a reload.
    fn read(&self) -> Vec<Arc<Running>> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The latest slot of a group at or before `now_ms`. Groups of one interval are spread over it, so
/// that they are not all evaluated at once; the place in it depends on nothing but the name.
fn slot(group: &Group, now_ms: i64) -> i64 {
    let interval = group.interval_ms.max(1);
    let hash = fnv([group.file.as_str(), group.name.as_str()]);
    let offset = i64::try_from(hash % interval.unsigned_abs()).unwrap_or(0);
    now_ms - (now_ms - offset).rem_euclid(interval)
}

/// What makes two rules of a group the same one, across reloads and restarts.
fn rule_key(rule: &Rule) -> String {
    use std::fmt::Write;

    let mut key = rule.name.clone();
    match &rule.kind {
        RuleKind::Record { labels } => {
            let _ = write!(key, " record {labels}");
        }
        RuleKind::Alert(alert) => {
            key.push_str(" alert");
            for (name, template) in &alert.labels {
                let _ = write!(key, " {name}={:?}", template.source());
            }
        }
    }
    key
}

fn group_view(running: &Running, filter: &RulesFilter) -> Option<GroupView> {
    let group = &running.group;
    let wanted = |list: &[String], name: &String| list.is_empty() || list.contains(name);
    if !wanted(&filter.rule_groups, &group.name) || !wanted(&filter.files, &group.file) {
        return None;
    }
    let state = running.lock();
    let rules = group.rules.iter().zip(&state.rules);
    let rules = rules.filter(|(rule, _)| wanted(&filter.rule_names, &rule.name));
    let rules: Vec<RuleView> = rules.filter_map(|(rule, state)| state.view(rule, filter)).collect();
    if rules.is_empty() {
        return None;
    }
    Some(GroupView {
        name: group.name.clone(),
        file: group.file.clone(),
        rules,
        interval: views::seconds(group.interval_ms),
        limit: group.limit,
        evaluation_time: state.duration_s,
        last_evaluation: state.evaluated_ms.map_or_else(|| views::NEVER.to_owned(), views::rfc3339),
    })
}

impl RuleState {
    fn view(&self, rule: &Rule, filter: &RulesFilter) -> Option<RuleView> {
        let health = match (&self.error, self.evaluated_ms) {
            (Some(_), _) => "err",
            (None, Some(_)) => "ok",
            (None, None) => "unknown",
        };
        let last_evaluation =
            self.evaluated_ms.map_or_else(|| views::NEVER.to_owned(), views::rfc3339);
        match (&rule.kind, filter.kind) {
            (RuleKind::Alert(alert), None | Some(views::KindFilter::Alerting)) => {
                let sources = alert.labels.iter().map(|(name, t)| (name.as_str(), t.source()));
                if !filter.takes(sources) {
                    return None;
                }
                let texts = |list: &[(String, crate::template::Template)]| {
                    list.iter().map(|(name, t)| (name.clone(), t.source().to_owned())).collect()
                };
                let most_urgent = self.alerts.values().map(|alert| alert.state).max();
                let alerts: Vec<AlertView> = self.alerts.values().map(Alert::view).collect();
                Some(RuleView::Alerting(views::AlertingRuleView {
                    state: most_urgent.map_or("inactive", State::as_str),
                    name: rule.name.clone(),
                    query: rule.expr.clone(),
                    duration: views::seconds(alert.for_ms),
                    keep_firing_for: views::seconds(alert.keep_firing_for_ms),
                    labels: texts(&alert.labels),
                    annotations: texts(&alert.annotations),
                    alerts: if filter.exclude_alerts { Vec::new() } else { alerts },
                    health,
                    last_error: self.error.clone(),
                    evaluation_time: self.duration_s,
                    last_evaluation,
                }))
            }
            (RuleKind::Record { labels }, None | Some(views::KindFilter::Recording)) => {
                if !filter.takes(labels.iter()) {
                    return None;
                }
                Some(RuleView::Recording(views::RecordingRuleView {
                    name: rule.name.clone(),
                    query: rule.expr.clone(),
                    labels: labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
                    health,
                    last_error: self.error.clone(),
                    evaluation_time: self.duration_s,
                    last_evaluation,
                }))
            }
            _ => None,
        }
    }
}
