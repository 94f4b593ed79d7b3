//! Blobs: a stretch of time of many series, compressed, in rows of the database.
//!
//! A blob is one directory row (which series, where, and the time columns they share) and some
//! part rows (value columns, many series to a part), so that a read of few series decompresses
//! few parts. Columns lie in parts not by series but by kind, so that zstd sees like with like.
//! Every row has a version and a checksum bound to its key. Pure; the layout is in
//! `docs/formats/store.md`.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use zstd::bulk::Decompressor;

use crate::column::{self, Encoder, Lane, Shape};
use crate::varint::{Malformed, Reader, checksum, push, push_signed, seal, unseal};

/// The version that is written.
const VERSION: u8 = 2;

/// Every column by itself, series by series. Still read.
const VERSION_1: u8 = 1;

/// A part is closed when its columns have this many bytes before compression: enough for zstd to
/// find what repeats and for the rest of its last page to be little, and little enough that
/// reading one series stays cheap.
const PART_LEN: usize = 128 * 1024;

/// Lanes of one shape lie together, plane by plane, until they have this many bytes.
const GROUP_LEN: usize = 64 * 1024;

/// Bytes of one part before compression: what is there when it is closed, and one longest column
/// (two lanes of eight bytes a value, and a head with as many exceptions as there may be).
const PART_LEN_MAX: usize = PART_LEN + 20 * column::COLUMN_LEN_MAX;

/// A builder is full when its columns have this many bytes, which it holds in memory.
const BLOB_LEN: usize = 32 * 1024 * 1024;

/// The bits of a part's key below the blob's id. A blob has far fewer parts.
const PART_BITS: u32 = 12;

/// Bytes of the time columns of one blob, before compression, with which a builder is full.
const TIMES_LEN: usize = 16 * 1024 * 1024;

/// Bytes of a directory before compression: series with irregular times of their own, of which
/// version 1 took more.
const DIRECTORY_LEN_MAX: usize = 512 * 1024 * 1024;

/// Planes are laid so that what there is to find is found at once: the levels above 1 give a
/// percent for two to eight times the time.
const ZSTD_LEVEL: i32 = 1;

/// What is compressed with tables of its own has at least this many bytes, so that the tables do
/// not cost more than they save.
const BLOCK_LEN_MIN: usize = 1024;

/// Numbers of [`BlobMeta`] that format 1 had.
const FORMAT_1_NUMBERS: usize = 8;

/// Decompressors kept for the next rows, of 160 KB each; to make one takes as long as to decompress
/// a small row.
const DECOMPRESSORS_KEPT_MAX: usize = 4;

static DECOMPRESSORS: Mutex<Vec<Decompressor<'static>>> = Mutex::new(Vec::new());

/// What is known of a blob without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlobMeta {
    pub(crate) id: i64,
    pub(crate) shelf: u32,
    /// 0 as sealed, 1 when merged.
    pub(crate) level: u32,
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
    pub(crate) samples: u64,
    pub(crate) parts: u32,
    /// All rows together.
    pub(crate) size_bytes: u64,
    /// 0 for samples as they came, 1 and up for roll-ups of them.
    pub(crate) tier: u32,
    /// Which column of a roll-up it holds.
    pub(crate) kind: u32,
    /// The age for which it was thinned last; 0 when never.
    pub(crate) kept_ms: i64,
    /// Bits that maintenance keeps of it.
    pub(crate) flags: u32,
}

impl BlobMeta {
    /// Guards the columns that are not in the directory row. What came with format 2 counts only
    /// when there is any of it, so that older rows stay as they are.
    pub(crate) fn checksum(&self) -> u32 {
        let numbers = [
            self.id,
            i64::from(self.shelf),
            i64::from(self.level),
            self.first_ms,
            self.last_ms,
            self.samples.cast_signed(),
            i64::from(self.parts),
            self.size_bytes.cast_signed(),
            i64::from(self.tier),
            i64::from(self.kind),
            self.kept_ms,
            i64::from(self.flags),
        ];
        let (old, new) = numbers.split_at(FORMAT_1_NUMBERS);
        let counted = if new.iter().all(|number| *number == 0) { old } else { &numbers };
        checksum(counted, b"")
    }
}

/// The key of a part row.
pub(crate) const fn part_key(blob: i64, part: u32) -> i64 {
    (blob << PART_BITS) | part as i64
}

