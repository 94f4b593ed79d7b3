//! Reading configuration texts so that one look gives every problem, each with its line.
//!
//! A TOML table is read key by key rather than by derive: [`Section::take`] removes a key and
//! reads it into a field, [`Section::finish`] names what nobody took. What a text does not say
//! keeps the value the field had, which is how one configuration is laid over another.
//!
//! Not here: which keys there are, which every room says for itself.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use toml::de::DeValue as Value;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::duration;

/// One thing that is wrong in a configuration text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line it stands on, from 1.
    pub line: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// Reads `text` by `read`, which takes the keys it knows out of the root section; keys that are
/// left are problems. Gives all problems in the order of their lines.
pub fn read<'t>(
    text: &'t str,
    read: impl FnOnce(&mut Section<'t>, &mut Problems<'t>),
) -> Result<(), Vec<Problem>> {
    let mut problems = Problems { text, found: Vec::new() };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        problems.at(error.span().map_or(0, |span| span.start), error.message().to_owned());
    }
    // What follows a syntax error is guesswork; its own problems would mislead.
    if problems.found.is_empty() {
        let mut root = Section::new(table.into_inner(), "");
        read(&mut root, &mut problems);
        root.finish(&mut problems);
    }
    problems.found.sort_by_key(|problem| problem.line);
    if problems.found.is_empty() { Ok(()) } else { Err(problems.found) }
}

/// Collects what is wrong, by its place in the text.
#[derive(Debug)]
pub struct Problems<'a> {
    text: &'a str,
    found: Vec<Problem>,
}

impl Problems<'_> {
    /// Notes a problem at a byte of the text.
    pub fn at(&mut self, offset: usize, message: String) {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        self.found.push(Problem { line, message });
    }
}

/// A table whose keys are taken out one by one, so that what is left is unknown.
#[derive(Debug)]
pub struct Section<'a> {
    table: DeTable<'a>,
    prefix: String,
    known: Vec<&'static str>,
    start: usize,
}

impl<'a> Section<'a> {
    fn new(table: DeTable<'a>, prefix: &str) -> Self {
        Self { table, prefix: prefix.to_owned(), known: Vec::new(), start: 0 }
    }

    fn remove(&mut self, key: &'static str) -> Option<Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table.remove(key)
    }

