//! Sees to the types of a tree: what may stand where, in Prometheus' order and words.

use labstat_model::METRIC_NAME;

use super::SyntaxError;
use super::ast::{Aggregate, Binary, Call, Card, Expr, Node, Selector};
use super::quote::quote;
use crate::ValueType;
use crate::expr::{AggregateOp, Fill};

/// The type of an expression, all within it being right. What matching means for two sides that
/// are no vectors, and for operators of sets, is put right in the tree.
pub(super) fn check(expr: &mut Expr) -> Result<ValueType, SyntaxError> {
    let start = expr.start;
    match &mut expr.node {
        Node::Number { .. } => Ok(ValueType::Scalar),
        Node::Text(_) => Ok(ValueType::String),
        Node::Selector(selector) => {
            check_selector(selector, start, false)?;
            Ok(ValueType::Vector)
        }
        Node::Matrix(matrix) => {
            check_selector(&matrix.selector, start, false)?;
            Ok(ValueType::Matrix)
        }
        Node::Subquery(subquery) => {
            let found = check(&mut subquery.expr)?;
            if found != ValueType::Vector {
                let found = found.as_str();
                let message =
                    format!("subquery is only allowed on instant vector, got {found} instead");
                return Err(SyntaxError::new(start, message));
            }
            Ok(ValueType::Matrix)
        }
        Node::Paren(inner) => check(inner),
        Node::Unary(_, inner) => {
            let found = check(inner)?;
            if !is_number(found) {
                let message = format!(
                    "unary expression only allowed on expressions of type scalar or instant \
                     vector, got {}",
                    quote(found.described())
                );
                return Err(SyntaxError::new(start, message));
            }
            Ok(found)
        }
        Node::Binary(binary) => check_binary(binary, start),
        Node::Aggregate(aggregate) => {
            check_aggregate(aggregate)?;
            Ok(ValueType::Vector)
        }
        Node::Call(call) => {
            check_call(call, start)?;
            Ok(call.function.returns)
        }
    }
}

/// The same of a selector by itself, which may be one that would match all.
pub(super) fn check_series(expr: &Expr, may_match_all: bool) -> Result<(), SyntaxError> {
    match &expr.node {
        Node::Selector(selector) => check_selector(selector, expr.start, may_match_all),
        _ => Ok(()),
    }
}

fn is_number(found: ValueType) -> bool {
    matches!(found, ValueType::Scalar | ValueType::Vector)
}

fn check_selector(
    selector: &Selector,
    start: usize,
    may_match_all: bool,
) -> Result<(), SyntaxError> {
    if let Some(name) = &selector.name {
        let braced = selector.matchers.split_last().map_or(&[][..], |(_, braced)| braced);
        if let Some(other) = braced.iter().find(|matcher| matcher.name() == METRIC_NAME) {
            let (name, other) = (quote(name), quote(other.value()));
            let message = format!("metric name must not be set twice: {name} or {other}");
            return Err(SyntaxError::new(start, message));
        }
    } else if !may_match_all && selector.matchers.iter().all(|matcher| matcher.matches("")) {
        let message = "vector selector must contain at least one non-empty matcher";
        return Err(SyntaxError::new(start, message));
    }
    Ok(())
}

/// An error unless `expr` is of this type.
fn want(expr: &mut Expr, wanted: ValueType, context: &str) -> Result<(), SyntaxError> {
    let found = check(expr)?;
    if found == wanted {
        return Ok(());
    }
    let (wanted, found) = (wanted.described(), found.described());
    let message = format!("expected type {wanted} in {context}, got {found}");
    Err(SyntaxError::new(expr.start, message))
}

fn check_aggregate(aggregate: &mut Aggregate) -> Result<(), SyntaxError> {
    want(&mut aggregate.expr, ValueType::Vector, "aggregation expression")?;
    let wanted = match aggregate.op {
        AggregateOp::CountValues => ValueType::String,
        _ => ValueType::Scalar,
    };
    match &mut aggregate.param {
        Some(param) => want(param, wanted, "aggregation parameter"),
        None => Ok(()),
    }
}

