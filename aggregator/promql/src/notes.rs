//! What there is to say about a result beside the result, in Prometheus' words.

use labstat_model::duration;

use crate::{Position, ValueType};

/// Collects remarks, each once.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) warnings: Vec<String>,
    pub(crate) infos: Vec<String>,
}

/// Remarks kept of either kind. A query over a thousand histograms needs no thousand of them.
const NOTES_MAX: usize = 100;

impl Notes {
    pub(crate) fn warn(&mut self, message: &str, at: Position) {
        add(&mut self.warnings, format!("PromQL warning: {message} ({})", place(at)));
    }

    pub(crate) fn inform(&mut self, message: &str, at: Position) {
        add(&mut self.infos, format!("PromQL info: {message} ({})", place(at)));
    }
}

fn add(notes: &mut Vec<String>, note: String) {
    if notes.len() < NOTES_MAX && !notes.contains(&note) {
        notes.push(note);
    }
}

fn place(at: Position) -> String {
    format!("{}:{}", at.line, at.column)
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
