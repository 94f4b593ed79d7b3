//! Writes a tree as JSON, with the names and in the order of Prometheus' `parse_query`.
//!
//! What Prometheus 3.5 does not know (`anchored`, `smoothed`, `fill`) is there only when it is used.

use std::fmt::Write;

use labstat_model::Matcher;

use super::ast::{
    Aggregate, At, Binary, Call, Duration, DurationNode, Expr, Matching, Node, Selector, Shift,
};
use super::{number, printer};
use crate::ValueType;
use crate::expr::Fill;

/// The tree as a JSON text.
pub(super) fn tree(expr: &Expr) -> String {
    let mut out = String::new();
    push_expr(&mut out, expr);
    out
}

/// An object whose members are written one after the other; its names must come in order.
struct Object<'a> {
    out: &'a mut String,
    separator: char,
}

impl<'a> Object<'a> {
    fn new(out: &'a mut String) -> Self {
        Self { out, separator: '{' }
    }

    /// The text to which the value of `name` goes.
    fn member(&mut self, name: &str) -> &mut String {
        self.out.push(self.separator);
        self.separator = ',';
        push_text(self.out, name);
        self.out.push(':');
        self.out
    }

    fn text(&mut self, name: &str, value: &str) {
        push_text(self.member(name), value);
    }

    fn raw(&mut self, name: &str, value: impl std::fmt::Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.member(name), "{value}");
    }

    fn end(self) {
        self.out.push('}');
    }
}

fn push_expr(out: &mut String, expr: &Expr) {
    let mut object = Object::new(out);
    match &expr.node {
        Node::Number { value, .. } => {
            object.text("type", "numberLiteral");
            object.text("val", &number::plain(*value));
        }
        Node::Text(text) => {
            object.text("type", "stringLiteral");
            object.text("val", text);
        }
        Node::Selector(selector) => push_selector(&mut object, selector, None),
        Node::Matrix(matrix) => push_selector(&mut object, &matrix.selector, Some(&matrix.range)),
        Node::Subquery(subquery) => {
            push_expr(object.member("expr"), &subquery.expr);
            object.raw("offset", offset_ms(&subquery.shift));
            object.raw("range", ms(&subquery.range));
            push_start_or_end(&mut object, &subquery.shift);
            object.raw("step", subquery.step.as_ref().map_or(0, ms));
            push_timestamp(&mut object, &subquery.shift);
            object.text("type", "subquery");
        }
        Node::Paren(inner) => {
            push_expr(object.member("expr"), inner);
            object.text("type", "parenExpr");
        }
        Node::Unary(sign, inner) => {
            push_expr(object.member("expr"), inner);
            object.text("op", sign.symbol());
            object.text("type", "unaryExpr");
        }
        Node::Binary(binary) => push_binary(&mut object, binary),
        Node::Aggregate(aggregate) => push_aggregate(&mut object, aggregate),
        Node::Call(call) => push_call(&mut object, call),
    }
    object.end();
}

fn push_selector(object: &mut Object<'_>, selector: &Selector, range: Option<&Duration>) {
    let edges = selector.edges.keyword();
    if edges == Some("anchored") {
        object.raw("anchored", true);
    }
    push_list(object.member("matchers"), &selector.matchers, push_matcher);
    object.text("name", selector.name.as_deref().unwrap_or(""));
    object.raw("offset", offset_ms(&selector.shift));
    if let Some(range) = range {
        object.raw("range", ms(range));
    }
    if edges == Some("smoothed") {
        object.raw("smoothed", true);
    }
    push_start_or_end(object, &selector.shift);
    push_timestamp(object, &selector.shift);
    object.text("type", if range.is_some() { "matrixSelector" } else { "vectorSelector" });
}

fn push_matcher(out: &mut String, matcher: &Matcher) {
    let mut object = Object::new(out);
    object.text("name", matcher.name());
    object.text("type", printer::match_symbol(matcher.op()));
    object.text("value", matcher.value());
    object.end();
}

