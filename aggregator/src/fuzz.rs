//! Ways to the insides for fuzz targets. Not part of the API.

use std::collections::BTreeMap;

use labstat_model::{Labels, Sample, TimeSeries, WriteRequest};

use crate::disks;
use crate::http::v2;
use crate::inventory::{self, Inventory, Teller};
use crate::presence::Presence;

/// How often it is looked for silence, in milliseconds.
const INTERVAL_MS: i64 = 15_000;

/// Any body posted to `/api/v2/alerts` must be refused, or give alerts that are listed.
///
/// # Panics
///
/// When they are not, which is what a fuzzer looks for.
pub fn posted_alerts(body: &[u8], now_ms: i64) {
    v2::fuzz::alerts(body, now_ms);
}

/// Any body posted to `/api/v2/silences` must be refused, or give a silence that is listed.
///
/// # Panics
///
/// When it is not, which is what a fuzzer looks for.
pub fn posted_silence(body: &[u8], now_ms: i64) {
    v2::fuzz::silence(body, now_ms);
}

/// Any bytes must be no document of the store, or one that is written as the same again.
///
/// # Panics
///
/// When it is not, which is what a fuzzer looks for.
pub fn documents(bytes: &[u8], now_ms: i64) {
    disks::fuzz::document(bytes, now_ms);
    inventory(bytes, now_ms);
    presence(bytes, now_ms);
}

fn inventory(bytes: &[u8], now_ms: i64) {
    let mut known = Inventory::restore(Some(bytes));
    let written = known.snapshot();
    assert_eq!(Inventory::restore(Some(&written)).snapshot(), written);
    known.look(&[], &BTreeMap::new(), INTERVAL_MS, now_ms);
    drop(known.snapshot());
}

fn presence(bytes: &[u8], now_ms: i64) {
    let mut known = Presence::restore(Some(bytes), now_ms);
    let written = known.snapshot();
    assert_eq!(Presence::restore(Some(&written), now_ms).snapshot(), written);
    let names: Vec<String> = known.nodes().into_iter().map(|node| node.name).collect();
    for (at, name) in (0..).zip(&names) {
        let time_ms = now_ms.saturating_add(at * INTERVAL_MS);
        let labels = Labels::new([("__name__", "node_load1"), ("instance", name)]);
        let samples = vec![Sample { time_ms, value: 1.0 }];
        let write =
            WriteRequest { series: vec![TimeSeries { labels, samples }], metadata: Vec::new() };
        known.observe(&write, time_ms);
        known.observe_refused(&write, time_ms);
        known.look(time_ms, INTERVAL_MS);
        known.tick(time_ms);
    }
    let nodes = known.nodes();
    let tellers: BTreeMap<String, Teller> =
        nodes.iter().map(|node| (node.name.clone(), Teller::from(node))).collect();
    inventory::from_ms(&tellers, now_ms);
    Inventory::default().look(&[], &tellers, INTERVAL_MS, now_ms);
    assert!(names.iter().all(|name| known.forget(name)), "who is known can be forgotten");
}