fn check_binary(binary: &mut Binary, start: usize) -> Result<ValueType, SyntaxError> {
    let types = [check(&mut binary.lhs)?, check(&mut binary.rhs)?];
    let scalars = types == [ValueType::Scalar; 2];
    check_operator(binary, scalars)?;
    for (side, found) in [&binary.lhs, &binary.rhs].into_iter().zip(types) {
        if !is_number(found) {
            let message = "binary expression must contain only scalar and instant vector types";
            return Err(SyntaxError::new(side.start, message));
        }
    }
    let vectors = types == [ValueType::Vector; 2];
    check_matching(binary, vectors).map_err(|message| SyntaxError::new(start, message))?;
    Ok(if scalars { ValueType::Scalar } else { ValueType::Vector })
}

/// What can be wrong at the operator itself.
fn check_operator(binary: &Binary, scalars: bool) -> Result<(), SyntaxError> {
    let error = |message: String| Err(SyntaxError::new(binary.op_start, message));
    let comparison = binary.op.is_comparison();
    if binary.bool_result && !comparison {
        return error("bool modifier can only be used on comparison operators".to_owned());
    }
    if comparison && !binary.bool_result && scalars {
        return error("comparisons between scalars must use BOOL modifier".to_owned());
    }
    let Some(matching) = binary.matching.as_ref().filter(|matching| matching.on) else {
        return Ok(());
    };
    match matching.labels.iter().find(|label| matching.include.contains(label)) {
        Some(label) => {
            let label = quote(label);
            error(format!("label {label} must not occur in ON and GROUP clause at once"))
        }
        None => Ok(()),
    }
}

/// How series meet, which only those of two vectors do.
fn check_matching(binary: &mut Binary, vectors: bool) -> Result<(), String> {
    let op = binary.op;
    let Some(matching) = &mut binary.matching else { return Ok(()) };
    if !vectors {
        if !matching.labels.is_empty() {
            return Err("vector matching only allowed between instant vectors".to_owned());
        }
        if matching.fill != Fill::NONE {
            return Err("filling in missing series only allowed between instant vectors".to_owned());
        }
        binary.matching = None;
        if op.is_set() {
            let op = quote(op.symbol());
            return Err(format!("set operator {op} not allowed in binary scalar expression"));
        }
        return Ok(());
    }
    if op.is_set() {
        if matching.card.is_grouped() {
            return Err(format!("no grouping allowed for {} operation", quote(op.symbol())));
        }
        if matching.fill != Fill::NONE {
            return Err("filling in missing series not allowed for set operators".to_owned());
        }
        matching.card = Card::ManyToMany;
    }
    Ok(())
}

fn check_call(call: &mut Call, start: usize) -> Result<(), SyntaxError> {
    let function = call.function;
    let (name, found) = (function.name, call.args.len());
    let (least, most) = function.args_len();
    let wrong = if most == Some(least) && found != least {
        Some(format!("expected {least} argument(s)"))
    } else if found < least {
        Some(format!("expected at least {least} argument(s)"))
    } else {
        let most = most.filter(|most| found > *most);
        most.map(|most| format!("expected at most {most} argument(s)"))
    };
    if let Some(wrong) = wrong {
        let message = format!("{wrong} in call to {}, got {found}", quote(name));
        return Err(SyntaxError::new(start, message));
    }
    let context = format!("call to function {}", quote(name));
    let wanted = function.args.iter().chain(function.args.last().into_iter().cycle());
    for (at, (arg, wanted)) in call.args.iter_mut().zip(wanted).enumerate() {
        if name == "info" && at == 1 {
            check_info_labels(arg)?;
        } else {
            want(arg, *wanted, &context)?;
        }
    }
    Ok(())
}

/// The second argument of `info` only looks like a selector: it says which labels to take.
fn check_info_labels(arg: &Expr) -> Result<(), SyntaxError> {
    match &arg.node {
        Node::Selector(selector) if selector.name.is_none() => {
            check_selector(selector, arg.start, true)
        }
        Node::Selector(_) => {
            let message = "expected label selectors only, got vector selector instead";
            Err(SyntaxError::new(arg.start, message))
        }
        _ => Err(SyntaxError::new(arg.start, "expected label selectors only")),
    }
}
