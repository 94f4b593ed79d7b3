//! What one run of a collector gives: samples without a time, since the round has the time.
//!
//! A batch is three growing buffers (families, rows, label text), so that a round of a thousand
//! samples costs a handful of allocations, and none when the batch is reused.
//!
//! Most runs give the series of the one before, in its order. So a batch that was cleared keeps
//! them: a sample that is pushed where its series already stands costs a comparison and the value.
//! The first that differs ends that, and what stood behind it is forgotten.

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
    /// The samples, and behind them the series that stood there before the batch was cleared.
    rows: Vec<Row>,
    text: String,
    /// How many of the rows are samples.
    len: usize,
    /// How many of the families those are of: always the first ones.
    families_len: usize,
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
        if self.push_again(family, labels, value) {
            return;
        }
        self.forget_rest();
        let family = self.family(family);
        let start = self.text.len();
        for (name, value) in ascending(labels) {
            push_pair(&mut self.text, name, value);
        }
        let end = self.text.len();
        self.rows.push(Row { family, start, end, value });
        self.count_all();
    }

    /// Adds a sample whose series already stands at its place; whether it does.
    fn push_again(&mut self, family: &Family, labels: &[(&str, &str)], value: f64) -> bool {
        let Some(row) = self.rows.get_mut(self.len) else { return false };
        let is_same = self.families.get(row.family).is_some_and(|f| is_same_name(f, family))
            && self
                .text
                .get(row.start..row.end)
                .is_some_and(|text| LabelsRef::from_encoded(text).iter().eq(ascending(labels)));
        if is_same {
            row.value = value;
            self.families_len = self.families_len.max(row.family + 1);
            self.len += 1;
        }
        is_same
    }

    /// Adds all samples of `other`.
    pub fn append(&mut self, other: &Self) {
        if self.has_series_of(other, self.len) {
            let own = self.rows.iter_mut().skip(self.len);
            for (own, row) in own.zip(other.samples()) {
                own.value = row.value;
                self.families_len = self.families_len.max(own.family + 1);
            }
            self.len += other.len;
            return;
        }
        self.forget_rest();
        let families: Vec<usize> = other.families().iter().map(|f| self.family(f)).collect();
        let shift = self.text.len();
        self.text.push_str(other.text());
        self.rows.extend(other.samples().iter().filter_map(|row| {
            let family = *families.get(row.family)?;
            Some(Row { family, start: row.start + shift, end: row.end + shift, value: row.value })
        }));
        self.count_all();
    }

    /// Whether both have the same series in the same order, whatever their values.
    pub fn is_alike(&self, other: &Self) -> bool {
        self.len == other.len && self.has_series_of(other, 0)
    }

    /// Whether the series of `other` stand from row `at` on.
    fn has_series_of(&self, other: &Self, at: usize) -> bool {
        let Some(rows) = self.rows.get(at..at + other.len) else { return false };
        let shift = rows.first().map_or(0, |row| row.start);
        let end = rows.last().map_or(shift, |row| row.end);
        if self.text.get(shift..end) != Some(other.text()) {
            return false;
        }
        // Samples of one family come in a row, so their names are seldom compared.
        let mut same = None;
        rows.iter().zip(other.samples()).all(|(own, row)| {
            let pair = (own.family, row.family);
            let is_same_family = same == Some(pair)
                || match (self.families.get(pair.0), other.families.get(pair.1)) {
                    (Some(a), Some(b)) => is_same_name(a, b),
                    _ => false,
                };
            same = Some(pair);
            is_same_family && own.start == row.start + shift && own.end == row.end + shift
        })
    }

    /// The samples in the order they were pushed.
    pub fn iter(&self) -> impl Iterator<Item = BatchSample<'_>> {
        self.samples().iter().filter_map(|row| {
            Some(BatchSample {
                family: self.families.get(row.family)?,
                labels: LabelsRef::from_encoded(self.text.get(row.start..row.end)?),
                value: row.value,
            })
        })
    }

    /// The values in the order they were pushed.
    pub fn values(&self) -> impl Iterator<Item = f64> {
        self.samples().iter().map(|row| row.value)
    }

    /// The families, in the order of their first sample.
    pub fn families(&self) -> &[Family] {
        self.families.get(..self.families_len).unwrap_or_default()
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all samples and keeps the buffers.
    pub fn clear(&mut self) {
        (self.len, self.families_len) = (0, 0);
    }

    fn samples(&self) -> &[Row] {
        self.rows.get(..self.len).unwrap_or_default()
    }

    /// The labels of all samples.
    fn text(&self) -> &str {
        let end = self.samples().last().map_or(0, |row| row.end);
        self.text.get(..end).unwrap_or_default()
    }

    /// Forgets the series that stood behind the samples before.
    fn forget_rest(&mut self) {
        if self.len == self.rows.len() {
            return;
        }
        self.text.truncate(self.text().len());
        self.rows.truncate(self.len);
        for family in self.families.drain(self.families_len..) {
            self.by_name.remove(&family.name);
        }
    }

    fn count_all(&mut self) {
        (self.len, self.families_len) = (self.rows.len(), self.families.len());
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
            && self.families.get(last.family).is_some_and(|known| is_same_name(known, family))
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

/// Mostly both are one `static`, whose text is then at one place.
fn is_same_name(a: &Family, b: &Family) -> bool {
    std::ptr::eq::<str>(&*a.name, &*b.name) || a.name == b.name
}

/// The labels that are kept of those a collector gives, ascending by name.
fn ascending<'a>(labels: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = (&'a str, &'a str)> {
    let is_sorted = labels.is_sorted_by(|(a, _), (b, _)| a < b);
    let mut rest = labels.iter();
    let mut last = "";
    let all = std::iter::from_fn(move || {
        let next = if is_sorted {
            rest.find(|(name, _)| !name.is_empty())
        } else {
            // Selection by the next larger name: label lists are short.
            labels.iter().filter(|(name, _)| *name > last).min_by_key(|(name, _)| *name)
        };
        let &(name, value) = next?;
        last = name;
        Some((name, value))
    });
    let kept = all.take(LABELS_MAX).filter(|(_, value)| !value.is_empty());
    kept.map(|(name, value)| (name, cut(value)))
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

    fn all(batch: &Batch) -> Vec<String> {
        let sample = |s: BatchSample<'_>| format!("{}{} {}", s.family.name, s.labels, s.value);
        batch.iter().map(sample).collect()
    }

    #[test]
    fn a_batch_that_is_filled_again_holds_what_was_pushed_and_nothing_else() {
        let mut batch = Batch::new();
        let runs: [&[(&Family, &str, f64)]; 6] = [
            &[(&UP, "a", 1.0), (&LOAD, "a", 2.0), (&UP, "b", 3.0)],
            &[(&UP, "a", 4.0), (&LOAD, "a", f64::NAN), (&UP, "b", 6.0)],
            // Shorter, then longer again with another end.
            &[(&UP, "a", 7.0)],
            &[(&UP, "a", 8.0), (&UP, "c", 9.0), (&LOAD, "a", 1.0), (&LOAD, "", 2.0)],
            // As long a label, and another family at the same place.
            &[(&LOAD, "a", 1.0), (&UP, "c", 2.0)],
            &[],
        ];
        for run in runs {
            batch.clear();
            let mut fresh = Batch::new();
            for (family, value, number) in run {
                batch.push(family, &[("l", value)], *number);
                fresh.push(family, &[("l", value)], *number);
            }
            assert_eq!(all(&batch), all(&fresh));
            assert_eq!(batch.families(), fresh.families());
            assert_eq!(batch.len(), run.len());
            assert!(batch.is_alike(&fresh) && fresh.is_alike(&batch));
            let mut copy = Batch::new();
            copy.append(&batch);
            assert_eq!(all(&copy), all(&fresh));
        }
    }

    #[test]
    fn what_is_alike_differs_in_values_only() {
        let batch = |rows: &[(&Family, &str)]| {
            let mut batch = Batch::new();
            for (family, label) in rows {
                batch.push(family, &[("l", label)], 1.0);
            }
            batch
        };
        let one = batch(&[(&UP, "a"), (&LOAD, "bc")]);
        for other in [
            batch(&[(&UP, "a")]),
            batch(&[(&UP, "a"), (&UP, "bc")]),
            batch(&[(&LOAD, "a"), (&UP, "bc")]),
            batch(&[(&UP, "a"), (&LOAD, "bd")]),
            batch(&[(&UP, "a"), (&LOAD, "bc"), (&LOAD, "d")]),
            batch(&[(&LOAD, "bc"), (&UP, "a")]),
            Batch::new(),
        ] {
            assert!(!one.is_alike(&other) && !other.is_alike(&one), "{:?}", all(&other));
        }
        // A family with the same name that lies elsewhere in memory, and other neighbours before.
        let dynamic = Family::dynamic("load".to_owned(), crate::Kind::Gauge, "Load.");
        let mut same = batch(&[(&LOAD, "gone"), (&UP, "gone")]);
        same.clear();
        same.push(&UP, &[("l", "a")], 5.0);
        same.push(&dynamic, &[("none", ""), ("l", "bc")], 6.0);
        assert!(one.is_alike(&same) && same.is_alike(&one));
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    static FAMILIES: [Family; 3] =
        [Family::gauge("a", ""), Family::gauge("b", ""), Family::counter("c", "")];

    type Rows = Vec<(usize, Vec<(String, String)>, f64)>;

    fn rows() -> impl Strategy<Value = Rows> {
        let labels = prop::collection::btree_map("[a-c]", "[xy]{0,2}", 0..3);
        let labels = labels.prop_map(|map| map.into_iter().collect::<Vec<_>>()).prop_shuffle();
        prop::collection::vec((0..3_usize, labels, any::<f64>()), 0..6)
    }

    fn fill(batch: &mut Batch, rows: &Rows) {
        for (family, labels, value) in rows {
            let labels: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (&**n, &**v)).collect();
            batch.push(&FAMILIES[*family], &labels, *value);
        }
    }

    fn text(batch: &Batch) -> Vec<String> {
        let sample =
            |s: BatchSample<'_>| format!("{}{} {:x}", s.family.name, s.labels, s.value.to_bits());
        batch.iter().map(sample).collect()
    }

    proptest! {
        /// What a batch held before shows nowhere, whether it is pushed to or appended to.
        #[test]
        fn a_used_batch_is_as_good_as_a_new_one(
            runs in prop::collection::vec((rows(), rows(), any::<bool>()), 1..6),
        ) {
            let (mut pushed, mut appended) = (Batch::new(), Batch::new());
            let mut last: Option<(Vec<String>, Batch)> = None;
            for (first, second, again) in &runs {
                pushed.clear();
                appended.clear();
                let mut fresh = Batch::new();
                // Half of the runs repeat what they begin with, as real ones do.
                let parts = if *again { [first, first] } else { [first, second] };
                for rows in parts {
                    fill(&mut pushed, rows);
                    fill(&mut fresh, rows);
                    let mut part = Batch::new();
                    fill(&mut part, rows);
                    appended.append(&part);
                }
                prop_assert_eq!(text(&pushed), text(&fresh));
                prop_assert_eq!(text(&appended), text(&fresh));
                prop_assert_eq!(pushed.families(), fresh.families());
                prop_assert_eq!(appended.families(), fresh.families());
                prop_assert!(pushed.is_alike(&appended) && appended.is_alike(&fresh));
                let series = |batch: &Batch| {
                    batch.iter().map(|s| format!("{}{}", s.family.name, s.labels)).collect()
                };
                let now: Vec<String> = series(&pushed);
                if let Some((before, batch)) = &last {
                    prop_assert_eq!(*before == now, batch.is_alike(&pushed));
                }
                last = Some((now, pushed.clone()));
            }
        }
    }
}
