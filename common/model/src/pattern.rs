//! Regular expressions that match whole values, and what can be told of those without running
//! them: most patterns that people write are a few alternatives, or a beginning and anything.

use std::sync::Arc;

use regex::Regex;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

use crate::pattern_programs;
use crate::pattern_room::{NoRoom, PatternRoom};
use crate::{MatcherError, dialect};

/// Bytes that a compiled pattern may take. Prometheus has no such bound; a pattern from outside
/// must not be able to take the machine's memory.
const REGEX_SIZE_MAX: usize = 4 * 1024 * 1024;

/// Bytes that a pattern may take while it matches, for each that it counts for in its room: it
/// keeps what it has found out of the values so far.
const MATCHING_FACTOR: usize = 8;

/// The most of these, as the `regex` crate has it.
const MATCHING_MAX: usize = 2 * 1024 * 1024;

/// Alternatives that are told apart: as many as a dashboard can select machines.
const ALTERNATIVES_MAX: usize = 1024;

/// Bytes of all alternatives together.
const ALTERNATIVES_LEN_MAX: usize = 64 * 1024;

/// Texts made on the way to the alternatives: a bound for patterns that multiply them and then
/// have none.
const TEXTS_MAX: usize = 16 * ALTERNATIVES_MAX;

/// A compiled pattern. `.` takes line ends too, as in Prometheus.
#[derive(Debug, Clone)]
pub(crate) enum Pattern {
    /// One of these, sorted.
    OneOf(Vec<String>),
    /// This and then anything, or anything but nothing.
    Begins { prefix: String, more: bool },
    /// Something else, which begins with this. All patterns of one text share their program.
    Other { prefix: String, regex: Arc<Regex> },
}

impl Pattern {
    /// Compiles `text`, within what is left for it and others.
    pub(crate) fn new(text: &str, room: &mut PatternRoom) -> Result<Self, MatcherError> {
        let error = |cause: &dyn std::error::Error| MatcherError {
            pattern: text.to_owned(),
            cause: format!("{}: `{text}`", one_line(cause)),
        };
        let no_room = |cause: NoRoom| error(&cause);
        let refused = |cause| MatcherError { pattern: text.to_owned(), cause };
        let translated = dialect::from_go(text).map_err(refused)?;
        let text = translated.as_str();
        // On its own first: `a)|(b` would close the group around it and slip its anchors.
        let tree = regex_syntax::ast::parse::Parser::new().parse(text);
        let bytes = room.take(&tree.map_err(|cause| error(&cause))?).map_err(no_room)?;
        let hir = regex_syntax::parse(&format!("(?s:{text})")).map_err(|cause| error(&cause))?;
        let mut texts = Room { texts: TEXTS_MAX };
        let values = texts.alternatives(&hir, Edges { start: true, end: true });
        room.take_texts(TEXTS_MAX - texts.texts).map_err(no_room)?;
        if let Some(values) = values.and_then(as_texts) {
            return Ok(Self::OneOf(values));
        }
        let Beginning { bytes: prefix, then } = beginning(&hir, Edges { start: true, end: true });
        let prefix = as_text(prefix);
        if let Then::Anything { more } = then {
            return Ok(Self::Begins { prefix, more });
        }
        let bytes = room.take_program(bytes).map_err(no_room)?;
        let compiled = |text: &str| {
            regex::RegexBuilder::new(&format!("^(?s:{text})$"))
                .size_limit(REGEX_SIZE_MAX)
                .dfa_size_limit(bytes.saturating_mul(MATCHING_FACTOR).min(MATCHING_MAX))
                .build()
        };
        let regex = pattern_programs::shared(text, compiled).map_err(|cause| error(&cause))?;
        Ok(Self::Other { prefix, regex })
    }

    /// Whether the whole of `value` matches.
    pub(crate) fn matches(&self, value: &str) -> bool {
        match self {
            Self::OneOf(values) => {
                values.binary_search_by(|known| known.as_str().cmp(value)).is_ok()
            }
            Self::Begins { prefix, more } => {
                value.strip_prefix(&**prefix).is_some_and(|rest| !(*more && rest.is_empty()))
            }
            Self::Other { prefix, regex } => value.starts_with(&**prefix) && regex.is_match(value),
        }
    }

    /// All values that match, sorted, where these are few.
    pub(crate) fn alternatives(&self) -> Option<&[String]> {
        match self {
            Self::OneOf(values) => Some(values),
            Self::Begins { .. } | Self::Other { .. } => None,
        }
    }

