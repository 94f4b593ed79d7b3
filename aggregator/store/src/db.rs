//! The database file: schema, settings, and every statement the store runs.
//!
//! One SQLite file in WAL mode with `synchronous=FULL`: a commit is on the disk when it returns,
//! and whatever belongs together is one transaction. The tables are described in
//! `docs/formats/store.md`. Nothing above this module knows SQL.

pub(crate) mod outside;
pub(crate) mod raw;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use labstat_model::{Kind, Labels, Metadata};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, params};

use crate::blob::{self, Blob, BlobMeta, part_key};
use crate::catalog::{self, ShelfRow, ShelfSeries, Span};
use crate::error::AppendError;
use crate::index::{Index, live_since};
use crate::log::{self, Entry};
use crate::report::Documents;
use crate::varint::{checksum, seal, unseal};

/// The database file in the data directory.
pub(crate) const FILE: &str = "labstat.db";

/// Says that a SQLite file is ours ("LSTA").
const APPLICATION_ID: i64 = 0x4c53_5441;

/// The newest format this version reads, and the one it writes.
pub(crate) const FORMAT: i64 = 2;

/// Kibibytes of pages a connection keeps: the kernel caches the file, so little is needed.
const CACHE_KIB: i64 = 1024;

/// The write-ahead log is cut back to this after a checkpoint.
const WAL_LEN_MAX: i64 = 8 * 1024 * 1024;

/// Pages of the write-ahead log that start a checkpoint (4 MiB).
const CHECKPOINT_PAGES: i64 = 1000;

/// Free pages are given back to the file system when they are more than this and more than a
/// tenth of the file; below that, new blobs will fill them.
const FREE_PAGES_MIN: i64 = 4096;

/// Free pages given back at a time, so that no maintenance stalls the writers.
const VACUUM_PAGES: i64 = 2048;

const SCHEMA: &str = "
CREATE TABLE series (id INTEGER PRIMARY KEY AUTOINCREMENT, shelf INTEGER NOT NULL, labels BLOB NOT NULL);
CREATE TABLE shelves (id INTEGER PRIMARY KEY, spans BLOB NOT NULL, series BLOB NOT NULL);
CREATE TABLE log (id INTEGER PRIMARY KEY, record BLOB NOT NULL);
CREATE TABLE blobs (id INTEGER PRIMARY KEY AUTOINCREMENT, shelf INTEGER NOT NULL, level INTEGER NOT NULL,
  first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, samples INTEGER NOT NULL, parts INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL, checksum INTEGER NOT NULL, tier INTEGER NOT NULL DEFAULT 0,
  kind INTEGER NOT NULL DEFAULT 0, kept_ms INTEGER NOT NULL DEFAULT 0, flags INTEGER NOT NULL DEFAULT 0,
  directory BLOB NOT NULL);
CREATE TABLE parts (id INTEGER PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE metadata (family TEXT PRIMARY KEY, kind TEXT NOT NULL, help TEXT NOT NULL, unit TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (key TEXT PRIMARY KEY, document BLOB NOT NULL) WITHOUT ROWID;
";

/// Makes a database of format 1 one of format 2. The directories of blobs move behind the new
/// columns: what stands behind a large value is only read through it. The last id that was given
/// goes over too, since none is given twice.
const FROM_FORMAT_1: &str = "
CREATE TABLE shelves (id INTEGER PRIMARY KEY, spans BLOB NOT NULL, series BLOB NOT NULL);
CREATE TABLE blobs_2 (id INTEGER PRIMARY KEY AUTOINCREMENT, shelf INTEGER NOT NULL, level INTEGER NOT NULL,
  first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, samples INTEGER NOT NULL, parts INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL, checksum INTEGER NOT NULL, tier INTEGER NOT NULL DEFAULT 0,
  kind INTEGER NOT NULL DEFAULT 0, kept_ms INTEGER NOT NULL DEFAULT 0, flags INTEGER NOT NULL DEFAULT 0,
  directory BLOB NOT NULL);
INSERT INTO blobs_2 (id, shelf, level, first_ms, last_ms, samples, parts, size_bytes, checksum, directory)
  SELECT id, shelf, level, first_ms, last_ms, samples, parts, size_bytes, checksum, directory FROM blobs;
DELETE FROM sqlite_sequence WHERE name = 'blobs_2';
INSERT INTO sqlite_sequence (name, seq) SELECT 'blobs_2', seq FROM sqlite_sequence WHERE name = 'blobs';
DROP TABLE blobs;
ALTER TABLE blobs_2 RENAME TO blobs;
DROP TABLE spans;
DELETE FROM series;
";

/// Why a database cannot be used.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// It is damaged, or not ours; the text says how.
    Damaged(String),
    /// It is of a newer format.
    Version(i64),
    /// Something else is wrong: rights, space, memory.
    Other(rusqlite::Error),
}

impl From<rusqlite::Error> for Unusable {
    fn from(cause: rusqlite::Error) -> Self {
        if is_damage(&cause) { Self::Damaged(cause.to_string()) } else { Self::Other(cause) }
    }
}

/// Whether SQLite says that the file itself is broken. A value of another type than the schema
/// has, or a table that is not there, is damage too: we never write such.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => matches!(
            code,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown
        ),
        None => !matches!(error, rusqlite::Error::InvalidPath(_)),
    }
}

