//! A template cut into texts and actions, and an action cut into tokens.

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Action { line: usize, tokens: Vec<Token> },
}

/// A token of an action.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A name: a keyword, a function, `true`, `nil`.
    Word(String),
    /// `$` and a name.
    Variable(String),
    /// `.` and a name.
    Field(String),
    Dot,
    Int(i64),
    Float(f64),
    Text(String),
    Open,
    Close,
    Pipe,
    Comma,
    Assign,
    Declare,
    /// White space, which parts operands: `.a .b` is two, `.a.b` is one.
    Space,
}

/// A line and what is wrong there.
pub(super) type Problem = (usize, String);

/// What Go trims at `{{-` and `-}}`.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// The pieces of a template.
pub(super) fn pieces(source: &str) -> Result<Vec<Piece>, Problem> {
    let mut pieces = Vec::new();
    let mut rest = source;
    let mut line = 1;
    let mut trim_next = false;
    while let Some((text, tail)) = rest.split_once("{{") {
        let trims_before = tail.starts_with("- ")
            || tail.strip_prefix('-').is_some_and(|tail| tail.starts_with(SPACE));
        push_text(&mut pieces, text, trim_next, trims_before);
        line += lines(text);
        let body = if trims_before { tail.get(1..).unwrap_or_default() } else { tail };
        let (tokens, after, trims_after) = action(body, line, trims_before)?;
        line += lines(body.get(..body.len() - after.len()).unwrap_or_default());
        if let Some(tokens) = tokens {
            pieces.push(Piece::Action { line, tokens });
        }
        trim_next = trims_after;
        rest = after;
    }
    push_text(&mut pieces, rest, trim_next, false);
    Ok(pieces)
}

fn lines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

fn push_text(pieces: &mut Vec<Piece>, text: &str, trim_start: bool, trim_end: bool) {
    let text = if trim_start { text.trim_start_matches(SPACE) } else { text };
    let text = if trim_end { text.trim_end_matches(SPACE) } else { text };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// The tokens of the action at the start of `body` (`None` for a comment), what follows it, and
/// whether the white space after it goes.
fn action(
    body: &str,
    line: usize,
    trimmed: bool,
) -> Result<(Option<Vec<Token>>, &str, bool), Problem> {
    let start = if trimmed { body.trim_start_matches(SPACE) } else { body };
    if let Some(comment) = start.strip_prefix("/*") {
        let Some((_, tail)) = comment.split_once("*/") else {
            return Err((line, "unclosed comment".to_owned()));
        };
        // Nothing stands between a comment and the end but what trims.
        let trims = tail.strip_prefix(SPACE).and_then(|tail| tail.strip_prefix("-}}"));
        return match (tail.strip_prefix("}}"), trims) {
            (Some(after), _) => Ok((None, after, false)),
            (None, Some(after)) => Ok((None, after, true)),
            (None, None) => Err((line, "comment ends before closing delimiter".to_owned())),
        };
    }
    let mut tokens = Vec::new();
    let mut rest = body;
    loop {
        if let Some((after, trims)) = end(rest) {
            return Ok((Some(tokens), after, trims));
        }
        let Some(first) = rest.chars().next() else {
            return Err((line, "unclosed action".to_owned()));
        };
        let (token, tail) = token(first, rest).map_err(|message| (line, message))?;
        if token != Token::Space || tokens.last() != Some(&Token::Space) {
            tokens.push(token);
        }
        rest = tail;
    }
}

/// What follows a closing delimiter at the start of `text`, and whether it trims.
fn end(text: &str) -> Option<(&str, bool)> {
    if let Some(after) = text.strip_prefix("}}") {
        return Some((after, false));
    }
    let after = text.strip_prefix(SPACE)?.trim_start_matches(SPACE);
    match after.strip_prefix("-}}") {
        Some(after) => Some((after, true)),
        None => after.strip_prefix("}}").map(|after| (after, false)),
    }
}

fn token(first: char, rest: &str) -> Result<(Token, &str), String> {
    let single = |token| Ok((token, rest.get(first.len_utf8()..).unwrap_or_default()));
    match first {
        ' ' | '\t' | '\r' | '\n' => Ok((Token::Space, rest.trim_start_matches(SPACE))),
        '(' => single(Token::Open),
        ')' => single(Token::Close),
        '|' => single(Token::Pipe),
        ',' => single(Token::Comma),
        '=' => single(Token::Assign),
        ':' => match rest.strip_prefix(":=") {
            Some(tail) => Ok((Token::Declare, tail)),
            None => Err("expected :=".to_owned()),
        },
        '"' => quoted(rest),
        '`' => match rest.get(1..).unwrap_or_default().split_once('`') {
            Some((text, tail)) => Ok((Token::Text(text.to_owned()), tail)),
            None => Err("unterminated raw quoted string".to_owned()),
        },
        '\'' => character(rest),
        '$' => {
            let (name, tail) = word(rest.get(1..).unwrap_or_default());
            Ok((Token::Variable(format!("${name}")), tail))
        }
        '.' if !rest
            .get(1..)
            .is_some_and(|tail| tail.starts_with(|c: char| c.is_ascii_digit())) =>
        {
            let (name, tail) = word(rest.get(1..).unwrap_or_default());
            let token = if name.is_empty() { Token::Dot } else { Token::Field(name.to_owned()) };
            Ok((token, tail))
        }
        '+' | '-' | '.' | '0'..='9' => numeral(rest),
        c if c.is_alphabetic() || c == '_' => {
            let (name, tail) = word(rest);
            Ok((Token::Word(name.to_owned()), tail))
        }
        c => Err(format!("unexpected {c:?} in command")),
    }
}

fn word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    text.split_at(end)
}

