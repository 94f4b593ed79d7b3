//! `/proc/schedstat`: time that tasks ran and waited, by CPU.

use super::{bad, fields, lines, number};
use crate::ParseError;

/// One CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu<'a> {
    /// Its number, as text.
    pub id: &'a str,
    /// Nanoseconds that tasks ran on it.
    pub running_ns: u64,
    /// Nanoseconds that tasks waited to run on it.
    pub waiting_ns: u64,
    /// How often a task was given it.
    pub timeslices: u64,
}

/// Where the three numbers stand, counted from the one after the name.
const RUNNING_AT: usize = 6;

/// The CPUs in the order of the file.
pub fn parse(bytes: &[u8]) -> impl Iterator<Item = Result<Cpu<'_>, ParseError>> {
    lines(bytes)
        .filter(|(_, text)| text.starts_with(b"cpu"))
        .map(|(at, text)| cpu(text).ok_or_else(|| bad("schedstat", at, text)))
}

fn cpu(text: &[u8]) -> Option<Cpu<'_>> {
    let mut fields = fields(text);
    let id = fields.next()?.strip_prefix(b"cpu")?;
    number(id)?;
    let mut numbers = fields.map(number).skip(RUNNING_AT);
    let mut next = || numbers.next().flatten();
    Some(Cpu {
        id: std::str::from_utf8(id).ok()?,
        running_ns: next()?,
        waiting_ns: next()?,
        timeslices: next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::tests::captured;

    #[test]
    fn cpus_or_errors() {
        let text = b"version 15\ntimestamp 1\ncpu0 1 0 3 4 5 6 700 800 9\ndomain0 00 1 2\n";
        let all: Vec<_> = parse(text).map(Result::unwrap).collect();
        assert_eq!(all, [Cpu { id: "0", running_ns: 700, waiting_ns: 800, timeslices: 9 }]);
        for text in [
            &b"cpu0 1 0 3 4 5 6 700 800"[..],
            b"cpu 1 0 3 4 5 6 7 8 9",
            b"cpux",
            b"cpu0 1 0 3 4 5 6 7 x 9",
        ] {
            assert!(parse(text).next().unwrap().is_err(), "{text:?}");
        }
        assert_eq!(parse(b"").count(), 0);
    }

    #[test]
    fn a_captured_file_is_read() {
        let Some(bytes) = captured("proc/node_exporter/schedstat") else { return };
        let all: Vec<_> = parse(&bytes).map(Result::unwrap).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[1].timeslices, 5_145_567_945);
    }
}
