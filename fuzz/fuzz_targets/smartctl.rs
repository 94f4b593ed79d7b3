//! Any bytes give a report that prints as JSON on one line, and that JSON reads back as the same
//! report.
#![no_main]

use labstat_parse::smartctl;
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;

fuzz_target!(|input: &[u8]| {
    let line = smartctl::to_json(input);
    assert!(!line.contains('\n'));
    // What is passed on may hold numbers that no float does, which are JSON all the same.
    serde_json::from_str::<IgnoredAny>(&line).expect("BUG: what is printed is JSON");
    let report = smartctl::parse(input);
    // JSON is known by the program that made it or by the device it is about.
    if report.smartctl.is_some() || report.device.is_some() {
        assert_eq!(smartctl::parse(line.as_bytes()), report, "BUG: read back as another report");
    }
});
