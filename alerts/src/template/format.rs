//! `printf`: Go's verbs for the values a template can have.

use labstat_model::number;

use super::render::OUTPUT_LEN_MAX;
use super::value::Value;

/// The widest field and the most digits a verb may ask for; Go stops at a million.
const WIDTH_MAX: usize = 1_000;

/// A verb with its flags.
#[derive(Debug, Default, Clone)]
struct Verb {
    minus: bool,
    plus: bool,
    zero: bool,
    space: bool,
    sharp: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// The arguments of a call, and which of them is next.
struct Arguments<'a> {
    all: &'a [Value],
    next: usize,
    /// Whether one was asked for by its number, as in `%[2]d`.
    reordered: bool,
    is_bad: bool,
}

impl Arguments<'_> {
    fn take(&mut self) -> Option<&Value> {
        let value = self.all.get(self.next);
        self.next += usize::from(value.is_some());
        value
    }

    /// Follows `[n]` at the start of a text; what comes after it.
    fn index<'f>(&mut self, text: &'f str) -> &'f str {
        let Some(body) = text.strip_prefix('[') else { return text };
        self.reordered = true;
        let Some((number, after)) = body.split_once(']') else {
            self.is_bad = true;
            return text;
        };
        match number.parse::<usize>().ok().filter(|at| (1..=self.all.len()).contains(at)) {
            Some(at) => self.next = at - 1,
            None => self.is_bad = true,
        }
        after
    }
}

/// `format` with its verbs replaced by `arguments`. It stops where the text is longer than any may be.
pub(super) fn sprintf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut arguments = Arguments { all: arguments, next: 0, reordered: false, is_bad: false };
    let mut rest = format;
    while let Some((text, tail)) = rest.split_once('%') {
        out.push_str(text);
        arguments.is_bad = false;
        let (verb, tail) = flags(tail, &mut arguments);
        let mut chars = tail.chars();
        let failed = |out: &mut String, letter: char, why: &str| {
            out.extend(["%!", letter.encode_utf8(&mut [0; 4]), why]);
        };
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(letter) if arguments.is_bad => failed(&mut out, letter, "(BADINDEX)"),
            Some(letter) => match arguments.take() {
                Some(value) => verb.write(&mut out, letter, value),
                None => failed(&mut out, letter, "(MISSING)"),
            },
        }
        rest = chars.as_str();
        if out.len() > OUTPUT_LEN_MAX {
            return out;
        }
    }
    out.push_str(rest);
    let extra: Vec<String> = arguments.all.iter().skip(arguments.next).map(described).collect();
    if !extra.is_empty() && !arguments.reordered {
        out.push_str("%!(EXTRA ");
        out.push_str(&extra.join(", "));
        out.push(')');
    }
    out
}

/// A value that does not fit, for people.
fn described(value: &Value) -> String {
    match value {
        Value::Nil => "<nil>".to_owned(),
        value => format!("{}={}", value.type_name(), value.formatted()),
    }
}

