//! What the expression of an alert compares with what, so that a message can say "84 °C, limit 80 °C"
//! and draw how the value went. It looks at the tree only and evaluates nothing but literals.
//!
//! - [`conditions`]: the comparisons that decide, all of the same subject.
//! - [`Unit`]: what a number counts, by the suffixes of metric names and what is done to them.

use crate::QueryError;
use crate::elementary;
use crate::expr::{AggregateOp, BinaryOp};
use crate::syntax::ast::{Aggregate, Binary, Call, Expr, Node, Sign};
use crate::syntax::{self, one_line};

/// A comparison: an alert holds while it is true.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// What is compared, as a query of its own.
    pub subject: String,
    /// `>`, `>=`, `<`, `<=`, `==` or `!=`, with the subject on the left.
    pub operator: &'static str,
    /// What it is compared with.
    pub limit: Limit,
    /// What the subject counts, where that can be told.
    pub unit: Option<Unit>,
}

/// What a value is held against.
#[derive(Debug, Clone, PartialEq)]
pub enum Limit {
    /// A number that stands in the expression.
    Number(f64),
    /// A query: other series, such as what a disk's maker calls critical.
    Query(String),
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
    /// Degrees.
    Celsius,
    /// A span of time in seconds.
    Seconds,
    /// Seconds since the epoch.
    Timestamp,
    /// A part of a whole, 0 to 1.
    Ratio,
    /// A part of a whole, 0 to 100.
    Percent,
    /// Turns per minute.
    Rpm,
    /// Volts.
    Volts,
    /// Amperes.
    Amperes,
    /// Watts.
    Watts,
    /// Hertz.
    Hertz,
    /// Joules.
    Joules,
    /// Things, counted: disks, packets, errors.
    Count,
    /// Such things per second.
    PerSecond,
}

/// The comparisons that decide whether the expression `query` gives anything: those at its top, and
/// what `and`, `unless`, `or` and aggregations stand around. The first is of the value that the alert
/// has, where there is one; all others are of the same subject. Empty where nothing is compared, as
/// in `absent(up)`.
pub fn conditions(query: &str) -> Result<Vec<Condition>, QueryError> {
    let tree = syntax::parse(query)?;
    let mut found = Vec::new();
    collect(&tree, &mut found);
    if let Some(subject) = found.first().map(|condition| condition.subject.clone()) {
        found.retain(|condition| condition.subject == subject);
    }
    Ok(found)
}

/// What the value of `query` counts, where its metrics' names tell.
pub fn unit(query: &str) -> Option<Unit> {
    syntax::parse(query).ok().and_then(|tree| unit_of(&tree))
}

fn collect(expr: &Expr, found: &mut Vec<Condition>) {
    match &expr.node {
        Node::Paren(inner) => collect(inner, found),
        Node::Binary(binary) if binary.op.is_comparison() => comparison(binary, found),
        Node::Binary(binary) => {
            collect(&binary.lhs, found);
            // What `unless` takes away is no limit that was passed.
            if binary.op != BinaryOp::Unless {
                collect(&binary.rhs, found);
            }
        }
        // Of these the value is one of those within.
        Node::Aggregate(aggregate) if keeps_value(aggregate.op) => collect(&aggregate.expr, found),
        Node::Call(call) if call.function.name.starts_with("label_") => {
            call.args.iter().take(1).for_each(|arg| collect(arg, found));
        }
        _ => {}
    }
}

fn comparison(binary: &Binary, found: &mut Vec<Condition>) {
    let (left, right) = (number(&binary.lhs), number(&binary.rhs));
    let (subject, limit, flipped) = match (left, right) {
        (Some(_), Some(_)) => return,
        (Some(limit), None) => (&binary.rhs, Limit::Number(limit), true),
        (None, Some(limit)) => (&binary.lhs, Limit::Number(limit), false),
        (None, None) => (&binary.lhs, Limit::Query(one_line(&binary.rhs)), false),
    };
    // `40 < x < 150`: the inner comparison holds as well.
    let inner = stripped(subject);
    let subject = match &inner.node {
        Node::Binary(chained) if chained.op.is_comparison() && !chained.bool_result => {
            comparison(chained, found);
            let is_number = number(&chained.lhs).is_some();
            stripped(if is_number { &chained.rhs } else { &chained.lhs })
        }
        _ => inner,
    };
    let operator = if flipped { mirrored(binary.op) } else { binary.op }.symbol();
    found.push(Condition { subject: one_line(subject), operator, limit, unit: unit_of(subject) });
}

fn mirrored(op: BinaryOp) -> BinaryOp {
    match op {
        BinaryOp::Lt => BinaryOp::Gt,
        BinaryOp::Le => BinaryOp::Ge,
        BinaryOp::Gt => BinaryOp::Lt,
        BinaryOp::Ge => BinaryOp::Le,
        other => other,
    }
}

fn stripped(mut expr: &Expr) -> &Expr {
    while let Node::Paren(inner) = &expr.node {
        expr = inner;
    }
    expr
}

