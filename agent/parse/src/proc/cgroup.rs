//! Files of a control group, of both versions.

use super::{bad, fields, lines, number, trimmed};
use crate::ParseError;

/// What was moved, and which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Io {
    /// Bytes read.
    ReadBytes,
    /// Bytes written.
    WrittenBytes,
    /// Reads done.
    Reads,
    /// Writes done.
    Writes,
}

/// A count of one device, which is named by its numbers (`8:0`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoCount<'a> {
    /// Major and minor number, as they are written.
    pub device: &'a str,
    /// What is counted.
    pub io: Io,
    /// How many, since the group was made.
    pub count: u64,
}

/// The lines of `cpu.stat`, `memory.stat`, `memory.events`: a word and a number.
pub fn flat(bytes: &[u8]) -> impl Iterator<Item = Result<(&[u8], u64), ParseError>> {
    lines(bytes).map(|(at, text)| {
        let mut parts = fields(text);
        match (parts.next(), parts.next().and_then(number), parts.next()) {
            (Some(key), Some(value), None) => Ok((key, value)),
            _ => Err(bad("control group", at, text)),
        }
    })
}

/// The number in a file of one.
///
/// # Errors
/// Anything else.
pub fn value(bytes: &[u8]) -> Result<u64, ParseError> {
    let text = trimmed(bytes);
    number(text).ok_or_else(|| bad("control group", 1, text))
}

/// A limit; absent when there is none (`max`).
///
/// # Errors
/// Neither a number nor that word.
pub fn limit(bytes: &[u8]) -> Result<Option<u64>, ParseError> {
    if trimmed(bytes) == b"max" { Ok(None) } else { value(bytes).map(Some) }
}

/// `io.stat`: of each device what was read and written. Some kernels write devices that nothing was
/// counted of in front of the next one, on its line.
pub fn io(bytes: &[u8]) -> impl Iterator<Item = Result<IoCount<'_>, ParseError>> {
    lines(bytes).flat_map(|(at, text)| {
        let mut device = None;
        fields(text).filter_map(move |field| {
            let wrong = || bad("io.stat", at, text);
            let Some(split) = field.iter().position(|byte| *byte == b'=') else {
                device = numbers(field);
                return device.is_none().then(|| Err(wrong()));
            };
            let (key, value) = field.split_at(split);
            let io = match key {
                b"rbytes" => Io::ReadBytes,
                b"wbytes" => Io::WrittenBytes,
                b"rios" => Io::Reads,
                b"wios" => Io::Writes,
                // What was discarded, and what controllers of bandwidth have to say.
                _ => return None,
            };
            let count = value.strip_prefix(b"=").and_then(number);
            Some(match (device, count) {
                (Some(device), Some(count)) => Ok(IoCount { device, io, count }),
                _ => Err(wrong()),
            })
        })
    })
}

/// `blkio.throttle.io_service_bytes` (`in_bytes`) and `io_serviced` of version 1: a line for each
/// device and direction, and their sum last.
pub fn blkio(
    bytes: &[u8],
    in_bytes: bool,
) -> impl Iterator<Item = Result<IoCount<'_>, ParseError>> {
    lines(bytes).filter_map(move |(at, text)| {
        let mut parts = fields(text);
        let first = parts.next()?;
        if first == b"Total" {
            return None;
        }
        let io = match (parts.next(), in_bytes) {
            (Some(b"Read"), true) => Io::ReadBytes,
            (Some(b"Read"), false) => Io::Reads,
            (Some(b"Write"), true) => Io::WrittenBytes,
            (Some(b"Write"), false) => Io::Writes,
            // Those again as sums and by how they were done.
            (Some(b"Sync" | b"Async" | b"Discard" | b"Total"), _) => return None,
            _ => return Some(Err(bad("blkio", at, text))),
        };
        Some(match (numbers(first), parts.next().and_then(number)) {
            (Some(device), Some(count)) => Ok(IoCount { device, io, count }),
            _ => Err(bad("blkio", at, text)),
        })
    })
}

/// `8:0`, and nothing that could lead elsewhere when it becomes part of a path.
fn numbers(field: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(field).ok()?;
    let (major, minor) = text.split_once(':')?;
    (number(major.as_bytes()).is_some() && number(minor.as_bytes()).is_some()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::super::tests::captured;
    use super::*;

    #[test]
    fn words_and_numbers() {
        let all: Vec<_> = flat(b"usage_usec 17\nuser_usec 9\n").map(Result::unwrap).collect();
        assert_eq!(all, [(&b"usage_usec"[..], 17), (b"user_usec", 9)]);
        for text in
            [&b"usage_usec\n"[..], b"a -1\n", b"a 1 2\n", b"\xff\n", b"a 99999999999999999999\n"]
        {
            assert!(flat(text).any(|line| line.is_err()), "{text:?}");
        }
        assert_eq!((value(b"12\n").unwrap(), limit(b"max\n").unwrap()), (12, None));
        assert_eq!(limit(b"12\n").unwrap(), Some(12));
        assert!(value(b"").is_err() && value(b"max\n").is_err() && limit(b"min\n").is_err());
    }

    #[test]
    fn every_key_of_a_real_machine_is_read() {
        for state in ["idle", "loaded", "after-faults"] {
            let path = format!("qemu-node-live/deb12-k6.1/proc/{state}/cgroup_cpu.stat");
            let Some(bytes) = captured(&path) else { continue };
            let all: Vec<_> = flat(&bytes).map(Result::unwrap).collect();
            assert!(all.iter().any(|(key, value)| *key == b"usage_usec" && *value > 0), "{state}");
        }
    }

    #[test]
    fn io_of_devices() {
        let text = b"8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost.vrate=100.00\n7:1 \n253:0 8:16 rbytes=7\n";
        let all: Vec<_> = io(text).map(Result::unwrap).map(|c| (c.device, c.io, c.count)).collect();
        let expected = [
            ("8:0", Io::ReadBytes, 1),
            ("8:0", Io::WrittenBytes, 2),
            ("8:0", Io::Reads, 3),
            ("8:0", Io::Writes, 4),
            ("8:16", Io::ReadBytes, 7),
        ];
        assert_eq!(all, expected);
        for text in [&b"8:0 rbytes=\n"[..], b"rbytes=1\n", b"../x rbytes=1\n", b"8:0 wios=x\n"] {
            assert!(io(text).any(|count| count.is_err()), "{text:?}");
        }
        let text = b"8:0 Read 10\n8:0 Write 20\n8:0 Sync 30\n8:0 Total 30\nTotal 30\n";
        let all: Vec<_> = blkio(text, true).map(Result::unwrap).map(|c| (c.io, c.count)).collect();
        assert_eq!(all, [(Io::ReadBytes, 10), (Io::WrittenBytes, 20)]);
        let all: Vec<_> = blkio(text, false).map(Result::unwrap).map(|c| (c.io, c.count)).collect();
        assert_eq!(all, [(Io::Reads, 10), (Io::Writes, 20)]);
        assert!(blkio(b"8:0 Read\n", true).any(|count| count.is_err()));
        assert!(blkio(b"8:0 Swim 4\n", true).any(|count| count.is_err()));
    }
}
