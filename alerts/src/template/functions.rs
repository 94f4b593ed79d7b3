//! The functions of Go's templates and of Prometheus.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::Data;
use super::format::{general, sprintf};
use super::render::{OUTPUT_LEN_MAX, wrong_count};
use super::value::Value;
use crate::manager::push_escaped;

/// All names a template may call.
const NAMES: [&str; 48] = [
    "and",
    "args",
    "call",
    "eq",
    "externalURL",
    "first",
    "ge",
    "graphLink",
    "gt",
    "html",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "index",
    "js",
    "label",
    "le",
    "len",
    "lt",
    "match",
    "ne",
    "not",
    "now",
    "or",
    "parseDuration",
    "pathPrefix",
    "print",
    "printf",
    "println",
    "query",
    "reReplaceAll",
    "safeHtml",
    "slice",
    "sortByLabel",
    "stripDomain",
    "stripPort",
    "strvalue",
    "tableLink",
    "title",
    "toDuration",
    "toLower",
    "toTime",
    "toUpper",
    "urlQueryEscape",
    "urlquery",
    "value",
];

/// Bytes of a compiled pattern: one from a rule file must not take the machine's memory.
const REGEX_SIZE_MAX: usize = 1024 * 1024;

/// Whether there is a function of this name.
pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls a function.
pub(super) fn call(name: &str, args: &[Value], data: &Data<'_>) -> Result<Value, String> {
    match name {
        "print" | "html" | "js" | "urlquery" | "println" | "printf" => printing(name, args),
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" => compare(name, args),
        "index" | "slice" => element(name, args),
        "args" => {
            let args = args.iter().enumerate();
            Ok(Value::Map(args.map(|(at, v)| (format!("arg{at}"), v.clone())).collect()))
        }
        "call" => Err(match args.first() {
            Some(value) => format!("non-function of type {}", value.type_name()),
            None => wrong_count(name, "at least 1", 0),
        }),
        "now" =>
        {
            #[expect(clippy::cast_precision_loss, reason = "times are far below 2^53 ms")]
            Ok(Value::Float(data.now_ms as f64 / 1000.0))
        }
        "externalURL" => Ok(Value::Text(data.external_url.clone())),
        "pathPrefix" => Ok(Value::Text(path_prefix(&data.external_url))),
        "match" | "reReplaceAll" | "label" | "sortByLabel" | "strvalue" => two_or_three(name, args),
        _ => match args {
            [one] => unary(name, one, data),
            _ => Err(wrong_count(name, "1", args.len())),
        },
    }
}

fn printing(name: &str, args: &[Value]) -> Result<Value, String> {
    if name == "printf" {
        return match args.split_first() {
            Some((Value::Text(format), rest)) => Ok(Value::Text(sprintf(format, rest))),
            Some((other, _)) => {
                Err(format!("wrong type for value; expected string; got {}", other.type_name()))
            }
            None => Err(wrong_count(name, "at least 1", 0)),
        };
    }
    let mut text = String::new();
    for (at, value) in args.iter().enumerate() {
        let both_plain = at > 0
            && !matches!(value, Value::Text(_))
            && !matches!(args.get(at - 1), Some(Value::Text(_)));
        // Go's Sprint puts a space between two operands when neither is a string, Sprintln always.
        if both_plain || (at > 0 && name == "println") {
            text.push(' ');
        }
        text.push_str(&value.formatted());
        if text.len() > OUTPUT_LEN_MAX {
            break;
        }
    }
    Ok(Value::Text(match name {
        "println" => text + "\n",
        "html" => escape_html(&text),
        "js" => escape_js(&text),
        "urlquery" => escape_url(&text),
        _ => text,
    }))
}

fn two_or_three(name: &str, args: &[Value]) -> Result<Value, String> {
    match (name, args) {
        ("match", [Value::Text(pattern), Value::Text(text)]) => {
            Ok(Value::Bool(regex(pattern)?.is_match(text)))
        }
        ("reReplaceAll", [Value::Text(pattern), Value::Text(by), Value::Text(text)]) => {
            replace_all(&regex(pattern)?, by, text).map(Value::Text)
        }
        ("label", [Value::Text(label), Value::Sample { labels, .. }]) => {
            Ok(Value::Text(labels.get(label).cloned().unwrap_or_default()))
        }
        ("strvalue", [Value::Sample { labels, .. }]) => {
            Ok(Value::Text(labels.get("__value__").cloned().unwrap_or_default()))
        }
        ("sortByLabel", [Value::Text(label), Value::List(list)]) => {
            let key = |value: &Value| match value {
                Value::Sample { labels, .. } => labels.get(label).cloned().unwrap_or_default(),
                _ => String::new(),
            };
            let mut list = list.clone();
            list.sort_by_key(key);
            Ok(Value::List(list))
        }
        _ => {
            let types: Vec<&str> = args.iter().map(Value::type_name).collect();
            Err(format!("wrong number or type of args for {name}: got ({})", types.join(", ")))
        }
    }
}

