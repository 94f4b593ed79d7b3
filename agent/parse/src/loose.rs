//! Reading JSON without believing it.
//!
//! `smartctl --json` of seven versions and of a few imitations writes numbers as text, text as
//! numbers, and now and then an object where a number belongs; Ceph's releases differ as much. A fact
//! of the wrong kind is absent; it never costs the rest of the report.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Elements of one list that are read; the rest is dropped. The longest known, the extended
/// error log of a disk, has a few hundred.
const LIST_LEN_MAX: usize = 4096;

/// A value that knows which JSON it can be made of. What is not overridden gives nothing.
pub(crate) trait Loose: Sized {
    fn from_bool(_: bool) -> Option<Self> {
        None
    }
    fn from_u64(_: u64) -> Option<Self> {
        None
    }
    fn from_i64(_: i64) -> Option<Self> {
        None
    }
    fn from_f64(_: f64) -> Option<Self> {
        None
    }
    fn from_text(_: &str) -> Option<Self> {
        None
    }
    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
    fn from_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// For `#[serde(deserialize_with)]`: a value, or nothing when it is of another kind.
pub(crate) fn field<'de, D: Deserializer<'de>, T: Loose>(from: D) -> Result<Option<T>, D::Error> {
    from.deserialize_any(LooseVisitor(PhantomData))
}

struct LooseVisitor<T>(PhantomData<T>);

impl<'de, T: Loose> Visitor<'de> for LooseVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(T::from_bool(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(T::from_u64(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(T::from_i64(value))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(T::from_f64(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(T::from_text(value))
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::from_map(map)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        T::from_list(list)
    }
}

/// One element of a list, so that a list can be read element by element.
pub(crate) struct Element<T>(pub(crate) Option<T>);

impl<'de, T: Loose> Deserialize<'de> for Element<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        field(from).map(Self)
    }
}

impl Loose for bool {
    fn from_bool(value: bool) -> Option<Self> {
        Some(value)
    }
    fn from_u64(value: u64) -> Option<Self> {
        (value < 2).then_some(value == 1)
    }
}

/// Beyond this not every whole number has a floating point number of its own: 2^53.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// A whole number that was written as `36.0`.
fn whole<T: FromStr>(value: f64) -> Option<T> {
    let is_whole = value.fract() == 0.0 && value.abs() <= WHOLE_MAX;
    format!("{value:.0}").parse().ok().filter(|_| is_whole)
}

impl Loose for u64 {
    fn from_u64(value: u64) -> Option<Self> {
        Some(value)
    }
    fn from_f64(value: f64) -> Option<Self> {
        whole(value)
    }
    fn from_text(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }
}

impl Loose for i64 {
    fn from_u64(value: u64) -> Option<Self> {
        Self::try_from(value).ok()
    }
    fn from_i64(value: i64) -> Option<Self> {
        Some(value)
    }
    fn from_f64(value: f64) -> Option<Self> {
        whole(value)
    }
    fn from_text(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }
}

impl Loose for f64 {
    fn from_u64(value: u64) -> Option<Self> {
        Some(value as Self)
    }
    fn from_i64(value: i64) -> Option<Self> {
        Some(value as Self)
    }
    fn from_f64(value: f64) -> Option<Self> {
        Some(value)
    }
}

impl Loose for String {
    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
    fn from_u64(value: u64) -> Option<Self> {
        Some(value.to_string())
    }
}

impl<T: Loose> Loose for Vec<T> {
    fn from_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut read = Self::new();
        while let Some(element) = list.next_element::<Element<T>>()? {
            if read.len() < LIST_LEN_MAX {
                read.extend(element.0);
            }
        }
        Ok(Some(read))
    }
}

/// A list whose places mean something: what cannot be read stays as an empty place.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Places<T>(pub Vec<Option<T>>);

impl<T: Loose> Loose for Places<T> {
    fn from_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut read = Vec::new();
        while let Some(element) = list.next_element::<Element<T>>()? {
            if read.len() < LIST_LEN_MAX {
                read.push(element.0);
            }
        }
        Ok(Some(Self(read)))
    }
}

/// A struct that reads itself from a map, as those of `report` do.
pub(crate) fn map<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: A,
) -> Result<Option<T>, A::Error> {
    T::deserialize(MapAccessDeserializer::new(map)).map(Some)
}
