//! What a store's bytes are spent on: by table, by tier, by day, by metric.
//!
//! Read from the rows that describe the blobs; the samples themselves are not decoded.

use std::collections::{BTreeMap, BTreeSet};

use labstat_model::{BUCKET_WIDTHS_MS, duration};
use serde::Serialize;

use crate::blob::{BlobMeta, Directory};
use crate::db::{self, outside};
use crate::log;
use crate::salvage::{by_id, each_shelf};
use crate::snapshot::{Progress, Snapshot, SnapshotError, Watch};

const DAY_MS: i64 = 86_400_000;

/// Days that growth is told from: a week, so that a quiet weekend does not count for more.
const GROWTH_DAYS: usize = 7;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Inspection {
    /// Bytes of the database.
    pub file_bytes: u64,
    /// Bytes of its pages that are in no use, and will be used next.
    pub free_bytes: u64,
    /// Its tables, the largest first.
    pub tables: Vec<TableSize>,
    /// Compressed samples by what they are.
    pub tiers: Vec<TierSize>,
    /// Samples in the log, which are not compressed yet.
    pub log_samples: u64,
    /// Bytes of the log's records.
    pub log_bytes: u64,
    /// Series known.
    pub series: usize,
    /// Label names with the number of their values, most first.
    pub labels: Vec<(String, usize)>,
    /// Metric names with what they take, most bytes first.
    pub metrics: Vec<MetricSize>,
    /// Days (UTC) of compressed samples, the newest first.
    pub days: Vec<DaySize>,
    /// Bytes that the last whole days came to, each; unknown before there is one.
    pub growth_bytes_per_day: Option<f64>,
    /// The oldest sample's time, in milliseconds since the Unix epoch.
    pub oldest_ms: Option<i64>,
    /// The newest sample's time, in milliseconds since the Unix epoch.
    pub newest_ms: Option<i64>,
}

/// A table of the database.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TableSize {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// Bytes of what is in them.
    pub bytes: u64,
}

/// Compressed samples of one kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TierSize {
    /// Which: `sealed` as they left the log, `merged`, or `rolled up` and how.
    pub name: String,
    /// Whether they are not samples as they came, but numbers of roll-ups.
    pub rolled_up: bool,
    /// How many blobs they lie in.
    pub blobs: usize,
    /// How many they are.
    pub samples: u64,
    /// Their compressed bytes.
    pub bytes: u64,
    /// The oldest one's time, in milliseconds since the Unix epoch.
    pub first_ms: i64,
    /// The newest one's time.
    pub last_ms: i64,
}

/// What a metric name takes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MetricSize {
    /// The name.
    pub name: String,
    /// Series of it.
    pub series: usize,
    /// Compressed bytes. Series that are compressed together share them by their part before
    /// compression.
    pub bytes: u64,
}

/// What a day takes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct DaySize {
    /// When it begins, in milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// Samples of it.
    pub samples: u64,
    /// Their compressed bytes.
    pub bytes: u64,
}

impl Snapshot {
    /// Says what the bytes are spent on. What does not read is left out; `check` tells it.
    pub fn inspect(&self, watch: Watch<'_>) -> Result<Inspection, SnapshotError> {
        self.must_be_current()?;
        let conn = self.conn();
        let failed = |cause| self.failed(cause);
        let mut found = Inspection {
            file_bytes: self.size_bytes()?,
            free_bytes: outside::free_bytes(conn).map_err(failed)?,
            ..Inspection::default()
        };
        watch(Progress { stage: "tables", done: 0, total: 0 });
        let tables = outside::tables(conn).map_err(failed)?;
        found.tables =
            tables.into_iter().map(|(name, rows, bytes)| TableSize { name, rows, bytes }).collect();
        found.tables.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        let metrics = self.series(&mut found);
        self.blobs(&mut found, &metrics, watch);
        self.log(&mut found);
        Ok(found)
    }

    /// Counts series and labels; gives the metric name of each series.
    fn series(&self, found: &mut Inspection) -> BTreeMap<u32, String> {
        let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut metrics = BTreeMap::new();
        each_shelf(self.conn(), |shelf| {
            for (id, labels) in shelf.series {
                metrics.insert(id, labels.metric_name().to_owned());
                for (name, value) in labels.iter() {
                    let known = match values.get_mut(name) {
                        Some(known) => known,
                        None => values.entry(name.to_owned()).or_default(),
                    };
                    if !known.contains(value) {
                        known.insert(value.to_owned());
                    }
                }
            }
            let spans = shelf.spans.into_iter().flatten();
            spans.for_each(|span| found.reach(span.first_ms, span.last_ms));
        });
        found.series = metrics.len();
        found.labels = values.into_iter().map(|(name, values)| (name, values.len())).collect();
        found.labels.sort_by_key(|(_, values)| std::cmp::Reverse(*values));
        metrics
    }

