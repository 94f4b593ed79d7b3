//! Computes the durations of a text, in milliseconds.

use super::Lowering;
use crate::QueryError;
use crate::elementary;
use crate::syntax::ast::{Duration, DurationNode, DurationOp};
use crate::syntax::{expression_ms, literal_ms};

/// Seconds of any duration that is computed: as many as a literal may have.
const SECONDS_MAX: f64 = 9_223_372_036.0;

impl Lowering<'_> {
    /// A duration that may be nothing or negative.
    pub(super) fn ms(&self, duration: &Duration) -> Result<i64, QueryError> {
        if let DurationNode::Literal { seconds, .. } = duration.node {
            return Ok(literal_ms(seconds));
        }
        let seconds = self.seconds(duration)?;
        if seconds.is_nan() || seconds.abs() > SECONDS_MAX {
            return Err(self.error(duration.start, "duration out of range"));
        }
        Ok(expression_ms(seconds))
    }

    /// A duration that must be more than nothing.
    pub(super) fn positive_ms(&self, duration: &Duration) -> Result<i64, QueryError> {
        match self.ms(duration)? {
            ms if ms <= 0 => Err(self.error(duration.start, "duration must be greater than 0")),
            ms => Ok(ms),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "times are bounded far below 2^53 seconds")]
    fn seconds(&self, duration: &Duration) -> Result<f64, QueryError> {
        let (op, sides) = match &duration.node {
            DurationNode::Literal { seconds, .. } => return Ok(*seconds),
            DurationNode::Step => return Ok(self.bounds().step_ms as f64 / 1000.0),
            DurationNode::Range => {
                let bounds = self.bounds();
                return Ok(bounds.end_ms.saturating_sub(bounds.start_ms) as f64 / 1000.0);
            }
            DurationNode::Negated(inner) => return self.seconds(inner).map(|seconds| -seconds),
            DurationNode::Binary(op, sides) => (*op, sides),
        };
        let (lhs, rhs) = (self.seconds(&sides.0)?, self.seconds(&sides.1)?);
        let start = duration.start;
        Ok(match op {
            DurationOp::Add => lhs + rhs,
            DurationOp::Sub => lhs - rhs,
            DurationOp::Mul => lhs * rhs,
            DurationOp::Div if rhs == 0.0 => return Err(self.error(start, "division by zero")),
            DurationOp::Div => lhs / rhs,
            DurationOp::Mod if rhs == 0.0 => return Err(self.error(start, "modulo by zero")),
            DurationOp::Mod => lhs % rhs,
            DurationOp::Pow => elementary::pow(lhs, rhs),
            DurationOp::Min => lhs.min(rhs),
            DurationOp::Max => lhs.max(rhs),
        })
    }
}
