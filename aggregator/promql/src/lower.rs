//! Turns the tree of `promql-parser` into ours.
//!
//! That crate checks the grammar and most types. Added here: what it does not check, functions and
//! operators that are not ours to evaluate, matchers compiled with their size bounded, the strings
//! that `prepare` took out, and the positions it noted.

use std::time::{Duration, SystemTime};

use labstat_model::{METRIC_NAME, MatchOp, Matcher};
use promql_parser::label as grammar_label;
use promql_parser::parser::{self as grammar, token};

use crate::expr::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Card, Edges, Expr, Fill, Grouping, Node,
    RangeSelector, Selector, Shift, Subquery,
};
use crate::functions::{self, Function};
use crate::prepare::{self, DURATION_MS_MAX, Part, Prepared};
use crate::{Position, QueryError, ValueType};

/// Levels of the tree: operators and parentheses are bounded, but not their sum.
const DEPTH_MAX: usize = 300;

/// The times `@ start()` and `@ end()` stand for, and the step of a range query.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bounds {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// 0 for an instant query.
    pub(crate) step_ms: i64,
}

/// Reads `query` whole.
pub(crate) fn read(query: &str, bounds: Bounds) -> Result<Expr, QueryError> {
    let prepared = prepare::prepare(query)?;
    let tree = grammar::parse(&prepared.text).map_err(QueryError::parse)?;
    let mut lowering = Lowering { query, prepared: &prepared, bounds, mark: 0, depth: 0 };
    lowering.expr(&tree)
}

struct Lowering<'a> {
    query: &'a str,
    prepared: &'a Prepared,
    bounds: Bounds,
    /// The next of the marks: both the walk and the marks go through the text from the left.
    mark: usize,
    depth: usize,
}

