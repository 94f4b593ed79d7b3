//! Looking through a store for damage: the structure of the file, every checksum, every column,
//! and whether ids, counts and ranges agree with each other.
//!
//! It reads what a server reads, with the server's own decoders, so that what passes here is
//! answered there. Nothing is repaired: a damaged row is left out of answers by itself, and
//! salvage at a start keeps what is whole of a file whose structure is broken.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;
use serde::Serialize;

use crate::blob::{BlobMeta, Column, Directory, unpack_part};
use crate::catalog::Span;
use crate::db::{self, outside};
use crate::log;
use crate::salvage::{by_id, by_text, each_shelf};
use crate::snapshot::{Progress, Snapshot, SnapshotError, Watch};
use crate::varint::Malformed;

/// Damages that are described one by one; of more, the number is enough.
const DAMAGES_MAX: usize = 1000;

/// Lines of SQLite's own check that are told.
const STRUCTURE_MAX: usize = 20;

/// Metric names that a cost lists.
const METRICS_MAX: usize = 5;

/// What a check came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Checked {
    /// Series known.
    pub series: usize,
    /// Blobs looked through.
    pub blobs: usize,
    /// Samples in them that read well; roll-ups are checked and not counted.
    pub samples: u64,
    /// Log records looked through.
    pub log_records: usize,
    /// Samples in them that read well.
    pub log_samples: u64,
    /// Documents looked through.
    pub documents: usize,
    /// Damages found.
    pub damaged: usize,
    /// Samples that the damages cost, where their number is known.
    pub samples_lost: u64,
    /// The first of the damages.
    pub damages: Vec<Damage>,
}

/// Something that does not read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Damage {
    /// What, such as `blob 17`.
    pub what: String,
    /// How it is damaged.
    pub cause: String,
    /// What is lost by it, where that is known.
    pub cost: Option<Cost>,
}

/// What a damage costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cost {
    /// Where the lost stretch begins, in milliseconds since the Unix epoch.
    pub first_ms: i64,
    /// Where it ends.
    pub last_ms: i64,
    /// Samples in it, or numbers of roll-ups.
    pub samples: u64,
    /// Whether it is of roll-ups: what they were made of may still be there.
    pub rolled_up: bool,
    /// Series that had some, at the most.
    pub series: usize,
    /// Some of their metric names.
    pub metrics: Vec<String>,
}

impl Snapshot {
    /// Looks through everything. Takes about as long as reading the file does.
    pub fn check(&self, watch: Watch<'_>) -> Result<Checked, SnapshotError> {
        self.must_be_current()?;
        let mut check =
            Check { conn: self.conn(), watch, found: Checked::default(), series: BTreeMap::new() };
        check.structure();
        check.catalog();
        check.blobs();
        check.log();
        check.texts();
        Ok(check.found)
    }
}

/// What is known of a series: its shelf, its metric name, and the range its sealed samples span.
struct Known {
    shelf: u32,
    metric: String,
    span: Option<(i64, i64)>,
}

struct Check<'a> {
    conn: &'a Connection,
    watch: Watch<'a>,
    found: Checked,
    series: BTreeMap<u32, Known>,
}

/// What was read of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Read {
    parts: u32,
    size_bytes: u64,
    samples: u64,
    first_ms: i64,
    last_ms: i64,
}

impl Default for Read {
    fn default() -> Self {
        Self { parts: 0, size_bytes: 0, samples: 0, first_ms: i64::MAX, last_ms: i64::MIN }
    }
}

impl Read {
    /// What a blob's row says of it.
    fn of(meta: &BlobMeta) -> Self {
        let BlobMeta { parts, size_bytes, samples, first_ms, last_ms, .. } = *meta;
        Self { parts, size_bytes, samples, first_ms, last_ms }
    }

    fn add(&mut self, other: Self) {
        self.parts += other.parts;
        self.size_bytes += other.size_bytes;
        self.samples += other.samples;
        self.first_ms = self.first_ms.min(other.first_ms);
        self.last_ms = self.last_ms.max(other.last_ms);
    }
}

