//! Bytes that rot, anywhere in the file: the store opens, invents nothing, and has every sample
//! whose own rows are not on the pages that were hit.
//!
//! What may be lost is told by SQLite's own map of the whole file (`dbstat`): the rows on the pages
//! that were hit are deleted from a copy, and what a store answers from that is the least.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::common::{NOW_MS, break_structure, everything, labels, one, open, options, write};
use labstat_model::{Labels, Series};
use labstat_store::{AppendError, Store};
use rusqlite::Connection;

const FILE: &str = "labstat.db";
const PAGE: usize = 4096;

type Samples = BTreeMap<Labels, BTreeMap<i64, u64>>;

fn samples(all: &[Series]) -> Samples {
    all.iter()
        .map(|series| {
            let samples = series.samples().map(|sample| (sample.time_ms, sample.value.to_bits()));
            (series.labels.clone(), samples.collect())
        })
        .collect()
}

/// Some days in many blobs, and a log.
fn fill(dir: &Path) -> Samples {
    let store = open(dir);
    for day in (1..6_i64).rev() {
        let from_ms = NOW_MS - day * 86_400_000;
        let series = (0..400_i64).map(|at| {
            let value = |step: i64| ((at * 7919 + day) as f64 + step as f64 * 1.37).sqrt();
            let samples = (0..30).map(|step| (from_ms + step * 15_000, value(step)));
            (labels(&format!("m{}", at % 90), &format!("i{at}")), samples.collect())
        });
        store.append(&write(series)).unwrap();
        store.compact().unwrap();
    }
    store.document_put("alerts", b"state").unwrap();
    for at in 0..40_i64 {
        store.append(&one(&format!("logged{at}"), &[(NOW_MS, at as f64)])).unwrap();
    }
    store.close().unwrap();
    samples(&everything(&store))
}

/// What lies on the pages of a database: table, kind of page, and rows by their position.
struct Map {
    tables: BTreeMap<String, Vec<i64>>,
    pages: BTreeMap<u32, (String, String, Vec<usize>)>,
}

impl Map {
    fn of(path: &Path) -> Self {
        let conn = Connection::open(path).unwrap();
        let mut map = Self { tables: BTreeMap::new(), pages: BTreeMap::new() };
        let sql = "SELECT name, path, pageno, pagetype, ncell FROM dbstat ORDER BY name, path";
        let mut statement = conn.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        });
        let rows: Vec<(String, String, u32, String, u32)> =
            rows.unwrap().map(Result::unwrap).collect();
        let mut leaves: BTreeMap<(String, String), usize> = BTreeMap::new();
        let mut next: BTreeMap<String, usize> = BTreeMap::new();
        for (table, path, page, kind, cells) in &rows {
            if kind == "leaf" {
                let from = next.entry(table.clone()).or_default();
                leaves.insert((table.clone(), path.clone()), *from);
                map.pages.insert(
                    *page,
                    (table.clone(), kind.clone(), (*from..*from + *cells as usize).collect()),
                );
                *from += *cells as usize;
            }
        }
        for (table, path, page, kind, _) in &rows {
            let on = match path.split_once('+').map(|_| path.rsplit_once('/')) {
                // `/000/003/00a+000001`: the eleventh cell of the leaf before it.
                Some(Some((_, cell))) => {
                    let (cell, _) = cell.split_once('+').unwrap();
                    let leaf = &path[..path.rfind('/').unwrap() + 1];
                    let from = leaves.get(&(table.clone(), leaf.to_owned()));
                    let cell = usize::from_str_radix(cell, 16).unwrap();
                    from.map(|from| from + cell).into_iter().collect()
                }
                _ => Vec::new(),
            };
            map.pages.entry(*page).or_insert((table.clone(), kind.clone(), on));
        }
        for table in next.into_keys().filter(|table| !table.starts_with("sqlite_")) {
            let ids = conn.prepare(&format!("SELECT id FROM {table} ORDER BY id"));
            // Tables without integer keys hold no samples.
            let Ok(mut ids) = ids else { continue };
            let ids = ids.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
            map.tables.insert(table, ids);
        }
        map
    }

    /// The samples that a store has without the rows on some pages.
    fn without(&self, pristine: &[u8], hit: &BTreeSet<u32>) -> Samples {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        fs::write(&path, pristine).unwrap();
        let conn = Connection::open(&path).unwrap();
        for page in hit {
            let Some((table, _, rows)) = self.pages.get(page) else { continue };
            let Some(ids) = self.tables.get(table) else { continue };
            for id in rows.iter().filter_map(|row| ids.get(*row)) {
                conn.execute(&format!("DELETE FROM {table} WHERE id = ?1"), [id]).unwrap();
            }
        }
        drop(conn);
        samples(&everything(&Store::open(dir.path(), options()).unwrap().0))
    }
}

