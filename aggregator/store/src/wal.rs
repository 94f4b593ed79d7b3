//! Whether SQLite's write-ahead log is damaged in the middle.
//!
//! SQLite stops at the first frame with a wrong checksum and says nothing. After a power loss that
//! is right: the frames of the last transaction may have reached the disk in any order or not at
//! all, and it was never acknowledged. But a transaction begins when the one before is on the disk.
//! So when a broken frame is followed by a whole one that ends a transaction, and that by another
//! whole frame, the broken one was on the disk once, and what follows may have been acknowledged.
//! It cannot be applied without it; the owner should know.
//!
//! The layout is SQLite's (section 4 of "Database File Format"): a header of 32 bytes, then frames
//! of 24 bytes and a page. Checksums run from frame to frame.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

const HEADER_LEN: usize = 32;
const FRAME_HEADER_LEN: usize = 24;
const MAGIC_LITTLE: u32 = 0x377f_0682;
const MAGIC_BIG: u32 = 0x377f_0683;

/// Why part of the log is not read, in words; `None` when all of it is, or there is no log.
pub(crate) fn damage(path: &Path) -> Option<String> {
    let file = File::open(path).ok()?;
    // What cannot be read here SQLite will complain of.
    check(BufReader::new(file)).unwrap_or(None)
}

/// The pages that a log holds.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    /// Bytes of a page; 0 when there is no log.
    pub(crate) page_len: usize,
    /// Where the newest version of each page begins in the log.
    pub(crate) pages: HashMap<u32, u64>,
    /// Pages of the database as of the last transaction.
    pub(crate) count: u32,
}

/// What of the log is read: all transactions that are whole, up to the first that is not.
pub(crate) fn committed(path: &Path) -> io::Result<Committed> {
    let mut log = BufReader::new(File::open(path)?);
    let mut committed = Committed::default();
    let mut header = [0; HEADER_LEN];
    if !fill(&mut log, &mut header)? {
        return Ok(committed);
    }
    let Some(header) = Header::read(&header) else { return Ok(committed) };
    committed.page_len = header.page_len;
    let mut frame = vec![0; FRAME_HEADER_LEN + header.page_len];
    let (mut seed, mut at, mut pending) = (header.seed, HEADER_LEN as u64, Vec::new());
    while fill(&mut log, &mut frame)? && header.is_whole(&frame, seed) {
        seed = stored(&frame, 16);
        pending.push((word(&frame, 0), at + FRAME_HEADER_LEN as u64));
        at += frame.len() as u64;
        let count = word(&frame, 4);
        if count > 0 {
            committed.count = count;
            committed.pages.extend(pending.drain(..));
        }
    }
    Ok(committed)
}

fn check(mut log: impl Read) -> io::Result<Option<String>> {
    let mut header = [0; HEADER_LEN];
    if !fill(&mut log, &mut header)? {
        return Ok(None);
    }
    let Some(header) = Header::read(&header) else {
        // The header is on the disk before anything follows it; zeros are what a power loss leaves
        // of a file that was just made longer.
        let is_zero = header == [0; HEADER_LEN] && is_zero(log)?;
        return Ok((!is_zero).then(|| "its header does not read".to_owned()));
    };
    let mut frame = vec![0; FRAME_HEADER_LEN + header.page_len];
    let (mut seed, mut broken, mut ended) = (header.seed, None, false);
    for at in 1_usize.. {
        if !fill(&mut log, &mut frame)? {
            break;
        }
        match broken {
            None if header.is_whole(&frame, seed) => {}
            None => broken = Some(at),
            Some(first) if header.is_whole(&frame, seed) => {
                if ended {
                    let text = format!("frame {first} does not read, and whole ones follow");
                    return Ok(Some(text));
                }
                // The frame that ends a transaction has the size of the database.
                ended = word(&frame, 4) != 0;
            }
            Some(_) => {}
        }
        // Each frame continues from what the one before says, so that a whole frame is known as
        // such behind a broken one too.
        seed = stored(&frame, 16);
    }
    Ok(None)
}

/// What is needed of the log's header.
struct Header {
    /// Whether checksums take big-endian words.
    big: bool,
    page_len: usize,
    /// Frames of an earlier round of the log have others.
    salts: (u32, u32),
    seed: (u32, u32),
}

