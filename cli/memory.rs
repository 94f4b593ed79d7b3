//! What the program gives back once it runs.
//!
//! An agent is resident with every page of its program that it came by, and most of those it only
//! needed to start: arguments, configuration, certificates. They cost nothing to read again, since
//! they are pages of a file, but nothing takes them away while memory is plenty.

use std::ops::Range;

use rustix::mm::{Advice, madvise};

/// Gives back the pages of the program's code and constants. Those that are used come back by
/// themselves, at once.
pub(crate) fn give_back_start() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let here = give_back_start as *const () as usize;
    for range in program(&maps, here) {
        give_back(&range);
    }
}

#[expect(unsafe_code, reason = "the kernel has no other way to take pages back")]
fn give_back(range: &Range<usize>) {
    let start = std::ptr::with_exposed_provenance_mut(range.start);
    // SAFETY: the range is a mapping of the program's own file that was never written to, as
    // `program` sees to: whatever is read there next, the kernel reads from that file, where it is
    // the same.
    let given = unsafe { madvise(start, range.len(), Advice::LinuxDontNeed) };
    // Where that is not to be had, they stay.
    let _ = given;
}

/// The mappings of the program's file that nothing was ever written to: the one that `code` lies
/// in, and the start of the file. What comes after the code was relocated by the loader, and may be
/// read-only all the same.
fn program(maps: &str, code: usize) -> Vec<Range<usize>> {
    let all: Vec<Mapping<'_>> = maps.lines().filter_map(Mapping::parse).collect();
    let is_code = |m: &&Mapping<'_>| m.access == "r-xp" && m.range.contains(&code);
    let Some(text) = all.iter().find(is_code) else { return Vec::new() };
    let is_start = |m: &&Mapping<'_>| m.access == "r--p" && m.offset == 0 && m.file == text.file;
    let start = all.iter().filter(is_start);
    start.chain([text]).map(|mapping| mapping.range.clone()).collect()
}

/// A line of `/proc/self/maps`.
#[derive(Debug)]
struct Mapping<'a> {
    range: Range<usize>,
    access: &'a str,
    offset: usize,
    /// Device and inode.
    file: (&'a str, &'a str),
}

impl<'a> Mapping<'a> {
    /// Reads `START-END ACCESS OFFSET DEVICE INODE PATH`.
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let hex = |text| usize::from_str_radix(text, 16).ok();
        let (start, end) = fields.next()?.split_once('-')?;
        let (access, offset) = (fields.next()?, hex(fields.next()?)?);
        let file = (fields.next()?, fields.next()?);
        Some(Self { range: hex(start)?..hex(end)?, access, offset, file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
5600000000-5600100000 r--p 00000000 fe:00 1234 /usr/bin/labstat (deleted)
5600100000-5600900000 r-xp 000ff000 fe:00 1234 /usr/bin/labstat (deleted)
5600900000-5600a00000 r--p 008fe000 fe:00 1234 /usr/bin/labstat (deleted)
5600a00000-5600a10000 rw-p 009fd000 fe:00 1234 /usr/bin/labstat (deleted)
5601000000-5601100000 rw-p 00000000 00:00 0 [heap]
7f00000000-7f00010000 r--p 00000000 fe:00 99 /usr/lib/libc.so.6
7f00010000-7f00100000 r-xp 00010000 fe:00 99 /usr/lib/libc.so.6
";

    #[test]
    fn only_what_was_never_written_is_given_back() {
        let ranges = program(MAPS, 0x56_0020_0000);
        assert_eq!(ranges, [0x56_0000_0000..0x56_0010_0000, 0x56_0010_0000..0x56_0090_0000]);
        assert!(program(MAPS, 0x56_00a0_0001).is_empty(), "not in code");
        assert!(program("", 1).is_empty());
        assert!(program("nonsense\n0-1 r-xp\n", 0).is_empty());
    }

    #[test]
    fn a_program_goes_on_without_its_start() {
        let greeting = String::from("still here");
        give_back_start();
        assert_eq!(format!("{greeting} {}", "x".repeat(3)), "still here xxx");
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        assert!(!program(&maps, give_back_start as *const () as usize).is_empty());
    }
}
