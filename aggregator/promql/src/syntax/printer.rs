//! Writes a tree as a query, as Prometheus does: on one line, or with a line for each part of what
//! is too long.

use std::fmt::Write;

use labstat_model::{METRIC_NAME, MatchOp, Matcher, duration, is_label_name};

use super::ast::{
    Aggregate, At, Binary, Card, Duration, DurationNode, DurationOp, Expr, Matching, Node,
    Selector, Shift,
};
use super::number;
use super::quote::push_quoted;

/// Bytes of the longest expression that stays on its line.
const LINE_LEN_MAX: usize = 100;

const INDENT: &str = "  ";

/// The query on one line.
pub(crate) fn one_line(expr: &Expr) -> String {
    let mut out = String::new();
    push_expr(&mut out, expr);
    out
}

/// The query on one line if it is short, else on several.
pub(super) fn pretty(expr: &Expr) -> String {
    let mut out = String::new();
    push_pretty(&mut out, expr, 0);
    out
}

/// Writes `expr`, which begins a line, `level` levels deep.
fn push_pretty(out: &mut String, expr: &Expr, level: usize) {
    let line = one_line(expr);
    let fits = line.len() <= LINE_LEN_MAX;
    if let Node::Subquery(subquery) = &expr.node {
        // One that fits stands at the beginning of its line.
        if fits {
            out.push_str(&line);
        } else {
            push_pretty(out, &subquery.expr, level);
            push_brackets(out, &subquery.range, Some(subquery.step.as_ref()));
            push_shift(out, &subquery.shift);
        }
        return;
    }
    indent(out, level);
    match &expr.node {
        Node::Unary(sign, inner) => {
            out.push_str(sign.symbol());
            let mut operand = String::new();
            push_pretty(&mut operand, inner, level);
            out.push_str(operand.trim());
        }
        _ if fits => out.push_str(&line),
        Node::Paren(inner) => push_parts(out, [inner.as_ref()], level),
        Node::Call(call) => {
            out.push_str(call.function.name);
            push_parts(out, &call.args, level);
        }
        Node::Aggregate(aggregate) => {
            push_aggregate_head(out, aggregate);
            push_parts(out, aggregate.param.iter().chain([&aggregate.expr]), level);
        }
        Node::Binary(binary) => {
            out.truncate(out.len() - level * INDENT.len());
            push_pretty(out, &binary.lhs, level + 1);
            out.push('\n');
            indent(out, level);
            push_operator(out, binary);
            out.push('\n');
            push_pretty(out, &binary.rhs, level + 1);
        }
        _ => out.push_str(&line),
    }
}

/// Parts in parentheses, a line each.
fn push_parts<'a>(out: &mut String, parts: impl IntoIterator<Item = &'a Expr>, level: usize) {
    out.push('(');
    let mut separator = "\n";
    for part in parts {
        out.push_str(separator);
        push_pretty(out, part, level + 1);
        separator = ",\n";
    }
    out.push('\n');
    indent(out, level);
    out.push(')');
}

fn indent(out: &mut String, level: usize) {
    (0..level).for_each(|_| out.push_str(INDENT));
}

fn push_expr(out: &mut String, expr: &Expr) {
    match &expr.node {
        Node::Number { value, is_duration } => push_number(out, *value, *is_duration),
        Node::Text(text) => push_quoted(out, text),
        Node::Selector(selector) => {
            push_matchers(out, selector);
            push_at(out, &selector.shift);
            push_edges(out, selector);
            push_offset(out, &selector.shift);
        }
        Node::Matrix(matrix) => {
            push_matchers(out, &matrix.selector);
            push_brackets(out, &matrix.range, None);
            push_edges(out, &matrix.selector);
            push_shift(out, &matrix.selector.shift);
        }
        Node::Subquery(subquery) => {
            push_expr(out, &subquery.expr);
            push_brackets(out, &subquery.range, Some(subquery.step.as_ref()));
            push_shift(out, &subquery.shift);
        }
        Node::Paren(inner) => push_list(out, [inner.as_ref()]),
        Node::Unary(sign, inner) => {
            out.push_str(sign.symbol());
            push_expr(out, inner);
        }
        Node::Binary(binary) => {
            push_expr(out, &binary.lhs);
            out.push(' ');
            push_operator(out, binary);
            out.push(' ');
            push_expr(out, &binary.rhs);
        }
        Node::Aggregate(aggregate) => {
            push_aggregate_head(out, aggregate);
            push_list(out, aggregate.param.iter().chain([&aggregate.expr]));
        }
        Node::Call(call) => {
            out.push_str(call.function.name);
            push_list(out, &call.args);
        }
    }
}

fn push_list<'a>(out: &mut String, parts: impl IntoIterator<Item = &'a Expr>) {
    out.push('(');
    for (at, part) in parts.into_iter().enumerate() {
        out.push_str(if at > 0 { ", " } else { "" });
        push_expr(out, part);
    }
    out.push(')');
}

/// A number, with units if it was written with some.
fn push_number(out: &mut String, value: f64, is_duration: bool) {
    if is_duration {
        // Prometheus loses the sign of a zero, and with it which infinity is divided to.
        out.push_str(if value.is_sign_negative() { "-" } else { "" });
        out.push_str(&duration::format_ms(number::literal_ms(value.abs())));
    } else {
        out.push_str(&number::plain(value));
    }
}