/// Turns what SQLite said into what the caller of a write should know.
pub(crate) fn write_error(path: &Path, cause: &rusqlite::Error) -> AppendError {
    let path = path.to_owned();
    let extended = cause.sqlite_error().map_or(0, |error| error.extended_code);
    match cause.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => AppendError::StorageFull { path },
        // The index of the write-ahead log could not be made larger.
        _ if extended == rusqlite::ffi::SQLITE_IOERR_SHMSIZE => AppendError::StorageFull { path },
        Some(ErrorCode::ReadOnly) => AppendError::ReadOnly { path },
        _ => AppendError::Database { path, cause: cause.to_string() },
    }
}

/// What is read at start, but for the log, which is replayed record by record.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// The series of the shelves.
    pub(crate) index: Index,
    /// Those that have rows of their own, ascending.
    pub(crate) series: Vec<(u32, u32, Labels)>,
    pub(crate) blobs: Vec<BlobMeta>,
    pub(crate) metadata: Vec<Metadata>,
    pub(crate) next_series: u32,
    pub(crate) next_blob: i64,
}

/// A group of writes, to be stored all or not at all.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) series: Vec<(u32, u32, Labels)>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) metadata: Vec<Metadata>,
}

impl Group {
    pub(crate) fn is_empty(&self) -> bool {
        self.series.is_empty() && self.entries.is_empty() && self.metadata.is_empty()
    }
}

/// The connection that writes.
#[derive(Debug)]
pub(crate) struct Db {
    conn: Connection,
    path: PathBuf,
    next_log: i64,
    encoder: log::Encoder,
}

impl Db {
    /// Opens the database, or makes one.
    pub(crate) fn open(path: &Path, size_max_bytes: Option<u64>) -> Result<Self, Unusable> {
        let conn = Connection::open(path)?;
        set_up(&conn)?;
        if let Some(size_max) = size_max_bytes {
            let page: i64 = conn.pragma_query_value(None, "page_size", |row| row.get(0))?;
            let pages = i64::try_from(size_max).unwrap_or(i64::MAX) / page.max(1);
            conn.pragma_update(None, "max_page_count", pages.max(1))?;
        }
        let next_log =
            conn.query_row("SELECT coalesce(max(id), 0) + 1 FROM log", [], |row| row.get(0))?;
        Ok(Self { conn, path: path.to_owned(), next_log, encoder: log::Encoder::default() })
    }

    /// Reads all that is kept in memory, and checks it. `now_ms` tells which series are live.
    pub(crate) fn load(&self, now_ms: i64) -> Result<Content, Unusable> {
        let conn = &self.conn;
        let (index, series, blobs) = (index(conn, now_ms)?, series(conn)?, blobs(conn)?);
        let last_series = index.last_id().max(series.last().map(|(id, ..)| *id));
        let last_blob = blobs.last().map_or(0, |meta| meta.id);
        let content = Content {
            next_series: next(conn, "series", last_series.unwrap_or(0))?,
            next_blob: next(conn, "blobs", last_blob)?,
            metadata: metadata(conn)?,
            index,
            series,
            blobs,
        };
        // The right edge of the largest table is where the next seal writes.
        conn.query_row("SELECT max(id) FROM parts", [], |row| row.get::<_, Option<i64>>(0))?;
        Ok(content)
    }

