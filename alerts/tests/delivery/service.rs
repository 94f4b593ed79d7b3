//! The whole loop in one process: rules over data in memory, a receiver, a crash in between.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Answer, Double, MailServer, notification};
use labstat_alerts::delivery::{
    Carried, Carrier, Delivery, DeliveryOptions, Plain, QUEUE_LEN_MAX, Rate,
};
use labstat_alerts::notify::{Delivered, Receiver, ReceiverConfig, SendError};
use labstat_alerts::{
    Database, Entry, Keeper, Ledger, LedgerError, MemoryLedger, Message, Notification, RuleSet,
    Service, ServiceOptions, Status,
};
use labstat_model::{Clock, Labels, ManualClock, Matcher, MixedRequest, Series, SystemClock};
use labstat_promql::{Source, SourceError};

#[derive(Default)]
struct Kept {
    rows: MemoryLedger,
    /// How often something was written.
    commits: AtomicUsize,
    is_full: AtomicBool,
}

impl Ledger for Kept {
    fn load(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, LedgerError> {
        self.rows.load(prefix)
    }

    fn commit(&self, entries: &[Entry]) -> Result<(), LedgerError> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(LedgerError("no space left".into()));
        }
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.rows.commit(entries)
    }
}

impl Kept {
    fn text(&self, prefix: &str) -> String {
        let rows = self.rows.load(prefix).unwrap();
        rows.into_iter().map(|(_, row)| String::from_utf8(row).unwrap()).collect()
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
        request: &MixedRequest,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        *self.1.lock().unwrap() += request.samples_len();
        Ok(())
    }
}

fn config(url: &str) -> ReceiverConfig {
    toml::from_str(&format!("name = 'hook'\nwebhook = {{ url = '{url}' }}")).unwrap()
}

fn fast() -> DeliveryOptions {
    DeliveryOptions {
        retry_first: Duration::from_millis(5),
        retry_max: Duration::from_millis(20),
        retry_total: Duration::from_secs(60),
        observer: None,
    }
}

/// Delivers to a webhook at `url` as a process does that finds `rows`.
fn deliver(url: &str, rows: &Arc<Kept>, clock: Arc<dyn Clock>) -> Delivery {
    let receiver = Receiver::build(&config(url), "").unwrap();
    let carrier: Arc<dyn Carrier> = Arc::new(Carried::new(receiver, Rate::OFF, Arc::new(Plain)));
    let keeper = Arc::new(Keeper::new(rows.clone()));
    Delivery::start(vec![carrier], fast(), keeper, clock).unwrap()
}

fn now() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

fn message(summary: &str) -> Message {
    Message::about(notification(summary), "hook")
}

/// Rules have their turn, and after a group's wait so have manners.
async fn turn(service: &Service, clock: &ManualClock) {
    // What has begun by itself may have looked before the test changed what there is to see.
    service.alerting().evaluate_due().await;
    clock.advance_ms(2_000);
    service.alerting().evaluate_due().await;
    clock.advance_ms(1_500);
    service.alerting().advance().await;
}

/// Asks until it is so.
async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn rules() -> RuleSet {
    let text = "groups: [{name: g, interval: 1s, rules: [{alert: Down, expr: up == 0}]}]";
    RuleSet::parse(&[("r.yml", text)]).unwrap()
}

fn options(url: &str) -> ServiceOptions {
    let receivers = vec![config(url)];
    ServiceOptions { rules: rules(), receivers, delivery: fast(), ..ServiceOptions::default() }
}

fn statuses(double: &Double) -> Vec<String> {
    let body = |request: String| request.split_once("\r\n\r\n").unwrap().1.to_owned();
    let status = |body: String| {
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        body["status"].as_str().unwrap().to_owned()
    };
    double.requests().into_iter().map(body).map(status).collect()
}

