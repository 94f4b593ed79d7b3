//! A ledger that may fail for a while.
//!
//! A full disk must not keep anybody from hearing of the full disk. So what cannot be written is
//! owed: it is written together with what comes next, in one go, so that on disk nothing is ever
//! there without what belongs to it. A crash before that costs what is owed, and alerts may then be
//! told again, which is better than not at all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Entry, Ledger, LedgerError};

/// Writes rows in the order they are given, and owes those it could not write.
///
/// What is owed is bounded by the rows there are: each part bounds its own, and of one key only
/// the last is owed.
pub struct Keeper {
    ledger: Arc<dyn Ledger>,
    /// Held while rows are written, so that an older one never overwrites a newer.
    owed: Mutex<BTreeMap<String, Option<Vec<u8>>>>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("owed", &self.owed().len()).finish_non_exhaustive()
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
        if owed.is_empty() {
            if entries.is_empty() {
                return Ok(());
            }
            return self.ledger.commit(&entries).inspect_err(|_| owe(&mut owed, entries));
        }
        owe(&mut owed, entries);
        let all: Vec<Entry> = owed
            .iter()
            .map(|(key, value)| Entry { key: key.clone(), value: value.clone() })
            .collect();
        self.ledger.commit(&all)?;
        owed.clear();
        Ok(())
    }

    /// Whether something is owed; [`Keeper::commit`] of nothing tries to write it.
    pub fn is_owing(&self) -> bool {
        !self.owed().is_empty()
    }

    fn owed(&self) -> MutexGuard<'_, BTreeMap<String, Option<Vec<u8>>>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn owe(owed: &mut BTreeMap<String, Option<Vec<u8>>>, entries: Vec<Entry>) {
    owed.extend(entries.into_iter().map(|entry| (entry.key, entry.value)));
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
    }

    impl Ledger for Full {
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

    fn put(key: &str, text: &str) -> Entry {
        Entry::put(key, text.as_bytes().to_vec())
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
        assert!(keeper.is_owing());
        assert_eq!(keeper.load("").unwrap().len(), 2, "all of it or nothing");
        ledger.is_full.store(false, Ordering::SeqCst);
        keeper.commit(vec![put("d", "4")]).unwrap();
        assert!(!keeper.is_owing());
        assert_eq!(ledger.commits.load(Ordering::SeqCst), 2, "in one go");
        let rows = keeper.load("").unwrap();
        let rows: Vec<(&str, &[u8])> = rows.iter().map(|(k, v)| (k.as_str(), &v[..])).collect();
        assert_eq!(rows, [("a", &b"2"[..]), ("c", b"3"), ("d", b"4")]);
    }
}
