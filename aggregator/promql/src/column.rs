//! Intermediate results: a column per series over all steps.

use std::collections::{HashMap, HashSet};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use labstat_model::{Histogram, Labels, is_stale, stale_marker};

use crate::QueryError;
use crate::budget::{Cost, Pace, SERIES_BYTES};

/// What a series costs beside its samples, in samples of 16 bytes: its labels and the vectors of
/// its times and values. Without it, a query for a million series at one time would count little
/// more than nothing.
pub(crate) const SERIES_COST: usize = 16;

/// What looking a series up by its labels takes, in numbers looked at.
const LABELLED: usize = 16;

/// Steps of a series that are computed between two times that their work is counted: so few that
/// the clock is looked at often, and so many that counting is nothing beside them.
pub(crate) const STEPS_COUNTED: usize = 8_192;

/// What Prometheus says when dropping a name or a label makes two series the same.
const SAME_LABELSET: &str = "vector cannot contain metrics with the same labelset";

/// The times an expression is evaluated at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Steps {
    pub(crate) start_ms: i64,
    pub(crate) step_ms: i64,
    pub(crate) len: usize,
}

impl Steps {
    pub(crate) fn one(time_ms: i64) -> Self {
        Self { start_ms: time_ms, step_ms: 1, len: 1 }
    }

    pub(crate) fn time(&self, step: usize) -> i64 {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        self.start_ms.saturating_add(self.step_ms.saturating_mul(step))
    }

    pub(crate) fn last(&self) -> i64 {
        self.time(self.len.saturating_sub(1))
    }

    pub(crate) fn times(&self) -> impl Iterator<Item = i64> + use<> {
        let steps = *self;
        (0..steps.len).map(move |step| steps.time(step))
    }

    /// The first step alone, for what is the same at all of them.
    pub(crate) fn first(&self) -> Self {
        Self { len: 1, ..*self }
    }
}

/// What stands where a series has no value: the marker of staleness, which is no value of any
/// sample and which no arithmetic gives, since that makes a quiet NaN of it.
const ABSENT: f64 = stale_marker();

/// The values of a series at every step. Eight bytes a step, be the series there or not, and as
/// many again where it has native histograms.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cells {
    values: Vec<f64>,
    /// The histogram at each step, where the number is absent; empty where there is none at all,
    /// so that numbers pay nothing for them.
    histograms: Vec<Option<Arc<Histogram>>>,
}

impl Cells {
    /// Absent at all of `len` steps.
    pub(crate) fn absent(len: usize) -> Self {
        Self { values: vec![ABSENT; len], histograms: Vec::new() }
    }

    /// A value at every step.
    pub(crate) fn full(mut values: Vec<f64>) -> Self {
        values.iter_mut().for_each(|value| *value = shown(*value));
        Self { values, histograms: Vec::new() }
    }

    /// Makes these absent at all of `len` steps, to be filled again.
    pub(crate) fn reset(&mut self, len: usize) {
        self.values.clear();
        self.values.resize(len, ABSENT);
        self.histograms.clear();
    }

