//! Opening the database file, whatever state it is in.
//!
//! A damaged file is set aside under another name, never deleted, and what reads with a right
//! checksum goes into a fresh one. The order survives a crash at any point: when the fresh file is
//! complete and on the disk it gets a name that says so, and whoever finds that name sets aside
//! what is left of the damaged database and puts the fresh one in its place.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use labstat_model::{BUCKET_WIDTHS_MS, Labels};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::blob::{Blob, BlobMeta, Directory, check_part};
use crate::catalog::{ShelfRow, Span};
use crate::db::{self, Db, FILE, Row, Unusable};
use crate::error::AppendError;
use crate::log;
use crate::pages::Pages;
use crate::retire::{self, Horizons};
use crate::state::State;
use crate::{Notice, OpenError, Options, snapshot, wal};

/// Suffix of the fresh database while it is filled.
const FRESH: &str = "salvage";

/// Suffix of the fresh database when it is complete.
const COMPLETE: &str = "salvaged";

/// Suffix, behind that of the fresh one, of the file with all rows that were found.
const FOUND: &str = "rows";

/// Rows put into the fresh database in one transaction.
const ROWS_KEPT_AT_ONCE: usize = 256;

/// Bytes of rows that are held until they are put into the fresh database; one blob more may come.
const ROWS_SIZE_MAX_BYTES: usize = 8 * 1024 * 1024;

/// Reading goes on behind a damaged page by trying ids further and further on, up to this many.
pub(crate) const SKIP_MAX: i64 = 1 << 40;

/// A database that was opened, and what was read of it.
pub(crate) struct Opened {
    pub(crate) db: Db,
    pub(crate) state: State,
    pub(crate) next_series: u32,
    pub(crate) next_blob: i64,
}

/// Opens the database in `dir`, saves what is whole of a damaged one, and says so.
pub(crate) fn open(dir: &Path, options: &Options) -> Result<(Opened, Vec<Notice>), OpenError> {
    let path = dir.join(FILE);
    let fresh = with_suffix(&path, FRESH);
    let complete = with_suffix(&path, COMPLETE);
    let now_ms = options.clock.now_ms();
    let mut notices = Vec::new();
    remove_all(&fresh)?;
    remove_all(&with_suffix(&fresh, FOUND))?;
    if complete.exists() {
        let what =
            format!("database {} was damaged; ended a salvage that was cut off", path.display());
        notices.push(replace(&path, &complete, now_ms, what)?);
    }
    notices.extend(part_with_log(&path, now_ms)?);
    notices.extend(check_wal(&path, now_ms));
    let damage = match fs::metadata(&path) {
        Ok(file) if file.len() == 0 => Some("it is empty".to_owned()),
        // SQLite throws a write-ahead log without its database away.
        Err(_) if with_suffix(&path, "wal").exists() => Some("it is missing".to_owned()),
        Ok(_) if db::broken_mark(&path).exists() => {
            refuse_newer(&path)?;
            Some("it could not be written".to_owned())
        }
        Ok(_) | Err(_) => None,
    };
    let damage = match damage {
        Some(damage) => damage,
        None => match try_open(&path, options) {
            Ok(opened) => return Ok((opened, notices)),
            Err(Unusable::Damaged(damage)) => damage,
            Err(other) => return Err(open_error(&path, other)),
        },
    };
    let kept = match salvage(&path, &fresh) {
        Ok(kept) => kept,
        Err(error) => {
            let error = open_error(&fresh, error);
            // Broken as it is, it may still answer reads, which is better than nothing.
            remove_all(&fresh)?;
            let Ok(opened) = try_open(&path, options) else { return Err(error) };
            let what = format!("database {} is broken ({damage}): {error}", path.display());
            notices.push(Notice { what, set_aside: None });
            return Ok((opened, notices));
        }
    };
    rename(&fresh, &complete)?;
    let what = format!("database {} was damaged ({damage}); kept {kept}", path.display());
    notices.push(replace(&path, &complete, now_ms, what)?);
    let _ = fs::remove_file(db::broken_mark(&path));
    let opened = try_open(&path, options).map_err(|error| open_error(&path, error))?;
    Ok((opened, notices))
}

/// Sets aside what is left of the damaged database, and puts the complete one in its place.
fn replace(path: &Path, complete: &Path, now_ms: i64, what: String) -> Result<Notice, OpenError> {
    let set_aside = set_aside(path, now_ms)?;
    rename(complete, path)?;
    Ok(Notice { what, set_aside })
}

