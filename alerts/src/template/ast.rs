//! The tree of a template.

use std::collections::BTreeMap;

/// A template and those it defines.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) defined: BTreeMap<String, Vec<Node>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    /// An action; it prints its value unless it declares or assigns variables.
    Pipe(Pipe),
    Branch(Branch),
    Template {
        name: String,
        pipe: Option<Pipe>,
    },
    Break,
    Continue,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Branch {
    pub(super) kind: BranchKind,
    pub(super) pipe: Pipe,
    pub(super) then: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BranchKind {
    If,
    With,
    Range,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pipe {
    /// Variables that get the value; with their `$`.
    pub(super) variables: Vec<String>,
    /// `:=` rather than `=`.
    pub(super) declares: bool,
    pub(super) commands: Vec<Command>,
}

/// The first operand is what is called, or the value when it stands alone.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Command(pub(super) Vec<Operand>);

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Dot,
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Variable(String),
    Function(String),
    Pipe(Box<Pipe>),
    /// Fields of another operand: `.Labels.job`, `$x.y`, `(first q).Value`.
    Fields(Box<Operand>, Vec<String>),
}