    /// Takes the place of all of `other`'s, without new memory where there is enough.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.values.clone_from(&other.values);
        self.histograms.clone_from(&other.histograms);
    }

    /// The number of steps.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn get(&self, step: usize) -> Option<f64> {
        self.values.get(step).copied().filter(|value| !is_stale(*value))
    }

    /// Whether there is a value at this step, a number or a histogram.
    pub(crate) fn has(&self, step: usize) -> bool {
        self.get(step).is_some() || self.histogram(step).is_some()
    }

    /// Whether there is a value at each step.
    pub(crate) fn presence(&self) -> impl Iterator<Item = bool> + '_ {
        let of_step =
            |(step, value): (usize, &f64)| !is_stale(*value) || self.histogram(step).is_some();
        self.values.iter().enumerate().map(of_step)
    }

    /// Whether there is any histogram.
    #[inline]
    pub(crate) fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    /// Whether there is any number.
    pub(crate) fn has_numbers(&self) -> bool {
        self.iter().next().is_some()
    }

    pub(crate) fn histogram(&self, step: usize) -> Option<&Arc<Histogram>> {
        self.histograms.get(step)?.as_ref()
    }

    /// The steps that have a histogram, with it.
    pub(crate) fn histograms(&self) -> impl Iterator<Item = (usize, &Arc<Histogram>)> {
        let all = self.histograms.iter().enumerate();
        all.filter_map(|(step, histogram)| Some((step, histogram.as_ref()?)))
    }

    /// A histogram in place of what is there.
    pub(crate) fn set_histogram(&mut self, step: usize, histogram: Arc<Histogram>) {
        if self.histograms.is_empty() {
            self.histograms.resize(self.values.len(), None);
        }
        if let (Some(value), Some(slot)) =
            (self.values.get_mut(step), self.histograms.get_mut(step))
        {
            *value = ABSENT;
            *slot = Some(histogram);
        }
    }

    /// Drops what is there at a step.
    pub(crate) fn clear(&mut self, step: usize) {
        self.values.get_mut(step).into_iter().for_each(|value| *value = ABSENT);
        self.histograms.get_mut(step).into_iter().for_each(|slot| *slot = None);
    }

    /// Takes the histograms away; the steps that had one are absent then.
    pub(crate) fn take_histograms(&mut self) -> Vec<Option<Arc<Histogram>>> {
        std::mem::take(&mut self.histograms)
    }

    /// Replaces every histogram, or drops it.
    pub(crate) fn map_histograms(
        &mut self,
        mut f: impl FnMut(usize, Arc<Histogram>) -> Option<Cell>,
    ) {
        for (step, histogram) in self.take_histograms().into_iter().enumerate() {
            match histogram.and_then(|histogram| f(step, histogram)) {
                None => {}
                Some(Cell::Number(value)) => self.set(step, value),
                Some(Cell::Histogram(histogram)) => self.set_histogram(step, histogram),
            }
        }
    }

    /// Puts in what `other` has at its steps, moved by `first`.
    pub(crate) fn put(&mut self, first: usize, other: &Self) {
        other.iter().for_each(|(step, value)| self.set(first + step, value));
        for (step, histogram) in other.histograms() {
            self.set_histogram(first + step, Arc::clone(histogram));
        }
    }

    #[inline]
    pub(crate) fn set(&mut self, step: usize, value: f64) {
        if let Some(slot) = self.values.get_mut(step) {
            *slot = shown(value);
            if !self.histograms.is_empty() {
                self.histograms.get_mut(step).into_iter().for_each(|slot| *slot = None);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.iter().all(|value| is_stale(*value)) && self.histograms().next().is_none()
    }

    /// The values, when there is one at every step.
    pub(crate) fn full_values(&self) -> Option<&[f64]> {
        let full = !self.values.iter().any(|value| is_stale(*value));
        full.then_some(&self.values)
    }

    /// The steps that have a value, with it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        let all = self.values.iter().copied().enumerate();
        all.filter(|(_, value)| !is_stale(*value))
    }

    /// What there is at each step, in order.
    pub(crate) fn steps(&self) -> impl ExactSizeIterator<Item = Option<f64>> + '_ {
        self.values.iter().map(|value| Some(*value).filter(|value| !is_stale(*value)))
    }

    /// Replaces every value, or drops it.
    #[inline]
    pub(crate) fn map(
        &mut self,
        pace: &mut Pace<'_>,
        mut f: impl FnMut(usize, f64) -> Option<f64>,
    ) -> Result<(), QueryError> {
        let mut first = 0;
        for values in self.values.chunks_mut(STEPS_COUNTED) {
            pace.spend(values.len())?;
            for (at, value) in values.iter_mut().enumerate() {
                if !is_stale(*value) {
                    *value = f(first + at, *value).map_or(ABSENT, shown);
                }
            }
            first += values.len();
        }
        Ok(())
    }

    /// Fills these, which are absent, with what `f` makes of the numbers of both others.
    #[inline]
    pub(crate) fn combine(
        &mut self,
        (lhs, rhs): (&Self, &Self),
        pace: &mut Pace<'_>,
        f: impl Fn(f64, f64) -> Option<f64>,
    ) -> Result<(), QueryError> {
        let both = lhs.values.chunks(STEPS_COUNTED).zip(rhs.values.chunks(STEPS_COUNTED));
        for (values, (lhs, rhs)) in self.values.chunks_mut(STEPS_COUNTED).zip(both) {
            pace.spend(values.len())?;
            for (value, (a, b)) in values.iter_mut().zip(lhs.iter().zip(rhs)) {
                if !is_stale(*a) && !is_stale(*b) {
                    *value = f(*a, *b).map_or(ABSENT, shown);
                }
            }
        }
        Ok(())
    }

    /// Drops the values at the steps for which `keep` is not true.
    pub(crate) fn retain(
        &mut self,
        pace: &mut Pace<'_>,
        mut keep: impl FnMut(usize) -> bool,
    ) -> Result<(), QueryError> {
        self.map(pace, |step, value| keep(step).then_some(value))?;
        if self.has_histograms() {
            self.map_histograms(|step, histogram| keep(step).then_some(Cell::Histogram(histogram)));
        }
        Ok(())
    }

    /// The same at each of `len` steps as at the first.
    fn repeat(&mut self, len: usize) {
        let first = self.values.first().copied().unwrap_or(ABSENT);
        self.values.resize(len, first);
        if let Some(first) = self.histograms.first().cloned() {
            self.histograms.resize(len, first);
        }
    }

    /// Bytes that its histograms take.
    fn histograms_len(&self) -> usize {
        let bytes =
            |(_, histogram): (usize, &Arc<Histogram>)| NUMBER_BYTES * histogram.numbers_len();
        self.histograms().map(bytes).sum::<usize>() + self.histograms.len() * size_of::<usize>()
    }
}