    /// Calls `each` with what every log record holds, the oldest first.
    pub(crate) fn replay(&self, mut each: impl FnMut(Vec<Entry>)) -> Result<(), Unusable> {
        let mut statement = self.conn.prepare("SELECT id, record FROM log ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            let record = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
            let entries = log::decode(id, record);
            each(entries.map_err(|cause| malformed(format!("log record {id}: {cause}")))?);
        }
        Ok(())
    }

    /// Stores a group of writes; on return it is on the disk.
    pub(crate) fn commit(&mut self, group: &Group) -> Result<(), AppendError> {
        let next_log = self.next_log;
        let entries = (next_log..).zip(group.entries.chunks(log::ENTRIES_MAX));
        let records: Vec<(i64, Vec<u8>)> =
            entries.map(|(id, entries)| (id, self.encoder.encode(id, entries))).collect();
        self.transaction(|tx| {
            insert_series(tx, &group.series)?;
            for (id, record) in &records {
                tx.prepare_cached("INSERT INTO log (id, record) VALUES (?1, ?2)")?
                    .execute(params![id, record])?;
            }
            group.metadata.iter().try_for_each(|metadata| insert_metadata(tx, metadata))
        })?;
        self.next_log = records.last().map_or(next_log, |(last, _)| last + 1);
        Ok(())
    }

    /// The newest log record's id.
    pub(crate) fn log_last(&self) -> i64 {
        self.next_log - 1
    }

    /// Stores blobs in place of the log up to `log_last`, and the rows of shelves in place of the
    /// series up to `folded`.
    pub(crate) fn seal(
        &mut self,
        sealed: &[Blob],
        shelves: &[ShelfRow],
        folded: u32,
        log_last: i64,
    ) -> Result<(), AppendError> {
        self.transaction(|tx| {
            // The log goes first, so that the blobs find room in a database that is full.
            tx.execute("DELETE FROM log WHERE id <= ?1", [log_last])?;
            sealed.iter().try_for_each(|blob| insert_blob(tx, blob))?;
            tx.execute("DELETE FROM series WHERE id <= ?1", [folded])?;
            shelves.iter().try_for_each(|shelf| put_shelf(tx, shelf))
        })
    }

    /// Stores blobs in place of others, and keeps of `marked` what maintenance may change. The old
    /// go first, so that the new find room in a database that is full.
    pub(crate) fn replace(
        &mut self,
        new: &[Blob],
        old: &[BlobMeta],
        marked: &[BlobMeta],
    ) -> Result<(), AppendError> {
        self.transaction(|tx| {
            old.iter().try_for_each(|meta| delete_blob(tx, meta))?;
            new.iter().try_for_each(|blob| insert_blob(tx, blob))?;
            marked.iter().try_for_each(|meta| mark_blob(tx, meta))
        })
    }

    /// Forgets series of which nothing is stored: `shelves` are the rows without them.
    pub(crate) fn drop_series(
        &mut self,
        ids: &BTreeSet<u32>,
        shelves: &[ShelfRow],
    ) -> Result<(), AppendError> {
        self.transaction(|tx| {
            for id in ids {
                tx.prepare_cached("DELETE FROM series WHERE id = ?1")?.execute([id])?;
            }
            shelves.iter().try_for_each(|shelf| put_shelf(tx, shelf))
        })
    }

    /// Keeps a document.
    pub(crate) fn document_put(&mut self, key: &str, document: &[u8]) -> Result<(), AppendError> {
        self.transaction(|tx| insert_document(tx, key, document))
    }

    /// Keeps documents, and takes those away that are to be none: all of it or nothing.
    pub(crate) fn documents_put(
        &mut self,
        changes: &[(&str, Option<&[u8]>)],
    ) -> Result<(), AppendError> {
        self.transaction(|tx| {
            changes.iter().try_for_each(|(key, document)| match document {
                Some(document) => insert_document(tx, key, document),
                None => tx
                    .prepare_cached("DELETE FROM documents WHERE key = ?1")?
                    .execute([key])
                    .map(drop),
            })
        })
    }

