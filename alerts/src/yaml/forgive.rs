//! What Go's YAML takes and the parser does not, rewritten so that the parser takes it: with the same
//! meaning and on the same lines. And the other way round: what only the parser takes.
//!
//! Go's is of version 1.1 and careless. Lines of a quoted text may begin anywhere, and a comment may
//! follow a quote or a bracket at once. An apostrophe may be escaped where it need not be.

use granit_parser::{ErrorKind, ScanError};

/// The text without what the error is about, in at most `bytes_max`; `None` where that is not enough
/// or Go's refuses it, too.
pub(super) fn rewritten(text: &str, error: &ScanError, bytes_max: usize) -> Option<String> {
    let (before, after) = text.split_at_checked(error.marker().byte_offset()?)?;
    let rewritten = match error.kind() {
        ErrorKind::CommentNotSeparated => {
            after.starts_with('#').then(|| format!("{before} {after}"))
        }
        ErrorKind::InvalidQuotedScalarIndent | ErrorKind::TabInIndentation => {
            let start = before.rfind(['\n', '\r']).map_or(0, |at| at + 1);
            let (before, after) = text.split_at_checked(start)?;
            // A quote that the text ends in before it is closed is wrong wherever its lines begin.
            moved(before, after, bytes_max).filter(|moved| moved != text)
        }
        // The error is at the quote that opens.
        ErrorKind::UnknownQuotedScalarEscape => {
            after.strip_prefix('"').and_then(|after| without_escaped_apostrophes(before, after))
        }
        _ => None,
    };
    rewritten.filter(|rewritten| rewritten.len() <= bytes_max)
}

/// Moves lines of a quoted text to the right, up to one with a quote, which may be the last. What
/// such a line begins with does not count.
fn moved(before: &str, after: &str, bytes_max: usize) -> Option<String> {
    let width = width(before);
    let mut text = before.to_owned();
    let mut is_inside = true;
    for line in after.split_inclusive('\n') {
        if !is_inside {
            text.push_str(line);
            continue;
        }
        if is_between_documents(line) {
            return None;
        }
        let rest = line.trim_start_matches([' ', '\t']);
        if width > bytes_max.saturating_sub(text.len()) {
            return None;
        }
        text.extend(std::iter::repeat_n(' ', width));
        text.push_str(rest);
        is_inside = !rest.contains(['"', '\'']);
    }
    Some(text)
}

/// More spaces than any line begins with, be it of items of lists. Comments may begin anywhere.
fn width(text: &str) -> usize {
    let indent = |line: &str| {
        let rest = line.trim_start_matches([' ', '-', '?']);
        if rest.starts_with('#') { 0 } else { line.len() - rest.len() }
    };
    text.lines().map(indent).max().unwrap_or(0) + 1
}

/// Writes every `\'` in the text between double quotes that `quoted` begins with in another way.
fn without_escaped_apostrophes(before: &str, quoted: &str) -> Option<String> {
    let mut text = format!("{before}\"");
    let mut is_changed = false;
    let mut rest = quoted;
    while let Some(at) = rest.find(['"', '\\']) {
        let (plain, special) = rest.split_at_checked(at)?;
        text.push_str(plain);
        let Some(escaped) = special.strip_prefix('\\') else {
            text.push_str(special);
            return is_changed.then_some(text);
        };
        let next = escaped.chars().next()?;
        if next == '\'' {
            text.push_str("\\x27");
            is_changed = true;
        } else {
            text.extend(['\\', next]);
        }
        rest = escaped.get(next.len_utf8()..)?;
    }
    None
}

/// Whether a line ends a document, in the middle of a text too.
fn is_between_documents(line: &str) -> bool {
    let after = line.strip_prefix("---").or_else(|| line.strip_prefix("..."));
    after.is_some_and(|after| after.is_empty() || after.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether Go's takes the name of an anchor.
pub(super) fn is_anchor(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

/// What a plain text between brackets or braces has that ends it in Go's, where nothing can follow: a
/// question mark anywhere, a colon at its start.
pub(super) fn flow_indicator(text: &str) -> Option<char> {
    if text.contains('?') {
        return Some('?');
    }
    text.starts_with(':').then_some(':')
}

/// How many lines further a tab stands that Go's refuses, in what is between two texts of a block. Tabs
/// are taken after a text on its line, and not where something may begin: at the start of a line, after
/// the dash of a list. The first line goes on from the text before it, unless it `is_start`. Where that is
/// a plain one, `goes_on` is the column from which on the lines below it might go on with it.
pub(super) fn stray_tab(between: &str, is_start: bool, goes_on: Option<usize>) -> Option<usize> {
    let (mut lines, mut column) = (0, 0);
    let (mut may_begin, mut is_comment, mut goes_on) = (is_start, false, goes_on);
    let mut before = ' ';
    for c in between.chars() {
        match c {
            '\n' => {
                (may_begin, is_comment) = (true, false);
                (lines, column) = (lines + 1, 0);
                before = ' ';
                continue;
            }
            _ if is_comment => {}
            '\t' => {
                let is_stray = goes_on.map_or(may_begin, |least| lines > 0 && column < least);
                if is_stray {
                    return Some(lines);
                }
            }
            ' ' | '\r' => {}
            other => {
                goes_on = None;
                is_comment = other == '#';
                may_begin = matches!(other, '-' | '?') && matches!(before, ' ' | '\t');
            }
        }
        column += 1;
        before = c;
    }
    None
}

/// What in a text between double quotes Go's does not know.
pub(super) fn unknown_escape(quoted: &str) -> Option<&str> {
    let mut rest = quoted;
    while let Some(at) = rest.find('\\') {
        let escape = rest.get(at..)?;
        if escape.starts_with("\\/") {
            return escape.get(..2);
        }
        let half = escape.get(2..4).filter(|_| escape.starts_with("\\u"));
        let half = half.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if half.is_some_and(|byte| (0xD8..=0xDF).contains(&byte)) {
            return escape.get(..6);
        }
        // What is escaped may be a backslash itself.
        let next = escape.chars().nth(1)?;
        rest = escape.get(1 + next.len_utf8()..)?;
    }
    None
}