/// A finished blob.
#[derive(Debug)]
pub(crate) struct Blob {
    pub(crate) meta: BlobMeta,
    pub(crate) directory: Vec<u8>,
    pub(crate) parts: Vec<Vec<u8>>,
}

/// Lays columns into a blob. Series come by ascending id.
pub(crate) struct Builder {
    id: i64,
    encoder: Encoder,
    entries: Vec<Entry>,
    heads: Vec<u8>,
    lanes: Vec<u8>,
    times: Vec<u8>,
    times_known: HashMap<Vec<u8>, u64>,
    first_ms: i64,
    last_ms: i64,
    samples: u64,
}

/// A column that waits for its place.
#[derive(Debug, Clone, Copy)]
struct Entry {
    series: u32,
    times: u64,
    shape: Shape,
    /// How wide its words are; what is alike in this lies together.
    spread: u32,
    /// From where to where.
    head: (usize, usize),
    lane: (usize, usize),
}

impl Entry {
    const fn len(&self) -> usize {
        self.head.1 - self.head.0 + self.lane.1 - self.lane.0
    }

    fn plane_len(&self) -> usize {
        let len = self.lane.1 - self.lane.0;
        match self.shape.planes() {
            0 => 0,
            planes => len / planes,
        }
    }
}

impl Builder {
    pub(crate) fn new(id: i64) -> Self {
        Self {
            id,
            encoder: Encoder::default(),
            entries: Vec::new(),
            heads: Vec::new(),
            lanes: Vec::new(),
            times: Vec::new(),
            times_known: HashMap::new(),
            first_ms: i64::MAX,
            last_ms: i64::MIN,
            samples: 0,
        }
    }

    /// Whether another column could be too much for one blob.
    pub(crate) fn is_full(&self) -> bool {
        self.heads.len() + self.lanes.len() > BLOB_LEN || self.times.len() > TIMES_LEN
    }

    /// Adds the columns of one series: times ascending, at most
    /// [`COLUMN_LEN_MAX`](column::COLUMN_LEN_MAX) and at least one.
    pub(crate) fn push(&mut self, series: u32, times: &[i64], values: &[f64]) {
        debug_assert!(times.len() == values.len() && times.len() <= column::COLUMN_LEN_MAX);
        debug_assert!(
            self.entries.last().is_none_or(|last| series > last.series),
            "BUG: ids ascend"
        );
        let (Some(&first_ms), Some(&last_ms)) = (times.first(), times.last()) else { return };
        let (head, lane) = (self.heads.len(), self.lanes.len());
        let coded = self.encoder.push(values, &mut self.heads, &mut self.lanes);
        let entry = Entry {
            series,
            times: self.time_column(times),
            shape: coded.shape,
            spread: coded.spread,
            head: (head, self.heads.len()),
            lane: (lane, self.lanes.len()),
        };
        self.entries.push(entry);
        self.first_ms = self.first_ms.min(first_ms);
        self.last_ms = self.last_ms.max(last_ms);
        self.samples += times.len() as u64;
    }

    fn time_column(&mut self, times: &[i64]) -> u64 {
        let mut column = Vec::new();
        push(&mut column, times.len() as u64);
        column::push_times(&mut column, times);
        let next = self.times_known.len() as u64;
        let Self { times, times_known, .. } = self;
        *times_known.entry(column).or_insert_with_key(|column| {
            push(times, column.len() as u64);
            times.extend_from_slice(column);
            next
        })
    }

    /// The blob; `None` when there is nothing in it.
    pub(crate) fn finish(mut self, shelf: u32, level: u32) -> Option<Blob> {
        if self.entries.is_empty() {
            return None;
        }
        self.entries.sort_unstable_by_key(|entry| (entry.shape, entry.spread, entry.series));
        let mut directory = Vec::with_capacity(self.times.len() + 8 * self.entries.len() + 20);
        push(&mut directory, self.times_known.len() as u64);
        directory.extend_from_slice(&self.times);
        let times_end = directory.len();
        let parts = lay(&self.entries);
        push(&mut directory, parts.len() as u64);
        let mut rows = Vec::with_capacity(parts.len());
        let mut last_series = 0;
        for (part, groups) in (0..).zip(&parts) {
            push(&mut directory, groups.len() as u64);
            for group in groups {
                self.push_group(&mut directory, group, &mut last_series);
            }
            rows.push(self.part(part, groups));
        }
        let (times, series) = directory.split_at(times_end);
        let directory = pack(self.id, &[times, series]);
        let size_bytes = directory.len() + rows.iter().map(Vec::len).sum::<usize>();
        let meta = BlobMeta {
            id: self.id,
            shelf,
            level,
            first_ms: self.first_ms,
            last_ms: self.last_ms,
            samples: self.samples,
            parts: u32::try_from(rows.len()).unwrap_or(u32::MAX),
            size_bytes: size_bytes as u64,
            tier: 0,
            kind: 0,
            kept_ms: 0,
            flags: 0,
        };
        Some(Blob { meta, directory, parts: rows })
    }