    /// A document; an error when it is damaged.
    pub(crate) fn document(&self, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
        document(&self.conn, key)
    }

    /// Bytes of the database that are in use.
    pub(crate) fn used_bytes(&self) -> Result<u64, AppendError> {
        let pragma = |name| self.conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let run = || -> rusqlite::Result<i64> {
            let used = pragma("page_count")?.saturating_sub(pragma("freelist_count")?);
            Ok(used.saturating_mul(pragma("page_size")?))
        };
        let used_bytes = run().map_err(|cause| write_error(&self.path, &cause))?;
        Ok(u64::try_from(used_bytes).unwrap_or(0))
    }

    /// Gives some free pages back to the file system, when there are many or `all` shall go. Says
    /// whether there is more to give.
    pub(crate) fn shrink(&self, all: bool) -> Result<bool, AppendError> {
        let pragma = |name| self.conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let run = || -> rusqlite::Result<bool> {
            let free = pragma("freelist_count")?;
            if free == 0 || !all && (free <= FREE_PAGES_MIN || free <= pragma("page_count")? / 10) {
                return Ok(false);
            }
            let sql = format!("PRAGMA incremental_vacuum({VACUUM_PAGES})");
            let mut statement = self.conn.prepare(&sql)?;
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
            Ok(free > VACUUM_PAGES)
        };
        run().map_err(|cause| self.failed(&cause))
    }

    /// Moves the write-ahead log into the database and empties it.
    pub(crate) fn checkpoint(&self) -> Result<(), AppendError> {
        self.conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(|cause| self.failed(&cause))
    }

    /// Runs `work` in a transaction: all of it or nothing.
    fn transaction(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), AppendError> {
        #[cfg(test)]
        tests::crash()?;
        let run = || {
            let tx = self.conn.transaction()?;
            work(&tx)?;
            tx.commit()
        };
        run().map_err(|cause| self.failed(&cause))
    }

    /// What the caller of a write should know. That the structure of the file is broken is left
    /// for the next start too, which may not meet it by itself.
    fn failed(&self, cause: &rusqlite::Error) -> AppendError {
        let code = cause.sqlite_error_code();
        if matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)) {
            mark_broken(&self.path);
        }
        write_error(&self.path, cause)
    }

    /// Closes the file. What is written until another connection takes this one's place is lost,
    /// so nothing may be.
    pub(crate) fn let_go(&mut self) -> rusqlite::Result<()> {
        self.conn = Connection::open_in_memory()?;
        Ok(())
    }
}

/// Says so to the next maintenance and to the next start.
pub(crate) fn mark_broken(path: &Path) {
    // Where even that cannot be written, whoever meets it next says so again.
    let _ = std::fs::File::create(broken_mark(path));
}

/// The file whose presence says that the structure of a database is broken.
pub(crate) fn broken_mark(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-broken");
    PathBuf::from(name)
}

/// Rows that salvage writes into a fresh database.
impl Db {
    /// Stores rows as they are.
    pub(crate) fn keep(&mut self, rows: &[Row]) -> Result<(), AppendError> {
        self.transaction(|tx| rows.iter().try_for_each(|row| row.insert(tx)))
    }

    /// Keeps ids that were seen anywhere from being given again.
    pub(crate) fn reserve(&mut self, series: u32, blob: i64) -> Result<(), AppendError> {
        self.transaction(|tx| {
            tx.execute("DELETE FROM sqlite_sequence", [])?;
            let sql =
                "INSERT INTO sqlite_sequence (name, seq) VALUES ('series', ?1), ('blobs', ?2)";
            tx.execute(sql, params![series, blob]).map(drop)
        })
    }
}

/// A row that was read from a damaged database and is whole.
#[derive(Debug)]
pub(crate) enum Row {
    Shelf(ShelfRow),
    Log(i64, Vec<u8>),
    Blob(Blob),
    Metadata(Metadata),
    Document(String, Vec<u8>),
}

