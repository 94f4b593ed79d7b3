//! The rows of a SQLite file, read from its pages one by one.
//!
//! SQLite finds rows through the tree above them, so that one flipped bit near the root hides all
//! of a table. Here every page is looked at by itself: the pointer map, which files that shrink by
//! `auto_vacuum` have, says which pages are in use and what stands above each. What comes out may
//! be damaged; its checksums tell.
//!
//! The layout is SQLite's ("Database File Format", sections 1 to 3). Nothing is written.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::types::Value;

use crate::wal::{self, Committed};

/// What our databases have; others only where a header that reads says so.
const PAGE_LEN: usize = 4096;

/// The page with the lock bytes, at 1 GiB, is never used.
const LOCK_BYTES_AT: u64 = 0x4000_0000;

/// Kinds of pages in the pointer map.
const MAP_ROOT: u8 = 1;
const MAP_TREE: u8 = 5;

/// Kinds of pages by their first byte.
const LEAF_OF_TABLE: u8 = 0x0d;
const LEAF_OF_INDEX: u8 = 0x0a;
/// Pages above the leaves have rows of their own in trees without integer keys.
const ABOVE_LEAVES_OF_INDEX: u8 = 0x02;

/// Levels of a tree; each has hundreds of pages below every page.
const DEPTH_MAX: usize = 16;

/// Bytes of one row: what a blob of the store may have, and more.
const ROW_LEN_MAX: u64 = 1 << 30;

/// Columns of one row; no table of ours has half as many.
const COLUMNS_MAX: usize = 32;

/// A row as it stands in its page.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RawRow {
    /// The root page of its table.
    pub(crate) root: u32,
    /// Its key, in tables that have an integer for one; that column then reads as null.
    pub(crate) id: Option<i64>,
    pub(crate) columns: Vec<Value>,
}

/// A database file with what its write-ahead log adds.
pub(crate) struct Pages {
    /// None when it was lost and only its log is there.
    file: Option<File>,
    log: Option<(File, HashMap<u32, u64>)>,
    page_len: usize,
    pub(crate) count: u32,
}

