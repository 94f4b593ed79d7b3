//! Blobs: a stretch of time of many series, compressed, in rows of the database.
//!
//! A blob is one directory row (which series, where, and the time columns they share) and some
//! part rows (value columns, many series to a part), so that a read of few series decompresses
//! few parts. Every row has a version and a checksum bound to its key. Pure; the layout is in
//! `docs/formats/store.md`.

use std::collections::HashMap;

use crate::column;
use crate::varint::{Malformed, Reader, checksum, push, seal, unseal};

/// The only version there is.
const VERSION: u8 = 1;

/// A part is closed when its columns have this many bytes before compression: enough for zstd to
/// find what repeats, little enough that reading one series stays cheap.
const PART_LEN: usize = 64 * 1024;

/// Bytes of one part before compression: what is there when it is closed, and one longest column.
const PART_LEN_MAX: usize = PART_LEN + 16 * column::COLUMN_LEN_MAX;

/// Parts of one blob; the bits of a part's key below the blob's id.
const PARTS_MAX: usize = 1 << PART_BITS;
const PART_BITS: u32 = 12;

/// Bytes of a directory before compression: a thousand series with irregular times of their own.
const DIRECTORY_LEN_MAX: usize = 512 * 1024 * 1024;

/// Good for a fraction of the time of the levels above, which give a few percent.
const ZSTD_LEVEL: i32 = 3;

/// Numbers of [`BlobMeta`] that format 1 had.
const FORMAT_1_NUMBERS: usize = 8;

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
    part: Vec<u8>,
    parts: Vec<Vec<u8>>,
    times: Vec<u8>,
    times_known: HashMap<Vec<u8>, u64>,
    series: Vec<u8>,
    series_len: u64,
    last_series: u32,
    last_part: usize,
    first_ms: i64,
    last_ms: i64,
    samples: u64,
}

impl Builder {
    pub(crate) fn new(id: i64) -> Self {
        Self {
            id,
            part: Vec::new(),
            parts: Vec::new(),
            times: Vec::new(),
            times_known: HashMap::new(),
            series: Vec::new(),
            series_len: 0,
            last_series: 0,
            last_part: 0,
            first_ms: i64::MAX,
            last_ms: i64::MIN,
            samples: 0,
        }
    }

    /// Whether another column could be too much for one blob.
    pub(crate) fn is_full(&self) -> bool {
        self.parts.len() + 2 > PARTS_MAX || self.times.len() > DIRECTORY_LEN_MAX / 4
    }

    /// Adds the columns of one series: times ascending, at most
    /// [`COLUMN_LEN_MAX`](column::COLUMN_LEN_MAX) and at least one.
    pub(crate) fn push(&mut self, series: u32, times: &[i64], values: &[f64]) {
        debug_assert!(times.len() == values.len() && times.len() <= column::COLUMN_LEN_MAX);
        debug_assert!(self.series_len == 0 || series > self.last_series, "BUG: ids ascend");
        let (Some(&first_ms), Some(&last_ms)) = (times.first(), times.last()) else { return };
        let at = self.time_column(times);
        let start = self.part.len();
        column::push_values(&mut self.part, values);
        push(&mut self.series, u64::from(series - self.last_series));
        push(&mut self.series, at);
        push(&mut self.series, (self.parts.len() - self.last_part) as u64);
        push(&mut self.series, (self.part.len() - start) as u64);
        self.last_series = series;
        self.last_part = self.parts.len();
        self.series_len += 1;
        self.first_ms = self.first_ms.min(first_ms);
        self.last_ms = self.last_ms.max(last_ms);
        self.samples += times.len() as u64;
        if self.part.len() >= PART_LEN {
            self.close_part();
        }
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

    fn close_part(&mut self) {
        if !self.part.is_empty() {
            let key = part_key(self.id, u32::try_from(self.parts.len()).unwrap_or(u32::MAX));
            self.parts.push(pack(key, &self.part));
            self.part.clear();
        }
    }

    /// The blob; `None` when there is nothing in it.
    pub(crate) fn finish(mut self, shelf: u32, level: u32) -> Option<Blob> {
        self.close_part();
        if self.series_len == 0 {
            return None;
        }
        let mut directory = Vec::with_capacity(self.times.len() + self.series.len() + 20);
        push(&mut directory, self.times_known.len() as u64);
        directory.extend_from_slice(&self.times);
        push(&mut directory, self.series_len);
        directory.extend_from_slice(&self.series);
        let directory = pack(self.id, &directory);
        let size_bytes = directory.len() + self.parts.iter().map(Vec::len).sum::<usize>();
        let meta = BlobMeta {
            id: self.id,
            shelf,
            level,
            first_ms: self.first_ms,
            last_ms: self.last_ms,
            samples: self.samples,
            parts: u32::try_from(self.parts.len()).unwrap_or(u32::MAX),
            size_bytes: size_bytes as u64,
            tier: 0,
            kind: 0,
            kept_ms: 0,
            flags: 0,
        };
        Some(Blob { meta, directory, parts: self.parts })
    }
}

/// Version, length, zstd frame, checksum.
fn pack(key: i64, content: &[u8]) -> Vec<u8> {
    let mut row = vec![VERSION];
    push(&mut row, content.len() as u64);
    // Compression fails for want of memory only; a frame of nothing then reads as malformed, and
    // the length kept beside it says that there was something.
    row.extend(zstd::bulk::compress(content, ZSTD_LEVEL).unwrap_or_default());
    seal(key, &mut row);
    row
}

fn unpack(key: i64, row: &[u8], len_max: usize) -> Result<Vec<u8>, Malformed> {
    let mut reader = Reader::new(unseal(key, row)?);
    if reader.byte()? != VERSION {
        return Err(Malformed("blob version"));
    }
    let len = reader.count(len_max)?;
    let content = zstd::bulk::decompress(reader.rest(), len).map_err(|_| Malformed("frame"))?;
    if content.len() == len { Ok(content) } else { Err(Malformed("frame")) }
}

/// The value columns of some series, decompressed.
pub(crate) fn unpack_part(blob: i64, part: u32, row: &[u8]) -> Result<Vec<u8>, Malformed> {
    unpack(part_key(blob, part), row, PART_LEN_MAX)
}

/// Checks a part's checksum without decompressing it.
pub(crate) fn check_part(blob: i64, part: u32, row: &[u8]) -> Result<(), Malformed> {
    unseal(part_key(blob, part), row).map(|_| ())
}

/// A blob's directory, read.
#[derive(Debug)]
pub(crate) struct Directory {
    content: Vec<u8>,
    /// Where the time columns lie in the content.
    times: Vec<(usize, usize)>,
    /// By ascending series id.
    pub(crate) columns: Vec<Column>,
}

/// Where one series lies in a blob.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) series: u32,
    pub(crate) times: usize,
    pub(crate) part: u32,
    start: usize,
    end: usize,
}

