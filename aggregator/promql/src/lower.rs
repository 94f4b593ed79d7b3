//! Turns the tree of a text into the one that is evaluated: labels into groupings, durations and
//! fixed times into milliseconds, parentheses into nothing.

use std::cell::Cell;
use std::sync::OnceLock;

use labstat_model::PatternRoom;

use crate::expr::{
    Aggregate, Binary, Call, Card, Expr, Fill, Grouping, Node, RangeSelector, Selector, Shift,
    Subquery,
};
use crate::functions::Function;
use crate::syntax::{self, ast, ast::Node as Tree};
use crate::{Position, QueryError, ValueType};

mod durations;

/// The times of a query, which `@ start()`, `step()` and the like stand for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bounds {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// 0 for a query at one time.
    pub(crate) step_ms: i64,
}

impl Bounds {
    /// For a text that is not evaluated: any range in which all durations come out.
    pub(crate) const ANY: Self = Self { start_ms: 0, end_ms: 3_600_000, step_ms: 60_000 };
}

/// The tree of `query`, as it is to be evaluated.
pub(crate) fn lower(query: &str, tree: &ast::Expr, bounds: Bounds) -> Result<Expr, QueryError> {
    lower_at(query, tree, bounds).map(|(expr, _)| expr)
}

/// The same, and whether it would be another at other times.
pub(crate) fn lower_at(
    query: &str,
    tree: &ast::Expr,
    bounds: Bounds,
) -> Result<(Expr, bool), QueryError> {
    let lowering = Lowering { query, times: bounds, timed: Cell::new(false) };
    let expr = lowering.expr(tree)?;
    Ok((expr, lowering.timed.get()))
}

/// Reads `query` whole.
#[cfg(test)]
pub(crate) fn read(query: &str, bounds: Bounds) -> Result<Expr, QueryError> {
    lower(query, &syntax::parse(query)?, bounds)
}

/// Reads a selector of series and nothing else; whether it `may_match_all`.
pub(crate) fn read_selector(
    text: &str,
    may_match_all: bool,
    patterns: &mut PatternRoom,
) -> Result<Expr, QueryError> {
    lower(text, &syntax::selector(text, may_match_all, patterns)?, Bounds::ANY)
}

struct Lowering<'a> {
    query: &'a str,
    times: Bounds,
    /// Whether anything was made of the times.
    timed: Cell<bool>,
}