impl Pages {
    pub(crate) fn open(path: &Path, log: &Path) -> io::Result<Self> {
        let file = match File::open(path) {
            Ok(file) => Some(file),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
            Err(cause) => return Err(cause),
        };
        let mut header = [0; 100];
        let known = file.as_ref().is_some_and(|file| file.read_exact_at(&mut header, 0).is_ok());
        let said = usize::from(u16::from_be_bytes([header[16], header[17]]));
        let plausible = known && said >= 512 && said.is_power_of_two();
        let mut page_len = if plausible { said } else { PAGE_LEN };
        let committed = wal::committed(log).unwrap_or_default();
        let Committed { pages, page_len: of_log, count: count_of_log } = committed;
        if of_log > 0 {
            page_len = of_log;
        }
        let len = file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |file| file.len());
        let count = len / page_len as u64;
        let count = u32::try_from(count).unwrap_or(u32::MAX).max(count_of_log);
        let log = File::open(log).ok().filter(|_| !pages.is_empty()).map(|log| (log, pages));
        Ok(Self { file, log, page_len, count })
    }

    fn read(&self, page: u32) -> Option<Vec<u8>> {
        let mut content = vec![0; self.page_len];
        let (file, at) = self.place(page)?;
        file.read_exact_at(&mut content, at).is_ok().then_some(content)
    }

    /// Some bytes of a page.
    fn part<const N: usize>(&self, page: u32, at: usize) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        let (file, start) = self.place(page)?;
        file.read_exact_at(&mut bytes, start + at as u64).is_ok().then_some(bytes)
    }

    /// Where the newest version of a page lies.
    fn place(&self, page: u32) -> Option<(&File, u64)> {
        let in_log = self.log.as_ref().and_then(|(log, pages)| Some((log, *pages.get(&page)?)));
        let at = u64::from(page.checked_sub(1)?) * self.page_len as u64;
        in_log.or_else(|| Some((self.file.as_ref()?, at)))
    }

    /// The tables by name with their root pages, as the first page has them; none when it does
    /// not read.
    pub(crate) fn tables(&self) -> BTreeMap<String, u32> {
        let mut tables = BTreeMap::new();
        let Some(page) = self.read(1) else { return tables };
        for row in self.rows_of(&page, 100, 1) {
            if let [Value::Text(kind), Value::Text(name), _, Value::Integer(root), ..] =
                &row.columns[..]
                && kind == "table"
                && let Ok(root) = u32::try_from(*root)
            {
                tables.insert(name.clone(), root);
            }
        }
        tables
    }

    /// Calls `each` with every row on a page that is in use.
    pub(crate) fn rows<E>(&self, mut each: impl FnMut(RawRow) -> Result<(), E>) -> Result<(), E> {
        for page in 2..=self.count {
            let Some(root) = self.root(page) else { continue };
            let Some(content) = self.read(page) else { continue };
            self.rows_of(&content, 0, root).into_iter().try_for_each(&mut each)?;
        }
        Ok(())
    }

    /// The root of the tree that a page belongs to, by the pointer map.
    fn root(&self, page: u32) -> Option<u32> {
        let mut at = page;
        for _ in 0..DEPTH_MAX {
            match self.mapped(at)? {
                (MAP_ROOT, _) => return Some(at),
                (MAP_TREE, parent) => at = parent,
                _ => return None,
            }
        }
        None
    }

    /// What the pointer map says of a page: its kind and its parent.
    fn mapped(&self, page: u32) -> Option<(u8, u32)> {
        let per_map = u32::try_from(self.page_len / 5 + 1).ok()?;
        let locked = u32::try_from(LOCK_BYTES_AT / self.page_len as u64 + 1).ok()?;
        let mut map = page.checked_sub(2)? / per_map * per_map + 2;
        if map == locked {
            map += 1;
        }
        let at = 5 * usize::try_from(page.checked_sub(map)?.checked_sub(1)?).ok()?;
        let entry: [u8; 5] = self.part(map, at)?;
        let [kind, a, b, c, d] = entry;
        Some((kind, u32::from_be_bytes([a, b, c, d])))
    }

    /// The rows on a leaf whose header begins at `start`; those that do not read are left out.
    fn rows_of(&self, page: &[u8], start: usize, root: u32) -> Vec<RawRow> {
        let kind = page.get(start).copied().unwrap_or(0);
        let header_len = match kind {
            LEAF_OF_TABLE | LEAF_OF_INDEX => 8,
            ABOVE_LEAVES_OF_INDEX => 12,
            _ => return Vec::new(),
        };
        let cells = usize::from(short(page, start + 3).unwrap_or(0));
        let places = (0..cells).map_while(|cell| short(page, start + header_len + 2 * cell));
        let rows = places.filter_map(|at| self.row(page, usize::from(at), kind, root));
        rows.collect()
    }

    fn row(&self, page: &[u8], at: usize, kind: u8, root: u32) -> Option<RawRow> {
        let above = if kind == ABOVE_LEAVES_OF_INDEX { 4 } else { 0 };
        let mut cell = page.get(at + above..)?;
        let len = varint(&mut cell)?;
        if len > ROW_LEN_MAX {
            return None;
        }
        let id = match kind {
            LEAF_OF_TABLE => Some(varint(&mut cell)?.cast_signed()),
            _ => None,
        };
        let payload = self.payload(cell, usize::try_from(len).ok()?, kind)?;
        Some(RawRow { root, id, columns: record(&payload)? })
    }

    /// The whole payload of a cell; what does not fit its page is in a chain of others.
    fn payload(&self, cell: &[u8], len: usize, kind: u8) -> Option<Vec<u8>> {
        let usable = self.page_len;
        let local_max =
            if kind == LEAF_OF_TABLE { usable - 35 } else { (usable - 12) * 64 / 255 - 23 };
        if len <= local_max {
            return cell.get(..len).map(<[u8]>::to_vec);
        }
        let local_min = (usable - 12) * 32 / 255 - 23;
        let fitting = local_min + (len - local_min) % (usable - 4);
        let local = if fitting <= local_max { fitting } else { local_min };
        let mut payload = cell.get(..local)?.to_vec();
        let mut next = long(cell, local)?;
        while payload.len() < len {
            let page = self.read(next)?;
            next = long(&page, 0)?;
            let rest = (len - payload.len()).min(usable - 4);
            payload.extend_from_slice(page.get(4..4 + rest)?);
        }
        Some(payload)
    }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|word| u16::from_be_bytes(*word))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

