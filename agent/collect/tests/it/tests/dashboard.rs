//! The 229 metrics that the dashboard Node Exporter Full (grafana.com 1860) asks for, and which of
//! our collectors has each.
//!
//! `dashboard-1860.tsv` has a line for each: name, collector, kind. A collector's own fixtures must
//! give every metric that the list says it has, of that kind. `agent` stands for those that are of
//! the agent itself, which its own tests look for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use labstat_collect::{Options, ReplayHost, registry};
use labstat_model::{Batch, ManualClock};

const LIST: &str = include_str!("../../dashboard-1860.tsv");

/// Metrics that the dashboard asks for.
const COUNT: usize = 229;

/// Names and kinds that a collector gives for all its fixtures together.
fn given(collector: &str) -> BTreeMap<String, &'static str> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(collector);
    let entry = registry().iter().find(|entry| entry.name == collector).unwrap();
    let mut given = BTreeMap::new();
    for case in fs::read_dir(root).unwrap() {
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let host = ReplayHost::open(&case.unwrap().path(), clock).unwrap();
        let mut batch = Batch::new();
        // Damaged machines fail, and give nothing.
        if (entry.make)(&Options::default()).collect(&host, &mut batch).is_ok() {
            let families = batch.families().iter();
            given.extend(families.map(|family| (family.name.to_string(), family.kind.as_str())));
        }
    }
    given
}

#[test]
fn every_metric_of_the_dashboard_is_given_by_the_collector_that_the_list_names() {
    let rows: Vec<(&str, &str, &str)> = LIST
        .lines()
        .map(|line| {
            let mut fields = line.split('\t');
            let mut next = || fields.next().unwrap();
            (next(), next(), next())
        })
        .collect();
    let names: BTreeSet<&str> = rows.iter().map(|(name, ..)| *name).collect();
    assert_eq!((rows.len(), names.len()), (COUNT, COUNT), "one line for each");
    let collectors: BTreeSet<&str> = rows.iter().map(|(_, collector, _)| *collector).collect();
    let mut wrong = Vec::new();
    for collector in collectors.into_iter().filter(|collector| *collector != "agent") {
        let given = given(collector);
        for (name, _, kind) in rows.iter().filter(|row| row.1 == collector) {
            match given.get(*name) {
                Some(found) if found == kind => {}
                found => wrong.push(format!("{name}: {collector} gives {found:?}, not {kind}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
