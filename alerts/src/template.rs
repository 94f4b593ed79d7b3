//! Templates of labels and annotations: the part of Go's `text/template` that Prometheus' rule
//! files use, with Prometheus' functions.
//!
//! [`parse`] turns a text into a tree ([`ast`]) and refuses what Go refuses: unknown functions,
//! undefined variables, unclosed blocks. [`render`] walks the tree over [`Data`] within bounds on
//! steps and output; [`functions`] are Go's and Prometheus' functions, [`mod@format`] is `printf`.
//!
//! Left out: methods of Go's types (`.Format` of a time), complex numbers, `call`.

mod ast;
mod format;
mod functions;
mod lexer;
mod parse;
mod render;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;

use labstat_model::Labels;

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
    tree: ast::Tree,
}

/// Runs a PromQL expression for the function `query`.
pub type Query<'a> = &'a dyn Fn(&str) -> Result<Vec<(Labels, f64)>, String>;

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
    pub value: f64,
    /// The time of the evaluation, for `now`.
    pub now_ms: i64,
    /// What answers `query`; without it that function is an error.
    pub query: Option<Query<'a>>,
}

impl Template {
    /// Takes a text apart. `name` is for messages.
    pub fn parse(name: &str, source: &str) -> Result<Self, TemplateError> {
        match parse::parse(source) {
            Ok(tree) => Ok(Self { name: name.to_owned(), source: source.to_owned(), tree }),
            Err((line, message)) => Err(TemplateError { name: name.to_owned(), line, message }),
        }
    }

    /// The text as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text over `data`; the error is what went wrong.
    pub fn render(&self, data: &Data<'_>) -> Result<String, String> {
        render::render(&self.tree, data)
    }

    /// The text over `data`; an error becomes text, as in Prometheus, so that an alert with a
    /// broken annotation is still told.
    pub fn expand(&self, data: &Data<'_>) -> String {
        self.render(data).unwrap_or_else(|error| {
            let name = &self.name;
            format!("<error expanding template: error executing template {name}: {error}>")
        })
    }
}
