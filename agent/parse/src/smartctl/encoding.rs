//! Bytes of a report as UTF-8 or something close to it.

use std::borrow::Cow;

/// `input` without a byte order mark, and as UTF-8 where the mark says that it is UTF-16: what
/// Windows' PowerShell writes when output is sent to a file.
pub(crate) fn unmarked(input: &[u8]) -> Cow<'_, [u8]> {
    if let Some(rest) = input.strip_prefix(b"\xef\xbb\xbf") {
        Cow::Borrowed(rest)
    } else if let Some(rest) = input.strip_prefix(b"\xff\xfe") {
        Cow::Owned(utf16(rest, u16::from_le_bytes))
    } else if let Some(rest) = input.strip_prefix(b"\xfe\xff") {
        Cow::Owned(utf16(rest, u16::from_be_bytes))
    } else {
        Cow::Borrowed(input)
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Vec<u8> {
    let (pairs, _) = bytes.as_chunks::<2>();
    let characters = char::decode_utf16(pairs.iter().map(|&pair| unit(pair)));
    let text: String =
        characters.map(|found| found.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_tells_the_encoding() {
        let little: Vec<u8> = "\u{feff}é7".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = "\u{feff}é7".encode_utf16().flat_map(u16::to_be_bytes).collect();
        for input in [&little[..], &big, "\u{feff}é7".as_bytes(), "é7".as_bytes()] {
            assert_eq!(unmarked(input), "é7".as_bytes());
        }
        assert_eq!(unmarked(b"\xff\xfe7\0\0\xd8x"), "7\u{fffd}".as_bytes(), "halves and odd ends");
    }
}
