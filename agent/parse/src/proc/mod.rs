//! Files of the kernel, mostly below `/proc`: bytes in, values out.
//!
//! Parsers lend from their input and hand over one entry at a time, so that a round costs no
//! allocation per value. A field the kernel leaves out is absent in the value, never 0; a line that
//! is not the kernel's is an error that names it.

pub mod cgroup;
pub mod counts;
pub mod cpuinfo;
pub mod diskstats;
pub mod interrupts;
pub mod loadavg;
pub mod meminfo;
pub mod mountinfo;
pub mod mountstats;
pub mod netdev;
pub mod os_release;
pub mod pressure;
pub mod process;
pub mod schedstat;
pub mod stat;
pub mod swaps;
pub mod tcp;
pub mod uevent;
pub mod vmstat;

use crate::ParseError;

pub(crate) use fields_of as fields;

/// The fields of a line: what stands between spaces and tabs.
pub fn fields_of(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|field| !field.is_empty())
}

/// The lines of a file with their numbers from 1, without empty ones.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let numbered = bytes.split(|byte| *byte == b'\n').enumerate();
    numbered.map(|(at, line)| (at + 1, line)).filter(|(_, line)| !line.is_empty())
}

/// A whole number without sign; absent for anything else and for one over 64 bits.
pub fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// A number with an optional sign and fraction, as sysfs and `/proc/loadavg` have them.
pub fn float(text: &[u8]) -> Option<f64> {
    // Words such as "nan" and "inf", which Rust would read, are no numbers of the kernel.
    let plain = text.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.'));
    if !plain {
        return None;
    }
    // So many digits that it is over all bounds is none either.
    std::str::from_utf8(text).ok()?.parse().ok().filter(|value: &f64| value.is_finite())
}

/// `bytes` without spaces and line ends around it.
pub fn trimmed(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii()
}

/// An error that names a line which is not UTF-8 or not what it should be.
pub(crate) fn bad(what: &'static str, line: usize, found: &[u8]) -> ParseError {
    ParseError::line(what, line, &String::from_utf8_lossy(found))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A third-party capture, or nothing when the folder is not here.
    pub(crate) fn captured(path: &str) -> Option<Vec<u8>> {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures");
        let bytes = std::fs::read(format!("{root}/{path}")).ok();
        if bytes.is_none() {
            println!("SKIPPED: no capture {path} here");
        }
        bytes
    }

    #[test]
    fn numbers_are_digits_and_nothing_else() {
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for text in [&b""[..], b"18446744073709551616", b"-1", b"1.0", b"0x1", b" 1", b"1k"] {
            assert_eq!(number(text), None, "{text:?}");
        }
        assert_eq!(float(b"-0.50"), Some(-0.5));
        for text in [&b""[..], b"nan", b"inf", b"1e3", b"--1", b"\xff"] {
            assert_eq!(float(text), None, "{text:?}");
        }
        assert_eq!(float(&[b'4'; 4096]), None, "no infinity");
    }
}
