//! The regular expressions of Prometheus, which are those of Go, in the words of the `regex` crate.
//!
//! The two agree on nearly all that people write. Where they do not, a text that Go takes would be
//! refused or, worse, mean something else: a brace that repeats nothing is itself in Go; `\d` is
//! ASCII there; `[[a]`, `[a&&b]` and `[+--]` are plain sets of characters; `\<` is `<`; `\Q…\E`
//! quotes; and `a**` is refused. Names of Unicode classes are left to the crate.

use std::iter::Peekable;
use std::str::Chars;

/// The most that a repetition may ask for, in Go.
const REPEAT_MAX: u32 = 1000;

/// `pattern`, which is one of Go's, as the `regex` crate has to be given it; the error is what Go
/// says against it.
pub fn from_go(pattern: &str) -> Result<String, String> {
    let mut translation = Translation {
        whole: pattern,
        rest: pattern.chars().peekable(),
        out: String::with_capacity(pattern.len()),
        open: 0,
        last: Last::Nothing,
    };
    translation.run()?;
    Ok(translation.out)
}

/// Why a class cannot be read.
enum Unclosed {
    Class,
    Other(String),
}

/// What stood last, as far as a repetition behind it is concerned.
enum Last {
    /// A beginning: of the pattern, a group or an alternative.
    Nothing,
    Repeatable,
    /// With how it is written.
    Repetition(String),
}

struct Translation<'a> {
    whole: &'a str,
    rest: Peekable<Chars<'a>>,
    out: String,
    /// Groups that are open.
    open: usize,
    last: Last,
}