impl Directory {
    /// Reads the directory row of the blob `id`.
    pub(crate) fn read(id: i64, row: &[u8]) -> Result<Self, Malformed> {
        let content = unpack(id, row, DIRECTORY_LEN_MAX)?;
        let mut reader = Reader::new(&content);
        let mut times = Vec::new();
        for _ in 0..reader.count(content.len())? {
            let len = reader.count(content.len())?;
            let start = content.len() - reader.rest().len();
            reader.bytes(len)?;
            times.push((start, start + len));
        }
        let mut columns = Vec::new();
        let (mut series, mut part, mut start) = (0_u32, 0_u32, 0_usize);
        for _ in 0..reader.count(content.len())? {
            series = series.checked_add(reader.u32()?).ok_or(Malformed("series id"))?;
            let times = reader.count(times.len())?;
            let next_parts = reader.u32()?;
            if next_parts > 0 {
                part = part.checked_add(next_parts).ok_or(Malformed("part"))?;
                start = 0;
            }
            let end = start + reader.count(PART_LEN_MAX)?;
            columns.push(Column { series, times, part, start, end });
            start = end;
        }
        Ok(Self { content, times, columns })
    }

    /// The times that the columns with this [`Column::times`] have.
    pub(crate) fn times(&self, times: usize) -> Result<Vec<i64>, Malformed> {
        let (start, end) = *self.times.get(times).ok_or(Malformed("time column"))?;
        let mut reader = Reader::new(self.content.get(start..end).ok_or(Malformed("time column"))?);
        let count = reader.count(column::COLUMN_LEN_MAX)?;
        column::times(reader.rest(), count)
    }

    /// Memory it takes.
    pub(crate) fn size_bytes(&self) -> usize {
        size_of::<Self>()
            + self.content.capacity()
            + self.times.capacity() * size_of::<(usize, usize)>()
            + self.columns.capacity() * size_of::<Column>()
    }
}

impl Column {
    /// Bytes before compression.
    pub(crate) fn len(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// The values of this column in its decompressed part; `count` as its time column has.
    pub(crate) fn values(&self, part: &[u8], count: usize) -> Result<Vec<f64>, Malformed> {
        column::values(part.get(self.start..self.end).ok_or(Malformed("column"))?, count)
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
            if let Ok(directory) = Directory::read(1, &pack(1, &bytes)) {
                for column in &directory.columns {
                    let count = directory.times(column.times).map_or(0, |times| times.len());
                    let _ = column.values(&bytes, count);
                }
            }
        }
    }
}