impl Lowering<'_> {
    /// Where the next part of this sort begins, a sign before it included.
    fn start(&mut self, part: Part) -> usize {
        let mut sign = None;
        while let Some(mark) = self.prepared.marks.get(self.mark) {
            self.mark += 1;
            if mark.part == part {
                return sign.unwrap_or(mark.start);
            }
            sign = if mark.part == Part::Sign { sign.or(Some(mark.start)) } else { None };
        }
        0
    }

    fn error(&self, start: usize, message: impl Into<String>) -> QueryError {
        let position = Some(Position::of(self.query, start));
        QueryError::Parse { message: message.into(), position }
    }

    fn expr(&mut self, tree: &grammar::Expr) -> Result<Expr, QueryError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(QueryError::parse(format!("expression nested deeper than {DEPTH_MAX}")));
        }
        let lowered = self.node(tree);
        self.depth -= 1;
        lowered
    }

    fn node(&mut self, tree: &grammar::Expr) -> Result<Expr, QueryError> {
        use grammar::Expr as Tree;

        match tree {
            Tree::NumberLiteral(number) => {
                let start = self.start(Part::Number);
                Ok(leaf(Node::Number(number.val), ValueType::Scalar, start))
            }
            Tree::StringLiteral(text) => {
                let start = self.start(Part::Text);
                Ok(leaf(Node::Text(self.string(&text.val)), ValueType::String, start))
            }
            Tree::Paren(paren) => {
                let outer_start = self.start(Part::Paren);
                let inner = self.expr(&paren.expr)?;
                Ok(Expr { outer_start, ..inner })
            }
            Tree::Unary(unary) => self.negation(unary),
            Tree::Binary(binary) => self.binary(binary),
            Tree::Aggregate(aggregate) => self.aggregate(aggregate),
            Tree::Call(call) => self.call(call),
            Tree::VectorSelector(selector) => {
                let (selector, start) = self.selector(selector)?;
                let invariant = selector.shift.at_ms.is_some();
                let leaf = leaf(Node::Selector(selector), ValueType::Vector, start);
                Ok(Expr { invariant, ..leaf })
            }
            Tree::MatrixSelector(matrix) => {
                let (selector, start) = self.selector(&matrix.vs)?;
                let invariant = selector.shift.at_ms.is_some();
                let range_ms = millis(matrix.range)?;
                let node = Node::Range(RangeSelector { selector, range_ms });
                Ok(Expr { invariant, ..leaf(node, ValueType::Matrix, start) })
            }
            Tree::Subquery(subquery) => self.subquery(subquery),
            Tree::Extension(_) => Err(QueryError::parse("unknown expression")),
        }
    }

    /// The string that was taken out in favour of its index.
    fn string(&self, index: &str) -> String {
        let found = index.parse().ok().and_then(|index: usize| self.prepared.strings.get(index));
        found.cloned().unwrap_or_else(|| index.to_owned())
    }

    fn strings(&self, labels: &grammar_label::Labels) -> Vec<String> {
        labels.labels.iter().map(|index| self.string(index)).collect()
    }

    fn negation(&mut self, unary: &grammar::UnaryExpr) -> Result<Expr, QueryError> {
        let start = self.start(Part::Sign);
        let inner = self.expr(&unary.expr)?;
        let (value_type, invariant) = (inner.value_type, inner.invariant);
        let node = Node::Negation(Box::new(inner));
        Ok(Expr { invariant, ..leaf(node, value_type, start) })
    }

    fn selector(
        &mut self,
        tree: &grammar::VectorSelector,
    ) -> Result<(Selector, usize), QueryError> {
        let start = self.start(Part::Selector);
        if !tree.matchers.or_matchers.is_empty() {
            return Err(self.error(start, "\"or\" is not allowed in label matching"));
        }
        let mut matchers = Vec::with_capacity(tree.matchers.matchers.len() + 1);
        for matcher in &tree.matchers.matchers {
            matchers.push(self.matcher(matcher, start)?);
        }
        if let Some(name) = &tree.name {
            if let Some(other) = matchers.iter().find(|m| m.name() == METRIC_NAME) {
                let other = other.value();
                let message = format!("metric name must not be set twice: {name:?} or {other:?}");
                return Err(self.error(start, message));
            }
            matchers.push(Matcher::equal(METRIC_NAME, name.as_str()));
        }
        if matchers.iter().all(|matcher| matcher.matches("")) {
            let message = "vector selector must contain at least one non-empty matcher";
            return Err(self.error(start, message));
        }
        let shift = self.shift(tree.at.as_ref(), tree.offset.as_ref())?;
        Ok((Selector { matchers, shift, edges: Edges::Exact }, start))
    }

    fn matcher(&self, tree: &grammar_label::Matcher, start: usize) -> Result<Matcher, QueryError> {
        // A name by itself, `{"a.b"}`, comes as a matcher on the metric name.
        let name =
            if tree.name == METRIC_NAME { tree.name.clone() } else { self.string(&tree.name) };
        let op =
            tree.value.parse().ok().and_then(|index: usize| self.prepared.operators.get(&index));
        let op = op.copied().unwrap_or(MatchOp::Equal);
        Matcher::new(name, op, self.string(&tree.value))
            .map_err(|error| self.error(start, error.to_string()))
    }

    fn shift(
        &self,
        at: Option<&grammar::AtModifier>,
        offset: Option<&grammar::Offset>,
    ) -> Result<Shift, QueryError> {
        let at_ms = match at {
            None => None,
            Some(grammar::AtModifier::Start) => Some(self.bounds.start_ms),
            Some(grammar::AtModifier::End) => Some(self.bounds.end_ms),
            Some(grammar::AtModifier::At(time)) => Some(time_millis(*time)?),
        };
        let offset_ms = match offset {
            None => 0,
            Some(grammar::Offset::Pos(duration)) => millis(*duration)?,
            Some(grammar::Offset::Neg(duration)) => -millis(*duration)?,
        };
        Ok(Shift { at_ms, offset_ms })
    }

    fn subquery(&mut self, tree: &grammar::SubqueryExpr) -> Result<Expr, QueryError> {
        let expr = self.expr(&tree.expr)?;
        let shift = self.shift(tree.at.as_ref(), tree.offset.as_ref())?;
        let start = expr.outer_start;
        let range_ms = millis(tree.range)?;
        let step_ms = tree.step.map(millis).transpose()?;
        // What is inside sees the times of the subquery's own steps, so only its own `@` pins it.
        let invariant = shift.at_ms.is_some();
        let node = Node::Subquery(Box::new(Subquery { expr, range_ms, step_ms, shift }));
        Ok(Expr { invariant, ..leaf(node, ValueType::Matrix, start) })
    }

    fn call(&mut self, tree: &grammar::Call) -> Result<Expr, QueryError> {
        let start = self.start(Part::Call);
        let name = tree.func.name;
        let Some(function) = functions::find(name) else {
            return Err(self.error(start, format!("unknown function with name {name:?}")));
        };
        let mut args = Vec::with_capacity(tree.args.args.len());
        for arg in &tree.args.args {
            args.push(self.expr(arg)?);
        }
        self.check_args(function, &args, start)?;
        let invariant = !function.at_step && is_invariant(args.iter());
        let node = Node::Call(Box::new(Call { function, args }));
        Ok(Expr { invariant, ..leaf(node, function.returns, start) })
    }

    fn check_args(
        &self,
        function: &Function,
        args: &[Expr],
        start: usize,
    ) -> Result<(), QueryError> {
        let (len_min, len_max) = function.args_len();
        let name = function.name;
        if args.len() < len_min || len_max.is_some_and(|max| args.len() > max) {
            let len = args.len();
            let message = format!("wrong number of arguments in call to {name:?}, got {len}");
            return Err(self.error(start, message));
        }
        let wanted = function.args.iter().chain(function.args.last().into_iter().cycle());
        for (arg, wanted) in args.iter().zip(wanted) {
            if arg.value_type != *wanted {
                let (wanted, got) = (wanted.described(), arg.value_type.described());
                let message =
                    format!("expected type {wanted} in call to function {name:?}, got {got}");
                return Err(self.error(arg.outer_start, message));
            }
        }
        Ok(())
    }

    fn aggregate(&mut self, tree: &grammar::AggregateExpr) -> Result<Expr, QueryError> {
        let start = self.start(Part::Aggregate);
        let op = aggregate_op(tree.op.id()).ok_or_else(|| {
            self.error(start, format!("aggregation {:?} is not supported", tree.op.to_string()))
        })?;
        let param = tree.param.as_ref().map(|param| self.expr(param)).transpose()?;
        let wanted = match op {
            AggregateOp::Topk
            | AggregateOp::Bottomk
            | AggregateOp::Limitk
            | AggregateOp::LimitRatio
            | AggregateOp::Quantile => Some(ValueType::Scalar),
            AggregateOp::CountValues => Some(ValueType::String),
            _ => None,
        };
        if param.as_ref().map(|param| param.value_type) != wanted {
            let name = tree.op.to_string();
            return Err(self.error(start, format!("wrong parameter in aggregation {name:?}")));
        }
        let expr = self.expr(&tree.expr)?;
        self.want_vector(&expr, "aggregation expression")?;
        let grouping = match &tree.modifier {
            None => Grouping::Keep(Vec::new()),
            Some(grammar::LabelModifier::Include(labels)) => Grouping::Keep(self.strings(labels)),
            Some(grammar::LabelModifier::Exclude(labels)) => Grouping::Drop(self.strings(labels)),
        };
        let invariant = is_invariant([&expr].into_iter().chain(&param));
        let node = Node::Aggregate(Box::new(Aggregate { op, expr, param, grouping }));
        Ok(Expr { invariant, ..leaf(node, ValueType::Vector, start) })
    }

    fn want_vector(&self, expr: &Expr, context: &str) -> Result<(), QueryError> {
        if expr.value_type == ValueType::Vector {
            return Ok(());
        }
        let got = expr.value_type.described();
        let message = format!("expected type instant vector in {context}, got {got}");
        Err(self.error(expr.outer_start, message))
    }

    fn binary(&mut self, tree: &grammar::BinaryExpr) -> Result<Expr, QueryError> {
        let op = binary_op(tree.op.id()).ok_or_else(|| {
            QueryError::parse(format!("operator {:?} is not supported", tree.op.to_string()))
        })?;
        let lhs = self.expr(&tree.lhs)?;
        let rhs = self.expr(&tree.rhs)?;
        let start = lhs.outer_start;
        let modifier = tree.modifier.as_ref();
        let matching = match modifier.and_then(|modifier| modifier.matching.as_ref()) {
            None => Grouping::Drop(Vec::new()),
            Some(grammar::LabelModifier::Include(labels)) => Grouping::Keep(self.strings(labels)),
            Some(grammar::LabelModifier::Exclude(labels)) => Grouping::Drop(self.strings(labels)),
        };
        let card = match modifier.map(|modifier| &modifier.card) {
            Some(grammar::VectorMatchCardinality::ManyToOne(labels)) => {
                Card::ManyToOne(self.strings(labels))
            }
            Some(grammar::VectorMatchCardinality::OneToMany(labels)) => {
                Card::OneToMany(self.strings(labels))
            }
            _ => Card::OneToOne,
        };
        let bool_result = modifier.is_some_and(|modifier| modifier.return_bool);
        let binary = Binary { op, lhs, rhs, bool_result, matching, card, fill: Fill::NONE };
        self.check_binary(&binary, start)?;
        let vector = [&binary.lhs, &binary.rhs].iter().any(|e| e.value_type == ValueType::Vector);
        let value_type = if vector { ValueType::Vector } else { ValueType::Scalar };
        let invariant = is_invariant([&binary.lhs, &binary.rhs].into_iter());
        Ok(Expr { invariant, ..leaf(Node::Binary(Box::new(binary)), value_type, start) })
    }

    fn check_binary(&self, binary: &Binary, start: usize) -> Result<(), QueryError> {
        let types = [binary.lhs.value_type, binary.rhs.value_type];
        if types.iter().any(|t| matches!(t, ValueType::String | ValueType::Matrix)) {
            let message = "binary expression must contain only scalar and instant vector types";
            return Err(self.error(start, message));
        }
        let grouped = !matches!(binary.card, Card::OneToOne);
        let scalars = types.contains(&ValueType::Scalar);
        if binary.op.is_set() && (scalars || grouped) {
            let what = if scalars { "in binary scalar expression" } else { "with grouping" };
            return Err(self.error(start, format!("set operator not allowed {what}")));
        }
        if scalars && (grouped || matches!(&binary.matching, Grouping::Keep(_))) {
            return Err(self.error(start, "vector matching only allowed between instant vectors"));
        }
        if let (Grouping::Keep(on), Card::ManyToOne(include) | Card::OneToMany(include)) =
            (&binary.matching, &binary.card)
            && let Some(label) = include.iter().find(|label| on.contains(label))
        {
            let message = format!("label {label:?} must not occur in ON and GROUP clause at once");
            return Err(self.error(start, message));
        }
        Ok(())
    }
}

