//! The series of a shelf as they stand on disk: which there are, and what is known of their
//! samples. Pure; the layout is in `docs/formats/store.md`.
//!
//! Series of a shelf have most names and many values in common, so these stand once, and the
//! series are numbers of them, column by column. Spans stand apart: they change with every seal.

use std::collections::HashMap;

use labstat_model::Labels;

use crate::varint::{Malformed, Reader, push, push_signed, seal, unseal};

/// The only version there is.
const VERSION: u8 = 1;

/// Bytes of one shelf's series before compression: a thousand label sets of the greatest length.
const SERIES_LEN_MAX: usize = 512 * 1024 * 1024;

/// Bytes of one shelf's spans before compression: far more than a thousand have.
const SPANS_LEN_MAX: usize = 16 * 1024 * 1024;

/// Series are written once for many reads.
const SERIES_ZSTD_LEVEL: i32 = 3;

/// Spans are written at every seal.
const SPANS_ZSTD_LEVEL: i32 = 1;

/// What is known of the samples of one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) id: u32,
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
    /// The bits of the sample at `last_ms`, where they are known.
    pub(crate) last_bits: Option<u64>,
}

/// A row of the table `shelves`, to be stored.
#[derive(Debug)]
pub(crate) struct ShelfRow {
    pub(crate) shelf: u32,
    /// `None` when the series are what they were.
    pub(crate) series: Option<Vec<u8>>,
    pub(crate) spans: Vec<u8>,
}

/// The series of a shelf, read.
#[derive(Debug)]
pub(crate) struct ShelfSeries {
    texts: String,
    /// Name and value, as places in `texts`.
    pairs: Vec<(Text, Text)>,
    /// Pairs of all series, one after the other.
    sets: Vec<u32>,
    /// Each series and where its pairs end.
    series: Vec<(u32, usize)>,
}

type Text = std::ops::Range<usize>;

impl ShelfSeries {
    /// Reads what [`encode_series`] wrote.
    pub(crate) fn read(shelf: u32, row: &[u8]) -> Result<Self, Malformed> {
        decode_series(unpack(series_key(shelf), row, SERIES_LEN_MAX)?)
    }

    /// The distinct pairs; a series names them by their position.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (self.text(name), self.text(value)))
    }

    fn text(&self, text: &Text) -> &str {
        self.texts.get(text.clone()).unwrap_or_default()
    }

    /// The series, ascending by id, each with its pairs, ascending by name.
    pub(crate) fn series(&self) -> impl Iterator<Item = (u32, &[u32])> {
        let mut start = 0;
        self.series.iter().map(move |(id, end)| {
            let set = self.sets.get(start..*end).unwrap_or_default();
            start = *end;
            (*id, set)
        })
    }

    /// The label set of these pairs.
    pub(crate) fn labels(&self, set: &[u32]) -> Labels {
        let pairs = set.iter().filter_map(|at| self.pairs.get(*at as usize));
        Labels::new(pairs.map(|(name, value)| (self.text(name), self.text(value))))
    }
}

const fn series_key(shelf: u32) -> i64 {
    (shelf as i64) << 1
}

const fn spans_key(shelf: u32) -> i64 {
    (shelf as i64) << 1 | 1
}

/// Version, length, zstd frame, checksum.
fn pack(key: i64, content: &[u8], level: i32) -> Vec<u8> {
    let mut row = vec![VERSION];
    push(&mut row, content.len() as u64);
    // Compression fails for want of memory only; a frame of nothing then reads as malformed.
    row.extend(zstd::bulk::compress(content, level).unwrap_or_default());
    seal(key, &mut row);
    row
}

fn unpack(key: i64, row: &[u8], len_max: usize) -> Result<Vec<u8>, Malformed> {
    let mut reader = Reader::new(unseal(key, row)?);
    if reader.byte()? != VERSION {
        return Err(Malformed("catalog version"));
    }
    let len = reader.count(len_max)?;
    let content = zstd::bulk::decompress(reader.rest(), len).map_err(|_| Malformed("frame"))?;
    if content.len() == len { Ok(content) } else { Err(Malformed("frame")) }
}