    /// What all values that match begin with.
    pub(crate) fn prefix(&self) -> &str {
        match self {
            Self::OneOf(values) => match (values.first(), values.last()) {
                // Of sorted texts, what the first and the last share is shared by all.
                (Some(first), Some(last)) => {
                    let shared = shared(first.as_bytes(), last.as_bytes());
                    first.get(..shared).or_else(|| first.get(..first.floor_char_boundary(shared)))
                }
                _ => None,
            }
            .unwrap_or_default(),
            Self::Begins { prefix, .. } | Self::Other { prefix, .. } => prefix,
        }
    }
}

/// The regex crates draw their errors over several lines; the last one says what is wrong.
fn one_line(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

/// How many bytes two texts share at their beginning.
fn shared(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn as_texts(values: Vec<Vec<u8>>) -> Option<Vec<String>> {
    let texts: Result<Vec<String>, _> = values.into_iter().map(String::from_utf8).collect();
    let mut texts = texts.ok()?;
    texts.sort_unstable();
    texts.dedup();
    Some(texts)
}

/// The text of bytes that may end within a character.
fn as_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let whole = error.utf8_error().valid_up_to();
        let bytes = error.into_bytes();
        bytes
            .get(..whole)
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .unwrap_or_default()
    })
}

/// Which edges of the value a part of the pattern stands at.
#[derive(Clone, Copy)]
struct Edges {
    start: bool,
    end: bool,
}

impl Edges {
    const NONE: Self = Self { start: false, end: false };

    /// Whether a condition on the place always holds here. Those at the edges of lines hold at
    /// other places too, so that they tell nothing.
    fn grant(self, look: Look) -> bool {
        match look {
            Look::Start => self.start,
            Look::End => self.end,
            _ => false,
        }
    }
}

fn takes_no_text(hir: &Hir) -> bool {
    hir.properties().maximum_len() == Some(0)
}

struct Room {
    texts: usize,
}

impl Room {
    /// All that a part matches; `None` when that is too much, or cannot be told.
    fn alternatives(&mut self, hir: &Hir, edges: Edges) -> Option<Vec<Vec<u8>>> {
        match hir.kind() {
            HirKind::Empty => Some(vec![Vec::new()]),
            HirKind::Literal(literal) => Some(vec![literal.0.to_vec()]),
            HirKind::Class(class) => self.class(class),
            HirKind::Look(look) => edges.grant(*look).then(|| vec![Vec::new()]),
            HirKind::Capture(capture) => self.alternatives(&capture.sub, edges),
            HirKind::Alternation(parts) => {
                let mut all = Vec::new();
                for part in parts {
                    let more = self.alternatives(part, edges)?;
                    self.texts = self.texts.checked_sub(more.len())?;
                    all.extend(more);
                    is_bounded(&all)?;
                }
                Some(all)
            }
            HirKind::Concat(parts) => {
                let mut all = vec![Vec::new()];
                for (at, part) in parts.iter().enumerate() {
                    let behind = parts.get(at + 1..).unwrap_or_default();
                    let start = edges.start && all.iter().all(Vec::is_empty);
                    let end = edges.end && behind.iter().all(takes_no_text);
                    let next = self.alternatives(part, Edges { start, end })?;
                    all = self.product(&all, &next)?;
                }
                Some(all)
            }
            HirKind::Repetition(repetition) => {
                let once = self.alternatives(&repetition.sub, Edges::NONE)?;
                self.repeated(&once, repetition.min, repetition.max?)
            }
        }
    }

    fn class(&mut self, class: &Class) -> Option<Vec<Vec<u8>>> {
        let mut all = Vec::new();
        match class {
            Class::Unicode(class) => {
                for range in class.iter() {
                    for value in range.start()..=range.end() {
                        all.push(value.to_string().into_bytes());
                        if all.len() > ALTERNATIVES_MAX {
                            return None;
                        }
                    }
                }
            }
            Class::Bytes(class) => {
                for range in class.iter() {
                    all.extend((range.start()..=range.end()).map(|byte| vec![byte]));
                }
            }
        }
        self.check(&all)?;
        Some(all)
    }

    fn repeated(&mut self, once: &[Vec<u8>], min: u32, max: u32) -> Option<Vec<Vec<u8>>> {
        let mut times = vec![Vec::new()];
        for _ in 0..min {
            let next = self.product(&times, once)?;
            if next == times {
                break;
            }
            times = next;
        }
        let mut all = times.clone();
        for _ in min..max {
            let next = self.product(&times, once)?;
            if next == times {
                break;
            }
            all.extend_from_slice(&next);
            all.sort_unstable();
            all.dedup();
            self.check(&all)?;
            times = next;
        }
        Some(all)
    }