/// Sets aside a write-ahead log that belongs to the database in whose place a backup was put:
/// SQLite would apply it to the backup.
fn part_with_log(path: &Path, now_ms: i64) -> Result<Option<Notice>, OpenError> {
    let log = with_suffix(path, "wal");
    let pending = fs::metadata(&log).is_ok_and(|log| log.len() > 0);
    if !pending || !snapshot::is_unopened_copy(path) {
        return Ok(None);
    }
    let aside = with_suffix(&path.with_extension(format!("db.damaged-{now_ms}")), "wal");
    rename(&log, &aside)?;
    remove_all(&with_suffix(path, "shm"))?;
    let what = format!("{} belonged to another database than the backup beside it", log.display());
    Ok(Some(Notice { what, set_aside: Some(aside) }))
}

/// Keeps a copy of a write-ahead log that SQLite will not read to its end.
pub(crate) fn check_wal(path: &Path, now_ms: i64) -> Option<Notice> {
    let log = with_suffix(path, "wal");
    let damage = wal::damage(&log)?;
    let aside = with_suffix(&path.with_extension(format!("db.damaged-{now_ms}")), "wal-copy");
    let what = format!(
        "write-ahead log {} was damaged ({damage}); kept what was written before",
        log.display()
    );
    // A full disk must not keep what is whole from being opened.
    let set_aside = fs::copy(&log, &aside).is_ok().then_some(aside);
    Some(Notice { what, set_aside })
}

/// What a newer version can mend, this one would leave out.
fn refuse_newer(path: &Path) -> Result<(), OpenError> {
    let found = open_damaged(path).map_or(db::FORMAT, |conn| db::format(&conn));
    if found > db::FORMAT {
        return Err(open_error(path, Unusable::Version(found)));
    }
    Ok(())
}

fn try_open(path: &Path, options: &Options) -> Result<Opened, Unusable> {
    let db = Db::open(path, options.size_max_bytes)?;
    let now_ms = options.clock.now_ms();
    let content = db.load(now_ms)?;
    let (next_series, next_blob) = (content.next_series, content.next_blob);
    let mut state = State::new(content);
    let horizons = db.document(retire::DOCUMENT).unwrap_or_default().unwrap_or_default();
    state.horizons = Horizons::read(&horizons);
    db.replay(|entries| state.replay(entries, now_ms))?;
    Ok(Opened { db, state, next_series, next_blob })
}

pub(crate) fn open_error(path: &Path, error: Unusable) -> OpenError {
    let path = path.to_owned();
    match error {
        Unusable::Version(found) => OpenError::Version { path, found, known: db::FORMAT },
        Unusable::Damaged(text) => {
            OpenError::Database { path, cause: rusqlite::Error::InvalidPath(text.into()) }
        }
        Unusable::Other(cause) => match db::write_error(&path, &cause) {
            AppendError::StorageFull { path } => OpenError::StorageFull { path, cause },
            AppendError::ReadOnly { path } => OpenError::NotWritable {
                path,
                cause: io::Error::new(io::ErrorKind::ReadOnlyFilesystem, cause.to_string()),
            },
            _ if cause.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen) => {
                let cause = io::Error::new(io::ErrorKind::PermissionDenied, cause.to_string());
                OpenError::NotWritable { path, cause }
            }
            _ => OpenError::Database { path, cause },
        },
    }
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-");
    name.push(suffix);
    PathBuf::from(name)
}

pub(crate) fn remove_all(path: &Path) -> Result<(), OpenError> {
    for file in [path.to_owned(), with_suffix(path, "wal"), with_suffix(path, "shm")] {
        match fs::remove_file(&file) {
            // Of a file that is not there, a read-only file system says that it is read-only.
            Err(cause) if file.exists() => {
                return Err(OpenError::SetAside { path: file, cause });
            }
            _ => {}
        }
    }
    Ok(())
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), OpenError> {
    fs::rename(from, to)
        .and_then(|()| to.parent().map_or(Ok(()), |dir| fs::File::open(dir)?.sync_all()))
        .map_err(|cause| OpenError::SetAside { path: from.to_owned(), cause })
}

/// Moves the database and its write-ahead log out of the way. Gives where the database is now;
/// `None` when there was only a log.
pub(crate) fn set_aside(path: &Path, now_ms: i64) -> Result<Option<PathBuf>, OpenError> {
    let mut aside = path.with_extension(format!("db.damaged-{now_ms}"));
    let mut more = 1;
    while aside.exists() || with_suffix(&aside, "wal").exists() {
        aside = path.with_extension(format!("db.damaged-{now_ms}-{more}"));
        more += 1;
    }
    let wal = with_suffix(path, "wal");
    // The log goes first: SQLite would take it for that of the next file of this name.
    if wal.exists() {
        rename(&wal, &with_suffix(&aside, "wal"))?;
    }
    let moved = path.exists();
    if moved {
        rename(path, &aside)?;
    }
    remove_all(&with_suffix(path, "shm"))?;
    Ok(moved.then_some(aside))
}

