//! Cuts the text of a query into tokens: numbers, durations, strings, words and symbols.
//!
//! Values are read here once and for all (`1_000`, `0x1f`, `017`, `1m0s`, `'it\'s'`), so that no
//! later stage looks at quotes or digits. Words are not told apart here: whether `sum` is an
//! aggregation, a metric or a label depends on where it stands.

use labstat_model::duration;

use crate::error::{Position, QueryError};

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// A number, also `Inf` and `NaN`.
    Number(f64),
    /// A duration in milliseconds.
    Duration(i64),
    /// A quoted text, without its quotes and escapes.
    Text(String),
    /// An identifier or keyword.
    Word,
    /// An operator or bracket.
    Symbol,
}

/// One token and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    /// As written.
    pub(crate) text: &'a str,
    /// Its first byte in the query.
    pub(crate) start: usize,
}

impl Token<'_> {
    /// Whether this is the symbol `text`.
    pub(crate) fn is(&self, text: &str) -> bool {
        self.kind == Kind::Symbol && self.text == text
    }

    /// Whether this is the keyword `text`, in any case. `Inf` and `NaN` are numbers, not words.
    pub(crate) fn is_word(&self, text: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(text)
    }
}

/// Longest first, so that `<=` is not read as `<`.
const SYMBOLS: [&str; 24] = [
    "==", "!=", "<=", ">=", "=~", "!~", "+", "-", "*", "/", "%", "^", "<", ">", "=", "(", ")", "{",
    "}", "[", "]", ",", "@", ":",
];

/// Cuts `query` into tokens, comments and spaces left out.
pub(crate) fn cut(query: &str) -> Result<Vec<Token<'_>>, QueryError> {
    let mut cutter = Cutter { query, at: 0, in_brackets: false };
    let mut tokens = Vec::new();
    while let Some(token) = cutter.next()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Cutter<'a> {
    query: &'a str,
    at: usize,
    /// Between `[` and `]` a colon parts range and step; elsewhere it belongs to a name.
    in_brackets: bool,
}

impl<'a> Cutter<'a> {
    fn rest(&self) -> &'a str {
        self.query.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn error(&self, at: usize, message: impl Into<String>) -> QueryError {
        QueryError::Parse { message: message.into(), position: Some(Position::of(self.query, at)) }
    }

    fn next(&mut self) -> Result<Option<Token<'a>>, QueryError> {
        self.skip_blank();
        let start = self.at;
        let Some(first) = self.peek() else { return Ok(None) };
        let second = self.rest().as_bytes().get(1).copied().unwrap_or(0);
        let kind = if first.is_ascii_digit() || (first == '.' && second.is_ascii_digit()) {
            self.number()?
        } else if is_word_start(first) && !(first == ':' && self.in_brackets) {
            self.word()
        } else if matches!(first, '"' | '\'' | '`') {
            self.string(first)?
        } else {
            self.symbol(first)?
        };
        let text = self.query.get(start..self.at).unwrap_or("");
        Ok(Some(Token { kind, text, start }))
    }

    fn skip_blank(&mut self) {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
            self.at += blank;
            if !self.rest().starts_with('#') {
                return;
            }
            let rest = self.rest();
            self.at += rest.find(['\n', '\r']).unwrap_or(rest.len());
        }
    }

    fn symbol(&mut self, first: char) -> Result<Kind, QueryError> {
        let rest = self.rest();
        let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) else {
            return Err(self.error(self.at, format!("unexpected character: {first:?}")));
        };
        match *symbol {
            "[" => self.in_brackets = true,
            "]" => self.in_brackets = false,
            _ => {}
        }
        self.at += symbol.len();
        Ok(Kind::Symbol)
    }

    fn word(&mut self) -> Kind {
        let in_brackets = self.in_brackets;
        let text = self.take_while(|c| is_word_part(c) && !(in_brackets && c == ':'));
        if text.eq_ignore_ascii_case("inf") {
            Kind::Number(f64::INFINITY)
        } else if text.eq_ignore_ascii_case("nan") {
            Kind::Number(f64::NAN)
        } else {
            Kind::Word
        }
    }

    fn take_while(&mut self, mut keep: impl FnMut(char) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c| !keep(c)).unwrap_or(rest.len());
        self.at += len;
        rest.get(..len).unwrap_or("")
    }

    /// A number or a duration: which of them shows only at its first letter.
    fn number(&mut self) -> Result<Kind, QueryError> {
        let start = self.at;
        let hex = self.rest().starts_with("0x") || self.rest().starts_with("0X");
        let mut before = ' ';
        let text = self.take_while(|c| {
            // A sign belongs to the number only behind its exponent.
            let sign = (c == '+' || c == '-') && !hex && matches!(before, 'e' | 'E');
            before = c;
            c.is_ascii_alphanumeric() || c == '_' || c == '.' || sign
        });
        let kind = read_number(text, hex).map(Kind::Number);
        let kind = kind.or_else(|| duration::parse_ms(text).ok().map(Kind::Duration));
        kind.ok_or_else(|| self.error(start, format!("bad number or duration syntax: {text:?}")))
    }

    fn string(&mut self, quote: char) -> Result<Kind, QueryError> {
        let start = self.at;
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            let Some(c) = self.peek() else {
                return Err(self.error(start, "unterminated quoted string"));
            };
            self.at += c.len_utf8();
            match c {
                c if c == quote => break,
                '\n' if quote != '`' => {
                    return Err(self.error(start, "unterminated quoted string"));
                }
                '\\' if quote != '`' => self.escape(quote, &mut bytes)?,
                c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        let text = String::from_utf8(bytes);
        text.map(Kind::Text).map_err(|_| self.error(start, "string is not valid UTF-8"))
    }

    /// One escape of Go's strings; the backslash has been taken.
    fn escape(&mut self, quote: char, bytes: &mut Vec<u8>) -> Result<(), QueryError> {
        let start = self.at;
        let Some(c) = self.peek() else {
            return Err(self.error(start, "escape sequence not terminated"));
        };
        self.at += c.len_utf8();
        let plain = match c {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' => b'\\',
            'x' => self.digits(start, 16, 2, 0)?,
            '0'..='7' => self.digits(start, 8, 2, c.to_digit(8).unwrap_or(0))?,
            'u' => return self.rune(start, 4, bytes),
            'U' => return self.rune(start, 8, bytes),
            c if c == quote => u8::try_from(c).unwrap_or(b'"'),
            c => return Err(self.error(start, format!("unknown escape sequence {c:?}"))),
        };
        bytes.push(plain);
        Ok(())
    }

    fn digits(
        &mut self,
        start: usize,
        radix: u32,
        len: usize,
        first: u32,
    ) -> Result<u8, QueryError> {
        let value = self.number_of(start, radix, len, first)?;
        u8::try_from(value).map_err(|_| self.error(start, "escape sequence above 255"))
    }

    fn rune(&mut self, start: usize, len: usize, bytes: &mut Vec<u8>) -> Result<(), QueryError> {
        let value = self.number_of(start, 16, len, 0)?;
        let Some(c) = char::from_u32(value) else {
            return Err(self.error(start, "escape sequence is an invalid Unicode code point"));
        };
        bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn number_of(
        &mut self,
        start: usize,
        radix: u32,
        len: usize,
        first: u32,
    ) -> Result<u32, QueryError> {
        let mut value = first;
        for _ in 0..len {
            let digit = self.peek().and_then(|c| c.to_digit(radix));
            let Some(digit) = digit else {
                return Err(self.error(start, "illegal character in escape sequence"));
            };
            self.at += 1;
            // Eight hexadecimal digits at most, so nothing is shifted out.
            value = value.wrapping_mul(radix).wrapping_add(digit);
        }
        Ok(value)
    }
}

fn is_word_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':'
}

