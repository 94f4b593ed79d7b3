//! One evaluation of a group: rule by rule, in order, in as many goes as it takes.
//!
//! A round can be put aside between two rules, so that a group with much to do holds up no other.
//! What its rules say is kept together and is stored when the round is over, at once; rules that
//! look at what others before them recorded see it all the same ([`super::overlay`]).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use labstat_model::{HistogramSample, MixedRequest};
use labstat_promql::{Engine, Source};

use super::evaluate::Context;
use super::group::Running;
use super::overlay::Fresh;
use super::{Due, Evaluation, Manager};
use crate::rules::RuleKind;

/// How much further than by its interval a rule may have been evaluated ahead of a round, out of turn:
/// more is from a clock that has been set back since. Rounds begin half a second after their slot, and
/// samples that wake rules may be two seconds ahead of our clock.
const AHEAD_MAX_MS: i64 = 3_000;

/// What rules are evaluated with.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// What evaluates their expressions.
    pub engine: &'a Engine,
    /// What they are evaluated over.
    pub source: &'a dyn Source,
    /// The time since some moment, by a clock that nobody sets: how long they take is measured by it.
    pub elapsed: &'a dyn Fn() -> Duration,
}

/// A round of a group that goes on. Whoever has it must end it with [`Manager::finish`] and
/// [`Manager::release`].
#[derive(Debug)]
pub struct Round {
    pub(super) running: Arc<Running>,
    time_ms: i64,
    /// The metrics that woke it; then only the alerts that name one of them are evaluated.
    woken: Option<Arc<BTreeSet<String>>>,
    next: usize,
    out: Evaluation,
    fresh: Fresh,
    /// Series of numbers, and of histograms, already among `fresh`.
    seen: (usize, usize),
    worked: Duration,
    rules: Duration,
    evaluations: u64,
    failures: u64,
}

impl Round {
    /// The group.
    pub fn group(&self) -> &crate::rules::Group {
        &self.running.group
    }

    /// Whether it is out of turn.
    pub fn is_woken(&self) -> bool {
        self.woken.is_some()
    }

    /// How long it has been worked on.
    pub fn worked(&self) -> Duration {
        self.worked
    }

    /// Whether a rule of the group is known to take longer than `long`.
    pub fn is_slow(&self, long: Duration) -> bool {
        self.running.lock().rules.iter().any(|rule| rule.duration_s > long.as_secs_f64())
    }

    /// Has the next rule see what those before it said.
    fn look_back(&mut self) {
        let MixedRequest { floats, histograms } = &self.out.write;
        for series in floats.series.iter().skip(self.seen.0) {
            for sample in &series.samples {
                self.fresh.push(&series.labels, sample.time_ms, sample.value);
            }
        }
        for series in histograms.iter().skip(self.seen.1) {
            for HistogramSample { time_ms, histogram } in &series.samples {
                if let Ok(histogram) = histogram {
                    self.fresh.push_histogram(&series.labels, *time_ms, histogram.clone());
                }
            }
        }
        self.seen = (floats.series.len(), histograms.len());
    }

    /// The time to evaluate a rule at: that of the round, unless the rule was evaluated later than
    /// that, out of turn. Then it is evaluated after what it has seen, or the samples that woke it
    /// would be of the future, and its alerts over.
    fn time_of(&self, at: usize) -> i64 {
        let time_ms = self.time_ms;
        let latest_ms = time_ms.saturating_add(self.running.group.interval_ms + AHEAD_MAX_MS);
        let evaluated_ms = self.running.lock().rules.get(at).and_then(|rule| rule.evaluated_ms);
        let ahead_ms = evaluated_ms.filter(|ms| *ms > time_ms && *ms <= latest_ms);
        // Not at the same time again: a series that ends there has a sample already.
        ahead_ms.map_or(time_ms, |ms| ms + 1)
    }
}

impl Manager {
    /// Begins a round; `None` when one of the same group goes on.
    pub fn begin(&self, due: &Due) -> Option<Round> {
        if !due.group.take() {
            return None;
        }
        {
            let mut state = due.group.lock();
            if due.woken.is_some() {
                state.figures.woken += 1;
            } else {
                let missed = due.group.missed(&state, due.time_ms);
                state.figures.iterations += missed + 1;
                state.figures.missed += missed;
            }
        }
        Some(Round {
            running: due.group.clone(),
            time_ms: due.time_ms,
            woken: due.woken.clone(),
            next: 0,
            out: Evaluation::default(),
            fresh: Fresh::default(),
            seen: (0, 0),
            worked: Duration::ZERO,
            rules: Duration::ZERO,
            evaluations: 0,
            failures: 0,
        })
    }

