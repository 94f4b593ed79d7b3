//! The tree that is evaluated: types checked, names resolved, times in milliseconds.
//!
//! Parentheses are gone, since the shape of the tree says the same; so are labels as text lists,
//! since a [`Grouping`] knows how to apply itself.

use std::sync::OnceLock;

use labstat_model::{Labels, METRIC_NAME, MatchOp, Matcher};
use regex::Regex;

use crate::ValueType;
use crate::functions::Function;

/// A node and what is known of it.
#[derive(Debug, Clone)]
pub(crate) struct Expr {
    pub(crate) node: Node,
    pub(crate) value_type: ValueType,
    /// Its first byte in the query, parentheses around it left out: for messages.
    pub(crate) start: usize,
    /// As `start`, with the parentheses around it.
    pub(crate) outer_start: usize,
    /// Whether its value is the same at every step, because all its selectors are pinned by `@`
    /// and nothing in it looks at the time: evaluated once per query. Not said of a literal itself.
    pub(crate) invariant: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Number(f64),
    Text(String),
    Selector(Selector),
    Range(RangeSelector),
    Subquery(Box<Subquery>),
    Negation(Box<Expr>),
    Binary(Box<Binary>),
    Aggregate(Box<Aggregate>),
    Call(Box<Call>),
}

/// Which series, and when relative to the step.
#[derive(Debug, Clone)]
pub(crate) struct Selector {
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) shift: Shift,
    pub(crate) edges: Edges,
}

impl Selector {
    /// Whether all its series have the same metric name.
    pub(crate) fn names_one_metric(&self) -> bool {
        self.matchers.iter().any(|matcher| {
            matcher.name() == METRIC_NAME
                && matcher.op() == MatchOp::Equal
                && !matcher.value().is_empty()
        })
    }
}

/// What stands at the two edges of a selector's window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Edges {
    /// The samples within, and nothing else.
    #[default]
    Exact,
    /// `anchored`: the newest sample at or before each edge counts as standing on it.
    Anchored,
    /// `smoothed`: each edge has the value on the line between the samples around it.
    Smoothed,
}

impl Edges {
    /// The word that asks for it.
    pub(crate) fn keyword(self) -> Option<&'static str> {
        match self {
            Self::Exact => None,
            Self::Anchored => Some("anchored"),
            Self::Smoothed => Some("smoothed"),
        }
    }
}

/// Where an evaluation time is moved to by `@` and `offset`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Shift {
    /// The fixed time of `@`, in milliseconds.
    pub(crate) at_ms: Option<i64>,
    pub(crate) offset_ms: i64,
}

impl Shift {
    pub(crate) fn apply(self, time_ms: i64) -> i64 {
        self.at_ms.unwrap_or(time_ms) - self.offset_ms
    }
}

/// `selector[range]`.
#[derive(Debug, Clone)]
pub(crate) struct RangeSelector {
    pub(crate) selector: Selector,
    pub(crate) range_ms: i64,
}

/// `expr[range:step]`.
#[derive(Debug, Clone)]
pub(crate) struct Subquery {
    pub(crate) expr: Expr,
    pub(crate) range_ms: i64,
    /// `None` for the engine's default.
    pub(crate) step_ms: Option<i64>,
    pub(crate) shift: Shift,
}

#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) function: &'static Function,
    pub(crate) args: Vec<Expr>,
    /// What `label_replace` looks for, since it was first called; `None` where that is no pattern.
    pub(crate) pattern: OnceLock<Option<Regex>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    Limitk,
    LimitRatio,
    Quantile,
    CountValues,
}

impl AggregateOp {
    const ALL: [(&'static str, Self); 14] = [
        ("sum", Self::Sum),
        ("avg", Self::Avg),
        ("count", Self::Count),
        ("min", Self::Min),
        ("max", Self::Max),
        ("group", Self::Group),
        ("stddev", Self::Stddev),
        ("stdvar", Self::Stdvar),
        ("topk", Self::Topk),
        ("bottomk", Self::Bottomk),
        ("limitk", Self::Limitk),
        ("limit_ratio", Self::LimitRatio),
        ("quantile", Self::Quantile),
        ("count_values", Self::CountValues),
    ];

    /// The aggregator of this name, in small letters.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, op)| *op)
    }

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, op)| *op == self).map_or("", |(name, _)| name)
    }

    /// Whether something stands before the expression: a number, or a label's name.
    pub(crate) fn has_param(self) -> bool {
        matches!(
            self,
            Self::Topk
                | Self::Bottomk
                | Self::Limitk
                | Self::LimitRatio
                | Self::Quantile
                | Self::CountValues
        )
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Aggregate {
    pub(crate) op: AggregateOp,
    pub(crate) expr: Expr,
    pub(crate) param: Option<Expr>,
    pub(crate) grouping: Grouping,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
    Unless,
    /// `</`: the part of a native histogram below a value.
    TrimUpper,
    /// `>/`: the part of a native histogram above a value.
    TrimLower,
}

impl BinaryOp {
    pub(crate) fn is_comparison(self) -> bool {
        matches!(self, Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge)
    }

    /// As it is written.
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
        }
    }

    /// Whether only native histograms can be given to it.
    pub(crate) fn trims(self) -> bool {
        matches!(self, Self::TrimUpper | Self::TrimLower)
    }

    pub(crate) fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Binary {
    pub(crate) op: BinaryOp,
    pub(crate) lhs: Expr,
    pub(crate) rhs: Expr,
    /// `bool`: 0 or 1 in place of filtering.
    pub(crate) bool_result: bool,
    pub(crate) matching: Grouping,
    pub(crate) card: Card,
    pub(crate) fill: Fill,
}

/// `fill`, `fill_left`, `fill_right`: the value taken for a series that one side lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Fill {
    pub(crate) left: Option<f64>,
    pub(crate) right: Option<f64>,
}

impl Fill {
    pub(crate) const NONE: Self = Self { left: None, right: None };
}

/// How many series may meet how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Card {
    OneToOne,
    /// `group_left` with the labels taken from the right.
    ManyToOne(Vec<String>),
    /// `group_right` with the labels taken from the left.
    OneToMany(Vec<String>),
}

impl Default for Grouping {
    /// Everything together.
    fn default() -> Self {
        Self::Keep(Vec::new())
    }
}

/// `by`, `on` (keep these labels) or `without`, `ignoring` (all but these).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Grouping {
    Keep(Vec<String>),
    Drop(Vec<String>),
}

impl Grouping {
    /// The part of `labels` that decides what belongs together. Dropping drops the name too.
    pub(crate) fn apply(&self, labels: &Labels) -> Labels {
        match self {
            Self::Keep(names) if names.is_empty() => Labels::default(),
            Self::Keep(names) => labels.without(|label| !names.iter().any(|name| name == label)),
            Self::Drop(names) => labels
                .without(|label| label == METRIC_NAME || names.iter().any(|name| name == label)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every aggregator has a script with results that were worked out by hand.
    #[test]
    fn every_aggregator_is_in_a_script_and_in_the_manual() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/");
        let read = |path: &str| std::fs::read_to_string(format!("{root}{path}")).unwrap();
        let files = std::fs::read_dir(format!("{root}tests/scripts")).unwrap();
        let scripts: String =
            files.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
        let manual = read("../../docs/promql.md");
        for (name, _) in AggregateOp::ALL {
            let called = |after: &str| {
                let call = format!(": {name}{after}");
                scripts.contains(&call)
            };
            assert!(called("(") || called(" by") || called(" without"), "{name}");
            assert!(manual.contains(&format!("`{name}`")), "{name}");
        }
    }
}
