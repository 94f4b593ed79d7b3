//! Durations: in brackets, behind `offset`, and with the arithmetic that may stand in them.

use super::ast::{Duration, DurationNode, DurationOp};
use super::lexer::{Kind, Token};
use super::parser::Parser;
use super::{SyntaxError, number};
use crate::expr::{AggregateOp, BinaryOp};

/// What an error in a duration is about and what it misses.
pub(super) type Missing = (&'static str, &'static str);

const IN_OFFSET: Missing = ("offset", "number or duration");

/// The precedence of a sign: that of a product.
const SIGN: u8 = 2;

impl<'a> Parser<'a> {
    /// A range or a step: more than nothing.
    pub(super) fn positive_duration(&mut self, missing: Missing) -> Result<Duration, SyntaxError> {
        let duration = self.duration(0, missing)?;
        // An error in the next token comes first.
        self.peek()?;
        match duration.node {
            DurationNode::Literal { seconds, .. } if seconds <= 0.0 => {
                Err(SyntaxError::new(duration.start, "duration must be greater than 0"))
            }
            _ => Ok(duration),
        }
    }

    /// What stands behind `offset`: operators belong to it only behind parentheses, since
    /// `a offset -2 ^ 2` has always been `(a offset -2) ^ 2`.
    pub(super) fn offset_duration(&mut self) -> Result<Duration, SyntaxError> {
        let first = self.peek()?;
        let signed = sign(first).is_some();
        if signed {
            let second = self.peek_second()?;
            if sign(second).is_some() || second.kind == Kind::LeftParen {
                return self.duration(0, IN_OFFSET);
            }
        } else if first.kind == Kind::LeftParen {
            return self.duration(0, IN_OFFSET);
        }
        self.duration_atom(IN_OFFSET)
    }

    fn duration(&mut self, least: u8, missing: Missing) -> Result<Duration, SyntaxError> {
        let mut lhs = self.duration_atom(missing)?;
        loop {
            let token = self.peek()?;
            let Some((op, precedence)) = binary_op(token) else { return Ok(lhs) };
            if precedence < least {
                return Ok(lhs);
            }
            self.take()?;
            let next = if op == DurationOp::Pow { precedence } else { precedence + 1 };
            self.enter(token.start)?;
            let rhs = self.duration(next, missing)?;
            self.leave();
            if let DurationNode::Literal { seconds: 0.0, .. } = rhs.node {
                match op {
                    DurationOp::Div => {
                        return Err(SyntaxError::new(token.start, "division by zero"));
                    }
                    DurationOp::Mod => {
                        return Err(SyntaxError::new(token.start, "modulo by zero"));
                    }
                    _ => {}
                }
            }
            lhs = binary(op, lhs, rhs, None)?;
        }
    }

    fn duration_atom(&mut self, missing: Missing) -> Result<Duration, SyntaxError> {
        let token = self.peek()?;
        if let Some(negative) = sign(token) {
            self.take()?;
            self.enter(token.start)?;
            // Behind the sign of an offset there is but one number; in any other place a power
            // binds tighter than the sign.
            let parens = self.peek()?.kind == Kind::LeftParen;
            let inner = if missing == IN_OFFSET && !self.in_duration_parens && !parens {
                self.duration_atom(missing)?
            } else {
                self.duration(SIGN + 1, missing)?
            };
            self.leave();
            return signed(negative, inner, token.start);
        }
        match token.kind {
            Kind::Number => {
                self.take()?;
                literal(self.number_value(token)?, false, token.start)
            }
            Kind::Duration => {
                self.take()?;
                let seconds = number::duration_seconds(token.text);
                let seconds = seconds.map_err(|text| SyntaxError::new(token.start, text))?;
                literal(seconds, true, token.start)
            }
            Kind::LeftParen => {
                self.take()?;
                let inner = self.inner_duration(token.start, missing)?;
                self.expect_in_duration(Kind::RightParen, missing)?;
                let literal = matches!(inner.node, DurationNode::Literal { .. });
                Ok(Duration { wrapped: !literal, ..inner })
            }
            _ => self.duration_call(token, missing),
        }
    }

