//! Ranges: the samples that functions such as `rate` look at, step by step.
//!
//! A range is open to the left: a sample exactly as old as the range is long is not in it. Both
//! ends of a window only ever move forward, so a whole query walks each series once.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::Range;

use labstat_model::{Labels, Series, SeriesRef, is_stale};

use super::bucket::widened;
use super::layout::Layouts;
use super::plan::Piece;
use super::slide::{Fold, Slide};
use crate::QueryError;
use crate::budget::Pace;
use crate::column::{Cells, STEPS_COUNTED, Steps};
use crate::expr::{Edges, Selector, Shift, Subquery};
use crate::functions::edges::{Around, Edged};

/// How often a fold looks at each sample.
const FOLD_COST: u128 = 3;

/// Samples in all the windows of a series that are looked at without asking whether a fold is
/// cheaper: some microseconds.
const PLAIN_MAX: u128 = 4096;

/// What is called for every window, with the scalar arguments at that step.
pub(crate) type WindowFn = fn(&Window<'_>, &[f64]) -> Option<f64>;

/// What is called for every series, to walk its windows by itself.
pub(crate) type SeriesFn = fn(&mut Walker<'_, '_>) -> Result<(), QueryError>;

/// How a function over a range is computed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kernel {
    Window(WindowFn),
    Series(SeriesFn),
    /// Windows that were widened, so that their edges have values of their own.
    Edged(Edged, Beyond),
}

/// Where the samples of a selector are looked for at each step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach<'s> {
    pub(super) selector: &'s Selector,
    pub(super) shift: Shift,
    pub(super) range_ms: i64,
}

/// How far beyond the edges of a range its samples matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beyond {
    edges: Edges,
    before_ms: i64,
    after_ms: i64,
}

impl Beyond {
    pub(super) fn of(edges: Edges, lookback_ms: i64) -> Self {
        let (before_ms, after_ms) = match edges {
            Edges::Exact => (0, 0),
            Edges::Anchored => (lookback_ms, 0),
            Edges::Smoothed => (lookback_ms, lookback_ms),
        };
        Self { edges, before_ms, after_ms }
    }

    /// The range of a selector, widened.
    pub(super) fn reach(self, selector: &Selector, range_ms: i64) -> Reach<'_> {
        let Shift { at_ms, offset_ms } = selector.shift;
        let shift = Shift { at_ms, offset_ms: offset_ms - self.after_ms };
        Reach { selector, shift, range_ms: range_ms + self.before_ms + self.after_ms }
    }

    /// The range as it was, in the samples of the widened one.
    pub(super) fn around<'w>(self, window: &'w Window<'_>) -> Around<'w> {
        Around {
            times: window.times,
            values: window.values,
            start_ms: window.start_ms + self.before_ms,
            end_ms: window.end_ms - self.after_ms,
            smoothed: self.edges == Edges::Smoothed,
        }
    }

    /// The samples of a range as it was, with those that stand on its edges.
    pub(super) fn with_edges(
        self,
        series: Option<Series>,
        reach: Reach<'_>,
        time_ms: i64,
    ) -> Option<Series> {
        if self.edges == Edges::Exact {
            return series;
        }
        let Series { labels, times, values } = series?;
        let last_ms = reach.shift.apply(time_ms);
        let around = Around {
            times: &times,
            values: &values,
            start_ms: last_ms - reach.range_ms + self.before_ms,
            end_ms: last_ms - self.after_ms,
            smoothed: self.edges == Edges::Smoothed,
        };
        let (times, values) = around.samples()?;
        Some(Series { labels, times, values })
    }
}

/// Consecutive steps of a call, and the windows of its range at them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch {
    /// Which step of the call the first of them is.
    pub(super) first: usize,
    pub(super) steps: Steps,
    pub(super) shift: Shift,
    pub(super) range_ms: i64,
    /// The edges of windows are moved outward to multiples of this.
    pub(super) edges_ms: i64,
}