fn unary(name: &str, arg: &Value, data: &Data<'_>) -> Result<Value, String> {
    let text = |text: String| Ok(Value::Text(text));
    match (name, arg) {
        ("not", value) => Ok(Value::Bool(!value.truth())),
        ("len", value) => {
            let len = value.len().ok_or_else(|| format!("len of type {}", value.type_name()))?;
            Ok(Value::Int(i64::try_from(len).unwrap_or(i64::MAX)))
        }
        ("query", Value::Text(expr)) => {
            let query = data.query.ok_or("there is nothing to query")?;
            let samples = query(expr)?;
            Ok(Value::List(
                samples.into_iter().map(|(labels, v)| Value::sample(&labels, v)).collect(),
            ))
        }
        ("first", Value::List(list)) => list
            .first()
            .cloned()
            .ok_or_else(|| "first() called on vector with no elements".to_owned()),
        ("value", Value::Sample { value, .. }) => Ok(Value::of(value)),
        ("toUpper", Value::Text(value)) => text(each(value, |c| one(c.to_uppercase(), c))),
        ("toLower", Value::Text(value)) => text(each(value, |c| one(c.to_lowercase(), c))),
        ("title", Value::Text(value)) => text(title(value)),
        ("safeHtml", Value::Text(value)) => text(value.clone()),
        ("stripPort", Value::Text(value)) => text(strip_port(value)),
        ("stripDomain", Value::Text(value)) => text(strip_domain(value)),
        ("urlQueryEscape", Value::Text(value)) => text(escape_url(value)),
        ("graphLink", Value::Text(expr)) => text(link(expr, 0)),
        ("tableLink", Value::Text(expr)) => text(link(expr, 1)),
        ("parseDuration", Value::Text(value)) => match labstat_model::duration::parse_ms(value) {
            #[expect(clippy::cast_precision_loss, reason = "durations are far below 2^53 ms")]
            Ok(ms) => Ok(Value::Float(ms as f64 / 1000.0)),
            Err(_) => Err(format!("not a valid duration string: {value:?}")),
        },
        ("humanize", value) => text(humanize(float(value)?)),
        ("humanize1024", value) => text(humanize1024(float(value)?)),
        ("humanizeDuration", value) => text(humanize_duration(float(value)?)),
        ("humanizePercentage", value) => text(format!("{}%", general(float(value)? * 100.0, 4))),
        ("humanizeTimestamp", value) => {
            let seconds = float(value)?;
            if !seconds.is_finite() {
                return text(general(seconds, 4));
            }
            text(super::value::time_text(milliseconds(seconds)?))
        }
        ("toTime", value) => Ok(Value::Time(milliseconds(float(value)?)?)),
        ("toDuration", value) => {
            let ns = float(value)? * 1e9;
            Ok(Value::Duration(integer(ns).ok_or("cannot be represented as a duration")?))
        }
        (_, value) => Err(format!("wrong type for value: got {}", value.type_name())),
    }
}

/// A number, or a text that is one.
fn float(value: &Value) -> Result<f64, String> {
    match value {
        Value::Float(value) => Ok(*value),
        #[expect(clippy::cast_precision_loss, reason = "as Go converts")]
        Value::Int(value) => Ok(*value as f64),
        #[expect(clippy::cast_precision_loss, reason = "as Go converts")]
        Value::Duration(ns) => Ok(*ns as f64 / 1e9),
        Value::Text(text) => text
            .trim()
            .parse()
            .map_err(|_| format!("strconv.ParseFloat: parsing {text:?}: invalid syntax")),
        other => Err(format!("can't convert {} to float", other.type_name())),
    }
}

/// A float cut to a whole number, when it is within range.
fn integer(value: f64) -> Option<i64> {
    // 2^63 is exact as a float; what lies below it fits.
    #[expect(clippy::cast_possible_truncation, reason = "checked to fit")]
    (value.is_finite() && value.abs() < 9_223_372_036_854_775_808.0).then_some(value as i64)
}

fn milliseconds(seconds: f64) -> Result<i64, String> {
    let overflow = || {
        let value = labstat_model::number::format_g(seconds);
        format!("{value} cannot be represented as a nanoseconds timestamp since it overflows int64")
    };
    let ns = integer(seconds * 1e9).ok_or_else(overflow)?;
    Ok(ns.div_euclid(1_000_000))
}