impl Header {
    fn read(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let big = match word(bytes, 0) {
            MAGIC_LITTLE => false,
            MAGIC_BIG => true,
            _ => return None,
        };
        let page_len = word(bytes, 8) as usize;
        let seed = checksum((0, 0), &bytes[..24], big);
        let is_whole = seed == stored(bytes, 24) && (512..=65_536).contains(&page_len);
        is_whole.then(|| Self { big, page_len, salts: stored(bytes, 16), seed })
    }

    fn is_whole(&self, frame: &[u8], seed: (u32, u32)) -> bool {
        let (head, page) = frame.split_at(FRAME_HEADER_LEN);
        let sum = checksum(checksum(seed, &head[..8], self.big), page, self.big);
        sum == stored(head, 16) && stored(head, 8) == self.salts
    }
}

/// Reads a whole buffer; `false` when the log ends before.
fn fill(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(buffer) {
        Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| true),
    }
}

fn is_zero(mut rest: impl Read) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    loop {
        match rest.read(&mut buffer)? {
            0 => return Ok(true),
            len if buffer.iter().take(len).any(|&byte| byte != 0) => return Ok(false),
            _ => {}
        }
    }
}

/// A big-endian word; the log is written so on every machine.
fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(<[u8]>::first_chunk);
    u32::from_be_bytes(word.copied().unwrap_or_default())
}

fn stored(bytes: &[u8], at: usize) -> (u32, u32) {
    (word(bytes, at), word(bytes, at + 4))
}

/// SQLite's running checksum; `big` says in which order it takes the bytes of a word.
fn checksum((mut a, mut b): (u32, u32), bytes: &[u8], big: bool) -> (u32, u32) {
    let (pairs, _) = bytes.as_chunks::<8>();
    for [p, q, r, s, t, u, v, w] in pairs {
        let words = ([*p, *q, *r, *s], [*t, *u, *v, *w]);
        let (x, y) = if big {
            (u32::from_be_bytes(words.0), u32::from_be_bytes(words.1))
        } else {
            (u32::from_le_bytes(words.0), u32::from_le_bytes(words.1))
        };
        a = a.wrapping_add(x).wrapping_add(b);
        b = b.wrapping_add(y).wrapping_add(a);
    }
    (a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        let conn = rusqlite::Connection::open(&path).unwrap();
        conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
        conn.execute_batch("CREATE TABLE t (x)").unwrap();
        for _ in 0..4 {
            conn.execute_batch("INSERT INTO t VALUES (randomblob(5000))").unwrap();
        }
        std::fs::read(dir.path().join("t.db-wal")).unwrap()
    }

    #[test]
    fn a_break_in_the_middle_is_told_from_a_torn_end() {
        let whole = log();
        let frame_len = FRAME_HEADER_LEN + 4096;
        assert!(whole.len() > HEADER_LEN + 6 * frame_len, "{}", whole.len());
        assert_eq!(check(&whole[..]).unwrap(), None);
        assert_eq!(check(&whole[..whole.len() - 100]).unwrap(), None, "cut off");
        assert_eq!(check(&b""[..]).unwrap(), None);

        let mut torn = whole.clone();
        *torn.last_mut().unwrap() ^= 1;
        assert_eq!(check(&torn[..]).unwrap(), None, "the last frame is half written");

        let mut broken = whole.clone();
        broken[HEADER_LEN + 2 * frame_len + 500] ^= 1;
        let text = check(&broken[..]).unwrap().unwrap();
        assert_eq!(text, "frame 3 does not read, and whole ones follow");

        // A power loss while the last transaction is written leaves any of its frames.
        let ends = (HEADER_LEN..whole.len()).step_by(frame_len);
        let ends: Vec<usize> = ends.filter(|&frame| word(&whole, frame + 4) != 0).collect();
        let last = ends[ends.len() - 2] + frame_len;
        assert!(last < *ends.last().unwrap(), "the last transaction has several frames");
        let mut last_lost = whole.clone();
        last_lost[last..last + frame_len].fill(0);
        assert_eq!(check(&last_lost[..]).unwrap(), None, "its first frame is not there");
        assert_eq!(
            check(&vec![0; whole.len()][..]).unwrap(),
            None,
            "nothing is there but a length"
        );

        let mut headless = whole;
        headless[20] ^= 1;
        assert!(check(&headless[..]).unwrap().unwrap().contains("header"));
    }
}
