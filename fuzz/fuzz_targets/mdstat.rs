//! Any text gives arrays or an error, on the machine and in a copy; and a copy of what can be read says
//! the same.
#![no_main]

use labstat_parse::mdstat;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let copy = mdstat::parse_copy(text.as_bytes());
    if let Ok(found) = mdstat::parse(text) {
        let (arrays, _) = copy.expect("it is mdstat");
        assert_eq!(arrays.arrays.len(), found.arrays.len());
    }
});
