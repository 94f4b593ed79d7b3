//! The tree of a query, near to its text: parentheses, signs and unevaluated durations are in it.

use labstat_model::Matcher;

use crate::expr::{AggregateOp, BinaryOp, Edges, Fill};
use crate::functions::Function;

/// A node and its place.
#[derive(Debug, Clone)]
pub(crate) struct Expr {
    pub(crate) node: Node,
    /// Its first byte in the query.
    pub(crate) start: usize,
    /// Levels of the tree from here down.
    pub(crate) depth: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum Node {
    /// A number, and whether it was written as a duration.
    Number {
        value: f64,
        is_duration: bool,
    },
    Text(String),
    Selector(Box<Selector>),
    Matrix(Box<Matrix>),
    Subquery(Box<Subquery>),
    Paren(Box<Expr>),
    Unary(Sign, Box<Expr>),
    Binary(Box<Binary>),
    Aggregate(Box<Aggregate>),
    Call(Box<Call>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    Plus,
    Minus,
}

/// `name{label="value"} @ 5 offset 1m`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    /// The name before the braces.
    pub(crate) name: Option<String>,
    /// All matchers in the order of the text; that of `name` last.
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) shift: Shift,
    pub(crate) edges: Edges,
}

/// `@` and `offset`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shift {
    pub(crate) at: Option<At>,
    pub(crate) offset: Option<Duration>,
}

impl Sign {
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Plus => "+",
            Self::Minus => "-",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Start,
    End,
    /// Milliseconds since the epoch.
    Time(i64),
}

/// `selector[range]`.
#[derive(Debug, Clone)]
pub(crate) struct Matrix {
    pub(crate) selector: Selector,
    pub(crate) range: Duration,
}

/// `expr[range:step]`.
#[derive(Debug, Clone)]
pub(crate) struct Subquery {
    pub(crate) expr: Expr,
    pub(crate) range: Duration,
    pub(crate) step: Option<Duration>,
    pub(crate) shift: Shift,
}

/// A duration, which may be arithmetic.
#[derive(Debug, Clone)]
pub(crate) struct Duration {
    pub(crate) node: DurationNode,
    pub(crate) start: usize,
    /// Whether it stands in parentheses.
    pub(crate) wrapped: bool,
    pub(crate) depth: usize,
}

impl Duration {
    /// Whether it is the number zero, which as an offset is none.
    pub(crate) fn is_zero(&self) -> bool {
        matches!(self.node, DurationNode::Literal { seconds: 0.0, .. })
    }
}

#[derive(Debug, Clone)]
pub(crate) enum DurationNode {
    /// Seconds, and whether they were written with units.
    Literal {
        seconds: f64,
        is_duration: bool,
    },
    /// `step()`, the step of the query.
    Step,
    /// `range()`, the time from its start to its end.
    Range,
    Negated(Box<Duration>),
    Binary(DurationOp, Box<(Duration, Duration)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DurationOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    /// The smaller of two.
    Min,
    /// The larger of two.
    Max,
}

impl DurationOp {
    /// As it is written: between its operands, or as a name before them.
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Min => "min",
            Self::Max => "max",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Binary {
    pub(crate) op: BinaryOp,
    /// The first byte of the operator.
    pub(crate) op_start: usize,
    pub(crate) lhs: Expr,
    pub(crate) rhs: Expr,
    pub(crate) bool_result: bool,
    /// How series meet; `None` once it is known that there are not two vectors.
    pub(crate) matching: Option<Matching>,
}

#[derive(Debug, Clone)]
pub(crate) struct Matching {
    pub(crate) card: Card,
    /// `on` in place of `ignoring`.
    pub(crate) on: bool,
    pub(crate) labels: Vec<String>,
    /// The labels of `group_left` or `group_right`.
    pub(crate) include: Vec<String>,
    pub(crate) fill: Fill,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Card {
    OneToOne,
    ManyToOne,
    OneToMany,
    ManyToMany,
}

impl Card {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OneToOne => "one-to-one",
            Self::ManyToOne => "many-to-one",
            Self::OneToMany => "one-to-many",
            Self::ManyToMany => "many-to-many",
        }
    }

    pub(crate) fn is_grouped(self) -> bool {
        matches!(self, Self::ManyToOne | Self::OneToMany)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Aggregate {
    pub(crate) op: AggregateOp,
    pub(crate) param: Option<Expr>,
    pub(crate) expr: Expr,
    pub(crate) without: bool,
    pub(crate) grouping: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) function: &'static Function,
    pub(crate) args: Vec<Expr>,
}
