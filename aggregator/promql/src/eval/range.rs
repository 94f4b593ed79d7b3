//! Ranges: calling functions for the window of every series at every step.

use std::cell::OnceCell;
use std::sync::OnceLock;

use labstat_model::{BucketColumns, Buckets, HistogramSeries, Series, SeriesRef};

use super::bucket::{self, BucketSeries, BucketWalk};
use super::feed::{Feed, Item};
use super::instant::LEFT;
use super::layout::Layouts;
use super::mixed::{self, Histograms};
use super::plan::{Ask, Basis, Piece, Windows};
use super::stream::{Alike, Look, Stream};
use super::window::{Beyond, Kernel, Laid, RangeSeries, Reach, Stretch, Walker};
use super::{Evaluator, Remark, WindowFn};
use crate::budget::{Cost, Pace};
use crate::column::{Cells, Column, Columns, Parts, Steps};
use crate::expr::{Call, Edges, Expr, Node, RangeSelector, Selector, Subquery};
use crate::functions::OfBuckets;
use crate::functions::edges::Edged;
use crate::{QueryError, ValueType};

/// Endings of names that counters have.
const COUNTER_ENDINGS: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];

/// A function over ranges, as it is called.
#[derive(Clone)]
pub(super) struct Calling {
    /// The function's name.
    pub(super) name: &'static str,
    pub(super) kernel: Kernel,
    pub(super) keeps_name: bool,
    /// Whether there is something to say of metrics that seem to be no counters.
    pub(super) counter: bool,
    /// How it is computed of buckets.
    of: Option<OfBuckets>,
    /// The scalar arguments, a column each.
    args: Vec<Vec<f64>>,
    /// Where the range is in the query.
    start: usize,
    /// Where remarks on histograms point to: the first argument.
    pub(super) noted: usize,
}

/// Calls a function for the window of a series at each step.
pub(super) struct Ranged {
    pub(super) calling: Calling,
    pub(super) stretch: Stretch,
    /// Where buckets are no more than about right: how wide they are.
    approximated_ms: Option<i64>,
    /// How wide buckets are that stand for samples.
    width_ms: i64,
    /// The times of a subquery's steps.
    times: OnceLock<Vec<i64>>,
    layouts: Layouts<Laid>,
}

impl Ranged {
    pub(super) fn look_at(
        &self,
        item: Item<'_>,
        cells: &mut Cells,
        pace: &mut Pace<'_>,
        remarks: &mut Vec<Remark>,
    ) -> Result<(), QueryError> {
        match item {
            Item::Series(series) => {
                pace.budget().check(Cost::samples(1, series.times.len()))?;
                self.walk(&RangeSeries::of(series), self.stretch, cells, pace)?;
            }
            Item::Mixed(mixed) => {
                let numbers = RangeSeries::of(mixed.numbers.as_ref());
                self.walk(&numbers, self.stretch, cells, pace)?;
                let (times, values) = (&mixed.histograms.times, &mixed.histograms.values);
                let name = mixed.numbers.labels.metric_name();
                let histograms = Histograms { times, values };
                self.walk_histograms(name, &numbers, &histograms, cells, (pace, remarks))?;
            }
            Item::Column(column, steps) => {
                let times = self.times.get_or_init(|| steps.times().collect());
                let points = points(column, times);
                pace.budget().check(Cost::samples(1, points.copied()))?;
                self.walk(&points, self.stretch, cells, pace)?;
                if column.has_histograms() {
                    let (times, values) = mixed::points(column, steps);
                    let name = column.labels.metric_name();
                    let histograms = Histograms { times: &times, values: &values };
                    self.walk_histograms(name, &points, &histograms, cells, (pace, remarks))?;
                }
            }
            Item::Buckets(buckets) => {
                if let Some(width_ms) = self.approximated_ms.filter(|_| remarks.is_empty()) {
                    let start = self.calling.start;
                    remarks.push(Remark::Approximated { width_ms, start });
                }
                match &self.calling.of {
                    Some(of) => self.walk_buckets(buckets, of, cells, pace)?,
                    None => {
                        let left = bucket::ends_of_buckets(buckets);
                        let stretch = Stretch { edges_ms: self.width_ms, ..self.stretch };
                        self.walk(&RangeSeries::of(left.as_ref()), stretch, cells, pace)?;
                    }
                }
            }
        }
        if self.calling.counter && cells.has_numbers() {
            note_gauge(item.labels().metric_name(), self.calling.start, remarks);
        }
        Ok(())
    }