    /// Reads `key`, when it is there, into `field`.
    pub fn take<T>(
        &mut self,
        key: &'static str,
        problems: &mut Problems<'_>,
        field: &mut T,
        read: impl FnOnce(&Value<'_>) -> Result<T, String>,
    ) {
        let Some(value) = self.remove(key) else { return };
        match read(value.get_ref()) {
            Ok(read) => *field = read,
            Err(message) => {
                problems.at(value.span().start, format!("{}{key}: {message}", self.prefix));
            }
        }
    }

    /// Reads the table `key`, when it is there, by `read`.
    pub fn section(
        &mut self,
        key: &'static str,
        problems: &mut Problems<'_>,
        read: impl FnOnce(&mut Section<'a>, &mut Problems<'_>),
    ) {
        let Some(value) = self.remove(key) else { return };
        let start = value.span().start;
        match value.into_inner() {
            DeValue::Table(table) => {
                let mut section = Section::new(table, &format!("{}{key}.", self.prefix));
                section.start = start;
                read(&mut section, problems);
                section.finish(problems);
            }
            other => problems.at(start, wanted(&other, &format!("a [{key}] section"))),
        }
    }

    /// Reads the list of tables `key` (`[[key]]`), when it is there, by `read`, once for each.
    pub fn sections(
        &mut self,
        key: &'static str,
        problems: &mut Problems<'_>,
        mut read: impl FnMut(&mut Section<'a>, &mut Problems<'_>),
    ) {
        let Some(value) = self.remove(key) else { return };
        let start = value.span().start;
        let DeValue::Array(items) = value.into_inner() else {
            return problems.at(start, format!("expected [[{key}]] sections"));
        };
        for (at, item) in items.into_iter().enumerate() {
            let start = item.span().start;
            match item.into_inner() {
                DeValue::Table(table) => {
                    let mut section = Section::new(table, &format!("{}{key}[{at}].", self.prefix));
                    section.start = start;
                    read(&mut section, problems);
                    section.finish(problems);
                }
                other => problems.at(start, wanted(&other, &format!("a [[{key}]] section"))),
            }
        }
    }

    /// Reads the list of tables `key`, when it is there, as a type that knows serde; `each` gets
    /// every one that could be read, and where it begins. Of each, serde tells the first problem.
    pub fn deserialize<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        problems: &mut Problems<'_>,
        mut each: impl FnMut(T, usize, &mut Problems<'_>),
    ) {
        let Some(value) = self.remove(key) else { return };
        let start = value.span().start;
        let DeValue::Array(items) = value.into_inner() else {
            return problems.at(start, format!("expected [[{key}]] sections"));
        };
        for (at, item) in items.into_iter().enumerate() {
            let start = item.span().start;
            match T::deserialize(ValueDeserializer::from(item)) {
                Ok(read) => each(read, start, problems),
                Err(error) => {
                    let start = error.span().map_or(start, |span| span.start);
                    let message = format!("{}{key}[{at}]: {}", self.prefix, error.message());
                    problems.at(start, message);
                }
            }
        }
    }

    /// Where the section begins, for a problem that is about the whole of it.
    pub fn start(&self) -> usize {
        self.start
    }

    fn finish(&mut self, problems: &mut Problems<'_>) {
        self.known.sort_unstable();
        for key in self.table.keys() {
            let message = format!(
                "unknown key {}{} (known here: {})",
                self.prefix,
                key.get_ref(),
                self.known.join(", ")
            );
            problems.at(key.span().start, message);
        }
    }
}

/// `expected WHAT, found a KIND`, for a value of the wrong kind.
pub fn wanted(value: &DeValue<'_>, what: &str) -> String {
    format!("expected {what}, found {} {}", article(value.type_str()), value.type_str())
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// Reads a text.
pub fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| wanted(value, "a text"))
}

/// Reads `true` or `false`.
pub fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| wanted(value, "true or false"))
}

/// Reads a path; an empty one is a problem.
pub fn path(value: &DeValue<'_>) -> Result<PathBuf, String> {
    match text(value)? {
        "" => Err("expected a path, found an empty text".to_owned()),
        path => Ok(Path::new(path).to_owned()),
    }
}

/// Reads a list of paths.
pub fn paths(value: &DeValue<'_>) -> Result<Vec<PathBuf>, String> {
    let list = value.as_array().ok_or_else(|| wanted(value, "a list of paths"))?;
    list.iter().map(|item| path(item.get_ref())).collect()
}

/// Reads an `http` or `https` URL; a slash at its end is dropped.
pub fn url(value: &DeValue<'_>) -> Result<String, String> {
    let url = text(value)?;
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    match rest {
        Some(host) if !host.is_empty() => Ok(url.trim_end_matches('/').to_owned()),
        _ => Err(format!("expected a URL such as https://lab.example, found {url:?}")),
    }
}

/// Reads a whole number within bounds.
pub fn count(value: &DeValue<'_>, min: usize, max: usize) -> Result<usize, String> {
    let number = value.as_integer().ok_or_else(|| wanted(value, "a whole number"))?;
    match usize::from_str_radix(number.as_str(), number.radix()) {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("expected a number from {min} to {max}, found {number}")),
    }
}

/// Reads a duration within bounds, in milliseconds.
pub fn duration_within(value: &DeValue<'_>, min_ms: i64, max_ms: i64) -> Result<i64, String> {
    let text = text(value)?;
    let ms = duration::parse_ms(text).map_err(|error| error.to_string())?;
    if (min_ms..=max_ms).contains(&ms) {
        return Ok(ms);
    }
    let (min, max) = (duration::format_ms(min_ms), duration::format_ms(max_ms));
    Err(format!("expected a duration from {min} to {max}, found {text}"))
}