/// An Alertmanager takes what it does not hear of again for over, so after a restart it is told at
/// once.
#[tokio::test]
async fn an_alertmanager_hears_after_a_restart_what_fires() {
    let double = Double::start(vec![Answer::Status(200, "")]).await;
    let (database, ledger) =
        (Arc::new(Up(Mutex::new(0.0), Mutex::new(0))), Arc::new(Kept::default()));
    let clock = Arc::new(ManualClock::new(1_000_000));
    let toml = format!("name = 'am'\nalertmanager = {{ urls = ['{}'] }}", double.url);
    let start = || {
        let receivers = vec![toml::from_str(&toml).unwrap()];
        let options = ServiceOptions { receivers, ..options(&double.url) };
        Service::start(options, database.clone(), ledger.clone(), clock.clone())
    };
    let service = start().await.unwrap();
    turn(&service, &clock).await;
    double.reached(1).await;
    service.shutdown().await;
    let service = start().await.unwrap();
    double.reached(2).await;
    service.alerting().repeat().await;
    double.reached(3).await;
    service.shutdown().await;
    let requests = double.requests();
    assert!(requests.iter().all(|request| request.starts_with("POST /api/v2/alerts ")));
    assert!(requests[1].contains("\"alertname\":\"Down\""), "{}", requests[1]);
    assert_eq!(
        requests[1].split_once("\r\n\r\n"),
        requests[2].split_once("\r\n\r\n"),
        "each minute"
    );
}

#[tokio::test]
async fn a_condition_is_told_once_across_a_restart_and_so_is_its_end() {
    let double = Double::start(vec![Answer::Status(200, "")]).await;
    let (database, ledger) =
        (Arc::new(Up(Mutex::new(0.0), Mutex::new(0))), Arc::new(Kept::default()));
    let clock = Arc::new(ManualClock::new(1_000_000));
    let start =
        || Service::start(options(&double.url), database.clone(), ledger.clone(), clock.clone());

    let service = start().await.unwrap();
    turn(&service, &clock).await;
    double.reached(1).await;
    service.shutdown().await;
    assert!(*database.1.lock().unwrap() >= 2, "ALERTS and ALERTS_FOR_STATE");

    let service = start().await.unwrap();
    assert_eq!(service.alerting().manager().alerts_len(), (0, 1), "restored");
    turn(&service, &clock).await;
    *database.0.lock().unwrap() = 1.0;
    turn(&service, &clock).await;
    double.reached(2).await;
    service.shutdown().await;
    assert_eq!(statuses(&double), ["firing", "resolved"]);
}

/// A value that changes, or is no number, with every evaluation is not worth a write.
#[tokio::test]
async fn the_state_is_kept_when_it_changes_and_until_that_succeeds() {
    let double = Double::start(vec![Answer::Status(200, "")]).await;
    let database = Arc::new(Up(Mutex::new(f64::NAN), Mutex::new(0)));
    let rows = Arc::new(Kept::default());
    let clock = Arc::new(ManualClock::new(1_000_000));
    let text = "groups: [{name: g, interval: 1s, rules: [{alert: Odd, expr: up != 1}]}]";
    let rules = RuleSet::parse(&[("r.yml", text)]).unwrap();
    let options = ServiceOptions { rules, ..options(&double.url) };
    let service =
        Service::start(options, database.clone(), rows.clone(), clock.clone()).await.unwrap();
    let evaluate = async || turn(&service, &clock).await;
    evaluate().await;
    double.reached(1).await;
    let delivered = || rows.text("queue/message/").is_empty() && !rows.text("queue/").is_empty();
    eventually("what was delivered is taken away", delivered).await;
    let commits = rows.commits.load(Ordering::SeqCst);
    for value in [f64::NAN, 2.0, 3.0] {
        *database.0.lock().unwrap() = value;
        evaluate().await;
    }
    assert_eq!(rows.commits.load(Ordering::SeqCst), commits);
    assert!(rows.text("rule/").contains("Odd"));

    rows.is_full.store(true, Ordering::SeqCst);
    *database.0.lock().unwrap() = 1.0;
    evaluate().await;
    double.reached(2).await;
    rows.is_full.store(false, Ordering::SeqCst);
    // Nothing more happens: what is owed is written all the same.
    eventually("the end is kept once there is space", || !rows.text("rule/").contains("Odd")).await;
    eventually("and that it was told", || rows.text("queue/message/").is_empty()).await;
    service.shutdown().await;
}

