//! Any floats come back bit for bit, and any bytes are a column or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    labstat_store::fuzz::column(data);
    labstat_store::fuzz::column_bytes(data);
});
