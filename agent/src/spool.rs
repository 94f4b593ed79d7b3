//! Rounds on disk, for as long as the receiver is away: a queue of parcels in segment files.
//!
//! Layout: `docs/formats/spool.md`. Parcels are appended to the newest segment and taken from the
//! oldest; a segment is deleted when all of it was delivered. What was delivered of a segment is
//! not written down, so after a restart up to one segment is sent again, which receivers take for
//! what it is: the same samples.
//!
//! A record counts only when all of it is there and its checksum fits. At the first that does not,
//! the segment is damaged: what stands before is kept, and the file is set aside under another
//! name, with a notice. Appends are not synced one by one, since wearing out a system disk for
//! samples nobody acknowledged would be a bad trade: a crash of the process loses nothing, a loss
//! of power may lose the last seconds.
//!
//! Synchronous. Whoever must not wait calls it on another thread.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::config::SpoolBounds;
use crate::round::Parcel;
use crate::ship::first_of;

/// How a segment begins: what it is, and the version of its layout.
const MAGIC: &[u8; 8] = b"LABSPL\x00\x01";

/// Bytes in front of each parcel: length and CRC-32 of what follows.
const PREFIX_LEN: usize = 8;

/// Bytes of a parcel before its block: tick and number of samples.
const HEAD_LEN: usize = 12;

/// Bytes after which a segment is closed and another begun. Also what may be sent twice after a
/// restart, what is dropped at once when the spool is full, and what is held in memory while it is
/// being delivered.
const SEGMENT_LEN_MAX: u64 = 256 * 1024;

/// Bytes of one record. A round is some 15 KiB; a length beyond this is damage, not data.
const RECORD_LEN_MAX: usize = 16 * 1024 * 1024;

/// Damaged segments that are kept for people to look at; the oldest go.
const DAMAGED_MAX: usize = 4;

