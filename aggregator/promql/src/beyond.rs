//! What a query asks for that Prometheus 3.5 does not take unless a feature is switched on there, or
//! not at all. Our engine takes it; who shares rules with Prometheus wants to know.

use crate::expr::{AggregateOp, Edges, Fill};
use crate::syntax::ast::{Aggregate, Binary, Duration, DurationNode, Expr, Node, Selector, Shift};

/// Functions that are experimental in Prometheus 3.5, or came later.
const FUNCTIONS: [&str; 17] = [
    "double_exponential_smoothing",
    "end",
    "first_over_time",
    "histogram_quantiles",
    "info",
    "mad_over_time",
    "max_of",
    "min_of",
    "range",
    "sort_by_label",
    "sort_by_label_desc",
    "start",
    "step",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
    "ts_of_max_over_time",
    "ts_of_min_over_time",
];

/// What a query asks for beyond Prometheus 3.5, in the order of its text.
pub(crate) fn of(expr: &Expr) -> Vec<String> {
    let mut found = Vec::new();
    collect(expr, &mut found);
    found
}

fn collect(expr: &Expr, found: &mut Vec<String>) {
    match &expr.node {
        Node::Number { .. } | Node::Text(_) => {}
        Node::Selector(selector) => of_selector(selector, found),
        Node::Matrix(matrix) => {
            of_selector(&matrix.selector, found);
            of_duration(&matrix.range, found);
        }
        Node::Subquery(subquery) => {
            collect(&subquery.expr, found);
            of_duration(&subquery.range, found);
            subquery.step.iter().for_each(|step| of_duration(step, found));
            of_shift(&subquery.shift, found);
        }
        Node::Paren(inner) | Node::Unary(_, inner) => collect(inner, found),
        Node::Binary(binary) => of_binary(binary, found),
        Node::Aggregate(aggregate) => of_aggregate(aggregate, found),
        Node::Call(call) => {
            if FUNCTIONS.contains(&call.function.name) {
                found.push(format!("function {:?}", call.function.name));
            }
            call.args.iter().for_each(|arg| collect(arg, found));
        }
    }
}

fn of_selector(selector: &Selector, found: &mut Vec<String>) {
    if selector.edges != Edges::Exact {
        found.push("anchored and smoothed ranges".to_owned());
    }
    of_shift(&selector.shift, found);
}

fn of_shift(shift: &Shift, found: &mut Vec<String>) {
    shift.offset.iter().for_each(|offset| of_duration(offset, found));
}

/// Durations that are calculated.
fn of_duration(duration: &Duration, found: &mut Vec<String>) {
    let is_literal = |node: &DurationNode| matches!(node, DurationNode::Literal { .. });
    let is_plain = match &duration.node {
        DurationNode::Negated(inner) => is_literal(&inner.node) && !inner.wrapped,
        node => is_literal(node),
    };
    if !is_plain || duration.wrapped {
        found.push("duration expressions".to_owned());
    }
}

fn of_binary(binary: &Binary, found: &mut Vec<String>) {
    collect(&binary.lhs, found);
    collect(&binary.rhs, found);
    let fill = binary.matching.as_ref().map_or(Fill::NONE, |matching| matching.fill);
    if fill.left.is_some() || fill.right.is_some() {
        found.push("fill modifiers".to_owned());
    }
}

fn of_aggregate(aggregate: &Aggregate, found: &mut Vec<String>) {
    match aggregate.op {
        AggregateOp::Limitk => found.push("aggregation \"limitk\"".to_owned()),
        AggregateOp::LimitRatio => found.push("aggregation \"limit_ratio\"".to_owned()),
        _ => {}
    }
    aggregate.param.iter().for_each(|param| collect(param, found));
    collect(&aggregate.expr, found);
}

#[cfg(test)]
mod tests {
    use crate::check;

    #[test]
    fn what_prometheus_does_not_take_is_named() {
        for (query, wanted) in [
            ("sum by (a) (rate(b[5m] offset -1h)) + max_over_time(c[1h:5m] @ 3)", &[][..]),
            (
                "sort_by_label(limitk(1, a), 'x')",
                &["function \"sort_by_label\"", "aggregation \"limitk\""],
            ),
            ("rate(a[5m + 1m])", &["duration expressions"]),
            ("rate(a[5m] anchored)", &["anchored and smoothed ranges"]),
            ("a + fill(0) b", &["fill modifiers"]),
        ] {
            assert_eq!(check(query).unwrap().beyond, wanted, "{query}");
        }
    }
}
