//! What people make of `/proc/mdstat` on its way to a forum, a ticket or a mail: prompts and quotation
//! marks before its lines, remarks behind them, lines that are broken or run together, characters
//! written as HTML, two copies in one text.
//!
//! What is not of mdstat is passed over. What looks as if it were and cannot be read is told, and the
//! rest is given all the same.

use std::borrow::Cow;

use nom::Parser as _;
use nom::combinator::all_consuming;

use super::line::{Piece, pieces};
use super::{Mdstat, WHAT, check_len, nothing};
use crate::ParseError;
use crate::smartctl::encoding;

/// Bytes of a line that is put together of those it was broken into. The first line of an array of
/// a hundred members has 1.5 KB.
const JOINED_LEN_MAX: usize = 4096;

/// Words before a line: a journal has five (`Nov 21 21:20:00 host kernel:`).
const PREFIX_WORDS_MAX: usize = 8;

/// What a text that holds `/proc/mdstat` says, and the first line of it that could not be read.
///
/// # Errors
/// There is nothing of mdstat in it; or more than there can be.
pub fn parse_copy(bytes: &[u8]) -> Result<(Mdstat, Option<ParseError>), ParseError> {
    check_len(bytes.len())?;
    let text = encoding::unmarked(bytes);
    let text = String::from_utf8_lossy(&text);
    let mut found = Mdstat::default();
    let mut problem = None;
    let mut is_mdstat = false;
    // Words before the line of the array that is being read.
    let mut prefix = 0;
    for line in joined(&text) {
        let read = read(&line.text, prefix);
        let mut fits = true;
        for piece in read.pieces {
            is_mdstat = true;
            if matches!(piece, Piece::Array(_)) {
                prefix = read.prefix;
            }
            fits &= found.take(piece)?;
        }
        // Of a line that does not fit, nobody knows whose it is.
        if (read.broken || !fits) && problem.is_none() {
            problem = Some(ParseError::line(WHAT, line.number, &line.text));
        }
    }
    if is_mdstat { Ok((found, problem)) } else { Err(problem.unwrap_or_else(nothing)) }
}

/// A line as it was printed, perhaps put together of several.
struct Line {
    /// The first of them, counted from 1.
    number: usize,
    text: String,
}

/// The lines of a text without what surrounds them; one that was broken is whole again.
fn joined(text: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    // Whether the line before is one that this may be a part of.
    let mut open = false;
    for (at, line) in text.lines().enumerate() {
        let line = plain(line);
        let line = line.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        if line.is_empty() {
            open = false;
            continue;
        }
        if open
            && !is_whole(line)
            && let Some(before) = lines.last_mut()
            && before.text.len() + line.len() < JOINED_LEN_MAX
            // Any word may be the name of an unused device.
            && !before.text.starts_with("unused devices:")
        {
            let both = format!("{} {line}", before.text);
            if is_whole(&both) {
                before.text = both;
                continue;
            }
        }
        open = true;
        lines.push(Line { number: at + 1, text: line.to_owned() });
    }
    lines
}

fn is_whole(line: &str) -> bool {
    all_consuming(pieces).parse(line).is_ok()
}

/// A line of text: neither HTML nor a terminal's colours.
fn plain(line: &str) -> Cow<'_, str> {
    let mut line = Cow::Borrowed(line);
    for (coded, plain) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&nbsp;", " "),
        ("&#160;", " "),
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&amp;", "&"),
        ("\u{a0}", " "),
        ("\u{feff}", ""),
        ("\u{200b}", ""),
        ("\u{2026}", "..."),
    ] {
        if line.contains(coded) {
            line = Cow::Owned(line.replace(coded, plain));
        }
    }
    if line.contains('\u{1b}') {
        line = Cow::Owned(without_colours(&line));
    }
    line
}

/// Without control sequences: `ESC [`, up to a letter.
fn without_colours(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        text.push_str(before);
        let end = after.find(|c: char| c.is_ascii_alphabetic()).map_or(after.len(), |at| at + 1);
        rest = after.get(end..).unwrap_or_default();
    }
    text.push_str(rest);
    text
}

/// What a line of a copy gave.
struct Read<'a> {
    pieces: Vec<Piece<'a>>,
    /// Words before them.
    prefix: usize,
    /// Whether it is of mdstat and something in it could not be read.
    broken: bool,
}

/// Reads a line of which the beginning and the end may be something else. Words before what is said
/// of an array are believed to be such only where its first line has as many: prose has numbers of
/// blocks, too.
fn read(line: &str, array_prefix: usize) -> Read<'_> {
    let mut starts = word_starts(line);
    for (prefix, rest) in starts.by_ref().take(PREFIX_WORDS_MAX + 1) {
        let Ok((after, pieces)) = pieces(rest) else { continue };
        let begins = matches!(
            pieces.first(),
            Some(Piece::Array(_) | Piece::Personalities(_) | Piece::Unused(_))
        );
        let quoted = line.get(..line.len() - rest.len()).unwrap_or_default();
        let is_prose = quoted.contains(char::is_alphanumeric);
        if is_prose && !begins && prefix != array_prefix {
            continue;
        }
        let next = after.split_whitespace().next().unwrap_or_default();
        let cut =
            !after.is_empty() && (!after.starts_with(char::is_whitespace) || next.contains('['));
        // A sentence about an array is none.
        let said = match pieces.first() {
            Some(Piece::Array(array)) => !array.members.is_empty() || next.is_empty(),
            _ => true,
        };
        if said || cut {
            return Read { pieces, prefix, broken: cut };
        }
    }
    Read { pieces: Vec::new(), prefix: 0, broken: looks_like_array(line) }
}

/// The rests of a line from each of its words on, with their number.
fn word_starts(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = Some(line);
    let next = move || {
        let now = rest.filter(|text| !text.is_empty())?;
        rest = now.find(char::is_whitespace).and_then(|at| Some(now.get(at..)?.trim_start()));
        Some(now)
    };
    std::iter::from_fn(next).enumerate()
}

/// `md0 :` or `md0:`, whatever follows.
fn looks_like_array(line: &str) -> bool {
    let Some((name, _)) = line.split_once(':') else { return false };
    let name = name.trim_end();
    name.starts_with("md") && !name.contains(char::is_whitespace)
}
