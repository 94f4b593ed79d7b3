//! Any frame gives JSON or an error, any JSON counters, any counter a metric's name.
#![no_main]

use labstat_parse::ceph;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    let _ = ceph::reply(frame);
    let Ok(text) = std::str::from_utf8(frame) else { return };
    let _ = ceph::perf_schema(text);
    for counter in ceph::perf_dump(text).unwrap_or_default() {
        ceph::metric_name(&counter.section, &counter.name);
    }
});
