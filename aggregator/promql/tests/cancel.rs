//! A query that nobody waits for any more stops, whatever it is doing.
//!
//! Counted is the time its thread ran on after it was called off, so that other work on the
//! machine does not matter.

#![expect(clippy::unwrap_used, reason = "a test that fails may stop")]

mod made;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use labstat_promql::{Engine, Options, QueryError, QueryOptions};
use made::Made;

const HOUR_MS: i64 = 3_600_000;

/// How long a query may run on: what is done of its answer is given back, too.
const RUN_ON_MAX: Duration = Duration::from_millis(100);

/// The same for a program that is not optimized, which takes several times as long for everything: a part of
/// the time that the whole query takes.
const RUN_ON_PART_MAX: u32 = 4;

/// What a query must take to be called off in its midst: times of threads go on by ticks of 4 ms.
const LONG_ENOUGH_NS: u64 = 150_000_000;

/// How much of a query's time may pass while it is called off: more, and who does so was held up.
const BLUR_MAX: Duration = Duration::from_millis(10);

/// How often one is called off until it is seen how it stops.
const ATTEMPTS_MAX: usize = 20;

/// What a thread has run so far, in nanoseconds; `None` where the system does not tell.
fn ran_ns(thread: &str) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{thread}/schedstat")).ok()?;
    stat.split_whitespace().next()?.parse().ok()
}

fn this_thread() -> Option<String> {
    Some(std::fs::read_link("/proc/thread-self").ok()?.to_str()?.to_owned())
}

/// How a query went.
struct Run {
    /// What its thread ran in all.
    whole_ns: u64,
    /// What it ran on after it was called off; `None` where it was over before, or where it is not known
    /// well enough.
    run_on: Option<Duration>,
    error: Option<QueryError>,
}

/// Runs a query and calls it off when its thread has run for `after_ns`.
fn run(source: &Made, query: &str, steps: i64, after_ns: u64) -> Run {
    let engine = Engine::new(Options { threads: 1, memory_max: 8 << 30, ..Options::default() });
    let (cancel, over) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(false));
    let options = QueryOptions { cancel: Some(Arc::clone(&cancel)), ..QueryOptions::default() };
    let thread = this_thread().unwrap();
    let begin = ran_ns(&thread).unwrap();
    thread::scope(|scope| {
        // What it had run just before it was called off, and just after.
        let caller = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let before = ran_ns(&thread).unwrap();
                if before - begin >= after_ns {
                    cancel.store(true, Ordering::SeqCst);
                    return Some((before, ran_ns(&thread).unwrap()));
                }
                thread::yield_now();
            }
            None
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
        let called_off = caller.join().unwrap();
        let run_on = called_off.and_then(|(before, after)| {
            let is_sharp = Duration::from_nanos(after.saturating_sub(before)) <= BLUR_MAX;
            (is_sharp && outcome.is_err()).then(|| Duration::from_nanos(end.saturating_sub(before)))
        });
        Run { whole_ns: end - begin, run_on, error: outcome.err() }
    })
}

/// How long a query may run on that takes so long in all.
fn run_on_max(whole_ns: u64) -> Duration {
    let part = Duration::from_nanos(whole_ns) / RUN_ON_PART_MAX;
    if cfg!(debug_assertions) { RUN_ON_MAX.max(part) } else { RUN_ON_MAX }
}

/// Calls a query off early, in its midst and late, over as many series as it takes to be at it for long
/// enough: what it takes in all, and how long it ran on at most.
fn called_off(query: &str, mut series: usize, steps: i64) -> (u64, Duration) {
    let (source, whole_ns) = loop {
        let source = Made::new(series, 15_000);
        let whole = run(&source, query, steps, u64::MAX);
        assert!(whole.error.is_none(), "{query}: {:?}", whole.error);
        if whole.whole_ns >= LONG_ENOUGH_NS {
            break (source, whole.whole_ns);
        }
        series *= 2;
        assert!(series < 1_000_000, "{query} is never at it for long");
    };
    let mut longest = None;
    for (attempt, tenth) in [2, 6, 9].into_iter().cycle().take(ATTEMPTS_MAX).enumerate() {
        if attempt >= 3 && longest.is_some() {
            break;
        }
        let run = run(&source, query, steps, whole_ns * tenth / 10);
        assert!(matches!(run.error, None | Some(QueryError::Canceled)), "{query}: {:?}", run.error);
        longest = longest.max(run.run_on);
    }
    assert!(longest.is_some(), "{query} was never seen to be called off");
    (whole_ns, longest.unwrap())
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
    // Series at least, steps, query.
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
        (1, 1, "sum_over_time(stddev_over_time(vector(time())[10000s:1s])[10000s:1s])"),
        (10_000, 20, "sum by (id) (x) / on (id) sum by (id) (x)"),
        (10_000, 20, "stddev by (instance) (x)"),
        (10_000, 20, "limitk(9000, x) or bottomk(3, x)"),
        (10_000, 20, "absent(x) or scalar(x) + x"),
        (10_000, 30, "quantile(0.5, x)"),
        (10_000, 20, "histogram_quantile(0.5, x)"),
        (20_000, 20, "x"),
    ];
    for (series, steps, query) in heavy {
        let (whole_ns, longest) = called_off(query, series, steps);
        println!("{whole_ns:>12} ns, ran on for at most {longest:?}: {query}");
        assert!(longest < run_on_max(whole_ns), "{query} ran on for {longest:?}");
    }
}