/// Bytes of a number of a histogram: a count and the index of its bucket.
pub(crate) const NUMBER_BYTES: usize = 16;

/// What there is at one step.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Number(f64),
    Histogram(Arc<Histogram>),
}

/// A value that cannot be taken for an absent one.
#[inline]
fn shown(value: f64) -> f64 {
    if is_stale(value) { f64::NAN } else { value }
}

/// A series and its values at every step.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) labels: Labels,
    pub(crate) cells: Cells,
}

impl Column {
    /// A column that is absent at all of `len` steps.
    pub(crate) fn absent(labels: Labels, len: usize) -> Self {
        Self { labels, cells: Cells::absent(len) }
    }

    /// A column that has a value at every step.
    pub(crate) fn full(labels: Labels, values: Vec<f64>) -> Self {
        Self { labels, cells: Cells::full(values) }
    }

    /// Bytes that it takes beside its numbers and what every series takes.
    fn beside_len(&self) -> usize {
        self.labels.size_bytes().saturating_sub(SERIES_BYTES).saturating_add(self.histograms_len())
    }

    /// What it takes to hold it.
    pub(crate) fn cost(&self) -> Cost {
        Cost::columns(1, self.len()).and(Cost::bytes(self.beside_len()))
    }

    /// The same value at each of `len` steps as at the first.
    fn repeat(mut self, len: usize) -> Self {
        self.cells.repeat(len);
        self
    }
}

impl Deref for Column {
    type Target = Cells;

    fn deref(&self) -> &Cells {
        &self.cells
    }
}

impl DerefMut for Column {
    fn deref_mut(&mut self) -> &mut Cells {
        &mut self.cells
    }
}

/// The value of an expression at all steps.
#[derive(Debug, Clone)]
pub(crate) enum Columns {
    Scalar(Vec<f64>),
    Text(String),
    Vector(Vec<Column>),
}

impl Columns {
    /// What it takes to hold it.
    pub(crate) fn cost(&self) -> Cost {
        match self {
            Self::Scalar(values) => Cost::columns(1, values.len()),
            Self::Text(text) => Cost::bytes(text.len()),
            Self::Vector(columns) => {
                let steps = columns.first().map_or(0, |column| column.len());
                let bytes = columns.iter().map(Column::beside_len).sum();
                Cost::columns(columns.len(), steps).and(Cost::bytes(bytes))
            }
        }
    }

    /// What it takes to hold it repeated for `len` steps.
    pub(crate) fn cost_repeated(&self, len: usize) -> Cost {
        let Self::Vector(columns) = self else { return self.cost() };
        let histograms = columns.iter().filter(|column| column.has_histograms()).count();
        let repeated = Cost::columns(columns.len().saturating_add(histograms), len);
        self.cost().and(repeated)
    }

    /// What was evaluated at one step, for `len` of them.
    pub(crate) fn repeat(self, len: usize) -> Self {
        match self {
            Self::Scalar(mut values) => {
                let value = values.first().copied().unwrap_or(f64::NAN);
                values.resize(len, value);
                Self::Scalar(values)
            }
            Self::Text(text) => Self::Text(text),
            Self::Vector(columns) => {
                Self::Vector(columns.into_iter().map(|column| column.repeat(len)).collect())
            }
        }
    }
}

