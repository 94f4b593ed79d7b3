//! Prometheus' text format, as scripts leave it in files for an agent to pick up.
//!
//! Strict, since a file may be half written: every line must end, be understood, and name a series
//! that no line before it named. Times in the file are refused: a sample's time is its round's.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use labstat_model::limits::LABELS_MAX;
use labstat_model::{Family, Kind};

use crate::ParseError;

/// What errors call such a text.
const WHAT: &str = "metrics";

/// Samples of one text; larger ones are no notes of a script.
pub const SAMPLES_MAX: usize = 50_000;

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its family, by its place in [`Exposition::families`].
    pub family: usize,
    /// Its labels in the text's order.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: f64,
}

/// What a text says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exposition {
    /// Families in the order of their first samples. The parts of a histogram or a summary (its
    /// buckets, sum and count) are families of their own.
    pub families: Vec<Family>,
    /// Samples in the order of the text.
    pub samples: Vec<Sample>,
}

/// Reads a text.
///
/// # Errors
/// A line that is not understood or has no end, a time, a series or a kind that is there twice.
pub fn parse(bytes: &[u8]) -> Result<Exposition, ParseError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = line.iter().filter(|byte| **byte == b'\n').count() + 1;
        ParseError::line(WHAT, line, "not UTF-8")
    })?;
    let mut reader = Reader::default();
    for (at, line) in text.split_inclusive('\n').enumerate() {
        let wrong = || ParseError::line(WHAT, at + 1, line.trim_end());
        let whole = line.strip_suffix('\n').ok_or_else(wrong)?;
        reader.line(whole.trim()).ok_or_else(wrong)?;
        let count = reader.found.samples.len();
        if count > SAMPLES_MAX {
            return Err(ParseError::Limit { what: "samples", count, max: SAMPLES_MAX });
        }
    }
    Ok(reader.found)
}

#[derive(Debug, Default)]
struct Reader<'a> {
    found: Exposition,
    /// Kinds and helps by the names that the text gives them.
    kinds: HashMap<&'a str, Kind>,
    helps: HashMap<&'a str, String>,
    /// Places of families by their names.
    places: HashMap<&'a str, usize>,
    seen: HashSet<String>,
}

impl<'a> Reader<'a> {
    fn line(&mut self, line: &'a str) -> Option<()> {
        match line.strip_prefix('#') {
            Some(remark) => self.remark(remark.trim_start()),
            None if line.is_empty() => Some(()),
            None => self.sample(line),
        }
    }

    fn remark(&mut self, remark: &'a str) -> Option<()> {
        let (word, rest) = remark.split_once(char::is_whitespace).unwrap_or((remark, ""));
        let rest = rest.trim_start();
        let (name, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        match word {
            "HELP" if is_name(name) => {
                self.helps.insert(name, unescaped(text).into_owned());
                Some(())
            }
            "TYPE" if is_name(name) => {
                let kind = match text.trim() {
                    "counter" => Kind::Counter,
                    "gauge" => Kind::Gauge,
                    "histogram" => Kind::Histogram,
                    "summary" => Kind::Summary,
                    "untyped" => Kind::Untyped,
                    _ => return None,
                };
                // What was sampled before has been taken for something else.
                let is_new = !self.places.contains_key(name);
                (is_new && self.kinds.insert(name, kind).is_none()).then_some(())
            }
            "HELP" | "TYPE" => None,
            _ => Some(()),
        }
    }

    fn sample(&mut self, line: &'a str) -> Option<()> {
        let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
        let (name, rest) = line.split_at_checked(end)?;
        if !is_name(name) {
            return None;
        }
        let mut labels = Vec::new();
        let rest = rest.trim_start();
        let rest = match rest.strip_prefix('{') {
            Some(rest) => take_labels(rest, &mut labels)?,
            None => rest,
        };
        let mut words = rest.split_whitespace();
        let value = words.next()?.parse().ok()?;
        if words.next().is_some() || !self.is_new(name, &labels) {
            return None;
        }
        let family = self.family(name);
        self.found.samples.push(Sample { family, labels, value });
        Some(())
    }

    fn is_new(&mut self, name: &str, labels: &[(String, String)]) -> bool {
        let mut sorted: Vec<_> = labels.iter().collect();
        sorted.sort();
        let is_twice = sorted.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0));
        !is_twice && self.seen.insert(format!("{name}{sorted:?}"))
    }

    fn family(&mut self, name: &'a str) -> usize {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let of = |name: &str| self.kinds.get(name).copied();
        let part = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
            let whole = name.strip_suffix(end)?;
            let is_part = matches!(of(whole), Some(Kind::Histogram | Kind::Summary));
            is_part.then_some(whole)
        });
        let kind = match (of(name), part) {
            (Some(Kind::Summary), _) => Kind::Gauge,
            (Some(Kind::Histogram), _) | (None, None) => Kind::Untyped,
            (Some(kind), _) => kind,
            (None, Some(_)) => Kind::Counter,
        };
        let help = self.helps.get(part.unwrap_or(name)).cloned();
        let help = help.unwrap_or_else(|| "From a file.".to_owned());
        self.found.families.push(Family::dynamic(name.to_owned(), kind, help));
        self.places.insert(name, self.found.families.len() - 1);
        self.found.families.len() - 1
    }
}

