//! Templates of labels and annotations: the part of Go's `text/template` that Prometheus' rule
//! files use, with Prometheus' functions.
//!
//! [`parse`] turns a text into a tree ([`ast`]) and refuses what Go refuses: unknown functions,
//! undefined variables, unclosed blocks. [`render`] walks the tree over [`Data`] within bounds on
//! steps and output; [`functions`] are Go's and Prometheus' functions, [`mod@format`] is `printf`.
//! [`message`] is what templates of messages have beside these; [`named`] says which labels one names.
//!
//! Left out: most methods of Go's types ([`times`] has those of times) and the buckets of native histograms,
//! calculating with complex numbers.

mod ast;
mod format;
mod functions;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod lexer;
mod message;
mod named;
mod parse;
mod render;
#[cfg(test)]
mod tests;
mod times;
mod value;

use std::collections::{BTreeMap, BTreeSet};

use labstat_model::Labels;
use labstat_promql::MixedValue;

pub(crate) use message::{MessageTemplate, Object};

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template: {name}:{line}: {message}")]
pub struct TemplateError {
    /// The template's name.
    pub name: String,
    /// The line within the text, counted from 1.
    pub line: usize,
    /// What is wrong, in Go's words where Go has some.
    pub message: String,
}

/// A text with its `{{ … }}` taken apart.
#[derive(Debug, Clone)]
pub struct Template {
    name: String,
    source: String,
    /// The tree, or why the text has none.
    tree: Result<ast::Tree, TemplateError>,
}

/// Runs a PromQL expression for the function `query`.
pub type Query<'a> = &'a dyn Fn(&str) -> Result<Vec<(Labels, MixedValue)>, String>;

/// What a template is rendered over.
#[derive(Clone)]
pub struct Data<'a> {
    /// `.Labels`, `$labels`.
    pub labels: BTreeMap<String, String>,
    /// `.ExternalLabels`, `$externalLabels`.
    pub external_labels: BTreeMap<String, String>,
    /// `.ExternalURL`, `$externalURL`.
    pub external_url: String,
    /// `.Value`, `$value`.
    pub value: MixedValue,
    /// The time of the evaluation, for `now`.
    pub now_ms: i64,
    /// What answers `query`; without it that function is an error.
    pub query: Option<Query<'a>>,
}

impl Template {
    /// Takes a text apart. `name` is for messages.
    pub fn parse(name: &str, source: &str) -> Result<Self, TemplateError> {
        match parse::parse(source) {
            Ok(tree) => {
                Ok(Self { name: name.to_owned(), source: source.to_owned(), tree: Ok(tree) })
            }
            Err((line, message)) => Err(TemplateError { name: name.to_owned(), line, message }),
        }
    }

    /// The same of a text that may be no template: that is told when it is expanded.
    pub(crate) fn lenient(name: &str, source: &str) -> Self {
        Self::parse(name, source).unwrap_or_else(|error| Self {
            name: name.to_owned(),
            source: source.to_owned(),
            tree: Err(error),
        })
    }

    /// A function it calls that Prometheus 3.5 does not have, though ours and later ones do.
    pub(crate) fn beyond(&self) -> Option<&'static str> {
        const LATER: [&str; 3] = ["now", "toDuration", "urlQueryEscape"];
        let pieces = lexer::pieces(&self.source).unwrap_or_default();
        let mut words = pieces.iter().flat_map(|piece| match piece {
            lexer::Piece::Action { tokens, .. } => tokens.as_slice(),
            lexer::Piece::Text(_) => &[],
        });
        words.find_map(|token| match token {
            lexer::Token::Word(word) => LATER.into_iter().find(|later| later == word),
            _ => None,
        })
    }

    /// The labels of the alert that it names.
    pub(crate) fn labels(&self) -> BTreeSet<String> {
        self.tree.as_ref().map(named::labels).unwrap_or_default()
    }

    /// The text as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text over `data`; the error is what went wrong.
    pub fn render(&self, data: &Data<'_>) -> Result<String, String> {
        let name = &self.name;
        match &self.tree {
            Ok(tree) => render::render(tree, data)
                .map_err(|error| format!("error executing template {name}: {error}")),
            Err(error) => Err(format!("error parsing template {name}: {error}")),
        }
    }

    /// The text over `data`; an error becomes text, as in Prometheus, so that an alert with a
    /// broken annotation is still told.
    pub fn expand(&self, data: &Data<'_>) -> String {
        self.render(data).unwrap_or_else(|error| format!("<error expanding template: {error}>"))
    }
}
