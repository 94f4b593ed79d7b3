//! The state machine of all rules: what is inactive, pending, firing, and since when.
//!
//! [`Manager`] knows no clock, no store and no network: it is given a time, an engine and a source,
//! and gives back what is to be written and who is to be told ([`Evaluation`]). Queries run without
//! a lock held, so that the views answer while a slow rule is evaluated.
//!
//! - [`state`]: one alerting rule's alerts, a pure step from one evaluation to the next.
//! - [`prepare`]: what is worked out of a rule once.
//! - [`evaluate`]: one rule's query, labels and samples.
//! - [`round`]: one evaluation of a group, rule by rule; [`overlay`] lets a rule see what those
//!   before it said.
//! - [`group`]: a group with the state of its rules, and whose turn it is.
//! - [`rows`]: the alerts as they are kept across a restart; [`awaited`]: those whose rules could not
//!   be read after it.
//! - [`holders`]: which alerts fire, whatever rule they are of.
//!
//! Who evaluates what, and when, is the [`crate::evaluator::Evaluator`]'s to say.

mod absence;
mod awaited;
mod evaluate;
mod group;
mod holders;
mod overlay;
#[cfg(test)]
mod peer_rules;
mod prepare;
mod round;
mod rows;
mod snapshot;
pub(crate) mod state;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unit_tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use labstat_model::{
    HistogramSample, HistogramTimeSeries, Labels, MixedRequest, Sample, TimeSeries, stale_marker,
};
use labstat_promql::{MixedValue, Source, SourceError};

use crate::ledger::Entry;
use crate::notification::Notification;
use crate::rules::{Group, Rule, RuleKind, RuleSet};
use crate::views::{self, AlertView, AlertsView, GroupView, RuleView, RulesFilter, RulesView};

use awaited::Awaited;
pub use evaluate::ALERTS_MAX;
pub(crate) use evaluate::push_escaped;
pub use group::Figures;
use group::{RuleState, Running};
use holders::Holders;
pub use overlay::merged;
pub use round::{Means, Round};
pub use rows::PREFIX as ROW_PREFIX;
pub use snapshot::{SNAPSHOT_VERSION, Snapshot};
pub use state::{Alert, State};

/// How long what people have said is gone stays so: every ordinary rule has its round in that time.
const GONE_MS: i64 = 10 * 60_000;

/// Things that are known to be gone, each named by somebody; of more, the oldest are dropped.
const GONE_LEN_MAX: usize = 1_000;

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
    pub write: MixedRequest,
    /// Alerts that began or ceased to fire.
    pub notifications: Vec<Notification>,
    /// Rows that say how far alerts have come, to be kept together with what follows from
    /// `notifications`; their keys begin with [`ROW_PREFIX`].
    pub entries: Vec<Entry>,
}

impl Evaluation {
    /// Whether there is nothing to write, nobody to tell and nothing to keep.
    pub fn is_empty(&self) -> bool {
        self.write.is_empty() && self.notifications.is_empty() && self.entries.is_empty()
    }

    /// Adds what another asks for after this one.
    pub fn append(&mut self, other: Self) {
        self.write.floats.series.extend(other.write.floats.series);
        self.write.floats.metadata.extend(other.write.floats.metadata);
        self.write.histograms.extend(other.write.histograms);
        self.notifications.extend(other.notifications);
        self.entries.extend(other.entries);
    }

    fn push(&mut self, labels: Labels, time_ms: i64, value: f64) {
        let samples = vec![Sample { time_ms, value }];
        self.write.floats.series.push(TimeSeries { labels, samples });
    }

    fn push_value(&mut self, labels: Labels, time_ms: i64, value: MixedValue) {
        match value {
            MixedValue::Number(value) => self.push(labels, time_ms, value),
            MixedValue::Histogram(histogram) => {
                let histogram = Ok(Arc::unwrap_or_clone(histogram));
                let samples = vec![HistogramSample { time_ms, histogram }];
                self.write.histograms.push(HistogramTimeSeries { labels, samples });
            }
        }
    }
}

