//! Cuts the text of a query into tokens, one at a time, as the parser asks for them: so that of
//! two errors the one is told that comes first.
//!
//! What a character means depends on where it stands. Within braces every word is a label, within
//! brackets a colon parts range and step, and elsewhere it belongs to names.

use super::quote::{quote, quote_char, unicode};
use super::{SyntaxError, number};
use crate::expr::{AggregateOp, BinaryOp};

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    End,
    Identifier,
    /// A name with a colon in it.
    MetricIdentifier,
    Number,
    Duration,
    /// With its quotes and escapes.
    Text,
    Comma,
    Colon,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    /// `=`.
    Equal,
    /// `=~`.
    Regex,
    /// `!~`.
    NotRegex,
    At,
    Binary(BinaryOp),
    Aggregator(AggregateOp),
    Keyword(Keyword),
    /// `start`.
    Start,
    /// `end`.
    Finish,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Offset,
    Anchored,
    Smoothed,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Bool,
}

/// One token and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    /// As written.
    pub(super) text: &'a str,
    /// Its first byte in the query.
    pub(super) start: usize,
}

impl Token<'_> {
    /// How an error names it.
    pub(super) fn described(&self) -> String {
        /// Characters of a literal that are shown.
        const SHOWN: usize = 10;

        let text = self.text;
        let literal = || match text.char_indices().nth(SHOWN) {
            Some((len, _)) => format!("{}...", quote(text.get(..len).unwrap_or(text))),
            None => quote(text),
        };
        match self.kind {
            Kind::End => "end of input".to_owned(),
            Kind::Identifier => format!("identifier {}", quote(text)),
            Kind::MetricIdentifier => format!("metric identifier {}", quote(text)),
            Kind::Number => format!("number {}", literal()),
            Kind::Duration => format!("duration {}", literal()),
            Kind::Text => format!("string {}", literal()),
            Kind::Binary(_) | Kind::Regex | Kind::NotRegex | Kind::At => format!("<op:{text}>"),
            Kind::Aggregator(_) => format!("<aggr:{text}>"),
            Kind::Keyword(_) => format!("<{text}>"),
            _ => quote(text),
        }
    }

    /// Whether this is the word `text`, in any case, and not a keyword.
    pub(super) fn is_word(&self, text: &str) -> bool {
        self.kind == Kind::Identifier && self.text.eq_ignore_ascii_case(text)
    }
}

/// What a word is where keywords are known.
fn word_kind(word: &str) -> Kind {
    const LEN_MAX: usize = 12;

    let mut buffer = [0; LEN_MAX];
    let lower = buffer.get_mut(..word.len()).map(|lower| {
        lower.copy_from_slice(word.as_bytes());
        lower.make_ascii_lowercase();
        &*lower
    });
    let keyword = lower.and_then(|lower| std::str::from_utf8(lower).ok()).and_then(keyword);
    match keyword {
        Some(kind) => kind,
        None if word.contains(':') => Kind::MetricIdentifier,
        None => Kind::Identifier,
    }
}

fn keyword(lower: &str) -> Option<Kind> {
    if let Some(op) = AggregateOp::named(lower) {
        return Some(Kind::Aggregator(op));
    }
    Some(match lower {
        "and" => Kind::Binary(BinaryOp::And),
        "or" => Kind::Binary(BinaryOp::Or),
        "unless" => Kind::Binary(BinaryOp::Unless),
        "atan2" => Kind::Binary(BinaryOp::Atan2),
        "offset" => Kind::Keyword(Keyword::Offset),
        "anchored" => Kind::Keyword(Keyword::Anchored),
        "smoothed" => Kind::Keyword(Keyword::Smoothed),
        "by" => Kind::Keyword(Keyword::By),
        "without" => Kind::Keyword(Keyword::Without),
        "on" => Kind::Keyword(Keyword::On),
        "ignoring" => Kind::Keyword(Keyword::Ignoring),
        "group_left" => Kind::Keyword(Keyword::GroupLeft),
        "group_right" => Kind::Keyword(Keyword::GroupRight),
        "fill" => Kind::Keyword(Keyword::Fill),
        "fill_left" => Kind::Keyword(Keyword::FillLeft),
        "fill_right" => Kind::Keyword(Keyword::FillRight),
        "bool" => Kind::Keyword(Keyword::Bool),
        "start" => Kind::Start,
        "end" => Kind::Finish,
        "inf" | "nan" => Kind::Number,
        _ => return None,
    })
}

/// Words that stand in durations.
const DURATION_WORDS: [&str; 6] = ["step", "range", "min", "max", "min_of", "max_of"];

const DECIMAL: &[u8] = b"0123456789";
const HEXADECIMAL: &[u8] = b"0123456789abcdefABCDEF";

