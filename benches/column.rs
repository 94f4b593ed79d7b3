//! How small columns of samples become, and how fast they are packed and unpacked.
//!
//! `cargo bench --bench column` makes columns of its own: counters, sensors, sizes and averages as
//! a node has them. `cargo bench --bench column -- FILE [SAMPLES]` takes remote-write requests
//! instead, uncompressed protobuf, each after its length (four bytes, little-endian), lays their
//! series on shelves as the store does, and cuts columns after SAMPLES (1,440).

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that fails may stop")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::hint::black_box;
use std::io::{BufReader, Read};
use std::time::Instant;

use labstat_store::fuzz::{Packed, codec};

const SHELF_SERIES_MAX: usize = 1024;
const SHELF_NAMES_UNTIL: usize = 128;

const ROUNDS: usize = 5;

/// Times and values of one series.
type Column = (Vec<i64>, Vec<f64>);

/// The series of one metric name and shelf after each other, shelf by shelf.
#[derive(Default)]
struct Shelves {
    shelves: Vec<Vec<(String, Column)>>,
    of_name: HashMap<String, usize>,
    known: HashMap<Vec<u8>, (usize, usize)>,
}

impl Shelves {
    fn add(&mut self, labels: &[u8], name: &str, times: &[i64], values: &[f64]) {
        let (shelf, at) = match self.known.get(labels) {
            Some(&place) => place,
            None => {
                let place = self.place(name);
                self.known.insert(labels.to_vec(), place);
                place
            }
        };
        let column = &mut self.shelves[shelf][at].1;
        column.0.extend_from_slice(times);
        column.1.extend_from_slice(values);
    }

    fn place(&mut self, name: &str) -> (usize, usize) {
        let len = |shelves: &[Vec<_>], at: usize| shelves.get(at).map_or(0, Vec::len);
        let open = self.shelves.len().saturating_sub(1);
        let shelf = match self.of_name.get(name) {
            Some(&shelf) if len(&self.shelves, shelf) < SHELF_SERIES_MAX => shelf,
            _ if len(&self.shelves, open) < SHELF_NAMES_UNTIL => open,
            _ => open + 1,
        };
        self.shelves.resize_with(self.shelves.len().max(shelf + 1), Vec::new);
        self.of_name.insert(name.to_owned(), shelf);
        self.shelves[shelf].push((name.to_owned(), Column::default()));
        (shelf, self.shelves[shelf].len() - 1)
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (&byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// The fields of a message that have a length: number and content. Others are not in there.
fn fields(mut bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let tag = varint(&mut bytes);
        let len = usize::try_from(varint(&mut bytes)).unwrap();
        let (content, rest) = bytes.split_at(len);
        bytes = rest;
        Some((tag >> 3, content))
    })
}

fn read(path: &str) -> Shelves {
    let mut file = BufReader::new(File::open(path).unwrap());
    let mut shelves = Shelves::default();
    let (mut len, mut request) = ([0; 4], Vec::new());
    while file.read_exact(&mut len).is_ok() {
        request.resize(u32::from_le_bytes(len) as usize, 0);
        file.read_exact(&mut request).unwrap();
        for (_, series) in fields(&request) {
            let (mut labels, mut name) = (Vec::new(), String::new());
            let (mut times, mut values) = (Vec::new(), Vec::new());
            for (field, content) in fields(series) {
                if field == 1 {
                    let label: Vec<&[u8]> = fields(content).map(|(_, text)| text).collect();
                    if label[0] == b"__name__" {
                        name = String::from_utf8(label[1].to_vec()).unwrap();
                    }
                    labels.extend_from_slice(content);
                } else {
                    // A double under tag 9, then the time under tag 16.
                    values.push(f64::from_le_bytes(content[1..9].try_into().unwrap()));
                    times.push(varint(&mut &content[10..]).cast_signed());
                }
            }
            shelves.add(&labels, &name, &times, &values);
        }
    }
    shelves
}

/// A repeatable source of noise (xorshift).
struct Noise(u64);

impl Noise {
    fn next(&mut self, below: u64) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below) as f64
    }
}

fn made() -> Shelves {
    let mut shelves = Shelves::default();
    for (node, series) in (0..4_u64).flat_map(|node| (0..1_000_u64).map(move |at| (node, at))) {
        let mut noise = Noise((node << 32 | series).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut value = noise.next(1 << 30);
        let times = (0..1_440).map(|at| 1_700_006_400_000 + at * 15_000).collect::<Vec<i64>>();
        let next = |_: &i64| {
            value = match series % 10 {
                0..=3 => value,
                4 => value + f64::from(noise.next(50) < 1.0),
                5 => ((value * 100.0).round() + noise.next(1_500)) / 100.0,
                6 => value + 512.0 * noise.next(400),
                7 => 4096.0 * (1e6 + noise.next(20_000)),
                8 => 40.0 + noise.next(5) / 2.0,
                _ => noise.next(1 << 30) / 7.0,
            };
            value
        };
        let values: Vec<f64> = times.iter().map(next).collect();
        let labels = (node << 32 | series).to_le_bytes();
        shelves.add(&labels, &format!("metric_{}", series / 8), &times, &values);
    }
    shelves
}

/// Packed columns of one blob.
type Cut<'a> = Vec<(&'a [i64], &'a [f64])>;

/// Blobs of some shelves, in order of time.
fn cut(shelves: &Shelves, samples: usize) -> Vec<Cut<'_>> {
    let mut blobs = Vec::new();
    for shelf in &shelves.shelves {
        let mut of_shelf: BTreeMap<usize, Cut<'_>> = BTreeMap::new();
        for (_, (times, values)) in shelf {
            for (at, column) in times.chunks(samples).zip(values.chunks(samples)).enumerate() {
                of_shelf.entry(at).or_default().push(column);
            }
        }
        blobs.extend(of_shelf.into_values());
    }
    blobs
}