    /// Evaluates rules of a round until all are done or `slice` is over; true when all are done. A
    /// rule that fails keeps its state and says so in the views; the others go on.
    pub fn proceed(&self, round: &mut Round, means: Means<'_>, slice: Duration) -> bool {
        let started = (means.elapsed)();
        let worked = || (means.elapsed)().saturating_sub(started);
        while round.next < round.running.group.rules.len() && !round.running.is_retired() {
            let at = round.next;
            round.next += 1;
            self.evaluate_rule(round, at, means);
            if worked() > slice {
                break;
            }
        }
        round.worked += worked();
        round.next >= round.running.group.rules.len() || round.running.is_retired()
    }

    fn evaluate_rule(&self, round: &mut Round, at: usize, means: Means<'_>) {
        let running = round.running.clone();
        let (Some(rule), Some(prepared)) = (running.group.rules.get(at), running.prepared.get(at))
        else {
            return;
        };
        if let Some(woken) = &round.woken
            && (matches!(rule.kind, RuleKind::Record { .. })
                || woken.is_disjoint(&prepared.metrics))
        {
            return;
        }
        let started = (means.elapsed)();
        if prepared.looks_back {
            round.look_back();
        }
        let late = self.late();
        let time_ms = round.time_of(at);
        let context = Context {
            manager: self,
            running: &running,
            rule,
            prepared,
            engine: means.engine,
            source: means.source,
            fresh: &round.fresh,
            time_ms,
            late: &late,
        };
        let found = context.query(at);
        if running.is_retired() {
            return; // its query was cut short, which is no failure
        }
        let mut state = running.lock();
        let Some(state) = state.rules.get_mut(at) else { return };
        let outcome = found.and_then(|found| context.apply(found, state, &mut round.out));
        let took = (means.elapsed)().saturating_sub(started);
        round.rules += took;
        round.evaluations += 1;
        round.failures += u64::from(outcome.is_err());
        if let Err(error) = &outcome
            && state.error.as_ref() != Some(error)
        {
            tracing::warn!(group = running.group.name, rule = rule.name, error, "rule failed");
        }
        state.has_old_texts &= outcome.is_err();
        state.error = outcome.err();
        state.evaluated_ms = Some(time_ms);
        state.duration_s = took.as_secs_f64();
    }

    /// Ends the evaluating part of a round, and gives what is to be kept and told. The group stays
    /// taken until [`Manager::release`].
    pub fn finish(&self, round: &mut Round) -> Evaluation {
        let out = std::mem::take(&mut round.out);
        let is_whole = round.next >= round.running.group.rules.len();
        let mut state = round.running.lock();
        let figures = &mut state.figures;
        figures.evaluations += round.evaluations;
        figures.failures += round.failures;
        figures.rules_s += round.rules.as_secs_f64();
        // The rules that a reload left out have their turn at once, in the group that comes after.
        if round.woken.is_none() && is_whole {
            figures.last_rules_s = round.rules.as_secs_f64();
            figures.last_samples = out.write.samples_len();
            state.done_ms = round.time_ms;
            state.duration_s = round.worked.as_secs_f64();
        }
        state.evaluated_ms = Some(round.time_ms);
        out
    }

    /// Gives the group back, once what [`Manager::finish`] gave is kept: the next round may begin.
    pub fn release(&self, round: &Round) {
        round.running.free();
    }

    /// A whole round at once, for whoever stores what it gives before the next one begins.
    pub fn evaluate(&self, due: &Due, engine: &Engine, source: &dyn Source) -> Evaluation {
        let Some(mut round) = self.begin(due) else { return Evaluation::default() };
        let begun = Instant::now();
        let means = Means { engine, source, elapsed: &|| begun.elapsed() };
        self.proceed(&mut round, means, Duration::MAX);
        let out = self.finish(&mut round);
        self.release(&round);
        out
    }
}
