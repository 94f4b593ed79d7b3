//! Any bytes are a blob's directory and one of its parts, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| labstat_store::fuzz::blob(data));
