//! Intermediate results: a column per series over all steps.

use std::collections::HashMap;

use labstat_model::Labels;

use crate::QueryError;

/// What a series costs beside its samples, in samples of 16 bytes: its labels and the vectors of
/// its times and values. Without it, a query for a million series at one time would count little
/// more than nothing.
pub(crate) const SERIES_COST: usize = 16;

/// What `series` columns of `steps` points count for, for the bound on samples.
pub(crate) fn points(series: usize, steps: usize) -> usize {
    series.saturating_mul(steps.saturating_add(SERIES_COST))
}

/// What Prometheus says when dropping a name or a label makes two series the same.
const SAME_LABELSET: &str = "vector cannot contain metrics with the same labelset";

/// The times an expression is evaluated at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// A series' value at every step; where it is absent the value means nothing.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) labels: Labels,
    pub(crate) values: Vec<f64>,
    pub(crate) present: Vec<bool>,
}

impl Column {
    /// A column that is absent at all of `len` steps.
    pub(crate) fn absent(labels: Labels, len: usize) -> Self {
        Self { labels, values: vec![0.0; len], present: vec![false; len] }
    }

    /// A column that has a value at every step.
    pub(crate) fn full(labels: Labels, values: Vec<f64>) -> Self {
        let present = vec![true; values.len()];
        Self { labels, values, present }
    }

    pub(crate) fn get(&self, step: usize) -> Option<f64> {
        match (self.present.get(step), self.values.get(step)) {
            (Some(true), Some(value)) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn set(&mut self, step: usize, value: f64) {
        if let (Some(present), Some(slot)) = (self.present.get_mut(step), self.values.get_mut(step))
        {
            *present = true;
            *slot = value;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.present.contains(&true)
    }

    /// The steps that have a value, with it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        let both = self.values.iter().zip(&self.present).enumerate();
        both.filter(|(_, (_, present))| **present).map(|(step, (value, _))| (step, *value))
    }

    /// Replaces every value, or drops it.
    pub(crate) fn map(&mut self, mut f: impl FnMut(usize, f64) -> Option<f64>) {
        let both = self.values.iter_mut().zip(&mut self.present).enumerate();
        for (step, (value, present)) in both.filter(|(_, (_, present))| **present) {
            match f(step, *value) {
                Some(mapped) => *value = mapped,
                None => *present = false,
            }
        }
    }

    /// The same value at each of `len` steps as at the first.
    fn repeat(mut self, len: usize) -> Self {
        let (value, present) = (self.get(0).unwrap_or(0.0), self.get(0).is_some());
        self.values.resize(len, value);
        self.present.resize(len, present);
        self
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
    /// Points held, for the bound on samples.
    pub(crate) fn points(&self) -> usize {
        match self {
            Self::Scalar(values) => values.len(),
            Self::Text(_) => 0,
            Self::Vector(columns) => {
                columns.iter().map(|column| points(1, column.values.len())).sum()
            }
        }
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
        if column.values.len() >= self.len {
            self.columns.push(column);
            return;
        }
        let at = *self.at.entry(column.labels.clone()).or_insert(self.columns.len());
        if at == self.columns.len() {
            self.columns.push(Column::absent(column.labels.clone(), self.len));
        }
        if let Some(whole) = self.columns.get_mut(at) {
            column.iter().for_each(|(step, value)| whole.set(first + step, value));
        }
    }

    /// Points held, for the bound on samples.
    pub(crate) fn points(&self) -> usize {
        points(self.columns.len(), self.len)
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
pub(crate) fn merge(columns: Vec<Column>) -> Result<Vec<Column>, QueryError> {
    let mut at: HashMap<Labels, usize> = HashMap::with_capacity(columns.len());
    let mut merged: Vec<Column> = Vec::with_capacity(columns.len());
    for column in columns.into_iter().filter(|column| !column.is_empty()) {
        let slot = *at.entry(column.labels.clone()).or_insert(merged.len());
        match merged.get_mut(slot) {
            None => merged.push(column),
            Some(first) => join(first, &column)?,
        }
    }
    Ok(merged)
}

fn join(first: &mut Column, other: &Column) -> Result<(), QueryError> {
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
pub(crate) fn distinct(columns: Vec<Column>) -> Result<Vec<Column>, QueryError> {
    let columns: Vec<Column> = columns.into_iter().filter(|column| !column.is_empty()).collect();
    let mut seen = std::collections::HashSet::with_capacity(columns.len());
    if columns.iter().all(|column| seen.insert(&column.labels)) {
        return Ok(columns);
    }
    Err(QueryError::execution(SAME_LABELSET))
}
