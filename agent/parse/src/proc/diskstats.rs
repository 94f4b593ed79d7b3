//! `/proc/diskstats`: counters of block devices.

use super::{bad, fields, lines, number};
use crate::ParseError;

/// Columns after the name that kernels have had since 5.5; 4.18 has 15, older ones 11.
pub const COLUMNS_MAX: usize = 17;

/// Columns every kernel since 2.6 has for a whole disk.
const COLUMNS_MIN: usize = 11;

/// One device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device<'a> {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// Name, such as `nvme0n1`.
    pub name: &'a str,
    /// The columns, those this kernel has.
    columns: [u64; COLUMNS_MAX],
    len: usize,
}

impl Device<'_> {
    /// A column by its index from 0 (`reads completed`), if this kernel has it.
    pub fn column(&self, at: usize) -> Option<u64> {
        self.columns.get(..self.len)?.get(at).copied()
    }
}

/// The devices in the order of the file. Lines of partitions as kernels before 2.6.25 had them,
/// with four columns, are left out.
pub fn parse(bytes: &[u8]) -> impl Iterator<Item = Result<Device<'_>, ParseError>> {
    lines(bytes)
        .map(|(at, text)| device(text).ok_or_else(|| bad("diskstats", at, text)))
        .filter(|device| device.as_ref().map_or(true, |device| device.len >= COLUMNS_MIN))
}

fn device(text: &[u8]) -> Option<Device<'_>> {
    let mut fields = fields(text);
    let major = number(fields.next()?)?;
    let minor = number(fields.next()?)?;
    let name = std::str::from_utf8(fields.next()?).ok()?;
    let mut columns = [0; COLUMNS_MAX];
    let mut len = 0;
    for (column, field) in columns.iter_mut().zip(fields) {
        *column = number(field)?;
        len += 1;
    }
    let known = len == 4 || len >= COLUMNS_MIN;
    known.then_some(Device { major, minor, name, columns, len })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::tests::captured;

    #[test]
    fn columns_an_old_kernel_lacks_are_absent() {
        let text = b"   8       0 sda 1 2 3 4 5 6 7 8 9 10 11\n   8       1 sda1 1 2 3 4\n";
        let all: Vec<_> = parse(text).map(Result::unwrap).collect();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].major, all[0].minor, all[0].name), (8, 0, "sda"));
        assert_eq!((all[0].column(10), all[0].column(11)), (Some(11), None));
    }

    #[test]
    fn a_cut_line_is_an_error() {
        for text in [&b"8 0 sda 1 2 3 4 5 6 7"[..], b"8 0", b"8 x sda 1 2 3 4 5 6 7 8 9 10 11"] {
            assert!(parse(text).next().unwrap().is_err());
        }
    }

    #[test]
    fn every_captured_file_is_read() {
        for path in ["proc/node_exporter/diskstats", "proc/procfs/diskstats", "proc/jc/diskstats"] {
            let Some(bytes) = captured(path) else { continue };
            assert!(parse(&bytes).map(Result::unwrap).count() > 5, "{path}");
        }
    }
}