/// How much was saved.
#[derive(Debug, Default)]
struct Kept {
    series: usize,
    shelves_lost: usize,
    blobs: usize,
    blobs_lost: usize,
    parts_lost: usize,
    records: usize,
    records_lost: usize,
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { series, shelves_lost, blobs, blobs_lost, parts_lost, records, records_lost } =
            self;
        write!(f, "{series} series ({shelves_lost} shelves of them are lost), ")?;
        write!(f, "{blobs} blobs ({blobs_lost} are lost, and {parts_lost} parts) ")?;
        write!(f, "and {records} log records ({records_lost} are lost)")
    }
}

/// Fills the fresh database with what is whole of the damaged one.
fn salvage(path: &Path, fresh: &Path) -> Result<Kept, Unusable> {
    let mut into = Db::open(fresh, None)?;
    let mut kept = Kept::default();
    let found = with_suffix(fresh, FOUND);
    let rows = find_rows(path, &found)?;
    if let Some(from) = rows.or_else(|| open_damaged(path)) {
        kept = Salvage {
            from,
            into: &mut into,
            rows: Vec::new(),
            rows_size_bytes: 0,
            last_series: 0,
            last_blob: 0,
        }
        .run()
        .map_err(|error| write_failed(&error))?;
    }
    remove_all_unusable(&found)?;
    into.checkpoint().map_err(|error| write_failed(&error))?;
    drop(into);
    let sync = fs::File::open(fresh).and_then(|file| file.sync_all());
    sync.map_err(|cause| Unusable::Other(rusqlite::Error::InvalidPath(cause.to_string().into())))?;
    Ok(kept)
}

/// Collects whatever rows there are in a file of their own; `None` when there is no room for it.
fn find_rows(path: &Path, found: &Path) -> Result<Option<Connection>, Unusable> {
    remove_all_unusable(found)?;
    let Ok(pages) = Pages::open(path, &with_suffix(path, "wal")) else { return Ok(None) };
    let damaged = open_damaged(path);
    let collected = db::raw::collect(&pages, damaged.as_ref(), found);
    match collected.and_then(|()| Ok(db::raw::collected(found)?)) {
        Ok(rows) => Ok(Some(rows)),
        Err(_) => {
            remove_all_unusable(found)?;
            Ok(None)
        }
    }
}

fn remove_all_unusable(path: &Path) -> Result<(), Unusable> {
    remove_all(path)
        .map_err(|error| Unusable::Other(rusqlite::Error::InvalidPath(error.to_string().into())))
}

/// The fresh database could not be written: the disk is full, most likely.
fn write_failed(error: &AppendError) -> Unusable {
    let code = match error {
        AppendError::StorageFull { .. } => rusqlite::ffi::SQLITE_FULL,
        AppendError::ReadOnly { .. } => rusqlite::ffi::SQLITE_READONLY,
        _ => rusqlite::ffi::SQLITE_IOERR,
    };
    let error = rusqlite::ffi::Error::new(code);
    Unusable::Other(rusqlite::Error::SqliteFailure(error, None))
}

/// The damaged database, so that reading it changes nothing in it.
fn open_damaged(path: &Path) -> Option<Connection> {
    if fs::metadata(path).map_or(true, |file| file.len() == 0) {
        return None;
    }
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).ok()?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).ok()?;
    conn.pragma_update(None, "wal_autocheckpoint", 0).ok()?;
    Some(conn)
}

struct Salvage<'a> {
    from: Connection,
    into: &'a mut Db,
    rows: Vec<Row>,
    rows_size_bytes: usize,
    last_series: u32,
    last_blob: i64,
}

