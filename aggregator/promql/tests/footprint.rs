//! How much memory a query takes that folds what it reads. Alone in its process, whose largest
//! size is what is measured.

mod made;

use labstat_promql::{Engine, Options, QueryError, QueryOptions, Value};
use made::Made;

const HOUR_MS: i64 = 3_600_000;

/// The largest size so far; `None` where the system does not tell.
fn peak_kib() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Ten thousand series of an hour are 38 MB of samples and 19 MB of columns; their twenty groups
/// are 77 KB.
#[test]
fn a_sum_holds_groups_and_not_series() {
    let source = Made::new(10_000, 15_000);
    let engine = Engine::new(Options { threads: 2, memory_max: 4 << 20, ..Options::default() });
    let range = |query: &str| {
        let (start_ms, end_ms) = (100 * HOUR_MS, 101 * HOUR_MS);
        engine.range(&source, query, start_ms, end_ms, 15_000, &QueryOptions::default())
    };
    range("sum by (instance) (rate(warm_total[20s]))").unwrap();
    let before = peak_kib();
    let answer = range("sum by (instance) (rate(x_total[5m]))").unwrap();
    let Value::Matrix(matrix) = answer.value else { panic!("a matrix") };
    assert_eq!((matrix.len(), matrix[0].len()), (20, 241));
    match (before, peak_kib()) {
        (Some(before), Some(after)) => {
            println!("{before} KiB before, {after} KiB after");
            assert!(after.saturating_sub(before) < 4_096, "{before} KiB before, {after} KiB after");
        }
        _ => println!("skipped: the system does not tell how much memory is taken"),
    }
    // The same series held as columns are more than this engine may hold.
    let held = range("rate(x_total[5m])");
    assert!(matches!(held, Err(QueryError::TooMuchMemory { .. })), "{:?}", held.err());
    // Whether there is any takes none of them.
    assert!(range("absent(rate(x_total[5m])) or vector(1)").is_ok());
    assert!(range("vector(scalar(rate(x_total[5m])))").is_ok());
    // What is the same at all steps is counted before it is repeated.
    let before = peak_kib();
    let held = engine.range(&source, "x @ 360000", 0, 11_000, 1, &QueryOptions::default());
    assert!(matches!(held, Err(QueryError::TooManySamples { .. })), "{:?}", held.err());
    if let (Some(before), Some(after)) = (before, peak_kib()) {
        assert!(after.saturating_sub(before) < 8_192, "{before} KiB before, {after} KiB after");
    }
    // Values that no label tells apart are not remembered one by one.
    let before = peak_kib();
    range("count_values without (id, le, v) (\"v\", x)").unwrap();
    if let (Some(before), Some(after)) = (before, peak_kib()) {
        assert!(after.saturating_sub(before) < 8_192, "{before} KiB before, {after} KiB after");
    }
    // Of a choice no more than what is chosen is held.
    assert!(range("limitk by (instance) (2, rate(x_total[5m]))").is_ok());
}
