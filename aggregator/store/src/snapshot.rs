//! A store seen from outside: by another process, beside a running server or without one.
//!
//! A [`Snapshot`] is one read transaction: all that was acknowledged before it was taken is in it,
//! and nothing that comes later. It locks nobody out and changes nothing. [`Draft`] makes a file of
//! it that a new server can start from; `check` and `inspect` look through it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::db::{self, FILE, Unusable, outside};

/// Suffix of a copy until it is complete.
const PARTIAL: &str = ".partial";

/// Pages copied between two words on the progress (1 MiB).
const COPY_PAGES: i32 = 256;

/// Steps between two waits for the disk. A file system may write all that is pending before it
/// answers a writer's fsync, so little of the copy may be pending: with 4 MiB the slowest of a
/// hundred writes took 16 ms during a copy of 1 GiB, and 70 ms where all was left to the end.
const STEPS_PER_SYNC: u32 = 4;

/// Where a SQLite file says how it is written and read: 1 is the rollback journal, 2 the
/// write-ahead log.
const JOURNAL_AT: u64 = 18;

/// How far a long look has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is done, such as `copying`.
    pub stage: &'static str,
    /// Units done; of what kind depends on the stage.
    pub done: u64,
    /// Units in all; 0 when nobody knows.
    pub total: u64,
}

/// Whom to tell of progress, many times a second.
pub type Watch<'a> = &'a mut dyn FnMut(Progress);

/// Why a store cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There is none.
    #[error("there is no history in {} (name the aggregator's data folder)", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// This user may not read it.
    #[error("{} cannot be read by this user{}", path.display(), owner(*uid))]
    NotReadable {
        /// The database file, or its directory.
        path: PathBuf,
        /// The user it belongs to, where that is known.
        uid: Option<u32>,
    },
    /// A damaged database was being salvaged when the process ended.
    #[error("{} was damaged, and its salvage was cut off (a start of the aggregator ends it)", path.display())]
    Unfinished {
        /// The database file.
        path: PathBuf,
    },
    /// It was written by another version.
    #[error("{} has format {found}, this command knows {known} ({})", path.display(), version_cure(*found, *known))]
    Version {
        /// The database file.
        path: PathBuf,
        /// The format it says it has.
        found: i64,
        /// The format this version reads here.
        known: i64,
    },
    /// It is not a database of ours, or damaged beyond reading.
    #[error("{} does not read as a history ({what})", path.display())]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// How.
        what: String,
    },
    /// SQLite failed for another reason.
    #[error("failed to read {}", path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        cause: rusqlite::Error,
    },
}

fn owner(uid: Option<u32>) -> String {
    uid.map_or_else(String::new, |uid| format!(" (it belongs to user {uid}: use sudo)"))
}

fn version_cure(found: i64, known: i64) -> &'static str {
    if found > known {
        "use a newer labstat"
    } else {
        "a start of the aggregator brings it up to date"
    }
}

/// Why a copy was not made.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The file cannot be made.
    #[error("failed to write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// Another copy to this file is under way.
    #[error("another backup to {} is under way", path.display())]
    Busy {
        /// The unfinished file.
        path: PathBuf,
    },
    /// There is no room for it.
    #[error("no space left for {} (free some, or choose another disk)", path.display())]
    StorageFull {
        /// The unfinished file.
        path: PathBuf,
    },
    /// SQLite could not copy.
    #[error("failed to copy to {}", path.display())]
    Copy {
        /// The unfinished file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        cause: rusqlite::Error,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Snapshot {
    conn: Connection,
    path: PathBuf,
    format: i64,
    /// Keeps a server from starting where SQLite cannot be told of this reader.
    _lock: Option<File>,
}