/// Reads a text that is not empty.
pub fn name(value: &Value<'_>) -> Result<String, String> {
    match text(value)? {
        "" => Err("expected a name, found an empty text".to_owned()),
        name => Ok(name.to_owned()),
    }
}

/// Reads a list of texts, none of them empty.
pub fn names(value: &Value<'_>) -> Result<Vec<String>, String> {
    let list = value.as_array().ok_or_else(|| wanted(value, "a list of texts"))?;
    list.iter().map(|item| name(item.get_ref())).collect()
}

/// Reads an address and port to listen on.
pub fn listen(value: &Value<'_>) -> Result<SocketAddr, String> {
    let text = text(value)?;
    text.replacen("localhost", "127.0.0.1", 1)
        .parse()
        .map_err(|_| format!("expected an address and port such as 127.0.0.1:9100, found {text:?}"))
}

/// Reads a size such as `64MiB` or `2GiB` within bounds, in bytes.
pub fn size_within(value: &Value<'_>, min: u64, max: u64) -> Result<u64, String> {
    let text = text(value)?;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => 0,
    };
    let size = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    match size {
        Some(size) if (min..=max).contains(&size) => Ok(size),
        _ => Err(format!(
            "expected a size from {} to {}, found {text:?}",
            mebibytes(min),
            mebibytes(max)
        )),
    }
}

fn mebibytes(bytes: u64) -> String {
    if bytes < 1 << 30 { format!("{}MiB", bytes >> 20) } else { format!("{}GiB", bytes >> 30) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq)]
    struct Settings {
        colour: String,
        sizes: Vec<u64>,
    }

    fn parse(text: &str) -> Result<Settings, Vec<String>> {
        let mut settings = Settings::default();
        let done = read(text, |root, problems| {
            root.take("colour", problems, &mut settings.colour, name);
            root.sections("disk", problems, |disk, problems| {
                let mut size = 0;
                disk.take("size", problems, &mut size, |value| {
                    size_within(value, 1 << 20, 1 << 40)
                });
                settings.sizes.push(size);
            });
        });
        done.map_err(|found| found.iter().map(Problem::to_string).collect::<Vec<_>>())?;
        Ok(settings)
    }

    #[test]
    fn known_keys_are_read() {
        let text = "colour = \"red\"\n[[disk]]\nsize = \"1MiB\"\n[[disk]]\nsize = \"2GiB\"\n";
        let sizes = vec![1 << 20, 2 << 30];
        assert_eq!(parse(text), Ok(Settings { colour: "red".to_owned(), sizes }));
    }

    #[test]
    fn every_problem_has_its_line() {
        let problems =
            parse("colour = 3\n[[disk]]\nsize = \"1\"\nshape = 1\n[tray]\n").unwrap_err();
        assert_eq!(
            problems,
            [
                "line 1: colour: expected a text, found an integer",
                "line 3: disk[0].size: expected a size from 1MiB to 1024GiB, found \"1\"",
                "line 4: unknown key disk[0].shape (known here: size)",
                "line 5: unknown key tray (known here: colour, disk)",
            ]
        );
    }

    #[test]
    fn types_that_know_serde_are_read_and_their_problems_have_lines() {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Disk {
            size: u8,
        }
        let mut sizes = Vec::new();
        let text = "[[disk]]\nsize = 1\n[[disk]]\nsize = 300\n[[disk]]\nsize = 2\nshape = 1\n";
        let problems = read(text, |root, problems| {
            root.deserialize("disk", problems, |disk: Disk, _, _| sizes.push(disk.size));
        });
        let lines: Vec<usize> = problems.unwrap_err().iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [4, 7]);
        assert_eq!(sizes, [1]);
    }

    #[test]
    fn syntax_errors_hide_the_rest() {
        let problems = parse("colour = 3\nx = \n").unwrap_err();
        assert!(problems[0].starts_with("line 2: "), "{problems:?}");
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}
