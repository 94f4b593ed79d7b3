//! A ledger that may fail for a while.
//!
//! A full disk must not keep anybody from hearing of the full disk. So what cannot be written is
//! owed: it is written together with what comes next, in one go, so that on disk nothing is ever
//! there without what belongs to it. A crash before that costs what is owed, and alerts may then be
//! told again, which is better than not at all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use labstat_model::error_chain;

use super::{Entry, Ledger, LedgerError};

/// After a write in vain the ledger is left alone for this many times as long as it took: all that is
/// owed is written each time, and that may be much.
const REST: u32 = 9;

/// Writes rows in the order they are given, and owes those it could not write.
///
/// What is owed is bounded by the rows that there are and those on disk: each part bounds its own, of
/// one key only the last is owed, and nothing of a row that has come and gone.
pub struct Keeper {
    ledger: Arc<dyn Ledger>,
    /// Held while rows are written, so that an older one never overwrites a newer.
    owed: Mutex<Owed>,
}

/// What could not be written yet.
#[derive(Debug, Default)]
struct Owed {
    /// At most one of each key.
    entries: Vec<Entry>,
    /// Where the entry of a key stands.
    places: HashMap<String, usize>,
    /// Nothing is written before.
    rest_until: Option<Instant>,
    /// Whether it was told that something is owed.
    is_told: bool,
}

/// Why rows are not even tried to be written.
#[derive(Debug, thiserror::Error)]
#[error("the last write failed; the next is tried soon")]
struct Resting;

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("owed", &self.owed().entries.len()).finish_non_exhaustive()
    }
}

