//! The whole loop in one process: rules over data in memory, a receiver, a crash in between.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Answer, Double, notification};
use labstat_alerts::notify::{Dispatcher, DispatcherOptions, Receiver, ReceiverConfig};
use labstat_alerts::{
    Database, Journal, JournalError, RuleSet, Service, ServiceOptions, Snapshot, Status,
};
use labstat_model::{Clock, Labels, ManualClock, Matcher, Series, WriteRequest};
use labstat_promql::{Source, SourceError};

#[derive(Default)]
struct Kept {
    documents: Mutex<BTreeMap<String, Vec<u8>>>,
    /// How often something was saved.
    saves: AtomicUsize,
    is_full: AtomicBool,
}

impl Journal for Kept {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, JournalError> {
        Ok(self.documents.lock().unwrap().get(key).cloned())
    }

    fn save(&self, key: &str, bytes: &[u8]) -> Result<(), JournalError> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(JournalError("no space left".into()));
        }
        self.saves.fetch_add(1, Ordering::SeqCst);
        self.documents.lock().unwrap().insert(key.to_owned(), bytes.to_vec());
        Ok(())
    }
}

/// `up` of one node, the same at all times.
struct Up(Mutex<f64>, Mutex<usize>);

impl Source for Up {
    fn select(&self, _: &[Matcher], _: i64, end: i64) -> Result<Vec<Series>, SourceError> {
        let mut series = Series::new(Labels::new([("__name__", "up"), ("instance", "vertex")]));
        series.push(end, *self.0.lock().unwrap());
        Ok(vec![series])
    }
}

impl Database for Up {
    fn append(
        &self,
        request: &WriteRequest,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        *self.1.lock().unwrap() += request.samples_len();
        Ok(())
    }
}

fn config(url: &str) -> ReceiverConfig {
    toml::from_str(&format!("name = 'hook'\nwebhook = {{ url = '{url}' }}")).unwrap()
}

fn fast() -> DispatcherOptions {
    DispatcherOptions {
        retry_first: Duration::from_millis(5),
        retry_max: Duration::from_millis(20),
        retry_total: Duration::from_secs(60),
    }
}

fn rules() -> RuleSet {
    let text = "groups: [{name: g, interval: 1s, rules: [{alert: Down, expr: up == 0}]}]";
    RuleSet::parse(&[("r.yml", text)]).unwrap()
}

fn options(url: &str) -> ServiceOptions {
    let receivers = vec![config(url)];
    ServiceOptions { rules: rules(), receivers, dispatcher: fast(), ..ServiceOptions::default() }
}

fn statuses(double: &Double) -> Vec<String> {
    let body = |request: String| request.split_once("\r\n\r\n").unwrap().1.to_owned();
    let status = |body: String| {
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        body["status"].as_str().unwrap().to_owned()
    };
    double.requests().into_iter().map(body).map(status).collect()
}

#[tokio::test]
async fn a_condition_is_told_once_across_a_restart_and_so_is_its_end() {
    let double = Double::start(vec![Answer::Status(200, "")]).await;
    let (database, journal) =
        (Arc::new(Up(Mutex::new(0.0), Mutex::new(0))), Arc::new(Kept::default()));
    let clock = Arc::new(ManualClock::new(1_000_000));
    let start =
        || Service::start(options(&double.url), database.clone(), journal.clone(), clock.clone());

    let service = start().await.unwrap();
    clock.advance_ms(2_000);
    service.alerting().evaluate_due().await;
    double.reached(1).await;
    service.shutdown().await;
    assert!(*database.1.lock().unwrap() >= 2, "ALERTS and ALERTS_FOR_STATE");

    let service = start().await.unwrap();
    assert_eq!(service.alerting().manager().alerts_len(), (0, 1), "restored");
    clock.advance_ms(2_000);
    service.alerting().evaluate_due().await;
    *database.0.lock().unwrap() = 1.0;
    clock.advance_ms(2_000);
    service.alerting().evaluate_due().await;
    double.reached(2).await;
    service.shutdown().await;
    assert_eq!(statuses(&double), ["firing", "resolved"]);
}