#[tokio::test]
async fn what_a_failing_receiver_could_not_take_is_tried_again_in_order() {
    let answers = vec![Answer::Status(500, ""), Answer::Status(429, ""), Answer::Status(200, "")];
    let double = Double::start(answers).await;
    let rows = Arc::new(Kept::default());
    let delivery = deliver(&double.url, &rows, now());
    let resolved = Notification {
        status: Status::Resolved,
        ends_at_ms: Some(1_767_275_200_000),
        ..notification("x")
    };
    delivery.submit(vec![message("x"), Message::about(resolved, "hook")]).unwrap();
    double.reached(4).await;
    eventually("both are through", || rows.text("queue/message/").is_empty()).await;
    delivery.shutdown().await;
    assert_eq!(statuses(&double), ["firing", "firing", "firing", "resolved"]);
    let metrics = delivery.metrics().remove(0);
    assert_eq!((metrics.sent, metrics.failed, metrics.refused, metrics.queued), (2, 2, 0, 0));
    assert_eq!((metrics.integration, metrics.last_error), ("webhook", None));
}

/// One that is down, one that refuses: neither costs the other, nor messages that come later.
#[tokio::test]
async fn a_receiver_that_is_down_or_refuses_holds_no_other_up() {
    let dead = Double::start(vec![Answer::Stall]).await;
    let picky = Double::start(vec![Answer::Status(413, ""), Answer::Status(200, "")]).await;
    let rows = Arc::new(Kept::default());
    let carriers = vec![carrier("dead", &dead.url), carrier("picky", &picky.url)];
    let keeper = Arc::new(Keeper::new(rows.clone()));
    let delivery = Delivery::start(carriers, fast(), keeper, now()).unwrap();
    let messages =
        ["a", "b"].iter().flat_map(|name| [to("dead", name), to("picky", name)]).collect();
    delivery.submit(messages).unwrap();
    picky.reached(2).await;
    eventually("one is refused, one is there", || {
        let metrics = delivery.metrics().remove(1);
        (metrics.refused, metrics.sent, metrics.queued) == (1, 1, 0)
    })
    .await;
    let metrics = delivery.metrics();
    assert_eq!((metrics[0].receiver.as_str(), metrics[0].queued), ("dead", 2));
    // Not shut down: the attempt that stalls would be waited for.
}

/// A mail that some have is sent and not lost, and who refused it is told.
#[tokio::test]
async fn an_address_that_refuses_is_counted_beside_the_mail_that_was_sent() {
    let Some(server) = MailServer::start() else { return };
    let carrier = mailer(&server, "labstat", "nobody me");
    let rows = Arc::new(Kept::default());
    let keeper = Arc::new(Keeper::new(rows.clone()));
    let delivery = Delivery::start(vec![carrier], fast(), keeper, now()).unwrap();
    delivery.submit(vec![Message::about(notification("x"), "mail")]).unwrap();
    eventually("it is sent", || rows.text("queue/message/").is_empty()).await;
    let metrics = delivery.metrics().remove(0);
    delivery.shutdown().await;
    assert_eq!((metrics.sent, metrics.failed, metrics.refused), (1, 0, 0));
    assert_eq!(metrics.refused_addresses, 1);
    let words = "nobody@lab.test: 550 5.1.1 no such mailbox";
    assert_eq!(metrics.last_error.as_deref(), Some(words));
    assert_eq!(server.mails().len(), 1);
}