    fn push_group(&self, directory: &mut Vec<u8>, group: &[Entry], last_series: &mut u32) {
        directory.push(group.first().map_or(0, |entry| entry.shape.byte()));
        push(directory, group.len() as u64);
        for entry in group {
            push_signed(directory, i64::from(entry.series) - i64::from(*last_series));
            push(directory, entry.times);
            push(directory, (entry.head.1 - entry.head.0) as u64);
            *last_series = entry.series;
        }
    }

    /// The row of a part: all heads, then group by group all highest planes, all next ones ….
    fn part(&self, part: u32, groups: &[&[Entry]]) -> Vec<u8> {
        let bytes = |of: &[u8], (start, end): (usize, usize), out: &mut Vec<u8>| {
            out.extend_from_slice(of.get(start..end).unwrap_or_default());
        };
        let mut heads = Vec::new();
        let mut planes = Vec::new();
        for group in groups {
            for entry in *group {
                bytes(&self.heads, entry.head, &mut heads);
            }
            for plane in 0..group.first().map_or(0, |entry| entry.shape.planes()) {
                let mut all = Vec::new();
                for entry in *group {
                    let start = entry.lane.0 + plane * entry.plane_len();
                    bytes(&self.lanes, (start, start + entry.plane_len()), &mut all);
                }
                planes.push(all);
            }
        }
        let sections: Vec<&[u8]> = [&heads].into_iter().chain(&planes).map(Vec::as_slice).collect();
        pack(part_key(self.id, part), &sections)
    }
}

/// Sorted columns as parts, and each part as groups of one shape.
fn lay(entries: &[Entry]) -> Vec<Vec<&[Entry]>> {
    let mut parts = vec![Vec::new()];
    let (mut start, mut group_len, mut part_len) = (0, 0, 0);
    for (at, pair) in entries.windows(2).enumerate() {
        let [entry, next] = pair else { continue };
        group_len += entry.len();
        part_len += entry.len();
        let part_ends = part_len >= PART_LEN;
        if part_ends || group_len >= GROUP_LEN || next.shape != entry.shape {
            parts.last_mut().into_iter().for_each(|part| part.extend(entries.get(start..=at)));
            (start, group_len) = (at + 1, 0);
        }
        if part_ends {
            parts.push(Vec::new());
            part_len = 0;
        }
    }
    parts.last_mut().into_iter().for_each(|part| part.extend(entries.get(start..)));
    parts
}

/// Version, length, zstd frame, checksum. Each section is compressed with tables of its own.
fn pack(key: i64, sections: &[&[u8]]) -> Vec<u8> {
    pack_as(VERSION, key, sections)
}

pub(crate) fn pack_as(version: u8, key: i64, sections: &[&[u8]]) -> Vec<u8> {
    let len: usize = sections.iter().map(|section| section.len()).sum();
    let mut row = Vec::with_capacity(len / 2 + 64);
    row.push(version);
    push(&mut row, len as u64);
    // Compression fails for want of memory only; a frame of nothing then reads as malformed, and
    // the length kept beside it says that there was something.
    row.extend(compress(sections, len).unwrap_or_default());
    seal(key, &mut row);
    row
}

fn compress(sections: &[&[u8]], len: usize) -> std::io::Result<Vec<u8>> {
    let mut encoder =
        zstd::stream::write::Encoder::new(Vec::with_capacity(len / 2 + 64), ZSTD_LEVEL)?;
    encoder.set_pledged_src_size(Some(len as u64))?;
    encoder.include_contentsize(false)?;
    let mut block_len = 0;
    for section in sections {
        if block_len >= BLOCK_LEN_MIN {
            encoder.flush()?;
            block_len = 0;
        }
        encoder.write_all(section)?;
        block_len += section.len();
    }
    encoder.finish()
}