/// A group that is due.
#[derive(Debug, Clone)]
pub struct Due {
    /// The group's slot: the time to evaluate it at.
    pub time_ms: i64,
    group: Arc<Running>,
    /// The metrics that woke it out of turn.
    woken: Option<Arc<BTreeSet<String>>>,
}

impl Due {
    /// The group.
    pub fn group(&self) -> &Group {
        &self.group.group
    }

    /// The metrics that woke it out of turn.
    pub fn metrics(&self) -> impl Iterator<Item = &String> {
        self.woken.iter().flat_map(|metrics| metrics.iter())
    }
}

/// All rules and the state of each.
#[derive(Debug, Default)]
pub struct Manager {
    options: ManagerOptions,
    groups: RwLock<Vec<Arc<Running>>>,
    /// Held while rules are put in place of others.
    reloading: Mutex<()>,
    /// Kept alerts of files that could not be read.
    awaited: Mutex<Vec<Awaited>>,
    /// How many alerts there are, pending and firing; about, while rules are put in place of others.
    alerts: AtomicI64,
    holders: Holders,
    /// Until then no alert is over: whoever would say that it goes on may not have been heard yet.
    hold_until_ms: AtomicI64,
    /// Instances whose samples are of the past, though they come now, each with the time until which
    /// that is to be believed.
    late: RwLock<Arc<BTreeMap<String, i64>>>,
    /// What people have said is gone for good, the newest last.
    gone: RwLock<Arc<Vec<Gone>>>,
}

/// Something that is gone for good.
#[derive(Debug, Clone)]
struct Gone {
    /// The labels of alerts about it.
    labels: BTreeMap<String, String>,
    /// Until when that is to be believed: it may come back.
    until_ms: i64,
}

impl Gone {
    /// Whether an alert that has ceased by `now_ms` was about this.
    fn is_about(&self, alert: &Alert, now_ms: i64) -> bool {
        let has = |(name, value): (&String, &String)| alert.labels.get(name) == Some(value);
        now_ms < self.until_ms && self.labels.iter().all(has)
    }
}

/// What a group of the past leaves behind.
struct Left {
    running: Arc<Running>,
    /// The states of its rules that no rule of the same group has taken over.
    rules: BTreeMap<usize, RuleState>,
}

impl Manager {
    /// The rules, all inactive. Groups are due from their first slot after `now_ms` on.
    pub fn new(rules: RuleSet, options: ManagerOptions, now_ms: i64) -> Self {
        let manager = Self { options, ..Self::default() };
        manager.hold_until_ms.store(i64::MIN, Ordering::Relaxed);
        manager.reload(rules, now_ms);
        manager
    }

    /// Puts `rules` in place of the present ones. Groups that are the same go on undisturbed; of the
    /// others, a round that goes on is ended and waited for. A rule of the same file, group, name
    /// and labels keeps its alerts, and so does one that was moved elsewhere as it was; alerts of
    /// rules that are gone are resolved. Kept alerts that waited for their files go to their rules.
    pub fn reload(&self, rules: RuleSet, now_ms: i64) -> Evaluation {
        let mut kept = Evaluation::default();
        self.reload_and(rules, now_ms, |out| kept = out);
        kept
    }