/// Why the spool could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Its folder cannot be made or listed.
    #[error("failed to open the spool in {dir}")]
    Open {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// A segment cannot be read.
    #[error("failed to read {path}")]
    Read {
        /// The segment.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// A parcel cannot be written.
    #[error("failed to write {path}")]
    Write {
        /// The segment.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

/// Something that was lost, or is worth a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A damaged segment was set aside under this name; this many whole rounds of it were kept.
    Damaged { path: PathBuf, kept: usize },
    /// Rounds were dropped, since the spool was full.
    Full { rounds: u64, samples: u64 },
    /// Rounds were dropped, since they were too old.
    Old { rounds: u64, samples: u64 },
}

#[derive(Debug)]
pub(crate) struct Spool {
    dir: PathBuf,
    bounds: SpoolBounds,
    segments: VecDeque<Segment>,
    /// The newest segment, while it is being written.
    tail: Option<File>,
    next: u64,
    /// The parcels of the oldest segment that were not delivered yet, once it was read.
    head: Option<VecDeque<Parcel>>,
}

/// What is known of a segment without reading it again.
#[derive(Debug, Clone, Copy, Default)]
struct Segment {
    number: u64,
    len: u64,
    rounds: u64,
    samples: u64,
    newest_ms: i64,
}

impl Spool {
    /// The spool in `dir`, which is made when it is not there. Every segment is read once.
    pub(crate) fn open(dir: &Path, bounds: SpoolBounds) -> Result<(Self, Vec<Notice>), SpoolError> {
        let error = |cause| SpoolError::Open { dir: dir.to_owned(), cause };
        fs::create_dir_all(dir).map_err(error)?;
        probe(dir).map_err(error)?;
        let mut numbers: Vec<u64> = Vec::new();
        for entry in fs::read_dir(dir).map_err(error)? {
            numbers.extend(entry.map_err(error)?.file_name().to_str().and_then(number_of));
        }
        numbers.sort_unstable();
        let mut spool = Self {
            dir: dir.to_owned(),
            bounds,
            segments: VecDeque::new(),
            tail: None,
            next: numbers.last().map_or(1, |last| last.saturating_add(1)),
            head: None,
        };
        let mut notices = Vec::new();
        for number in numbers {
            spool.adopt(number, &mut notices)?;
        }
        Ok((spool, notices))
    }

    /// Adds a parcel at the end. On an error it was not added.
    pub(crate) fn push(&mut self, parcel: &Parcel, now_ms: i64) -> Result<Vec<Notice>, SpoolError> {
        let record = encode(parcel);
        let full = self.segments.back().is_some_and(|tail| tail.len >= SEGMENT_LEN_MAX);
        if full || self.tail.is_none() {
            self.begin()?;
        }
        let (Some(file), Some(segment)) = (&mut self.tail, self.segments.back_mut()) else {
            return Ok(Vec::new());
        };
        if let Err(cause) = file.write_all(&record) {
            // A part of it may be on disk: cut it off, and begin another file after this one.
            let _ = file.set_len(segment.len);
            let path = path_of(&self.dir, segment.number);
            self.tail = None;
            return Err(SpoolError::Write { path, cause });
        }
        segment.count(record.len(), parcel);
        // When all of what was read is in the segment being written, it is read on in memory.
        if self.segments.len() == 1
            && let Some(head) = &mut self.head
        {
            head.push_back(parcel.clone());
        }
        Ok(self.enforce(now_ms))
    }

    /// The oldest parcels: at least one when there is any, and at most `rounds_max` or as many as
    /// have `bytes_max` together.
    pub(crate) fn peek(
        &mut self,
        rounds_max: usize,
        bytes_max: usize,
    ) -> Result<(Vec<Parcel>, Vec<Notice>), SpoolError> {
        let mut notices = Vec::new();
        while let Some(segment) = self.segments.front().copied() {
            if self.head.is_none() {
                let (parcels, notice) = self.read(segment.number)?;
                if notice.is_some() && self.segments.len() == 1 {
                    // What was being written is the file that was moved aside.
                    self.tail = None;
                }
                notices.extend(notice);
                self.head = Some(parcels);
            }
            let head = self.head.as_ref();
            if head.is_some_and(|head| !head.is_empty()) {
                break;
            }
            self.pop_segment();
        }
        Ok((first_of(self.head.iter().flatten(), rounds_max, bytes_max), notices))
    }

    /// Forgets the oldest `rounds` parcels, which [`peek`](Self::peek) gave.
    pub(crate) fn ack(&mut self, rounds: usize) {
        let Some(head) = &mut self.head else { return };
        head.drain(..rounds.min(head.len()));
        if head.is_empty() {
            self.pop_segment();
        }
    }

    /// Gives up on the oldest segment, which could not be read: it is set aside, so that those
    /// behind it can be delivered. Gives the samples it held.
    pub(crate) fn abandon(&mut self) -> u64 {
        let Some(segment) = self.segments.front().copied() else { return 0 };
        self.set_aside(segment.number);
        self.pop_segment();
        segment.samples
    }

    /// Whether there is nothing to deliver.
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// Parcels that wait, including those of the oldest segment that were delivered already.
    pub(crate) fn rounds(&self) -> u64 {
        let delivered = match (&self.head, self.segments.front()) {
            (Some(head), Some(segment)) => segment.rounds.saturating_sub(head.len() as u64),
            _ => 0,
        };
        self.segments.iter().map(|segment| segment.rounds).sum::<u64>() - delivered
    }

    fn adopt(&mut self, number: u64, notices: &mut Vec<Notice>) -> Result<(), SpoolError> {
        let path = path_of(&self.dir, number);
        let Ok((parcels, notice)) = self.read(number) else {
            // One file that cannot be read must not keep an agent from starting.
            let path = self.set_aside(number);
            notices.push(Notice::Damaged { path, kept: 0 });
            return Ok(());
        };
        notices.extend(notice);
        if parcels.is_empty() {
            let _ = fs::remove_file(path);
            return Ok(());
        }
        let mut segment = Segment { number, len: MAGIC.len() as u64, ..Segment::default() };
        for parcel in &parcels {
            segment.count(PREFIX_LEN + HEAD_LEN + parcel.block.len(), parcel);
        }
        self.segments.push_back(segment);
        Ok(())
    }

    /// The whole parcels of a segment. A damaged one is moved aside, and what is whole in it goes
    /// into a new file in its place.
    fn read(&self, number: u64) -> Result<(VecDeque<Parcel>, Option<Notice>), SpoolError> {
        let path = path_of(&self.dir, number);
        let bytes =
            fs::read(&path).map_err(|cause| SpoolError::Read { path: path.clone(), cause })?;
        let (parcels, whole) = decode(&bytes);
        if whole {
            return Ok((parcels, None));
        }
        let notice = Notice::Damaged { path: self.set_aside(number), kept: parcels.len() };
        if !parcels.is_empty() {
            let bytes: Vec<u8> =
                MAGIC.iter().copied().chain(parcels.iter().flat_map(encode)).collect();
            fs::write(&path, bytes).map_err(|cause| SpoolError::Write { path, cause })?;
        }
        Ok((parcels, Some(notice)))
    }

    /// Moves a segment out of the way, or deletes it where it cannot be moved. Gives its new path.
    fn set_aside(&self, number: u64) -> PathBuf {
        let path = path_of(&self.dir, number);
        let aside = path.with_extension("damaged");
        if fs::rename(&path, &aside).is_err() {
            let _ = fs::remove_file(&path);
        }
        self.forget_damaged();
        aside
    }

    fn forget_damaged(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let mut damaged: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "damaged"))
            .collect();
        damaged.sort();
        for path in damaged.iter().rev().skip(DAMAGED_MAX) {
            let _ = fs::remove_file(path);
        }
    }

    fn begin(&mut self) -> Result<(), SpoolError> {
        let number = self.next;
        let path = path_of(&self.dir, number);
        let begin = || -> io::Result<File> {
            let mut file = OpenOptions::new().append(true).create_new(true).open(&path)?;
            file.write_all(MAGIC)?;
            Ok(file)
        };
        match begin() {
            Ok(file) => {
                self.next += 1;
                self.tail = Some(file);
                let len = MAGIC.len() as u64;
                self.segments.push_back(Segment { number, len, ..Segment::default() });
                Ok(())
            }
            Err(cause) => {
                let _ = fs::remove_file(&path);
                Err(SpoolError::Write { path, cause })
            }
        }
    }

    /// Drops the oldest segments until the bounds are kept; the newest always stays.
    fn enforce(&mut self, now_ms: i64) -> Vec<Notice> {
        let mut notices = Vec::new();
        let oldest_ms = now_ms.saturating_sub(self.bounds.age_max_ms);
        while let (true, Some(front)) = (self.segments.len() > 1, self.segments.front().copied()) {
            let old = front.newest_ms < oldest_ms;
            if !old && self.bytes() <= self.bounds.bytes_max {
                break;
            }
            // What was delivered of it already is no loss.
            let (rounds, samples) = match &self.head {
                Some(head) => {
                    (head.len() as u64, head.iter().map(|parcel| u64::from(parcel.samples)).sum())
                }
                None => (front.rounds, front.samples),
            };
            notices.push(if old {
                Notice::Old { rounds, samples }
            } else {
                Notice::Full { rounds, samples }
            });
            self.pop_segment();
        }
        notices
    }

    fn pop_segment(&mut self) {
        self.head = None;
        if let Some(segment) = self.segments.pop_front() {
            let _ = fs::remove_file(path_of(&self.dir, segment.number));
        }
        if self.segments.is_empty() {
            self.tail = None;
        }
    }
}

