//! The start of the service, over a database that knows in which order it is asked; and how manners
//! hold to what the rules say, whatever was lost between them.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use labstat_model::{Labels, ManualClock, Matcher, Series};
use labstat_promql::SourceError;

use super::*;
use crate::hash::fingerprint;
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
    fn append(&self, _: &MixedRequest) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
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

/// `up` of two machines, the same at all times.
#[derive(Default)]
struct Up([AtomicI64; 2]);

impl Source for Up {
    fn select(&self, _: &[Matcher], _: i64, end: i64) -> Result<Vec<Series>, SourceError> {
        let of = |(name, value): (&str, &AtomicI64)| {
            let mut series = Series::new(Labels::new([("__name__", "up"), ("instance", name)]));
            series.push(end, value.load(Ordering::SeqCst) as f64);
            series
        };
        Ok(MACHINES.into_iter().zip(&self.0).map(of).collect())
    }
}

impl Database for Up {
    fn append(&self, _: &MixedRequest) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
}

const MACHINES: [&str; 2] = ["nas", "vertex"];

/// The alert `Down` of a machine.
fn down(machine: &str) -> String {
    fingerprint([("alertname", "Down"), ("instance", machine)])
}

/// A service, what it works on, and a clock.
struct Lab {
    service: Service,
    up: Arc<Up>,
    ledger: Arc<MemoryLedger>,
    clock: Arc<ManualClock>,
}

/// A file of groups, each with one rule for `Down`.
fn parse(exprs: &[&str]) -> RuleSet {
    let group = |(n, expr): (usize, &&str)| {
        format!(
            "- {{name: g{n}, interval: 1s, rules: [{{alert: Down, expr: {expr}, annotations: \
             {{summary: '{expr}'}}}}]}}\n"
        )
    };
    let groups: String = exprs.iter().enumerate().map(group).collect();
    RuleSet::parse(&[("r.yml", &format!("groups:\n{groups}"))]).unwrap()
}

impl Lab {
    async fn start(exprs: &[&str], up: Arc<Up>, ledger: Arc<MemoryLedger>, now_ms: i64) -> Self {
        let clock = Arc::new(ManualClock::new(now_ms));
        let options = ServiceOptions { rules: parse(exprs), ..ServiceOptions::default() };
        let started = Service::start(options, up.clone(), ledger.clone(), clock.clone()).await;
        Self { service: started.unwrap(), up, ledger, clock }
    }

    async fn new(exprs: &[&str]) -> Self {
        Self::start(exprs, Arc::default(), Arc::default(), 1_000_000).await
    }

    /// Ends the service and starts it again, with these rules.
    async fn restart(self, exprs: &[&str]) -> Self {
        let now_ms = self.clock.now_ms() + 1_000;
        self.service.shutdown().await;
        Self::start(exprs, self.up, self.ledger, now_ms).await
    }

    async fn turn(&self) {
        self.clock.advance_ms(2_000);
        self.service.alerting().evaluate_due().await;
    }

    /// Whether the alert of a machine fires, as far as people are told; and what it says.
    fn says(&self, machine: &str) -> Option<String> {
        let status = |manners: &Manners, now_ms| manners.alert(&down(machine), now_ms);
        let alert = self.service.alerting().look(status)?.alert;
        (alert.status == Status::Firing).then(|| alert.annotations["summary"].clone())
    }

    fn starts_ms(&self, machine: &str) -> i64 {
        let status = |manners: &Manners, now_ms| manners.alert(&down(machine), now_ms);
        self.service.alerting().look(status).unwrap().alert.starts_at_ms
    }

    fn rows(&self, prefix: &str) -> Vec<(String, Vec<u8>)> {
        self.ledger.load(prefix).unwrap()
    }
}

