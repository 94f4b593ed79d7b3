//! Any bytes give a report that prints as JSON on one line.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let line = labstat_parse::smartctl::to_json(input);
    assert!(!line.contains('\n'));
    serde_json::from_str::<serde_json::Value>(&line).expect("BUG: what is printed is JSON");
    labstat_parse::smartctl::parse(input);
});