/// The value of an expression of literals, such as `50 * 2 ^ 30`.
fn number(expr: &Expr) -> Option<f64> {
    match &expr.node {
        Node::Number { value, .. } => Some(*value),
        Node::Paren(inner) | Node::Unary(Sign::Plus, inner) => number(inner),
        Node::Unary(Sign::Minus, inner) => number(inner).map(|value| -value),
        Node::Binary(binary) => {
            let (a, b) = (number(&binary.lhs)?, number(&binary.rhs)?);
            match binary.op {
                BinaryOp::Add => Some(a + b),
                BinaryOp::Sub => Some(a - b),
                BinaryOp::Mul => Some(a * b),
                BinaryOp::Div => Some(a / b),
                BinaryOp::Mod => Some(a % b),
                BinaryOp::Pow => Some(elementary::pow(a, b)),
                _ => None,
            }
        }
        _ => None,
    }
}

fn keeps_value(op: AggregateOp) -> bool {
    matches!(
        op,
        AggregateOp::Max
            | AggregateOp::Min
            | AggregateOp::Avg
            | AggregateOp::Sum
            | AggregateOp::Topk
            | AggregateOp::Bottomk
            | AggregateOp::Limitk
            | AggregateOp::LimitRatio
            | AggregateOp::Quantile
    )
}

fn unit_of(expr: &Expr) -> Option<Unit> {
    match &expr.node {
        Node::Selector(selector) => unit_of_name(selector.name.as_deref()?),
        Node::Matrix(matrix) => unit_of_name(matrix.selector.name.as_deref()?),
        Node::Subquery(subquery) => unit_of(&subquery.expr),
        Node::Paren(inner) | Node::Unary(_, inner) => unit_of(inner),
        Node::Binary(binary) => unit_of_binary(binary),
        Node::Aggregate(aggregate) => unit_of_aggregate(aggregate),
        Node::Call(call) => unit_of_call(call),
        Node::Number { .. } | Node::Text(_) => None,
    }
}

fn unit_of_aggregate(aggregate: &Aggregate) -> Option<Unit> {
    match aggregate.op {
        AggregateOp::Count | AggregateOp::CountValues => Some(Unit::Count),
        AggregateOp::Group | AggregateOp::Stdvar => None,
        _ => unit_of(&aggregate.expr),
    }
}

fn unit_of_call(call: &Call) -> Option<Unit> {
    let last = || call.args.last().and_then(unit_of);
    let first = || call.args.first().and_then(unit_of);
    match call.function.name {
        "rate" | "irate" | "deriv" => match first()? {
            Unit::Bytes => Some(Unit::BytesPerSecond),
            Unit::Seconds => Some(Unit::Ratio),
            Unit::Count => Some(Unit::PerSecond),
            Unit::Joules => Some(Unit::Watts),
            _ => None,
        },
        "time" | "timestamp" => Some(Unit::Timestamp),
        "changes" | "resets" | "count_over_time" | "absent" | "absent_over_time"
        | "present_over_time" => Some(Unit::Count),
        "quantile_over_time" | "histogram_quantile" => last(),
        "abs"
        | "ceil"
        | "floor"
        | "round"
        | "clamp"
        | "clamp_max"
        | "clamp_min"
        | "increase"
        | "delta"
        | "idelta"
        | "predict_linear"
        | "avg_over_time"
        | "min_over_time"
        | "max_over_time"
        | "last_over_time"
        | "first_over_time"
        | "sum_over_time"
        | "stddev_over_time"
        | "sort"
        | "sort_desc"
        | "label_replace"
        | "label_join"
        | "scalar"
        | "double_exponential_smoothing" => first(),
        _ => None,
    }
}

fn unit_of_binary(binary: &Binary) -> Option<Unit> {
    let (left, right) = (unit_of(&binary.lhs), unit_of(&binary.rhs));
    let (left_number, right_number) = (number(&binary.lhs), number(&binary.rhs));
    match binary.op {
        op if op.is_set() || op.is_comparison() => left,
        BinaryOp::Sub if left == Some(Unit::Timestamp) && right == left => Some(Unit::Seconds),
        BinaryOp::Add | BinaryOp::Sub => match (left, right) {
            (Some(left), Some(right)) => (left == right).then_some(left),
            // `1 - idle` is as much a ratio as `idle`.
            (Some(unit), None) => right_number.map(|_| unit),
            (None, Some(unit)) => left_number.map(|_| unit),
            (None, None) => None,
        },
        BinaryOp::Div if left.is_some() && left == right => Some(Unit::Ratio),
        BinaryOp::Mul | BinaryOp::Div if left_number.or(right_number) == Some(1.0) => {
            left.or(right)
        }
        BinaryOp::Mul if left_number.or(right_number) == Some(100.0) => {
            left.or(right).filter(|unit| *unit == Unit::Ratio).map(|_| Unit::Percent)
        }
        // `* on (…) group_left (…) info` brings labels and leaves the value.
        BinaryOp::Mul if left_number.is_none() && right_number.is_none() => match (left, right) {
            (Some(unit), None | Some(Unit::Count)) | (None | Some(Unit::Count), Some(unit)) => {
                Some(unit)
            }
            _ => None,
        },
        _ => None,
    }
}

