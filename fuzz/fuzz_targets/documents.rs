//! Any bytes are no document of the aggregator's store (disks, inventory, presence), or one that is
//! written as the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// In November of 2026.
const NOW_MS: i64 = 1_795_318_463_128;

fuzz_target!(|bytes: &[u8]| labstat_aggregator::fuzz::documents(bytes, NOW_MS));