fn is_word_part(c: char) -> bool {
    is_word_start(c) || c.is_ascii_digit()
}

/// A number as Go reads it: hexadecimal, octal with a leading zero, or decimal; underscores may
/// part digits.
fn read_number(text: &str, hex: bool) -> Option<f64> {
    if text.starts_with('_') || text.ends_with('_') || text.contains("__") {
        return None;
    }
    let plain = text.replace('_', "");
    if hex {
        return whole(plain.get(2..)?, 16);
    }
    let octal = plain.len() > 1 && plain.starts_with('0');
    if octal && plain.bytes().all(|byte| matches!(byte, b'0'..=b'7')) {
        return whole(&plain, 8);
    }
    if !plain.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte)) {
        return None;
    }
    plain.parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "a number beyond 2^53 is rounded, as in any float")]
fn whole(digits: &str, radix: u32) -> Option<f64> {
    i64::from_str_radix(digits, radix).ok().map(|value| value as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(query: &str) -> Kind {
        let mut tokens = cut(query).unwrap();
        assert_eq!(tokens.len(), 1, "{query}");
        tokens.remove(0).kind
    }

    #[test]
    fn numbers_in_all_their_forms() {
        for (text, value) in [
            ("1", 1.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("1_000", 1000.0),
            ("0x1F", 31.0),
            ("017", 15.0),
            ("089", 89.0),
            ("1e3", 1000.0),
            ("1e-3", 0.001),
            ("0", 0.0),
            ("0e5", 0.0),
        ] {
            assert_eq!(one(text), Kind::Number(value), "{text}");
        }
        assert_eq!(one("inF"), Kind::Number(f64::INFINITY));
    }

    #[test]
    fn durations_also_as_go_prints_them() {
        assert_eq!(one("1m0s"), Kind::Duration(60_000));
        assert_eq!(one("1h30m"), Kind::Duration(5_400_000));
        assert_eq!(one("90d"), Kind::Duration(90 * 86_400_000));
    }

    #[test]
    fn strings_with_escapes() {
        assert_eq!(one(r#""a\"b\n\x41\101\u00e9""#), Kind::Text("a\"b\nAAé".into()));
        assert_eq!(one(r"'it\'s'"), Kind::Text("it's".into()));
        assert_eq!(one(r"`\d`"), Kind::Text(r"\d".into()));
    }

    #[test]
    fn bad_text_is_named_with_its_place() {
        for (query, message) in [
            ("1x", r#"1:1: parse error: bad number or duration syntax: "1x""#),
            ("a\n  \"b", "2:3: parse error: unterminated quoted string"),
            ("a ~ b", "1:3: parse error: unexpected character: '~'"),
            (r#""\xzz""#, "1:3: parse error: illegal character in escape sequence"),
            (r#""\é""#, "1:3: parse error: unknown escape sequence 'é'"),
            (r#""\xff""#, "1:1: parse error: string is not valid UTF-8"),
            ("5m5h", r#"1:1: parse error: bad number or duration syntax: "5m5h""#),
        ] {
            assert_eq!(cut(query).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn colons_part_ranges_but_belong_to_names() {
        let texts = |query| -> Vec<String> {
            cut(query).unwrap().iter().map(|token| token.text.to_owned()).collect()
        };
        assert_eq!(texts("a:b[5m:1m] # tail"), ["a:b", "[", "5m", ":", "1m", "]"]);
    }
}
