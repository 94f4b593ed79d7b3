//! Any rows of the store are refused or taken for the state of the alerts, and what comes of them is
//! kept as the same again. Each line is a key, a blank and a value.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;

/// In November of 2026.
const NOW_MS: i64 = 1_795_318_463_128;

fuzz_target!(|bytes: &[u8]| {
    let lines = bytes.split(|byte| *byte == b'\n');
    // Of a key there is one row.
    let rows: BTreeMap<String, Vec<u8>> = lines
        .filter_map(|line| {
            let end = line.iter().position(|byte| *byte == b' ')?;
            let (key, value) = line.split_at(end);
            Some((String::from_utf8_lossy(key).into_owned(), value[1..].to_vec()))
        })
        .collect();
    let rows: Vec<(String, Vec<u8>)> = rows.into_iter().collect();
    labstat_alerts::fuzz::kept_rows(&rows, NOW_MS);
});
