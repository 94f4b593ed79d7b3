//! Any body posted to Alertmanager's API is refused, or gives alerts or a silence that are listed, kept,
//! and sound when they are posted again as they are listed.
#![no_main]

use labstat_aggregator::fuzz;
use libfuzzer_sys::fuzz_target;

/// In November of 2026.
const NOW_MS: i64 = 1_795_318_463_128;

fuzz_target!(|body: &[u8]| {
    fuzz::posted_alerts(body, NOW_MS);
    fuzz::posted_silence(body, NOW_MS);
});