/// Where in the text the lexer is, and within what.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// Where the pending token begins.
    start: usize,
    parens: usize,
    in_braces: bool,
    in_brackets: bool,
    /// Behind a bracket and before any number, where only a duration may come.
    wants_duration: bool,
    had_colon: bool,
    had_duration: bool,
    /// In the notation of series an `x` after a number stands for times.
    in_series: bool,
}

/// The number that a text in the notation of series begins with, and what follows it. None is
/// hexadecimal, for its `x`.
pub(super) fn series_number(text: &str) -> Result<(f64, &str), String> {
    let mut lexer = Lexer { in_series: true, ..Lexer::new(text) };
    if !lexer.scan_number() {
        return Err(format!("bad number syntax: {}", quote(lexer.pending())));
    }
    Ok((number::value(lexer.pending())?, lexer.rest()))
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            start: 0,
            parens: 0,
            in_braces: false,
            in_brackets: false,
            wants_duration: false,
            had_colon: false,
            had_duration: false,
            in_series: false,
        }
    }

    /// The next token; at the end of the text, [`Kind::End`].
    pub(super) fn next(&mut self) -> Result<Token<'a>, SyntaxError> {
        self.skip_blank();
        self.start = self.at;
        if self.in_braces {
            self.in_braces()
        } else if self.wants_duration {
            self.in_duration()
        } else {
            self.statement()
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn peek_byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += c.map_or(0, char::len_utf8);
        c
    }

    /// Takes the next byte if it is one of these.
    fn accept(&mut self, set: &[u8]) -> bool {
        let found = self.peek_byte().is_some_and(|byte| set.contains(&byte));
        self.at += usize::from(found);
        found
    }

    fn pending(&self) -> &'a str {
        self.text.get(self.start..self.at).unwrap_or("")
    }

    fn token(&mut self, kind: Kind) -> Token<'a> {
        let token = Token { kind, text: self.pending(), start: self.start };
        self.start = self.at;
        token
    }

    fn error(&self, message: impl Into<String>) -> SyntaxError {
        SyntaxError::new(self.start, message)
    }

    fn skip_blank(&mut self) {
        loop {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
            let rest = self.rest();
            if self.wants_duration || !rest.starts_with('#') {
                return;
            }
            self.at += rest.find(['\n', '\r']).unwrap_or(rest.len());
        }
    }

    fn statement(&mut self) -> Result<Token<'a>, SyntaxError> {
        let Some(c) = self.peek() else { return self.end() };
        let next = self.rest().as_bytes().get(1).copied();
        if c.is_ascii_digit() || (c == '.' && next.is_some_and(|byte| byte.is_ascii_digit())) {
            return self.number_or_duration();
        }
        if is_word_start(c) || c == ':' {
            return if self.in_brackets { self.word_in_brackets(c) } else { Ok(self.word()) };
        }
        if matches!(c, '"' | '\'' | '`') {
            return self.string();
        }
        self.take();
        self.symbol(c)
    }

    fn end(&mut self) -> Result<Token<'a>, SyntaxError> {
        if self.parens != 0 {
            return Err(self.error("unclosed left parenthesis"));
        }
        if self.in_brackets {
            return Err(self.error("unclosed left bracket"));
        }
        Ok(self.token(Kind::End))
    }

    /// A bracket or an operator, of which the first character has been taken.
    fn symbol(&mut self, c: char) -> Result<Token<'a>, SyntaxError> {
        let kind = match c {
            ',' => Kind::Comma,
            '*' => Kind::Binary(BinaryOp::Mul),
            '/' => Kind::Binary(BinaryOp::Div),
            '%' => Kind::Binary(BinaryOp::Mod),
            '+' => Kind::Binary(BinaryOp::Add),
            '-' => Kind::Binary(BinaryOp::Sub),
            '^' => Kind::Binary(BinaryOp::Pow),
            '@' => Kind::At,
            '=' if self.accept(b"=") => Kind::Binary(BinaryOp::Eq),
            '=' if self.peek() == Some('~') => {
                return Err(self.error("unexpected character after '=': '~'"));
            }
            '=' => Kind::Equal,
            '!' if self.accept(b"=") => Kind::Binary(BinaryOp::Ne),
            '!' => {
                let found = quote_char(self.peek());
                return Err(self.error(format!("unexpected character after '!': {found}")));
            }
            '<' if self.accept(b"=") => Kind::Binary(BinaryOp::Le),
            '<' if self.accept(b"/") => Kind::Binary(BinaryOp::TrimUpper),
            '<' => Kind::Binary(BinaryOp::Lt),
            '>' if self.accept(b"=") => Kind::Binary(BinaryOp::Ge),
            '>' if self.accept(b"/") => Kind::Binary(BinaryOp::TrimLower),
            '>' => Kind::Binary(BinaryOp::Gt),
            '(' => {
                self.parens += 1;
                Kind::LeftParen
            }
            ')' => return self.right_paren(),
            '{' => {
                self.in_braces = true;
                Kind::LeftBrace
            }
            '[' if self.in_brackets => return Err(self.error("unexpected left bracket '['")),
            '[' => {
                self.in_brackets = true;
                self.wants_duration = true;
                self.had_colon = false;
                Kind::LeftBracket
            }
            ']' if !self.in_brackets => return Err(self.error("unexpected right bracket ']'")),
            ']' => return Ok(self.right_bracket()),
            c => {
                let found = quote_char(Some(c));
                return Err(self.error(format!("unexpected character: {found}")));
            }
        };
        Ok(self.token(kind))
    }

    fn right_paren(&mut self) -> Result<Token<'a>, SyntaxError> {
        let token = self.token(Kind::RightParen);
        let parens = self.parens.checked_sub(1);
        self.parens = parens.ok_or_else(|| self.error("unexpected right parenthesis ')'"))?;
        Ok(token)
    }

    fn right_bracket(&mut self) -> Token<'a> {
        self.in_brackets = false;
        self.wants_duration = false;
        self.token(Kind::RightBracket)
    }

    /// Behind a bracket, before any number.
    fn in_duration(&mut self) -> Result<Token<'a>, SyntaxError> {
        let Some(c) = self.peek() else {
            return Err(self.error("unexpected end of input in duration expression"));
        };
        let next = self.rest().as_bytes().get(1).copied();
        if c.is_ascii_digit() || (c == '.' && next.is_some_and(|byte| byte.is_ascii_digit())) {
            return self.number_or_duration();
        }
        if let Some(token) = self.duration_word() {
            return Ok(token);
        }
        self.take();
        match c {
            ']' => Ok(self.right_bracket()),
            ':' => {
                let token = self.token(Kind::Colon);
                if !self.had_duration {
                    let message = "unexpected colon before duration in duration expression";
                    return Err(self.error(message));
                }
                self.had_colon = true;
                Ok(token)
            }
            '(' | ')' | '+' | '-' | '*' | '/' | '%' | '^' | ',' => self.symbol(c),
            c => {
                let found = quote_char(Some(c));
                let message = format!("unexpected character in duration expression: {found}");
                Err(self.error(message))
            }
        }
    }

    /// One of the words that stand in durations, if it comes next.
    fn duration_word(&mut self) -> Option<Token<'a>> {
        let rest = self.rest();
        let len = rest.find(|c| !is_word_part(c)).unwrap_or(rest.len());
        let word = rest.get(..len)?;
        let known = DURATION_WORDS.iter().any(|known| word.eq_ignore_ascii_case(known));
        if !known {
            return None;
        }
        self.wants_duration = false;
        self.had_duration = true;
        self.at += len;
        Some(self.token(Kind::Identifier))
    }

    fn word_in_brackets(&mut self, c: char) -> Result<Token<'a>, SyntaxError> {
        if let Some(token) = self.duration_word() {
            return Ok(token);
        }
        let found = quote_char(Some(c));
        if self.had_colon {
            return Err(self.error(format!("unexpected colon {found}")));
        }
        if c != ':' {
            return Err(self.error(format!("unexpected character: {found}, expected ':'")));
        }
        self.had_colon = true;
        self.take();
        Ok(self.token(Kind::Colon))
    }

    fn word(&mut self) -> Token<'a> {
        let rest = self.rest();
        let len = rest.find(|c| !is_word_part(c) && c != ':').unwrap_or(rest.len());
        self.at += len;
        let mut kind = word_kind(self.pending());
        // These became keywords late: as names they are still metrics.
        let is_late =
            matches!(kind, Kind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight));
        if is_late && !self.rest().trim_start_matches([' ', '\t', '\n', '\r']).starts_with('(') {
            kind = Kind::Identifier;
        }
        self.token(kind)
    }

    fn in_braces(&mut self) -> Result<Token<'a>, SyntaxError> {
        let Some(c) = self.peek() else {
            return Err(self.error("unexpected end of input inside braces"));
        };
        if is_word_start(c) {
            let rest = self.rest();
            self.at += rest.find(|c| !is_word_part(c)).unwrap_or(rest.len());
            return Ok(self.token(Kind::Identifier));
        }
        if matches!(c, '"' | '\'' | '`') {
            return self.string();
        }
        self.take();
        let kind = match c {
            ',' => Kind::Comma,
            '=' if self.accept(b"~") => Kind::Regex,
            '=' => Kind::Equal,
            '!' if self.accept(b"~") => Kind::NotRegex,
            '!' if self.accept(b"=") => Kind::Binary(BinaryOp::Ne),
            '!' => {
                let found = quote_char(self.peek());
                let message = format!("unexpected character after '!' inside braces: {found}");
                return Err(self.error(message));
            }
            '{' => return Err(self.error("unexpected left brace '{'")),
            '}' => {
                self.in_braces = false;
                Kind::RightBrace
            }
            c => {
                let found = quote_char(Some(c));
                return Err(self.error(format!("unexpected character inside braces: {found}")));
            }
        };
        Ok(self.token(kind))
    }

    /// A number or a duration: which of them shows only at its first letter.
    fn number_or_duration(&mut self) -> Result<Token<'a>, SyntaxError> {
        if self.in_brackets {
            self.wants_duration = false;
            self.had_duration = true;
        }
        if self.scan_number() {
            return Ok(self.token(Kind::Number));
        }
        if self.scan_units() {
            return Ok(self.token(Kind::Duration));
        }
        let found = quote(self.pending());
        Err(self.error(format!("bad number or duration syntax: {found}")))
    }

    /// Takes what looks like a number; false, at the byte that does not, when it is none.
    fn scan_number(&mut self) -> bool {
        let hexadecimal = !self.in_series && self.accept(b"0") && self.accept(b"xX");
        let digits = if hexadecimal { HEXADECIMAL } else { DECIMAL };
        self.accept(if hexadecimal { b"_" } else { b"." });
        let (mut had_dot, mut had_exponent) = (self.pending().starts_with('.'), false);
        loop {
            while self.accept(digits) {}
            if self.accept(b".") {
                if had_dot || hexadecimal || self.accept(b"_.") {
                    return false;
                }
                had_dot = true;
            } else if !hexadecimal && self.accept(b"eE") {
                if had_exponent {
                    return false;
                }
                had_exponent = true;
                self.accept(b"+-");
                if self.accept(b"._eE") || self.peek().is_none() {
                    return false;
                }
            } else if self.accept(b"_") {
                if self.accept(b"._") || (!hexadecimal && self.accept(b"eE")) {
                    return false;
                }
                if self.peek().is_none() {
                    return false;
                }
            } else {
                let is_repeated = self.in_series && self.peek() == Some('x');
                return is_repeated || !self.peek().is_some_and(is_word_part);
            }
        }
    }

    /// Takes the units of a duration whose first number has been taken.
    fn scan_units(&mut self) -> bool {
        if !self.accept(b"smhdwy") {
            return false;
        }
        // Milliseconds; units that are none show when the duration is read.
        self.accept(b"s");
        while self.accept(DECIMAL) {
            while self.accept(DECIMAL) {}
            if !self.accept(b"smhdw") {
                return false;
            }
            self.accept(b"s");
        }
        let ends = !self.peek().is_some_and(is_word_part);
        if !ends {
            self.take();
        }
        ends
    }

    fn string(&mut self) -> Result<Token<'a>, SyntaxError> {
        let quote = self.take().unwrap_or('"');
        let raw = quote == '`';
        loop {
            match self.take() {
                None if raw => return Err(self.error("unterminated raw string")),
                None => return Err(self.error("unterminated quoted string")),
                Some('\n') if !raw => return Err(self.error("unterminated quoted string")),
                Some('\\') if !raw => self.escape(quote)?,
                // What a broken byte became on its way here.
                Some(char::REPLACEMENT_CHARACTER) => {
                    return Err(self.error("invalid UTF-8 rune"));
                }
                Some(c) if c == quote => return Ok(self.token(Kind::Text)),
                Some(_) => {}
            }
        }
    }

    /// One escape of Go's strings; the backslash has been taken.
    fn escape(&mut self, quote: char) -> Result<(), SyntaxError> {
        let first = self.take();
        let (mut value, radix, digits, max) = match first {
            None => return Err(self.error("escape sequence not terminated")),
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => return Ok(()),
            Some(c) if c == quote => return Ok(()),
            Some(c @ '0'..='7') => (c.to_digit(8).unwrap_or(0), 8, 2, 255),
            Some('x') => (0, 16, 2, 255),
            Some('u') => (0, 16, 4, u32::from(char::MAX)),
            Some('U') => (0, 16, 8, u32::from(char::MAX)),
            Some(c) => {
                return Err(self.error(format!("unknown escape sequence {}", unicode(c))));
            }
        };
        for _ in 0..digits {
            let Some(c) = self.take() else {
                return Err(self.error("escape sequence not terminated"));
            };
            let Some(digit) = c.to_digit(radix) else {
                let found = unicode(c);
                return Err(self.error(format!("illegal character {found} in escape sequence")));
            };
            // Eight hexadecimal digits at most, so nothing is shifted out.
            value = value.wrapping_mul(radix).wrapping_add(digit);
        }
        if value > max || (0xD800..0xE000).contains(&value) {
            return Err(self.error("escape sequence is an invalid Unicode code point"));
        }
        Ok(())
    }
}

fn is_word_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn is_word_part(c: char) -> bool {
    is_word_start(c) || c.is_ascii_digit()
}