    fn blobs(&self, found: &mut Inspection, metrics: &BTreeMap<u32, String>, watch: Watch<'_>) {
        let (metas, _) = by_id(self.conn(), "blobs", db::blob_columns(self.conn()), db::blob_row);
        let mut tiers: BTreeMap<(u32, String), TierSize> = BTreeMap::new();
        let mut days: BTreeMap<i64, DaySize> = BTreeMap::new();
        let mut bytes: BTreeMap<u32, f64> = BTreeMap::new();
        let (mut done, total) = (0, metas.len() as u64);
        for meta in metas {
            watch(Progress { stage: "blobs", done, total });
            done += 1;
            let name = tier_name(&meta);
            let tier = tiers.entry((meta.tier, name.clone())).or_insert_with(|| TierSize {
                name,
                first_ms: meta.first_ms,
                last_ms: meta.last_ms,
                ..TierSize::default()
            });
            tier.blobs += 1;
            tier.samples += meta.samples;
            tier.bytes += meta.size_bytes;
            tier.first_ms = tier.first_ms.min(meta.first_ms);
            tier.last_ms = tier.last_ms.max(meta.last_ms);
            tier.rolled_up = meta.tier > 0;
            let start_ms = meta.first_ms.div_euclid(DAY_MS).saturating_mul(DAY_MS);
            let row = db::directory(self.conn(), meta.id).ok().flatten();
            let directory = row.and_then(|row| Directory::read(meta.id, &row).ok());
            if let Some(directory) = directory {
                share(&directory, meta.size_bytes, &mut bytes);
            }
            if meta.tier > 0 {
                continue;
            }
            let day = days.entry(start_ms).or_insert(DaySize { start_ms, ..DaySize::default() });
            day.samples += meta.samples;
            day.bytes += meta.size_bytes;
        }
        found.tiers = tiers.into_values().collect();
        found.days = days.into_values().rev().collect();
        found.growth_bytes_per_day = growth(&found.days);
        found.metrics = by_metric(metrics, &bytes);
    }

    fn log(&self, found: &mut Inspection) {
        let (records, _) = by_id(self.conn(), "log", "id, record", |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
        });
        for (id, record) in records {
            found.log_bytes += record.len() as u64;
            for entry in log::decode(id, &record).unwrap_or_default() {
                found.log_samples += 1;
                found.reach(entry.time_ms, entry.time_ms);
            }
        }
    }
}

impl Inspection {
    /// Samples that are stored, in blobs and in the log.
    pub fn samples(&self) -> u64 {
        let sealed = self.tiers.iter().filter(|tier| !tier.rolled_up);
        sealed.map(|tier| tier.samples).sum::<u64>() + self.log_samples
    }

    fn reach(&mut self, first_ms: i64, last_ms: i64) {
        self.oldest_ms = Some(self.oldest_ms.map_or(first_ms, |oldest| oldest.min(first_ms)));
        self.newest_ms = Some(self.newest_ms.map_or(last_ms, |newest| newest.max(last_ms)));
    }
}

fn tier_name(meta: &BlobMeta) -> String {
    let width = usize::try_from(meta.tier).ok().and_then(|tier| tier.checked_sub(1));
    match width.map(|tier| BUCKET_WIDTHS_MS.get(tier)) {
        None if meta.level == 0 => "sealed".to_owned(),
        None => "merged".to_owned(),
        Some(Some(ms)) => format!("rolled up {}", duration::format_ms(*ms)),
        Some(None) => format!("tier {}", meta.tier),
    }
}

/// Shares the bytes of a blob among its series, by the length of their columns.
#[expect(clippy::cast_precision_loss, reason = "sizes of blobs are far below 2^53")]
fn share(directory: &Directory, size_bytes: u64, bytes: &mut BTreeMap<u32, f64>) {
    let all: usize = directory.columns.iter().map(crate::blob::Column::len).sum();
    for column in &directory.columns {
        let part = column.len() as f64 / all.max(1) as f64;
        *bytes.entry(column.series).or_default() += part * size_bytes as f64;
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a sum of sizes is not negative"
)]
fn by_metric(metrics: &BTreeMap<u32, String>, bytes: &BTreeMap<u32, f64>) -> Vec<MetricSize> {
    let mut sums: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
    for (id, name) in metrics {
        let sum = sums.entry(name).or_default();
        sum.0 += 1;
        sum.1 += bytes.get(id).copied().unwrap_or(0.0);
    }
    let sizes = sums.into_iter().map(|(name, (series, bytes))| MetricSize {
        name: name.to_owned(),
        series,
        bytes: bytes.round() as u64,
    });
    let mut sizes: Vec<MetricSize> = sizes.collect();
    sizes.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    sizes
}

/// The mean of the days before the newest, which is not over.
#[expect(clippy::cast_precision_loss, reason = "sizes of days are far below 2^53")]
fn growth(days: &[DaySize]) -> Option<f64> {
    let whole = days.get(1..)?;
    let whole = whole.get(..whole.len().min(GROWTH_DAYS))?;
    let bytes: u64 = whole.iter().map(|day| day.bytes).sum();
    (!whole.is_empty()).then(|| bytes as f64 / whole.len() as f64)
}
