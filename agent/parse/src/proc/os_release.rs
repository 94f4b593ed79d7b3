//! `/etc/os-release`: what the distribution calls itself.

use std::borrow::Cow;

use super::lines;

/// Keys and values, quotes and escapes of the shell undone. Lines of another shape are left out,
/// as the file's readers do.
pub fn parse(bytes: &[u8]) -> impl Iterator<Item = (&str, String)> {
    lines(bytes).filter_map(|(_, line)| {
        let line = std::str::from_utf8(line).ok()?.trim();
        let (key, value) = line.split_once('=')?;
        let is_key = !key.is_empty()
            && key.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        is_key.then(|| (key, unquoted(value).into_owned()))
    })
}

fn unquoted(value: &str) -> Cow<'_, str> {
    let inner = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    if let Some(inner) = inner('\'') {
        return Cow::Borrowed(inner);
    }
    let value = inner('"').unwrap_or(value);
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        text.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_escapes_and_remarks() {
        let text =
            b"# remark\nID=debian\nNAME=\"Debian \\\"GNU\\\"/Linux\"\nB='a\\b'\nbroken\n=x\n";
        let all: Vec<_> = parse(text).collect();
        let wanted = [("ID", "debian"), ("NAME", "Debian \"GNU\"/Linux"), ("B", "a\\b")];
        assert_eq!(all, wanted.map(|(key, value)| (key, value.to_owned())));
    }
}