impl Snapshot {
    /// The store in the data directory `dir` as it is now, whether a server runs or not.
    pub fn of_dir(dir: &Path) -> Result<Self, SnapshotError> {
        let path = dir.join(FILE);
        if dir.join(format!("{FILE}-salvaged")).exists() {
            return Err(SnapshotError::Unfinished { path });
        }
        let found = fs::metadata(&path).map_err(|cause| match cause.kind() {
            io::ErrorKind::PermissionDenied => not_readable(dir),
            _ => SnapshotError::Missing { path: dir.to_owned() },
        })?;
        if !found.is_file() || found.len() == 0 {
            let what = if found.is_file() { "it is empty" } else { "it is not a file" };
            return Err(SnapshotError::Damaged { path, what: what.to_owned() });
        }
        match outside::reader(&path) {
            Ok(conn) => Self::begin(conn, path, None),
            // On a read-only medium SQLite cannot keep its shared index. Where nobody writes and
            // nothing is pending it can do without.
            Err(cause) if no_rights(&cause) => match Self::lonely(dir, &path) {
                Some(lonely) => lonely,
                None => Err(not_readable(&path)),
            },
            Err(cause) => Err(open_error(path, cause)),
        }
    }

    /// The store in a file that nobody writes to, such as a backup.
    pub fn of_file(path: &Path) -> Result<Self, SnapshotError> {
        if !path.exists() {
            return Err(SnapshotError::Missing { path: path.to_owned() });
        }
        let conn = outside::immutable(path).map_err(|cause| open_error(path.to_owned(), cause))?;
        Self::begin(conn, path.to_owned(), None)
    }

    fn lonely(dir: &Path, path: &Path) -> Option<Result<Self, SnapshotError>> {
        let log = fs::metadata(dir.join(format!("{FILE}-wal")));
        if log.is_ok_and(|log| log.len() > 0) {
            return None;
        }
        let lock = File::open(dir).ok()?;
        lock.try_lock().ok()?;
        let conn = outside::immutable(path).ok()?;
        Some(Self::begin(conn, path.to_owned(), Some(lock)))
    }

    fn begin(conn: Connection, path: PathBuf, lock: Option<File>) -> Result<Self, SnapshotError> {
        match outside::begin(&conn) {
            Ok(format) => Ok(Self { conn, path, format, _lock: lock }),
            Err(Unusable::Damaged(what)) => Err(SnapshotError::Damaged { path, what }),
            Err(Unusable::Version(found)) => {
                Err(SnapshotError::Version { path, found, known: db::FORMAT })
            }
            Err(Unusable::Other(cause)) => Err(open_error(path, cause)),
        }
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn conn(&self) -> &Connection {
        &self.conn
    }

    /// Whether this version reads what is in it, and not only copies it.
    pub fn must_be_current(&self) -> Result<(), SnapshotError> {
        if self.format == db::FORMAT {
            return Ok(());
        }
        let path = self.path.clone();
        Err(SnapshotError::Version { path, found: self.format, known: db::FORMAT })
    }

    pub(crate) fn failed(&self, cause: rusqlite::Error) -> SnapshotError {
        open_error(self.path.clone(), cause)
    }

    /// Bytes of the database, and so of a copy.
    pub fn size_bytes(&self) -> Result<u64, SnapshotError> {
        outside::size_bytes(&self.conn).map_err(|cause| self.failed(cause))
    }

    /// Copies the database to `file` with `.partial` behind its name; [`Draft::finish`] gives it
    /// its name. What was there under either name is overwritten.
    ///
    /// SQLite's backup, page by page. `VACUUM INTO` would leave out free pages, but takes twice
    /// the CPU time, tells no progress, and gives up at the first damaged page: the copy of a
    /// damaged store would be none, where this one can be salvaged as its source can. That the
    /// transaction stays open lets the write-ahead log grow by what is written meanwhile.
    pub fn copy_to(&self, file: &Path, watch: Watch<'_>) -> Result<Draft, CopyError> {
        let mut partial = file.as_os_str().to_owned();
        partial.push(PARTIAL);
        let partial = PathBuf::from(partial);
        let write = |cause| CopyError::Write { path: partial.clone(), cause };
        let mut options = File::options();
        let handle = options.create(true).truncate(false).read(true).write(true);
        let handle = handle.open(&partial).map_err(write)?;
        if handle.try_lock().is_err() {
            return Err(CopyError::Busy { path: partial });
        }
        let mut copy = Draft { handle, partial, file: file.to_owned(), finished: false };
        copy.protect(&self.path)?;
        copy.handle.set_len(0).map_err(|cause| copy.write_error(cause))?;
        copy.fill(&self.conn, watch)?;
        Ok(copy)
    }
}

/// A copy of a store that does not have its name yet. It is removed when it is dropped before it
/// is finished.
#[derive(Debug)]
pub struct Draft {
    handle: File,
    partial: PathBuf,
    file: PathBuf,
    finished: bool,
}

impl Draft {
    /// Where it lies until it is finished.
    pub fn path(&self) -> &Path {
        &self.partial
    }

