//! A query that nobody waits for any more stops, whatever it is doing.
//!
//! Counted is the time its thread ran on after it was called off, so that other work on the
//! machine does not matter.

#![expect(clippy::unwrap_used, reason = "a test that fails may stop")]

mod made;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use labstat_promql::{Engine, Options, QueryError, QueryOptions};
use made::Made;

const HOUR_MS: i64 = 3_600_000;

/// How long a query may run on.
const RUN_ON_MAX: Duration = Duration::from_millis(100);

/// What a thread has run so far, in nanoseconds; `None` where the system does not tell.
fn ran_ns(thread: &str) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{thread}/schedstat")).ok()?;
    stat.split_whitespace().next()?.parse().ok()
}

fn this_thread() -> Option<String> {
    Some(std::fs::read_link("/proc/thread-self").ok()?.to_str()?.to_owned())
}

/// Runs a query and calls it off when its thread has run for `after_ns`: what it ran in all, what
/// it ran on, and the outcome.
fn run(source: &Made, query: &str, steps: i64, after_ns: u64) -> (u64, u64, Option<QueryError>) {
    let engine = Engine::new(Options { threads: 1, memory_max: 8 << 30, ..Options::default() });
    let (cancel, over) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(false));
    let options = QueryOptions { cancel: Some(Arc::clone(&cancel)), ..QueryOptions::default() };
    let thread = this_thread().unwrap();
    let begin = ran_ns(&thread).unwrap();
    let called_off = AtomicU64::new(u64::MAX);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let ran = ran_ns(&thread).unwrap();
                if ran - begin >= after_ns {
                    called_off.store(ran, Ordering::SeqCst);
                    cancel.store(true, Ordering::SeqCst);
                    return;
                }
                thread::yield_now();
            }
        });
        let start_ms = 100 * HOUR_MS;
        let outcome = if steps == 1 {
            engine.instant(source, query, start_ms, &options).map(drop)
        } else {
            let end_ms = start_ms + (steps - 1) * 15_000;
            engine.range(source, query, start_ms, end_ms, 15_000, &options).map(drop)
        };
        let end = ran_ns(&thread).unwrap();
        over.store(true, Ordering::Relaxed);
        let run_on = end.saturating_sub(called_off.load(Ordering::SeqCst));
        (end - begin, run_on, outcome.err())
    })
}

/// A median of a million medians, each of a million points: within all bounds but that of time.
#[test]
fn an_absurd_query_stops_at_its_time() {
    let source = Made::new(1, 15_000);
    let options = Options { samples_max: 10_000_000, ..Options::default() };
    let timeout = Some(Duration::from_millis(300));
    let options = (Engine::new(options), QueryOptions { timeout, ..QueryOptions::default() });
    for query in [
        "quantile_over_time(0.5, quantile_over_time(0.5, vector(time())[1000000s:1s])[1000000s:1s])",
        "mad_over_time(stddev_over_time(vector(time())[1000000s:1s])[1000000s:1s])",
    ] {
        let error = options.0.instant(&source, query, 0, &options.1).err();
        assert!(matches!(error, Some(QueryError::Timeout)), "{query}: {error:?}");
    }
    // Counting looks at no point, and is done long before.
    let query = "count_over_time(count_over_time(vector(1)[1000s:1s])[100000s:1s])";
    let answer = options.0.instant(&source, query, 0, &QueryOptions::default());
    assert!(answer.is_ok(), "{answer:?}");
}

#[test]
fn a_query_that_is_called_off_stops_wherever_it_is() {
    if this_thread().and_then(|thread| ran_ns(&thread)).is_none() {
        println!("skipped: the system does not tell how long a thread has run");
        return;
    }
    // All in one series.
    let nested =
        format!("count_over_time({}x % 7 > 1 {}[1000000s:1s])", "sin(".repeat(40), ")".repeat(40));
    // Series, steps, query.
    let heavy = [
        (1, 1, nested.as_str()),
        (30_000, 1, "sum(count_over_time(x[2h]))"),
        (2, 2_000, "quantile_over_time(0.5, x[6h])"),
        (2, 2_000, "stddev_over_time(x[6h])"),
        (10_000, 20, "x * on (id) y"),
        (10_000, 20, "x unless on (id) (y > 1e12)"),
        (60_000, 1, "sort(x)"),
        (40_000, 1, "sort_by_label(x, \"id\")"),
        (60_000, 1, "topk(50000, x)"),
        (2_000, 20, "count_values(\"v\", x)"),
        (100_000, 1, "label_replace(x, \"a\", \"$1\", \"id\", \"(.*)\")"),
        (20_000, 1, "label_replace(x, \"a\", \"$1\", \"id\", \"(([0-9]+)*)*(.?.?.?.?)*\")"),
        (20_000, 1, "label_join(x, \"a\", \"-\", \"id\", \"instance\", \"le\")"),
        (4_000, 40, "sum(max_over_time(x[10m:15s]))"),
        (400, 2, "max_over_time(deriv(rate(x[5m])[20m:15s])[20m:15s])"),
        (1, 1, "sum_over_time(sum_over_time(vector(time())[20000s:1s])[20000s:1s])"),
        (10_000, 20, "sum by (id) (x) / on (id) sum by (id) (x)"),
        (10_000, 20, "stddev by (instance) (x)"),
        (10_000, 20, "limitk(9000, x) or bottomk(3, x)"),
        (10_000, 20, "absent(x) or scalar(x) + x"),
        (10_000, 30, "quantile(0.5, x)"),
        (10_000, 20, "histogram_quantile(0.5, x)"),
        (20_000, 20, "x"),
    ];
    for (series, steps, query) in heavy {
        let source = Made::new(series, 15_000);
        let (whole_ns, _, error) = run(&source, query, steps, u64::MAX);
        assert!(error.is_none(), "{query}: {error:?}");
        let (mut longest, mut stopped) = (Duration::ZERO, 0);
        for tenth in [2, 6, 9] {
            let (_, run_on_ns, error) = run(&source, query, steps, whole_ns * tenth / 10);
            // One that was over a little sooner than the first time was not stopped.
            if let Some(error) = error {
                assert!(matches!(error, QueryError::Canceled), "{query}: {error:?}");
                stopped += 1;
                longest = longest.max(Duration::from_nanos(run_on_ns));
            }
        }
        println!("{whole_ns:>12} ns, ran on for at most {longest:?}: {query}");
        assert!(stopped > 0, "{query} is over before it can be called off");
        assert!(longest < RUN_ON_MAX, "{query} ran on for {longest:?}");
    }
}