impl Translation<'_> {
    fn run(&mut self) -> Result<(), String> {
        while let Some(character) = self.rest.next() {
            let repetition = match character {
                '*' | '+' | '?' => Some(character.to_string()),
                '{' => self.counted()?,
                _ => None,
            };
            match repetition {
                Some(operator) => self.repetition(operator)?,
                None => self.piece(character)?,
            }
        }
        match self.open {
            0 => Ok(()),
            _ => Err(format!("missing closing ): `{}`", self.whole)),
        }
    }

    fn repetition(&mut self, mut operator: String) -> Result<(), String> {
        operator.extend(self.rest.next_if_eq(&'?'));
        match &self.last {
            Last::Nothing => {
                return Err(format!("missing argument to repetition operator: `{operator}`"));
            }
            Last::Repetition(before) => {
                return Err(format!("invalid nested repetition operator: `{before}{operator}`"));
            }
            Last::Repeatable => {}
        }
        self.out.push_str(&operator);
        self.last = Last::Repetition(operator);
        Ok(())
    }

    /// Whatever is no repetition.
    fn piece(&mut self, character: char) -> Result<(), String> {
        let begins = matches!(self.last, Last::Nothing);
        self.last = Last::Repeatable;
        match character {
            '\\' => self.escape()?,
            '[' => self.class()?,
            '{' => self.out.push_str("\\{"),
            '}' => self.out.push_str("\\}"),
            '(' => {
                if self.group()? {
                    self.open += 1;
                    self.last = Last::Nothing;
                } else if begins {
                    self.last = Last::Nothing;
                }
            }
            ')' if self.open == 0 => return Err(format!("unexpected ): `{}`", self.whole)),
            ')' => {
                self.open -= 1;
                self.out.push(')');
            }
            '|' => {
                self.last = Last::Nothing;
                self.out.push('|');
            }
            other => self.out.push(other),
        }
        Ok(())
    }

    /// `{2}`, `{2,}` or `{2,3}` behind its opening brace; `None`, and nothing read, where it is none.
    fn counted(&mut self) -> Result<Option<String>, String> {
        let mut ahead = self.rest.clone();
        let inside: String = ahead.by_ref().take_while(|character| *character != '}').collect();
        let closed = self.rest.clone().nth(inside.chars().count()) == Some('}');
        let (least, most) = match inside.split_once(',') {
            Some((least, "")) => (least, None),
            Some((least, most)) => (least, Some(most)),
            None => (inside.as_str(), None),
        };
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !closed || !digits(least) || !most.is_none_or(digits) {
            return Ok(None);
        }
        let count = |text: &str| text.parse::<u32>().ok().filter(|count| *count <= REPEAT_MAX);
        if count(least).is_none() || most.is_some_and(|most| count(most).is_none()) {
            return Err(format!("invalid repeat count: `{{{inside}}}`"));
        }
        self.rest = ahead;
        Ok(Some(format!("{{{inside}}}")))
    }

    /// What opens a group, which may have a name or flags: of those Go knows four. False for flags
    /// by themselves, which open none.
    fn group(&mut self) -> Result<bool, String> {
        self.out.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            return Ok(true);
        }
        self.out.push('?');
        for character in self.rest.by_ref() {
            self.out.push(character);
            match character {
                'i' | 'm' | 's' | 'U' | '-' => {}
                'P' | '<' | ':' => return Ok(true),
                ')' => return Ok(false),
                other => return Err(format!("invalid or unsupported Perl syntax: `(?{other}`")),
            }
        }
        Ok(true)
    }

    /// What follows a backslash outside of a class.
    fn escape(&mut self) -> Result<(), String> {
        let Some(character) = self.rest.next() else {
            return Err("trailing backslash at end of expression: ``".to_owned());
        };
        match character {
            'Q' => self.quoted(),
            'A' | 'z' | 'B' => self.out.extend(['\\', character]),
            'b' => self.out.push_str("(?-u:\\b)"),
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => {
                self.out.push('[');
                self.out.push_str(ascii_class(character));
                self.out.push(']');
            }
            'p' | 'P' => self.unicode_class(character),
            other => {
                let literal = self.literal(other)?;
                self.push_literal(literal);
            }
        }
        Ok(())
    }

    /// All up to `\E`, or the end, as it stands.
    fn quoted(&mut self) {
        while let Some(character) = self.rest.next() {
            if character == '\\' && self.rest.next_if_eq(&'E').is_some() {
                return;
            }
            self.push_literal(character);
        }
    }

    fn unicode_class(&mut self, kind: char) {
        self.out.extend(['\\', kind]);
        if self.rest.next_if_eq(&'{').is_none() {
            self.out.extend(self.rest.next());
            return;
        }
        self.out.push('{');
        for character in self.rest.by_ref() {
            self.out.push(character);
            if character == '}' {
                return;
            }
        }
    }

    /// The character that an escape stands for.
    fn literal(&mut self, escaped: char) -> Result<char, String> {
        let no = |escaped: char| Err(format!("invalid escape sequence: `\\{escaped}`"));
        match escaped {
            'a' => Ok('\x07'),
            'f' => Ok('\x0c'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\x0b'),
            'x' => self.hexadecimal().map_or_else(|| no('x'), Ok),
            '0'..='7' => {
                // One digit alone would be a reference to a group, except zero.
                if escaped != '0' && !matches!(self.rest.peek(), Some('0'..='7')) {
                    return no(escaped);
                }
                let mut code = escaped.to_digit(8).unwrap_or_default();
                for _ in 0..2 {
                    let Some(digit) = self.rest.next_if(|next| next.is_digit(8)) else { break };
                    code = code * 8 + digit.to_digit(8).unwrap_or_default();
                }
                char::from_u32(code).map_or_else(|| no(escaped), Ok)
            }
            other if other.is_ascii_punctuation() || other == ' ' => Ok(other),
            other => no(other),
        }
    }

    /// `7F` or `{10FFFF}`.
    fn hexadecimal(&mut self) -> Option<char> {
        let digits: String = if self.rest.next_if_eq(&'{').is_some() {
            self.rest.by_ref().take_while(|digit| *digit != '}').collect()
        } else {
            self.rest.by_ref().take(2).collect()
        };
        let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        plain.then(|| u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32))?
    }

    fn push_literal(&mut self, character: char) {
        if regex_syntax::is_meta_character(character) {
            self.out.push('\\');
        }
        self.out.push(character);
    }

    /// A class behind its opening bracket.
    fn class(&mut self) -> Result<(), String> {
        let inside = self.rest.clone();
        self.members().map_err(|error| match error {
            Unclosed::Class => format!("missing closing ]: `[{}`", inside.collect::<String>()),
            Unclosed::Other(error) => error,
        })
    }

    fn members(&mut self) -> Result<(), Unclosed> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            let character = self.rest.next().ok_or(Unclosed::Class)?;
            match character {
                ']' if !first => break,
                '[' if self.rest.peek() == Some(&':') && self.posix_class() => {}
                '\\' if matches!(
                    self.rest.peek(),
                    Some('d' | 'D' | 's' | 'S' | 'w' | 'W' | 'p' | 'P')
                ) =>
                {
                    match self.rest.next() {
                        Some(kind @ ('p' | 'P')) => self.unicode_class(kind),
                        Some(kind @ ('D' | 'S' | 'W')) => {
                            self.out.push('[');
                            self.out.push_str(ascii_class(kind));
                            self.out.push(']');
                        }
                        Some(kind) => self.out.push_str(ascii_class(kind)),
                        None => return Err(Unclosed::Class),
                    }
                }
                other => self.span(other)?,
            }
            first = false;
        }
        self.out.push(']');
        Ok(())
    }

    /// A character of a class, or two with all between them.
    fn span(&mut self, first: char) -> Result<(), Unclosed> {
        let low = self.member(first)?;
        let mut ahead = self.rest.clone();
        let ranged = ahead.next() == Some('-') && ahead.next().is_some_and(|next| next != ']');
        self.push_member(low);
        if ranged {
            self.rest.next();
            let next = self.rest.next().ok_or(Unclosed::Class)?;
            let high = self.member(next)?;
            if high < low {
                let error = format!("invalid character class range: `{low}-{high}`");
                return Err(Unclosed::Other(error));
            }
            self.out.push('-');
            self.push_member(high);
        }
        Ok(())
    }

    fn member(&mut self, character: char) -> Result<char, Unclosed> {
        if character != '\\' {
            return Ok(character);
        }
        let escaped = self.rest.next().ok_or(Unclosed::Class)?;
        self.literal(escaped).map_err(Unclosed::Other)
    }

    fn push_member(&mut self, character: char) {
        // Within a class `&`, `-` and `~` mean something when they are doubled.
        if character.is_ascii_punctuation() {
            self.out.push('\\');
        }
        self.out.push(character);
    }

    /// `[:alpha:]` behind its opening bracket; false, and nothing read, where it is none.
    fn posix_class(&mut self) -> bool {
        let rest: String = self.rest.clone().take("[:^xdigit:]".len()).collect();
        let Some(end) = rest.find(":]") else { return false };
        let Some(name) = rest.get(1..end) else { return false };
        let plain = name.trim_start_matches('^').bytes().all(|byte| byte.is_ascii_lowercase());
        if plain {
            self.out.push('[');
            for _ in 0..end + 2 {
                self.out.extend(self.rest.next());
            }
        }
        plain
    }
}

