//! Streams: series on their way from where they are read to what is made of all of them.
//!
//! A stream is a feed, a look at each series of it that gives its values at the steps, and stages
//! that change these one by one. It runs part by part, each on any thread, and what the parts give
//! is taken in their order.

use std::sync::Arc;

use labstat_model::{Labels, METRIC_NAME};

use super::binary::{Operand, with_scalar};
use super::feed::{Feed, Item};
use super::instant::Newest;
use super::range::Ranged;
use super::{Evaluator, Remark};
use crate::QueryError;
use crate::budget::{Cost, Pace};
use crate::column::{Cell, Cells, Column, Steps};
use crate::histogram::negate;

/// How the values of a series at the steps are found.
pub(super) enum Look {
    Newest(Newest),
    Ranged(Ranged),
    /// They are there already.
    Values,
}

/// A change of each value.
pub(super) enum Stage {
    Negate,
    Value(fn(f64) -> f64),
    ValueWith(fn(f64, &[f64]) -> Option<f64>, Vec<Vec<f64>>),
    Operator(Operand),
}

/// Whether two series whose labels become the same are an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alike {
    /// Even where they never meet.
    Refused,
    /// At a step at which both have a value.
    Merged,
}

pub(super) struct Stream<'s> {
    feed: Feed<'s>,
    look: Look,
    stages: Vec<Stage>,
    /// The number of steps.
    len: usize,
    /// Whether the metric name goes.
    pub(super) nameless: bool,
    /// Whether it is known that no two series have the same labels without the name.
    distinct: bool,
}

/// Labels and values of a series, which may be taken.
pub(super) struct Seen<'c> {
    pub(super) labels: &'c Labels,
    pub(super) cells: &'c mut Cells,
}

/// What a part gave.
struct Given<T> {
    given: T,
    remarks: Vec<Remark>,
}

impl<'s> Stream<'s> {
    /// Of what a selector reads; `distinct` when it reads series of one name only.
    pub(super) fn new(feed: Feed<'s>, look: Look, len: usize, distinct: bool) -> Self {
        Self { feed, look, stages: Vec::new(), len, nameless: false, distinct }
    }

    /// Of values that are there.
    pub(super) fn of(columns: Vec<Column>, steps: Steps) -> Self {
        let distinct = named_alike(&columns);
        Self::new(Feed::Columns(columns, steps), Look::Values, steps.len, distinct)
    }

    /// With one more stage. When the name goes with it and `alike` says that this may clash, all
    /// series are looked at.
    pub(super) fn then(
        mut self,
        evaluator: &Evaluator<'_>,
        stage: Option<Stage>,
        drops_name: Option<Alike>,
    ) -> Result<Self, QueryError> {
        self.stages.extend(stage);
        let Some(alike) = drops_name.filter(|_| !self.nameless) else { return Ok(self) };
        self.nameless = true;
        if self.distinct {
            return Ok(self);
        }
        let steps = Steps { start_ms: 0, step_ms: 1, len: self.len };
        let columns = self.columns(evaluator)?;
        let columns = match alike {
            Alike::Refused => evaluator.distinct(columns)?,
            Alike::Merged => evaluator.merge(columns)?,
        };
        evaluator
            .budget
            .set_live(evaluator.budget.live().and(Cost::columns(columns.len(), steps.len)))?;
        Ok(Self { nameless: true, distinct: true, ..Self::of(columns, steps) })
    }

    /// Whether the series come in the order of their labels, which is where groups take theirs.
    pub(super) fn is_sorted(&self) -> bool {
        self.feed.is_sorted()
    }

    /// The whole stream, in order. Columns without any value are left out.
    pub(super) fn columns(self, evaluator: &Evaluator<'_>) -> Result<Vec<Column>, QueryError> {
        if let (Feed::Columns(_, _), Look::Values, []) =
            (&self.feed, &self.look, self.stages.as_slice())
            && let Feed::Columns(mut columns, _) = self.feed
        {
            if self.nameless {
                super::drop_names(&mut columns);
            }
            return Ok(columns);
        }
        let mut columns: Vec<Column> = Vec::new();
        let (len, is_sorted) = (self.len, self.feed.is_sorted());
        // Names go after sorting, so that the order is the same however the series came.
        let nameless = self.nameless && is_sorted;
        let add = |part: &mut Vec<Column>, seen: Seen<'_>, pace: &mut Pace<'_>| {
            let labels = match seen.labels {
                labels if nameless => labels.without_metadata(),
                labels => labels.clone(),
            };
            part.push(Column { labels, cells: std::mem::take(seen.cells) });
            pace.budget().check(Cost::columns(part.len(), len))
        };
        self.fold(evaluator, &add, &mut |mut part| {
            columns.append(&mut part);
            evaluator.budget.check(Cost::columns(columns.len(), len))
        })?;
        if !is_sorted {
            columns.sort_by(|a, b| a.labels.cmp(&b.labels));
            if self.nameless {
                super::drop_names(&mut columns);
            }
        }
        Ok(columns)
    }

