//! Figures of the evaluation of rules, under Prometheus' names, so that rules and dashboards made for
//! it work: `rule_group` is the file, a semicolon and the group's name.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use labstat_alerts::manager::GroupFigures;
use prometheus::{CounterVec, GaugeVec, Opts};

use super::{Make, opts, seconds};

/// How the rounds of each group fare.
#[derive(Debug)]
pub(crate) struct Groups {
    iterations: CounterVec,
    missed: CounterVec,
    evaluations: CounterVec,
    failures: CounterVec,
    rules_seconds: CounterVec,
    woken: CounterVec,
    interval: GaugeVec,
    last_duration: GaugeVec,
    last_rules: GaugeVec,
    last_samples: GaugeVec,
    last_time: GaugeVec,
    rules: GaugeVec,
    /// The groups there are figures of.
    known: Mutex<BTreeSet<String>>,
}

impl Groups {
    pub(super) fn new(make: &Make<'_>) -> prometheus::Result<Self> {
        let theirs = |name: &str, help: &str| Opts::new(name, help).namespace("prometheus");
        let counters = |opts| make.register(CounterVec::new(opts, &["rule_group"])?);
        let gauges =
            |name, help| make.register(GaugeVec::new(theirs(name, help), &["rule_group"])?);
        Ok(Self {
            iterations: counters(theirs(
                "rule_group_iterations_total",
                "Rounds of a rule group that were due, those missed included.",
            ))?,
            missed: counters(theirs(
                "rule_group_iterations_missed_total",
                "Rounds of a rule group that were missed.",
            ))?,
            evaluations: counters(theirs("rule_evaluations_total", "Rules evaluated."))?,
            failures: counters(theirs(
                "rule_evaluation_failures_total",
                "Rules whose evaluation failed.",
            ))?,
            rules_seconds: counters(opts(
                "rule_evaluation_seconds_total",
                "Time that evaluating the rules of a group took.",
            ))?,
            woken: counters(opts(
                "rule_group_woken_total",
                "Rounds of a rule group out of turn, for samples that cannot wait.",
            ))?,
            interval: gauges("rule_group_interval_seconds", "The interval of a rule group.")?,
            last_duration: gauges(
                "rule_group_last_duration_seconds",
                "Time the last round of a rule group took.",
            )?,
            last_rules: gauges(
                "rule_group_last_rule_duration_sum_seconds",
                "Time the rules of a group took together in its last round.",
            )?,
            last_samples: gauges(
                "rule_group_last_evaluation_samples",
                "Samples that the last round of a rule group gave.",
            )?,
            last_time: gauges(
                "rule_group_last_evaluation_timestamp_seconds",
                "The time of the last round of a rule group.",
            )?,
            rules: gauges("rule_group_rules", "Rules of a rule group.")?,
            known: Mutex::default(),
        })
    }

    /// Takes over the figures of all groups; those of groups that are gone go too.
    pub(crate) fn set(&self, groups: &[GroupFigures]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone = std::mem::take(&mut *known);
        for group in groups {
            let name = format!("{};{}", group.file, group.name);
            self.set_one(&name, group);
            gone.remove(&name);
            known.insert(name);
        }
        for name in &gone {
            for counter in self.counters() {
                let _not_there = counter.remove_label_values(&[name]);
            }
            for gauge in self.gauges() {
                let _not_there = gauge.remove_label_values(&[name]);
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    fn set_one(&self, name: &str, group: &GroupFigures) {
        let rounds = &group.rounds;
        let totals = [
            rounds.iterations as f64,
            rounds.missed as f64,
            rounds.evaluations as f64,
            rounds.failures as f64,
            rounds.rules_s,
            rounds.woken as f64,
        ];
        for (counter, total) in self.counters().into_iter().zip(totals) {
            let counter = counter.with_label_values(&[name]);
            // A group that is changed back may begin anew.
            if total < counter.get() {
                counter.reset();
            }
            counter.inc_by((total - counter.get()).max(0.0));
        }
        let values = [
            seconds(group.interval_ms),
            group.duration_s,
            rounds.last_rules_s,
            rounds.last_samples as f64,
            // As in Prometheus, which has none yet: the time Go calls zero.
            group.evaluated_ms.map_or(0.0, seconds),
            group.rules as f64,
        ];
        for (gauge, value) in self.gauges().into_iter().zip(values) {
            gauge.with_label_values(&[name]).set(value);
        }
    }

    fn counters(&self) -> [&CounterVec; 6] {
        [
            &self.iterations,
            &self.missed,
            &self.evaluations,
            &self.failures,
            &self.rules_seconds,
            &self.woken,
        ]
    }

    fn gauges(&self) -> [&GaugeVec; 6] {
        [
            &self.interval,
            &self.last_duration,
            &self.last_rules,
            &self.last_samples,
            &self.last_time,
            &self.rules,
        ]
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder, Registry, TextEncoder};

    use super::*;

    fn text(registry: &Registry) -> String {
        let mut out = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn groups_are_counted_by_prometheus_names_and_those_that_are_gone_are_not() {
        let registry = Registry::new();
        let groups = Groups::new(&Make(&registry)).unwrap();
        let mut figures = GroupFigures {
            file: "f.yml".to_owned(),
            name: "g".to_owned(),
            interval_ms: 15_000,
            rules: 3,
            evaluated_ms: Some(2_500),
            duration_s: 0.25,
            rounds: labstat_alerts::manager::Figures { iterations: 5, ..Default::default() },
        };
        groups.set(&[figures.clone()]);
        figures.rounds.iterations = 7;
        groups.set(&[figures.clone()]);
        let found = text(&registry);
        for line in [
            "prometheus_rule_group_iterations_total{rule_group=\"f.yml;g\"} 7",
            "prometheus_rule_group_iterations_missed_total{rule_group=\"f.yml;g\"} 0",
            "prometheus_rule_group_interval_seconds{rule_group=\"f.yml;g\"} 15",
            "prometheus_rule_group_last_evaluation_timestamp_seconds{rule_group=\"f.yml;g\"} 2.5",
            "prometheus_rule_group_rules{rule_group=\"f.yml;g\"} 3",
            "prometheus_rule_evaluations_total{rule_group=\"f.yml;g\"} 0",
        ] {
            assert!(found.lines().any(|has| has == line), "{line}\n{found}");
        }
        groups.set(&[]);
        assert_eq!(text(&registry), "");
    }
}
