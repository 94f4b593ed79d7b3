//! What stands before the lines of a copy, and what closes them: quotation marks of mails, line
//! numbers, times and names of logs, tables of one column.

use super::super::text::is_banner;

/// Characters that stand before the lines of copies.
const MARGIN: [char; 12] = [' ', '\t', '>', '|', '+', '-', '*', '#', '`', '"', '\'', ':'];

/// How lines begin that smartctl never indents.
const ANCHORS: [&str; 13] = [
    "=== START OF ",
    "Copyright (C) 20",
    "ID# ATTRIBUTE_NAME",
    "SMART Attributes Data Structure",
    "SMART overall-health self-assessment",
    "SMART Health Status:",
    "SMART/Health Information (NVMe",
    "SMART Error Log Version",
    "SMART Self-test log",
    "Error counter log:",
    "Device Model:",
    "Model Number:",
    "Model Family:",
];

/// Lines that are looked at to see whether what stands before one of them is a margin.
const LINES_COMPARED: usize = 60;

/// `text` without margins; nothing when it has none. A margin is known by a line that smartctl
/// never indents, and counts until another such line shows another.
pub(super) fn without(text: &str) -> Option<String> {
    let mut lines = text.lines();
    let mut anchored = false;
    let has_margin = lines.any(|line| {
        let at = anchor(line, anchored);
        anchored |= at.is_some();
        at.is_some_and(|at| at > 0)
    });
    if !has_margin {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let (mut margin, mut anchored, mut rest) = ("", false, text);
    while !rest.is_empty() {
        let end = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if let Some(at) = anchor(line, anchored) {
            let before = line.get(..at).unwrap_or_default();
            if is_margin(before, rest) {
                margin = before;
                anchored = true;
            }
        }
        out.push_str(&content(line, margin));
        rest = after;
    }
    Some(out)
}

/// JSON without what stands before its lines, as the line shows that opens it.
pub(super) fn without_before_json(text: &str) -> Option<String> {
    let open = text.lines().find_map(|line| {
        let content = line.trim_start_matches(MARGIN);
        let margin = line.get(..line.len() - content.len())?;
        content.starts_with('{').then_some(margin)
    });
    let margin = open.filter(|margin| !margin.is_empty())?;
    Some(text.split_inclusive('\n').map(|line| content(line, margin)).collect())
}

/// Where the first word of a line begins that smartctl never indents. Only the first such line of
/// a text may have any words before that.
fn anchor(line: &str, anchored: bool) -> Option<usize> {
    let content = match line.starts_with(MARGIN) {
        true => line.trim_start_matches(MARGIN),
        // After the first, a line without a margin says so only where there was one.
        false => line,
    };
    if is_anchor(content) {
        return Some(line.len() - content.len());
    }
    if anchored {
        return None;
    }
    ["smartctl ", "=== START OF ", "ID# ATTRIBUTE_NAME"].iter().find_map(|word| {
        let at = line.find(word)?;
        line.get(at..).is_some_and(is_anchor).then_some(at)
    })
}

fn is_anchor(content: &str) -> bool {
    match content.as_bytes().first() {
        Some(b's') => is_banner(content),
        Some(b'=' | b'C' | b'I' | b'S' | b'E' | b'D' | b'M') => {
            ANCHORS.iter().any(|begin| content.starts_with(begin))
        }
        _ => false,
    }
}

/// Whether the lines from here on begin with `margin`, as far as it could be anything else.
fn is_margin(margin: &str, lines: &str) -> bool {
    if margin.chars().all(|it| matches!(it, ' ' | '\t' | '>' | '|')) {
        return true;
    }
    let lines = lines.lines().filter(|line| !line.trim().is_empty()).take(LINES_COMPARED);
    let (with, without): (Vec<_>, Vec<_>) = lines.partition(|line| after(line, margin).is_some());
    with.len() > without.len() && with.len() > 1
}

/// `line` without its margin and what closes it.
fn content(line: &str, margin: &str) -> String {
    if margin.is_empty() {
        return line.to_owned();
    }
    let Some(rest) = after(line, margin) else { return line.to_owned() };
    let ended = rest.ends_with('\n');
    let closing: &[char] = match () {
        () if margin.contains('|') => &['|'],
        () if margin.contains('`') => &['`'],
        () if margin.contains('"') => &[',', '"'],
        () if margin.contains('\'') => &[',', '\''],
        () => &[],
    };
    let rest = rest.trim_end_matches(['\r', '\n']);
    let mut content = match closing {
        [] => rest,
        _ => rest.trim_end(),
    };
    for &mark in closing {
        content = content.strip_suffix(mark).unwrap_or(content);
    }
    let mut content = content.to_owned();
    if ended {
        content.push('\n');
    }
    content
}

/// What follows `margin` in `line`, where numbers may be other numbers. A line that is empty
/// otherwise may have lost the spaces at its end.
fn after<'a>(line: &'a str, margin: &str) -> Option<&'a str> {
    if line.trim() == margin.trim() {
        return Some(if line.ends_with('\n') { "\n" } else { "" });
    }
    let (mut line, mut margin) = (line, margin);
    while let Some(next) = margin.chars().next() {
        let unspaced = margin.trim_start_matches(' ');
        if unspaced.starts_with(|it: char| it.is_ascii_digit()) {
            let digits = |it: char| it.is_ascii_digit();
            line = line.trim_start_matches(' ').strip_prefix(digits)?.trim_start_matches(digits);
            margin = unspaced.trim_start_matches(digits);
            continue;
        }
        line = match line.strip_prefix(next) {
            Some(rest) => rest,
            // Nothing but the spaces that ended the margin is gone.
            None if line.trim().is_empty() && unspaced.is_empty() => return Some("\n"),
            None => return None,
        };
        margin = margin.get(next.len_utf8()..).unwrap_or_default();
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_of_all_kinds() {
        for (text, clean) in [
            (
                "see:\n > smartctl 7.2 x\n >\n >   a: 1\nother\n",
                "see:\nsmartctl 7.2 x\n\n  a: 1\nother\n",
            ),
            (
                "    === START OF INFORMATION SECTION ===\n    a\n",
                "=== START OF INFORMATION SECTION ===\na\n",
            ),
            // The first line was copied from its first word on.
            (
                "smartctl 7.2 x\n  Copyright (C) 2002\n\n    5 A\n",
                "smartctl 7.2 x\nCopyright (C) 2002\n\n  5 A\n",
            ),
            ("9: smartctl 7.2 x\n10:   5 A\n11:\n", "smartctl 7.2 x\n  5 A\n\n"),
            ("     1\tsmartctl 7.2 x\n    12\t  5 A\n", "smartctl 7.2 x\n  5 A\n"),
            (
                "Jan  1 10:00:00 nas s[12]: smartctl 7.2 x\nJan 11 10:00:01 nas s[12]:   5 A\n",
                "smartctl 7.2 x\n  5 A\n",
            ),
            ("+smartctl 7.2 x\n+  5 A\n", "smartctl 7.2 x\n  5 A\n"),
            ("# smartctl 7.2 x\n# # 1 A\n", "smartctl 7.2 x\n# 1 A\n"),
            ("`smartctl 7.2 x`\n`  5 A`\n", "smartctl 7.2 x\n  5 A\n"),
            ("| smartctl 7.2 x  |\n|   5 A |\n", "smartctl 7.2 x  \n  5 A \n"),
            ("  \"smartctl 7.2 x\",\n  \"  5 A\"\n", "smartctl 7.2 x\n  5 A\n"),
        ] {
            assert_eq!(without(text).as_deref(), Some(clean), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_margin_stays() {
        for text in ["smartctl 7.2 x\n  a\n", "smartctl 7.2 x\n# 1 Short\n# 2 Short\n", "a\n  b\n"]
        {
            assert_eq!(without(text), None, "{text:?}");
        }
        let text = "output of smartctl 7.2 x\n  5 A\n# 1 B\n";
        assert_eq!(without(text).as_deref(), Some(text));
    }
}