/// Sends mail to these addresses at lab.test; `name` is the sender's.
fn mailer(server: &MailServer, name: &str, to: &str) -> Arc<dyn Carrier> {
    let to: Vec<String> = to.split(' ').map(|name| format!("'{name}@lab.test'")).collect();
    let toml = format!(
        "name = 'mail'\n[email]\nhost = '127.0.0.1'\nport = {}\ntls = 'none'\n\
         from = '{name} <labstat@lab.test>'\nto = [{}]",
        server.plain,
        to.join(", ")
    );
    let receiver = Receiver::build(&toml::from_str(&toml).unwrap(), "").unwrap();
    Arc::new(Carried::new(receiver, Rate::OFF, Arc::new(Plain)))
}

/// Who takes mail has all of it within seconds, whoever else does not; and each once, whatever is
/// read again and started again meanwhile.
#[tokio::test]
async fn an_address_that_takes_nothing_costs_the_others_nothing() {
    let Some(server) = MailServer::start() else { return };
    let rows = Arc::new(Kept::default());
    let start = |carrier| {
        let keeper = Arc::new(Keeper::new(rows.clone()));
        // As they are in earnest: what waits for the busy one waits for minutes, and for a day.
        let options =
            DeliveryOptions { retry_first: Duration::from_millis(200), ..Default::default() };
        Delivery::start(vec![carrier], options, keeper, now()).unwrap()
    };
    let delivery = start(mailer(&server, "a", "me busy"));
    let resolved = Notification { status: Status::Resolved, ..notification("x") };
    let messages = [Message::about(notification("x"), "mail"), Message::about(resolved, "mail")];
    delivery.submit([&messages[..], &[to("mail", "y")]].concat()).unwrap();
    eventually("one has all three", || server.mails().len() == 3).await;
    eventually("the other is missing", || {
        rows.text("queue/attempt/").matches("busy@").count() == 3
    })
    .await;
    let metrics = delivery.metrics().remove(0);
    assert_eq!((metrics.sent, metrics.failed, metrics.failing_ms, metrics.queued), (3, 0, 0, 3));
    assert_eq!(metrics.last_error.as_deref(), Some("busy@lab.test: 451 4.3.0 try again later"));

    delivery.set_carriers(vec![mailer(&server, "b", "me busy")]);
    delivery.set_carriers(vec![mailer(&server, "c", "busy me")]);
    delivery.submit(vec![to("mail", "z")]).unwrap();
    eventually("it goes on", || server.mails().len() == 4).await;
    delivery.shutdown().await;
    let delivery = start(mailer(&server, "c", "me busy"));
    delivery.submit(vec![to("mail", "end")]).unwrap();
    eventually("it goes on", || server.mails().len() == 5).await;
    // Nobody else is left, and no mail goes to him in place of the one that is gone.
    delivery.set_carriers(vec![mailer(&server, "c", "me")]);
    eventually("it is over", || rows.text("queue/message/").is_empty()).await;
    assert_eq!(delivery.metrics()[0].refused_addresses, 5);
    delivery.shutdown().await;
    assert_eq!(server.mails().len(), 5, "each once");
    assert!(server.mails().iter().all(|mail| mail.contains("X-Test-To: me@lab.test")));
}

/// What is read again and says the same changes nothing: a receiver that asked to be left alone is.
#[tokio::test]
async fn a_receiver_that_is_made_as_before_goes_on_as_before() {
    let double = Double::start(vec![Answer::Status(429, "retry-after: 3000\r\n")]).await;
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    let build = |text: &str| -> Arc<dyn Carrier> {
        std::fs::write(&token, text).unwrap();
        let toml = format!(
            "name = 'hook'\nwebhook = {{ url = '{}', token_file = '{}' }}",
            double.url,
            token.display()
        );
        let receiver = Receiver::build(&toml::from_str(&toml).unwrap(), "").unwrap();
        Arc::new(Carried::new(receiver, Rate::OFF, Arc::new(Plain)))
    };
    let keeper = Arc::new(Keeper::new(Arc::new(Kept::default())));
    let delivery = Delivery::start(vec![build("one")], fast(), keeper, now()).unwrap();
    delivery.submit(vec![message("x")]).unwrap();
    eventually("it is left alone", || delivery.metrics()[0].retry_ms.is_some()).await;
    let retry_ms = delivery.metrics()[0].retry_ms;
    delivery.set_carriers(vec![build("one")]);
    assert_eq!(delivery.metrics()[0].retry_ms, retry_ms);
    assert_eq!(double.requests().len(), 1);
    delivery.set_carriers(vec![build("two")]);
    double.reached(2).await;
    delivery.shutdown().await;
}