impl Lowering<'_> {
    fn bounds(&self) -> Bounds {
        self.timed.set(true);
        self.times
    }

    fn error(&self, start: usize, message: &str) -> QueryError {
        let position = Some(Position::of(self.query, start));
        QueryError::Parse { message: message.to_owned(), position }
    }

    fn expr(&self, tree: &ast::Expr) -> Result<Expr, QueryError> {
        let start = tree.start;
        match &tree.node {
            Tree::Number { value, .. } => Ok(leaf(Node::Number(*value), ValueType::Scalar, start)),
            Tree::Text(text) => Ok(leaf(Node::Text(text.clone()), ValueType::String, start)),
            Tree::Paren(inner) => Ok(Expr { outer_start: start, ..self.expr(inner)? }),
            Tree::Unary(sign, inner) => self.signed(*sign, inner, start),
            Tree::Selector(selector) => {
                let selector = self.selector(selector)?;
                let invariant = selector.shift.at_ms.is_some();
                let leaf = leaf(Node::Selector(selector), ValueType::Vector, start);
                Ok(Expr { invariant, ..leaf })
            }
            Tree::Matrix(matrix) => {
                let range_ms = self.positive_ms(&matrix.range)?;
                let selector = self.selector(&matrix.selector)?;
                let invariant = selector.shift.at_ms.is_some();
                let node = Node::Range(RangeSelector { selector, range_ms });
                Ok(Expr { invariant, ..leaf(node, ValueType::Matrix, start) })
            }
            Tree::Subquery(subquery) => self.subquery(subquery),
            Tree::Binary(binary) => self.binary(binary, start),
            Tree::Aggregate(aggregate) => self.aggregate(aggregate, start),
            Tree::Call(call) => self.call(call, start),
        }
    }

    fn signed(&self, sign: ast::Sign, inner: &ast::Expr, start: usize) -> Result<Expr, QueryError> {
        let inner = self.expr(inner)?;
        if sign == ast::Sign::Plus {
            return Ok(Expr { start, outer_start: start, ..inner });
        }
        let (value_type, invariant) = (inner.value_type, is_invariant([&inner].into_iter()));
        let node = Node::Negation(Box::new(inner));
        Ok(Expr { invariant, ..leaf(node, value_type, start) })
    }

    fn selector(&self, tree: &ast::Selector) -> Result<Selector, QueryError> {
        let shift = self.shift(&tree.shift)?;
        Ok(Selector { matchers: tree.matchers.clone(), shift, edges: tree.edges })
    }

    fn shift(&self, tree: &ast::Shift) -> Result<Shift, QueryError> {
        let at_ms = tree.at.map(|at| match at {
            ast::At::Start => self.bounds().start_ms,
            ast::At::End => self.bounds().end_ms,
            ast::At::Time(ms) => ms,
        });
        let offset_ms = tree.offset.as_ref().map_or(Ok(0), |offset| self.ms(offset))?;
        Ok(Shift { at_ms, offset_ms })
    }

    fn subquery(&self, tree: &ast::Subquery) -> Result<Expr, QueryError> {
        let range_ms = self.positive_ms(&tree.range)?;
        let step_ms = tree.step.as_ref().map(|step| self.positive_ms(step)).transpose()?;
        let shift = self.shift(&tree.shift)?;
        let expr = self.expr(&tree.expr)?;
        let start = expr.outer_start;
        // What is inside sees the times of the subquery's own steps, so only its own `@` pins it.
        let invariant = shift.at_ms.is_some();
        let node = Node::Subquery(Box::new(Subquery { expr, range_ms, step_ms, shift }));
        Ok(Expr { invariant, ..leaf(node, ValueType::Matrix, start) })
    }

    fn call(&self, tree: &ast::Call, start: usize) -> Result<Expr, QueryError> {
        let function: &'static Function = tree.function;
        let args = tree.args.iter().map(|arg| self.expr(arg));
        let args = args.collect::<Result<Vec<_>, _>>()?;
        let invariant = !function.at_step && is_invariant(args.iter());
        let args = if invariant { args } else { args.into_iter().map(pointed_at).collect() };
        let node = Node::Call(Box::new(Call { function, args, pattern: OnceLock::new() }));
        Ok(Expr { invariant, ..leaf(node, function.returns, start) })
    }

    fn aggregate(&self, tree: &ast::Aggregate, start: usize) -> Result<Expr, QueryError> {
        let param = tree.param.as_ref().map(|param| self.expr(param)).transpose()?;
        let expr = self.expr(&tree.expr)?;
        let grouping = if tree.without { Grouping::Drop } else { Grouping::Keep };
        let grouping = grouping(tree.grouping.clone());
        let invariant = is_invariant([&expr].into_iter().chain(&param));
        let node = Node::Aggregate(Box::new(Aggregate { op: tree.op, expr, param, grouping }));
        Ok(Expr { invariant, ..leaf(node, ValueType::Vector, start) })
    }

    fn binary(&self, tree: &ast::Binary, start: usize) -> Result<Expr, QueryError> {
        let (lhs, rhs) = (self.expr(&tree.lhs)?, self.expr(&tree.rhs)?);
        let (matching, card, fill) = match &tree.matching {
            None => (Grouping::Drop(Vec::new()), Card::OneToOne, Fill::NONE),
            Some(matching) => {
                let grouping = if matching.on { Grouping::Keep } else { Grouping::Drop };
                let card = match matching.card {
                    ast::Card::OneToOne | ast::Card::ManyToMany => Card::OneToOne,
                    ast::Card::ManyToOne => Card::ManyToOne(matching.include.clone()),
                    ast::Card::OneToMany => Card::OneToMany(matching.include.clone()),
                };
                (grouping(matching.labels.clone()), card, matching.fill)
            }
        };
        let vector = [&lhs, &rhs].iter().any(|side| side.value_type == ValueType::Vector);
        let value_type = if vector { ValueType::Vector } else { ValueType::Scalar };
        let invariant = is_invariant([&lhs, &rhs].into_iter());
        let (op, bool_result) = (tree.op, tree.bool_result);
        let binary = Binary { op, lhs, rhs, bool_result, matching, card, fill };
        Ok(Expr { invariant, ..leaf(Node::Binary(Box::new(binary)), value_type, start) })
    }
}

/// An argument as remarks point to it: in a call that varies, what is the same at every step is
/// pointed to with the parentheses around it, as in Prometheus.
fn pointed_at(arg: Expr) -> Expr {
    if arg.outer_start == arg.start || varies(&arg) {
        return arg;
    }
    Expr { start: arg.outer_start, ..arg }
}

/// Whether a value is not the same at every step. Of literals alone it does not.
fn varies(expr: &Expr) -> bool {
    !expr.invariant
        && match &expr.node {
            Node::Number(_) | Node::Text(_) => false,
            Node::Negation(inner) => varies(inner),
            Node::Binary(binary) => varies(&binary.lhs) || varies(&binary.rhs),
            Node::Call(call) => call.function.at_step || call.args.iter().any(varies),
            Node::Aggregate(aggregate) => {
                varies(&aggregate.expr) || aggregate.param.as_ref().is_some_and(varies)
            }
            Node::Selector(_) | Node::Range(_) | Node::Subquery(_) => true,
        }
}

fn leaf(node: Node, value_type: ValueType, start: usize) -> Expr {
    Expr { node, value_type, start, outer_start: start, invariant: false }
}

/// Whether parts make a whole that is the same at every step, as literals are.
fn is_invariant<'a>(mut parts: impl Iterator<Item = &'a Expr>) -> bool {
    parts.all(|part| part.invariant || matches!(part.node, Node::Number(_) | Node::Text(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_at_every_step_is_known() {
        let invariant = |query: &str| read(query, Bounds::ANY).unwrap().invariant;
        for query in [
            "1 + 2 * 3",
            "-(1 + 2)",
            "-(pi() * 2)",
            "vector(1) > 0",
            "scalar(vector(1)) * end()",
            "sum(a @ 10) * -1",
            "rate(a[5m] @ end()) / 2",
            "count_over_time(a[5m:1m] @ 10)",
        ] {
            assert!(invariant(query), "{query}");
        }
        for query in [
            "time() * 2",
            "hour()",
            "day_of_week(vector(time()))",
            "timestamp(a @ 10)",
            "a * 2",
            "a @ 10 + a",
            "count_over_time(vector(1)[5m:1m])",
        ] {
            assert!(!invariant(query), "{query}");
        }
    }
}