    /// Hands every series that has any value to `take`, in order. Labels are as they were read,
    /// the name among them.
    pub(super) fn one_by_one(
        &self,
        evaluator: &Evaluator<'_>,
        take: &mut impl FnMut(Column) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let len = self.len;
        let add = |part: &mut Vec<Column>, seen: Seen<'_>, pace: &mut Pace<'_>| {
            part.push(Column { labels: seen.labels.clone(), cells: std::mem::take(seen.cells) });
            pace.budget().check(Cost::columns(part.len(), len))
        };
        if self.feed.is_sorted() {
            return self
                .fold(evaluator, &add, &mut |part| part.into_iter().try_for_each(&mut *take));
        }
        // Which comes first decides between equals, so that all have to be there.
        let mut columns: Vec<Column> = Vec::new();
        self.fold(evaluator, &add, &mut |mut part| {
            columns.append(&mut part);
            evaluator.budget.check(Cost::columns(columns.len(), len))
        })?;
        columns.sort_by(|a, b| a.labels.cmp(&b.labels));
        columns.into_iter().try_for_each(take)
    }

    /// Adds every series that has any value to what a part gives, and hands what the parts gave to
    /// `take`, in order.
    pub(super) fn fold<T: Default + Send>(
        &self,
        evaluator: &Evaluator<'_>,
        add: &(impl Fn(&mut T, Seen<'_>, &mut Pace<'_>) -> Result<(), QueryError> + Sync),
        take: &mut impl FnMut(T) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let budget = &evaluator.budget;
        let part = |part: usize| {
            let (mut given, mut remarks) = (T::default(), Vec::new());
            let (mut pace, mut cells) = (budget.pace(), Cells::default());
            self.feed.read(part, &mut |item| {
                pace.spend(item_work(&item) + self.len)?;
                cells.reset(self.len);
                self.look_at(item, &mut cells, &mut pace, &mut remarks)?;
                self.stages.iter().for_each(|stage| stage.apply(&mut cells, &mut remarks));
                if cells.is_empty() {
                    return Ok(());
                }
                add(&mut given, Seen { labels: item.labels(), cells: &mut cells }, &mut pace)
            })?;
            Ok(Given { given, remarks })
        };
        evaluator.pool.in_order(budget, self.feed.parts(), &part, &mut |part: Given<T>| {
            part.remarks.into_iter().for_each(|remark| evaluator.remark(remark));
            take(part.given)
        })
    }

    fn look_at(
        &self,
        item: Item<'_>,
        cells: &mut Cells,
        pace: &mut Pace<'_>,
        remarks: &mut Vec<Remark>,
    ) -> Result<(), QueryError> {
        match (&self.look, item) {
            (Look::Newest(newest), item) => newest.look_at(item, cells, remarks),
            (Look::Ranged(ranged), item) => return ranged.look_at(item, cells, pace, remarks),
            (Look::Values, Item::Column(column, _)) => cells.copy_from(&column.cells),
            (Look::Values, _) => {}
        }
        Ok(())
    }
}

/// What it takes to read an item, in numbers looked at.
fn item_work(item: &Item<'_>) -> usize {
    match item {
        Item::Series(series) => series.times.len(),
        Item::Mixed(mixed) => mixed.numbers.len() + mixed.histograms.times.len(),
        Item::Buckets(buckets) => buckets.ends_ms.len(),
        Item::Column(column, _) => column.len(),
    }
}

/// Whether all have the same name, or none.
pub(super) fn named_alike(columns: &[Column]) -> bool {
    let name = |column: &Column| column.labels.get(METRIC_NAME).map(str::to_owned);
    let first = columns.first().and_then(name);
    columns.iter().all(|column| column.labels.get(METRIC_NAME) == first.as_deref())
}

impl Stage {
    fn apply(&self, cells: &mut Cells, remarks: &mut Vec<Remark>) {
        match self {
            Self::Negate => {
                cells.map(|_, value| Some(-value));
                if cells.has_histograms() {
                    cells.map_histograms(|_, histogram| {
                        let mut histogram = Arc::unwrap_or_clone(histogram);
                        negate(&mut histogram);
                        Some(Cell::Histogram(Arc::new(histogram)))
                    });
                }
            }
            Self::Value(f) => {
                cells.take_histograms();
                cells.map(|_, value| Some(f(value)));
            }
            Self::ValueWith(f, scalars) => {
                cells.take_histograms();
                let mut args = Vec::with_capacity(scalars.len());
                cells.map(|step, value| {
                    super::fill(&mut args, scalars, step);
                    f(value, &args)
                });
            }
            Self::Operator(operand) => with_scalar(operand, cells, remarks),
        }
    }
}