    /// Each of `first` followed by each of `then`.
    fn product(&mut self, first: &[Vec<u8>], then: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
        if first.len().checked_mul(then.len())? > ALTERNATIVES_MAX {
            return None;
        }
        let both = first.iter().flat_map(|a| then.iter().map(move |b| [&**a, b].concat()));
        let mut all: Vec<Vec<u8>> = both.collect();
        all.sort_unstable();
        all.dedup();
        self.check(&all)?;
        Some(all)
    }

    fn check(&mut self, all: &[Vec<u8>]) -> Option<()> {
        self.texts = self.texts.checked_sub(all.len())?;
        is_bounded(all)
    }
}

fn is_bounded(all: &[Vec<u8>]) -> Option<()> {
    let len: usize = all.iter().map(Vec::len).sum();
    (all.len() <= ALTERNATIVES_MAX && len <= ALTERNATIVES_LEN_MAX).then_some(())
}

/// What follows a beginning.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    Anything { more: bool },
    Unknown,
}

struct Beginning {
    bytes: Vec<u8>,
    then: Then,
}

impl Beginning {
    const UNKNOWN: Self = Self { bytes: Vec::new(), then: Then::Unknown };
}

/// What all that a part matches begins with, and what comes after it.
fn beginning(hir: &Hir, edges: Edges) -> Beginning {
    let only = |bytes: &[u8]| Beginning { bytes: bytes.to_vec(), then: Then::Nothing };
    match hir.kind() {
        HirKind::Empty => only(b""),
        HirKind::Literal(literal) => only(&literal.0),
        HirKind::Look(look) if edges.grant(*look) => only(b""),
        HirKind::Class(_) | HirKind::Look(_) => Beginning::UNKNOWN,
        HirKind::Capture(capture) => beginning(&capture.sub, edges),
        HirKind::Repetition(repetition) => {
            let open = repetition.max.is_none() && is_any(&repetition.sub);
            match repetition.min {
                min @ 0..=1 if open => {
                    Beginning { bytes: Vec::new(), then: Then::Anything { more: min == 1 } }
                }
                0 => Beginning::UNKNOWN,
                _ => Beginning {
                    bytes: beginning(&repetition.sub, Edges::NONE).bytes,
                    then: Then::Unknown,
                },
            }
        }
        HirKind::Alternation(parts) => {
            let mut bytes: Option<Vec<u8>> = None;
            for part in parts {
                let next = beginning(part, edges).bytes;
                bytes = Some(match bytes {
                    Some(mut sofar) => {
                        sofar.truncate(shared(&sofar, &next));
                        sofar
                    }
                    None => next,
                });
            }
            Beginning { bytes: bytes.unwrap_or_default(), then: Then::Unknown }
        }
        HirKind::Concat(parts) => {
            let mut bytes = Vec::new();
            for (at, part) in parts.iter().enumerate() {
                let behind = parts.get(at + 1..).unwrap_or_default();
                let start = edges.start && bytes.is_empty();
                let end = edges.end && behind.iter().all(takes_no_text);
                let next = beginning(part, Edges { start, end });
                bytes.extend(next.bytes);
                if next.then != Then::Nothing {
                    // A `$` behind it says nothing more, and is all that says nothing more.
                    let last = behind.iter().all(|hir| match hir.kind() {
                        HirKind::Look(look) => Edges { start: false, ..edges }.grant(*look),
                        _ => false,
                    });
                    let then = if last { next.then } else { Then::Unknown };
                    return Beginning { bytes, then };
                }
            }
            Beginning { bytes, then: Then::Nothing }
        }
    }
}

