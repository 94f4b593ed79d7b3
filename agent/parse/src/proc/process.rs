//! `/proc/PID/stat`: one process.

use super::{fields, number};
use crate::ParseError;

/// What is read of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// The letter of its state, such as `S`.
    pub state: char,
    /// Its threads, itself among them.
    pub threads: u64,
}

/// Where the number of threads stands, counted from the state.
const THREADS_AT: usize = 17;

/// Reads the file.
///
/// # Errors
/// A text without state and number of threads.
pub fn parse(bytes: &[u8]) -> Result<Process, ParseError> {
    process(bytes).ok_or_else(|| super::bad("process stat", 1, bytes))
}

fn process(bytes: &[u8]) -> Option<Process> {
    // The name may hold spaces, lines and parentheses, so the last one ends it.
    let end = bytes.iter().rposition(|byte| *byte == b')')?;
    let mut fields = fields(bytes.get(end + 1..)?.trim_ascii_end());
    let &[state] = fields.next()? else { return None };
    let threads = number(fields.nth(THREADS_AT - 1)?)?;
    state.is_ascii_alphabetic().then_some(Process { state: char::from(state), threads })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_survived() {
        let text =
            b"12 (a) R 1 (\nb) c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 20 0 7 0 99 4096000 250\n";
        assert_eq!(parse(text).unwrap(), Process { state: 'S', threads: 7 });
    }

    #[test]
    fn what_is_cut_or_no_process_is_an_error() {
        for text in [
            &b""[..],
            b"12",
            b"12 (a)",
            b"12 (a) S",
            b"12 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 20 0",
            b"12 (a) SS 1 2 3 4 5 6 7 8 9 10 11 12 13 14 20 0 7",
            b"12 (a) 1 1 2 3 4 5 6 7 8 9 10 11 12 13 14 20 0 7",
            b"12 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 20 0 -7",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