fn decompress(frame: &[u8], len: usize) -> io::Result<Vec<u8>> {
    let idle = || DECOMPRESSORS.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = idle().pop();
    let mut decompressor = match kept {
        Some(decompressor) => decompressor,
        None => Decompressor::new()?,
    };
    let content = decompressor.decompress(frame, len);
    let mut idle = idle();
    if idle.len() < DECOMPRESSORS_KEPT_MAX {
        idle.push(decompressor);
    }
    content
}

/// The version of a row, and its content decompressed.
fn unpack(key: i64, row: &[u8], len_max: usize) -> Result<(u8, Vec<u8>), Malformed> {
    let mut reader = Reader::new(unseal(key, row)?);
    let version = reader.byte()?;
    if version != VERSION && version != VERSION_1 {
        return Err(Malformed("blob version"));
    }
    let len = reader.count(len_max)?;
    let content = decompress(reader.rest(), len).map_err(|_| Malformed("frame"))?;
    if content.len() == len { Ok((version, content)) } else { Err(Malformed("frame")) }
}

/// Heads and lanes of some series, decompressed.
pub(crate) fn unpack_part(blob: i64, part: u32, row: &[u8]) -> Result<Vec<u8>, Malformed> {
    unpack(part_key(blob, part), row, PART_LEN_MAX).map(|(_, content)| content)
}

/// Checks a part's checksum without decompressing it.
pub(crate) fn check_part(blob: i64, part: u32, row: &[u8]) -> Result<(), Malformed> {
    unseal(part_key(blob, part), row).map(|_| ())
}

/// A blob's directory, read.
#[derive(Debug)]
pub(crate) struct Directory {
    version: u8,
    content: Vec<u8>,
    times: Vec<TimeColumn>,
    /// By ascending series id.
    pub(crate) columns: Vec<Column>,
    /// The ids of these alone: a search among them goes through little memory.
    ids: Vec<u32>,
}

/// Where a time column lies in the content, and how many times it has.
#[derive(Debug)]
struct TimeColumn {
    start: usize,
    end: usize,
    count: usize,
}

/// Where one series lies in a blob.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) series: u32,
    pub(crate) times: usize,
    pub(crate) part: u32,
    /// Of its head; in version 1, of all of it.
    start: usize,
    end: usize,
    lane: Option<LanePlace>,
}

/// Where the lane of a column lies in its part. Columns of version 1 have none.
#[derive(Debug, Clone, Copy)]
struct LanePlace {
    start: usize,
    /// From plane to plane of the group.
    stride: usize,
    /// Of a plane of this column.
    len: usize,
    shape: Shape,
}

impl Directory {
    /// Reads the directory row of the blob `id`.
    pub(crate) fn read(id: i64, row: &[u8]) -> Result<Self, Malformed> {
        let (version, content) = unpack(id, row, DIRECTORY_LEN_MAX)?;
        let mut reader = Reader::new(&content);
        let mut times = Vec::new();
        for _ in 0..reader.count(content.len())? {
            let len = reader.count(content.len())?;
            let start = content.len() - reader.rest().len();
            let count = Reader::new(reader.bytes(len)?).count(column::COLUMN_LEN_MAX)?;
            times.push(TimeColumn { start, end: start + len, count });
        }
        let columns = match version {
            VERSION_1 => columns_1(&mut reader, times.len())?,
            _ => columns(&mut reader, &times)?,
        };
        let ids = columns.iter().map(|column| column.series).collect();
        Ok(Self { version, content, times, columns, ids })
    }

    /// The place of a series among the columns. It is looked for at `hint` first: where it was in
    /// another blob of its shelf it mostly is in this one.
    pub(crate) fn find(&self, series: u32, hint: usize) -> Option<usize> {
        if self.ids.get(hint) == Some(&series) {
            return Some(hint);
        }
        self.ids.binary_search(&series).ok()
    }

    /// The times that the columns with this [`Column::times`] have.
    pub(crate) fn times(&self, times: usize) -> Result<Vec<i64>, Malformed> {
        let place = self.times.get(times).ok_or(Malformed("time column"))?;
        let bytes = self.content.get(place.start..place.end).ok_or(Malformed("time column"))?;
        let mut reader = Reader::new(bytes);
        let count = reader.count(column::COLUMN_LEN_MAX)?;
        match self.version {
            VERSION_1 => column::v1::times(reader.rest(), count),
            _ => column::times(reader.rest(), count),
        }
    }

