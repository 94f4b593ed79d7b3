//! Marks that programs put into a text: colours, tags, entities, odd spaces, escapes.

use std::borrow::Cow;

use super::map;

/// Bytes between the brackets of a tag.
const TAG_LEN_MAX: usize = 200;
/// Bytes between the first and the last character of an entity.
const ENTITY_LEN_MAX: usize = 8;

/// `text` without marks.
pub(super) fn without(text: Cow<'_, str>) -> Cow<'_, str> {
    let text = map(text, quoted_printable);
    let text = map(text, terminal);
    let text = map(text, entities);
    let text = map(text, tags);
    let text = map(text, characters);
    map(text, markdown)
}

/// Copies `text` but for the marks, which `mark` gives at each of their first characters as the
/// bytes they take and what they stand for.
fn replace(
    text: &str,
    first: &[char],
    mark: impl Fn(&str) -> Option<(usize, &'static str)>,
) -> Option<String> {
    let mut out: Option<String> = None;
    let (mut copied, mut from) = (0, 0);
    while let Some(found) = text.get(from..).and_then(|rest| rest.find(first)) {
        let at = from + found;
        let rest = text.get(at..).unwrap_or_default();
        if let Some((length, instead)) = mark(rest) {
            let out = out.get_or_insert_with(|| String::with_capacity(text.len()));
            out.push_str(text.get(copied..at).unwrap_or_default());
            out.push_str(instead);
            copied = at + length;
            from = copied;
        } else {
            from = at + rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    let mut out = out?;
    out.push_str(text.get(copied..).unwrap_or_default());
    Some(out)
}

/// The encoding of mails, known by what it makes of the heading of a section.
fn quoted_printable(text: &str) -> Option<String> {
    if !text.contains("=3D=3D=3D") {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => break,
            [b'=', b'\r', b'\n', after @ ..] | [b'=', b'\n', after @ ..] => after,
            [b'=', high, low, after @ ..] => {
                match (digit(*high), digit(*low)) {
                    (Some(high), Some(low)) => out.push(high << 4 | low),
                    _ => out.extend([b'=', *high, *low]),
                }
                after
            }
            [byte, after @ ..] => {
                out.push(*byte);
                after
            }
        };
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

/// What tells a terminal to change colours, with its escape character or with that alone lost.
fn terminal(text: &str) -> Option<String> {
    if text.contains('\u{1b}') {
        return replace(text, &['\u{1b}'], |rest| Some((escape_len(rest), "")));
    }
    if !text.contains("[0m") {
        return None;
    }
    replace(text, &['['], |rest| {
        if rest.starts_with("[K") {
            return Some((2, ""));
        }
        let parameters = rest.get(1..)?;
        let end = parameters.find(|next: char| !matches!(next, ';' | '0'..='9'))?;
        (end > 0 && parameters.get(end..)?.starts_with('m')).then_some((end + 2, ""))
    })
}

/// Bytes of the escape sequence `text` begins with.
fn escape_len(text: &str) -> usize {
    let mut rest = text.char_indices().skip(1);
    let end = match rest.next() {
        Some((_, '[')) => rest.find(|(_, next)| ('@'..='~').contains(next)),
        Some((_, ']')) => rest.find(|(_, next)| matches!(next, '\u{7}' | '\\' | '\n')),
        Some((_, '(' | ')')) => rest.next(),
        other => other,
    };
    end.map_or(text.len(), |(at, last)| at + last.len_utf8())
}

/// The entities of HTML that come in reports.
fn entities(text: &str) -> Option<String> {
    replace(text, &['&'], |rest| {
        let end = rest.bytes().take(ENTITY_LEN_MAX).position(|byte| byte == b';')?;
        let instead = match rest.get(1..end)? {
            "nbsp" | "#160" | "#xa0" | "#xA0" | "ensp" | "emsp" | "thinsp" => " ",
            "quot" | "#34" => "\"",
            "amp" | "#38" => "&",
            "apos" | "#39" | "#x27" => "'",
            "lt" | "#60" => "<",
            "gt" | "#62" => ">",
            "reg" => "®",
            "#61" => "=",
            "#9" => "\t",
            "#10" => "\n",
            _ => return None,
        };
        Some((end + 1, instead))
    })
}

/// Tags of HTML, of forums and of ticket systems. What stands between angle brackets in a report
/// of smartctl is none of them.
fn tags(text: &str) -> Option<String> {
    replace(text, &['<', '[', '{'], tag)
}

fn tag(text: &str) -> Option<(usize, &'static str)> {
    let close = match text.chars().next()? {
        '<' => '>',
        '[' => ']',
        _ => '}',
    };
    let inner = text.get(1..)?;
    let closing = inner.starts_with('/');
    let inner = inner.trim_start_matches('/');
    let name_len = inner.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let (name, rest) = inner.split_at_checked(name_len)?;
    let kind = kind(&name.to_ascii_lowercase(), close)?;
    if !rest.starts_with([close, ' ', '=', ':', '/']) {
        return None;
    }
    let end =
        rest.bytes().take(TAG_LEN_MAX).position(|byte| byte == close as u8 || byte == b'\n')?;
    let after = rest.get(end..)?.strip_prefix(close)?;
    let ends_line = after.trim_start_matches([' ', '\t', '\r']).starts_with('\n');
    let instead = match kind {
        Kind::Inline => "",
        Kind::Cell if closing => "",
        Kind::Cell => "  ",
        Kind::Break | Kind::Block if ends_line => "",
        Kind::Break | Kind::Block => "\n",
    };
    Some((text.len() - after.len(), instead))
}

/// What a tag does to the lines of a text.
#[derive(Clone, Copy)]
enum Kind {
    Inline,
    Cell,
    Break,
    Block,
}

fn kind(name: &str, close: char) -> Option<Kind> {
    Some(match (close, name) {
        ('>', "br") => Kind::Break,
        (
            '>',
            "pre" | "code" | "p" | "div" | "blockquote" | "table" | "tbody" | "thead" | "tr" | "li"
            | "ul" | "details" | "summary" | "samp" | "html" | "body",
        )
        | (']', "code" | "quote" | "pre" | "spoiler" | "list" | "noparse")
        | ('}', "code" | "noformat" | "quote" | "panel") => Kind::Block,
        ('>', "td" | "th") => Kind::Cell,
        (
            '>',
            "b" | "i" | "u" | "em" | "strong" | "span" | "font" | "tt" | "a" | "mark" | "kbd",
        )
        | (
            ']',
            "b" | "i" | "u" | "color" | "size" | "font" | "icode" | "tt" | "url" | "center"
            | "highlight" | "mono",
        )
        | ('}', "color") => Kind::Inline,
        _ => return None,
    })
}

/// Spaces of other kinds as spaces, characters without width as nothing, and dashes as what word
/// processors make them of.
fn characters(text: &str) -> Option<String> {
    const SPACES: [char; 7] =
        ['\u{a0}', '\u{202f}', '\u{2007}', '\u{2009}', '\u{2002}', '\u{2003}', '\u{3000}'];
    const NOTHING: [char; 8] =
        ['\u{200b}', '\u{200c}', '\u{200d}', '\u{200e}', '\u{200f}', '\u{2060}', '\u{feff}', '\0'];
    const DASHES: [char; 3] = ['\u{2013}', '\u{2014}', '\u{2212}'];
    let is_odd =
        |next: char| SPACES.contains(&next) || NOTHING.contains(&next) || DASHES.contains(&next);
    if text.is_ascii() && !text.contains('\0') || !text.contains(is_odd) {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let after = rest.get(next.len_utf8()..).unwrap_or_default();
        let apart = out.ends_with(char::is_whitespace)
            && (after.is_empty() || after.starts_with(char::is_whitespace));
        match next {
            _ if SPACES.contains(&next) => out.push(' '),
            _ if NOTHING.contains(&next) => {}
            '\u{2013}' | '\u{2014}' | '\u{2212}' if apart => out.push('-'),
            '\u{2212}' => out.push('-'),
            '\u{2013}' => out.push_str("--"),
            '\u{2014}' => out.push_str("---"),
            _ => out.push(next),
        }
        rest = after;
    }
    Some(out)
}

/// Bold words and escaped characters of Markdown, and rows of its tables.
fn markdown(text: &str) -> Option<String> {
    let escaped = text.contains("\\_");
    let bold = text.contains("**") && text.lines().any(is_bold);
    let table = text.contains("\n|") || text.starts_with('|');
    if !escaped && !bold && !table {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut line = Cow::Borrowed(line);
        if escaped && line.contains('\\') {
            line = Cow::Owned(unescaped(&line));
        }
        if is_bold(&line) {
            line = Cow::Owned(line.replace("**", ""));
        }
        if table && line.starts_with('|') && line.matches('|').count() >= TABLE_COLUMNS_MIN {
            line = Cow::Owned(line.replace('|', "  "));
        }
        out.push_str(&line);
    }
    Some(out)
}

/// Lines between columns of a table from which on it is one.
const TABLE_COLUMNS_MIN: usize = 5;

/// Whether a line has two asterisks that are no part of a bar.
fn is_bold(line: &str) -> bool {
    line.contains("**")
        && !line.contains("***")
        && !line.trim_end().ends_with(" **")
        && !line.trim_end().ends_with("\t**")
}

/// Without the backslash before punctuation.
fn unescaped(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    while let Some(next) = characters.next() {
        let escapes = characters.peek().is_some_and(char::is_ascii_punctuation);
        if next != '\\' || !escapes {
            out.push(next);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_go_and_words_stay() {
        for (text, clean) in [
            ("\u{1b}[1;31mFAILED!\u{1b}[0m\u{1b}[K\n", "FAILED!\n"),
            ("\u{1b}]0;title\u{7}a\n", "a\n"),
            ("[31mFAILED![0m\n", "FAILED!\n"),
            ("a&nbsp;&amp; &quot;b&#39; &x; & c\n", "a & \"b' &x; & c\n"),
            ("a<br />\nb<br>c\n", "a\nb\nc\n"),
            ("<pre><code>a</code></pre>\n", "\n\na\n\n"),
            ("[COLOR=red][B]FAILED![/B][/COLOR]\n", "FAILED!\n"),
            ("see:[CODE]a\n[/CODE]\n", "see:\na\n\n"),
            ("{noformat}\na\n{code:title=x}\n", "\na\n\n"),
            ("a\u{a0}\u{202f}b\u{200b}\u{feff}\n", "a  b\n"),
            ("PO\u{2013}CK \u{2013} 5\n", "PO--CK - 5\n"),
            ("x: **FAILED!**\n**  5 A\n", "x: FAILED!\n  5 A\n"),
            ("Power\\_On\\_Hours\n", "Power_On_Hours\n"),
            ("| 5 | A | 0x1 | 100 | 7 |\n", "   5    A    0x1    100    7   \n"),
            ("=3D=3D=3D START =3D=3D=3D\na  =\n  5=20\n", "=== START ===\na    5 \n"),
        ] {
            assert_eq!(without(Cow::Borrowed(text)), clean, "{text:?}");
        }
    }

    #[test]
    fn what_smartctl_prints_is_no_mark() {
        for text in [
            "Elements in grown defect list: <not available>\n",
            "Device is: In smartctl database [for details use: -P show] [SAT] [N] [1.00 TB]\n",
            "    2    2019-12-03 13:57    34  ***************\n    3  21  **\n",
            " 0   Short             Completed     12    -     *   -   -    -\n",
            "Device Model:     A & B; C\n",
        ] {
            assert!(matches!(without(Cow::Borrowed(text)), Cow::Borrowed(_)), "{text}");
        }
    }
}
