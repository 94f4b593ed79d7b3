//! The YAML of a rule file as it stands: every mapping as a list of keys and values with their
//! lines. Nothing is judged here but the syntax and the kinds of nodes, so that [`super::check`]
//! can name all problems of a file and not only the first.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_saphyr::Spanned;

use super::Problem;

/// A scalar and its place.
pub(super) type Text = Spanned<String>;

/// A mapping in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Mapping(pub(super) Vec<(Text, Field)>);

/// The value of a key, by what the key's name promises.
#[derive(Debug)]
pub(super) enum Field {
    /// A scalar; `None` when nothing stands there.
    Text(Option<Text>),
    /// Names and texts: labels, annotations.
    Texts(Texts),
    /// Mappings: groups, rules.
    List(Vec<Spanned<Mapping>>),
    /// The value of a key that no rule file has.
    Unknown,
}

/// Names and texts in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Texts(pub(super) Vec<(Text, Option<Text>)>);

/// Keys whose value is a scalar.
const SCALARS: [&str; 10] = [
    "name",
    "interval",
    "limit",
    "query_offset",
    "partial_response_strategy",
    "record",
    "alert",
    "expr",
    "for",
    "keep_firing_for",
];

/// The document of a rule file; an empty file has no groups.
pub(super) fn parse(name: &str, text: &str) -> Result<Mapping, Problem> {
    let document: Result<Option<Mapping>, _> = serde_saphyr::from_str(text);
    document.map(Option::unwrap_or_default).map_err(|error| {
        let error = error.without_snippet();
        let line = error.location().and_then(|place| usize::try_from(place.line()).ok());
        let text = error.to_string();
        // The place is told by the problem; the library puts it behind its message.
        let message = text.split(" at line ").next().unwrap_or_default();
        // Nor does it help to hear of the library's options.
        let message = message.split(", set DuplicateKeyPolicy").next().unwrap_or_default();
        let message = message.to_owned();
        Problem { file: name.to_owned(), line: line.filter(|line| *line > 0), message }
    })
}

/// The line of a node.
pub(super) fn line<T>(node: &Spanned<T>) -> usize {
    usize::try_from(node.referenced.line()).unwrap_or(0)
}

impl<'de> Deserialize<'de> for Mapping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Mapping;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Mapping, A::Error> {
                let mut fields = Vec::new();
                while let Some(key) = map.next_key::<Text>()? {
                    let field = match key.value.as_str() {
                        "groups" | "rules" => {
                            Field::List(map.next_value::<Option<_>>()?.unwrap_or_default())
                        }
                        "labels" | "annotations" => {
                            Field::Texts(map.next_value::<Option<_>>()?.unwrap_or_default())
                        }
                        known if SCALARS.contains(&known) => Field::Text(map.next_value()?),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            Field::Unknown
                        }
                    };
                    fields.push((key, field));
                }
                Ok(Mapping(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names with texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Texts(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}