fn samples_len(blobs: &[Cut<'_>]) -> f64 {
    blobs.iter().flatten().map(|(times, _)| times.len()).sum::<usize>() as f64
}

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let shelves = args.next().map_or_else(made, |path| read(&path));
    let blobs = cut(&shelves, args.next().map_or(1_440, |samples| samples.parse().unwrap()));
    let samples = samples_len(&blobs);
    let columns = blobs.iter().map(Vec::len).sum::<usize>();
    println!("{samples} samples, {columns} columns, {} blobs", blobs.len());

    let (encode_s, packed) = best(|| -> Vec<Packed> {
        blobs.iter().filter_map(|blob| Packed::new(blob.iter().copied())).collect()
    });
    let sizes: Vec<_> = packed.iter().map(Packed::sizes_bytes).collect();
    let directories: usize = sizes.iter().map(|(directory, _)| directory).sum();
    let parts: Vec<usize> = sizes.into_iter().flat_map(|(_, parts)| parts).collect();
    let bytes = parts.iter().sum::<usize>();
    println!("{:.4} bytes a sample in {} parts", bytes as f64 / samples, parts.len());
    println!("{:.4} bytes a sample in directories", directories as f64 / samples);
    println!("{:.1} ns a sample to pack", encode_s * 1e9 / samples);

    let (seconds, unpacked) = best(|| {
        let (mut unpacked, mut sum) = (0, 0.0);
        for blob in &packed {
            let damaged = blob.unpack(|_, values| {
                unpacked += values.len();
                sum += values.last().copied().unwrap_or(0.0);
            });
            assert_eq!(damaged, 0);
        }
        black_box(sum);
        unpacked
    });
    assert!((unpacked as f64 - samples).abs() < 0.5);
    println!("{:.1} M samples a second unpacked", samples / seconds / 1e6);
    by_codec(&blobs, samples);
    by_name(&shelves, samples);
}

/// The shortest time of some rounds, as other programs take their share of the processor.
fn best<T>(work: impl Fn() -> T) -> (f64, T) {
    let round = || {
        let start = Instant::now();
        let done = work();
        (start.elapsed().as_secs_f64(), done)
    };
    (1..ROUNDS).fold(round(), |best, _| {
        let next = round();
        if next.0 < best.0 { next } else { best }
    })
}

/// What the columns of each codec need when they are packed without the others.
fn by_codec(blobs: &[Cut<'_>], samples: f64) {
    let mut codecs: BTreeMap<String, (usize, f64, usize)> = BTreeMap::new();
    for blob in blobs {
        let mut split: BTreeMap<String, Cut<'_>> = BTreeMap::new();
        for (times, values) in blob {
            split.entry(codec(values)).or_default().push((times, values));
        }
        for (name, columns) in split {
            let packed = Packed::new(columns.iter().copied()).unwrap();
            let entry = codecs.entry(name).or_default();
            entry.0 += columns.len();
            entry.1 += columns.iter().map(|(times, _)| times.len()).sum::<usize>() as f64;
            entry.2 += packed.sizes_bytes().1.iter().sum::<usize>();
        }
    }
    println!("\n columns  samples   bytes  B/sample  codec, packed by itself");
    for (name, (columns, len, bytes)) in codecs {
        let (share, each) = (100.0 * len / samples, bytes as f64 / len);
        println!("{columns:>8} {share:>7.2}% {:>7}  {each:>8.4}  {name}", bytes >> 10);
    }
}

/// The metrics that need most, each packed by itself.
fn by_name(shelves: &Shelves, samples: f64) {
    let mut names: BTreeMap<&str, (f64, usize)> = BTreeMap::new();
    for shelf in &shelves.shelves {
        let mut split: BTreeMap<&str, Cut<'_>> = BTreeMap::new();
        for (name, (times, values)) in shelf {
            split.entry(name).or_default().push((times, values));
        }
        for (name, columns) in split {
            let packed = Packed::new(columns.iter().copied()).unwrap();
            let entry = names.entry(name).or_default();
            entry.0 += columns.iter().map(|(times, _)| times.len()).sum::<usize>() as f64;
            entry.1 += packed.sizes_bytes().1.iter().sum::<usize>();
        }
    }
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_by_key(|(_, (_, bytes))| std::cmp::Reverse(*bytes));
    println!("\n samples   bytes  B/sample  metric, packed by itself");
    for (name, (len, bytes)) in names.into_iter().take(25) {
        let (share, each) = (100.0 * len / samples, bytes as f64 / len);
        println!("{share:>7.2}% {:>7}  {each:>8.4}  {name}", bytes >> 10);
    }
}
