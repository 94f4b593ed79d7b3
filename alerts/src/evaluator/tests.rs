//! The schedule over rules and a source that the test holds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use labstat_model::{Labels, Matcher, Series};
use labstat_promql::SourceError;

use super::*;
use crate::manager::ManagerOptions;
use crate::rules::RuleSet;
use crate::views::RulesFilter;

/// Whoever waits longer waits for ever.
const PATIENCE: Duration = Duration::from_secs(30);

struct Lab {
    manager: Manager,
    engine: Engine,
    now_ms: AtomicI64,
    /// While it holds a name, reads of that metric do not return.
    stuck: Mutex<BTreeSet<String>>,
    let_go: Condvar,
    reads: Mutex<BTreeMap<String, usize>>,
    /// The latest time that was looked at.
    latest_ms: AtomicI64,
    told: Mutex<Vec<String>>,
    settles: AtomicUsize,
}

impl Lab {
    fn new(text: &str) -> Arc<Self> {
        let rules = RuleSet::parse(&[("r.yml", text)]).unwrap();
        Arc::new(Self {
            manager: Manager::new(rules, ManagerOptions::default(), 0),
            engine: Engine::default(),
            now_ms: AtomicI64::new(0),
            stuck: Mutex::default(),
            let_go: Condvar::new(),
            reads: Mutex::default(),
            latest_ms: AtomicI64::new(0),
            told: Mutex::default(),
            settles: AtomicUsize::default(),
        })
    }

