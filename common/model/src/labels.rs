//! Label sets: sorted by name, immutable, cheap to clone, hash and compare.
//!
//! A set is one string: for every label, ascending by name, the length of the name, the name, the
//! length of the value, the value. One allocation holds a whole set, equality and hashing are
//! those of the string, and a [`Batch`](crate::Batch) can lay thousands of sets in one buffer.
//!
//! Lengths are written in groups of six bits, lowest first, one byte each; a byte with bit 6 set
//! is followed by another. All such bytes are ASCII, so the whole encoding stays a valid `str`.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::limits::{LABEL_NAME_LEN_MAX, LABEL_VALUE_LEN_MAX, LABELS_MAX};

/// The label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";

/// Whether a label says what metric a series is of: its name, type or unit.
pub fn is_metadata(name: &str) -> bool {
    matches!(name, METRIC_NAME | "__type__" | "__unit__")
}

const LEN_BITS: u32 = 6;
const LEN_MORE: u8 = 1 << LEN_BITS;

/// Why a set of labels from outside was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// A label without a name.
    #[error("label with an empty name")]
    EmptyName,
    /// The same name twice.
    #[error("label {0:?} given twice")]
    Duplicate(String),
    /// More labels than any sane series has.
    #[error("{0} labels, over the limit of {LABELS_MAX}")]
    TooMany(usize),
    /// A name too long to be one.
    #[error("label name of {0} bytes, over the limit of {LABEL_NAME_LEN_MAX}")]
    NameTooLong(usize),
    /// A value too long to be kept.
    #[error("value of label {name:?} has {len} bytes, over the limit of {LABEL_VALUE_LEN_MAX}")]
    ValueTooLong {
        /// The label's name.
        name: String,
        /// The value's length in bytes.
        len: usize,
    },
}

/// An owned label set. Cloning shares it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(Arc<str>);

/// A borrowed label set: a [`Labels`], or one that lies in a larger buffer.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LabelsRef<'a>(&'a str);

impl Labels {
    /// The set of `pairs`, sorted by name. Labels with an empty value are left out, since to
    /// Prometheus they are absent; of two with the same name the later one counts.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut pairs: Vec<(&str, &str)> = pairs.into_iter().collect();
        // The sort is stable, so among equal names the last given comes last.
        pairs.sort_by_key(|(name, _)| *name);
        let mut text = String::with_capacity(encoded_len(&pairs));
        for (at, &(name, value)) in pairs.iter().enumerate() {
            let superseded = pairs.get(at + 1).is_some_and(|(next, _)| *next == name);
            if !superseded && !value.is_empty() {
                push_pair(&mut text, name, value);
            }
        }
        Self(text.into())
    }

    /// As [`Labels::new`], for labels from outside: refuses what breaks a limit, an empty name and
    /// a name given twice.
    pub fn try_new(pairs: &[(&str, &str)]) -> Result<Self, LabelError> {
        if pairs.len() > LABELS_MAX {
            return Err(LabelError::TooMany(pairs.len()));
        }
        for (name, value) in pairs {
            check(name, value)?;
        }
        if pairs.windows(2).all(|pair| matches!(pair, [a, b] if a.0 < b.0)) {
            let mut text = String::with_capacity(encoded_len(pairs));
            for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
                push_pair(&mut text, name, value);
            }
            return Ok(Self(text.into()));
        }
        let mut names: Vec<&str> = pairs.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        if let Some([name, _]) = names.windows(2).find(|pair| matches!(pair, [a, b] if a == b)) {
            return Err(LabelError::Duplicate((*name).to_owned()));
        }
        Ok(Self::new(pairs.iter().copied()))
    }

    /// The set, borrowed.
    pub fn as_ref(&self) -> LabelsRef<'_> {
        LabelsRef(&self.0)
    }

    /// Whether the set has no label.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes that the text of the set takes.
    pub fn size_bytes(&self) -> usize {
        self.0.len()
    }

    /// The value of `name`; `None` when there is no such label.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.as_ref().get(name)
    }

    /// The metric name, or an empty string.
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    /// The labels, ascending by name.
    pub fn iter(&self) -> LabelsIter<'_> {
        self.as_ref().iter()
    }

    /// This set with `name` set to `value` (an empty value removes it).
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        Self::new(self.iter().chain([(name, value)]))
    }

    /// This set without the labels for which `drop` is true.
    #[must_use]
    pub fn without(&self, mut drop: impl FnMut(&str) -> bool) -> Self {
        let mut text = String::with_capacity(self.0.len());
        for (name, value) in self.iter() {
            if !drop(name) {
                push_pair(&mut text, name, value);
            }
        }
        Self(text.into())
    }

    /// This set without the metric name.
    #[must_use]
    pub fn without_metric_name(&self) -> Self {
        self.without(|name| name == METRIC_NAME)
    }

    /// This set without the metric name and what belongs to it, its type and its unit: the labels
    /// of a value that is no longer that of the metric.
    #[must_use]
    pub fn without_metadata(&self) -> Self {
        self.without(is_metadata)
    }
}

