//! Any content of a shelf's row is refused or read, and what was read is written the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| labstat_store::fuzz::catalog(content));
