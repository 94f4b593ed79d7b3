//! Which labels the results of a query may have, by its text alone: for checks of rules, whose texts
//! name labels of what their expressions give.
//!
//! What a selector gives may have any label. The metric name is not looked at.

use std::collections::BTreeSet;

use labstat_model::{METRIC_NAME, MatchOp};

use crate::QueryError;
use crate::expr::{AggregateOp, BinaryOp, Fill};
use crate::syntax;
use crate::syntax::ast::{Aggregate, Binary, Call, Card, Expr, Matching, Node};

/// Labels that results may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResultLabels {
    /// No others than these.
    Only(BTreeSet<String>),
    /// Any but these.
    AnyBut(BTreeSet<String>),
}

/// Which labels the results of `query` may have.
pub fn result_labels(query: &str) -> Result<ResultLabels, QueryError> {
    Ok(of(&syntax::parse(query)?))
}

impl ResultLabels {
    /// Whether there may be a result with this label.
    pub fn may_have(&self, label: &str) -> bool {
        match self {
            Self::Only(labels) => labels.contains(label),
            Self::AnyBut(labels) => !labels.contains(label),
        }
    }

    fn none() -> Self {
        Self::Only(BTreeSet::new())
    }

    fn any() -> Self {
        Self::AnyBut(BTreeSet::new())
    }

    fn with(mut self, label: &str) -> Self {
        match &mut self {
            Self::Only(labels) => drop(labels.insert(label.to_owned())),
            Self::AnyBut(labels) => drop(labels.remove(label)),
        }
        self
    }

    fn without(mut self, label: &str) -> Self {
        match &mut self {
            Self::Only(labels) => drop(labels.remove(label)),
            Self::AnyBut(labels) => drop(labels.insert(label.to_owned())),
        }
        self
    }

    /// Those of these that are in `kept`.
    fn within(self, kept: &[String]) -> Self {
        Self::Only(kept.iter().filter(|label| self.may_have(label)).cloned().collect())
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Only(mut these), Self::Only(those)) => {
                these.extend(those);
                Self::Only(these)
            }
            (Self::AnyBut(these), Self::AnyBut(those)) => {
                Self::AnyBut(these.intersection(&those).cloned().collect())
            }
            (Self::AnyBut(never), Self::Only(some)) | (Self::Only(some), Self::AnyBut(never)) => {
                Self::AnyBut(never.difference(&some).cloned().collect())
            }
        }
    }
}

fn of(expr: &Expr) -> ResultLabels {
    match &expr.node {
        Node::Number { .. } | Node::Text(_) => ResultLabels::none(),
        Node::Selector(_) | Node::Matrix(_) => ResultLabels::any(),
        Node::Subquery(subquery) => of(&subquery.expr),
        Node::Paren(inner) | Node::Unary(_, inner) => of(inner),
        Node::Binary(binary) => of_binary(binary),
        Node::Aggregate(aggregate) => of_aggregate(aggregate),
        Node::Call(call) => of_call(call),
    }
}

fn of_binary(binary: &Binary) -> ResultLabels {
    let (left, right) = (of(&binary.lhs), of(&binary.rhs));
    match (binary.op, &binary.matching) {
        (BinaryOp::And | BinaryOp::Unless, _) => left,
        // A number has no labels: what is left are those of the other side.
        (BinaryOp::Or, _) | (_, None) => left.or(right),
        (_, Some(matching)) => matched(left, right, matching),
    }
}

/// What series are called after they have met.
fn matched(left: ResultLabels, right: ResultLabels, matching: &Matching) -> ResultLabels {
    if matching.fill != Fill::NONE {
        return left.or(right);
    }
    let (many, one) = match matching.card {
        Card::ManyToOne => (left, right),
        Card::OneToMany => (right, left),
        Card::OneToOne | Card::ManyToMany if matching.on => return left.within(&matching.labels),
        Card::OneToOne | Card::ManyToMany => {
            return matching.labels.iter().fold(left, |labels, label| labels.without(label));
        }
    };
    matching.include.iter().fold(many, |labels, label| {
        if one.may_have(label) { labels.with(label) } else { labels.without(label) }
    })
}

