//! What the counters of a daemon are: `perf schema`, and `counter schema` since Reef, which tells of
//! counters with labels too.

use std::collections::HashMap;

use serde_json::{Map, Value as Json};

use super::COUNTERS_MAX;
use crate::ParseError;

/// What kind of counter it is, by the daemon's own description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CounterKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// The lowest priority of counters that Ceph's own exporter shows.
const PRIORITY_USEFUL: u64 = 5;

/// What is said of one counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Whether it only grows.
    pub kind: CounterKind,
    /// It is a running average.
    pub average: bool,
    /// It measures time.
    pub time: bool,
    /// Words of the daemon.
    pub description: String,
    /// How much the daemon thinks it matters, 0 to 10 and more.
    pub priority: u64,
}

/// What a daemon says of its counters, by section and name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    sections: HashMap<String, HashMap<String, Description>>,
}

/// Bits of the number `type`.
mod type_bit {
    pub(super) const TIME: u64 = 1;
    pub(super) const AVERAGE: u64 = 4;
    pub(super) const COUNTER: u64 = 8;
}

impl Schema {
    /// Reads the JSON of `perf schema` or `counter schema`.
    ///
    /// # Errors
    /// JSON that is broken or of another shape; more than [`COUNTERS_MAX`] counters.
    pub fn parse(json: &str) -> Result<Self, ParseError> {
        let what = "schema of a Ceph daemon";
        let sections: Map<String, Json> =
            serde_json::from_str(json).map_err(|cause| ParseError::Json { what, cause })?;
        let mut schema = Self::default();
        let mut count = 0_usize;
        for (section, groups) in sections {
            let known = schema.sections.entry(section).or_default();
            for group in groups_of(groups) {
                count = count.saturating_add(group.len());
                if count > COUNTERS_MAX {
                    let (what, max) = ("counters of a Ceph daemon", COUNTERS_MAX);
                    return Err(ParseError::Limit { what, count, max });
                }
                // Groups of one section differ by their labels; their counters are the same.
                known.extend(
                    group.into_iter().filter_map(|(name, json)| Some((name, description(&json)?))),
                );
            }
        }
        Ok(schema)
    }

    /// Forgets the counters that Ceph's own exporter leaves out: those of a low priority, most of
    /// them, some with an address in memory for a name.
    pub fn keep_useful(&mut self) {
        for counters in self.sections.values_mut() {
            counters.retain(|_, about| about.priority >= PRIORITY_USEFUL);
            counters.shrink_to_fit();
        }
        self.sections.retain(|_, counters| !counters.is_empty());
        self.sections.shrink_to_fit();
    }

    /// What is said of one counter.
    pub fn get(&self, section: &str, name: &str) -> Option<&Description> {
        self.sections.get(section)?.get(name)
    }

    /// How many counters it describes.
    pub fn len(&self) -> usize {
        self.sections.values().map(HashMap::len).sum()
    }

    /// Whether it describes none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The counters of a section: the object itself, or `counters` of each object in a list.
fn groups_of(section: Json) -> Vec<Map<String, Json>> {
    match section {
        Json::Object(group) => vec![group],
        Json::Array(groups) => groups
            .into_iter()
            .filter_map(|mut group| match group.get_mut("counters")?.take() {
                Json::Object(counters) => Some(counters),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn description(json: &Json) -> Option<Description> {
    let bits = json.get("type")?.as_u64()?;
    let is_set = |bit| bits & bit != 0;
    // Both halves of a running average only grow.
    let grows = is_set(type_bit::COUNTER) || is_set(type_bit::AVERAGE);
    Some(Description {
        kind: if grows { CounterKind::Counter } else { CounterKind::Gauge },
        average: is_set(type_bit::AVERAGE),
        time: is_set(type_bit::TIME),
        description: json.get("description").and_then(Json::as_str).unwrap_or_default().to_owned(),
        priority: json.get("priority").and_then(Json::as_u64).unwrap_or_default(),
    })
}
