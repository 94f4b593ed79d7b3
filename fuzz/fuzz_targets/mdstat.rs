//! Any text gives arrays or an error, on the machine and in a copy; and a copy of what can be read says
//! the same.
#![no_main]

use labstat_parse::mdstat;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let copy = mdstat::parse_copy(text.as_bytes());
    // What a terminal or a web page writes in another way is read as what was meant.
    let is_plain = |byte: u8| matches!(byte, b' '..=b'%' | b'\''..=b'~' | b'\t' | b'\n');
    if let Ok(found) = mdstat::parse(text)
        && text.bytes().all(is_plain)
    {
        let (arrays, _) = copy.expect("it is mdstat");
        assert_eq!(arrays.arrays.len(), found.arrays.len());
    }
});
