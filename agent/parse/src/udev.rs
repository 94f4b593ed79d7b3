//! What udev keeps of a device in `/run/udev/data`.
//!
//! Here: links and properties, as udev wrote them, and [`decoded`] for values it has escaped. Not
//! here: what any of them means.

/// Bytes of one entry that are read. A disk with its partitions' names has about 3 KB.
pub const INPUT_LEN_MAX: usize = 256 * 1024;

/// One device. Lends from the text it was read from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Names below `/dev` that lead to the device, such as `disk/by-id/ata-…`.
    pub links: Vec<&'a str>,
    /// Properties in the order of the file.
    pub properties: Vec<(&'a str, &'a str)>,
}

impl<'a> Entry<'a> {
    /// A property; absent when it has no value.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        let mut found = self.properties.iter().filter(|(known, _)| *known == key);
        found.next().map(|(_, value)| *value).filter(|value| !value.is_empty())
    }

    /// Whether udev knows nothing of the device.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty() && self.properties.is_empty()
    }
}

/// Reads one file. Lines of other kinds are skipped, as is all beyond [`INPUT_LEN_MAX`].
pub fn parse(text: &str) -> Entry<'_> {
    let end = (0..=text.len().min(INPUT_LEN_MAX)).rev().find(|at| text.is_char_boundary(*at));
    let text = end.and_then(|end| text.get(..end)).unwrap_or_default();
    let mut entry = Entry::default();
    for line in text.lines() {
        match line.split_once(':') {
            Some(("S", link)) if !link.is_empty() => entry.links.push(link),
            Some(("E", property)) => entry.properties.extend(property.split_once('=')),
            _ => {}
        }
    }
    entry
}

/// `value` with its escapes (a backslash, `x` and two hex digits) undone, as in the properties whose
/// names end in `_ENC`. Bytes that are not UTF-8 then become U+FFFD.
pub fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = match rest {
            [b'\\', b'x', high, low, ..] => hex(*high).zip(hex(*low)),
            _ => None,
        };
        let (byte, tail) = match escaped {
            Some((high, low)) => (high * 16 + low, rest.get(4..).unwrap_or_default()),
            None => (byte, tail),
        };
        bytes.push(byte);
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_properties_are_read_and_the_rest_is_skipped() {
        let text = "S:disk/by-id/ata-X_1\nS:\nL:10\nI:1234\nE:ID_MODEL=X\nE:ID_PATH=\nE:noise\nE:A=b=c\nG:systemd\n";
        let entry = parse(text);
        assert_eq!(entry.links, ["disk/by-id/ata-X_1"]);
        assert_eq!(entry.get("ID_MODEL"), Some("X"));
        assert_eq!(entry.get("A"), Some("b=c"));
        assert_eq!(entry.get("ID_PATH"), None, "empty is absent");
        assert!(parse("").is_empty() && !entry.is_empty());
    }

    #[test]
    fn a_huge_entry_is_cut_between_characters() {
        let text = "S:é\n".repeat(INPUT_LEN_MAX);
        assert!(parse(&text).links.len() <= INPUT_LEN_MAX / 5 + 1);
    }

    #[test]
    fn escapes_are_undone_and_what_is_none_stays() {
        assert_eq!(decoded("Samsung\\x20SSD\\x20870\\x20"), "Samsung SSD 870 ");
        assert_eq!(decoded("a\\x2"), "a\\x2");
        assert_eq!(decoded("\\xzz\\\\x2f"), "\\xzz\\/");
        assert_eq!(decoded("\\xff"), "\u{fffd}");
    }
}
