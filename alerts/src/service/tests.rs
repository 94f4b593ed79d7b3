//! The start of the service, over a database that knows in which order it is asked.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use labstat_model::{Labels, ManualClock, Matcher, Series};
use labstat_promql::SourceError;

use super::*;
use crate::ledger::MemoryLedger;

/// `up` is always 1.
#[derive(Default)]
struct Asked {
    is_asked: AtomicBool,
    /// Writes before and after the newest sample was asked for.
    before: AtomicUsize,
    after: AtomicUsize,
}

impl Source for Asked {
    fn select(&self, _: &[Matcher], _: i64, end: i64) -> Result<Vec<Series>, SourceError> {
        let mut series = Series::new(Labels::new([("__name__", "up"), ("instance", "vertex")]));
        series.push(end, 1.0);
        Ok(vec![series])
    }
}

impl Database for Asked {
    fn append(&self, _: &WriteRequest) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let is_asked = self.is_asked.load(Ordering::SeqCst);
        let count = if is_asked { &self.after } else { &self.before };
        count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn newest_ms(&self) -> Option<i64> {
        self.is_asked.store(true, Ordering::SeqCst);
        None
    }
}

/// Rows of an alert that fires.
fn kept() -> MemoryLedger {
    let text = "groups: [{name: g, interval: 1s, rules: [{alert: Up, expr: up}]}]";
    let rules = RuleSet::parse(&[("r.yml", text)]).unwrap();
    let manager = Manager::new(rules, ManagerOptions::default(), 0);
    let due = manager.due(10_000);
    let out = manager.evaluate(&due[0], &Engine::default(), &Asked::default());
    assert_eq!(out.entries.len(), 1);
    let ledger = MemoryLedger::default();
    ledger.commit(&out.entries).unwrap();
    ledger
}

/// The markers of alerts whose rules are gone are of now: after them nobody was ever away.
#[tokio::test]
async fn the_newest_sample_is_asked_for_before_anything_is_written() {
    let database = Arc::new(Asked::default());
    let clock = Arc::new(ManualClock::new(20_000));
    let options = ServiceOptions::default();
    let ledger = Arc::new(kept());
    let service = Service::start(options, database.clone(), ledger, clock).await.unwrap();
    service.shutdown().await;
    let writes = |count: &AtomicUsize| count.load(Ordering::SeqCst);
    assert_eq!((writes(&database.before), writes(&database.after)), (0, 1));
}

#[test]
fn what_fails_each_time_is_left_alone_for_longer_and_longer() {
    let mut rest = Rest::default();
    assert_eq!(rest.after(Some(5), Some(9)), Duration::ZERO);
    let pauses: Vec<Duration> = (0..9).map(|_| rest.after(Some(5), Some(5))).collect();
    assert_eq!(pauses[..3], [10, 20, 40].map(Duration::from_millis));
    assert_eq!(pauses[8], SLEEP_MAX);
    assert_eq!(rest.after(Some(5), None), Duration::ZERO);
    assert_eq!(rest.after(Some(5), Some(4)), Rest::FIRST);
}