    /// Memory it takes.
    pub(crate) fn size_bytes(&self) -> usize {
        size_of::<Self>()
            + self.content.capacity()
            + self.times.capacity() * size_of::<TimeColumn>()
            + self.columns.capacity() * size_of::<Column>()
            + self.ids.capacity() * size_of::<u32>()
    }
}

fn columns_1(reader: &mut Reader<'_>, times_len: usize) -> Result<Vec<Column>, Malformed> {
    let mut columns = Vec::new();
    let (mut series, mut part, mut start) = (0_u32, 0_u32, 0_usize);
    for _ in 0..reader.count(reader.rest().len())? {
        series = series.checked_add(reader.u32()?).ok_or(Malformed("series id"))?;
        let times = reader.count(times_len)?;
        let next_parts = reader.u32()?;
        if next_parts > 0 {
            part = part.checked_add(next_parts).ok_or(Malformed("part"))?;
            start = 0;
        }
        let end = start + reader.count(PART_LEN_MAX)?;
        columns.push(Column { series, times, part, start, end, lane: None });
        start = end;
    }
    Ok(columns)
}

fn columns(reader: &mut Reader<'_>, times: &[TimeColumn]) -> Result<Vec<Column>, Malformed> {
    let mut columns = Vec::new();
    let mut series = 0_i64;
    for part in 0..u32::try_from(reader.count(1 << PART_BITS)?).unwrap_or(0) {
        let part_start = columns.len();
        let mut heads_len = 0_usize;
        // Lanes are counted from the first on, and moved behind the heads when those are known.
        let mut lanes_len = 0_usize;
        for _ in 0..reader.count(reader.rest().len())? {
            let shape = Shape::of_byte(reader.byte()?)?;
            let group_start = columns.len();
            let mut stride = 0_usize;
            for _ in 0..reader.count(reader.rest().len())? {
                series = series.checked_add(reader.signed()?).ok_or(Malformed("series id"))?;
                let id = u32::try_from(series).map_err(|_| Malformed("series id"))?;
                let at = reader.count(times.len())?;
                let count = times.get(at).ok_or(Malformed("time column"))?.count;
                let (start, end) = (heads_len, heads_len + reader.count(PART_LEN_MAX)?);
                let len = shape.plane_len(count);
                let lane = Some(LanePlace { start: lanes_len + stride, stride: 0, len, shape });
                columns.push(Column { series: id, times: at, part, start, end, lane });
                heads_len = end;
                stride += len;
                if heads_len > PART_LEN_MAX || lanes_len + stride > PART_LEN_MAX {
                    return Err(Malformed("part"));
                }
            }
            let group = columns.get_mut(group_start..).unwrap_or_default();
            group.iter_mut().filter_map(|c| c.lane.as_mut()).for_each(|lane| lane.stride = stride);
            lanes_len += stride * shape.planes();
        }
        let all = columns.get_mut(part_start..).unwrap_or_default();
        all.iter_mut().filter_map(|c| c.lane.as_mut()).for_each(|lane| lane.start += heads_len);
    }
    columns.sort_unstable_by_key(|column| column.series);
    let ascends = |pair: &[Column]| matches!(pair, [a, b] if a.series < b.series);
    if columns.windows(2).all(ascends) { Ok(columns) } else { Err(Malformed("series id")) }
}

impl Column {
    /// Its place among the columns of its blob.
    pub(crate) const fn place(&self) -> (u32, usize) {
        (self.part, self.start)
    }

    /// Bytes before compression.
    pub(crate) fn len(&self) -> usize {
        let lane = self.lane.map_or(0, |lane| lane.len * lane.shape.planes());
        lane + self.end.saturating_sub(self.start)
    }

    /// The values of this column in its decompressed part; `count` as its time column has.
    pub(crate) fn values(&self, part: &[u8], count: usize) -> Result<Vec<f64>, Malformed> {
        let mut values = Vec::new();
        self.values_into(part, count, 0..count, &mut values)?;
        Ok(values)
    }

    /// As [`Column::values`], but appends those alone that are `wanted`, by position. When it
    /// fails, `out` may have some of them.
    pub(crate) fn values_into(
        &self,
        part: &[u8],
        count: usize,
        wanted: Range<usize>,
        out: &mut Vec<f64>,
    ) -> Result<(), Malformed> {
        let head = part.get(self.start..self.end).ok_or(Malformed("column"))?;
        let Some(LanePlace { start, stride, shape, .. }) = self.lane else {
            let values = column::v1::values(head, count)?;
            out.extend_from_slice(values.get(wanted).unwrap_or_default());
            return Ok(());
        };
        column::values_into(head, Lane { bytes: part, start, stride, shape }, count, wanted, out)
    }
}

