//! Where everything that must outlive a crash is kept: alerts, silences, groups that were told,
//! messages on their way. One row each, and rows that belong together are written together.
//!
//! - [`Ledger`]: what keeps rows. The aggregator's store implements it on SQLite; [`FileLedger`] is
//!   for those who have few rows and no store, [`MemoryLedger`] for those who need none of it to last.
//! - [`Keeper`]: a ledger that may fail for a while, and loses nothing that a process still knows.
//!
//! Not here: what the rows say. Each part owns the keys under its prefix (`docs/formats/alert-state.md`
//! lists them).

mod file;
mod keeper;
mod memory;

pub use file::FileLedger;
pub use keeper::Keeper;
pub use memory::MemoryLedger;

/// One row to be written, or to be taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name of the row: a prefix that says whose it is, a slash, and the rest.
    pub key: String,
    /// What it says from now on; `None` takes it away, which one that is not there allows.
    pub value: Option<Vec<u8>>,
}

impl Entry {
    /// A row that says `value`.
    pub fn put(key: impl Into<String>, value: Vec<u8>) -> Self {
        Self { key: key.into(), value: Some(value) }
    }

    /// A row that is to be gone.
    pub fn delete(key: impl Into<String>) -> Self {
        Self { key: key.into(), value: None }
    }
}

/// Rows that outlive a crash.
pub trait Ledger: Send + Sync + 'static {
    /// All rows whose key begins with `prefix`, ascending by key. One that is damaged is told by
    /// the ledger and left out.
    fn load(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, LedgerError>;

    /// Writes all of `entries` or none of them, in their order; on return they are on disk.
    fn commit(&self, entries: &[Entry]) -> Result<(), LedgerError>;
}

/// Why rows could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("failed to keep the state of the alerts")]
pub struct LedgerError(#[source] pub Box<dyn std::error::Error + Send + Sync>);
