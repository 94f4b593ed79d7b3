//! The schedule over rules, a source and clocks that the test holds. Real time passes only where a
//! test asks again until something is so; nothing is judged by it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use labstat_model::{Labels, Matcher, Series};
use labstat_promql::SourceError;

use super::*;
use crate::manager::ManagerOptions;
use crate::rules::RuleSet;
use crate::views::RulesFilter;

/// Whoever waits longer waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);

struct Lab {
    manager: Manager,
    engine: Engine,
    now_ms: AtomicI64,
    elapsed_ms: AtomicU64,
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
            now_ms: AtomicI64::default(),
            elapsed_ms: AtomicU64::default(),
            stuck: Mutex::default(),
            let_go: Condvar::new(),
            reads: Mutex::default(),
            latest_ms: AtomicI64::default(),
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

    /// Has the clock say `second`, and half a second more, so that all that is due then has settled.
    fn set_second(&self, second: i64) {
        self.now_ms.store(second * 1_000 + SETTLE_MS, Ordering::SeqCst);
    }

    /// Lets time pass, for who measures how long something takes.
    fn pass(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap();
        self.elapsed_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// From now on reads of these do not return.
    fn hold<const N: usize>(&self, metrics: [&str; N]) {
        self.stuck.lock().unwrap().extend(metrics.map(str::to_owned));
    }

    fn let_go(&self) {
        self.stuck.lock().unwrap().clear();
        self.let_go.notify_all();
    }

    /// How many rounds are over, of a group or of all.
    fn rounds(&self, group: Option<&str>) -> u64 {
        let figures = self.manager.figures();
        let wanted = figures.iter().filter(|each| group.is_none_or(|group| each.name == group));
        wanted.map(|each| each.rounds.evaluations).sum()
    }
}

impl Evaluator {
    /// Begins what a thread that looks for work would begin now.
    fn look(&self) {
        self.shared.begin_rounds(&mut self.shared.lock(), self.shared.work.now_ms());
        self.shared.changed.notify_all();
    }