impl<'a> LabelsRef<'a> {
    /// The labels, ascending by name.
    pub fn iter(self) -> LabelsIter<'a> {
        LabelsIter { rest: self.0 }
    }

    /// The value of `name`; `None` when there is no such label.
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// Whether the set has no label.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// An owned copy.
    pub fn to_labels(self) -> Labels {
        Labels(self.0.into())
    }

    /// The encoding described at the top of this module: equal sets have equal ones.
    pub(crate) fn as_encoded(self) -> &'a str {
        self.0
    }

    /// The encoding described at the top of this module, for a buffer of many sets.
    pub(crate) fn from_encoded(text: &'a str) -> Self {
        Self(text)
    }
}

/// The labels of a set, ascending by name. See [`Labels::iter`].
#[derive(Debug, Clone)]
pub struct LabelsIter<'a> {
    rest: &'a str,
}

impl<'a> LabelsIter<'a> {
    fn text(&mut self) -> Option<&'a str> {
        let mut len = 0_usize;
        let mut shift = 0;
        let mut used = 0;
        for byte in self.rest.bytes() {
            len |= usize::from(byte & (LEN_MORE - 1)) << shift;
            shift += LEN_BITS;
            used += 1;
            if byte & LEN_MORE == 0 {
                break;
            }
        }
        let text = self.rest.get(used..used + len)?;
        self.rest = self.rest.get(used + len..)?;
        Some(text)
    }
}

impl<'a> Iterator for LabelsIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let name = self.text()?;
        let value = self.text()?;
        Some((name, value))
    }
}

/// Appends one label to an encoded set; the caller keeps the names ascending.
pub(crate) fn push_pair(text: &mut String, name: &str, value: &str) {
    push_len(text, name.len());
    text.push_str(name);
    push_len(text, value.len());
    text.push_str(value);
}

fn push_len(text: &mut String, mut len: usize) {
    loop {
        let low = u8::try_from(len & usize::from(LEN_MORE - 1)).unwrap_or(0);
        len >>= LEN_BITS;
        if len == 0 {
            text.push(char::from(low));
            return;
        }
        text.push(char::from(low | LEN_MORE));
    }
}

fn encoded_len(pairs: &[(&str, &str)]) -> usize {
    // Two length bytes each are enough for all but the longest values.
    pairs.iter().map(|(name, value)| name.len() + value.len() + 4).sum()
}

fn check(name: &str, value: &str) -> Result<(), LabelError> {
    if name.is_empty() {
        return Err(LabelError::EmptyName);
    }
    if name.len() > LABEL_NAME_LEN_MAX {
        return Err(LabelError::NameTooLong(name.len()));
    }
    if value.len() > LABEL_VALUE_LEN_MAX {
        return Err(LabelError::ValueTooLong { name: name.to_owned(), len: value.len() });
    }
    Ok(())
}

/// Whether `name` is a label name of the classic form, `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_label_name(name: &str) -> bool {
    is_name(name, |byte| byte == b'_')
}

/// Whether `name` is a metric name of the classic form, `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub fn is_metric_name(name: &str) -> bool {
    is_name(name, |byte| byte == b'_' || byte == b':')
}

fn is_name(name: &str, extra: impl Fn(u8) -> bool) -> bool {
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || extra(byte));
    starts && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra(byte))
}

impl Default for Labels {
    fn default() -> Self {
        Self("".into())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The order of Prometheus' matrices: by the first label that differs, name before value.
impl Ord for Labels {
    /// As of the label pairs, one after the other. Sets that are sorted are mostly alike at their
    /// beginning, so that is compared as bytes.
    fn cmp(&self, other: &Self) -> Ordering {
        let alike = alike_len(self.0.as_bytes(), other.0.as_bytes());
        // Texts that end where all is alike are the same in both; the next ones are not.
        let mut rest = LabelsIter { rest: &self.0 };
        let mut start = 0;
        while start < alike && rest.text().is_some() {
            let end = self.0.len() - rest.rest.len();
            if end > alike {
                break;
            }
            start = end;
        }
        match (start == self.0.len(), start == other.0.len()) {
            (false, false) => text_at(&self.0, start).cmp(&text_at(&other.0, start)),
            (ended, other_ended) => other_ended.cmp(&ended),
        }
    }
}

fn text_at(set: &str, start: usize) -> Option<&str> {
    LabelsIter { rest: set.get(start..)? }.text()
}

/// How many bytes two slices have in common at their beginning.
fn alike_len(a: &[u8], b: &[u8]) -> usize {
    const STRIDE: usize = 16;
    let (a_strides, _) = a.as_chunks::<STRIDE>();
    let (b_strides, _) = b.as_chunks::<STRIDE>();
    let start = STRIDE * a_strides.iter().zip(b_strides).take_while(|(a, b)| a == b).count();
    let rest = a.iter().skip(start).zip(b.iter().skip(start));
    start + rest.take_while(|(a, b)| a == b).count()
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_ref(), f)
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_ref(), f)
    }
}