#[tokio::test]
async fn what_is_undelivered_survives_and_what_is_too_old_is_given_up() {
    let rows = Arc::new(Kept::default());
    let clock = Arc::new(ManualClock::new(1_000));
    let dead = Double::start(vec![Answer::Status(503, "")]).await;
    let start = |url: &str| deliver(url, &rows, clock.clone());
    // The clock stands still, so that what fails is not tried again.
    let delivery = start(&dead.url);
    delivery.submit(vec![message("x")]).unwrap();
    dead.reached(1).await;
    delivery.shutdown().await;
    assert_eq!(delivery.metrics()[0].queued, 1);

    let alive = Double::start(vec![Answer::Status(200, "")]).await;
    let delivery = start(&alive.url);
    alive.reached(1).await;
    delivery.shutdown().await;
    assert_eq!(statuses(&alive), ["firing"]);
    let delivery = start(&alive.url);
    assert_eq!(delivery.metrics()[0].queued, 0, "delivered once");
    delivery.shutdown().await;

    let delivery = start(&dead.url);
    delivery.submit(vec![message("x")]).unwrap();
    dead.reached(2).await;
    clock.advance_ms(3_600_000);
    eventually("given up", || delivery.metrics()[0].expired == 1).await;
    delivery.shutdown().await;
    assert_eq!(rows.text("queue/message/"), "");
}

/// Receivers come and go by a reload; what waits for one that has gone is there when it is back.
#[tokio::test]
async fn messages_wait_for_a_receiver_that_is_gone_for_a_while() {
    let double = Double::start(vec![Answer::Status(200, "")]).await;
    let rows = Arc::new(Kept::default());
    let delivery = deliver(&double.url, &rows, now());
    delivery.set_carriers(Vec::new());
    assert_eq!(delivery.receivers(), Vec::<String>::new());
    delivery.submit(vec![message("x")]).unwrap();
    assert!(delivery.test(&message("x")).await.is_err());
    delivery.shutdown().await;
    let keeper = Arc::new(Keeper::new(rows.clone()));
    let delivery = Delivery::start(Vec::new(), fast(), keeper, now()).unwrap();
    assert_eq!(delivery.metrics()[0].queued, 1);
    let receiver = Receiver::build(&config(&double.url), "").unwrap();
    delivery.set_carriers(vec![Arc::new(Carried::new(receiver, Rate::OFF, Arc::new(Plain)))]);
    double.reached(1).await;
    delivery.shutdown().await;
    assert_eq!(statuses(&double), ["firing"]);
}

fn carrier(name: &str, url: &str) -> Arc<dyn Carrier> {
    let toml = format!("name = '{name}'\nwebhook = {{ url = '{url}' }}");
    let receiver = Receiver::build(&toml::from_str(&toml).unwrap(), "").unwrap();
    Arc::new(Carried::new(receiver, Rate::OFF, Arc::new(Plain)))
}

fn to(receiver: &str, name: &str) -> Message {
    let mut alert = notification(name);
    alert.fingerprint = name.to_owned();
    Message::about(alert, receiver)
}