/// Columns over stretches of all steps, put together series by series.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    len: usize,
    columns: Vec<Column>,
    /// Where the columns are that came in parts.
    at: HashMap<Labels, usize>,
}

impl Parts {
    /// Of `len` steps.
    pub(crate) fn new(len: usize) -> Self {
        Self { len, ..Self::default() }
    }

    /// A series' column over the steps from `first` on.
    pub(crate) fn push(&mut self, first: usize, column: Column) {
        if column.len() >= self.len {
            self.columns.push(column);
            return;
        }
        let at = *self.at.entry(column.labels.clone()).or_insert(self.columns.len());
        if at == self.columns.len() {
            self.columns.push(Column::absent(column.labels.clone(), self.len));
        }
        if let Some(whole) = self.columns.get_mut(at) {
            whole.put(first, &column);
        }
    }

    /// How many series there are.
    pub(crate) fn len(&self) -> usize {
        self.columns.len()
    }

    /// A column a series over all steps, in the order they came in, or sorted by labels where they
    /// came in parts.
    pub(crate) fn joined(mut self) -> Vec<Column> {
        if !self.at.is_empty() {
            self.columns.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        self.columns
    }
}

/// Makes one column of those that have the same labels; an error where two have a value at the
/// same step. Columns without any value are left out. Keeps the order of first appearance.
pub(crate) fn merge(columns: Vec<Column>, pace: &mut Pace<'_>) -> Result<Vec<Column>, QueryError> {
    let mut at: HashMap<Labels, usize> = HashMap::with_capacity(columns.len());
    let mut merged: Vec<Column> = Vec::with_capacity(columns.len());
    for column in columns {
        pace.spend(LABELLED + column.len())?;
        if column.is_empty() {
            continue;
        }
        let slot = *at.entry(column.labels.clone()).or_insert(merged.len());
        match merged.get_mut(slot) {
            None => merged.push(column),
            Some(first) => join(first, &column)?,
        }
    }
    Ok(merged)
}

fn join(first: &mut Column, other: &Column) -> Result<(), QueryError> {
    if other.has_histograms() || first.has_histograms() {
        if (0..other.len()).any(|step| first.has(step) && other.has(step)) {
            return Err(QueryError::execution(SAME_LABELSET));
        }
        first.put(0, other);
        return Ok(());
    }
    for (step, value) in other.iter() {
        if first.get(step).is_some() {
            return Err(QueryError::execution(SAME_LABELSET));
        }
        first.set(step, value);
    }
    Ok(())
}

/// As [`merge`], but two columns with the same labels are an error even where they never meet:
/// as Prometheus has it for functions over ranges, unary minus and changes of labels.
pub(crate) fn distinct(
    columns: Vec<Column>,
    pace: &mut Pace<'_>,
) -> Result<Vec<Column>, QueryError> {
    let columns: Vec<Column> = columns.into_iter().filter(|column| !column.is_empty()).collect();
    let mut seen = HashSet::with_capacity(columns.len());
    for column in &columns {
        pace.spend(LABELLED + column.len())?;
        if !seen.insert(&column.labels) {
            return Err(QueryError::execution(SAME_LABELSET));
        }
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;

    #[test]
    fn no_value_is_taken_for_an_absent_one() {
        let mut cells = Cells::absent(4);
        cells.set(1, stale_marker());
        cells.set(2, -stale_marker());
        let budget = Budget::default();
        cells.map(&mut budget.pace(), |_, value| Some(-value)).unwrap();
        assert_eq!([0, 1, 2, 3].map(|step| cells.has(step)), [false, true, true, false]);
        assert!(cells.iter().all(|(_, value)| value.is_nan()));
        assert_eq!(Cells::full(vec![stale_marker(), 1.0]).iter().count(), 2);
    }

    #[test]
    fn what_is_dropped_is_absent() {
        let mut cells = Cells::full(vec![1.0, 2.0, 3.0]);
        let budget = Budget::default();
        let mut pace = budget.pace();
        cells.map(&mut pace, |_, value| (value != 2.0).then_some(value * 2.0)).unwrap();
        assert_eq!(cells.steps().collect::<Vec<_>>(), [Some(2.0), None, Some(6.0)]);
        cells.retain(&mut pace, |step| step == 0).unwrap();
        assert_eq!(cells.iter().collect::<Vec<_>>(), [(0, 2.0)]);
        cells.reset(2);
        assert!(cells.is_empty() && cells.len() == 2);
    }
}