/// A label name of a shelf while it is written.
#[derive(Default)]
struct Name<'a> {
    values: Vec<&'a str>,
    known: HashMap<&'a str, u64>,
    /// What its column has for each series that has it.
    column: Vec<u8>,
}

impl<'a> Name<'a> {
    /// Values are told by how long ago they were new: 0 is a new one. So values of which each
    /// series has another, and values that all series have, are columns of one byte over and over.
    fn push(&mut self, value: &'a str) {
        let next = self.values.len() as u64;
        let at = *self.known.entry(value).or_insert(next);
        if at == next {
            self.values.push(value);
        }
        push(&mut self.column, next - at);
    }
}

/// The row of a shelf's series, given ascending by id, each label set ascending by name.
pub(crate) fn encode_series(shelf: u32, series: &[(u32, Vec<(&str, &str)>)]) -> Vec<u8> {
    let mut names: Vec<&str> = series.iter().flat_map(|(_, set)| set).map(|pair| pair.0).collect();
    names.sort_unstable();
    names.dedup();
    let mut columns: Vec<Name<'_>> = Vec::new();
    columns.resize_with(names.len(), Name::default);
    let mut shapes: Vec<Vec<usize>> = Vec::new();
    let mut shapes_known: HashMap<Vec<usize>, u64> = HashMap::new();
    let (mut ids, mut shape_column, mut last_id) = (Vec::new(), Vec::new(), 0);
    for (id, set) in series {
        push(&mut ids, u64::from(id - last_id));
        last_id = *id;
        let mut shape = Vec::with_capacity(set.len());
        for (name, value) in set {
            let Ok(at) = names.binary_search(name) else { continue };
            shape.push(at);
            if let Some(column) = columns.get_mut(at) {
                column.push(value);
            }
        }
        let next = shapes.len() as u64;
        let at = *shapes_known.entry(shape).or_insert_with_key(|shape| {
            shapes.push(shape.clone());
            next
        });
        push(&mut shape_column, at);
    }
    let mut out = Vec::new();
    push(&mut out, names.len() as u64);
    for (name, column) in names.iter().zip(&columns) {
        push_text(&mut out, name);
        push(&mut out, column.values.len() as u64);
        column.values.iter().for_each(|value| push_text(&mut out, value));
    }
    push(&mut out, shapes.len() as u64);
    for shape in shapes {
        push(&mut out, shape.len() as u64);
        shape.iter().for_each(|name| push(&mut out, *name as u64));
    }
    push(&mut out, series.len() as u64);
    out.extend(ids);
    out.extend(shape_column);
    columns.iter().for_each(|name| out.extend_from_slice(&name.column));
    pack(series_key(shelf), &out, SERIES_ZSTD_LEVEL)
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    push(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// A label name of a shelf while it is read.
struct NameRead {
    /// The first of its pairs.
    base: u32,
    values: u32,
    /// Values that its column has brought so far.
    seen: u32,
    column: Vec<u32>,
    taken: usize,
}

fn decode_series(content: Vec<u8>) -> Result<ShelfSeries, Malformed> {
    let len = content.len();
    let mut reader = Reader::new(&content);
    let place = |reader: &mut Reader<'_>| -> Result<Text, Malformed> {
        let text = reader.text(len)?;
        let end = len - reader.rest().len();
        Ok(end - text.len()..end)
    };
    let (mut names, mut pairs): (Vec<NameRead>, Vec<(Text, Text)>) = (Vec::new(), Vec::new());
    let mut last_name: Option<Text> = None;
    for _ in 0..reader.count(len)? {
        let name = place(&mut reader)?;
        if last_name.is_some_and(|last| content.get(last) >= content.get(name.clone())) {
            return Err(Malformed("label name"));
        }
        let base = u32::try_from(pairs.len()).map_err(|_| Malformed("count"))?;
        let values = u32::try_from(reader.count(len)?).map_err(|_| Malformed("count"))?;
        for _ in 0..values {
            pairs.push((name.clone(), place(&mut reader)?));
        }
        names.push(NameRead { base, values, seen: 0, column: Vec::new(), taken: 0 });
        last_name = Some(name);
    }
    let mut shapes: Vec<Vec<usize>> = Vec::new();
    for _ in 0..reader.count(len)? {
        let mut shape = Vec::new();
        for _ in 0..reader.count(len)? {
            let name = reader.count(names.len().saturating_sub(1))?;
            if names.is_empty() || shape.last().is_some_and(|last| *last >= name) {
                return Err(Malformed("shape"));
            }
            shape.push(name);
        }
        shapes.push(shape);
    }
    let (ids, shapes_of) = series_columns(&mut reader, len)?;
    let mut counts = vec![0_usize; names.len()];
    let mut sets_len = 0_usize;
    for at in &shapes_of {
        let shape = shapes.get(*at).ok_or(Malformed("shape"))?;
        sets_len += shape.len();
        // Each label takes a byte of its name's column, so that there cannot be more.
        if sets_len > len {
            return Err(Malformed("count"));
        }
        for name in shape {
            if let Some(count) = counts.get_mut(*name) {
                *count += 1;
            }
        }
    }
    for (name, count) in names.iter_mut().zip(counts) {
        value_column(&mut reader, name, count)?;
    }
    if !reader.is_empty() {
        return Err(Malformed("catalog"));
    }
    let (mut sets, mut series) = (Vec::with_capacity(sets_len), Vec::with_capacity(ids.len()));
    for (id, at) in ids.into_iter().zip(shapes_of) {
        for name in shapes.get(at).into_iter().flatten() {
            let Some(name) = names.get_mut(*name) else { continue };
            sets.extend(name.column.get(name.taken));
            name.taken += 1;
        }
        series.push((id, sets.len()));
    }
    // The places of texts lie within; what is not text is never looked at.
    let texts = into_text(content, &pairs);
    Ok(ShelfSeries { texts, pairs, sets, series })
}

/// The ids and shapes of the series.
fn series_columns(
    reader: &mut Reader<'_>,
    len: usize,
) -> Result<(Vec<u32>, Vec<usize>), Malformed> {
    let count = reader.count(len)?;
    let (mut ids, mut shapes) = (Vec::new(), Vec::new());
    for _ in 0..count {
        ids.push(next_id(ids.last().copied(), reader)?);
    }
    for _ in 0..count {
        shapes.push(reader.count(len)?);
    }
    Ok((ids, shapes))
}

/// An id that is more than the one before.
fn next_id(last: Option<u32>, reader: &mut Reader<'_>) -> Result<u32, Malformed> {
    let step = reader.u32()?;
    match last {
        Some(last) if step > 0 => last.checked_add(step).ok_or(Malformed("series id")),
        Some(_) => Err(Malformed("series id")),
        None => Ok(step),
    }
}

fn value_column(
    reader: &mut Reader<'_>,
    name: &mut NameRead,
    count: usize,
) -> Result<(), Malformed> {
    for _ in 0..count {
        let back = reader.u32()?;
        let at = name.seen.checked_sub(back).ok_or(Malformed("label value"))?;
        if back == 0 {
            name.seen += 1;
        }
        if at >= name.values {
            return Err(Malformed("label value"));
        }
        name.column.push(name.base + at);
    }
    Ok(())
}

/// The content as one text. Its pairs were found to be texts when they were read; the numbers
/// between them need not be, and become something of the same length.
fn into_text(mut content: Vec<u8>, pairs: &[(Text, Text)]) -> String {
    let mut end = 0;
    let mut blank = |content: &mut Vec<u8>, text: &Text| {
        if let Some(between) = content.get_mut(end..text.start) {
            between.fill(b' ');
        }
        end = end.max(text.end);
    };
    for (name, value) in pairs {
        blank(&mut content, name);
        blank(&mut content, value);
    }
    content.truncate(end);
    String::from_utf8(content).unwrap_or_default()
}

/// The row of a shelf's spans, given ascending by id.
pub(crate) fn encode_spans(shelf: u32, spans: &[Span]) -> Vec<u8> {
    let mut out = Vec::new();
    push(&mut out, spans.len() as u64);
    let mut last_id = 0;
    for span in spans {
        push(&mut out, u64::from(span.id - last_id));
        last_id = span.id;
    }
    for time in [|span: &Span| span.first_ms, |span: &Span| span.last_ms] {
        let mut last = 0_i64;
        for span in spans {
            push_signed(&mut out, time(span).wrapping_sub(last));
            last = time(span);
        }
    }
    out.extend(spans.iter().map(|span| u8::from(span.last_bits.is_some())));
    let mut last = 0_u64;
    for bits in spans.iter().filter_map(|span| span.last_bits) {
        // As in the columns of blobs: neighbours share their high bits, which come last here.
        push(&mut out, (bits ^ last).reverse_bits());
        last = bits;
    }
    pack(spans_key(shelf), &out, SPANS_ZSTD_LEVEL)
}

/// Reads what [`encode_spans`] wrote.
pub(crate) fn decode_spans(shelf: u32, row: &[u8]) -> Result<Vec<Span>, Malformed> {
    let content = unpack(spans_key(shelf), row, SPANS_LEN_MAX)?;
    let mut reader = Reader::new(&content);
    let mut spans: Vec<Span> = Vec::new();
    for _ in 0..reader.count(content.len())? {
        let id = next_id(spans.last().map(|span| span.id), &mut reader)?;
        spans.push(Span { id, first_ms: 0, last_ms: 0, last_bits: None });
    }
    let mut last = 0_i64;
    for span in &mut spans {
        last = last.wrapping_add(reader.signed()?);
        span.first_ms = last;
    }
    last = 0;
    for span in &mut spans {
        last = last.wrapping_add(reader.signed()?);
        span.last_ms = last;
    }
    let known = reader.bytes(spans.len())?.iter().map(|known| *known != 0);
    let mut last = 0_u64;
    for (span, known) in spans.iter_mut().zip(known) {
        if known {
            last ^= reader.varint()?.reverse_bits();
            span.last_bits = Some(last);
        }
    }
    if reader.is_empty() { Ok(spans) } else { Err(Malformed("spans")) }
}

/// Reads any content, as if its checksum were right, and checks that it is written the same again.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_any(content: &[u8]) {
    let row = pack(series_key(7), content, SPANS_ZSTD_LEVEL);
    if let Ok(read) = ShelfSeries::read(7, &row) {
        let pairs: Vec<(&str, &str)> = read.pairs().collect();
        let pair = |at: &u32| pairs.get(*at as usize).copied();
        let series: Vec<(u32, Vec<(&str, &str)>)> =
            read.series().map(|(id, set)| (id, set.iter().filter_map(pair).collect())).collect();
        let again = ShelfSeries::read(7, &encode_series(7, &series));
        let again = again.map(|again| {
            again.series().map(|(id, set)| (id, again.labels(set))).collect::<Vec<_>>()
        });
        let wanted: Vec<_> = read.series().map(|(id, set)| (id, read.labels(set))).collect();
        assert_eq!(again, Ok(wanted), "BUG: what was read is written as something else");
    }
    let row = pack(spans_key(7), content, SPANS_ZSTD_LEVEL);
    if let Ok(spans) = decode_spans(7, &row) {
        assert_eq!(decode_spans(7, &encode_spans(7, &spans)), Ok(spans), "BUG: another span");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(shelf: u32, series: &[(u32, Labels)]) -> Vec<u8> {
        let series: Vec<(u32, Vec<(&str, &str)>)> =
            series.iter().map(|(id, labels)| (*id, labels.iter().collect())).collect();
        encode_series(shelf, &series)
    }

    fn decoded(shelf: u32, row: &[u8]) -> Result<Vec<(u32, Labels)>, Malformed> {
        let read = ShelfSeries::read(shelf, row)?;
        Ok(read.series().map(|(id, set)| (id, read.labels(set))).collect())
    }

    fn node_series() -> Vec<(u32, Labels)> {
        let series = (0..1024_u32).map(|at| {
            let (device, mode) = (format!("dm-{}", at % 37), format!("{}", at * 7919 % 1013));
            let instance = format!("node{}.lab.example.org:9100", at / 100);
            let labels = Labels::new([
                ("__name__", "node_disk_read_bytes_total"),
                ("device", &*device),
                ("instance", &instance),
                ("job", "node"),
                (if at % 2 == 0 { "mode" } else { "model" }, &mode),
            ]);
            (at * 3 + 1, labels)
        });
        series.collect()
    }

    #[test]
    fn a_shelf_takes_few_bytes_a_series() {
        let series = node_series();
        let row = encoded(3, &series);
        assert!(row.len() < 6 * series.len(), "{}", row.len());
        assert_eq!(decoded(3, &row), Ok(series));
    }

    #[test]
    fn a_row_in_anothers_place_is_found_out() {
        let row = encoded(3, &[(1, Labels::new([("a", "b")]))]);
        assert!(decoded(4, &row).is_err());
        let spans = encode_spans(3, &[]);
        assert_eq!(decode_spans(3, &spans), Ok(Vec::new()));
        assert!(decode_spans(4, &spans).is_err());
        assert!(decode_spans(3, &row).is_err());
    }

    fn labels() -> impl Strategy<Value = Labels> {
        let pairs = prop::collection::vec(("[abc]", "[xyzü]{0,2}|.{0,9}"), 0..5);
        pairs.prop_map(|pairs| Labels::new(pairs.iter().map(|(a, b)| (&**a, &**b))))
    }

    proptest! {
        #[test]
        fn series_come_back(sets in prop::collection::vec((any::<u8>(), labels()), 0..40), shelf: u32) {
            let mut id = 0;
            let series: Vec<(u32, Labels)> = sets.into_iter().map(|(step, labels)| {
                id += u32::from(step) + 1;
                (id, labels)
            }).collect();
            prop_assert_eq!(decoded(shelf, &encoded(shelf, &series)), Ok(series));
        }

        #[test]
        fn spans_come_back(raw in prop::collection::btree_map(any::<u32>(), any::<(i64, i64, Option<u64>)>(), 0..60)) {
            let spans: Vec<Span> = raw
                .into_iter()
                .map(|(id, (first_ms, last_ms, last_bits))| Span { id, first_ms, last_ms, last_bits })
                .collect();
            prop_assert_eq!(decode_spans(1, &encode_spans(1, &spans)), Ok(spans));
        }

        #[test]
        fn a_flipped_bit_is_found(at in any::<prop::sample::Index>(), bit in 0..8_u32) {
            let mut row = encoded(3, &node_series()[..40]);
            let at = at.index(row.len());
            row[at] ^= 1_u8 << bit;
            prop_assert!(decoded(3, &row).is_err());
        }

        #[test]
        fn any_content_is_refused_or_read(bytes in prop::collection::vec(0..12_u8, 0..60)) {
            read_any(&bytes);
        }

        /// Something that was well formed once gets further than any bytes do.
        #[test]
        fn content_that_was_changed_is_refused_or_read(
            sets in prop::collection::vec(labels(), 1..9),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let series: Vec<(u32, Labels)> = (1..).zip(sets).collect();
            let row = encoded(7, &series);
            let mut content = unpack(series_key(7), &row, SERIES_LEN_MAX).unwrap();
            for (at, byte) in changes {
                let at = at.index(content.len());
                content[at] = byte;
            }
            read_any(&content);
        }
    }
}