impl Salvage<'_> {
    fn run(mut self) -> Result<Kept, AppendError> {
        let mut kept = Kept::default();
        let spans = self.blobs(&mut kept)?;
        let mut shelves = Vec::new();
        kept.shelves_lost = each_shelf(&self.from, |shelf| {
            let row = shelf.row(&spans);
            shelves.push((row, shelf.series.last().map_or(0, |(id, _)| *id)));
            kept.series += shelf.series.len();
        });
        for (row, last_series) in shelves {
            self.saw_series(last_series);
            self.keep(Row::Shelf(row))?;
        }
        let (logged, lost) = by_id(&self.from, "log", "id, record", |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
        });
        kept.records_lost = lost;
        for (id, record) in logged {
            match log::decode(id, &record) {
                Ok(entries) => {
                    entries.iter().for_each(|entry| self.saw_series(entry.series));
                    kept.records += 1;
                    self.keep(Row::Log(id, record))?;
                }
                Err(_) => kept.records_lost += 1,
            }
        }
        self.texts()?;
        self.flush()?;
        self.into.reserve(self.last_series, self.last_blob)?;
        Ok(kept)
    }

    /// Copies whole blobs. Gives what is known of the samples in them, from their own times: the
    /// catalog may be what is damaged.
    fn blobs(&mut self, kept: &mut Kept) -> Result<Spans, AppendError> {
        let mut spans = Spans::new();
        let columns = db::blob_columns(&self.from);
        let (metas, lost) = by_id(&self.from, "blobs", columns, db::blob_row);
        kept.blobs_lost = lost;
        for meta in metas {
            self.last_blob = self.last_blob.max(meta.id);
            match self.blob(meta, &mut spans, &mut kept.parts_lost) {
                Some(blob) => {
                    kept.blobs += 1;
                    self.keep(Row::Blob(blob))?;
                }
                None => kept.blobs_lost += 1,
            }
        }
        Ok(spans)
    }

    /// A blob with the parts of it that are whole.
    fn blob(&mut self, meta: BlobMeta, spans: &mut Spans, parts_lost: &mut usize) -> Option<Blob> {
        let row = db::directory(&self.from, meta.id).ok()??;
        let directory = Directory::read(meta.id, &row).ok()?;
        let mut parts = Vec::new();
        for part in 0..meta.parts {
            let content = db::part(&self.from, meta.id, part).ok().flatten();
            let whole = content.filter(|row| check_part(meta.id, part, row).is_ok());
            // What stands for a damaged part does not read either; the other parts still do.
            *parts_lost += usize::from(whole.is_none());
            parts.push(whole.unwrap_or_default());
        }
        // A bucket's time is its end.
        let width_ms = match meta.tier.checked_sub(1) {
            Some(tier) => BUCKET_WIDTHS_MS.get(tier as usize).copied().unwrap_or(0),
            None => 0,
        };
        for column in &directory.columns {
            self.saw_series(column.series);
            let times = directory.times(column.times).ok()?;
            if let (Some(&first_ms), Some(&last_ms)) = (times.first(), times.last()) {
                let first_ms = first_ms.saturating_sub(width_ms);
                let id = column.series;
                let new = Span { id, first_ms, last_ms, last_bits: None };
                let span = spans.entry(id).or_insert(new);
                span.first_ms = span.first_ms.min(first_ms);
                span.last_ms = span.last_ms.max(last_ms);
            }
        }
        Some(Blob { meta, directory: row, parts })
    }

    /// Copies metadata and documents, which have texts for keys.
    fn texts(&mut self) -> Result<(), AppendError> {
        for metadata in
            by_text(&self.from, "metadata", "family, kind, help, unit", db::metadata_row)
        {
            self.keep(Row::Metadata(metadata))?;
        }
        let documents = by_text(&self.from, "documents", "key, document", |row| {
            let key: String = row.get(0)?;
            let document = db::open_document(&key, row.get_ref(1)?.as_blob()?)?;
            Ok((key, document))
        });
        for (key, document) in documents {
            self.keep(Row::Document(key, document))?;
        }
        Ok(())
    }

    fn saw_series(&mut self, id: u32) {
        self.last_series = self.last_series.max(id);
    }

    fn keep(&mut self, row: Row) -> Result<(), AppendError> {
        self.rows_size_bytes += row.size_bytes();
        self.rows.push(row);
        let is_much = self.rows_size_bytes >= ROWS_SIZE_MAX_BYTES;
        if is_much || self.rows.len() >= ROWS_KEPT_AT_ONCE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), AppendError> {
        self.rows_size_bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        self.into.keep(&rows)
    }
}

type Spans = BTreeMap<u32, Span>;

/// A shelf of a database, as far as it reads.
#[derive(Debug)]
pub(crate) struct ShelfRead {
    pub(crate) shelf: u32,
    /// Ascending by id.
    pub(crate) series: Vec<(u32, Labels)>,
    /// `None` when they do not read.
    pub(crate) spans: Option<Vec<Span>>,
}

impl ShelfRead {
    /// Its row, with the spans of its own, and where it has none, those found otherwise: rows of
    /// a format that had spans elsewhere are read as series that are new.
    fn row(&self, found: &Spans) -> ShelfRow {
        let own = self.spans.iter().flatten().map(|span| (span.id, *span));
        let ids = self.series.iter().map(|(id, _)| id);
        let mut spans: Spans = ids.filter_map(|id| Some((*id, *found.get(id)?))).collect();
        spans.extend(own);
        db::shelf_row(self.shelf, &self.series, &spans)
    }
}