fn check(what: &str, damaged: &[u8], least: &Samples, all: &Samples) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE), damaged).unwrap();
    let (store, notices) =
        Store::open(dir.path(), options()).unwrap_or_else(|e| panic!("{what}: {e}"));
    let found = samples(&everything(&store));
    for (series, samples) in &found {
        let known = all.get(series).unwrap_or_else(|| panic!("{what}: {series:?} is invented"));
        for (time_ms, bits) in samples {
            assert_eq!(known.get(time_ms), Some(bits), "{what}: {series:?} at {time_ms} is wrong");
        }
    }
    // A broken structure is met by a read or a write where no start looks, and mended then.
    store.maintain(NOW_MS).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    keeps(what, &store, least);
    for notice in &notices {
        assert!(notice.set_aside.as_ref().is_none_or(|aside| aside.exists()), "{what}: {notice}");
    }
    if let Err(error) = store.append(&one("after", &[(NOW_MS, 1.0)])) {
        assert!(matches!(error, AppendError::Database { .. }), "{what}: {error:?}");
        store.maintain(NOW_MS).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        keeps(what, &store, least);
        let after = store.append(&one("after", &[(NOW_MS, 1.0)])).unwrap();
        assert_eq!(after.accepted, 1, "{what}");
    }
    drop(store);
    let (_, again) = Store::open(dir.path(), options()).unwrap();
    assert_eq!(again, [], "{what}: the second start is an ordinary one");
}

/// It answers at least this.
fn keeps(what: &str, store: &Store, least: &Samples) {
    let found = samples(&everything(store));
    for (series, samples) in least {
        let there = found.get(series);
        let lost =
            samples.keys().filter(|time_ms| there.is_none_or(|there| !there.contains_key(time_ms)));
        assert_eq!(lost.count(), 0, "{what}: {series:?} lost samples that were not hit");
    }
}

/// xorshift: the same bytes on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

fn pristine() -> (Vec<u8>, Map, Samples) {
    let dir = tempfile::tempdir().unwrap();
    let all = fill(dir.path());
    let file = fs::read(dir.path().join(FILE)).unwrap();
    let map = Map::of(&dir.path().join(FILE));
    (file, map, all)
}

#[test]
fn bytes_flipped_in_any_page_cost_the_rows_on_it() {
    let (file, map, all) = pristine();
    let pages = file.len() / PAGE;
    // Pages by what they are, so that the few that matter most are hit as often as the many.
    let mut kinds: BTreeMap<(String, String), Vec<u32>> = BTreeMap::new();
    for page in 1..=u32::try_from(pages).unwrap() {
        let other = ("map or free".to_owned(), String::new());
        let kind =
            map.pages.get(&page).map_or(other, |(table, kind, _)| (table.clone(), kind.clone()));
        kinds.entry(kind).or_default().push(page);
    }
    assert!(kinds.len() >= 10, "{kinds:?}");
    let seed = 0x5eed_0001;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    for trial in 0..4 {
        for (kind, of_kind) in &kinds {
            let page = of_kind[random.below(of_kind.len())];
            let mut damaged = file.clone();
            let start = (page as usize - 1) * PAGE;
            for _ in 0..=random.below(4) {
                // The first bytes of a page are its structure; they are hit every other time.
                let within = if random.below(2) == 0 { 16 } else { PAGE };
                damaged[start + random.below(within)] ^= 1 << random.below(8);
            }
            let what = format!("trial {trial}, page {page} ({kind:?})");
            check(&what, &damaged, &map.without(&file, &BTreeSet::from([page])), &all);
        }
    }
}

#[test]
fn a_file_cut_anywhere_keeps_the_rows_before() {
    let (file, map, all) = pristine();
    let seed = 0x5eed_0002;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let lens =
        (0..14).map(|at| if at < 4 { 1 + random.below(9000) } else { random.below(file.len()) });
    for len in lens.collect::<Vec<_>>() {
        let first = u32::try_from(len / PAGE + 1).unwrap();
        let gone = (first..=u32::try_from(file.len() / PAGE).unwrap()).collect();
        let what = format!("cut to {len} of {}", file.len());
        check(&what, &file[..len], &map.without(&file, &gone), &all);
    }
}

/// Whoever reads while a file is mended must not go on with the one that was set aside.
#[test]
fn reads_see_the_mended_file_though_they_went_on_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let store = open(dir.path());
    store.compact().unwrap();
    let mended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reads = || {
            while !mended.load(Ordering::Relaxed) {
                assert!(store.document_get("alerts").unwrap().is_some());
            }
        };
        scope.spawn(reads);
        break_structure(dir.path());
        store.maintain(NOW_MS).unwrap();
        mended.store(true, Ordering::Relaxed);
    });
    store.document_put("alerts", b"new").unwrap();
    for _ in 0..8 {
        assert_eq!(store.document_get("alerts").unwrap().as_deref(), Some(&b"new"[..]));
    }
}
