//! Bytes of a text report as characters, and lines of which nothing was cut off.

use std::borrow::Cow;

/// The input as text. Bytes that are not UTF-8 are taken as Latin-1, which is what the locales
/// and the vendors' names of that kind are in; a no-break space between digits is one of them.
pub(in super::super) fn decode(input: &[u8]) -> Cow<'_, str> {
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
