//! Any text gives VLAN interfaces or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = labstat_parse::vlan::parse_config(text);
    let _ = labstat_parse::vlan::parse_detail(text);
});
