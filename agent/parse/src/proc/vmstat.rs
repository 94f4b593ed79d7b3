//! `/proc/vmstat` and other files of a name and a number a line.

use super::{bad, fields, lines, number};
use crate::ParseError;

/// Names and numbers in the order of the file.
pub fn parse(bytes: &[u8]) -> impl Iterator<Item = Result<(&str, u64), ParseError>> {
    lines(bytes).map(|(at, text)| pair(text).ok_or_else(|| bad("vmstat", at, text)))
}

fn pair(text: &[u8]) -> Option<(&str, u64)> {
    let mut fields = fields(text);
    let name = std::str::from_utf8(fields.next()?).ok()?;
    let value = number(fields.next()?)?;
    fields.next().is_none().then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_or_errors() {
        let all: Vec<_> = parse(b"pgpgin 7344136\noom_kill 0\n").map(Result::unwrap).collect();
        assert_eq!(all, [("pgpgin", 7_344_136), ("oom_kill", 0)]);
        for text in [&b"pgpgin"[..], b"pgpgin x", b"pgpgin 1 2"] {
            assert!(parse(text).next().unwrap().is_err());
        }
    }
}