impl Check<'_> {
    fn tell(&mut self, stage: &'static str, done: u64, total: u64) {
        (self.watch)(Progress { stage, done, total });
    }

    fn damage(&mut self, what: String, cause: String, cost: Option<Cost>) {
        self.found.damaged += 1;
        let lost = cost.as_ref().filter(|cost| !cost.rolled_up);
        self.found.samples_lost += lost.map_or(0, |cost| cost.samples);
        if self.found.damages.len() < DAMAGES_MAX {
            self.found.damages.push(Damage { what, cause, cost });
        }
    }

    fn structure(&mut self) {
        self.tell("structure of the file", 0, 0);
        let lines = match outside::structure(self.conn, STRUCTURE_MAX) {
            Ok(lines) => lines,
            Err(cause) => vec![cause.to_string()],
        };
        for line in lines {
            self.damage("structure of the file".to_owned(), line, None);
        }
    }

    fn catalog(&mut self) {
        self.tell("series", 0, 0);
        let (mut spans_lost, mut series) = (0, BTreeMap::new());
        let lost = each_shelf(self.conn, |shelf| {
            spans_lost += usize::from(shelf.spans.is_none());
            for (id, labels) in shelf.series {
                let metric = labels.metric_name().to_owned();
                series.insert(id, Known { shelf: shelf.shelf, metric, span: None });
            }
            for Span { id, first_ms, last_ms, .. } in shelf.spans.into_iter().flatten() {
                if let Some(known) = series.get_mut(&id) {
                    known.span = Some((first_ms, last_ms));
                }
            }
        });
        self.found.series = series.len();
        self.series = series;
        self.rows_lost("series", lost);
        self.rows_lost("ranges of series", spans_lost);
    }

    fn rows_lost(&mut self, what: &str, lost: usize) {
        if lost > 0 {
            let cause =
                format!("{lost} {} not read", if lost == 1 { "row does" } else { "rows do" });
            self.damage(what.to_owned(), cause, None);
        }
    }

    fn blobs(&mut self) {
        let (metas, lost) = by_id(self.conn, "blobs", db::blob_columns(self.conn), db::blob_row);
        self.rows_lost("blobs", lost);
        let total: u64 = metas.iter().map(|meta| meta.size_bytes).sum();
        let mut done = 0;
        for meta in metas {
            self.tell("samples", done, total);
            done += meta.size_bytes;
            self.found.blobs += 1;
            self.blob(&meta);
        }
        self.tell("samples", total, total);
    }

    fn blob(&mut self, meta: &BlobMeta) {
        let directory = match self.directory(meta) {
            Ok(directory) => directory,
            Err(cause) => {
                // All of the shelf may have been in it.
                let on_shelf = self.series.iter().filter(|(_, known)| known.shelf == meta.shelf);
                let ids: Vec<u32> = on_shelf.map(|(id, _)| *id).collect();
                let cost = self.cost(meta, &ids, Read::of(meta));
                return self.damage(name(meta), cause, Some(cost));
            }
        };
        let mut all = Read { size_bytes: directory.1, ..Read::default() };
        let directory = directory.0;
        let mut damaged = 0;
        // So that each part is read once.
        let mut columns = directory.columns.clone();
        columns.sort_by_key(|column| column.part);
        for columns in columns.chunk_by(|a, b| a.part == b.part) {
            let mut read = Read::default();
            match self.part(meta, &directory, columns, &mut read) {
                Ok(()) if meta.tier > 0 => {}
                Ok(()) => self.found.samples += read.samples,
                Err(cause) => {
                    damaged += 1;
                    let part = columns.first().map_or(0, |column| column.part);
                    let ids: Vec<u32> = columns.iter().map(|column| column.series).collect();
                    let cost = self.cost(meta, &ids, self.times(&directory, columns));
                    self.damage(format!("{}, part {part}", name(meta)), cause, Some(cost));
                }
            }
            all.add(read);
        }
        if damaged == 0 && all != Read::of(meta) {
            self.damage(name(meta), "it is not what its row says".into(), None);
        }
    }

    /// The directory of a blob and its size.
    fn directory(&self, meta: &BlobMeta) -> Result<(Directory, u64), String> {
        let row = db::directory(self.conn, meta.id).map_err(|cause| cause.to_string())?;
        let row = row.ok_or("its row is missing")?;
        let directory = Directory::read(meta.id, &row).map_err(|cause| cause.to_string())?;
        let ascending = directory.columns.is_sorted_by(|a, b| a.series < b.series);
        if ascending {
            Ok((directory, row.len() as u64))
        } else {
            Err("a series is there twice".into())
        }
    }

    /// Reads every column of a part, and compares what is said of it with what is in it.
    fn part(
        &self,
        meta: &BlobMeta,
        directory: &Directory,
        columns: &[Column],
        read: &mut Read,
    ) -> Result<(), String> {
        let said = |cause: Malformed| cause.to_string();
        let part = columns.first().map_or(0, |column| column.part);
        let row = db::part(self.conn, meta.id, part).map_err(|cause| cause.to_string())?;
        let row = row.ok_or("its row is missing")?;
        let content = unpack_part(meta.id, part, &row).map_err(said)?;
        *read = Read { parts: 1, size_bytes: row.len() as u64, ..self.times(directory, columns) };
        for column in columns {
            let times = directory.times(column.times).map_err(said)?;
            let values = column.values(&content, times.len()).map_err(said)?;
            if values.len() != times.len() || !times.is_sorted_by(|a, b| a < b) {
                return Err(format!("the column of series {} is out of order", column.series));
            }
            self.placed(meta, column.series, times.first().copied().zip(times.last().copied()))?;
        }
        Ok(())
    }

    /// How many samples columns have, and when, as far as that reads.
    fn times(&self, directory: &Directory, columns: &[Column]) -> Read {
        let mut read = Read::default();
        for column in columns {
            let times = directory.times(column.times).unwrap_or_default();
            read.samples += times.len() as u64;
            read.first_ms = read.first_ms.min(times.first().copied().unwrap_or(i64::MAX));
            read.last_ms = read.last_ms.max(times.last().copied().unwrap_or(i64::MIN));
        }
        read
    }

    /// Whether a column lies where a read looks for it. Series that were forgotten leave their last
    /// samples behind, so that an unknown one is no damage.
    fn placed(&self, meta: &BlobMeta, id: u32, span: Option<(i64, i64)>) -> Result<(), String> {
        let Some(known) = self.series.get(&id) else { return Ok(()) };
        if known.shelf != meta.shelf {
            return Err(format!("series {id} belongs to another shelf"));
        }
        let reached =
            known.span.zip(span).is_some_and(|(all, this)| all.0 <= this.0 && this.1 <= all.1);
        // A bucket ends behind its last sample.
        if reached || span.is_none() || meta.tier > 0 {
            return Ok(());
        }
        Err(format!("the range of series {id} does not reach its samples"))
    }

    fn cost(&self, meta: &BlobMeta, ids: &[u32], lost: Read) -> Cost {
        let known = ids.iter().filter_map(|id| self.series.get(id));
        let distinct: BTreeSet<&str> = known.map(|known| known.metric.as_str()).collect();
        let metrics = distinct.into_iter().take(METRICS_MAX).map(str::to_owned).collect();
        let Read { first_ms, last_ms, samples, .. } = lost;
        let rolled_up = meta.tier > 0;
        Cost { first_ms, last_ms, samples, rolled_up, series: ids.len(), metrics }
    }

    fn log(&mut self) {
        self.tell("log", 0, 0);
        let (records, lost) = by_id(self.conn, "log", "id, record", |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
        });
        self.rows_lost("log", lost);
        for (id, record) in records {
            self.found.log_records += 1;
            match log::decode(id, &record) {
                Ok(entries) => {
                    let known =
                        entries.iter().filter(|entry| self.series.contains_key(&entry.series));
                    let known = known.count();
                    self.found.log_samples += known as u64;
                    if known < entries.len() {
                        let cause = format!("{} samples of unknown series", entries.len() - known);
                        self.damage(format!("log record {id}"), cause, None);
                    }
                }
                Err(cause) => self.damage(format!("log record {id}"), cause.to_string(), None),
            }
        }
    }

    fn texts(&mut self) {
        self.tell("documents", 0, 0);
        let documents = by_text(self.conn, "documents", "key, document", |row| {
            let key: String = row.get(0)?;
            let whole = db::open_document(&key, row.get_ref(1)?.as_blob()?);
            Ok((key, whole.map(drop).map_err(|cause| cause.to_string())))
        });
        self.found.documents = documents.len();
        for (key, whole) in documents {
            if let Err(cause) = whole {
                self.damage(format!("document {key:?}"), cause, None);
            }
        }
    }
}

/// What people know a blob by.
fn name(meta: &BlobMeta) -> String {
    let kind = if meta.tier > 0 { "blob of roll-ups" } else { "blob" };
    format!("{kind} {}", meta.id)
}
