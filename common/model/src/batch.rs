//! What one run of a collector gives: samples without a time, since the round has the time.
//!
//! A batch is three growing buffers (families, rows, label text), so that a round of a thousand
//! samples costs a handful of allocations, and none when the batch is reused.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::labels::{LabelsRef, push_pair};
use crate::limits::{LABEL_VALUE_LEN_MAX, LABELS_MAX};
use crate::{Family, Labels};

/// Samples of many families, in the order they were pushed.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    families: Vec<Family>,
    by_name: HashMap<Cow<'static, str>, usize>,
    rows: Vec<Row>,
    text: String,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    family: usize,
    start: usize,
    end: usize,
    value: f64,
}

/// One sample of a [`Batch`].
#[derive(Debug, Clone, Copy)]
pub struct BatchSample<'a> {
    /// The family it belongs to.
    pub family: &'a Family,
    /// Its labels, without the metric name.
    pub labels: LabelsRef<'a>,
    /// Its value.
    pub value: f64,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a sample. Labels may be given in any order; those with an empty value are left out,
    /// as they are absent to Prometheus. Values over [`LABEL_VALUE_LEN_MAX`], as firmware may give
    /// them, are cut: with them, whoever takes the batch would refuse it.
    ///
    /// A collector that gives one name twice, or more than [`LABELS_MAX`] labels, is broken: that
    /// is an assertion in tests, and in production the surplus labels are left out.
    pub fn push(&mut self, family: &Family, labels: &[(&str, &str)], value: f64) {
        debug_assert!(labels.len() <= LABELS_MAX, "BUG: {} labels", labels.len());
        let family = self.family(family);
        let start = self.text.len();
        let mut last = "";
        // Selection by the next larger name: label lists are short and mostly sorted already.
        for _ in 0..labels.len().min(LABELS_MAX) {
            let next = labels.iter().filter(|(name, _)| *name > last).min_by_key(|(name, _)| *name);
            let Some((name, value)) = next else { break };
            if !value.is_empty() {
                push_pair(&mut self.text, name, cut(value));
            }
            last = name;
        }
        let end = self.text.len();
        self.rows.push(Row { family, start, end, value });
    }

    /// Adds all samples of `other`.
    pub fn append(&mut self, other: &Self) {
        let families: Vec<usize> = other.families.iter().map(|f| self.family(f)).collect();
        let shift = self.text.len();
        self.text.push_str(&other.text);
        self.rows.extend(other.rows.iter().filter_map(|row| {
            let family = *families.get(row.family)?;
            Some(Row { family, start: row.start + shift, end: row.end + shift, value: row.value })
        }));
    }

    /// The samples in the order they were pushed.
    pub fn iter(&self) -> impl Iterator<Item = BatchSample<'_>> {
        self.rows.iter().filter_map(|row| {
            Some(BatchSample {
                family: self.families.get(row.family)?,
                labels: LabelsRef::from_encoded(self.text.get(row.start..row.end)?),
                value: row.value,
            })
        })
    }

    /// The families, in the order of their first sample.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Forgets all samples and keeps the buffers.
    pub fn clear(&mut self) {
        self.families.clear();
        self.by_name.clear();
        self.rows.clear();
        self.text.clear();
    }

    /// The value of the only sample of `name` whose labels contain `labels`; for tests and checks.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.iter().filter(|sample| {
            sample.family.name == name
                && labels.iter().all(|(name, value)| sample.labels.get(name) == Some(value))
        });
        let value = found.next()?.value;
        found.next().is_none().then_some(value)
    }

    fn family(&mut self, family: &Family) -> usize {
        // Samples of one family come in a row, so the last row's family is nearly always the one.
        if let Some(last) = self.rows.last()
            && self.families.get(last.family).is_some_and(|known| known.name == family.name)
        {
            return last.family;
        }
        if let Some(&known) = self.by_name.get(&family.name) {
            return known;
        }
        self.families.push(family.clone());
        self.by_name.insert(family.name.clone(), self.families.len() - 1);
        self.families.len() - 1
    }
}

impl BatchSample<'_> {
    /// The whole label set of the series: the metric name, these labels, and `extra` (such as
    /// `job` and `instance`), which win over labels of the same name.
    pub fn series(&self, extra: &[(&str, &str)]) -> Labels {
        let name = [(crate::METRIC_NAME, &*self.family.name)];
        Labels::new(name.into_iter().chain(self.labels.iter()).chain(extra.iter().copied()))
    }
}

/// The start of `value` that a label may hold.
fn cut(value: &str) -> &str {
    value.get(..value.floor_char_boundary(LABEL_VALUE_LEN_MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    static UP: Family = Family::gauge("up", "Whether it answers.");
    static LOAD: Family = Family::gauge("load", "Load.");

    #[test]
    fn values_that_are_too_long_are_cut_between_characters() {
        let mut batch = Batch::new();
        batch.push(&UP, &[("serial", &format!("x{}", "ü".repeat(5_000)))], 1.0);
        let serial = batch.iter().next().unwrap().labels.get("serial").unwrap().to_owned();
        assert_eq!(serial.len(), LABEL_VALUE_LEN_MAX - 1);
        assert!(serial.ends_with('ü'));
        let whole = "x".repeat(LABEL_VALUE_LEN_MAX);
        batch.push(&UP, &[("serial", &whole)], 2.0);
        assert_eq!(batch.value("up", &[("serial", &whole)]), Some(2.0));
    }

    #[test]
    fn push_sorts_and_append_shifts() {
        let mut one = Batch::new();
        one.push(&UP, &[("b", "2"), ("a", "1"), ("none", "")], 1.0);
        let mut two = Batch::new();
        two.push(&LOAD, &[], 0.5);
        two.push(&UP, &[("a", "9")], 0.0);
        one.append(&two);
        let all: Vec<String> =
            one.iter().map(|s| format!("{}{} {}", s.family.name, s.labels, s.value)).collect();
        assert_eq!(all, [r#"up{a="1", b="2"} 1"#, "load{} 0.5", r#"up{a="9"} 0"#]);
        assert_eq!(one.families().len(), 2);
        assert_eq!(one.value("up", &[("a", "9")]), Some(0.0));
        assert_eq!(one.value("up", &[]), None, "two samples are not one");
    }
}