fn numeral(text: &str) -> Result<(Token, &str), String> {
    let mut end = 0;
    let mut previous = ' ';
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text).as_bytes();
    let hex = matches!(unsigned, [b'0', b'x' | b'X', ..]);
    for c in text.chars() {
        let sign = matches!(c, '+' | '-');
        let after_exponent = matches!(previous, 'e' | 'E') && !hex;
        if !(c.is_ascii_alphanumeric()
            || c == '.'
            || c == '_'
            || (sign && (end == 0 || after_exponent)))
        {
            break;
        }
        previous = c;
        end += c.len_utf8();
    }
    let (text, tail) = text.split_at(end);
    let bad = || format!("bad number syntax: {text:?}");
    if let Some(token) = imaginary(text) {
        return Ok((token, tail));
    }
    if text.contains("__") {
        return Err(bad());
    }
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let lower = digits.to_ascii_lowercase();
    let radix = [("0x", 16), ("0b", 2), ("0o", 8)];
    let special = radix.iter().find_map(|(start, radix)| Some((lower.strip_prefix(start)?, radix)));
    let integer = match special {
        Some((digits, 16)) if digits.contains(['p', '.']) => {
            let value = hexadecimal(digits).ok_or_else(bad)?;
            return Ok((Token::Float(if negative { -value } else { value }), tail));
        }
        Some((digits, radix)) => Some(i64::from_str_radix(digits, *radix).map_err(|_| bad())?),
        None => match lower.strip_prefix('0').filter(|octal| !octal.is_empty()) {
            Some(octal) => i64::from_str_radix(octal, 8).ok(),
            None => match (negative, lower.parse::<u64>()) {
                (true, Ok(size)) => 0_i64.checked_sub_unsigned(size),
                (false, Ok(size)) => i64::try_from(size).ok(),
                (_, Err(_)) => None,
            },
        },
    };
    if let Some(integer) = integer {
        let integer: i64 = integer;
        let integer = if negative && integer > 0 { -integer } else { integer };
        return Ok((Token::Int(integer), tail));
    }
    let only_digits = lower.bytes().all(|byte| byte.is_ascii_digit());
    if only_digits && lower.parse::<u64>().is_err() {
        return Err(bad());
    }
    // Rust also reads words such as "inf" as numbers; a numeral begins with a digit or a dot.
    let starts = lower.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let float: f64 = lower.parse().ok().filter(|_| starts).ok_or_else(bad)?;
    Ok((Token::Float(if negative { -float } else { float }), tail))
}

/// `1i`: a number nobody needs, which Go prints in parentheses.
fn imaginary(text: &str) -> Option<Token> {
    let value: f64 = text.strip_suffix('i')?.replace('_', "").parse().ok()?;
    let text = labstat_model::number::format_v(value);
    Some(Token::Text(format!("(0{}{text}i)", if value < 0.0 { "" } else { "+" })))
}

/// A hexadecimal float without its prefix: `1.8p3` is 12.
fn hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, power) = text.split_once('p')?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut value = 0.0;
    for c in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(c.to_digit(16)?);
    }
    let power: i32 = power.parse().ok()?;
    let digits = i32::try_from(fraction.len()).ok()?;
    Some(value * 2_f64.powi(power.checked_sub(digits.checked_mul(4)?)?))
}

fn quoted(text: &str) -> Result<(Token, &str), String> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Text(out), text.get(at + 1..).unwrap_or_default())),
            '\n' => break,
            '\\' => out.push(escape(&mut chars)?),
            c => out.push(c),
        }
    }
    Err("unterminated quoted string".to_owned())
}

/// A character constant is a number in Go.
fn character(text: &str) -> Result<(Token, &str), String> {
    let bad = || "malformed character constant".to_owned();
    let mut chars = text.char_indices().skip(1);
    let c = match chars.next().ok_or_else(bad)?.1 {
        '\\' => escape(&mut chars)?,
        c => c,
    };
    match chars.next() {
        Some((at, '\'')) => {
            Ok((Token::Int(i64::from(u32::from(c))), text.get(at + 1..).unwrap_or_default()))
        }
        _ => Err(bad()),
    }
}

fn escape(chars: &mut impl Iterator<Item = (usize, char)>) -> Result<char, String> {
    let bad = || "invalid escape in a quoted string".to_owned();
    let Some((_, c)) = chars.next() else { return Err(bad()) };
    let mut code = |len: usize, first: Option<char>, radix: u32| -> Result<char, String> {
        let mut value = first.and_then(|c| c.to_digit(radix)).unwrap_or(0);
        for _ in 0..len {
            let digit = chars.next().and_then(|(_, c)| c.to_digit(radix)).ok_or_else(bad)?;
            value = value.saturating_mul(radix).saturating_add(digit);
        }
        char::from_u32(value).ok_or_else(bad)
    };
    match c {
        'n' => Ok('\n'),
        't' => Ok('\t'),
        'r' => Ok('\r'),
        'a' => Ok('\u{7}'),
        'b' => Ok('\u{8}'),
        'f' => Ok('\u{c}'),
        'v' => Ok('\u{b}'),
        '\\' | '"' | '\'' => Ok(c),
        'x' => code(2, None, 16),
        'u' => code(4, None, 16),
        'U' => code(8, None, 16),
        '0'..='7' => code(2, Some(c), 8),
        _ => Err(bad()),
    }
}