fn flags<'f>(text: &'f str, arguments: &mut Arguments<'_>) -> (Verb, &'f str) {
    let mut verb = Verb::default();
    let mut rest = text;
    while let Some(flag) = rest.chars().next() {
        match flag {
            '-' => verb.minus = true,
            '+' => verb.plus = true,
            '0' => verb.zero = true,
            ' ' => verb.space = true,
            '#' => verb.sharp = true,
            _ => break,
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    rest = arguments.index(rest);
    (verb.width, rest) = count(rest, arguments);
    if let Some(tail) = rest.strip_prefix('.') {
        let tail = arguments.index(tail);
        let (precision, tail) = count(tail, arguments);
        verb.precision = Some(precision.unwrap_or(0));
        rest = tail;
    }
    (verb, arguments.index(rest))
}

/// A number, or `*` for the next argument.
fn count<'f>(text: &'f str, arguments: &mut Arguments<'_>) -> (Option<usize>, &'f str) {
    if let Some(tail) = text.strip_prefix('*') {
        let count = match arguments.take() {
            Some(Value::Int(count)) => usize::try_from(*count).ok(),
            _ => None,
        };
        return (count.map(|count| count.min(WIDTH_MAX)), tail);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, tail) = text.split_at(digits);
    let number: Option<usize> = number.parse().ok();
    (number.map(|number| number.min(WIDTH_MAX)), tail)
}

impl Verb {
    fn write(&self, out: &mut String, letter: char, value: &Value) {
        let text = match (letter, value) {
            ('T', value) => value.type_name().to_owned(),
            ('v', Value::Nil) => "<nil>".to_owned(),
            ('v' | 't', Value::Bool(value)) => value.to_string(),
            ('c' | 'q' | 'U', Value::Int(value)) => self.character(letter, *value),
            ('v' | 'd' | 'b' | 'o' | 'O' | 'x' | 'X', Value::Int(value)) => {
                return self.pad(out, &self.integer(letter, *value), false);
            }
            ('d', Value::Duration(ns)) => {
                return self.pad(out, &self.integer(letter, *ns), false);
            }
            ('v' | 'e' | 'E' | 'f' | 'F' | 'g' | 'G' | 'x' | 'X', Value::Float(value)) => {
                let zeros = self.zero && !self.minus && value.is_finite();
                return self.pad_number(out, &self.float(letter, *value), zeros);
            }
            ('v', Value::Text(text)) if self.sharp => quoted(text, false),
            ('v' | 's' | 'q' | 'x' | 'X', Value::Text(text)) => self.text(letter, text),
            (
                'v' | 's' | 'q' | 'x' | 'X',
                Value::Time(_) | Value::Duration(_) | Value::Histogram(_),
            ) => self.text(letter, &value.printed()),
            (_, Value::Texts(_) | Value::Map(_) | Value::List(_) | Value::Sample { .. }) => {
                return self.composite(out, letter, value);
            }
            (_, Value::Root) => "{}".to_owned(),
            (_, value) => format!("%!{letter}({})", described(value)),
        };
        self.pad(out, &text, self.zero && !self.minus);
    }

    /// A value that has others in it: the verb is for each of them.
    fn composite(&self, out: &mut String, letter: char, value: &Value) {
        let (goes_syntax, names) = (self.sharp && letter == 'v', self.plus && letter == 'v');
        let (open, close) = if goes_syntax { ('{', '}') } else { ('[', ']') };
        let each = |out: &mut String, pairs: Vec<(Option<&str>, Value)>| {
            for (at, (key, value)) in pairs.into_iter().enumerate() {
                if out.len() > OUTPUT_LEN_MAX {
                    return;
                }
                match (at > 0, goes_syntax) {
                    (true, true) => out.push_str(", "),
                    (true, false) => out.push(' '),
                    (false, _) => {}
                }
                if let Some(key) = key {
                    self.write(out, letter, &Value::Text(key.to_owned()));
                    out.push(':');
                }
                self.write(out, letter, &value);
            }
        };
        match value {
            Value::Sample { labels, value } => {
                let (first, second) = if names { ("Labels:", " Value:") } else { ("", " ") };
                out.push_str("&{");
                out.push_str(first);
                self.write(out, letter, &Value::Texts(labels.clone()));
                out.push_str(second);
                self.write(out, letter, &Value::of(value));
                out.push('}');
                return;
            }
            Value::Texts(_) | Value::Map(_) if goes_syntax => out.push_str(value.type_name()),
            Value::Texts(_) | Value::Map(_) => out.push_str("map"),
            _ => {}
        }
        out.push(open);
        match value {
            Value::Texts(map) => {
                let pairs = map.iter().map(|(k, v)| (Some(k.as_str()), Value::Text(v.clone())));
                each(out, pairs.collect());
            }
            Value::Map(map) => {
                each(out, map.iter().map(|(k, v)| (Some(k.as_str()), v.clone())).collect());
            }
            Value::List(list) => each(out, list.iter().map(|v| (None, v.clone())).collect()),
            _ => {}
        }
        out.push(close);
    }

    fn character(&self, letter: char, value: i64) -> String {
        let c = u32::try_from(value).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
        match letter {
            'c' => c.to_string(),
            'U' if self.sharp => format!("U+{value:04X} '{c}'"),
            'U' => format!("U+{value:04X}"),
            _ if c == '\'' => "'\\''".to_owned(),
            _ if c == '"' => "'\"'".to_owned(),
            _ => {
                let text = quoted(&c.to_string(), self.plus);
                format!("'{}'", text.trim_matches('"'))
            }
        }
    }

    /// A whole number with sign, prefix and leading zeros.
    fn integer(&self, letter: char, value: i64) -> String {
        let size = value.unsigned_abs();
        let (digits, prefix) = match letter {
            'b' => (format!("{size:b}"), "0b"),
            'o' => (format!("{size:o}"), "0"),
            'O' => (format!("{size:o}"), "0o"),
            'x' => (format!("{size:x}"), "0x"),
            'X' => (format!("{size:X}"), "0X"),
            _ => (size.to_string(), ""),
        };
        let prefix = if self.sharp || letter == 'O' { prefix } else { "" };
        let sign = match (value < 0, self.plus, self.space) {
            (true, _, _) => "-",
            (false, true, _) => "+",
            (false, false, true) => " ",
            (false, false, false) => "",
        };
        let least = match (self.precision, self.width) {
            (Some(precision), _) => precision,
            (None, Some(width)) if self.zero && !self.minus => width.saturating_sub(sign.len()),
            (None, _) => 0,
        };
        let zeros = "0".repeat(least.saturating_sub(digits.len()));
        format!("{sign}{prefix}{zeros}{digits}")
    }

    fn text(&self, letter: char, text: &str) -> String {
        let cut: String = match self.precision {
            Some(precision) => text.chars().take(precision).collect(),
            None => text.to_owned(),
        };
        match letter {
            'q' if self.sharp && can_backquote(&cut) => format!("`{cut}`"),
            'q' => quoted(&cut, self.plus),
            'x' | 'X' => {
                let byte = |byte: u8| match letter {
                    'x' => format!("{byte:02x}"),
                    _ => format!("{byte:02X}"),
                };
                let bytes: Vec<String> = cut.bytes().map(byte).collect();
                let prefix = if self.sharp && !cut.is_empty() {
                    format!("0{letter}")
                } else {
                    String::new()
                };
                let between = if self.space { format!(" {prefix}") } else { String::new() };
                prefix + &bytes.join(&between)
            }
            _ => cut,
        }
    }

    fn float(&self, letter: char, value: f64) -> String {
        if !value.is_finite() {
            let text = number::format_g(value);
            return if value > 0.0 && !self.plus { text } else { self.signed(text) };
        }
        let text = match letter.to_ascii_lowercase() {
            'e' => exponent(value, self.precision.unwrap_or(6)),
            'f' => format!("{value:.*}", self.precision.unwrap_or(6)),
            'x' => hexadecimal(value),
            _ => match self.precision {
                Some(precision) => general(value, precision),
                None => number::format_g(value),
            },
        };
        let text = if letter.is_ascii_uppercase() { text.to_uppercase() } else { text };
        self.signed(text)
    }

    fn signed(&self, text: String) -> String {
        match (text.starts_with(['-', '+']), self.plus, self.space) {
            (true, _, _) | (false, false, false) => text,
            (false, true, _) => format!("+{text}"),
            (false, false, true) => format!(" {text}"),
        }
    }

    /// A number with zeros between its sign and its digits.
    fn pad_number(&self, out: &mut String, text: &str, zeros: bool) {
        let (sign, digits) =
            text.split_at(text.len() - text.trim_start_matches(['-', '+', ' ']).len());
        if !zeros {
            return self.pad(out, text, false);
        }
        out.push_str(sign);
        let missing = self.width.unwrap_or(0).saturating_sub(text.chars().count());
        out.extend(std::iter::repeat_n('0', missing));
        out.push_str(digits);
    }

    fn pad(&self, out: &mut String, text: &str, zeros: bool) {
        let missing = self.width.unwrap_or(0).saturating_sub(text.chars().count());
        if self.minus {
            out.push_str(text);
        }
        out.extend(std::iter::repeat_n(if zeros { '0' } else { ' ' }, missing));
        if !self.minus {
            out.push_str(text);
        }
    }
}

/// `%x` of a float: `0x1.9p+03` is 12.5.
fn hexadecimal(value: f64) -> String {
    let bits = value.to_bits();
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let (power, fraction) = (bits >> 52 & 0x7ff, bits & ((1 << 52) - 1));
    if value == 0.0 {
        return format!("{sign}0x0p+00");
    }
    let power = i64::try_from(power).unwrap_or(0) - 1023;
    let digits = format!("{fraction:013x}");
    let digits = digits.trim_end_matches('0');
    let dot = if digits.is_empty() { "" } else { "." };
    let power_sign = if power < 0 { '-' } else { '+' };
    format!("{sign}0x1{dot}{digits}p{power_sign}{:02}", power.unsigned_abs())
}

/// As Go's `strconv.Quote` has it, which PromQL reads back, or `QuoteToASCII`.
fn quoted(text: &str, ascii: bool) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        let code = u32::from(c);
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            _ if c.is_ascii_control() => out.push_str(&format!("\\x{code:02x}")),
            _ if c.is_ascii() || (!ascii && is_printable(c)) => out.push(c),
            _ if code < 0x1_0000 => out.push_str(&format!("\\u{code:04x}")),
            _ => out.push_str(&format!("\\U{code:08x}")),
        }
    }
    out.push('"');
    out
}