fn push_matchers(out: &mut String, selector: &Selector) {
    out.push_str(selector.name.as_deref().unwrap_or(""));
    let matchers = match &selector.name {
        // The name is not said twice.
        Some(_) => selector.matchers.split_last().map_or(&[][..], |(_, braced)| braced),
        None => &selector.matchers,
    };
    if matchers.is_empty() {
        // Without a name, braces with nothing in them are all there is: in `info`.
        return out.push_str(if selector.name.is_none() { "{}" } else { "" });
    }
    let mut texts: Vec<String> = matchers.iter().map(matcher_text).collect();
    texts.sort_unstable();
    out.push('{');
    out.push_str(&texts.join(","));
    out.push('}');
}

fn matcher_text(matcher: &Matcher) -> String {
    let mut text = String::new();
    push_label(&mut text, matcher.name());
    text.push_str(match_symbol(matcher.op()));
    push_quoted(&mut text, matcher.value());
    text
}

/// The operator of a matcher as it is written.
pub(super) fn match_symbol(op: MatchOp) -> &'static str {
    match op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    }
}

fn push_label(out: &mut String, name: &str) {
    if is_label_name(name) || name == METRIC_NAME {
        out.push_str(name);
    } else {
        push_quoted(out, name);
    }
}

fn push_labels(out: &mut String, names: &[String]) {
    out.push('(');
    for (at, name) in names.iter().enumerate() {
        out.push_str(if at > 0 { ", " } else { "" });
        push_label(out, name);
    }
    out.push(')');
}

fn push_aggregate_head(out: &mut String, aggregate: &Aggregate) {
    out.push_str(aggregate.op.name());
    if aggregate.without || !aggregate.grouping.is_empty() {
        out.push_str(if aggregate.without { " without " } else { " by " });
        push_labels(out, &aggregate.grouping);
        out.push(' ');
    }
}

/// The operator with all that modifies it.
fn push_operator(out: &mut String, binary: &Binary) {
    out.push_str(binary.op.symbol());
    out.push_str(if binary.bool_result { " bool" } else { "" });
    if let Some(matching) = &binary.matching {
        push_matching(out, matching);
    }
}

fn push_matching(out: &mut String, matching: &Matching) {
    let grouped = matching.card.is_grouped();
    if matching.on || grouped || !matching.labels.is_empty() {
        out.push_str(if matching.on { " on " } else { " ignoring " });
        push_labels(out, &matching.labels);
    }
    if grouped {
        let left = matching.card == Card::ManyToOne;
        out.push_str(if left { " group_left " } else { " group_right " });
        push_labels(out, &matching.include);
    }
    let fill = matching.fill;
    // Writing to a String cannot fail.
    let _ = match (fill.left, fill.right) {
        (Some(left), Some(right)) if left.to_bits() == right.to_bits() => {
            write!(out, " fill ({})", number::plain(left))
        }
        (left, right) => [(" fill_left", left), (" fill_right", right)]
            .into_iter()
            .filter_map(|(word, value)| value.map(|value| (word, value)))
            .try_for_each(|(word, value)| write!(out, "{word} ({})", number::plain(value))),
    };
}

/// `[range]`, or `[range:step]` when there is anything of a step.
fn push_brackets(out: &mut String, range: &Duration, step: Option<Option<&Duration>>) {
    out.push('[');
    push_time(out, range);
    if let Some(step) = step {
        out.push(':');
        step.into_iter().for_each(|step| push_time(out, step));
    }
    out.push(']');
}

fn push_edges(out: &mut String, selector: &Selector) {
    if let Some(keyword) = selector.edges.keyword() {
        out.push(' ');
        out.push_str(keyword);
    }
}

fn push_shift(out: &mut String, shift: &Shift) {
    push_at(out, shift);
    push_offset(out, shift);
}

fn push_at(out: &mut String, shift: &Shift) {
    let _ = match shift.at {
        None => Ok(()),
        Some(At::Start) => out.write_str(" @ start()"),
        Some(At::End) => out.write_str(" @ end()"),
        Some(At::Time(ms)) => {
            let (sign, ms) = (if ms < 0 { "-" } else { "" }, ms.unsigned_abs());
            write!(out, " @ {sign}{}.{:03}", ms / 1000, ms % 1000)
        }
    };
}

fn push_offset(out: &mut String, shift: &Shift) {
    if let Some(offset) = shift.offset.as_ref().filter(|offset| !offset.is_zero()) {
        out.push_str(" offset ");
        push_time(out, offset);
    }
}

/// A duration by itself: a plain number gets its units.
fn push_time(out: &mut String, duration: &Duration) {
    match duration.node {
        DurationNode::Literal { seconds, .. } => push_number(out, seconds, true),
        _ => push_duration(out, duration),
    }
}

fn push_duration(out: &mut String, duration: &Duration) {
    out.push_str(if duration.wrapped { "(" } else { "" });
    match &duration.node {
        DurationNode::Literal { seconds, is_duration } => push_number(out, *seconds, *is_duration),
        DurationNode::Step => out.push_str("step()"),
        DurationNode::Range => out.push_str("range()"),
        DurationNode::Negated(inner) => {
            out.push('-');
            push_duration(out, inner);
        }
        DurationNode::Binary(op @ (DurationOp::Min | DurationOp::Max), sides) => {
            out.push_str(op.symbol());
            out.push('(');
            push_duration(out, &sides.0);
            out.push_str(", ");
            push_duration(out, &sides.1);
            out.push(')');
        }
        DurationNode::Binary(op, sides) => {
            push_duration(out, &sides.0);
            out.push(' ');
            out.push_str(op.symbol());
            out.push(' ');
            push_duration(out, &sides.1);
        }
    }
    out.push_str(if duration.wrapped { ")" } else { "" });
}