impl Stretch {
    pub(super) fn new(range: Reach<'_>, piece: &Piece) -> Self {
        let Reach { shift, range_ms, .. } = range;
        Self { first: piece.first, steps: piece.steps, shift, range_ms, edges_ms: 1 }
    }

    pub(super) fn of_subquery(subquery: &Subquery, steps: Steps) -> Self {
        let (shift, range_ms) = (subquery.shift, subquery.range_ms);
        Self { first: 0, steps, shift, range_ms, edges_ms: 1 }
    }

    /// When each step is, and where its window ends.
    pub(super) fn ends(&self) -> impl Iterator<Item = (i64, i64)> + use<> {
        let shift = self.shift;
        self.steps.times().map(move |time| (time, shift.apply(time)))
    }

    /// The times from which to which samples matter.
    pub(super) fn reach(&self) -> (i64, i64) {
        let first_ms = self.shift.apply(self.steps.start_ms) - self.range_ms + 1;
        (first_ms, self.shift.apply(self.steps.last()))
    }
}

/// A series of a range, without markers of staleness.
#[derive(Debug)]
pub(crate) struct RangeSeries<'a> {
    times: Cow<'a, [i64]>,
    values: Cow<'a, [f64]>,
    /// The indices of samples that are less than the one before them, found when asked for.
    drops: OnceCell<Vec<usize>>,
}

impl<'a> RangeSeries<'a> {
    pub(crate) fn of(series: SeriesRef<'a>) -> Self {
        // Without a way out in between, so that several are looked at at once; so below.
        if !series.values.iter().fold(false, |any, value| any | is_stale(*value)) {
            return Self::new(Cow::Borrowed(series.times), Cow::Borrowed(series.values));
        }
        let live =
            || series.times.iter().zip(series.values).filter(|(_, value)| !is_stale(**value));
        let times: Vec<i64> = live().map(|(time, _)| *time).collect();
        let values: Vec<f64> = live().map(|(_, value)| *value).collect();
        Self::new(times.into(), values.into())
    }

    pub(crate) fn new(times: Cow<'a, [i64]>, values: Cow<'a, [f64]>) -> Self {
        Self { times, values, drops: OnceCell::new() }
    }

    pub(crate) fn times(&self) -> &[i64] {
        &self.times
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    /// How many samples are held for this series alone.
    pub(crate) fn copied(&self) -> usize {
        match self.values {
            Cow::Borrowed(_) => 0,
            Cow::Owned(_) => self.values.len(),
        }
    }

    fn drops(&self) -> &[usize] {
        self.drops.get_or_init(|| {
            let pairs = self.values.iter().zip(self.values.get(1..).unwrap_or_default());
            if !pairs.fold(false, |any, (before, after)| any | (after < before)) {
                return Vec::new();
            }
            let drop = |(at, pair): (usize, &[f64])| match pair {
                [before, after] if after < before => Some(at + 1),
                _ => None,
            };
            self.values.windows(2).enumerate().filter_map(drop).collect()
        })
    }

    /// The samples less than the one before them, both within `window`, as indices.
    fn drops_in(&self, window: Range<usize>) -> &[usize] {
        let drops = self.drops();
        if drops.is_empty() {
            return drops;
        }
        let from = drops.partition_point(|at| *at <= window.start);
        let to = drops.partition_point(|at| *at < window.end);
        drops.get(from..to).unwrap_or(&[])
    }

    /// The value before each drop within `window`: what a counter had reached when it was reset.
    pub(crate) fn values_before_drops(&self, window: Range<usize>) -> impl Iterator<Item = f64> {
        let before = |at: &usize| at.checked_sub(1).and_then(|at| self.values.get(at));
        self.drops_in(window).iter().filter_map(before).copied()
    }

    /// The samples from `first_ms` to `last_ms`.
    pub(crate) fn into_series(self, labels: Labels, first_ms: i64, last_ms: i64) -> Series {
        let (mut times, mut values) = (self.times.into_owned(), self.values.into_owned());
        let end = times.partition_point(|time| *time <= last_ms);
        times.truncate(end);
        values.truncate(end);
        let begin = times.partition_point(|time| *time < first_ms);
        times.drain(..begin);
        values.drain(..begin);
        Series { labels, times, values }
    }
}

/// What a function over a range sees at one step: at least one sample.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [f64],
    /// Where the range begins; a sample at this very time is not in it.
    pub(crate) start_ms: i64,
    /// Where the range ends.
    pub(crate) end_ms: i64,
    pub(crate) range_ms: i64,
    /// The time of the step, which `offset` and `@` do not move.
    pub(crate) step_ms: i64,
    first: usize,
    series: &'a RangeSeries<'a>,
}

