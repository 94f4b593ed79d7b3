//! The statements of those who look at a database from outside: to copy, check or describe it.

use std::fmt::Write;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::{APPLICATION_ID, CACHE_KIB, FORMAT, Unusable};

/// A connection that only reads, and that leaves the files as they are.
pub(crate) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let conn = super::reader(path)?;
    conn.busy_timeout(Duration::from_secs(10))?;
    // The first read is what meets missing rights.
    super::pin(&conn)?;
    Ok(conn)
}

/// A connection to a file that nobody writes to: no locks, no companions.
pub(crate) fn immutable(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte));
            }
            _ => {
                let _ = write!(uri, "%{byte:02x}");
            }
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let conn = Connection::open_with_flags(uri, flags)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    Ok(conn)
}

/// Begins the transaction that sees the database as it is now, to the connection's end, when it
/// is one of ours. Gives its format.
pub(crate) fn begin(conn: &Connection) -> Result<i64, Unusable> {
    conn.execute_batch("BEGIN")?;
    super::pin(conn)?;
    if pragma(conn, "application_id")? != APPLICATION_ID {
        return Err(Unusable::Damaged("it is not a labstat database".to_owned()));
    }
    match pragma(conn, "user_version")? {
        newer if newer > FORMAT => Err(Unusable::Version(newer)),
        format => Ok(format),
    }
}

/// Bytes of the database.
pub(crate) fn size_bytes(conn: &Connection) -> rusqlite::Result<u64> {
    let bytes = pragma(conn, "page_count")?.saturating_mul(pragma(conn, "page_size")?);
    Ok(bytes.max(0).unsigned_abs())
}

/// Bytes of the pages that are in no use.
pub(crate) fn free_bytes(conn: &Connection) -> rusqlite::Result<u64> {
    let bytes = pragma(conn, "freelist_count")?.saturating_mul(pragma(conn, "page_size")?);
    Ok(bytes.max(0).unsigned_abs())
}

fn pragma(conn: &Connection, name: &str) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, name, |row| row.get(0))
}

/// Copies what `from` sees into the file `to`, and calls `each` with the pages done and all pages
/// until that fails.
pub(crate) fn copy(
    from: &Connection,
    to: &Path,
    pages: i32,
    mut each: impl FnMut(u64, u64) -> io::Result<()>,
) -> rusqlite::Result<io::Result<()>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut to = Connection::open_with_flags(to, flags)?;
    // A copy that is not complete is worth nothing, so that nothing needs to guard it.
    to.query_row("PRAGMA journal_mode = OFF", [], |_| Ok(()))?;
    to.pragma_update(None, "synchronous", "OFF")?;
    to.pragma_update(None, "cache_size", -CACHE_KIB)?;
    let backup = Backup::new(from, &mut to)?;
    loop {
        let step = backup.step(pages)?;
        let progress = backup.progress();
        let total = u64::try_from(progress.pagecount).unwrap_or(0);
        let left = u64::try_from(progress.remaining).unwrap_or(0);
        if let Err(cause) = each(total.saturating_sub(left), total) {
            return Ok(Err(cause));
        }
        match step {
            StepResult::Done => return Ok(Ok(())),
            StepResult::More => {}
            // Nobody else knows the copy, and the source is read in a transaction that began.
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// What SQLite finds wrong with the structure of the file, in its words.
pub(crate) fn structure(conn: &Connection, max: usize) -> rusqlite::Result<Vec<String>> {
    let mut statement = conn.prepare(&format!("PRAGMA integrity_check({max})"))?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    let mut found = rows.collect::<Result<Vec<String>, _>>()?;
    found.retain(|line| line != "ok");
    Ok(found)
}

/// Whether SQLite finds nothing wrong with the structure of the file. Reads all of it but what
/// large values hold.
pub(crate) fn is_sound(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
        .map(|found| found == "ok")
}

/// The tables, with their rows and the bytes of what is in them; a table that does not read is
/// left out.
pub(crate) fn tables(conn: &Connection) -> rusqlite::Result<Vec<(String, u64, u64)>> {
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let mut names = conn.prepare(names)?;
    let names: Vec<String> = names.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut tables = Vec::new();
    for name in names {
        let columns = format!("SELECT name FROM pragma_table_info('{name}')");
        let mut columns = conn.prepare(&columns)?;
        let columns: Vec<String> =
            columns.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        // The length of a blob stands in its row, so that its content is not read.
        let lengths: Vec<String> = columns
            .iter()
            .map(|column| {
                format!("CASE typeof({column}) WHEN 'integer' THEN 6 ELSE coalesce(length({column}), 0) END")
            })
            .collect();
        let sql = format!("SELECT count(*), sum({}) FROM {name}", lengths.join(" + "));
        let row = conn.query_row(&sql, [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?.unwrap_or(0)))
        });
        if let Ok((rows, bytes)) = row {
            tables.push((name, rows.max(0).unsigned_abs(), bytes.max(0).unsigned_abs()));
        }
    }
    Ok(tables)
}