/// What is owed to a receiver goes to the one that has its name now; what is owed to one that is
/// gone goes to nobody else, and is given up when it is too old.
#[tokio::test]
async fn receivers_are_replaced_while_messages_wait() {
    let dead = Double::start(vec![Answer::Status(503, "")]).await;
    let rows = Arc::new(Kept::default());
    // It stands still, so that what fails is not tried again by itself.
    let clock = Arc::new(ManualClock::new(1_000));
    let keeper = Arc::new(Keeper::new(rows.clone()));
    let carriers = vec![carrier("stays", &dead.url), carrier("goes", &dead.url)];
    let delivery = Delivery::start(carriers, fast(), keeper, clock.clone()).unwrap();
    delivery.submit(vec![to("stays", "a"), to("stays", "b"), to("goes", "c")]).unwrap();
    eventually("both have failed", || delivery.metrics().iter().all(|m| m.failed > 0)).await;

    let alive = Double::start(vec![Answer::Status(200, "")]).await;
    let other = Double::start(vec![Answer::Status(200, "")]).await;
    let carriers = || vec![carrier("stays", &alive.url), carrier("new", &other.url)];
    delivery.set_carriers(carriers());
    eventually("it gets both", || delivery.metrics()[0].sent == 2).await;
    assert_eq!(delivery.receivers(), ["stays", "new"]);
    let metrics = delivery.metrics();
    assert_eq!((metrics[2].receiver.as_str(), metrics[2].queued), ("goes", 1), "it is shown");
    assert!(rows.text("queue/message/").contains("\"fingerprint\":\"c\""));

    clock.advance_ms(3_600_000);
    delivery.set_carriers(carriers());
    eventually("it is given up", || rows.text("queue/message/").is_empty()).await;
    assert_eq!(delivery.metrics().len(), 2);
    let requests = alive.requests();
    assert!(requests.iter().all(|request| !request.contains("\"fingerprint\":\"c\"")));
    assert_eq!((requests.len(), other.requests().len()), (2, 0));
    delivery.shutdown().await;
}

/// A receiver that panics over the first message, and takes the others.
#[derive(Default)]
struct Shaky {
    sent: Mutex<Vec<String>>,
    begun: AtomicUsize,
}

impl Carrier for Shaky {
    fn name(&self) -> &'static str {
        "hook"
    }

    fn integration(&self) -> &'static str {
        "shaky"
    }

    fn rate(&self) -> Rate {
        Rate::OFF
    }

    fn repeat(&self, _: &[Notification], _: &[Notification], _: i64) {
        panic!("over what fires");
    }

    fn send<'a>(
        &'a self,
        message: &'a Message,
        _: &'a [String],
    ) -> labstat_alerts::delivery::Answer<'a, Result<Delivered, SendError>> {
        // Once before it is waited for, and once in the midst of it.
        let begun = self.begun.fetch_add(1, Ordering::SeqCst);
        assert_ne!(begun, 0, "at once");
        Box::pin(async move {
            tokio::task::yield_now().await;
            assert_ne!(begun, 1, "after a while");
            self.sent.lock().unwrap().push(message.alerts[0].name().to_owned());
            Ok(Delivered::default())
        })
    }
}

#[tokio::test]
async fn a_receiver_that_panics_has_failed_and_goes_on() {
    let shaky = Arc::new(Shaky::default());
    let rows = Arc::new(Kept::default());
    let keeper = Arc::new(Keeper::new(rows.clone()));
    let clock = Arc::new(ManualClock::new(1_000));
    let delivery = Delivery::start(vec![shaky.clone()], fast(), keeper, clock.clone()).unwrap();
    delivery.repeat(&[], |_| Vec::new());
    delivery.submit(vec![message("x")]).unwrap();
    eventually("it is there", || {
        clock.advance_ms(10);
        delivery.metrics()[0].sent == 1
    })
    .await;
    assert_eq!(delivery.metrics()[0].failed, 2);
    delivery.submit(vec![message("y")]).unwrap();
    eventually("so is the next", || delivery.metrics()[0].sent == 2).await;
    assert_eq!(shaky.sent.lock().unwrap().len(), 2);
    delivery.shutdown().await;
    assert_eq!(rows.text("queue/message/"), "");

    let shaky = Arc::new(Shaky::default());
    let keeper = Arc::new(Keeper::new(rows.clone()));
    let delivery = Delivery::start(vec![shaky], fast(), keeper, clock).unwrap();
    let error = delivery.test(&message("x")).await.unwrap_err();
    let error = std::error::Error::source(&error).unwrap().to_string();
    assert!(error.starts_with("panicked: ") && error.contains("at once"), "{error}");
    delivery.shutdown().await;
}

