//! Which alerts fire, of all rules together. An alert is a set of labels: more than one rule may
//! find the same, and it is over when none of them does any more.
//!
//! The count is of what rules hold at this moment, in rounds that go on, too, and it stands in the
//! midst of a reload, when the alerts of a rule are on their way from one group to another.

use std::cell::LazyCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use labstat_model::Labels;

use super::group::Running;
use super::state::{Alert, State};
use super::{Evaluation, Manager};
use crate::notification::{Notification, Status};

/// How many rules hold each alert to fire, by its fingerprint. Alerts that none holds are left out.
#[derive(Debug, Default)]
pub(super) struct Holders(Mutex<HashMap<String, usize>>);

impl Holders {
    /// One more rule holds it.
    pub(super) fn add(&self, fingerprint: String) {
        *self.lock().entry(fingerprint).or_default() += 1;
    }

    /// A rule holds it no more.
    pub(super) fn remove(&self, fingerprint: &str) {
        let mut holders = self.lock();
        match holders.get_mut(fingerprint) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(holders.remove(fingerprint)),
        }
    }

    /// Whether any rule holds it.
    pub(super) fn has(&self, fingerprint: &str) -> bool {
        self.lock().contains_key(fingerprint)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All counts, to be held to what rules have.
    #[cfg(test)]
    pub(super) fn all(&self) -> HashMap<String, usize> {
        self.lock().clone()
    }
}

impl Manager {
    /// Says that a rule has come to hold an alert to fire, or holds it no more.
    pub(super) fn tell(&self, told: Notification, out: &mut Evaluation) {
        match told.status {
            Status::Firing => self.holders.add(told.fingerprint.clone()),
            Status::Resolved => self.holders.remove(&told.fingerprint),
        }
        out.notifications.push(told);
    }

    /// Alerts are taken back as a rule held them.
    pub(super) fn take_back<'a>(&self, alerts: impl Iterator<Item = &'a Alert>) {
        let firing = alerts.filter(|alert| alert.state == State::Firing);
        firing.for_each(|alert| self.holders.add(alert.fingerprint()));
    }

    /// Alerts of a rule are forgotten without a word.
    pub(super) fn let_go<'a>(&self, alerts: impl Iterator<Item = &'a Alert>) {
        let firing = alerts.filter(|alert| alert.state == State::Firing);
        firing.for_each(|alert| self.holders.remove(&alert.fingerprint()));
    }

    /// Whether any rule holds the alert of this fingerprint to fire.
    pub fn is_firing(&self, fingerprint: &str) -> bool {
        self.holders.has(fingerprint)
    }

    /// What rules hold to fire, those whose file could not be read included, of the alerts whose
    /// fingerprint is `wanted`; one that several rules hold is there for each. What a reload is
    /// moving at this moment is left out.
    pub fn firing(&self, wanted: impl Fn(&str) -> bool) -> Vec<Notification> {
        let is_wanted =
            |alert: &Alert| alert.state == State::Firing && wanted(&alert.fingerprint());
        let awaited = self.awaited();
        let awaited = awaited.iter().filter(|awaited| is_wanted(awaited.alert()));
        let mut found: Vec<Notification> =
            awaited.map(|awaited| awaited.firing(&self.options)).collect();
        for running in self.read() {
            let state = running.lock();
            for (rule, prepared) in state.rules.iter().zip(&running.prepared) {
                let firing = rule.alerts.values().filter(|alert| is_wanted(alert));
                found.extend(firing.map(|alert| alert.clone().firing(prepared.url.clone())));
            }
        }
        found
    }

    /// What these changes of single rules come to: an alert is over when no rule holds it to fire.
    /// In place of the end of one that another rule still holds stands what that one says of it.
    pub fn outcome(&self, changes: &[Notification]) -> Vec<Notification> {
        let groups = LazyCell::new(|| self.read());
        let named = LazyCell::new(|| by_name(&groups));
        let outcome = |change: &Notification| {
            let is_held = change.status == Status::Resolved && self.is_firing(&change.fingerprint);
            if is_held { held(change, &named) } else { Some(change.clone()) }
        };
        changes.iter().filter_map(outcome).collect()
    }
}

/// The rules of each name: their groups, and their places in them.
type Named<'a> = HashMap<&'a str, Vec<(&'a Running, usize)>>;

fn by_name(groups: &[Arc<Running>]) -> Named<'_> {
    let mut named = Named::new();
    for running in groups {
        for (at, rule) in running.group.rules.iter().enumerate() {
            named.entry(&rule.name).or_default().push((running, at));
        }
    }
    named
}

/// What a rule says that holds the alert of `change` to fire. Its name is that of the alert.
fn held(change: &Notification, named: &Named<'_>) -> Option<Notification> {
    let labels = change.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let labels = Labels::new(labels);
    named.get(change.name())?.iter().find_map(|(running, at)| {
        let state = running.lock();
        let alert = state.rules.get(*at)?.alerts.get(&labels)?;
        let url = running.prepared.get(*at)?.url.clone();
        (alert.state == State::Firing).then(|| alert.clone().firing(url))
    })
}