    /// As [`Manager::reload`]; what it comes to is given to `keep` before any of the new groups is
    /// evaluated, so that what these come to is kept after it.
    pub fn reload_and(&self, rules: RuleSet, now_ms: i64, keep: impl FnOnce(Evaluation)) {
        let _one = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut old: HashMap<(String, String), Arc<Running>> = HashMap::new();
        for running in self.read() {
            old.insert((running.group.file.clone(), running.group.name.clone()), running);
        }
        let mut out = Evaluation::default();
        let (mut groups, mut left) = (Vec::new(), Vec::new());
        for group in rules.groups {
            let previous = old.remove(&(group.file.clone(), group.name.clone()));
            match previous {
                Some(same) if same.shape == group::shape(&group) => groups.push(same),
                previous => {
                    let next = Running::new(group, &self.options, now_ms);
                    left.extend(previous.map(|previous| adopt(&next, previous, &mut out)));
                    groups.push(Arc::new(next));
                }
            }
        }
        left.extend(old.into_values().map(|gone| {
            gone.retire();
            let rules = std::mem::take(&mut gone.lock().rules);
            Left { running: gone, rules: (0..).zip(rules).collect() }
        }));
        for mut left in left {
            self.settle_left(&groups, &mut left, now_ms, &mut out);
        }
        for awaited in std::mem::take(&mut *self.awaited()) {
            awaited.place(self, &groups, now_ms, &mut out);
        }
        // A row that moved may have the key of another that did.
        out.entries.sort_by_key(|entry| entry.value.is_some());
        keep(out);
        *self.groups.write().unwrap_or_else(PoisonError::into_inner) = groups;
        self.count_alerts();
    }

    /// What is left to say of rules that are gone from their group: they were moved, or have ended.
    fn settle_left(
        &self,
        groups: &[Arc<Running>],
        left: &mut Left,
        now_ms: i64,
        out: &mut Evaluation,
    ) {
        for (at, state) in std::mem::take(&mut left.rules) {
            let (Some(rule), Some(prepared)) =
                (left.running.group.rules.get(at), left.running.prepared.get(at))
            else {
                continue;
            };
            out.entries.extend(
                state.alerts.values().map(|alert| Entry::delete(rows::key(prepared, alert))),
            );
            if let Some((running, at)) = new_home(groups, &left.running, rule, &prepared.key) {
                let replaced = hand_over(running, at, state, true, out);
                self.let_go(replaced.alerts.values());
                continue;
            }
            for alert in state.alerts.into_values().filter(|alert| alert.state == State::Firing) {
                self.tell(alert.resolved(now_ms, prepared.url.clone()), out);
            }
            for labels in state.series {
                out.push(labels, now_ms, stale_marker());
            }
        }
    }

    /// The groups whose slot has come by `now_ms`, each with its latest slot: slots that were
    /// missed are not made up for.
    pub fn due(&self, now_ms: i64) -> Vec<Due> {
        let due = |group: Arc<Running>| {
            group.due(now_ms).map(|time_ms| Due { time_ms, group, woken: None })
        };
        self.read().into_iter().filter_map(due).collect()
    }

    /// Every group, to be evaluated at `time_ms` whatever its slots are: for tests of rules.
    pub fn all_at(&self, time_ms: i64) -> Vec<Due> {
        let due = |group| Due { time_ms, group, woken: None };
        self.read().into_iter().map(due).collect()
    }

    /// The groups with alerts whose expressions name one of `metrics`, to be evaluated at `time_ms`.
    pub fn woken(&self, metrics: &Arc<BTreeSet<String>>, time_ms: i64) -> Vec<Due> {
        let names = |running: &Arc<Running>| {
            let mut rules = running.group.rules.iter().zip(&running.prepared);
            rules.any(|(rule, prepared)| {
                matches!(rule.kind, RuleKind::Alert(_)) && !metrics.is_disjoint(&prepared.metrics)
            })
        };
        let due = |group| Due { time_ms, group, woken: Some(metrics.clone()) };
        self.read().into_iter().filter(names).map(due).collect()
    }

    /// When the next group is due, seen from `now_ms`; `None` without groups.
    pub fn next_due_ms(&self, now_ms: i64) -> Option<i64> {
        self.read().iter().map(|running| running.next_due_ms(now_ms)).min()
    }

    /// Puts kept rows back, right after [`Manager::new`]. Alerts whose rule is gone are resolved:
    /// what to write, whom to tell and what to keep of that is returned. Those of files that are
    /// `unread`, or in a folder that is, stay as they are kept until the next reload.
    pub fn restore(
        &self,
        rows: Vec<(String, Vec<u8>)>,
        unread: &[PathBuf],
        now_ms: i64,
    ) -> Evaluation {
        rows::restore(self, rows, unread, now_ms)
    }