/// Takes `a="x",b="y"}` from the start of `text`; gives what is left.
fn take_labels<'a>(text: &'a str, labels: &mut Vec<(String, String)>) -> Option<&'a str> {
    let mut rest = text.trim_start();
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return Some(rest);
        }
        let (name, tail) = rest.split_once('=')?;
        let name = name.trim();
        if !is_name(name) || name.contains(':') || labels.len() == LABELS_MAX {
            return None;
        }
        let tail = tail.trim_start().strip_prefix('"')?;
        let end = end_of_text(tail)?;
        labels.push((name.to_owned(), unescaped(tail.get(..end)?).into_owned()));
        rest = tail.get(end + 1..)?.trim_start();
        match rest.strip_prefix(',') {
            Some(tail) => rest = tail.trim_start(),
            None if rest.starts_with('}') => {}
            None => return None,
        }
    }
}

/// Where the quotation mark stands that ends a text.
fn end_of_text(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

/// The format knows `\\`, `\"` and `\n`.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => plain.push('\n'),
                Some(c @ ('\\' | '"')) => plain.push(c),
                Some(other) => plain.extend(['\\', other]),
                None => plain.push('\\'),
            },
            (c, false) => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_kinds_and_escapes() {
        let text = "# a remark\n\n# HELP up_x Whether it\\n is.\n# TYPE up_x gauge\nup_x{a=\"q\\\"\\\\\\n}\", b = \"2\",} 1e3\nup_x{} +Inf\n  plain\t-0.5 \n";
        let found = parse(text.as_bytes()).unwrap();
        assert_eq!(found.families[0].kind, Kind::Gauge);
        assert_eq!(found.families[0].help, "Whether it\n is.");
        assert_eq!(found.families[1].kind, Kind::Untyped);
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(found.samples[0].labels, [label("a", "q\"\\\n}"), label("b", "2")]);
        let values: Vec<f64> = found.samples.iter().map(|sample| sample.value).collect();
        assert_eq!(values, [1000.0, f64::INFINITY, -0.5]);
        assert_eq!(parse(b"").unwrap(), Exposition::default());
    }

    #[test]
    fn parts_of_histograms_and_summaries_are_counters() {
        let text = "# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_sum 3\nh_count 2\n# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_count 4\nother_count 1\n";
        let found = parse(text.as_bytes()).unwrap();
        let kinds: Vec<_> = found.families.iter().map(|f| (&*f.name, f.kind)).collect();
        let wanted = [
            ("h_bucket", Kind::Counter),
            ("h_sum", Kind::Counter),
            ("h_count", Kind::Counter),
            ("s", Kind::Gauge),
            ("s_count", Kind::Counter),
            ("other_count", Kind::Untyped),
        ];
        assert_eq!(kinds, wanted);
    }

    #[test]
    fn what_is_cut_or_wrong_names_its_line() {
        for text in [
            "x 1",
            "x\n",
            "x one\n",
            "x 1 1700000000000\n",
            "x{a=\"1\" 1\n",
            "x{a=1} 1\n",
            "x{a=\"1\"b=\"2\"} 1\n",
            "x{a=\"1\",a=\"2\"} 1\n",
            "x{a:b=\"1\"} 1\n",
            "x{a=\"1\n",
            "1x 1\n",
            "x{1=\"a\"} 1\n",
            "é 1\n",
            "# TYPE x colour\n",
            "# TYPE\n",
        ] {
            let error = parse(format!("ok 1\n{text}").as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("failed to parse metrics at line 2: "), "{text:?} {error}");
        }
        for text in [
            "x 1\nx 1\n",
            "x{a=\"1\",b=\"2\"} 1\nx{b=\"2\",a=\"1\"} 1\n",
            "x 1\n# TYPE x gauge\n",
            "# TYPE x gauge\n# TYPE x gauge\n",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(parse(b"x 1\nx{a=\"\xff\"} 1\n").is_err());
        let huge = "x{a=\"1\"} 1\n".len() * 2;
        let many: String = (0..=SAMPLES_MAX).map(|at| format!("x{at} {huge}\n")).collect();
        assert!(matches!(parse(many.as_bytes()), Err(ParseError::Limit { .. })));
    }
}