impl Window<'_> {
    /// The values of the whole series.
    pub(crate) fn series_values(&self) -> &[f64] {
        &self.series.values
    }

    /// Where the window's samples are in the series.
    pub(crate) fn indices(&self) -> Range<usize> {
        self.first..self.first + self.values.len()
    }

    /// The samples less than the one before them, both within the window, as indices into the
    /// whole series.
    pub(crate) fn drops(&self) -> &[usize] {
        self.series.drops_in(self.indices())
    }

    /// The value before each drop: what a counter had reached when it was reset.
    pub(crate) fn values_before_drops(&self) -> impl Iterator<Item = f64> + '_ {
        self.series.values_before_drops(self.indices())
    }
}

/// Walks a series from window to window.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    series: &'a RangeSeries<'a>,
    range_ms: i64,
    /// Both edges of windows are moved outward to multiples of this.
    edges_ms: i64,
    from: Cursor,
    to: Cursor,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(series: &'a RangeSeries<'a>, range_ms: i64, edges_ms: i64) -> Self {
        Self { series, range_ms, edges_ms, from: Cursor::default(), to: Cursor::default() }
    }

    /// The window of the step at `step_ms` that ends at `end_ms`, which ascends from call to call;
    /// `None` when no sample is in it.
    // Inlined: a window that goes through memory is waited for by what is computed of it.
    #[inline]
    pub(crate) fn next(&mut self, step_ms: i64, end_ms: i64) -> Option<Window<'a>> {
        let (start_ms, end_ms) = match (end_ms - self.range_ms, end_ms) {
            exact if self.edges_ms == 1 => exact,
            (start_ms, end_ms) => widened(start_ms, end_ms, self.edges_ms),
        };
        let series = self.series;
        let first = self.from.after(&series.times, start_ms);
        let wanted = first..self.to.after(&series.times, end_ms);
        let times = series.times.get(wanted.clone()).filter(|times| !times.is_empty())?;
        let values = series.values.get(wanted)?;
        let range_ms = self.range_ms;
        Some(Window { times, values, start_ms, end_ms, range_ms, step_ms, first, series })
    }
}

/// A place among ascending times that moves on from step to step, mostly as far as the last time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cursor {
    at: usize,
    /// How far it went the last time.
    by: usize,
}

impl Cursor {
    /// Moves on to the first of the times that is after `time_ms`, which ascends from call to call.
    #[inline]
    pub(super) fn after(&mut self, times: &[i64], time_ms: i64) -> usize {
        let guess = self.at + self.by;
        let is_before = guess.checked_sub(1).and_then(|before| times.get(before));
        let is_it = is_before.is_some_and(|time| *time <= time_ms)
            && times.get(guess).is_none_or(|time| *time > time_ms);
        let at = if is_it { guess } else { advance(times, self.at, time_ms) };
        self.by = at - self.at;
        self.at = at;
        at
    }
}

/// The first index from `from` on whose time is after `time_ms`: mostly near, so it is looked for
/// in strides that double.
#[inline]
pub(super) fn advance(times: &[i64], from: usize, time_ms: i64) -> usize {
    let rest = times.get(from..).unwrap_or(&[]);
    let mut stride = 1;
    while rest.get(stride - 1).is_some_and(|time| *time <= time_ms) {
        stride *= 2;
    }
    let (low, high) = (stride / 2, (stride - 1).min(rest.len()));
    let between = rest.get(low..high).unwrap_or(&[]);
    from + low + between.partition_point(|time| *time <= time_ms)
}

