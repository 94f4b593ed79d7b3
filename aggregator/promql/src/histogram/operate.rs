//! Operators of which at least one side is a histogram.

use std::sync::Arc;

use labstat_model::Histogram;

use super::arithmetic::{add, compact, divide, equal, multiply, subtract, trim};
use crate::column::Cell;
use crate::expr::BinaryOp;

/// Why an operator gives nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It is not there for values of these kinds.
    Kinds(&'static str, &'static str),
    /// The buckets of the two cannot be brought together.
    Buckets,
}

impl Trouble {
    /// What Prometheus says of it, and whether that is a warning.
    pub(crate) fn message(self, op: BinaryOp) -> (bool, String) {
        let op = op.symbol();
        match self {
            Self::Kinds(left, right) => {
                let message = format!(
                    "incompatible sample types encountered for binary operator {op:?}: {left} {op} \
                     {right}"
                );
                (false, message)
            }
            Self::Buckets => {
                let message =
                    format!("incompatible bucket layout encountered for binary operator {op}");
                (true, message)
            }
        }
    }
}

/// What an operator gives; `None` where a comparison does not hold.
pub(crate) fn operate(op: BinaryOp, left: &Cell, right: &Cell) -> Result<Option<Cell>, Trouble> {
    match (left, right) {
        (Cell::Number(factor), Cell::Histogram(histogram)) if op == BinaryOp::Mul => {
            Ok(changed(histogram, |histogram| multiply(histogram, *factor)))
        }
        (Cell::Histogram(histogram), Cell::Number(number)) => with_number(op, histogram, *number),
        (Cell::Histogram(left), Cell::Histogram(right)) => of_two(op, left, right),
        (Cell::Number(_), Cell::Histogram(_)) => Err(Trouble::Kinds("float", "histogram")),
        (Cell::Number(_), Cell::Number(_)) => Err(Trouble::Kinds("float", "float")),
    }
}

fn with_number(
    op: BinaryOp,
    histogram: &Arc<Histogram>,
    number: f64,
) -> Result<Option<Cell>, Trouble> {
    match op {
        BinaryOp::Mul => Ok(changed(histogram, |histogram| multiply(histogram, number))),
        BinaryOp::Div => Ok(changed(histogram, |histogram| divide(histogram, number))),
        BinaryOp::TrimUpper => Ok(changed(histogram, |histogram| trim(histogram, number, true))),
        BinaryOp::TrimLower => Ok(changed(histogram, |histogram| trim(histogram, number, false))),
        _ => Err(Trouble::Kinds("histogram", "float")),
    }
}

fn of_two(
    op: BinaryOp,
    left: &Arc<Histogram>,
    right: &Arc<Histogram>,
) -> Result<Option<Cell>, Trouble> {
    let combine = match op {
        BinaryOp::Add => add,
        BinaryOp::Sub => subtract,
        BinaryOp::Eq | BinaryOp::Ne => {
            let keep = equal(left, right) == (op == BinaryOp::Eq);
            return Ok(keep.then(|| Cell::Histogram(Arc::clone(left))));
        }
        _ => return Err(Trouble::Kinds("histogram", "histogram")),
    };
    let mut result = Histogram::clone(left);
    combine(&mut result, right).map_err(|_| Trouble::Buckets)?;
    compact(&mut result);
    Ok(Some(Cell::Histogram(Arc::new(result))))
}

fn changed(histogram: &Histogram, change: impl FnOnce(&mut Histogram)) -> Option<Cell> {
    let mut histogram = histogram.clone();
    change(&mut histogram);
    compact(&mut histogram);
    Some(Cell::Histogram(Arc::new(histogram)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_take_what_they_can_calculate_with() {
        let histogram =
            Cell::Histogram(Arc::new(Histogram { count: 4.0, sum: 2.0, ..Histogram::default() }));
        let number = Cell::Number(2.0);
        let count = |given: Result<Option<Cell>, Trouble>| match given {
            Ok(Some(Cell::Histogram(histogram))) => histogram.count,
            other => panic!("{other:?}"),
        };
        assert_eq!(count(operate(BinaryOp::Mul, &number, &histogram)), 8.0);
        assert_eq!(count(operate(BinaryOp::Div, &histogram, &number)), 2.0);
        assert_eq!(count(operate(BinaryOp::Add, &histogram, &histogram)), 8.0);
        assert_eq!(count(operate(BinaryOp::Eq, &histogram, &histogram)), 4.0);
        assert!(matches!(operate(BinaryOp::Ne, &histogram, &histogram), Ok(None)));
        let refused = |op, left: &Cell, right: &Cell| operate(op, left, right).unwrap_err();
        assert_eq!(
            refused(BinaryOp::Div, &number, &histogram).message(BinaryOp::Div),
            (
                false,
                "incompatible sample types encountered for binary operator \"/\": float / histogram"
                    .to_owned()
            )
        );
        assert_eq!(
            refused(BinaryOp::Mul, &histogram, &histogram),
            Trouble::Kinds("histogram", "histogram")
        );
        let custom = Histogram { schema: Histogram::CUSTOM_SCHEMA, ..Histogram::default() };
        let custom = Cell::Histogram(Arc::new(custom));
        assert_eq!(refused(BinaryOp::Add, &histogram, &custom), Trouble::Buckets);
    }
}
