//! Any text gives arrays or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = labstat_parse::mdstat::parse(text);
});
