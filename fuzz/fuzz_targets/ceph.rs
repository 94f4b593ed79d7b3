//! Any frame gives JSON or an error; any JSON gives a schema, a plan that reads what it was made of,
//! and answers; any name a metric's name.
#![no_main]

use labstat_parse::ceph::{self, Plan, Schema};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    let _ = ceph::reply(frame);
    let Ok(text) = std::str::from_utf8(frame) else { return };
    // Up to the first line is a schema, what follows are dumps by it.
    let (first, rest) = text.split_once('\n').unwrap_or(("", text));
    let schema = Schema::parse(first).ok();
    let mut values = Vec::new();
    for dump in rest.split('\n') {
        if let Ok(plan) = Plan::new(schema.as_ref(), dump) {
            assert_eq!(plan.read(dump, &mut values).ok(), Some(true));
            assert_eq!(values.len(), plan.series().len());
            let _ = plan.read(first, &mut values);
        }
    }
    let _ = ceph::mon_status(text);
    let _ = ceph::osd_state(text);
    let _ = ceph::ops_in_flight(text);
    let _ = ceph::blocked_ops(text);
    let _ = ceph::past_slow_ops(text);
    let _ = ceph::ops_older(text, 30.0);
    ceph::metric_name(first, rest);
});
