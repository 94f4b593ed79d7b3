//! Quoted text: taking quotes and escapes away, and putting them on as Go does.

use std::fmt::Write;

/// `text` between double quotes.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    push_quoted(&mut quoted, text);
    quoted
}

pub(super) fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    text.chars().for_each(|c| push_char(out, c, '"'));
    out.push('"');
}

/// A character between single quotes; the end of the text is shown as a replacement character.
pub(super) fn quote_char(c: Option<char>) -> String {
    let mut quoted = "'".to_owned();
    push_char(&mut quoted, c.unwrap_or(char::REPLACEMENT_CHARACTER), '\'');
    quoted.push('\'');
    quoted
}

/// A character by number, and itself where it can be shown: `U+007A 'z'`.
pub(super) fn unicode(c: char) -> String {
    let number = u32::from(c);
    if is_printable(c) { format!("U+{number:04X} '{c}'") } else { format!("U+{number:04X}") }
}

fn push_char(out: &mut String, c: char, quote: char) {
    let number = u32::from(c);
    // Writing to a String cannot fail.
    let _ = match c {
        '\\' => out.write_str("\\\\"),
        c if c == quote => write!(out, "\\{c}"),
        c if is_printable(c) => out.write_char(c),
        '\u{7}' => out.write_str("\\a"),
        '\u{8}' => out.write_str("\\b"),
        '\u{c}' => out.write_str("\\f"),
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        '\u{b}' => out.write_str("\\v"),
        c if c.is_ascii() => write!(out, "\\x{number:02x}"),
        _ if number < 0x1_0000 => write!(out, "\\u{number:04x}"),
        _ => write!(out, "\\U{number:08x}"),
    };
}

/// Whether a character shows something or is the plain space.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return c == ' ' || c.is_ascii_graphic();
    }
    // The standard library has the table but shows it only through its escapes; marks that join
    // the character before are escaped by it only where there is none.
    let mut buffer = [b'a'; 5];
    let len = c.len_utf8() + 1;
    if let Some(rest) = buffer.get_mut(1..) {
        c.encode_utf8(rest);
    }
    let text = buffer.get(..len).and_then(|bytes| std::str::from_utf8(bytes).ok());
    text.is_some_and(|text| text.escape_debug().nth(1) == Some(c))
}

/// The text that a literal stands for, quotes and escapes taken away; the lexer has seen to it
/// that they are well formed. `None` when it is not UTF-8.
pub(super) fn unquote(literal: &str) -> Option<String> {
    let quote = literal.chars().next()?;
    let inner = literal.get(1..literal.len().checked_sub(1)?)?;
    if quote == '`' || !inner.contains('\\') {
        return Some(inner.to_owned());
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        let mut utf8 = [0; 4];
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
            continue;
        }
        let escape = chars.next()?;
        let (radix, digits) = match escape {
            'x' => (16, 2),
            'u' => (16, 4),
            'U' => (16, 8),
            '0'..='7' => (8, 2),
            _ => (0, 0),
        };
        let mut value = if radix == 8 { escape.to_digit(8)? } else { 0 };
        for _ in 0..digits {
            value = value.wrapping_mul(radix).wrapping_add(chars.next()?.to_digit(radix)?);
        }
        match escape {
            'u' | 'U' => {
                let c = char::from_u32(value)?;
                bytes.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
            }
            'x' | '0'..='7' => bytes.push(u8::try_from(value).ok()?),
            other => bytes.push(plain_escape(other)?),
        }
    }
    String::from_utf8(bytes).ok()
}

fn plain_escape(c: char) -> Option<u8> {
    match c {
        'a' => Some(7),
        'b' => Some(8),
        'f' => Some(12),
        'n' => Some(b'\n'),
        'r' => Some(b'\r'),
        't' => Some(b'\t'),
        'v' => Some(11),
        '\\' | '\'' | '"' => u8::try_from(c).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_taken_away() {
        for (literal, text) in [
            (r#""a\"b\n\x41\101\u00e9""#, "a\"b\nAAé"),
            (r"'it\'s'", "it's"),
            (r"`\d`", r"\d"),
            (r#""\U0010FFFF\a\v""#, "\u{10ffff}\u{7}\u{b}"),
            ("''", ""),
        ] {
            assert_eq!(unquote(literal).as_deref(), Some(text), "{literal}");
        }
        assert_eq!(unquote(r#""\xff""#), None);
    }

    #[test]
    fn text_is_quoted_as_go_quotes_it() {
        for (text, wanted) in [
            ("a\"b\\", r#""a\"b\\""#),
            ("\u{0}\u{7f}\u{a0}\u{200b}é\t'`", r#""\x00\x7f\u00a0\u200bé\t'`""#),
            ("e\u{301}\u{e000}\u{f0000}", "\"e\u{301}\\ue000\\U000f0000\""),
        ] {
            assert_eq!(quote(text), wanted);
        }
        assert_eq!(quote_char(Some('\'')), r"'\''");
        assert_eq!(quote_char(None), "'\u{fffd}'");
        assert_eq!(unicode('z'), "U+007A 'z'");
        assert_eq!(unicode('\n'), "U+000A");
    }

    #[test]
    fn what_is_quoted_reads_back() {
        for text in ["", "a", "\\", "\"", "'\n\r\t\u{7}\u{0}", "é\u{200b}\u{10ffff}日本"] {
            assert_eq!(unquote(&quote(text)).as_deref(), Some(text));
        }
    }
}
