//! Reading configuration texts so that one look gives every problem, each with its line.
//!
//! A TOML table is read key by key rather than by derive: [`Section::take`] removes a key and
//! reads it into a field, [`Section::finish`] names what nobody took. What a text does not say
//! keeps the value the field had, which is how one configuration is laid over another.
//!
//! Not here: which keys there are, which every room says for itself.

use std::collections::BTreeMap;
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

    /// How many there are so far.
    pub fn count(&self) -> usize {
        self.found.len()
    }
}

/// Where the tables and lists of a text begin, and the values in them: for problems that are found
/// when all of it has been read, and that name a place such as `route.routes[1].receiver`.
#[derive(Debug, Clone, Default)]
pub struct Outline(BTreeMap<String, usize>);

impl Outline {
    /// Where `place` begins, or the nearest around it that is there.
    pub fn offset(&self, place: &str) -> usize {
        let mut place = place;
        loop {
            if let Some(offset) = self.0.get(place) {
                return *offset;
            }
            let Some(end) = place.rfind(['.', '[']) else { return 0 };
            place = place.get(..end).unwrap_or("");
        }
    }

    fn add(&mut self, place: &str, value: &Spanned<DeValue<'_>>) {
        self.0.insert(place.to_owned(), value.span().start);
        match value.get_ref() {
            DeValue::Table(table) => self.add_table(&format!("{place}."), table),
            DeValue::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.add(&format!("{place}[{at}]"), item);
                }
            }
            _ => {}
        }
    }

    fn add_table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let place = format!("{prefix}{}", key.get_ref());
            self.add(&place, value);
        }
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

    /// Reads the table `key`, when it is there, as a type that knows serde, with tables of its own
    /// kind below it in lists that are called `below`; `attach` puts those into it. Of each table,
    /// serde tells the first problem.
    pub fn tree<T: DeserializeOwned + Default>(
        &mut self,
        key: &'static str,
        below: &'static str,
        problems: &mut Problems<'_>,
        attach: fn(&mut T, Vec<T>),
    ) -> Option<T> {
        let value = self.remove(key)?;
        Some(tree(&format!("{}{key}", self.prefix), below, value, problems, attach))
    }

    /// Where everything in the section begins that has not been taken yet.
    pub fn outline(&self) -> Outline {
        let mut outline = Outline::default();
        outline.add_table(&self.prefix, &self.table);
        outline
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

fn tree<T: DeserializeOwned + Default>(
    place: &str,
    below: &'static str,
    value: Spanned<DeValue<'_>>,
    problems: &mut Problems<'_>,
    attach: fn(&mut T, Vec<T>),
) -> T {
    let span = value.span();
    let DeValue::Table(mut table) = value.into_inner() else {
        problems.at(span.start, format!("{place}: expected a table"));
        return T::default();
    };
    let mut children = Vec::new();
    if let Some(items) = table.remove(below) {
        let start = items.span().start;
        match items.into_inner() {
            DeValue::Array(items) => {
                for (at, item) in items.into_iter().enumerate() {
                    let place = format!("{place}.{below}[{at}]");
                    children.push(tree(&place, below, item, problems, attach));
                }
            }
            other => {
                let wanted = wanted(&other, &format!("a list of {below}"));
                problems.at(start, format!("{place}.{below}: {wanted}"));
            }
        }
    }
    let rest = Spanned::new(span.clone(), DeValue::Table(table));
    let mut read = T::deserialize(ValueDeserializer::from(rest)).unwrap_or_else(|error| {
        let start = error.span().map_or(span.start, |span| span.start);
        problems.at(start, format!("{place}: {}", error.message()));
        T::default()
    });
    attach(&mut read, children);
    read
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

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Branch {
        #[serde(default)]
        name: String,
        #[serde(skip)]
        below: Vec<Branch>,
    }

    fn branch(text: &str) -> (Option<Branch>, Vec<String>, Outline) {
        let (mut found, mut outline) = (None, Outline::default());
        let done = read(text, |root, problems| {
            outline = root.outline();
            found = root.tree("branch", "twigs", problems, |branch: &mut Branch, below| {
                branch.below = below;
            });
        });
        let problems = done.err().unwrap_or_default();
        (found, problems.iter().map(Problem::to_string).collect(), outline)
    }

    #[test]
    fn trees_are_read_and_each_branch_tells_its_problem() {
        let text = "[branch]\nname = \"a\"\n[[branch.twigs]]\nname = \"b\"\n\
                    [[branch.twigs.twigs]]\nname = \"c\"\n[[branch.twigs]]\n";
        let (found, problems, outline) = branch(text);
        assert!(problems.is_empty(), "{problems:?}");
        let found = found.unwrap();
        assert_eq!((found.name.as_str(), found.below.len()), ("a", 2));
        assert_eq!(found.below[0].below[0].name, "c");
        let line = |place: &str| 1 + text[..outline.offset(place)].matches('\n').count();
        assert_eq!(line("branch.twigs[0].twigs[0].name"), 6);
        assert_eq!(line("branch.twigs[0].twigs[0].wait"), 5);
        assert_eq!(line("branch.twigs[1]"), 7);
        assert_eq!(line("elsewhere.at[7]"), 1);

        let (_, problems, _) =
            branch("[branch]\nnam = 1\n[[branch.twigs]]\nname = 2\n[[branch.twigs]]\ntwigs = 3\n");
        let lines: Vec<&str> = problems.iter().filter_map(|problem| problem.get(..7)).collect();
        assert_eq!(lines, ["line 2:", "line 4:", "line 6:"], "{problems:#?}");
        assert!(branch("branch = 1\n").1[0].contains("expected a table"));
    }

    #[test]
    fn syntax_errors_hide_the_rest() {
        let problems = parse("colour = 3\nx = \n").unwrap_err();
        assert!(problems[0].starts_with("line 2: "), "{problems:?}");
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}