fn of_aggregate(aggregate: &Aggregate) -> ResultLabels {
    use AggregateOp::{Bottomk, CountValues, LimitRatio, Limitk, Topk};

    let inner = of(&aggregate.expr);
    if matches!(aggregate.op, Topk | Bottomk | Limitk | LimitRatio) {
        return inner;
    }
    let kept = if aggregate.without {
        aggregate.grouping.iter().fold(inner, |labels, label| labels.without(label))
    } else {
        inner.within(&aggregate.grouping)
    };
    match aggregate.param.as_ref().map(|param| &param.node) {
        Some(Node::Text(label)) if aggregate.op == CountValues => kept.with(label),
        _ => kept,
    }
}

fn of_call(call: &Call) -> ResultLabels {
    let labels = || call.args.iter().map(of).fold(ResultLabels::none(), ResultLabels::or);
    match call.function.name {
        // It takes labels from elsewhere.
        "info" => ResultLabels::any(),
        "absent" | "absent_over_time" => of_absent(call.args.first()),
        "scalar" => ResultLabels::none(),
        "label_replace" | "label_join" => match call.args.get(1).map(|arg| &arg.node) {
            Some(Node::Text(label)) => labels().with(label),
            _ => ResultLabels::any(),
        },
        "histogram_quantile" | "histogram_fraction" => labels().without("le"),
        _ => labels(),
    }
}

/// What is absent has the labels that its selector asks to be equal.
fn of_absent(arg: Option<&Expr>) -> ResultLabels {
    let mut arg = arg.map(|arg| &arg.node);
    while let Some(Node::Paren(inner)) = arg {
        arg = Some(&inner.node);
    }
    let matchers = match arg {
        Some(Node::Selector(selector)) => &selector.matchers,
        Some(Node::Matrix(matrix)) => &matrix.selector.matchers,
        _ => return ResultLabels::none(),
    };
    let equal = matchers.iter().filter(|m| m.op() == MatchOp::Equal && m.name() != METRIC_NAME);
    ResultLabels::Only(equal.map(|matcher| matcher.name().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_results_may_have() {
        for (query, wanted) in [
            ("up == 0", "a b c"),
            ("sum(up)", ""),
            ("sum by (a, b) (up) > 1", "a b"),
            ("sum without (a) (up)", "b c"),
            ("sum by (a) (sum without (a) (up))", ""),
            ("topk by (a) (3, up)", "a b c"),
            ("count_values by (a) (\"b\", up)", "a b"),
            ("x > on (a) y", "a"),
            ("x / ignoring (a) y", "b c"),
            ("x * on (a) group_left (b) sum by (a, b) (y)", "a b c"),
            ("x * on (a) group_left (b) sum by (a) (y)", "a c"),
            ("sum by (c) (x) * on (c) group_right (a) y", "b c"),
            ("sum by (a) (x) and on () y", "a"),
            ("sum by (a) (x) or sum by (b) (y)", "a b"),
            ("sum by (a) (x) or sum without (a, c) (y)", "a b"),
            ("absent(up{a=\"1\", b=~\"x.*\"})", "a"),
            ("absent(sum by (a) (up))", ""),
            ("absent_over_time(up{a=\"1\"}[5m])", "a"),
            ("vector(1)", ""),
            ("time() - x", "a b c"),
            ("label_replace(sum by (a) (x), \"c\", \"$1\", \"a\", \"(.*)\")", "a c"),
            ("label_join(sum(x), \"b\", \"-\", \"a\")", "b"),
            ("max_over_time(sum by (a) (x)[1h:5m])", "a"),
            ("predict_linear(x[1h], 60) < 0", "a b c"),
            ("-sum by (a) (x)", "a"),
        ] {
            let labels = result_labels(query).unwrap();
            let found: Vec<&str> =
                ["a", "b", "c"].into_iter().filter(|l| labels.may_have(l)).collect();
            assert_eq!(found.join(" "), wanted, "{query}");
        }
        let le = result_labels("histogram_quantile(0.9, x)").unwrap();
        assert!(!le.may_have("le") && le.may_have("a"));
        assert!(result_labels("sum(").is_err());
    }
}
