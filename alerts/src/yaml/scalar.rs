//! What a scalar stands for: Go's `yaml` packages resolve plain texts to numbers, truths and nothing.

use super::Dialect;

/// A scalar's value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Resolved {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text,
    /// The text of a `!!binary`.
    Binary(String),
    /// It is not what its tag says.
    Wrong(String),
}

/// The value of a scalar. A tag other than those of YAML itself says nothing here.
pub(super) fn resolve(text: &str, plain: bool, tag: Option<&str>, dialect: Dialect) -> Resolved {
    let Some(tag) = tag.filter(|tag| *tag != "!") else {
        return if plain && tag.is_none() { implied(text, dialect) } else { Resolved::Text };
    };
    let name = tag.strip_prefix("!!").or_else(|| tag.strip_prefix("!<tag:yaml.org,2002:"));
    let found = implied(text, dialect);
    let fits = match name.map(|name| name.trim_end_matches('>')) {
        Some("binary") => return binary(text),
        Some("null") => found == Resolved::Null,
        Some("bool") => matches!(found, Resolved::Bool(_)),
        Some("int") => matches!(found, Resolved::Integer(_)),
        Some("float") => {
            #[expect(clippy::cast_precision_loss, reason = "as Go converts")]
            if let Resolved::Integer(value) = found {
                return Resolved::Float(value as f64);
            }
            matches!(found, Resolved::Float(_))
        }
        // A text, or what only its author knows.
        _ => return Resolved::Text,
    };
    if fits { found } else { Resolved::Wrong(format!("cannot decode {text:?} as a {tag}")) }
}

/// What a plain scalar stands for.
fn implied(text: &str, dialect: Dialect) -> Resolved {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Resolved::Null,
        "true" | "True" | "TRUE" => return Resolved::Bool(true),
        "false" | "False" | "FALSE" => return Resolved::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Resolved::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Resolved::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Resolved::Float(f64::NEG_INFINITY),
        _ => {}
    }
    if dialect == Dialect::Two
        && let Some(value) = word(text)
    {
        return Resolved::Bool(value);
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Resolved::Text;
    }
    let number = text.replace('_', "");
    if let Some(value) = integer(&number) {
        return Resolved::Integer(value);
    }
    match is_float(&number).then(|| number.parse::<f64>().ok()).flatten() {
        // Go's conversion fails on what is too large.
        Some(value) if value.is_finite() => Resolved::Float(value),
        _ => Resolved::Text,
    }
}

/// The words that version 2 takes for a truth, beside those above.
fn word(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// A whole number as Go's `ParseInt` reads one in base 0.
fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let radixes = [("0x", 16), ("0b", 2), ("0o", 8)];
    let special =
        radixes.iter().find_map(|(start, radix)| Some((lower.strip_prefix(start)?, *radix)));
    let (digits, radix) = match (special, lower.strip_prefix('0')) {
        (Some(special), _) => special,
        (None, Some(octal)) if !octal.is_empty() => (octal, 8),
        _ => (lower.as_str(), 10),
    };
    if digits.is_empty() || !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    let size = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if negative { -size } else { size }).ok()
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    fn digits(text: &str) -> (&str, &str) {
        text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
    }
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, rest) = digits(text);
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => {
            let (decimals, rest) = digits(fraction);
            if whole.is_empty() && decimals.is_empty() {
                return false;
            }
            rest
        }
        None if whole.is_empty() => return false,
        None => rest,
    };
    match rest.strip_prefix(['e', 'E']) {
        Some(exponent) => {
            let (power, rest) = digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent));
            !power.is_empty() && rest.is_empty()
        }
        None => rest.is_empty(),
    }
}

/// Base 64 as Go's `StdEncoding` reads it.
fn binary(text: &str) -> Resolved {
    let wrong = || Resolved::Wrong("!!binary value contains invalid base64 data".to_owned());
    let mut bytes = Vec::new();
    let (mut bits, mut len) = (0_u32, 0_u32);
    let body: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    if !body.len().is_multiple_of(4) {
        return wrong();
    }
    for c in body.trim_end_matches('=').chars() {
        let digit = match c {
            'A'..='Z' => u32::from(c) - u32::from('A'),
            'a'..='z' => u32::from(c) - u32::from('a') + 26,
            '0'..='9' => u32::from(c) - u32::from('0') + 52,
            '+' => 62,
            '/' => 63,
            _ => return wrong(),
        };
        bits = (bits << 6 | digit) & 0xFFFF;
        len += 6;
        if len >= 8 {
            len -= 8;
            bytes.extend(u8::try_from(bits >> len & 0xFF));
        }
    }
    String::from_utf8(bytes).map_or_else(|_| wrong(), Resolved::Binary)
}
