//! Queries beside each other: a heavy one takes no more than its turns.
//!
//! Counted are the parts that the heavy query reads while the light one is answered, so that other
//! work on the machine does not matter.

mod made;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use labstat_model::{Matcher, Series, SeriesRef};
use labstat_promql::{Engine, Options, QueryError, QueryOptions, Scan, Source, SourceError};
use made::Made;

const HOUR_MS: i64 = 3_600_000;

/// Series that are made while they are read, with a count of the parts that were.
struct Counted {
    made: Made,
    read: AtomicUsize,
    /// Parts that are read just now, and the most there ever were.
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

struct CountedScan<'c>(&'c Counted, Box<dyn Scan + 'c>);

impl Source for Counted {
    fn select(&self, _: &[Matcher], _: i64, _: i64) -> Result<Vec<Series>, SourceError> {
        Err(SourceError("all series at once were asked for".into()))
    }

    fn scan(&self, m: &[Matcher], from: i64, to: i64) -> Result<Box<dyn Scan + '_>, SourceError> {
        Ok(Box::new(CountedScan(self, self.made.scan(m, from, to)?)))
    }
}

impl Scan for CountedScan<'_> {
    fn parts(&self) -> usize {
        self.1.parts()
    }

    fn read(
        &self,
        part: usize,
        each: &mut dyn FnMut(SeriesRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let running = self.0.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most.fetch_max(running, Ordering::SeqCst);
        let outcome = self.1.read(part, each);
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        self.0.read.fetch_add(1, Ordering::SeqCst);
        outcome
    }
}

/// Until something is so, which it will be soon.
fn wait_until(so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(60), "it never comes");
        thread::yield_now();
    }
}

#[test]
fn a_light_query_beside_a_heavy_one_waits_for_its_turns_only() {
    const THREADS: usize = 2;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = |series: usize| Counted {
        made: Made { part_len: 64, ..Made::new(series, 15_000) },
        read: AtomicUsize::new(0),
        running: Arc::clone(&running),
        most: Arc::clone(&most),
    };
    let (heavy, light) = (counted(50_000_000), counted(320));
    let engine = Engine::new(Options { threads: THREADS, ..Options::default() });
    let cancel = Arc::new(AtomicBool::new(false));
    let heavy_options =
        QueryOptions { cancel: Some(Arc::clone(&cancel)), ..QueryOptions::default() };
    let ask = |source: &Counted, options: &QueryOptions| {
        let (query, end_ms) = ("sum by (instance) (rate(x_total[5m]))", 100 * HOUR_MS);
        engine.range(source, query, end_ms - HOUR_MS, end_ms, 15_000, options)
    };
    thread::scope(|scope| {
        // Three at a time, each with as many threads as there may be.
        let all = [(); 3].map(|()| scope.spawn(|| ask(&heavy, &heavy_options)));
        wait_until(|| heavy.read.load(Ordering::SeqCst) > 20);
        for _ in 0..5 {
            let before = heavy.read.load(Ordering::SeqCst);
            ask(&light, &QueryOptions::default()).unwrap();
            let others = heavy.read.load(Ordering::SeqCst) - before;
            // For each of its five parts the light query waits until those that asked before it
            // had their turns: three queries on two threads each. A few more are over before it
            // asks and after it is answered.
            println!("{others} parts of the heavy queries were read beside five of the light one");
            assert!(others <= 100, "{others} parts of the heavy queries were read meanwhile");
        }
        cancel.store(true, Ordering::SeqCst);
        for heavy in all {
            assert!(matches!(heavy.join().unwrap(), Err(QueryError::Canceled)));
        }
    });
    assert_eq!(light.read.load(Ordering::SeqCst), 25);
    assert!(most.load(Ordering::SeqCst) <= THREADS, "more parts at a time than cores");
}