/// The inside of a class of ASCII.
fn ascii_class(kind: char) -> &'static str {
    match kind {
        'd' => "0-9",
        'D' => "^0-9",
        's' => r"\t\n\x0C\r ",
        'S' => r"^\t\n\x0C\r ",
        'w' => "0-9A-Za-z_",
        _ => "^0-9A-Za-z_",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    fn matches(pattern: &str, value: &str) -> bool {
        let translated = from_go(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        let regex = Regex::new(&format!("^(?s:{translated})$"));
        regex.unwrap_or_else(|error| panic!("{pattern}: {error}")).is_match(value)
    }

    #[test]
    fn what_go_reads_otherwise_is_read_as_in_go() {
        for (pattern, yes, no) in [
            ("a{b", "a{b", "ab"),
            ("a{,3}", "a{,3}", "aaa"),
            ("a}", "a}", "a"),
            ("x{2}", "xx", "x{2}"),
            ("x{1,2}?", "x", "xxx"),
            (r"\d+", "42", "٤٢"),
            (r"\w", "a", "ä"),
            (r"[\d\W]", "-", "a"),
            (r"\s", " ", "\u{a0}"),
            ("[[a]", "[", "]"),
            ("[a&&b]", "&", "c"),
            ("[+--]", ",", "a"),
            ("[]a]", "]", "["),
            ("[^]a]", "b", "]"),
            ("[a-]", "-", "b"),
            ("[[:alpha:]_]", "x", "1"),
            (r"\<", "<", ""),
            (r"a\Q.*\Eb", "a.*b", "axyb"),
            (r"\x41\x{e4}\101", "AäA", "A"),
            (r"\pL", "ä", "1"),
            (r"\p{Greek}", "α", "a"),
            (r"[\p{Greek}x]", "x", "a"),
            ("(?i:ab)", "AB", "A"),
            ("(?P<x>a)", "a", "b"),
            (r"a\b.*", "a b", "ab"),
            (r"a\.b", "a.b", "axb"),
            ("10.0.0.1:.*", "10.0.0.1:80", "10"),
        ] {
            assert!(matches(pattern, yes), "{pattern} and {yes}");
            assert!(!matches(pattern, no), "{pattern} and {no}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused_in_its_words() {
        for (pattern, error) in [
            ("a**", "invalid nested repetition operator: `**`"),
            (".+?+?", "invalid nested repetition operator: `+?+?`"),
            ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
            ("x{1001}", "invalid repeat count: `{1001}`"),
            ("1|+Inf", "missing argument to repetition operator: `+`"),
            ("(*)", "missing argument to repetition operator: `*`"),
            ("(?i)*?", "missing argument to repetition operator: `*?`"),
            (r"\1", r"invalid escape sequence: `\1`"),
            (r"\Z", r"invalid escape sequence: `\Z`"),
            (r"\u0041", r"invalid escape sequence: `\u`"),
            ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
            (r"\", "trailing backslash at end of expression: ``"),
            ("x[a", "missing closing ]: `[a`"),
            (r"[\", r"missing closing ]: `[\`"),
            ("[a-", "missing closing ]: `[a-`"),
            ("[b-a]", "invalid character class range: `b-a`"),
            ("x(a", "missing closing ): `x(a`"),
            ("a)|(b", "unexpected ): `a)|(b`"),
        ] {
            assert_eq!(from_go(pattern), Err(error.to_owned()), "{pattern}");
        }
    }
}
