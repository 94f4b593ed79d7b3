//! The watchman with receivers that hang, fail and break, and documents on disk that are none.

use std::collections::BTreeMap;
use std::io;

use labstat_model::ManualClock;

use super::*;
use crate::telemetry::Telemetry;

/// How a receiver behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    Takes,
    Hangs,
    Panics,
}

#[derive(Debug)]
struct Receiver {
    name: String,
    manner: Manner,
    heard: Mutex<Vec<(Word, bool)>>,
}

impl Receiver {
    fn new(name: &str, manner: Manner) -> Arc<Self> {
        Arc::new(Self { name: name.to_owned(), manner, heard: Mutex::default() })
    }

    fn heard(&self) -> Vec<(Word, bool)> {
        self.heard.lock().unwrap().clone()
    }
}

impl Voice for Receiver {
    fn name(&self) -> &str {
        &self.name
    }

    fn tell(self: Arc<Self>, word: Word, is_repeated: bool) -> Telling {
        Box::pin(async move {
            self.heard.lock().unwrap().push((word, is_repeated));
            match self.manner {
                Manner::Takes => Ok(Vec::new()),
                Manner::Hangs => std::future::pending().await,
                Manner::Panics => panic!("a receiver that breaks"),
            }
        })
    }
}

/// A state folder that only remembers.
#[derive(Debug, Default)]
struct Documents(Mutex<BTreeMap<String, Vec<u8>>>);

impl Memory for Documents {
    fn recall(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap().get(name).cloned())
    }

    fn keep(&self, name: &str, document: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().insert(name.to_owned(), document.to_vec());
        Ok(())
    }
}

struct Lab {
    clock: Arc<ManualClock>,
    telemetry: Arc<Telemetry>,
    memory: Arc<Documents>,
}

impl Lab {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(1_000));
        Self { clock, telemetry: Arc::default(), memory: Arc::default() }
    }

    /// Runs a watchman until `until` is so.
    async fn watch(&self, receivers: &[Arc<Receiver>], until: impl Fn() -> bool) {
        let voices = receivers.iter().map(|one| Arc::clone(one) as Arc<dyn Voice>).collect();
        let watchman = Watchman {
            node: "nas".to_owned(),
            after_ms: 10,
            voices,
            telemetry: Arc::clone(&self.telemetry),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            memory: Some(Arc::clone(&self.memory) as Arc<dyn Memory>),
            look_every: Duration::from_millis(5),
        };
        let (_stop, stopped) = watch::channel(false);
        let task = tokio::spawn(watchman.run(stopped));
        while !until() {
            self.clock.advance_ms(10);
            self.telemetry.reach.failed("connection refused", self.clock.now_ms());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // As a process that is killed.
        task.abort();
        let _ = task.await;
    }
}

#[tokio::test(start_paused = true)]
async fn receivers_that_hang_or_break_keep_no_other_from_being_told() {
    let lab = Lab::new();
    let mut all: Vec<Arc<Receiver>> =
        (0..3).map(|at| Receiver::new(&format!("a{at}"), Manner::Hangs)).collect();
    all.push(Receiver::new("b", Manner::Panics));
    let last = Receiver::new("z", Manner::Takes);
    all.push(Arc::clone(&last));
    let begun = tokio::time::Instant::now();
    lab.watch(&all, || !last.heard().is_empty()).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "nobody was waited for");
    // Each has its own deadline, and each of the others is tried again.
    lab.watch(&all, || all[..4].iter().all(|one| one.heard().len() >= 3)).await;
    assert_eq!(last.heard().len(), 1, "it was told");
}

#[tokio::test(start_paused = true)]
async fn a_word_on_its_way_when_the_agent_is_killed_goes_out_again_as_the_same() {
    let lab = Lab::new();
    let (slow, quick) =
        (Receiver::new("slow", Manner::Hangs), Receiver::new("quick", Manner::Takes));
    let document = || String::from_utf8(lab.memory.recall(DOCUMENT).unwrap().unwrap_or_default());
    let is_kept = || document().unwrap().matches("\"in_doubt\":false").count() == 1;
    lab.watch(&[Arc::clone(&slow), Arc::clone(&quick)], || {
        !slow.heard().is_empty() && !quick.heard().is_empty() && is_kept()
    })
    .await;
    assert!(document().unwrap().contains("\"in_doubt\":true"), "{:?}", document());
    let (word, is_repeated) = slow.heard()[0].clone();
    assert!(!is_repeated);

    let slow = Receiver::new("slow", Manner::Takes);
    lab.watch(&[Arc::clone(&slow), Arc::clone(&quick)], || !slow.heard().is_empty()).await;
    assert_eq!(slow.heard()[0], (word, true), "whoever sends it can ask for it");
    assert_eq!(quick.heard().len(), 1, "told before");
}

#[test]
fn an_error_is_bounded() {
    let reach = Reach::default();
    reach.failed(&"ü".repeat(10_000), 1);
    assert_eq!(reach.lock().error.chars().count(), ERROR_LEN_MAX);
}