#[tokio::test]
async fn an_alert_of_two_rules_fires_until_both_have_ended() {
    let lab = Lab::new(&["up == 0", "up < 1"]).await;
    lab.up.0[1].store(1, Ordering::SeqCst);
    lab.turn().await;
    assert!(lab.says("nas").is_some());
    assert_eq!(lab.says("vertex"), None);
    let since_ms = lab.starts_ms("nas");
    lab.up.0[0].store(-1, Ordering::SeqCst);
    lab.turn().await;
    assert_eq!(lab.says("nas").as_deref(), Some("up < 1"), "what the one says that is left");
    assert_eq!(lab.starts_ms("nas"), since_ms, "for the one it is the same alert");
    // A reload takes the one away that found it last, and brings another that does.
    lab.up.0[0].store(0, Ordering::SeqCst);
    lab.turn().await;
    lab.service.alerting().reload(parse(&["up == 0"])).await;
    assert_eq!(lab.says("nas").as_deref(), Some("up == 0"));
    let lab = lab.restart(&["up == 0", "up < 1"]).await;
    lab.turn().await;
    // Of two that are kept, one is gone when nobody looks.
    let lab = lab.restart(&["up == 0"]).await;
    assert_eq!(lab.says("nas").as_deref(), Some("up == 0"));
    lab.up.0[0].store(1, Ordering::SeqCst);
    lab.turn().await;
    assert_eq!(lab.says("nas"), None);
    lab.service.shutdown().await;
}

/// One row cannot be read, another was never written, a third is of nobody.
#[tokio::test]
async fn what_is_kept_of_rules_and_of_people_agrees_after_a_start() {
    let lab = Lab::new(&["up == 0"]).await;
    lab.turn().await;
    let since_ms = lab.starts_ms("nas");
    let (nas, vertex) = (format!("alert/{}", down("nas")), format!("alert/{}", down("vertex")));
    let lost = [Entry::put(nas.clone(), b"{half".to_vec()), Entry::delete(vertex.clone())];
    lab.ledger.commit(&lost).unwrap();
    let lab = lab.restart(&["up == 0"]).await;
    assert_eq!(lab.rows(&nas).len() + lab.rows(&vertex).len(), 2, "and that is kept");
    for machine in MACHINES {
        assert_eq!(lab.says(machine).as_deref(), Some("up == 0"));
        assert_eq!(lab.starts_ms(machine), since_ms, "it began when it did");
    }
    // What agrees is left as it is.
    let before = (lab.rows("rule/"), lab.rows("alert/"));
    let lab = lab.restart(&["up == 0"]).await;
    assert_eq!((lab.rows("rule/"), lab.rows("alert/")), before);

    let rules: Vec<Entry> =
        lab.rows("rule/").into_iter().map(|(key, _)| Entry::delete(key)).collect();
    assert_eq!(rules.len(), 2);
    lab.ledger.commit(&rules).unwrap();
    let lab = lab.restart(&["up == 0"]).await;
    assert_eq!(lab.says("nas"), None, "it is over until the rule finds it again");
    lab.service.shutdown().await;
}

#[tokio::test]
async fn what_fired_under_an_older_version_goes_on() {
    let document = r#"{"alerts":{"version":1,"groups":[{"file":"r.yml","name":"g0","rules":[
        {"key":"Down alert","expr":"up == 0","alerts":[{"state":"firing",
        "labels":{"alertname":"Down","instance":"nas"},"annotations":{"summary":"before"},
        "active_at_ms":400000,"fired_at_ms":500000,"keep_firing_since_ms":null,"value":"0"}]}]}]},
        "queues":{}}"#;
    let ledger = Arc::new(MemoryLedger::default());
    ledger.commit(&[Entry::put("state", document.as_bytes().to_vec())]).unwrap();
    let lab = Lab::start(&["up == 0"], Arc::default(), ledger, 1_000_000).await;
    assert_eq!(lab.says("nas").as_deref(), Some("before"));
    assert_eq!(lab.starts_ms("nas"), 500_000);
    lab.up.0[0].store(1, Ordering::SeqCst);
    lab.turn().await;
    assert_eq!(lab.says("nas"), None, "and its end is known");
    lab.service.shutdown().await;
}

#[tokio::test]
async fn what_found_no_room_begins_when_there_is_some() {
    let lab = Lab::new(&["up == 0"]).await;
    let alerting = lab.service.alerting();
    let set_room = |len| {
        alerting.change(|manners, _| {
            manners.set_room(len);
            ((), Step::default())
        });
    };
    set_room(1);
    lab.turn().await;
    let known = || MACHINES.iter().filter(|machine| lab.says(machine).is_some()).count();
    assert_eq!(known(), 1);
    for room in [1, 2] {
        set_room(room);
        lab.clock.advance_ms(60_000);
        alerting.advance().await;
        assert_eq!(known(), room, "as many as there is room for");
    }
    assert_eq!(alerting.look(|manners, _| manners.refused_len()), 0);
    lab.service.shutdown().await;
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
