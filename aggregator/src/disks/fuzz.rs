//! What a fuzzer looks for in the document of disks: what was read is written as the same again.

use super::document;
use super::registry::{Nodes, Registry};

/// How often disks are looked at, in milliseconds.
const INTERVAL_MS: i64 = 15_000;

/// Any bytes are no document, or disks that are written as the same, and can be looked at.
pub(crate) fn document(bytes: &[u8], now_ms: i64) {
    let disks = document::read(bytes);
    let written = document::write(&disks);
    let again = document::write(&document::read(&written));
    assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&written));
    let mut registry = Registry::with(disks, now_ms);
    let nodes = Nodes::from([("nas".to_owned(), false), ("gone".to_owned(), true)]);
    for look in 0..3 {
        registry.look(&[], &nodes, INTERVAL_MS, now_ms.saturating_add(look * INTERVAL_MS));
    }
    let _ = (registry.callings(), registry.counts());
    let names: Vec<String> = registry.shown().map(|disk| disk.place.to_string()).collect();
    for name in names {
        let _ = registry.acknowledge(&name, String::new(), now_ms);
        let _ = registry.forget(&name, now_ms);
    }
    document::write(&registry.disks);
}
