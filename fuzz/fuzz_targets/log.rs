//! Any record of the store's log gives samples or a reason; what was written is read the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| labstat_store::fuzz::log(data));
