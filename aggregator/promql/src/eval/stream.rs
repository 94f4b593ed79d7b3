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
use super::window::Kernel;
use super::{Evaluator, Remark};
use crate::budget::{Cost, Pace, Tally};
use crate::column::{Cell, Cells, Column, Steps};
use crate::expr::{Call, Expr};
use crate::histogram::negate;
use crate::{QueryError, order};

/// The part of what a query may hold that may be series on their way: such that are held to be
/// sorted, or because they are taken in their order.
const MOVING_SHARE: usize = 2;

/// Series that may be on their way at a time: those of some parts for each thread.
const ON_THEIR_WAY: usize = 4_096;

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

/// What numbers there are at a step.
#[derive(Debug, Clone, Copy)]
enum Lone {
    None,
    One(f64),
    Several,
}

impl Lone {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (known, Self::None) | (Self::None, known) => known,
            _ => Self::Several,
        }
    }
}

impl Evaluator<'_> {
    /// At which steps an instant vector has any element.
    pub(crate) fn presence(&self, expr: &Expr, steps: Steps) -> Result<Vec<bool>, QueryError> {
        self.stream(expr, steps)?.presence(self)
    }

    /// At which steps a range has any sample.
    pub(crate) fn presence_in_range(
        &self,
        call: &Call,
        steps: Steps,
    ) -> Result<Vec<bool>, QueryError> {
        let kernel = Kernel::Window(|_, _| Some(1.0));
        let calling = self.calling(call, kernel, true, Vec::new());
        self.ranges(call, calling, steps)?.presence(self)
    }

    /// The number of the only element of an instant vector at each step, or NaN.
    pub(crate) fn lone_numbers(&self, expr: &Expr, steps: Steps) -> Result<Vec<f64>, QueryError> {
        let number = |known| match known {
            Lone::One(value) => value,
            Lone::None | Lone::Several => f64::NAN,
        };
        Ok(self.stream(expr, steps)?.lone(self)?.into_iter().map(number).collect())
    }
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
        let mut columns = self.collected(evaluator, None)?;
        if self.nameless {
            super::drop_names(&mut columns);
        }
        Ok(columns)
    }

    /// All series that have any value, sorted by their labels as they were read, the name among
    /// them: an error when that is more than `room`.
    fn collected(
        &self,
        evaluator: &Evaluator<'_>,
        room: Option<Cost>,
    ) -> Result<Vec<Column>, QueryError> {
        // Counted over all parts: several may be on their way.
        let held = Tally::default();
        let add = |part: &mut Vec<Column>, seen: Seen<'_>, pace: &mut Pace<'_>| {
            let column = Column { labels: seen.labels.clone(), cells: std::mem::take(seen.cells) };
            let held = held.add(column.cost());
            pace.budget().check(held)?;
            match room.filter(|room| !held.is_within(*room)) {
                Some(room) => return Err(QueryError::TooMuchMemory { limit: room.bytes }),
                None => part.push(column),
            }
            Ok(())
        };
        let mut columns: Vec<Column> = Vec::new();
        self.fold(evaluator, &add, &mut |mut part| {
            columns.append(&mut part);
            Ok(())
        })?;
        if self.feed.is_sorted() {
            return Ok(columns);
        }
        order::sorted(columns, &evaluator.budget, |a, b| a.labels.cmp(&b.labels))
    }

    /// The same with its series in the order of their labels as they were read, where they can be
    /// held to be sorted.
    pub(super) fn in_order(self, evaluator: &Evaluator<'_>) -> Result<Self, QueryError> {
        if self.is_sorted() {
            return Ok(self);
        }
        let budget = &evaluator.budget;
        let columns = match self.collected(evaluator, Some(budget.part(MOVING_SHARE))) {
            Err(error) if error.is_too_much() => return Ok(self),
            other => other?,
        };
        let cost = columns.iter().map(Column::cost).fold(budget.live(), Cost::and);
        budget.set_live(cost)?;
        let steps = Steps { start_ms: 0, step_ms: 1, len: self.len };
        let feed = Feed::Columns(columns, steps);
        Ok(Self { feed, look: Look::Values, stages: Vec::new(), ..self })
    }

    /// Hands every series that has any value to `take`, as they come. Labels are as they were
    /// read, the name among them.
    pub(super) fn one_by_one(
        self,
        evaluator: &Evaluator<'_>,
        take: &mut impl FnMut(Column) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        if let (Feed::Columns(..), Look::Values, []) =
            (&self.feed, &self.look, self.stages.as_slice())
            && let Feed::Columns(columns, _) = self.feed
        {
            return columns.into_iter().filter(|column| !column.is_empty()).try_for_each(take);
        }
        let on_their_way = Cost::columns(ON_THEIR_WAY, self.len);
        if !on_their_way.is_within(evaluator.budget.part(MOVING_SHARE)) {
            return self.one_at_a_time(evaluator, take);
        }
        let add = |part: &mut Vec<Column>, seen: Seen<'_>, _: &mut Pace<'_>| {
            part.push(Column { labels: seen.labels.clone(), cells: std::mem::take(seen.cells) });
            Ok(())
        };
        self.fold(evaluator, &add, &mut |part| part.into_iter().try_for_each(&mut *take))
    }

    /// As [`Stream::one_by_one`], on one thread, which holds no other series meanwhile.
    fn one_at_a_time(
        &self,
        evaluator: &Evaluator<'_>,
        take: &mut impl FnMut(Column) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let budget = &evaluator.budget;
        let (mut pace, mut cells, mut remarks) = (budget.pace(), Cells::default(), Vec::new());
        for part in 0..self.feed.parts() {
            evaluator.pool.alone(budget, || {
                self.feed.read(part, &mut |item| {
                    if !self.values(item, &mut cells, &mut pace, &mut remarks)? {
                        return Ok(());
                    }
                    let labels = item.labels().clone();
                    take(Column { labels, cells: std::mem::take(&mut cells) })
                })
            })?;
            remarks.drain(..).for_each(|remark| evaluator.remark(remark));
        }
        Ok(())
    }

    /// At which steps any series has a value.
    fn presence(&self, evaluator: &Evaluator<'_>) -> Result<Vec<bool>, QueryError> {
        let len = self.len;
        let add = |there: &mut Vec<bool>, seen: Seen<'_>, _: &mut Pace<'_>| {
            there.resize(len, false);
            there.iter_mut().zip(seen.cells.presence()).for_each(|(any, there)| *any |= there);
            Ok(())
        };
        let mut any = vec![false; len];
        self.fold(evaluator, &add, &mut |part| {
            any.iter_mut().zip(part).for_each(|(any, there)| *any |= there);
            Ok(())
        })?;
        Ok(any)
    }

    /// The only number at each step.
    fn lone(&self, evaluator: &Evaluator<'_>) -> Result<Vec<Lone>, QueryError> {
        let len = self.len;
        let add = |known: &mut Vec<Lone>, seen: Seen<'_>, _: &mut Pace<'_>| {
            known.resize(len, Lone::None);
            for (known, value) in known.iter_mut().zip(seen.cells.steps()) {
                if let Some(value) = value {
                    *known = known.and(Lone::One(value));
                }
            }
            Ok(())
        };
        let mut all = vec![Lone::None; len];
        self.fold(evaluator, &add, &mut |part| {
            all.iter_mut().zip(part).for_each(|(all, later)| *all = all.and(later));
            Ok(())
        })?;
        Ok(all)
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
                if !self.values(item, &mut cells, &mut pace, &mut remarks)? {
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

    /// The values of a series, in place of what is in `cells`; false when it has none.
    fn values(
        &self,
        item: Item<'_>,
        cells: &mut Cells,
        pace: &mut Pace<'_>,
        remarks: &mut Vec<Remark>,
    ) -> Result<bool, QueryError> {
        pace.spend(item_work(&item) + self.len)?;
        cells.reset(self.len);
        self.look_at(item, cells, pace, remarks)?;
        for stage in &self.stages {
            stage.apply(cells, (pace, remarks))?;
        }
        Ok(!cells.is_empty())
    }

    fn look_at(
        &self,
        item: Item<'_>,
        cells: &mut Cells,
        pace: &mut Pace<'_>,
        remarks: &mut Vec<Remark>,
    ) -> Result<(), QueryError> {
        match (&self.look, item) {
            (Look::Newest(newest), item) => {
                return newest.look_at(item, cells, (pace, remarks));
            }
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
    fn apply(
        &self,
        cells: &mut Cells,
        (pace, remarks): (&mut Pace<'_>, &mut Vec<Remark>),
    ) -> Result<(), QueryError> {
        match self {
            Self::Negate => {
                cells.map(pace, |_, value| Some(-value))?;
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
                cells.map(pace, |_, value| Some(f(value)))?;
            }
            Self::ValueWith(f, scalars) => {
                cells.take_histograms();
                let mut args = Vec::with_capacity(scalars.len());
                cells.map(pace, |step, value| {
                    super::fill(&mut args, scalars, step);
                    f(value, &args)
                })?;
            }
            Self::Operator(operand) => with_scalar(operand, cells, (pace, remarks))?,
        }
        Ok(())
    }
}
