//! What there is to say about a result beside the result, in Prometheus' words.

use std::collections::HashSet;

use labstat_model::{duration, number};

use crate::{Position, ValueType};

/// Collects remarks, each once.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    warnings: Remarks,
    infos: Remarks,
}

/// Remarks of either kind that are shown, as in Prometheus; of the rest only their number is told.
const SHOWN_MAX: usize = 10;

/// Remarks that are told apart. Beyond that they are not counted: a query over a million
/// histograms needs no list of what is wrong with each.
const COUNTED_MAX: usize = 20_000;

impl Notes {
    pub(crate) fn warn(&mut self, message: &str, at: Position) {
        self.warnings.add(message, at);
    }

    pub(crate) fn inform(&mut self, message: &str, at: Position) {
        self.infos.add(message, at);
    }

    /// Warnings and infos as they are shown.
    pub(crate) fn shown(self) -> (Vec<String>, Vec<String>) {
        (self.warnings.shown("warning"), self.infos.shown("info"))
    }
}

/// Remarks and where they were made; one made at several places is told of the last, as in
/// Prometheus.
#[derive(Debug, Default)]
struct Remarks {
    first: Vec<(String, Position)>,
    all: HashSet<String>,
}

impl Remarks {
    fn add(&mut self, message: &str, at: Position) {
        if self.all.contains(message) {
            let known = self.first.iter_mut().find(|(known, _)| known == message);
            known.into_iter().for_each(|(_, place)| *place = at);
            return;
        }
        if self.all.len() >= COUNTED_MAX {
            return;
        }
        if self.first.len() < SHOWN_MAX {
            self.first.push((message.to_owned(), at));
        }
        self.all.insert(message.to_owned());
    }

    fn shown(self, kind: &str) -> Vec<String> {
        let omitted = self.all.len() - self.first.len();
        let remark = |(message, at)| format!("PromQL {kind}: {message} ({})", place(at));
        let mut shown: Vec<String> = self.first.into_iter().map(remark).collect();
        if omitted > 0 {
            shown.push(format!("{omitted} more {kind} annotations omitted"));
        }
        shown
    }
}

fn place(at: Position) -> String {
    format!("{}:{}", at.line, at.column)
}

/// The remark on a value that is no quantile.
pub(crate) fn no_quantile(value: f64) -> String {
    let value = number::format_g(value);
    format!("quantile value should be between 0 and 1, got {value}")
}

/// The complaint about a range query over a value of this type.
pub(crate) fn not_for_a_range(found: ValueType) -> String {
    let found = found.described();
    format!("invalid expression type {found:?} for range query, must be Scalar or instant Vector")
}

/// The remark on an answer that buckets of this width approximate, the samples being gone.
pub(crate) fn approximated(width_ms: i64) -> String {
    let width = duration::format_ms(width_ms);
    format!("older samples are kept as buckets of {width} only, the result there is approximate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_remarks_are_shown_and_the_rest_counted() {
        let mut notes = Notes::default();
        let at = Position { line: 2, column: 3 };
        for n in (0..13).chain(0..13) {
            notes.warn(&format!("remark {n}"), at);
        }
        notes.inform("one", at);
        let (warnings, infos) = notes.shown();
        assert_eq!(warnings.len(), 11);
        assert_eq!(warnings[0], "PromQL warning: remark 0 (2:3)");
        assert_eq!(warnings[10], "3 more warning annotations omitted");
        assert_eq!(infos, ["PromQL info: one (2:3)"]);
    }

    #[test]
    fn a_remark_made_twice_is_told_of_the_last_place() {
        let mut notes = Notes::default();
        notes.inform("one", Position { line: 1, column: 9 });
        notes.inform("one", Position { line: 1, column: 4 });
        assert_eq!(notes.shown().1, ["PromQL info: one (1:4)"]);
    }

    #[test]
    fn what_is_counted_is_bounded() {
        let mut notes = Notes::default();
        for n in 0..=COUNTED_MAX {
            notes.inform(&n.to_string(), Position { line: 1, column: 1 });
        }
        let (_, infos) = notes.shown();
        assert_eq!(infos[SHOWN_MAX], "19990 more info annotations omitted");
    }
}