/// Calls `each` with every shelf that reads, new series that have rows of their own among the
/// others. Gives how many shelves lost their series.
pub(crate) fn each_shelf(conn: &Connection, mut each: impl FnMut(ShelfRead)) -> usize {
    let mut new: BTreeMap<u32, Vec<(u32, Labels)>> = BTreeMap::new();
    let (rows, lost) = by_id(conn, "series", "id, shelf, labels", db::series_row);
    for (id, shelf, labels) in rows {
        new.entry(shelf).or_default().push((id, labels));
    }
    if db::format(conn) == 1 {
        let columns = "id, first_ms, last_ms, checksum";
        let (spans, spans_lost) = by_id(conn, "spans", columns, db::span_row_of_format_1);
        let spans: Spans = spans.into_iter().map(|span| (span.id, span)).collect();
        for (shelf, series) in new {
            let of_shelf = series.iter().filter_map(|(id, _)| spans.get(id)).copied().collect();
            let spans = (spans_lost == 0).then_some(of_shelf);
            each(ShelfRead { shelf, series, spans });
        }
        return usize::from(lost > 0);
    }
    let (ids, shelves_lost) = by_id(conn, "shelves", "id", |row| row.get::<_, u32>(0));
    let mut lost = shelves_lost + usize::from(lost > 0);
    // One at a time: all of them may be much.
    for shelf in ids {
        let sql = format!("SELECT {} FROM shelves WHERE id = ?1", db::SHELF_COLUMNS);
        let read = conn.query_row(&sql, [shelf], |row| {
            let spans = db::spans_row(row).ok().map(|(_, spans)| spans);
            Ok((spans, db::shelf_series(row).ok()))
        });
        let (spans, read) = read.unwrap_or((None, None));
        lost += usize::from(read.is_none());
        let mut series: Vec<(u32, Labels)> = read
            .iter()
            .flat_map(|(_, read)| read.series().map(|(id, set)| (id, read.labels(set))))
            .collect();
        series.extend(new.remove(&shelf).unwrap_or_default());
        series.sort_by_key(|(id, _)| *id);
        series.dedup_by_key(|(id, _)| *id);
        each(ShelfRead { shelf, series, spans });
    }
    // Series that are new are not sealed yet.
    let spans = Some(Vec::new());
    for (shelf, series) in new {
        each(ShelfRead { shelf, series, spans: spans.clone() });
    }
    lost
}

/// The rows of a table with an integer key that read, and how many do not.
///
/// Behind a page that does not read, it goes on at ids further and further away.
pub(crate) fn by_id<T>(
    conn: &Connection,
    table: &str,
    columns: &str,
    read: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> (Vec<T>, usize) {
    let mut good = Vec::new();
    let mut lost = 0;
    let mut last = i64::MIN;
    let mut skip = 0;
    let sql = format!("SELECT {columns} FROM {table} WHERE id > ?1 ORDER BY id");
    while skip <= SKIP_MAX {
        let after = last.saturating_add(skip);
        let mut step = || -> rusqlite::Result<()> {
            let mut statement = conn.prepare(&sql)?;
            let mut rows = statement.query([after])?;
            while let Some(row) = rows.next()? {
                last = row.get(0)?;
                skip = 0;
                match read(row) {
                    Ok(row) => good.push(row),
                    Err(_) => lost += 1,
                }
            }
            Ok(())
        };
        if step().is_ok() {
            break;
        }
        // Ids start at 1; before the first row that reads there is nothing to add to.
        last = last.max(0);
        skip = (skip * 2).max(1);
    }
    (good, lost)
}

/// The rows of a table with a text key that read, from both ends up to a page that does not.
pub(crate) fn by_text<T>(
    conn: &Connection,
    table: &str,
    columns: &str,
    read: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Vec<T> {
    let mut good = std::collections::BTreeMap::new();
    for order in ["ASC", "DESC"] {
        let sql = format!("SELECT {columns} FROM {table} ORDER BY 1 {order}");
        let mut each = || -> rusqlite::Result<()> {
            let mut statement = conn.prepare(&sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if let (Ok(key), Ok(row)) = (row.get::<_, String>(0), read(row)) {
                    good.insert(key, row);
                }
            }
            Ok(())
        };
        // A page that does not read ends this direction, and the other one is tried.
        if each().is_ok() {
            break;
        }
    }
    good.into_values().collect()
}
