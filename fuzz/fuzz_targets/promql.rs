//! Any text is a query or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = labstat_promql::check(text);
    let _ = labstat_promql::selector(text);
});