impl Row {
    /// Memory of its content, where that may be large.
    pub(crate) fn size_bytes(&self) -> usize {
        match self {
            Self::Log(_, content) | Self::Document(_, content) => content.len(),
            Self::Blob(blob) => {
                blob.directory.len() + blob.parts.iter().map(Vec::len).sum::<usize>()
            }
            Self::Shelf(shelf) => shelf.spans.len() + shelf.series.as_ref().map_or(0, Vec::len),
            Self::Metadata(_) => 0,
        }
    }

    fn insert(&self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        match self {
            Self::Shelf(shelf) => put_shelf(tx, shelf),
            Self::Log(id, record) => tx
                .prepare_cached("INSERT INTO log (id, record) VALUES (?1, ?2)")?
                .execute(params![id, record])
                .map(drop),
            Self::Blob(blob) => insert_blob(tx, blob),
            Self::Metadata(metadata) => insert_metadata(tx, metadata),
            Self::Document(key, document) => insert_document(tx, key, document),
        }
    }
}

/// A connection that only reads.
pub(crate) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    Ok(conn)
}

/// Makes the transaction see the database as it is now, and not as it is at its first read.
pub(crate) fn pin(conn: &Connection) -> rusqlite::Result<()> {
    conn.prepare_cached("SELECT count(*) FROM sqlite_schema")?.query_row([], |_| Ok(()))
}

/// The directory row of a blob; `None` when the blob is gone.
pub(crate) fn directory(conn: &Connection, blob: i64) -> rusqlite::Result<Option<Vec<u8>>> {
    conn.prepare_cached("SELECT directory FROM blobs WHERE id = ?1")?
        .query_row([blob], |row| row.get(0))
        .optional()
}

/// A part row of a blob.
pub(crate) fn part(conn: &Connection, blob: i64, part: u32) -> rusqlite::Result<Option<Vec<u8>>> {
    conn.prepare_cached("SELECT content FROM parts WHERE id = ?1")?
        .query_row([part_key(blob, part)], |row| row.get(0))
        .optional()
}

/// A document; an error when it is damaged.
pub(crate) fn document(conn: &Connection, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    let row: Option<Vec<u8>> = conn
        .prepare_cached("SELECT document FROM documents WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    row.map(|row| open_document(key, &row)).transpose()
}

/// The documents whose keys begin with `prefix`, ascending by key.
pub(crate) fn documents(conn: &Connection, prefix: &str) -> rusqlite::Result<Documents> {
    let sql = "SELECT key, document FROM documents WHERE key >= ?1 ORDER BY key";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([prefix])?;
    let mut found = Documents::default();
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        if !key.starts_with(prefix) {
            break;
        }
        match row.get_ref(1)?.as_blob().ok().and_then(|row| open_document(&key, row).ok()) {
            Some(document) => found.whole.push((key, document)),
            None => found.damaged.push(key),
        }
    }
    Ok(found)
}

/// Checks a document row. The key is in the checksum, so that no document passes for another.
pub(crate) fn open_document(key: &str, row: &[u8]) -> rusqlite::Result<Vec<u8>> {
    unseal(document_key(key), row).map(<[u8]>::to_vec).map_err(|cause| malformed(cause.to_string()))
}

fn document_key(key: &str) -> i64 {
    i64::from(checksum(&[], key.as_bytes()))
}

fn malformed(text: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, text.into())
}

fn set_up(conn: &Connection) -> Result<(), Unusable> {
    let pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    // Nothing but this process writes; a tool that reads or backs up may hold a lock for a moment.
    conn.busy_timeout(std::time::Duration::from_secs(10))?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    } else if pragma("application_id")? != APPLICATION_ID {
        return Err(Unusable::Damaged("it is not a labstat database".to_owned()));
    }
    let format = pragma("user_version")?;
    if format > FORMAT {
        return Err(Unusable::Version(format));
    }
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update(None, "journal_size_limit", WAL_LEN_MAX)?;
    conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    if tables == 0 {
        let marks = format!("PRAGMA application_id={APPLICATION_ID};PRAGMA user_version={FORMAT};");
        conn.execute_batch(&format!("BEGIN;{SCHEMA}{marks}COMMIT;"))?;
    } else if format < FORMAT {
        let tx = conn.unchecked_transaction()?;
        let shelves = shelves_of_format_1(&tx)?;
        tx.execute_batch(&format!("{FROM_FORMAT_1}PRAGMA user_version={FORMAT};"))?;
        shelves.iter().try_for_each(|shelf| put_shelf(&tx, shelf))?;
        tx.commit()?;
    }
    Ok(())
}