    /// Until `until_ms` no alert that is pending or fires is over, right after
    /// [`Manager::restore`]: after an absence, whoever would say that it goes on must be heard first.
    pub fn hold(&self, until_ms: i64) {
        self.hold_until_ms.store(until_ms, Ordering::Relaxed);
    }

    /// Instances that deliver samples of the past just now, each with the time until which that is to
    /// be believed: no alert of theirs begins.
    pub fn set_late(&self, instances: BTreeMap<String, i64>) {
        *self.late.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(instances);
    }

    fn late(&self) -> Arc<BTreeMap<String, i64>> {
        self.late.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What has `labels` is gone for good: an alert with all of them is over as soon as its expression
    /// says so, whatever `keep_firing_for` it has.
    pub fn forget(&self, labels: BTreeMap<String, String>, now_ms: i64) {
        let mut gone = self.gone.write().unwrap_or_else(PoisonError::into_inner);
        let kept = gone.iter().filter(|gone| gone.until_ms > now_ms).cloned();
        let mut kept: Vec<Gone> = kept.collect();
        let surplus = (kept.len() + 1).saturating_sub(GONE_LEN_MAX);
        kept.drain(..surplus);
        kept.push(Gone { labels, until_ms: now_ms.saturating_add(GONE_MS) });
        *gone = Arc::new(kept);
    }

    fn gone(&self) -> Arc<Vec<Gone>> {
        self.gone.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts that a rule has `after` alerts in place of `before`.
    fn recount(&self, before: usize, after: usize) {
        let len = |len: usize| i64::try_from(len).unwrap_or(i64::MAX);
        self.alerts.fetch_add(len(after) - len(before), Ordering::Relaxed);
    }

    fn count_alerts(&self) {
        let (pending, firing) = self.alerts_len();
        let len = i64::try_from(pending + firing).unwrap_or(i64::MAX);
        self.alerts.store(len, Ordering::Relaxed);
    }

    /// Takes the time in which nobody looked off what pending alerts have waited, right after
    /// [`Manager::restore`]: whether their condition held then, nobody knows. `source` has the
    /// samples that say when they were last seen; those not seen for an hour begin anew, and so do
    /// all when it cannot be asked, which is returned beside the rows that have changed. After an
    /// absence of more than five minutes, alerts that wait for ten minutes or longer fire no sooner
    /// than in ten minutes.
    pub fn discount_absence(
        &self,
        source: &dyn Source,
        now_ms: i64,
    ) -> (Vec<Entry>, Option<SourceError>) {
        let awaited = &mut *self.awaited();
        let (entries, failed) = absence::discount(&self.read(), awaited, source, now_ms);
        self.count_alerts();
        (entries, failed)
    }

    /// What the rounds of each group came to, by file and name.
    pub fn figures(&self) -> Vec<GroupFigures> {
        let of = |running: Arc<Running>| {
            let state = running.lock();
            GroupFigures {
                file: running.group.file.clone(),
                name: running.group.name.clone(),
                interval_ms: running.group.interval_ms,
                rules: running.group.rules.len(),
                evaluated_ms: state.evaluated_ms,
                duration_s: state.duration_s,
                rounds: state.figures,
            }
        };
        self.read().into_iter().map(of).collect()
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

    fn awaited(&self) -> MutexGuard<'_, Vec<Awaited>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn is_reloading(&self) -> bool {
        self.reloading.try_lock().is_err()
    }

    /// The present groups; short, so that nothing waits for a reload.
    fn read(&self) -> Vec<Arc<Running>> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the rounds of a group came to.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupFigures {
    /// The file it stands in.
    pub file: String,
    /// Its name.
    pub name: String,
    /// Time between rounds.
    pub interval_ms: i64,
    /// How many rules it has.
    pub rules: usize,
    /// The time of its last round.
    pub evaluated_ms: Option<i64>,
    /// Seconds its last round took.
    pub duration_s: f64,
    /// All its rounds.
    pub rounds: Figures,
}

/// Gives `next` the state of its predecessor, rule by rule; what no rule takes over is left.
fn adopt(next: &Running, previous: Arc<Running>, out: &mut Evaluation) -> Left {
    previous.retire();
    let mut state = next.lock();
    let mut taken = previous.lock();
    state.done_ms = taken.done_ms;
    state.evaluated_ms = taken.evaluated_ms;
    state.duration_s = taken.duration_s;
    state.figures = taken.figures;
    let mut rules: BTreeMap<usize, RuleState> =
        (0..).zip(std::mem::take(&mut taken.rules)).collect();
    drop((taken, state));
    let mut by_key: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, prepared) in previous.prepared.iter().enumerate() {
        by_key.entry(&prepared.key).or_default().push(at);
    }
    let mut takers: BTreeSet<usize> = (0..next.group.rules.len()).collect();
    // Of rules that share name and labels, first those whose expression is the same, too.
    for wants_expr in [true, false] {
        takers.retain(|&at| {
            let Some((rule, prepared)) = next.group.rules.get(at).zip(next.prepared.get(at)) else {
                return false;
            };
            let fits = |from: &&usize| {
                let old = previous.group.rules.get(**from);
                rules.contains_key(*from)
                    && (!wants_expr || old.is_some_and(|old| old.expr == rule.expr))
            };
            let found = by_key.get(&*prepared.key).and_then(|all| all.iter().find(fits)).copied();
            let Some((from, state)) = found.and_then(|from| Some((from, rules.remove(&from)?)))
            else {
                return true;
            };
            let old = previous.prepared.get(from);
            let moved = old.filter(|old| old.row_prefix != prepared.row_prefix);
            if let Some(old) = moved {
                let gone = state.alerts.values().map(|alert| Entry::delete(rows::key(old, alert)));
                out.entries.extend(gone);
            }
            // A group that is new has had no alerts of its own.
            let _ = hand_over(next, at, state, moved.is_some(), out);
            false
        });
    }
    drop(by_key);
    Left { running: previous, rules }
}

/// A rule to which one that is gone was moved, as it was.
fn new_home<'g>(
    groups: &'g [Arc<Running>],
    old: &Arc<Running>,
    rule: &Rule,
    key: &str,
) -> Option<(&'g Running, usize)> {
    let others = groups.iter().filter(|running| !Arc::ptr_eq(running, old));
    others.into_iter().find_map(|running| {
        let mut rules = running.group.rules.iter().zip(&running.prepared);
        let at = rules.position(|(r, p)| p.key == key && r.expr == rule.expr)?;
        let state = running.lock();
        let is_new = |own: &RuleState| own.evaluated_ms.is_none() && own.alerts.is_empty();
        state.rules.get(at).is_some_and(is_new).then_some((&**running, at))
    })
}

/// Gives a rule the state of another; with rows at their new place, where that is another. What it
/// had is given back.
fn hand_over(
    running: &Running,
    at: usize,
    state: RuleState,
    is_moved: bool,
    out: &mut Evaluation,
) -> RuleState {
    let rule = running.group.rules.get(at).zip(running.prepared.get(at));
    if let (true, Some((rule, prepared))) = (is_moved, rule) {
        let rows = state.alerts.values();
        out.entries.extend(rows.map(|alert| rows::put(&running.group, rule, prepared, alert)));
    }
    let state = RuleState { has_old_texts: true, ..state };
    running.lock().rules.get_mut(at).map(|own| std::mem::replace(own, state)).unwrap_or_default()
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
                if !filter.takes(labels.iter().map(|(n, v)| (n.as_str(), v.as_str()))) {
                    return None;
                }
                Some(RuleView::Recording(views::RecordingRuleView {
                    name: rule.name.clone(),
                    query: rule.expr.clone(),
                    labels: labels.iter().cloned().collect(),
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