fn humanize(mut value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return general(value, 4);
    }
    let mut prefix = "";
    if value.abs() >= 1.0 {
        for next in ["k", "M", "G", "T", "P", "E", "Z", "Y"] {
            if value.abs() < 1000.0 {
                break;
            }
            prefix = next;
            value /= 1000.0;
        }
    } else {
        (value, prefix) = small(value);
    }
    format!("{}{prefix}", general(value, 4))
}

/// A value below one, times a thousand for each step down.
fn small(mut value: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for next in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = next;
        value *= 1000.0;
    }
    (value, prefix)
}

fn humanize1024(mut value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return general(value, 4);
    }
    let mut prefix = "";
    for next in ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"] {
        if value.abs() < 1024.0 {
            break;
        }
        prefix = next;
        value /= 1024.0;
    }
    format!("{}{prefix}", general(value, 4))
}

fn humanize_duration(value: f64) -> String {
    if !value.is_finite() {
        return general(value, 4);
    }
    if value == 0.0 {
        return format!("{}s", general(value, 4));
    }
    if value.abs() < 1.0 {
        let (value, prefix) = small(value);
        return format!("{}{prefix}s", general(value, 4));
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let value = value.abs();
    let whole = integer(value).unwrap_or(i64::MAX);
    let (seconds, minutes) = (whole % 60, whole / 60 % 60);
    let (hours, days) = (whole / 3600 % 24, whole / 86_400);
    if days != 0 {
        format!("{sign}{days}d {hours}h {minutes}m {seconds}s")
    } else if hours != 0 {
        format!("{sign}{hours}h {minutes}m {seconds}s")
    } else if minutes != 0 {
        format!("{sign}{minutes}m {seconds}s")
    } else {
        format!("{sign}{}s", general(value, 4))
    }
}

fn compare(name: &str, args: &[Value]) -> Result<Value, String> {
    let Some((first, rest)) = args.split_first() else {
        return Err(wrong_count(name, "at least 1", 0));
    };
    if name == "eq" {
        if rest.is_empty() {
            return Err("missing argument for comparison".to_owned());
        }
        for other in rest {
            if equal(first, other)? {
                return Ok(Value::Bool(true));
            }
        }
        return Ok(Value::Bool(false));
    }
    let [second] = rest else { return Err(wrong_count(name, "2", args.len())) };
    if name == "ne" {
        return Ok(Value::Bool(!equal(first, second)?));
    }
    let ordering = match (first, second) {
        (Value::Int(a), Value::Int(b)) | (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        _ => return Err(incomparable(first, second)),
    };
    // A NaN is neither below nor above anything; Go works `ge` and `gt` out from `lt` and `le`.
    let (less, same) = (ordering == Some(Ordering::Less), ordering == Some(Ordering::Equal));
    Ok(Value::Bool(match name {
        "lt" => less,
        "le" => less || same,
        "gt" => !(less || same),
        _ => !less,
    }))
}

fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Int(a), Value::Int(b)) | (Value::Duration(a), Value::Duration(b)) => Ok(a == b),
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::Text(a), Value::Text(b)) => Ok(a == b),
        (Value::Nil, _) | (_, Value::Nil) => Ok(a == b),
        _ => Err(incomparable(a, b)),
    }
}

/// Go does not compare numbers of different kinds: `eq $value 1` is an error, `eq $value 1.0` not.
fn incomparable(a: &Value, b: &Value) -> String {
    let basic = |value: &Value| {
        matches!(value, Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_))
    };
    if basic(a) && basic(b) {
        format!("incompatible types for comparison: {} and {}", a.type_name(), b.type_name())
    } else {
        "invalid type for comparison".to_owned()
    }
}