fn leaf(node: Node, value_type: ValueType, start: usize) -> Expr {
    Expr { node, value_type, start, outer_start: start, invariant: false }
}

/// Whether parts make a whole that is the same at every step: literals are, but a whole of nothing
/// but literals is not worth the detour.
fn is_invariant<'a>(parts: impl Iterator<Item = &'a Expr>) -> bool {
    let mut any = false;
    for part in parts {
        any |= part.invariant;
        if !part.invariant && !matches!(part.node, Node::Number(_) | Node::Text(_)) {
            return false;
        }
    }
    any
}

fn millis(duration: Duration) -> Result<i64, QueryError> {
    i64::try_from(duration.as_millis()).map_err(|_| QueryError::parse("duration out of range"))
}

fn time_millis(time: SystemTime) -> Result<i64, QueryError> {
    let ms = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => millis(after)?,
        Err(error) => -millis(error.duration())?,
    };
    #[expect(clippy::cast_precision_loss, reason = "only compared with a bound")]
    if (ms as f64).abs() > DURATION_MS_MAX {
        return Err(QueryError::parse("timestamp out of bounds for @ modifier"));
    }
    Ok(ms)
}

fn aggregate_op(id: token::TokenId) -> Option<AggregateOp> {
    Some(match id {
        token::T_SUM => AggregateOp::Sum,
        token::T_AVG => AggregateOp::Avg,
        token::T_COUNT => AggregateOp::Count,
        token::T_MIN => AggregateOp::Min,
        token::T_MAX => AggregateOp::Max,
        token::T_GROUP => AggregateOp::Group,
        token::T_STDDEV => AggregateOp::Stddev,
        token::T_STDVAR => AggregateOp::Stdvar,
        token::T_TOPK => AggregateOp::Topk,
        token::T_BOTTOMK => AggregateOp::Bottomk,
        token::T_LIMITK => AggregateOp::Limitk,
        token::T_LIMIT_RATIO => AggregateOp::LimitRatio,
        token::T_QUANTILE => AggregateOp::Quantile,
        token::T_COUNT_VALUES => AggregateOp::CountValues,
        _ => return None,
    })
}

fn binary_op(id: token::TokenId) -> Option<BinaryOp> {
    Some(match id {
        token::T_ADD => BinaryOp::Add,
        token::T_SUB => BinaryOp::Sub,
        token::T_MUL => BinaryOp::Mul,
        token::T_DIV => BinaryOp::Div,
        token::T_MOD => BinaryOp::Mod,
        token::T_POW => BinaryOp::Pow,
        token::T_ATAN2 => BinaryOp::Atan2,
        token::T_EQLC => BinaryOp::Eq,
        token::T_NEQ => BinaryOp::Ne,
        token::T_LSS => BinaryOp::Lt,
        token::T_LTE => BinaryOp::Le,
        token::T_GTR => BinaryOp::Gt,
        token::T_GTE => BinaryOp::Ge,
        token::T_LAND => BinaryOp::And,
        token::T_LOR => BinaryOp::Or,
        token::T_LUNLESS => BinaryOp::Unless,
        _ => return None,
    })
}