/// The window of a step by the times of the samples alone.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Laid {
    /// The indices of its samples; none where they are too few for the function.
    pub(crate) from: u32,
    pub(crate) to: u32,
    /// What the function makes of their times.
    pub(crate) factor: f64,
}

impl Laid {
    pub(crate) fn indices(&self) -> Range<usize> {
        self.from as usize..self.to as usize
    }
}

/// A series and the steps at which its windows are looked at.
#[derive(Debug)]
pub(crate) struct Walker<'w, 'b> {
    pub(super) series: &'w RangeSeries<'w>,
    pub(super) stretch: Stretch,
    pub(super) layouts: &'w Layouts<Laid>,
    pub(super) args: &'w [Vec<f64>],
    pub(super) cells: &'w mut Cells,
    pub(super) pace: &'w mut Pace<'b>,
}

impl Walker<'_, '_> {
    /// How long each window is.
    pub(crate) fn range_ms(&self) -> i64 {
        self.stretch.range_ms
    }

    /// From where to where the window of a step goes.
    pub(crate) fn edges_ms(&self) -> impl Fn(usize) -> (i64, i64) + use<> {
        let Stretch { steps, shift, range_ms, .. } = self.stretch;
        move |step| {
            let end_ms = shift.apply(steps.time(step));
            (end_ms - range_ms, end_ms)
        }
    }

    /// Where the values go.
    pub(crate) fn cells(&mut self) -> &mut Cells {
        self.cells
    }

