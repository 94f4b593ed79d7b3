//! What the tests of the store share.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use labstat_model::{
    Labels, ManualClock, Matcher, Sample, Series, SystemClock, TimeSeries, WriteRequest,
};
use labstat_store::{Options, Store};

/// A time within the retention of any test.
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

/// A store whose clock stands at [`NOW_MS`]; there must be nothing to notice.
pub(crate) fn open(dir: &Path) -> Store {
    open_with(dir, options())
}

pub(crate) fn open_with(dir: &Path, options: Options) -> Store {
    let (store, notices) = Store::open(dir, options).unwrap();
    assert_eq!(notices, []);
    store
}

pub(crate) fn options() -> Options {
    Options::new(Arc::new(ManualClock::new(NOW_MS)))
}

pub(crate) fn live_options() -> Options {
    Options::new(Arc::new(SystemClock))
}

pub(crate) fn labels(name: &str, instance: &str) -> Labels {
    Labels::new([("__name__", name), ("instance", instance)])
}

pub(crate) fn write(series: impl IntoIterator<Item = (Labels, Vec<(i64, f64)>)>) -> WriteRequest {
    let series = series.into_iter().map(|(labels, samples)| TimeSeries {
        labels,
        samples: samples.into_iter().map(|(time_ms, value)| Sample { time_ms, value }).collect(),
    });
    WriteRequest { series: series.collect(), metadata: Vec::new() }
}

pub(crate) fn one(name: &str, samples: &[(i64, f64)]) -> WriteRequest {
    write([(labels(name, "a"), samples.to_vec())])
}

/// Breaks the structure of an open database whose write-ahead log is empty, and says so as a read
/// or a write that meets it does.
pub(crate) fn break_structure(dir: &Path) {
    let path = dir.join("labstat.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_sequence'";
    let page: u32 = db.query_row(sql, [], |row| row.get(0)).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xff; 8], u64::from(page - 1) * 4096).unwrap();
    fs::write(dir.join("labstat.db-broken"), []).unwrap();
}

/// All there is.
pub(crate) fn everything(store: &Store) -> Vec<Series> {
    store.select(&[], i64::MIN, i64::MAX).unwrap()
}

/// The samples of the only series of this name.
pub(crate) fn samples(store: &Store, name: &str) -> Vec<(i64, f64)> {
    let found = store.select(&[Matcher::equal("__name__", name)], i64::MIN, i64::MAX).unwrap();
    assert!(found.len() <= 1, "{found:?}");
    found.iter().flat_map(|s| s.samples().map(|s| (s.time_ms, s.value))).collect()
}