/// What the suffix of a metric's name says, as the conventions of Prometheus have it.
fn unit_of_name(name: &str) -> Option<Unit> {
    // Temperatures of smartctl_exporter are in degrees and do not say so.
    if name.starts_with("smartctl_device_temperature") {
        return Some(Unit::Celsius);
    }
    let (base, is_total) = match name.strip_suffix("_total") {
        Some(base) => (base, true),
        None => (name.strip_suffix("_sum").unwrap_or(name), false),
    };
    let suffixes = [
        ("_timestamp_seconds", Unit::Timestamp),
        ("_time_seconds", Unit::Timestamp),
        ("_bytes", Unit::Bytes),
        ("_celsius", Unit::Celsius),
        ("_seconds", Unit::Seconds),
        ("_ratio", Unit::Ratio),
        ("_percent", Unit::Percent),
        ("_rpm", Unit::Rpm),
        ("_volts", Unit::Volts),
        ("_amperes", Unit::Amperes),
        ("_amps", Unit::Amperes),
        ("_watt", Unit::Watts),
        ("_watts", Unit::Watts),
        ("_hertz", Unit::Hertz),
        ("_joules", Unit::Joules),
        ("_count", Unit::Count),
    ];
    // Totals of time are spans, such as node_cpu_seconds_total or node_disk_io_time_seconds_total.
    let spans = |unit| if is_total && unit == Unit::Timestamp { Unit::Seconds } else { unit };
    let known = suffixes.iter().find(|(suffix, _)| base.ends_with(suffix));
    known.map(|(_, unit)| spans(*unit)).or(is_total.then_some(Unit::Count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Vec<String> {
        let found = conditions(query).unwrap();
        let text = |condition: Condition| {
            let limit = match condition.limit {
                Limit::Number(value) => value.to_string(),
                Limit::Query(query) => format!("[{query}]"),
            };
            format!("{} {} {limit} {:?}", condition.subject, condition.operator, condition.unit)
        };
        found.into_iter().map(text).collect()
    }

    #[test]
    fn comparisons_are_found_where_they_decide() {
        for (query, wanted) in [
            ("up == 0", "up == 0 None"),
            ("0.8 < (a_ratio)", "a_ratio > 0.8 Some(Ratio)"),
            ("a_bytes < 50 * 2 ^ 30 and b == 0", "a_bytes < 53687091200 Some(Bytes)"),
            ("(x_celsius > -5) unless on (instance) y", "x_celsius > -5 Some(Celsius)"),
            ("a unless b > 5", ""),
            ("absent(up)", ""),
            ("1 < bool 2", ""),
            ("vector(1)", ""),
            ("max by (a) (x_rpm < 5)", "x_rpm < 5 Some(Rpm)"),
            ("count(x_rpm < 5) >= 2", "count(x_rpm < 5) >= 2 Some(Count)"),
            ("a < b", "a < [b] None"),
            (
                "a_celsius < 200 and a_celsius >= (crit > 40)",
                "a_celsius < 200 Some(Celsius)|a_celsius >= [(crit > 40)] Some(Celsius)",
            ),
            ("40 < a < 150", "a > 40 None|a < 150 None"),
            ("label_replace(a > 1, \"x\", \"$1\", \"y\", \"(.*)\")", "a > 1 None"),
        ] {
            assert_eq!(of(query).join("|"), wanted, "{query}");
        }
        assert!(conditions("up ==").is_err());
    }

    #[test]
    fn units_follow_what_is_done_to_a_metric() {
        for (query, wanted) in [
            ("node_filesystem_avail_bytes / node_filesystem_size_bytes", Some(Unit::Ratio)),
            ("100 * (a_bytes / b_bytes)", Some(Unit::Percent)),
            ("1 - a_bytes / b_bytes", Some(Unit::Ratio)),
            ("rate(node_network_receive_bytes_total[5m])", Some(Unit::BytesPerSecond)),
            ("rate(node_cpu_seconds_total[5m])", Some(Unit::Ratio)),
            ("increase(errors_total[1h])", Some(Unit::Count)),
            ("rate(errors_total[1h])", Some(Unit::PerSecond)),
            ("time() - node_boot_time_seconds", Some(Unit::Seconds)),
            ("node_boot_time_seconds", Some(Unit::Timestamp)),
            ("node_disk_io_time_seconds_total", Some(Unit::Seconds)),
            ("smartctl_device_temperature{temperature_type=\"current\"}", Some(Unit::Celsius)),
            ("a_celsius * on (chip) group_left (label) info", Some(Unit::Celsius)),
            ("a_bytes / 1024", None),
            ("a_bytes * b_celsius", None),
            ("a_bytes + b_celsius", None),
            ("up", None),
            ("count(up)", Some(Unit::Count)),
            ("max_over_time(a_celsius[1h:1m])", Some(Unit::Celsius)),
            ("quantile_over_time(0.9, a_seconds[1h])", Some(Unit::Seconds)),
        ] {
            assert_eq!(unit(query), wanted, "{query}");
        }
    }
}
