//! Text that went through mails, posts, terminals and tickets, as smartctl printed it.
//!
//! One stage before all reading. It takes away what such ways add (quotation marks, line numbers,
//! host names, tags, colours, entities, spaces of other kinds) and changes nothing else; a text
//! that has nothing of it is not even copied.
//!
//! Not here: lines that were broken in two, which only the reader of a table can join.

mod flat;
mod margin;
mod marks;

use std::borrow::Cow;

/// `text` as smartctl printed it, as far as that can be told.
pub(super) fn normalise(text: Cow<'_, str>) -> Cow<'_, str> {
    let text = map(text, lines_of);
    let text = marks::without(text);
    let text = map(text, flat::apart);
    let text = map(text, margin::without);
    map(text, without_double_lines)
}

/// JSON as a program printed it, from a copy of it.
pub(super) fn json(text: &str) -> Cow<'_, str> {
    let text = marks::without(Cow::Borrowed(text));
    let text = map(text, margin::without_before_json);
    let text = map(text, straight_quotes);
    map(text, without_last_commas)
}

/// Quotation marks as word processors make them, as they were.
fn straight_quotes(text: &str) -> Option<String> {
    const QUOTES: [char; 3] = ['\u{201c}', '\u{201d}', '\u{201e}'];
    // Where there are straight ones, the others are part of a text.
    (!text.contains('"') && text.contains(QUOTES)).then(|| text.replace(QUOTES, "\""))
}

/// JSON without commas after the last of several values.
fn without_last_commas(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let (mut quoted, mut escaped, mut comma) = (false, false, None);
    for next in text.chars() {
        if !quoted && matches!(next, '}' | ']') {
            comma.take().map(|at| out.remove(at));
        }
        if !next.is_ascii_whitespace() {
            comma = (next == ',' && !quoted).then_some(out.len());
        }
        match next {
            _ if escaped => escaped = false,
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            _ => {}
        }
        out.push(next);
    }
    (out.len() < text.len()).then_some(out)
}

/// Applies a step that gives nothing where there is nothing to do.
fn map<'a>(text: Cow<'a, str>, step: fn(&str) -> Option<String>) -> Cow<'a, str> {
    match step(&text) {
        Some(changed) => Cow::Owned(changed),
        None => text,
    }
}

/// Lines that end as those of old Macs do, or as they stand in a string of a program.
fn lines_of(text: &str) -> Option<String> {
    if text.contains('\n') {
        return None;
    }
    if text.contains('\r') {
        return Some(text.replace('\r', "\n"));
    }
    text.contains("\\n").then(|| text.replace("\\r", "").replace("\\n", "\n").replace("\\t", "\t"))
}

/// A text of which every other line is empty, without those lines.
fn without_double_lines(text: &str) -> Option<String> {
    // A report has three lines in a row that are not empty in its first section at the latest.
    let text_begins = text.trim_start_matches(['\n', '\r', ' ', '\t']);
    let mut lines = text_begins.split('\n').map(str::trim_end);
    let doubled = lines.by_ref().skip(1).step_by(2).all(str::is_empty);
    let enough = text_begins.split('\n').nth(DOUBLE_LINES_MIN).is_some();
    let end = if text.ends_with('\n') { "\n" } else { "" };
    (doubled && enough)
        .then(|| text_begins.split('\n').step_by(2).collect::<Vec<_>>().join("\n") + end)
}

/// Lines from which on it is no chance that every other one is empty.
const DOUBLE_LINES_MIN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_as_it_was_printed_is_not_copied() {
        let text = "smartctl 7.4 2023-08-01 r5530 [x86_64-linux] (local build)\n\
            Copyright (C) 2002-23, Bruce Allen, Christian Franke, www.smartmontools.org\n\n\
            === START OF INFORMATION SECTION ===\nDevice Model:     X [SAT]\n\n\
            ID# ATTRIBUTE_NAME          FLAG     VALUE WORST THRESH\n  \
            5 Reallocated_Sector_Ct   0x0033   100   100   010    Pre-fail  Always       -       0\n";
        assert!(matches!(normalise(Cow::Borrowed(text)), Cow::Borrowed(_)));
    }

    #[test]
    fn lines_end_as_lines() {
        for text in ["a\rb\r", "a\\nb\\n", "a\n\nb\n\nc\n\nd\n\ne\n\n"] {
            let found = normalise(Cow::Borrowed(text)).into_owned();
            assert!(found.starts_with("a\nb\n"), "{text:?}: {found:?}");
        }
    }
}
