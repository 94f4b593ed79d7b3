//! The text of a query and its tree: the one reading of PromQL that everything else builds on.
//!
//! `lexer` cuts the text into tokens, `parser` (with `selectors` and `durations`) makes the tree of
//! `ast`, `check` sees to the types. `printer` writes a tree as a query again and `json` writes it
//! for tools; `number` and `quote` know how literals are written.
//!
//! Everything here is bounded: the text in bytes, the tree in depth, the patterns in what they take. Reading takes time in
//! proportion to the text. Errors say what Prometheus says, at the place that Prometheus names.

pub(crate) mod ast;
mod check;
mod durations;
mod json;
mod lexer;
mod number;
mod parser;
mod printer;
mod quote;
mod selectors;
#[cfg(test)]
mod tests;

use labstat_model::PatternRoom;

use crate::error::{Position, QueryError};
use ast::Expr;
pub(crate) use number::{expression_ms, literal_ms};
pub(crate) use printer::one_line;

/// Bytes of a query. Dashboards that join hundreds of host names in a pattern stay far below.
const QUERY_LEN_MAX: usize = 256 * 1024;

/// Levels of the tree, parentheses and signs included: every later stage recurses, on stacks of
/// two megabytes. No query written by a person has a dozen.
const DEPTH_MAX: usize = 300;

/// What is wrong with a text, and at which byte.
#[derive(Debug)]
struct SyntaxError {
    start: usize,
    message: String,
}

impl SyntaxError {
    fn new(start: usize, message: impl Into<String>) -> Self {
        Self { start, message: message.into() }
    }

    fn too_deep(start: usize) -> Self {
        Self::new(start, format!("expression nested deeper than {DEPTH_MAX}"))
    }

    fn in_query(self, query: &str) -> QueryError {
        // An empty text has no places.
        let position = (!query.is_empty()).then(|| Position::of(query, self.start));
        QueryError::Parse { message: self.message, position }
    }
}

/// The number that a text in the notation of series in unit tests begins with, and what follows.
pub fn series_number(text: &str) -> Result<(f64, &str), String> {
    lexer::series_number(text)
}

/// Reads a query, its types checked.
pub(crate) fn parse(query: &str) -> Result<Expr, QueryError> {
    bounded(query)
        .and_then(parser::query)
        .and_then(|mut expr| check::check(&mut expr).map(|_| expr))
        .map_err(|error| error.in_query(query))
}

/// Reads a selector of series by itself, such as the API's `match[]`; whether it `may_match_all`.
pub(crate) fn selector(
    text: &str,
    may_match_all: bool,
    patterns: &mut PatternRoom,
) -> Result<Expr, QueryError> {
    bounded(text)
        .and_then(|text| parser::selector(text, patterns))
        .and_then(|expr| check::check_series(&expr, may_match_all).map(|()| expr))
        .map_err(|error| error.in_query(text))
}

fn bounded(query: &str) -> Result<&str, SyntaxError> {
    let len = query.len();
    if len > QUERY_LEN_MAX {
        let message = format!("query of {len} bytes, over the limit of {QUERY_LEN_MAX}");
        return Err(SyntaxError::new(0, message));
    }
    Ok(query)
}

/// The query written as Prometheus' `format_query` writes it: one line where that is short
/// enough, else a line per part. Reading the result gives the same query.
///
/// ```
/// let tidy = labstat_promql::format("SUM(rate( x [5m]))by(job)")?;
/// assert_eq!(tidy, "sum by (job) (rate(x[5m]))");
/// # Ok::<(), labstat_promql::QueryError>(())
/// ```
pub fn format(query: &str) -> Result<String, QueryError> {
    parse(query).map(|expr| printer::pretty(&expr))
}

/// The tree of the query as JSON text, as the `data` of Prometheus' `parse_query`.
pub fn tree_json(query: &str) -> Result<String, QueryError> {
    parse(query).map(|expr| json::tree(&expr))
}