    fn walk(
        &self,
        series: &RangeSeries<'_>,
        stretch: Stretch,
        cells: &mut Cells,
        pace: &mut Pace<'_>,
    ) -> Result<(), QueryError> {
        let args = &self.calling.args;
        let mut walker = Walker { series, stretch, layouts: &self.layouts, args, cells, pace };
        match self.calling.kernel {
            Kernel::Window(f) => walker.each(f),
            Kernel::Series(f) => f(&mut walker),
            Kernel::Edged(edged, beyond) => {
                walker.each(|window, _| beyond.around(window).ask(edged))
            }
        }
    }

    fn walk_buckets(
        &self,
        buckets: &Buckets,
        of: &OfBuckets,
        cells: &mut Cells,
        pace: &mut Pace<'_>,
    ) -> Result<(), QueryError> {
        let series = BucketSeries::new(buckets);
        let mut windows = BucketWalk::new(&series, self.stretch.range_ms);
        for (step, (_, end_ms)) in self.stretch.ends().enumerate() {
            pace.spend(1)?;
            if let Some(value) = windows.next(end_ms).and_then(|window| (of.run)(&window)) {
                cells.set(step, value);
            }
        }
        Ok(())
    }
}

/// The values of a subquery's expression, as samples at the `times` of its steps.
fn points<'p>(column: &'p Column, times: &'p [i64]) -> RangeSeries<'p> {
    if let Some(values) = column.full_values() {
        return RangeSeries::new(times.into(), values.into());
    }
    let at = |(step, value): (usize, f64)| Some((*times.get(step)?, value));
    let (times, values): (Vec<i64>, Vec<f64>) = column.iter().filter_map(at).unzip();
    RangeSeries::new(times.into(), values.into())
}

/// A remark on a metric whose name is not that of a counter.
fn note_gauge(name: &str, start: usize, remarks: &mut Vec<Remark>) {
    if name.is_empty() || COUNTER_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
        return;
    }
    let endings = COUNTER_ENDINGS.join("/");
    let message =
        format!("metric might not be a counter, name does not end in {endings}: {name:?}");
    let remark = Remark::Info { message, start };
    if !remarks.contains(&remark) {
        remarks.push(remark);
    }
}