    /// Calls `f` for every window that has a sample, with its step and where its value goes.
    #[inline]
    pub(crate) fn visit(
        &mut self,
        mut f: impl FnMut(usize, &Window<'_>, &mut Cells),
    ) -> Result<(), QueryError> {
        let mut windows = Walk::new(self.series, self.stretch.range_ms, self.stretch.edges_ms);
        for (step, (step_ms, end_ms)) in self.stretch.ends().enumerate() {
            let Some(window) = windows.next(step_ms, end_ms) else {
                self.pace.spend(1)?;
                continue;
            };
            self.pace.spend(window.values.len())?;
            f(step, &window, self.cells);
        }
        Ok(())
    }

    /// Calls `f` with the samples of every window that has a `factor`, which is one of their times
    /// alone, and with its step; where series share these, it is not asked for again. False, and
    /// nothing is done, where they do not.
    #[inline]
    pub(crate) fn each_laid(
        &mut self,
        factor: impl Fn(&Window<'_>) -> Option<f64>,
        mut f: impl FnMut(&RangeSeries<'_>, &Laid, usize) -> Option<f64>,
    ) -> Result<bool, QueryError> {
        let (layouts, series, len) = (self.layouts, self.series, self.stretch.steps.len);
        // Edges that were moved outward are not those of all series.
        if self.stretch.edges_ms != 1 {
            return Ok(false);
        }
        let done = layouts.with(len, |known| {
            let lay = || self.lay(factor);
            let Some(steps) = known.of(series.times(), len, lay)? else { return Ok(false) };
            for (part, steps) in steps.chunks(STEPS_COUNTED).enumerate() {
                self.pace.spend(steps.len())?;
                for (at, laid) in steps.iter().enumerate().filter(|(_, laid)| laid.to > laid.from) {
                    let step = part * STEPS_COUNTED + at;
                    if let Some(value) = f(series, laid, step) {
                        self.cells.set(step, value);
                    }
                }
            }
            Ok(true)
        });
        done.unwrap_or(Ok(false))
    }

    fn lay(
        &mut self,
        factor: impl Fn(&Window<'_>) -> Option<f64>,
    ) -> Result<Vec<Laid>, QueryError> {
        let mut steps = vec![Laid::default(); self.stretch.steps.len];
        self.visit(|step, window, _| {
            let Range { start, end } = window.indices();
            if let (Some(factor), Some(laid), Ok(from), Ok(to)) =
                (factor(window), steps.get_mut(step), u32::try_from(start), u32::try_from(end))
            {
                *laid = Laid { from, to, factor };
            }
        })?;
        Ok(steps)
    }

    /// Calls `f` for every window that has a sample.
    #[inline]
    pub(crate) fn each(
        &mut self,
        mut f: impl FnMut(&Window<'_>, &[f64]) -> Option<f64>,
    ) -> Result<(), QueryError> {
        let (scalars, first) = (self.args, self.stretch.first);
        let mut args = Vec::with_capacity(scalars.len());
        self.visit(|step, window, cells| {
            if !scalars.is_empty() {
                super::fill(&mut args, scalars, first + step);
            }
            if let Some(value) = f(window, &args) {
                cells.set(step, value);
            }
        })
    }

    /// Whether folding saves nothing: windows that are few or short, so that most samples are in
    /// few of them.
    fn is_little(&self) -> bool {
        let times = self.series.times();
        let (Some(first), Some(last)) = (times.first(), times.last()) else { return true };
        let (len, steps) = (times.len() as u128, self.stretch.steps.len as u128);
        let span_ms = u128::try_from(last - first).unwrap_or(0).max(1);
        let range_ms = u128::try_from(self.range_ms()).unwrap_or(0);
        // As many as a window has where the samples are spread evenly, or fewer.
        let in_window = (len * range_ms / span_ms + 1).min(len);
        steps * in_window <= (FOLD_COST * len).max(PLAIN_MAX)
    }

    /// What `f` makes of the fold of every window and the number of its samples. `plain` is called
    /// for the windows where that costs little, since it takes samples in their order and so has
    /// the last bit of Prometheus, and where the values of the series do not suit the fold.
    pub(crate) fn folds<F: Fold<Of = f64>>(
        &mut self,
        f: fn(F, usize) -> f64,
        plain: WindowFn,
    ) -> Result<(), QueryError> {
        if self.is_little() || !F::suits(self.series.values()) {
            return self.each(plain);
        }
        let mut slide = Slide::<F>::new();
        let mut fold = |values: &[f64], window: Range<usize>| {
            let fold = slide.fold(values, &window)?;
            Some(f(fold, window.len()))
        };
        let any = |_: &Window<'_>| Some(1.0);
        if self.each_laid(any, |series, laid, _| fold(series.values(), laid.indices()))? {
            return Ok(());
        }
        self.each(|window, _| fold(window.series_values(), window.indices()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_open_to_the_left() {
        let times: Vec<i64> = (0..5).map(|i| i * 10).collect();
        let series = RangeSeries::new(times.into(), vec![1.0, 2.0, 1.0, 3.0, 2.0].into());
        let mut walk = Walk::new(&series, 20, 1);
        let windows = [20, 40, 90].map(|end| {
            walk.next(end, end).map(|window| (window.times.to_vec(), window.drops().len()))
        });
        assert_eq!(windows, [Some((vec![10, 20], 1)), Some((vec![30, 40], 1)), None]);
    }

    #[test]
    fn the_next_time_is_found_however_far_it_is() {
        let times: Vec<i64> = (0..50).map(|at| at * 10).collect();
        for from in 0..times.len() {
            for time in -5..520 {
                let wanted = from.max(times.partition_point(|known| *known <= time));
                assert_eq!(advance(&times, from, time), wanted, "{from} {time}");
            }
        }
        assert_eq!(advance(&[], 0, 5), 0);
    }

    #[test]
    fn a_cursor_finds_the_next_time_at_any_pace() {
        let times: Vec<i64> = (0..60).map(|at| at * 10 + at % 7 * (at % 3)).collect();
        for paces in [&[0][..], &[10], &[20, 20, 300, 20], &[1, 70, 0, 45], &[1_000]] {
            let (mut cursor, mut time) = (Cursor::default(), -25);
            for by in paces.iter().cycle().take(80) {
                time += by;
                let wanted = times.partition_point(|known| *known <= time);
                assert_eq!(cursor.after(&times, time), wanted, "{paces:?} {time}");
            }
        }
        assert_eq!(Cursor::default().after(&[], 5), 0);
    }
}
