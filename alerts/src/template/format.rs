//! `printf`: Go's verbs for the values a template can have.

use labstat_model::number;

use super::value::Value;

/// The widest field and the most digits a verb may ask for; Go stops at a million.
const WIDTH_MAX: usize = 1_000;

/// A verb with its flags.
#[derive(Debug, Default)]
struct Verb {
    minus: bool,
    plus: bool,
    zero: bool,
    space: bool,
    sharp: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `format` with its verbs replaced by `arguments`.
pub(super) fn sprintf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut rest = format;
    while let Some((text, tail)) = rest.split_once('%') {
        out.push_str(text);
        let (verb, tail) = flags(tail, &mut arguments);
        let mut chars = tail.chars();
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(letter) => match arguments.next() {
                Some(value) => verb.write(&mut out, letter, value),
                None => {
                    out.push_str("%!");
                    out.push(letter);
                    out.push_str("(MISSING)");
                }
            },
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    let extra: Vec<String> =
        arguments.map(|value| format!("{}={}", value.type_name(), value.printed())).collect();
    if !extra.is_empty() {
        out.push_str("%!(EXTRA ");
        out.push_str(&extra.join(", "));
        out.push(')');
    }
    out
}

fn flags<'f>(text: &'f str, arguments: &mut std::slice::Iter<'_, Value>) -> (Verb, &'f str) {
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
    (verb.width, rest) = count(rest, arguments);
    if let Some(tail) = rest.strip_prefix('.') {
        let (precision, tail) = count(tail, arguments);
        verb.precision = Some(precision.unwrap_or(0));
        rest = tail;
    }
    (verb, rest)
}

/// A number, or `*` for the next argument.
fn count<'f>(
    text: &'f str,
    arguments: &mut std::slice::Iter<'_, Value>,
) -> (Option<usize>, &'f str) {
    if let Some(tail) = text.strip_prefix('*') {
        let count = match arguments.next() {
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
            ('v', Value::Float(float)) if self.precision.is_some() => self.float('g', *float),
            ('v', Value::Text(text)) if self.sharp => quoted(text, false),
            ('v', Value::Int(_) | Value::Float(_)) => self.signed(value.printed()),
            ('v', other) => other.printed(),
            ('T', other) => other.type_name().to_owned(),
            ('t', Value::Bool(value)) => value.to_string(),
            ('d', Value::Int(value)) => self.signed(value.to_string()),
            ('b', Value::Int(value)) => format!("{value:b}"),
            ('o', Value::Int(value)) => format!("{value:o}"),
            ('x', Value::Int(value)) => hex(*value),
            ('X', Value::Int(value)) => hex(*value).to_uppercase(),
            ('c', Value::Int(value)) => u32::try_from(*value)
                .ok()
                .and_then(char::from_u32)
                .map_or_else(|| "\u{fffd}".to_owned(), |c| c.to_string()),
            ('e' | 'E' | 'f' | 'F' | 'g' | 'G', Value::Float(value)) => self.float(letter, *value),
            ('s' | 'q' | 'x' | 'X', Value::Text(text)) => self.text(letter, text),
            (
                's',
                Value::Time(_)
                | Value::Duration(_)
                | Value::Texts(_)
                | Value::Map(_)
                | Value::List(_),
            ) => value.printed(),
            (_, Value::Nil) => format!("%!{letter}(<nil>)"),
            _ => format!("%!{letter}({}={})", value.type_name(), value.printed()),
        };
        self.pad(out, &text, letter);
    }

    fn text(&self, letter: char, text: &str) -> String {
        let cut: String = match self.precision {
            Some(precision) => text.chars().take(precision).collect(),
            None => text.to_owned(),
        };
        match letter {
            'q' if self.sharp && can_backquote(&cut) => format!("`{cut}`"),
            'q' => quoted(&cut, self.plus),
            'x' => cut.bytes().map(|byte| format!("{byte:02x}")).collect(),
            'X' => cut.bytes().map(|byte| format!("{byte:02X}")).collect(),
            _ => cut,
        }
    }

    fn float(&self, letter: char, value: f64) -> String {
        if !value.is_finite() {
            let text = number::format_g(value);
            return text;
        }
        let text = match letter.to_ascii_lowercase() {
            'e' => exponent(value, self.precision.unwrap_or(6)),
            'f' => format!("{value:.*}", self.precision.unwrap_or(6)),
            _ => match self.precision {
                Some(precision) => general(value, precision),
                None => {
                    let mut text = String::new();
                    number::push_v(&mut text, value);
                    text
                }
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

    fn pad(&self, out: &mut String, text: &str, letter: char) {
        let missing = self.width.unwrap_or(0).saturating_sub(text.chars().count());
        if self.minus {
            out.push_str(text);
            out.extend(std::iter::repeat_n(' ', missing));
        } else if self.zero && !matches!(letter, 's' | 'q' | 'T') {
            let (sign, digits) = match text.strip_prefix(['-', '+']) {
                Some(digits) => text.split_at(text.len() - digits.len()),
                None => ("", text),
            };
            out.push_str(sign);
            out.extend(std::iter::repeat_n('0', missing));
            out.push_str(digits);
        } else {
            out.extend(std::iter::repeat_n(' ', missing));
            out.push_str(text);
        }
    }
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

fn hex(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{:x}", value.unsigned_abs())
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
