//! `/proc/PID/mountinfo`: what is mounted where.

use std::borrow::Cow;

use super::{bad, fields, lines, number};
use crate::ParseError;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount<'a> {
    /// Major number of the device.
    pub major: u64,
    /// Minor number of the device.
    pub minor: u64,
    /// What of the filesystem is mounted: `/` for all of it, else a folder or a subvolume.
    pub root: Cow<'a, str>,
    /// Where it is mounted.
    pub mount_point: Cow<'a, str>,
    /// Its type, such as `ext4`.
    pub fstype: Cow<'a, str>,
    /// What is mounted: a device, an export, a word.
    pub source: Cow<'a, str>,
    /// Whether the mount or its filesystem is read-only.
    pub readonly: bool,
    /// The filesystem's own options, such as `rw,addr=10.0.0.1`.
    pub super_options: &'a [u8],
}

impl<'a> Mount<'a> {
    /// The value of one of the filesystem's own options.
    pub fn super_option(&self, name: &str) -> Option<Cow<'a, str>> {
        let mut options = self.super_options.split(|byte| *byte == b',');
        let value = |option: &'a [u8]| option.strip_prefix(name.as_bytes())?.strip_prefix(b"=");
        options.find_map(value).map(unescaped)
    }
}

/// The mounts in the order of the file, which is that of mounting.
pub fn parse(bytes: &[u8]) -> impl Iterator<Item = Result<Mount<'_>, ParseError>> {
    lines(bytes).map(|(at, text)| mount(text).ok_or_else(|| bad("mountinfo", at, text)))
}

fn mount(text: &[u8]) -> Option<Mount<'_>> {
    let mut fields = fields(text);
    let mut device = fields.nth(2)?.splitn(2, |byte| *byte == b':').map(number);
    let (major, minor) = (device.next()??, device.next()??);
    let root = fields.next()?;
    let mount_point = fields.next()?;
    let options = fields.next()?;
    // Any number of optional fields, such as `shared:7`, ends with a dash.
    fields.by_ref().find(|field| *field == b"-")?;
    let fstype = fields.next()?;
    // An empty source is printed as nothing at all, so the options may stand in its place.
    let source = fields.next().unwrap_or_default();
    let super_options = fields.next().unwrap_or_default();
    Some(Mount {
        major,
        minor,
        root: unescaped(root),
        mount_point: unescaped(mount_point),
        fstype: unescaped(fstype),
        source: unescaped(source),
        readonly: is_readonly(options) || is_readonly(super_options),
        super_options,
    })
}

fn is_readonly(options: &[u8]) -> bool {
    options.split(|byte| *byte == b',').any(|option| option == b"ro")
}

/// The kernel writes space, tab, newline, backslash and `#` as a backslash and three octal digits.
pub fn unescaped(field: &[u8]) -> Cow<'_, str> {
    if !field.contains(&b'\\') {
        return String::from_utf8_lossy(field);
    }
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail.first_chunk::<3>().filter(|_| byte == b'\\').and_then(octal);
        bytes.push(octal.unwrap_or(byte));
        rest = if octal.is_some() { tail.get(3..).unwrap_or_default() } else { tail };
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn octal(digits: &[u8; 3]) -> Option<u8> {
    digits.iter().try_fold(0_u8, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
        value.checked_mul(8)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::tests::captured;

    #[test]
    fn escapes_optional_fields_and_options() {
        let text = b"36 35 98:0 /mnt1 /mnt/my\\040disk\\134x rw,noatime master:1 shared:2 - ext3 /dev/root ro,errors=continue\n";
        let mount = parse(text).next().unwrap().unwrap();
        assert_eq!((mount.major, mount.minor), (98, 0));
        assert_eq!((&*mount.root, &*mount.mount_point), ("/mnt1", "/mnt/my disk\\x"));
        assert_eq!((&*mount.fstype, &*mount.source), ("ext3", "/dev/root"));
        assert!(mount.readonly);
        assert_eq!(mount.super_option("errors").as_deref(), Some("continue"));
        assert_eq!(mount.super_option("error"), None);
    }

    #[test]
    fn broken_escapes_stay_and_broken_lines_are_errors() {
        assert_eq!(unescaped(b"a\\09\\777\\"), "a\\09\\777\\");
        assert_eq!(unescaped(b"\\303\\244"), "ä");
        assert!(parse(b"36 35 98:0 / /mnt rw ext3\n").next().unwrap().is_err());
        assert!(parse(b"36 35 980 / /mnt rw - ext3 x rw\n").next().unwrap().is_err());
    }

    #[test]
    fn a_captured_file_is_read() {
        let path = "qemu-node-live/deb12-k6.1/proc/idle/self_mountinfo";
        let Some(bytes) = captured(path) else { return };
        let mounts: Vec<_> = parse(&bytes).map(Result::unwrap).collect();
        assert!(mounts.iter().any(|mount| mount.mount_point == "/"));
    }
}