fn push_binary(object: &mut Object<'_>, binary: &Binary) {
    object.raw("bool", binary.bool_result);
    push_expr(object.member("lhs"), &binary.lhs);
    match &binary.matching {
        Some(matching) => push_matching(object.member("matching"), matching),
        None => object.raw("matching", "null"),
    }
    object.text("op", binary.op.symbol());
    push_expr(object.member("rhs"), &binary.rhs);
    object.text("type", "binaryExpr");
}

fn push_matching(out: &mut String, matching: &Matching) {
    let mut object = Object::new(out);
    object.text("card", matching.card.name());
    if matching.fill != Fill::NONE {
        let mut fill = Object::new(object.member("fillValues"));
        for (name, value) in [("lhs", matching.fill.left), ("rhs", matching.fill.right)] {
            // JSON has no infinities.
            match value.filter(|value| value.is_finite()) {
                Some(value) => fill.raw(name, value),
                None => fill.raw(name, "null"),
            }
        }
        fill.end();
    }
    push_list(object.member("include"), &matching.include, |out, label| push_text(out, label));
    push_list(object.member("labels"), &matching.labels, |out, label| push_text(out, label));
    object.raw("on", matching.on);
    object.end();
}

fn push_aggregate(object: &mut Object<'_>, aggregate: &Aggregate) {
    push_expr(object.member("expr"), &aggregate.expr);
    push_list(object.member("grouping"), &aggregate.grouping, |out, label| push_text(out, label));
    object.text("op", aggregate.op.name());
    match &aggregate.param {
        Some(param) => push_expr(object.member("param"), param),
        None => object.raw("param", "null"),
    }
    object.text("type", "aggregation");
    object.raw("without", aggregate.without);
}

fn push_call(object: &mut Object<'_>, call: &Call) {
    let function = call.function;
    push_list(object.member("args"), &call.args, push_expr);
    let mut described = Object::new(object.member("func"));
    let push_type = |out: &mut String, found: &ValueType| push_text(out, found.as_str());
    push_list(described.member("argTypes"), function.args, push_type);
    described.text("name", function.name);
    described.text("returnType", function.returns.as_str());
    // How many more there may be than must be; any number of them is -1.
    let (least, most) = function.args_len();
    let variadic = match most {
        Some(most) => most.saturating_sub(least).to_string(),
        None => "-1".to_owned(),
    };
    described.raw("variadic", variadic);
    described.end();
    object.text("type", "call");
}

fn push_list<T>(out: &mut String, items: &[T], push: impl Fn(&mut String, &T)) {
    out.push('[');
    for (at, item) in items.iter().enumerate() {
        out.push_str(if at > 0 { "," } else { "" });
        push(out, item);
    }
    out.push(']');
}

fn push_start_or_end(object: &mut Object<'_>, shift: &Shift) {
    match shift.at {
        Some(At::Start) => object.text("startOrEnd", "start"),
        Some(At::End) => object.text("startOrEnd", "end"),
        Some(At::Time(_)) | None => object.raw("startOrEnd", "null"),
    }
}

fn push_timestamp(object: &mut Object<'_>, shift: &Shift) {
    match shift.at {
        Some(At::Time(ms)) => object.raw("timestamp", ms),
        Some(At::Start | At::End) | None => object.raw("timestamp", "null"),
    }
}

fn offset_ms(shift: &Shift) -> i64 {
    shift.offset.as_ref().map_or(0, ms)
}

/// The milliseconds of a literal; what must be computed first is 0, as in Prometheus.
fn ms(duration: &Duration) -> i64 {
    match duration.node {
        DurationNode::Literal { seconds, .. } => number::literal_ms(seconds),
        _ => 0,
    }
}

/// A text with the escapes of Go, which keeps the characters of HTML out of JSON.
fn push_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        let _ = match c {
            '"' => out.write_str("\\\""),
            '\\' => out.write_str("\\\\"),
            '\n' => out.write_str("\\n"),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                write!(out, "\\u{:04x}", u32::from(c))
            }
            c => out.write_char(c),
        };
    }
    out.push('"');
}