impl Evaluator<'_> {
    /// Calls `f`, with these scalar arguments, for the window of every series at every step.
    pub(crate) fn windows(
        &self,
        call: &Call,
        steps: Steps,
        f: WindowFn,
        args: Vec<Vec<f64>>,
    ) -> Result<Columns, QueryError> {
        let calling = self.calling(call, Kernel::Window(f), false, args);
        self.ranges(call, calling, steps)?.columns(self).map(Columns::Vector)
    }

    /// As [`Evaluator::windows`], without arguments and with labels as they are, even where two
    /// series share them.
    pub(crate) fn windows_raw(
        &self,
        call: &Call,
        steps: Steps,
        f: WindowFn,
    ) -> Result<Vec<Column>, QueryError> {
        let calling = self.calling(call, Kernel::Window(f), true, Vec::new());
        self.ranges(call, calling, steps)?.columns(self)
    }

    /// How `kernel` is called, with these scalar arguments.
    pub(super) fn calling(
        &self,
        call: &Call,
        kernel: Kernel,
        keeps_name: bool,
        args: Vec<Vec<f64>>,
    ) -> Calling {
        // A remark on a subquery points to the begin of the query, as in Prometheus.
        let start = match range_of(call) {
            Some(Expr { node: Node::Range(_), start, .. }) => *start,
            _ => 0,
        };
        let of = call.function.buckets;
        let noted = match call.args.first() {
            Some(first) if first.value_type != ValueType::Matrix => first.start,
            _ => start,
        };
        let name = call.function.name;
        Calling { name, kernel, keeps_name, counter: false, of, args, start, noted }
    }

    /// The values of a function over a range.
    pub(super) fn ranges<'s>(
        &'s self,
        call: &'s Call,
        calling: Calling,
        steps: Steps,
    ) -> Result<Stream<'s>, QueryError> {
        let keeps_name = calling.keeps_name;
        let stream = match range_of(call).map(|arg| &arg.node) {
            Some(Node::Range(range)) => {
                let calling = self.with_edges(call, range, calling)?;
                self.of_selector(self.windows_of(range), calling, steps)?
            }
            Some(Node::Subquery(subquery)) => self.of_subquery(subquery, calling, steps)?,
            _ => return Err(QueryError::execution("range vector expected")),
        };
        stream.then(self, None, (!keeps_name).then_some(Alike::Refused))
    }

    /// A function over a range whose edges have values of their own takes its samples from around
    /// it; few functions do.
    fn with_edges(
        &self,
        call: &Call,
        range: &RangeSelector,
        calling: Calling,
    ) -> Result<Calling, QueryError> {
        let edges = range.selector.edges;
        if edges == Edges::Exact {
            return Ok(calling);
        }
        let edged = Edged::find(call.function.name, edges).map_err(QueryError::execution)?;
        let kernel = Kernel::Edged(edged, Beyond::of(edges, self.lookback_ms));
        Ok(Calling { kernel, of: None, ..calling })
    }

    /// Where to look for the samples of a range, and around it where its edges need that.
    pub(super) fn windows_of<'s>(&self, range: &'s RangeSelector) -> Reach<'s> {
        let selector = &range.selector;
        Beyond::of(selector.edges, self.lookback_ms).reach(selector, range.range_ms)
    }

    /// The values of a selector that lie on the lines between samples.
    pub(super) fn smoothed<'s>(
        &'s self,
        selector: &'s Selector,
        start: usize,
        steps: Steps,
    ) -> Result<Stream<'s>, QueryError> {
        let kernel = Kernel::Edged(Edged::Instant, Beyond::of(Edges::Smoothed, self.lookback_ms));
        let calling = Calling {
            name: "",
            kernel,
            keeps_name: true,
            counter: false,
            of: None,
            args: Vec::new(),
            start,
            noted: start,
        };
        self.of_selector(self.smoothed_reach(selector), calling, steps)
    }

    /// Where to look for the samples on both sides of each step.
    pub(super) fn smoothed_reach<'s>(&self, selector: &'s Selector) -> Reach<'s> {
        Beyond::of(Edges::Smoothed, self.lookback_ms).reach(selector, 0)
    }

    fn of_selector<'s>(
        &'s self,
        range: Reach<'s>,
        calling: Calling,
        steps: Steps,
    ) -> Result<Stream<'s>, QueryError> {
        let pieces = self.pieces(range, calling.of.is_some(), steps);
        if let [piece] = pieces.as_slice() {
            return self.of_piece(range, calling, piece);
        }
        let mut parts = Parts::new(steps.len);
        for piece in pieces {
            for column in self.of_piece(range, calling.clone(), &piece)?.columns(self)? {
                parts.push(piece.first, column);
            }
            self.budget.check(Cost::columns(parts.len(), steps.len))?;
        }
        Ok(Stream::of(parts.joined(), steps))
    }

    fn of_piece<'s>(
        &'s self,
        range: Reach<'s>,
        calling: Calling,
        piece: &Piece,
    ) -> Result<Stream<'s>, QueryError> {
        let stretch = Stretch::new(range, piece);
        let columns = calling.of.map_or(LEFT, |of| of.columns);
        let (feed, approximated_ms, width_ms) = self.feed(range, stretch, piece.basis, columns)?;
        let (times, layouts) = (OnceLock::new(), Layouts::default());
        let ranged = Ranged { calling, stretch, approximated_ms, width_ms, times, layouts };
        let distinct = range.selector.names_one_metric();
        Ok(Stream::new(feed, Look::Ranged(ranged), stretch.steps.len, distinct))
    }

    /// What to read for a stretch; how wide its buckets are where they approximate, and at all.
    fn feed<'s>(
        &'s self,
        range: Reach<'s>,
        stretch: Stretch,
        basis: Basis,
        columns: BucketColumns,
    ) -> Result<(Feed<'s>, Option<i64>, i64), QueryError> {
        Ok(match basis {
            Basis::Samples => (self.samples(range.selector, stretch.reach())?, None, 1),
            Basis::Buckets { width_ms, exact } => {
                let feed = self.buckets(range.selector, stretch.reach(), width_ms, columns)?;
                (feed, (!exact).then_some(width_ms), width_ms)
            }
        })
    }

    fn pieces(&self, range: Reach<'_>, of_buckets: bool, steps: Steps) -> Vec<Piece> {
        let ask = if of_buckets { Ask::Known } else { Ask::Samples };
        let Reach { shift, range_ms, .. } = range;
        Windows { steps, shift, range_ms, ask }.pieces(self.tiers())
    }

    fn of_subquery(
        &self,
        subquery: &Subquery,
        calling: Calling,
        steps: Steps,
    ) -> Result<Stream<'_>, QueryError> {
        let inner = self.subquery_steps(subquery, steps)?;
        let columns = self.vector(&subquery.expr, inner)?;
        let distinct = super::stream::named_alike(&columns);
        let stretch = Stretch::of_subquery(subquery, steps);
        let (times, layouts) = (OnceLock::new(), Layouts::default());
        let ranged =
            Ranged { calling, stretch, approximated_ms: None, width_ms: 1, times, layouts };
        Ok(Stream::new(Feed::Columns(columns, inner), Look::Ranged(ranged), steps.len, distinct))
    }

    /// The multiples of the subquery's step within all ranges the outer steps ask for.
    pub(super) fn subquery_steps(
        &self,
        subquery: &Subquery,
        steps: Steps,
    ) -> Result<Steps, QueryError> {
        let step_ms = subquery.step_ms.unwrap_or(self.subquery_step_ms).max(1);
        let first = subquery.shift.apply(steps.start_ms) - subquery.range_ms;
        let last = subquery.shift.apply(steps.last());
        let mut start_ms = step_ms * (first / step_ms);
        if start_ms <= first {
            start_ms += step_ms;
        }
        if start_ms > last {
            return Ok(Steps { start_ms, step_ms, len: 0 });
        }
        let len = usize::try_from((last - start_ms) / step_ms + 1).unwrap_or(usize::MAX);
        self.budget.check(Cost::columns(1, len))?;
        Ok(Steps { start_ms, step_ms, len })
    }

    /// The samples of a range at one time, as the answer of an instant query.
    pub(crate) fn matrix(
        &self,
        expr: &Expr,
        time_ms: i64,
    ) -> Result<(Vec<Series>, Vec<HistogramSeries>), QueryError> {
        let steps = Steps::one(time_ms);
        let (mut matrix, mut held) = (Vec::new(), Cost::default());
        let mut histograms = Vec::new();
        let mut push = |series: Option<Series>| {
            if let Some(series) = series {
                held = held.and(Cost::samples(1, series.len()));
                self.budget.check(held)?;
                matrix.push(series);
            }
            Ok(())
        };
        match &expr.node {
            Node::Range(range) => {
                let beyond = Beyond::of(range.selector.edges, self.lookback_ms);
                let range = self.windows_of(range);
                let mut push = |series| push(beyond.with_edges(series, range, time_ms));
                for piece in self.pieces(range, false, steps) {
                    let stretch = Stretch::new(range, &piece);
                    let (feed, approximated_ms, _) =
                        self.feed(range, stretch, piece.basis, LEFT)?;
                    self.read_matrix(&feed, stretch, (&mut push, &mut histograms), || {
                        if let Some(width_ms) = approximated_ms {
                            self.remark(Remark::Approximated { width_ms, start: expr.start });
                        }
                    })?;
                }
            }
            Node::Subquery(subquery) => {
                let inner = self.subquery_steps(subquery, steps)?;
                let feed = Feed::Columns(self.vector(&subquery.expr, inner)?, inner);
                let stretch = Stretch::of_subquery(subquery, steps);
                self.read_matrix(&feed, stretch, (&mut push, &mut histograms), || {})?;
            }
            _ => return Err(QueryError::execution("range vector expected")),
        }
        Ok((matrix, histograms))
    }

    fn read_matrix(
        &self,
        feed: &Feed<'_>,
        stretch: Stretch,
        (push, histograms): (
            &mut impl FnMut(Option<Series>) -> Result<(), QueryError>,
            &mut Vec<HistogramSeries>,
        ),
        of_buckets: impl Fn(),
    ) -> Result<(), QueryError> {
        let cut = |labels: &labstat_model::Labels, range: RangeSeries<'_>| {
            let (first_ms, last_ms) = stretch.reach();
            let series = range.into_series(labels.clone(), first_ms, last_ms);
            Some(series).filter(|series| !series.is_empty())
        };
        let (mut pace, times) = (self.budget.pace(), OnceCell::new());
        for part in 0..feed.parts() {
            feed.read(part, &mut |item| {
                let of = |series: SeriesRef<'_>| cut(series.labels, RangeSeries::of(series));
                let series = match item {
                    Item::Series(series) => of(series),
                    Item::Mixed(mixed) => {
                        histograms.extend(mixed::cut(&mixed.histograms, stretch.reach()));
                        of(mixed.numbers.as_ref())
                    }
                    Item::Column(column, steps) => {
                        if column.has_histograms() {
                            let (times, values) = mixed::points(column, steps);
                            let labels = column.labels.clone();
                            let all = HistogramSeries { labels, times, values };
                            histograms.extend(mixed::cut(&all, stretch.reach()));
                        }
                        let times: &Vec<i64> = times.get_or_init(|| steps.times().collect());
                        cut(&column.labels, points(column, times))
                    }
                    Item::Buckets(buckets) => {
                        of_buckets();
                        of(bucket::ends_of_buckets(buckets).as_ref())
                    }
                };
                pace.spend(series.as_ref().map_or(1, Series::len))?;
                push(series)
            })?;
        }
        Ok(())
    }
}

/// The argument of a call that is a range.
fn range_of(call: &Call) -> Option<&Expr> {
    call.args.iter().find(|arg| arg.value_type == ValueType::Matrix)
}
