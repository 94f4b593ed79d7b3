//! Bytes of a text report as lines: characters of any encoding, quoted and indented copies.

use std::borrow::Cow;

/// What stands before the lines of a copy in a mail, a forum post or a table.
const MARGIN: [char; 4] = [' ', '\t', '>', '|'];

/// The input as text. Bytes that are not UTF-8 are taken as Latin-1, which is what the locales
/// and the vendors' names of that kind are in; a no-break space between digits is one of them.
pub(super) fn decode(input: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(input) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(input.len() + input.len() / 8);
    for chunk in input.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|&byte| char::from(byte)));
    }
    Cow::Owned(text)
}

/// `text` without the margin that all lines of a copied report have, as its first line shows it.
pub(super) fn without_margin(text: Cow<'_, str>) -> Cow<'_, str> {
    let margin = text.lines().find_map(|line| {
        let content = line.trim_start_matches(MARGIN);
        let is_first = super::facts::banner(content).is_some() || is_section(content);
        is_first.then(|| line.get(..line.len() - content.len()).unwrap_or_default())
    });
    let Some(margin) = margin.filter(|margin| !margin.is_empty()) else { return text };
    let lines = text.split_inclusive('\n').map(|line| match line.strip_prefix(margin) {
        Some(rest) => rest,
        // An empty line lost the spaces of its margin.
        None if line.trim() == margin.trim() => "\n",
        None => line,
    });
    Cow::Owned(lines.collect())
}

/// The heading of a section, which every report has unless it is about one thing alone.
pub(super) fn is_section(line: &str) -> bool {
    line.starts_with("=== START OF ")
}

/// Lines by how they begin and end that nothing can have been cut off.
const WHOLE: [(&str, &str); 20] = [
    ("SMART overall-health self-assessment test result:", "PASSED"),
    ("SMART overall-health self-assessment test result:", "FAILED!"),
    ("SMART Health Status:", " OK"),
    ("No Errors Logged", "Logged"),
    ("User Capacity:", "]"),
    ("User Capacity:", " bytes"),
    ("Total NVM Capacity:", "]"),
    ("Namespace ", "]"),
    ("Data Units ", "]"),
    ("Temperature", " Celsius"),
    ("Current Temperature:", " Celsius"),
    ("Current Drive Temperature:", " C"),
    ("Drive Trip Temperature:", " C"),
    ("Available Spare", "%"),
    ("Percentage ", "%"),
    ("Device Error Count:", ")"),
    ("ATA Error Count:", ")"),
    ("#", " -"),
    ("#", "]"),
    ("    Accumulated power on time", "]"),
];

/// Whether the last line of an input, which has no line end, is whole all the same: it ends with
/// what only stands at the end, so that nothing was cut off a number or a name.
pub(super) fn is_whole(line: &str) -> bool {
    let is_row = line.trim_start().starts_with(|first: char| first.is_ascii_digit());
    is_row && line.ends_with(')')
        || WHOLE.iter().any(|(begin, end)| line.starts_with(begin) && line.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_margin_is_that_of_the_first_line() {
        let margin = |text: &'static str| without_margin(Cow::Borrowed(text)).into_owned();
        assert_eq!(
            margin("see:\n > smartctl 7.2 x\n >\n >   a: 1\nother\n"),
            "see:\nsmartctl 7.2 x\n\n  a: 1\nother\n"
        );
        assert_eq!(
            margin("    === START OF INFORMATION SECTION ===\n    a\n"),
            "=== START OF INFORMATION SECTION ===\na\n"
        );
        assert_eq!(margin("smartctl 7.2 x\n  a\n"), "smartctl 7.2 x\n  a\n");
    }
}
