//! `/proc/swaps`: where memory goes that is not at hand.

use std::borrow::Cow;

use super::mountinfo::unescaped;
use super::{fields, lines};

/// One place to swap to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swap<'a> {
    /// The device or the file.
    pub path: Cow<'a, str>,
    /// Whether it is a device of its own, which the kernel calls a partition, and not a file.
    pub is_device: bool,
}

/// The places in the order of the file; lines without a path and a kind are skipped.
pub fn parse(bytes: &[u8]) -> impl Iterator<Item = Swap<'_>> {
    lines(bytes).filter_map(|(_, line)| {
        let mut fields = fields(line);
        let (path, kind) = (fields.next()?, fields.next()?);
        // The heading has no path.
        path.starts_with(b"/")
            .then(|| Swap { path: unescaped(path), is_device: kind == b"partition" })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_files_are_told_apart() {
        let text = b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/dm-1                               partition\t8388604\t\t0\t\t-2\n/my\\040swap\tfile\t1\t0\t-3\n/cut\n";
        let swaps: Vec<_> = parse(text).collect();
        assert_eq!(swaps.len(), 2);
        assert_eq!((&*swaps[0].path, swaps[0].is_device), ("/dev/dm-1", true));
        assert_eq!((&*swaps[1].path, swaps[1].is_device), ("/my swap", false));
    }
}