    /// The same, and waits until that is settled: what has not been read then is not to be yet.
    fn look_and_settle(&self) {
        self.look();
        self.shared.settled(self.shared.lock());
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

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms.load(Ordering::SeqCst))
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
    lab.set_second(60);
    evaluator.flush();
    assert_eq!(lab.told().len(), 40);
    evaluator.flush();
    assert_eq!(lab.reads("up"), 40);
    // By itself, too.
    lab.set_second(120);
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
    lab.hold(["slow1"]);
    let evaluator = Evaluator::start(lab.clone(), 2, 0);
    lab.set_second(1);
    until("it is not read", || lab.reads("slow1") == 1);
    until("the others wait for it", || lab.rounds(None) == 2);
    lab.pass(2 * SLOW);
    lab.let_go();
    evaluator.flush();
    // One is known to be slow now; with another that is, too, it never has both threads.
    lab.hold(["slow1", "slow2"]);
    lab.set_second(2);
    until("not both are begun", || lab.reads("slow1") == 2 && lab.reads("slow2") == 2);
    lab.pass(2 * SLOW);
    lab.let_go();
    evaluator.flush();
    lab.hold(["slow1", "slow2"]);
    for second in 3..6 {
        lab.set_second(second);
        let wanted = u64::try_from(second).unwrap();
        until("the quick one waits", || lab.rounds(Some("quick")) == wanted);
    }
    assert_eq!(lab.reads("slow1") + lab.reads("slow2"), 5, "one of them has a thread");
    lab.let_go();
    evaluator.flush();
    lab.set_second(10);
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
    evaluator.wake(["node_md_disks"], 50_000);
    until("it is not woken", || lab.told().contains(&"Disk".to_owned()));
    for _ in 0..20 {
        evaluator.wake(["node_md_disks"], 50_000);
    }
    lab.pass(WAKE_MIN - Duration::from_millis(1));
    evaluator.look_and_settle();
    assert_eq!(lab.reads("node_md_disks"), 1, "too soon");
    lab.pass(Duration::from_millis(1));
    until("what came after it is forgotten", || lab.reads("node_md_disks") == 2);
    assert_eq!(lab.reads("up"), 0, "nothing else is evaluated");
    until("not counted", || lab.manager.figures()[0].rounds.woken == 2);
    evaluator.stop();
}

#[test]
fn what_is_woken_and_takes_long_is_woken_less_often() {
    let lab = Lab::new("groups: [{name: raid, interval: 1h, rules: [{alert: Disk, expr: disks}]}]");
    lab.now_ms.store(50_000, Ordering::SeqCst);
    lab.hold(["disks"]);
    let evaluator = Evaluator::start(lab.clone(), 2, 0);
    evaluator.wake(["disks"], 50_000);
    until("it is not woken", || lab.reads("disks") == 1);
    let took = 3 * WAKE_MIN;
    lab.pass(took);
    lab.let_go();
    evaluator.flush();
    evaluator.wake(["disks"], 50_000);
    // It has been going on for a part of the rest.
    lab.pass((WAKE_REST - 1) * took - Duration::from_millis(1));
    evaluator.look_and_settle();
    assert_eq!(lab.reads("disks"), 1, "too soon");
    lab.pass(Duration::from_millis(1));
    until("it is not woken again", || lab.reads("disks") == 2);
    evaluator.stop();
}

#[test]
fn samples_that_find_their_group_busy_are_looked_at_where_they_are() {
    let lab = Lab::new("groups: [{name: raid, interval: 1h, rules: [{alert: Disk, expr: disks}]}]");
    lab.now_ms.store(50_000, Ordering::SeqCst);
    lab.hold(["disks"]);
    let evaluator = Evaluator::start(lab.clone(), 2, 0);
    evaluator.wake(["disks"], 50_000);
    until("it is not woken", || lab.reads("disks") == 1);
    evaluator.wake(["disks"], 51_500);
    lab.pass(WAKE_MIN);
    // Its round goes on, so that none can begin.
    evaluator.look();
    assert_eq!(evaluator.shared.lock().wakes.last, Some(WAKE_MIN), "it has been tried");
    lab.let_go();
    evaluator.flush();
    lab.pass(WAKE_REST * WAKE_MIN);
    until("it is not woken again", || lab.reads("disks") == 2);
    assert_eq!(lab.latest_ms.load(Ordering::SeqCst), 51_500);
    evaluator.stop();
}

#[test]
fn nothing_is_evaluated_before_its_time() {
    let lab = Lab::new(&format!("groups:\n{}", group("slow", "1s", "slow")));
    let evaluator = Evaluator::start(lab.clone(), 2, 5_000);
    lab.now_ms.store(4_999, Ordering::SeqCst);
    evaluator.wake(["slow"], 4_000);
    evaluator.look_and_settle();
    assert_eq!(lab.reads("slow"), 0);
    let wait = evaluator.shared.wait(&evaluator.shared.lock(), 2_000);
    assert_eq!(wait, SLEEP_MAX, "nobody looks again and again for what was woken");
    lab.now_ms.store(5_000, Ordering::SeqCst);
    until("it does not begin", || lab.reads("slow") > 0);
    evaluator.stop();
}

#[test]
fn a_reload_waits_for_what_goes_on() {
    let lab = Lab::new(&format!("groups:\n{}", group("slow", "1s", "slow")));
    lab.hold(["slow"]);
    let evaluator = Evaluator::start(lab.clone(), 2, 0);
    lab.set_second(6);
    until("it does not begin", || lab.reads("slow") > 0);
    let others = lab.clone();
    let reader = thread::spawn(move || {
        // No round begins any more once the reload waits for this one.
        until("it does not reload", || others.manager.is_reloading());
        others.let_go();
    });
    let out = lab.manager.reload(RuleSet::default(), 6_000);
    assert_eq!(lab.settles.load(Ordering::SeqCst), 1, "the round that went on is settled");
    assert_eq!(out.notifications.len(), lab.told().len(), "what was told is over");
    assert!(lab.manager.rules_view(&RulesFilter::default()).groups.is_empty());
    reader.join().unwrap();
    evaluator.stop();
}

#[test]
fn a_rule_that_fails_badly_ends_no_thread() {
    let text = "groups:\n- name: g\n  interval: 1s\n  rules:\n  - {alert: A, expr: broken}\n  \
        - {alert: B, expr: up}\n";
    let lab = Lab::new(text);
    let evaluator = Evaluator::start(lab.clone(), 1, 0);
    for second in 1..4 {
        lab.set_second(second);
        evaluator.flush();
    }
    assert_eq!((lab.reads("broken"), lab.reads("up")), (3, 3));
    assert_eq!(lab.told(), ["B"]);
    evaluator.stop();
}