/// Whether a part matches any one character.
fn is_any(hir: &Hir) -> bool {
    let HirKind::Class(Class::Unicode(class)) = hir.kind() else { return false };
    matches!(class.ranges(), [all] if all.start() == '\0' && all.end() == char::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compile(text: &str) -> Result<Pattern, MatcherError> {
        Pattern::new(text, &mut PatternRoom::default())
    }

    fn alternatives(text: &str) -> Option<Vec<String>> {
        compile(text).unwrap().alternatives().map(<[String]>::to_vec)
    }

    #[test]
    fn alternatives_are_told() {
        let some = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect());
        assert_eq!(alternatives("a|b|c"), some(&["a", "b", "c"]));
        assert_eq!(alternatives("(a|b)c"), some(&["ac", "bc"]));
        assert_eq!(alternatives(r"10\.0\.0\.1:9100|ü"), some(&["10.0.0.1:9100", "ü"]));
        assert_eq!(alternatives("(?i)aB"), some(&["AB", "Ab", "aB", "ab"]));
        assert_eq!(alternatives("(?i:K)"), some(&["K", "k", "\u{212a}"]));
        assert_eq!(alternatives("^(?:x|y)$"), some(&["x", "y"]));
        assert_eq!(alternatives("sd[a-c]1?"), some(&["sda", "sda1", "sdb", "sdb1", "sdc", "sdc1"]));
        assert_eq!(alternatives(""), some(&[""]));
        assert_eq!(alternatives("a|"), some(&["", "a"]));
        assert_eq!(alternatives("a{3}"), some(&["aaa"]));
        assert_eq!(alternatives("[^\\s\\S]"), some(&[]), "nothing matches it");
        for other in ["a.*", "a+", r"a\b", "(?m)^a", "a$b", "[^a]", r"\pL", "(x|y){0,10}"] {
            assert_eq!(alternatives(other), None, "{other}");
        }
    }

    #[test]
    fn beginnings_are_told() {
        let cases = [
            ("node_.*", "node_", Some(false)),
            ("node_.+", "node_", Some(true)),
            ("^node_.*$", "node_", Some(false)),
            ("(node_)(.*)", "node_", Some(false)),
            (".*", "", Some(false)),
            (".+", "", Some(true)),
            ("node_(cpu|disk).*", "node_", None),
            ("node_cpu.*|node_c.*", "node_c", None),
            ("node_[a-z]+", "node_", None),
            ("(ab)+c.*", "ab", None),
            ("a(?-s:.*)", "a", None),
            (".*x", "", None),
            ("ü.*|ö.*", "", None),
            ("(?i)node.*", "", None),
            ("x.*$y", "x", None),
            ("x.*^", "x", None),
            (".*^", "", None),
            ("x.*|y", "", None),
        ];
        for (text, prefix, anything) in cases {
            let pattern = compile(text).unwrap();
            assert_eq!(pattern.prefix(), prefix, "{text}");
            let found = match pattern {
                Pattern::Begins { more, .. } => Some(more),
                _ => None,
            };
            assert_eq!(found, anything, "{text}");
        }
    }

    /// Patterns that would have a great many alternatives are run, not told.
    #[test]
    fn what_multiplies_is_bounded() {
        for text in [
            "(a|b){30}",
            "((|a){1000}){1000}",
            "(){4000000000}",
            "(|){4000000000}",
            "a{0,4000000}",
            "(?:[ab]{8}|c){40}",
            "((((a|b)(a|b)){5}){5}){5}",
            "(a|aa|aaa){1,200}",
        ] {
            let text = text.repeat(20);
            let _ = compile(&text);
        }
    }

    fn pattern() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec![
            "a",
            "b",
            "ab",
            "ü",
            r"\.",
            ".",
            "",
            "[ab]",
            "[^a]",
            r"\w",
            "^",
            "$",
            r"\b",
            r"\x61",
            "(?i)",
            "(?m)",
            "(?-s)",
            r"\pL",
            "k",
            "[a-z&&[^b]]",
            r"\A",
            r"\z",
            ".*",
            ".+",
            r"\n",
            "(?-u:a)",
        ])
        .prop_map(str::to_owned);
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
                prop::collection::vec(inner.clone(), 1..4)
                    .prop_map(|parts| format!("(?:{})", parts.join("|"))),
                inner.clone().prop_map(|part| format!("({part})")),
                inner.clone().prop_map(|part| format!("(?i:{part})")),
                (inner, prop::sample::select(vec!["?", "*", "+", "{2}", "{0,2}", "{2,}", "??"]))
                    .prop_map(|(part, times)| format!("(?:{part}){times}")),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

        /// Whatever is told of a pattern, it matches what the regular expression does.
        #[test]
        fn equals_the_regular_expression(
            text in pattern(),
            values in prop::collection::vec("[abABkKü.\n]{0,4}", 1..24),
        ) {
            let wanted = dialect::from_go(&text)
                .map_err(drop)
                .and_then(|text| Regex::new(&format!("^(?s:{text})$")).map_err(drop));
            let found = compile(&text);
            prop_assert_eq!(wanted.is_ok(), found.is_ok(), "{}", text);
            let (Ok(wanted), Ok(found)) = (wanted, found) else { return Ok(()) };
            let mut values = values;
            values.extend(["", "a", "b", "ab", "aa", "A", "ü", "\n", "\u{212a}"].map(str::to_owned));
            values.extend(found.alternatives().unwrap_or_default().iter().cloned());
            for value in values {
                let matches = wanted.is_match(&value);
                prop_assert_eq!(found.matches(&value), matches, "{:?} {:?}", text, value);
                prop_assert!(!matches || value.starts_with(found.prefix()), "{:?} {:?}", text, value);
            }
        }
    }
}