impl Segment {
    fn count(&mut self, record_len: usize, parcel: &Parcel) {
        self.len += record_len as u64;
        self.rounds += 1;
        self.samples += u64::from(parcel.samples);
        self.newest_ms =
            if self.rounds == 1 { parcel.tick_ms } else { self.newest_ms.max(parcel.tick_ms) };
    }
}

/// Whether files can be made in `dir`: better to learn that at the start than in an outage.
fn probe(dir: &Path) -> io::Result<()> {
    let path = dir.join("probe");
    File::create(&path)?.write_all(b"x")?;
    fs::remove_file(path)
}

fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(name_of(number))
}

fn name_of(number: u64) -> String {
    format!("{number:020}.spool")
}

/// The number in a segment's name; files of other names are not ours.
fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".spool")?.parse().ok()?;
    (name_of(number) == name).then_some(number)
}

fn encode(parcel: &Parcel) -> Vec<u8> {
    let len = HEAD_LEN + parcel.block.len();
    let mut record = Vec::with_capacity(PREFIX_LEN + len);
    record.extend(u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    record.extend([0; 4]);
    record.extend(parcel.tick_ms.to_le_bytes());
    record.extend(parcel.samples.to_le_bytes());
    record.extend(&parcel.block);
    let crc = crc32fast::hash(record.get(PREFIX_LEN..).unwrap_or_default());
    if let Some(place) = record.get_mut(4..PREFIX_LEN) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
    record
}

/// The parcels at the start of a segment, and whether they are all of it.
fn decode(bytes: &[u8]) -> (VecDeque<Parcel>, bool) {
    let mut parcels = VecDeque::new();
    let Some(mut rest) = bytes.strip_prefix(MAGIC) else { return (parcels, false) };
    while !rest.is_empty() {
        let Some((parcel, tail)) = decode_one(rest) else { return (parcels, false) };
        parcels.push_back(parcel);
        rest = tail;
    }
    (parcels, true)
}

fn decode_one(bytes: &[u8]) -> Option<(Parcel, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    if len > RECORD_LEN_MAX {
        return None;
    }
    let (content, tail) = rest.split_at_checked(len)?;
    if crc32fast::hash(content) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (tick, content) = content.split_first_chunk::<8>()?;
    let (samples, block) = content.split_first_chunk::<4>()?;
    let parcel = Parcel {
        tick_ms: i64::from_le_bytes(*tick),
        samples: u32::from_le_bytes(*samples),
        block: block.to_vec(),
    };
    Some((parcel, tail))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parcel(tick_ms: i64, len: usize) -> Parcel {
        Parcel { tick_ms, samples: 10, block: vec![u8::try_from(tick_ms % 251).unwrap(); len] }
    }

    fn open(dir: &Path) -> (Spool, Vec<Notice>) {
        Spool::open(dir, SpoolBounds::default()).unwrap()
    }

    fn ticks(spool: &mut Spool) -> Vec<i64> {
        let mut ticks = Vec::new();
        loop {
            let (parcels, _) = spool.peek(7, 1 << 20).unwrap();
            if parcels.is_empty() {
                return ticks;
            }
            ticks.extend(parcels.iter().map(|parcel| parcel.tick_ms));
            spool.ack(parcels.len());
        }
    }

    #[test]
    fn what_goes_in_comes_out_in_order_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (mut spool, notices) = open(dir.path());
        assert!(notices.is_empty() && spool.is_empty());
        for tick in 0..50 {
            // Large enough for several segments.
            spool.push(&parcel(tick, 100_000), tick).unwrap();
        }
        assert_eq!(spool.rounds(), 50);
        drop(spool);
        let (mut spool, notices) = open(dir.path());
        assert!(notices.is_empty());
        assert_eq!(spool.rounds(), 50);
        spool.push(&parcel(50, 10), 50).unwrap();
        assert_eq!(ticks(&mut spool), (0..=50).collect::<Vec<_>>());
        assert!(spool.is_empty());
        assert_eq!(spool.bytes(), 0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "delivered files are gone");
    }

    #[test]
    fn taking_and_adding_take_turns() {
        let dir = tempfile::tempdir().unwrap();
        let (mut spool, _) = open(dir.path());
        spool.push(&parcel(1, 10), 1).unwrap();
        let (first, _) = spool.peek(1, 100).unwrap();
        spool.push(&parcel(2, 10), 2).unwrap();
        assert_eq!(first[0].tick_ms, 1);
        spool.ack(1);
        assert_eq!(spool.rounds(), 1);
        assert_eq!(ticks(&mut spool), [2]);
        spool.push(&parcel(3, 10), 3).unwrap();
        assert_eq!(ticks(&mut spool), [3]);
    }

    #[test]
    fn a_batch_is_bounded_by_rounds_and_bytes_and_never_empty() {
        let dir = tempfile::tempdir().unwrap();
        let (mut spool, _) = open(dir.path());
        for tick in 0..5 {
            spool.push(&parcel(tick, 100), tick).unwrap();
        }
        assert_eq!(spool.peek(3, 1000).unwrap().0.len(), 3);
        assert_eq!(spool.peek(5, 250).unwrap().0.len(), 2);
        assert_eq!(spool.peek(5, 1).unwrap().0.len(), 1);
    }

    #[test]
    fn the_oldest_are_dropped_and_counted_when_it_is_full_or_they_are_old() {
        let dir = tempfile::tempdir().unwrap();
        let bounds = SpoolBounds { bytes_max: 3 << 20, age_max_ms: 1_000 };
        let (mut spool, _) = Spool::open(dir.path(), bounds).unwrap();
        let mut dropped = 0;
        for tick in 0..100 {
            for notice in spool.push(&parcel(tick, 100_000), 0).unwrap() {
                let Notice::Full { rounds, samples } = notice else { panic!("{notice:?}") };
                assert_eq!(samples, rounds * 10);
                dropped += rounds;
            }
        }
        assert!(spool.bytes() <= bounds.bytes_max);
        assert_eq!(dropped + spool.rounds(), 100);
        let before = spool.rounds();
        let notices = spool.push(&parcel(100, 10), 1_200).unwrap();
        let Some(Notice::Old { .. }) = notices.first() else { panic!("{notices:?}") };
        assert!(spool.rounds() < before);
        assert_eq!(ticks(&mut spool).last(), Some(&100));
    }

    #[test]
    fn a_damaged_segment_is_set_aside_and_what_is_whole_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (mut spool, _) = open(dir.path());
        for tick in 0..3 {
            spool.push(&parcel(tick, 100), tick).unwrap();
        }
        drop(spool);
        let path = path_of(dir.path(), 1);
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, &bytes).unwrap();
        fs::write(path_of(dir.path(), 2), b"not a segment at all").unwrap();
        let (mut spool, notices) = open(dir.path());
        let aside = |number| path_of(dir.path(), number).with_extension("damaged");
        assert_eq!(
            notices,
            [
                Notice::Damaged { path: aside(1), kept: 2 },
                Notice::Damaged { path: aside(2), kept: 0 },
            ]
        );
        assert!(aside(1).exists() && aside(2).exists());
        spool.push(&parcel(9, 100), 9).unwrap();
        assert_eq!(ticks(&mut spool), [0, 1, 9]);
    }

    #[test]
    fn damage_found_while_running_costs_only_what_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let (mut spool, _) = open(dir.path());
        for tick in 0..3 {
            spool.push(&parcel(tick, 100), tick).unwrap();
        }
        let path = path_of(dir.path(), 1);
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let (parcels, notices) = spool.peek(9, 1 << 20).unwrap();
        assert_eq!((parcels.len(), notices.len()), (2, 1));
        spool.push(&parcel(3, 100), 3).unwrap();
        drop(spool);
        let (mut spool, notices) = open(dir.path());
        assert_eq!(notices, []);
        assert_eq!(ticks(&mut spool), [0, 1, 3], "a restart finds what was whole, and what came");
    }

    #[test]
    fn a_segment_that_cannot_be_read_keeps_nothing_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        let (mut spool, _) = open(dir.path());
        spool.push(&parcel(7, 100), 7).unwrap();
        drop(spool);
        // Reading a folder fails as a bad sector does, whoever runs the test.
        fs::create_dir(path_of(dir.path(), 0)).unwrap();
        // These are no segments, whatever number can be read from them.
        for other in ["+3.spool", "18446744073709551616.spool", "x.spool"] {
            fs::write(dir.path().join(other), b"").unwrap();
        }
        let (mut spool, notices) = open(dir.path());
        let aside = path_of(dir.path(), 0).with_extension("damaged");
        assert_eq!(notices, [Notice::Damaged { path: aside, kept: 0 }]);
        assert_eq!(ticks(&mut spool), [7]);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, b"").unwrap();
        let error = Spool::open(&path.join("spool"), SpoolBounds::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("failed to open the spool in {}", path.join("spool").display())
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_parcels_or_damage(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut segment = MAGIC.to_vec();
            segment.extend(&bytes);
            let (parcels, whole) = decode(&segment);
            prop_assert!(!whole || bytes.is_empty() || !parcels.is_empty());
            let _ = decode(&bytes);
        }

        /// However a segment is cut off, the records before the cut are read.
        #[test]
        fn a_cut_loses_only_what_it_cuts(cut in 0_usize..600) {
            let mut segment = MAGIC.to_vec();
            let mut ends = vec![];
            for tick in 0..5 {
                segment.extend(encode(&parcel(tick, 100)));
                ends.push(segment.len());
            }
            let cut = cut.min(segment.len());
            let (parcels, whole) = decode(&segment[..cut]);
            prop_assert_eq!(parcels.len(), ends.iter().filter(|end| **end <= cut).count());
            prop_assert_eq!(whole, cut == MAGIC.len() || ends.contains(&cut));
        }
    }
}