/// SQLite's varint: seven bits a byte, highest first; the ninth byte has eight.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for at in 0..9 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if at == 8 {
            return Some(value << 8 | u64::from(byte));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some(value);
        }
    }
    Some(value)
}

/// The values of a record.
fn record(payload: &[u8]) -> Option<Vec<Value>> {
    let mut header = payload;
    let header_len = usize::try_from(varint(&mut header)?).ok()?;
    let read = payload.len() - header.len();
    let mut kinds = header.get(..header_len.checked_sub(read)?)?;
    let mut content = payload.get(header_len..)?;
    let mut values = Vec::new();
    while !kinds.is_empty() {
        let kind = varint(&mut kinds)?;
        values.push(value(kind, &mut content)?);
        if values.len() > COLUMNS_MAX {
            return None;
        }
    }
    Some(values)
}

fn value(kind: u64, content: &mut &[u8]) -> Option<Value> {
    let len = match kind {
        0 | 8 | 9 => 0,
        1..=4 => kind,
        5 => 6,
        6 | 7 => 8,
        12.. => (kind - 12) / 2,
        _ => return None,
    };
    let (bytes, rest) = content.split_at_checked(usize::try_from(len).ok()?)?;
    *content = rest;
    let integer = || {
        let negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
        let start = if negative { -1_i64 } else { 0 };
        bytes.iter().fold(start, |sum, byte| sum << 8 | i64::from(*byte))
    };
    Some(match kind {
        0 => Value::Null,
        1..=6 => Value::Integer(integer()),
        7 => Value::Real(f64::from_bits(integer().cast_unsigned())),
        8 => Value::Integer(0),
        9 => Value::Integer(1),
        _ if kind.is_multiple_of(2) => Value::Blob(bytes.to_vec()),
        // What is no text any more is kept as what it is, so that its row counts as damaged.
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => Value::Blob(bytes.to_vec()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of all sizes and types, in the file and in its log, come out as SQLite has them, and
    /// rows that were deleted do not.
    #[test]
    fn every_row_is_found_without_the_tree() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        let conn = rusqlite::Connection::open(&path).unwrap();
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL").unwrap();
        conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
        conn.execute_batch(
            "CREATE TABLE a (id INTEGER PRIMARY KEY, n INTEGER, b BLOB);
             CREATE TABLE w (key TEXT PRIMARY KEY, b BLOB) WITHOUT ROWID;",
        )
        .unwrap();
        let mut wanted = BTreeMap::new();
        for at in 0..1500_i64 {
            let n = (at - 700).pow(3) * 977 * at.pow(2);
            let blob = vec![at.to_le_bytes()[0]; usize::try_from(at * 13 % 11_000).unwrap()];
            conn.execute("INSERT INTO a VALUES (?1, ?2, ?3)", (at, n, &blob)).unwrap();
            wanted.insert(at, (n, blob));
            if at == 1000 {
                conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
            }
        }
        for key in 0..300_i64 {
            let blob = vec![7; usize::try_from(key * 31).unwrap()];
            conn.execute("INSERT INTO w VALUES (?1, ?2)", (format!("k{key}"), blob)).unwrap();
        }
        conn.execute("DELETE FROM a WHERE id BETWEEN 100 AND 400", []).unwrap();
        wanted.retain(|at, _| !(100..=400).contains(at));

        let pages = Pages::open(&path, &dir.path().join("t.db-wal")).unwrap();
        let tables = pages.tables();
        let (mut found, mut keys) = (BTreeMap::new(), 0);
        pages
            .rows(|row| {
                if row.root == tables["a"] {
                    let [Value::Null, Value::Integer(n), Value::Blob(b)] = &row.columns[..] else {
                        return Err(row);
                    };
                    assert!(found.insert(row.id.unwrap(), (*n, b.clone())).is_none());
                } else if row.root == tables["w"] {
                    keys += 1;
                }
                Ok(())
            })
            .unwrap();
        assert!(found == wanted, "{} {}", found.len(), wanted.len());
        assert_eq!(keys, 300);
    }

    #[test]
    fn any_record_is_refused_or_read() {
        let mut seed = 7_u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..24)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    seed.to_be_bytes()[0] >> (seed % 6)
                })
                .collect();
            let _ = record(&bytes);
        }
    }
}
