//! `/proc/meminfo`: names and sizes.

use super::{bad, fields, lines, number};
use crate::ParseError;

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// The name, such as `MemFree` or `Active(anon)`.
    pub name: &'a str,
    /// The value: bytes when `is_size`, else a count. Sizes are printed in KiB and given in bytes.
    pub value: u64,
    /// Whether the kernel gives a unit.
    pub is_size: bool,
}

/// The lines in the order of the file.
pub fn parse(bytes: &[u8]) -> impl Iterator<Item = Result<Line<'_>, ParseError>> {
    lines(bytes).map(|(at, text)| line(text).ok_or_else(|| bad("meminfo", at, text)))
}

fn line(text: &[u8]) -> Option<Line<'_>> {
    let mut fields = fields(text);
    let name = std::str::from_utf8(fields.next()?.strip_suffix(b":")?).ok()?;
    let value = number(fields.next()?)?;
    match (fields.next(), fields.next()) {
        (None, None) => Some(Line { name, value, is_size: false }),
        (Some(b"kB"), None) => Some(Line { name, value: value.checked_mul(1024)?, is_size: true }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::tests::captured;

    #[test]
    fn sizes_are_bytes_and_counts_are_not() {
        let text =
            b"MemTotal:       15666184 kB\nActive(anon):          0 kB\nHugePages_Free:  7\n";
        let lines: Vec<_> = parse(text).map(Result::unwrap).collect();
        assert_eq!(lines[0], Line { name: "MemTotal", value: 15_666_184 * 1024, is_size: true });
        assert_eq!(lines[1], Line { name: "Active(anon)", value: 0, is_size: true });
        assert_eq!(lines[2], Line { name: "HugePages_Free", value: 7, is_size: false });
    }

    #[test]
    fn a_cut_line_is_an_error() {
        for text in [&b"MemTotal:"[..], b"MemTotal 1 kB", b"MemTotal: 1 MB", b"MemTotal: -1 kB"] {
            assert!(parse(text).any(|line| line.is_err()), "{text:?}");
        }
    }

    #[test]
    fn every_captured_file_is_read() {
        for path in ["proc/node_exporter/meminfo", "proc/procfs/meminfo", "proc/jc/meminfo"] {
            let Some(bytes) = captured(path) else { continue };
            assert!(parse(&bytes).map(Result::unwrap).count() > 30, "{path}");
        }
    }
}