fn element(name: &str, args: &[Value]) -> Result<Value, String> {
    let Some((whole, keys)) = args.split_first() else {
        return Err(wrong_count(name, "at least 1", 0));
    };
    let position = |key: &Value, len: usize| match key {
        Value::Int(at) => usize::try_from(*at)
            .ok()
            .filter(|at| *at < len || (name == "slice" && *at == len))
            .ok_or_else(|| format!("index out of range: {at}")),
        other => Err(format!("cannot index slice/array with type {}", other.type_name())),
    };
    if name == "slice" {
        let (start, end) = match (keys, whole.len()) {
            (_, None) => return Err(format!("can't slice item of type {}", whole.type_name())),
            ([], Some(len)) => (0, len),
            ([start], Some(len)) => (position(start, len)?, len),
            ([start, end, ..], Some(len)) => (position(start, len)?, position(end, len)?),
        };
        let bad = || format!("invalid slice index: {start} > {end}");
        return match whole {
            Value::Text(text) => Ok(Value::Text(text.get(start..end).ok_or_else(bad)?.to_owned())),
            Value::List(list) => Ok(Value::List(list.get(start..end).ok_or_else(bad)?.to_vec())),
            other => Err(format!("can't slice item of type {}", other.type_name())),
        };
    }
    let mut value = whole.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::Texts(_) | Value::Map(_), key) if !matches!(key, Value::Text(_)) => {
                return Err(format!("value has type {}; should be string", key.type_name()));
            }
            (Value::Texts(map), Value::Text(key)) => {
                Value::Text(map.get(key).cloned().unwrap_or_default())
            }
            (Value::Map(map), Value::Text(key)) => map.get(key).cloned().unwrap_or(Value::Nil),
            (Value::List(list), key) => {
                list.get(position(key, list.len())?).cloned().unwrap_or(Value::Nil)
            }
            (Value::Text(text), key) => {
                let byte = text.as_bytes().get(position(key, text.len())?).copied();
                Value::Int(i64::from(byte.unwrap_or(0)))
            }
            (Value::Nil, _) => return Err("index of untyped nil".to_owned()),
            (other, _) => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(value)
}

/// `text` with each match replaced, as long as the result is one that may be rendered.
fn replace_all(pattern: &regex::Regex, by: &str, text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut end = 0;
    for captures in pattern.captures_iter(text) {
        let Some(whole) = captures.get(0) else { continue };
        out.push_str(text.get(end..whole.start()).unwrap_or_default());
        captures.expand(by, &mut out);
        end = whole.end();
        if out.len() > OUTPUT_LEN_MAX {
            return Err(format!("more than {OUTPUT_LEN_MAX} bytes of text"));
        }
    }
    out.push_str(text.get(end..).unwrap_or_default());
    Ok(out)
}

fn regex(pattern: &str) -> Result<regex::Regex, String> {
    let built = regex::RegexBuilder::new(pattern).size_limit(REGEX_SIZE_MAX).build();
    built.map_err(|error| error.to_string().lines().last().unwrap_or_default().to_owned())
}

/// A text letter by letter.
fn each(text: &str, change: impl Fn(char) -> char) -> String {
    text.chars().map(change).collect()
}

/// What a letter becomes, when that is one letter, too: Go leaves a `ß` alone.
fn one(changed: impl ExactSizeIterator<Item = char>, letter: char) -> char {
    let mut changed = changed;
    match (changed.len(), changed.next()) {
        (1, Some(one)) => one,
        _ => letter,
    }
}

/// Every word's first letter as a capital, the rest as it is.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if inside {
            out.push(c);
        } else {
            out.extend(c.to_uppercase());
        }
        inside = c.is_alphanumeric() || c == '_' || c == '\'';
    }
    out
}

/// `host:port` without the port; what is no such pair stays.
fn strip_port(text: &str) -> String {
    split_port(text).map_or(text, |(host, _)| host).to_owned()
}

fn split_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    if let Some(inner) = host.strip_prefix('[') {
        return Some((inner.strip_suffix(']')?, port));
    }
    (!host.contains(':')).then_some((host, port))
}

/// The first label of a host name, with its port; addresses stay.
fn strip_domain(text: &str) -> String {
    let (host, port) = match split_port(text) {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    if host.parse::<std::net::IpAddr>().is_ok() {
        return text.to_owned();
    }
    let short = host.split('.').next().unwrap_or_default();
    port.map_or_else(|| short.to_owned(), |port| format!("{short}:{port}"))
}

/// The path of a URL.
fn path_prefix(url: &str) -> String {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    after_scheme.find('/').and_then(|at| after_scheme.get(at..)).unwrap_or_default().to_owned()
}

fn link(expr: &str, tab: u8) -> String {
    format!("/graph?g0.expr={}&g0.tab={tab}", escape_url(expr))
}

fn escape_url(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    push_escaped(&mut out, text);
    out
}

fn escape_html(text: &str) -> String {
    let table: BTreeMap<char, &str> = BTreeMap::from([
        ('<', "&lt;"),
        ('>', "&gt;"),
        ('&', "&amp;"),
        ('"', "&#34;"),
        ('\'', "&#39;"),
        ('\0', "\u{fffd}"),
    ]);
    text.chars()
        .map(|c| table.get(&c).map_or_else(|| c.to_string(), |text| (*text).to_owned()))
        .collect()
}

fn escape_js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '\'' | '"' => {
                out.push('\\');
                out.push(c);
            }
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}