/// The format that a database says it has, which may be damaged.
pub(crate) fn format(conn: &Connection) -> i64 {
    conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap_or(FORMAT)
}

/// The next id, after the last that SQLite says was given. No checksum guards that: when there is
/// a later one, which is `known`, ids of what is gone may be in use in blobs.
fn next<T>(conn: &Connection, table: &str, known: T) -> Result<T, Unusable>
where
    T: TryFrom<i64> + Into<i64>,
{
    let sql = "SELECT seq FROM sqlite_sequence WHERE name = ?1";
    let last: Option<i64> = conn.query_row(sql, [table], |row| row.get(0)).optional()?;
    let last = last.unwrap_or(0);
    if last < known.into() {
        return Err(Unusable::Damaged(format!("the last id of {table} is not known")));
    }
    let next = last.checked_add(1).and_then(|next| T::try_from(next).ok());
    next.ok_or_else(|| Unusable::Damaged(format!("ids of {table} are used up")))
}

fn series(conn: &Connection) -> Result<Vec<(u32, u32, Labels)>, Unusable> {
    let mut statement = conn.prepare("SELECT id, shelf, labels FROM series ORDER BY id")?;
    let rows = statement.query_map([], series_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Reads `id, shelf, labels`.
pub(crate) fn series_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<(u32, u32, Labels)> {
    let (id, shelf): (u32, u32) = (row.get(0)?, row.get(1)?);
    let content = row.get_ref(2)?.as_blob()?;
    let labels = unseal(series_key(id, shelf), content).and_then(blob::labels);
    Ok((id, shelf, labels.map_err(|cause| malformed(format!("series {id}: {cause}")))?))
}

fn series_key(id: u32, shelf: u32) -> i64 {
    (i64::from(id) << 32) | i64::from(shelf)
}

/// The series of all shelves. Goes through them twice: which are live can only be told when the
/// newest sample of all is known.
fn index(conn: &Connection, now_ms: i64) -> Result<Index, Unusable> {
    let mut index = Index::default();
    let mut newest_ms = i64::MIN;
    let mut statement = conn.prepare("SELECT id, spans FROM shelves")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (_, spans) = spans_row(row)?;
        newest_ms = spans.iter().map(|span| span.last_ms).fold(newest_ms, i64::max);
    }
    index.begin(live_since(now_ms, newest_ms));
    let sql = format!("SELECT {SHELF_COLUMNS} FROM shelves ORDER BY id");
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (shelf, spans) = spans_row(row)?;
        index.restore(shelf, &shelf_series(row)?.1, &spans);
    }
    Ok(index)
}

/// What [`spans_row`] and [`shelf_series`] read.
pub(crate) const SHELF_COLUMNS: &str = "id, spans, series";

/// Reads the spans of [`SHELF_COLUMNS`].
pub(crate) fn spans_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<(u32, Vec<Span>)> {
    let shelf: u32 = row.get(0)?;
    let spans = catalog::decode_spans(shelf, row.get_ref(1)?.as_blob()?);
    Ok((shelf, spans.map_err(|cause| malformed(format!("spans of shelf {shelf}: {cause}")))?))
}

/// Reads the series of [`SHELF_COLUMNS`].
pub(crate) fn shelf_series(row: &rusqlite::Row<'_>) -> rusqlite::Result<(u32, ShelfSeries)> {
    let shelf: u32 = row.get(0)?;
    let series = ShelfSeries::read(shelf, row.get_ref(2)?.as_blob()?);
    Ok((shelf, series.map_err(|cause| malformed(format!("series of shelf {shelf}: {cause}")))?))
}