/// Appends a label set as it stands in a series row.
pub(crate) fn push_labels(out: &mut Vec<u8>, labels: &labstat_model::Labels) {
    for (name, value) in labels.iter() {
        for text in [name, value] {
            push(out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Reads what [`push_labels`] wrote.
pub(crate) fn labels(bytes: &[u8]) -> Result<labstat_model::Labels, Malformed> {
    let mut reader = Reader::new(bytes);
    let mut pairs = Vec::new();
    while !reader.is_empty() {
        pairs.push((reader.text(bytes.len())?, reader.text(bytes.len())?));
    }
    Ok(labstat_model::Labels::new(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Columns = Vec<(u32, Vec<i64>, Vec<f64>)>;

    fn read_all(blob: &Blob) -> Result<Columns, Malformed> {
        let directory = Directory::read(blob.meta.id, &blob.directory)?;
        let mut all = Vec::new();
        for column in directory.columns.clone() {
            let row = blob.parts.get(column.part as usize).ok_or(Malformed("part"))?;
            let part = unpack_part(blob.meta.id, column.part, row)?;
            let times = directory.times(column.times)?;
            let values = column.values(&part, times.len())?;
            all.push((column.series, times, values));
        }
        Ok(all)
    }

    fn sample() -> (Blob, Columns) {
        let mut builder = Builder::new(5);
        let mut wanted = Vec::new();
        for series in 0..300_u32 {
            let times: Vec<i64> = (0..480)
                .map(|at| 1_700_000_000_000 + at * 15_000 + i64::from(series % 2))
                .collect();
            let values: Vec<f64> =
                (0..480).map(|at| f64::from((at * series) % 977).sqrt()).collect();
            builder.push(series * 3, &times, &values);
            wanted.push((series * 3, times, values));
        }
        (builder.finish(2, 0).unwrap(), wanted)
    }

    #[test]
    fn columns_come_back_from_many_parts_with_shared_times() {
        let (blob, wanted) = sample();
        assert!(blob.meta.parts > 3, "{}", blob.meta.parts);
        assert_eq!(blob.meta.samples, 300 * 480);
        assert_eq!((blob.meta.first_ms, blob.meta.last_ms % 10), (1_700_000_000_000, 1));
        assert_eq!(Directory::read(5, &blob.directory).unwrap().times.len(), 2);
        assert_eq!(read_all(&blob).unwrap(), wanted);
        assert!(Builder::new(1).finish(0, 0).is_none());
    }

    #[test]
    fn a_series_is_found_wherever_it_was_thought_to_be() {
        let (blob, wanted) = sample();
        let directory = Directory::read(5, &blob.directory).unwrap();
        for (at, (series, ..)) in wanted.iter().enumerate() {
            for hint in [0, at, at + 1, 299, 300, usize::MAX] {
                assert_eq!(directory.find(*series, hint), Some(at), "{series} {hint}");
                assert_eq!(directory.find(series + 1, hint), None, "{series} {hint}");
            }
        }
    }

    #[test]
    fn label_sets_come_back() {
        let set = labstat_model::Labels::new([("__name__", "up"), ("a", "ü\n"), ("b", "")]);
        let mut out = Vec::new();
        push_labels(&mut out, &set);
        assert_eq!(labels(&out).unwrap(), set);
        assert!(labels(&out[..3]).is_err());
    }

    proptest! {
        // Each case builds a whole blob.
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn a_flipped_bit_is_found(at in any::<prop::sample::Index>(), bit in 0..8_u32, part in 0..4_usize) {
            let (mut blob, _) = sample();
            let row = if part == 3 { &mut blob.directory } else { &mut blob.parts[part] };
            let at = at.index(row.len());
            row[at] ^= 1_u8 << bit;
            prop_assert!(read_all(&blob).is_err());
        }

        #[test]
        fn any_directory_is_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(directory) = Directory::read(1, &pack(1, &[&bytes])) {
                for column in &directory.columns {
                    let count = directory.times(column.times).map_or(0, |times| times.len());
                    let _ = column.values(&bytes, count);
                }
            }
        }
    }
}
