//! The queue's database: its schema, its settings, and every statement it runs.
//!
//! WAL mode with `synchronous=FULL` for what is pushed, as in the store. What is deleted is not
//! waited for: a row that comes back after a power loss is delivered once more.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, params};

use super::{ITEM_OVERHEAD_BYTES, NewItem, Queued};
use crate::db::{Unusable, write_error};
use crate::salvage::{self, with_suffix};
use crate::varint::checksum;
use crate::{AppendError, Notice, OpenError};

/// Says that a SQLite file is a queue of ours ("LSTQ").
const APPLICATION_ID: i64 = 0x4c53_5451;

/// The newest format this version reads, and the one it writes.
const FORMAT: i64 = 1;

/// Kibibytes of pages the connection keeps: rows are written once and read once.
const CACHE_KIB: i64 = 512;

/// The write-ahead log is cut back to this after a checkpoint.
const WAL_LEN_MAX: i64 = 8 * 1024 * 1024;

/// Free pages are given back to the file system when there are more than this: 4 MiB, which what
/// comes next fills again.
const FREE_PAGES_MIN: i64 = 1024;

/// Free pages given back at a time, so that nobody waits long for it.
const VACUUM_PAGES: i64 = 1024;

const SCHEMA: &str = "CREATE TABLE queue (id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, \
                      samples INTEGER NOT NULL, checksum INTEGER NOT NULL, content BLOB NOT NULL)";

/// What is in the queue, as far as it is kept in memory.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// The id of the next item; one that was given is never given again while the queue is open.
    pub(super) next_id: i64,
    /// Items up to this one were delivered.
    pub(super) acked_id: i64,
    pub(super) items: u64,
    pub(super) samples: u64,
    pub(super) size_bytes: u64,
    pub(super) oldest_ms: Option<i64>,
    pub(super) damaged: u64,
    /// The last item that was found damaged, so that none is told twice.
    pub(super) damaged_id: i64,
}

/// What lies between two ids.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extent {
    items: u64,
    samples: u64,
    size_bytes: u64,
}

impl Content {
    /// Takes note of an item that is on the disk.
    pub(super) fn note(&mut self, item: &NewItem) {
        if self.items == 0 {
            self.oldest_ms = Some(item.time_ms);
        }
        self.next_id = self.next_id.saturating_add(1);
        self.items += 1;
        self.samples += item.samples;
        self.size_bytes += item.content.len() as u64 + ITEM_OVERHEAD_BYTES;
    }

    /// Takes note of items that were found damaged.
    pub(super) fn note_damaged(&mut self, ids: &[i64]) {
        let new = ids.iter().filter(|id| **id > self.damaged_id);
        let (Some(first), Some(last)) = (new.clone().min(), new.clone().max()) else { return };
        let count = new.count();
        tracing::error!(first, last, count, "queued writes are damaged and lost");
        self.damaged += count as u64;
        self.damaged_id = *last;
    }

    /// Takes over what is in a database that was made anew.
    pub(super) fn renew(&mut self, found: &Self) {
        let Self { next_id, acked_id, damaged, damaged_id, .. } = *self;
        let lost = self.items.saturating_sub(found.items);
        *self = Self { next_id, acked_id, damaged: damaged + lost, damaged_id, ..*found };
    }