impl fmt::Debug for LabelsRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As PromQL writes a series: `name{label="value", …}`, and in quotes what is no name there by itself:
/// `{"a.name", "a label"="value", …}`.
impl fmt::Display for LabelsRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.get(METRIC_NAME);
        let (bare, quoted) = match name {
            Some(name) if is_metric_name(name) => (name, None),
            other => ("", other),
        };
        f.write_str(bare)?;
        let mut labels = self.iter().filter(|(name, _)| *name != METRIC_NAME).peekable();
        if labels.peek().is_none() && !bare.is_empty() {
            return Ok(());
        }
        f.write_str("{")?;
        if let Some(name) = quoted {
            write_quoted(f, name)?;
        }
        for (at, (name, value)) in labels.enumerate() {
            if at > 0 || quoted.is_some() {
                f.write_str(", ")?;
            }
            if is_label_name(name) {
                f.write_str(name)?;
            } else {
                write_quoted(f, name)?;
            }
            f.write_str("=")?;
            write_quoted(f, value)?;
        }
        f.write_str("}")
    }
}

fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    write_escaped(f, text)?;
    f.write_str("\"")
}

fn write_escaped(f: &mut fmt::Formatter<'_>, value: &str) -> fmt::Result {
    for c in value.chars() {
        match c {
            '\\' => f.write_str("\\\\")?,
            '"' => f.write_str("\\\"")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c => fmt::Write::write_char(f, c)?,
        }
    }
    Ok(())
}

/// As JSON: an object of strings.
impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sets_are_ordered_as_their_pairs(
            a in prop::collection::btree_map("[ab]{0,3}", "[ab]{0,70}", 0..4),
            b in prop::collection::btree_map("[ab]{0,3}", "[ab]{0,70}", 0..4),
            shared in any::<bool>(),
        ) {
            let a = Labels::new(a.iter().map(|(name, value)| (&**name, &**value)));
            let b = Labels::new(b.iter().map(|(name, value)| (&**name, &**value)));
            // Mostly alike, or not.
            let b = if shared { Labels::new(a.iter().chain(b.iter())) } else { b };
            prop_assert_eq!(a.cmp(&b), a.iter().cmp(b.iter()));
            prop_assert_eq!(b.cmp(&a), b.iter().cmp(a.iter()));
        }
    }

    #[test]
    fn sorted_and_empty_values_left_out() {
        let labels = Labels::new([("b", "2"), ("a", "1"), ("c", ""), ("__name__", "up")]);
        let pairs: Vec<_> = labels.iter().collect();
        assert_eq!(pairs, [("__name__", "up"), ("a", "1"), ("b", "2")]);
        assert_eq!(labels.to_string(), r#"up{a="1", b="2"}"#);
        assert_eq!(labels.get("c"), None);
    }

    #[test]
    fn what_is_no_name_by_itself_is_written_in_quotes() {
        let text = |pairs: &[(&str, &str)]| Labels::new(pairs.iter().copied()).to_string();
        let all = [("__name__", "b.c"), ("my \"l\"", "x"), ("z", "y")];
        assert_eq!(text(&all), r#"{"b.c", "my \"l\""="x", z="y"}"#);
        assert_eq!(text(&all[..1]), r#"{"b.c"}"#);
        assert_eq!(text(&[("__name__", "a:b"), ("c:d", "x")]), r#"a:b{"c:d"="x"}"#);
    }

    #[test]
    fn later_value_wins() {
        assert_eq!(Labels::new([("a", "1"), ("a", "2")]).get("a"), Some("2"));
        assert_eq!(Labels::new([("a", "1")]).with("a", "").to_string(), "{}");
    }

    #[test]
    fn bad_sets_are_refused() {
        assert_eq!(Labels::try_new(&[("", "x")]), Err(LabelError::EmptyName));
        let twice = Labels::try_new(&[("b", "1"), ("a", "2"), ("b", "3")]);
        assert_eq!(twice, Err(LabelError::Duplicate("b".into())));
        let long = "x".repeat(LABEL_VALUE_LEN_MAX + 1);
        assert!(matches!(Labels::try_new(&[("a", &long)]), Err(LabelError::ValueTooLong { .. })));
    }

    proptest! {
        #[test]
        fn round_trip(pairs in prop::collection::btree_map(".{1,80}", ".{1,200}", 0..8)) {
            let labels = Labels::new(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())));
            let back: Vec<_> = labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            let wanted: Vec<_> = pairs.into_iter().collect();
            prop_assert_eq!(back, wanted);
        }
    }
}