    /// Gives the copy its name. On return it is on the disk.
    pub fn finish(mut self) -> Result<(), CopyError> {
        let parent = match self.file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::rename(&self.partial, &self.file).map_err(|cause| self.write_error(cause))?;
        self.finished = true;
        // Some file systems sync no directories; on those there is nothing more to do.
        let _ = File::open(parent).and_then(|dir| dir.sync_all());
        Ok(())
    }

    /// The history is for no more eyes than its source was.
    fn protect(&self, source: &Path) -> Result<(), CopyError> {
        let Ok(found) = fs::metadata(source) else { return Ok(()) };
        let mode = fs::Permissions::from_mode(found.permissions().mode() & 0o666 | 0o600);
        match self.handle.set_permissions(mode) {
            // File systems for other systems have no such rights.
            Err(cause) if cause.kind() != io::ErrorKind::PermissionDenied => {
                Err(self.write_error(cause))
            }
            _ => Ok(()),
        }
    }

    fn fill(&mut self, from: &Connection, watch: Watch<'_>) -> Result<(), CopyError> {
        let mut steps = 0_u32;
        let copied = outside::copy(from, &self.partial, COPY_PAGES, |done, total| {
            watch(Progress { stage: "copying", done, total });
            steps = steps.wrapping_add(1);
            if steps.is_multiple_of(STEPS_PER_SYNC) { self.handle.sync_data() } else { Ok(()) }
        });
        match copied {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => return Err(self.write_error(cause)),
            Err(cause) if cause.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) => {
                return Err(CopyError::StorageFull { path: self.partial.clone() });
            }
            Err(cause) => return Err(CopyError::Copy { path: self.partial.clone(), cause }),
        }
        // The copy has no write-ahead log. That its first page says so tells one that lies beside
        // a restored copy, from the database that was there before, from one of its own.
        let marked = self.handle.write_all_at(&[1, 1], JOURNAL_AT);
        marked.and_then(|()| self.handle.sync_all()).map_err(|cause| self.write_error(cause))
    }

    fn write_error(&self, cause: io::Error) -> CopyError {
        let path = self.partial.clone();
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                CopyError::StorageFull { path }
            }
            _ => CopyError::Write { path, cause },
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// Whether the database at `path` is a copy that nobody has opened since, so that a write-ahead
/// log beside it belongs to something else.
pub(crate) fn is_unopened_copy(path: &Path) -> bool {
    let mut marks = [0; 2];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut marks, JOURNAL_AT));
    read.is_ok() && marks == [1, 1]
}

fn not_readable(path: &Path) -> SnapshotError {
    let uid = fs::metadata(path).ok().map(|found| found.uid());
    SnapshotError::NotReadable { path: path.to_owned(), uid }
}

fn no_rights(cause: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode;
    matches!(
        cause.sqlite_error_code(),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied)
    )
}

fn open_error(path: PathBuf, cause: rusqlite::Error) -> SnapshotError {
    if no_rights(&cause) {
        return not_readable(&path);
    }
    if db::is_damage(&cause) {
        return SnapshotError::Damaged { path, what: cause.to_string() };
    }
    SnapshotError::Database { path, cause }
}
