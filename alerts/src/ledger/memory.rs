//! Rows that last as long as the process.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::{Entry, Ledger, LedgerError};

/// Rows in memory.
#[derive(Debug, Default)]
pub struct MemoryLedger(Mutex<BTreeMap<String, Vec<u8>>>);

impl Ledger for MemoryLedger {
    fn load(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, LedgerError> {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(with_prefix(&rows, prefix))
    }

    fn commit(&self, entries: &[Entry]) -> Result<(), LedgerError> {
        apply(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), entries);
        Ok(())
    }
}

/// The rows whose keys begin with `prefix`.
pub(super) fn with_prefix<T: Clone>(rows: &BTreeMap<String, T>, prefix: &str) -> Vec<(String, T)> {
    rows.range(prefix.to_owned()..)
        .take_while(|(key, _)| key.starts_with(prefix))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn apply(rows: &mut BTreeMap<String, Vec<u8>>, entries: &[Entry]) {
    for entry in entries {
        match &entry.value {
            Some(value) => drop(rows.insert(entry.key.clone(), value.clone())),
            None => drop(rows.remove(&entry.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_the_beginning_of_their_keys() {
        let ledger = MemoryLedger::default();
        let put = |key: &str| Entry::put(key, key.as_bytes().to_vec());
        ledger.commit(&[put("b/2"), put("b/1"), put("b"), put("b0"), put("a/1")]).unwrap();
        ledger.commit(&[Entry::delete("b/2"), Entry::delete("never")]).unwrap();
        assert_eq!(ledger.load("b/").unwrap(), [("b/1".to_owned(), b"b/1".to_vec())]);
        assert_eq!(ledger.load("").unwrap().len(), 4);
    }
}