/// A value that changes, or is no number, with every evaluation is not worth a write.
#[tokio::test]
async fn the_state_is_saved_when_it_changes_and_until_that_succeeds() {
    let double = Double::start(vec![Answer::Status(200, "")]).await;
    let database = Arc::new(Up(Mutex::new(f64::NAN), Mutex::new(0)));
    let journal = Arc::new(Kept::default());
    let clock = Arc::new(ManualClock::new(1_000_000));
    let text = "groups: [{name: g, interval: 1s, rules: [{alert: Odd, expr: up != 1}]}]";
    let rules = RuleSet::parse(&[("r.yml", text)]).unwrap();
    let options = ServiceOptions { rules, ..options(&double.url) };
    let service =
        Service::start(options, database.clone(), journal.clone(), clock.clone()).await.unwrap();
    let saves = || journal.saves.load(Ordering::SeqCst);
    let evaluate = async || {
        clock.advance_ms(2_000);
        service.alerting().evaluate_due().await;
    };
    evaluate().await;
    double.reached(1).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    // At the start, when it began, and when it was delivered.
    while saves() < 3 {
        assert!(std::time::Instant::now() < deadline, "what was delivered is not kept");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for value in [f64::NAN, 2.0, 3.0] {
        *database.0.lock().unwrap() = value;
        evaluate().await;
    }
    assert_eq!(saves(), 3);

    journal.is_full.store(true, Ordering::SeqCst);
    *database.0.lock().unwrap() = 1.0;
    evaluate().await;
    double.reached(2).await;
    service.alerting().evaluate_due().await;
    journal.is_full.store(false, Ordering::SeqCst);
    evaluate().await;
    let kept = journal.documents.lock().unwrap().values().next().unwrap().clone();
    let kept = String::from_utf8(kept).unwrap();
    assert!(!kept.contains("Odd"), "the end was kept once there was space: {kept}");
    service.shutdown().await;
}

#[tokio::test]
async fn what_a_failing_receiver_could_not_take_is_tried_again_in_order() {
    let answers = vec![Answer::Status(500, ""), Answer::Status(429, ""), Answer::Status(200, "")];
    let double = Double::start(answers).await;
    let receiver = Receiver::build(&config(&double.url), "").unwrap();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(1_000));
    let (dispatcher, _) =
        Dispatcher::start(vec![receiver], fast(), Arc::new(Kept::default()), clock).unwrap();
    let mut resolved = notification("x");
    resolved.status = Status::Resolved;
    resolved.ends_at_ms = Some(1_767_275_200_000);
    dispatcher.submit(&[notification("x"), resolved], Snapshot::default()).unwrap();
    double.reached(4).await;
    dispatcher.shutdown().await;
    assert_eq!(statuses(&double), ["firing", "firing", "firing", "resolved"]);
    let metrics = dispatcher.metrics().remove(0);
    assert_eq!((metrics.sent, metrics.failed, metrics.dropped, metrics.queued), (2, 2, 0, 0));
    assert_eq!(metrics.last_error, None);
}

#[tokio::test]
async fn what_is_undelivered_survives_and_what_is_too_old_is_given_up() {
    let journal = Arc::new(Kept::default());
    let clock = Arc::new(ManualClock::new(1_000));
    let dead = Double::start(vec![Answer::Status(503, "")]).await;
    let start = |url: &str| {
        let receiver = Receiver::build(&config(url), "").unwrap();
        Dispatcher::start(vec![receiver], fast(), journal.clone(), clock.clone()).unwrap().0
    };
    let dispatcher = start(&dead.url);
    dispatcher.submit(&[notification("x")], Snapshot::default()).unwrap();
    dead.reached(2).await;
    dispatcher.shutdown().await;
    assert_eq!(dispatcher.metrics()[0].queued, 1);

    let alive = Double::start(vec![Answer::Status(200, "")]).await;
    let dispatcher = start(&alive.url);
    alive.reached(1).await;
    dispatcher.shutdown().await;
    assert_eq!(statuses(&alive), ["firing"]);
    let dispatcher = start(&alive.url);
    assert_eq!(dispatcher.metrics()[0].queued, 0, "delivered once");
    dispatcher.shutdown().await;

    let dispatcher = start(&dead.url);
    dispatcher.submit(&[notification("x")], Snapshot::default()).unwrap();
    clock.advance_ms(3_600_000);
    let seen = dead.requests().len();
    dead.reached(seen + 1).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while dispatcher.metrics()[0].dropped == 0 {
        assert!(std::time::Instant::now() < deadline, "never given up");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    dispatcher.shutdown().await;
}

#[tokio::test]
async fn a_full_queue_drops_the_oldest_and_counts_it() {
    let double = Double::start(vec![Answer::Stall]).await;
    let receiver = Receiver::build(&config(&double.url), "").unwrap();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(1_000));
    let (dispatcher, _) =
        Dispatcher::start(vec![receiver], fast(), Arc::new(Kept::default()), clock).unwrap();
    let most = labstat_alerts::notify::QUEUE_LEN_MAX;
    let many = vec![notification("x"); most + 5];
    dispatcher.submit(&many, Snapshot::default()).unwrap();
    let metrics = dispatcher.metrics().remove(0);
    assert_eq!((metrics.queued, metrics.dropped), (most, 5));
}

#[tokio::test]
async fn a_test_message_goes_past_the_queue() {
    let double = Double::start(vec![Answer::Status(200, ""), Answer::Status(403, "")]).await;
    let receiver = Receiver::build(&config(&double.url), "").unwrap();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(1_000));
    let (dispatcher, _) =
        Dispatcher::start(vec![receiver], fast(), Arc::new(Kept::default()), clock).unwrap();
    dispatcher.test("hook").await.unwrap();
    assert!(double.requests()[0].contains("LabstatTest"));
    assert!(dispatcher.test("hook").await.is_err());
    assert!(dispatcher.test("other").await.unwrap_err().to_string().contains("no receiver"));
    dispatcher.shutdown().await;
}