/// Letters, marks, numbers, punctuation and symbols, as Go has it.
fn is_printable(c: char) -> bool {
    // What extends a letter is escaped at the start of a text only.
    !format!("a{c}").escape_debug().any(|c| c == '\\')
}

/// Whether a text can stand between backquotes, as Go has it.
fn can_backquote(text: &str) -> bool {
    !text.chars().any(|c| (c.is_ascii_control() && c != '\t') || matches!(c, '`' | '\u{feff}'))
}

/// `%e` as Go and C write it: at least two digits of exponent, with a sign.
fn exponent(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// `%g` with a number of significant digits: without trailing zeros, with an exponent below 1e-4
/// and where the digits do not reach the point.
pub(super) fn general(value: f64, precision: usize) -> String {
    if !value.is_finite() {
        return number::format_g(value);
    }
    let precision = precision.max(1);
    let scientific = exponent(value, precision - 1);
    let power: i64 =
        scientific.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    let digits = i64::try_from(precision).unwrap_or(i64::MAX);
    if value != 0.0 && (power < -4 || power >= digits) {
        let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "+00"));
        return format!("{}e{power}", without_zeros(mantissa));
    }
    let decimals = usize::try_from(digits - 1 - power).unwrap_or(0);
    without_zeros(&format!("{value:.decimals$}")).to_owned()
}

fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}
