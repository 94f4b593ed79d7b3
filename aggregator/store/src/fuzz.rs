//! Ways to the insides for fuzz targets and for the benchmark of columns. Not part of the API.

use std::collections::HashMap;

use crate::blob::{Blob, Builder, Directory, unpack_part};
use crate::catalog;
use crate::column::{self, Encoder, Lane, Shape};
use crate::log;
use crate::varint::Malformed;

/// Any floats must come back as they went in.
///
/// # Panics
///
/// When they do not, which is what a fuzzer looks for.
pub fn column(data: &[u8]) {
    let (words, _) = data.as_chunks::<8>();
    let values: Vec<f64> = words.iter().map(|word| f64::from_le_bytes(*word)).collect();
    let (mut head, mut bytes, mut back) = (Vec::new(), Vec::new(), Vec::new());
    let shape = Encoder::default().push(&values, &mut head, &mut bytes).shape;
    let lane = Lane { bytes: &bytes, start: 0, stride: shape.plane_len(values.len()), shape };
    let read = column::values_into(&head, lane, values.len(), 0..values.len(), &mut back);
    let same = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits();
    assert!(read.is_ok() && back.len() == values.len() && back.iter().zip(&values).all(same));
}

/// Any bytes must be refused or read, as a column of this version and of the one before.
pub fn column_bytes(data: &[u8]) {
    let Some(([shape, start, stride, count], head)) = data.split_first_chunk::<4>() else { return };
    let (start, stride, count) = (usize::from(*start), usize::from(*stride), usize::from(*count));
    if let Ok(shape) = Shape::of_byte(*shape) {
        let lane = Lane { bytes: data, start, stride, shape };
        let _ = column::values_into(head, lane, count, 0..count, &mut Vec::new());
    }
    let _ = column::v1::values(head, count);
    let _ = column::times(head, count);
}

/// Any bytes must be refused or read as a directory, and what it names in any part.
pub fn blob(data: &[u8]) {
    let Some((len, rest)) = data.split_first() else { return };
    let (content, part) = rest.split_at(usize::from(*len).min(rest.len()));
    for version in [1, 2] {
        let row = crate::blob::pack_as(version, 1, &[content]);
        let Ok(directory) = Directory::read(1, &row) else { continue };
        read_columns(&directory, |_| Some(part), &mut |_, _| {});
    }
}

/// Any bytes must be refused or read as the series of a shelf and as its spans; what was read must
/// be written as the same again.
///
/// # Panics
///
/// When it is not, which is what a fuzzer looks for.
pub fn catalog(data: &[u8]) {
    catalog::read_any(data);
}

/// Any bytes must be refused or read as a record of the log; any samples must come back.
///
/// # Panics
///
/// When they do not, which is what a fuzzer looks for.
pub fn log(data: &[u8]) {
    let _ = log::decode(1, data);
    for version in [1, 2] {
        let _ = log::decode(1, &log::record_of(version, 1, data));
    }
    let (chunks, _) = data.as_chunks::<16>();
    let entry = |chunk: &[u8; 16]| {
        let word =
            |at: usize| chunk.iter().skip(at).take(8).fold(0, |word, b| word << 8 | u64::from(*b));
        let (time, bits) = (word(0), word(8));
        let series = u32::try_from(time % 5000).unwrap_or(0);
        log::Entry { series, time_ms: time.cast_signed(), bits }
    };
    let entries: Vec<log::Entry> = chunks.iter().map(entry).collect();
    let record = log::Encoder::default().encode(1, &entries);
    assert!(log::decode(1, &record).is_ok_and(|back| back == entries));
}

/// A blob in memory.
#[derive(Debug)]
pub struct Packed(Blob);

impl Packed {
    /// Packs columns of times and values; none when there are no samples.
    #[must_use]
    pub fn new<'a>(columns: impl IntoIterator<Item = (&'a [i64], &'a [f64])>) -> Option<Self> {
        let mut builder = Builder::new(1);
        for (id, (times, values)) in (1..).zip(columns) {
            builder.push(id, times, values);
        }
        builder.finish(0, 1).map(Self)
    }

    /// Bytes of the directory and of the parts.
    #[must_use]
    pub fn sizes_bytes(&self) -> (usize, Vec<usize>) {
        (self.0.directory.len(), self.0.parts.iter().map(Vec::len).collect())
    }

    /// Calls `each` with the times and values of every column, and says how many parts did not
    /// read.
    pub fn unpack(&self, mut each: impl FnMut(&[i64], &[f64])) -> usize {
        let id = self.0.meta.id;
        let parts: Vec<Result<Vec<u8>, Malformed>> =
            (0..).zip(&self.0.parts).map(|(part, row)| unpack_part(id, part, row)).collect();
        if let Ok(directory) = Directory::read(id, &self.0.directory) {
            let part = |part: u32| parts.get(part as usize)?.as_deref().ok();
            read_columns(&directory, part, &mut each);
        }
        parts.iter().filter(|part| part.is_err()).count()
    }
}

fn read_columns<'a>(
    directory: &Directory,
    part: impl Fn(u32) -> Option<&'a [u8]>,
    each: &mut dyn FnMut(&[i64], &[f64]),
) {
    let mut values = Vec::new();
    let mut times = HashMap::new();
    for column in &directory.columns {
        let Some(part) = part(column.part) else { continue };
        let times = times
            .entry(column.times)
            .or_insert_with(|| directory.times(column.times).unwrap_or_default());
        values.clear();
        if column.values_into(part, times.len(), 0..times.len(), &mut values).is_ok() {
            each(times, &values);
        }
    }
}

/// The codec that a column takes.
#[must_use]
pub fn codec(values: &[f64]) -> String {
    let (mut head, mut lane) = (Vec::new(), Vec::new());
    let shape = Encoder::default().push(values, &mut head, &mut lane).shape;
    column::describe(&head, shape)
}