/// A receiver that leaves it open whether it takes messages, and what was sent to it.
struct Mute {
    was_there: bool,
    sent: AtomicUsize,
}

impl Carrier for Mute {
    fn name(&self) -> &'static str {
        "hook"
    }

    fn integration(&self) -> &'static str {
        "mute"
    }

    fn send<'a>(
        &'a self,
        _: &'a Message,
        _: &'a [String],
    ) -> labstat_alerts::delivery::Answer<'a, Result<Delivered, SendError>> {
        self.sent.fetch_add(1, Ordering::SeqCst);
        let why = "no answer".to_owned();
        let error = SendError::Doubt { why, was_there: self.was_there };
        Box::pin(std::future::ready(Err(error)))
    }
}

#[tokio::test]
async fn what_may_have_arrived_ten_times_is_not_sent_again() {
    let rows = Arc::new(Kept::default());
    let start = |was_there| {
        let mute = Arc::new(Mute { was_there, sent: AtomicUsize::new(0) });
        let keeper = Arc::new(Keeper::new(rows.clone()));
        let carriers: Vec<Arc<dyn Carrier>> = vec![mute.clone()];
        (Delivery::start(carriers, fast(), keeper, now()).unwrap(), mute)
    };
    // What forwards to a receiver that is away says nothing of what that has.
    let (delivery, mute) = start(false);
    delivery.submit(vec![message("x")]).unwrap();
    eventually("it is tried again", || mute.sent.load(Ordering::SeqCst) > 20).await;
    assert_eq!(delivery.metrics()[0].presumed, 0);
    delivery.shutdown().await;

    let (delivery, mute) = start(true);
    eventually("it counts as delivered", || delivery.metrics()[0].presumed == 1).await;
    eventually("and is taken away", || rows.text("queue/message/").is_empty()).await;
    let metrics = delivery.metrics().remove(0);
    assert_eq!((mute.sent.load(Ordering::SeqCst), metrics.sent, metrics.failed), (10, 0, 10));
    assert!(metrics.last_error.unwrap().starts_with("probably delivered"));
    delivery.shutdown().await;
}

/// A disk that takes its time.
struct Slow {
    rows: MemoryLedger,
    is_held: Mutex<bool>,
    begun: AtomicUsize,
    released: std::sync::Condvar,
}

impl Ledger for Slow {
    fn load(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, LedgerError> {
        self.rows.load(prefix)
    }

    fn commit(&self, entries: &[Entry]) -> Result<(), LedgerError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let is_held = self.is_held.lock().unwrap();
        drop(self.released.wait_while(is_held, |is_held| *is_held).unwrap());
        self.rows.commit(entries)
    }
}

#[tokio::test]
async fn figures_do_not_wait_for_the_disk() {
    let double = Double::start(vec![Answer::Status(200, "")]).await;
    let slow = Arc::new(Slow {
        rows: MemoryLedger::default(),
        is_held: Mutex::new(false),
        begun: AtomicUsize::new(0),
        released: std::sync::Condvar::new(),
    });
    let receiver = Receiver::build(&config(&double.url), "").unwrap();
    let carrier: Arc<dyn Carrier> = Arc::new(Carried::new(receiver, Rate::OFF, Arc::new(Plain)));
    let keeper = Arc::new(Keeper::new(slow.clone()));
    let delivery = Delivery::start(vec![carrier], fast(), keeper, now()).unwrap();
    let before = slow.begun.load(Ordering::SeqCst);
    *slow.is_held.lock().unwrap() = true;
    let staged = delivery.stage(vec![message("x")]);
    delivery.release(staged);
    eventually("an attempt is to be written", || slow.begun.load(Ordering::SeqCst) > before).await;
    let delivery = Arc::new(delivery);
    let (said, figures) = std::sync::mpsc::channel();
    let asked = delivery.clone();
    std::thread::spawn(move || said.send(asked.metrics()));
    let figures = figures.recv_timeout(Duration::from_secs(10));
    *slow.is_held.lock().unwrap() = false;
    slow.released.notify_all();
    assert_eq!(figures.unwrap()[0].queued, 1);
    eventually("it is sent", || delivery.metrics()[0].sent == 1).await;
    delivery.shutdown().await;
}