impl Keeper {
    /// A keeper of the rows of `ledger`; nobody else may write those.
    pub fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self { ledger, owed: Mutex::default() }
    }

    /// The rows as they are on disk: see [`Ledger::load`].
    pub fn load(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, LedgerError> {
        self.ledger.load(prefix)
    }

    /// Writes all of `entries`, and what is owed, or none of it; blocks until it is on disk. On an
    /// error all of it is owed.
    pub fn commit(&self, entries: Vec<Entry>) -> Result<(), LedgerError> {
        let mut owed = self.owed();
        if owed.entries.is_empty() {
            if entries.is_empty() {
                return Ok(());
            }
            let begun = Instant::now();
            let written = self.ledger.commit(&entries);
            match written {
                Ok(()) => owed.settle(),
                Err(_) => {
                    owed.rest(begun);
                    self.owe(&mut owed, entries);
                }
            }
            return written;
        }
        self.owe(&mut owed, entries);
        let begun = Instant::now();
        if owed.rest_until.is_some_and(|until| begun < until) {
            return Err(LedgerError(Box::new(Resting)));
        }
        let written = self.ledger.commit(&owed.entries);
        match written {
            Ok(()) => owed.settle(),
            Err(_) => owed.rest(begun),
        }
        written
    }

    /// [`Keeper::commit`] for who goes on whether it succeeds or not. The first failure is told, and
    /// the success after it.
    pub fn keep(&self, entries: Vec<Entry>) {
        let Err(error) = self.commit(entries) else { return };
        if !std::mem::replace(&mut self.owed().is_told, true) {
            let error = error_chain(&error);
            tracing::error!(error, "alerts and messages may be told again after a restart");
        }
    }

    /// Whether something is owed; [`Keeper::commit`] of nothing tries to write it.
    pub fn is_owing(&self) -> bool {
        !self.owed().entries.is_empty()
    }

    fn owed(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owe(&self, owed: &mut Owed, entries: Vec<Entry>) {
        for entry in entries {
            // To take away what was never written is nothing to do; else messages that come and go
            // while there is no space would pile up.
            if entry.value.is_none() && !self.may_have(&entry.key) {
                owed.forget(&entry.key);
            } else {
                owed.put(entry);
            }
        }
    }

    /// Whether a row may be on disk.
    fn may_have(&self, key: &str) -> bool {
        let found = self.ledger.load(key);
        found.map_or(true, |rows| rows.iter().any(|(found, _)| found == key))
    }
}

impl Owed {
    fn put(&mut self, entry: Entry) {
        let known = self.places.get(&entry.key).and_then(|at| self.entries.get_mut(*at));
        if let Some(known) = known {
            *known = entry;
            return;
        }
        self.places.insert(entry.key.clone(), self.entries.len());
        self.entries.push(entry);
    }

    fn forget(&mut self, key: &str) {
        let Some(at) = self.places.remove(key) else { return };
        self.entries.swap_remove(at);
        // The last has come to stand here.
        if let Some(moved) = self.entries.get(at)
            && let Some(place) = self.places.get_mut(&moved.key)
        {
            *place = at;
        }
    }

    /// All is written.
    fn settle(&mut self) {
        if self.is_told {
            let rows = self.entries.len();
            tracing::info!(rows, "the state of the alerts is on disk again");
        }
        *self = Self::default();
    }

    /// A write that began then has failed.
    fn rest(&mut self, begun: Instant) {
        let took: Duration = begun.elapsed();
        self.rest_until = Instant::now().checked_add(took.saturating_mul(REST));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;
    use crate::ledger::MemoryLedger;

    #[derive(Default)]
    struct Full {
        rows: MemoryLedger,
        is_full: AtomicBool,
        commits: AtomicUsize,
        /// Commits in vain, and how long each takes.
        failed: AtomicUsize,
        takes: Duration,
    }

    impl Ledger for Full {
        fn load(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, LedgerError> {
            self.rows.load(prefix)
        }

        fn commit(&self, entries: &[Entry]) -> Result<(), LedgerError> {
            if self.is_full.load(Ordering::SeqCst) {
                std::thread::sleep(self.takes);
                self.failed.fetch_add(1, Ordering::SeqCst);
                return Err(LedgerError("no space left".into()));
            }
            self.commits.fetch_add(1, Ordering::SeqCst);
            self.rows.commit(entries)
        }
    }

    fn put(key: &str, text: &str) -> Entry {
        Entry::put(key, text.as_bytes().to_vec())
    }

    /// Commits nothing until that succeeds: the ledger may be left alone for a moment.
    fn settle(keeper: &Keeper) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while keeper.commit(vec![]).is_err() {
            assert!(Instant::now() < deadline, "there is space, and nothing is written");
            std::thread::yield_now();
        }
    }

    fn rows(keeper: &Keeper) -> String {
        let rows = keeper.load("").unwrap();
        let text = |(key, value): (String, Vec<u8>)| {
            format!("{key}={}", String::from_utf8(value).unwrap())
        };
        rows.into_iter().map(text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_could_not_be_written_is_written_with_what_comes_next() {
        let ledger = Arc::new(Full::default());
        let keeper = Keeper::new(ledger.clone());
        keeper.commit(vec![]).unwrap();
        keeper.commit(vec![put("a", "1"), put("b", "1")]).unwrap();
        assert_eq!(ledger.commits.load(Ordering::SeqCst), 1, "nothing is no write");
        ledger.is_full.store(true, Ordering::SeqCst);
        keeper.commit(vec![put("a", "2"), Entry::delete("b"), put("c", "2")]).unwrap_err();
        keeper.commit(vec![put("c", "3")]).unwrap_err();
        keeper.commit(vec![put("d", "4")]).unwrap_err();
        assert!(keeper.is_owing());
        assert_eq!(rows(&keeper), "a=1 b=1", "all of it or nothing");
        ledger.is_full.store(false, Ordering::SeqCst);
        settle(&keeper);
        assert!(!keeper.is_owing());
        assert_eq!(ledger.commits.load(Ordering::SeqCst), 2, "in one go");
        assert_eq!(rows(&keeper), "a=2 c=3 d=4");
    }

    /// A disk that is full for a week must not fill the memory, too.
    #[test]
    fn what_comes_and_goes_while_there_is_no_space_is_not_owed() {
        let ledger = Arc::new(Full::default());
        let keeper = Keeper::new(ledger.clone());
        keeper.commit(vec![put("alert/1", "old"), put("queue/0", "old")]).unwrap();
        ledger.is_full.store(true, Ordering::SeqCst);
        for seq in 1..1000 {
            let (message, attempt) = (format!("queue/{seq}"), format!("attempt/{seq}"));
            let _ = keeper.commit(vec![put(&message, "x"), put("alert/1", &message)]);
            let _ = keeper.commit(vec![Entry::delete(message), Entry::delete(attempt)]);
        }
        let _ = keeper.commit(vec![put("kept", "1"), Entry::delete("queue/0")]);
        assert_eq!(keeper.owed().entries.len(), 3);
        assert_eq!(keeper.owed().places.len(), 3);
        let _ = keeper.commit(vec![Entry::delete("alert/1"), put("late", "1")]);
        let _ = keeper.commit(vec![Entry::delete("kept"), put("alert/1", "new")]);
        ledger.is_full.store(false, Ordering::SeqCst);
        settle(&keeper);
        assert_eq!(rows(&keeper), "alert/1=new late=1");
    }

    /// Each try writes all that is owed.
    #[test]
    fn a_disk_that_stays_full_is_tried_for_a_small_part_of_the_time() {
        let takes = Duration::from_millis(4);
        let ledger = Arc::new(Full { takes, ..Full::default() });
        ledger.is_full.store(true, Ordering::SeqCst);
        let keeper = Keeper::new(ledger.clone());
        let begun = Instant::now();
        for at in 0..500 {
            keeper.keep(vec![put(&format!("row/{at}"), "1")]);
        }
        let most = 1 + begun.elapsed().as_millis() / (takes * (REST + 1)).as_millis();
        let failed = ledger.failed.load(Ordering::SeqCst);
        assert!(failed as u128 <= most, "{failed} tries, at most {most}");
        assert_eq!(keeper.owed().entries.len(), 500);
    }
}