    fn reads(&self, metric: &str) -> usize {
        self.reads.lock().unwrap().get(metric).copied().unwrap_or(0)
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    fn let_go(&self) {
        self.stuck.lock().unwrap().clear();
        self.let_go.notify_all();
    }
}

impl Source for Lab {
    fn select(&self, matchers: &[Matcher], _: i64, end: i64) -> Result<Vec<Series>, SourceError> {
        let name = matchers[0].value().to_owned();
        self.latest_ms.fetch_max(end, Ordering::SeqCst);
        *self.reads.lock().unwrap().entry(name.clone()).or_default() += 1;
        assert_ne!(name, "broken", "a read that fails badly");
        let stuck = self.stuck.lock().unwrap();
        drop(self.let_go.wait_while(stuck, |stuck| stuck.contains(&name)).unwrap());
        let mut series = Series::new(Labels::new([("__name__", name.as_str())]));
        series.push(end, 1.0);
        Ok(vec![series])
    }
}

impl Work for Lab {
    fn manager(&self) -> &Manager {
        &self.manager
    }

    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn source(&self) -> &dyn Source {
        self
    }

    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    fn settle(&self, out: &Evaluation) {
        self.settles.fetch_add(1, Ordering::SeqCst);
        let names = out.notifications.iter().map(|n| n.name().to_owned());
        self.told.lock().unwrap().extend(names);
    }
}

fn group(name: &str, interval: &str, metric: &str) -> String {
    format!(
        "- {{name: {name}, interval: {interval}, rules: [{{alert: '{name}', expr: {metric}}}]}}\n"
    )
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_is_due_is_evaluated_and_settled_once() {
    let text: String = (0..40).map(|n| group(&format!("g{n}"), "1m", "up")).collect();
    let lab = Lab::new(&format!("groups:\n{text}"));
    let evaluator = Evaluator::start(lab.clone(), 2, 0);
    evaluator.flush();
    assert_eq!(lab.told().len(), 0, "no slot has come");
    lab.now_ms.store(60_000 + SETTLE_MS, Ordering::SeqCst);
    evaluator.flush();
    assert_eq!(lab.told().len(), 40);
    evaluator.flush();
    assert_eq!(lab.reads("up"), 40);
    // By itself, too.
    lab.now_ms.store(120_000 + SETTLE_MS, Ordering::SeqCst);
    until("nobody looks", || lab.reads("up") == 80);
    evaluator.stop();
    assert_eq!(lab.told().len(), 40, "each is told once");
    assert!(lab.settles.load(Ordering::SeqCst) <= 80);
    let rounds: u64 = lab.manager.figures().iter().map(|group| group.rounds.iterations).sum();
    assert_eq!(rounds, 80);
}

#[test]
fn a_group_that_is_stuck_holds_up_no_other() {
    let text = ["slow1", "slow2", "quick"].map(|name| group(name, "1s", name)).concat();
    let lab = Lab::new(&format!("groups:\n{text}"));
    lab.stuck.lock().unwrap().insert("slow1".to_owned());
    let evaluator = Evaluator::start(lab.clone(), 2, 0);
    lab.now_ms.store(1_000 + SETTLE_MS, Ordering::SeqCst);
    until("it is not read", || lab.reads("slow1") == 1 && lab.reads("quick") == 1);
    thread::sleep(SLOW);
    lab.let_go();
    evaluator.flush();
    // One is known to be slow now; with another that is, too, it never has both threads.
    lab.stuck.lock().unwrap().extend(["slow1", "slow2"].map(str::to_owned));
    lab.now_ms.store(2_000 + SETTLE_MS, Ordering::SeqCst);
    until("not all are begun", || lab.reads("slow1") == 2 && lab.reads("slow2") == 2);
    thread::sleep(SLOW);
    lab.let_go();
    evaluator.flush();
    lab.stuck.lock().unwrap().extend(["slow1", "slow2"].map(str::to_owned));
    for second in 3..6 {
        lab.now_ms.store(second * 1_000 + SETTLE_MS, Ordering::SeqCst);
        let wanted = usize::try_from(second).unwrap();
        until("the quick one waits", || lab.reads("quick") == wanted);
    }
    assert_eq!(lab.reads("slow1") + lab.reads("slow2"), 5, "one of them has a thread");
    lab.let_go();
    evaluator.flush();
    lab.now_ms.store(10_000 + SETTLE_MS, Ordering::SeqCst);
    evaluator.flush();
    let missed: u64 = lab.manager.figures().iter().map(|group| group.rounds.missed).sum();
    assert!(missed >= 12, "what was not evaluated is counted: {missed}");
    evaluator.stop();
}

#[test]
fn what_cannot_wait_is_evaluated_at_once_and_at_most_once_a_second() {
    let text = "groups:\n- name: raid\n  interval: 1h\n  rules:\n  \
        - {alert: Disk, expr: node_md_disks == 1}\n  - {alert: Other, expr: up == 1}\n  \
        - {record: r, expr: node_md_disks}\n";
    let lab = Lab::new(text);
    lab.now_ms.store(50_000, Ordering::SeqCst);
    let evaluator = Evaluator::start(lab.clone(), 2, 0);
    evaluator.flush();
    let (reads, start) = (lab.reads("node_md_disks"), Instant::now());
    evaluator.wake(["node_md_disks"], 50_000);
    until("it is not woken", || lab.told().contains(&"Disk".to_owned()));
    let first = start.elapsed();
    for _ in 0..20 {
        evaluator.wake(["node_md_disks"], 50_000);
    }
    until("what came after it is forgotten", || lab.reads("node_md_disks") == reads + 2);
    assert!(start.elapsed() >= WAKE_MIN, "the second too soon: {:?}", start.elapsed());
    assert!(first < WAKE_MIN, "the first too late: {first:?}");
    assert_eq!(lab.reads("up"), 0, "nothing else is evaluated");
    until("not counted", || lab.manager.figures()[0].rounds.woken == 2);
    evaluator.stop();
}

#[test]
fn samples_that_find_their_group_busy_are_looked_at_where_they_are() {
    let lab = Lab::new("groups: [{name: raid, interval: 1h, rules: [{alert: Disk, expr: disks}]}]");
    lab.now_ms.store(50_000, Ordering::SeqCst);
    lab.stuck.lock().unwrap().insert("disks".to_owned());
    let evaluator = Evaluator::start(lab.clone(), 2, 0);
    evaluator.wake(["disks"], 50_000);
    until("it is not woken", || lab.reads("disks") > 0);
    evaluator.wake(["disks"], 51_500);
    // Until the busy group has been tried.
    thread::sleep(WAKE_MIN + Duration::from_millis(300));
    lab.let_go();
    let looked = || lab.latest_ms.load(Ordering::SeqCst);
    until("it is not woken again", || lab.reads("disks") > 2 || looked() > 50_000);
    assert_eq!(looked(), 51_500);
    evaluator.stop();
}

#[test]
fn nothing_is_evaluated_before_its_time_and_a_reload_waits_for_what_goes_on() {
    let lab = Lab::new(&format!("groups:\n{}", group("slow", "1s", "slow")));
    lab.stuck.lock().unwrap().insert("slow".to_owned());
    let evaluator = Evaluator::start(lab.clone(), 2, 5_000);
    lab.now_ms.store(4_000, Ordering::SeqCst);
    evaluator.wake(["slow"], 4_000);
    thread::sleep(Duration::from_millis(50));
    assert_eq!(lab.reads("slow"), 0);
    lab.now_ms.store(6_000, Ordering::SeqCst);
    until("it does not begin", || lab.reads("slow") > 0);
    let reload = {
        let lab = lab.clone();
        thread::spawn(move || lab.manager.reload(RuleSet::default(), 6_000))
    };
    thread::sleep(Duration::from_millis(20));
    assert!(!reload.is_finished(), "a round goes on");
    lab.let_go();
    let out = reload.join().unwrap();
    assert_eq!(out.notifications.len(), lab.told().len(), "what was told is over");
    assert!(lab.manager.rules_view(&RulesFilter::default()).groups.is_empty());
    evaluator.stop();
}

#[test]
fn a_rule_that_fails_badly_ends_no_thread() {
    let text = "groups:\n- name: g\n  interval: 1s\n  rules:\n  - {alert: A, expr: broken}\n  \
        - {alert: B, expr: up}\n";
    let lab = Lab::new(text);
    let evaluator = Evaluator::start(lab.clone(), 1, 0);
    for second in 1..4 {
        lab.now_ms.store(second * 1_000 + SETTLE_MS, Ordering::SeqCst);
        evaluator.flush();
    }
    assert_eq!((lab.reads("broken"), lab.reads("up")), (3, 3));
    assert_eq!(lab.told(), ["B"]);
    evaluator.stop();
}