/// A disk that is full for long: messages go out, nothing piles up, and all is written afterwards.
#[tokio::test]
async fn nothing_piles_up_while_the_disk_is_full() {
    let double = Double::start(vec![Answer::Status(200, "")]).await;
    let database = Arc::new(Up(Mutex::new(1.0), Mutex::new(0)));
    let ledger = Arc::new(Kept::default());
    let clock = Arc::new(ManualClock::new(1_000_000));
    let receivers = vec![ReceiverConfig { rate: None, ..config(&double.url) }];
    let options = ServiceOptions { rate: Rate::OFF, receivers, ..options(&double.url) };
    let started = Service::start(options, database.clone(), ledger.clone(), clock.clone());
    let service = started.await.unwrap();
    ledger.is_full.store(true, Ordering::SeqCst);
    for round in 1..=3 {
        for value in [0.0, 1.0] {
            *database.0.lock().unwrap() = value;
            turn(&service, &clock).await;
            clock.advance_ms(3_600_000);
            service.alerting().advance().await;
        }
        double.reached(2 * round).await;
    }
    assert_eq!(ledger.text(""), "");
    *database.0.lock().unwrap() = 0.0;
    turn(&service, &clock).await;
    double.reached(7).await;
    ledger.is_full.store(false, Ordering::SeqCst);
    eventually("what fires is on disk", || {
        ledger.text("rule/").contains("Down") && ledger.text("alert/").contains("Down")
    })
    .await;
    eventually("and nothing of what is over", || ledger.text("queue/message/").is_empty()).await;
    assert_eq!(ledger.rows.load("").unwrap().len(), 3, "the rule's row, the alert's, the group's");
    service.shutdown().await;
    assert_eq!(statuses(&double), ["firing", "resolved"].repeat(4)[..7]);
}

#[tokio::test]
async fn a_full_queue_becomes_a_summary_of_the_older() {
    let double = Double::start(vec![Answer::Stall]).await;
    let rows = Arc::new(Kept::default());
    let delivery = deliver(&double.url, &rows, now());
    let many = (0..QUEUE_LEN_MAX + 5).map(|at| {
        let mut alert = notification("x");
        alert.fingerprint = format!("{at:016x}");
        Message::about(alert, "hook")
    });
    delivery.submit(many.collect()).unwrap();
    let metrics = delivery.metrics().remove(0);
    assert!(metrics.queued < QUEUE_LEN_MAX, "{metrics:?}");
    assert!(metrics.summarized > 700, "{metrics:?}");
    assert_eq!(rows.rows.load("queue/message/").unwrap().len(), metrics.queued);
    assert!(rows.text("queue/message/").contains("\"reason\":\"summary\""));
}

#[tokio::test]
async fn a_test_message_goes_past_the_queue() {
    let double = Double::start(vec![Answer::Status(200, ""), Answer::Status(403, "")]).await;
    let database = Arc::new(Up(Mutex::new(1.0), Mutex::new(0)));
    let ledger = Arc::new(Kept::default());
    let service = Service::start(options(&double.url), database, ledger, now()).await.unwrap();
    let alerting = service.alerting();
    alerting.test("hook").await.unwrap();
    assert!(double.requests()[0].contains("LabstatTest"));
    assert!(alerting.test("hook").await.is_err());
    assert!(alerting.test("other").await.unwrap_err().to_string().contains("no receiver"));
    service.shutdown().await;
}
