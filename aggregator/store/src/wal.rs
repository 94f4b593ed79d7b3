//! Whether SQLite's write-ahead log is damaged in the middle.
//!
//! SQLite stops at the first frame with a wrong checksum and says nothing: after a power loss the
//! last frames are often half written, and were never acknowledged. Whole frames behind a broken
//! one are another matter: the broken one was whole once, so it and they may have been
//! acknowledged. They cannot be applied without it; the owner should know.
//!
//! The layout is SQLite's (section 4 of "Database File Format"): a header of 32 bytes, then frames
//! of 24 bytes and a page. Checksums run from frame to frame.

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

fn check(mut log: impl Read) -> io::Result<Option<String>> {
    let mut header = [0; HEADER_LEN];
    match log.read_exact(&mut header) {
        Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let big = match word(&header, 0) {
        MAGIC_LITTLE => false,
        MAGIC_BIG => true,
        _ => return Ok(Some("its header does not read".to_owned())),
    };
    let page_len = word(&header, 8) as usize;
    let seed = checksum((0, 0), &header[..24], big);
    if seed != stored(&header, 24) || !(512..=65_536).contains(&page_len) {
        return Ok(Some("its header does not read".to_owned()));
    }
    let salts = stored(&header, 16);
    let mut frame = vec![0; FRAME_HEADER_LEN + page_len];
    let (mut seed, mut at, mut broken) = (seed, 0_usize, None);
    loop {
        match log.read_exact(&mut frame) {
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        at += 1;
        let found = stored(&frame, 16);
        let sum = checksum(checksum(seed, &frame[..8], big), &frame[FRAME_HEADER_LEN..], big);
        let whole = sum == found && stored(&frame, 8) == salts;
        match broken {
            None if whole => {}
            // A frame of an earlier round of the log ends it, and so may a broken one.
            None => broken = Some(at),
            Some(first) if whole => {
                return Ok(Some(format!("frame {first} does not read, and whole ones follow")));
            }
            Some(_) => {}
        }
        // Each frame continues from what the one before says, so that a whole frame is known as
        // such behind a broken one too.
        seed = found;
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

        let mut headless = whole;
        headless[20] ^= 1;
        assert!(check(&headless[..]).unwrap().unwrap().contains("header"));
    }
}