    /// `step()`, `range()`, `min(…, …)`, `max(…, …)`.
    fn duration_call(
        &mut self,
        token: Token<'a>,
        missing: Missing,
    ) -> Result<Duration, SyntaxError> {
        let plain = if token.is_word("step") {
            Some(DurationNode::Step)
        } else if token.is_word("range") {
            Some(DurationNode::Range)
        } else {
            None
        };
        let op = two_of(token);
        if plain.is_none() && op.is_none() {
            return Err(self.unexpected(token, missing.0, missing.1));
        }
        self.take()?;
        self.expect_in_duration(Kind::LeftParen, missing)?;
        let start = token.start;
        if let Some(node) = plain {
            self.expect_in_duration(Kind::RightParen, missing)?;
            return Ok(Duration { node, start, wrapped: false, depth: 1 });
        }
        let lhs = self.inner_duration(start, missing)?;
        self.expect_in_duration(Kind::Comma, missing)?;
        let rhs = self.inner_duration(start, missing)?;
        self.expect_in_duration(Kind::RightParen, missing)?;
        binary(op.unwrap_or(DurationOp::Min), lhs, rhs, Some(start))
    }

    /// A duration in parentheses.
    fn inner_duration(&mut self, start: usize, missing: Missing) -> Result<Duration, SyntaxError> {
        let outside = std::mem::replace(&mut self.in_duration_parens, true);
        self.enter(start)?;
        let inner = self.duration(0, missing)?;
        self.leave();
        self.in_duration_parens = outside;
        Ok(inner)
    }

    fn expect_in_duration(&mut self, kind: Kind, missing: Missing) -> Result<(), SyntaxError> {
        let token = self.peek()?;
        if token.kind != kind {
            return Err(self.unexpected(token, missing.0, missing.1));
        }
        self.take().map(drop)
    }
}

fn literal(seconds: f64, is_duration: bool, start: usize) -> Result<Duration, SyntaxError> {
    if number::is_out_of_range(seconds) {
        return Err(SyntaxError::new(start, "duration out of range"));
    }
    let node = DurationNode::Literal { seconds, is_duration };
    Ok(Duration { node, start, wrapped: false, depth: 1 })
}

fn signed(negative: bool, inner: Duration, start: usize) -> Result<Duration, SyntaxError> {
    if let DurationNode::Literal { seconds, is_duration } = inner.node {
        return literal(if negative { -seconds } else { seconds }, is_duration, start);
    }
    if !negative {
        return Ok(inner);
    }
    let depth = inner.depth + 1;
    Ok(Duration { node: DurationNode::Negated(Box::new(inner)), start, wrapped: false, depth })
}

fn binary(
    op: DurationOp,
    lhs: Duration,
    rhs: Duration,
    start: Option<usize>,
) -> Result<Duration, SyntaxError> {
    let start = start.unwrap_or(lhs.start);
    let depth = lhs.depth.max(rhs.depth) + 1;
    if depth > super::DEPTH_MAX {
        return Err(SyntaxError::too_deep(start));
    }
    let node = DurationNode::Binary(op, Box::new((lhs, rhs)));
    Ok(Duration { node, start, wrapped: false, depth })
}

/// Whether a sign is a minus; `None` for what is no sign.
fn sign(token: Token<'_>) -> Option<bool> {
    match token.kind {
        Kind::Binary(BinaryOp::Add) => Some(false),
        Kind::Binary(BinaryOp::Sub) => Some(true),
        _ => None,
    }
}

/// The smaller or the larger of two, under the names of then and now.
fn two_of(token: Token<'_>) -> Option<DurationOp> {
    match token.kind {
        Kind::Aggregator(AggregateOp::Min) => Some(DurationOp::Min),
        Kind::Aggregator(AggregateOp::Max) => Some(DurationOp::Max),
        _ if token.is_word("min") || token.is_word("min_of") => Some(DurationOp::Min),
        _ if token.is_word("max") || token.is_word("max_of") => Some(DurationOp::Max),
        _ => None,
    }
}

fn binary_op(token: Token<'_>) -> Option<(DurationOp, u8)> {
    let Kind::Binary(op) = token.kind else { return None };
    Some(match op {
        BinaryOp::Add => (DurationOp::Add, 1),
        BinaryOp::Sub => (DurationOp::Sub, 1),
        BinaryOp::Mul => (DurationOp::Mul, SIGN),
        BinaryOp::Div => (DurationOp::Div, SIGN),
        BinaryOp::Mod => (DurationOp::Mod, SIGN),
        BinaryOp::Pow => (DurationOp::Pow, 3),
        _ => return None,
    })
}
