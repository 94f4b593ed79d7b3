//! Queries that ask for more than there is: each is refused before it has taken it.

use super::made::Made;
use labstat_promql::{Engine, Options, QueryError, QueryOptions};

const HOUR_MS: i64 = 3_600_000;

fn engine(memory_max: usize) -> Engine {
    Engine::new(Options { threads: 2, memory_max, ..Options::default() })
}

/// Fifty million times a value of a thousand letters is more memory than any machine has.
#[test]
fn a_short_query_does_not_make_a_long_label() {
    let replace = |inner: &str, times: usize| {
        format!("label_replace({inner}, \"a\", \"{}\", \"a\", \"(.*)\")", "$1".repeat(times))
    };
    let seed = format!("label_replace(vector(1), \"a\", \"{}\", \"\", \"\")", "x".repeat(1_000));
    let join = |inner: &str, times: usize| {
        format!("label_join({inner}, \"a\", \"\"{})", ", \"a\"".repeat(times))
    };
    for query in [
        replace(&replace(&seed, 1_000), 50_000),
        join(&join(&seed, 1_000), 20_000),
        // Each alone would do.
        (0..20).map(|at| replace(&seed, 5_000 + at)).collect::<Vec<_>>().join(" or "),
    ] {
        let answer =
            engine(64 << 20).instant(&Made::new(1, 15_000), &query, 0, &QueryOptions::default());
        assert!(matches!(answer, Err(QueryError::TooMuchMemory { .. })), "{:?}", answer.err());
    }
    let fits = replace(&replace(&seed, 100), 10);
    let answer =
        engine(64 << 20).instant(&Made::new(1, 15_000), &fits, 0, &QueryOptions::default());
    assert!(answer.is_ok(), "{:?}", answer.err());
}

/// What subqueries gave is let go when it has been counted.
#[test]
fn samples_are_counted_with_the_memory_that_evaluation_takes() {
    let source = Made::new(300, 15_000);
    let names = ["a", "b", "c", "d", "e", "f"].map(|x| format!("sum(sum_over_time({x}[2h:15s]))"));
    let query = names.join(" + ");
    let (engine, options) = (engine(3 << 20), QueryOptions::default());
    let (start_ms, end_ms) = (100 * HOUR_MS, 100 * HOUR_MS + 60_000);
    engine.range(&source, &query, start_ms, end_ms, 15_000, &options).unwrap();
    let counted = engine.samples(&source, &query, (start_ms, end_ms, 15_000), &options).unwrap();
    assert_eq!(counted.len(), 5);
}
