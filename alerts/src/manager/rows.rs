//! The alerts as they are kept: one row of the ledger for each alert that is pending or fires,
//! written when it has come further, taken away when it is over.
//!
//! Values and texts change with nearly every evaluation, and the next one finds them anew: a row has
//! those of the time when the alert came this far. The layout is in `docs/formats/alert-state.md`.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::awaited::{Awaited, is_unread};
use super::evaluate::alert_series;
use super::group::Running;
use super::prepare::Prepared;
use super::state::{Alert, State};
use super::{Evaluation, Manager};
use crate::hash::fnv;
use crate::ledger::Entry;
use crate::rules::{Group, Rule, RuleKind};

/// What the keys of all rows begin with.
pub const PREFIX: &str = "rule/";

/// The version of a row's form; one of another version is not read.
const VERSION: u32 = 1;

/// One alert of one rule.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Row {
    version: u32,
    pub(super) file: String,
    pub(super) group: String,
    /// What makes the rule the same one: name, kind, labels.
    pub(super) rule: String,
    /// How many rules of the same file, group and key stand before it.
    pub(super) nth: usize,
    pub(super) expr: String,
    pub(super) alert: Alert,
    /// Whether the ledger has it as it was before.
    #[serde(skip)]
    pub(super) is_changed: bool,
}

impl Row {
    /// The row of an alert of a rule (its key, how many of the same key stand before it, its
    /// expression) of a group (its file and name).
    pub(super) fn new(
        (file, group): (&str, &str),
        (rule, nth, expr): (&str, usize, &str),
        alert: Alert,
    ) -> Self {
        let [file, group, rule, expr] = [file, group, rule, expr].map(str::to_owned);
        Self { version: VERSION, file, group, rule, nth, expr, alert, is_changed: false }
    }
}

/// What the keys of a rule's rows begin with.
pub(super) fn prefix(file: &str, group: &str, key: &str, nth: usize) -> String {
    format!("{PREFIX}{:016x}/{:016x}.{nth}/", fnv([file, group]), fnv([key]))
}

/// The key of an alert's row.
pub(super) fn key(prepared: &Prepared, alert: &Alert) -> String {
    format!("{}{}", prepared.row_prefix, alert.fingerprint())
}

/// The row of an alert, to be written.
pub(super) fn put(group: &Group, rule: &Rule, prepared: &Prepared, alert: &Alert) -> Entry {
    let key = key(prepared, alert);
    let of_rule = (prepared.key.as_str(), prepared.nth, rule.expr.as_str());
    let row = Row::new((&group.file, &group.name), of_rule, alert.clone());
    match serde_json::to_vec(&row) {
        Ok(value) => Entry::put(key, value),
        // Texts and whole numbers can always be written as JSON.
        Err(_) => Entry::delete(key),
    }
}

/// See [`Manager::restore`].
pub(super) fn restore(
    manager: &Manager,
    rows: Vec<(String, Vec<u8>)>,
    unread: &[PathBuf],
    now_ms: i64,
) -> Evaluation {
    let mut out = Evaluation::default();
    let mut awaited = Vec::new();
    let groups = manager.read();
    for (key, value) in rows {
        let row = serde_json::from_slice::<Row>(&value);
        if let Ok(row) = &row
            && row.version == VERSION
        {
            manager.take_back([&row.alert].into_iter());
        }
        match row {
            Ok(row) if row.version == VERSION && is_unread(&row.file, unread) => {
                awaited.push(Awaited::new(key, row));
            }
            Ok(row) if row.version == VERSION => {
                place(manager, &groups, &key, row, now_ms, &mut out);
            }
            Ok(row) => {
                let version = row.version;
                tracing::error!(key, version, "a kept alert is of a form that is not known");
            }
            Err(error) => {
                tracing::error!(key, %error, "a kept alert cannot be read and is forgotten");
                out.entries.push(Entry::delete(key));
            }
        }
    }
    *manager.awaited() = awaited;
    manager.count_alerts();
    out
}

/// The rule that a row is of. It may have been moved to another group, as it is, while nobody looked.
pub(super) fn home<'g>(groups: &'g [Arc<Running>], row: &Row) -> Option<(&'g Running, usize)> {
    let in_group = |r: &&Arc<Running>| r.group.file == row.file && r.group.name == row.group;
    let home = groups.iter().find(in_group).and_then(|r| Some((&**r, r.home(row)?)));
    home.or_else(|| groups.iter().find_map(|r| Some((&**r, r.twin(row)?))))
}

/// Gives an alert, which counts as held by a rule, to the rule it belongs to, or ends it when there is
/// none.
pub(super) fn place(
    manager: &Manager,
    groups: &[Arc<Running>],
    kept_as: &str,
    row: Row,
    now_ms: i64,
    out: &mut Evaluation,
) {
    let home = home(groups, &row);
    let rule = home.and_then(|(running, at)| {
        Some((running, at, running.group.rules.get(at)?, running.prepared.get(at)?))
    });
    let Some((running, at, rule, prepared)) = rule else {
        let (active, since) = alert_series(&row.alert);
        out.push(active, now_ms, labstat_model::stale_marker());
        out.push(since, now_ms, labstat_model::stale_marker());
        if row.alert.state == State::Firing {
            let url = super::evaluate::generator_url(&manager.options, &row.expr);
            manager.tell(row.alert.resolved(now_ms, url), out);
        }
        out.entries.push(Entry::delete(kept_as));
        return;
    };
    let placed = put(&running.group, rule, prepared, &row.alert);
    let is_moved = placed.key != kept_as;
    let mut group = running.lock();
    let Some(state) = group.rules.get_mut(at) else { return };
    let labels = row.alert.label_set();
    // One that the rule has come to by itself, as far or further, stays.
    let is_known = state.alerts.get(&labels).is_some_and(|own| own.state >= row.alert.state);
    if is_moved {
        out.entries.push(Entry::delete(kept_as));
    }
    if is_known {
        manager.let_go([&row.alert].into_iter());
        return;
    }
    if is_moved || row.is_changed {
        out.entries.push(placed);
    }
    let (active, since) = alert_series(&row.alert);
    state.series.extend([active, since]);
    let replaced = state.alerts.insert(labels, row.alert);
    manager.let_go(replaced.iter());
    state.has_old_texts = true;
}

impl Running {
    /// The rule that a row is of: of several that share name and labels, the one with the same
    /// expression, and of these the one at the same place.
    fn home(&self, row: &Row) -> Option<usize> {
        let rules = self.group.rules.iter().zip(&self.prepared).enumerate();
        let same = rules.filter(|(_, (_, prepared))| prepared.key == row.rule);
        let likeness = |&(_, (rule, prepared)): &(usize, (&Rule, &Prepared))| {
            (rule.expr == row.expr, prepared.nth == row.nth)
        };
        // Of those that are equally alike the last; they do the same.
        same.max_by_key(likeness).map(|(at, _)| at)
    }

    /// How long a rule waits; one that records does not.
    pub(super) fn for_ms(&self, at: usize) -> i64 {
        match self.group.rules.get(at).map(|rule| &rule.kind) {
            Some(RuleKind::Alert(alert)) => alert.for_ms,
            Some(RuleKind::Record { .. }) | None => 0,
        }
    }

    /// A rule of the same name, labels and expression as a row's.
    fn twin(&self, row: &Row) -> Option<usize> {
        let mut rules = self.group.rules.iter().zip(&self.prepared);
        rules.position(|(rule, p)| p.key == row.rule && rule.expr == row.expr)
    }
}