/// The rows of shelves in place of the series and spans of format 1.
fn shelves_of_format_1(conn: &Connection) -> rusqlite::Result<Vec<ShelfRow>> {
    let mut statement = conn.prepare("SELECT id, first_ms, last_ms, checksum FROM spans")?;
    let spans: BTreeMap<u32, Span> = statement
        .query_map([], span_row_of_format_1)?
        .map(|span| span.map(|span| (span.id, span)))
        .collect::<Result<_, _>>()?;
    let mut shelves: BTreeMap<u32, Vec<(u32, Labels)>> = BTreeMap::new();
    let mut statement = conn.prepare("SELECT id, shelf, labels FROM series ORDER BY id")?;
    for row in statement.query_map([], series_row)? {
        let (id, shelf, labels) = row?;
        shelves.entry(shelf).or_default().push((id, labels));
    }
    Ok(shelves.into_iter().map(|(shelf, series)| shelf_row(shelf, &series, &spans)).collect())
}

/// The row of a shelf with these series, ascending by id, of all spans there are.
pub(crate) fn shelf_row(
    shelf: u32,
    series: &[(u32, Labels)],
    spans: &BTreeMap<u32, Span>,
) -> ShelfRow {
    let sets: Vec<(u32, Vec<(&str, &str)>)> =
        series.iter().map(|(id, labels)| (*id, labels.iter().collect())).collect();
    let spans: Vec<Span> = series.iter().filter_map(|(id, _)| spans.get(id)).copied().collect();
    ShelfRow {
        shelf,
        series: Some(catalog::encode_series(shelf, &sets)),
        spans: catalog::encode_spans(shelf, &spans),
    }
}

