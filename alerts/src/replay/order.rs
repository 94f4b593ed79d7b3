//! Which rules of a set have to be evaluated for its alerts, and in which order. Pure.

use std::collections::{BTreeMap, BTreeSet};

use labstat_model::{METRIC_NAME, Matcher};

use super::Replaying;
use crate::rules::may_select;

/// What an alert reads that is taken as the past has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// A metric that is recorded from itself.
    Circular,
    /// What the rules say of their own alerts.
    Alerts,
}

/// The rules of a set, in order.
pub(super) struct Ordered<'a, E> {
    /// The recording rules that any alert needs, each after those that it needs itself; and the alerts.
    pub(super) rules: Vec<Replaying<'a, E>>,
    /// Metrics that are taken as the past has them, and alerts that read of alerts.
    pub(super) taken: Vec<(&'a str, Taken)>,
}

/// Puts rules in order.
pub(super) fn in_order<'a, E>(all: Vec<Replaying<'a, E>>) -> Ordered<'a, E> {
    let (mut records, alerts): (Vec<_>, Vec<_>) = all.into_iter().partition(Replaying::is_record);
    let mut reads = needed(&records, &alerts);
    let circular = circular(reads.clone());
    reads.retain(|name, _| !circular.contains(name));
    let mut rules = Vec::new();
    while let Some(name) = next(&reads, &circular) {
        reads.remove(name);
        for read in reads.values_mut() {
            read.remove(name);
        }
        rules.extend(records.extract_if(.., |record| record.name() == name));
    }
    rules.extend(alerts);
    let of_alerts = rules.iter().filter(|rule| rule.reads_alerts());
    let of_alerts = of_alerts.map(|rule| (rule.name(), Taken::Alerts));
    let mut taken: Vec<_> = circular.iter().map(|name| (*name, Taken::Circular)).collect();
    taken.extend(of_alerts);
    taken.dedup();
    Ordered { rules, taken }
}

/// The names of records that any alert needs, each with those it needs.
fn needed<'a, E>(
    records: &[Replaying<'a, E>],
    alerts: &[Replaying<'a, E>],
) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let names: BTreeSet<&str> = records.iter().map(Replaying::name).collect();
    let read_by = |rule: &Replaying<'a, E>| -> Vec<&'a str> {
        names.iter().filter(|name| rule.reads(name)).copied().collect()
    };
    let mut reads: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut new: Vec<&str> = alerts.iter().flat_map(read_by).collect();
    while let Some(name) = new.pop() {
        if reads.contains_key(name) {
            continue;
        }
        let own = records.iter().filter(|record| record.name() == name);
        let read: BTreeSet<&str> = own.flat_map(read_by).collect();
        new.extend(&read);
        reads.insert(name, read);
    }
    reads
}

/// The names that need themselves, directly or by others.
fn circular<'a>(mut reads: BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    loop {
        let read: BTreeSet<&str> = reads.values().flatten().copied().collect();
        let before = reads.len();
        let is_there: BTreeSet<&str> = reads.keys().copied().collect();
        reads.retain(|name, needs| read.contains(name) && !needs.is_disjoint(&is_there));
        if reads.len() == before {
            return reads.into_keys().collect();
        }
    }
}

/// A name that needs no other that is still to come.
fn next<'a>(
    reads: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    circular: &BTreeSet<&str>,
) -> Option<&'a str> {
    reads.iter().find(|(_, needs)| needs.is_subset(circular)).map(|(name, _)| *name)
}

/// How long before the time each rule of an ordered list is to be evaluated first, so that what looks back on
/// it finds it from the start.
pub(super) fn backs_ms<E>(rules: &[Replaying<'_, E>], reaches_ms: &[i64]) -> Vec<i64> {
    let mut backs_ms = vec![0; rules.len()];
    for (at, record) in rules.iter().enumerate().rev().filter(|(_, rule)| rule.is_record()) {
        let later = rules.iter().zip(reaches_ms).zip(&backs_ms).skip(at + 1);
        let readers = later.filter(|((rule, _), _)| rule.reads(record.name()));
        let back_ms = readers
            .map(|((_, reach_ms), back_ms): ((_, &i64), &i64)| reach_ms.saturating_add(*back_ms));
        backs_ms[at] = back_ms.max().unwrap_or(0);
    }
    backs_ms
}

/// Whether selectors ask for what rules say of their alerts, by name.
pub(super) fn asks_for_alerts(selectors: &[Vec<Matcher>]) -> bool {
    selectors.iter().any(|matchers| {
        let is_named = matchers.iter().any(|m| m.name() == METRIC_NAME);
        is_named && ["ALERTS", "ALERTS_FOR_STATE"].iter().any(|name| may_select(matchers, name))
    })
}
