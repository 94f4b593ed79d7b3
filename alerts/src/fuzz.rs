//! Ways to the insides for fuzz targets. Not part of the API.

#![expect(clippy::expect_used, reason = "a panic is what a fuzzer looks for")]

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use labstat_promql::Engine;

use crate::delivery;
use crate::ledger::Entry;
use crate::manager::{Manager, ManagerOptions, ROW_PREFIX};
use crate::manners::{AlertsFilter, Manners, MannersConfig, MannersSpec, Recipient};
use crate::rules::RuleSet;
use crate::views::RulesFilter;
use crate::{template, testing};

/// Times at which what was restored is looked after.
const LOOKS: usize = 20;

/// A rule that the rows of a target may be of.
const RULES: &str = "groups: [{name: g, rules: [{alert: A, expr: vector(1), for: 1m}]}]";

/// Any text must be refused or read as a series of a test of rules, and what was read must be
/// written as the same again.
///
/// # Panics
///
/// When it is not, which is what a fuzzer looks for.
pub fn series_notation(text: &str) {
    testing::fuzz::series(text);
}

/// Any text must be refused or run as a file of tests of the rules of another, with the same verdict
/// each time.
///
/// # Panics
///
/// When it is not, which is what a fuzzer looks for.
pub fn rule_tests(tests: &str, rules: &str) {
    testing::fuzz::file(tests, rules);
}

/// Any text must be refused or give a bounded text, as a template of a part of a message.
///
/// # Panics
///
/// When it does not, which is what a fuzzer looks for.
pub fn message_template(text: &str) {
    template::fuzz::message(text);
}

/// Any rows must be refused or taken for the state of the alerts, and what comes of them must be kept as
/// the same again.
///
/// # Panics
///
/// When it is not, which is what a fuzzer looks for.
pub fn kept_rows(rows: &[(String, Vec<u8>)], now_ms: i64) {
    delivery::fuzz::queue(rows.to_vec(), now_ms);
    rules(rows.to_vec(), now_ms);
    manners(rows.to_vec(), now_ms);
}

fn rules(mut rows: Vec<(String, Vec<u8>)>, now_ms: i64) {
    rows.retain(|(key, _)| key.starts_with(ROW_PREFIX));
    let set = RuleSet::parse(&[("r.yml", RULES)]).expect("BUG: the rules are sound");
    let manager = Manager::new(set, ManagerOptions::default(), now_ms);
    let restored = manager.restore(rows, &["u.yml".into()], now_ms);
    let firing = manager.alerts_len().1;
    assert!(manager.firing(|_| true).len() <= firing, "an alert is told once");
    drop((restored, manager.rules_view(&RulesFilter::default()), manager.alerts_view()));
    let nothing = testing::fuzz::nothing();
    for due in manager.all_at(now_ms.saturating_add(60_000)) {
        manager.evaluate(&due, &Engine::default(), &nothing);
    }
}

fn config() -> MannersConfig {
    let recipients = [Recipient::new("phone", true), Recipient::new("mail", false)];
    MannersSpec::default().build(&recipients, &TimeZone::UTC).expect("BUG: the default is sound")
}

fn manners(rows: Vec<(String, Vec<u8>)>, now_ms: i64) {
    let mut kept: BTreeMap<String, Vec<u8>> = rows.iter().cloned().collect();
    let mut keep = |entries: Vec<Entry>| {
        for Entry { key, value } in entries {
            match value {
                Some(value) => drop(kept.insert(key, value)),
                None => drop(kept.remove(&key)),
            }
        }
    };
    let (mut manners, step) = Manners::new(config(), rows, now_ms);
    keep(step.entries);
    let mut time_ms = now_ms;
    for _ in 0..LOOKS {
        let Some(due_ms) = manners.next_due_ms(time_ms) else { break };
        time_ms = time_ms.max(due_ms.min(now_ms.saturating_add(i64::from(u32::MAX))));
        keep(manners.advance(time_ms).entries);
    }
    let filter = AlertsFilter::default();
    drop(manners.groups(&filter, time_ms));
    let (again, _) = Manners::new(config(), kept.into_iter().collect(), time_ms);
    let known = |manners: &Manners| -> Vec<_> {
        let all = manners.alerts(&filter, time_ms).into_iter();
        all.map(|status| (status.alert.labels, status.silenced_by, status.acknowledged)).collect()
    };
    assert_eq!(known(&manners), known(&again), "alerts are kept");
    assert_eq!(manners.silences(time_ms), again.silences(time_ms), "silences are kept");
}