/// Reads `id, first_ms, last_ms, checksum`.
pub(crate) fn span_row_of_format_1(row: &rusqlite::Row<'_>) -> rusqlite::Result<Span> {
    let (id, first_ms, last_ms): (u32, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    if checksum(&[i64::from(id), first_ms, last_ms], b"") != row.get::<_, u32>(3)? {
        return Err(malformed(format!("range of series {id}: malformed checksum")));
    }
    Ok(Span { id, first_ms, last_ms, last_bits: None })
}

fn blobs(conn: &Connection) -> Result<Vec<BlobMeta>, Unusable> {
    let sql = format!("SELECT {BLOB_COLUMNS} FROM blobs ORDER BY id");
    let mut statement = conn.prepare(&sql)?;
    let rows = statement.query_map([], blob_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What [`blob_row`] reads.
pub(crate) const BLOB_COLUMNS: &str = "id, shelf, level, first_ms, last_ms, samples, parts, \
     size_bytes, checksum, tier, kind, kept_ms, flags";

/// [`BLOB_COLUMNS`] of a database that may be of format 1.
pub(crate) fn blob_columns(conn: &Connection) -> &'static str {
    match format(conn) {
        1 => {
            "id, shelf, level, first_ms, last_ms, samples, parts, size_bytes, checksum, 0, 0, 0, 0"
        }
        _ => BLOB_COLUMNS,
    }
}

/// Reads [`BLOB_COLUMNS`].
pub(crate) fn blob_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<BlobMeta> {
    let meta = BlobMeta {
        id: row.get(0)?,
        shelf: row.get(1)?,
        level: row.get(2)?,
        first_ms: row.get(3)?,
        last_ms: row.get(4)?,
        samples: row.get::<_, i64>(5)?.cast_unsigned(),
        parts: row.get(6)?,
        size_bytes: row.get::<_, i64>(7)?.cast_unsigned(),
        tier: row.get(9)?,
        kind: row.get(10)?,
        kept_ms: row.get(11)?,
        flags: row.get(12)?,
    };
    if meta.checksum() != row.get::<_, u32>(8)? {
        return Err(malformed(format!("blob {}: malformed checksum", meta.id)));
    }
    Ok(meta)
}

fn metadata(conn: &Connection) -> Result<Vec<Metadata>, Unusable> {
    let mut statement = conn.prepare("SELECT family, kind, help, unit FROM metadata")?;
    let rows = statement.query_map([], metadata_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Reads `family, kind, help, unit`.
pub(crate) fn metadata_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Metadata> {
    let kind: String = row.get(1)?;
    let kinds = [Kind::Counter, Kind::Gauge, Kind::Histogram, Kind::Summary];
    let kind = kinds.into_iter().find(|known| known.as_str() == kind).unwrap_or(Kind::Untyped);
    Ok(Metadata { family: row.get(0)?, kind, help: row.get(2)?, unit: row.get(3)? })
}

fn insert_series(tx: &Transaction<'_>, series: &[(u32, u32, Labels)]) -> rusqlite::Result<()> {
    let mut insert =
        tx.prepare_cached("INSERT INTO series (id, shelf, labels) VALUES (?1, ?2, ?3)")?;
    for (id, shelf, labels) in series {
        let mut content = Vec::with_capacity(128);
        blob::push_labels(&mut content, labels);
        seal(series_key(*id, *shelf), &mut content);
        insert.execute(params![id, shelf, content])?;
    }
    Ok(())
}

fn put_shelf(tx: &Transaction<'_>, row: &ShelfRow) -> rusqlite::Result<()> {
    let ShelfRow { shelf, series, spans } = row;
    match series {
        Some(series) => tx
            .prepare_cached(
                "INSERT OR REPLACE INTO shelves (id, spans, series) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![shelf, spans, series]),
        None => tx
            .prepare_cached("UPDATE shelves SET spans = ?2 WHERE id = ?1")?
            .execute(params![shelf, spans]),
    }
    .map(drop)
}

fn insert_blob(tx: &Transaction<'_>, blob: &Blob) -> rusqlite::Result<()> {
    let Blob { meta, directory, parts } = blob;
    let sql = format!(
        "INSERT INTO blobs ({BLOB_COLUMNS}, directory) \
         VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)"
    );
    tx.prepare_cached(&sql)?.execute(params![
        meta.id,
        meta.shelf,
        meta.level,
        meta.first_ms,
        meta.last_ms,
        meta.samples.cast_signed(),
        meta.parts,
        meta.size_bytes.cast_signed(),
        meta.checksum(),
        meta.tier,
        meta.kind,
        meta.kept_ms,
        meta.flags,
        directory
    ])?;
    let mut insert = tx.prepare_cached("INSERT INTO parts (id, content) VALUES (?1, ?2)")?;
    for (part, content) in (0..).zip(parts) {
        insert.execute(params![part_key(meta.id, part), content])?;
    }
    Ok(())
}

fn mark_blob(tx: &Transaction<'_>, meta: &BlobMeta) -> rusqlite::Result<()> {
    let sql = "UPDATE blobs SET level = ?2, kept_ms = ?3, flags = ?4, checksum = ?5 WHERE id = ?1";
    tx.prepare_cached(sql)?
        .execute(params![meta.id, meta.level, meta.kept_ms, meta.flags, meta.checksum()])
        .map(drop)
}

fn delete_blob(tx: &Transaction<'_>, meta: &BlobMeta) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM blobs WHERE id = ?1")?.execute([meta.id])?;
    tx.prepare_cached("DELETE FROM parts WHERE id >= ?1 AND id < ?2")?
        .execute(params![part_key(meta.id, 0), part_key(meta.id + 1, 0)])
        .map(drop)
}

fn insert_metadata(tx: &Transaction<'_>, metadata: &Metadata) -> rusqlite::Result<()> {
    let Metadata { family, kind, help, unit } = metadata;
    tx.prepare_cached(
        "INSERT OR REPLACE INTO metadata (family, kind, help, unit) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![family, kind.as_str(), help, unit])
    .map(drop)
}

fn insert_document(tx: &Transaction<'_>, key: &str, document: &[u8]) -> rusqlite::Result<()> {
    let mut row = document.to_vec();
    seal(document_key(key), &mut row);
    tx.prepare_cached("INSERT OR REPLACE INTO documents (key, document) VALUES (?1, ?2)")?
        .execute(params![key, row])
        .map(drop)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static TRANSACTIONS_LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
    }

    /// What this thread does to any database ends after so many transactions, as if the process
    /// had died then.
    pub(crate) fn crash_after(transactions: usize) {
        TRANSACTIONS_LEFT.set(transactions);
    }

    pub(super) fn crash() -> Result<(), AppendError> {
        let left = TRANSACTIONS_LEFT.get().checked_sub(1).ok_or(AppendError::Interrupted)?;
        TRANSACTIONS_LEFT.set(left);
        Ok(())
    }
}
