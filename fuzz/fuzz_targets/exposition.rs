//! Any bytes in the place of a script's file of metrics, or of what systemctl prints, give values
//! or an error.
#![no_main]

use labstat_parse::{exposition, systemctl};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(found) = exposition::parse(bytes) {
        assert!(found.samples.iter().all(|sample| sample.family < found.families.len()));
    }
    let text = String::from_utf8_lossy(bytes);
    systemctl::units(&text).for_each(drop);
    let _ = systemctl::property(&text, "Version");
});
