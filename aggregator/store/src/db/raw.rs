//! Putting rows into a database as they were found in a damaged one, checked or not.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::{FORMAT, SCHEMA, Unusable};
use crate::pages::{Pages, RawRow};
use crate::salvage::SKIP_MAX;

/// Rows of one transaction.
const ROWS_AT_ONCE: usize = 1024;

/// The columns of a blob in databases of format 1.
const BLOB_FORMAT_1: &str =
    "id, shelf, level, first_ms, last_ms, samples, parts, size_bytes, checksum, directory";

/// Collects in a fresh file at `into` whatever rows the damaged database has, found on its pages
/// and through its trees. Of two rows with one key, the first that was found is taken. Nobody
/// needs the file after a crash.
pub(crate) fn collect(
    pages: &Pages,
    damaged: Option<&Connection>,
    into: &Path,
) -> Result<(), Unusable> {
    let mut conn = Connection::open(into)?;
    conn.query_row("PRAGMA journal_mode = OFF", [], |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "OFF")?;
    conn.execute_batch(SCHEMA)?;
    conn.pragma_update(None, "user_version", FORMAT)?;
    let mut tables = Tables::of(&conn)?;
    // Where a database of this format has them, for what the first page does not say any more.
    tables.names = tables.roots.iter().map(|(name, root)| (*root, name.clone())).collect();
    let said = pages.tables().into_iter().filter(|(name, _)| tables.columns.contains_key(name));
    let said: Vec<(u32, String)> = said.map(|(name, root)| (root, name)).collect();
    tables.names.extend(said);
    let mut rows = Vec::new();
    pages.rows(|row| {
        rows.push(row);
        if rows.len() < ROWS_AT_ONCE { Ok(()) } else { tables.insert(&mut conn, &mut rows) }
    })?;
    tables.insert(&mut conn, &mut rows)?;
    if let Some(damaged) = damaged {
        for (table, columns) in tables.columns.clone() {
            match columns.first() {
                Some(key) if key == "id" => tables.walk(damaged, &mut conn, &table)?,
                Some(key) => tables.walk_texts(damaged, &mut conn, &table, key)?,
                None => {}
            }
        }
    }
    Ok(())
}

/// The tables of the fresh file.
struct Tables {
    columns: BTreeMap<String, Vec<String>>,
    roots: BTreeMap<String, u32>,
    /// The tables of the damaged file, by their root pages.
    names: BTreeMap<u32, String>,
}

impl Tables {
    fn of(conn: &Connection) -> rusqlite::Result<Self> {
        let mut tables =
            Self { columns: BTreeMap::new(), roots: BTreeMap::new(), names: BTreeMap::new() };
        let sql =
            "SELECT s.name, s.rootpage, c.name FROM sqlite_schema s, pragma_table_info(s.name) c
            WHERE s.type = 'table' AND s.name NOT LIKE 'sqlite_%' ORDER BY s.name, c.cid";
        let mut statement = conn.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let table: String = row.get(0)?;
            // The fresh file has no pointer map, which is the second page of the others.
            tables.roots.insert(table.clone(), row.get::<_, u32>(1)? + 1);
            tables.columns.entry(table).or_default().push(row.get(2)?);
        }
        Ok(tables)
    }

    fn insert(&self, conn: &mut Connection, rows: &mut Vec<RawRow>) -> Result<(), Unusable> {
        let tx = conn.transaction()?;
        for row in rows.drain(..) {
            let Some(table) = self.names.get(&row.root) else { continue };
            self.insert_one(&tx, table, row)?;
        }
        Ok(tx.commit()?)
    }

    fn insert_one(&self, tx: &Connection, table: &str, row: RawRow) -> rusqlite::Result<()> {
        let RawRow { id, mut columns, .. } = row;
        if let (Some(id), Some(first)) = (id, columns.first_mut()) {
            *first = Value::Integer(id);
        }
        let Some(known) = self.columns.get(table) else { return Ok(()) };
        let names = match columns.len() {
            len if len == known.len() => known.join(", "),
            len if table == "blobs" && len == BLOB_FORMAT_1.split(',').count() => {
                BLOB_FORMAT_1.to_owned()
            }
            // What does not fit is not a row of this table.
            _ => return Ok(()),
        };
        let places = vec!["?"; columns.len()].join(",");
        let sql = format!("INSERT OR IGNORE INTO {table} ({names}) VALUES ({places})");
        tx.prepare_cached(&sql)?.execute(params_from_iter(columns)).map(drop)
    }

    /// Adds the rows that SQLite finds, behind damaged pages too.
    fn walk(&self, from: &Connection, into: &mut Connection, table: &str) -> Result<(), Unusable> {
        let sql = format!("SELECT * FROM {table} WHERE id > ?1 ORDER BY id");
        let (mut last, mut skip) = (i64::MIN, 0_i64);
        while skip <= SKIP_MAX {
            let after = last.saturating_add(skip);
            let tx = into.transaction()?;
            let mut step = || -> rusqlite::Result<()> {
                let mut statement = from.prepare(&sql)?;
                let count = statement.column_count();
                let mut rows = statement.query([after])?;
                while let Some(row) = rows.next()? {
                    last = row.get(0)?;
                    skip = 0;
                    let columns = (0..count).map(|at| cell(row, at)).collect::<Result<_, _>>();
                    let Ok(columns) = columns else { continue };
                    let row = RawRow { root: 0, id: None, columns };
                    self.insert_one(&tx, table, row)?;
                }
                Ok(())
            };
            let done = step().is_ok();
            tx.commit()?;
            if done {
                break;
            }
            last = last.max(0);
            skip = (skip * 2).max(1);
        }
        Ok(())
    }

    /// The same where keys are texts: from both ends up to a page that does not read.
    fn walk_texts(
        &self,
        from: &Connection,
        into: &mut Connection,
        table: &str,
        key: &str,
    ) -> Result<(), Unusable> {
        for order in ["ASC", "DESC"] {
            let tx = into.transaction()?;
            let step = || -> rusqlite::Result<()> {
                let sql = format!("SELECT * FROM {table} ORDER BY {key} {order}");
                let mut statement = from.prepare(&sql)?;
                let count = statement.column_count();
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    let columns = (0..count).map(|at| cell(row, at)).collect::<Result<_, _>>()?;
                    self.insert_one(&tx, table, RawRow { root: 0, id: None, columns })?;
                }
                Ok(())
            };
            let _ = step();
            tx.commit()?;
        }
        Ok(())
    }
}

/// A value as it is; text that is none any more as bytes.
fn cell(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Value> {
    Ok(match row.get_ref(at)? {
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => Value::Blob(bytes.to_vec()),
        },
        other => other.try_into()?,
    })
}

/// The collected rows, to be read.
pub(crate) fn collected(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}
