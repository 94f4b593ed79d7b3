//! Any answer to a remote read gives series or a reason.
#![no_main]

use labstat_wire::{remote_read, remote_write};
use libfuzzer_sys::fuzz_target;

/// Samples that an answer may have here.
const SAMPLES_MAX: usize = 1000;

fuzz_target!(|message: &[u8]| {
    let _ = remote_read::decode(message, SAMPLES_MAX);
    // Most bytes are no snappy block; a block of any bytes brings them to the decoder itself.
    let Ok(block) = remote_write::compress(message) else { return };
    let Ok(series) = remote_read::decode(&block, SAMPLES_MAX) else { return };
    let samples: usize = series.iter().map(|series| series.times.len()).sum();
    assert!(samples <= SAMPLES_MAX, "BUG: more samples than asked for");
    assert!(series.iter().all(|series| series.times.len() == series.values.len()));
});
