//! Any text gives answers or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = labstat_parse::nut::parse(text);
});
