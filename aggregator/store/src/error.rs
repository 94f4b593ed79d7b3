//! Why an operation on the store failed, one type per operation.

use std::io;
use std::path::PathBuf;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory is not there and cannot be made.
    #[error("failed to create data directory {} (create it, or choose another one)", path.display())]
    CreateDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The data directory cannot be read or written.
    #[error(
        "data directory {} is not writable (give it to the user that runs labstat, or choose another one)",
        path.display()
    )]
    NotWritable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// Another process has the data directory.
    #[error("data directory {} is in use by another process (stop it, or choose another one)", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The disk is full, so that not even an empty database can be made.
    #[error("no space left for {} (free some, or choose another disk)", path.display())]
    StorageFull {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        cause: rusqlite::Error,
    },
    /// The database was written by a newer labstat.
    #[error(
        "{} has format {found}, this version knows up to {known} (use a newer labstat)",
        path.display()
    )]
    Version {
        /// The database file.
        path: PathBuf,
        /// The format it says it has.
        found: i64,
        /// The newest format this version reads.
        known: i64,
    },
    /// The database could not be opened, for a reason other than damage.
    #[error("failed to open database {}", path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        cause: rusqlite::Error,
    },
    /// A damaged database could not be moved out of the way.
    #[error("failed to set aside damaged file {}", path.display())]
    SetAside {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

/// Why nothing of a write was kept. The sender still has it and may send it again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The disk is full, or the database has reached its bound. Reads still work.
    #[error("no space left for {}", path.display())]
    StorageFull {
        /// The database file.
        path: PathBuf,
    },
    /// The file system became read-only, or the database's rights were changed.
    #[error("{} is not writable", path.display())]
    ReadOnly {
        /// The database file.
        path: PathBuf,
    },
    /// The structure of the database is broken; it is being mended. Reads still work.
    #[error("{} is broken and is being mended", path.display())]
    Broken {
        /// The database file.
        path: PathBuf,
    },
    /// The database could not be written.
    #[error("failed to write to {}: {cause}", path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// What SQLite said. Text, since all writers of a group share one failure.
        cause: String,
    },
    /// What is stored had to be read to tell a duplicate, and could not be.
    #[error("failed to compare with what is stored: {cause}")]
    Read {
        /// What the read said.
        cause: String,
    },
    /// The commit panicked, which is a defect of the store.
    #[error("the commit was interrupted")]
    Interrupted,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// Why a read gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database could not be read.
    #[error("failed to {operation} in {}", path.display())]
    Database {
        /// What was attempted.
        operation: &'static str,
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        cause: rusqlite::Error,
    },
    /// The read would return more samples than [`Options::read_samples_max`](crate::Options).
    #[error("more than {max} samples (ask for fewer series or a shorter range)")]
    TooManySamples {
        /// The bound.
        max: usize,
    },
    /// Nobody waits for it any more.
    #[error("the read was stopped")]
    Stopped,
}

/// Why sealing, compaction or retention did not finish. What was stored before still is.
#[derive(Debug, thiserror::Error)]
pub enum MaintainError {
    /// What was to be rewritten could not be read.
    #[error("failed to read what is stored")]
    Read(#[source] ReadError),
    /// What was rewritten could not be stored.
    #[error("failed to store what was rewritten")]
    Write(#[source] AppendError),
}
