//! Few rows in one small file, for those who have no store.
//!
//! The file is a JSON object of texts, written anew as a whole and put in the place of the one
//! before it by renaming, so that a crash leaves the one or the other.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{Entry, Ledger, LedgerError, memory};

/// Bytes of the file: each commit writes all of it, so it is for little. A thousand messages fit.
const FILE_LEN_MAX: usize = 8 * 1024 * 1024;

/// Rows in a file.
#[derive(Debug)]
pub struct FileLedger {
    path: PathBuf,
    rows: Mutex<BTreeMap<String, String>>,
}

/// Why a commit was refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("row {0:?} is no text")]
    NoText(String),
    #[error("{0} bytes are over the limit of {FILE_LEN_MAX}")]
    TooLarge(usize),
}

impl FileLedger {
    /// Opens the file, or begins without one. A damaged one is moved aside, beside itself with the
    /// ending `damaged`, and that is told in the log.
    pub fn open(path: &Path) -> io::Result<Self> {
        let rows = match std::fs::read(path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(rows) => rows,
                Err(error) => {
                    let aside = path.with_added_extension("damaged");
                    std::fs::rename(path, &aside)?;
                    let (path, aside) = (path.display(), aside.display());
                    tracing::error!(%path, %aside, %error, "damaged, and was set aside");
                    BTreeMap::new()
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { path: path.to_owned(), rows: Mutex::new(rows) })
    }

    fn save(&self, rows: &BTreeMap<String, String>) -> Result<(), LedgerError> {
        let bytes = serde_json::to_vec(rows).map_err(|error| LedgerError(error.into()))?;
        if bytes.len() > FILE_LEN_MAX {
            return Err(LedgerError(Refused::TooLarge(bytes.len()).into()));
        }
        self.replace(&bytes).map_err(|error| LedgerError(error.into()))
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let fresh = self.path.with_added_extension("new");
        let mut file = File::create(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&fresh, &self.path)?;
        // The name is on disk once its folder is.
        match self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            Some(folder) => File::open(folder)?.sync_all(),
            None => File::open(".")?.sync_all(),
        }
    }
}

impl Ledger for FileLedger {
    fn load(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, LedgerError> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = memory::with_prefix(&rows, prefix);
        Ok(rows.into_iter().map(|(key, text)| (key, text.into_bytes())).collect())
    }

    fn commit(&self, entries: &[Entry]) -> Result<(), LedgerError> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = rows.clone();
        for entry in entries {
            let Some(value) = &entry.value else {
                next.remove(&entry.key);
                continue;
            };
            let text = str::from_utf8(value)
                .map_err(|_| LedgerError(Refused::NoText(entry.key.clone()).into()))?;
            next.insert(entry.key.clone(), text.to_owned());
        }
        self.save(&next)?;
        *rows = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_outlive_the_process_and_a_damaged_file_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alarm.json");
        let ledger = FileLedger::open(&path).unwrap();
        let put = |key: &str, text: &str| Entry::put(key, text.as_bytes().to_vec());
        ledger.commit(&[put("queue/1", "{\"a\":1}"), put("queue/2", "ü"), put("x", "")]).unwrap();
        ledger.commit(&[Entry::delete("queue/1")]).unwrap();
        let ledger = FileLedger::open(&path).unwrap();
        assert_eq!(ledger.load("queue/").unwrap(), [("queue/2".to_owned(), "ü".into())]);
        let refused = ledger.commit(&[put("y", "lost with it"), Entry::put("z", vec![0xff])]);
        assert!(std::error::Error::source(&refused.unwrap_err()).is_some());
        let large = "x".repeat(FILE_LEN_MAX);
        ledger.commit(&[put("y", &large)]).unwrap_err();
        assert_eq!(ledger.load("").unwrap().len(), 2, "all of it or nothing");

        std::fs::write(&path, "{\"half").unwrap();
        let ledger = FileLedger::open(&path).unwrap();
        assert_eq!(ledger.load("").unwrap(), []);
        assert!(dir.path().join("alarm.json.damaged").exists());
        ledger.commit(&[put("a", "1")]).unwrap();
        assert_eq!(FileLedger::open(&path).unwrap().load("").unwrap().len(), 1);
    }
}