    pub(super) fn forget(&mut self, extent: Extent) {
        self.items = self.items.saturating_sub(extent.items);
        self.samples = self.samples.saturating_sub(extent.samples);
        self.size_bytes = self.size_bytes.saturating_sub(extent.size_bytes);
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct Db {
    conn: Connection,
    path: PathBuf,
    opened_ms: i64,
}

/// Suffix of a fresh database while it is filled.
const FRESH: &str = "salvage";

/// Suffix of a fresh database when it is complete.
const COMPLETE: &str = "salvaged";

/// Opens or makes the database; saves what is whole of a damaged one.
pub(super) fn open(path: &Path, now_ms: i64) -> Result<(Db, Content, Vec<Notice>), OpenError> {
    let mut notices = Vec::new();
    if with_suffix(path, COMPLETE).exists() {
        let what =
            format!("queue {} was damaged; ended a salvage that was cut off", path.display());
        notices.push(replace(path, now_ms, what)?);
    }
    notices.extend(salvage::check_wal(path, now_ms));
    match Db::open(path, now_ms) {
        Ok((db, content)) => Ok((db, content, notices)),
        Err(Unusable::Damaged(damage)) => {
            notices.push(save(path, now_ms, &damage)?);
            let opened = Db::open(path, now_ms);
            let (db, content) = opened.map_err(|error| salvage::open_error(path, error))?;
            Ok((db, content, notices))
        }
        Err(Unusable::Version(found)) => {
            Err(OpenError::Version { path: path.to_owned(), found, known: FORMAT })
        }
        Err(other) => Err(salvage::open_error(path, other)),
    }
}

/// Puts what reads of a damaged database into a fresh one in its place. A crash at any point costs
/// nothing: only a complete one takes the place.
fn save(path: &Path, now_ms: i64, damage: &str) -> Result<Notice, OpenError> {
    let fresh = with_suffix(path, FRESH);
    salvage::remove_all(&fresh)?;
    let fill = || {
        let (mut db, _) = Db::open(&fresh, now_ms)?;
        let kept = db.take_over(path)?;
        db.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(kept)
    };
    let kept = fill().map_err(|error| salvage::open_error(&fresh, error))?;
    salvage::rename(&fresh, &with_suffix(path, COMPLETE))?;
    let what = format!("queue {} was damaged ({damage}); kept {kept} writes", path.display());
    replace(path, now_ms, what)
}

/// Sets aside what is left of the damaged database, and puts the complete one in its place.
fn replace(path: &Path, now_ms: i64, what: String) -> Result<Notice, OpenError> {
    let set_aside = salvage::set_aside(path, now_ms)?;
    salvage::rename(&with_suffix(path, COMPLETE), path)?;
    Ok(Notice { what, set_aside })
}

impl Db {
    fn open(path: &Path, now_ms: i64) -> Result<(Self, Content), Unusable> {
        let conn = Connection::open(path)?;
        set_up(&conn)?;
        let db = Self { conn, path: path.to_owned(), opened_ms: now_ms };
        let content = db.load()?;
        Ok((db, content))
    }

    /// Sets the database aside, which was found damaged, and goes on with what reads of it.
    pub(super) fn renew(&mut self, damage: &str) -> Result<(Content, Notice), OpenError> {
        let error = |error| salvage::open_error(&self.path, error);
        // Closed before it is moved.
        let stand_in = Connection::open_in_memory();
        self.conn = stand_in.map_err(Unusable::from).map_err(error)?;
        let saved = save(&self.path, self.opened_ms, damage);
        // When it could not be saved, the damaged one still takes writes where it can.
        let (db, content) = Db::open(&self.path, self.opened_ms)
            .map_err(|error| salvage::open_error(&self.path, error))?;
        *self = db;
        Ok((content, saved?))
    }

    fn load(&self) -> rusqlite::Result<Content> {
        let sql = "SELECT coalesce(min(id), 1), coalesce(max(id), 0) FROM queue";
        let (first, last): (i64, i64) =
            self.conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let acked_id = first.saturating_sub(1);
        let extent = self.extent(acked_id, last)?;
        Ok(Content {
            next_id: last.saturating_add(1),
            acked_id,
            items: extent.items,
            samples: extent.samples,
            size_bytes: extent.size_bytes,
            oldest_ms: self.oldest_ms(acked_id)?,
            damaged: 0,
            damaged_id: acked_id,
        })
    }

    /// Stores items; on return they are on the disk.
    pub(super) fn insert(&mut self, first_id: i64, items: &[NewItem]) -> Result<(), AppendError> {
        let mut run = || -> rusqlite::Result<()> {
            let tx = self.conn.transaction()?;
            for (id, item) in (first_id..).zip(items) {
                insert(&tx, id, item.time_ms, item.samples.cast_signed(), &item.content)?;
            }
            tx.commit()
        };
        run().map_err(|cause| write_error(&self.path, &cause))
    }

    /// What lies behind `after` and not behind `last`.
    pub(super) fn extent(&self, after: i64, last: i64) -> rusqlite::Result<Extent> {
        let sql = "SELECT count(*), coalesce(sum(samples), 0), coalesce(sum(length(content)), 0) \
                   FROM queue WHERE id > ?1 AND id <= ?2";
        self.conn.prepare_cached(sql)?.query_row([after, last], |row| {
            let number =
                |at| row.get::<_, i64>(at).map(|number| u64::try_from(number).unwrap_or(0));
            let (items, samples, len) = (number(0)?, number(1)?, number(2)?);
            Ok(Extent { items, samples, size_bytes: len + items * ITEM_OVERHEAD_BYTES })
        })
    }

    /// When the first item behind `after` was queued.
    pub(super) fn oldest_ms(&self, after: i64) -> rusqlite::Result<Option<i64>> {
        let sql = "SELECT min(time_ms) FROM (SELECT time_ms FROM queue WHERE id > ?1 ORDER BY id LIMIT 1)";
        self.conn.prepare_cached(sql)?.query_row([after], |row| row.get(0))
    }

    /// The first items behind `after`, and the ids of damaged ones among them.
    pub(super) fn read(
        &self,
        after: i64,
        items_max: usize,
        size_max_bytes: usize,
    ) -> rusqlite::Result<(Vec<Queued>, Vec<i64>)> {
        let sql =
            "SELECT id, time_ms, samples, checksum, content FROM queue WHERE id > ?1 ORDER BY id";
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query([after])?;
        let (mut items, mut damaged, mut size) = (Vec::new(), Vec::new(), 0);
        while items.len() < items_max
            && let Some(row) = rows.next()?
        {
            match item(row) {
                Ok(item) if items.is_empty() || size + item.content.len() <= size_max_bytes => {
                    size += item.content.len();
                    items.push(item);
                }
                Ok(_) => break,
                Err(_) => damaged.push(row.get(0)?),
            }
        }
        Ok((items, damaged))
    }

    /// Deletes all up to `id`, and gives some of the room back. Not waited for.
    pub(super) fn delete(&mut self, id: i64) -> Result<(), AppendError> {
        let conn = &self.conn;
        let run = || -> rusqlite::Result<()> {
            conn.pragma_update(None, "synchronous", "NORMAL")?;
            conn.prepare_cached("DELETE FROM queue WHERE id <= ?1")?.execute([id])?;
            let free: i64 = conn.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
            if free > FREE_PAGES_MIN {
                let sql = format!("PRAGMA incremental_vacuum({VACUUM_PAGES})");
                let mut statement = conn.prepare(&sql)?;
                let mut rows = statement.query([])?;
                while rows.next()?.is_some() {}
            }
            Ok(())
        };
        let done = run();
        let safe = conn.pragma_update(None, "synchronous", "FULL");
        done.and(safe).map_err(|cause| write_error(&self.path, &cause))
    }

    /// Moves the write-ahead log into the database and empties it.
    pub(super) fn checkpoint(&self) -> Result<(), AppendError> {
        self.conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(|cause| write_error(&self.path, &cause))
    }

    /// Copies what reads of a damaged database, from both ends as far as it goes.
    fn take_over(&mut self, damaged: &Path) -> Result<usize, Unusable> {
        let Ok(old) = Connection::open(damaged) else { return Ok(0) };
        let tx = self.conn.transaction()?;
        let mut kept = 0;
        let mut last_id = i64::MIN;
        for order in ["ASC", "DESC"] {
            let sql = format!(
                "SELECT id, time_ms, samples, checksum, content FROM queue ORDER BY id {order}"
            );
            let Ok(mut statement) = old.prepare(&sql) else { continue };
            let Ok(mut rows) = statement.query([]) else { continue };
            // Ends with the rows or with what does not read.
            while let Ok(Some(row)) = rows.next() {
                let Ok(item) = item(row) else { continue };
                if order == "DESC" && item.id <= last_id {
                    break;
                }
                insert(&tx, item.id, item.time_ms, item.samples.cast_signed(), &item.content)?;
                kept += 1;
                if order == "ASC" {
                    last_id = item.id;
                }
            }
        }
        tx.commit()?;
        Ok(kept)
    }
}

fn set_up(conn: &Connection) -> Result<(), Unusable> {
    let pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    conn.busy_timeout(Duration::from_secs(10))?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    } else if pragma("application_id")? != APPLICATION_ID {
        return Err(Unusable::Damaged("it is no queue of labstat".to_owned()));
    }
    let format = pragma("user_version")?;
    if format > FORMAT {
        return Err(Unusable::Version(format));
    }
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update(None, "journal_size_limit", WAL_LEN_MAX)?;
    conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    if tables == 0 {
        let marks = format!("PRAGMA application_id={APPLICATION_ID};PRAGMA user_version={FORMAT};");
        conn.execute_batch(&format!("BEGIN;{SCHEMA};{marks}COMMIT;"))?;
    }
    Ok(())
}

fn insert(
    conn: &Connection,
    id: i64,
    time_ms: i64,
    samples: i64,
    content: &[u8],
) -> rusqlite::Result<()> {
    let sql =
        "INSERT INTO queue (id, time_ms, samples, checksum, content) VALUES (?1, ?2, ?3, ?4, ?5)";
    let crc = checksum(&[id, time_ms, samples], content);
    conn.prepare_cached(sql)?.execute(params![id, time_ms, samples, crc, content]).map(drop)
}

/// Reads `id, time_ms, samples, checksum, content`; an error when the checksum does not fit.
fn item(row: &rusqlite::Row<'_>) -> rusqlite::Result<Queued> {
    let (id, time_ms, samples): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let content = row.get_ref(4)?.as_blob()?;
    if checksum(&[id, time_ms, samples], content) != row.get::<_, u32>(3)? {
        return Err(rusqlite::Error::IntegralValueOutOfRange(3, id));
    }
    Ok(Queued { id, time_ms, samples: samples.cast_unsigned(), content: content.to_vec() })
}
